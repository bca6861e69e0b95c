/* read_private.h - what the rooms that read versions share: iterators, the versions of one id,
 * cursors.
 * Floor: store. */
#pragma once
#include "store/rocks/rocks_private.h"

/* The gate that such a read passes, or NULL. */
static inline struct gate *gate_for(struct rocks *r, fhir_type type, bool light)
{
    return light && type == r->env->gate.type ? &r->env->gate : NULL;
}

/* ---- iterating over versions (versions.c) ---- */
struct iter {
    struct rocks *r;
    struct gate *gate; /* NULL: it may stand anywhere, for as long as it likes */
    rocksdb_readoptions_t *ro;
    /* NULL: before the first seek, or at rest; with a gate: inside exactly while it is there */
    rocksdb_iterator_t *it;
    /* after iter_seek and iter_next; false at the end and after an error (iter_end tells) */
    bool valid;
    uint64_t n_large; /* large ones that were passed, with a gate */
    /* set by the opener: ends the wait for the gate, and iter_end() tells */
    const atomic_bool *halt;
    bool halted;
    struct key_bytes upper;
};
typedef enum {
    ITER_ONE,  /* stays at one number: filters are asked which files have it */
    ITER_SOME, /* goes on to other numbers, some of many; RocksDB reads ahead once they are close */
    ITER_RUN,  /* from number to number: reads ahead from the start */
} iter_kind;
void iter_open(struct iter *x, struct rocks *r, struct key_bytes upper, iter_kind kind,
               struct gate *gate);
void iter_close(struct iter *x);
#define CLEANUP_ITER __attribute__((cleanup(iter_close)))
void iter_seek(struct iter *x, const struct key_bytes *to);
void iter_next(struct iter *x);
/* Give back what it holds, and its place, until the next seek. */
void iter_rest(struct iter *x);
err_code iter_end(const struct iter *x, struct err *e); /* behind a seek */
/* What the key says at which a valid iterator stands. ERR_CORRUPT. */
MUST_USE err_code iter_parts(const struct iter *x, struct key_version_parts *out, struct err *e);

/* ---- the versions of one resource (versions.c) ---- */
struct candidate {
    bool there;
    uint64_t t;
    int64_t instant_ms;
    struct value_head head; /* body.json is in `value` when the body is wanted */
    bool placed;            /* ... or where the cursor's user wants it */
    size_t left_out;        /* store_version.left_out */
    /* a giant, for a cursor that lends them: its body has a length alone, and its key is: */
    bool apart;
    struct key_bytes key;
    struct buf value;
};
struct id_group {
    store_number number;
    char id[FHIR_ID_MAX]; /* of best */
    size_t id_len;
    struct candidate best;
    const struct store_cursor *cursor; /* that asks, and may say where bodies go; or NULL */
    bool light;                        /* large bodies are cut */
    uint64_t n_bulk;                   /* visible bulk versions */
    uint64_t *bulk_t;                  /* their commits, as far as there is room */
    size_t bulk_cap;
    uint64_t version; /* of best, once resolved */
    bool hollow;      /* what would be best was erased: best.there is false */
    /* The load found last, in the one table that the group is read with. */
    const struct bulk_load *load;
};
void id_group_init(struct id_group *g);
void id_group_done(struct id_group *g);
/* Read the group at the iterator and leave the iterator behind it. ERR_EOF: the iterator is at its
 * end. Afterwards g->best.there says whether anything was visible as of `as_of`. */
MUST_USE err_code id_group_read(struct id_group *g, struct iter *x, const struct load_table *loads,
                                uint64_t as_of, bool body, struct err *e);
/* The same of a resource that has one version, which came with its birth in this load. */
MUST_USE err_code id_group_read_birth(struct id_group *g, struct rocks *r, store_number number,
                                      const struct bulk_load *load, struct err *e);
void id_group_version(const struct id_group *g, struct store_version *out);
/* A large body is cut while it lies in the store's own memory. False: it is not that large. */
bool candidate_cut(struct candidate *c, struct fhir_body *body, err_code *rc, struct err *e);

/* ---- cursors (cursor.c) ---- */
/* Changed resources kept in memory; more: the type is scanned instead. */
#define CHANGES_MAX_BYTES (64u << 20)
#define AHEAD_MOST        256u         /* rows of a stay in the gate */
#define AHEAD_BYTES       (512u << 10) /* of bodies; the last one may go beyond */
#define AHEAD_FIRST       4u           /* rows of a first stay, and of one behind a large record */
struct ahead_row {
    struct store_version v; /* but for its views: */
    size_t at;              /* of the id, the body behind it */
    bool apart;             /* a giant: its body is at this key */
    struct key_bytes key;
};
/* What a stay inside the gate brought. A block can be large whatever small record the iterator
 * stands at in it, so none stays open outside; what opening one costs is shared by the rows of a
 * stay. */
struct ahead {
    struct buf rows, bytes; /* struct ahead_row */
    size_t at, want;
    bool end;
};
struct rocks_cursor {
    struct store_cursor base;
    struct rocks *r;
    enum { SCAN, LISTED, CHANGES_BY_SCAN, CHANGES_BY_ROW, HISTORY } kind;
    uint64_t as_of, after_t;
    struct load_table *loads;
    struct iter x;
    store_number passes_to; /* behind the Binaries that x's stretch ends at; 0: it is the last */
    struct key_bytes from, upper; /* SCAN, CHANGES_BY_SCAN: where it begins, or goes on, and ends */
    struct ahead ahead;           /* the same, when they pass the gate */
    struct id_group g;
    fhir_type type;
    const store_number *numbers; /* LISTED */
    size_t n_numbers, number_at;
    struct buf changes; /* CHANGES_BY_ROW: struct change */
    size_t changes_at;
    rocksdb_readoptions_t *get;
    struct iter lent; /* stands at a giant, or is at rest */
    struct buf rows;  /* HISTORY: struct history_row, newest first */
    size_t at;
};
struct rocks_cursor *rocks_cursor_new(struct rocks *r, int kind, uint64_t as_of_t);
/* The gate that the cursor passes for this type, or NULL. */
static inline struct gate *gate_of_cursor(const struct rocks_cursor *c, fhir_type type)
{
    return c->base.giants && type == c->r->env->alone.type ? &c->r->env->alone
                                                           : gate_for(c->r, type, c->base.light);
}
/* The body of a giant, in the store's own memory until the cursor rests. The cursor's iterator is
 * at rest. */
MUST_USE err_code rocks_cursor_lend(struct rocks_cursor *c, const struct key_bytes *key,
                                    struct fhir_body *body, struct err *e);
void rocks_cursor_range(struct rocks_cursor *c, const struct store_range *range);
/* The value of a key that is there, its id and its body copied into c->g. */
MUST_USE err_code rocks_cursor_value(struct rocks_cursor *c, struct key_bytes key,
                                     struct value_head *h, struct err *e);
MUST_USE err_code rocks_history_next(struct rocks_cursor *c, struct store_version *out,
                                     struct err *e);
MUST_USE err_code rocks_window_next(struct rocks_cursor *c, struct store_version *out,
                                    struct err *e);
