/* Files as answers, over real sockets: what leaves is read byte by byte. */
#include "net/http_server.h"

#include "../test.h"
#include "codec/ndjson.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILE_BYTES   (3u << 20)
#define BEFORE       1000u /* bytes of the file that stand before what is served */
#define MODIFIED_MS  1700000000000
#define MODIFIED     "Tue, 14 Nov 2023 22:13:20 GMT"
#define MODIFIED_OLD "Tue, 14 Nov 2023 22:13:19 GMT"

static char *content; /* FILE_BYTES */
static int content_fd;
static struct http_server *server;
static uint64_t last_sent;

static void take(void *ctx, struct http_request *req, struct http_allowance *out)
{
    (void)ctx;
    (void)req;
    *out = (struct http_allowance){ .body_max = 1024, .proven = true };
}

static void handle(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    const struct http_request *req = http_exchange_request(x);
    struct http_header h = { SV_LIT("Content-Type"), SV_LIT("application/fhir+ndjson") };
    bool empty = sv_eq(req->path, SV_LIT("/empty")), plain = sv_eq(req->path, SV_LIT("/plain"));
    struct http_file f = { .fd = dup(content_fd),
                           .offset = BEFORE,
                           .len = empty ? 0 : FILE_BYTES - BEFORE,
                           .etag = SV_LIT("tag"),
                           .modified_ms = MODIFIED_MS,
                           .may_gzip = !plain };
    /* known before, for the audit log */
    unsigned known = http_file_status(http_exchange_request(x), &f);
    unsigned status = http_reply_file(x, &h, 1, &f, &last_sent);
    if (known != status)
        abort();
}

static int setup(void **state)
{
    (void)state;
    content = malloc(FILE_BYTES);
    /* packs well, and no two places are alike for long */
    for (unsigned i = 0; i < FILE_BYTES; i++)
        content[i] = (char)(i % 97 ? 'a' + (i / 97 % 23) : '\n');
    char path[] = TEST_TMP "/fhirlake-http-file-XXXXXX";
    content_fd = mkstemp(path);
    if (content_fd < 0 || unlink(path) != 0 ||
        write(content_fd, content, FILE_BYTES) != (ssize_t)FILE_BYTES)
        return -1;
    struct http_server_config c = { .listen = SV_LIT("127.0.0.1:0"),
                                    .n_threads = 2,
                                    .limits = { .n = 200 },
                                    .idle_timeout_s = 10,
                                    .accept = take,
                                    .handler = handle };
    struct err why;
    return http_server_start(&c, &server, &why) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    http_server_stop(server, 2000);
    close(content_fd);
    free(content);
    return 0;
}

struct got {
    struct buf all;
    unsigned status;
    sv head, body;
};

static sv field(const struct got *g, const char *name)
{
    sv rest = g->head, line, key;
    while (sv_cut(&rest, '\n', &line))
        if (sv_find(line, ':') < line.len && sv_cut(&line, ':', &key) &&
            sv_eq_nocase(key, sv_from(name))) {
            line = sv_trim(line);
            if (line.len && line.ptr[line.len - 1] == '\r')
                line.len--;
            return line;
        }
    return SV_NONE;
}

/* Chunks put together, in place. */
static void dechunk(struct got *g)
{
    char *out = g->all.ptr + (g->body.ptr - g->all.ptr);
    sv rest = g->body, line;
    size_t n = 0;
    for (;;) {
        assert_true(sv_cut(&rest, '\n', &line));
        unsigned long size = strtoul(line.ptr, NULL, 16);
        if (size == 0)
            break;
        assert_true(rest.len >= size + 2);
        memmove(out + n, rest.ptr, size);
        n += size;
        rest = sv_tail(rest, size + 2);
    }
    g->body.len = n;
}

static int dial(void)
{
    sv at = http_server_address(server);
    uint64_t port;
    assert_true(sv_to_u64(sv_tail(at, sv_find(at, ':') + 1), &port));
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static void ask(int fd, const char *method, const char *path, const char *headers)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", method,
                     path, headers);
    assert_int_equal(write(fd, text, (size_t)n), n);
}

