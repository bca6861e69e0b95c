/* One suite over each engine, and each against the one in memory: random writes, deletions,
 * conditions, bulk loads published out of order, horizons, reopenings; then every question a store
 * answers. */
#include "test.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/rng.h"
#include "fhir/envelope.h"
#include "store/checking.h"
#include "store/comparing.h"
#include "store/last.h"
#include "store/postgres.h"
#include "store/store.h"
#include "store/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static struct store_env *env;
static char *temp_dir(void)
{
    static char path[64];
    (void)snprintf(path, sizeof path, TEST_TMP "/fhirlake-store-%016llx",
                   (unsigned long long)rng_u64());
    return path;
}

static struct fhir_body body(char *text, size_t cap, int n)
{
    /* meta goes behind it */
    static const char head[] = "{\"resourceType\":\"Patient\",\"id\":\"x\"";
    int len = snprintf(text, cap, "%s,\"n\":%d}", head, n);
    return (struct fhir_body){ sv_make(text, (size_t)len), sizeof head - 1, FHIR_HOLE_NO_META };
}

static err_code put(struct store *st, fhir_type type, const char *id, int n, struct store_write *w,
                    struct store_commit *c, struct err *e)
{
    char text[128];
    w->type = type;
    w->id = sv_from(id);
    if (w->method != STORE_METHOD_DELETE) {
        w->body = body(text, sizeof text, n);
        w->index = plain_index(type);
    }
    return store_commit(st, w, 1, c, e);
}

typedef void (*test_fn)(struct store *st);

static void on_postgres(test_fn fn)
{
    struct store *st;
    char uri[256];
    if (!pg_new_place(uri, sizeof uri))
        return;
    OK(store_open(env, uri, true, &st, e));
    fn(st);
    store_close(st);
    pg_drop(uri);
}

static void on_each(test_fn fn)
{
    struct store *st;
    OK(store_open(NULL, "memory:", true, &st, e));
    fn(st);
    store_close(st);
    char *dir = temp_dir();
    OK(store_open(env, dir, true, &st, e));
    fn(st);
    store_close(st);
    assert_checked(env, dir);
    OK(file_remove_tree(dir, e));
    on_postgres(fn);
}

static void versions_and_time(struct store *st)
{
    struct store_commit c1, c2, c3, c4;
    struct arena *a = arena_new(1 << 20);
    struct store_version v;
    assert_int_equal(last_of(st).t, 0);
    OK(put(st, patient, "a", 1, &(struct store_write){ .method = STORE_METHOD_CREATE }, &c1, e));
    OK(put(st, patient, "a", 2, &(struct store_write){ .method = STORE_METHOD_UPDATE }, &c2, e));
    OK(put(st, patient, "a", 0, &(struct store_write){ .method = STORE_METHOD_DELETE }, &c3, e));
    FAILS(ERR_NOT_FOUND,
          put(st, patient, "a", 0, &(struct store_write){ .method = STORE_METHOD_DELETE }, &c4, e));
    OK(put(st, patient, "a", 4, &(struct store_write){ .method = STORE_METHOD_UPDATE }, &c4, e));
    assert_true(c1.t == 1 && c2.t == 2 && c3.t == 3 && c4.t == 4);
    assert_true(c1.instant_ms <= c2.instant_ms && c2.instant_ms <= c3.instant_ms);
    for (uint64_t t = 1; t <= 4; t++) {
        OK(store_get(st, patient, SV_LIT("a"), t, a, &v, e));
        assert_int_equal(v.version, t);
        assert_int_equal(v.t, t);
        assert_int_equal(v.method == STORE_METHOD_DELETE, t == 3);
    }
    OK(store_get(st, patient, SV_LIT("a"), STORE_NOW, a, &v, e));
    assert_int_equal(v.version, 4);
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("a"), 0, a, &v, e));
    FAILS(ERR_NOT_FOUND, store_get(st, observation, SV_LIT("a"), STORE_NOW, a, &v, e));
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("a-"), STORE_NOW, a, &v, e));
    struct buf b = BUF_INIT(1 << 20);
    print_scan(&b, st, patient, 3);
    assert_int_equal(b.len, 0);
    print_scan(&b, st, patient, 2);
    assert_non_null(strstr(b.ptr, "v2 t2"));
    buf_done(&b);
    arena_free(a);
}

