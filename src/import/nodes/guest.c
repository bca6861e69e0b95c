/* guest.c - chunks of an import that another node has.
 *
 * Whoever reaches the job's input takes units by their leases, reads their lines again, and makes
 * of them what the holder would: a load, and lines of the outcome. Both are noted under the unit's
 * lease. Then the load is the holder's, to publish or to give up. A text that is not the one that
 * the holder has read, as its digest tells, is not parsed: the input has changed meanwhile, or this
 * node sees another one. Then it takes no part. */
#include "import/nodes/units.h"

#include "base/limits.h"
#include "base/log.h"
#include "codec/hash.h"
#include "codec/ndjson.h"

#include <stdlib.h>

#define WAIT_MS     1000u
#define KNOWN       64u /* units that are done, or are not there any more */
#define PIECE_BYTES ((size_t)256 << 10)

struct guest {
    struct job_run *run;
    struct sink *in;
    struct import_files files;
    struct buf door;
    struct import_worker *workers;
    struct import_chunk *chunks; /* one per worker of the pool */
    struct job_tasks *tasks;
    pthread_mutex_t lock;  /* of what stands below */
    uint64_t known[KNOWN]; /* the last ones, plus 1 */
    size_t n_known;
    uint64_t n_done;
    bool idle; /* nobody found a unit */
    err_code rc;
    struct err err; /* the first */
};

/* ---- which ---- */

struct found {
    struct guest *guest;
    size_t units[LEASE_MOST], n;
};

static bool is_known_locked(const struct guest *g, uint64_t unit)
{
    for (size_t i = 0; i < KNOWN; i++)
        if (g->known[i] == unit + 1)
            return true;
    return false;
}

static void know(struct guest *g, uint64_t unit, bool done)
{
    pthread_mutex_lock(&g->lock);
    g->known[g->n_known++ % KNOWN] = unit + 1;
    g->n_done += done;
    pthread_mutex_unlock(&g->lock);
}

/* records_each_fn */
static bool each_unit(void *ctx, sv key, sv value)
{
    struct found *f = ctx;
    uint64_t unit;
    (void)value;
    pthread_mutex_lock(&f->guest->lock);
    if (key.len > 8 && sv_to_u64(sv_tail(key, key.len - 8), &unit) &&
        !is_known_locked(f->guest, unit))
        f->units[f->n++] = (size_t)unit;
    pthread_mutex_unlock(&f->guest->lock);
    return f->n < LEASE_MOST;
}

static err_code find(struct guest *g, struct found *out, struct err *e)
{
    *out = (struct found){ .guest = g };
    return job_run_note_scan(g->run, SV_LIT("unit/"), each_unit, out, e);
}

/* A unit that nobody has. ERR_EOF: there is none. */
static err_code take(struct guest *g, struct lease **lease, uint64_t *unit, struct err *e)
{
    for (;;) {
        struct found f;
        struct err why;
        size_t which;
        TRY(find(g, &f, e));
        if (f.n == 0)
            return ERR(e, ERR_EOF, "no unit is left to take");
        err_code rc =
            job_run_range_take(g->run, buf_sv(&g->door), f.units, f.n, lease, &which, &why);
        if (rc == ERR_OK) {
            *unit = f.units[which];
            return ERR_OK;
        }
        if (rc != ERR_EXISTS)
            return err_pass(e, &why);
        know(g, f.units[which], false);
    }
}

/* ---- its lines ---- */

static err_code other_input(struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "this node does not see the input that the holder has read");
}

/* Up to n bytes; fewer at the end. */
typedef err_code (*read_fn)(void *ctx, void *dst, size_t cap, size_t *n, struct err *e);
static err_code read_up_to(read_fn read, void *ctx, size_t n, struct buf *out, struct err *e)
{
    struct err why;
    TRY(buf_reserve(out, n, e));
    while (n) {
        size_t got = 0;
        err_code rc = read(ctx, out->ptr + out->len, n, &got, &why);
        if (rc == ERR_EOF)
            return ERR_OK;
        if (rc != ERR_OK)
            return err_pass(e, &why);
        out->len += got;
        n -= got;
    }
    return ERR_OK;
}

static err_code read_unpacked(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    return unpack_read(ctx, dst, cap, n, e);
}

