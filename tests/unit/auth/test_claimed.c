/* Where a request may have its token. */
#include "test.h"

#include "auth/bearer/bearer.h"

static struct http_request request(struct http_header h[2], const char *authorization,
                                   const char *query, const char *form)
{
    size_t n = 0;
    if (authorization)
        h[n++] = (struct http_header){ SV_LIT("authorization"), sv_from(authorization) };
    if (form)
        h[n++] = (struct http_header){ SV_LIT("Content-Type"),
                                       SV_LIT("application/x-www-form-urlencoded") };
    return (struct http_request){
        .headers = h, .n_headers = n, .query = sv_from(query), .body = sv_from(form)
    };
}

TEST(claimed, a_token_is_taken_from_the_header_alone)
{
    (void)state;
    static const struct {
        const char *authorization, *query, *form;
        err_code want;
        const char *token;
    } all[] = {
        { NULL, "", NULL, ERR_OK, NULL },
        { "AWS4-HMAC-SHA256 Credential=a", "a=b", NULL, ERR_OK, NULL },
        { "Bearer abc.def-_~+/==", "", NULL, ERR_OK, "abc.def-_~+/==" },
        { "bEARER abc", "", NULL, ERR_OK, "abc" },
        { "Bearer   abc  ", "_id=1", "_id=2", ERR_OK, "abc" },
        { "Bearerabc", "", NULL, ERR_OK, NULL },
        { "Bearer", "", NULL, ERR_TOKEN_REQUEST, NULL },
        { "Bearer ", "", NULL, ERR_TOKEN_REQUEST, NULL },
        { "Bearer a b", "", NULL, ERR_TOKEN_REQUEST, NULL },
        { "Bearer a, Bearer b", "", NULL, ERR_TOKEN_REQUEST, NULL },
        { "Bearer a\"b", "", NULL, ERR_AUTH_SIGNATURE, NULL },
        { "Bearer ==", "", NULL, ERR_AUTH_SIGNATURE, NULL },
        { "Bearer a=b", "", NULL, ERR_AUTH_SIGNATURE, NULL },
        { NULL, "access_token=a", NULL, ERR_TOKEN_REQUEST, NULL },
        { "Bearer a", "x=1&access%5ftoken=a", NULL, ERR_TOKEN_REQUEST, NULL },
        { "Bearer a", "", "x=1&access_token=a", ERR_TOKEN_REQUEST, NULL },
        { "Bearer a", "access_tokens=a&xaccess_token=b", NULL, ERR_OK, "a" },
        { "Bearer a", "X-Amz-Signature=a", NULL, ERR_TOKEN_REQUEST, NULL },
        { "Bearer a", "X-Amz-Algorithm=a", NULL, ERR_TOKEN_REQUEST, NULL },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct http_header h[2];
        struct http_request req = request(h, all[i].authorization, all[i].query, all[i].form);
        sv token = SV_LIT("untouched");
        struct err e = { 0 };
        err_code rc = bearer_claimed(&req, true, &token, &e);
        if (rc != all[i].want)
            fail_msg("%s ? %s: %s", all[i].authorization, all[i].query, err_code_name(rc));
        if (rc == ERR_OK)
            assert_sv(token, sv_from(all[i].token));
    }
}

/* The body is not there when a head is looked at. */
TEST(claimed, a_form_is_looked_at_when_it_is_whole)
{
    (void)state;
    struct http_header h[2];
    struct http_request req = request(h, "Bearer a", "", "access_token=b");
    sv token;
    OK(bearer_claimed(&req, false, &token, e));
    FAILS(ERR_TOKEN_REQUEST, bearer_claimed(&req, true, &token, e));
}

TEST(claimed, a_token_has_at_most_8_kib)
{
    (void)state;
    static char said[7 + (8 << 10) + 2];
    struct http_header h[2];
    sv token;
    (void)snprintf(said, sizeof said, "Bearer %0*d", 8 << 10, 1);
    struct http_request req = request(h, said, "", NULL);
    OK(bearer_claimed(&req, true, &token, e));
    (void)snprintf(said, sizeof said, "Bearer %0*d", (8 << 10) + 1, 1);
    req = request(h, said, "", NULL);
    FAILS(ERR_AUTH_SIGNATURE, bearer_claimed(&req, true, &token, e));
}

TEST_MAIN(T(claimed, a_token_is_taken_from_the_header_alone),
          T(claimed, a_form_is_looked_at_when_it_is_whole), T(claimed, a_token_has_at_most_8_kib))
