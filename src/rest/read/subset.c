/* subset.c - _summary and _elements. Source: search.html#summary, #elements. */
#include "rest/answer_private.h"
#include "rest/read/page_private.h"

#include "fhir/subset.h"

/* fhir_keep_fn */
static bool wanted(void *ctx, sv name, const struct fhir_member *member)
{
    const struct rest_page *page = ctx;
    switch (page->summary) {
    case REST_SUMMARY_TRUE:
        return member && member->element->summary;
    case REST_SUMMARY_TEXT:
        return sv_eq(name, SV_LIT("text"));
    case REST_SUMMARY_DATA:
        return !sv_eq(name, SV_LIT("text"));
    default:
        return fhir_subset_names(page->elements, page->n_elements, name, member);
    }
}

err_code rest_subset_write(const struct rest_page *page, const struct query_match *m,
                           struct buf *out, struct err *e)
{
    if (page->summary == REST_SUMMARY_FALSE && page->n_elements == 0)
        return rest_version_write(&m->v, out, e);
    return fhir_subset_write(m->root, m->v.type, m->v.version, m->v.instant_ms, wanted,
                             (void *)(uintptr_t)page, out, e);
}
