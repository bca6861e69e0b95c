/* test_counted.c - for which parameters sums are kept: each type with each number, against the list
 * of the type's parameters. */
#include "test.h"

#include "search/search.h"

static bool is(const char *type, const char *code)
{
    fhir_type t = fhir_type_find(sv_from(type));
    const struct search_param *p = search_param_find(t, sv_from(code));
    if (p == NULL)
        fail_msg("%s has no parameter %s", type, code);
    return search_is_counted(t, p->number);
}

TEST(counted, are_tokens_whose_values_many_resources_share)
{
    (void)state;
    assert_true(is("Patient", "gender"));
    assert_true(is("Patient", "active"));
    assert_true(is("Patient", "deceased"));
    assert_true(is("Patient", "_tag"));
    assert_true(is("Observation", "status"));
    assert_true(is("Observation", "code"));
    assert_true(is("Condition", "clinical-status"));
}

TEST(counted, are_neither_other_kinds_nor_values_of_one_resource_alone)
{
    (void)state;
    assert_false(is("Patient", "identifier"));
    assert_false(is("Patient", "telecom"));
    assert_false(is("Patient", "phone"));
    assert_false(is("Practitioner", "email"));
    /* not in the index at all */
    assert_false(is("Patient", "_id"));
    assert_false(is("Patient", "_lastUpdated"));
    assert_false(is("Patient", "birthdate"));
    assert_false(is("Patient", "name"));
    assert_false(is("Patient", "organization"));
    assert_false(is("Observation", "code-value-quantity"));
    assert_false(is("Observation", "value-quantity"));
    assert_false(is("ValueSet", "url"));
}

/* A number says nothing without its type: entries of one type are never counted because another has
 * such a parameter. */
TEST(counted, no_number_is_counted_that_the_type_does_not_list)
{
    (void)state;
    unsigned n_counted = 0;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        static bool listed[1 << 16], token[1 << 16];
        size_t n;
        const struct search_param *const *of = search_params_of((fhir_type)t, &n);
        for (size_t i = 0; i < n; i++) {
            listed[of[i]->number] = true;
            token[of[i]->number] = of[i]->kind == SEARCH_TOKEN;
        }
        for (unsigned number = 0; number < 1 << 16; number++)
            if (search_is_counted((fhir_type)t, (uint16_t)number)) {
                assert_true(listed[number]);
                assert_true(token[number]);
                n_counted++;
            }
        for (size_t i = 0; i < n; i++)
            listed[of[i]->number] = token[of[i]->number] = false;
    }
    /* four of every type at least */
    assert_true(n_counted > 4 * fhir_n_types());
}

TEST(counted, nothing_is_of_no_type)
{
    (void)state;
    for (unsigned number = 0; number < 1 << 16; number++)
        assert_false(search_is_counted(FHIR_TYPE_NONE, (uint16_t)number));
}

TEST_MAIN(T(counted, are_tokens_whose_values_many_resources_share),
          T(counted, are_neither_other_kinds_nor_values_of_one_resource_alone),
          T(counted, no_number_is_counted_that_the_type_does_not_list),
          T(counted, nothing_is_of_no_type))
