/* introspect.c - the issuer's server is asked whether a token is active, and what it says.
 *
 * The server knows us by client_id and client_secret. A server that refuses these, or breaks the
 * form of its answer, is out of order: the token is then neither good nor bad.
 * Source: RFC 7662; SMART App Launch 2.2, "Token Introspection". */
#include "auth/bearer/providers_private.h"

#include "codec/uri.h"

static err_code ask(const struct issuer *issuer, sv token, struct fetch_answer *out, struct err *e)
{
    CLEANUP_BUF struct buf form = BUF_INIT(4 * JOSE_TOKEN_MAX);
    TRY(buf_add(&form, SV_LIT("token_type_hint=access_token&token="), e));
    TRY(uri_encode(token, false, &form, e));
    const struct fetch_request post = { .content_type = "application/x-www-form-urlencoded",
                                        .body = buf_sv(&form),
                                        .user = issuer->client_id,
                                        .password = issuer->client_secret };
    return fetch(issuer->asks, &post, out, e);
}

static err_code read_answer(struct arena *a, const struct fetch_answer *an,
                            const struct claims_wanted *want, struct token_facts *out,
                            struct err *e)
{
    yyjson_doc *doc;
    /* a server may know a token that it does not tell of: oidc-provider says so of its own JWTs */
    if (an->status == 400)
        return claims_refused(e, "introspection: status 400");
    if (an->status != 200)
        return ERR(e, ERR_UNAVAILABLE, "introspection: status %ld", an->status);
    sv text = arena_sv(a, buf_sv(&an->body));
    if (text.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, text, JOSE_DEPTH, &doc, NULL) != ERR_OK)
        return ERR(e, ERR_UNAVAILABLE, "introspection: the answer is no JSON");
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_bool(json_get(root, "active")))
        return ERR(e, ERR_UNAVAILABLE, "introspection: the answer has no active");
    if (!yyjson_is_true(json_get(root, "active")))
        return claims_refused(e, "introspection: not active");
    return claims_read(a, root, want, out, e);
}

err_code introspect(const struct issuer *issuer, struct arena *a, sv token,
                    const struct claims_wanted *want, struct token_facts *out, struct err *e)
{
    struct fetch_answer an;
    struct claims_wanted wanted = *want;
    wanted.may_lack_issuer = true;
    err_code rc = ask(issuer, token, &an, e);
    if (rc == ERR_OK) {
        rc = read_answer(a, &an, &wanted, out, e);
        fetch_answer_done(&an);
    }
    /* a token that is refused was answered */
    fetch_note(issuer->asks, rc != ERR_UNAVAILABLE);
    return rc;
}
