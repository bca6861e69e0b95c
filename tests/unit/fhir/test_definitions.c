/* The tables against what the specification's pages say, and each primitive's form. */
#include "test.h"

#include "fhir/definitions.h"

static const struct fhir_structure *structure(const char *name)
{
    const struct fhir_structure *s = fhir_structure_find(sv_from(name));
    if (s == NULL)
        fail_msg("no structure %s", name);
    return s;
}

static const struct fhir_member *member(const char *owner, const char *name)
{
    return fhir_member_find(structure(owner), sv_from(name));
}

TEST(definitions, every_resource_type_has_its_structure)
{
    (void)state;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct fhir_structure *s = fhir_structure_of((fhir_type)t);
        assert_non_null(s);
        assert_string_equal(s->name.ptr, fhir_type_name((fhir_type)t));
        assert_int_equal(s->kind, FHIR_RESOURCE);
        assert_int_equal(s->type, t);
        assert_false(s->abstract);
        assert_ptr_equal(fhir_member_find(s, SV_LIT("id"))->element, &s->elements[0]);
        assert_int_equal(fhir_member_find(s, SV_LIT("id"))->primitive, FHIR_ID);
    }
    assert_null(fhir_structure_of(FHIR_TYPE_NONE));
    assert_true(structure("DomainResource")->abstract);
}

TEST(definitions, every_member_is_found_by_its_name_and_no_other)
{
    (void)state;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct fhir_structure *s = fhir_structure_of((fhir_type)t);
        for (unsigned i = 0; i < s->n_members; i++) {
            const struct fhir_member *m = &s->members[i];
            char other[128];
            assert_ptr_equal(fhir_member_find(s, m->name), m);
            assert_true((m->type == NULL) == (m->primitive != FHIR_NOT_PRIMITIVE));
            assert_ptr_equal(m->element->owner, s);
            (void)snprintf(other, sizeof other, "%.*sX", SV_FMT(m->name));
            assert_null(fhir_member_find(s, sv_from(other)));
        }
        assert_null(fhir_member_find(s, SV_LIT("")));
        assert_null(fhir_member_find(s, SV_LIT("resourceType")));
        assert_null(fhir_member_find(s, SV_LIT("_id")));
    }
}

TEST(definitions, say_what_the_page_of_patient_says)
{
    (void)state;
    const struct fhir_structure *s = structure("Patient");
    /* Resource, DomainResource, its own */
    assert_int_equal(s->n_elements, 4 + 4 + 16);
    assert_sv(s->base->name, SV_LIT("DomainResource"));
    assert_int_equal(s->required, 0);
    assert_true(member("Patient", "name")->element->many);
    assert_false(member("Patient", "birthDate")->element->many);
    assert_int_equal(member("Patient", "birthDate")->primitive, FHIR_DATE);
    assert_true(member("Patient", "active")->element->modifier);
    assert_true(member("Patient", "active")->element->summary);
    assert_false(member("Patient", "photo")->element->summary);
    assert_ptr_equal(member("Patient", "contact")->type, structure("Patient.contact"));
    assert_ptr_equal(member("Patient.contact", "name")->type, structure("HumanName"));
    assert_true(member("Patient.communication", "language")->element->required);
    assert_true(member("Extension", "url")->element->attribute);
}

TEST(definitions, a_choice_has_a_member_for_each_type)
{
    (void)state;
    const struct fhir_member *m = member("Observation", "valueQuantity");
    assert_sv(m->element->name, SV_LIT("value"));
    assert_true(m->element->choice);
    assert_int_equal(m->element->n_members, 11);
    assert_ptr_equal(m->type, structure("Quantity"));
    assert_ptr_equal(member("Observation", "valueDateTime")->element, m->element);
    assert_int_equal(member("Observation", "valueDateTime")->primitive, FHIR_DATETIME);
    assert_null(member("Observation", "value"));
    assert_null(member("Observation", "value[x]"));
    assert_null(member("Observation", "valueMoney"));
    assert_int_equal(member("Extension", "valueUrl")->element->n_members, 50);
    assert_true(member("MedicationDispense", "quantity")->simple_quantity);
    assert_false(m->simple_quantity);
}

TEST(definitions, a_content_reference_is_the_structure_it_points_to)
{
    (void)state;
    assert_ptr_equal(member("Observation.component", "referenceRange")->type,
                     structure("Observation.referenceRange"));
    assert_ptr_equal(member("Questionnaire.item", "item")->type, structure("Questionnaire.item"));
    assert_ptr_equal(member("Bundle.entry", "resource")->type, structure("Resource"));
}

TEST(definitions, references_know_their_targets)
{
    (void)state;
    const uint64_t *targets = member("Observation", "subject")->targets;
    assert_true(fhir_target_ok(targets, fhir_type_find(SV_LIT("Patient"))));
    assert_true(fhir_target_ok(targets, fhir_type_find(SV_LIT("Location"))));
    assert_false(fhir_target_ok(targets, fhir_type_find(SV_LIT("Practitioner"))));
    /* any */
    assert_null(member("Observation", "focus")->targets);
}

