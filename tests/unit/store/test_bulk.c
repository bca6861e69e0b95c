/* Bulk loads beside one another and beside commits: each of them is taken in, and all of it is
 * there afterwards. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/checking.h"
#include "store/last.h"
#include "store/store_private.h"
#include "store/threads.h"

#include <dlfcn.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <unistd.h>

enum { LOADERS = 4, COMMITTERS = 3, LOADS = 60, PER_LOAD = 8, N_TYPES = 3 };

static struct store *shared;
static atomic_bool loads_over;
static atomic_uint n_committed;

static const char json[] = "{\"resourceType\":\"Patient\",\"id\":\"x\"}";
static const struct fhir_body body = { { json, sizeof json - 1 },
                                       sizeof json - 2,
                                       FHIR_HOLE_NO_META };

/* What a test does in the middle of somebody's call: by whichever thread comes first, once. */
typedef void (*hook)(void);

/* Behind the next files that are taken in. */
static _Atomic(hook) after_ingest;
static atomic_bool taken_in;

/* What RocksDB answers to the next calls, before it is asked itself. */
static const char *refusal;
static atomic_int n_refusals, n_calls;

/* Stands before the library's own. */
void rocksdb_ingest_external_file_cf(rocksdb_t *db, rocksdb_column_family_handle_t *cf,
                                     const char *const *files, const size_t n,
                                     const rocksdb_ingestexternalfileoptions_t *o, char **bad)
{
    atomic_fetch_add(&n_calls, 1);
    if (atomic_load(&n_refusals) > 0) {
        atomic_fetch_sub(&n_refusals, 1);
        *bad = strdup(refusal);
        return;
    }
    void (*own)(rocksdb_t *, rocksdb_column_family_handle_t *, const char *const *, size_t,
                const rocksdb_ingestexternalfileoptions_t *, char **);
    *(void **)&own = dlsym(RTLD_NEXT, "rocksdb_ingest_external_file_cf");
    own(db, cf, files, n, o, bad);
    atomic_store(&taken_in, true);
}

/* The store calls this next, and holds no lock then. */
void rocksdb_ingestexternalfileoptions_destroy(rocksdb_ingestexternalfileoptions_t *o)
{
    void (*own)(rocksdb_ingestexternalfileoptions_t *);
    *(void **)&own = dlsym(RTLD_NEXT, "rocksdb_ingestexternalfileoptions_destroy");
    own(o);
    hook then = atomic_exchange(&taken_in, false) ? atomic_exchange(&after_ingest, NULL) : NULL;
    if (then)
        then();
}

/* Before the next batch of a commit is written. */
static _Atomic(hook) before_write;
/* The disk is full, as that batch finds. */
static atomic_bool full_once;

void rocksdb_write(rocksdb_t *db, const rocksdb_writeoptions_t *o, rocksdb_writebatch_t *batch,
                   char **bad)
{
    hook first = atomic_exchange(&before_write, NULL);
    void (*own)(rocksdb_t *, const rocksdb_writeoptions_t *, rocksdb_writebatch_t *, char **);
    *(void **)&own = dlsym(RTLD_NEXT, "rocksdb_write");
    if (first)
        first();
    if (atomic_exchange(&full_once, false))
        *bad = strdup("IO error: No space left on device");
    else
        own(db, o, batch, bad);
}

/* A store of the test's own. */
static char path[64];
static struct store_env *env;

static void open_shared(unsigned n_background)
{
    (void)snprintf(path, sizeof path, TEST_TMP "/fhirlake-bulk-%016llx",
                   (unsigned long long)rng_u64());
    /* before there are threads */
    for (fhir_type t = 1; t <= N_TYPES; t++)
        (void)plain_index(t);
    env = store_env_new(8 << 20, n_background);
    OK(store_open(env, path, true, &shared, e));
    atomic_store(&n_refusals, 0);
}

static void close_shared(void)
{
    store_close(shared);
    assert_checked(env, path);
    store_env_free(env);
    OK(file_remove_tree(path, e));
}

