/* commit.c - online commits, in groups.
 *
 * Writers stand in a queue. The first of them becomes the leader: it takes those that wait and
 * writes their commits as one batch with one fsync, under order.lock, while the next group gathers.
 * Each waiter has its own condition; a leader wakes those it wrote for and the next leader, nobody
 * else. Two waiters that write the same resource never share a group, so that each sees the state
 * that the other left. */
#include "store/rocks/rocks_private.h"

#define GROUP_MAX_WAITERS 256u
#define GROUP_SLOTS       8192u /* hash set of the group's resources; filled to a half at most */

struct commit_waiter {
    struct commit_waiter *next;
    struct store_write *writes;
    size_t n;
    struct number_ask *asks; /* one for each of its writes: whose numbers they bear */
    const int64_t *again_ms; /* of rocks_again(): its instant */
    struct store_commit out;
    err_code rc;
    struct err *e;
    bool done;
    pthread_cond_t wake; /* done, or first in the queue with nobody leading */
};

/* ---- a group's batch ---- */

struct commit_group {
    rocksdb_writebatch_t *batch;
    struct store_commit last; /* as the group goes on */
    bool any;
    bool whole; /* all of its commits, or none */
    struct tally tally;
    struct claims_holder *holder; /* of ids that have no row yet */
    uint64_t slots[GROUP_SLOTS];  /* hashes of resources, 0 is free */
    size_t n_slots;
};

static uint64_t resource_hash(const struct store_write *w)
{
    uint64_t h = sv_hash(w->type, w->id);
    return h ? h : 1;
}

/* False when one of the waiter's resources (or one of the same hash) is in the group, or it is
 * full. Nothing is added then. */
static bool commit_group_claim(struct commit_group *g, const struct commit_waiter *w)
{
    if (g->n_slots + w->n > GROUP_SLOTS / 2) {
        /* a commit larger than the set goes alone */
        bool alone = g->n_slots == 0;
        g->n_slots = GROUP_SLOTS;
        return alone;
    }
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = resource_hash(&w->writes[i]) % GROUP_SLOTS; g->slots[k];
             k = (k + 1) % GROUP_SLOTS)
            if (g->slots[k] == resource_hash(&w->writes[i]))
                return false;
    for (size_t i = 0; i < w->n; i++) {
        size_t k = resource_hash(&w->writes[i]) % GROUP_SLOTS;
        while (g->slots[k])
            k = (k + 1) % GROUP_SLOTS;
        g->slots[k] = resource_hash(&w->writes[i]);
    }
    g->n_slots += w->n;
    return true;
}

static err_code check_condition(const struct store_write *w, const struct rocks_current *c,
                                struct err *e)
{
    bool there = c->version && !c->deleted;
    if (w->method == STORE_METHOD_DELETE && !there)
        return ERR(e, ERR_NOT_FOUND, "there is nothing to delete");
    if (w->condition == STORE_IF_ABSENT && c->version)
        return ERR(e, ERR_PRECONDITION, "the resource exists, or did: its id is taken");
    if (w->condition == STORE_IF_VERSION && (!there || c->version != w->if_version))
        return ERR(e, ERR_PRECONDITION, "the resource is not at version %llu",
                   (unsigned long long)w->if_version);
    if (w->condition == STORE_IF_NEWEST && c->version != w->if_version)
        return ERR(e, ERR_PRECONDITION, "another version is the newest");
    if (w->condition == STORE_IF_DELETED && (!c->deleted || c->version != w->if_version))
        return ERR(e, ERR_PRECONDITION, "the resource is not deleted any more");
    return ERR_OK;
}

static void put_index(struct rocks *r, rocksdb_writebatch_t *b, const struct store_write *w,
                      store_number number, struct store_commit c)
{
    sv rest = w->index, value;
    uint16_t param;
    char key[KEY_SEARCH_MAX];
    while (search_index_next(&rest, &param, &value)) {
        size_t n = key_search(w->type, param, value, number, ENTRY_ONLINE, c.t, key);
        rocksdb_writebatch_put_cf(b, r->cf[CF_SEARCH], key, n, "", 0);
    }
}

/* A row that the family lacks, or that does not say yet that there are later versions. */
static void put_row(struct rocks *r, rocksdb_writebatch_t *b, const struct number_ask *ask)
{
    struct ids_key k = ids_key(ask->type, ask->id);
    char value[IDS_VALUE_LEN];
    if (ask->how == NUMBER_KNOWN && ask->later)
        return;
    if (r->ids.filter)
        ids_filter_add(r->ids.filter, sv_make(k.ptr, k.len));
    ids_value_put(ask->number, ask->how != NUMBER_BORN, value);
    rocksdb_writebatch_put_cf(b, r->cf[CF_IDS], k.ptr, k.len, value, sizeof value);
}

