/* sigv4_claim.c - what a request says about its own signature, read and checked for form: in the
 * Authorization header, or in the query of a presigned URL. Nothing is believed here;
 * sigv4_verify.c does that. Messages are AWS's own, because clients show them. */
#include "codec/sigv4_private.h"

#include "codec/instant.h"
#include "codec/uri.h"

#define ALGORITHM SV_LIT("AWS4-HMAC-SHA256")

static sv header(const struct sigv4_request *req, const char *name)
{
    for (size_t i = 0; i < req->n_headers; i++)
        if (sv_eq_nocase(req->headers[i].name, sv_from(name)))
            return sv_trim(req->headers[i].value);
    return SV_NONE;
}

/* "AKID/20261123/us-east-1/healthlake/aws4_request". The key id itself may not hold a slash. */
static err_code parse_credential(sv text, struct sigv4_claim *c, struct err *e)
{
    sv rest = text, last = SV_NONE;
    bool ok = sv_cut(&rest, '/', &c->access_key_id) && sv_cut(&rest, '/', &c->scope.date) &&
              sv_cut(&rest, '/', &c->scope.region) && sv_cut(&rest, '/', &c->scope.service) &&
              sv_cut(&rest, '/', &last);
    uint64_t n;
    if (!ok || rest.ptr || !sv_eq(last, SV_LIT("aws4_request")) || c->access_key_id.len == 0 ||
        c->access_key_id.len > 128 || c->scope.date.len != 8 || !sv_to_u64(c->scope.date, &n))
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "Credential must have exactly 5 slash-delimited elements, "
                   "keyid/date/region/service/aws4_request");
    return ERR_OK;
}

/* Lower-case names; their order is the signer's affair, the signature covers it. */
static bool header_list_ok(sv list)
{
    sv rest = list, name;
    size_t n = 0;
    while (sv_cut(&rest, ';', &name)) {
        if (name.len == 0 || ++n > SIGV4_HEADERS_MAX)
            return false;
        for (size_t i = 0; i < name.len; i++)
            if (name.ptr[i] <= ' ' || (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z') ||
                name.ptr[i] == ':' || (unsigned char)name.ptr[i] >= 0x7F)
                return false;
    }
    return n > 0;
}

static err_code finish_claim(struct sigv4_claim *c, struct err *e)
{
    if (!sv_is_hex(c->signature, 64))
        return ERR(e, ERR_AUTH_INCOMPLETE, "Signature must be 64 lower-case hexadecimal digits");
    if (!header_list_ok(c->signed_headers))
        return ERR(e, ERR_AUTH_INCOMPLETE, "SignedHeaders must be lower-case names joined by ';'");
    if (!instant_parse_basic(c->amz_date, &c->date_ms))
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "Date must be in ISO-8601 'basic format', as in 20260131T235959Z");
    if (!sv_eq(sv_head(c->amz_date, 8), c->scope.date))
        return ERR(e, ERR_AUTH_SIGNATURE,
                   "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
                   "from HTTP");
    return ERR_OK;
}

/* The Date header, in HTTP's own form or the basic one; the string to sign always has the basic
 * one. */
static err_code date_header(struct arena *a, const struct sigv4_request *req, sv *out,
                            struct err *e)
{
    int64_t ms;
    char basic[16];
    sv date = header(req, "date");
    if (!instant_parse_http(date, &ms)) {
        *out = date;
        return ERR_OK;
    }
    instant_format_basic(ms, basic);
    *out = arena_sv(a, sv_make(basic, sizeof basic));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

static err_code parse_header(struct arena *a, const struct sigv4_request *req, sv auth,
                             struct sigv4_claim *c, struct err *e)
{
    sv credential = SV_NONE;
    size_t blank = sv_find(auth, ' ');
    if (!sv_eq(sv_head(auth, blank), ALGORITHM))
        return ERR(e, ERR_AUTH_INCOMPLETE, "Authorization header must begin with AWS4-HMAC-SHA256");
    sv rest = sv_tail(auth, blank), part;
    while (sv_cut(&rest, ',', &part)) {
        part = sv_trim(part);
        size_t eq = sv_find(part, '=');
        sv name = sv_head(part, eq), value = sv_trim(sv_tail(part, eq + 1));
        sv *slot = sv_eq(name, SV_LIT("Credential"))      ? &credential
                   : sv_eq(name, SV_LIT("SignedHeaders")) ? &c->signed_headers
                   : sv_eq(name, SV_LIT("Signature"))     ? &c->signature
                                                          : NULL;
        if (slot == NULL || slot->ptr != NULL || eq == part.len)
            return ERR(e, ERR_AUTH_INCOMPLETE,
                       "Authorization header must hold Credential, SignedHeaders and Signature, "
                       "each once, joined by ','");
        *slot = value;
    }
    if (credential.len == 0)
        return ERR(e, ERR_AUTH_INCOMPLETE, "Authorization header requires 'Credential' parameter");
    if (c->signature.len == 0)
        return ERR(e, ERR_AUTH_INCOMPLETE, "Authorization header requires 'Signature' parameter");
    if (c->signed_headers.len == 0)
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "Authorization header requires 'SignedHeaders' parameter");
    c->amz_date = header(req, "x-amz-date");
    if (c->amz_date.ptr == NULL)
        TRY(date_header(a, req, &c->amz_date, e));
    if (c->amz_date.ptr == NULL)
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' "
                   "header");
    c->session_token = header(req, "x-amz-security-token");
    TRY(parse_credential(credential, c, e));
    return finish_claim(c, e);
}

