/* Tokens become callers: what is checked, what is kept and for how long, and what happens when a
 * provider is out of order. The provider is tests/peers/hostile_s3.py, which answers what it is
 * told; the clock is an argument. */
#include "../../peers/hostile.h"
#include "test.h"

#include "auth/bearer/bearer.h"
#include "auth/bearer/providers_private.h"
#include "auth/smart.h"
#include "base/file.h"
#include "codec/jose/jose.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <pthread.h>

#define ROLE     "arn:aws:iam::000000000000:role/smart"
#define LAMBDA   "arn:aws:lambda:us-east-1:000000000000:function:idp"
#define ID       "0123456789abcdef0123456789abcdef"
#define ENDPOINT "http://127.0.0.1:8080/datastore/" ID "/r4"
#define NOW_S    1800000000
#define SECOND   1000000u

static char dir[64];
static struct arena *a;
static struct bearer *bearer;
static struct jose_signer *signer[2];
static struct bearer_question q;

/* As long as ever an answer takes, where it is not the time that is tested: on a busy machine some
 * take longer than a provider has. */
static bool times_count;
struct fetcher *__real_fetcher_new(sv url, unsigned timeout_ms);
struct fetcher *__wrap_fetcher_new(sv url, unsigned timeout_ms);
struct fetcher *__wrap_fetcher_new(sv url, unsigned timeout_ms)
{
    return __real_fetcher_new(url, times_count ? timeout_ms : NEVER_MS);
}

static void put(const char *name, const char *text)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    OK(file_write_atomic(path, sv_from(text), e));
}

static struct jose_signer *signer_new(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-384");
    BIO *to = BIO_new(BIO_s_mem());
    char *text;
    struct jose_signer *s;
    assert_int_equal(PEM_write_bio_PrivateKey(to, key, NULL, NULL, 0, NULL, NULL), 1);
    long n = BIO_get_mem_data(to, &text);
    OK(jose_signer_read(sv_make(text, (size_t)n), JOSE_ES384, &s, e));
    BIO_free(to);
    EVP_PKEY_free(key);
    return s;
}

static void start(void)
{
    char text[2000], path[300];
    struct providers *p;
    (void)snprintf(text, sizeof text,
                   "[issuer https://as.example]\njwks_uri = %s/jwks\nrole = " ROLE "\n"
                   "[issuer https://opaque.example]\nintrospection_endpoint = %s/introspect\n"
                   "client_id = my-id\nclient_secret = s:+/\nrole = " ROLE "\n"
                   "[issuer https://else.example]\njwks_uri = %s/jwks\nrole = " ROLE "\n"
                   "audience = https://one.example/ urn:two\npatient_claim = ext.patient\n"
                   "algorithms = RS256\n"
                   "[lambda " LAMBDA "]\nurl = %s/function\n"
                   "[role " ROLE "]\npolicy = p.json\n",
                   bad_url, bad_url, bad_url, bad_url);
    put("idp", text);
    (void)snprintf(path, sizeof path, "%s/idp", dir);
    bearer_free(bearer);
    OK(providers_load(path, &p, e));
    bearer = bearer_new(&p, SV_LIT("000000000000"));
    q = (struct bearer_question){ .datastore_id = SV_LIT(ID),
                                  .endpoint = SV_LIT(ENDPOINT),
                                  .issuer = SV_LIT("https://as.example"),
                                  .v2 = true,
                                  .operation = SV_LIT("ReadResource"),
                                  .now_ms = NOW_S * 1000ll,
                                  .mono_us = 1000 * (uint64_t)SECOND };
}

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, TEST_TMP "/fhirlake-bearer-XXXXXX");
    assert_non_null(mkdtemp(dir));
    put("p.json", "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\","
                  "\"Action\":\"healthlake:Read*\",\"Resource\":\"*\"}]}");
    a = arena_new(256u << 20);
    signer[0] = signer_new();
    signer[1] = signer_new();
    hostile_start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bearer_free(bearer);
    jose_signer_free(signer[0]);
    jose_signer_free(signer[1]);
    arena_free(a);
    peer_stop(&bad);
    return file_remove_tree(dir, NULL);
}

#define NEED_PEER()     \
    do {                \
        if (!has_bad) { \
            skip();     \
            return;     \
        }               \
        start();        \
    } while (0)

/* ---- what the provider answers ---- */

static void add_text(struct buf *b, const char *name, sv text)
{
    struct json_writer w;
    OK(buf_add_fmt(b, e, ",\"%s\":", name));
    json_writer_init(&w, b);
    json_str(&w, text);
    OK(json_writer_end(&w, e));
}

