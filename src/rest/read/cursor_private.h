/* cursor_private.h - tokens of pages: where a page begins, and what it is a page of.
 *
 * A place is a text that the room which writes the pages makes and reads again (page_token.c,
 * history.c, everything.c). `path` names what the pages are of, as in their links.
 * Floor: rest. */
#pragma once
#include "rest/call_private.h"

/* When the call asks for a page: *place as rest_cursor_make() was given it, and the query that it
 * is a page of becomes that of the call. SV_NONE: the call asks for the first page. ERR_INVALID: no
 * token of ours for this data store, path and caller, or too old, or with other parameters. */
MUST_USE err_code rest_cursor_open(struct rest_call *call, sv path, sv *place, struct err *e);
/* The token of the page of this query that begins at place; owned by the call's arena. */
MUST_USE err_code rest_cursor_make(struct rest_call *call, sv path, sv place, sv *out,
                                   struct err *e);
/* [base]/path?_count=N&page=TOKEN, appended. */
MUST_USE err_code rest_cursor_url(const struct rest_call *call, sv path, size_t count, sv token,
                                  struct buf *out, struct err *e);
