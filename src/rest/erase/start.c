/* start.c - a request to erase becomes a job.
 *
 *   POST Type/id/$erase                    deleteAuditEvent
 *   POST Type/id/_history/vid/$erase
 *   POST Patient/id/$purge                 deleteAuditEvent, _since or start and end
 *   POST Type/$bulk-delete                 isHardDelete, deleteAuditEvent, _since or start and end
 *
 * Parameters come in the query, in a form, or in Parameters. Everything is checked before there is
 * a job. AuditEvents go with what they are about, and in no other way. */
#include "erase/erase.h"

#include "rest/answer_private.h"
#include "rest/erase/erase_private.h"
#include "rest/params_private.h"
#include "rest/route_private.h"

struct asked {
    struct erase_what what;
    bool hard, has_since, has_span;
};

static const char *name_of(const struct rest_call *call)
{
    return call->it->name;
}

/* ---- parameters ---- */

static err_code read_bool(const char *name, sv value, bool *out, struct err *e)
{
    if (!sv_eq(value, SV_LIT("true")) && !sv_eq(value, SV_LIT("false")))
        return ERR(e, ERR_INVALID, "%s must be true or false", name);
    *out = sv_eq(value, SV_LIT("true"));
    return ERR_OK;
}

static err_code read_time(struct rest_call *call, struct asked *x, const struct rest_param *p,
                          bool *taken, struct err *e)
{
    const bool since = sv_eq(p->name, SV_LIT("_since")), end = sv_eq(p->name, SV_LIT("end"));
    *taken = since || end || sv_eq(p->name, SV_LIT("start"));
    if (!*taken)
        return ERR_OK;
    x->has_since |= since;
    x->has_span |= !since;
    if (end) {
        TRY(rest_read_date(call, "end", p->value, NULL, &x->what.until_ms, e));
        /* 0 is no bound, and the end of 1969 is one */
        x->what.until_ms -= x->what.until_ms == 0;
        return ERR_OK;
    }
    return rest_read_date(call, since ? "_since" : "start", p->value, &x->what.from_ms, NULL, e);
}

static err_code read_param(struct rest_call *call, struct asked *x, const struct rest_param *p,
                           struct err *e)
{
    const bool version = call->it->shape == REST_ERASE_VERSION;
    const bool timed = call->it->shape == REST_PURGE || call->it->shape == REST_BULK_DELETE;
    bool taken = false;
    if (p->name.len == 0 || sv_eq(p->name, SV_LIT("_format")) || sv_eq(p->name, SV_LIT("_pretty")))
        return ERR_OK;
    if (!version && sv_eq(p->name, SV_LIT("deleteAuditEvent")))
        return read_bool("deleteAuditEvent", p->value, &x->what.audit, e);
    if (call->it->shape == REST_BULK_DELETE && sv_eq(p->name, SV_LIT("isHardDelete")))
        return read_bool("isHardDelete", p->value, &x->hard, e);
    if (timed)
        TRY(read_time(call, x, p, &taken, e));
    return taken ? ERR_OK
                 : ERR(e, ERR_INVALID, "$%s has no parameter %.*s", name_of(call),
                       SV_FMT(sv_head(p->name, 64)));
}

static err_code read_params(struct rest_call *call, struct asked *x, struct err *e)
{
    const struct rest_param_list *l = &call->params;
    if (call->in.body.len)
        TRY(rest_parameters_body(call, e));
    for (size_t i = 0; i < l->n; i++) {
        for (size_t k = 0; k < i; k++)
            if (l->items[i].name.len && sv_eq(l->items[i].name, l->items[k].name))
                return ERR(e, ERR_INVALID, "%.*s is given more than once",
                           SV_FMT(sv_head(l->items[i].name, 64)));
        TRY(read_param(call, x, &l->items[i], e));
    }
    if (x->has_since && x->has_span)
        return ERR(e, ERR_INVALID, "_since is not given together with start or end");
    if (x->what.from_ms && x->what.until_ms && x->what.from_ms >= x->what.until_ms)
        return ERR(e, ERR_INVALID, "start must not be later than end");
    return ERR_OK;
}

