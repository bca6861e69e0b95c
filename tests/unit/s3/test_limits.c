/* What a peer may say, and how slowly, against tests/peers/hostile_s3.py. */
#include "../../peers/hostile.h"

#include "s3/s3_private.h"

static struct s3_credentials keys = {
    { "AKIDAKIDAKIDAKID", 16 }, { "secret", 6 }, { "Tok/en+Tok/en+Tok/en==", 22 }, 0
};

static err_code give(void *ctx, sv refused, struct arena *a, struct s3_credentials *out,
                     struct err *e)
{
    (void)ctx, (void)refused, (void)a, (void)e;
    *out = keys;
    return ERR_OK;
}

static struct s3_client *client_of(unsigned attempts, unsigned timeout_ms)
{
    struct s3_client *c = NULL;
    struct s3_endpoint ep = { .url = sv_from(bad_url),
                              .region = SV_LIT("us-east-1"),
                              .max_attempts = attempts,
                              .timeout_ms = timeout_ms };
    OK(s3_client_new(&ep, give, NULL, NULL, &c, e));
    return c;
}

static const struct s3_put small = { .bucket = { "b", 1 }, .key = { "k", 1 }, .body = { "hi", 2 } };

/* A peer has seen all of it, and its code goes into messages for callers and into the log. */
TEST(limits, what_a_peer_has_of_us_is_no_code)
{
    (void)state;
    if (!has_bad)
        skip();
    CLEANUP(s3_client_free) struct s3_client *c = client_of(1, 20000);
    CLEANUP(s3_upload_abort) struct s3_upload *u = NULL;
    const char *codes[] = { "AKIDAKIDAKIDAKID", "xAKIDAKIDAKIDAKID", "Tok/en+Tok/en+Tok/en==",
                            "enTokenToken",     "AWS4-HMAC-SHA256",  "aws4_request" };
    char steps[256];
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct err why = { 0 };
        (void)snprintf(steps, sizeof steps, "[{\"do\":\"fail\",\"status\":403,\"code\":\"%s\"}]",
                       codes[i]);
        script(steps);
        assert_int_equal(s3_object_put(c, &small, &why), ERR_DENIED);
        /* with more in front it is another's */
        assert_int_equal(strstr(why.msg, "no code (403)") != NULL, codes[i][0] != 'x');
    }
    script("[]");
    OK(s3_upload_begin(c, &small, &u, e));
    OK(s3_upload_part(u, &small.body, 1, e));
    script("[{\"do\":\"answer\",\"status\":200,\"body\":"
           "\"<Error><Code>AKIDAKIDAKIDAKID</Code></Error>\"}]");
    struct err why = { 0 };
    assert_int_not_equal(s3_upload_complete(&u, &why), ERR_OK);
    assert_null(strstr(why.msg, "AKID"));
    script("[{\"do\":\"fail\",\"status\":403,\"code\":\"RequestTimeTooSkewed\"}]");
    assert_int_equal(s3_object_put(c, &small, &why), ERR_PEER);
}

/* It is the peer's fault, and nothing of it is kept to sign with. */
TEST(limits, credentials_that_no_header_can_carry_are_none)
{
    (void)state;
    if (!has_bad)
        skip();
    const char *tokens[] = { "a&#13;&#10;X-Evil: 1", "a b", "\xc3\xa9", "", "a+/=b" };
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct s3_endpoint ep = { .url = sv_from(bad_url),
                              .region = SV_LIT("us-east-1"),
                              .max_attempts = 1 };
    struct sts_assume_role role = { .role_arn = SV_LIT("arn:aws:iam::1:role/r"),
                                    .session_name = SV_LIT("s") };
    char steps[1000];
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        struct s3_credentials got = { 0 };
        struct err why = { 0 };
        (void)snprintf(steps, sizeof steps,
                       "[{\"do\":\"answer\",\"status\":200,\"body\":\"<AssumeRoleResponse>"
                       "<AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>"
                       "<SecretAccessKey>s</SecretAccessKey><SessionToken>%s</SessionToken>"
                       "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
                       "</AssumeRoleResult></AssumeRoleResponse>\"}]",
                       tokens[i]);
        script(steps);
        err_code rc = sts_assume_role(&ep, &keys, &role, a, &got, &why);
        assert_int_equal(rc, strcmp(tokens[i], "a+/=b") == 0 ? ERR_OK : ERR_PEER);
        assert_int_equal(got.session_token.len > 0, rc == ERR_OK);
    }
}

/* ---- what is left behind ---- */

