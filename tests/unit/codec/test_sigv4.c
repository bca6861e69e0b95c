/* The golden cases, computed by botocore's signer, give the expected result of each stage; the rest
 * is about what must not pass. */
#include "test.h"

#include "base/file.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "codec/sigv4.h"

#include <dirent.h>
#include <unistd.h>

#define MAX_HEADERS 32

struct golden {
    struct arena *a;
    const char *name;
    char dir[512];
    sv key_id, secret, token, region, service, amz_date;
    bool normalize, double_encode, omit_token;
    /* the signed request */
    sv body, authorization;
    struct sigv4_header headers[MAX_HEADERS]; /* without Authorization */
    struct sigv4_header with_auth[MAX_HEADERS];
    size_t n_headers, n_with_auth;
    struct sigv4_request req;
};

static bool read_text(const struct golden *g, const char *file, sv *out)
{
    char path[800];
    struct buf b = BUF_INIT(1u << 20);
    (void)snprintf(path, sizeof path, "%s/%s", g->dir, file);
    if (access(path, F_OK) != 0)
        return false;
    OK(file_read(path, &b, e));
    *out = arena_sv(g->a, buf_sv(&b));
    buf_done(&b);
    return true;
}

static void read_context(struct golden *g)
{
    sv text;
    yyjson_doc *doc = NULL;
    assert_true(read_text(g, "context.json", &text));
    OK(json_read(g->a, text, 8, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc), *keys = json_get(root, "credentials");
    g->key_id = json_string(json_get(keys, "access_key_id"));
    g->secret = json_string(json_get(keys, "secret_access_key"));
    g->token = json_string(json_get(keys, "token"));
    g->region = json_string(json_get(root, "region"));
    g->service = json_string(json_get(root, "service"));
    g->normalize = yyjson_get_bool(json_get(root, "normalize"));
    yyjson_val *twice = json_get(root, "double_encode");
    g->double_encode = twice == NULL || yyjson_get_bool(twice);
    g->omit_token = yyjson_get_bool(json_get(root, "omit_session_token"));
    /* 2015-08-30T12:36:00Z */
    sv t = json_string(json_get(root, "timestamp"));
    g->amz_date = arena_fmt(g->a, "%.4s%.2s%.5s%.2s%.3s", t.ptr, t.ptr + 5, t.ptr + 8, t.ptr + 14,
                            t.ptr + 17);
    assert_int_equal(g->amz_date.len, 16);
}

/* Request line, headers (a line that begins with a blank goes on with the one before), body. */
static void read_request(struct golden *g, sv text)
{
    sv line;
    struct sigv4_header *h = g->with_auth;
    assert_true(sv_cut(&text, '\n', &line));
    size_t method = sv_find(line, ' ');
    assert_true(sv_ends(line, SV_LIT(" HTTP/1.1")));
    sv target = sv_make(line.ptr + method + 1, line.len - method - 1 - 9);
    size_t q = sv_find(target, '?');
    g->n_headers = g->n_with_auth = 0;
    g->authorization = SV_NONE;
    while (sv_cut(&text, '\n', &line) && line.len) {
        if (line.ptr[0] == ' ' || line.ptr[0] == '\t') {
            sv *v = &h[g->n_with_auth - 1].value;
            *v = sv_make(v->ptr, (size_t)(line.ptr + line.len - v->ptr));
            continue;
        }
        size_t colon = sv_find(line, ':');
        assert_true(g->n_with_auth < MAX_HEADERS);
        h[g->n_with_auth++] =
            (struct sigv4_header){ sv_head(line, colon), sv_tail(line, colon + 1) };
    }
    g->body = text.ptr ? text : SV_LIT("");
    sv hash = SV_NONE;
    for (size_t i = 0; i < g->n_with_auth; i++) {
        if (sv_eq_nocase(h[i].name, SV_LIT("x-amz-content-sha256")))
            hash = h[i].value;
        if (sv_eq_nocase(h[i].name, SV_LIT("authorization")))
            g->authorization = h[i].value;
        else if (!(g->omit_token && sv_eq_nocase(h[i].name, SV_LIT("x-amz-security-token"))))
            g->headers[g->n_headers++] = h[i];
    }
    if (hash.ptr == NULL && memmem(target.ptr, target.len, "X-Amz-Content-Sha256=UNSIGNED", 29)) {
        hash = SV_LIT("UNSIGNED-PAYLOAD");
    } else if (hash.ptr == NULL && g->authorization.ptr == NULL &&
               sv_eq(g->service, SV_LIT("s3"))) {
        /* what S3 takes a presigned request for */
        hash = SV_LIT("UNSIGNED-PAYLOAD");
    } else if (hash.ptr == NULL) {
        unsigned char digest[SHA256_LEN];
        char *hex = arena_alloc(g->a, SHA256_HEX_LEN);
        hash_sha256_of(g->body, digest);
        hash_hex(digest, sizeof digest, hex);
        hash = sv_make(hex, SHA256_HEX_LEN);
    }
    g->req = (struct sigv4_request){ .path = sv_head(target, q),
                                     .query = sv_tail(target, q + 1),
                                     .headers = g->headers,
                                     .n_headers = g->n_headers,
                                     .payload_hash = hash,
                                     .normalize_path = g->normalize,
                                     .double_encode_path = g->double_encode };
}

static void stage(const struct golden *g, const char *form, const char *what, sv want, sv have)
{
    if (!sv_eq(want, have))
        fail_msg("%s: %s %s is\n%.*s\nand should be\n%.*s", g->name, form, what, SV_FMT(have),
                 SV_FMT(want));
}

/* The query without the session token, for the cases that add it after signing. */
static sv without_token(struct arena *a, sv query)
{
    struct buf b = BUF_INIT(65536);
    sv part;
    while (sv_cut(&query, '&', &part))
        if (!sv_starts(part, SV_LIT("X-Amz-Security-Token=")))
            OK(buf_add_fmt(&b, e, "%s%.*s", b.len ? "&" : "", SV_FMT(part)));
    sv out = arena_sv(a, buf_sv(&b));
    buf_done(&b);
    return out;
}

static void check_verify(struct golden *g, const char *form, const struct sigv4_claim *claim)
{
    struct sigv4_expect x = { .region = g->region,
                              .service = g->service,
                              .now_ms = claim->date_ms,
                              .skew_s = 900,
                              .secret_key = g->secret,
                              .session_token = g->token };
    struct err err = { 0 };
    err_code rc = sigv4_verify(g->a, &g->req, claim, &x, &err);
    /* a token that is sent must be signed */
    if (g->omit_token && !claim->presigned) {
        assert_int_equal(rc, ERR_AUTH_SIGNATURE);
        return;
    }
    if (rc != ERR_OK)
        fail_msg("%s: %s verify: %s", g->name, form, err.msg);
    struct sigv4_claim other = *claim;
    char changed[64];
    memcpy(changed, claim->signature.ptr, 64);
    /* first, last and between */
    for (size_t i = 0; i < 64; i += 21) {
        changed[i] = changed[i] == 'a' ? 'b' : 'a';
        other.signature = sv_make(changed, 64);
        FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(g->a, &g->req, &other, &x, e));
        changed[i] = claim->signature.ptr[i];
    }
    x.secret_key = SV_LIT("another secret");
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(g->a, &g->req, claim, &x, e));
    x.secret_key = g->secret;
    struct sigv4_request req = g->req;
    req.payload_hash = SV_LIT("0000000000000000000000000000000000000000000000000000000000000000");
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(g->a, &req, claim, &x, e));
    req = g->req;
    req.method = SV_LIT("DELETE");
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(g->a, &req, claim, &x, e));
    req = g->req;
    req.path = SV_LIT("/elsewhere");
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(g->a, &req, claim, &x, e));
}

