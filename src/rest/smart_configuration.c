/* smart_configuration.c - .well-known/smart-configuration: where a client gets its tokens.
 *
 * It is the Metadata with which the data store was made, byte for byte. Everybody may read it,
 * pages of any origin too: a client reads it before it has a token. The CapabilityStatement says
 * the same in the form of an older guide, which clients still read.
 * Source: SMART App Launch 2.2, "Conformance"; 1.0, oauth-uris. */
#include "rest/answer_private.h"
#include "rest/route_private.h"

err_code rest_smart_configuration(struct rest_call *call, struct err *e)
{
    const struct identity_config *callers = &call->ds->callers;
    if (!callers->smart || callers->told == NULL)
        return ERR(e, ERR_NOT_FOUND, "The callers of this data store need no access token");
    TRY(buf_add(&call->out.body, callers->metadata, e));
    call->out.content_type = SV_LIT("application/json");
    call->out.as_it_is = true;
    call->out.status = 200;
    rest_header(call, "Access-Control-Allow-Origin", SV_LIT("*"));
    return ERR_OK;
}

void rest_oauth_uris(struct json_writer *w, const struct identity_config *callers)
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
        sv uri = json_string(json_get(callers->told, uris[i].member));
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
