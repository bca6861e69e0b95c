/* test_turns.c - ranges are handed out once each, are tried again when what failed may pass, and
 * leave nothing behind. How a range is written is a script here: which call fails, and how. */
#include "export/export_private.h"

#define SCRIPT_MAX 4u
#define RANGES_MAX 64u

typedef enum { AT_OPEN, AT_FILL, AT_FLUSH, AT_FINISH, N_PLACES } place;

struct export_range { /* one try */
    size_t range;
    struct buf *block;
    bool out; /* its lines are: its block is free */
    unsigned n_flushed;
};

static struct {
    struct try_failure {
        place at;
        err_code rc;
    } fails[SCRIPT_MAX]; /* of the first tries */
    unsigned n_fails;
    unsigned n_flushes; /* that a try takes until it is out */
    bool arrives;       /* is seen to arrive, else it is waited for */
} script[RANGES_MAX];

static struct {
    pthread_mutex_t lock;
    unsigned tries[RANGES_MAX], noted[RANGES_MAX], open[RANGES_MAX];
    unsigned n_pauses[2]; /* of 1000 and 2000 ms */
    unsigned n_other_pauses, n_open, n_opened;
    size_t order[RANGES_MAX]; /* the first that were opened */
    unsigned n_wrong; /* two tries of a range at a time, two of one block, a call out of turn */
    const struct buf *blocks[RANGES_MAX];
    unsigned n_blocks;
    unsigned stop_after; /* ranges opened; 0: never */
    atomic_bool halt;
    void (*at_first)(void);
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER };

static err_code outcome(const struct export_range *g, place at, struct err *e)
{
    unsigned nth = seen.tries[g->range] - 1;
    return nth < script[g->range].n_fails && script[g->range].fails[nth].at == at
               ? ERR(e, script[g->range].fails[nth].rc, "range %zu", g->range)
               : ERR_OK;
}

static void let_go_of_block(const struct export_range *g)
{
    for (unsigned i = 0; i < seen.n_blocks; i++)
        if (seen.blocks[i] == g->block)
            seen.blocks[i--] = seen.blocks[--seen.n_blocks];
}

static err_code scripted_open(struct export_job *x, size_t range, struct buf *block,
                              struct export_range **out, struct err *e)
{
    (void)x;
    struct export_range g = { .range = range, .block = block };
    pthread_mutex_lock(&seen.lock);
    if (seen.n_opened < RANGES_MAX)
        seen.order[seen.n_opened] = range;
    if (seen.n_opened++ == 0 && seen.at_first)
        seen.at_first();
    if (seen.stop_after && seen.n_opened >= seen.stop_after)
        atomic_store(&seen.halt, true);
    seen.tries[range]++;
    err_code rc = outcome(&g, AT_OPEN, e);
    if (rc == ERR_OK) {
        for (unsigned i = 0; i < seen.n_blocks; i++)
            seen.n_wrong += seen.blocks[i] == block;
        seen.blocks[seen.n_blocks++] = block;
        seen.n_wrong += seen.open[range]++ != 0;
        seen.n_open++;
        *out = malloc(sizeof **out);
        if (*out == NULL)
            abort();
        **out = g;
    }
    pthread_mutex_unlock(&seen.lock);
    return rc;
}

static err_code scripted_fill(struct export_range *g, struct err *e)
{
    pthread_mutex_lock(&seen.lock);
    seen.n_wrong += g->out;
    err_code rc = outcome(g, AT_FILL, e);
    pthread_mutex_unlock(&seen.lock);
    return rc;
}

static void scripted_digest(struct export_range *g, struct export_range *h)
{
    pthread_mutex_lock(&seen.lock);
    seen.n_wrong += g == h || g->range == h->range;
    pthread_mutex_unlock(&seen.lock);
}

static err_code scripted_flush(struct export_range *g, struct err *e)
{
    pthread_mutex_lock(&seen.lock);
    err_code rc = outcome(g, AT_FLUSH, e);
    if (rc == ERR_OK && ++g->n_flushed >= script[g->range].n_flushes) {
        g->out = true;
        let_go_of_block(g);
        rc = ERR_EOF;
    }
    pthread_mutex_unlock(&seen.lock);
    return rc;
}

