/* Requests counted: each by its operation, its outcome and its time; sums that agree with
 * themselves; nothing that a caller chose; and not one lost, however many threads count. */
#include "test.h"

#include "service/metrics.h"

#include <pthread.h>

#define PAGE (4u << 20)

static const char *const names[] = { "ReadResource", "CreateResource", "ReadResource",
                                     "ListFHIRDatastores" };

static struct metrics *metrics_of(bool per_datastore)
{
    const struct metrics_config cfg = { names, sizeof names / sizeof names[0], per_datastore };
    return metrics_new(&cfg);
}

static const char *page(struct metrics *m)
{
    static char text[PAGE];
    CLEANUP_BUF struct buf b = BUF_INIT(PAGE - 1);
    struct prometheus p;
    prometheus_init(&p, &b);
    metrics_write(m, &p);
    OK(prometheus_end(&p, e));
    memcpy(text, b.ptr, b.len);
    text[b.len] = 0;
    return text;
}

/* Of the line that begins so; -1: there is none. */
static int64_t value(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (strncmp(at, line, len) == 0 && at[len] == ' ') {
            int64_t n;
            const char *digits = at + len + 1;
            assert_true(sv_to_i64(sv_make(digits, strcspn(digits, ".\n")), &n));
            return n;
        }
    return -1;
}

#define REQUESTS(op, outcome) \
    "fhirlake_requests_total{operation=\"" op "\",outcome=\"" outcome "\"}"
#define BUCKET(op, le) \
    "fhirlake_request_duration_seconds_bucket{operation=\"" op "\",le=\"" le "\"}"
#define REFUSED(scheme, reason) \
    "fhirlake_auth_failures_total{scheme=\"" scheme "\",reason=\"" reason "\"}"

TEST(metrics, a_request_counts_by_its_operation_and_its_status)
{
    (void)state;
    struct metrics *m = metrics_of(false);
    static const unsigned statuses[] = { 200, 201, 304, 404, 412, 500, 503, 429 };
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        metrics_request(m, "ReadResource", SV_NONE, statuses[i], 10);
    metrics_request(m, "CreateResource", SV_NONE, 201, 10);
    const char *text = page(m);
    assert_int_equal(value(text, REQUESTS("ReadResource", "success")), 3);
    assert_int_equal(value(text, REQUESTS("ReadResource", "user_error")), 2);
    assert_int_equal(value(text, REQUESTS("ReadResource", "server_error")), 2);
    assert_int_equal(value(text, REQUESTS("ReadResource", "throttled")), 1);
    assert_int_equal(value(text, REQUESTS("CreateResource", "success")), 1);
    assert_int_equal(value(text, REQUESTS("CreateResource", "throttled")), 0);
    /* nobody has asked for it */
    assert_int_equal(value(text, REQUESTS("ListFHIRDatastores", "success")), -1);
    metrics_free(m);
}

TEST(metrics, a_name_that_is_none_of_ours_is_never_a_label)
{
    (void)state;
    struct metrics *m = metrics_of(false);
    metrics_request(m, NULL, SV_NONE, 404, 10);
    metrics_request(m, "Patient/smith", SV_NONE, 404, 10);
    metrics_request(m, "", SV_NONE, 404, 10);
    metrics_request(m, "ReadResource2", SV_NONE, 404, 10);
    metrics_request(m, "unknown", SV_NONE, 404, 10);
    const char *text = page(m);
    assert_int_equal(value(text, REQUESTS("unknown", "user_error")), 5);
    assert_null(strstr(text, "smith"));
    assert_null(strstr(text, "ReadResource2"));
    metrics_free(m);
}

