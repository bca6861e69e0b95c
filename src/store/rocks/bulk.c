/* bulk.c - a bulk load: sorted files beside the store, taken in whole, visible when published.
 *
 * Keys carry the load's number b instead of t (which is given at publication). Numbers are never
 * used twice: they are reserved in strides, on disk before use, so that keys of a load that was
 * taken in but never published (a crash between the two) stay invisible for ever. */
#include "store/rocks/rocks_private.h"

#include <assert.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#define STRIDE     1024u
#define MOST_TRIES 100 /* 10 ms apart */
#define CROWDED    128 /* sorted runs: what merges them takes 100 to 200 KiB for each */

struct rocks_bulk {
    struct store_bulk base;
    struct rocks *r;
    uint64_t b, count;
    bool files;  /* staged */
    bool search; /* and one of search entries */
    struct tally tally;
};

static void staged_path(const struct rocks_bulk *k, const char *what, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/staging/%llu-%s.sst", k->r->path, (unsigned long long)k->b,
                   what);
}

err_code rocks_bulk_begin(struct store *st, struct store_bulk **out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    err_code rc = ERR_OK;
    pthread_mutex_lock(&r->bulk.lock);
    if (r->bulk.next_b == r->bulk.reserved_b) {
        struct key_bytes k = key_commit('n', 0);
        char v[8];
        char *bad = NULL;
        key_put_u64(v, r->bulk.reserved_b + STRIDE);
        rocksdb_put_cf(r->db, r->sync_write, r->cf[CF_COMMITS], k.ptr, k.len, v, sizeof v, &bad);
        rc = rocks_error(bad, "beginning a bulk load", e);
        if (rc == ERR_OK)
            r->bulk.reserved_b += STRIDE;
    }
    uint64_t b = r->bulk.next_b;
    if (rc == ERR_OK)
        r->bulk.next_b++;
    pthread_mutex_unlock(&r->bulk.lock);
    TRY(rc);
    struct rocks_bulk *k = calloc(1, sizeof *k);
    if (k == NULL)
        abort();
    k->base.ops = r->base.ops;
    k->r = r;
    k->b = b;
    *out = &k->base;
    return ERR_OK;
}

/* Room for header and JSON of one value, grown as needed. */
struct scratch {
    char *ptr;
    size_t cap;
};

static sv value_bytes(struct scratch *s, const struct store_bulk_item *it)
{
    struct value_head head = { .method = STORE_METHOD_IMPORT, .body = it->body };
    size_t need = VALUE_HEAD_MAX + it->body.json.len;
    if (need > s->cap) {
        free(s->ptr);
        s->cap = need < 1u << 20 ? need * 2 : need;
        s->ptr = malloc(s->cap);
        if (s->ptr == NULL)
            abort();
    }
    size_t n = value_head_put(&head, s->ptr);
    memcpy(s->ptr + n, it->body.json.ptr, it->body.json.len);
    return sv_make(s->ptr, n + it->body.json.len);
}

static err_code write_search(struct rocks_bulk *k, const struct store_bulk_item *items, size_t n,
                             struct err *e)
{
    char path[PATH_MAX], *bad = NULL;
    staged_path(k, "s", path);
    k->search = bulk_search_write(k->r, path, items, n, k->b, &bad);
    return rocks_error(bad, "writing a bulk load", e);
}

