/* test_roles.c - the roles file, what a world needs, and what a role may touch. */
#include "test.h"

#include "base/file.h"
#include "sink/sink_private.h"

#include <unistd.h>

/* TEST names a state that few tests need. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define R     "\"arn\":\"arn:aws:iam::123456789012:role/r\""
#define A     "\"allow\":[\"s3://b/p/*\"]"
#define IN(x) "{\"roles\":[{" x "}]}"

static void refused(const char *text, bool need_credentials, const char *place)
{
    struct roles *r = NULL;
    struct err e = { 0 };
    assert_int_equal(roles_parse(sv_from(text), need_credentials, &r, &e), ERR_INVALID);
    assert_null(r);
    if (strstr(e.msg, place) == NULL)
        fail_msg("\"%s\" does not name %s", e.msg, place);
}

TEST(roles, faults_are_named_with_their_place)
{
    refused("", false, "roles file");
    refused("[]", false, "the document");
    refused("{}", false, "roles");
    refused("{\"roles\":{}}", false, "roles");
    refused("{\"roles\":[],\"x\":1}", false, "\"x\"");
    refused("{\"roles\":[1]}", false, "roles[0]");
    refused(IN(R), false, "roles[0] lacks \"allow\"");
    refused(IN(A), false, "roles[0] lacks \"arn\"");
    refused(IN(R "," A ",\"allows\":[]"), false, "\"allows\"");
    refused(IN(R "," R "," A), false, "\"arn\" twice");
    refused(IN("\"arn\":\"arn:aws:iam::12:role/r\"," A), false, "roles[0].arn");
    refused(IN("\"arn\":7," A), false, "roles[0].arn");
    refused(IN(R ",\"allow\":[]"), false, "roles[0].allow");
    refused(IN(R ",\"allow\":\"s3://b/*\""), false, "roles[0].allow");
    refused(IN(R ",\"allow\":[\"s3://b/*\",\"b/*\"]"), false, "roles[0].allow[1]");
    refused(IN(R ",\"allow\":[\"s3://b*/x\"]"), false, "roles[0].allow[0]");
    refused(IN(R ",\"allow\":[\"s3://b\"]"), false, "roles[0].allow[0]");
    refused(IN(R "," A ",\"kmsKeys\":[1]"), false, "roles[0].kmsKeys[0]");
    refused(IN(R "," A), true, "roles[0] lacks \"credentials\"");
    refused(IN(R "," A ",\"credentials\":{\"accessKeyId\":\"k\"}"), true,
            "roles[0].credentials lacks \"secretAccessKey\"");
    refused(IN(R "," A ",\"credentials\":{\"accessKeyId\":\"k\",\"secretAccessKey\":\"s\","
                 "\"token\":\"t\"}"),
            true, "\"token\"");
    refused(IN(R "," A ",\"credentials\":{\"accessKeyId\":\"\",\"secretAccessKey\":\"s\"}"), true,
            "roles[0].credentials.accessKeyId");
    refused("{\"roles\":[{" R "," A "},{" R "," A "}]}", false, "roles[1].arn stands there twice");
    refused("{\"roles\":[{" R "," A "}]", false, "roles file");
}

TEST(roles, secrets_do_not_stand_in_messages)
{
    struct roles *r = NULL;
    struct err e = { 0 };
    const char *text = IN(R "," A ",\"credentials\":{\"accessKeyId\":\"k\",\"secretAccessKey\":"
                            "\"hush\\nhush\"}");
    assert_int_equal(roles_parse(sv_from(text), true, &r, &e), ERR_INVALID);
    assert_null(strstr(e.msg, "hush"));
}

static struct roles *parse(const char *text)
{
    struct roles *r = NULL;
    OK(roles_parse(sv_from(text), false, &r, e));
    return r;
}

