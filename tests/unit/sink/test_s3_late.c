/* test_s3_late.c - objects whose digest is computed while they are sent, as on processors that gain
 * nothing by two digests side by side; and how much may be on its way. */
#include "test.h"

#include "../../peers/hostile.h"
#include "base/file.h"
#include "codec/hash.h"
#include "sink/sink_private.h"

#define TYPE  SV_LIT("application/fhir+ndjson")
#define ROLE  "arn:aws:iam::000000000000:role/r"
#define BYTES ((size_t)13 << 20)

static char tls_url[64], ca[256], *bytes;
static bool has_tls;

static struct sink_world *world(const char *url)
{
    char roles[] = TEST_TMP "/fhirlake-roles-XXXXXX";
    struct sink_world *w = NULL;
    struct s3_endpoint ep = { .url = sv_from(url),
                              .region = SV_LIT("us-east-1"),
                              .max_attempts = 3,
                              .timeout_ms = NEVER_MS };
    struct sink_config cfg = { .s3 = &ep, .roles_file = roles };
    sv text = SV_LIT("{\"roles\":[{\"arn\":\"" ROLE "\",\"allow\":[\"s3://late/*\"],"
                     "\"credentials\":{\"accessKeyId\":\"AKID\",\"secretAccessKey\":\"s\"}}]}");
    int fd = mkstemp(roles);
    assert_true(fd >= 0);
    OK(file_write_all(fd, text, e));
    close(fd);
    OK(sink_world_new(&cfg, &w, e));
    (void)unlink(roles);
    w->digest_first = false;
    return w;
}

static struct sink *open_in(struct sink_world *w)
{
    struct sink *s = NULL;
    struct sink_target t = { .uri = SV_LIT("s3://late/x"),
                             .role_arn = SV_LIT(ROLE),
                             .session_name = SV_LIT("j") };
    OK(sink_open(w, &t, &s, e));
    return s;
}

/* Of the requests since the last script: how many had a body with a checksum behind it. */
static unsigned n_framed(void)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 26);
    uint64_t left;
    size_t i, n;
    yyjson_val *log = log_of(a, &left), *one;
    unsigned framed = 0;
    yyjson_arr_foreach(log, i, n, one) framed +=
        json_get(json_get(one, "headers"), "x-amz-trailer") != NULL;
    return framed;
}

static void check_object(const struct sink_object *o, size_t n)
{
    unsigned char want[SHA256_LEN];
    hash_sha256_of(sv_make(bytes, n), want);
    assert_int_equal(o->bytes, n);
    assert_memory_equal(o->sha256, want, sizeof want);
}

static void check_there(struct sink *s, const char *key, size_t n)
{
    struct byte_reader r;
    struct err end = { 0 };
    static char piece[100000];
    size_t got = 0, at = 0;
    OK(sink_read(s, sv_from(key), 0, &r, e));
    while (r.read(r.ctx, piece, sizeof piece, &got, &end) == ERR_OK) {
        assert_true(at + got <= n);
        assert_memory_equal(piece, bytes + at, got);
        at += got;
    }
    assert_int_equal(end.code, ERR_EOF);
    assert_int_equal(at, n);
    r.close(r.ctx);
}

/* Sends the first n bytes, in blocks beside another file's, as an export does. */
static struct sink_sending *sent(struct sink *s, const char *name, size_t n)
{
    struct sink_file *f = NULL, *other = NULL;
    struct sink_sending *out = NULL;
    uint64_t size;
    OK(sink_file_create(s, sv_from(name), TYPE, (size_t)6 << 20, &f, e));
    OK(sink_file_create(s, SV_LIT("other"), TYPE, (size_t)6 << 20, &other, e));
    for (size_t at = 0; at < n; at += SINK_WRITE_UNIT) {
        sv x = sv_head(sv_make(bytes + at, n - at), SINK_WRITE_UNIT);
        if (at < 1u << 20) {
            sink_files_digest(f, x, other, x);
            OK(sink_file_write(other, x, e));
        }
        OK(sink_file_write(f, x, e));
    }
    sink_file_abort(other);
    OK(sink_file_send(&f, &size, &out, e));
    assert_int_equal(size, n);
    return out;
}

/* The same, until it has arrived: its digest is that of the bytes. */
static struct sink_mark arrived(struct sink *s, const char *name, size_t n)
{
    struct sink_object o;
    struct sink_mark mark;
    struct sink_sending *on_its_way = sent(s, name, n);
    OK(sink_sending_wait(&on_its_way, &o, &mark, e));
    check_object(&o, n);
    return mark;
}

