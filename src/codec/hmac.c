/* hmac.c - short texts hashed and signed: the work of a request's signature.
 *
 * Setting an EVP context up costs more than hashing the few hundred bytes of a canonical request,
 * so these go through OpenSSL's plain calls. A key that signs often is kept as the two states of
 * SHA-256 behind its blocks of padding: a MAC then starts from a copy of them.
 * Source: RFC 2104; FIPS 180-4. */
/* the plain calls' state can be kept and copied; EVP's cannot */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "codec/hash.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#define BLOCK SHA256_CBLOCK

void hash_sha256_of(sv bytes, unsigned char out[SHA256_LEN])
{
    SHA256_CTX c;
    /* None of these calls can fail. */
    (void)SHA256_Init(&c);
    if (bytes.len)
        (void)SHA256_Update(&c, bytes.ptr, bytes.len);
    (void)SHA256_Final(out, &c);
}

static void state_behind(const unsigned char key[BLOCK], unsigned char pad, uint32_t out[8])
{
    SHA256_CTX c;
    unsigned char block[BLOCK];
    for (size_t i = 0; i < BLOCK; i++)
        block[i] = key[i] ^ pad;
    (void)SHA256_Init(&c);
    (void)SHA256_Update(&c, block, BLOCK);
    for (size_t i = 0; i < 8; i++)
        out[i] = c.h[i];
    OPENSSL_cleanse(block, sizeof block);
    OPENSSL_cleanse(&c, sizeof c);
}

void hash_hmac_key_set(struct hash_hmac_key *k, sv key)
{
    unsigned char full[BLOCK] = { 0 };
    if (key.len > BLOCK)
        hash_sha256_of(key, full);
    else if (key.len)
        memcpy(full, key.ptr, key.len);
    state_behind(full, 0x36, k->inner);
    state_behind(full, 0x5C, k->outer);
    OPENSSL_cleanse(full, sizeof full);
}

/* The digest of one block, then head, then tail. */
static void go_on(const uint32_t from[8], sv head, sv tail, unsigned char out[SHA256_LEN])
{
    SHA256_CTX c;
    (void)SHA256_Init(&c);
    for (size_t i = 0; i < 8; i++)
        c.h[i] = from[i];
    /* So many bits were hashed so far. */
    c.Nl = BLOCK * 8;
    if (head.len)
        (void)SHA256_Update(&c, head.ptr, head.len);
    if (tail.len)
        (void)SHA256_Update(&c, tail.ptr, tail.len);
    (void)SHA256_Final(out, &c);
}

void hash_hmac_sha256_two(const struct hash_hmac_key *k, sv head, sv tail,
                          unsigned char out[SHA256_LEN])
{
    unsigned char inner[SHA256_LEN];
    go_on(k->inner, head, tail, inner);
    go_on(k->outer, sv_make(inner, sizeof inner), SV_NONE, out);
}

void hash_hmac_sha256_with(const struct hash_hmac_key *k, sv bytes, unsigned char out[SHA256_LEN])
{
    hash_hmac_sha256_two(k, bytes, SV_NONE, out);
}

void hash_hmac_sha256(sv key, sv bytes, unsigned char out[SHA256_LEN])
{
    struct hash_hmac_key k;
    hash_hmac_key_set(&k, key);
    hash_hmac_sha256_with(&k, bytes, out);
    OPENSSL_cleanse(&k, sizeof k);
}
