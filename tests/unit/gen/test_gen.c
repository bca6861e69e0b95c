/* The synthetic population: the same whenever it is made, valid, and with every reference led
 * to. */
#include "test.h"

#include "codec/json.h"
#include "fhir/links.h"
#include "fhir/validate.h"
#include "gen/gen.h"

#define PATIENTS  7u
#define UNIT_MAX  (64u << 20)
#define NAMES_MAX 20000u

static void unit(uint64_t seed, uint64_t index, struct buf *out)
{
    struct gen *g;
    OK(gen_new(seed, PATIENTS, &g, e));
    OK(gen_unit(g, index, out, e));
    gen_free(g);
}

TEST(gen, a_unit_is_a_function_of_seed_and_number_alone)
{
    (void)state;
    struct buf alone = BUF_INIT(UNIT_MAX), after = BUF_INIT(UNIT_MAX), other = BUF_INIT(UNIT_MAX);
    struct gen *g;
    unit(1, 5, &alone);
    OK(gen_new(1, PATIENTS, &g, e));
    for (uint64_t i = 0; i <= 5; i++) {
        buf_clear(&after);
        OK(gen_unit(g, i, &after, e));
    }
    gen_free(g);
    unit(2, 5, &other);
    assert_int_equal(alone.len, after.len);
    assert_memory_equal(alone.ptr, after.ptr, alone.len);
    assert_false(sv_eq(buf_sv(&alone), buf_sv(&other)));
    buf_done(&alone);
    buf_done(&after);
    buf_done(&other);
}

TEST(gen, numbers_of_patients_and_of_units_have_bounds)
{
    (void)state;
    struct gen *g = NULL;
    struct buf out = BUF_INIT(UNIT_MAX);
    FAILS(ERR_INVALID, gen_new(1, 0, &g, e));
    FAILS(ERR_INVALID, gen_new(1, GEN_PATIENTS_MAX + 1, &g, e));
    OK(gen_new(1, PATIENTS, &g, e));
    assert_int_equal(gen_n_units(g), PATIENTS + 1);
    FAILS(ERR_INVALID, gen_unit(g, PATIENTS + 1, &out, e));
    gen_free(g);
    buf_done(&out);
}

TEST(gen, a_unit_that_has_no_room_adds_nothing)
{
    (void)state;
    struct gen *g;
    struct buf out = BUF_INIT(1000);
    OK(buf_add(&out, SV_LIT("x"), e));
    OK(gen_new(1, PATIENTS, &g, e));
    FAILS(ERR_TOO_LARGE, gen_unit(g, 0, &out, e));
    assert_int_equal(out.len, 1);
    gen_free(g);
    buf_done(&out);
}

static int by_text(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

struct led {
    const sv *names;
    size_t n;
};

static err_code leads_somewhere(void *ctx, fhir_link_kind kind, sv text, sv *out, struct err *e)
{
    const struct led *l = ctx;
    (void)out;
    if (kind == FHIR_LINK_REFERENCE && bsearch(&text, l->names, l->n, sizeof text, by_text) == NULL)
        return ERR(e, ERR_NOT_FOUND, "%.*s is nowhere", SV_FMT(text));
    return ERR_OK;
}

TEST(gen, every_resource_is_valid_and_every_reference_leads_to_one)
{
    (void)state;
    struct buf all = BUF_INIT(UNIT_MAX);
    struct arena *a = arena_new(64u << 20), *names_mem = arena_new(64u << 20);
    sv *names = calloc(NAMES_MAX, sizeof *names), rest, line;
    size_t n = 0;
    assert_non_null(names);
    for (uint64_t i = 0; i <= PATIENTS; i++)
        unit(3, i, &all);
    for (rest = buf_sv(&all); rest.len && sv_cut(&rest, '\n', &line); n++) {
        yyjson_doc *doc;
        assert_in_range(n, 0, NAMES_MAX - 1);
        arena_reset(a);
        OK(json_read(a, line, 64, &doc, e));
        yyjson_val *root = yyjson_doc_get_root(doc);
        names[n] =
            arena_fmt(names_mem, "%.*s/%.*s", SV_FMT(json_string(json_get(root, "resourceType"))),
                      SV_FMT(json_string(json_get(root, "id"))));
    }
    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 1; i < n; i++)
        if (sv_eq(names[i - 1], names[i]))
            fail_msg("%.*s stands twice", SV_FMT(names[i]));
    struct led led = { names, n };
    for (rest = buf_sv(&all); rest.len && sv_cut(&rest, '\n', &line);) {
        yyjson_doc *doc;
        struct fhir_links links = { .fn = leads_somewhere, .ctx = &led };
        arena_reset(a);
        OK(json_read(a, line, 64, &doc, e));
        OK(fhir_links_rewrite(&links, line, yyjson_doc_get_root(doc), NULL, e));
        struct fhir_issues issues = { 0 };
        OK(fhir_validate(yyjson_doc_get_root(doc), FHIR_VALIDATE_STRICT, a, &issues, e));
        if (issues.n)
            fail_msg("%.*s: %.*s", SV_FMT(sv_head(line, 80)), SV_FMT(issues.items[0].text));
    }
    free(names);
    arena_free(a);
    arena_free(names_mem);
    buf_done(&all);
}

TEST_MAIN(T(gen, a_unit_is_a_function_of_seed_and_number_alone),
          T(gen, numbers_of_patients_and_of_units_have_bounds),
          T(gen, a_unit_that_has_no_room_adds_nothing),
          T(gen, every_resource_is_valid_and_every_reference_leads_to_one))
