/* talk.c - what is sent to the server, and its answer waited for, with an end to the waiting.
 *
 * A server that is frozen, or a machine that is gone, ends no statement and no connection. So
 * nothing here blocks in libpq: a connection's patience says how long one statement may take, which
 * is longer than the server is told to take at most (connect.c). Behind that the connection is cut
 * off, and what became of a statement that was under way is not known, as when it ended by itself.
 *
 * db.c makes statements of it. */
#include "store/postgres/link/link_private.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#define LOOK_MS 200

static uint64_t deadline(unsigned ms)
{
    return clock_mono_us() + ms * 1000ull;
}

/* Its state is CONNECTION_BAD from then on. */
static void cut_off(PGconn *c)
{
    (void)shutdown(PQsocket(c), SHUT_RDWR);
    while (PQstatus(c) == CONNECTION_OK && PQconsumeInput(c))
        ;
}

/* Until the socket can be used. False: the connection has ended, or does now. */
static bool wait_for(PGconn *c, short events, uint64_t until_us)
{
    for (;;) {
        const uint64_t now = clock_mono_us();
        struct pollfd p = { .fd = PQsocket(c), .events = events };
        if (p.fd < 0)
            return false;
        const int n = now < until_us ? poll(&p, 1, (int)((until_us - now) / 1000 + 1)) : 0;
        if (n > 0)
            return p.revents == POLLOUT || PQconsumeInput(c);
        if (n == 0 || errno != EINTR) {
            cut_off(c);
            return false;
        }
    }
}

/* What was sent is out, and the next result can be taken without waiting. */
static void await(PGconn *c, uint64_t until_us)
{
    for (;;) {
        const int left = PQflush(c);
        if (left <= 0 && !PQisBusy(c))
            return;
        if (!wait_for(c, (short)(left > 0 ? POLLIN | POLLOUT : POLLIN), until_us))
            return;
    }
}

PGresult *pg_talk_answer(PGconn *c, unsigned ms)
{
    const uint64_t until = deadline(ms);
    PGresult *last = NULL, *r;
    for (;;) {
        await(c, until);
        r = PQgetResult(c);
        if (r == NULL)
            return last;
        PQclear(last);
        last = r;
        const ExecStatusType s = PQresultStatus(r);
        if (s == PGRES_COPY_IN || s == PGRES_COPY_OUT)
            return last;
    }
}

/* Nothing tells that *halt was set, so it is looked at now and then. */
static bool wait_long(PGconn *c, short events, const atomic_bool *halt)
{
    struct pollfd p = { .fd = PQsocket(c), .events = events };
    if (halt && atomic_load(halt)) {
        cut_off(c);
        return false;
    }
    const int n = p.fd < 0 ? -1 : poll(&p, 1, LOOK_MS);
    if (n < 0)
        return p.fd >= 0 && errno == EINTR;
    return n == 0 || p.revents == POLLOUT || PQconsumeInput(c);
}

PGresult *pg_talk_long(PGconn *c, const atomic_bool *halt)
{
    PGresult *last = NULL, *r;
    do {
        int left;
        while ((left = PQflush(c)) > 0 || (left == 0 && PQisBusy(c)))
            if (!wait_long(c, (short)(left > 0 ? POLLIN | POLLOUT : POLLIN), halt))
                break;
        r = PQgetResult(c);
        if (r == NULL)
            return last;
        PQclear(last);
        last = r;
    } while (true);
}

bool pg_talk_put(PGconn *c, sv bytes, unsigned ms)
{
    const uint64_t until = deadline(ms);
    int put, left;
    while ((put = PQputCopyData(c, bytes.ptr, (int)bytes.len)) == 0)
        if (!wait_for(c, POLLIN | POLLOUT, until))
            return false;
    if (put < 0)
        return false;
    /* or libpq would gather all of it in memory */
    while ((left = PQflush(c)) > 0)
        if (!wait_for(c, POLLIN | POLLOUT, until))
            return false;
    return left == 0;
}

bool pg_talk_put_end(PGconn *c, const char *why, unsigned ms)
{
    const uint64_t until = deadline(ms);
    int put;
    while ((put = PQputCopyEnd(c, why)) == 0)
        if (!wait_for(c, POLLIN | POLLOUT, until))
            return false;
    return put > 0;
}

int pg_talk_get(PGconn *c, char **row, unsigned ms)
{
    const uint64_t until = deadline(ms);
    int len;
    while ((len = PQgetCopyData(c, row, 1)) == 0)
        if (!wait_for(c, POLLIN, until))
            return -2;
    return len;
}
