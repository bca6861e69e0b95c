/* rest_subset.c - _summary and _elements. Source: search.html#summary, #elements. */
#include "fhir/definitions.h"
#include "service/rest_page.h"

static bool always(sv name)
{
    return sv_eq(name, SV_LIT("resourceType")) || sv_eq(name, SV_LIT("id")) ||
           sv_eq(name, SV_LIT("implicitRules"));
}

/* "_birthDate" is told with birthDate. */
static sv told_as(sv name)
{
    return name.len > 1 && name.ptr[0] == '_' ? sv_tail(name, 1) : name;
}

static bool wanted(const struct rest_page *p, fhir_type type, sv name)
{
    sv n = told_as(name);
    if (always(n))
        return true;
    const struct fhir_member *member = fhir_member_find(fhir_structure_of(type), n);
    bool mandatory = member && (member->element->required || member->element->modifier);
    switch (p->summary) {
    case REST_SUMMARY_TRUE:
        return mandatory || (member && member->element->summary);
    case REST_SUMMARY_TEXT:
        return mandatory || sv_eq(n, SV_LIT("text"));
    case REST_SUMMARY_DATA:
        return !sv_eq(n, SV_LIT("text"));
    default:
        break;
    }
    for (size_t i = 0; i < p->n_elements; i++)
        if (sv_eq(p->elements[i], n) || /* value means valueQuantity */
            (member && sv_eq(p->elements[i], member->element->name)))
            return true;
    return mandatory;
}

/* meta with what the store adds, and the tag. */
static void write_meta(struct json_writer *w, const struct rest_match *m)
{
    char digits[24], when[INSTANT_LEN];
    yyjson_val *meta = json_get(m->root, "meta"), *key, *tag;
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)m->v.version);
    instant_format(m->v.instant_ms, when);
    json_key(w, "meta");
    json_obj(w);
    json_kv_str(w, "versionId", sv_make(digits, (size_t)n));
    json_kv_str(w, "lastUpdated", sv_make(when, INSTANT_LEN));
    yyjson_obj_iter it = yyjson_obj_iter_with(meta);
    while ((key = yyjson_obj_iter_next(&it)) != NULL)
        if (!sv_eq(json_string(key), SV_LIT("tag"))) {
            json_key(w, yyjson_get_str(key));
            json_val(w, yyjson_obj_iter_get_val(key));
        }
    json_key(w, "tag");
    json_arr(w);
    yyjson_arr_iter tags = yyjson_arr_iter_with(json_get(meta, "tag"));
    while ((tag = yyjson_arr_iter_next(&tags)) != NULL)
        json_val(w, tag);
    json_obj(w);
    json_kv_str(w, "system", SV_LIT("http://terminology.hl7.org/CodeSystem/v3-ObservationValue"));
    json_kv_str(w, "code", SV_LIT("SUBSETTED"));
    json_obj_end(w);
    json_arr_end(w);
    json_obj_end(w);
}

err_code rest_subset_write(const struct rest_page *p, const struct rest_match *m, struct buf *out,
                           struct err *e)
{
    if (p->summary == REST_SUMMARY_FALSE && p->n_elements == 0)
        return rest_version_write(&m->v, out, e);
    struct json_writer w;
    yyjson_val *key;
    bool meta = false;
    json_writer_init(&w, out);
    json_obj(&w);
    yyjson_obj_iter it = yyjson_obj_iter_with(m->root);
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        sv name = json_string(key);
        if (sv_eq(name, SV_LIT("meta"))) {
            write_meta(&w, m);
            meta = true;
        } else if (wanted(p, m->v.type, name)) {
            json_key(&w, yyjson_get_str(key));
            json_val(&w, yyjson_obj_iter_get_val(key));
        }
    }
    if (!meta)
        write_meta(&w, m);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}
