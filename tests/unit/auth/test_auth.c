/* Requests signed by botocore (tests/golden/sigv4) knock at the door. */
#include "test.h"

#include "auth/auth.h"
#include "base/file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW     1795458600000 /* 2026-11-23T18:30:00Z, the golden cases' time */
#define ACCOUNT "000000000000"
#define STORE \
    "arn:aws:healthlake:us-east-1:" ACCOUNT ":datastore/fhir/0123456789abcdef0123456789abcdef"

static char dir[64], path[128];
static struct auth *au;

static void put(const char *name, const char *text)
{
    char p[300];
    (void)snprintf(p, sizeof p, "%s/%s", dir, name);
    OK(file_write_atomic(p, sv_from(text), e));
}

static bool unsigned_payload;

static void start(const char *credentials)
{
    struct auth_config cfg = { .credentials_path = path,
                               .region = SV_LIT("us-east-1"),
                               .account_id = SV_LIT(ACCOUNT),
                               .unsigned_payload = unsigned_payload };
    put("credentials", credentials);
    auth_free(au);
    au = NULL;
    OK(auth_new(&cfg, &au, e));
}

#define ZEROS  "0000000000000000000000000000000000000000000000000000000000000000"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define APP    "[app]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = " SECRET "\n"
#define TOKEN  "aws_session_token = FwoGZXIvYXdzEJr//////////wEaDExAMPLE+token/with=signs==\n"

#define ALLOW_READ "{\"Effect\":\"Allow\",\"Action\":\"healthlake:Read*\",\"Resource\":\"*\""

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-auth-XXXXXX");
    (void)snprintf(path, sizeof path, "%s/credentials", mkdtemp(dir));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    auth_free(au);
    return file_remove_tree(dir, NULL);
}

/* ---- requests ---- */

#define MAX_HEADERS 32

struct asked {
    struct http_request req;
    struct http_header headers[MAX_HEADERS];
};

/* A golden case as the HTTP server would hand it over: values without outer blanks. */
static void ask(struct asked *t, const char *name)
{
    char file[600];
    struct buf b = BUF_INIT(1u << 20);
    (void)snprintf(file, sizeof file, "%s/tests/golden/sigv4/%s-signed-request.txt",
                   getenv("FHIRLAKE_SOURCE"), name);
    OK(file_read(file, &b, e));
    *t = (struct asked){ .req = { .arena = arena_new(1u << 20) } };
    sv text = arena_sv(t->req.arena, buf_sv(&b)), line;
    buf_done(&b);
    assert_true(sv_cut(&text, '\n', &line));
    size_t method = sv_find(line, ' ');
    t->req.method = sv_head(line, method);
    t->req.target = sv_make(line.ptr + method + 1, line.len - method - 1 - 9);
    t->req.path = sv_head(t->req.target, sv_find(t->req.target, '?'));
    t->req.query = sv_tail(t->req.target, t->req.path.len + 1);
    t->req.headers = t->headers;
    while (sv_cut(&text, '\n', &line) && line.len) {
        size_t colon = sv_find(line, ':');
        assert_true(t->req.n_headers + 2 < MAX_HEADERS); /* tests add some */
        t->headers[t->req.n_headers++] =
            (struct http_header){ sv_head(line, colon), sv_trim(sv_tail(line, colon + 1)) };
    }
    t->req.body = text.ptr ? text : SV_LIT("");
}

static void done(struct asked *t)
{
    arena_free(t->req.arena);
}

static sv *header(struct asked *t, const char *name)
{
    for (size_t i = 0; i < t->req.n_headers; i++)
        if (sv_eq_nocase(t->headers[i].name, sv_from(name)))
            return &t->headers[i].value;
    fail_msg("no header %s", name);
    return NULL;
}

/* ---- who ---- */

