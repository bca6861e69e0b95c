/* Light readers of records of any size: so few at a time as the gate says, in the order of their
 * coming, nobody with a record in memory outside, and each with the rows that the memory store
 * gives. */
#include "test.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/rng.h"
#include "store/last.h"
#include "store/rocks/rocks_private.h"
#include "store/threads.h"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>

#define LARGE   (LIMIT_WHOLE_BYTES + (1u << 20))
#define READERS 12u

static struct store_env *env;
static fhir_type binary, patient;
static char *noise; /* LARGE bytes that no packing makes small */

static struct store *open_new(char dir[64])
{
    struct store *st;
    (void)snprintf(dir, 64, TEST_TMP "/fhirlake-gate-%016llx", (unsigned long long)rng_u64());
    OK(store_open(env, dir, true, &st, e));
    return st;
}

static void end(struct store *st, const char *dir)
{
    store_close(st);
    OK(file_remove_tree(dir, e));
}

/* n tells bodies apart. */
static err_code make_body(struct buf *text, unsigned n, size_t len, struct fhir_body *out,
                          struct err *e)
{
    /* meta goes behind it */
    static const char head[] = "{\"resourceType\":\"Binary\"";
    buf_clear(text);
    TRY(buf_add_fmt(text, e, "%s,\"n\":%u,\"data\":\"", head, n));
    TRY(buf_add(text, sv_make(noise, len), e));
    TRY(buf_add(text, SV_LIT("\"}"), e));
    *out = (struct fhir_body){ buf_sv(text), sizeof head - 1, FHIR_HOLE_NO_META };
    return ERR_OK;
}

static err_code try_put(struct store *st, fhir_type type, const char *id, store_method m,
                        unsigned n, size_t len, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(LARGE + 1000);
    struct store_commit c;
    struct store_write w = { .type = type, .id = sv_from(id), .method = m };
    if (m != STORE_METHOD_DELETE)
        TRY(make_body(&text, n, len, &w.body, e));
    return store_commit(st, &w, 1, &c, e);
}

static void put(struct store *st, fhir_type type, const char *id, store_method m, unsigned n,
                size_t len)
{
    OK(try_put(st, type, id, m, n, len, e));
}

/* One load of a small one, a large one, a small one: they stand in one block, or in two. */
static err_code try_load(struct store *st, const char *name, unsigned n, struct err *e)
{
    CLEANUP_BUF struct buf small = BUF_INIT(LARGE + 1000);
    CLEANUP_BUF struct buf large = BUF_INIT(LARGE + 1000);
    CLEANUP_BUF struct buf last = BUF_INIT(LARGE + 1000);
    struct buf *text[3] = { &small, &large, &last };
    char ids[3][32];
    struct store_bulk_item items[3] = { 0 };
    CLEANUP(store_bulk_abort) struct store_bulk *b = NULL;
    struct store_commit c;
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "%s-%u", name, i);
        items[i].type = binary;
        items[i].id = sv_from(ids[i]);
        TRY(make_body(text[i], n, i == 1 ? LARGE : 100 * i, &items[i].body, e));
    }
    TRY(store_bulk_begin(st, &b, e));
    TRY(store_bulk_fill(b, items, 3, e));
    return store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e);
}

static void load(struct store *st, const char *name, unsigned n)
{
    OK(try_load(st, name, n, e));
}

/* The same history in either store: 12 commits, among them large ones that are replaced, deleted
 * and loaded anew. */
static void fill(struct store *st)
{
    char id[16];
    load(st, "a", 1);
    load(st, "b", 2);
    load(st, "c", 3);
    load(st, "b", 4);
    put(st, binary, "a-1", STORE_METHOD_UPDATE, 5, LARGE);
    put(st, binary, "a-1", STORE_METHOD_UPDATE, 6, 10);
    put(st, binary, "b-1", STORE_METHOD_DELETE, 0, 0);
    load(st, "c", 7);
    put(st, binary, "b-1", STORE_METHOD_UPDATE, 8, LARGE);
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(id, sizeof id, "b-0-%02u", i);
        put(st, binary, id, STORE_METHOD_UPDATE, i, 50);
    }
    put(st, binary, "c-2", STORE_METHOD_DELETE, 0, 0);
    put(st, patient, "p", STORE_METHOD_UPDATE, 9, 10);
}

