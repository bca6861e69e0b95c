/* who_private.h - who calls the data plane (who.c): a signature, an access token, or anybody where
 * that is allowed.   Floor: rest. */
#pragma once
#include "auth/bearer/bearer.h"
#include "rest/call_private.h"

struct rest_who {
    bool anybody;  /* the path is open to all, whoever asks */
    sv peer;       /* his address, if so */
    bool by_token; /* the request has an access token, good or not */
    bool later;    /* its provider may have to be asked: rest_who_ask() says who calls */
    struct bearer_question question;
};

/* Who sent the request? call has service, arena, method, path and base; its caller is filled. When
 * the answer is `later`, it is not yet.
 *   id    of the data store, as the path has it
 *   held  the data store, if it was looked at; the caller releases it
 * Errors as auth_check() and bearer_check(). */
MUST_USE err_code rest_who_begin(struct rest_call *call, const struct http_request *req, sv id,
                                 struct datastore_held **held, struct rest_who *who, struct err *e);
/* Asks, on a thread that may wait. */
MUST_USE err_code rest_who_ask(struct rest_call *call, const struct rest_who *who, struct err *e);
/* The WWW-Authenticate of an error; one line of the log for each token that is refused. */
void rest_who_refused(struct rest_call *call, const struct rest_who *who, const struct err *e,
                      const char *request_id);
