/* The system's records: what outlives the process that wrote it, and one winner among those who put
 * if absent. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/records.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static struct records *open_at(const char *dir)
{
    struct records *r;
    OK(records_open(dir, &r, e));
    return r;
}

static void assert_value(struct records *r, const char *key, const char *value)
{
    CLEANUP_BUF struct buf b = BUF_INIT(100);
    OK(records_get(r, sv_from(key), &b, e));
    assert_true(sv_eq_cstr(buf_sv(&b), value));
}

TEST(records, an_unsynced_one_outlives_a_process_that_ends_without_a_word)
{
    (void)state;
    char dir[64];
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-records-%016llx",
                   (unsigned long long)rng_u64());
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err e;
        struct records *r;
        bool ok = records_open(dir, &r, &e) == ERR_OK &&
                  records_put(r, SV_LIT("a"), SV_LIT("synced"), &e) == ERR_OK &&
                  records_put_unsynced(r, SV_LIT("b"), SV_LIT("not"), &e) == ERR_OK &&
                  records_put_unsynced(r, SV_LIT("a"), SV_LIT("newer"), &e) == ERR_OK;
        /* closes nothing */
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    struct records *r = open_at(dir);
    assert_value(r, "a", "newer");
    assert_value(r, "b", "not");
    records_close(r);
    OK(file_remove_tree(dir, e));
}

/* A database that is begun anew over another removes its files. */
TEST(records, a_folder_that_has_lost_its_list_of_files_is_refused_and_stays)
{
    (void)state;
    char dir[64], current[80], aside[80];
    struct records *r;
    struct err err;
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-records-%016llx",
                   (unsigned long long)rng_u64());
    (void)snprintf(current, sizeof current, "%s/CURRENT", dir);
    (void)snprintf(aside, sizeof aside, "%s/aside", dir);
    r = open_at(dir);
    OK(records_put(r, SV_LIT("a"), SV_LIT("1"), e));
    records_close(r);
    assert_int_equal(rename(current, aside), 0);
    /* more than once: the second call would find what the first one began */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(records_open(dir, &r, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.msg, "no file CURRENT"));
        assert_int_equal(access(current, F_OK), -1);
    }
    assert_int_equal(rename(aside, current), 0);
    r = open_at(dir);
    assert_value(r, "a", "1");
    records_close(r);
    OK(file_remove_tree(dir, e));
}

TEST(records, those_opened_to_read_are_read_and_nothing_is_made)
{
    (void)state;
    char dir[64];
    struct records *r, *reader;
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-records-%016llx",
                   (unsigned long long)rng_u64());
    FAILS(ERR_NOT_FOUND, records_open_to_read(dir, &reader, e));
    assert_int_equal(access(dir, F_OK), -1);
    OK(file_mkdirs(dir, e));
    FAILS(ERR_NOT_FOUND, records_open_to_read(dir, &reader, e));
    assert_int_equal(rmdir(dir), 0);
    r = open_at(dir);
    OK(records_put(r, SV_LIT("a"), SV_LIT("1"), e));
    /* beside one that has it open */
    OK(records_open_to_read(dir, &reader, e));
    assert_value(reader, "a", "1");
    FAILS(ERR_IO, records_put(reader, SV_LIT("a"), SV_LIT("2"), e));
    records_close(reader);
    assert_value(r, "a", "1");
    records_close(r);
    OK(file_remove_tree(dir, e));
}

TEST(records, what_is_chosen_once_stays)
{
    (void)state;
    struct records *r = open_at(NULL);
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP_BUF struct buf b = BUF_INIT(10);
        OK(records_once(r, SV_LIT("k"), i ? SV_LIT("other") : SV_LIT("first"), &b, e));
        assert_true(sv_eq_cstr(buf_sv(&b), "first"));
    }
    assert_false(records_shared(r));
    records_close(r);
}

#define KEYS    200u
#define THREADS 4u

static struct records *shared;
static atomic_uint n_won, n_lost;

static void *put_if_absent(void *arg)
{
    char mine = (char)('0' + (int)(intptr_t)arg);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16], other[16];
        struct err e;
        (void)snprintf(key, sizeof key, "key/%u", i);
        (void)snprintf(other, sizeof other, "other/%c", mine);
        struct records_write w[] = {
            { RECORDS_PUT_IF_ABSENT, sv_from(key), sv_make(&mine, 1) },
            { RECORDS_PUT, sv_from(other), sv_make(&mine, 1) },
        };
        err_code rc = records_write(shared, w, 2, &e);
        if (rc == ERR_OK)
            atomic_fetch_add(&n_won, 1);
        else if (rc == ERR_EXISTS)
            atomic_fetch_add(&n_lost, 1);
    }
    return NULL;
}

TEST(records, of_those_who_put_if_absent_one_wins)
{
    (void)state;
    pthread_t threads[THREADS];
    shared = open_at(NULL);
    for (intptr_t i = 0; i < (intptr_t)THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_if_absent, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&n_won), KEYS);
    assert_int_equal(atomic_load(&n_lost), KEYS * (THREADS - 1));
    records_close(shared);
}

/* A key that could not be made, for want of memory, is none. */
TEST(records, a_record_without_a_key_is_not_written_and_nothing_beside_it)
{
    (void)state;
    struct records *r = open_at(NULL);
    CLEANUP_BUF struct buf b = BUF_INIT(100);
    const struct records_write w[] = { { RECORDS_PUT, SV_LIT("a"), SV_LIT("x") },
                                       { RECORDS_DELETE, SV_NONE, SV_NONE } };
    FAILS(ERR_INTERNAL, records_write(r, w, 2, e));
    FAILS(ERR_NOT_FOUND, records_get(r, SV_LIT("a"), &b, e));
    FAILS(ERR_INTERNAL, records_put_unsynced(r, SV_NONE, SV_LIT("x"), e));
    FAILS(ERR_INTERNAL, records_get(r, SV_NONE, &b, e));
    records_close(r);
}

/* The one that forks comes first: RocksDB's threads stay, and ThreadSanitizer lets a process that
 * was forked beside threads begin no others. */
TEST_MAIN(T(records, an_unsynced_one_outlives_a_process_that_ends_without_a_word),
          T(records, what_is_chosen_once_stays),
          T(records, a_folder_that_has_lost_its_list_of_files_is_refused_and_stays),
          T(records, those_opened_to_read_are_read_and_nothing_is_made),
          T(records, a_record_without_a_key_is_not_written_and_nothing_beside_it),
          T(records, of_those_who_put_if_absent_one_wins))
