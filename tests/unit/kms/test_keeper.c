/* KMS as the keeper of data keys: asked once for each wrapped key, then by the watch alone. */
#include "test.h"

#include "../../peers/hostile.h"
#include "kms/keeper.h"
#include "kms/kms_private.h"

#include <unistd.h>

#define ARN   "arn:aws:kms:us-east-1:123456789012:key/"
#define STORE SV_LIT("0123456789abcdef0123456789abcdef")
#define OTHER SV_LIT("fedcba9876543210fedcba9876543210")

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

static struct kms *open_kms(void)
{
    struct kms *kms = NULL;
    struct s3_endpoint ep = { .url = sv_from(bad_url), .region = SV_LIT("us-east-1") };
    OK(kms_open(&ep, give, NULL, NULL, &kms, e));
    return kms;
}

static uint64_t n_asked(void)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    uint64_t left;
    return yyjson_arr_size(log_of(a, &left));
}

TEST(keeper, asks_once_for_each_key_that_it_opens)
{
    (void)state;
    if (!has_bad)
        return;
    CLEANUP(kms_close) struct kms *kms = open_kms();
    CLEANUP(key_keeper_close) struct key_keeper *keeper = kms_keeper_new(kms, 3600);
    CLEANUP_BUF struct buf used = BUF_INIT(4096), blob = BUF_INIT(16384);
    unsigned char key[CIPHER_KEY_LEN], got[CIPHER_KEY_LEN];
    memset(key, 7, sizeof key);
    control("/_kms", "{\"k\":\"Enabled\"}", NULL);
    script("[]");
    OK(keeper->ops->wrap(keeper, SV_LIT(ARN "k"), STORE, key, &used, &blob, e));
    assert_sv(buf_sv(&used), SV_LIT(ARN "k"));
    assert_int_equal(n_asked(), 1);
    /* what was wrapped for one data store opens no other */
    FAILS(ERR_CORRUPT, keeper->ops->unwrap(keeper, buf_sv(&used), buf_sv(&blob), OTHER, got, e));
    assert_int_equal(n_asked(), 2);
    for (int i = 0; i < 5; i++) {
        memset(got, 0, sizeof got);
        OK(keeper->ops->unwrap(keeper, buf_sv(&used), buf_sv(&blob), STORE, got, e));
        assert_memory_equal(got, key, sizeof key);
    }
    assert_int_equal(n_asked(), 3);
}

TEST(keeper, a_key_that_is_taken_away_opens_nothing_until_it_comes_back)
{
    (void)state;
    if (!has_bad)
        return;
    CLEANUP(kms_close) struct kms *kms = open_kms();
    CLEANUP(key_keeper_close) struct key_keeper *keeper = kms_keeper_new(kms, 1);
    CLEANUP_BUF struct buf used = BUF_INIT(4096), blob = BUF_INIT(16384);
    unsigned char key[CIPHER_KEY_LEN] = { 1 };
    control("/_kms", "{\"k\":\"Enabled\"}", NULL);
    script("[]");
    OK(keeper->ops->wrap(keeper, SV_LIT(ARN "k"), STORE, key, &used, &blob, e));
    OK(keeper->ops->unwrap(keeper, buf_sv(&used), buf_sv(&blob), STORE, key, e));
    static const struct {
        const char *state;
        err_code wanted;
    } steps[] = { { "{\"k\":\"Disabled\"}", ERR_DENIED },
                  { "{\"k\":\"Enabled\"}", ERR_OK },
                  { "{}", ERR_DENIED },
                  { "{\"k\":\"Enabled\"}", ERR_OK } };
    for (size_t i = 0; i < 4; i++) {
        struct err why;
        err_code rc;
        control("/_kms", steps[i].state, NULL);
        do {
            (void)usleep(1000);
            memset(key, 9, sizeof key);
            rc = keeper->ops->unwrap(keeper, buf_sv(&used), buf_sv(&blob), STORE, key, &why);
            /* a refusal gives no key */
            assert_int_equal(key[0], rc == ERR_OK ? 1 : 9);
        } while (rc != steps[i].wanted);
    }
}

/* ---- what nobody needs any more ---- */

#define SECOND 1000000u
static uint64_t clock_us;

static uint64_t by_the_test(void)
{
    return clock_us;
}

static void after(struct key_keeper *keeper, unsigned s)
{
    clock_us += (uint64_t)s * SECOND;
    keeper_turn(keeper);
}

