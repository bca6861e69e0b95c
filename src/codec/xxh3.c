/* xxh3.c - XXH3 of 128 bits, by xxHash's own header. */
#include "codec/hash.h"

#define XXH_INLINE_ALL /* the library's calls are made for texts of a megabyte, ours have a thousand bytes */
#include <xxhash.h>

void hash_xxh3_128(sv head, sv tail, uint64_t out[2])
{
    XXH128_hash_t h;
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