struct step {
    int status;
    const char *headers; /* members of an object */
    sv body;
};
static void will_answer(const struct step *steps, size_t n)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1u << 20);
    OK(buf_add(&b, SV_LIT("["), e));
    for (size_t i = 0; i < n; i++) {
        OK(buf_add_fmt(&b, e, "%s{\"do\":\"answer\",\"status\":%d,\"headers\":{%s}", i ? "," : "",
                       steps[i].status, steps[i].headers ? steps[i].headers : ""));
        add_text(&b, "body", steps[i].body);
        OK(buf_add(&b, SV_LIT("}"), e));
    }
    OK(buf_add(&b, SV_LIT("]"), e));
    OK(buf_add_char(&b, 0, e));
    script(b.ptr);
}
#define WILL(...)                                     \
    will_answer((const struct step[]){ __VA_ARGS__ }, \
                sizeof((const struct step[]){ __VA_ARGS__ }) / sizeof(struct step))

static sv jwks(unsigned n)
{
    sv one, two;
    OK(jose_signer_public(signer[0], a, &one, e));
    OK(jose_signer_public(signer[1], a, &two, e));
    return n == 1 ? ARENA_JOIN(a, SV_LIT("{\"keys\":["), one, SV_LIT("]}"))
                  : ARENA_JOIN(a, SV_LIT("{\"keys\":["), one, SV_LIT(","), two, SV_LIT("]}"));
}

/* How often it was asked since. */
static size_t n_asked(void)
{
    uint64_t left;
    return yyjson_arr_size(log_of(a, &left));
}

/* ---- tokens ---- */

#define BASIC                                                                      \
    "\"iss\":\"https://as.example\",\"aud\":\"" ENDPOINT "/\",\"exp\":1800000300," \
    "\"client_id\":\"app\",\"sub\":\"u1\",\"jti\":\"t1\""
#define GOOD BASIC ",\"scope\":\"openid patient/Observation.rs\",\"patient\":\"p1\""

static sv token_of(unsigned by, const char *members)
{
    sv token, claims = arena_fmt(a, "{%s}", members);
    OK(jose_sign(signer[by], a, "at+jwt", claims, &token, e));
    return token;
}

static err_code check(sv token, struct auth_caller *out, struct err *e)
{
    struct auth_caller caller = { 0 };
    q.token = token;
    TRY(bearer_check(bearer, a, &q, &caller, e));
    if (out)
        *out = caller;
    return ERR_OK;
}

TEST(bearer, a_good_token_gives_a_caller_under_the_role)
{
    (void)state;
    NEED_PEER();
    struct auth_caller c, again;
    WILL({ 200, NULL, jwks(2) });
    OK(check(token_of(0, GOOD ",\"fhirUser\":\"" ENDPOINT "/Practitioner/d1\""), &c, e));
    assert_sv(c.credential->name, SV_LIT("smart"));
    assert_int_equal(credential_decide(c.credential, SV_LIT("healthlake:ReadResource"),
                                       SV_LIT("arn:aws:healthlake:us-east-1:1:datastore/fhir/x"),
                                       NULL),
                     POLICY_ALLOWED);
    assert_int_equal(credential_decide(c.credential, SV_LIT("healthlake:DeleteResource"),
                                       SV_LIT("arn:aws:healthlake:us-east-1:1:datastore/fhir/x"),
                                       NULL),
                     POLICY_NOT_ALLOWED);
    assert_int_equal(c.grant->n_scopes, 1);
    assert_sv(c.grant->scopes[0].type, SV_LIT("Observation"));
    assert_sv(c.grant->patient, SV_LIT("p1"));
    assert_sv(c.grant->user_type, SV_LIT("Practitioner"));
    assert_sv(c.grant->user_id, SV_LIT("d1"));
    assert_sv(c.grant->issuer, SV_LIT("https://as.example"));
    assert_sv(c.grant->client_id, SV_LIT("app"));
    assert_sv(c.grant->subject, SV_LIT("u1"));
    assert_sv(c.grant->token_id, SV_LIT("t1"));
    assert_true(sv_starts(c.arn, SV_LIT("arn:aws:sts::000000000000:assumed-role/smart/")));
    assert_true(sv_starts(c.access_key_id, SV_LIT("bearer:")));
    /* another token of his is the same caller; somebody else is not */
    OK(check(token_of(1, GOOD), &again, e));
    assert_sv(c.arn, again.arn);
    OK(check(token_of(1, BASIC ",\"azp\":\"x\",\"scope\":\"system/*.read\",\"sub2\":1"), &again,
             e));
    assert_sv(c.arn, again.arn);
    OK(check(token_of(1, "\"iss\":\"https://as.example\",\"aud\":\"" ENDPOINT
                         "\",\"exp\":1800000300,\"cid\":\"app2\",\"sub\":\"u1\","
                         "\"scp\":[\"system/*.read\"]"),
             &again, e));
    assert_false(sv_eq(c.arn, again.arn));
    assert_int_equal(n_asked(), 1);
}

