/* What an answer is on its way out: its headers, its error, and the one line of the log. The
 * server's side of an exchange is here, in memory. */
#include "test.h"

#include "base/file.h"
#include "service/answer.h"

#include <unistd.h>

struct http_exchange {
    struct http_request req;
    bool has_room;
    /* what was answered */
    unsigned n_answers, status;
    char headers[1000]; /* "Name: value\n" each, in their order */
    struct buf body;
};

const struct http_request *http_exchange_request(struct http_exchange *x)
{
    return &x->req;
}

void *http_exchange_kept(const struct http_exchange *x)
{
    (void)x;
    return NULL;
}

void http_exchange_keep(struct http_exchange *x, void *kept)
{
    (void)x, (void)kept;
}

bool http_room(struct http_exchange *x, size_t len)
{
    (void)len;
    return x->has_room;
}

static void keep(struct http_exchange *x, unsigned status, const struct http_header *h, size_t n)
{
    size_t len = 0;
    x->n_answers++;
    x->status = status;
    x->headers[0] = 0;
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(x->headers + len, sizeof x->headers - len, "%.*s: %.*s\n",
                                SV_FMT(h[i].name), SV_FMT(h[i].value));
    /* the request is gone from here on */
    memset(&x->req, 0xEE, sizeof x->req);
}

void http_reply(struct http_exchange *x, unsigned status, const struct http_header *headers,
                size_t n_headers, struct buf *body)
{
    keep(x, status, headers, n_headers);
    x->body = *body;
    *body = BUF_INIT(body->max);
}

unsigned http_file_status(const struct http_request *req, const struct http_file *f)
{
    (void)req, (void)f;
    return 206;
}

unsigned http_reply_file(struct http_exchange *x, const struct http_header *headers,
                         size_t n_headers, const struct http_file *f, uint64_t *sent)
{
    keep(x, 206, headers, n_headers);
    *sent = f->len / 2;
    return 206;
}

static struct http_exchange exchange(const char *method)
{
    return (struct http_exchange){ .req = { .method = sv_from(method),
                                            .target = SV_LIT("/secret?name=smith"),
                                            .body = SV_LIT("{\"secret\":1}"),
                                            .peer = SV_LIT("10.0.0.7") },
                                   .has_room = true };
}

/* ---- the log, which goes to standard error ---- */

static int kept_fd, log_fd;
static char log_path[64];

static void log_begin(void)
{
    (void)snprintf(log_path, sizeof log_path, TEST_TMP "/fhirlake-answer-XXXXXX");
    (void)fflush(stderr);
    kept_fd = dup(2);
    log_fd = mkstemp(log_path);
    assert_true(kept_fd >= 0 && log_fd >= 0);
    assert_int_equal(dup2(log_fd, 2), 2);
}

