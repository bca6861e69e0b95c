/* A resource without some of its members: what must stay, stays, and the tag says so. */
#include "test.h"

#include "codec/json.h"
#include "fhir/subset.h"

struct named {
    const sv *elements;
    size_t n;
};

static bool keep(void *ctx, sv name, const struct fhir_member *member)
{
    const struct named *k = ctx;
    return fhir_subset_names(k->elements, k->n, name, member);
}

static void subset_is(const char *type, const char *text, sv elements, const char *want)
{
    struct arena *a = arena_new(1u << 20);
    struct buf out = BUF_INIT(1u << 16);
    struct named k = { &elements, elements.len ? 1 : 0 };
    yyjson_doc *doc;
    OK(json_read(a, sv_from(text), 64, &doc, e));
    OK(fhir_subset_write(yyjson_doc_get_root(doc), fhir_type_find(sv_from(type)), 3, 0, keep, &k,
                         &out, e));
    if (!sv_eq_cstr(buf_sv(&out), want))
        fail_msg("%.*s\nnot %s", SV_FMT(buf_sv(&out)), want);
    buf_done(&out);
    arena_free(a);
}

#define META                                                                              \
    "\"meta\":{\"versionId\":\"3\",\"lastUpdated\":\"1970-01-01T00:00:00.000Z\","         \
    "\"tag\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/v3-ObservationValue\"," \
    "\"code\":\"SUBSETTED\"}]}"

TEST(subset, members_that_are_named_stay_with_the_twin_of_a_primitive)
{
    (void)state;
    subset_is("Patient",
              "{\"resourceType\":\"Patient\",\"id\":\"p\",\"gender\":\"other\","
              "\"birthDate\":\"2000\",\"_birthDate\":{\"id\":\"x\"}}",
              SV_LIT("birthDate"),
              "{\"resourceType\":\"Patient\",\"id\":\"p\",\"birthDate\":\"2000\","
              "\"_birthDate\":{\"id\":\"x\"}," META "}");
}

TEST(subset, what_is_mandatory_and_what_changes_the_meaning_stays)
{
    (void)state;
    subset_is("Observation",
              "{\"resourceType\":\"Observation\",\"id\":\"o\",\"implicitRules\":\"urn:r\","
              "\"status\":\"final\",\"code\":{\"text\":\"c\"},\"valueString\":\"v\","
              "\"modifierExtension\":[{\"url\":\"urn:m\",\"valueBoolean\":true}]}",
              SV_LIT("issued"),
              "{\"resourceType\":\"Observation\",\"id\":\"o\","
              "\"implicitRules\":\"urn:r\",\"status\":\"final\",\"code\":{\"text\":\"c\"},"
              "\"modifierExtension\":[{\"url\":\"urn:m\",\"valueBoolean\":true}]," META "}");
}

TEST(subset, a_choice_is_named_without_its_type)
{
    (void)state;
    const struct fhir_structure *s = fhir_structure_find(SV_LIT("Observation"));
    const sv value[] = { SV_LIT("value") };
    const struct fhir_member *m = fhir_member_find(s, SV_LIT("valueQuantity"));
    assert_true(fhir_subset_names(value, 1, SV_LIT("valueQuantity"), m));
    m = fhir_member_find(s, SV_LIT("status"));
    assert_false(fhir_subset_names(value, 1, SV_LIT("status"), m));
    assert_false(fhir_subset_names(value, 0, SV_LIT("status"), m));
}

TEST_MAIN(T(subset, members_that_are_named_stay_with_the_twin_of_a_primitive),
          T(subset, what_is_mandatory_and_what_changes_the_meaning_stays),
          T(subset, a_choice_is_named_without_its_type))
