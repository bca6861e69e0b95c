/* sts.c - AssumeRole.
 *
 * One POST with a form, signed with fhirlake's own credentials; the answer is XML (xml.c). A client
 * is made for each call, because a call comes once in an hour for each role.
 * Source: AWS STS API Reference, "AssumeRole" (query protocol, version 2011-06-15). */
#include "s3/s3_private.h"

#include "codec/instant.h"
#include "codec/uri.h"

struct fixed {
    const struct s3_credentials *own;
};

static err_code give_own(void *ctx, sv refused_key_id, struct arena *a, struct s3_credentials *out,
                         struct err *e)
{
    const struct fixed *f = ctx;
    /* there are no others */
    (void)refused_key_id;
    out->access_key_id = arena_sv(a, f->own->access_key_id);
    out->secret_key = arena_sv(a, f->own->secret_key);
    out->session_token = arena_sv(a, f->own->session_token);
    out->expires_ms = f->own->expires_ms;
    if (!out->access_key_id.ptr || !out->secret_key.ptr || !out->session_token.ptr)
        return arena_oom(a, e);
    return ERR_OK;
}

struct assumed {
    struct arena *a;
    struct s3_credentials cred;
    bool has_expiry;
};

static err_code on_element(void *ctx, sv path, sv text, struct err *e)
{
    struct assumed *r = ctx;
    sv base = SV_LIT("AssumeRoleResponse/AssumeRoleResult/Credentials/");
    if (!sv_starts(path, base))
        return ERR_OK;
    sv name = sv_tail(path, base.len);
    sv *to = sv_eq_cstr(name, "AccessKeyId")       ? &r->cred.access_key_id
             : sv_eq_cstr(name, "SecretAccessKey") ? &r->cred.secret_key
             : sv_eq_cstr(name, "SessionToken")    ? &r->cred.session_token
                                                   : NULL;
    if (sv_eq_cstr(name, "Expiration"))
        r->has_expiry = instant_parse(text, &r->cred.expires_ms);
    if (to == NULL)
        return ERR_OK;
    *to = arena_sv(r->a, text);
    return to->ptr ? ERR_OK : arena_oom(r->a, e);
}

/* They go into headers of requests. */
static bool is_plain(sv text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
            return false;
    return text.len > 0;
}

static err_code accept_assumed(void *ctx, struct s3_conn *conn, struct err *e)
{
    struct assumed *r = ctx;
    r->cred = (struct s3_credentials){ 0 };
    r->has_expiry = false;
    TRY(s3_xml_parse(buf_sv(&conn->answer), on_element, r, e));
    if (!is_plain(r->cred.access_key_id) || !is_plain(r->cred.secret_key) ||
        !is_plain(r->cred.session_token) || !r->has_expiry)
        return ERR(e, ERR_PEER, "an answer without credentials");
    return ERR_OK;
}

static err_code add_field(struct buf *form, const char *name, sv value, struct err *e)
{
    if (value.len == 0)
        return ERR_OK;
    TRY(buf_add_fmt(form, e, "&%s=", name));
    return uri_encode(value, false, form, e);
}

err_code sts_assume_role(const struct s3_endpoint *sts, const struct s3_credentials *own,
                         const struct sts_assume_role *req, struct arena *a,
                         struct s3_credentials *out, struct err *e)
{
    CLEANUP(s3_client_free) struct s3_client *client = NULL;
    CLEANUP_BUF struct buf form = BUF_INIT(16384);
    struct fixed f = { own };
    struct assumed got = { .a = a };
    unsigned duration_s = req->duration_s ? req->duration_s : 3600;
    TRY(s3_client_make(sts, SV_LIT("sts"), give_own, &f, req->cancel, &client, e));
    client->secret = true;
    TRY(buf_add_fmt(&form, e, "Action=AssumeRole&Version=2011-06-15&DurationSeconds=%u",
                    duration_s));
    TRY(add_field(&form, "RoleArn", req->role_arn, e));
    TRY(add_field(&form, "RoleSessionName", req->session_name, e));
    TRY(add_field(&form, "ExternalId", req->external_id, e));
    struct s3_request request = { .op = "AssumeRole",
                                  .method = "POST",
                                  .body = buf_sv(&form),
                                  .accept = accept_assumed,
                                  .accept_ctx = &got };
    s3_request_header(&request, "content-type",
                      SV_LIT("application/x-www-form-urlencoded; charset=utf-8"));
    s3_request_header(&request, "x-amz-source-arn", req->source_arn);
    s3_request_header(&request, "x-amz-source-account", req->source_account);
    TRY(s3_request_run(client, &request, e));
    *out = got.cred;
    return ERR_OK;
}
