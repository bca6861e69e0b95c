/* test_kept.c - how many served exports, and how many bytes of them, are kept of a data store and
 * for a caller; and what of the disk is left to the data stores. */
#include "fixture.h"

#include "base/clock.h"

#define OTHER SV_LIT("fedcba9876543210fedcba9876543210")

static const struct job_export_params served = { .served = true,
                                                 .request_url = S("http://x/r4/$export") };

static struct job_served_limits limits;
static uint64_t min_free;

static void engine(struct fx *f)
{
    struct job_engine_config cfg = fx_config(f, 2);
    cfg.served_limits = limits;
    cfg.min_free_bytes = min_free;
    cfg.max_queued = 100;
    cfg.export_object_bytes = 64 << 10;
    OK(job_engine_start(&cfg, &f->engine, e));
}

static void restart(struct fx *f)
{
    fx_engine_stop(f);
    engine(f);
}

/* n Patients of about 1 kB in a data store. */
static void fill(struct fx *f, sv id, unsigned n)
{
    struct store *st = NULL;
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = 0;
    OK(store_registry_acquire(f->stores, id, true, &st, e));
    for (unsigned i = 0; i < n; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "p%u", i);
        fx_write(st, fhir_type_find(SV_LIT("Patient")), name, text);
    }
    store_registry_release(f->stores, st);
}

static void begin(struct fx *f, unsigned n)
{
    limits = (struct job_served_limits){ 0 };
    min_free = 1;
    fx_open(f);
    fill(f, FX_STORE, n);
    fill(f, OTHER, n);
}

static err_code start(struct fx *f, sv store, const char *caller, struct arena *a, struct job *j,
                      unsigned *wait_s, struct err *e)
{
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.datastore_id = store;
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.params = &served;
    q.caller = sv_from(caller);
    q.wait_s = wait_s;
    return job_submit(f->engine, &q, a, j, e);
}

static struct job must_start(struct fx *f, sv store, const char *caller, struct arena *a)
{
    struct job j;
    OK(start(f, store, caller, a, &j, NULL, e));
    return j;
}

static void refused(struct fx *f, sv store, const char *caller, const char *why)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct job j;
    struct err e;
    unsigned wait_s = 0;
    assert_int_equal(start(f, store, caller, a, &j, &wait_s, &e), ERR_THROTTLED);
    assert_non_null(strstr(e.msg, why));
    assert_true(wait_s >= 1 && wait_s <= 3600);
}

static struct job end_of(struct fx *f, sv store, sv id, struct arena *a)
{
    struct job j;
    for (;;) {
        arena_mark m = arena_mark_get(a);
        OK(job_get(f->engine, JOB_EXPORT, store, id, a, &j, e));
        if (job_status_is_final(j.status))
            return j;
        arena_rewind(a, m);
        fx_nap();
    }
}

TEST(kept, of_a_data_store_no_more_than_its_number_wait_run_or_are_served)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    begin(&f, 3);
    limits.per_store = 3;
    engine(&f);
    struct job one = must_start(&f, FX_STORE, "a", a), two = must_start(&f, FX_STORE, "b", a);
    must_start(&f, FX_STORE, "c", a);
    /* some of them wait */
    refused(&f, FX_STORE, "d", "3 exports of this data store");
    /* another store has its own */
    must_start(&f, OTHER, "a", a);
    one = end_of(&f, FX_STORE, one.id, a);
    two = end_of(&f, FX_STORE, two.id, a);
    assert_int_equal(one.status, JOB_COMPLETED);
    /* ended, and kept */
    refused(&f, FX_STORE, "d", "3 exports of this data store");
    restart(&f);
    refused(&f, FX_STORE, "d", "3 exports of this data store");
    OK(job_discard(f.engine, FX_STORE, one.id, e));
    must_start(&f, FX_STORE, "d", a);
    refused(&f, FX_STORE, "e", "3 exports of this data store");
    fx_close(&f);
}