static bool check_form(struct golden *g, const char *form)
{
    char file[64];
    sv signed_request, want, have, method;
    struct sigv4_claim claim = { 0 };
    bool header = strcmp(form, "header") == 0;
    (void)snprintf(file, sizeof file, "%s-signed-request.txt", form);
    if (!read_text(g, file, &signed_request))
        return false;
    read_request(g, signed_request);
    method = sv_head(signed_request, sv_find(signed_request, ' '));
    g->req.method = method;

    struct sigv4_request whole = g->req;
    whole.headers = g->with_auth;
    whole.n_headers = g->n_with_auth;
    OK(sigv4_claim_parse(g->a, &whole, &claim, e));
    assert_int_equal(claim.presigned, !header);
    assert_sv(claim.access_key_id, g->key_id);
    assert_sv(claim.scope.region, g->region);
    assert_sv(claim.scope.service, g->service);
    assert_sv(claim.amz_date, g->amz_date);
    assert_sv(claim.session_token, g->token);

    struct sigv4_request req = g->req;
    if (g->omit_token)
        req.query = without_token(g->a, req.query);
    (void)snprintf(file, sizeof file, "%s-canonical-request.txt", form);
    assert_true(read_text(g, file, &want));
    OK(sigv4_canonical_request(g->a, &req, claim.signed_headers, &have, e));
    stage(g, form, "canonical request", want, have);

    (void)snprintf(file, sizeof file, "%s-string-to-sign.txt", form);
    assert_true(read_text(g, file, &want));
    OK(sigv4_string_to_sign(g->a, g->amz_date, &claim.scope, have, &have, e));
    stage(g, form, "string to sign", want, have);

    unsigned char key[32];
    char signature[64];
    (void)snprintf(file, sizeof file, "%s-signature.txt", form);
    assert_true(read_text(g, file, &want));
    sigv4_signing_key(g->secret, &claim.scope, key);
    sigv4_signature(key, have, signature);
    stage(g, form, "signature", want, sv_make(signature, 64));
    assert_sv(claim.signature, want);

    if (header) {
        struct sigv4_credentials cred = { g->key_id, g->secret, g->token };
        OK(sigv4_sign(g->a, &req, g->amz_date, &claim.scope, &cred, &have, e));
        stage(g, form, "Authorization", g->authorization, have);
    }
    /* verifying covers the whole query: a token added afterwards does not pass */
    if (!header && g->omit_token)
        return true;
    g->req.headers = g->with_auth;
    g->req.n_headers = g->n_with_auth;
    check_verify(g, form, &claim);
    return true;
}

