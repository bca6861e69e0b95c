/* registry.h - the open data stores of a process, by id.
 * A data store is opened on first use (a cold start opens none) and stays open. Deleting one waits
 * until nobody holds it, then removes its folder. Thread-safe.   Floor: store. */
#pragma once
#include "store/store.h"

struct store_registry;
/* root: folder that holds one folder per data store. env is borrowed. */
MUST_USE err_code store_registry_new(struct store_env *env, const char *root,
                                     struct store_registry **out, struct err *e);
void store_registry_free(struct store_registry *r); /* closes every store */

/* Counted handle; store_registry_release gives it back. create: make it when it is not there.
 * ERR_NOT_FOUND, ERR_GONE (being removed), ERR_CORRUPT, ERR_IO. */
MUST_USE err_code store_registry_acquire(struct store_registry *r, sv datastore_id, bool create,
                                         struct store **out, struct err *e);
void store_registry_release(struct store_registry *r, struct store *st);
/* Refuse new holders, wait for the present ones, close, remove from disk. */
MUST_USE err_code store_registry_remove(struct store_registry *r, sv datastore_id, struct err *e);