static void put_version(struct rocks *r, rocksdb_writebatch_t *b, const struct store_write *w,
                        store_number number, struct store_commit c)
{
    struct value_head head = { .id = w->id,
                               .method = w->method,
                               .online = true,
                               .version = w->version,
                               .instant_ms = c.instant_ms };
    if (w->method != STORE_METHOD_DELETE)
        head.body = w->body;
    char head_bytes[VALUE_HEAD_MAX];
    size_t head_len = value_head_put(&head, head_bytes);
    struct key_bytes k = key_version(number, KEY_ONLINE, c.t);
    const char *key_parts[] = { k.ptr };
    const size_t key_lens[] = { k.len };
    const char *parts[] = { head_bytes, head.body.json.ptr ? head.body.json.ptr : "" };
    const size_t lens[] = { head_len, head.body.json.len };
    rocksdb_writebatch_putv_cf(b, r->cf[CF_VERSIONS], 1, key_parts, key_lens, 2, parts, lens);
    if (w->method != STORE_METHOD_DELETE)
        put_index(r, b, w, number, c);
    struct key_bytes ck = key_change(w->type, KEY_ONLINE, c.t, number);
    rocksdb_writebatch_put_cf(b, r->cf[CF_CHANGES], ck.ptr, ck.len, "", 0);
}

/* One write of a commit: does its condition hold? What it replaces is taken away from the sums,
 * what it brings is added. old: memory for what it replaces. */
static err_code check_write(struct rocks *r, struct store_write *w, struct number_ask *ask,
                            struct tally *t, struct buf *old, struct err *e)
{
    struct rocks_current cur;
    buf_clear(old);
    TRY(rocks_current(r, w->type, w->id, &cur, old, e));
    TRY(check_condition(w, &cur, e));
    *ask = (struct number_ask){ .type = w->type,
                                .id = w->id,
                                .number = cur.number,
                                .how = cur.has_row ? NUMBER_KNOWN : NUMBER_BORN,
                                .later = cur.later };
    /* I5 */
    w->version = cur.version + 1;
    w->existed = cur.version && !cur.deleted;
    if (w->existed)
        TRY(tally_version(t, w->type, buf_sv(old), -1, e));
    if (w->method != STORE_METHOD_DELETE)
        tally_resource(t, w->type, w->index, 1);
    return ERR_OK;
}

/* The block of numbers for births by commits has room for so many more of any type. A new block is
 * begun when it has not, and once per opening. */
static err_code make_room(struct rocks *r, size_t n, struct err *e)
{
    bool room = r->online.b != 0;
    for (size_t i = 0; i < STORE_TYPES && room; i++)
        room = n <= NUMBER_K_MOST && r->online.given[i] <= NUMBER_K_MOST - n;
    if (room)
        return ERR_OK;
    uint64_t b;
    char *bad = NULL;
    TRY(rocks_next_b(r, &b, e));
    /* plan.c wants to know it */
    struct key_bytes k = key_commit('o', b);
    rocksdb_put_cf(r->db, r->sync_write, r->cf[CF_COMMITS], k.ptr, k.len, "", 0, &bad);
    TRY(rocks_write_error(r, bad, "writing to the data store", e));
    r->online = (struct number_source){ .b = b };
    return ERR_OK;
}

/* Conditions, and numbers for all. Nothing of a commit that fails stays in the group's sums. */
static err_code check_waiter(struct rocks *r, struct commit_group *g, struct commit_waiter *w)
{
    CLEANUP_BUF struct buf old = BUF_INIT(ROCKS_BODY_MAX);
    struct tally t = { 0 };
    struct claims_look look;
    err_code rc = make_room(r, w->n, w->e);
    claims_look_begin(r->ids.claims, &look);
    for (size_t i = 0; i < w->n && rc == ERR_OK; i++)
        rc = check_write(r, &w->writes[i], &w->asks[i], &t, &old, w->e);
    if (rc == ERR_OK)
        rc = claims_take(g->holder, &r->online, w->asks, w->n, NULL, w->e);
    claims_look_end(r->ids.claims, &look);
    if (rc == ERR_OK)
        tally_add(&g->tally, &t);
    tally_done(&t);
    return rc;
}

static err_code add_waiter(struct rocks *r, struct commit_group *g, struct commit_waiter *w)
{
    TRY(check_waiter(r, g, w));
    r->order.replayed_ms = w->again_ms ? w->again_ms : r->order.replayed_ms;
    w->out = rocks_next_commit(r, g->last);
    for (size_t i = 0; i < w->n; i++) {
        put_row(r, g->batch, &w->asks[i]);
        put_version(r, g->batch, &w->writes[i], w->asks[i].number, w->out);
    }
    rocks_put_commit(r, g->batch, w->out, KEY_ONLINE, 0, w->n);
    g->last = w->out;
    g->any = true;
    return ERR_OK;
}

/* Readers must not find what the group's commits are about to replace (recent.c, R2). */
static void drop_recent(struct rocks *r, const struct commit_group *g,
                        const struct commit_waiter *first)
{
    recent_begin_t(&r->recent, g->last.t, false);
    for (const struct commit_waiter *w = first; w; w = w->next)
        for (size_t i = 0; i < w->n && w->rc == ERR_OK; i++)
            recent_drop(r->env->recent, &r->recent, w->asks[i].number);
}

