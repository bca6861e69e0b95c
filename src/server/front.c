/* front.c - the line that says where the server is reached, to whoever started it. */
#include "server/serve_private.h"

void front_tell(const struct front *front, const char *keys, bool new_keys)
{
    const char *certificate = tls_own_certificate(front->tls), *gap = " (";
    (void)printf("fhirlake ready on http%s://%.*s", front->tls ? "s" : "",
                 SV_FMT(http_server_address(front->http)));
    if (keys) {
        (void)printf("%s%s in %s", gap, new_keys ? "new key pair" : "keys", keys);
        gap = "; ";
    }
    if (front->console) {
        (void)printf("%sconsole at http%s://%.*s/console/", gap, front->tls ? "s" : "",
                     SV_FMT(http_server_address(front->http)));
        gap = "; ";
    }
    if (certificate) {
        (void)printf("%scertificate for AWS_CA_BUNDLE and curl --cacert in %s", gap, certificate);
        gap = "; ";
    }
    if (front->monitor) {
        (void)printf("%shealth and metrics on http://%.*s", gap,
                     SV_FMT(monitor_address(front->monitor)));
        gap = "; ";
    }
    (void)printf("%s\n", gap[0] == ';' ? ")" : "");
    (void)fflush(stdout);
}
