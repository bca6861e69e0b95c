/* Leases, in memory and on PostgreSQL: one holder, what it writes under one, how it is lost. */
#include "test.h"

#include "base/clock.h"
#include "store/lease.h"
#include "store/postgres_sql.h"

#include <pthread.h>
#include <stdlib.h>

#define SHORT_MS 600u /* of leases that end in a test */

struct place { /* records, opened twice, as two processes would */
    struct records *records[2];
    struct leases *leases[2];
    char uri[256];
    bool is_pg;
};

static void open_place(struct place *p, unsigned ms)
{
    for (unsigned i = 0; i < 2; i++) {
        if (p->is_pg || i == 0)
            OK(records_open(p->is_pg ? p->uri : NULL, &p->records[i], e));
        else
            p->records[i] = p->records[0];
        OK(leases_open(p->records[i], ms, &p->leases[i], e));
    }
}

static void close_place(struct place *p)
{
    for (unsigned i = 0; i < 2; i++)
        leases_close(p->leases[i]);
    records_close(p->records[0]);
    if (p->is_pg) {
        records_close(p->records[1]);
        pg_drop(p->uri);
    }
}

/* One after the other; false: there is none more. */
static bool next_place(struct place *p, unsigned *i, unsigned ms)
{
    *p = (struct place){ .is_pg = *i == 1 };
    if ((*i)++ == 0) {
        open_place(p, ms);
        return true;
    }
    if (*i == 2) {
        if (!pg_new_place(p->uri, sizeof p->uri))
            return false;
        open_place(p, ms);
        return true;
    }
    return false;
}

static void assert_value(struct records *r, const char *key, const char *value)
{
    CLEANUP_BUF struct buf b = BUF_INIT(100);
    struct err err;
    err_code rc = records_get(r, sv_from(key), &b, &err);
    if (value == NULL) {
        assert_int_equal(rc, ERR_NOT_FOUND);
        return;
    }
    assert_int_equal(rc, ERR_OK);
    assert_true(sv_eq_cstr(buf_sv(&b), value));
}

struct found {
    char names[8][64], notes[8][64];
    unsigned n;
    bool ended_too;
};

static bool find(void *ctx, const struct lease_seen *seen)
{
    struct found *f = ctx;
    assert_true(f->n < 8 && (f->ended_too || seen->left_ms > 0));
    (void)snprintf(f->names[f->n], 64, "%.*s", SV_FMT(seen->name));
    (void)snprintf(f->notes[f->n++], 64, "%.*s", SV_FMT(seen->note));
    return true;
}

TEST(lease, one_of_two_has_a_name_and_the_first_that_is_free_is_found)
{
    (void)state;
    struct place p;
    for (unsigned i = 0; next_place(&p, &i, 0);) {
        struct lease *a, *b, *c, *d;
        struct found f = { 0 };
        size_t which;
        bool any;
        const sv names[] = { SV_LIT("job/a"), SV_LIT("job/b"), SV_LIT("job/c") };
        OK(lease_take(p.leases[0], names[0], NULL, NULL, &a, e));
        FAILS(ERR_EXISTS, lease_take(p.leases[1], names[0], NULL, NULL, &b, e));
        FAILS(ERR_EXISTS, lease_take(p.leases[0], names[0], NULL, NULL, &b, e));
        OK(lease_take_first(p.leases[1], names, 3, NULL, NULL, &b, &which, e));
        assert_int_equal(which, 1);
        assert_true(lease_epoch(b) > lease_epoch(a));
        OK(lease_take_first(p.leases[0], names, 3, NULL, NULL, &c, &which, e));
        assert_int_equal(which, 2);
        FAILS(ERR_EOF, lease_take_first(p.leases[1], names, 3, NULL, NULL, &d, &which, e));
        OK(lease_tell(b, SV_LIT("half"), e));
        OK(lease_list(p.records[0], SV_LIT("job/"), find, &f, e));
        assert_int_equal(f.n, 3);
        assert_string_equal(f.names[1], "job/b");
        assert_string_equal(f.notes[1], "half");
        assert_string_equal(f.notes[0], "");
        OK(lease_any(p.records[1], SV_LIT("job/"), &any, e));
        assert_true(any);
        OK(lease_any(p.records[1], SV_LIT("other/"), &any, e));
        assert_false(any);
        lease_release(b);
        OK(lease_take(p.leases[0], names[1], NULL, NULL, &b, e));
        assert_true(lease_epoch(b) > lease_epoch(c));
        lease_release(a);
        lease_release(b);
        lease_release(c);
        OK(lease_any(p.records[0], SV_NONE, &any, e));
        assert_false(any);
        close_place(&p);
    }
}

