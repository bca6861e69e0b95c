/* load.c - numbers for all that a bulk load brings.
 *
 * Ids are asked for in the order of their keys, and numbers are given in the order of arrival. Both
 * orders are lists of places in one array of asks. */
#include "store/rocks/numbers/load.h"

#include <stdlib.h>

static int by_number(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Asks into the two lists. What was born got its numbers in the order of arrival, so that within a
 * type this is the order of numbers. */
static void part(const struct store_bulk_item *items, const struct number_ask *asks,
                 const uint32_t *arrival, size_t n, struct numbered_items *l)
{
    size_t at[STORE_TYPES + 1] = { 0 };
    for (size_t i = 0; i < n; i++)
        at[asks[i].type + 1] += asks[i].how == NUMBER_BORN;
    for (size_t t = 1; t <= STORE_TYPES; t++)
        at[t] += at[t - 1];
    l->n_born = at[STORE_TYPES];
    l->known = l->born + l->n_born;
    for (size_t i = 0; i < n; i++) {
        const struct number_ask *ask = &asks[arrival[i]];
        struct numbered row = { ask->number, &items[arrival[i]] };
        if (ask->how == NUMBER_BORN)
            l->born[at[ask->type]++] = row;
        else
            l->known[l->n_known++] = row;
    }
    if (l->n_known)
        qsort(l->known, l->n_known, sizeof *l->known, by_number);
}

struct arrived {
    uint64_t seq;
    uint32_t at;
};

static int by_arrival(const void *a, const void *b)
{
    const struct arrived *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void order_of_arrival(const struct store_bulk_item *items, size_t n, uint32_t *arrival)
{
    struct arrived *rows = malloc(n * sizeof *rows);
    if (rows == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct arrived){ items[i].seq, (uint32_t)i };
    qsort(rows, n, sizeof *rows, by_arrival);
    for (size_t i = 0; i < n; i++)
        arrival[i] = rows[i].at;
    free(rows);
}

err_code numbers_of_load(const struct ids_family *f, struct claims_holder *h, uint64_t b,
                         const struct store_bulk_item *items, size_t n, const char *path,
                         struct numbered_items *l, struct err *e)
{
    struct number_ask *asks = malloc(n * sizeof *asks);
    uint32_t *arrival = malloc(n * sizeof *arrival);
    struct number_source *from = calloc(1, sizeof *from);
    *l = (struct numbered_items){ .born = malloc(n * sizeof *l->born) };
    if (asks == NULL || arrival == NULL || from == NULL || l->born == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        asks[i] = (struct number_ask){ .type = items[i].type, .id = items[i].id };
    order_of_arrival(items, n, arrival);
    from->b = b;
    struct ids_keys *keys = ids_keys_new(asks, n);
    err_code rc = ids_number(f, h, from, keys, asks, arrival, e);
    if (rc == ERR_OK)
        rc = ids_write_file(f, path, keys, &l->has_rows, e);
    if (rc == ERR_OK)
        part(items, asks, arrival, n, l);
    ids_keys_free(keys);
    free(from);
    free(arrival);
    free(asks);
    return rc;
}

void numbered_items_done(struct numbered_items *l)
{
    free(l->born);
}