static void conditions(struct store *st)
{
    struct store_commit c;
    struct store_write absent = { .method = STORE_METHOD_CREATE, .condition = STORE_IF_ABSENT };
    struct store_write v1 = { .method = STORE_METHOD_UPDATE,
                              .condition = STORE_IF_VERSION,
                              .if_version = 1 };
    FAILS(ERR_PRECONDITION, put(st, patient, "c", 1, &v1, &c, e));
    OK(put(st, patient, "c", 1, &absent, &c, e));
    FAILS(ERR_PRECONDITION, put(st, patient, "c", 1, &absent, &c, e));
    OK(put(st, patient, "c", 1, &v1, &c, e));
    FAILS(ERR_PRECONDITION, put(st, patient, "c", 1, &v1, &c, e));
    struct store_write del = { .method = STORE_METHOD_DELETE };
    OK(put(st, patient, "c", 1, &del, &c, e));
    /* a deleted id stays taken */
    FAILS(ERR_PRECONDITION, put(st, patient, "c", 1, &absent, &c, e));
    struct store_write still = { .method = STORE_METHOD_UPDATE,
                                 .condition = STORE_IF_DELETED,
                                 .if_version = 2 };
    /* that was none */
    FAILS(ERR_PRECONDITION, put(st, patient, "c", 1, &still, &c, e));
    FAILS(ERR_PRECONDITION, put(st, patient, "never", 1, &still, &c, e));
    still.if_version = 3;
    struct store_write any = { .method = STORE_METHOD_UPDATE };
    for (int n = 0; n < 3; n++)
        OK(put(st, patient, "again", n, &any, &c, e));
    /* 3, but there */
    FAILS(ERR_PRECONDITION, put(st, patient, "again", 1, &still, &c, e));
    OK(put(st, patient, "again", 1, &del, &c, e));
    /* not this deletion */
    FAILS(ERR_PRECONDITION, put(st, patient, "again", 1, &still, &c, e));
    still.if_version = 4;
    OK(put(st, patient, "again", 1, &still, &c, e));
    char text[128];
    struct store_write two[2] = { { .type = patient,
                                    .id = SV_LIT("d"),
                                    .method = STORE_METHOD_UPDATE,
                                    .body = body(text, 128, 1),
                                    .index = plain_index(patient) },
                                  { .type = patient,
                                    .id = SV_LIT("d"),
                                    .method = STORE_METHOD_UPDATE,
                                    .body = body(text, 128, 1),
                                    .index = plain_index(patient) } };
    FAILS(ERR_INVALID, store_commit(st, two, 2, &c, e));
    two[1] = (struct store_write){ .type = patient,
                                   .id = SV_LIT("nobody"),
                                   .method = STORE_METHOD_DELETE };
    uint64_t before = last_of(st).t;
    /* all or none */
    FAILS(ERR_NOT_FOUND, store_commit(st, two, 2, &c, e));
    assert_int_equal(last_of(st).t, before);
    struct arena *a = arena_new(1 << 20);
    struct store_version v;
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("d"), STORE_NOW, a, &v, e));
    arena_free(a);
}