static struct got fetch(const char *method, const char *path, const char *headers)
{
    struct got g = { .all = BUF_INIT(16u << 20) };
    int fd = dial();
    ask(fd, method, path, headers);
    ssize_t n;
    char block[65536];
    while ((n = read(fd, block, sizeof block)) > 0)
        OK(buf_add(&g.all, sv_make(block, (size_t)n), e));
    close(fd);
    char *end = memmem(g.all.ptr, g.all.len, "\r\n\r\n", 4);
    assert_non_null(end);
    g.head = sv_make(g.all.ptr, (size_t)(end - g.all.ptr));
    g.body = sv_tail(buf_sv(&g.all), g.head.len + 4);
    g.status = (unsigned)strtoul(g.head.ptr + 9, NULL, 10);
    if (sv_eq(field(&g, "Transfer-Encoding"), SV_LIT("chunked")) && strcmp(method, "HEAD") != 0)
        dechunk(&g);
    return g;
}

static void is_part(const struct got *g, size_t from, size_t len)
{
    assert_int_equal(g->body.len, len);
    assert_memory_equal(g->body.ptr, content + BEFORE + from, len);
}

/* ---- packed bodies ---- */

struct memory {
    sv left;
};
static err_code memory_read(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    (void)e;
    struct memory *m = ctx;
    if (m->left.len == 0)
        return ERR_EOF;
    *n = m->left.len < cap ? m->left.len : cap;
    memcpy(dst, m->left.ptr, *n);
    m->left = sv_tail(m->left, *n);
    return ERR_OK;
}

static void is_packed_file(const struct got *g)
{
    struct memory m = { g->body };
    struct unpack *u;
    CLEANUP_BUF struct buf out = BUF_INIT(16u << 20);
    struct err why;
    char block[65536];
    size_t n;
    err_code rc;
    assert_true(g->body.len > 2);
    assert_true((unsigned char)g->body.ptr[0] == 0x1f);
    assert_true((unsigned char)g->body.ptr[1] == 0x8b);
    assert_true(g->body.len < FILE_BYTES / 4);
    OK(unpack_open((struct byte_reader){ memory_read, NULL, &m }, &u, e));
    while ((rc = unpack_read(u, block, sizeof block, &n, &why)) == ERR_OK)
        OK(buf_add(&out, sv_make(block, n), e));
    unpack_close(u);
    assert_int_equal(rc, ERR_EOF);
    assert_int_equal(out.len, FILE_BYTES - BEFORE);
    assert_memory_equal(out.ptr, content + BEFORE, out.len);
}

/* ---- the tests ---- */

TEST(http_file, whole_with_length_tag_and_date)
{
    (void)state;
    struct got g = fetch("GET", "/", "");
    assert_int_equal(g.status, 200);
    is_part(&g, 0, FILE_BYTES - BEFORE);
    assert_sv(field(&g, "Content-Length"), SV_LIT("3144728"));
    assert_sv(field(&g, "ETag"), SV_LIT("\"tag\""));
    assert_sv(field(&g, "Last-Modified"), SV_LIT(MODIFIED));
    assert_sv(field(&g, "Accept-Ranges"), SV_LIT("bytes"));
    assert_sv(field(&g, "Vary"), SV_LIT("Accept-Encoding"));
    assert_sv(field(&g, "Content-Type"), SV_LIT("application/fhir+ndjson"));
    assert_null(field(&g, "Content-Encoding").ptr);
    assert_int_equal(last_sent, FILE_BYTES - BEFORE);
    buf_done(&g.all);
}

TEST(http_file, head_has_the_headers_and_no_body)
{
    (void)state;
    struct got g = fetch("HEAD", "/", "");
    assert_int_equal(g.status, 200);
    assert_int_equal(g.body.len, 0);
    assert_sv(field(&g, "Content-Length"), SV_LIT("3144728"));
    assert_sv(field(&g, "ETag"), SV_LIT("\"tag\""));
    buf_done(&g.all);
    /* RFC 9110: Range is for GET */
    g = fetch("HEAD", "/", "Range: bytes=0-9\r\n");
    assert_int_equal(g.status, 200);
    buf_done(&g.all);
}

