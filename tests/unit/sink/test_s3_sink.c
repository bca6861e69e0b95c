/* test_s3_sink.c - sinks on an S3 endpoint: roles assumed, renewed and refused; one PUT or
 * parts. */
#include "test.h"

#include "../../peers/peer.h"
#include "base/clock.h"
#include "base/file.h"
#include "codec/hash.h"
#include "sink/sink_private.h"

#include <curl/curl.h>
#include <pthread.h>

/* TEST names a state that few tests need. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define TYPE SV_LIT("application/fhir+ndjson")

static struct peer moto, bad;
static bool has_moto, has_bad;
static char bad_url[64];

#define NEED(has)   \
    do {            \
        if (!(has)) \
            skip(); \
    } while (0)

static struct sink_world *world(const char *url, struct s3_credentials own, const char *roles,
                                bool sts)
{
    struct sink_world *w = NULL;
    struct s3_endpoint ep = { .url = sv_from(url),
                              .region = SV_LIT("us-east-1"),
                              .max_attempts = 3,
                              .timeout_ms = NEVER_MS };
    struct sink_config cfg = {
        .s3 = &ep, .sts = sts ? &ep : NULL, .own = own, .roles_file = roles
    };
    OK(sink_world_new(&cfg, &w, e));
    return w;
}

static struct sink_target target(const char *uri, sv role)
{
    return (struct sink_target){ .uri = sv_from(uri),
                                 .role_arn = role,
                                 .session_name = SV_LIT("job 1"),
                                 .account_id = SV_LIT("123456789012"),
                                 .source_arn = SV_LIT("arn:aws:healthlake:us-east-1:"
                                                      "123456789012:datastore/fhir/0") };
}

static struct sink_world *moto_world(void)
{
    struct s3_credentials own = { .access_key_id = peer_text(&moto, "own_key"),
                                  .secret_key = peer_text(&moto, "own_secret") };
    return world(peer_text(&moto, "url").ptr, own, NULL, true);
}

static bool count(void *ctx, sv key, uint64_t bytes)
{
    ++*(int *)ctx;
    return true;
}

/* Bytes from offset on against the pattern of make_bytes. */
static void check_read(struct sink *s, const char *key, uint64_t from, const char *want, size_t n)
{
    struct byte_reader r;
    struct err end = { 0 };
    static char piece[100000];
    size_t got = 0, at = (size_t)from;
    OK(sink_read(s, sv_from(key), from, &r, e));
    while (r.read(r.ctx, piece, sizeof piece, &got, &end) == ERR_OK) {
        assert_true(at + got <= n);
        assert_memory_equal(piece, want + at, got);
        at += got;
    }
    assert_int_equal(end.code, ERR_EOF);
    assert_int_equal(at, n);
    r.close(r.ctx);
}

static char *make_bytes(size_t n)
{
    char *p = malloc(n);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(i * 31 + i / 4096);
    return p;
}

TEST(moto, a_sink_probes_writes_lists_and_reads_under_its_role)
{
    NEED(has_moto);
    CLEANUP(sink_world_free) struct sink_world *w = moto_world();
    CLEANUP(sink_close) struct sink *s = NULL, *one = NULL;
    struct sink_target t = target("s3://fhir-bucket/out/", peer_text(&moto, "role"));
    t.kms_key_id = peer_text(&moto, "kms_key");
    struct sink_object o;
    unsigned char want[32];
    uint64_t size = 0;
    int n = 0;
    OK(sink_open(w, &t, &s, e));
    OK(sink_probe_write(s, e));
    /* and so the probe left nothing */
    FAILS(ERR_NOT_FOUND, sink_probe_read(s, e));
    OK(sink_put(s, SV_LIT("Patient/p+1 =.ndjson"), TYPE, SV_LIT("abc"), &o, e));
    hash_sha256_of(SV_LIT("abc"), want);
    assert_memory_equal(o.sha256, want, 32);
    OK(sink_probe_read(s, e));
    OK(sink_stat(s, SV_LIT("Patient/p+1 =.ndjson"), &size, e));
    assert_int_equal(size, 3);
    OK(sink_list(s, count, &n, e));
    assert_int_equal(n, 1);
    check_read(s, "out/Patient/p+1 =.ndjson", 1, "abc", 3);
    t.uri = SV_LIT("s3://fhir-bucket/out/Patient/p+1 =.ndjson");
    OK(sink_open(w, &t, &one, e));
    OK(sink_probe_read(one, e));
    OK(sink_delete(s, SV_LIT("Patient/p+1 =.ndjson"), e));
    FAILS(ERR_NOT_FOUND, sink_stat(s, SV_LIT("Patient/p+1 =.ndjson"), &size, e));
}