static err_code read_packed_file(struct guest *g, const struct import_segment *s, struct buf *out,
                                 struct err *e)
{
    CLEANUP(unpack_close) struct unpack *u = NULL;
    CLEANUP_BUF struct buf skipped = BUF_INIT(PIECE_BYTES);
    struct byte_reader src;
    TRY(sink_read(g->in, g->files.items[s->file].key, 0, &src, e));
    TRY(unpack_open(src, &u, e));
    unpack_bound(u, LIMIT_IMPORT_FILE_BYTES, LIMIT_UNPACK_FREE_BYTES, LIMIT_UNPACK_RATIO);
    for (uint64_t left = s->offset; left; left -= skipped.len) {
        buf_clear(&skipped);
        TRY(read_up_to(read_unpacked, u, left < PIECE_BYTES ? (size_t)left : PIECE_BYTES, &skipped,
                       e));
        if (skipped.len == 0)
            return other_input(e);
    }
    return read_up_to(read_unpacked, u, s->text_len, out, e);
}

static err_code read_plain_file(struct guest *g, const struct import_segment *s, struct buf *out,
                                struct err *e)
{
    struct byte_reader src;
    TRY(sink_read(g->in, g->files.items[s->file].key, s->offset, &src, e));
    err_code rc = read_up_to(src.read, src.ctx, s->text_len, out, e);
    if (src.close)
        src.close(src.ctx);
    return rc;
}

static err_code read_text(struct guest *g, struct import_chunk *chunk, uint64_t bytes,
                          struct err *e)
{
    const struct import_segment *s =
        (const struct import_segment *)(const void *)chunk->segments.ptr;
    TRY(buf_reserve(&chunk->text, bytes, e));
    for (size_t i = 0; i < chunk->segments.len / sizeof *s; i++) {
        const size_t end = chunk->text.len + s[i].text_len;
        if (s[i].text_len == 0)
            continue;
        TRY(s[i].packed ? read_packed_file(g, &s[i], &chunk->text, e)
                        : read_plain_file(g, &s[i], &chunk->text, e));
        /* the last line of a file may have none */
        if (chunk->text.len + 1 == end)
            TRY(buf_add_char(&chunk->text, '\n', e));
        if (chunk->text.len != end)
            return other_input(e);
    }
    return ERR_OK;
}

/* ---- a unit ---- */

struct hand { /* what a worker has in hand */
    struct guest *guest;
    struct lease *lease;
    uint64_t unit;
};

/* struct import_chunk's begun: if this node dies, whoever has the unit next gives the load up */
static err_code note_load(void *ctx, const struct import_chunk *chunk, struct err *e)
{
    const struct hand *h = ctx;
    return import_unit_load_note(h->guest->run, h->lease, h->unit, chunk->bulk, e);
}

static err_code parse(struct guest *g, struct lease *lease, uint64_t unit,
                      struct import_chunk *chunk, unsigned worker, struct err *e)
{
    CLEANUP_BUF struct buf note = BUF_INIT(IMPORT_UNIT_MAX);
    char name[IMPORT_UNIT_NAME];
    uint64_t sum[2], bytes;
    struct err why;
    import_chunk_reset(chunk);
    import_unit_name(name, "unit", unit);
    err_code rc = job_run_note_get(g->run, sv_from(name), &note, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_EXISTS, "unit %llu is published", (unsigned long long)unit);
    if (rc != ERR_OK)
        return err_pass(e, &why);
    TRY(import_unit_load_drop(g->run, lease, unit, e));
    TRY(import_unit_read(buf_sv(&note), g->files.n, chunk, &bytes, e));
    TRY(read_text(g, chunk, bytes, e));
    hash_xxh3_128(buf_sv(&chunk->text), SV_NONE, sum);
    if (sum[0] != chunk->sum[0] || sum[1] != chunk->sum[1])
        return other_input(e);
    struct hand hand = { g, lease, unit };
    chunk->begun = note_load;
    chunk->begun_ctx = &hand;
    import_chunk_parse(chunk, worker);
    chunk->begun = NULL;
    if (chunk->rc != ERR_OK)
        return err_pass(e, &chunk->err);
    TRY(import_result_write(g->run, lease, unit, chunk, e));
    /* the holder's from now on */
    store_bulk_leave(&chunk->bulk);
    return ERR_OK;
}

static bool goes_on(struct guest *g)
{
    pthread_mutex_lock(&g->lock);
    const bool yes = g->rc == ERR_OK && !g->idle && !job_run_should_stop(g->run);
    pthread_mutex_unlock(&g->lock);
    return yes;
}