TEST(kept, for_a_caller_no_more_than_his_number_over_all_data_stores)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    begin(&f, 3);
    limits.per_caller = 2;
    engine(&f);
    struct job j = must_start(&f, FX_STORE, "a", a);
    must_start(&f, OTHER, "a", a);
    refused(&f, FX_STORE, "a", "2 of your exports");
    refused(&f, OTHER, "a", "2 of your exports");
    must_start(&f, FX_STORE, "b", a);
    (void)end_of(&f, FX_STORE, j.id, a);
    restart(&f);
    refused(&f, OTHER, "a", "2 of your exports");
    must_start(&f, OTHER, "b", a);
    OK(job_discard(f.engine, FX_STORE, j.id, e));
    must_start(&f, OTHER, "a", a);
    fx_close(&f);
}

TEST(kept, what_comes_to_nothing_gives_its_place_back)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    begin(&f, 200);
    limits.per_store = 1;
    /* ends, expires, is removed */
    f.served_ms = 1;
    engine(&f);
    for (unsigned i = 0; i < 4; i++) {
        struct job j;
        struct err e;
        err_code rc;
        while ((rc = start(&f, FX_STORE, "a", a, &j, NULL, &e)) == ERR_THROTTLED)
            fx_nap();
        assert_int_equal(rc, ERR_OK);
        if (i % 2 && job_cancel(f.engine, JOB_EXPORT, FX_STORE, j.id, &e) != ERR_OK)
            assert_int_equal(e.code, ERR_CONFLICT);
        (void)end_of(&f, FX_STORE, j.id, a);
    }
    fx_close(&f);
}

TEST(kept, bytes_are_counted_while_they_are_written_and_over_a_restart)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    /* about 110 kB */
    begin(&f, 100);
    limits.store_bytes = 250000;
    engine(&f);
    struct job one = must_start(&f, FX_STORE, "a", a);
    one = end_of(&f, FX_STORE, one.id, a);
    assert_int_equal(one.status, JOB_COMPLETED);
    assert_true(one.progress.bytes_exported > 100000);
    struct job two = must_start(&f, FX_STORE, "a", a);
    assert_int_equal(end_of(&f, FX_STORE, two.id, a).status, JOB_COMPLETED);
    restart(&f);
    /* there is room for some of it, not for all */
    struct job three = must_start(&f, FX_STORE, "b", a);
    three = end_of(&f, FX_STORE, three.id, a);
    assert_int_equal(three.status, JOB_FAILED);
    assert_non_null(strstr(arena_str(a, three.message), "kept of the data store"));
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%.*s", f.served, SV_FMT(three.id));
    /* and nothing of it is left */
    assert_int_not_equal(access(path, F_OK), 0);
    (void)end_of(&f, OTHER, must_start(&f, OTHER, "b", a).id, a);
    /* full: refused at once */
    fx_engine_stop(&f);
    limits.store_bytes = 100000;
    engine(&f);
    refused(&f, FX_STORE, "b", "kept or on their way have");
    OK(job_discard(f.engine, FX_STORE, one.id, e));
    OK(job_discard(f.engine, FX_STORE, two.id, e));
    fx_engine_stop(&f);
    limits = (struct job_served_limits){ .caller_bytes = 100000 };
    engine(&f);
    refused(&f, FX_STORE, "b", "Your exports that are kept have");
    fx_close(&f);
}

TEST(kept, of_a_data_store_so_many_copies_and_small_ones_beside_them)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    const struct job_export_params small = { .level = JOB_EXPORT_PATIENT,
                                             .served = true,
                                             .patients = LIST(S("p7")) };
    begin(&f, 100);
    limits.copies = 3;
    limits.small_bytes = 1000;
    engine(&f);
    struct job j = { 0 };
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.params = &small;
    /* the largest so far, and three times it */
    for (unsigned i = 0; i < 3; i++) {
        OK(job_submit(f.engine, &q, a, &j, e));
        j = end_of(&f, FX_STORE, j.id, a);
        assert_int_equal(j.status, JOB_COMPLETED);
    }
    refused(&f, FX_STORE, "a", "kept or on their way");
    OK(job_discard(f.engine, FX_STORE, j.id, e));
    /* a whole one: there is room for three of these now */
    j = must_start(&f, FX_STORE, "a", a);
    assert_int_equal(end_of(&f, FX_STORE, j.id, a).status, JOB_COMPLETED);
    for (unsigned i = 0; i < 8; i++) {
        OK(job_submit(f.engine, &q, a, &j, e));
        assert_int_equal(end_of(&f, FX_STORE, j.id, a).status, JOB_COMPLETED);
    }
    struct job last = must_start(&f, FX_STORE, "a", a), more = must_start(&f, FX_STORE, "a", a);
    /* they count as they may become */
    refused(&f, FX_STORE, "a", "kept or on their way");
    (void)end_of(&f, FX_STORE, last.id, a);
    (void)end_of(&f, FX_STORE, more.id, a);
    fx_close(&f);
}

