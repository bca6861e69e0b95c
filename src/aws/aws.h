/* aws.h - the control plane: Amazon HealthLake's operations in AWS JSON 1.0.
 * Source: Amazon HealthLake service model 2017-07-01.   Floor: aws. */
#pragma once
#include "service/plane.h"

extern const struct service_plane aws_plane;
/* The i-th operation of HealthLake's model, those that are not served at the end; NULL: there are
 * no more. */
const char *aws_operation_name(size_t i);
