/* data_keys.h - the file with the wrapped data keys of a data store, beside its data.
 *
 *   {"v": 1, "datastore": id, "keys": [{"id": of the data key, "keeper": who wrapped it,
 *    "kmsKeyId": with which key, "blob": wrapped, "context": {"aws:healthlake:datastore-id": id},
 *    "created": instant}, ...]}
 *
 * The first key is that of new files. A data store that was restored from another one has that
 * one's keys behind its own, for the files that both have. A folder without the file is that of a
 * data store that is not encrypted.   Floor: store. */
#pragma once
#include "base/arena.h"
#include "store/keeper.h"

#define DATA_KEYS_NAME "data-keys.json"

/* Is there such a file in this folder? */
bool data_keys_there(const char *folder);
/* Makes the folder and the file with a new data key, unless the file is there; synced. id: of the
 * data store. keeper: who wraps it; NULL is ERR_DENIED. key_id: as of key_keeper_ops.wrap. Errors
 * of that; ERR_IO, ERR_NO_SPACE. */
MUST_USE err_code data_keys_make(const char *folder, sv id, struct key_keeper *keeper, sv key_id,
                                 struct err *e);
/* All keys of the folder. keepers: the first of them; NULL: there is none, and that is ERR_DENIED.
 * ERR_DENIED: a key is revoked or lost. ERR_CORRUPT: the file was changed. ERR_UNAVAILABLE. */
MUST_USE err_code data_keys_read(const char *folder, struct key_keeper *keepers,
                                 struct cipher_ring *out, struct err *e);
/* The file of one folder into another, which lies in the same disk or another; synced. */
MUST_USE err_code data_keys_copy(const char *from, const char *to, struct err *e);
/* A new data key for data store id in front of those that are there, wrapped by whoever wrapped the
 * first of these: the folder was made of the files of another one. Errors of both. */
MUST_USE err_code data_keys_add(const char *folder, sv id, struct key_keeper *keepers,
                                struct err *e);
/* All keys, wrapped anew by the newest keys of who wrapped them; no data is written. *changed: some
 * were wrapped by another one. What ends the process leaves the old file or the new one. */
MUST_USE err_code data_keys_rewrap(const char *folder, struct key_keeper *keepers, bool *changed,
                                   struct err *e);