struct surveyed {
    int n, most;
    uint64_t bytes;
};

static bool survey_one(void *ctx, sv name, uint64_t bytes)
{
    struct surveyed *s = ctx;
    assert_true(sv_starts(name, SV_LIT("Patient/")));
    s->bytes += bytes;
    return ++s->n < s->most;
}

TEST(moto, a_survey_tells_the_sizes_of_what_was_written_by_its_names)
{
    NEED(has_moto);
    CLEANUP(sink_world_free) struct sink_world *w = moto_world();
    CLEANUP(sink_close) struct sink *s = NULL, *beside = NULL;
    struct sink_target t = target("s3://fhir-bucket/survey/job/", peer_text(&moto, "role"));
    t.kms_key_id = peer_text(&moto, "kms_key");
    OK(sink_open(w, &t, &s, e));
    /* a folder whose name begins alike */
    t.uri = SV_LIT("s3://fhir-bucket/survey/job2/");
    OK(sink_open(w, &t, &beside, e));
    OK(sink_put(beside, SV_LIT("Other/1"), TYPE, SV_LIT("abc"), NULL, e));
    OK(sink_put(s, SV_LIT("Patient/1 +.ndjson"), TYPE, SV_LIT("abc"), NULL, e));
    OK(sink_put(s, SV_LIT("Patient/2"), TYPE, SV_LIT("defgh"), NULL, e));
    struct surveyed all = { 0, 10, 0 }, first = { 0, 1, 0 };
    OK(sink_survey(s, survey_one, &all, e));
    assert_int_equal(all.n, 2);
    assert_int_equal(all.bytes, 8);
    OK(sink_survey(s, survey_one, &first, e));
    assert_int_equal(first.n, 1);
}

TEST(moto, refusals_are_seen_before_a_job_exists)
{
    NEED(has_moto);
    CLEANUP(sink_world_free) struct sink_world *w = moto_world();
    CLEANUP(sink_close) struct sink *s = NULL, *r = NULL, *m = NULL;
    struct sink_target t = target("s3://fhir-bucket/out", peer_text(&moto, "closed"));
    FAILS(ERR_DENIED, sink_open(w, &t, &s, e));
    t.role_arn = peer_text(&moto, "reader");
    OK(sink_open(w, &t, &r, e));
    FAILS(ERR_DENIED, sink_probe_write(r, e));
    t = target("s3://no-such-bucket/out", peer_text(&moto, "role"));
    OK(sink_open(w, &t, &m, e));
    struct err why = { 0 };
    assert_int_equal(sink_probe_write(m, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.msg, "bucket no-such-bucket: bucket does not exist"));
    assert_int_equal(sink_probe_read(m, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.msg, "bucket no-such-bucket: bucket does not exist"));
}

