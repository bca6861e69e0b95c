/* polls.c - how often the status of each export was asked for: a table of rows by a hash of the
 * job's id, each with a count and the end of its time. Two jobs that meet in a row push each other
 * out. */
#include "rest/fair/polls_private.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ID_MAX 32u

struct polls {
    pthread_mutex_t lock;
    struct row {
        char id[ID_MAX];
        size_t len; /* 0: free */
        uint64_t until_us;
        unsigned n;
    } rows[POLLS_JOBS]; /* by the id's hash */
};

struct polls *polls_new(void)
{
    struct polls *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void polls_free(struct polls *p)
{
    if (p == NULL)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p);
}

bool polls_take(struct polls *p, sv job_id, uint64_t now_us, unsigned window_s, unsigned *wait_s)
{
    sv id = sv_head(job_id, ID_MAX);
    pthread_mutex_lock(&p->lock);
    struct row *r = &p->rows[sv_hash(0, id) % POLLS_JOBS];
    if (!sv_eq(sv_make(r->id, r->len), id) || now_us >= r->until_us) {
        *r = (struct row){ .len = id.len, .until_us = now_us + (uint64_t)window_s * 1000000 };
        if (id.len)
            memcpy(r->id, id.ptr, id.len);
    }
    bool ok = ++r->n <= POLLS_MAX;
    if (!ok)
        *wait_s = (unsigned)((r->until_us - now_us + 999999) / 1000000);
    pthread_mutex_unlock(&p->lock);
    return ok;
}
