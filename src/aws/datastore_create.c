/* datastore_create.c - CreateFHIRDatastore: checks, the token, the records of a new data store.
 *
 *   datastore/<id>                   -> the record, CREATING     (service/datastore_record.c)
 *   datastoreactive/<id>             -> ""                       a restart takes it up
 *   datastorelist/<~order>           -> id                       newest first
 *   datastoretoken/<caller>/<token>  -> what the token made      (job/client_token.h)
 *
 * The operation writes these records in one batch and answers. Making the store itself is work for
 * the background (datastore_life.c). All of it is done holding records_lock, so that two requests
 * with one token, or two for the last place, come one after the other. */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "base/rng.h"
#include "job/client_token.h"

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
