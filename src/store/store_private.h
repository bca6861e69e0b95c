/* store_private.h - the table behind store.h, and what any engine shares.
 *
 *   store.c    dispatch: every call of store.h goes through the engine's table; write.c writes
 *   engines.c  which engines there are; opening by URI
 *   convert.c  the same dispatch for data stores of an older layout
 *   copy.c     the same for what a store was at a commit
 *   move/      a store made once more in another place, of whichever engine
 *   records.c  the same dispatch for the system's records
 *   lease.c    leases: taking, keeping, writing under them; lease_local.c those of one process
 *   recent.c   current versions that were read lately
 *   gate.c     who may meet a large record
 *   tally.h    what sums are to grow by
 *   registry.c which stores are open
 *   rocks/     the engine on RocksDB: the only rooms that see its header
 *   postgres/  the engine on PostgreSQL: the only rooms that see libpq's
 *   memory/    the oracle, in memory
 * Floor: store. */
#pragma once
#include "base/limits.h"
#include "store/again.h"
#include "store/check.h"
#include "store/convert.h"
#include "store/copy.h"
#include "store/keeper.h"
#include "store/lease.h"
#include "store/nodes.h"
#include "store/records.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

/* What an open store takes of the machine. */
struct store_weight {
    uint64_t write_bytes; /* memory of what was written and stands in no file but the log yet */
    bool busy;            /* files are being folded or written, or search entries made anew */
};

