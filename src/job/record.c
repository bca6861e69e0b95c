/* record.c - jobs as records: written with the first status, changed, read by everybody, listed
 * newest first.
 *
 * One table says which member of struct job_record is which member of the JSON. keys.c says where
 * the records are, client_token.c what a client token is.
 *
 * A change reads the record, checks the move against the table of status.c, and writes it, one at a
 * time under record_lock. Who waits for a job to end is told when the record says so, and not
 * before. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "codec/json.h"

#include <assert.h>

#define CHANGES 100u /* of one record, by others, between a look and a writing */

/* ---- record <-> JSON: one table ---- */

enum field_kind { TEXT, TIME, COUNT, REAL };
struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
};
#define F(name, kind, member)                           \
    {                                                   \
        name, kind, offsetof(struct job_record, member) \
    }
static const struct field fields[] = {
    F("id", TEXT, job.id),
    F("datastore", TEXT, job.datastore_id),
    F("datastoreArn", TEXT, job.datastore_arn),
    F("account", TEXT, job.account_id),
    F("name", TEXT, job.job_name),
    F("role", TEXT, job.role_arn),
    F("output", TEXT, job.output_uri),
    F("folder", TEXT, job.job_folder_uri),
    F("kmsKey", TEXT, job.kms_key_id),
    F("input", TEXT, job.input_uri),
    F("validationLevel", TEXT, job.validation_level),
    F("submitted", TIME, job.submit_ms),
    F("started", TIME, job.start_ms),
    F("ended", TIME, job.end_ms),
    F("asOf", COUNT, job.as_of_t),
    F("transactionTime", TIME, job.transaction_ms),
    F("message", TEXT, job.message),
    F("request", TEXT, job.request_url),
    F("caller", TEXT, job.caller),
    F("served", COUNT, served),
    F("filesExpire", TIME, job.expires_ms),
    F("filesRemoved", TIME, files_removed_ms),
    F("order", COUNT, order),
    F("digest", TEXT, digest),
    F("filesScanned", COUNT, job.progress.files_scanned),
    F("filesImported", COUNT, job.progress.files_imported),
    F("filesUnreadable", COUNT, job.progress.files_unreadable),
    F("bytesScanned", COUNT, job.progress.bytes_scanned),
    F("bytesImported", COUNT, job.progress.bytes_imported),
    F("resourcesScanned", COUNT, job.progress.resources_scanned),
    F("resourcesImported", COUNT, job.progress.resources_imported),
    F("customerErrors", COUNT, job.progress.resources_customer_error),
    F("serverErrors", COUNT, job.progress.resources_server_error),
    F("withIssues", COUNT, job.progress.resources_with_issues),
    F("resourcesExported", COUNT, job.progress.resources_exported),
    F("bytesExported", COUNT, job.progress.bytes_exported),
    F("objectsExported", COUNT, job.progress.objects_exported),
    F("resourcesErased", COUNT, job.progress.resources_erased),
    F("versionsErased", COUNT, job.progress.versions_erased),
    F("rangesTotal", COUNT, job.progress.ranges_total),
    F("rangesDone", COUNT, job.progress.ranges_done),
    F("throughput", REAL, job.progress.throughput),
};
#define N_FIELDS (sizeof fields / sizeof fields[0])

err_code job_record_format(const struct job_record *rec, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "kind", sv_from(job_kind_name(rec->job.kind)));
    json_kv_str(&w, "status", sv_from(job_status_name(rec->job.status)));
    for (size_t i = 0; i < N_FIELDS; i++) {
        const char *at = (const char *)rec + fields[i].offset;
        sv text;
        uint64_t n;
        double d;
        switch (fields[i].kind) {
        case TEXT:
            memcpy(&text, at, sizeof text);
            if (text.len)
                json_kv_str(&w, fields[i].name, text);
            break;
        case REAL:
            memcpy(&d, at, sizeof d);
            json_key(&w, fields[i].name);
            json_fixed(&w, d, 3);
            break;
        default:
            memcpy(&n, at, sizeof n);
            if (n) {
                json_key(&w, fields[i].name);
                json_u64(&w, n);
            }
        }
    }
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

