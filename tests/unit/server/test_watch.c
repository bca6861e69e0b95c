/* Files that are read again: when, together with what, and what happens when they are broken. */
#include "test.h"

#include "server/serve_private.h"

#include "base/file.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define TEXT_MAX 256u

static struct {
    char folder[64], first[96], second[96], other[96];
    struct watch *watch;
    pthread_mutex_t lock;
    pthread_cond_t tried;
    unsigned n_tries, n_good, n_other; /* under the lock, as is what counts */
    char counts[2 * TEXT_MAX];
} us = { .lock = PTHREAD_MUTEX_INITIALIZER, .tried = PTHREAD_COND_INITIALIZER };

static err_code read_both(char out[2 * TEXT_MAX], struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(TEXT_MAX);
    TRY(file_read(us.first, &b, e));
    TRY(file_read(us.second, &b, e));
    if (sv_starts(buf_sv(&b), SV_LIT("bad")))
        return ERR(e, ERR_INVALID, "it is bad");
    (void)snprintf(out, 2 * (size_t)TEXT_MAX, "%.*s", SV_FMT(buf_sv(&b)));
    return ERR_OK;
}

static err_code on_read(void *ctx, struct err *e)
{
    assert(ctx == &us);
    pthread_mutex_lock(&us.lock);
    err_code rc = read_both(us.counts, e);
    us.n_tries++;
    us.n_good += rc == ERR_OK;
    pthread_cond_broadcast(&us.tried);
    pthread_mutex_unlock(&us.lock);
    return rc;
}

static err_code on_other(void *ctx, struct err *e)
{
    assert(ctx == &us);
    (void)e;
    pthread_mutex_lock(&us.lock);
    us.n_other++;
    pthread_cond_broadcast(&us.tried);
    pthread_mutex_unlock(&us.lock);
    return ERR_OK;
}

/* At one stroke. */
static void put(const char *path, const char *text)
{
    OK(file_write_atomic(path, sv_from(text), e));
}

static void up(void)
{
    (void)snprintf(us.folder, sizeof us.folder, TEST_TMP "/fhirlake-watch-XXXXXX");
    assert_non_null(mkdtemp(us.folder));
    (void)snprintf(us.first, sizeof us.first, "%s/first", us.folder);
    (void)snprintf(us.second, sizeof us.second, "%s/second", us.folder);
    put(us.first, "a");
    put(us.second, "b");
    (void)snprintf(us.other, sizeof us.other, "%s/other", us.folder);
    put(us.other, "0");
    us.n_tries = us.n_good = us.n_other = 0;
    us.counts[0] = 0;
    const struct watch_files files = {
        .event = "test", .note = "-", .paths = { us.first, us.second }, .read = on_read, .ctx = &us
    };
    const struct watch_files other = {
        .event = "test", .note = "-", .paths = { us.other }, .read = on_other, .ctx = &us
    };
    us.watch = watch_new();
    watch_add(us.watch, &files);
    watch_add(us.watch, &other);
    OK(watch_start(us.watch, e));
}

static void down(void)
{
    watch_free(us.watch);
    OK(file_remove_tree(us.folder, e));
}

static void wait_counts(const char *text)
{
    pthread_mutex_lock(&us.lock);
    while (strcmp(us.counts, text) != 0)
        pthread_cond_wait(&us.tried, &us.lock);
    pthread_mutex_unlock(&us.lock);
}

static void wait_tries(unsigned n)
{
    pthread_mutex_lock(&us.lock);
    while (us.n_tries < n)
        pthread_cond_wait(&us.tried, &us.lock);
    pthread_mutex_unlock(&us.lock);
}

/* Tries so far, and how many of them succeeded. */
static unsigned tries(unsigned *good)
{
    pthread_mutex_lock(&us.lock);
    unsigned n = us.n_tries;
    if (good)
        *good = us.n_good;
    pthread_mutex_unlock(&us.lock);
    return n;
}

TEST(watch, who_asks_has_files_read_that_did_not_change)
{
    (void)state;
    up();
    watch_ask(us.watch);
    wait_counts("ab");
    unsigned n = tries(NULL);
    watch_ask(us.watch);
    wait_tries(n + 1);
    down();
}

TEST(watch, a_file_that_changes_is_read_with_what_belongs_to_it)
{
    (void)state;
    up();
    put(us.second, "c");
    wait_counts("ac");
    put(us.first, "d");
    wait_counts("dc");
    /* read when it changed, and not at each look: others have been looked at since */
    unsigned good;
    pthread_mutex_lock(&us.lock);
    unsigned n_other = us.n_other;
    pthread_mutex_unlock(&us.lock);
    assert_int_equal(n_other, 0);
    put(us.other, "1");
    pthread_mutex_lock(&us.lock);
    while (us.n_other == 0)
        pthread_cond_wait(&us.tried, &us.lock);
    pthread_mutex_unlock(&us.lock);
    assert_int_equal(tries(&good), 2);
    assert_int_equal(good, 2);
    down();
}

TEST(watch, what_is_broken_or_gone_changes_nothing_until_it_is_good)
{
    (void)state;
    up();
    put(us.first, "e");
    wait_counts("eb");
    put(us.first, "bad");
    wait_tries(tries(NULL) + 1);
    wait_counts("eb");
    assert_int_equal(unlink(us.first), 0);
    wait_tries(tries(NULL) + 1);
    wait_counts("eb");
    put(us.first, "f");
    wait_counts("fb");
    down();
}

TEST(watch, what_was_never_begun_ends)
{
    (void)state;
    struct watch *watch = watch_new();
    watch_ask(watch);
    watch_free(watch);
    watch_free(NULL);
}

TEST_MAIN(T(watch, who_asks_has_files_read_that_did_not_change),
          T(watch, a_file_that_changes_is_read_with_what_belongs_to_it),
          T(watch, what_is_broken_or_gone_changes_nothing_until_it_is_good),
          T(watch, what_was_never_begun_ends))
