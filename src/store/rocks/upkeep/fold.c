/* fold.c - the many small files of loads become fewer large ones, while the store is used.
 *
 * A load of new resources brings one file of versions, which lies below all others and is merged
 * with nothing. That is what makes imports cheap, but such a file has a few megabytes, and a store
 * may have some thousand files open at a time. So once there are FOLD_FILES of them, a thread of
 * the store's own, nicer than all others, writes neighbours into one another until no run of small
 * ones is left. Every version is written once more by that, and never again.
 *
 * What is a run is read from the files there are, so nothing is remembered: whatever ends it, the
 * next publication goes on. */
#include "store/rocks/rocks_private.h"

#include <sys/resource.h>
#include <unistd.h>

#define RUN_BYTES (256u << 20) /* written at a time: bounds how long closing waits */
#define RUN_MIN   16u          /* files */
#define NICE      10           /* whoever waits for an answer goes first */

struct data_file {
    struct key_bytes first, last;
    uint64_t size;
};

static int by_first_key(const void *a, const void *b)
{
    const struct data_file *x = a, *y = b;
    return sv_cmp(sv_make(x->first.ptr, x->first.len), sv_make(y->first.ptr, y->first.len));
}

static bool take_key(const char *key, size_t len, struct key_bytes *out)
{
    if (len > KEY_MAX)
        return false;
    memcpy(out->ptr, key, len);
    out->len = len;
    return true;
}

/* The files of versions in the lowest level, by their keys. Caller frees; NULL: there are none. */
static struct data_file *lowest_files(struct rocks *r, size_t *n_out)
{
    const rocksdb_livefiles_t *all = rocksdb_livefiles(r->db);
    const int n = rocksdb_livefiles_count(all);
    struct data_file *files = NULL;
    size_t n_files = 0;
    for (int i = 0; i < n; i++) {
        size_t first_len, last_len;
        const char *first = rocksdb_livefiles_smallestkey(all, i, &first_len);
        const char *last = rocksdb_livefiles_largestkey(all, i, &last_len);
        if (strcmp(rocksdb_livefiles_column_family_name(all, i), "versions") != 0 ||
            rocksdb_livefiles_level(all, i) != ROCKS_LOWEST_LEVEL)
            continue;
        if (files == NULL)
            files = calloc((size_t)n, sizeof *files);
        if (files == NULL)
            abort();
        struct data_file *f = &files[n_files];
        f->size = rocksdb_livefiles_size(all, i);
        n_files += take_key(first, first_len, &f->first) && take_key(last, last_len, &f->last);
    }
    rocksdb_livefiles_destroy(all);
    if (n_files)
        qsort(files, n_files, sizeof *files, by_first_key);
    *n_out = n_files;
    return files;
}

/* The first run of small neighbours: files[*first] and on. Returns how many, 0: there is none. */
static size_t find_run(const struct data_file *files, size_t n, size_t *first)
{
    for (size_t i = 0, k; i < n; i = k + 1) {
        uint64_t bytes = 0;
        for (k = i; k < n && files[k].size < FOLD_SMALL && bytes < RUN_BYTES; k++)
            bytes += files[k].size;
        if (k - i >= RUN_MIN) {
            *first = i;
            return k - i;
        }
    }
    return 0;
}

struct last_run {
    struct key_bytes first;
    size_t n;
};

/* A run that begins where the last one did and has no fewer files stayed as it was, as on a disk
 * that is full. False: there is nothing to fold. */
static bool fold_one(struct rocks *r, struct last_run *last)
{
    size_t n, first = 0;
    struct data_file *files = lowest_files(r, &n);
    size_t run = find_run(files, n, &first);
    if (run >= last->n && last->n && last->first.len == files[first].first.len &&
        memcmp(last->first.ptr, files[first].first.ptr, last->first.len) == 0)
        run = 0;
    if (run) {
        *last = (struct last_run){ files[first].first, run };
        const struct key_bytes *from = &files[first].first, *to = &files[first + run - 1].last;
        rocksdb_compactoptions_t *o = rocksdb_compactoptions_create();
        rocksdb_compactoptions_set_exclusive_manual_compaction(o, 0);
        /* 2: files of the lowest level, too */
        rocksdb_compactoptions_set_bottommost_level_compaction(o, 2);
        rocksdb_compact_range_cf_opt(r->db, r->cf[CF_VERSIONS], o, from->ptr, from->len, to->ptr,
                                     to->len);
        rocksdb_compactoptions_destroy(o);
    }
    free(files);
    return run > 0;
}

static void *fold(void *arg)
{
    struct rocks *r = arg;
    struct last_run last = { .n = 0 };
    /* else it goes on as it is */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    while (!atomic_load(&r->fold.halt) && fold_one(r, &last)) {
    }
    atomic_store(&r->fold.under_way, false);
    return NULL;
}

void fold_look(struct rocks *r)
{
    if (rocks_files(r, CF_VERSIONS, ROCKS_LOWEST_LEVEL) < FOLD_FILES ||
        atomic_exchange(&r->fold.under_way, true))
        return;
    /* whoever set the flag is alone here until the thread takes it back */
    if (r->fold.started)
        (void)pthread_join(r->fold.thread, NULL);
    r->fold.started = pthread_create(&r->fold.thread, NULL, fold, r) == 0;
    /* the next publication tries again */
    if (!r->fold.started)
        atomic_store(&r->fold.under_way, false);
}

void fold_close(struct rocks *r)
{
    if (!r->fold.started)
        return;
    atomic_store(&r->fold.halt, true);
    rocksdb_disable_manual_compaction(r->db);
    (void)pthread_join(r->fold.thread, NULL);
    r->fold.started = false;
}
