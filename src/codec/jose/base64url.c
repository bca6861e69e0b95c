/* base64url.c - bytes as text that fits into a token: A-Z a-z 0-9 - _, six bits each, no padding.
 *
 * Each sequence of bytes has one spelling that is taken. Otherwise one token would have several,
 * and whatever is kept under a token (an answer, a refusal) would not be found under the others.
 * Source: RFC 4648, 5; RFC 7515, 2. */
#include "codec/jose/jose_private.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

err_code jose_base64url_decode(struct arena *a, sv text, sv *out, struct err *e)
{
    size_t left = text.len % 4, n = 0;
    if (left == 1)
        return ERR(e, ERR_INVALID, "base64url has a length that no bytes give");
    unsigned char *bytes = arena_alloc(a, text.len / 4 * 3 + 3);
    if (bytes == NULL)
        return arena_oom(a, e);
    uint32_t bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        int v = value_of(text.ptr[i]);
        if (v < 0)
            return ERR(e, ERR_INVALID, "base64url has a byte that does not belong there");
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 == 3) {
            bytes[n++] = (unsigned char)(bits >> 16);
            bytes[n++] = (unsigned char)(bits >> 8);
            bytes[n++] = (unsigned char)bits;
            bits = 0;
        }
    }
    /* two digits hold 12 bits, three hold 18: what is beyond whole bytes must be 0 */
    if ((left == 2 && (bits & 0xF)) || (left == 3 && (bits & 0x3)))
        return ERR(e, ERR_INVALID, "base64url has bits that say nothing and are not 0");
    if (left == 2)
        bytes[n++] = (unsigned char)(bits >> 4);
    if (left == 3) {
        bytes[n++] = (unsigned char)(bits >> 10);
        bytes[n++] = (unsigned char)(bits >> 2);
    }
    *out = sv_make(bytes, n);
    return ERR_OK;
}

err_code jose_base64url(struct arena *a, sv bytes, sv *out, struct err *e)
{
    char *text = arena_alloc(a, bytes.len / 3 * 4 + 4);
    size_t n = 0;
    if (text == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < have ? (unsigned char)bytes.ptr[i + k] : 0u);
        for (size_t k = 0; k <= have; k++)
            text[n++] = digits[bits >> (18 - 6 * k) & 63];
    }
    *out = sv_make(text, n);
    return ERR_OK;
}