static void bulk_is_invisible_until_published(struct store *st)
{
    struct store_bulk *one, *two;
    struct store_commit c, c1, c2;
    char t1[128], t2[128], t3[128];
    struct store_bulk_item items[] = {
        { patient, SV_LIT("b"), body(t1, 128, 1), 0, plain_index(patient) },
        { patient, SV_LIT("a"), body(t2, 128, 2), 1, plain_index(patient) },
        { patient, SV_LIT("b"), body(t3, 128, 3), 2, plain_index(patient) }
    };
    struct store_bulk_item again[] = { { patient, SV_LIT("a"), body(t2, 128, 2), 0,
                                         plain_index(patient) } };
    OK(store_bulk_begin(st, &one, e));
    OK(store_bulk_begin(st, &two, e));
    OK(store_bulk_fill(one, items, 3, e));
    OK(store_bulk_fill(two, again, 1, e));
    OK(put(st, patient, "a", 9, &(struct store_write){ .method = STORE_METHOD_UPDATE }, &c, e));
    struct buf b = BUF_INIT(1 << 20), note = BUF_INIT(100);
    print_scan(&b, st, patient, STORE_NOW);
    assert_non_null(strstr(b.ptr, "Patient/a v1 t1"));
    assert_null(strstr(b.ptr, "Patient/b"));
    /* the later load first */
    OK(store_bulk_publish(&two, SV_LIT("job"), SV_LIT("half"), &c2, e));
    OK(store_bulk_publish(&one, SV_LIT("job"), SV_LIT("done"), &c1, e));
    assert_null(one);
    assert_true(c2.t == 2 && c1.t == 3);
    OK(store_note_get(st, SV_LIT("job"), &note, e));
    assert_sv(buf_sv(&note), SV_LIT("done"));
    FAILS(ERR_NOT_FOUND, store_note_get(st, SV_LIT("jo"), &note, e));
    buf_clear(&b);
    print_scan(&b, st, patient, STORE_NOW);
    OK(buf_add_char(&b, 0, e));
    assert_non_null(strstr(b.ptr, "Patient/a v3 t3"));
    /* the later line of the input */
    assert_non_null(strstr(b.ptr, "\"n\":3}"));
    assert_null(strstr(b.ptr, "\"n\":1}"));
    buf_clear(&b);
    struct store_cursor *h;
    OK(store_history(st, patient, SV_LIT("a"), STORE_NOW, &h, e));
    print_cursor(&b, h);
    OK(buf_add_char(&b, 0, e));
    assert_true(strncmp(b.ptr, "Patient/a v3 t3 m3", 18) == 0);
    assert_non_null(strstr(b.ptr, "Patient/a v2 t2 m3"));
    assert_non_null(strstr(b.ptr, "Patient/a v1 t1 m1"));
    OK(store_bulk_begin(st, &one, e));
    OK(store_bulk_fill(one, items, 0, e));
    OK(store_bulk_publish(&one, SV_LIT("job"), SV_LIT("empty"), &c, e));
    assert_int_equal(c.t, 3);
    OK(store_bulk_begin(st, &one, e));
    OK(store_bulk_fill(one, items, 2, e));
    store_bulk_abort(one);
    assert_int_equal(last_of(st).t, 3);
    buf_done(&b);
    buf_done(&note);
}

static void horizon_closes_the_instant(struct store *st)
{
    struct store_commit c, h, h2;
    for (int i = 0; i < 50; i++) {
        OK(store_horizon(st, &h, e));
        OK(put(st, patient, "h", i, &(struct store_write){ .method = STORE_METHOD_UPDATE }, &c, e));
        assert_true(c.t == h.t + 1);
        assert_true(c.instant_ms > h.instant_ms);
        OK(store_horizon(st, &h2, e));
        assert_true(h2.t == c.t && h2.instant_ms >= c.instant_ms);
        struct store_commit at;
        OK(store_commit_at(st, h.instant_ms, &at, e));
        assert_int_equal(at.t, h.t);
    }
}

/* Beginnings and continuations of "abc", whose versions of bulk loads and of commits stand behind
 * it. */
