/* test_place.c - the place of served files that several machines share: it is the same for all of
 * them, what one removes is gone for the others, and none removes what another one writes. */
#include "job/served.h"

#include "base/rng.h"
#include "job/job_private.h"

#define OWNER "0123456789abcdef0123456789abcdef"
#define ONE   "11111111111111111111111111111111"
#define TWO   "22222222222222222222222222222222"
#define MARK  ".fhirlake-exports"

static struct job_files *place_of(struct fx *f, const char *dir, const char *owner)
{
    struct job_files *place = NULL;
    const struct job_files_config at = {
        .dir = dir, .owner = owner, .scratch_dir = f->root, .records = f->records
    };
    OK(job_files_open(&at, &place, e));
    return place;
}

/* A machine that begins with that directory. */
static err_code begins(struct fx *f, const char *dir, const char *owner, struct err *why)
{
    CLEANUP(job_files_free) struct job_files *place = place_of(f, dir, owner);
    TRY(job_files_agree(place, why));
    return job_files_check(place, why);
}

static const char *other_dir(const struct fx *f)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/other", f->root);
    return path;
}

static void put_file(const char *dir, const char *job, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, job);
    OK(file_mkdirs(path, e));
    (void)snprintf(path, sizeof path, "%s/%s/%s", dir, job, name);
    OK(file_write_atomic(path, SV_LIT("text"), e));
}

static bool is_there(const char *dir, const char *job)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, job);
    return access(path, F_OK) == 0;
}

static void keeps(struct fx *f, bool so)
{
    const struct records_write w = { so ? RECORDS_PUT : RECORDS_DELETE,
                                     SV_LIT("jobexpiry/00000000000000ff/" ONE), FX_STORE };
    OK(records_write(f->records, &w, 1, e));
}

TEST(place, is_the_same_for_all_machines_or_is_refused)
{
    struct fx f;
    struct err why;
    fx_open(&f);
    const char *other = other_dir(&f);
    OK(begins(&f, f.served, OWNER, e));
    OK(begins(&f, f.served, OWNER, e));
    keeps(&f, true);
    OK(begins(&f, f.served, OWNER, e));
    assert_int_equal(begins(&f, other, OWNER, &why), ERR_CONFLICT);
    assert_non_null(strstr(why.msg, "copies it with that file"));
    assert_false(is_there(other, MARK));
    /* it was moved with its mark */
    char from[300], to[300];
    CLEANUP_BUF struct buf mark = BUF_INIT(200);
    (void)snprintf(from, sizeof from, "%s/" MARK, f.served);
    (void)snprintf(to, sizeof to, "%s/" MARK, other);
    OK(file_read(from, &mark, e));
    OK(file_write_atomic(to, buf_sv(&mark), e));
    OK(begins(&f, other, OWNER, e));
    fx_close(&f);
}

TEST(place, of_another_database_is_left_alone)
{
    struct fx f;
    struct err why;
    fx_open(&f);
    OK(begins(&f, f.served, TWO, e));
    assert_int_equal(begins(&f, f.served, OWNER, &why), ERR_CONFLICT);
    assert_non_null(strstr(why.msg, "another database"));
    OK(begins(&f, f.served, TWO, e));
    char path[300];
    (void)snprintf(path, sizeof path, "%s/" MARK, f.served);
    OK(file_write_atomic(path, SV_LIT("rubbish\n"), e));
    FAILS(ERR_CONFLICT, begins(&f, f.served, TWO, e));
    fx_close(&f);
}

TEST(place, may_be_another_one_while_nothing_is_kept_and_who_runs_on_is_told)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(job_files_free) struct job_files *first = place_of(&f, f.served, OWNER);
    OK(job_files_agree(first, e));
    OK(begins(&f, other_dir(&f), OWNER, e));
    FAILS(ERR_CONFLICT, job_files_check(first, e));
    /* and back: the mark is made anew, and who sees it goes on */
    OK(begins(&f, f.served, OWNER, e));
    OK(job_files_check(first, e));
    /* a directory that was seen can be unmounted */
    char path[300];
    (void)snprintf(path, sizeof path, "%s/" MARK, f.served);
    assert_int_equal(unlink(path), 0);
    FAILS(ERR_CONFLICT, job_files_check(first, e));
    FAILS(ERR_UNAVAILABLE, job_files_reach(first, e));
    OK(begins(&f, f.served, OWNER, e));
    OK(job_files_reach(first, e));
    /* what is kept in a place of one machine alone does not hinder the first that is shared */
    keeps(&f, true);
    OK(records_write(f.records, &(struct records_write){ RECORDS_DELETE, SV_LIT("exportplace") }, 1,
                     e));
    OK(begins(&f, f.served, OWNER, e));
    fx_close(&f);
}

