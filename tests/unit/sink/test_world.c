/* test_world.c - what of a configuration is refused, and what opening a place makes of its parts.
 * What roles refuse is in test_roles.c, places that are not well formed in test_dir.c. */
#include "test.h"

#include "base/file.h"
#include "sink/sink_private.h"

#include <regex.h>
#include <sys/stat.h>
#include <unistd.h>

/* TEST names a state that few tests need. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define ROLE SV_LIT("arn:aws:iam::123456789012:role/r")

static char root[64];
static struct sink_world *w;

static int set_up(void **state)
{
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-world-XXXXXX");
    assert_non_null(mkdtemp(root));
    struct sink_config cfg = { .objects_dir = root };
    OK(sink_world_new(&cfg, &w, e));
    return 0;
}

static int tear_down(void **state)
{
    sink_world_free(w);
    return file_remove_tree(root, NULL);
}

/* AssumeRole: RoleSessionName has 2 to 64 characters of [\w+=,.@-].
 * Source: AWS STS API reference, AssumeRole. */
TEST(world, a_name_of_a_session_is_one_that_sts_takes)
{
    regex_t good;
    uint64_t x = 1;
    assert_int_equal(regcomp(&good, "^[A-Za-z0-9_+=,.@-]{2,64}$", REG_EXTENDED | REG_NOSUB), 0);
    for (int i = 0; i < 2000; i++) {
        char name[100], got[80];
        size_t len = (size_t)i % sizeof name;
        for (size_t k = 0; k < len; k++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            /* each second name has letters that are allowed, and one odd byte at most */
            name[k] = i % 2 && k != 3 ? "aZ09_+=,.@-"[(x >> 33) % 11] : (char)(x >> 56);
        }
        struct sink_target t = { .uri = SV_LIT("s3://bucket/out"),
                                 .role_arn = ROLE,
                                 .session_name = sv_make(name, len) };
        CLEANUP(sink_close) struct sink *s = NULL;
        OK(sink_open(w, &t, &s, e));
        sv is = s->who.session_name;
        assert_true(is.len < sizeof got && memchr(is.ptr, 0, is.len) == NULL);
        memcpy(got, is.ptr, is.len);
        got[is.len] = 0;
        if (regexec(&good, got, 0, NULL, 0) != 0)
            fail_msg("%s is no name of a session", got);
        /* a character that is allowed stays where it is */
        for (size_t k = 0; k < is.len && k < len && len >= 2; k++)
            if (name[k] &&
                strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-",
                       name[k]))
                assert_int_equal(is.ptr[k], name[k]);
        if (len >= 2)
            assert_int_equal(is.len, len < 64 ? len : 64);
    }
    regfree(&good);
}

TEST(world, slashes_behind_a_prefix_say_that_it_is_a_folder)
{
    static const struct {
        const char *uri, *bucket, *prefix;
        bool folder;
    } places[] = { { "s3://bucket", "bucket", "", false },
                   { "s3://bucket/a", "bucket", "a", false },
                   { "s3://bucket/a/", "bucket", "a", true },
                   { "s3://bucket/a/b/", "bucket", "a/b", true } };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct sink_target t = { .uri = sv_from(places[i].uri), .role_arn = ROLE };
        CLEANUP(sink_close) struct sink *s = NULL;
        OK(sink_open(w, &t, &s, e));
        assert_sv(s->bucket, sv_from(places[i].bucket));
        assert_sv(s->prefix, sv_from(places[i].prefix));
        assert_int_equal(s->folder, places[i].folder);
    }
}

/* A job's texts may be gone while its sink is open. */
TEST(world, a_sink_keeps_what_it_was_opened_with)
{
    char uri[] = "s3://bucket/out", arn[] = "arn:aws:iam::123456789012:role/r", key[] = "key-1",
         source[] = "arn:aws:healthlake:r:1:datastore/fhir/x", account[] = "123456789012",
         name[] = "job";
    CLEANUP(sink_close) struct sink *s = NULL;
    struct sink_target t = { .uri = sv_from(uri),
                             .role_arn = sv_from(arn),
                             .kms_key_id = sv_from(key),
                             .source_arn = sv_from(source),
                             .account_id = sv_from(account),
                             .session_name = sv_from(name) };
    OK(sink_open(w, &t, &s, e));
    char *const texts[] = { uri, arn, key, source, account, name };
    for (size_t i = 0; i < 6; i++)
        memset(texts[i], '#', strlen(texts[i]));
    assert_sv(s->bucket, SV_LIT("bucket"));
    assert_sv(s->prefix, SV_LIT("out"));
    assert_sv(s->who.role_arn, ROLE);
    assert_sv(s->kms_key_id, SV_LIT("key-1"));
    assert_sv(s->who.source_arn, SV_LIT("arn:aws:healthlake:r:1:datastore/fhir/x"));
    assert_sv(s->who.source_account, SV_LIT("123456789012"));
    assert_sv(s->who.session_name, SV_LIT("job"));
}

static void refused(const struct sink_config *cfg, const char *says)
{
    struct sink_world *no = NULL;
    struct err e = { 0 };
    assert_int_equal(sink_world_new(cfg, &no, &e), ERR_INVALID);
    assert_null(no);
    if (strstr(e.msg, says) == NULL)
        fail_msg("\"%s\" does not say %s", e.msg, says);
}

