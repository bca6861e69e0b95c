/* resume.c - the resume point of an import: where reading goes on, what was counted, the outcome's
 * lengths.
 *
 * It is a note in the data store, published with the chunk that it stands behind, so both are there
 * or neither (I6 of store/store.h). After a crash no line is lost and no version is doubled. It
 * goes when the job's last status is written. */
#include "import/import_private.h"

#include "base/log.h"
#include "codec/json.h"

sv import_resume_key(struct arena *a, const struct job_run *run)
{
    return arena_fmt(a, "import/%.*s", SV_FMT(run->job->id));
}

static const struct {
    const char *name;
    size_t offset;
} counters[] = {
    { "filesImported", offsetof(struct job_progress, files_imported) },
    { "filesUnreadable", offsetof(struct job_progress, files_unreadable) },
    { "bytesImported", offsetof(struct job_progress, bytes_imported) },
    { "scanned", offsetof(struct job_progress, resources_scanned) },
    { "imported", offsetof(struct job_progress, resources_imported) },
    { "rejected", offsetof(struct job_progress, resources_customer_error) },
    { "withIssues", offsetof(struct job_progress, resources_with_issues) },
};
#define N_COUNTERS (sizeof counters / sizeof counters[0])

err_code import_resume_write(const struct import_job *import, const struct import_chunk *chunk,
                             struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_i64(&w, "file", (int64_t)chunk->next_file);
    json_kv_i64(&w, "offset", (int64_t)chunk->next_offset);
    json_kv_i64(&w, "line", (int64_t)chunk->next_line);
    json_kv_i64(&w, "unpacked", (int64_t)chunk->next_unpacked);
    for (size_t i = 0; i < N_COUNTERS; i++) {
        uint64_t v;
        memcpy(&v, (const char *)&import->progress + counters[i].offset, sizeof v);
        json_kv_i64(&w, counters[i].name, (int64_t)v);
    }
    json_key(&w, "outcome");
    import_outcome_write(import->outcome, &w);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
}

err_code import_resume_read(struct import_job *import, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(IMPORT_RESUME_MAX * 4ull);
    CLEANUP_BUF struct buf b = BUF_INIT(IMPORT_RESUME_MAX);
    yyjson_doc *doc;
    err_code rc = store_note_get(import->run->store, import_resume_key(a, import->run), &b, e);
    if (rc == ERR_NOT_FOUND) {
        import->at.line = 1;
        /* from the beginning */
        return ERR_OK;
    }
    TRY(rc);
    if (json_read(a, buf_sv(&b), 8, &doc, e) != ERR_OK)
        return damaged(e);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!sv_to_u64(json_number(json_get(root, "file")), &import->at.file) ||
        !sv_to_u64(json_number(json_get(root, "offset")), &import->at.offset) ||
        !sv_to_u64(json_number(json_get(root, "line")), &import->at.line) ||
        import->at.file > import->files.n)
        return damaged(e);
    /* of before it was counted */
    if (!sv_to_u64(json_number(json_get(root, "unpacked")), &import->at.unpacked))
        import->at.unpacked = 0;
    for (size_t i = 0; i < N_COUNTERS; i++) {
        uint64_t v;
        if (!sv_to_u64(json_number(json_get(root, counters[i].name)), &v))
            return damaged(e);
        memcpy((char *)&import->progress + counters[i].offset, &v, sizeof v);
    }
    return import_outcome_restore(import->outcome, json_get(root, "outcome"), e);
}

void import_resume_forget(struct job_run *run)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    struct err e;
    if (store_note_delete(run->store, import_resume_key(a, run), &e) != ERR_OK)
        LOG_ERR("import_note", &e, LOG_SV("job", run->job->id));
}
