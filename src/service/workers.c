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
        unsigned cap, n_busy;        /* n_busy: threads that have work */
        bool stop;
    } locked;
};

/* The queue of the work that this thread does. */
static _Thread_local const struct queue *mine;

static struct asker *asker_of_locked(struct workers *workers, uint64_t id)
{
    struct asker *asker = workers->locked.askers;
    while (asker && asker->id != id)
        asker = asker->next;
    if (asker)
        return asker;
    if ((asker = calloc(1, sizeof *asker)) == NULL)
        abort();
    asker->id = id;
    asker->next = workers->locked.askers;
    workers->locked.askers = asker;
    return asker;
}

static struct queue *queue_of_locked(struct workers *workers, struct asker *asker, uint64_t place)
{
    struct queue *queue = workers->locked.queues;
    while (queue && (queue->asker != asker || queue->place != place))
        queue = queue->next;
    if (queue)
        return queue;
    if ((queue = calloc(1, sizeof *queue)) == NULL)
        abort();
    queue->asker = asker;
    queue->place = place;
    queue->next = workers->locked.queues;
    workers->locked.queues = queue;
    return queue;
}

static bool may_run(const struct workers *workers, const struct queue *queue)
{
    return queue->first && queue->n_running < workers->queue_share &&
           queue->asker->n_running < workers->asker_share;
}

/* The next queue in turn with work that may run now. */
static struct queue *next_locked(struct workers *workers)
{
    struct queue *from = workers->locked.turn ? workers->locked.turn->next : workers->locked.queues;
    for (struct queue *queue = from; queue; queue = queue->next)
        if (may_run(workers, queue))
            return queue;
    for (struct queue *queue = workers->locked.queues; queue != from; queue = queue->next)
        if (may_run(workers, queue))
            return queue;
    return NULL;
}

static void forget_locked(struct workers *workers, struct queue *q)
{
    struct asker *a = q->asker;
    if (q->first == NULL && q->n_running == 0) {
        struct queue **at = &workers->locked.queues, *before = NULL;
        for (; *at != q; at = &(*at)->next)
            before = *at;
        *at = q->next;
        /* the queue behind it comes next */
        if (workers->locked.turn == q)
            workers->locked.turn = before;
        free(q);
    }
    if (a->n_waiting == 0 && a->n_running == 0) {
        struct asker **at = &workers->locked.askers;
        while (*at != a)
            at = &(*at)->next;
        *at = a->next;
        free(a);
    }
}

static void call_one_locked(struct workers *workers)
{
    struct idler *i = workers->locked.idlers;
    /* all are busy: the thread that is free first takes the work */
    if (i == NULL)
        return;
    workers->locked.idlers = i->next;
    i->called = true;
    pthread_cond_signal(&i->call);
}

static void call_all_locked(struct workers *workers)
{
    while (workers->locked.idlers)
        call_one_locked(workers);
}

static void idle_locked(struct workers *workers, struct idler *i)
{
    i->next = workers->locked.idlers;
    workers->locked.idlers = i;
    for (i->called = false; !i->called;)
        pthread_cond_wait(&i->call, &workers->locked.lock);
}

static void *worker(void *arg)
{
    struct workers *workers = arg;
    struct idler self = { .call = PTHREAD_COND_INITIALIZER };
    pthread_mutex_lock(&workers->locked.lock);
    for (;;) {
        struct queue *queue;
        while ((queue = next_locked(workers)) == NULL &&
               !(workers->locked.stop && atomic_load(&workers->n_waiting) == 0))
            idle_locked(workers, &self);
        if (queue == NULL)
            break;
        struct work *k = queue->first;
        queue->first = k->next;
        if (queue->first == NULL)
            queue->last = NULL;
        queue->n_running++;
        queue->asker->n_running++;
        queue->asker->n_waiting--;
        atomic_fetch_sub(&workers->n_waiting, 1);
        workers->locked.turn = queue;
        workers->locked.n_busy++;
        mine = queue;
        pthread_mutex_unlock(&workers->locked.lock);
        k->fn(workers->s, k->ctx);
        free(k);
        pthread_mutex_lock(&workers->locked.lock);
        mine = NULL;
        workers->locked.n_busy--;
        queue->n_running--;
        queue->asker->n_running--;
        forget_locked(workers, queue);
        if (workers->locked.stop)
            call_all_locked(workers);
    }
    pthread_mutex_unlock(&workers->locked.lock);
    pthread_cond_destroy(&self.call);
    return NULL;
}