TEST(definitions, required_value_sets_hold_their_codes)
{
    (void)state;
    const struct fhir_value_set *v = member("Patient", "gender")->element->value_set;
    assert_string_equal(fhir_value_set_url(v),
                        "http://hl7.org/fhir/ValueSet/administrative-gender");
    assert_true(fhir_value_set_listed(v));
    assert_true(fhir_value_set_has(v, SV_NONE, SV_LIT("female")));
    assert_true(
        fhir_value_set_has(v, SV_LIT("http://hl7.org/fhir/administrative-gender"), SV_LIT("male")));
    assert_false(fhir_value_set_has(v, SV_LIT("http://example.org"), SV_LIT("male")));
    assert_false(fhir_value_set_has(v, SV_NONE, SV_LIT("Female")));
    assert_false(fhir_value_set_has(v, SV_NONE, SV_LIT("")));
    assert_false(fhir_value_set_listed(member("Money", "currency")->element->value_set));
    /* an example binding */
    assert_null(member("Observation", "code")->element->value_set);
}

TEST(definitions, rules_are_masks_of_elements)
{
    (void)state;
    const struct fhir_structure *s = structure("Timing.repeat");
    bool found = false;
    for (unsigned i = 0; i < s->n_rules; i++)
        if (strcmp(s->rules[i].key, "tim-1") == 0) {
            assert_int_equal(s->rules[i].present,
                             1ull << member("Timing.repeat", "duration")->element->index);
            assert_int_equal(s->rules[i].absent,
                             1ull << member("Timing.repeat", "durationUnit")->element->index);
            found = true;
        }
    assert_true(found);
}

/* ---- primitives ---- */

static void forms(fhir_primitive p, bool want, const char *const *texts)
{
    for (; *texts; texts++)
        if (fhir_primitive_ok(p, sv_from(*texts)) != want)
            fail_msg("%s: \"%s\" is taken for %s", fhir_primitive_name(p), *texts,
                     want ? "wrong" : "right");
}
#define GOOD(p, ...) forms((p), true, (const char *const[]){ __VA_ARGS__, NULL })
#define BAD(p, ...)  forms((p), false, (const char *const[]){ __VA_ARGS__, NULL })

TEST(primitive, dates_follow_the_calendar)
{
    (void)state;
    GOOD(FHIR_DATE, "2018", "1973-06", "1905-08-23", "2000-02-29", "2024-02-29", "0001-01-01",
         "9999-12-31");
    BAD(FHIR_DATE, "", "18", "0000", "2018-", "2018-13", "2018-00", "2018-1", "2018-06-31",
        "1900-02-29", "2023-02-29", "2018-06-00", "2018-06-1", "2018-06-011", " 2018",
        "2018-06-01T00:00:00Z", "2018/06/01", "20180601", "-2018", "2018-06-0x");
}

TEST(primitive, date_times_and_instants_have_seconds_and_a_zone)
{
    (void)state;
    GOOD(FHIR_DATETIME, "2018", "1973-06", "1905-08-23", "2015-02-07T13:28:17-05:00",
         "2017-01-01T00:00:00.000Z", "2017-01-01T00:00:00.123456789+14:00", "2016-12-31T23:59:60Z");
    BAD(FHIR_DATETIME, "2015-02-07T13:28-05:00", "2015-02-07T13:28:17", "2015-02-07T24:00:00Z",
        "2015-02-07T13:60:17Z", "2015-02-07T13:28:61Z", "2015-02-07T13:28:17+14:01",
        "2015-02-07T13:28:17+15:00", "2015-02-07T13:28:17.Z", "2015-02-07 13:28:17Z",
        "2015-02T13:28:17Z", "2015-02-30T13:28:17Z", "2015-02-07T13:28:17z",
        "2015-02-07T13:28:17Z ", "2015-02-07T13:28:17+0500");
    GOOD(FHIR_INSTANT, "2015-02-07T13:28:17.239+02:00", "2017-01-01T00:00:00Z");
    BAD(FHIR_INSTANT, "2015", "2015-02-07", "2015-02-07T13:28Z", "");
    GOOD(FHIR_TIME, "00:00:00", "23:59:59.999", "12:00:60");
    BAD(FHIR_TIME, "24:00:00", "12:00", "12:60:00", "12:00:00Z", "1:00:00", "12:00:00.", "");
}

TEST(primitive, integers_have_ranges)
{
    (void)state;
    GOOD(FHIR_INTEGER, "0", "-1", "2147483647", "-2147483648");
    BAD(FHIR_INTEGER, "2147483648", "-2147483649", "1.0", "1e3", "-0", "99999999999999999999");
    GOOD(FHIR_UNSIGNEDINT, "0", "2147483647");
    BAD(FHIR_UNSIGNEDINT, "-1", "2147483648", "0.5");
    GOOD(FHIR_POSITIVEINT, "1", "2147483647");
    BAD(FHIR_POSITIVEINT, "0", "-1", "2147483648");
    GOOD(FHIR_DECIMAL, "0", "-0.10", "1e-7", "3.14159265358979323846264338327950288");
}