TEST(bearer, claims_are_held_against_what_they_must_say)
{
    (void)state;
    static const struct {
        const char *members;
        err_code want;
        const char *context;
    } all[] = {
        { GOOD, ERR_OK, "" },
        { "\"aud\":\"" ENDPOINT "\",\"exp\":1800000300,\"scope\":\"system/*.rs\"",
          ERR_AUTH_SIGNATURE, "iss" },
        { "\"iss\":\"https://as.example/\",\"aud\":\"" ENDPOINT
          "\",\"exp\":1800000300,\"scope\":\"system/*.rs\"",
          ERR_AUTH_SIGNATURE, "iss" },
#define ISS "\"iss\":\"https://as.example\","
#define S   "\"scope\":\"system/*.rs\""
        { ISS "\"exp\":1800000300," S, ERR_AUTH_SIGNATURE, "aud" },
        { ISS "\"exp\":1800000300,\"aud\":[]," S, ERR_AUTH_SIGNATURE, "aud" },
        { ISS "\"exp\":1800000300,\"aud\":[\"x\",\"" ENDPOINT "\"]," S, ERR_OK, "" },
        { ISS "\"exp\":1800000300,\"aud\":\"" ENDPOINT "//\"," S, ERR_AUTH_SIGNATURE, "aud" },
        { ISS "\"exp\":1800000300,\"aud\":\"" ENDPOINT "/Patient\"," S, ERR_AUTH_SIGNATURE, "aud" },
        { ISS "\"exp\":1800000300,\"aud\":\"\"," S, ERR_AUTH_SIGNATURE, "aud" },
#define AUD "\"aud\":\"" ENDPOINT "\","
        { ISS AUD S, ERR_AUTH_SIGNATURE, "exp" },
        { ISS AUD S ",\"exp\":\"1800000300\"", ERR_AUTH_SIGNATURE, "exp" },
        { ISS AUD S ",\"exp\":1e300", ERR_AUTH_SIGNATURE, "exp" },
        { ISS AUD S ",\"exp\":-1", ERR_AUTH_SIGNATURE, "exp" },
        { ISS AUD S ",\"exp\":1800000300.5", ERR_OK, "" },
        /* a minute of leeway */
        { ISS AUD S ",\"exp\":1799999941", ERR_OK, "" },
        { ISS AUD S ",\"exp\":1799999940", ERR_AUTH_EXPIRED, "exp" },
#define EXP "\"exp\":1800000300,"
        { ISS AUD EXP S ",\"nbf\":1800000060", ERR_OK, "" },
        { ISS AUD EXP S ",\"nbf\":1800000061", ERR_AUTH_SIGNATURE, "not yet" },
        { ISS AUD EXP S ",\"nbf\":null", ERR_AUTH_SIGNATURE, "nbf" },
        { ISS AUD EXP S ",\"iat\":1800000061", ERR_AUTH_SIGNATURE, "not yet" },
        { ISS AUD EXP S ",\"iat\":true", ERR_AUTH_SIGNATURE, "iat" },
        { ISS AUD EXP S ",\"exp\":1800000300", ERR_AUTH_SIGNATURE, "stand once" },
        { ISS AUD EXP S ",\"x\":{\"a\":1,\"a\":1}", ERR_AUTH_SIGNATURE, "stand once" },
        { ISS AUD "\"exp\":1800000300", ERR_DENIED, "scope" },
        { ISS AUD EXP "\"scope\":\"\"", ERR_DENIED, "scope" },
        { ISS AUD EXP "\"scope\":\"openid launch\"", ERR_DENIED, "scope" },
        { ISS AUD EXP "\"scope\":7", ERR_DENIED, "scope" },
        { ISS AUD EXP "\"scope\":[\"openid\",\"user/Patient.r\"]", ERR_OK, "" },
        { ISS AUD EXP "\"scope\":[7]", ERR_AUTH_SIGNATURE, "scope" },
        /* client a, subject b\nc and client a\nb, subject c are not one */
        { ISS AUD EXP S ",\"client_id\":\"a\\nb\"", ERR_AUTH_SIGNATURE, "control" },
        { ISS AUD EXP S ",\"azp\":\"a\\u0000\"", ERR_AUTH_SIGNATURE, "control" },
        { ISS AUD EXP S ",\"client_id\":\"a\",\"sub\":\"b\\nc\"", ERR_AUTH_SIGNATURE, "control" },
        { ISS AUD EXP S ",\"client_id\":\"a b\",\"sub\":\"\u00e4|\u00f6\"", ERR_OK, "" },
    };
    NEED_PEER();
    WILL({ 200, NULL, jwks(1) });
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct err why = { 0 };
        err_code rc = check(token_of(0, all[i].members), NULL, &why);
        if (rc != all[i].want || strstr(why.ctx, all[i].context) == NULL)
            fail_msg("%s: %s (%s), not %s (%s)", all[i].members, err_code_name(rc), why.ctx,
                     err_code_name(all[i].want), all[i].context);
        /* the caller is not told which */
        if (rc == ERR_AUTH_SIGNATURE)
            assert_string_equal(why.msg, "The access token is not accepted");
    }
}

