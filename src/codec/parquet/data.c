/* data.c - the values of one column. A text is looked up in the column's dictionary. The dictionary
 * is given up when it grows beyond DICTIONARY_BYTES, when most values are new to it, or when its
 * table is crowded, so that no texts that somebody chose make it slow. Then values stand in place
 * of numbers, and what comes is added to them. */
#include "codec/parquet/parquet_private.h"

#include "codec/hash.h"

#define DICTIONARY_BYTES   ((size_t)1 << 20)
#define DICTIONARY_ENTRIES 32768u
#define JUDGE_VALUES       2048u /* from so many on a dictionary must pay */
#define PROBES_MAX         32u
#define SLOTS_FIRST        256u

static void *no_less(void *ptr)
{
    if (ptr == NULL)
        abort();
    return ptr;
}

void parquet_data_begin(struct parquet_data *d, parquet_type type)
{
    buf_clear(&d->levels);
    buf_clear(&d->plain);
    buf_clear(&d->numbers);
    buf_clear(&d->starts);
    if (d->n_slots)
        memset(d->slots, 0, d->n_slots * sizeof *d->slots);
    d->n_values = d->whole = 0;
    d->dictionary = type == PARQUET_STRING;
}

void parquet_data_init(struct parquet_data *d, parquet_type type)
{
    struct buf *all[] = { &d->levels, &d->plain, &d->numbers, &d->starts };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_init(all[i], PARQUET_COLUMN_BYTES);
    parquet_data_begin(d, type);
}

void parquet_data_done(struct parquet_data *d)
{
    buf_done(&d->levels);
    buf_done(&d->plain);
    buf_done(&d->numbers);
    buf_done(&d->starts);
    free(d->slots);
}

static void keep_some(struct buf *b, size_t *keep)
{
    buf_shrink(b, *keep);
    *keep -= b->cap;
}

void parquet_data_rest(struct parquet_data *d, parquet_type type, size_t *keep)
{
    const size_t slots = d->n_slots * sizeof *d->slots;
    keep_some(&d->levels, keep);
    keep_some(&d->plain, keep);
    keep_some(&d->numbers, keep);
    keep_some(&d->starts, keep);
    if (slots > *keep) {
        free(d->slots);
        d->slots = NULL;
        d->n_slots = 0;
    } else {
        *keep -= slots;
    }
    parquet_data_begin(d, type);
}

size_t parquet_data_bytes(const struct parquet_data *d)
{
    const size_t part = d->whole / 4;
    size_t has = d->levels.len + d->plain.len + d->numbers.len + d->starts.len;
    has += d->n_slots * sizeof *d->slots;
    return has > part ? has : part;
}

size_t parquet_width(parquet_type type)
{
    switch (type) {
    case PARQUET_BOOLEAN:
        return 1;
    case PARQUET_INT32:
    case PARQUET_DATE:
        return 4;
    case PARQUET_INT64:
    case PARQUET_DOUBLE:
    case PARQUET_TIMESTAMP:
        return 8;
    case PARQUET_DECIMAL:
        return PARQUET_DECIMAL_LEN;
    case PARQUET_STRING:
        break;
    }
    return 0;
}

/* Little-endian, whatever the machine is. */
static sv little(uint64_t v, size_t n, char room[8])
{
    for (size_t i = 0; i < n; i++)
        room[i] = (char)(v >> (8 * i));
    return sv_make(room, n);
}

static uint32_t at_u32(const struct buf *b, size_t i)
{
    uint32_t v;
    memcpy(&v, b->ptr + i * sizeof v, sizeof v);
    return v;
}

static err_code add_u32(struct buf *b, uint32_t v, struct err *e)
{
    return buf_add(b, sv_make(&v, sizeof v), e);
}

/* ---- texts ---- */

static sv entry(const struct parquet_data *d, size_t number)
{
    const unsigned char *p = (const unsigned char *)d->plain.ptr + at_u32(&d->starts, number);
    size_t len = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    return sv_make(p + 4, len);
}

