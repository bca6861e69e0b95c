/* chunk.c - a column's values as a column chunk: the page of its dictionary, then pages of data.
 *
 *   page := header, and packed: [length, repetition levels] length, definition levels, values
 *
 * Levels and numbers of entries are in the hybrid of runs and packed bits: eight or more of one are
 * a run, else eight numbers after the other are packed. A page ends at a row's end.
 * Source: the Parquet format, Encodings.md: PLAIN 0, RLE 3, RLE_DICTIONARY 8; data page v1. */
#include "codec/parquet/parquet_private.h"

#include <zstd.h>

#define PAGE_ENTRIES 20000u
#define PAGE_BYTES   ((size_t)1 << 20)
#define PACK_LEVEL   1
enum { PLAIN = 0, RLE = 3, RLE_DICTIONARY = 8 };

struct parquet_packer {
    ZSTD_CCtx *zstd;
    struct buf page, numbers; /* a page before it is packed; what the hybrid is made of */
};

struct parquet_packer *parquet_packer_new(void)
{
    struct parquet_packer *p = calloc(1, sizeof *p);
    if (p == NULL || (p->zstd = ZSTD_createCCtx()) == NULL)
        abort();
    buf_init(&p->page, 3 * PARQUET_COLUMN_BYTES);
    buf_init(&p->numbers, 4 * PARQUET_COLUMN_BYTES);
    return p;
}

void parquet_packer_free(struct parquet_packer *p)
{
    if (p == NULL)
        return;
    ZSTD_freeCCtx(p->zstd);
    buf_done(&p->page);
    buf_done(&p->numbers);
    free(p);
}

void parquet_packer_rest(struct parquet_packer *p)
{
    buf_shrink(&p->page, 4 * PAGE_BYTES);
    buf_shrink(&p->numbers, 4 * PAGE_BYTES);
}

/* ---- the hybrid ---- */

static size_t same(const uint32_t *v, size_t n)
{
    size_t i = 1;
    while (i < n && v[i] == v[0])
        i++;
    return i;
}

/* Eight numbers of so many bits; behind the last one come zeros. */
static err_code put_eight(const uint32_t *v, size_t n, unsigned bits, struct buf *out,
                          struct err *e)
{
    uint64_t held = 0;
    unsigned n_held = 0;
    for (size_t i = 0; i < 8; i++) {
        held |= (uint64_t)(i < n ? v[i] : 0) << n_held;
        for (n_held += bits; n_held >= 8; n_held -= 8, held >>= 8)
            TRY(buf_add_char(out, (char)held, e));
    }
    return ERR_OK;
}

static err_code put_run(uint32_t v, size_t n, unsigned bits, struct buf *out, struct err *e)
{
    TRY(thrift_varint(out, (uint64_t)n << 1, e));
    for (unsigned at = 0; at < bits; at += 8)
        TRY(buf_add_char(out, (char)(v >> at), e));
    return ERR_OK;
}

static err_code put_hybrid(const uint32_t *v, size_t n, unsigned bits, struct buf *out,
                           struct err *e)
{
    for (size_t at = 0; at < n;) {
        size_t end = at, run = same(v + at, n - at);
        if (run >= 8 || run == n - at) {
            TRY(put_run(v[at], run, bits, out, e));
            at += run;
            continue;
        }
        while (end < n && (n - end < 8 || same(v + end, 8) < 8))
            end = n - end < 8 ? n : end + 8;
        TRY(thrift_varint(out, ((uint64_t)(end - at + 7) / 8) << 1 | 1, e));
        for (; at < end; at += 8)
            TRY(put_eight(v + at, end - at < 8 ? end - at : 8, bits, out, e));
        at = end;
    }
    return ERR_OK;
}

static unsigned bits_of(size_t most)
{
    unsigned bits = 1;
    while (most >> bits)
        bits++;
    return bits;
}

/* ---- a page ---- */

/* What of a column is on a page: entries (levels) and values. */
struct span {
    size_t entry, n_entries, value, n_values, byte, n_bytes;
};

static err_code levels(struct parquet_packer *p, const struct parquet_data *d, const struct span *s,
                       bool repetition, unsigned bits, struct err *e)
{
    const size_t at = p->page.len;
    buf_clear(&p->numbers);
    TRY(buf_reserve(&p->numbers, s->n_entries * sizeof(uint32_t), e));
    uint32_t *v = (void *)p->numbers.ptr;
    for (size_t i = 0; i < s->n_entries; i++) {
        unsigned char l = (unsigned char)d->levels.ptr[s->entry + i];
        v[i] = repetition ? (l & PARQUET_REPEATED) != 0 : l & ~PARQUET_REPEATED;
    }
    TRY(buf_add(&p->page, SV_LIT("\0\0\0\0"), e));
    TRY(put_hybrid(v, s->n_entries, bits, &p->page, e));
    const size_t len = p->page.len - at - 4;
    for (size_t i = 0; i < 4; i++)
        p->page.ptr[at + i] = (char)(len >> (8 * i));
    return ERR_OK;
}

static err_code booleans(struct parquet_packer *p, const struct parquet_data *d,
                         const struct span *s, struct err *e)
{
    for (size_t i = 0; i < s->n_values; i += 8) {
        unsigned byte = 0;
        for (size_t k = 0; k < 8 && i + k < s->n_values; k++)
            byte |= (unsigned)d->plain.ptr[s->byte + i + k] << k;
        TRY(buf_add_char(&p->page, (char)byte, e));
    }
    return ERR_OK;
}

