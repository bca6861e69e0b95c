/* claimed.c - where a request may have a token: in one Authorization header, and nowhere else.
 *
 * Tokens in queries end up in logs of proxies and in histories of browsers, so they are refused
 * there, and in forms. So is a request that says in two ways who calls.
 * Source: RFC 6750, 2 and 3.1; SMART App Launch 2.2. */
#include "auth/bearer/bearer.h"
#include "codec/jose/jose.h"
#include "codec/media_type.h"
#include "codec/uri.h"

/* b64token, within the limits of a token. */
static bool is_token(sv v)
{
    size_t end = v.len;
    while (end > 0 && v.ptr[end - 1] == '=')
        end--;
    for (size_t i = 0; i < end; i++) {
        char c = v.ptr[i];
        bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    (c && strchr("-._~+/", c));
        if (!good)
            return false;
    }
    return end > 0 && v.len <= JOSE_TOKEN_MAX;
}

/* Has a query or a form this parameter? Its name may be encoded. */
static bool has_param(sv pairs, const char *name)
{
    sv one;
    while (sv_cut(&pairs, '&', &one)) {
        sv said = sv_head(one, sv_find(one, '='));
        if (sv_eq_cstr(said, name))
            return true;
        if (sv_find(said, '%') == said.len || said.len > 128)
            continue;
        CLEANUP_BUF struct buf b = BUF_INIT(256);
        if (uri_decode(said, true, &b, NULL) == ERR_OK && sv_eq_cstr(buf_sv(&b), name))
            return true;
    }
    return false;
}

err_code bearer_claimed(const struct http_request *req, bool whole, sv *out, struct err *e)
{
    sv said = sv_trim(http_header_get(req, "Authorization")), scheme = sv_head(said, 6);
    bool bearer = sv_eq_nocase(scheme, SV_LIT("Bearer")) && (said.len == 6 || said.ptr[6] == ' ');
    bool form = whole && media_type_is(http_header_get(req, "Content-Type"),
                                       "application/x-www-form-urlencoded");
    if (has_param(req->query, "access_token") || (form && has_param(req->body, "access_token")))
        return ERR(e, ERR_TOKEN_REQUEST,
                   "An access token stands in the Authorization header alone, not in a query or a "
                   "form");
    if (!bearer) {
        *out = SV_NONE;
        return ERR_OK;
    }
    if (has_param(req->query, "X-Amz-Signature") || has_param(req->query, "X-Amz-Algorithm"))
        return ERR(e, ERR_TOKEN_REQUEST,
                   "The request has an access token and a signature; use one of them");
    sv token = sv_trim(sv_tail(said, 6));
    if (token.len == 0 || sv_find(token, ' ') < token.len || sv_find(token, ',') < token.len)
        return ERR(e, ERR_TOKEN_REQUEST, "Authorization: Bearer is followed by one access token");
    if (!is_token(token)) {
        err_code rc = ERR(e, ERR_AUTH_SIGNATURE, "The access token is not accepted");
        err_context(e, "no token68, or longer than %u bytes", JOSE_TOKEN_MAX);
        return rc;
    }
    *out = token;
    return ERR_OK;
}
