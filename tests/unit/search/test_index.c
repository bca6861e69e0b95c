/* test_index.c - the list of all entries of a resource, and what older forms of it lack. */
#include "search/asking.h"

TEST(index, an_index_lists_nothing_twice)
{
    (void)state;
    struct arena *a = arena_new(8u << 20);
    struct buf text = BUF_INIT(1u << 20), out = BUF_INIT(1u << 20);
    yyjson_doc *doc;
    OK(buf_add(&text, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"p\",\"identifier\":["), e));
    for (unsigned i = 0; i < 100; i++)
        OK(buf_add_fmt(&text, e, "%s{\"value\":\"%u\"}", i ? "," : "", i % 50));
    OK(buf_add(&text, SV_LIT("],\"name\":[{\"given\":[\"x\",\"X\"]}]}"), e));
    OK(json_read(a, buf_sv(&text), 64, &doc, e));
    OK(search_index(fhir_type_find(SV_LIT("Patient")), yyjson_doc_get_root(doc), &out, e));
    uint16_t param,
        identifier =
            search_param_find(fhir_type_find(SV_LIT("Patient")), SV_LIT("identifier"))->number;
    sv seen[200], value, rest = buf_sv(&out);
    size_t n = 0;
    while (search_index_next(&rest, &param, &value)) {
        if (param != identifier)
            continue;
        for (size_t i = 0; i < n; i++)
            assert_false(sv_eq(seen[i], value));
        seen[n++] = value;
    }
    assert_int_equal(rest.len, 0);
    assert_int_equal(n, 50);
    buf_done(&text);
    buf_done(&out);
    arena_free(a);
}

/* How many entries of a parameter an index of form 1 lacks. */
static unsigned newer(const char *resource, const char *code)
{
    struct arena *a = arena_new(8u << 20);
    struct buf list = BUF_INIT(1u << 20);
    yyjson_doc *doc;
    unsigned n = 0;
    uint16_t param;
    sv value;
    OK(json_read(a, sv_from(resource), 64, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    fhir_type type = fhir_type_find(json_string(json_get(root, "resourceType")));
    OK(search_index_newer(type, root, &list, e));
    for (sv rest = buf_sv(&list); search_index_next(&rest, &param, &value);)
        n += param == search_param_find(type, sv_from(code))->number;
    buf_done(&list);
    arena_free(a);
    return n;
}

TEST(index, an_older_index_lacks_what_its_form_did_not_know)
{
    (void)state;
    assert_int_equal(newer(FAMILY("Lee"), "family"), 0);
    /* 2 */
    assert_int_equal(newer(FAMILY("LEE 2"), "family"), 1);
    assert_int_equal(newer(FAMILY("van der Berg"), "family"), 2);
    assert_int_equal(newer(FAMILY("O'Brien"), "family"), 1);
    assert_int_equal(newer(FAMILY(" Lee"), "family"), 1);
    assert_int_equal(newer(FAMILY("Lee  Ann"), "family"), 2);
    assert_int_equal(newer(FAMILY("Smith-Jones"), "family"), 3);
    assert_int_equal(newer(ORG("St Mary"), "name"), 0);
    assert_int_equal(newer(ORG("St. Mary"), "name"), 1);
    assert_int_equal(newer(PAT("\"birthDate\":\"1980\""), "birthdate"), 0);
    assert_int_equal(newer(DIED("2016-12-31T23:59:59.999Z"), "death-date"), 0);
    assert_int_equal(newer(DIED("2016-12-31T23:59:60Z"), "death-date"), 1);
    assert_int_equal(newer(OBS("\"effectivePeriod\":{\"end\":\"2016-12-31T23:59:60Z\"}"), "date"),
                     2);
    assert_int_equal(newer(OBS("\"valueQuantity\":{\"value\":5.4}"), "value-quantity"), 0);
    assert_int_equal(newer(OBS("\"valueQuantity\":{\"value\":1e400}"), "value-quantity"), 1);
    assert_int_equal(
        newer(RISK("0.000000000000000000000000000000000000000000000000000000000000012345"),
              "probability"),
        1);
    assert_int_equal(newer(AGE("\"high\":{\"value\":-1e400}"), "onset-age"), 1);
    assert_int_equal(
        newer(
            PAT("\"gender\":\"male\",\"managingOrganization\":{\"reference\":\"Organization/1\"}"),
            "gender"),
        0);
    assert_int_equal(
        newer(PAT("\"managingOrganization\":{\"reference\":\"Organization/1\"}"), "organization"),
        0);
    assert_true(newer(request, "medication") > 1);
}

TEST(index, entries_of_contained_resources_are_no_ones_but_the_holders)
{
    (void)state;
    struct arena *a = arena_new(8u << 20);
    struct buf with = BUF_INIT(1u << 20), without = BUF_INIT(1u << 20);
    yyjson_doc *doc;
    fhir_type type = fhir_type_find(SV_LIT("MedicationRequest"));
    OK(json_read(a, sv_from(request), 64, &doc, e));
    OK(search_index(type, yyjson_doc_get_root(doc), &with, e));
    OK(json_read(
        a,
        SV_LIT("{\"resourceType\":\"MedicationRequest\",\"id\":\"r\",\"medicationReference\":{"
               "\"reference\":\"#m\"},\"subject\":{\"reference\":\"#p\"},\"requester\":{"
               "\"reference\":\"#gone\"}}"),
        64, &doc, e));
    OK(search_index(type, yyjson_doc_get_root(doc), &without, e));
    size_t n = 0, n_without = 0, n_inside = 0;
    uint16_t param;
    sv value;
    for (sv rest = buf_sv(&without); search_index_next(&rest, &param, &value);)
        n_without++;
    for (sv rest = buf_sv(&with); search_index_next(&rest, &param, &value); n++) {
        n_inside += value.ptr[0] == 'c';
        assert_in_range(value.len, 1, SEARCH_KEY_MAX);
        assert_false(search_is_counted(type, param) && value.ptr[0] == 'c');
    }
    assert_int_equal(n, n_without + n_inside);
    assert_in_range(n_inside, 10, 100);
    buf_done(&with);
    buf_done(&without);
    arena_free(a);
}

TEST_MAIN(T(index, an_index_lists_nothing_twice),
          T(index, an_older_index_lacks_what_its_form_did_not_know),
          T(index, entries_of_contained_resources_are_no_ones_but_the_holders))