TEST(lease, a_name_that_may_be_none_is_refused)
{
    (void)state;
    struct place p;
    unsigned i = 0;
    assert_true(next_place(&p, &i, 0));
    struct lease *a;
    char many[LEASE_NAME_MAX + 1];
    memset(many, 'x', sizeof many);
    FAILS(ERR_INVALID, lease_take(p.leases[0], SV_NONE, NULL, NULL, &a, e));
    FAILS(ERR_INVALID, lease_take(p.leases[0], SV_LIT("a\"b"), NULL, NULL, &a, e));
    FAILS(ERR_INVALID, lease_take(p.leases[0], SV_LIT("a,b"), NULL, NULL, &a, e));
    FAILS(ERR_INVALID, lease_take(p.leases[0], sv_make(many, sizeof many), NULL, NULL, &a, e));
    OK(lease_take(p.leases[0], sv_make(many, sizeof many - 1), NULL, NULL, &a, e));
    lease_release(a);
    close_place(&p);
}

TEST(lease, what_is_written_under_one_is_written_whole_or_not)
{
    (void)state;
    struct place p;
    for (unsigned i = 0; next_place(&p, &i, 0);) {
        struct lease *a;
        OK(lease_take(p.leases[0], SV_LIT("job/a"), NULL, NULL, &a, e));
        const struct records_write two[] = { { RECORDS_PUT, SV_LIT("x"), SV_LIT("1") },
                                             { RECORDS_PUT_IF_ABSENT, SV_LIT("y"), SV_LIT("1") } };
        OK(lease_write(a, two, 2, e));
        OK(records_put(p.records[1], SV_LIT("x"), SV_LIT("2"), e));
        FAILS(ERR_EXISTS, lease_write(a, two, 2, e));
        assert_value(p.records[0], "x", "2");
        OK(lease_put_unsynced(a, SV_LIT("x"), SV_LIT("3"), e));
        assert_value(p.records[1], "x", "3");
        lease_release(a);
        close_place(&p);
    }
}

TEST(records, one_of_two_who_change_a_record_finds_that_it_was_changed)
{
    (void)state;
    struct place p;
    for (unsigned i = 0; next_place(&p, &i, 0);) {
        struct records_write change[] = { { RECORDS_IF_SAME, SV_LIT("x"), SV_LIT("1") },
                                          { RECORDS_PUT, SV_LIT("x"), SV_LIT("2") },
                                          { RECORDS_PUT, SV_LIT("a"), SV_LIT("2") } };
        FAILS(ERR_PRECONDITION, records_write(p.records[0], change, 3, e));
        assert_value(p.records[0], "a", NULL);
        OK(records_put(p.records[1], SV_LIT("x"), SV_LIT("1"), e));
        OK(records_write(p.records[0], change, 3, e));
        assert_value(p.records[1], "x", "2");
        FAILS(ERR_PRECONDITION, records_write(p.records[1], change, 3, e));
        /* a value that begins alike, and one that is empty */
        change[0].value = SV_LIT("22");
        FAILS(ERR_PRECONDITION, records_write(p.records[1], change, 3, e));
        change[0].value = SV_NONE;
        FAILS(ERR_PRECONDITION, records_write(p.records[1], change, 3, e));
        close_place(&p);
    }
}

#define COUNTERS 4u
#define TURNS    25u
static struct records *counted[2];

