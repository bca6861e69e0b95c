/* http_trust.c - whose certificates callers must show: authorities, and what they have revoked.
 *
 * The two files are one thing, a trust, that is looked at before it counts. Another one takes its
 * place under a lock. A connection holds the one that its caller was met under, and meets him again
 * at the next head when there is another.
 *
 * GnuTLS verifies chain, dates and purpose. Lists of what is revoked are looked at here, for each
 * certificate that the caller sends: one whose authority has no list, or an old one, is not taken.
 * So a list that is missing never lets a revoked certificate in.
 * Source: RFC 5280, sections 5 and 6.3. */
#include "net/http_private.h"

#include "codec/instant.h"

#define CHAIN_MAX 10u
#define DELTA     "2.5.29.27" /* RFC 5280, 5.2.4 */

struct http_trust {
    atomic_uint n_holders;
    gnutls_x509_trust_list_t list; /* owns the authorities */
    gnutls_x509_crl_t *revoked;    /* NULL: nothing is said of that */
    unsigned n_revoked;
};

void http_trust_drop(struct http_trust *trust)
{
    if (trust == NULL || atomic_fetch_sub(&trust->n_holders, 1) > 1)
        return;
    for (unsigned i = 0; i < trust->n_revoked; i++)
        gnutls_x509_crl_deinit(trust->revoked[i]);
    gnutls_free(trust->revoked);
    if (trust->list)
        gnutls_x509_trust_list_deinit(trust->list, 1);
    free(trust);
}
DEFINE_CLEANUP(struct http_trust, http_trust_drop)

struct http_trust *http_trust_hold(struct http_trust *trust)
{
    if (trust)
        atomic_fetch_add(&trust->n_holders, 1);
    return trust;
}

/* ---- what is looked at ---- */

static bool is_pem(sv text)
{
    static const char begin[] = "-----BEGIN";
    return text.ptr && memmem(text.ptr, text.len, begin, sizeof begin - 1) != NULL;
}

static err_code read_authorities(sv text, struct http_crts *out, struct err *e)
{
    const gnutls_datum_t d = http_datum(text);
    if (!is_pem(text) ||
        gnutls_x509_crt_list_import2(&out->all, &out->n, &d, GNUTLS_X509_FMT_PEM, 0) < 0 ||
        out->n == 0)
        return ERR(e, ERR_INVALID, "there is no certificate in PEM form");
    for (unsigned i = 0; i < out->n; i++)
        if (gnutls_x509_crt_get_ca_status(out->all[i], NULL) == 0)
            return ERR(e, ERR_INVALID,
                       "certificate %u is not an authority's: its basic constraints say so", i + 1);
    return ERR_OK;
}

static bool is_delta(gnutls_x509_crl_t crl)
{
    char oid[64];
    for (unsigned i = 0;; i++) {
        size_t n = sizeof oid;
        unsigned critical;
        if (gnutls_x509_crl_get_extension_info(crl, i, oid, &n, &critical) < 0)
            return false;
        if (strcmp(oid, DELTA) == 0)
            return true;
    }
}

/* Is it an authority's own, and does it hold? */
static err_code check_list(gnutls_x509_crl_t crl, unsigned at, const struct http_crts *by,
                           int64_t now_ms, struct err *e)
{
    char when[INSTANT_LEN];
    unsigned status = 0;
    time_t to = gnutls_x509_crl_get_next_update(crl);
    if (is_delta(crl))
        return ERR(e, ERR_INVALID,
                   "list %u tells changes of another one alone; a whole one is "
                   "wanted",
                   at);
    /* its dates are told below */
    const unsigned dates =
        GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED | GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE;
    if (gnutls_x509_crl_verify(crl, by->all, by->n, 0, &status) < 0 ||
        (status & ~(dates | GNUTLS_CERT_INVALID)) || status == GNUTLS_CERT_INVALID)
        return ERR(e, ERR_INVALID, "list %u is not signed by one of the authorities", at);
    if (to == (time_t)-1)
        return ERR(e, ERR_INVALID, "list %u does not say when the next one comes", at);
    if ((int64_t)to * 1000 < now_ms) {
        instant_format((int64_t)to * 1000, when);
        return ERR(e, ERR_INVALID, "list %u is too old: the next one was due at %.*s", at,
                   INSTANT_LEN, when);
    }
    if ((int64_t)gnutls_x509_crl_get_this_update(crl) * 1000 > now_ms)
        return ERR(e, ERR_INVALID, "list %u is of the future", at);
    return ERR_OK;
}

static bool has_list(const struct http_trust *trust, gnutls_x509_crt_t authority)
{
    for (unsigned i = 0; i < trust->n_revoked; i++)
        if (gnutls_x509_crl_check_issuer(trust->revoked[i], authority) == 1)
            return true;
    return false;
}

static err_code read_revoked(struct http_trust *trust, sv text, const struct http_crts *by,
                             int64_t now_ms, struct err *e)
{
    const gnutls_datum_t d = http_datum(text);
    if (!is_pem(text) ||
        gnutls_x509_crl_list_import2(&trust->revoked, &trust->n_revoked, &d, GNUTLS_X509_FMT_PEM,
                                     0) < 0 ||
        trust->n_revoked == 0)
        return ERR(e, ERR_INVALID, "there is no revocation list in PEM form");
    for (unsigned i = 0; i < trust->n_revoked; i++)
        TRY(check_list(trust->revoked[i], i + 1, by, now_ms, e));
    for (unsigned i = 0; i < by->n; i++)
        if (!has_list(trust, by->all[i]))
            return ERR(e, ERR_INVALID,
                       "there is no list of authority %u: nobody could tell what it has revoked",
                       i + 1);
    return ERR_OK;
}