TEST(moto, what_passes_max_bytes_goes_out_in_parts)
{
    NEED(has_moto);
    CLEANUP(sink_world_free) struct sink_world *w = moto_world();
    CLEANUP(sink_close) struct sink *s = NULL;
    struct sink_target t = target("s3://fhir-bucket/big", peer_text(&moto, "role"));
    t.kms_key_id = peer_text(&moto, "kms_key");
    OK(sink_open(w, &t, &s, e));
    size_t n = (37u << 20) + 12345, at = 0, step = 1;
    char *bytes = make_bytes(n);
    unsigned char want[32];
    hash_sha256_of(sv_make(bytes, n), want);
    struct sink_file *f = NULL;
    struct sink_object o;
    OK(sink_file_create(s, SV_LIT("o"), TYPE, 20u << 20, &f, e));
    for (; at < n; at += step) {
        step = step * 3 < n - at ? step * 3 : n - at;
        OK(sink_file_write(f, sv_make(bytes + at, step), e));
    }
    OK(sink_file_commit(&f, &o, e));
    assert_int_equal(o.bytes, n);
    assert_memory_equal(o.sha256, want, 32);
    check_read(s, "big/o", 0, bytes, n);
    check_read(s, "big/o", n - 7, bytes, n);

    /* as many bytes as max_bytes: still one PUT; and an aborted one leaves nothing */
    OK(sink_file_create(s, SV_LIT("exact"), TYPE, 6u << 20, &f, e));
    OK(sink_file_write(f, sv_make(bytes, 6u << 20), e));
    OK(sink_file_commit(&f, &o, e));
    check_read(s, "big/exact", 0, bytes, 6u << 20);
    OK(sink_file_create(s, SV_LIT("gone"), TYPE, 5u << 20, &f, e));
    OK(sink_file_write(f, sv_make(bytes, 12u << 20), e));
    sink_file_abort(f);
    uint64_t size;
    FAILS(ERR_NOT_FOUND, sink_stat(s, SV_LIT("gone"), &size, e));

    char path[] = TEST_TMP "/fhirlake-put-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    OK(file_write_atomic(path, sv_make(bytes, n), e));
    OK(sink_put_path(s, SV_LIT("file"), TYPE, path, NULL, &o, e));
    assert_memory_equal(o.sha256, want, 32);
    check_read(s, "big/file", 0, bytes, n);
    (void)unlink(path);
    free(bytes);
}

TEST(moto, a_roles_file_gives_credentials_without_sts)
{
    NEED(has_moto);
    char path[] = TEST_TMP "/fhirlake-roles-XXXXXX", text[1024];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    int n = snprintf(text, sizeof text,
                     "{\"roles\":[{\"arn\":\"arn:aws:iam::123456789012:role/file\","
                     "\"allow\":[\"s3://fhir-bucket/mine/*\"],\"credentials\":{"
                     "\"accessKeyId\":\"%.*s\",\"secretAccessKey\":\"%.*s\"}}]}",
                     SV_FMT(peer_text(&moto, "own_key")), SV_FMT(peer_text(&moto, "own_secret")));
    OK(file_write_atomic(path, sv_make(text, (size_t)n), e));
    CLEANUP(sink_world_free)
    struct sink_world *w =
        world(peer_text(&moto, "url").ptr, (struct s3_credentials){ 0 }, path, false);
    CLEANUP(sink_close) struct sink *s = NULL, *no = NULL;
    struct sink_target t = target("s3://fhir-bucket/mine", SV_LIT("arn:aws:iam::123456789012:role/"
                                                                  "file"));
    OK(sink_open(w, &t, &s, e));
    OK(sink_probe_write(s, e));
    t.uri = SV_LIT("s3://fhir-bucket/yours");
    FAILS(ERR_DENIED, sink_open(w, &t, &no, e));
    (void)unlink(path);
}

/* ---- the hostile peer: what moto cannot show ---- */
static size_t keep_answer(char *p, size_t size, size_t n, void *ctx)
{
    struct err e;
    return buf_add(ctx, sv_make(p, size * n), &e) == ERR_OK ? size * n : 0;
}

static void control(const char *path, const char *body, struct buf *answer)
{
    char url[128];
    (void)snprintf(url, sizeof url, "%s%s", bad_url, path);
    CURL *h = curl_easy_init();
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, keep_answer);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, answer);
    if (body)
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, body);
    assert_int_equal(curl_easy_perform(h), CURLE_OK);
    curl_easy_cleanup(h);
}

static void script(const char *path, const char *body)
{
    CLEANUP_BUF struct buf drop = BUF_INIT(1 << 20);
    control(path, body, &drop);
}

/* AssumeRole calls since the last script, and the access key of the last request to S3. */
static int assumed(char last_key[32])
{
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 24);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    yyjson_doc *doc = NULL;
    control("/_log", NULL, &text);
    OK(json_read(a, buf_sv(&text), 16, &doc, e));
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(yyjson_doc_get_root(doc), "log"));
    yyjson_val *v;
    int n = 0;
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        sv auth = json_string(json_get(json_get(v, "headers"), "authorization")), key;
        if (sv_eq_cstr(json_string(json_get(v, "path")), "/")) {
            n++;
            continue;
        }
        auth = sv_tail(auth, strlen("AWS4-HMAC-SHA256 Credential="));
        assert_true(sv_cut(&auth, '/', &key));
        (void)snprintf(last_key, 32, "%.*s", SV_FMT(key));
    }
    return n;
}

