/* test_s3_copy.c - an object of an S3 endpoint made of an earlier one by the endpoint, or a
 * refusal: never other bytes than were meant. */
#include "test.h"

#include "../../peers/peer.h"
#include "base/file.h"
#include "codec/hash.h"
#include "sink/sink_private.h"

#include <curl/curl.h>

/* TEST names a state that few tests need. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define TYPE SV_LIT("application/fhir+ndjson")
#define ROLE SV_LIT("arn:aws:iam::123456789012:role/r")
#define TEXT SV_LIT("{\"a\":1}\n")

static struct peer moto, bad;
static bool has_moto, has_bad;
static char bad_url[64];

#define NEED(has)   \
    do {            \
        if (!(has)) \
            skip(); \
    } while (0)

struct room {
    struct sink_world *world;
    struct sink *sink;
    struct sink_object object;
    struct sink_mark mark;
};

static size_t keep_answer(char *bytes, size_t size, size_t n, void *ctx)
{
    OK(buf_add(ctx, sv_make(bytes, size * n), e));
    return size * n;
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

static void script(const char *steps)
{
    CLEANUP_BUF struct buf drop = BUF_INIT(1 << 20);
    control("/_script", steps, &drop);
}

/* The earlier object: key a b+c below earlier/. */
static void make(struct room *r, struct sink_config *cfg, const char *uri, sv role, sv kms)
{
    struct sink_target t = { .uri = sv_from(uri),
                             .role_arn = role,
                             .kms_key_id = kms,
                             .account_id = SV_LIT("123456789012"),
                             .session_name = SV_LIT("j") };
    struct sink_file *f;
    struct sink_sending *sending;
    uint64_t bytes;
    memset(r, 0, sizeof *r);
    OK(sink_world_new(cfg, &r->world, e));
    OK(sink_open(r->world, &t, &r->sink, e));
    OK(sink_file_create(r->sink, SV_LIT("earlier/a b+c"), TYPE, 1 << 20, &f, e));
    OK(sink_file_write(f, TEXT, e));
    OK(sink_file_send(&f, &bytes, &sending, e));
    OK(sink_sending_wait(&sending, &r->object, &r->mark, e));
    assert_int_equal(bytes, r->object.bytes);
    assert_true(r->mark.len > 0);
}

static void room_at(struct room *r, const char *url, unsigned timeout_ms)
{
    struct s3_endpoint ep = { .url = sv_from(url),
                              .region = SV_LIT("us-east-1"),
                              .max_attempts = 3,
                              .timeout_ms = timeout_ms };
    struct sink_config cfg = {
        .s3 = &ep, .sts = &ep, .own = { .access_key_id = SV_LIT("AKID"), .secret_key = SV_LIT("s") }
    };
    script("[]");
    make(r, &cfg, "s3://b1b/p", ROLE, SV_LIT("key-1"));
    /* of a case before */
    OK(sink_delete(r->sink, SV_LIT("new/x"), e));
}

static void bad_room(struct room *r)
{
    room_at(r, bad_url, NEVER_MS);
}

static void done(struct room *r)
{
    sink_close(r->sink);
    sink_world_free(r->world);
}

static err_code copy(struct room *r, struct sink_mark *mark)
{
    struct sink_earlier from = { SV_NONE, SV_LIT("p/earlier/a b+c"), sink_mark_sv(&r->mark),
                                 r->object };
    struct sink_sending *sending;
    struct err e = { 0 };
    err_code rc = sink_copy_send(r->sink, &from, SV_LIT("new/x"), TYPE, &sending, &e);
    return rc == ERR_OK ? sink_sending_wait(&sending, NULL, mark, &e) : rc;
}

static void holds(struct room *r, sv want)
{
    struct byte_reader in;
    char got[64];
    size_t n = 0;
    OK(sink_read(r->sink, SV_LIT("p/new/x"), 0, &in, e));
    OK(in.read(in.ctx, got, sizeof got, &n, e));
    assert_sv(sv_make(got, n), want);
    in.close(in.ctx);
}

