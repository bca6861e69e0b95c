/* submit.c - how a job comes in.
 *
 * First everything is asked that can be asked before the job exists: the token, the queue, the
 * parameters, the role and the places. Then its record is written, and then it has its place in the
 * queue. A refusal leaves nothing behind. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/rng.h"

#define JOB_STOPPING "The service is stopping; try again later"
#define DISK_WAIT_S  300u
#define TRIES        100u         /* while other nodes come in between */
#define TOLD_BYTES   (256u << 10) /* of an event of the job */
#define JOB_NAME_MAX 128u         /* bytes: longer than what export/object.c calls an object */

/* ERR_NOT_FOUND: the token is new. */
static err_code by_token(struct job_engine *engine, const struct job_request *request, sv digest,
                         struct arena *a, struct job *out, struct err *e)
{
    sv datastore, id;
    TRY(job_token_find(engine->cfg.records, request, digest, a, &datastore, &id, e));
    err_code rc = job_get(engine, request->kind, datastore, id, a, out, e);
    return rc == ERR_NOT_FOUND ? ERR(e, ERR_INTERNAL, "the job of a client token is missing") : rc;
}

static err_code check_queue(struct job_engine *engine, const struct job_request *request,
                            struct err *e)
{
    unsigned n = 0, max = engine->cfg.max_queued ? engine->cfg.max_queued : LIMIT_JOBS_QUEUED;
    pthread_mutex_lock(&engine->locked.lock);
    for (struct job_entry *entry = engine->locked.first; entry; entry = entry->next)
        n += entry->kind == request->kind && sv_eq_cstr(request->datastore_id, entry->datastore_id);
    bool stop = engine->locked.stop;
    pthread_mutex_unlock(&engine->locked.lock);
    if (stop || atomic_load(&engine->closing))
        return ERR(e, ERR_THROTTLED, JOB_STOPPING);
    /* one runs, max wait */
    if (n > max)
        return ERR(e, ERR_THROTTLED,
                   "The data store has %u %s jobs waiting, which is the most; try again when one "
                   "has ended",
                   max, job_kind_name(request->kind));
    return ERR_OK;
}

static sv folder_name(struct arena *a, const struct job_request *request, sv id)
{
    return arena_fmt(a, "%.*s-FHIR_%s-%.*s", SV_FMT(request->datastore_id),
                     request->kind == JOB_EXPORT ? "EXPORT" : "IMPORT", SV_FMT(id));
}

static sv folder_uri(struct arena *a, const struct job_request *request, sv id)
{
    sv base = request->output_uri, name = folder_name(a, request, id);
    while (base.len && base.ptr[base.len - 1] == '/')
        base.len--;
    return arena_fmt(a, "%.*s/%.*s/", SV_FMT(base), SV_FMT(name));
}

/* Keys of what the job will write fit: told now, and not when its last object is to be written. */
static err_code check_names(const struct sink *out, const struct job_request *request,
                            struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    char any[JOB_NAME_MAX];
    memset(any, '0', sizeof any);
    sv folder = folder_name(a, request, sv_make(any, 32));
    return sink_name_check(out, ARENA_JOIN(a, folder, SV_LIT("/"), sv_make(any, sizeof any)), e);
}

/* Do role, bucket, key and input work? Only what the request names is touched. The caller waits
 * meanwhile, and so would a stop: all peers together have LIMIT_JOB_CHECK_S. */