/* ---- what it is about ---- */

/* A resource that was deleted has a history, which can be erased. */
static err_code find_resource(struct rest_call *call, struct err *e)
{
    store_number number;
    struct err why;
    err_code rc = store_number_of(call->st, call->type, call->id, &number, &why);
    return rc == ERR_NOT_FOUND ? rest_not_known(call, e)
           : rc == ERR_OK      ? ERR_OK
                               : err_pass(e, &why);
}

static err_code find_version(struct rest_call *call, struct asked *x, struct err *e)
{
    const struct search_id of = { call->type, call->id };
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v, now;
    uint64_t n;
    if (!sv_to_u64(call->vid, &n) || n == 0)
        return rest_version_unknown(&of, e);
    TRY(rest_version_find(call, &of, n, STORE_NOW, &cur, &v, e));
    TRY(store_get_number_light(call->st, v.number, STORE_NOW, call->a, &now, e));
    if (now.t == v.t)
        return ERR(e, ERR_CONFLICT,
                   "Version %llu is the current one: erase the whole resource, or update it first",
                   (unsigned long long)n);
    x->what.t = v.t;
    return ERR_OK;
}

static err_code find(struct rest_call *call, struct asked *x, struct err *e)
{
    switch (call->it->shape) {
    case REST_BULK_DELETE:
        x->what.scope = ERASE_TYPE;
        x->what.soft = !x->hard;
        return ERR_OK;
    case REST_PURGE:
        x->what.scope = ERASE_PATIENT;
        return find_resource(call, e);
    case REST_ERASE_VERSION:
        return find_version(call, x, e);
    default:
        return find_resource(call, e);
    }
}

/* ---- the answer ---- */

static err_code answer(struct rest_call *call, const struct job *job, struct err *e)
{
    struct json_writer w;
    call->out.status = 202;
    call->out.job_id = job->id;
    if (call->it->shape == REST_PURGE) {
        const struct rest_issue told = {
            "information", "informational",
            arena_fmt(call->a, "Purge job started successfully. Job ID: %.*s", SV_FMT(job->id)),
            SV_NONE
        };
        return rest_outcome_write(&told, 1, &call->out.body, e);
    }
    json_writer_init(&w, &call->out.body);
    json_obj(&w);
    json_kv_str(&w, "jobId", job->id);
    json_kv_str(&w, "jobStatus", sv_from(job_status_name(job->status)));
    json_obj_end(&w);
    call->out.content_type = SV_LIT("application/json");
    return json_writer_end(&w, e);
}

err_code rest_erase(struct rest_call *call, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(64u << 10);
    struct asked x = { .what = { .type = call->type, .id = call->id } };
    struct job job;
    if (call->in_bundle)
        return ERR(e, ERR_UNSUPPORTED, "$%s is not called from within a Bundle", name_of(call));
    TRY(rest_erase_granted(call, e));
    if (rest_is_immutable(call->type))
        return ERR(
            e, ERR_INVALID,
            "An AuditEvent goes with the resource that it is about, by deleteAuditEvent=true, "
            "and in no other way");
    if (call->it->shape == REST_BULK_DELETE) {
        x.what.id = SV_NONE;
        x.what.audit = true;
    }
    TRY(read_params(call, &x, e));
    TRY(find(call, &x, e));
    TRY(erase_what_write(&x.what, &text, e));
    const struct job_request q = { .kind = JOB_ERASE,
                                   .datastore_id = call->ds->id,
                                   .datastore_arn = call->ds->arn,
                                   .account_id = call->service->cfg.account_id,
                                   .job_name = sv_from(name_of(call)),
                                   .erase = buf_sv(&text) };
    TRY(job_submit_fault(job_submit(call->service->cfg.jobs, &q, call->a, &job, e), e));
    return answer(call, &job, e);
}
