/* fault.c - what an answer that is no success means: one table, read by the service's code first
 * and by the status where there is no code (HEAD has no body). A service that answers in JSON gives
 * a code always: without one something else has answered, whatever its status.
 * Source: Amazon S3 API Reference, "Error responses"; AWS STS API Reference, "Common errors"; AWS
 * KMS API Reference, errors of each operation and "Common errors". */
#include "s3/s3_private.h"

#include "codec/json.h"

#define FAULT_JSON_DEPTH 16u
#define ECHO_MIN         8u /* bytes: shorter ones give nothing away */

static const struct {
    const char *code;
    err_code rc;
    bool retry, renew;
} table[] = {
    { "NoSuchBucket", ERR_NOT_FOUND, false, false },
    { "NoSuchKey", ERR_NOT_FOUND, false, false },
    { "NoSuchUpload", ERR_NOT_FOUND, false, false },
    { "ExpiredToken", ERR_AUTH_EXPIRED, false, true },
    { "ExpiredTokenException", ERR_AUTH_EXPIRED, false, true },
    { "PreconditionFailed", ERR_PRECONDITION, false, false },
    { "InternalError", ERR_PEER, true, false },
    { "InternalFailure", ERR_PEER, true, false },
    { "ServiceUnavailable", ERR_PEER, true, false },
    { "SlowDown", ERR_PEER, true, false },
    { "Throttling", ERR_PEER, true, false },
    { "ThrottlingException", ERR_PEER, true, false },
    { "RequestLimitExceeded", ERR_PEER, true, false },
    { "TooManyRequestsException", ERR_PEER, true, false },
    { "RequestTimeout", ERR_TIMEOUT, true, false },
    { "OperationAborted", ERR_PEER, true, false },
    /* the bytes were damaged on the way */
    { "BadDigest", ERR_PEER, true, false },
    { "XAmzContentSHA256Mismatch", ERR_PEER, true, false },
    { "IncompleteBody", ERR_PEER, true, false },
    /* of services that answer in JSON */
    { "AccessDeniedException", ERR_DENIED, false, false },
    { "UnrecognizedClientException", ERR_DENIED, false, false },
    { "InvalidClientTokenId", ERR_DENIED, false, false },
    { "NotAuthorized", ERR_DENIED, false, false },
    { "OptInRequired", ERR_DENIED, false, false },
    /* the request is not understood, or its clock is wrong: nothing is said of what it asks for */
    { "InvalidSignatureException", ERR_PEER, false, false },
    { "IncompleteSignature", ERR_PEER, false, false },
    { "MissingAuthenticationTokenException", ERR_PEER, false, false },
    { "RequestExpired", ERR_PEER, false, false },
    { "RequestTimeTooSkewed", ERR_PEER, false, false },
    { "UnknownOperationException", ERR_PEER, false, false },
    { "LimitExceededException", ERR_PEER, true, false },
    { "RequestTimeoutException", ERR_TIMEOUT, true, false },
    { "RequestAbortedException", ERR_PEER, true, false },
    { "NotFoundException", ERR_NOT_FOUND, false, false },
    { "DisabledException", ERR_PRECONDITION, false, false },
    { "KMSInvalidStateException", ERR_CONFLICT, false, false },
    { "InvalidKeyUsageException", ERR_UNSUPPORTED, false, false },
    { "InvalidCiphertextException", ERR_CORRUPT, false, false },
    { "IncorrectKeyException", ERR_CORRUPT, false, false },
    { "KeyUnavailableException", ERR_PEER, true, false },
    { "DependencyTimeoutException", ERR_PEER, true, false },
    { "KMSInternalException", ERR_PEER, true, false },
};

static bool is_kept(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.';
}

/* It goes into messages: letters, digits and dots of it. */
static void keep_code(sv text, char code[64])
{
    size_t n = 0;
    for (size_t i = 0; i < text.len && n < 63; i++) {
        if (is_kept(text.ptr[i]))
            code[n++] = text.ptr[i];
    }
    code[n] = 0;
}

static err_code find_code(void *ctx, sv path, sv text, struct err *e)
{
    (void)e;
    if (sv_eq_cstr(path, "Error/Code") || sv_eq_cstr(path, "ErrorResponse/Error/Code"))
        keep_code(text, ctx);
    return ERR_OK;
}

