/* convert.h - data stores that an older program wrote, brought to the layout of this one.
 *
 * A data store is written anew beside the old one, compared with it, and put in its place. Versions
 * of resources, their numbers, instants and commits stay what they were. The old one is not written
 * to. A conversion that was cut off leaves side folders, which are no data stores for anybody; the
 * next one takes it up.   Floor: store. */
#pragma once
#include "fhir/digest.h"
#include "store/store.h"

typedef enum {
    STORE_CONVERT_WRITES, /* n of n_commits commits are written */
    STORE_CONVERT_COUNTS, /* sums are made */
    STORE_CONVERT_CHECKS, /* n of 2 * n_versions versions are compared */
} store_convert_step;
struct store_converting {
    store_convert_step step;
    uint64_t n, of;
};
typedef void (*store_convert_fn)(void *ctx, const struct store_converting *p);

struct store_converted {
    bool was_done;  /* the store is of this layout already; the rest is 0 */
    bool completed; /* an earlier call had done all but the last steps; the rest is 0 */
    uint64_t n_resources, n_versions, n_commits;
    struct fhir_digest digest; /* of all versions, the same before and after */
};
/* Nobody else may have the data store open. tell: now and then, from the calling thread; or NULL.
 * ERR_EXISTS: another process has it open. ERR_UNSUPPORTED: a layout that this program does not
 * know. ERR_CORRUPT: it is damaged, or the new one is not the same. ERR_NOT_FOUND, ERR_IO,
 * ERR_NO_SPACE. Unless it is ERR_OK, the old data store is where and what it was; or the new one is
 * in its place already, and another call removes what is left. */
MUST_USE err_code store_convert(struct store_env *env, const char *uri, store_convert_fn tell,
                                void *ctx, struct store_converted *out, struct err *e);

/* The names of all data stores below a root, as of a registry; those too that a conversion was cut
 * off between taking away and putting back. Owned by the arena. ERR_NOT_FOUND, ERR_IO. */
MUST_USE err_code store_convert_names(const char *root, struct arena *a, sv **out, size_t *n,
                                      struct err *e);
/* *needed: it has to be converted before it can be opened, or the conversion was cut off. Cheap:
 * one of this layout is not opened. ERR_CORRUPT, ERR_IO: it cannot be read, so nobody knows;
 * ERR_INVALID. */
MUST_USE err_code store_convert_look(const char *uri, bool *needed, struct err *e);
/* The same; false too for what cannot be read: opening it says so. */
bool store_needs_convert(const char *uri);
