/* Files of credentials: what becomes a caller, and what is refused, line by line. */
#include "test.h"

#include "auth/credentials.h"
#include "base/file.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[128];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-credentials-XXXXXX");
    (void)snprintf(path, sizeof path, "%s/credentials", mkdtemp(dir));
    return 0;
}

static int drop_dir(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static void put(const char *name, sv text)
{
    char p[300];
    (void)snprintf(p, sizeof p, "%s/%s", dir, name);
    OK(file_write_atomic(p, text, e));
}

static struct credentials *load(sv text)
{
    struct credentials *c = NULL;
    put("credentials", text);
    OK(credentials_load(path, &c, e));
    return c;
}

TEST(credentials, sections_become_callers)
{
    (void)state;
    struct credentials *c = load(SV_LIT("# callers\n"
                                        "; of all kinds\r\n"
                                        "\n"
                                        "[default]\n"
                                        "aws_access_key_id=AKIAB\n"
                                        "aws_secret_access_key = a/b+c;d#e==f \n"
                                        "region = us-east-1\n"
                                        "  [ profile ci.bot@x ]  \r\n"
                                        "\taws_secret_access_key\t=\ts2\t\r\n"
                                        "aws_access_key_id = AKIAA\r\n"
                                        "aws_session_token = tok/+==\r\n"
                                        "output = json"));
    assert_int_equal(credentials_count(c), 2);
    const struct credential *k = credentials_find(c, SV_LIT("AKIAB"));
    assert_non_null(k);
    assert_sv(k->name, SV_LIT("default"));
    assert_sv(k->secret_key, SV_LIT("a/b+c;d#e==f"));
    assert_sv(k->session_token, SV_NONE);
    assert_null(k->policy);
    k = credentials_find(c, SV_LIT("AKIAA"));
    assert_non_null(k);
    assert_sv(k->name, SV_LIT("ci.bot@x"));
    assert_sv(k->secret_key, SV_LIT("s2"));
    assert_sv(k->session_token, SV_LIT("tok/+=="));
    assert_null(credentials_find(c, SV_LIT("AKIA")));
    assert_null(credentials_find(c, SV_LIT("AKIAAA")));
    assert_null(credentials_find(c, SV_LIT("akiaa")));
    assert_null(credentials_find(c, SV_NONE));
    credentials_free(c);
}

TEST(credentials, long_session_tokens_are_whole)
{
    (void)state;
    char text[9000];
    int n = snprintf(text, sizeof text,
                     "[a]\naws_access_key_id = K\naws_secret_access_key = s\naws_session_token = ");
    memset(text + n, 't', 4096);
    struct credentials *c = load(sv_make(text, (size_t)n + 4096));
    assert_int_equal(credentials_find(c, SV_LIT("K"))->session_token.len, 4096);
    credentials_free(c);
}

#define KEYS "aws_access_key_id = AKIA1\naws_secret_access_key = hush\n"

TEST(credentials, wrong_files_name_section_and_line_but_no_value)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        { "", "no [section]" },
        { "\n# nothing\n", "no [section]" },
        { "hushhush\n[a]\n" KEYS, "line 1 " },
        { "aws_access_key_id = hush\n[a]\n" KEYS, "line 1 stands before" },
        { "[a]\n" KEYS "hush\n", "line 4 " },
        { "[a]\n" KEYS "hush==\n", "line 4, section [a]: unknown key" },
        { "[a]\n" KEYS "polcy = hush.json\n", "unknown key" },
        { "[a]\n" KEYS "AWS_ACCESS_KEY_ID = hush\n", "unknown key" },
        { "[a]\n" KEYS "aws_secret_access_key = hush2\n", "aws_secret_access_key stands twice" },
        { "[a]\naws_access_key_id = hush\n", "line 1, section [a]: aws_secret_access_key" },
        { "[a]\naws_secret_access_key = hush\n[b]\n" KEYS, "section [a]: aws_access_key_id" },
        { "[a]\n" KEYS "\n[b]\n", "line 5, section [b]" },
        { "[a]\n" KEYS "[a]\naws_access_key_id = AKIA2\naws_secret_access_key = hush\n",
          "section [a] stands twice" },
        { "[a]\n" KEYS "[b]\n" KEYS, "[a] and [b] have the same access key id" },
        { "[]\n" KEYS, "line 1: a section name" },
        { "[a b]\n" KEYS, "line 1: a section name" },
        { "[a/../b]\n" KEYS, "line 1: a section name" },
        { "[a\n" KEYS, "line 1 " },
        { "[a]\naws_access_key_id = hush hush\n", "line 2, section [a]: aws_access_key_id" },
        { "[a]\naws_access_key_id = hush/x\n", "line 2, section [a]: aws_access_key_id" },
        { "[a]\naws_access_key_id =\n", "line 2, section [a]: aws_access_key_id" },
        { "[a]\n" KEYS "aws_session_token = hush\xc3\xa4\n", "line 4, section [a]: aws_session" },
        { "[a]\n" KEYS "policy = ../hush.json\n", "line 4, section [a]: policy" },
        { "[a]\n" KEYS "policy = .hush\n", "line 4, section [a]: policy" },
        { "[a]\n" KEYS "policy =\n", "line 4, section [a]: policy" },
        { "[a]\n" KEYS "expires = 2027-01-31\n", "line 4, section [a]: expires has a wrong value" },
        { "[a]\n" KEYS "expires = 2027-02-30T00:00:00Z\n", "line 4, section [a]: expires" },
        { "[a]\n" KEYS "expires = 2027-01-31T00:00:00\n", "line 4, section [a]: expires" },
        { "[a]\n" KEYS "expires = never\n", "an instant such as" },
        { "[a]\n" KEYS "expires = 2027-01-31T00:00:00Z\nexpires = 2027-01-31T00:00:00Z\n",
          "line 5, section [a]: expires stands twice" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct credentials *c = NULL;
        struct err err = { 0 };
        put("credentials", sv_from(bad[i].text));
        err_code rc = credentials_load(path, &c, &err);
        if (rc != ERR_INVALID || strstr(err.msg, bad[i].says) == NULL)
            fail_msg("%s: %s, %s", bad[i].text, err_code_name(rc), err.msg);
        if (strstr(err.msg, "hush") || strstr(err.msg, dir) || strstr(err.ctx, dir))
            fail_msg("says too much: %s", err.msg);
        assert_null(c);
    }
    struct credentials *c = NULL;
    put("credentials", (sv){ "[a]\naws_access_key_id = A\0B\n", 27 });
    FAILS(ERR_INVALID, credentials_load(path, &c, e));
}

