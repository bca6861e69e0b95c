/* jose_private.h - what the rooms of jose/ share.
 *
 *   base64url.c  bytes as text in one spelling
 *   alg.c        the table of algorithms
 *   jwk.c        keys
 *   jws.c        tokens are read and verified
 *   sign.c       tokens are made
 *   make.c       private keys are made, and written down
 * Floor: codec. */
#pragma once
#include "codec/jose/jose.h"
#include "codec/json.h"

#include <openssl/evp.h>

typedef enum { JOSE_RSA, JOSE_RSA_PSS, JOSE_EC, JOSE_ED25519 } jose_family;

struct jose_form { /* of an algorithm */
    const char *name;
    jose_family family;
    const char *digest; /* NULL: the algorithm has its own */
    const char *crv;    /* of its keys in a JWK; NULL: RSA */
    const char *group;  /* OpenSSL's name of it */
    size_t coordinate;  /* bytes of x, of y, of r and of s */
};
extern const struct jose_form jose_forms[JOSE_N_ALGS];

struct jose_key {
    EVP_PKEY *pkey;
    unsigned algs; /* those that it can verify */
    sv kid;        /* SV_NONE: it has no name */
};
struct jose_keys {
    struct arena *arena; /* holds all below, this struct too */
    struct jose_key *items;
    size_t n;
};

struct jose_signer {
    struct arena *arena; /* holds this struct too */
    EVP_PKEY *pkey;
    jose_alg alg;
    sv members; /* of its JWK, those that make the key, in the thumbprint's order */
    sv kid;
};

/* ---- sign.c ---- */
/* pkey is taken, also when this fails. Errors as jose_signer_read(). */
MUST_USE err_code jose_signer_of(EVP_PKEY **pkey, jose_alg alg, struct jose_signer **out,
                                 struct err *e);
/* A number of the key in base64url; len 0: as many bytes as it needs. */
MUST_USE err_code jose_number_text(struct arena *a, EVP_PKEY *key, const char *name, size_t len,
                                   sv *out, struct err *e);
