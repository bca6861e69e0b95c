/* client.c - one call to an endpoint, by libcurl: keys are found, headers are signed, the answer is
 * read whole. An answer that is no success becomes an error with the endpoint's own words. */
#include "cli/client.h"

#include "auth/credentials.h"
#include "base/clock.h"
#include "base/file.h"
#include "callout/callout.h"
#include "codec/hash.h"
#include "codec/instant.h"
#include "codec/json.h"
#include "codec/sigv4.h"
#include "codec/uri.h"

#include <curl/curl.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX    (256u << 20)
#define POLL_FIRST_MS 100u
#define POLL_MAX_MS   2000u
#define POLL_TRIES    10u
#define REFUSAL_DEPTH 32u /* nesting of an answer that is no success */

struct client {
    struct arena *arena;
    CURL *easy;
    sv endpoint, host; /* "http://127.0.0.1:8080", "127.0.0.1:8080" */
    sv region, key, secret, token;
};

/* ---- keys ---- */

static err_code load(struct client *client, const char *path, const char *profile, struct err *e)
{
    return credentials_profile_load(path, sv_from(profile), client->arena, &client->key,
                                    &client->secret, &client->token, e);
}

static err_code find_keys(struct client *client, const struct client_options *o, struct err *e)
{
    const char *profile = o->profile ? o->profile : getenv("AWS_PROFILE");
    if (o->credentials)
        return load(client, o->credentials, profile, e);
    const char *key = getenv("AWS_ACCESS_KEY_ID"), *secret = getenv("AWS_SECRET_ACCESS_KEY");
    if (o->profile == NULL && key && key[0] && secret) {
        client->key = sv_from(key);
        client->secret = sv_from(secret);
        client->token = sv_from(getenv("AWS_SESSION_TOKEN"));
        return ERR_OK;
    }
    const char *shared = getenv("AWS_SHARED_CREDENTIALS_FILE"), *home = getenv("HOME");
    char path[PATH_MAX];
    if (shared && shared[0])
        return load(client, shared, profile, e);
    (void)snprintf(path, sizeof path, "%s/.aws/credentials", home ? home : "");
    if (home && access(path, R_OK) == 0)
        return load(client, path, profile, e);
    return profile ? ERR(e, ERR_INVALID, "there is no credentials file to take profile %s from",
                         profile)
                   : ERR_OK;
}

/* ---- life ---- */

err_code client_new(const struct client_options *o, struct client **out, struct err *e)
{
    struct client *client = calloc(1, sizeof *client);
    struct uri_http u = { 0 };
    if (client == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
    client->arena = arena_new(1u << 20);
    client->easy = curl_easy_init();
    if (client->easy == NULL)
        abort();
    const char *region = o->region ? o->region : getenv("AWS_REGION");
    if (region == NULL || region[0] == 0)
        region = getenv("AWS_DEFAULT_REGION");
    client->region = region && region[0] ? sv_from(region) : SV_LIT("us-east-1");
    sv url = arena_sv(client->arena, sv_from(o->endpoint ? o->endpoint : CLIENT_DEFAULT_ENDPOINT));
    err_code rc = uri_http_parse(url, &u, e);
    if (rc == ERR_OK && u.path.len)
        rc = ERR(e, ERR_INVALID, "the endpoint is a URL without a path, such as %s",
                 CLIENT_DEFAULT_ENDPOINT);
    if (rc == ERR_OK)
        rc = find_keys(client, o, e);
    if (rc != ERR_OK) {
        client_free(client);
        return rc;
    }
    while (url.len && url.ptr[url.len - 1] == '/')
        url.len--;
    client->endpoint = url;
    client->host = sv_tail(url, u.scheme.len + 3);
    *out = client;
    return ERR_OK;
}

void client_free(struct client *client)
{
    if (client == NULL)
        return;
    curl_easy_cleanup(client->easy);
    arena_free(client->arena);
    free(client);
}

bool client_is_signed(const struct client *client)
{
    return client->key.len > 0;
}

err_code client_check_datastore(const char *id, struct err *e)
{
    for (const char *p = id; *p; p++)
        if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z')))
            return ERR(e, ERR_INVALID, "--datastore takes the id of a data store");
    return ERR_OK;
}

sv client_endpoint(const struct client *client)
{
    return client->endpoint;
}

/* ---- one exchange ---- */

struct incoming {
    CURL *easy;
    struct client_answer *answer;
    const int *into;
    size_t head_bytes;
};

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    const struct incoming *in = ctx;
    sv bytes = sv_make(p, size * n);
    long status = 0;
    curl_easy_getinfo(in->easy, CURLINFO_RESPONSE_CODE, &status);
    err_code rc = in->into && status == 200 ? file_write_all(*in->into, bytes, NULL)
                                            : buf_add(&in->answer->body, bytes, NULL);
    return rc == ERR_OK ? bytes.len : 0;
}