TEST(auth, requests_of_a_real_signer_pass_in_both_forms)
{
    (void)state;
    static const char *const cases[] = { "control-plane/header",
                                         "control-plane/query",
                                         "unsigned-payload/header",
                                         "unsigned-payload/query",
                                         "unsigned-payload-in-query/header",
                                         "unsigned-payload-in-query/query",
                                         "signed-payload-header/header",
                                         "signed-payload-header/query",
                                         "read/header",
                                         "read/query",
                                         "search-encoded-values/header",
                                         "search-encoded-values/query",
                                         "search-repeated-and-empty/header",
                                         "search-order-of-case/header",
                                         "export-operation/header",
                                         "export-operation/query",
                                         "path-encoded-twice/header",
                                         "path-encoded-twice/query",
                                         "path-normalized/header",
                                         "path-up-over-root/query",
                                         "headers-folded-and-repeated/header",
                                         "body-of-all-bytes/header",
                                         "body-of-all-bytes/query" };
    unsigned_payload = true;
    start("[other]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = s\n" APP);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct asked t;
        struct auth_caller who = { 0 };
        struct err err = { 0 };
        ask(&t, cases[i]);
        if (auth_check(au, &t.req, NOW, &who, &err) != ERR_OK)
            fail_msg("%s: %s", cases[i], err.msg);
        assert_sv(who.arn, SV_LIT("arn:aws:iam::" ACCOUNT ":user/app"));
        assert_sv(who.access_key_id, SV_LIT("AKIDEXAMPLE"));
        assert_sv(who.credential->name, SV_LIT("app"));
        done(&t);
    }
    unsigned_payload = false;
}

TEST(auth, session_token_is_wanted_exactly)
{
    (void)state;
    struct asked t;
    struct auth_caller who = { 0 };
    static const char *const forms[] = { "control-plane-session-token/header",
                                         "control-plane-session-token/query" };
    for (size_t i = 0; i < 2; i++) {
        start(APP TOKEN);
        ask(&t, forms[i]);
        OK(auth_check(au, &t.req, NOW, &who, e));
        start(APP); /* a token for a key that has none */
        FAILS(ERR_AUTH_UNKNOWN_KEY, auth_check(au, &t.req, NOW, &who, e));
        done(&t);
    }
    start(APP TOKEN);
    ask(&t, "control-plane/header"); /* none for a key that has one */
    FAILS(ERR_AUTH_UNKNOWN_KEY, auth_check(au, &t.req, NOW, &who, e));
    done(&t);
}

TEST(auth, the_body_is_covered)
{
    (void)state;
    struct asked t;
    struct auth_caller who = { .arn = SV_LIT("untouched") };
    start(APP);
    static const char *const cases[] = { "control-plane/header", "control-plane/query",
                                         "signed-payload-header/header" };
    for (size_t i = 0; i < 3; i++) {
        ask(&t, cases[i]);
        t.req.body = SV_LIT("{ }");
        FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
        t.req.body = SV_NONE;
        FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
        done(&t);
    }
    unsigned_payload = true;
    start(APP);
    ask(&t, "unsigned-payload/header"); /* the client chose so, and signed that it did */
    t.req.body = SV_LIT("{ }");
    OK(auth_check(au, &t.req, NOW, &who, e));
    done(&t);
    unsigned_payload = false;
    start(APP);
    who.arn = SV_LIT("untouched");
    ask(&t, "control-plane/header"); /* it did not choose so */
    t.headers[t.req.n_headers++] =
        (struct http_header){ SV_LIT("x-amz-content-sha256"), SV_LIT("UNSIGNED-PAYLOAD") };
    FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
    t.headers[t.req.n_headers - 1].value = SV_LIT(ZEROS); /* unsigned, and still not true */
    FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
    t.req.n_headers--;
    OK(auth_check(au, &t.req, NOW, &who, e));
    who.arn = SV_LIT("untouched");
    done(&t);
    ask(&t, "signed-payload-header/header");
    static const char *const wrong[] = { "", "unsigned-payload",
                                         "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ZEROS };
    for (size_t i = 0; i < 4; i++) {
        *header(&t, "x-amz-content-sha256") = sv_from(wrong[i]);
        FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
    }
    assert_sv(who.arn, SV_LIT("untouched"));
    done(&t);
}

TEST(auth, a_body_that_the_signature_does_not_cover_takes_the_option)
{
    (void)state;
    static const char *const cases[] = { "unsigned-payload/header", "unsigned-payload/query",
                                         "unsigned-payload-in-query/header",
                                         "unsigned-payload-in-query/query" };
    for (size_t i = 0; i < 4; i++) {
        struct asked t;
        struct auth_caller who = { .arn = SV_LIT("untouched") };
        for (int option = 0; option < 2; option++) {
            unsigned_payload = option == 1;
            start(APP);
            ask(&t, cases[i]);
            assert_int_equal(auth_check(au, &t.req, NOW, &who, NULL),
                             option ? ERR_OK : ERR_AUTH_SIGNATURE);
            t.req.body = SV_NONE; /* not even nothing, when something is written */
            assert_int_equal(auth_check(au, &t.req, NOW, &who, NULL),
                             option ? ERR_OK : ERR_AUTH_SIGNATURE);
            done(&t);
        }
        unsigned_payload = false;
    }
}

/* ---- the two steps ---- */

TEST(auth, a_head_proves_its_caller_when_it_says_what_the_body_hashes_to)
{
    (void)state;
    static const struct {
        const char *name;
        bool proven;
    } cases[] = { { "control-plane/header", false },
                  { "control-plane/query", true }, /* its hash is in the query */
                  { "signed-payload-header/header", true },
                  { "signed-payload-header/query", true },
                  { "body-of-all-bytes/header", false } };
    start(APP);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct asked t;
        struct auth_pass pass = { 0 };
        struct auth_caller who = { 0 };
        ask(&t, cases[i].name);
        sv body = t.req.body;
        t.req.body = SV_NONE; /* not there yet */
        t.req.length = body.len;
        OK(auth_begin(au, &t.req, NOW, &pass, e));
        if (pass.proven != cases[i].proven)
            fail_msg("%s: %d", cases[i].name, pass.proven);
        t.req.left = &pass;
        t.req.body = body;
        OK(auth_check(au, &t.req, NOW + 86400000, &who, e)); /* the clock of the head counts */
        assert_sv(who.access_key_id, SV_LIT("AKIDEXAMPLE"));
        who.arn = SV_LIT("untouched");
        t.req.body = SV_LIT("{ }");
        FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
        t.req.body = SV_NONE;
        FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
        assert_sv(who.arn, SV_LIT("untouched"));
        done(&t);
    }
}

