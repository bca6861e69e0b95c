/* data.c - data keys: made by KMS, wrapped and unwrapped by it.
 *
 * The clear key of an answer goes from the tree that is about to be overwritten (s3/json.c) into
 * the caller's 32 bytes, by a buffer on the stack that is overwritten too.
 * Source: AWS KMS API Reference, GenerateDataKey, Encrypt, Decrypt. */
#include "kms/kms_private.h"

#include "codec/hash.h"

static err_code read_clear(yyjson_val *answer, unsigned char out[KMS_KEY_LEN], struct err *e)
{
    struct err why = { 0 };
    char room[KMS_KEY_LEN + 16];
    sv text = json_string(json_get(answer, "Plaintext"));
    /* never grows: what is longer is none */
    struct buf b = { room, 0, sizeof room, sizeof room };
    bool fits = text.len > 0 && text.len <= 44 && hash_base64_decode(text, &b, &why) == ERR_OK &&
                b.ptr == room && b.len == KMS_KEY_LEN;
    if (fits)
        memcpy(out, room, KMS_KEY_LEN);
    explicit_bzero(room, sizeof room);
    return fits ? ERR_OK : ERR(e, ERR_PEER, "an answer without a key of %u bytes", KMS_KEY_LEN);
}

static err_code read_blob(yyjson_val *answer, struct kms_blob *out, struct err *e)
{
    struct err why = { 0 };
    sv text = json_string(json_get(answer, "CiphertextBlob"));
    sv key = json_string(json_get(answer, "KeyId"));
    CLEANUP_BUF struct buf b = BUF_INIT(KMS_BLOB_MAX);
    if (text.len == 0 || hash_base64_decode(text, &b, &why) != ERR_OK || b.len == 0)
        return ERR(e, ERR_PEER, "an answer without a wrapped key");
    if (key.len == 0 || key.len > KMS_NAME_MAX || memchr(key.ptr, 0, key.len))
        return ERR(e, ERR_PEER, "an answer without a key's ARN");
    memcpy(out->bytes, b.ptr, b.len);
    out->len = b.len;
    memcpy(out->key, key.ptr, key.len);
    out->key[key.len] = 0;
    return ERR_OK;
}

err_code kms_read_keyed(void *ctx, yyjson_val *answer, struct err *e)
{
    const struct kms_keyed *want = ctx;
    if (want->blob)
        TRY(read_blob(answer, want->blob, e));
    return want->clear ? read_clear(answer, want->clear, e) : ERR_OK;
}

static void kv_base64(struct json_writer *w, const char *name, sv bytes)
{
    /* it is written once, into memory that does not move */
    char room[KMS_BLOB_MAX / 3 * 4 + 8];
    struct buf b = { room, 0, sizeof room, sizeof room };
    struct err why = { 0 };
    if (hash_base64(bytes, &b, &why) == ERR_OK)
        json_kv_str(w, name, buf_sv(&b));
    explicit_bzero(room, sizeof room);
}

err_code kms_generate_data_key(struct kms *kms, sv key, const struct kms_context *context,
                               unsigned char out[KMS_KEY_LEN], struct kms_blob *blob, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(KMS_BODY_MAX);
    struct json_writer w;
    struct kms_blob got = { 0 };
    unsigned char clear[KMS_KEY_LEN];
    struct kms_keyed want = { clear, &got };
    kms_body(&w, &b, "KeyId", key);
    kms_body_context(&w, "EncryptionContext", context);
    json_kv_str(&w, "KeySpec", SV_LIT("AES_256"));
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    err_code rc = kms_call(kms, "GenerateDataKey", &b, false, kms_read_keyed, &want, e);
    if (rc == ERR_OK) {
        memcpy(out, clear, KMS_KEY_LEN);
        *blob = got;
    }
    explicit_bzero(clear, sizeof clear);
    return rc;
}

err_code kms_encrypt(struct kms *kms, sv key, const struct kms_context *context,
                     const unsigned char data_key[KMS_KEY_LEN], struct kms_blob *blob,
                     struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(KMS_BODY_MAX);
    struct json_writer w;
    struct kms_blob got = { 0 };
    struct kms_keyed want = { NULL, &got };
    /* at once: a buffer that grows leaves copies behind */
    TRY(buf_reserve(&b, KMS_BODY_MAX, e));
    kms_body(&w, &b, "KeyId", key);
    kms_body_context(&w, "EncryptionContext", context);
    kv_base64(&w, "Plaintext", sv_make(data_key, KMS_KEY_LEN));
    json_obj_end(&w);
    err_code rc = json_writer_end(&w, e);
    if (rc == ERR_OK)
        rc = kms_call(kms, "Encrypt", &b, false, kms_read_keyed, &want, e);
    explicit_bzero(b.ptr, b.cap);
    if (rc == ERR_OK)
        *blob = got;
    return rc;
}

err_code kms_decrypt(struct kms *kms, sv key, const struct kms_context *context, sv blob,
                     unsigned char out[KMS_KEY_LEN], struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(KMS_BODY_MAX);
    struct json_writer w;
    unsigned char clear[KMS_KEY_LEN];
    struct kms_keyed want = { clear, NULL };
    if (blob.len == 0 || blob.len > KMS_BLOB_MAX)
        return ERR(e, ERR_CORRUPT, "a wrapped key of %zu bytes", blob.len);
    kms_body(&w, &b, "KeyId", key);
    kms_body_context(&w, "EncryptionContext", context);
    kv_base64(&w, "CiphertextBlob", blob);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    err_code rc = kms_call(kms, "Decrypt", &b, false, kms_read_keyed, &want, e);
    if (rc == ERR_OK)
        memcpy(out, clear, KMS_KEY_LEN);
    explicit_bzero(clear, sizeof clear);
    return rc;
}
