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

static err_code run(struct rest_call *call, fhir_type type, fhir_type owner, sv path, struct err *e)
{
    struct rest_page *page = ARENA_NEW(call->a, struct rest_page);
    if (page == NULL)
        return arena_oom(call->a, e);
    page->call = call;
    page->path = path;
    page->owner = owner;
    page->count = PAGE_COUNT_DEFAULT;
    page->any_type = type == FHIR_TYPE_NONE;
    if (type)
        page->types[page->n_types++] = type;
    TRY(rest_page_read(page, e));
    if (call->only_check)
        return ERR_OK;
    call->out.status = 200;
    return rest_page_write(page, e);
}

err_code rest_search(struct rest_call *call, struct err *e)
{
    if (sv_eq_cstr(call->in.method, "POST"))
        TRY(rest_form_body(call, e));
    return run(call, call->type, FHIR_TYPE_NONE,
               sv_from(call->type ? fhir_type_name(call->type) : ""), e);
}

/* Patient/1/Observation; Patient/1/STAR: the patient and every member. Source: http.html#vsearch */
err_code rest_search_compartment(struct rest_call *call, struct err *e)
{
    const struct search_param *members[SEARCH_COMPARTMENT_MAX];
    if (!search_is_compartment(call->type))
        return ERR(e, ERR_NOT_FOUND, "%s is not a compartment", fhir_type_name(call->type));
    if (call->member_type && search_compartment(call->type, call->member_type, members) == 0)
        return ERR(e, ERR_NOT_FOUND, "%s has no place in the compartment of a %s",
                   fhir_type_name(call->member_type), fhir_type_name(call->type));
    sv path = arena_fmt(call->a, "%s/%.*s/%s", fhir_type_name(call->type), SV_FMT(call->id),
                        call->member_type ? fhir_type_name(call->member_type) : "*");
    return path.ptr ? run(call, call->member_type, call->type, path, e) : arena_oom(call->a, e);
}