/* The lines since log_begin(). */
static const char *log_end(void)
{
    static char text[8192];
    CLEANUP_BUF struct buf b = BUF_INIT(sizeof text - 1);
    (void)dup2(kept_fd, 2);
    (void)close(kept_fd);
    (void)close(log_fd);
    OK(file_read(log_path, &b, e));
    (void)unlink(log_path);
    memcpy(text, b.ptr ? b.ptr : "", b.len);
    text[b.len] = 0;
    return text;
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

#define HAS(text, part)                                   \
    do {                                                  \
        if (strstr((text), (part)) == NULL)               \
            fail_msg("%s is not in: %s", (part), (text)); \
    } while (0)
#define LACKS(text, part)                             \
    do {                                              \
        if (strstr((text), (part)) != NULL)           \
            fail_msg("%s is in: %s", (part), (text)); \
    } while (0)

/* ---- answers ---- */

static struct answer good_answer(const char *body)
{
    struct answer an = { .status = 200,
                         .content_type = "application/x-amz-json-1.0",
                         .body = BUF_INIT(1 << 16) };
    OK(buf_add(&an.body, sv_from(body), e));
    return an;
}

TEST(answer, one_that_is_good_goes_out_as_it_is)
{
    (void)state;
    struct http_exchange x = exchange("POST");
    struct answer an = good_answer("{\"JobId\":\"private\"}");
    log_begin();
    service_reply(&x, &an, "StartFHIRExportJob", "id-1", SV_LIT("AKIA"));
    const char *line = log_end();
    assert_int_equal(x.n_answers, 1);
    assert_int_equal(x.status, 200);
    assert_string_equal(x.headers, "Content-Type: application/x-amz-json-1.0\n"
                                   "x-amzn-RequestId: id-1\n");
    assert_sv(buf_sv(&x.body), SV_LIT("{\"JobId\":\"private\"}"));
    /* taken */
    assert_int_equal(an.body.len, 0);
    /* one line, and nothing of the content in it */
    assert_int_equal(lines_of(line), 1);
    HAS(line, "op=StartFHIRExportJob");
    HAS(line, "status=200");
    HAS(line, "error=-");
    HAS(line, "in=12 ");
    HAS(line, "out=19 ");
    HAS(line, "key=AKIA");
    HAS(line, "peer=10.0.0.7");
    HAS(line, "request_id=id-1");
    LACKS(line, "secret");
    LACKS(line, "smith");
    LACKS(line, "private");
    buf_done(&x.body);
}

/* AWS JSON 1.0: clients find the exception in x-amzn-errortype, or in __type of the body. */
TEST(answer, an_error_names_its_exception_in_head_and_body)
{
    (void)state;
    struct http_exchange x = exchange("POST");
    struct answer an = good_answer("half of an answer");
    struct err why;
    (void)ERR(&why, ERR_NOT_FOUND, "There is no such job");
    service_answer_error(&an, &why, SV_LIT("longer"), "id-2", "DescribeFHIRExportJob");
    log_begin();
    service_reply(&x, &an, "DescribeFHIRExportJob", "id-2", SV_NONE);
    const char *line = log_end();
    assert_string_equal(x.headers, "Content-Type: application/x-amz-json-1.0\n"
                                   "x-amzn-RequestId: id-2\n"
                                   "x-amzn-errortype: ResourceNotFoundException\n");
    OK(buf_add_char(&x.body, 0, e));
    HAS(x.body.ptr, "ResourceNotFoundException");
    HAS(x.body.ptr, "There is no such job");
    LACKS(x.body.ptr, "half of an answer");
    LACKS(x.body.ptr, "longer");
    HAS(line, "error=ResourceNotFoundException");
    /* nobody who is known */
    HAS(line, "key=- ");
    buf_done(&x.body);
}

TEST(answer, faults_of_a_request_may_be_longer_than_an_error_holds)
{
    (void)state;
    struct answer an = good_answer("");
    struct err why;
    (void)ERR(&why, ERR_INVALID, "2 faults");
    service_answer_error(&an, &why, SV_LIT("one fault; another fault"), "id", "op");
    OK(buf_add_char(&an.body, 0, e));
    HAS(an.body.ptr, "one fault; another fault");
    LACKS(an.body.ptr, "2 faults");
    assert_string_equal(an.error_type, "ValidationException");
    assert_int_equal(an.status, 400);
    buf_done(&an.body);
}

TEST(answer, what_went_wrong_inside_is_for_the_log_alone)
{
    (void)state;
    struct answer an = good_answer("");
    struct err why;
    (void)ERR(&why, ERR_CORRUPT, "block 7 of /var/lib/x is damaged");
    log_begin();
    service_answer_error(&an, &why, SV_NONE, "id-3", "op-3");
    const char *line = log_end();
    OK(buf_add_char(&an.body, 0, e));
    LACKS(an.body.ptr, "/var/lib/x");
    assert_int_equal(an.status, 500);
    HAS(line, "block 7 of /var/lib/x is damaged");
    HAS(line, "request_id=id-3");
    buf_done(&an.body);
}

TEST(answer, a_full_disk_is_told_without_its_folder)
{
    (void)state;
    struct answer an = good_answer("");
    struct err why;
    (void)ERR(&why, ERR_NO_SPACE, "writing /var/lib/x: disk is full");
    log_begin();
    service_answer_error(&an, &why, SV_NONE, "id-4", "op-4");
    const char *line = log_end();
    OK(buf_add_char(&an.body, 0, e));
    HAS(an.body.ptr, "The disk of the data folder is full");
    LACKS(an.body.ptr, "/var/lib/x");
    HAS(line, "writing /var/lib/x");
    buf_done(&an.body);
}

TEST(answer, whoever_is_too_fast_is_told_when_to_come_back)
{
    (void)state;
    static const err_code others[] = { ERR_INVALID, ERR_DENIED, ERR_NOT_FOUND, ERR_TIMEOUT };
    struct answer an = good_answer("");
    struct err why;
    (void)ERR(&why, ERR_THROTTLED, "too many");
    service_answer_error(&an, &why, SV_NONE, "id", "op");
    assert_int_equal(an.retry_after_s, 1);
    an.retry_after_s = 17;
    struct http_exchange x = exchange("POST");
    log_begin();
    service_reply(&x, &an, "op", "id", SV_NONE);
    (void)log_end();
    HAS(x.headers, "x-amzn-errortype: ThrottlingException\n");
    HAS(x.headers, "Retry-After: 17\n");
    buf_done(&x.body);
    /* what an answer was before does not stay */
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        (void)ERR(&why, others[i], "x");
        an.retry_after_s = 1;
        log_begin();
        service_answer_error(&an, &why, SV_NONE, "id", "op");
        (void)log_end();
        assert_int_equal(an.retry_after_s, 0);
    }
    buf_done(&an.body);
}

