/* tally.c - sums: how many resources are current, of a type and of a type with one token value.
 *
 *   counts   type, parameter (2), length (1), value -> a sum, 8 bytes, little endian
 *            parameter 0: of the type
 *
 * A sum grows by merging. A commit and a publication bring what they add and what they take away in
 * the very batch that makes them visible, so a sum is right as of every commit, and reading it is
 * one Get. A tally is that change, collected before it is written. A token's entry is counted under
 * its whole value (code and system) and under the code alone, once a resource. */
#include "store/rocks/rocks_private.h"

static uint64_t hash_of(const unsigned char key[COUNT_KEY_MAX])
{
    uint64_t a, b, c;
    memcpy(&a, key, 8);
    memcpy(&b, key + 8, 8);
    memcpy(&c, key + 16, 8);
    a = (a ^ (b ^ c * 0xBF58476D1CE4E5B9u) * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
    return a ^ a >> 32;
}

static struct tally_row *row_of(struct tally_row *rows, size_t cap,
                                const unsigned char key[COUNT_KEY_MAX])
{
    size_t i = hash_of(key) & (cap - 1);
    while (rows[i].used && memcmp(rows[i].key, key, COUNT_KEY_MAX) != 0)
        i = (i + 1) & (cap - 1);
    return &rows[i];
}

static void grow(struct tally *t)
{
    size_t cap = t->cap ? t->cap * 2 : 256;
    struct tally_row *rows = calloc(cap, sizeof *rows);
    if (rows == NULL)
        abort();
    for (size_t i = 0; i < t->cap; i++)
        if (t->rows[i].used)
            *row_of(rows, cap, t->rows[i].key) = t->rows[i];
    free(t->rows);
    t->rows = rows;
    t->cap = cap;
}

static void add_key(struct tally *t, const unsigned char key[COUNT_KEY_MAX], int64_t n)
{
    if (t->n * 2 >= t->cap)
        grow(t);
    struct tally_row *r = row_of(t->rows, t->cap, key);
    if (!r->used) {
        memcpy(r->key, key, COUNT_KEY_MAX);
        r->used = true;
        t->n++;
    }
    r->n += n;
}

void tally_add(struct tally *to, const struct tally *from)
{
    for (size_t i = 0; i < from->cap; i++) {
        const struct tally_row *r = &from->rows[i];
        if (r->used)
            add_key(to, r->key, r->n);
    }
}

void tally_pack(struct tally *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->cap; i++)
        if (t->rows[i].used)
            t->rows[kept++] = t->rows[i];
    struct tally_row *rows = kept ? realloc(t->rows, kept * sizeof *rows) : NULL;
    if (kept == 0)
        return;
    /* smaller than it was */
    if (rows == NULL)
        abort();
    t->rows = rows;
    t->cap = kept;
}

void tally_done(struct tally *t)
{
    free(t->rows);
    *t = (struct tally){ 0 };
}

static size_t count_key(fhir_type type, uint16_t param, sv value, unsigned char out[COUNT_KEY_MAX])
{
    memset(out, 0, COUNT_KEY_MAX);
    out[0] = type;
    out[1] = (unsigned char)(param >> 8);
    out[2] = (unsigned char)param;
    out[3] = (unsigned char)value.len;
    if (value.len)
        memcpy(out + 4, value.ptr, value.len);
    return 4 + value.len;
}

static void add(struct tally *t, fhir_type type, uint16_t param, sv value, int64_t n)
{
    unsigned char key[COUNT_KEY_MAX];
    (void)count_key(type, param, value, key);
    add_key(t, key, n);
}

struct token {
    unsigned char v[SEARCH_TOKEN_LEN];
};

static int token_cmp(const void *a, const void *b)
{
    return memcmp(a, b, SEARCH_TOKEN_LEN);
}

/* Values of one parameter of one resource: each once, and each code once. */
static void add_tokens(struct tally *t, fhir_type type, uint16_t param, struct buf *tokens,
                       int64_t n)
{
    struct token *v = (struct token *)(void *)tokens->ptr;
    size_t count = tokens->len / sizeof *v;
    if (count > 1)
        qsort(v, count, sizeof *v, token_cmp);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || memcmp(v[i].v, v[i - 1].v, SEARCH_TOKEN_LEN) != 0)
            add(t, type, param, sv_make(v[i].v, SEARCH_TOKEN_LEN), n);
        if (i == 0 || memcmp(v[i].v, v[i - 1].v, SEARCH_CODE_LEN) != 0)
            add(t, type, param, sv_make(v[i].v, SEARCH_CODE_LEN), n);
    }
    buf_clear(tokens);
}

