/* again.c - commits of another store, made once more in the oracle. */
#include "store/memory/memory_private.h"

err_code mem_commits(struct store *st, uint64_t after_t, struct store_commit_row *out, size_t max,
                     size_t *n, struct err *e)
{
    struct memory *m = (struct memory *)st;
    (void)e;
    *n = 0;
    pthread_mutex_lock(&m->lock);
    for (size_t i = (size_t)after_t; i < m->n_commits && *n < max; i++) {
        struct store_commit_row *row = &out[(*n)++];
        *row = (struct store_commit_row){ .t = m->commits[i].t,
                                          .instant_ms = m->commits[i].instant_ms };
        for (size_t k = 0; k < m->n; k++) {
            if (m->versions[k].commit.t != row->t)
                continue;
            row->count++;
            row->is_load |= m->versions[k].method == STORE_METHOD_IMPORT;
        }
    }
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

/* All of them, or none. */
err_code mem_again(struct store *st, struct store_again *commits, size_t n, struct err *e)
{
    struct memory *m = (struct memory *)st;
    const size_t n_before = m->n, n_commits = m->n_commits;
    err_code rc = ERR_OK;
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        m->again_ms = &commits[i].instant_ms;
        rc = mem_commit(st, commits[i].writes, commits[i].n, &commits[i].out, e);
    }
    m->again_ms = NULL;
    if (rc != ERR_OK) {
        while (m->n > n_before)
            mem_version_free(&m->versions[--m->n]);
        m->n_commits = n_commits;
    }
    return rc;
}

err_code mem_again_load(struct store *st, struct store_bulk **b, int64_t instant_ms,
                        struct store_commit *out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    m->again_ms = &instant_ms;
    err_code rc = mem_bulk_publish(b, 1, SV_NONE, SV_NONE, out, e);
    m->again_ms = NULL;
    return rc;
}

err_code mem_again_end(struct store *st, int64_t floor_ms, struct err *e)
{
    struct memory *m = (struct memory *)st;
    (void)e;
    pthread_mutex_lock(&m->lock);
    if (m->floor_ms < floor_ms)
        m->floor_ms = floor_ms;
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}
