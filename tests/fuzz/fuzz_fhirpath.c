/* An expression, and behind a NUL a resource to run it over beside a sample. What is refused has a
 * place within the expression and a message; an answer does not change when it is asked again, and
 * too little memory is an error. */
#include "fuzz.h"

#include "fhirpath/fhirpath.h"

static const char sample[] =
    "{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":true,\"birthDate\":\"1980-02\",\"_"
    "birthDate\":"
    "{\"extension\":[{\"url\":\"u\",\"valueDecimal\":-1.50}]},\"name\":[{\"family\":"
    "\"M\xc3\xbcller\",\"given\":"
    "[\"A\",null,\"B\"],\"_given\":[null,{\"id\":\"g\"}]}],\"contained\":[{\"resourceType\":"
    "\"Observation\",\"id\":"
    "\"o\",\"valueQuantity\":{\"value\":5.40,\"code\":\"mg\",\"system\":\"http://"
    "unitsofmeasure.org\"}}],"
    "\"managingOrganization\":{\"reference\":\"#o\"},\"multipleBirthInteger\":2}";

static size_t run(const struct fhirpath *path, yyjson_val *root, size_t budget, err_code *rc)
{
    struct arena *a = arena_new(budget);
    struct fhirpath_run r = { .arena = a, .resource = root, .now_ms = 0, .steps = 20000 };
    struct fhirpath_list l = { 0 };
    struct err e = { 0 };
    *rc = fhirpath_eval(path, &r, NULL, &l, &e);
    MUST(*rc == ERR_OK || e.msg[0]);
    MUST(*rc == ERR_OK || *rc == ERR_INVALID || *rc == ERR_TOO_LARGE);
    struct buf b = BUF_INIT(16u << 20);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_arr(&w);
    for (size_t i = 0; i < l.n; i++) {
        (void)fhirpath_text(&l.items[i], a);
        fhirpath_write(&w, &l.items[i], a);
        struct buf place = BUF_INIT(1u << 20);
        if (l.items[i].kind == FHIRPATH_NODE && l.items[i].json)
            MUST(fhirpath_locate(root, l.items[i].json, &place, &e) == ERR_OK);
        buf_done(&place);
    }
    json_arr_end(&w);
    size_t hash = (size_t)sv_hash(0, buf_sv(&b));
    buf_done(&b);
    arena_free(a);
    return hash;
}

static void look(const struct fhirpath *path, sv text)
{
    struct arena *a = arena_new(16u << 20);
    yyjson_doc *doc;
    struct err e;
    err_code one, two;
    if (json_read(a, text, 64, &doc, &e) == ERR_OK) {
        yyjson_val *root = yyjson_doc_get_root(doc);
        size_t x = run(path, root, 16u << 20, &one), y = run(path, root, 16u << 20, &two);
        MUST(one == two && x == y);
        (void)run(path, root, 2000, &one);
    }
    arena_free(a);
}

FUZZ(data)
{
    sv expression = data, resource = SV_NONE;
    size_t end = sv_find(data, 0);
    if (end < data.len) {
        expression = sv_head(data, end);
        resource = sv_tail(data, end + 1);
    }
    struct arena *a = arena_new(16u << 20);
    const struct fhirpath *path;
    struct fhirpath_place where;
    struct err e = { 0 };
    if (fhirpath_compile(expression, NULL, a, &path, &where, &e) == ERR_OK) {
        look(path, SV_LIT(sample));
        if (resource.len)
            look(path, resource);
    } else {
        MUST(e.msg[0] && where.offset <= expression.len && where.line && where.column);
    }
    arena_free(a);
}
