/* share.c - the holder of an import lets other nodes parse some of its chunks.
 *
 * The holder reads the whole input and cuts it, as one node alone does. When its own workers have
 * enough, the next chunk is offered as a unit (units.h). A unit keeps its place in the ring, so
 * chunks are published in the order of reading, whoever has parsed them. Nobody but the holder
 * publishes, under its own lease, and of each chunk one load alone: its own, or the one that the
 * note done/N names. So what a node that was frozen still writes is never seen.
 *
 * What nobody takes is taken back, by the unit's lease, as soon as the holder waits for it. What
 * somebody has and does not bring is parsed here, too, when nothing else is to do: the first result
 * counts, and the other load is given up, as soon as nobody has the unit any more.
 *
 * How many are offered follows how many are done by others: one, where nobody takes any. */
#include "import/nodes/units.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "store/nodes.h"

#define NODES_US   2000000ull /* between looks for other nodes */
#define LONELY_US  1000000ull /* from an offer that nobody took to the next */
#define LATE_US    2000000ull /* what another one has is waited for so long, */
#define LATE_TIMES 3u         /* and so many times what a chunk took here */
#define LEFT_US    1000000ull /* between looks whether others still have what was late */
#define WAIT_MS    250u

struct import_share {
    char door[JOB_DOOR_MAX];
    uint64_t next; /* number of the next unit */
    unsigned n_away, window;
    uint64_t look_us, offer_us; /* not before that */
    bool others;
    uint64_t late_before; /* units below it are waited for no longer */
    struct buf late;      /* of size_t: units that were, which others may still have in hand */
    uint64_t late_us;     /* the next look at them */
    uint64_t n_helped;
};

/* ---- the door ---- */

static bool is_alone(const struct job_run *run)
{
    return run->leases == NULL || !import_is_shared(run);
}

unsigned import_share_room(const struct job_run *run)
{
    return is_alone(run) ? 0 : IMPORT_AWAY_MOST;
}

err_code import_share_open(struct import_job *import, struct err *e)
{
    struct job_run *run = import->run;
    char nonce[33];
    if (is_alone(run))
        return ERR_OK;
    /* those of a run before this one have left when this returns */
    TRY(job_run_door_close(run, e));
    TRY(import_notes_clear(run, e));
    struct import_share *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    import->share = s;
    rng_hex32(nonce);
    (void)snprintf(s->door, sizeof s->door, IMPORT_DOOR_PREFIX "%s", nonce);
    s->window = 1;
    buf_init(&s->late, IMPORT_NOTES_MAX);
    TRY(job_run_door_open(run, sv_from(s->door), e));
    job_run_tell(run);
    return ERR_OK;
}

err_code import_share_part(struct job_run *run, struct err *e)
{
    if (is_alone(run))
        return ERR_OK;
    TRY(job_run_door_close(run, e));
    return import_notes_clear(run, e);
}

err_code import_share_end(struct import_job *import, struct err *e)
{
    if (import->share == NULL)
        return ERR_OK;
    TRY(import_share_part(import->run, e));
    if (import->share->n_helped)
        LOG(LOG_INFO, "import_shared", LOG_SV("job", import->run->job->id),
            LOG_INT("units", import->share->n_helped));
    return ERR_OK;
}

void import_share_free(struct import_share *share)
{
    if (share)
        buf_done(&share->late);
    free(share);
}

/* ---- offers ---- */

/* node_each_fn */
static bool each_node(void *ctx, const struct node_seen *seen)
{
    bool *others = ctx;
    *others |= !seen->is_self && seen->quiet_ms < NODE_LOST_MS;
    return !*others;
}

static bool has_others(struct import_job *import)
{
    struct import_share *s = import->share;
    const uint64_t now = clock_mono_us();
    struct err ignored;
    if (now < s->look_us)
        return s->others;
    s->look_us = now + NODES_US;
    s->others = false;
    IGNORE(nodes_list(import->run->cfg->records, each_node, &s->others, &ignored));
    return s->others;
}

bool import_share_wants(struct import_job *import)
{
    const struct import_share *s = import->share;
    return s && s->n_away < s->window && clock_mono_us() >= s->offer_us && has_others(import);
}

err_code import_share_offer(struct import_job *import, struct import_chunk *chunk, bool *offered,
                            struct err *e)
{
    struct import_share *s = import->share;
    CLEANUP_BUF struct buf note = BUF_INIT(IMPORT_UNIT_MAX);
    char name[IMPORT_UNIT_NAME];
    *offered = s && import_unit_is_fit(chunk);
    if (!*offered)
        return ERR_OK;
    TRY(import_unit_write(chunk, &note, e));
    import_unit_name(name, "unit", s->next);
    TRY(job_run_note_put_unsynced(import->run, sv_from(name), buf_sv(&note), e));
    chunk->unit = s->next++;
    chunk->has_unit = chunk->away = true;
    s->n_away++;
    job_run_tell_share(import->run);
    return ERR_OK;
}