/* As small as may be asked for: a file takes a block of the disk, whatever is in it, and a line of
 * the manifest. */
TEST(kept, very_many_small_files_count_as_what_they_take)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    const struct job_export_params tiny = { .served = true, .max_file_bytes = 1 };
    begin(&f, 100);
    /* 110 kB of lines, and 100 blocks */
    limits.store_bytes = 300000;
    engine(&f);
    struct job j;
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.params = &tiny;
    OK(job_submit(f.engine, &q, a, &j, e));
    j = end_of(&f, FX_STORE, j.id, a);
    assert_int_equal(j.status, JOB_FAILED);
    fx_engine_stop(&f);
    limits.store_bytes = 0;
    engine(&f);
    OK(job_submit(f.engine, &q, a, &j, e));
    j = end_of(&f, FX_STORE, j.id, a);
    assert_int_equal(j.status, JOB_COMPLETED);
    assert_int_equal(j.progress.objects_exported, 100);
    fx_engine_stop(&f);
    /* of the one that is kept, as the records have it */
    limits.store_bytes = 500000;
    engine(&f);
    refused(&f, FX_STORE, "a", "kept or on their way");
    fx_close(&f);
}

/* 11,000 resources of a type. */
static void fill_basics(struct fx *f)
{
    struct store *st = fx_store(f);
    CLEANUP(fhir_reader_free) struct fhir_reader *reader = fhir_reader_new(1 << 20);
    for (unsigned i = 0; i < 11; i++) {
        CLEANUP(arena_free) struct arena *b = arena_new(8 << 20);
        struct store_write *w = arena_calloc(b, 1000, sizeof *w);
        struct store_commit c;
        for (unsigned k = 0; k < 1000; k++) {
            CLEANUP_BUF struct buf body = BUF_INIT(1 << 20);
            struct fhir_envelope env;
            sv text = arena_fmt(b, "{\"resourceType\":\"Basic\",\"id\":\"b%u-%u\"}", i, k);
            OK(fhir_envelope_read(reader, text, SV_NONE, &body, &env, e));
            w[k] = (struct store_write){ .type = env.type,
                                         .id = arena_sv(b, env.id),
                                         .method = STORE_METHOD_UPDATE,
                                         .body = env.body };
            w[k].body.json = arena_sv(b, env.body.json);
        }
        OK(store_commit(st, w, 1000, &c, e));
    }
    store_registry_release(f->stores, st);
}

TEST(files, of_an_export_that_asks_for_small_ones_are_ten_thousand_at_most_wherever_they_go)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    const struct job_export_params one = { .max_file_bytes = 1, .types = LIST(S("Basic")) },
                                   ten = { .max_file_bytes = 400, .types = LIST(S("Basic")) };
    begin(&f, 1);
    fill_basics(&f);
    engine(&f);
    struct job j;
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    q.params = &one;
    OK(job_submit(f.engine, &q, a, &j, e));
    j = end_of(&f, FX_STORE, j.id, a);
    assert_int_equal(j.status, JOB_FAILED);
    assert_non_null(strstr(arena_str(a, j.message), "more than 10000 files"));
    CLEANUP_BUF struct buf left = BUF_INIT(FX_MOST);
    fx_tree(&f, "out/p", &left);
    assert_int_equal(left.len, 0);
    /* a few in each are few enough */
    q.params = &ten;
    OK(job_submit(f.engine, &q, a, &j, e));
    j = end_of(&f, FX_STORE, j.id, a);
    assert_int_equal(j.status, JOB_COMPLETED);
    assert_int_equal(j.progress.resources_exported, 11000);
    assert_in_range(j.progress.objects_exported, 2000, 10000);
    fx_close(&f);
}

