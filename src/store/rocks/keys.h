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

/* search: type, parameter (2), value, id, kind, n, length of value (1) */
#define KEY_SEARCH_MAX (1 + 2 + SEARCH_KEY_MAX + FHIR_ID_MAX + 1 + 8 + 1)
size_t key_search(fhir_type type, uint16_t param, sv value, sv id, key_kind kind, uint64_t n,
                  char out[KEY_SEARCH_MAX]);
struct key_search_parts {
    sv value, id; /* views into the key */
    key_kind kind;
    uint64_t n;
};
MUST_USE bool key_search_split(sv key, struct key_search_parts *out);

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

/* Value of a version: header, then the JSON. At most VALUE_HEAD_MAX bytes of header. The id stands
 * in the header, or the header says where in the JSON its bytes are. */
#define VALUE_HEAD_MAX (32u + FHIR_ID_MAX)
struct value_head {
    sv id; /* view into the value */
    store_method method;
    bool online; /* version and instant stand here; a bulk load gets them at publication */
    uint64_t version;
    int64_t instant_ms;
    struct fhir_body body; /* json: view into the value */
};
size_t value_head_put(const struct value_head *h, char out[VALUE_HEAD_MAX]);
MUST_USE bool value_split(sv value, struct value_head *out);
