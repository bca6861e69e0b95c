/* one.c - one resource goes, or is deleted; and those that refer to one are found. */
#include "erase/erase_private.h"

#include "base/clock.h"

#define TELL_US UINT64_C(250000) /* between two looks at the counts */

err_code erase_goes_on(const struct erasure *x, struct err *e)
{
    return job_run_should_stop(x->run) ? ERR(e, ERR_CANCELLED, "the job was stopped") : ERR_OK;
}

void erase_wait(const struct erasure *x, unsigned *ms)
{
    *ms = erase_wait_next(*ms, store_is_remote(x->run->store));
    job_run_pause(x->run, *ms);
}

err_code erase_count(struct erasure *x, struct err *e)
{
    struct job_progress p = x->run->job->progress;
    struct store_erased n = { x->n_soft, 0 };
    if (!x->what.soft)
        TRY(store_erased_get(x->run->store, sv_from(x->note), &n, e));
    p.resources_erased = n.resources;
    p.versions_erased = n.versions;
    job_run_progress_set(x->run, &p);
    return ERR_OK;
}

err_code erase_tell(struct erasure *x, struct err *e)
{
    const uint64_t now_us = clock_mono_us();
    if (!x->tells || now_us - x->told_us < TELL_US)
        return ERR_OK;
    x->told_us = now_us;
    return erase_count(x, e);
}

err_code erase_one(struct erasure *x, store_number number, uint64_t t, struct err *e)
{
    unsigned waited_ms = 0;
    bool any;
    for (;;) {
        struct err why;
        TRY(erase_goes_on(x, e));
        err_code rc = store_erase_under(x->run->lease, x->run->store, number, t, sv_from(x->note),
                                        &any, &why);
        /* the one version has come to be the current one: a restore made the data store of an older
         * state of it */
        if (rc == ERR_PRECONDITION)
            return ERR(e, ERR_CONFLICT, "The version is the current one: erase the whole resource");
        if (rc == ERR_OK)
            return erase_tell(x, e);
        if (rc != ERR_CONFLICT)
            return err_pass(e, &why);
        erase_wait(x, &waited_ms);
    }
}

/* It was changed since it was chosen: deleted, by an earlier run or by somebody else, or more. */
static err_code look_again(struct erasure *x, const struct store_version *v, bool *gone,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(ERASE_RESOURCE_MAX);
    struct store_version now;
    struct err why;
    err_code rc = store_get_number_light(x->run->store, v->number, STORE_NOW, a, &now, &why);
    *gone = rc == ERR_OK && now.method == STORE_METHOD_DELETE && now.version == v->version + 1;
    return rc == ERR_OK || rc == ERR_NOT_FOUND ? ERR_OK : err_pass(e, &why);
}

err_code erase_soft(struct erasure *x, const struct store_version *v, bool *gone, struct err *e)
{
    struct store_write w = { .type = v->type,
                             .id = v->id,
                             .method = STORE_METHOD_DELETE,
                             .condition = STORE_IF_VERSION,
                             .if_version = v->version };
    struct store_commit c;
    struct err why;
    TRY(erase_goes_on(x, e));
    err_code rc = store_commit(x->run->store, &w, 1, &c, &why);
    *gone = rc == ERR_OK;
    if (rc == ERR_PRECONDITION || rc == ERR_NOT_FOUND)
        return look_again(x, v, gone, e);
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

err_code erase_each_referrer(struct erasure *x, fhir_type type, const struct search_param *p,
                             const struct search_id *to, erase_hit_fn fn, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    const struct search_criterion c = { .param = p, .is_set = true, .set = to, .n_set = 1 };
    CLEANUP(store_index_close) struct store_index_cursor *cur = NULL;
    struct search_driver d;
    struct store_index_hit hit;
    err_code rc;
    if (!search_ranges(&c, type, a, &d))
        return arena_oom(a, e);
    TRY(store_index_scan(x->run->store, type, &d, SV_NONE, 0, x->t, &cur, e));
    while ((rc = store_index_next(cur, &hit, e)) == ERR_OK) {
        TRY(erase_goes_on(x, e));
        TRY(fn(x, &hit, e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}
