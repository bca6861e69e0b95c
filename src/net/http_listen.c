/* http_listen.c - an address in words becomes a socket that listens there, and a bound socket an
 * address in words. */
#include "net/http_private.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* "HOST:PORT" or "[V6]:PORT" -> a bound, listening socket. */
err_code http_listen(sv address, int *out_fd, struct err *e)
{
    size_t colon = address.len;
    while (colon > 0 && address.ptr[colon - 1] != ':')
        colon--;
    uint64_t port;
    if (colon == 0 || !sv_to_u64(sv_tail(address, colon), &port) || port > 65535)
        return ERR(e, ERR_INVALID, "listen address \"%.*s\" is not HOST:PORT", SV_FMT(address));
    sv host = sv_head(address, colon - 1);
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = sv_make(host.ptr + 1, host.len - 2);
    char host_z[NI_MAXHOST], port_z[8];
    if (host.len == 0 || host.len >= sizeof host_z)
        return ERR(e, ERR_INVALID, "listen address \"%.*s\" is not HOST:PORT", SV_FMT(address));
    memcpy(host_z, host.ptr, host.len);
    host_z[host.len] = 0;
    (void)snprintf(port_z, sizeof port_z, "%u", (unsigned)port);
    struct addrinfo hints = { .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE };
    struct addrinfo *ai;
    if (getaddrinfo(host_z, port_z, &hints, &ai) != 0)
        return ERR(e, ERR_INVALID, "listen address \"%.*s\" cannot be resolved", SV_FMT(address));
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    int bad = fd < 0;
    if (!bad) {
        /* a nicety */
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        bad = bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, 1024) != 0;
    }
    int saved = errno;
    freeaddrinfo(ai);
    if (bad) {
        if (fd >= 0)
            close(fd);
        if (saved == EADDRINUSE)
            return ERR(e, ERR_EXISTS,
                       "address %.*s is in use: stop what listens there, or give --listen another",
                       SV_FMT(address));
        return ERR(e, err_from_errno(saved), "cannot listen on %.*s: %s", SV_FMT(address),
                   strerrordesc_np(saved));
    }
    *out_fd = fd;
    return ERR_OK;
}

void http_listen_name(int fd, char *out, size_t size)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    char host[NI_MAXHOST] = "", port[8] = "";
    /* numeric: cannot fail usefully */
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
        (void)getnameinfo((struct sockaddr *)&ss, len, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV);
    (void)snprintf(out, size, ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
