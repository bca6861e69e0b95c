/* page.c - what GET /metrics says: each room is asked what it counts, and the page is written of
 * that.
 *
 *   service/metrics.h   requests and refusals           job/job.h         jobs
 *   store/registry.h    data stores                     net/http_server.h connections
 *   event/event.h       events                          audit/audit.h     the audit log
 *   tls.c               the certificate                 bearer/providers.h
 *   process.c           the process, the data folder
 *
 * Nothing of it is a patient's, and nothing is chosen by a caller: labels are words of this
 * program, and ids of data stores with --metrics-per-datastore. The sizes of folders take a walk
 * through all files, so they are looked at again after a minute. */
#include "server/serve_private.h"

#include "auth/bearer/bearer.h"
#include "base/clock.h"
#include "base/file.h"

#include <limits.h>
#include <stdlib.h>

#define SIZES_FRESH_US 60000000u

static const char *const parts[] = { "system", "jobs", "exports" };
#define N_PARTS (sizeof parts / sizeof parts[0])

struct page {
    struct page_sources of;
    struct { /* of the disk, as of then */
        uint64_t looked_us, stores, parts[N_PARTS];
    } sizes;
};

struct page *page_new(const struct page_sources *sources)
{
    struct page *page = calloc(1, sizeof *page);
    if (page == NULL)
        abort();
    page->of = *sources;
    return page;
}

void page_free(struct page *page)
{
    free(page);
}

static void gauge(struct prometheus *out, const char *name, const char *help, uint64_t value)
{
    prometheus_family(out, name, "gauge", help);
    prometheus_u64(out, "", NULL, 0, value);
}

/* ---- jobs ---- */

static const char *const kinds[JOB_N_KINDS] = {
    [JOB_EXPORT] = "export", [JOB_IMPORT] = "import", [JOB_ERASE] = "erase"
};

static void job_line(struct prometheus *out, job_kind kind, job_status status, uint64_t value)
{
    prometheus_u64(
        out, "",
        (const struct prometheus_label[]){ { "kind", sv_from(kinds[kind]) },
                                           { "status", sv_from(job_status_name(status)) } },
        2, value);
}

static void kind_line(struct prometheus *out, job_kind kind, uint64_t value)
{
    prometheus_u64(out, "", (const struct prometheus_label[]){ { "kind", sv_from(kinds[kind]) } },
                   1, value);
}

static void write_jobs(struct job_engine *jobs, struct prometheus *out)
{
    struct job_counts n[JOB_N_KINDS];
    for (int k = 0; k < JOB_N_KINDS; k++)
        job_engine_count(jobs, (job_kind)k, &n[k]);
    prometheus_family(out, "fhirlake_jobs", "gauge", "Jobs that have not ended");
    for (int k = 0; k < JOB_N_KINDS; k++) {
        job_line(out, (job_kind)k, JOB_QUEUED, n[k].n_waiting);
        job_line(out, (job_kind)k, JOB_IN_PROGRESS, n[k].n_running);
        job_line(out, (job_kind)k, JOB_CANCEL_IN_PROGRESS, n[k].n_cancelling);
    }
    prometheus_family(out, "fhirlake_jobs_ended_total", "counter",
                      "Jobs that have ended, by their last status");
    for (int k = 0; k < JOB_N_KINDS; k++)
        for (int s = 0; s < JOB_N_STATUSES; s++)
            if (job_status_is_final((job_status)s))
                job_line(out, (job_kind)k, (job_status)s, n[k].ended[s]);
    prometheus_family(out, "fhirlake_job_resources_total", "counter",
                      "Resources that jobs have exported or imported");
    for (int k = 0; k < JOB_N_KINDS; k++)
        kind_line(out, (job_kind)k, n[k].resources);
    prometheus_family(out, "fhirlake_job_bytes_total", "counter",
                      "Bytes of NDJSON, not packed, that jobs have exported or imported");
    for (int k = 0; k < JOB_N_KINDS; k++)
        kind_line(out, (job_kind)k, n[k].bytes);
}

/* ---- events ---- */

static void write_events(struct events *events, struct prometheus *out)
{
    struct events_counts n;
    if (events == NULL)
        return;
    events_count(events, &n);
    const struct {
        const char *outcome;
        uint64_t n;
    } lines[] = { { "sent", n.sent }, { "failed", n.failures }, { "dead", n.dead } };
    prometheus_family(out, "fhirlake_events_total", "counter",
                      "Events that were sent, tries that failed, and events that were given up");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        prometheus_u64(
            out, "", (const struct prometheus_label[]){ { "outcome", sv_from(lines[i].outcome) } },
            1, lines[i].n);
    gauge(out, "fhirlake_events_waiting", "Events that the endpoint has not taken yet", n.waiting);
}

/* ---- the audit log ---- */

static void counter(struct prometheus *out, const char *name, const char *help, uint64_t value)
{
    prometheus_family(out, name, "counter", help);
    prometheus_u64(out, "", NULL, 0, value);
}

