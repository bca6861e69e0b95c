/* export_plan.c - which ranges an export consists of, written down before any of them runs. */
#include "job/export.h"

#include "codec/json.h"

static err_code write_plan(struct job_run *r, const struct export_plan *plan, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(EXPORT_PLAN_MAX);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_arr(&w);
    for (size_t i = 0; i < plan->n; i++) {
        json_obj(&w);
        json_kv_str(&w, "type", sv_from(fhir_type_name(plan->ranges[i].type)));
        json_kv_str(&w, "from", plan->ranges[i].from_id);
        json_kv_str(&w, "to", plan->ranges[i].to_id);
        json_obj_end(&w);
    }
    json_arr_end(&w);
    TRY(json_writer_end(&w, e));
    return job_run_note_put(r, SV_LIT("plan"), buf_sv(&b), e);
}

err_code export_plan_read(struct job_run *r, struct arena *a, struct export_plan *plan,
                          struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(EXPORT_PLAN_MAX);
    yyjson_doc *doc;
    TRY(job_run_note_get(r, SV_LIT("plan"), &b, e));
    sv text = arena_sv(a, buf_sv(&b));
    if (text.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, text, 3, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "the export's plan is damaged");
    yyjson_val *root = yyjson_doc_get_root(doc), *v;
    size_t n = yyjson_arr_size(root);
    struct store_range *ranges = arena_calloc(a, n + 1, sizeof *ranges);
    bool *done = arena_calloc(a, n + 1, sizeof *done);
    if (ranges == NULL || done == NULL)
        return arena_oom(a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(root);
    for (size_t i = 0; (v = yyjson_arr_iter_next(&it)) != NULL; i++)
        ranges[i] = (struct store_range){ fhir_type_find(json_string(json_get(v, "type"))),
                                          json_string(json_get(v, "from")),
                                          json_string(json_get(v, "to")) };
    *plan = (struct export_plan){ ranges, done, n };
    return ERR_OK;
}

err_code export_plan_make(struct job_run *r, size_t object_bytes, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(EXPORT_PLAN_MAX);
    CLEANUP_BUF struct buf all = BUF_INIT(EXPORT_PLAN_MAX);
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        struct store_range *ranges;
        size_t n;
        TRY(store_plan(r->store, (fhir_type)t, object_bytes, a, &ranges, &n, e));
        TRY(buf_add(&all, sv_make(ranges, n * sizeof *ranges), e));
    }
    struct export_plan plan = { .ranges = (struct store_range *)(void *)all.ptr,
                                .n = all.len / sizeof(struct store_range) };
    return write_plan(r, &plan, e);
}