TEST(bearer, a_token_that_names_nobody_is_a_caller_of_its_own)
{
    (void)state;
    NEED_PEER();
    struct auth_caller c, again;
    WILL({ 200, NULL, jwks(1) });
    const sv token = token_of(0, ISS AUD EXP S);
    OK(check(token, &c, e));
    OK(check(token, &again, e));
    assert_sv(c.grant->subject, again.grant->subject);
    assert_sv(c.arn, again.arn);
    OK(check(token_of(0, ISS AUD EXP S ",\"jti\":\"2\""), &again, e));
    assert_int_equal(again.grant->client_id.len, 0);
    assert_true(sv_starts(again.grant->subject, SV_LIT("token:")));
    assert_false(sv_eq(c.grant->subject, again.grant->subject));
    assert_false(sv_eq(c.arn, again.arn));
    assert_false(sv_eq(c.access_key_id, again.access_key_id));
    /* with one of the two names it is that caller, whichever token he has */
    OK(check(token_of(0, ISS AUD EXP S ",\"sub\":\"u\",\"jti\":\"3\""), &c, e));
    OK(check(token_of(0, ISS AUD EXP S ",\"sub\":\"u\",\"jti\":\"4\""), &again, e));
    assert_sv(c.arn, again.arn);
}

TEST(bearer, the_context_of_a_launch_is_read_in_each_form)
{
    (void)state;
    static const struct {
        const char *members, *patient, *user;
    } all[] = {
        { "\"patient\":\"p1\"", "p1", "" },
        { "\"patient\":\"Patient/p1\"", "p1", "" },
        { "\"patient\":\"" ENDPOINT "/Patient/p1\"", "p1", "" },
        { "\"patient\":\"https://else.example/r4/Patient/p1\"", "", "" },
        { "\"patient\":\"Practitioner/p1\"", "", "" },
        { "\"patient\":\"p1/../p2\"", "", "" },
        { "\"patient\":\"Patient/p1/_history/1\"", "", "" },
        { "\"patient\":\"\"", "", "" },
        { "\"patient\":7", "", "" },
        { "\"fhirUser\":\"Patient/p1\"", "", "Patient/p1" },
        { "\"fhirUser\":\"https://else.example/r4/Patient/p1\"", "", "" },
        { "\"fhirUser\":\"Nobody/p1\"", "", "" },
        { "\"fhirUser\":\"p1\"", "", "" },
    };
    NEED_PEER();
    WILL({ 200, NULL, jwks(1) });
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct auth_caller c;
        char members[500], user[100];
        (void)snprintf(members, sizeof members, BASIC ",\"scope\":\"user/*.rs\",%s",
                       all[i].members);
        OK(check(token_of(0, members), &c, e));
        (void)snprintf(user, sizeof user, "%.*s%s%.*s", SV_FMT(c.grant->user_type),
                       c.grant->user_id.len ? "/" : "", SV_FMT(c.grant->user_id));
        if (!sv_eq_cstr(c.grant->patient, all[i].patient) || strcmp(user, all[i].user) != 0)
            fail_msg("%s: \"%.*s\", \"%s\"", all[i].members, SV_FMT(c.grant->patient), user);
    }
}

TEST(bearer, a_strategy_of_version_1_takes_scopes_of_version_1)
{
    (void)state;
    NEED_PEER();
    struct auth_caller c;
    WILL({ 200, NULL, jwks(1) });
    q.v2 = false;
    OK(check(token_of(0, BASIC ",\"scope\":\"user/Patient.rs user/Observation.read\""), &c, e));
    assert_int_equal(c.grant->n_scopes, 1);
    assert_sv(c.grant->scopes[0].type, SV_LIT("Observation"));
    FAILS(ERR_DENIED, check(token_of(0, BASIC ",\"scope\":\"user/Patient.rs\""), NULL, e));
}

TEST(bearer, options_of_an_issuer_count)
{
    (void)state;
    NEED_PEER();
    WILL({ 200, NULL, jwks(1) });
    struct err why;
    q.issuer = SV_LIT("https://else.example");
    assert_int_equal(
        check(token_of(0, "\"iss\":\"https://else.example\",\"aud\":\"urn:two\"," EXP S), NULL,
              &why),
        ERR_AUTH_SIGNATURE);
    assert_non_null(strstr(why.ctx, "the algorithm is not allowed here"));
    q.issuer = SV_LIT("https://nobody.example");
    FAILS(ERR_UNAVAILABLE, check(token_of(0, GOOD), NULL, e));
}