static bool scripted_has_arrived(const struct export_range *g)
{
    return script[g->range].arrives;
}

static err_code scripted_finish(struct export_range *g, struct export_tally *out, struct err *e)
{
    pthread_mutex_lock(&seen.lock);
    seen.n_wrong += !g->out;
    err_code rc = outcome(g, AT_FINISH, e);
    seen.noted[g->range] += rc == ERR_OK;
    *out = (struct export_tally){ 0 };
    pthread_mutex_unlock(&seen.lock);
    return rc;
}

static void scripted_free(struct export_range *g)
{
    if (g == NULL)
        return;
    pthread_mutex_lock(&seen.lock);
    if (!g->out)
        let_go_of_block(g);
    seen.open[g->range]--;
    seen.n_open--;
    pthread_mutex_unlock(&seen.lock);
    free(g);
}

static void scripted_progress(struct export_job *x, const struct export_tally *t)
{
    (void)t;
    pthread_mutex_lock(&x->shared.lock);
    x->shared.progress.ranges_done++;
    pthread_mutex_unlock(&x->shared.lock);
}

static void scripted_pause(struct job_run *r, unsigned ms)
{
    (void)r;
    pthread_mutex_lock(&seen.lock);
    if (ms == 1000 || ms == 2000)
        seen.n_pauses[ms / 1000 - 1]++;
    else
        seen.n_other_pauses++;
    pthread_mutex_unlock(&seen.lock);
}

#define export_range_open        scripted_open
#define export_range_fill        scripted_fill
#define export_ranges_digest     scripted_digest
#define export_range_flush       scripted_flush
#define export_range_has_arrived scripted_has_arrived
#define export_range_finish      scripted_finish
#define export_range_free        scripted_free
#define export_progress_range    scripted_progress
#define job_run_pause            scripted_pause
#include "export/turns.c"

/* behind the room, whose fail() is not cmocka's */
#include "test.h"

static bool done[RANGES_MAX];
static struct export_item items[RANGES_MAX];

static void forget_all(void)
{
    memset(script, 0, sizeof script);
    memset(done, 0, sizeof done);
    memset(items, 0, sizeof items);
    memset(seen.tries, 0, sizeof seen.tries);
    memset(seen.noted, 0, sizeof seen.noted);
    memset(seen.open, 0, sizeof seen.open);
    memset(seen.n_pauses, 0, sizeof seen.n_pauses);
    seen.n_other_pauses = seen.n_open = seen.n_opened = seen.n_wrong = seen.n_blocks = 0;
    seen.stop_after = 0;
    seen.at_first = NULL;
    atomic_store(&seen.halt, false);
    for (unsigned i = 0; i < RANGES_MAX; i++)
        script[i].n_flushes = 1;
}

/* All ranges of a plan of n. Nothing is left open, whatever comes out. */
static err_code run_in(struct job_pool *pool, size_t n, uint64_t *ranges_done)
{
    struct job job = { .id = SV_LIT("j") };
    struct job_run r = { .job = &job, .pool = pool, .halt = &seen.halt };
    struct export_job x = { .run = &r, .plan = { .items = items, .done = done, .n = n } };
    struct err why = { 0 };
    pthread_mutex_init(&x.shared.lock, NULL);
    err_code rc = export_ranges_run(&x, &why);
    pthread_mutex_destroy(&x.shared.lock);
    assert_int_equal(seen.n_open, 0);
    assert_int_equal(seen.n_wrong, 0);
    *ranges_done = x.shared.progress.ranges_done;
    return rc;
}

static err_code run(unsigned n_workers, size_t n, uint64_t *ranges_done)
{
    struct job_pool *pool = NULL;
    OK(job_pool_start(n_workers, &pool, e));
    err_code rc = run_in(pool, n, ranges_done);
    job_pool_stop(pool);
    return rc;
}

