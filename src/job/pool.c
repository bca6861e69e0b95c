/* pool.c - a fixed number of workers that the running jobs share, one task each in turn.
 *
 * Each job opens a queue of its own. The open queues form a ring; a worker takes one task of the
 * next queue that has any, so that a job with many tasks keeps no other job from its share. A queue
 * holds a bounded number of tasks; who adds one more waits. */
#include "job/job_private.h"

#include <sys/resource.h>
#include <unistd.h>

#define WORKER_NICE 5

struct task {
    job_task_fn fn;
    void *ctx;
};

struct job_tasks {
    struct job_pool *pool;
    struct job_tasks *next, *prev; /* ring of open queues */
    struct task *ring;
    unsigned cap, first, n_waiting, n_running;
};

struct worker {
    struct job_pool *pool;
    unsigned index;
    pthread_t thread;
};

struct job_pool {
    unsigned n_workers;
    struct worker *workers;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t work;    /* a task was added, or the end */
        pthread_cond_t changed; /* a task was taken or has returned */
        struct job_tasks *turn; /* whose turn is next; NULL: no queue is open */
        bool stop;
    } locked;
};

/* The next queue in turn that has a task. */
static struct job_tasks *pick_locked(struct job_pool *p)
{
    struct job_tasks *q = p->locked.turn;
    if (q == NULL)
        return NULL;
    do {
        if (q->n_waiting) {
            p->locked.turn = q->next;
            return q;
        }
        q = q->next;
    } while (q != p->locked.turn);
    return NULL;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct job_pool *p = w->pool;
    /* Whoever waits for an answer goes first. Linux takes this for the thread alone; refused,
     * nothing is lost. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), WORKER_NICE);
    pthread_mutex_lock(&p->locked.lock);
    for (;;) {
        struct job_tasks *q = pick_locked(p);
        if (q == NULL) {
            if (p->locked.stop)
                break;
            pthread_cond_wait(&p->locked.work, &p->locked.lock);
            continue;
        }
        struct task t = q->ring[q->first];
        q->first = (q->first + 1) % q->cap;
        q->n_waiting--;
        q->n_running++;
        pthread_cond_broadcast(&p->locked.changed);
        pthread_mutex_unlock(&p->locked.lock);
        t.fn(t.ctx, w->index);
        pthread_mutex_lock(&p->locked.lock);
        q->n_running--;
        pthread_cond_broadcast(&p->locked.changed);
    }
    pthread_mutex_unlock(&p->locked.lock);
    return NULL;
}

err_code job_pool_start(unsigned n_workers, struct job_pool **out, struct err *e)
{
    struct job_pool *p = calloc(1, sizeof *p);
    if (p == NULL || (p->workers = calloc(n_workers, sizeof *p->workers)) == NULL)
        abort();
    pthread_mutex_init(&p->locked.lock, NULL);
    pthread_cond_init(&p->locked.work, NULL);
    pthread_cond_init(&p->locked.changed, NULL);
    for (unsigned i = 0; i < n_workers; i++) {
        p->workers[i] = (struct worker){ .pool = p, .index = i };
        if (pthread_create(&p->workers[i].thread, NULL, work, &p->workers[i]) != 0) {
            job_pool_stop(p);
            return ERR(e, ERR_IO, "worker threads cannot be started");
        }
        p->n_workers++;
    }
    *out = p;
    return ERR_OK;
}

void job_pool_stop(struct job_pool *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->locked.lock);
    p->locked.stop = true;
    pthread_cond_broadcast(&p->locked.work);
    pthread_mutex_unlock(&p->locked.lock);
    for (unsigned i = 0; i < p->n_workers; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_mutex_destroy(&p->locked.lock);
    pthread_cond_destroy(&p->locked.work);
    pthread_cond_destroy(&p->locked.changed);
    free(p->workers);
    free(p);
}

unsigned job_pool_n_workers(const struct job_pool *p)
{
    return p->n_workers;
}

struct job_tasks *job_tasks_open(struct job_pool *p, unsigned max_waiting)
{
    struct job_tasks *q = calloc(1, sizeof *q);
    if (q == NULL || (q->ring = calloc(max_waiting, sizeof *q->ring)) == NULL)
        abort();
    q->pool = p;
    q->cap = max_waiting;
    pthread_mutex_lock(&p->locked.lock);
    if (p->locked.turn == NULL) {
        q->next = q->prev = q;
        p->locked.turn = q;
    } else {
        q->next = p->locked.turn;
        q->prev = p->locked.turn->prev;
        q->prev->next = q;
        q->next->prev = q;
    }
    pthread_mutex_unlock(&p->locked.lock);
    return q;
}

void job_tasks_add(struct job_tasks *q, job_task_fn fn, void *ctx)
{
    struct job_pool *p = q->pool;
    pthread_mutex_lock(&p->locked.lock);
    while (q->n_waiting == q->cap)
        pthread_cond_wait(&p->locked.changed, &p->locked.lock);
    q->ring[(q->first + q->n_waiting++) % q->cap] = (struct task){ fn, ctx };
    pthread_cond_signal(&p->locked.work);
    pthread_mutex_unlock(&p->locked.lock);
}

bool job_tasks_contended(struct job_tasks *q)
{
    struct job_pool *p = q->pool;
    bool yes = false;
    pthread_mutex_lock(&p->locked.lock);
    for (struct job_tasks *o = q->next; o != q && !yes; o = o->next)
        yes = o->n_waiting > 0;
    pthread_mutex_unlock(&p->locked.lock);
    return yes;
}

void job_tasks_wait(struct job_tasks *q)
{
    struct job_pool *p = q->pool;
    pthread_mutex_lock(&p->locked.lock);
    while (q->n_waiting || q->n_running)
        pthread_cond_wait(&p->locked.changed, &p->locked.lock);
    pthread_mutex_unlock(&p->locked.lock);
}

void job_tasks_close(struct job_tasks *q)
{
    if (q == NULL)
        return;
    struct job_pool *p = q->pool;
    job_tasks_wait(q);
    pthread_mutex_lock(&p->locked.lock);
    if (q->next == q) {
        p->locked.turn = NULL;
    } else {
        q->prev->next = q->next;
        q->next->prev = q->prev;
        if (p->locked.turn == q)
            p->locked.turn = q->next;
    }
    pthread_mutex_unlock(&p->locked.lock);
    free(q->ring);
    free(q);
}
