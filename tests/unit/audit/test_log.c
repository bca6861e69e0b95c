/* Records reach the disk before anybody is told so; when the disk fails, that is told, too. */
#include "logs.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <utime.h>

TEST(log, who_waits_is_told_when_the_record_is_in_the_file)
{
    (void)state;
    struct logs l;
    logs_make(&l);
    logs_open(&l, 0);
    assert_int_equal(l.n_news[AUDIT_BEGUN], 1);
    for (int i = 0; i < 20; i++) {
        char record[40];
        (void)snprintf(record, sizeof record, "{\"n\":%d}", i);
        assert_true(logs_add(&l, record));
        struct buf b = logs_read(&l, 1);
        (void)snprintf(record, sizeof record, ",\"n\":%d,\"chain\":", i);
        assert_non_null(memmem(b.ptr, b.len, record, strlen(record)));
        buf_done(&b);
    }
    const struct audit_counts c = audit_counts(l.audit);
    assert_int_equal(c.records, 20);
    assert_int_equal(c.lost, 0);
    logs_free(&l);
}

static atomic_uint n_syncs;

/* In the place of the C library's. */
int fdatasync(int fd)
{
    atomic_fetch_add(&n_syncs, 1);
    return (int)syscall(SYS_fdatasync, fd);
}

TEST(log, what_is_held_is_written_together)
{
    (void)state;
    struct logs l;
    logs_make(&l);
    logs_open(&l, 0);
    for (unsigned turn = 1; turn <= 5; turn++) {
        const unsigned before = atomic_load(&n_syncs);
        for (int i = 0; i < 8; i++)
            audit_add_held(l.audit, SV_LIT("{\"a\":1}\n"), 1, logs_done, &l);
        audit_go(l.audit);
        pthread_mutex_lock(&l.lock);
        while (l.n_done < 8 * turn)
            pthread_cond_wait(&l.changed, &l.lock);
        pthread_mutex_unlock(&l.lock);
        assert_int_equal(atomic_load(&n_syncs) - before, 1);
    }
    /* nobody says go, and the log ends */
    audit_add_held(l.audit, SV_LIT("{\"a\":1}\n"), 1, logs_done, &l);
    logs_close(&l);
    assert_int_equal(l.n_done, 41);
    assert_int_equal(l.n_durable, 41);
    assert_int_equal(logs_verify(&l).records, 41);
    logs_free(&l);
}

TEST(log, what_nobody_waits_for_is_there_at_the_end)
{
    (void)state;
    struct logs l;
    logs_make(&l);
    logs_open(&l, 0);
    for (int i = 0; i < 500; i++) {
        struct buf b = BUF_INIT(4096);
        OK(buf_add_fmt(&b, e, "{\"a\":%d}\n{\"b\":%d}\n", i, i));
        audit_add(l.audit, buf_sv(&b), 2, NULL, NULL);
        buf_done(&b);
    }
    logs_close(&l);
    const struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_int_equal(v.records, 1000);
    logs_free(&l);
}

static void *add_many(void *arg)
{
    struct logs *l = arg;
    for (int i = 0; i < 100; i++) {
        audit_add(l->audit, SV_LIT("{\"a\":1}\n"), 1, i % 2 ? logs_done : NULL, l);
    }
    return NULL;
}

TEST(log, many_threads_add_to_it)
{
    (void)state;
    struct logs l;
    pthread_t threads[8];
    logs_make(&l);
    logs_open(&l, 4096);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &l), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    logs_close(&l);
    assert_int_equal(l.n_done, 400);
    assert_int_equal(l.n_durable, 400);
    const struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_int_equal(v.records, 800);
    assert_true(v.segments > 1);
    logs_free(&l);
}

