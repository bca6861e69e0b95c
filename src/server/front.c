/* front.c - where the server is reached: the port of monitors, and the line that says so to whoever
 * started it. */
#include "server/serve_private.h"

#include "base/limits.h"

#define MONITORS 8u /* connections */

err_code front_open_monitors(const char *listen, struct service *service, struct http_server **out,
                             struct err *e)
{
    if (listen == NULL)
        return ERR_OK;
    struct http_server_config hc = { .listen = sv_from(listen),
                                     .n_threads = 1,
                                     .limits = { .n = MONITORS, .n_per_address = MONITORS },
                                     .idle_timeout_s = LIMIT_REQUEST_TIMEOUT_S,
                                     .accept = service_monitor_accept,
                                     .handler = service_monitor,
                                     .ctx = service };
    err_code rc = http_server_start(&hc, out, e);
    if (rc != ERR_OK)
        err_context(e, "--health-listen");
    return rc;
}

void front_tell(const struct front *front, const char *keys, bool new_keys)
{
    const char *certificate = tls_own_certificate(front->tls), *gap = " (";
    (void)printf("fhirlake ready on http%s://%.*s", front->tls ? "s" : "",
                 SV_FMT(http_server_address(front->http)));
    if (keys) {
        (void)printf("%s%s in %s", gap, new_keys ? "new key pair" : "keys", keys);
        gap = "; ";
    }
    if (certificate) {
        (void)printf("%scertificate for AWS_CA_BUNDLE and curl --cacert in %s", gap, certificate);
        gap = "; ";
    }
    if (front->monitors) {
        (void)printf("%shealth on http://%.*s", gap, SV_FMT(http_server_address(front->monitors)));
        gap = "; ";
    }
    (void)printf("%s\n", gap[0] == ';' ? ")" : "");
    (void)fflush(stdout);
}
