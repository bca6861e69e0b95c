/* newlines.c - newlines are counted in vectors where the processor has them.
 *
 * An export counts its lines once more from the bytes that leave, independent of what it counted
 * line by line. That must cost nothing beside the digest of the same bytes: a vector of counters of
 * a byte each, added up before one of them can overflow. */
#include "codec/newlines.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#ifdef __x86_64__
#define VECTOR 32u
__attribute__((target("avx2"))) static uint64_t count_in_vectors(sv bytes)
{
    const __m256i newline = _mm256_set1_epi8('\n'), zero = _mm256_setzero_si256();
    uint64_t sums[4];
    __m256i sum = zero;
    for (size_t i = 0; i + VECTOR <= bytes.len;) {
        size_t steps = (bytes.len - i) / VECTOR;
        size_t end = i + VECTOR * (steps < UINT8_MAX ? steps : UINT8_MAX);
        __m256i counters = zero;
        for (; i < end; i += VECTOR) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(bytes.ptr + i));
            counters = _mm256_sub_epi8(counters, _mm256_cmpeq_epi8(v, newline));
        }
        sum = _mm256_add_epi64(sum, _mm256_sad_epu8(counters, zero));
    }
    _mm256_storeu_si256((__m256i *)(void *)sums, sum);
    return sums[0] + sums[1] + sums[2] + sums[3];
}
#endif

uint64_t newlines_count(sv bytes)
{
    uint64_t n = 0;
    size_t i = 0;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        n = count_in_vectors(bytes);
        i = bytes.len - bytes.len % VECTOR;
    }
#endif
    for (; i < bytes.len; i++)
        n += bytes.ptr[i] == '\n';
    return n;
}
