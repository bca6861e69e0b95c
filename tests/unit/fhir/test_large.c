/* Large resources as text: what says that it is a Binary, and what is left of a resource without
 * its large members. */
#include "test.h"

#include "codec/json.h"
#include "fhir/large.h"

#define REST 64u

/* text, with every D in it standing for a thousand of them */
static bool large_binary(const char *text, bool whole)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    for (const char *p = text; *p; p++)
        for (int n = *p == 'D' ? 1000 : 1; n; n--)
            OK(buf_add_char(&b, *p, e));
    /* so that a look behind its end is found */
    char *exact = malloc(b.len + 1);
    assert_non_null(exact);
    if (b.len)
        memcpy(exact, b.ptr, b.len);
    bool is = fhir_is_large_binary(sv_make(exact, b.len), REST);
    /* cut off anywhere: it is none, or as it was */
    for (size_t n = 0; n < b.len && whole; n++) {
        char *part = malloc(n + 1);
        assert_non_null(part);
        if (n)
            memcpy(part, b.ptr, n);
        (void)fhir_is_large_binary(sv_make(part, n), REST);
        free(part);
    }
    free(exact);
    return is;
}

TEST(large, a_binary_is_one_that_says_so_plainly_and_is_small_beside_its_data)
{
    (void)state;
    static const struct {
        const char *text;
        bool is;
    } all[] = {
        { "{\"resourceType\":\"Binary\",\"id\":\"b\",\"data\":\"D\"}", true },
        { "{\"data\":\"D\",\"id\":\"b\",\"resourceType\":\"Binary\"}", true },
        { " { \"data\" : \"D\\\\\" , \"resourceType\" : \"Binary\" } ", true },
        { "{\"data\":\"\\\"D\",\"x\":[{\"data\":[]}],\"resourceType\":\"Binary\"}", true },
        { "{\"resourceType\":\"Patient\",\"data\":\"D\"}", false },
        { "{\"data\":\"D\",\"resourceType\":\"Patient\"}", false },
        { "{\"resourceType\":\"Binary\",\"data\":\"D\",\"resourceType\":\"Patient\"}", false },
        { "{\"resourceType\":\"Patient\",\"data\":\"D\",\"resourceType\":\"Binary\"}", false },
        { "{\"x\":{\"resourceType\":\"Binary\"},\"data\":\"D\"}", false },
        { "{\"x\":\"\\\",\\\"resourceType\\\":\\\"Binary\\\"\",\"data\":\"D\"}", false },
        { "{\"resource\\u0054ype\":\"Binary\",\"data\":\"D\"}", false },
        { "{\"resourceType\":\"Binary\",\"dat\\u0061\":\"D\"}", false },
        { "{\"resourceType\":\"Binary\",\"data\":[\"D\"]}", false },
        { "{\"resourceType\":\"Binary\",\"data\":\"D\",\"data\":\"D\"}", false },
        { "{\"resourceType\":\"Binary\",\"x\":{\"data\":\"D\"}}", false },
        { "{\"resourceType\":\"Binary\",\"identifier\":\"D\"}", false },
        { "{\"resourceType\":\"Binary\",\"data\":\"D\"}D", false },
        { "{\"resourceType\":\"Binary\",\"data\":\"D", false },
        { "[{\"resourceType\":\"Binary\",\"data\":\"D\"}]", false },
        { "D", false },
        { "", false },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        assert_int_equal(large_binary(all[i].text, i < 4), all[i].is);
}

/* What is left of a text, as version 7; "L" stands for a large string. */
static void check_cut(const char *text, const char *want)
{
    static const char large[] = "\"L\"";
    CLEANUP(fhir_reader_free) struct fhir_reader *r = fhir_reader_new(1 << 20);
    CLEANUP_BUF struct buf in = BUF_INIT(1 << 20), stored = BUF_INIT(1 << 20),
                           cut = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
    struct fhir_envelope env;
    struct fhir_body left;
    for (const char *at; (at = strstr(text, large)) != NULL; text = at + sizeof large - 1) {
        OK(buf_add(&in, sv_make(text, (size_t)(at - text) + 1), e));
        for (size_t n = 0; n < FHIR_CUT_MEMBER; n++)
            OK(buf_add_char(&in, 'x', e));
        OK(buf_add_char(&in, '"', e));
    }
    OK(buf_add(&in, sv_from(text), e));
    OK(fhir_envelope_read(r, buf_sv(&in), SV_NONE, &stored, &env, e));
    OK(fhir_body_cut(&env.body, &cut, &left, e));
    OK(buf_reserve(&out, left.json.len + FHIR_SPLICE_MAX, e));
    out.len = fhir_body_write(&left, 7, 1795458600123, out.ptr);
    assert_sv(buf_sv(&out), sv_from(want));
}
#define META "\"meta\":{\"versionId\":\"7\",\"lastUpdated\":\"2026-11-23T18:30:00.123Z\",\"tag\":["
#define TAG                                                                               \
    "{\"system\":\"http://terminology.hl7.org/CodeSystem/v3-ObservationValue\",\"code\":" \
    "\"SUBSETTED\"}]"

TEST(large, a_cut_resource_keeps_its_small_members_and_says_that_it_is_cut)
{
    (void)state;
    check_cut("{\"resourceType\":\"Binary\",\"id\":\"b\",\"contentType\":\"a/b\",\"data\":\"L\"}",
              "{\"resourceType\":\"Binary\",\"id\":\"b\",\"contentType\":\"a/b\"," META TAG "}}");
    check_cut("{\"data\":\"L\",\"meta\":{},\"id\":\"b\",\"resourceType\":\"Binary\"}",
              "{\"id\":\"b\",\"resourceType\":\"Binary\"," META TAG "}}");
    check_cut(
        "{\"resourceType\":\"Patient\",\"id\":\"b\",\"name\":[{\"family\":\"L\"}],\"meta\":{"
        "\"profile\":[\"p\"],\"versionId\":\"3\",\"tag\":[{\"code\":\"t\"}]},\"active\":true}",
        "{\"resourceType\":\"Patient\",\"id\":\"b\",\"active\":true," META "{\"code\":\"t\"}," TAG
        ",\"profile\":[\"p\"]}}");
    check_cut("{\"resourceType\":\"Patient\",\"id\":\"b\",\"met\\u0061\":{\"source\":\"s\","
              "\"t\\u0061g\":[]},\"extension\":\"L\",\"text\":\"L\"}",
              "{\"resourceType\":\"Patient\",\"id\":\"b\"," META TAG ",\"source\":\"s\"}}");
    check_cut("{\"resourceType\":\"Patient\",\"id\":\"b\",\"meta\":{\"source\":\"L\"}}",
              "{\"resourceType\":\"Patient\",\"id\":\"b\"," META TAG "}}");
}

TEST_MAIN(T(large, a_binary_is_one_that_says_so_plainly_and_is_small_beside_its_data),
          T(large, a_cut_resource_keeps_its_small_members_and_says_that_it_is_cut))
