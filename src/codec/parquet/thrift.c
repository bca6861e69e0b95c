/* thrift.c - Thrift's compact protocol, as much of it as Parquet's structs need: a field is the
 * difference of its id to the last one and its type in a byte, numbers are zigzag varints, a struct
 * ends with a zero. Source: the Thrift compact protocol encoding. */
#include "codec/parquet/parquet_private.h"

err_code thrift_varint(struct buf *out, uint64_t v, struct err *e)
{
    for (; v >= 0x80; v >>= 7)
        TRY(buf_add_char(out, (char)(0x80 | (v & 0x7f)), e));
    return buf_add_char(out, (char)v, e);
}

static err_code zigzag(struct buf *out, int64_t v, struct err *e)
{
    return thrift_varint(out, ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0), e);
}

/* Ids rise by less than 16 in all structs of Parquet. */
static err_code field(struct thrift *t, int id, thrift_type type, struct err *e)
{
    int step = id - t->last[t->depth];
    assert(step > 0 && step < 16);
    t->last[t->depth] = id;
    return buf_add_char(t->out, (char)(step << 4 | (int)type), e);
}

err_code thrift_i32(struct thrift *t, int id, int32_t v, struct err *e)
{
    TRY(field(t, id, THRIFT_I32, e));
    return zigzag(t->out, v, e);
}

err_code thrift_i64(struct thrift *t, int id, int64_t v, struct err *e)
{
    TRY(field(t, id, THRIFT_I64, e));
    return zigzag(t->out, v, e);
}

err_code thrift_text(struct thrift *t, int id, sv text, struct err *e)
{
    TRY(field(t, id, THRIFT_BINARY, e));
    return thrift_item_text(t, text, e);
}

err_code thrift_bool(struct thrift *t, int id, bool v, struct err *e)
{
    return field(t, id, v ? THRIFT_TRUE : THRIFT_FALSE, e);
}

err_code thrift_list(struct thrift *t, int id, thrift_type of, size_t n, struct err *e)
{
    TRY(field(t, id, THRIFT_LIST, e));
    if (n < 15)
        return buf_add_char(t->out, (char)(n << 4 | (unsigned)of), e);
    TRY(buf_add_char(t->out, (char)(0xf0 | (unsigned)of), e));
    return thrift_varint(t->out, n, e);
}

err_code thrift_item_i32(struct thrift *t, int32_t v, struct err *e)
{
    return zigzag(t->out, v, e);
}

err_code thrift_item_text(struct thrift *t, sv text, struct err *e)
{
    TRY(thrift_varint(t->out, text.len, e));
    return buf_add(t->out, text, e);
}

void thrift_element(struct thrift *t)
{
    assert(t->depth + 1 < sizeof t->last / sizeof t->last[0]);
    t->last[++t->depth] = 0;
}

err_code thrift_struct(struct thrift *t, int id, struct err *e)
{
    TRY(field(t, id, THRIFT_STRUCT, e));
    thrift_element(t);
    return ERR_OK;
}

err_code thrift_end(struct thrift *t, struct err *e)
{
    if (t->depth > 0)
        t->depth--;
    return buf_add_char(t->out, 0, e);
}
