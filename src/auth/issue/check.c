/* check.c - a token of ours comes back: is it good here, and whose is it?
 *
 * The signature costs some 40 us, so it is checked each time and nothing is kept. A client that is
 * removed, disabled or kept from the data store is refused at once, whatever its token says.
 * Source: RFC 9068, 4; SMART App Launch 2.2. */
#include "auth/issue/issue_private.h"

static err_code payload_read(struct issue *issue, struct arena *a, const struct issue_bearer *q,
                             struct token_facts *out, struct err *e)
{
    struct claims_wanted want = { .endpoint = q->base,
                                  .patient_claim = SV_LIT("patient"),
                                  .user_claim = SV_LIT("fhirUser"),
                                  .now_ms = q->now_ms };
    struct jose_jws jws;
    struct err why;
    yyjson_doc *doc;
    want.issuer = ARENA_JOIN(a, q->base, SV_LIT("/"), SV_LIT(ISSUE_NAME));
    if (want.issuer.ptr == NULL)
        return arena_oom(a, e);
    if (jose_jws_read(a, q->token, &jws, &why) != ERR_OK)
        return claims_refused(e, why.msg);
    /* an assertion of a client is none of our tokens, whoever signed it */
    if (!sv_eq_cstr(jws.typ, "at+jwt"))
        return claims_refused(e, "typ");
    if (key_ring_verify(issue_ring(issue, q->now_ms), &jws, JOSE_BIT(OWN_KEY_ALG), q->mono_us,
                        &why) != ERR_OK)
        return claims_refused(e, why.msg);
    if (json_read(a, jws.payload, JOSE_DEPTH, &doc, NULL) != ERR_OK)
        return claims_refused(e, "the payload is no JSON");
    return claims_read(a, yyjson_doc_get_root(doc), &want, out, e);
}

static err_code no_access(struct err *e)
{
    err_code rc = ERR(e, ERR_DENIED, "The access token gives no access to resources");
    err_context(e, "scope");
    return rc;
}

/* The data store may have gone back to version 1 since the token was given. */
static err_code scopes_read(struct arena *a, bool v2, sv text, struct smart_grant *out,
                            struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(text.len + 2);
    sv rest = text, one;
    while (!v2 && sv_cut(&rest, ' ', &one))
        if (narrow_is_v1(one)) {
            TRY(buf_add(&b, one, e));
            TRY(buf_add_char(&b, ' ', e));
        }
    if (!v2 && (text = arena_sv(a, buf_sv(&b))).ptr == NULL)
        return arena_oom(a, e);
    return smart_scopes_read(text, a, &out->scopes, &out->n_scopes, e);
}

err_code issue_check(struct issue *issue, struct arena *a, const struct issue_bearer *q,
                     struct auth_caller *out, struct err *e)
{
    struct token_facts f;
    struct auth_caller caller = { .credential = issue_credential(issue), .origin = q->origin };
    struct smart_grant *grant = ARENA_NEW(a, struct smart_grant);
    if (grant == NULL)
        return arena_oom(a, e);
    TRY(payload_read(issue, a, q, &f, e));
    if (!issue_is_good(issue, f.client_id, q->datastore_id, q->now_ms, q->mono_us))
        return claims_refused(e, "its client is not registered for this data store any more");
    *grant = (struct smart_grant){
        .issuer = f.issuer, .client_id = f.client_id, .subject = f.subject, .token_id = f.token_id
    };
    if (scopes_read(a, q->v2, f.scope, grant, e) != ERR_OK || grant->n_scopes == 0)
        return no_access(e);
    TRY(token_name_caller(a, &f, caller.credential->name, q->account_id, &caller, e));
    caller.grant = grant;
    *out = caller;
    return ERR_OK;
}
