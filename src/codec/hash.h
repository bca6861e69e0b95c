/* hash.h - digests, MACs and their text forms. OpenSSL does the work; CRC32C is SSE4.2's, XXH3 is
 * xxHash's.   Floor: codec. */
#pragma once
#include "base/buf.h"

#define SHA256_LEN     32
#define SHA256_HEX_LEN 64

struct hash_sha256; /* streaming; one thread at a time */
struct hash_sha256 *hash_sha256_new(void);
void hash_sha256_free(struct hash_sha256 *h);
DEFINE_CLEANUP(struct hash_sha256, hash_sha256_free)
void hash_sha256_add(struct hash_sha256 *h, sv bytes);
/* Digest of all added so far; h starts anew. */
void hash_sha256_take(struct hash_sha256 *h, unsigned char out[SHA256_LEN]);
/* Adds x to a, and y to b. Where hash_sha256_pairs() is true, both take about the time of one, as
 * far as both texts reach: give pieces of equal length, in multiples of 64 bytes. */
void hash_sha256_add_pair(struct hash_sha256 *a, sv x, struct hash_sha256 *b, sv y);
bool hash_sha256_pairs(void); /* this build on this processor */

void hash_sha256_of(sv bytes, unsigned char out[SHA256_LEN]);
void hash_hmac_sha256(sv key, sv bytes, unsigned char out[SHA256_LEN]);
/* A key that signs often. As secret as the key itself. */
struct hash_hmac_key {
    uint32_t inner[8], outer[8]; /* SHA-256 behind the key's padded blocks */
};
void hash_hmac_key_set(struct hash_hmac_key *k, sv key);
void hash_hmac_sha256_with(const struct hash_hmac_key *k, sv bytes, unsigned char out[SHA256_LEN]);
/* Over head and then tail. */
void hash_hmac_sha256_two(const struct hash_hmac_key *k, sv head, sv tail,
                          unsigned char out[SHA256_LEN]);
uint32_t hash_crc32c(uint32_t crc, sv bytes); /* start with 0 */
/* XXH3 of 128 bits over head and then tail: low half, high half. Guards against accidents, not
 * against people. */
void hash_xxh3_128(sv head, sv tail, uint64_t out[2]);

void hash_hex(const unsigned char *bytes, size_t n, char *out); /* 2n chars, lower case, no NUL */
/* The bytes that hash_hex() wrote as text: text.len / 2 of them. False, and out is spoilt: the text
 * is longer than 2 * max, of an odd length, or not all of lower-case hexadecimal digits. */
MUST_USE bool hash_unhex(sv text, void *out, size_t max);
/* Standard base64 with padding, appended. */
MUST_USE err_code hash_base64(sv bytes, struct buf *out, struct err *e);
MUST_USE err_code hash_base64_decode(sv text, struct buf *out, struct err *e); /* ERR_INVALID */
/* Equality in time that depends on the lengths only. */
bool hash_equal(sv a, sv b);
