/* auth_private.h - what the rooms of auth share.
 *
 *   auth.c      a request is held against the keys that we know, and its caller against his policy
 *   snapshot.c  the callers as their files were at one time, and the newest of these
 * Floor: auth. */
#pragma once
#include "auth/auth.h"
#include "codec/hash.h"

/* ---- snapshot.c ---- */

/* The callers as one reading of the files gave them. It never changes, but for the signing keys
 * that are made of its secrets. */
struct snapshot;
/* The caller holds it once. Errors as credentials_load(). */
MUST_USE err_code snapshot_new(const char *path, struct snapshot **out, struct err *e);
/* Gives up one hold; the last frees it. NULL is allowed. */
void snapshot_unref(struct snapshot *snapshot);
const struct credentials *snapshot_credentials(const struct snapshot *snapshot);
/* The caller's signing key of a day (8 digits), kept from the last time or made. */
void snapshot_signing_key(struct snapshot *snapshot, const struct credential *credential,
                          const char date[8], sv region, sv service, struct hash_hmac_key *out);

/* The place of the newest snapshot. */
struct newest;
struct newest *newest_new(void);
void newest_free(struct newest *newest);
/* snapshot is taken; the one before lives on while requests hold it. */
void newest_put(struct newest *newest, struct snapshot *snapshot);
/* The newest, which the request's arena holds from now on; NULL: none was put. */
struct snapshot *newest_get(struct newest *newest, struct arena *a);
/* The same, held until snapshot_unref(). */
struct snapshot *newest_ref(struct newest *newest);
