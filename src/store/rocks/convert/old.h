/* old.h - a data store of layout 3, for reading alone.
 *
 *   versions  type, id, 0x00, kind, ~n -> header, JSON     changes  type, kind, n, id -> ""
 *   commits   as in layout 4, without 'o'                  notes    as in layout 4
 * n is the number of a bulk load, or the commit t of an online one. Of the other families nothing
 * is read: search entries and sums are made anew.   Floor: store. */
#pragma once
#include "store/rocks/rocks_private.h"

#define OLD_LAYOUT 3u

enum { OLD_DEFAULT, OLD_VERSIONS, OLD_CHANGES, OLD_COMMITS, OLD_NOTES, OLD_N_CFS };

struct old_store {
    rocksdb_t *db;
    rocksdb_options_t *options, *version_options;
    rocksdb_cache_t *cache;
    rocksdb_column_family_handle_t *cf[OLD_N_CFS];
    rocksdb_readoptions_t *ro;
    int lock;                 /* descriptor of RocksDB's lock file, which nobody else has */
    struct load_table *loads; /* published ones */
    uint64_t last_t;          /* newest commit */
    bool types[STORE_TYPES];  /* that have changes */
};

/* The layout version of the data store in a folder; 0: it was cut off while it was made. ERR_IO,
 * ERR_CORRUPT. */
MUST_USE err_code old_layout(const char *path, uint64_t *version, struct err *e);
/* *o is to be closed in every case. ERR_EXISTS: another process has it. ERR_IO, ERR_CORRUPT. */
MUST_USE err_code old_open(struct old_store *o, const char *path, struct err *e);
void old_close(struct old_store *o);

/* A number under a letter of `commits`; *there: false when there is none. */
MUST_USE err_code old_number(const struct old_store *o, char letter, bool *there, uint64_t *out,
                             struct err *e);
/* All of a family, in order and without the filters; the caller's to destroy. */
rocksdb_iterator_t *old_iterate(const struct old_store *o, int cf, rocksdb_readoptions_t **ro);

struct old_key { /* of a version */
    fhir_type type;
    sv id; /* view into the key */
    key_kind kind;
    uint64_t n;
};
MUST_USE bool old_key_split(sv key, struct old_key *out);
/* Without an id. */
MUST_USE bool old_value_split(sv value, struct value_head *out);
/* The version that a change tells of. *value is the caller's to destroy, and *head a view of it.
 * ERR_CORRUPT: it is not there. */
MUST_USE err_code old_version(const struct old_store *o, const struct old_key *key,
                              rocksdb_pinnableslice_t **value, struct value_head *head,
                              struct err *e);

/* Key of the first change of (type, kind, n), and what a change says behind that. */
struct old_bytes {
    char ptr[1 + 1 + 8];
    size_t len;
};
struct old_bytes old_changes(fhir_type type, key_kind kind, uint64_t n);
