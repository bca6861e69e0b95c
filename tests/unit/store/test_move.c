/* A data store made once more, on each engine out of each other: after random histories it answers
 * as before, as of every commit, and goes on. A move that is killed is gone on with. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/again.h"
#include "store/answers.h"
#include "store/checking.h"
#include "store/history.h"
#include "store/last.h"
#include "store/memory/memory_private.h"
#include "store/move.h"
#include "store/postgres.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR_MS 3600000

/* ---- places ---- */

struct place {
    char uri[256];
    bool is_folder;
};

static struct place new_folder(void)
{
    struct place p = { .is_folder = true };
    (void)snprintf(p.uri, sizeof p.uri, TEST_TMP "/fhirlake-move-%016llx",
                   (unsigned long long)rng_u64());
    return p;
}

/* A place of PostgreSQL; a folder where there is none. */
static struct place new_database(void)
{
    struct place p = { .is_folder = false };
    return pg_new_place(p.uri, sizeof p.uri) ? p : new_folder();
}

static struct store *open_place(const struct place *p)
{
    struct store *st;
    OK(store_open(env, p->uri, true, &st, e));
    return st;
}

static void close_place(const struct place *p, struct store *st)
{
    store_close(st);
    if (p->is_folder) {
        assert_checked(env, p->uri);
        OK(file_remove_tree(p->uri, e));
    } else {
        pg_drop(p->uri);
    }
}

/* ---- histories ---- */

static void see_all_params(struct store *st)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    for (int k = 0; k < 2; k++) {
        const struct store_range all = { .type = k ? patient : observation };
        struct store_cursor *c;
        struct store_version v;
        struct err why;
        OK(store_scan(st, &all, STORE_NOW, &c, e));
        while (store_cursor_next(c, &v, &why) == ERR_OK)
            see_params(v.type, index_of(a, v.type, v.body.json));
        store_cursor_close(c);
    }
}

static void live(struct history *h, unsigned steps)
{
    for (unsigned step = 0; step < steps; step++) {
        h->a = arena_new(1 << 20);
        const unsigned what = rnd(100);
        if (what < 60)
            commit_some(h);
        else if (what < 82 && h->n_open < LOADS_MOST)
            load_some(h);
        else if (h->n_open)
            publish_one(h);
        arena_free(h->a);
    }
}

static struct store *make_oracle(unsigned seed, unsigned steps)
{
    struct history h = { 0 };
    rnd_state = seed;
    OK(store_open(NULL, "memory:", true, &h.of[0], e));
    live(&h, steps);
    give_up(&h);
    see_all_params(h.of[0]);
    return h.of[0];
}

static void compare_all(struct store *a, struct store *b)
{
    assert_int_equal(last_of(a).instant_ms, last_of(b).instant_ms);
    for (int i = 0; i < 6; i++)
        compare(a, b);
    check_plan(b, 1);
    check_plan(b, 1000);
    for (int k = 0; k < 2; k++) {
        const fhir_type type = k ? patient : observation;
        compare_instants(a, b, type);
        compare_index(a, b, type, STORE_NOW);
        compare_index(a, b, type, last_of(a).t / 2);
    }
}

static void check_moved(struct store *st, const struct store_moved *m)
{
    struct store_commit at;
    uint64_t n, resources = 0;
    assert_int_equal(m->n_commits, last_of(st).t);
    for (int k = 0; k < 2; k++) {
        const fhir_type type = k ? patient : observation;
        OK(store_count(st, type, 0, SV_NONE, &n, &at, e));
        assert_int_equal(m->types[type].n_resources, n);
        resources += n;
    }
    assert_int_equal(m->n_resources, resources);
    assert_int_equal(m->n_versions,
                     m->types[patient].n_versions + m->types[observation].n_versions);
    assert_true(m->n_erased == 0 && m->n_versions > 0);
}

