/* What is erased on PostgreSQL is in no answer and in no row, dead ones too; all else is as if
 * nothing had happened. Random histories with erasures answer as the oracle does. A second opening
 * of the store plays another process. */
#include "test.h"

#include "base/rng.h"
#include "store/erasing.h"
#include "store/last.h"
#include "store/postgres/read_private.h"
#include "store/postgres_sql.h"

#define INSPECTION "create extension if not exists pageinspect schema public"

static char uri[256];

static bool begin(struct store **st)
{
    if (!pg_new_place(uri, sizeof uri))
        return false;
    OK(store_open(env, uri, true, st, e));
    return true;
}

static void end(struct store *st)
{
    store_close(st);
    pg_drop(uri);
}

static void put(struct store *st, const char *id)
{
    struct arena *a = arena_new(1 << 20);
    struct store_commit c;
    struct store_write w = { .type = patient, .id = sv_from(id), .method = STORE_METHOD_UPDATE };
    w.body = make(a, patient, w.id);
    w.index = index_of(a, patient, w.body.json);
    OK(store_commit(st, &w, 1, &c, e));
    arena_free(a);
}

static struct store_bulk *fill(struct store *st, unsigned n, const char *before)
{
    struct arena *a = arena_new(16 << 20);
    struct store_bulk_item *items = arena_calloc(a, n, sizeof *items);
    struct store_bulk *b;
    for (unsigned i = 0; i < n; i++) {
        items[i] = (struct store_bulk_item){ .type = patient, .seq = i };
        items[i].id = arena_fmt(a, "%s%u", before, i);
        items[i].body = make(a, patient, items[i].id);
        items[i].index = index_of(a, patient, items[i].body.json);
    }
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, items, n, e));
    arena_free(a);
    return b;
}

static void load(struct store *st, unsigned n, const char *before)
{
    struct store_bulk *b = fill(st, n, before);
    struct store_commit c;
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
}

static store_number number_of(struct store *st, const char *id)
{
    store_number n = 0;
    OK(store_number_of(st, patient, sv_from(id), &n, e));
    return n;
}

static void erase(struct store *st, const char *id)
{
    bool any;
    OK(store_erase(st, number_of(st, id), 0, SV_LIT("erase/all"), &any, e));
    assert_true(any);
}

/* A session that has just ended may be there for a moment. */
static void finish(struct store *st)
{
    struct err why = { 0 };
    err_code rc;
    while ((rc = store_erase_finish(st, NULL, &why)) == ERR_CONFLICT)
        (void)usleep(1000);
    if (rc != ERR_OK)
        fail_msg("%s", why.msg);
}

/* ---- what there is ---- */

/* Packs whose content has a text. */
static long packs_with(struct store *st, const char *text)
{
    struct pg_pack k = { 0 };
    PGresult *r;
    long n = 0;
    OK(pg_pool_ask(((struct pg *)st)->pool, PG_SCAN,
                   "select first, count, raw_len, body from packs", 0, NULL, NULL, NULL, "testing",
                   &r, e));
    for (int i = 0; i < PQntuples(r); i++) {
        OK(pg_pack_open(&k, r, i, 0, e));
        n += memmem(k.raw.ptr, k.raw.len, text, strlen(text)) != NULL;
    }
    PQclear(r);
    pg_pack_done(&k);
    return n;
}

/* Rows, dead ones too, with a text somewhere in them, as they stand in the pages of a table. */
static long tuples_with(const char *table, const char *text)
{
    char sql[768];
    (void)snprintf(sql, sizeof sql,
                   "select count(*) from generate_series(0, pg_relation_size('%s') / 8192 - 1) p "
                   "cross join lateral public.heap_page_items(public.get_raw_page('fl_%s.%s', "
                   "p::int)) i where position('%s'::bytea in i.t_data) > 0",
                   table, strrchr(uri, '/') + 1, table, text);
    return pg_sql(uri, sql);
}

static const char *const tables[] = { "versions", "packs",  "parts", "ids",
                                      "search",   "counts", "notes" };

static long all_tuples_with(const char *text)
{
    long n = 0;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        n += tuples_with(tables[i], text);
    return n;
}

/* Of each parameter every entry, and whether the version that wrote it is there. */
static void check_entries(struct store *st)
{
    struct arena *a = arena_new(1 << 20);
    for (unsigned k = 0; k < 2; k++)
        for (unsigned param = 0; param < 400; param++) {
            struct search_range all = { .from_len = 0 };
            const struct search_driver d = { .param = (uint16_t)param, .ranges = &all, .n = 1 };
            const fhir_type type = k ? patient : observation;
            struct store_index_cursor *c;
            struct store_index_hit hit;
            struct store_version v;
            struct err why;
            err_code rc;
            OK(store_index_scan(st, type, &d, SV_NONE, 0, STORE_NOW, &c, e));
            while ((rc = store_index_next(c, &hit, &why)) == ERR_OK) {
                arena_reset(a);
                OK(store_get_number(st, hit.number, hit.t, a, &v, e));
                assert_int_equal(v.t, hit.t);
            }
            assert_int_equal(rc, ERR_EOF);
            store_index_close(c);
        }
    arena_free(a);
}

