/* served_run.h - resources written one by one, and served exports of them run to their end. */
#pragma once
#include "job/fixture.h"

#include "codec/json.h"
#include "export/export_private.h"

static void put_text(struct store *st, const char *text, struct store_commit *at)
{
    CLEANUP(fhir_reader_free) struct fhir_reader *r = fhir_reader_new(1 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20), index = BUF_INIT(1 << 20);
    struct fhir_envelope env;
    OK(fhir_envelope_read(r, sv_from(text), SV_NONE, &b, &env, e));
    OK(search_index(env.type, fhir_reader_root(r), &index, e));
    struct store_write w = { .type = env.type,
                             .id = env.id,
                             .method = STORE_METHOD_UPDATE,
                             .body = env.body,
                             .index = buf_sv(&index) };
    OK(store_commit(st, &w, 1, at, e));
}

static void put_fmt(struct store *st, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void put_fmt(struct store *st, const char *fmt, ...)
{
    char text[2048];
    struct store_commit at;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    put_text(st, text, &at);
}

/* Run it; all files as "== name\n" and content, and the manifest. */
static struct job run(struct fx *f, const struct job_export_params *params, struct arena *a,
                      struct buf *tree, yyjson_val **manifest)
{
    struct job_export_params p = *params;
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    struct job j;
    struct buf b = BUF_INIT(16 << 20);
    bool complete;
    yyjson_doc *doc;
    char dir[256];
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    p.served = true;
    q.params = &p;
    OK(job_submit(f->engine, &q, a, &j, e));
    j = fx_wait(f, JOB_EXPORT, j.id, a);
    if (j.status != JOB_COMPLETED)
        fail_msg("%.*s", SV_FMT(j.message));
    OK(job_export_manifest(f->engine, FX_STORE, j.id, &b, &complete, e));
    OK(json_read(a, arena_sv(a, buf_sv(&b)), 8, &doc, e));
    buf_done(&b);
    *manifest = yyjson_doc_get_root(doc);
    (void)snprintf(dir, sizeof dir, "%s/%.*s", f->served, SV_FMT(j.id));
    buf_clear(tree);
    fx_tree_below(dir, "", tree);
    OK(buf_add_char(tree, 0, e));
    return j;
}

static bool has(const struct buf *tree, const char *text)
{
    return strstr(tree->ptr, text) != NULL;
}

static bool has_id(const struct buf *tree, const char *type, const char *id)
{
    char text[128];
    (void)snprintf(text, sizeof text, "{\"resourceType\":\"%s\",\"id\":\"%s\"", type, id);
    return has(tree, text);
}

static uint64_t number(yyjson_val *obj, const char *name)
{
    uint64_t n = UINT64_MAX;
    (void)!sv_to_u64(json_number(json_get(obj, name)), &n);
    return n;
}

/* Two Patients, Groups, Observations, an Organization, and Provenance about them. */
static void put_sample(struct fx *f)
{
    static const char *const texts[] = {
        "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"active\":true,\"gender\":\"male\","
        "\"birthDate\":\"1970-01-01\","
        "\"_birthDate\":{\"id\":\"x\"},\"modifierExtension\":[{\"url\":\"u\",\"valueCode\":\"c\"}]"
        "}",
        "{\"resourceType\":\"Patient\",\"id\":\"p2\",\"active\":false}",
        "{\"resourceType\":\"Group\",\"id\":\"g\",\"type\":\"person\",\"actual\":true,\"member\":[{"
        "\"entity\":{\"reference\":\"Patient/p1\"}},{\"entity\":{\"reference\":\"Patient/p2\"},"
        "\"inactive\":true},{\"entity\":{\"reference\":\"Device/p2\"}}]}",
        "{\"resourceType\":\"Group\",\"id\":\"empty\",\"type\":\"person\",\"actual\":true}",
        "{\"resourceType\":\"Observation\",\"id\":\"o1\",\"status\":\"final\",\"code\":{\"text\":"
        "\"a\"},\"valueQuantity\":{\"value\":1.50},\"subject\":{\"reference\":\"Patient/p1\"}}",
        "{\"resourceType\":\"Observation\",\"id\":\"o2\",\"status\":\"final\",\"code\":{\"text\":"
        "\"a\"},\"subject\":{\"reference\":\"Patient/p2\"}}",
        "{\"resourceType\":\"Organization\",\"id\":\"org\",\"name\":\"n\"}",
        "{\"resourceType\":\"Provenance\",\"id\":\"v1\",\"recorded\":\"2020-01-01T00:00:00Z\","
        "\"target\":[{\"reference\":\"Observation/o1\"}]}",
        "{\"resourceType\":\"Provenance\",\"id\":\"v2\",\"recorded\":\"2021-01-01T00:00:00Z\","
        "\"target\":[{\"reference\":\"Observation/o1\"}]}",
        "{\"resourceType\":\"Provenance\",\"id\":\"v3\",\"recorded\":\"2022-01-01T00:00:00Z\","
        "\"target\":[{\"reference\":\"Organization/org\"}]}",
    };
    struct store *st = fx_store(f);
    struct store_commit c;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        put_text(st, texts[i], &c);
    store_registry_release(f->stores, st);
}
