/* store_private.h - the table behind store.h, and what any engine shares.
 *
 *   store.c    dispatch: every call of store.h goes through the engine's table
 *   recent.c   current versions that were read lately
 *   gate.c     who may meet a large record
 *   registry.c which stores are open
 *   rocks/     the engine on RocksDB: the only rooms that see its header
 *   memory/    the oracle, in memory
 * Floor: store. */
#pragma once
#include "base/limits.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

struct store_ops {
    void (*close)(struct store *);
    struct store_commit (*last)(struct store *);
    err_code (*horizon)(struct store *, struct store_commit *, struct err *);
    err_code (*commit)(struct store *, struct store_write *, size_t, struct store_commit *,
                       struct err *);
    err_code (*bulk_begin)(struct store *, struct store_bulk **, struct err *);
    err_code (*bulk_fill)(struct store_bulk *, struct store_bulk_item *, size_t, struct err *);
    err_code (*bulk_publish)(struct store_bulk **, size_t, sv, sv, struct store_commit *,
                             struct err *);
    void (*bulk_abort)(struct store_bulk *);
    bool (*is_crowded)(struct store *);
    err_code (*note_get)(struct store *, sv, struct buf *, struct err *);
    err_code (*note_put)(struct store *, sv, sv, struct err *);
    err_code (*note_delete)(struct store *, sv, struct err *);
    bool (*is_near)(struct store *, fhir_type, sv);
    err_code (*get)(struct store *, fhir_type, sv, uint64_t, bool light, struct arena *,
                    struct store_version *, struct err *);
    err_code (*scan)(struct store *, const struct store_range *, uint64_t, struct store_cursor **,
                     struct err *);
    err_code (*cursor_next)(struct store_cursor *, struct store_version *, struct err *);
    void (*cursor_close)(struct store_cursor *);
    err_code (*history)(struct store *, fhir_type, sv, uint64_t, struct store_cursor **,
                        struct err *);
    err_code (*changes)(struct store *, const struct store_range *, uint64_t, uint64_t,
                        struct store_cursor **, struct err *);
    err_code (*changes_plan)(struct store *, fhir_type, uint64_t, uint64_t, size_t, struct arena *,
                             struct store_range **, size_t *, struct err *);
    err_code (*changed_types)(struct store *, uint64_t, uint64_t, bool *, struct err *);
    err_code (*log)(struct store *, fhir_type, uint64_t, sv, size_t, struct arena *,
                    struct store_log_row **, size_t *, struct err *);
    err_code (*index_scan)(struct store *, fhir_type, const struct search_driver *, sv, sv,
                           uint64_t, struct store_index_cursor **, struct err *);
    err_code (*index_next)(struct store_index_cursor *, struct store_index_hit *, struct err *);
    void (*index_seek)(struct store_index_cursor *, sv, sv);
    void (*index_close)(struct store_index_cursor *);
    unsigned (*index_form)(struct store *);
    err_code (*settle)(struct store *, const atomic_bool *, struct err *);
    err_code (*count)(struct store *, fhir_type, uint16_t, sv, uint64_t *, struct store_commit *,
                      struct err *);
    err_code (*commit_at)(struct store *, int64_t, struct store_commit *, struct err *);
    err_code (*plan)(struct store *, fhir_type, size_t, struct arena *, struct store_range **,
                     size_t *, struct err *);
    err_code (*stats)(struct store *, struct store_stats *, struct err *);
};
/* First member of every implementation's object. */
struct store {
    const struct store_ops *ops;
    void *entry; /* registry.c's; NULL: it was opened by itself */
};
struct store_cursor {
    const struct store_ops *ops;
    struct buf *place; /* store_cursor_place */
    size_t gap;
    bool light; /* store_cursor_light */
};
struct store_index_cursor {
    const struct store_ops *ops;
};
struct store_bulk {
    const struct store_ops *ops;
};

/* Checks that every implementation makes: a type that exists, legal ids, nothing twice. */
MUST_USE err_code store_writes_check(const struct store_write *writes, size_t n, struct err *e);
/* Sorted by (type, id, seq), of equal (type, id) only the last kept. Returns how many are left. */
size_t store_items_sort(struct store_bulk_item *items, size_t n);

/* ---- who may meet a large record (gate.c) ---- */
struct gate_waiter;
struct rocks;
struct gate {
    fhir_type type; /* of which records may be any size: Binary alone is imported above 5 MiB */
    pthread_mutex_t lock;
    const struct rocks *inside[LIMIT_LARGE_READERS]; /* n_inside: whose */
    unsigned n_inside, most_inside;
    uint64_t n_waited;
    struct gate_waiter *waiting; /* the first came first */
};
void gate_init(struct gate *g);
void gate_done(struct gate *g);
/* Nobody enters twice, and who is inside waits for nobody. */
void gate_enter(struct gate *g, const struct rocks *store);
void gate_leave(struct gate *g, const struct rocks *store);

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
bool recent_has(struct recent *r, struct recent_owner *o, fhir_type type, sv id); /* a hint */
/* The version current as of as_of_t, copied into the arena; false: ask the store. */
bool recent_get(struct recent *r, struct recent_owner *o, fhir_type type, sv id, uint64_t as_of_t,
                struct arena *a, struct store_version *out);
/* v is the newest version of its id as of read_t. Copied. */
void recent_put(struct recent *r, struct recent_owner *o, uint64_t read_t,
                const struct store_version *v);
/* A commit or a bulk load t is about to become visible: first this, then recent_drop of each
 * resource it wrote (a bulk load: of none). Whoever assigns t calls it, so t grows. */
void recent_begin_t(struct recent_owner *o, uint64_t t, bool bulk);
void recent_drop(struct recent *r, struct recent_owner *o, fhir_type type, sv id);
