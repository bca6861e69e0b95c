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
#include "rest/grant_private.h"
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

err_code rest_condition_add(struct rest_call *call, sv encoded, struct err *e)
{
    TRY(check_names(encoded, e));
    return rest_params_add(call, encoded, e);
}

err_code rest_condition_query(struct query **out, struct rest_call *call, struct err *e)
{
    struct query *query = arena_alloc(call->a, sizeof *query);
    if (query == NULL)
        return arena_oom(call->a, e);
    TRY(check_names(call->in.query, e));
    uint64_t as_of = call->scope ? call->scope->as_of : 0;
    if (call->scope == NULL)
        TRY(rest_newest(call, &as_of, e));
    struct query_source src = rest_query_source(call, as_of);
    /* Of several, those are found that may be deleted. */
    if (rest_is_delete_of_several(call))
        src.letters |= SMART_D;
    query_init(query, &src, call->type);
    for (size_t i = 0; i < call->params.n; i++) {
        sv name = call->params.items[i].name;
        if (sv_eq(name, SV_LIT("_format")) || sv_eq(name, SV_LIT("_pretty")) ||
            (sv_eq(name, SV_LIT("_count")) && !call->in_bundle && rest_is_delete_of_several(call)))
            continue;
        if (rest_says_nothing(call->params.items[i].value))
            return says_nothing(name, e);
        err_code rc = query_add(query, name, call->params.items[i].value, e);
        /* Without this parameter the write could meet the wrong resource. */
        if (rc == ERR_NOT_FOUND)
            return ERR(e, ERR_INVALID, "%s has no search parameter %.*s",
                       fhir_type_name(call->type), SV_FMT(sv_head(name, 64)));
        TRY(rc);
    }
    if (query->n_clauses == 0)
        return ERR(e, ERR_INVALID, "A conditional write needs search parameters to go by");
    *out = query;
    return ERR_OK;
}

err_code rest_condition_one(struct rest_call *call, const struct query *query,
                            const struct rest_scope *scope, sv *id, uint64_t *version,
                            size_t *n_out, struct err *e)
{
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    struct query_match m;
    err_code rc;
    size_t n = 0;
    TRY(query_walk_open(query, NULL, &w, e));
    while (n < 2 && (rc = query_walk_next(w, 0, &m, e)) != ERR_EOF) {
        TRY(rc);
        if (rest_is_gone(scope, m.v.type, m.v.id))
            continue;
        if (n++ == 0) {
            *id = arena_sv(call->a, m.v.id);
            *version = m.v.version;
            if (id->ptr == NULL)
                return arena_oom(call->a, e);
        }
    }
    *n_out = n;
    if (call->asked && n < 2)
        return rest_asked_add(call->asked, call->a, query, scope, n ? *id : SV_NONE, e);
    return ERR_OK;
}

/* The id of a search by _id alone, or by _id and parameters about its version; else SV_NONE. */
static sv only_id(const struct rest_call *call)
{
    static const char *const beside[] = { "_tag", "_lastUpdated", "createdAt", "_format",
                                          "_pretty" };
    sv id = SV_NONE;
    for (size_t i = 0; i < call->params.n; i++) {
        const struct rest_param *p = &call->params.items[i];
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
static err_code nothing_to_delete(struct rest_call *call, struct rest_pending *pending,
                                  struct err *e)
{
    struct store_version v;
    struct err why;
    sv id = only_id(call);
    err_code rc = ERR_NOT_FOUND;
    if (id.ptr)
        rc = rest_version_before(call, id, &v, &why);
    if (rc == ERR_OK) {
        bool sees;
        TRY(rest_sees(call, SMART_S, &v, &sees, e));
        rc = sees ? ERR_OK : ERR_NOT_FOUND;
    }
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_NOT_FOUND, "No %s matches the search", fhir_type_name(call->type));
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (v.method != STORE_METHOD_DELETE)
        return ERR(e, ERR_CONFLICT, "%s with this id does not match the rest of the search",
                   fhir_type_name(call->type));
    if (pending->conditions.match.there)
        return ERR(e, ERR_PRECONDITION, "There is no current version, which If-Match asks for");
    call->id = id;
    call->out.status = 204;
    pending->has_write = false;
    return ERR_OK;
}

static err_code none(struct rest_call *call, struct rest_pending *pending, struct err *e)
{
    char uuid[37];
    struct store_version v;
    struct err why;
    if (sv_eq_cstr(call->in.method, "POST"))
        return ERR_OK;
    if (sv_eq_cstr(call->in.method, "DELETE"))
        return nothing_to_delete(call, pending, e);
    if (!sv_eq_cstr(call->in.method, "PUT"))
        return ERR(e, ERR_NOT_FOUND, "No %s matches the search", fhir_type_name(call->type));
    if (pending->body_id.len == 0) {
        rng_uuid(uuid);
        call->id = arena_sv(call->a, sv_make(uuid, 36));
        return call->id.ptr ? ERR_OK : arena_oom(call->a, e);
    }
    call->id = pending->body_id;
    err_code rc = rest_version_before(call, call->id, &v, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    return ERR(e, ERR_CONFLICT,
               "No %s matches the search, and the id in the body is taken by another",
               fhir_type_name(call->type));
}

err_code rest_conditional(struct rest_call *call, struct rest_pending *pending, struct err *e)
{
    struct query *query;
    sv id = SV_NONE;
    size_t n = 0;
    if (!rest_is_conditional(call))
        return ERR_OK;
    if (call->in.if_none_exist.len)
        TRY(rest_condition_add(
            call,
            sv_tail(call->in.if_none_exist,
                    sv_find(call->in.if_none_exist, '?') < call->in.if_none_exist.len
                        ? sv_find(call->in.if_none_exist, '?') + 1
                        : 0),
            e));
    TRY(rest_condition_query(&query, call, e));
    TRY(rest_condition_one(call, query, call->scope, &id, &pending->matched, &n, e));
    pending->matched = n == 1 ? pending->matched : 0;
    if (n == 0)
        return none(call, pending, e);
    if (n > 1)
        return ERR(e, ERR_PRECONDITION, "More than one %s matches the search: make it narrower",
                   fhir_type_name(call->type));
    if (sv_eq_cstr(call->in.method, "PUT") && pending->body_id.len && !sv_eq(pending->body_id, id))
        return ERR(e, ERR_CONFLICT, "The id in the body is not that of the %s that matches",
                   fhir_type_name(call->type));
    call->id = id;
    if (!sv_eq_cstr(call->in.method, "POST"))
        return ERR_OK;
    struct store_version v;
    bool sees;
    TRY(rest_version_before(call, call->id, &v, e));
    TRY(rest_sees(call, SMART_S, &v, &sees, e));
    /* It was changed since it was found. */
    if (!sees)
        return ERR(e, ERR_CONFLICT, REST_OVERTAKEN);
    pending->has_write = false;
    pending->w.type = call->type;
    pending->w.id = call->id;
    rest_about(call, &v);
    call->out.status = 200;
    call->out.location = true;
    return v.method == STORE_METHOD_DELETE || !rest_wants_body(call)
               ? ERR_OK
               : rest_version_write(&v, &call->out.body, e);
}
