/* tls.c - the files of TLS: the certificate that is shown with its key, and the authorities of
 * callers with what they have revoked. They are read at the start, and again when they change
 * (watch.c).
 *
 * What cannot be used is told in the log, and what counted before counts on. Connections that are
 * there go on: with the certificate that they were shown, and each is held against the authorities
 * that count when its next request comes. */
#include "server/serve_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "codec/instant.h"
#include "codec/uri.h"

#define FILE_BYTES   (1u << 20)
#define LIST_BYTES   (16u << 20) /* of what is revoked: 40 bytes each */
#define SOON_MS      (14 * 86400000LL)
#define LIST_SOON_MS 86400000LL

struct tls {
    struct http_tls *http;
    const char *certificate, *key, *client_ca, *client_crl; /* the last two: NULL, none */
    char own_certificate[PATH_MAX], own_key[PATH_MAX];      /* "": it is not of our making */
    atomic_int_fast64_t until_ms;                           /* of the certificate that is shown */
};

/* ---- the files ---- */

static err_code load(void *ctx, struct err *e)
{
    struct tls *tls = ctx;
    CLEANUP_BUF struct buf certificate = BUF_INIT(FILE_BYTES), key = BUF_INIT(FILE_BYTES);
    struct http_certificate is;
    char until[INSTANT_LEN];
    int64_t now_ms = clock_wall_ms();
    err_code rc = file_read(tls->certificate, &certificate, e);
    if (rc != ERR_OK) {
        err_context(e, "--tls-certificate %.200s", tls->certificate);
        return rc;
    }
    rc = file_read_private(tls->key, &key, e);
    if (rc != ERR_OK) {
        err_context(e, "--tls-key %.200s", tls->key);
    } else {
        rc = http_tls_show(tls->http, buf_sv(&certificate), buf_sv(&key), now_ms, &is, e);
        if (rc != ERR_OK)
            err_context(e, "--tls-certificate %.90s, --tls-key %.90s", tls->certificate, tls->key);
    }
    if (key.ptr)
        explicit_bzero(key.ptr, key.len);
    buf_done(&key);
    TRY(rc);
    atomic_store(&tls->until_ms, is.to_ms);
    instant_format(is.to_ms, until);
    bool soon = is.to_ms - now_ms < SOON_MS;
    LOG(soon ? LOG_WARN : LOG_INFO, "tls_certificate", LOG_STR("subject", is.subject),
        LOG_STR("sha256", is.sha256), LOG_SV("until", sv_make(until, sizeof until)),
        LOG_STR("note", soon ? "it expires soon" : "-"));
    return ERR_OK;
}

static err_code read_guarded(const char *option, const char *path, struct buf *out, struct err *e)
{
    err_code rc = path ? file_read_guarded(path, out, e) : ERR_OK;
    if (rc != ERR_OK)
        err_context(e, "%s %.200s", option, path);
    return rc;
}

static err_code load_authorities(void *ctx, struct err *e)
{
    struct tls *tls = ctx;
    CLEANUP_BUF struct buf ca = BUF_INIT(FILE_BYTES), crl = BUF_INIT(LIST_BYTES);
    struct http_authorities are;
    TRY(read_guarded("--tls-client-ca", tls->client_ca, &ca, e));
    TRY(read_guarded("--tls-client-crl", tls->client_crl, &crl, e));
    sv revoked = tls->client_crl ? sv_make(crl.len ? crl.ptr : "", crl.len) : SV_NONE;
    err_code rc = http_tls_trust(tls->http, buf_sv(&ca), revoked, clock_wall_ms(), &are, e);
    if (rc != ERR_OK && tls->client_crl)
        err_context(e, "--tls-client-ca %.80s, --tls-client-crl %.80s", tls->client_ca,
                    tls->client_crl);
    else if (rc != ERR_OK)
        err_context(e, "--tls-client-ca %.200s", tls->client_ca);
    TRY(rc);
    char until[INSTANT_LEN];
    bool has = are.n_lists > 0, soon = has && are.until_ms - clock_wall_ms() < LIST_SOON_MS;
    if (has)
        instant_format(are.until_ms, until);
    LOG(soon ? LOG_WARN : LOG_INFO, "tls_client_ca", LOG_INT("authorities", are.n),
        LOG_INT("lists", are.n_lists),
        LOG_SV("until", has ? sv_make(until, sizeof until) : SV_LIT("-")),
        LOG_STR("note", soon ? "then every caller is refused" : "-"));
    return ERR_OK;
}

/* ---- life ---- */

static err_code make_own(struct tls *tls, const struct server_config *config, struct err *e)
{
    struct uri_http public = { 0 };
    /* checked with the options */
    if (config->public_url)
        IGNORE(uri_http_parse(sv_from(config->public_url), &public, NULL));
    TRY(tls_own_make(config->data, public.host, tls->own_certificate, tls->own_key, e));
    tls->certificate = tls->own_certificate;
    tls->key = tls->own_key;
    if (!server_config_is_loopback(sv_from(config->listen)))
        LOG(LOG_WARN, "tls_certificate",
            LOG_STR("note", "it is of the server's own making, for a first try: callers from other "
                            "machines must be given it, and must reach the server by its names"));
    return ERR_OK;
}

static err_code start(struct tls *tls, const struct server_config *config, struct watch *watch,
                      struct err *e)
{
    tls->certificate = config->tls_certificate;
    tls->key = config->tls_key;
    tls->client_ca = config->tls_client_ca;
    tls->client_crl = config->tls_client_crl;
    TRY(http_tls_new(&tls->http, e));
    if (config->tls)
        TRY(make_own(tls, config, e));
    const struct watch_files shown = { .event = "tls_certificate",
                                       .note = "the certificate that was shown before is shown on",
                                       .paths = { tls->certificate, tls->key },
                                       .read = load,
                                       .ctx = tls };
    const struct watch_files callers = { .event = "tls_client_ca",
                                         .note = "the authorities before count on",
                                         .paths = { tls->client_ca, tls->client_crl },
                                         .read = load_authorities,
                                         .ctx = tls };
    watch_add(watch, &shown);
    TRY(load(tls, e));
    if (tls->client_ca == NULL)
        return ERR_OK;
    watch_add(watch, &callers);
    return load_authorities(tls, e);
}

err_code tls_open(const struct server_config *config, struct watch *watch, struct tls **out,
                  struct err *e)
{
    *out = NULL;
    if (!server_config_has_tls(config))
        return ERR_OK;
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        abort();
    err_code rc = start(tls, config, watch, e);
    if (rc == ERR_OK)
        *out = tls;
    else
        tls_close(tls);
    return rc;
}

void tls_close(struct tls *tls)
{
    if (tls == NULL)
        return;
    http_tls_free(tls->http);
    free(tls);
}

struct http_tls *tls_of(struct tls *tls)
{
    return tls ? tls->http : NULL;
}

const char *tls_own_certificate(const struct tls *tls)
{
    return tls && tls->own_certificate[0] ? tls->own_certificate : NULL;
}

int64_t tls_until_ms(struct tls *tls)
{
    return tls ? atomic_load(&tls->until_ms) : 0;
}

void tls_log_handshakes(void *ctx, const struct http_handshakes *failed)
{
    (void)ctx;
    LOG(LOG_INFO, "tls_handshake", LOG_INT("failed", failed->n), LOG_STR("peer", failed->peer),
        LOG_STR("why", failed->why));
}
