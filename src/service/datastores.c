/* datastores.c - the life of a data store.
 *
 *   CREATING -> ACTIVE | CREATE_FAILED        ACTIVE | CREATE_FAILED -> DELETING -> DELETED
 *
 *   datastore/<id>              -> the record, JSON
 *   datastorelist/<~order>      -> id       newest first
 *   datastoreactive/<id>        -> ""       while it is being created or deleted
 *   datastoretoken/<caller>/<token> -> {"datastore", "digest"}
 *
 * Making and removing run in the background and are taken up again after a restart: what was half
 * made is removed first and made anew. They have workers of their own, apart from those of requests and from each
 * other: filling one with generated patients takes seconds, and a removal waits for whoever still reads. A data store is in
 * one of the queues at most once, so that each has room for all there may be. */
#include "service/service_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/rng.h"
#include "codec/hash.h"

#include <sys/resource.h>
#include <unistd.h>

#define RECORD_MAX      (1u << 20)
#define BACKGROUND      2u /* workers of each kind */
#define BACKGROUND_NICE 5  /* whoever waits for an answer goes first */

/* ---- record ---- */

sv datastore_arn(struct service *s, struct arena *a, sv id)
{
    return arena_fmt(a, "arn:aws:healthlake:%.*s:%.*s:datastore/fhir/%.*s", SV_FMT(s->cfg.region),
                     SV_FMT(s->cfg.account_id), SV_FMT(id));
}

static err_code not_found(sv id, struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "Data store %.*s does not exist", SV_FMT(sv_head(id, 64)));
}

static err_code parse_record(struct service *s, sv json, struct arena *a, struct datastore *out,
                             struct err *e)
{
    yyjson_doc *doc;
    json = arena_sv(a, json);
    if (json.ptr == NULL)
        return arena_oom(a, e);
    TRY(json_read(a, json, 16, &doc, e));
    yyjson_val *r = yyjson_doc_get_root(doc);
    struct datastore d = { .id = json_string(json_get(r, "id")),
                           .name = json_string(json_get(r, "name")),
                           .status = json_string(json_get(r, "status")),
                           .sse = json_get(r, "sse"),
                           .preload = json_get(r, "preload"),
                           .identity = json_get(r, "identity"),
                           .tags = json_get(r, "tags"),
                           .error_message = json_string(json_get(r, "errorMessage")),
                           .error_category = json_string(json_get(r, "errorCategory")) };
    if (!sv_to_u64(json_number(json_get(r, "order")), &d.order) ||
        !sv_to_i64(json_number(json_get(r, "created")), &d.created_ms))
        return ERR(e, ERR_CORRUPT, "a data store's record is damaged");
    d.arn = datastore_arn(s, a, d.id);
    *out = d;
    return ERR_OK;
}

err_code datastore_read(struct service *s, sv id, struct arena *a, struct datastore *out,
                        struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
    struct err why;
    err_code rc = records_get(s->cfg.records, arena_fmt(a, "datastore/%.*s", SV_FMT(id)), &b, &why);
    if (rc == ERR_NOT_FOUND)
        return not_found(id, e);
    if (rc != ERR_OK) {
        if (e)
            *e = why;
        return rc;
    }
    return parse_record(s, buf_sv(&b), a, out, e);
}

err_code call_datastore(struct call *c, sv id, struct datastore *out, struct err *e)
{
    struct err why;
    struct datastore d = { 0 };
    err_code rc = datastore_read(c->s, id, c->a, &d, &why);
    if (rc != ERR_OK)
        d = (struct datastore){ .arn = datastore_arn(c->s, c->a, id) };
    TRY(call_allowed(c, &d, e));
    if (rc == ERR_OK)
        *out = d;
    else if (e)
        *e = why;
    return rc;
}

static void kv_given(struct json_writer *w, const char *name, yyjson_val *v)
{
    if (v == NULL)
        return;
    json_key(w, name);
    json_val(w, v);
}

static err_code print_record(const struct datastore *d, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "id", d->id);
    json_kv_str(&w, "status", d->status);
    json_kv_i64(&w, "order", (int64_t)d->order);
    json_kv_i64(&w, "created", d->created_ms);
    if (d->name.ptr)
        json_kv_str(&w, "name", d->name);
    kv_given(&w, "sse", d->sse);
    kv_given(&w, "preload", d->preload);
    kv_given(&w, "identity", d->identity);
    kv_given(&w, "tags", d->tags);
    if (d->error_message.len) {
        json_kv_str(&w, "errorMessage", d->error_message);
        json_kv_str(&w, "errorCategory", d->error_category);
    }
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static bool in_transition(const struct datastore *d)
{
    return sv_eq(d->status, SV_LIT("CREATING")) || sv_eq(d->status, SV_LIT("DELETING"));
}

