/* Ranges of one job that two nodes take: in memory and on PostgreSQL. */
#include "sample.h"

#include "base/clock.h"
#include "store/postgres_sql.h"

#define JOB_ID "0123456789abcdef0123456789abcde0"

struct node {
    struct records *records;
    struct leases *leases;
    struct job_engine_config cfg;
    struct job_run run;
};

struct place { /* a job that the first node has, and the second takes part in */
    struct node nodes[2];
    struct job job;
    struct lease *lease; /* of the job */
    atomic_bool halt;
    char uri[256];
    bool is_pg;
};

static void put_status(struct records *r, job_status status)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct job_record rec = sample(JOB_ID, 7), now;
    struct err err;
    if (job_record_read(r, JOB_EXPORT, FX_STORE, rec.job.id, a, &now, &err) != ERR_OK) {
        rec.job.status = status;
        OK(job_record_create(r, &rec, SV_NONE, NULL, 0, e));
        return;
    }
    now.job.status = status;
    OK(job_record_update(r, &now, true, e));
}

static void open_place(struct place *p)
{
    for (unsigned i = 0; i < 2; i++) {
        struct node *x = &p->nodes[i];
        if (p->is_pg || i == 0) {
            OK(records_open(p->is_pg ? p->uri : NULL, &x->records, e));
            OK(leases_open(x->records, 0, &x->leases, e));
        } else {
            /* in memory names are taken from others who have the same leases */
            x->records = p->nodes[0].records;
            x->leases = p->nodes[0].leases;
        }
        x->cfg.records = x->records;
        x->run = (struct job_run){
            .job = &p->job, .cfg = &x->cfg, .halt = &p->halt, .leases = x->leases, .guest = i == 1
        };
        job_run_init(&x->run);
    }
    p->job = (struct job){ .kind = JOB_EXPORT, .datastore_id = FX_STORE, .id = SV_LIT(JOB_ID) };
    put_status(p->nodes[0].records, JOB_IN_PROGRESS);
    OK(lease_take(p->nodes[0].leases, SV_LIT("job/" JOB_ID), NULL, NULL, &p->lease, e));
    p->nodes[0].run.lease = p->lease;
}

static void close_place(struct place *p)
{
    lease_release(p->lease);
    for (unsigned i = 0; i < 2; i++) {
        job_run_done(&p->nodes[i].run);
        if (p->is_pg || i == 0) {
            leases_close(p->nodes[i].leases);
            records_close(p->nodes[i].records);
        }
    }
    if (p->is_pg)
        pg_drop(p->uri);
}

/* One after the other; false: there is none more. */
static bool next_place(struct place *p, unsigned *i)
{
    memset(p, 0, sizeof *p);
    p->is_pg = *i == 1;
    if ((*i)++ == 1) {
        (void)setenv("FHIRLAKE_SHARED_DATABASE", "1", 1);
        if (!pg_new_place(p->uri, sizeof p->uri))
            return false;
    }
    if (*i > 2)
        return false;
    open_place(p);
    return true;
}

static const size_t four[] = { 0, 1, 2, 3 };

TEST(share, each_range_is_in_one_hand_and_what_is_done_is_not_taken)
{
    struct place p;
    for (unsigned i = 0; next_place(&p, &i);) {
        struct job_run *a = &p.nodes[0].run, *b = &p.nodes[1].run;
        struct lease *x[3], *none;
        size_t which;
        OK(job_run_door_open(a, SV_LIT("d"), e));
        OK(job_run_range_take(a, SV_LIT("d"), four, 4, &x[0], &which, e));
        assert_int_equal(which, 0);
        OK(job_run_range_take(b, SV_LIT("d"), four, 4, &x[1], &which, e));
        assert_int_equal(which, 1);
        OK(job_run_range_take(b, SV_LIT("d"), four + 2, 1, &x[2], &which, e));
        FAILS(ERR_EOF, job_run_range_take(a, SV_LIT("d"), four, 3, &none, &which, e));
        OK(job_run_range_done(b, x[1], 1, SV_LIT("{}"), e));
        lease_release(x[1]);
        /* who has not heard of it finds out, and has nothing in hand then */
        FAILS(ERR_EXISTS, job_run_range_take(a, SV_LIT("d"), four, 3, &none, &which, e));
        assert_int_equal(which, 1);
        FAILS(ERR_EXISTS, job_run_range_take(b, SV_LIT("d"), four + 1, 1, &none, &which, e));
        lease_release(x[0]);
        lease_release(x[2]);
        OK(job_run_door_close(a, e));
        close_place(&p);
    }
}

