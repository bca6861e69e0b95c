/* aws.h - the control plane: Amazon HealthLake's operations in AWS JSON 1.0, at POST /.
 * Source: Amazon HealthLake service model 2017-07-01.   Floor: aws. */
#pragma once
#include "service/plane.h"

extern const struct service_plane aws_plane; /* for service_config.control */

/* The name of the i-th operation of HealthLake's model. Those that are not served come last. NULL:
 * there are no more. */
const char *aws_operation_name(size_t i);
