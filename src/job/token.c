/* token.c - client tokens of jobs: whom they stand for, and when they go.
 *
 * client_token.h says what a token does. A job's token is kept as long as its data store. The token
 * itself may say who asks for what, so its key holds its SHA-256 alone. */
#include "job/job_private.h"

#include "codec/hash.h"
#include "job/client_token.h"

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
    const struct job *j = &rec->job;
    const struct client_token t = { .datastore_id = j->datastore_id,
                                    .job_id = j->id,
                                    .digest = rec->digest };
    sv key = job_key_token(a, j->kind, j->account_id, client_token), text;
    TRY(client_token_print(&t, a, &text, e));
    if (key.ptr == NULL)
        return arena_oom(a, e);
    *out = (struct records_write){ RECORDS_PUT_IF_ABSENT, key, text };
    return ERR_OK;
}

err_code job_token_read(struct records *r, const struct job_request *req, struct arena *a,
                        sv *datastore_id, sv *job_id, sv *digest, struct err *e)
{
    struct client_token t;
    sv key = job_key_token(a, req->kind, req->account_id, req->client_token);
    err_code rc = client_token_read(r, key, a, &t, e);
    /* as it was written before tokens were hashed */
    if (rc == ERR_NOT_FOUND) {
        key = job_key_token_plain(a, req->kind, req->account_id, req->client_token);
        rc = client_token_read(r, key, a, &t, e);
    }
    TRY(rc);
    *datastore_id = t.datastore_id;
    *job_id = t.job_id;
    *digest = t.digest;
    return ERR_OK;
}

err_code job_token_find(struct records *r, const struct job_request *q, sv digest, struct arena *a,
                        sv *datastore_id, sv *job_id, struct err *e)
{
    struct client_token t = { 0 };
    TRY(job_token_read(r, q, a, datastore_id, job_id, &t.digest, e));
    return client_token_same(&t, digest, "job", e);
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
