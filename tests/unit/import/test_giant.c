/* test_giant.c - lines of more than LIMIT_GIANT_BYTES: each is alone, becomes what it would become
 * anyway, and waits for its place in a way that can be stopped. */
#include "one_import.h"

#include "store/store_private.h"

#include <dlfcn.h>
#include <rocksdb/c.h>
#include <sched.h>

#define DATA_BYTES (LIMIT_GIANT_BYTES + (3u << 20))

/* ---- who has a giant in hand ---- */

static struct gate *watched;                     /* NULL: nobody looks */
static atomic_uint in_hand, n_giants, n_at_once; /* at once: somebody else was inside meanwhile */
static atomic_bool over;

static bool somebody_waits(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    bool waits = gate->waiting != NULL;
    pthread_mutex_unlock(&gate->lock);
    return waits;
}

/* Stands before the library's own. A giant stays in hand until somebody waits for its place. */
void rocksdb_sstfilewriter_put(rocksdb_sstfilewriter_t *w, const char *key, size_t key_len,
                               const char *value, size_t len, char **bad)
{
    void (*own)(rocksdb_sstfilewriter_t *, const char *, size_t, const char *, size_t, char **);
    *(void **)&own = dlsym(RTLD_NEXT, "rocksdb_sstfilewriter_put");
    if (watched && len > LIMIT_GIANT_BYTES) {
        atomic_fetch_add(&n_giants, 1);
        atomic_fetch_add(&in_hand, 1);
        while (!somebody_waits(watched) && atomic_load(&n_at_once) == 0)
            sched_yield();
        own(w, key, key_len, value, len, bad);
        atomic_fetch_sub(&in_hand, 1);
        return;
    }
    own(w, key, key_len, value, len, bad);
}

/* Another job that wants the place again and again. */
static void *want_the_place(void *arg)
{
    struct store *st = arg;
    while (!atomic_load(&over)) {
        struct err err;
        if (store_giant_enter(st, &over, &err) != ERR_OK)
            break;
        if (atomic_load(&in_hand))
            atomic_fetch_add(&n_at_once, 1);
        store_giant_leave(st);
    }
    return NULL;
}

/* ---- lines ---- */

static void add_binary(struct buf *text, const char *before, const char *id, char fill, size_t len,
                       const char *after)
{
    OK(buf_add_fmt(
        text, e, "%s{\"resourceType\":\"Binary\",\"id\":\"%s\",\"contentType\":\"a/b\",\"data\":\"",
        before, id));
    OK(buf_reserve(text, len, e));
    memset(text->ptr + text->len, fill, len);
    text->len += len;
    OK(buf_add_fmt(text, e, "\"}%s", after));
}

/* Giants and others in turn, of two files: good ones, one again, with white space, and four that
 * cannot become a version. Nine lines are good. */
static void put_input(struct fx *f)
{
    CLEANUP_BUF struct buf text = BUF_INIT(FX_MOST);
    OK(buf_add(&text, SV_LIT(PATIENT("a") "\n"), e));
    add_binary(&text, "", "g1", 'A', DATA_BYTES, "\n");
    OK(buf_add(&text, SV_LIT(PATIENT("b") "\n" PATIENT("c") "\n"), e));
    add_binary(&text, " { \"meta\" : { \"versionId\" : \"9\" , \"source\" : \"s\" } ,", "x", 'B', 4,
               "\n");
    add_binary(&text, "  ", "g2", 'C', DATA_BYTES, " \r\n");
    add_binary(&text, "", "g1", 'D', DATA_BYTES + 4, "\n");
    OK(buf_add(&text, SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"large\",\"language\":\""), e));
    OK(buf_reserve(&text, DATA_BYTES, e));
    memset(text.ptr + text.len, 'x', DATA_BYTES);
    text.len += DATA_BYTES;
    OK(buf_add(&text, SV_LIT("\"}\n"), e));
    add_binary(&text, "", "not/legal", 'E', DATA_BYTES, "\n");
    OK(buf_add(&text, SV_LIT(PATIENT("d") "\n"), e));
    /* data that is no base64: level strict refuses it */
    add_binary(&text, "", "faulty", '!', DATA_BYTES, "\n");
    fx_put(f, "input/p/1.ndjson", buf_sv(&text));
    buf_clear(&text);
    OK(buf_add(&text, SV_LIT(PATIENT("e") "\n"), e));
    /* the last one, without a newline */
    add_binary(&text, "", "g3", 'F', DATA_BYTES, "");
    fx_put(f, "input/p/2.ndjson", buf_sv(&text));
}

static void check_one(struct store *st, const char *id, char fill, size_t len, uint64_t version)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    CLEANUP_BUF struct buf want = BUF_INIT(64u << 20);
    struct store_version v;
    add_binary(&want, "", id, fill, len, "");
    OK(store_get(st, fhir_type_find(SV_LIT("Binary")), sv_from(id), STORE_NOW, a, &v, e));
    assert_int_equal(v.version, version);
    assert_true(sv_eq(v.body.json, buf_sv(&want)));
}