TEST(answer, without_room_an_error_goes_out_in_its_place)
{
    (void)state;
    static const struct {
        const char *method;
        bool writes;
    } calls[] = { { "GET", false }, { "HEAD", false }, { "POST", true }, { "DELETE", true } };
    for (size_t i = 0; i < 4; i++) {
        struct http_exchange x = exchange(calls[i].method);
        x.has_room = false;
        struct answer an = good_answer("{\"JobId\":\"large\"}");
        log_begin();
        service_reply(&x, &an, "op", "id", SV_NONE);
        HAS(log_end(), "error=ThrottlingException");
        assert_int_equal(x.n_answers, 1);
        HAS(x.headers, "Retry-After: 1\n");
        OK(buf_add_char(&x.body, 0, e));
        LACKS(x.body.ptr, "JobId");
        /* whoever wrote must not think that nothing was done */
        if (calls[i].writes)
            HAS(x.body.ptr, "may have been done");
        else
            LACKS(x.body.ptr, "may have been done");
        buf_done(&x.body);
    }
}

TEST(answer, of_a_file_the_log_has_what_was_sent)
{
    (void)state;
    struct http_exchange x = exchange("GET");
    struct http_header h = { SV_LIT("Content-Type"), SV_LIT("application/fhir+ndjson") };
    struct http_file f = { .fd = -1, .len = 5000 };
    log_begin();
    service_reply_file(&x, &h, 1, &f, "file", "id-4", SV_LIT("AKIA"));
    const char *line = log_end();
    assert_string_equal(x.headers, "Content-Type: application/fhir+ndjson\n");
    assert_int_equal(lines_of(line), 1);
    HAS(line, "op=file");
    HAS(line, "status=206");
    HAS(line, "out=2500 ");
    HAS(line, "key=AKIA");
    HAS(line, "peer=10.0.0.7");
    HAS(line, "request_id=id-4");
}

TEST_MAIN(T(answer, one_that_is_good_goes_out_as_it_is),
          T(answer, an_error_names_its_exception_in_head_and_body),
          T(answer, faults_of_a_request_may_be_longer_than_an_error_holds),
          T(answer, what_went_wrong_inside_is_for_the_log_alone),
          T(answer, a_full_disk_is_told_without_its_folder),
          T(answer, whoever_is_too_fast_is_told_when_to_come_back),
          T(answer, without_room_an_error_goes_out_in_its_place),
          T(answer, of_a_file_the_log_has_what_was_sent))