TEST(auth, what_a_head_shows_to_be_wrong_is_said_before_the_body)
{
    (void)state;
    struct asked t;
    struct auth_pass pass = { .begun_ms = 7 };
    start(APP);
    ask(&t, "control-plane/header");
    t.req.body = SV_NONE;
    t.req.length = 2;
    FAILS(ERR_AUTH_EXPIRED, auth_begin(au, &t.req, NOW + 900001, &pass, e));
    t.headers[t.req.n_headers++] =
        (struct http_header){ SV_LIT("X-Amz-Meta"), SV_LIT("not signed") };
    FAILS(ERR_AUTH_SIGNATURE, auth_begin(au, &t.req, NOW, &pass, e));
    t.req.n_headers--;
    t.headers[t.req.n_headers++] =
        (struct http_header){ SV_LIT("x-amz-content-sha256"), SV_LIT(ZEROS) };
    FAILS(ERR_AUTH_SIGNATURE, auth_begin(au, &t.req, NOW, &pass, e));
    static const char *const none[] = { "", "unsigned-payload", "UNSIGNED-PAYLOAD",
                                        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" };
    for (size_t i = 0; i < 4; i++) {
        t.headers[t.req.n_headers - 1].value = sv_from(none[i]);
        FAILS(ERR_AUTH_SIGNATURE, auth_begin(au, &t.req, NOW, &pass, e));
    }
    t.req.n_headers = 1;
    FAILS(ERR_AUTH_MISSING, auth_begin(au, &t.req, NOW, &pass, e));
    done(&t);
    ask(&t, "signed-payload-header/header");
    t.req.length = 2;
    t.req.method = SV_LIT("PUT");
    FAILS(ERR_AUTH_SIGNATURE, auth_begin(au, &t.req, NOW, &pass, e));
    done(&t);
    start("[app]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = " SECRET "\n");
    ask(&t, "control-plane/header");
    FAILS(ERR_AUTH_UNKNOWN_KEY, auth_begin(au, &t.req, NOW, &pass, e));
    done(&t);
    start(APP TOKEN);
    ask(&t, "control-plane/header");
    FAILS(ERR_AUTH_UNKNOWN_KEY, auth_begin(au, &t.req, NOW, &pass, e));
    done(&t);
    start("[app]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = " SECRET "x\n");
    ask(&t, "signed-payload-header/header");
    FAILS(ERR_AUTH_SIGNATURE, auth_begin(au, &t.req, NOW, &pass, e));
    done(&t);
    assert_int_equal(pass.begun_ms, 7); /* untouched */
}

TEST(auth, every_part_that_is_changed_is_noticed)
{
    (void)state;
    struct asked t;
    struct auth_caller who;
    start(APP);
    ask(&t, "control-plane/header");
    struct http_request good = t.req;
    t.req.method = SV_LIT("PUT");
    FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
    t.req = good;
    t.req.target = SV_LIT("/datastore");
    FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
    t.req = good;
    t.req.query = SV_LIT("a=1");
    FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
    t.req = good;
    static const char *const names[] = { "host", "content-type", "x-amz-target" };
    for (size_t i = 0; i < 3; i++) {
        sv *v = header(&t, names[i]), was = *v;
        *v = SV_LIT("other");
        FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
        *v = was;
    }
    t.headers[t.req.n_headers++] =
        (struct http_header){ SV_LIT("X-Amz-Target"), SV_LIT("HealthLake.DeleteFHIRDatastore") };
    FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
    t.headers[t.req.n_headers - 1] =
        (struct http_header){ SV_LIT("X-Amz-Security-Token"), SV_LIT("x") };
    FAILS(ERR_AUTH_UNKNOWN_KEY, auth_check(au, &t.req, NOW, &who, e));
    t.req = good;
    OK(auth_check(au, &t.req, NOW, &who, e));
    done(&t);
}

TEST(auth, each_failure_has_its_code)
{
    (void)state;
    struct asked t;
    struct auth_caller who;
    start(APP);
    ask(&t, "control-plane/header");
    FAILS(ERR_AUTH_EXPIRED, auth_check(au, &t.req, NOW + 900001, &who, e));
    OK(auth_check(au, &t.req, NOW + 900000, &who, e));
    FAILS(ERR_AUTH_EXPIRED, auth_check(au, &t.req, NOW - 900001, &who, e));
    *header(&t, "authorization") = SV_LIT("Bearer eyJhbGciOi");
    FAILS(ERR_AUTH_INCOMPLETE, auth_check(au, &t.req, NOW, &who, e));
    t.req.n_headers = 1; /* Host alone */
    FAILS(ERR_AUTH_MISSING, auth_check(au, &t.req, NOW, &who, e));
    done(&t);

    ask(&t, "control-plane/query");
    OK(auth_check(au, &t.req, NOW + 3600000, &who, e)); /* presigned for an hour */
    FAILS(ERR_AUTH_EXPIRED, auth_check(au, &t.req, NOW + 3600001, &who, e));
    done(&t);

    start("[app]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = " SECRET "\n");
    ask(&t, "control-plane/header");
    FAILS(ERR_AUTH_UNKNOWN_KEY, auth_check(au, &t.req, NOW, &who, e));
    done(&t);
    start("[app]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = " SECRET "x\n");
    ask(&t, "control-plane/header");
    FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
    done(&t);
    start(APP);
    ask(&t, "s3-put-kms/header"); /* signed for another service */
    FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, NOW, &who, e));
    done(&t);
    ask(&t, "first-second-of-a-year/header"); /* and another region */
    FAILS(ERR_AUTH_SIGNATURE, auth_check(au, &t.req, 1830297600000, &who, e));
    done(&t);
}

