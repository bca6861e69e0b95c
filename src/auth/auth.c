/* auth.c - a request is held against the keys that we know, and its caller against his policy.
 *
 *   claim -> access key -> hash of the body -> signature     in the order in which AWS names faults
 *
 * Checking a signature needs a key that is made of the caller's secret for each day; 64 such keys
 * are kept. A refusal never tells whether the resource exists. */
#include "auth/auth.h"

#include "base/limits.h"
#include "codec/hash.h"
#include "codec/sigv4.h"
#include "codec/uri.h"

#include <pthread.h>

#define QUERY_PAIRS_MAX 128u /* as codec/sigv4 reads */

#define SERVICE          SV_LIT("healthlake")
#define UNSIGNED_PAYLOAD SV_LIT("UNSIGNED-PAYLOAD")
#define HASH_OF_NOTHING  SV_LIT("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

/* A signing key is good for a day, and takes four MACs to make. A new one replaces the one that is
 * in its slot. */
#define KEYS 64u
struct known_key {
    const struct credential *of; /* NULL: free */
    char date[8];
    struct hash_hmac_key key;
};

struct auth {
    struct arena *arena;             /* holds this struct and its texts */
    struct credentials *credentials; /* NULL: everybody may do all */
    sv region, account_id;
    bool unsigned_payload;
    struct {
        pthread_mutex_t lock;
        struct known_key keys[KEYS];
    } locked;
};

err_code auth_new(const struct auth_config *cfg, struct auth **out, struct err *e)
{
    struct arena *a = arena_new(64u << 10);
    CLEANUP(auth_free) struct auth *auth = ARENA_NEW(a, struct auth);
    if (auth == NULL) {
        err_code rc = arena_oom(a, e);
        arena_free(a);
        return rc;
    }
    memset(auth, 0, sizeof *auth);
    auth->arena = a;
    pthread_mutex_init(&auth->locked.lock, NULL);
    auth->region = arena_sv(a, cfg->region);
    auth->account_id = arena_sv(a, cfg->account_id);
    if (auth->region.ptr == NULL || auth->account_id.ptr == NULL)
        return arena_oom(a, e);
    auth->unsigned_payload = cfg->unsigned_payload;
    if (!cfg->open)
        TRY(credentials_load(cfg->credentials_path, &auth->credentials, e));
    *out = auth;
    auth = NULL;
    return ERR_OK;
}

void auth_free(struct auth *auth)
{
    if (auth == NULL)
        return;
    credentials_free(auth->credentials);
    pthread_mutex_destroy(&auth->locked.lock);
    memset(auth->locked.keys, 0, sizeof auth->locked.keys);
    arena_free(auth->arena);
}

sv auth_role_passer(const struct auth *auth)
{
    const struct credential *credential =
        auth->credentials ? credentials_could(auth->credentials, SV_LIT("iam:PassRole")) : NULL;
    return credential ? credential->name : SV_NONE;
}

const struct credentials *auth_credentials(const struct auth *auth)
{
    return auth->credentials;
}

bool auth_is_open(const struct auth *auth)
{
    return auth->credentials == NULL;
}

/* ---- who calls ---- */

static err_code caller_set(const struct auth *auth, struct arena *a,
                           const struct credential *credential, struct auth_caller *out,
                           struct err *e)
{
    sv arn = ARENA_JOIN(a, SV_LIT("arn:aws:iam::"), auth->account_id, SV_LIT(":user/"),
                        credential ? credential->name : SV_LIT("anonymous"));
    if (arn.ptr == NULL)
        return arena_oom(a, e);
    *out =
        (struct auth_caller){ credential, credential ? credential->access_key_id : SV_NONE, arn };
    return ERR_OK;
}

/* The parts of a request that a signature covers. HealthLake signs as all of AWS does but S3: the
 * path is normalised and encoded once more. */
static err_code as_signed(const struct http_request *req, struct sigv4_request *out, struct err *e)
{
    struct sigv4_header *h = arena_alloc(req->arena, (req->n_headers + 1) * sizeof *h);
    if (h == NULL)
        return arena_oom(req->arena, e);
    for (size_t i = 0; i < req->n_headers; i++)
        h[i] = (struct sigv4_header){ req->headers[i].name, req->headers[i].value };
    *out = (struct sigv4_request){ .method = req->method,
                                   .path = sv_head(req->target, sv_find(req->target, '?')),
                                   .query = req->query,
                                   .headers = h,
                                   .n_headers = req->n_headers,
                                   .normalize_path = true,
                                   .double_encode_path = true };
    return ERR_OK;
}

