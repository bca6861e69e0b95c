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
static struct job_tasks *pick_locked(struct job_pool *pool)
{
    struct job_tasks *tasks = pool->locked.turn;
    if (tasks == NULL)
        return NULL;
    do {
        if (tasks->n_waiting) {
            pool->locked.turn = tasks->next;
            return tasks;
        }
        tasks = tasks->next;
    } while (tasks != pool->locked.turn);
    return NULL;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct job_pool *pool = w->pool;
    /* Whoever waits for an answer goes first. Linux takes this for the thread alone; refused,
     * nothing is lost. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), WORKER_NICE);
    pthread_mutex_lock(&pool->locked.lock);
    for (;;) {
        struct job_tasks *tasks = pick_locked(pool);
        if (tasks == NULL) {
            if (pool->locked.stop)
                break;
            pthread_cond_wait(&pool->locked.work, &pool->locked.lock);
            continue;
        }
        struct task t = tasks->ring[tasks->first];
        tasks->first = (tasks->first + 1) % tasks->cap;
        tasks->n_waiting--;
        tasks->n_running++;
        pthread_cond_broadcast(&pool->locked.changed);
        pthread_mutex_unlock(&pool->locked.lock);
        t.fn(t.ctx, w->index);
        pthread_mutex_lock(&pool->locked.lock);
        tasks->n_running--;
        pthread_cond_broadcast(&pool->locked.changed);
    }
    pthread_mutex_unlock(&pool->locked.lock);
    return NULL;
}

err_code job_pool_start(unsigned n_workers, struct job_pool **out, struct err *e)
{
    struct job_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL || (pool->workers = calloc(n_workers, sizeof *pool->workers)) == NULL)
        abort();
    pthread_mutex_init(&pool->locked.lock, NULL);
    pthread_cond_init(&pool->locked.work, NULL);
    pthread_cond_init(&pool->locked.changed, NULL);
    for (unsigned i = 0; i < n_workers; i++) {
        pool->workers[i] = (struct worker){ .pool = pool, .index = i };
        if (pthread_create(&pool->workers[i].thread, NULL, work, &pool->workers[i]) != 0) {
            job_pool_stop(pool);
            return ERR(e, ERR_IO, "worker threads cannot be started");
        }
        pool->n_workers++;
    }
    *out = pool;
    return ERR_OK;
}

void job_pool_stop(struct job_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->locked.lock);
    pool->locked.stop = true;
    pthread_cond_broadcast(&pool->locked.work);
    pthread_mutex_unlock(&pool->locked.lock);
    for (unsigned i = 0; i < pool->n_workers; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->locked.lock);
    pthread_cond_destroy(&pool->locked.work);
    pthread_cond_destroy(&pool->locked.changed);
    free(pool->workers);
    free(pool);
}

unsigned job_pool_n_workers(const struct job_pool *pool)
{
    return pool->n_workers;
}

struct job_tasks *job_tasks_open(struct job_pool *pool, unsigned max_waiting)
{
    struct job_tasks *tasks = calloc(1, sizeof *tasks);
    if (tasks == NULL || (tasks->ring = calloc(max_waiting, sizeof *tasks->ring)) == NULL)
        abort();
    tasks->pool = pool;
    tasks->cap = max_waiting;
    pthread_mutex_lock(&pool->locked.lock);
    if (pool->locked.turn == NULL) {
        tasks->next = tasks->prev = tasks;
        pool->locked.turn = tasks;
    } else {
        tasks->next = pool->locked.turn;
        tasks->prev = pool->locked.turn->prev;
        tasks->prev->next = tasks;
        tasks->next->prev = tasks;
    }
    pthread_mutex_unlock(&pool->locked.lock);
    return tasks;
}

void job_tasks_add(struct job_tasks *tasks, job_task_fn fn, void *ctx)
{
    struct job_pool *pool = tasks->pool;
    pthread_mutex_lock(&pool->locked.lock);
    while (tasks->n_waiting == tasks->cap)
        pthread_cond_wait(&pool->locked.changed, &pool->locked.lock);
    tasks->ring[(tasks->first + tasks->n_waiting++) % tasks->cap] = (struct task){ fn, ctx };
    pthread_cond_signal(&pool->locked.work);
    pthread_mutex_unlock(&pool->locked.lock);
}

bool job_tasks_contended(struct job_tasks *q)
{
    struct job_pool *pool = q->pool;
    bool yes = false;
    pthread_mutex_lock(&pool->locked.lock);
    for (struct job_tasks *o = q->next; o != q && !yes; o = o->next)
        yes = o->n_waiting > 0;
    pthread_mutex_unlock(&pool->locked.lock);
    return yes;
}

void job_tasks_wait(struct job_tasks *tasks)
{
    struct job_pool *pool = tasks->pool;
    pthread_mutex_lock(&pool->locked.lock);
    while (tasks->n_waiting || tasks->n_running)
        pthread_cond_wait(&pool->locked.changed, &pool->locked.lock);
    pthread_mutex_unlock(&pool->locked.lock);
}

void job_tasks_close(struct job_tasks *tasks)
{
    if (tasks == NULL)
        return;
    struct job_pool *pool = tasks->pool;
    job_tasks_wait(tasks);
    pthread_mutex_lock(&pool->locked.lock);
    if (tasks->next == tasks) {
        pool->locked.turn = NULL;
    } else {
        tasks->prev->next = tasks->next;
        tasks->next->prev = tasks->prev;
        if (pool->locked.turn == tasks)
            pool->locked.turn = tasks->next;
    }
    pthread_mutex_unlock(&pool->locked.lock);
    free(tasks->ring);
    free(tasks);
}