/* Stand-ins for AWS say in XML what a policy refuses, whatever the service speaks: moto does. */
static err_code find_refusal(void *ctx, sv path, sv text, struct err *e)
{
    (void)e;
    if (sv_eq_cstr(path, "ErrorResponse/Errors/Error/Code"))
        keep_code(text, ctx);
    return ERR_OK;
}

bool s3_fault_code_json(sv json, char code[64])
{
    struct err e = { 0 };
    yyjson_doc *doc = NULL;
    code[0] = 0;
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(json.len) + 4096);
    if (json.len == 0)
        return false;
    if (json_read(a, json, FAULT_JSON_DEPTH, &doc, &e) != ERR_OK) {
        IGNORE(s3_xml_parse(json, find_refusal, code, &e));
        return code[0] != 0;
    }
    sv type = json_string(json_get(yyjson_doc_get_root(doc), "__type"));
    size_t hash = sv_find(type, '#');
    keep_code(hash < type.len ? sv_tail(type, hash + 1) : type, code);
    return code[0] != 0;
}

bool s3_fault_code(sv xml, char code[64])
{
    code[0] = 0;
    if (xml.len == 0)
        return false;
    struct err e = { 0 };
    /* a code read before the fault still counts */
    IGNORE(s3_xml_parse(xml, find_code, code, &e));
    return code[0] != 0;
}

/* Is the code one of ours that came back, or a part of it? A peer has seen our access key, a
 * session token and a signature, and what it says goes into messages. */
static bool is_echo(const char *code, const struct curl_slist *sent)
{
    CLEANUP_BUF struct buf plain = BUF_INIT(64u << 10);
    const size_t n = strlen(code);
    bool found = false;
    for (; n >= ECHO_MIN && sent && !found; sent = sent->next) {
        sv value = sv_from(sent->data), name;
        if (!sv_cut(&value, ':', &name) ||
            (!sv_eq_cstr(name, "authorization") && !sv_eq_cstr(name, "x-amz-security-token")))
            continue;
        buf_clear(&plain);
        for (size_t i = 0; i < value.len; i++)
            if (is_kept(value.ptr[i]))
                IGNORE(buf_add_char(&plain, value.ptr[i], NULL));
        found = plain.len && memmem(plain.ptr, plain.len, code, n) != NULL;
        explicit_bzero(plain.ptr, plain.len);
    }
    return found;
}

bool s3_fault_code_of(const struct s3_conn *conn, char code[64])
{
    /* "" when there is none */
    (void)(conn->client->json ? s3_fault_code_json : s3_fault_code)(buf_sv(&conn->answer), code);
    if (is_echo(code, conn->sent))
        code[0] = 0;
    return code[0] != 0;
}

void s3_fault_by_code(const char *code, long status, struct s3_fault *out)
{
    *out = (struct s3_fault){ .rc = ERR_INVALID,
                              .digest = strcmp(code, "XAmzContentSHA256Mismatch") == 0 };
    const char *say = code[0] ? code : "no code";
    (void)snprintf(out->code, sizeof out->code, "%s", code);
    if (strcmp(code, "NoSuchBucket") == 0)
        (void)snprintf(out->what, sizeof out->what, "bucket does not exist (NoSuchBucket)");
    else if (strcmp(code, "NoSuchKey") == 0)
        (void)snprintf(out->what, sizeof out->what, "object does not exist (NoSuchKey)");
    else
        (void)snprintf(out->what, sizeof out->what, "%s (%ld)%s", say, status,
                       strcmp(code, "RequestTimeTooSkewed") == 0
                           ? ": the clock of the server or of the endpoint is wrong"
                           : "");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].code, code) == 0) {
            out->rc = table[i].rc;
            out->retry = table[i].retry;
            out->renew = table[i].renew;
            return;
        }
    if (status >= 500 || status == 429 || status == 408) {
        out->rc = ERR_PEER;
        out->retry = true;
    } else if (status == 401 || status == 403) {
        out->rc = ERR_DENIED;
    } else if (status == 404) {
        out->rc = ERR_NOT_FOUND;
    } else if (status == 412) {
        out->rc = ERR_PRECONDITION;
    }
}

