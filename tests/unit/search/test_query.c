/* test_query.c - one pair of a query becomes a criterion, or is refused. */
#include "search/asking.h"

TEST(query, a_backslash_escapes_and_nothing_else)
{
    (void)state;
    const char *p = PAT("\"name\":[{\"family\":\"a,b|c$d\\\\e\"}],\"identifier\":[{\"system\":"
                        "\"urn:a|b\",\"value\":"
                        "\"1,2\"}]");
    MATCHES(p, "family:exact", "a\\,b\\|c\\$d\\\\e");
    MATCHES(p, "identifier", "urn:a\\|b|1\\,2");
    MATCHES(p, "identifier", "x,urn:a\\|b|");
    REFUSED(p, "family", "a\\b");
    REFUSED(p, "family", "a\\");
    REFUSED(p, "family:exact", "x,\\\\\\");
}

/* The code of the refusal of a pair, and its message. */
static err_code refusal(const char *type, const char *name, const char *value, struct err *why)
{
    CLEANUP(arena_free) struct arena *a = arena_new(8u << 20);
    struct search_criterion c;
    return search_parse(&cx, type ? fhir_type_find(sv_from(type)) : FHIR_TYPE_NONE, sv_from(name),
                        sv_from(value), a, &c, why);
}

TEST(query, what_does_not_fit_a_parameter_is_refused_by_kind)
{
    (void)state;
    static const struct {
        const char *type, *name, *value;
        err_code code;
    } pairs[] = {
        { "Patient", "color", "red", ERR_NOT_FOUND },
        { NULL, "gender", "male", ERR_NOT_FOUND }, /* a parameter of one type alone */
        { "Patient", "createdAt", "2020", ERR_NOT_FOUND },
        { "Patient", "gender:exact", "male", ERR_INVALID },
        { "Patient", "name:not", "a", ERR_INVALID },
        { "Patient", "gender:in", "http://x", ERR_UNSUPPORTED },
        { "Patient", "gender:below", "x", ERR_UNSUPPORTED },
        { "Observation", "subject:above", "Patient/1", ERR_UNSUPPORTED },
        { "Observation", "subject:Medication", "1", ERR_INVALID },
        { "Patient", "gender:missing", "yes", ERR_INVALID },
        { "Patient", "birthdate", "1980-13", ERR_INVALID },
        { "Patient", "birthdate", "", ERR_INVALID },
        { "Observation", "value-quantity", "five", ERR_INVALID },
        { "Observation", "value-quantity", "5|urn:x", ERR_INVALID },
        { "Observation", "code", "|", ERR_INVALID },
        { "Patient", "identifier:of-type", "a|b", ERR_INVALID },
        { "Observation", "code-value-quantity", "a", ERR_INVALID },
        { "Observation", "code-value-quantity", "a$1$2", ERR_INVALID },
        { "Location", "near", "91|0", ERR_INVALID },
    };
    struct err why;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        err_code rc = refusal(pairs[i].type, pairs[i].name, pairs[i].value, &why);
        if (rc != pairs[i].code)
            fail_msg("%s=%s: %s, not %s", pairs[i].name, pairs[i].value, err_code_name(rc),
                     err_code_name(pairs[i].code));
    }
}

TEST(query, more_values_than_the_limit_are_too_many)
{
    (void)state;
    char many[2 * (SEARCH_TERMS_MAX + 1) + 1] = "";
    struct err why;
    for (unsigned i = 0; i < SEARCH_TERMS_MAX; i++)
        memcpy(many + 2 * i, i ? ",a" : "aa", 3);
    assert_int_equal(refusal("Patient", "name", many, &why), ERR_OK);
    memcpy(many + 2 * SEARCH_TERMS_MAX, ",a", 3);
    assert_int_equal(refusal("Patient", "name", many, &why), ERR_TOO_LARGE);
}

TEST(query, prefixes_systems_and_types_are_taken_apart)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8u << 20);
    fhir_type observation = fhir_type_find(SV_LIT("Observation"));
    struct search_criterion c;
    OK(search_parse(&cx, observation, SV_LIT("date"), SV_LIT("ge2020-02,eb2021"), a, &c, e));
    assert_int_equal(c.n_terms, 2);
    assert_int_equal(c.terms[0].prefix, SEARCH_GE);
    assert_int_equal(c.terms[1].prefix, SEARCH_EB);
    OK(search_parse(&cx, observation, SV_LIT("code"), SV_LIT("urn:s|c,|d,e"), a, &c, e));
    assert_sv(c.terms[0].system, SV_LIT("urn:s"));
    assert_sv(c.terms[0].code, SV_LIT("c"));
    assert_true(c.terms[1].has_system);
    assert_int_equal(c.terms[1].system.len, 0);
    assert_false(c.terms[2].has_system);
    OK(search_parse(&cx, observation, SV_LIT("subject:Patient"), SV_LIT("7"), a, &c, e));
    assert_int_equal(c.terms[0].ref_type, fhir_type_find(SV_LIT("Patient")));
    assert_sv(c.terms[0].ref_id, SV_LIT("7"));
    OK(search_parse(&cx, observation, SV_LIT("subject"), SV_LIT("http://here/r4/Patient/7"), a, &c,
                    e));
    /* our own base */
    assert_false(c.terms[0].ref_absolute);
    OK(search_parse(&cx, observation, SV_LIT("subject"), SV_LIT("http://there/Patient/7"), a, &c,
                    e));
    assert_true(c.terms[0].ref_absolute);
}

TEST_MAIN(T(query, a_backslash_escapes_and_nothing_else),
          T(query, what_does_not_fit_a_parameter_is_refused_by_kind),
          T(query, more_values_than_the_limit_are_too_many),
          T(query, prefixes_systems_and_types_are_taken_apart))