/* ---- tests ---- */

TEST(postgres_erase, leaves_no_row_of_what_was_erased_dead_ones_neither)
{
    (void)state;
    struct store *st;
    if (!begin(&st))
        skip();
    (void)pg_sql(uri, INSPECTION);
    load(st, 300, "bulk");
    for (unsigned i = 0; i < 5; i++) {
        put(st, "marked-online");
        put(st, "bulk299");
        put(st, "stays");
    }
    assert_true(all_tuples_with("marked-online") > 5 && tuples_with("ids", "bulk299") == 1);
    assert_true(packs_with(st, "mark-bulk299-") == 1 && packs_with(st, "mark-bulk18-") == 1);
    assert_true(tuples_with("versions", "mark-bulk299-") > 0);
    erase(st, "marked-online");
    erase(st, "bulk299");
    erase(st, "bulk0");
    /* the rows are written over, and there still */
    assert_true(all_tuples_with("mark-marked-online") > 0);
    finish(st);
    assert_int_equal(all_tuples_with("marked-online"), 0);
    assert_int_equal(tuples_with("versions", "bulk299"), 0);
    assert_int_equal(tuples_with("ids", "bulk299"), 0);
    assert_int_equal(packs_with(st, "bulk299"), 0);
    assert_int_equal(packs_with(st, "mark-bulk0-"), 0);
    assert_true(packs_with(st, "mark-bulk18-") == 1 && all_tuples_with("mark-stays") > 0);
    assert_int_equal(pg_sql(uri, "select count(*) from erasing"), 0);
    assert_int_equal(pg_sql(uri, "select count(*) from pg_stats where schemaname = "
                                 "current_schema() and histogram_bounds::text like '%online%'"),
                     0);
    check_entries(st);
    end(st);
}

TEST(postgres_erase, leaves_no_sum_of_what_nobody_has_any_more)
{
    (void)state;
    struct store *st;
    struct store_commit c;
    if (!begin(&st))
        skip();
    load(st, 100, "bulk");
    const long sums = pg_sql(uri, "select count(distinct k) from counts");
    struct arena *a = arena_new(1 << 20);
    sv json = SV_LIT("{\"resourceType\":\"Patient\",\"gender\":\"of-nobody-else\"}");
    struct store_write w = { .type = patient,
                             .id = SV_LIT("rare"),
                             .method = STORE_METHOD_UPDATE,
                             .body = { json, 25, FHIR_HOLE_NO_META },
                             .index = index_of(a, patient, json) };
    OK(store_commit(st, &w, 1, &c, e));
    assert_true(pg_sql(uri, "select count(distinct k) from counts") > sums);
    erase(st, "rare");
    finish(st);
    assert_int_equal(pg_sql(uri, "select count(distinct k) from counts"), sums);
    assert_int_equal(pg_sql(uri, "select count(*) from (select 1 from counts group by k having "
                                 "sum(delta) = 0) x"),
                     0);
    arena_free(a);
    end(st);
}

TEST(postgres_erase, of_one_version_leaves_the_others_and_their_numbers)
{
    (void)state;
    struct store *st;
    struct arena *a = arena_new(1 << 20);
    struct store_version v;
    struct store_cursor *c;
    struct store_erased n;
    uint64_t t[4];
    bool any;
    const sv note = SV_LIT("erase/x");
    if (!begin(&st))
        skip();
    load(st, 3, "p");
    t[0] = last_of(st).t;
    for (unsigned i = 1; i < 4; i++) {
        put(st, "p1");
        t[i] = last_of(st).t;
    }
    const store_number p = number_of(st, "p1");
    FAILS(ERR_PRECONDITION, store_erase(st, p, t[3], note, &any, e));
    for (unsigned i = 0; i < 2; i++) {
        OK(store_erase(st, p, t[i], note, &any, e));
        assert_true(any);
        OK(store_erase(st, p, t[i], note, &any, e));
        assert_false(any);
    }
    OK(store_erase(st, p, 999, note, &any, e));
    assert_false(any);
    OK(store_erased_get(st, note, &n, e));
    assert_true(n.resources == 0 && n.versions == 2);
    finish(st);
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p1"), t[0], a, &v, e));
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p1"), t[1], a, &v, e));
    OK(store_get(st, patient, SV_LIT("p0"), t[1], a, &v, e));
    OK(store_get(st, patient, SV_LIT("p1"), t[2], a, &v, e));
    assert_int_equal(v.version, 3);
    OK(store_history(st, patient, SV_LIT("p1"), STORE_NOW, &c, e));
    for (uint64_t i = 4; i > 0; i--) {
        OK(store_cursor_next(c, &v, e));
        assert_true(v.version == i && v.t == t[i - 1] && v.erased == (i < 3) && v.number == p);
        assert_true(sv_eq_cstr(v.id, "p1"));
    }
    FAILS(ERR_EOF, store_cursor_next(c, &v, e));
    store_cursor_close(c);
    arena_free(a);
    end(st);
}