static err_code probe(struct job_engine *engine, const struct job_request *request, struct err *e)
{
    struct sink_target t = { .uri = request->output_uri,
                             .role_arn = request->role_arn,
                             .kms_key_id = request->kms_key_id,
                             .account_id = request->account_id,
                             .source_arn = request->datastore_arn,
                             .session_name = SV_LIT("fhirlake"),
                             .cancel = &engine->closing,
                             .until_us = clock_mono_us() + LIMIT_JOB_CHECK_S * UINT64_C(1000000) };
    CLEANUP(sink_close) struct sink *out = NULL;
    TRY(sink_open(engine->cfg.world, &t, &out, e));
    TRY(check_names(out, request, e));
    TRY(sink_probe_key(out, e));
    if (request->kind == JOB_IMPORT) {
        CLEANUP(sink_close) struct sink *in = NULL;
        t.uri = request->input_uri;
        t.kms_key_id = SV_NONE;
        TRY(sink_open(engine->cfg.world, &t, &in, e));
        TRY(sink_probe_read(in, e));
    }
    return sink_probe_write(out, e);
}

static err_code check_places(struct job_engine *engine, const struct job_request *request,
                             struct err *e)
{
    struct err why = { 0 };
    err_code rc = probe(engine, request, &why);
    if (rc == ERR_CANCELLED && atomic_load(&engine->closing))
        return ERR(e, ERR_THROTTLED, JOB_STOPPING);
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

static struct job_entry *entry_of(const struct job_request *request, const struct job_record *rec)
{
    struct job_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        abort();
    entry->kind = request->kind;
    (void)snprintf(entry->datastore_id, sizeof entry->datastore_id, "%.*s",
                   SV_FMT(request->datastore_id));
    (void)snprintf(entry->id, sizeof entry->id, "%.*s", SV_FMT(rec->job.id));
    entry->order = rec->order;
    return entry;
}

static struct job_record record_of(const struct job_request *request, sv id, sv digest,
                                   struct arena *a)
{
    bool served = request->params && request->params->served;
    struct job_record rec = {
        .digest = digest,
        .served = served,
        .job = { .kind = request->kind,
                 .id = arena_sv(a, id),
                 .datastore_id = arena_sv(a, request->datastore_id),
                 .datastore_arn = arena_sv(a, request->datastore_arn),
                 .account_id = arena_sv(a, request->account_id),
                 .job_name = arena_sv(a, request->job_name),
                 .role_arn = arena_sv(a, request->role_arn),
                 .output_uri = arena_sv(a, request->output_uri),
                 .job_folder_uri =
                     served || request->kind == JOB_ERASE ? SV_NONE : folder_uri(a, request, id),
                 .kms_key_id = arena_sv(a, request->kms_key_id),
                 .input_uri = arena_sv(a, request->input_uri),
                 .validation_level = arena_sv(a, request->validation_level),
                 .status = JOB_SUBMITTED,
                 .submit_ms = clock_wall_ms(),
                 .served = served,
                 .erase = arena_sv(a, request->erase),
                 .params = request->kind == JOB_EXPORT ? request->params : NULL }
    };
    rec.job.request_url = arena_sv(a, request->params ? request->params->request_url : SV_NONE);
    rec.job.caller = arena_sv(a, served ? request->caller : SV_NONE);
    return rec;
}

/* Told to a caller who may come again: seconds, 0 for as soon as he likes. */
static void say_wait(const struct job_request *request, unsigned s)
{
    if (request->wait_s)
        *request->wait_s = s;
}

/* Its place in time: unique, and later than all before. */
static uint64_t next_order(struct job_engine *engine, int64_t submit_ms)
{
    uint64_t order = (uint64_t)submit_ms * 1000;
    pthread_mutex_lock(&engine->locked.lock);
    if (engine->locked.last_order >= order)
        order = engine->locked.last_order + 1;
    engine->locked.last_order = order;
    pthread_mutex_unlock(&engine->locked.lock);
    return order;
}

/* A place among what is kept, for a served export. */
static err_code enter_kept(struct job_engine *engine, const struct job_request *request,
                           const struct job_record *rec, struct err *e)
{
    unsigned wait_s = 0;
    if (!rec->served)
        return ERR_OK;
    TRY(job_kept_renew(engine, e));
    err_code rc = job_kept_enter(engine->kept, &rec->job, &wait_s, e);
    say_wait(request, wait_s);
    return rc;
}

static err_code create_told(struct job_engine *engine, const struct job_request *request,
                            struct job_record *rec, const struct records_write *more, size_t n,
                            struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(TOLD_BYTES);
    TRY(job_told(engine->cfg.events, rec, a, e));
    TRY(job_record_create(engine->cfg.records, rec, request->client_token, more, n, e));
    job_told_written(engine->cfg.events, rec);
    return ERR_OK;
}

/* Where several nodes take jobs in: what was looked at holds, or nothing is written.
 * ERR_PRECONDITION: another one came in meanwhile. */
static err_code create_in_place(struct job_engine *engine, const struct job_request *request,
                                struct job_record *rec, struct err *e)
{
    struct job_place place;
    TRY(job_place_begin(engine, &place, e));
    TRY(job_drop_check(engine, request->datastore_id, e));
    TRY(job_look(engine, e));
    TRY(check_queue(engine, request, e));
    job_place_take(&place, rec->job.submit_ms);
    rec->order = place.order;
    return create_told(engine, request, rec, place.writes, JOB_CREATE_MORE, e);
}

static err_code create(struct job_engine *engine, const struct job_request *request,
                       struct job_record *rec, struct err *e)
{
    struct err why = { 0 };
    if (!engine->shared) {
        rec->order = next_order(engine, rec->job.submit_ms);
        return create_told(engine, request, rec, NULL, 0, e);
    }
    for (unsigned i = 0; i < TRIES; i++) {
        err_code rc = create_in_place(engine, request, rec, &why);
        rec->told = NULL;
        if (rc == ERR_OK)
            return ERR_OK;
        if (rc != ERR_PRECONDITION)
            return err_pass(e, &why);
    }
    return ERR(e, ERR_THROTTLED, "Other nodes take in jobs all the time; try again");
}

static err_code enter_held(struct job_engine *engine, const struct job_request *request,
                           struct job_record *rec, struct err *e)
{
    /* again: nobody enters between this look and the entry */
    TRY(check_queue(engine, request, e));
    TRY(enter_kept(engine, request, rec, e));
    err_code rc = create(engine, request, rec, e);
    if (rc != ERR_OK) {
        if (rec->served)
            job_kept_leave(engine->kept, rec->job.id);
        return rc;
    }
    struct job_entry *entry = entry_of(request, rec);
    pthread_mutex_lock(&engine->locked.lock);
    /* a look may have seen it in the records already */
    if (job_entry_find_locked(engine, request->kind, request->datastore_id, rec->job.id))
        free(entry);
    else
        job_entry_add_locked(engine, entry);
    pthread_mutex_unlock(&engine->locked.lock);
    return ERR_OK;
}

/* Its record, then its place in the queue. They belong together: who is written first is first. */
static err_code enter(struct job_engine *engine, const struct job_request *request,
                      struct job_record *rec, struct err *e)
{
    pthread_mutex_lock(&engine->record_lock);
    err_code rc = enter_held(engine, request, rec, e);
    pthread_mutex_unlock(&engine->record_lock);
    return rc;
}

static void start_or_queue(struct job_engine *engine, const struct job *job)
{
    pthread_mutex_lock(&engine->locked.lock);
    struct job_entry *mine = job_entry_find_locked(engine, job->kind, job->datastore_id, job->id);
    bool waits = mine && job_entry_blocked_locked(engine, mine);
    pthread_mutex_unlock(&engine->locked.lock);
    if (waits) {
        struct job_change change = { .to = JOB_QUEUED };
        /* it may have been started meanwhile: then it is not to be QUEUED */
        struct err ignored;
        IGNORE(job_engine_change(engine, job->kind, job->datastore_id, job->id, &change, &ignored));
    }
    job_engine_schedule(engine);
    job_tell(engine);
}

/* Too little of the disk is left: that may pass, as other limits do. */
static err_code check_disk(struct job_engine *engine, const struct job_request *request,
                           struct err *e)
{
    struct err why;
    err_code rc = job_disk_check(&engine->cfg, job_served_place(engine->served), &why);
    if (rc == ERR_OK)
        return rc;
    if (rc != ERR_NO_SPACE) {
        LOG_ERR("disk", &why, LOG_STR("note", "an export was refused for it"));
        return ERR(e, ERR_UNAVAILABLE,
                   "The disk for the export's files cannot be looked at; try again later");
    }
    say_wait(request, DISK_WAIT_S);
    return ERR(e, ERR_THROTTLED, "The server's disk is nearly full; try again later");
}

/* May an export's files be served from here? Whoever asks for them may be sent to any machine. */
static err_code check_place(struct job_engine *engine, struct err *e)
{
    const struct job_engine_config *cfg = &engine->cfg;
    if (engine->served == NULL)
        return ERR(e, ERR_UNSUPPORTED, "This server keeps no files of exports");
    struct job_files *place = job_served_place(engine->served);
    if (!job_files_is_shared(place))
        return cfg->is_alone == NULL || cfg->is_alone(cfg->is_alone_ctx)
                   ? ERR_OK
                   : ERR(e, ERR_UNSUPPORTED,
                         "Several servers share this data store, and none could serve the files "
                         "that another wrote: each needs --export-files, a directory that all of "
                         "them have or s3://bucket/prefix. An export to S3 needs no such place");
    return job_files_reach(place, e);
}

static err_code submit_held(struct job_engine *engine, const struct job_request *request, sv digest,
                            struct arena *a, struct job *out, struct err *e)
{
    char id[33];
    bool served = request->params && request->params->served;
    TRY(check_queue(engine, request, e));
    if (request->kind == JOB_EXPORT)
        TRY(job_export_check(engine, request->datastore_id, request->params, e));
    if (served)
        TRY(check_place(engine, e));
    if (request->kind == JOB_ERASE && engine->cfg.kinds[JOB_ERASE] == NULL)
        return ERR(e, ERR_UNSUPPORTED, "This server erases nothing");
    /* an erasure writes nowhere else, and is to make room */
    if (request->kind != JOB_ERASE)
        TRY(served ? check_disk(engine, request, e) : check_places(engine, request, e));
    rng_hex32(id);
    struct job_record rec = record_of(request, sv_from(id), digest, a);
    TRY(enter(engine, request, &rec, e));
    job_engine_log("job", &rec.job);
    start_or_queue(engine, &rec.job);
    /* the caller's, not the arena's */
    rec.job.params = NULL;
    *out = rec.job;
    return ERR_OK;
}

/* The data store is held meanwhile: a deletion waits, and then finds the job
 * (job_datastore_forget). */
static err_code submit_new(struct job_engine *engine, const struct job_request *request, sv digest,
                           struct arena *a, struct job *out, struct err *e)
{
    struct store *st = NULL;
    struct err why;
    err_code rc =
        store_registry_acquire(engine->cfg.stores, request->datastore_id, false, &st, &why);
    if (rc == ERR_NOT_FOUND || rc == ERR_GONE)
        return ERR(e, ERR_INVALID, "The data store is being deleted; it takes no more jobs");
    if (rc != ERR_OK)
        return err_pass(e, &why);
    rc = submit_held(engine, request, digest, a, out, e);
    store_registry_release(engine->cfg.stores, st);
    return rc;
}

err_code job_submit(struct job_engine *engine, const struct job_request *request, struct arena *a,
                    struct job *out, struct err *e)
{
    sv digest = job_token_digest(a, request);
    say_wait(request, 0);
    if (request->client_token.len) {
        err_code rc = by_token(engine, request, digest, a, out, e);
        if (rc != ERR_NOT_FOUND)
            return rc;
    }
    err_code rc = submit_new(engine, request, digest, a, out, e);
    /* another request with that token was faster */
    if (rc == ERR_EXISTS && request->client_token.len)
        rc = by_token(engine, request, digest, a, out, e);
    return rc;
}