TEST(auth, messages_hold_no_secret)
{
    (void)state;
    struct asked t;
    struct auth_caller who;
    struct err err = { 0 };
    start(APP TOKEN);
    ask(&t, "control-plane-session-token/header");
    t.req.body = SV_NONE;
    assert_int_equal(auth_check(au, &t.req, NOW, &who, &err), ERR_AUTH_SIGNATURE);
    sv authorization = *header(&t, "authorization");
    const char *sig = authorization.ptr + authorization.len - 64;
    assert_null(strstr(err.msg, SECRET));
    assert_null(strstr(err.msg, "FwoGZX"));
    assert_null(memmem(err.msg, strlen(err.msg), sig, 64));
    done(&t);
}

TEST(auth, small_arenas_and_long_queries_are_errors)
{
    (void)state;
    struct asked t;
    struct auth_caller who;
    start(APP);
    ask(&t, "search-encoded-values/query");
    struct arena *own = t.req.arena;
    bool passed = false;
    for (size_t budget = 64; budget < 16384 && !passed; budget += 64) {
        t.req.arena = arena_new(budget);
        err_code rc = auth_check(au, &t.req, NOW, &who, NULL);
        assert_true(rc == ERR_OK || rc == ERR_TOO_LARGE);
        passed = rc == ERR_OK;
        arena_free(t.req.arena);
    }
    assert_true(passed);
    t.req.arena = own;
    struct buf b = BUF_INIT(1u << 20);
    for (int i = 0; i < 1000; i++)
        OK(buf_add(&b, SV_LIT("a=1&"), e));
    t.req.query = buf_sv(&b);
    FAILS(ERR_TOO_LARGE, auth_check(au, &t.req, NOW, &who, e));
    buf_done(&b);
    done(&t);
}

