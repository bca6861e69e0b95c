/* prometheus.h - Prometheus' text format, version 0.0.4, written in one pass.
 *
 *   prometheus_init(&p, &buf)
 *   prometheus_family(&p, "x_requests_total", "counter", "Requests that were answered")
 *   prometheus_u64(&p, "", labels, n, 7)                   x_requests_total{outcome="success"} 7
 *   prometheus_end(&p, e)
 *
 * A family's lines stand together. The writer remembers the first failure, so that a page needs one
 * check at its end. Numbers are whole, or microseconds that are written as seconds: no digit is
 * lost. Source: Prometheus, "Exposition formats", text-based format.   Floor: codec. */
#pragma once
#include "base/buf.h"

#define PROMETHEUS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct prometheus {
    struct buf *out;  /* borrowed */
    const char *name; /* of the family; borrowed until the next one */
    err_code rc;      /* the first failure; later calls do nothing */
    struct err err;
};
struct prometheus_label {
    const char *name;
    sv value; /* any text: it is escaped */
};

void prometheus_init(struct prometheus *p, struct buf *out);
/* type: "counter", "gauge", "histogram". help: any text. */
void prometheus_family(struct prometheus *p, const char *name, const char *type, const char *help);
/* A line of the family. suffix: "", or of a histogram "_bucket", "_sum", "_count". */
void prometheus_u64(struct prometheus *p, const char *suffix, const struct prometheus_label *labels,
                    size_t n_labels, uint64_t value);
/* The same of a time: us microseconds are written as seconds. */
void prometheus_seconds(struct prometheus *p, const char *suffix,
                        const struct prometheus_label *labels, size_t n_labels, uint64_t us);
/* The first failure, or ERR_OK. ERR_TOO_LARGE: the buf's cap. */
MUST_USE err_code prometheus_end(struct prometheus *p, struct err *e);
