/* Events on their way: on disk with what they tell, sent in their order, again when the endpoint
 * stalls, fails or cuts, over a restart too; and dead, in a file, when nothing helps. */
#include "endpoint.h"

#include "base/file.h"
#include "event/event.h"

#include <sched.h>
#include <sys/stat.h>

#define ARN SV_LIT("arn:aws:healthlake:eu-west-1:123456789012:datastore/fhir/0123")

struct bench {
    char dir[64], dead[96];
    struct records *records;
    struct events *events;
    struct arena *a;
    unsigned news[4]; /* by what */
};

static void on_news(void *ctx, const struct events_news *news)
{
    struct bench *b = ctx;
    b->news[news->what]++;
    assert_non_null(news->why);
}

static void bench_open(struct bench *b)
{
    *b = (struct bench){ .dir = TEST_TMP "/fhirlake-event-XXXXXX", .a = arena_new(64u << 20) };
    assert_non_null(mkdtemp(b->dir));
    (void)snprintf(b->dead, sizeof b->dead, "%s/dead", b->dir);
    OK(records_open(NULL, &b->records, e));
}

static struct events_config quick(struct bench *b, const char *url)
{
    return (struct events_config){ .records = b->records,
                                   .url = url,
                                   .dead_path = b->dead,
                                   .first_wait_ms = 1,
                                   .most_wait_ms = 2,
                                   .timeout_ms = 3600000,
                                   .news = on_news,
                                   .news_ctx = b };
}

static void begin(struct bench *b, const struct events_config *cfg)
{
    OK(events_start(cfg, &b->events, e));
}

static void end(struct bench *b)
{
    events_stop(b->events);
    b->events = NULL;
}

static void bench_close(struct bench *b)
{
    end(b);
    records_close(b->records);
    arena_free(b->a);
    OK(file_remove_tree(b->dir, e));
}

static void detail(const void *of, struct json_writer *w)
{
    const struct event *event = of;
    json_kv_str(w, "jobId", event->subject);
    json_kv_str(w, "step", event->state);
}

static void happen(struct bench *b, const char *subject, const char *state)
{
    struct event event = { .detail_type = "Export Job Completed",
                           .subject = sv_from(subject),
                           .state = sv_from(state),
                           .resource = ARN,
                           .time_ms = 1764408896789, /* 2025-11-29T09:34:56.789Z */
                           .detail = detail };
    event.of = &event;
    struct records_write w;
    OK(events_write(b->events, &event, b->a, &w, e));
    OK(records_write(b->records, &w, 1, e));
    events_written(b->events);
}

static void wait_until_sent(struct bench *b, uint64_t sent, uint64_t dead)
{
    struct events_counts n;
    do {
        (void)sched_yield();
        events_count(b->events, &n);
    } while (n.sent < sent || n.dead < dead || n.waiting);
    assert_int_equal(n.sent, sent);
    assert_int_equal(n.dead, dead);
}

static sv member(struct bench *b, const char *body, const char *name)
{
    yyjson_doc *doc;
    OK(json_read(b->a, sv_from(body), 8, &doc, e));
    return json_string(json_get(yyjson_doc_get_root(doc), name));
}

static void is_about(struct bench *b, const char *body, const char *subject)
{
    yyjson_doc *doc;
    OK(json_read(b->a, sv_from(body), 8, &doc, e));
    assert_sv(json_string(json_get(json_get(yyjson_doc_get_root(doc), "detail"), "jobId")),
              sv_from(subject));
}

