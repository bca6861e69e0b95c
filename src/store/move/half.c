/* half.c - data stores that are half copied, in the records of where they are copied to.
 *
 *   copying/<datastore>  from which folder; empty: from a database. Then a line: "done", and the
 *                        source's mark, when all of it is there and compared, and others of the
 *                        same call are not */
#include "store/move/move_private.h"

#define DONE SV_LIT("\ndone ")

static sv key_of(struct arena *a, sv id)
{
    return arena_fmt(a, STORE_HALF_KEYS "%.*s", SV_FMT(id));
}

err_code store_half_write(struct arena *a, sv id, sv from, sv done, struct records_write *out,
                          struct err *e)
{
    out->op = RECORDS_PUT;
    out->key = key_of(a, id);
    out->value = ARENA_JOIN(a, from, done.len ? DONE : SV_LIT("\n"), done);
    return out->key.ptr && out->value.ptr ? ERR_OK : arena_oom(a, e);
}

err_code store_half_end(struct arena *a, sv id, struct records_write *out, struct err *e)
{
    *out = (struct records_write){ .op = RECORDS_DELETE, .key = key_of(a, id) };
    return out->key.ptr ? ERR_OK : arena_oom(a, e);
}

struct finding {
    struct arena *a;
    struct store_half *rows;
    size_t n, max;
};

/* records_each_fn */
static bool find(void *ctx, sv key, sv value)
{
    struct finding *f = ctx;
    if (f->n == f->max)
        return false;
    const sv line = sv_tail(value, sv_find(value, '\n'));
    const sv done = sv_starts(line, DONE) ? sv_tail(line, DONE.len) : SV_NONE;
    f->rows[f->n++] =
        (struct store_half){ .id = arena_sv(f->a, sv_tail(key, sizeof STORE_HALF_KEYS - 1)),
                             .from = arena_sv(f->a, sv_head(value, sv_find(value, '\n'))),
                             .done = arena_sv(f->a, done) };
    return true;
}

err_code store_half_find(struct records *records, struct arena *a, struct store_half *out,
                         size_t max, size_t *n, struct err *e)
{
    struct finding f = { .a = a, .rows = out, .max = max };
    TRY(records_scan(records, SV_LIT(STORE_HALF_KEYS), SV_NONE, find, &f, e));
    for (size_t i = 0; i < f.n; i++)
        if (out[i].id.ptr == NULL || out[i].from.ptr == NULL || out[i].done.ptr == NULL)
            return arena_oom(a, e);
    *n = f.n;
    return ERR_OK;
}

err_code store_half_check(struct records *records, const char *what, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    struct store_half first;
    size_t n;
    TRY(store_half_find(records, a, &first, 1, &n, e));
    if (n == 0)
        return ERR_OK;
    return ERR(
        e, ERR_CONFLICT,
        "data store %.*s is half copied: a `fhirlake copy` from %.*s to this %s was cut off. "
        "Call it again; or give it up with fhirlake copy --abandon --to ..",
        SV_FMT(sv_head(first.id, 64)),
        SV_FMT(first.from.len ? sv_head(first.from, 200) : SV_LIT("a database")), what);
}