/* ---- what is kept ---- */

TEST(bearer, an_answer_is_kept_for_a_minute_or_until_the_token_expires)
{
    (void)state;
    NEED_PEER();
    struct auth_caller c;
    bool known;
    sv token = token_of(0, GOOD), brief = token_of(0, ISS AUD "\"exp\":1800000005," S);
    WILL({ 200, NULL, jwks(1) });
    q.token = token;
    OK(bearer_known(bearer, a, &q, &known, &c, e));
    assert_false(known);
    OK(check(token, NULL, e));
    OK(check(brief, NULL, e));
    q.mono_us += 5 * SECOND - 1;
    OK(bearer_known(bearer, a, &q, &known, &c, e));
    assert_true(known);
    assert_sv(c.grant->patient, SV_NONE);
    q.mono_us += 1;
    OK(bearer_known(bearer, a, &q, &known, &c, e));
    assert_false(known);
    q.token = token;
    q.mono_us += 55 * SECOND - 1;
    OK(bearer_known(bearer, a, &q, &known, &c, e));
    assert_true(known);
    assert_sv(c.grant->patient, SV_LIT("p1"));
    assert_int_equal(c.grant->n_scopes, 1);
    q.mono_us += 1;
    OK(bearer_known(bearer, a, &q, &known, &c, e));
    assert_false(known);
}

TEST(bearer, an_answer_counts_for_its_data_store_alone)
{
    (void)state;
    NEED_PEER();
    struct auth_caller c;
    bool known;
    WILL({ 200, NULL, jwks(1) });
    OK(check(token_of(0, GOOD), NULL, e));
    struct bearer_question other[4] = { q, q, q, q };
    other[0].datastore_id = SV_LIT("1123456789abcdef0123456789abcdef");
    other[1].endpoint = SV_LIT("http://else.example/datastore/" ID "/r4");
    other[2].issuer = SV_LIT("https://else.example");
    other[3].v2 = false;
    for (size_t i = 0; i < 4; i++) {
        OK(bearer_known(bearer, a, &other[i], &known, &c, e));
        assert_false(known);
    }
    FAILS(ERR_AUTH_SIGNATURE, bearer_check(bearer, a, &other[1], &c, e));
}

TEST(bearer, keys_are_fetched_again_when_the_provider_says_that_they_are_old)
{
    (void)state;
    static const struct {
        const char *headers;
        uint64_t good_s;
    } all[] = { { "", 300 },
                { "\"Cache-Control\":\"public, max-age=120\"", 120 },
                { "\"Cache-Control\":\"max-age=120\",\"Age\":\"100\"", 20 },
                { "\"Cache-Control\":\"max-age=1\"", 1 },
                { "\"Cache-Control\":\"max-age=0\"", 10 },
                { "\"Cache-Control\":\"no-store\"", 10 },
                { "\"Cache-Control\":\"No-Cache, max-age=500\"", 10 },
                { "\"Cache-Control\":\"max-age=99999999\"", 86400 } };
    NEED_PEER();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        start();
        WILL({ 200, all[i].headers, jwks(1) }, { 200, NULL, jwks(1) });
        OK(check(token_of(0, GOOD), NULL, e));
        q.mono_us += all[i].good_s * SECOND - 1;
        OK(check(token_of(0, GOOD ",\"n\":1"), NULL, e));
        if (n_asked() != 1)
            fail_msg("%s: fetched again too early", all[i].headers);
        q.mono_us += 1;
        OK(check(token_of(0, GOOD ",\"n\":2"), NULL, e));
        if (n_asked() != 2)
            fail_msg("%s: not fetched again", all[i].headers);
    }
}

TEST(bearer, an_unknown_key_is_looked_for_once_in_half_a_minute)
{
    (void)state;
    NEED_PEER();
    WILL({ 200, NULL, jwks(1) }, { 200, NULL, jwks(1) }, { 200, NULL, jwks(2) });
    OK(check(token_of(0, GOOD), NULL, e));
    FAILS(ERR_AUTH_SIGNATURE, check(token_of(1, GOOD), NULL, e));
    assert_int_equal(n_asked(), 2);
    q.mono_us += 30 * SECOND - 1;
    FAILS(ERR_AUTH_SIGNATURE, check(token_of(1, GOOD), NULL, e));
    assert_int_equal(n_asked(), 2);
    OK(check(token_of(0, GOOD ",\"n\":1"), NULL, e));
    q.mono_us += 1;
    OK(check(token_of(1, GOOD), NULL, e));
    assert_int_equal(n_asked(), 3);
}

