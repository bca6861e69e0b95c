/* datastores.c - the operations on data stores that there are: describe, list, update, delete.
 *
 * Deleting writes the record, DELETING, and answers; the work on the store itself is done in the
 * background (datastore_life.c). Deleted data stores stay in lists, as AWS lists them. An update
 * writes the record: all that can be changed here takes effect at once. */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "base/limits.h"

/* ---- delete ---- */

static err_code delete_locked(struct call *call, struct err *e)
{
    struct datastore datastore;
    TRY(call_datastore(call, call_text(call, "DatastoreId"), &datastore, e));
    if (datastore_in_transition(&datastore) || sv_eq(datastore.status, SV_LIT("DELETED")))
        return ERR(e, ERR_CONFLICT, "Data store is %.*s and cannot be deleted now",
                   SV_FMT(datastore.status));
    CLEANUP_BUF struct buf text = BUF_INIT(DATASTORE_RECORD_MAX);
    struct datastore before = datastore;
    datastore.status = SV_LIT("DELETING");
    backup_end(&datastore.backup, clock_wall_ms());
    TRY(datastore_write(call->service, &datastore, e));
    err_code rc = datastore_begin_work(call->service, &datastore, e);
    if (rc != ERR_OK) {
        /* the caller learns of the first failure; if this fails too, a restart goes on deleting */
        struct err ignored;
        IGNORE(datastore_print(&datastore, &text, &ignored));
        if (before.former.len)
            before.former = buf_sv(&text);
        IGNORE(datastore_write(call->service, &before, &ignored));
        return rc;
    }
    datastore_answer_brief(call, &datastore);
    return ERR_OK;
}

err_code op_delete_datastore(struct call *call, struct err *e)
{
    return call_change(call, delete_locked, e);
}

/* ---- update ---- */

static err_code update_locked(struct call *call, struct err *e)
{
    struct datastore datastore;
    yyjson_val *identity = call_member(call, "IdentityProviderConfiguration");
    sv name = call_text(call, "DatastoreName");
    TRY(call_datastore(call, call_text(call, "DatastoreId"), &datastore, e));
    if (sv_eq(datastore.status, SV_LIT("DELETED")))
        return ERR(e, ERR_NOT_FOUND, "Data store %.*s is DELETED", SV_FMT(datastore.id));
    if (!sv_eq(datastore.status, SV_LIT("ACTIVE")))
        return ERR(e, ERR_CONFLICT, "Data store is %.*s and cannot be updated now",
                   SV_FMT(datastore.status));
    TRY(datastore_check_identity(call, e));
    TRY(backup_check(call, e));
    if (name.ptr)
        datastore.name = name;
    /* the whole of it: what is left out has no value any more */
    if (identity)
        datastore.identity = identity;
    backup_configure(&datastore.backup, call_member(call, "BackupConfiguration"), clock_wall_ms());
    TRY(datastore_write(call->service, &datastore, e));
    json_key(&call->out, "DatastoreProperties");
    datastore_answer_properties(call, &datastore);
    return ERR_OK;
}

err_code op_update_datastore(struct call *call, struct err *e)
{
    return call_change(call, update_locked, e);
}

/* ---- describe and list ---- */

err_code op_describe_datastore(struct call *call, struct err *e)
{
    struct datastore datastore;
    call_watch(call, call_text(call, "DatastoreId"));
    TRY(call_datastore(call, call_text(call, "DatastoreId"), &datastore, e));
    call->unended = datastore_in_transition(&datastore);
    json_key(&call->out, "DatastoreProperties");
    datastore_answer_properties(call, &datastore);
    return ERR_OK;
}

struct list_ctx {
    struct call *call;
    sv name, status;
    int64_t before_ms, after_ms;
    unsigned max, n, seen;
    char last[64]; /* key of the last one that was looked at */
    size_t last_len;
    bool more;
    err_code rc;
    struct err *e;
};

static bool list_one(void *ctx, sv key, sv id)
{
    struct list_ctx *l = ctx;
    struct datastore datastore;
    /* a page may be short: its token goes on */
    if (l->seen++ == LIMIT_LIST_SEEN) {
        l->more = true;
        return false;
    }
    arena_mark m = arena_mark_get(l->call->a);
    l->rc = datastore_read(l->call->service, id, l->call->a, &datastore, l->e);
    if (l->rc != ERR_OK)
        return false;
    bool wanted = (!l->name.ptr || sv_eq(l->name, datastore.name)) &&
                  (!l->status.ptr || sv_eq(l->status, datastore.status)) &&
                  (!l->before_ms || datastore.created_ms < l->before_ms) &&
                  (!l->after_ms || datastore.created_ms > l->after_ms);
    if (wanted && l->n == l->max) {
        l->more = true;
        return false;
    }
    if (wanted) {
        l->n++;
        datastore_answer_properties(l->call, &datastore);
    }
    arena_rewind(l->call->a, m);
    l->last_len = key.len < sizeof l->last ? key.len : 0;
    memcpy(l->last, key.ptr, l->last_len);
    return true;
}

err_code op_list_datastores(struct call *call, struct err *e)
{
    yyjson_val *f = call_member(call, "Filter");
    sv position, token, prefix = SV_LIT("datastorelist/");
    struct list_ctx l = { .call = call,
                          .name = json_string(json_get(f, "DatastoreName")),
                          .status = json_string(json_get(f, "DatastoreStatus")),
                          .before_ms = call_time_ms(json_get(f, "CreatedBefore")),
                          .after_ms = call_time_ms(json_get(f, "CreatedAfter")),
                          .max = page_size(call),
                          .e = e };
    TRY(call_allowed(call, NULL, e));
    TRY(next_token_read(call, &position, e));
    json_key(&call->out, "DatastorePropertiesList");
    json_arr(&call->out);
    TRY(records_scan(call->service->cfg.records, prefix, position, list_one, &l, e));
    TRY(l.rc);
    json_arr_end(&call->out);
    if (l.more) {
        TRY(next_token_make(call, sv_make(l.last, l.last_len), &token, e));
        json_kv_str(&call->out, "NextToken", token);
    }
    return ERR_OK;
}
