/* tally.h - what sums are to grow by: how many resources are current, of a type and of a type with
 * one token value.
 *
 * A key is type, parameter (2 bytes, big endian), length (1), value; parameter 0 is the type.
 * Engines keep their sums under these keys. One thread at a time.   Floor: store. */
#pragma once
#include "search/search.h"

#define COUNT_KEY_MAX 24u /* 1 + 2 + 1 + SEARCH_TOKEN_LEN, in whole words */
_Static_assert(COUNT_KEY_MAX >= 1 + 2 + 1 + SEARCH_TOKEN_LEN, "a key must fit");
struct tally_row {
    unsigned char key[COUNT_KEY_MAX]; /* the bytes of the key; the rest 0 */
    int64_t n;
    bool used;
};
struct tally { /* what sums are to grow by; zeroed: empty */
    struct tally_row *rows;
    size_t n, cap;
};
void tally_add(struct tally *to, const struct tally *from);
/* No more memory than its rows take: it is to be read alone from now on. */
void tally_pack(struct tally *t);
void tally_done(struct tally *t);
/* n of a resource: it, and its counted entries. */
void tally_resource(struct tally *t, fhir_type type, sv index, int64_t n);
/* The same of a stored version, whose entries are found anew. */
MUST_USE err_code tally_version(struct tally *t, fhir_type type, sv json, int64_t n, struct err *e);
/* The key of a sum, the rest of out zeroed. Returns its bytes. */
size_t tally_key(fhir_type type, uint16_t param, sv value, unsigned char out[COUNT_KEY_MAX]);
