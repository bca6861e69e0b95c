/* counts.c - how many resources are current, when bulk loads have not been looked at yet.
 *
 * A commit knows which versions it replaces and takes their entries out of the sums (tally.c). What
 * a bulk load gave birth to replaces nothing. For the other resources of a load nobody looks while
 * it is filled, or an import would read as much as it writes. It is marked instead (commits: 'u' b
 * -> types and how many of each), and the first count that meets a mark settles it: the version of
 * the same resource that was current in front of the load, if it was no deletion, is what the load
 * replaced. Versions never change, so this can be found out at any later time. An import job has it
 * done when it has ended, so that no count waits for it.
 *
 * Invariant C1: a sum, less what unsettled loads replaced, is the number of resources current as of
 * the last commit. Who changes a sum, or the marks, holds order.lock. */
#include "store/rocks/rocks_private.h"

#define SETTLE_ROUNDS 3u /* loads published meanwhile are settled in the next */

void counts_mark(struct rocks *r, rocksdb_writebatch_t *batch, uint64_t b,
                 const uint32_t n[STORE_TYPES])
{
    char value[STORE_TYPES * 5];
    size_t len = 0;
    for (size_t type = 0; type < STORE_TYPES; type++) {
        if (n[type] == 0)
            continue;
        value[len++] = (char)type;
        memcpy(value + len, &n[type], sizeof n[type]);
        len += sizeof n[type];
    }
    struct key_bytes k = key_commit('u', b);
    if (len)
        rocksdb_writebatch_put_cf(batch, r->cf[CF_COMMITS], k.ptr, k.len, value, len);
}

struct mark {
    uint64_t b, t;
    uint32_t n[STORE_TYPES]; /* of each type */
};
struct settling {
    struct rocks *r;
    const atomic_bool *halt; /* NULL, or: stop when it becomes true */
    struct mark *marks;
    size_t n;
    struct tally tally; /* what they replaced */
};

static err_code may_go_on(const struct settling *s, struct err *e)
{
    return s->halt && atomic_load_explicit(s->halt, memory_order_relaxed)
               ? ERR(e, ERR_CANCELLED, "settling counts was stopped")
               : ERR_OK;
}

/* order.lock is held: marks and table belong together. */
static err_code read_marks_locked(struct settling *s, struct err *e)
{
    struct rocks *r = s->r;
    struct load_table *table = load_table_ref(r);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_COMMITS]);
    struct buf marks = BUF_INIT(ROCKS_MARKS_MAX);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek(it, "u", 1); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t len;
        const char *k = rocksdb_iter_key(it, &len);
        if (len != 9 || k[0] != 'u')
            break;
        struct mark m = { .b = key_get_u64(k + 1) };
        const struct bulk_load *b = load_table_find(table, m.b);
        const char *v = rocksdb_iter_value(it, &len);
        if (b == NULL || len % 5) {
            rc = ERR(e, ERR_CORRUPT, "reading the data store: a bulk load's mark is damaged");
            break;
        }
        m.t = b->t;
        for (size_t i = 0; i < len; i += 5)
            memcpy(&m.n[(unsigned char)v[i]], v + i + 1, sizeof m.n[0]);
        rc = buf_add(&marks, sv_make(&m, sizeof m), e);
    }
    char *bad = NULL;
    rocksdb_iter_get_error(it, &bad);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    load_table_unref(table);
    if (rc == ERR_OK)
        rc = rocks_error(bad, "reading the data store", e);
    else
        rocksdb_free(bad);
    s->marks = (struct mark *)(void *)marks.ptr;
    s->n = marks.len / sizeof(struct mark);
    return rc;
}

/* What was current in front of load m, if it was no deletion, is not current any more. Nothing is
 * counted of the data of a Binary: what is read comes without it. */
