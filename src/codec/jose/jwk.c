/* jwk.c - a JWKS becomes OpenSSL's keys.
 *
 * Each key says by its kind, curve and size which algorithms it can verify; "alg" narrows that. A
 * key that cannot verify is left out, so that a provider may publish keys for other purposes.
 * OpenSSL takes points that are not on their curve and small moduli: both are refused here.
 * Source: RFC 7517; RFC 7518, 6; RFC 8037, 2. */
#include "codec/jose/jose_private.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

/* the tree of a set, its keys' bytes and names */
#define KEYS_MEMORY (4u << 20)
/* no modulus has a divisor below it */
#define SMALL_FACTORS 752u

static err_code bytes_of(struct arena *a, yyjson_val *jwk, const char *name, sv *out, struct err *e)
{
    sv text = json_string(json_get(jwk, name));
    if (text.len == 0)
        return ERR(e, ERR_INVALID, "member %s is missing", name);
    return jose_base64url_decode(a, text, out, e);
}

static bool is_valid(EVP_PKEY *key)
{
    EVP_PKEY_CTX *check = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    const bool ok = check && EVP_PKEY_public_check(check) == 1;
    EVP_PKEY_CTX_free(check);
    return ok;
}

/* Public parameters become a key. build is freed.
 *   checked  the caller has looked at the numbers already */
static err_code key_make(const char *kind, bool checked, OSSL_PARAM_BLD *build, EVP_PKEY **out,
                         struct err *e)
{
    EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
    OSSL_PARAM *params = build ? OSSL_PARAM_BLD_to_param(build) : NULL;
    EVP_PKEY *key = NULL;
    const bool ok = make && params && EVP_PKEY_fromdata_init(make) == 1 &&
                    EVP_PKEY_fromdata(make, &key, EVP_PKEY_PUBLIC_KEY, params) == 1 &&
                    (checked || is_valid(key));
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(make);
    if (!ok) {
        /* what OpenSSL noted belongs to nobody */
        ERR_clear_error();
        EVP_PKEY_free(key);
        return ERR(e, ERR_INVALID, "its parameters make no %s key", kind);
    }
    *out = key;
    return ERR_OK;
}

/* Odd, and without a small divisor. OpenSSL's own check also looks whether the modulus is a prime,
 * in dozens of rounds when it is one: half a second for 8192 bits, and a quarter of a minute for a
 * set of 32 such keys, which anybody who publishes keys could cost us again and again. Whoever
 * chooses such a modulus harms his own key alone, so it is not looked for. */
static bool modulus_ok(const BIGNUM *n)
{
    bool ok = BN_is_odd(n);
    for (BN_ULONG d = 3; ok && d < SMALL_FACTORS; d += 2)
        ok = BN_mod_word(n, d) != 0;
    return ok;
}

static err_code rsa_read(struct arena *a, yyjson_val *jwk, EVP_PKEY **out, struct err *e)
{
    sv n_bytes, e_bytes;
    TRY(bytes_of(a, jwk, "n", &n_bytes, e));
    TRY(bytes_of(a, jwk, "e", &e_bytes, e));
    if (n_bytes.len > JOSE_RSA_MAX / 8 || e_bytes.len > 8)
        return ERR(e, ERR_INVALID, "an RSA key of more than %d bits", JOSE_RSA_MAX);
    BIGNUM *n = BN_bin2bn((const unsigned char *)n_bytes.ptr, (int)n_bytes.len, NULL);
    BIGNUM *exponent = BN_bin2bn((const unsigned char *)e_bytes.ptr, (int)e_bytes.len, NULL);
    err_code rc = ERR_OK;
    if (n == NULL || exponent == NULL)
        abort();
    if (BN_num_bits(n) < JOSE_RSA_MIN)
        rc = ERR(e, ERR_INVALID, "an RSA key of less than %d bits", JOSE_RSA_MIN);
    else if (!BN_is_odd(exponent) || BN_is_one(exponent) || !modulus_ok(n))
        rc = ERR(e, ERR_INVALID, "numbers that make no RSA key");
    if (rc == ERR_OK) {
        OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
        if (build == NULL || !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) ||
            !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent))
            abort();
        rc = key_make("RSA", true, build, out, e);
    }
    BN_free(n);
    BN_free(exponent);
    return rc;
}

static err_code ec_read(struct arena *a, yyjson_val *jwk, const struct jose_form *form,
                        EVP_PKEY **out, struct err *e)
{
    unsigned char point[1 + 2 * 66];
    sv x, y;
    TRY(bytes_of(a, jwk, "x", &x, e));
    TRY(bytes_of(a, jwk, "y", &y, e));
    if (x.len != form->coordinate || y.len != form->coordinate)
        return ERR(e, ERR_INVALID, "coordinates that are not %zu bytes long", form->coordinate);
    point[0] = 4; /* both coordinates follow */
    memcpy(point + 1, x.ptr, x.len);
    memcpy(point + 1 + x.len, y.ptr, y.len);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (build == NULL ||
        !OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, form->group, 0) ||
        !OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + x.len + y.len))
        abort();
    return key_make("EC", false, build, out, e);
}

static err_code ed25519_read(struct arena *a, yyjson_val *jwk, EVP_PKEY **out, struct err *e)
{
    sv x;
    TRY(bytes_of(a, jwk, "x", &x, e));
    if (x.len != 32)
        return ERR(e, ERR_INVALID, "coordinates that are not 32 bytes long");
    EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const unsigned char *)x.ptr, x.len);
    if (key == NULL)
        return ERR(e, ERR_INVALID, "its parameters make no Ed25519 key");
    *out = key;
    return ERR_OK;
}

