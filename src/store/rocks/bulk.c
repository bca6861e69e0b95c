/* bulk.c - a bulk load: sorted files beside the store, taken in whole, visible when published.
 *
 * Keys carry the load's number b instead of t (which is given at publication). Numbers are never
 * used twice: they are reserved in strides, on disk before use, so that keys of a load that was
 * taken in but never published (a crash between the two) stay invisible for ever.
 *
 * Every id of the load gets its resource's number first (ids.c). What the load gives birth to has
 * numbers above those of all loads before it, so its file is laid below them without being merged
 * with anything. Versions of resources that were known before go into a second file. The rows of
 * ids come to the disk in front of the versions (I8).
 *
 * Of two loads under way that bring the same new id, one gives the number and the other takes it
 * up. Whichever is published first, the publication of the one that gave it says so: a change of
 * its own for that resource, and a mark for the counts, as for a resource that was known before
 * (claims_each_shared()). */
#include "store/rocks/numbers/load.h"
#include "store/rocks/rocks_private.h"

#include <assert.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#define STRIDE     1024u
#define MOST_TRIES 100 /* 10 ms apart */
#define CROWDED    128 /* sorted runs: what merges them takes 100 to 200 KiB for each */

/* The files of a load, in the order in which they are taken in. */
enum { STAGED_IDS, STAGED_BIRTHS, STAGED_LATER, STAGED_CHANGES, STAGED_SEARCH, N_STAGED };
static const struct {
    const char *name;
    int cf;
} staged[N_STAGED] = { [STAGED_IDS] = { "i", CF_IDS },
                       [STAGED_BIRTHS] = { "v", CF_VERSIONS },
                       [STAGED_LATER] = { "l", CF_VERSIONS },
                       [STAGED_CHANGES] = { "c", CF_CHANGES },
                       [STAGED_SEARCH] = { "s", CF_SEARCH } };

struct rocks_bulk {
    struct store_bulk base;
    struct rocks *r;
    uint64_t b, count;
    /* staged: anything, and which files of it */
    bool files;
    bool has[N_STAGED];
    struct claims_holder *holder;
    uint32_t known[STORE_TYPES]; /* resources that were known before, by type */
    struct tally tally;
};

static void staged_path(const struct rocks_bulk *k, int which, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/staging/%llu-%s.sst", k->r->path, (unsigned long long)k->b,
                   staged[which].name);
}

err_code rocks_next_b(struct rocks *r, uint64_t *out, struct err *e)
{
    err_code rc = ERR_OK;
    pthread_mutex_lock(&r->bulk.lock);
    if (r->bulk.next_b == r->bulk.reserved_b) {
        struct key_bytes k = key_commit('n', 0);
        char v[8];
        char *bad = NULL;
        key_put_u64(v, r->bulk.reserved_b + STRIDE);
        rocksdb_put_cf(r->db, r->sync_write, r->cf[CF_COMMITS], k.ptr, k.len, v, sizeof v, &bad);
        rc = rocks_write_error(r, bad, "beginning a bulk load", e);
        if (rc == ERR_OK)
            r->bulk.reserved_b += STRIDE;
    }
    if (rc == ERR_OK)
        *out = r->bulk.next_b++;
    pthread_mutex_unlock(&r->bulk.lock);
    return rc;
}

/* The first load since the opening makes the filter: no load is under way that would not add its
 * rows to it, and no commit (order.lock). */
static err_code make_filter(struct rocks *r, struct err *e)
{
    bool first = false;
    uint64_t rows = 0;
    pthread_mutex_lock(&r->order.lock);
    if (r->ids.filter == NULL) {
        first = true;
        r->ids.filter = ids_filter_new();
    }
    pthread_mutex_unlock(&r->order.lock);
    if (!first)
        return ERR_OK;
    (void)rocksdb_property_int_cf(r->db, r->cf[CF_IDS], "rocksdb.estimate-num-keys", &rows);
    return rows < IDS_FILTER_KEYS ? ids_fill_filter(&r->ids, e) : ERR_OK;
}

err_code rocks_bulk_begin(struct store *st, struct store_bulk **out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    uint64_t b;
    TRY(rocks_next_b(r, &b, e));
    return rocks_bulk_begin_as(r, b, out, e);
}