static err_code values(struct parquet_packer *p, const struct parquet_column *c,
                       const struct parquet_data *d, const struct span *s, struct err *e)
{
    if (d->dictionary) {
        unsigned bits = bits_of(parquet_entries(d) ? parquet_entries(d) - 1 : 0);
        TRY(buf_add_char(&p->page, (char)bits, e));
        if (s->n_values == 0)
            return ERR_OK;
        const uint32_t *v = (const void *)d->numbers.ptr;
        return put_hybrid(v + s->value, s->n_values, bits, &p->page, e);
    }
    if (c->type == PARQUET_BOOLEAN)
        return booleans(p, d, s, e);
    return s->n_bytes ? buf_add(&p->page, sv_make(d->plain.ptr + s->byte, s->n_bytes), e) : ERR_OK;
}

/* The page in p->page, with its header. n_values: entries of a page of data, or of a dictionary. */
static err_code put_page(struct parquet_packer *p, bool dictionary, size_t n_values, int encoding,
                         struct buf *out, struct parquet_chunk *told, struct err *e)
{
    const size_t bound = ZSTD_compressBound(p->page.len);
    CLEANUP_BUF struct buf header = BUF_INIT(256);
    struct thrift t = { .out = &header };
    if (p->page.len > INT32_MAX || n_values > INT32_MAX)
        return ERR(e, ERR_TOO_LARGE, "a row is too large for a page of Parquet");
    /* packed first: its length stands in the header */
    buf_clear(&p->numbers);
    TRY(buf_reserve(&p->numbers, bound, e));
    size_t packed = ZSTD_compressCCtx(p->zstd, p->numbers.ptr, bound,
                                      p->page.ptr ? p->page.ptr : "", p->page.len, PACK_LEVEL);
    if (ZSTD_isError(packed) || packed > INT32_MAX)
        return ERR(e, ERR_INTERNAL, "zstd: %s", ZSTD_getErrorName(packed));
    TRY(thrift_i32(&t, 1, dictionary ? 2 : 0, e));
    TRY(thrift_i32(&t, 2, (int32_t)p->page.len, e));
    TRY(thrift_i32(&t, 3, (int32_t)packed, e));
    TRY(thrift_struct(&t, dictionary ? 7 : 5, e));
    TRY(thrift_i32(&t, 1, (int32_t)n_values, e));
    TRY(thrift_i32(&t, 2, encoding, e));
    if (!dictionary) {
        TRY(thrift_i32(&t, 3, RLE, e));
        TRY(thrift_i32(&t, 4, RLE, e));
    }
    TRY(thrift_end(&t, e));
    TRY(thrift_end(&t, e));
    TRY(buf_add(out, buf_sv(&header), e));
    TRY(buf_add(out, sv_make(p->numbers.ptr, packed), e));
    told->unpacked += header.len + p->page.len;
    told->packed += header.len + packed;
    return ERR_OK;
}

/* ---- a chunk ---- */

static size_t value_bytes(const struct parquet_column *c, const struct parquet_data *d, size_t at)
{
    const unsigned char *p = (const unsigned char *)d->plain.ptr + at;
    if (c->type != PARQUET_STRING)
        return parquet_width(c->type);
    return 4 + ((size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24);
}

/* So many whole rows from s's begin on as a page holds. */
static void fill_span(const struct parquet_column *c, const struct parquet_data *d, struct span *s)
{
    const unsigned most = parquet_level_max(c);
    s->n_entries = s->n_values = s->n_bytes = 0;
    for (size_t at = s->entry; at < d->levels.len; at++) {
        unsigned char l = (unsigned char)d->levels.ptr[at];
        bool full = s->n_entries >= PAGE_ENTRIES || s->n_bytes >= PAGE_BYTES;
        if (full && !(l & PARQUET_REPEATED))
            return;
        s->n_entries++;
        if ((l & ~PARQUET_REPEATED) != most)
            continue;
        s->n_values++;
        if (!d->dictionary)
            s->n_bytes += value_bytes(c, d, s->byte + s->n_bytes);
    }
}

static err_code put_data(struct parquet_packer *p, const struct parquet_column *c,
                         const struct parquet_data *d, struct buf *out, struct parquet_chunk *told,
                         struct err *e)
{
    struct span s = { 0 };
    while (s.entry < d->levels.len) {
        fill_span(c, d, &s);
        buf_clear(&p->page);
        if (c->list)
            TRY(levels(p, d, &s, true, 1, e));
        TRY(levels(p, d, &s, false, c->list ? 2 : 1, e));
        TRY(values(p, c, d, &s, e));
        TRY(put_page(p, false, s.n_entries, d->dictionary ? RLE_DICTIONARY : PLAIN, out, told, e));
        s = (struct span){ .entry = s.entry + s.n_entries,
                           .value = s.value + s.n_values,
                           .byte = s.byte + s.n_bytes };
    }
    return ERR_OK;
}

err_code parquet_chunk_put(struct parquet_packer *p, const struct parquet_column *c,
                           struct parquet_data *d, uint64_t from, struct buf *out,
                           struct parquet_chunk *told, struct err *e)
{
    *told = (struct parquet_chunk){ .dictionary_at = out->len - from, .n_entries = d->levels.len };
    if (d->dictionary && (d->n_values == 0 || parquet_entries(d) > d->n_values / 2))
        TRY(parquet_expand(d, e));
    if (d->dictionary) {
        buf_clear(&p->page);
        TRY(buf_add(&p->page, buf_sv(&d->plain), e));
        TRY(put_page(p, true, parquet_entries(d), PLAIN, out, told, e));
    }
    told->data_at = out->len - from;
    return put_data(p, c, d, out, told, e);
}