/* Parts that nobody completes are in no listing, and are paid for. */
TEST(limits, an_upload_that_was_cancelled_is_aborted_all_the_same)
{
    (void)state;
    if (!has_bad)
        skip();
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    CLEANUP(s3_client_free) struct s3_client *c = client_of(3, 20000);
    atomic_bool cancel = false;
    struct s3_upload *u = NULL;
    struct err why = { 0 };
    uint64_t left;
    c->cancel = &cancel;
    script("[]");
    OK(s3_upload_begin(c, &small, &u, e));
    OK(s3_upload_part(u, &small.body, 1, e));
    atomic_store(&cancel, true);
    script("[]");
    assert_int_equal(s3_upload_part(u, &small.body, 1, &why), ERR_CANCELLED);
    s3_upload_abort(u);
    yyjson_val *last = yyjson_arr_get_last(log_of(a, &left));
    assert_sv(json_string(json_get(last, "method")), SV_LIT("DELETE"));
    assert_true(sv_starts(json_string(json_get(last, "query")), SV_LIT("uploadId=")));
    /* a peer who is silent keeps nobody for long */
    atomic_store(&cancel, false);
    OK(s3_upload_begin(c, &small, &u, e));
    atomic_store(&cancel, true);
    script("[{\"do\":\"stall\",\"seconds\":600}]");
    s3_upload_abort(u);
    assert_int_equal(count_log(), 1);
}

/* ---- how slowly ---- */

#define OBJECT_BYTES 60000u

/* Reads it to its end: how many bytes came before, and why it ended. */
static err_code read_object(struct s3_client *c, size_t *n)
{
    struct byte_reader r;
    struct err e = { 0 };
    char piece[4096];
    size_t got = 0;
    err_code rc = s3_object_open(c, SV_LIT("b"), SV_LIT("o"), 0, &r, &e);
    *n = 0;
    if (rc != ERR_OK)
        return rc;
    while ((rc = r.read(r.ctx, piece, sizeof piece, &got, &e)) == ERR_OK)
        *n += got;
    r.close(r.ctx);
    return rc;
}

static void put_object(struct s3_client *c)
{
    static char bytes[OBJECT_BYTES];
    struct s3_put p = { .bucket = SV_LIT("b"), .key = SV_LIT("o") };
    memset(bytes, 'x', sizeof bytes);
    p.body = sv_make(bytes, sizeof bytes);
    script("[]");
    OK(s3_object_put(c, &p, e));
}

/* Read to its end, though it comes a bit at a time, as these steps say. Who is held up, on a busy
 * machine, for as long as a silence may last, tries again. */
static bool comes_whole(struct s3_client *c, const char *steps)
{
    size_t n = 0;
    err_code rc = ERR_TIMEOUT;
    for (unsigned tries = 0; tries < 50 && rc == ERR_TIMEOUT; tries++) {
        script(steps);
        rc = read_object(c, &n);
    }
    return rc == ERR_EOF && n == OBJECT_BYTES;
}

/* It would take three hours. */
TEST(limits, an_object_that_comes_by_drops_has_stalled)
{
    (void)state;
    if (!has_bad)
        skip();
    CLEANUP(s3_client_free) struct s3_client *c = client_of(2, 300), *patient = client_of(3, 20000);
    size_t n;
    put_object(patient);
    /* a peer that is held up for so long has not heard of both attempts: once more then */
    uint64_t left = 2;
    for (unsigned tries = 0; tries < 50 && left > 0; tries++) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        script("[{\"do\":\"drip\",\"bytes\":1,\"seconds\":0.2},"
               "{\"do\":\"drip\",\"bytes\":1,\"seconds\":0.2}]");
        assert_int_equal(read_object(c, &n), ERR_TIMEOUT);
        assert_true(n < 100);
        (void)log_of(a, &left);
    }
    assert_int_equal(left, 0);
    /* in one of two attempts it is no matter */
    assert_true(comes_whole(c, "[{\"do\":\"drip\",\"bytes\":1,\"seconds\":0.2}]"));
    /* and neither are small pieces, whatever the whole takes */
    assert_true(comes_whole(c, "[{\"do\":\"drip\",\"bytes\":2000,\"seconds\":0.02}]"));
}

TEST(limits, a_drop_of_each_connection_is_no_progress)
{
    (void)state;
    if (!has_bad)
        skip();
    CLEANUP(s3_client_free) struct s3_client *c = client_of(3, 20000);
    char steps[1000] = "[";
    size_t n;
    put_object(c);
    for (int i = 0; i < 3; i++)
        (void)snprintf(steps + strlen(steps), sizeof steps - strlen(steps), "%s%s", i ? "," : "",
                       "{\"do\":\"truncate\",\"bytes\":1}");
    (void)snprintf(steps + strlen(steps), sizeof steps - strlen(steps), "]");
    script(steps);
    assert_int_equal(read_object(c, &n), ERR_PEER);
    assert_int_equal(n, 3);
    assert_int_equal(count_log(), 3);
    /* more than a drop is some */
    script("[{\"do\":\"truncate\",\"bytes\":17000},{\"do\":\"truncate\",\"bytes\":17000},"
           "{\"do\":\"truncate\",\"bytes\":17000}]");
    assert_int_equal(read_object(c, &n), ERR_EOF);
    assert_int_equal(n, OBJECT_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(limits, what_a_peer_has_of_us_is_no_code),
        T(limits, credentials_that_no_header_can_carry_are_none),
        T(limits, an_upload_that_was_cancelled_is_aborted_all_the_same),
        T(limits, an_object_that_comes_by_drops_has_stalled),
        T(limits, a_drop_of_each_connection_is_no_progress),
    };
    hostile_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    peer_stop(&bad);
    return failed;
}
