/* A log whose process was killed goes on, wherever that was; one that was damaged does not. */
#include "logs.h"

#include <sys/wait.h>

/* The log as a killed process leaves it, with n records in one segment. */
static void killed(struct logs *l, int n)
{
    logs_make(l);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err e;
        if (logs_try(l, 0, 0, &e) != ERR_OK)
            _exit(1);
        for (int i = 0; i < n; i++)
            if (!logs_add(l, "{\"eventName\":\"ReadResource\"}"))
                _exit(2);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

TEST(resume, goes_on_behind_a_line_cut_off_anywhere)
{
    (void)state;
    struct logs l;
    killed(&l, 2);
    struct buf was = logs_read(&l, 1);
    sv all = buf_sv(&was);
    char path[120], again[120];
    struct buf key = BUF_INIT(4096);
    (void)snprintf(path, sizeof path, "%s/key", l.dir);
    logs_path(&l, 2, again);
    OK(file_read(path, &key, e));
    for (size_t i = 0; i <= all.len; i++) {
        uint64_t whole = 0, behind = 0;
        logs_put(&l, 1, sv_head(all, i));
        OK(file_write_atomic(path, buf_sv(&key), e));
        for (size_t k = 0; k < i; k++)
            if (all.ptr[k] == '\n') {
                whole++;
                behind = k + 1;
            }
        /* a line that lacks nothing but its newline is whole */
        bool bare = i < all.len && all.ptr[i] == '\n';
        whole += bare;
        unsigned recovered = l.n_news[AUDIT_RECOVERED];
        logs_open(&l, 0);
        assert_int_equal(l.n_news[AUDIT_RECOVERED], recovered + 1);
        assert_int_equal(l.last[AUDIT_RECOVERED], bare ? 0 : i - behind);
        assert_true(logs_add(&l, "{\"eventName\":\"DeleteResource\"}"));
        logs_close(&l);
        const struct audit_verdict v = logs_verify(&l);
        if (v.wrong)
            fail_msg("cut at %zu: %s", i, v.how);
        /* the begin, whole records, recovered, the new one, the end */
        assert_int_equal(v.lines, whole + 3);
        assert_int_equal(v.torn, !bare && i > behind);
    }
    buf_done(&was);
    buf_done(&key);
    logs_free(&l);
}

TEST(resume, what_was_torn_cannot_be_changed_either)
{
    (void)state;
    struct logs l;
    killed(&l, 2);
    struct buf was = logs_read(&l, 1);
    logs_put(&l, 1, sv_make(was.ptr, was.len - 30));
    logs_open(&l, 0);
    logs_close(&l);
    struct buf now = logs_read(&l, 1), old = logs_read(&l, 1);
    for (size_t i = was.len - 100; i < now.len; i++) {
        now.ptr[i] ^= 2;
        logs_put(&l, 1, buf_sv(&now));
        if (!logs_verify(&l).wrong)
            fail_msg("byte %zu was changed, and it is not told", i);
        now.ptr[i] = old.ptr[i];
    }
    buf_done(&was);
    buf_done(&now);
    buf_done(&old);
    logs_free(&l);
}

TEST(resume, is_torn_twice)
{
    (void)state;
    struct logs l;
    killed(&l, 1);
    struct buf was = logs_read(&l, 1);
    logs_put(&l, 1, sv_make(was.ptr, was.len - 5));
    /* the start after it is killed within the line that says so */
    struct buf b = BUF_INIT(1 << 20);
    OK(buf_add(&b, sv_make(was.ptr, was.len - 5), e));
    OK(buf_add(&b, SV_LIT("\n{\"seq\":2,\"log\":\"recovered\",\"torn\":1"), e));
    logs_put(&l, 1, buf_sv(&b));
    logs_open(&l, 0);
    logs_close(&l);
    const struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_int_equal(v.torn, 1);
    buf_done(&was);
    buf_done(&b);
    logs_free(&l);
}

TEST(resume, a_log_that_ended_in_good_order_begins_another_segment)
{
    (void)state;
    struct logs l;
    logs_make(&l);
    for (int i = 0; i < 4; i++) {
        logs_open(&l, 0);
        assert_true(logs_add(&l, "{\"a\":1}"));
        logs_close(&l);
    }
    assert_int_equal(l.n_news[AUDIT_BEGUN], 1);
    assert_int_equal(l.n_news[AUDIT_RECOVERED], 0);
    const struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_int_equal(v.segments, 4);
    logs_free(&l);
}

TEST(resume, refuses_a_damaged_log)
{
    (void)state;
    struct logs l;
    char path[120];
    /* more than a process that ends can leave */
    killed(&l, 1);
    struct buf was = logs_read(&l, 1), b = BUF_INIT(16u << 20);
    OK(buf_add(&b, buf_sv(&was), e));
    OK(buf_reserve(&b, 4u << 20, e));
    memset(b.ptr + b.len, 'x', 4u << 20);
    b.len += 4u << 20;
    logs_put(&l, 1, buf_sv(&b));
    FAILS(ERR_CORRUPT, logs_try(&l, 0, 0, e));
    /* the segment, or the key, is gone */
    logs_put(&l, 1, buf_sv(&was));
    logs_path(&l, 1, path);
    assert_int_equal(unlink(path), 0);
    FAILS(ERR_CORRUPT, logs_try(&l, 0, 0, e));
    logs_put(&l, 1, buf_sv(&was));
    (void)snprintf(path, sizeof path, "%s/key", l.dir);
    assert_int_equal(unlink(path), 0);
    FAILS(ERR_CORRUPT, logs_try(&l, 0, 0, e));
    buf_done(&was);
    buf_done(&b);
    logs_free(&l);
}

TEST(resume, between_two_segments_each_step_may_be_the_last)
{
    (void)state;
    struct logs l;
    char key_path[120], path[120];
    struct buf keys[2] = { BUF_INIT(4096), BUF_INIT(4096) };
    logs_make(&l);
    (void)snprintf(key_path, sizeof key_path, "%s/key", l.dir);
    logs_open(&l, 0);
    assert_true(logs_add(&l, "{\"a\":1}"));
    OK(file_read(key_path, &keys[0], e));
    logs_close(&l);
    OK(file_read(key_path, &keys[1], e));
    /* behind its end, before the next key */
    OK(file_write_atomic(key_path, buf_sv(&keys[0]), e));
    logs_open(&l, 0);
    logs_close(&l);
    assert_false(logs_verify(&l).wrong);
    assert_int_equal(logs_verify(&l).segments, 2);
    /* behind the file's begin, before the key says so */
    logs_path(&l, 2, path);
    struct buf second = logs_read(&l, 2);
    sv text = buf_sv(&second);
    logs_put(&l, 2, sv_head(text, sv_find(text, '\n') + 1));
    OK(file_write_atomic(key_path, buf_sv(&keys[1]), e));
    logs_open(&l, 0);
    assert_true(logs_add(&l, "{\"a\":2}"));
    logs_close(&l);
    const struct audit_verdict v = logs_verify(&l);
    assert_false(v.wrong);
    assert_int_equal(v.records, 2);
    buf_done(&second);
    buf_done(&keys[0]);
    buf_done(&keys[1]);
    logs_free(&l);
}

TEST_MAIN(T(resume, goes_on_behind_a_line_cut_off_anywhere),
          T(resume, what_was_torn_cannot_be_changed_either), T(resume, is_torn_twice),
          T(resume, a_log_that_ended_in_good_order_begins_another_segment),
          T(resume, refuses_a_damaged_log),
          T(resume, between_two_segments_each_step_may_be_the_last))
