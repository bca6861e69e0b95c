/* number.h - the number that a resource gets at its first write.
 *
 * A number says which load, or which block of online writes, the resource was born in (b), its
 * type, and its place among those of that type (k). Numbers grow with b, and within one load and
 * type with the order of arrival, so what arrived together stands together.
 *   b (36 bits) | type (8) | k (20)
 * Pure functions.   Floor: store. */
#pragma once
#include "fhir/types.h"

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t store_number; /* 0: none. b is 1 or more, so no number is 0 */

#define NUMBER_B_BITS 36u
#define NUMBER_K_BITS 20u
#define NUMBER_K_MOST (1u << NUMBER_K_BITS) /* of one type within one b */
#define NUMBER_BYTES  8u

static inline store_number number_make(uint64_t b, fhir_type type, uint32_t k)
{
    return b << (8 + NUMBER_K_BITS) | (uint64_t)type << NUMBER_K_BITS | k;
}

static inline uint64_t number_b(store_number n)
{
    return n >> (8 + NUMBER_K_BITS);
}

static inline fhir_type number_type(store_number n)
{
    return (fhir_type)(n >> NUMBER_K_BITS & 255);
}

static inline uint32_t number_k(store_number n)
{
    return (uint32_t)(n & (NUMBER_K_MOST - 1));
}

/* Where the numbers of one load, or of one block of online writes, come from. One thread at a time.
 */
struct number_source {
    uint64_t b;
    uint32_t given[256]; /* by type */
};

/* False: b has no more numbers of this type. */
static inline bool number_next(struct number_source *from, fhir_type type, store_number *out)
{
    uint32_t k = from->given[type & 255];
    if (k == NUMBER_K_MOST)
        return false;
    from->given[type & 255] = k + 1;
    *out = number_make(from->b, type, k);
    return true;
}
