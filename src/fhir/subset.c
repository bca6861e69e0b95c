/* subset.c - A resource without some of its members, and the tag SUBSETTED that says so. */
#include "fhir/subset.h"

#include "codec/instant.h"
#include "codec/json.h"

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

bool fhir_subset_names(const sv *elements, size_t n, sv name, const struct fhir_member *member)
{
    for (size_t i = 0; i < n; i++)
        if (sv_eq(elements[i], name) || (member && sv_eq(elements[i], member->element->name)))
            return true;
    return false;
}

#define VALUES "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"

static bool says_subsetted(yyjson_val *tag)
{
    return sv_eq(json_string(json_get(tag, "system")), SV_LIT(VALUES)) &&
           sv_eq(json_string(json_get(tag, "code")), SV_LIT("SUBSETTED"));
}

/* meta with what the store adds, and the tag. */
static void write_meta(struct json_writer *w, yyjson_val *meta, uint64_t version,
                       int64_t instant_ms)
{
    char digits[24], when[INSTANT_LEN];
    yyjson_val *key, *tag;
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)version);
    instant_format(instant_ms, when);
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
        /* A resource that was cut before has the tag already. */
        if (!says_subsetted(tag))
            json_val(w, tag);
    json_obj(w);
    json_kv_str(w, "system", SV_LIT(VALUES));
    json_kv_str(w, "code", SV_LIT("SUBSETTED"));
    json_obj_end(w);
    json_arr_end(w);
    json_obj_end(w);
}

err_code fhir_subset_write(yyjson_val *root, fhir_type type, uint64_t version, int64_t instant_ms,
                           fhir_keep_fn keep, void *ctx, struct buf *out, struct err *e)
{
    const struct fhir_structure *structure = fhir_structure_of(type);
    struct json_writer w;
    yyjson_val *key;
    bool meta = false;
    json_writer_init(&w, out);
    json_obj(&w);
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    while ((key = yyjson_obj_iter_next(&it)) != NULL) {
        sv name = told_as(json_string(key));
        if (sv_eq(json_string(key), SV_LIT("meta"))) {
            write_meta(&w, yyjson_obj_iter_get_val(key), version, instant_ms);
            meta = true;
            continue;
        }
        const struct fhir_member *member = fhir_member_find(structure, name);
        bool stays =
            always(name) || (member && (member->element->required || member->element->modifier));
        if (stays || keep(ctx, name, member)) {
            json_key(&w, yyjson_get_str(key));
            json_val(&w, yyjson_obj_iter_get_val(key));
        }
    }
    if (!meta)
        write_meta(&w, NULL, version, instant_ms);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}
