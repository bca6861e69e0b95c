/* A copy of a data store as of a commit is the store that would be there if nothing had come behind
 * that commit: it answers so, it is found right by a check, and a history that goes on in it goes
 * on as in the oracle. */
#include "test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "store/checking.h"
#include "store/copy.h"
#include "store/history.h"
#include "store/last.h"
#include "store/records.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[80], source[120], target[120];

static void begin_folder(void)
{
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-store-copy-%016llx",
                   (unsigned long long)rng_u64());
    (void)snprintf(source, sizeof source, "%s/source", root);
    (void)snprintf(target, sizeof target, "%s/target", root);
    OK(file_mkdirs(root, e));
}

/* ---- a history, of one store or of two at a time ---- */

/* One step is one commit at most. What it asks rnd() for does not depend on which stores it is for.
 */
static void step(struct history *h)
{
    /* at an opening, below */
    if (++h->n_steps % 100 == 51)
        give_up(h);
    const unsigned what = rnd(100);
    uint64_t n;
    struct store_commit at;
    arena_reset(h->a);
    if (what < 55)
        commit_some(h);
    else if (what < 75 && h->n_open < LOADS_MOST)
        load_some(h);
    else if (what < 92 && h->n_open)
        publish_one(h);
    else if (what < 95)
        give_up(h);
    else
        for (size_t i = 0; i < 2; i++)
            if (h->of[i])
                /* settles what loads replaced */
                OK(store_count(h->of[i], patient, 0, SV_NONE, &n, &at, e));
}

/* The histories of ids, with instants. */
static void assert_same_instants(struct store *a, struct store *b, uint64_t t)
{
    for (unsigned i = 0; i < 60; i++) {
        struct store_cursor *x, *y;
        struct store_version v, w;
        struct err why;
        sv id = sv_from(random_id());
        OK(store_history(a, patient, id, t, &x, e));
        OK(store_history(b, patient, id, t, &y, e));
        while (store_cursor_next(x, &v, &why) == ERR_OK) {
            OK(store_cursor_next(y, &w, e));
            assert_true(v.t == w.t && v.instant_ms == w.instant_ms && v.version == w.version);
        }
        assert_int_equal(store_cursor_next(y, &w, &why), ERR_EOF);
        store_cursor_close(x);
        store_cursor_close(y);
    }
}

static void copy_and_go_on(struct store *from, uint64_t seed, uint64_t t)
{
    struct history h = { .a = arena_new(1 << 22) };
    struct store_sums *sums = calloc(1, sizeof *sums);
    CLEANUP_BUF struct buf note = BUF_INIT(100);
    struct store *copy;
    OK(store_copy(env, from, target, t, NULL, sums, e));
    assert_int_equal(sums->at.t, t);
    assert_checked(env, target);
    OK(store_open(env, target, false, &copy, e));
    assert_int_equal(last_of(copy).t, t);
    FAILS(ERR_NOT_FOUND, store_note_get(copy, SV_LIT("job"), &note, e));
    if (t)
        assert_same_instants(from, copy, t);
    /* the oracle has the beginning of the history alone */
    OK(store_open(NULL, "memory:", true, &h.of[0], e));
    rnd_state = seed;
    while (last_of(h.of[0]).t < t)
        step(&h);
    give_up(&h);
    for (unsigned i = 0; i < 10; i++)
        compare(h.of[0], copy);
    /* new commits have the numbers of those that were cut */
    h.of[1] = copy;
    for (unsigned i = 0; i < 60; i++)
        step(&h);
    give_up(&h);
    for (unsigned i = 0; i < 10; i++)
        compare(h.of[0], copy);
    store_close(copy);
    assert_checked(env, target);
    OK(file_remove_tree(target, e));
    store_close(h.of[0]);
    arena_free(h.a);
    free(sums);
}

