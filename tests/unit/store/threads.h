/* threads.h - what fails on a thread that a test started.
 *
 * cmocka leaves a failed test by a jump that only the main thread can make: an assertion that fails
 * on another thread ends the program, and no case is named. So a thread keeps the first failure
 * here and returns, and the main thread asserts that there is none once all threads are joined. */
#pragma once
#include "test.h"

#include <pthread.h>
#include <stdatomic.h>

static struct {
    pthread_mutex_t lock;
    bool any;
    char what[700];
} thread_failure = { .lock = PTHREAD_MUTEX_INITIALIZER };

PRINTF_LIKE(1, 2) static inline void thread_failed(const char *fmt, ...)
{
    va_list ap;
    pthread_mutex_lock(&thread_failure.lock);
    if (!thread_failure.any) {
        va_start(ap, fmt);
        (void)vsnprintf(thread_failure.what, sizeof thread_failure.what, fmt, ap);
        va_end(ap);
    }
    thread_failure.any = true;
    pthread_mutex_unlock(&thread_failure.lock);
}

/* In a thread's function: as OK(); a failure ends the thread. */
#define THREAD_OK(call)                                                                          \
    do {                                                                                         \
        struct err ok_e_ = { 0 };                                                                \
        struct err *e = &ok_e_;                                                                  \
        err_code ok_rc_ = (call);                                                                \
        if (ok_rc_ != ERR_OK) {                                                                  \
            thread_failed("%s:%d: %s: %s: %s", __FILE__, __LINE__, #call, err_code_name(ok_rc_), \
                          ok_e_.msg);                                                            \
            return NULL;                                                                         \
        }                                                                                        \
    } while (0)
#define THREAD_TRUE(condition)                                                  \
    do {                                                                        \
        if (!(condition)) {                                                     \
            thread_failed("%s:%d: not so: %s", __FILE__, __LINE__, #condition); \
            return NULL;                                                        \
        }                                                                       \
    } while (0)

/* In the main thread, behind the last pthread_join(). */
static inline void assert_threads_were_fine(void)
{
    bool any = thread_failure.any;
    /* the next case begins anew */
    thread_failure.any = false;
    if (any)
        fail_msg("on a thread: %s", thread_failure.what);
}