/* Closes it. */
static err_code try_print(struct buf *out, struct store_cursor *c, struct err *e)
{
    struct store_version v;
    err_code rc;
    while ((rc = store_cursor_next(c, &v, e)) == ERR_OK) {
        rc = buf_add_fmt(out, e, "%.*s v%llu t%llu m%d -%zu %.*s\n", SV_FMT(v.id),
                         (unsigned long long)v.version, (unsigned long long)v.t, (int)v.method,
                         v.left_out, SV_FMT(v.body.json));
        if (rc != ERR_OK)
            break;
    }
    store_cursor_close(c);
    return rc == ERR_EOF ? ERR_OK : rc;
}

static void print(struct buf *out, struct store_cursor *c)
{
    OK(try_print(out, c, e));
}

static struct store_cursor *light_scan(struct store *st, uint64_t t)
{
    struct store_cursor *c;
    OK(store_scan(st, &(struct store_range){ .type = binary }, t, &c, e));
    store_cursor_light(c);
    return c;
}

/* All that can be read light as of t. */
static void print_all(struct buf *out, struct store *st, uint64_t t)
{
    static const char *const ids[] = { "a-1", "b-1", "c-2", "b-0-07" };
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct store_cursor *c;
    struct store_version v;
    print(out, light_scan(st, t));
    struct store_range some = { .type = binary };
    OK(store_number_of(st, binary, SV_LIT("a-1"), &some.from, e));
    OK(store_number_of(st, binary, SV_LIT("c-1"), &some.to, e));
    OK(store_scan(st, &some, t, &c, e));
    store_cursor_light(c);
    print(out, c);
    OK(store_changes(st, &(struct store_range){ .type = binary }, 2, t, &c, e));
    store_cursor_light(c);
    print(out, c);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        OK(store_history(st, binary, sv_from(ids[i]), t, &c, e));
        store_cursor_light(c);
        print(out, c);
        struct err why;
        arena_reset(a);
        err_code rc = store_get_light(st, binary, sv_from(ids[i]), t, a, &v, &why);
        OK(buf_add_fmt(out, e, "%s: %d", ids[i], (int)rc));
        if (rc == ERR_OK)
            OK(buf_add_fmt(out, e, " v%llu t%llu -%zu %.*s\n", (unsigned long long)v.version,
                           (unsigned long long)v.t, v.left_out, SV_FMT(v.body.json)));
    }
}

/* It writes as much as it may, so that a slow reader has no more to pass over than a fast one. */
enum { WRITES_EACH_ROUND = 20 };

struct writer {
    struct store *st;
    sem_t may;
    atomic_bool stop;
};

static void *write_for_ever(void *arg)
{
    static const char *const ids[] = { "a-0", "a-1", "b-1", "b-0-07", "aa", "d" };
    struct writer *w = arg;
    for (unsigned n = 0;; n++) {
        while (sem_wait(&w->may) != 0)
            ;
        if (atomic_load(&w->stop))
            break;
        THREAD_OK(
            try_put(w->st, binary, ids[n % 6], STORE_METHOD_UPDATE, n, n % 17 ? 50 : LARGE, e));
        if (n % 20 == 0)
            THREAD_OK(try_load(w->st, "b", n, e));
    }
    return NULL;
}

/* And what must be read from it. */
static struct store *open_filled(char dir[64], struct store **oracle)
{
    struct store *st = open_new(dir);
    OK(store_open(NULL, "memory:", true, oracle, e));
    fill(st);
    fill(*oracle);
    return st;
}

