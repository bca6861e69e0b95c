/* search.c - searches: over one type, over several, and in a compartment.
 *
 *   GET [base]/Patient?name=x    POST [base]/Patient/_search
 *   GET [base]?_id=x             GET [base]/Patient/1/Condition
 *
 * A next link holds the commit that the first page saw, and where the next page begins: the place
 * of the walk, or the keys of the last match of a sorted page. So pages never skip or repeat a
 * resource, whatever is written meanwhile.
 * Source: FHIR R4 search.html; what differs from HealthLake is in docs/api-fhir.md. */
#include "rest/params_private.h"
#include "rest/read/page_private.h"
#include "rest/read/read_private.h"

static err_code run(struct rest_call *c, fhir_type type, fhir_type owner, sv path, struct err *e)
{
    struct rest_page *p = ARENA_NEW(c->a, struct rest_page);
    if (p == NULL)
        return arena_oom(c->a, e);
    p->c = c;
    p->path = path;
    p->owner = owner;
    p->count = PAGE_COUNT_DEFAULT;
    p->any_type = type == FHIR_TYPE_NONE;
    if (type)
        p->types[p->n_types++] = type;
    TRY(rest_page_read(p, e));
    if (c->only_check)
        return ERR_OK;
    c->out.status = 200;
    return rest_page_write(p, e);
}

err_code rest_search(struct rest_call *c, struct err *e)
{
    if (sv_eq_cstr(c->in.method, "POST"))
        TRY(rest_form_body(c, e));
    return run(c, c->type, FHIR_TYPE_NONE, sv_from(c->type ? fhir_type_name(c->type) : ""), e);
}

/* Patient/1/Observation; Patient/1/STAR: the patient and every member. Source: http.html#vsearch */
err_code rest_search_compartment(struct rest_call *c, struct err *e)
{
    const struct search_param *members[SEARCH_COMPARTMENT_MAX];
    if (!search_is_compartment(c->type))
        return ERR(e, ERR_NOT_FOUND, "%s is not a compartment", fhir_type_name(c->type));
    if (c->member_type && search_compartment(c->type, c->member_type, members) == 0)
        return ERR(e, ERR_NOT_FOUND, "%s has no place in the compartment of a %s",
                   fhir_type_name(c->member_type), fhir_type_name(c->type));
    sv path = arena_fmt(c->a, "%s/%.*s/%s", fhir_type_name(c->type), SV_FMT(c->id),
                        c->member_type ? fhir_type_name(c->member_type) : "*");
    return path.ptr ? run(c, c->member_type, c->type, path, e) : arena_oom(c->a, e);
}
