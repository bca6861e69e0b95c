/* A file that is encrypted comes back from any place of it, and from its own key alone. */
#include "test.h"

#include "base/rng.h"
#include "codec/crypt/cipher.h"

#include <pthread.h>
#include <unistd.h>

static struct cipher_ring ring_of(unsigned n)
{
    struct cipher_ring ring = { .n = n };
    rng_bytes(ring.keys, sizeof ring.keys);
    return ring;
}

/* NIST SP 800-38A, F.5.5: CTR-AES256.Encrypt. The file's key and first counter are put where
 * cipher_of() would find them: behind a serial number (cipher.c). */
TEST(cipher, is_aes_256_in_counter_mode)
{
    (void)state;
    static const unsigned char key[32] = { 0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe,
                                           0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81,
                                           0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7,
                                           0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4 };
    static const unsigned char counter[16] = { 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7,
                                               0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff };
    static const unsigned char plain[32] = { 0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
                                             0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a,
                                             0xae, 0x2d, 0x8a, 0x57, 0x1e, 0x03, 0xac, 0x9c,
                                             0x9e, 0xb7, 0x6f, 0xac, 0x45, 0xaf, 0x8e, 0x51 };
    static const unsigned char want[32] = { 0x60, 0x1e, 0xc3, 0x13, 0x77, 0x57, 0x89, 0xa5,
                                            0xb7, 0xa7, 0xf5, 0x04, 0xbb, 0xf3, 0xd2, 0x28,
                                            0xf4, 0x43, 0xe3, 0xca, 0x4d, 0x62, 0xb5, 0x9a,
                                            0xca, 0x84, 0xe9, 0x90, 0xca, 0xca, 0xf5, 0xc5 };
    unsigned char got[32];
    CLEANUP(cipher_free) struct cipher *c = cipher_new_for_now();
    unsigned char *secret = (unsigned char *)c + sizeof(uint64_t);
    memcpy(secret, key, sizeof key);
    memcpy(secret + sizeof key, counter, sizeof counter);
    cipher_apply(c, 0, plain, got, sizeof plain);
    assert_memory_equal(got, want, sizeof want);
    /* the second block by itself */
    cipher_apply(c, 16, plain + 16, got, 16);
    assert_memory_equal(got, want + 16, 16);
}

TEST(cipher, reads_any_range_of_what_was_written_in_any_pieces)
{
    (void)state;
    enum { N = 9000 };
    const struct cipher_ring ring = ring_of(1);
    unsigned char prefix[CIPHER_PREFIX], plain[N], stored[N], got[N];
    CLEANUP(cipher_free) struct cipher *c = cipher_new(&ring, prefix), *again = NULL;
    rng_bytes(plain, N);
    for (size_t at = 0; at < N;) {
        size_t n = 1 + rng_u64() % 700;
        n = n < N - at ? n : N - at;
        cipher_apply(c, at, plain + at, stored + at, n);
        at += n;
    }
    assert_memory_not_equal(plain, stored, N);
    OK(cipher_of(&ring, prefix, &again, e));
    for (unsigned i = 0; i < 2000; i++) {
        size_t at = rng_u64() % N, n = rng_u64() % (N - at) + 1;
        cipher_apply(again, at, stored + at, got, n);
        assert_memory_equal(got, plain + at, n);
    }
    /* far behind, where the block's number has more than 32 bits */
    cipher_apply(c, (uint64_t)1 << 44, plain, stored, N);
    cipher_apply(again, ((uint64_t)1 << 44) + 5, stored + 5, got, 100);
    assert_memory_equal(got, plain + 5, 100);
}