TEST(credentials, secrets_over_the_limit_are_refused)
{
    (void)state;
    char text[600];
    struct credentials *c = NULL;
    int n = snprintf(text, sizeof text, "[a]\naws_access_key_id = K\naws_secret_access_key = ");
    memset(text + n, 's', 201);
    put("credentials", sv_make(text, (size_t)n + 201));
    FAILS(ERR_INVALID, credentials_load(path, &c, e));
    put("credentials", sv_make(text, (size_t)n + 200));
    OK(credentials_load(path, &c, e));
    assert_int_equal(credentials_find(c, SV_LIT("K"))->secret_key.len, 200);
    credentials_free(c);
}

TEST(credentials, many_callers_are_found_and_too_many_refused)
{
    (void)state;
    struct buf b = BUF_INIT(2u << 20);
    struct credentials *c = NULL;
    char id[32];
    for (unsigned i = 0; i <= CREDENTIALS_MAX; i++) {
        if (i == CREDENTIALS_MAX) {
            c = load(buf_sv(&b));
            assert_int_equal(credentials_count(c), CREDENTIALS_MAX);
            for (unsigned k = 0; k < CREDENTIALS_MAX; k++) {
                (void)snprintf(id, sizeof id, "K%u", k * 7919 % CREDENTIALS_MAX);
                const struct credential *found = credentials_find(c, sv_from(id));
                assert_non_null(found);
                assert_sv(sv_tail(found->name, 1), sv_from(id + 1));
            }
            credentials_free(c);
            c = NULL;
        }
        OK(buf_add_fmt(&b, e, "[u%u]\naws_access_key_id=K%u\naws_secret_access_key=s\n", i, i));
    }
    put("credentials", buf_sv(&b));
    FAILS(ERR_TOO_LARGE, credentials_load(path, &c, e));
    buf_clear(&b);
    for (unsigned i = 0; i <= CREDENTIALS_MAX_BYTES; i++)
        OK(buf_add_char(&b, '\n', e));
    put("credentials", buf_sv(&b));
    FAILS(ERR_TOO_LARGE, credentials_load(path, &c, e));
    buf_done(&b);
}

