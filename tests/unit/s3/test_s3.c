/* test_s3.c - the S3 and STS calls against two real peers: a server that checks signatures and
 * policies (moto), and one that misbehaves on demand (tests/peers/hostile_s3.py). */
#include "test.h"

#include "../../peers/both.h"
#include "base/clock.h"
#include "s3/s3.h"
#include "s3/s3_private.h"

/* ---- xml and faults, no peer ---- */
static err_code count_keys(void *ctx, sv path, sv text, struct err *e)
{
    (void)e;
    if (sv_eq_cstr(path, "L/C/Key") && sv_eq_cstr(text, "a<b"))
        ++*(int *)ctx;
    return ERR_OK;
}

TEST(s3, xml_gives_paths_of_local_names_and_unescaped_text)
{
    int n = 0;
    OK(s3_xml_parse(SV_LIT("<?xml version='1.0'?><x:L xmlns:x='u'><C><Key>a&lt;b</Key></C>"
                           "<C><Key>a&#60;b</Key><Key>c</Key></C></x:L>"),
                    count_keys, &n, e));
    assert_int_equal(n, 2);
}

TEST(s3, xml_refuses_garbage_doctypes_depth_and_long_texts)
{
    static char deep[2048], wide[20000];
    int n = 0;
    size_t at = 0;
    for (int i = 0; i < 100; i++)
        at += (size_t)snprintf(deep + at, sizeof deep - at, "<a>");
    memset(wide, 'x', sizeof wide);
    memcpy(wide, "<a>", 3);
    memcpy(wide + sizeof wide - 4, "</a>", 4);
    FAILS(ERR_PEER, s3_xml_parse(SV_LIT(""), count_keys, &n, e));
    FAILS(ERR_PEER, s3_xml_parse(SV_LIT("<L><C>"), count_keys, &n, e));
    FAILS(ERR_PEER, s3_xml_parse(SV_LIT("{\"a\":1}"), count_keys, &n, e));
    FAILS(ERR_PEER,
          s3_xml_parse(SV_LIT("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"), count_keys, &n, e));
    FAILS(ERR_PEER, s3_xml_parse(sv_make(deep, at), count_keys, &n, e));
    FAILS(ERR_PEER, s3_xml_parse(sv_make(wide, sizeof wide), count_keys, &n, e));
    FAILS(ERR_PEER, s3_xml_parse(sv_make("<a>\0</a>", 8), count_keys, &n, e));
    assert_int_equal(n, 0);
}

TEST(s3, error_codes_are_read_and_cleaned)
{
    char code[64];
    assert_true(s3_fault_code(SV_LIT("<Error><Code>NoSuchKey</Code></Error>"), code));
    assert_string_equal(code, "NoSuchKey");
    assert_true(s3_fault_code(
        SV_LIT("<ErrorResponse><Error><Code>a\nb &lt;c</Code></Error></ErrorResponse>"), code));
    assert_string_equal(code, "abc");
    assert_false(s3_fault_code(SV_LIT("<Other><Code>x</Code></Other>"), code));
    assert_false(s3_fault_code(SV_LIT("<html>"), code));
}

TEST(s3, status_and_code_decide_what_is_tried_again)
{
    struct s3_fault f;
    s3_fault_by_code("SlowDown", 503, &f);
    assert_true(f.retry && f.rc == ERR_PEER);
    s3_fault_by_code("", 500, &f);
    assert_true(f.retry && f.rc == ERR_PEER);
    s3_fault_by_code("", 429, &f);
    assert_true(f.retry);
    s3_fault_by_code("RequestTimeout", 400, &f);
    assert_true(f.retry && f.rc == ERR_TIMEOUT);
    s3_fault_by_code("ExpiredToken", 400, &f);
    assert_true(!f.retry && f.renew && f.rc == ERR_AUTH_EXPIRED);
    s3_fault_by_code("AccessDenied", 403, &f);
    assert_true(!f.retry && f.rc == ERR_DENIED);
    s3_fault_by_code("KMS.NotFoundException", 400, &f);
    assert_true(!f.retry && f.rc == ERR_INVALID);
    /* nobody was refused anything: a clock is wrong */
    s3_fault_by_code("RequestTimeTooSkewed", 403, &f);
    assert_true(!f.retry && f.rc == ERR_PEER && strstr(f.what, "clock"));
    s3_fault_by_code("InternalError", 200, &f);
    assert_true(f.retry && f.rc == ERR_PEER);
}

/* ---- addressing ---- */
static err_code no_credentials(void *ctx, sv refused, struct arena *a, struct s3_credentials *out,
                               struct err *e)
{
    (void)ctx;
    (void)refused;
    (void)a;
    (void)out;
    return ERR(e, ERR_DENIED, "none");
}

static void check_address(const char *url, s3_addressing how, const char *bucket,
                          const char *want_host, const char *want_path)
{
    CLEANUP(s3_client_free) struct s3_client *c = NULL;
    CLEANUP(arena_free) struct arena *a = arena_new(65536);
    struct s3_endpoint ep = { .url = sv_from(url), .region = SV_LIT("r"), .addressing = how };
    sv host, path;
    OK(s3_client_new(&ep, no_credentials, NULL, NULL, &c, e));
    OK(s3_client_address(c, sv_from(bucket), SV_LIT("a/b c+d\xC3\xA9"), a, &host, &path, e));
    assert_sv(host, sv_from(want_host));
    assert_sv(path, sv_from(want_path));
}

