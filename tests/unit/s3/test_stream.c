/* test_stream.c - bodies that go over TLS unsigned, with their checksum behind them, and what
 * becomes of them at a server that does not take them. The peer is tests/peers/hostile_s3.py, which
 * reads the frames by itself. */
#include "test.h"

#include "../../peers/hostile.h"
#include "s3/s3_private.h"

#define FRAMED SV_LIT("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
#define BYTES  ((size_t)150000)

static char tls_url[64], ca[256], bytes[BYTES];
static bool has_tls;

#define NEED_TLS()    \
    do {              \
        if (!has_tls) \
            skip();   \
    } while (0)

static err_code give(void *ctx, sv refused, struct arena *a, struct s3_credentials *out,
                     struct err *e)
{
    (void)ctx;
    (void)refused;
    (void)a;
    (void)e;
    *out =
        (struct s3_credentials){ .access_key_id = SV_LIT("AKID"), .secret_key = SV_LIT("secret") };
    return ERR_OK;
}

static struct s3_client *client_of(const char *url)
{
    struct s3_client *c = NULL;
    struct s3_endpoint ep = { .url = sv_from(url),
                              .region = SV_LIT("us-east-1"),
                              .max_attempts = 4,
                              .timeout_ms = NEVER_MS };
    OK(s3_client_new(&ep, give, NULL, NULL, &c, e));
    return c;
}

static const sv halves[] = { { bytes, 1000 }, { bytes + 1000, BYTES - 1000 } };

static err_code put(struct s3_client *c, const char *key, const unsigned char *known, struct err *e)
{
    unsigned char digest[SHA256_LEN] = { 0 }, want[SHA256_LEN];
    struct s3_put p = { .bucket = SV_LIT("stream"),
                        .key = sv_from(key),
                        .pieces = halves,
                        .n_pieces = 2,
                        .sha256 = known,
                        .digest = digest };
    TRY(s3_object_put(c, &p, e));
    hash_sha256_of(sv_make(bytes, BYTES), want);
    assert_memory_equal(digest, want, SHA256_LEN);
    return ERR_OK;
}

/* What stands at the key is these bytes. */
static void check_there(struct s3_client *c, const char *key, size_t n)
{
    struct byte_reader r;
    struct err end = { 0 };
    CLEANUP_BUF struct buf got = BUF_INIT(4u << 20);
    static char piece[65536];
    size_t len;
    script("[]");
    OK(s3_object_open(c, SV_LIT("stream"), sv_from(key), 0, &r, e));
    while (r.read(r.ctx, piece, sizeof piece, &len, &end) == ERR_OK)
        OK(buf_add(&got, sv_make(piece, len), e));
    assert_int_equal(end.code, ERR_EOF);
    r.close(r.ctx);
    assert_int_equal(got.len, n);
    for (size_t at = 0; at < n; at += BYTES)
        assert_memory_equal(got.ptr + at, bytes, n - at < BYTES ? n - at : BYTES);
}

/* The requests since the last script, 'f' for one that was framed and 's' for a signed one. */
static void check_forms(const char *want)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    uint64_t left;
    yyjson_val *log = log_of(a, &left), *one;
    char got[32] = "";
    size_t i, n;
    yyjson_arr_foreach(log, i, n, one)
    {
        yyjson_val *headers = json_get(one, "headers");
        sv payload = json_string(json_get(headers, "x-amz-content-sha256"));
        bool framed = sv_eq(payload, FRAMED);
        assert_true(framed || payload.len == SHA256_HEX_LEN);
        assert_int_equal(framed, json_get(headers, "x-amz-trailer") != NULL);
        assert_true(i + 1 < sizeof got);
        got[i] = framed ? 'f' : 's';
        got[i + 1] = 0;
    }
    assert_string_equal(got, want);
    assert_int_equal(left, 0);
}

TEST(stream, a_body_whose_digest_nobody_knows_is_followed_by_it)
{
    (void)state;
    NEED_TLS();
    CLEANUP(s3_client_free) struct s3_client *c = client_of(tls_url);
    script("[]");
    OK(put(c, "a", NULL, e));
    check_forms("f");
    check_there(c, "a", BYTES);
    assert_true(s3_client_streams(c));
    assert_false(s3_client_was_refused(c));
}

