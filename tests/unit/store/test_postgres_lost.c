/* Bad days of the engine on PostgreSQL: what was under way when the connection ended is there once
 * or not at all, a server that is frozen holds nobody for ever, and a database that has lost its
 * newest commits is found out. */
#include "test.h"

#include "store/checking.h"
#include "store/cutting_proxy.h"
#include "store/last.h"
#include "store/postgres_standby.h"
#include "store/threads.h"

#include <dirent.h>

static struct store_env *env;
static fhir_type patient;

static struct fhir_body body(char text[128], int n)
{
    static const char head[] = "{\"resourceType\":\"Patient\",\"id\":\"x\"";
    int len = snprintf(text, 128, "%s,\"n\":%d}", head, n);
    return (struct fhir_body){ sv_make(text, (size_t)len), sizeof head - 1, FHIR_HOLE_NO_META };
}

static err_code put(struct store *st, const char *id, struct store_commit *c, struct err *e)
{
    char text[128];
    struct store_write w = { .type = patient,
                             .id = sv_from(id),
                             .method = STORE_METHOD_UPDATE,
                             .body = body(text, 1),
                             .index = plain_index(patient) };
    return store_commit(st, &w, 1, c, e);
}

static struct store_bulk *load(struct store *st, const char *id)
{
    char text[128];
    struct store_bulk *b;
    struct store_bulk_item it = { patient, sv_from(id), body(text, 2), 0, plain_index(patient) };
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, &it, 1, e));
    return b;
}

static uint64_t version_of(struct store *st, const char *id)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store_version v;
    struct err e;
    err_code rc = store_get(st, patient, sv_from(id), STORE_NOW, a, &v, &e);
    assert_true(rc == ERR_OK || rc == ERR_NOT_FOUND);
    return rc == ERR_OK ? v.version : 0;
}

/* By the table of loads that the process keeps; one read goes by the server's. */
static bool is_scanned(struct store *st, const char *id)
{
    struct store_cursor *c;
    struct store_version v;
    struct err why;
    bool found = false;
    OK(store_scan(st, &(struct store_range){ .type = patient }, STORE_NOW, &c, e));
    while (store_cursor_next(c, &v, &why) == ERR_OK)
        found |= sv_eq_cstr(v.id, id);
    store_cursor_close(c);
    return found;
}

/* ---- connections that end ---- */

static bool behind_proxy(struct proxy *p, char uri[256])
{
    if (pg_server_uri() == NULL || pg_server.pid == 0)
        return false;
    proxy_start(p, pg_server.dir);
    (void)snprintf(uri, 256, "postgresql://fhirlake@/postgres?host=%s/cut%08llx", p->dir,
                   (unsigned long long)(rng_u64() & UINT32_MAX));
    return true;
}

TEST(postgres_lost, a_commit_whose_answer_is_lost_is_written_once)
{
    (void)state;
    char uri[256];
    struct store *st;
    struct store_commit c;
    struct proxy p;
    if (!behind_proxy(&p, uri))
        return;
    OK(store_open(env, uri, true, &st, e));
    OK(put(st, "a", &c, e));
    for (uint64_t v = 1; v <= 4; v++) {
        atomic_store(&p.cut, v % 2 ? CUT_AFTER : CUT_BEFORE);
        OK(put(st, "a", &c, e));
        assert_int_equal(atomic_load(&p.cut), CUT_NEVER);
        assert_int_equal(c.t, v + 1);
        assert_int_equal(last_of(st).t, v + 1);
        assert_int_equal(version_of(st, "a"), v + 1);
    }
    store_close(st);
    pg_drop(uri);
    proxy_stop(&p);
}