TEST(http_file, an_empty_file_is_an_empty_answer)
{
    (void)state;
    struct got g = fetch("GET", "/empty", "Accept-Encoding: gzip\r\n");
    assert_int_equal(g.status, 200);
    assert_int_equal(g.body.len, 0);
    assert_sv(field(&g, "Content-Length"), SV_LIT("0"));
    assert_null(field(&g, "Content-Encoding").ptr);
    buf_done(&g.all);
    g = fetch("GET", "/empty", "Range: bytes=0-\r\n");
    assert_int_equal(g.status, 416);
    buf_done(&g.all);
}

TEST(http_file, one_range_is_206_with_its_place)
{
    (void)state;
    const struct {
        const char *range, *said;
        size_t from, len;
    } rows[] = {
        { "bytes=0-0", "bytes 0-0/3144728", 0, 1 },
        { "bytes=10-1009", "bytes 10-1009/3144728", 10, 1000 },
        { "bytes=3144700-", "bytes 3144700-3144727/3144728", 3144700, 28 },
        { "bytes=-5", "bytes 3144723-3144727/3144728", 3144723, 5 },
        { "bytes=-9999999999", "bytes 0-3144727/3144728", 0, 3144728 },
        { "bytes=1-99999999999", "bytes 1-3144727/3144728", 1, 3144727 },
        { "Bytes = 5 - 6", "bytes 5-6/3144728", 5, 2 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char h[128];
        (void)snprintf(h, sizeof h, "Range: %s\r\nAccept-Encoding: gzip\r\n", rows[i].range);
        struct got g = fetch("GET", "/", h);
        assert_int_equal(g.status, 206);
        assert_sv(field(&g, "Content-Range"), sv_from(rows[i].said));
        assert_null(field(&g, "Content-Encoding").ptr);
        assert_sv(field(&g, "ETag"), SV_LIT("\"tag\""));
        is_part(&g, rows[i].from, rows[i].len);
        assert_int_equal(last_sent, rows[i].len);
        buf_done(&g.all);
    }
}

TEST(http_file, a_range_behind_the_end_is_416_with_the_length)
{
    (void)state;
    const char *rows[] = { "bytes=3144728-", "bytes=9999999999-", "bytes=-0" };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char h[128];
        (void)snprintf(h, sizeof h, "Range: %s\r\n", rows[i]);
        struct got g = fetch("GET", "/", h);
        assert_int_equal(g.status, 416);
        assert_sv(field(&g, "Content-Range"), SV_LIT("bytes */3144728"));
        assert_int_equal(g.body.len, 0);
        buf_done(&g.all);
    }
}

TEST(http_file, a_range_that_is_none_of_ours_gets_the_whole)
{
    (void)state;
    const char *rows[] = { "bytes=0-1,5-6", "lines=0-1",  "bytes=",
                           "bytes=-",       "bytes=5-4",  "bytes=a-b",
                           "bytes",         "bytes=1--2", "bytes=99999999999999999999-" };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t first, len;
        assert_int_equal(http_range_read(sv_from(rows[i]), 100, &first, &len), HTTP_RANGE_NONE);
    }
    struct got g = fetch("GET", "/", "Range: bytes=0-1,5-6\r\n");
    assert_int_equal(g.status, 200);
    assert_int_equal(g.body.len, FILE_BYTES - BEFORE);
    buf_done(&g.all);
}

TEST(http_file, if_range_serves_the_range_only_of_the_same_file)
{
    (void)state;
    const struct {
        const char *if_range;
        unsigned status;
    } rows[] = { { "\"tag\"", 206 }, { "\"other\"", 200 },  { "W/\"tag\"", 200 },
                 { MODIFIED, 206 },  { MODIFIED_OLD, 200 }, { "\"tag-gzip\"", 200 },
                 { "nonsense", 200 } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char h[128];
        (void)snprintf(h, sizeof h, "Range: bytes=0-9\r\nIf-Range: %s\r\n", rows[i].if_range);
        struct got g = fetch("GET", "/", h);
        assert_int_equal(g.status, rows[i].status);
        buf_done(&g.all);
    }
}

