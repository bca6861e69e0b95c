/* The forms of FHIR's primitive types, good ones and those that are nearly so. */
#include "test.h"

#include "fhir/primitive.h"

static void forms(fhir_primitive p, bool good, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fhir_primitive_ok(p, sv_from(texts[i])) != good)
            fail_msg("%s '%s': %s", fhir_primitive_name(p), texts[i], good ? "refused" : "taken");
}
#define GOOD(p, ...)                                       \
    forms((p), true, (const char *const[]){ __VA_ARGS__ }, \
          sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))
#define BAD(p, ...)                                         \
    forms((p), false, (const char *const[]){ __VA_ARGS__ }, \
          sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

TEST(primitive, dates_have_a_year_a_month_or_a_day_that_there_is)
{
    (void)state;
    GOOD(FHIR_DATE, "2024", "2024-02", "2024-02-29", "2000-02-29", "0001");
    BAD(FHIR_DATE, "", "24", "0000", "2024-00", "2024-13", "2024-2", "2023-02-29", "1900-02-29",
        "2024-04-31", "2024-02-29T00:00:00Z", "2024-", " 2024");
    GOOD(FHIR_DATETIME, "2024", "2024-02-29", "2024-02-29T23:59:60Z",
         "2024-02-29T00:00:00.123456+14:00", "2024-02-29T00:00:00-05:30");
    BAD(FHIR_DATETIME, "2024-02-29T24:00:00Z", "2024-02-29T00:00:00", "2024-02-29T00:00Z",
        "2024-02-29T00:00:00.Z", "2024-02-29T00:00:00+14:01", "2024-02T00:00:00Z",
        "2024-02-29 00:00:00Z");
}

TEST(primitive, instants_and_times_are_whole)
{
    (void)state;
    GOOD(FHIR_INSTANT, "2024-02-29T00:00:00Z", "2024-02-29T00:00:00.1Z");
    BAD(FHIR_INSTANT, "2024", "2024-02-29", "2024-02-29T00:00:00");
    GOOD(FHIR_TIME, "00:00:00", "23:59:60.5");
    BAD(FHIR_TIME, "", "24:00:00", "00:00", "00:00:00Z", "0:00:00");
}

TEST(primitive, integers_stay_within_their_bounds)
{
    (void)state;
    GOOD(FHIR_INTEGER, "0", "-2147483648", "2147483647");
    BAD(FHIR_INTEGER, "-0", "2147483648", "-2147483649", "1.0", "1e3");
    GOOD(FHIR_UNSIGNEDINT, "0", "2147483647");
    BAD(FHIR_UNSIGNEDINT, "-1", "-0");
    GOOD(FHIR_POSITIVEINT, "1");
    BAD(FHIR_POSITIVEINT, "0", "-1");
}

TEST(primitive, texts_are_not_empty_and_hold_no_control_characters)
{
    (void)state;
    GOOD(FHIR_STRING, " ", "a\tb\r\n", "\xc3\xa4");
    BAD(FHIR_STRING, "", "a\x01", "1234567\x1f", "12345678\x0b");
    GOOD(FHIR_URI, "urn:x", "a");
    BAD(FHIR_URI, "", "a b", "a\t");
    GOOD(FHIR_CODE, "a", "a b", "a\tb");
    BAD(FHIR_CODE, "", " a", "a ", "a  b", "a\x01");
}

TEST(primitive, a_string_has_at_most_a_million_characters_not_bytes)
{
    (void)state;
    size_t n = 1024u * 1024u;
    char *text = malloc(2 * n + 2);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, "\xc3\xa4", 2);
    memcpy(text + 2 * n, "xx", 2);
    assert_true(fhir_primitive_ok(FHIR_STRING, sv_make(text, 2 * n)));
    assert_false(fhir_primitive_ok(FHIR_STRING, sv_make(text, 2 * n + 1)));
    free(text);
}

TEST(primitive, names_of_things_have_their_forms)
{
    (void)state;
    GOOD(FHIR_ID, "a", "A-1.b");
    BAD(FHIR_ID, "", "a_b", "a b",
        "12345678901234567890123456789012345678901234567890123456789012345");
    GOOD(FHIR_OID, "urn:oid:1.0", "urn:oid:2.16.840");
    BAD(FHIR_OID, "1.2.3", "urn:oid:3.1", "urn:oid:1", "urn:oid:1.01", "urn:oid:1.",
        "urn:oid:1..2");
    GOOD(FHIR_UUID, "urn:uuid:c757873d-ec9a-4326-a141-556f43239520");
    BAD(FHIR_UUID, "c757873d-ec9a-4326-a141-556f43239520",
        "urn:uuid:C757873D-ec9a-4326-a141-556f43239520", "urn:uuid:c757873d");
}

TEST(primitive, base64_comes_in_groups_of_four_and_blanks_do_not_count)
{
    (void)state;
    GOOD(FHIR_BASE64BINARY, "QUJD", "QUI=", "QQ==", "QU\nJD ", "+/+/");
    BAD(FHIR_BASE64BINARY, "", "QUJ", "QQ=", "Q===", "QQ==QQ==", "QU-_", "====");
}

TEST(primitive, xhtml_is_one_div_or_text_without_tags)
{
    (void)state;
    GOOD(FHIR_XHTML, "<div>a</div>", " <div xmlns=\"x\"/> ", "plain");
    BAD(FHIR_XHTML, "", "  ", "<p>a</p>", "<divx></div>", "<div>", "a <b>");
}

TEST(primitive, every_type_is_found_by_its_name)
{
    (void)state;
    for (int p = 1; p < FHIR_N_PRIMITIVES; p++) {
        fhir_primitive one = (fhir_primitive)p;
        assert_int_equal(fhir_primitive_find(sv_from(fhir_primitive_name(one))), one);
        assert_int_not_equal(strlen(fhir_primitive_form(one)), 0);
    }
    assert_int_equal(fhir_primitive_find(SV_LIT("HumanName")), FHIR_NOT_PRIMITIVE);
    assert_int_equal(fhir_primitive_json(FHIR_DECIMAL), FHIR_JSON_NUMBER);
    assert_int_equal(fhir_primitive_json(FHIR_BOOLEAN), FHIR_JSON_BOOLEAN);
}

TEST_MAIN(T(primitive, dates_have_a_year_a_month_or_a_day_that_there_is),
          T(primitive, instants_and_times_are_whole),
          T(primitive, integers_stay_within_their_bounds),
          T(primitive, texts_are_not_empty_and_hold_no_control_characters),
          T(primitive, a_string_has_at_most_a_million_characters_not_bytes),
          T(primitive, names_of_things_have_their_forms),
          T(primitive, base64_comes_in_groups_of_four_and_blanks_do_not_count),
          T(primitive, xhtml_is_one_div_or_text_without_tags),
          T(primitive, every_type_is_found_by_its_name))
