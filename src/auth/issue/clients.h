/* clients.h - the clients that the operator registered for our own token endpoint (SMART Backend
 * Services): a file in sections, as the credentials file.
 *
 *   [nightly-export]                     the client's id
 *   name = Nightly export                for people; optional
 *   jwks_url = https://app.example/jwks  its public keys; or
 *   jwks = {"keys":[...]}                the same, on this line
 *   scope = system/Patient.rs            what it may get: system/ scopes, by blanks
 *   datastores = ID ID                   where; without it, in all that use our endpoint
 *   algorithms = RS384 ES384             of its assertions; these two by default
 *   expires = 2027-01-31T00:00:00Z       gets no token from then on; optional
 *   disabled = yes                       likewise, from now on; optional
 *
 * A URL is https, or http to loopback. Others may neither read nor change the file: who could
 * change it could let himself in. Unknown keys are refused.
 * Source: SMART App Launch 2.2, "Backend Services".   Floor: auth. */
#pragma once
#include "auth/smart.h"

#define CLIENTS_MAX_BYTES  (4u << 20)
#define CLIENTS_MAX        1000u
#define CLIENT_ID_MAX      64u
#define CLIENT_SCOPES_MAX  (4u << 10) /* bytes */
#define CLIENT_JWKS_MAX    (64u << 10)
#define CLIENT_SCOPES_SAID "system/ scopes with blanks between, such as system/*.rs"

struct fetcher;
struct key_ring;

struct client { /* texts are views of the file's */
    sv id, name;
    sv jwks, jwks_url;
    sv scope, datastores, algorithms, expires, disabled;
    const struct smart_scope *scopes; /* all of level system */
    size_t n_scopes;
    unsigned algs;      /* a set of JOSE_BIT() */
    int64_t expires_ms; /* 0: never */
    bool is_disabled;
    size_t line;
    struct fetcher *from; /* of jwks_url */
    struct key_ring *ring;
};

struct clients; /* immutable, but for keys that are kept (bearer/keys.c) */

/* Reads the file; the caller frees it with clients_free(). ERR_NOT_FOUND, ERR_DENIED, ERR_INVALID,
 * ERR_TOO_LARGE; the message names line and section. An empty file has no client. */
MUST_USE err_code clients_load(const char *path, struct clients **out, struct err *e);
/* Likewise of a text, for a file that is about to be written. */
MUST_USE err_code clients_parse(sv text, struct clients **out, struct err *e);
void clients_free(struct clients *clients);
DEFINE_CLEANUP(struct clients, clients_free)

size_t clients_count(const struct clients *clients);
const struct client *clients_at(const struct clients *clients, size_t i); /* as the file has them */
const struct client *clients_find(const struct clients *clients, sv id);  /* NULL: none */
/* May the client get tokens of that data store now? */
bool client_may(const struct client *client, sv datastore_id, int64_t now_ms);
/* 1 to CLIENT_ID_MAX of letters, digits, . and - */
bool client_id_ok(sv id);
