/* outcome.c - OperationOutcomes in HealthLake's form: severity, code, details.text, diagnostics,
 * and the element in location and expression. */
#include "rest/answer_private.h"
#include "rest/route_private.h"

#include "base/log.h"
#include "fhir/outcome.h"

err_code rest_outcome_write(const struct rest_issue *issues, size_t n, struct buf *out,
                            struct err *e)
{
    struct json_writer w;
    fhir_outcome_begin(&w, out);
    for (size_t i = 0; i < n; i++)
        fhir_issue_write(&w, &(struct fhir_issue){ issues[i].severity, issues[i].code,
                                                   issues[i].path, issues[i].text });
    return fhir_outcome_end(&w, e);
}

err_code rest_issue_add(struct arena *a, struct rest_issue_list *l, struct rest_issue issue,
                        struct err *e)
{
    struct rest_issue *more = arena_calloc(a, l->n + 1, sizeof *more);
    if (more == NULL)
        return arena_oom(a, e);
    if (l->n)
        memcpy(more, l->items, l->n * sizeof *more);
    more[l->n] = issue;
    *l = (struct rest_issue_list){ more, l->n + 1 };
    return ERR_OK;
}

err_code rest_issue_set(struct rest_call *call, struct rest_issue issue, struct err *e)
{
    struct rest_issue_list l = { 0 };
    TRY(rest_issue_add(call->a, &l, issue, e));
    call->issues = l;
    return ERR_OK;
}

err_code rest_told_write(const struct rest_call *call, struct buf *out, struct err *e)
{
    const struct rest_issue_list *told = &call->out.told;
    size_t n = 0;
    struct rest_issue *all = arena_calloc(call->a, told->n + 1, sizeof *all);
    if (all == NULL)
        return arena_oom(call->a, e);
    if (call->out.warning.len)
        all[n++] = (struct rest_issue){ "warning", "not-supported", call->out.warning, SV_NONE };
    for (size_t i = 0; i < told->n; i++)
        all[n++] = told->items[i];
    return n ? rest_outcome_write(all, n, out, e) : ERR_OK;
}

/* 413 means that the body is too large. Without a body it was the query that broke a limit, which
 * is 400. */
static unsigned status_of(const struct rest_call *call, const struct error_fhir *f)
{
    bool sent = call->in.body.len || call->in.body_unread;
    return f->status == 413 && !sent ? 400 : f->status;
}

unsigned rest_error(const struct rest_call *call, const struct err *e, struct buf *out)
{
    const struct error_fhir *f = error_as_fhir(e->code);
    /* The text is short and well formed, so writing it cannot fail. */
    struct err ignored;
    buf_clear(out);
    if (call->issues.n && !f->general) {
        IGNORE(rest_outcome_write(call->issues.items, call->issues.n, out, &ignored));
        return status_of(call, f);
    }
    struct rest_issue one = { "error", f->issue_type, sv_from(e->msg), SV_NONE };
    /* ERR_CANCELLED: the caller has hung up, and gets no answer. */
    if (f->general && e->code != ERR_CANCELLED) {
        LOG_ERR("rest_failed", e, LOG_STR("op", call->it ? call->it->name : "-"));
        one.text = error_general(e->code);
    }
    IGNORE(rest_outcome_write(&one, 1, out, &ignored));
    return status_of(call, f);
}
