/* rocks_private.h - what the rooms of the RocksDB engine share.
 *
 *   open.c     open, options, table of loads       keys.c    key and value bytes
 *   bulk.c, bulk_search.c  sorted files of a load  commit.c  online commits, horizon, publication
 *   scan.c     reading as of T                     iter.c    iterators over versions
 *   plan.c     splitting a type into ranges        entries.c search entries
 *   log.c      changes, newest first               counts.c  sums of what is current
 *   changes.c  who changed within a window         weight.c  what an open store takes
 *   reindex.c  search entries of an older form     records.c the system's own records
 * Floor: store. */
#pragma once
#include "base/limits.h"
#include "store/rocks/keys.h"
#include "store/store_private.h"

#include <rocksdb/c.h>

struct store_env {
    rocksdb_env_t *env;
    rocksdb_cache_t *cache;
    struct recent *recent;
    unsigned n_background;
    store_reindex_fn on_reindex; /* NULL: nobody wants to know */
    void *on_reindex_ctx;
    struct { /* reindex.c: one store at a time is at it */
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool taken;
    } reindex;
    struct gate gate;
};

/* Which bulk loads are published, at which commit. Immutable once shown to readers; counted. */
struct bulk_load {
    uint64_t b, t;
    int64_t instant_ms;
};
struct load_table {
    atomic_uint n_refs;
    size_t n;
    struct bulk_load rows[]; /* ascending b */
};

enum { CF_DEFAULT, CF_VERSIONS, CF_CHANGES, CF_COMMITS, CF_NOTES, CF_SEARCH, CF_COUNTS, N_CFS };

struct commit_waiter;
struct rocks {
    struct store base;
    struct store_env *env; /* borrowed */
    char *path;
    rocksdb_t *db;
    rocksdb_options_t *options, *data_options, *search_options, *count_options;
    rocksdb_column_family_handle_t *cf[N_CFS];
    rocksdb_writeoptions_t *sync_write;
    struct recent_owner recent;
    pthread_mutex_t settle_lock; /* one thread settles counts; taken before order.lock */
    struct {                     /* what readers take at their start; short holds only */
        pthread_mutex_t lock;
        struct store_commit last;
        struct load_table *loads;
    } seen;
    struct { /* who assigns t holds this; taken before seen.lock */
        pthread_mutex_t lock;
        int64_t floor_ms; /* no commit gets an instant <= this (I3) */
    } order;
    struct { /* group commit: who waits */
        pthread_mutex_t lock;
        struct commit_waiter *head, *tail;
        bool led;
    } queue;
    struct {
        pthread_mutex_t lock;
        uint64_t next_b, reserved_b;
    } bulk;
    struct {              /* reindex.c */
        atomic_uint form; /* every version has its entries of this form */
        unsigned
            newest_form; /* of the newest commit's, when the store was opened; 0: it does not say */
        atomic_bool halt;
        atomic_bool under_way;
        bool running;
        pthread_t thread;
    } index;
};

/* ---- iterating over versions (iter.c) ---- */
struct iter {
    struct rocks *r;
    struct gate *gate; /* NULL: it may stand anywhere, for as long as it likes */
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *
        it; /* NULL: before the first seek, or at rest; with a gate: inside exactly while it is there */
    bool
        valid; /* after iter_seek and iter_next; false at the end and after an error (iter_end tells) */
    uint64_t n_large; /* large ones that were passed, with a gate */
    struct key_bytes upper;
};
void iter_open(struct iter *x, struct rocks *r, struct key_bytes upper, bool bulk_read,
               struct gate *gate);
void iter_close(struct iter *x);
#define CLEANUP_ITER __attribute__((cleanup(iter_close)))
void iter_seek(struct iter *x, const struct key_bytes *to);
void iter_next(struct iter *x);
/* Give back what it holds, and its place, until the next seek. */
void iter_rest(struct iter *x);
err_code iter_end(const struct iter *x, struct err *e); /* not at rest */

/* As store_open_rocksdb(), with at most so many sorted files open at a time. */
MUST_USE err_code rocks_open(struct store_env *env, const char *path, bool create, unsigned n_files,
                             struct store **out, struct err *e);
struct rocks_weight {
    uint64_t write_bytes; /* memory of what was written and stands in no sorted file yet */
    bool busy;            /* files are being folded or written, or search entries made anew */
};
void rocks_weigh(struct store *, struct rocks_weight *out);
/* What was written goes into sorted files, and its memory is free. */
MUST_USE err_code rocks_flush(struct store *, struct err *e);

/* Once commits are read. ERR_CORRUPT: entries of a form that this program does not know. */
MUST_USE err_code reindex_open(struct rocks *r, bool create, struct err *e);
void reindex_close(struct rocks *r);
unsigned rocks_index_form(struct store *);