/* The hash that the client says its body has: a header, or in presigned requests a parameter, where
 * some signers move it. SV_NONE: he says none; his signature covers the hash all the same. */
static err_code said_hash(const struct http_request *req, sv *out, struct err *e)
{
    sv said = sv_trim(http_header_get(req, "x-amz-content-sha256"));
    struct uri_pair *pairs;
    size_t n;
    TRY(uri_query_split(req->arena, req->query, QUERY_PAIRS_MAX, &pairs, &n, e));
    for (size_t i = 0; i < n && said.ptr == NULL; i++)
        if (sv_eq(pairs[i].name, SV_LIT("X-Amz-Content-Sha256")))
            said = pairs[i].value;
    *out = said;
    return ERR_OK;
}

/* A body that the signature does not cover can be changed on the way. That does no harm to a read
 * without a body; any other request needs the option that allows it. */
static err_code check_unsigned(const struct auth *auth, const struct http_request *req,
                               struct err *e)
{
    bool reads = sv_eq(req->method, SV_LIT("GET")) || sv_eq(req->method, SV_LIT("HEAD"));
    bool empty = req->body.len == 0 && req->length == 0;
    if (auth->unsigned_payload || (reads && empty))
        return ERR_OK;
    return ERR(e, ERR_AUTH_SIGNATURE,
               "UNSIGNED-PAYLOAD is taken for reads without a body alone: the signature must cover "
               "the body");
}

static err_code wrong_hash(struct err *e)
{
    return ERR(
        e, ERR_AUTH_SIGNATURE,
        "The value of X-Amz-Content-Sha256 is neither UNSIGNED-PAYLOAD nor the SHA-256 of the "
        "body that was received");
}

/* The hash of the body as it came; or UNSIGNED-PAYLOAD if the client said so, which his signature
 * must then confirm.
 *   said  the hash by the client's word; SV_NONE: he said none */
static err_code payload_hash(const struct http_request *req, sv said, sv *out, struct err *e)
{
    if (sv_eq(said, UNSIGNED_PAYLOAD)) {
        *out = UNSIGNED_PAYLOAD;
        return ERR_OK;
    }
    if (req->body.len == 0 && (said.ptr == NULL || sv_eq(said, HASH_OF_NOTHING))) {
        *out = HASH_OF_NOTHING;
        return ERR_OK;
    }
    unsigned char digest[SHA256_LEN];
    char *hex = arena_alloc(req->arena, SHA256_HEX_LEN);
    if (hex == NULL)
        return arena_oom(req->arena, e);
    hash_sha256_of(req->body, digest);
    hash_hex(digest, SHA256_LEN, hex);
    if (said.ptr && !sv_eq(said, sv_make(hex, SHA256_HEX_LEN)))
        return wrong_hash(e);
    *out = sv_make(hex, SHA256_HEX_LEN);
    return ERR_OK;
}

/* The caller's signing key of the claim's day, for our region and service: sigv4_verify() accepts
 * no others. */
static void signing_key(struct auth *auth, const struct credential *credential,
                        const struct sigv4_claim *claim, struct hash_hmac_key *out)
{
    unsigned char made[SHA256_LEN];
    /* 8 digits: the claim's form was checked */
    const char *date = claim->scope.date.ptr;
    size_t slot = ((size_t)(uintptr_t)credential / sizeof(void *) + (size_t)date[7] * 7u) % KEYS;
    struct known_key *k = &auth->locked.keys[slot];
    pthread_mutex_lock(&auth->locked.lock);
    bool known = k->of == credential && memcmp(k->date, date, sizeof k->date) == 0;
    if (known)
        *out = k->key;
    pthread_mutex_unlock(&auth->locked.lock);
    if (known)
        return;
    const struct sigv4_scope scope = { claim->scope.date, auth->region, SERVICE };
    sigv4_signing_key(credential->secret_key, &scope, made);
    hash_hmac_key_set(out, sv_make(made, sizeof made));
    explicit_bzero(made, sizeof made);
    pthread_mutex_lock(&auth->locked.lock);
    k->of = credential;
    memcpy(k->date, date, sizeof k->date);
    k->key = *out;
    pthread_mutex_unlock(&auth->locked.lock);
}

/* ---- the two steps ---- */

struct check { /* a request's claim, and all that it is held against */
    struct sigv4_request req;
    struct sigv4_claim claim;
    const struct credential *credential;
    struct hash_hmac_key key;
    struct sigv4_expect expect;
    sv said; /* hash of the body by the client's word; SV_NONE: he said none */
};

