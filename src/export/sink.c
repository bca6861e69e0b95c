/* sink.c - where an export writes: opening it, its file of errors, and taking away what a cancelled
 * export wrote.
 *
 * The file of errors holds what handling=lenient passed over, an OperationOutcome each. */
#include "export/export_private.h"

#include "codec/hash.h"
#include "fhir/outcome.h"
#include "job/served/place.h"

#define ERRORS_MAX (64u << 20)

err_code export_sink_open(struct job_run *run, struct sink **out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    bool served = run->job->served;
    if (run->world == NULL)
        return ERR(e, ERR_UNSUPPORTED, "this server keeps no files of exports");
    sv folder = served ? job_files_uri(run->place, run->job->id, a) : run->job->job_folder_uri;
    struct sink_target t = { .uri = sv_head(folder, folder.len - 1), /* without the last '/' */
                             .role_arn = served ? JOB_FILES_ROLE : run->job->role_arn,
                             .kms_key_id = run->job->kms_key_id,
                             .account_id = run->job->account_id,
                             .source_arn = run->job->datastore_arn,
                             .session_name = SV_LIT("fhirlake-export"),
                             .cancel = run->halt,
                             .leave = run->leave,
                             .ring = served ? store_ring(run->store) : NULL };
    if (t.ring && !job_files_encrypts(run->place))
        return ERR(e, ERR_UNSUPPORTED, "files of an encrypted data store cannot be kept in S3");
    return sink_open(run->world, &t, out, e);
}

/* ---- the file of errors ---- */

static err_code write_note(sv note, struct buf *out, struct err *e)
{
    struct fhir_issue issue = { .severity = "warning", .code = "not-supported", .text = note };
    TRY(fhir_outcome_write(&(struct fhir_issues){ &issue, 1, false }, ERRORS_MAX, out, e));
    return buf_add_char(out, '\n', e);
}

err_code export_errors_write(struct export_job *export, struct arena *a, struct export_object *out,
                             bool *there, struct err *e)
{
    CLEANUP_BUF struct buf lines = BUF_INIT(ERRORS_MAX);
    const struct job_texts *notes = &export->params->notes;
    struct sink_object o;
    char hex[SHA256_HEX_LEN];
    *there = notes->n != 0;
    if (notes->n == 0)
        return ERR_OK;
    for (size_t i = 0; i < notes->n; i++)
        TRY(write_note(notes->items[i], &lines, e));
    sv name = SV_LIT("error/OperationOutcome-1-0-0.ndjson");
    TRY(sink_put(export->sink, name, SV_LIT("application/fhir+ndjson"), buf_sv(&lines), &o, e));
    hash_hex(o.sha256, sizeof o.sha256, hex);
    *out = (struct export_object){ .type = fhir_type_find(SV_LIT("OperationOutcome")),
                                   .name = name,
                                   .count = notes->n,
                                   .bytes = o.bytes,
                                   .sha256 = arena_sv(a, sv_make(hex, sizeof hex)) };
    return out->sha256.ptr ? ERR_OK : arena_oom(a, e);
}

/* ---- undoing ---- */

struct undo_ctx {
    struct arena *a;
    struct buf names; /* of sv */
    sv prefix;
};

static bool each_object(void *ctx, sv key, uint64_t bytes)
{
    (void)bytes;
    struct undo_ctx *c = ctx;
    size_t at = c->prefix.len;
    sv name = sv_tail(key, at);
    while (name.len && name.ptr[0] == '/')
        name = sv_tail(name, 1);
    name = arena_sv(c->a, name);
    return name.ptr && buf_add(&c->names, sv_make(&name, sizeof name), NULL) == ERR_OK;
}

/* All that stands below the job's folder. */
static err_code remove_objects(struct job_run *run, struct sink *s, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 30);
    /* s3://bucket/prefix/ -> prefix */
    sv key = sv_tail(run->job->job_folder_uri, 5);
    key = sv_tail(key, sv_find(key, '/') + 1);
    struct undo_ctx c = { .a = a, .prefix = sv_head(key, key.len - 1) };
    buf_init(&c.names, 1u << 30);
    err_code rc = sink_list(s, each_object, &c, e);
    /* nothing was written */
    if (rc == ERR_NOT_FOUND)
        rc = ERR_OK;
    const sv *names = (const sv *)(const void *)c.names.ptr;
    for (size_t i = 0; rc == ERR_OK && i < c.names.len / sizeof(sv); i++)
        rc = sink_delete(s, names[i], e);
    buf_done(&c.names);
    return rc;
}

err_code export_undo(struct job_run *run, struct err *e)
{
    CLEANUP(sink_close) struct sink *s = NULL;
    atomic_bool never = false;
    TRY(job_run_manifest_delete(run, e));
    if (run->job->served)
        return run->place ? job_files_remove(run->place, run->job->id, e) : ERR_OK;
    /* other nodes write nothing more */
    if (run->leases)
        TRY(job_run_door_close(run, e));
    const atomic_bool *halt = run->halt;
    /* the job is being cancelled: its cleaning up is not */
    run->halt = &never;
    err_code rc = export_sink_open(run, &s, e);
    run->halt = halt;
    TRY(rc);
    TRY(remove_objects(run, s, e));
    /* what a request that was on its way has left */
    return run->leases ? remove_objects(run, s, e) : ERR_OK;
}