TEST(move, a_random_history_answers_the_same_on_each_engine_and_goes_on)
{
    (void)state;
    const unsigned n_seeds = test_is_long() ? 30 : TEST_SANITIZED ? 1 : 3;
    for (unsigned seed = 1; seed <= n_seeds; seed++) {
        const struct place places[] = { new_folder(), new_database(), new_database(),
                                        new_folder() };
        struct store *oracle = make_oracle(seed, 120 + 60 * seed), *from = oracle;
        struct store_moved m, first = { 0 };
        struct history h = { .of = { oracle } };
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            struct store *to = open_place(&places[i]);
            OK(store_move(from, to, NULL, NULL, &m, e));
            check_moved(oracle, &m);
            if (i == 0)
                first = m;
            assert_memory_equal(m.types, first.types, sizeof m.types);
            compare_all(oracle, to);
            if (from != oracle)
                close_place(&places[i - 1], from);
            from = to;
        }
        h.of[1] = from;
        live(&h, 60);
        give_up(&h);
        for (int i = 0; i < 6; i++)
            compare(oracle, from);
        close_place(&places[3], from);
        store_close(oracle);
    }
}

TEST(move, what_was_written_since_comes_with_the_next_call)
{
    (void)state;
    const struct place place = new_database();
    struct history h = { .of = { make_oracle(7, 60) } };
    struct store *to = open_place(&place);
    struct store_moved m;
    OK(store_move(h.of[0], to, NULL, NULL, &m, e));
    assert_int_equal(m.n_before, 0);
    const uint64_t t = last_of(to).t;
    live(&h, 60);
    give_up(&h);
    OK(store_move(h.of[0], to, NULL, NULL, &m, e));
    assert_int_equal(m.n_before, t);
    assert_true(m.n_commits > t);
    compare_all(h.of[0], to);
    close_place(&place, to);
    store_close(h.of[0]);
}

TEST(move, a_store_without_commits_is_moved)
{
    (void)state;
    const struct place place = new_database();
    struct store *from, *to = open_place(&place);
    struct store_moved m;
    OK(store_open(NULL, "memory:", true, &from, e));
    OK(store_move(from, to, NULL, NULL, &m, e));
    assert_true(m.n_commits == 0 && m.n_versions == 0);
    close_place(&place, to);
    store_close(from);
}

TEST(move, an_instant_that_was_closed_stays_closed)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        const struct place place = k ? new_folder() : new_database();
        struct history h = { .of = { make_oracle(3, 20) } };
        struct store *to = open_place(&place);
        struct store_moved m;
        const int64_t floor_ms = last_of(h.of[0]).instant_ms + HOUR_MS;
        OK(store_again_end(h.of[0], floor_ms, e));
        OK(store_move(h.of[0], to, NULL, NULL, &m, e));
        h.of[1] = to;
        const uint64_t t = last_of(to).t;
        while (last_of(to).t == t)
            live(&h, 1);
        give_up(&h);
        assert_true(last_of(to).instant_ms > floor_ms);
        close_place(&place, to);
        store_close(h.of[0]);
    }
}

static struct store_write write_of(const char *id, uint64_t before)
{
    return (struct store_write){ .type = patient,
                                 .id = sv_from(id),
                                 .method = STORE_METHOD_UPDATE,
                                 .body = { SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"a\"}"),
                                           32, FHIR_HOLE_NO_META },
                                 .index = plain_index(patient),
                                 .condition = STORE_IF_NEWEST,
                                 .if_version = before };
}

TEST(move, commits_of_one_call_are_written_whole_or_not_at_all)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        const struct place place = k == 1 ? new_folder() : new_database();
        struct store_write writes[] = { write_of("a", 0), write_of("b", 7), write_of("c", 0) };
        struct store_again commits[] = { { &writes[0], 1, 1000, { 0 } },
                                         { &writes[1], 1, 2000, { 0 } },
                                         { &writes[2], 1, 2000, { 0 } } };
        struct store_commit_row rows[4];
        struct store *st;
        size_t n;
        if (k == 0)
            OK(store_open(NULL, "memory:", true, &st, e));
        else
            st = open_place(&place);
        FAILS(ERR_PRECONDITION, store_again(st, commits, 3, e));
        assert_int_equal(last_of(st).t, 0);
        writes[1].if_version = 0;
        OK(store_again(st, commits, 3, e));
        OK(store_commits(st, 0, rows, 4, &n, e));
        assert_int_equal(n, 3);
        for (size_t i = 0; i < n; i++)
            assert_true(rows[i].t == i + 1 && rows[i].instant_ms == commits[i].instant_ms &&
                        rows[i].count == 1 && !rows[i].is_load);
        /* no commit is in front of those that are there */
        writes[0] = write_of("d", 0);
        FAILS(ERR_CONFLICT, store_again(st, commits, 1, e));
        if (k == 0)
            store_close(st);
        else
            close_place(&place, st);
    }
}