TEST(bearer, a_provider_that_is_out_of_order_lets_nobody_in)
{
    (void)state;
    NEED_PEER();
    const struct step bad_ones[] = {
        { 500, NULL, SV_LIT("") },       { 404, NULL, jwks(1) },
        { 204, NULL, SV_LIT("") },       { 302, "\"Location\":\"/elsewhere\"", jwks(1) },
        { 200, NULL, SV_LIT("<html>") }, { 200, NULL, SV_LIT("{\"keys\":[]}") },
    };
    for (size_t i = 0; i < sizeof bad_ones / sizeof bad_ones[0]; i++) {
        start();
        WILL(bad_ones[i], { 200, NULL, jwks(1) });
        FAILS(ERR_UNAVAILABLE, check(token_of(0, GOOD), NULL, e));
        /* it is not asked again at once */
        q.mono_us += 2 * SECOND - 1;
        FAILS(ERR_UNAVAILABLE, check(token_of(0, GOOD), NULL, e));
        assert_int_equal(n_asked(), 1);
        q.mono_us += 1;
        OK(check(token_of(0, GOOD), NULL, e));
        assert_int_equal(n_asked(), 2);
    }
    /* keys that are too old are not used either */
    WILL({ 500, NULL, SV_LIT("") });
    q.mono_us += 300 * SECOND;
    FAILS(ERR_UNAVAILABLE, check(token_of(0, GOOD ",\"n\":1"), NULL, e));
    start();
    script("[{\"do\":\"fill\",\"bytes\":1000000}]");
    FAILS(ERR_UNAVAILABLE, check(token_of(0, GOOD), NULL, e));
    start();
    script("[{\"do\":\"reset\"}]");
    FAILS(ERR_UNAVAILABLE, check(token_of(0, GOOD), NULL, e));
}

TEST(bearer, a_token_that_is_no_jwt_is_no_reason_to_ask_for_keys)
{
    (void)state;
    static const char *const all[] = { "opaque", "a.b", "a.b.c", "a.b.c.d" };
    NEED_PEER();
    script("[]");
    for (size_t i = 0; i < 4; i++)
        FAILS(ERR_AUTH_SIGNATURE, check(sv_from(all[i]), NULL, e));
    assert_int_equal(n_asked(), 0);
}

struct asker {
    struct arena *arena;
    sv token;
    err_code rc;
    pthread_t thread;
};

static void *ask_at_once(void *ctx)
{
    struct asker *k = ctx;
    struct bearer_question mine = q;
    struct auth_caller c;
    struct err e;
    mine.token = k->token;
    k->rc = bearer_check(bearer, k->arena, &mine, &c, &e);
    return NULL;
}

TEST(bearer, many_who_come_at_once_are_one_question_for_keys)
{
    (void)state;
    NEED_PEER();
    struct asker all[12];
    WILL({ 200, NULL, jwks(2) });
    for (size_t i = 0; i < 12; i++) {
        char members[300];
        (void)snprintf(members, sizeof members, GOOD ",\"n\":%zu", i / 2);
        all[i] = (struct asker){ .arena = arena_new(1u << 20), .token = token_of(i % 2, members) };
    }
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(pthread_create(&all[i].thread, NULL, ask_at_once, &all[i]), 0);
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(pthread_join(all[i].thread, NULL), 0);
        assert_int_equal(all[i].rc, ERR_OK);
        arena_free(all[i].arena);
    }
    assert_int_equal(n_asked(), 1);
}

/* ---- introspection ---- */

#define ACTIVE                                                                      \
    "{\"active\":true,\"client_id\":\"app\"," AUD EXP "\"scope\":\"patient/*.rs\"," \
    "\"patient\":\"p1\"}"

TEST(bearer, the_provider_is_asked_about_a_token_as_its_client)
{
    (void)state;
    NEED_PEER();
    struct auth_caller c;
    uint64_t left;
    q.issuer = SV_LIT("https://opaque.example");
    WILL({ 200, NULL, SV_LIT(ACTIVE) });
    OK(check(SV_LIT("opaque+/~"), &c, e));
    assert_sv(c.grant->patient, SV_LIT("p1"));
    assert_sv(c.grant->issuer, SV_LIT("https://opaque.example"));
    yyjson_val *asked = yyjson_arr_get_first(log_of(a, &left)), *h = json_get(asked, "headers");
    assert_sv(json_string(json_get(asked, "method")), SV_LIT("POST"));
    assert_sv(json_string(json_get(asked, "path")), SV_LIT("/introspect"));
    assert_sv(json_string(json_get(asked, "body")),
              SV_LIT("token_type_hint=access_token&token=opaque%2B%2F~"));
    assert_sv(json_string(json_get(h, "content-type")),
              SV_LIT("application/x-www-form-urlencoded"));
    /* my-id:s%3A%2B%2F */
    assert_sv(json_string(json_get(h, "authorization")), SV_LIT("Basic bXktaWQ6cyUzQSUyQiUyRg=="));
}