/* Take waiters from the queue's head while they fit into one group. queue.lock is held. */
static struct commit_waiter *take_group_locked(struct rocks *r, struct commit_group *g)
{
    struct commit_waiter *first = r->queue.head, *last = NULL;
    unsigned n = 0;
    for (struct commit_waiter *w = first; w && n < GROUP_MAX_WAITERS && commit_group_claim(g, w);
         w = w->next, n++)
        last = w;
    r->queue.head = last->next;
    if (r->queue.head == NULL)
        r->queue.tail = NULL;
    last->next = NULL;
    return first;
}

/* What a witness does meanwhile (its own write to a disk) goes on while the group is written. So
 * it is told under order.lock, which the write to the disk has as well. */
static void tell_witnesses(const struct commit_waiter *first)
{
    struct store_witness *one = NULL;
    for (const struct commit_waiter *w = first; w; w = w->next)
        if (w->rc == ERR_OK && w->writes[0].witness) {
            one = w->writes[0].witness;
            one->told(one, &w->writes[0], &w->out);
        }
    if (one)
        one->all_told(one);
}

/* order.lock is held from the reading of conditions to the moment the result is visible. */
static void write_group(struct rocks *r, struct commit_group *g, struct commit_waiter *first)
{
    pthread_mutex_lock(&r->order.lock);
    g->batch = rocksdb_writebatch_create();
    g->holder = claims_hold(r->ids.claims);
    g->last = rocks_seen_last(r);
    for (struct commit_waiter *w = first; w; w = w->next) {
        w->rc = add_waiter(r, g, w);
        if (w->rc != ERR_OK && g->whole) {
            g->any = false;
            break;
        }
    }
    if (g->any) {
        char *bad = NULL;
        tally_write(&g->tally, r, g->batch);
        tell_witnesses(first);
        rocksdb_write(r->db, r->sync_write, g->batch, &bad);
        struct err e;
        err_code rc = rocks_write_error(r, bad, "writing to the data store", &e);
        if (rc == ERR_OK) {
            drop_recent(r, g, first);
            rocks_seen_set(r, g->last, NULL);
        }
        for (struct commit_waiter *w = first; w && rc != ERR_OK; w = w->next)
            if (w->rc == ERR_OK) {
                w->rc = rc;
                if (w->e)
                    *w->e = e;
            }
    }
    /* rows are on disk, or nothing of it is */
    claims_release(g->holder);
    rocksdb_writebatch_destroy(g->batch);
    tally_done(&g->tally);
    pthread_mutex_unlock(&r->order.lock);
}

err_code rocks_commit(struct store *st, struct store_write *writes, size_t n,
                      struct store_commit *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct commit_waiter me = { .writes = writes, .n = n, .e = e };
    me.asks = calloc(n ? n : 1, sizeof *me.asks);
    if (me.asks == NULL)
        abort();
    pthread_cond_init(&me.wake, NULL);
    pthread_mutex_lock(&r->queue.lock);
    if (r->queue.tail)
        r->queue.tail->next = &me;
    else
        r->queue.head = &me;
    r->queue.tail = &me;
    while (!me.done && (r->queue.led || r->queue.head != &me))
        pthread_cond_wait(&me.wake, &r->queue.lock);
    /* nobody leads, and this thread's commit is the first: it will be in the group */
    if (!me.done) {
        r->queue.led = true;
        struct commit_group *g = calloc(1, sizeof *g);
        if (g == NULL)
            abort();
        struct commit_waiter *group = take_group_locked(r, g);
        pthread_mutex_unlock(&r->queue.lock);
        write_group(r, g, group);
        free(g);
        pthread_mutex_lock(&r->queue.lock);
        for (struct commit_waiter *w = group, *next; w; w = next) {
            /* a waiter may be gone once it is done and the lock is free */
            next = w->next;
            w->done = true;
            pthread_cond_signal(&w->wake);
        }
        r->queue.led = false;
        if (r->queue.head)
            pthread_cond_signal(&r->queue.head->wake);
    }
    pthread_mutex_unlock(&r->queue.lock);
    pthread_cond_destroy(&me.wake);
    free(me.asks);
    if (me.rc == ERR_OK)
        *out = me.out;
    return me.rc;
}

err_code rocks_again(struct store *st, struct store_again *commits, size_t n, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct commit_waiter *all = calloc(n, sizeof *all);
    struct commit_group *g = calloc(1, sizeof *g);
    if (all == NULL || g == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        all[i] = (struct commit_waiter){ .next = i + 1 < n ? &all[i + 1] : NULL,
                                         .writes = commits[i].writes,
                                         .n = commits[i].n,
                                         .e = e,
                                         .again_ms = &commits[i].instant_ms };
        all[i].asks = calloc(all[i].n ? all[i].n : 1, sizeof *all[i].asks);
        if (all[i].asks == NULL)
            abort();
    }
    g->whole = true;
    write_group(r, g, all);
    r->order.replayed_ms = NULL;
    err_code rc = ERR_OK;
    for (size_t i = 0; i < n; i++) {
        commits[i].out = all[i].out;
        rc = rc == ERR_OK ? all[i].rc : rc;
        free(all[i].asks);
    }
    free(g);
    free(all);
    return rc;
}