/* times: how often all of it was brought */
static void check_all(struct store *st, unsigned times)
{
    static const char *const ids[] = { "a", "b", "c", "d", "e" };
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct store_version v;
    struct err err;
    for (size_t i = 0; i < CASES(ids); i++) {
        OK(store_get(st, fhir_type_find(SV_LIT("Patient")), sv_from(ids[i]), STORE_NOW, a, &v, e));
        assert_int_equal(v.version, times);
    }
    check_one(st, "g1", 'D', DATA_BYTES + 4, 2 * times);
    check_one(st, "g2", 'C', DATA_BYTES, times);
    check_one(st, "g3", 'F', DATA_BYTES, times);
    assert_int_equal(
        store_get(st, fhir_type_find(SV_LIT("Binary")), SV_LIT("faulty"), STORE_NOW, a, &v, &err),
        ERR_NOT_FOUND);
}

static void check_counts(const struct one *o)
{
    assert_int_equal(o->status, JOB_COMPLETED_WITH_ERRORS);
    assert_int_equal(o->progress.resources_scanned, 13);
    assert_int_equal(o->progress.resources_imported, 9);
    assert_int_equal(o->progress.resources_customer_error, 4);
    assert_int_equal(o->progress.files_imported, 2);
}

TEST(giant, each_is_alone_and_becomes_what_it_says_between_others_in_their_order)
{
    struct fx f;
    pthread_t other;
    fx_open(&f);
    put_input(&f);
    struct store *st = rocks(&f);
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    watched = &f.env->alone;
    atomic_store(&over, false);
    assert_int_equal(pthread_create(&other, NULL, want_the_place, st), 0);
    OK(run(&o, e));
    atomic_store(&over, true);
    store_giant_wake(st);
    pthread_join(other, NULL);
    watched = NULL;
    assert_int_equal(atomic_load(&n_at_once), 0);
    assert_int_equal(atomic_load(&n_giants), 4);
    assert_int_equal(f.env->alone.n_inside, 0);
    assert_int_equal(f.env->alone.most_inside, 1);
    check_counts(&o);
    check_all(st, 1);
    /* the outcome of either store is the same */
    CLEANUP(store_close) struct store *oracle = memory_store();
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST), want = BUF_INIT(FX_MOST);
    struct one same = { .f = &f, .st = oracle, .input = "s3://input/p/", .output = "same" };
    OK(run(&same, e));
    check_counts(&same);
    check_all(oracle, 1);
    fx_tree(&f, "out/" FOLDER "/SUCCESS", &got);
    fx_tree(&f, "same/" FOLDER "/SUCCESS", &want);
    fx_tree(&f, "out/" FOLDER "/FAILURE", &got);
    fx_tree(&f, "same/" FOLDER "/FAILURE", &want);
    fx_same(buf_sv(&got), buf_sv(&want));
    assert_true(want.len > 100);
    store_close(st);
    fx_close(&f);
}

struct stopper {
    struct gate *gate;
    struct store *st;
};

static void *stop_who_waits(void *arg)
{
    const struct stopper *s = arg;
    while (!somebody_waits(s->gate))
        sched_yield();
    atomic_store(halt_of_this_run, true);
    store_giant_wake(s->st);
    return NULL;
}

TEST(giant, a_stop_ends_the_wait_for_its_place_and_the_next_run_goes_on_there)
{
    struct fx f;
    pthread_t thread;
    struct err why;
    fx_open(&f);
    put_input(&f);
    struct store *st = rocks(&f);
    struct stopper s = { &f.env->alone, st };
    struct one o = { .f = &f, .st = st, .input = "s3://input/p/", .output = "out" };
    OK(store_giant_enter(st, NULL, e));
    assert_int_equal(pthread_create(&thread, NULL, stop_who_waits, &s), 0);
    assert_int_equal(run(&o, &why), ERR_CANCELLED);
    pthread_join(thread, NULL);
    /* what stands in front of it is there */
    assert_int_equal(o.progress.resources_imported, 1);
    store_giant_leave(st);
    OK(run(&o, e));
    assert_int_equal(f.env->alone.n_inside, 0);
    check_counts(&o);
    check_all(st, 1);
    store_close(st);
    fx_close(&f);
}

TEST(giant, a_run_that_is_stopped_between_two_loses_none_and_doubles_none)
{
    struct fx f;
    fx_open(&f);
    put_input(&f);
    for (unsigned n = 1; n < 9; n += 2) {
        CLEANUP(store_close) struct store *st = memory_store();
        char bucket[16];
        struct err why;
        (void)snprintf(bucket, sizeof bucket, "out%u", n);
        struct one o = {
            .f = &f, .st = st, .input = "s3://input/p/", .output = bucket, .stop_at = n
        };
        err_code rc = run(&o, &why);
        /* the stop may come when all is done */
        assert_true(rc == ERR_OK || rc == ERR_CANCELLED);
        o.stop_at = 0;
        if (rc == ERR_CANCELLED)
            OK(run(&o, e));
        check_counts(&o);
        check_all(st, 1);
    }
    fx_close(&f);
}

TEST_MAIN(T(giant, each_is_alone_and_becomes_what_it_says_between_others_in_their_order),
          T(giant, a_stop_ends_the_wait_for_its_place_and_the_next_run_goes_on_there),
          T(giant, a_run_that_is_stopped_between_two_loses_none_and_doubles_none))
