/* Assertions and keys of our tokens where several processes share the records: what one has taken
 * no other takes, and what one has signed the others accept. */
#include "test.h"

#include "auth/issue/issue_private.h"
#include "base/rng.h"
#include "store/postgres.h"
#include "store/threads.h"

#define NOW     INT64_C(1800000000000)
#define HOUR_MS INT64_C(3600000)

static char uri[300];
static struct records *mine, *theirs;

/* False: there is no PostgreSQL. */
static bool opened(void)
{
    if (!pg_new_place(uri, sizeof uri))
        return false;
    OK(records_open(uri, &mine, e));
    OK(records_open(uri, &theirs, e));
    assert_true(records_shared(mine));
    return true;
}

static void closed(void)
{
    records_close(mine);
    records_close(theirs);
    pg_drop(uri);
}

static bool count_one(void *ctx, sv key, sv value)
{
    (void)key, (void)value;
    ++*(unsigned *)ctx;
    return true;
}

static unsigned n_records(const char *prefix)
{
    unsigned n = 0;
    OK(records_scan(mine, sv_from(prefix), SV_NONE, count_one, &n, e));
    return n;
}

TEST(nodes, an_assertion_that_one_has_taken_is_taken_by_no_other)
{
    (void)state;
    struct replay *a, *b;
    if (!opened())
        return;
    OK(replay_open(mine, 100, NOW, &a, e));
    OK(replay_open(theirs, 100, NOW, &b, e));
    OK(replay_take(a, SV_LIT("x"), SV_LIT("1"), NOW + 1000, NOW, e));
    FAILS(ERR_EXISTS, replay_take(b, SV_LIT("x"), SV_LIT("1"), NOW + 1000, NOW, e));
    /* the same jti in another assertion of the client, which lives longer */
    FAILS(ERR_EXISTS, replay_take(b, SV_LIT("x"), SV_LIT("1"), NOW + 2000, NOW, e));
    OK(replay_take(b, SV_LIT("y"), SV_LIT("1"), NOW + 1000, NOW, e));
    /* its clock may be ahead of the other one's */
    FAILS(ERR_EXISTS,
          replay_take(b, SV_LIT("x"), SV_LIT("1"), NOW + HOUR_MS, NOW + HOUR_MS / 2, e));
    replay_free(b);
    /* one that starts later knows both */
    OK(replay_open(theirs, 100, NOW, &b, e));
    FAILS(ERR_EXISTS, replay_take(b, SV_LIT("y"), SV_LIT("1"), NOW + 1000, NOW, e));
    replay_free(a);
    replay_free(b);
    closed();
}

TEST(nodes, records_of_used_assertions_go_long_after_and_a_jti_can_be_used_again)
{
    (void)state;
    struct replay *a, *b;
    const int64_t late = NOW + 2 * HOUR_MS;
    if (!opened())
        return;
    OK(replay_open(mine, 100, NOW, &a, e));
    for (unsigned i = 0; i < 5; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "%u", i);
        OK(replay_take(a, SV_LIT("x"), sv_from(id), NOW + 1000, NOW, e));
    }
    replay_free(a);
    OK(replay_open(mine, 100, NOW + HOUR_MS / 2, &a, e));
    assert_int_equal(n_records("tokenused/"), 5);
    assert_int_equal(n_records("tokenonce/"), 5);
    OK(replay_take(a, SV_LIT("x"), SV_LIT("0"), late + 1000, late, e));
    /* it sweeps at its start; what was taken again stays */
    OK(replay_open(theirs, 100, late, &b, e));
    assert_int_equal(n_records("tokenused/"), 1);
    assert_int_equal(n_records("tokenonce/"), 1);
    FAILS(ERR_EXISTS, replay_take(b, SV_LIT("x"), SV_LIT("0"), late + 1000, late, e));
    replay_free(a);
    replay_free(b);
    closed();
}

#define RACERS 4u
#define EACH   20u

static atomic_uint n_taken[EACH];

