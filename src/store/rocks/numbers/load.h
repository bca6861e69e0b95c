/* load.h - numbers for all that a bulk load brings.   Floor: store. */
#pragma once
#include "store/rocks/numbers/ids.h"
#include "store/store.h"

/* An item of a load, and the number of its resource. */
struct numbered {
    store_number number;
    const struct store_bulk_item *item; /* borrowed */
};
/* Those that the load gives birth to, and the others, each list in the order of numbers. */
struct numbered_items {
    struct numbered *born, *known; /* one array has both */
    size_t n_born, n_known;
    bool has_rows; /* there is a file of rows */
};
/* Items come by type and id, no two of one id. New numbers are those of load b, given in the order
 * of arrival. The file of rows is written to path. l is to be done with in every case. Errors as
 * ids_number() and ids_write_file(). */
MUST_USE err_code numbers_of_load(const struct ids_family *f, struct claims_holder *h, uint64_t b,
                                  const struct store_bulk_item *items, size_t n, const char *path,
                                  struct numbered_items *l, struct err *e);
void numbered_items_done(struct numbered_items *l);
