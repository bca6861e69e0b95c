/* Many small files of loads become few, while the store is used, and whatever ends that: every
 * version is there as before. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/rocks/rocks_private.h"

#include <time.h>

#define GROUP    100u
#define LOADS    (FOLD_FILES + GROUP) /* a multiple of it */
#define PER_LOAD 3u

static char path[64];
static struct store_env *env;
static struct store *st;
static fhir_type patient;

static void open_it(void)
{
    OK(store_open(env, path, true, &st, e));
}

static void set_up(void)
{
    (void)snprintf(path, sizeof path, TEST_TMP "/fhirlake-fold-%016llx",
                   (unsigned long long)rng_u64());
    env = store_env_new(8 << 20, 2);
    patient = fhir_type_find(SV_LIT("Patient"));
    open_it();
}

static void tear_down(void)
{
    store_close(st);
    store_env_free(env);
    OK(file_remove_tree(path, e));
}

/* Load i of new ids; of the tenth of ids before it, a new version. */
static struct store_bulk *filled(unsigned i)
{
    static const char json[] = "{\"resourceType\":\"Patient\"}";
    struct store_bulk_item items[PER_LOAD + 1];
    char ids[PER_LOAD + 1][24];
    struct store_bulk *bulk;
    size_t n = 0;
    for (unsigned k = 0; k < PER_LOAD + (i % 10 == 9); k++) {
        (void)snprintf(ids[k], sizeof ids[k], "p%u-%u", k < PER_LOAD ? i : i - 9, k % PER_LOAD);
        items[n++] =
            (struct store_bulk_item){ .type = patient,
                                      .id = sv_from(ids[k]),
                                      .body = { SV_LIT(json), sizeof json - 2, FHIR_HOLE_NO_META },
                                      .seq = k };
    }
    OK(store_bulk_begin(st, &bulk, e));
    OK(store_bulk_fill(bulk, items, n, e));
    return bulk;
}

static void publish(unsigned from, unsigned n)
{
    struct store_bulk *bulks[GROUP];
    struct store_commit c;
    for (unsigned i = 0; i < n; i++)
        bulks[i] = filled(from + i);
    OK(store_bulk_publish_all(bulks, n, SV_NONE, SV_NONE, &c, e));
}

static void check_all(unsigned n_loads)
{
    CLEANUP(store_cursor_close) struct store_cursor *c = NULL;
    const struct store_range all = { .type = patient };
    struct store_version v;
    unsigned n = 0, twice = 0;
    err_code rc;
    struct err err;
    OK(store_scan(st, &all, STORE_NOW, &c, e));
    while ((rc = store_cursor_next(c, &v, &err)) == ERR_OK) {
        n++;
        twice += v.version == 2;
    }
    assert_int_equal(rc, ERR_EOF);
    assert_int_equal(n, n_loads * PER_LOAD);
    assert_int_equal(twice, n_loads / 10);
    for (unsigned i = 0; i < n_loads; i += 7) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        char id[24];
        (void)snprintf(id, sizeof id, "p%u-0", i);
        OK(store_get(st, patient, sv_from(id), STORE_NOW, a, &v, e));
        assert_int_equal(v.version, i % 10 == 0 ? 2 : 1);
        OK(store_get(st, patient, sv_from(id), i + 1, a, &v, e));
        assert_int_equal(v.version, 1);
    }
}

static void wait_for_rest(void)
{
    while (atomic_load(&((struct rocks *)st)->fold.under_way))
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static uint64_t n_files(void)
{
    return rocks_files((struct rocks *)st, CF_VERSIONS, ROCKS_LOWEST_LEVEL);
}

TEST(fold, many_files_become_few_and_no_version_is_lost)
{
    (void)state;
    set_up();
    unsigned i = 0;
    for (; i < FOLD_FILES - GROUP; i += GROUP)
        publish(i, GROUP);
    /* few enough: nothing is written once more */
    wait_for_rest();
    assert_in_range(n_files(), FOLD_FILES - GROUP, FOLD_FILES - 1);
    for (; i < LOADS; i += GROUP)
        publish(i, GROUP);
    wait_for_rest();
    assert_in_range(n_files(), 1, 200);
    check_all(LOADS);
    tear_down();
}

TEST(fold, a_store_that_is_closed_meanwhile_goes_on_at_its_next_load)
{
    (void)state;
    set_up();
    for (unsigned i = 0; i < LOADS; i += GROUP)
        publish(i, GROUP);
    store_close(st);
    open_it();
    check_all(LOADS);
    for (unsigned i = LOADS; i < LOADS + FOLD_FILES; i += GROUP)
        publish(i, GROUP);
    wait_for_rest();
    assert_in_range(n_files(), 1, FOLD_FILES);
    check_all(LOADS + FOLD_FILES);
    tear_down();
}

TEST_MAIN(T(fold, many_files_become_few_and_no_version_is_lost),
          T(fold, a_store_that_is_closed_meanwhile_goes_on_at_its_next_load))
