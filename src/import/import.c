/* import.c - input files become versions of resources, chunk by chunk, in the input's order.
 *
 *   read      one reader cuts the files into chunks of whole lines (read.c)
 *   parse     workers turn chunks into sorted bulk loads, several at a time (chunk.c)
 *   publish   in the order of reading: each chunk is one commit; all that are ready by then go
 *             together, with the resume point behind them (resume.c)
 *
 * Chunks are in a ring. The reader goes ahead of the workers, but for a few chunks only (work.c),
 * and when there are enough it publishes the oldest. Where several nodes have the job's database,
 * others parse some of the chunks (nodes/). What became of each line is spooled beside the job and
 * uploaded file by file (outcome.c).
 *
 * A giant is alone: all chunks in front of it are published, the memory of all is given back, and
 * no other job has a giant meanwhile. The import's own thread reads, parses and publishes it, so
 * that it waits for no worker while others wait for its place. */
#include "import/nodes/units.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/ndjson.h"

#include <malloc.h>

/* Chunks read or waiting beyond those that workers are at: publishing waits for the disk, and they
 * go on meanwhile. */
#define AHEAD      4u
#define CROWDED_MS 50u /* between looks at a store that is crowded */
#define TRIM_EACH  32u /* publications */

static err_code spool_outcomes(struct import_job *import, struct import_chunk *chunk, struct err *e)
{
    const struct import_segment *s =
        (const struct import_segment *)(const void *)chunk->segments.ptr;
    size_t from[IMPORT_N_KINDS] = { 0 };
    for (size_t i = 0; i < chunk->segments.len / sizeof *s; i++) {
        sv lines[IMPORT_N_KINDS];
        for (int k = 0; k < IMPORT_N_KINDS; k++) {
            lines[k] =
                sv_head(sv_tail(buf_sv(&chunk->lines[k]), from[k]), s[i].lines_end[k] - from[k]);
            from[k] = s[i].lines_end[k];
        }
        TRY(import_outcome_add(import->outcome, s[i].file, lines, e));
        if (s[i].ends_file) {
            TRY(import_outcome_end(import->outcome, s[i].file, e));
            if (s[i].unreadable[0])
                import->progress.files_unreadable++;
            else
                import->progress.files_imported++;
        }
    }
    return ERR_OK;
}

static void show_progress(struct import_job *import)
{
    double s = (double)(clock_mono_us() - import->start_us) / 1e6;
    uint64_t n = import->progress.resources_imported - import->start_imported;
    import->progress.throughput = s > 0 ? (double)n / s : 0;
    job_run_progress_set(import->run, &import->progress);
}

static err_code add_outcomes(struct import_job *import, struct import_chunk *chunk, struct err *e)
{
    if (chunk->rc != ERR_OK)
        return err_pass(e, &chunk->err);
    TRY(spool_outcomes(import, chunk, e));
    import->progress.resources_scanned += chunk->scanned;
    import->progress.resources_imported += chunk->imported;
    import->progress.resources_customer_error += chunk->rejected;
    import->progress.resources_with_issues += chunk->with_issues;
    import->progress.bytes_imported += chunk->imported_bytes;
    return ERR_OK;
}

/* Until what was published is folded as far as it must be. Workers come to rest meanwhile, and
 * leave it their processors. RocksDB tells nobody when a compaction has ended, so it is asked again
 * and again. */