static size_t check_all(const char *root)
{
    size_t n = 0;
    DIR *d = opendir(root);
    assert_non_null(d);
    for (struct dirent *de; (de = readdir(d)) != NULL;) {
        if (de->d_name[0] == '.')
            continue;
        static struct golden g;
        g = (struct golden){ .a = arena_new(8u << 20), .name = de->d_name };
        (void)snprintf(g.dir, sizeof g.dir, "%s/%s", root, de->d_name);
        read_context(&g);
        assert_true(check_form(&g, "header"));
        (void)check_form(&g, "query");
        arena_free(g.a);
        n++;
    }
    closedir(d);
    return n;
}

TEST(sigv4, our_golden_cases_stage_by_stage)
{
    (void)state;
    char root[256];
    const char *source = getenv("FHIRLAKE_SOURCE");
    assert_non_null(source);
    (void)snprintf(root, sizeof root, "%s/tests/golden/sigv4", source);
    assert_int_equal(check_all(root), 31);
}

TEST(sigv4, signing_key_of_the_published_example)
{
    (void)state;
    /* AWS General Reference, "Examples of how to derive a signing key" */
    const struct sigv4_scope scope = { SV_LIT("20120215"), SV_LIT("us-east-1"), SV_LIT("iam") };
    unsigned char key[32];
    char hex[64];
    sigv4_signing_key(SV_LIT("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), &scope, key);
    hash_hex(key, 32, hex);
    assert_sv(sv_make(hex, 64),
              SV_LIT("f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"));
}

/* ---- claims ---- */

#define SIG  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CRED "Credential=AKID/20261123/us-east-1/healthlake/aws4_request"
#define GOOD "AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host;x-amz-date, Signature=" SIG
#define NOW  1795458600000 /* 2026-11-23T18:30:00Z */

static err_code claim_of(const char *authorization, const char *date, const char *query,
                         struct sigv4_claim *out, struct err *e)
{
    /* the claim's views live until the next call */
    static struct arena *a;
    arena_free(a);
    a = arena_new(1u << 20);
    struct sigv4_header h[3];
    size_t n = 0;
    h[n++] = (struct sigv4_header){ SV_LIT("Host"), SV_LIT("h") };
    if (authorization)
        h[n++] = (struct sigv4_header){ SV_LIT("AUTHORIZATION"), sv_from(authorization) };
    if (date)
        h[n++] = (struct sigv4_header){ SV_LIT("X-Amz-Date"), sv_from(date) };
    struct sigv4_request req = { .method = SV_LIT("GET"),
                                 .path = SV_LIT("/"),
                                 .query = sv_from(query ? query : ""),
                                 .headers = h,
                                 .n_headers = n };
    return sigv4_claim_parse(a, &req, out, e);
}

TEST(sigv4, claim_is_read_whatever_the_spacing)
{
    (void)state;
    struct sigv4_claim c = { 0 };
    const char *forms[] = {
        GOOD, "AWS4-HMAC-SHA256 " CRED ",SignedHeaders=host;x-amz-date,Signature=" SIG,
        "AWS4-HMAC-SHA256   Signature=" SIG " ,  SignedHeaders=host;x-amz-date,\t" CRED
    };
    for (size_t i = 0; i < 3; i++) {
        c = (struct sigv4_claim){ 0 };
        OK(claim_of(forms[i], "20261123T183000Z", NULL, &c, e));
        assert_false(c.presigned);
        assert_sv(c.access_key_id, SV_LIT("AKID"));
        assert_sv(c.scope.service, SV_LIT("healthlake"));
        assert_sv(c.signed_headers, SV_LIT("host;x-amz-date"));
        assert_true(c.date_ms == NOW);
    }
}

TEST(sigv4, claim_that_is_malformed_names_its_part)
{
    (void)state;
    static const struct {
        const char *authorization, *says;
    } bad[] = {
        { "", "AWS4-HMAC-SHA256" },
        { "Bearer abc", "AWS4-HMAC-SHA256" },
        { "AWS4-HMAC-SHA512 " CRED, "AWS4-HMAC-SHA256" },
        { "aws4-hmac-sha256 " CRED, "AWS4-HMAC-SHA256" },
        { "AWS4-HMAC-SHA256", "" },
        { "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=" SIG, "'Credential'" },
        { "AWS4-HMAC-SHA256 " CRED ", Signature=" SIG, "'SignedHeaders'" },
        { "AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host", "'Signature'" },
        { "AWS4-HMAC-SHA256 " CRED ", SignedHeaders=, Signature=" SIG, "'SignedHeaders'" },
        { GOOD "," CRED, "once" },
        { GOOD ", Extra=1", "Credential" },
        { GOOD ",,,", "Credential" },
        { "AWS4-HMAC-SHA256 " CRED "/x, SignedHeaders=host, Signature=" SIG, "5 slash" },
        { "AWS4-HMAC-SHA256 Credential=A/20261123/r/s/aws5_request, SignedHeaders=host, "
          "Signature=" SIG,
          "aws4_request" },
        { "AWS4-HMAC-SHA256 Credential=/20261123/r/s/aws4_request, SignedHeaders=host, "
          "Signature=" SIG,
          "keyid" },
        { "AWS4-HMAC-SHA256 Credential=A/2026112x/r/s/aws4_request, SignedHeaders=host, "
          "Signature=" SIG,
          "date" },
        { "AWS4-HMAC-SHA256 Credential=A, SignedHeaders=host, Signature=" SIG, "5 slash" },
        { "AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host;;x, Signature=" SIG, "SignedHeaders" },
        { "AWS4-HMAC-SHA256 " CRED ", SignedHeaders=Host, Signature=" SIG, "lower-case" },
        { "AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host, Signature=abc", "64" },
        { "AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host, Signature=" SIG "0", "64" },
        { "AWS4-HMAC-SHA256 " CRED
          ", SignedHeaders=host, Signature=G123456789abcdef0123456789abcdef"
          "0123456789abcdef0123456789abcdef",
          "64" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sigv4_claim c = { .expires_s = 7 };
        struct err err = { 0 };
        err_code rc = claim_of(bad[i].authorization, "20261123T183000Z", NULL, &c, &err);
        if (rc != ERR_AUTH_INCOMPLETE || strstr(err.msg, bad[i].says) == NULL)
            fail_msg("%s: %s, %s", bad[i].authorization, err_code_name(rc), err.msg);
        /* untouched */
        assert_int_equal(c.expires_s, 7);
    }
}

TEST(sigv4, every_prefix_of_a_good_header_is_refused_or_read)
{
    (void)state;
    char text[sizeof GOOD];
    for (size_t n = 0; n < sizeof GOOD - 1; n++) {
        struct sigv4_claim c;
        memcpy(text, GOOD, n);
        text[n] = 0;
        FAILS(ERR_AUTH_INCOMPLETE, claim_of(text, "20261123T183000Z", NULL, &c, e));
    }
}

TEST(sigv4, claim_needs_a_date_that_fits_the_scope)
{
    (void)state;
    struct sigv4_claim c;
    FAILS(ERR_AUTH_INCOMPLETE, claim_of(GOOD, NULL, NULL, &c, e));
    FAILS(ERR_AUTH_INCOMPLETE, claim_of(GOOD, "2026-11-23T18:30:00Z", NULL, &c, e));
    FAILS(ERR_AUTH_INCOMPLETE, claim_of(GOOD, "20261123T183000", NULL, &c, e));
    FAILS(ERR_AUTH_INCOMPLETE, claim_of(GOOD, "20261123T253000Z", NULL, &c, e));
    FAILS(ERR_AUTH_INCOMPLETE, claim_of(GOOD, "", NULL, &c, e));
    FAILS(ERR_AUTH_SIGNATURE, claim_of(GOOD, "20261124T000000Z", NULL, &c, e));
}

TEST(sigv4, no_signature_and_two_signatures_are_refused)
{
    (void)state;
    struct sigv4_claim c;
    FAILS(ERR_AUTH_MISSING, claim_of(NULL, "20261123T183000Z", NULL, &c, e));
    FAILS(ERR_AUTH_MISSING, claim_of(NULL, NULL, "a=1&b", &c, e));
    FAILS(ERR_AUTH_INCOMPLETE,
          claim_of(GOOD, "20261123T183000Z", "X-Amz-Algorithm=AWS4-HMAC-SHA256", &c, e));
}

#define Q_ALG   "X-Amz-Algorithm=AWS4-HMAC-SHA256"
#define Q_CRED  "&X-Amz-Credential=AKID%2F20261123%2Fus-east-1%2Fhealthlake%2Faws4_request"
#define Q_DATE  "&X-Amz-Date=20261123T183000Z"
#define Q_NAMES "&X-Amz-SignedHeaders=host"
#define Q_SIG   "&X-Amz-Signature=" SIG
#define Q_EXP   "&X-Amz-Expires=60"
#define Q_REST  Q_CRED Q_DATE Q_NAMES Q_SIG

TEST(sigv4, presigned_claims)
{
    (void)state;
    struct sigv4_claim c = { 0 };
    OK(claim_of(NULL, NULL, Q_ALG Q_REST "&X-Amz-Expires=604800", &c, e));
    assert_true(c.presigned);
    assert_int_equal(c.expires_s, 604800);
    OK(claim_of(NULL, NULL, Q_ALG Q_REST "&X-Amz-Expires=1", &c, e));
    assert_int_equal(c.expires_s, 1);
    static const char *const bad[] = {
        Q_ALG Q_REST, /* for ever, or for as long as one would guess */
        Q_ALG Q_REST "&X-Amz-Expires=",
        Q_ALG Q_REST "&X-Amz-Expires=60" Q_EXP,
        Q_ALG Q_REST "&X-Amz-Expires=0",
        Q_ALG Q_REST "&X-Amz-Expires=604801",
        Q_ALG Q_REST "&X-Amz-Expires=-1",
        Q_ALG Q_REST "&X-Amz-Expires=1e3",
        Q_ALG Q_REST "&X-Amz-Expires=99999999999999999999",
        Q_ALG Q_REST "&X-Amz-Date=20261123T183000Z" Q_EXP,
        Q_ALG Q_DATE Q_NAMES Q_SIG Q_EXP,
        Q_ALG Q_CRED Q_NAMES Q_SIG Q_EXP,
        Q_ALG Q_CRED Q_DATE Q_SIG Q_EXP,
        Q_ALG Q_CRED Q_DATE Q_NAMES Q_EXP,
        "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256" Q_REST Q_EXP,
        "a=1" Q_REST Q_EXP,
        Q_ALG "&X-Amz-Credential=AKID%2" Q_DATE Q_NAMES Q_SIG Q_EXP,
        Q_ALG "&X-Amz-Credential=AKID%ZZ" Q_DATE Q_NAMES Q_SIG Q_EXP,
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        FAILS(ERR_AUTH_INCOMPLETE, claim_of(NULL, NULL, bad[i], &c, e));
}

static sv canonical_of(struct arena *a, const char *path, const char *query, bool normalize)
{
    const struct sigv4_header h = { SV_LIT("Host"), SV_LIT("h") };
    const struct sigv4_request req = { .method = SV_LIT("GET"),
                                       .path = sv_from(path),
                                       .query = sv_from(query),
                                       .headers = &h,
                                       .n_headers = 1,
                                       .payload_hash = SV_LIT(SIG),
                                       .normalize_path = normalize,
                                       .double_encode_path = true };
    sv out;
    OK(sigv4_canonical_request(a, &req, SV_LIT("host"), &out, e));
    return out;
}

TEST(sigv4, a_query_is_signed_as_it_is_read)
{
    (void)state;
    struct arena *a = arena_new(1u << 20);
    static const struct {
        const char *one, *other;
        bool same;
    } pairs[] = { { "a=x+y", "a=x%20y", true },
                  { "a=x%2By", "a=x%2by", true },
                  { "a=x+y", "a=x%2By", false },
                  { "a=x%20y", "a=x%2By", false },
                  { "a+b=1", "a%20b=1", true },
                  { "a+b=1", "a%2Bb=1", false },
                  { "a=%2B%2B", "a=++", false },
                  { "a=+", "a=%20", true },
                  { "a=+", "a=", false },
                  { "a=1&b=2", "b=2&a=1", true },
                  { "a=%41", "a=A", true },
                  { "a=%25%34%31", "a=A", false },
                  { "a=x%26b=y", "a=x&b=y", false },
                  { "a=x%3Dy", "a=x=y", true },
                  { "date=ge2020+x", "date=ge2020%2Bx", false } };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (sv_eq(canonical_of(a, "/", pairs[i].one, true),
                  canonical_of(a, "/", pairs[i].other, true)) != pairs[i].same)
            fail_msg("%s and %s", pairs[i].one, pairs[i].other);
    arena_free(a);
}

TEST(sigv4, too_many_query_parameters_are_refused)
{
    (void)state;
    struct buf b = BUF_INIT(1u << 20);
    struct sigv4_claim c;
    for (int i = 0; i < 5000; i++)
        OK(buf_add_fmt(&b, e, "p%d=1&", i));
    OK(buf_add(&b, SV_LIT(Q_ALG Q_REST "\0"), e));
    FAILS(ERR_TOO_LARGE, claim_of(NULL, NULL, b.ptr, &c, e));
    buf_done(&b);
}

/* ---- verifying ---- */

struct exchange {
    struct arena *a;
    struct sigv4_header h[8];
    struct sigv4_request req;
    struct sigv4_claim claim;
    struct sigv4_expect x;
};

/* A request signed by us: host, x-amz-date, x-amz-target and, if given, a token. */
static void exchange_init(struct exchange *t, const char *token)
{
    *t = (struct exchange){ .a = arena_new(1u << 20) };
    size_t n = 0;
    t->h[n++] = (struct sigv4_header){ SV_LIT("Host"), SV_LIT("localhost:8080") };
    t->h[n++] = (struct sigv4_header){ SV_LIT("X-Amz-Date"), SV_LIT("20261123T183000Z") };
    t->h[n++] = (struct sigv4_header){ SV_LIT("X-Amz-Target"), SV_LIT("HealthLake.X") };
    if (token)
        t->h[n++] = (struct sigv4_header){ SV_LIT("X-Amz-Security-Token"), sv_from(token) };
    t->req = (struct sigv4_request){ .method = SV_LIT("POST"),
                                     .path = SV_LIT("/"),
                                     .headers = t->h,
                                     .n_headers = n,
                                     .payload_hash = SV_LIT(SIG),
                                     .normalize_path = true,
                                     .double_encode_path = true };
    const struct sigv4_scope scope = { SV_LIT("20261123"), SV_LIT("us-east-1"),
                                       SV_LIT("healthlake") };
    const struct sigv4_credentials cred = { SV_LIT("AKID"), SV_LIT("secret"), sv_from(token) };
    sv authorization = SV_NONE;
    OK(sigv4_sign(t->a, &t->req, SV_LIT("20261123T183000Z"), &scope, &cred, &authorization, e));
    t->h[n++] = (struct sigv4_header){ SV_LIT("Authorization"), authorization };
    t->req.n_headers = n;
    OK(sigv4_claim_parse(t->a, &t->req, &t->claim, e));
    t->x = (struct sigv4_expect){ .region = SV_LIT("us-east-1"),
                                  .service = SV_LIT("healthlake"),
                                  .now_ms = NOW,
                                  .skew_s = 900,
                                  .secret_key = SV_LIT("secret"),
                                  .session_token = sv_from(token) };
}

TEST(sigv4, the_clock_window_is_fifteen_minutes_both_ways)
{
    (void)state;
    struct exchange t;
    exchange_init(&t, NULL);
    static const struct {
        int64_t off_ms;
        bool ok;
    } at[] = { { 0, true },       { 900000, true },   { 900001, false },
               { -900000, true }, { -900001, false }, { 86400000, false } };
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        t.x.now_ms = NOW + at[i].off_ms;
        if (at[i].ok)
            OK(sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
        else
            FAILS(ERR_AUTH_EXPIRED, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    }
    arena_free(t.a);
}

TEST(sigv4, a_presigned_request_lives_as_long_as_it_says)
{
    (void)state;
    struct exchange t;
    exchange_init(&t, NULL);
    /* only the clock reads these two */
    t.claim.presigned = true;
    t.claim.expires_s = 60;
    t.x.now_ms = NOW + 60000;
    OK(sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    t.x.now_ms = NOW + 60001;
    FAILS(ERR_AUTH_EXPIRED, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    t.claim.expires_s = 604800;
    t.x.now_ms = NOW + 604800000;
    OK(sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    t.x.now_ms = NOW - 900001;
    FAILS(ERR_AUTH_EXPIRED, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    arena_free(t.a);
}

TEST(sigv4, scope_must_name_this_region_and_service)
{
    (void)state;
    struct exchange t;
    exchange_init(&t, NULL);
    t.x.region = SV_LIT("eu-west-1");
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    t.x.region = SV_LIT("us-east-1");
    t.x.service = SV_LIT("s3");
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    arena_free(t.a);
}

TEST(sigv4, host_and_all_that_steers_must_be_signed)
{
    (void)state;
    struct exchange t;
    exchange_init(&t, NULL);
    struct sigv4_claim c = t.claim;
    c.signed_headers = SV_LIT("x-amz-date;x-amz-target");
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(t.a, &t.req, &c, &t.x, e));
    c.signed_headers = SV_LIT("host;x-amz-date");
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(t.a, &t.req, &c, &t.x, e));
    c.signed_headers = SV_LIT("host;x-amz-date;x-amz-target;x-missing");
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(t.a, &t.req, &c, &t.x, e));
    t.h[t.req.n_headers] = (struct sigv4_header){ SV_LIT("x-amz-target"), SV_LIT("Other") };
    /* smuggled in behind the signed one */
    t.req.n_headers++;
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    arena_free(t.a);
}

TEST(sigv4, headers_that_proxies_and_sdks_add_need_no_signature)
{
    (void)state;
    struct exchange t;
    exchange_init(&t, NULL);
    t.h[t.req.n_headers++] =
        (struct sigv4_header){ SV_LIT("amz-sdk-invocation-id"), SV_LIT("b2760407") };
    t.h[t.req.n_headers++] = (struct sigv4_header){ SV_LIT("x-amz-user-agent"), SV_LIT("js/3") };
    t.h[t.req.n_headers++] = (struct sigv4_header){ SV_LIT("X-Forwarded-For"), SV_LIT("::1") };
    OK(sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    arena_free(t.a);
}

TEST(sigv4, the_session_token_is_exactly_the_keys_own)
{
    (void)state;
    struct exchange t;
    exchange_init(&t, "token/+=");
    OK(sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    t.x.session_token = SV_LIT("token/+");
    FAILS(ERR_AUTH_UNKNOWN_KEY, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    t.x.session_token = SV_NONE;
    FAILS(ERR_AUTH_UNKNOWN_KEY, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    arena_free(t.a);
    exchange_init(&t, NULL);
    t.x.session_token = SV_LIT("token/+=");
    FAILS(ERR_AUTH_UNKNOWN_KEY, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    arena_free(t.a);
}

/* Does a signature over path `as_signed`, normalised or not, fit a request for path `asked`? */
static bool path_fits(const char *as_signed, bool normalized, const char *asked)
{
    struct exchange t;
    exchange_init(&t, NULL);
    const struct sigv4_scope scope = { SV_LIT("20261123"), SV_LIT("us-east-1"),
                                       SV_LIT("healthlake") };
    const struct sigv4_credentials cred = { SV_LIT("AKID"), SV_LIT("secret"), SV_NONE };
    /* the Authorization */
    t.req.n_headers--;
    t.req.path = sv_from(as_signed);
    t.req.normalize_path = normalized;
    sv *authorization = &t.h[t.req.n_headers].value;
    OK(sigv4_sign(t.a, &t.req, SV_LIT("20261123T183000Z"), &scope, &cred, authorization, e));
    t.req.n_headers++;
    t.req.path = sv_from(asked);
    t.req.normalize_path = true;
    OK(sigv4_claim_parse(t.a, &t.req, &t.claim, e));
    err_code rc = sigv4_verify(t.a, &t.req, &t.claim, &t.x, NULL);
    arena_free(t.a);
    return rc == ERR_OK;
}

TEST(sigv4, a_path_with_runs_of_slashes_may_be_signed_both_ways)
{
    (void)state;
    /* curl */
    assert_true(path_fits("/r4//Patient", false, "/r4//Patient"));
    /* botocore */
    assert_true(path_fits("/r4//Patient", true, "/r4//Patient"));
    assert_true(path_fits("//r4/Patient//", false, "//r4/Patient//"));
    assert_true(path_fits("//r4/Patient//", true, "//r4/Patient//"));
    /* the same place */
    assert_true(path_fits("/r4/Patient", false, "/r4//Patient"));
    static const struct {
        const char *as_signed, *asked;
    } wrong[] = { { "/r4//Patient", "/r4/Patient" },      { "/r4//Patient", "/r4///Patient" },
                  { "/r4//Patient", "//r4/Patient" },     { "/r4//Patient", "/r4//Observation" },
                  { "/r4/Patient/..", "/r4/Patient/.." }, { "/r4/Patient/..", "/r4//Patient" },
                  { "/r4/Patient", "/r4/Patient/" },      { "/r4//", "/r4" } };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (path_fits(wrong[i].as_signed, false, wrong[i].asked))
            fail_msg("%s, %s", wrong[i].as_signed, wrong[i].asked);
}

/* A signature over an empty token that is not sent, by a key with this token. */
static err_code without_token_sent(const char *own)
{
    struct exchange t;
    exchange_init(&t, "");
    for (size_t i = 0; i < t.req.n_headers; i++)
        if (sv_eq(t.h[i].name, SV_LIT("X-Amz-Security-Token")))
            t.h[i].name = SV_LIT("X-Other");
    OK(sigv4_claim_parse(t.a, &t.req, &t.claim, e));
    t.x.session_token = sv_from(own);
    err_code rc = sigv4_verify(t.a, &t.req, &t.claim, &t.x, NULL);
    arena_free(t.a);
    return rc;
}

TEST(sigv4, an_empty_token_may_be_signed_and_not_sent)
{
    (void)state;
    assert_int_equal(without_token_sent(NULL), ERR_OK);
    assert_int_equal(without_token_sent("token"), ERR_AUTH_UNKNOWN_KEY);
    struct exchange t;
    /* signed, and taken away on the way */
    exchange_init(&t, "token");
    t.h[3].name = SV_LIT("X-Other");
    OK(sigv4_claim_parse(t.a, &t.req, &t.claim, e));
    t.x.session_token = SV_NONE;
    FAILS(ERR_AUTH_SIGNATURE, sigv4_verify(t.a, &t.req, &t.claim, &t.x, e));
    arena_free(t.a);
    /* no other header may be */
    exchange_init(&t, NULL);
    struct sigv4_claim c = t.claim;
    struct err err = { 0 };
    c.signed_headers = SV_LIT("host;x-amz-content-sha256;x-amz-date;x-amz-target");
    assert_int_equal(sigv4_verify(t.a, &t.req, &c, &t.x, &err), ERR_AUTH_SIGNATURE);
    assert_string_equal(err.msg, "signed header 'x-amz-content-sha256' is not in the request");
    arena_free(t.a);
}

TEST(sigv4, messages_hold_neither_secret_nor_signature)
{
    (void)state;
    struct exchange t;
    struct err err = { 0 };
    exchange_init(&t, NULL);
    char right[65] = { 0 };
    memcpy(right, t.claim.signature.ptr, 64);
    char wrong[64];
    memset(wrong, '0', sizeof wrong);
    t.claim.signature = sv_make(wrong, 64);
    assert_int_equal(sigv4_verify(t.a, &t.req, &t.claim, &t.x, &err), ERR_AUTH_SIGNATURE);
    assert_null(strstr(err.msg, right));
    assert_null(strstr(err.msg, "secret\""));
    assert_null(strstr(err.msg, "x-amz-date"));
    arena_free(t.a);
}

/* Does the refusal of a request with this path and query say how they are signed? */
static bool tells_how(const char *path, const char *query)
{
    struct exchange t;
    struct err err = { 0 };
    exchange_init(&t, NULL);
    t.req.path = sv_from(path);
    t.req.query = sv_from(query);
    assert_int_equal(sigv4_verify(t.a, &t.req, &t.claim, &t.x, &err), ERR_AUTH_SIGNATURE);
    arena_free(t.a);
    return strstr(err.msg, "sorted and percent-encoded") != NULL;
}

TEST(sigv4, who_types_a_query_is_told_how_it_is_signed)
{
    (void)state;
    assert_true(tells_how("/r4/Patient", "name=a&_count=1"));
    assert_true(tells_how("/r4/Patient", "subject:Patient=x"));
    assert_true(tells_how("/r4/Patient/1/$everything", ""));
    assert_false(tells_how("/r4/Patient", "_count=1&name=a"));
    assert_false(tells_how("/r4/Patient", "subject%3APatient=x"));
    assert_false(tells_how("/r4/Observation", ""));
}

TEST(sigv4, a_full_arena_is_an_error)
{
    (void)state;
    struct exchange t;
    exchange_init(&t, NULL);
    for (size_t budget = 16; budget < 600; budget += 16) {
        struct arena *a = arena_new(budget);
        err_code rc = sigv4_verify(a, &t.req, &t.claim, &t.x, NULL);
        assert_true(rc == ERR_OK || rc == ERR_TOO_LARGE);
        arena_free(a);
    }
    arena_free(t.a);
}

TEST_MAIN(T(sigv4, our_golden_cases_stage_by_stage), T(sigv4, signing_key_of_the_published_example),
          T(sigv4, claim_is_read_whatever_the_spacing),
          T(sigv4, claim_that_is_malformed_names_its_part),
          T(sigv4, every_prefix_of_a_good_header_is_refused_or_read),
          T(sigv4, claim_needs_a_date_that_fits_the_scope),
          T(sigv4, no_signature_and_two_signatures_are_refused), T(sigv4, presigned_claims),
          T(sigv4, a_query_is_signed_as_it_is_read),
          T(sigv4, a_path_with_runs_of_slashes_may_be_signed_both_ways),
          T(sigv4, an_empty_token_may_be_signed_and_not_sent),
          T(sigv4, too_many_query_parameters_are_refused),
          T(sigv4, the_clock_window_is_fifteen_minutes_both_ways),
          T(sigv4, a_presigned_request_lives_as_long_as_it_says),
          T(sigv4, scope_must_name_this_region_and_service),
          T(sigv4, host_and_all_that_steers_must_be_signed),
          T(sigv4, headers_that_proxies_and_sdks_add_need_no_signature),
          T(sigv4, the_session_token_is_exactly_the_keys_own),
          T(sigv4, messages_hold_neither_secret_nor_signature),
          T(sigv4, who_types_a_query_is_told_how_it_is_signed), T(sigv4, a_full_arena_is_an_error))
