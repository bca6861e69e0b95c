/* outcome.c - issues become an OperationOutcome, and a mark inside a resource.
 *
 * The mark is put into the text, so that every other byte of it stays. The text is our stored form
 * (envelope.h): valid JSON without white space between tokens. */
#include "fhir/outcome.h"

#include "base/limits.h"
#include "fhir/definitions.h"

static void strings(struct json_writer *w, const char *name, sv one)
{
    json_key(w, name);
    json_arr(w);
    json_str(w, one);
    json_arr_end(w);
}

void fhir_issue_write(struct json_writer *w, const struct fhir_issue *i)
{
    json_obj(w);
    json_kv_str(w, "severity", sv_from(i->severity));
    json_kv_str(w, "code", sv_from(i->code));
    json_key(w, "details");
    json_obj(w);
    json_kv_str(w, "text", i->text);
    json_obj_end(w);
    json_kv_str(w, "diagnostics", i->text);
    if (i->path.len) {
        strings(w, "location", i->path);
        strings(w, "expression", i->path);
    }
    json_obj_end(w);
}

/* At least what an issue takes: its texts are ours and need few escapes. */
static size_t size_of(const struct fhir_issue *i)
{
    return 160 + 2 * (i->text.len + i->path.len);
}

void fhir_outcome_begin(struct json_writer *w, struct buf *out)
{
    json_writer_init(w, out);
    json_obj(w);
    json_kv_str(w, "resourceType", SV_LIT("OperationOutcome"));
    json_key(w, "issue");
    json_arr(w);
}

err_code fhir_outcome_end(struct json_writer *w, struct err *e)
{
    json_arr_end(w);
    json_obj_end(w);
    return json_writer_end(w, e);
}

err_code fhir_outcome_write(const struct fhir_issues *issues, size_t max_bytes, struct buf *out,
                            struct err *e)
{
    const struct fhir_issue rest = { .severity = "information",
                                     .code = "incomplete",
                                     .text = SV_LIT("There are more issues than are listed") };
    size_t start = out->len, i = 0;
    struct json_writer w;
    fhir_outcome_begin(&w, out);
    for (; i < issues->n && w.rc == ERR_OK; i++) {
        if (out->len - start + size_of(&issues->items[i]) + size_of(&rest) > max_bytes)
            break;
        fhir_issue_write(&w, &issues->items[i]);
    }
    if (i < issues->n || issues->more)
        fhir_issue_write(&w, &rest);
    return fhir_outcome_end(&w, e);
}

/* ---- places in the stored form ---- */

/* p on the opening quote; behind the closing one. */
static const char *after_string(const char *p)
{
    for (p++; *p != '"'; p++)
        p += *p == '\\';
    return p + 1;
}

static const char *after_value(const char *p)
{
    size_t depth = 0;
    do {
        if (*p == '"') {
            p = after_string(p);
            continue;
        }
        depth += *p == '{' || *p == '[';
        depth -= *p == '}' || *p == ']';
        p++;
    } while (depth || (*p != ',' && *p != '}' && *p != ']'));
    return p;
}

/* Value of the member that is spelled so, on the first level; SV_NONE when there is none. */
static sv member_text(sv json, sv name)
{
    const char *p = json.ptr + 1;
    while (*p == '"') {
        const char *key = p + 1;
        p = after_string(p);
        sv k = sv_make(key, (size_t)(p - 1 - key));
        /* behind the colon */
        const char *v = ++p;
        p = after_value(p);
        if (sv_eq(k, name))
            return sv_make(v, (size_t)(p - v));
        p += *p == ',';
    }
    return SV_NONE;
}

/* ---- the mark ---- */

static bool is_mark(yyjson_val *extension)
{
    return sv_eq(json_string(json_get(extension, "url")), SV_LIT(FHIR_VALIDATION_ISSUE_URL));
}

static err_code mark_text(sv outcome, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "url", SV_LIT(FHIR_VALIDATION_ISSUE_URL));
    json_kv_str(&w, "valueString", outcome);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

/* The array's items but former marks, then the new one. */
static err_code new_array(sv old, yyjson_val *list, sv mark, struct buf *out, struct err *e)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *item;
    const char *p = old.ptr + 1;
    TRY(buf_add_char(out, '[', e));
    while ((item = yyjson_arr_iter_next(&it)) != NULL) {
        const char *from = p;
        p = after_value(p);
        if (!is_mark(item)) {
            TRY(buf_add(out, sv_make(from, (size_t)(p - from)), e));
            TRY(buf_add_char(out, ',', e));
        }
        p += *p == ',';
    }
    TRY(buf_add(out, mark, e));
    return buf_add_char(out, ']', e);
}

/* body with the bytes of `at` replaced. at stands outside the hole. */
static err_code replace(struct fhir_body *body, sv at, sv by, struct arena *a, struct err *e)
{
    size_t from = (size_t)(at.ptr - body->json.ptr), to = from + at.len, len = body->json.len;
    char *p = arena_alloc(a, len - at.len + by.len);
    if (p == NULL)
        return arena_oom(a, e);
    memcpy(p, body->json.ptr, from);
    memcpy(p + from, by.ptr, by.len);
    memcpy(p + from + by.len, body->json.ptr + to, len - to);
    if (body->hole_at > from)
        body->hole_at = (uint32_t)(body->hole_at - at.len + by.len);
    body->json = sv_make(p, len - at.len + by.len);
    return ERR_OK;
}

static err_code put_mark(yyjson_val *list, sv mark, struct arena *a, struct fhir_body *body,
                         struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(LIMIT_RESOURCE_TEXT_BYTES);
    sv old = list ? member_text(body->json, SV_LIT("extension")) : SV_NONE;
    /* a name with escapes: nothing is worth being wrong here */
    if (list && (old.len == 0 || old.ptr[0] != '['))
        return ERR_OK;
    if (list) {
        TRY(new_array(old, list, mark, &text, e));
        return replace(body, old, buf_sv(&text), a, e);
    }
    TRY(buf_add(&text, SV_LIT(",\"extension\":["), e));
    TRY(buf_add(&text, mark, e));
    TRY(buf_add_char(&text, ']', e));
    return replace(body, sv_make(body->json.ptr + body->json.len - 1, 0), buf_sv(&text), a, e);
}

err_code fhir_issues_mark(fhir_type type, yyjson_val *root, sv outcome, struct arena *a,
                          struct fhir_body *body, struct err *e)
{
    CLEANUP_BUF struct buf mark = BUF_INIT(LIMIT_RESOURCE_TEXT_BYTES);
    yyjson_val *list = json_get(root, "extension");
    const struct fhir_structure *structure = fhir_structure_of(type);
    if (structure == NULL || fhir_member_find(structure, SV_LIT("extension")) == NULL ||
        (list && !yyjson_is_arr(list)))
        return ERR_OK;
    TRY(mark_text(outcome, &mark, e));
    return put_mark(list, buf_sv(&mark), a, body, e);
}