/* The record, and whether a restart must take it up. */
err_code datastore_write(struct service *s, const struct datastore *d, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
    TRY(print_record(d, &b, e));
    struct records_write w[] = {
        { RECORDS_PUT, arena_fmt(a, "datastore/%.*s", SV_FMT(d->id)), buf_sv(&b) },
        { in_transition(d) ? RECORDS_PUT : RECORDS_DELETE,
          arena_fmt(a, "datastoreactive/%.*s", SV_FMT(d->id)), SV_NONE },
    };
    err_code rc = records_write(s->cfg.records, w, 2, e);
    datastore_forget(s, d->id); /* failed or not: what is on disk decides */
    if (rc == ERR_OK && !in_transition(d))
        parking_wake(s->cfg.parking, d->id);
    return rc;
}

/* ---- work in the background ---- */

struct work {
    char id[33];
};

static err_code set_status(struct service *s, sv id, const char *status, const struct err *why,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct datastore d;
    pthread_mutex_lock(&s->records_lock);
    err_code rc = datastore_read(s, id, a, &d, e);
    if (rc == ERR_OK) {
        d.status = sv_from(status);
        if (why) {
            d.error_message = sv_from(why->msg);
            d.error_category = why->code == ERR_NO_SPACE ? SV_LIT("RETRYABLE_ERROR")
                                                         : SV_LIT("NON_RETRYABLE_ERROR");
        }
        rc = datastore_write(s, &d, e);
        s->there.n -= rc == ERR_OK && sv_eq_cstr(d.status, "DELETED");
    }
    pthread_mutex_unlock(&s->records_lock);
    LOG(LOG_INFO, "datastore", LOG_SV("datastore", id), LOG_STR("status", status));
    return rc;
}

static err_code create(struct service *s, sv id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct datastore d;
    struct store *st = NULL;
    TRY(datastore_read(s, id, a, &d, e));
    TRY(store_registry_remove(s->cfg.stores, id, e)); /* half made, before a crash */
    TRY(store_registry_acquire(s->cfg.stores, id, true, &st, e));
    if (d.preload) /* on a worker that does nothing else; Linux takes this for the thread alone */
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), BACKGROUND_NICE);
    err_code rc = d.preload ? preload_run(s, st, e) : ERR_OK;
    store_registry_release(s->cfg.stores, st);
    store_registry_rest(s->cfg.stores,
                        id); /* a thousand that were made and not used take nothing */
    return rc;
}

static void create_work(struct service *s, void *ctx)
{
    struct work *w = ctx;
    struct err e, e2;
    sv id = sv_from(w->id);
    err_code rc = atomic_load(&s->stopping) ? ERR(&e, ERR_CANCELLED, "the service is stopping")
                                            : create(s, id, &e);
    if (rc != ERR_OK && atomic_load(&s->stopping))
        rc = ERR_CANCELLED; /* the next start makes it */
    else if (set_status(s, id, rc == ERR_OK ? "ACTIVE" : "CREATE_FAILED", rc == ERR_OK ? NULL : &e,
                        &e2) != ERR_OK)
        LOG_ERR("datastore_record", &e2, LOG_SV("datastore", id));
    if (rc != ERR_OK)
        LOG_ERR("datastore_create", &e, LOG_SV("datastore", id));
    free(w);
}

static void delete_work(struct service *s, void *ctx)
{
    struct work *w = ctx;
    struct err e;
    sv id = sv_from(w->id);
    err_code rc = atomic_load(&s->stopping) ? ERR(&e, ERR_CANCELLED, "the service is stopping")
                                            : job_datastore_drop(s->cfg.jobs, id, &e);
    if (rc == ERR_OK)
        rc = store_registry_remove(s->cfg.stores, id, &e);
    if (rc == ERR_OK)
        rc = job_datastore_forget(s->cfg.jobs, id, &e);
    if (rc == ERR_OK)
        rc = set_status(s, id, "DELETED", NULL, &e);
    if (rc != ERR_OK) /* stays DELETING; the next start goes on */
        LOG_ERR("datastore_delete", &e, LOG_SV("datastore", id));
    free(w);
}