struct store_ops {
    void (*close)(struct store *);
    err_code (*last)(struct store *, struct store_commit *, struct err *);
    err_code (*horizon)(struct store *, struct store_commit *, struct err *);
    /* NULL: a t is given once, and what was acknowledged is on this machine */
    err_code (*mark)(struct store *, uint64_t, uint64_t *, struct err *);
    err_code (*commit)(struct store *, struct store_write *, size_t, struct store_commit *,
                       struct err *);
    /* NULL: one process writes it. */
    err_code (*commit_if)(struct store *, struct store_write *, size_t, struct store_still *,
                          struct store_commit *, struct err *);
    err_code (*bulk_begin)(struct store *, struct store_bulk **, struct err *);
    err_code (*bulk_fill)(struct store_bulk *, struct store_bulk_item *, size_t, struct err *);
    err_code (*bulk_publish)(struct store_bulk **, size_t, sv, sv, struct store_commit *,
                             struct err *);
    void (*bulk_abort)(struct store_bulk *);
    /* All NULL: one process writes it. */
    err_code (*bulk_hand_over)(const struct store_bulk *, struct buf *, struct err *);
    void (*bulk_leave)(struct store_bulk *);
    err_code (*bulk_take_over)(struct store *, sv, struct store_bulk **, struct err *);
    bool (*is_crowded)(struct store *);
    err_code (*note_get)(struct store *, sv, struct buf *, struct err *);
    err_code (*note_delete)(struct store *, sv, struct err *);
    bool (*is_near)(struct store *, store_number);
    err_code (*get)(struct store *, fhir_type, sv, uint64_t, bool light, struct arena *,
                    struct store_version *, struct err *);
    err_code (*number_of)(struct store *, fhir_type, sv, store_number *, struct err *);
    err_code (*get_number)(struct store *, store_number, uint64_t, bool light, struct arena *,
                           struct store_version *, struct err *);
    err_code (*scan)(struct store *, const struct store_range *, uint64_t, struct store_cursor **,
                     struct err *);
    err_code (*scan_numbers)(struct store *, const store_number *, size_t, uint64_t,
                             struct store_cursor **, struct err *);
    err_code (*cursor_next)(struct store_cursor *, struct store_version *, struct err *);
    void (*cursor_rest)(struct store_cursor *);
    void (*cursor_close)(struct store_cursor *);
    err_code (*history)(struct store *, fhir_type, sv, uint64_t, struct store_cursor **,
                        struct err *);
    err_code (*changes)(struct store *, const struct store_range *, uint64_t, uint64_t,
                        struct store_cursor **, struct err *);
    err_code (*changes_plan)(struct store *, fhir_type, uint64_t, uint64_t, size_t, struct arena *,
                             struct store_range **, size_t *, struct err *);
    err_code (*changed_types)(struct store *, uint64_t, uint64_t, bool *, struct err *);
    err_code (*touched)(struct store *, const struct store_range *, size_t, uint64_t, uint64_t,
                        bool *, struct err *);
    err_code (*log)(struct store *, fhir_type, uint64_t, store_number, size_t, struct arena *,
                    struct store_log_row **, size_t *, struct err *);
    err_code (*index_scan)(struct store *, fhir_type, const struct search_driver *, sv,
                           store_number, uint64_t, struct store_index_cursor **, struct err *);
    err_code (*index_next)(struct store_index_cursor *, struct store_index_hit *, struct err *);
    void (*index_seek)(struct store_index_cursor *, sv, store_number);
    void (*index_close)(struct store_index_cursor *);
    unsigned (*index_form)(struct store *);
    err_code (*settle)(struct store *, const atomic_bool *, struct err *);
    err_code (*count)(struct store *, fhir_type, uint16_t, sv, uint64_t *, struct store_commit *,
                      struct err *);
    err_code (*commit_at)(struct store *, int64_t, struct store_commit *, struct err *);
    err_code (*plan)(struct store *, const struct store_range *part, size_t, struct arena *,
                     struct store_range **, size_t *, struct err *);
    void (*weigh)(struct store *, struct store_weight *);
    err_code (*flush)(struct store *, struct err *);
    err_code (*erase)(struct store *, const struct lease *, store_number, uint64_t, sv, bool *,
                      struct err *);
    err_code (*erase_finish)(struct store *, const struct lease *, const atomic_bool *,
                             struct err *);
    /* NULL: there is nothing to clear */
    err_code (*loads_clear)(struct store *, const struct lease *, struct err *);
    /* A write has failed, or an erasure has ended: it should be closed and opened when nobody holds
     * it. NULL: never. */
    bool (*wants_anew)(struct store *);
    bool (*has_failed)(struct store *); /* a write has; NULL: never */
    /* As in copy.h; NULL: a store without files. */
    err_code (*snapshot)(struct store *, const char *folder, struct store_commit *, struct err *);
    err_code (*sums)(struct store *, uint64_t, const atomic_bool *, struct store_sums *,
                     struct err *);
    const struct cipher_ring *(*ring)(struct store *); /* NULL: nothing is encrypted */
    /* As in again.h. */
    err_code (*commits)(struct store *, uint64_t after_t, struct store_commit_row *, size_t max,
                        size_t *n, struct err *);
    err_code (*again)(struct store *, struct store_again *, size_t n, struct err *);
    err_code (*again_load)(struct store *, struct store_bulk **, int64_t instant_ms,
                           struct store_commit *, struct err *);
    err_code (*again_end)(struct store *, int64_t floor_ms, struct err *);
};
/* A data store's name below a root. */
static inline bool store_name_ok(sv name)
{
    return sv_is_hex(name, 32);
}

/* First member of every implementation's object. */
struct store {
    const struct store_ops *ops;
    void *entry;        /* registry.c's; NULL: it was opened by itself */
    struct gate *alone; /* the environment's; NULL: there is none */
    atomic_bool denied; /* registry.c: its key is revoked */
};
struct store_cursor {
    const struct store_ops *ops;
    struct buf *place; /* store_cursor_place */
    size_t gap;
    bool light;   /* store_cursor_light */
    bool giants;  /* store_cursor_giants */
    bool standby; /* store_cursor_standby */
    const atomic_bool *halt;
};
struct store_index_cursor {
    const struct store_ops *ops;
};
struct store_bulk {
    const struct store_ops *ops;
    const struct lease *under; /* of the first that is published; NULL: of nobody */
};

/* ---- engines (engines.c has the table) ---- */
/* What one engine can do. A new engine is a folder and a row. place: what stands behind the
 * scheme. */
