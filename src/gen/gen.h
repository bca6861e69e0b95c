/* gen.h - synthetic patients: deterministic, linked, plausible FHIR R4 resources as NDJSON.
 *
 * A population is a list of units. Unit 0 holds what is shared (organizations, locations,
 * practitioners, their roles, medications); units 1..N hold one patient each with all that belongs
 * to them. A unit is a function of (seed, N, index) alone, so units can be made in any order, by
 * any thread, and again. Nobody in it is real. Codes are of LOINC, SNOMED CT, RxNorm, CVX and UCUM.
 * Floor: gen (uses base). */
#pragma once
#include "base/buf.h"

struct gen; /* one thread at a time; several gens of one population may run side by side */
#define GEN_PATIENTS_MAX 10000000u

/* ERR_INVALID: no patient, or more than GEN_PATIENTS_MAX. */
MUST_USE err_code gen_new(uint64_t seed, uint64_t n_patients, struct gen **out, struct err *e);
void gen_free(struct gen *g);
DEFINE_CLEANUP(struct gen, gen_free)

uint64_t gen_n_units(const struct gen *g); /* n_patients + 1 */
/* All resources of a unit, one per line, appended. The type of a line stands right behind
 * {"resourceType":" - every line begins so. ERR_TOO_LARGE (out's cap). */
MUST_USE err_code gen_unit(struct gen *g, uint64_t index, struct buf *out, struct err *e);
