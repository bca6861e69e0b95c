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

#include "base/clock.h"
#include "base/limits.h"
#include "base/rng.h"
#include "job/client_token.h"

/* ---- answers ---- */

static sv endpoint(struct call *c, sv id)
{
    return ARENA_JOIN(c->a, datastore_url(c->s, c->req, id), SV_LIT("/"));
}

/* What Create and Delete tell. */
static void datastore_answer_brief(struct call *c, const struct datastore *d)
{
    json_kv_str(&c->out, "DatastoreId", d->id);
    json_kv_str(&c->out, "DatastoreArn", d->arn);
    json_kv_str(&c->out, "DatastoreStatus", d->status);
    json_kv_str(&c->out, "DatastoreEndpoint", endpoint(c, d->id));
}

/* What Describe and List tell. */
static void datastore_answer_properties(struct call *c, const struct datastore *d)
{
    struct json_writer *w = &c->out;
    json_obj(w);
    json_kv_str(w, "DatastoreId", d->id);
    json_kv_str(w, "DatastoreArn", d->arn);
    if (d->name.ptr)
        json_kv_str(w, "DatastoreName", d->name);
    json_kv_str(w, "DatastoreStatus", d->status);
    json_key(w, "CreatedAt");
    json_epoch_ms(w, d->created_ms);
    json_kv_str(w, "DatastoreTypeVersion", SV_LIT("R4"));
    json_kv_str(w, "DatastoreEndpoint", endpoint(c, d->id));
    json_key(w, "SseConfiguration");
    if (d->sse)
        json_val(w, d->sse);
    else
        json_raw(w, SV_LIT("{\"KmsEncryptionConfig\":{\"CmkType\":\"AWS_OWNED_KMS_KEY\"}}"));
    json_kv_given(w, "PreloadDataConfig", d->preload);
    json_key(w, "IdentityProviderConfiguration");
    if (d->identity)
        json_val(w, d->identity);
    else
        json_raw(w, SV_LIT("{\"AuthorizationStrategy\":\"AWS_AUTH\","
                           "\"FineGrainedAuthorizationEnabled\":false}"));
    if (d->error_message.len) {
        json_key(w, "ErrorCause");
        json_obj(w);
        json_kv_str(w, "ErrorMessage", d->error_message);
        json_kv_str(w, "ErrorCategory", d->error_category);
        json_obj_end(w);
    }
    json_obj_end(w);
}

/* ---- create ---- */

/* This server checks signatures, and no access tokens of SMART on FHIR. A data store that relies on
 * such tokens is not made; an older one serves no FHIR (datastore_check_strategy()). */
static err_code check_identity(yyjson_val *idp, struct err *e)
{
    static const char *const smart[] = { "Metadata", "IdpLambdaArn" };
    sv strategy = json_string(json_get(idp, "AuthorizationStrategy"));
    if (idp == NULL)
        return ERR_OK;
    if (!sv_eq(strategy, SV_LIT("AWS_AUTH")))
        return ERR(
            e, ERR_INVALID,
            "IdentityProviderConfiguration.AuthorizationStrategy: access tokens of %.*s are not "
            "checked by this server yet, so only AWS_AUTH is offered",
            SV_FMT(strategy));
    if (yyjson_is_true(json_get(idp, "FineGrainedAuthorizationEnabled")))
        return ERR(
            e, ERR_INVALID,
            "IdentityProviderConfiguration.FineGrainedAuthorizationEnabled is not offered by this "
            "server: leave it out, or say false");
    for (size_t i = 0; i < 2; i++)
        if (json_string(json_get(idp, smart[i])).len)
            return ERR(e, ERR_INVALID,
                       "IdentityProviderConfiguration.%s has no effect with AWS_AUTH: leave it out",
                       smart[i]);
    return ERR_OK;
}

/* The digest of all that the request asks for. The members' order is part of digests on disk. */
static err_code digest(struct call *c, sv *out, struct err *e)
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
        json_val(&w, call_member(c, members[i]));
    json_arr_end(&w);
    TRY(json_writer_end(&w, e));
    return client_token_digest(c->a, buf_sv(&b), out, e);
}

/* Answers with the data store that a token made. ERR_NOT_FOUND: the token is new. */
static err_code by_token(struct call *c, sv key, sv want, struct err *e)
{
    struct client_token t;
    struct datastore d;
    TRY(client_token_read(c->s->cfg.records, key, c->a, &t, e));
    TRY(client_token_same(&t, want, "data store", e));
    TRY(datastore_read(c->s, t.datastore_id, c->a, &d, e));
    datastore_answer_brief(c, &d);
    return ERR_OK;
}