TEST(s3, buckets_are_addressed_by_host_or_by_path)
{
    const char *key = "/a/b%20c%2Bd%C3%A9", *with = "/bkt/a/b%20c%2Bd%C3%A9";
    check_address("https://s3.eu-west-1.amazonaws.com", S3_ADDRESSING_AUTO, "bkt",
                  "bkt.s3.eu-west-1.amazonaws.com", key);
    check_address("https://s3.example", S3_ADDRESSING_PATH, "bkt", "s3.example", with);
    check_address("http://minio:9000", S3_ADDRESSING_AUTO, "bkt", "minio:9000", with);
    check_address("http://minio:9000", S3_ADDRESSING_VIRTUAL, "bkt", "bkt.minio:9000", key);
    check_address("http://localhost", S3_ADDRESSING_AUTO, "bkt", "localhost", with);
    check_address("http://10.0.0.1", S3_ADDRESSING_AUTO, "bkt", "10.0.0.1", with);
    check_address("https://s3.example:443", S3_ADDRESSING_AUTO, "bkt", "bkt.s3.example", key);
    check_address("https://s3.example", S3_ADDRESSING_AUTO, "b.kt", "s3.example",
                  "/b.kt/a/b%20c%2Bd%C3%A9");
}

TEST(s3, endpoints_without_region_or_form_are_refused)
{
    struct s3_client *c = NULL;
    struct s3_endpoint ep = { .url = SV_LIT("ftp://x"), .region = SV_LIT("r") };
    FAILS(ERR_INVALID, s3_client_new(&ep, no_credentials, NULL, NULL, &c, e));
    ep = (struct s3_endpoint){ .url = SV_LIT("http://x") };
    FAILS(ERR_INVALID, s3_client_new(&ep, no_credentials, NULL, NULL, &c, e));
    assert_null(c);
}

/* ---- moto ---- */
struct keys {
    struct s3_credentials cred;
    atomic_int calls, refusals;
};

static err_code give(void *ctx, sv refused, struct arena *a, struct s3_credentials *out,
                     struct err *e)
{
    struct keys *k = ctx;
    (void)a;
    (void)e;
    k->calls++;
    k->refusals += refused.len > 0;
    *out = k->cred;
    return ERR_OK;
}

static struct s3_endpoint moto_endpoint(void)
{
    return (struct s3_endpoint){ .url = peer_text(&moto, "url"),
                                 .region = peer_text(&moto, "region"),
                                 .max_attempts = 2 };
}

static struct s3_credentials moto_own(void)
{
    return (struct s3_credentials){ .access_key_id = peer_text(&moto, "own_key"),
                                    .secret_key = peer_text(&moto, "own_secret") };
}

static err_code assume(const char *role, struct arena *a, struct s3_credentials *out, struct err *e)
{
    struct s3_endpoint ep = moto_endpoint();
    struct s3_credentials own = moto_own();
    struct sts_assume_role req = { .role_arn = peer_text(&moto, role),
                                   .session_name = SV_LIT("test@job=1"),
                                   .source_arn = SV_LIT("arn:aws:healthlake:us-east-1:1:datastore/"
                                                        "fhir/0"),
                                   .source_account = SV_LIT("123456789012") };
    return sts_assume_role(&ep, &own, &req, a, out, e);
}

static struct s3_client *moto_client(struct keys *k)
{
    struct s3_client *c = NULL;
    struct s3_endpoint ep = moto_endpoint();
    OK(s3_client_new(&ep, give, k, NULL, &c, e));
    return c;
}

TEST(moto, objects_are_put_headed_read_and_deleted)
{
    NEED(has_moto);
    struct keys k = { moto_own(), 0, 0 };
    CLEANUP(s3_client_free) struct s3_client *c = moto_client(&k);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    sv bucket = peer_text(&moto, "bucket"), kms = SV_LIT("?"), key = SV_LIT("dir/a b+c=d.ndjson");
    struct s3_put p = { .bucket = bucket,
                        .key = key,
                        .body = SV_LIT("{\"a\":1}\n"),
                        .content_type = SV_LIT("application/fhir+ndjson"),
                        .kms_key_id = peer_text(&moto, "kms_key") };
    uint64_t size = 0;
    OK(s3_bucket_head(c, bucket, e));
    OK(s3_object_put(c, &p, e));
    OK(s3_object_head(c, bucket, key, a, &size, &kms, e));
    assert_int_equal(size, 8);
    assert_sv(kms, p.kms_key_id);

    struct byte_reader r;
    char got[64];
    size_t n = 0;
    OK(s3_object_open(c, bucket, key, 1, &r, e));
    OK(r.read(r.ctx, got, sizeof got, &n, e));
    assert_sv(sv_make(got, n), SV_LIT("\"a\":1}\n"));
    FAILS(ERR_EOF, r.read(r.ctx, got, sizeof got, &n, e));
    r.close(r.ctx);

    OK(s3_object_delete(c, bucket, key, e));
    FAILS(ERR_NOT_FOUND, s3_object_head(c, bucket, key, a, &size, &kms, e));
    FAILS(ERR_NOT_FOUND, s3_object_open(c, bucket, key, 0, &r, e));
}

