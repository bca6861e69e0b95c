/* import.c - input files become versions of resources, chunk by chunk, in the input's order.
 *
 *   read      one reader cuts the files, one after the other, into chunks of whole lines
 *   parse     workers turn chunks into sorted bulk loads, several at a time
 *   publish   in the order of reading: each chunk one commit; all that are ready by then go together, with the
 *             resume point behind them
 *
 * The resume point is a note in the data store (I6: there with the chunk or not at all), so that after a
 * crash neither a line is lost nor a version doubled. It goes when the job's final status is written. */
#include "import/import_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "codec/json.h"
#include "codec/ndjson.h"

#define NOTE_MAX (64u << 20)
/* Chunks read or waiting beyond those that workers are at: publishing waits for the disk, and they go on meanwhile. */
#define AHEAD        4u
#define CROWDED_MS   50u        /* between looks at a store that is crowded */
#define SEGMENTS_MAX (4u << 20) /* bytes: bounds a chunk of a great many tiny or empty files */

struct import {
    struct job_run *run;
    struct sink *in, *out;
    struct import_files files;
    struct import_outcome *outcome;
    struct job_progress progress;    /* of what is published */
    struct {                         /* the reader's place */
        uint64_t file, offset, line; /* line: number of the next one */
        uint64_t unpacked;           /* plain bytes of the files before */
        struct unpack *unpack;
        struct ndjson_reader *ndjson;
    } at;
    struct import_chunk *ring;
    struct import_worker *workers;
    struct store_bulk **bulks; /* of a publication: room for n_ring */
    unsigned n_ring;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t finished;
    } shared;
    uint64_t start_us, start_imported;
};

static sv note_key(struct arena *a, const struct job_run *r)
{
    return arena_fmt(a, "import/%.*s", SV_FMT(r->job->id));
}

/* ---- the resume point ---- */

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

static err_code write_note(const struct import *m, const struct import_chunk *c, struct buf *out,
                           struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_i64(&w, "file", (int64_t)c->next_file);
    json_kv_i64(&w, "offset", (int64_t)c->next_offset);
    json_kv_i64(&w, "line", (int64_t)c->next_line);
    json_kv_i64(&w, "unpacked", (int64_t)c->next_unpacked);
    for (size_t i = 0; i < N_COUNTERS; i++) {
        uint64_t v;
        memcpy(&v, (const char *)&m->progress + counters[i].offset, sizeof v);
        json_kv_i64(&w, counters[i].name, (int64_t)v);
    }
    json_key(&w, "outcome");
    import_outcome_write(m->outcome, &w);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
}

static err_code read_note(struct import *m, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(NOTE_MAX * 4ull);
    CLEANUP_BUF struct buf b = BUF_INIT(NOTE_MAX);
    yyjson_doc *doc;
    err_code rc = store_note_get(m->run->store, note_key(a, m->run), &b, e);
    if (rc == ERR_NOT_FOUND) {
        m->at.line = 1;
        return ERR_OK; /* from the beginning */
    }
    TRY(rc);
    if (json_read(a, buf_sv(&b), 8, &doc, e) != ERR_OK)
        return damaged(e);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!sv_to_u64(json_number(json_get(root, "file")), &m->at.file) ||
        !sv_to_u64(json_number(json_get(root, "offset")), &m->at.offset) ||
        !sv_to_u64(json_number(json_get(root, "line")), &m->at.line) || m->at.file > m->files.n)
        return damaged(e);
    if (!sv_to_u64(json_number(json_get(root, "unpacked")), &m->at.unpacked))
        m->at.unpacked = 0; /* of before it was counted */
    for (size_t i = 0; i < N_COUNTERS; i++) {
        uint64_t v;
        if (!sv_to_u64(json_number(json_get(root, counters[i].name)), &v))
            return damaged(e);
        memcpy((char *)&m->progress + counters[i].offset, &v, sizeof v);
    }
    return import_outcome_restore(m->outcome, json_get(root, "outcome"), e);
}

static void import_forget(struct job_run *r)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    struct err e;
    if (store_note_delete(r->store, note_key(a, r), &e) != ERR_OK)
        LOG_ERR("import_note", &e, LOG_SV("job", r->job->id));
}

/* ---- reading ---- */

static void close_file(struct import *m)
{
    ndjson_close(m->at.ndjson);
    unpack_close(m->at.unpack);
    m->at.ndjson = NULL;
    m->at.unpack = NULL;
}

