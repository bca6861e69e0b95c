/* replay.c - the commits of an older data store, made once more in a new one.
 *
 * The new store does for each commit what it does for any: it gives numbers to new resources, finds
 * out what is born and what was known before, writes search entries and sums. It is told three
 * things that it else decides: the instant of each commit, the number of each load, and by the
 * order of the calls the t. So what comes out is a store that could have grown so by itself.
 *
 * Loads that were never published are left out, and so is what a crash left of them. One commit is
 * in memory at a time. Which versions a commit wrote is told by the family of changes. For online
 * commits one iterator a type goes through it, so that a commit costs no search.
 *
 * Nothing waits for the disk meanwhile: a store that is not whole is thrown away. */
#include "store/rocks/convert/convert_private.h"

#include <time.h>

#define COMMIT_MAX    ((size_t)8 << 30) /* what one commit brought: in memory when it was made */
#define NOTE_BATCH    (1u << 20)
#define CROWDED_NS    20000000
#define CHANGE_HEAD   10u
#define FIRST_LOAD_NO 1u

struct online_changes { /* of one type; the iterator stands on the next */
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *ro;
    uint64_t t; /* 0: there is none */
    sv id;
};

struct replay {
    struct converting *c;
    struct old_store *old;
    struct rocks *r;
    int64_t instant_ms;
    struct arena *bytes, *tree; /* of a commit; of a version */
    struct buf index, rows;     /* rows: store_bulk_item or store_write */
    struct online_changes online[STORE_TYPES];
    rocksdb_iterator_t *loaded; /* changes of loads */
    rocksdb_readoptions_t *loaded_ro;
    struct bulk_load *by_t; /* published loads */
    size_t n_loads, at_load;
};

/* ---- versions ---- */

