/* wrap.c - the data key of a data store, wrapped by a customer's key and bound to the data store.
 *
 * KMS's answers become the four that matter to who keeps data stores: it is refused, there is no
 * such key, this is no wrapped key, or nobody knows now. */
#include "kms/kms_private.h"

#include "codec/hash.h"
#include "store/keeper.h"

/* The names that KMS's answers have here. missing: of a key that is not there. */
static err_code name(err_code rc, err_code missing, struct err *e)
{
    err_code as;
    switch ((int)rc) {
    case ERR_OK:
    case ERR_DENIED:
    case ERR_UNSUPPORTED:
    case ERR_CORRUPT:
        return rc;
    case ERR_NOT_FOUND:
    case ERR_INVALID:
        as = missing;
        break;
    case ERR_PRECONDITION:
    case ERR_CONFLICT:
        as = ERR_DENIED;
        break;
    default:
        as = ERR_UNAVAILABLE;
        break;
    }
    if (e)
        e->code = as;
    return as;
}

err_code kms_wrap(struct kms *kms, sv key, sv datastore_id,
                  const unsigned char data_key[KMS_KEY_LEN], struct buf *used, struct buf *blob,
                  struct err *e)
{
    const struct kms_context context = { KEEPER_CONTEXT, datastore_id };
    CLEANUP_BUF struct buf text = BUF_INIT(KMS_BLOB_MAX * 2);
    struct kms_blob got;
    TRY(name(kms_encrypt(kms, key, &context, data_key, &got, e), ERR_UNSUPPORTED, e));
    TRY(hash_base64(kms_blob_sv(&got), &text, e));
    /* both or none */
    TRY(buf_reserve(used, strlen(got.key), e));
    TRY(buf_add(blob, buf_sv(&text), e));
    return buf_add(used, sv_from(got.key), e);
}

err_code kms_unwrap(struct kms *kms, sv key, sv blob, sv datastore_id,
                    unsigned char out[KMS_KEY_LEN], struct err *e)
{
    const struct kms_context context = { KEEPER_CONTEXT, datastore_id };
    CLEANUP_BUF struct buf bytes = BUF_INIT(KMS_BLOB_MAX);
    struct err why = { 0 };
    if (blob.len == 0 || hash_base64_decode(blob, &bytes, &why) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "the wrapped key of a data store is damaged");
    return name(kms_decrypt(kms, key, &context, buf_sv(&bytes), out, e), ERR_DENIED, e);
}