static bool may(const char *allow, const char *bucket, const char *key)
{
    char text[512];
    (void)snprintf(text, sizeof text, "{\"roles\":[{%s,\"allow\":[\"%s\"]}]}", R, allow);
    CLEANUP(roles_free) struct roles *r = parse(text);
    return role_may(&r->items[0], sv_from(bucket), sv_from(key));
}

static bool may_below(const char *allow, const char *bucket, const char *prefix)
{
    char text[512];
    (void)snprintf(text, sizeof text, "{\"roles\":[{%s,\"allow\":[\"%s\"]}]}", R, allow);
    CLEANUP(roles_free) struct roles *r = parse(text);
    return role_may_below(&r->items[0], sv_from(bucket), sv_from(prefix));
}

TEST(roles, patterns_cover_what_they_say_and_no_more)
{
    assert_true(may("s3://b/p/*", "b", "p/x"));
    assert_true(may("s3://b/p/*", "b", "p/x/y"));
    assert_false(may("s3://b/p/*", "b", "p"));
    assert_false(may("s3://b/p/*", "b", "px/y"));
    assert_false(may("s3://b/p/*", "bb", "p/x"));
    assert_false(may("s3://b/p/*", "c", "b/p/x"));
    assert_true(may("s3://b/*", "b", "anything/at/all"));
    assert_true(may("s3://b/a?c", "b", "abc"));
    assert_false(may("s3://b/a?c", "b", "ac"));
    assert_true(may("s3://b/*/x/*.gz", "b", "1/x/2/x/3.gz"));
    assert_false(may("s3://b/*/x/*.gz", "b", "1/y/3.gz"));
    assert_true(may("s3://b/one", "b", "one"));
    assert_false(may("s3://b/one", "b", "one/two"));
    assert_true(may_below("s3://b/p/*", "b", "p"));
    assert_true(may_below("s3://b/p/*", "b", "p/q"));
    assert_true(may_below("s3://b/*", "b", ""));
    assert_false(may_below("s3://b/p/*", "b", ""));
    assert_false(may_below("s3://b/p/*.gz", "b", "p"));
    assert_false(may_below("s3://b/p", "b", "p"));
    /* a pattern that would take exponential time in a naive matcher */
    char many[300] = "s3://b/";
    size_t n = strlen(many);
    for (int i = 0; i < 100; i++) {
        many[n++] = '*';
        many[n++] = 'a';
    }
    many[n] = 0;
    char key[1025];
    memset(key, 'a', 1024);
    key[1023] = 'b';
    key[1024] = 0;
    assert_false(may(many, "b", key));
}

TEST(roles, arns_of_roles_are_told_from_others)
{
    assert_true(role_arn_ok(SV_LIT("arn:aws:iam::123456789012:role/a")));
    assert_true(role_arn_ok(SV_LIT("arn:aws-us-gov:iam::123456789012:role/path/to/a")));
    assert_false(role_arn_ok(SV_LIT("")));
    assert_false(role_arn_ok(SV_LIT("arn:aws:iam::123456789012:user/a")));
    assert_false(role_arn_ok(SV_LIT("arn:aws:iam::123456789012:role/")));
    assert_false(role_arn_ok(SV_LIT("arn:aws:iam::12345678901:role/a")));
    assert_false(role_arn_ok(SV_LIT("arn:aws:iam::1234567890123:role/a")));
    assert_false(role_arn_ok(SV_LIT("arn:aws:iam::123456789012:role/a b")));
    assert_false(role_arn_ok(SV_LIT("arn:aws")));
}