/* How far the clock of kept credentials is ahead of the wall's: a half-life passes at once. */
static int64_t ahead_ms;

static int64_t later_ms(void)
{
    return clock_wall_ms() + ahead_ms;
}

static struct sink_world *bad_world(void)
{
    struct s3_credentials own = { .access_key_id = SV_LIT("AKID"), .secret_key = SV_LIT("s") };
    struct sink_world *w = world(bad_url, own, NULL, true);
    ahead_ms = 0;
    assume_cache_clock(w->assume, later_ms);
    return w;
}

TEST(hostile, credentials_are_kept_and_renewed_in_time)
{
    NEED(has_bad);
    char key[32] = "", later[32] = "";
    sv role = SV_LIT("arn:aws:iam::123456789012:role/r");
    CLEANUP(sink_world_free) struct sink_world *w = bad_world();
    CLEANUP(sink_close) struct sink *s = NULL, *t = NULL, *u = NULL;
    struct sink_target at = target("s3://b1b/x", role);
    script("/_sts_ttl", "900");
    script("/_script", "[]");
    OK(sink_open(w, &at, &s, e));
    OK(sink_open(w, &at, &t, e));
    for (int i = 0; i < 5; i++)
        OK(sink_put(i % 2 ? s : t, SV_LIT("k"), TYPE, SV_LIT("v"), NULL, e));
    assert_int_equal(assumed(key), 1);
    at.source_arn = SV_LIT("arn:aws:healthlake:us-east-1:123456789012:datastore/fhir/1");
    /* another data store: another session */
    OK(sink_open(w, &at, &u, e));
    assert_int_equal(assumed(key), 2);

    /* a long life: renewed five minutes before its end */
    ahead_ms = (900 - 300 - 30) * 1000;
    OK(sink_put(s, SV_LIT("k"), TYPE, SV_LIT("v"), NULL, e));
    assert_int_equal(assumed(key), 2);
    ahead_ms = (900 - 300 + 1) * 1000;
    OK(sink_put(s, SV_LIT("k"), TYPE, SV_LIT("v"), NULL, e));
    assert_int_equal(assumed(key), 3);

    /* a short life: renewed at half of it */
    CLEANUP(sink_world_free) struct sink_world *w2 = bad_world();
    CLEANUP(sink_close) struct sink *q = NULL;
    script("/_sts_ttl", "120");
    script("/_script", "[]");
    OK(sink_open(w2, &at, &q, e));
    OK(sink_put(q, SV_LIT("k"), TYPE, SV_LIT("v"), NULL, e));
    ahead_ms = 30000;
    OK(sink_put(q, SV_LIT("k"), TYPE, SV_LIT("v"), NULL, e));
    assert_int_equal(assumed(key), 1);
    ahead_ms = 61000;
    OK(sink_put(q, SV_LIT("k"), TYPE, SV_LIT("v"), NULL, e));
    assert_int_equal(assumed(later), 2);
    assert_string_not_equal(key, later);
    script("/_sts_ttl", "3600");
}

TEST(hostile, a_token_called_expired_is_replaced)
{
    NEED(has_bad);
    char key[32] = "", later[32] = "";
    CLEANUP(sink_world_free) struct sink_world *w = bad_world();
    CLEANUP(sink_close) struct sink *s = NULL;
    struct sink_target at = target("s3://b1b/x", SV_LIT("arn:aws:iam::123456789012:role/r"));
    script("/_script", "[]");
    OK(sink_open(w, &at, &s, e));
    OK(sink_put(s, SV_LIT("k"), TYPE, SV_LIT("v"), NULL, e));
    assert_int_equal(assumed(key), 1);
    script("/_script", "[{\"do\":\"fail\",\"status\":400,\"code\":\"ExpiredToken\"}]");
    OK(sink_put(s, SV_LIT("k"), TYPE, SV_LIT("v"), NULL, e));
    assert_int_equal(assumed(later), 1);
    assert_string_not_equal(key, later);
}

