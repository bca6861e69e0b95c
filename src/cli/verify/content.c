/* content.c - the digest over the resources themselves (docs/export-digest.md), which does
 * not depend on files, order, versions or instants. It is made again from the lines, and compared
 * type by type and as a whole. */
#include "cli/verify/verify_private.h"

#include "fhir/digest.h"
#include "fhir/envelope.h"

struct verify_content {
    struct fhir_reader *reader;
    struct buf text;
    struct of_type {
        struct fhir_digest sum, gone;
        uint64_t n, n_gone;
    } * types; /* by fhir_type */
};

void verify_content_begin(struct verify *verify)
{
    /* an export that is older than the digest */
    if (json_get(verify->manifest, "contentDigest") == NULL)
        return;
    struct verify_content *c = calloc(1, sizeof *c);
    if (c == NULL || (c->types = calloc(fhir_n_types() + 1, sizeof *c->types)) == NULL)
        abort();
    c->reader = fhir_reader_new(VERIFY_LINE_MAX);
    buf_init(&c->text, (size_t)2 * VERIFY_LINE_MAX);
    verify->content = c;
}

void verify_content_end(struct verify *verify)
{
    struct verify_content *c = verify->content;
    if (c == NULL)
        return;
    fhir_reader_free(c->reader);
    buf_done(&c->text);
    free(c->types);
    free(c);
    verify->content = NULL;
}

void verify_content_line(struct verify *verify, fhir_type type, sv line)
{
    struct verify_content *c = verify->content;
    struct fhir_envelope env;
    if (c == NULL)
        return;
    buf_clear(&c->text);
    /* the sum will differ, which says it */
    if (fhir_envelope_read(c->reader, line, SV_NONE, &c->text, &env, NULL) != ERR_OK)
        return;
    fhir_digest_body(&c->types[type].sum, &env.body);
    c->types[type].n++;
}

void verify_content_deletion(struct verify *verify, fhir_type type, sv url)
{
    char text[160];
    int n = snprintf(text, sizeof text, "DELETE %.*s", SV_FMT(url));
    if (verify->content == NULL || n < 0 || n >= (int)sizeof text)
        return;
    fhir_digest_text(&verify->content->types[type].gone, sv_make(text, (size_t)n));
    verify->content->types[type].n_gone++;
}

void verify_content_check(struct verify *verify)
{
    struct verify_content *c = verify->content;
    unsigned char d[SHA256_LEN];
    char sum[FHIR_DIGEST_HEX], hex[SHA256_HEX_LEN];
    if (c == NULL)
        return;
    struct hash_sha256 *h = hash_sha256_new();
    yyjson_val *said = json_get(verify->manifest, "contentPerType"),
               *urls = verify_attachments(verify);
    yyjson_val *digest = json_get(urls ? urls : verify->manifest, "contentDigest");
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct of_type *of = &c->types[t];
        const char *type = fhir_type_name((fhir_type)t);
        sv served = json_string(json_get(json_get(urls, "contentPerType"), type));
        sv want = served.len ? served : json_string(json_get(said, type));
        fhir_digest_hex(&of->sum, sum);
        if (of->n ? !sv_eq(want, sv_make(sum, sizeof sum)) : want.len != 0)
            verify_differs(verify, "the content of %s is not the manifest's", type);
        if (of->n)
            fhir_digest_line(h, "", type, of->n, &of->sum);
        if (of->n_gone)
            fhir_digest_line(h, "DELETE ", type, of->n_gone, &of->gone);
    }
    hash_sha256_take(h, d);
    hash_sha256_free(h);
    hash_hex(d, sizeof d, hex);
    if (!sv_eq(json_string(digest), sv_make(hex, sizeof hex)))
        verify_differs(verify, "the digest of the content is not the manifest's");
}