/* One version, copied, with its search entries made anew. */
static err_code fetch(struct replay *p, const struct old_key *key, struct value_head *head,
                      sv *index, struct err *e)
{
    rocksdb_pinnableslice_t *value;
    yyjson_doc *doc;
    TRY(old_version(p->old, key, &value, head, e));
    sv json = arena_sv(p->bytes, head->body.json);
    rocksdb_pinnableslice_destroy(value);
    if (json.ptr == NULL)
        return arena_oom(p->bytes, e);
    head->body.json = json;
    *index = SV_NONE;
    if (head->method == STORE_METHOD_DELETE)
        return ERR_OK;
    arena_reset(p->tree);
    buf_clear(&p->index);
    TRY(json_read(p->tree, json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    TRY(search_index(key->type, yyjson_doc_get_root(doc), &p->index, e));
    *index = arena_sv(p->bytes, buf_sv(&p->index));
    return index->ptr ? ERR_OK : arena_oom(p->bytes, e);
}

static err_code keep_id(struct replay *p, sv *id, struct err *e)
{
    *id = arena_sv(p->bytes, *id);
    if (id->ptr == NULL)
        return arena_oom(p->bytes, e);
    return fhir_id_ok(*id) ? ERR_OK : rocks_damaged(e);
}

/* ---- loads ---- */

static err_code add_item(struct replay *p, const struct bulk_load *load, fhir_type type, sv id,
                         struct err *e)
{
    struct store_bulk_item item = { .type = type, .id = id };
    struct value_head head;
    TRY(keep_id(p, &item.id, e));
    TRY(fetch(p, &(struct old_key){ type, item.id, KEY_BULK, load->b }, &head, &item.index, e));
    if (head.method == STORE_METHOD_DELETE)
        return rocks_damaged(e);
    item.body = head.body;
    /* how they came is not known any more */
    item.seq = p->rows.len / sizeof item;
    return buf_add(&p->rows, sv_make(&item, sizeof item), e);
}

static err_code read_load(struct replay *p, const struct bulk_load *load, struct err *e)
{
    for (unsigned type = 1; type <= fhir_n_types(); type++) {
        if (!p->old->types[type])
            continue;
        struct old_bytes from = old_changes((fhir_type)type, KEY_BULK, load->b);
        rocksdb_iter_seek(p->loaded, from.ptr, from.len);
        for (; rocksdb_iter_valid(p->loaded); rocksdb_iter_next(p->loaded)) {
            size_t len;
            const char *k = rocksdb_iter_key(p->loaded, &len);
            if (len <= from.len || memcmp(k, from.ptr, from.len) != 0)
                break;
            TRY(add_item(p, load, (fhir_type)type, sv_make(k + from.len, len - from.len), e));
        }
    }
    return ERR_OK;
}

/* Nothing tells when a compaction has ended, so it is asked again. */
static void wait_for_room(struct replay *p)
{
    while (rocks_is_crowded(&p->r->base))
        (void)nanosleep(&(struct timespec){ .tv_nsec = CROWDED_NS }, NULL);
}

static err_code replay_load(struct replay *p, const struct bulk_load *load, struct store_commit *at,
                            struct err *e)
{
    struct store_bulk *bulk;
    TRY(read_load(p, load, e));
    size_t n = p->rows.len / sizeof(struct store_bulk_item);
    /* a load without resources is no commit */
    if (n == 0)
        return rocks_damaged(e);
    wait_for_room(p);
    TRY(rocks_bulk_begin_as(p->r, load->b, &bulk, e));
    err_code rc = rocks_bulk_fill(bulk, (struct store_bulk_item *)(void *)p->rows.ptr, n, e);
    if (rc == ERR_OK)
        rc = rocks_bulk_publish(&bulk, 1, SV_NONE, SV_NONE, at, e);
    rocks_bulk_abort(bulk);
    p->c->done.n_versions += n;
    return rc;
}

/* ---- online commits ---- */

static void look(struct online_changes *x, fhir_type type)
{
    size_t len;
    x->t = 0;
    if (!rocksdb_iter_valid(x->it))
        return;
    const char *k = rocksdb_iter_key(x->it, &len);
    if (len <= CHANGE_HEAD || (fhir_type)(unsigned char)k[0] != type || k[1] != KEY_ONLINE)
        return;
    x->t = key_get_u64(k + 2);
    x->id = sv_make(k + CHANGE_HEAD, len - CHANGE_HEAD);
}

static void open_online(struct replay *p)
{
    for (unsigned type = 1; type <= fhir_n_types(); type++) {
        struct online_changes *x = &p->online[type];
        if (!p->old->types[type])
            continue;
        struct old_bytes from = old_changes((fhir_type)type, KEY_ONLINE, 0);
        x->it = old_iterate(p->old, OLD_CHANGES, &x->ro);
        rocksdb_iter_seek(x->it, from.ptr, from.len);
        look(x, (fhir_type)type);
    }
}

static err_code close_online(struct replay *p, err_code rc, struct err *e)
{
    for (unsigned type = 1; type < STORE_TYPES; type++)
        if (p->online[type].it)
            rc = rocks_iterator_end(p->online[type].it, p->online[type].ro, rc, e);
    return rc;
}

static err_code add_write(struct replay *p, fhir_type type, sv id, uint64_t t, struct err *e)
{
    struct store_write w = { .type = type, .id = id };
    struct value_head head;
    TRY(keep_id(p, &w.id, e));
    TRY(fetch(p, &(struct old_key){ type, w.id, KEY_ONLINE, t }, &head, &w.index, e));
    w.method = head.method;
    w.body = head.body;
    return buf_add(&p->rows, sv_make(&w, sizeof w), e);
}

static err_code replay_online(struct replay *p, uint64_t t, struct store_commit *at, struct err *e)
{
    for (unsigned type = 1; type <= fhir_n_types(); type++) {
        struct online_changes *x = &p->online[type];
        while (x->it && x->t == t) {
            TRY(add_write(p, (fhir_type)type, x->id, t, e));
            rocksdb_iter_next(x->it);
            look(x, (fhir_type)type);
        }
    }
    size_t n = p->rows.len / sizeof(struct store_write);
    if (n == 0)
        return rocks_damaged(e);
    p->c->done.n_versions += n;
    return rocks_commit(&p->r->base, (struct store_write *)(void *)p->rows.ptr, n, at, e);
}

/* ---- commits ---- */

static err_code replay_commit(struct replay *p, uint64_t t, int64_t instant_ms, struct err *e)
{
    const struct bulk_load *load =
        p->at_load < p->n_loads && p->by_t[p->at_load].t == t ? &p->by_t[p->at_load++] : NULL;
    struct store_commit at = { 0 };
    if (load && load->instant_ms != instant_ms)
        return rocks_damaged(e);
    p->instant_ms = instant_ms;
    arena_reset(p->bytes);
    buf_clear(&p->rows);
    TRY(load ? replay_load(p, load, &at, e) : replay_online(p, t, &at, e));
    /* I1: they did not go back when they were made, and so are what they were */
    if (at.t != t || at.instant_ms != instant_ms)
        return rocks_damaged(e);
    p->c->done.n_commits++;
    convert_tell(p->c, STORE_CONVERT_WRITES, t);
    return ERR_OK;
}

static err_code replay_commits(struct replay *p, struct err *e)
{
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it = old_iterate(p->old, OLD_COMMITS, &ro);
    uint64_t t = 0;
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek(it, "c", 1); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        struct commit_value c;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        if (key_len == 0 || k[0] != 'c')
            break;
        /* every t has a record */
        if (key_len != 9 || key_get_u64(k + 1) != ++t || !commit_value_split(sv_make(v, len), &c))
            rc = rocks_damaged(e);
        else
            rc = replay_commit(p, t, c.instant_ms, e);
    }
    rc = rocks_iterator_end(it, ro, rc, e);
    return rc == ERR_OK && p->at_load != p->n_loads ? rocks_damaged(e) : rc;
}

static int by_commit(const void *a, const void *b)
{
    const struct bulk_load *x = a, *y = b;
    return x->t < y->t ? -1 : x->t > y->t;
}

static err_code replay_history(struct replay *p, struct err *e)
{
    const struct load_table *loads = p->old->loads;
    p->bytes = arena_new(COMMIT_MAX);
    p->tree = arena_new(json_tree_max(ROCKS_BODY_MAX));
    buf_init(&p->index, SEARCH_ENTRIES_MAX);
    buf_init(&p->rows, COMMIT_MAX);
    p->n_loads = loads->n;
    p->by_t = malloc((loads->n + 1) * sizeof *p->by_t);
    if (p->by_t == NULL)
        abort();
    if (loads->n) {
        memcpy(p->by_t, loads->rows, loads->n * sizeof *p->by_t);
        qsort(p->by_t, loads->n, sizeof *p->by_t, by_commit);
    }
    p->loaded = old_iterate(p->old, OLD_CHANGES, &p->loaded_ro);
    open_online(p);
    err_code rc = replay_commits(p, e);
    rc = close_online(p, rc, e);
    rc = rocks_iterator_end(p->loaded, p->loaded_ro, rc, e);
    free(p->by_t);
    buf_done(&p->rows);
    buf_done(&p->index);
    arena_free(p->tree);
    arena_free(p->bytes);
    return rc;
}

/* ---- what stands beside the history ---- */

static err_code write_batch(struct rocks *r, rocksdb_writebatch_t *b, struct err *e)
{
    char *bad = NULL;
    rocksdb_write(r->db, r->sync_write, b, &bad);
    rocksdb_writebatch_clear(b);
    return rocks_error(bad, "writing the data store", e);
}

static err_code copy_notes(struct replay *p, struct err *e)
{
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it = old_iterate(p->old, OLD_NOTES, &ro);
    rocksdb_writebatch_t *b = rocksdb_writebatch_create();
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek_to_first(it); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len, size;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        rocksdb_writebatch_put_cf(b, p->r->cf[CF_NOTES], k, key_len, v, len);
        (void)rocksdb_writebatch_data(b, &size);
        if (size > NOTE_BATCH)
            rc = write_batch(p->r, b, e);
    }
    if (rc == ERR_OK)
        rc = write_batch(p->r, b, e);
    rocksdb_writebatch_destroy(b);
    return rocks_iterator_end(it, ro, rc, e);
}

