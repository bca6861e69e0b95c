/* identity.c - IdentityProviderConfiguration is read, and checked when a data store is made.
 *
 * Metadata is the text of a JSON object: the discovery document, which is served as it was given.
 * What clients need of it must be there. A data store names its identity provider by the issuer in
 * it, or by IdpLambdaArn; where that is, and what it may do, the operator's file says. So no caller
 * can make the server call an address.
 * Source: HealthLake "SMART on FHIR", "Discovery document". */
#include "service/identity.h"

#define METADATA_DEPTH   16u
#define METADATA_MEMBERS 256u
#define CONFIGURATION    "IdentityProviderConfiguration."

void identity_read(struct arena *a, yyjson_val *given, struct identity_config *out)
{
    struct identity_config id = { 0 };
    sv strategy = json_string(json_get(given, "AuthorizationStrategy"));
    yyjson_doc *doc;
    id.smart = sv_eq_cstr(strategy, "SMART_ON_FHIR") || sv_eq_cstr(strategy, "SMART_ON_FHIR_V1");
    if (id.smart) {
        id.lambda = json_string(json_get(given, "IdpLambdaArn"));
        id.metadata = json_string(json_get(given, "Metadata"));
        if (json_read(a, id.metadata, METADATA_DEPTH, &doc, NULL) == ERR_OK)
            id.told = yyjson_doc_get_root(doc);
        id.issuer = json_string(json_get(id.told, "issuer"));
        id.own = json_get(given, "Metadata") == NULL && id.lambda.len == 0;
        id.v2 = sv_eq_cstr(strategy, "SMART_ON_FHIR") &&
                (id.own || json_has_text(json_get(id.told, "capabilities"), "permission-v2"));
    }
    *out = id;
}

/* ---- when a data store is made ---- */

static err_code check_unused(yyjson_val *given, struct err *e)
{
    static const char *const smart[] = { "Metadata", "IdpLambdaArn" };
    for (size_t i = 0; i < 2; i++)
        if (json_string(json_get(given, smart[i])).len)
            return ERR(e, ERR_INVALID, CONFIGURATION "%s has no effect with AWS_AUTH: leave it out",
                       smart[i]);
    return ERR_OK;
}

static bool is_url(yyjson_val *v)
{
    sv text = json_string(v);
    return (sv_starts(text, SV_LIT("https://")) && text.len > 8) ||
           (sv_starts(text, SV_LIT("http://")) && text.len > 7);
}

static bool is_list_of_texts(yyjson_val *v)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    yyjson_val *one;
    while ((one = yyjson_arr_iter_next(&it)) != NULL)
        if (json_string(one).len == 0)
            return false;
    return yyjson_arr_size(v) > 0;
}

/* The members that clients rely on. */
static err_code check_members(yyjson_val *m, struct err *e)
{
    static const char *const urls[] = { "authorization_endpoint", "token_endpoint", NULL };
    static const char *const more_urls[] = { "issuer",
                                             "jwks_uri",
                                             "registration_endpoint",
                                             "management_endpoint",
                                             "introspection_endpoint",
                                             "revocation_endpoint",
                                             NULL };
    static const char *const texts[] = { "grant_types_supported", "capabilities",
                                         "code_challenge_methods_supported", NULL };
    for (size_t i = 0; urls[i]; i++)
        if (!is_url(json_get(m, urls[i])))
            return ERR(e, ERR_INVALID, CONFIGURATION "Metadata: %s must be an absolute URL",
                       urls[i]);
    for (size_t i = 0; more_urls[i]; i++)
        if (json_get(m, more_urls[i]) && !is_url(json_get(m, more_urls[i])))
            return ERR(e, ERR_INVALID,
                       CONFIGURATION "Metadata: %s must be an absolute URL, or left out",
                       more_urls[i]);
    for (size_t i = 0; texts[i]; i++)
        if (!is_list_of_texts(json_get(m, texts[i])))
            return ERR(e, ERR_INVALID, CONFIGURATION "Metadata: %s must be a list of texts",
                       texts[i]);
    yyjson_val *grants = json_get(m, "grant_types_supported");
    yyjson_val *methods = json_get(m, "code_challenge_methods_supported");
    if (!json_has_text(grants, "authorization_code") &&
        !json_has_text(grants, "client_credentials"))
        return ERR(e, ERR_INVALID,
                   CONFIGURATION "Metadata: grant_types_supported must have authorization_code or "
                                 "client_credentials");
    if (!json_has_text(methods, "S256") || json_has_text(methods, "plain"))
        return ERR(e, ERR_INVALID,
                   CONFIGURATION "Metadata: code_challenge_methods_supported must have S256, and "
                                 "not plain");
    return ERR_OK;
}

static err_code check_metadata(struct arena *a, sv text, struct err *e)
{
    yyjson_doc *doc;
    struct err why;
    sv culprit;
    if (text.len == 0)
        return ERR(e, ERR_INVALID,
                   CONFIGURATION "Metadata must be given: it is the discovery document");
    if (text.len > IDENTITY_METADATA_MAX)
        return ERR(e, ERR_INVALID, CONFIGURATION "Metadata has more than %u bytes",
                   IDENTITY_METADATA_MAX);
    if (json_read(a, text, METADATA_DEPTH, &doc, &why) != ERR_OK)
        return ERR(e, ERR_INVALID, CONFIGURATION "Metadata is no JSON: %.200s", why.msg);
    yyjson_val *m = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(m))
        return ERR(e, ERR_INVALID, CONFIGURATION "Metadata is not the text of a JSON object");
    if (!json_members_unique(m, METADATA_MEMBERS, &culprit))
        return ERR(e, ERR_INVALID,
                   culprit.ptr ? CONFIGURATION "Metadata: member %.*s stands twice"
                               : CONFIGURATION "Metadata has too many members%.*s",
                   SV_FMT(sv_head(culprit, 64)));
    return check_members(m, e);
}

err_code identity_check_own(bool offered, struct err *e)
{
    return offered ? ERR_OK
                   : ERR(e, ERR_INVALID,
                         CONFIGURATION "Metadata must be given: it is the discovery document. It "
                                       "may be left out on a server with a token endpoint of its "
                                       "own: whoever runs this one types fhirlake client add, and "
                                       "starts it anew");
}

err_code identity_check(struct arena *a, yyjson_val *given, const struct providers *providers,
                        struct err *e)
{
    struct identity_config id;
    if (given == NULL)
        return ERR_OK;
    if (yyjson_is_true(json_get(given, "FineGrainedAuthorizationEnabled")))
        return ERR(e, ERR_INVALID,
                   CONFIGURATION "FineGrainedAuthorizationEnabled is not offered by this server: "
                                 "leave it out, or say false");
    identity_read(a, given, &id);
    if (!id.smart)
        return check_unused(given, e);
    TRY(check_metadata(a, id.metadata, e));
    return providers_check(providers, id.issuer, id.lambda, e);
}
