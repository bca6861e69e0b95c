/* test_engines.c - a URI names an engine and a place; one that names none is refused with the
 * list. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/last.h"
#include "store/registry.h"
#include "store/store_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static const struct store_engine *engine_of(const char *uri, const char **place)
{
    const struct store_engine *engine = NULL;
    OK(store_engine_of(uri, &engine, place, e));
    return engine;
}

TEST(engines, a_path_alone_means_rocksdb)
{
    (void)state;
    const char *place, *paths[] = { "/data/stores", "./stores", "stores", "/data/a:b", "A:b", "" };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_string_equal(engine_of(paths[i], &place)->scheme, "rocksdb");
        assert_string_equal(place, paths[i]);
    }
}

TEST(engines, a_scheme_names_the_engine_and_the_rest_is_the_place)
{
    (void)state;
    const char *place;
    assert_string_equal(engine_of("rocksdb:/data/a:b", &place)->scheme, "rocksdb");
    assert_string_equal(place, "/data/a:b");
    assert_string_equal(engine_of("memory:", &place)->scheme, "memory");
    assert_string_equal(place, "");
}

TEST(engines, an_unknown_scheme_is_refused_with_those_there_are)
{
    (void)state;
    struct err why = { 0 };
    struct store *st = NULL;
    assert_int_equal(store_open(NULL, "sqlite:/x", true, &st, &why), ERR_INVALID);
    /* the engine on PostgreSQL is named behind them where it is built */
    const char *words = "no store engine has the name \"sqlite\"; there are: "
                        "rocksdb:PATH (or a path alone), memory:";
    assert_memory_equal(why.msg, words, strlen(words));
    assert_null(st);
    FAILS(ERR_INVALID, records_open("rocks:/x", &(struct records *){ NULL }, e));
}

TEST(engines, a_store_in_memory_is_new_each_time_and_has_no_place)
{
    (void)state;
    struct store *st = NULL;
    FAILS(ERR_INVALID, store_open(NULL, "memory:/x", true, &st, e));
    FAILS(ERR_NOT_FOUND, store_open(NULL, "memory:", false, &st, e));
    OK(store_open(NULL, "memory:", true, &st, e));
    assert_int_equal(last_of(st).t, 0);
    store_close(st);
}

TEST(engines, a_registry_needs_an_engine_that_keeps_stores_by_name)
{
    (void)state;
    struct store_registry *r = NULL;
    FAILS(ERR_UNSUPPORTED, store_registry_new(NULL, "memory:", &r, e));
    FAILS(ERR_INVALID, store_registry_new(NULL, "sqlite:x", &r, e));
    assert_null(r);
}

TEST(engines, a_folder_whose_name_holds_a_colon_is_reached_by_its_scheme)
{
    (void)state;
    struct store_env *env = store_env_new(8 << 20, 1);
    struct store_registry *r = NULL;
    struct store *st = NULL;
    struct records *records = NULL;
    sv id = SV_LIT("0123456789abcdef0123456789abcdef");
    char root[80], uri[96], place[128];
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-a:b-%016llx",
                   (unsigned long long)rng_u64());
    (void)snprintf(uri, sizeof uri, "rocksdb:%s", root);
    OK(store_registry_new(env, uri, &r, e));
    OK(store_registry_acquire(r, id, true, &st, e));
    (void)snprintf(place, sizeof place, "%s/%.*s", root, SV_FMT(id));
    assert_int_equal(access(place, F_OK), 0);
    store_registry_release(r, st);
    OK(store_registry_remove(r, id, e));
    assert_int_not_equal(access(place, F_OK), 0);
    (void)snprintf(uri, sizeof uri, "rocksdb:%s/system", root);
    OK(records_open(uri, &records, e));
    records_close(records);
    store_registry_free(r);
    store_env_free(env);
    OK(file_remove_tree(root, e));
}

/* What the files of a folder take, and what they hold. */
static void folder_bytes(const char *path, uint64_t *taken, uint64_t *held)
{
    struct dirent *x;
    DIR *d = opendir(path);
    assert_non_null(d);
    while ((x = readdir(d)) != NULL) {
        struct stat st;
        if (fstatat(dirfd(d), x->d_name, &st, 0) == 0 && S_ISREG(st.st_mode)) {
            *taken += (uint64_t)st.st_blocks * 512;
            *held += (uint64_t)st.st_size;
        }
    }
    closedir(d);
}

TEST(engines, where_files_are_in_memory_none_takes_more_than_it_holds)
{
    (void)state;
    struct statfs fs;
    if (statfs("/dev/shm", &fs) != 0 || fs.f_type != TMPFS_MAGIC || access("/dev/shm", W_OK) != 0)
        skip();
    struct store_env *env = store_env_new(8 << 20, 1);
    struct store *st;
    struct records *records;
    char root[80], stores[96], system[96];
    (void)snprintf(root, sizeof root, "/dev/shm/fhirlake-taken-%016llx",
                   (unsigned long long)rng_u64());
    (void)snprintf(stores, sizeof stores, "%s/store", root);
    (void)snprintf(system, sizeof system, "%s/system", root);
    OK(file_mkdirs(root, e));
    OK(store_open(env, stores, true, &st, e));
    OK(records_open(system, &records, e));
    uint64_t taken = 0, held = 0;
    folder_bytes(stores, &taken, &held);
    folder_bytes(system, &taken, &held);
    /* a page for the rest of each file */
    assert_true(held > 0 && taken < held + (256u << 10));
    records_close(records);
    store_close(st);
    store_env_free(env);
    OK(file_remove_tree(root, e));
}

TEST_MAIN(T(engines, a_path_alone_means_rocksdb),
          T(engines, a_scheme_names_the_engine_and_the_rest_is_the_place),
          T(engines, an_unknown_scheme_is_refused_with_those_there_are),
          T(engines, a_store_in_memory_is_new_each_time_and_has_no_place),
          T(engines, a_registry_needs_an_engine_that_keeps_stores_by_name),
          T(engines, a_folder_whose_name_holds_a_colon_is_reached_by_its_scheme),
          T(engines, where_files_are_in_memory_none_takes_more_than_it_holds))