TEST(turns, ranges_that_are_not_done_are_written_once_each)
{
    (void)state;
    uint64_t n_done;
    for (unsigned n = 0; n <= 40; n += 5)
        for (unsigned workers = 1; workers <= 4; workers++) {
            unsigned n_open = 0;
            forget_all();
            for (unsigned i = 0; i < n; i++) {
                done[i] = i % 3 == 1 || i < workers;
                n_open += !done[i];
                script[i].n_flushes = 1 + i % 4;
                script[i].arrives = i % 2;
            }
            assert_int_equal(run(workers, n, &n_done), ERR_OK);
            assert_int_equal(n_done, n_open);
            for (unsigned i = 0; i < n; i++) {
                assert_int_equal(seen.tries[i], !done[i]);
                assert_int_equal(seen.noted[i], !done[i]);
            }
        }
}

TEST(turns, ranges_that_are_checked_come_first_and_once)
{
    (void)state;
    uint64_t n_done;
    for (unsigned workers = 1; workers <= 3; workers++) {
        unsigned n_checks = 0;
        forget_all();
        for (unsigned i = 0; i < 40; i++) {
            items[i].check = i % 7 == 3;
            done[i] = i == 10;
            n_checks += items[i].check && !done[i];
            script[i].n_flushes = 1 + i % 4;
        }
        assert_int_equal(run(workers, 40, &n_done), ERR_OK);
        assert_int_equal(n_done, 39);
        for (unsigned i = 0; i < 40; i++)
            assert_int_equal(seen.tries[i], !done[i]);
        /* by one worker in their order; by several they are taken so, and opened as it comes */
        for (unsigned i = 0; i < n_checks && workers == 1; i++)
            assert_int_equal(seen.order[i], i == 0 ? 3 : 10 + 7 * i);
    }
}

/* What a range comes to by the rule: three tries, of what may pass. */
static err_code fate(unsigned i, unsigned *tries)
{
    for (unsigned k = 0; k < script[i].n_fails; k++) {
        err_code rc = script[i].fails[k].rc;
        *tries = k + 1;
        if (k == 2 || (rc != ERR_PEER && rc != ERR_TIMEOUT && rc != ERR_AUTH_EXPIRED))
            return rc;
    }
    *tries = script[i].n_fails + 1;
    return ERR_OK;
}

TEST(turns, what_may_pass_is_tried_three_times_and_anything_else_once)
{
    (void)state;
    static const err_code codes[] = { ERR_PEER,      ERR_TIMEOUT, ERR_AUTH_EXPIRED,
                                      ERR_DENIED,    ERR_IO,      ERR_NO_SPACE,
                                      ERR_NOT_FOUND, ERR_CORRUPT, ERR_INTERNAL };
    uint64_t n_done;
    unsigned tries;
    for (place at = AT_OPEN; at < N_PLACES; at++)
        for (unsigned c = 0; c < sizeof codes / sizeof codes[0]; c++)
            for (unsigned n_fails = 1; n_fails <= SCRIPT_MAX; n_fails++) {
                forget_all();
                script[1].n_fails = n_fails;
                for (unsigned k = 0; k < n_fails; k++)
                    script[1].fails[k] = (struct try_failure){ at, codes[c] };
                err_code want = fate(1, &tries), rc = run(1, 3, &n_done);
                if (rc != want || seen.tries[1] != tries)
                    fail_msg("%u times %s at %d: %s after %u", n_fails, err_code_name(codes[c]),
                             (int)at, err_code_name(rc), seen.tries[1]);
                assert_int_equal(seen.noted[1], want == ERR_OK);
                assert_int_equal(seen.n_pauses[0], tries >= 2);
                assert_int_equal(seen.n_pauses[1], tries >= 3);
                assert_int_equal(seen.n_other_pauses, 0);
            }
}

static uint32_t seed;
static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * n) >> 32);
}

