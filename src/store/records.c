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

bool records_shared(const struct records *r)
{
    return r->ops->nodes != NULL;
}

void records_tell(struct records *r, sv word)
{
    if (r->ops->tell)
        r->ops->tell(r, word);
}

void records_on_told(struct records *r, records_told_fn told, void *ctx)
{
    if (r->ops->on_told)
        r->ops->on_told(r, told, ctx);
}

err_code nodes_list(struct records *r, node_each_fn each, void *ctx, struct err *e)
{
    return r->ops->nodes ? r->ops->nodes(r, each, ctx, e) : ERR_OK;
}

sv nodes_self(const struct records *r)
{
    return r->ops->self ? sv_from(r->ops->self(r)) : SV_NONE;
}

bool nodes_reached(const struct records *r)
{
    return r->ops->reached == NULL || r->ops->reached(r);
}

err_code records_get(struct records *r, sv key, struct buf *out, struct err *e)
{
    const struct records_write w = { .key = key };
    TRY(store_record_keys_check(&w, 1, e));
    return r->ops->get(r, key, out, e);
}

err_code records_write(struct records *r, const struct records_write *w, size_t n, struct err *e)
{
    TRY(store_record_keys_check(w, n, e));
    return r->ops->write(r, w, n, e);
}

err_code records_put(struct records *r, sv key, sv value, struct err *e)
{
    struct records_write w = { RECORDS_PUT, key, value };
    return records_write(r, &w, 1, e);
}

err_code records_once(struct records *r, sv key, sv fresh, struct buf *out, struct err *e)
{
    const struct records_write w = { RECORDS_PUT_IF_ABSENT, key, fresh };
    struct err why;
    err_code rc = records_get(r, key, out, &why);
    if (rc == ERR_NOT_FOUND)
        rc = records_write(r, &w, 1, &why);
    else
        return rc == ERR_OK ? rc : err_pass(e, &why);
    if (rc == ERR_OK)
        return buf_add(out, fresh, e);
    /* another process was faster */
    return rc == ERR_EXISTS ? records_get(r, key, out, e) : err_pass(e, &why);
}

err_code records_put_unsynced(struct records *r, sv key, sv value, struct err *e)
{
    const struct records_write w = { .key = key };
    TRY(store_record_keys_check(&w, 1, e));
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
