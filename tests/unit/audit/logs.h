/* logs.h - an audit log in a folder of its own, and what is done to its files. */
#pragma once
#include "test.h"

#include "audit/audit.h"
#include "base/file.h"

#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

struct logs {
    char root[64], dir[80];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n_done, n_durable; /* of those who waited */
    unsigned n_news[4];         /* by enum audit_news */
    uint64_t last[4];
    struct audit *audit;
};

static inline void logs_told(void *ctx, enum audit_news news, uint64_t n, const struct err *why)
{
    struct logs *l = ctx;
    (void)why;
    pthread_mutex_lock(&l->lock);
    l->n_news[news]++;
    l->last[news] = n;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static inline void logs_done(void *ctx, bool durable)
{
    struct logs *l = ctx;
    pthread_mutex_lock(&l->lock);
    l->n_done++;
    l->n_durable += durable;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static inline void logs_make(struct logs *l)
{
    *l = (struct logs){ .root = TEST_TMP "/fhirlake-audit-XXXXXX",
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER };
    assert_non_null(mkdtemp(l->root));
    (void)snprintf(l->dir, sizeof l->dir, "%s/audit", l->root);
}

static inline err_code logs_try(struct logs *l, uint64_t segment_bytes, unsigned days,
                                struct err *e)
{
    const struct audit_config cfg = { .dir = l->dir,
                                      .segment_bytes = segment_bytes,
                                      .retention_days = days,
                                      .told = logs_told,
                                      .ctx = l };
    return audit_open(&cfg, &l->audit, e);
}

static inline void logs_open(struct logs *l, uint64_t segment_bytes)
{
    OK(logs_try(l, segment_bytes, 0, e));
}

static inline void logs_close(struct logs *l)
{
    audit_close(l->audit);
    l->audit = NULL;
}

static inline void logs_free(struct logs *l)
{
    logs_close(l);
    OK(file_remove_tree(l->root, e));
}

/* Adds a record, and waits for it. */
static inline bool logs_add(struct logs *l, const char *record)
{
    struct buf b = BUF_INIT(1 << 20);
    OK(buf_add_fmt(&b, e, "%s\n", record));
    pthread_mutex_lock(&l->lock);
    unsigned done = l->n_done, durable = l->n_durable;
    pthread_mutex_unlock(&l->lock);
    audit_add(l->audit, buf_sv(&b), 1, logs_done, l);
    buf_done(&b);
    pthread_mutex_lock(&l->lock);
    while (l->n_done == done)
        pthread_cond_wait(&l->changed, &l->lock);
    bool ok = l->n_durable > durable;
    pthread_mutex_unlock(&l->lock);
    return ok;
}

static inline void logs_wait_for(struct logs *l, enum audit_news news, unsigned n)
{
    pthread_mutex_lock(&l->lock);
    while (l->n_news[news] < n)
        pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

static inline void logs_path(const struct logs *l, unsigned segment, char out[120])
{
    (void)snprintf(out, 120, "%s/audit-%08u.jsonl", l->dir, segment);
}

static inline struct buf logs_read(const struct logs *l, unsigned segment)
{
    struct buf b = BUF_INIT(16u << 20);
    char path[120];
    logs_path(l, segment, path);
    OK(file_read(path, &b, e));
    return b;
}

static inline void logs_put(const struct logs *l, unsigned segment, sv text)
{
    char path[120];
    logs_path(l, segment, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.ptr, 1, text.len, f), text.len);
    assert_int_equal(fclose(f), 0);
}

static inline struct audit_verdict logs_verify(const struct logs *l)
{
    struct audit_verdict v;
    OK(audit_verify(l->dir, NULL, &v, e));
    return v;
}
