/* read_private.h - the interactions that read.
 *
 *   read.c         read, vread
 *   history.c      histories of a resource, of a type, of the system
 *   search.c       searches, which page*.c read and write (page_private.h)
 *   everything.c   $everything: a patient's record
 *   cursor.c       tokens of next links (cursor_private.h)
 *
 * Source: FHIR R4 http.html.   Floor: rest. */
#pragma once
#include "rest/call_private.h"

MUST_USE err_code rest_read(struct rest_call *call, struct err *e);
/* Is it a plain read of a small resource under few scopes, or of nothing? To hold that against the
 * scopes takes less time than to hand it to a worker. call->st is there. */
bool rest_read_is_small(struct rest_call *call);
MUST_USE err_code rest_vread(struct rest_call *call, struct err *e);
MUST_USE err_code rest_history(struct rest_call *call, struct err *e);
MUST_USE err_code rest_search(struct rest_call *call, struct err *e);
MUST_USE err_code rest_search_compartment(struct rest_call *call, struct err *e);
MUST_USE err_code rest_everything(struct rest_call *call, struct err *e);
