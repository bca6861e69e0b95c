/* sink.c - where an export writes: opening it, its file of errors, and taking away what a cancelled
 * export wrote.
 *
 * The file of errors holds what handling=lenient passed over, an OperationOutcome each. */
#include "export/export_private.h"

#include "base/file.h"
#include "codec/hash.h"
#include "fhir/outcome.h"

#define ERRORS_MAX (64u << 20)

/* A served export writes into a bucket of its own in a directory store of ours, which knows no
 * roles. */
#define SERVED_ROLE SV_LIT("arn:aws:iam::000000000000:role/fhirlake-served")

err_code export_sink_open(struct job_run *run, struct sink **out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    bool served = run->job->served;
    sv folder =
        served ? arena_fmt(a, "s3://%.*s/", SV_FMT(run->job->id)) : run->job->job_folder_uri;
    struct sink_target t = { .uri = sv_head(folder, folder.len - 1), /* without the last '/' */
                             .role_arn = served ? SERVED_ROLE : run->job->role_arn,
                             .kms_key_id = run->job->kms_key_id,
                             .account_id = run->job->account_id,
                             .source_arn = run->job->datastore_arn,
                             .session_name = SV_LIT("fhirlake-export"),
                             .cancel = run->halt,
                             .ring = served ? store_ring(run->store) : NULL };
    if (run->world == NULL)
        return ERR(e, ERR_UNSUPPORTED, "this server keeps no files of exports");
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

err_code export_undo(struct job_run *run, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 30);
    CLEANUP(sink_close) struct sink *s = NULL;
    atomic_bool never = false;
    TRY(job_run_manifest_delete(run, e));
    if (run->job->served) {
        sv path = arena_fmt(a, "%s/%.*s", run->cfg->served_dir ? run->cfg->served_dir : "",
                            SV_FMT(run->job->id));
        return run->cfg->served_dir ? file_remove_tree(path.ptr, e) : ERR_OK;
    }
    const atomic_bool *halt = run->halt;
    /* the job is being cancelled: its cleaning up is not */
    run->halt = &never;
    err_code rc = export_sink_open(run, &s, e);
    run->halt = halt;
    TRY(rc);
    /* s3://bucket/prefix/ -> prefix */
    sv key = sv_tail(run->job->job_folder_uri, 5);
    key = sv_tail(key, sv_find(key, '/') + 1);
    struct undo_ctx c = { .a = a, .prefix = sv_head(key, key.len - 1) };
    buf_init(&c.names, 1u << 30);
    rc = sink_list(s, each_object, &c, e);
    /* nothing was written */
    if (rc == ERR_NOT_FOUND)
        rc = ERR_OK;
    const sv *names = (const sv *)(const void *)c.names.ptr;
    for (size_t i = 0; rc == ERR_OK && i < c.names.len / sizeof(sv); i++)
        rc = sink_delete(s, names[i], e);
    buf_done(&c.names);
    return rc;
}