static void ids_that_cannot_be(struct store *st)
{
    struct store_commit c;
    struct store_version v;
    struct store_cursor *cur;
    char long_id[FHIR_ID_MAX + 2];
    memset(long_id, 'a', sizeof long_id);
    struct store_bulk *b;
    char text[128];
    struct store_bulk_item loaded = { .type = patient, .id = SV_LIT("abc") };
    loaded.body = body(text, sizeof text, 1);
    loaded.index = plain_index(patient);
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, &loaded, 1, e));
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    struct store_write corrected = { .method = STORE_METHOD_UPDATE };
    OK(put(st, patient, "abc", 2, &corrected, &c, e));
    sv longest = sv_make(long_id, FHIR_ID_MAX);
    struct store_write w = {
        .type = patient, .id = longest, .body = loaded.body, .index = loaded.index
    };
    OK(store_commit(st, &w, 1, &c, e));
    const sv odd[] = { { "abc\0", 4 },
                       { "abc\0\0", 5 },
                       { "abc\0\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 12 },
                       { "abc\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE", 13 },
                       { "\0", 1 },
                       { "", 0 },
                       { NULL, 0 },
                       { "ab\xFF", 3 },
                       { "a/c", 3 },
                       { "\xFF\xFF", 2 },
                       { long_id, FHIR_ID_MAX + 1 },
                       { long_id, FHIR_ID_MAX + 2 } };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        FAILS(ERR_NOT_FOUND, store_get(st, patient, odd[i], STORE_NOW, a, &v, e));
        FAILS(ERR_NOT_FOUND, store_get(st, patient, odd[i], 1, a, &v, e));
        FAILS(ERR_NOT_FOUND, store_history(st, patient, odd[i], STORE_NOW, &cur, e));
        FAILS(ERR_NOT_FOUND, store_get(st, 0, SV_LIT("abc"), STORE_NOW, a, &v, e));
        FAILS(ERR_NOT_FOUND, store_get(st, 255, SV_LIT("abc"), STORE_NOW, a, &v, e));
        OK(store_get(st, patient, SV_LIT("abc"), STORE_NOW, a, &v, e));
        assert_int_equal(v.version, 2);
        OK(store_get(st, patient, longest, STORE_NOW, a, &v, e));
    }
}

TEST(store, an_id_that_cannot_be_finds_nothing_of_those_that_it_begins_with)
{
    (void)state;
    on_each(ids_that_cannot_be);
}

TEST(store, versions_follow_time)
{
    (void)state;
    on_each(versions_and_time);
}
TEST(store, conditions_hold_or_nothing_is_written)
{
    (void)state;
    on_each(conditions);
}
TEST(store, a_bulk_load_is_invisible_until_published)
{
    (void)state;
    on_each(bulk_is_invisible_until_published);
}
TEST(store, a_horizon_closes_its_instant)
{
    (void)state;
    on_each(horizon_closes_the_instant);
}

/* ---- the two against each other ---- */

static void random_commit(struct store *a, struct store *b)
{
    struct store_write wa[4], wb[4];
    char text[4][128];
    size_t n = 1 + rnd(3);
    for (size_t i = 0; i < n; i++) {
        wa[i] = (struct store_write){ .type = rnd(4) ? patient : observation,
                                      .id = sv_from(random_id()) };
        wa[i].method = rnd(4) ? STORE_METHOD_UPDATE : STORE_METHOD_DELETE;
        if (wa[i].method == STORE_METHOD_UPDATE) {
            wa[i].body = body(text[i], 128, (int)rnd(1000));
            wa[i].index = plain_index(wa[i].type);
        }
        if (rnd(6) == 0) {
            wa[i].condition = STORE_IF_ABSENT + rnd(3);
            wa[i].if_version = 1 + rnd(3);
        }
        wb[i] = wa[i];
    }
    struct store_commit ca, cb;
    struct err e;
    err_code ra = store_commit(a, wa, n, &ca, &e), rb = store_commit(b, wb, n, &cb, &e);
    assert_int_equal(ra, rb);
    for (size_t i = 0; ra == ERR_OK && i < n; i++)
        assert_int_equal(wa[i].version, wb[i].version);
    if (ra == ERR_OK)
        assert_int_equal(ca.t, cb.t);
}

struct pair_of_bulks {
    struct store_bulk *a, *b;
};