TEST(gate, light_readers_see_what_the_memory_store_says_as_of_each_commit_while_others_write)
{
    (void)state;
    char dir[64];
    struct store *oracle, *st = open_filled(dir, &oracle);
    uint64_t last = last_of(st).t;
    assert_int_equal(last_of(oracle).t, last);
    struct writer w = { .st = st };
    pthread_t thread;
    assert_int_equal(sem_init(&w.may, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_for_ever, &w), 0);
    for (uint64_t t = 1; t <= last; t += TEST_SANITIZED ? 24 : t < 12 ? 3 : 20) {
        for (unsigned i = 0; i < WRITES_EACH_ROUND; i++)
            sem_post(&w.may);
        CLEANUP_BUF struct buf have = BUF_INIT(64u << 20);
        CLEANUP_BUF struct buf want = BUF_INIT(64u << 20);
        print_all(&have, st, t);
        print_all(&want, oracle, t);
        assert_sv(buf_sv(&have), buf_sv(&want));
        assert_true(want.len > 100);
    }
    atomic_store(&w.stop, true);
    sem_post(&w.may);
    pthread_join(thread, NULL);
    sem_destroy(&w.may);
    assert_threads_were_fine();
    assert_int_equal(env->gate.n_inside, 0);
    store_close(oracle);
    end(st, dir);
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

TEST(gate, who_stands_at_a_large_record_or_at_a_small_one_beside_it_holds_neither)
{
    (void)state;
    char dir[64];
    struct store *st = open_new(dir);
    struct store_cursor *c[READERS];
    struct store_version v;
    load(st, "a", 1);
    load(st, "b", 2);
    /* the last one is a-0, a-1, ... */
    for (unsigned row = 0; row < 5; row++) {
        size_t before = in_use();
        for (unsigned i = 0; i < READERS; i++) {
            c[i] = light_scan(st, STORE_NOW);
            for (unsigned k = 0; k <= row; k++)
                OK(store_cursor_next(c[i], &v, e));
            assert_int_equal(env->gate.n_inside, 0);
        }
        /* which know nothing of in_use() */
        if (!TEST_SANITIZED)
            assert_true(in_use() < before + LARGE);
        for (unsigned i = 0; i < READERS; i++)
            store_cursor_close(c[i]);
    }
    for (unsigned i = 0; i < READERS; i++) {
        OK(store_history(st, binary, SV_LIT("a-1"), STORE_NOW, &c[i], e));
        store_cursor_light(c[i]);
        OK(store_cursor_next(c[i], &v, e));
        assert_int_equal(env->gate.n_inside, 0);
    }
    for (unsigned i = 0; i < READERS; i++)
        store_cursor_close(c[i]);
    end(st, dir);
}

static atomic_uint n_done; /* readers that are through */

struct reader {
    struct store *st;
    unsigned how;
    struct buf got;
};

static void *read_light(void *arg)
{
    struct reader *r = arg;
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    const struct store_range all = { .type = binary };
    struct store_cursor *c = NULL;
    struct store_version v;
    switch (r->how % 4) {
    case 0:
        THREAD_OK(store_scan(r->st, &all, STORE_NOW, &c, e));
        break;
    case 1:
        THREAD_OK(store_get_light(r->st, binary, SV_LIT("a-1"), STORE_NOW, a, &v, e));
        break;
    case 2:
        THREAD_OK(store_history(r->st, binary, SV_LIT("a-1"), STORE_NOW, &c, e));
        break;
    default:
        THREAD_OK(store_changes(r->st, &all, 0, STORE_NOW, &c, e));
    }
    if (c) {
        store_cursor_light(c);
        THREAD_OK(try_print(&r->got, c, e));
    }
    atomic_fetch_add(&n_done, 1);
    return NULL;
}

static uint64_t waited(void)
{
    pthread_mutex_lock(&env->gate.lock);
    uint64_t n = env->gate.n_waited;
    pthread_mutex_unlock(&env->gate.lock);
    return n;
}

static void wait_until_waited(uint64_t n)
{
    while (waited() < n) {
        assert_int_equal(atomic_load(&n_done), 0);
        sched_yield();
    }
}

/* Readers of data stores that are not there: the gate looks at who they are alone. */
static const char others[READERS];
static const void *other(unsigned i)
{
    return &others[i];
}

static void fill_the_gate(void)
{
    for (unsigned i = 0; i < LIMIT_LARGE_READERS; i++)
        gate_enter(&env->gate, other(i));
}

TEST(gate, every_light_read_of_a_binary_waits_while_the_gate_is_full_and_no_other_read_does)
{
    (void)state;
    char dir[64];
    struct store *st = open_new(dir);
    CLEANUP(arena_free) struct arena *a = arena_new(32u << 20);
    struct reader r[READERS];
    pthread_t threads[READERS];
    struct store_version v;
    struct store_cursor *c;
    load(st, "a", 1);
    load(st, "b", 2);
    put(st, patient, "p", STORE_METHOD_UPDATE, 3, 10);
    fill_the_gate();
    uint64_t before = waited();
    for (unsigned i = 0; i < READERS; i++) {
        r[i] = (struct reader){ st, i, BUF_INIT(1u << 20) };
        assert_int_equal(pthread_create(&threads[i], NULL, read_light, &r[i]), 0);
    }
    wait_until_waited(before + READERS);
    OK(store_get(st, binary, SV_LIT("a-1"), STORE_NOW, a, &v, e));
    assert_int_equal(v.left_out, 0);
    OK(store_get_light(st, patient, SV_LIT("p"), STORE_NOW, a, &v, e));
    OK(store_scan(st, &(struct store_range){ .type = patient }, STORE_NOW, &c, e));
    store_cursor_light(c);
    OK(store_cursor_next(c, &v, e));
    store_cursor_close(c);
    OK(store_scan(st, &(struct store_range){ .type = binary }, STORE_NOW, &c, e));
    OK(store_cursor_next(c, &v, e));
    store_cursor_close(c);
    assert_int_equal(waited(), before + READERS);
    for (unsigned i = 0; i < LIMIT_LARGE_READERS; i++)
        gate_leave(&env->gate, other(i));
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_threads_were_fine();
        if (i >= 4)
            assert_sv(buf_sv(&r[i].got), buf_sv(&r[i - 4].got));
    }
    for (unsigned i = 0; i < READERS; i++)
        buf_done(&r[i].got);
    assert_int_equal(env->gate.n_inside, 0);
    assert_int_equal(env->gate.most_inside, LIMIT_LARGE_READERS);
    end(st, dir);
}

