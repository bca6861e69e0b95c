/* shapes.h - every member of every operation of the control plane, as one table.
 *
 * tools/gen_shapes.py prints the table from the service model. Requests are checked against it,
 * with all faults told at once, in AWS's words. Answers are checked too: nothing undeclared leaves,
 * and nothing required is missing. Two faults of requests are our own: a member that is not
 * declared, and a declared member that asks for something that this server does not do.
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

/* Compiles the patterns, once; other calls need it, and make it themselves. Aborts on a pattern
 * that does not compile: our bug. */
void shapes_init(void);

/* Checks a request against its shape.
 *   faults  on ERR_INVALID the whole text: "2 validation errors detected: Value '..' at 'path'
 *           failed to satisfy constraint: ...; ..."
 * ERR_INVALID: constraints. ERR_UNSUPPORTED: a value of a wrong JSON type (SerializationException),
 * with its place in e. */
MUST_USE err_code shape_check_input(shape_id id, yyjson_val *root, struct buf *faults,
                                    struct err *e);
/* Checks an answer against its shape. ERR_INTERNAL names the member. */
MUST_USE err_code shape_check_output(shape_id id, sv json, struct arena *a, struct err *e);
/* Reads a timestamp of a request, a number of seconds or a text of ISO 8601. False: it is
 * neither. */
MUST_USE bool shape_timestamp_ms(yyjson_val *v, int64_t *out_ms);