/* d is CREATING or DELETING. */
static err_code begin_work(struct service *s, const struct datastore *d, struct err *e)
{
    bool creating = sv_eq(d->status, SV_LIT("CREATING"));
    struct workers *to = !creating    ? s->background.remove
                         : d->preload ? s->background.fill
                                      : s->background.make;
    struct work *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    const struct work_for who = { d->id, d->id };
    (void)snprintf(w->id, sizeof w->id, "%.*s", SV_FMT(d->id));
    err_code rc = workers_add(to, who, creating ? create_work : delete_work, w, e);
    if (rc != ERR_OK)
        free(w);
    return rc;
}

struct resume_ctx {
    struct service *s;
    unsigned n;
    bool begin; /* else they are only counted */
    err_code rc;
    struct err *e;
};

static bool resume_one(void *ctx, sv key, sv value)
{
    (void)value;
    struct resume_ctx *c = ctx;
    c->n++;
    if (!c->begin)
        return true;
    struct arena *a = arena_new(4u << 20);
    struct datastore d;
    c->rc = datastore_read(c->s, sv_tail(key, sizeof "datastoreactive/" - 1), a, &d, c->e);
    if (c->rc == ERR_OK)
        c->rc = begin_work(c->s, &d, c->e);
    arena_free(a);
    return c->rc == ERR_OK;
}

/* Once: those that are deleted stay listed, and there may be many of them. */
static bool count_one(void *ctx, sv key, sv id)
{
    (void)key;
    struct resume_ctx *c = ctx;
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct datastore d;
    c->rc = datastore_read(c->s, id, a, &d, c->e);
    if (c->rc != ERR_OK)
        return false;
    c->s->there.n += !sv_eq(d.status, SV_LIT("DELETED"));
    if (d.order > c->s->there.last_order)
        c->s->there.last_order = d.order;
    return true;
}

static err_code each_active(struct resume_ctx *c)
{
    TRY(records_scan(c->s->cfg.records, SV_LIT("datastoreactive/"), SV_NONE, resume_one, c, c->e));
    return c->rc;
}

err_code datastores_start(struct service *s, struct err *e)
{
    struct resume_ctx c = { .s = s, .e = e };
    TRY(records_scan(s->cfg.records, SV_LIT("datastorelist/"), SV_NONE, count_one, &c, e));
    TRY(c.rc);
    TRY(each_active(&c));
    /* more of them than there may be now may have been under way under another --max-datastores */
    unsigned room = c.n > s->cfg.max_datastores ? c.n : s->cfg.max_datastores;
    TRY(workers_start(s, BACKGROUND, room, &s->background.make, e));
    TRY(workers_start(s, BACKGROUND, room, &s->background.fill, e));
    TRY(workers_start(s, BACKGROUND, room, &s->background.remove, e));
    c.begin = true;
    return each_active(&c);
}

void datastores_stop(struct service *s)
{
    workers_stop(s->background.make);
    workers_stop(s->background.fill);
    workers_stop(s->background.remove);
}

/* ---- create ---- */

/* Where the caller finds the data plane: the configured URL, else the host that the caller used. */
static sv endpoint(struct call *c, sv id)
{
    sv base = c->s->cfg.public_url;
    while (base.len && base.ptr[base.len - 1] == '/')
        base.len--;
    if (base.len == 0)
        base = arena_fmt(c->a, "http://%.*s", SV_FMT(http_header_get(c->req, "Host")));
    return arena_fmt(c->a, "%.*s/datastore/%.*s/r4/", SV_FMT(base), SV_FMT(id));
}

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

err_code datastore_check_strategy(const struct datastore *d, struct err *e)
{
    sv strategy = json_string(json_get(d->identity, "AuthorizationStrategy"));
    if (d->identity == NULL || sv_eq(strategy, SV_LIT("AWS_AUTH")))
        return ERR_OK;
    return ERR(
        e, ERR_DENIED,
        "The AuthorizationStrategy of this data store is %.*s, and this server does not check such "
        "access tokens yet: its FHIR API is closed. StartFHIRExportJob and StartFHIRImportJob move "
        "its data into a data store with AWS_AUTH",
        SV_FMT(strategy));
}

static void print_created(struct call *c, const struct datastore *d)
{
    json_kv_str(&c->out, "DatastoreId", d->id);
    json_kv_str(&c->out, "DatastoreArn", d->arn);
    json_kv_str(&c->out, "DatastoreStatus", d->status);
    json_kv_str(&c->out, "DatastoreEndpoint", endpoint(c, d->id));
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
    print_created(c, &d);
    return ERR_OK;
}