/* ---- callers that change ---- */

static err_code no_check(void *ctx, const struct credentials *fresh, struct err *e)
{
    (void)ctx;
    (void)fresh;
    (void)e;
    return ERR_OK;
}

static err_code refuse_all(void *ctx, const struct credentials *fresh, struct err *e)
{
    (void)ctx;
    return credentials_count(fresh) ? ERR(e, ERR_CONFLICT, "not these") : ERR_OK;
}

#define OTHER "[other]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = s\n"

TEST(auth, callers_that_are_read_again_count_for_the_next_request)
{
    (void)state;
    struct asked t;
    struct auth_caller who, later;
    unsigned char look[SHA256_LEN];
    start(APP);
    ask(&t, "control-plane/header");
    OK(auth_check(au, &t.req, NOW, &who, e));
    assert_true(auth_as_read(au, look));
    put("credentials", OTHER);
    assert_false(auth_as_read(au, look));
    OK(auth_reload(au, no_check, NULL, e));
    assert_true(auth_as_read(au, look));
    FAILS(ERR_AUTH_UNKNOWN_KEY, auth_check(au, &t.req, NOW, &later, e));
    /* the request that began before has its caller until its end */
    assert_sv(who.credential->name, SV_LIT("app"));
    assert_sv(who.credential->secret_key, SV_LIT(SECRET));
    /* a policy is read with the file that names it */
    put("p.json", "{\"Statement\":[" ALLOW_READ "}]}");
    put("credentials", APP "policy = p.json\n");
    OK(auth_reload(au, no_check, NULL, e));
    OK(auth_check(au, &t.req, NOW, &later, e));
    OK(auth_allows(&later, SV_LIT("healthlake:ReadResource"), SV_LIT(STORE), NULL, e));
    FAILS(ERR_DENIED,
          auth_allows(&later, SV_LIT("healthlake:DeleteResource"), SV_LIT(STORE), NULL, e));
    OK(auth_allows(&who, SV_LIT("healthlake:DeleteResource"), SV_LIT(STORE), NULL, e));
    done(&t);
}

TEST(auth, another_secret_under_the_same_key_counts_at_once)
{
    (void)state;
    struct asked t;
    struct auth_caller who;
    start(APP);
    for (unsigned i = 0; i < 20; i++) {
        ask(&t, "control-plane/header");
        put("credentials", i % 2 ? APP
                                 : "[app]\naws_access_key_id = AKIDEXAMPLE\n"
                                   "aws_secret_access_key = " SECRET "x\n");
        OK(auth_reload(au, no_check, NULL, e));
        err_code rc = auth_check(au, &t.req, NOW, &who, NULL);
        assert_int_equal(rc, i % 2 ? ERR_OK : ERR_AUTH_SIGNATURE);
        done(&t);
    }
}

