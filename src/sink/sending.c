/* sending.c - objects on their way to a peer while their writer goes on.
 *
 * A sink's threads, SENDERS at most and made as they are needed, take the files in the order in
 * which they were given. A writer that is ahead by SENDERS files waits: so many connections are
 * busy. So does one that is ahead by most_bytes: so much is held in memory. One object may be
 * larger.
 *
 * Copies that the peer makes are one thread's, which has many under way (s3/copies.c). A copy holds
 * nothing, and costs so little that being woken for it would cost as much. So more of them may wait
 * in the queue, whoever is ahead of them by COPIES is woken when half of them are over, and nobody
 * is woken by what he does not wait for. */
#include "sink/sink_private.h"

#define SENDERS 8u
#define COPIES  64u /* on their way */

struct sink_sending {
    struct sink_senders *of; /* NULL: it was over at once */
    struct s3_file *file;    /* one of the two */
    struct s3_copying *copying;
    struct sink_sending *next; /* in its queue */
    size_t held;               /* bytes of memory until it is over */
    bool copies;
    bool waited; /* somebody waits until it is over */
    atomic_bool over;
    struct sink_object object; /* once it is over */
    struct sink_mark mark;
    err_code rc;
    struct err err;
};

struct sink_senders {
    pthread_mutex_t lock;
    pthread_cond_t given; /* to the threads */
    pthread_cond_t ended; /* by the threads: what is waited for is over, or there is room again */
    struct sink_sending *first, **last;     /* files */
    unsigned n_files, n_copies;             /* on their way: in the queue or with a thread */
    unsigned files_waiting, copies_waiting; /* writers that are ahead */
    size_t n_held;                          /* bytes of the files */
    size_t most_bytes;
    unsigned n_queued;
    unsigned n_idle, n_threads; /* idle: also those that were woken and do not run yet */
    bool stop;
    pthread_t threads[SENDERS];
    struct {
        struct sink_sending *first, **last;
        struct s3_copies *under_way;
        bool runs;   /* there is the thread */
        bool sleeps; /* it has nothing to do, and waits for `given` of its own */
        bool rests;  /* it would take one more, and waits for its peers */
        pthread_cond_t given;
        pthread_t thread;
    } copier; /* touch only while holding the lock, but for under_way, which is the thread's */
};

struct sink_senders *sink_senders_new(size_t most_bytes)
{
    struct sink_senders *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->given, NULL);
    pthread_cond_init(&x->ended, NULL);
    pthread_cond_init(&x->copier.given, NULL);
    x->last = &x->first;
    x->copier.last = &x->copier.first;
    x->most_bytes = most_bytes;
    return x;
}

