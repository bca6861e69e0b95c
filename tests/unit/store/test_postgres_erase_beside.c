/* An erasure on PostgreSQL beside others: loads, readers, programs that are not ours, processes
 * that go on with it. A second opening of the store plays another process. */
#include "test.h"

#include "store/last.h"
#include "store/postgres/read_private.h"
#include "store/postgres_erasing.h"

TEST(erase_beside, waits_for_loads_and_for_who_reads)
{
    (void)state;
    struct store *st;
    struct store_bulk *b;
    char conninfo[256];
    bool any;
    if (!begin(&st))
        skip();
    (void)pg_sql(uri, INSPECTION);
    load(st, 20, "p");
    put(st, patient, "p3");
    const store_number p = number_of(st, "p3");
    OK(store_bulk_begin(st, &b, e));
    FAILS(ERR_CONFLICT, store_erase(st, p, 0, SV_NONE, &any, e));
    store_bulk_abort(b);
    /* a session that may see the rows of before */
    (void)snprintf(conninfo, sizeof conninfo, "%.*s", (int)(strrchr(uri, '/') - uri), uri);
    PGconn *c = PQconnectdb(conninfo);
    PQclear(PQexec(c, "begin isolation level repeatable read; select 1"));
    OK(store_erase(st, p, 0, SV_NONE, &any, e));
    FAILS(ERR_CONFLICT, store_erase_finish(st, NULL, e));
    const uint64_t t = last_of(st).t;
    FAILS(ERR_CONFLICT, store_erase_finish(st, NULL, e));
    /* what is done is not done again */
    assert_int_equal(last_of(st).t, t);
    assert_true(tuples_with("versions", "mark-p3-") > 0);
    PQfinish(c);
    finish(st);
    assert_int_equal(tuples_with("versions", "mark-p3-"), 0);
    end(st);
}

/* A run that could not end is gone on with under another epoch of its lease. What another process
 * has erased meanwhile was not there when the first run put the past away. */
TEST(erase_beside, passes_over_nothing_that_another_process_erased_meanwhile)
{
    (void)state;
    struct store *st, *other;
    struct records *records;
    struct leases *leases;
    struct lease *lease;
    char conninfo[256], place[256];
    bool any;
    if (!begin(&st))
        skip();
    load(st, 20, "p");
    (void)snprintf(conninfo, sizeof conninfo, "%.*s", (int)(strrchr(uri, '/') - uri), uri);
    assert_true(pg_new_place(place, sizeof place));
    OK(records_open(place, &records, e));
    OK(leases_open(records, 0, &leases, e));
    OK(store_open(env, uri, false, &other, e));
    const store_number p5 = number_of(st, "p5");
    PGconn *c = PQconnectdb(conninfo);
    PQclear(PQexec(c, "begin isolation level repeatable read; select 1"));
    OK(lease_take(leases, SV_LIT("job/one"), NULL, NULL, &lease, e));
    OK(store_erase_under(lease, st, number_of(st, "p3"), 0, SV_NONE, &any, e));
    FAILS(ERR_CONFLICT, store_erase_finish_under(lease, st, NULL, e));
    lease_release(lease);
    OK(lease_take(leases, SV_LIT("job/one"), NULL, NULL, &lease, e));
    OK(store_erase_under(lease, other, p5, 0, SV_NONE, &any, e));
    lease_release(lease);
    const uint64_t t = last_of(st).t;
    OK(lease_take(leases, SV_LIT("job/one"), NULL, NULL, &lease, e));
    FAILS(ERR_CONFLICT, store_erase_finish_under(lease, st, NULL, e));
    assert_true(last_of(st).t > t);
    PQfinish(c);
    lease_release(lease);
    leases_close(leases);
    records_close(records);
    pg_drop(place);
    store_close(other);
    end(st);
}

/* As of a process that is gone: its lease has an hour to go. */
TEST(erase_beside, does_not_wait_for_a_load_that_nobody_ends)
{
    (void)state;
    struct store *st, *other;
    struct store_commit c;
    bool any;
    if (!begin(&st))
        skip();
    load(st, 3, "p");
    OK(store_open(env, uri, false, &other, e));
    struct store_bulk *left = fill(other, 5, "p");
    FAILS(ERR_CONFLICT, store_erase(st, number_of(st, "p1"), 0, SV_NONE, &any, e));
    OK(store_loads_clear(st, e));
    assert_int_equal(pg_sql(uri, "select count(*) from open_loads"), 0);
    assert_int_equal(pg_sql(uri, "select count(*) from versions"), 0);
    erase(st, "p1");
    FAILS(ERR_CONFLICT, store_bulk_publish(&left, SV_NONE, SV_NONE, &c, e));
    store_close(other);
    end(st);
}