struct store_engine {
    const char *scheme; /* "rocksdb" of "rocksdb:PATH" */
    const char *form;   /* how a URI of it is written, for people */
    /* What its open stores share; NULL: nothing. It lives as long as the env. */
    void *(*env_new)(const struct store_env *env);
    void (*env_free)(void *own);
    /* n_files: how many files of its data it may have open at a time. own: of env_new; or NULL */
    err_code (*open)(struct store_env *env, void *own, const char *place, bool create,
                     unsigned n_files, struct store **out, struct err *e);
    /* Stores by name below a root, for the registry. All NULL: the engine has no such thing. */
    err_code (*root_make)(const char *root, struct err *e);
    unsigned (*root_count)(const char *root, bool (*is_name)(sv name));
    bool (*exists)(const char *place);
    unsigned (*n_files)(const char *place); /* of a store's data, open or not */
    err_code (*remove)(const char *place, struct err *e);
    /* NULL: there is nothing on disk to look at. */
    err_code (*check)(struct store_env *env, void *own, const char *place,
                      const struct store_check_told *told, struct store_checked *out,
                      struct err *e);
    /* Data stores of an older layout (convert.h). All NULL: there are none. */
    err_code (*convert)(struct store_env *env, void *own, const char *place, store_convert_fn tell,
                        void *ctx, struct store_converted *out, struct err *e);
    err_code (*needs_convert)(const char *place, bool *out, struct err *e);
    err_code (*convert_names)(const char *root, bool (*is_name)(sv name), struct arena *a, sv **out,
                              size_t *n, struct err *e);
    /* As in copy.h. NULL: it has no files. */
    err_code (*copy)(struct store_env *env, void *own, struct store *from, const char *place,
                     uint64_t t, const atomic_bool *halt, struct store_sums *out, struct err *e);
    err_code (*sums)(struct store_env *env, void *own, const char *place, struct store_sums *out,
                     struct err *e);
    /* Data keys of a place, for store_registry_encrypt(). NULL: it has no files. */
    err_code (*encrypt)(const char *place, sv id, struct key_keeper *keeper, sv key_id,
                        struct err *e);
    /* As data_keys_read(), of a place that has data keys. NULL: none has. */
    err_code (*keys)(struct store_env *env, const char *place, struct cipher_ring *out,
                     struct err *e);
    /* The system's records. */
    err_code (*open_records)(const char *place, bool to_read, struct records **out, struct err *e);
    /* As in store.h; NULL: there is nobody to ask. */
    err_code (*ready)(const char *root, struct store_readiness *out, struct err *e);
    err_code (*reach)(const char *root, struct err *e); /* with ready */
    void (*link)(const struct store_link *link);        /* NULL: it has no connections */
};
/* The engine and the place that a URI means. *place is a view into uri.
 * ERR_INVALID: no engine has that scheme; the message says which there are. */
MUST_USE err_code store_engine_of(const char *uri, const struct store_engine **out,
                                  const char **place, struct err *e);
/* As store_open(), with at most so many files of data open at a time. */
MUST_USE err_code store_open_with(struct store_env *env, const char *uri, bool create,
                                  unsigned n_files, struct store **out, struct err *e);
/* What the engine made for an env. */
void *store_engine_own(const struct store_env *env, const struct store_engine *engine);
#define STORE_FILES_MAX 2000u /* open at a time; more do not make a store faster */

void *rocks_env_new(const struct store_env *env);
void rocks_env_free(void *own);
err_code rocks_open(struct store_env *env, void *own, const char *place, bool create,
                    unsigned n_files, struct store **out, struct err *e);
err_code rocks_root_make(const char *root, struct err *e);
unsigned rocks_root_count(const char *root, bool (*is_name)(sv name));
bool rocks_exists(const char *place);
unsigned rocks_n_files(const char *place);
err_code rocks_remove(const char *place, struct err *e);
err_code rocks_check(struct store_env *env, void *own, const char *place,
                     const struct store_check_told *told, struct store_checked *out, struct err *e);
err_code rocks_convert(struct store_env *env, void *own, const char *place, store_convert_fn tell,
                       void *ctx, struct store_converted *out, struct err *e);
err_code rocks_needs_convert(const char *place, bool *out, struct err *e);
err_code rocks_convert_names(const char *root, bool (*is_name)(sv name), struct arena *a, sv **out,
                             size_t *n, struct err *e);
err_code rocks_copy(struct store_env *env, void *own, struct store *from, const char *place,
                    uint64_t t, const atomic_bool *halt, struct store_sums *out, struct err *e);
