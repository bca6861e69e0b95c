/* jose.h - JSON Web Keys, and compact JSON Web Signatures: read, verified and made.
 *
 *   jose_keys_read   a JWKS -> the public keys in it that can verify
 *   jose_jws_read    a token -> its parts, of which nothing is proven yet
 *   jose_jws_verify  a token is held against keys
 *   jose_sign        a payload -> a token
 *
 * OpenSSL does the cryptography. What it does not look at is checked here: the algorithm is one of
 * ten with public keys (never none, never an HMAC), the key's kind, curve and size are those of the
 * algorithm, base64url has one spelling, and no member of an object stands twice. Headers that
 * bring or name a key (jwk, jku, x5u, x5c) are passed over; crit is refused, because we know none
 * of what it may ask.
 * Limits: below.   Source: RFC 7515, 7517, 7518, 7638, 8037, 8725.   Floor: codec. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"

#define JOSE_TOKEN_MAX   (8u << 10)  /* bytes of a token */
#define JOSE_DEPTH       8u          /* nesting of a header or of claims */
#define JOSE_MEMBERS_MAX 64u         /* of one object in a header or a key */
#define JOSE_KEYS_BYTES  (64u << 10) /* of a JWKS */
#define JOSE_KEYS_MAX    32u         /* in a JWKS */
#define JOSE_RSA_MIN     2048        /* bits */
#define JOSE_RSA_MAX     8192        /* bits: a larger key makes each check slow */
#define JOSE_KID_MAX     256u        /* bytes */

typedef enum {
    JOSE_RS256,
    JOSE_RS384,
    JOSE_RS512,
    JOSE_PS256,
    JOSE_PS384,
    JOSE_PS512,
    JOSE_ES256,
    JOSE_ES384,
    JOSE_ES512,
    JOSE_EDDSA, /* with Ed25519 */
    JOSE_N_ALGS
} jose_alg;
/* A set of algorithms is one bit for each. */
#define JOSE_BIT(alg)  (1u << (alg))
#define JOSE_ALGS_ALL  (JOSE_BIT(JOSE_N_ALGS) - 1u)
#define JOSE_ALGS_SAID "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA"

/* "RS256"; false: not one of ours. */
bool jose_alg_find(sv name, jose_alg *out);

/* ---- keys (jwk.c) ---- */

struct jose_keys; /* immutable: any number of threads may verify at once */

/* The keys of a JWKS that can verify; the caller frees them with jose_keys_free(). Left out is a
 * key with private members, one for encryption, of another kind or curve, of a wrong size, and one
 * that is damaged. ERR_INVALID: no JWKS, or none of its keys can verify; the message says why the
 * first one cannot. ERR_TOO_LARGE: bytes or keys. */
MUST_USE err_code jose_keys_read(sv json, struct jose_keys **out, struct err *e);
void jose_keys_free(struct jose_keys *keys);
DEFINE_CLEANUP(struct jose_keys, jose_keys_free)
size_t jose_keys_count(const struct jose_keys *keys);

/* ---- tokens (jws.c) ---- */

struct jose_jws {
    jose_alg alg;
    sv kid;       /* SV_NONE: the header names no key */
    sv typ;       /* SV_NONE: the header names no type */
    sv covered;   /* header and payload as they came: the signature is over these bytes */
    sv payload;   /* decoded; owned by the arena */
    sv signature; /* decoded; owned by the arena */
};
/* The parts of a token. ERR_INVALID: it is no compact JWS, or one that is never taken; the message
 * says why, without any of its bytes. ERR_TOO_LARGE. */
MUST_USE err_code jose_jws_read(struct arena *a, sv token, struct jose_jws *out, struct err *e);

/* Is the token signed by one of the keys, with one of these algorithms?
 *   algs  a set of JOSE_BIT()
 * The key is the one whose kid the header names. Without a name, exactly one key must fit the
 * algorithm. ERR_NOT_FOUND: no key is meant (newer keys may help). ERR_INVALID: the algorithm is
 * not in the set, several keys are meant, or the signature is wrong. */
MUST_USE err_code jose_jws_verify(const struct jose_jws *jws, const struct jose_keys *keys,
                                  unsigned algs, struct err *e);

/* Bytes of base64url without padding, in their one spelling; owned by the arena. ERR_INVALID: a
 * byte that does not belong there, or bits that say nothing and are not 0. */
MUST_USE err_code jose_base64url_decode(struct arena *a, sv text, sv *out, struct err *e);
MUST_USE err_code jose_base64url(struct arena *a, sv bytes, sv *out, struct err *e);

/* ---- tokens of our own (sign.c) ---- */

struct jose_signer; /* immutable */

/* A private key in PEM; the caller frees it with jose_signer_free().
 *   alg  RS256, RS384 or ES384; it must fit the key
 * ERR_INVALID: no private key, or one that does not fit. Nothing of the text is kept. */
MUST_USE err_code jose_signer_read(sv pem, jose_alg alg, struct jose_signer **out, struct err *e);
void jose_signer_free(struct jose_signer *signer);
DEFINE_CLEANUP(struct jose_signer, jose_signer_free)
/* The key's name: its thumbprint (RFC 7638). Borrowed from the signer. */
sv jose_signer_kid(const struct jose_signer *signer);
/* Its public key as a JWK with kid, alg and use; owned by the arena. */
MUST_USE err_code jose_signer_public(const struct jose_signer *signer, struct arena *a, sv *out,
                                     struct err *e);
/* A token over a payload (claims as JSON); owned by the arena.
 *   typ  "at+jwt" */
MUST_USE err_code jose_sign(const struct jose_signer *signer, struct arena *a, const char *typ,
                            sv payload, sv *out, struct err *e);

/* ---- keys of our own (make.c) ---- */

/* A new private key; the caller frees it. alg: as jose_signer_read(); RSA has 3072 bits. */
MUST_USE err_code jose_signer_make(jose_alg alg, struct jose_signer **out, struct err *e);
/* It in PEM (PKCS #8), appended. It is secret: wipe what it was written to. */
MUST_USE err_code jose_signer_pem(const struct jose_signer *signer, struct buf *out, struct err *e);
/* It as a private JWK with kid and alg; owned by the arena, and as secret. */
MUST_USE err_code jose_signer_secret(const struct jose_signer *signer, struct arena *a, sv *out,
                                     struct err *e);
