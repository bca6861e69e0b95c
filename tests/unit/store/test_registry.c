/* test_registry.c - more data stores than may be open: all can be used, what was written is there,
 * and no more are open than the budget allows; by one thread and by many, while some are made and
 * removed. */
#include "test.h"

#include "base/file.h"
#include "fhir/envelope.h"
#include "store/registry_private.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static struct store_env *env;
static char root[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-registry-XXXXXX");
    env = store_env_new(8 << 20, 1);
    return mkdtemp(root) ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    struct err e;
    store_env_free(env);
    return file_remove_tree(root, &e) == ERR_OK ? 0 : 1;
}

/* It looks at what is idle, and at what has grown, every 5 ms. */
static struct store_registry *made(void)
{
    struct store_registry *r = NULL;
    OK(store_registry_new(env, root, &r, e));
    r->tick_ms = 5;
    r->grown_ticks = 1;
    return r;
}

/* n_stores that are small may be open at a time. */
static struct store_registry *open_for(unsigned n_stores, uint64_t idle_ms)
{
    struct store_registry *r = made();
    struct store_bounds b = { n_stores * STORE_FILES_LEAST, idle_ms, 64 << 20, 200 };
    /* a quarter is for those with many files */
    if (n_stores > 3)
        b.n_files = b.n_files / 3 * 4 + 4;
    store_registry_bound(r, &b);
    assert_int_equal(registry_places_of(r), n_stores);
    return r;
}

static sv id_of(unsigned i, char out[33])
{
    (void)snprintf(out, 33, "%032x", i);
    return sv_make(out, 32);
}

static err_code take(struct store_registry *r, unsigned i, bool create, struct store **st)
{
    char id[33];
    struct err e;
    return store_registry_acquire(r, id_of(i, id), create, st, &e);
}

static struct store *get(struct store_registry *r, unsigned i, bool create)
{
    struct store *st = NULL;
    char id[33];
    struct err why;
    err_code rc;
    /* on a starved machine the janitor may look at one for longer than anybody waits for room */
    do
        rc = store_registry_acquire(r, id_of(i, id), create, &st, &why);
    while (rc == ERR_THROTTLED);
    assert_int_equal(rc, ERR_OK);
    return st;
}

static err_code write_value(struct store *st, const char *id, unsigned value)
{
    CLEANUP(fhir_reader_free) struct fhir_reader *r = fhir_reader_new(1 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    char text[128];
    struct fhir_envelope env_of;
    struct store_commit c;
    struct err e;
    (void)snprintf(text, sizeof text, "{\"resourceType\":\"Patient\",\"id\":\"%s\",\"x\":%u}", id,
                   value);
    TRY(fhir_envelope_read(r, sv_from(text), SV_NONE, &b, &env_of, &e));
    struct store_write w = {
        .type = env_of.type, .id = env_of.id, .method = STORE_METHOD_UPDATE, .body = env_of.body
    };
    return store_commit(st, &w, 1, &c, &e);
}

/* -1: not there. */
static int read_value(struct store *st, const char *id)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store_version v;
    struct err e;
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    if (store_get(st, patient, sv_from(id), STORE_NOW, a, &v, &e) != ERR_OK)
        return -1;
    /* x":12,... */
    sv text = sv_tail(v.body.json, sv_find(v.body.json, 'x') + 3);
    size_t n = 0;
    while (n < text.len && text.ptr[n] >= '0' && text.ptr[n] <= '9')
        n++;
    uint64_t value;
    return sv_to_u64(sv_head(text, n), &value) ? (int)value : -2;
}

static void check_bounds(struct store_registry *r)
{
    struct store_registry_counts c;
    store_registry_count(r, &c);
    assert_true(c.n_files <= r->bounds.n_files);
}

static unsigned n_open(struct store_registry *r)
{
    struct store_registry_counts c;
    store_registry_count(r, &c);
    return c.n_open;
}

