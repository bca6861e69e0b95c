/* forget.c - a data store is gone: what its jobs asked for goes too, for it may name patients.
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

err_code job_run_erase_forget(struct job_run *run, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    const struct records_write w = { RECORDS_DELETE, job_key_params(a, run->job->id), SV_NONE };
    TRY(records_write(run->cfg->records, &w, 1, e));
    return records_scrub(run->cfg->records, e);
}

err_code job_run_copies_drop(struct job_run *run, struct err *e)
{
    if (run->engine->served)
        TRY(job_served_drop(run->engine->served, run->job->datastore_id, e));
    return job_earlier_delete_all(run->cfg->records, run->job->datastore_id, e);
}

err_code job_records_forget(struct records *r, sv datastore_id, bool *any, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    sv prefix = job_key_records(a, datastore_id), after = SV_NONE;
    arena_mark m = arena_mark_get(a);
    char last[256];
    TRY(job_tokens_delete(r, datastore_id, e));
    TRY(job_earlier_delete_all(r, datastore_id, e));
    for (;;) {
        struct job_keys l = { .a = a };
        arena_rewind(a, m);
        TRY(records_scan(r, prefix, after, job_keys_add, &l, e));
        if (l.n == 0)
            return ERR_OK;
        /* forgotten by a run before, perhaps, which did not come to its end */
        *any = true;
        for (size_t i = 0; i < l.n; i++)
            TRY(forget_job(r, l.keys[i], e));
        after = l.keys[l.n - 1];
        /* two ids and a kind */
        after = sv_make(memcpy(last, after.ptr, after.len), after.len);
    }
}