TEST(event, has_the_envelope_of_eventbridge)
{
    (void)state;
    struct bench b;
    struct endpoint ep;
    ep_open(&ep, NULL, 0);
    bench_open(&b);
    struct events_config cfg = quick(&b, ep.url);
    begin(&b, &cfg);
    happen(&b, "a\"b", "COMPLETED");
    wait_until_sent(&b, 1, 0);
    const char *body = ep_body(&ep, 0);
    assert_sv(member(&b, body, "version"), SV_LIT("0"));
    assert_sv(member(&b, body, "source"), SV_LIT("aws.healthlake"));
    assert_sv(member(&b, body, "detail-type"), SV_LIT("Export Job Completed"));
    assert_sv(member(&b, body, "account"), SV_LIT("123456789012"));
    assert_sv(member(&b, body, "region"), SV_LIT("eu-west-1"));
    assert_sv(member(&b, body, "time"), SV_LIT("2025-11-29T09:34:56Z"));
    assert_non_null(strstr(body, "\"resources\":[\"arn:aws:healthlake:eu-west-1:123456789012:"
                                 "datastore/fhir/0123\"]"));
    assert_non_null(strstr(body, "\"detail\":{\"jobId\":\"a\\\"b\",\"step\":\"COMPLETED\"}"));
    sv id = member(&b, body, "id");
    assert_int_equal(id.len, 36);
    assert_true(id.ptr[14] == '4' && strchr("89ab", id.ptr[19]));
    assert_non_null(strstr(ep_request(&ep, 0), "POST /hook HTTP/1.1\r\n"));
    assert_non_null(strstr(ep_request(&ep, 0), "Content-Type: application/json\r\n"));
    assert_null(strstr(ep_request(&ep, 0), "Authorization"));
    bench_close(&b);
    ep_close(&ep);
}

TEST(event, is_sent_again_until_it_is_taken_and_the_next_one_behind_it)
{
    (void)state;
    static const int script[] = { 503, CUT, 429, 301, 404, CUT, 200, 500 };
    struct bench b;
    struct endpoint ep;
    ep_open(&ep, script, sizeof script / sizeof script[0]);
    bench_open(&b);
    struct events_config cfg = quick(&b, ep.url);
    begin(&b, &cfg);
    happen(&b, "first", "SUBMITTED");
    happen(&b, "first", "COMPLETED");
    happen(&b, "second", "SUBMITTED");
    wait_until_sent(&b, 3, 0);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(ep_body(&ep, i), ep_body(&ep, 0));
    assert_string_equal(ep_body(&ep, 7), ep_body(&ep, 8));
    assert_string_not_equal(ep_body(&ep, 7), ep_body(&ep, 0));
    is_about(&b, ep_body(&ep, 9), "second");
    assert_int_equal(ep.locked.n, 10);
    end(&b);
    assert_int_equal(b.news[EVENTS_FAILING], 2);
    assert_int_equal(b.news[EVENTS_WORKING], 2);
    assert_int_equal(b.news[EVENTS_DEAD], 0);
    assert_int_not_equal(access(b.dead, F_OK), 0);
    bench_close(&b);
    ep_close(&ep);
}

TEST(event, that_an_endpoint_never_answers_is_given_up_when_its_time_is_over)
{
    (void)state;
    static const int script[] = { STALL, 200 };
    struct bench b;
    struct endpoint ep;
    ep_open(&ep, script, 2);
    bench_open(&b);
    struct events_config cfg = quick(&b, ep.url);
    cfg.timeout_ms = 50;
    begin(&b, &cfg);
    happen(&b, "job", "SUBMITTED");
    wait_until_sent(&b, 1, 0);
    assert_string_equal(ep_body(&ep, 0), ep_body(&ep, 1));
    bench_close(&b);
    ep_close(&ep);
}

TEST(event, that_hangs_keeps_nobody_from_writing_and_the_end_from_nobody)
{
    (void)state;
    static const int script[] = { STALL };
    struct bench b;
    struct endpoint ep;
    struct events_counts n;
    ep_open(&ep, script, 1);
    bench_open(&b);
    struct events_config cfg = quick(&b, ep.url);
    begin(&b, &cfg);
    happen(&b, "job", "SUBMITTED");
    ep_wait(&ep, 1);
    for (unsigned i = 0; i < 100; i++)
        happen(&b, "job", "COMPLETED");
    events_count(b.events, &n);
    assert_int_equal(n.waiting, 101);
    assert_int_equal(n.sent, 0);
    /* this would take an hour */
    end(&b);
    bench_close(&b);
    ep_close(&ep);
}