TEST(place, of_one_machine_has_no_mark)
{
    struct fx f;
    fx_open(&f);
    OK(begins(&f, f.served, NULL, e));
    OK(begins(&f, other_dir(&f), NULL, e));
    assert_false(is_there(f.served, MARK));
    fx_close(&f);
}

static err_code removed(void *ctx, sv datastore_id, sv id, struct err *e)
{
    (void)ctx;
    (void)datastore_id;
    (void)id;
    (void)e;
    return ERR_OK;
}

static struct job_served *janitor_of(struct fx *f, const char *owner)
{
    struct job_served *s = NULL;
    const struct job_engine_config cfg = {
        .records = f->records, .served_dir = f->served, .served_owner = owner, .spool_dir = f->root
    };
    OK(job_served_open(&cfg, NULL, removed, NULL, &s, e));
    return s;
}

TEST(place, a_start_removes_what_no_job_of_any_machine_has_and_nothing_else)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    put_file(f.served, ONE, "runs");
    put_file(f.served, TWO, "kept");
    put_file(f.served, OWNER, "left by a crash");
    put_file(f.served, "lost+found", "the operator's");
    /* another machine's: this one has heard of neither */
    OK(records_put(f.records, job_key_active(a, 7), SV_LIT("export/" OWNER "/" ONE), e));
    OK(records_put(f.records, job_key_manifest(a, SV_LIT(TWO)), SV_LIT("{}"), e));
    struct job_served *s = janitor_of(&f, OWNER);
    assert_true(is_there(f.served, ONE "/runs"));
    assert_true(is_there(f.served, TWO "/kept"));
    assert_true(is_there(f.served, "lost+found/the operator's"));
    assert_false(is_there(f.served, OWNER));
    job_served_stop(s);
    fx_close(&f);
}

TEST(place, two_janitors_remove_what_is_due_and_neither_minds_the_other)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct job_served *one = janitor_of(&f, OWNER), *two = janitor_of(&f, OWNER);
    for (unsigned i = 0; i < 40; i++) {
        char id[33];
        (void)snprintf(id, sizeof id, "%032x", i);
        for (unsigned k = 0; k < 20; k++) {
            char name[16];
            (void)snprintf(name, sizeof name, "f%u", k);
            put_file(f.served, id, name);
        }
        OK(records_put(f.records, job_key_manifest(a, sv_from(id)), SV_LIT("{}"), e));
        OK(records_put(f.records, job_key_expiry(a, 1, sv_from(id)), FX_STORE, e));
    }
    job_served_expect(one, 1);
    job_served_expect(two, 1);
    /* and a third, which deletes the data store */
    CLEANUP(job_files_free) struct job_files *place = place_of(&f, f.served, OWNER);
    OK(job_served_drop(one, FX_STORE, e));
    for (unsigned i = 0; i < 40; i++) {
        char id[33];
        (void)snprintf(id, sizeof id, "%032x", i);
        OK(job_files_remove(place, sv_from(id), e));
    }
    job_served_stop(one);
    job_served_stop(two);
    struct job_keys left = { .a = a };
    OK(records_scan(f.records, SV_LIT(JOB_KEYS_EXPIRY), SV_NONE, job_keys_add, &left, e));
    assert_int_equal(left.n, 0);
    for (unsigned i = 0; i < 40; i++) {
        char id[33];
        (void)snprintf(id, sizeof id, "%032x", i);
        assert_false(is_there(f.served, id));
    }
    fx_close(&f);
}

TEST(place, that_is_away_keeps_what_is_to_be_removed_and_the_record_of_it)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    CLEANUP_BUF struct buf mark = BUF_INIT(200);
    char path[300];
    struct job_served *s = janitor_of(&f, OWNER);
    put_file(f.served, ONE, "text");
    OK(records_put(f.records, job_key_manifest(a, SV_LIT(ONE)), SV_LIT("{}"), e));
    OK(records_put(f.records, job_key_expiry(a, INT64_MAX, SV_LIT(ONE)), FX_STORE, e));
    (void)snprintf(path, sizeof path, "%s/" MARK, f.served);
    OK(file_read(path, &mark, e));
    assert_int_equal(unlink(path), 0);
    FAILS(ERR_UNAVAILABLE, job_served_drop(s, FX_STORE, e));
    assert_true(is_there(f.served, ONE));
    OK(file_write_atomic(path, buf_sv(&mark), e));
    OK(job_served_drop(s, FX_STORE, e));
    assert_false(is_there(f.served, ONE));
    job_served_stop(s);
    fx_close(&f);
}