struct seen {
    int n;
    char last[1100];
    uint64_t bytes;
};

static bool see(void *ctx, sv key, uint64_t size)
{
    struct seen *s = ctx;
    char now[1100];
    (void)snprintf(now, sizeof now, "%.*s", SV_FMT(key));
    if (s->n)
        assert_true(strcmp(s->last, now) < 0);
    memcpy(s->last, now, sizeof now);
    s->n++;
    s->bytes += size;
    return true;
}

TEST(moto, listings_go_over_pages_in_order)
{
    NEED(has_moto);
    struct keys k = { moto_own(), 0, 0 };
    CLEANUP(s3_client_free) struct s3_client *c = moto_client(&k);
    sv bucket = SV_LIT("other-bucket");
    for (int i = 0; i < 1005; i++) {
        char key[64];
        int n = snprintf(key, sizeof key, "list/%04d", i);
        struct s3_put p = { .bucket = bucket, .key = sv_make(key, (size_t)n), .body = SV_LIT("x") };
        OK(s3_object_put(c, &p, e));
    }
    struct s3_put p = { .bucket = bucket, .key = SV_LIT("list/z +&<\xC3\xA9") };
    OK(s3_object_put(c, &p, e));
    struct seen s = { 0 };
    OK(s3_object_list(c, bucket, SV_LIT("list/"), see, &s, e));
    assert_int_equal(s.n, 1006);
    assert_int_equal(s.bytes, 1005);
    assert_string_equal(s.last, "list/z +&<\xC3\xA9");
    s = (struct seen){ 0 };
    OK(s3_object_list(c, bucket, SV_LIT("none/"), see, &s, e));
    assert_int_equal(s.n, 0);
}

static err_code add_part(struct s3_upload *u, sv bytes, struct err *e)
{
    return s3_upload_part(u, &bytes, 1, e);
}

TEST(moto, large_objects_go_out_in_parts)
{
    NEED(has_moto);
    struct keys k = { moto_own(), 0, 0 };
    CLEANUP(s3_client_free) struct s3_client *c = moto_client(&k);
    CLEANUP(s3_upload_abort) struct s3_upload *u = NULL;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    size_t part = 8 << 20, n = 0;
    char *bytes = malloc(part);
    sv bucket = peer_text(&moto, "bucket"), key = SV_LIT("big/o"), kms;
    struct s3_put p = { .bucket = bucket,
                        .key = key,
                        .content_type = SV_LIT("application/octet-stream"),
                        .kms_key_id = peer_text(&moto, "kms_key") };
    OK(s3_upload_begin(c, &p, &u, e));
    for (int i = 0; i < 3; i++) {
        memset(bytes, 'a' + i, part);
        OK(add_part(u, sv_make(bytes, i < 2 ? part : 5 << 20), e));
    }
    OK(s3_upload_complete(&u, e));
    assert_null(u);
    uint64_t size, at = 0;
    OK(s3_object_head(c, bucket, key, a, &size, &kms, e));
    assert_int_equal(size, 21u << 20);
    assert_sv(kms, p.kms_key_id);
    struct byte_reader r;
    OK(s3_object_open(c, bucket, key, 0, &r, e));
    struct err e = { 0 };
    while (r.read(r.ctx, bytes, part, &n, &e) == ERR_OK) {
        for (size_t i = 0; i < n; i++)
            if (bytes[i] != (char)('a' + (at + i) / part))
                fail_msg("wrong byte at %llu", (unsigned long long)(at + i));
        at += n;
    }
    r.close(r.ctx);
    assert_int_equal(at, size);
    free(bytes);
}

TEST(moto, an_upload_given_up_leaves_nothing)
{
    NEED(has_moto);
    struct keys k = { moto_own(), 0, 0 };
    CLEANUP(s3_client_free) struct s3_client *c = moto_client(&k);
    struct s3_upload *u = NULL;
    struct s3_put p = { .bucket = peer_text(&moto, "bucket"), .key = SV_LIT("gone/o") };
    OK(s3_upload_begin(c, &p, &u, e));
    OK(add_part(u, SV_LIT("abc"), e));
    s3_upload_abort(u);
    struct seen s = { 0 };
    OK(s3_object_list(c, p.bucket, SV_LIT("gone/"), see, &s, e));
    assert_int_equal(s.n, 0);
}

TEST(moto, missing_buckets_and_wrong_secrets_are_told)
{
    NEED(has_moto);
    struct keys k = { moto_own(), 0, 0 };
    CLEANUP(s3_client_free) struct s3_client *c = moto_client(&k);
    struct s3_put p = { .bucket = SV_LIT("no-such-bucket"), .key = SV_LIT("k") };
    struct err why = { 0 };
    assert_int_equal(s3_object_put(c, &p, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.msg, "bucket no-such-bucket: bucket does not exist"));
    FAILS(ERR_NOT_FOUND, s3_bucket_head(c, p.bucket, e));

    struct keys wrong = { moto_own(), 0, 0 };
    wrong.cred.secret_key = SV_LIT("not-the-secret");
    CLEANUP(s3_client_free) struct s3_client *w = moto_client(&wrong);
    p.bucket = peer_text(&moto, "bucket");
    assert_int_equal(s3_object_put(w, &p, &why), ERR_DENIED);
    assert_non_null(strstr(why.msg, "SignatureDoesNotMatch"));
    assert_null(strstr(why.msg, "not-the-secret"));
    /* a 4xx is final */
    assert_int_equal(wrong.calls, 1);
}

