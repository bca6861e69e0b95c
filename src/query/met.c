/* met.c - does one resource meet a query?
 *
 * createdAt asks when the first version of a resource came, which only its history tells. So
 * criteria on it are asked last, and the versions are read only when the others are met. */
#include "query/grant_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/json.h"

err_code query_created_ms(struct store *st, fhir_type type, sv id, int64_t *out, struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    err_code rc;
    int64_t first_ms = clock_wall_ms();
    TRY(store_history(st, type, id, STORE_NOW, &cur, e));
    store_cursor_light(cur);
    /* Versions come newest first, so the last one seen is the first one written. */
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK)
        first_ms = v.instant_ms;
    if (rc != ERR_EOF)
        return rc;
    *out = first_ms;
    return ERR_OK;
}

size_t query_resource_max(void)
{
    /* An engine may copy a body twice: as it is stored, and cut. */
    return 2 * (size_t)LIMIT_WHOLE_BYTES + json_tree_max(LIMIT_WHOLE_BYTES);
}

/* Called after a comparison: did the deadline end it? Then its error. */
static err_code compared(const struct query_source *src, struct err *e)
{
    struct query_deadline *d = src->deadline;
    if (d == NULL || !d->patience.ended)
        return ERR_OK;
    /* Another entry of a Bundle may go on with this deadline, and asks it anew. */
    d->patience.ended = false;
    return err_pass(e, &d->over);
}

static err_code clause_met(const struct search_context *cx, const struct query_source *src,
                           const struct query_clause *clause, const struct search_subject *s,
                           bool *met, struct err *e)
{
    *met = false;
    for (size_t i = 0; i < clause->n && !*met; i++) {
        *met = search_match(cx, &clause->any[i], s);
        TRY(compared(src, e));
    }
    return ERR_OK;
}

err_code query_clause_met(const struct query *query, const struct query_clause *clause,
                          const struct search_subject *s, bool *met, struct err *e)
{
    return clause_met(&query->cx, &query->src, clause, s, met, e);
}

/* ---- the grant ---- */

/* Is the Binary's securityContext the patient? No search parameter finds it. */
static bool has_context(const struct search_context *cx, sv patient, yyjson_val *binary)
{
    sv text = json_string(json_get(json_get(binary, "securityContext"), "reference")), type, id;
    if (cx->base.len && sv_starts(text, cx->base) && text.len > cx->base.len &&
        text.ptr[cx->base.len] == '/')
        text = sv_tail(text, cx->base.len + 1);
    return sv_cut(&text, '/', &type) && sv_cut(&text, '/', &id) && sv_eq(type, SV_LIT("Patient")) &&
           patient.len && sv_eq(id, patient);
}

static err_code filter_met(const struct search_context *cx, const struct query_source *src,
                           const struct query_filter *filter, const struct search_subject *s,
                           bool *met, struct err *e)
{
    *met = filter->extent == QUERY_ALL;
    for (size_t i = 0; i < filter->n_any && !*met; i++) {
        const struct query_alternative *one = &filter->any[i];
        *met = !one->by_context || has_context(cx, query_grant_patient(src->grant), s->root);
        for (size_t k = 0; k < one->n && *met; k++)
            TRY(clause_met(cx, src, &one->all[k], s, met, e));
    }
    return ERR_OK;
}

err_code query_filter_met(const struct query *query, const struct query_filter *filter,
                          const struct search_subject *s, bool *met, struct err *e)
{
    return filter_met(&query->cx, &query->src, filter, s, met, e);
}

static err_code grant_met(const struct search_context *cx, const struct query_source *src,
                          const struct search_subject *s, bool *met, struct err *e)
{
    *met = true;
    for (unsigned k = 0; k < SMART_N_LETTERS && *met; k++)
        if (src->letters & 1u << k)
            TRY(filter_met(cx, src, query_grant_filter(src->grant, s->type, 1u << k), s, met, e));
    return ERR_OK;
}

err_code query_grant_met(struct query_grant *grant, unsigned letters,
                         struct query_deadline *deadline, const struct search_subject *s, bool *met,
                         struct err *e)
{
    const struct query_source src = { .deadline = deadline, .grant = grant, .letters = letters };
    struct search_context cx = *query_grant_context(grant);
    cx.patience = deadline ? &deadline->patience : NULL;
    return grant_met(&cx, &src, s, met, e);
}

err_code query_met(const struct query *query, const struct search_subject *s, bool *met,
                   struct err *e)
{
    *met = true;
    for (size_t i = 0; i < query->n_clauses && *met; i++)
        TRY(query_clause_met(query, &query->clauses[i], s, met, e));
    return *met && query->src.grant ? grant_met(&query->cx, &query->src, s, met, e) : ERR_OK;
}

/* ---- the time it may take ---- */

/* search_patience.over */
static bool is_over(void *deadline)
{
    struct query_deadline *d = deadline;
    return d->look(d->ctx, &d->over) != ERR_OK;
}

void query_deadline_init(struct query_deadline *d, err_code (*look)(void *ctx, struct err *e),
                         void *ctx)
{
    d->look = look;
    d->ctx = ctx;
    d->patience = (struct search_patience){ .over = is_over, .ctx = d };
}
