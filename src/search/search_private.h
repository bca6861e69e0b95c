/* search_private.h - what the rooms of search share.
 *
 *   params.c   the table, compiled once        moment.c  dates and numbers as intervals
 *   values.c   elements -> values              query.c   pairs -> criteria
 *   match.c    do they meet                    index.c   entries, ranges, sort keys
 * Floor: search. */
#pragma once
#include "search/search.h"

struct search_step {
    sv name;
    enum { STEP_ALL, STEP_FIRST, STEP_WITH, STEP_HAS } pick;
    sv with, value; /* STEP_WITH: member = value; STEP_HAS: an extension of that URL */
};
/* A bit for a member's name: a path whose first step has none of a resource's bits finds nothing in it. */
static inline uint64_t name_bit(sv name)
{
    if (name.len == 0)
        return 1;
    unsigned h = (unsigned char)name.ptr[0] * 7u + (unsigned char)name.ptr[name.len - 1] * 31u;
    return 1ull << ((h + (unsigned)name.len * 13u) & 63);
}
struct search_path {
    uint64_t first; /* name_bit() of the first step; all bits when it has none */
    struct search_step *steps;
    size_t n_steps;
    sv datatype;
    fhir_type only; /* references to this type */
    bool from_root; /* ^: of a composite's part, from the resource */
};

/* Call fn for what a path finds below `from`. */
void path_walk(const struct search_path *p, yyjson_val *root, yyjson_val *from,
               search_element_fn fn, void *ctx);
/* Values of one element. */
void value_of_element(search_kind kind, yyjson_val *element, sv datatype,
                      const struct search_path *p, search_value_fn fn, void *ctx);

/* "2015-02", "2015-02-07T13:28:17.5-05:00" -> [lo, hi); without a zone: UTC. Source: datatypes.html#dateTime */
bool moment_parse(sv text, int64_t *lo_ms, int64_t *hi_ms);
/* "5.40" -> 5.40 and the numbers that would be written so: [5.395, 5.405). */
bool number_parse(sv text, double *value, double *lo, double *hi);
/* "Patient/1", "http://x/fhir/Patient/1/_history/2" -> type, id, base; false: it does not end so. */
bool reference_parse(sv text, fhir_type *type, sv *id, sv *base);
/* Without "|version". */
sv canonical_url(sv text);

/* Are elements of the parameter canonical references? */
bool search_is_canonical(const struct search_param *p);

bool term_matches(const struct search_context *cx, const struct search_criterion *c,
                  search_kind kind, const struct search_term *t, const struct search_value *v);