/* Of heads and trailers. */
static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    struct incoming *in = ctx;
    struct client_answer *a = in->answer;
    sv line = sv_make(p, size * n), name;
    in->head_bytes += line.len;
    /* libcurl keeps them all, and ends when it is told that fewer were taken */
    if (in->head_bytes > CALLOUT_HEAD_MAX)
        return 0;
    while (line.len && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r'))
        line.len--;
    if (sv_find(line, ':') == line.len || !sv_cut(&line, ':', &name))
        return size * n;
    line = sv_trim(line);
    if (sv_eq_nocase(name, SV_LIT("content-location")))
        (void)snprintf(a->location, sizeof a->location, "%.*s", SV_FMT(line));
    if (sv_eq_nocase(name, SV_LIT("x-progress")))
        (void)snprintf(a->progress, sizeof a->progress, "%.*s", SV_FMT(line));
    return size * n;
}

static err_code add(struct arena *a, struct curl_slist **list, sv name, sv value, struct err *e)
{
    sv line = arena_fmt(a, "%.*s: %.*s", SV_FMT(name), SV_FMT(value));
    if (line.ptr == NULL)
        return arena_oom(a, e);
    struct curl_slist *more = curl_slist_append(*list, line.ptr);
    if (more == NULL)
        abort();
    *list = more;
    return ERR_OK;
}

static err_code headers(struct client *client, const struct client_call *call, struct arena *a,
                        struct curl_slist **list, struct err *e)
{
    struct sigv4_header h[8];
    size_t n = 0;
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN], date[16];
    sv path = sv_head(call->target, sv_find(call->target, '?')), auth;
    instant_format_basic(clock_wall_ms(), date);
    hash_sha256_of(call->body, digest);
    hash_hex(digest, sizeof digest, hex);
    h[n++] = (struct sigv4_header){ SV_LIT("host"), client->host };
    h[n++] = (struct sigv4_header){ SV_LIT("x-amz-date"), sv_make(date, sizeof date) };
    if (client->token.len)
        h[n++] = (struct sigv4_header){ SV_LIT("x-amz-security-token"), client->token };
    if (call->content_type.len)
        h[n++] = (struct sigv4_header){ SV_LIT("content-type"), call->content_type };
    if (call->amz_target.len)
        h[n++] = (struct sigv4_header){ SV_LIT("x-amz-target"), call->amz_target };
    struct sigv4_request req = { .method = sv_from(call->method),
                                 .path = path,
                                 .query = sv_tail(call->target, path.len + 1),
                                 .headers = h,
                                 .n_headers = n,
                                 .payload_hash = sv_make(hex, sizeof hex),
                                 .normalize_path = true,
                                 .double_encode_path = true };
    struct sigv4_scope scope = { sv_make(date, 8), client->region, SV_LIT("healthlake") };
    struct sigv4_credentials cred = { client->key, client->secret, client->token };
    for (size_t i = 0; i < n; i++)
        TRY(add(a, list, h[i].name, h[i].value, e));
    if (client_is_signed(client)) {
        TRY(sigv4_sign(a, &req, sv_make(date, sizeof date), &scope, &cred, &auth, e));
        TRY(add(a, list, SV_LIT("authorization"), auth, e));
    }
    if (call->prefer.len)
        TRY(add(a, list, SV_LIT("prefer"), call->prefer, e));
    return add(a, list, SV_LIT("expect"), SV_NONE, e);
}

/* What to do about what libcurl says, behind its words. */
static const char *what_to_do(CURLcode did)
{
    switch (did) {
    case CURLE_COULDNT_CONNECT:
        return ": start the server, or name its address";
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return ": AWS_CA_BUNDLE=FILE names the authority of its certificate";
    default:
        return "";
    }
}