/* One sorted file. items: all of it for versions; for changes keys alone. */
static err_code write_file(struct rocks_bulk *k, bool changes, const struct store_bulk_item *items,
                           size_t n, struct err *e)
{
    char path[PATH_MAX];
    char *bad = NULL;
    struct scratch s = { NULL, 0 };
    staged_path(k, changes ? "c" : "v", path);
    rocksdb_envoptions_t *eo = rocksdb_envoptions_create();
    rocksdb_sstfilewriter_t *w =
        rocksdb_sstfilewriter_create(eo, changes ? k->r->options : k->r->data_options);
    rocksdb_sstfilewriter_open(w, path, &bad);
    for (size_t i = 0; i < n && bad == NULL; i++) {
        if (changes) {
            struct key_bytes key = key_change(items[i].type, KEY_BULK, k->b, items[i].id);
            rocksdb_sstfilewriter_put(w, key.ptr, key.len, "", 0, &bad);
        } else {
            struct key_bytes key = key_version(items[i].type, items[i].id, KEY_BULK, k->b);
            sv v = value_bytes(&s, &items[i]);
            rocksdb_sstfilewriter_put(w, key.ptr, key.len, v.ptr, v.len, &bad);
        }
    }
    if (bad == NULL)
        rocksdb_sstfilewriter_finish(w, &bad);
    rocksdb_sstfilewriter_destroy(w);
    rocksdb_envoptions_destroy(eo);
    free(s.ptr);
    return rocks_error(bad, "writing a bulk load", e);
}

err_code rocks_bulk_fill(struct store_bulk *base, struct store_bulk_item *items, size_t n,
                         struct err *e)
{
    struct rocks_bulk *k = (struct rocks_bulk *)base;
    if (k->files)
        return ERR(e, ERR_INTERNAL, "a bulk load is filled twice");
    n = store_items_sort(items, n);
    if (n == 0)
        return ERR_OK;
    k->files = true;
    k->count = n;
    for (size_t i = 0; i < n; i++)
        tally_resource(&k->tally, items[i].type, items[i].index, 1);
    TRY(write_file(k, false, items, n, e));
    TRY(write_file(k, true, items, n, e));
    return write_search(k, items, n, e);
}

/* A library that was built with its assertions, as distributions do, looks twice whether what it
 * holds in memory must be on disk before the files can come in. Between that flush's end and the
 * list of files that tells of it another thread's entry in the manifest can fit; then the second
 * look sees memory that is on disk already and refuses, with nothing done. RocksDB has no event for
 * the end of that thread's entry, so this sleeps; it happens rarely, and one sleep is enough as a
 * rule. */
static bool try_again(char **bad)
{
    if (*bad == NULL || strncmp(*bad, ROCKS_TRY_AGAIN, strlen(ROCKS_TRY_AGAIN)) != 0)
        return false;
    rocksdb_free(*bad);
    *bad = NULL;
    (void)nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    return true;
}

/* Files of one kind, those of all loads in one call: it waits for the disk several times, however
 * many come. */
static err_code ingest(struct rocks_bulk *const *loads, size_t n, const char *what, int cf,
                       struct err *e)
{
    char(*paths)[PATH_MAX] = calloc(n, sizeof *paths);
    const char **files = calloc(n, sizeof *files);
    char *bad = NULL;
    if (paths == NULL || files == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        staged_path(loads[i], what, paths[i]);
        files[i] = paths[i];
    }
    rocksdb_ingestexternalfileoptions_t *o = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(o, 1);
    for (int tries = 0; n && tries < MOST_TRIES && (tries == 0 || try_again(&bad)); tries++)
        rocksdb_ingest_external_file_cf(loads[0]->r->db, loads[0]->r->cf[cf], files, n, o, &bad);
    rocksdb_ingestexternalfileoptions_destroy(o);
    free(files);
    free(paths);
    return rocks_error(bad, "taking a bulk load in", e);
}

/* Loads that were taken in, n >= 1, become commits in this order: one synced batch assigns each its
 * t and instant, with the note. *out is the last one. */
