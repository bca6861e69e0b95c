/* outcome_line.c - the lines of SUCCESS, FAILURE and SUCCESS_WITH_SEARCH_VALIDATION_FAILURES.
 *
 *   {"lineId":7,"UpdateResourceResponse":{"jsonBlob":RESOURCE,"statusCode":200}}
 *   {"lineId":8,"UpdateResourceResponse":{"jsonBlob":OUTCOME,"statusCode":400}}
 *   {"lineId":9,"resourceType":"Patient","resourceId":"p",
 *    "UpdateResourceResponse":{"jsonBlob":OUTCOME,"statusCode":200}}
 *
 * RESOURCE has the type and the id alone, OUTCOME is an OperationOutcome. Each is one line.
 * Source: HealthLake "Importing FHIR data", the output manifest. */
#include "import/import_private.h"

#include "codec/json.h"
#include "fhir/outcome.h"

static char *put(char *p, sv text)
{
    memcpy(p, text.ptr, text.len);
    return p + text.len;
}
#define PUT(p, lit) put((p), SV_LIT(lit))

/* Type and id are legal, so nothing needs escaping. */
err_code import_line_success(struct buf *out, uint64_t line, fhir_type type, sv id, struct err *e)
{
    sv name = sv_from(fhir_type_name(type));
    TRY(buf_reserve(out, 160 + name.len + id.len, e));
    char *p = out->ptr + out->len;
    char digits[24];
    size_t n = 0;
    do
        digits[sizeof digits - ++n] = (char)('0' + line % 10);
    while (line /= 10);
    p = PUT(p, "{\"lineId\":");
    p = put(p, sv_make(digits + sizeof digits - n, n));
    p = PUT(p, ",\"UpdateResourceResponse\":{\"jsonBlob\":{\"resourceType\":\"");
    p = put(p, name);
    p = PUT(p, "\",\"id\":\"");
    p = put(p, id);
    p = PUT(p, "\"},\"statusCode\":200}}\n");
    out->len = (size_t)(p - out->ptr);
    return ERR_OK;
}

/* From jsonBlob to the end of the line. */
static err_code finish(struct json_writer *w, sv outcome, int status, struct err *e)
{
    json_key(w, "UpdateResourceResponse");
    json_obj(w);
    json_key(w, "jsonBlob");
    json_raw(w, outcome);
    json_kv_i64(w, "statusCode", status);
    json_obj_end(w);
    json_obj_end(w);
    TRY(json_writer_end(w, e));
    return buf_add_char(w->out, '\n', e);
}

static void begin(struct json_writer *w, struct buf *out, uint64_t line)
{
    json_writer_init(w, out);
    json_obj(w);
    json_kv_i64(w, "lineId", (int64_t)line);
}

/* An outcome with one issue. */
static err_code one_issue(struct buf *out, const char *severity, const char *code, sv text,
                          struct err *e)
{
    struct json_writer w;
    fhir_outcome_begin(&w, out);
    json_obj(&w);
    json_kv_str(&w, "severity", sv_from(severity));
    json_kv_str(&w, "code", sv_from(code));
    json_kv_str(&w, "diagnostics", text);
    json_obj_end(&w);
    return fhir_outcome_end(&w, e);
}

/* What is wrong before there is a resource: HealthLake's short form of an issue. */
err_code import_line_failure(struct buf *out, uint64_t line, const char *why, struct err *e)
{
    CLEANUP_BUF struct buf outcome = BUF_INIT(4096);
    struct json_writer w;
    TRY(one_issue(&outcome, "error", "processing", sv_from(why), e));
    begin(&w, out, line);
    return finish(&w, buf_sv(&outcome), 400, e);
}

err_code import_line_more(struct buf *out, uint64_t line, uint64_t left, import_kind kind,
                          struct err *e)
{
    CLEANUP_BUF struct buf outcome = BUF_INIT(4096);
    char text[160];
    struct json_writer w;
    (void)snprintf(text, sizeof text,
                   "%llu more lines from this one on are not written: they are too many",
                   (unsigned long long)left);
    TRY(one_issue(&outcome, "information", "incomplete", sv_from(text), e));
    begin(&w, out, line);
    return finish(&w, buf_sv(&outcome), kind == IMPORT_FAILURE ? 400 : 200, e);
}

err_code import_line_invalid(struct buf *out, uint64_t line, sv outcome, struct err *e)
{
    struct json_writer w;
    begin(&w, out, line);
    return finish(&w, outcome, 400, e);
}

err_code import_line_issues(struct buf *out, uint64_t line, fhir_type type, sv id, sv outcome,
                            struct err *e)
{
    struct json_writer w;
    begin(&w, out, line);
    json_kv_str(&w, "resourceType", sv_from(fhir_type_name(type)));
    json_kv_str(&w, "resourceId", id);
    return finish(&w, outcome, 200, e);
}
