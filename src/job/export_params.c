/* export_params.c - what an export asks for, as a record, and what it may ask for at each level.
 *
 * The record is written with the job and never changed. Its text is part of what a client token
 * stands for (client_token.c). */
#include "job/job_private.h"

#include "base/limits.h"
#include "codec/json.h"

static const char *const level_names[] = {
    [JOB_EXPORT_SYSTEM] = "system", [JOB_EXPORT_PATIENT] = "patient", [JOB_EXPORT_GROUP] = "group"
};

enum member_kind { MEMBER_TEXT, MEMBER_TEXTS, MEMBER_NUMBER, MEMBER_FLAG };
struct member {
    const char *name;
    enum member_kind kind;
    size_t offset;
};
#define M(name, kind, member)                                           \
    {                                                                   \
        name, MEMBER_##kind, offsetof(struct job_export_params, member) \
    }
static const struct member members[] = {
    M("group", TEXT, group_id),
    M("types", TEXTS, types),
    M("since", NUMBER, since_ms),
    M("until", NUMBER, until_ms),
    M("typeFilters", TEXTS, type_filters),
    M("elements", TEXTS, elements),
    M("patients", TEXTS, patients),
    M("security", TEXTS, security),
    M("tag", TEXTS, tag),
    M("organizeByPatient", FLAG, organize_by_patient),
    M("partialManifests", FLAG, partial_manifests),
    M("minFileBytes", NUMBER, min_file_bytes),
    M("maxFileBytes", NUMBER, max_file_bytes),
    M("served", FLAG, served),
    M("request", TEXT, request_url),
    M("attachmentBase", TEXT, attachment_base),
    M("attachmentOther", TEXT, attachment_other),
    M("notes", TEXTS, notes),
    M("scopes", TEXTS, scopes),
    M("grantee", TEXT, grantee),
};
#define N_MEMBERS (sizeof members / sizeof members[0])

static void write_texts(struct json_writer *w, const char *name, const struct job_texts *t)
{
    if (t->n == 0)
        return;
    json_key(w, name);
    json_arr(w);
    for (size_t i = 0; i < t->n; i++)
        json_str(w, t->items[i]);
    json_arr_end(w);
}

err_code job_params_write(const struct job_export_params *params, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "level", sv_from(level_names[params->level]));
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const char *at = (const char *)params + members[i].offset;
        sv text;
        uint64_t n;
        switch (members[i].kind) {
        case MEMBER_TEXT:
            memcpy(&text, at, sizeof text);
            if (text.len)
                json_kv_str(&w, members[i].name, text);
            break;
        case MEMBER_TEXTS:
            write_texts(&w, members[i].name, (const struct job_texts *)(const void *)at);
            break;
        case MEMBER_NUMBER:
            memcpy(&n, at, sizeof n);
            if (n) {
                json_key(&w, members[i].name);
                json_u64(&w, n);
            }
            break;
        default:
            if (*(const bool *)at)
                json_kv_bool(&w, members[i].name, true);
        }
    }
    if (params->associated) {
        json_key(&w, "associated");
        json_u64(&w, params->associated);
    }
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static err_code read_texts(yyjson_val *v, struct arena *a, struct job_texts *out, struct err *e)
{
    size_t n = yyjson_arr_size(v);
    sv *items = arena_alloc(a, (n + 1) * sizeof *items);
    if (items == NULL)
        return arena_oom(a, e);
    yyjson_val *x;
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    for (size_t i = 0; (x = yyjson_arr_iter_next(&it)) != NULL; i++)
        items[i] = json_string(x);
    *out = (struct job_texts){ n ? items : NULL, n };
    return ERR_OK;
}

err_code job_params_read(sv text, struct arena *a, const struct job_export_params **out,
                         struct err *e)
{
    struct job_export_params *params = ARENA_NEW(a, struct job_export_params);
    yyjson_doc *doc;
    text = arena_sv(a, text);
    if (params == NULL || text.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, text, 4, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "the parameters of an export are damaged");
    yyjson_val *root = yyjson_doc_get_root(doc);
    sv level = json_string(json_get(root, "level"));
    for (unsigned i = 0; i < sizeof level_names / sizeof level_names[0]; i++)
        if (sv_eq_cstr(level, level_names[i]))
            params->level = (job_export_level)i;
    for (size_t i = 0; i < N_MEMBERS; i++) {
        yyjson_val *v = json_get(root, members[i].name);
        char *at = (char *)params + members[i].offset;
        sv s = json_string(v);
        uint64_t n;
        if (members[i].kind == MEMBER_TEXT)
            memcpy(at, &s, sizeof s);
        else if (members[i].kind == MEMBER_TEXTS)
            TRY(read_texts(v, a, (struct job_texts *)(void *)at, e));
        else if (members[i].kind == MEMBER_FLAG)
            *(bool *)at = v != NULL;
        else if (sv_to_u64(json_number(v), &n))
            memcpy(at, &n, sizeof n);
    }
    uint64_t n;
    if (sv_to_u64(json_number(json_get(root, "associated")), &n))
        params->associated = (unsigned)n;
    *out = params;
    return ERR_OK;
}

err_code job_params_load(struct records *r, sv job_id, struct arena *a,
                         const struct job_export_params **out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(JOB_PARAMS_MAX);
    sv key = job_key_params(a, job_id);
    err_code rc = records_get(r, key, &b, e);
    if (rc == ERR_NOT_FOUND) {
        *out = NULL;
        return ERR_OK;
    }
    TRY(rc);
    return job_params_read(buf_sv(&b), a, out, e);
}

err_code job_erase_load(struct records *r, sv job_id, struct arena *a, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(JOB_PARAMS_MAX);
    err_code rc = records_get(r, job_key_params(a, job_id), &b, e);
    *out = SV_NONE;
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    TRY(rc);
    *out = arena_sv(a, buf_sv(&b));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

bool job_export_offers(job_export_level level, fhir_type type)
{
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    if (level == JOB_EXPORT_SYSTEM || type == patient ||
        type == fhir_type_find(SV_LIT("Provenance")))
        return type != FHIR_TYPE_NONE;
    return search_compartment(patient, type, params) != 0;
}