TEST(primitive, texts_are_not_empty_and_hold_no_control_characters)
{
    (void)state;
    GOOD(FHIR_STRING, "a", " ", "line\nbreak\ttab\r", "\xC3\xA9\xE2\x82\xAC",
         "a longer one, of two words");
    BAD(FHIR_STRING, "", "\x01", "seven..\x1F", "eight...\x0B tail", "0123456789abcde\x07");
    GOOD(FHIR_MARKDOWN, "# a\n\n* b");
    BAD(FHIR_MARKDOWN, "");
    assert_false(fhir_primitive_ok(FHIR_STRING, sv_make("a\0b", 3)));
    char *big = malloc((1u << 21) + 2);
    memset(big, 'x', 1u << 20);
    assert_true(fhir_primitive_ok(FHIR_STRING, sv_make(big, 1u << 20)));
    big[1u << 20] = 'x';
    assert_false(fhir_primitive_ok(FHIR_STRING, sv_make(big, (1u << 20) + 1)));
    for (size_t i = 0; i < 1u << 20; i++)
        /* as many characters, twice the bytes */
        memcpy(big + 2 * i, "\xC3\xA9", 2);
    assert_true(fhir_primitive_ok(FHIR_STRING, sv_make(big, 1u << 21)));
    free(big);
}

TEST(primitive, codes_ids_and_addresses_have_their_alphabet)
{
    (void)state;
    GOOD(FHIR_CODE, "a", "a b", "two words here", "<=");
    BAD(FHIR_CODE, "", " a", "a ", "a  b", "a\n\nb", " ");
    GOOD(FHIR_ID, "a", "A-1.b", "0123456789012345678901234567890123456789012345678901234567890123");
    BAD(FHIR_ID, "", "a_b", "a b", "a/b",
        "01234567890123456789012345678901234567890123456789012345678901234");
    GOOD(FHIR_URI, "http://example.org", "urn:uuid:x", "#p", "Patient/1|2");
    BAD(FHIR_URI, "", " ", "a b", "a\n");
    BAD(FHIR_URL, "", "http://a b");
    BAD(FHIR_CANONICAL, "", "http://a |1");
    GOOD(FHIR_OID, "urn:oid:1.2.3", "urn:oid:2.16.840.1.113883", "urn:oid:0.0");
    BAD(FHIR_OID, "1.2.3", "urn:oid:3.1", "urn:oid:1", "urn:oid:1.", "urn:oid:1.02", "urn:oid:1..2",
        "urn:oid:1.2x", "");
    GOOD(FHIR_UUID, "urn:uuid:c757873d-ec9a-4326-a141-556f43239520");
    BAD(FHIR_UUID, "c757873d-ec9a-4326-a141-556f43239520",
        "urn:uuid:C757873D-ec9a-4326-a141-556f43239520",
        "urn:uuid:c757873dec9a4326a141556f43239520", "");
}

TEST(primitive, base64_comes_in_groups_of_four)
{
    (void)state;
    GOOD(FHIR_BASE64BINARY, "AAAA", "AA==", "AAA=", "Az09+/Az", "AAAA\r\nBBBB ", " AAAA");
    BAD(FHIR_BASE64BINARY, "", "A", "AAA", "A===", "AAAA=", "AA==AAAA", "AA-_", "AAA\xC3", " ",
        "====");
}

TEST(primitive, a_narrative_is_one_div_or_text_without_tags)
{
    (void)state;
    GOOD(FHIR_XHTML, "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>", "<div>x</div>",
         " <div>x</div>\n", "<div/>", "x", "Some narrative", "a & b > c\n");
    BAD(FHIR_XHTML, "", " ", "\n", "<p>x</p>", "<divx>x</divx>", "<div>", "<div", "x <b>y</b>",
        "<script>x</script>", "x<!-- -->", "x <div>y</div>");
}

TEST_MAIN(T(definitions, every_resource_type_has_its_structure),
          T(definitions, every_member_is_found_by_its_name_and_no_other),
          T(definitions, say_what_the_page_of_patient_says),
          T(definitions, a_choice_has_a_member_for_each_type),
          T(definitions, a_content_reference_is_the_structure_it_points_to),
          T(definitions, references_know_their_targets),
          T(definitions, required_value_sets_hold_their_codes),
          T(definitions, rules_are_masks_of_elements), T(primitive, dates_follow_the_calendar),
          T(primitive, date_times_and_instants_have_seconds_and_a_zone),
          T(primitive, integers_have_ranges),
          T(primitive, texts_are_not_empty_and_hold_no_control_characters),
          T(primitive, codes_ids_and_addresses_have_their_alphabet),
          T(primitive, base64_comes_in_groups_of_four),
          T(primitive, a_narrative_is_one_div_or_text_without_tags))