static unsigned share(unsigned n, unsigned of, unsigned all)
{
    unsigned some = n * of / all;
    return some ? some : 1;
}

err_code workers_start(struct service *service, unsigned n, unsigned max_waiting,
                       struct workers **out, struct err *e)
{
    struct workers *workers = calloc(1, sizeof *workers);
    if (workers == NULL || (workers->threads = calloc(n, sizeof *workers->threads)) == NULL)
        abort();
    workers->s = service;
    workers->queue_share = share(n, 2, 3);
    workers->asker_share = share(n, 5, 6);
    workers->asker_waiting = share(max_waiting, 1, 2);
    workers->locked.cap = max_waiting;
    pthread_mutex_init(&workers->locked.lock, NULL);
    for (; workers->n_threads < n; workers->n_threads++)
        if (pthread_create(&workers->threads[workers->n_threads], NULL, worker, workers) != 0) {
            workers_stop(workers);
            return ERR(e, ERR_IO, "worker threads cannot be started");
        }
    *out = workers;
    return ERR_OK;
}

void workers_stop(struct workers *workers)
{
    if (workers == NULL)
        return;
    pthread_mutex_lock(&workers->locked.lock);
    workers->locked.stop = true;
    call_all_locked(workers);
    pthread_mutex_unlock(&workers->locked.lock);
    for (unsigned i = 0; i < workers->n_threads; i++)
        pthread_join(workers->threads[i], NULL);
    pthread_mutex_destroy(&workers->locked.lock);
    free(workers->threads);
    free(workers);
}

/* Would work of the queue have a thread if this thread's work ended, and has none before? */
static bool is_kept_locked(const struct workers *workers, const struct queue *queue)
{
    const unsigned of_queue = queue == mine, of_asker = mine && queue->asker == mine->asker;
    if (queue->first == NULL || queue->n_running - of_queue >= workers->queue_share ||
        queue->asker->n_running - of_asker >= workers->asker_share)
        return false;
    return workers->locked.n_busy == workers->n_threads || !may_run(workers, queue);
}

bool workers_pressed(struct workers *workers)
{
    bool kept = false;
    /* rarely does any wait, and it is asked often */
    if (atomic_load(&workers->n_waiting) == 0)
        return false;
    pthread_mutex_lock(&workers->locked.lock);
    for (const struct queue *q = workers->locked.queues; q && !kept; q = q->next)
        kept = is_kept_locked(workers, q);
    pthread_mutex_unlock(&workers->locked.lock);
    return kept;
}

err_code workers_add(struct workers *workers, struct work_for who, work_fn fn, void *ctx,
                     struct err *e)
{
    struct work *k = calloc(1, sizeof *k);
    if (k == NULL)
        abort();
    k->fn = fn;
    k->ctx = ctx;
    pthread_mutex_lock(&workers->locked.lock);
    struct asker *asker = asker_of_locked(workers, sv_hash(1, who.caller));
    struct queue *queue = queue_of_locked(workers, asker, sv_hash(2, who.place));
    bool room = atomic_load(&workers->n_waiting) < workers->locked.cap && !workers->locked.stop;
    bool ok = room && asker->n_waiting < workers->asker_waiting;
    if (ok) {
        if (queue->last)
            queue->last->next = k;
        else
            queue->first = k;
        queue->last = k;
        asker->n_waiting++;
        atomic_fetch_add(&workers->n_waiting, 1);
        call_one_locked(workers);
    } else {
        forget_locked(workers, queue);
    }
    pthread_mutex_unlock(&workers->locked.lock);
    if (ok)
        return ERR_OK;
    free(k);
    return room ? ERR(e, ERR_THROTTLED,
                      "Too many of your requests wait to be worked on; try again later")
                : ERR(e, ERR_THROTTLED, "Too many requests are being worked on; try again later");
}
