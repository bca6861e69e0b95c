/* issue.h - our own token endpoint: a registered client proves with its key who it is, and gets a
 * short token for one data store (SMART Backend Services).
 *
 *   issue_token    a form -> a token, or OAuth's refusal       on a thread that may wait
 *   issue_jwks     the public keys of our tokens
 *   issue_check    a token of ours -> its caller            never waits
 *
 * The file of clients is looked at whenever it is needed, and read again when it has changed. What
 * is broken changes nothing. All calls are thread-safe.
 * Source: SMART App Launch 2.2, "Backend Services"; RFC 6749, 7521, 7523.   Floor: auth. */
#pragma once
#include "auth/auth.h"
#include "auth/issue/clients.h"
#include "store/records.h"

#define ISSUE_TOKEN_S    300u         /* life of a token */
#define ISSUE_FORM_MAX   (32u << 10)  /* bytes of a request */
#define ISSUE_REPLAY_MAX 100000u      /* assertions at a time */
#define ISSUE_PATH       "auth/token" /* below [base]/ */
#define ISSUE_JWKS_PATH  "auth/jwks"
#define ISSUE_NAME       "auth" /* the issuer's, below [base]/ */

struct issue;
/* The clients were read again, or (e is not NULL) could not be. From any thread, without a lock. */
typedef void (*issue_told_fn)(void *ctx, size_t n_clients, const struct err *e);

struct issue_config {    /* borrowed; outlives it */
    const char *clients; /* the file of clients */
    const char *keys;    /* the folder of our keys; made, unless the records are shared */
    struct records *records;
    size_t replay_max;  /* 0: ISSUE_REPLAY_MAX */
    issue_told_fn told; /* NULL: nobody */
    void *ctx;
};
/* Errors of clients_load(), of the keys' folder and of the records; the message names which. */
MUST_USE err_code issue_open(const struct issue_config *cfg, int64_t now_ms, struct issue **out,
                             struct err *e);
void issue_close(struct issue *issue); /* NULL is allowed */
DEFINE_CLEANUP(struct issue, issue_close)

struct issue_ask { /* all borrowed */
    sv base;       /* [base] of the data store, no slash behind */
    sv datastore_id;
    bool v2;         /* the data store takes scopes of version 2 */
    sv peer;         /* address */
    bool identified; /* the request says in another way, too, who calls */
    sv content_type, query, form;
    int64_t now_ms;   /* clock_wall_ms() */
    uint64_t mono_us; /* clock_mono_us() */
};
struct issue_answer { /* texts are owned by the arena, or constant */
    unsigned status;
    const char *error; /* RFC 6749, 5.2; NULL: a token is given */
    const char *description;
    unsigned retry_after_s; /* 0: nothing is said */
    sv token, scope;
    sv client_id;    /* of a registered client, proven or not; empty: of none */
    bool proven;     /* it is that client */
    const char *why; /* of a refusal, for the log: constant, nothing of the request */
};
void issue_token(struct issue *issue, struct arena *a, const struct issue_ask *ask,
                 struct issue_answer *out);

MUST_USE err_code issue_jwks(struct issue *issue, struct arena *a, int64_t now_ms, sv *out,
                             struct err *e);

struct issue_bearer { /* all borrowed */
    sv token;
    sv base; /* of the data store that is asked, no slash behind */
    sv datastore_id;
    bool v2;          /* the data store takes scopes of version 2 */
    sv account_id;    /* in ARNs */
    int64_t now_ms;   /* clock_wall_ms() */
    uint64_t mono_us; /* clock_mono_us() */
    struct policy_origin origin;
};
/* The caller of a request with a token of ours; he is owned by the arena, his credential lives with
 * issue. The context of an error says which check failed, for the log; the message does not.
 * ERR_AUTH_SIGNATURE, ERR_AUTH_EXPIRED, ERR_DENIED, ERR_TOO_LARGE: as bearer_check(). */
MUST_USE err_code issue_check(struct issue *issue, struct arena *a, const struct issue_bearer *q,
                              struct auth_caller *out, struct err *e);
