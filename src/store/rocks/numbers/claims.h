/* claims.h - which number an id has whose row is not on disk yet.
 *
 * An id has one number for ever (I8). Its row in the family `ids` says which, but a load writes
 * that row long before it is published, and loads are filled side by side. So an id without a row
 * is claimed in memory: the first who asks gives the number, all others get the same.
 *
 *   claims   of one store: the table
 *   holder   what one load, or one group of online commits, claims
 *   look     a stay of somebody who reads rows and then claims the ids that have none. A claim that
 *            is given back while a look is under way stays until that look has ended: the look may
 *            have read the family before the row was there.
 *
 * Memory: about 120 bytes a claimed id; those of loads that are neither published nor given up.
 * Thread-safe, but for one holder: it belongs to one thread at a time.   Floor: store. */
#pragma once
#include "base/err.h"
#include "base/sv.h"
#include "store/number.h"

struct claims;
struct claims_holder;

struct claims *claims_new(void);
/* No holder and no look is left. */
void claims_free(struct claims *c);

/* In the caller's memory, until the look has ended. */
struct claims_look {
    uint64_t began;
    struct claims_look *next, *before;
};
void claims_look_begin(struct claims *c, struct claims_look *l);
void claims_look_end(struct claims *c, struct claims_look *l);

/* c must outlive it. */
struct claims_holder *claims_hold(struct claims *c);
/* Of what it claimed, rows are on disk, or nothing will ever be: it is given back. NULL: nothing.
 */
void claims_release(struct claims_holder *h);

typedef enum {
    NUMBER_KNOWN,  /* its row is on disk */
    NUMBER_BORN,   /* claimed now, by this holder */
    NUMBER_SHARED, /* another holder claimed it: its row may never come from there */
} number_how;

struct number_ask {
    fhir_type type;
    sv id;               /* borrowed for the call */
    store_number number; /* of one that is known: in; of any other: out */
    number_how how;      /* in: KNOWN, or whatever else; out */
    bool later;          /* of KNOWN: the row says that there are versions behind the first */
};
/* All asks that are not KNOWN get their number; ids that nobody claimed get the next of `from`, in
 * this order of the asks (places, each once; NULL: as they stand). Within a look that began before
 * the rows were read. No id twice. ERR_TOO_LARGE: `from` has no more numbers; some may be claimed
 * then, and the holder is to be released. */
MUST_USE err_code claims_take(struct claims_holder *h, struct number_source *from,
                              struct number_ask *asks, size_t n, const uint32_t *order,
                              struct err *e);

/* Each number that h gave, and that somebody else took up since, or found in its row. */
typedef void (*claims_fn)(void *ctx, fhir_type type, sv id, store_number number);
void claims_each_shared(struct claims_holder *h, claims_fn fn, void *ctx);

/* Claims in the table, given back ones that a look keeps included. For tests and figures. */
size_t claims_count(struct claims *c);
