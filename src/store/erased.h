/* erased.h - erasures of a data store that other processes read, too.
 *
 * Where one process has a data store it is closed for the end of an erasure, and who reads on is
 * told so (store_wants_anew()). In a database there is nothing to close, and any node may be the
 * one that erases. So who reads on for long looks each STORE_ERASED_LOOK_MS whether there was one
 * behind the commit that he reads as of; and the job that erases says that it is done
 * STORE_ERASED_WAIT_MS after that could be seen.   Floor: store. */
#pragma once
#include "store/store.h"

#define STORE_ERASED_LOOK_MS 500u
#define STORE_ERASED_WAIT_MS 1500u
#define STORE_ERASED_NOTE    "erased" /* its key; it has a commit, in decimal digits */

/* The newest commit that ended an erasure, of whichever process; 0: there was none. Of a store that
 * is remote. ERR_CORRUPT. */
MUST_USE err_code store_erased_at(struct store *st, uint64_t *t, struct err *e);
