/* log.c - lines of the log are put together on the stack and written with one write(2).
 *
 * A busy server writes several lines at once: two buffers of lines take turns, one is filled while
 * the other is written ("where lines go" below). A value is written bare when it can be read that
 * way; else it stands in quotes, with escapes, so that no input can forge a line. */
#include "base/log.h"

#include "base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192u
#define HELD_BYTES     (64u << 10)
#define HELD_US        20000u

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

/* A line that would pass its cap loses its tail, never its newline. */
struct line {
    size_t len;
    char text[LINE_MAX_BYTES];
};

static void put(struct line *l, sv v)
{
    size_t room = LINE_MAX_BYTES - 1 - l->len;
    size_t n = v.len < room ? v.len : room;
    if (n)
        memcpy(l->text + l->len, v.ptr, n);
    l->len += n;
}

static void put_number(struct line *l, long long n, unsigned digits)
{
    char text[24], *p = text + sizeof text;
    unsigned long long u = n < 0 ? 0 - (unsigned long long)n : (unsigned long long)n;
    for (; u || digits; u /= 10, digits -= digits > 0)
        *--p = (char)('0' + u % 10);
    if (n < 0)
        *--p = '-';
    put(l, sv_make(p, (size_t)(text + sizeof text - p)));
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

static void put_value(struct line *l, sv v)
{
    if (plain(v)) {
        put(l, v);
        return;
    }
    put(l, SV_LIT("\""));
    for (size_t i = 0; i < v.len; i++) {
        unsigned char c = (unsigned char)v.ptr[i];
        static const char digits[] = "0123456789abcdef";
        if (c < ' ' || c == 0x7F)
            put(l, sv_make((char[]){ '\\', 'x', digits[c >> 4], digits[c & 15] }, 4));
        else if (c == '"' || c == '\\')
            put(l, sv_make((char[]){ '\\', (char)c }, 2));
        else
            put(l, (sv){ v.ptr + i, 1 });
    }
    put(l, SV_LIT("\""));
}

static void put_kv(struct line *l, const struct log_kv *kv)
{
    char real[64];
    put(l, SV_LIT(" "));
    put(l, sv_from(kv->key));
    put(l, SV_LIT("="));
    if (kv->kind == LOG_KIND_INT) {
        put_number(l, kv->num, 1);
    } else if (kv->kind == LOG_KIND_DOUBLE) {
        (void)snprintf(real, sizeof real, "%.3f", kv->real);
        put(l, sv_from(real));
    } else {
        put_value(l, kv->text);
    }
}

static void put_time(struct line *l)
{
    int64_t now = clock_wall_ms();
    time_t s = (time_t)(now / 1000);
    /* lines of one second share its text */
    static _Thread_local time_t at = -1;
    static _Thread_local char text[64];
    if (s != at) {
        struct tm tm;
        gmtime_r(&s, &tm);
        (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        at = s;
    }
    put(l, sv_from(text));
    put_number(l, now % 1000, 3);
    put(l, SV_LIT("Z "));
}

/* ---- where lines go ----
 *
 * One write(2) a line costs a read by id a tenth of its time. While lines are held, one that comes
 * when nothing was written lately goes out at once, and so does all that tells of trouble; the
 * others wait for company, HELD_US at most. A thread that writes takes the full half away and
 * leaves the empty one to be filled. */
static struct {
    _Atomic bool holding;
    pthread_t flusher;
    pthread_mutex_t writing; /* orders the writes; taken in front of lock */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool stopping;
        uint64_t written_us;
        size_t len;  /* of what waits */
        size_t half; /* which half of text it waits in */
    } locked;
    char text[2][HELD_BYTES];
} out = { .writing = PTHREAD_MUTEX_INITIALIZER, .locked.lock = PTHREAD_MUTEX_INITIALIZER };

static void write_out(sv lines)
{
    ssize_t n = write(STDERR_FILENO, lines.ptr, lines.len);
    /* There is nowhere to report a log that cannot be written. */
    (void)n;
}

static void flush(void)
{
    pthread_mutex_lock(&out.writing);
    pthread_mutex_lock(&out.locked.lock);
    sv lines = sv_make(out.text[out.locked.half], out.locked.len);
    out.locked.half ^= 1;
    out.locked.len = 0;
    out.locked.written_us = clock_mono_us();
    pthread_mutex_unlock(&out.locked.lock);
    if (lines.len)
        write_out(lines);
    pthread_mutex_unlock(&out.writing);
}

static void hold_line(log_level level, sv line)
{
    pthread_mutex_lock(&out.locked.lock);
    while (out.locked.len + line.len > HELD_BYTES) {
        pthread_mutex_unlock(&out.locked.lock);
        flush();
        pthread_mutex_lock(&out.locked.lock);
    }
    bool first = out.locked.len == 0;
    memcpy(out.text[out.locked.half] + out.locked.len, line.ptr, line.len);
    out.locked.len += line.len;
    bool now = level >= LOG_WARN || clock_mono_us() - out.locked.written_us >= HELD_US ||
               out.locked.stopping;
    if (first && !now)
        pthread_cond_signal(&out.locked.changed);
    pthread_mutex_unlock(&out.locked.lock);
    if (now)
        flush();
}

static void *flusher(void *ignored)
{
    (void)ignored;
    pthread_mutex_lock(&out.locked.lock);
    while (!out.locked.stopping) {
        if (out.locked.len == 0) {
            pthread_cond_wait(&out.locked.changed, &out.locked.lock);
            continue;
        }
        const struct timespec until = clock_mono_at(clock_mono_us() + HELD_US);
        while (!out.locked.stopping &&
               pthread_cond_timedwait(&out.locked.changed, &out.locked.lock, &until) == 0)
            ;
        pthread_mutex_unlock(&out.locked.lock);
        flush();
        pthread_mutex_lock(&out.locked.lock);
    }
    pthread_mutex_unlock(&out.locked.lock);
    return NULL;
}

/* The process ends here: what waits goes out, without locks, which whoever died may hold. */
static void on_crash(int sig)
{
    write_out(sv_make(out.text[out.locked.half], out.locked.len));
    /* SA_RESETHAND: now it ends it */
    (void)raise(sig);
}

static void catch_crashes(void)
{
    static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM };
    struct sigaction mine = { .sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND | SA_NODEFER };
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction have;
        /* A sanitizer's own handler stays. */
        if (sigaction(signals[i], NULL, &have) == 0 && have.sa_handler == SIG_DFL)
            (void)sigaction(signals[i], &mine, NULL);
    }
}

