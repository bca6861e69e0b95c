/* bearer.c - a token becomes a caller.
 *
 *   data store -> its provider in the file -> signature, or the provider's word -> claims
 *   -> the role's policy, and the scopes
 *
 * Answers are kept: a good one for a minute at most (half of that when it is the provider's word),
 * a bad one that the provider gave for five seconds. What hangs on more than the token is part of
 * the key under which an answer is kept. */
#include "auth/bearer/bearer.h"

#include "auth/bearer/providers_private.h"
#include "auth/smart.h"
#include "codec/hash.h"

#define SECOND_US 1000000u
#define GOOD_S    60u /* a token that was checked here */
#define TOLD_S    30u /* one of which the provider told */
#define BAD_S     5u  /* one that the provider refused */
#define TOKEN_HEX 32u /* of the name of a token that names nobody */

struct bearer {
    char account_id[16];
    struct bearings *all;
};

struct bearer *bearer_new(struct providers **providers, sv account_id)
{
    struct bearer *b = calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    (void)snprintf(b->account_id, sizeof b->account_id, "%.*s", SV_FMT(account_id));
    b->all = bearings_new();
    bearings_put(b->all, providers);
    return b;
}

void bearer_free(struct bearer *bearer)
{
    if (bearer == NULL)
        return;
    bearings_free(bearer->all);
    free(bearer);
}

const struct providers *bearer_providers(struct bearer *bearer, struct arena *a)
{
    return bearings_get(bearer->all, a)->providers;
}

err_code bearer_show(struct bearer *bearer, bearer_providers_fn fn, void *ctx, struct err *e)
{
    return bearings_show(bearer->all, fn, ctx, e);
}

err_code bearer_reload(struct bearer *bearer, bearer_providers_fn check, void *ctx, struct err *e)
{
    return bearings_reload(bearer->all, check, ctx, e);
}

bool bearer_as_read(struct bearer *bearer, unsigned char look[SHA256_LEN])
{
    return bearings_as_read(bearer->all, look);
}

/* ---- what is kept ---- */

static void key_of(const struct bearer_question *q, unsigned char out[SHA256_LEN])
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    /* a function is asked about each operation */
    const sv parts[] = { q->datastore_id,
                         q->endpoint,
                         q->issuer,
                         q->idp_lambda,
                         q->v2 ? SV_LIT("2") : SV_LIT("1"),
                         q->idp_lambda.len ? q->operation : SV_LIT(""),
                         q->token };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        uint64_t len = parts[i].len;
        hash_sha256_add(h, sv_make(&len, sizeof len));
        hash_sha256_add(h, parts[i]);
    }
    hash_sha256_take(h, out);
}

static void keep(const struct bearing_parts *b, const struct bearer_question *q,
                 const unsigned char *key, const struct token_answer *an, bool told)
{
    int64_t left_s = an->facts.exp_s - q->now_ms / 1000;
    int64_t most_s = told ? TOLD_S : GOOD_S;
    if (an->code != ERR_OK) {
        if (told)
            tokens_put(b->bad, key, q->mono_us + BAD_S * SECOND_US, an);
        return;
    }
    left_s = left_s < most_s ? left_s : most_s;
    if (left_s > 0)
        tokens_put(b->good, key, q->mono_us + (uint64_t)left_s * SECOND_US, an);
}

/* ---- what a token gives ---- */

/* A scope of version 1 ends in read, write or *; others of resources are version 2's. It may be
 * written as a URI. */
static bool is_v1(sv scope)
{
    const sv uri = SV_LIT("http://smarthealthit.org/fhir/scopes/");
    sv rest = sv_starts(scope, uri) ? sv_tail(scope, uri.len) : scope, part;
    bool cut = sv_cut(&rest, '/', &part) && rest.ptr && sv_cut(&rest, '.', &part) && rest.ptr;
    return !cut || sv_eq_cstr(rest, "read") || sv_eq_cstr(rest, "write") || sv_eq_cstr(rest, "*");
}

