/* auth.c - a request is held against the keys that we know, and its caller against his policy.
 *
 *   claim -> access key -> hash of the body -> signature     in the order in which AWS names faults
 *
 * The callers are those of the newest reading of their files (snapshot.c). A refusal never tells
 * whether the resource exists. */
#include "auth/auth_private.h"

#include "auth/bearer/bearer.h"
#include "base/limits.h"
#include "codec/hash.h"
#include "codec/sigv4.h"
#include "codec/uri.h"

#define QUERY_PAIRS_MAX 128u /* as codec/sigv4 reads */

#define SERVICE          SV_LIT("healthlake")
#define UNSIGNED_PAYLOAD SV_LIT("UNSIGNED-PAYLOAD")
#define HASH_OF_NOTHING  SV_LIT("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

struct auth {
    struct arena *arena; /* holds this struct and its texts */
    bool open;           /* everybody may do all */
    const char *path;    /* of the credentials; NULL when open */
    struct newest *callers;
    struct bearer *bearer; /* NULL: no access token is taken */
    sv region, account_id;
    bool unsigned_payload;
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
    auth->callers = newest_new();
    auth->region = arena_sv(a, cfg->region);
    auth->account_id = arena_sv(a, cfg->account_id);
    auth->path = cfg->open ? NULL : arena_str(a, sv_from(cfg->credentials_path));
    if (auth->region.ptr == NULL || auth->account_id.ptr == NULL ||
        (!cfg->open && auth->path == NULL))
        return arena_oom(a, e);
    auth->unsigned_payload = cfg->unsigned_payload;
    auth->open = cfg->open;
    if (cfg->providers)
        auth->bearer = bearer_new(cfg->providers, cfg->account_id);
    if (!cfg->open) {
        struct snapshot *first;
        TRY(snapshot_new(auth->path, &first, e));
        newest_put(auth->callers, first);
    }
    *out = auth;
    auth = NULL;
    return ERR_OK;
}

void auth_free(struct auth *auth)
{
    if (auth == NULL)
        return;
    bearer_free(auth->bearer);
    newest_free(auth->callers);
    arena_free(auth->arena);
}

struct bearer *auth_bearer(const struct auth *auth)
{
    return auth->bearer;
}

bool auth_is_open(const struct auth *auth)
{
    return auth->open;
}

const struct credential *auth_find(struct auth *auth, sv access_key_id, struct arena *a)
{
    struct snapshot *now = auth->open ? NULL : newest_get(auth->callers, a);
    return now ? credentials_find(snapshot_credentials(now), access_key_id) : NULL;
}

err_code auth_show(struct auth *auth, auth_callers_fn fn, void *ctx, struct err *e)
{
    struct snapshot *now = newest_ref(auth->callers);
    err_code rc = now ? fn(ctx, snapshot_credentials(now), e) : ERR_OK;
    snapshot_unref(now);
    return rc;
}

err_code auth_reload(struct auth *auth, auth_callers_fn check, void *ctx, struct err *e)
{
    struct snapshot *fresh;
    if (auth->open)
        return ERR_OK;
    TRY(snapshot_new(auth->path, &fresh, e));
    err_code rc = check(ctx, snapshot_credentials(fresh), e);
    if (rc != ERR_OK) {
        snapshot_unref(fresh);
        return rc;
    }
    newest_put(auth->callers, fresh);
    return ERR_OK;
}

bool auth_as_read(struct auth *auth, unsigned char look[SHA256_LEN])
{
    struct snapshot *now = newest_ref(auth->callers);
    if (now == NULL)
        return true;
    credentials_look(snapshot_credentials(now), look);
    bool same = credentials_as_read(snapshot_credentials(now), look);
    snapshot_unref(now);
    return same;
}

/* ---- who calls ---- */

