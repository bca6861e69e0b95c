/* export_sum.c - the digest of a set of resources, whatever their order and however they were cut into files.
 *
 * Each resource counts with SHA-256 over (two CRC-64 of different polynomials, length) of its stored form
 * without what the store adds; the set is the sum of these modulo 2^256. docs/export-digest.md says why. */
#include "job/export.h"

#include "codec/hash.h"

static void add(struct export_sum *s, const uint64_t crc[2], uint64_t len)
{
    unsigned char in[24], out[SHA256_LEN];
    for (unsigned i = 0; i < 8; i++) {
        in[i] = (unsigned char)(crc[0] >> (8 * i));
        in[8 + i] = (unsigned char)(crc[1] >> (8 * i));
        in[16 + i] = (unsigned char)(len >> (8 * i));
    }
    hash_sha256_of(sv_make(in, sizeof in), out);
    struct export_sum one;
    for (unsigned w = 0; w < 4; w++) {
        one.w[w] = 0;
        for (unsigned i = 0; i < 8; i++)
            one.w[w] |= (uint64_t)out[w * 8 + i] << (8 * i);
    }
    export_sum_add(s, &one);
}

void export_sum_add(struct export_sum *s, const struct export_sum *more)
{
    uint64_t carry = 0;
    for (unsigned w = 0; w < 4; w++) {
        uint64_t before = s->w[w];
        s->w[w] = before + more->w[w];
        uint64_t over = s->w[w] < before;
        s->w[w] += carry;
        carry = over | (s->w[w] < carry);
    }
}

void export_sum_text(struct export_sum *s, sv text)
{
    uint64_t crc[2] = { 0 };
    hash_crc64_pair(crc, text);
    add(s, crc, text.len);
}

void export_sum_body(struct export_sum *s, const struct fhir_body *b)
{
    sv head = sv_head(b->json, b->hole_at), tail = sv_tail(b->json, b->hole_at);
    if (b->hole == FHIR_HOLE_META_EMPTY) { /* no meta and an empty one are the same once exported */
        head = sv_head(head, head.len - (sizeof "\"meta\":{" - 1));
        tail = sv_tail(tail, 1);
        if (head.len && head.ptr[head.len - 1] == ',')
            head.len--;
    }
    uint64_t crc[2] = { 0 };
    hash_crc64_pair(crc, head);
    hash_crc64_pair(crc, tail);
    add(s, crc, head.len + tail.len);
}

void export_sum_hex(const struct export_sum *s, char out[EXPORT_SUM_HEX])
{
    unsigned char bytes[32];
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (unsigned char)(s->w[i / 8] >> (8 * (i % 8)));
    hash_hex(bytes, sizeof bytes, out);
}

bool export_sum_read(sv hex, struct export_sum *out)
{
    if (hex.len != EXPORT_SUM_HEX)
        return false;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < hex.len; i++) {
        char c = hex.ptr[i];
        unsigned d = c >= '0' && c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
        if (d > 15)
            return false;
        out->w[i / 16] |= (uint64_t)d << (8 * (i / 2 % 8) + (i % 2 ? 0 : 4));
    }
    return true;
}
