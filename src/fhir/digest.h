/* digest.h - one number for a set of resources, whatever their order and however they were cut into
 * files. Exports write it into their manifest, and `fhirlake verify` computes it again.
 * Source: docs/export-digest.md.   Floor: fhir. */
#pragma once
#include "codec/hash.h"
#include "fhir/envelope.h"

/* A sum modulo 2^128, low half first. All zero: of nothing. */
struct fhir_digest {
    uint64_t w[2];
};
#define FHIR_DIGEST_HEX 32

/* Both sets together. */
void fhir_digest_add(struct fhir_digest *digest, const struct fhir_digest *more);
/* Away again. */
void fhir_digest_take(struct fhir_digest *digest, const struct fhir_digest *part);
/* One resource more, as the store keeps it. */
void fhir_digest_body(struct fhir_digest *digest, const struct fhir_body *b);
/* One text more. */
void fhir_digest_text(struct fhir_digest *digest, sv text);
/* Without a NUL. */
void fhir_digest_hex(const struct fhir_digest *digest, char out[FHIR_DIGEST_HEX]);
/* What stands for one type in a contentDigest, hashed: the line "Patient 12 <digest>\n".
 *   what  in front of the type: "", or what kind of resources these are */
void fhir_digest_line(struct hash_sha256 *h, const char *what, const char *type, uint64_t n,
                      const struct fhir_digest *digest);
/* False: hex is none. */
bool fhir_digest_read(sv hex, struct fhir_digest *out);