void log_hold(void)
{
    clock_cond_init(&out.locked.changed);
    out.locked.stopping = false;
    /* Without the thread each line is written by itself. */
    if (pthread_create(&out.flusher, NULL, flusher, NULL) != 0)
        return;
    catch_crashes();
    atomic_store(&out.holding, true);
}

void log_release(void)
{
    if (!atomic_load(&out.holding))
        return;
    pthread_mutex_lock(&out.locked.lock);
    /* lines go out at once from here on */
    out.locked.stopping = true;
    pthread_cond_signal(&out.locked.changed);
    pthread_mutex_unlock(&out.locked.lock);
    /* our own thread */
    (void)pthread_join(out.flusher, NULL);
    flush();
    atomic_store(&out.holding, false);
}

void log_line(log_level level, const char *event, const struct log_kv *kv, size_t n_kv)
{
    if ((int)level < atomic_load(&min_level) || level >= LOG_OFF)
        return;
    struct line l;
    l.len = 0;
    put_time(&l);
    put(&l, sv_from(level_names[level]));
    put(&l, SV_LIT(" "));
    put(&l, sv_from(event));
    for (size_t i = 0; i < n_kv; i++)
        put_kv(&l, &kv[i]);
    l.text[l.len++] = '\n';
    if (atomic_load(&out.holding))
        hold_line(level, sv_make(l.text, l.len));
    else
        write_out(sv_make(l.text, l.len));
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