TEST(stream, a_known_digest_and_a_small_body_are_signed_and_so_is_all_over_plain_http)
{
    (void)state;
    NEED_TLS();
    CLEANUP(s3_client_free) struct s3_client *c = client_of(tls_url), *http = client_of(bad_url);
    unsigned char known[SHA256_LEN];
    struct s3_put p = { .bucket = SV_LIT("stream"), .key = SV_LIT("s"), .body = SV_LIT("small") };
    hash_sha256_of(sv_make(bytes, BYTES), known);
    script("[]");
    OK(put(c, "b", known, e));
    OK(s3_object_put(c, &p, e));
    OK(put(http, "c", NULL, e));
    check_forms("sss");
    assert_false(s3_client_streams(http));
    check_there(c, "b", BYTES);
    check_there(c, "c", BYTES);
}

TEST(stream, a_server_that_refuses_the_form_gets_the_other_one_at_once_and_from_then_on)
{
    (void)state;
    NEED_TLS();
    static const char *const answers[] = {
        "{\"do\":\"fail\",\"status\":501,\"code\":\"NotImplemented\"}",
        "{\"do\":\"fail\",\"status\":400,\"code\":\"InvalidArgument\"}",
        "{\"do\":\"fail\",\"status\":400,\"code\":\"XAmzContentSHA256Mismatch\"}",
        "{\"do\":\"fail\",\"status\":403,\"code\":\"XAmzContentSHA256Mismatch\"}",
        "{\"do\":\"fail\",\"status\":403,\"code\":\"SignatureDoesNotMatch\"}",
        /* a policy can deny what is not signed */
        "{\"do\":\"fail\",\"status\":403,\"code\":\"AccessDenied\"}",
        "{\"do\":\"fail\",\"status\":411,\"code\":\"MissingContentLength\"}",
        /* and these took it for something else */
        "{\"do\":\"deaf\"}",
        "{\"do\":\"mute\"}",
        "{\"do\":\"answer\",\"status\":200,\"body\":\"\"}",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        CLEANUP(s3_client_free) struct s3_client *c = client_of(tls_url);
        char steps[200];
        (void)snprintf(steps, sizeof steps, "[%s]", answers[i]);
        script(steps);
        OK(put(c, "d", NULL, e));
        OK(put(c, "e", NULL, e));
        check_forms("fss");
        assert_true(s3_client_was_refused(c));
        assert_false(s3_client_streams(c));
        check_there(c, "d", BYTES);
    }
}

TEST(stream, a_refusal_that_meets_the_signed_form_too_is_one)
{
    (void)state;
    NEED_TLS();
    CLEANUP(s3_client_free) struct s3_client *c = client_of(tls_url);
    script("[{\"do\":\"fail\",\"status\":403,\"code\":\"AccessDenied\"},"
           "{\"do\":\"fail\",\"status\":403,\"code\":\"AccessDenied\"}]");
    FAILS(ERR_DENIED, put(c, "f", NULL, e));
    check_forms("fs");
    /* it says nothing of the form */
    assert_false(s3_client_was_refused(c));
    script("[]");
    OK(put(c, "f", NULL, e));
    check_forms("f");
}

TEST(stream, what_passes_elsewhere_passes_here_and_the_digest_starts_anew)
{
    (void)state;
    NEED_TLS();
    static const char *const answers[] = {
        "{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"}",
        "{\"do\":\"fail\",\"status\":400,\"code\":\"BadDigest\"}",
        "{\"do\":\"cut\",\"bytes\":70000}",
        "{\"do\":\"reset\"}",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        CLEANUP(s3_client_free) struct s3_client *c = client_of(tls_url);
        char steps[200];
        (void)snprintf(steps, sizeof steps, "[%s]", answers[i]);
        script(steps);
        OK(put(c, "g", NULL, e));
        check_forms("ff");
        assert_false(s3_client_was_refused(c));
        check_there(c, "g", BYTES);
    }
}

TEST(stream, what_fails_twice_is_signed_so_that_no_form_is_to_blame)
{
    (void)state;
    NEED_TLS();
    CLEANUP(s3_client_free)
    struct s3_client *cut = client_of(tls_url), *spoilt = client_of(tls_url);
    script("[{\"do\":\"cut\",\"bytes\":70000},{\"do\":\"cut\",\"bytes\":9}]");
    OK(put(cut, "h", NULL, e));
    check_forms("ffs");
    /* nobody said that it was the form */
    assert_false(s3_client_was_refused(cut));
    check_there(cut, "h", BYTES);
    script("[{\"do\":\"fail\",\"status\":400,\"code\":\"BadDigest\"},"
           "{\"do\":\"fail\",\"status\":400,\"code\":\"BadDigest\"}]");
    OK(put(spoilt, "i", NULL, e));
    check_forms("ffs");
    assert_true(s3_client_was_refused(spoilt));
    check_there(spoilt, "i", BYTES);
}

