/* away.c - what a job does while its database is out of reach.
 *
 * A server that is restarted, or a standby that takes over, is away for a while. A run that it
 * ended begins again, as behind a start of the process: it reads its record and its notes, and goes
 * on from there. What it came to is written down as soon as somebody takes it. Data stores that are
 * files of this machine are never away.
 *
 * When that has been in vain for half an hour, the job is left to whichever node takes it next, for
 * the database can be away for long. If the database is there all the same, and can be written,
 * something else is wrong, which may last for ever: four such half hours, one behind the other and
 * without any progress, and the job has failed. */
#include "job/job_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define AWAY_PAUSE_MS 1000u
#define AWAY_MOST_MS  (30u * 60 * 1000)       /* without any progress: then another node may try */
#define LONG_TRY_US   (15u * 60 * 1000000ull) /* no statement waits so long: it got on */
#define VAIN_MOST     4u                      /* times, one behind the other: then the job fails */
#define NOTE_VAIN     SV_LIT("vain")          /* how many there were, and what was done by then */
#define NOTE_MAX      64u

/* Tests do not wait for half an hour. */
static uint64_t most_us(void)
{
    const char *given = getenv("_FHIRLAKE_AWAY_MS");
    uint64_t ms;
    if (given == NULL || !sv_to_u64(sv_from(given), &ms) || ms > AWAY_MOST_MS)
        ms = AWAY_MOST_MS;
    return ms * 1000;
}

static bool may_be_away(const struct job_run *run, err_code rc)
{
    /* a load that the server has lost is ERR_CONFLICT */
    return (rc == ERR_UNAVAILABLE || rc == ERR_CONFLICT) &&
           store_registry_is_remote(run->cfg->stores) && !job_run_should_stop(run);
}

/* Grows with all that a run gets done. */
static uint64_t done_of(struct job_run *run)
{
    pthread_mutex_lock(&run->live.lock);
    const struct job_progress *p = &run->live.progress;
    const uint64_t n = p->ranges_done + p->resources_imported + p->resources_customer_error +
                       p->resources_erased + p->versions_erased;
    pthread_mutex_unlock(&run->live.lock);
    return n;
}

bool job_away_again(struct job_away *away, struct job_run *run, const char *id, err_code rc,
                    const struct err *e)
{
    const uint64_t now = clock_mono_us();
    if (rc == ERR_OK || !may_be_away(run, rc))
        return false;
    const uint64_t done = done_of(run);
    if (away->since_us == 0 || done > away->done || now - away->begun_us > LONG_TRY_US)
        away->since_us = now;
    if (done > away->done)
        away->done = done;
    if (now - away->since_us > most_us())
        return false;
    if (!away->told)
        LOG_ERR("job_waits", e, LOG_STR("job", id),
                LOG_STR("note", "it goes on when what cannot be reached is there again"));
    away->told = true;
    const struct timespec until = clock_mono_at(now + AWAY_PAUSE_MS * 1000ull);
    int waited = 0;
    pthread_mutex_lock(&run->live.lock);
    while (waited != ETIMEDOUT && !job_run_should_stop(run))
        waited = pthread_cond_timedwait(&run->live.halted, &run->live.lock, &until);
    pthread_mutex_unlock(&run->live.lock);
    away->begun_us = clock_mono_us();
    return !job_run_should_stop(run);
}

/* False: it cannot be read. */
static bool read_vain(struct job_run *run, uint64_t *n, uint64_t *done)
{
    CLEANUP_BUF struct buf note = BUF_INIT(NOTE_MAX);
    struct err ignored;
    *n = *done = 0;
    err_code rc = job_run_note_get(run, NOTE_VAIN, &note, &ignored);
    sv text = buf_sv(&note), first;
    return rc == ERR_NOT_FOUND || (rc == ERR_OK && sv_cut(&text, ' ', &first) &&
                                   sv_to_u64(first, n) && sv_to_u64(text, done));
}

bool job_away_in_vain(const struct job_away *away, struct job_run *run)
{
    CLEANUP_BUF struct buf note = BUF_INIT(NOTE_MAX);
    uint64_t n, done;
    struct err ignored;
    if (run->job == NULL || away->since_us == 0 || job_run_should_stop(run) ||
        clock_mono_us() - away->since_us <= most_us())
        return false;
    /* what is written shows that the database is there, and can be written */
    if (job_run_place_check(run, &ignored) != ERR_OK || !read_vain(run, &n, &done))
        return false;
    n = away->done > done ? 1 : n + 1;
    return buf_add_fmt(&note, &ignored, "%llu %llu", (unsigned long long)n,
                       (unsigned long long)away->done) == ERR_OK &&
           job_run_note_put(run, NOTE_VAIN, buf_sv(&note), &ignored) == ERR_OK && n >= VAIN_MOST;
}

bool job_away_write_again(struct job_engine *engine, err_code rc)
{
    const struct timespec until = clock_mono_at(clock_mono_us() + AWAY_PAUSE_MS * 1000ull);
    const bool passes = rc == ERR_UNAVAILABLE || rc == ERR_NO_SPACE;
    int waited = 0;
    if (!passes || !store_registry_is_remote(engine->cfg.stores))
        return false;
    pthread_mutex_lock(&engine->locked.lock);
    while (waited != ETIMEDOUT && !engine->locked.stop)
        waited = pthread_cond_timedwait(&engine->locked.changed, &engine->locked.lock, &until);
    const bool stop = engine->locked.stop;
    pthread_mutex_unlock(&engine->locked.lock);
    return !stop;
}
