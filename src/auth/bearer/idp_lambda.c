/* idp_lambda.c - HealthLake's way: a function of the operator says what a token is.
 *
 *   { "datastoreEndpoint", "operationName", "bearerToken" }
 *   -> { "authPayload": { "isAuthorized", "aud", "nbf", "exp", "scope", ... }, "iamRoleARN" }
 *
 * The function stands behind a URL that takes the event as its body. So does the Invoke API of
 * Lambda's emulators, which tells a failure of the function by a header. An answer without
 * authPayload refuses the token; HealthLake's sample answers {} then.
 * Source: Amazon HealthLake, "Token validation using AWS Lambda". */
#include "auth/bearer/providers_private.h"

static err_code ask(const struct lambda *lambda, sv token, sv operation, sv endpoint,
                    struct fetch_answer *out, struct err *e)
{
    CLEANUP_BUF struct buf event = BUF_INIT(64u << 10), with_slash = BUF_INIT(4096);
    struct json_writer w;
    TRY(buf_add(&with_slash, endpoint, e));
    TRY(buf_add_char(&with_slash, '/', e));
    json_writer_init(&w, &event);
    json_obj(&w);
    json_kv_str(&w, "datastoreEndpoint", buf_sv(&with_slash));
    json_kv_str(&w, "operationName", operation);
    json_kv_str(&w, "bearerToken", token);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    const struct fetch_request post = { .content_type = "application/json",
                                        .body = buf_sv(&event) };
    return fetch(lambda->asks, &post, out, e);
}

/* The documentation's text says a boolean, its example has a string. */
static bool says_true(yyjson_val *v)
{
    return yyjson_is_true(v) || sv_eq_cstr(json_string(v), "true");
}

static err_code read_answer(const struct providers *providers, struct arena *a,
                            const struct fetch_answer *an, const struct claims_wanted *want,
                            struct token_facts *out, const struct role **role, struct err *e)
{
    yyjson_doc *doc;
    if (an->status != 200 || an->function_error)
        return ERR(e, ERR_UNAVAILABLE, "the function failed (status %ld)", an->status);
    sv text = arena_sv(a, buf_sv(&an->body));
    if (text.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, text, JOSE_DEPTH, &doc, NULL) != ERR_OK)
        return ERR(e, ERR_UNAVAILABLE, "the function's answer is no JSON");
    yyjson_val *root = yyjson_doc_get_root(doc), *payload = json_get(root, "authPayload");
    if (!yyjson_is_obj(root))
        return ERR(e, ERR_UNAVAILABLE, "the function's answer is no object");
    if (payload == NULL)
        return claims_refused(e, "function: no authPayload");
    if (!says_true(json_get(payload, "isAuthorized")))
        return claims_refused(e, "function: isAuthorized");
    const struct role *as = providers_role(providers, json_string(json_get(root, "iamRoleARN")));
    if (as == NULL)
        return ERR(e, ERR_UNAVAILABLE, "the function's iamRoleARN has no [role] section");
    TRY(claims_read(a, payload, want, out, e));
    *role = as;
    return ERR_OK;
}

err_code idp_lambda_ask(const struct lambda *lambda, const struct providers *providers,
                        struct arena *a, sv token, sv operation, const struct claims_wanted *want,
                        struct token_facts *out, const struct role **role, struct err *e)
{
    struct fetch_answer an;
    err_code rc = ask(lambda, token, operation, want->endpoint, &an, e);
    if (rc == ERR_OK) {
        rc = read_answer(providers, a, &an, want, out, role, e);
        fetch_answer_done(&an);
    }
    fetch_note(lambda->asks, rc != ERR_UNAVAILABLE);
    return rc;
}
