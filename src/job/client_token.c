/* client_token.c - the record of a client token: its text, and what it is compared with; and the
 * tokens of jobs: whom they stand for, and when they go.
 *
 * The record holds two ids and a digest, never the request: requests name patients. Callers choose
 * the key (client_token.h has both), because the scopes of tokens differ. A job's token is kept as
 * long as its data store. The token itself may say who asks for what, so its key holds its SHA-256
 * alone. */
#include "job/client_token.h"
#include "job/job_private.h"

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

err_code client_token_print(const struct client_token *token, struct arena *a, sv *out,
                            struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(TOKEN_MAX);
    struct json_writer w;
    json_writer_init(&w, &text);
    json_obj(&w);
    json_kv_str(&w, "datastore", token->datastore_id);
    if (token->job_id.len)
        json_kv_str(&w, "job", token->job_id);
    json_kv_str(&w, "digest", token->digest);
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

err_code client_token_same(const struct client_token *token, sv digest, const char *what,
                           struct err *e)
{
    if (sv_eq(token->digest, digest))
        return ERR_OK;
    return ERR(e, ERR_INVALID,
               "ClientToken was used before with other parameters; use a new one for a new %s",
               what);
}

/* ---- the digest of a request ---- */

static void digest_add(struct hash_sha256 *h, sv text)
{
    uint64_t n = text.len;
    hash_sha256_add(h, sv_make(&n, sizeof n));
    hash_sha256_add(h, text);
}

sv job_token_digest(struct arena *a, const struct job_request *request)
{
    unsigned char d[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    struct hash_sha256 *h = hash_sha256_new();
    sv parts[] = { sv_from(job_kind_name(request->kind)),
                   request->datastore_id,
                   request->job_name,
                   request->role_arn,
                   request->output_uri,
                   request->kms_key_id,
                   request->input_uri,
                   request->validation_level };
    CLEANUP_BUF struct buf params = BUF_INIT(JOB_PARAMS_MAX);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        digest_add(h, parts[i]);
    if (request->params && job_params_write(request->params, &params, NULL) == ERR_OK)
        digest_add(h, buf_sv(&params));
    hash_sha256_take(h, d);
    hash_sha256_free(h);
    hash_hex(d, sizeof d, hex);
    return arena_sv(a, sv_make(hex, sizeof hex));
}

/* ---- records ---- */

err_code job_token_write(const struct job_record *rec, sv client_token, struct arena *a,
                         struct records_write *out, struct err *e)
{
    const struct job *job = &rec->job;
    const struct client_token token = { .datastore_id = job->datastore_id,
                                        .job_id = job->id,
                                        .digest = rec->digest };
    sv key = job_key_token(a, job->kind, job->account_id, client_token), text;
    TRY(client_token_print(&token, a, &text, e));
    if (key.ptr == NULL)
        return arena_oom(a, e);
    *out = (struct records_write){ RECORDS_PUT_IF_ABSENT, key, text };
    return ERR_OK;
}

err_code job_token_read(struct records *r, const struct job_request *req, struct arena *a,
                        sv *datastore_id, sv *job_id, sv *digest, struct err *e)
{
    struct client_token token;
    sv key = job_key_token(a, req->kind, req->account_id, req->client_token);
    err_code rc = client_token_read(r, key, a, &token, e);
    /* as it was written before tokens were hashed */
    if (rc == ERR_NOT_FOUND) {
        key = job_key_token_plain(a, req->kind, req->account_id, req->client_token);
        rc = client_token_read(r, key, a, &token, e);
    }
    TRY(rc);
    *datastore_id = token.datastore_id;
    *job_id = token.job_id;
    *digest = token.digest;
    return ERR_OK;
}

err_code job_token_find(struct records *r, const struct job_request *request, sv digest,
                        struct arena *a, sv *datastore_id, sv *job_id, struct err *e)
{
    struct client_token token = { 0 };
    TRY(job_token_read(r, request, a, datastore_id, job_id, &token.digest, e));
    return client_token_same(&token, digest, "job", e);
}

/* ---- when the data store is gone ---- */

/* Client tokens of a data store. */
struct tokens {
    struct job_keys list;
    sv datastore_id;
};

static bool each_token(void *ctx, sv key, sv value)
{
    struct tokens *t = ctx;
    CLEANUP(arena_free) struct arena *a = arena_new(JOB_RECORD_MAX);
    struct client_token one;
    if (client_token_parse(value, a, &one, NULL) == ERR_OK &&
        sv_eq(one.datastore_id, t->datastore_id))
        return job_keys_add(&t->list, key, value);
    return true;
}

err_code job_tokens_delete(struct records *r, sv datastore_id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct tokens t = { .list = { .a = a }, .datastore_id = datastore_id };
    do {
        struct records_write del[JOB_KEYS_MAX];
        arena_reset(a);
        t.list.n = 0;
        TRY(records_scan(r, SV_LIT(JOB_KEYS_TOKEN), SV_NONE, each_token, &t, e));
        job_keys_delete(&t.list, del);
        if (t.list.n)
            TRY(records_write(r, del, t.list.n, e));
    } while (t.list.n == JOB_KEYS_MAX);
    return ERR_OK;
}