TEST(http_file, what_the_client_has_is_304)
{
    (void)state;
    const struct {
        const char *header;
        unsigned status;
    } rows[] = {
        { "If-None-Match: \"tag\"", 304 },
        { "If-None-Match: W/\"tag\"", 304 },
        { "If-None-Match: \"tag-gzip\"", 304 },
        { "If-None-Match: \"a\", \"tag\"", 304 },
        { "If-None-Match: *", 304 },
        { "If-None-Match: \"other\"", 200 },
        { "If-None-Match: tag", 200 },
        { "If-Modified-Since: " MODIFIED, 304 },
        { "If-Modified-Since: " MODIFIED_OLD, 200 },
        { "If-Modified-Since: " MODIFIED "\r\nIf-None-Match: \"other\"", 200 },
        { "If-Modified-Since: yesterday", 200 },
        { "If-None-Match: \"tag\"\r\nRange: bytes=0-1", 304 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char h[160];
        (void)snprintf(h, sizeof h, "%s\r\n", rows[i].header);
        struct got g = fetch("GET", "/", h);
        assert_int_equal(g.status, rows[i].status);
        assert_sv(field(&g, "ETag"), SV_LIT("\"tag\""));
        assert_int_equal(g.body.len, rows[i].status == 304 ? 0 : FILE_BYTES - BEFORE);
        buf_done(&g.all);
    }
}

TEST(http_file, gzip_is_packed_on_the_way_under_a_tag_of_its_own)
{
    (void)state;
    struct got g = fetch("GET", "/", "Accept-Encoding: deflate, gzip;q=0.5\r\n");
    assert_int_equal(g.status, 200);
    assert_sv(field(&g, "Content-Encoding"), SV_LIT("gzip"));
    assert_sv(field(&g, "Transfer-Encoding"), SV_LIT("chunked"));
    assert_sv(field(&g, "ETag"), SV_LIT("\"tag-gzip\""));
    assert_sv(field(&g, "Vary"), SV_LIT("Accept-Encoding"));
    assert_null(field(&g, "Content-Length").ptr);
    is_packed_file(&g);
    buf_done(&g.all);
    g = fetch("GET", "/plain", "Accept-Encoding: gzip\r\n");
    assert_null(field(&g, "Content-Encoding").ptr);
    assert_null(field(&g, "Vary").ptr);
    is_part(&g, 0, FILE_BYTES - BEFORE);
    buf_done(&g.all);
}

/* Clients that hang up in the middle leave nothing open behind. */
TEST(http_file, a_caller_who_hangs_up_costs_nothing)
{
    (void)state;
    int before = dup(0);
    close(before);
    for (int i = 0; i < 200; i++) {
        char block[1024];
        int fd = dial();
        ask(fd, "GET", "/", i % 2 ? "Accept-Encoding: gzip\r\n" : "");
        assert_true(read(fd, block, sizeof block) > 0);
        close(fd);
    }
    /* still packs: none is counted twice */
    struct got g = fetch("GET", "/", "Accept-Encoding: gzip\r\n");
    assert_sv(field(&g, "Content-Encoding"), SV_LIT("gzip"));
    is_packed_file(&g);
    buf_done(&g.all);
    /* a server thread closes its end a moment later */
    for (int i = 0; i < 3000; i++) {
        int after = dup(0);
        close(after);
        if (after <= before + 2)
            return;
        usleep(20000);
    }
    fail_msg("files stay open");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(http_file, whole_with_length_tag_and_date),
        T(http_file, head_has_the_headers_and_no_body),
        T(http_file, an_empty_file_is_an_empty_answer),
        T(http_file, one_range_is_206_with_its_place),
        T(http_file, a_range_behind_the_end_is_416_with_the_length),
        T(http_file, a_range_that_is_none_of_ours_gets_the_whole),
        T(http_file, if_range_serves_the_range_only_of_the_same_file),
        T(http_file, what_the_client_has_is_304),
        T(http_file, gzip_is_packed_on_the_way_under_a_tag_of_its_own),
        T(http_file, a_caller_who_hangs_up_costs_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
