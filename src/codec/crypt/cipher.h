/* cipher.h - files at rest: AES-256 in counter mode, under a key that each file has for itself.
 *
 *   a data store's ring  one or more data keys; the first one wraps the keys of new files
 *   a file               CIPHER_PREFIX bytes with its key, wrapped; then its bytes, as many as ever
 *
 * Any range of a file is read by itself. The prefix is authenticated (AES-256-GCM), and the bytes
 * behind it are not: who can write to the disk can flip bits unseen. docs/internals/encryption.md.
 * Sources: NIST SP 800-38A 6.5 (CTR), SP 800-38D (GCM).   Floor: codec. */
#pragma once
#include "base/err.h"

#include <stdint.h>

#define CIPHER_PREFIX  4096u /* bytes in front of a file */
#define CIPHER_KEY_LEN 32u
#define CIPHER_ID_LEN  8u
#define CIPHER_MAGIC   "fhlkenc1" /* what a prefix begins with; 8 bytes */
#define CIPHER_KEYS    16u        /* of a ring */

struct cipher_key {
    unsigned char id[CIPHER_ID_LEN]; /* no secret: it stands in the prefixes */
    unsigned char key[CIPHER_KEY_LEN];
};
struct cipher_ring {
    unsigned n; /* 1 at least; the first is that of new files */
    struct cipher_key keys[CIPHER_KEYS];
};
void cipher_ring_wipe(struct cipher_ring *ring); /* NULL: nothing */

struct cipher; /* of one file; any number of threads at a time */

/* Of a new file. prefix: what the file is to begin with. Never NULL. */
struct cipher *cipher_new(const struct cipher_ring *ring, unsigned char prefix[CIPHER_PREFIX]);
/* Of a file that there is. ERR_CORRUPT: it is not encrypted, its beginning was changed, or none of
 * the ring's keys wraps its own. */
MUST_USE err_code cipher_of(const struct cipher_ring *ring,
                            const unsigned char prefix[CIPHER_PREFIX], struct cipher **out,
                            struct err *e);
/* The same of an open file, read at its beginning. ERR_IO too. */
MUST_USE err_code cipher_of_file(const struct cipher_ring *ring, int fd, struct cipher **out,
                                 struct err *e);
/* Of bytes that nobody reads behind this process's end: its key is nowhere else. */
struct cipher *cipher_new_for_now(void);
void cipher_free(struct cipher *c);
DEFINE_CLEANUP(struct cipher, cipher_free)

/* Either way: n bytes that stand at offset, counted from behind the prefix. in may be out. */
void cipher_apply(const struct cipher *c, uint64_t offset, const void *in, void *out, size_t n);