static uint64_t hash_of(sv text)
{
    uint64_t h[2];
    hash_xxh3_128(text, SV_NONE, h);
    return h[0];
}

/* The slot of a text: that of its entry, or an empty one; NULL: too many stand in its way. */
static uint32_t *slot_of(struct parquet_data *d, sv text)
{
    size_t at = (size_t)hash_of(text);
    for (unsigned probe = 0; probe < PROBES_MAX; probe++, at++) {
        uint32_t *slot = &d->slots[at & (d->n_slots - 1)];
        if (*slot == 0 || sv_eq(entry(d, *slot - 1), text))
            return slot;
    }
    return NULL;
}

/* Twice the slots: half of them stay empty. False: the entries do not find a place. */
static bool more_slots(struct parquet_data *d)
{
    size_t n = parquet_entries(d);
    if (d->n_slots && 2 * (n + 1) <= d->n_slots)
        return true;
    free(d->slots);
    d->n_slots = d->n_slots ? d->n_slots * 2 : SLOTS_FIRST;
    d->slots = no_less(calloc(d->n_slots, sizeof *d->slots));
    for (size_t i = 0; i < n; i++) {
        uint32_t *slot = slot_of(d, entry(d, i));
        if (slot == NULL)
            return false;
        *slot = (uint32_t)i + 1;
    }
    return true;
}

err_code parquet_expand(struct parquet_data *d, struct err *e)
{
    CLEANUP_BUF struct buf plain = BUF_INIT(d->plain.max);
    for (size_t i = 0; i < d->n_values; i++) {
        sv text = entry(d, at_u32(&d->numbers, i));
        TRY(buf_add(&plain, sv_make(text.ptr - 4, text.len + 4), e));
    }
    struct buf was = d->plain;
    d->plain = plain;
    plain = was;
    buf_clear(&d->numbers);
    buf_clear(&d->starts);
    d->dictionary = false;
    return ERR_OK;
}

static err_code add_plain(struct parquet_data *d, sv text, struct err *e)
{
    char room[8];
    /* both or none, so that what there is stays whole */
    TRY(buf_reserve(&d->plain, text.len + 4, e));
    TRY(buf_add(&d->plain, little(text.len, 4, room), e));
    return buf_add(&d->plain, text, e);
}

static err_code add_text(struct parquet_data *d, sv text, struct err *e)
{
    size_t n = parquet_entries(d);
    uint32_t *slot = NULL;
    if (text.len > PARQUET_COLUMN_BYTES - 4)
        return ERR(e, ERR_TOO_LARGE, "a text is too long for a column");
    if (d->dictionary && (d->n_values < JUDGE_VALUES || n < d->n_values / 2) && more_slots(d))
        slot = slot_of(d, text);
    if (slot && *slot == 0 &&
        (n == DICTIONARY_ENTRIES || d->plain.len + text.len > DICTIONARY_BYTES))
        slot = NULL;
    if (slot == NULL) {
        if (d->dictionary)
            TRY(parquet_expand(d, e));
        return add_plain(d, text, e);
    }
    if (*slot == 0) {
        TRY(add_u32(&d->starts, (uint32_t)d->plain.len, e));
        TRY(add_plain(d, text, e));
        *slot = (uint32_t)n + 1;
    }
    return add_u32(&d->numbers, *slot - 1, e);
}

/* ---- any value ---- */

err_code parquet_data_add(struct parquet_data *d, parquet_type type, const struct parquet_value *v,
                          struct err *e)
{
    char room[8];
    uint64_t bits = (uint64_t)v->as.integer;
    if (type == PARQUET_STRING) {
        TRY(add_text(d, v->as.text, e));
        d->n_values++;
        d->whole += v->as.text.len + 4;
        return ERR_OK;
    }
    d->n_values++;
    if (type == PARQUET_DECIMAL)
        return buf_add(&d->plain, sv_make(v->as.decimal, PARQUET_DECIMAL_LEN), e);
    if (type == PARQUET_DOUBLE)
        memcpy(&bits, &v->as.number, sizeof bits);
    return buf_add(&d->plain, little(bits, parquet_width(type), room), e);
}
