/* Outcomes against their text, and the mark that level minimal leaves: where it goes, that the rest
 * stays. */
#include "test.h"

#include "fhir/outcome.h"

#define MARK                                                                                  \
    "{\"url\":\"http://healthlake.amazonaws.com/fhir/StructureDefinition/validation-issue\"," \
    "\"valueString\":\"{\\\"a\\\":1}\"}"
#define OLD                                                                                   \
    "{\"url\":\"http://healthlake.amazonaws.com/fhir/StructureDefinition/validation-issue\"," \
    "\"valueString\":\"former, ] and }\"}"

/* The stored form of text marked, with the hole shown as '|'; the same again when marked once
 * more. */
static void marked_is(const char *text, const char *want)
{
    CLEANUP(fhir_reader_free) struct fhir_reader *r = fhir_reader_new(1 << 20);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    sv from = sv_from(text);
    for (int round = 0; round < 2; round++) {
        CLEANUP_BUF struct buf stored = BUF_INIT(1 << 20);
        struct fhir_envelope env;
        char shown[4096];
        OK(fhir_envelope_read(r, from, SV_NONE, &stored, &env, e));
        OK(fhir_issues_mark(env.type, fhir_reader_root(r), SV_LIT("{\"a\":1}"), a, &env.body, e));
        struct fhir_body b = env.body;
        (void)snprintf(shown, sizeof shown, "%.*s|%.*s", (int)b.hole_at, b.json.ptr,
                       (int)(b.json.len - b.hole_at), b.json.ptr + b.hole_at);
        assert_string_equal(shown, want);
        from = arena_sv(a, b.json);
    }
}

TEST(mark, goes_behind_the_last_member)
{
    (void)state;
    marked_is("{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":\"x\"}",
              "{\"resourceType\":\"Patient\",\"id\":\"p\"|,\"active\":\"x\",\"extension\":[" MARK
              "]}");
    marked_is("{\"resourceType\":\"Patient\",\"id\":\"p\"}",
              "{\"resourceType\":\"Patient\",\"id\":\"p\"|,\"extension\":[" MARK "]}");
    marked_is("{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{}}",
              "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{|},\"extension\":[" MARK "]}");
}

TEST(mark, goes_behind_the_extensions_that_are_there_and_moves_the_hole)
{
    (void)state;
    marked_is("{\"resourceType\":\"Patient\",\"extension\":[{\"url\":\"u\",\"valueString\":\"\\\"]"
              "\"},7],\"id\":"
              "\"p\",\"a\":[{\"extension\":[]}]}",
              "{\"resourceType\":\"Patient\",\"extension\":[{\"url\":\"u\",\"valueString\":\"\\\"]"
              "\"},7," MARK "],\"id\":\"p\"|,\"a\":[{\"extension\":[]}]}");
    marked_is("{\"extension\":[],\"resourceType\":\"Patient\",\"id\":\"p\"}",
              "{\"extension\":[" MARK "],\"resourceType\":\"Patient\",\"id\":\"p\"|}");
}

TEST(mark, takes_the_place_of_a_former_one)
{
    (void)state;
    marked_is("{\"extension\":[" OLD "],\"resourceType\":\"Patient\",\"id\":\"p\"}",
              "{\"extension\":[" MARK "],\"resourceType\":\"Patient\",\"id\":\"p\"|}");
    marked_is("{\"extension\":[{\"url\":\"a\"}," OLD
              ",{\"url\":\"b\"}],\"resourceType\":\"Patient\",\"id\":\"p\"}",
              "{\"extension\":[{\"url\":\"a\"},{\"url\":\"b\"}," MARK
              "],\"resourceType\":\"Patient\",\"id\":\"p\"|}");
}