void tally_resource(struct tally *t, fhir_type type, sv index, int64_t n)
{
    /* which lists them all */
    CLEANUP_BUF struct buf tokens = BUF_INIT(index.len);
    uint16_t param, last = 0;
    sv rest = index, value;
    add(t, type, 0, SV_NONE, n);
    while (search_index_next(&rest, &param, &value)) {
        if (param != last) {
            if (tokens.len)
                add_tokens(t, type, last, &tokens, n);
            last = param;
        }
        /* it has room for all: cannot fail */
        if (value.len == SEARCH_TOKEN_LEN && search_is_counted(type, param))
            IGNORE(buf_add(&tokens, value, NULL));
    }
    if (tokens.len)
        add_tokens(t, type, last, &tokens, n);
}

err_code tally_version(struct tally *t, fhir_type type, sv json, int64_t n, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(json.len));
    CLEANUP_BUF struct buf index = BUF_INIT(SEARCH_ENTRIES_MAX);
    yyjson_doc *doc;
    TRY(json_read(a, json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    TRY(search_index(type, yyjson_doc_get_root(doc), &index, e));
    tally_resource(t, type, buf_sv(&index), n);
    return ERR_OK;
}

void tally_write(const struct tally *t, struct rocks *r, rocksdb_writebatch_t *batch)
{
    for (size_t i = 0; i < t->cap; i++) {
        const struct tally_row *row = &t->rows[i];
        if (!row->used || row->n == 0)
            continue;
        rocksdb_writebatch_merge_cf(batch, r->cf[CF_COUNTS], (const char *)row->key,
                                    4u + row->key[3], (const char *)&row->n, sizeof row->n);
    }
}

/* ---- sums ---- */

static char *sum_of(const char *first, size_t first_len, const char *const *more,
                    const size_t *lens, int n, unsigned char *ok, size_t *out_len)
{
    int64_t sum = 0, one;
    char *out = malloc(sizeof sum);
    if (out == NULL)
        abort();
    *ok = first == NULL || first_len == sizeof sum;
    if (first && *ok)
        memcpy(&sum, first, sizeof sum);
    for (int i = 0; i < n; i++) {
        *ok &= lens[i] == sizeof one;
        memcpy(&one, more[i], *ok ? sizeof one : 0);
        sum += *ok ? one : 0;
    }
    memcpy(out, &sum, sizeof sum);
    *out_len = sizeof sum;
    return out;
}

static char *full_merge(void *state, const char *key, size_t key_len, const char *first,
                        size_t first_len, const char *const *more, const size_t *lens, int n,
                        unsigned char *ok, size_t *out_len)
{
    (void)state;
    (void)key;
    (void)key_len;
    return sum_of(first, first_len, more, lens, n, ok, out_len);
}

static char *partial_merge(void *state, const char *key, size_t key_len, const char *const *more,
                           const size_t *lens, int n, unsigned char *ok, size_t *out_len)
{
    (void)state;
    (void)key;
    (void)key_len;
    return sum_of(NULL, 0, more, lens, n, ok, out_len);
}

static void free_value(void *state, const char *value, size_t len)
{
    (void)state;
    (void)len;
    free((void *)(uintptr_t)value);
}

static void nothing(void *state)
{
    (void)state;
}

static const char *name(void *state)
{
    (void)state;
    return "fhirlake.sum";
}

rocksdb_mergeoperator_t *counts_merge_operator(void)
{
    return rocksdb_mergeoperator_create(NULL, nothing, full_merge, partial_merge, free_value, name);
}

err_code counts_sum(struct rocks *r, fhir_type type, uint16_t param, sv value, uint64_t *out,
                    struct err *e)
{
    unsigned char key[COUNT_KEY_MAX];
    size_t key_len = count_key(type, param, value, key), len = 0;
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    char *v = rocksdb_get_cf(r->db, ro, r->cf[CF_COUNTS], (const char *)key, key_len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    TRY(rocks_error(bad, "reading a count", e));
    int64_t n = 0;
    if (v && len == sizeof n)
        memcpy(&n, v, sizeof n);
    rocksdb_free(v);
    if (n < 0)
        return ERR(e, ERR_CORRUPT, "reading a count: it is below zero");
    *out = (uint64_t)n;
    return ERR_OK;
}
