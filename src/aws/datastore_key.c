/* datastore_key.c - the customer's key that the SseConfiguration of a new data store names.
 *
 * fhirlake asks KMS with its own credentials, and so it could be used to learn of keys that a
 * caller knows nothing of. Therefore the caller needs the right that IAM asks for here:
 * kms:CreateGrant on the key, by which its owner lets a service use it.
 * Source: HealthLake Developer Guide, customer managed keys (the rights of who creates). */
#include "aws/aws_private.h"

#include "kms/keeper.h"
#include "kms/kms.h"

/* The key's ARN of what a request may give: an ARN, an id (also behind "key/") or an alias, of this
 * account and region unless it says another. */
static sv arn_of(const struct call *call, sv key)
{
    const struct service_config *cfg = &call->service->cfg;
    if (sv_starts(key, SV_LIT("arn:")))
        return key;
    bool kind = sv_starts(key, SV_LIT("alias/")) || sv_starts(key, SV_LIT("key/"));
    return arena_fmt(call->a, "arn:aws:kms:%.*s:%.*s:%s%.*s", SV_FMT(cfg->region),
                     SV_FMT(cfg->account_id), kind ? "" : "key/", SV_FMT(key));
}

sv datastore_customer_key(yyjson_val *sse)
{
    yyjson_val *config = json_get(sse, "KmsEncryptionConfig");
    const bool customer =
        sv_eq_cstr(json_string(json_get(config, "CmkType")), "CUSTOMER_MANAGED_KMS_KEY");
    return customer ? json_string(json_get(config, "KmsKeyId")) : SV_NONE;
}

err_code datastore_encrypt(struct service *service, const struct datastore *datastore,
                           struct err *e)
{
    struct store_registry *stores = service->cfg.stores;
    const sv key = datastore_customer_key(datastore->sse);
    if (key.len && store_registry_keeps(stores, SV_LIT(KEEPER_KMS)))
        return store_registry_encrypt(stores, datastore->id, SV_LIT(KEEPER_KMS), key, e);
    if (store_registry_keeps(stores, SV_LIT(KEEPER_LOCAL)))
        return store_registry_encrypt(stores, datastore->id, SV_LIT(KEEPER_LOCAL), SV_NONE, e);
    return ERR_OK;
}

err_code datastore_check_key(struct call *call, yyjson_val *sse, struct err *e)
{
    struct kms *kms = call->service->cfg.kms;
    yyjson_val *config = json_get(sse, "KmsEncryptionConfig");
    sv key = json_string(json_get(config, "KmsKeyId"));
    if (kms == NULL ||
        !sv_eq_cstr(json_string(json_get(config, "CmkType")), "CUSTOMER_MANAGED_KMS_KEY"))
        return ERR_OK;
    if (key.len == 0)
        return ERR(e, ERR_INVALID,
                   "SseConfiguration.KmsEncryptionConfig.KmsKeyId: CUSTOMER_MANAGED_KMS_KEY needs "
                   "the key");
    if (!store_registry_encrypts(call->service->cfg.stores))
        return ERR(e, ERR_INVALID,
                   "SseConfiguration.KmsEncryptionConfig: this server keeps data stores in a "
                   "database, where nothing is encrypted under a customer's key");
    sv arn = arn_of(call, key);
    if (arn.ptr == NULL)
        return arena_oom(call->a, e);
    TRY(auth_allows(&call->caller, SV_LIT("kms:CreateGrant"), arn, NULL, e));
    return kms_key_ask(kms, key, NULL, "the server", e);
}