TEST(log, its_files_are_the_owners_alone)
{
    (void)state;
    struct logs l;
    struct stat st;
    char path[120];
    static const char *const names[] = { "key", "first-key", "lock", "audit-00000001.jsonl" };
    logs_make(&l);
    assert_int_equal(mkdir(l.dir, 0755), 0);
    logs_open(&l, 0);
    assert_int_equal(stat(l.dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", l.dir, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    logs_free(&l);
}

TEST(log, shuts_nobody_out_of_a_folder_that_has_other_files)
{
    (void)state;
    struct logs l;
    struct stat st;
    char path[120];
    logs_make(&l);
    assert_int_equal(mkdir(l.dir, 0755), 0);
    (void)snprintf(path, sizeof path, "%s/.theirs", l.dir);
    OK(file_write_atomic(path, SV_NONE, e));
    FAILS(ERR_EXISTS, logs_try(&l, 0, 0, e));
    assert_int_equal(stat(l.dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
    /* who has shut it himself is asked nothing, and a log that was opened to others is shut */
    assert_int_equal(chmod(l.dir, 0700), 0);
    logs_open(&l, 0);
    logs_close(&l);
    assert_int_equal(chmod(l.dir, 0755), 0);
    logs_open(&l, 0);
    assert_int_equal(stat(l.dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    logs_free(&l);
}

TEST(log, is_written_by_one_process)
{
    (void)state;
    struct logs l;
    struct audit *second;
    logs_make(&l);
    logs_open(&l, 0);
    const struct audit_config cfg = { .dir = l.dir };
    FAILS(ERR_EXISTS, audit_open(&cfg, &second, e));
    logs_close(&l);
    OK(audit_open(&cfg, &second, e));
    audit_close(second);
    logs_free(&l);
}

TEST(log, a_digest_is_the_same_after_a_restart_and_another_in_another_log)
{
    (void)state;
    struct logs l, other;
    char a[64], b[64];
    logs_make(&l);
    logs_make(&other);
    logs_open(&l, 0);
    audit_digest(l.audit, SV_LIT("name=smith&"), a);
    logs_close(&l);
    logs_open(&l, 0);
    audit_digest(l.audit, SV_LIT("name=smith&"), b);
    assert_memory_equal(a, b, 64);
    audit_digest(l.audit, SV_LIT("name=smits&"), b);
    assert_memory_not_equal(a, b, 64);
    logs_open(&other, 0);
    audit_digest(other.audit, SV_LIT("name=smith&"), b);
    assert_memory_not_equal(a, b, 64);
    logs_free(&l);
    logs_free(&other);
}

TEST(log, a_disk_that_is_full_is_told_and_leaves_a_gap)
{
    (void)state;
    struct logs l;
    struct rlimit was, full;
    logs_make(&l);
    logs_open(&l, 0);
    assert_true(logs_add(&l, "{\"a\":1}"));
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    struct buf b = logs_read(&l, 1);
    full = (struct rlimit){ b.len + 50, was.rlim_max };
    buf_done(&b);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    assert_false(logs_add(&l, "{\"a\":2}"));
    assert_false(audit_is_well(l.audit));
    assert_false(logs_add(&l, "{\"a\":3}"));
    assert_int_equal(l.n_news[AUDIT_FAILED], 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    logs_wait_for(&l, AUDIT_BACK, 1);
    assert_int_equal(l.last[AUDIT_BACK], 2);
    assert_true(audit_is_well(l.audit));
    assert_true(logs_add(&l, "{\"a\":4}"));
    assert_int_equal(audit_counts(l.audit).lost, 2);
    logs_close(&l);
    const struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_int_equal(v.gaps, 1);
    assert_int_equal(v.lost, 2);
    assert_int_equal(v.records, 2);
    assert_int_equal(v.torn, 1);
    logs_free(&l);
}

TEST(log, a_folder_that_is_gone_is_told)
{
    (void)state;
    struct logs l;
    char away[120];
    logs_make(&l);
    logs_open(&l, 0);
    (void)snprintf(away, sizeof away, "%s/away", l.root);
    assert_int_equal(rename(l.dir, away), 0);
    assert_false(logs_add(&l, "{\"a\":1}"));
    assert_int_equal(rename(away, l.dir), 0);
    logs_wait_for(&l, AUDIT_BACK, 1);
    assert_true(logs_add(&l, "{\"a\":2}"));
    logs_close(&l);
    const struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_int_equal(v.records, 1);
    assert_int_equal(v.lost, 1);
    logs_free(&l);
}

TEST(log, old_segments_are_retired_and_the_log_says_so)
{
    (void)state;
    struct logs l;
    char path[120];
    const struct utimbuf old = { time(NULL) - 40 * 86400, time(NULL) - 40 * 86400 };
    logs_make(&l);
    for (int i = 0; i < 3; i++) {
        logs_open(&l, 0);
        assert_true(logs_add(&l, "{\"a\":1}"));
        logs_close(&l);
    }
    for (unsigned s = 1; s <= 2; s++) {
        logs_path(&l, s, path);
        assert_int_equal(utime(path, &old), 0);
    }
    OK(logs_try(&l, 0, 41, e));
    logs_close(&l);
    assert_int_equal(logs_verify(&l).retired_to, 0);
    OK(logs_try(&l, 0, 39, e));
    logs_close(&l);
    struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_int_equal(v.retired_to, 2);
    assert_int_equal(v.segments, 3);
    logs_path(&l, 1, path);
    assert_int_not_equal(access(path, F_OK), 0);
    /* one more is gone, of which the log says nothing */
    logs_path(&l, 3, path);
    assert_int_equal(unlink(path), 0);
    v = logs_verify(&l);
    assert_true(v.wrong);
    assert_int_equal(v.at_segment, 3);
    logs_free(&l);
}

TEST_MAIN(T(log, who_waits_is_told_when_the_record_is_in_the_file),
          T(log, what_is_held_is_written_together),
          T(log, what_nobody_waits_for_is_there_at_the_end), T(log, many_threads_add_to_it),
          T(log, its_files_are_the_owners_alone),
          T(log, shuts_nobody_out_of_a_folder_that_has_other_files),
          T(log, is_written_by_one_process),
          T(log, a_digest_is_the_same_after_a_restart_and_another_in_another_log),
          T(log, a_disk_that_is_full_is_told_and_leaves_a_gap),
          T(log, a_folder_that_is_gone_is_told),
          T(log, old_segments_are_retired_and_the_log_says_so))
