/* manifest.c - the manifest of an export as it is asked for, and the files that it names.
 *
 * The manifest of an export is kept in the records for as long as its files are there. A running
 * export that was started with partial manifests shows what is final so far; its kind makes that
 * from the run's notes. A served file is opened by the name that the manifest has for it, and by no
 * other. */
#include "job/job_private.h"

#include "codec/json.h"

#define MANIFEST_MAX (1u << 30)

static err_code completed(const struct job *job, struct err *e)
{
    if (job->discarded)
        return ERR(e, ERR_GONE, "The files of this export have expired; start a new one");
    if (job->status != JOB_COMPLETED && job->status != JOB_COMPLETED_WITH_ERRORS)
        return ERR(e, ERR_CONFLICT, "The export is %s: it has no files yet",
                   job_status_name(job->status));
    return ERR_OK;
}

static err_code manifest_of(struct records *r, const struct job *job, struct buf *out,
                            struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    TRY(completed(job, e));
    err_code rc = records_get(r, job_key_manifest(a, job->id), out, e);
    /* of a version before manifests were kept, or it has just expired */
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_GONE, "The files of this export are not known any more");
    return rc;
}

/* The manifest's entry of that name, or NULL. */
static yyjson_val *find_file(yyjson_val *manifest, sv name)
{
    static const char *const lists[] = { "output", "deleted", "error", "outcome" };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        yyjson_val *v;
        yyjson_arr_iter it = yyjson_arr_iter_with(json_get(manifest, lists[i]));
        while ((v = yyjson_arr_iter_next(&it)) != NULL)
            if (sv_eq(json_string(json_get(v, "url")), name))
                return v;
    }
    return NULL;
}

static bool shows_parts(const struct job *job)
{
    return job->status == JOB_IN_PROGRESS && job->served && job->transaction_ms && job->params &&
           job->params->partial_manifests;
}

/* The manifest, or of a running export that may show it, what is final of it. */
static err_code manifest_so_far(struct job_engine *engine, struct job *job, struct arena *a,
                                struct buf *out, bool *complete, struct err *e)
{
    if (shows_parts(job)) {
        TRY(engine->cfg.kinds[JOB_EXPORT]->manifest_so_far(engine->cfg.records, job, out, e));
        TRY(job_get(engine, JOB_EXPORT, job->datastore_id, job->id, a, job, e));
        if (shows_parts(job)) {
            *complete = false;
            return ERR_OK;
        }
        /* it ended meanwhile, and its notes are gone */
        buf_clear(out);
    }
    TRY(manifest_of(engine->cfg.records, job, out, e));
    *complete = true;
    return ERR_OK;
}

static err_code open_file(struct job_engine *engine, struct job *job, sv name,
                          const struct cipher_ring *ring, const struct job_export_want *want,
                          struct arena *a, struct job_export_file *out, struct err *e)
{
    bool complete;
    CLEANUP_BUF struct buf b = BUF_INIT(MANIFEST_MAX);
    CLEANUP(arena_free) struct arena *scratch = arena_new(MANIFEST_MAX);
    yyjson_doc *doc;
    uint64_t bytes = 0;
    TRY(manifest_so_far(engine, job, scratch, &b, &complete, e));
    if (json_read(scratch, buf_sv(&b), 8, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "the manifest of an export is damaged");
    yyjson_val *v =
        job->served && engine->served ? find_file(yyjson_doc_get_root(doc), name) : NULL;
    if (v == NULL || !sv_to_u64(json_number(json_get(v, "bytes")), &bytes))
        return ERR(e, ERR_NOT_FOUND, "The export has no file %.*s", SV_FMT(sv_head(name, 64)));
    const sv digest = arena_sv(a, json_string(json_get(v, "sha256")));
    if (digest.ptr == NULL)
        return arena_oom(a, e);
    struct job_export_file file = { .bytes = bytes, .sha256 = digest };
    struct job_files *place = job_served_place(engine->served);
    struct job_export_part part = { 0, bytes };
    if (want->part)
        part = want->part(want->ctx, &file);
    err_code rc = job_files_file(place, job->id, name, part, ring, &file, e);
    /* a client takes "gone" as final, so it is not said of a place that may come back */
    if (rc == ERR_GONE)
        TRY(job_files_reach(place, e));
    TRY(rc);
    *out = file;
    return ERR_OK;
}

/* ---- calls of job.h ---- */

err_code job_export_manifest(struct job_engine *engine, sv datastore_id, sv job_id, struct buf *out,
                             bool *complete, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(32u << 20);
    struct job job;
    TRY(job_get(engine, JOB_EXPORT, datastore_id, job_id, a, &job, e));
    return manifest_so_far(engine, &job, a, out, complete, e);
}

err_code job_export_file_open(struct job_engine *engine, sv datastore_id, sv job_id, sv name,
                              const struct cipher_ring *ring, const struct job_export_want *want,
                              struct arena *a, struct job_export_file *out, struct err *e)
{
    struct job job;
    TRY(job_get(engine, JOB_EXPORT, datastore_id, job_id, a, &job, e));
    return open_file(engine, &job, name, ring, want, a, out, e);
}

err_code job_discard(struct job_engine *engine, sv datastore_id, sv job_id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(32u << 20);
    struct job job;
    TRY(job_get(engine, JOB_EXPORT, datastore_id, job_id, a, &job, e));
    if (!job.served || engine->served == NULL)
        return ERR(e, ERR_CONFLICT, "The files of this export are not kept here");
    if (!job_status_is_final(job.status))
        return ERR(e, ERR_CONFLICT, "The export is %s: cancel it", job_status_name(job.status));
    if (job.discarded)
        return ERR_OK;
    return job_served_expire(engine->served, datastore_id, job_id, job.expires_ms, e);
}
