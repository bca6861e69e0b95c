/* smart_configuration.c - .well-known/smart-configuration: where a client gets its tokens.
 *
 * It is the Metadata with which the data store was made, byte for byte; or, when our own endpoint
 * gives its tokens, what this says of itself. Everybody may read it,
 * pages of any origin too: a client reads it before it has a token. The CapabilityStatement says
 * the same in the form of an older guide, which clients still read.
 * Source: SMART App Launch 2.2, "Conformance"; 1.0, oauth-uris. */
#include "rest/answer_private.h"
#include "rest/route_private.h"

static void words(struct json_writer *w, const char *name, const char *const *all)
{
    json_key(w, name);
    json_arr(w);
    for (size_t i = 0; all[i]; i++)
        json_str(w, sv_from(all[i]));
    json_arr_end(w);
}

static sv below(const struct rest_call *call, const char *path)
{
    return ARENA_JOIN(call->a, call->base, SV_LIT("/"), sv_from(path));
}

/* Of our own endpoint. It has no authorization_endpoint, because nobody logs in there; S256 stands
 * for the flow that is not offered, because the member is required. */
static err_code own_write(struct rest_call *call, struct err *e)
{
    static const char *const
        grants[] = { "client_credentials", NULL },
        *const s256[] = { "S256", NULL }, *const methods[] = { "private_key_jwt", NULL },
        *const algs[] = { "RS384", "ES384", NULL },
        *const v1[] = { "client-confidential-asymmetric", "permission-v1", NULL },
        *const v2[] = { "client-confidential-asymmetric", "permission-v1", "permission-v2", NULL },
        *const v1_scopes[] = { "system/*.read", "system/*.write", "system/*.*", NULL },
        *const v2_scopes[] = { "system/*.read", "system/*.rs", "system/*.cruds", NULL };
    const bool is_v2 = call->ds->callers.v2;
    struct json_writer w;
    json_writer_init(&w, &call->out.body);
    json_obj(&w);
    json_kv_str(&w, "token_endpoint", below(call, ISSUE_PATH));
    json_kv_str(&w, "jwks_uri", below(call, ISSUE_JWKS_PATH));
    words(&w, "grant_types_supported", grants);
    words(&w, "capabilities", is_v2 ? v2 : v1);
    words(&w, "code_challenge_methods_supported", s256);
    words(&w, "token_endpoint_auth_methods_supported", methods);
    words(&w, "token_endpoint_auth_signing_alg_values_supported", algs);
    words(&w, "scopes_supported", is_v2 ? v2_scopes : v1_scopes);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

err_code rest_smart_configuration(struct rest_call *call, struct err *e)
{
    const struct identity_config *callers = &call->ds->callers;
    const bool own = callers->own && call->service->cfg.issue;
    if (!callers->smart || (callers->told == NULL && !own))
        return ERR(e, ERR_NOT_FOUND, "The callers of this data store need no access token");
    TRY(own ? own_write(call, e) : buf_add(&call->out.body, callers->metadata, e));
    call->out.content_type = SV_LIT("application/json");
    call->out.as_it_is = true;
    call->out.status = 200;
    rest_header(call, "Access-Control-Allow-Origin", SV_LIT("*"));
    return ERR_OK;
}

/* An endpoint's URL; empty: there is none. */
static sv endpoint_of(const struct rest_call *call, const char *member)
{
    const struct identity_config *callers = &call->ds->callers;
    if (!callers->own)
        return json_string(json_get(callers->told, member));
    bool token = strcmp(member, "token_endpoint") == 0 && call->service->cfg.issue;
    return token ? below(call, ISSUE_PATH) : SV_NONE;
}

void rest_oauth_uris(struct json_writer *w, const struct rest_call *call)
{
    static const struct {
        const char *name, *member;
    } uris[] = { { "token", "token_endpoint" },
                 { "authorize", "authorization_endpoint" },
                 { "register", "registration_endpoint" },
                 { "manage", "management_endpoint" },
                 { "introspect", "introspection_endpoint" },
                 { "revoke", "revocation_endpoint" } };
    json_key(w, "extension");
    json_arr(w);
    json_obj(w);
    json_kv_str(w, "url",
                SV_LIT("http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"));
    json_key(w, "extension");
    json_arr(w);
    for (size_t i = 0; i < sizeof uris / sizeof uris[0]; i++) {
        sv uri = endpoint_of(call, uris[i].member);
        if (uri.len == 0)
            continue;
        json_obj(w);
        json_kv_str(w, "url", sv_from(uris[i].name));
        json_kv_str(w, "valueUri", uri);
        json_obj_end(w);
    }
    json_arr_end(w);
    json_obj_end(w);
    json_arr_end(w);
}