TEST(postgres_lost, a_load_whose_answer_is_lost_is_published_once_with_its_note)
{
    (void)state;
    char uri[256];
    struct store *st;
    struct store_commit c;
    struct proxy p;
    if (!behind_proxy(&p, uri))
        return;
    OK(store_open(env, uri, true, &st, e));
    for (int i = 0; i < 4; i++) {
        CLEANUP_BUF struct buf note = BUF_INIT(9);
        const char text[] = { (char)('0' + i), 0 };
        struct store_bulk *two[] = { load(st, "a"), load(st, "b") };
        atomic_store(&p.cut, i % 2 ? CUT_AFTER : CUT_BEFORE);
        OK(store_bulk_publish_all(two, 2, SV_LIT("n"), sv_from(text), &c, e));
        assert_int_equal(atomic_load(&p.cut), CUT_NEVER);
        assert_int_equal(c.t, 2 * i + 2);
        assert_int_equal(last_of(st).t, c.t);
        assert_int_equal(version_of(st, "b"), i + 1);
        OK(store_note_get(st, SV_LIT("n"), &note, e));
        assert_true(sv_eq_cstr(buf_sv(&note), text));
        /* a note alone */
        struct store_bulk *none;
        OK(store_bulk_begin(st, &none, e));
        atomic_store(&p.cut, i % 2 ? CUT_AFTER : CUT_BEFORE);
        OK(store_bulk_publish(&none, SV_LIT("m"), sv_from(text), &c, e));
        assert_int_equal(c.t, 2 * i + 2);
    }
    store_close(st);
    pg_drop(uri);
    proxy_stop(&p);
}

TEST(postgres_lost, a_batch_of_records_whose_answer_is_lost_is_written_once)
{
    (void)state;
    char uri[256];
    struct records *r;
    struct proxy p;
    if (!behind_proxy(&p, uri))
        return;
    OK(records_open(uri, &r, e));
    for (int i = 0; i < 4; i++) {
        char key[8], rev[128];
        (void)snprintf(key, sizeof key, "k%d", i);
        const struct records_write w[] = { { RECORDS_PUT_IF_ABSENT, sv_from(key), SV_LIT("new") },
                                           { RECORDS_PUT, SV_LIT("x"), sv_from(key) } };
        atomic_store(&p.cut, i % 2 ? CUT_AFTER : CUT_BEFORE);
        /* a second time it would be there already */
        OK(records_write(r, w, 2, e));
        assert_int_equal(atomic_load(&p.cut), CUT_NEVER);
        FAILS(ERR_EXISTS, records_write(r, w, 2, e));
        (void)snprintf(rev, sizeof rev, "select rev from records where k = 'x'");
        assert_int_equal(pg_sql(uri, rev), i + 1);
        atomic_store(&p.cut, i % 2 ? CUT_AFTER : CUT_BEFORE);
        OK(records_put_unsynced(r, SV_LIT("y"), sv_from(key), e));
        assert_int_equal(atomic_load(&p.cut), CUT_NEVER);
    }
    records_close(r);
    pg_drop(uri);
    proxy_stop(&p);
}

/* ---- a standby that is waited for ---- */

struct waiting {
    struct store *st;
    struct store_commit c;
    atomic_bool done;
};

/* The process of the server that waits; 0: the commit is acknowledged. */
static pid_t wait_for_syncrep(const char *uri, const struct waiting *x)
{
    pid_t pid = 0;
    while (pid == 0 && !atomic_load(&x->done)) {
        (void)sched_yield();
        pid = (pid_t)pg_sql(uri, "select pid from pg_stat_activity where wait_event = 'SyncRep'");
    }
    return pid;
}

static void *commit_and_wait(void *arg)
{
    struct waiting *x = arg;
    THREAD_OK(put(x->st, "a", &x->c, e));
    atomic_store(&x->done, true);
    return NULL;
}

TEST(postgres_lost, what_a_server_did_not_wait_for_its_standby_for_is_not_acknowledged)
{
    (void)state;
    char uri[256], cancel[64];
    struct waiting x = { 0 };
    pthread_t t;
    if (pg_server_uri() == NULL || pg_server.pid == 0 || !pg_new_place(uri, sizeof uri))
        return;
    OK(store_open(env, uri, true, &x.st, e));
    OK(put(x.st, "a", &x.c, e));
    pg_wait_for_standbys(uri);
    assert_int_equal(pthread_create(&t, NULL, commit_and_wait, &x), 0);
    const pid_t pid = wait_for_syncrep(uri, &x);
    /* it commits then, and warns */
    (void)snprintf(cancel, sizeof cancel, "select pg_cancel_backend(%d)", (int)pid);
    (void)pg_sql(uri, cancel);
    while (pg_sql(uri, "select t from clock") != 2)
        (void)sched_yield();
    (void)wait_for_syncrep(uri, &x);
    const bool early = atomic_load(&x.done);
    pg_wait_for_no_standby(uri);
    pthread_join(t, NULL);
    assert_threads_were_fine();
    assert_false(early);
    assert_int_equal(x.c.t, 2);
    assert_int_equal(version_of(x.st, "a"), 2);
    store_close(x.st);
    pg_drop(uri);
}