TEST(bearer, what_the_provider_says_of_a_token_decides)
{
    (void)state;
    static const struct {
        int status;
        const char *body;
        err_code want;
    } all[] = {
        { 200, ACTIVE, ERR_OK },
        { 200, "{\"active\":false}", ERR_AUTH_SIGNATURE },
        { 200, "{\"active\":\"true\"}", ERR_UNAVAILABLE },
        { 200, "{}", ERR_UNAVAILABLE },
        { 200, "", ERR_UNAVAILABLE },
        { 200, "[]", ERR_UNAVAILABLE },
        { 400, "{\"error\":\"unsupported_token_type\"}", ERR_AUTH_SIGNATURE },
        { 401, "{}", ERR_UNAVAILABLE },
        { 500, ACTIVE, ERR_UNAVAILABLE },
        { 200, "{\"active\":true," EXP S "}", ERR_AUTH_SIGNATURE },
        { 200, "{\"active\":true," AUD S "}", ERR_AUTH_SIGNATURE },
        { 200, "{\"active\":true," AUD S ",\"exp\":1799999940}", ERR_AUTH_EXPIRED },
        { 200, "{\"active\":true,\"iss\":\"https://as.example\"," AUD EXP S "}",
          ERR_AUTH_SIGNATURE },
        { 200, "{\"active\":true,\"active\":true," AUD EXP S "}", ERR_AUTH_SIGNATURE },
        { 200, "{\"active\":true," AUD "\"exp\":1800000300}", ERR_DENIED },
    };
    NEED_PEER();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct err why = { 0 };
        start();
        q.issuer = SV_LIT("https://opaque.example");
        WILL({ all[i].status, NULL, sv_from(all[i].body) });
        err_code rc = check(SV_LIT("opaque"), NULL, &why);
        if (rc != all[i].want)
            fail_msg("%d %s: %s (%s)", all[i].status, all[i].body, err_code_name(rc), why.ctx);
    }
}

TEST(bearer, the_providers_word_is_kept_for_less_long)
{
    (void)state;
    NEED_PEER();
    q.issuer = SV_LIT("https://opaque.example");
    WILL({ 200, NULL, SV_LIT(ACTIVE) }, { 200, NULL, SV_LIT("{\"active\":false}") },
         { 200, NULL, SV_LIT(ACTIVE) });
    OK(check(SV_LIT("opaque"), NULL, e));
    q.mono_us += 30 * SECOND - 1;
    OK(check(SV_LIT("opaque"), NULL, e));
    q.mono_us += 1;
    FAILS(ERR_AUTH_SIGNATURE, check(SV_LIT("opaque"), NULL, e));
    q.mono_us += 5 * SECOND - 1;
    FAILS(ERR_AUTH_SIGNATURE, check(SV_LIT("opaque"), NULL, e));
    assert_int_equal(n_asked(), 2);
    q.mono_us += 1;
    OK(check(SV_LIT("opaque"), NULL, e));
}

/* ---- a function ---- */

#define PAYLOAD \
    "\"authPayload\":{\"isAuthorized\":true,\"nbf\":1799999000,\"uid\":\"1\"," AUD EXP S "}"
#define AS_ROLE "\"iamRoleARN\":\"" ROLE "\""

TEST(bearer, a_function_gets_the_event_and_names_the_role)
{
    (void)state;
    NEED_PEER();
    struct auth_caller c;
    uint64_t left;
    q.idp_lambda = SV_LIT(LAMBDA);
    q.issuer = SV_NONE;
    WILL({ 200, NULL, SV_LIT("{" PAYLOAD "," AS_ROLE "}") },
         { 200, NULL, SV_LIT("{" PAYLOAD "," AS_ROLE "}") });
    OK(check(SV_LIT("opaque"), &c, e));
    assert_sv(c.credential->name, SV_LIT("smart"));
    OK(check(SV_LIT("opaque"), &c, e));
    yyjson_val *log = log_of(a, &left), *asked = yyjson_arr_get_first(log);
    assert_int_equal(yyjson_arr_size(log), 1);
    assert_sv(json_string(json_get(asked, "body")),
              SV_LIT("{\"datastoreEndpoint\":\"" ENDPOINT "/\",\"operationName\":\"ReadResource\","
                     "\"bearerToken\":\"opaque\"}"));
    /* HealthLake's functions say by uid who it is */
    assert_sv(c.grant->subject, SV_LIT("1"));
    /* it decides about each operation */
    q.operation = SV_LIT("DeleteResource");
    OK(check(SV_LIT("opaque"), &c, e));
    assert_int_equal(n_asked(), 2);
}

