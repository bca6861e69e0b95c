/* xxh3.c - XXH3 of 128 bits, by xxHash's own header.
 *
 * Compiled twice where the build can: for any processor of the architecture, and (XXH3_AVX2) for
 * those with AVX2, which need half the time for a resource. */
#include "codec/hash.h"

/* the library's calls are made for texts of a megabyte, ours have a thousand bytes */
#define XXH_INLINE_ALL
#include <xxhash.h>

#ifdef XXH3_AVX2
#define XXH3_NAME hash_xxh3_128_avx2
#else
#define XXH3_NAME hash_xxh3_128
#endif

void hash_xxh3_128_avx2(sv head, sv tail, uint64_t out[2]);

void XXH3_NAME(sv head, sv tail, uint64_t out[2])
{
    XXH128_hash_t h;
#if defined(HAVE_XXH3_AVX2) && !defined(XXH3_AVX2)
    if (__builtin_cpu_supports("avx2")) {
        hash_xxh3_128_avx2(head, tail, out);
        return;
    }
#endif
    if (tail.len == 0) {
        h = XXH3_128bits(head.ptr, head.len);
    } else {
        XXH3_state_t state;
        XXH3_INITSTATE(&state);
        (void)XXH3_128bits_reset(&state);
        (void)XXH3_128bits_update(&state, head.ptr, head.len);
        (void)XXH3_128bits_update(&state, tail.ptr, tail.len);
        h = XXH3_128bits_digest(&state);
    }
    out[0] = h.low64;
    out[1] = h.high64;
}
