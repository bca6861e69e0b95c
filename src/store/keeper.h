/* keeper.h - who wraps the data keys of data stores, and who opens them again.
 *
 * A keeper is a local file of keys (key_keeper_local()), or a key service behind the same table.
 * What it wraps is bound to the id of the data store: another one's does not open.
 * Floor: store. */
#pragma once
#include "base/buf.h"
#include "codec/crypt/cipher.h"

struct key_keeper;
struct key_keeper_ops {
    const char *name; /* in key files: who wrapped a key is who opens it */
    /* key_id: of the key to wrap with, where there are several to choose from. On success *used has
     * the one that did, and *blob the wrapped key as text; both are appended.
     * ERR_DENIED: the key is disabled, or we may not use it. ERR_UNAVAILABLE: it cannot be asked.
     * ERR_UNSUPPORTED: the keeper knows no such key. */
    err_code (*wrap)(struct key_keeper *k, sv key_id, sv datastore_id,
                     const unsigned char key[CIPHER_KEY_LEN], struct buf *used, struct buf *blob,
                     struct err *e);
    /* The key that a blob holds. ERR_DENIED: likewise, or the key is not there any more.
     * ERR_CORRUPT: this blob is not what was wrapped for this data store. ERR_UNAVAILABLE.
     * Asked every few seconds for each open data store, so a keeper that asks a service keeps its
     * answers, for 30 s at most: a revoked key closes its data stores within a minute. */
    err_code (*unwrap)(struct key_keeper *k, sv key_id, sv blob, sv datastore_id,
                       unsigned char key[CIPHER_KEY_LEN], struct err *e);
    void (*close)(struct key_keeper *k);
};
/* First member of every implementation's object. Any thread may call. */
struct key_keeper {
    const struct key_keeper_ops *ops;
    struct key_keeper *next; /* a further one, of another name; NULL: none */
};
#define KEEPER_LOCAL "local"
/* The name of what binds a wrapped key: the id of the data store. */
#define KEEPER_CONTEXT "aws:healthlake:datastore-id"
/* The one of a name among a keeper and those behind it. NULL: none has it. */
struct key_keeper *key_keeper_named(struct key_keeper *first, sv name);

/* Of a file: a key a line, as 64 hexadecimal digits or as base64 of its 32 bytes; empty lines and
 * those that begin with # say nothing. The first key wraps, whatever key_id says; all of them open.
 * The file is read again when it has changed. When it is gone, so are its keys; when it is broken
 * or open to others, the keys before stay.
 * ERR_NOT_FOUND; ERR_DENIED: others can read it; ERR_INVALID: which line. */
MUST_USE err_code key_keeper_local(const char *path, struct key_keeper **out, struct err *e);
void key_keeper_close(struct key_keeper *k); /* and those behind it; NULL: nothing */
DEFINE_CLEANUP(struct key_keeper, key_keeper_close)
