/* sieve.c - which resources have an entry of a clause, asked of the index.
 *
 * For each value of the clause's entries a cursor stays where the last look left it, together with
 * what that look found: a span of numbers without an entry. Numbers that come in ascending order
 * mostly fall into that span, or are found a step behind it. */
#include "query/sieve_private.h"

#define TRIAL \
    64u /* looks; a sieve that then has kept three quarters of them costs more than it saves */

struct sieve_value {
    struct store_index_cursor *cursor; /* of this value alone, so that it stays where it was left */
    unsigned char value[SEARCH_KEY_MAX];
    uint8_t len;
    /* What the last look found: no number from `from` to in front of `upto` has an entry, and upto
     * has one. Both 0: there was no look yet. */
    store_number from, upto;
    bool to_end; /* no number from `from` on has an entry */
};

struct query_sieve {
    struct sieve_value values[SIEVE_VALUES];
    size_t n;
    unsigned asked, kept;
    bool idle;
};

void query_sieve_close(struct query_sieve *sieve)
{
    if (sieve == NULL)
        return;
    for (size_t i = 0; i < sieve->n; i++)
        store_index_close(sieve->values[i].cursor);
    free(sieve);
}

/* Find the values of one driver's entries. A seek behind all numbers of a value leads to the next
 * value. */
static err_code learn(struct query_sieve *sieve, struct store *st, fhir_type type,
                      const struct search_driver *driver, uint64_t as_of, bool *many, struct err *e)
{
    CLEANUP(store_index_close) struct store_index_cursor *c = NULL;
    struct store_index_hit hit;
    size_t first = sieve->n;
    err_code rc;
    TRY(store_index_scan(st, type, driver, SV_NONE, 0, as_of, &c, e));
    while ((rc = store_index_next(c, &hit, e)) == ERR_OK) {
        if (sieve->n == SIEVE_VALUES) {
            *many = true;
            return ERR_OK;
        }
        struct sieve_value *v = &sieve->values[sieve->n++];
        v->len = (uint8_t)hit.value.len;
        memcpy(v->value, hit.value.ptr, hit.value.len);
        store_index_seek(c, sv_make(v->value, v->len), UINT64_MAX);
    }
    if (rc != ERR_EOF)
        return rc;
    for (size_t i = first; i < sieve->n; i++)
        if (i == first) {
            sieve->values[i].cursor = c;
            c = NULL;
        } else {
            TRY(store_index_scan(st, type, driver, SV_NONE, 0, as_of, &sieve->values[i].cursor, e));
        }
    return ERR_OK;
}

err_code query_sieve_open(struct store *st, fhir_type type, const struct search_driver *drivers,
                          size_t n_drivers, uint64_t as_of, struct query_sieve **out, struct err *e)
{
    struct query_sieve *sieve = calloc(1, sizeof *sieve);
    if (sieve == NULL)
        abort();
    bool many = false;
    err_code rc = ERR_OK;
    for (size_t i = 0; i < n_drivers && rc == ERR_OK && !many; i++)
        rc = learn(sieve, st, type, &drivers[i], as_of, &many, e);
    if (rc != ERR_OK || many) {
        query_sieve_close(sieve);
        sieve = NULL;
    }
    if (rc == ERR_OK)
        *out = sieve;
    return rc;
}

static err_code has_value(struct sieve_value *v, store_number number, bool *out, struct err *e)
{
    struct store_index_hit hit;
    sv value = sv_make(v->value, v->len);
    if ((v->upto || v->to_end) && v->from <= number && (v->to_end || number <= v->upto)) {
        *out = !v->to_end && number == v->upto;
        return ERR_OK;
    }
    store_index_seek(v->cursor, value, number);
    err_code rc = store_index_next(v->cursor, &hit, e);
    if (rc != ERR_OK && rc != ERR_EOF)
        return rc;
    v->to_end = rc == ERR_EOF || !sv_eq(hit.value, value);
    v->from = number;
    v->upto = v->to_end ? 0 : hit.number;
    *out = !v->to_end && hit.number == number;
    return ERR_OK;
}

err_code query_sieve_has(struct query_sieve *sieve, store_number number, bool *out, struct err *e)
{
    bool has = sieve->idle;
    for (size_t i = 0; i < sieve->n && !has; i++)
        TRY(has_value(&sieve->values[i], number, &has, e));
    sieve->kept += has;
    if (++sieve->asked == TRIAL)
        sieve->idle = sieve->kept > TRIAL / 4 * 3;
    *out = has;
    return ERR_OK;
}
