/* records.c - the calls of records.h, for whichever engine holds the records.
 *
 * Opening finds the engine by the URI; every later call goes through the engine's table. */
#include "store/records.h"

#include "store/store_private.h"

err_code records_open(const char *uri, struct records **out, struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(uri ? uri : "memory:", &engine, &place, e));
    return engine->open_records(place, false, out, e);
}

err_code records_open_to_read(const char *uri, struct records **out, struct err *e)
{
    const struct store_engine *engine;
    const char *place;
    TRY(store_engine_of(uri, &engine, &place, e));
    return engine->open_records(place, true, out, e);
}

void records_close(struct records *r)
{
    if (r)
        r->ops->close(r);
}

err_code records_get(struct records *r, sv key, struct buf *out, struct err *e)
{
    return r->ops->get(r, key, out, e);
}

err_code records_write(struct records *r, const struct records_write *w, size_t n, struct err *e)
{
    return r->ops->write(r, w, n, e);
}

err_code records_put(struct records *r, sv key, sv value, struct err *e)
{
    struct records_write w = { RECORDS_PUT, key, value };
    return records_write(r, &w, 1, e);
}

err_code records_put_unsynced(struct records *r, sv key, sv value, struct err *e)
{
    return r->ops->put_unsynced(r, key, value, e);
}

err_code records_scrub(struct records *r, struct err *e)
{
    return r->ops->scrub(r, e);
}

err_code records_snapshot(struct records *r, const char *folder, struct err *e)
{
    return r->ops->snapshot(r, folder, e);
}

err_code records_scan(struct records *r, sv prefix, sv after, records_each_fn each, void *ctx,
                      struct err *e)
{
    return r->ops->scan(r, prefix, after, each, ctx, e);
}