/* ---- a server that is frozen ---- */

static void signal_server(int sig)
{
    /* new ones cannot come while their parent stands still */
    assert_int_equal(kill(pg_server.pid, sig), 0);
    DIR *d = opendir("/proc");
    assert_non_null(d);
    for (const struct dirent *x; (x = readdir(d)) != NULL;) {
        char path[300], line[512];
        int parent = 0;
        (void)snprintf(path, sizeof path, "/proc/%s/stat", x->d_name);
        FILE *f = x->d_name[0] >= '0' && x->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (f == NULL)
            continue;
        const char *at = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
        if (at)
            parent = (int)strtol(at + 4, NULL, 10);
        (void)fclose(f);
        if (parent == (int)pg_server.pid)
            (void)kill((pid_t)strtol(x->d_name, NULL, 10), sig);
    }
    (void)closedir(d);
}

static void set_timeout(unsigned seconds)
{
    const struct store_engine *engine;
    const char *place;
    const struct store_link link = { .n_connections = STORE_CONNECTIONS_USUAL,
                                     .timeout_s = seconds };
    OK(store_engine_of("postgresql://x/y/z", &engine, &place, e));
    engine->link(&link);
}

struct frozen {
    struct store *st;
    struct store_commit c;
};

static void *commit_meanwhile(void *arg)
{
    struct frozen *x = arg;
    THREAD_OK(put(x->st, "a", &x->c, e));
    return NULL;
}

TEST(postgres_lost,
     a_server_that_is_frozen_holds_nobody_for_ever_and_what_was_under_way_is_done_once)
{
    (void)state;
    char uri[256];
    struct frozen x;
    struct store *st;
    struct store_commit c;
    pthread_t t;
    if (pg_server_uri() == NULL || pg_server.pid == 0 || !pg_new_place(uri, sizeof uri))
        return;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store_version v;
    struct err why;
    OK(store_open(env, uri, true, &st, e));
    OK(put(st, "a", &c, e));
    /* a second opening has little time: a server that is merely slow may have too little of it */
    set_timeout(1);
    while (store_open(env, uri, false, &x.st, &why) != ERR_OK)
        assert_int_equal(why.code, ERR_UNAVAILABLE);
    while (store_get(x.st, patient, SV_LIT("a"), STORE_NOW, a, &v, &why) != ERR_OK)
        assert_int_equal(why.code, ERR_UNAVAILABLE);
    assert_int_equal(v.version, 1);
    signal_server(SIGSTOP);
    assert_int_equal(pthread_create(&t, NULL, commit_meanwhile, &x), 0);
    const err_code rc = store_get(x.st, patient, SV_LIT("a"), STORE_NOW, a, &v, &why);
    set_timeout(0);
    signal_server(SIGCONT);
    assert_int_equal(rc, ERR_UNAVAILABLE);
    pthread_join(t, NULL);
    /* it was cut off in front of its COMMIT, or went on */
    const bool written = !thread_failure.any;
    thread_failure.any = false;
    store_close(x.st);
    assert_int_equal(version_of(st, "a"), written ? 2 : 1);
    OK(put(st, "a", &c, e));
    assert_int_equal(c.t, written ? 3 : 2);
    store_close(st);
    pg_drop(uri);
}

/* ---- commits that the database has lost ---- */