static void until_open(struct store_registry *r, unsigned n)
{
    for (int i = 0; i < 20000 && n_open(r) != n; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    assert_int_equal(n_open(r), n);
}

TEST(registry, many_more_stores_than_may_be_open_are_all_usable)
{
    (void)state;
    enum { N = 12 };
    struct store_registry *r = open_for(3, 600000);
    for (unsigned i = 0; i < N; i++) {
        struct store *st = get(r, i, true);
        assert_int_equal(write_value(st, "p", i), ERR_OK);
        check_bounds(r);
        store_registry_release(r, st);
    }
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < N; i++) {
            unsigned k = (i * 5 + round) % N;
            struct store *st = get(r, k, false);
            assert_int_equal(read_value(st, "p"), round * 1000 + k);
            assert_int_equal(write_value(st, "p", 1000 + round * 1000 + k), ERR_OK);
            check_bounds(r);
            store_registry_release(r, st);
        }
    assert_true(n_open(r) <= 3);
    store_registry_free(r);
    /* and a new process finds them all */
    r = open_for(3, 600000);
    struct store_registry_counts c;
    store_registry_count(r, &c);
    assert_int_equal(c.n_stores, N);
    assert_int_equal(c.n_open, 0);
    for (unsigned i = 0; i < N; i++) {
        struct store *st = get(r, i, false);
        assert_int_equal(read_value(st, "p"), 2000 + i);
        store_registry_release(r, st);
    }
    store_registry_free(r);
}

TEST(registry, what_is_asked_for_stays_open_and_the_oldest_goes)
{
    (void)state;
    struct store_registry *r = open_for(3, 600000);
    char id[33];
    for (unsigned i = 0; i < 3; i++)
        store_registry_release(r, get(r, i, true));
    /* 1 is the oldest now */
    store_registry_release(r, get(r, 0, false));
    store_registry_release(r, get(r, 3, true));
    struct store *st = store_registry_try(r, id_of(0, id));
    assert_non_null(st);
    assert_null(store_registry_try(r, id_of(1, id)));
    store_registry_release(r, st);
    st = store_registry_try(r, id_of(2, id));
    assert_non_null(st);
    /* one that is held is never the one that goes */
    for (unsigned i = 4; i < 8; i++)
        store_registry_release(r, get(r, i, true));
    assert_int_equal(write_value(st, "p", 5), ERR_OK);
    assert_int_equal(read_value(st, "p"), 5);
    store_registry_release(r, st);
    store_registry_free(r);
}

struct waiter {
    struct store_registry *r;
    err_code rc;
    atomic_bool began;
};

static void *take_another(void *ctx)
{
    struct waiter *w = ctx;
    struct store *st = NULL;
    atomic_store(&w->began, true);
    do
        w->rc = take(w->r, 9, true, &st);
    while (w->rc == ERR_THROTTLED);
    store_registry_release(w->r, st);
    return NULL;
}

TEST(registry, when_all_are_held_the_next_waits_and_is_told_at_last)
{
    (void)state;
    struct store_registry *r = open_for(2, 600000);
    struct store *a = get(r, 0, true), *b = get(r, 1, true), *c = NULL;
    char id[33];
    struct err why;
    assert_int_equal(store_registry_acquire(r, id_of(2, id), true, &c, &why), ERR_THROTTLED);
    assert_non_null(strstr(why.msg, "Too many data stores"));
    /* of those that are open there may be many holders */
    assert_int_equal(take(r, 0, false, &c), ERR_OK);
    store_registry_release(r, c);
    struct waiter w = { .r = r };
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, take_another, &w), 0);
    while (!atomic_load(&w.began))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    store_registry_release(r, a);
    pthread_join(t, NULL);
    assert_int_equal(w.rc, ERR_OK);
    store_registry_release(r, b);
    check_bounds(r);
    store_registry_free(r);
}