err_code job_record_parse(sv text, struct arena *a, struct job_record *out, struct err *e)
{
    struct job_record rec = { 0 };
    yyjson_doc *doc;
    text = arena_sv(a, text);
    if (text.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, text, 4, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "a job's record is damaged");
    yyjson_val *root = yyjson_doc_get_root(doc);
    rec.job.kind = job_kind_parse(json_string(json_get(root, "kind")));
    if (!job_status_parse(json_string(json_get(root, "status")), &rec.job.status))
        return ERR(e, ERR_CORRUPT, "a job's record has no known status");
    for (size_t i = 0; i < N_FIELDS; i++) {
        yyjson_val *v = json_get(root, fields[i].name);
        char *at = (char *)&rec + fields[i].offset;
        sv s = fields[i].kind == TEXT ? json_string(v) : json_number(v);
        uint64_t n;
        double d;
        if (fields[i].kind == TEXT)
            memcpy(at, &s, sizeof s);
        else if (fields[i].kind == REAL && sv_to_double(s, &d))
            memcpy(at, &d, sizeof d);
        else if (fields[i].kind != REAL && sv_to_u64(s, &n))
            memcpy(at, &n, sizeof n);
    }
    rec.job.served = rec.served;
    rec.job.discarded = rec.files_removed_ms != 0;
    *out = rec;
    return ERR_OK;
}

/* ---- reading and writing ---- */

static const char *const words[JOB_N_KINDS] = {
    [JOB_EXPORT] = "Export",
    [JOB_IMPORT] = "Import",
    [JOB_ERASE] = "Erase",
};

err_code job_record_read(struct records *r, job_kind kind, sv datastore_id, sv id, struct arena *a,
                         struct job_record *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(JOB_RECORD_MAX);
    struct err mine;
    err_code rc = records_get(r, job_key_record(a, kind, datastore_id, id), &b, &mine);
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_NOT_FOUND, "%s job %.*s does not exist in this data store", words[kind],
                   SV_FMT(sv_head(id, 64)));
    if (rc != ERR_OK)
        return err_pass(e, &mine);
    sv former = arena_sv(a, buf_sv(&b));
    TRY(former.ptr ? job_record_parse(former, a, out, e) : arena_oom(a, e));
    out->former = former;
    return ERR_OK;
}

err_code job_record_create(struct records *r, const struct job_record *rec, sv client_token,
                           const struct records_write *more, size_t n_more, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    CLEANUP_BUF struct buf json = BUF_INIT(JOB_RECORD_MAX), params = BUF_INIT(JOB_PARAMS_MAX);
    const struct job *job = &rec->job;
    TRY(job_record_format(rec, &json, e));
    struct records_write w[7 + JOB_CREATE_MORE] = {
        { RECORDS_PUT, job_key_record(a, job->kind, job->datastore_id, job->id), buf_sv(&json) },
        { RECORDS_PUT, job_key_listed(a, rec), job->id },
        { RECORDS_PUT, job_key_active(a, rec->order),
          arena_fmt(a, "%s/%.*s/%.*s", job_kind_name(job->kind), SV_FMT(job->datastore_id),
                    SV_FMT(job->id)) },
    };
    size_t n = 3;
    if (job->params) {
        TRY(job_params_write(job->params, &params, e));
        w[n++] = (struct records_write){ RECORDS_PUT, job_key_params(a, job->id), buf_sv(&params) };
    }
    if (job->erase.len)
        w[n++] = (struct records_write){ RECORDS_PUT, job_key_params(a, job->id), job->erase };
    if (client_token.len)
        TRY(job_token_write(rec, client_token, a, &w[n++], e));
    if (rec->told)
        w[n++] = *rec->told;
    assert(n_more <= JOB_CREATE_MORE);
    for (size_t i = 0; i < n_more; i++)
        w[n++] = more[i];
    return records_write(r, w, n, e);
}

/* w[0] is left for the condition, w[1] puts the record. */
static err_code write_changed(struct records *r, const struct job_record *rec,
                              struct records_write *w, size_t n, struct err *e)
{
    if (rec->told)
        w[n++] = *rec->told;
    w[0] = (struct records_write){ RECORDS_IF_SAME, w[1].key, rec->former };
    return rec->former.len ? job_write(r, rec->under, w, n, e)
                           : job_write(r, rec->under, w + 1, n - 1, e);
}

err_code job_record_update(struct records *r, const struct job_record *rec, bool synced,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    CLEANUP_BUF struct buf json = BUF_INIT(JOB_RECORD_MAX);
    TRY(job_record_format(rec, &json, e));
    struct records_write w[3] = {
        [1] = { RECORDS_PUT, job_key_record(a, rec->job.kind, rec->job.datastore_id, rec->job.id),
                buf_sv(&json) },
    };
    if (synced || rec->told || rec->former.len)
        return write_changed(r, rec, w, 2, e);
    return job_put_unsynced(r, rec->under, w[1].key, w[1].value, e);
}