TEST(mark, is_left_out_where_it_cannot_go)
{
    (void)state;
    marked_is("{\"resourceType\":\"Bundle\",\"id\":\"b\"}",
              "{\"resourceType\":\"Bundle\",\"id\":\"b\"|}");
    marked_is("{\"resourceType\":\"Binary\",\"id\":\"b\"}",
              "{\"resourceType\":\"Binary\",\"id\":\"b\"|}");
    marked_is("{\"resourceType\":\"Patient\",\"id\":\"p\",\"extension\":{}}",
              "{\"resourceType\":\"Patient\",\"id\":\"p\"|,\"extension\":{}}");
    marked_is("{\"resourceType\":\"Patient\",\"id\":\"p\",\"\\u0065xtension\":[]}",
              "{\"resourceType\":\"Patient\",\"id\":\"p\"|,\"\\u0065xtension\":[]}");
}

/* ---- outcomes ---- */

static size_t count(sv text, sv what)
{
    size_t n = 0;
    for (size_t i = 0; i + what.len <= text.len; i++)
        n += memcmp(text.ptr + i, what.ptr, what.len) == 0;
    return n;
}

TEST(outcome, names_each_fault_with_its_place)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 16);
    struct fhir_issue items[] = {
        { "error", "required", SV_LIT("Patient.link[0].other"), SV_LIT("'other' is missing") },
        { "error", "structure", SV_NONE, SV_LIT("wrong") },
    };
    struct fhir_issues found = { items, 2, false };
    OK(fhir_outcome_write(&found, FHIR_OUTCOME_MAX, &b, e));
    assert_sv(
        buf_sv(&b),
        SV_LIT(
            "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"error\",\"code\":"
            "\"required\",\"details\":{\"text\":\"'other' is missing\"},\"diagnostics\":\"'other' "
            "is "
            "missing\",\"location\":[\"Patient.link[0].other\"],\"expression\":[\"Patient.link[0]."
            "other\"]},{\"severity\":\"error\",\"code\":\"structure\",\"details\":{\"text\":"
            "\"wrong\"},"
            "\"diagnostics\":\"wrong\"}]}"));
}

TEST(outcome, keeps_to_its_bytes_and_says_that_there_is_more)
{
    (void)state;
    enum { N = 50 };
    struct fhir_issue items[N];
    for (int i = 0; i < N; i++)
        items[i] = (struct fhir_issue){ "error", "value", SV_LIT("Patient.name[0].given[1]"),
                                        SV_LIT("a text of some length, to fill it up") };
    struct fhir_issues found = { items, N, false };
    for (size_t max = 500; max < 20000; max += 777) {
        CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
        OK(fhir_outcome_write(&found, max, &b, e));
        size_t n = count(buf_sv(&b), SV_LIT("\"value\""));
        assert_int_equal(count(buf_sv(&b), SV_LIT("\"incomplete\"")), n < N);
        assert_true(b.len <= max);
        /* not less than there is room for */
        assert_true(n == N || n + 1 >= max / 300);
    }
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    found = (struct fhir_issues){ items, 1, true };
    OK(fhir_outcome_write(&found, FHIR_OUTCOME_MAX, &b, e));
    assert_int_equal(count(buf_sv(&b), SV_LIT("\"incomplete\"")), 1);
}

TEST(level, has_the_names_of_healthlake)
{
    (void)state;
    fhir_validate_level level;
    assert_true(fhir_validate_level_named(SV_LIT(""), &level));
    assert_int_equal(level, FHIR_VALIDATE_STRICT);
    assert_true(fhir_validate_level_named(SV_LIT("strict"), &level));
    assert_int_equal(level, FHIR_VALIDATE_STRICT);
    assert_true(fhir_validate_level_named(SV_LIT("structure-only"), &level));
    assert_int_equal(level, FHIR_VALIDATE_STRUCTURE);
    assert_true(fhir_validate_level_named(SV_LIT("minimal"), &level));
    assert_int_equal(level, FHIR_VALIDATE_MINIMAL);
    assert_false(fhir_validate_level_named(SV_LIT("Strict"), &level));
}

TEST_MAIN(T(mark, goes_behind_the_last_member),
          T(mark, goes_behind_the_extensions_that_are_there_and_moves_the_hole),
          T(mark, takes_the_place_of_a_former_one), T(mark, is_left_out_where_it_cannot_go),
          T(outcome, names_each_fault_with_its_place),
          T(outcome, keeps_to_its_bytes_and_says_that_there_is_more),
          T(level, has_the_names_of_healthlake))
