/* scour.c - what was written over leaves the disk; the end of an erasure.
 *
 *   1  entries go (sweep.c), part by part, and sums that have come to nothing (sums.c)
 *   2  an empty commit: whatever a reader took before it is kept in memory no more (recent.c)
 *   3  what stands in memory is written out, so that the log begins anew
 *   4  files that may hold what was erased are written anew, down to the lowest level: of versions
 *      those around the numbers, of ids, search and counts all (their keys lie everywhere)
 *   5  the old files are gone from the folder; a reader that has begun may hold one for a while
 *   6  the records 'e' go, and the data store wants to be opened anew: the manifest of RocksDB has
 *      the first and the last key of each file that there was, and a new one has those of today's
 *
 * Whatever ends it, the records 'e' are there, and the next call does it again. */
#include "store/rocks/erase/erase_private.h"

#include <dirent.h>
#include <stdlib.h>

#define NAMES_MAX   ((size_t)64 << 20)
#define GAP_FIRST   ((store_number)1 << 12) /* between numbers of one range that is written anew */
#define RANGES_MOST 256u
#define DELETE_ROWS 4096u

/* ---- names of files that are to go ---- */

static err_code add_name(struct buf *names, const char *name, struct err *e)
{
    while (*name == '/')
        name++;
    return buf_add(names, sv_make(name, strlen(name) + 1), e);
}

static err_code add_logs(struct rocks *r, struct buf *names, struct err *e)
{
    DIR *d = opendir(r->path);
    struct dirent *x;
    err_code rc = d ? ERR_OK : ERR(e, ERR_IO, "the folder of a data store cannot be read");
    while (rc == ERR_OK && d && (x = readdir(d)) != NULL)
        if (sv_ends(sv_from(x->d_name), SV_LIT(".log")))
            rc = add_name(names, x->d_name, e);
    if (d)
        closedir(d);
    return rc;
}

static store_number number_at(const char *key, size_t len)
{
    return len >= NUMBER_BYTES ? key_get_u64(key) : 0;
}

/* The first number of the set that is not below `from`, or UINT64_MAX. */
static store_number first_from(const struct erase_set *s, store_number from)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (s->numbers[mid] < from)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->n ? s->numbers[low] : UINT64_MAX;
}

