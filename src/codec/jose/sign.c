/* sign.c - tokens of our own: the private key of PEM, its public JWK, and signatures.
 *
 * The key's name is its thumbprint, so that two servers with one key give it the same name.
 * Source: RFC 7515, 5.1; RFC 7638. */
#include "codec/jose/jose_private.h"

#include "codec/hash.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#define SIGNER_MEMORY (64u << 10)

err_code jose_number_text(struct arena *a, EVP_PKEY *key, const char *name, size_t len, sv *out,
                          struct err *e)
{
    BIGNUM *n = NULL;
    if (EVP_PKEY_get_bn_param(key, name, &n) != 1)
        return ERR(e, ERR_INTERNAL, "a key without %s", name);
    if (len == 0)
        len = (size_t)BN_num_bytes(n);
    unsigned char *bytes = arena_alloc(a, len);
    bool ok = bytes && BN_bn2binpad(n, bytes, (int)len) == (int)len;
    BN_clear_free(n);
    return ok ? jose_base64url(a, sv_make(bytes, len), out, e) : arena_oom(a, e);
}

/* The members of a JWK that make the key, without blanks, in the order of their names. */
static err_code members_make(struct jose_signer *s, struct err *e)
{
    const struct jose_form *form = &jose_forms[s->alg];
    sv x, y;
    if (form->family == JOSE_EC) {
        TRY(jose_number_text(s->arena, s->pkey, OSSL_PKEY_PARAM_EC_PUB_X, form->coordinate, &x, e));
        TRY(jose_number_text(s->arena, s->pkey, OSSL_PKEY_PARAM_EC_PUB_Y, form->coordinate, &y, e));
        s->members =
            arena_fmt(s->arena, "\"crv\":\"%s\",\"kty\":\"EC\",\"x\":\"%.*s\",\"y\":\"%.*s\"",
                      form->crv, SV_FMT(x), SV_FMT(y));
    } else {
        TRY(jose_number_text(s->arena, s->pkey, OSSL_PKEY_PARAM_RSA_E, 0, &x, e));
        TRY(jose_number_text(s->arena, s->pkey, OSSL_PKEY_PARAM_RSA_N, 0, &y, e));
        s->members = arena_fmt(s->arena, "\"e\":\"%.*s\",\"kty\":\"RSA\",\"n\":\"%.*s\"", SV_FMT(x),
                               SV_FMT(y));
    }
    return s->members.ptr ? ERR_OK : arena_oom(s->arena, e);
}

static err_code kid_make(struct jose_signer *s, struct err *e)
{
    unsigned char digest[SHA256_LEN];
    sv object = arena_fmt(s->arena, "{%.*s}", SV_FMT(s->members));
    if (object.ptr == NULL)
        return arena_oom(s->arena, e);
    hash_sha256_of(object, digest);
    return jose_base64url(s->arena, sv_make(digest, sizeof digest), &s->kid, e);
}

static err_code check_fit(const struct jose_signer *s, struct err *e)
{
    const struct jose_form *form = &jose_forms[s->alg];
    char group[64] = "";
    size_t len;
    if (s->alg != JOSE_RS256 && s->alg != JOSE_RS384 && s->alg != JOSE_ES384)
        return ERR(e, ERR_INVALID, "tokens are signed with RS256, RS384 or ES384");
    if (form->family == JOSE_RSA) {
        int bits = EVP_PKEY_is_a(s->pkey, "RSA") ? EVP_PKEY_get_bits(s->pkey) : 0;
        if (bits < JOSE_RSA_MIN || bits > JOSE_RSA_MAX)
            return ERR(e, ERR_INVALID, "%s needs an RSA key of %d to %d bits", form->name,
                       JOSE_RSA_MIN, JOSE_RSA_MAX);
        return ERR_OK;
    }
    if (EVP_PKEY_get_utf8_string_param(s->pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                       &len) != 1 ||
        strcmp(group, form->group) != 0)
        return ERR(e, ERR_INVALID, "%s needs a key of curve %s", form->name, form->crv);
    return ERR_OK;
}

/* Nobody is asked for a password. */
static int no_password(char *buf, int size, int writing, void *ctx)
{
    (void)buf, (void)size, (void)writing, (void)ctx;
    return -1;
}

