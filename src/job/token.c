/* token.c - client tokens: the same request with the same token is the same job.
 *
 * A token is kept with the digest of the request that came with it. A second request with that
 * token gets the first one's job when its digest is the same, and is refused when it is another.
 * Tokens are kept as long as the data store. The token itself may say who asks for what, so its key
 * holds its SHA-256 alone. */
#include "job/job_private.h"

#include "base/limits.h"
#include "codec/hash.h"
#include "codec/json.h"

#define TOKEN_MAX (64u << 10) /* bytes of the record: two ids and a digest */

/* ---- the digest of a request ---- */

static void digest_add(struct hash_sha256 *h, sv text)
{
    uint64_t n = text.len;
    hash_sha256_add(h, sv_make(&n, sizeof n));
    hash_sha256_add(h, text);
}

sv job_token_digest(struct arena *a, const struct job_request *q)
{
    unsigned char d[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    struct hash_sha256 *h = hash_sha256_new();
    sv parts[] = { sv_from(job_kind_name(q->kind)),
                   q->datastore_id,
                   q->job_name,
                   q->role_arn,
                   q->output_uri,
                   q->kms_key_id,
                   q->input_uri,
                   q->validation_level };
    CLEANUP_BUF struct buf params = BUF_INIT(JOB_PARAMS_MAX);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        digest_add(h, parts[i]);
    if (q->params && job_params_write(q->params, &params, NULL) == ERR_OK)
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
    CLEANUP_BUF struct buf text = BUF_INIT(TOKEN_MAX);
    const struct job *j = &rec->job;
    struct json_writer w;
    json_writer_init(&w, &text);
    json_obj(&w);
    json_kv_str(&w, "datastore", j->datastore_id);
    json_kv_str(&w, "job", j->id);
    json_kv_str(&w, "digest", rec->digest);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    *out = (struct records_write){ RECORDS_PUT_IF_ABSENT,
                                   job_key_token(a, j->kind, j->account_id, client_token),
                                   arena_sv(a, buf_sv(&text)) };
    return out->key.ptr && out->value.ptr ? ERR_OK : arena_oom(a, e);
}

err_code job_token_read(struct records *r, const struct job_request *req, struct arena *a,
                        sv *datastore_id, sv *job_id, sv *digest, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(TOKEN_MAX);
    yyjson_doc *doc;
    err_code rc =
        records_get(r, job_key_token(a, req->kind, req->account_id, req->client_token), &b, e);
    /* as it was written before tokens were hashed */
    if (rc == ERR_NOT_FOUND)
        rc = records_get(r, job_key_token_plain(a, req->kind, req->account_id, req->client_token),
                         &b, e);
    TRY(rc);
    sv text = arena_sv(a, buf_sv(&b));
    if (json_read(a, text, 2, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "a client token's record is damaged");
    yyjson_val *root = yyjson_doc_get_root(doc);
    *datastore_id = json_string(json_get(root, "datastore"));
    *job_id = json_string(json_get(root, "job"));
    *digest = json_string(json_get(root, "digest"));
    return ERR_OK;
}

err_code job_token_find(struct records *r, const struct job_request *q, sv digest, struct arena *a,
                        sv *datastore_id, sv *job_id, struct err *e)
{
    sv before;
    TRY(job_token_read(r, q, a, datastore_id, job_id, &before, e));
    if (!sv_eq(before, digest))
        return ERR(
            e, ERR_INVALID,
            "ClientToken was used before with other parameters; use a new one for a new job");
    return ERR_OK;
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
    yyjson_doc *doc;
    sv text = arena_sv(a, value);
    if (text.ptr && json_read(a, text, 2, &doc, NULL) == ERR_OK &&
        sv_eq(json_string(json_get(yyjson_doc_get_root(doc), "datastore")), t->datastore_id))
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