/* Adds one TURNS times, by compare and swap. */
static void *count(void *arg)
{
    struct records *r = arg;
    for (unsigned done = 0; done < TURNS;) {
        CLEANUP_BUF struct buf was = BUF_INIT(32);
        char now[32];
        struct err err;
        assert_int_equal(records_get(r, SV_LIT("n"), &was, &err), ERR_OK);
        (void)snprintf(now, sizeof now, "%.*s", SV_FMT(buf_sv(&was)));
        (void)snprintf(now, sizeof now, "%ld", strtol(now, NULL, 10) + 1);
        const struct records_write w[] = { { RECORDS_IF_SAME, SV_LIT("n"), buf_sv(&was) },
                                           { RECORDS_PUT, SV_LIT("n"), sv_from(now) } };
        const err_code rc = records_write(r, w, 2, &err);
        assert_true(rc == ERR_OK || rc == ERR_PRECONDITION);
        done += rc == ERR_OK;
    }
    return NULL;
}

TEST(records, those_who_count_by_compare_and_swap_lose_no_turn)
{
    (void)state;
    struct place p;
    for (unsigned i = 0; next_place(&p, &i, 0);) {
        pthread_t threads[COUNTERS];
        char all[8];
        OK(records_put(p.records[0], SV_LIT("n"), SV_LIT("0"), e));
        counted[0] = p.records[0];
        counted[1] = p.records[1];
        for (unsigned k = 0; k < COUNTERS; k++)
            assert_int_equal(pthread_create(&threads[k], NULL, count, counted[k % 2]), 0);
        for (unsigned k = 0; k < COUNTERS; k++)
            assert_int_equal(pthread_join(threads[k], NULL), 0);
        (void)snprintf(all, sizeof all, "%u", COUNTERS * TURNS);
        assert_value(p.records[0], "n", all);
        close_place(&p);
    }
}

/* ---- losing ---- */

struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n;
};