TEST(metrics, the_times_are_a_histogram_that_agrees_with_itself)
{
    (void)state;
    struct metrics *m = metrics_of(false);
    /* at a bound, and one behind it */
    static const uint64_t us[] = { 0, 100, 101, 250, 1000, 1001, 60000000, 60000001, 5000000000 };
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof us / sizeof us[0]; i++) {
        metrics_request(m, "ReadResource", SV_NONE, 200, us[i]);
        sum += us[i];
    }
    const char *text = page(m);
    assert_int_equal(value(text, BUCKET("ReadResource", "0.0001")), 2);
    assert_int_equal(value(text, BUCKET("ReadResource", "0.00025")), 4);
    assert_int_equal(value(text, BUCKET("ReadResource", "0.0005")), 4);
    assert_int_equal(value(text, BUCKET("ReadResource", "0.001")), 5);
    assert_int_equal(value(text, BUCKET("ReadResource", "0.0025")), 6);
    assert_int_equal(value(text, BUCKET("ReadResource", "60")), 7);
    assert_int_equal(value(text, BUCKET("ReadResource", "+Inf")), 9);
    assert_int_equal(
        value(text, "fhirlake_request_duration_seconds_count{operation=\"ReadResource\"}"), 9);
    assert_int_equal(
        value(text, "fhirlake_request_duration_seconds_sum{operation=\"ReadResource\"}"),
        sum / 1000000);
    metrics_free(m);
}

static void refused(struct metrics *m, const char *authorization, err_code code)
{
    struct http_header h = { SV_LIT("Authorization"), sv_from(authorization) };
    const struct http_request req = { .headers = &h, .n_headers = authorization ? 1 : 0 };
    metrics_refused(m, &req, code);
}

TEST(metrics, a_refusal_counts_by_how_the_caller_said_who_he_is_and_why)
{
    (void)state;
    struct metrics *m = metrics_of(false);
    refused(m, NULL, ERR_AUTH_MISSING);
    refused(m, "AWS4-HMAC-SHA256 Credential=AKIASECRET", ERR_AUTH_SIGNATURE);
    refused(m, "AWS4-HMAC-SHA256 Credential=AKIASECRET", ERR_AUTH_SIGNATURE);
    /* a signed URL */
    refused(m, NULL, ERR_AUTH_EXPIRED);
    refused(m, "bearer eyJhbGciOi", ERR_AUTH_EXPIRED);
    refused(m, "AWS4-HMAC-SHA256 Credential=AKIASECRET", ERR_DENIED);
    refused(m, "AWS4-HMAC-SHA256 Credential=AKIASECRET", ERR_AUTH_KEY_EXPIRED);
    metrics_stranger(m);
    metrics_stranger(NULL);
    /* no refusal of a caller */
    refused(m, NULL, ERR_OK);
    refused(m, NULL, ERR_NOT_FOUND);
    refused(m, NULL, ERR_THROTTLED);
    const char *text = page(m);
    assert_int_equal(value(text, REFUSED("none", "missing")), 1);
    assert_int_equal(value(text, REFUSED("sigv4", "signature")), 2);
    assert_int_equal(value(text, REFUSED("sigv4", "expired")), 1);
    assert_int_equal(value(text, REFUSED("bearer", "expired")), 1);
    assert_int_equal(value(text, REFUSED("sigv4", "denied")), 1);
    assert_int_equal(value(text, REFUSED("sigv4", "key_expired")), 1);
    assert_int_equal(value(text, REFUSED("mtls", "certificate")), 1);
    assert_int_equal(value(text, REFUSED("none", "certificate")), 0);
    assert_int_equal(value(text, REFUSED("sigv4", "missing")), 0);
    assert_null(strstr(text, "AKIA"));
    assert_null(strstr(text, "eyJ"));
    metrics_free(m);
}

static sv id_of(unsigned i, char out[40])
{
    (void)snprintf(out, 40, "%032x", i);
    return sv_from(out);
}

TEST(metrics, data_stores_are_labels_when_that_is_wanted_and_are_bounded)
{
    (void)state;
    char id[40];
    struct metrics *m = metrics_of(true);
    metrics_request(m, "ListFHIRDatastores", SV_NONE, 200, 10);
    for (unsigned i = 0; i < METRICS_DATASTORES + 50; i++)
        for (unsigned k = 0; k < 2; k++)
            metrics_request(m, "ReadResource", id_of(i, id), k ? 200 : 404, 10);
    /* one of the first, after others had no place any more */
    metrics_request(m, "ReadResource", id_of(7, id), 200, 10);
    const char *text = page(m);
#define OF(op, id, outcome) \
    "fhirlake_requests_total{operation=\"" op "\",datastore=\"" id "\",outcome=\"" outcome "\"}"
    assert_int_equal(value(text, OF("ListFHIRDatastores", "", "success")), 1);
    assert_int_equal(value(text, OF("ReadResource", "00000000000000000000000000000007", "success")),
                     2);
    assert_int_equal(
        value(text, OF("ReadResource", "00000000000000000000000000000063", "user_error")), 1);
    assert_int_equal(value(text, OF("ReadResource", "00000000000000000000000000000064", "success")),
                     -1);
    assert_int_equal(value(text, OF("ReadResource", "other", "success")), 50);
    assert_int_equal(value(text, OF("ReadResource", "other", "user_error")), 50);
    /* the times are not taken apart by data store */
    assert_int_equal(value(text, BUCKET("ReadResource", "+Inf")),
                     2 * (METRICS_DATASTORES + 50) + 1);
    metrics_free(m);
}