TEST(moto, assumed_roles_may_what_their_policy_says)
{
    NEED(has_moto);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct keys k = { 0 }, rd = { 0 };
    OK(assume("role", a, &k.cred, e));
    assert_true(k.cred.session_token.len > 0);
    assert_true(k.cred.expires_ms > clock_wall_ms() + 3000 * 1000);
    assert_true(k.cred.expires_ms < clock_wall_ms() + 4000 * 1000);
    CLEANUP(s3_client_free) struct s3_client *c = moto_client(&k);
    struct s3_put p = { .bucket = peer_text(&moto, "bucket"),
                        .key = SV_LIT("role/o"),
                        .body = SV_LIT("x"),
                        .kms_key_id = peer_text(&moto, "kms_key") };
    OK(s3_object_put(c, &p, e));
    struct s3_put q = p;
    q.bucket = SV_LIT("other-bucket");
    FAILS(ERR_DENIED, s3_object_put(c, &q, e));

    OK(assume("reader", a, &rd.cred, e));
    CLEANUP(s3_client_free) struct s3_client *r = moto_client(&rd);
    uint64_t size;
    sv kms;
    struct err why = { 0 };
    OK(s3_object_head(r, p.bucket, p.key, a, &size, &kms, e));
    assert_int_equal(s3_object_put(r, &p, &why), ERR_DENIED);
    assert_non_null(strstr(why.msg, "AccessDenied"));
}

TEST(moto, a_role_that_trusts_another_is_refused)
{
    NEED(has_moto);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct s3_credentials got = { 0 };
    FAILS(ERR_DENIED, assume("closed", a, &got, e));
    assert_int_equal(got.access_key_id.len, 0);
}

/* ---- the hostile peer ---- */

static struct keys plain = { { { "AKID", 4 }, { "secret", 6 }, { NULL, 0 }, 0 }, 0, 0 };

static struct s3_client *bad_client(struct keys *k, unsigned attempts, unsigned timeout_ms,
                                    const atomic_bool *cancel)
{
    struct s3_client *c = NULL;
    struct s3_endpoint ep = { .url = sv_from(bad_url),
                              .region = SV_LIT("us-east-1"),
                              .max_attempts = attempts,
                              .timeout_ms = timeout_ms,
                              .connect_timeout_ms = NEVER_MS };
    OK(s3_client_new(&ep, give, k, cancel, &c, e));
    return c;
}

static const struct s3_put small = { .bucket = { "b", 1 }, .key = { "k", 1 }, .body = { "hi", 2 } };

TEST(hostile, failures_that_pass_are_tried_again)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 8, NEVER_MS, NULL);
    script("[{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"},"
           "{\"do\":\"fail\",\"status\":500,\"code\":\"InternalError\"},"
           "{\"do\":\"fail\",\"status\":429,\"code\":\"TooMany\"},"
           "{\"do\":\"fail\",\"status\":400,\"code\":\"RequestTimeout\"},"
           "{\"do\":\"reset\"},{\"do\":\"truncate\",\"bytes\":0}]");
    OK(s3_object_put(c, &small, e));
    assert_true(count_log() >= 6);
}

TEST(hostile, attempts_end)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 3, NEVER_MS, NULL);
    struct err why = { 0 };
    script("[{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"},"
           "{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"},"
           "{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"}]");
    assert_int_equal(s3_object_put(c, &small, &why), ERR_PEER);
    assert_non_null(strstr(why.msg, "3 attempts: SlowDown (503)"));
    assert_int_equal(count_log(), 3);
}

TEST(hostile, refusals_are_final)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 6, NEVER_MS, NULL);
    script("[{\"do\":\"fail\",\"status\":403,\"code\":\"AccessDenied\"}]");
    FAILS(ERR_DENIED, s3_object_put(c, &small, e));
    assert_int_equal(count_log(), 1);
    script("[{\"do\":\"fail\",\"status\":400,\"code\":\"KMS.NotFoundException\"}]");
    FAILS(ERR_INVALID, s3_object_put(c, &small, e));
    assert_int_equal(count_log(), 1);
}

TEST(hostile, redirects_name_the_region_and_are_not_followed)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 6, NEVER_MS, NULL);
    struct err why = { 0 };
    script("[{\"do\":\"answer\",\"status\":301,\"body\":\"\",\"headers\":"
           "{\"Location\":\"http://127.0.0.1:1/\",\"x-amz-bucket-region\":\"eu-west-3\"}}]");
    assert_int_equal(s3_object_put(c, &small, &why), ERR_INVALID);
    assert_non_null(strstr(why.msg, "eu-west-3"));
    assert_int_equal(count_log(), 1);
}

TEST(hostile, silence_ends_at_the_timeout)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 2, 200, NULL);
    /* a peer that is held up for longer than that has not heard of both: once more then */
    uint64_t left = 2;
    for (unsigned tries = 0; tries < 50 && left > 0; tries++) {
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        struct err why = { 0 };
        script("[{\"do\":\"stall\",\"seconds\":2},{\"do\":\"stall\",\"seconds\":2}]");
        assert_int_equal(s3_object_put(c, &small, &why), ERR_TIMEOUT);
        assert_non_null(strstr(why.msg, "2 attempts: "));
        (void)log_of(a, &left);
    }
    assert_int_equal(left, 0);
}

