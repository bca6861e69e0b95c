/* Bundles of requests: what is read from them, and what is refused of the whole or of one entry. */
#include "test.h"

#include "base/limits.h"
#include "fhir/bundle.h"

static struct arena *arena;
static struct fhir_bundle bundle;

static err_code read_text(const char *text, struct err *e)
{
    arena_free(arena);
    arena = arena_new(64u << 20);
    memset(&bundle, 0, sizeof bundle);
    return fhir_bundle_read(sv_from(text), arena, 3, &bundle, e);
}

TEST(bundle, gives_requests_and_the_resource_byte_for_byte)
{
    (void)state;
    OK(read_text(
        " { \"resourceType\" : \"Bundle\",\"x\":[{\"entry\":1}],\"type\":\"batch\", \"entry\" : [\n"
        "{\"fullUrl\":\"urn:uuid:1\", \"resource\" : { \"resourceType\":\"Patient\", "
        "\"a\":[1.00, {}] } ,\"request\":{\"method\":\"POST\",\"url\":\"Patient\","
        "\"ifNoneExist\":\"a=b\"}},"
        "{\"request\":{\"url\":\"Patient/1\",\"\\u006dethod\":\"GET\",\"ifMatch\":\"W/1\","
        "\"ifNoneMatch\":\"W/2\",\"ifModifiedSince\":\"x\"}}]}",
        e));
    assert_int_equal(bundle.n, 2);
    assert_sv(bundle.type, SV_LIT("batch"));
    const struct fhir_bundle_entry *a = &bundle.entries[0], *b = &bundle.entries[1];
    assert_null(a->fault);
    assert_sv(a->full_url, SV_LIT("urn:uuid:1"));
    assert_sv(a->text, SV_LIT("{ \"resourceType\":\"Patient\", \"a\":[1.00, {}] }"));
    assert_sv(a->method, SV_LIT("POST"));
    assert_sv(a->url, SV_LIT("Patient"));
    assert_sv(a->if_none_exist, SV_LIT("a=b"));
    assert_null(b->fault);
    assert_null(b->resource);
    assert_sv(b->method, SV_LIT("GET"));
    assert_sv(b->if_match, SV_LIT("W/1"));
    assert_sv(b->if_none_match, SV_LIT("W/2"));
    assert_sv(b->if_modified_since, SV_LIT("x"));
    OK(read_text("{\"resourceType\":\"Bundle\",\"type\":\"transaction\"}", e));
    assert_int_equal(bundle.n, 0);
    OK(read_text("{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[]}", e));
    assert_int_equal(bundle.n, 0);
}

TEST(bundle, as_a_whole_is_refused_with_a_reason)
{
    (void)state;
    static const char *const bad[][2] = {
        { "", "empty" },
        { "[]", "JSON object" },
        { "{\"resourceType\":\"Bundle\",}", "byte" },
        { "{\"resourceType\":\"Patient\"}", "another" },
        { "{\"type\":\"batch\"}", "another" },
        { "{\"resourceType\":\"Bundle\"}", "batch or transaction" },
        { "{\"resourceType\":\"Bundle\",\"type\":1}", "batch or transaction" },
        { "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":{}}", "array" },
        { "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"type\":\"batch\"}", "twice" },
        { "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[],\"entry\":[]}", "twice" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = { 0 };
        assert_int_equal(read_text(bad[i][0], &e), ERR_INVALID);
        if (strstr(e.msg, bad[i][1]) == NULL)
            fail_msg("%s: %s", bad[i][0], e.msg);
    }
    FAILS(ERR_TOO_LARGE,
          read_text("{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[1,2,3,4]}", e));
}

TEST(bundle, tells_the_faults_of_an_entry)
{
    (void)state;
#define REQ "\"request\":{\"method\":\"GET\",\"url\":\"Patient\"}"
    static const char *const bad[][2] = {
        { "7", "" },
        { "{}", ".request" },
        { "{\"request\":[]}", ".request" },
        { "{\"request\":{\"url\":\"Patient\"}}", ".request.method" },
        { "{\"request\":{\"method\":\"get\",\"url\":\"Patient\"}}", ".request.method" },
        { "{\"request\":{\"method\":\"GET\"}}", ".request.url" },
        { "{\"request\":{\"method\":\"GET\",\"url\":7}}", ".request.url" },
        { "{\"request\":{\"method\":\"GET\",\"url\":\"a\",\"url\":\"b\"}}", ".request.url" },
        { "{\"request\":{\"method\":\"GET\",\"url\":\"a\",\"ifMatch\":null}}", ".request.ifMatch" },
        { "{\"request\":{\"method\":\"GET\",\"url\":\"a\",\"ifMatch\":\"\"}}", ".request.ifMatch" },
        { "{\"request\":{\"method\":\"GET\",\"url\":\"a\",\"ifNoneMatch\":\"\"}}",
          ".request.ifNoneMatch" },
        { "{\"request\":{\"method\":\"GET\",\"url\":\"a\",\"ifNoneExist\":\"\"}}",
          ".request.ifNoneExist" },
        { "{\"request\":{\"method\":\"GET\",\"url\":\"a\",\"ifModifiedSince\":\"\"}}",
          ".request.ifModifiedSince" },
        { "{" REQ "," REQ "}", ".request" },
        { "{" REQ ",\"resource\":[]}", ".resource" },
        { "{" REQ ",\"resource\":{},\"resource\":{}}", ".resource" },
        { "{" REQ ",\"fullUrl\":\"\"}", ".fullUrl" },
        { "{" REQ ",\"fullUrl\":\"a\",\"fullUrl\":\"b\"}", ".fullUrl" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text,
                       "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[%s,{" REQ "}]}",
                       bad[i][0]);
        OK(read_text(text, e));
        assert_int_equal(bundle.n, 2);
        if (bundle.entries[0].fault == NULL)
            fail_msg("no fault: %s", bad[i][0]);
        assert_string_equal(bundle.entries[0].where, bad[i][1]);
        assert_null(bundle.entries[1].fault);
    }
}

static size_t begin(char *text, size_t len)
{
    return (size_t)snprintf(text, len, "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"x\":");
}

TEST(bundle, is_bounded_in_depth_and_memory)
{
    (void)state;
    char *text = malloc(1 << 20);
    size_t n = begin(text, 1 << 20);
    for (int i = 0; i < 100000; i++)
        text[n++] = '[';
    text[n] = 0;
    FAILS(ERR_TOO_LARGE, read_text(text, e));
    n = begin(text, 1 << 20);
    for (int i = 0; i < 200000; i++)
        n += (size_t)snprintf(text + n, 4, "%s0", i ? "," : "[");
    (void)snprintf(text + n, 3, "]}");
    struct arena *small = arena_new(1u << 20);
    FAILS(ERR_TOO_LARGE, fhir_bundle_read(sv_from(text), small, 3, &bundle, e));
    arena_free(small);
    free(text);
}

TEST_MAIN(T(bundle, gives_requests_and_the_resource_byte_for_byte),
          T(bundle, as_a_whole_is_refused_with_a_reason), T(bundle, tells_the_faults_of_an_entry),
          T(bundle, is_bounded_in_depth_and_memory))
