/* What a body is taken for, against the table on top of body.c. */
#include "test.h"

#include "rest/params_private.h"

#define RESOURCE "{\"resourceType\":\"Patient\"}"

enum { JSON, FORM, REFUSED };
static const struct {
    const char *type;
    int resource, resource_of_form, search, search_of_json;
} rows[] = {
    /*                                        what is taken for a resource: of JSON, of a form;
     *                                        what for a search:            of a form, of JSON */
    { "application/fhir+json", JSON, JSON, FORM, REFUSED },
    { "application/json", JSON, JSON, FORM, REFUSED },
    { "Application/FHIR+JSON; charset=utf-8", JSON, JSON, FORM, REFUSED },
    { "text/json", JSON, JSON, FORM, REFUSED },
    { "", JSON, JSON, FORM, REFUSED },
    { "application/x-www-form-urlencoded", JSON, REFUSED, FORM, REFUSED },
    { "application/x-www-form-urlencoded;charset=UTF-8", JSON, REFUSED, FORM, REFUSED },
    { "application/fhir+xml", REFUSED, REFUSED, REFUSED, REFUSED },
    { "text/plain", REFUSED, REFUSED, REFUSED, REFUSED },
    { "application/jsonx", REFUSED, REFUSED, REFUSED, REFUSED },
};

static int taken(err_code rc, int as)
{
    if (rc == ERR_OK)
        return as;
    assert_int_equal(rc, ERR_MEDIA_TYPE);
    return REFUSED;
}

static struct rest_call call(struct arena *a, const char *type, const char *body)
{
    return (struct rest_call){ .a = a,
                               .in = { .content_type = sv_from(type), .body = sv_from(body) } };
}

TEST(body, is_taken_by_its_type_and_its_first_byte)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e;
        struct rest_call c = call(a, rows[i].type, " \n" RESOURCE);
        assert_int_equal(taken(rest_json_body(&c, &e), JSON), rows[i].resource);
        assert_int_equal(taken(rest_form_body(&c, &e), FORM), rows[i].search_of_json);
        assert_int_equal(c.params.n, 0);
        c = call(a, rows[i].type, "name=x&_count=3");
        assert_int_equal(taken(rest_json_body(&c, &e), JSON), rows[i].resource_of_form);
        assert_int_equal(taken(rest_form_body(&c, &e), FORM), rows[i].search);
        assert_int_equal(c.params.n, rows[i].search == FORM ? 2 : 0);
    }
}

TEST(body, that_is_empty_is_no_resource_and_an_empty_form)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c = call(a, "application/fhir+json", "");
    FAILS(ERR_INVALID, rest_json_body(&c, e));
    OK(rest_form_body(&c, e));
    OK(rest_parameters_body(&c, e));
    assert_int_equal(c.params.n, 0);
    /* it would ask for everything */
    c = call(a, "application/x-www-form-urlencoded", "[1]");
    FAILS(ERR_MEDIA_TYPE, rest_form_body(&c, e));
}

TEST(body, of_an_operation_may_be_parameters)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct rest_call c = call(a, "application/fhir+json",
                              "{\"resourceType\":\"Parameters\",\"parameter\":["
                              "{\"name\":\"_type\",\"valueCode\":\"Observation\"},"
                              "{\"name\":\"_count\",\"valueInteger\":10},"
                              "{\"name\":\"x\",\"valueBoolean\":true}]}");
    OK(rest_params_add(&c, SV_LIT("start=2020"), e));
    OK(rest_parameters_body(&c, e));
    assert_int_equal(c.params.n, 4);
    assert_sv(rest_param(&c, "start"), SV_LIT("2020"));
    assert_sv(rest_param(&c, "_type"), SV_LIT("Observation"));
    assert_sv(rest_param(&c, "_count"), SV_LIT("10"));
    assert_sv(rest_param(&c, "x"), SV_LIT("true"));
    static const char *const bad[] = {
        RESOURCE,
        "{\"resourceType\":\"Parameters\",\"parameter\":{}}",
        "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"a\"}]}",
        "{\"resourceType\":\"Parameters\",\"parameter\":[{\"valueCode\":\"a\"}]}",
        "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"a\",\"valueCode\":{}}]}",
        ("{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"a\\u0000\",\"valueId\":\"x\"}"
         "]"
         "}"),
        "{",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        c = call(a, "application/fhir+json", bad[i]);
        FAILS(ERR_INVALID, rest_parameters_body(&c, e));
        assert_int_equal(c.params.n, 0);
    }
}

TEST(body, may_begin_with_a_byte_order_mark_and_name_a_version)
{
    (void)state;
    assert_sv(rest_without_mark(SV_LIT("\xEF\xBB\xBF{}")), SV_LIT("{}"));
    assert_sv(rest_without_mark(SV_LIT("{}")), SV_LIT("{}"));
    assert_sv(rest_without_mark(SV_LIT("\xEF\xBB")), SV_LIT("\xEF\xBB"));
    assert_true(rest_is_our_version(SV_LIT("application/fhir+json")));
    assert_true(rest_is_our_version(SV_LIT("application/fhir+json; fhirVersion=4.0")));
    assert_true(rest_is_our_version(SV_LIT("application/fhir+json;fhirVersion=\"4.0.1\"")));
    assert_false(rest_is_our_version(SV_LIT("application/fhir+json; fhirVersion=5.0")));
    assert_false(rest_is_our_version(SV_LIT("application/fhir+json; fhirVersion=")));
}

TEST_MAIN(T(body, is_taken_by_its_type_and_its_first_byte),
          T(body, that_is_empty_is_no_resource_and_an_empty_form),
          T(body, of_an_operation_may_be_parameters),
          T(body, may_begin_with_a_byte_order_mark_and_name_a_version))
