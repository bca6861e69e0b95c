/* datastores.c - the operations on data stores: create, describe, list, delete; and how an answer
 * tells of one. Settings that its creator did not give are shown as HealthLake's defaults.
 *
 *   datastore/<id>                   -> the record, CREATING     (service/datastore.c)
 *   datastoreactive/<id>             -> ""                       a restart takes it up
 *   datastorelist/<~order>           -> id                       newest first; lists go along these
 *   datastoretoken/<caller>/<token>  -> what the token made      (job/client_token.h)
 *
 * Creating writes these records in one batch and answers. Deleting writes the record, DELETING, and
 * answers. The work on the store itself is done in the background (datastore_life.c). A creation
 * holds records_lock all the time, so that two requests with one token, or two for the last place,
 * come one after the other. Deleted data stores stay in lists, as AWS lists them. */
#include "aws/aws_private.h"

#include "auth/bearer/bearer.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/rng.h"
#include "event/event.h"
#include "job/client_token.h"

/* ---- answers ---- */

static sv endpoint(struct call *call, sv id)
{
    return ARENA_JOIN(call->a, datastore_url(call->service, call->req, id), SV_LIT("/"));
}

/* What Create and Delete tell. */
static void datastore_answer_brief(struct call *call, const struct datastore *datastore)
{
    json_kv_str(&call->out, "DatastoreId", datastore->id);
    json_kv_str(&call->out, "DatastoreArn", datastore->arn);
    json_kv_str(&call->out, "DatastoreStatus", datastore->status);
    json_kv_str(&call->out, "DatastoreEndpoint", endpoint(call, datastore->id));
}

/* What Describe and List tell. */
static void datastore_answer_properties(struct call *call, const struct datastore *datastore)
{
    struct json_writer *w = &call->out;
    json_obj(w);
    json_kv_str(w, "DatastoreId", datastore->id);
    json_kv_str(w, "DatastoreArn", datastore->arn);
    if (datastore->name.ptr)
        json_kv_str(w, "DatastoreName", datastore->name);
    json_kv_str(w, "DatastoreStatus", datastore->status);
    json_key(w, "CreatedAt");
    json_epoch_ms(w, datastore->created_ms);
    json_kv_str(w, "DatastoreTypeVersion", SV_LIT("R4"));
    json_kv_str(w, "DatastoreEndpoint", endpoint(call, datastore->id));
    json_key(w, "SseConfiguration");
    if (datastore->sse)
        json_val(w, datastore->sse);
    else
        json_raw(w, SV_LIT("{\"KmsEncryptionConfig\":{\"CmkType\":\"AWS_OWNED_KMS_KEY\"}}"));
    json_kv_given(w, "PreloadDataConfig", datastore->preload);
    json_key(w, "IdentityProviderConfiguration");
    if (datastore->identity)
        json_val(w, datastore->identity);
    else
        json_raw(w, SV_LIT("{\"AuthorizationStrategy\":\"AWS_AUTH\","
                           "\"FineGrainedAuthorizationEnabled\":false}"));
    if (datastore->error_message.len) {
        json_key(w, "ErrorCause");
        json_obj(w);
        json_kv_str(w, "ErrorMessage", datastore->error_message);
        json_kv_str(w, "ErrorCategory", datastore->error_category);
        json_obj_end(w);
    }
    json_obj_end(w);
}

/* ---- create ---- */

/* The identity provider of a data store is one that the operator knows. */
static err_code check_identity(struct call *call, struct err *e)
{
    const struct bearer *bearer = auth_bearer(call->service->cfg.auth);
    return identity_check(call->a, call_member(call, "IdentityProviderConfiguration"),
                          bearer ? bearer_providers(bearer) : NULL, e);
}

/* The digest of all that the request asks for. The members' order is part of digests on disk. */
static err_code digest(struct call *call, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(DATASTORE_RECORD_MAX);
    struct json_writer w;
    static const char *const members[] = {
        "DatastoreName", "DatastoreTypeVersion",         "SseConfiguration", "PreloadDataConfig",
        "Tags",          "IdentityProviderConfiguration"
    };
    json_writer_init(&w, &b);
    json_arr(&w);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        json_val(&w, call_member(call, members[i]));
    json_arr_end(&w);
    TRY(json_writer_end(&w, e));
    return client_token_digest(call->a, buf_sv(&b), out, e);
}

/* Answers with the data store that a token made. ERR_NOT_FOUND: the token is new. */
static err_code by_token(struct call *call, sv key, sv want, struct err *e)
{
    struct client_token t;
    struct datastore datastore;
    TRY(client_token_read(call->service->cfg.records, key, call->a, &t, e));
    TRY(client_token_same(&t, want, "data store", e));
    TRY(datastore_read(call->service, t.datastore_id, call->a, &datastore, e));
    datastore_answer_brief(call, &datastore);
    return ERR_OK;
}

/* A record of what the call asks for. Its order is its place in lists: unique, and growing. */
static struct datastore record_of(struct call *call)
{
    const uint64_t last = call->service->aws->there.last_order;
    char id[33];
    rng_hex32(id);
    struct datastore datastore = { .id = arena_sv(call->a, sv_from(id)),
                                   .name = call_text(call, "DatastoreName"),
                                   .status = SV_LIT("CREATING"),
                                   .created_ms = clock_wall_ms(),
                                   .sse = call_member(call, "SseConfiguration"),
                                   .preload = call_member(call, "PreloadDataConfig"),
                                   .identity = call_member(call, "IdentityProviderConfiguration"),
                                   .tags = call_member(call, "Tags") };
    datastore.arn = datastore_arn(call->service, call->a, datastore.id);
    datastore.order = (uint64_t)datastore.created_ms * 1000;
    if (datastore.order <= last)
        datastore.order = last + 1;
    return datastore;
}

