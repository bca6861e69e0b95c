/* rest_conditional.c - writes that depend on what a search finds.
 *
 *                none                       one                          several
 *   create       create                     200, that one                412      If-None-Exist
 *   update       create (409: id is taken)  update (409: another id)     412      PUT Type?query
 *   patch        404                        patch                        412      PATCH Type?query
 *   delete       404                        delete                       412      DELETE Type?query
 *
 * One conditional write runs at a time (service.conditional_lock), so two of them never both find nothing.
 * Source: FHIR R4 http.html#ccreate, #cond-update, #cond-delete; HealthLake's table of conditional operations. */
#include "service/rest_query.h"

#include "base/rng.h"

bool rest_is_conditional(const struct rest_call *c)
{
    return c->in.if_none_exist.len > 0 ||
           (c->it->shape == REST_TYPE && !sv_eq_cstr(c->in.method, "POST"));
}

/* At most two matches. */
static err_code find(struct rest_call *c, sv first_id[1], size_t *n_out, struct err *e)
{
    CLEANUP(rest_walk_close) struct rest_walk *w = NULL;
    struct rest_query *q = arena_alloc(c->a, sizeof *q);
    struct rest_match m;
    err_code rc;
    size_t n = 0;
    if (q == NULL)
        return arena_oom(c->a, e);
    rest_query_init(q, c, c->type, store_last(c->st).t);
    for (size_t i = 0; i < c->n_params; i++) {
        sv name = c->params[i].name;
        if (sv_eq(name, SV_LIT("_format")) || sv_eq(name, SV_LIT("_pretty")))
            continue;
        rc = rest_query_add(q, name, c->params[i].value, e);
        if (rc == ERR_NOT_FOUND) /* to pass over it would write to the wrong resource */
            return ERR(e, ERR_INVALID, "%s has no search parameter %.*s", fhir_type_name(c->type),
                       SV_FMT(sv_head(name, 64)));
        TRY(rc);
    }
    if (q->n_clauses == 0)
        return ERR(e, ERR_INVALID, "A conditional write needs search parameters to go by");
    TRY(rest_walk_open(q, NULL, &w, e));
    while (n < 2 && (rc = rest_walk_next(w, 0, &m, e)) != ERR_EOF) {
        TRY(rc);
        if (n++ == 0) {
            first_id[0] = arena_sv(c->a, m.v.id);
            if (first_id[0].ptr == NULL)
                return arena_oom(c->a, e);
        }
    }
    *n_out = n;
    return ERR_OK;
}

static err_code none(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    char uuid[37];
    struct store_version v;
    struct err why;
    if (sv_eq_cstr(c->in.method, "POST"))
        return ERR_OK;
    if (!sv_eq_cstr(c->in.method, "PUT"))
        return ERR(e, ERR_NOT_FOUND, "No %s matches the search", fhir_type_name(c->type));
    if (p->body_id.len == 0) {
        rng_uuid(uuid);
        c->id = arena_sv(c->a, sv_make(uuid, 36));
        return c->id.ptr ? ERR_OK : arena_oom(c->a, e);
    }
    c->id = p->body_id;
    err_code rc = store_get(c->st, c->type, c->id, STORE_NOW, c->a, &v, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK) {
        *e = why;
        return rc;
    }
    return ERR(e, ERR_CONFLICT,
               "No %s matches the search, and the id in the body is taken by another",
               fhir_type_name(c->type));
}

err_code rest_conditional(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    sv id[1] = { SV_NONE };
    size_t n = 0;
    if (!rest_is_conditional(c))
        return ERR_OK;
    if (c->in.if_none_exist.len)
        TRY(rest_params_add(
            c,
            sv_tail(c->in.if_none_exist, sv_find(c->in.if_none_exist, '?') < c->in.if_none_exist.len
                                             ? sv_find(c->in.if_none_exist, '?') + 1
                                             : 0),
            e));
    TRY(find(c, id, &n, e));
    if (n == 0)
        return none(c, p, e);
    if (n > 1)
        return ERR(e, ERR_PRECONDITION, "More than one %s matches the search: make it narrower",
                   fhir_type_name(c->type));
    if (sv_eq_cstr(c->in.method, "PUT") && p->body_id.len && !sv_eq(p->body_id, id[0]))
        return ERR(e, ERR_CONFLICT, "The id in the body is not that of the %s that matches",
                   fhir_type_name(c->type));
    c->id = id[0];
    if (!sv_eq_cstr(c->in.method, "POST"))
        return ERR_OK;
    struct store_version v;
    TRY(store_get(c->st, c->type, c->id, STORE_NOW, c->a, &v, e));
    p->has_write = false;
    rest_about(c, &v);
    c->out.status = 200;
    c->out.location = true;
    return v.method == STORE_METHOD_DELETE || rest_prefers(c, "return=minimal")
               ? ERR_OK
               : rest_version_write(&v, &c->out.body, e);
}