TEST(hostile, a_copy_asks_for_the_earlier_one_its_digest_and_our_key)
{
    NEED(has_bad);
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 24);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    struct room r;
    struct sink_mark mark;
    yyjson_doc *doc = NULL;
    bad_room(&r);
    script("[]");
    assert_int_equal(copy(&r, &mark), ERR_OK);
    control("/_log", NULL, &text);
    holds(&r, TEXT);
    OK(json_read(a, buf_sv(&text), 16, &doc, e));
    yyjson_val *h =
        json_get(yyjson_arr_get_first(json_get(yyjson_doc_get_root(doc), "log")), "headers");
    static const char *const want[][2] = {
        { "x-amz-copy-source", "b1b/p/earlier/a%20b%2Bc" },
        { "x-amz-checksum-algorithm", "SHA256" },
        { "x-amz-metadata-directive", "REPLACE" },
        { "content-type", "application/fhir+ndjson" },
        { "x-amz-server-side-encryption", "aws:kms" },
        { "x-amz-server-side-encryption-aws-kms-key-id", "key-1" },
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_sv(json_string(json_get(h, want[i][0])), sv_from(want[i][1]));
    assert_true(json_string(json_get(h, "x-amz-copy-source-if-match")).len == 34);
    /* it can be copied in its turn */
    assert_sv(sink_mark_sv(&mark), sink_mark_sv(&r.mark));
    done(&r);
}

/* Since the last script. */
static unsigned n_of(const char *method)
{
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 24);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    yyjson_doc *doc = NULL;
    yyjson_val *one;
    size_t i, n;
    unsigned found = 0;
    control("/_log", NULL, &text);
    OK(json_read(a, buf_sv(&text), 16, &doc, e));
    yyjson_arr_foreach(json_get(yyjson_doc_get_root(doc), "log"), i, n, one) found +=
        sv_eq_cstr(json_string(json_get(one, "method")), method);
    return found;
}

TEST(hostile, whatever_is_not_the_right_copy_is_refused_and_what_is_written_replaces_it)
{
    NEED(has_bad);
    static const struct {
        const char *steps;
        err_code rc;
    } cases[] = {
        { "[{\"do\":\"fail\",\"status\":412,\"code\":\"PreconditionFailed\"}]", ERR_PRECONDITION },
        { "[{\"do\":\"fail\",\"status\":404,\"code\":\"NoSuchKey\"}]", ERR_NOT_FOUND },
        { "[{\"do\":\"fail\",\"status\":403,\"code\":\"AccessDenied\"}]", ERR_DENIED },
        { "[{\"do\":\"fail\",\"status\":500,\"code\":\"InternalError\"},"
          "{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"}]",
          ERR_PEER },
        { "[{\"do\":\"fail\",\"status\":501,\"code\":\"NotImplemented\"}]", ERR_PEER },
        { "[{\"do\":\"stall\",\"seconds\":3},{\"do\":\"stall\",\"seconds\":3}]", ERR_TIMEOUT },
        { "[{\"do\":\"answer\",\"status\":200,\"body\":"
          "\"<Error><Code>AccessDenied</Code></Error>\"}]",
          ERR_INVALID },
        { "[{\"do\":\"answer\",\"status\":200,\"body\":\"<Error><Code>SlowDown</Code></Error>\"},"
          "{\"do\":\"answer\",\"status\":200,\"body\":"
          "\"<Error><Code>InternalError</Code></Error>\"}]",
          ERR_PEER },
        /* a PUT of nothing, perhaps */
        { "[{\"do\":\"answer\",\"status\":200,\"body\":\"\"}]", ERR_UNSUPPORTED },
        { "[{\"do\":\"answer\",\"status\":200,\"body\":\"no xml\"}]", ERR_UNSUPPORTED },
        { "[{\"do\":\"checksum\",\"value\":\"\"}]", ERR_UNSUPPORTED },
        { "[{\"do\":\"checksum\",\"value\":\"AAAA\"}]", ERR_PRECONDITION },
        /* it has changed since */
        { "[{\"do\":\"change\",\"bucket\":\"b1b\",\"key\":\"p/earlier/a b+c\",\"size\":8}]",
          ERR_PRECONDITION },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct room r;
        struct sink_mark mark;
        /* it is given up when the peer says nothing for so long */
        room_at(&r, bad_url, cases[i].rc == ERR_TIMEOUT ? 1000 : NEVER_MS);
        script(cases[i].steps);
        err_code rc = copy(&r, &mark);
        if (rc != cases[i].rc)
            fail_msg("case %zu: %d", i, (int)rc);
        /* nothing is taken away, since the key may be another's by now */
        if (n_of("DELETE") != 0)
            fail_msg("case %zu deletes something", i);
        OK(sink_put(r.sink, SV_LIT("new/x"), TYPE, SV_LIT("{\"a\":3}\n"), NULL, e));
        holds(&r, SV_LIT("{\"a\":3}\n"));
        done(&r);
    }
    /* a failure that passes */
    struct room r;
    struct sink_mark mark;
    bad_room(&r);
    script(
        "[{\"do\":\"answer\",\"status\":200,\"body\":\"<Error><Code>SlowDown</Code></Error>\"}]");
    assert_int_equal(copy(&r, &mark), ERR_OK);
    holds(&r, TEXT);
    /* a mark of a folder */
    r.mark = (struct sink_mark){ 5, "dir 1" };
    assert_int_equal(copy(&r, &mark), ERR_PRECONDITION);
    done(&r);
}

