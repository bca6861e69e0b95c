/* registry.h - the open data stores of a process, by id.
 *
 * A data store is opened on first use (a cold start opens none) and stays open while it is used.
 * One that nobody holds is closed when it has not been asked for for a while, or at once when the
 * budget of open files is needed for another: whoever was asked for the longest time ago goes
 * first. Closing gives its files and memory back and loses nothing; the next use opens it again.
 *
 * One budget of open files stands over all of them: how many may be open at a time follows from it,
 * and a part of it is given to those with many files. One whose files have come to be more than it
 * was given is closed when nobody holds it, so that it is opened with more.
 *
 * The key of an encrypted one is asked for again and again. When it is revoked, nobody gets the
 * store any more, and who holds it begins nothing with it; it is closed, and its key leaves memory.
 * When the key is there again, so is the store.
 *
 *   absent -> opening -> open (held or not) -> closing -> absent        open -> removing -> absent
 *
 * Deleting one waits until nobody holds it, then removes its folder. Thread-safe.
 * Floor: store. */
#pragma once
#include "store/copy.h"
#include "store/store.h"

struct store_registry;
struct store_bounds {
    unsigned n_files; /* descriptors of all open stores together; STORE_FILES_LEAST at least */
    uint64_t idle_ms; /* one that was not asked for for so long is closed */
    /* of all together, in memory and the log alone: past it they are written out */
    size_t write_bytes;
    uint64_t wait_ms; /* for room when all that may be open are held */
};
#define STORE_FILES_LEAST 32u /* what one store needs */
/* root: URI (as of store_open()) of a folder that holds one folder per data store. env is borrowed.
 * ERR_INVALID: no such engine; ERR_UNSUPPORTED: an engine that has no such folders. */
MUST_USE err_code store_registry_new(struct store_env *env, const char *root,
                                     struct store_registry **out, struct err *e);
/* Before the first store is opened; else as a process may that has many descriptors. */
void store_registry_bound(struct store_registry *r, const struct store_bounds *b);
void store_registry_free(struct store_registry *r); /* closes every store */

/* Counted handle; store_registry_release gives it back. create: make it when it is not there. May
 * open it, which takes its time, and may wait for one that is being closed. ERR_NOT_FOUND, ERR_GONE
 * (being removed), ERR_CORRUPT, ERR_IO; ERR_THROTTLED: all that may be open at a time have been
 * held by others for bounds.wait_ms. ERR_DENIED, ERR_UNAVAILABLE: it is encrypted, and its key is
 * revoked, lost, or cannot be asked for. */
MUST_USE err_code store_registry_acquire(struct store_registry *r, sv datastore_id, bool create,
                                         struct store **out, struct err *e);
/* Is there a place of that name, whatever is in it? Opens nothing. */
bool store_registry_has(const struct store_registry *r, sv datastore_id);
/* Can a keeper of this name wrap data keys (keeper.h)? */
bool store_registry_keeps(const struct store_registry *r, sv keeper);
/* Can it encrypt data stores; can it copy what one was at a commit? An engine without files does
 * neither. */
bool store_registry_encrypts(const struct store_registry *r);
bool store_registry_copies(const struct store_registry *r);
/* Can they be out of reach for a while (store_is_remote)? */
bool store_registry_is_remote(const struct store_registry *r);
/* A data store that nobody has used yet gets a data key, wrapped by this keeper: whatever is
 * written for it is encrypted. One that has its key is left as it is.
 *   key_id  as of key_keeper_ops.wrap
 * ERR_DENIED, ERR_UNAVAILABLE, ERR_UNSUPPORTED (as of keeper.h); ERR_CONFLICT: it has data; ERR_IO,
 * ERR_NO_SPACE. */
MUST_USE err_code store_registry_encrypt(struct store_registry *r, sv datastore_id, sv keeper,
                                         sv key_id, struct err *e);
/* The same if it is open now; else NULL, at once. */
struct store *store_registry_try(struct store_registry *r, sv datastore_id);
void store_registry_release(struct store_registry *r, struct store *st);
/* store_giant_wake() of them all. */
void store_registry_wake(struct store_registry *r);
/* It will not be needed soon: closed now, unless somebody holds it. */
void store_registry_rest(struct store_registry *r, sv datastore_id);
/* A new data store of this id, that nobody has open: a copy of an open one (copy.h). */
MUST_USE err_code store_registry_copy(struct store_registry *r, struct store *from, sv datastore_id,
                                      uint64_t t, const atomic_bool *halt, struct store_sums *out,
                                      struct err *e);
/* Refuse new holders, wait for the present ones, close, remove from disk. */
MUST_USE err_code store_registry_remove(struct store_registry *r, sv datastore_id, struct err *e);

struct store_registry_counts {
    unsigned n_open;   /* or being opened or closed */
    unsigned n_files;  /* parts of the budget that they have taken */
    unsigned n_stores; /* that exist */
};
void store_registry_count(struct store_registry *r, struct store_registry_counts *out);
