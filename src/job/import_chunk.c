/* import_chunk.c - a chunk's lines become a bulk load; what cannot become one is said line by line. */
#include "job/import.h"

#include "base/limits.h"
#include "codec/json.h"
#include "codec/ndjson.h"

#define OUTCOME_MAX (SIZE_MAX / 2)

void import_chunk_init(struct import_chunk *c, struct job_run *r, struct fhir_reader **readers)
{
    *c = (struct import_chunk){ .run = r, .readers = readers };
    buf_init(&c->text, SIZE_MAX / 2);
    buf_init(&c->segments, SIZE_MAX / 2);
    buf_init(&c->stored, SIZE_MAX / 2);
    buf_init(&c->items, SIZE_MAX / 2);
    buf_init(&c->index, SIZE_MAX / 2);
    buf_init(&c->success, OUTCOME_MAX);
    buf_init(&c->failure, OUTCOME_MAX);
}

void import_chunk_done(struct import_chunk *c)
{
    buf_done(&c->text);
    buf_done(&c->segments);
    buf_done(&c->stored);
    buf_done(&c->items);
    buf_done(&c->index);
    buf_done(&c->success);
    buf_done(&c->failure);
    store_bulk_abort(c->bulk);
    c->bulk = NULL;
}

void import_chunk_reset(struct import_chunk *c)
{
    size_t keep = c->run->import_chunk_bytes * 2; /* a giant line's memory is given back */
    buf_shrink(&c->text, keep);
    buf_shrink(&c->stored, keep);
    buf_shrink(&c->items, keep);
    buf_shrink(&c->index, keep);
    buf_shrink(&c->success, keep);
    buf_shrink(&c->failure, keep);
    buf_clear(&c->segments);
    store_bulk_abort(c->bulk);
    c->bulk = NULL;
    c->scanned = c->imported = c->rejected = c->imported_bytes = 0;
    c->rc = ERR_OK;
    c->finished = false;
}

static char *put(char *p, sv text)
{
    memcpy(p, text.ptr, text.len);
    return p + text.len;
}
#define PUT(p, lit) put((p), SV_LIT(lit))

/* {"lineId":7,"UpdateResourceResponse":{"jsonBlob":{"resourceType":"Patient","id":"p"},"statusCode":200}}
 * Type and id are legal, so nothing needs escaping. */
static err_code success_line(struct import_chunk *c, uint64_t line, const struct fhir_envelope *env,
                             struct err *e)
{
    sv type = sv_from(fhir_type_name(env->type));
    TRY(buf_reserve(&c->success, 160 + type.len + env->id.len, e));
    char *p = c->success.ptr + c->success.len;
    char digits[24];
    int n = 0;
    do
        digits[sizeof digits - 1 - (size_t)n++] = (char)('0' + line % 10);
    while (line /= 10);
    p = PUT(p, "{\"lineId\":");
    p = put(p, sv_make(digits + sizeof digits - (size_t)n, (size_t)n));
    p = PUT(p, ",\"UpdateResourceResponse\":{\"jsonBlob\":{\"resourceType\":\"");
    p = put(p, type);
    p = PUT(p, "\",\"id\":\"");
    p = put(p, env->id);
    p = PUT(p, "\"},\"statusCode\":200}}\n");
    c->success.len = (size_t)(p - c->success.ptr);
    return ERR_OK;
}

static err_code failure_line(struct import_chunk *c, uint64_t line, const char *why, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, &c->failure);
    json_obj(&w);
    json_kv_i64(&w, "lineId", (int64_t)line);
    json_key(&w, "UpdateResourceResponse");
    json_obj(&w);
    json_key(&w, "jsonBlob");
    json_obj(&w);
    json_kv_str(&w, "resourceType", SV_LIT("OperationOutcome"));
    json_key(&w, "issue");
    json_arr(&w);
    json_obj(&w);
    json_kv_str(&w, "severity", SV_LIT("error"));
    json_kv_str(&w, "code", SV_LIT("processing"));
    json_kv_str(&w, "diagnostics", sv_from(why));
    json_obj_end(&w);
    json_arr_end(&w);
    json_obj_end(&w);
    json_kv_i64(&w, "statusCode", 400);
    json_obj_end(&w);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    c->rejected++;
    return buf_add_char(&c->failure, '\n', e);
}

static bool is_blank(sv line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.ptr[i] != ' ' && line.ptr[i] != '\t' && line.ptr[i] != '\r')
            return false;
    return true;
}

static err_code parse_line(struct import_chunk *c, struct fhir_reader *reader, uint64_t number,
                           sv line, struct err *e)
{
    struct fhir_envelope env;
    struct err why;
    c->scanned++;
    if (fhir_envelope_read(reader, line, SV_NONE, &c->stored, &env, &why) != ERR_OK)
        return failure_line(c, number, why.msg, e);
    size_t index_at = c->index.len;
    TRY(search_index(env.type, fhir_reader_root(reader), &c->index, e));
    struct store_bulk_item item = { .type = env.type,
                                    .id = env.id,
                                    .body = env.body,
                                    .index = { NULL, c->index.len - index_at },
                                    .seq = c->imported };
    TRY(buf_add(&c->items, sv_make(&item, sizeof item), e));
    c->imported++;
    c->imported_bytes += line.len + 1;
    return success_line(c, number, &env, e);
}

static err_code parse_segment(struct import_chunk *c, struct fhir_reader *reader,
                              struct import_segment *s, sv text, struct err *e)
{
    sv rest = text, line;
    uint64_t number = s->first_line;
    for (; ndjson_line(&rest, &line); number++) {
        if (!is_blank(line))
            TRY(parse_line(c, reader, number, line, e));
        if ((number & 255) == 0 && job_run_should_stop(c->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
    }
    if (s->long_line) {
        c->scanned++;
        TRY(failure_line(c, number, "Resource is larger than the limit of 172 MiB", e));
    }
    if (s->unreadable[0]) {
        TRY(failure_line(c, number, s->unreadable, e));
        c->rejected--; /* the file is at fault, and counted as one, not a resource */
    }
    s->success_end = c->success.len;
    s->failure_end = c->failure.len;
    return ERR_OK;
}

static err_code parse(struct import_chunk *c, struct fhir_reader *reader, struct err *e)
{
    struct import_segment *s = (struct import_segment *)(void *)c->segments.ptr;
    sv text = buf_sv(&c->text);
    /* the stored form is never longer than the text: with this room it never moves, and items may point
     * into it */
    TRY(buf_reserve(&c->stored, c->text.len + 4096, e));
    for (size_t i = 0; i < c->segments.len / sizeof *s; i++) {
        TRY(parse_segment(c, reader, &s[i], sv_head(text, s[i].text_len), e));
        text = sv_tail(text, s[i].text_len);
    }
    struct store_bulk_item *items = (struct store_bulk_item *)(void *)c->items.ptr;
    size_t n = c->items.len / sizeof *items;
    const char *index = c->index.ptr; /* it moves no more: say where each one's entries stand */
    for (size_t i = 0; i < n; index += items[i++].index.len)
        items[i].index.ptr = index;
    TRY(store_bulk_begin(c->run->store, &c->bulk, e));
    return store_bulk_fill(c->bulk, items, n, e);
}

void import_chunk_parse(struct import_chunk *c, unsigned worker)
{
    if (c->readers[worker] == NULL)
        c->readers[worker] = fhir_reader_new(LIMIT_IMPORT_LINE_BYTES);
    c->rc = parse(c, c->readers[worker], &c->err);
}
