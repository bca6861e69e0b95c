/* plane.h - what the two planes of the service share: the service itself, and the table by which a
 * plane is given to it.
 *
 *   service.c           life, and which plane a request goes to     door.c      refusals before a caller is known
 *   answer.c            answers, and one log line for each          errors.c    the two translation tables
 *   datastore_record.c  records of data stores                      workers.c   threads for what waits
 *   datastore_known.c   those that are kept for requests            parked.c    answers that wait for an end
 *   shapes.c            members of AWS JSON, checked by a table
 *
 * The service knows its planes only by struct service_plane: a plane stands above it, and keeps its
 * own state.
 * Floor: service. */
#pragma once
#include "service/answer.h"
#include "service/datastore.h"
#include "service/errors.h"
#include "service/service.h"
#include "service/shapes.h"
#include "service/workers.h"

#include <pthread.h>

#define DATASTORES_KNOWN 64u /* records kept for requests */

struct service {
    struct service_config cfg;
    struct arena *arena; /* copies of the configuration's strings */
    struct aws *aws;     /* state of the control plane: its start() makes it, its stop() frees it */
    struct rest *rest;   /* likewise of the data plane */
    struct {
        pthread_mutex_t lock;
        uint64_t generation; /* moves with every write of a record */
        struct datastore_held *slots[DATASTORES_KNOWN];
    } known;                      /* datastore_known.c */
    char page_key[33];            /* kept in the records */
    unsigned char cursor_key[32]; /* seals tokens of pages; made of page_key */
    atomic_bool stopping;
};

struct service_plane {
    /* Everything that is started here is stopped by stop(), which may find it half made. */
    err_code (*start)(struct service *s, struct err *e);
    /* Waits for what is under way. s->stopping is set. */
    void (*stop)(struct service *s);
    /* Answers x, now or later. request_id lives as long as x. */
    void (*handle)(struct service *s, struct http_exchange *x, const char *request_id);
};
