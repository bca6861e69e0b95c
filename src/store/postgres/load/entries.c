/* entries.c - the search entries of a load.
 *
 * Resources of one span of numbers that share a value share a row: it has the first number, and a
 * list of varints, by how much each further number is greater than the one before it. */
#include "store/postgres/write_private.h"

/* Most entries are told apart by `first`. */
struct entry {
    uint64_t first; /* type (8 bits), parameter (16), first bytes of the value (40), 0 behind it */
    const char *value;
    store_number number;
    uint16_t len;
};

static uint64_t first_of(fhir_type type, uint16_t param, sv value)
{
    uint64_t v = (uint64_t)type << 16 | param;
    for (size_t i = 0; i < 5; i++)
        v = v << 8 | (i < value.len ? (unsigned char)value.ptr[i] : 0);
    return v;
}

static unsigned type_of(const struct entry *x)
{
    return (unsigned)(x->first >> 56);
}

static unsigned param_of(const struct entry *x)
{
    return (unsigned)(x->first >> 40 & 0xFFFF);
}

static int by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    int c = sv_cmp(sv_make(x->value, x->len), sv_make(y->value, y->len));
    return c ? c : x->number < y->number ? -1 : x->number > y->number;
}

static struct entry *entries_of(const struct pg_numbered *rows, size_t n_rows, size_t *n_out)
{
    size_t n = 0, at = 0;
    uint16_t param;
    sv value;
    for (size_t i = 0; i < n_rows; i++)
        for (sv list = rows[i].item->index; search_index_next(&list, &param, &value);)
            n++;
    struct entry *all = calloc(n ? n : 1, sizeof *all);
    if (all == NULL)
        abort();
    for (size_t i = 0; i < n_rows; i++)
        for (sv list = rows[i].item->index; search_index_next(&list, &param, &value);)
            all[at++] = (struct entry){ first_of(rows[i].item->type, param, value), value.ptr,
                                        rows[i].number, (uint16_t)value.len };
    if (n)
        qsort(all, n, sizeof *all, by_key);
    *n_out = n;
    return all;
}

/* Of n entries that share type, parameter, value and span. */
static err_code put_row(struct pg_load_copy *c, const struct entry *of, size_t n, int64_t load,
                        struct err *e)
{
    char list[PG_LIST_MOST];
    size_t len = 0;
    for (size_t i = 1; i < n; i++) {
        const uint64_t step = of[i].number - of[i - 1].number;
        /* a resource can list an entry twice */
        if (step)
            len += pg_step_put(list + len, step);
    }
    TRY(pg_load_copy_row(c, 6, 20 + (size_t)of->len + len, e));
    pg_put_i16(c, type_of(of));
    pg_put_i16(c, param_of(of));
    pg_put_bytes(c, sv_make(of->value, of->len));
    pg_put_i64(c, (int64_t)of->number);
    pg_put_i64(c, load);
    pg_put_bytes(c, len ? sv_make(list, len) : SV_NONE);
    return ERR_OK;
}

static bool share_row(const struct entry *x, const struct entry *y)
{
    return x->first == y->first && x->number >> PG_SPAN_BITS == y->number >> PG_SPAN_BITS &&
           x->len == y->len && memcmp(x->value, y->value, x->len) == 0;
}

err_code pg_load_entries(PGconn *conn, uint64_t b, const struct pg_numbered *rows, size_t n_rows,
                         struct err *e)
{
    struct pg_load_copy c;
    size_t n_entries;
    struct entry *all = entries_of(rows, n_rows, &n_entries);
    err_code rc = pg_load_copy_begin(
        &c, conn, "copy search(type, param, value, number, n, list) from stdin (format binary)", e);
    if (rc != ERR_OK) {
        free(all);
        return rc;
    }
    for (size_t i = 0, n; i < n_entries && rc == ERR_OK; i += n) {
        for (n = 1; i + n < n_entries && share_row(&all[i], &all[i + n]); n++)
            ;
        rc = put_row(&c, &all[i], n, -(int64_t)b, e);
    }
    free(all);
    return pg_load_copy_end(&c, rc, e);
}