err_code rocks_sums_of(struct store_env *env, void *own, const char *place, struct store_sums *out,
                       struct err *e);
err_code rocks_encrypt(const char *place, sv id, struct key_keeper *keeper, sv key_id,
                       struct err *e);
err_code rocks_keys(struct store_env *env, const char *place, struct cipher_ring *out,
                    struct err *e);
err_code rocks_records_open(const char *place, bool to_read, struct records **out, struct err *e);
/* The same code in RocksDB's memory environment. */
err_code rocks_records_in_memory(const char *place, bool to_read, struct records **out,
                                 struct err *e);
err_code memory_open(struct store_env *env, void *own, const char *place, bool create,
                     unsigned n_files, struct store **out, struct err *e);
/* With HAVE_POSTGRES alone. */
err_code pg_open(struct store_env *env, void *own, const char *place, bool create, unsigned n_files,
                 struct store **out, struct err *e);
err_code pg_root_make(const char *root, struct err *e);
unsigned pg_root_count(const char *root, bool (*is_name)(sv name));
bool pg_exists(const char *place);
unsigned pg_n_files(const char *place);
err_code pg_remove(const char *place, struct err *e);
err_code pg_records_open(const char *place, bool to_read, struct records **out, struct err *e);
err_code pg_reach(const char *root, struct err *e);
err_code pg_ready(const char *root, struct store_readiness *out, struct err *e);
void pg_link_set(const struct store_link *link);

/* ---- the system's records (records.c) ---- */
struct records_ops {
    void (*close)(struct records *);
    err_code (*get)(struct records *, sv, struct buf *, struct err *);
    err_code (*write)(struct records *, const struct records_write *, size_t, struct err *);
    err_code (*put_unsynced)(struct records *, sv, sv, struct err *);
    err_code (*scrub)(struct records *, struct err *);
    err_code (*scan)(struct records *, sv, sv, records_each_fn, void *, struct err *);
    err_code (*snapshot)(struct records *, const char *folder, struct err *);
    /* NULL, as the next: one process has them (lease_local.c) */
    const struct lease_ops *leases;
    void (*tell)(struct records *, sv);
    void (*on_told)(struct records *, records_told_fn, void *);
    err_code (*nodes)(struct records *, node_each_fn, void *, struct err *);
    const char *(*self)(const struct records *);
    bool (*reached)(const struct records *);
};
/* A key that could not be made, for want of memory, is none. That it is not there, or is gone now,
 * would be no answer. */
MUST_USE static inline err_code store_record_keys_check(const struct records_write *writes,
                                                        size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (writes[i].key.len == 0)
            return ERR(e, ERR_INTERNAL, "a record has no key");
    return ERR_OK;
}
/* Leases as an engine keeps them; lease.h says what they are. An epoch is given once. */
struct lease_row {
    uint64_t epoch;
    size_t which; /* of the names */
};
struct lease_ops {
    /* The first of the names that is free. ERR_EOF. */
    err_code (*take)(struct records *, const sv *, size_t, unsigned ms, struct lease_row *,
                     struct err *);
    /* lost[i]: that epoch's is held no more. */
    err_code (*renew)(struct records *, const uint64_t *, size_t, unsigned ms, bool *lost,
                      struct err *);
    err_code (*release)(struct records *, uint64_t, bool keep_note, struct err *);
    /* ERR_CONFLICT: it is held no more. */
    err_code (*write)(struct records *, uint64_t, const struct records_write *, size_t, bool synced,
                      struct err *);
    err_code (*tell)(struct records *, uint64_t, sv, struct err *);
    err_code (*list)(struct records *, sv, bool ended, lease_each_fn, void *, struct err *);
    err_code (*any)(struct records *, sv, bool *, struct err *);
};
extern const struct lease_ops lease_local_ops;
struct records *lease_records(const struct lease *lease); /* where it stands */
/* First member of every implementation's object. */
struct records {
    const struct records_ops *ops;
};