struct racer {
    struct fx *f;
    unsigned n_in;
    bool wrong;
};

static void *race(void *ctx)
{
    struct racer *r = ctx;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    for (unsigned i = 0; i < 10; i++) {
        struct job j;
        struct err e;
        err_code rc = start(r->f, i % 2 ? FX_STORE : OTHER, "a", a, &j, NULL, &e);
        r->n_in += rc == ERR_OK;
        r->wrong |= rc != ERR_OK && rc != ERR_THROTTLED;
    }
    return NULL;
}

TEST(kept, many_at_once_take_no_more_places_than_there_are)
{
    struct fx f;
    pthread_t t[6];
    struct racer r[6];
    unsigned n = 0;
    begin(&f, 3);
    limits.per_store = 9;
    limits.per_caller = 14;
    engine(&f);
    for (unsigned i = 0; i < 6; i++) {
        r[i] = (struct racer){ .f = &f };
        assert_int_equal(pthread_create(&t[i], NULL, race, &r[i]), 0);
    }
    for (unsigned i = 0; i < 6; i++) {
        pthread_join(t[i], NULL);
        assert_false(r[i].wrong);
        n += r[i].n_in;
    }
    assert_int_equal(n, 14);
    fx_close(&f);
}

TEST(disk, what_is_left_of_it_is_the_data_stores)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct err why;
    begin(&f, 400);
    limits.per_store = 5;
    engine(&f);
    struct job j = must_start(&f, FX_STORE, "a", a);
    /* it waits or runs */
    fx_engine_stop(&f);
    min_free = UINT64_MAX;
    engine(&f);
    refused(&f, FX_STORE, "a", "nearly full");
    j = end_of(&f, FX_STORE, j.id, a);
    /* it had not ended before */
    if (j.status != JOB_COMPLETED) {
        assert_int_equal(j.status, JOB_FAILED);
        assert_non_null(strstr(arena_str(a, j.message), "disk of the data folder"));
    }
    struct job_engine_config cfg = { .spool_dir = f.spool, .min_free_bytes = 1 };
    OK(job_disk_check(&cfg, NULL, e));
    cfg.min_free_bytes = 0;
    /* by the disk of this machine, whatever it has */
    IGNORE(job_disk_check(&cfg, NULL, &why));
    fx_close(&f);
}

TEST(disk, an_export_to_the_callers_own_place_has_no_place_here)
{
    struct fx f;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct job j;
    begin(&f, 3);
    limits.per_store = limits.per_caller = 1;
    engine(&f);
    (void)must_start(&f, FX_STORE, "a", a);
    for (unsigned i = 0; i < 3; i++) {
        struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
        OK(job_submit(f.engine, &q, a, &j, e));
    }
    assert_int_equal(fx_wait(&f, JOB_EXPORT, j.id, a).status, JOB_COMPLETED);
    refused(&f, FX_STORE, "b", "1 exports of this data store");
    fx_close(&f);
}

TEST_MAIN(T(kept, of_a_data_store_no_more_than_its_number_wait_run_or_are_served),
          T(kept, for_a_caller_no_more_than_his_number_over_all_data_stores),
          T(kept, what_comes_to_nothing_gives_its_place_back),
          T(kept, bytes_are_counted_while_they_are_written_and_over_a_restart),
          T(kept, of_a_data_store_so_many_copies_and_small_ones_beside_them),
          T(kept, very_many_small_files_count_as_what_they_take),
          T(files, of_an_export_that_asks_for_small_ones_are_ten_thousand_at_most_wherever_they_go),
          T(kept, many_at_once_take_no_more_places_than_there_are),
          T(disk, what_is_left_of_it_is_the_data_stores),
          T(disk, an_export_to_the_callers_own_place_has_no_place_here))