TEST(registry, what_is_idle_is_closed_and_what_is_used_or_held_is_not)
{
    (void)state;
    struct store_registry *r = open_for(20, 30);
    struct store *held = get(r, 0, true);
    for (unsigned i = 1; i < 8; i++) {
        struct store *st = get(r, i, true);
        assert_int_equal(write_value(st, "p", i), ERR_OK);
        store_registry_release(r, st);
    }
    until_open(r, 1);
    assert_int_equal(write_value(held, "p", 77), ERR_OK);
    assert_int_equal(read_value(held, "p"), 77);
    store_registry_release(r, held);
    until_open(r, 0);
    struct store_registry_counts c;
    store_registry_count(r, &c);
    assert_int_equal(c.n_files, 0);
    for (unsigned i = 0; i < 8; i++) {
        struct store *st = get(r, i, false);
        assert_int_equal(read_value(st, "p"), i ? (int)i : 77);
        store_registry_release(r, st);
    }
    store_registry_free(r);
}

TEST(registry, one_that_rests_is_closed_at_once_unless_it_is_held)
{
    (void)state;
    struct store_registry *r = open_for(20, 600000);
    char id[33];
    struct store *st = get(r, 0, true);
    store_registry_rest(r, id_of(0, id));
    assert_int_equal(n_open(r), 1);
    store_registry_release(r, st);
    store_registry_rest(r, id_of(0, id));
    assert_int_equal(n_open(r), 0);
    store_registry_rest(r, id_of(0, id));
    /* there is none */
    store_registry_rest(r, id_of(5, id));
    store_registry_rest(r, SV_LIT("no id"));
    store_registry_free(r);
}

static bool yes(struct store *st)
{
    (void)st;
    return true;
}

TEST(registry, one_that_wants_to_be_opened_anew_is_as_soon_as_nobody_holds_it)
{
    (void)state;
    struct store_registry *r = open_for(20, 600000);
    char id[33];
    struct store *st = get(r, 0, true);
    const struct store_ops *own = st->ops;
    struct store_ops ops = *own;
    assert_int_equal(write_value(st, "p", 1), ERR_OK);
    ops.wants_anew = yes;
    st->ops = &ops;
    assert_ptr_equal(get(r, 0, false), st);
    store_registry_release(r, st);
    assert_ptr_equal(store_registry_try(r, id_of(0, id)), st);
    store_registry_release(r, st);
    store_registry_release(r, st);
    assert_null(store_registry_try(r, id_of(0, id)));
    st = get(r, 0, false);
    assert_ptr_equal(st->ops, own);
    assert_int_equal(read_value(st, "p"), 1);
    store_registry_release(r, st);
    store_registry_free(r);
}

/* Versions that are kept in memory belong to one opening of a store: what another wrote meanwhile
 * is seen. */
TEST(registry, versions_read_before_a_store_was_closed_are_void)
{
    (void)state;
    struct store_registry *r = open_for(4, 600000);
    char id[33], path[PATH_MAX];
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    struct store *st = get(r, 0, true), *by_itself = NULL;
    assert_int_equal(write_value(st, "p", 1), ERR_OK);
    assert_int_equal(write_value(st, "q", 1), ERR_OK);
    assert_int_equal(read_value(st, "p"), 1);
    assert_int_equal(read_value(st, "q"), 1);
    store_number p;
    OK(store_number_of(st, patient, SV_LIT("p"), &p, e));
    assert_true(store_is_near(st, p));
    store_registry_release(r, st);
    store_registry_rest(r, id_of(0, id));
    registry_uri(r, id_of(0, id), path);
    OK(store_open(env, path, false, &by_itself, e));
    assert_false(store_is_near(by_itself, p));
    assert_int_equal(write_value(by_itself, "p", 2), ERR_OK);
    store_close(by_itself);
    st = get(r, 0, false);
    assert_int_equal(read_value(st, "p"), 2);
    assert_int_equal(read_value(st, "q"), 1);
    store_registry_release(r, st);
    store_registry_free(r);
}

