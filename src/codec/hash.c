/* hash.c - checksums and the text forms of bytes: CRC32C, hexadecimal digits, base64. SHA-256 has
 * rooms of its own (sha256.c, hmac.c), and so has XXH3 (xxh3.c). */
#include "codec/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

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

bool hash_unhex(sv text, void *out, size_t max)
{
    unsigned char *to = out;
    if (text.len % 2 || text.len / 2 > max)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return false;
        to[i / 2] = (unsigned char)(i % 2 ? to[i / 2] | v : v << 4);
    }
    return true;
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
