/* trail_who.c - who asked, by which right, and over which TLS.
 *
 * A statement of a policy is told by its number and its Sid. A scope is told without its query,
 * whose values may be about a patient; the digest covers the scopes with their queries. */
#include "service/trail_private.h"

#include "codec/hash.h"

#define HOST_MAX   255u
#define SCOPES_MAX 20u /* that are told one by one */

/* ---- who ---- */

/* The key that a request claims, when it is one of ours: an unknown one may be anything, a secret
 * in the wrong place too. */
static const struct credential *claimed(const struct service *service,
                                        const struct http_request *req)
{
    static const char *const marks[] = { "Credential=", "X-Amz-Credential=" };
    const sv texts[] = { http_header_get(req, "Authorization"), req->query };
    for (size_t i = 0; i < 2; i++) {
        const char *at =
            texts[i].len ? memmem(texts[i].ptr, texts[i].len, marks[i], strlen(marks[i])) : NULL;
        if (at == NULL)
            continue;
        sv key = sv_tail(texts[i], (size_t)(at - texts[i].ptr) + strlen(marks[i]));
        size_t n = 0;
        while (n < key.len && key.ptr[n] != '/' && key.ptr[n] != '%' && key.ptr[n] != ',')
            n++;
        const struct credential *found = auth_find(service->cfg.auth, sv_head(key, n), req->arena);
        if (found)
            return found;
    }
    return NULL;
}

/* A client of an identity provider, and the user whom it acts for. */
static void token_identity(struct trail_out *o, const struct trail *trail)
{
    const struct smart_grant *grant = trail->caller.grant;
    PUT(o, ",\"userIdentity\":{\"type\":\"WebIdentityUser\"");
    PUT_TEXT(o, "principalId",
             ARENA_JOIN(trail->req->arena, grant->issuer, SV_LIT("|"), grant->client_id,
                        SV_LIT("|"), grant->subject));
    PUT_TEXT(o, "identityProvider", grant->issuer);
    PUT_TEXT(o, "userName", grant->subject);
    PUT_TEXT(o, "arn", trail->caller.arn);
    PUT_PLAIN(o, "accountId", trail->service->cfg.account_id);
    PUT(o, "}");
}

void trail_identity(struct trail_out *o, const struct trail *trail)
{
    if (trail->caller.grant) {
        token_identity(o, trail);
        return;
    }
    const struct service *service = trail->service;
    const bool known = trail->caller.arn.len != 0;
    const struct credential *credential =
        known ? trail->caller.credential : claimed(service, trail->req);
    PUT(o, ",\"userIdentity\":{\"type\":\"");
    put(o, !known ? SV_LIT("Unknown") : credential ? SV_LIT("IAMUser") : SV_LIT("Anonymous"));
    PUT(o, "\"");
    if (known) {
        PUT_PLAIN(o, "principalId", credential ? credential->access_key_id : SV_LIT("anonymous"));
        PUT_TEXT(o, "arn", trail->caller.arn);
    }
    PUT_PLAIN(o, "accountId", service->cfg.account_id);
    if (credential)
        PUT_PLAIN(o, "accessKeyId", credential->access_key_id);
    if (known && credential)
        PUT_TEXT(o, "userName", credential->name);
    PUT(o, "}");
}

/* ---- by which right ---- */

static void statement(struct trail_out *o, const struct auth_caller *caller)
{
    const struct credential *c = caller->credential;
    if (c == NULL || c->policy_name.len == 0)
        return;
    PUT_TEXT(o, "policyName", c->policy_name);
    if (caller->by.statement) {
        PUT(o, ",\"policyStatement\":");
        trail_put_u64(o, caller->by.statement);
    }
    if (caller->by.sid.len)
        PUT_TEXT(o, "policySid", caller->by.sid);
}

static void scope(struct trail_out *o, const struct smart_scope *s)
{
    static const char *const levels[] = { "patient/", "user/", "system/" };
    PUT(o, "\"");
    put(o, sv_from(levels[s->level]));
    put(o, s->type.len ? s->type : SV_LIT("*"));
    PUT(o, ".");
    for (unsigned k = 0; k < SMART_N_LETTERS; k++)
        if (s->letters & 1u << k)
            put(o, sv_make(&"cruds"[k], 1));
    put(o, s->n_pairs ? SV_LIT("?\"") : SV_LIT("\""));
}

/* Of all scopes, with their queries. */
static void scopes_digest(struct trail_out *o, const struct smart_grant *grant)
{
    CLEANUP_BUF struct buf all = BUF_INIT(8 * (size_t)SMART_TEXT_MAX);
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    err_code rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < grant->n_scopes; i++) {
        if (i)
            rc = buf_add_char(&all, ' ', o->e);
        if (rc == ERR_OK)
            rc = smart_scope_write(&grant->scopes[i], &all, o->e);
    }
    if (rc != ERR_OK) {
        o->rc = o->rc == ERR_OK ? rc : o->rc;
        return;
    }
    hash_sha256_of(buf_sv(&all), digest);
    hash_hex(digest, sizeof digest, hex);
    PUT_PLAIN(o, "scopesSha256", sv_make(hex, sizeof hex));
}

/* Those that give something of what was asked for. */
static void scopes_asked(struct trail_out *o, const struct smart_grant *grant,
                         const struct trail_facts *f)
{
    unsigned n = 0;
    if (f->letters == 0 || f->rc == ERR_DENIED)
        return;
    PUT(o, ",\"scopes\":[");
    for (size_t i = 0; i < grant->n_scopes && n < SCOPES_MAX; i++) {
        const struct smart_scope *s = &grant->scopes[i];
        if ((s->letters & f->letters) == 0 ||
            (s->type.len && f->scope_type && !sv_eq_cstr(s->type, f->scope_type)))
            continue;
        if (n++)
            PUT(o, ",");
        scope(o, s);
    }
    PUT(o, "]");
}

void trail_rights(struct trail_out *o, const struct trail *trail, const struct trail_facts *f)
{
    const struct smart_grant *grant = trail->caller.grant;
    statement(o, &trail->caller);
    if (grant == NULL)
        return;
    scopes_digest(o, grant);
    scopes_asked(o, grant, f);
    if (grant->token_id.len)
        PUT_TEXT(o, "tokenId", grant->token_id);
    if (grant->patient.len)
        PUT_TEXT(o, "patient", grant->patient);
}

/* ---- over which TLS ---- */

/* A name or an address, and a port: another text may be anything. */
static bool is_host(sv text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!(text.ptr[i] >= '0' && text.ptr[i] <= '9') &&
            !(sv_lower(text.ptr[i]) >= 'a' && sv_lower(text.ptr[i]) <= 'z') &&
            !strchr(".-_:[]", text.ptr[i]))
            return false;
    return text.len > 0 && text.len <= HOST_MAX;
}

void trail_tls(struct trail_out *o, const struct http_request *req)
{
    sv host = http_header_get(req, "Host");
    if (!req->secure)
        return;
    PUT(o, ",\"tlsDetails\":{\"tlsVersion\":\"");
    put(o, req->tls);
    PUT(o, "\"");
    PUT_PLAIN(o, "cipherSuite", req->cipher);
    if (is_host(host))
        PUT_PLAIN(o, "clientProvidedHostHeader", host);
    PUT(o, "}");
}