static err_code load_one(unsigned me, unsigned n, struct err *err)
{
    struct store_bulk_item items[PER_LOAD];
    char ids[PER_LOAD][24];
    /* from end to end, so that any two loads overlap */
    for (unsigned i = 0; i < PER_LOAD; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "%u-%u-%u", i, me, n);
        items[i] = (struct store_bulk_item){ .type = (fhir_type)(1 + i % N_TYPES),
                                             .id = sv_from(ids[i]),
                                             .body = body,
                                             .seq = i,
                                             .index = plain_index((fhir_type)(1 + i % N_TYPES)) };
    }
    struct store_bulk *b = NULL;
    struct store_commit at;
    TRY(store_bulk_begin(shared, &b, err));
    err_code rc = store_bulk_fill(b, items, PER_LOAD, err);
    if (rc != ERR_OK) {
        store_bulk_abort(b);
        return rc;
    }
    return store_bulk_publish(&b, SV_NONE, SV_NONE, &at, err);
}

static void *load(void *arg)
{
    for (unsigned n = 0; n < LOADS; n++)
        THREAD_OK(load_one(*(unsigned *)arg, n, e));
    return NULL;
}

/* Of the resource that a load and a commit give at once. */
static struct store_write same_write(void)
{
    return (struct store_write){ .type = 1,
                                 .id = SV_LIT("same"),
                                 .method = STORE_METHOD_UPDATE,
                                 .body = body,
                                 .index = plain_index(1) };
}

static unsigned resources_there(void)
{
    unsigned found = 0;
    for (fhir_type t = 1; t <= N_TYPES; t++) {
        CLEANUP(store_cursor_close) struct store_cursor *c = NULL;
        struct store_range all = { .type = t };
        struct store_version v;
        struct err err;
        err_code rc;
        OK(store_scan(shared, &all, STORE_NOW, &c, e));
        while ((rc = store_cursor_next(c, &v, &err)) == ERR_OK)
            found++;
        assert_int_equal(rc, ERR_EOF);
    }
    return found;
}

static void *commit(void *arg)
{
    unsigned me = *(unsigned *)arg;
    for (unsigned n = 0; !atomic_load(&loads_over); n++) {
        char id[24];
        (void)snprintf(id, sizeof id, "%u-c%u-%u", n % PER_LOAD, me, n);
        struct store_write w = { .type = (fhir_type)(1 + n % N_TYPES),
                                 .id = sv_from(id),
                                 .method = STORE_METHOD_UPDATE,
                                 .body = body,
                                 .index = plain_index((fhir_type)(1 + n % N_TYPES)) };
        struct store_commit at;
        THREAD_OK(store_commit(shared, &w, 1, &at, e));
        atomic_fetch_add(&n_committed, 1);
    }
    return NULL;
}

TEST(bulk, loads_and_commits_at_once_are_all_taken_in)
{
    (void)state;
    open_shared(4);
    pthread_t loaders[LOADERS], committers[COMMITTERS];
    unsigned who[LOADERS + COMMITTERS];
    for (unsigned i = 0; i < LOADERS + COMMITTERS; i++)
        who[i] = i;
    for (unsigned i = 0; i < COMMITTERS; i++)
        assert_int_equal(pthread_create(&committers[i], NULL, commit, &who[LOADERS + i]), 0);
    for (unsigned i = 0; i < LOADERS; i++)
        assert_int_equal(pthread_create(&loaders[i], NULL, load, &who[i]), 0);
    for (unsigned i = 0; i < LOADERS; i++)
        (void)pthread_join(loaders[i], NULL);
    atomic_store(&loads_over, true);
    for (unsigned i = 0; i < COMMITTERS; i++)
        (void)pthread_join(committers[i], NULL);
    assert_threads_were_fine();
    assert_int_equal(resources_there(), LOADERS * LOADS * PER_LOAD + atomic_load(&n_committed));
    close_shared();
}

/* Whether a load came through n refusals; and how many calls it took. */
static bool comes_through(const char *words, int n, int *calls, struct err *err)
{
    static unsigned loads;
    unsigned before = resources_there();
    refusal = words;
    atomic_store(&n_refusals, n);
    atomic_store(&n_calls, 0);
    err_code rc = load_one(0, loads++, err);
    *calls = atomic_load(&n_calls);
    assert_int_equal(resources_there(), before + (rc == ERR_OK ? PER_LOAD : 0));
    return rc == ERR_OK;
}

