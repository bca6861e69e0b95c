/* A resource at the three levels: paths start at the resource's type, STRICT finds what STRUCTURE
 * finds, a valid resource costs no memory, and the same question has the same answer. */
#include "fuzz.h"

#include "base/limits.h"
#include "codec/json.h"
#include "fhir/types.h"
#include "fhir/validate.h"

static struct fhir_issues ask(yyjson_val *root, fhir_validate_level level, struct arena *a)
{
    struct fhir_issues issues;
    struct err e;
    size_t used = arena_used(a);
    MUST(fhir_validate(root, level, a, &issues, &e) == ERR_OK);
    MUST(issues.n <= FHIR_ISSUES_MAX && (issues.n == FHIR_ISSUES_MAX || !issues.more));
    MUST(issues.n || arena_used(a) == used);
    sv type = json_string(json_get(root, "resourceType"));
    bool known = fhir_type_find(type) != FHIR_TYPE_NONE;
    for (size_t i = 0; i < issues.n; i++) {
        const struct fhir_issue *is = &issues.items[i];
        MUST(sv_starts(is->path, known ? type : SV_LIT("Resource")));
        MUST(is->text.len && is->code[0] && is->severity[0]);
        for (size_t k = 0; k < is->path.len; k++)
            MUST(is->path.ptr[k] > ' ' && is->path.ptr[k] < 0x7F);
    }
    return issues;
}

FUZZ(data)
{
    struct arena *a = arena_new(SIZE_MAX / 2);
    yyjson_doc *doc;
    struct err e;
    if (json_read(a, data, LIMIT_RESOURCE_DEPTH, &doc, &e) == ERR_OK) {
        yyjson_val *root = yyjson_doc_get_root(doc);
        struct fhir_issues minimal = ask(root, FHIR_VALIDATE_MINIMAL, a);
        struct fhir_issues structure = ask(root, FHIR_VALIDATE_STRUCTURE, a);
        struct fhir_issues strict = ask(root, FHIR_VALIDATE_STRICT, a);
        struct fhir_issues again = ask(root, FHIR_VALIDATE_STRICT, a);
        MUST(minimal.n <= structure.n && structure.n <= strict.n && strict.n == again.n);
        /* running out is an error, not a crash */
        struct arena *small = arena_new(data.len);
        struct fhir_issues issues = { .n = 1 };
        if (fhir_validate(root, FHIR_VALIDATE_STRICT, small, &issues, &e) == ERR_OK)
            MUST(issues.n == strict.n);
        else
            MUST(strict.n && issues.n == 1);
        arena_free(small);
    }
    arena_free(a);
}