/* What a writer of another machine has under its hands. */
TEST(place, a_start_leaves_files_that_are_being_written_to_their_writers)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    put_file(f.served, ONE, ".fhirlake-tmp-1");
    OK(records_put(f.records, job_key_active(a, 7), SV_LIT("export/" OWNER "/" ONE), e));
    job_served_stop(janitor_of(&f, OWNER));
    assert_true(is_there(f.served, ONE "/.fhirlake-tmp-1"));
    /* a place of this machine alone: its writer is dead */
    job_served_stop(janitor_of(&f, NULL));
    assert_false(is_there(f.served, ONE "/.fhirlake-tmp-1"));
    fx_close(&f);
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

TEST(place, of_one_machine_serves_no_exports_while_there_are_others)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.params = &served;
    for (int shared = 0; shared < 2; shared++) {
        struct job_engine_config cfg = {
            .kinds = { [JOB_EXPORT] = &export_ops, [JOB_IMPORT] = &import_ops },
            .records = f.records,
            .stores = f.stores,
            .world = f.world,
            .spool_dir = f.spool,
            .served_dir = f.served,
            .served_owner = shared ? OWNER : NULL,
            .is_alone = never,
            .n_workers = 2
        };
        OK(job_engine_start(&cfg, &f.engine, e));
        fill(&f);
        struct job j;
        struct err why;
        err_code rc = job_submit(f.engine, &q, a, &j, &why);
        assert_int_equal(rc, shared ? ERR_OK : ERR_UNSUPPORTED);
        if (shared)
            assert_int_equal(fx_wait(&f, JOB_EXPORT, j.id, a).status, JOB_COMPLETED);
        else
            assert_non_null(strstr(why.msg, "--export-files"));
        /* the place was unmounted, say, and its mark with it */
        char path[300];
        (void)snprintf(path, sizeof path, "%s/" MARK, f.served);
        if (shared) {
            assert_int_equal(unlink(path), 0);
            assert_int_equal(job_submit(f.engine, &q, a, &j, &why), ERR_UNAVAILABLE);
            assert_non_null(strstr(why.msg, "--export-files"));
            assert_null(strstr(why.msg, f.served));
        }
        fx_engine_stop(&f);
    }
    fx_close(&f);
}

/* One of two machines. */
static struct job_engine *engine_of(struct fx *f)
{
    struct job_engine *engine = NULL;
    const struct job_engine_config cfg = {
        .kinds = { [JOB_EXPORT] = &export_ops, [JOB_IMPORT] = &import_ops },
        .records = f->records,
        .stores = f->stores,
        .world = f->world,
        .spool_dir = f->spool,
        .many_machines = true,
        .served_dir = f->served,
        .served_owner = OWNER,
        .served_limits = { .per_store = 2, .per_caller = 9 },
        .n_workers = 2
    };
    OK(job_engine_start(&cfg, &engine, e));
    return engine;
}

static err_code serves(struct fx *f, struct job_engine *engine, struct arena *a, struct job *out,
                       struct err *why)
{
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.params = &served;
    TRY(job_submit(engine, &q, a, out, why));
    f->engine = engine;
    *out = fx_wait(f, JOB_EXPORT, out->id, a);
    f->engine = NULL;
    return ERR_OK;
}

TEST(place, what_one_machine_keeps_counts_for_the_others)
{
    struct fx f;
    struct job j, first;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    struct job_engine *one = engine_of(&f), *two = engine_of(&f);
    fill(&f);
    OK(serves(&f, one, a, &first, e));
    OK(serves(&f, one, a, &j, e));
    FAILS(ERR_THROTTLED, serves(&f, two, a, &j, e));
    FAILS(ERR_THROTTLED, serves(&f, one, a, &j, e));
    /* and who is deleted at one frees a place at the other */
    OK(job_discard(one, FX_STORE, first.id, e));
    OK(serves(&f, two, a, &j, e));
    FAILS(ERR_THROTTLED, serves(&f, one, a, &j, e));
    job_engine_stop(one);
    job_engine_stop(two);
    fx_close(&f);
}

TEST_MAIN(T(place, is_the_same_for_all_machines_or_is_refused),
          T(place, of_another_database_is_left_alone),
          T(place, may_be_another_one_while_nothing_is_kept_and_who_runs_on_is_told),
          T(place, of_one_machine_has_no_mark),
          T(place, a_start_removes_what_no_job_of_any_machine_has_and_nothing_else),
          T(place, two_janitors_remove_what_is_due_and_neither_minds_the_other),
          T(place, that_is_away_keeps_what_is_to_be_removed_and_the_record_of_it),
          T(place, a_start_leaves_files_that_are_being_written_to_their_writers),
          T(place, what_one_machine_keeps_counts_for_the_others),
          T(place, of_one_machine_serves_no_exports_while_there_are_others))
