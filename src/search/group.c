/* group.c - who a Group means: its members that are patients of this place. */
#include "search/search.h"

/* "Patient/1", "<our base>/Patient/1", either with a version: "1". Else nothing. */
static sv patient_of(sv reference, sv base)
{
    if (base.len && sv_starts(reference, base) && reference.len > base.len &&
        reference.ptr[base.len] == '/')
        reference = sv_tail(reference, base.len + 1);
    if (!sv_starts(reference, SV_LIT("Patient/")))
        return SV_NONE;
    sv id = sv_tail(reference, sizeof "Patient/" - 1);
    /* a version's: .../_history/2 */
    id = sv_head(id, sv_find(id, '/'));
    return fhir_id_ok(id) ? id : SV_NONE;
}

bool search_next_member(yyjson_arr_iter *members, sv base, sv *patient)
{
    yyjson_val *m;
    while ((m = yyjson_arr_iter_next(members)) != NULL) {
        *patient = patient_of(json_string(json_get(json_get(m, "entity"), "reference")), base);
        if (patient->len && !yyjson_is_true(json_get(m, "inactive")))
            return true;
    }
    return false;
}