err_code rocks_bulk_begin_as(struct rocks *r, uint64_t b, struct store_bulk **out, struct err *e)
{
    TRY(make_filter(r, e));
    struct rocks_bulk *k = calloc(1, sizeof *k);
    if (k == NULL)
        abort();
    k->base.ops = r->base.ops;
    k->r = r;
    k->b = b;
    /* nobody is erasing between here and the end: rows of ids that the load reads stay true */
    pthread_mutex_lock(&r->order.lock);
    atomic_fetch_add(&r->bulk.n_live, 1);
    pthread_mutex_unlock(&r->order.lock);
    *out = &k->base;
    return ERR_OK;
}

_Static_assert(STORE_BULK_ROOM >= VALUE_HEAD_MAX, "the header of a giant fits in front of it");

/* The header is put in front of the JSON, where it stands. */
static sv value_here(const struct store_bulk_item *it, const struct value_head *head)
{
    char bytes[VALUE_HEAD_MAX];
    size_t n = value_head_put(head, bytes);
    char *at = it->own->ptr + (it->body.json.ptr - it->own->ptr) - n;
    memcpy(at, bytes, n);
    return sv_make(at, n + it->body.json.len);
}

/* Room for header and JSON of one value, grown as needed. */
struct scratch {
    char *ptr;
    size_t cap;
};

