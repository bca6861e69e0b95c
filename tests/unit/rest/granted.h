/* granted.h - requests that come with a token: the test says what its scopes are.
 *
 * Who calls is asked of auth_check(), which is linked as __wrap_auth_check() here (meson.build), so
 * that no token has to be signed. */
#pragma once
#include "rest/entries.h"

#include "auth/auth.h"

static struct {
    const char *scopes;  /* NULL: signed with SigV4 */
    const char *patient; /* NULL: none */
    const char *client;
    const char *subject;
} token;

err_code __real_auth_check(struct auth *auth, const struct http_request *req, int64_t now_ms,
                           struct auth_caller *out, struct err *e);
err_code __wrap_auth_check(struct auth *auth, const struct http_request *req, int64_t now_ms,
                           struct auth_caller *out, struct err *e);

err_code __wrap_auth_check(struct auth *auth, const struct http_request *req, int64_t now_ms,
                           struct auth_caller *out, struct err *e)
{
    TRY(__real_auth_check(auth, req, now_ms, out, e));
    if (token.scopes == NULL)
        return ERR_OK;
    struct smart_grant *g = ARENA_NEW(req->arena, struct smart_grant);
    assert_non_null(g);
    g->patient = token.patient ? sv_from(token.patient) : SV_NONE;
    g->issuer = SV_LIT("https://issuer.example");
    g->client_id = sv_from(token.client ? token.client : "app");
    g->subject = sv_from(token.subject ? token.subject : "user");
    TRY(smart_scopes_read(arena_sv(req->arena, sv_from(token.scopes)), req->arena, &g->scopes,
                          &g->n_scopes, e));
    out->grant = g;
    return ERR_OK;
}

static inline void no_token(void)
{
    memset(&token, 0, sizeof token);
}
static inline void with_token(const char *scopes, const char *patient)
{
    no_token();
    token.scopes = scopes;
    token.patient = patient;
}