/* All that can be checked without the body and without a MAC over the request. */
static err_code check_prepare(struct auth *auth, const struct http_request *req, int64_t now_ms,
                              struct check *k, struct err *e)
{
    TRY(as_signed(req, &k->req, e));
    TRY(sigv4_claim_parse(req->arena, &k->req, &k->claim, e));
    const struct credential *credential =
        credentials_find(auth->credentials, k->claim.access_key_id);
    /* in the words for a wrong session token: he is no caller of ours either way */
    if (credential == NULL)
        return ERR(e, ERR_AUTH_UNKNOWN_KEY,
                   "The security token included in the request is invalid");
    k->credential = credential;
    TRY(said_hash(req, &k->said, e));
    if (sv_eq(k->said, UNSIGNED_PAYLOAD))
        TRY(check_unsigned(auth, req, e));
    else if (k->said.ptr && !sv_is_hex(k->said, SHA256_HEX_LEN))
        return wrong_hash(e);
    signing_key(auth, credential, &k->claim, &k->key);
    k->expect = (struct sigv4_expect){ .region = auth->region,
                                       .service = SERVICE,
                                       .now_ms = now_ms,
                                       .skew_s = LIMIT_CLOCK_SKEW_S,
                                       .secret_key = credential->secret_key,
                                       .signing_key = &k->key,
                                       .session_token = credential->session_token };
    return ERR_OK;
}

err_code auth_begin(struct auth *auth, const struct http_request *req, int64_t now_ms,
                    struct auth_pass *out, struct err *e)
{
    struct check k;
    struct auth_pass pass = { .begun_ms = now_ms };
    if (auth->credentials == NULL) {
        TRY(caller_set(auth, req->arena, NULL, &pass.caller, e));
        pass.proven = true;
        pass.hash = UNSIGNED_PAYLOAD;
        *out = pass;
        return ERR_OK;
    }
    TRY(check_prepare(auth, req, now_ms, &k, e));
    /* the signature covers this hash, even if its header is not signed */
    if (k.said.ptr) {
        k.req.payload_hash = k.said;
        TRY(sigv4_verify(req->arena, &k.req, &k.claim, &k.expect, e));
        TRY(caller_set(auth, req->arena, k.credential, &pass.caller, e));
        pass.proven = true;
        pass.hash = k.said;
    } else {
        TRY(sigv4_precheck(&k.req, &k.claim, &k.expect, e));
    }
    *out = pass;
    return ERR_OK;
}

err_code auth_check(struct auth *auth, const struct http_request *req, int64_t now_ms,
                    struct auth_caller *out, struct err *e)
{
    const struct auth_pass *pass = req->left;
    struct check k;
    sv hash;
    if (pass && pass->proven) {
        TRY(payload_hash(req, pass->hash, &hash, e));
        *out = pass->caller;
        return ERR_OK;
    }
    if (auth->credentials == NULL)
        return caller_set(auth, req->arena, NULL, out, e);
    TRY(check_prepare(auth, req, pass ? pass->begun_ms : now_ms, &k, e));
    TRY(payload_hash(req, k.said, &k.req.payload_hash, e));
    TRY(sigv4_verify(req->arena, &k.req, &k.claim, &k.expect, e));
    return caller_set(auth, req->arena, k.credential, out, e);
}

/* ---- what may he do ---- */

err_code auth_allows(const struct auth_caller *caller, sv action, sv resource,
                     const struct policy_context *context, struct err *e)
{
    const struct credential *credential = caller->credential;
    policy_decision d =
        credential ? credential_decide(credential, action, resource, context) : POLICY_ALLOWED;
    if (d == POLICY_ALLOWED)
        return ERR_OK;
    /* The reason is the one for a data store that does not exist. Another one would tell that this
     * one does. */
    struct policy_context unknown = context ? *context : (struct policy_context){ 0 };
    unknown.tags_unknown = true;
    if (credential_decide(credential, action, resource, &unknown) == POLICY_DENIED)
        return ERR(e, ERR_DENIED,
                   "User: %.*s is not authorized to perform: %.*s on resource: %.*s with an "
                   "explicit deny in an identity-based policy",
                   SV_FMT(caller->arn), SV_FMT(action), SV_FMT(sv_head(resource, 256)));
    return ERR(e, ERR_DENIED,
               "User: %.*s is not authorized to perform: %.*s on resource: %.*s because no "
               "identity-based policy allows the %.*s action",
               SV_FMT(caller->arn), SV_FMT(action), SV_FMT(sv_head(resource, 256)), SV_FMT(action));
}