TEST(hostile, sts_that_is_away_does_not_stop_what_is_still_valid)
{
    NEED(has_bad);
    char key[32] = "";
    CLEANUP(sink_world_free) struct sink_world *w = bad_world();
    CLEANUP(sink_close) struct sink *s = NULL, *no = NULL;
    struct sink_target at = target("s3://b1b/x", SV_LIT("arn:aws:iam::123456789012:role/r"));
    script("/_sts_ttl", "120");
    script("/_script", "[]");
    OK(sink_open(w, &at, &s, e));
    /* past half of its life */
    ahead_ms = 61000;
    script("/_script", "[{\"do\":\"answer\",\"status\":400,\"body\":\"\"},{\"do\":\"ok\"}]");
    OK(sink_put(s, SV_LIT("k"), TYPE, SV_LIT("v"), NULL, e));
    assert_int_equal(assumed(key), 1);
    script("/_sts_ttl", "3600");
    at.role_arn = SV_LIT("arn:aws:iam::123456789012:role/refused");
    FAILS(ERR_DENIED, sink_open(w, &at, &no, e));
}

/* Whoever is asked, and whatever he does: a sink that has an end keeps to it. */
TEST(hostile, calls_of_a_sink_with_an_end_end_there)
{
    NEED(has_bad);
    const char *lead[] = { "", "{\"do\":\"ok\"}," };
    uint64_t lasts_us = 1000000;
    for (size_t i = 0; i < 2;) {
        CLEANUP(sink_world_free) struct sink_world *w = bad_world();
        CLEANUP(sink_close) struct sink *s = NULL;
        struct sink_target at = target("s3://b1b/x", SV_LIT("arn:aws:iam::123456789012:role/r"));
        char steps[400];
        (void)snprintf(steps, sizeof steps, "[%s%s%s]", lead[i],
                       "{\"do\":\"stall\",\"seconds\":600},", "{\"do\":\"stall\",\"seconds\":600}");
        script("/_script", steps);
        at.until_us = clock_mono_us() + lasts_us;
        struct err why = { 0 };
        err_code rc = sink_open(w, &at, &s, &why);
        /* the first answers are STS's, unless the time was over before: then there is more */
        if (i == 1 && rc == ERR_TIMEOUT && lasts_us < 60000000) {
            lasts_us *= 2;
            continue;
        }
        if (i == 1) {
            assert_int_equal(rc, ERR_OK);
            rc = sink_probe_write(s, &why);
        }
        i++;
        assert_int_equal(rc, ERR_TIMEOUT);
        /* and so does the next one, at once */
        if (s)
            assert_int_equal(sink_probe_write(s, &why), ERR_TIMEOUT);
    }
    script("/_script", "[]");
}

struct opener {
    struct sink_world *w;
    int failed;
};

static void *open_one(void *ctx)
{
    struct opener *o = ctx;
    struct sink_target at = target("s3://b1b/x", SV_LIT("arn:aws:iam::123456789012:role/many"));
    struct sink *s = NULL;
    struct err e = { 0 };
    o->failed = sink_open(o->w, &at, &s, &e) != ERR_OK;
    sink_close(s);
    return NULL;
}