TEST(copy, random_histories_go_back_to_any_commit_and_go_on_from_there)
{
    (void)state;
    const unsigned n_seeds = test_is_long() ? 60 : TEST_SANITIZED ? 1 : 3;
    for (unsigned n = 1; n <= n_seeds; n++) {
        const uint64_t seed = 1000 + n;
        struct history h = { .a = arena_new(1 << 22) };
        begin_folder();
        OK(store_open(env, source, true, &h.of[0], e));
        rnd_state = seed;
        for (unsigned i = 0; i < 300; i++) {
            /* it leaves loads behind that were never published, and new blocks of numbers */
            if (i % 100 == 50) {
                give_up(&h);
                store_close(h.of[0]);
                OK(store_open(env, source, false, &h.of[0], e));
            }
            step(&h);
        }
        const uint64_t last = last_of(h.of[0]).t;
        rnd_state = seed + 77;
        /* in front of a load, behind it, at the begin, at the end, anywhere */
        const uint64_t load_t = h.load_t[rnd((unsigned)h.n_loads)];
        const uint64_t at[5] = { 0, load_t - 1, 1 + rnd((unsigned)last - 1), load_t, last };
        for (size_t i = n % 2; i < 5; i += test_is_long() ? 1 : 2)
            copy_and_go_on(h.of[0], seed, at[i]);
        give_up(&h);
        store_close(h.of[0]);
        assert_checked(env, source);
        OK(file_remove_tree(root, e));
        arena_free(h.a);
    }
}

/* ---- while others write ---- */

static atomic_bool halt;

static void *write_for_ever(void *arg)
{
    struct arena *a = arena_new(1 << 20);
    struct store_commit c;
    for (unsigned n = 0; !atomic_load(&halt); n++) {
        arena_reset(a);
        struct store_write w = { .type = patient, .method = STORE_METHOD_UPDATE };
        w.id = arena_fmt(a, "p%u", n % 50);
        sv json = arena_fmt(a, "{\"resourceType\":\"Patient\",\"language\":\"l%u\"}", n);
        w.body = (struct fhir_body){ json, 25, FHIR_HOLE_NO_META };
        w.index = index_of(a, patient, json);
        OK(store_commit(arg, &w, 1, &c, e));
    }
    arena_free(a);
    return NULL;
}

TEST(copy, is_exact_while_others_write)
{
    (void)state;
    struct store *st;
    struct store_sums *sums = calloc(1, sizeof *sums), *was = calloc(1, sizeof *was);
    pthread_t writer;
    fhir_type type;
    begin_folder();
    OK(store_open(env, source, true, &st, e));
    atomic_store(&halt, false);
    assert_int_equal(pthread_create(&writer, NULL, write_for_ever, st), 0);
    for (unsigned i = 0; i < 5; i++) {
        const uint64_t t = last_of(st).t;
        OK(store_copy(env, st, target, t, NULL, sums, e));
        OK(store_sums(st, t, NULL, was, e));
        assert_false(store_sums_differ(was, sums, &type));
        assert_checked(env, target);
        OK(store_sums_of(env, target, was, e));
        assert_false(store_sums_differ(was, sums, &type));
        OK(file_remove_tree(target, e));
    }
    atomic_store(&halt, true);
    assert_int_equal(pthread_join(writer, NULL), 0);
    store_close(st);
    OK(file_remove_tree(root, e));
    free(sums);
    free(was);
}

/* ---- what goes wrong ---- */

static void fill(struct store *st, unsigned n)
{
    struct arena *a = arena_new(1 << 20);
    for (unsigned i = 0; i < n; i++) {
        struct store_commit c;
        arena_reset(a);
        struct store_write w = { .type = patient, .method = STORE_METHOD_UPDATE };
        w.id = arena_fmt(a, "p%u", i % 20);
        w.body = make(a, patient, w.id);
        w.index = index_of(a, patient, w.body.json);
        OK(store_commit(st, &w, 1, &c, e));
    }
    arena_free(a);
}

TEST(copy, that_fails_leaves_nothing)
{
    (void)state;
    struct store *st, *memory;
    struct store_sums *sums = calloc(1, sizeof *sums);
    atomic_bool stop = true;
    char side[140];
    begin_folder();
    (void)snprintf(side, sizeof side, "%s/.target.restoring", root);
    OK(store_open(env, source, true, &st, e));
    fill(st, 1500);
    FAILS(ERR_CANCELLED, store_copy(env, st, target, 1000, &stop, sums, e));
    assert_int_not_equal(access(target, F_OK), 0);
    assert_int_not_equal(access(side, F_OK), 0);
    FAILS(ERR_INTERNAL, store_copy(env, st, target, 1501, NULL, sums, e));
    FAILS(ERR_EXISTS, store_copy(env, st, source, 1000, NULL, sums, e));
    OK(store_open(NULL, "memory:", true, &memory, e));
    FAILS(ERR_UNSUPPORTED, store_copy(env, memory, target, 0, NULL, sums, e));
    FAILS(ERR_UNSUPPORTED, store_sums(memory, 0, NULL, sums, e));
    FAILS(ERR_UNSUPPORTED, store_copy(env, st, "memory:", 0, NULL, sums, e));
    store_close(memory);
    assert_int_not_equal(access(target, F_OK), 0);
    OK(store_copy(env, st, target, 1000, NULL, sums, e));
    store_close(st);
    assert_checked(env, target);
    assert_checked(env, source);
    OK(file_remove_tree(root, e));
    free(sums);
}

