/* rocks_private.h - what the rooms of the RocksDB engine share.
 *
 *   base.c      errors, figures                     keys.c         bytes of keys and values
 *   numbers/    which number an id has
 *   order.c     the next t, the table of loads      options.c      how RocksDB is set up
 *   open.c      opening, the engine's table         records.c      small records, notes
 *   commit.c    online commits in groups            bulk.c         bulk loads
 *   tally.c     sums as RocksDB keeps them          bulk_search.c  search entries of a bulk load
 *   counts.c    what loads replaced                 upkeep/        the store's own threads: entries
 *                                                                  of an older form, many files
 *   versions.c  iterators, versions of one id       read.c         one resource
 *   cursor.c    cursors, history                    scan.c         a range of resources
 *   window.c    cursors over what changed           changes.c      who changed, the log
 *   entries.c   a walk over search entries          plan.c         ids cut into ranges
 *   check/      is all as the invariants say?
 *   erase/      what is to leave the disk, too
 *   copy/       a data store as it was at a commit
 *   convert/    data stores of an older layout
 *
 * Lock order: settle_lock, then order.lock, then seen.lock or bulk.lock or the claims' own.
 * queue.lock is taken alone. A witness (store.h) is told under order.lock, and takes locks of its
 * own behind it: it asks no store.
 * Invariants beside those of store.h (asserted in builds with assertions):
 *   I7  the table of loads that a reader takes after T holds every load with t <= T
 *   C1  counts.c: what a sum means
 * Floor: store. */
#pragma once
#include "base/limits.h"
#include "store/rocks/keys.h"
#include "store/rocks/numbers/ids.h"
#include "store/store_private.h"
#include "store/tally.h"

#include <rocksdb/c.h>

#define ROCKS_LAYOUT 4u /* version of what is on disk: docs/key-layout.md */

/* Limits that nothing reaches which comes in within the limits of today (base/limits.h). */
#define ROCKS_BODY_MAX (256u << 20) /* the body of one version */
_Static_assert(ROCKS_BODY_MAX > LIMIT_IMPORT_LINE_BYTES, "what an import brings must be readable");
/* Rows of some 30 bytes: the published loads of a store, the versions of one id, ... */
#define ROCKS_ROWS_MAX  ((size_t)4 << 30)
#define ROCKS_MARKS_MAX ((size_t)4 << 30) /* of loads that no count has looked at: 1 KiB each */

struct rocks_env { /* what open stores share, beside struct store_env */
    rocksdb_env_t *env;
    rocksdb_cache_t *cache;
    struct { /* upkeep/reindex.c: one store at a time is at it */
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool taken;
    } reindex;
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

enum {
    CF_DEFAULT,
    CF_VERSIONS,
    CF_IDS,
    CF_CHANGES,
    CF_COMMITS,
    CF_NOTES,
    CF_SEARCH,
    CF_COUNTS,
    N_CFS
};
extern const char *const rocks_family_names[N_CFS];

struct commit_waiter;
struct rocks {
    struct store base;
    struct store_env *env;    /* borrowed */
    struct rocks_env *shared; /* borrowed */
    char *path;
    /* crypt/: of encrypted files; NULL: they are plain */
    struct cipher_ring *ring;
    rocksdb_env_t *crypt;
    atomic_bool has_failed; /* rocks_write_error() */
    rocksdb_t *db;
    rocksdb_options_t *options, *data_options, *ids_options, *search_options, *count_options;
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
        /* what the clock said when the commit was made before (convert/replay.c, rocks_again());
         * NULL: ask the clock */
        const int64_t *replayed_ms;
    } order;
    struct { /* group commit: who waits */
        pthread_mutex_t lock;
        struct commit_waiter *head, *tail;
        bool led;
    } queue;
    struct {
        pthread_mutex_t lock;
        uint64_t next_b, reserved_b;
        /* loads between begin and publish or abort; grows under order.lock alone */
        atomic_uint n_live;
    } bulk;
    atomic_uint n_copies;    /* restores that read this store; grows under order.lock alone */
    struct {                 /* erase/; one thread at a time */
        struct buf waits;    /* names of files that are to go, each ended by 0 */
        atomic_bool is_done; /* what is on disk but for what RocksDB rewrites at an opening */
    } erase;
    struct ids_family ids;
    struct number_source online; /* of births by commits; order.lock. b 0: none was taken yet */
    struct {                     /* upkeep/fold.c */
        atomic_bool under_way, halt;
        bool started; /* the thread is to be joined */
        pthread_t thread;
    } fold;
    struct {              /* upkeep/reindex.c */
        atomic_uint form; /* every version has its entries of this form */
        /* of the newest commit's, when the store was opened; 0: it does not say */
        unsigned newest_form;
        atomic_bool halt;
        atomic_bool under_way;
        bool running;
        pthread_t thread;
    } index;
};

