/* Data in one database, the clock row in another one, by postgres_fdw, and a pause between the two
 * commits of one write: the clock's is done, and the data's is held. Without a gate a reader finds
 * the new t, and not what belongs to it; with one he never does.
 *
 * The pause: the database of the data waits for a standby that there is not. */
#include "test.h"

#include "base/rng.h"
#include "store/history.h"
#include "store/last.h"
#include "store/postgres/postgres_private.h"
#include "store/postgres_standby.h"

static char uri[256], elsewhere[256];

__attribute__((format(printf, 2, 3))) static long sql_at(const char *at, const char *format, ...)
{
    char sql[2048];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    return pg_sql(at, sql);
}

/* A store whose clock row is in another database. */
static bool begin(bool gated)
{
    struct store *st;
    const char *name;
    if (!pg_new_place(uri, sizeof uri) || pg_server.dir[0] == 0)
        return false;
    OK(store_open(env, uri, true, &st, e));
    store_close(st);
    name = strrchr(uri, '/') + 1;
    (void)sql_at(uri, "create database clock_%s", name);
    (void)snprintf(elsewhere, sizeof elsewhere, "postgresql://fhirlake@/clock_%s?host=%s/%s", name,
                   pg_server.dir, name);
    (void)sql_at(elsewhere, "create schema fl_%s", name);
    (void)sql_at(elsewhere,
                 "create table fl_%s.clock as select 0::bigint as t, 0::bigint as instant_ms, "
                 "0::bigint as floor_ms, %d::bigint as visible, %d as layout",
                 name, gated, PG_LAYOUT);
    (void)pg_sql(uri, "create extension if not exists postgres_fdw schema public");
    /* there nothing waits for a standby */
    (void)sql_at(uri,
                 "create server clock_%s foreign data wrapper postgres_fdw options (host '%s', "
                 "dbname 'clock_%s', options '-c synchronous_commit=local')",
                 name, pg_server.dir, name);
    (void)sql_at(uri, "create user mapping for fhirlake server clock_%s options (user 'fhirlake')",
                 name);
    (void)pg_sql(uri, "alter table clock rename to clock_of_before");
    (void)sql_at(uri,
                 "create foreign table clock(t bigint, instant_ms bigint, floor_ms bigint, visible "
                 "bigint, layout int) server clock_%s options (schema_name 'fl_%s')",
                 name, name);
    return true;
}

static void end(void)
{
    pg_drop(uri);
    (void)sql_at(uri, "drop server clock_%s cascade", strrchr(uri, '/') + 1);
    (void)sql_at(uri, "drop database clock_%s with (force)", strrchr(uri, '/') + 1);
}

/* ---- the pause ---- */

static void wait_until_held(void)
{
    while (pg_sql(uri, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'") == 0)
        (void)usleep(1000);
}

/* ---- who writes ---- */

struct writer {
    struct store *st;
    struct store_bulk *load; /* NULL: an online commit of two */
    struct store_commit c;
    err_code rc;
    pthread_t thread;
};

static void *write_it(void *arg)
{
    struct writer *w = arg;
    struct arena *a = arena_new(1 << 20);
    struct store_write two[2];
    struct err why;
    for (unsigned i = 0; i < 2; i++) {
        two[i] = (struct store_write){ .type = i ? patient : observation,
                                       .id = i ? SV_LIT("one") : SV_LIT("two"),
                                       .method = STORE_METHOD_UPDATE };
        two[i].body = make(a, two[i].type, two[i].id);
        two[i].index = index_of(a, two[i].type, two[i].body.json);
    }
    w->rc = w->load ? store_bulk_publish(&w->load, SV_NONE, SV_NONE, &w->c, &why)
                    : store_commit(w->st, two, 2, &w->c, &why);
    arena_free(a);
    return NULL;
}

static struct store_bulk *fill(struct store *st)
{
    struct arena *a = arena_new(1 << 20);
    struct store_bulk_item items[3];
    struct store_bulk *b;
    for (unsigned i = 0; i < 3; i++) {
        items[i] = (struct store_bulk_item){ .type = patient, .seq = i };
        items[i].id = arena_fmt(a, "p%u", i);
        items[i].body = make(a, patient, items[i].id);
        items[i].index = index_of(a, patient, items[i].body.json);
    }
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, items, 3, e));
    arena_free(a);
    return b;
}

/* ---- who reads ---- */

/* What an export as of t would have: its ranges are read in the same way. */
static unsigned n_as_of(struct store *st, uint64_t t)
{
    unsigned n = 0;
    for (int k = 0; k < 2; k++) {
        const struct store_range all = { .type = k ? patient : observation };
        struct store_cursor *c;
        struct store_version v;
        struct err why;
        err_code rc;
        OK(store_scan(st, &all, t, &c, e));
        while ((rc = store_cursor_next(c, &v, &why)) == ERR_OK)
            n++;
        assert_int_equal(rc, ERR_EOF);
        store_cursor_close(c);
    }
    return n;
}

