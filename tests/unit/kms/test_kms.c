/* test_kms.c - keys and data keys against two peers: moto, and a KMS that enforces the states of
 * its keys and misbehaves on demand (tests/peers/hostile_s3.py). */
#include "test.h"

#include "../../peers/both.h"
#include "kms/kms_private.h"
#include "s3/s3_private.h"

#define ARN    "arn:aws:kms:us-east-1:123456789012:key/"
#define SECRET "SECRET-IN-A-MESSAGE" /* in each refusal of the hostile peer */

static struct s3_credentials own = { { "AKID", 4 }, { "secret", 6 }, { NULL, 0 }, 0 };

static err_code give(void *ctx, sv refused, struct arena *a, struct s3_credentials *out,
                     struct err *e)
{
    (void)refused;
    (void)a;
    (void)e;
    *out = *(const struct s3_credentials *)ctx;
    return ERR_OK;
}

static struct kms *kms_at(const char *url, unsigned attempts, unsigned timeout_ms,
                          unsigned total_ms)
{
    struct kms *kms = NULL;
    struct s3_endpoint ep = { .url = sv_from(url),
                              .region = SV_LIT("us-east-1"),
                              .max_attempts = attempts,
                              .timeout_ms = timeout_ms,
                              .total_ms = total_ms };
    OK(kms_open(&ep, give, &own, NULL, &kms, e));
    return kms;
}

static void keys(const char *json)
{
    control("/_kms", json, NULL);
}

static const struct kms_context bound = { "aws:s3:arn", { "arn:aws:s3:::b/k", 16 } };

/* ---- where ---- */

TEST(kms, an_endpoint_beyond_loopback_has_tls)
{
    OK(kms_endpoint_check(SV_LIT("https://kms.eu-west-1.amazonaws.com"), e));
    OK(kms_endpoint_check(SV_LIT("http://127.0.0.1:5000"), e));
    OK(kms_endpoint_check(SV_LIT("http://[::1]:5000"), e));
    OK(kms_endpoint_check(SV_LIT("http://localhost"), e));
    FAILS(ERR_INVALID, kms_endpoint_check(SV_LIT("http://kms.example"), e));
    FAILS(ERR_INVALID, kms_endpoint_check(SV_LIT("http://10.0.0.1"), e));
    FAILS(ERR_INVALID, kms_endpoint_check(SV_LIT("http://127.0.0.1.example"), e));
    FAILS(ERR_INVALID, kms_endpoint_check(SV_LIT("kms"), e));
    struct kms *none = NULL;
    struct s3_endpoint ep = { .url = SV_LIT("http://kms.example"), .region = SV_LIT("r") };
    FAILS(ERR_INVALID, kms_open(&ep, give, &own, NULL, &none, e));
    assert_null(none);
}

/* ---- keys ---- */

TEST(hostile, what_is_asked_is_signed_for_kms_in_json)
{
    NEED(has_bad);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 3, NEVER_MS, 0);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    uint64_t left;
    keys("{\"k\":\"Enabled\"}");
    script("[]");
    OK(kms_key_check(kms, SV_LIT(ARN "k"), &bound, e));
    yyjson_val *log = log_of(a, &left), *head = json_get(yyjson_arr_get(log, 0), "headers");
    assert_int_equal(yyjson_arr_size(log), 2);
    assert_sv(json_string(json_get(head, "x-amz-target")), SV_LIT("TrentService.DescribeKey"));
    assert_sv(json_string(json_get(head, "content-type")), SV_LIT("application/x-amz-json-1.1"));
    assert_true(strstr(json_string(json_get(head, "authorization")).ptr,
                       "/us-east-1/kms/aws4_request, SignedHeaders=content-type;host;") != NULL);
    assert_sv(json_string(json_get(yyjson_arr_get(log, 0), "body")),
              SV_LIT("{\"KeyId\":\"" ARN "k\"}"));
    assert_sv(json_string(json_get(yyjson_arr_get(log, 1), "body")),
              SV_LIT("{\"KeyId\":\"" ARN "k\",\"EncryptionContext\":{\"aws:s3:arn\":"
                     "\"arn:aws:s3:::b/k\"},\"KeySpec\":\"AES_256\",\"DryRun\":true}"));
}

static void check(struct kms *kms, const char *key, err_code want, const char *says)
{
    struct err why = { 0 };
    err_code rc = kms_key_check(kms, sv_from(key), NULL, &why);
    if (rc != want || strstr(why.msg, says) == NULL)
        fail_msg("%s: %s: %s", key, err_code_name(rc), why.msg);
    assert_null(strstr(why.msg, SECRET));
}

