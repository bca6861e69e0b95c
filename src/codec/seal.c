/* seal.c - A text is encrypted with AES-256-GCM under a fresh random nonce, and written as
 * base64url. `about` says what the text is for. It is signed and not sent, so a text that was
 * sealed for one purpose does not open for another. */
#include "codec/seal.h"

#include "base/rng.h"
#include "codec/hash.h"

#include <openssl/evp.h>

#define NONCE_LEN 12u
#define TAG_LEN   16u

_Static_assert(NONCE_LEN + TAG_LEN == SEAL_EXTRA, "what a sealed text has beside the plain one");

/* Either way; EVP's calls answer 1 when all is well. tag: written when sealing, compared when
 * opening. */
static bool crypt(bool sealing, const unsigned char *key, const unsigned char *nonce, sv about,
                  sv in, unsigned char *out, unsigned char *tag)
{
    EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
    int n = 0;
    unsigned char none[16];
    if (x == NULL)
        abort();
    bool ok = EVP_CipherInit_ex(x, EVP_aes_256_gcm(), NULL, key, nonce, sealing) == 1;
    if (ok && about.len)
        ok = EVP_CipherUpdate(x, NULL, &n, (const unsigned char *)about.ptr, (int)about.len) == 1;
    if (ok && in.len)
        ok = EVP_CipherUpdate(x, out, &n, (const unsigned char *)in.ptr, (int)in.len) == 1;
    if (ok && !sealing)
        ok = EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag) == 1;
    ok = ok && EVP_CipherFinal_ex(x, none, &n) == 1;
    if (ok && sealing)
        ok = EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_GET_TAG, TAG_LEN, tag) == 1;
    EVP_CIPHER_CTX_free(x);
    return ok;
}

static err_code url_form(sv bytes, struct buf *out, struct err *e)
{
    size_t from = out->len;
    TRY(hash_base64(bytes, out, e));
    while (out->len > from && out->ptr[out->len - 1] == '=')
        out->len--;
    for (size_t i = from; i < out->len; i++)
        out->ptr[i] = out->ptr[i] == '+' ? '-' : out->ptr[i] == '/' ? '_' : out->ptr[i];
    return ERR_OK;
}

static err_code from_url_form(sv text, struct buf *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(text.len + 4);
    TRY(buf_add(&b, text, e));
    for (size_t i = 0; i < b.len; i++) {
        if (b.ptr[i] == '+' || b.ptr[i] == '/' || b.ptr[i] == '=')
            return ERR(e, ERR_INVALID, "a sealed text is base64url");
        b.ptr[i] = b.ptr[i] == '-' ? '+' : b.ptr[i] == '_' ? '/' : b.ptr[i];
    }
    while (b.len % 4)
        TRY(buf_add_char(&b, '=', e));
    TRY(hash_base64_decode(buf_sv(&b), out, e));
    buf_clear(&b);
    TRY(url_form(buf_sv(out), &b, e));
    return sv_eq(buf_sv(&b), text) ? ERR_OK /* one spelling each */
                                   : ERR(e, ERR_INVALID, "a sealed text is base64url");
}

err_code seal_close(const unsigned char key[SEAL_KEY_LEN], sv about, sv plain, struct buf *out,
                    struct err *e)
{
    if (plain.len > INT32_MAX / 2 || about.len > INT32_MAX / 2)
        return ERR(e, ERR_TOO_LARGE, "too long to be sealed");
    CLEANUP_BUF struct buf b = BUF_INIT(plain.len + SEAL_EXTRA);
    TRY(buf_reserve(&b, plain.len + SEAL_EXTRA, e));
    unsigned char *p = (unsigned char *)b.ptr;
    rng_bytes(p, NONCE_LEN);
    if (!crypt(true, key, p, about, plain, p + NONCE_LEN, p + NONCE_LEN + plain.len))
        return ERR(e, ERR_INTERNAL, "sealing failed");
    b.len = plain.len + SEAL_EXTRA;
    return url_form(buf_sv(&b), out, e);
}

err_code seal_open(const unsigned char key[SEAL_KEY_LEN], sv about, sv text, struct buf *plain,
                   struct err *e)
{
    if (text.len > INT32_MAX / 2 || about.len > INT32_MAX / 2)
        return ERR(e, ERR_INVALID, "not a sealed text");
    CLEANUP_BUF struct buf b = BUF_INIT(text.len + 4);
    TRY(from_url_form(text, &b, e));
    if (b.len < SEAL_EXTRA)
        return ERR(e, ERR_INVALID, "not a sealed text");
    size_t n = b.len - SEAL_EXTRA;
    unsigned char *p = (unsigned char *)b.ptr;
    TRY(buf_reserve(plain, n + 1, e));
    if (!crypt(false, key, p, about, sv_make(p + NONCE_LEN, n),
               (unsigned char *)plain->ptr + plain->len, p + NONCE_LEN + n))
        return ERR(e, ERR_INVALID, "not a sealed text, or not for this");
    plain->len += n;
    return ERR_OK;
}
