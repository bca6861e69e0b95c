/* write.c - what changes the oracle: commits, bulk loads, notes, the horizon.
 *
 * A bulk load keeps its versions to itself until it is published (I4). Publishing gives it a commit
 * and adds them to the array, together with the note (I6). */
#include "store/memory/memory_private.h"

#include "base/clock.h"

struct mem_bulk {
    struct store_bulk base;
    struct memory *m;
    struct mem_version *versions;
    size_t n;
};

err_code mem_commit(struct store *st, struct store_write *w, size_t n, struct store_commit *out,
                    struct err *e)
{
    struct memory *m = (struct memory *)st;
    err_code rc = ERR_OK;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        uint64_t rank;
        const struct mem_version *v = mem_find_locked(m, w[i].type, w[i].id, STORE_NOW, &rank);
        bool there = v && v->method != STORE_METHOD_DELETE;
        if (w[i].method == STORE_METHOD_DELETE && !there)
            rc = ERR(e, ERR_NOT_FOUND, "there is nothing to delete");
        else if ((w[i].condition == STORE_IF_ABSENT && v) ||
                 (w[i].condition == STORE_IF_NEWEST && rank != w[i].if_version) ||
                 (w[i].condition == STORE_IF_VERSION && (!there || rank != w[i].if_version)) ||
                 (w[i].condition == STORE_IF_DELETED && (!v || there || rank != w[i].if_version)))
            rc = ERR(e, ERR_PRECONDITION, "the condition does not hold");
        else {
            w[i].version = rank + 1;
            w[i].existed = there;
        }
    }
    if (rc == ERR_OK) {
        *out = mem_next_locked(m);
        for (size_t i = 0; i < n; i++)
            mem_add_locked(
                m, mem_version_of(w[i].type, w[i].id, w[i].method, &w[i].body, w[i].index), *out);
    }
    pthread_mutex_unlock(&m->lock);
    return rc;
}

