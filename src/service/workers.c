/* workers.c - threads for what waits or takes long, shared out among callers (workers.h has the
 * rules).
 *
 * There is one asker for each caller, and one queue for each pair of caller and place. They are
 * made when work comes, and freed when none of it waits or runs. `turn` is the queue whose turn was
 * last: a free thread looks from the next one on.
 *
 * Of several free threads the one that worked last is called first: what it needs is still in the
 * processor's caches. */
#include "service/plane.h"

struct work {
    struct work *next;
    work_fn fn;
    void *ctx;
};

struct asker { /* one caller, while work of his waits or runs */
    struct asker *next;
    uint64_t id;
    unsigned n_waiting, n_running;
};

struct queue { /* work of one caller in one place; likewise */
    struct queue *next;
    struct asker *asker;
    uint64_t place;
    struct work *first, *last;
    unsigned n_running;
};

struct idler { /* a thread that is free */
    struct idler *next;
    pthread_cond_t call;
    bool called;
};

struct workers {
    struct service *s;
    unsigned n_threads;
    unsigned queue_share, asker_share, asker_waiting; /* the most of each */
    pthread_t *threads;
    atomic_uint n_waiting; /* beside the lock: asked often */
    struct {
        pthread_mutex_t lock;
        struct idler *idlers; /* the last first */
        struct asker *askers;
        struct queue *queues, *turn; /* turn: whose turn was last; NULL: nobody's */
        unsigned cap;
        bool stop;
    } locked;
};

static struct asker *asker_of_locked(struct workers *w, uint64_t id)
{
    struct asker *a = w->locked.askers;
    while (a && a->id != id)
        a = a->next;
    if (a)
        return a;
    if ((a = calloc(1, sizeof *a)) == NULL)
        abort();
    a->id = id;
    a->next = w->locked.askers;
    w->locked.askers = a;
    return a;
}

static struct queue *queue_of_locked(struct workers *w, struct asker *a, uint64_t place)
{
    struct queue *q = w->locked.queues;
    while (q && (q->asker != a || q->place != place))
        q = q->next;
    if (q)
        return q;
    if ((q = calloc(1, sizeof *q)) == NULL)
        abort();
    q->asker = a;
    q->place = place;
    q->next = w->locked.queues;
    w->locked.queues = q;
    return q;
}

static bool may_run(const struct workers *w, const struct queue *q)
{
    return q->first && q->n_running < w->queue_share && q->asker->n_running < w->asker_share;
}

/* The next queue in turn with work that may run now. */
static struct queue *next_locked(struct workers *w)
{
    struct queue *from = w->locked.turn ? w->locked.turn->next : w->locked.queues;
    for (struct queue *q = from; q; q = q->next)
        if (may_run(w, q))
            return q;
    for (struct queue *q = w->locked.queues; q != from; q = q->next)
        if (may_run(w, q))
            return q;
    return NULL;
}

static void forget_locked(struct workers *w, struct queue *q)
{
    struct asker *a = q->asker;
    if (q->first == NULL && q->n_running == 0) {
        struct queue **at = &w->locked.queues, *before = NULL;
        for (; *at != q; at = &(*at)->next)
            before = *at;
        *at = q->next;
        /* the queue behind it comes next */
        if (w->locked.turn == q)
            w->locked.turn = before;
        free(q);
    }
    if (a->n_waiting == 0 && a->n_running == 0) {
        struct asker **at = &w->locked.askers;
        while (*at != a)
            at = &(*at)->next;
        *at = a->next;
        free(a);
    }
}

static void call_one_locked(struct workers *w)
{
    struct idler *i = w->locked.idlers;
    /* all are busy: the thread that is free first takes the work */
    if (i == NULL)
        return;
    w->locked.idlers = i->next;
    i->called = true;
    pthread_cond_signal(&i->call);
}

static void call_all_locked(struct workers *w)
{
    while (w->locked.idlers)
        call_one_locked(w);
}

static void idle_locked(struct workers *w, struct idler *i)
{
    i->next = w->locked.idlers;
    w->locked.idlers = i;
    for (i->called = false; !i->called;)
        pthread_cond_wait(&i->call, &w->locked.lock);
}

static void *worker(void *arg)
{
    struct workers *w = arg;
    struct idler self = { .call = PTHREAD_COND_INITIALIZER };
    pthread_mutex_lock(&w->locked.lock);
    for (;;) {
        struct queue *q;
        while ((q = next_locked(w)) == NULL && !(w->locked.stop && atomic_load(&w->n_waiting) == 0))
            idle_locked(w, &self);
        if (q == NULL)
            break;
        struct work *k = q->first;
        q->first = k->next;
        if (q->first == NULL)
            q->last = NULL;
        q->n_running++;
        q->asker->n_running++;
        q->asker->n_waiting--;
        atomic_fetch_sub(&w->n_waiting, 1);
        w->locked.turn = q;
        pthread_mutex_unlock(&w->locked.lock);
        k->fn(w->s, k->ctx);
        free(k);
        pthread_mutex_lock(&w->locked.lock);
        q->n_running--;
        q->asker->n_running--;
        forget_locked(w, q);
        if (w->locked.stop)
            call_all_locked(w);
    }
    pthread_mutex_unlock(&w->locked.lock);
    pthread_cond_destroy(&self.call);
    return NULL;
}

static unsigned share(unsigned n, unsigned of, unsigned all)
{
    unsigned some = n * of / all;
    return some ? some : 1;
}

err_code workers_start(struct service *s, unsigned n, unsigned max_waiting, struct workers **out,
                       struct err *e)
{
    struct workers *w = calloc(1, sizeof *w);
    if (w == NULL || (w->threads = calloc(n, sizeof *w->threads)) == NULL)
        abort();
    w->s = s;
    w->queue_share = share(n, 2, 3);
    w->asker_share = share(n, 5, 6);
    w->asker_waiting = share(max_waiting, 1, 2);
    w->locked.cap = max_waiting;
    pthread_mutex_init(&w->locked.lock, NULL);
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
    call_all_locked(w);
    pthread_mutex_unlock(&w->locked.lock);
    for (unsigned i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    pthread_mutex_destroy(&w->locked.lock);
    free(w->threads);
    free(w);
}

bool workers_pressed(struct workers *w)
{
    return atomic_load(&w->n_waiting) > 0;
}

err_code workers_add(struct workers *w, struct work_for who, work_fn fn, void *ctx, struct err *e)
{
    struct work *k = calloc(1, sizeof *k);
    if (k == NULL)
        abort();
    k->fn = fn;
    k->ctx = ctx;
    pthread_mutex_lock(&w->locked.lock);
    struct asker *a = asker_of_locked(w, sv_hash(1, who.caller));
    struct queue *q = queue_of_locked(w, a, sv_hash(2, who.place));
    bool room = atomic_load(&w->n_waiting) < w->locked.cap && !w->locked.stop;
    bool ok = room && a->n_waiting < w->asker_waiting;
    if (ok) {
        if (q->last)
            q->last->next = k;
        else
            q->first = k;
        q->last = k;
        a->n_waiting++;
        atomic_fetch_add(&w->n_waiting, 1);
        call_one_locked(w);
    } else {
        forget_locked(w, q);
    }
    pthread_mutex_unlock(&w->locked.lock);
    if (ok)
        return ERR_OK;
    free(k);
    return room ? ERR(e, ERR_THROTTLED,
                      "Too many of your requests wait to be worked on; try again later")
                : ERR(e, ERR_THROTTLED, "Too many requests are being worked on; try again later");
}