TEST(bearer, what_a_function_answers_decides)
{
    (void)state;
    static const struct {
        int status;
        const char *headers, *body;
        err_code want;
    } all[] = {
        { 200, "", "{" PAYLOAD "," AS_ROLE "}", ERR_OK },
        { 200, "",
          "{\"authPayload\":{\"isAuthorized\":\"true\",\"nbf\":1," AUD EXP S "}," AS_ROLE "}",
          ERR_OK },
        { 200, "", "{}", ERR_AUTH_SIGNATURE },
        { 200, "", "{" AS_ROLE "}", ERR_AUTH_SIGNATURE },
        { 200, "", "null", ERR_UNAVAILABLE },
        { 200, "", "", ERR_UNAVAILABLE },
        { 200, "", "{" PAYLOAD "}", ERR_UNAVAILABLE },
        { 200, "", "{" PAYLOAD ",\"iamRoleARN\":\"arn:aws:iam::000000000000:role/other\"}",
          ERR_UNAVAILABLE },
        { 200, "", "{\"authPayload\":{\"isAuthorized\":false,\"nbf\":1," AUD EXP S "}," AS_ROLE "}",
          ERR_AUTH_SIGNATURE },
        { 200, "", "{\"authPayload\":{\"nbf\":1," AUD EXP S "}," AS_ROLE "}", ERR_AUTH_SIGNATURE },
        { 200, "", "{\"authPayload\":{\"isAuthorized\":true," AUD EXP S "}," AS_ROLE "}",
          ERR_AUTH_SIGNATURE },
        { 200, "", "{\"authPayload\":{\"isAuthorized\":true,\"nbf\":1," EXP S "}," AS_ROLE "}",
          ERR_AUTH_SIGNATURE },
        { 200, "", "{\"authPayload\":{\"isAuthorized\":true,\"nbf\":1," AUD S "}," AS_ROLE "}",
          ERR_AUTH_SIGNATURE },
        { 200, "",
          "{\"authPayload\":{\"isAuthorized\":true,\"nbf\":1," AUD "\"exp\":1800000300}," AS_ROLE
          "}",
          ERR_DENIED },
        { 200, "\"X-Amz-Function-Error\":\"Unhandled\"", "{" PAYLOAD "," AS_ROLE "}",
          ERR_UNAVAILABLE },
        { 500, "", "{" PAYLOAD "," AS_ROLE "}", ERR_UNAVAILABLE },
    };
    NEED_PEER();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct err why = { 0 };
        start();
        q.idp_lambda = SV_LIT(LAMBDA);
        WILL({ all[i].status, all[i].headers, sv_from(all[i].body) });
        err_code rc = check(SV_LIT("opaque"), NULL, &why);
        if (rc != all[i].want)
            fail_msg("%s: %s (%s)", all[i].body, err_code_name(rc), why.ctx);
    }
    start();
    q.idp_lambda = SV_LIT(LAMBDA "2");
    FAILS(ERR_UNAVAILABLE, check(SV_LIT("opaque"), NULL, e));
}

TEST(bearer, a_function_that_takes_too_long_lets_nobody_in)
{
    (void)state;
    NEED_PEER();
    struct err why;
    times_count = true;
    start();
    times_count = false;
    q.idp_lambda = SV_LIT(LAMBDA);
    script("[{\"do\":\"stall\",\"seconds\":3}]");
    assert_int_equal(check(SV_LIT("opaque"), NULL, &why), ERR_UNAVAILABLE);
    assert_non_null(strstr(why.ctx, "Timeout"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bearer, a_good_token_gives_a_caller_under_the_role),
        T(bearer, claims_are_held_against_what_they_must_say),
        T(bearer, a_token_that_names_nobody_is_a_caller_of_its_own),
        T(bearer, the_context_of_a_launch_is_read_in_each_form),
        T(bearer, a_strategy_of_version_1_takes_scopes_of_version_1),
        T(bearer, options_of_an_issuer_count),
        T(bearer, an_answer_is_kept_for_a_minute_or_until_the_token_expires),
        T(bearer, an_answer_counts_for_its_data_store_alone),
        T(bearer, keys_are_fetched_again_when_the_provider_says_that_they_are_old),
        T(bearer, an_unknown_key_is_looked_for_once_in_half_a_minute),
        T(bearer, a_provider_that_is_out_of_order_lets_nobody_in),
        T(bearer, a_token_that_is_no_jwt_is_no_reason_to_ask_for_keys),
        T(bearer, many_who_come_at_once_are_one_question_for_keys),
        T(bearer, the_provider_is_asked_about_a_token_as_its_client),
        T(bearer, what_the_provider_says_of_a_token_decides),
        T(bearer, the_providers_word_is_kept_for_less_long),
        T(bearer, a_function_gets_the_event_and_names_the_role),
        T(bearer, what_a_function_answers_decides),
        T(bearer, a_function_that_takes_too_long_lets_nobody_in),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