TEST(hostile, many_jobs_at_once_assume_a_role_once)
{
    NEED(has_bad);
    char key[32];
    CLEANUP(sink_world_free) struct sink_world *w = bad_world();
    pthread_t t[8];
    struct opener o[8];
    script("/_script", "[]");
    for (int i = 0; i < 8; i++) {
        o[i] = (struct opener){ w, 1 };
        assert_int_equal(pthread_create(&t[i], NULL, open_one, &o[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(o[i].failed, 0);
    }
    assert_int_equal(assumed(key), 1);
}

/* A file of n bytes that all are c, on its way. */
static struct sink_sending *sent(struct sink *s, const char *name, char c, size_t n)
{
    struct sink_file *f = NULL;
    struct sink_sending *on_its_way = NULL;
    uint64_t size;
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, c, n);
    OK(sink_file_create(s, sv_from(name), TYPE, 1 << 20, &f, e));
    OK(sink_file_write(f, sv_make(bytes, n), e));
    OK(sink_file_send(&f, &size, &on_its_way, e));
    assert_null(f);
    assert_int_equal(size, n);
    free(bytes);
    return on_its_way;
}

/* It is what sent() was given. */
static void check_sent(const struct sink_object *o, char c, size_t n)
{
    unsigned char known[SHA256_LEN];
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, c, n);
    hash_sha256_of(sv_make(bytes, n), known);
    assert_int_equal(o->bytes, n);
    assert_memory_equal(o->sha256, known, sizeof known);
    free(bytes);
}

TEST(hostile, objects_go_side_by_side)
{
    NEED(has_bad);
    CLEANUP(sink_world_free) struct sink_world *w = bad_world();
    CLEANUP(sink_close) struct sink *s = NULL;
    struct sink_target at = target("s3://b1b/side", SV_LIT("arn:aws:iam::123456789012:role/r"));
    struct sink_sending *all[3];
    OK(sink_open(w, &at, &s, e));
    script("/_script",
           "[{\"do\":\"meet\",\"of\":3,\"seconds\":60},{\"do\":\"meet\",\"of\":3,\"seconds\":60},"
           "{\"do\":\"meet\",\"of\":3,\"seconds\":60}]");
    for (int i = 0; i < 3; i++)
        all[i] = sent(s, i == 0 ? "a" : i == 1 ? "b" : "c", (char)('a' + i), 1000);
    for (int i = 0; i < 3; i++) {
        struct sink_object o;
        OK(sink_sending_wait(&all[i], &o, NULL, e));
        check_sent(&o, (char)('a' + i), 1000);
    }
}

TEST(hostile, one_that_is_refused_is_told_to_who_waits_and_the_others_arrive)
{
    NEED(has_bad);
    /* more than go at a time */
    enum { N = 30 };
    CLEANUP(sink_world_free) struct sink_world *w = bad_world();
    CLEANUP(sink_close) struct sink *s = NULL;
    struct sink_target at = target("s3://b1b/many", SV_LIT("arn:aws:iam::123456789012:role/r"));
    struct sink_sending *all[N];
    char name[16];
    OK(sink_open(w, &at, &s, e));
    script("/_script", "[{\"do\":\"ok\"},{\"do\":\"fail\",\"status\":403,\"code\":\"AccessDenied\"}"
                       ",{\"do\":\"ok\"}]");
    for (int i = 0; i < N; i++) {
        (void)snprintf(name, sizeof name, "o%d", i);
        all[i] = sent(s, name, (char)('A' + i), 2000 + (size_t)i);
    }
    int refused = 0;
    for (int i = 0; i < N; i++) {
        struct err why = { 0 };
        uint64_t bytes = 0;
        (void)snprintf(name, sizeof name, "o%d", i);
        while (!sink_sending_is_over(all[i]))
            (void)usleep(1000);
        err_code rc = sink_sending_wait(&all[i], NULL, NULL, &why);
        assert_null(all[i]);
        if (rc != ERR_OK) {
            assert_int_equal(rc, ERR_DENIED);
            assert_int_equal(why.code, ERR_DENIED);
            FAILS(ERR_NOT_FOUND, sink_stat(s, sv_from(name), &bytes, e));
            refused++;
        } else {
            OK(sink_stat(s, sv_from(name), &bytes, e));
            assert_int_equal(bytes, 2000 + i);
        }
    }
    assert_int_equal(refused, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(hostile, objects_go_side_by_side),
        T(hostile, one_that_is_refused_is_told_to_who_waits_and_the_others_arrive),
        T(hostile, credentials_are_kept_and_renewed_in_time),
        T(hostile, a_token_called_expired_is_replaced),
        T(hostile, sts_that_is_away_does_not_stop_what_is_still_valid),
        T(hostile, calls_of_a_sink_with_an_end_end_there),
        T(hostile, many_jobs_at_once_assume_a_role_once),
        T(moto, a_survey_tells_the_sizes_of_what_was_written_by_its_names),
        T(moto, a_sink_probes_writes_lists_and_reads_under_its_role),
        T(moto, refusals_are_seen_before_a_job_exists),
        T(moto, what_passes_max_bytes_goes_out_in_parts),
        T(moto, a_roles_file_gives_credentials_without_sts),
    };
    has_bad = peer_start(&bad, "hostile_s3.py");
    has_moto = peer_start(&moto, "moto_peer.py");
    if (has_bad)
        (void)snprintf(bad_url, sizeof bad_url, "http://127.0.0.1:%.*s",
                       SV_FMT(json_number(json_get(bad.says, "port"))));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    peer_stop(&bad);
    peer_stop(&moto);
    return failed;
}