/* ---- what every engine does alike (store.c) ---- */
err_code store_key_denied(struct err *e); /* ERR_DENIED, in its words */
/* Who got the store before its key was revoked: the same. */
MUST_USE err_code store_key_check(const struct store *st, struct err *e);
/* Checks that every implementation makes: a type that exists, legal ids, nothing twice. */
MUST_USE err_code store_writes_check(const struct store_write *writes, size_t n, struct err *e);
/* Sorted by (type, id, seq), of equal (type, id) only the last kept. Returns how many are left. */
size_t store_items_sort(struct store_bulk_item *items, size_t n);

/* ---- who may meet a large record (gate.c) ---- */
struct gate_waiter;
struct gate {
    fhir_type type; /* of which records may be any size: Binary alone is imported above 5 MiB */
    unsigned most, most_of_store; /* inside */
    pthread_mutex_t lock;
    const void *inside[LIMIT_LARGE_READERS]; /* n_inside: the stores of those who are */
    unsigned n_inside, most_inside;
    uint64_t n_waited;
    struct gate_waiter *waiting; /* the first came first */
};
void gate_init(struct gate *g, unsigned most, unsigned most_of_store);
void gate_done(struct gate *g);
/* Nobody enters twice, and who is inside waits for nobody. */
void gate_enter(struct gate *g, const void *store);
/* ERR_CANCELLED: *halt was set before there was a place. halt: NULL, or set by one who calls
 * gate_wake() then. */
MUST_USE err_code gate_enter_unless(struct gate *g, const void *store, const atomic_bool *halt,
                                    struct err *e);
void gate_wake(struct gate *g);
void gate_leave(struct gate *g, const void *store);

/* ---- current versions read lately (recent.c says which laws hold) ---- */
struct recent;
struct recent_owner { /* one store */
    uint64_t number;
    _Atomic uint64_t begun_t; /* newest commit that has begun to drop what it wrote */
    _Atomic uint64_t since;   /* what was read as of an older t is void */
};
struct recent *recent_new(size_t bytes);
void recent_free(struct recent *r);
void recent_owner_init(struct recent_owner *o);
bool recent_has(struct recent *r, struct recent_owner *o, store_number number); /* a hint */
/* The version current as of as_of_t, copied into the arena; false: ask the store. */
bool recent_get(struct recent *r, struct recent_owner *o, store_number number, uint64_t as_of_t,
                struct arena *a, struct store_version *out);
bool recent_get_id(struct recent *r, struct recent_owner *o, fhir_type type, sv id,
                   uint64_t as_of_t, struct arena *a, struct store_version *out);
/* v is the newest version of its resource as of read_t. Copied. */
void recent_put(struct recent *r, struct recent_owner *o, uint64_t read_t,
                const struct store_version *v);
/* A commit or a bulk load t is about to become visible: first this, then recent_drop of each
 * resource it wrote (a bulk load: of none). Whoever assigns t calls it, so t grows. */
void recent_begin_t(struct recent_owner *o, uint64_t t, bool bulk);
void recent_drop(struct recent *r, struct recent_owner *o, store_number number);

/* ---- of an erasure (store.c) ---- */
struct tally;
/* What is current goes out of the sums, when all of a resource is erased (t is 0). Nobody commits
 * meanwhile. ERR_PRECONDITION: the version of commit t is the current one. */
MUST_USE err_code store_erased_uncount(struct store *st, store_number number, uint64_t t,
                                       struct tally *less, struct err *e);

/* What it came to, as a note. */
#define STORE_ERASED_BYTES 16u /* resources, versions; little endian */
/* What the note is to be when so many versions more went, and with whole a resource. */
MUST_USE err_code store_erased_grown(struct store *st, sv note, bool whole, uint64_t versions,
                                     char out[STORE_ERASED_BYTES], struct err *e);

/* ---- what open stores share, of whichever engine (engines.c) ---- */
#define STORE_ENGINES 3u /* at most: one of them may not be built in */
struct store_env {
    size_t cache_bytes; /* for the engines' own caches */
    unsigned n_background;
    struct recent *recent;
    struct gate gate;
    struct gate alone;           /* the giant's place */
    store_reindex_fn on_reindex; /* NULL: nobody wants to know */
    void *on_reindex_ctx;
    struct key_keeper *keeper; /* borrowed; NULL: there are no keys */
    void *own[STORE_ENGINES];  /* by row of the table of engines */
};