/* ---- the process that is killed ---- */

#define COPY_OF "FHIRLAKE_TEST_COPY_OF"
#define COPY_TO "FHIRLAKE_TEST_COPY_TO"
#define TOLD_FD 40 /* gets a byte when the copy begins */

/* A program of its own: neither RocksDB's threads nor a sanitizer's outlive a fork. */
__attribute__((constructor)) static void copy_alone(void)
{
    const char *of = getenv(COPY_OF), *to = getenv(COPY_TO);
    if (of == NULL || to == NULL)
        return;
    struct store_env *own = store_env_new(8u << 20, 1);
    struct store_sums *sums = calloc(1, sizeof *sums);
    struct store *st;
    struct err why;
    if (sums == NULL || store_open(own, of, false, &st, &why) != ERR_OK ||
        write(TOLD_FD, "x", 1) != 1)
        _exit(3);
    _exit(store_copy(own, st, to, 700, NULL, sums, &why) != ERR_OK);
}

TEST(copy, kill_9_leaves_no_copy_or_a_whole_one)
{
    (void)state;
    const unsigned n_kills = test_is_long() ? 50 : TEST_SANITIZED ? 2 : 6;
    unsigned whole = 0;
    struct store *st;
    struct store_sums *sums = calloc(1, sizeof *sums);
    begin_folder();
    OK(store_open(env, source, true, &st, e));
    fill(st, 1500);
    const uint64_t began_us = clock_mono_us();
    OK(store_copy(env, st, target, 700, NULL, sums, e));
    const uint64_t takes_us = clock_mono_us() - began_us;
    OK(file_remove_tree(target, e));
    store_close(st);
    for (unsigned i = 0; i < n_kills; i++) {
        int ends[2];
        char c;
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        if (pid == 0) {
            (void)close(ends[0]);
            (void)dup2(ends[1], TOLD_FD);
            (void)setenv(COPY_OF, source, 1);
            (void)setenv(COPY_TO, target, 1);
            (void)execl("/proc/self/exe", "copy", NULL);
            _exit(4);
        }
        (void)close(ends[1]);
        assert_int_equal(read(ends[0], &c, 1), 1);
        (void)close(ends[0]);
        /* it ends where it is by now: the moments are spread over a whole copy */
        (void)usleep((useconds_t)(i * takes_us / n_kills));
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        if (access(target, F_OK) == 0) {
            whole++;
            assert_checked(env, target);
            OK(file_remove_tree(target, e));
        }
    }
    print_message("%u of %u were whole\n", whole, n_kills);
    OK(store_open(env, source, false, &st, e));
    OK(store_copy(env, st, target, 700, NULL, sums, e));
    store_close(st);
    assert_checked(env, target);
    assert_checked(env, source);
    OK(file_remove_tree(root, e));
    free(sums);
}

/* ---- the system's records ---- */

TEST(copy, records_are_copied_as_they_are)
{
    (void)state;
    struct records *r, *copy;
    CLEANUP_BUF struct buf b = BUF_INIT(100);
    begin_folder();
    OK(records_open(source, &r, e));
    OK(records_put(r, SV_LIT("k"), SV_LIT("v"), e));
    OK(records_put_unsynced(r, SV_LIT("l"), SV_LIT("w"), e));
    OK(records_snapshot(r, target, e));
    OK(records_put(r, SV_LIT("k"), SV_LIT("later"), e));
    records_close(r);
    OK(records_open(target, &copy, e));
    OK(records_get(copy, SV_LIT("k"), &b, e));
    OK(records_get(copy, SV_LIT("l"), &b, e));
    assert_sv(buf_sv(&b), SV_LIT("vw"));
    records_close(copy);
    OK(file_remove_tree(root, e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(copy, kill_9_leaves_no_copy_or_a_whole_one),
        T(copy, random_histories_go_back_to_any_commit_and_go_on_from_there),
        T(copy, is_exact_while_others_write),
        T(copy, that_fails_leaves_nothing),
        T(copy, records_are_copied_as_they_are),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
