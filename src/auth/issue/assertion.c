/* assertion.c - a client's assertion: a JWT that it signed for our token URL, for minutes.
 *
 *   read    the parts, and the members that are needed; a client can be looked for by its issuer
 *   check   the signature by one of the client's own keys, then whom it is for, and until when
 *
 * A key that the header brings or points to is never used: jku may be there, and must then be the
 * URL that was registered. Reasons are fixed texts, for the log.
 * Source: SMART App Launch 2.2, "Asymmetric client authentication"; RFC 7523, 3. */
#include "auth/issue/issue_private.h"

#include <math.h>

#define TEXT_MAX  512u           /* bytes of a claim */
#define TIME_MOST 100000000000.0 /* seconds: the year 5138 */

static sv text_of(yyjson_val *obj, const char *name)
{
    sv v = json_string(json_get(obj, name));
    return v.len <= TEXT_MAX ? v : SV_NONE;
}

static bool is_time(yyjson_val *v, double *out)
{
    return sv_to_double(json_number(v), out) && *out >= 0 && *out < TIME_MOST;
}

/* jws.c has read it before; it has no member for jku, which verifying has no use for. */
static err_code header_read(struct arena *a, sv token, struct assertion *out, struct err *e)
{
    yyjson_doc *doc;
    sv bytes;
    TRY(jose_base64url_decode(a, sv_head(token, sv_find(token, '.')), &bytes, e));
    TRY(json_read(a, bytes, JOSE_DEPTH, &doc, e));
    yyjson_val *jku = json_get(yyjson_doc_get_root(doc), "jku");
    out->key_url = jku ? json_string(jku) : SV_NONE;
    if (jku && out->key_url.len == 0)
        return ERR(e, ERR_INVALID, "jku is no text");
    if (out->jws.kid.ptr == NULL)
        return ERR(e, ERR_INVALID, "the header names no key");
    if (!sv_eq_nocase(out->jws.typ, SV_LIT("JWT")))
        return ERR(e, ERR_INVALID, "typ is not JWT");
    return ERR_OK;
}

static err_code times_read(yyjson_val *claims, int64_t now_ms, struct assertion *out, struct err *e)
{
    static const char *const begins[] = { "nbf", "iat" };
    double from_s;
    out->has_until = is_time(json_get(claims, "exp"), &out->until_s);
    for (size_t i = 0; i < 2; i++) {
        yyjson_val *v = json_get(claims, begins[i]);
        if (v && !is_time(v, &from_s))
            return ERR(e, ERR_INVALID, "nbf or iat is no time");
        if (v && from_s > (double)now_ms / 1000 + ASSERTION_LEEWAY_S)
            out->starts_late = true;
    }
    return ERR_OK;
}

err_code assertion_read(struct arena *a, sv token, int64_t now_ms, struct assertion *out,
                        struct err *e)
{
    struct assertion as = { 0 };
    yyjson_doc *doc;
    sv twice;
    TRY(jose_jws_read(a, token, &as.jws, e));
    TRY(header_read(a, token, &as, e));
    if (json_read(a, as.jws.payload, JOSE_DEPTH, &doc, NULL) != ERR_OK)
        return ERR(e, ERR_INVALID, "the payload is no JSON");
    yyjson_val *claims = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(claims) || !json_members_unique(claims, JOSE_MEMBERS_MAX, &twice))
        return ERR(e, ERR_INVALID, "claims are no object whose members stand once");
    as.issuer = text_of(claims, "iss");
    as.subject = text_of(claims, "sub");
    as.token_id = text_of(claims, "jti");
    as.audience = json_get(claims, "aud");
    TRY(times_read(claims, now_ms, &as, e));
    *out = as;
    return ERR_OK;
}

/* Exactly the URL that we publish: a text, or a list of one. */
static bool is_for(yyjson_val *audience, sv token_url)
{
    if (yyjson_is_arr(audience) && yyjson_arr_size(audience) == 1)
        audience = yyjson_arr_get_first(audience);
    return token_url.len && sv_eq(json_string(audience), token_url);
}

static err_code check_claims(const struct assertion *as, const struct client *client, sv token_url,
                             int64_t now_ms, struct err *e)
{
    const double now_s = (double)now_ms / 1000;
    if (!sv_eq(as->issuer, client->id) || !sv_eq(as->subject, client->id))
        return ERR(e, ERR_INVALID, "iss and sub are not both the client's id");
    if (!is_for(as->audience, token_url))
        return ERR(e, ERR_INVALID, "aud is not the token URL");
    if (!as->has_until || as->until_s <= now_s - ASSERTION_LEEWAY_S)
        return ERR(e, ERR_INVALID, "exp is missing, no time, or past");
    if (as->until_s > floor(now_s) + ASSERTION_MOST_S + ASSERTION_LEEWAY_S)
        return ERR(e, ERR_INVALID, "exp is more than five minutes ahead");
    if (as->starts_late)
        return ERR(e, ERR_INVALID, "not yet valid");
    if (as->token_id.len == 0)
        return ERR(e, ERR_INVALID, "jti is missing, or too long");
    return ERR_OK;
}

err_code assertion_check(const struct assertion *as, const struct client *client, sv token_url,
                         int64_t now_ms, uint64_t mono_us, struct err *e)
{
    if (as->key_url.ptr && !sv_eq(as->key_url, client->jwks_url))
        return ERR(e, ERR_INVALID, "jku is not the registered URL");
    /* claims cost nothing, a signature does: an assertion that cannot be good is not verified */
    TRY(check_claims(as, client, token_url, now_ms, e));
    return key_ring_verify(client->ring, &as->jws, client->algs, mono_us, e);
}