static void *race(void *arg)
{
    for (unsigned i = 0; i < EACH; i++) {
        char id[8];
        struct err why;
        (void)snprintf(id, sizeof id, "%u", i);
        err_code rc = replay_take(arg, SV_LIT("x"), sv_from(id), NOW + 1000, NOW, &why);
        THREAD_TRUE(rc == ERR_OK || rc == ERR_EXISTS);
        atomic_fetch_add(&n_taken[i], rc == ERR_OK);
    }
    return NULL;
}

TEST(nodes, of_many_at_once_one_takes_it)
{
    (void)state;
    struct replay *r[2];
    pthread_t threads[RACERS];
    if (!opened())
        return;
    OK(replay_open(mine, 100, NOW, &r[0], e));
    OK(replay_open(theirs, 100, NOW, &r[1], e));
    for (unsigned i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, r[i % 2]), 0);
    for (unsigned i = 0; i < RACERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_threads_were_fine();
    for (unsigned i = 0; i < EACH; i++)
        assert_int_equal(atomic_load(&n_taken[i]), 1);
    replay_free(r[0]);
    replay_free(r[1]);
    closed();
}

/* ---- keys ---- */

/* Do both verify by the same keys, n of them? */
static bool same_keys(struct own_keys *a, struct own_keys *b, int64_t now_ms, size_t n)
{
    CLEANUP(arena_free) struct arena *mem = arena_new(1 << 20);
    sv x, y;
    size_t n_keys = 0;
    OK(own_keys_jwks(a, mem, now_ms, &x, e));
    OK(own_keys_jwks(b, mem, now_ms, &y, e));
    for (size_t i = 0; i + 5 < x.len; i++)
        n_keys += memcmp(x.ptr + i, "\"kid\"", 5) == 0;
    return sv_eq(x, y) && n_keys == n;
}

/* By the other one's keys. */
static bool is_accepted(struct own_keys *signer, struct own_keys *checker, int64_t now_ms)
{
    CLEANUP(arena_free) struct arena *mem = arena_new(1 << 20);
    struct jose_jws jws;
    struct err why;
    sv token;
    OK(own_keys_sign(signer, mem, SV_LIT("{}"), now_ms, &token, e));
    OK(jose_jws_read(mem, token, &jws, e));
    return key_ring_verify(own_keys_ring(checker, now_ms), &jws, JOSE_BIT(OWN_KEY_ALG),
                           (uint64_t)now_ms * 1000, &why) == ERR_OK;
}

TEST(nodes, what_one_signs_the_other_accepts_while_keys_change)
{
    (void)state;
    struct own_keys *a, *b;
    const int64_t month = OWN_KEY_DAYS * INT64_C(86400000);
    if (!opened())
        return;
    OK(own_keys_open("/nowhere/at/all", mine, NOW, &a, e));
    OK(own_keys_open("/nowhere/at/all", theirs, NOW, &b, e));
    assert_true(same_keys(a, b, NOW, 1));
    for (int64_t t = NOW; t < NOW + 3 * month; t += month / 3) {
        /* one makes a key right after the other has looked for one; and each signs at any moment */
        (void)own_keys_ring(b, t - 1);
        for (int64_t at = t; at < t + 200000; at += 10000) {
            assert_true(is_accepted(a, b, at));
            assert_true(is_accepted(b, a, at + 5000));
        }
        assert_in_range(n_records("tokenkey/"), 1, 3);
    }
    assert_int_equal(n_records("tokenkey/"), 3);
    /* who starts later has them all */
    own_keys_close(b);
    OK(own_keys_open("/nowhere/at/all", theirs, NOW + 3 * month - 1, &b, e));
    assert_true(is_accepted(a, b, NOW + 3 * month - 1));
    own_keys_close(a);
    own_keys_close(b);
    closed();
}

TEST_MAIN(T(nodes, what_one_signs_the_other_accepts_while_keys_change),
          T(nodes, an_assertion_that_one_has_taken_is_taken_by_no_other),
          T(nodes, records_of_used_assertions_go_long_after_and_a_jti_can_be_used_again),
          T(nodes, of_many_at_once_one_takes_it))
