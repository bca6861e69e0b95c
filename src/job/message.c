/* message.c - what Describe shows of a job in words: how far an export is, or why a job ended.
 *
 * The service model allows letters, digits and " _.:/=+-%@" there. */
#include "job/job_private.h"

#define MESSAGE_MAX 2048u /* bytes, by the service model */

/* "1.2 GB" */
static sv size_text(struct arena *a, uint64_t bytes)
{
    static const char *const units[] = { "bytes", "kB", "MB", "GB", "TB" };
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1000 && u + 1 < sizeof units / sizeof units[0]) {
        v /= 1000;
        u++;
    }
    return arena_fmt(a, "%.*f %s", u ? 1 : 0, v, units[u]);
}

sv job_progress_text(const struct job *job, struct arena *a)
{
    const struct job_progress *p = &job->progress;
    if (p->ranges_total == 0)
        return SV_LIT("planning");
    sv done = size_text(a, p->bytes_exported);
    sv share = SV_NONE, left = SV_NONE;
    if (p->bytes_expected > p->bytes_exported)
        share = arena_fmt(a, "%.0f%% - ",
                          100.0 * (double)p->bytes_exported / (double)p->bytes_expected);
    if (p->seconds_left >= 60)
        left =
            arena_fmt(a, " - about %llu min left", (unsigned long long)(p->seconds_left + 30) / 60);
    else if (p->seconds_left)
        left = arena_fmt(a, " - about %llu s left", (unsigned long long)p->seconds_left);
    return arena_fmt(a, "%.*s%llu resources - %.*s - %.0f/s%.*s", SV_FMT(share),
                     (unsigned long long)p->resources_exported, SV_FMT(done), p->throughput,
                     SV_FMT(left));
}

sv job_message_clean(struct arena *a, sv text)
{
    sv s = arena_sv(a, sv_head(text, MESSAGE_MAX));
    /* our own copy */
    char *p = (char *)(uintptr_t)s.ptr;
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  (c && strchr(" _.:/=+-%@", c));
        if (!ok)
            c = ' ';
        /* "a, b" shall not have two */
        if (c != ' ' || n == 0 || p[n - 1] != ' ')
            p[n++] = c;
    }
    return sv_head(s, n);
}