static err_code decoded(struct arena *a, sv text, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(SIGV4_TEXT_MAX);
    if (uri_decode(text, false, &b, NULL) != ERR_OK)
        return ERR(e, ERR_AUTH_INCOMPLETE, "signature parameters in the query are badly encoded");
    return sigv4_keep(a, &b, out, e);
}

static err_code parse_query(struct arena *a, const struct uri_pair *pairs, size_t n,
                            struct sigv4_claim *c, struct err *e)
{
    struct {
        const char *name;
        sv value;
        bool optional;
    } want[] = { { "X-Amz-Algorithm", SV_NONE, false },     { "X-Amz-Credential", SV_NONE, false },
                 { "X-Amz-Date", SV_NONE, false },          { "X-Amz-Expires", SV_NONE, false },
                 { "X-Amz-SignedHeaders", SV_NONE, false }, { "X-Amz-Signature", SV_NONE, false },
                 { "X-Amz-Security-Token", SV_NONE, true } };
    enum { ALG, CRED, DATE, EXPIRES, NAMES, SIG, TOKEN, N };
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < N; k++)
            if (sv_eq_cstr(pairs[i].name, want[k].name)) {
                if (want[k].value.ptr)
                    return ERR(e, ERR_AUTH_INCOMPLETE, "query parameter %s stands twice",
                               want[k].name);
                TRY(decoded(a, pairs[i].value, &want[k].value, e));
            }
    for (size_t k = 0; k < N; k++)
        if (want[k].value.len == 0 && !want[k].optional)
            return ERR(e, ERR_AUTH_INCOMPLETE, "AWS query-string parameters must include '%s'",
                       want[k].name);
    if (!sv_eq(want[ALG].value, ALGORITHM))
        return ERR(e, ERR_AUTH_INCOMPLETE, "X-Amz-Algorithm must be AWS4-HMAC-SHA256");
    uint64_t expires;
    if (!sv_to_u64(want[EXPIRES].value, &expires) || expires < 1 || expires > 604800)
        return ERR(e, ERR_AUTH_INCOMPLETE, "X-Amz-Expires must be a number from 1 to 604800");
    c->presigned = true;
    c->expires_s = (uint32_t)expires;
    c->amz_date = want[DATE].value;
    c->signed_headers = want[NAMES].value;
    c->signature = want[SIG].value;
    c->session_token = want[TOKEN].value;
    TRY(parse_credential(want[CRED].value, c, e));
    return finish_claim(c, e);
}

err_code sigv4_claim_parse(struct arena *a, const struct sigv4_request *req,
                           struct sigv4_claim *out, struct err *e)
{
    struct sigv4_claim c = { 0 };
    struct uri_pair *pairs;
    size_t n;
    TRY(uri_query_split(a, req->query, SIGV4_PAIRS_MAX, &pairs, &n, e));
    bool in_query = false;
    for (size_t i = 0; i < n; i++)
        in_query |= sv_eq(pairs[i].name, SV_LIT("X-Amz-Signature")) ||
                    sv_eq(pairs[i].name, SV_LIT("X-Amz-Algorithm"));
    sv auth = header(req, "authorization");
    if (auth.ptr && in_query)
        return ERR(e, ERR_AUTH_INCOMPLETE,
                   "request is signed both by header and in the query; use one");
    if (!auth.ptr && !in_query)
        return ERR(e, ERR_AUTH_MISSING, "Missing Authentication Token");
    TRY(in_query ? parse_query(a, pairs, n, &c, e) : parse_header(a, req, auth, &c, e));
    *out = c;
    return ERR_OK;
}
