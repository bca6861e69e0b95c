/* report.c - what a check tells, and how it reads a family.
 *
 * A line names the family, and of a resource its type and number. Ids and all that resources say
 * stay out of it. The first lines are told, all are counted. */
#include "store/rocks/check/check_private.h"

#define LINE_MAX_BYTES 512u
#define TELL_EVERY     65536u /* keys */
#define READAHEAD      (256u << 10)

static void tell(struct check *c, const char *line, int len)
{
    if (c->out->n_wrong++ < STORE_CHECK_LINES)
        c->told->wrong(
            c->told->ctx,
            sv_make(line, (size_t)len < LINE_MAX_BYTES ? (size_t)len : LINE_MAX_BYTES - 1));
}

void check_wrong(struct check *c, int family, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;
    if (c->again)
        return;
    int n = snprintf(line, sizeof line, "%s: ", rocks_family_names[family]);
    va_start(args, fmt);
    n += vsnprintf(line + n, sizeof line - (size_t)n, fmt, args);
    va_end(args);
    tell(c, line, n);
}

void check_number_wrong(struct check *c, int family, store_number number, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;
    if (c->again)
        return;
    const fhir_type type = number_type(number);
    int n = snprintf(line, sizeof line, "%s: %s %llu:%u: ", rocks_family_names[family],
                     type && type <= fhir_n_types() ? fhir_type_name(type) : "(no type)",
                     (unsigned long long)number_b(number), number_k(number));
    va_start(args, fmt);
    n += vsnprintf(line + n, sizeof line - (size_t)n, fmt, args);
    va_end(args);
    tell(c, line, n);
}

/* Damage is told; the family is not used any more. */
static void unreadable(struct check *c, int family, const struct err *e)
{
    if (!c->damaged[family])
        check_wrong(c, family, "%s", e->msg);
    c->damaged[family] = true;
}

void check_each(struct check *c, int family, check_fn fn)
{
    struct err e;
    uint64_t n = 0, about = 0;
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(ro, 1);
    rocksdb_readoptions_set_fill_cache(ro, 0);
    rocksdb_readoptions_set_readahead_size(ro, READAHEAD);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(c->r.db, ro, c->r.cf[family]);
    (void)rocksdb_property_int_cf(c->r.db, c->r.cf[family], "rocksdb.estimate-num-keys", &about);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *key = rocksdb_iter_key(it, &key_len), *value = rocksdb_iter_value(it, &len);
        fn(c, sv_make(key, key_len), sv_make(value, len));
        if (++n % TELL_EVERY == 0 && c->told->progress)
            c->told->progress(c->told->ctx, rocks_family_names[family], n, about);
    }
    if (rocks_iterator_end(it, ro, ERR_OK, &e) != ERR_OK)
        unreadable(c, family, &e);
}

bool check_get(struct check *c, int family, sv key, struct buf *out)
{
    struct err e;
    char *bad = NULL;
    size_t len = 0;
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(ro, family != CF_VERSIONS);
    char *v = rocksdb_get_cf(c->r.db, ro, c->r.cf[family], key.ptr, key.len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    err_code rc = rocks_error(bad, "reading the data store", &e);
    if (rc == ERR_OK && v)
        rc = buf_add(out, sv_make(v, len), &e);
    rocksdb_free(v);
    if (rc != ERR_OK)
        unreadable(c, family, &e);
    return rc == ERR_OK && v;
}
