/* move.h - a data store made once more in another place, of whichever engine.
 *
 * The commits of `from` are made again in `to`, in the order of t, by the code that makes any
 * commit: versions, ids, t, instants, version numbers and methods are what they were. Search
 * entries are made anew from the bodies, and so are the numbers of resources. What `to` has already
 * is taken to be of an earlier call that was cut off. In the end both are read back and compared.
 *   Floor: store. */
#pragma once
#include "fhir/digest.h"
#include "store/records.h"
#include "store/store.h"

typedef enum {
    STORE_MOVE_WRITES, /* n of n_commits commits are there */
    STORE_MOVE_CHECKS, /* n of n_commits commits are compared */
} store_move_step;
struct store_moving {
    store_move_step step;
    uint64_t n, of;               /* commits */
    uint64_t n_versions, n_bytes; /* of this call and step; bytes of JSON */
};
typedef void (*store_move_fn)(void *ctx, const struct store_moving *p);

struct store_moved_type {
    uint64_t n_resources, n_versions; /* current ones; all of them */
    struct fhir_digest digest;        /* of all versions, the same in both */
};
struct store_moved {
    uint64_t n_commits, n_versions, n_resources, n_bytes;
    uint64_t n_before; /* commits that an earlier call had made */
    uint64_t n_erased; /* versions that were erased, with all of their resource */
    struct store_moved_type types[STORE_TYPES];
};
/* Nobody else may have either of them open. tell: now and then, from the calling thread; or NULL.
 * ERR_CONFLICT: `to` has commits that are not those of `from`. ERR_UNSUPPORTED: of some resource
 * single versions were erased. ERR_CORRUPT: they are not the same in the end. Errors of both.
 * Memory: a few times what one commit of `from` brought. */
MUST_USE err_code store_move(struct store *from, struct store *to, store_move_fn tell, void *ctx,
                             struct store_moved *out, struct err *e);

/* ---- half copied ----
 * Where a data store is copied to, the records say so until all of a call's are there. */
#define STORE_HALF_KEYS "copying/" /* and its id: docs/key-layout.md */
struct store_half {
    sv id;
    sv from; /* a folder; empty: a database */
    sv done; /* it is there and compared, under this mark of the source; empty: not yet */
};
/* What to write: that it is begun, or done; that nothing is half copied any more. Owned by the
 * arena.
 *   done  the source's mark; empty: it is begun */
MUST_USE err_code store_half_write(struct arena *a, sv id, sv from, sv done,
                                   struct records_write *out, struct err *e);
MUST_USE err_code store_half_end(struct arena *a, sv id, struct records_write *out, struct err *e);
/* At most max; owned by the arena. */
MUST_USE err_code store_half_find(struct records *records, struct arena *a, struct store_half *out,
                                  size_t max, size_t *n, struct err *e);
/* ERR_CONFLICT: something is, so nobody is to serve it.
 *   what  "folder" or "database" */
MUST_USE err_code store_half_check(struct records *records, const char *what, struct err *e);

/* ---- what is copied from ----
 * Its records have a mark for as long as a copy is not whole. A server does not start there: what
 * it wrote behind the comparison would be lost. */
#define STORE_SOURCE_KEY "copyingfrom" /* docs/key-layout.md */
struct store_source {
    struct records *records; /* borrowed; NULL: it has none any more */
    char mark[33];           /* nobody has served as long as it is the same */
    char text[66];
    bool is_new; /* no earlier call had left it */
};
/* Writes it, or takes over what an earlier call has left. ERR_EXISTS: another call was faster. */
MUST_USE err_code store_source_take(struct records *records, struct store_source *out,
                                    struct err *e);
/* It stays as it was: nothing was done under it. */
void store_source_leave(struct store_source *s);
/* The copy has ended, well or not. Removes it, also when another call has taken it over. */
MUST_USE err_code store_source_end(struct store_source *s, struct err *e);
/* Removes what a call has left. */
MUST_USE err_code store_source_free(struct records *records, bool *was_there, struct err *e);
/* ERR_CONFLICT: it is there, so nobody is to serve.
 *   what  "folder" or "database" */
MUST_USE err_code store_source_check(struct records *records, const char *what, struct err *e);
