/* crypt.h - the keys of a data store's folder, for whoever opens it.   Floor: store. */
#pragma once
#include "store/rocks/rocks_private.h"

/* Before the options of r are made. When the folder has data keys, r->ring and r->crypt are made.
 * Errors of data_keys_read(); ERR_CORRUPT: it is encrypted, and its key file is lost. */
MUST_USE err_code rocks_crypt_open(struct rocks *r, const char *path, struct err *e);
/* Behind the closing of the database. */
void rocks_crypt_close(struct rocks *r);
/* Once the database is open: is what RocksDB wrote encrypted, if it should be? ERR_INTERNAL. */
MUST_USE err_code rocks_crypt_check(const struct rocks *r, const char *path, struct err *e);
/* Before it is opened for writing: a log whose beginning never came to be whole holds nothing, and
 * is emptied. */
void rocks_crypt_tidy(const struct rocks *r, const char *path);