TEST(share, nobody_takes_of_a_job_whose_door_is_another_or_that_is_not_under_way)
{
    struct place p;
    for (unsigned i = 0; next_place(&p, &i);) {
        struct job_run *a = &p.nodes[0].run, *b = &p.nodes[1].run;
        struct lease *x;
        size_t which;
        bool any;
        FAILS(ERR_CANCELLED, job_run_range_take(b, SV_LIT("d"), four, 4, &x, &which, e));
        OK(job_run_door_open(a, SV_LIT("d"), e));
        FAILS(ERR_CANCELLED, job_run_range_take(b, SV_LIT("c"), four, 4, &x, &which, e));
        put_status(p.nodes[0].records, JOB_CANCEL_SUBMITTED);
        FAILS(ERR_CANCELLED, job_run_range_take(b, SV_LIT("d"), four, 4, &x, &which, e));
        put_status(p.nodes[0].records, JOB_IN_PROGRESS);
        OK(job_run_range_take(b, SV_LIT("d"), four, 4, &x, &which, e));
        lease_release(x);
        OK(job_run_door_close(a, e));
        FAILS(ERR_CANCELLED, job_run_range_take(b, SV_LIT("d"), four, 4, &x, &which, e));
        OK(lease_any(p.nodes[0].records, SV_LIT("range/"), &any, e));
        assert_false(any);
        close_place(&p);
    }
}

struct closing {
    struct job_run *run;
    atomic_bool closed;
};

static void *close_door(void *ctx)
{
    struct closing *c = ctx;
    OK(job_run_door_close(c->run, e));
    atomic_store(&c->closed, true);
    return NULL;
}

static err_code read_door(struct job_run *run)
{
    CLEANUP_BUF struct buf b = BUF_INIT(JOB_DOOR_MAX);
    struct err ignored;
    return job_run_door_read(run, &b, &ignored);
}

TEST(share, a_door_is_closed_when_nothing_is_in_hand_any_more)
{
    struct place p;
    for (unsigned i = 0; next_place(&p, &i);) {
        struct job_run *a = &p.nodes[0].run, *b = &p.nodes[1].run;
        struct closing c = { .run = a };
        struct lease *x;
        size_t which;
        bool any;
        pthread_t t;
        OK(job_run_door_open(a, SV_LIT("d"), e));
        OK(job_run_range_take(b, SV_LIT("d"), four, 4, &x, &which, e));
        /* a job that is being stopped waits, too */
        atomic_store(&p.halt, true);
        assert_int_equal(pthread_create(&t, NULL, close_door, &c), 0);
        while (read_door(b) == ERR_OK) {
        }
        /* whoever waits for nothing is there by now, as a rule */
        for (unsigned k = 0; k < 200; k++)
            assert_int_equal(read_door(b), ERR_NOT_FOUND);
        assert_false(atomic_load(&c.closed));
        lease_release(x);
        assert_int_equal(pthread_join(t, NULL), 0);
        OK(lease_any(p.nodes[0].records, SV_LIT("range/"), &any, e));
        assert_false(any);
        close_place(&p);
    }
}

struct found {
    size_t n;
    char text[64];
};

/* records_each_fn */
static bool find(void *ctx, sv key, sv value)
{
    struct found *f = ctx;
    size_t len = strlen(f->text);
    f->n++;
    (void)snprintf(f->text + len, sizeof f->text - len, "%.*s=%.*s ",
                   SV_FMT(sv_tail(key, key.len - 8)), SV_FMT(value));
    return true;
}