static void tell(void *ctx)
{
    struct told *t = ctx;
    pthread_mutex_lock(&t->lock);
    t->n++;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void wait_told(struct told *t)
{
    pthread_mutex_lock(&t->lock);
    while (t->n == 0)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

/* A place on PostgreSQL; false: there is none. */
static bool pg_place(struct place *p, unsigned ms)
{
    unsigned i = 1;
    return next_place(p, &i, ms);
}

TEST(lease, one_that_is_renewed_lasts_longer_than_its_time)
{
    (void)state;
    struct place p;
    if (!pg_place(&p, SHORT_MS))
        return;
    struct told told = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    struct lease *a, *b = NULL;
    OK(lease_take(p.leases[0], SV_LIT("job/a"), tell, &told, &a, e));
    /* a starved machine may not come to renew it: then it says so itself */
    const uint64_t until = clock_mono_us() + SHORT_MS * 2000ull;
    while (clock_mono_us() < until && lease_is_held(a)) {
        struct err err;
        assert_int_equal(records_put(p.records[1], SV_LIT("tick"), SV_LIT("1"), &err), ERR_OK);
        const err_code rc = lease_take(p.leases[1], SV_LIT("job/a"), NULL, NULL, &b, &err);
        assert_true(rc == ERR_EXISTS || !lease_is_held(a));
        if (rc == ERR_OK)
            lease_release(b);
    }
    lease_release(a);
    close_place(&p);
}

TEST(lease, who_has_lost_one_is_told_and_writes_nothing_more)
{
    (void)state;
    struct place p;
    if (!pg_place(&p, SHORT_MS))
        return;
    struct told told = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    const struct records_write w = { RECORDS_PUT, SV_LIT("x"), SV_LIT("late") };
    struct lease *a, *b;
    /* the other one keeps what it takes, however long this thread is held up */
    leases_close(p.leases[1]);
    OK(leases_open(p.records[1], 0, &p.leases[1], e));
    OK(lease_take(p.leases[0], SV_LIT("job/a"), tell, &told, &a, e));
    /* as if it had not been renewed */
    assert_int_equal(pg_sql(p.uri, "update leases set until = clock_timestamp()"), 0);
    OK(lease_take(p.leases[1], SV_LIT("job/a"), NULL, NULL, &b, e));
    FAILS(ERR_CONFLICT, lease_write(a, &w, 1, e));
    FAILS(ERR_CONFLICT, lease_put_unsynced(a, w.key, w.value, e));
    assert_value(p.records[0], "x", NULL);
    wait_told(&told);
    assert_false(lease_is_held(a));
    lease_release(a);
    assert_int_equal(told.n, 1);
    /* its end is not the end of the one that came after it */
    OK(lease_write(b, &w, 1, e));
    FAILS(ERR_EXISTS, lease_take(p.leases[0], SV_LIT("job/a"), NULL, NULL, &a, e));
    lease_release(b);
    close_place(&p);
}

TEST(lease, without_its_database_a_holder_knows_by_its_own_clock)
{
    (void)state;
    struct place p;
    if (!pg_place(&p, SHORT_MS))
        return;
    struct told told = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    struct lease *a;
    const uint64_t from = clock_mono_us();
    OK(lease_take(p.leases[0], SV_LIT("job/a"), tell, &told, &a, e));
    /* no renewal comes through, and none is refused */
    assert_int_equal(pg_sql(p.uri, "alter table leases rename to away"), 0);
    wait_told(&told);
    assert_true(clock_mono_us() - from >= SHORT_MS * 1000 / 2);
    const struct records_write w = { RECORDS_PUT, SV_LIT("x"), SV_LIT("late") };
    FAILS(ERR_CONFLICT, lease_write(a, &w, 1, e));
    lease_release(a);
    close_place(&p);
}

TEST(lease, the_note_of_one_that_is_left_is_there_for_who_takes_it_next)
{
    (void)state;
    struct place p;
    if (!pg_place(&p, 0))
        return;
    const sv name = SV_LIT("job/1");
    struct lease *a;
    struct found f = { .ended_too = true }, held = { 0 };
    OK(lease_take(p.leases[0], name, NULL, NULL, &a, e));
    OK(lease_tell(a, SV_LIT("half"), e));
    lease_leave(a);
    OK(lease_list(p.records[1], name, find, &held, e));
    assert_int_equal(held.n, 0);
    OK(lease_list_notes(p.records[1], name, find, &f, e));
    OK(lease_take(p.leases[1], name, NULL, NULL, &a, e));
    OK(lease_list_notes(p.records[0], name, find, &f, e));
    assert_int_equal(f.n, 2);
    assert_string_equal(f.notes[0], "half");
    assert_string_equal(f.notes[1], "half");
    lease_release(a);
    OK(lease_list_notes(p.records[0], name, find, &f, e));
    assert_int_equal(f.n, 2);
    close_place(&p);
}

TEST(lease, what_is_over_is_nobodys_even_when_nobody_has_taken_it)
{
    (void)state;
    struct place p;
    if (!pg_place(&p, 0))
        return;
    struct lease *a;
    struct found f = { 0 };
    bool any;
    const struct records_write w = { RECORDS_PUT, SV_LIT("x"), SV_LIT("late") };
    OK(lease_take(p.leases[0], SV_LIT("range/1"), NULL, NULL, &a, e));
    assert_int_equal(pg_sql(p.uri, "update leases set until = clock_timestamp()"), 0);
    OK(lease_list(p.records[1], SV_LIT("range/"), find, &f, e));
    assert_int_equal(f.n, 0);
    OK(lease_any(p.records[1], SV_LIT("range/"), &any, e));
    assert_false(any);
    FAILS(ERR_CONFLICT, lease_write(a, &w, 1, e));
    lease_release(a);
    close_place(&p);
}

TEST(lease, what_is_published_under_one_that_is_lost_is_not_there)
{
    (void)state;
    struct place p;
    char uri[256];
    if (!pg_place(&p, 0) || !pg_new_place(uri, sizeof uri))
        return;
    struct store *st;
    struct lease *a;
    struct store_commit at;
    struct store_env *env = store_env_new(1 << 20, 1);
    OK(store_open(env, uri, true, &st, e));
    OK(lease_take(p.leases[0], SV_LIT("job/a"), NULL, NULL, &a, e));
    for (unsigned i = 0; i < 2; i++) {
        struct store_bulk *b;
        struct err err;
        CLEANUP_BUF struct buf note = BUF_INIT(32);
        OK(store_bulk_begin(st, &b, e));
        const err_code rc = store_bulk_publish_under(
            a, &b, 1, SV_LIT("at"), i ? SV_LIT("late") : SV_LIT("in time"), &at, &err);
        assert_int_equal(rc, i ? ERR_CONFLICT : ERR_OK);
        OK(store_note_get(st, SV_LIT("at"), &note, e));
        assert_true(sv_eq_cstr(buf_sv(&note), "in time"));
        assert_int_equal(pg_sql(p.uri, "update leases set until = clock_timestamp()"), 0);
    }
    lease_release(a);
    store_close(st);
    store_env_free(env);
    pg_drop(uri);
    close_place(&p);
}

#define NAMES  32u
#define TAKERS 8u
static struct place *taken_from;
static pthread_barrier_t all_taken;
static _Atomic unsigned n_by_name[NAMES];

/* Takes names until there is none, and keeps them until all others have done so. */
static void *take_all(void *arg)
{
    struct leases *l = taken_from->leases[(uintptr_t)arg % 2];
    struct lease *mine[NAMES];
    char names[NAMES][16];
    sv all[NAMES];
    unsigned n = 0;
    for (unsigned i = 0; i < NAMES; i++) {
        (void)snprintf(names[i], sizeof names[i], "range/%u", i);
        all[i] = sv_from(names[i]);
    }
    size_t which;
    struct err err;
    err_code rc;
    while ((rc = lease_take_first(l, all, NAMES, NULL, NULL, &mine[n], &which, &err)) == ERR_OK) {
        atomic_fetch_add(&n_by_name[which], 1);
        n++;
    }
    assert_int_equal(rc, ERR_EOF);
    (void)pthread_barrier_wait(&all_taken);
    while (n)
        lease_release(mine[--n]);
    return NULL;
}

TEST(lease, many_takers_share_many_names_and_none_has_two_holders)
{
    (void)state;
    struct place p;
    pthread_t threads[TAKERS];
    if (!pg_place(&p, 0))
        return;
    taken_from = &p;
    assert_int_equal(pthread_barrier_init(&all_taken, NULL, TAKERS), 0);
    for (uintptr_t i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, (void *)i), 0);
    for (unsigned i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < NAMES; i++)
        assert_int_equal(atomic_load(&n_by_name[i]), 1);
    assert_int_equal(pg_sql(p.uri, "select count(*) from leases"), 0);
    (void)pthread_barrier_destroy(&all_taken);
    close_place(&p);
}

/* ---- the system's tables ---- */

TEST(records, tables_of_the_first_layout_are_brought_on_and_those_of_a_later_one_refused)
{
    (void)state;
    char uri[256];
    struct records *r;
    if (!pg_new_place(uri, sizeof uri))
        return;
    OK(records_open(uri, &r, e));
    OK(records_put(r, SV_LIT("x"), SV_LIT("1"), e));
    records_close(r);
    assert_int_equal(pg_sql(uri,
                            "drop table leases, nodes, written, layout; drop sequence lease_epoch; "
                            "create table node(one bool)"),
                     0);
    OK(records_open_to_read(uri, &r, e));
    assert_value(r, "x", "1");
    records_close(r);
    OK(records_open(uri, &r, e));
    assert_value(r, "x", "1");
    records_close(r);
    assert_int_equal(pg_sql(uri, "select layout from layout"), 2);
    assert_int_equal(pg_sql(uri, "update layout set layout = 99"), 0);
    struct err err;
    assert_int_equal(records_open(uri, &r, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "layout 99"));
    assert_int_equal(records_open_to_read(uri, &r, &err), ERR_UNSUPPORTED);
}

TEST_MAIN(T(lease, one_that_is_renewed_lasts_longer_than_its_time),
          T(lease, who_has_lost_one_is_told_and_writes_nothing_more),
          T(lease, without_its_database_a_holder_knows_by_its_own_clock),
          T(lease, the_note_of_one_that_is_left_is_there_for_who_takes_it_next),
          T(lease, what_is_over_is_nobodys_even_when_nobody_has_taken_it),
          T(lease, what_is_published_under_one_that_is_lost_is_not_there),
          T(lease, many_takers_share_many_names_and_none_has_two_holders),
          T(records, tables_of_the_first_layout_are_brought_on_and_those_of_a_later_one_refused),
          T(lease, one_of_two_has_a_name_and_the_first_that_is_free_is_found),
          T(lease, a_name_that_may_be_none_is_refused),
          T(lease, what_is_written_under_one_is_written_whole_or_not),
          T(records, one_of_two_who_change_a_record_finds_that_it_was_changed),
          T(records, those_who_count_by_compare_and_swap_lose_no_turn))