TEST(stream, bytes_that_are_always_damaged_are_an_error)
{
    (void)state;
    NEED_TLS();
    CLEANUP(s3_client_free) struct s3_client *c = client_of(tls_url);
    script("[{\"do\":\"fail\",\"status\":400,\"code\":\"BadDigest\"},"
           "{\"do\":\"fail\",\"status\":400,\"code\":\"BadDigest\"},"
           "{\"do\":\"fail\",\"status\":400,\"code\":\"BadDigest\"},"
           "{\"do\":\"fail\",\"status\":400,\"code\":\"BadDigest\"},"
           "{\"do\":\"fail\",\"status\":400,\"code\":\"BadDigest\"}]");
    FAILS(ERR_PEER, put(c, "j", NULL, e));
    check_forms("ffsss");
}

/* The body of the last request, which completes an upload. */
static void check_completion(const char *contains, size_t times)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    uint64_t left;
    yyjson_val *log = log_of(a, &left);
    sv body = json_string(json_get(yyjson_arr_get_last(log), "body"));
    size_t n = 0;
    for (const char *p = body.ptr; (p = strstr(p, contains)) != NULL; p++)
        n++;
    assert_int_equal(n, times);
}

/* An upload of n parts, each of all bytes. */
static void upload(struct s3_client *c, const char *key, unsigned n)
{
    struct s3_upload *u = NULL;
    struct s3_put p = { .bucket = SV_LIT("stream"), .key = sv_from(key) };
    OK(s3_upload_begin(c, &p, &u, e));
    for (unsigned i = 0; i < n; i++)
        OK(s3_upload_part(u, halves, 2, e));
    OK(s3_upload_complete(&u, e));
}

TEST(stream, parts_have_a_checksum_each_which_the_end_of_the_upload_repeats)
{
    (void)state;
    NEED_TLS();
    CLEANUP(s3_client_free) struct s3_client *c = client_of(tls_url);
    script("[]");
    upload(c, "parts", 2);
    check_forms("sffs");
    check_completion("<ChecksumCRC32C>", 2);
    check_there(c, "parts", 2 * BYTES);
}

TEST(stream, parts_that_are_refused_are_signed_and_keep_the_checksum_that_was_promised)
{
    (void)state;
    NEED_TLS();
    CLEANUP(s3_client_free) struct s3_client *c = client_of(tls_url);
    script("[{\"do\":\"ok\"},{\"do\":\"fail\",\"status\":501,\"code\":\"NotImplemented\"}]");
    upload(c, "refused-parts", 2);
    check_forms("sfsss");
    check_completion("<ChecksumCRC32C>", 2);
    check_there(c, "refused-parts", 2 * BYTES);
    /* another upload promises none */
    script("[]");
    upload(c, "refused-parts", 1);
    check_forms("sss");
    check_completion("<ChecksumCRC32C>", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(stream, a_body_whose_digest_nobody_knows_is_followed_by_it),
        T(stream, a_known_digest_and_a_small_body_are_signed_and_so_is_all_over_plain_http),
        T(stream, a_server_that_refuses_the_form_gets_the_other_one_at_once_and_from_then_on),
        T(stream, a_refusal_that_meets_the_signed_form_too_is_one),
        T(stream, what_passes_elsewhere_passes_here_and_the_digest_starts_anew),
        T(stream, what_fails_twice_is_signed_so_that_no_form_is_to_blame),
        T(stream, bytes_that_are_always_damaged_are_an_error),
        T(stream, parts_have_a_checksum_each_which_the_end_of_the_upload_repeats),
        T(stream, parts_that_are_refused_are_signed_and_keep_the_checksum_that_was_promised),
    };
    hostile_start();
    has_tls = hostile_tls(tls_url, ca);
    if (has_tls)
        (void)setenv("SSL_CERT_FILE", ca, 1);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 31 + i / 4096);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    peer_stop(&bad);
    return failed;
}
