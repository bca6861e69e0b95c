#include "service/service_private.h"

struct work {
    work_fn fn;
    void *ctx;
};

struct workers {
    struct service *s;
    unsigned n_threads;
    pthread_t *threads;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t work;
        struct work *ring;
        unsigned cap, first, n;
        bool stop;
    } locked;
};

static void *worker(void *arg)
{
    struct workers *w = arg;
    pthread_mutex_lock(&w->locked.lock);
    for (;;) {
        while (w->locked.n == 0 && !w->locked.stop)
            pthread_cond_wait(&w->locked.work, &w->locked.lock);
        if (w->locked.n == 0)
            break;
        struct work k = w->locked.ring[w->locked.first];
        w->locked.first = (w->locked.first + 1) % w->locked.cap;
        w->locked.n--;
        pthread_mutex_unlock(&w->locked.lock);
        k.fn(w->s, k.ctx);
        pthread_mutex_lock(&w->locked.lock);
    }
    pthread_mutex_unlock(&w->locked.lock);
    return NULL;
}

err_code workers_start(struct service *s, unsigned n, unsigned max_waiting, struct workers **out,
                       struct err *e)
{
    struct workers *w = calloc(1, sizeof *w);
    if (w == NULL || (w->threads = calloc(n, sizeof *w->threads)) == NULL ||
        (w->locked.ring = calloc(max_waiting, sizeof *w->locked.ring)) == NULL)
        abort();
    w->s = s;
    w->locked.cap = max_waiting;
    pthread_mutex_init(&w->locked.lock, NULL);
    pthread_cond_init(&w->locked.work, NULL);
    for (; w->n_threads < n; w->n_threads++)
        if (pthread_create(&w->threads[w->n_threads], NULL, worker, w) != 0) {
            workers_stop(w);
            return ERR(e, ERR_IO, "worker threads cannot be started");
        }
    *out = w;
    return ERR_OK;
}

void workers_stop(struct workers *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->locked.lock);
    w->locked.stop = true;
    pthread_cond_broadcast(&w->locked.work);
    pthread_mutex_unlock(&w->locked.lock);
    for (unsigned i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    pthread_mutex_destroy(&w->locked.lock);
    pthread_cond_destroy(&w->locked.work);
    free(w->threads);
    free(w->locked.ring);
    free(w);
}

err_code workers_add(struct workers *w, work_fn fn, void *ctx, struct err *e)
{
    pthread_mutex_lock(&w->locked.lock);
    bool ok = w->locked.n < w->locked.cap && !w->locked.stop;
    if (ok) {
        w->locked.ring[(w->locked.first + w->locked.n++) % w->locked.cap] =
            (struct work){ fn, ctx };
        pthread_cond_signal(&w->locked.work);
    }
    pthread_mutex_unlock(&w->locked.lock);
    return ok ? ERR_OK
              : ERR(e, ERR_THROTTLED, "Too many requests are being worked on; try again later");
}
