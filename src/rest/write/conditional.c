/* conditional.c - writes that depend on what a search finds.
 *
 *                none                       one                          several
 *   create       create                     200, that one                412      If-None-Exist
 *   update       create (409: id is taken)  update (409: another id)     412      PUT Type?query
 *   patch        404                        patch                        412      PATCH Type?query
 *   delete       404                        delete                       412      DELETE Type?query
 *                (by _id: 204 when it is deleted already, 409 when it lives and does not match)
 *                (with _count: any number of matches, write/delete.c)
 *
 * What was found is written only while it is still so and stays at the version that matched
 * (write/asked.c); else the search is made again.
 * Source: FHIR R4 http.html#ccreate, #cond-update, #cond-delete; HealthLake's table of conditional
 * operations. */
#include "rest/answer_private.h"
#include "rest/params_private.h"
#include "rest/write/write_private.h"

#include "base/rng.h"

static err_code says_nothing(sv name, struct err *e)
{
    return ERR(
        e, ERR_INVALID,
        "The parameter %.*s of a condition is empty: the write would go by less than is meant",
        SV_FMT(sv_head(name, 64)));
}

/* Refuse pairs without a name, which are no parameters once the query is decoded. */
static err_code check_names(sv encoded, struct err *e)
{
    sv pair;
    while (sv_cut(&encoded, '&', &pair))
        if (pair.len && pair.ptr[0] == '=')
            return says_nothing(SV_LIT("without a name"), e);
    return ERR_OK;
}

err_code rest_condition_add(struct rest_call *c, sv encoded, struct err *e)
{
    TRY(check_names(encoded, e));
    return rest_params_add(c, encoded, e);
}

err_code rest_condition_query(struct query **out, struct rest_call *c, struct err *e)
{
    struct query *q = arena_alloc(c->a, sizeof *q);
    if (q == NULL)
        return arena_oom(c->a, e);
    TRY(check_names(c->in.query, e));
    const struct query_source src =
        rest_query_source(c, c->scope ? c->scope->as_of : store_last(c->st).t);
    query_init(q, &src, c->type);
    for (size_t i = 0; i < c->params.n; i++) {
        sv name = c->params.items[i].name;
        if (sv_eq(name, SV_LIT("_format")) || sv_eq(name, SV_LIT("_pretty")) ||
            (sv_eq(name, SV_LIT("_count")) && !c->in_bundle && rest_is_delete_of_several(c)))
            continue;
        if (rest_says_nothing(c->params.items[i].value))
            return says_nothing(name, e);
        err_code rc = query_add(q, name, c->params.items[i].value, e);
        /* Without this parameter the write could meet the wrong resource. */
        if (rc == ERR_NOT_FOUND)
            return ERR(e, ERR_INVALID, "%s has no search parameter %.*s", fhir_type_name(c->type),
                       SV_FMT(sv_head(name, 64)));
        TRY(rc);
    }
    if (q->n_clauses == 0)
        return ERR(e, ERR_INVALID, "A conditional write needs search parameters to go by");
    *out = q;
    return ERR_OK;
}

err_code rest_condition_one(struct rest_call *c, const struct query *q,
                            const struct rest_scope *scope, sv *id, uint64_t *version,
                            size_t *n_out, struct err *e)
{
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    struct query_match m;
    err_code rc;
    size_t n = 0;
    TRY(query_walk_open(q, NULL, &w, e));
    while (n < 2 && (rc = query_walk_next(w, 0, &m, e)) != ERR_EOF) {
        TRY(rc);
        if (rest_is_gone(scope, m.v.type, m.v.id))
            continue;
        if (n++ == 0) {
            *id = arena_sv(c->a, m.v.id);
            *version = m.v.version;
            if (id->ptr == NULL)
                return arena_oom(c->a, e);
        }
    }
    *n_out = n;
    if (c->asked && n < 2)
        return rest_asked_add(c->asked, c->a, q, scope, n ? *id : SV_NONE, e);
    return ERR_OK;
}

