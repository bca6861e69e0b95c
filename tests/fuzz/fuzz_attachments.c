/* Urls of Attachments made absolute: what changes was not let pass unread, the stored form stays
 * one, and a second time nothing changes. */
#include "fuzz.h"

#include "base/limits.h"
#include "codec/json.h"
#include "fhir/attachments.h"

#define BASE "http://h:8080/datastore/0a/r4"

FUZZ(data)
{
    static const struct fhir_attachments ours = { { BASE, sizeof BASE - 1 },
                                                  SV_LIT("http://in/datastore/0a/r4") };
    static struct fhir_reader *reader;
    struct buf stored = BUF_INIT(SIZE_MAX / 2), out = BUF_INIT(SIZE_MAX / 2),
               again = BUF_INIT(SIZE_MAX / 2);
    struct arena *a = arena_new(SIZE_MAX / 2);
    struct fhir_envelope env;
    struct fhir_body now, same;
    yyjson_doc *doc;
    struct err e;
    size_t n;
    if (reader == NULL)
        reader = fhir_reader_new(1u << 20);
    /* of any bytes */
    (void)fhir_attachments_may(&ours, data);
    if (fhir_envelope_read(reader, data, SV_LIT("id"), &stored, &env, &e) == ERR_OK &&
        json_read(a, env.body.json, LIMIT_RESOURCE_DEPTH, &doc, &e) == ERR_OK) {
        MUST(fhir_attachments_absolute(&ours, &env.body, yyjson_doc_get_root(doc), &out, &now, &n,
                                       &e) == ERR_OK);
        if (n == 0) {
            MUST(sv_eq(buf_sv(&out), env.body.json));
        } else {
            MUST(fhir_attachments_may(&ours, env.body.json));
            MUST(now.hole == env.body.hole && now.hole_at <= now.json.len);
            char *line = malloc(now.json.len + FHIR_SPLICE_MAX);
            size_t len = fhir_body_write(&now, UINT64_MAX, INT64_MAX, line);
            MUST(json_read(a, sv_make(line, len), 300, &doc, &e) == ERR_OK);
            yyjson_val *root = yyjson_doc_get_root(doc);
            MUST(sv_eq(json_string(json_get(root, "id")), SV_LIT("id")));
            MUST(yyjson_obj_size(json_get(root, "meta")) >= 2);
            MUST(json_read(a, now.json, LIMIT_RESOURCE_DEPTH, &doc, &e) == ERR_OK);
            MUST(fhir_attachments_absolute(&ours, &now, yyjson_doc_get_root(doc), &again, &same, &n,
                                           &e) == ERR_OK);
            MUST(n == 0 && sv_eq(buf_sv(&again), now.json));
            free(line);
        }
    }
    arena_free(a);
    buf_done(&again);
    buf_done(&out);
    buf_done(&stored);
}
