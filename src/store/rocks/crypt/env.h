/* env.h - RocksDB's environment for a data store whose files are encrypted.
 *
 * env.cc is C++, since RocksDB's C interface has no call for this.   Floor: store. */
#pragma once
#include "codec/crypt/cipher.h"

#include <rocksdb/c.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The default environment, with its threads, whose files are encrypted. ring is borrowed until
 * rocksdb_env_destroy(). NULL: the library is of another version than the headers. */
rocksdb_env_t *crypt_env_new(const struct cipher_ring *ring);

#ifdef __cplusplus
}
#endif
