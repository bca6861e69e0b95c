/* http_tls.c - the certificate that a server shows, and its key.
 *
 * The two are one thing, a pair, that is looked at before it is shown to anybody. Another pair
 * takes its place under a lock. Pairs are counted: a connection keeps the one that its handshake
 * began with, because GnuTLS holds no copy, and the last holder frees it.
 * Source: RFC 8446; RFC 5280, sections 4.1.2.5 and 4.2.1.12. */
#include "net/http_private.h"

#include "codec/instant.h"

#include <gnutls/crypto.h>

#define CHAIN_MAX    10u
#define SHA256_BYTES 32u

struct http_pair {
    atomic_uint n_holders;
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned n;
    gnutls_privkey_t key;
};

struct http_tls {
    bool asks; /* callers for a certificate; set before the server starts */
    struct {
        pthread_mutex_t lock;
        struct http_pair *pair;   /* NULL: nothing is shown yet */
        struct http_trust *trust; /* NULL: callers need no certificate */
    } locked;
};

/* ---- pairs ---- */

void http_pair_drop(struct http_pair *pair)
{
    if (pair == NULL || atomic_fetch_sub(&pair->n_holders, 1) > 1)
        return;
    for (unsigned i = 0; i < pair->n; i++)
        gnutls_pcert_deinit(&pair->chain[i]);
    if (pair->key)
        gnutls_privkey_deinit(pair->key);
    free(pair);
}
DEFINE_CLEANUP(struct http_pair, http_pair_drop)

struct http_pair *http_pair_take(struct http_tls *tls)
{
    pthread_mutex_lock(&tls->locked.lock);
    struct http_pair *pair = tls->locked.pair;
    assert(pair);
    atomic_fetch_add(&pair->n_holders, 1);
    pthread_mutex_unlock(&tls->locked.lock);
    return pair;
}

void http_pair_show(struct http_pair *pair, gnutls_pcert_st **chain, unsigned *n,
                    gnutls_privkey_t *key)
{
    *chain = pair->chain;
    *n = pair->n;
    *key = pair->key;
}

/* ---- what is looked at ---- */

static bool holds(sv text, const char *part)
{
    return text.ptr && memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

static err_code read_key(struct http_pair *pair, sv text, struct err *e)
{
    const gnutls_datum_t key = http_datum(text);
    if (holds(text, "ENCRYPTED"))
        return ERR(e, ERR_INVALID,
                   "the key has a password, which nobody could type here: take it "
                   "off, with openssl pkey for example");
    if (gnutls_privkey_init(&pair->key) != 0)
        abort();
    if (gnutls_privkey_import_x509_raw(pair->key, &key, GNUTLS_X509_FMT_PEM, NULL, 0) != 0)
        return ERR(e, ERR_INVALID, "there is no private key in PEM form");
    return ERR_OK;
}

/* Is it the key of the certificate, and one that is not guessed? */
static err_code check_key(const struct http_pair *pair, gnutls_x509_crt_t crt, struct err *e)
{
    gnutls_pubkey_t public;
    unsigned char ours[64], theirs[64];
    size_t n_ours = sizeof ours, n_theirs = sizeof theirs;
    unsigned bits = 0;
    if (gnutls_pubkey_init(&public) != 0)
        abort();
    bool same = gnutls_pubkey_import_privkey(public, pair->key, 0, 0) == 0 &&
                gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, ours, &n_ours) == 0 &&
                gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, theirs, &n_theirs) == 0 &&
                n_ours == n_theirs && memcmp(ours, theirs, n_ours) == 0;
    gnutls_pubkey_deinit(public);
    if (!same)
        return ERR(e, ERR_INVALID, "the key is not the key of the certificate");
    int kind = gnutls_x509_crt_get_pk_algorithm(crt, &bits);
    if (kind < 0 ||
        gnutls_pk_bits_to_sec_param((gnutls_pk_algorithm_t)kind, bits) < GNUTLS_SEC_PARAM_MEDIUM)
        return ERR(e, ERR_INVALID,
                   "the key is a weak one, of %u bits: RSA needs 2048, and P-256 "
                   "is better",
                   bits);
    return ERR_OK;
}

static err_code check_dates(gnutls_x509_crt_t crt, int64_t now_ms, struct http_certificate *told,
                            struct err *e)
{
    char at[INSTANT_LEN];
    time_t from = gnutls_x509_crt_get_activation_time(crt);
    time_t to = gnutls_x509_crt_get_expiration_time(crt);
    if (from == (time_t)-1 || to == (time_t)-1)
        return ERR(e, ERR_INVALID, "the certificate has no dates");
    told->from_ms = (int64_t)from * 1000;
    told->to_ms = (int64_t)to * 1000;
    if (now_ms < told->from_ms) {
        instant_format(told->from_ms, at);
        return ERR(e, ERR_INVALID, "the certificate does not hold before %.*s", INSTANT_LEN, at);
    }
    if (now_ms > told->to_ms) {
        instant_format(told->to_ms, at);
        return ERR(e, ERR_INVALID, "the certificate has expired at %.*s", INSTANT_LEN, at);
    }
    return ERR_OK;
}