err_code job_notes_delete(struct records *r, sv id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    for (;;) {
        struct job_keys l = { .a = a };
        struct records_write del[JOB_KEYS_MAX];
        arena_reset(a);
        TRY(records_scan(r, job_key_note(a, id, SV_NONE), SV_NONE, job_keys_add, &l, e));
        if (l.n == 0)
            return ERR_OK;
        job_keys_delete(&l, del);
        TRY(records_write(r, del, l.n, e));
    }
}

err_code job_record_finish(struct records *r, const struct job_record *rec, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    CLEANUP_BUF struct buf json = BUF_INIT(JOB_RECORD_MAX);
    TRY(job_record_format(rec, &json, e));
    struct records_write w[5] = {
        [1] = { RECORDS_PUT, job_key_record(a, rec->job.kind, rec->job.datastore_id, rec->job.id),
                buf_sv(&json) },
        [2] = { RECORDS_DELETE, job_key_active(a, rec->order), SV_NONE },
    };
    size_t n = 3;
    if (rec->job.expires_ms)
        w[n++] = (struct records_write){ RECORDS_PUT,
                                         job_key_expiry(a, rec->job.expires_ms, rec->job.id),
                                         rec->job.datastore_id };
    TRY(write_changed(r, rec, w, n, e));
    /* the job is over; its notes are of no more use, and a crash here leaves them harmless */
    return job_notes_delete(r, rec->job.id, e);
}

/* ---- unfinished jobs ---- */

struct active_ctx {
    job_active_fn each;
    void *ctx;
};

static bool each_active(void *ctx, sv key, sv value)
{
    struct active_ctx *c = ctx;
    sv kind, datastore, rest = value;
    sv hex = sv_tail(key, sizeof JOB_KEYS_ACTIVE - 1);
    if (sv_cut(&rest, '/', &kind) && sv_cut(&rest, '/', &datastore))
        c->each(c->ctx, job_kind_parse(kind), datastore, rest, job_key_number(hex));
    return true;
}

err_code job_records_active(struct records *r, job_active_fn each, void *ctx, struct err *e)
{
    struct active_ctx c = { each, ctx };
    return records_scan(r, SV_LIT(JOB_KEYS_ACTIVE), SV_NONE, each_active, &c, e);
}

/* ---- listing ---- */

struct list_ctx {
    struct records *records;
    job_kind kind;
    const struct job_filter *filter;
    struct arena *a;
    struct job *jobs;
    size_t n, max;
    unsigned seen;
    char last[160]; /* key of the last one that was looked at */
    size_t last_len;
    bool more;
    err_code rc;
    struct err *e;
};

static bool wanted(const struct job_filter *f, const struct job *job)
{
    return (f->name.len == 0 || sv_eq(f->name, job->job_name)) &&
           (!f->has_status || f->status == job->status) &&
           (f->submitted_after_ms == 0 || job->submit_ms > f->submitted_after_ms) &&
           (f->submitted_before_ms == 0 || job->submit_ms < f->submitted_before_ms);
}

static bool each_listed(void *ctx, sv key, sv id)
{
    struct list_ctx *c = ctx;
    struct job_record rec;
    /* a page may be short; its position goes on */
    if (c->seen++ == LIMIT_LIST_SEEN) {
        c->more = true;
        return false;
    }
    arena_mark m = arena_mark_get(c->a);
    c->rc = job_record_read(c->records, c->kind, c->filter->datastore_id, id, c->a, &rec, c->e);
    if (c->rc != ERR_OK)
        return false;
    bool is_wanted = wanted(c->filter, &rec.job);
    if (is_wanted && c->n == c->max) {
        c->more = true;
        return false;
    }
    if (is_wanted)
        c->jobs[c->n++] = rec.job;
    else
        arena_rewind(c->a, m);
    c->last_len = key.len < sizeof c->last ? key.len : 0;
    memcpy(c->last, key.ptr, c->last_len);
    return true;
}

err_code job_record_list(struct records *r, job_kind kind, const struct job_filter *filter,
                         sv after, unsigned max, struct arena *a, struct job **out, size_t *n_out,
                         sv *next, struct err *e)
{
    struct list_ctx c = {
        .records = r, .kind = kind, .filter = filter, .a = a, .max = max, .e = e
    };
    c.jobs = arena_calloc(a, max ? max : 1, sizeof *c.jobs);
    sv prefix = job_key_list(a, kind, filter->datastore_id);
    if (c.jobs == NULL || prefix.ptr == NULL)
        return arena_oom(a, e);
    sv from = after.len ? arena_fmt(a, "%.*s%.*s", SV_FMT(prefix), SV_FMT(after)) : SV_NONE;
    TRY(records_scan(r, prefix, from, each_listed, &c, e));
    TRY(c.rc);
    *out = c.jobs;
    *n_out = c.n;
    *next = c.more ? arena_sv(a, sv_tail(sv_make(c.last, c.last_len), prefix.len)) : SV_NONE;
    return c.more && next->ptr == NULL ? arena_oom(a, e) : ERR_OK;
}