static sv value_bytes(struct scratch *s, const struct store_bulk_item *it)
{
    struct value_head head = { .id = it->id, .method = STORE_METHOD_IMPORT, .body = it->body };
    size_t need = VALUE_HEAD_MAX + it->body.json.len;
    if (it->own)
        return value_here(it, &head);
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

struct writer {
    rocksdb_envoptions_t *eo;
    rocksdb_sstfilewriter_t *w;
    char *bad;
};

static void writer_open(struct writer *w, const struct rocks_bulk *k, int which,
                        const rocksdb_options_t *options)
{
    char path[PATH_MAX];
    staged_path(k, which, path);
    w->bad = NULL;
    w->eo = rocksdb_envoptions_create();
    w->w = rocksdb_sstfilewriter_create(w->eo, options);
    rocksdb_sstfilewriter_open(w->w, path, &w->bad);
}

static err_code writer_close(struct writer *w, struct err *e)
{
    if (w->bad == NULL)
        rocksdb_sstfilewriter_finish(w->w, &w->bad);
    rocksdb_sstfilewriter_destroy(w->w);
    rocksdb_envoptions_destroy(w->eo);
    return rocks_error(w->bad, "writing a bulk load", e);
}

static err_code write_versions(struct rocks_bulk *k, int which, const struct numbered *rows,
                               size_t n, struct err *e)
{
    struct scratch s = { NULL, 0 };
    struct writer w;
    if (n == 0)
        return ERR_OK;
    k->has[which] = true;
    writer_open(&w, k, which, k->r->data_options);
    for (size_t i = 0; i < n && w.bad == NULL; i++) {
        struct key_bytes key = key_version(rows[i].number, KEY_BULK, k->b);
        sv v = value_bytes(&s, rows[i].item);
        rocksdb_sstfilewriter_put(w.w, key.ptr, key.len, v.ptr, v.len, &w.bad);
        /* RocksDB has a copy, and makes another one when it packs it */
        buf_done(rows[i].item->own);
    }
    free(s.ptr);
    return writer_close(&w, e);
}

static int by_type_then_number(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    fhir_type s = number_type(x->number), t = number_type(y->number);
    if (s != t)
        return s < t ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* The births of a type, which stand together. Returns where those of the next type begin. */
static size_t write_births(struct rocks_bulk *k, const struct numbered_items *l, size_t from,
                           fhir_type type, struct writer *w)
{
    struct births x = { 0 };
    size_t i = from;
    for (; i < l->n_born && number_type(l->born[i].number) == type; i++) {
        x.n++;
        x.json_bytes += l->born[i].item->body.json.len;
    }
    if (x.n && w->bad == NULL) {
        struct key_bytes key = key_change(type, KEY_BIRTHS, k->b, 0);
        char value[BIRTHS_VALUE_BYTES];
        births_put(&x, value);
        rocksdb_sstfilewriter_put(w->w, key.ptr, key.len, value, sizeof value, &w->bad);
    }
    return i;
}

/* Known ones come to stand by type. */
static err_code write_changes(struct rocks_bulk *k, struct numbered_items *l, struct err *e)
{
    struct writer w;
    size_t born = 0, known = 0;
    if (l->n_known)
        qsort(l->known, l->n_known, sizeof *l->known, by_type_then_number);
    k->has[STAGED_CHANGES] = true;
    writer_open(&w, k, STAGED_CHANGES, k->r->options);
    for (unsigned type = 0; type < STORE_TYPES && w.bad == NULL; type++) {
        for (; known < l->n_known && number_type(l->known[known].number) == type && w.bad == NULL;
             known++) {
            struct key_bytes key =
                key_change((fhir_type)type, KEY_BULK, k->b, l->known[known].number);
            rocksdb_sstfilewriter_put(w.w, key.ptr, key.len, "", 0, &w.bad);
        }
        born = write_births(k, l, born, (fhir_type)type, &w);
    }
    return writer_close(&w, e);
}

/* Both lists stand by type and number. */
static err_code write_search(struct rocks_bulk *k, const struct numbered_items *l, struct err *e)
{
    char path[PATH_MAX], *bad = NULL;
    size_t born = 0, known = 0, n = l->n_born + l->n_known;
    struct numbered *all = malloc(n * sizeof *all);
    if (all == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        all[i] = known == l->n_known || (born < l->n_born &&
                                         by_type_then_number(&l->born[born], &l->known[known]) < 0)
                     ? l->born[born++]
                     : l->known[known++];
    staged_path(k, STAGED_SEARCH, path);
    k->has[STAGED_SEARCH] = bulk_search_write(k->r, path, all, n, k->b, &bad);
    free(all);
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
    tally_pack(&k->tally);
    struct numbered_items l;
    char path[PATH_MAX];
    staged_path(k, STAGED_IDS, path);
    k->holder = claims_hold(k->r->ids.claims);
    err_code rc = numbers_of_load(&k->r->ids, k->holder, k->b, items, n, path, &l, e);
    k->has[STAGED_IDS] = l.has_rows;
    for (size_t i = 0; i < l.n_known; i++)
        k->known[number_type(l.known[i].number)]++;
    if (rc == ERR_OK)
        rc = write_versions(k, STAGED_BIRTHS, l.born, l.n_born, e);
    if (rc == ERR_OK)
        rc = write_versions(k, STAGED_LATER, l.known, l.n_known, e);
    if (rc == ERR_OK)
        rc = write_changes(k, &l, e);
    if (rc == ERR_OK)
        rc = write_search(k, &l, e);
    numbered_items_done(&l);
    return rc;
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

static err_code check_healthy(struct rocks *r, struct err *e)
{
    return !rocks_has_failed(r) ? ERR_OK
                                : ERR(e, ERR_IO,
                                      "the data store could not write to its disk; it is opened "
                                      "anew when nobody uses it: try again then");
}

/* Files of one kind, of all loads in one call: it waits for the disk several times, however many.
 *
 * What is in memory of the family is written out first, and order.lock keeps commits away until the
 * files are in. Else memory can get rows from before and behind the files. Once these are merged,
 * RocksDB up to 7.9 takes what it writes out for damage: it cannot open the store any more. */
static err_code ingest(struct store_bulk *const *loads, size_t n, int which, struct err *e)
{
    char(*paths)[PATH_MAX] = calloc(n, sizeof *paths);
    const char **files = calloc(n, sizeof *files);
    struct rocks *r = ((const struct rocks_bulk *)loads[0])->r;
    char *bad = NULL;
    size_t n_files = 0;
    if (paths == NULL || files == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        const struct rocks_bulk *k = (const struct rocks_bulk *)loads[i];
        if (!k->has[which])
            continue;
        staged_path(k, which, paths[n_files]);
        files[n_files] = paths[n_files];
        n_files++;
    }
    rocksdb_ingestexternalfileoptions_t *o = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(o, 1);
    pthread_mutex_lock(&r->order.lock);
    err_code rc = n_files ? rocks_flush_family(r, staged[which].cf, e) : ERR_OK;
    for (int tries = 0;
         n_files && rc == ERR_OK && tries < MOST_TRIES && (tries == 0 || try_again(&bad)); tries++)
        rocksdb_ingest_external_file_cf(r->db, r->cf[staged[which].cf], files, n_files, o, &bad);
    pthread_mutex_unlock(&r->order.lock);
    rocksdb_ingestexternalfileoptions_destroy(o);
    free(files);
    free(paths);
    rc = rc == ERR_OK ? rocks_error(bad, "taking a bulk load in", e) : rc;
    /* after any other refusal the next load is taken in, or refused again */
    if (rc == ERR_NO_SPACE)
        atomic_store(&r->has_failed, true);
    return rc;
}

struct publishing {
    struct rocks_bulk *load;
    rocksdb_writebatch_t *batch;
};

/* claims_fn: this load gave the number, and another one wrote the resource too. */
static void publish_shared(void *ctx, fhir_type type, sv id, store_number number)
{
    const struct publishing *p = ctx;
    struct rocks_bulk *k = p->load;
    struct ids_key row = ids_key(type, id);
    struct key_bytes change = key_change(type, KEY_BULK, k->b, number);
    char value[IDS_VALUE_LEN];
    ids_value_put(number, true, value);
    rocksdb_writebatch_put_cf(p->batch, k->r->cf[CF_IDS], row.ptr, row.len, value, sizeof value);
    rocksdb_writebatch_put_cf(p->batch, k->r->cf[CF_CHANGES], change.ptr, change.len, "", 0);
    k->known[type]++;
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
    err_code rc = check_healthy(r, e);
    if (rc != ERR_OK) {
        pthread_mutex_unlock(&r->order.lock);
        free(rows);
        return rc;
    }
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
        claims_each_shared(loads[i]->holder, publish_shared,
                           &(struct publishing){ loads[i], batch });
        counts_mark(r, batch, loads[i]->b, loads[i]->known);
        rows[i] = (struct bulk_load){ loads[i]->b, c.t, c.instant_ms };
    }
    if (note_key.len)
        rocksdb_writebatch_put_cf(batch, r->cf[CF_NOTES], note_key.ptr, note_key.len, note.ptr,
                                  note.len);
    char *bad = NULL;
    rocksdb_write(r->db, r->sync_write, batch, &bad);
    rocksdb_writebatch_destroy(batch);
    rc = rocks_write_error(r, bad, "publishing a bulk load", e);
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
    struct rocks_bulk **full = calloc(n, sizeof *full);
    size_t n_full = 0; /* with resources */
    err_code rc = ERR_OK;
    if (full == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        if (((struct rocks_bulk *)bulks[i])->files)
            full[n_full++] = (struct rocks_bulk *)bulks[i];
    for (int which = 0; which < N_STAGED && rc == ERR_OK; which++) {
        rc = n_full ? check_healthy(r, e) : ERR_OK;
        if (rc == ERR_OK)
            rc = ingest(bulks, n, which, e);
    }
    if (rc == ERR_OK && n_full) {
        rc = publish(r, full, n_full, note_key, note, out, e);
    } else if (rc == ERR_OK) {
        if (note_key.len)
            rc = rocks_note_put(&r->base, note_key, note, e);
        if (rc == ERR_OK)
            *out = rocks_seen_last(r);
    }
    free(full);
    if (rc == ERR_OK)
        fold_look(r);
    return rc;
}

bool rocks_is_crowded(struct store *st)
{
    static const int cfs[] = { CF_VERSIONS, CF_SEARCH };
    struct rocks *r = (struct rocks *)st;
    for (size_t i = 0; i < sizeof cfs / sizeof cfs[0]; i++) {
        /* if nothing is, waiting would not help: the next load may learn why */
        uint64_t under_way = 0;
        if (rocks_files(r, cfs[i], 0) > CROWDED &&
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
    for (int which = 0; k->files && which < N_STAGED; which++) {
        staged_path(k, which, path);
        (void)unlink(path);
    }
    claims_release(k->holder);
    tally_done(&k->tally);
    atomic_fetch_sub(&k->r->bulk.n_live, 1);
    free(k);
}
