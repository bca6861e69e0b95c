/* sha256.c - SHA-256 as a stream, and two streams side by side.
 *
 * A digest is one chain of dependent steps: a processor with SHA instructions runs two of them on
 * one core in hardly more time than one. OpenSSL has that code (sha256_multi_block, made for TLS
 * records), but no call for it; where the build finds it in libcrypto's static archive
 * (meson.build), pairs go through it, and all else - a build without it, a processor without SHA
 * instructions, a symbol that does not do what it did (it is compared with one stream's once) -
 * takes one stream after the other.
 * Source: FIPS 180-4; OpenSSL crypto/sha/asm/sha256-mb-x86_64.pl for the shape of the call. */
#ifdef HAVE_SHA256_MULTI_BLOCK
#define OPENSSL_SUPPRESS_DEPRECATED /* its state can be handed from call to call; EVP's cannot */
#endif
#include "codec/hash.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#ifdef HAVE_SHA256_MULTI_BLOCK
#include <cpuid.h>
#include <pthread.h>
#endif

#ifndef HAVE_SHA256_MULTI_BLOCK

struct hash_sha256 {
    EVP_MD_CTX *ctx;
};

struct hash_sha256 *hash_sha256_new(void)
{
    struct hash_sha256 *h = malloc(sizeof *h);
    /* no memory, or a libcrypto without SHA-256 */
    if (h == NULL || (h->ctx = EVP_MD_CTX_new()) == NULL ||
        EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1)
        abort();
    return h;
}

void hash_sha256_free(struct hash_sha256 *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

void hash_sha256_add(struct hash_sha256 *h, sv bytes)
{
    /* fails on a NULL context only */
    (void)EVP_DigestUpdate(h->ctx, bytes.ptr, bytes.len);
}

void hash_sha256_take(struct hash_sha256 *h, unsigned char out[SHA256_LEN])
{
    (void)EVP_DigestFinal_ex(h->ctx, out, NULL);
    /* same digest again */
    (void)EVP_DigestInit_ex(h->ctx, NULL, NULL);
}

bool hash_sha256_pairs(void)
{
    return false;
}

void hash_sha256_add_pair(struct hash_sha256 *a, sv x, struct hash_sha256 *b, sv y)
{
    hash_sha256_add(a, x);
    hash_sha256_add(b, y);
}

#else

#define LANES 8 /* of the state; a call with n4x = 1 works on the first four */
#define BLOCK SHA256_CBLOCK

struct lanes {
    unsigned h[8][LANES]; /* word by word, of each lane */
};
struct lane_input {
    const unsigned char *ptr;
    int n_blocks; /* 0: the lane rests */
};
void sha256_multi_block(struct lanes *state, const struct lane_input *in, int n4x); /* OpenSSL's */

struct hash_sha256 {
    SHA256_CTX ctx;
};

struct hash_sha256 *hash_sha256_new(void)
{
    struct hash_sha256 *h = malloc(sizeof *h);
    if (h == NULL || SHA256_Init(&h->ctx) != 1)
        abort();
    return h;
}

void hash_sha256_free(struct hash_sha256 *h)
{
    free(h);
}

void hash_sha256_add(struct hash_sha256 *h, sv bytes)
{
    /* cannot fail */
    if (bytes.len)
        (void)SHA256_Update(&h->ctx, bytes.ptr, bytes.len);
}

void hash_sha256_take(struct hash_sha256 *h, unsigned char out[SHA256_LEN])
{
    (void)SHA256_Final(out, &h->ctx);
    (void)SHA256_Init(&h->ctx);
}

/* n whole blocks of each; both stand at the border of a block. */
static void pair_blocks(SHA256_CTX *const ctx[2], const char *const from[2], int n)
{
    struct lanes s = { 0 };
    struct lane_input in[4] = { { 0 } };
    for (int l = 0; l < 2; l++) {
        in[l] = (struct lane_input){ (const unsigned char *)from[l], n };
        for (int i = 0; i < 8; i++)
            s.h[i][l] = ctx[l]->h[i];
    }
    sha256_multi_block(&s, in, 1);
    for (int l = 0; l < 2; l++) {
        uint64_t bits = ((uint64_t)ctx[l]->Nh << 32 | ctx[l]->Nl) + (uint64_t)n * BLOCK * 8;
        ctx[l]->Nl = (SHA_LONG)bits;
        ctx[l]->Nh = (SHA_LONG)(bits >> 32);
        for (int i = 0; i < 8; i++)
            ctx[l]->h[i] = s.h[i][l];
    }
}

static bool usable;

static void find_out(void)
{
    static const char text[4 * BLOCK] = "two streams, side by side";
    unsigned a, b = 0, c, d;
    /* no SHA instructions: lanes of plain ones are slower than one stream after the other */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 29))
        return;
    SHA256_CTX x, y;
    unsigned char want[SHA256_LEN], have[SHA256_LEN];
    (void)SHA256_Init(&x);
    (void)SHA256_Init(&y);
    pair_blocks((SHA256_CTX *const[]){ &x, &y }, (const char *const[]){ text, text + BLOCK }, 3);
    hash_sha256_of(sv_make(text, 3 * BLOCK), want);
    (void)SHA256_Final(have, &x);
    bool same = memcmp(want, have, SHA256_LEN) == 0;
    hash_sha256_of(sv_make(text + BLOCK, 3 * BLOCK), want);
    (void)SHA256_Final(have, &y);
    usable = same && memcmp(want, have, SHA256_LEN) == 0;
}

bool hash_sha256_pairs(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    /* cannot fail */
    (void)pthread_once(&once, find_out);
    return usable;
}

/* To the border of a block. */
static sv align(struct hash_sha256 *h, sv bytes)
{
    size_t lack = h->ctx.num ? BLOCK - h->ctx.num : 0;
    hash_sha256_add(h, sv_head(bytes, lack));
    return sv_tail(bytes, lack);
}

void hash_sha256_add_pair(struct hash_sha256 *a, sv x, struct hash_sha256 *b, sv y)
{
    if (hash_sha256_pairs() && a != b) {
        x = align(a, x);
        y = align(b, y);
        size_t n = (x.len < y.len ? x.len : y.len) / BLOCK;
        if (n && n <= INT32_MAX && a->ctx.num == 0 && b->ctx.num == 0) {
            pair_blocks((SHA256_CTX *const[]){ &a->ctx, &b->ctx },
                        (const char *const[]){ x.ptr, y.ptr }, (int)n);
            x = sv_tail(x, n * BLOCK);
            y = sv_tail(y, n * BLOCK);
        }
    }
    hash_sha256_add(a, x);
    hash_sha256_add(b, y);
}

#endif
