/* cipher.c - the prefix of an encrypted file, and the bytes behind it.
 *
 *   0  magic, 8     16  nonce, 12     44  the file's key and first counter, wrapped, 48
 *   8  data key, 8  28  tag, 16       92  zeros to the end
 *
 * What is not wrapped is authenticated with it, zeros and all. Key and counter are random for each
 * file, and a file that is written anew gets others, so no counter is used twice.
 *
 * OpenSSL's context holds the expanded key. One is kept for each thread, and stays with the file
 * that it was used for last: a scan reads one file again and again. */
#include "codec/crypt/cipher.h"

#include "base/rng.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT_KEY_ID 8u
#define AT_NONCE  16u
#define AT_TAG    28u
#define AT_SECRET 44u
#define AT_ZEROS  92u
#define NONCE_LEN 12u
#define TAG_LEN   16u
#define BLOCK     16u
#define PIECE_MAX ((size_t)1 << 30) /* EVP counts in int */

struct secret { /* of a file */
    unsigned char key[CIPHER_KEY_LEN], counter[BLOCK];
};
_Static_assert(AT_SECRET + sizeof(struct secret) == AT_ZEROS, "the layout of a prefix");

struct cipher {
    uint64_t serial; /* of the process: tells whose key a context has */
    struct secret secret;
};

void cipher_ring_wipe(struct cipher_ring *ring)
{
    if (ring)
        OPENSSL_cleanse(ring, sizeof *ring);
}

/* ---- the prefix ---- */

/* Either way, in place. False: the prefix is not one that this key wrapped. */
static bool wrap(bool writing, const unsigned char key[CIPHER_KEY_LEN], unsigned char *prefix,
                 struct secret *secret)
{
    EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
    int n = 0;
    unsigned char none[BLOCK], *s = (unsigned char *)secret;
    if (x == NULL)
        abort();
    bool ok = EVP_CipherInit_ex(x, EVP_aes_256_gcm(), NULL, key, prefix + AT_NONCE, writing) == 1 &&
              EVP_CipherUpdate(x, NULL, &n, prefix, AT_TAG) == 1 &&
              EVP_CipherUpdate(x, NULL, &n, prefix + AT_ZEROS, CIPHER_PREFIX - AT_ZEROS) == 1;
    ok = ok && EVP_CipherUpdate(x, writing ? prefix + AT_SECRET : s, &n,
                                writing ? s : prefix + AT_SECRET, sizeof *secret) == 1;
    if (!writing)
        ok = ok && EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_SET_TAG, TAG_LEN, prefix + AT_TAG) == 1;
    ok = ok && EVP_CipherFinal_ex(x, none, &n) == 1;
    if (writing)
        ok = ok && EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_GET_TAG, TAG_LEN, prefix + AT_TAG) == 1;
    EVP_CIPHER_CTX_free(x);
    return ok;
}

static struct cipher *alloc_cipher(void)
{
    static _Atomic uint64_t last;
    struct cipher *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->serial = atomic_fetch_add(&last, 1) + 1;
    return c;
}

struct cipher *cipher_new_for_now(void)
{
    struct cipher *c = alloc_cipher();
    rng_bytes(&c->secret, sizeof c->secret);
    return c;
}

struct cipher *cipher_new(const struct cipher_ring *ring, unsigned char prefix[CIPHER_PREFIX])
{
    struct cipher *c = cipher_new_for_now();
    memset(prefix, 0, CIPHER_PREFIX);
    memcpy(prefix, CIPHER_MAGIC, AT_KEY_ID);
    memcpy(prefix + AT_KEY_ID, ring->keys[0].id, CIPHER_ID_LEN);
    rng_bytes(prefix + AT_NONCE, NONCE_LEN);
    /* nothing of this depends on what comes from outside */
    if (!wrap(true, ring->keys[0].key, prefix, &c->secret))
        abort();
    return c;
}

