/* tally.c - sums: how many resources are current, of a type and of a type with one token value.
 *
 *   counts   type, parameter (2), length (1), value -> a sum, 8 bytes, little endian
 *            parameter 0: of the type
 *
 * A sum grows by merging. A commit and a publication bring what they add and what they take away in
 * the very batch that makes them visible, so a sum is right as of every commit, and reading it is
 * one Get. */
#include "store/rocks/rocks_private.h"

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
    size_t key_len = tally_key(type, param, value, key), len = 0;
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
