/* Scopes, word by word. */
#include "test.h"

#include "auth/smart.h"

TEST(smart, each_scope_has_level_type_and_letters)
{
    (void)state;
    struct arena *a = arena_new(1u << 20);
    const struct smart_scope *s;
    size_t n;
    OK(smart_scopes_read(SV_LIT("openid patient/Observation.rs user/*.read launch/patient "
                                "system/Patient.cruds system/Patient.write user/Patient.*"),
                         a, &s, &n, e));
    assert_int_equal(n, 5);
    assert_int_equal(s[0].level, SMART_PATIENT);
    assert_sv(s[0].type, SV_LIT("Observation"));
    assert_int_equal(s[0].letters, SMART_R | SMART_S);
    assert_int_equal(s[1].level, SMART_USER);
    assert_int_equal(s[1].type.len, 0);
    assert_int_equal(s[1].letters, SMART_R | SMART_S);
    assert_int_equal(s[2].level, SMART_SYSTEM);
    assert_int_equal(s[2].letters, 31);
    assert_int_equal(s[3].letters, SMART_C | SMART_U | SMART_D);
    assert_int_equal(s[4].letters, 31);
    arena_free(a);
}

TEST(smart, what_is_no_scope_gives_nothing)
{
    (void)state;
    static const char *const none[] = { "",
                                        " ",
                                        "patient/Observation",
                                        "patient/Observation.",
                                        "patient/Observation.sr",
                                        "patient/Observation.rr",
                                        "patient/Observation.x",
                                        "patient/.rs",
                                        "patient/*Observation.rs",
                                        "Patient/Observation.rs",
                                        "practitioner/Observation.rs",
                                        "patient/Observation.READ",
                                        "fhirUser",
                                        "offline_access" };
    struct arena *a = arena_new(1u << 20);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        const struct smart_scope *s;
        size_t n = 7;
        OK(smart_scopes_read(sv_from(none[i]), a, &s, &n, e));
        if (n)
            fail_msg("%s gives something", none[i]);
    }
    arena_free(a);
}

TEST_MAIN(T(smart, each_scope_has_level_type_and_letters), T(smart, what_is_no_scope_gives_nothing))