static err_code wait_for_room(struct import_job *import, struct err *e)
{
    while (store_is_crowded(import->run->store)) {
        if (job_run_should_stop(import->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
        job_run_pause(import->run, CROWDED_MS);
    }
    return ERR_OK;
}

/* What allocations of many sizes leave behind stays with the allocator and grows with the import.
 * Giving it back takes some ms. */
static void keep_memory_small(struct import_job *import)
{
    if (import->n_publishes++ % TRIM_EACH == TRIM_EACH - 1)
        (void)malloc_trim(0);
}

/* Chunks *first .. end - 1 are read: the first of them, once it is ready, and those behind it that
 * are. */
static err_code publish(struct import_job *import, uint64_t *first, uint64_t end, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    CLEANUP_BUF struct buf note = BUF_INIT(IMPORT_RESUME_MAX);
    struct store_commit at;
    TRY(wait_for_room(import, e));
    TRY(job_run_disk_check(import->run, e));
    if (import->share)
        TRY(import_share_wait(import, *first, end, e));
    size_t n = import_work_finished(import, *first, end);
    const struct import_chunk *last = NULL;
    for (size_t i = 0; i < n; i++) {
        struct import_chunk *chunk = &import->ring[(*first + i) % import->n_ring];
        TRY(add_outcomes(import, chunk, e));
        import->bulks[i] = chunk->bulk;
        last = chunk;
    }
    TRY(import_outcome_sync(import->outcome, e));
    TRY(import_resume_write(import, last, &note, e));
    for (size_t i = 0; i < n; i++)
        /* taken */
        import->ring[(*first + i) % import->n_ring].bulk = NULL;
    TRY(store_bulk_publish_under(import->run->lease, import->bulks, n,
                                 import_resume_key(a, import->run), buf_sv(&note), &at, e));
    if (import->share)
        TRY(import_share_published(import, *first, n, e));
    *first += n;
    show_progress(import);
    keep_memory_small(import);
    return import_outcome_upload(import->outcome, e);
}

/* The giant that comes next, at its place. */
static err_code run_giant(struct import_job *import, uint64_t *n_read, uint64_t *n_published,
                          struct err *e)
{
    while (*n_published < *n_read)
        TRY(publish(import, n_published, *n_read, e));
    struct import_chunk *chunk = &import->ring[*n_read % import->n_ring];
    TRY(store_giant_enter(import->run->store, import->run->halt, e));
    import_work_give_memory_back(import);
    err_code rc = import_read_chunk(import, chunk, e);
    if (rc == ERR_OK) {
        ++*n_read;
        import_chunk_parse(chunk, 0);
        chunk->finished = true;
        rc = publish(import, n_published, *n_read, e);
    }
    store_giant_leave(import->run->store);
    return rc;
}

/* The next chunk goes to a worker, or to another node when these have enough. */
static err_code read_one(struct import_job *import, uint64_t *n_read, struct err *e)
{
    struct import_chunk *chunk = &import->ring[*n_read % import->n_ring];
    bool offered = false;
    const bool offer = !import_work_has_room(import) && import_share_wants(import);
    if (!offer)
        import_work_wait(import);
    import_work_text(import, chunk);
    TRY(import_read_chunk(import, chunk, e));
    if (chunk->segments.len == 0)
        return ERR_OK;
    ++*n_read;
    if (offer)
        TRY(import_share_offer(import, chunk, &offered, e));
    if (!offered) {
        import_work_wait(import);
        import_work_add(import, chunk);
    }
    return ERR_OK;
}

/* Is it time to publish? What others have in hand holds up nothing, as long as there is room. */
static bool is_full(const struct import_job *import, uint64_t first, uint64_t end)
{
    unsigned n_away = 0;
    for (uint64_t i = first; i < end; i++)
        n_away += import->ring[i % import->n_ring].away;
    return end - first == import->n_ring ||
           (end - first - n_away >= job_pool_n_workers(import->run->pool) + AHEAD &&
            !import->ring[first % import->n_ring].away);
}

/* Read ahead while workers parse; publish the oldest when there are enough. */
static err_code run_chunks(struct import_job *import, struct err *e)
{
    uint64_t n_read = 0, n_published = 0;
    err_code rc = ERR_OK;
    import->tasks = job_tasks_open(import->run->pool, import->n_ring);
    while (rc == ERR_OK) {
        rc = import_share_look(import, n_published, n_read, e);
        if (rc == ERR_OK && is_full(import, n_published, n_read))
            rc = publish(import, &n_published, n_read, e);
        else if (rc == ERR_OK && import_giant_waits(import))
            rc = run_giant(import, &n_read, &n_published, e);
        else if (rc == ERR_OK)
            rc = read_one(import, &n_read, e);
    }
    if (rc == ERR_EOF)
        for (rc = ERR_OK; rc == ERR_OK && n_published < n_read;)
            rc = publish(import, &n_published, n_read, e);
    job_tasks_close(import->tasks);
    return rc;
}

/* ---- the whole ---- */

static err_code open_sinks(struct import_job *import, struct err *e)
{
    const struct job *j = import->run->job;
    struct sink_target out =
        import_target(import->run, sv_head(j->job_folder_uri, j->job_folder_uri.len - 1));
    out.kms_key_id = j->kms_key_id;
    TRY(import_input_open(import->run, &import->in, e));
    return sink_open(import->run->world, &out, &import->out, e);
}

static err_code import_all(struct import_job *import, struct arena *a, struct err *e)
{
    TRY(open_sinks(import, e));
    TRY(import_files_load(import->run, import->in, a, &import->files, e));
    TRY(import_outcome_names(&import->files, import->out, a, e));
    import->outcome = import_outcome_new(import->run, import->out, &import->files);
    TRY(import_share_open(import, e));
    TRY(import_resume_read(import, e));
    import->progress.files_scanned = import->files.n;
    import->progress.bytes_scanned = import->files.bytes;
    import->start_us = clock_mono_us();
    import->start_imported = import->progress.resources_imported;
    show_progress(import);
    /* what had ended when a run before was cut off */
    TRY(import_outcome_upload(import->outcome, e));
    TRY(run_chunks(import, e));
    TRY(import_share_end(import, e));
    return import_manifest_write(import, e);
}

static err_code say_left(const struct import_job *import, struct buf *message, struct err *e)
{
    uint64_t left[IMPORT_N_KINDS], n = 0;
    import_outcome_left(import->outcome, left);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        n += left[k];
    return n == 0
               ? ERR_OK
               : buf_add_fmt(message, e,
                             "%llu lines of the outcome are not written because they are too many. "
                             "All are counted",
                             (unsigned long long)n);
}

static err_code import_run(struct job_run *run, job_status *status, struct buf *message,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(2ull << 30);
    unsigned n_workers = job_pool_n_workers(run->pool);
    struct import_job import = { .run = run, .n_ring = n_workers + AHEAD + import_share_room(run) };
    pthread_mutex_init(&import.shared.lock, NULL);
    pthread_cond_init(&import.shared.finished, NULL);
    import.ring = calloc(import.n_ring, sizeof *import.ring);
    import.workers = calloc(n_workers, sizeof *import.workers);
    import.bulks = calloc(import.n_ring, sizeof(struct store_bulk *));
    import.shared.texts = calloc(import.n_ring, sizeof *import.shared.texts);
    if (import.ring == NULL || import.workers == NULL || import.bulks == NULL ||
        import.shared.texts == NULL)
        abort();
    for (unsigned i = 0; i < import.n_ring; i++) {
        import_chunk_init(&import.ring[i], run, import.workers);
        import.ring[i].owner = &import;
    }
    err_code rc = import_all(&import, a, e);
    if (rc == ERR_OK)
        rc = say_left(&import, message, e);
    import_read_close(&import);
    for (unsigned i = 0; i < import.n_ring; i++)
        import_chunk_done(&import.ring[i]);
    for (unsigned i = 0; i < import.shared.n_texts; i++)
        buf_done(&import.shared.texts[i]);
    for (unsigned i = 0; i < n_workers; i++)
        import_worker_done(&import.workers[i]);
    free(import.shared.texts);
    free(import.bulks);
    free(import.workers);
    free(import.ring);
    import_share_free(import.share);
    import_outcome_free(import.outcome);
    sink_close(import.in);
    sink_close(import.out);
    pthread_mutex_destroy(&import.shared.lock);
    pthread_cond_destroy(&import.shared.finished);
    /* an export may follow at once */
    (void)malloc_trim(0);
    if (rc == ERR_OK)
        *status = import.progress.resources_customer_error || import.progress.files_unreadable
                      ? JOB_COMPLETED_WITH_ERRORS
                      : JOB_COMPLETED;
    return rc;
}

/* Counts of types were left to the next who asks; when this does not succeed, he makes them. */
static void import_settle(struct job_run *run)
{
    struct err e;
    IGNORE(store_counts_settle(run->store, run->halt, &e));
}

const struct job_kind_ops import_ops = {
    .run = import_run,
    .part = import_share_part,
    .forget = import_resume_forget,
    .settle = import_settle,
    .help = import_help,
};