err_code jose_signer_of(EVP_PKEY **pkey, jose_alg alg, struct jose_signer **out, struct err *e)
{
    struct arena *a = arena_new(SIGNER_MEMORY);
    CLEANUP(jose_signer_free) struct jose_signer *s = ARENA_NEW(a, struct jose_signer);
    /* a fresh arena has room for it */
    if (s == NULL)
        abort();
    s->arena = a;
    s->alg = alg;
    s->pkey = *pkey;
    *pkey = NULL;
    TRY(check_fit(s, e));
    TRY(members_make(s, e));
    TRY(kid_make(s, e));
    *out = s;
    s = NULL;
    return ERR_OK;
}

err_code jose_signer_read(sv pem, jose_alg alg, struct jose_signer **out, struct err *e)
{
    BIO *from = BIO_new_mem_buf(pem.ptr ? pem.ptr : "", (int)pem.len);
    if (from == NULL)
        abort();
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(from, NULL, no_password, NULL);
    BIO_free(from);
    if (pkey == NULL) {
        /* what OpenSSL noted belongs to nobody */
        ERR_clear_error();
        return ERR(e, ERR_INVALID, "no private key in PEM without a password");
    }
    return jose_signer_of(&pkey, alg, out, e);
}

void jose_signer_free(struct jose_signer *signer)
{
    if (signer == NULL)
        return;
    EVP_PKEY_free(signer->pkey);
    arena_free(signer->arena);
}

sv jose_signer_kid(const struct jose_signer *signer)
{
    return signer->kid;
}

err_code jose_signer_public(const struct jose_signer *signer, struct arena *a, sv *out,
                            struct err *e)
{
    sv jwk = arena_fmt(a, "{%.*s,\"kid\":\"%.*s\",\"alg\":\"%s\",\"use\":\"sig\"}",
                       SV_FMT(signer->members), SV_FMT(signer->kid), jose_forms[signer->alg].name);
    if (jwk.ptr == NULL)
        return arena_oom(a, e);
    *out = jwk;
    return ERR_OK;
}

/* OpenSSL's ECDSA signature becomes r and s, each as long as the curve's numbers. */
static err_code es_raw(struct arena *a, const struct jose_form *form, sv der, sv *out,
                       struct err *e)
{
    const unsigned char *p = (const unsigned char *)der.ptr;
    unsigned char *raw = arena_alloc(a, 2 * form->coordinate);
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der.len);
    int len = (int)form->coordinate;
    bool ok = raw && sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, len) == len &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + len, len) == len;
    ECDSA_SIG_free(sig);
    if (raw == NULL)
        return arena_oom(a, e);
    if (!ok)
        return ERR(e, ERR_INTERNAL, "an ECDSA signature cannot be read");
    *out = sv_make(raw, 2 * form->coordinate);
    return ERR_OK;
}

static err_code signature_of(const struct jose_signer *signer, struct arena *a, sv covered, sv *out,
                             struct err *e)
{
    const struct jose_form *form = &jose_forms[signer->alg];
    size_t len = (size_t)EVP_PKEY_get_size(signer->pkey);
    unsigned char *sig = arena_alloc(a, len);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx == NULL)
        abort();
    bool ok = sig &&
              EVP_DigestSignInit_ex(ctx, NULL, form->digest, NULL, NULL, signer->pkey, NULL) == 1 &&
              EVP_DigestSign(ctx, sig, &len, (const unsigned char *)covered.ptr, covered.len) == 1;
    EVP_MD_CTX_free(ctx);
    if (sig == NULL)
        return arena_oom(a, e);
    if (!ok)
        return ERR(e, ERR_INTERNAL, "the token cannot be signed");
    *out = sv_make(sig, len);
    return form->family == JOSE_EC ? es_raw(a, form, *out, out, e) : ERR_OK;
}

err_code jose_sign(const struct jose_signer *signer, struct arena *a, const char *typ, sv payload,
                   sv *out, struct err *e)
{
    sv header = arena_fmt(a, "{\"alg\":\"%s\",\"typ\":\"%s\",\"kid\":\"%.*s\"}",
                          jose_forms[signer->alg].name, typ, SV_FMT(signer->kid));
    sv first, second, third, raw;
    if (header.ptr == NULL)
        return arena_oom(a, e);
    TRY(jose_base64url(a, header, &first, e));
    TRY(jose_base64url(a, payload, &second, e));
    sv covered = ARENA_JOIN(a, first, SV_LIT("."), second);
    if (covered.ptr == NULL)
        return arena_oom(a, e);
    TRY(signature_of(signer, a, covered, &raw, e));
    TRY(jose_base64url(a, raw, &third, e));
    *out = ARENA_JOIN(a, covered, SV_LIT("."), third);
    return out->ptr ? ERR_OK : arena_oom(a, e);
}
