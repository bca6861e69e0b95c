/* Threads shared out among callers and their data stores: nobody is kept waiting by what one has
 * sent. */
#include "test.h"

#include "base/clock.h"
#include "service/plane.h"

#include <pthread.h>
#include <unistd.h>

#define N_THREADS 12u /* a queue may have 8, a caller 10 */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned running, most, done; /* of those that wait for the gate */
    bool gate;                    /* they may end */
    char order[256];              /* who was worked for, a letter each */
    size_t n_order;
} at = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void begin(void)
{
    at.running = at.most = at.done = 0;
    at.n_order = 0;
    at.gate = false;
}

static void held(struct service *s, void *ctx)
{
    (void)s;
    (void)ctx;
    pthread_mutex_lock(&at.lock);
    if (++at.running > at.most)
        at.most = at.running;
    pthread_cond_broadcast(&at.changed);
    while (!at.gate)
        pthread_cond_wait(&at.changed, &at.lock);
    at.running--;
    at.done++;
    pthread_cond_broadcast(&at.changed);
    pthread_mutex_unlock(&at.lock);
}

static void note(struct service *s, void *ctx)
{
    (void)s;
    pthread_mutex_lock(&at.lock);
    at.order[at.n_order++] = *(const char *)ctx;
    pthread_cond_broadcast(&at.changed);
    pthread_mutex_unlock(&at.lock);
}

static struct {
    struct workers *w;
    bool pressed;
} asked;

/* Does the pool press one who works on it? */
static void ask(struct service *s, void *ctx)
{
    asked.pressed = workers_pressed(asked.w);
    note(s, ctx);
}

static void until(const unsigned *n, unsigned want)
{
    pthread_mutex_lock(&at.lock);
    while (*n < want)
        pthread_cond_wait(&at.changed, &at.lock);
    pthread_mutex_unlock(&at.lock);
}

static void until_noted(size_t want)
{
    pthread_mutex_lock(&at.lock);
    while (at.n_order < want)
        pthread_cond_wait(&at.changed, &at.lock);
    pthread_mutex_unlock(&at.lock);
}

static void open_gate(void)
{
    pthread_mutex_lock(&at.lock);
    at.gate = true;
    pthread_cond_broadcast(&at.changed);
    pthread_mutex_unlock(&at.lock);
}

static struct work_for of(const char *caller, const char *place)
{
    return (struct work_for){ sv_from(caller), sv_from(place) };
}

static void add(struct workers *w, const char *caller, const char *place, work_fn fn,
                const char *ctx)
{
    OK(workers_add(w, of(caller, place), fn, (void *)(uintptr_t)ctx, e));
}

TEST(workers, one_queue_or_caller_never_has_all_threads)
{
    (void)state;
    struct workers *w;
    begin();
    OK(workers_start(NULL, N_THREADS, 200, &w, e));
    for (unsigned i = 0; i < 20; i++)
        add(w, "hostile", "a", held, NULL);
    until(&at.running, 8);
    /* another data store of his */
    add(w, "hostile", "b", note, "b");
    until_noted(1);
    for (unsigned i = 0; i < 20; i++)
        add(w, "hostile", i % 2 ? "b" : "c", held, NULL);
    until(&at.running, 10);
    add(w, "honest", "a", note, "h");
    add(w, "honest", "z", note, "h");
    until_noted(3);
    /* his work waits for his own share: it presses nobody else, and two threads are free */
    assert_false(workers_pressed(w));
    asked.w = w;
    add(w, "honest", "a", ask, "h");
    until_noted(4);
    assert_false(asked.pressed);
    assert_int_equal(at.most, 10);
    /* until what waits has no thread */
    add(w, "honest", "a", held, NULL);
    add(w, "honest", "z", held, NULL);
    until(&at.running, 12);
    assert_false(workers_pressed(w));
    add(w, "third", "a", note, "t");
    assert_true(workers_pressed(w));
    open_gate();
    until(&at.done, 42);
    assert_int_equal(at.most, 12);
    workers_stop(w);
    assert_int_equal(at.n_order, 5);
}

static void ask_later(struct service *s, void *ctx)
{
    held(s, ctx);
    const bool pressed = workers_pressed(asked.w);
    pthread_mutex_lock(&at.lock);
    asked.pressed |= pressed;
    pthread_mutex_unlock(&at.lock);
}

TEST(workers, who_has_his_share_is_pressed_by_his_own_work)
{
    (void)state;
    struct workers *w;
    begin();
    OK(workers_start(NULL, 3, 200, &w, e));
    asked.w = w;
    asked.pressed = false;
    /* a queue may have two of the three */
    add(w, "x", "x", ask_later, NULL);
    add(w, "x", "x", ask_later, NULL);
    until(&at.running, 2);
    add(w, "x", "x", note, "x");
    /* all three are busy, and what waits would not have the third */
    add(w, "y", "x", ask, "y");
    until_noted(1);
    assert_false(asked.pressed);
    open_gate();
    until_noted(2);
    workers_stop(w);
    assert_true(asked.pressed);
}

TEST(workers, queues_take_turns)
{
    (void)state;
    struct workers *w;
    begin();
    OK(workers_start(NULL, 1, 200, &w, e));
    add(w, "x", "x", held, NULL);
    until(&at.running, 1);
    for (unsigned i = 0; i < 5; i++)
        add(w, "a", "1", note, "a");
    for (unsigned i = 0; i < 2; i++)
        add(w, "a", "2", note, "A");
    for (unsigned i = 0; i < 2; i++)
        add(w, "b", "1", note, "b");
    open_gate();
    until_noted(9);
    workers_stop(w);
    /* each of the three in each of the first rounds */
    for (unsigned k = 0; k < 2; k++) {
        const char *round = at.order + 3 * k;
        assert_non_null(memchr(round, 'a', 3));
        assert_non_null(memchr(round, 'A', 3));
        assert_non_null(memchr(round, 'b', 3));
    }
    assert_memory_equal(at.order + 6, "aaa", 3);
}

TEST(workers, one_caller_never_fills_what_can_wait)
{
    (void)state;
    struct workers *w;
    begin();
    OK(workers_start(NULL, 2, 10, &w, e));
    add(w, "x", "x", held, NULL);
    until(&at.running, 1);
    /* his queue has the one thread that it may have */
    for (unsigned i = 0; i < 5; i++)
        add(w, "x", "x", held, NULL);
    FAILS(ERR_THROTTLED, workers_add(w, of("x", "x"), held, NULL, e));
    FAILS(ERR_THROTTLED, workers_add(w, of("x", "y"), held, NULL, e));
    add(w, "y", "x", note, "y");
    until_noted(1);
    open_gate();
    until(&at.done, 6);
    add(w, "x", "x", note, "x");
    until_noted(2);
    workers_stop(w);
}

TEST(workers, what_waits_when_they_are_stopped_is_still_done)
{
    (void)state;
    struct workers *w;
    begin();
    at.gate = true;
    OK(workers_start(NULL, 3, 1000, &w, e));
    for (unsigned i = 0; i < 400; i++)
        add(w, i % 3 ? "a" : "b", i % 2 ? "1" : "2", held, NULL);
    workers_stop(w);
    assert_int_equal(at.done, 400);
}

TEST_MAIN(T(workers, one_queue_or_caller_never_has_all_threads), T(workers, queues_take_turns),
          T(workers, who_has_his_share_is_pressed_by_his_own_work),
          T(workers, one_caller_never_fills_what_can_wait),
          T(workers, what_waits_when_they_are_stopped_is_still_done))
