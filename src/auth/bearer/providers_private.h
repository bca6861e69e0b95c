/* providers_private.h - the providers in memory.
 *
 *   providers_find.c   a section by its name
 *   providers_lines.c  the file, line by line
 *   providers.c        sections become providers, their files are read
 *   fetch.c            one exchange with a provider
 *   keys.c             keys of a provider, kept as long as it says
 *   claims.c           what a token says, held against what it must say
 *   introspect.c       a provider is asked about a token
 *   idp_lambda.c       so is a function
 *   tokens.c           what tokens gave lately
 *   bearing.c          the providers as their file was at one time, and the newest of these
 *   bearer.c           all of it, for a request
 * Floor: auth. */
#pragma once
#include "auth/bearer/bearer.h"
#include "codec/jose/jose.h"
#include "codec/json.h"

#include <pthread.h>

struct role {
    sv arn, name; /* name: behind ":role/" */
    sv policy_name;
    struct policy *policy;
    struct credential as; /* what callers under it are to the rest of the program */
    size_t line;
};

struct fetcher;  /* fetch.c */
struct key_ring; /* keys.c */

struct issuer {
    sv name; /* its URL */
    sv jwks_uri, jwks_file, introspection, client_id, client_secret;
    sv algorithms; /* as they are written */
    unsigned algs; /* a set of JOSE_BIT() */
    sv audience;   /* by blanks; empty: the data store's endpoint */
    sv patient_claim, user_claim;
    sv role_arn;
    const struct role *role;
    size_t line;
    struct fetcher *asks;  /* of introspection; NULL: none */
    struct key_ring *ring; /* NULL: neither jwks_uri nor jwks_file */
};

struct lambda {
    sv arn, url;
    size_t line;
    struct fetcher *asks;
};

struct providers {
    struct arena *arena;            /* holds all below, this struct too */
    const char *path;               /* of the file */
    unsigned char seen[SHA256_LEN]; /* the files' looks, before they were read */
    struct issuer *issuers;
    struct lambda *lambdas;
    struct role *roles;
    size_t n_issuers, n_lambdas, n_roles;
};

/* ---- providers_find.c ---- */
const struct issuer *providers_issuer(const struct providers *providers, sv name); /* or NULL */
const struct lambda *providers_lambda(const struct providers *providers, sv arn);
const struct role *providers_role(const struct providers *providers, sv arn);

/* ---- providers.c ---- */
const char *providers_path(const struct providers *providers);
/* Are the files as they were before they were read? look: as they are now. */
bool providers_as_read(const struct providers *providers, unsigned char look[SHA256_LEN]);
/* Keys that now has fetched are those of the issuers of fresh with the same name and address. */
void providers_keep_keys(struct providers *fresh, const struct providers *now);

/* ---- bearing.c ---- */
struct bearing_parts {
    struct providers *providers;
    /* Strangers fill the second with what they make up, and push nobody out of the first. */
    struct tokens *good, *bad;
};
struct bearings; /* the place of the newest */
struct bearings *bearings_new(void);
void bearings_free(struct bearings *all);
/* providers: taken; those before live on while requests hold them. */
void bearings_put(struct bearings *all, struct providers **providers);
/* The newest, which the arena holds from now on. */
const struct bearing_parts *bearings_get(struct bearings *all, struct arena *a);
/* See bearer.h. */
MUST_USE err_code bearings_show(struct bearings *all, bearer_providers_fn fn, void *ctx,
                                struct err *e);
MUST_USE err_code bearings_reload(struct bearings *all, bearer_providers_fn check, void *ctx,
                                  struct err *e);
bool bearings_as_read(struct bearings *all, unsigned char look[SHA256_LEN]);

/* ---- providers_lines.c ---- */
/* Reads the sections into the arena; what is behind names is not looked at yet. */
MUST_USE err_code providers_lines_read(sv text, struct providers *out, struct err *e);

/* ---- fetch.c ---- */
#define FETCH_ANSWER_MAX (64u << 10) /* bytes */
#define FETCH_MS         3000u       /* for all of an exchange */
struct fetch_request {
    const char *content_type; /* of the body */
    sv body;                  /* SV_NONE: GET */
    sv user, password;        /* SV_NONE: nobody */
};
struct fetch_answer {
    long status;
    struct buf body;    /* the caller's to free */
    uint64_t max_age_s; /* as Cache-Control and Age say; FETCH_NO_AGE: they say nothing */
    bool no_store;
    bool function_error; /* x-amz-function-error is there */
};
#define FETCH_NO_AGE UINT64_MAX
/* url: https, or http to loopback. */
struct fetcher *fetcher_new(sv url, unsigned timeout_ms);
void fetcher_free(struct fetcher *fetcher);
/* One exchange; no redirect is followed. ERR_UNAVAILABLE: no answer, a large one, or none in
 * time. */
