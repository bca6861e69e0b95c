/* The grammar of SMART scopes: what each text gives, and that nothing gives more than it says. */
#include "test.h"

#include "auth/smart.h"

/* The scopes of text in their v2 forms, by blanks; kept until the next call. */
static const char *read_again(const char *text)
{
    static char out[SMART_TEXT_MAX * 4];
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(sizeof out);
    const struct smart_scope *all;
    size_t n;
    OK(smart_scopes_read(sv_from(text), a, &all, &n, e));
    for (size_t i = 0; i < n; i++) {
        if (i)
            OK(buf_add_char(&b, ' ', e));
        OK(smart_scope_write(&all[i], &b, e));
    }
    memcpy(out, b.ptr ? b.ptr : "", b.len);
    out[b.len] = 0;
    return out;
}

TEST(smart, a_scope_of_v1_has_the_letters_of_v2)
{
    (void)state;
    assert_string_equal(read_again("patient/Observation.read"), "patient/Observation.rs");
    assert_string_equal(read_again("user/Observation.write"), "user/Observation.cud");
    assert_string_equal(read_again("system/*.*"), "system/*.cruds");
}

TEST(smart, every_set_of_letters_in_their_order_is_a_permission)
{
    (void)state;
    for (unsigned set = 1; set < 32; set++) {
        char text[64];
        int n = snprintf(text, sizeof text, "system/Patient.");
        for (unsigned k = 0; k < 5; k++)
            if (set & 1u << k)
                text[n++] = "cruds"[k];
        text[n] = 0;
        assert_string_equal(read_again(text), text);
    }
}

TEST(smart, letters_in_another_order_twice_or_unknown_give_nothing)
{
    (void)state;
    static const char *const bad[] = {
        "system/Patient.dus",      "system/Patient.sr",    "system/Patient.rr",
        "system/Patient.rx",       "system/Patient.R",     "system/Patient.",
        "system/Patient",          "system/.read",         "system/Pa tient.read",
        "patients/Patient.rs",     "Patient.rs",           "/Patient.rs",
        "system/Patient.Read",     "system/Patient.rs.rs", "system/**.rs",
        "system/Patient/1.rs",     "system/Patient.read?", "system/Patient.read?gender=male",
        "system/Patient.*?a=b",    "system/Patient.rs\"",  "system/Patient.rs\\",
        "system/Patient.\xc3\xa9", "system/Patient_.rs",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_string_equal(read_again(bad[i]), "");
}

TEST(smart, scopes_that_give_no_access_to_resources_are_passed_over)
{
    (void)state;
    assert_string_equal(
        read_again("openid profile fhirUser launch launch/patient offline_access online_access "
                   "patient/Condition.rs https://x.example/y.read __x  email "),
        "patient/Condition.rs");
    assert_string_equal(read_again(""), "");
    assert_string_equal(read_again(" "), "");
}

TEST(smart, the_uri_form_is_the_scope)
{
    (void)state;
    assert_string_equal(read_again("http://smarthealthit.org/fhir/scopes/patient/Observation.rs"),
                        "patient/Observation.rs");
    assert_string_equal(read_again("http://example.org/fhir/scopes/patient/Observation.rs"), "");
}

TEST(smart, a_query_is_decoded_once)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    const struct smart_scope *all;
    size_t n;
    OK(smart_scopes_read(
        SV_LIT("patient/Observation.rs?category=http://x|laboratory&code=a%7Cb%2526+"), a, &all, &n,
        e));
    assert_int_equal(n, 1);
    assert_int_equal(all[0].level, SMART_PATIENT);
    assert_int_equal(all[0].letters, SMART_R | SMART_S);
    assert_int_equal(all[0].n_pairs, 2);
    assert_sv(all[0].pairs[0].name, SV_LIT("category"));
    assert_sv(all[0].pairs[0].value, SV_LIT("http://x|laboratory"));
    assert_sv(all[0].pairs[1].name, SV_LIT("code"));
    assert_sv(all[0].pairs[1].value, SV_LIT("a|b%26+"));
}

TEST(smart, a_query_that_is_more_than_pairs_gives_nothing)
{
    (void)state;
    static const char *const bad[] = {
        "?",
        "?category",
        "?category=",
        "?=x",
        "?a=b&",
        "?a=b&&c=d",
        "?code:in=x",
        "?code%3Ain=x",
        "?subject.name=x",
        "?_has:Observation:patient:code=x",
        "?_filter=x",
        "?_has=x",
        "?a=%",
        "?a=%4",
        "?a=%00",
        "?a=%0A",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[100];
        (void)snprintf(text, sizeof text, "system/Observation.rs%s", bad[i]);
        assert_string_equal(read_again(text), "");
    }
}

TEST(smart, what_was_written_is_read_as_it_was)
{
    (void)state;
    const char *once = read_again("user/*.cruds?_tag=a%26b%3Dc|d%20e,f%5C,g&category=x");
    char kept[200];
    (void)snprintf(kept, sizeof kept, "%s", once);
    assert_string_equal(kept, "user/*.cruds?_tag=a%26b%3Dc%7Cd%20e%2Cf%5C%2Cg&category=x");
    assert_string_equal(read_again(kept), kept);
}

TEST(smart, a_scope_of_too_many_pairs_gives_nothing)
{
    (void)state;
    char text[400];
    int n = snprintf(text, sizeof text, "system/Observation.rs?a=0");
    for (unsigned i = 1; i < SMART_PAIRS_MAX; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "&a=%u", i);
    assert_string_equal(read_again(text), text);
    (void)snprintf(text + n, sizeof text - (size_t)n, "&a=x");
    assert_string_equal(read_again(text), "");
}

TEST(smart, limits_are_told)
{
    (void)state;
    static char text[SMART_TEXT_MAX + 2];
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    const struct smart_scope *all;
    size_t n;
    memset(text, 'x', sizeof text - 1);
    FAILS(ERR_TOO_LARGE, smart_scopes_read(sv_make(text, SMART_TEXT_MAX + 1), a, &all, &n, e));
    OK(smart_scopes_read(sv_make(text, SMART_TEXT_MAX), a, &all, &n, e));
    size_t len = 0;
    for (unsigned i = 0; i <= SMART_SCOPES_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "system/Task.r ");
    FAILS(ERR_TOO_LARGE, smart_scopes_read(sv_make(text, len), a, &all, &n, e));
    OK(smart_scopes_read(sv_make(text, len - 14), a, &all, &n, e));
    assert_int_equal(n, SMART_SCOPES_MAX);
}

TEST(smart, a_full_arena_is_an_error)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(64);
    const struct smart_scope *all;
    size_t n;
    FAILS(ERR_TOO_LARGE, smart_scopes_read(SV_LIT("system/*.rs"), a, &all, &n, e));
}

TEST_MAIN(T(smart, a_scope_of_v1_has_the_letters_of_v2),
          T(smart, every_set_of_letters_in_their_order_is_a_permission),
          T(smart, letters_in_another_order_twice_or_unknown_give_nothing),
          T(smart, scopes_that_give_no_access_to_resources_are_passed_over),
          T(smart, the_uri_form_is_the_scope), T(smart, a_query_is_decoded_once),
          T(smart, a_query_that_is_more_than_pairs_gives_nothing),
          T(smart, what_was_written_is_read_as_it_was),
          T(smart, a_scope_of_too_many_pairs_gives_nothing), T(smart, limits_are_told),
          T(smart, a_full_arena_is_an_error))
