/* Resource types by name and number, slips of the pen, and ids. */
#include "test.h"

#include "fhir/types.h"

TEST(types, every_type_is_found_by_its_name_and_in_the_order_of_bytes)
{
    (void)state;
    assert_int_equal(fhir_n_types(), 146);
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const char *name = fhir_type_name((fhir_type)t);
        assert_int_equal(fhir_type_find(sv_from(name)), t);
        if (t > 1 && strcmp(fhir_type_name((fhir_type)(t - 1)), name) >= 0)
            fail_msg("%s stands behind a name that is not smaller", name);
    }
}

TEST(types, what_is_no_type_is_none)
{
    (void)state;
    static const char *const none[] = {
        "", "patient", "Patient ", "Patien", "Patients", "Resource"
    };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (fhir_type_find(sv_from(none[i])) != FHIR_TYPE_NONE)
            fail_msg("'%s' is a type", none[i]);
    assert_string_equal(fhir_type_name(FHIR_TYPE_NONE), "");
    assert_string_equal(fhir_type_name(255), "");
}

TEST(types, a_slip_is_told_with_the_type_that_was_meant_and_another_value_is_not_repeated)
{
    (void)state;
    char out[FHIR_TYPE_NOT_LEN];
    assert_string_equal(fhir_type_not(SV_LIT("Patent"), out),
                        "Patent is no resource type of FHIR R4: is Patient meant?");
    assert_string_equal(fhir_type_not(SV_LIT("Zebrafish"), out),
                        "Zebrafish is no resource type of FHIR R4");
    assert_string_equal(fhir_type_slip(SV_LIT("Patent"), out),
                        "Patent is no resource type of FHIR R4: is Patient meant?");
    assert_string_equal(fhir_type_slip(SV_LIT("Zebrafish"), out),
                        "a value is no resource type of FHIR R4");
}

TEST(types, an_id_has_1_to_64_letters_digits_dots_and_dashes)
{
    (void)state;
    char text[65];
    memset(text, 'a', sizeof text);
    assert_true(fhir_id_ok(sv_make(text, 64)));
    assert_false(fhir_id_ok(sv_make(text, 65)));
    assert_false(fhir_id_ok(SV_LIT("")));
    for (int c = 0; c < 256; c++) {
        char one = (char)c;
        bool good = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                    c == '-' || c == '.';
        if (fhir_id_ok(sv_make(&one, 1)) != good)
            fail_msg("byte %d: %s", c, good ? "refused" : "taken");
    }
}

TEST_MAIN(T(types, every_type_is_found_by_its_name_and_in_the_order_of_bytes),
          T(types, what_is_no_type_is_none),
          T(types, a_slip_is_told_with_the_type_that_was_meant_and_another_value_is_not_repeated),
          T(types, an_id_has_1_to_64_letters_digits_dots_and_dashes))