static unsigned order[READERS], n_order;

static void *pass(void *arg)
{
    unsigned i = *(unsigned *)arg;
    gate_enter(&env->gate, other(i));
    /* one place alone goes from hand to hand */
    order[n_order++] = i;
    gate_leave(&env->gate, other(i));
    return NULL;
}

TEST(gate, who_waits_longest_comes_next)
{
    (void)state;
    pthread_t threads[READERS];
    unsigned number[READERS];
    atomic_store(&n_done, 0);
    fill_the_gate();
    uint64_t before = waited();
    for (unsigned i = 0; i < READERS; i++) {
        number[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, pass, &number[i]), 0);
        wait_until_waited(before + i + 1);
    }
    gate_leave(&env->gate, other(0));
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(order[i], i);
    assert_int_equal(env->gate.n_inside, LIMIT_LARGE_READERS - 1);
    for (unsigned i = 1; i < LIMIT_LARGE_READERS; i++)
        gate_leave(&env->gate, other(i));
}

TEST(gate, one_data_store_leaves_a_place_to_the_others)
{
    (void)state;
    pthread_t thread;
    unsigned zero = 0;
    atomic_store(&n_done, 0);
    n_order = 0;
    uint64_t before = waited();
    for (unsigned i = 0; i < LIMIT_LARGE_READERS_STORE; i++)
        gate_enter(&env->gate, other(0));
    assert_int_equal(pthread_create(&thread, NULL, pass, &zero), 0);
    wait_until_waited(before + 1);
    /* past him, who may have no more */
    gate_enter(&env->gate, other(1));
    gate_leave(&env->gate, other(1));
    assert_int_equal(waited(), before + 1);
    assert_int_equal(n_order, 0);
    for (unsigned i = 0; i < LIMIT_LARGE_READERS_STORE; i++)
        gate_leave(&env->gate, other(0));
    pthread_join(thread, NULL);
    assert_threads_were_fine();
    assert_int_equal(n_order, 1);
    assert_int_equal(env->gate.n_inside, 0);
}

/* ---- giants ---- */

static const atomic_bool never;

static struct store_cursor *giants_scan(struct store *st, uint64_t t, const atomic_bool *halt)
{
    struct store_cursor *c;
    OK(store_scan(st, &(struct store_range){ .type = binary }, t, &c, e));
    store_cursor_giants(c, halt);
    return c;
}

static void print_giants(struct buf *out, struct store *st, uint64_t t)
{
    struct store_cursor *c;
    store_number numbers[3] = { 0 };
    static const char *const ids[] = { "a-1", "b-1", "c-0" };
    print(out, giants_scan(st, t, &never));
    OK(store_changes(st, &(struct store_range){ .type = binary }, 2, t, &c, e));
    store_cursor_giants(c, &never);
    print(out, c);
    for (size_t i = 0; i < 3; i++)
        OK(store_number_of(st, binary, sv_from(ids[i]), &numbers[i], e));
    OK(store_scan_numbers(st, numbers, 3, t, &c, e));
    store_cursor_giants(c, &never);
    print(out, c);
}