static void write_audit(struct audit *audit, struct prometheus *out)
{
    if (audit == NULL)
        return;
    const struct audit_counts n = audit_counts(audit);
    counter(out, "fhirlake_audit_records_total", "Records of the audit log that are on disk",
            n.records);
    counter(out, "fhirlake_audit_bytes_total", "Their bytes", n.bytes);
    counter(out, "fhirlake_audit_failures_total", "Times that the audit log could not be written",
            n.failures);
    counter(out, "fhirlake_audit_lost_records_total",
            "Records that were lost because it could not be written", n.lost);
    gauge(out, "fhirlake_audit_writable", "1: the audit log can be written, as far as is known",
          audit_is_well(audit));
}

/* ---- TLS, and who gives tokens ---- */

static void outcome_line(struct prometheus *out, const char *outcome, uint64_t value)
{
    prometheus_u64(out, "", (const struct prometheus_label[]){ { "outcome", sv_from(outcome) } }, 1,
                   value);
}

static void write_tls(const struct page *page, struct prometheus *out)
{
    uint64_t done, failed;
    if (page->of.tls == NULL)
        return;
    http_server_handshakes(page->of.http, &done, &failed);
    prometheus_family(out, "fhirlake_tls_handshakes_total", "counter", "Handshakes of TLS");
    outcome_line(out, "success", done);
    outcome_line(out, "failure", failed);
    gauge(out, "fhirlake_tls_certificate_expiry_timestamp_seconds",
          "When the certificate that is shown expires",
          (uint64_t)(tls_until_ms(page->of.tls) / 1000));
}

struct asked {
    struct prometheus *out;
    bool keys;
};

static void on_provider(void *ctx, const struct providers_asked *said)
{
    const struct asked *asked = ctx;
    const struct {
        const char *outcome;
        uint64_t n;
    } lines[] = { { "success", said->good }, { "failure", said->bad } };
    for (size_t i = 0; said->keys == asked->keys && i < sizeof lines / sizeof lines[0]; i++)
        prometheus_u64(asked->out, "",
                       (const struct prometheus_label[]){
                           { "issuer", said->name }, { "outcome", sv_from(lines[i].outcome) } },
                       2, lines[i].n);
}

/* bearer_providers_fn */
static err_code write_asked(void *ctx, const struct providers *providers, struct err *e)
{
    struct asked asked = { ctx, true };
    (void)e;
    prometheus_family(ctx, "fhirlake_jwks_fetches_total", "counter",
                      "Fetches of the keys of an identity provider");
    providers_tell_asked(providers, on_provider, &asked);
    asked.keys = false;
    prometheus_family(ctx, "fhirlake_introspections_total", "counter",
                      "Questions about tokens to an identity provider");
    providers_tell_asked(providers, on_provider, &asked);
    return ERR_OK;
}

static void write_providers(struct auth *auth, struct prometheus *out)
{
    struct err e;
    if (auth_bearer(auth))
        IGNORE(bearer_show(auth_bearer(auth), write_asked, out, &e));
}

/* ---- data stores and the disk ---- */

static uint64_t folder_bytes(const char *data, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", data, name);
    return n > 0 && n < PATH_MAX ? process_folder_bytes(path) : 0;
}

static void look_at_sizes(struct page *page)
{
    uint64_t now_us = clock_mono_us();
    if (page->sizes.looked_us && now_us - page->sizes.looked_us < SIZES_FRESH_US)
        return;
    page->sizes.looked_us = now_us;
    page->sizes.stores = folder_bytes(page->of.data, "stores");
    for (size_t i = 0; i < N_PARTS; i++)
        page->sizes.parts[i] = folder_bytes(page->of.data, parts[i]);
}

static void write_stores(struct page *page, struct prometheus *out)
{
    struct store_registry_counts n;
    uint64_t left, size;
    /* of a disk that cannot be asked nothing is told */
    struct err ignored;
    store_registry_count(page->of.stores, &n);
    gauge(out, "fhirlake_open_datastores", "Data stores whose files are open", n.n_open);
    look_at_sizes(page);
    gauge(out, "fhirlake_store_bytes", "Disk that the data stores take, at most a minute ago",
          page->sizes.stores);
    prometheus_family(out, "fhirlake_data_bytes", "gauge",
                      "Disk that the data folder takes beside data stores, at most a minute ago");
    for (size_t i = 0; i < N_PARTS; i++)
        prometheus_u64(out, "", (const struct prometheus_label[]){ { "part", sv_from(parts[i]) } },
                       1, page->sizes.parts[i]);
    if (file_disk(page->of.data, &left, &size, &ignored) != ERR_OK)
        return;
    gauge(out, "fhirlake_disk_free_bytes", "Disk of the data folder that is free", left);
    gauge(out, "fhirlake_disk_bytes", "Disk of the data folder", size);
}

err_code page_write(struct page *page, struct buf *out, struct err *e)
{
    struct prometheus p;
    prometheus_init(&p, out);
    prometheus_family(&p, "fhirlake_build_info", "gauge", "1; its label says the version");
    prometheus_u64(
        &p, "", (const struct prometheus_label[]){ { "version", SV_LIT(FHIRLAKE_VERSION) } }, 1, 1);
    metrics_write(page->of.metrics, &p);
    write_jobs(page->of.jobs, &p);
    write_events(page->of.events, &p);
    write_audit(page->of.audit, &p);
    write_tls(page, &p);
    write_providers(page->of.auth, &p);
    write_stores(page, &p);
    gauge(&p, "fhirlake_open_connections", "Connections of clients that are open",
          http_server_connections(page->of.http));
    process_write(&p);
    return prometheus_end(&p, e);
}
