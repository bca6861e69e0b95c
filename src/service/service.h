/* service.h - what the product does with a request: both planes, without sockets.
 *
 *   POST /                        control plane, AWS JSON 1.0 (X-Amz-Target:
 *                                 HealthLake.<Operation>)
 *   /datastore/<datastoreId>/r4/  data plane, FHIR R4
 *   GET /health                   liveness, unsigned
 *   GET /console/                 the web console's files, unsigned
 *
 * A request passes the door (host, origin, limits), then its plane: who calls, what may he do, is
 * it well formed, the operation, the answer. Errors are translated into each caller's protocol
 * here; nothing below names an HTTP status.
 * Source: Amazon HealthLake service model 2017-07-01.   Floor: service. */
#pragma once
#include "audit/audit.h"
#include "auth/auth.h"
#include "auth/issue/issue.h"
#include "job/job.h"
#include "net/http_server.h"
#include "service/parked.h"
#include "service/quota.h"

struct kms; /* kms/kms.h */
struct service;
struct metrics;       /* metrics.h */
struct service_plane; /* plane.h */

/* What is pointed to is borrowed, and outlives the service. Texts are copied. */
struct service_config {
    const struct service_plane *control, *data;
    struct records *records;
    struct store_registry *stores;
    struct job_engine *jobs;
    struct auth *auth;
    struct issue *issue;              /* our own token endpoint; NULL: none */
    struct parking *parking;          /* NULL: no answer waits for an end */
    struct metrics *metrics;          /* NULL: requests are not counted */
    struct events *events;            /* who is told of data stores; NULL: nobody */
    struct kms *kms;                  /* with our own keys; NULL: nobody looks at keys */
    struct audit *audit;              /* NULL: no audit log */
    bool console;                     /* the web console is served */
    bool audit_strict;                /* reads are refused too, while it cannot be written */
    sv region;                        /* "us-east-1" */
    sv account_id;                    /* "000000000000" */
    sv public_url;                    /* empty: the request's Host makes a DatastoreEndpoint */
    const struct quota_rates *quotas; /* copied; NULL: rates are not limited */
    unsigned n_workers;               /* 0: LIMIT_CONTROL_WORKERS */
    unsigned max_datastores;          /* 0: LIMIT_DATASTORES */
    unsigned preload_patients;        /* 0: LIMIT_PRELOAD_PATIENTS */
};
/* Starts both planes. The control plane takes up data stores that were being created or deleted
 * when an earlier process ended. Errors of the records, ERR_IO: a thread cannot be started. */
MUST_USE err_code service_new(const struct service_config *cfg, struct service **out,
                              struct err *e);
/* Other rates from now on; the service has some already. Copied. */
void service_set_quotas(struct service *service, const struct quota_rates *rates);
/* The process is to stop: answers without an end of their own, as a long table's, end now; others
 * have their time to drain. */
void service_end(struct service *service);
void service_free(struct service *service); /* waits for operations under way */

/* For http_server_config.accept, when the head of a request with a body is there: how long may the
 * body be, is it worth reading, and is the caller known? */
void service_accept(void *service, struct http_request *req, struct http_allowance *out);

/* What GET /health says, on whichever port, appended. */
#define SERVICE_HEALTH_TYPE "application/json"
void service_health_write(struct buf *out);
/* Where several nodes have the records: which one this is, and whether it reaches them. Called
 * once, before anybody asks; borrowed until the end. */
void service_health_of(const struct records *records);

/* For http_server_config.handler: answers x, now or later, and logs one line for it. */
void service_handle(void *service, struct http_exchange *x);