TEST(keeper, asks_no_more_for_a_key_that_nobody_unwrapped_for_a_minute)
{
    (void)state;
    if (!has_bad)
        return;
    clock_us = 5 * SECOND;
    CLEANUP(kms_close) struct kms *kms = open_kms();
    CLEANUP(key_keeper_close) struct key_keeper *keeper = keeper_new_at(kms, 30, by_the_test);
    CLEANUP_BUF struct buf used = BUF_INIT(4096), one = BUF_INIT(16384), two = BUF_INIT(16384);
    unsigned char key[CIPHER_KEY_LEN] = { 1 };
    control("/_kms", "{\"k\":\"Enabled\"}", NULL);
    script("[]");
    OK(keeper->ops->wrap(keeper, SV_LIT(ARN "k"), STORE, key, &used, &one, e));
    OK(keeper->ops->wrap(keeper, SV_LIT(ARN "k"), OTHER, key, &used, &two, e));
    OK(keeper->ops->unwrap(keeper, SV_LIT(ARN "k"), buf_sv(&one), STORE, key, e));
    OK(keeper->ops->unwrap(keeper, SV_LIT(ARN "k"), buf_sv(&two), OTHER, key, e));
    assert_int_equal(n_asked(), 4);
    /* both are asked for; then one is used, as by an open data store, and the other is not */
    after(keeper, 30);
    assert_int_equal(n_asked(), 6);
    OK(keeper->ops->unwrap(keeper, SV_LIT(ARN "k"), buf_sv(&one), STORE, key, e));
    after(keeper, 30);
    assert_int_equal(n_asked(), 7);
    OK(keeper->ops->unwrap(keeper, SV_LIT(ARN "k"), buf_sv(&one), STORE, key, e));
    after(keeper, 59);
    assert_int_equal(n_asked(), 8);
    after(keeper, 30);
    after(keeper, 3600);
    assert_int_equal(n_asked(), 8);
    /* forgotten: KMS is asked, who may say no, and the watch is there again */
    control("/_kms", "{\"k\":\"Disabled\"}", NULL);
    FAILS(ERR_DENIED, keeper->ops->unwrap(keeper, SV_LIT(ARN "k"), buf_sv(&two), OTHER, key, e));
    control("/_kms", "{\"k\":\"Enabled\"}", NULL);
    memset(key, 9, sizeof key);
    OK(keeper->ops->unwrap(keeper, SV_LIT(ARN "k"), buf_sv(&two), OTHER, key, e));
    assert_int_equal(key[0], 1);
    OK(keeper->ops->unwrap(keeper, SV_LIT(ARN "k"), buf_sv(&two), OTHER, key, e));
    assert_int_equal(n_asked(), 10);
    after(keeper, 30);
    assert_int_equal(n_asked(), 11);
}

/* A data store whose key was wrapped anew is closed by its new key alone. */
TEST(keeper, forgets_what_a_key_was_wrapped_in_before)
{
    (void)state;
    if (!has_bad)
        return;
    clock_us = 5 * SECOND;
    CLEANUP(kms_close) struct kms *kms = open_kms();
    CLEANUP(key_keeper_close) struct key_keeper *keeper = keeper_new_at(kms, 30, by_the_test);
    CLEANUP_BUF struct buf used = BUF_INIT(4096), old = BUF_INIT(16384), now = BUF_INIT(16384);
    unsigned char key[CIPHER_KEY_LEN] = { 1 };
    control("/_kms", "{\"k\":\"Enabled\",\"n\":\"Enabled\"}", NULL);
    script("[]");
    OK(keeper->ops->wrap(keeper, SV_LIT(ARN "k"), STORE, key, &used, &old, e));
    OK(keeper->ops->wrap(keeper, SV_LIT(ARN "n"), STORE, key, &used, &now, e));
    OK(keeper->ops->unwrap(keeper, SV_LIT(ARN "k"), buf_sv(&old), STORE, key, e));
    OK(keeper->ops->unwrap(keeper, SV_LIT(ARN "n"), buf_sv(&now), STORE, key, e));
    control("/_kms", "{\"n\":\"Enabled\"}", NULL);
    after(keeper, 30);
    FAILS(ERR_DENIED, keeper->ops->unwrap(keeper, SV_LIT(ARN "n"), buf_sv(&now), STORE, key, e));
    after(keeper, 30);
    OK(keeper->ops->unwrap(keeper, SV_LIT(ARN "n"), buf_sv(&now), STORE, key, e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(keeper, asks_once_for_each_key_that_it_opens),
        T(keeper, a_key_that_is_taken_away_opens_nothing_until_it_comes_back),
        T(keeper, asks_no_more_for_a_key_that_nobody_unwrapped_for_a_minute),
        T(keeper, forgets_what_a_key_was_wrapped_in_before),
    };
    hostile_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    peer_stop(&bad);
    return failed;
}