TEST(cipher, gives_each_file_a_key_of_its_own)
{
    (void)state;
    const struct cipher_ring ring = ring_of(1);
    static const unsigned char zeros[64];
    unsigned char prefix[CIPHER_PREFIX], a[64], b[64];
    CLEANUP(cipher_free)
    struct cipher *x = cipher_new(&ring, prefix), *y = cipher_new(&ring, prefix);
    cipher_apply(x, 0, zeros, a, sizeof a);
    cipher_apply(y, 0, zeros, b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    /* and a context that went to another file comes back */
    cipher_apply(x, 0, zeros, b, sizeof b);
    assert_memory_equal(a, b, sizeof a);
}

TEST(cipher, says_no_to_every_changed_byte_of_a_prefix)
{
    (void)state;
    const struct cipher_ring ring = ring_of(2);
    unsigned char prefix[CIPHER_PREFIX];
    struct cipher *c = NULL;
    cipher_free(cipher_new(&ring, prefix));
    for (size_t i = 0; i < sizeof prefix; i++) {
        prefix[i] ^= (unsigned char)(1u << i % 8);
        FAILS(ERR_CORRUPT, cipher_of(&ring, prefix, &c, e));
        prefix[i] ^= (unsigned char)(1u << i % 8);
    }
    assert_null(c);
    OK(cipher_of(&ring, prefix, &c, e));
    cipher_free(c);
}

TEST(cipher, opens_with_an_older_key_of_the_ring_and_with_no_other_ring)
{
    (void)state;
    struct cipher_ring old = ring_of(1), two = ring_of(2), other = ring_of(3);
    unsigned char prefix[CIPHER_PREFIX];
    struct cipher *c = NULL;
    cipher_free(cipher_new(&old, prefix));
    two.keys[1] = old.keys[0];
    OK(cipher_of(&two, prefix, &c, e));
    cipher_free(c);
    FAILS(ERR_CORRUPT, cipher_of(&other, prefix, &c, e));
    /* the right name, another key */
    memcpy(other.keys[2].id, old.keys[0].id, CIPHER_ID_LEN);
    FAILS(ERR_CORRUPT, cipher_of(&other, prefix, &c, e));
}

TEST(cipher, of_a_file_says_where_it_is_cut)
{
    (void)state;
    const struct cipher_ring ring = ring_of(1);
    unsigned char prefix[CIPHER_PREFIX];
    char path[] = TEST_TMP "/fhirlake-cipher-XXXXXX";
    struct cipher *c = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    cipher_free(cipher_new(&ring, prefix));
    assert_int_equal(write(fd, prefix, sizeof prefix), sizeof prefix);
    OK(cipher_of_file(&ring, fd, &c, e));
    cipher_free(c);
    c = NULL;
    for (off_t cut = 0; cut < (off_t)sizeof prefix; cut += 511) {
        assert_int_equal(ftruncate(fd, cut), 0);
        FAILS(ERR_CORRUPT, cipher_of_file(&ring, fd, &c, e));
    }
    (void)close(fd);
    (void)unlink(path);
}

struct shared {
    const struct cipher *a, *b;
    unsigned char plain[4096], of_a[4096], of_b[4096];
};

static void *read_both(void *arg)
{
    struct shared *s = arg;
    unsigned char got[4096];
    for (unsigned i = 0; i < 500; i++) {
        const bool first = rng_u64() % 2;
        size_t at = rng_u64() % 4000, n = rng_u64() % (4096 - at) + 1;
        cipher_apply(first ? s->a : s->b, at, (first ? s->of_a : s->of_b) + at, got, n);
        if (memcmp(got, s->plain + at, n) != 0)
            return s;
    }
    return NULL;
}

TEST(cipher, serves_threads_that_read_the_same_files)
{
    (void)state;
    static struct shared s;
    pthread_t threads[4];
    CLEANUP(cipher_free) struct cipher *a = cipher_new_for_now(), *b = cipher_new_for_now();
    s.a = a;
    s.b = b;
    rng_bytes(s.plain, sizeof s.plain);
    cipher_apply(a, 0, s.plain, s.of_a, sizeof s.plain);
    cipher_apply(b, 0, s.plain, s.of_b, sizeof s.plain);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_both, &s), 0);
    for (size_t i = 0; i < 4; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

TEST_MAIN(T(cipher, is_aes_256_in_counter_mode),
          T(cipher, reads_any_range_of_what_was_written_in_any_pieces),
          T(cipher, gives_each_file_a_key_of_its_own),
          T(cipher, says_no_to_every_changed_byte_of_a_prefix),
          T(cipher, opens_with_an_older_key_of_the_ring_and_with_no_other_ring),
          T(cipher, of_a_file_says_where_it_is_cut),
          T(cipher, serves_threads_that_read_the_same_files))
