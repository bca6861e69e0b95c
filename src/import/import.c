/* import.c - input files become versions of resources, chunk by chunk, in the input's order.
 *
 *   read      one reader cuts the files into chunks of whole lines (read.c)
 *   parse     workers turn chunks into sorted bulk loads, several at a time (chunk.c)
 *   publish   in the order of reading: each chunk is one commit; all that are ready by then go
 *             together, with the resume point behind them (resume.c)
 *
 * Chunks are in a ring. The reader goes ahead of the workers until the ring is full, then it
 * publishes the oldest. What became of each line is spooled beside the job and uploaded file by
 * file (outcome.c). */
#include "import/import_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/ndjson.h"

/* Chunks read or waiting beyond those that workers are at: publishing waits for the disk, and they
 * go on meanwhile. */
#define AHEAD      4u
#define CROWDED_MS 50u /* between looks at a store that is crowded */

static void chunk_task(void *ctx, unsigned worker)
{
    struct import_chunk *c = ctx;
    struct import_job *m = c->owner;
    import_chunk_parse(c, worker);
    pthread_mutex_lock(&m->shared.lock);
    c->finished = true;
    pthread_cond_signal(&m->shared.finished);
    pthread_mutex_unlock(&m->shared.lock);
}

/* The first chunk of those read has finished, and how many behind it have. */
static size_t wait_for(struct import_job *m, uint64_t first, uint64_t end)
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

static err_code spool_outcomes(struct import_job *m, struct import_chunk *c, struct err *e)
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

static void show_progress(struct import_job *m)
{
    double s = (double)(clock_mono_us() - m->start_us) / 1e6;
    uint64_t n = m->progress.resources_imported - m->start_imported;
    m->progress.throughput = s > 0 ? (double)n / s : 0;
    job_run_progress_set(m->run, &m->progress);
}

static err_code add_outcomes(struct import_job *m, struct import_chunk *c, struct err *e)
{
    if (c->rc != ERR_OK)
        return err_pass(e, &c->err);
    TRY(spool_outcomes(m, c, e));
    m->progress.resources_scanned += c->scanned;
    m->progress.resources_imported += c->imported;
    m->progress.resources_customer_error += c->rejected;
    m->progress.resources_with_issues += c->with_issues;
    m->progress.bytes_imported += c->imported_bytes;
    return ERR_OK;
}

/* Until what was published is folded as far as it must be. Workers come to rest meanwhile, and
 * leave it their processors. RocksDB tells nobody when a compaction has ended, so it is asked again
 * and again. */
static err_code wait_for_room(struct import_job *m, struct err *e)
{
    while (store_is_crowded(m->run->store)) {
        if (job_run_should_stop(m->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
        job_run_pause(m->run, CROWDED_MS);
    }
    return ERR_OK;
}

/* Chunks *first .. end - 1 are read: the first of them, once it is ready, and those behind it that
 * are. */
static err_code publish(struct import_job *m, uint64_t *first, uint64_t end, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    CLEANUP_BUF struct buf note = BUF_INIT(IMPORT_RESUME_MAX);
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
    TRY(import_resume_write(m, last, &note, e));
    for (size_t i = 0; i < n; i++)
        /* taken */
        m->ring[(*first + i) % m->n_ring].bulk = NULL;
    *first += n;
    TRY(store_bulk_publish_all(m->bulks, n, import_resume_key(a, m->run), buf_sv(&note), &at, e));
    show_progress(m);
    return import_outcome_upload(m->outcome, e);
}

/* Read ahead while workers parse; publish the oldest when the ring is full. */
static err_code run_chunks(struct import_job *m, struct err *e)
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
        rc = import_read_chunk(m, c, e);
        if (rc == ERR_OK) {
            bool giant = c->text.len > m->run->import_chunk_bytes * IMPORT_GIANT;
            n_read++;
            job_tasks_add(q, chunk_task, c);
            /* one at a time */
            while (giant && rc == ERR_OK && n_published < n_read)
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

static err_code open_sinks(struct import_job *m, struct err *e)
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

static err_code import_all(struct import_job *m, struct arena *a, struct err *e)
{
    TRY(open_sinks(m, e));
    TRY(import_files_load(m->run, m->in, a, &m->files, e));
    TRY(import_outcome_names(&m->files, m->out, a, e));
    m->outcome = import_outcome_new(m->run, m->out, &m->files);
    TRY(import_resume_read(m, e));
    m->progress.files_scanned = m->files.n;
    m->progress.bytes_scanned = m->files.bytes;
    m->start_us = clock_mono_us();
    m->start_imported = m->progress.resources_imported;
    show_progress(m);
    /* what had ended when a run before was cut off */
    TRY(import_outcome_upload(m->outcome, e));
    TRY(run_chunks(m, e));
    return import_manifest_write(m, e);
}

static err_code say_left(const struct import_job *m, struct buf *message, struct err *e)
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
    struct import_job m = { .run = r, .n_ring = n_workers + AHEAD };
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
    import_read_close(&m);
    for (unsigned i = 0; i < m.n_ring; i++)
        import_chunk_done(&m.ring[i]);
    for (unsigned i = 0; i < n_workers; i++)
        import_worker_done(&m.workers[i]);
    free(m.bulks);
    free(m.workers);
    free(m.ring);
    import_outcome_free(m.outcome);
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
    .forget = import_resume_forget,
    .settle = import_settle,
};