TEST(hostile, each_state_of_a_key_has_its_error)
{
    NEED(has_bad);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 3, NEVER_MS, 0);
    keys("{\"good\":\"Enabled\",\"off\":\"Disabled\",\"going\":\"PendingDeletion\",\"sign\":"
         "\"Signing\",\"denied\":\"Denied\",\"look\":\"DescribeOnly\"}");
    script("[]");
    OK(kms_key_check(kms, SV_LIT("good"), NULL, e));
    check(kms, "none", ERR_NOT_FOUND, "KMS DescribeKey: NotFoundException (400)");
    check(kms, "off", ERR_PRECONDITION, "KMS DescribeKey: the key is disabled");
    check(kms, "going", ERR_CONFLICT, "state is PendingDeletion");
    check(kms, "sign", ERR_UNSUPPORTED, "no symmetric key");
    check(kms, "denied", ERR_DENIED, "KMS DescribeKey: AccessDeniedException");
    check(kms, "look", ERR_DENIED, "KMS GenerateDataKey: AccessDeniedException");
}

TEST(hostile, a_kms_without_dry_runs_makes_a_key_that_is_thrown_away)
{
    NEED(has_bad);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 1, NEVER_MS, 0);
    script("[{\"do\":\"answer\",\"status\":200,\"body\":\"{\\\"CiphertextBlob\\\":\\\"eA==\\\"}\"},"
           "{\"do\":\"answer\",\"status\":200,\"body\":\"{}\"}]");
    OK(kms_may_generate(kms, SV_LIT("k"), NULL, e));
    FAILS(ERR_PEER, kms_may_generate(kms, SV_LIT("k"), NULL, e));
    assert_int_equal(count_log(), 2);
}

/* ---- data keys ---- */

/* wrong_key: what the peer says of another key than the one that wrapped */
static void wrapped_and_unwrapped(struct kms *kms, sv key, sv other, err_code wrong_key)
{
    unsigned char made[KMS_KEY_LEN], got[KMS_KEY_LEN], mine[KMS_KEY_LEN];
    static struct kms_blob blob, again;
    const struct kms_context elsewhere = { "aws:s3:arn", SV_LIT("arn:aws:s3:::b/K") };
    memset(mine, 'm', sizeof mine);
    memset(got, 0, sizeof got);
    OK(kms_generate_data_key(kms, key, &bound, made, &blob, e));
    OK(kms_decrypt(kms, sv_from(blob.key), &bound, kms_blob_sv(&blob), got, e));
    assert_memory_equal(got, made, sizeof got);
    OK(kms_encrypt(kms, key, &bound, mine, &again, e));
    OK(kms_decrypt(kms, sv_from(again.key), &bound, kms_blob_sv(&again), got, e));
    assert_memory_equal(got, mine, sizeof got);
    /* another context, no context, another key, another blob: nothing comes out */
    memset(got, 7, sizeof got);
    memcpy(mine, got, sizeof got);
    FAILS(ERR_CORRUPT, kms_decrypt(kms, key, &elsewhere, kms_blob_sv(&blob), got, e));
    FAILS(ERR_CORRUPT, kms_decrypt(kms, key, NULL, kms_blob_sv(&blob), got, e));
    FAILS(wrong_key, kms_decrypt(kms, other, &bound, kms_blob_sv(&blob), got, e));
    FAILS(ERR_CORRUPT, kms_decrypt(kms, key, &bound, SV_NONE, got, e));
    blob.bytes[blob.len / 2] ^= 1;
    FAILS(ERR_CORRUPT, kms_decrypt(kms, key, &bound, kms_blob_sv(&blob), got, e));
    assert_memory_equal(got, mine, sizeof got);
}

TEST(hostile, a_data_key_comes_back_in_its_context_alone)
{
    NEED(has_bad);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 1, NEVER_MS, 0);
    keys("{\"k\":\"Enabled\",\"other\":\"Enabled\"}");
    script("[]");
    wrapped_and_unwrapped(kms, SV_LIT("k"), SV_LIT("other"), ERR_CORRUPT);
}

