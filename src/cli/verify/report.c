/* report.c - what `fhirlake verify` tells: each difference as a line, up to a number of
 * them, and notes beside them. Both go to standard output. */
#include "cli/verify/verify_private.h"

void verify_differs(struct verify *verify, const char *fmt, ...)
{
    va_list ap;
    if (++verify->differences > VERIFY_TOLD_MAX)
        return;
    (void)fputs("differs: ", stdout);
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)fputc('\n', stdout);
}

void verify_note(const struct verify *verify, const char *fmt, ...)
{
    va_list ap;
    if (verify->o.quiet)
        return;
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)fputc('\n', stdout);
}