static err_code caller_set(const struct auth *auth, const struct http_request *req, int64_t now_ms,
                           const struct credential *credential, struct auth_caller *out,
                           struct err *e)
{
    struct arena *a = req->arena;
    sv arn = ARENA_JOIN(a, SV_LIT("arn:aws:iam::"), auth->account_id, SV_LIT(":user/"),
                        credential ? credential->name : SV_LIT("anonymous"));
    if (arn.ptr == NULL)
        return arena_oom(a, e);
    *out = (struct auth_caller){ .credential = credential,
                                 .access_key_id = credential ? credential->access_key_id : SV_NONE,
                                 .arn = arn,
                                 .origin = { req->peer, req->secure, now_ms } };
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
    struct snapshot *callers = newest_get(auth->callers, req->arena);
    const struct credential *credential =
        credentials_find(snapshot_credentials(callers), k->claim.access_key_id);
    /* in the words for a wrong session token: he is no caller of ours either way */
    if (credential == NULL)
        return ERR(e, ERR_AUTH_UNKNOWN_KEY,
                   "The security token included in the request is invalid");
    if (credential_is_expired(credential, now_ms))
        return ERR(e, ERR_AUTH_KEY_EXPIRED,
                   "The security token included in the request is expired");
    k->credential = credential;
    TRY(said_hash(req, &k->said, e));
    if (sv_eq(k->said, UNSIGNED_PAYLOAD))
        TRY(check_unsigned(auth, req, e));
    else if (k->said.ptr && !sv_is_hex(k->said, SHA256_HEX_LEN))
        return wrong_hash(e);
    /* for our region and service, since sigv4_verify() accepts no others; the date has 8 digits,
     * since the claim's form was checked */
    snapshot_signing_key(callers, credential, k->claim.scope.date.ptr, auth->region, SERVICE,
                         &k->key);
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
    if (auth->open) {
        TRY(caller_set(auth, req, now_ms, NULL, &pass.caller, e));
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
        TRY(caller_set(auth, req, now_ms, k.credential, &pass.caller, e));
        pass.proven = true;
        pass.hash = k.said;
    } else {
        TRY(sigv4_precheck(&k.req, &k.claim, &k.expect, e));
    }
    *out = pass;
    return ERR_OK;
}

/* A body may take long to arrive, and the files may have been read again meanwhile. The caller goes
 * on when the newest files have the same key, under the policy that they give him. */
static err_code still_there(struct auth *auth, const struct http_request *req,
                            const struct auth_caller *before, struct auth_caller *out,
                            struct err *e)
{
    const struct credential *was = before->credential, *is;
    struct auth_caller caller = *before;
    if (was) {
        is = credentials_find(snapshot_credentials(newest_get(auth->callers, req->arena)),
                              was->access_key_id);
        if (is == NULL || !hash_equal(is->secret_key, was->secret_key) ||
            !hash_equal(is->session_token, was->session_token))
            return ERR(e, ERR_AUTH_UNKNOWN_KEY,
                       "The security token included in the request is invalid");
        TRY(caller_set(auth, req, before->origin.now_ms, is, &caller, e));
    }
    *out = caller;
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
        return still_there(auth, req, &pass->caller, out, e);
    }
    if (auth->open)
        return caller_set(auth, req, now_ms, NULL, out, e);
    TRY(check_prepare(auth, req, pass ? pass->begun_ms : now_ms, &k, e));
    TRY(payload_hash(req, k.said, &k.req.payload_hash, e));
    TRY(sigv4_verify(req->arena, &k.req, &k.claim, &k.expect, e));
    return caller_set(auth, req, now_ms, k.credential, out, e);
}

/* ---- what may he do ---- */

err_code auth_allows(const struct auth_caller *caller, sv action, sv resource,
                     const struct policy_context *context, struct err *e)
{
    struct policy_by by;
    return auth_allows_by(caller, action, resource, context, &by, e);
}

err_code auth_allows_by(const struct auth_caller *caller, sv action, sv resource,
                        const struct policy_context *context, struct policy_by *by, struct err *e)
{
    const struct credential *credential = caller->credential;
    struct policy_context full = context ? *context : (struct policy_context){ 0 };
    full.origin = &caller->origin;
    *by = (struct policy_by){ 0 };
    policy_decision d =
        credential ? credential_decide_by(credential, action, resource, &full, by) : POLICY_ALLOWED;
    if (d == POLICY_ALLOWED)
        return ERR_OK;
    /* The reason is the one for a data store that does not exist. Another one would tell that this
     * one does. */
    full.tags_unknown = true;
    if (credential_decide(credential, action, resource, &full) == POLICY_DENIED)
        return ERR(e, ERR_DENIED,
                   "User: %.*s is not authorized to perform: %.*s on resource: %.*s with an "
                   "explicit deny in an identity-based policy",
                   SV_FMT(caller->arn), SV_FMT(action), SV_FMT(sv_head(resource, 256)));
    return ERR(e, ERR_DENIED,
               "User: %.*s is not authorized to perform: %.*s on resource: %.*s because no "
               "identity-based policy allows the %.*s action",
               SV_FMT(caller->arn), SV_FMT(action), SV_FMT(sv_head(resource, 256)), SV_FMT(action));
}