TEST(metrics, without_the_option_no_id_of_a_data_store_is_told)
{
    (void)state;
    char id[40];
    struct metrics *m = metrics_of(false);
    metrics_request(m, "ReadResource", id_of(0xABCDEF, id), 200, 10);
    assert_null(strstr(page(m), "abcdef"));
    metrics_free(m);
}

TEST(metrics, where_there_are_none_nothing_is_counted)
{
    (void)state;
    metrics_request(NULL, "ReadResource", SV_NONE, 200, 10);
    refused(NULL, NULL, ERR_AUTH_MISSING);
    metrics_free(NULL);
}

/* ---- many threads ---- */

#define THREADS 12u
#define EACH    20000u

static void *count_many(void *ctx)
{
    struct metrics *m = ctx;
    char id[40];
    for (unsigned i = 0; i < EACH; i++) {
        metrics_request(m, i % 2 ? "ReadResource" : "CreateResource", id_of(i % 150, id),
                        i % 4 ? 200 : 404, i);
        refused(m, NULL, ERR_AUTH_MISSING);
    }
    return NULL;
}

/* The sum of all lines of a family that hold a text. */
static uint64_t sum_of(const char *text, const char *family, const char *part)
{
    uint64_t sum = 0;
    sv rest = sv_from(text), line;
    while (sv_cut(&rest, '\n', &line)) {
        char one[512];
        uint64_t n;
        (void)snprintf(one, sizeof one, "%.*s", SV_FMT(line));
        if (strncmp(one, family, strlen(family)) == 0 && strstr(one, part)) {
            assert_true(sv_to_u64(sv_from(strrchr(one, ' ') + 1), &n));
            sum += n;
        }
    }
    return sum;
}

TEST(metrics, nothing_is_lost_when_many_threads_count_and_one_reads)
{
    (void)state;
    pthread_t threads[THREADS];
    struct metrics *m = metrics_of(true);
    /* of a line that is not there yet */
    int64_t last = -1;
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_many, m), 0);
    /* meanwhile no counter goes back, and the histogram agrees with itself */
    for (unsigned i = 0; i < 20; i++) {
        const char *text = page(m);
        int64_t n = value(text, BUCKET("ReadResource", "+Inf"));
        assert_true(n >= last);
        assert_int_equal(
            n, value(text, "fhirlake_request_duration_seconds_count{operation=\"ReadResource\"}"));
        last = n > last ? n : last;
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    const char *text = page(m);
    assert_int_equal(sum_of(text, "fhirlake_requests_total", ""), THREADS * EACH);
    assert_int_equal(sum_of(text, "fhirlake_requests_total", "CreateResource"), THREADS * EACH / 2);
    assert_int_equal(sum_of(text, "fhirlake_requests_total", "user_error"), THREADS * EACH / 4);
    assert_int_equal(value(text, BUCKET("ReadResource", "+Inf")), THREADS * EACH / 2);
    assert_int_equal(value(text, REFUSED("none", "missing")), THREADS * EACH);
    metrics_free(m);
}

TEST_MAIN(T(metrics, a_request_counts_by_its_operation_and_its_status),
          T(metrics, a_name_that_is_none_of_ours_is_never_a_label),
          T(metrics, the_times_are_a_histogram_that_agrees_with_itself),
          T(metrics, a_refusal_counts_by_how_the_caller_said_who_he_is_and_why),
          T(metrics, data_stores_are_labels_when_that_is_wanted_and_are_bounded),
          T(metrics, without_the_option_no_id_of_a_data_store_is_told),
          T(metrics, where_there_are_none_nothing_is_counted),
          T(metrics, nothing_is_lost_when_many_threads_count_and_one_reads))