TEST(credentials, policies_are_files_beside)
{
    (void)state;
    struct credentials *c = NULL;
    put("read.json", SV_LIT("{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"healthlake:Read*\","
                            "\"Resource\":\"*\"}}"));
    c = load(SV_LIT("[all]\naws_access_key_id = A\naws_secret_access_key = s\n"
                    "[r1]\naws_access_key_id = B\naws_secret_access_key = s\npolicy = read.json\n"
                    "[r2]\naws_access_key_id = C\naws_secret_access_key = s\npolicy=read.json\n"));
    const struct credential *all = credentials_find(c, SV_LIT("A"));
    const struct credential *r1 = credentials_find(c, SV_LIT("B"));
    const struct credential *r2 = credentials_find(c, SV_LIT("C"));
    assert_non_null(r1->policy);
    assert_ptr_equal(r1->policy, r2->policy);
    sv any = SV_LIT("*");
    assert_int_equal(credential_decide(r1, SV_LIT("healthlake:ReadResource"), any, NULL),
                     POLICY_ALLOWED);
    assert_int_equal(credential_decide(r1, SV_LIT("healthlake:DeleteResource"), any, NULL),
                     POLICY_NOT_ALLOWED);
    assert_int_equal(credential_decide(all, SV_LIT("healthlake:DeleteResource"), any, NULL),
                     POLICY_ALLOWED);
    assert_int_equal(credential_decide(all, SV_LIT("iam:PassRole"), any, NULL), POLICY_ALLOWED);
    assert_int_equal(credential_decide(all, SV_LIT("kms:CreateGrant"), any, NULL), POLICY_ALLOWED);
    assert_int_equal(credential_decide(all, SV_LIT("kms:Decrypt"), any, NULL), POLICY_NOT_ALLOWED);
    assert_int_equal(credential_decide(all, SV_LIT("iam:PassRoles"), any, NULL),
                     POLICY_NOT_ALLOWED);
    assert_int_equal(credential_decide(all, SV_LIT("s3:GetObject"), any, NULL), POLICY_NOT_ALLOWED);
    credentials_free(c);

    put("credentials", SV_LIT("[a]\n" KEYS "policy = absent.json\n"));
    c = NULL;
    FAILS(ERR_NOT_FOUND, credentials_load(path, &c, e));
    put("broken.json", SV_LIT("{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\"}}"));
    put("credentials", SV_LIT("[a]\n" KEYS "policy = broken.json\n"));
    struct err err = { 0 };
    assert_int_equal(credentials_load(path, &c, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "Resource"));
    assert_non_null(strstr(err.ctx, "broken.json"));
    assert_non_null(strstr(err.ctx, "[a]"));
    assert_null(c);
}

TEST(credentials, absent_file_is_not_found)
{
    (void)state;
    struct credentials *c = NULL;
    char absent[200];
    (void)snprintf(absent, sizeof absent, "%s/absent", dir);
    FAILS(ERR_NOT_FOUND, credentials_load(absent, &c, e));
    credentials_free(NULL);
}

