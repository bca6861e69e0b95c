/* sigv4_verify.c - is a claim true? First comes all that the head of a request can tell: scope,
 * clock, session token, and whether every header that must be signed is signed. The signature
 * itself comes last, and is compared in constant time. */
#include "codec/sigv4_private.h"

#include "codec/instant.h"

bool sigv4_is_signed(const struct sigv4_claim *c, sv name)
{
    sv rest = c->signed_headers, one;
    while (sv_cut(&rest, ';', &one))
        if (sv_eq_nocase(one, name))
            return true;
    return false;
}

/* What a caller may not leave unsigned: the host, and everything of AWS's own that changes meaning.
 */
static err_code check_coverage(const struct sigv4_request *req, const struct sigv4_claim *c,
                               struct err *e)
{
    if (!sigv4_is_signed(c, SV_LIT("host")))
        return ERR(e, ERR_AUTH_SIGNATURE, "'Host' must be a signed header");
    for (size_t i = 0; i < req->n_headers; i++) {
        sv name = req->headers[i].name;
        bool must = sv_eq_nocase(sv_head(name, 6), SV_LIT("x-amz-"));
        /* some clients sign neither; what they say is compared with the body or the key below */
        if (sv_eq_nocase(name, SV_LIT("x-amz-content-sha256")) ||
            sv_eq_nocase(name, SV_LIT("x-amz-user-agent")))
            must = false;
        if (must && !sigv4_is_signed(c, name))
            return ERR(e, ERR_AUTH_SIGNATURE, "header '%.*s' must be signed",
                       SV_FMT(sv_head(name, 64)));
    }
    return ERR_OK;
}

static err_code check_clock(const struct sigv4_claim *c, const struct sigv4_expect *x,
                            struct err *e)
{
    char now[16];
    int64_t skew_ms = x->skew_s * 1000;
    int64_t life_ms = c->presigned ? (int64_t)c->expires_s * 1000 : skew_ms;
    if (c->date_ms + life_ms >= x->now_ms && c->date_ms - skew_ms <= x->now_ms)
        return ERR_OK;
    instant_format_basic(x->now_ms, now);
    if (c->date_ms + life_ms < x->now_ms)
        return ERR(e, ERR_AUTH_EXPIRED, "Signature expired: %.*s is now earlier than %.16s",
                   SV_FMT(c->amz_date), now);
    return ERR(e, ERR_AUTH_EXPIRED, "Signature not yet current: %.*s is still later than %.16s",
               SV_FMT(c->amz_date), now);
}

static bool has_run_of_slashes(sv path)
{
    for (size_t i = 0; i + 1 < path.len; i++)
        if (path.ptr[i] == '/' && path.ptr[i + 1] == '/')
            return true;
    return false;
}

err_code sigv4_precheck(const struct sigv4_request *req, const struct sigv4_claim *claim,
                        const struct sigv4_expect *x, struct err *e)
{
    if (!sv_eq(claim->scope.region, x->region))
        return ERR(e, ERR_AUTH_SIGNATURE,
                   "Credential should be scoped to a valid region, which here is '%.*s'",
                   SV_FMT(x->region));
    if (!sv_eq(claim->scope.service, x->service))
        return ERR(e, ERR_AUTH_SIGNATURE, "Credential should be scoped to correct service: '%.*s'",
                   SV_FMT(x->service));
    if (!hash_equal(claim->session_token, x->session_token))
        return ERR(e, ERR_AUTH_UNKNOWN_KEY,
                   "The security token included in the request is invalid");
    TRY(check_clock(claim, x, e));
    return check_coverage(req, claim, e);
}

static err_code fits(struct arena *a, const struct sigv4_request *req,
                     const struct sigv4_claim *claim, const struct sigv4_expect *x, bool *out,
                     struct err *e)
{
    char want[64];
    TRY(sigv4_signature_of(a, req, claim->signed_headers, claim->amz_date, &claim->scope,
                           x->secret_key, x->signing_key, want, e));
    *out = hash_equal(sv_make(want, 64), claim->signature);
    return ERR_OK;
}

#define HOW_TO_SIGN                                                                            \
    ". A query is signed sorted and percent-encoded, and '$' in a path as %24: curl before 8 " \
    "signs both as they are typed"

static bool typed_by_hand(struct arena *a, const struct sigv4_request *req,
                          const struct sigv4_claim *claim)
{
    return !claim->presigned &&
           (sv_find(req->path, '$') < req->path.len || !sigv4_query_is_canonical(a, req->query));
}

/* Some signers take what normalize() takes out of a path out of what they sign, and some (curl) do
 * not. Both are taken for a path with runs of slashes, which are one to whoever reads it; so no two
 * meanings share a signature. */
err_code sigv4_verify(struct arena *a, const struct sigv4_request *req,
                      const struct sigv4_claim *claim, const struct sigv4_expect *x, struct err *e)
{
    bool good;
    TRY(sigv4_precheck(req, claim, x, e));
    TRY(fits(a, req, claim, x, &good, e));
    if (!good && req->normalize_path && has_run_of_slashes(req->path)) {
        struct sigv4_request raw = *req;
        raw.normalize_path = false;
        TRY(fits(a, &raw, claim, x, &good, e));
    }
    if (!good)
        return ERR(e, ERR_AUTH_SIGNATURE,
                   "The request signature we calculated does not match the signature you provided; "
                   "check your AWS secret access key and signing method%s",
                   typed_by_hand(a, req, claim) ? HOW_TO_SIGN : "");
    return ERR_OK;
}