TEST(hostile, retry_after_is_honoured)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 6, NEVER_MS, NULL);
    script("[{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\","
           "\"headers\":{\"Retry-After\":\"1\"}}]");
    uint64_t from = clock_mono_us();
    OK(s3_object_put(c, &small, e));
    /* the first backoff alone is at most 100 ms: only the header can make it this long */
    assert_true(clock_mono_us() - from >= 1000000);
}

static atomic_bool stop_flag;
static void *stop_soon(void *ctx)
{
    (void)ctx;
    (void)usleep(150000);
    atomic_store(&stop_flag, true);
    return NULL;
}

static void check_cancel(const char *steps)
{
    pthread_t t;
    atomic_store(&stop_flag, false);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 6, NEVER_MS, &stop_flag);
    script(steps);
    assert_int_equal(pthread_create(&t, NULL, stop_soon, NULL), 0);
    uint64_t from = clock_mono_us();
    FAILS(ERR_CANCELLED, s3_object_put(c, &small, e));
    /* the peer is silent, or asks us, for longer */
    assert_true(clock_mono_us() - from < 8000000);
    pthread_join(t, NULL);
}

TEST(hostile, a_cancel_ends_waits_and_transfers)
{
    NEED(has_bad);
    check_cancel("[{\"do\":\"stall\",\"seconds\":20}]");
    check_cancel("[{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\","
                 "\"headers\":{\"Retry-After\":\"25\"}}]");
}

static char *pattern(size_t n)
{
    char *p = malloc(n);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)('!' + i * 2654435761u % 93);
    return p;
}

static err_code read_all(struct s3_client *c, sv key, uint64_t from, struct buf *out, struct err *e)
{
    struct byte_reader r;
    TRY(s3_object_open(c, SV_LIT("b"), key, from, &r, e));
    err_code rc;
    char piece[70000];
    size_t n = 0;
    while ((rc = r.read(r.ctx, piece, sizeof piece, &n, e)) == ERR_OK)
        assert_int_equal(buf_add(out, sv_make(piece, n), e), ERR_OK);
    r.close(r.ctx);
    return rc == ERR_EOF ? ERR_OK : rc;
}

TEST(hostile, broken_reads_are_taken_up_where_they_ended)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 8, 300, NULL);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    CLEANUP_BUF struct buf got = BUF_INIT(16 << 20);
    size_t n = 5 << 20;
    char *bytes = pattern(n);
    struct s3_put p = { .bucket = SV_LIT("b"), .key = SV_LIT("o"), .body = sv_make(bytes, n) };
    script("[]");
    OK(s3_object_put(c, &p, e));
    uint64_t left = 0;
    sv range = SV_NONE;
    yyjson_val *last = NULL;
    size_t n_asked = 0;
    /* a peer that is held up for so long is taken for silent before it is: tried again then */
    for (unsigned tries = 0; tries < 20 && (n_asked != 6 || !sv_eq_cstr(range, "bytes=3570000-"));
         tries++) {
        buf_clear(&got);
        arena_reset(a);
        script("[{\"do\":\"truncate\",\"bytes\":1000000},{\"do\":\"reset\"},"
               "{\"do\":\"hang\",\"bytes\":70000,\"seconds\":1},{\"do\":\"truncate\",\"bytes\":"
               "2500000},"
               "{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"}]");
        OK(read_all(c, p.key, 0, &got, e));
        assert_sv(buf_sv(&got), p.body);
        yyjson_val *log = log_of(a, &left);
        last = yyjson_arr_get_last(log);
        n_asked = yyjson_arr_size(log);
        range = json_string(json_get(json_get(last, "headers"), "range"));
    }
    assert_int_equal(left, 0);
    assert_int_equal(n_asked, 6);
    assert_sv(range, SV_LIT("bytes=3570000-"));
    assert_true(json_string(json_get(json_get(last, "headers"), "if-match")).len > 10);

    /* from the middle, and from behind the end */
    buf_clear(&got);
    script("[{\"do\":\"truncate\",\"bytes\":10}]");
    OK(read_all(c, p.key, n - 100, &got, e));
    assert_sv(buf_sv(&got), sv_make(bytes + n - 100, 100));
    buf_clear(&got);
    OK(read_all(c, p.key, n, &got, e));
    assert_int_equal(got.len, 0);
    free(bytes);
}

/* It may be seen together with the last bytes, which are handed out first. */
TEST(hostile, the_end_of_a_connection_is_not_forgotten)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 1, NEVER_MS, NULL);
    CLEANUP_BUF struct buf got = BUF_INIT(64 << 20);
    size_t n = 24 << 20;
    char *bytes = pattern(n);
    struct s3_put p = { .bucket = SV_LIT("b"), .key = SV_LIT("end"), .body = sv_make(bytes, n) };
    script("[]");
    OK(s3_object_put(c, &p, e));
    for (unsigned i = 0; i < 8; i++) {
        char steps[80];
        (void)snprintf(steps, sizeof steps, "[{\"do\":\"truncate\",\"bytes\":%u}]",
                       20000000 + i * 1000);
        script(steps);
        buf_clear(&got);
        FAILS(ERR_PEER, read_all(c, p.key, 0, &got, e));
        assert_int_equal(got.len, 20000000 + i * 1000);
    }
    free(bytes);
}