void sink_senders_free(struct sink_senders *x)
{
    if (x == NULL)
        return;
    pthread_mutex_lock(&x->lock);
    x->stop = true;
    pthread_cond_broadcast(&x->given);
    pthread_cond_signal(&x->copier.given);
    pthread_mutex_unlock(&x->lock);
    for (unsigned i = 0; i < x->n_threads; i++)
        (void)pthread_join(x->threads[i], NULL);
    if (x->copier.runs)
        (void)pthread_join(x->copier.thread, NULL);
    s3_copies_free(x->copier.under_way);
    pthread_cond_destroy(&x->copier.given);
    pthread_cond_destroy(&x->given);
    pthread_cond_destroy(&x->ended);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

static bool has_room_locked(const struct sink_senders *x, const struct sink_sending *sending)
{
    if (sending->copies)
        return x->n_copies < COPIES;
    return x->n_files < SENDERS && (x->n_files == 0 || x->n_held + sending->held <= x->most_bytes);
}

/* Whoever has waited for it may free it behind this. */
static void end_locked(struct sink_senders *x, struct sink_sending *sending)
{
    bool wakes = sending->waited;
    if (sending->copies) {
        x->n_copies--;
        wakes = wakes || (x->copies_waiting && x->n_copies <= COPIES / 2);
    } else {
        x->n_files--;
        x->n_held -= sending->held;
        wakes = wakes || x->files_waiting;
    }
    atomic_store_explicit(&sending->over, true, memory_order_release);
    if (wakes)
        pthread_cond_broadcast(&x->ended);
}

static void *send_all(void *ctx)
{
    struct sink_senders *x = ctx;
    pthread_mutex_lock(&x->lock);
    for (;;) {
        while (x->first == NULL && !x->stop) {
            x->n_idle++;
            (void)pthread_cond_wait(&x->given, &x->lock);
            x->n_idle--;
        }
        if (x->first == NULL)
            break;
        struct sink_sending *sending = x->first;
        x->first = sending->next;
        x->n_queued--;
        if (x->first == NULL)
            x->last = &x->first;
        pthread_mutex_unlock(&x->lock);
        sending->rc =
            s3_file_commit(sending->file, &sending->object, &sending->mark, &sending->err);
        s3_file_free(sending->file);
        sending->file = NULL;
        pthread_mutex_lock(&x->lock);
        end_locked(x, sending);
    }
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

/* ---- copies ---- */

/* s3_copied_fn */
static void copied(void *ctx, err_code rc, const struct s3_entity *entity, const struct err *e)
{
    struct sink_sending *sending = ctx;
    struct sink_senders *x = sending->of;
    sending->rc = rc;
    if (rc == ERR_OK)
        s3_mark(entity, &sending->mark);
    else
        sending->err = *e;
    s3_copying_free(sending->copying);
    sending->copying = NULL;
    pthread_mutex_lock(&x->lock);
    end_locked(x, sending);
    pthread_mutex_unlock(&x->lock);
}

/* The next one that there is room for. NULL: none now. */
static struct sink_sending *next_copy(struct sink_senders *x)
{
    const bool has_room = s3_copies_has_room(x->copier.under_way);
    const bool idle = s3_copies_under_way(x->copier.under_way) == 0;
    pthread_mutex_lock(&x->lock);
    while (x->copier.first == NULL && idle && !x->stop) {
        x->copier.sleeps = true;
        (void)pthread_cond_wait(&x->copier.given, &x->lock);
        x->copier.sleeps = false;
    }
    struct sink_sending *sending = has_room ? x->copier.first : NULL;
    if (sending) {
        x->copier.first = sending->next;
        if (x->copier.first == NULL)
            x->copier.last = &x->copier.first;
    }
    x->copier.rests = sending == NULL && has_room;
    pthread_mutex_unlock(&x->lock);
    return sending;
}

static void *copy_all(void *ctx)
{
    struct sink_senders *x = ctx;
    for (;;) {
        struct sink_sending *sending = next_copy(x);
        if (sending)
            s3_copies_ask(x->copier.under_way, &sending->copying->copy, sending);
        else if (s3_copies_under_way(x->copier.under_way))
            s3_copies_turn(x->copier.under_way);
        else
            return NULL;
    }
}

/* False: no thread can be had. */
static bool give_copy_locked(struct sink_senders *x, struct sink_sending *sending)
{
    if (!x->copier.runs) {
        x->copier.under_way = s3_copies_new(sending->copying->sink->s3, copied);
        x->copier.runs = pthread_create(&x->copier.thread, NULL, copy_all, x) == 0;
        if (!x->copier.runs) {
            s3_copies_free(x->copier.under_way);
            x->copier.under_way = NULL;
            return false;
        }
    }
    *x->copier.last = sending;
    x->copier.last = &sending->next;
    if (x->copier.sleeps)
        pthread_cond_signal(&x->copier.given);
    if (x->copier.rests)
        s3_copies_wake(x->copier.under_way);
    x->copier.rests = false;
    return true;
}

/* ---- giving, and waiting ---- */

struct sink_sending *sink_sending_ended(const struct sink_object *object,
                                        const struct sink_mark *mark)
{
    struct sink_sending *sending = calloc(1, sizeof *sending);
    if (sending == NULL)
        abort();
    atomic_store_explicit(&sending->over, true, memory_order_relaxed);
    sending->object = *object;
    sending->mark = *mark;
    return sending;
}

static void give_file_locked(struct sink_senders *x, struct sink_sending *sending)
{
    *x->last = sending;
    x->last = &sending->next;
    x->n_queued++;
    if (x->n_queued > x->n_idle && x->n_threads < SENDERS &&
        pthread_create(&x->threads[x->n_threads], NULL, send_all, x) == 0)
        x->n_threads++;
    else if (x->n_threads == 0)
        /* no thread at all can be had */
        abort();
    pthread_cond_signal(&x->given);
}

struct sink_sending *sink_senders_give(struct sink_senders *x, struct s3_file *file,
                                       struct s3_copying *copying)
{
    struct sink_sending *sending = calloc(1, sizeof *sending);
    if (sending == NULL)
        abort();
    sending->of = x;
    sending->file = file;
    sending->copying = copying;
    sending->held = file ? s3_file_held(file) : 0;
    sending->copies = copying != NULL;
    pthread_mutex_lock(&x->lock);
    unsigned *waiting = copying ? &x->copies_waiting : &x->files_waiting;
    while (!has_room_locked(x, sending)) {
        ++*waiting;
        (void)pthread_cond_wait(&x->ended, &x->lock);
        --*waiting;
    }
    ++*(copying ? &x->n_copies : &x->n_files);
    x->n_held += sending->held;
    if (file) {
        give_file_locked(x, sending);
    } else if (!give_copy_locked(x, sending)) {
        /* it is written instead */
        sending->rc = ERR(&sending->err, ERR_UNSUPPORTED, "there is no thread for copies");
        s3_copying_free(sending->copying);
        sending->copying = NULL;
        end_locked(x, sending);
    }
    pthread_mutex_unlock(&x->lock);
    return sending;
}

bool sink_sending_is_over(const struct sink_sending *sending)
{
    return atomic_load_explicit(&sending->over, memory_order_acquire);
}

err_code sink_sending_wait(struct sink_sending **sp, struct sink_object *object,
                           struct sink_mark *mark, struct err *e)
{
    struct sink_sending *s = *sp;
    *sp = NULL;
    if (s->of) {
        /* also of what is over: then its thread has let go of it */
        pthread_mutex_lock(&s->of->lock);
        s->waited = true;
        while (!sink_sending_is_over(s))
            (void)pthread_cond_wait(&s->of->ended, &s->of->lock);
        pthread_mutex_unlock(&s->of->lock);
    }
    err_code rc = s->rc;
    if (rc != ERR_OK && e)
        *e = s->err;
    if (object && rc == ERR_OK)
        *object = s->object;
    if (mark)
        *mark = s->mark;
    free(s);
    return rc;
}
