/* issue_private.h - what the rooms of our own token endpoint share.
 *
 *   clients.c    the file of registered clients
 *   client_set.c those that count now
 *   narrow.c     what is asked for becomes what is given
 *   replay.c     assertions that were used
 *   failures.c   who fails too often
 *   own_keys.c   the keys that sign our tokens
 *   assertion.c  a client proves who it is
 *   issue.c      a request becomes a token
 *   check.c      a token of ours becomes a caller
 * Floor: auth. */
#pragma once
#include "auth/bearer/providers_private.h"
#include "auth/issue/issue.h"

/* ---- client_set.c ---- */
struct client_set;
struct client_list;
/* path is borrowed. Errors of clients_load(). */
MUST_USE err_code client_set_open(const char *path, issue_told_fn told, void *ctx,
                                  struct client_set **out, struct err *e);
void client_set_close(struct client_set *set);
/* Those that count now; given back with client_set_give(). The file is read first, when it has
 * changed. */
struct client_list *client_set_take(struct client_set *set, uint64_t mono_us);
void client_set_give(struct client_list *list);
const struct clients *client_list_of(const struct client_list *list); /* borrowed */

/* ---- narrow.c ---- */
/* Of the scopes that are asked for, those that the client may get: each as it was asked for, or
 * narrowed. *out: with blanks between, owned by the arena; empty: none.
 *   v2  scopes of version 2 may be given
 * ERR_TOO_LARGE: there would be more than CLIENT_SCOPES_MAX bytes. */
MUST_USE err_code narrow(struct arena *a, sv asked, const struct client *client, bool v2, sv *out,
                         struct err *e);

/* Is a scope written as version 1 writes it? */
bool narrow_is_v1(sv scope);

/* ---- replay.c ---- */
/* Assertions that were used, until they have expired: in memory, and in the records. One that was
 * taken is never good again, in another connection or behind a crash. Thread-safe. */
struct replay;
/* Reads what an earlier process kept. records: borrowed.
 *   most  so many at a time */
MUST_USE err_code replay_open(struct records *records, size_t most, int64_t now_ms,
                              struct replay **out, struct err *e);
void replay_free(struct replay *replay);
/* Takes it, once: it is on disk when this returns ERR_OK. ERR_EXISTS: it was taken before.
 * ERR_THROTTLED: no room is left for it. ERR_IO: it cannot be kept, and is gone all the same. */
MUST_USE err_code replay_take(struct replay *replay, sv client_id, sv token_id, int64_t until_ms,
                              int64_t now_ms, struct err *e);

/* ---- failures.c ---- */
#define FAILURES_MAX 10u /* a minute, of one client id at one address */
struct failures;
struct failures *failures_new(void);
void failures_free(struct failures *failures);
/* Seconds until it may try again; 0: now. id: that an assertion names, or empty. */
unsigned failures_wait_s(struct failures *failures, sv id, sv peer, uint64_t now_us);
void failures_add(struct failures *failures, sv id, sv peer, uint64_t now_us);

/* ---- own_keys.c ---- */
#define OWN_KEY_ALG  JOSE_RS256 /* verified in some 40 us: nobody keeps answers */
#define OWN_KEY_DAYS 30         /* then another one signs */
#define OWN_KEY_LEFT 600        /* seconds for which the one before is good yet */
struct own_keys;
/* The keys in a folder, which is made; or in the records, when other processes share them. A key is
 * made when there is none, or none that is young. records: borrowed. ERR_DENIED: others could read
 * a key. ERR_INVALID: a file is no key. ERR_CORRUPT: a record is none. ERR_IO. */
MUST_USE err_code own_keys_open(const char *folder, struct records *records, int64_t now_ms,
                                struct own_keys **out, struct err *e);
void own_keys_close(struct own_keys *keys);
MUST_USE err_code own_keys_sign(struct own_keys *keys, struct arena *a, sv claims, int64_t now_ms,
                                sv *out, struct err *e);
/* Those that are good now; borrowed, and there until own_keys_close(). */
struct key_ring *own_keys_ring(struct own_keys *keys, int64_t now_ms);
/* The same as a JWKS; owned by the arena. */
MUST_USE err_code own_keys_jwks(struct own_keys *keys, struct arena *a, int64_t now_ms, sv *out,
                                struct err *e);

/* ---- assertion.c ---- */
struct assertion { /* views into the token's arena */
    struct jose_jws jws;
    sv key_url; /* jku of the header; SV_NONE: none */
    sv issuer, subject, token_id;
    yyjson_val *audience;
    double until_s;
    bool has_until, starts_late;
};
#define ASSERTION_LEEWAY_S 60
#define ASSERTION_MOST_S   300 /* between now and exp */
/* The parts of an assertion; nothing is proven. ERR_INVALID, and why: one of few fixed texts. */
MUST_USE err_code assertion_read(struct arena *a, sv token, int64_t now_ms, struct assertion *out,
                                 struct err *e);
/* Is it the client's own, for this URL, and good now? ERR_INVALID, and why. ERR_UNAVAILABLE: the
 * client's keys cannot be had. */
MUST_USE err_code assertion_check(const struct assertion *as, const struct client *client,
                                  sv token_url, int64_t now_ms, uint64_t mono_us, struct err *e);

/* ---- issue.c ---- */
struct key_ring *issue_ring(struct issue *issue, int64_t now_ms);
/* May the client have tokens of that data store yet? */
bool issue_is_good(struct issue *issue, sv client_id, sv datastore_id, int64_t now_ms,
                   uint64_t mono_us);
/* Under whom tokens act: a policy that allows the data plane and no role. Borrowed. */
const struct credential *issue_credential(const struct issue *issue);
