/* datastore_new.c - a data store comes to be: CreateFHIRDatastore, and what RestoreFHIRDatastore
 * has in common with it.
 *
 *   datastore/<id>                   -> the record, CREATING     (service/datastore.c)
 *   datastoreactive/<id>             -> ""                       a restart takes it up
 *   datastorelist/<~order>           -> id                       newest first; lists go along these
 *   datastoretoken/<caller>/<token>  -> what the token made      (job/client_token.h)
 *
 * These records are written in one batch, and the request is answered. The work on the store itself
 * is done in the background (datastore_life.c). records_lock is held all the time, so that two
 * requests with one token, or two for the last place, come one after the other. */
#include "aws/aws_private.h"

#include "auth/bearer/bearer.h"
#include "base/clock.h"
#include "base/rng.h"
#include "event/event.h"
#include "job/client_token.h"
#include "kms/keeper.h"

#define TRIES 100u /* while other nodes make data stores in between */

/* The identity provider of a data store is one that the operator knows. */
err_code datastore_check_identity(struct call *call, struct err *e)
{
    struct bearer *bearer = auth_bearer(call->service->cfg.auth);
    yyjson_val *given = call_member(call, "IdentityProviderConfiguration");
    struct identity_config id;
    identity_read(call->a, given, &id);
    if (id.own && !yyjson_is_true(json_get(given, "FineGrainedAuthorizationEnabled")))
        return identity_check_own(call->service->cfg.issue != NULL, e);
    return identity_check(call->a, given, bearer ? bearer_providers(bearer, call->a) : NULL, e);
}

/* With keys of its own alone, a customer who thinks that he can revoke his key would be mistaken.
 * A server that does not encrypt keeps what is given, and its documents say so. */
static err_code check_encryption(struct call *call, yyjson_val *sse, struct err *e)
{
    const struct store_registry *stores = call->service->cfg.stores;
    return datastore_customer_key(sse).ptr && store_registry_keeps(stores, SV_LIT(KEEPER_LOCAL)) &&
                   !store_registry_keeps(stores, SV_LIT(KEEPER_KMS))
               ? ERR(e, ERR_INVALID,
                     "SseConfiguration.KmsEncryptionConfig.CmkType: this server encrypts with keys "
                     "of its own, and takes AWS_OWNED_KMS_KEY alone")
               : ERR_OK;
}

/* The digest of all that the request asks for. The members' order is part of digests on disk; those
 * that came later count when they are given. */
static err_code digest(struct call *call, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(DATASTORE_RECORD_MAX);
    struct json_writer w;
    static const char *const members[] = {
        "DatastoreName", "DatastoreTypeVersion",         "SseConfiguration", "PreloadDataConfig",
        "Tags",          "IdentityProviderConfiguration"
    };
    static const char *const later[] = { "BackupConfiguration", "SourceDatastoreId",
                                         "RestoreConfiguration" };
    json_writer_init(&w, &b);
    json_arr(&w);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        json_val(&w, call_member(call, members[i]));
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
        if (call_member(call, later[i])) {
            json_str(&w, sv_from(later[i]));
            json_val(&w, call_member(call, later[i]));
        }
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
static err_code write_new(struct call *call, const struct datastore *datastore,
                          struct datastore_place *place, sv token_key, sv token_digest,
                          struct err *e)
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
        { 0 },
        { 0 },
    };
    size_t n = token_key.len ? 4 : 3;
    bool told;
    TRY(datastore_told(call->service, datastore, call->a, &writes[n], &told, e));
    n += told;
    datastore_place_take(place, datastore->order);
    for (size_t i = 0; i < place->n; i++)
        writes[n++] = place->writes[i];
    TRY(records_write(call->service->cfg.records, writes, n, e));
    if (told)
        events_written(call->service->cfg.events);
    return ERR_OK;
}

