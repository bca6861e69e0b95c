/* datastores.c - operations on data stores that exist: delete, describe, list.
 *
 *   datastorelist/<~order>  -> id     newest first; lists go along these keys
 *
 * Deleting writes the record, DELETING, and answers; the work is done in the background
 * (datastore_life.c). Deleted data stores stay in lists, as AWS lists them. */
#include "aws/aws_private.h"

#include "base/limits.h"

/* ---- delete ---- */

static err_code delete_locked(struct call *c, struct err *e)
{
    struct datastore d;
    TRY(call_datastore(c, call_text(c, "DatastoreId"), &d, e));
    if (datastore_in_transition(&d) || sv_eq(d.status, SV_LIT("DELETED")))
        return ERR(e, ERR_CONFLICT, "Data store is %.*s and cannot be deleted now",
                   SV_FMT(d.status));
    struct datastore before = d;
    d.status = SV_LIT("DELETING");
    TRY(datastore_write(c->s, &d, e));
    err_code rc = datastore_begin_work(c->s, &d, e);
    if (rc != ERR_OK) {
        /* the caller learns of the first failure; if this fails too, a restart goes on deleting */
        struct err ignored;
        IGNORE(datastore_write(c->s, &before, &ignored));
        return rc;
    }
    datastore_answer_brief(c, &d);
    return ERR_OK;
}

err_code op_delete_datastore(struct call *c, struct err *e)
{
    pthread_mutex_lock(&c->s->aws->records_lock);
    err_code rc = delete_locked(c, e);
    pthread_mutex_unlock(&c->s->aws->records_lock);
    return rc;
}

/* ---- describe and list ---- */

err_code op_describe_datastore(struct call *c, struct err *e)
{
    struct datastore d;
    call_watch(c, call_text(c, "DatastoreId"));
    TRY(call_datastore(c, call_text(c, "DatastoreId"), &d, e));
    c->unended = datastore_in_transition(&d);
    json_key(&c->out, "DatastoreProperties");
    datastore_answer_properties(c, &d);
    return ERR_OK;
}

struct list_ctx {
    struct call *c;
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
    struct datastore d;
    /* a page may be short: its token goes on */
    if (l->seen++ == LIMIT_LIST_SEEN) {
        l->more = true;
        return false;
    }
    arena_mark m = arena_mark_get(l->c->a);
    l->rc = datastore_read(l->c->s, id, l->c->a, &d, l->e);
    if (l->rc != ERR_OK)
        return false;
    bool wanted = (!l->name.ptr || sv_eq(l->name, d.name)) &&
                  (!l->status.ptr || sv_eq(l->status, d.status)) &&
                  (!l->before_ms || d.created_ms < l->before_ms) &&
                  (!l->after_ms || d.created_ms > l->after_ms);
    if (wanted && l->n == l->max) {
        l->more = true;
        return false;
    }
    if (wanted) {
        l->n++;
        datastore_answer_properties(l->c, &d);
    }
    arena_rewind(l->c->a, m);
    l->last_len = key.len < sizeof l->last ? key.len : 0;
    memcpy(l->last, key.ptr, l->last_len);
    return true;
}

err_code op_list_datastores(struct call *c, struct err *e)
{
    yyjson_val *f = call_member(c, "Filter");
    sv position, token, prefix = SV_LIT("datastorelist/");
    struct list_ctx l = { .c = c,
                          .name = json_string(json_get(f, "DatastoreName")),
                          .status = json_string(json_get(f, "DatastoreStatus")),
                          .before_ms = call_time_ms(json_get(f, "CreatedBefore")),
                          .after_ms = call_time_ms(json_get(f, "CreatedAfter")),
                          .max = page_size(c),
                          .e = e };
    TRY(call_allowed(c, NULL, e));
    TRY(next_token_read(c, &position, e));
    json_key(&c->out, "DatastorePropertiesList");
    json_arr(&c->out);
    TRY(records_scan(c->s->cfg.records, prefix, position, list_one, &l, e));
    TRY(l.rc);
    json_arr_end(&c->out);
    if (l.more) {
        TRY(next_token_make(c, sv_make(l.last, l.last_len), &token, e));
        json_kv_str(&c->out, "NextToken", token);
    }
    return ERR_OK;
}
