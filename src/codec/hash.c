#include "codec/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

/* Looking an algorithm up by its name costs more than hashing a short text: it is done once. */
static struct {
    EVP_MD *sha256;
    EVP_MAC_CTX *hmac; /* a MAC over SHA-256 that has no key yet: copied for each use */
    pthread_once_t once;
} found = { .once = PTHREAD_ONCE_INIT };

static void find(void)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string("digest", digest, 0),
                                  OSSL_PARAM_construct_end() };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    found.sha256 = EVP_MD_fetch(NULL, digest, NULL);
    found.hmac = mac ? EVP_MAC_CTX_new(mac) : NULL;
    if (found.sha256 == NULL || found.hmac == NULL ||
        EVP_MAC_CTX_set_params(found.hmac, params) != 1)
        abort();       /* no memory, or a libcrypto without SHA-256 */
    EVP_MAC_free(mac); /* the context holds it */
}

void hash_sha256_of(sv bytes, unsigned char out[SHA256_LEN])
{
    (void)pthread_once(&found.once, find); /* cannot fail */
    if (EVP_Digest(bytes.ptr, bytes.len, out, NULL, found.sha256, NULL) != 1)
        abort();
}

void hash_hmac_sha256(sv key, sv bytes, unsigned char out[SHA256_LEN])
{
    (void)pthread_once(&found.once, find); /* cannot fail */
    size_t n;
    EVP_MAC_CTX *c = EVP_MAC_CTX_dup(found.hmac);
    if (c == NULL ||
        EVP_MAC_init(c, (const unsigned char *)(key.ptr ? key.ptr : ""), key.len, NULL) != 1 ||
        EVP_MAC_update(c, (const unsigned char *)bytes.ptr, bytes.len) != 1 ||
        EVP_MAC_final(c, out, &n, SHA256_LEN) != 1)
        abort();
    EVP_MAC_CTX_free(c);
}

uint32_t hash_crc32c(uint32_t crc, sv bytes)
{
    crc = ~crc;
    const unsigned char *p = (const unsigned char *)bytes.ptr;
    size_t n = bytes.len;
#ifdef __SSE4_2__
    uint64_t c = crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        c = _mm_crc32_u64(c, v);
    }
    crc = (uint32_t)c;
    for (; n; n--)
        crc = _mm_crc32_u8(crc, *p++);
#else
    for (; n; n--) {
        crc ^= *p++;
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? (crc >> 1) ^ 0x82F63B78u : crc >> 1;
    }
#endif
    return ~crc;
}

void hash_hex(const unsigned char *bytes, size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex[bytes[i] >> 4];
        out[2 * i + 1] = hex[bytes[i] & 15];
    }
}

err_code hash_base64(sv bytes, struct buf *out, struct err *e)
{
    size_t n = (bytes.len + 2) / 3 * 4;
    TRY(buf_reserve(out, n + 1, e));
    EVP_EncodeBlock((unsigned char *)out->ptr + out->len, (const unsigned char *)bytes.ptr,
                    (int)bytes.len);
    out->len += n;
    return ERR_OK;
}

err_code hash_base64_decode(sv text, struct buf *out, struct err *e)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (text.len % 4)
        return ERR(e, ERR_INVALID, "base64 text is not a multiple of 4 characters long");
    size_t pad = sv_ends(text, SV_LIT("==")) ? 2 : sv_ends(text, SV_LIT("=")) ? 1 : 0;
    TRY(buf_reserve(out, text.len / 4 * 3, e));
    size_t len = out->len;
    uint32_t acc = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *p = text.ptr[i] ? strchr(alphabet, text.ptr[i]) : NULL;
        if (p == NULL && i < text.len - pad)
            return ERR(e, ERR_INVALID, "base64 text has a wrong character at position %zu", i);
        acc = acc << 6 | (p ? (uint32_t)(p - alphabet) : 0);
        if (i % 4 == 3) {
            out->ptr[len++] = (char)(acc >> 16);
            out->ptr[len++] = (char)(acc >> 8);
            out->ptr[len++] = (char)acc;
            acc = 0;
        }
    }
    out->len = len - (text.len ? pad : 0);
    return ERR_OK;
}

bool hash_equal(sv a, sv b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0);
}