/* ---- base.c ---- */
/* Files of a column family in one level. In level 0 are those that compaction has not folded into
 * the levels: each is a sorted run of its own. */
uint64_t rocks_files(struct rocks *r, int cf, int level);
#define ROCKS_LOWEST_LEVEL 6 /* of the seven that RocksDB makes */
/* How RocksDB begins when a call did nothing and may be made again. */
#define ROCKS_TRY_AGAIN "Operation failed. Try again."
/* RocksDB's error text -> our code; frees it. No path reaches the message. */
err_code rocks_error(char *errptr, const char *what, struct err *e);

/* The same of a write, which is remembered. When the disk was full and has room again, RocksDB goes
 * on by itself; but it takes in no files then (it gives them no number, and stops the program). So
 * nothing is published any more until the data store was closed and opened. */
err_code rocks_write_error(struct rocks *r, char *errptr, const char *what, struct err *e);
bool rocks_has_failed(struct rocks *r);
bool rocks_wants_anew(struct store *);
bool rocks_had_failure(struct store *);

err_code rocks_damaged(struct err *e); /* ERR_CORRUPT: a record is damaged */
/* Destroys both. rc: of the walk; when it is ERR_OK, the iterator's own error counts. */
err_code rocks_iterator_end(rocksdb_iterator_t *it, rocksdb_readoptions_t *ro, err_code rc,
                            struct err *e);
void rocks_weigh(struct store *, struct store_weight *out);
/* What was written goes into sorted files, and its memory is free. */
MUST_USE err_code rocks_flush(struct store *, struct err *e);
/* What is in memory of a column family is in a file when this returns. */
MUST_USE err_code rocks_flush_family(struct rocks *r, int family, struct err *e);

/* ---- open.c ---- */
/* Newest commit and the published bulk loads, from the family of commits. */
MUST_USE err_code rocks_read_commits(struct rocks *r, struct err *e);

/* ---- copy/ ---- */
err_code rocks_snapshot(struct store *, const char *folder, struct store_commit *, struct err *);
err_code rocks_sums(struct store *, uint64_t, const atomic_bool *, struct store_sums *,
                    struct err *);

/* ---- erase/ ---- */
err_code rocks_erase(struct store *, const struct lease *, store_number, uint64_t, sv, bool *,
                     struct err *);
/* Is something erased whose end has not come? */
MUST_USE err_code rocks_is_erasing(struct rocks *r, bool *out, struct err *e);
err_code rocks_erase_finish(struct store *, const struct lease *, const atomic_bool *,
                            struct err *);

/* ---- look.c ---- */
/* *older: a data store of an earlier layout; false too where there is none yet. ERR_CORRUPT,
 * ERR_IO: what is there cannot be read. Cheap: one of this layout is not opened. */
MUST_USE err_code rocks_look(const char *path, bool *older, struct err *e);
/* ---- crypt/crypt.c ---- */
const struct cipher_ring *rocks_ring(struct store *st);

/* False: whoever began the database was cut off before it held anything, its layout neither. */
bool rocks_has_data(const char *path);

/* ---- convert/places.c ---- */
/* What a conversion that was cut off left beside a data store. */
MUST_USE err_code rocks_remove_sides(const char *place, struct err *e);

/* ---- order.c ---- */
struct load_table *load_table_new(size_t n); /* n rows, to be filled; one reference */
/* A new table: old's rows and n more. */
struct load_table *load_table_with(const struct load_table *old, const struct bulk_load *more,
                                   size_t n);
struct load_table *load_table_ref(struct rocks *r);
void load_table_unref(struct load_table *t);
const struct bulk_load *load_table_find(const struct load_table *t, uint64_t b);
struct store_commit rocks_seen_last(struct rocks *r);
/* c becomes the newest commit that readers see; loads, if not NULL, the table, and is taken. */
void rocks_seen_set(struct rocks *r, struct store_commit c, struct load_table *loads);
/* As of which t to read when as_of_t is asked for, and the table that goes with it (I7). */
uint64_t rocks_as_of(struct rocks *r, uint64_t as_of_t, struct load_table **loads);
/* The (t, instant) behind `last`. order.lock is held. */
struct store_commit rocks_next_commit(const struct rocks *r, struct store_commit last);
/* The record of commit c: of an online one, or of load `bulk`, with so many resources. */
void rocks_put_commit(struct rocks *r, rocksdb_writebatch_t *b, struct store_commit c,
                      key_kind kind, uint64_t bulk, uint64_t count);
