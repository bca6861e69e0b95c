/* test_pool.c - workers shared by queues: every task once, in order, in turn. */
#include "fixture.h"

/* A record of who ran, and a gate that holds a worker until the test has set the table. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    char order[256];
    size_t n;
} gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, { 0 }, 0 };

static void gate_reset(bool open)
{
    pthread_mutex_lock(&gate.lock);
    gate.open = open;
    gate.n = 0;
    memset(gate.order, 0, sizeof gate.order);
    pthread_mutex_unlock(&gate.lock);
}

static void gate_open(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.open = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void wait_at_gate(void *ctx, unsigned worker)
{
    pthread_mutex_lock(&gate.lock);
    gate.n++;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.open)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static void wait_for_arrivals(size_t n)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.n < n)
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.n = 0;
    pthread_mutex_unlock(&gate.lock);
}

static void sign(void *ctx, unsigned worker)
{
    pthread_mutex_lock(&gate.lock);
    gate.order[gate.n++] = *(const char *)ctx;
    pthread_mutex_unlock(&gate.lock);
}

TEST(pool, queues_are_served_in_turn_and_each_in_order)
{
    struct job_pool *p = NULL;
    gate_reset(false);
    OK(job_pool_start(1, &p, e));
    assert_int_equal(job_pool_n_workers(p), 1);
    struct job_tasks *a = job_tasks_open(p, 8), *b = job_tasks_open(p, 8),
                     *c = job_tasks_open(p, 8);
    job_tasks_add(c, wait_at_gate, NULL);
    wait_for_arrivals(1);
    /* nobody else waits */
    assert_false(job_tasks_contended(c));
    for (const char *s = "12345"; *s; s++)
        job_tasks_add(a, sign, (void *)(uintptr_t)s);
    assert_true(job_tasks_contended(b) && job_tasks_contended(c));
    /* but for its own */
    assert_false(job_tasks_contended(a));
    for (const char *s = "xy"; *s; s++)
        job_tasks_add(b, sign, (void *)(uintptr_t)s);
    assert_true(job_tasks_contended(a));
    gate_open();
    job_tasks_wait(a);
    job_tasks_wait(b);
    /* the long queue does not keep the short one waiting */
    assert_string_equal(gate.order, "1x2y345");
    job_tasks_close(b);
    job_tasks_close(a);
    job_tasks_close(c);
    job_pool_stop(p);
}

static void *add_three(void *q)
{
    static const char names[] = "abc";
    for (int i = 0; i < 3; i++)
        job_tasks_add(q, sign, (void *)(uintptr_t)&names[i]);
    /* comes here only if the third found room */
    gate_open();
    return NULL;
}

TEST(pool, adding_waits_while_the_queue_is_full)
{
    struct job_pool *p = NULL;
    pthread_t t;
    gate_reset(false);
    OK(job_pool_start(1, &p, e));
    struct job_tasks *held = job_tasks_open(p, 1), *q = job_tasks_open(p, 2);
    job_tasks_add(held, wait_at_gate, NULL);
    wait_for_arrivals(1);
    assert_int_equal(pthread_create(&t, NULL, add_three, q), 0);
    for (int i = 0; i < 50; i++)
        fx_nap();
    pthread_mutex_lock(&gate.lock);
    /* the third still waits */
    assert_false(gate.open);
    assert_int_equal(gate.n, 0);
    pthread_mutex_unlock(&gate.lock);
    gate_open();
    assert_int_equal(pthread_join(t, NULL), 0);
    /* returns when all have run */
    job_tasks_close(q);
    assert_string_equal(gate.order, "abc");
    job_tasks_close(held);
    job_pool_stop(p);
}

TEST(pool, workers_run_side_by_side)
{
    struct job_pool *p = NULL;
    gate_reset(false);
    OK(job_pool_start(3, &p, e));
    struct job_tasks *q = job_tasks_open(p, 3);
    for (int i = 0; i < 3; i++)
        job_tasks_add(q, wait_at_gate, NULL);
    /* hangs unless all three run at once */
    wait_for_arrivals(3);
    gate_open();
    job_tasks_close(q);
    job_pool_stop(p);
}

struct tally {
    atomic_uint runs[2000];
    atomic_uint in_worker[4]; /* a worker's number belongs to one thread at a time */
    atomic_bool shared;
};
struct tally_task {
    struct tally *t;
    unsigned i;
};

static void tally_up(void *ctx, unsigned worker)
{
    struct tally_task *k = ctx;
    if (atomic_fetch_add(&k->t->in_worker[worker], 1) != 0)
        atomic_store(&k->t->shared, true);
    atomic_fetch_add(&k->t->runs[k->i], 1);
    atomic_fetch_sub(&k->t->in_worker[worker], 1);
}

struct feeder {
    struct job_pool *p;
    struct tally *t;
    unsigned from, to;
};

static void *feed(void *arg)
{
    struct feeder *f = arg;
    struct tally_task tasks[50];
    /* queues come and go */
    for (unsigned i = f->from; i < f->to;) {
        struct job_tasks *q = job_tasks_open(f->p, 3);
        for (unsigned k = 0; k < 50 && i < f->to; k++, i++) {
            tasks[k] = (struct tally_task){ f->t, i };
            job_tasks_add(q, tally_up, &tasks[k]);
        }
        /* tasks[] is free again: none is under way */
        job_tasks_close(q);
    }
    return NULL;
}

TEST(pool, every_task_runs_once_while_queues_come_and_go)
{
    struct job_pool *p = NULL;
    struct tally *t = calloc(1, sizeof *t);
    struct feeder f[4];
    pthread_t th[4];
    OK(job_pool_start(4, &p, e));
    for (unsigned i = 0; i < 4; i++) {
        f[i] = (struct feeder){ p, t, i * 500, (i + 1) * 500 };
        assert_int_equal(pthread_create(&th[i], NULL, feed, &f[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(th[i], NULL), 0);
    for (unsigned i = 0; i < 2000; i++)
        assert_int_equal(t->runs[i], 1);
    assert_false(t->shared);
    job_pool_stop(p);
    free(t);
}

TEST(pool, nothing_to_close_or_stop_is_well)
{
    struct job_pool *p = NULL;
    job_pool_stop(NULL);
    job_tasks_close(NULL);
    OK(job_pool_start(2, &p, e));
    struct job_tasks *q = job_tasks_open(p, 1);
    job_tasks_wait(q);
    job_tasks_close(q);
    job_pool_stop(p);
}

TEST_MAIN(T(pool, queues_are_served_in_turn_and_each_in_order),
          T(pool, adding_waits_while_the_queue_is_full), T(pool, workers_run_side_by_side),
          T(pool, every_task_runs_once_while_queues_come_and_go),
          T(pool, nothing_to_close_or_stop_is_well))