TEST(bulk, a_load_that_is_to_come_again_comes_again_and_any_other_refusal_is_told)
{
    (void)state;
    open_shared(1);
    struct err err;
    int calls;
    assert_true(comes_through("", 0, &calls, &err));
    /* ids, versions, changes */
    assert_int_equal(calls, 3);
    assert_true(comes_through("Operation failed. Try again.: ", 5, &calls, &err));
    assert_int_equal(calls, 8);
    assert_false(comes_through("Operation failed. Try again.: ", 1 << 20, &calls, &err));
    assert_non_null(strstr(err.msg, "Operation failed. Try again."));
    assert_false(comes_through("IO error: while link file to /secret/name: Permission denied", 1,
                               &calls, &err));
    assert_int_equal(calls, 1);
    assert_non_null(strstr(err.msg, "Permission denied"));
    assert_null(strstr(err.msg, "secret"));
    /* what was refused left nothing in the way */
    assert_true(comes_through("", 0, &calls, &err));
    close_shared();
}

static pthread_t late;
static struct store_bulk *late_load; /* begun */
static atomic_bool late_filled;

/* The id that the commit is about to write, too. */
static void *load_same(void *arg)
{
    struct store_bulk_item item = {
        .type = 1, .id = SV_LIT("same"), .body = body, .index = plain_index(1)
    };
    struct store_commit at;
    (void)arg;
    THREAD_OK(store_bulk_fill(late_load, &item, 1, e));
    atomic_store(&late_filled, true);
    THREAD_OK(store_bulk_publish(&late_load, SV_NONE, SV_NONE, &at, e));
    return NULL;
}

/* The load has its numbers when the commit is written; its files come in behind the commit. */
static void load_before_write(void)
{
    atomic_store(&n_calls, 0);
    assert_int_equal(pthread_create(&late, NULL, load_same, NULL), 0);
    while (!atomic_load(&late_filled))
        usleep(1000);
    assert_int_equal(atomic_load(&n_calls), 0);
}

TEST(bulk, a_load_that_comes_between_a_birth_by_a_commit_and_its_row_is_not_forgotten)
{
    (void)state;
    open_shared(1);
    struct store_write w = same_write();
    struct store_commit at;
    OK(store_bulk_begin(shared, &late_load, e));
    atomic_store(&before_write, load_before_write);
    OK(store_commit(shared, &w, 1, &at, e));
    (void)pthread_join(late, NULL);
    assert_threads_were_fine();
    assert_int_equal(last_of(shared).t, 2);
    /* looks at the row */
    close_shared();
}

static void commit_same(void)
{
    struct store_write w = same_write();
    struct store_commit at;
    OK(store_commit(shared, &w, 1, &at, e));
    assert_int_equal(w.version, 1);
}

static void load_the_same(void)
{
    struct store_bulk *other = NULL;
    struct store_bulk_item item = {
        .type = 1, .id = SV_LIT("same"), .body = body, .index = plain_index(1)
    };
    struct store_commit at;
    OK(store_bulk_begin(shared, &other, e));
    OK(store_bulk_fill(other, &item, 1, e));
    OK(store_bulk_publish(&other, SV_NONE, SV_NONE, &at, e));
    assert_int_equal(at.t, 1);
}

/* The row of a load is on disk before the load is published. Whoever finds it there comes first,
 * and is replaced by the load. */
TEST(bulk, what_finds_the_row_of_a_load_and_comes_before_it_is_counted_as_replaced)
{
    static void (*const others[])(void) = { commit_same, load_the_same };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        struct store_bulk *bulk = NULL;
        struct store_bulk_item item = {
            .type = 1, .id = SV_LIT("same"), .body = body, .index = plain_index(1)
        };
        struct store_commit at;
        struct store_version v;
        uint64_t n;
        open_shared(1);
        OK(store_bulk_begin(shared, &bulk, e));
        OK(store_bulk_fill(bulk, &item, 1, e));
        atomic_store(&after_ingest, others[i]);
        OK(store_bulk_publish(&bulk, SV_NONE, SV_NONE, &at, e));
        assert_int_equal(at.t, 2);
        OK(store_get(shared, 1, SV_LIT("same"), STORE_NOW, a, &v, e));
        assert_int_equal(v.version, 2);
        OK(store_count(shared, 1, 0, SV_NONE, &n, &at, e));
        assert_int_equal(n, 1);
        close_shared();
    }
}