/* The record, its place in lists, its mark for a restart and its token, all or none.
 *   token_key  empty: the request has no token */
static err_code write_new(struct call *call, const struct datastore *datastore, sv token_key,
                          sv token_digest, struct err *e)
{
    CLEANUP_BUF struct buf record = BUF_INIT(DATASTORE_RECORD_MAX);
    const struct client_token t = { .datastore_id = datastore->id, .digest = token_digest };
    sv token;
    TRY(datastore_print(datastore, &record, e));
    TRY(client_token_print(&t, call->a, &token, e));
    struct records_write writes[] = {
        { RECORDS_PUT, arena_fmt(call->a, "datastore/%.*s", SV_FMT(datastore->id)),
          buf_sv(&record) },
        { RECORDS_PUT,
          arena_fmt(call->a, "datastorelist/%016llx", (unsigned long long)~datastore->order),
          datastore->id },
        { RECORDS_PUT, arena_fmt(call->a, "datastoreactive/%.*s", SV_FMT(datastore->id)), SV_NONE },
        { RECORDS_PUT_IF_ABSENT, token_key, token },
        { 0 },
    };
    size_t n = token_key.len ? 4 : 3;
    bool told;
    TRY(datastore_told(call->service, datastore, call->a, &writes[n], &told, e));
    TRY(records_write(call->service->cfg.records, writes, told ? n + 1 : n, e));
    if (told)
        events_written(call->service->cfg.events);
    return ERR_OK;
}

static err_code create_locked(struct call *call, sv token_key, sv token_digest, struct err *e)
{
    struct err why;
    if (call->service->aws->there.n >= call->service->cfg.max_datastores)
        return ERR(e, ERR_THROTTLED, "The account has %u data stores, which is the most",
                   call->service->aws->there.n);
    struct datastore datastore = record_of(call);
    TRY(write_new(call, &datastore, token_key, token_digest, e));
    call->service->aws->there.n++;
    call->service->aws->there.last_order = datastore.order;
    datastore_answer_brief(call, &datastore);
    if (datastore_begin_work(call->service, &datastore, &why) == ERR_OK)
        return ERR_OK;
    datastore.status = SV_LIT("CREATE_FAILED");
    datastore.error_message = sv_from(why.msg);
    datastore.error_category = SV_LIT("RETRYABLE_ERROR");
    return datastore_write(call->service, &datastore, e);
}

/* A caller to whom a policy denies to give a data store such tags may not make one with them. The
 * new one has no id yet, so the policy is asked about an ARN that no data store has. */
static err_code may_create(struct call *call, struct err *e)
{
    struct rights tag = { .arn = datastore_arn(call->service, call->a, SV_LIT("new")),
                          .sent = call_member(call, "Tags"),
                          .unless_denied = true };
    TRY(call_allowed(call, NULL, e));
    return tag.sent ? rights_ask(call->a, &call->caller, "TagResource", &tag, e) : ERR_OK;
}

err_code op_create_datastore(struct call *call, struct err *e)
{
    sv token = call_text(call, "ClientToken"), key = SV_NONE, asked;
    TRY(may_create(call, e));
    TRY(check_identity(call, e));
    TRY(tags_check(NULL, call_member(call, "Tags"), e));
    TRY(digest(call, &asked, e));
    pthread_mutex_lock(&call->service->aws->records_lock);
    err_code rc = ERR_NOT_FOUND;
    if (token.len) {
        key =
            arena_fmt(call->a, "datastoretoken/%.*s/%.*s", SV_FMT(call->caller.arn), SV_FMT(token));
        rc = by_token(call, key, asked, e);
    }
    if (rc == ERR_NOT_FOUND)
        rc = create_locked(call, key, asked, e);
    pthread_mutex_unlock(&call->service->aws->records_lock);
    return rc;
}

/* ---- delete ---- */

static err_code delete_locked(struct call *call, struct err *e)
{
    struct datastore datastore;
    TRY(call_datastore(call, call_text(call, "DatastoreId"), &datastore, e));
    if (datastore_in_transition(&datastore) || sv_eq(datastore.status, SV_LIT("DELETED")))
        return ERR(e, ERR_CONFLICT, "Data store is %.*s and cannot be deleted now",
                   SV_FMT(datastore.status));
    struct datastore before = datastore;
    datastore.status = SV_LIT("DELETING");
    TRY(datastore_write(call->service, &datastore, e));
    err_code rc = datastore_begin_work(call->service, &datastore, e);
    if (rc != ERR_OK) {
        /* the caller learns of the first failure; if this fails too, a restart goes on deleting */
        struct err ignored;
        IGNORE(datastore_write(call->service, &before, &ignored));
        return rc;
    }
    datastore_answer_brief(call, &datastore);
    return ERR_OK;
}

err_code op_delete_datastore(struct call *call, struct err *e)
{
    pthread_mutex_lock(&call->service->aws->records_lock);
    err_code rc = delete_locked(call, e);
    pthread_mutex_unlock(&call->service->aws->records_lock);
    return rc;
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
