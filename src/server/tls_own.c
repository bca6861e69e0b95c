/* tls_own.c - a certificate of the server's own making, for a first try:
 *
 *   DATA/tls/certificate.pem   to give to clients: AWS_CA_BUNDLE, curl --cacert
 *   DATA/tls/key.pem           its key
 *
 * It stays the same over restarts, so that a client needs it once. It is made anew when it is about
 * to expire or lacks the host of --public-url, and when the two files do not go together. */
#include "server/serve_private.h"

#include "base/clock.h"
#include "base/file.h"

#include <unistd.h>

#define FILE_BYTES (64u << 10)
#define DAY_MS     86400000LL
#define LIFE_DAYS  825 /* what browsers take at most of a certificate that people chose to trust */
#define LEFT_DAYS  30  /* with less it is made anew */

static bool is_good(const char *certificate, const char *key, sv host)
{
    CLEANUP_BUF struct buf c = BUF_INIT(FILE_BYTES), k = BUF_INIT(FILE_BYTES);
    struct http_tls *tls = NULL;
    struct http_certificate is;
    int64_t now_ms = clock_wall_ms();
    /* Whatever is wrong with them, others are made. */
    bool ok = file_read(certificate, &c, NULL) == ERR_OK && file_read(key, &k, NULL) == ERR_OK &&
              http_tls_new(&tls, NULL) == ERR_OK &&
              http_tls_show(tls, buf_sv(&c), buf_sv(&k), now_ms, &is, NULL) == ERR_OK &&
              is.to_ms - now_ms > LEFT_DAYS * DAY_MS &&
              (host.len == 0 || http_tls_names(buf_sv(&c), host));
    http_tls_free(tls);
    if (k.ptr)
        explicit_bzero(k.ptr, k.len);
    return ok;
}

static err_code paths(const char *data, char folder[PATH_MAX], char certificate[PATH_MAX],
                      char key[PATH_MAX], struct err *e)
{
    int n = snprintf(folder, PATH_MAX, "%s/tls", data);
    int n_certificate = snprintf(certificate, PATH_MAX, "%s/tls/certificate.pem", data);
    int n_key = snprintf(key, PATH_MAX, "%s/tls/key.pem", data);
    return n < PATH_MAX && n_certificate < PATH_MAX && n_key < PATH_MAX
               ? ERR_OK
               : ERR(e, ERR_INVALID, "--data is too long a path");
}

err_code tls_own_make(const char *data, sv host, char certificate[PATH_MAX], char key[PATH_MAX],
                      struct err *e)
{
    CLEANUP_BUF struct buf c = BUF_INIT(FILE_BYTES), k = BUF_INIT(FILE_BYTES);
    char folder[PATH_MAX];
    int64_t now_ms = clock_wall_ms();
    TRY(paths(data, folder, certificate, key, e));
    if (is_good(certificate, key, host))
        return ERR_OK;
    /* A clock that is behind ours takes it as well. */
    TRY(http_tls_make(host, now_ms - DAY_MS, now_ms + LIFE_DAYS * DAY_MS, &c, &k, e));
    TRY(file_mkdirs(folder, e));
    err_code rc = file_write_atomic(key, buf_sv(&k), e);
    if (k.ptr)
        explicit_bzero(k.ptr, k.len);
    TRY(rc);
    return file_write_atomic(certificate, buf_sv(&c), e);
}