/* When the disk has room again, RocksDB goes on, but takes in no files. */
TEST(bulk, a_store_that_could_not_write_takes_no_load_until_it_was_opened_anew)
{
    (void)state;
    struct err err;
    struct store_commit c;
    struct store_write w = {
        .type = 1, .id = SV_LIT("p"), .method = STORE_METHOD_UPDATE, .body = body
    };
    open_shared(1);
    w.index = plain_index(1);
    assert_int_equal(load_one(0, 0, &err), ERR_OK);
    atomic_store(&n_calls, 0);
    atomic_store(&full_once, true);
    assert_int_equal(store_commit(shared, &w, 1, &c, &err), ERR_NO_SPACE);
    OK(store_commit(shared, &w, 1, &c, e));
    assert_int_equal(load_one(0, 1, &err), ERR_IO);
    assert_string_equal(err.msg, "the data store could not write to its disk; it is opened anew "
                                 "when nobody uses it: try again then");
    assert_int_equal(atomic_load(&n_calls), 0);
    assert_true(shared->ops->wants_anew(shared));
    assert_true(store_has_failed(shared));
    store_close(shared);
    OK(store_open(env, path, false, &shared, e));
    assert_false(shared->ops->wants_anew(shared));
    assert_false(store_has_failed(shared));
    assert_int_equal(load_one(0, 1, &err), ERR_OK);
    assert_int_equal(resources_there(), 2 * PER_LOAD + 1);
    close_shared();
}

/* So many resources of a type. */
static void commit_many(fhir_type type, unsigned n)
{
    enum { PER_COMMIT = 500 };
    static struct store_write w[PER_COMMIT];
    static char ids[PER_COMMIT][24];
    struct store_commit c;
    for (unsigned done = 0; done < n; done += PER_COMMIT) {
        for (unsigned i = 0; i < PER_COMMIT; i++) {
            (void)snprintf(ids[i], sizeof ids[i], "5-%08u", done + i);
            w[i] = (struct store_write){ .type = type,
                                         .id = sv_from(ids[i]),
                                         .method = STORE_METHOD_UPDATE,
                                         .body = body,
                                         .index = plain_index(type) };
        }
        OK(store_commit(shared, w, PER_COMMIT, &c, e));
    }
}

static void commit_one(fhir_type type, const char *id)
{
    struct store_commit c;
    struct store_write w = { .type = type,
                             .id = sv_from(id),
                             .method = STORE_METHOD_UPDATE,
                             .body = body,
                             .index = plain_index(type) };
    OK(store_commit(shared, &w, 1, &c, e));
}

/* A file with rows from before and behind those of another one of level 0, which was made of loads,
 * is damage to RocksDB up to 7.9: it stops, and never opens that store again. */
TEST(bulk, commits_before_and_behind_loads_that_were_merged_can_be_written_out_and_opened_again)
{
    enum { N_BASE = 30000, N_LOADS = 7, ALONE = N_TYPES + 1 };
    struct err err;
    struct store_weight weight;
    (void)state;
    open_shared(2);
    (void)plain_index(ALONE);
    /* loads overlap with it, and it is too large to be merged with them */
    for (fhir_type t = 1; t <= N_TYPES; t++)
        commit_many(t, N_BASE / N_TYPES);
    OK(shared->ops->flush(shared, e));
    for (unsigned n = 0; n < N_LOADS; n++) {
        char id[24];
        (void)snprintf(id, sizeof id, "p%u", n);
        /* not between the keys of any load: RocksDB would not write it out by itself */
        commit_one(ALONE, id);
        assert_int_equal(load_one(0, n, &err), ERR_OK);
        do {
            shared->ops->weigh(shared, &weight);
        } while (weight.busy);
    }
    commit_one(ALONE, "q");
    OK(shared->ops->flush(shared, e));
    store_close(shared);
    OK(store_open(env, path, false, &shared, e));
    assert_int_equal(resources_there(), N_BASE + N_LOADS * PER_LOAD);
    close_shared();
}

TEST_MAIN(T(bulk, a_store_that_could_not_write_takes_no_load_until_it_was_opened_anew),
          T(bulk, what_finds_the_row_of_a_load_and_comes_before_it_is_counted_as_replaced),
          T(bulk, a_load_that_comes_between_a_birth_by_a_commit_and_its_row_is_not_forgotten),
          T(bulk, loads_and_commits_at_once_are_all_taken_in),
          T(bulk, a_load_that_is_to_come_again_comes_again_and_any_other_refusal_is_told),
          T(bulk,
            commits_before_and_behind_loads_that_were_merged_can_be_written_out_and_opened_again))
