/* tally.c - changes of sums, collected in memory before they are written.
 *
 * A token's entry is counted under its whole value (code and system) and under the code alone, once
 * a resource. A tally is a hash table of keys; the engine writes them in the very transaction that
 * makes the change visible. */
#include "store/tally.h"

#include "base/limits.h"

#include <stdlib.h>

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

size_t tally_key(fhir_type type, uint16_t param, sv value, unsigned char out[COUNT_KEY_MAX])
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
    (void)tally_key(type, param, value, key);
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
