/* log.c - the queue of records and the thread behind it.
 *
 *   audit_add -> queue -> writer: lines, write(2), fdatasync(2), done()
 *
 * Records are copied behind each other into one batch: who adds one has it in the cache of his
 * processor, and the writer reads all of them in one go. It takes the whole batch, makes one sync
 * of it, and leaves the memory of the one before. So many who wait share one sync. It begins at
 * once when somebody waits, else when the oldest record is AUDIT_BATCH_US old. It tells those who
 * wait itself: another thread for that costs a write more processor time than it wins.
 *
 *   WELL --a write fails--> FAILED: who waits is told so, records are counted
 *   FAILED --each AUDIT_RETRY_US, the folder is opened anew (resume.c), a gap line--> WELL */
#include "audit/audit_private.h"

#include "base/clock.h"
#include "base/limits.h"

#include <pthread.h>

#define SEGMENT_MS 3600000ll         /* then the next record begins another segment */
#define KEPT_BYTES ((size_t)8 << 20) /* memory of a batch that the next one uses */

struct waiter {
    struct waiter *next;
    audit_done_fn done;
    void *ctx;
};
struct list {
    struct waiter *first, **end;
};
struct batch { /* of records, and who waits for them */
    struct buf records;
    uint64_t n;
    struct list waiters;
};

struct audit {
    struct audit_config cfg;
    struct hash_hmac_key queries;
    pthread_t writer;
    struct audit_segment segment; /* the writer's */
    struct batch taken;           /* the writer's: what it writes, else empty */
    uint64_t gap;                 /* the writer's: records lost since the last line */
    uint64_t retry_us;            /* the writer's: not before */
    char gap_from[25];
    atomic_bool well;
    atomic_size_t waiting; /* bytes */
    atomic_uint_fast64_t n_records, n_bytes, n_failures, n_lost;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t more;
        struct batch queue;
        uint64_t since_us; /* of the oldest in queue */
        bool urgent, stop;
    } locked;
};