TEST(auth, broken_files_change_nothing)
{
    (void)state;
    struct asked t;
    struct auth_caller who;
    char policy[200];
    put("p.json", "{\"Statement\":[" ALLOW_READ "}]}");
    start(APP "policy = p.json\n");
    ask(&t, "control-plane/header");
    struct err err = { 0 };
    put("credentials", APP "policy = p.json\nolicy = x\n");
    assert_int_equal(auth_reload(au, no_check, NULL, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "line 5"));
    put("credentials", APP "policy = p.json\n" OTHER);
    put("p.json", "{\"Statement\":[" ALLOW_READ ",\"Sidd\":1}]}");
    assert_int_equal(auth_reload(au, no_check, NULL, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "Sidd"));
    assert_non_null(strstr(err.ctx, "p.json"));
    put("p.json", "{\"Statement\":[" ALLOW_READ "}]}");
    (void)snprintf(policy, sizeof policy, "%s/p.json", dir);
    assert_int_equal(chmod(policy, 0666), 0);
    FAILS(ERR_DENIED, auth_reload(au, no_check, NULL, e));
    assert_int_equal(chmod(policy, 0600), 0);
    assert_int_equal(auth_reload(au, refuse_all, NULL, &err), ERR_CONFLICT);
    assert_int_equal(unlink(path), 0);
    FAILS(ERR_NOT_FOUND, auth_reload(au, no_check, NULL, e));
    OK(auth_check(au, &t.req, NOW, &who, e));
    OK(auth_allows(&who, SV_LIT("healthlake:ReadResource"), SV_LIT(STORE), NULL, e));
    done(&t);
}

TEST(auth, a_body_that_is_still_to_come_is_the_newest_callers)
{
    (void)state;
    static const char *const files[] = { OTHER,
                                         "[app]\naws_access_key_id = AKIDEXAMPLE\n"
                                         "aws_secret_access_key = changed\n",
                                         APP TOKEN };
    for (size_t i = 0; i < 4; i++) {
        struct asked t;
        struct auth_pass pass = { 0 };
        struct auth_caller who = { 0 };
        start(APP);
        ask(&t, "signed-payload-header/header");
        sv body = t.req.body;
        t.req.body = SV_NONE;
        t.req.length = body.len;
        OK(auth_begin(au, &t.req, NOW, &pass, e));
        assert_true(pass.proven);
        put("p.json", "{\"Statement\":[" ALLOW_READ "}]}");
        put("credentials", i < 3 ? files[i] : APP "policy = p.json\n");
        OK(auth_reload(au, no_check, NULL, e));
        t.req.left = &pass;
        t.req.body = body;
        if (i < 3) {
            FAILS(ERR_AUTH_UNKNOWN_KEY, auth_check(au, &t.req, NOW, &who, e));
        } else {
            OK(auth_check(au, &t.req, NOW, &who, e));
            assert_non_null(who.credential->policy);
        }
        done(&t);
    }
}

static atomic_bool over;
static atomic_uint n_asked, n_wrong;

static void *go_on_asking(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        struct asked t;
        struct auth_caller who;
        ask(&t, "control-plane/header");
        t.req.peer = SV_LIT("192.0.2.7");
        bool wrong = auth_check(au, &t.req, NOW, &who, NULL) != ERR_OK ||
                     auth_allows(&who, SV_LIT("healthlake:ReadResource"), SV_LIT(STORE), NULL,
                                 NULL) != ERR_OK;
        atomic_fetch_add(&n_wrong, wrong);
        atomic_fetch_add(&n_asked, 1);
        done(&t);
    }
    return NULL;
}

TEST(auth, requests_go_on_in_other_threads_while_callers_are_read_again)
{
    (void)state;
    pthread_t threads[4];
    put("p.json", "{\"Statement\":[" ALLOW_READ
                  ",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.0/24\"}}}]}");
    start(APP "policy = p.json\n");
    atomic_store(&over, false);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, go_on_asking, NULL), 0);
    unsigned n = 0;
    for (; n < 50 || atomic_load(&n_asked) < 200; n++) {
        put("credentials", n % 2 ? APP "policy = p.json\n" : OTHER APP "policy = p.json\n");
        OK(auth_reload(au, no_check, NULL, e));
    }
    atomic_store(&over, true);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&n_wrong), 0);
}