MUST_USE err_code fetch(struct fetcher *fetcher, const struct fetch_request *req,
                        struct fetch_answer *out, struct err *e);
/* Whoever asked found the answer of use, or not: counted for a monitor. */
void fetch_note(struct fetcher *fetcher, bool good);
void fetch_count(struct fetcher *fetcher, uint64_t *good, uint64_t *bad);
static inline void fetch_answer_done(struct fetch_answer *answer)
{
    buf_done(&answer->body);
}

/* ---- keys.c ---- */
struct key_ring *key_ring_new(struct fetcher **from);     /* taken */
struct key_ring *key_ring_fixed(struct jose_keys **keys); /* taken */
/* One more holder, and one less; the last frees it. */
struct key_ring *key_ring_ref(struct key_ring *ring);
void key_ring_free(struct key_ring *ring);
/* Where its keys are fetched; NULL: they are not, or there is no ring. Borrowed. */
struct fetcher *key_ring_asks(struct key_ring *ring);
/* Is the token signed by a key of the ring? Keys are fetched when there are none, when they are too
 * old, and once in a while when the token names one that is not there.
 *   now_us  clock_mono_us()
 * ERR_INVALID: no, and why. ERR_UNAVAILABLE: the keys cannot be had. */
MUST_USE err_code key_ring_verify(struct key_ring *ring, const struct jose_jws *jws, unsigned algs,
                                  uint64_t now_us, struct err *e);

/* ---- claims.c ---- */
struct token_facts { /* what a token says of its caller; the arena's */
    sv scope;        /* scopes with blanks between */
    sv patient, user_type, user_id;
    sv issuer, client_id, subject, token_id;
    int64_t exp_s;
};
struct claims_wanted {
    sv issuer; /* exactly this one; SV_NONE: any */
    bool may_lack_issuer;
    bool needs_start;  /* nbf must be there */
    bool may_have_uid; /* without sub, uid says who it is */
    sv audience;       /* one of these, with blanks between; empty: the endpoint */
    sv endpoint;       /* of the data store, no slash behind */
    sv patient_claim, user_claim;
    int64_t now_ms;
};
#define CLAIMS_LEEWAY_S 60
/* Holds claims against what is wanted. ERR_AUTH_SIGNATURE, ERR_AUTH_EXPIRED; the context says
 * why. */
MUST_USE err_code claims_read(struct arena *a, yyjson_val *claims, const struct claims_wanted *want,
                              struct token_facts *out, struct err *e);
/* Access key id and ARN of out: the same caller has the same in each request, and nobody's name
 * stands in them. */
MUST_USE err_code token_name_caller(struct arena *a, const struct token_facts *f, sv role,
                                    sv account_id, struct auth_caller *out, struct err *e);
/* The refusal of a token: its message tells nothing, its context has the reason. */
err_code claims_refused(struct err *e, const char *why);

/* ---- introspect.c ---- */
/* What the issuer's server says of the token. Errors as bearer_check(). */
MUST_USE err_code introspect(const struct issuer *issuer, struct arena *a, sv token,
                             const struct claims_wanted *want, struct token_facts *out,
                             struct err *e);

/* ---- idp_lambda.c ---- */
/* What the function says of the token, and under which role the caller acts. Errors likewise. */
MUST_USE err_code idp_lambda_ask(const struct lambda *lambda, const struct providers *providers,
                                 struct arena *a, sv token, sv operation,
                                 const struct claims_wanted *want, struct token_facts *out,
                                 const struct role **role, struct err *e);

/* ---- tokens.c ---- */
struct tokens;
struct token_answer {
    err_code code; /* ERR_OK: role and facts count */
    const struct role *role;
    struct token_facts facts;
    char why[96]; /* of a refusal */
};
struct tokens *tokens_new(size_t n_slots);
void tokens_free(struct tokens *tokens);
/* What is kept under the key until now; its texts are copied into the arena. False: nothing, or the
 * arena is full. */
bool tokens_get(struct tokens *tokens, const unsigned char key[32], uint64_t now_us,
                struct arena *a, struct token_answer *out);
/* Keeps a copy until then; it takes the place of what has the same slot. */
void tokens_put(struct tokens *tokens, const unsigned char key[32], uint64_t until_us,
                const struct token_answer *answer);