static err_code scopes_of(struct arena *a, const struct bearer_question *q, sv text,
                          struct smart_grant *out, struct err *e)
{
    sv rest = text, one;
    if (!q->v2 && text.len) {
        CLEANUP_BUF struct buf b = BUF_INIT(text.len + 2);
        while (sv_cut(&rest, ' ', &one))
            if (is_v1(one)) {
                TRY(buf_add(&b, one, e));
                TRY(buf_add_char(&b, ' ', e));
            }
        text = arena_sv(a, buf_sv(&b));
        if (text.ptr == NULL)
            return arena_oom(a, e);
    }
    if (smart_scopes_read(text, a, &out->scopes, &out->n_scopes, e) == ERR_OK && out->n_scopes)
        return ERR_OK;
    err_code rc = ERR(e, ERR_DENIED, "The access token gives no access to resources");
    err_context(e, "scope");
    return rc;
}

/* A token that names neither client nor subject is a caller of its own: what it starts is not for
 * whoever else comes without a name. */
static err_code name_token(struct arena *a, sv token, struct token_facts *f, struct err *e)
{
    unsigned char digest[SHA256_LEN];
    char hex[2 * SHA256_LEN];
    if (f->client_id.len || f->subject.len)
        return ERR_OK;
    hash_sha256_of(token, digest);
    hash_hex(digest, sizeof digest, hex);
    f->subject = arena_fmt(a, "token:%.*s", (int)TOKEN_HEX, hex);
    return f->subject.ptr ? ERR_OK : arena_oom(a, e);
}

static err_code caller_of(const struct bearer *b, struct arena *a, const struct bearer_question *q,
                          const struct token_answer *an, struct auth_caller *out, struct err *e)
{
    const struct token_facts *f = &an->facts;
    if (an->code != ERR_OK) {
        err_code rc = ERR(e, an->code,
                          an->code == ERR_AUTH_EXPIRED ? "The access token has expired"
                                                       : "The access token is not accepted");
        err_context(e, "%s", an->why);
        return rc;
    }
    struct auth_caller caller = { .credential = &an->role->as, .origin = q->origin };
    struct smart_grant *grant = ARENA_NEW(a, struct smart_grant);
    if (grant == NULL)
        return arena_oom(a, e);
    *grant = (struct smart_grant){ .patient = f->patient,
                                   .user_type = f->user_type,
                                   .user_id = f->user_id,
                                   .issuer = f->issuer,
                                   .client_id = f->client_id,
                                   .subject = f->subject,
                                   .token_id = f->token_id };
    TRY(scopes_of(a, q, f->scope, grant, e));
    TRY(token_name_caller(a, f, an->role->name, sv_from(b->account_id), &caller, e));
    caller.grant = grant;
    *out = caller;
    return ERR_OK;
}

/* ---- the check ---- */

static bool is_jwt(sv token)
{
    size_t dots = 0;
    for (size_t i = 0; i < token.len; i++)
        dots += token.ptr[i] == '.';
    return dots == 2;
}

static bool type_ok(sv typ)
{
    return typ.ptr == NULL || sv_eq_nocase(typ, SV_LIT("JWT")) ||
           sv_eq_nocase(typ, SV_LIT("at+jwt")) || sv_eq_nocase(typ, SV_LIT("application/at+jwt"));
}

static err_code jwt_read(const struct issuer *issuer, struct arena *a,
                         const struct bearer_question *q, const struct claims_wanted *want,
                         struct token_facts *out, struct err *e)
{
    struct jose_jws jws;
    struct err why;
    yyjson_doc *doc;
    err_code rc = jose_jws_read(a, q->token, &jws, &why);
    if (rc != ERR_OK)
        return claims_refused(e, why.msg);
    if (!type_ok(jws.typ))
        return claims_refused(e, "typ");
    rc = key_ring_verify(issuer->ring, &jws, issuer->algs, q->mono_us, &why);
    if (rc == ERR_UNAVAILABLE)
        return err_pass(e, &why);
    if (rc != ERR_OK)
        return claims_refused(e, why.msg);
    if (json_read(a, jws.payload, JOSE_DEPTH, &doc, NULL) != ERR_OK)
        return claims_refused(e, "the payload is no JSON");
    return claims_read(a, yyjson_doc_get_root(doc), want, out, e);
}