err_code rocks_last(struct store *, struct store_commit *, struct err *);
err_code rocks_horizon(struct store *, struct store_commit *, struct err *);
err_code rocks_commit_at(struct store *, int64_t, struct store_commit *, struct err *);

/* ---- options.c ---- */
/* r's options of every family, and of which family they are. */
void rocks_options_make(struct rocks *r, bool create, unsigned n_files,
                        const rocksdb_options_t *of[N_CFS]);
void rocks_options_done(struct rocks *r);
/* Options of a whole database become those for this folder, which is there. RocksDB sets space
 * aside for files that grow: 8 MiB when it opens, a whole file's size for one that is merged. On a
 * file system in memory that is memory, taken page by page and given back: it sets nothing aside
 * there. */
void rocks_options_place(rocksdb_options_t **options, const char *path);

/* ---- again.h: copy/again.c, commit.c, order.c ---- */
err_code rocks_commits(struct store *, uint64_t, struct store_commit_row *, size_t, size_t *,
                       struct err *);
err_code rocks_again(struct store *, struct store_again *, size_t, struct err *);
err_code rocks_again_load(struct store *, struct store_bulk **, int64_t, struct store_commit *,
                          struct err *);
err_code rocks_again_end(struct store *, int64_t, struct err *);

/* ---- records.c ---- */
err_code rocks_note_get(struct store *, sv, struct buf *, struct err *);
err_code rocks_note_put(struct store *, sv, sv, struct err *);
err_code rocks_note_delete(struct store *, sv, struct err *);

/* ---- commit.c ---- */
err_code rocks_commit(struct store *, struct store_write *, size_t, struct store_commit *,
                      struct err *);

/* ---- tally.c, and store/tally.h ---- */
void tally_write(const struct tally *t, struct rocks *r, rocksdb_writebatch_t *batch);
rocksdb_mergeoperator_t *counts_merge_operator(void); /* owned by the options it is set in */
/* A sum as it stands. order.lock is held. */
err_code counts_sum(struct rocks *r, fhir_type type, uint16_t param, sv value, uint64_t *out,
                    struct err *e);

/* ---- counts.c ---- */
/* Load b has not been looked at for what it replaced: n[type] resources that were known before.
 * Nothing, when there are none. */
void counts_mark(struct rocks *r, rocksdb_writebatch_t *batch, uint64_t b,
                 const uint32_t n[STORE_TYPES]);
err_code rocks_settle(struct store *, const atomic_bool *, struct err *);
err_code rocks_count(struct store *, fhir_type, uint16_t, sv, uint64_t *, struct store_commit *,
                     struct err *);

/* ---- bulk.c ---- */
/* The next b, on disk before it is used. */
MUST_USE err_code rocks_next_b(struct rocks *r, uint64_t *b, struct err *e);
err_code rocks_bulk_begin(struct store *, struct store_bulk **, struct err *);
/* The same with a number that an older data store gave it, below those to come. */
err_code rocks_bulk_begin_as(struct rocks *r, uint64_t b, struct store_bulk **out, struct err *e);
err_code rocks_bulk_fill(struct store_bulk *, struct store_bulk_item *, size_t, struct err *);
err_code rocks_bulk_publish(struct store_bulk **, size_t, sv, sv, struct store_commit *,
                            struct err *);
void rocks_bulk_abort(struct store_bulk *);
bool rocks_is_crowded(struct store *);

/* ---- bulk_search.c ---- */
/* The file of the search entries of load b; items in the order of (type, number). False: there are
 * none, and no file. *bad is RocksDB's error. */
struct numbered;
bool bulk_search_write(struct rocks *r, const char *path, const struct numbered *items, size_t n,
                       uint64_t b, char **bad);

/* ---- upkeep/fold.c ---- */
#define FOLD_FILES 1000u         /* in the lowest level; fewer may all be open */
#define FOLD_SMALL (32ull << 20) /* bytes of a file that is worth to be folded */
/* Behind a publication: begins to fold when there are many files. */
void fold_look(struct rocks *r);
void fold_close(struct rocks *r);