TEST(postgres_erase, frees_the_id_for_a_new_resource)
{
    (void)state;
    struct store *st;
    struct arena *a = arena_new(1 << 20);
    struct store_version v;
    if (!begin(&st))
        skip();
    load(st, 1, "p");
    put(st, "p0");
    const store_number was = number_of(st, "p0");
    const uint64_t t = last_of(st).t;
    erase(st, "p0");
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p0"), STORE_NOW, a, &v, e));
    put(st, "p0");
    assert_true(number_of(st, "p0") != was);
    finish(st);
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p0"), t, a, &v, e));
    OK(store_get(st, patient, SV_LIT("p0"), STORE_NOW, a, &v, e));
    assert_int_equal(v.version, 1);
    arena_free(a);
    end(st);
}

TEST(postgres_erase, waits_for_loads_and_for_who_reads)
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
    put(st, "p3");
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

/* As of a process that is gone: its lease has an hour to go. */
TEST(postgres_erase, does_not_wait_for_a_load_that_nobody_ends)
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
TEST(postgres_erase, waits_for_who_makes_statistics)
{
    (void)state;
    struct store *st;
    char conninfo[256], sql[128];
    if (!begin(&st))
        skip();
    (void)pg_sql(uri, INSPECTION);
    load(st, 2000, "p");
    put(st, "p3");
    (void)snprintf(conninfo, sizeof conninfo, "%.*s", (int)(strrchr(uri, '/') - uri), uri);
    PGconn *c = PQconnectdb(conninfo);
    PQclear(PQexec(c, "set vacuum_cost_delay = 20; set vacuum_cost_limit = 1"));
    (void)snprintf(sql, sizeof sql, "vacuum (analyze) fl_%s.ids", strrchr(uri, '/') + 1);
    assert_int_equal(PQsendQuery(c, sql), 1);
    while (pg_sql(uri, "select count(*) from pg_stat_progress_analyze") == 0)
        (void)usleep(1000);
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

TEST(postgres_erase, ends_nodes_that_stand_still_in_a_load_and_waits_for_other_programs)
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

/* ---- random histories ---- */

static void finish_both(struct history *h)
{
    const uint64_t t = last_of(h->of[1]).t;
    give_up(h);
    finish(h->of[1]);
    /* an end of something is a commit */
    if (last_of(h->of[1]).t > t)
        OK(store_erase_finish(h->of[0], NULL, e));
    check_entries(h->of[1]);
    assert_int_equal(pg_sql(uri, "select count(*) from parts p where not exists (select 1 from "
                                 "versions v where v.number = p.number and v.n = p.n)"),
                     0);
}

TEST(postgres_erase, random_histories_answer_as_the_oracle_does)
{
    (void)state;
    const unsigned n_seeds = test_is_long() ? 20 : TEST_SANITIZED ? 1 : 2;
    for (unsigned seed = 1; seed <= n_seeds; seed++) {
        struct history h = { .a = arena_new(1 << 22) };
        if (!begin(&h.of[1]))
            skip();
        OK(store_open(NULL, "memory:", true, &h.of[0], e));
        rnd_state = 4000 + seed;
        for (unsigned i = 0; i < 200; i++) {
            step(&h);
            if (i % 20 == 0)
                compare_all(&h);
            if (i % 50 == 49) {
                finish_both(&h);
                for (unsigned k = 0; k < 3; k++)
                    compare_all(&h);
            }
        }
        give_up(&h);
        store_close(h.of[0]);
        end(h.of[1]);
        arena_free(h.a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(postgres_erase, leaves_no_row_of_what_was_erased_dead_ones_neither),
        T(postgres_erase, leaves_no_sum_of_what_nobody_has_any_more),
        T(postgres_erase, of_one_version_leaves_the_others_and_their_numbers),
        T(postgres_erase, frees_the_id_for_a_new_resource),
        T(postgres_erase, waits_for_loads_and_for_who_reads),
        T(postgres_erase, waits_for_who_makes_statistics),
        T(postgres_erase, does_not_wait_for_a_load_that_nobody_ends),
        T(postgres_erase, ends_nodes_that_stand_still_in_a_load_and_waits_for_other_programs),
        T(postgres_erase, random_histories_answer_as_the_oracle_does),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
