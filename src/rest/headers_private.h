/* headers_private.h - the headers of a request of the data plane.   Floor: rest. */
#pragma once
#include "rest/route_private.h"

/* What interactions read of them: call->in. Views of the request. */
void rest_headers_in(struct rest_call *call, const struct http_request *req);
/* May the answer be JSON? _format wins over Accept. ERR_NOT_ACCEPTABLE.
 * Source: http.html#parameters */
MUST_USE err_code rest_check_format(const struct rest_call *call, struct err *e);
/* Is the body not packed, UTF-8, and of our version of FHIR? ERR_MEDIA_TYPE, ERR_INVALID.
 * Source: http.html#mime-type */
MUST_USE err_code rest_check_body(const struct rest_call *call, struct err *e);