err_code cipher_of(const struct cipher_ring *ring, const unsigned char prefix[CIPHER_PREFIX],
                   struct cipher **out, struct err *e)
{
    unsigned char copy[CIPHER_PREFIX];
    memcpy(copy, prefix, sizeof copy);
    if (memcmp(copy, CIPHER_MAGIC, AT_KEY_ID) != 0)
        return ERR(e, ERR_CORRUPT, "a file of an encrypted data store is not encrypted");
    for (unsigned i = 0; i < ring->n; i++) {
        if (memcmp(ring->keys[i].id, copy + AT_KEY_ID, CIPHER_ID_LEN) != 0)
            continue;
        struct cipher *c = alloc_cipher();
        if (wrap(false, ring->keys[i].key, copy, &c->secret)) {
            *out = c;
            return ERR_OK;
        }
        cipher_free(c);
        return ERR(e, ERR_CORRUPT, "the beginning of an encrypted file was changed");
    }
    return ERR(e, ERR_CORRUPT, "an encrypted file has a key that is not one of its data store");
}

err_code cipher_of_file(const struct cipher_ring *ring, int fd, struct cipher **out, struct err *e)
{
    unsigned char prefix[CIPHER_PREFIX];
    for (size_t at = 0; at < sizeof prefix;) {
        ssize_t n = pread(fd, prefix + at, sizeof prefix - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR(e, ERR_IO, "an encrypted file cannot be read");
        if (n == 0)
            return ERR(e, ERR_CORRUPT, "an encrypted file is cut off in its beginning");
        at += (size_t)n;
    }
    return cipher_of(ring, prefix, out, e);
}

void cipher_free(struct cipher *c)
{
    if (c == NULL)
        return;
    OPENSSL_cleanse(c, sizeof *c);
    free(c);
}

/* ---- the bytes ---- */

struct context { /* of a thread */
    EVP_CIPHER_CTX *x;
    uint64_t serial; /* whose key it has; 0: nobody's */
};
static _Thread_local struct context *own;
static pthread_key_t at_exit;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void context_free(void *ptr)
{
    struct context *context = ptr;
    EVP_CIPHER_CTX_free(context->x);
    free(context);
}

static void make_key(void)
{
    if (pthread_key_create(&at_exit, context_free) != 0)
        abort();
}

static struct context *context_of_thread(void)
{
    if (own)
        return own;
    pthread_once(&once, make_key);
    struct context *context = calloc(1, sizeof *context);
    if (context == NULL || (context->x = EVP_CIPHER_CTX_new()) == NULL ||
        EVP_EncryptInit_ex(context->x, EVP_aes_256_ctr(), NULL, NULL, NULL) != 1 ||
        pthread_setspecific(at_exit, context) != 0)
        abort();
    return own = context;
}

/* The counter of a block: the first one and the block's number, as one number of 128 bits. */
static void counter_at(const unsigned char first[BLOCK], uint64_t block, unsigned char out[BLOCK])
{
    memcpy(out, first, BLOCK);
    unsigned carry = 0;
    for (unsigned i = BLOCK; i-- > 0;) {
        unsigned sum = out[i] + (unsigned)(block & 0xFF) + carry;
        out[i] = (unsigned char)sum;
        carry = sum >> 8;
        block >>= 8;
    }
}

void cipher_apply(const struct cipher *c, uint64_t offset, const void *in, void *out, size_t n)
{
    struct context *context = context_of_thread();
    const unsigned char *from = in;
    unsigned char *to = out, counter[BLOCK], skipped[BLOCK] = { 0 };
    int got;
    counter_at(c->secret.counter, offset / BLOCK, counter);
    const bool same = context->serial == c->serial;
    /* both fail for want of memory alone */
    if (EVP_EncryptInit_ex(context->x, NULL, NULL, same ? NULL : c->secret.key, counter) != 1)
        abort();
    context->serial = c->serial;
    if (offset % BLOCK &&
        EVP_EncryptUpdate(context->x, skipped, &got, skipped, (int)(offset % BLOCK)) != 1)
        abort();
    while (n) {
        size_t piece = n < PIECE_MAX ? n : PIECE_MAX;
        if (EVP_EncryptUpdate(context->x, to, &got, from, (int)piece) != 1)
            abort();
        to += piece;
        from += piece;
        n -= piece;
    }
}