TEST(auth, a_key_whose_time_is_over_is_told_so)
{
    (void)state;
    struct asked t;
    struct auth_caller who;
    struct auth_pass pass;
    struct err err = { 0 };
    start(APP "expires = 2026-11-23T18:30:01Z\n"); /* a second from NOW on */
    ask(&t, "control-plane/header");
    OK(auth_check(au, &t.req, NOW + 999, &who, e));
    assert_int_equal(auth_check(au, &t.req, NOW + 1000, &who, &err), ERR_AUTH_KEY_EXPIRED);
    assert_string_equal(err.msg, "The security token included in the request is expired");
    /* before its body is read */
    t.req.length = 2;
    FAILS(ERR_AUTH_KEY_EXPIRED, auth_begin(au, &t.req, NOW + 1000, &pass, e));
    done(&t);
    /* so is a temporary key, whose token is right */
    start(APP TOKEN "expires = 2026-11-23T18:30:01Z\n");
    ask(&t, "control-plane-session-token/header");
    OK(auth_check(au, &t.req, NOW, &who, e));
    FAILS(ERR_AUTH_KEY_EXPIRED, auth_check(au, &t.req, NOW + 1000, &who, e));
    done(&t);
}

TEST(auth, conditions_see_where_and_when_a_request_comes_from)
{
    (void)state;
    struct asked t;
    struct auth_caller who;
    const sv action = SV_LIT("healthlake:ReadResource");
    put("p.json", "{\"Statement\":[" ALLOW_READ
                  ",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"192.0.2.0/24\"},"
                  "\"Bool\":{\"aws:SecureTransport\":true},"
                  "\"DateLessThan\":{\"aws:CurrentTime\":\"2026-11-23T18:30:01Z\"}}}]}");
    start(APP "policy = p.json\n");
    for (unsigned i = 0; i < 4; i++) {
        ask(&t, "control-plane/header");
        t.req.peer = i == 1 ? SV_LIT("192.0.3.7") : SV_LIT("192.0.2.7");
        t.req.secure = i != 2;
        OK(auth_check(au, &t.req, i == 3 ? NOW + 1000 : NOW, &who, e));
        assert_int_equal(auth_allows(&who, action, SV_LIT(STORE), NULL, NULL),
                         i ? ERR_DENIED : ERR_OK);
        done(&t);
    }
}

TEST(auth, open_door_lets_everybody_in)
{
    (void)state;
    struct auth_config cfg = { .open = true,
                               .region = SV_LIT("us-east-1"),
                               .account_id = SV_LIT(ACCOUNT) };
    struct auth *open = NULL;
    struct asked t;
    struct auth_caller who = { 0 };
    OK(auth_new(&cfg, &open, e));
    ask(&t, "control-plane/header");
    t.req.n_headers = 0;
    OK(auth_check(open, &t.req, 0, &who, e));
    assert_null(who.credential);
    assert_sv(who.arn, SV_LIT("arn:aws:iam::" ACCOUNT ":user/anonymous"));
    OK(auth_allows(&who, SV_LIT("healthlake:DeleteFHIRDatastore"), SV_LIT(STORE), NULL, e));
    done(&t);
    auth_free(open);
    auth_free(NULL);
}

TEST(auth, no_credentials_no_door)
{
    (void)state;
    char absent[sizeof dir + 32];
    (void)snprintf(absent, sizeof absent, "%s/absent/credentials", dir);
    struct auth_config cfg = { .credentials_path = absent,
                               .region = SV_LIT("us-east-1"),
                               .account_id = SV_LIT(ACCOUNT) };
    struct auth *none = NULL;
    FAILS(ERR_NOT_FOUND, auth_new(&cfg, &none, e));
    assert_null(none);
}

/* ---- what ---- */

TEST(auth, refusals_are_in_awss_words)
{
    (void)state;
    struct asked t;
    struct auth_caller who;
    struct err err = { 0 };
    put("p.json",
        "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"healthlake:*\",\"Resource\":"
        "\"*\"},{\"Effect\":\"Deny\",\"Action\":\"healthlake:Delete*\",\"Resource\":\"*\","
        "\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/keep\":\"yes\"}}}]}");
    start(APP "policy = p.json\n");
    ask(&t, "control-plane/header");
    OK(auth_check(au, &t.req, NOW, &who, e));
    sv act = SV_LIT("healthlake:DeleteFHIRDatastore");
    OK(auth_allows(&who, act, SV_LIT(STORE), NULL, e));
    struct policy_fact keep = { SV_LIT("aws:ResourceTag/keep"), SV_LIT("yes") };
    struct policy_context context = { &keep, 1, false };
    assert_int_equal(auth_allows(&who, act, SV_LIT(STORE), &context, &err), ERR_DENIED);
    assert_string_equal(err.msg,
                        "User: arn:aws:iam::" ACCOUNT ":user/app is not authorized to perform: "
                        "healthlake:DeleteFHIRDatastore on resource: " STORE
                        " with an explicit deny in an identity-based policy");
    err = (struct err){ 0 };
    sv role = SV_LIT("arn:aws:iam::" ACCOUNT ":role/r");
    assert_int_equal(auth_allows(&who, SV_LIT("iam:PassRole"), role, NULL, &err), ERR_DENIED);
    assert_string_equal(err.msg, "User: arn:aws:iam::" ACCOUNT
                                 ":user/app is not authorized to perform: iam:PassRole on "
                                 "resource: arn:aws:iam::" ACCOUNT
                                 ":role/r because no identity-based policy allows the "
                                 "iam:PassRole action");
    done(&t);
}