TEST(credentials, a_new_file_is_private_random_and_readable)
{
    (void)state;
    char a[128], b[128];
    struct stat st;
    struct arena *m = arena_new(1u << 16);
    sv id[2], secret[2], token[2];
    (void)snprintf(a, sizeof a, "%s/new-a", dir);
    (void)snprintf(b, sizeof b, "%s/new-b", dir);
    OK(credentials_create(a, e));
    OK(credentials_create(b, e));
    assert_int_equal(stat(a, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    OK(credentials_own_load(a, m, &id[0], &secret[0], &token[0], e));
    OK(credentials_own_load(b, m, &id[1], &secret[1], &token[1], e));
    assert_false(sv_eq(id[0], id[1]));
    assert_false(sv_eq(secret[0], secret[1]));
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(id[i].len, 20);
        assert_int_equal(secret[i].len, 40);
        assert_int_equal(token[i].len, 0);
        assert_true(sv_starts(id[i], SV_LIT("AKIA")));
        for (size_t k = 0; k < 20; k++)
            assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", id[i].ptr[k]));
    }
    struct credentials *c = NULL;
    OK(credentials_load(a, &c, e));
    assert_sv(credentials_find(c, id[0])->secret_key, secret[0]);
    credentials_free(c);
    arena_free(m);
}

TEST(credentials, a_file_that_exists_stays_as_it_is)
{
    (void)state;
    char a[128];
    struct buf b = BUF_INIT(4096);
    (void)snprintf(a, sizeof a, "%s/kept", dir);
    put("kept", SV_LIT("precious"));
    FAILS(ERR_EXISTS, credentials_create(a, e));
    OK(file_read(a, &b, e));
    assert_sv(buf_sv(&b), SV_LIT("precious"));
    buf_done(&b);
    (void)snprintf(a, sizeof a, "%s/no/such/folder", dir);
    FAILS(ERR_NOT_FOUND, credentials_create(a, e));
    size_t left = 0; /* temporary files are gone */
    DIR *d = opendir(dir);
    for (struct dirent *de; (de = readdir(d)) != NULL;)
        left += strstr(de->d_name, ".new") != NULL || strstr(de->d_name, ".tmp") != NULL;
    closedir(d);
    assert_int_equal(left, 0);
}

TEST(credentials, own_key_is_the_default_or_the_only_one)
{
    (void)state;
    struct arena *m = arena_new(1u << 16);
    sv id = SV_NONE, secret, token;
    put("credentials", SV_LIT("[x]\n" KEYS));
    OK(credentials_own_load(path, m, &id, &secret, &token, e));
    assert_sv(id, SV_LIT("AKIA1"));
    put("credentials", SV_LIT("[x]\n" KEYS "[default]\naws_access_key_id = AKIA2\n"
                              "aws_secret_access_key = s2\naws_session_token = t2\n"));
    OK(credentials_own_load(path, m, &id, &secret, &token, e));
    assert_sv(id, SV_LIT("AKIA2"));
    assert_sv(secret, SV_LIT("s2"));
    assert_sv(token, SV_LIT("t2"));
    put("credentials", SV_LIT("[x]\n" KEYS "[y]\n" KEYS));
    FAILS(ERR_INVALID, credentials_own_load(path, m, &id, &secret, &token, e));
    put("credentials", SV_LIT("[default]\n" KEYS "[default]\n" KEYS));
    FAILS(ERR_INVALID, credentials_own_load(path, m, &id, &secret, &token, e));
    assert_sv(id, SV_LIT("AKIA2"));
    arena_free(m);
}

TEST(credentials, a_key_expires_at_its_instant)
{
    (void)state;
    struct credentials *c = load(SV_LIT("[a]\n" KEYS "expires = 2027-01-31T01:00:00+01:00\n"
                                        "[b]\naws_access_key_id = B\naws_secret_access_key = s\n"));
    const int64_t at = 1801353600000; /* 2027-01-31T00:00:00Z */
    const struct credential *a = credentials_named(c, SV_LIT("a"));
    const struct credential *b = credentials_named(c, SV_LIT("b"));
    assert_sv(a->access_key_id, SV_LIT("AKIA1"));
    assert_null(credentials_named(c, SV_LIT("A")));
    assert_null(credentials_named(c, SV_NONE));
    assert_true(a->expires_ms == at);
    assert_false(credential_is_expired(a, at - 1));
    assert_true(credential_is_expired(a, at));
    assert_false(credential_is_expired(b, INT64_MAX));
    assert_int_equal(credentials_expired(c, at), 1);
    assert_int_equal(credentials_expired(c, at - 1), 0);
    credentials_free(c);
}

/* Does a look see that something happened to the files? */
static bool is_seen(const struct credentials *c)
{
    unsigned char look[SHA256_LEN];
    credentials_look(c, look);
    return !credentials_as_read(c, look);
}

TEST(credentials, a_look_sees_what_happens_to_the_file_and_its_policies)
{
    (void)state;
    const char *caller = "[a]\n" KEYS "policy = p.json\n";
    const char *rule = "{\"Statement\":{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}}";
    char policy[200];
    (void)snprintf(policy, sizeof policy, "%s/p.json", dir);
    put("p.json", sv_from(rule));
    for (unsigned i = 0; i < 6; i++) {
        struct credentials *c = load(sv_from(caller));
        put("not-named.json", sv_from(rule));
        assert_false(is_seen(c));
        switch (i) {
        case 0: /* another file in its place, with the same bytes */
            put("credentials", sv_from(caller));
            break;
        case 1:
            put("p.json", sv_from(rule));
            break;
        case 2:
            assert_int_equal(chmod(policy, 0640), 0);
            break;
        case 3:
            assert_int_equal(unlink(policy), 0);
            break;
        case 4: {
            put("p.json", sv_from(rule));
            assert_true(is_seen(c));
            FILE *f = fopen(path, "a");
            assert_non_null(f);
            assert_true(fputs("\n", f) >= 0);
            assert_int_equal(fclose(f), 0);
            break;
        }
        default:
            assert_int_equal(unlink(path), 0);
            break;
        }
        if (!is_seen(c))
            fail_msg("change %u is not seen", i);
        credentials_free(c);
        put("p.json", sv_from(rule));
        assert_int_equal(chmod(policy, 0600), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(credentials, sections_become_callers),
        T(credentials, long_session_tokens_are_whole),
        T(credentials, wrong_files_name_section_and_line_but_no_value),
        T(credentials, secrets_over_the_limit_are_refused),
        T(credentials, many_callers_are_found_and_too_many_refused),
        T(credentials, policies_are_files_beside),
        T(credentials, absent_file_is_not_found),
        T(credentials, a_new_file_is_private_random_and_readable),
        T(credentials, a_file_that_exists_stays_as_it_is),
        T(credentials, own_key_is_the_default_or_the_only_one),
        T(credentials, a_key_expires_at_its_instant),
        T(credentials, a_look_sees_what_happens_to_the_file_and_its_policies),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
