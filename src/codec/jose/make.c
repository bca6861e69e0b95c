/* make.c - private keys of our own: made, and written as PEM or as a JWK.
 *
 * Source: RFC 7518, 6.2.2 and 6.3.2; RFC 5958. */
#include "codec/jose/jose_private.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define RSA_BITS 3072u

err_code jose_signer_make(jose_alg alg, struct jose_signer **out, struct err *e)
{
    const struct jose_form *form = &jose_forms[alg];
    EVP_PKEY *pkey = form->family == JOSE_EC ? EVP_EC_gen(form->group) : EVP_RSA_gen(RSA_BITS);
    if (pkey == NULL) {
        ERR_clear_error();
        return ERR(e, ERR_INTERNAL, "a key cannot be made");
    }
    return jose_signer_of(&pkey, alg, out, e);
}

err_code jose_signer_pem(const struct jose_signer *signer, struct buf *out, struct err *e)
{
    BIO *to = BIO_new(BIO_s_secmem());
    char *text = NULL;
    if (to == NULL)
        abort();
    err_code rc = ERR_OK;
    if (PEM_write_bio_PKCS8PrivateKey(to, signer->pkey, NULL, NULL, 0, NULL, NULL) != 1)
        rc = ERR(e, ERR_INTERNAL, "a key cannot be written");
    long len = BIO_get_mem_data(to, &text);
    if (rc == ERR_OK)
        rc = buf_add(out, sv_make(text, (size_t)len), e);
    BIO_free(to);
    return rc;
}

static err_code rsa_secrets(const struct jose_signer *s, struct arena *a, sv *out, struct err *e)
{
    static const struct {
        const char *member, *param;
    } parts[] = {
        { "d", OSSL_PKEY_PARAM_RSA_D },          { "p", OSSL_PKEY_PARAM_RSA_FACTOR1 },
        { "q", OSSL_PKEY_PARAM_RSA_FACTOR2 },    { "dp", OSSL_PKEY_PARAM_RSA_EXPONENT1 },
        { "dq", OSSL_PKEY_PARAM_RSA_EXPONENT2 }, { "qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1 },
    };
    sv all = SV_LIT(""), one;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        TRY(jose_number_text(a, s->pkey, parts[i].param, 0, &one, e));
        all = arena_fmt(a, "%.*s,\"%s\":\"%.*s\"", SV_FMT(all), parts[i].member, SV_FMT(one));
        if (all.ptr == NULL)
            return arena_oom(a, e);
    }
    *out = all;
    return ERR_OK;
}

err_code jose_signer_secret(const struct jose_signer *signer, struct arena *a, sv *out,
                            struct err *e)
{
    const struct jose_form *form = &jose_forms[signer->alg];
    sv secrets;
    if (form->family == JOSE_EC) {
        TRY(jose_number_text(a, signer->pkey, OSSL_PKEY_PARAM_PRIV_KEY, form->coordinate, &secrets,
                             e));
        secrets = arena_fmt(a, ",\"d\":\"%.*s\"", SV_FMT(secrets));
    } else {
        TRY(rsa_secrets(signer, a, &secrets, e));
    }
    if (secrets.ptr == NULL)
        return arena_oom(a, e);
    *out = arena_fmt(a, "{%.*s%.*s,\"kid\":\"%.*s\",\"alg\":\"%s\",\"key_ops\":[\"sign\"]}",
                     SV_FMT(signer->members), SV_FMT(secrets), SV_FMT(signer->kid), form->name);
    return out->ptr ? ERR_OK : arena_oom(a, e);
}