static err_code create_locked(struct call *c, sv token_key, sv token_digest, struct err *e)
{
    CLEANUP_BUF struct buf record = BUF_INIT(RECORD_MAX), token = BUF_INIT(RECORD_MAX);
    char id[33];
    struct json_writer w;
    if (c->s->there.n >= c->s->cfg.max_datastores)
        return ERR(e, ERR_THROTTLED, "The account has %u data stores, which is the most",
                   c->s->there.n);
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
    if (d.order <= c->s->there.last_order)
        d.order = c->s->there.last_order + 1;
    TRY(print_record(&d, &record, e));
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
    c->s->there.n++;
    c->s->there.last_order = d.order;
    print_created(c, &d);
    struct err late;
    if (begin_work(c->s, &d, &late) == ERR_OK)
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
    pthread_mutex_lock(&c->s->records_lock);
    err_code rc = ERR_NOT_FOUND;
    if (token.len) {
        key = arena_fmt(c->a, "datastoretoken/%.*s/%.*s", SV_FMT(c->caller.arn), SV_FMT(token));
        rc = by_token(c, key, want, e);
    }
    if (rc == ERR_NOT_FOUND)
        rc = create_locked(c, key, want, e);
    pthread_mutex_unlock(&c->s->records_lock);
    return rc;
}

/* ---- delete ---- */

static err_code delete_locked(struct call *c, struct err *e)
{
    struct datastore d;
    TRY(call_datastore(c, call_text(c, "DatastoreId"), &d, e));
    if (in_transition(&d) || sv_eq(d.status, SV_LIT("DELETED")))
        return ERR(e, ERR_CONFLICT, "Data store is %.*s and cannot be deleted now",
                   SV_FMT(d.status));
    struct datastore before = d;
    d.status = SV_LIT("DELETING");
    TRY(datastore_write(c->s, &d, e));
    err_code rc = begin_work(c->s, &d, e);
    if (rc != ERR_OK) {
        struct err ignored; /* the caller learns of the first failure; a restart goes on deleting */
        IGNORE(datastore_write(c->s, &before, &ignored));
        return rc;
    }
    print_created(c, &d);
    return ERR_OK;
}

err_code op_delete_datastore(struct call *c, struct err *e)
{
    pthread_mutex_lock(&c->s->records_lock);
    err_code rc = delete_locked(c, e);
    pthread_mutex_unlock(&c->s->records_lock);
    return rc;
}

/* ---- describe and list ---- */

static void print_properties(struct call *c, const struct datastore *d)
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
    kv_given(w, "PreloadDataConfig", d->preload);
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

err_code op_describe_datastore(struct call *c, struct err *e)
{
    struct datastore d;
    call_watch(c, call_text(c, "DatastoreId"));
    TRY(call_datastore(c, call_text(c, "DatastoreId"), &d, e));
    c->unended = in_transition(&d);
    json_key(&c->out, "DatastoreProperties");
    print_properties(c, &d);
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
    if (l->seen++ == LIMIT_LIST_SEEN) { /* a page may be short; its token goes on */
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
        print_properties(l->c, &d);
    }
    arena_rewind(l->c->a, m);
    l->last_len = key.len < sizeof l->last ? key.len : 0;
    memcpy(l->last, key.ptr, l->last_len);
    return true;
}

static int64_t filter_time(yyjson_val *filter, const char *name)
{
    int64_t ms = 0;
    return shape_timestamp_ms(json_get(filter, name), &ms) ? ms : 0;
}

err_code op_list_datastores(struct call *c, struct err *e)
{
    yyjson_val *f = call_member(c, "Filter");
    sv position, token, prefix = SV_LIT("datastorelist/");
    struct list_ctx l = { .c = c,
                          .name = json_string(json_get(f, "DatastoreName")),
                          .status = json_string(json_get(f, "DatastoreStatus")),
                          .before_ms = filter_time(f, "CreatedBefore"),
                          .after_ms = filter_time(f, "CreatedAfter"),
                          .max = page_size(c),
                          .e = e };
    TRY(call_allowed(c, NULL, e));
    TRY(page_token_read(c, &position, e));
    json_key(&c->out, "DatastorePropertiesList");
    json_arr(&c->out);
    TRY(records_scan(c->s->cfg.records, prefix, position, list_one, &l, e));
    TRY(l.rc);
    json_arr_end(&c->out);
    if (l.more) {
        TRY(page_token_make(c, sv_make(l.last, l.last_len), &token, e));
        json_kv_str(&c->out, "NextToken", token);
    }
    return ERR_OK;
}