/* ---- counts (counts.c) ---- */
#define COUNT_KEY_MAX 24u /* 1 + 2 + 1 + SEARCH_TOKEN_LEN, in whole words */
_Static_assert(COUNT_KEY_MAX >= 1 + 2 + 1 + SEARCH_TOKEN_LEN, "a key must fit");
struct tally_row;
struct tally { /* what sums are to grow by; zeroed: empty */
    struct tally_row *rows;
    size_t n, cap;
};
void tally_add(struct tally *to, const struct tally *from);
void tally_done(struct tally *t);
/* n of a resource: it, and its counted entries. */
void tally_resource(struct tally *t, fhir_type type, sv index, int64_t n);
/* The same of a stored version, whose entries are found anew. */
MUST_USE err_code tally_version(struct tally *t, fhir_type type, sv json, int64_t n, struct err *e);
void tally_write(const struct tally *t, struct rocks *r, rocksdb_writebatch_t *batch);
/* Load b, tallied in t, has not been looked at for what it replaced. */
void counts_mark(struct rocks *r, rocksdb_writebatch_t *batch, uint64_t b, const struct tally *t);
rocksdb_mergeoperator_t *counts_merge_operator(void); /* owned by the options it is set in */
err_code rocks_settle(struct store *, const atomic_bool *, struct err *);
err_code rocks_count(struct store *, fhir_type, uint16_t, sv, uint64_t *, struct store_commit *,
                     struct err *);

/* Files of a column family that compaction has not folded into its levels: each is a sorted run of its own. */
uint64_t rocks_level0_files(struct rocks *r, int cf);
/* How RocksDB begins when a call did nothing and may be made again. */
#define ROCKS_TRY_AGAIN "Operation failed. Try again."
/* RocksDB's error text -> our code; frees it. No path reaches the message. */
err_code rocks_error(char *errptr, const char *what, struct err *e);

struct load_table *load_table_ref(struct rocks *r);
void load_table_unref(struct load_table *t);
const struct bulk_load *load_table_find(const struct load_table *t, uint64_t b);

/* Current state of an id; json is empty when there is none, and appended to body. version 0: never was. */
struct rocks_current {
    uint64_t version, t;
    bool deleted;
};
MUST_USE err_code rocks_current(struct rocks *r, fhir_type type, sv id, struct rocks_current *out,
                                struct buf *body, struct err *e);

err_code rocks_commit(struct store *, struct store_write *, size_t, struct store_commit *,
                      struct err *);
err_code rocks_horizon(struct store *, struct store_commit *, struct err *);
struct published { /* a load: its number, its resources, what sums grow by */
    uint64_t b, count;
    const struct tally *tally;
};
/* Loads that were taken in, n >= 1, become commits in this order: one synced batch assigns each its t and instant,
 * with the note. *out is the last one. */
err_code rocks_publish(struct rocks *r, const struct published *loads, size_t n, sv note_key,
                       sv note, struct store_commit *out, struct err *e);
err_code rocks_bulk_begin(struct store *, struct store_bulk **, struct err *);
err_code rocks_bulk_fill(struct store_bulk *, struct store_bulk_item *, size_t, struct err *);
err_code rocks_bulk_publish(struct store_bulk **, size_t, sv, sv, struct store_commit *,
                            struct err *);
void rocks_bulk_abort(struct store_bulk *);
bool rocks_is_crowded(struct store *);
/* The file of a bulk load's search entries; items in the order of (type, id). False: there are none, and no
 * file. *bad is RocksDB's error. */
bool bulk_search_write(struct rocks *r, const char *path, const struct store_bulk_item *items,
                       size_t n, uint64_t b, char **bad);
bool rocks_is_near(struct store *, fhir_type, sv);
err_code rocks_get(struct store *, fhir_type, sv, uint64_t, bool light, struct arena *,
                   struct store_version *, struct err *);
err_code rocks_scan(struct store *, const struct store_range *, uint64_t, struct store_cursor **,
                    struct err *);
err_code rocks_cursor_next(struct store_cursor *, struct store_version *, struct err *);
void rocks_cursor_close(struct store_cursor *);
err_code rocks_history(struct store *, fhir_type, sv, uint64_t, struct store_cursor **,
                       struct err *);
err_code rocks_changes(struct store *, const struct store_range *, uint64_t, uint64_t,
                       struct store_cursor **, struct err *);
err_code rocks_changes_plan(struct store *, fhir_type, uint64_t, uint64_t, size_t, struct arena *,
                            struct store_range **, size_t *, struct err *);
err_code rocks_changed_types(struct store *, uint64_t, uint64_t, bool[STORE_TYPES], struct err *);
/* Who changed in (after_t, as_of] of a range of ids, appended to rows by id, each once with its newest version
 * of the window. loads: taken after as_of was settled (I7). ERR_TOO_LARGE: rows may not grow so much. */
MUST_USE err_code changes_collect(struct rocks *r, const struct load_table *loads,
                                  const struct store_range *range, uint64_t after_t, uint64_t as_of,
                                  struct buf *rows, struct err *e);
struct change {
    uint64_t t, b; /* b: the bulk load that wrote it; 0: an online commit */
    sv id;         /* borrowed from the rows */
};
bool change_next(const struct buf *rows, size_t *at, struct change *out);
err_code rocks_index_scan(struct store *, fhir_type, const struct search_driver *, sv, sv, uint64_t,
                          struct store_index_cursor **, struct err *);
err_code rocks_index_next(struct store_index_cursor *, struct store_index_hit *, struct err *);
void rocks_index_seek(struct store_index_cursor *, sv, sv);
void rocks_index_close(struct store_index_cursor *);
err_code rocks_log(struct store *, fhir_type, uint64_t, sv, size_t, struct arena *,
                   struct store_log_row **, size_t *, struct err *);
err_code rocks_plan(struct store *, fhir_type, size_t, struct arena *, struct store_range **,
                    size_t *, struct err *);