TEST(moto, a_data_key_comes_back_in_its_context_alone)
{
    NEED(has_moto);
    own = (struct s3_credentials){ .access_key_id = peer_text(&moto, "own_key"),
                                   .secret_key = peer_text(&moto, "own_secret") };
    CLEANUP(kms_close) struct kms *kms = kms_at(peer_text(&moto, "url").ptr, 2, 0, 0);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    sv key = peer_text(&moto, "kms_key"), arn = SV_NONE;
    OK(kms_describe_key(kms, key, a, &arn, e));
    assert_sv(arn, key);
    OK(kms_key_check(kms, key, &bound, e));
    wrapped_and_unwrapped(kms, key, peer_text(&moto, "kms_other"), ERR_DENIED);
    check(kms, ARN "11111111-2222-3333-4444-555555555555", ERR_NOT_FOUND, "NotFoundException");
    check(kms, "alias/none", ERR_NOT_FOUND, "NotFoundException");
    check(kms, peer_text(&moto, "kms_disabled").ptr, ERR_PRECONDITION, "disabled");
    check(kms, peer_text(&moto, "kms_deleted").ptr, ERR_CONFLICT, "PendingDeletion");
    check(kms, peer_text(&moto, "kms_signing").ptr, ERR_UNSUPPORTED, "symmetric");
    own.secret_key = SV_LIT("wrong");
    FAILS(ERR_DENIED, kms_key_check(kms, key, NULL, e));
}

TEST(hostile, the_key_of_a_data_store_opens_no_other)
{
    NEED(has_bad);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 1, NEVER_MS, 0);
    CLEANUP_BUF struct buf used = BUF_INIT(4096), blob = BUF_INIT(16384);
    unsigned char key[KMS_KEY_LEN] = "0123456789abcdef0123456789abcde", got[KMS_KEY_LEN] = { 0 };
    keys("{\"k\":\"Enabled\"}");
    script("[]");
    OK(kms_wrap(kms, SV_LIT("k"), SV_LIT("d1"), key, &used, &blob, e));
    assert_sv(buf_sv(&used), SV_LIT(ARN "k"));
    OK(kms_unwrap(kms, buf_sv(&used), buf_sv(&blob), SV_LIT("d1"), got, e));
    assert_memory_equal(got, key, sizeof key);
    FAILS(ERR_CORRUPT, kms_unwrap(kms, buf_sv(&used), buf_sv(&blob), SV_LIT("d2"), got, e));
    FAILS(ERR_CORRUPT, kms_unwrap(kms, buf_sv(&used), SV_LIT("!"), SV_LIT("d1"), got, e));
    FAILS(ERR_CORRUPT, kms_unwrap(kms, buf_sv(&used), SV_NONE, SV_LIT("d1"), got, e));
    /* what is taken away is refused, and comes back with the key */
    static const char *const taken[] = { "{\"k\":\"Disabled\"}", "{\"k\":\"PendingDeletion\"}",
                                         "{\"k\":\"Denied\"}", "{}" };
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        keys(taken[i]);
        FAILS(ERR_DENIED, kms_unwrap(kms, buf_sv(&used), buf_sv(&blob), SV_LIT("d1"), got, e));
    }
    FAILS(ERR_UNSUPPORTED, kms_wrap(kms, SV_LIT("k"), SV_LIT("d1"), key, &used, &blob, e));
    script("[{\"do\":\"fail\",\"status\":503,\"code\":\"x\"},"
           "{\"do\":\"answer\",\"status\":403,\"body\":\"<html>\"}]");
    FAILS(ERR_UNAVAILABLE, kms_unwrap(kms, buf_sv(&used), buf_sv(&blob), SV_LIT("d1"), got, e));
    FAILS(ERR_UNAVAILABLE, kms_wrap(kms, SV_LIT("k"), SV_LIT("d1"), key, &used, &blob, e));
    keys("{\"k\":\"Enabled\"}");
    OK(kms_unwrap(kms, buf_sv(&used), buf_sv(&blob), SV_LIT("d1"), got, e));
}

/* ---- answers that are none ---- */

TEST(hostile, what_may_pass_is_tried_again_and_then_told)
{
    NEED(has_bad);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 8, NEVER_MS, 0);
    CLEANUP(kms_close) struct kms *hasty = kms_at(bad_url, 8, 300, 0);
    keys("{\"k\":\"Enabled\"}");
