/* ids.h - the family `ids`: which number an id has.
 *
 *   key    type (1), form (1), id: form 1 = the 16 bytes of a UUID in lower case, form 0 = its text
 *   value  number (8, big endian), flags (1): bit 0 = there are, or were to be, versions behind the
 *          first
 * A row is no version: what it says is which number the id has if it comes. Whether the resource
 * exists is told by visible versions alone (I4). A row goes when its resource is erased.
 * Floor: store. */
#pragma once
#include "store/rocks/numbers/claims.h"
#include "store/rocks/numbers/filter.h"

#include <rocksdb/c.h>

#define IDS_KEY_MAX   (1u + 1u + 64u)
#define IDS_VALUE_LEN (NUMBER_BYTES + 1u)

struct ids_key {
    char ptr[IDS_KEY_MAX];
    size_t len;
};
struct ids_key ids_key(fhir_type type, sv id); /* a legal id */
/* The id that a key stands for, as text in `id`. False: it is not a key of ours. */
MUST_USE bool ids_key_split(sv key, fhir_type *type, char id[64], size_t *id_len);

void ids_value_put(store_number number, bool later, char out[IDS_VALUE_LEN]);
MUST_USE bool ids_value_split(sv value, store_number *number, bool *later);

struct ids_family { /* borrowed */
    rocksdb_t *db;
    rocksdb_column_family_handle_t *cf;
    const rocksdb_options_t *options; /* of its files */
    struct claims *claims;
    struct ids_filter *filter; /* NULL: rows are written, and nobody asks for many yet */
};

/* The row of one id; false in *there: there is none. ERR_IO, ERR_CORRUPT. */
MUST_USE err_code ids_find(const struct ids_family *f, fhir_type type, sv id, bool *there,
                           store_number *number, bool *later, struct err *e);

/* The filter gets all rows that are there. Whoever writes rows meanwhile adds them himself. ERR_IO.
 */
MUST_USE err_code ids_fill_filter(const struct ids_family *f, struct err *e);

/* Keys of asks that come by type and id, no two of one id. They refer to the asks. */
struct ids_keys;
struct ids_keys *ids_keys_new(struct number_ask *asks, size_t n);
void ids_keys_free(struct ids_keys *k);

/* Every ask gets its number: from its row, from a claim, or a new one of `from`. New ones are given
 * in this order of the asks: places in `asks`, each once; NULL: as they stand. ERR_IO, ERR_CORRUPT,
 * ERR_TOO_LARGE: h is to be released. */
MUST_USE err_code ids_number(const struct ids_family *f, struct claims_holder *h,
                             struct number_source *from, const struct ids_keys *keys,
                             struct number_ask *asks, const uint32_t *order, struct err *e);

/* The rows that a load has to bring, as a sorted file: of every id whose row was not there, and of
 * every id that had one which does not say yet that there are later versions. *any: false when
 * there is none, and no file. ERR_IO, ERR_NO_SPACE. */
MUST_USE err_code ids_write_file(const struct ids_family *f, const char *path,
                                 const struct ids_keys *keys, bool *any, struct err *e);