/* A number under a letter of `commits`, as it is. */
static err_code copy_number(struct replay *p, char letter, uint64_t *v, bool *there, struct err *e)
{
    struct key_bytes k = key_commit(letter, 0);
    char value[8], *bad = NULL;
    TRY(old_number(p->old, letter, there, v, e));
    if (!*there)
        return ERR_OK;
    key_put_u64(value, *v);
    rocksdb_put_cf(p->r->db, p->r->sync_write, p->r->cf[CF_COMMITS], k.ptr, k.len, value,
                   sizeof value, &bad);
    return rocks_error(bad, "writing the data store", e);
}

/* Blocks of online births get numbers behind those of all loads, published or not. */
static err_code copy_load_numbers(struct replay *p, struct err *e)
{
    uint64_t next;
    bool there;
    TRY(copy_number(p, 'n', &next, &there, e));
    if (!there)
        next = FIRST_LOAD_NO;
    for (size_t i = 0; i < p->old->loads->n; i++)
        if (p->old->loads->rows[i].b >= next)
            return rocks_damaged(e);
    p->r->bulk.next_b = p->r->bulk.reserved_b = next;
    return ERR_OK;
}

err_code replay_all(struct converting *c, struct rocks *r, struct err *e)
{
    struct replay *p = calloc(1, sizeof *p);
    uint64_t floor;
    bool there;
    if (p == NULL)
        abort();
    *p = (struct replay){ .c = c, .old = &c->old, .r = r };
    r->order.replayed_ms = &p->instant_ms;
    rocksdb_writeoptions_set_sync(r->sync_write, 0);
    err_code rc = copy_load_numbers(p, e);
    if (rc == ERR_OK)
        rc = copy_notes(p, e);
    if (rc == ERR_OK)
        rc = replay_history(p, e);
    /* last, so that no instant was below it; the store is closed and opened before it is used */
    if (rc == ERR_OK)
        rc = copy_number(p, 'f', &floor, &there, e);
    convert_tell(c, STORE_CONVERT_COUNTS, 0);
    if (rc == ERR_OK)
        rc = rocks_settle(&r->base, NULL, e);
    r->order.replayed_ms = NULL;
    free(p);
    return rc == ERR_OK ? rocks_flush(&r->base, e) : rc;
}
