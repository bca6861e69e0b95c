#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192u

static _Atomic int min_level = LOG_INFO;

void log_level_set(log_level level)
{
    atomic_store(&min_level, (int)level);
}

static const char *const level_names[] = { "debug", "info", "warn", "error", "off" };

bool log_level_parse(sv name, log_level *out)
{
    for (int i = 0; i <= LOG_OFF; i++)
        if (sv_eq_cstr(name, level_names[i])) {
            *out = (log_level)i;
            return true;
        }
    return false;
}

/* A line that would pass its cap loses its tail, never its newline: results are ignored on purpose.
 */
static void put(struct buf *b, sv v)
{
    IGNORE(buf_add(b, v, NULL));
}

static bool plain(sv v)
{
    if (v.len == 0)
        return false;
    for (size_t i = 0; i < v.len; i++) {
        unsigned char c = (unsigned char)v.ptr[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7F)
            return false;
    }
    return true;
}

static void put_value(struct buf *b, sv v)
{
    if (plain(v)) {
        put(b, v);
        return;
    }
    put(b, SV_LIT("\""));
    for (size_t i = 0; i < v.len; i++) {
        unsigned char c = (unsigned char)v.ptr[i];
        if (c < ' ' || c == 0x7F)
            IGNORE(buf_add_fmt(b, NULL, "\\x%02x", c));
        else if (c == '"' || c == '\\')
            IGNORE(buf_add_fmt(b, NULL, "\\%c", c));
        else
            put(b, (sv){ v.ptr + i, 1 });
    }
    put(b, SV_LIT("\""));
}

static void put_kv(struct buf *b, const struct log_kv *kv)
{
    IGNORE(buf_add_fmt(b, NULL, " %s=", kv->key));
    if (kv->kind == LOG_KIND_INT)
        IGNORE(buf_add_fmt(b, NULL, "%lld", kv->num));
    else if (kv->kind == LOG_KIND_DOUBLE)
        IGNORE(buf_add_fmt(b, NULL, "%.3f", kv->real));
    else
        put_value(b, kv->text);
}

void log_line(log_level level, const char *event, const struct log_kv *kv, size_t n_kv)
{
    if ((int)level < atomic_load(&min_level) || level >= LOG_OFF)
        return;
    CLEANUP_BUF struct buf b = BUF_INIT(LINE_MAX_BYTES);
    int64_t now = clock_wall_ms();
    time_t s = (time_t)(now / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    IGNORE(buf_add_fmt(&b, NULL, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s %s", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                       (int)(now % 1000), level_names[level], event));
    for (size_t i = 0; i < n_kv; i++)
        put_kv(&b, &kv[i]);
    if (b.len >= LINE_MAX_BYTES)
        b.len = LINE_MAX_BYTES - 1;
    IGNORE(buf_add_char(&b, '\n', NULL));
    ssize_t n = write(STDERR_FILENO, b.ptr, b.len);
    (void)n; /* nowhere to report a log that cannot be written */
}

void log_error(const char *event, const struct err *err, const struct log_kv *kv, size_t n_kv)
{
    enum { MORE = 4, MAX_KV = 24 };
    struct log_kv all[MAX_KV];
    char at[128];
    const char *file = err->file ? strrchr(err->file, '/') : NULL;
    (void)snprintf(at, sizeof at, "%s:%d",
                   file        ? file + 1
                   : err->file ? err->file
                               : "?",
                   err->line);
    size_t n = n_kv > MAX_KV - MORE ? MAX_KV - MORE : n_kv;
    memcpy(all, kv, n * sizeof *kv);
    all[n++] = LOG_STR("error", err_code_name(err->code));
    all[n++] = LOG_STR("message", err->msg);
    if (err->ctx[0])
        all[n++] = LOG_STR("context", err->ctx);
    all[n++] = LOG_STR("at", at);
    log_line(LOG_ERROR, event, all, n);
}