static void list_init(struct list *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void list_push(struct list *l, struct waiter *waiter)
{
    waiter->next = NULL;
    *l->end = waiter;
    l->end = &waiter->next;
}

static struct waiter *list_take(struct list *l)
{
    struct waiter *first = l->first;
    list_init(l);
    return first;
}

/* What waits is bounded by whoever adds it. */
static void batch_init(struct batch *b)
{
    *b = (struct batch){ .records = BUF_INIT(SIZE_MAX / 4) };
    list_init(&b->waiters);
}

static bool batch_has_any(const struct batch *b)
{
    return b->n != 0 || b->waiters.first != NULL;
}

/* All of the queue, which gets the memory of `taken`. */
static void batch_take(struct batch *queue, struct batch *taken)
{
    const struct buf memory = taken->records;
    *taken = *queue;
    if (queue->waiters.first == NULL)
        list_init(&taken->waiters);
    queue->records = memory;
    queue->n = 0;
    list_init(&queue->waiters);
}

/* Those who wait are told. */
static void list_tell(struct waiter *first, bool durable)
{
    struct waiter *next;
    for (; first; first = next) {
        next = first->next;
        first->done(first->ctx, durable);
        free(first);
    }
}

static void tell(const struct audit *audit, enum audit_news news, uint64_t n, const struct err *why)
{
    if (audit->cfg.told)
        audit->cfg.told(audit->cfg.ctx, news, n, why);
}

/* ---- the writer ---- */

static err_code rotate(struct audit *audit, struct err *e)
{
    TRY(audit_segment_end(&audit->segment, e));
    TRY(audit_segment_begin(&audit->segment, e));
    return audit_segment_retire(&audit->segment, audit->cfg.retention_days, e);
}

static err_code write_some(struct audit *audit, struct err *e)
{
    struct audit_segment *segment = &audit->segment;
    TRY(audit_segment_write(segment, e));
    if (segment->bytes >= audit->cfg.segment_bytes ||
        clock_wall_ms() - segment->begun_ms >= SEGMENT_MS)
        return rotate(audit, e);
    return ERR_OK;
}

static err_code write_batch(struct audit *audit, struct err *e)
{
    sv rest = buf_sv(&audit->taken.records), record;
    while (rest.len && sv_cut(&rest, '\n', &record)) {
        TRY(audit_segment_add(&audit->segment, record, e));
        if (audit->segment.out.len >= AUDIT_BATCH_MAX)
            TRY(write_some(audit, e));
    }
    return write_some(audit, e);
}

static void drop(struct audit *audit)
{
    audit_segment_drop(&audit->segment);
    audit_segment_init(&audit->segment, audit->cfg.dir);
}

static void fail(struct audit *audit, const struct err *why)
{
    drop(audit);
    if (atomic_exchange(&audit->well, false)) {
        audit->gap = 0;
        audit_now(audit->gap_from);
        tell(audit, AUDIT_FAILED, 0, why);
    }
    atomic_fetch_add(&audit->n_failures, 1);
}

static err_code add_gap(struct audit *audit, struct err *e)
{
    char record[192], now[25];
    audit_now(now);
    int n = snprintf(record, sizeof record,
                     "{\"log\":\"gap\",\"records\":%llu,\"from\":\"%s\",\"to\":\"%s\"}",
                     (unsigned long long)audit->gap, audit->gap_from, now);
    TRY(audit_segment_add(&audit->segment, sv_make(record, (size_t)n), e));
    return audit_segment_write(&audit->segment, e);
}

/* Can it be written again? */
static void try_again(struct audit *audit)
{
    struct err e;
    bool made;
    uint64_t torn;
    if (clock_mono_us() < audit->retry_us)
        return;
    audit->retry_us = clock_mono_us() + AUDIT_RETRY_US;
    drop(audit);
    if (audit_resume(&audit->segment, false, &made, &torn, &e) != ERR_OK ||
        add_gap(audit, &e) != ERR_OK) {
        drop(audit);
        return;
    }
    atomic_store(&audit->well, true);
    tell(audit, AUDIT_BACK, audit->gap, NULL);
    audit->gap = 0;
}

/* All that was taken: on disk, or lost. */
static void handle(struct audit *audit)
{
    struct err e;
    const uint64_t n = audit->taken.n, bytes = audit->taken.records.len;
    if (!atomic_load(&audit->well))
        try_again(audit);
    bool durable = atomic_load(&audit->well);
    if (durable && write_batch(audit, &e) != ERR_OK) {
        durable = false;
        fail(audit, &e);
    }
    if (durable) {
        atomic_fetch_add(&audit->n_records, n);
        atomic_fetch_add(&audit->n_bytes, bytes);
    } else {
        audit->gap += n;
        atomic_fetch_add(&audit->n_lost, n);
    }
    atomic_fetch_sub(&audit->waiting, bytes);
    buf_shrink(&audit->taken.records, KEPT_BYTES);
    list_tell(list_take(&audit->taken.waiters), durable);
}

/* Until there is something to write now: true, or the log ends. After a failure it also looks
 * whether the disk has room again, though nobody asks: false. */
static bool wait_locked(struct audit *audit)
{
    for (;;) {
        const uint64_t now_us = clock_mono_us();
        const bool well = atomic_load(&audit->well), any = batch_has_any(&audit->locked.queue);
        if (audit->locked.stop ||
            (any && (audit->locked.urgent || now_us >= audit->locked.since_us + AUDIT_BATCH_US)))
            return true;
        if (well && !any) {
            pthread_cond_wait(&audit->locked.more, &audit->locked.lock);
            continue;
        }
        const struct timespec t =
            clock_mono_at(any ? audit->locked.since_us + AUDIT_BATCH_US : now_us + AUDIT_RETRY_US);
        if (pthread_cond_timedwait(&audit->locked.more, &audit->locked.lock, &t) != 0 && !any)
            return false;
    }
}

static void *write_all(void *arg)
{
    struct audit *audit = arg;
    /* so that an operator sees what it costs */
    (void)pthread_setname_np(pthread_self(), "audit");
    pthread_mutex_lock(&audit->locked.lock);
    for (;;) {
        bool due = wait_locked(audit);
        bool any = batch_has_any(&audit->locked.queue), stop = audit->locked.stop && !any;
        batch_take(&audit->locked.queue, &audit->taken);
        audit->locked.urgent = false;
        pthread_mutex_unlock(&audit->locked.lock);
        if (any)
            handle(audit);
        else if (!due)
            try_again(audit);
        pthread_mutex_lock(&audit->locked.lock);
        if (stop)
            break;
    }
    pthread_mutex_unlock(&audit->locked.lock);
    return NULL;
}

/* ---- for everybody ---- */

/* held: the writer is told by audit_go(). */
static void add(struct audit *audit, sv records, unsigned n, struct waiter *waiter, bool held)
{
    struct err ignored;
    atomic_fetch_add(&audit->waiting, records.len);
    pthread_mutex_lock(&audit->locked.lock);
    struct batch *queue = &audit->locked.queue;
    bool wake = !batch_has_any(queue);
    if (wake)
        audit->locked.since_us = clock_mono_us();
    /* without a bound that could be met */
    IGNORE(buf_add(&queue->records, records, &ignored));
    queue->n += n;
    if (waiter)
        list_push(&queue->waiters, waiter);
    if (waiter && !held) {
        wake |= !audit->locked.urgent;
        audit->locked.urgent = true;
    }
    if (wake && !held)
        pthread_cond_signal(&audit->locked.more);
    pthread_mutex_unlock(&audit->locked.lock);
}

static struct waiter *waiter_new(audit_done_fn done, void *ctx)
{
    struct waiter *waiter = malloc(sizeof *waiter);
    if (waiter == NULL)
        abort();
    *waiter = (struct waiter){ .done = done, .ctx = ctx };
    return waiter;
}

void audit_add(struct audit *audit, sv records, unsigned n, audit_done_fn done, void *ctx)
{
    add(audit, records, n, done ? waiter_new(done, ctx) : NULL, false);
}

void audit_add_held(struct audit *audit, sv records, unsigned n, audit_done_fn done, void *ctx)
{
    add(audit, records, n, waiter_new(done, ctx), true);
}

void audit_go(struct audit *audit)
{
    pthread_mutex_lock(&audit->locked.lock);
    if (batch_has_any(&audit->locked.queue) && !audit->locked.urgent) {
        audit->locked.urgent = true;
        pthread_cond_signal(&audit->locked.more);
    }
    pthread_mutex_unlock(&audit->locked.lock);
}

bool audit_is_well(struct audit *audit)
{
    return atomic_load(&audit->well);
}

bool audit_is_pressed(struct audit *audit)
{
    return atomic_load(&audit->waiting) > LIMIT_AUDIT_WAITING_BYTES;
}

struct audit_counts audit_counts(struct audit *audit)
{
    return (struct audit_counts){ atomic_load(&audit->n_records), atomic_load(&audit->n_bytes),
                                  atomic_load(&audit->n_failures), atomic_load(&audit->n_lost) };
}

void audit_digest(const struct audit *audit, sv text, char out[64])
{
    unsigned char made[SHA256_LEN];
    hash_hmac_sha256_with(&audit->queries, text, made);
    hash_hex(made, sizeof made, out);
}

/* ---- life ---- */

static void audit_free(struct audit *audit)
{
    audit_segment_drop(&audit->segment);
    buf_done(&audit->taken.records);
    buf_done(&audit->locked.queue.records);
    pthread_mutex_destroy(&audit->locked.lock);
    pthread_cond_destroy(&audit->locked.more);
    explicit_bzero(&audit->queries, sizeof audit->queries);
    free(audit);
}

err_code audit_open(const struct audit_config *cfg, struct audit **out, struct err *e)
{
    struct audit *audit = calloc(1, sizeof *audit);
    bool made;
    uint64_t torn;
    if (audit == NULL)
        abort();
    audit->cfg = *cfg;
    if (audit->cfg.segment_bytes == 0)
        audit->cfg.segment_bytes = LIMIT_AUDIT_SEGMENT_BYTES;
    audit_segment_init(&audit->segment, cfg->dir);
    pthread_mutex_init(&audit->locked.lock, NULL);
    clock_cond_init(&audit->locked.more);
    batch_init(&audit->taken);
    batch_init(&audit->locked.queue);
    err_code rc = audit_resume(&audit->segment, true, &made, &torn, e);
    if (rc == ERR_OK)
        rc = audit_segment_retire(&audit->segment, cfg->retention_days, e);
    if (rc == ERR_OK) {
        hash_hmac_key_set(&audit->queries, sv_make(audit->segment.key.queries, AUDIT_KEY_LEN));
        atomic_store(&audit->well, true);
        if (made)
            tell(audit, AUDIT_BEGUN, 0, NULL);
        else if (torn != UINT64_MAX)
            tell(audit, AUDIT_RECOVERED, torn, NULL);
        if (pthread_create(&audit->writer, NULL, write_all, audit) != 0)
            rc = ERR(e, ERR_IO, "the thread of the audit log cannot be started");
    }
    if (rc != ERR_OK) {
        audit_free(audit);
        return rc;
    }
    *out = audit;
    return ERR_OK;
}

void audit_close(struct audit *audit)
{
    if (audit == NULL)
        return;
    pthread_mutex_lock(&audit->locked.lock);
    audit->locked.stop = true;
    pthread_cond_signal(&audit->locked.more);
    pthread_mutex_unlock(&audit->locked.lock);
    pthread_join(audit->writer, NULL);
    struct err e;
    /* A segment without its end is closed at the next start. */
    if (atomic_load(&audit->well) && audit_segment_end(&audit->segment, &e) != ERR_OK)
        tell(audit, AUDIT_FAILED, 0, &e);
    audit_free(audit);
}