err_code mem_horizon(struct store *st, struct store_commit *out, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    pthread_mutex_lock(&m->lock);
    struct store_commit c = mem_last_locked(m);
    int64_t now = clock_wall_ms();
    int64_t instant = now > c.instant_ms ? now : c.instant_ms;
    if (instant < m->floor_ms)
        instant = m->floor_ms;
    m->floor_ms = instant;
    *out = (struct store_commit){ c.t, instant };
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

/* ---- bulk loads ---- */

err_code mem_bulk_begin(struct store *st, struct store_bulk **out, struct err *e)
{
    (void)e;
    struct mem_bulk *b = calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    b->base.ops = st->ops;
    b->m = (struct memory *)st;
    *out = &b->base;
    return ERR_OK;
}

/* Numbers are given in this order. */
static int by_arrival(const void *a, const void *b)
{
    const struct store_bulk_item *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

err_code mem_bulk_fill(struct store_bulk *base, struct store_bulk_item *items, size_t n,
                       struct err *e)
{
    struct mem_bulk *b = (struct mem_bulk *)base;
    if (b->versions)
        return ERR(e, ERR_INTERNAL, "a bulk load is filled twice");
    n = store_items_sort(items, n);
    if (n)
        qsort(items, n, sizeof *items, by_arrival);
    b->versions = calloc(n ? n : 1, sizeof *b->versions);
    if (b->versions == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        b->versions[b->n++] = mem_version_of(items[i].type, items[i].id, STORE_METHOD_IMPORT,
                                             &items[i].body, items[i].index);
    return ERR_OK;
}

static err_code note_put_locked(struct memory *m, sv key, sv note)
{
    size_t i = 0;
    while (i < m->n_notes && !sv_eq(sv_make(m->notes[i].key, m->notes[i].key_len), key))
        i++;
    if (i == m->n_notes) {
        m->notes = realloc(m->notes, ++m->n_notes * sizeof *m->notes);
        if (m->notes == NULL)
            abort();
        m->notes[i] = (struct mem_note){ .key = mem_copy(key), .key_len = key.len };
    }
    free(m->notes[i].value);
    m->notes[i].value = mem_copy(note);
    m->notes[i].len = note.len;
    return ERR_OK;
}

err_code mem_bulk_publish(struct store_bulk **bulks, size_t n, sv note_key, sv note,
                          struct store_commit *out, struct err *e)
{
    (void)e;
    struct memory *m = ((struct mem_bulk *)bulks[0])->m;
    pthread_mutex_lock(&m->lock);
    *out = mem_last_locked(m);
    for (size_t k = 0; k < n; k++) {
        struct mem_bulk *b = (struct mem_bulk *)bulks[k];
        if (b->n)
            *out = mem_next_locked(m);
        for (size_t i = 0; i < b->n; i++)
            mem_add_locked(m, b->versions[i], *out);
        /* they are the store's now */
        b->n = 0;
    }
    /* cannot fail here */
    if (note_key.len)
        (void)note_put_locked(m, note_key, note);
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

bool mem_is_crowded(struct store *st)
{
    (void)st;
    return false;
}

void mem_bulk_abort(struct store_bulk *base)
{
    struct mem_bulk *b = (struct mem_bulk *)base;
    for (size_t i = 0; i < b->n; i++)
        mem_version_free(&b->versions[i]);
    free(b->versions);
    free(b);
}

/* ---- erasing ---- */

static void make_hollow(struct mem_version *v, bool all)
{
    mem_version_free(v);
    v->json = v->index = NULL;
    v->body = (struct fhir_body){ 0 };
    v->index_len = 0;
    v->method = STORE_METHOD_DELETE;
    v->erased = true;
    if (all)
        v->id_len = 0;
}

/* One thread erases at a time, so nobody counts in between. */
static err_code count(struct memory *m, sv note, bool whole, uint64_t n, struct err *e)
{
    char value[STORE_ERASED_BYTES];
    if (note.len == 0 || n == 0)
        return ERR_OK;
    TRY(store_erased_grown(&m->base, note, whole, n, value, e));
    pthread_mutex_lock(&m->lock);
    err_code rc = note_put_locked(m, note, sv_make(value, sizeof value));
    pthread_mutex_unlock(&m->lock);
    return rc;
}

err_code mem_erase(struct store *st, const struct lease *lease, store_number number, uint64_t t,
                   sv note, bool *any, struct err *e)
{
    (void)lease;
    struct memory *m = (struct memory *)st;
    const struct mem_version *now = NULL;
    err_code rc = ERR_OK;
    uint64_t n = 0;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++)
        if (m->versions[i].number == number)
            now = &m->versions[i];
    if (t && now && now->commit.t == t && !now->erased)
        rc = ERR(e, ERR_PRECONDITION, "the version is the current one");
    for (size_t i = 0; i < m->n && rc == ERR_OK; i++) {
        struct mem_version *v = &m->versions[i];
        if (v->number != number || (t && v->commit.t != t))
            continue;
        n += !v->erased;
        make_hollow(v, t == 0);
        m->marks[i] = mem_mark_of(v->type, mem_id_of(v));
    }
    pthread_mutex_unlock(&m->lock);
    *any = n != 0;
    return rc == ERR_OK ? count(m, note, t == 0, n, e) : rc;
}

/* As an engine with files: a commit without versions. */
err_code mem_erase_finish(struct store *st, const struct lease *lease, const atomic_bool *halt,
                          struct err *e)
{
    struct memory *m = (struct memory *)st;
    (void)lease;
    (void)halt;
    (void)e;
    pthread_mutex_lock(&m->lock);
    (void)mem_next_locked(m);
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

/* ---- notes ---- */

err_code mem_note_get(struct store *st, sv key, struct buf *out, struct err *e)
{
    struct memory *m = (struct memory *)st;
    err_code rc = ERR(e, ERR_NOT_FOUND, "no such note");
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_notes; i++)
        if (sv_eq(sv_make(m->notes[i].key, m->notes[i].key_len), key))
            rc = buf_add(out, sv_make(m->notes[i].value, m->notes[i].len), e);
    pthread_mutex_unlock(&m->lock);
    return rc;
}

err_code mem_note_delete(struct store *st, sv key, struct err *e)
{
    (void)e;
    struct memory *m = (struct memory *)st;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_notes; i++)
        if (sv_eq(sv_make(m->notes[i].key, m->notes[i].key_len), key)) {
            free(m->notes[i].key);
            free(m->notes[i].value);
            m->notes[i] = m->notes[--m->n_notes];
            break;
        }
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}