/* ---- what became of them ---- */

/* It is parsed here. */
static void parse_here(struct import_job *import, struct import_chunk *chunk)
{
    chunk->away = false;
    import->share->n_away--;
    import_work_add(import, chunk);
}

static err_code take_in(struct import_job *import, struct import_chunk *chunk, sv note,
                        struct err *e)
{
    struct import_share *s = import->share;
    struct err why;
    err_code rc = import_result_pieces(note, &chunk->n_pieces, e);
    TRY(rc);
    rc = import_result_read(import->run, chunk->unit, note, chunk, &why);
    /* the database has lost it, or it took an hour: as any load, it is loaded again */
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_CONFLICT, "a bulk load of another node is not there any more");
    if (rc != ERR_OK)
        return err_pass(e, &why);
    chunk->away = false;
    chunk->taken_in = true;
    s->n_away--;
    s->n_helped++;
    s->window = 2 * s->window < IMPORT_AWAY_MOST ? 2 * s->window : IMPORT_AWAY_MOST;
    import_work_skip(import, chunk);
    return ERR_OK;
}

static struct import_chunk *away_chunk(struct import_job *import, uint64_t first, uint64_t end,
                                       uint64_t unit)
{
    for (uint64_t i = first; i < end; i++) {
        struct import_chunk *chunk = &import->ring[i % import->n_ring];
        if (chunk->away && chunk->unit == unit)
            return chunk;
    }
    return NULL;
}

/* The least unit that others have or may take. */
static bool first_away(const struct import_job *import, uint64_t first, uint64_t end, uint64_t *out)
{
    for (uint64_t i = first; i < end; i++) {
        const struct import_chunk *chunk = &import->ring[i % import->n_ring];
        *out = chunk->unit;
        if (chunk->away)
            return true;
    }
    return false;
}

/* ---- what came too late ---- */

