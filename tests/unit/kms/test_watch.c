/* test_watch.c - when a data store's key is open, closed or not known, by a clock and a KMS of the
 * test's own. */
#include "test.h"

#include "kms/kms.h"

#include <pthread.h>

/* TEST names a state that few tests need. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define SECOND 1000000u
#define A      SV_LIT("a")
#define B      SV_LIT("b")

static struct {
    uint64_t now_us;
    err_code says[2]; /* of a and b */
    unsigned asked[2], n_told;
    char log[512]; /* "a-CLOSED b-OPEN " */
    struct kms_watch *remove_from;
    bool slow;
} t;

static uint64_t now_us(void)
{
    return t.now_us;
}

static err_code ask(void *ctx, sv id, struct err *e)
{
    unsigned i = sv_eq(id, B);
    t.asked[i]++;
    if (t.slow)
        t.now_us += 20 * SECOND;
    if (t.remove_from)
        kms_watch_remove(t.remove_from, id);
    return t.says[i] == ERR_OK ? ERR_OK : ERR(e, t.says[i], "no");
}

static void told(void *ctx, sv id, kms_watch_state state, const struct err *why)
{
    static const char *const names[] = { "OPEN", "CLOSED", "UNKNOWN" };
    size_t at = strlen(t.log);
    (void)snprintf(t.log + at, sizeof t.log - at, "%.*s-%s ", SV_FMT(id), names[state]);
    assert_true((state == KMS_WATCH_OPEN) == (why->code == ERR_OK));
    t.n_told++;
}

static struct kms_watch *fresh(void)
{
    struct kms_watch_config cfg = { .ask = ask, .told = told, .now_us = now_us };
    memset(&t, 0, sizeof t);
    t.now_us = 5 * SECOND;
    struct kms_watch *watch = kms_watch_new(&cfg);
    kms_watch_add(watch, A);
    return watch;
}

static void after(struct kms_watch *watch, unsigned s)
{
    t.now_us += (uint64_t)s * SECOND;
    (void)kms_watch_turn(watch);
}

TEST(watch, each_is_asked_once_in_each_interval)
{
    struct kms_watch *watch = fresh();
    kms_watch_add(watch, A);
    assert_int_equal(kms_watch_turn(watch), 30 * SECOND);
    after(watch, 29);
    assert_int_equal(t.asked[0], 0);
    after(watch, 1);
    assert_int_equal(t.asked[0], 1);
    after(watch, 15);
    kms_watch_add(watch, B);
    assert_int_equal(kms_watch_turn(watch), 15 * SECOND);
    after(watch, 15);
    after(watch, 15);
    assert_int_equal(t.asked[0], 2);
    assert_int_equal(t.asked[1], 1);
    assert_int_equal(t.n_told, 0);
    kms_watch_free(watch);
}

TEST(watch, a_key_that_is_taken_away_closes_and_one_that_is_back_opens)
{
    static const err_code no[] = { ERR_DENIED,   ERR_NOT_FOUND,   ERR_PRECONDITION,
                                   ERR_CONFLICT, ERR_UNSUPPORTED, ERR_CORRUPT };
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        struct kms_watch *watch = fresh();
        kms_watch_add(watch, B);
        assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_OPEN);
        t.says[0] = no[i];
        after(watch, 30);
        assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_CLOSED);
        assert_int_equal(kms_watch_of(watch, B), KMS_WATCH_OPEN);
        after(watch, 30);
        assert_string_equal(t.log, "a-CLOSED ");
        t.says[0] = ERR_OK;
        after(watch, 30);
        assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_OPEN);
        assert_string_equal(t.log, "a-CLOSED a-OPEN ");
        kms_watch_free(watch);
    }
}

TEST(watch, a_revocation_is_seen_within_a_minute_also_when_a_question_takes_its_whole_time)
{
    struct kms_watch *watch = fresh();
    uint64_t taken_us = t.now_us;
    t.slow = true;
    t.says[0] = ERR_DENIED;
    t.now_us += kms_watch_turn(watch);
    (void)kms_watch_turn(watch);
    assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_CLOSED);
    assert_true(t.now_us - taken_us < 60 * SECOND);
    assert_true(KMS_WATCH_EVERY_S * 1000 + KMS_TOTAL_MS < 60000);
    kms_watch_free(watch);
}

