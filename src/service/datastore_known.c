/* datastore_known.c - records of data stores in memory, so that not every request reads one.
 *
 *   read    note the generation; read the record; keep it unless the generation has moved since
 *   write   write the record to disk; move the generation; empty the record's slot
 *
 * So a copy in memory is never older than the last write that was answered. A slot is chosen by the
 * id; a new copy replaces the old one. Copies are counted: the last holder frees one. */
#include "service/plane.h"

#include <assert.h>

#define KEYS_MEMORY (64u << 10) /* of the two keys of a writing */

struct datastore_held {
    struct datastore ds;
    struct arena *arena; /* of ds */
    atomic_uint n_refs;
};

static size_t slot_of(sv id)
{
    size_t h = id.len;
    for (size_t i = 0; i < id.len; i++)
        h = h * 31 + (unsigned char)id.ptr[i];
    return h % DATASTORES_KNOWN;
}

static void unref(struct datastore_held *h)
{
    if (h == NULL)
        return;
    unsigned before = atomic_fetch_sub(&h->n_refs, 1);
    assert(before > 0);
    if (before != 1)
        return;
    arena_free(h->arena);
    free(h);
}

void datastore_release(struct datastore_held **h)
{
    unref(*h);
    *h = NULL;
}

const struct datastore *datastore_of(const struct datastore_held *h)
{
    return &h->ds;
}

err_code datastore_hold(struct service *s, sv id, struct datastore_held **out, struct err *e)
{
    size_t slot = slot_of(id);
    pthread_mutex_lock(&s->known.lock);
    uint64_t generation = s->known.generation;
    struct datastore_held *h = s->known.slots[slot];
    if (h && sv_eq(h->ds.id, id)) {
        atomic_fetch_add(&h->n_refs, 1);
        *out = h;
    } else {
        h = NULL;
    }
    pthread_mutex_unlock(&s->known.lock);
    if (h)
        return ERR_OK;
    h = calloc(1, sizeof *h);
    if (h == NULL)
        abort();
    h->arena = arena_new(DATASTORE_MEMORY);
    atomic_init(&h->n_refs, 1);
    err_code rc = datastore_read(s, id, h->arena, &h->ds, e);
    if (rc != ERR_OK) {
        unref(h);
        return rc;
    }
    struct datastore_held *old = NULL;
    pthread_mutex_lock(&s->known.lock);
    if (s->known.generation == generation) {
        old = s->known.slots[slot];
        s->known.slots[slot] = h;
        atomic_fetch_add(&h->n_refs, 1);
    }
    pthread_mutex_unlock(&s->known.lock);
    unref(old);
    *out = h;
    return ERR_OK;
}

void datastore_forget(struct service *s, sv id)
{
    size_t slot = slot_of(id);
    pthread_mutex_lock(&s->known.lock);
    s->known.generation++;
    struct datastore_held *old = s->known.slots[slot];
    s->known.slots[slot] = NULL;
    pthread_mutex_unlock(&s->known.lock);
    unref(old);
}

void datastores_forget_all(struct service *s)
{
    for (size_t i = 0; i < DATASTORES_KNOWN; i++)
        datastore_release(&s->known.slots[i]);
}

/* The record, and in the same batch its mark that a restart must take it up. */
err_code datastore_write(struct service *s, const struct datastore *d, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(KEYS_MEMORY);
    CLEANUP_BUF struct buf b = BUF_INIT(DATASTORE_RECORD_MAX);
    TRY(datastore_print(d, &b, e));
    struct records_write w[] = {
        { RECORDS_PUT, arena_fmt(a, "datastore/%.*s", SV_FMT(d->id)), buf_sv(&b) },
        { datastore_in_transition(d) ? RECORDS_PUT : RECORDS_DELETE,
          arena_fmt(a, "datastoreactive/%.*s", SV_FMT(d->id)), SV_NONE },
    };
    err_code rc = records_write(s->cfg.records, w, 2, e);
    /* even if writing failed: the disk decides */
    datastore_forget(s, d->id);
    if (rc == ERR_OK && !datastore_in_transition(d))
        parking_wake(s->cfg.parking, d->id);
    return rc;
}
