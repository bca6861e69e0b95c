/* http_make.c - a certificate of our own making, for a first try without an authority.
 *
 * It is its own authority and no authority for others: who trusts it trusts this server's key and
 * nothing else. P-256, because its handshakes cost a server least.
 * Source: RFC 5280. */
#include "net/http_private.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>

#define SERIAL_BYTES 16u

/* Without the brackets of an IPv6 address, and ended by NUL. False: it is too long. */
static bool host_text(sv host, char out[256])
{
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = sv_make(host.ptr + 1, host.len - 2);
    if (host.len >= 256 || memchr(host.ptr, 0, host.len) != NULL)
        return false;
    memcpy(out, host.ptr, host.len);
    out[host.len] = 0;
    return true;
}

static int add_name(gnutls_x509_crt_t crt, sv host)
{
    char text[256];
    unsigned char address[16];
    if (!host_text(host, text))
        return GNUTLS_E_INVALID_REQUEST;
    if (inet_pton(AF_INET, text, address) == 1)
        return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, address, 4,
                                                    GNUTLS_FSAN_APPEND);
    if (inet_pton(AF_INET6, text, address) == 1)
        return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, address, 16,
                                                    GNUTLS_FSAN_APPEND);
    return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, text,
                                                (unsigned)strlen(text), GNUTLS_FSAN_APPEND);
}

static int add_names(gnutls_x509_crt_t crt, sv host)
{
    static const char *const ours[] = { "localhost", "127.0.0.1", "::1" };
    int r = 0;
    bool new = host.len > 0 && !sv_eq(host, SV_LIT("[::1]"));
    for (size_t i = 0; i < sizeof ours / sizeof ours[0] && r == 0; i++) {
        r = add_name(crt, sv_from(ours[i]));
        new = new && !sv_eq_nocase(host, sv_from(ours[i]));
    }
    return r == 0 && new ? add_name(crt, host) : r;
}

static int fill(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, sv host, int64_t from_ms,
                int64_t to_ms)
{
    unsigned char serial[SERIAL_BYTES], id[64];
    size_t n_id = sizeof id;
    int r = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial);
    /* a positive number of that length */
    serial[0] = (serial[0] & 0x7F) | 0x40;
    if (r < 0 || (r = gnutls_x509_crt_set_version(crt, 3)) < 0 ||
        (r = gnutls_x509_crt_set_serial(crt, serial, sizeof serial)) < 0 ||
        (r = gnutls_x509_crt_set_activation_time(crt, (time_t)(from_ms / 1000))) < 0 ||
        (r = gnutls_x509_crt_set_expiration_time(crt, (time_t)(to_ms / 1000))) < 0 ||
        (r = gnutls_x509_crt_set_dn(crt, "CN=fhirlake", NULL)) < 0 ||
        (r = gnutls_x509_crt_set_key(crt, key)) < 0 || (r = add_names(crt, host)) < 0 ||
        (r = gnutls_x509_crt_set_basic_constraints(crt, 0, -1)) < 0 ||
        (r = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE)) < 0 ||
        (r = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0)) < 0 ||
        (r = gnutls_x509_crt_get_key_id(crt, 0, id, &n_id)) < 0 ||
        (r = gnutls_x509_crt_set_subject_key_id(crt, id, n_id)) < 0 ||
        (r = gnutls_x509_crt_set_authority_key_id(crt, id, n_id)) < 0)
        return r;
    return gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
}

static err_code write_out(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, struct buf *certificate,
                          struct buf *out, struct err *e)
{
    gnutls_datum_t c = { 0 }, k = { 0 };
    err_code rc;
    if (gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &c) < 0 ||
        gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &k) <
            0)
        rc = ERR(e, ERR_INTERNAL, "a certificate could not be written");
    else if ((rc = buf_add(certificate, sv_make((char *)c.data, c.size), e)) == ERR_OK)
        rc = buf_add(out, sv_make((char *)k.data, k.size), e);
    if (k.data)
        gnutls_memset(k.data, 0, k.size);
    gnutls_free(c.data);
    gnutls_free(k.data);
    return rc;
}

err_code http_tls_make(sv host, int64_t from_ms, int64_t to_ms, struct buf *certificate,
                       struct buf *key, struct err *e)
{
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t k;
    if (gnutls_x509_crt_init(&crt) != 0 || gnutls_x509_privkey_init(&k) != 0)
        abort();
    int r = gnutls_x509_privkey_generate(k, GNUTLS_PK_ECDSA,
                                         GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (r == 0)
        r = fill(crt, k, host, from_ms, to_ms);
    err_code rc =
        r < 0 ? ERR(e, ERR_INTERNAL, "a certificate could not be made: %s", gnutls_strerror(r))
              : write_out(crt, k, certificate, key, e);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(k);
    return rc;
}

bool http_tls_names(sv certificate, sv host)
{
    char text[256];
    gnutls_x509_crt_t crt;
    const gnutls_datum_t d = { (unsigned char *)(uintptr_t)certificate.ptr,
                               (unsigned)certificate.len };
    if (!host_text(host, text))
        return false;
    if (gnutls_x509_crt_init(&crt) != 0)
        abort();
    bool ok = gnutls_x509_crt_import(crt, &d, GNUTLS_X509_FMT_PEM) == 0 &&
              gnutls_x509_crt_check_hostname2(crt, text, 0) != 0;
    gnutls_x509_crt_deinit(crt);
    return ok;
}
