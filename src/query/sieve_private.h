/* sieve_private.h - is a resource among the entries of a clause? Asked of the index instead of the
 * resource, for the candidates that another clause gives.
 *
 * A clause whose entries have a few values - one code, one subject - keeps a cursor for each, and
 * a number is looked up under each of them. What the index says yes to may still not match; what it
 * says no to cannot.
 * Limits: SIEVE_VALUES; a sieve that keeps most of what it is asked about says yes to all from then
 * on.
 * Floor: query. */
#pragma once
#include "search/search.h"
#include "store/store.h"

#define SIEVE_VALUES 4u

struct query_sieve;
/* Entries of one type under any of the drivers (borrowed), as of a commit. *out is NULL when their
 * values are too many. Errors of store_index_next(). */
MUST_USE err_code query_sieve_open(struct store *st, fhir_type type,
                                   const struct search_driver *drivers, size_t n_drivers,
                                   uint64_t as_of, struct query_sieve **out, struct err *e);
/* Numbers are asked for in any order; ascending is the cheap one. Errors of store_index_next(). */
MUST_USE err_code query_sieve_has(struct query_sieve *sieve, store_number number, bool *out,
                                  struct err *e);
void query_sieve_close(struct query_sieve *sieve);