/* A record of what the call asks for. Its order is its place in lists: unique, and growing. */
static struct datastore record_of(struct call *c)
{
    const uint64_t last = c->s->aws->there.last_order;
    char id[33];
    rng_hex32(id);
    struct datastore d = { .id = arena_sv(c->a, sv_from(id)),
                           .name = call_text(c, "DatastoreName"),
                           .status = SV_LIT("CREATING"),
                           .created_ms = clock_wall_ms(),
                           .sse = call_member(c, "SseConfiguration"),
                           .preload = call_member(c, "PreloadDataConfig"),
                           .identity = call_member(c, "IdentityProviderConfiguration"),
                           .tags = call_member(c, "Tags") };
    d.arn = datastore_arn(c->s, c->a, d.id);
    d.order = (uint64_t)d.created_ms * 1000;
    if (d.order <= last)
        d.order = last + 1;
    return d;
}

/* The record, its place in lists, its mark for a restart and its token, all or none.
 *   token_key  empty: the request has no token */
static err_code write_new(struct call *c, const struct datastore *d, sv token_key, sv token_digest,
                          struct err *e)
{
    CLEANUP_BUF struct buf record = BUF_INIT(DATASTORE_RECORD_MAX);
    const struct client_token t = { .datastore_id = d->id, .digest = token_digest };
    sv token;
    TRY(datastore_print(d, &record, e));
    TRY(client_token_print(&t, c->a, &token, e));
    struct records_write writes[] = {
        { RECORDS_PUT, arena_fmt(c->a, "datastore/%.*s", SV_FMT(d->id)), buf_sv(&record) },
        { RECORDS_PUT, arena_fmt(c->a, "datastorelist/%016llx", (unsigned long long)~d->order),
          d->id },
        { RECORDS_PUT, arena_fmt(c->a, "datastoreactive/%.*s", SV_FMT(d->id)), SV_NONE },
        { RECORDS_PUT_IF_ABSENT, token_key, token },
    };
    return records_write(c->s->cfg.records, writes, token_key.len ? 4 : 3, e);
}

static err_code create_locked(struct call *c, sv token_key, sv token_digest, struct err *e)
{
    struct err why;
    if (c->s->aws->there.n >= c->s->cfg.max_datastores)
        return ERR(e, ERR_THROTTLED, "The account has %u data stores, which is the most",
                   c->s->aws->there.n);
    struct datastore d = record_of(c);
    TRY(write_new(c, &d, token_key, token_digest, e));
    c->s->aws->there.n++;
    c->s->aws->there.last_order = d.order;
    datastore_answer_brief(c, &d);
    if (datastore_begin_work(c->s, &d, &why) == ERR_OK)
        return ERR_OK;
    d.status = SV_LIT("CREATE_FAILED");
    d.error_message = sv_from(why.msg);
    d.error_category = SV_LIT("RETRYABLE_ERROR");
    return datastore_write(c->s, &d, e);
}

/* A caller to whom a policy denies to give a data store such tags may not make one with them. The
 * new one has no id yet, so the policy is asked about an ARN that no data store has. */
static err_code may_create(struct call *c, struct err *e)
{
    struct rights tag = { .arn = datastore_arn(c->s, c->a, SV_LIT("new")),
                          .sent = call_member(c, "Tags"),
                          .unless_denied = true };
    TRY(call_allowed(c, NULL, e));
    return tag.sent ? rights_ask(c->a, &c->caller, "TagResource", &tag, e) : ERR_OK;
}

err_code op_create_datastore(struct call *c, struct err *e)
{
    sv token = call_text(c, "ClientToken"), key = SV_NONE, asked;
    TRY(may_create(c, e));
    TRY(check_identity(call_member(c, "IdentityProviderConfiguration"), e));
    TRY(tags_check(NULL, call_member(c, "Tags"), e));
    TRY(digest(c, &asked, e));
    pthread_mutex_lock(&c->s->aws->records_lock);
    err_code rc = ERR_NOT_FOUND;
    if (token.len) {
        key = arena_fmt(c->a, "datastoretoken/%.*s/%.*s", SV_FMT(c->caller.arn), SV_FMT(token));
        rc = by_token(c, key, asked, e);
    }
    if (rc == ERR_NOT_FOUND)
        rc = create_locked(c, key, asked, e);
    pthread_mutex_unlock(&c->s->aws->records_lock);
    return rc;
}

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