static void settle(struct guest *g, err_code rc, struct err *e)
{
    /* the unit, or its load, was lost meanwhile: another one does it */
    if (rc == ERR_CONFLICT || (rc != ERR_OK && rc != ERR_EOF && job_run_should_stop(g->run)))
        rc = ERR(e, ERR_CANCELLED, "the import was stopped");
    pthread_mutex_lock(&g->lock);
    if (rc == ERR_EOF)
        g->idle = true;
    else if (rc != ERR_OK && g->rc == ERR_OK) {
        g->rc = rc;
        g->err = *e;
    }
    pthread_mutex_unlock(&g->lock);
}

/* A task of the pool: units, until there is none, or another job waits for a worker. */
static void turn(void *ctx, unsigned worker)
{
    struct guest *g = ctx;
    do {
        struct lease *lease;
        uint64_t unit = 0;
        struct err e = { 0 };
        err_code rc = take(g, &lease, &unit, &e);
        if (rc == ERR_OK) {
            rc = parse(g, lease, unit, &g->chunks[worker], worker, &e);
            /* a load that nobody was told of is given up before another one takes the unit */
            store_bulk_abort(g->chunks[worker].bulk);
            g->chunks[worker].bulk = NULL;
            if (rc == ERR_OK || rc == ERR_EXISTS)
                know(g, unit, rc == ERR_OK);
            lease_release(lease);
            job_run_tell_share(g->run);
            if (rc == ERR_EXISTS)
                rc = ERR_OK;
        }
        settle(g, rc, &e);
    } while (goes_on(g) && !job_tasks_contended(g->tasks));
}

/* ---- the whole ---- */

static err_code check_door(struct guest *g, struct err *e)
{
    CLEANUP_BUF struct buf now = BUF_INIT(JOB_DOOR_MAX);
    struct err why;
    err_code rc = job_run_door_read(g->run, &now, &why);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && !sv_eq(buf_sv(&now), buf_sv(&g->door))))
        return ERR(e, ERR_CANCELLED, "no other node takes part in the import");
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

/* Until the door closes. */
static err_code work(struct guest *g, struct err *e)
{
    const unsigned n_workers = job_pool_n_workers(g->run->pool);
    while (g->rc == ERR_OK) {
        struct found f;
        if (job_run_should_stop(g->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
        TRY(check_door(g, e));
        TRY(find(g, &f, e));
        g->idle = f.n == 0;
        for (size_t i = 0; i < f.n && i < n_workers; i++)
            job_tasks_add(g->tasks, turn, g);
        job_tasks_wait(g->tasks);
        if (g->rc == ERR_OK && g->idle)
            job_run_await(g->run, WAIT_MS);
    }
    return err_pass(e, &g->err);
}

static err_code begin(struct guest *g, struct arena *a, struct err *e)
{
    struct err why;
    err_code rc = job_run_door_read(g->run, &g->door, &why);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && g->door.len == 0))
        return ERR(e, ERR_CANCELLED, "no other node takes part in the import");
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (!sv_starts(buf_sv(&g->door), SV_LIT(IMPORT_DOOR_PREFIX)))
        return ERR(e, ERR_NOT_FOUND, "a node of another release does the import");
    TRY(import_input_open(g->run, &g->in, e));
    return import_files_load(g->run, g->in, a, &g->files, e);
}

err_code import_help(struct job_run *run, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(2ull << 30);
    const unsigned n_workers = job_pool_n_workers(run->pool);
    struct guest g = { .run = run, .door = BUF_INIT(JOB_DOOR_MAX) };
    pthread_mutex_init(&g.lock, NULL);
    g.workers = calloc(n_workers, sizeof *g.workers);
    g.chunks = calloc(n_workers, sizeof *g.chunks);
    if (g.workers == NULL || g.chunks == NULL)
        abort();
    for (unsigned i = 0; i < n_workers; i++)
        import_chunk_init(&g.chunks[i], run, g.workers);
    g.tasks = job_tasks_open(run->pool, n_workers);
    err_code rc = begin(&g, a, e);
    if (rc == ERR_OK)
        rc = work(&g, e);
    job_tasks_close(g.tasks);
    for (unsigned i = 0; i < n_workers; i++) {
        import_chunk_done(&g.chunks[i]);
        import_worker_done(&g.workers[i]);
    }
    if (g.n_done)
        LOG(LOG_INFO, "import_helped", LOG_SV("job", run->job->id), LOG_INT("units", g.n_done));
    free(g.chunks);
    free(g.workers);
    buf_done(&g.door);
    sink_close(g.in);
    pthread_mutex_destroy(&g.lock);
    return rc;
}
