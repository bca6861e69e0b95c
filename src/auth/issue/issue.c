/* issue.c - the token endpoint: a form becomes a token, or a refusal in OAuth's words.
 *
 *   form -> who says he calls -> does he fail too often? -> his signature -> not used before
 *   -> scopes, narrowed -> a JWT of ours, for one data store and for five minutes
 *
 * A caller who is refused learns the kind of the fault alone; the log learns which check failed. An
 * id that is not registered gets the same words as a wrong signature. Ids are names, no secrets.
 * Source: SMART App Launch 2.2, "Backend Services"; RFC 6749, 4.4, 5.1, 5.2; RFC 9068. */
#include "auth/issue/issue_private.h"

#include "auth/credentials.h"
#include "base/rng.h"
#include "codec/media_type.h"
#include "codec/uri.h"

#define PARAMS_MAX     32u
#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

struct issue {
    struct client_set *clients;
    struct replay *replay;
    struct failures *failures;
    struct own_keys *keys;
    struct policy *policy;
    struct credential as;
};

/* ---- life ---- */

/* All that scopes may give, and no role: with one a client could write where the role may. */
static err_code policy_make(struct issue *s, struct err *e)
{
    static const char text[] = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\","
                               "\"Action\":\"healthlake:*\",\"Resource\":\"*\"}]}";
    TRY(policy_parse(sv_from(text), &s->policy, e));
    s->as = (struct credential){ .name = SV_LIT("smart-client"), .policy = s->policy };
    return ERR_OK;
}

static err_code fill(struct issue *s, const struct issue_config *cfg, int64_t now_ms, struct err *e)
{
    s->failures = failures_new();
    TRY(policy_make(s, e));
    TRY(client_set_open(cfg->clients, cfg->told, cfg->ctx, &s->clients, e));
    TRY(own_keys_open(cfg->keys, cfg->records, now_ms, &s->keys, e));
    return replay_open(cfg->records, cfg->replay_max ? cfg->replay_max : ISSUE_REPLAY_MAX, now_ms,
                       &s->replay, e);
}

err_code issue_open(const struct issue_config *cfg, int64_t now_ms, struct issue **out,
                    struct err *e)
{
    CLEANUP(issue_close) struct issue *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    TRY(fill(s, cfg, now_ms, e));
    *out = s;
    s = NULL;
    return ERR_OK;
}

void issue_close(struct issue *issue)
{
    if (issue == NULL)
        return;
    replay_free(issue->replay);
    own_keys_close(issue->keys);
    client_set_close(issue->clients);
    failures_free(issue->failures);
    policy_free(issue->policy);
    free(issue);
}

/* ---- the form ---- */

enum param { GRANT_TYPE, SCOPE, ASSERTION, ASSERTION_IS, CLIENT_ID, CLIENT_SECRET, N_PARAMS };
static const char *const names[N_PARAMS] = { "grant_type",       "scope",
                                             "client_assertion", "client_assertion_type",
                                             "client_id",        "client_secret" };

struct asked { /* one request under way */
    const struct issue_ask *ask;
    struct arena *a;
    struct issue_answer *out;
    sv param[N_PARAMS];
    struct assertion as;
    const struct client *client; /* whom the assertion names; NULL: nobody who is registered */
};

/* Always false. */
static bool refuse(struct asked *r, unsigned status, const char *error, const char *description,
                   const char *why)
{
    r->out->status = status;
    r->out->error = error;
    r->out->description = description;
    r->out->why = why;
    return false;
}

static bool malformed(struct asked *r, const char *description)
{
    return refuse(r, 400, "invalid_request", description, description);
}

static bool not_proven(struct asked *r, const char *why)
{
    return refuse(r, 401, "invalid_client", "The client's assertion is not accepted", why);
}

static bool broken(struct asked *r, const char *why)
{
    r->out->retry_after_s = 1;
    return refuse(r, 503, "temporarily_unavailable", "No token can be given now; try again later",
                  why);
}

static bool decode(struct asked *r, sv text, sv *out)
{
    CLEANUP_BUF struct buf b = BUF_INIT(ISSUE_FORM_MAX);
    if (uri_decode(text, true, &b, NULL) != ERR_OK)
        return false;
    *out = b.len ? arena_sv(r->a, buf_sv(&b)) : SV_LIT("");
    return out->ptr != NULL;
}

