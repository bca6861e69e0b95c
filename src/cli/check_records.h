/* check_records.h - which data stores the system's records name, for `fhirlake check`.
 * Floor: cli. */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/sv.h"

struct check_record {
    sv id, status; /* as datastore.h has them */
    bool kept;     /* it is deleted, and its data is kept to be restored */
    bool seen;     /* the caller's */
};
struct check_records {
    struct check_record *all; /* by id */
    size_t n;
};
/* Reads DATA/system, and makes and writes nothing. Owned by the arena. ERR_NOT_FOUND: there are no
 * records; ERR_CORRUPT, ERR_IO, ERR_INVALID, ERR_TOO_LARGE. */
MUST_USE err_code check_records_read(const char *data, struct arena *a, struct check_records *out,
                                     struct err *e);
/* NULL: no record names it. */
struct check_record *check_records_find(const struct check_records *r, sv id);