/* ---- upkeep/reindex.c ---- */
/* Once commits are read. ERR_CORRUPT: entries of a form that this program does not know. */
MUST_USE err_code reindex_open(struct rocks *r, bool create, struct err *e);
void reindex_close(struct rocks *r);
unsigned rocks_index_form(struct store *);

/* ---- read.c ---- */
/* Current state of an id; json is empty when there is none, and appended to body. version 0: never
 * was. */
struct rocks_current {
    uint64_t version, t;
    bool deleted;
    bool has_row; /* and then: */
    store_number number;
    bool later; /* its row says so */
};
MUST_USE err_code rocks_current(struct rocks *r, fhir_type type, sv id, struct rocks_current *out,
                                struct buf *body, struct err *e);

bool rocks_is_near(struct store *, store_number);
err_code rocks_get(struct store *, fhir_type, sv, uint64_t, bool light, struct arena *,
                   struct store_version *, struct err *);

err_code rocks_number_of(struct store *, fhir_type, sv, store_number *, struct err *);
err_code rocks_get_number(struct store *, store_number, uint64_t, bool light, struct arena *,
                          struct store_version *, struct err *);

/* ---- scan.c, cursor.c, window.c ---- */
err_code rocks_scan(struct store *, const struct store_range *, uint64_t, struct store_cursor **,
                    struct err *);
err_code rocks_scan_numbers(struct store *, const store_number *, size_t, uint64_t,
                            struct store_cursor **, struct err *);
err_code rocks_cursor_next(struct store_cursor *, struct store_version *, struct err *);
void rocks_cursor_rest(struct store_cursor *);
void rocks_cursor_close(struct store_cursor *);
err_code rocks_history(struct store *, fhir_type, sv, uint64_t, struct store_cursor **,
                       struct err *);
err_code rocks_changes(struct store *, const struct store_range *, uint64_t, uint64_t,
                       struct store_cursor **, struct err *);
err_code rocks_changes_plan(struct store *, fhir_type, uint64_t, uint64_t, size_t, struct arena *,
                            struct store_range **, size_t *, struct err *);

/* ---- changes.c ---- */
err_code rocks_changed_types(struct store *, uint64_t, uint64_t, bool[STORE_TYPES], struct err *);
err_code rocks_touched(struct store *, const struct store_range *, size_t, uint64_t, uint64_t,
                       bool *, struct err *);
/* Who changed in (after_t, as_of] of a range, appended to rows (struct change) by number, each once
 * with its newest version of the window. loads: taken after as_of was settled (I7). ERR_TOO_LARGE:
 * rows may not grow so much. */
MUST_USE err_code changes_collect(struct rocks *r, const struct load_table *loads,
                                  const struct store_range *range, uint64_t after_t, uint64_t as_of,
                                  struct buf *rows, struct err *e);
struct change {
    store_number number;
    uint64_t t, b; /* b: the bulk load that wrote it; 0: an online commit */
};
/* Each load of the table that gave birth to resources of the type, ascending b. Stops with what fn
 * gives, unless it is ERR_OK. */
typedef err_code (*births_fn)(void *ctx, const struct bulk_load *load, const struct births *x,
                              struct err *e);
MUST_USE err_code births_each(struct rocks *r, const struct load_table *loads, fhir_type type,
                              births_fn fn, void *ctx, struct err *e);
/* The first numbers behind from that one load gave to Binaries of more than LIMIT_GIANT_BYTES
 * together: *lo to *hi - 1. *hi 0: there are none. */
MUST_USE err_code births_giants(struct rocks *r, store_number from, store_number *lo,
                                store_number *hi, struct err *e);
err_code rocks_log(struct store *, fhir_type, uint64_t, store_number, size_t, struct arena *,
                   struct store_log_row **, size_t *, struct err *);

/* ---- entries.c ---- */
err_code rocks_index_scan(struct store *, fhir_type, const struct search_driver *, sv, store_number,
                          uint64_t, struct store_index_cursor **, struct err *);
err_code rocks_index_next(struct store_index_cursor *, struct store_index_hit *, struct err *);
void rocks_index_seek(struct store_index_cursor *, sv, store_number);
void rocks_index_close(struct store_index_cursor *);

/* ---- plan.c ---- */
err_code rocks_plan(struct store *, const struct store_range *, size_t, struct arena *,
                    struct store_range **, size_t *, struct err *);