/* ---- worlds ---- */
TEST(world, configurations_that_lack_something_say_what)
{
    struct sink_world *w = NULL;
    struct s3_endpoint s3 = { .url = SV_LIT("http://127.0.0.1:9"), .region = SV_LIT("r") };
    struct err e = { 0 };
    struct sink_config cfg = { 0 };
    assert_int_equal(sink_world_new(&cfg, &w, &e), ERR_INVALID);
    cfg = (struct sink_config){ .s3 = &s3 };
    assert_int_equal(sink_world_new(&cfg, &w, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "STS"));
    assert_non_null(strstr(e.msg, "roles file"));
    cfg = (struct sink_config){ .s3 = &s3, .sts = &s3 };
    assert_int_equal(sink_world_new(&cfg, &w, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "credentials"));
    cfg = (struct sink_config){ .s3 = &s3, .objects_dir = TEST_TMP };
    assert_int_equal(sink_world_new(&cfg, &w, &e), ERR_INVALID);
    cfg = (struct sink_config){ .objects_dir = TEST_TMP, .roles_file = "/dev/null/absent" };
    assert_int_equal(sink_world_new(&cfg, &w, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "roles file"));
    assert_null(strstr(e.msg, "absent"));
    assert_null(w);
}

TEST(world, roles_bound_what_a_directory_sink_touches)
{
    char root[64] = TEST_TMP "/fhirlake-roles-XXXXXX", file[128];
    assert_non_null(mkdtemp(root));
    (void)snprintf(file, sizeof file, "%s/roles.json", root);
    OK(file_write_atomic(file,
                         SV_LIT("{\"roles\":[{" R ",\"allow\":[\"s3://bucket/out/*\","
                                "\"s3://bucket/in/one.ndjson\"],\"kmsKeys\":[\"key-1\"]}]}"),
                         e));
    struct sink_config cfg = { .objects_dir = root, .roles_file = file, .make_buckets = true };
    CLEANUP(sink_world_free) struct sink_world *w = NULL;
    CLEANUP(sink_close) struct sink *s = NULL, *one = NULL, *no = NULL;
    OK(sink_world_new(&cfg, &w, e));
    struct sink_target t = { .uri = SV_LIT("s3://bucket/out/x"),
                             .role_arn = SV_LIT("arn:aws:iam::123456789012:role/r"),
                             .kms_key_id = SV_LIT("key-1") };
    OK(sink_open(w, &t, &s, e));
    OK(sink_probe_write(s, e));
    OK(sink_put(s, SV_LIT("y"), SV_NONE, SV_LIT("1"), NULL, e));
    struct byte_reader r;
    FAILS(ERR_DENIED, sink_read(s, SV_LIT("in/other"), 0, &r, e));

    t.kms_key_id = SV_LIT("key-2");
    FAILS(ERR_DENIED, sink_open(w, &t, &no, e));
    t.kms_key_id = SV_NONE;
    t.uri = SV_LIT("s3://bucket/elsewhere");
    FAILS(ERR_DENIED, sink_open(w, &t, &no, e));
    t.uri = SV_LIT("s3://bucket");
    FAILS(ERR_DENIED, sink_open(w, &t, &no, e));
    t.uri = SV_LIT("s3://other/out/x");
    FAILS(ERR_DENIED, sink_open(w, &t, &no, e));
    t.uri = SV_LIT("s3://bucket/out/x");
    t.role_arn = SV_LIT("arn:aws:iam::123456789012:role/unknown");
    FAILS(ERR_DENIED, sink_open(w, &t, &no, e));

    /* a single object may be read, nothing beside or below it */
    t.role_arn = SV_LIT("arn:aws:iam::123456789012:role/r");
    t.uri = SV_LIT("s3://bucket/in/one.ndjson");
    OK(sink_open(w, &t, &one, e));
    FAILS(ERR_NOT_FOUND, sink_read(one, SV_LIT("in/one.ndjson"), 0, &r, e));
    FAILS(ERR_DENIED, sink_put(one, SV_LIT("z"), SV_NONE, SV_LIT("1"), NULL, e));
    OK(file_remove_tree(root, e));
}

TEST_MAIN(T(roles, faults_are_named_with_their_place), T(roles, secrets_do_not_stand_in_messages),
          T(roles, patterns_cover_what_they_say_and_no_more),
          T(roles, arns_of_roles_are_told_from_others),
          T(world, configurations_that_lack_something_say_what),
          T(world, roles_bound_what_a_directory_sink_touches))
