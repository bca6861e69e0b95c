/* test_envelope_fill.c - what goes into a hole, against text that printf() and gmtime() make. */
#include "test.h"

#include "fhir/envelope.h"

#include <inttypes.h>
#include <time.h>

static const struct form {
    const char *before, *after; /* the hole is between them */
    fhir_hole hole;
    const char *begin, *end; /* of what fills it */
} forms[] = {
    { "{\"id\":\"p\"", ",\"active\":true}", FHIR_HOLE_NO_META, ",\"meta\":{", "}" },
    { "{\"id\":\"p\"", "}", FHIR_HOLE_NO_META, ",\"meta\":{", "}" },
    { "{\"meta\":{", "\"source\":\"s\"},\"id\":\"p\"}", FHIR_HOLE_META, "", "," },
    { "{\"id\":\"p\",\"meta\":{", "}}", FHIR_HOLE_META_EMPTY, "", "" },
};
#define N_FORMS (sizeof forms / sizeof forms[0])

/* The text that form f is with this version and instant. */
static size_t expected(const struct form *f, uint64_t version, int64_t ms, char *out, size_t cap)
{
    char second[32];
    struct tm tm;
    time_t s = (time_t)(ms / 1000);
    assert_true(ms >= 0);
    assert_non_null(gmtime_r(&s, &tm));
    assert_true(strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &tm) > 0);
    int n = snprintf(out, cap, "%s%s\"versionId\":\"%" PRIu64 "\",\"lastUpdated\":\"%s.%03dZ\"%s%s",
                     f->before, f->begin, version, second, (int)(ms % 1000), f->end, f->after);
    assert_in_range(n, 1, cap - 1);
    return (size_t)n;
}

static void check(const struct form *f, uint64_t version, int64_t ms)
{
    char json[256], want[512], got[512];
    int len = snprintf(json, sizeof json, "%s%s", f->before, f->after);
    struct fhir_body b = { sv_make(json, (size_t)len), (uint32_t)strlen(f->before), f->hole };
    size_t n = expected(f, version, ms, want, sizeof want);
    memset(got, '#', sizeof got);
    assert_int_equal(fhir_body_write(&b, version, ms, got), n);
    assert_sv(sv_make(got, n), sv_make(want, n));
    /* no byte behind it */
    assert_int_equal(got[n], '#');
    assert_true(n - b.json.len <= FHIR_SPLICE_MAX);
}

TEST(envelope_fill, the_three_holes_are_filled_as_json_wants_it)
{
    (void)state;
    for (size_t i = 0; i < N_FORMS; i++)
        check(&forms[i], 3, 1795458600123);
}

TEST(envelope_fill, versions_of_any_length_keep_their_digits)
{
    (void)state;
    for (size_t i = 0; i < N_FORMS; i++) {
        check(&forms[i], 0, 0);
        check(&forms[i], UINT64_MAX, 253402300799999);
        for (uint64_t v = 1; v <= UINT64_MAX / 10; v *= 10) {
            check(&forms[i], v, 1);
            check(&forms[i], v * 10 - 1, 1);
        }
    }
}

/* Texts of instants are kept. More instants than are kept come again and again, in no order, and
 * each must come out as itself. */
TEST(envelope_fill, an_instant_comes_out_as_itself_whichever_came_before)
{
    (void)state;
    int64_t ms[200];
    uint64_t x = 7;
    for (size_t i = 0; i < 200; i++)
        /* neighbours of one commit, and instants far apart */
        ms[i] = i % 2 ? 1795458600000 + (int64_t)i : (int64_t)i * 1262304000001;
    for (unsigned i = 0; i < 20000; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        check(&forms[i % N_FORMS], i, ms[(x >> 33) % 200]);
    }
    /* the first instant of all is no empty place */
    check(&forms[0], 1, 0);
}

/* Exports put the stored form behind the place where the text goes. With a gap as long as the
 * content, what stands behind the hole is not moved. */
TEST(envelope_fill, the_stored_form_may_lie_where_the_text_goes)
{
    (void)state;
    char want[512], place[1024];
    for (size_t i = 0; i < N_FORMS; i++)
        for (uint64_t version = 1; version < 1000000000; version *= 10)
            for (size_t gap = 0; gap <= 2 * FHIR_SPLICE_MAX; gap++) {
                const struct form *f = &forms[i];
                size_t n = expected(f, version, 1795458600123, want, sizeof want);
                int len = snprintf(place + gap, sizeof place - gap, "%s%s", f->before, f->after);
                struct fhir_body b = { sv_make(place + gap, (size_t)len),
                                       (uint32_t)strlen(f->before), f->hole };
                assert_int_equal(fhir_body_write(&b, version, 1795458600123, place), n);
                assert_sv(sv_make(place, n), sv_make(want, n));
            }
}

TEST_MAIN(T(envelope_fill, the_three_holes_are_filled_as_json_wants_it),
          T(envelope_fill, versions_of_any_length_keep_their_digits),
          T(envelope_fill, an_instant_comes_out_as_itself_whichever_came_before),
          T(envelope_fill, the_stored_form_may_lie_where_the_text_goes))