/* He who had it has brought it, or has it no more. */
static err_code leave_late(struct import_job *import, size_t at, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(IMPORT_NOTES_MAX);
    CLEANUP_BUF struct buf writes = BUF_INIT(IMPORT_NOTES_MAX);
    CLEANUP_BUF struct buf note = BUF_INIT(IMPORT_UNIT_MAX);
    struct buf *late = &import->share->late;
    size_t *units = (size_t *)(void *)late->ptr;
    char name[IMPORT_UNIT_NAME];
    uint64_t pieces = 0;
    struct err why;
    import_unit_name(name, "done", units[at]);
    err_code rc = job_run_note_get(import->run, sv_from(name), &note, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    const bool done = rc == ERR_OK;
    TRY(import_pieces_count(import->run, units[at], &pieces, e));
    TRY(import_result_delete(a, units[at], pieces, &writes, e));
    /* under the job's lease: the load is not one of a run behind this one */
    TRY(import_notes_write(import->run, &writes, e));
    if (done)
        TRY(import_result_drop(import->run, buf_sv(&note), e));
    late->len -= sizeof *units;
    units[at] = units[late->len / sizeof *units];
    return ERR_OK;
}

/* Loads of nodes that have died go, when their leases have ended, and not at the import's end. One
 * a look: who is stopped meanwhile does not end them all. */
static err_code look_for_late(struct import_job *import, struct err *e)
{
    struct import_share *s = import->share;
    const size_t *units = (const size_t *)(const void *)s->late.ptr;
    size_t n = s->late.len / sizeof *units, which = 0;
    struct lease *lease = NULL;
    struct err why;
    if (n == 0 || clock_mono_us() < s->late_us || job_run_should_stop(import->run))
        return ERR_OK;
    n = n < LEASE_MOST ? n : LEASE_MOST;
    err_code rc = job_run_range_take(import->run, sv_from(s->door), units, n, &lease, &which, &why);
    if (rc == ERR_EOF) {
        s->late_us = clock_mono_us() + LEFT_US;
        return ERR_OK;
    }
    if (rc != ERR_OK && rc != ERR_EXISTS)
        return err_pass(e, &why);
    rc = lease ? import_unit_load_drop(import->run, lease, units[which], e) : ERR_OK;
    if (rc == ERR_OK)
        rc = leave_late(import, which, e);
    lease_release(lease);
    return rc;
}

err_code import_share_look(struct import_job *import, uint64_t first, uint64_t end, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(IMPORT_NOTES_MAX);
    struct import_notes n = { .a = a, .items = BUF_INIT(IMPORT_NOTES_MAX) };
    uint64_t from;
    if (import->share)
        TRY(look_for_late(import, e));
    if (import->share == NULL || !first_away(import, first, end, &from))
        return ERR_OK;
    err_code rc = import_done_read(import->run, from, &n, e);
    for (size_t i = 0; rc == ERR_OK && i < n.items.len / sizeof(struct import_note); i++) {
        const struct import_note *note = (const struct import_note *)(const void *)n.items.ptr + i;
        struct import_chunk *chunk = away_chunk(import, first, end, note->unit);
        if (chunk)
            rc = take_in(import, chunk, note->value, e);
    }
    buf_done(&n.items);
    return rc;
}

/* The first of those that nobody has, while workers have nothing to do. */
static err_code take_back(struct import_job *import, uint64_t first, uint64_t end, bool *took,
                          struct err *e)
{
    struct import_share *s = import->share;
    size_t units[IMPORT_AWAY_MOST], n = 0, which;
    struct lease *lease;
    struct err why;
    *took = false;
    for (uint64_t i = first; i < end && n < IMPORT_AWAY_MOST; i++) {
        const struct import_chunk *chunk = &import->ring[i % import->n_ring];
        if (chunk->away)
            units[n++] = (size_t)chunk->unit;
    }
    if (n == 0 || !import_work_has_room(import))
        return ERR_OK;
    err_code rc = job_run_range_take(import->run, sv_from(s->door), units, n, &lease, &which, &why);
    /* it was done meanwhile: who looks finds it */
    *took = rc == ERR_EXISTS;
    /* all are in others' hands */
    if (rc == ERR_EOF || rc == ERR_EXISTS)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    struct import_chunk *chunk = away_chunk(import, first, end, units[which]);
    chunk->lease = lease;
    /* of a node that has died with it */
    TRY(import_unit_load_drop(import->run, lease, chunk->unit, e));
    TRY(import_pieces_count(import->run, chunk->unit, &chunk->n_pieces, e));
    parse_here(import, chunk);
    s->window = s->window > 1 ? s->window / 2 : 1;
    s->offer_us = clock_mono_us() + LONELY_US;
    *took = true;
    return ERR_OK;
}

/* Has another node had it for long, while workers here have nothing to do? */
static bool is_late(struct import_job *import, const struct import_chunk *chunk, uint64_t since_us)
{
    uint64_t slowest_us;
    if (!import_work_is_idle(import, &slowest_us))
        return false;
    const uint64_t late_us = LATE_US > LATE_TIMES * slowest_us ? LATE_US : LATE_TIMES * slowest_us;
    return chunk->unit < import->share->late_before || clock_mono_us() - since_us > late_us;
}

err_code import_share_wait(struct import_job *import, uint64_t first, uint64_t end, struct err *e)
{
    struct import_share *s = import->share;
    struct import_chunk *chunk = &import->ring[first % import->n_ring];
    const uint64_t since = clock_mono_us();
    while (chunk->away) {
        bool took;
        if (job_run_should_stop(import->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
        TRY(import_share_look(import, first, end, e));
        if (!chunk->away)
            break;
        TRY(take_back(import, first, end, &took, e));
        if (took)
            continue;
        if (is_late(import, chunk, since)) {
            /* what that node has in hand besides is as late */
            s->late_before = s->next;
            s->window = 1;
            parse_here(import, chunk);
            break;
        }
        job_run_await(import->run, WAIT_MS);
    }
    return ERR_OK;
}

err_code import_share_published(struct import_job *import, uint64_t first, size_t n, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(IMPORT_NOTES_MAX);
    CLEANUP_BUF struct buf writes = BUF_INIT(IMPORT_NOTES_MAX);
    for (size_t i = 0; i < n; i++) {
        struct import_chunk *chunk = &import->ring[(first + i) % import->n_ring];
        if (chunk->has_unit)
            TRY(import_offer_delete(a, chunk->unit, &writes, e));
        if (chunk->taken_in || chunk->lease)
            TRY(import_result_delete(a, chunk->unit, chunk->n_pieces, &writes, e));
        else if (chunk->has_unit)
            TRY(buf_add(&import->share->late, sv_make(&chunk->unit, sizeof(size_t)), e));
    }
    TRY(import_notes_write(import->run, &writes, e));
    for (size_t i = 0; i < n; i++)
        import_chunk_leave(&import->ring[(first + i) % import->n_ring]);
    return ERR_OK;
}
