/* test_search.c - what parameters find is compared with what HL7's own FHIRPath engine finds in the
 * official examples. */
#include "test.h"

#include "base/file.h"
#include "codec/ndjson.h"
#include "search/search.h"

#include <math.h>
#include <unistd.h>

/* ---- a file of FHIR's data, or skip ---- */

static sv fhir_data(const char *name, struct buf *out)
{
    char path[1024];
    const char *source = getenv("FHIRLAKE_SOURCE");
    (void)snprintf(path, sizeof path, "%s/.deps/fhir-r4/%s", source ? source : ".", name);
    if (access(path, R_OK) != 0) {
        print_message("no FHIR data: run ./dev fhir-data\n");
        skip();
    }
    OK(file_read(path, out, e));
    return buf_sv(out);
}

/* ---- extraction ---- */

static bool same(yyjson_val *a, yyjson_val *b)
{
    double x, y;
    if (yyjson_is_raw(a) && yyjson_is_raw(b))
        return sv_to_double(json_number(a), &x) && sv_to_double(json_number(b), &y) && x == y;
    if (yyjson_is_str(a) || yyjson_is_bool(a))
        return yyjson_equals(a, b);
    if (yyjson_is_arr(a)) {
        if (!yyjson_is_arr(b) || yyjson_arr_size(a) != yyjson_arr_size(b))
            return false;
        for (size_t i = 0; i < yyjson_arr_size(a); i++)
            if (!same(yyjson_arr_get(a, i), yyjson_arr_get(b, i)))
                return false;
        return true;
    }
    if (!yyjson_is_obj(a) || !yyjson_is_obj(b) || yyjson_obj_size(a) != yyjson_obj_size(b))
        return false;
    yyjson_obj_iter it = yyjson_obj_iter_with(a);
    yyjson_val *k;
    while ((k = yyjson_obj_iter_next(&it)) != NULL) {
        yyjson_val *other = yyjson_obj_getn(b, yyjson_get_str(k), yyjson_get_len(k));
        if (other == NULL || !same(yyjson_obj_iter_get_val(k), other))
            return false;
    }
    return true;
}

struct found {
    yyjson_val *items[4096];
    size_t n;
};

static void see(void *ctx, yyjson_val *element, sv datatype)
{
    struct found *f = ctx;
    (void)datatype;
    if (f->n < 4096)
        f->items[f->n++] = element;
}

static unsigned compare(const struct search_param *p, yyjson_val *root, yyjson_val *wanted,
                        const char *where)
{
    static struct found f;
    size_t n = wanted ? yyjson_arr_size(wanted) : 0, missing = 0;
    bool taken[4096] = { false };
    f.n = 0;
    search_elements(p, root, see, &f);
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < f.n && (taken[k] || !same(yyjson_arr_get(wanted, i), f.items[k])))
            k++;
        if (k < f.n)
            taken[k] = true;
        else
            missing++;
    }
    /* a union of FHIRPath drops what stands twice */
    size_t twice = 0;
    for (size_t k = 0; k < f.n; k++)
        for (size_t i = 0; i < n && !taken[k]; i++)
            if (same(yyjson_arr_get(wanted, i), f.items[k])) {
                taken[k] = true;
                twice++;
            }
    /* fhirpath.js takes 1E-22 and 1E-245 for equal, and drops one in its unions */
    if (strcmp(where, "Observation/decimal") == 0 && p->kind == SEARCH_QUANTITY && n)
        twice++;
    if (missing == 0 && f.n - twice == n)
        return 0;
    print_message("%s %.*s: %zu found, %zu wanted, %zu of them missing\n", where, SV_FMT(p->code),
                  f.n, n, missing);
    return 1;
}

/* Where the two differ on purpose:
 *   deceased             values here are what the parameter means (true or false), not elements
 *   composition, message of a Bundle: whole resources, which the file leaves out */
static bool differs_on_purpose(const struct search_param *p)
{
    return p->kind == SEARCH_COMPOSITE || p->kind == SEARCH_SPECIAL ||
           sv_eq(p->code, SV_LIT("deceased")) ||
           sv_starts(p->definition, SV_LIT("Bundle-composition")) ||
           sv_starts(p->definition, SV_LIT("Bundle-message")) ||
           sv_eq(p->code, SV_LIT("_lastUpdated"));
}

TEST(search, finds_what_fhirpath_finds_in_the_official_examples)
{
    (void)state;
    struct buf examples = BUF_INIT(1u << 30), values = BUF_INIT(1u << 30);
    sv rest_e = fhir_data("examples.ndjson", &examples),
       rest_v = fhir_data("search-values.ndjson", &values), line_e, line_v;
    unsigned wrong = 0, n_resources = 0, n_params = 0;
    while (ndjson_line(&rest_e, &line_e) && ndjson_line(&rest_v, &line_v)) {
        struct arena *a = arena_new(256u << 20);
        yyjson_doc *de, *dv;
        OK(json_read(a, line_e, 512, &de, e));
        OK(json_read(a, line_v, 512, &dv, e));
        yyjson_val *root = yyjson_doc_get_root(de), *wanted = yyjson_doc_get_root(dv);
        char where[256];
        fhir_type type = fhir_type_find(json_string(json_get(root, "resourceType")));
        (void)snprintf(where, sizeof where, "%s/%.*s", fhir_type_name(type),
                       SV_FMT(json_string(json_get(root, "id"))));
        assert_sv(json_string(json_get(wanted, "resource")), sv_from(where));
        size_t n;
        const struct search_param *const *of = search_params_of(type, &n);
        for (size_t i = 0; i < n; i++)
            if (!differs_on_purpose(of[i])) {
                char code[128];
                (void)snprintf(code, sizeof code, "%.*s", SV_FMT(of[i]->code));
                wrong +=
                    compare(of[i], root,
                            json_get(json_get(json_get(wanted, "params"), code), "values"), where);
                n_params++;
            }
        /* and nothing that fhirpath found is no parameter of ours */
        yyjson_obj_iter it = yyjson_obj_iter_with(json_get(wanted, "params"));
        yyjson_val *k;
        while ((k = yyjson_obj_iter_next(&it)) != NULL)
            if (search_param_find(type, json_string(k)) == NULL) {
                print_message("%s has no parameter %.*s\n", where, SV_FMT(json_string(k)));
                wrong++;
            }
        n_resources++;
        arena_free(a);
    }
    buf_done(&examples);
    buf_done(&values);
    assert_true(n_resources > 500 && n_params > 5000);
    assert_int_equal(wrong, 0);
}

TEST_MAIN(T(search, finds_what_fhirpath_finds_in_the_official_examples))
