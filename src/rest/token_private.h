/* token_private.h - our own token endpoint over HTTP (token.c).   Floor: rest. */
#pragma once
#include "rest/rest.h"

/* Answers x, now or later, when it is for the token endpoint of a data store that is backed by it.
 * False: it is not, and nothing was done. */
bool rest_token_answers(struct service *service, struct http_exchange *x, const char *request_id);
