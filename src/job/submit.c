/* submit.c - how a job comes in: what is asked before it exists, then its record, then its place in the queue. */
#include "job/engine.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/rng.h"
#include "codec/hash.h"

#define DISK_WAIT_S  300u
#define JOB_NAME_MAX 128u /* bytes: longer than what export_write.c calls an object */

static void digest_add(struct hash_sha256 *h, sv text)
{
    uint64_t n = text.len;
    hash_sha256_add(h, sv_make(&n, sizeof n));
    hash_sha256_add(h, text);
}

static sv request_digest(struct arena *a, const struct job_request *q)
{
    unsigned char d[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    struct hash_sha256 *h = hash_sha256_new();
    sv parts[] = { sv_from(job_kind_name(q->kind)),
                   q->datastore_id,
                   q->job_name,
                   q->role_arn,
                   q->output_uri,
                   q->kms_key_id,
                   q->input_uri,
                   q->validation_level };
    CLEANUP_BUF struct buf params = BUF_INIT(SIZE_MAX / 2);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        digest_add(h, parts[i]);
    if (q->params && job_params_write(q->params, &params, NULL) == ERR_OK)
        digest_add(h, buf_sv(&params));
    hash_sha256_take(h, d);
    hash_sha256_free(h);
    hash_hex(d, sizeof d, hex);
    return arena_sv(a, sv_make(hex, sizeof hex));
}

/* ERR_NOT_FOUND: the token is new. */
static err_code by_token(struct job_engine *en, const struct job_request *q, sv digest,
                         struct arena *a, struct job *out, struct err *e)
{
    sv datastore, id, before;
    TRY(job_token_read(en->cfg.records, q, a, &datastore, &id, &before, e));
    if (!sv_eq(before, digest))
        return ERR(
            e, ERR_INVALID,
            "ClientToken was used before with other parameters; use a new one for a new job");
    err_code rc = job_get(en, q->kind, datastore, id, a, out, e);
    return rc == ERR_NOT_FOUND ? ERR(e, ERR_INTERNAL, "the job of a client token is missing") : rc;
}

static err_code check_queue(struct job_engine *en, const struct job_request *q, struct err *e)
{
    unsigned n = 0, max = en->cfg.max_queued ? en->cfg.max_queued : LIMIT_JOBS_QUEUED;
    pthread_mutex_lock(&en->locked.lock);
    for (struct job_entry *x = en->locked.first; x; x = x->next)
        n += x->kind == q->kind && sv_eq_cstr(q->datastore_id, x->datastore_id);
    bool stop = en->locked.stop;
    pthread_mutex_unlock(&en->locked.lock);
    if (stop)
        return ERR(e, ERR_THROTTLED, "The service is stopping; try again later");
    if (n > max) /* one runs, max wait */
        return ERR(e, ERR_THROTTLED,
                   "The data store has %u %s jobs waiting, which is the most; try again when one "
                   "has ended",
                   max, job_kind_name(q->kind));
    return ERR_OK;
}

static sv folder_name(struct arena *a, const struct job_request *q, sv id)
{
    return arena_fmt(a, "%.*s-FHIR_%s-%.*s", SV_FMT(q->datastore_id),
                     q->kind == JOB_EXPORT ? "EXPORT" : "IMPORT", SV_FMT(id));
}

static sv folder_uri(struct arena *a, const struct job_request *q, sv id)
{
    sv base = q->output_uri, name = folder_name(a, q, id);
    while (base.len && base.ptr[base.len - 1] == '/')
        base.len--;
    return arena_fmt(a, "%.*s/%.*s/", SV_FMT(base), SV_FMT(name));
}

/* Keys of what the job will write fit: told now, and not when its last object is to be written. */
static err_code check_names(const struct sink *out, const struct job_request *q, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    char any[JOB_NAME_MAX];
    memset(any, '0', sizeof any);
    sv folder = folder_name(a, q, sv_make(any, 32));
    return sink_name_check(out, ARENA_JOIN(a, folder, SV_LIT("/"), sv_make(any, sizeof any)), e);
}

/* Do role, bucket, key and input work? Only what the request names is touched. */
static err_code probe(struct job_engine *en, const struct job_request *q, struct err *e)
{
    struct sink_target t = { .uri = q->output_uri,
                             .role_arn = q->role_arn,
                             .kms_key_id = q->kms_key_id,
                             .account_id = q->account_id,
                             .source_arn = q->datastore_arn,
                             .session_name = SV_LIT("fhirlake") };
    CLEANUP(sink_close) struct sink *out = NULL;
    TRY(sink_open(en->cfg.world, &t, &out, e));
    TRY(check_names(out, q, e));
    if (q->kind == JOB_IMPORT) {
        CLEANUP(sink_close) struct sink *in = NULL;
        t.uri = q->input_uri;
        t.kms_key_id = SV_NONE;
        TRY(sink_open(en->cfg.world, &t, &in, e));
        TRY(sink_probe_read(in, e));
    }
    return sink_probe_write(out, e);
}

static struct job_entry *entry_of(const struct job_request *q, const char *id)
{
    struct job_entry *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    x->kind = q->kind;
    (void)snprintf(x->datastore_id, sizeof x->datastore_id, "%.*s", SV_FMT(q->datastore_id));
    (void)snprintf(x->id, sizeof x->id, "%s", id);
    return x;
}

static struct job_record record_of(const struct job_request *q, sv id, sv digest, struct arena *a)
{
    bool served = q->params && q->params->served;
    struct job_record rec = { .digest = digest,
                              .served = served,
                              .job = { .kind = q->kind,
                                       .id = arena_sv(a, id),
                                       .datastore_id = arena_sv(a, q->datastore_id),
                                       .datastore_arn = arena_sv(a, q->datastore_arn),
                                       .account_id = arena_sv(a, q->account_id),
                                       .job_name = arena_sv(a, q->job_name),
                                       .role_arn = arena_sv(a, q->role_arn),
                                       .output_uri = arena_sv(a, q->output_uri),
                                       .job_folder_uri = served ? SV_NONE : folder_uri(a, q, id),
                                       .kms_key_id = arena_sv(a, q->kms_key_id),
                                       .input_uri = arena_sv(a, q->input_uri),
                                       .validation_level = arena_sv(a, q->validation_level),
                                       .status = JOB_SUBMITTED,
                                       .submit_ms = clock_wall_ms(),
                                       .served = served,
                                       .params = q->kind == JOB_EXPORT ? q->params : NULL } };
    rec.job.request_url = arena_sv(a, q->params ? q->params->request_url : SV_NONE);
    rec.job.caller = arena_sv(a, served ? q->caller : SV_NONE);
    return rec;
}

/* Told to a caller who may come again: seconds, 0 for as soon as he likes. */
static void say_wait(const struct job_request *q, unsigned s)
{
    if (q->wait_s)
        *q->wait_s = s;
}

/* Its record, then its place in the queue. They belong together: who is written first is first. */
static err_code enter(struct job_engine *en, const struct job_request *q, struct job_record *rec,
                      struct err *e)
{
    pthread_mutex_lock(&en->record_lock);
    err_code rc = check_queue(en, q, e); /* again: nobody enters between this look and the entry */
    bool has_place = false;
    unsigned wait_s = 0;
    if (rc == ERR_OK && rec->served) {
        rc = job_kept_enter(en->kept, &rec->job, &wait_s, e);
        has_place = rc == ERR_OK;
        say_wait(q, wait_s);
    }
    uint64_t now_us = (uint64_t)rec->job.submit_ms * 1000;
    pthread_mutex_lock(&en->locked.lock);
    if (en->locked.last_order >= now_us)
        now_us = en->locked.last_order + 1;
    en->locked.last_order = now_us;
    pthread_mutex_unlock(&en->locked.lock);
    rec->order = now_us;
    if (rc == ERR_OK)
        rc = job_record_create(en->cfg.records, rec, q->client_token, e);
    if (rc == ERR_OK) {
        char id[33];
        (void)snprintf(id, sizeof id, "%.*s", SV_FMT(rec->job.id));
        struct job_entry *x = entry_of(q, id);
        x->order = now_us;
        pthread_mutex_lock(&en->locked.lock);
        job_entry_add_locked(en, x);
        pthread_mutex_unlock(&en->locked.lock);
    } else if (has_place) {
        job_kept_leave(en->kept, rec->job.id);
    }
    pthread_mutex_unlock(&en->record_lock);
    return rc;
}

static void start_or_queue(struct job_engine *en, const struct job *j)
{
    pthread_mutex_lock(&en->locked.lock);
    struct job_entry *mine = job_entry_find_locked(en, j->kind, j->datastore_id, j->id);
    bool waits = mine && job_entry_blocked_locked(en, mine);
    pthread_mutex_unlock(&en->locked.lock);
    if (waits) {
        struct job_change c = { .to = JOB_QUEUED };
        struct err ignored; /* it may have been started meanwhile: then it is not to be QUEUED */
        IGNORE(job_engine_change(en, j->kind, j->datastore_id, j->id, &c, &ignored));
    }
    job_engine_schedule(en);
}

/* Too little of the disk is left: that may pass, as other limits do. */
static err_code check_disk(struct job_engine *en, const struct job_request *q, struct err *e)
{
    struct err why;
    err_code rc = job_disk_check(&en->cfg, &why);
    if (rc == ERR_OK)
        return rc;
    say_wait(q, DISK_WAIT_S);
    return ERR(e, ERR_THROTTLED, "The server's disk is nearly full; try again later");
}

static err_code submit_held(struct job_engine *en, const struct job_request *q, sv digest,
                            struct arena *a, struct job *out, struct err *e)
{
    char id[33];
    bool served = q->params && q->params->served;
    TRY(check_queue(en, q, e));
    if (q->kind == JOB_EXPORT)
        TRY(job_export_check(en, q->datastore_id, q->params, e));
    if (served && en->served == NULL)
        return ERR(e, ERR_UNSUPPORTED, "This server keeps no files of exports");
    TRY(served ? check_disk(en, q, e) : probe(en, q, e));
    rng_hex32(id);
    struct job_record rec = record_of(q, sv_from(id), digest, a);
    TRY(enter(en, q, &rec, e));
    job_engine_log("job", &rec.job);
    start_or_queue(en, &rec.job);
    rec.job.params = NULL; /* the caller's, not the arena's */
    *out = rec.job;
    return ERR_OK;
}

/* The data store is held meanwhile: a deletion waits, and then finds the job (job_datastore_forget). */
static err_code submit_new(struct job_engine *en, const struct job_request *q, sv digest,
                           struct arena *a, struct job *out, struct err *e)
{
    struct store *st = NULL;
    struct err why;
    err_code rc = store_registry_acquire(en->cfg.stores, q->datastore_id, false, &st, &why);
    if (rc == ERR_NOT_FOUND || rc == ERR_GONE)
        return ERR(e, ERR_INVALID, "The data store is being deleted; it takes no more jobs");
    if (rc != ERR_OK) {
        if (e)
            *e = why;
        return rc;
    }
    rc = submit_held(en, q, digest, a, out, e);
    store_registry_release(en->cfg.stores, st);
    return rc;
}

err_code job_submit(struct job_engine *en, const struct job_request *q, struct arena *a,
                    struct job *out, struct err *e)
{
    sv digest = request_digest(a, q);
    say_wait(q, 0);
    if (q->client_token.len) {
        err_code rc = by_token(en, q, digest, a, out, e);
        if (rc != ERR_NOT_FOUND)
            return rc;
    }
    err_code rc = submit_new(en, q, digest, a, out, e);
    if (rc == ERR_EXISTS && q->client_token.len) /* another request with that token was faster */
        rc = by_token(en, q, digest, a, out, e);
    return rc;
}
