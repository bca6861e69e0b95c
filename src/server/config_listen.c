/* config_listen.c - the rules of where the server listens, and how: what can be read on the way,
 * and who gets in without a name. */
#include "server/serve_private.h"

#include "codec/uri.h"

static bool is_host_and_port(sv listen)
{
    size_t colon = listen.len;
    uint64_t port;
    while (colon > 0 && listen.ptr[colon - 1] != ':')
        colon--;
    sv host = sv_head(listen, colon ? colon - 1 : 0);
    bool bracketed = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    return host.len && sv_to_u64(sv_tail(listen, colon), &port) && port <= 65535 &&
           (bracketed || sv_find(host, ':') == host.len);
}

bool server_config_is_loopback(sv listen)
{
    size_t colon = listen.len;
    while (colon > 0 && listen.ptr[colon - 1] != ':')
        colon--;
    sv host = sv_head(listen, colon ? colon - 1 : 0);
    if (sv_eq(host, SV_LIT("localhost")) || sv_eq(host, SV_LIT("[::1]")) ||
        sv_eq(host, SV_LIT("::1")))
        return true;
    return uri_is_loopback_v4(host);
}

bool server_config_has_tls(const struct server_config *config)
{
    return config->tls || config->tls_certificate;
}

static err_code check_address(const char *option, const char *address, struct err *e)
{
    if (is_host_and_port(sv_from(address)))
        return ERR_OK;
    return ERR(e, ERR_INVALID,
               "--%s takes HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080, it is \"%s\"", option,
               address);
}

static err_code check_tls(const struct server_config *config, struct err *e)
{
    if (config->tls && (config->tls_certificate || config->tls_key))
        return ERR(e, ERR_INVALID,
                   "--tls self-signed makes a certificate: it takes no --tls-certificate and no "
                   "--tls-key");
    if ((config->tls_certificate == NULL) != (config->tls_key == NULL))
        return ERR(e, ERR_INVALID,
                   "--tls-certificate and --tls-key belong together: --%s is not given",
                   config->tls_key ? "tls-certificate" : "tls-key");
    if (config->tls_client_ca && !server_config_has_tls(config))
        return ERR(e, ERR_INVALID,
                   "--tls-client-ca needs TLS: give --tls-certificate and --tls-key");
    if (config->tls_client_crl && !config->tls_client_ca)
        return ERR(e, ERR_INVALID, "--tls-client-crl needs --tls-client-ca, whose lists they are");
    return ERR_OK;
}

err_code server_config_check_listening(const struct server_config *config, struct err *e)
{
    bool loopback = server_config_is_loopback(sv_from(config->listen));
    TRY(check_address("listen", config->listen, e));
    TRY(check_tls(config, e));
    if (strcmp(config->auth, "none") == 0 && !loopback)
        return ERR(
            e, ERR_INVALID,
            "--auth none serves everybody and is refused on %s: listen on a loopback address, "
            "or use --auth sigv4",
            config->listen);
    if (!config->plain_http && !loopback && !server_config_has_tls(config))
        return ERR(
            e, ERR_INVALID,
            "--listen %s is reached from other machines, over plain HTTP: who is on the way "
            "reads patients' data and may change what is not signed. Give --tls-certificate and "
            "--tls-key, listen on a loopback address and let a reverse proxy with TLS stand in "
            "front, or say --plain-http yes",
            config->listen);
    if (config->health_listen == NULL)
        return ERR_OK;
    TRY(check_address("health-listen", config->health_listen, e));
    if (!config->plain_http && !server_config_is_loopback(sv_from(config->health_listen)))
        return ERR(e, ERR_INVALID,
                   "--health-listen %s is reached from other machines, over plain HTTP and without "
                   "a signature: listen on a loopback address, or say --plain-http yes",
                   config->health_listen);
    return ERR_OK;
}
