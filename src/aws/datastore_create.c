/* datastore_create.c - CreateFHIRDatastore.
 *
 *   datastorelist/<~order>           -> id                      newest first
 *   datastoretoken/<caller>/<token>  -> {"datastore", "digest"}
 *
 * The operation writes the record and answers; the work is done in the background
 * (datastore_life.c). */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "base/rng.h"
#include "codec/hash.h"

#define RECORD_MAX (1u << 20)

/* Only who signs is known here: tokens of SMART on FHIR are checked by nobody, so a data store that relies on them is
 * not made, and an older one serves no FHIR (datastore_check_strategy()). */
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

/* What a token stands for: the request without the token. */
static err_code digest(struct call *c, char hex[SHA256_HEX_LEN], struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
    unsigned char d[SHA256_LEN];
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
    hash_sha256_of(buf_sv(&b), d);
    hash_hex(d, sizeof d, hex);
    return ERR_OK;
}

static err_code by_token(struct call *c, sv key, sv want, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
    yyjson_doc *doc;
    struct datastore d;
    TRY(records_get(c->s->cfg.records, key, &b, e));
    sv text = arena_sv(c->a, buf_sv(&b));
    TRY(json_read(c->a, text, 2, &doc, e));
    yyjson_val *r = yyjson_doc_get_root(doc);
    if (!sv_eq(json_string(json_get(r, "digest")), want))
        return ERR(e, ERR_INVALID,
                   "ClientToken was used before with other parameters; use a new one for a new "
                   "data store");
    TRY(datastore_read(c->s, json_string(json_get(r, "datastore")), c->a, &d, e));
    datastore_answer_brief(c, &d);
    return ERR_OK;
}

static err_code create_locked(struct call *c, sv token_key, sv token_digest, struct err *e)
{
    CLEANUP_BUF struct buf record = BUF_INIT(RECORD_MAX), token = BUF_INIT(RECORD_MAX);
    char id[33];
    struct json_writer w;
    if (c->s->aws->there.n >= c->s->cfg.max_datastores)
        return ERR(e, ERR_THROTTLED, "The account has %u data stores, which is the most",
                   c->s->aws->there.n);
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
    if (d.order <= c->s->aws->there.last_order)
        d.order = c->s->aws->there.last_order + 1;
    TRY(datastore_print(&d, &record, e));
    json_writer_init(&w, &token);
    json_obj(&w);
    json_kv_str(&w, "datastore", d.id);
    json_kv_str(&w, "digest", token_digest);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    struct records_write writes[] = {
        { RECORDS_PUT, arena_fmt(c->a, "datastore/%.*s", SV_FMT(d.id)), buf_sv(&record) },
        { RECORDS_PUT, arena_fmt(c->a, "datastorelist/%016llx", (unsigned long long)~d.order),
          d.id },
        { RECORDS_PUT, arena_fmt(c->a, "datastoreactive/%.*s", SV_FMT(d.id)), SV_NONE },
        { RECORDS_PUT_IF_ABSENT, token_key, buf_sv(&token) },
    };
    TRY(records_write(c->s->cfg.records, writes, token_key.len ? 4 : 3, e));
    c->s->aws->there.n++;
    c->s->aws->there.last_order = d.order;
    datastore_answer_brief(c, &d);
    struct err late;
    if (datastore_begin_work(c->s, &d, &late) == ERR_OK)
        return ERR_OK;
    d.status = SV_LIT("CREATE_FAILED");
    d.error_message = sv_from(late.msg);
    d.error_category = SV_LIT("RETRYABLE_ERROR");
    return datastore_write(c->s, &d, e);
}

/* Nobody may do by a creation what he is denied to do to a data store that is there: give it such tags. */
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
    char hex[SHA256_HEX_LEN];
    sv token = call_text(c, "ClientToken"), key = SV_NONE;
    TRY(may_create(c, e));
    TRY(check_identity(call_member(c, "IdentityProviderConfiguration"), e));
    TRY(tags_check(NULL, call_member(c, "Tags"), e));
    TRY(digest(c, hex, e));
    sv want = sv_make(hex, sizeof hex);
    pthread_mutex_lock(&c->s->aws->records_lock);
    err_code rc = ERR_NOT_FOUND;
    if (token.len) {
        key = arena_fmt(c->a, "datastoretoken/%.*s/%.*s", SV_FMT(c->caller.arn), SV_FMT(token));
        rc = by_token(c, key, want, e);
    }
    if (rc == ERR_NOT_FOUND)
        rc = create_locked(c, key, want, e);
    pthread_mutex_unlock(&c->s->aws->records_lock);
    return rc;
}