TEST(watch, without_an_answer_the_last_one_stands_for_a_while)
{
    static const err_code none[] = { ERR_UNAVAILABLE,  ERR_PEER,      ERR_TIMEOUT,
                                     ERR_AUTH_EXPIRED, ERR_CANCELLED, ERR_INTERNAL };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct kms_watch *watch = fresh();
        t.says[0] = none[i];
        for (unsigned s = 0; s < KMS_WATCH_GRACE_S; s += 30)
            after(watch, 30);
        assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_OPEN);
        after(watch, 30);
        assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_UNKNOWN);
        assert_string_equal(t.log, "a-UNKNOWN ");
        t.says[0] = ERR_OK;
        after(watch, 30);
        assert_string_equal(t.log, "a-UNKNOWN a-OPEN ");
        /* closed stays closed, however long nobody answers */
        t.says[0] = ERR_DENIED;
        after(watch, 30);
        t.says[0] = none[i];
        after(watch, 2 * KMS_WATCH_GRACE_S);
        assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_CLOSED);
        assert_string_equal(t.log, "a-UNKNOWN a-OPEN a-CLOSED ");
        kms_watch_free(watch);
    }
}

TEST(watch, an_open_one_ends_by_the_clock_also_when_nobody_asks)
{
    struct kms_watch *watch = fresh();
    t.now_us += (uint64_t)(KMS_WATCH_GRACE_S + 1) * SECOND;
    assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_UNKNOWN);
    assert_int_equal(kms_watch_of(watch, SV_LIT("never added")), KMS_WATCH_UNKNOWN);
    kms_watch_free(watch);
}

TEST(watch, one_that_is_removed_is_asked_for_no_more_and_nobody_is_told)
{
    struct kms_watch *watch = fresh();
    kms_watch_add(watch, B);
    kms_watch_remove(watch, B);
    kms_watch_remove(watch, B);
    after(watch, 30);
    assert_int_equal(t.asked[1], 0);
    assert_int_equal(t.asked[0], 1);
    /* while it is being asked for; and it is there again at once */
    t.remove_from = watch;
    t.says[0] = ERR_DENIED;
    after(watch, 30);
    t.remove_from = NULL;
    assert_int_equal(t.n_told, 0);
    assert_int_equal(kms_watch_turn(watch), 0);
    kms_watch_add(watch, A);
    assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_OPEN);
    kms_watch_free(watch);
}

/* ---- the thread ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_asked, n_told;
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static err_code ask_there(void *ctx, sv id, struct err *e)
{
    pthread_mutex_lock(&seen.lock);
    seen.n_asked++;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
    return ERR(e, ERR_DENIED, "no");
}

static void told_there(void *ctx, sv id, kms_watch_state state, const struct err *why)
{
    pthread_mutex_lock(&seen.lock);
    seen.n_told++;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

TEST(watch, a_thread_asks_and_ends_when_it_is_told_to)
{
    struct kms_watch_config cfg = { .every_s = 1, .ask = ask_there, .told = told_there };
    struct kms_watch *watch = kms_watch_new(&cfg);
    kms_watch_start(watch);
    /* it has nothing to do, and waits for this */
    kms_watch_add(watch, A);
    pthread_mutex_lock(&seen.lock);
    while (seen.n_told == 0 || seen.n_asked < 2)
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
    assert_int_equal(kms_watch_of(watch, A), KMS_WATCH_CLOSED);
    kms_watch_free(watch);
    assert_int_equal(seen.n_told, 1);
}

TEST_MAIN(T(watch, each_is_asked_once_in_each_interval),
          T(watch, a_key_that_is_taken_away_closes_and_one_that_is_back_opens),
          T(watch, a_revocation_is_seen_within_a_minute_also_when_a_question_takes_its_whole_time),
          T(watch, without_an_answer_the_last_one_stands_for_a_while),
          T(watch, an_open_one_ends_by_the_clock_also_when_nobody_asks),
          T(watch, one_that_is_removed_is_asked_for_no_more_and_nobody_is_told),
          T(watch, a_thread_asks_and_ends_when_it_is_told_to))