TEST(gate, giants_come_as_the_memory_store_gives_them)
{
    (void)state;
    char dir[64];
    struct store *oracle, *st = open_filled(dir, &oracle);
    uint64_t last = last_of(st).t;
    for (uint64_t t = 3; t <= last; t += t < 12 ? 3 : 20) {
        CLEANUP_BUF struct buf have = BUF_INIT(256u << 20);
        CLEANUP_BUF struct buf want = BUF_INIT(256u << 20);
        print_giants(&have, st, t);
        print_giants(&want, oracle, t);
        assert_true(have.len == want.len && memcmp(have.ptr, want.ptr, want.len) == 0);
        assert_true(want.len > LARGE);
    }
    assert_int_equal(env->alone.n_inside, 0);
    assert_int_equal(env->alone.most_inside, 1);
    store_close(oracle);
    end(st, dir);
}

TEST(gate, a_giant_is_in_memory_once_and_only_while_its_cursor_stands_there)
{
    (void)state;
    char dir[64];
    struct store *st = open_new(dir);
    struct store_version v;
    load(st, "a", 1);
    load(st, "b", 2);
    struct store_cursor *c = giants_scan(st, STORE_NOW, &never);
    size_t before = in_use();
    for (unsigned row = 0; row < 6; row++) {
        CLEANUP_BUF struct buf want = BUF_INIT(LARGE + 1000);
        struct fhir_body body;
        bool giant = row % 3 == 1;
        OK(store_cursor_next(c, &v, e));
        OK(make_body(&want, row / 3 + 1, giant ? LARGE : 100 * (row % 3), &body, e));
        assert_true(sv_eq(v.body.json, body.json));
        buf_done(&want);
        assert_int_equal(env->alone.n_inside, giant);
        if (!TEST_SANITIZED)
            assert_true(in_use() < before + (giant ? LARGE + (LARGE / 4) : LARGE / 4));
        /* the second giant is passed by next alone */
        if (row == 1) {
            store_cursor_rest(c);
            assert_int_equal(env->alone.n_inside, 0);
            if (!TEST_SANITIZED)
                assert_true(in_use() < before + LARGE / 4);
        }
    }
    FAILS(ERR_EOF, store_cursor_next(c, &v, e));
    store_cursor_close(c);
    /* closed while it stands there */
    c = giants_scan(st, STORE_NOW, &never);
    OK(store_cursor_next(c, &v, e));
    OK(store_cursor_next(c, &v, e));
    assert_int_equal(env->alone.n_inside, 1);
    store_cursor_close(c);
    assert_int_equal(env->alone.n_inside, 0);
    end(st, dir);
}

/* A load of three Patients. */
static void load_patients(struct store *st, const char *name)
{
    struct store_bulk_item items[3] = { 0 };
    struct buf texts[3];
    char ids[3][32];
    struct store_bulk *b;
    struct store_commit c;
    for (unsigned i = 0; i < 3; i++) {
        texts[i] = BUF_INIT(4096);
        (void)snprintf(ids[i], sizeof ids[i], "%s-%u", name, i);
        items[i].type = patient;
        items[i].id = sv_from(ids[i]);
        OK(make_body(&texts[i], i, 10, &items[i].body, e));
    }
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, items, 3, e));
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    for (unsigned i = 0; i < 3; i++)
        buf_done(&texts[i]);
}

