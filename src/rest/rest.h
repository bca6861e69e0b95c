/* rest.h - the data plane: FHIR R4's REST API, and $export of the Bulk Data Access guide.
 * Source: FHIR R4 http.html; docs/api-fhir.md.   Floor: rest. */
#pragma once
#include "job/job.h"
#include "service/plane.h"

extern const struct service_plane rest_plane;
/* The IAM action of the i-th interaction, "ReadResource"; NULL: there are no more. Some come
 * several times. */
const char *rest_action_name(size_t i);
