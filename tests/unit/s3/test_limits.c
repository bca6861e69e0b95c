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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(limits, what_a_peer_has_of_us_is_no_code),
    };
    hostile_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    peer_stop(&bad);
    return failed;
}