static bool form_read(struct asked *r)
{
    struct uri_pair *pairs;
    size_t n;
    sv *said = arena_calloc(r->a, PARAMS_MAX, sizeof *said), value;
    if (!media_type_is(r->ask->content_type, "application/x-www-form-urlencoded"))
        return malformed(r, "Content-Type must be application/x-www-form-urlencoded");
    if (r->ask->query.len)
        return malformed(r, "Parameters stand in the body alone, not in the query");
    if (said == NULL || uri_query_split(r->a, r->ask->form, PARAMS_MAX, &pairs, &n, NULL) != ERR_OK)
        return malformed(r, "The form has too many parameters");
    for (size_t i = 0; i < n; i++) {
        if (!decode(r, pairs[i].name, &said[i]) || !decode(r, pairs[i].value, &value))
            return malformed(r, "The form has a broken escape");
        for (size_t k = 0; k < i; k++)
            if (sv_eq(said[k], said[i]))
                return malformed(r, "A parameter stands twice");
        for (size_t k = 0; k < N_PARAMS; k++)
            /* one without a value is as if it were not there. Source: RFC 6749, 3.2 */
            if (value.len && sv_eq_cstr(said[i], names[k]))
                r->param[k] = value;
    }
    return true;
}

static bool form_check(struct asked *r)
{
    if (r->param[GRANT_TYPE].len == 0)
        return malformed(r, "grant_type is missing; it is client_credentials");
    if (!sv_eq_cstr(r->param[GRANT_TYPE], "client_credentials"))
        return refuse(r, 400, "unsupported_grant_type", "grant_type is client_credentials here",
                      "grant_type");
    if (r->ask->identified || r->param[CLIENT_SECRET].ptr)
        return malformed(r, "A client proves who it is by client_assertion alone: leave out "
                            "Authorization and client_secret");
    if (!sv_eq_cstr(r->param[ASSERTION_IS], ASSERTION_TYPE))
        return malformed(r, "client_assertion_type must be " ASSERTION_TYPE);
    if (r->param[ASSERTION].len == 0)
        return malformed(r, "client_assertion is missing");
    if (r->param[SCOPE].len == 0)
        return malformed(r, "scope is missing; such as system/*.rs");
    return true;
}

/* ---- the client ---- */

static sv url_of(struct asked *r, const char *path)
{
    return ARENA_JOIN(r->a, r->ask->base, SV_LIT("/"), sv_from(path));
}

static bool check_client(struct issue *s, struct asked *r, bool *fails)
{
    struct err why = { 0 };
    *fails = true;
    if (r->client == NULL)
        return not_proven(r, "no such client");
    if (r->param[CLIENT_ID].ptr && !sv_eq(r->param[CLIENT_ID], r->client->id))
        return not_proven(r, "client_id is another");
    err_code rc = assertion_check(&r->as, r->client, url_of(r, ISSUE_PATH), r->ask->now_ms,
                                  r->ask->mono_us, &why);
    *fails = rc != ERR_UNAVAILABLE;
    if (rc != ERR_OK) {
        const char *said = arena_str(r->a, sv_from(why.msg));
        return not_proven(r, said ? said : "assertion");
    }
    /* it is the client; what it may not is told as if it were nobody */
    r->out->proven = true;
    if (!client_may(r->client, r->ask->datastore_id, r->ask->now_ms))
        return not_proven(r, "the client is disabled, has expired, or is for other data stores");
    rc = replay_take(s->replay, r->client->id, r->as.token_id,
                     (int64_t)(r->as.until_s * 1000) + ASSERTION_LEEWAY_S * 1000LL, r->ask->now_ms,
                     &why);
    if (rc == ERR_EXISTS)
        return not_proven(r, "the assertion was used before");
    *fails = false;
    if (rc == ERR_THROTTLED)
        return broken(r, "the table of used assertions is full");
    return rc == ERR_OK || broken(r, "that the assertion is used cannot be kept");
}