static bool is_there(struct store *st, const char *id)
{
    struct arena *a = arena_new(1 << 20);
    struct store_version v;
    struct err why;
    const err_code rc = store_get(st, patient, sv_from(id), STORE_NOW, a, &v, &why);
    arena_free(a);
    return rc == ERR_OK;
}

struct seen {
    uint64_t t;      /* the newest commit, in the pause */
    unsigned before; /* as of it, in the pause */
    unsigned behind; /* as of it, behind the pause */
};

/* One write with a pause in it. */
static struct seen look_on(struct store *writer, struct store *reader, bool load)
{
    struct writer w = { .st = writer, .load = load ? fill(writer) : NULL };
    struct seen s;
    pg_wait_for_standbys(uri);
    assert_int_equal(pthread_create(&w.thread, NULL, write_it, &w), 0);
    wait_until_held();
    s.t = last_of(reader).t;
    s.before = n_as_of(reader, s.t);
    const bool early = is_there(reader, load ? "p1" : "one");
    pg_wait_for_no_standby(uri);
    assert_false(early);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_int_equal(w.rc, ERR_OK);
    /* the reader may keep in memory what it has seen of a commit */
    s.behind = n_as_of(writer, s.t);
    /* what is acknowledged is seen */
    assert_int_equal(last_of(reader).t, w.c.t);
    assert_true(is_there(reader, load ? "p1" : "one"));
    return s;
}

/* A writer and a reader. What the first commit prepares is a commit of its own. */
static void both(struct store *st[2])
{
    struct arena *a = arena_new(1 << 20);
    struct store_commit c;
    struct store_write w = { .type = patient,
                             .id = SV_LIT("zero"),
                             .method = STORE_METHOD_UPDATE,
                             .body = make(a, patient, SV_LIT("zero")) };
    for (unsigned i = 0; i < 2; i++)
        OK(store_open(env, uri, false, &st[i], e));
    OK(store_commit(st[0], &w, 1, &c, e));
    arena_free(a);
}

static void close_both(struct store *st[2])
{
    store_close(st[0]);
    store_close(st[1]);
    end();
}

TEST(postgres_gate, without_one_a_reader_has_a_t_and_not_all_of_its_data)
{
    (void)state;
    struct store *st[2];
    if (!begin(false))
        skip();
    both(st);
    const struct seen one = look_on(st[0], st[1], false), load = look_on(st[0], st[1], true);
    /* the same T, and another answer later: the law is broken */
    assert_true(one.t == 2 && one.before == 1 && one.behind == 3);
    assert_true(load.t == 3 && load.before == 3 && load.behind == 6);
    close_both(st);
}

TEST(postgres_gate, with_one_a_t_has_all_of_its_data)
{
    (void)state;
    struct store *st[2];
    if (!begin(true))
        skip();
    both(st);
    const struct seen one = look_on(st[0], st[1], false), load = look_on(st[0], st[1], true);
    assert_true(one.t == 1 && one.before == 1 && one.behind == 1);
    assert_true(load.t == 2 && load.before == 3 && load.behind == 3);
    assert_int_equal(n_as_of(st[1], 3), 6);
    assert_int_equal(pg_sql(elsewhere, "select visible from clock"), 4);
    close_both(st);
}

/* Its data is there, and it did not come to the gate. */
TEST(postgres_gate, a_writer_that_died_in_front_of_it_is_followed_by_the_next)
{
    (void)state;
    struct store *st[2];
    struct store_commit c;
    struct writer w = { .load = NULL };
    if (!begin(true))
        skip();
    both(st);
    w.st = st[0];
    (void)write_it(&w);
    assert_int_equal(w.rc, ERR_OK);
    (void)pg_sql(elsewhere, "update clock set visible = 2");
    assert_int_equal(last_of(st[1]).t, 1);
    assert_int_equal(n_as_of(st[1], STORE_NOW), 1);
    assert_false(is_there(st[1], "one"));
    /* nothing comes in front of a floor later */
    OK(store_horizon(st[1], &c, e));
    assert_int_equal(c.t, 2);
    assert_int_equal(last_of(st[1]).t, 2);
    /* not all of it: the next one waits until it is */
    (void)pg_sql(elsewhere, "update clock set visible = 2");
    (void)pg_sql(uri, "update commits set count = count + 1 where t = 2");
    w = (struct writer){ .st = st[1] };
    assert_int_equal(pthread_create(&w.thread, NULL, write_it, &w), 0);
    (void)usleep(300000);
    assert_int_equal(last_of(st[0]).t, 1);
    (void)pg_sql(uri, "update commits set count = count - 1 where t = 2");
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_int_equal(w.rc, ERR_OK);
    assert_int_equal(w.c.t, 3);
    assert_int_equal(last_of(st[0]).t, 3);
    close_both(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(postgres_gate, without_one_a_reader_has_a_t_and_not_all_of_its_data),
        T(postgres_gate, with_one_a_t_has_all_of_its_data),
        T(postgres_gate, a_writer_that_died_in_front_of_it_is_followed_by_the_next),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