TEST(gate, a_scan_of_another_type_passes_giants_without_reading_them)
{
    (void)state;
    static const char *const names[] = { "p-0", "p-2", "q-0", "q-1", "r-2", "s-0", "s-2" };
    char dir[64];
    struct store *st = open_new(dir), *oracle;
    OK(store_open(NULL, "memory:", true, &oracle, e));
    for (unsigned i = 0; i < 2; i++) {
        struct store *to = i ? oracle : st;
        load_patients(to, "p");
        load(to, "a", 1);
        load_patients(to, "q");
        load(to, "b", 2);
        load(to, "c", 3);
        load_patients(to, "r");
        load_patients(to, "s");
        load(to, "d", 4);
        /* versions behind the births */
        load_patients(to, "q");
        load(to, "b", 5);
        put(to, patient, "p-2", STORE_METHOD_UPDATE, 9, 10);
    }
    size_t n = sizeof names / sizeof names[0];
    for (size_t from = 0; from <= n; from++)
        for (size_t to = from; to <= n; to++) {
            CLEANUP_BUF struct buf have = BUF_INIT(1u << 20), want = BUF_INIT(1u << 20);
            for (unsigned i = 0; i < 2; i++) {
                struct store *of = i ? oracle : st;
                struct store_range range = { .type = patient };
                struct store_cursor *c;
                if (from < n)
                    OK(store_number_of(of, patient, sv_from(names[from]), &range.from, e));
                if (to < n)
                    OK(store_number_of(of, patient, sv_from(names[to]), &range.to, e));
                OK(store_scan(of, &range, STORE_NOW, &c, e));
                print(i ? &want : &have, c);
            }
            assert_sv(buf_sv(&have), buf_sv(&want));
        }
    struct store_cursor *c;
    struct store_version v;
    OK(store_scan(st, &(struct store_range){ .type = patient }, STORE_NOW, &c, e));
    size_t before = in_use();
    for (unsigned i = 0; i < 12; i++) {
        OK(store_cursor_next(c, &v, e));
        if (!TEST_SANITIZED)
            assert_true(in_use() < before + LARGE / 2);
    }
    FAILS(ERR_EOF, store_cursor_next(c, &v, e));
    FAILS(ERR_EOF, store_cursor_next(c, &v, e));
    store_cursor_close(c);
    store_close(oracle);
    end(st, dir);
}

struct halted {
    struct store *st;
    atomic_bool *halt;
};

static void *halt_who_waits(void *arg)
{
    const struct halted *h = arg;
    for (bool waits = false; !waits; sched_yield()) {
        pthread_mutex_lock(&env->alone.lock);
        waits = env->alone.waiting != NULL;
        pthread_mutex_unlock(&env->alone.lock);
    }
    atomic_store(h->halt, true);
    store_giant_wake(h->st);
    return NULL;
}

/* At the place, from where a cursor first asks for it: at its first row, and at a giant. */
TEST(gate, who_waits_for_the_giants_place_can_be_halted)
{
    (void)state;
    char dir[64];
    struct store *st = open_new(dir);
    struct store_version v;
    load(st, "a", 1);
    for (unsigned row = 0; row < 3; row++) {
        atomic_bool halt = false;
        struct halted h = { st, &halt };
        pthread_t thread;
        struct store_cursor *c = giants_scan(st, STORE_NOW, &halt);
        if (row == 1)
            OK(store_cursor_next(c, &v, e));
        OK(store_giant_enter(st, NULL, e));
        assert_int_equal(pthread_create(&thread, NULL, halt_who_waits, &h), 0);
        if (row == 2)
            FAILS(ERR_CANCELLED, store_giant_enter(st, &halt, e));
        else
            FAILS(ERR_CANCELLED, store_cursor_next(c, &v, e));
        pthread_join(thread, NULL);
        store_giant_leave(st);
        /* and it stays so */
        FAILS(ERR_CANCELLED, store_giant_enter(st, &halt, e));
        store_cursor_close(c);
        assert_int_equal(env->alone.n_inside, 0);
        assert_null(env->alone.waiting);
    }
    end(st, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(gate, light_readers_see_what_the_memory_store_says_as_of_each_commit_while_others_write),
        T(gate, who_stands_at_a_large_record_or_at_a_small_one_beside_it_holds_neither),
        T(gate, every_light_read_of_a_binary_waits_while_the_gate_is_full_and_no_other_read_does),
        T(gate, who_waits_longest_comes_next),
        T(gate, one_data_store_leaves_a_place_to_the_others),
        T(gate, giants_come_as_the_memory_store_gives_them),
        T(gate, a_giant_is_in_memory_once_and_only_while_its_cursor_stands_there),
        T(gate, a_scan_of_another_type_passes_giants_without_reading_them),
        T(gate, who_waits_for_the_giants_place_can_be_halted),
    };
    env = store_env_new(8 << 20, 2);
    binary = fhir_type_find(SV_LIT("Binary"));
    patient = fhir_type_find(SV_LIT("Patient"));
    noise = malloc(LARGE);
    if (noise == NULL)
        abort();
    for (size_t i = 0, n = 1; i < LARGE; i++, n = n * 6364136223846793005u + 1442695040888963407u)
        noise[i] = (char)('A' + (n >> 33) % 26);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    free(noise);
    store_env_free(env);
    return rc;
}
