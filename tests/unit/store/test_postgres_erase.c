/* What is erased on PostgreSQL is in no answer and in no row, dead ones too; all else is as if
 * nothing had happened. Random histories with erasures answer as the oracle does. A second opening
 * of the store plays another process. */
#include "test.h"

#include "base/rng.h"
#include "store/last.h"
#include "store/postgres/read_private.h"
#include "store/postgres_erasing.h"

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
        put(st, patient, "marked-online");
        put(st, patient, "bulk299");
        put(st, patient, "stays");
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
        put(st, patient, "p1");
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
    put(st, patient, "p0");
    const store_number was = number_of(st, "p0");
    const uint64_t t = last_of(st).t;
    erase(st, "p0");
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p0"), STORE_NOW, a, &v, e));
    put(st, patient, "p0");
    assert_true(number_of(st, "p0") != was);
    finish(st);
    FAILS(ERR_NOT_FOUND, store_get(st, patient, SV_LIT("p0"), t, a, &v, e));
    OK(store_get(st, patient, SV_LIT("p0"), STORE_NOW, a, &v, e));
    assert_int_equal(v.version, 1);
    arena_free(a);
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
        T(postgres_erase, random_histories_answer_as_the_oracle_does),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