TEST(registry, what_stands_in_memory_alone_is_written_out_past_the_bound)
{
    (void)state;
    struct store_registry *r = made();
    struct store_bounds b = { 1000, 600000, 1, 200 };
    char id[33];
    store_registry_bound(r, &b);
    struct store *st = get(r, 0, true);
    assert_int_equal(write_value(st, "p", 1), ERR_OK);
    struct store_weight w = { .write_bytes = 1 };
    for (int i = 0; i < 20000 && (registry_n_files(r, id_of(0, id)) == 0 || w.write_bytes); i++) {
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        st->ops->weigh(st, &w);
    }
    assert_true(registry_n_files(r, id_of(0, id)) > 0);
    assert_int_equal(w.write_bytes, 0);
    assert_int_equal(read_value(st, "p"), 1);
    store_registry_release(r, st);
    store_registry_free(r);
}

/* A store that was small when it was opened, and is not any more, is opened again with a larger
 * part; and one that has more than it needs gives it back when others have to do without. */
TEST(registry, one_that_has_outgrown_its_part_is_given_a_larger_one)
{
    (void)state;
    struct store_registry *r;
    /* 128 are extra */
    struct store_bounds b = { 16 * STORE_FILES_LEAST, 600000, 64 << 20, 200 };
    char id[33], path[PATH_MAX];
    /* so many exist that an even share of that is next to nothing */
    for (unsigned i = 1; i < 64; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", root, (id_of(i, id), id));
        OK(file_mkdirs(path, e));
    }
    r = made();
    store_registry_bound(r, &b);
    struct store *st = get(r, 0, true);
    struct registry_entry *en = st->entry;
    assert_int_equal(en->n_extra, 2);
    for (unsigned i = 0; registry_n_files(r, id_of(0, id)) < 12; i++) {
        assert_int_equal(write_value(st, "p", i), ERR_OK);
        assert_int_equal(write_value(st, "q", 7), ERR_OK);
        OK(st->ops->flush(st, e));
    }
    /* looks pass it over while it is held */
    nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    assert_int_equal(read_value(st, "q"), 7);
    store_registry_release(r, st);
    until_open(r, 0);
    st = get(r, 0, false);
    en = st->entry;
    assert_true(en->n_extra >= 2 * 12 + FILES_SPARE - FILES_MIN);
    assert_int_equal(read_value(st, "q"), 7);
    /* others take what there is: it may keep what it needs, and not what it needed once */
    pthread_mutex_lock(&r->locked.lock);
    assert_false(registry_misfits_locked(r, en, 12));
    en->n_extra += registry_left_locked(r);
    r->locked.n_extra = registry_extra_of(r);
    assert_false(registry_misfits_locked(r, en, 60));
    assert_true(registry_misfits_locked(r, en, 0));
    pthread_mutex_unlock(&r->locked.lock);
    store_registry_release(r, st);
    until_open(r, 0);
    store_registry_free(r);
}

TEST(registry, a_removal_waits_for_holders_and_what_is_made_anew_is_empty)
{
    (void)state;
    struct store_registry *r = open_for(4, 5);
    struct store_registry_counts c;
    char id[33];
    struct err why;
    struct store *st = NULL;
    for (unsigned i = 0; i < 6; i++) {
        st = get(r, i, true);
        assert_int_equal(write_value(st, "p", i), ERR_OK);
        store_registry_release(r, st);
    }
    /* open ones, closed ones, ones that are just being closed */
    for (unsigned i = 0; i < 6; i += 2)
        OK(store_registry_remove(r, id_of(i, id), e));
    /* nothing there is success */
    OK(store_registry_remove(r, id_of(99, id), e));
    store_registry_count(r, &c);
    assert_int_equal(c.n_stores, 3);
    assert_int_equal(store_registry_acquire(r, id_of(2, id), false, &st, &why), ERR_NOT_FOUND);
    st = get(r, 2, true);
    assert_int_equal(read_value(st, "p"), -1);
    store_registry_release(r, st);
    assert_int_equal(store_registry_remove(r, SV_LIT("../../x"), &why), ERR_NOT_FOUND);
    store_registry_free(r);
}

/* ---- many threads ---- */