TEST(hostile, an_object_that_changes_under_a_read_is_told)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 4, NEVER_MS, NULL);
    CLEANUP_BUF struct buf got = BUF_INIT(16 << 20);
    size_t n = 1 << 20;
    char *bytes = pattern(n);
    struct s3_put p = { .bucket = SV_LIT("b"), .key = SV_LIT("ch"), .body = sv_make(bytes, n) };
    script("[]");
    OK(s3_object_put(c, &p, e));
    script("[{\"do\":\"truncate\",\"bytes\":1000},"
           "{\"do\":\"change\",\"bucket\":\"b\",\"key\":\"ch\",\"size\":1048576}]");
    FAILS(ERR_PEER, read_all(c, p.key, 0, &got, e));
    OK(s3_object_put(c, &p, e));
    /* a server that ignores If-Match */
    buf_clear(&got);
    script("[{\"do\":\"truncate\",\"bytes\":1000},{\"do\":\"etag\",\"value\":\"\\\"other\\\"\"}]");
    FAILS(ERR_PEER, read_all(c, p.key, 0, &got, e));
    /* a server that ignores Range */
    buf_clear(&got);
    script("[{\"do\":\"answer\",\"status\":200,\"body\":\"all of it\"}]");
    FAILS(ERR_PEER, read_all(c, p.key, 5, &got, e));
    free(bytes);
}

TEST(hostile, reads_report_refusals_at_the_start)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 4, NEVER_MS, NULL);
    struct byte_reader r;
    script("[]");
    FAILS(ERR_NOT_FOUND, s3_object_open(c, SV_LIT("b"), SV_LIT("nope"), 0, &r, e));
    script("[{\"do\":\"fail\",\"status\":403,\"code\":\"AccessDenied\"}]");
    FAILS(ERR_DENIED, s3_object_open(c, SV_LIT("b"), SV_LIT("k"), 0, &r, e));
}

TEST(hostile, garbage_and_endless_listings_end_in_errors)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 2, NEVER_MS, NULL);
    struct seen s = { 0 };
    script("[{\"do\":\"answer\",\"status\":200,\"body\":\"<html>hello\"},"
           "{\"do\":\"answer\",\"status\":200,\"body\":\"<html/>\"}]");
    FAILS(ERR_PEER, s3_object_list(c, SV_LIT("b"), SV_LIT(""), see, &s, e));
    script("[{\"do\":\"fill\",\"bytes\":100000000}]");
    FAILS(ERR_PEER, s3_object_list(c, SV_LIT("b"), SV_LIT(""), see, &s, e));
    const char *loop =
        "{\"do\":\"answer\",\"status\":200,\"body\":\"<ListBucketResult><IsTruncated>true"
        "</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>\"}";
    char steps[1024];
    (void)snprintf(steps, sizeof steps, "[%s,%s]", loop, loop);
    script(steps);
    FAILS(ERR_PEER, s3_object_list(c, SV_LIT("b"), SV_LIT(""), see, &s, e));
    assert_int_equal(s.n, 0);
}

TEST(hostile, a_listing_that_breaks_hands_on_each_key_once)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 4, NEVER_MS, NULL);
    script("[]");
    for (int i = 0; i < 5; i++) {
        char key[8] = { 'l', '/', (char)('a' + i), ' ', '+', 0 };
        struct s3_put p = { .bucket = SV_LIT("lb"), .key = sv_from(key), .body = SV_LIT("abc") };
        OK(s3_object_put(c, &p, e));
    }
    struct seen s = { 0 };
    script("[{\"do\":\"ok\"},{\"do\":\"truncate\",\"bytes\":150},{\"do\":\"ok\"}]");
    OK(s3_object_list(c, SV_LIT("lb"), SV_LIT("l/"), see, &s, e));
    assert_int_equal(s.n, 5);
    assert_int_equal(s.bytes, 15);
    assert_string_equal(s.last, "l/e +");
}

TEST(hostile, an_error_inside_a_200_of_complete_is_one)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 4, NEVER_MS, NULL);
    CLEANUP(s3_upload_abort) struct s3_upload *u = NULL;
    char one[256], steps[512];
    script("[]");
    OK(s3_upload_begin(c, &small, &u, e));
    OK(add_part(u, SV_LIT("one"), e));
    (void)snprintf(one, sizeof one,
                   "{\"do\":\"answer\",\"status\":200,\"body\":"
                   "\"<Error><Code>EntityTooSmall</Code></Error>\"}");
    (void)snprintf(steps, sizeof steps, "[%s]", one);
    script(steps);
    struct err why = { 0 };
    assert_int_not_equal(s3_upload_complete(&u, &why), ERR_OK);
    assert_non_null(u);
    assert_non_null(strstr(why.msg, "EntityTooSmall"));
    script("[{\"do\":\"answer\",\"status\":200,\"body\":"
           "\"<Error><Code>InternalError</Code></Error>\"}]");
    OK(s3_upload_complete(&u, e));
    assert_int_equal(count_log(), 2);
}