/* told: the answer is the provider's word. */
static err_code ask(const struct bearing_parts *b, struct arena *a, const struct bearer_question *q,
                    struct token_answer *out, bool *told, struct err *e)
{
    struct claims_wanted want = { .endpoint = q->endpoint, .now_ms = q->now_ms };
    *told = true;
    if (q->idp_lambda.len) {
        const struct lambda *lambda = providers_lambda(b->providers, q->idp_lambda);
        if (lambda == NULL)
            return ERR(e, ERR_UNAVAILABLE, "its function has no section in the file");
        want.needs_start = true;
        want.may_have_uid = true;
        want.patient_claim = SV_LIT("patient");
        want.user_claim = SV_LIT("fhirUser");
        return idp_lambda_ask(lambda, b->providers, a, q->token, q->operation, &want, &out->facts,
                              &out->role, e);
    }
    const struct issuer *issuer = providers_issuer(b->providers, q->issuer);
    if (issuer == NULL)
        return ERR(e, ERR_UNAVAILABLE, "its issuer has no section in the file");
    want.issuer = issuer->name;
    want.audience = issuer->audience;
    want.patient_claim = issuer->patient_claim;
    want.user_claim = issuer->user_claim;
    out->role = issuer->role;
    if (issuer->ring && (is_jwt(q->token) || issuer->asks == NULL)) {
        *told = false;
        return jwt_read(issuer, a, q, &want, &out->facts, e);
    }
    return introspect(issuer, a, q->token, &want, &out->facts, e);
}

/* What the trouble is goes into the context; the caller learns that it is the provider's. */
static err_code unavailable(const struct err *why, struct err *e)
{
    char told[ERR_CTX_LEN];
    (void)snprintf(told, sizeof told, "%.200s", why->msg);
    err_code rc = ERR(e, ERR_UNAVAILABLE,
                      "The identity provider of this data store cannot be asked now; try again "
                      "later");
    err_context(e, "%s", told);
    return rc;
}

static err_code known_in(const struct bearer *bearer, const struct bearing_parts *b,
                         struct arena *a, const struct bearer_question *q, bool *known,
                         struct auth_caller *out, struct err *e)
{
    unsigned char key[SHA256_LEN];
    struct token_answer an;
    key_of(q, key);
    *known =
        tokens_get(b->good, key, q->mono_us, a, &an) || tokens_get(b->bad, key, q->mono_us, a, &an);
    return *known ? caller_of(bearer, a, q, &an, out, e) : ERR_OK;
}

err_code bearer_known(struct bearer *bearer, struct arena *a, const struct bearer_question *q,
                      bool *known, struct auth_caller *out, struct err *e)
{
    return known_in(bearer, bearings_get(bearer->all, a), a, q, known, out, e);
}

err_code bearer_check(struct bearer *bearer, struct arena *a, const struct bearer_question *q,
                      struct auth_caller *out, struct err *e)
{
    const struct bearing_parts *b = bearings_get(bearer->all, a);
    unsigned char key[SHA256_LEN];
    struct token_answer an = { 0 };
    struct err why;
    bool known, told;
    /* another request may have brought the answer meanwhile */
    err_code rc = known_in(bearer, b, a, q, &known, out, e);
    if (known || rc != ERR_OK)
        return rc;
    rc = ask(b, a, q, &an, &told, &why);
    if (rc == ERR_UNAVAILABLE)
        return unavailable(&why, e);
    if (rc != ERR_OK && rc != ERR_AUTH_SIGNATURE && rc != ERR_AUTH_EXPIRED)
        return err_pass(e, &why);
    an.code = rc;
    if (rc == ERR_OK)
        TRY(name_token(a, q->token, &an.facts, e));
    else
        (void)snprintf(an.why, sizeof an.why, "%.90s", why.ctx);
    key_of(q, key);
    keep(b, q, key, &an, told);
    return caller_of(bearer, a, q, &an, out, e);
}