static struct pair_of_bulks random_bulk(struct store *a, struct store *b)
{
    struct pair_of_bulks p;
    struct store_bulk_item ia[40], ib[40];
    static char text[40][128], ids[40][24];
    size_t n = 1 + rnd(40);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(ids[i], 24, "%s", random_id());
        ia[i] = (struct store_bulk_item){ rnd(4) ? patient : observation, sv_from(ids[i]),
                                          body(text[i], 128, (int)rnd(1000)), i };
        ia[i].index = plain_index(ia[i].type);
        ib[i] = ia[i];
    }
    OK(store_bulk_begin(a, &p.a, e));
    OK(store_bulk_begin(b, &p.b, e));
    OK(store_bulk_fill(p.a, ia, n, e));
    OK(store_bulk_fill(p.b, ib, n, e));
    return p;
}

/* a statement costs more than a look into a file */
#define POSTGRES_SEEDS (test_is_long() ? 6u : 1u)

/* files: where the store's are, to be checked when nobody has it open; or NULL: it is one that two
 * processes can have open, and each step is another one's. */
static void random_history(unsigned seed, const char *uri, const char *files)
{
    rnd_state = seed;
    struct store *mem, *node[2] = { NULL };
    struct pair_of_bulks open[5];
    size_t n_open = 0;
    OK(store_open(NULL, "memory:", true, &mem, e));
    OK(store_open(env, uri, true, &node[0], e));
    if (files == NULL)
        OK(store_open(env, uri, false, &node[1], e));
    for (int step = 0; step < 500; step++) {
        struct store **here = &node[files == NULL && step % 2], *other = *here;
        unsigned what = rnd(100);
        if (what < 60) {
            random_commit(mem, other);
        } else if (what < 75 && n_open < 5) {
            open[n_open++] = random_bulk(mem, other);
        } else if (what < 88 && n_open) {
            /* the last few together, in any order: bulks from `from` on */
            size_t n = 1 + (size_t)rnd((unsigned)n_open), from = n_open - n;
            struct store_bulk *as[5], *bs[5];
            struct store_commit ca, cb;
            for (size_t i = 0; i < n; i++) {
                size_t k = from + rnd((unsigned)(n - i)) + i;
                struct pair_of_bulks chosen = open[k];
                open[k] = open[from + i];
                as[i] = chosen.a;
                bs[i] = chosen.b;
                open[from + i] = chosen;
            }
            OK(store_bulk_publish_all(as, n, SV_LIT("n"), SV_LIT("v"), &ca, e));
            OK(store_bulk_publish_all(bs, n, SV_LIT("n"), SV_LIT("v"), &cb, e));
            assert_int_equal(ca.t, cb.t);
            assert_null(as[n - 1]);
            n_open = from;
        } else if (what == 88) {
            /* what was not published is gone after a restart */
            while (n_open) {
                n_open--;
                store_bulk_abort(open[n_open].a);
                store_bulk_abort(open[n_open].b);
            }
            store_close(other);
            if (files)
                assert_checked(env, files);
            OK(store_open(env, uri, false, here, e));
        } else {
            compare(mem, other);
        }
    }
    check_plan(node[0], 1);
    check_plan(node[0], 1000);
    check_plan(mem, 1);
    while (n_open) {
        n_open--;
        store_bulk_abort(open[n_open].a);
        store_bulk_abort(open[n_open].b);
    }
    store_close(mem);
    store_close(node[0]);
    if (node[1])
        store_close(node[1]);
}

TEST(store, random_histories_read_the_same_from_each)
{
    (void)state;
    /* a minute under ThreadSanitizer */
    unsigned n_seeds = TEST_SANITIZED && !test_is_long() ? 2 : 6;
    for (unsigned seed = 1; seed <= n_seeds; seed++) {
        char *dir = temp_dir(), uri[256];
        random_history(seed, dir, dir);
        assert_checked(env, dir);
        OK(file_remove_tree(dir, e));
        if (seed <= POSTGRES_SEEDS && pg_new_place(uri, sizeof uri)) {
            random_history(seed, uri, NULL);
            pg_drop(uri);
        }
    }
}