static err_code open_file(struct import *m, struct err *e)
{
    struct byte_reader src;
    TRY(sink_read(m->in, m->files.items[m->at.file].key, 0, &src, e));
    err_code rc = unpack_open(src, &m->at.unpack, e);
    if (rc == ERR_OK) {
        unpack_bound(m->at.unpack, LIMIT_IMPORT_FILE_BYTES, LIMIT_UNPACK_FREE_BYTES,
                     LIMIT_UNPACK_RATIO);
        rc = ndjson_open(m->at.unpack, m->at.offset, LIMIT_IMPORT_LINE_BYTES, &m->at.ndjson, e);
    }
    if (rc == ERR_OK && m->at.offset == 0)
        rc = ndjson_skip_mark(m->at.ndjson, e);
    if (rc != ERR_OK)
        close_file(m);
    return rc;
}

/* Faults of the input, which cost the file and not the job. */
static bool is_files_fault(err_code rc)
{
    return rc == ERR_INVALID || rc == ERR_NOT_FOUND || rc == ERR_DENIED || rc == ERR_TOO_LARGE;
}

static const struct import_bounds *bounds_of(const struct import *m)
{
    return m->run->import_bounds ? m->run->import_bounds : &import_bounds_default;
}

static void next_file(struct import *m)
{
    close_file(m);
    m->at.unpacked += m->at.offset;
    m->at.file++;
    m->at.offset = 0;
    m->at.line = 1;
}

/* Lines of the present file into the chunk, as one segment. Moves on to the next file at its end. */
static err_code read_segment(struct import *m, struct import_chunk *c, size_t room, struct err *e)
{
    struct import_segment s = { .file = m->at.file, .first_line = m->at.line };
    size_t before = c->text.len;
    struct err why;
    err_code rc = ERR_OK;
    if (m->at.ndjson == NULL)
        rc = open_file(m, &why);
    if (rc == ERR_OK)
        rc = ndjson_fill(m->at.ndjson, room, &c->text, &s.n_lines, &s.long_line, &why);
    if (rc != ERR_OK && rc != ERR_EOF && !is_files_fault(rc)) {
        *e = why;
        err_context(e, "reading input file %zu", (size_t)m->at.file);
        return rc;
    }
    s.text_len = c->text.len - before;
    c->n_lines += s.n_lines;
    if (rc == ERR_OK) {
        m->at.line += s.n_lines + (s.long_line ? 1 : 0);
        m->at.offset = ndjson_offset(m->at.ndjson);
        if (m->at.unpacked + m->at.offset > bounds_of(m)->job_unpacked)
            return ERR(e, ERR_INVALID, "The input files unpack to more than %llu GB together",
                       (unsigned long long)(bounds_of(m)->job_unpacked >> 30));
    } else {
        s.ends_file = true;
        if (rc != ERR_EOF) {
            (void)snprintf(s.unreadable, sizeof s.unreadable, "File cannot be read on: %.120s",
                           why.msg);
        }
        next_file(m);
    }
    return buf_add(&c->segments, sv_make(&s, sizeof s), e);
}

