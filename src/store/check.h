/* check.h - is what stands on disk as the store's invariants say?
 *
 * Reads everything and writes nothing. Memory does not grow with the store, but for some 50 bytes a
 * published load.   Floor: store. */
#pragma once
#include "store/store.h"

struct store_checked {
    bool unmade;          /* it holds no data: whoever made it was cut off; the rest is 0 */
    uint64_t n_resources; /* current ones */
    uint64_t n_versions;  /* visible ones */
    uint64_t n_loads;     /* published ones */
    uint64_t n_entries;   /* search entries, each resource of a list for one */
    uint64_t n_wrong;     /* at least: what a damaged file hides is not counted */
};
struct store_check_told {
    /* One thing that is wrong: the family, the type and the number of the resource (its load or
     * block, and its place in that), and what. No ids, and nothing of what resources say. The first
     * STORE_CHECK_LINES; the rest is only counted. */
    void (*wrong)(void *ctx, sv line);
    /* Now and then: so many keys of a family are read, of about so many. May be NULL. */
    void (*progress)(void *ctx, const char *family, uint64_t done, uint64_t about);
    void *ctx;
};
#define STORE_CHECK_LINES 20u

/* Of a store that nobody has open, this process neither. What is wrong is no failure of the call,
 * files that cannot be read included.
 * ERR_EXISTS: another process has it open. ERR_NOT_FOUND: there is no store. ERR_UNSUPPORTED: an
 * engine without files, or another layout. ERR_IO, ERR_DENIED: its folder cannot be read.
 * ERR_DENIED, ERR_UNAVAILABLE: it is encrypted, and its key is not to be had. */
MUST_USE err_code store_check(struct store_env *env, const char *uri,
                              const struct store_check_told *told, struct store_checked *out,
                              struct err *e);