/* ---- threads ---- */

struct worker {
    struct store *st;
    unsigned seed;
    atomic_bool *stop;
};

static void *write_for_ever(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; !atomic_load(w->stop); i++) {
        char id[32], text[128];
        (void)snprintf(id, sizeof id, "r%u", (w->seed * 7919u + (unsigned)i) % 97);
        struct store_write wr = { .type = patient,
                                  .id = sv_from(id),
                                  .method = STORE_METHOD_UPDATE,
                                  .body = body(text, sizeof text, i),
                                  .index = plain_index(patient) };
        struct store_commit c;
        THREAD_OK(store_commit(w->st, &wr, 1, &c, e));
        THREAD_TRUE(last_of(w->st).t >= c.t);
        if (i % 17 == 0) {
            struct store_bulk *b;
            struct store_bulk_item it = { patient, sv_from(id), wr.body, 0, wr.index };
            THREAD_OK(store_bulk_begin(w->st, &b, e));
            THREAD_OK(store_bulk_fill(b, &it, 1, e));
            THREAD_OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
        }
    }
    return NULL;
}

TEST(store, a_scan_as_of_t_stays_the_same_while_others_write)
{
    (void)state;
    char *dir = temp_dir();
    struct store *st;
    atomic_bool stop = false;
    OK(store_open(env, dir, true, &st, e));
    pthread_t threads[4];
    struct worker workers[4];
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){ st, i, &stop };
        pthread_create(&threads[i], NULL, write_for_ever, &workers[i]);
    }
    struct buf first[20], again = BUF_INIT(1 << 24);
    struct store_commit h[20];
    for (int i = 0; i < 20; i++) {
        buf_init(&first[i], 1 << 24);
        OK(store_horizon(st, &h[i], e));
        print_scan(&first[i], st, patient, h[i].t);
        int k = i / 2;
        buf_clear(&again);
        print_scan(&again, st, patient, h[k].t);
        assert_sv(buf_sv(&again), buf_sv(&first[k]));
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_threads_were_fine();
    for (int i = 0; i < 20; i++) {
        buf_clear(&again);
        print_scan(&again, st, patient, h[i].t);
        assert_sv(buf_sv(&again), buf_sv(&first[i]));
        buf_done(&first[i]);
    }
    buf_done(&again);
    store_close(st);
    assert_checked(env, dir);
    OK(file_remove_tree(dir, e));
}

/* ---- kill -9 ---- */

/* Child: commits, and bulk loads whose note counts them; says "c <t>" or "b <n>" once acknowledged.
 */
static void write_until_killed(const char *dir, int fd)
{
    struct store_env *my = store_env_new(8 << 20, 1);
    struct store *st;
    struct err err, *e = &err;
    if (store_open(my, dir, true, &st, e) != ERR_OK)
        _exit(3);
    struct buf note = BUF_INIT(64);
    uint64_t n = 0;
    if (store_note_get(st, SV_LIT("n"), &note, e) == ERR_OK && !sv_to_u64(buf_sv(&note), &n))
        _exit(4);
    for (int i = 0;; i++) {
        char id[32], text[128], line[64];
        struct store_commit c;
        (void)snprintf(id, sizeof id, "%s%d", i % 3 ? "c" : "b", i % 50);
        struct fhir_body bd = body(text, sizeof text, i);
        if (i % 3) {
            struct store_write w = { .type = patient,
                                     .id = sv_from(id),
                                     .method = STORE_METHOD_UPDATE,
                                     .body = bd,
                                     .index = plain_index(patient) };
            if (store_commit(st, &w, 1, &c, e) != ERR_OK)
                _exit(5);
        } else {
            struct store_bulk *b;
            struct store_bulk_item it = { patient, sv_from(id), bd, 0, plain_index(patient) };
            char count[24];
            (void)snprintf(count, sizeof count, "%llu", (unsigned long long)++n);
            if (store_bulk_begin(st, &b, e) || store_bulk_fill(b, &it, 1, e) ||
                store_bulk_publish(&b, SV_LIT("n"), sv_from(count), &c, e))
                _exit(6);
        }
        int len = snprintf(line, sizeof line, "%llu %llu\n", (unsigned long long)c.t,
                           (unsigned long long)n);
        if (write(fd, line, (size_t)len) != len)
            _exit(7);
    }
}