static void tell(gnutls_x509_crt_t crt, struct http_certificate *told)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char id[SHA256_BYTES];
    size_t n = sizeof told->subject, n_id = sizeof id;
    if (gnutls_x509_crt_get_dn(crt, told->subject, &n) != 0)
        (void)snprintf(told->subject, sizeof told->subject, "(no short subject)");
    if (gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, id, &n_id) != 0)
        n_id = 0;
    for (size_t i = 0; i < n_id; i++) {
        told->sha256[2 * i] = hex[id[i] >> 4];
        told->sha256[2 * i + 1] = hex[id[i] & 15];
    }
}

static err_code check(const struct http_pair *pair, gnutls_x509_crt_t crt, int64_t now_ms,
                      struct http_certificate *told, struct err *e)
{
    TRY(check_key(pair, crt, e));
    TRY(check_dates(crt, now_ms, told, e));
    if (!gnutls_x509_crt_check_key_purpose(crt, GNUTLS_KP_TLS_WWW_SERVER, 0))
        return ERR(e, ERR_INVALID,
                   "the certificate is not one for servers: its extended key usage "
                   "lacks serverAuth");
    tell(crt, told);
    return ERR_OK;
}

static err_code read_pair(struct http_pair *pair, struct http_crts *crts, sv certificate, sv key,
                          struct err *e)
{
    const gnutls_datum_t text = http_datum(certificate);
    if (!holds(certificate, "-----BEGIN") ||
        gnutls_x509_crt_list_import2(&crts->all, &crts->n, &text, GNUTLS_X509_FMT_PEM, 0) < 0 ||
        crts->n == 0)
        return ERR(e, ERR_INVALID, "there is no certificate in PEM form");
    if (crts->n > CHAIN_MAX)
        return ERR(e, ERR_INVALID, "there are %u certificates; a chain has at most %u", crts->n,
                   CHAIN_MAX);
    unsigned n = crts->n;
    if (gnutls_pcert_import_x509_list(pair->chain, crts->all, &n, GNUTLS_X509_CRT_LIST_SORT) != 0)
        return ERR(e, ERR_INVALID, "the certificates do not make a chain");
    pair->n = n;
    return read_key(pair, key, e);
}

err_code http_tls_show(struct http_tls *tls, sv certificate, sv key, int64_t now_ms,
                       struct http_certificate *told, struct err *e)
{
    __attribute__((cleanup(http_crts_done))) struct http_crts crts = { 0 };
    struct http_certificate is = { 0 };
    CLEANUP(http_pair_drop) struct http_pair *pair = calloc(1, sizeof *pair);
    if (pair == NULL)
        abort();
    atomic_init(&pair->n_holders, 1);
    TRY(read_pair(pair, &crts, certificate, key, e));
    TRY(check(pair, crts.all[0], now_ms, &is, e));
    pthread_mutex_lock(&tls->locked.lock);
    struct http_pair *before = tls->locked.pair;
    tls->locked.pair = pair;
    pthread_mutex_unlock(&tls->locked.lock);
    /* dropped behind the lock */
    pair = before;
    *told = is;
    return ERR_OK;
}

/* ---- life ---- */

err_code http_tls_new(struct http_tls **out, struct err *e)
{
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES ||
        MHD_is_feature_supported(MHD_FEATURE_HTTPS_CERT_CALLBACK) != MHD_YES)
        return ERR(e, ERR_UNSUPPORTED,
                   "the libmicrohttpd of this machine was built without TLS: put one in its place "
                   "that has it (--enable-https), or let a proxy speak TLS");
    struct http_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        abort();
    pthread_mutex_init(&tls->locked.lock, NULL);
    *out = tls;
    return ERR_OK;
}

void http_tls_free(struct http_tls *tls)
{
    if (tls == NULL)
        return;
    http_pair_drop(tls->locked.pair);
    http_trust_drop(tls->locked.trust);
    pthread_mutex_destroy(&tls->locked.lock);
    free(tls);
}

err_code http_tls_trust(struct http_tls *tls, sv authorities, sv revoked, int64_t now_ms,
                        struct http_authorities *told, struct err *e)
{
    struct http_trust *trust;
    TRY(http_trust_read(authorities, revoked, now_ms, &trust, told, e));
    pthread_mutex_lock(&tls->locked.lock);
    struct http_trust *before = tls->locked.trust;
    tls->locked.trust = trust;
    pthread_mutex_unlock(&tls->locked.lock);
    if (before == NULL)
        tls->asks = true;
    http_trust_drop(before);
    return ERR_OK;
}

bool http_tls_asks(const struct http_tls *tls)
{
    return tls->asks;
}

struct http_trust *http_trust_take(struct http_tls *tls)
{
    pthread_mutex_lock(&tls->locked.lock);
    struct http_trust *trust = http_trust_hold(tls->locked.trust);
    pthread_mutex_unlock(&tls->locked.lock);
    return trust;
}