static bool authenticate(struct issue *s, struct asked *r, const struct clients *clients)
{
    struct err why = { 0 };
    bool fails = true;
    err_code rc = assertion_read(r->a, r->param[ASSERTION], r->ask->now_ms, &r->as, &why);
    if (rc == ERR_OK)
        r->client = clients_find(clients, r->as.issuer);
    if (r->client)
        r->out->client_id = arena_sv(r->a, r->client->id);
    /* whether it is registered makes no difference to what is counted, and so to what is told */
    const sv id = rc == ERR_OK ? r->as.issuer : SV_LIT("");
    unsigned wait_s = failures_wait_s(s->failures, id, r->ask->peer, r->ask->mono_us);
    if (wait_s) {
        r->out->retry_after_s = wait_s;
        return refuse(r, 429, "temporarily_unavailable",
                      "Too many assertions of this client and address were not accepted; try "
                      "again later",
                      "too many failures");
    }
    bool good;
    if (rc != ERR_OK) {
        const char *said = arena_str(r->a, sv_from(why.msg));
        good = not_proven(r, said ? said : "assertion");
    } else {
        good = check_client(s, r, &fails);
    }
    if (!good && fails)
        failures_add(s->failures, id, r->ask->peer, r->ask->mono_us);
    return good;
}

/* ---- the token ---- */

static err_code claims_write(struct asked *r, struct buf *out, struct err *e)
{
    struct json_writer w;
    char id[37];
    const int64_t now_s = r->ask->now_ms / 1000;
    sv issuer = url_of(r, ISSUE_NAME), audience = url_of(r, "");
    if (issuer.ptr == NULL || audience.ptr == NULL)
        return arena_oom(r->a, e);
    rng_uuid(id);
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "iss", issuer);
    json_kv_str(&w, "aud", audience);
    json_kv_str(&w, "sub", r->client->id);
    json_kv_str(&w, "client_id", r->client->id);
    json_kv_str(&w, "scope", r->out->scope);
    json_kv_i64(&w, "iat", now_s);
    json_kv_i64(&w, "nbf", now_s);
    json_kv_i64(&w, "exp", now_s + ISSUE_TOKEN_S);
    json_kv_str(&w, "jti", sv_from(id));
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static bool give(struct issue *s, struct asked *r)
{
    CLEANUP_BUF struct buf claims = BUF_INIT(JOSE_TOKEN_MAX);
    struct err why = { 0 };
    err_code rc = narrow(r->a, r->param[SCOPE], r->client, r->ask->v2, &r->out->scope, &why);
    if (rc == ERR_TOO_LARGE)
        return refuse(r, 400, "invalid_scope", "Too many scopes, or too long ones; ask for fewer",
                      "scopes too large");
    if (rc == ERR_OK && r->out->scope.len == 0)
        return refuse(r, 400, "invalid_scope",
                      "Nothing of the scope is within what the client is registered for", "scope");
    if (rc == ERR_OK)
        rc = claims_write(r, &claims, &why);
    if (rc == ERR_OK)
        rc = own_keys_sign(s->keys, r->a, buf_sv(&claims), r->ask->now_ms, &r->out->token, &why);
    if (rc == ERR_OK && r->out->token.len > JOSE_TOKEN_MAX)
        return refuse(r, 400, "invalid_scope", "Too many scopes, or too long ones; ask for fewer",
                      "scopes too large");
    if (rc != ERR_OK)
        return broken(r, "the token cannot be signed");
    r->out->status = 200;
    return true;
}

void issue_token(struct issue *issue, struct arena *a, const struct issue_ask *ask,
                 struct issue_answer *out)
{
    struct asked r = { .ask = ask, .a = a, .out = out };
    *out = (struct issue_answer){ 0 };
    struct client_list *list = client_set_take(issue->clients, ask->mono_us);
    bool given = form_read(&r) && form_check(&r) && authenticate(issue, &r, client_list_of(list)) &&
                 give(issue, &r);
    if (!given)
        out->token = SV_NONE;
    client_set_give(list);
}

/* ---- for others ---- */

err_code issue_jwks(struct issue *issue, struct arena *a, int64_t now_ms, sv *out, struct err *e)
{
    return own_keys_jwks(issue->keys, a, now_ms, out, e);
}

struct key_ring *issue_ring(struct issue *issue, int64_t now_ms)
{
    return own_keys_ring(issue->keys, now_ms);
}

bool issue_is_good(struct issue *issue, sv client_id, sv datastore_id, int64_t now_ms,
                   uint64_t mono_us)
{
    struct client_list *list = client_set_take(issue->clients, mono_us);
    const struct client *client = clients_find(client_list_of(list), client_id);
    bool good = client && client_may(client, datastore_id, now_ms);
    client_set_give(list);
    return good;
}

const struct credential *issue_credential(const struct issue *issue)
{
    return &issue->as;
}
