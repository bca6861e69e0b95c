/* definitions_private.h - the tables behind definitions.h, and how names are looked up in them.
 *
 *   definitions_build.c  made from the rows of elements.inc and bindings.inc, once
 *   definitions.c        asked
 *
 * Names are looked up by hash: the first and last eight bytes and the length of a name say which it
 * is up to sixteen bytes, so a hit costs two comparisons of words. Tables are at most half full.
 * Floor: fhir. */
#pragma once
#include "fhir/definitions.h"

#include "base/arena.h"

/* ---- names ---- */

struct name_key {
    uint64_t a, b;
};

static inline uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

static inline struct name_key name_key(sv n)
{
    if (n.len >= 8)
        return (struct name_key){ load(n.ptr, 8), load(n.ptr + n.len - 8, 8) };
    if (n.len >= 4)
        return (struct name_key){ load(n.ptr, 4), load(n.ptr + n.len - 4, 4) };
    if (n.len == 0)
        return (struct name_key){ 0, 0 };
    return (struct name_key){ (uint64_t)(unsigned char)n.ptr[0] |
                                  (uint64_t)(unsigned char)n.ptr[n.len / 2] << 8 |
                                  (uint64_t)(unsigned char)n.ptr[n.len - 1] << 16,
                              0 };
}

static inline uint32_t name_hash(struct name_key k, size_t len)
{
    uint64_t h = (k.a ^ (k.b << 29 | k.b >> 35) ^ len) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 40);
}

/* Is this the name? Words decide up to sixteen bytes. */
static inline bool name_is(const uint64_t have[2], sv have_name, struct name_key k, sv name)
{
    return have[0] == k.a && have[1] == k.b && have_name.len == name.len &&
           (name.len <= 16 || memcmp(have_name.ptr, name.ptr, name.len) == 0);
}

struct code {
    uint64_t key[2];
    sv text;
    const char *system;
};

struct fhir_value_set {
    const char *name, *url;
    struct code *codes;
    uint16_t *slots; /* index + 1 */
    uint32_t slot_mask;
    uint16_t n_codes;
};

struct fhir_definitions {
    struct arena *mem;
    struct fhir_structure *structures;
    size_t n_structures;
    uint32_t *row_of; /* a structure -> its STRUCT row */
    uint16_t *slots;  /* hash of structure names -> index + 1 */
    uint32_t slot_mask;
    const struct fhir_structure *of_type[256];
    struct fhir_value_set *value_sets;
    size_t n_value_sets;
};

/* All of them; made by the first call. */
const struct fhir_definitions *fhir_definitions(void);

static inline const struct fhir_structure *fhir_structure_named(const struct fhir_definitions *d,
                                                                sv name)
{
    uint32_t at = name_hash(name_key(name), name.len);
    for (;; at++) {
        uint16_t i = d->slots[at & d->slot_mask];
        if (i == 0)
            return NULL;
        if (sv_eq(d->structures[i - 1].name, name))
            return &d->structures[i - 1];
    }
}
