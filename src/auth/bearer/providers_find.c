/* providers_find.c - a section by its name: there are few, so each is looked at. */
#include "auth/bearer/providers_private.h"

const struct issuer *providers_issuer(const struct providers *providers, sv name)
{
    for (size_t i = 0; i < providers->n_issuers; i++)
        if (sv_eq(providers->issuers[i].name, name))
            return &providers->issuers[i];
    return NULL;
}

const struct lambda *providers_lambda(const struct providers *providers, sv arn)
{
    for (size_t i = 0; i < providers->n_lambdas; i++)
        if (sv_eq(providers->lambdas[i].arn, arn))
            return &providers->lambdas[i];
    return NULL;
}

const struct role *providers_role(const struct providers *providers, sv arn)
{
    for (size_t i = 0; i < providers->n_roles; i++)
        if (sv_eq(providers->roles[i].arn, arn))
            return &providers->roles[i];
    return NULL;
}

err_code providers_check(const struct providers *providers, sv issuer, sv idp_lambda, struct err *e)
{
    if (providers && idp_lambda.len && providers_lambda(providers, idp_lambda))
        return ERR_OK;
    if (providers && !idp_lambda.len && providers_issuer(providers, issuer))
        return ERR_OK;
    if (idp_lambda.len == 0 && issuer.len == 0)
        return ERR(e, ERR_INVALID,
                   "IdentityProviderConfiguration names no identity provider: give IdpLambdaArn, "
                   "or issuer in Metadata");
    sv kind = idp_lambda.len ? SV_LIT("lambda") : SV_LIT("issuer");
    sv name = idp_lambda.len ? idp_lambda : issuer;
    return ERR(e, ERR_INVALID,
               "IdentityProviderConfiguration.%s is not known to this server: whoever runs it adds "
               "a section [%.*s %.*s] to %s",
               idp_lambda.len ? "IdpLambdaArn" : "Metadata: its issuer", SV_FMT(kind),
               SV_FMT(sv_head(name, 256)),
               providers ? "the file of --identity-providers"
                         : "a file, and starts it with --identity-providers FILE");
}

sv providers_by_endpoint(const struct providers *providers)
{
    for (size_t i = 0; i < providers->n_issuers; i++)
        if (providers->issuers[i].audience.len == 0)
            return providers->issuers[i].name;
    return providers->n_lambdas ? providers->lambdas[0].arn : SV_NONE;
}

sv providers_role_could(const struct providers *providers, sv action)
{
    for (size_t i = 0; i < providers->n_roles; i++)
        if (policy_could_allow(providers->roles[i].policy, action))
            return providers->roles[i].arn;
    return SV_NONE;
}

const struct policy *providers_policy(const struct providers *providers, size_t i, sv *out_name)
{
    if (i >= providers->n_roles)
        return NULL;
    *out_name = providers->roles[i].policy_name;
    return providers->roles[i].policy;
}

size_t providers_count(const struct providers *providers)
{
    return providers->n_issuers + providers->n_lambdas + providers->n_roles;
}

static void tell(sv name, bool keys, struct fetcher *asked, providers_asked_fn fn, void *ctx)
{
    struct providers_asked a = { .name = name, .keys = keys };
    if (asked == NULL)
        return;
    fetch_count(asked, &a.good, &a.bad);
    fn(ctx, &a);
}

void providers_tell_asked(const struct providers *providers, providers_asked_fn fn, void *ctx)
{
    for (size_t i = 0; i < providers->n_issuers; i++) {
        tell(providers->issuers[i].name, true, key_ring_asks(providers->issuers[i].ring), fn, ctx);
        tell(providers->issuers[i].name, false, providers->issuers[i].asks, fn, ctx);
    }
    for (size_t i = 0; i < providers->n_lambdas; i++)
        tell(providers->lambdas[i].arn, false, providers->lambdas[i].asks, fn, ctx);
}