static err_code take_away(struct settling *s, const struct mark *m, store_number number,
                          struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(2 * (size_t)ROCKS_BODY_MAX);
    struct store_version v;
    struct err why;
    if (m->t <= 1)
        return ERR_OK;
    err_code rc = rocks_get_number(&s->r->base, number, m->t - 1, true, a, &v, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    return v.method == STORE_METHOD_DELETE
               ? ERR_OK
               : tally_version(&s->tally, number_type(number), v.body.json, -1, e);
}

/* The same, of what may be a giant: at its place. Who asks for a count cannot wait for that: the
 * large reader's place does. */
static err_code take_away_alone(struct settling *s, const struct mark *m, store_number number,
                                struct err *e)
{
    struct gate *alone = &s->r->env->alone;
    if (s->halt == NULL || number_type(number) != alone->type)
        return take_away(s, m, number, e);
    TRY(gate_enter_unless(alone, s->r, s->halt, e));
    err_code rc = take_away(s, m, number, e);
    gate_leave(alone, s->r);
    return rc;
}

/* Of one load and type, the resources that have a change of their own. */
static err_code settle_load(struct settling *s, const struct mark *m, fhir_type type, struct err *e)
{
    struct rocks *r = s->r;
    struct key_bytes from = key_change(type, KEY_BULK, m->b, 0);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_CHANGES]);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek(it, from.ptr, from.len); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t len;
        const char *k = rocksdb_iter_key(it, &len);
        if (len != from.len + NUMBER_BYTES || memcmp(k, from.ptr, from.len) != 0)
            break;
        rc = may_go_on(s, e);
        if (rc == ERR_OK)
            rc = take_away_alone(s, m, key_get_u64(k + from.len), e);
    }
    return rocks_iterator_end(it, ro, rc, e);
}

static err_code settle_marks(struct settling *s, struct err *e)
{
    for (size_t i = 0; i < s->n; i++)
        for (unsigned t = 1; t <= fhir_n_types(); t++)
            if (s->marks[i].n[t])
                TRY(settle_load(s, &s->marks[i], (fhir_type)t, e));
    return ERR_OK;
}

/* counts.lock is held: one settles at a time. */
static err_code settle(struct settling *s, struct err *e)
{
    struct rocks *r = s->r;
    TRY(settle_marks(s, e));
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    /* lost in a crash: done again */
    rocksdb_writeoptions_t *wo = rocksdb_writeoptions_create();
    for (size_t i = 0; i < s->n; i++) {
        struct key_bytes k = key_commit('u', s->marks[i].b);
        rocksdb_writebatch_delete_cf(batch, r->cf[CF_COMMITS], k.ptr, k.len);
    }
    tally_write(&s->tally, r, batch);
    char *bad = NULL;
    pthread_mutex_lock(&r->order.lock);
    rocksdb_write(r->db, wo, batch, &bad);
    pthread_mutex_unlock(&r->order.lock);
    rocksdb_writeoptions_destroy(wo);
    rocksdb_writebatch_destroy(batch);
    return rocks_write_error(r, bad, "settling counts", e);
}

err_code rocks_settle(struct store *st, const atomic_bool *halt, struct err *e)
{
    struct settling s = { .r = (struct rocks *)st, .halt = halt };
    pthread_mutex_lock(&s.r->settle_lock);
    pthread_mutex_lock(&s.r->order.lock);
    err_code rc = read_marks_locked(&s, e);
    pthread_mutex_unlock(&s.r->order.lock);
    if (rc == ERR_OK && s.n)
        rc = settle(&s, e);
    pthread_mutex_unlock(&s.r->settle_lock);
    tally_done(&s.tally);
    free(s.marks);
    return rc;
}

err_code rocks_count(struct store *st, fhir_type type, uint16_t param, sv value, uint64_t *out,
                     struct store_commit *at, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    err_code rc = ERR_OK;
    for (unsigned round = 0; rc == ERR_OK; round++) {
        struct settling s = { .r = r };
        /* in front of order.lock */
        if (round)
            pthread_mutex_lock(&r->settle_lock);
        pthread_mutex_lock(&r->order.lock);
        rc = read_marks_locked(&s, e);
        if (rc == ERR_OK && s.n == 0) {
            rc = counts_sum(r, type, param, value, out, e);
            *at = rocks_seen_last((struct rocks *)st);
        }
        pthread_mutex_unlock(&r->order.lock);
        bool done = rc != ERR_OK || s.n == 0;
        if (!done && round == SETTLE_ROUNDS)
            rc = ERR(e, ERR_UNSUPPORTED, "loads are published faster than they are counted");
        else if (!done && round)
            rc = settle(&s, e);
        if (round)
            pthread_mutex_unlock(&r->settle_lock);
        tally_done(&s.tally);
        free(s.marks);
        if (done)
            break;
    }
    return rc;
}