enum { STORES = 8, THREADS = 5 };

struct worker {
    struct store_registry *r;
    unsigned number, n_ops;
    unsigned last[STORES]; /* what it wrote last, as "w<number>" */
    bool wrong;
};

static unsigned next(unsigned *seed, unsigned n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

static void *use(void *ctx)
{
    struct worker *w = ctx;
    unsigned seed = w->number + 1;
    char name[16];
    (void)snprintf(name, sizeof name, "w%u", w->number);
    for (unsigned i = 0; i < w->n_ops && !w->wrong; i++) {
        unsigned k = next(&seed, STORES);
        struct store *st = NULL;
        char id[33];
        struct err e;
        err_code rc = k % 3 == 0 && (st = store_registry_try(w->r, id_of(k, id))) != NULL
                          ? ERR_OK
                          : take(w->r, k, true, &st);
        if (rc == ERR_THROTTLED)
            continue;
        if (rc != ERR_OK) {
            w->wrong = true;
            break;
        }
        int there = read_value(st, name);
        w->wrong |= there != (w->last[k] ? (int)w->last[k] : -1);
        if (next(&seed, 2)) {
            w->wrong |= write_value(st, name, i + 1) != ERR_OK;
            w->last[k] = i + 1;
        }
        store_registry_release(w->r, st);
        if (next(&seed, 10) == 0)
            store_registry_rest(w->r, id_of(next(&seed, STORES), id));
        /* and one that only comes and goes */
        if (next(&seed, 10) == 0) {
            rc = store_registry_remove(w->r, id_of(STORES, id), &e);
            w->wrong |= rc != ERR_OK && rc != ERR_GONE;
        } else if (next(&seed, 5) == 0) {
            rc = take(w->r, STORES, true, &st);
            if (rc == ERR_OK) {
                w->wrong |= write_value(st, name, 1) != ERR_OK || read_value(st, name) != 1;
                store_registry_release(w->r, st);
            } else {
                w->wrong |= rc != ERR_GONE && rc != ERR_THROTTLED;
            }
        }
    }
    return NULL;
}

TEST(registry, many_threads_lose_nothing_while_stores_open_close_come_and_go)
{
    (void)state;
    struct store_registry *r = open_for(4, 3);
    struct worker w[THREADS];
    pthread_t t[THREADS];
    unsigned n_ops = test_is_long() ? 3000 : TEST_SANITIZED ? 40 : 80;
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){ .r = r, .number = i, .n_ops = n_ops };
        assert_int_equal(pthread_create(&t[i], NULL, use, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        assert_false(w[i].wrong);
        check_bounds(r);
    }
    store_registry_free(r);
    r = open_for(4, 600000);
    for (unsigned k = 0; k < STORES; k++) {
        struct store *st = get(r, k, true);
        for (unsigned i = 0; i < THREADS; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "w%u", i);
            assert_int_equal(read_value(st, name), w[i].last[k] ? (int)w[i].last[k] : -1);
        }
        store_registry_release(r, st);
    }
    store_registry_free(r);
}

#define RT(sentence) cmocka_unit_test_setup_teardown(test_registry_##sentence, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RT(many_more_stores_than_may_be_open_are_all_usable),
        RT(what_is_asked_for_stays_open_and_the_oldest_goes),
        RT(when_all_are_held_the_next_waits_and_is_told_at_last),
        RT(what_is_idle_is_closed_and_what_is_used_or_held_is_not),
        RT(one_that_rests_is_closed_at_once_unless_it_is_held),
        RT(one_that_wants_to_be_opened_anew_is_as_soon_as_nobody_holds_it),
        RT(versions_read_before_a_store_was_closed_are_void),
        RT(what_stands_in_memory_alone_is_written_out_past_the_bound),
        RT(one_that_has_outgrown_its_part_is_given_a_larger_one),
        RT(a_removal_waits_for_holders_and_what_is_made_anew_is_empty),
        RT(many_threads_lose_nothing_while_stores_open_close_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