TEST(store, what_was_acknowledged_survives_kill_9)
{
    (void)state;
    char *dir = temp_dir();
    /* a child may be killed before its first acknowledgement */
    unsigned long long t = 0, n = 0;
    for (int round = 0; round < 8; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            (void)dup2(fds[1], STDOUT_FILENO);
            execl("/proc/self/exe", "test_store", "--write", dir, (char *)NULL);
            /* a fork alone would have RocksDB's pools without their threads */
            _exit(8);
        }
        close(fds[1]);
        FILE *f = fdopen(fds[0], "r");
        char line[128] = "";
        /* every other time behind its first acknowledgement, however long that takes */
        if (round % 2 && fgets(line, sizeof line, f))
            (void)sscanf(line, "%llu %llu", &t, &n);
        usleep(30000 + rng_u64() % 150000);
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status));
        while (fgets(line, sizeof line, f))
            if (strchr(line, '\n'))
                (void)sscanf(line, "%llu %llu", &t, &n);
        fclose(f);
        struct store *st;
        /* a child may be killed before it has made the store */
        if (t)
            assert_checked(env, dir);
        OK(store_open(env, dir, true, &st, e));
        assert_in_range(last_of(st).t, t, t + 1);
        t = last_of(st).t;
        struct buf note = BUF_INIT(64), b = BUF_INIT(1 << 24);
        uint64_t noted = 0;
        if (n)
            OK(store_note_get(st, SV_LIT("n"), &note, e));
        assert_true(n == 0 || sv_to_u64(buf_sv(&note), &noted));
        assert_true(noted >= n && noted <= n + 1);
        n = noted;
        /* every commit from 1 to the last is there: changes name them all */
        struct store_cursor *c;
        OK(store_changes(st, &(struct store_range){ .type = patient }, 0, STORE_NOW, &c, e));
        struct store_version v;
        uint64_t sum = 0;
        while (store_cursor_next(c, &v, NULL) == ERR_OK)
            sum += v.version;
        store_cursor_close(c);
        /* one version per commit, none lost, none doubled */
        assert_int_equal(sum, last_of(st).t);
        buf_done(&note);
        buf_done(&b);
        store_close(st);
    }
    assert_true(t > 0);
    OK(file_remove_tree(dir, e));
}

static void check_light(const struct store_version *v, const struct fhir_body *whole, uint64_t t)
{
    assert_int_equal(v->t, t);
    assert_int_equal(v->body.json.len + v->left_out, whole->json.len);
    assert_true(v->body.json.len < 1000 && v->body.hole == FHIR_HOLE_META);
    assert_true(
        sv_starts(v->body.json, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"g\",\"n\":")));
}

