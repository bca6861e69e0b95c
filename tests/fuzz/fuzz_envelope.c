/* A resource into its stored form: never more bytes than came in, and JSON again when the hole is
 * filled. */
#include "fuzz.h"

#include "codec/json.h"
#include "fhir/envelope.h"

FUZZ(data)
{
    static struct fhir_reader *reader;
    struct buf dst = BUF_INIT(SIZE_MAX / 2);
    struct fhir_envelope env;
    struct err e;
    if (reader == NULL)
        reader = fhir_reader_new(1u << 20);
    sv id = data.len & 1 ? SV_LIT("new-id") : SV_NONE;
    if (fhir_envelope_read(reader, data, id, &dst, &env, &e) == ERR_OK) {
        MUST(env.type != FHIR_TYPE_NONE && fhir_id_ok(env.id));
        MUST(env.body.hole_at <= env.body.json.len);
        MUST(id.len || env.body.json.len <= data.len);
        char *out = malloc(env.body.json.len + FHIR_SPLICE_MAX);
        size_t n = fhir_body_write(&env.body, UINT64_MAX, INT64_MAX, out);
        struct arena *a = arena_new(SIZE_MAX / 2);
        yyjson_doc *doc;
        MUST(json_read(a, sv_make(out, n), 300, &doc, &e) == ERR_OK);
        yyjson_val *root = yyjson_doc_get_root(doc);
        MUST(sv_eq(json_string(json_get(root, "id")), env.id));
        MUST(yyjson_obj_size(json_get(root, "meta")) >= 2);
        arena_free(a);
        free(out);
    } else {
        MUST(dst.len == 0);
    }
    buf_done(&dst);
}