/* The next chunk. ERR_EOF when nothing is left. */
static err_code read_chunk(struct import *m, struct import_chunk *c, struct err *e)
{
    size_t target = m->run->import_chunk_bytes;
    import_chunk_reset(c);
    while (m->at.file < m->files.n && c->text.len < target && c->segments.len < SEGMENTS_MAX &&
           c->n_lines < NDJSON_FILL_LINES) { /* each has an outcome, which may be longer than it */
        if (job_run_should_stop(m->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
        TRY(read_segment(m, c, target - c->text.len, e));
    }
    c->next_file = m->at.file;
    c->next_offset = m->at.offset;
    c->next_line = m->at.line;
    c->next_unpacked = m->at.unpacked;
    return c->segments.len ? ERR_OK : ERR_EOF;
}

/* ---- parsing and publishing ---- */

static void chunk_task(void *ctx, unsigned worker)
{
    struct import_chunk *c = ctx;
    struct import *m = c->owner;
    import_chunk_parse(c, worker);
    pthread_mutex_lock(&m->shared.lock);
    c->finished = true;
    pthread_cond_signal(&m->shared.finished);
    pthread_mutex_unlock(&m->shared.lock);
}

/* The first chunk of those read has finished, and how many behind it have. */
static size_t wait_for(struct import *m, uint64_t first, uint64_t end)
{
    size_t n = 0;
    pthread_mutex_lock(&m->shared.lock);
    while (!m->ring[first % m->n_ring].finished)
        pthread_cond_wait(&m->shared.finished, &m->shared.lock);
    while (first + n < end && m->ring[(first + n) % m->n_ring].finished)
        n++;
    pthread_mutex_unlock(&m->shared.lock);
    return n;
}

static err_code spool_outcomes(struct import *m, struct import_chunk *c, struct err *e)
{
    const struct import_segment *s = (const struct import_segment *)(const void *)c->segments.ptr;
    size_t from[IMPORT_N_KINDS] = { 0 };
    for (size_t i = 0; i < c->segments.len / sizeof *s; i++) {
        sv lines[IMPORT_N_KINDS];
        for (int k = 0; k < IMPORT_N_KINDS; k++) {
            lines[k] = sv_head(sv_tail(buf_sv(&c->lines[k]), from[k]), s[i].lines_end[k] - from[k]);
            from[k] = s[i].lines_end[k];
        }
        TRY(import_outcome_add(m->outcome, s[i].file, lines, e));
        if (s[i].ends_file) {
            TRY(import_outcome_end(m->outcome, s[i].file, e));
            if (s[i].unreadable[0])
                m->progress.files_unreadable++;
            else
                m->progress.files_imported++;
        }
    }
    return ERR_OK;
}

static void show_progress(struct import *m)
{
    double s = (double)(clock_mono_us() - m->start_us) / 1e6;
    uint64_t n = m->progress.resources_imported - m->start_imported;
    m->progress.throughput = s > 0 ? (double)n / s : 0;
    job_run_progress_set(m->run, &m->progress);
}

static err_code add_outcomes(struct import *m, struct import_chunk *c, struct err *e)
{
    if (c->rc != ERR_OK) {
        *e = c->err;
        return c->rc;
    }
    TRY(spool_outcomes(m, c, e));
    m->progress.resources_scanned += c->scanned;
    m->progress.resources_imported += c->imported;
    m->progress.resources_customer_error += c->rejected;
    m->progress.resources_with_issues += c->with_issues;
    m->progress.bytes_imported += c->imported_bytes;
    return ERR_OK;
}

/* Until what was published is folded as far as it must be. Workers come to rest meanwhile, and leave it
 * their processors. RocksDB tells nobody when a compaction has ended, so it is asked again and again. */
static err_code wait_for_room(struct import *m, struct err *e)
{
    while (store_is_crowded(m->run->store)) {
        if (job_run_should_stop(m->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
        job_run_pause(m->run, CROWDED_MS);
    }
    return ERR_OK;
}

/* Chunks *first .. end - 1 are read: the first of them, once it is ready, and those behind it that are. */
static err_code publish(struct import *m, uint64_t *first, uint64_t end, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    CLEANUP_BUF struct buf note = BUF_INIT(NOTE_MAX);
    struct store_commit at;
    TRY(wait_for_room(m, e));
    TRY(job_run_disk_check(m->run, e));
    size_t n = wait_for(m, *first, end);
    const struct import_chunk *last = NULL;
    for (size_t i = 0; i < n; i++) {
        struct import_chunk *c = &m->ring[(*first + i) % m->n_ring];
        TRY(add_outcomes(m, c, e));
        m->bulks[i] = c->bulk;
        last = c;
    }
    TRY(import_outcome_sync(m->outcome, e));
    TRY(write_note(m, last, &note, e));
    for (size_t i = 0; i < n; i++)
        m->ring[(*first + i) % m->n_ring].bulk = NULL; /* taken */
    *first += n;
    TRY(store_bulk_publish_all(m->bulks, n, note_key(a, m->run), buf_sv(&note), &at, e));
    show_progress(m);
    return import_outcome_upload(m->outcome, e);
}

/* Read ahead while workers parse; publish the oldest when the ring is full. */
static err_code run_chunks(struct import *m, struct err *e)
{
    struct job_tasks *q = job_tasks_open(m->run->pool, m->n_ring);
    uint64_t n_read = 0, n_published = 0;
    err_code rc = ERR_OK;
    while (rc == ERR_OK) {
        if (n_read - n_published == m->n_ring)
            rc = publish(m, &n_published, n_read, e);
        if (rc != ERR_OK)
            break;
        struct import_chunk *c = &m->ring[n_read % m->n_ring];
        rc = read_chunk(m, c, e);
        if (rc == ERR_OK) {
            bool giant = c->text.len > m->run->import_chunk_bytes * IMPORT_GIANT;
            n_read++;
            job_tasks_add(q, chunk_task, c);
            while (giant && rc == ERR_OK && n_published < n_read) /* one at a time */
                rc = publish(m, &n_published, n_read, e);
        }
    }
    if (rc == ERR_EOF)
        for (rc = ERR_OK; rc == ERR_OK && n_published < n_read;)
            rc = publish(m, &n_published, n_read, e);
    job_tasks_close(q);
    return rc;
}

/* ---- the whole ---- */

static err_code open_sinks(struct import *m, struct err *e)
{
    const struct job *j = m->run->job;
    struct sink_target t = { .uri = j->input_uri,
                             .role_arn = j->role_arn,
                             .account_id = j->account_id,
                             .source_arn = j->datastore_arn,
                             .session_name = SV_LIT("fhirlake-import"),
                             .cancel = m->run->halt };
    TRY(sink_open(m->run->world, &t, &m->in, e));
    t.uri = sv_head(j->job_folder_uri, j->job_folder_uri.len - 1);
    t.kms_key_id = j->kms_key_id;
    return sink_open(m->run->world, &t, &m->out, e);
}

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

/* Manifest.json: HealthLake's capital M and members; ours when there were too many lines. */
static err_code write_manifest(struct import *m, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(1u << 20);
    const struct job *j = m->run->job;
    const struct job_progress *p = &m->progress;
    bool minimal = m->ring[0].level == FHIR_VALIDATE_MINIMAL;
    uint64_t left[IMPORT_N_KINDS];
    import_outcome_left(m->outcome, left);
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
    return sink_put(m->out, SV_LIT("Manifest.json"), SV_LIT("application/json"), buf_sv(&b), NULL,
                    e);
}

static err_code import_all(struct import *m, struct arena *a, struct err *e)
{
    TRY(open_sinks(m, e));
    TRY(import_files_load(m->run, m->in, a, &m->files, e));
    TRY(import_outcome_names(&m->files, m->out, a, e));
    TRY(import_outcome_open(m->run, m->out, &m->files, &m->outcome, e));
    TRY(read_note(m, e));
    m->progress.files_scanned = m->files.n;
    m->progress.bytes_scanned = m->files.bytes;
    m->start_us = clock_mono_us();
    m->start_imported = m->progress.resources_imported;
    show_progress(m);
    TRY(import_outcome_upload(m->outcome, e)); /* what had ended when a run before was cut off */
    TRY(run_chunks(m, e));
    return write_manifest(m, e);
}

static err_code say_left(const struct import *m, struct buf *message, struct err *e)
{
    uint64_t left[IMPORT_N_KINDS], n = 0;
    import_outcome_left(m->outcome, left);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        n += left[k];
    return n == 0
               ? ERR_OK
               : buf_add_fmt(message, e,
                             "%llu lines of the outcome are not written because they are too many. "
                             "All are counted",
                             (unsigned long long)n);
}

static err_code import_run(struct job_run *r, job_status *status, struct buf *message,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(2ull << 30);
    unsigned n_workers = job_pool_n_workers(r->pool);
    struct import m = { .run = r, .n_ring = n_workers + AHEAD };
    pthread_mutex_init(&m.shared.lock, NULL);
    pthread_cond_init(&m.shared.finished, NULL);
    m.ring = calloc(m.n_ring, sizeof *m.ring);
    m.workers = calloc(n_workers, sizeof *m.workers);
    m.bulks = calloc(m.n_ring, sizeof(struct store_bulk *));
    if (m.ring == NULL || m.workers == NULL || m.bulks == NULL)
        abort();
    for (unsigned i = 0; i < m.n_ring; i++) {
        import_chunk_init(&m.ring[i], r, m.workers);
        m.ring[i].owner = &m;
    }
    err_code rc = import_all(&m, a, e);
    if (rc == ERR_OK)
        rc = say_left(&m, message, e);
    close_file(&m);
    for (unsigned i = 0; i < m.n_ring; i++)
        import_chunk_done(&m.ring[i]);
    for (unsigned i = 0; i < n_workers; i++)
        import_worker_done(&m.workers[i]);
    free(m.bulks);
    free(m.workers);
    free(m.ring);
    import_outcome_close(m.outcome);
    sink_close(m.in);
    sink_close(m.out);
    pthread_mutex_destroy(&m.shared.lock);
    pthread_cond_destroy(&m.shared.finished);
    if (rc == ERR_OK)
        *status = m.progress.resources_customer_error || m.progress.files_unreadable
                      ? JOB_COMPLETED_WITH_ERRORS
                      : JOB_COMPLETED;
    return rc;
}

/* Counts of types were left to the next who asks; when this does not succeed, he makes them. */
static void import_settle(struct job_run *r)
{
    struct err e;
    IGNORE(store_counts_settle(r->store, r->halt, &e));
}

const struct job_kind_ops import_ops = {
    .run = import_run,
    .forget = import_forget,
    .settle = import_settle,
};
