/* key.c - resources as digests of 16 bytes: of a type and an id, or of a whole text. Sets of
 * them are sorted arrays. A text's digest leaves out white space and keeps the spelling of numbers,
 * so a resource in the files and the same one from the store have the same digest. */
#include "cli/verify/verify_private.h"

int verify_key_cmp(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(verify_key));
}

static verify_key cut(const unsigned char digest[SHA256_LEN])
{
    verify_key k;
    memcpy(k.b, digest, sizeof k.b);
    return k;
}

verify_key verify_key_of(sv type, sv id)
{
    char text[128];
    unsigned char d[SHA256_LEN];
    int n = snprintf(text, sizeof text, "%.*s/%.*s", SV_FMT(type), SV_FMT(id));
    hash_sha256_of(sv_make(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1), d);
    return cut(d);
}

bool verify_key_is_none(const verify_key *k)
{
    static const verify_key none;
    return memcmp(k, &none, sizeof none) == 0;
}

static bool is_cut(yyjson_val *resource)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(json_get(resource, "meta"), "tag"));
    yyjson_val *tag;
    while ((tag = yyjson_arr_iter_next(&it)) != NULL)
        if (sv_eq(json_string(json_get(tag, "code")), SV_LIT("SUBSETTED")))
            return true;
    return false;
}

static err_code write_text(yyjson_val *resource, struct buf *out, struct err *e)
{
    struct json_writer w;
    buf_clear(out);
    json_writer_init(&w, out);
    json_val(&w, resource);
    return json_writer_end(&w, e);
}

err_code verify_text_of(yyjson_val *resource, struct buf *scratch, verify_key *out, struct err *e)
{
    unsigned char d[SHA256_LEN];
    if (is_cut(resource)) {
        *out = (verify_key){ 0 };
        return ERR_OK;
    }
    TRY(write_text(resource, scratch, e));
    hash_sha256_of(buf_sv(scratch), d);
    *out = cut(d);
    return ERR_OK;
}

err_code verify_text_served(const struct verify *verify, yyjson_val *resource, struct buf *scratch,
                            verify_key *out, struct err *e)
{
    unsigned char d[SHA256_LEN];
    yyjson_doc *doc;
    struct fhir_body now;
    size_t n;
    TRY(verify_text_of(resource, scratch, out, e));
    if (verify_key_is_none(out) || verify->urls.base.len == 0 ||
        !fhir_attachments_may(&verify->urls, buf_sv(scratch)))
        return ERR_OK;
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)2 << 30);
    CLEANUP_BUF struct buf served = BUF_INIT((size_t)2 * VERIFY_LINE_MAX);
    struct fhir_body body = { .json = buf_sv(scratch) };
    TRY(json_read(a, body.json, VERIFY_DEPTH, &doc, e));
    TRY(fhir_attachments_absolute(&verify->urls, &body, yyjson_doc_get_root(doc), &served, &now, &n,
                                  e));
    hash_sha256_of(buf_sv(&served), d);
    *out = cut(d);
    return ERR_OK;
}
