/* log.h - the structured log: one line per event, key=value, on standard error.
 *
 *   2026-11-23T18:30:00.123Z info request op=DescribeFHIRDatastore status=200 us=312 request_id=...
 *
 * Values are quoted when they hold spaces, quotes or control bytes (those are escaped), so that no
 * input can forge a line. Services, jobs and the server log; modules below job return errors
 * instead. Never pass bodies, credentials, tokens, signatures or resource content.
 * Floor: base. */
#pragma once
#include "base/sv.h"

typedef enum { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF } log_level;

void log_level_set(log_level level);           /* default LOG_INFO */
bool log_level_parse(sv name, log_level *out); /* debug info warn error off */

/* A key and its value. A line is written with LOG(), its pairs with the four helpers below:
 *     LOG(LOG_INFO, "job", LOG_SV("id", job.id), LOG_STR("status", "COMPLETED"));
 * Any thread may log; a line is written whole. */
struct log_kv {
    const char *key;
    enum { LOG_KIND_SV, LOG_KIND_INT, LOG_KIND_DOUBLE } kind;
    sv text;
    long long num;
    double real;
};
#define LOG_SV(k, v)   ((struct log_kv){ .key = (k), .kind = LOG_KIND_SV, .text = (v) })
#define LOG_STR(k, v)  ((struct log_kv){ .key = (k), .kind = LOG_KIND_SV, .text = sv_from(v) })
#define LOG_INT(k, v)  ((struct log_kv){ .key = (k), .kind = LOG_KIND_INT, .num = (long long)(v) })
#define LOG_REAL(k, v) ((struct log_kv){ .key = (k), .kind = LOG_KIND_DOUBLE, .real = (v) })
#define LOG(level, event, ...)                                         \
    log_line((level), (event), (const struct log_kv[]){ __VA_ARGS__ }, \
             sizeof((const struct log_kv[]){ __VA_ARGS__ }) / sizeof(struct log_kv))
/* What LOG() calls. */
void log_line(log_level level, const char *event, const struct log_kv *kv, size_t n_kv);

/* From here on lines below LOG_WARN may wait for others, 20 ms at most, so that a busy server does
 * not pay a write(2) for each. Lines that wait are written when the process aborts or meets a
 * fault; SIGKILL and a loss of power take the last 20 ms. Call it when the threads' signal mask is
 * set. */
void log_hold(void);
/* Every line that waits is written, and from now on each at once. */
void log_release(void);

/* The failure *err under `event`: adds error=<code> message=... context=... at=<file:line>. */
void log_error(const char *event, const struct err *err, const struct log_kv *kv, size_t n_kv);
#define LOG_ERR(event, err, ...)                                      \
    log_error((event), (err), (const struct log_kv[]){ __VA_ARGS__ }, \
              sizeof((const struct log_kv[]){ __VA_ARGS__ }) / sizeof(struct log_kv))