TEST(event, that_waits_is_sent_by_the_next_process_with_the_same_id)
{
    (void)state;
    static const int script[] = { STALL };
    struct bench b;
    struct endpoint down, up;
    ep_open(&down, script, 1);
    ep_open(&up, NULL, 0);
    bench_open(&b);
    struct events_config cfg = quick(&b, down.url);
    begin(&b, &cfg);
    happen(&b, "one", "SUBMITTED");
    happen(&b, "two", "SUBMITTED");
    ep_wait(&down, 1);
    end(&b);
    cfg.url = up.url;
    begin(&b, &cfg);
    happen(&b, "three", "SUBMITTED");
    wait_until_sent(&b, 3, 0);
    assert_string_equal(ep_body(&up, 0), ep_body(&down, 0));
    is_about(&b, ep_body(&up, 0), "one");
    is_about(&b, ep_body(&up, 1), "two");
    is_about(&b, ep_body(&up, 2), "three");
    end(&b);
    /* and is gone then */
    begin(&b, &cfg);
    happen(&b, "four", "SUBMITTED");
    wait_until_sent(&b, 1, 0);
    is_about(&b, ep_body(&up, 3), "four");
    bench_close(&b);
    ep_close(&down);
    ep_close(&up);
}

TEST(event, that_nothing_helps_becomes_a_line_of_a_file_of_its_owner_alone)
{
    (void)state;
    static const int script[] = { 500, CUT, 500, 200 };
    struct bench b;
    struct endpoint ep;
    struct stat st;
    CLEANUP_BUF struct buf lines = BUF_INIT(65536);
    ep_open(&ep, script, 4);
    bench_open(&b);
    /* of an earlier process that was killed while it wrote */
    OK(file_write_atomic(b.dead, SV_LIT("{\"whole\":1}\n{\"torn"), e));
    assert_int_equal(chmod(b.dead, 0600), 0);
    struct events_config cfg = quick(&b, ep.url);
    cfg.tries = 3;
    begin(&b, &cfg);
    happen(&b, "dead", "COMPLETED");
    happen(&b, "alive", "COMPLETED");
    wait_until_sent(&b, 1, 1);
    is_about(&b, ep_body(&ep, 3), "alive");
    OK(file_read(b.dead, &lines, e));
    sv rest = buf_sv(&lines), line;
    assert_true(sv_cut(&rest, '\n', &line) && sv_eq(line, SV_LIT("{\"whole\":1}")));
    assert_true(sv_cut(&rest, '\n', &line) && sv_eq(line, SV_LIT("{\"torn")));
    assert_true(sv_cut(&rest, '\n', &line));
    assert_sv(line, sv_from(ep_body(&ep, 0)));
    assert_true(sv_cut(&rest, '\n', &line) && line.len == 0 && rest.ptr == NULL);
    assert_int_equal(stat(b.dead, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    end(&b);
    assert_int_equal(b.news[EVENTS_DEAD], 1);
    bench_close(&b);
    ep_close(&ep);
}

TEST(event, that_is_the_oldest_of_too_many_makes_room)
{
    (void)state;
    static const int script[] = { STALL };
    struct bench b;
    struct endpoint down, up;
    ep_open(&down, script, 1);
    ep_open(&up, NULL, 0);
    bench_open(&b);
    struct events_config cfg = quick(&b, down.url);
    begin(&b, &cfg);
    for (unsigned i = 0; i < 10; i++)
        happen(&b, i < 6 ? "old" : "new", i % 2 ? "COMPLETED" : "SUBMITTED");
    ep_wait(&down, 1);
    end(&b);
    cfg.url = up.url;
    cfg.most_waiting = 4;
    begin(&b, &cfg);
    wait_until_sent(&b, 4, 6);
    for (size_t i = 0; i < 4; i++)
        is_about(&b, ep_body(&up, i), "new");
    bench_close(&b);
    ep_close(&down);
    ep_close(&up);
}

TEST(event, that_cannot_be_put_away_is_not_lost)
{
    (void)state;
    static const int script[] = { 500, 500, 500, 500 };
    struct bench b;
    struct endpoint ep;
    ep_open(&ep, script, 4);
    bench_open(&b);
    struct events_config cfg = quick(&b, ep.url);
    char folder[128];
    (void)snprintf(folder, sizeof folder, "%s/none/dead", b.dir);
    cfg.dead_path = folder;
    cfg.tries = 1;
    begin(&b, &cfg);
    happen(&b, "job", "COMPLETED");
    wait_until_sent(&b, 1, 0);
    end(&b);
    assert_int_equal(b.news[EVENTS_ON_DISK], 4);
    bench_close(&b);
    ep_close(&ep);
}

TEST(event, goes_out_with_the_token_which_is_its_owners_alone)
{
    (void)state;
    struct bench b;
    struct endpoint ep;
    char path[128];
    ep_open(&ep, NULL, 0);
    bench_open(&b);
    (void)snprintf(path, sizeof path, "%s/token", b.dir);
    struct events_config cfg = quick(&b, ep.url);
    cfg.token_file = path;
    FAILS(ERR_NOT_FOUND, events_start(&cfg, &b.events, e));
    OK(file_write_atomic(path, SV_LIT("two words\n"), e));
    FAILS(ERR_INVALID, events_start(&cfg, &b.events, e));
    OK(file_write_atomic(path, SV_LIT("\n"), e));
    FAILS(ERR_INVALID, events_start(&cfg, &b.events, e));
    OK(file_write_atomic(path, SV_LIT("a-secret\r\n"), e));
    begin(&b, &cfg);
    happen(&b, "job", "COMPLETED");
    wait_until_sent(&b, 1, 0);
    assert_non_null(strstr(ep_request(&ep, 0), "Authorization: Bearer a-secret\r\n"));
    /* what is none changes nothing */
    OK(file_write_atomic(path, SV_LIT("two words\n"), e));
    FAILS(ERR_INVALID, events_read_token(b.events, path, e));
    happen(&b, "job", "FAILED");
    wait_until_sent(&b, 2, 0);
    assert_non_null(strstr(ep_request(&ep, 1), "Authorization: Bearer a-secret\r\n"));
    OK(file_write_atomic(path, SV_LIT("another"), e));
    OK(events_read_token(b.events, path, e));
    happen(&b, "job", "CANCELLED");
    wait_until_sent(&b, 3, 0);
    assert_non_null(strstr(ep_request(&ep, 2), "Authorization: Bearer another\r\n"));
    assert_null(strstr(ep_request(&ep, 2), "a-secret"));
    bench_close(&b);
    ep_close(&ep);
}

/* An endpoint that refused the old token is not asked again before its time, but for the new one.
 */
TEST(event, that_waits_for_its_next_try_is_tried_at_once_with_another_token)
{
    (void)state;
    static const int script[] = { 401 };
    struct bench b;
    struct endpoint ep;
    char path[128];
    ep_open(&ep, script, 1);
    bench_open(&b);
    (void)snprintf(path, sizeof path, "%s/token", b.dir);
    OK(file_write_atomic(path, SV_LIT("old"), e));
    struct events_config cfg = quick(&b, ep.url);
    cfg.token_file = path;
    cfg.first_wait_ms = cfg.most_wait_ms = 24 * 3600 * 1000;
    begin(&b, &cfg);
    happen(&b, "job", "COMPLETED");
    ep_wait(&ep, 1);
    OK(file_write_atomic(path, SV_LIT("new"), e));
    OK(events_read_token(b.events, path, e));
    wait_until_sent(&b, 1, 0);
    assert_non_null(strstr(ep_request(&ep, 1), "Authorization: Bearer new\r\n"));
    bench_close(&b);
    ep_close(&ep);
}

/* ---- many writers ---- */

#define WRITERS 4u
#define EACH    25u

struct writer {
    struct bench *b;
    char subject[8];
    unsigned i;
};

static void *write_many(void *ctx)
{
    struct writer *w = ctx;
    /* an arena is one thread's, and what is counted is the sender's */
    struct bench mine = { .records = w->b->records,
                          .events = w->b->events,
                          .a = arena_new(8u << 20) };
    char step[16];
    for (unsigned i = 0; i < EACH; i++) {
        (void)snprintf(step, sizeof step, "%u", i);
        happen(&mine, w->subject, step);
    }
    arena_free(mine.a);
    return NULL;
}

TEST(event, of_each_subject_are_sent_in_their_order_however_many_write)
{
    (void)state;
    static const int script[] = { 200, 500, 200, CUT, 500 };
    struct bench b;
    struct endpoint ep;
    pthread_t threads[WRITERS];
    struct writer writers[WRITERS];
    unsigned seen[WRITERS] = { 0 };
    ep_open(&ep, script, 5);
    bench_open(&b);
    struct events_config cfg = quick(&b, ep.url);
    begin(&b, &cfg);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ .b = &b, .i = i };
        (void)snprintf(writers[i].subject, sizeof writers[i].subject, "w%u", i);
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    wait_until_sent(&b, (size_t)WRITERS * EACH, 0);
    assert_int_equal(ep.locked.n, WRITERS * EACH + 3);
    /* one that came a second time comes right behind the first time */
    for (size_t i = 0; i < ep.locked.n; i++) {
        char wanted[48];
        unsigned k = 0;
        if (i && strcmp(ep_body(&ep, i), ep_body(&ep, i - 1)) == 0)
            continue;
        while (k < WRITERS && strstr(ep_body(&ep, i), writers[k].subject) == NULL)
            k++;
        assert_true(k < WRITERS);
        (void)snprintf(wanted, sizeof wanted, "\"%s\",\"step\":\"%u\"", writers[k].subject,
                       seen[k]++);
        assert_non_null(strstr(ep_body(&ep, i), wanted));
    }
    bench_close(&b);
    ep_close(&ep);
}

TEST(event, urls_are_tls_or_this_machine)
{
    (void)state;
    static const char *const good[] = { "https://a.example", "https://a.example:8443/x/y",
                                        "http://127.0.0.1:1/x", "http://localhost/",
                                        "http://[::1]/" };
    static const char *const bad[] = {
        "http://a.example/", "http://127.0.0.1.example/", "a.example", "ftp://a.example/", "",
        "https://"
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        OK(events_check_url(good[i], e));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        FAILS(ERR_INVALID, events_check_url(bad[i], e));
}

TEST_MAIN(T(event, has_the_envelope_of_eventbridge),
          T(event, is_sent_again_until_it_is_taken_and_the_next_one_behind_it),
          T(event, that_an_endpoint_never_answers_is_given_up_when_its_time_is_over),
          T(event, that_hangs_keeps_nobody_from_writing_and_the_end_from_nobody),
          T(event, that_waits_is_sent_by_the_next_process_with_the_same_id),
          T(event, that_nothing_helps_becomes_a_line_of_a_file_of_its_owner_alone),
          T(event, that_is_the_oldest_of_too_many_makes_room),
          T(event, that_cannot_be_put_away_is_not_lost),
          T(event, goes_out_with_the_token_which_is_its_owners_alone),
          T(event, that_waits_for_its_next_try_is_tried_at_once_with_another_token),
          T(event, of_each_subject_are_sent_in_their_order_however_many_write),
          T(event, urls_are_tls_or_this_machine))
