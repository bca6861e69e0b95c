/* queue.c - one order of all jobs that come in, on any node.
 *
 * A record has the place of the newest one. A job is written down together with its own place
 * there, on condition that nobody else did so since the submitter looked. So places are unique,
 * what a submitter decided by the list still holds when its job is written, and whoever sees a job
 * sees those before it. A data store that is to lose its jobs moves the place on too: nobody who
 * had not seen that writes a job down. */
#include "job/job_private.h"

#define TRIES 100u

err_code job_place_begin(struct job_engine *engine, struct job_place *out, struct err *e)
{
    struct records *r = engine->cfg.records;
    const struct records_write first = { RECORDS_PUT_IF_ABSENT, SV_LIT(JOB_KEY_ORDER),
                                         SV_LIT("0") };
    CLEANUP_BUF struct buf was = BUF_INIT(sizeof out->was);
    struct err why;
    err_code rc = records_get(r, first.key, &was, &why);
    if (rc == ERR_NOT_FOUND) {
        rc = records_write(r, &first, 1, &why);
        if (rc == ERR_OK || rc == ERR_EXISTS)
            rc = records_get(r, first.key, &was, &why);
    }
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (was.len >= sizeof out->was || !sv_to_u64(buf_sv(&was), &out->order))
        return ERR(e, ERR_CORRUPT, "the record of the order of jobs is damaged");
    (void)snprintf(out->was, sizeof out->was, "%.*s", SV_FMT(buf_sv(&was)));
    return ERR_OK;
}

void job_place_take(struct job_place *place, int64_t submit_ms)
{
    const uint64_t now = (uint64_t)submit_ms * 1000;
    place->order = now > place->order ? now : place->order + 1;
    (void)snprintf(place->is, sizeof place->is, "%llu", (unsigned long long)place->order);
    place->writes[0] =
        (struct records_write){ RECORDS_IF_SAME, SV_LIT(JOB_KEY_ORDER), sv_from(place->was) };
    place->writes[1] =
        (struct records_write){ RECORDS_PUT, SV_LIT(JOB_KEY_ORDER), sv_from(place->is) };
}

err_code job_drop_write(struct job_engine *engine, sv datastore_id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    for (unsigned i = 0; i < TRIES; i++) {
        struct job_place place;
        struct err why;
        TRY(job_place_begin(engine, &place, e));
        job_place_take(&place, 0);
        const struct records_write w[] = {
            place.writes[0],
            place.writes[1],
            { RECORDS_PUT, job_key_drop(a, datastore_id), SV_LIT("1") },
        };
        err_code rc = records_write(engine->cfg.records, w, sizeof w / sizeof w[0], &why);
        if (rc == ERR_OK)
            return ERR_OK;
        if (rc != ERR_PRECONDITION)
            return err_pass(e, &why);
    }
    return ERR(e, ERR_UNAVAILABLE, "other nodes take in jobs all the time");
}

err_code job_drop_check(struct job_engine *engine, sv datastore_id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    CLEANUP_BUF struct buf b = BUF_INIT(64);
    struct err why;
    err_code rc = records_get(engine->cfg.records, job_key_drop(a, datastore_id), &b, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    return rc == ERR_OK
               ? ERR(e, ERR_INVALID, "The data store is being deleted; it takes no more jobs")
               : err_pass(e, &why);
}