/* Files there are that may hold something of a part. */
static err_code add_files(struct rocks *r, const struct erase_set *s, bool whole_families,
                          struct buf *names, struct err *e)
{
    const rocksdb_livefiles_t *all = rocksdb_livefiles(r->db);
    const int n = rocksdb_livefiles_count(all);
    err_code rc = ERR_OK;
    for (int i = 0; i < n && rc == ERR_OK; i++) {
        const char *family = rocksdb_livefiles_column_family_name(all, i);
        size_t a_len, b_len;
        const char *a = rocksdb_livefiles_smallestkey(all, i, &a_len);
        const char *b = rocksdb_livefiles_largestkey(all, i, &b_len);
        const bool data = strcmp(family, "versions") == 0;
        const bool other = strcmp(family, "ids") == 0 || strcmp(family, "search") == 0 ||
                           strcmp(family, "counts") == 0;
        if ((data && first_from(s, number_at(a, a_len)) <= number_at(b, b_len)) ||
            (other && whole_families))
            rc = add_name(names, rocksdb_livefiles_name(all, i), e);
    }
    rocksdb_livefiles_destroy(all);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct names { /* views of what is waited for, sorted */
    const char **of;
    size_t n;
};

static struct names names_of(const struct buf *w)
{
    struct names x = { 0 };
    for (size_t at = 0; at < w->len; at += strlen(w->ptr + at) + 1)
        x.n++;
    x.of = calloc(x.n ? x.n : 1, sizeof *x.of);
    if (x.of == NULL)
        abort();
    x.n = 0;
    for (size_t at = 0; at < w->len; at += strlen(w->ptr + at) + 1)
        x.of[x.n++] = w->ptr + at;
    if (x.n)
        qsort(x.of, x.n, sizeof *x.of, by_name);
    return x;
}

static bool names_have(const struct names *x, const char *name)
{
    name += *name == '/';
    return x->n && bsearch(&name, x->of, x->n, sizeof *x->of, by_name) != NULL;
}

/* Behind the writing. A file of versions that is still in use had no key of the numbers, though
 * they lie between its first and its last: RocksDB looks, and does not write it anew. One of the
 * other families would be one that was not written anew: ERR_IO. */
static err_code keep_old_names(struct rocks *r, struct err *e)
{
    struct names all = names_of(&r->erase.waits), used = { 0 };
    const rocksdb_livefiles_t *live = rocksdb_livefiles(r->db);
    const int n = rocksdb_livefiles_count(live);
    struct buf left = BUF_INIT(NAMES_MAX);
    err_code rc = ERR_OK;
    used.of = calloc((size_t)n + 1, sizeof *used.of);
    if (used.of == NULL)
        abort();
    for (int i = 0; i < n && rc == ERR_OK; i++) {
        const char *name = rocksdb_livefiles_name(live, i);
        if (!names_have(&all, name))
            continue;
        if (strcmp(rocksdb_livefiles_column_family_name(live, i), "versions") != 0)
            rc = ERR(e, ERR_IO, "a file of the data store could not be written anew");
        used.of[used.n++] = name + (*name == '/');
    }
    if (used.n)
        qsort(used.of, used.n, sizeof *used.of, by_name);
    for (size_t i = 0; i < all.n && rc == ERR_OK; i++)
        if (!names_have(&used, all.of[i]))
            rc = add_name(&left, all.of[i], e);
    rocksdb_livefiles_destroy(live);
    free(used.of);
    free(all.of);
    buf_done(&r->erase.waits);
    r->erase.waits = left;
    return rc;
}

/* RocksDB looks for files that nobody needs, and removes them; a thread that has just found some
 * may still be at it. */
static err_code remove_old(struct rocks *r, struct err *e)
{
    char *bad = NULL;
    rocksdb_disable_file_deletions(r->db, &bad);
    TRY(rocks_error(bad, "erasing", e));
#ifdef ROCKSDB_DELETIONS_FORCE /* before RocksDB 9: 0, only as often as they were forbidden */
    rocksdb_enable_file_deletions(r->db, 0, &bad);
#else
    rocksdb_enable_file_deletions(r->db, &bad);
#endif
    return rocks_error(bad, "erasing", e);
}

/* Is one of them still in the folder? */
static err_code look_at(struct rocks *r, bool *there, struct err *e)
{
    DIR *d = opendir(r->path);
    struct dirent *x;
    if (d == NULL)
        return ERR(e, ERR_IO, "the folder of a data store cannot be read");
    struct names all = names_of(&r->erase.waits);
    *there = false;
    while ((x = readdir(d)) != NULL)
        *there |= names_have(&all, x->d_name);
    (void)closedir(d);
    free(all.of);
    return ERR_OK;
}

/* ---- writing anew ---- */

static void compact(struct rocks *r, int family, const struct key_bytes *from,
                    const struct key_bytes *upto)
{
    rocksdb_compactoptions_t *o = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_exclusive_manual_compaction(o, 1);
    /* 2: files of the lowest level, too */
    rocksdb_compactoptions_set_bottommost_level_compaction(o, 2);
    rocksdb_compact_range_cf_opt(r->db, r->cf[family], o, from ? from->ptr : NULL,
                                 from ? from->len : 0, upto ? upto->ptr : NULL,
                                 upto ? upto->len : 0);
    rocksdb_compactoptions_destroy(o);
}

static size_t count_ranges(const struct erase_set *s, store_number gap)
{
    size_t n = s->n ? 1 : 0;
    for (size_t i = 1; i < s->n; i++)
        n += s->numbers[i] - s->numbers[i - 1] > gap;
    return n;
}

static err_code compact_versions(struct rocks *r, const struct erase_set *s,
                                 const atomic_bool *halt, struct err *e)
{
    store_number gap = GAP_FIRST;
    while (count_ranges(s, gap) > RANGES_MOST && gap < (store_number)1 << 62)
        gap *= 4;
    for (size_t i = 0, k; i < s->n; i = k) {
        for (k = i + 1; k < s->n && s->numbers[k] - s->numbers[k - 1] <= gap;)
            k++;
        const struct key_bytes from = key_number(s->numbers[i]);
        const struct key_bytes upto = key_end(s->numbers[k - 1] + 1);
        if (halt && atomic_load(halt))
            return ERR(e, ERR_CANCELLED, "erasing was stopped");
        compact(r, CF_VERSIONS, &from, &upto);
    }
    return ERR_OK;
}

typedef err_code (*part_fn)(struct rocks *r, const struct erase_set *s, bool first,
                            const atomic_bool *halt, struct err *e);

/* Each part of what is under way. *any: there is something. */
static err_code each_part(struct rocks *r, part_fn fn, const atomic_bool *halt, bool *any,
                          struct err *e)
{
    store_number from = 0;
    bool first = true;
    *any = false;
    do {
        struct erase_set s;
        TRY(erase_set_read(r, from, &s, e));
        *any |= s.n != 0;
        err_code rc = s.n ? fn(r, &s, first, halt, e) : ERR_OK;
        from = s.next;
        first = false;
        erase_set_done(&s);
        TRY(rc);
    } while (from);
    return ERR_OK;
}

/* part_fn */
static err_code sweep_part(struct rocks *r, const struct erase_set *s, bool first,
                           const atomic_bool *halt, struct err *e)
{
    (void)first;
    return erase_sweep(r, s, halt, e);
}

/* part_fn */
static err_code name_part(struct rocks *r, const struct erase_set *s, bool first,
                          const atomic_bool *halt, struct err *e)
{
    (void)halt;
    return add_files(r, s, first, &r->erase.waits, e);
}

/* part_fn */
static err_code compact_part(struct rocks *r, const struct erase_set *s, bool first,
                             const atomic_bool *halt, struct err *e)
{
    if (first) {
        compact(r, CF_IDS, NULL, NULL);
        compact(r, CF_SEARCH, NULL, NULL);
        compact(r, CF_COUNTS, NULL, NULL);
    }
    return compact_versions(r, s, halt, e);
}

/* ---- the end ---- */

static err_code empty_commit(struct rocks *r, struct err *e)
{
    char *bad = NULL;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    pthread_mutex_lock(&r->order.lock);
    const struct store_commit c = rocks_next_commit(r, rocks_seen_last(r));
    rocks_put_commit(r, batch, c, KEY_ONLINE, 0, 0);
    rocksdb_write(r->db, r->sync_write, batch, &bad);
    err_code rc = rocks_write_error(r, bad, "erasing", e);
    if (rc == ERR_OK) {
        recent_begin_t(&r->recent, c.t, true);
        rocks_seen_set(r, c, NULL);
    }
    pthread_mutex_unlock(&r->order.lock);
    rocksdb_writebatch_destroy(batch);
    return rc;
}

/* part_fn */
static err_code forget_part(struct rocks *r, const struct erase_set *s, bool first,
                            const atomic_bool *halt, struct err *e)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    err_code rc = ERR_OK;
    (void)first;
    (void)halt;
    for (size_t i = 0; i < s->n && rc == ERR_OK; i++) {
        const struct key_bytes k = key_commit(ERASE_LETTER, s->numbers[i]);
        rocksdb_writebatch_delete_cf(batch, r->cf[CF_COMMITS], k.ptr, k.len);
        if (i + 1 == s->n || rocksdb_writebatch_count(batch) == (int)DELETE_ROWS) {
            char *bad = NULL;
            rocksdb_write(r->db, r->sync_write, batch, &bad);
            rocksdb_writebatch_clear(batch);
            rc = rocks_write_error(r, bad, "erasing", e);
        }
    }
    rocksdb_writebatch_destroy(batch);
    return rc;
}