static int64_t until_ms(const struct http_trust *trust)
{
    int64_t least = INT64_MAX;
    for (unsigned i = 0; i < trust->n_revoked; i++) {
        int64_t ms = (int64_t)gnutls_x509_crl_get_next_update(trust->revoked[i]) * 1000;
        least = ms < least ? ms : least;
    }
    return least;
}

err_code http_trust_read(sv authorities, sv revoked, int64_t now_ms, struct http_trust **out,
                         struct http_authorities *told, struct err *e)
{
    __attribute__((cleanup(http_crts_done))) struct http_crts crts = { 0 };
    CLEANUP(http_trust_drop) struct http_trust *trust = calloc(1, sizeof *trust);
    if (trust == NULL || gnutls_x509_trust_list_init(&trust->list, 0) != 0)
        abort();
    atomic_init(&trust->n_holders, 1);
    TRY(read_authorities(authorities, &crts, e));
    if (revoked.ptr)
        TRY(read_revoked(trust, revoked, &crts, now_ms, e));
    *told = (struct http_authorities){ crts.n, trust->n_revoked, until_ms(trust) };
    int n = gnutls_x509_trust_list_add_cas(trust->list, crts.all, crts.n, 0);
    /* the list has them all, unless there is no memory */
    if (n != (int)crts.n)
        abort();
    crts.n = 0;
    *out = trust;
    trust = NULL;
    return ERR_OK;
}

/* ---- whose certificate ---- */

static const char *fault_of(unsigned status)
{
    if (status & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED))
        return "The client certificate has expired, or does not hold yet";
    if (status & GNUTLS_CERT_PURPOSE_MISMATCH)
        return "The client certificate is not one for clients";
    if (status & GNUTLS_CERT_INSECURE_ALGORITHM)
        return "The client certificate, or one of its chain, has a weak key or signature";
    return "The client certificate is not of an authority that this server takes";
}

static bool same(const gnutls_datum_t *a, const gnutls_datum_t *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* Do the lists of its issuer leave the certificate alone? One that is its own issuer is an
 * authority of the file, or was refused. */
static const char *revoked_by(const struct http_trust *trust, gnutls_x509_crt_t crt)
{
    gnutls_datum_t issuer = { 0 }, subject = { 0 }, of = { 0 };
    bool known = false, fresh = true;
    if (gnutls_x509_crt_get_raw_issuer_dn(crt, &issuer) < 0 ||
        gnutls_x509_crt_get_raw_dn(crt, &subject) < 0)
        abort();
    bool own = same(&issuer, &subject);
    for (unsigned i = 0; !own && i < trust->n_revoked; i++) {
        if (gnutls_x509_crl_get_raw_issuer_dn(trust->revoked[i], &of) < 0)
            continue;
        if (same(&of, &issuer)) {
            known = true;
            fresh = fresh && gnutls_x509_crl_get_next_update(trust->revoked[i]) >= time(NULL);
        }
        gnutls_free(of.data);
    }
    gnutls_free(issuer.data);
    gnutls_free(subject.data);
    if (own)
        return NULL;
    if (gnutls_x509_crt_check_revocation(crt, (const gnutls_x509_crl_t *)trust->revoked,
                                         trust->n_revoked) != 0)
        return "The client certificate has been revoked";
    if (!known)
        return "No revocation list of the client certificate's authority is there";
    return fresh ? NULL : "The revocation list of the client certificate's authority is too old";
}

static const char *judge(const struct http_trust *trust, struct http_crts *crts)
{
    gnutls_typed_vdata_st purpose = { GNUTLS_DT_KEY_PURPOSE_OID,
                                      (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT, 0 };
    unsigned status = 0;
    /* what our own key must be */
    const unsigned strength = GNUTLS_PROFILE_TO_VFLAGS(GNUTLS_PROFILE_MEDIUM);
    if (gnutls_x509_trust_list_verify_crt2(trust->list, crts->all, crts->n, &purpose, 1, strength,
                                           &status, NULL) < 0 ||
        status)
        return fault_of(status);
    const char *fault = NULL;
    for (unsigned i = 0; trust->revoked && fault == NULL && i < crts->n; i++)
        fault = revoked_by(trust, crts->all[i]);
    return fault;
}

const char *http_trust_judge(const struct http_trust *trust, const gnutls_datum_t *chain,
                             unsigned n)
{
    gnutls_x509_crt_t all[CHAIN_MAX];
    struct http_crts crts = { .all = all };
    const char *fault = NULL;
    if (n > CHAIN_MAX)
        return "The client certificate comes with too long a chain";
    while (fault == NULL && crts.n < n) {
        if (gnutls_x509_crt_init(&all[crts.n]) != 0)
            abort();
        if (gnutls_x509_crt_import(all[crts.n], &chain[crts.n], GNUTLS_X509_FMT_DER) != 0)
            fault = "The client certificate cannot be read";
        crts.n++;
    }
    if (fault == NULL)
        fault = judge(trust, &crts);
    for (unsigned i = 0; i < crts.n; i++)
        gnutls_x509_crt_deinit(all[i]);
    return fault;
}
