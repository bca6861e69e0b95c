/* test_assume.c - what is kept of roles that were asked for, whoever asks and however often.
 * The call of STS is one of ours: it refuses roles that are called "no...", and counts. */
#include "test.h"

#include "s3/s3.h"

#include <stdatomic.h>

static atomic_uint n_calls;
static atomic_bool sts_is_away;
static pthread_barrier_t *meet; /* callers that are to be in the call at a time; NULL: none wait */

static err_code fake_assume(const struct s3_endpoint *sts, const struct s3_credentials *own,
                            const struct sts_assume_role *req, struct arena *a,
                            struct s3_credentials *out, struct err *e);
#define sts_assume_role(...) fake_assume(__VA_ARGS__)
#include "../../../src/sink/assume.c"

static int64_t ttl_ms = 3600000;

static err_code fake_assume(const struct s3_endpoint *sts, const struct s3_credentials *own,
                            const struct sts_assume_role *req, struct arena *a,
                            struct s3_credentials *out, struct err *e)
{
    (void)sts;
    (void)own;
    unsigned n = atomic_fetch_add(&n_calls, 1) + 1;
    if (meet)
        (void)pthread_barrier_wait(meet);
    if (sv_starts(req->role_arn, SV_LIT("no")))
        return ERR(e, ERR_DENIED, "the role may not be assumed");
    if (atomic_load(&sts_is_away))
        return ERR(e, ERR_PEER, "STS is away");
    *out = (struct s3_credentials){ arena_fmt(a, "ASIA%u", n), arena_fmt(a, "secret%u", n),
                                    arena_fmt(a, "token%u", n), clock_wall_ms() + ttl_ms };
    return ERR_OK;
}

static const struct s3_endpoint peer;

static struct assume_cache *cache_of_own(void)
{
    static struct s3_held *own;
    if (own == NULL)
        own = s3_held_new(&(struct s3_credentials){ 0 });
    return assume_cache_new(&peer, own);
}

static err_code ask(struct assume_cache *c, const char *role, const char *source, sv refused,
                    char key[32])
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    struct assume_who who = { .role_arn = sv_from(role), .source_arn = sv_from(source) };
    struct s3_credentials got;
    struct err e;
    err_code rc = assume_cache_get(c, &who, refused, a, &got, &e);
    if (rc == ERR_OK && key)
        (void)snprintf(key, 32, "%.*s", SV_FMT(got.access_key_id));
    return rc;
}

static unsigned n_entries(struct assume_cache *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct entry *en = c->locked.buckets[i]; en; en = en->next)
            n++;
    return n;
}

TEST(assume, roles_that_are_refused_leave_nothing_behind)
{
    (void)state;
    struct assume_cache *c = cache_of_own();
    for (unsigned i = 0; i < 5000; i++) {
        char role[64];
        (void)snprintf(role, sizeof role, "no-%u", i);
        assert_int_equal(ask(c, role, "store", SV_NONE, NULL), ERR_DENIED);
    }
    assert_int_equal(n_entries(c), 0);
    /* neither do those for which STS cannot be reached, nor one that was good and is refused now */
    atomic_store(&sts_is_away, true);
    for (unsigned i = 0; i < 100; i++) {
        char role[64];
        (void)snprintf(role, sizeof role, "away-%u", i);
        assert_int_equal(ask(c, role, "store", SV_NONE, NULL), ERR_PEER);
    }
    assert_int_equal(n_entries(c), 0);
    atomic_store(&sts_is_away, false);
    char key[32];
    assert_int_equal(ask(c, "good", "store", SV_NONE, key), ERR_OK);
    assert_int_equal(n_entries(c), 1);
    atomic_store(&sts_is_away, true);
    assert_int_equal(ask(c, "good", "store", sv_from(key), NULL), ERR_PEER);
    assert_int_equal(n_entries(c), 0);
    atomic_store(&sts_is_away, false);
    assert_int_equal(c->locked.n_kept, 0);
    assume_cache_free(c);
}

TEST(assume, at_most_a_thousand_are_kept_and_the_oldest_goes)
{
    (void)state;
    struct assume_cache *c = cache_of_own();
    char key[32], again[32], role[64];
    assert_int_equal(ask(c, "first", "store", SV_NONE, NULL), ERR_OK);
    assert_int_equal(ask(c, "used", "store", SV_NONE, key), ERR_OK);
    for (unsigned i = 0; i < LIMIT_ASSUMED_ROLES + 500; i++) {
        (void)snprintf(role, sizeof role, "r-%u", i);
        assert_int_equal(ask(c, role, "store", SV_NONE, NULL), ERR_OK);
        assert_int_equal(ask(c, "used", "store", SV_NONE, again), ERR_OK);
        /* whoever is asked for stays */
        assert_string_equal(again, key);
    }
    assert_int_equal(n_entries(c), LIMIT_ASSUMED_ROLES);
    assert_int_equal(c->locked.n_kept, LIMIT_ASSUMED_ROLES);
    unsigned before = atomic_load(&n_calls);
    /* the newest is there */
    assert_int_equal(ask(c, role, "store", SV_NONE, NULL), ERR_OK);
    assert_int_equal(atomic_load(&n_calls), before);
    /* the oldest is not */
    assert_int_equal(ask(c, "first", "store", SV_NONE, NULL), ERR_OK);
    assert_int_equal(atomic_load(&n_calls), before + 1);
    assume_cache_free(c);
}