/* The id of a search by _id alone, or by _id and parameters about its version; else SV_NONE. */
static sv only_id(const struct rest_call *c)
{
    static const char *const beside[] = { "_tag", "_lastUpdated", "createdAt", "_format",
                                          "_pretty" };
    sv id = SV_NONE;
    for (size_t i = 0; i < c->params.n; i++) {
        const struct rest_param *p = &c->params.items[i];
        size_t k = 0;
        while (k < sizeof beside / sizeof beside[0] &&
               !sv_eq_cstr(sv_head(p->name, sv_find(p->name, ':')), beside[k]))
            k++;
        if (k < sizeof beside / sizeof beside[0])
            continue;
        if (!sv_eq(p->name, SV_LIT("_id")) || id.ptr || !fhir_id_ok(p->value))
            return SV_NONE;
        id = p->value;
    }
    return id;
}

/* To delete what is deleted already is no error. Source: HealthLake, statuses of conditional
 * deletes. */
static err_code nothing_to_delete(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    struct store_version v;
    struct err why;
    sv id = only_id(c);
    err_code rc = ERR_NOT_FOUND;
    if (id.ptr)
        rc = rest_version_before(c, id, &v, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_NOT_FOUND, "No %s matches the search", fhir_type_name(c->type));
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (v.method != STORE_METHOD_DELETE)
        return ERR(e, ERR_CONFLICT, "%s with this id does not match the rest of the search",
                   fhir_type_name(c->type));
    if (p->conditions.match.there)
        return ERR(e, ERR_PRECONDITION, "There is no current version, which If-Match asks for");
    c->id = id;
    c->out.status = 204;
    p->has_write = false;
    return ERR_OK;
}

static err_code none(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    char uuid[37];
    struct store_version v;
    struct err why;
    if (sv_eq_cstr(c->in.method, "POST"))
        return ERR_OK;
    if (sv_eq_cstr(c->in.method, "DELETE"))
        return nothing_to_delete(c, p, e);
    if (!sv_eq_cstr(c->in.method, "PUT"))
        return ERR(e, ERR_NOT_FOUND, "No %s matches the search", fhir_type_name(c->type));
    if (p->body_id.len == 0) {
        rng_uuid(uuid);
        c->id = arena_sv(c->a, sv_make(uuid, 36));
        return c->id.ptr ? ERR_OK : arena_oom(c->a, e);
    }
    c->id = p->body_id;
    err_code rc = rest_version_before(c, c->id, &v, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    return ERR(e, ERR_CONFLICT,
               "No %s matches the search, and the id in the body is taken by another",
               fhir_type_name(c->type));
}

err_code rest_conditional(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    struct query *q;
    sv id = SV_NONE;
    size_t n = 0;
    if (!rest_is_conditional(c))
        return ERR_OK;
    if (c->in.if_none_exist.len)
        TRY(rest_condition_add(
            c,
            sv_tail(c->in.if_none_exist, sv_find(c->in.if_none_exist, '?') < c->in.if_none_exist.len
                                             ? sv_find(c->in.if_none_exist, '?') + 1
                                             : 0),
            e));
    TRY(rest_condition_query(&q, c, e));
    TRY(rest_condition_one(c, q, c->scope, &id, &p->matched, &n, e));
    p->matched = n == 1 ? p->matched : 0;
    if (n == 0)
        return none(c, p, e);
    if (n > 1)
        return ERR(e, ERR_PRECONDITION, "More than one %s matches the search: make it narrower",
                   fhir_type_name(c->type));
    if (sv_eq_cstr(c->in.method, "PUT") && p->body_id.len && !sv_eq(p->body_id, id))
        return ERR(e, ERR_CONFLICT, "The id in the body is not that of the %s that matches",
                   fhir_type_name(c->type));
    c->id = id;
    if (!sv_eq_cstr(c->in.method, "POST"))
        return ERR_OK;
    struct store_version v;
    TRY(rest_version_before(c, c->id, &v, e));
    p->has_write = false;
    p->w.type = c->type;
    p->w.id = c->id;
    rest_about(c, &v);
    c->out.status = 200;
    c->out.location = true;
    return v.method == STORE_METHOD_DELETE || !rest_wants_body(c)
               ? ERR_OK
               : rest_version_write(&v, &c->out.body, e);
}