#define FAULT(status, type) \
    "{\"do\":\"answer\",\"status\":" #status ",\"body\":\"{\\\"__type\\\":\\\"" type "\\\"}\"}"
    /* three attempts, however many the endpoint would take */
    script("[" FAULT(400, "ThrottlingException") "," FAULT(500, "KMSInternalException") "]");
    OK(kms_describe_key(kms, SV_LIT("k"), NULL, NULL, e));
    assert_int_equal(count_log(), 3);
    script("[" FAULT(500, "KeyUnavailableException") ",{\"do\":\"truncate\",\"bytes\":9},"
                                                     "{\"do\":\"reset\"}]");
    FAILS(ERR_PEER, kms_describe_key(kms, SV_LIT("k"), NULL, NULL, e));
    assert_true(count_log() >= 3);
    /* a peer that is held up for so long has not heard of all of them: once more then */
    uint64_t left = 3;
    for (unsigned tries = 0; tries < 50 && left > 0; tries++) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        struct err why = { 0 };
        script("[{\"do\":\"stall\",\"seconds\":1},{\"do\":\"hang\",\"bytes\":5,\"seconds\":1},"
               "{\"do\":\"stall\",\"seconds\":1}]");
        assert_int_equal(kms_describe_key(hasty, SV_LIT("k"), NULL, NULL, &why), ERR_TIMEOUT);
        assert_non_null(strstr(why.msg, "3 attempts"));
        (void)log_of(a, &left);
    }
    assert_int_equal(left, 0);
}

TEST(hostile, the_whole_call_has_an_end)
{
    NEED(has_bad);
    /* a peer that is silent for less than a timeout, and one that asks for much patience */
    CLEANUP(kms_close) struct kms *brief = kms_at(bad_url, 3, NEVER_MS, 400);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 3, NEVER_MS, 25000);
    /* as above */
    uint64_t left = 1;
    for (unsigned tries = 0; tries < 50 && left > 0; tries++) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        script("[{\"do\":\"stall\",\"seconds\":2}]");
        FAILS(ERR_TIMEOUT, kms_describe_key(brief, SV_LIT("k"), NULL, NULL, e));
        assert_true(yyjson_arr_size(log_of(a, &left)) <= 1);
    }
    assert_int_equal(left, 0);
    script(
        "[{\"do\":\"answer\",\"status\":503,\"body\":\"\",\"headers\":{\"Retry-After\":\"30\"}}]");
    struct err why = { 0 };
    assert_int_equal(kms_describe_key(kms, SV_LIT("k"), NULL, NULL, &why), ERR_PEER);
    assert_non_null(strstr(why.msg, "gave up after 1 attempts"));
    assert_int_equal(count_log(), 1);
}

/* What a proxy, another server or a broken KMS says is no answer about a key: it must neither let
 * anybody in nor close a data store. */
TEST(hostile, what_is_no_answer_of_kms_says_nothing_about_a_key)
{
    NEED(has_bad);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 1, NEVER_MS, 0);
    static const char *const steps[] = {
        "{\"do\":\"answer\",\"status\":403,\"body\":\"<html>Forbidden</html>\"}",
        "{\"do\":\"answer\",\"status\":404,\"body\":\"<html>no such page</html>\"}",
        "{\"do\":\"answer\",\"status\":404,\"body\":\"\"}",
        "{\"do\":\"answer\",\"status\":400,\"body\":\"{\\\"__type\\\":7}\"}",
        "{\"do\":\"answer\",\"status\":400,\"body\":\"[\\\"__type\\\"]\"}",
        "{\"do\":\"answer\",\"status\":200,\"body\":\"<html>hello</html>\"}",
        "{\"do\":\"answer\",\"status\":200,\"body\":\"\"}",
        "{\"do\":\"answer\",\"status\":200,\"body\":\"[]\"}",
        "{\"do\":\"answer\",\"status\":200,\"body\":\"{\\\"KeyMetadata\\\":true}\"}",
        "{\"do\":\"answer\",\"status\":200,\"body\":\"{\\\"KeyMetadata\\\":{\\\"Enabled\\\":true,"
        "\\\"KeyState\\\":1,\\\"KeyUsage\\\":\\\"ENCRYPT_DECRYPT\\\",\\\"Arn\\\":\\\"a\\\"}}\"}",
        "{\"do\":\"answer\",\"status\":200,\"body\":\"{\\\"KeyMetadata\\\":{\\\"KeyState\\\":"
        "\\\"Enabled\\\"}}\"}",
        "{\"do\":\"fill\",\"bytes\":100000000}",
        /* our clock, or how we ask */
        FAULT(400, "InvalidSignatureException"),
        FAULT(400, "IncompleteSignature"),
        FAULT(400, "RequestExpired"),
        FAULT(404, "UnknownOperationException"),
        FAULT(400, "LimitExceededException"),
        "{\"do\":\"answer\",\"status\":301,\"body\":\"\",\"headers\":{\"Location\":\"http://x/\"}}",
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        char all[512];
        struct err why = { 0 };
        (void)snprintf(all, sizeof all, "[%s]", steps[i]);
        script(all);
        err_code rc = kms_describe_key(kms, SV_LIT("k"), NULL, NULL, &why);
        if (rc != ERR_PEER)
            fail_msg("%s: %s: %s", steps[i], err_code_name(rc), why.msg);
        assert_null(strstr(why.msg, "html"));
    }
}