static void moto_room(struct room *r)
{
    struct s3_endpoint ep = { .url = peer_text(&moto, "url"),
                              .region = SV_LIT("us-east-1"),
                              .max_attempts = 2,
                              .timeout_ms = 5000 };
    struct sink_config cfg = { .s3 = &ep,
                               .sts = &ep,
                               .own = { .access_key_id = peer_text(&moto, "own_key"),
                                        .secret_key = peer_text(&moto, "own_secret") } };
    char uri[128];
    (void)snprintf(uri, sizeof uri, "s3://%.*s/p", SV_FMT(peer_text(&moto, "bucket")));
    make(r, &cfg, uri, peer_text(&moto, "role"), peer_text(&moto, "kms_key"));
}

/* More than wait in the queue, by two writers, and each is waited for out of turn. */
#define MANY 150u

static void *copy_many(void *ctx)
{
    struct room *r = ctx;
    static atomic_uint writers;
    const unsigned writer = atomic_fetch_add(&writers, 1);
    struct sink_earlier from = { SV_NONE, SV_LIT("p/earlier/a b+c"), sink_mark_sv(&r->mark),
                                 r->object };
    struct sink_sending *s[MANY];
    uint64_t bytes;
    char name[32];
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "many/%u-%u", writer, i);
        if (i % 10 == 9) {
            /* a file between them */
            struct sink_file *f;
            OK(sink_file_create(r->sink, sv_from(name), TYPE, 1 << 20, &f, e));
            OK(sink_file_write(f, TEXT, e));
            OK(sink_file_send(&f, &bytes, &s[i], e));
        } else
            OK(sink_copy_send(r->sink, &from, sv_from(name), TYPE, &s[i], e));
    }
    for (unsigned i = 0; i < MANY; i++)
        OK(sink_sending_wait(&s[(i * 67) % MANY], NULL, NULL, e));
    return NULL;
}

TEST(hostile, copies_and_files_of_two_writers_all_arrive)
{
    NEED(has_bad);
    struct room r;
    pthread_t threads[2];
    bad_room(&r);
    script("[]");
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, copy_many, &r), 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (unsigned writer = 0; writer < 2; writer++)
        for (unsigned i = 0; i < MANY; i++) {
            char name[32];
            uint64_t bytes = 0;
            (void)snprintf(name, sizeof name, "many/%u-%u", writer, i);
            OK(sink_stat(r.sink, sv_from(name), &bytes, e));
            assert_int_equal(bytes, TEXT.len);
        }
    done(&r);
}

TEST(hostile, copies_over_tls_all_arrive)
{
    NEED(has_bad && json_get(bad.says, "ca") != NULL);
    struct room r;
    char url[64], ca[256];
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%.*s",
                   SV_FMT(json_number(json_get(bad.says, "tls_port"))));
    (void)snprintf(ca, sizeof ca, "%.*s", SV_FMT(peer_text(&bad, "ca")));
    assert_int_equal(setenv("SSL_CERT_FILE", ca, 1), 0);
    /* many handshakes, of one process */
    room_at(&r, url, NEVER_MS);
    (void)unsetenv("SSL_CERT_FILE");
    (void)copy_many(&r);
    assert_int_equal(n_of("PUT"), MANY + 1);
    done(&r);
}