/* ---- what is not the same ---- */

TEST(move, what_is_there_and_is_no_copy_is_refused)
{
    (void)state;
    const struct place place = new_database();
    struct store *from = make_oracle(4, 40), *other = make_oracle(5, 20), *to = open_place(&place);
    struct store_moved m;
    assert_true(last_of(from).t >= last_of(other).t);
    OK(store_move(other, to, NULL, NULL, &m, e));
    /* their clocks may have read the same */
    ((struct memory *)from)->commits[last_of(other).t - 1].instant_ms -= HOUR_MS;
    FAILS(ERR_CONFLICT, store_move(from, to, NULL, NULL, &m, e));
    /* and one that has more */
    FAILS(ERR_CONFLICT, store_move(other, from, NULL, NULL, &m, e));
    close_place(&place, to);
    store_close(other);
    store_close(from);
}

TEST(move, a_difference_is_seen)
{
    (void)state;
    struct store *from = make_oracle(6, 40), *to;
    struct store_moved m;
    OK(store_open(NULL, "memory:", true, &to, e));
    OK(store_move(from, to, NULL, NULL, &m, e));
    struct memory *copy = (struct memory *)to;
    struct mem_version *v = &copy->versions[0];
    while (v->method == STORE_METHOD_DELETE || v->erased)
        v++;
    char *at = &v->json[v->body.json.len - 3];
    *at ^= 1;
    FAILS(ERR_CORRUPT, store_move(from, to, NULL, NULL, &m, e));
    *at ^= 1;
    OK(store_move(from, to, NULL, NULL, &m, e));
    v->commit.instant_ms++;
    FAILS(ERR_CORRUPT, store_move(from, to, NULL, NULL, &m, e));
    v->commit.instant_ms--;
    v->method = v->method == STORE_METHOD_UPDATE ? STORE_METHOD_CREATE : STORE_METHOD_UPDATE;
    FAILS(ERR_CORRUPT, store_move(from, to, NULL, NULL, &m, e));
    store_close(to);
    store_close(from);
}

/* ---- what was erased ---- */

static store_number number_at(struct store *st, uint64_t t)
{
    const struct mem_version *v = ((struct memory *)st)->versions;
    while (v->commit.t != t)
        v++;
    return v->number;
}

TEST(move, a_resource_that_was_erased_stays_behind_and_its_commits_keep_their_places)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        const struct place places[] = { new_folder(), k ? new_folder() : new_database() };
        struct store *oracle = make_oracle(8, 90), *from = open_place(&places[0]);
        struct store *to = open_place(&places[1]);
        struct store_moved m;
        bool any;
        OK(store_move(oracle, from, NULL, NULL, &m, e));
        const uint64_t n = m.n_versions;
        /* of an online commit and of a load */
        for (uint64_t t = 1; t <= 9; t += 4) {
            struct store_version v;
            CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
            store_number number = number_at(oracle, t);
            OK(store_get_number(oracle, number, t, a, &v, e));
            OK(store_erase(oracle, number, 0, SV_NONE, &any, e));
            OK(store_number_of(from, v.type, v.id, &number, e));
            OK(store_erase(from, number, 0, SV_NONE, &any, e));
        }
        OK(store_erase_finish(from, NULL, e));
        OK(store_erase_finish(oracle, NULL, e));
        OK(store_move(from, to, NULL, NULL, &m, e));
        assert_true(m.n_erased > 0 && m.n_versions == n - m.n_erased);
        assert_int_equal(m.n_commits, last_of(oracle).t);
        /* the log of the source has places of what was erased, so it is left out */
        for (uint64_t t = 1; t <= last_of(to).t; t += 3)
            for (int type = 0; type < 2; type++) {
                compare_scans(from, to, type ? patient : observation, t);
                compare_one(from, to, type ? patient : observation, sv_from(random_id()), t);
            }
        close_place(&places[1], to);
        close_place(&places[0], from);
        store_close(oracle);
    }
}

