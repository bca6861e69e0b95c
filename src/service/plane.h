/* plane.h - the service as its planes see it, and what a plane must do.
 *
 * A plane answers one kind of request: the control plane (aws/) has POST /, the data plane (rest/)
 * has /datastore/ID/r4/. The service (service.c) knows its planes by struct service_plane alone, so
 * planes stand on the floor above. They share these rooms:
 *
 *   answer.h     send an answer, and log one line for it
 *   errors.h     what an error is in AWS's words and in FHIR's
 *   datastore.h  records of data stores
 *   shapes.h     members of AWS JSON, checked against a table
 *   workers.h    threads for what waits or takes long
 *   quota.h      how often who may ask
 *   parked.h     answers that wait a moment for an end
 *   metrics.h    what requests come to, counted
 *   trail.h      what a request leaves in the audit log
 *
 * What a plane must do
 *   start   makes the plane's state, s->aws or s->rest, and starts its threads. The data plane is
 *           started first, the control plane second: it takes up work that an earlier process left.
 *   handle  answers each request exactly once, by a call of answer.h. It may return before: then a
 *           thread of the plane, or of the parking, answers later. It checks the caller first
 *           (auth_check()): only door.c has looked at the request, at its host and origin.
 *   stop    waits until all its requests are answered and its threads have ended, then frees the
 *           state and sets the pointer to NULL. It is called once for each plane, even if start()
 *           failed half way or was never called. The control plane is stopped first.
 *
 * Threads
 *   handle() runs on the HTTP server's threads, several at a time, and must not keep them: what
 *   waits for a peer, a disk or a lock that is held long goes to workers. A worker that has much to
 *   do looks at s->stopping now and then. No lock of the service is held while a plane is called.
 *
 * Ownership
 *   The service owns struct service and the texts of cfg; what cfg points to is the server's, and
 *   outlives it. A plane owns its state. x, its request and request_id live until x is answered,
 *   and may be gone when the answering call returns.
 * Floor: service. */
#pragma once
#include "service/answer.h"
#include "service/datastore.h"
#include "service/errors.h"
#include "service/metrics.h"
#include "service/service.h"
#include "service/shapes.h"
#include "service/trail.h"
#include "service/workers.h"

#include <pthread.h>

#define DATASTORES_KNOWN   64u      /* records that are kept for requests */
#define DATASTORE_KNOWN_US 1000000u /* so long, where other processes write records, too */

struct service {
    struct service_config cfg; /* its texts are copies in the arena; no number is 0 */
    struct arena *arena;
    struct quota *quota; /* NULL: rates are not limited */
    /* The same of those who need not say who they are, by their addresses: apart, so that they push
     * no caller out of the other one. */
    struct quota *strangers;
    struct aws *aws;   /* the control plane's state */
    struct rest *rest; /* the data plane's state */
    struct {
        pthread_mutex_t lock;
        uint64_t generation; /* moves with every write of a record */
        uint64_t most_us;    /* so old a copy may be, set once; 0: as old as it is */
        struct datastore_held *slots[DATASTORES_KNOWN];
    } known;                      /* of datastore.c alone */
    char page_key[33];            /* made on the first start, then kept in the records */
    unsigned char cursor_key[32]; /* made of page_key; both planes seal tokens of pages with it */
    atomic_bool stopping;         /* set once, before stop() of the planes */
    atomic_bool ending;           /* set once, before: what has no end of its own ends */
};

/* Does any data store take access tokens? */
static inline bool service_takes_tokens(const struct service *s)
{
    return s->cfg.issue || auth_bearer(s->cfg.auth);
}

struct service_plane { /* one for each plane: constant, and shared by all services */
    err_code (*start)(struct service *s, struct err *e);
    void (*stop)(struct service *s);
    void (*handle)(struct service *s, struct http_exchange *x, const char *request_id);
    /* What a request asks for that was refused before the plane had it: facts for the audit log. */
    void (*name)(const struct http_request *req, struct service *s, struct trail_facts *facts);
};
