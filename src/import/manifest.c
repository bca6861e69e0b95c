/* manifest.c - Manifest.json, the last object of an import: where it read and wrote, and what it
 * counted.
 *
 * HealthLake's capital M and members; ours are the numbers of lines that are not written because
 * they were too many. */
#include "import/import_private.h"

#include "codec/json.h"

static void kv_uri(struct json_writer *w, const char *object, const char *name, struct arena *a,
                   sv base, const char *folder)
{
    json_key(w, object);
    json_obj(w);
    json_kv_str(w, name, arena_fmt(a, "%.*s%s", SV_FMT(base), folder));
    json_obj_end(w);
}

static const char *const left_names[IMPORT_N_KINDS] = {
    [IMPORT_SUCCESS] = "numberOfSuccessLinesNotWritten",
    [IMPORT_FAILURE] = "numberOfFailureLinesNotWritten",
    [IMPORT_WITH_ISSUES] = "numberOfSuccessWithSearchValidationFailuresLinesNotWritten",
};

err_code import_manifest_write(struct import_job *import, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(1u << 20);
    const struct job *j = import->run->job;
    const struct job_progress *p = &import->progress;
    bool minimal = import->ring[0].level == FHIR_VALIDATE_MINIMAL;
    uint64_t left[IMPORT_N_KINDS];
    import_outcome_left(import->outcome, left);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_obj(&w);
    json_key(&w, "inputDataConfig");
    json_obj(&w);
    json_kv_str(&w, "s3Uri", j->input_uri);
    json_obj_end(&w);
    json_key(&w, "outputDataConfig");
    json_obj(&w);
    json_kv_str(&w, "s3Uri", j->job_folder_uri);
    json_kv_str(&w, "encryptionKeyID", j->kms_key_id);
    json_obj_end(&w);
    kv_uri(&w, "successOutput", "successOutputS3Uri", a, j->job_folder_uri, "SUCCESS/");
    kv_uri(&w, "failureOutput", "failureOutputS3Uri", a, j->job_folder_uri, "FAILURE/");
    if (minimal)
        kv_uri(&w, "successWithSearchValidationFailuresOutput",
               "successWithSearchValidationFailuresOutputS3Uri", a, j->job_folder_uri,
               "SUCCESS_WITH_SEARCH_VALIDATION_FAILURES/");
    json_kv_i64(&w, "numberOfScannedFiles", (int64_t)p->files_scanned);
    json_kv_i64(&w, "numberOfFilesImported", (int64_t)p->files_imported);
    json_key(&w, "sizeOfScannedFilesInMB");
    json_fixed(&w, (double)p->bytes_scanned / 1e6, 6);
    json_key(&w, "sizeOfDataImportedSuccessfullyInMB");
    json_fixed(&w, (double)p->bytes_imported / 1e6, 6);
    json_kv_i64(&w, "numberOfResourcesScanned", (int64_t)p->resources_scanned);
    json_kv_i64(&w, "numberOfResourcesImportedSuccessfully", (int64_t)p->resources_imported);
    if (minimal)
        json_kv_i64(&w, "numberOfResourcesImportedWithSearchValidationFailures",
                    (int64_t)p->resources_with_issues);
    json_kv_i64(&w, "numberOfResourcesWithCustomerError", (int64_t)p->resources_customer_error);
    json_kv_i64(&w, "numberOfResourcesWithServerError", (int64_t)p->resources_server_error);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        if (left[k])
            json_kv_u64(&w, left_names[k], left[k]);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return sink_put(import->out, SV_LIT("Manifest.json"), SV_LIT("application/json"), buf_sv(&b),
                    NULL, e);
}