/* One that came by a bulk load, and one that was written over it. */
static void large_ones_come_light(struct store *st)
{
    CLEANUP(arena_free) struct arena *small = arena_new(64u << 10), *a = arena_new(64u << 20);
    CLEANUP_BUF struct buf text = BUF_INIT(64u << 20);
    struct store_bulk *bulk;
    struct store_commit c;
    struct store_version v;
    struct store_cursor *cur;
    static const char head[] = "{\"resourceType\":\"Patient\",\"id\":\"g\"";
    OK(buf_add_fmt(&text, e, "%s,\"n\":7,\"x\":[\"", head));
    while (text.len <= LIMIT_WHOLE_BYTES)
        OK(buf_add(&text, SV_LIT("0123456789abcdef0123456789abcdef"), e));
    OK(buf_add(&text, SV_LIT("\"]}"), e));
    struct fhir_body whole = { buf_sv(&text), sizeof head - 1, FHIR_HOLE_NO_META };
    struct store_bulk_item item = { patient, SV_LIT("g"), whole, 0, plain_index(patient) };
    OK(store_bulk_begin(st, &bulk, e));
    OK(store_bulk_fill(bulk, &item, 1, e));
    OK(store_bulk_publish(&bulk, SV_NONE, SV_NONE, &c, e));
    struct store_write w = {
        .type = patient, .id = SV_LIT("g"), .body = whole, .index = plain_index(patient)
    };
    w.method = STORE_METHOD_UPDATE;
    for (uint64_t t = 1; t <= 2; t++) {
        if (t == 2)
            OK(store_commit(st, &w, 1, &c, e));
        OK(store_get_light(st, patient, SV_LIT("g"), STORE_NOW, small, &v, e));
        check_light(&v, &whole, t);
        OK(store_get(st, patient, SV_LIT("g"), STORE_NOW, a, &v, e));
        assert_true(v.left_out == 0 && sv_eq(v.body.json, whole.json));
        OK(store_scan(st, &(struct store_range){ .type = patient }, STORE_NOW, &cur, e));
        store_cursor_light(cur);
        OK(store_cursor_next(cur, &v, e));
        check_light(&v, &whole, t);
        store_cursor_close(cur);
    }
    w.method = STORE_METHOD_DELETE;
    OK(store_commit(st, &w, 1, &c, e));
    OK(store_get_light(st, patient, SV_LIT("g"), STORE_NOW, small, &v, e));
    assert_true(v.method == STORE_METHOD_DELETE && v.left_out == 0 && v.version == 3);
    OK(store_history(st, patient, SV_LIT("g"), STORE_NOW, &cur, e));
    store_cursor_light(cur);
    OK(store_cursor_next(cur, &v, e));
    assert_true(v.method == STORE_METHOD_DELETE && v.left_out == 0);
    for (uint64_t t = 2; t >= 1; t--) {
        OK(store_cursor_next(cur, &v, e));
        check_light(&v, &whole, t);
    }
    store_cursor_close(cur);
}

TEST(store, a_large_resource_comes_light_to_who_asks_for_that_and_can_be_deleted)
{
    (void)state;
    on_each(large_ones_come_light);
}

TEST(store, a_missing_or_locked_store_says_so)
{
    (void)state;
    char *dir = temp_dir();
    struct store *st, *other;
    FAILS(ERR_NOT_FOUND, store_open(env, dir, false, &st, e));
    OK(store_open(env, dir, true, &st, e));
    FAILS(ERR_EXISTS, store_open(env, dir, false, &other, e));
    store_close(st);
    assert_checked(env, dir);
    OK(file_remove_tree(dir, e));
}

int main(int argc, char **argv)
{
    patient = fhir_type_find(SV_LIT("Patient"));
    observation = fhir_type_find(SV_LIT("Observation"));
    /* before there are threads */
    (void)plain_index(patient);
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        write_until_killed(argv[2], STDOUT_FILENO);
    const struct CMUnitTest tests[] = {
        T(store, what_was_acknowledged_survives_kill_9),
        T(store, versions_follow_time),
        T(store, an_id_that_cannot_be_finds_nothing_of_those_that_it_begins_with),
        T(store, conditions_hold_or_nothing_is_written),
        T(store, a_bulk_load_is_invisible_until_published),
        T(store, a_horizon_closes_its_instant),
        T(store, random_histories_read_the_same_from_each),
        T(store, a_scan_as_of_t_stays_the_same_while_others_write),
        T(store, a_large_resource_comes_light_to_who_asks_for_that_and_can_be_deleted),
        T(store, a_missing_or_locked_store_says_so),
    };
    env = store_env_new(16 << 20, 1);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    store_env_free(env);
    return rc;
}