TEST(hostile, a_complete_whose_answer_was_lost_is_found_done)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 4, NEVER_MS, NULL);
    CLEANUP(s3_upload_abort) struct s3_upload *u = NULL;
    script("[]");
    OK(s3_upload_begin(c, &small, &u, e));
    OK(add_part(u, SV_LIT("one"), e));
    OK(add_part(u, SV_LIT("two"), e));
    script("[{\"do\":\"truncate\",\"bytes\":5}]");
    OK(s3_upload_complete(&u, e));
    assert_true(count_log() >= 2);
}

TEST(hostile, an_expired_token_is_renewed_once)
{
    NEED(has_bad);
    struct keys k = { plain.cred, 0, 0 };
    k.cred.session_token = SV_LIT("tok");
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&k, 4, NEVER_MS, NULL);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    script("[{\"do\":\"fail\",\"status\":400,\"code\":\"ExpiredToken\"}]");
    OK(s3_object_put(c, &small, e));
    assert_int_equal(k.refusals, 1);
    assert_int_equal(count_log(), 2);
    script("[{\"do\":\"fail\",\"status\":400,\"code\":\"ExpiredToken\"},"
           "{\"do\":\"fail\",\"status\":400,\"code\":\"ExpiredToken\"}]");
    FAILS(ERR_AUTH_EXPIRED, s3_object_put(c, &small, e));
    assert_int_equal(count_log(), 2);
    /* HEAD: 400, and no body that says why */
    script("[{\"do\":\"fail\",\"status\":400,\"code\":\"ExpiredToken\"}]");
    uint64_t size;
    sv kms;
    OK(s3_object_head(c, small.bucket, small.key, a, &size, &kms, e));
    assert_int_equal(size, 2);
}

TEST(hostile, keys_and_header_values_cannot_break_out_of_a_request)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 1, NEVER_MS, NULL);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct s3_put p = small;
    p.kms_key_id = SV_LIT("key\r\nx-evil: 1");
    script("[]");
    FAILS(ERR_INVALID, s3_object_put(c, &p, e));
    p = small;
    p.key = SV_LIT("a?b#c\r\nd/../e");
    OK(s3_object_put(c, &p, e));
    uint64_t left;
    yyjson_val *last = yyjson_arr_get_last(log_of(a, &left));
    assert_sv(json_string(json_get(last, "path")), SV_LIT("/b/a%3Fb%23c%0D%0Ad/../e"));
    yyjson_val *h = json_get(last, "headers");
    assert_null(json_get(h, "expect"));
    assert_null(json_get(h, "x-evil"));
    assert_non_null(json_get(h, "x-amz-checksum-sha256"));
}

TEST(hostile, assume_role_sends_who_asks_and_reads_the_answer)
{
    NEED(has_bad);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct s3_endpoint ep = { .url = sv_from(bad_url), .region = SV_LIT("us-east-1") };
    struct sts_assume_role req = { .role_arn = SV_LIT("arn:aws:iam::123456789012:role/x"),
                                   .session_name = SV_LIT("s"),
                                   .external_id = SV_LIT("e&x=1"),
                                   .source_arn = SV_LIT("arn:s"),
                                   .source_account = SV_LIT("123456789012") };
    struct s3_credentials got = { 0 };
    script("[{\"do\":\"fail\",\"status\":503,\"code\":\"ServiceUnavailable\"}]");
    OK(sts_assume_role(&ep, &plain.cred, &req, a, &got, e));
    assert_true(sv_starts(got.session_token, SV_LIT("token")));
    assert_true(got.expires_ms > clock_wall_ms());
    uint64_t left;
    yyjson_val *last = yyjson_arr_get_last(log_of(a, &left));
    sv body = json_string(json_get(last, "body"));
    const char *want = "ExternalId=e%26x%3D1";
    assert_non_null(memmem(body.ptr, body.len, want, strlen(want)));
    yyjson_val *h = json_get(last, "headers");
    assert_sv(json_string(json_get(h, "x-amz-source-arn")), SV_LIT("arn:s"));
    assert_sv(json_string(json_get(h, "x-amz-source-account")), SV_LIT("123456789012"));
    sv auth = json_string(json_get(h, "authorization"));
    want = "x-amz-source-arn";
    assert_non_null(memmem(auth.ptr, auth.len, want, strlen(want)));

    req.role_arn = SV_LIT("arn:aws:iam::123456789012:role/refused");
    script("[]");
    FAILS(ERR_DENIED, sts_assume_role(&ep, &plain.cred, &req, a, &got, e));
    script("[{\"do\":\"answer\",\"status\":200,\"body\":\"<AssumeRoleResponse/>\"}]");
    ep.max_attempts = 1;
    FAILS(ERR_PEER, sts_assume_role(&ep, &plain.cred, &req, a, &got, e));
}

struct many {
    struct s3_client *c;
    int id, failed;
};

static void *put_many(void *ctx)
{
    struct many *m = ctx;
    for (int i = 0; i < 40; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "t%d/%d", m->id, i);
        struct s3_put p = { .bucket = SV_LIT("tb"),
                            .key = sv_make(key, (size_t)n),
                            .body = sv_make(key, (size_t)n) };
        struct err e = { 0 };
        m->failed += s3_object_put(m->c, &p, &e) != ERR_OK;
    }
    return NULL;
}