TEST(postgres_lost, a_commit_that_another_one_has_taken_the_place_of_is_found_out)
{
    (void)state;
    char uri[256];
    uint64_t marks[3], again;
    struct store *st;
    struct store_commit c;
    struct store_bulk *b;
    if (!pg_new_place(uri, sizeof uri))
        return;
    OK(store_open(env, uri, true, &st, e));
    OK(put(st, "a", &c, e));
    for (unsigned i = 0; i < 2; i++) {
        b = load(st, i ? "c" : "b");
        OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    }
    assert_true(is_scanned(st, "c"));
    for (uint64_t t = 1; t <= 3; t++) {
        OK(store_mark(st, t, &marks[t - 1], e));
        assert_true(marks[t - 1] != 0);
        OK(store_mark_holds(st, t, marks[t - 1], e));
        FAILS(ERR_PRECONDITION, store_mark_holds(st, t, marks[t - 1] + 1, e));
        OK(store_mark_holds(st, t, 0, e));
    }
    OK(store_mark(st, 0, &again, e));
    assert_int_equal(again, 0);
    FAILS(ERR_NOT_FOUND, store_mark(st, 4, &again, e));
    /* a standby that had seen the first commit takes over */
    (void)pg_sql(uri, "with k as (delete from commits where t > 1) update clock set t = 1");
    FAILS(ERR_PRECONDITION, store_mark_holds(st, 3, marks[2], e));
    assert_false(is_scanned(st, "c"));
    assert_int_equal(version_of(st, "c"), 0);
    assert_int_equal(last_of(st).t, 1);
    OK(store_mark_holds(st, 1, marks[0], e));
    /* the same t again, of other loads: what this process knew of the former ones is forgotten */
    for (unsigned i = 0; i < 2; i++) {
        b = load(st, i ? "e" : "d");
        OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    }
    assert_int_equal(c.t, 3);
    assert_true(is_scanned(st, "e"));
    assert_false(is_scanned(st, "c"));
    FAILS(ERR_PRECONDITION, store_mark_holds(st, 3, marks[2], e));
    OK(store_mark_holds(st, 1, marks[0], e));
    /* once more, and others are further than this process was before it looks again */
    struct store *other;
    (void)pg_sql(uri, "with k as (delete from commits where t > 1) update clock set t = 1");
    OK(store_open(env, uri, false, &other, e));
    for (unsigned i = 0; i < 3; i++) {
        b = load(other, i == 0 ? "f" : i == 1 ? "g" : "h");
        OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
    }
    assert_int_equal(c.t, 4);
    assert_true(is_scanned(st, "g") && is_scanned(st, "h"));
    assert_false(is_scanned(st, "e"));
    store_close(other);
    store_close(st);
    pg_drop(uri);
}

/* A sequence that went back gives the number of a load to another one. */
TEST(postgres_lost, a_load_whose_number_is_another_ones_now_is_not_taken_for_it)
{
    (void)state;
    char uri[256], text[128];
    struct store *st;
    struct store_commit c;
    struct store_bulk *mine, *empty;
    struct store_bulk_item it = { patient, SV_LIT("b"), body(text, 1), 0, plain_index(patient) };
    if (!pg_new_place(uri, sizeof uri))
        return;
    OK(store_open(env, uri, true, &st, e));
    mine = load(st, "a");
    OK(store_bulk_begin(st, &empty, e));
    (void)pg_sql(uri, "update open_loads set who = gen_random_uuid()");
    FAILS(ERR_CONFLICT, store_bulk_publish(&mine, SV_NONE, SV_NONE, &c, e));
    FAILS(ERR_CONFLICT, store_bulk_fill(empty, &it, 1, e));
    assert_int_equal(pg_sql(uri, "select count(*) from ids where id = 'b'"), 0);
    assert_int_equal(last_of(st).t, 0);
    store_bulk_abort(empty);
    store_close(st);
    pg_drop(uri);
}

int main(void)
{
    patient = fhir_type_find(SV_LIT("Patient"));
    /* before there are threads */
    (void)plain_index(patient);
    const struct CMUnitTest tests[] = {
        T(postgres_lost, a_commit_whose_answer_is_lost_is_written_once),
        T(postgres_lost, a_load_whose_answer_is_lost_is_published_once_with_its_note),
        T(postgres_lost, a_batch_of_records_whose_answer_is_lost_is_written_once),
        T(postgres_lost, what_a_server_did_not_wait_for_its_standby_for_is_not_acknowledged),
        T(postgres_lost,
          a_server_that_is_frozen_holds_nobody_for_ever_and_what_was_under_way_is_done_once),
        T(postgres_lost, a_commit_that_another_one_has_taken_the_place_of_is_found_out),
        T(postgres_lost, a_load_whose_number_is_another_ones_now_is_not_taken_for_it),
    };
    env = store_env_new(8 << 20, 1);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    store_env_free(env);
    return rc;
}