/* ERR_PRECONDITION: another node made one meanwhile. */
static err_code make_once(struct call *call, datastore_fill_fn fill, sv token_key, sv token_digest,
                          struct err *e)
{
    struct datastore_place place;
    struct err why;
    TRY(datastore_place_begin(call->service, &place, e));
    if (call->service->aws->there.n >= call->service->cfg.max_datastores)
        return ERR(e, ERR_THROTTLED, "The account has %u data stores, which is the most",
                   call->service->aws->there.n);
    struct datastore datastore = record_of(call);
    TRY(fill(call, &datastore, e));
    TRY(write_new(call, &datastore, &place, token_key, token_digest, e));
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

static err_code make_locked(struct call *call, datastore_fill_fn fill, sv token_key,
                            sv token_digest, struct err *e)
{
    struct err why = { 0 };
    for (unsigned i = 0; i < TRIES; i++) {
        err_code rc = make_once(call, fill, token_key, token_digest, &why);
        if (rc == ERR_OK)
            return ERR_OK;
        if (rc != ERR_PRECONDITION)
            return err_pass(e, &why);
    }
    return ERR(e, ERR_THROTTLED, "Other calls make data stores all the time; try again");
}

/* A caller to whom a policy denies to give a data store such tags may not make one with them. The
 * new one has no id yet, so the policy is asked about an ARN that no data store has. */
static err_code may_tag(struct call *call, struct err *e)
{
    struct rights tag = { .arn = datastore_arn(call->service, call->a, SV_LIT("new")),
                          .sent = call_member(call, "Tags"),
                          .unless_denied = true };
    return tag.sent ? rights_ask(call->a, &call->caller, "TagResource", &tag, e) : ERR_OK;
}

/* What the token has made; or ERR_NOT_FOUND, and nobody makes it while the lock is held. */
static err_code find_locked(struct call *call, sv token, sv key, sv asked, struct err *e)
{
    return token.len ? by_token(call, key, asked, e) : ERR(e, ERR_NOT_FOUND, "no token");
}

err_code datastore_make(struct call *call, datastore_fill_fn fill, yyjson_val *sse, struct err *e)
{
    sv token = call_text(call, "ClientToken"), key = SV_NONE, asked;
    TRY(may_tag(call, e));
    TRY(datastore_check_identity(call, e));
    TRY(check_encryption(call, sse, e));
    TRY(tags_check(NULL, call_member(call, "Tags"), e));
    TRY(digest(call, &asked, e));
    pthread_mutex_t *lock = &call->service->aws->records_lock;
    struct err new_one;
    if (token.len)
        key =
            arena_fmt(call->a, "datastoretoken/%.*s/%.*s", SV_FMT(call->caller.arn), SV_FMT(token));
    pthread_mutex_lock(lock);
    err_code rc = find_locked(call, token, key, asked, &new_one);
    pthread_mutex_unlock(lock);
    if (rc != ERR_NOT_FOUND)
        return rc == ERR_OK ? rc : err_pass(e, &new_one);
    /* it waits for a peer, so nothing is held meanwhile; another may be faster */
    TRY(datastore_check_key(call, sse, e));
    pthread_mutex_lock(lock);
    rc = find_locked(call, token, key, asked, &new_one);
    if (rc == ERR_NOT_FOUND)
        rc = make_locked(call, fill, key, asked, &new_one);
    if (rc == ERR_EXISTS)
        /* another node was faster */
        rc = find_locked(call, token, key, asked, e);
    else if (rc != ERR_OK)
        rc = err_pass(e, &new_one);
    pthread_mutex_unlock(lock);
    return rc;
}

/* datastore_fill_fn */
static err_code fill_created(struct call *call, struct datastore *datastore, struct err *e)
{
    TRY(backup_check(call, e));
    backup_configure(&datastore->backup, call_member(call, "BackupConfiguration"),
                     datastore->created_ms);
    return ERR_OK;
}

err_code op_create_datastore(struct call *call, struct err *e)
{
    TRY(call_allowed(call, NULL, e));
    return datastore_make(call, fill_created, call_member(call, "SseConfiguration"), e);
}
