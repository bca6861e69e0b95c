/* A ViewDefinition, and its rows over a few resources. What is refused has a message; a row has its
 * columns, and is a line of JSON; rows do not change when they are made again. */
#include "fuzz.h"

#include "view/view.h"

static const char *const samples[] = {
    "{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":true,\"birthDate\":\"1980-02\",\"name\":"
    "[{\"family\":\"M\"},"
    "{\"given\":[\"A\",null,\"B\"],\"_given\":[null,{\"id\":\"g\"}]}],\"contact\":[{\"name\":{"
    "\"family\":\"X\"}}]}",
    "{\"resourceType\":\"Observation\",\"id\":\"o\",\"status\":\"final\",\"valueQuantity\":{"
    "\"value\":5.40},\"component\":"
    "[{\"valueString\":\"a\"},{\"valueInteger\":2}]}",
    "{\"resourceType\":\"QuestionnaireResponse\",\"id\":\"q\",\"item\":[{\"linkId\":\"1\",\"item\":"
    "[{\"linkId\":\"2\","
    "\"answer\":[{\"valueString\":\"x\",\"item\":[{\"linkId\":\"3\"}]}]}]}]}",
};

struct seen {
    const struct view *v;
    struct arena *scratch;
    uint64_t hash, rows;
};

static err_code see(void *ctx, const struct fhirpath_list *cells, struct err *e)
{
    struct seen *s = ctx;
    struct buf b = BUF_INIT(4u << 20);
    yyjson_doc *doc;
    size_t n;
    (void)view_columns(s->v, &n);
    if (++s->rows > 1000)
        return ERR(e, ERR_TOO_LARGE, "enough");
    err_code rc = view_write_row(s->v, VIEW_CSV, cells, s->scratch, &b, e);
    if (rc == ERR_OK) {
        s->hash = sv_hash(s->hash, buf_sv(&b));
        buf_clear(&b);
        rc = view_write_row(s->v, VIEW_NDJSON, cells, s->scratch, &b, e);
    }
    if (rc == ERR_OK) {
        struct arena *a = arena_new(64u << 20);
        MUST(json_read(a, buf_sv(&b), 300, &doc, e) == ERR_OK);
        MUST(yyjson_obj_size(yyjson_doc_get_root(doc)) == n);
        arena_free(a);
    }
    buf_done(&b);
    return rc;
}

static struct seen rows(const struct view *v, yyjson_val *root)
{
    struct arena *a = arena_new(16u << 20);
    struct seen s = { .v = v, .scratch = arena_new(4u << 20) };
    struct fhirpath_run run = { .arena = a, .resource = root };
    struct err e = { 0 };
    err_code rc = view_rows(v, &run, see, &s, &e);
    MUST(rc == ERR_OK || e.msg[0]);
    MUST(rc == ERR_OK || rc == ERR_INVALID || rc == ERR_TOO_LARGE);
    arena_free(s.scratch);
    arena_free(a);
    return s;
}

FUZZ(data)
{
    struct arena *a = arena_new(VIEW_MEMORY);
    const struct view *v;
    struct err e = { 0 };
    err_code rc = view_compile(data, a, &v, &e);
    MUST(rc == ERR_OK || e.msg[0]);
    for (size_t i = 0; rc == ERR_OK && i < sizeof samples / sizeof samples[0]; i++) {
        struct arena *tree = arena_new(1u << 20);
        yyjson_doc *doc;
        MUST(json_read(tree, sv_from(samples[i]), 64, &doc, &e) == ERR_OK);
        struct seen one = rows(v, yyjson_doc_get_root(doc)),
                    two = rows(v, yyjson_doc_get_root(doc));
        MUST(one.rows == two.rows && one.hash == two.hash);
        arena_free(tree);
    }
    arena_free(a);
}