TEST(move, a_history_with_a_hole_is_refused)
{
    (void)state;
    const struct place place = new_database();
    struct store *from, *to = open_place(&place);
    struct store_commit c;
    struct store_moved m;
    bool any;
    OK(store_open(NULL, "memory:", true, &from, e));
    for (int i = 0; i < 3; i++) {
        struct store_write w = write_of("a", (uint64_t)i);
        OK(store_commit(from, &w, 1, &c, e));
    }
    OK(store_erase(from, number_at(from, 2), 2, SV_NONE, &any, e));
    FAILS(ERR_UNSUPPORTED, store_move(from, to, NULL, NULL, &m, e));
    close_place(&place, to);
    store_close(from);
}

/* ---- kill -9 ---- */

/* store_move_fn: a byte for each. */
static void tell_byte(void *ctx, const struct store_moving *p)
{
    (void)p;
    (void)!write(*(int *)ctx, "x", 1);
}

/* What a child of this program does: `--move FROM TO FD`. A fork alone lacks RocksDB's threads. */
static int move_as_child(const char *from_uri, const char *to_uri, int fd)
{
    struct store *from, *to;
    struct store_moved m;
    env = store_env_new(8u << 20, 1);
    if (store_open(env, from_uri, false, &from, NULL) != ERR_OK ||
        store_open(env, to_uri, true, &to, NULL) != ERR_OK)
        return 2;
    return store_move(from, to, tell_byte, &fd, &m, NULL) == ERR_OK ? 0 : 3;
}

/* True: it came to its end. Else it was killed some time behind so many steps. */
static bool move_until(const char *from, const char *to, unsigned steps)
{
    int fds[2], status;
    char c, fd[16];
    assert_int_equal(pipe(fds), 0);
    (void)snprintf(fd, sizeof fd, "%d", fds[1]);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test_move", "--move", from, to, fd, (char *)NULL);
        _exit(9);
    }
    close(fds[1]);
    while (steps && read(fds[0], &c, 1) == 1)
        steps--;
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(fds[0]);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFEXITED(status);
}

TEST(move, what_kill_9_leaves_is_gone_on_with)
{
    (void)state;
    const unsigned n_runs = test_is_long() ? 20 : 1;
    unsigned n_killed = 0;
    for (unsigned run = 0; run < 2 * n_runs; run++) {
        const struct place old = new_folder();
        const struct place place = run % 2 ? new_database() : new_folder();
        struct store *oracle = make_oracle(20 + run, 150), *from = open_place(&old);
        struct store_moved m;
        OK(store_move(oracle, from, NULL, NULL, &m, e));
        store_close(from);
        for (unsigned k = 0; k < 6 && !move_until(old.uri, place.uri, 1 + rnd(12)); k++)
            n_killed++;
        from = open_place(&old);
        struct store *to = open_place(&place);
        OK(store_move(from, to, NULL, NULL, &m, e));
        compare_all(oracle, to);
        close_place(&place, to);
        close_place(&old, from);
        store_close(oracle);
    }
    print_message("%u kills\n", n_killed);
    assert_true(n_killed > 0);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--move") == 0)
        return move_as_child(argv[2], argv[3], (int)strtol(argv[4], NULL, 10));
    const struct CMUnitTest tests[] = {
        T(move, what_kill_9_leaves_is_gone_on_with),
        T(move, a_random_history_answers_the_same_on_each_engine_and_goes_on),
        T(move, what_was_written_since_comes_with_the_next_call),
        T(move, a_store_without_commits_is_moved),
        T(move, an_instant_that_was_closed_stays_closed),
        T(move, commits_of_one_call_are_written_whole_or_not_at_all),
        T(move, what_is_there_and_is_no_copy_is_refused),
        T(move, a_difference_is_seen),
        T(move, a_resource_that_was_erased_stays_behind_and_its_commits_keep_their_places),
        T(move, a_history_with_a_hole_is_refused),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