static void redirect(struct s3_conn *conn, long status, struct s3_fault *out)
{
    sv region = s3_conn_header(conn, "x-amz-bucket-region");
    bool plain = region.len > 0 && region.len <= 32;
    for (size_t i = 0; plain && i < region.len; i++)
        plain = (region.ptr[i] >= 'a' && region.ptr[i] <= 'z') || region.ptr[i] == '-' ||
                (region.ptr[i] >= '0' && region.ptr[i] <= '9');
    *out = (struct s3_fault){ .rc = ERR_INVALID };
    (void)snprintf(out->what, sizeof out->what,
                   "redirected (%ld): the bucket is in another region%s%.*s or behind another "
                   "endpoint",
                   status, plain ? ", " : "", SV_FMT(plain ? region : SV_NONE));
}

/* Why a certificate was not taken, in our own words: the peer wrote what stands in it. The numbers
 * are OpenSSL's, and other libraries say 0 alone. libcurl itself compares the name, after the rest.
 * Source: OpenSSL, x509_vfy.h. */
static const char *why_not_taken(struct s3_conn *conn)
{
    long why = 0;
    const char *ssl = curl_version_info(CURLVERSION_NOW)->ssl_version;
    if (ssl == NULL || strncmp(ssl, "OpenSSL", 7) != 0 ||
        curl_easy_getinfo(conn->easy, CURLINFO_SSL_VERIFYRESULT, &why) != CURLE_OK)
        return "it was not verified";
    switch (why) {
    case 0:
    case 1: /* libcurl's own, until it has compared the name */
    case 62:
    case 64:
        return "it is not for this host";
    case 9:
        return "it does not hold yet, or a clock is wrong";
    case 10:
        return "it has expired, or a clock is wrong";
    case 18:
    case 19:
    case 20:
    case 21:
        return "no authority that is trusted here vouches for it";
    case 26:
        return "it is not one for servers";
    default:
        return "it was not verified";
    }
}

static void of_curl(struct s3_conn *conn, struct s3_fault *out)
{
    *out = (struct s3_fault){ .rc = ERR_PEER, .retry = true };
    (void)snprintf(out->what, sizeof out->what, "%s", curl_easy_strerror(conn->result));
    if (conn->result == CURLE_PEER_FAILED_VERIFICATION)
        (void)snprintf(out->what, sizeof out->what, "the peer's certificate is not taken: %s",
                       why_not_taken(conn));
    switch ((int)conn->result) {
    case CURLE_OPERATION_TIMEDOUT:
        out->rc = ERR_TIMEOUT;
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        out->retry = false;
        break;
    default:
        break;
    }
    if (conn->overflow) {
        out->retry = false;
        (void)snprintf(out->what, sizeof out->what, "the answer is too long");
    }
}

void s3_fault_of(struct s3_conn *conn, s3_conn_state st, bool has_token, struct s3_fault *out)
{
    long status = s3_conn_status(conn);
    if (st == CONN_CANCELLED) {
        *out = (struct s3_fault){ .rc = ERR_CANCELLED };
        (void)snprintf(out->what, sizeof out->what, "cancelled");
        return;
    }
    if (st == CONN_STALLED) {
        *out = (struct s3_fault){ .rc = ERR_TIMEOUT, .retry = true };
        (void)snprintf(out->what, sizeof out->what, "no progress within the timeout");
        return;
    }
    /* A peer may refuse and close before it took the whole body: its answer says more than the
     * broken connection does. */
    if (status < 300 || (conn->result != CURLE_OK && conn->answer.len == 0)) {
        of_curl(conn, out);
        return;
    }
    const bool json = conn->client->json;
    if (status < 400 && !json) {
        redirect(conn, status, out);
        return;
    }
    char code[64];
    (void)s3_fault_code_of(conn, code);
    s3_fault_by_code(code, status, out);
    if (json && code[0] == 0)
        out->rc = ERR_PEER;
    /* HEAD: S3 answers 400 without a body to an expired token. */
    if (status == 400 && code[0] == 0 && has_token)
        out->renew = true;
    curl_off_t after_s = 0;
    if (curl_easy_getinfo(conn->easy, CURLINFO_RETRY_AFTER, &after_s) == CURLE_OK && after_s > 0)
        out->retry_after_ms = after_s > S3_RETRY_AFTER_CAP_MS / 1000 ? S3_RETRY_AFTER_CAP_MS
                                                                     : (unsigned)after_s * 1000;
}
