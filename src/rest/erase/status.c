/* status.c - how an erasure goes.
 *
 * The status is below the name that the job was started with: an id of another operation's job is
 * none there. */
#include "rest/erase/erase_private.h"
#include "rest/route_private.h"

#include "codec/instant.h"

err_code rest_erase_granted(const struct rest_call *call, struct err *e)
{
    const struct smart_grant *g = call->caller.grant;
    bool given = g == NULL;
    for (size_t i = 0; g && i < g->n_scopes && !given; i++) {
        const struct smart_scope *s = &g->scopes[i];
        given = s->level == SMART_SYSTEM && (s->letters & SMART_D) && s->type.len == 0 &&
                s->n_pairs == 0;
    }
    return given ? ERR_OK
                 : ERR(e, ERR_DENIED,
                       "Erasing needs a token with the scope system/*.d, without a filter");
}

static void put_time(struct json_writer *w, const char *name, int64_t ms)
{
    char when[INSTANT_LEN];
    if (ms == 0)
        return;
    instant_format(ms, when);
    json_kv_str(w, name, sv_make(when, sizeof when));
}

/* A job that has ended says what it came to, and one that is under way how far it is. */
static void put_summary(struct json_writer *w, const struct job *job)
{
    const bool over = job_status_is_final(job->status);
    if (!over && job->status != JOB_IN_PROGRESS)
        return;
    json_key(w, over ? "summary" : "progress");
    json_obj(w);
    json_key(w, "resources");
    json_u64(w, job->progress.resources_erased);
    json_key(w, "versions");
    json_u64(w, job->progress.versions_erased);
    json_obj_end(w);
}

err_code rest_erase_status(struct rest_call *call, struct err *e)
{
    struct job job;
    struct json_writer w;
    struct err why;
    TRY(rest_erase_granted(call, e));
    err_code rc =
        job_get(call->service->cfg.jobs, JOB_ERASE, call->ds->id, call->id, call->a, &job, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    if (rc == ERR_NOT_FOUND || !sv_eq_cstr(job.job_name, call->it->name))
        return ERR(e, ERR_NOT_FOUND, "There is no job %.*s of $%s in this data store",
                   SV_FMT(sv_head(call->id, 64)), call->it->name);
    json_writer_init(&w, &call->out.body);
    json_obj(&w);
    json_kv_str(&w, "datastoreId", job.datastore_id);
    json_kv_str(&w, "jobId", job.id);
    json_kv_str(&w, "status", sv_from(job_status_name(job.status)));
    put_time(&w, "submittedTime", job.submit_ms);
    put_time(&w, "endTime", job.end_ms);
    put_summary(&w, &job);
    if (job.message.len)
        json_kv_str(&w, "message", job.message);
    json_obj_end(&w);
    call->out.status = 200;
    call->out.content_type = SV_LIT("application/json");
    return json_writer_end(&w, e);
}
