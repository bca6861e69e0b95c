/* forget.c - a data store is gone: what its jobs asked for goes too, for it may name patients. When
 * something was erased from it, what exports that have ended asked for goes.
 *
 * Parameters, the kick-off's URL, the manifest, client tokens, the request's digest and what
 * exports left to later ones go. The records stay, so that the jobs can still be described. A run
 * that a crash cut off is made again, which is harmless. The bytes are on disk until
 * records_scrub(). */
#include "job/job_private.h"

static err_code forget_job(struct records *r, sv key, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    CLEANUP_BUF struct buf old = BUF_INIT(JOB_RECORD_MAX), json = BUF_INIT(JOB_RECORD_MAX);
    struct job_record rec;
    TRY(records_get(r, key, &old, e));
    TRY(job_record_parse(buf_sv(&old), a, &rec, e));
    /* by a run before, which a crash ended */
    if (rec.digest.len == 0 && rec.job.request_url.len == 0)
        return ERR_OK;
    TRY(job_notes_delete(r, rec.job.id, e));
    rec.digest = rec.job.request_url = SV_NONE;
    TRY(job_record_format(&rec, &json, e));
    struct records_write w[] = {
        { RECORDS_PUT, key, buf_sv(&json) },
        { RECORDS_DELETE, job_key_params(a, rec.job.id), SV_NONE },
        { RECORDS_DELETE, job_key_manifest(a, rec.job.id), SV_NONE },
    };
    return records_write(r, w, sizeof w / sizeof w[0], e);
}

static err_code has_params(struct records *r, sv key, bool *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(JOB_PARAMS_MAX);
    err_code rc = records_get(r, key, &b, e);
    *out = rc == ERR_OK;
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* Of an export that has ended: patients, filters and the query of its URL. A manifest that has the
 * query goes; in the bucket it stands beside the files. */
static err_code forget_asked(struct records *r, sv key, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    CLEANUP_BUF struct buf old = BUF_INIT(JOB_RECORD_MAX), json = BUF_INIT(JOB_RECORD_MAX);
    struct job_record rec;
    struct records_write w[3];
    size_t n = 0;
    bool any;
    TRY(records_get(r, key, &old, e));
    TRY(job_record_parse(buf_sv(&old), a, &rec, e));
    if (rec.job.kind != JOB_EXPORT || !job_status_is_final(rec.job.status))
        return ERR_OK;
    const sv params = job_key_params(a, rec.job.id);
    TRY(has_params(r, params, &any, e));
    if (any)
        w[n++] = (struct records_write){ RECORDS_DELETE, params, SV_NONE };
    const size_t query = sv_find(rec.job.request_url, '?');
    if (query < rec.job.request_url.len) {
        rec.job.request_url = sv_head(rec.job.request_url, query);
        TRY(job_record_format(&rec, &json, e));
        w[n++] = (struct records_write){ RECORDS_PUT, key, buf_sv(&json) };
        w[n++] = (struct records_write){ RECORDS_DELETE, job_key_manifest(a, rec.job.id), SV_NONE };
    }
    return n ? records_write(r, w, n, e) : ERR_OK;
}

typedef err_code (*forget_fn)(struct records *r, sv key, struct err *e);

/* Every job of the data store. *any: there is one. */
static err_code each_job(struct records *r, sv datastore_id, forget_fn fn, bool *any, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    sv prefix = job_key_records(a, datastore_id), after = SV_NONE;
    arena_mark m = arena_mark_get(a);
    char last[256];
    for (;;) {
        struct job_keys l = { .a = a };
        arena_rewind(a, m);
        TRY(records_scan(r, prefix, after, job_keys_add, &l, e));
        if (l.n == 0)
            return ERR_OK;
        *any = true;
        for (size_t i = 0; i < l.n; i++)
            TRY(fn(r, l.keys[i], e));
        after = l.keys[l.n - 1];
        /* two ids and a kind */
        after = sv_make(memcpy(last, after.ptr, after.len), after.len);
    }
}

err_code job_run_copies_drop(struct job_run *run, struct err *e)
{
    bool any;
    if (run->engine->served)
        TRY(job_served_drop(run->engine->served, run->job->datastore_id, e));
    TRY(each_job(run->cfg->records, run->job->datastore_id, forget_asked, &any, e));
    return job_earlier_delete_all(run->cfg->records, run->job->datastore_id, e);
}

err_code job_records_forget(struct records *r, sv datastore_id, bool *any, struct err *e)
{
    TRY(job_tokens_delete(r, datastore_id, e));
    TRY(job_earlier_delete_all(r, datastore_id, e));
    /* forgotten by a run before, perhaps, which did not come to its end */
    return each_job(r, datastore_id, forget_job, any, e);
}