static err_code publish(struct rocks *r, struct rocks_bulk *const *loads, size_t n, sv note_key,
                        sv note, struct store_commit *out, struct err *e)
{
    struct bulk_load *rows = calloc(n, sizeof *rows);
    if (rows == NULL)
        abort();
    pthread_mutex_lock(&r->order.lock);
    struct store_commit c = rocks_seen_last(r);
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    for (size_t i = 0; i < n; i++) {
        struct key_bytes k = key_commit('b', loads[i]->b);
        char v[16];
        c = rocks_next_commit(r, c);
        key_put_u64(v, c.t);
        key_put_u64(v + 8, (uint64_t)c.instant_ms);
        rocksdb_writebatch_put_cf(batch, r->cf[CF_COMMITS], k.ptr, k.len, v, sizeof v);
        rocks_put_commit(r, batch, c, KEY_BULK, loads[i]->b, loads[i]->count);
        tally_write(&loads[i]->tally, r, batch);
        counts_mark(r, batch, loads[i]->b, &loads[i]->tally);
        rows[i] = (struct bulk_load){ loads[i]->b, c.t, c.instant_ms };
    }
    if (note_key.len)
        rocksdb_writebatch_put_cf(batch, r->cf[CF_NOTES], note_key.ptr, note_key.len, note.ptr,
                                  note.len);
    char *bad = NULL;
    rocksdb_write(r->db, r->sync_write, batch, &bad);
    rocksdb_writebatch_destroy(batch);
    err_code rc = rocks_error(bad, "publishing a bulk load", e);
    if (rc == ERR_OK) {
        /* I7: the table holds all up to the commit it is shown with */
        assert(rows[n - 1].t == c.t);
        struct load_table *old = load_table_ref(r);
        recent_begin_t(&r->recent, c.t, true);
        rocks_seen_set(r, c, load_table_with(old, rows, n));
        load_table_unref(old);
        *out = c;
    }
    pthread_mutex_unlock(&r->order.lock);
    free(rows);
    return rc;
}

err_code rocks_bulk_publish(struct store_bulk **bulks, size_t n, sv note_key, sv note,
                            struct store_commit *out, struct err *e)
{
    struct rocks *r = ((struct rocks_bulk *)bulks[0])->r;
    struct rocks_bulk **full = calloc(n, sizeof *full), **found = calloc(n, sizeof *found);
    /* with resources, with search entries */
    size_t n_full = 0, n_found = 0;
    if (full == NULL || found == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        struct rocks_bulk *k = (struct rocks_bulk *)bulks[i];
        if (k->search)
            found[n_found++] = k;
        if (k->files)
            full[n_full++] = k;
    }
    err_code rc = ingest(full, n_full, "v", CF_VERSIONS, e);
    if (rc == ERR_OK)
        rc = ingest(full, n_full, "c", CF_CHANGES, e);
    if (rc == ERR_OK)
        rc = ingest(found, n_found, "s", CF_SEARCH, e);
    if (rc == ERR_OK && n_full) {
        rc = publish(r, full, n_full, note_key, note, out, e);
    } else if (rc == ERR_OK) {
        if (note_key.len)
            rc = rocks_note_put(&r->base, note_key, note, e);
        if (rc == ERR_OK)
            *out = rocks_seen_last(r);
    }
    free(found);
    free(full);
    return rc;
}

bool rocks_is_crowded(struct store *st)
{
    static const int cfs[] = { CF_VERSIONS, CF_SEARCH };
    struct rocks *r = (struct rocks *)st;
    for (size_t i = 0; i < sizeof cfs / sizeof cfs[0]; i++) {
        /* if nothing is, waiting would not help: the next load may learn why */
        uint64_t under_way = 0;
        if (rocks_level0_files(r, cfs[i]) > CROWDED &&
            rocksdb_property_int_cf(r->db, r->cf[cfs[i]], "rocksdb.num-running-compactions",
                                    &under_way) == 0 &&
            under_way)
            return true;
    }
    return false;
}

void rocks_bulk_abort(struct store_bulk *base)
{
    struct rocks_bulk *k = (struct rocks_bulk *)base;
    char path[PATH_MAX];
    /* taken in files are gone from here already */
    if (k->files) {
        staged_path(k, "v", path);
        (void)unlink(path);
        staged_path(k, "c", path);
        (void)unlink(path);
        staged_path(k, "s", path);
        (void)unlink(path);
    }
    tally_done(&k->tally);
    free(k);
}