TEST(late, the_digest_of_an_object_is_known_when_it_has_arrived)
{
    (void)state;
    if (!has_tls)
        skip();
    CLEANUP(sink_world_free) struct sink_world *w = world(tls_url);
    CLEANUP(sink_close) struct sink *s = open_in(w);
    script("[]");
    assert_true(arrived(s, "a", 3000001).len > 0);
    assert_int_equal(n_framed(), 1);
    check_there(s, "x/a", 3000001);
    /* it starts anew with each attempt */
    script("[{\"do\":\"cut\",\"bytes\":500000}]");
    (void)arrived(s, "b", 3000001);
    assert_int_equal(n_framed(), 2);
    check_there(s, "x/b", 3000001);
    assert_false(sink_signs_after_all(s));
}

TEST(late, an_endpoint_that_refuses_gets_what_is_digested_first)
{
    (void)state;
    if (!has_tls)
        skip();
    CLEANUP(sink_world_free) struct sink_world *w = world(tls_url);
    CLEANUP(sink_close) struct sink *s = open_in(w);
    script("[{\"do\":\"fail\",\"status\":501,\"code\":\"NotImplemented\"}]");
    for (int i = 0; i < 2; i++) {
        (void)arrived(s, "c", 2000001);
        assert_true(sink_signs_after_all(s));
    }
    assert_int_equal(n_framed(), 1);
    check_there(s, "x/c", 2000001);
}

TEST(late, an_object_that_outgrows_its_memory_is_digested_on_the_way_to_its_parts)
{
    (void)state;
    if (!has_tls)
        skip();
    CLEANUP(sink_world_free) struct sink_world *w = world(tls_url);
    CLEANUP(sink_close) struct sink *s = open_in(w);
    script("[]");
    (void)arrived(s, "d", BYTES);
    assert_int_equal(n_framed(), 3);
    check_there(s, "x/d", BYTES);
}

TEST(late, over_plain_http_nothing_is_late)
{
    (void)state;
    if (!has_bad)
        skip();
    CLEANUP(sink_world_free) struct sink_world *w = world(bad_url);
    CLEANUP(sink_close) struct sink *s = open_in(w);
    script("[]");
    (void)arrived(s, "e", 2000001);
    assert_int_equal(n_framed(), 0);
    check_there(s, "x/e", 2000001);
}

/* The peer answers no request before the next one has come, and refuses when none comes. */
TEST(senders, a_writer_waits_while_too_many_bytes_are_on_their_way)
{
    (void)state;
    if (!has_bad)
        skip();
    CLEANUP(sink_world_free) struct sink_world *w = world(bad_url);
    CLEANUP(sink_close) struct sink *s = open_in(w);
    sink_senders_free(s->senders);
    s->senders = sink_senders_new(150000);
    for (int large = 0; large < 2; large++) {
        struct sink_sending *all[2];
        size_t n = large ? 100000 : 70000;
        char steps[128];
        /* those that come side by side may be far apart, on a busy machine */
        const int wait_s = large ? 1 : 60;
        (void)snprintf(steps, sizeof steps,
                       "[{\"do\":\"meet\",\"of\":2,\"seconds\":%d},"
                       "{\"do\":\"meet\",\"of\":2,\"seconds\":%d}]",
                       wait_s, wait_s);
        script(steps);
        for (int i = 0; i < 2; i++)
            all[i] = sent(s, i ? "f" : "g", n);
        for (int i = 0; i < 2; i++) {
            err_code rc = sink_sending_wait(&all[i], NULL, NULL, NULL);
            assert_int_equal(rc, large ? ERR_INVALID : ERR_OK);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(late, the_digest_of_an_object_is_known_when_it_has_arrived),
        T(late, an_endpoint_that_refuses_gets_what_is_digested_first),
        T(late, an_object_that_outgrows_its_memory_is_digested_on_the_way_to_its_parts),
        T(late, over_plain_http_nothing_is_late),
        T(senders, a_writer_waits_while_too_many_bytes_are_on_their_way),
    };
    hostile_start();
    has_tls = hostile_tls(tls_url, ca);
    if (has_tls)
        (void)setenv("SSL_CERT_FILE", ca, 1);
    bytes = malloc(BYTES);
    if (bytes == NULL)
        abort();
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 31 + i / 4096);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(bytes);
    peer_stop(&bad);
    return failed;
}
