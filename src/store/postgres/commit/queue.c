/* queue.c - writers of one process stand in a queue, and go in groups.
 *
 * The first of them becomes the leader: it takes those that wait and writes their commits as one
 * transaction, while the next group gathers. Each waiter has its own condition; a leader wakes
 * those it wrote for and the next leader, nobody else. Two waiters that write the same resource
 * never share a group, so that each sees the state that the other left. One whose commit depends on
 * something that it has read is the first of its group: what it depends on is asked for by its own
 * thread, and no commit of the group comes before its own. */
#include "store/postgres/commit/commit_private.h"

#define GROUP_MAX_WAITERS 256u
#define GROUP_MAX_BYTES   (16u << 20) /* of bodies; a single commit may have more */
#define GROUP_SLOTS       8192u       /* hash set of the group's resources; half full at most */

struct group_set {
    uint64_t slots[GROUP_SLOTS]; /* hashes of resources, 0 is free */
    size_t n, bytes;
};

static uint64_t resource_hash(const struct store_write *w)
{
    const uint64_t h = sv_hash(w->type, w->id);
    return h ? h : 1;
}

static size_t slot_of(const struct group_set *g, uint64_t h)
{
    size_t k = h % GROUP_SLOTS;
    while (g->slots[k] && g->slots[k] != h)
        k = (k + 1) % GROUP_SLOTS;
    return k;
}

/* False when one of the waiter's resources (or one of the same hash) is in the group, the group is
 * full, or the waiter must be the first. Nothing is added then. */
static bool claim(struct group_set *g, const struct pg_waiter *w)
{
    size_t bytes = 0;
    if (g->n && w->still)
        return false;
    for (size_t i = 0; i < w->n; i++)
        bytes += w->writes[i].body.json.len + w->writes[i].index.len;
    if (g->n && g->bytes + bytes > GROUP_MAX_BYTES)
        return false;
    if (g->n + w->n > GROUP_SLOTS / 2) {
        /* a commit larger than the set goes alone */
        const bool alone = g->n == 0;
        g->n = GROUP_SLOTS;
        return alone;
    }
    for (size_t i = 0; i < w->n; i++)
        if (g->slots[slot_of(g, resource_hash(&w->writes[i]))])
            return false;
    for (size_t i = 0; i < w->n; i++) {
        const uint64_t h = resource_hash(&w->writes[i]);
        g->slots[slot_of(g, h)] = h;
    }
    g->n += w->n;
    g->bytes += bytes;
    return true;
}

/* Waiters from the queue's head while they fit into one group. */
static struct pg_waiter *take_group_locked(struct pg_queue *q, struct group_set *g)
{
    struct pg_waiter *first = q->head, *last = NULL;
    unsigned n = 0;
    for (struct pg_waiter *w = first; w && n < GROUP_MAX_WAITERS && claim(g, w); w = w->next, n++)
        last = w;
    q->head = last->next;
    if (q->head == NULL)
        q->tail = NULL;
    last->next = NULL;
    return first;
}

/* The queue's lock is held, and is given back while the group is written. */
static void lead_locked(struct pg *p, struct pg_queue *q)
{
    struct group_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        abort();
    q->led = true;
    struct pg_waiter *group = take_group_locked(q, set);
    pthread_mutex_unlock(&q->lock);
    free(set);
    pg_write_group(p, group, false);
    pthread_mutex_lock(&q->lock);
    for (struct pg_waiter *w = group, *next; w; w = next) {
        /* a waiter may be gone once it is done and the lock is free */
        next = w->next;
        w->done = true;
        pthread_cond_signal(&w->wake);
    }
    q->led = false;
    if (q->head)
        pthread_cond_signal(&q->head->wake);
}

err_code pg_commit_if(struct store *st, struct store_write *writes, size_t n,
                      struct store_still *still, struct store_commit *out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    struct pg_queue *q = &p->queue;
    struct pg_waiter me = { .writes = writes, .n = n, .still = still };
    rng_uuid(me.who);
    pthread_cond_init(&me.wake, NULL);
    pthread_mutex_lock(&q->lock);
    if (q->tail)
        q->tail->next = &me;
    else
        q->head = &me;
    q->tail = &me;
    while (!me.done && (q->led || q->head != &me))
        pthread_cond_wait(&me.wake, &q->lock);
    /* nobody leads, and this thread's commit is the first: it will be in the group */
    if (!me.done)
        lead_locked(p, q);
    pthread_mutex_unlock(&q->lock);
    pthread_cond_destroy(&me.wake);
    if (me.rc != ERR_OK)
        return err_pass(e, &me.why);
    *out = me.out;
    return ERR_OK;
}

err_code pg_commit(struct store *st, struct store_write *writes, size_t n, struct store_commit *out,
                   struct err *e)
{
    return pg_commit_if(st, writes, n, NULL, out, e);
}

/* Nobody else writes, so nobody stands in the queue. */
err_code pg_commit_again(struct store *st, struct store_again *commits, size_t n, struct err *e)
{
    struct pg_waiter *all = calloc(n, sizeof *all);
    err_code rc = ERR_OK;
    if (all == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        all[i].next = i + 1 < n ? &all[i + 1] : NULL;
        all[i].writes = commits[i].writes;
        all[i].n = commits[i].n;
        all[i].again_ms = &commits[i].instant_ms;
        rng_uuid(all[i].who);
    }
    pg_write_group((struct pg *)st, all, true);
    for (size_t i = 0; i < n; i++) {
        commits[i].out = all[i].out;
        if (all[i].rc != ERR_OK && rc == ERR_OK)
            rc = err_pass(e, &all[i].why);
    }
    free(all);
    return rc;
}