void job_engine_log(const char *event, const struct job *job)
{
    LOG(LOG_INFO, event, LOG_STR("kind", job_kind_name(job->kind)), LOG_SV("job", job->id),
        LOG_SV("datastore", job->datastore_id), LOG_STR("status", job_status_name(job->status)));
}

/* The record as it is after the change. */
static void apply(const struct job_engine *engine, const struct job_change *change, struct arena *a,
                  struct job_record *rec)
{
    struct job *job = &rec->job;
    job->status = change->to;
    if (change->to == JOB_IN_PROGRESS && job->start_ms == 0)
        job->start_ms = clock_wall_ms();
    if (job_status_is_final(change->to) && job->end_ms == 0)
        job->end_ms = clock_wall_ms();
    if (change->files_expire && job->expires_ms == 0)
        job->expires_ms = job->end_ms + engine->cfg.served_ms;
    if (change->files_removed)
        rec->files_removed_ms = clock_wall_ms();
    if (change->progress)
        job->progress = *change->progress;
    if (change->message.len)
        job->message = job_message_clean(a, change->message);
    if (change->set_instant) {
        job->as_of_t = change->t;
        job->transaction_ms = change->instant_ms;
    }
}

/* What is kept of a served export, after its record was written. */
static void tell_kept(struct job_engine *engine, const struct job *job, bool ends,
                      bool files_removed)
{
    if (ends && job->expires_ms) {
        job_kept_end(engine->kept, job->id, job->expires_ms);
        job_served_expect(engine->served, job->expires_ms);
    } else if (ends || files_removed) {
        job_kept_leave(engine->kept, job->id);
    }
}

static err_code change_once(struct job_engine *engine, job_kind kind, sv datastore_id, sv id,
                            const struct job_change *change, bool *ended, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct job_record rec;
    TRY(job_record_read(engine->cfg.records, kind, datastore_id, id, a, &rec, e));
    bool moved = change->to != rec.job.status;
    if (moved && !job_status_may(rec.job.status, change->to))
        return ERR(e, ERR_CONFLICT, "job is %s", job_status_name(rec.job.status));
    /* one process alone has the lock */
    if (!engine->shared)
        rec.former = SV_NONE;
    rec.under = change->under;
    apply(engine, change, a, &rec);
    if (moved)
        TRY(job_told(engine->cfg.events, &rec, a, e));
    bool ends = moved && job_status_is_final(change->to);
    /* that it runs may go with the machine: the job is then where it was before */
    bool synced = change->to != JOB_IN_PROGRESS;
    TRY(ends ? job_record_finish(engine->cfg.records, &rec, e)
             : job_record_update(engine->cfg.records, &rec, synced, e));
    job_told_written(engine->cfg.events, &rec);
    tell_kept(engine, &rec.job, ends, change->files_removed);
    if (ends)
        job_count_end(engine, &rec.job);
    if (moved)
        job_engine_log("job", &rec.job);
    *ended = ends;
    return ERR_OK;
}

/* Until no other node has changed it between the look and the writing. */
static err_code change_locked(struct job_engine *engine, job_kind kind, sv datastore_id, sv id,
                              const struct job_change *change, bool *ended, struct err *e)
{
    struct err why = { 0 };
    for (unsigned i = 0; i < CHANGES; i++) {
        err_code rc = change_once(engine, kind, datastore_id, id, change, ended, &why);
        if (rc == ERR_OK)
            return ERR_OK;
        if (rc != ERR_PRECONDITION)
            return err_pass(e, &why);
    }
    return ERR(e, ERR_UNAVAILABLE, "other nodes change the job all the time");
}

err_code job_engine_change(struct job_engine *engine, job_kind kind, sv datastore_id, sv id,
                           const struct job_change *change, struct err *e)
{
    bool ended = false;
    pthread_mutex_lock(&engine->record_lock);
    err_code rc = change_locked(engine, kind, datastore_id, id, change, &ended, e);
    pthread_mutex_unlock(&engine->record_lock);
    const struct job_end end = { kind, datastore_id, id, change->to };
    if (ended && engine->cfg.ended)
        engine->cfg.ended(engine->cfg.ended_ctx, &end);
    return rc;
}
