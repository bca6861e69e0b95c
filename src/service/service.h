/* service.h - what the product does with a request: both planes, without sockets.
 *
 *   POST /                         control plane, AWS JSON 1.0, X-Amz-Target:
 * HealthLake.<Operation> GET  /health                   liveness, unsigned
 *   /datastore/<datastoreId>/r4/   FHIR R4 data plane
 *
 * Authentication, authorization, quotas, validation against the table of shapes, the operations,
 * and the translation of errors into each caller's protocol happen here; nothing below names an
 * HTTP status. Source: Amazon HealthLake service model 2017-07-01.   Floor: service. */
#pragma once
#include "job/job.h"
#include "net/http_server.h"
#include "auth/auth.h"
#include "service/parked.h"

struct service;
struct service_plane; /* plane.h */
struct service_config {
    const struct service_plane *control, *data; /* live as long as the process */
    struct records *records;                    /* borrowed */
    struct store_registry *stores;              /* borrowed */
    struct job_engine *jobs;                    /* borrowed */
    struct auth *auth;                          /* borrowed */
    struct parking *parking; /* borrowed; NULL: every question is answered at once */
    sv region;               /* "us-east-1" */
    sv account_id;           /* "000000000000" */
    sv public_url;           /* empty: DatastoreEndpoint is made from the request's Host header */
    bool quotas_healthlake;  /* --quotas healthlake */
    unsigned n_workers;      /* threads for operations that wait for a peer */
    unsigned max_datastores;
    unsigned preload_patients; /* of PreloadDataConfig SYNTHEA */
};
/* Takes up data stores that were being created or deleted when the process ended. */
MUST_USE err_code service_new(const struct service_config *cfg, struct service **out,
                              struct err *e);
void service_free(struct service *s); /* waits for operations under way */

/* For http_server_config.accept: what the head of a request with a body allows, and whether its caller is known. */
void service_accept(void *service, struct http_request *req, struct http_allowance *out);
/* For http_server_config.handler: answers x, now or later; logs one line per request. */
void service_handle(void *service, struct http_exchange *x);
