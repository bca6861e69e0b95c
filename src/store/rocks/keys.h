/* keys.h - the bytes of keys and values; docs/key-layout.md is their picture.
 * Pure functions. Decoding never reads behind its input and says no to what was not encoded here.
 * Floor: store. */
#pragma once
#include "store/store.h"

#define KEY_MAX (NUMBER_BYTES + 1 + 8)

typedef enum {
    KEY_BULK = 0,
    KEY_ONLINE = 1,
    KEY_BIRTHS = 2, /* of changes alone */
} key_kind;

struct key_bytes {
    char ptr[KEY_MAX + 1]; /* a key, or one byte more: the place behind it */
    size_t len;
};

/* versions: number, kind, ~n (n: bulk load or commit number; newest first) */
struct key_bytes key_version(store_number number, key_kind kind, uint64_t n);
/* The first key of a resource; number 0 of a range's end: behind all keys. */
struct key_bytes key_number(store_number number);
struct key_bytes key_end(store_number number);
struct key_version_parts {
    store_number number;
    key_kind kind;
    uint64_t n;
};
MUST_USE bool key_version_split(sv key, struct key_version_parts *out);

/* changes: type, kind, n, number: every version but those of KEY_BIRTHS. Number 0: the first of n.
 */
struct key_bytes key_change(fhir_type type, key_kind kind, uint64_t n, store_number number);
/* Value of type, KEY_BIRTHS, b: how many resources of the type were born in load b, numbered from
 * 0, and how many bytes of JSON they have. */
#define BIRTHS_VALUE_BYTES 8u
struct births {
    uint32_t n;
    uint64_t json_bytes;
};
void births_put(const struct births *x, char out[BIRTHS_VALUE_BYTES]);
MUST_USE bool births_split(sv value, struct births *out);

/* search: type, parameter (2), value, number (8), whose entry it is (1), n (8; not of
 * ENTRY_BIRTHS), length of value (1) */
#define KEY_SEARCH_MAX (1 + 2 + SEARCH_KEY_MAX + NUMBER_BYTES + 1 + 8 + 1)
typedef enum {
    ENTRY_BIRTHS = 0, /* of first versions by the load that the numbers say */
    ENTRY_LOAD = 1,   /* of versions by load n of resources that were known before */
    ENTRY_ONLINE = 2, /* of the version by commit n; no list */
    ENTRY_ANEW = 3,   /* of the version by load n, found later (upkeep/reindex.c) */
} entry_kind;
/* n: 0 of ENTRY_BIRTHS */
size_t key_search(fhir_type type, uint16_t param, sv value, store_number number, entry_kind kind,
                  uint64_t n, char out[KEY_SEARCH_MAX]);
struct key_search_parts {
    sv value; /* view into the key */
    store_number number;
    entry_kind kind;
    uint64_t n; /* of ENTRY_BIRTHS the load, too */
};
MUST_USE bool key_search_split(sv key, struct key_search_parts *out);

/* The value of an entry lists more resources of the same value and the same load: those behind the
 * number in the key, in one span of numbers with it. Each is a varint, by how much it is greater
 * than the one before. Empty: there are no more. */
#define ENTRY_SPAN_BITS 12u
#define ENTRY_LIST_MAX  ((1u << ENTRY_SPAN_BITS) - 1) /* of numbers behind the first */
#define ENTRY_STEP_MAX  2u                            /* bytes of a varint */
static inline uint64_t entry_span(store_number n)
{
    return n >> ENTRY_SPAN_BITS;
}
/* Puts the step to the next number at p; returns how many bytes it takes. */
size_t entry_step_put(char *p, uint64_t step);
/* Takes a step off the list. False: it is damaged. */
MUST_USE bool entry_step_next(sv *list, uint64_t *step);

/* commits: a letter, then a number */
struct key_bytes key_commit(char letter, uint64_t n);

/* Value of a commit: instant (8), kind (1), bulk load (8), resources (8), form of the search
 * entries (1). The values of older programs end in front of the form. */
#define COMMIT_VALUE_BYTES 26u
struct commit_value {
    int64_t instant_ms;
    key_kind kind;
    uint64_t bulk; /* number of the load; 0: an online commit */
    uint64_t n_resources;
    unsigned form; /* 0: the value does not say */
};
void commit_value_put(const struct commit_value *c, char out[COMMIT_VALUE_BYTES]);
/* False: it is damaged. Of a value without kind and numbers the instant alone is read. */
MUST_USE bool commit_value_split(sv value, struct commit_value *out);

void key_put_u64(char *out, uint64_t v); /* big endian */
uint64_t key_get_u64(const char *p);
/* Takes a varint off the front. False: it does not end there. */
MUST_USE bool key_get_varint(sv *in, uint64_t *out);

/* Value of a version: header, then the JSON. At most VALUE_HEAD_MAX bytes of header. The id stands
 * in the header, or the header says where in the JSON its bytes are. */
#define VALUE_HEAD_MAX (32u + FHIR_ID_MAX)
struct value_head {
    sv id; /* view into the value */
    store_method method;
    bool online; /* version and instant stand here; a bulk load gets them at publication */
    bool erased; /* nothing is left of it but its place: no id, no body, and method is DELETE */
    uint64_t version;
    int64_t instant_ms;
    struct fhir_body body; /* json: view into the value */
};
size_t value_head_put(const struct value_head *h, char out[VALUE_HEAD_MAX]);
MUST_USE bool value_split(sv value, struct value_head *out);