TEST(turns, random_failures_cost_a_range_its_tries_and_nobody_else_anything)
{
    (void)state;
    static const err_code may_pass_codes[] = { ERR_PEER, ERR_TIMEOUT, ERR_AUTH_EXPIRED };
    seed = 4711;
    for (unsigned round = 0; round < 300; round++) {
        unsigned n = 1 + below(RANGES_MAX), first = 0, second = 0, tries;
        bool lost = false;
        uint64_t n_done;
        forget_all();
        for (unsigned i = 0; i < n; i++) {
            /* in one round of four some range fails for good */
            bool for_good = round % 4 == 0 && below(n) < 2;
            script[i].n_fails = for_good ? 3 : below(4) ? 0 : 1 + below(2);
            script[i].n_flushes = 1 + below(3);
            script[i].arrives = below(2);
            for (unsigned k = 0; k < script[i].n_fails; k++)
                script[i].fails[k] =
                    (struct try_failure){ (place)below(N_PLACES), may_pass_codes[below(3)] };
            lost = fate(i, &tries) != ERR_OK || lost;
            first += tries >= 2;
            second += tries >= 3;
        }
        err_code rc = run(1 + below(3), n, &n_done);
        if (lost) {
            assert_true(rc == ERR_PEER || rc == ERR_TIMEOUT || rc == ERR_AUTH_EXPIRED);
            assert_true(n_done < n);
            continue;
        }
        assert_int_equal(rc, ERR_OK);
        assert_int_equal(n_done, n);
        assert_int_equal(seen.n_pauses[0], first);
        assert_int_equal(seen.n_pauses[1], second);
        for (unsigned i = 0; i < n; i++) {
            (void)fate(i, &tries);
            assert_int_equal(seen.tries[i], tries);
            assert_int_equal(seen.noted[i], 1);
        }
    }
}

TEST(turns, an_export_that_failed_or_is_stopped_takes_no_more_ranges)
{
    (void)state;
    uint64_t n_done;
    forget_all();
    for (unsigned i = 0; i < RANGES_MAX; i++)
        script[i].n_flushes = 8; /* it fails long before another range is out */
    script[1].n_fails = 1;
    script[1].fails[0] = (struct try_failure){ AT_FILL, ERR_DENIED };
    assert_int_equal(run(1, RANGES_MAX, &n_done), ERR_DENIED);
    assert_int_equal(seen.n_opened, EXPORT_TRACKS);
    assert_int_equal(n_done, 0);

    forget_all();
    seen.stop_after = 5;
    assert_int_equal(run(1, RANGES_MAX, &n_done), ERR_CANCELLED);
    assert_in_range(seen.n_opened, 5, 6); /* its neighbour in the same step */
    assert_true(n_done < RANGES_MAX);

    /* a peer's failure that comes of the stop is told as the stop */
    forget_all();
    seen.stop_after = 1;
    script[0].n_fails = 1;
    script[0].fails[0] = (struct try_failure){ AT_FILL, ERR_PEER };
    assert_int_equal(run(1, 1, &n_done), ERR_CANCELLED);
    assert_int_equal(seen.n_pauses[0], 0);
}

/* ---- another job in the same pool ---- */

static struct job_tasks *others;
static unsigned opened_before_other;

static void other_job(void *ctx, unsigned worker)
{
    (void)ctx;
    (void)worker;
    pthread_mutex_lock(&seen.lock);
    opened_before_other = seen.n_opened;
    pthread_mutex_unlock(&seen.lock);
}

static void add_other(void)
{
    job_tasks_add(others, other_job, NULL);
}

TEST(turns, a_job_that_waits_for_the_worker_gets_it_after_four_ranges)
{
    (void)state;
    struct job_pool *pool = NULL;
    uint64_t n_done;
    forget_all();
    OK(job_pool_start(1, &pool, e));
    others = job_tasks_open(pool, 1);
    seen.at_first = add_other;
    assert_int_equal(run_in(pool, 40, &n_done), ERR_OK);
    job_tasks_close(others);
    job_pool_stop(pool);
    assert_int_equal(opened_before_other, 4);
    assert_int_equal(n_done, 40);
}

TEST_MAIN(T(turns, ranges_that_are_not_done_are_written_once_each),
          T(turns, ranges_that_are_checked_come_first_and_once),
          T(turns, what_may_pass_is_tried_three_times_and_anything_else_once),
          T(turns, random_failures_cost_a_range_its_tries_and_nobody_else_anything),
          T(turns, an_export_that_failed_or_is_stopped_takes_no_more_ranges),
          T(turns, a_job_that_waits_for_the_worker_gets_it_after_four_ranges))
