/* json.c - one call of a service that speaks AWS's JSON 1.1: a POST to the endpoint's root, whose
 * operation stands in X-Amz-Target.
 *
 * An answer may hold a key. So its bytes, and the tree that is read of them, are overwritten when
 * the caller has taken what he needs. What libcurl and the TLS library hold meanwhile is theirs.
 * Source: Smithy, "AWS JSON 1.1 protocol". */
#include "s3/s3_private.h"

#include "codec/json.h"

#define JSON_DEPTH 16u

err_code s3_json_client_new(const struct s3_endpoint *ep, const char *service,
                            s3_credentials_fn cred, void *cred_ctx, const atomic_bool *cancel,
                            struct s3_client **out, struct err *e)
{
    struct s3_endpoint plain = *ep;
    /* there are no buckets to address */
    plain.addressing = S3_ADDRESSING_PATH;
    TRY(s3_client_make(&plain, sv_from(service), cred, cred_ctx, cancel, out, e));
    (*out)->json = (*out)->secret = true;
    return ERR_OK;
}

/* s3_request.accept */
static err_code accept_json(void *ctx, struct s3_conn *conn, struct err *e)
{
    const struct s3_json_call *call = ctx;
    struct err why = { 0 };
    yyjson_doc *doc = NULL;
    sv text = buf_sv(&conn->answer);
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(text.len) + 4096);
    err_code rc = json_read(a, text, JSON_DEPTH, &doc, &why);
    if (rc != ERR_OK || !yyjson_is_obj(yyjson_doc_get_root(doc)))
        rc = ERR(e, ERR_PEER, "an answer that is no JSON object");
    else
        rc = call->read(call->ctx, yyjson_doc_get_root(doc), e);
    arena_wipe(a);
    return rc;
}

err_code s3_json_call(struct s3_client *client, const struct s3_json_call *call,
                      char code[S3_JSON_CODE_MAX], struct err *e)
{
    struct s3_json_call mine = *call;
    struct s3_request request = { .op = call->op,
                                  .method = "POST",
                                  .body = call->body,
                                  .max_answer = call->max_answer,
                                  .accept = accept_json,
                                  .accept_ctx = &mine,
                                  .code = code };
    code[0] = 0;
    s3_request_header(&request, "content-type", SV_LIT("application/x-amz-json-1.1"));
    s3_request_header(&request, "x-amz-target", sv_from(call->target));
    return s3_request_run(client, &request, e);
}
