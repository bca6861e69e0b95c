/* metrics.h - what requests come to, counted for a monitor.
 *
 *   metrics_request   an answer is about to go out: its operation, its outcome and its time
 *   metrics_refused   a caller was refused: how he said who he is, and why that was not enough
 *   metrics_write     all of it, as Prometheus reads it
 *
 * Names of operations are those of IAM actions, and they are fixed when the counting begins. A name
 * that is not among them counts as "unknown". Nothing that a caller chooses becomes a label. With
 * per_datastore the requests are counted for each data store, too: for the first
 * METRICS_DATASTORES that are asked, and all others together as "other".
 *
 * Counting is a few relaxed additions; it takes no lock, and threads that count side by side do
 * not share cache lines. Where `metrics` is NULL nothing is counted. Thread-safe.
 * Source: Amazon HealthLake, "Monitoring with CloudWatch" (the four outcomes); Prometheus, "Metric
 * and label naming".   Floor: service. */
#pragma once
#include "codec/prometheus.h"
#include "net/http_server.h"

#define METRICS_DATASTORES 100u

struct metrics;
struct metrics_config {
    const char *const *operations; /* may name one several times; the texts outlive the metrics */
    size_t n_operations;
    bool per_datastore;
};
struct metrics *metrics_new(const struct metrics_config *cfg); /* never NULL */
void metrics_free(struct metrics *metrics);

/*   operation  IAM action; NULL: none is known
 *   datastore  id of a data store that there is; SV_NONE: the request is about none, or not known
 *   us         from the request's first byte until now */
void metrics_request(struct metrics *metrics, const char *operation, sv datastore, unsigned status,
                     uint64_t us);
/* code: of the answer's error. Only those of a caller who is not known, or may not, are counted. */
void metrics_refused(struct metrics *metrics, const struct http_request *req, err_code code);
/* A caller was refused because of his certificate. */
void metrics_stranger(struct metrics *metrics);

/* The families fhirlake_requests_total, fhirlake_request_duration_seconds and
 * fhirlake_auth_failures_total. Of an operation there are lines as soon as it was asked for. */
void metrics_write(struct metrics *metrics, struct prometheus *out);