/* ANALYZE sees rows of before, and a VACUUM or autovacuum ends with one. */
TEST(erase_beside, waits_for_who_makes_statistics)
{
    (void)state;
    struct store *st;
    char conninfo[256], sql[128];
    if (!begin(&st))
        skip();
    (void)pg_sql(uri, INSPECTION);
    load(st, 2000, "p");
    put(st, patient, "p3");
    (void)snprintf(conninfo, sizeof conninfo, "%.*s", (int)(strrchr(uri, '/') - uri), uri);
    PGconn *c = PQconnectdb(conninfo);
    PQclear(PQexec(c, "set vacuum_cost_delay = 20; set vacuum_cost_limit = 1"));
    (void)snprintf(sql, sizeof sql, "vacuum (analyze) fl_%s.ids", strrchr(uri, '/') + 1);
    assert_int_equal(PQsendQuery(c, sql), 1);
    while (pg_sql(uri, "select count(*) from pg_stat_progress_analyze") == 0) {
        (void)usleep(1000);
        assert_int_equal(PQconsumeInput(c), 1);
        /* over before it was seen: once more */
        if (!PQisBusy(c)) {
            for (PGresult *r; (r = PQgetResult(c)) != NULL;)
                PQclear(r);
            assert_int_equal(PQsendQuery(c, sql), 1);
        }
    }
    erase(st, "p3");
    finish(st);
    assert_int_equal(tuples_with("versions", "mark-p3-"), 0);
    PQfinish(c);
    end(st);
}

/* A session that stands still in the middle of a COPY. */
static PGconn *stands_still(const char *application, const char *table)
{
    char conninfo[256], sql[256];
    const char *slash = strrchr(uri, '/');
    (void)snprintf(conninfo, sizeof conninfo, "%.*s", (int)(slash - uri), uri);
    PGconn *c = PQconnectdb(conninfo);
    (void)snprintf(sql, sizeof sql,
                   "set application_name = '%s'; set search_path = fl_%s; set statement_timeout = "
                   "'1s'; begin",
                   application, slash + 1);
    PQclear(PQexec(c, sql));
    (void)snprintf(sql, sizeof sql, "copy %s from stdin (format binary)", table);
    PGresult *r = PQexec(c, sql);
    assert_int_equal(PQresultStatus(r), PGRES_COPY_IN);
    PQclear(r);
    return c;
}

static long sessions_of(const char *application)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "select count(*) from pg_stat_activity where application_name = '%s'",
                   application);
    return pg_sql(uri, sql);
}

TEST(erase_beside, ends_nodes_that_stand_still_in_a_load_and_waits_for_other_programs)
{
    (void)state;
    struct store *st;
    struct err why;
    if (!begin(&st))
        skip();
    load(st, 3, "p");
    /* nobody could lock the sums */
    PGconn *node = stands_still("fhirlake 1", "counts");
    OK(store_loads_clear(st, e));
    while (sessions_of("fhirlake 1"))
        (void)usleep(1000);
    PQfinish(node);
    node = stands_still("fhirlake 2", "search");
    PGconn *other = stands_still("other", "packs");
    erase(st, "p1");
    /* the server ends a node's at once, and the other's never */
    while (sessions_of("fhirlake 2"))
        assert_int_equal(store_erase_finish(st, NULL, &why), ERR_CONFLICT);
    PQfinish(node);
    assert_int_equal(store_erase_finish(st, NULL, &why), ERR_CONFLICT);
    assert_int_equal(sessions_of("other"), 1);
    PQfinish(other);
    finish(st);
    assert_int_equal(pg_sql(uri, "select count(*) from erasing"), 0);
    end(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(erase_beside, waits_for_loads_and_for_who_reads),
        T(erase_beside, passes_over_nothing_that_another_process_erased_meanwhile),
        T(erase_beside, does_not_wait_for_a_load_that_nobody_ends),
        T(erase_beside, waits_for_who_makes_statistics),
        T(erase_beside, ends_nodes_that_stand_still_in_a_load_and_waits_for_other_programs),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
