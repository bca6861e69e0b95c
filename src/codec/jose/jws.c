/* jws.c - a compact JWS is read, and held against keys.
 *
 *   BASE64URL(header) . BASE64URL(payload) . BASE64URL(signature)
 *
 * The header is outside input: it chooses one algorithm of the table and one key by name, and the
 * key must be of that algorithm. So a public RSA key is never a secret for an HMAC, and a key of
 * one curve never verifies for another. The payload is only decoded here; nobody reads it before
 * the signature is known to be right.
 * Source: RFC 7515, 5.2; RFC 8725, 3. */
#include "codec/jose/jose_private.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#define ES_DER_MAX 160u /* bytes of an ECDSA signature of the largest curve */

static err_code header_read(struct arena *a, sv bytes, struct jose_jws *out, struct err *e)
{
    yyjson_doc *doc;
    sv twice;
    struct err why;
    if (json_read(a, bytes, JOSE_DEPTH, &doc, &why) != ERR_OK)
        return ERR(e, ERR_INVALID, "the header is no JSON");
    yyjson_val *h = yyjson_doc_get_root(doc), *kid = json_get(h, "kid"), *typ = json_get(h, "typ");
    if (!yyjson_is_obj(h) || !json_members_unique(h, JOSE_MEMBERS_MAX, &twice))
        return ERR(e, ERR_INVALID, "the header is no object whose members stand once");
    if (json_get(h, "crit") || json_get(h, "b64"))
        return ERR(e, ERR_INVALID, "the header has crit or b64");
    if (!jose_alg_find(json_string(json_get(h, "alg")), &out->alg))
        return ERR(e, ERR_INVALID, "the header's alg is none that is taken");
    out->kid = json_string(kid);
    out->typ = json_string(typ);
    if ((kid && (out->kid.len == 0 || out->kid.len > JOSE_KID_MAX)) || (typ && !out->typ.len))
        return ERR(e, ERR_INVALID, "the header's kid or typ is no text");
    return ERR_OK;
}

err_code jose_jws_read(struct arena *a, sv token, struct jose_jws *out, struct err *e)
{
    struct jose_jws jws = { 0 };
    sv header;
    if (token.len > JOSE_TOKEN_MAX)
        return ERR(e, ERR_TOO_LARGE, "a token has at most %u bytes", JOSE_TOKEN_MAX);
    size_t first = sv_find(token, '.');
    size_t second = first + 1 + sv_find(sv_tail(token, first + 1), '.');
    if (second >= token.len || sv_find(sv_tail(token, second + 1), '.') + second + 1 < token.len)
        return ERR(e, ERR_INVALID, "a token has exactly two dots");
    jws.covered = sv_head(token, second);
    TRY(jose_base64url_decode(a, sv_head(token, first), &header, e));
    TRY(header_read(a, header, &jws, e));
    TRY(jose_base64url_decode(a, sv_tail(jws.covered, first + 1), &jws.payload, e));
    TRY(jose_base64url_decode(a, sv_tail(token, second + 1), &jws.signature, e));
    *out = jws;
    return ERR_OK;
}

/* r and s side by side become what OpenSSL reads. False: they are not of the curve's length. */
static bool es_der(const struct jose_form *form, sv raw, unsigned char out[ES_DER_MAX], size_t *len)
{
    if (raw.len != 2 * form->coordinate)
        return false;
    const unsigned char *p = (const unsigned char *)raw.ptr;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(p, (int)form->coordinate, NULL);
    BIGNUM *s = BN_bin2bn(p + form->coordinate, (int)form->coordinate, NULL);
    if (sig == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1)
        abort();
    unsigned char *end = out;
    int n = i2d_ECDSA_SIG(sig, NULL);
    bool ok = n > 0 && (size_t)n <= ES_DER_MAX && i2d_ECDSA_SIG(sig, &end) == n;
    ECDSA_SIG_free(sig);
    *len = ok ? (size_t)n : 0;
    return ok;
}

static bool signature_ok(const struct jose_jws *jws, EVP_PKEY *key)
{
    const struct jose_form *form = &jose_forms[jws->alg];
    unsigned char der[ES_DER_MAX];
    sv sig = jws->signature;
    size_t len;
    EVP_PKEY_CTX *how = NULL; /* the context's */
    if (form->family == JOSE_EC) {
        if (!es_der(form, sig, der, &len))
            return false;
        sig = sv_make(der, len);
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx == NULL)
        abort();
    bool ok = EVP_DigestVerifyInit_ex(ctx, &how, form->digest, NULL, NULL, key, NULL) == 1;
    if (ok && form->family == JOSE_RSA_PSS)
        ok = EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST) == 1;
    ok = ok && EVP_DigestVerify(ctx, (const unsigned char *)sig.ptr, sig.len,
                                (const unsigned char *)jws->covered.ptr, jws->covered.len) == 1;
    EVP_MD_CTX_free(ctx);
    /* what OpenSSL noted of a wrong one belongs to nobody */
    ERR_clear_error();
    return ok;
}

err_code jose_jws_verify(const struct jose_jws *jws, const struct jose_keys *keys, unsigned algs,
                         struct err *e)
{
    const struct jose_key *meant = NULL;
    unsigned bit = JOSE_BIT(jws->alg);
    if (!(algs & bit))
        return ERR(e, ERR_INVALID, "the algorithm is not allowed here");
    for (size_t i = 0; i < keys->n; i++) {
        const struct jose_key *k = &keys->items[i];
        if (!(k->algs & bit) || (jws->kid.ptr && !sv_eq(k->kid, jws->kid)))
            continue;
        if (meant)
            return ERR(e, ERR_INVALID, "more than one key may be meant");
        meant = k;
    }
    if (meant == NULL)
        return ERR(e, ERR_NOT_FOUND, "no key is meant");
    if (!signature_ok(jws, meant->pkey))
        return ERR(e, ERR_INVALID, "the signature is wrong");
    return ERR_OK;
}
