/* sigv4.c - from a canonical request to a signature: string to sign, signing key, HMAC. Also the
 * Authorization header that carries the signature when we are the caller. */
#include "codec/sigv4_private.h"

/* ---- string to sign, key, signature ---- */

err_code sigv4_string_to_sign(struct arena *a, sv amz_date, const struct sigv4_scope *scope,
                              sv canonical_request, sv *out, struct err *e)
{
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    hash_sha256_of(canonical_request, digest);
    hash_hex(digest, SHA256_LEN, hex);
    const sv parts[] = { SV_LIT("AWS4-HMAC-SHA256\n"),
                         amz_date,
                         SV_LIT("\n"),
                         scope->date,
                         SV_LIT("/"),
                         scope->region,
                         SV_LIT("/"),
                         scope->service,
                         SV_LIT("/aws4_request\n"),
                         sv_make(hex, sizeof hex) };
    *out = arena_join(a, parts, sizeof parts / sizeof parts[0]);
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

void sigv4_signing_key(sv secret, const struct sigv4_scope *scope, unsigned char out[32])
{
    /* AWS secrets have 40 characters; the credentials file allows 200 */
    char first[256] = "AWS4";
    size_t n = secret.len < sizeof first - 4 ? secret.len : sizeof first - 4;
    unsigned char k[SHA256_LEN];
    memcpy(first + 4, secret.ptr ? secret.ptr : "", n);
    hash_hmac_sha256(sv_make(first, n + 4), scope->date, k);
    hash_hmac_sha256(sv_make(k, sizeof k), scope->region, k);
    hash_hmac_sha256(sv_make(k, sizeof k), scope->service, k);
    hash_hmac_sha256(sv_make(k, sizeof k), SV_LIT("aws4_request"), out);
    memset(first, 0, sizeof first);
}

void sigv4_signature(const unsigned char key[32], sv string_to_sign, char out[64])
{
    unsigned char mac[SHA256_LEN];
    hash_hmac_sha256(sv_make(key, 32), string_to_sign, mac);
    hash_hex(mac, sizeof mac, out);
}

err_code sigv4_signature_of(struct arena *a, const struct sigv4_request *req, sv signed_headers,
                            sv amz_date, const struct sigv4_scope *scope, sv secret,
                            const struct hash_hmac_key *known_key, char out[64], struct err *e)
{
    CLEANUP_BUF struct buf canonical = BUF_INIT(SIGV4_CANONICAL_MAX);
    sv to_sign;
    unsigned char key[32], mac[SHA256_LEN];
    struct hash_hmac_key made;
    TRY(sigv4_canonical_write(a, req, signed_headers, &canonical, e));
    TRY(sigv4_string_to_sign(a, amz_date, scope, buf_sv(&canonical), &to_sign, e));
    if (known_key == NULL) {
        sigv4_signing_key(secret, scope, key);
        hash_hmac_key_set(&made, sv_make(key, sizeof key));
        known_key = &made;
    }
    hash_hmac_sha256_with(known_key, to_sign, mac);
    hash_hex(mac, sizeof mac, out);
    return ERR_OK;
}

/* ---- signing ---- */

/* Lower-case names of all headers of req, sorted, each once, joined by ';'. */
static err_code header_names(struct arena *a, const struct sigv4_request *req, sv *out,
                             struct err *e)
{
    sv *names = arena_alloc(a, (req->n_headers + 1) * sizeof *names);
    if (names == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < req->n_headers; i++) {
        char *s = arena_str(a, req->headers[i].name);
        if (s == NULL)
            return arena_oom(a, e);
        for (char *p = s; *p; p++)
            if (*p >= 'A' && *p <= 'Z')
                *p = (char)(*p + 32);
        names[i] = sv_from(s);
    }
    qsort(names, req->n_headers, sizeof *names, sv_by_bytes);
    CLEANUP_BUF struct buf b = BUF_INIT(SIGV4_TEXT_MAX);
    for (size_t i = 0; i < req->n_headers; i++) {
        if (i && sv_eq(names[i], names[i - 1]))
            continue;
        if (i)
            TRY(buf_add_char(&b, ';', e));
        TRY(buf_add(&b, names[i], e));
    }
    return sigv4_keep(a, &b, out, e);
}

err_code sigv4_sign(struct arena *a, const struct sigv4_request *req, sv amz_date,
                    const struct sigv4_scope *scope, const struct sigv4_credentials *cred,
                    sv *out_authorization, struct err *e)
{
    sv names;
    char signature[64];
    TRY(header_names(a, req, &names, e));
    TRY(sigv4_signature_of(a, req, names, amz_date, scope, cred->secret_key, NULL, signature, e));
    *out_authorization = arena_fmt(
        a,
        "AWS4-HMAC-SHA256 Credential=%.*s/%.*s/%.*s/%.*s/aws4_request, SignedHeaders=%.*s, "
        "Signature=%.*s",
        SV_FMT(cred->access_key_id), SV_FMT(scope->date), SV_FMT(scope->region),
        SV_FMT(scope->service), SV_FMT(names), 64, signature);
    return out_authorization->ptr ? ERR_OK : arena_oom(a, e);
}
