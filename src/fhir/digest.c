/* digest.c - the digest of a set of resources, whatever their order and however they were cut into
 * files.
 *
 * Each resource counts with XXH3-128 of its stored form without what the store adds. The digest of
 * a set is the sum of these numbers modulo 2^128. docs/export-digest.md says why. */
#include "fhir/digest.h"

#include "codec/hash.h"

static void add(struct fhir_digest *digest, sv head, sv tail)
{
    struct fhir_digest one;
    hash_xxh3_128(head, tail, one.w);
    fhir_digest_add(digest, &one);
}

void fhir_digest_add(struct fhir_digest *digest, const struct fhir_digest *more)
{
    digest->w[0] += more->w[0];
    digest->w[1] += more->w[1] + (digest->w[0] < more->w[0]);
}

void fhir_digest_take(struct fhir_digest *digest, const struct fhir_digest *part)
{
    bool borrow = digest->w[0] < part->w[0];
    digest->w[0] -= part->w[0];
    digest->w[1] -= part->w[1] + borrow;
}

void fhir_digest_text(struct fhir_digest *digest, sv text)
{
    add(digest, text, SV_NONE);
}

void fhir_digest_body(struct fhir_digest *digest, const struct fhir_body *b)
{
    sv head = b->json, tail = SV_NONE;
    /* no meta and an empty one are the same once exported */
    if (b->hole == FHIR_HOLE_META_EMPTY) {
        head = sv_head(b->json, b->hole_at - (sizeof "\"meta\":{" - 1));
        tail = sv_tail(b->json, b->hole_at + 1);
        if (head.len && head.ptr[head.len - 1] == ',')
            head.len--;
    }
    add(digest, head, tail);
}

void fhir_digest_hex(const struct fhir_digest *digest, char out[FHIR_DIGEST_HEX])
{
    unsigned char bytes[sizeof digest->w];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(digest->w[i / 8] >> (8 * (i % 8)));
    hash_hex(bytes, sizeof bytes, out);
}

void fhir_digest_line(struct hash_sha256 *h, const char *what, const char *type, uint64_t n,
                      const struct fhir_digest *digest)
{
    char hex[FHIR_DIGEST_HEX], line[256];
    fhir_digest_hex(digest, hex);
    int len = snprintf(line, sizeof line, "%s%s %llu %.*s\n", what, type, (unsigned long long)n,
                       (int)sizeof hex, hex);
    hash_sha256_add(h, sv_make(line, (size_t)len));
}

bool fhir_digest_read(sv hex, struct fhir_digest *out)
{
    unsigned char bytes[sizeof out->w];
    if (hex.len != FHIR_DIGEST_HEX || !hash_unhex(hex, bytes, sizeof bytes))
        return false;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof bytes; i++)
        out->w[i / 8] |= (uint64_t)bytes[i] << (8 * (i % 8));
    return true;
}
