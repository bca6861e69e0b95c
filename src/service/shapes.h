/* shapes.h - every member of every operation of the control plane, as one table.
 *
 * The table is printed from the service model by tools/gen_shapes.py. Requests are checked against
 * it (all faults at once, in AWS's words) and answers too, so that nothing undeclared leaves and
 * nothing required is missing. A request's member that is not declared is a fault, and so is a
 * declared one that asks for something that is not done here: no yes without a deed.
 * Source: Amazon HealthLake service model 2017-07-01.   Floor: service. */
#pragma once
#include "codec/json.h"

#define SHAPE_FAULTS_BYTES (256u << 10) /* text of all faults of a request */

typedef enum {
    SHAPE_NONE = -1,
#define SHAPE_IDS
#include "service/shapes.inc"
#undef SHAPE_IDS
    N_SHAPES
} shape_id;

/* Compile the patterns; once, before anything else. Aborts on a pattern that does not compile: our
 * bug. */
void shapes_init(void);

/* A request against its shape.
 *   faults  on ERR_INVALID the whole text: "2 validation errors detected: Value '..' at 'path'
 *           failed to satisfy constraint: ...; ..."
 * ERR_INVALID: constraints. ERR_UNSUPPORTED: a value of a wrong JSON type (SerializationException),
 * with its place in e. */
MUST_USE err_code shape_check_input(shape_id id, yyjson_val *root, struct buf *faults,
                                    struct err *e);
/* An answer against its shape. ERR_INTERNAL names the member. */
MUST_USE err_code shape_check_output(shape_id id, sv json, struct arena *a, struct err *e);
/* A timestamp as it stands in a request (number of seconds, or ISO 8601 text), in ms; false when it
 * is neither. */
MUST_USE bool shape_timestamp_ms(yyjson_val *v, int64_t *out_ms);