/* A compaction has no other way to say that it failed. */
static uint64_t background_errors(struct rocks *r)
{
    uint64_t n = 0;
    (void)rocksdb_property_int_cf(r->db, r->cf[CF_VERSIONS], "rocksdb.background-errors", &n);
    return n;
}

/* Steps 1 to 4, up to a list of names that are to go. */
static err_code begin_scour(struct rocks *r, const atomic_bool *halt, bool *any, struct err *e)
{
    TRY(each_part(r, sweep_part, halt, any, e));
    if (!*any)
        return ERR_OK;
    /* of a conversion that was cut off behind its last step (convert.c) */
    TRY(rocks_remove_sides(r->path, e));
    TRY(erase_sums(r, halt, e));
    TRY(empty_commit(r, e));
    TRY(add_logs(r, &r->erase.waits, e));
    TRY(rocks_flush(&r->base, e));
    TRY(each_part(r, name_part, halt, any, e));
    const uint64_t errors = background_errors(r);
    TRY(each_part(r, compact_part, halt, any, e));
    if (background_errors(r) != errors)
        return ERR(e, ERR_IO, "the data store could not be written anew");
    return keep_old_names(r, e);
}

err_code rocks_erase_finish(struct store *st, const struct lease *lease, const atomic_bool *halt,
                            struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    (void)lease;
    bool there = false, any;
    if (atomic_load(&r->index.under_way))
        return ERR(e, ERR_CONFLICT, "search entries are being made anew");
    if (r->erase.waits.len == 0) {
        buf_done(&r->erase.waits);
        buf_init(&r->erase.waits, NAMES_MAX);
        err_code rc = begin_scour(r, halt, &any, e);
        if (rc != ERR_OK || !any) {
            buf_clear(&r->erase.waits);
            return rc;
        }
    }
    TRY(remove_old(r, e));
    TRY(look_at(r, &there, e));
    if (there)
        return ERR(e, ERR_CONFLICT, "files of the data store are still being read");
    TRY(each_part(r, forget_part, halt, &any, e));
    buf_clear(&r->erase.waits);
    atomic_store(&r->erase.is_done, true);
    return ERR_OK;
}