/* Is the key meant for this: public, and for signatures? */
static err_code check_purpose(yyjson_val *jwk, struct err *e)
{
    static const char *const secret[] = { "d", "p", "q", "dp", "dq", "qi", "oth", "k" };
    yyjson_val *use = json_get(jwk, "use"), *ops = json_get(jwk, "key_ops");
    for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++)
        if (json_get(jwk, secret[i]))
            return ERR(e, ERR_INVALID, "it has private members: publish the public key alone");
    if (use && !sv_eq_cstr(json_string(use), "sig"))
        return ERR(e, ERR_INVALID, "its use is not sig");
    if (ops && !json_has_text(ops, "verify"))
        return ERR(e, ERR_INVALID, "its key_ops have no verify");
    return ERR_OK;
}

/* The algorithms of a kind and curve. */
static unsigned algs_of(sv kty, sv crv)
{
    unsigned algs = 0;
    for (unsigned i = 0; i < JOSE_N_ALGS; i++) {
        const struct jose_form *f = &jose_forms[i];
        const char *kind = f->family == JOSE_EC ? "EC" : f->family == JOSE_ED25519 ? "OKP" : "RSA";
        if (sv_eq_cstr(kty, kind) && (f->crv == NULL || sv_eq_cstr(crv, f->crv)))
            algs |= JOSE_BIT(i);
    }
    return algs;
}

static err_code key_read(struct arena *a, yyjson_val *jwk, struct jose_key *out, struct err *e)
{
    struct jose_key key = { 0 };
    sv twice, alg = json_string(json_get(jwk, "alg"));
    yyjson_val *kid = json_get(jwk, "kid");
    jose_alg named;
    if (!yyjson_is_obj(jwk) || !json_members_unique(jwk, JOSE_MEMBERS_MAX, &twice))
        return ERR(e, ERR_INVALID, "it is no object whose members stand once");
    TRY(check_purpose(jwk, e));
    key.kid = json_string(kid);
    if (kid && (key.kid.len == 0 || key.kid.len > JOSE_KID_MAX))
        return ERR(e, ERR_INVALID, "its kid is no text of 1 to %u bytes", JOSE_KID_MAX);
    key.algs = algs_of(json_string(json_get(jwk, "kty")), json_string(json_get(jwk, "crv")));
    if (json_get(jwk, "alg"))
        key.algs &= jose_alg_find(alg, &named) ? JOSE_BIT(named) : 0;
    if (key.algs == 0)
        return ERR(e, ERR_INVALID, "its kty, crv and alg are of no algorithm that is taken");
    const struct jose_form *form = &jose_forms[__builtin_ctz(key.algs)];
    TRY(form->family == JOSE_EC        ? ec_read(a, jwk, form, &key.pkey, e)
        : form->family == JOSE_ED25519 ? ed25519_read(a, jwk, &key.pkey, e)
                                       : rsa_read(a, jwk, &key.pkey, e));
    *out = key;
    return ERR_OK;
}

static size_t n_named(yyjson_val *obj, const char *name)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    yyjson_val *key;
    size_t n = 0;
    while ((key = yyjson_obj_iter_next(&it)) != NULL)
        n += sv_eq_cstr(json_string(key), name);
    return n;
}

static err_code set_read(struct jose_keys *keys, sv json, struct err *e)
{
    struct arena *a = keys->arena;
    yyjson_doc *doc;
    struct err why, first = { 0 };
    sv text = arena_sv(a, json);
    if (text.ptr == NULL)
        return arena_oom(a, e);
    TRY(json_read(a, text, JOSE_DEPTH, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc), *list = json_get(root, "keys"), *jwk;
    if (!yyjson_is_arr(list))
        return ERR(e, ERR_INVALID, "a JWKS is an object with a list of keys");
    if (yyjson_arr_size(list) > JOSE_KEYS_MAX)
        return ERR(e, ERR_TOO_LARGE, "a JWKS has at most %u keys", JOSE_KEYS_MAX);
    if (n_named(root, "keys") != 1)
        return ERR(e, ERR_INVALID, "a JWKS has one list of keys");
    keys->items = arena_calloc(a, JOSE_KEYS_MAX, sizeof *keys->items);
    if (keys->items == NULL)
        return arena_oom(a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while ((jwk = yyjson_arr_iter_next(&it)) != NULL) {
        if (key_read(a, jwk, &keys->items[keys->n], &why) == ERR_OK)
            keys->n++;
        else if (first.code == ERR_OK)
            first = why;
    }
    if (keys->n)
        return ERR_OK;
    return ERR(e, ERR_INVALID, "no key of the JWKS can verify%s%.200s",
               first.code ? "; of the first one: " : "", first.code ? first.msg : "");
}

err_code jose_keys_read(sv json, struct jose_keys **out, struct err *e)
{
    if (json.len > JOSE_KEYS_BYTES)
        return ERR(e, ERR_TOO_LARGE, "a JWKS has at most %u bytes", JOSE_KEYS_BYTES);
    struct arena *a = arena_new(KEYS_MEMORY);
    CLEANUP(jose_keys_free) struct jose_keys *keys = ARENA_NEW(a, struct jose_keys);
    /* a fresh arena has room for it */
    if (keys == NULL)
        abort();
    keys->arena = a;
    TRY(set_read(keys, json, e));
    *out = keys;
    keys = NULL;
    return ERR_OK;
}

void jose_keys_free(struct jose_keys *keys)
{
    if (keys == NULL)
        return;
    for (size_t i = 0; i < keys->n; i++)
        EVP_PKEY_free(keys->items[i].pkey);
    arena_free(keys->arena);
}

size_t jose_keys_count(const struct jose_keys *keys)
{
    return keys->n;
}
