/* A FHIRPath Patch, and behind a NUL a resource to apply it to beside a sample. What is refused
 * has a message and leaves nothing; what comes out is JSON, and the same when it is asked again.
 * Too little memory is an error. */
#include "fuzz.h"

#include "fhirpath/patch.h"

static const char sample[] =
    "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{\"versionId\":\"1\"},\"active\":true,"
    "\"birthDate\":\"1980-02\",\"_birthDate\":{\"extension\":[{\"url\":\"u\",\"valueDecimal\":-1."
    "50}"
    "]},\"name\":[{\"family\":\"M\xc3\xbcller\",\"given\":[\"A\",null,\"B\"],\"_given\":[null,{"
    "\"id\":\"g\"}]}],\"contained\":[{\"resourceType\":\"Observation\",\"id\":\"o\","
    "\"valueQuantity\":{\"value\":5.40}}],\"multipleBirthInteger\":2}";

static size_t apply(yyjson_val *target, yyjson_val *patch, size_t budget, err_code *rc)
{
    const struct fhirpath_patch_limits limits = { .depth = 64, .memory_bytes = budget };
    struct arena *a = arena_new(budget);
    struct buf out = BUF_INIT(1u << 20);
    struct err e = { 0 };
    *rc = fhirpath_patch(target, patch, a, &limits, &out, &e);
    MUST(*rc == ERR_OK || (e.msg[0] && out.len == 0));
    MUST(*rc == ERR_OK || *rc == ERR_INVALID || *rc == ERR_UNPROCESSABLE || *rc == ERR_TOO_LARGE);
    arena_free(a);
    if (*rc == ERR_OK) {
        yyjson_doc *doc;
        struct arena *again = arena_new(json_tree_max(out.len));
        MUST(json_read(again, buf_sv(&out), 64, &doc, &e) == ERR_OK);
        arena_free(again);
    }
    size_t hash = (size_t)sv_hash(0, buf_sv(&out));
    buf_done(&out);
    return hash;
}

static void look(yyjson_val *patch, sv text)
{
    struct arena *a = arena_new(8u << 20);
    yyjson_doc *doc;
    struct err e;
    err_code one, two;
    if (json_read(a, text, 64, &doc, &e) == ERR_OK) {
        yyjson_val *target = yyjson_doc_get_root(doc);
        size_t x = apply(target, patch, 8u << 20, &one), y = apply(target, patch, 8u << 20, &two);
        MUST(one == two && x == y);
        (void)apply(target, patch, 3000, &one);
    }
    arena_free(a);
}

FUZZ(data)
{
    size_t end = sv_find(data, 0);
    struct arena *a = arena_new(8u << 20);
    yyjson_doc *doc;
    struct err e;
    if (json_read(a, sv_head(data, end), 64, &doc, &e) == ERR_OK) {
        look(yyjson_doc_get_root(doc), SV_LIT(sample));
        if (end < data.len)
            look(yyjson_doc_get_root(doc), sv_tail(data, end + 1));
    }
    arena_free(a);
}
