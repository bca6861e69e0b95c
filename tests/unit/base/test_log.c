/* Standard error is a file here, so that what was written can be looked at while the log goes
 * on. */
#include "test.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define LINES   3000

static int file = -1, real_stderr = -1;
static struct buf text;

static void begin(void)
{
    char path[] = TEST_TMP "/fhirlake-log-XXXXXX";
    file = mkstemp(path);
    assert_true(file >= 0);
    (void)unlink(path);
    assert_int_equal(fcntl(file, F_SETFL, O_APPEND), 0);
    real_stderr = dup(STDERR_FILENO);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
}

static void end(void)
{
    assert_true(dup2(real_stderr, STDERR_FILENO) >= 0);
    (void)close(real_stderr);
    (void)close(file);
    buf_done(&text);
}

static sv written(void)
{
    off_t size = lseek(file, 0, SEEK_END);
    buf_init(&text, 64u << 20);
    OK(buf_reserve(&text, (size_t)size + 1, e));
    assert_int_equal(pread(file, text.ptr, (size_t)size, 0), size);
    text.len = (size_t)size;
    return buf_sv(&text);
}

static size_t count(sv line)
{
    sv rest = written();
    size_t n = 0;
    for (const char *p; (p = memmem(rest.ptr, rest.len, line.ptr, line.len)) != NULL; n++)
        rest = sv_tail(rest, (size_t)(p - rest.ptr) + line.len);
    buf_done(&text);
    return n;
}

static void *write_lines(void *number)
{
    for (int i = 0; i < LINES; i++)
        LOG(LOG_INFO, "many", LOG_INT("thread", *(int *)number), LOG_INT("line", i),
            LOG_STR("end", "here"));
    return NULL;
}

TEST(log, held_lines_of_all_threads_come_whole_and_in_order)
{
    (void)state;
    pthread_t thread[THREADS];
    int number[THREADS], next[THREADS] = { 0 };
    begin();
    log_hold();
    for (int i = 0; i < THREADS; i++) {
        number[i] = i;
        assert_int_equal(pthread_create(&thread[i], NULL, write_lines, &number[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    log_release();
    sv rest = written(), line;
    size_t n = 0;
    while (sv_cut(&rest, '\n', &line) && line.len) {
        char want[64];
        const char *t = memmem(line.ptr, line.len, "thread=", 7);
        assert_non_null(t);
        int k = t[7] - '0';
        (void)snprintf(want, sizeof want, "info many thread=%d line=%d end=here", k, next[k]++);
        assert_sv(sv_tail(line, sizeof "2026-11-23T18:30:00.123Z" - 1 + 1), sv_from(want));
        n++;
    }
    end();
    assert_int_equal(n, THREADS * LINES);
}

TEST(log, a_line_after_silence_goes_out_at_once_and_the_next_by_itself)
{
    (void)state;
    begin();
    log_hold();
    /* the silence */
    (void)usleep(25000);
    uint64_t from = clock_mono_us();
    log_line(LOG_INFO, "first", NULL, 0);
    assert_int_equal(count(SV_LIT("info first\n")), 1);
    log_line(LOG_INFO, "second", NULL, 0);
    size_t n = count(SV_LIT("info second\n"));
    /* else the machine slept in between */
    if (clock_mono_us() - from < 15000)
        assert_int_equal(n, 0);
    while (n == 0 && clock_mono_us() - from < 20000000) {
        (void)usleep(2000);
        n = count(SV_LIT("info second\n"));
    }
    assert_int_equal(n, 1);
    log_release();
    end();
}

TEST(log, trouble_takes_along_what_waits)
{
    (void)state;
    begin();
    log_hold();
    log_line(LOG_INFO, "one", NULL, 0);
    log_line(LOG_INFO, "two", NULL, 0);
    log_line(LOG_WARN, "three", NULL, 0);
    sv all = written();
    const char *two = memmem(all.ptr, all.len, "two\n", 4);
    const char *three = memmem(all.ptr, all.len, "three\n", 6);
    assert_non_null(two);
    assert_non_null(three);
    assert_true(two < three);
    log_release();
    /* at once again */
    log_line(LOG_INFO, "four", NULL, 0);
    buf_done(&text);
    assert_int_equal(count(SV_LIT("info four\n")), 1);
    end();
}

TEST(log, a_process_that_aborts_leaves_its_lines)
{
    (void)state;
    begin();
    pid_t child = fork();
    if (child == 0) {
        log_hold();
        for (int i = 0; i < 50; i++)
            LOG(LOG_INFO, "last", LOG_STR("words", "yes"));
        abort();
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_int_equal(count(SV_LIT("info last words=yes\n")), 50);
    end();
}

TEST_MAIN(T(log, a_process_that_aborts_leaves_its_lines),
          T(log, held_lines_of_all_threads_come_whole_and_in_order),
          T(log, a_line_after_silence_goes_out_at_once_and_the_next_by_itself),
          T(log, trouble_takes_along_what_waits))