/* A data store that exists and one that does not are refused in the same words, whatever the tags
 * say. */
TEST(auth, the_reason_of_a_refusal_does_not_tell_that_the_resource_is_there)
{
    (void)state;
    static const char *const statements[] = {
        ALLOW_READ ",\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/t\":\"a\"}}}",
        ALLOW_READ ",\"Condition\":{\"StringNotEquals\":{\"aws:ResourceTag/t\":\"b\"}}}",
        ALLOW_READ "},{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":{"
                   "\"StringEquals\":{"
                   "\"aws:ResourceTag/t\":\"b\"}}}",
        ALLOW_READ
        ",\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/"
        "t\":\"a\"}}},{\"Effect\":\"Deny\",\"Action\":"
        "\"*\",\"Resource\":\"*\",\"Condition\":{\"StringEquals\":{\"aws:ResourceTag/t\":\"c\"}}}",
        ALLOW_READ ",\"Condition\":{\"Null\":{\"aws:ResourceTag/t\":true}}}",
    };
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        char policy[700];
        struct asked t;
        struct auth_caller who;
        struct err there = { 0 }, absent = { 0 };
        struct policy_fact b = { SV_LIT("aws:ResourceTag/t"), SV_LIT("b") };
        (void)snprintf(policy, sizeof policy, "{\"Statement\":[%s]}", statements[i]);
        put("p.json", policy);
        start(APP "policy = p.json\n");
        ask(&t, "control-plane/header");
        OK(auth_check(au, &t.req, NOW, &who, e));
        struct policy_context tagged = { &b, 1, false }, none = { NULL, 0, true };
        sv act = SV_LIT("healthlake:ReadResource");
        assert_int_equal(auth_allows(&who, act, SV_LIT(STORE), &tagged, &there), ERR_DENIED);
        assert_int_equal(auth_allows(&who, act, SV_LIT(STORE), &none, &absent), ERR_DENIED);
        assert_string_equal(there.msg, absent.msg);
        done(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(auth, requests_of_a_real_signer_pass_in_both_forms),
        T(auth, session_token_is_wanted_exactly),
        T(auth, the_body_is_covered),
        T(auth, a_body_that_the_signature_does_not_cover_takes_the_option),
        T(auth, a_head_proves_its_caller_when_it_says_what_the_body_hashes_to),
        T(auth, what_a_head_shows_to_be_wrong_is_said_before_the_body),
        T(auth, every_part_that_is_changed_is_noticed),
        T(auth, each_failure_has_its_code),
        T(auth, messages_hold_no_secret),
        T(auth, small_arenas_and_long_queries_are_errors),
        T(auth, callers_that_are_read_again_count_for_the_next_request),
        T(auth, another_secret_under_the_same_key_counts_at_once),
        T(auth, broken_files_change_nothing),
        T(auth, a_body_that_is_still_to_come_is_the_newest_callers),
        T(auth, requests_go_on_in_other_threads_while_callers_are_read_again),
        T(auth, a_key_whose_time_is_over_is_told_so),
        T(auth, conditions_see_where_and_when_a_request_comes_from),
        T(auth, open_door_lets_everybody_in),
        T(auth, no_credentials_no_door),
        T(auth, refusals_are_in_awss_words),
        T(auth, the_reason_of_a_refusal_does_not_tell_that_the_resource_is_there),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