TEST(share, notes_are_read_from_a_range_on)
{
    struct place p;
    for (unsigned i = 0; next_place(&p, &i);) {
        struct job_run *a = &p.nodes[0].run;
        struct found all = { 0 }, rest = { 0 };
        OK(job_run_door_open(a, SV_LIT("d"), e));
        for (size_t k = 0; k < 3; k++) {
            struct lease *x;
            size_t which;
            OK(job_run_range_take(a, SV_LIT("d"), &four[k], 1, &x, &which, e));
            OK(job_run_range_done(a, x, k, sv_make(&"abc"[k], 1), e));
            lease_release(x);
        }
        OK(job_run_ranges_scan(a, 0, find, &all, e));
        assert_string_equal(all.text, "00000000=a 00000001=b 00000002=c ");
        OK(job_run_ranges_scan(a, 2, find, &rest, e));
        assert_string_equal(rest.text, "00000002=c ");
        close_place(&p);
    }
}

/* records_each_fn */
static bool count_each(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    ++*(size_t *)ctx;
    return true;
}

#define MANY 700u

TEST(share, many_notes_are_written_at_once_and_each_counts)
{
    struct place p;
    for (unsigned i = 0; next_place(&p, &i);) {
        struct job_run *a = &p.nodes[0].run;
        static struct records_write w[MANY];
        static char names[MANY][32];
        size_t n = 0;
        for (size_t k = 0; k < MANY; k++) {
            (void)snprintf(names[k], sizeof names[k], "unit/%08zu", k);
            w[k] = (struct records_write){ RECORDS_PUT, sv_from(names[k]), SV_LIT("{}") };
        }
        OK(job_run_notes_write(a, w, MANY, e));
        OK(job_run_note_scan(a, SV_LIT("unit/"), count_each, &n, e));
        assert_int_equal(n, MANY);
        for (size_t k = 0; k < MANY; k++)
            w[k].op = RECORDS_DELETE;
        OK(job_run_notes_write(a, w, MANY, e));
        n = 0;
        OK(job_run_note_scan(a, SV_LIT("unit/"), count_each, &n, e));
        assert_int_equal(n, 0);
        close_place(&p);
    }
}

/* As if the node had stood still for so long. */
static void end_leases(const struct place *p, const char *like)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "update leases set until = clock_timestamp() - interval '1 second' "
                   "where name like '%s'",
                   like);
    (void)pg_sql(p->uri, sql);
}

TEST(share, the_note_of_a_node_that_stood_still_is_refused_and_another_takes_its_range)
{
    struct place p;
    unsigned i = 1;
    if (!next_place(&p, &i))
        skip();
    struct job_run *a = &p.nodes[0].run, *b = &p.nodes[1].run;
    struct lease *late, *x;
    struct found f = { 0 };
    size_t which;
    OK(job_run_door_open(a, SV_LIT("d"), e));
    OK(job_run_range_take(b, SV_LIT("d"), four, 1, &late, &which, e));
    end_leases(&p, "range/%");
    FAILS(ERR_CONFLICT, job_run_range_done(b, late, 0, SV_LIT("late"), e));
    assert_false(lease_is_held(late));
    OK(job_run_range_take(a, SV_LIT("d"), four, 1, &x, &which, e));
    assert_true(lease_epoch(x) > lease_epoch(late));
    FAILS(ERR_CONFLICT, job_run_range_done(b, late, 0, SV_LIT("late"), e));
    OK(job_run_range_done(a, x, 0, SV_LIT("new"), e));
    FAILS(ERR_CONFLICT, job_run_range_done(b, late, 0, SV_LIT("late"), e));
    lease_release(late);
    lease_release(x);
    OK(job_run_ranges_scan(b, 0, find, &f, e));
    assert_string_equal(f.text, "00000000=new ");
    /* one that has died with a range in hand is waited for no longer than its lease */
    OK(job_run_range_take(b, SV_LIT("d"), four + 1, 1, &late, &which, e));
    end_leases(&p, "range/%");
    OK(job_run_door_close(a, e));
    FAILS(ERR_CONFLICT, job_run_range_done(b, late, 1, SV_LIT("late"), e));
    lease_release(late);
    close_place(&p);
}

TEST_MAIN(T(share, each_range_is_in_one_hand_and_what_is_done_is_not_taken),
          T(share, nobody_takes_of_a_job_whose_door_is_another_or_that_is_not_under_way),
          T(share, a_door_is_closed_when_nothing_is_in_hand_any_more),
          T(share, notes_are_read_from_a_range_on),
          T(share, many_notes_are_written_at_once_and_each_counts),
          T(share, the_note_of_a_node_that_stood_still_is_refused_and_another_takes_its_range))