/* Some are asked for again, a bit later, while the others go on. */
TEST(hostile, copies_side_by_side_each_outlive_a_failure_that_passes)
{
    NEED(has_bad);
    CLEANUP_BUF struct buf steps = BUF_INIT(1 << 16);
    struct room r;
    bad_room(&r);
    OK(buf_add(&steps, SV_LIT("["), e));
    for (unsigned i = 0; i < MANY / 2; i++)
        /* of any three requests in a row one at most, since a copy is asked for twice */
        OK(buf_add(&steps,
                   i % 3 == 0 ? SV_LIT("{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"},")
                              : SV_LIT("{\"do\":\"ok\"},"),
                   e));
    steps.ptr[steps.len - 1] = ']';
    OK(buf_add_char(&steps, 0, e));
    script(steps.ptr);
    struct sink_earlier from = { SV_NONE, SV_LIT("p/earlier/a b+c"), sink_mark_sv(&r.mark),
                                 r.object };
    struct sink_sending *s[MANY];
    unsigned n_over = 0;
    for (unsigned i = 0; i < MANY; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "again/%u", i);
        OK(sink_copy_send(r.sink, &from, sv_from(name), TYPE, &s[i], e));
    }
    for (unsigned i = 0; i < MANY; i++) {
        struct err e = { 0 };
        err_code rc = sink_sending_wait(&s[i], NULL, NULL, &e);
        /* its second try may have met the next failure */
        assert_true(rc == ERR_OK || (rc == ERR_PEER && strstr(e.msg, "after 2 attempts")));
        n_over += rc == ERR_OK;
    }
    assert_true(n_over > MANY / 2 + MANY / 4);
    done(&r);
}

/* A right may be taken away in the midst, and a few may be denied beside others that are not. */
TEST(hostile, when_many_in_a_row_are_denied_no_more_are_asked_for)
{
    NEED(has_bad);
    CLEANUP_BUF struct buf drop = BUF_INIT(1 << 20);
    struct room r;
    struct sink_mark mark;
    struct sink_sending *s[MANY];
    bad_room(&r);
    for (unsigned round = 0; round < 3; round++) {
        script("[]");
        assert_int_equal(copy(&r, &mark), ERR_OK);
        control("/_copies", "{\"status\":403,\"code\":\"AccessDenied\"}", &drop);
        for (unsigned i = 0; i < 7; i++)
            assert_int_equal(copy(&r, &mark), ERR_DENIED);
        control("/_copies", "{}", &drop);
    }
    assert_int_equal(copy(&r, &mark), ERR_OK);
    script("[]");
    control("/_copies", "{\"status\":403,\"code\":\"AccessDenied\"}", &drop);
    struct sink_earlier from = { SV_NONE, SV_LIT("p/earlier/a b+c"), sink_mark_sv(&r.mark),
                                 r.object };
    for (unsigned i = 0; i < MANY; i++)
        OK(sink_copy_send(r.sink, &from, SV_LIT("new/x"), TYPE, &s[i], e));
    for (unsigned i = 0; i < MANY; i++) {
        err_code rc = sink_sending_wait(&s[i], NULL, NULL, NULL);
        assert_true(rc == ERR_DENIED || rc == ERR_UNSUPPORTED);
    }
    control("/_copies", "{}", &drop);
    /* eight, and those that were under way beside them */
    assert_in_range(n_of("PUT"), 8, 40);
    done(&r);
}

TEST(moto, a_copy_has_the_bytes_and_a_changed_object_is_refused)
{
    NEED(has_moto);
    struct room r;
    struct sink_mark mark;
    struct err why = { 0 };
    moto_room(&r);
    struct sink_earlier from = { SV_NONE, SV_LIT("p/earlier/a b+c"), sink_mark_sv(&r.mark),
                                 r.object };
    struct sink_sending *sending;
    OK(sink_copy_send(r.sink, &from, SV_LIT("new/x"), TYPE, &sending, e));
    err_code rc = sink_sending_wait(&sending, NULL, &mark, &why);
    /* older ones do not say the digest */
    if (rc != ERR_OK)
        print_message("moto: %s\n", why.msg);
    assert_true(rc == ERR_OK || rc == ERR_UNSUPPORTED);
    if (rc == ERR_OK)
        holds(&r, TEXT);
    OK(sink_put(r.sink, SV_LIT("earlier/a b+c"), TYPE, SV_LIT("{\"a\":2}\n"), NULL, e));
    rc = copy(&r, &mark);
    assert_true(rc == ERR_PRECONDITION || rc == ERR_UNSUPPORTED);
    OK(sink_delete(r.sink, SV_LIT("earlier/a b+c"), e));
    assert_int_equal(copy(&r, &mark), ERR_NOT_FOUND);
    done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(hostile, a_copy_asks_for_the_earlier_one_its_digest_and_our_key),
        T(hostile, whatever_is_not_the_right_copy_is_refused_and_what_is_written_replaces_it),
        T(hostile, copies_and_files_of_two_writers_all_arrive),
        T(hostile, copies_over_tls_all_arrive),
        T(hostile, copies_side_by_side_each_outlive_a_failure_that_passes),
        T(hostile, when_many_in_a_row_are_denied_no_more_are_asked_for),
        T(moto, a_copy_has_the_bytes_and_a_changed_object_is_refused),
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