TEST(assume, a_role_is_kept_for_each_data_store_and_names_do_not_run_together)
{
    (void)state;
    struct assume_cache *c = cache_of_own();
    static const char *const names[][2] = {
        { "ab", "c" }, { "a", "bc" }, { "abc", "" }, { "", "abc" }
    };
    char key[4][32], again[32];
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(ask(c, names[i][0], names[i][1], SV_NONE, key[i]), ERR_OK);
    assert_int_equal(n_entries(c), 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(ask(c, names[i][0], names[i][1], SV_NONE, again), ERR_OK);
        assert_string_equal(again, key[i]);
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(key[i], key[k]);
    }
    assume_cache_free(c);
}

struct many {
    struct assume_cache *c;
    unsigned first;
    bool failed;
};

static void *ask_many(void *ctx)
{
    struct many *m = ctx;
    for (unsigned i = 0; i < 2000; i++) {
        char role[64], key[32];
        bool no = i % 3 == 0;
        (void)snprintf(role, sizeof role, no ? "no-%u" : "r-%u", (m->first + i * 7) % 1500);
        m->failed |= ask(m->c, role, "store", SV_NONE, key) != (no ? ERR_DENIED : ERR_OK);
        /* S3 calls it expired */
        if (!no && i % 5 == 0)
            m->failed |= ask(m->c, role, "store", sv_from(key), NULL) != ERR_OK;
    }
    return NULL;
}

TEST(assume, many_threads_leave_no_more_than_the_limit)
{
    (void)state;
    struct many m[4];
    pthread_t t[4];
    struct assume_cache *c = cache_of_own();
    for (unsigned i = 0; i < 4; i++) {
        m[i] = (struct many){ c, i * 400, false };
        assert_int_equal(pthread_create(&t[i], NULL, ask_many, &m[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_false(m[i].failed);
    }
    assert_true(n_entries(c) <= LIMIT_ASSUMED_ROLES);
    assert_int_equal(n_entries(c), c->locked.n_kept);
    assume_cache_free(c);
}

static void *ask_refused(void *ctx)
{
    return ask(ctx, "no-one", "store", SV_NONE, NULL) == ERR_DENIED ? NULL : ctx;
}

TEST(assume, who_waits_for_a_role_that_is_refused_then_asks_and_is_refused_too)
{
    (void)state;
    pthread_barrier_t two;
    pthread_t t[3];
    struct assume_cache *c = cache_of_own();
    assert_int_equal(pthread_barrier_init(&two, NULL, 2), 0);
    meet = &two;
    unsigned before = atomic_load(&n_calls);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, ask_refused, c), 0);
    for (unsigned i = 0; i < 3; i++)
        /* one at a time is in the call */
        (void)pthread_barrier_wait(&two);
    for (unsigned i = 0; i < 3; i++) {
        void *wrong = NULL;
        pthread_join(t[i], &wrong);
        assert_null(wrong);
    }
    meet = NULL;
    assert_int_equal(atomic_load(&n_calls), before + 3);
    assert_int_equal(n_entries(c), 0);
    pthread_barrier_destroy(&two);
    assume_cache_free(c);
}

static int64_t at_ms;
static int64_t test_now(void)
{
    return at_ms;
}

/* Each call of one that is away takes half a minute, and one thread has all copies. */
TEST(assume, while_sts_is_away_what_is_valid_is_used_and_it_is_asked_now_and_then)
{
    (void)state;
    struct assume_cache *c = cache_of_own();
    char key[32], again[32];
    at_ms = clock_wall_ms();
    assume_cache_clock(c, test_now);
    assert_int_equal(ask(c, "good", "store", SV_NONE, key), ERR_OK);
    /* less than five minutes are left of the hour */
    at_ms += ttl_ms - 200000;
    atomic_store(&sts_is_away, true);
    unsigned before = atomic_load(&n_calls);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(ask(c, "good", "store", SV_NONE, again), ERR_OK);
        assert_string_equal(again, key);
    }
    assert_int_equal(atomic_load(&n_calls), before + 1);
    at_ms += AWAY_MS;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(ask(c, "good", "store", SV_NONE, again), ERR_OK);
    assert_int_equal(atomic_load(&n_calls), before + 2);
    /* it is back, and is asked when it is time again */
    atomic_store(&sts_is_away, false);
    at_ms += AWAY_MS;
    assert_int_equal(ask(c, "good", "store", SV_NONE, again), ERR_OK);
    assert_string_not_equal(again, key);
    /* half of their time is over; those that S3 refuses are asked for anew whatever was before */
    atomic_store(&sts_is_away, true);
    at_ms += 100000;
    assert_int_equal(ask(c, "good", "store", SV_NONE, key), ERR_OK);
    assert_int_equal(ask(c, "good", "store", sv_from(key), NULL), ERR_PEER);
    atomic_store(&sts_is_away, false);
    assume_cache_free(c);
}

TEST_MAIN(T(assume, roles_that_are_refused_leave_nothing_behind),
          T(assume, at_most_a_thousand_are_kept_and_the_oldest_goes),
          T(assume, a_role_is_kept_for_each_data_store_and_names_do_not_run_together),
          T(assume, many_threads_leave_no_more_than_the_limit),
          T(assume, while_sts_is_away_what_is_valid_is_used_and_it_is_asked_now_and_then),
          T(assume, who_waits_for_a_role_that_is_refused_then_asks_and_is_refused_too))