err_code client_run(struct client *client, const struct client_call *call,
                    struct client_answer *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct curl_slist *list = NULL;
    *out = (struct client_answer){ .body = BUF_INIT(ANSWER_MAX) };
    struct incoming in = { client->easy, out, call->into };
    sv url = arena_fmt(a, "%.*s%.*s", SV_FMT(client->endpoint), SV_FMT(call->target));
    err_code rc = url.ptr ? headers(client, call, a, &list, e) : arena_oom(a, e);
    CURLcode did = CURLE_OK;
    /* as AWS's own clients find their authorities; else the system's */
    const char *ca = getenv("AWS_CA_BUNDLE");
    if (rc == ERR_OK) {
        curl_easy_reset(client->easy);
        curl_easy_setopt(client->easy, CURLOPT_URL, url.ptr);
        curl_easy_setopt(client->easy, CURLOPT_PATH_AS_IS, 1L);
        curl_easy_setopt(client->easy, CURLOPT_CUSTOMREQUEST, call->method);
        curl_easy_setopt(client->easy, CURLOPT_HTTPHEADER, list);
        curl_easy_setopt(client->easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(client->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        if (ca && ca[0])
            curl_easy_setopt(client->easy, CURLOPT_CAINFO, ca);
        curl_easy_setopt(client->easy, CURLOPT_CONNECTTIMEOUT, 10L);
        curl_easy_setopt(client->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(client->easy, CURLOPT_LOW_SPEED_TIME, 120L);
        curl_easy_setopt(client->easy, CURLOPT_TIMEOUT, (long)call->most_s);
        curl_easy_setopt(client->easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(client->easy, CURLOPT_WRITEDATA, &in);
        curl_easy_setopt(client->easy, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(client->easy, CURLOPT_HEADERDATA, &in);
        if (call->body.len || strcmp(call->method, "POST") == 0) {
            curl_easy_setopt(client->easy, CURLOPT_POSTFIELDS,
                             call->body.len ? call->body.ptr : "");
            curl_easy_setopt(client->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        }
        did = curl_easy_perform(client->easy);
        curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &out->status);
    }
    curl_slist_free_all(list);
    if (rc == ERR_OK && did != CURLE_OK)
        rc = ERR(e, ERR_PEER, "no answer from %.*s: %s%s", SV_FMT(client->endpoint),
                 curl_easy_strerror(did), what_to_do(did));
    if (rc != ERR_OK)
        buf_done(&out->body);
    return rc;
}

err_code client_refusal(const struct client_answer *a, struct err *e)
{
    CLEANUP(arena_free) struct arena *ar = arena_new(4u << 20);
    yyjson_doc *doc;
    sv text = SV_NONE, kind = SV_NONE;
    err_code code = a->status == 404                       ? ERR_NOT_FOUND
                    : a->status == 401 || a->status == 403 ? ERR_DENIED
                    : a->status == 409                     ? ERR_CONFLICT
                    : a->status == 429                     ? ERR_THROTTLED
                    : a->status >= 500 || a->status == 0   ? ERR_PEER
                                                           : ERR_INVALID;
    if (json_read(ar, buf_sv(&a->body), REFUSAL_DEPTH, &doc, NULL) == ERR_OK) {
        yyjson_val *root = yyjson_doc_get_root(doc);
        yyjson_val *issue = yyjson_arr_get_first(json_get(root, "issue"));
        kind = json_string(json_get(root, "__type"));
        text = json_string(json_get(root, "message"));
        if (text.ptr == NULL)
            text = json_string(json_get(json_get(issue, "details"), "text"));
    }
    if (text.ptr == NULL)
        return ERR(e, code, "the endpoint answered with status %ld", a->status);
    return ERR(e, code, "%.*s%s%.*s", SV_FMT(kind), kind.len ? ": " : "",
               SV_FMT(sv_head(text, 400)));
}

/* ---- questions ---- */

bool client_poll_again(struct client_poll *poll, err_code rc)
{
    poll->n_lost = rc == ERR_PEER ? poll->n_lost + 1 : 0;
    if (poll->n_lost == POLL_TRIES || (rc != ERR_OK && rc != ERR_PEER && rc != ERR_THROTTLED))
        return false;
    poll->ms = poll->ms == 0 ? POLL_FIRST_MS : poll->ms * 3 / 2;
    if (poll->ms > POLL_MAX_MS)
        poll->ms = POLL_MAX_MS;
    const struct timespec t = { poll->ms / 1000, (long)(poll->ms % 1000) * 1000000 };
    /* a signal ends it: that is meant */
    (void)nanosleep(&t, NULL);
    return true;
}