TEST(world, an_endpoint_has_a_url_of_http_and_a_region)
{
    struct s3_credentials own = { .access_key_id = SV_LIT("k"), .secret_key = SV_LIT("s") };
    struct s3_endpoint good = { .url = SV_LIT("http://127.0.0.1:9"), .region = SV_LIT("r") },
                       ftp = { .url = SV_LIT("ftp://127.0.0.1"), .region = SV_LIT("r") },
                       nowhere = { .url = SV_LIT("http://127.0.0.1:9") };
    refused(&(struct sink_config){ .s3 = &ftp, .sts = &good, .own = own }, "S3 endpoint");
    refused(&(struct sink_config){ .s3 = &good, .sts = &ftp, .own = own }, "STS endpoint");
    refused(&(struct sink_config){ .s3 = &nowhere, .sts = &good, .own = own }, "region");
    refused(&(struct sink_config){ .s3 = &good, .sts = &nowhere, .own = own }, "region");
    own.secret_key = SV_LIT("");
    refused(&(struct sink_config){ .s3 = &good, .sts = &good, .own = own }, "credentials");
    own = (struct s3_credentials){ .secret_key = SV_LIT("s") };
    refused(&(struct sink_config){ .s3 = &good, .sts = &good, .own = own }, "credentials");
}

TEST(world, a_kms_endpoint_has_our_own_keys_and_tls_beyond_loopback)
{
    struct s3_credentials own = { .access_key_id = SV_LIT("AKID"), .secret_key = SV_LIT("s") };
    struct s3_endpoint near = { .url = SV_LIT("http://127.0.0.1:9"), .region = SV_LIT("r") };
    struct s3_endpoint far = { .url = SV_LIT("http://kms.example"), .region = SV_LIT("r") };
    struct s3_endpoint nowhere = { .url = SV_LIT("https://kms.example") };
    refused(&(struct sink_config){ .objects_dir = root, .kms = &near }, "own credentials");
    refused(&(struct sink_config){ .objects_dir = root, .kms = &far, .own = own }, "https://");
    refused(&(struct sink_config){ .objects_dir = root, .kms = &nowhere, .own = own }, "region");
}

TEST(world, the_folder_for_objects_is_made_for_its_owner_alone)
{
    char dir[128];
    struct stat st;
    (void)snprintf(dir, sizeof dir, "%s/deep/objects", root);
    struct sink_config cfg = { .objects_dir = dir };
    CLEANUP(sink_world_free) struct sink_world *other = NULL;
    OK(sink_world_new(&cfg, &other, e));
    assert_int_equal(stat(dir, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 077, 0);
}

/* A file of roles in which ROLE may touch all below this place. */
static void put_roles(const char *path, const char *place)
{
    char text[256];
    (void)snprintf(text, sizeof text, "{\"roles\":[{\"arn\":\"%.*s\",\"allow\":[\"%s\"]}]}",
                   SV_FMT(ROLE), place);
    OK(file_write_atomic(path, sv_from(text), e));
}

TEST(world, roles_that_are_read_again_count_for_what_is_opened_from_then_on)
{
    char path[80];
    const struct sink_target a = { .uri = SV_LIT("s3://bucket/a/"), .role_arn = ROLE };
    const struct sink_target b = { .uri = SV_LIT("s3://bucket/b/"), .role_arn = ROLE };
    CLEANUP(sink_world_free) struct sink_world *other = NULL;
    CLEANUP(sink_close) struct sink *before = NULL, *behind = NULL, *none = NULL;
    (void)snprintf(path, sizeof path, "%s/roles.json", root);
    put_roles(path, "s3://bucket/a/*");
    struct sink_config cfg = { .objects_dir = root, .roles_file = path };
    OK(sink_world_new(&cfg, &other, e));
    OK(sink_open(other, &a, &before, e));
    FAILS(ERR_DENIED, sink_open(other, &b, &none, e));
    /* what is broken changes nothing */
    OK(file_write_atomic(path, SV_LIT("{\"roles\":"), e));
    FAILS(ERR_INVALID, sink_world_read_roles(other, path, e));
    FAILS(ERR_DENIED, sink_open(other, &b, &none, e));
    put_roles(path, "s3://bucket/b/*");
    OK(sink_world_read_roles(other, path, e));
    OK(sink_open(other, &b, &behind, e));
    FAILS(ERR_DENIED, sink_open(other, &a, &none, e));
    /* what is open goes on under the roles that it was opened with */
    OK(sink_may(before, SV_LIT("a/x"), e));
    FAILS(ERR_DENIED, sink_may(before, SV_LIT("b/x"), e));
    OK(sink_may(behind, SV_LIT("b/x"), e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(world, a_name_of_a_session_is_one_that_sts_takes),
        T(world, slashes_behind_a_prefix_say_that_it_is_a_folder),
        T(world, a_sink_keeps_what_it_was_opened_with),
        T(world, an_endpoint_has_a_url_of_http_and_a_region),
        T(world, a_kms_endpoint_has_our_own_keys_and_tls_beyond_loopback),
        T(world, the_folder_for_objects_is_made_for_its_owner_alone),
        T(world, roles_that_are_read_again_count_for_what_is_opened_from_then_on),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