TEST(hostile, one_client_serves_many_threads)
{
    NEED(has_bad);
    CLEANUP(s3_client_free) struct s3_client *c = bad_client(&plain, 6, NEVER_MS, NULL);
    pthread_t t[4];
    struct many m[4];
    struct seen s = { 0 };
    script("[]");
    for (int i = 0; i < 4; i++) {
        m[i] = (struct many){ c, i, 0 };
        assert_int_equal(pthread_create(&t[i], NULL, put_many, &m[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(m[i].failed, 0);
    }
    OK(s3_object_list(c, SV_LIT("tb"), SV_LIT(""), see, &s, e));
    assert_int_equal(s.n, 160);
}

TEST(hostile, a_certificate_that_nobody_vouches_for_is_refused)
{
    char url[64], ca[256];
    NEED(hostile_tls(url, ca));
    struct s3_endpoint ep = { .url = sv_from(url), .region = SV_LIT("r") };
    struct s3_client *c = NULL;
    struct err why = { 0 };
    const char *was = getenv("SSL_CERT_FILE");
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    char *kept = was ? arena_str(a, sv_from(was)) : NULL;
    script("[]");
    (void)unsetenv("SSL_CERT_FILE");
    OK(s3_client_new(&ep, give, &plain, NULL, &c, e));
    assert_int_equal(s3_object_put(c, &small, &why), ERR_PEER);
    /* another try would not make it better */
    assert_null(strstr(why.msg, "attempts"));
    assert_non_null(strstr(why.msg, "the peer's certificate is not taken"));
    s3_client_free(c);
    (void)setenv("SSL_CERT_FILE", ca, 1);
    OK(s3_client_new(&ep, give, &plain, NULL, &c, e));
    OK(s3_object_put(c, &small, e));
    s3_client_free(c);
    /* the first never came to a request */
    assert_int_equal(count_log(), 1);
    if (kept)
        (void)setenv("SSL_CERT_FILE", kept, 1);
    else
        (void)unsetenv("SSL_CERT_FILE");
}

TEST(s3, nobody_listening_is_a_peer_that_failed)
{
    CLEANUP(s3_client_free) struct s3_client *c = NULL;
    struct s3_endpoint ep = { .url = SV_LIT("http://127.0.0.1:1"),
                              .region = SV_LIT("r"),
                              .max_attempts = 2 };
    OK(s3_client_new(&ep, give, &plain, NULL, &c, e));
    FAILS(ERR_PEER, s3_object_put(c, &small, e));
}

/* As when names are not resolved for a while: each attempt ends before it has a connection. */
TEST(s3, a_host_that_has_no_address_is_a_peer_that_failed)
{
    static const char *const proxies[] = { "http://[::1", "http://a:99999", "foo://a" };
    for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++) {
        struct s3_client *c = NULL;
        struct s3_endpoint ep = { .url = SV_LIT("https://192.0.2.1:1"),
                                  .region = SV_LIT("us-east-1"),
                                  .max_attempts = 3 };
        (void)setenv("https_proxy", proxies[i], 1);
        OK(s3_client_new(&ep, give, &plain, NULL, &c, e));
        for (int n = 0; n < 2; n++)
            FAILS(ERR_PEER, s3_object_put(c, &small, e));
        s3_client_free(c);
        (void)unsetenv("https_proxy");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(s3, xml_gives_paths_of_local_names_and_unescaped_text),
        T(s3, xml_refuses_garbage_doctypes_depth_and_long_texts),
        T(s3, error_codes_are_read_and_cleaned),
        T(s3, status_and_code_decide_what_is_tried_again),
        T(s3, buckets_are_addressed_by_host_or_by_path),
        T(s3, endpoints_without_region_or_form_are_refused),
        T(s3, nobody_listening_is_a_peer_that_failed),
        T(s3, a_host_that_has_no_address_is_a_peer_that_failed),
        T(hostile, failures_that_pass_are_tried_again),
        T(hostile, attempts_end),
        T(hostile, refusals_are_final),
        T(hostile, redirects_name_the_region_and_are_not_followed),
        T(hostile, silence_ends_at_the_timeout),
        T(hostile, retry_after_is_honoured),
        T(hostile, a_cancel_ends_waits_and_transfers),
        T(hostile, broken_reads_are_taken_up_where_they_ended),
        T(hostile, the_end_of_a_connection_is_not_forgotten),
        T(hostile, an_object_that_changes_under_a_read_is_told),
        T(hostile, reads_report_refusals_at_the_start),
        T(hostile, garbage_and_endless_listings_end_in_errors),
        T(hostile, a_listing_that_breaks_hands_on_each_key_once),
        T(hostile, an_error_inside_a_200_of_complete_is_one),
        T(hostile, a_complete_whose_answer_was_lost_is_found_done),
        T(hostile, an_expired_token_is_renewed_once),
        T(hostile, keys_and_header_values_cannot_break_out_of_a_request),
        T(hostile, assume_role_sends_who_asks_and_reads_the_answer),
        T(hostile, one_client_serves_many_threads),
        T(hostile, a_certificate_that_nobody_vouches_for_is_refused),
        T(moto, objects_are_put_headed_read_and_deleted),
        T(moto, listings_go_over_pages_in_order),
        T(moto, large_objects_go_out_in_parts),
        T(moto, an_upload_given_up_leaves_nothing),
        T(moto, missing_buckets_and_wrong_secrets_are_told),
        T(moto, assumed_roles_may_what_their_policy_says),
        T(moto, a_role_that_trusts_another_is_refused),
    };
    RUN_WITH_BOTH(tests);
}