TEST(hostile, a_key_of_another_length_or_of_no_base64_is_none)
{
    NEED(has_bad);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 1, NEVER_MS, 0);
    static const char *const plain[] = { "\\\"\\\"", "\\\"AAAA\\\"", "7", "null", "[\\\"AAAA\\\"]",
                                         /* 32 bytes but for one sign; 33 bytes; 31 bytes */
                                         "\\\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA*A=\\\"",
                                         "\\\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\\\"",
                                         "\\\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\\\"" };
    unsigned char got[KMS_KEY_LEN];
    static struct kms_blob blob;
    memset(got, 9, sizeof got);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        char all[512];
        (void)snprintf(all, sizeof all,
                       "[{\"do\":\"answer\",\"status\":200,\"body\":\"{\\\"KeyId\\\":\\\"a\\\","
                       "\\\"CiphertextBlob\\\":\\\"eA==\\\",\\\"Plaintext\\\":%s}\"}]",
                       plain[i]);
        script(all);
        FAILS(ERR_PEER, kms_decrypt(kms, SV_LIT("k"), NULL, SV_LIT("x"), got, e));
        script(all);
        FAILS(ERR_PEER, kms_generate_data_key(kms, SV_LIT("k"), NULL, got, &blob, e));
    }
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], 9);
    assert_int_equal(blob.len, 0);
}

/* ---- secrets ---- */

TEST(hostile, answers_are_overwritten_when_they_were_read)
{
    NEED(has_bad);
    CLEANUP(kms_close) struct kms *kms = kms_at(bad_url, 1, NEVER_MS, 0);
    unsigned char made[KMS_KEY_LEN];
    static struct kms_blob blob;
    keys("{\"k\":\"Enabled\"}");
    script("[]");
    OK(kms_generate_data_key(kms, SV_LIT("k"), NULL, made, &blob, e));
    const struct s3_conn *conn = kms->client->locked.idle;
    assert_non_null(conn);
    assert_true(conn->answer.cap >= KMS_ANSWER_MAX);
    for (size_t i = 0; i < conn->answer.cap; i++)
        assert_int_equal(conn->answer.ptr[i], 0);
}

static unsigned char keep[2][KMS_KEY_LEN];

TEST(hostile, over_tls_as_s3_has_it)
{
    char url[64], ca[256];
    NEED(hostile_tls(url, ca));
    CLEANUP(kms_close) struct kms *stranger = kms_at(url, 1, NEVER_MS, 0);
    FAILS(ERR_PEER, kms_key_check(stranger, SV_LIT("k"), NULL, e));
    (void)setenv("SSL_CERT_FILE", ca, 1);
    CLEANUP(kms_close) struct kms *kms = kms_at(url, 1, NEVER_MS, 0);
    (void)unsetenv("SSL_CERT_FILE");
    static struct kms_blob blob;
    keys("{\"k\":\"Enabled\"}");
    script("[]");
    OK(kms_generate_data_key(kms, SV_LIT("k"), &bound, keep[0], &blob, e));
    OK(kms_decrypt(kms, SV_LIT("k"), &bound, kms_blob_sv(&blob), keep[1], e));
    assert_memory_equal(keep[0], keep[1], KMS_KEY_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(kms, an_endpoint_beyond_loopback_has_tls),
        T(hostile, what_is_asked_is_signed_for_kms_in_json),
        T(hostile, each_state_of_a_key_has_its_error),
        T(hostile, a_kms_without_dry_runs_makes_a_key_that_is_thrown_away),
        T(hostile, a_data_key_comes_back_in_its_context_alone),
        T(hostile, the_key_of_a_data_store_opens_no_other),
        T(hostile, what_may_pass_is_tried_again_and_then_told),
        T(hostile, the_whole_call_has_an_end),
        T(hostile, what_is_no_answer_of_kms_says_nothing_about_a_key),
        T(hostile, a_key_of_another_length_or_of_no_base64_is_none),
        T(hostile, answers_are_overwritten_when_they_were_read),
        T(hostile, over_tls_as_s3_has_it),
        T(moto, a_data_key_comes_back_in_its_context_alone),
    };
    RUN_WITH_BOTH(tests);
}
