/* client_token.c - the record of a client token: its text, and what it is compared with.
 *
 * The record holds two ids and a digest, never the request: requests name patients. Callers choose
 * the key (client_token.h has both), because the scopes of tokens differ. */
#include "job/client_token.h"

#include "codec/hash.h"
#include "codec/json.h"

#define TOKEN_MAX   (64u << 10) /* bytes of a record; it has about 200 */
#define TOKEN_DEPTH 2u          /* nesting of a record: one object of texts */

err_code client_token_digest(struct arena *a, sv request, sv *out, struct err *e)
{
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    hash_sha256_of(request, digest);
    hash_hex(digest, sizeof digest, hex);
    sv text = arena_sv(a, sv_make(hex, sizeof hex));
    if (text.ptr == NULL)
        return arena_oom(a, e);
    *out = text;
    return ERR_OK;
}

err_code client_token_print(const struct client_token *t, struct arena *a, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(TOKEN_MAX);
    struct json_writer w;
    json_writer_init(&w, &text);
    json_obj(&w);
    json_kv_str(&w, "datastore", t->datastore_id);
    if (t->job_id.len)
        json_kv_str(&w, "job", t->job_id);
    json_kv_str(&w, "digest", t->digest);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    sv json = arena_sv(a, buf_sv(&text));
    if (json.ptr == NULL)
        return arena_oom(a, e);
    *out = json;
    return ERR_OK;
}

err_code client_token_parse(sv json, struct arena *a, struct client_token *out, struct err *e)
{
    yyjson_doc *doc;
    sv text = arena_sv(a, json);
    if (text.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, text, TOKEN_DEPTH, &doc, NULL) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "a client token's record is damaged");
    yyjson_val *root = yyjson_doc_get_root(doc);
    *out = (struct client_token){ .datastore_id = json_string(json_get(root, "datastore")),
                                  .job_id = json_string(json_get(root, "job")),
                                  .digest = json_string(json_get(root, "digest")) };
    return ERR_OK;
}

err_code client_token_read(struct records *r, sv key, struct arena *a, struct client_token *out,
                           struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(TOKEN_MAX);
    TRY(records_get(r, key, &text, e));
    return client_token_parse(buf_sv(&text), a, out, e);
}

err_code client_token_same(const struct client_token *t, sv digest, const char *what, struct err *e)
{
    if (sv_eq(t->digest, digest))
        return ERR_OK;
    return ERR(e, ERR_INVALID,
               "ClientToken was used before with other parameters; use a new one for a new %s",
               what);
}
