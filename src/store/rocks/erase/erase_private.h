/* erase_private.h - what the rooms of an erasure share.
 *
 *   erase.c   versions of one resource become hollow
 *   sweep.c   the search entries of hollow versions go
 *   sums.c    sums that have come to nothing go
 *   scour.c   what was written over leaves the disk; the end of an erasure
 *
 * Record 'e' of the family of commits, under a number, says what is under way: its value is empty
 * when all versions of the resource were erased, else it lists the erased ones, as kind (1) and n
 * (8). It is written with the versions and goes when nothing of them is on disk any more.
 * docs/internals/erase.md tells the whole.   Floor: store. */
#pragma once
#include "store/rocks/rocks_private.h"

#define ERASE_LETTER    'e'
#define ERASE_ROW_BYTES 9u /* kind, n */
#define ERASE_LIST_MAX  (1u << 20)

struct erase_set {         /* what is under way, of one part of it */
    store_number *numbers; /* ascending */
    uint32_t *lists;       /* by number: where its list begins in `versions`; 0: all versions */
    size_t n, cap;
    struct buf versions; /* lists, each behind its length (4 bytes); the first byte is no list */
    store_number next;   /* the first number behind the part; 0: it is the last */
};
/* The part that begins at `from`. Caller is done with it by erase_set_done(). */
MUST_USE err_code erase_set_read(struct rocks *r, store_number from, struct erase_set *out,
                                 struct err *e);
void erase_set_done(struct erase_set *s);
/* Was the version that an entry belongs to erased? */
bool erase_set_has(const struct erase_set *s, store_number number, key_kind kind, uint64_t n);

/* Entries of a part's versions go. ERR_CANCELLED. */
MUST_USE err_code erase_sweep(struct rocks *r, const struct erase_set *s, const atomic_bool *halt,
                              struct err *e);
/* Sums of nothing go. ERR_CANCELLED. */
MUST_USE err_code erase_sums(struct rocks *r, const atomic_bool *halt, struct err *e);
