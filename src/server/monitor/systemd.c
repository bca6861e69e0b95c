/* systemd.c - what systemd is told of the process (Type=notify): a datagram to the socket that
 * NOTIFY_SOCKET names. Without that variable nobody is told anything.
 *
 *   READY=1       requests are taken
 *   RELOADING=1   files are read again; READY=1 behind it
 *   STOPPING=1    no more of them
 *   WATCHDOG=1    the server does its work. Without it for WATCHDOG_USEC systemd ends the process
 *
 * The watchdog is fed by the thread that waits for signals, and only while the threads of the HTTP
 * server take turns: it looks at them four times in WATCHDOG_USEC. With the data stores in a
 * database they may wait for that, for minutes when it hangs, and a new process would wait, too: so
 * they are not looked at then.
 *
 * Source: sd_notify(3), sd_watchdog_enabled(3): "new-style daemons that do not link libsystemd". */
#include "server/serve_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define USEC_MAX UINT64_C(86400000000) /* of WATCHDOG_USEC: a day */
#define LOOKS    4u                    /* in that time */
#define LOOK_MAX UINT64_C(10000000)    /* a signal waits for a look */
#define SEND_S   5                     /* so long for room in systemd's queue */

/* errno, or 0. name: of a file, or behind '@' a name of the abstract space. */
static int send_to(const char *name, const char *text)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof to.sun_path)
        return EINVAL;
    memcpy(to.sun_path, name, len);
    if (name[0] == '@')
        to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    socklen_t to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    const struct timeval most = { .tv_sec = SEND_S };
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    ssize_t n;
    do
        n = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to, to_len);
    while (n < 0 && errno == EINTR);
    int fault = n < 0 ? errno : 0;
    (void)close(fd);
    return fault;
}

void systemd_tell(const char *text)
{
    static atomic_int told;
    const char *name = getenv("NOTIFY_SOCKET");
    if (name == NULL || name[0] == 0)
        return;
    int fault = send_to(name, text);
    /* a fault that stays is told once */
    if (atomic_exchange(&told, fault) != fault && fault)
        LOG(LOG_WARN, "systemd", LOG_STR("state", "not told"), LOG_STR("why", strerror(fault)),
            LOG_STR("note", "NOTIFY_SOCKET names no socket that takes datagrams"));
}

void systemd_reloading(void)
{
    char text[64];
    (void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_mono_us());
    systemd_tell(text);
}

/* How often "WATCHDOG=1" is expected at least; 0: nobody waits for it. */
static uint64_t watchdog_us(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us, whose;
    if (usec == NULL)
        return 0;
    /* of a process that started us */
    if (pid && (!sv_to_u64(sv_from(pid), &whose) || whose != (uint64_t)getpid()))
        return 0;
    if (!sv_to_u64(sv_from(usec), &us) || us == 0 || us > USEC_MAX) {
        LOG(LOG_WARN, "systemd", LOG_STR("state", "no watchdog"),
            LOG_STR("note", "WATCHDOG_USEC is no number of microseconds up to a day"));
        return 0;
    }
    return us;
}

static void feed(struct http_server *http, uint64_t us)
{
    const uint64_t wait_us = us / LOOKS < LOOK_MAX ? us / LOOKS : LOOK_MAX;
    if (http == NULL || http_server_alive(http, us / 2, wait_us))
        systemd_tell("WATCHDOG=1");
    else
        LOG(LOG_ERROR, "watchdog", LOG_STR("state", "not fed"),
            LOG_STR("note", "requests are not taken, or a thread of the server hangs"));
}

int systemd_signal(const sigset_t *set, struct http_server *http)
{
    uint64_t us = watchdog_us(), part = us / LOOKS + 1;
    const struct timespec most = { .tv_sec = (time_t)(part / 1000000),
                                   .tv_nsec = (long)(part % 1000000) * 1000 };
    for (;;) {
        if (us)
            feed(http, us);
        int sig = us ? sigtimedwait(set, NULL, &most) : sigwaitinfo(set, NULL);
        if (sig > 0)
            return sig;
    }
}
