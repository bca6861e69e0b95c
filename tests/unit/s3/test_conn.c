/* One connection, step by step, against a peer that is a socket of the test itself: between two
 * steps the test reads what was sent, and answers. */
#include "test.h"

#include "s3/s3_private.h"

/* What the last turn was to be ended by. */
static const atomic_bool *turn_stop;
static unsigned turn_ms;

static void spy_enter(struct callout *callout, const atomic_bool *stop, unsigned most_ms)
{
    turn_stop = stop;
    turn_ms = most_ms;
    callout_enter(callout, stop, most_ms);
}
#define callout_enter(...) spy_enter(__VA_ARGS__)
#include "../../../src/s3/conn.c"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener, peer = -1;
static atomic_bool cancel;
static struct s3_client client;
static char url[100];

static int set_up(void **state)
{
    (void)state;
    struct sockaddr_in sa = { .sin_family = AF_INET };
    socklen_t len = sizeof sa;
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/b/a/../c%%20d?x=1", ntohs(sa.sin_port));
    atomic_store(&cancel, false);
    client = (struct s3_client){
        .loopback = true, .timeout_ms = 20000, .connect_timeout_ms = 20000, .cancel = &cancel
    };
    return 0;
}

static void hang_up(void)
{
    if (peer >= 0)
        close(peer);
    peer = -1;
}

static int tear_down(void **state)
{
    (void)state;
    hang_up();
    close(listener);
    return 0;
}

/* ---- the peer ---- */

static char heard[1 << 16];
static size_t n_heard;

/* Steps until the peer has heard a text that ends so. */
static void hear(struct s3_conn *conn, const char *end)
{
    n_heard = 0;
    for (;;) {
        assert_int_equal(s3_conn_step(conn), CONN_RUNNING);
        if (peer < 0 && (peer = accept(listener, NULL, NULL)) >= 0)
            assert_int_equal(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
        ssize_t n = peer < 0 ? 0 : recv(peer, heard + n_heard, sizeof heard - 1 - n_heard, 0);
        n_heard += n > 0 ? (size_t)n : 0;
        heard[n_heard] = 0;
        size_t len = strlen(end);
        if (n_heard >= len && memcmp(heard + n_heard - len, end, len) == 0)
            return;
    }
}

static void say(const char *text)
{
    assert_int_equal(send(peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static s3_conn_state until_the_end(struct s3_conn *conn)
{
    s3_conn_state st;
    while ((st = s3_conn_step(conn)) == CONN_RUNNING)
        continue;
    return st;
}

static struct s3_wire wire(const char *method)
{
    return (struct s3_wire){ .method = method, .url = url, .max_answer = 1000 };
}

#define OK_OF(length) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n"

/* ---- what goes out, and what comes ---- */

/* Dots of a key are part of it: the signature covers the path as it stands. */
TEST(conn, a_path_goes_out_as_it_stands)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct curl_slist *headers = curl_slist_append(NULL, "x-amz-date: now");
    struct s3_wire w = wire("GET");
    w.headers = headers;
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    assert_int_equal(strncmp(heard, "GET /b/a/../c%20d?x=1 HTTP/1.1\r\n", 32), 0);
    assert_non_null(strstr(heard, "\r\nx-amz-date: now\r\n"));
    say("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\nhello");
    assert_int_equal(until_the_end(conn), CONN_DONE);
    assert_int_equal(conn->result, CURLE_OK);
    assert_int_equal(s3_conn_status(conn), 200);
    assert_sv(s3_conn_header(conn, "etag"), SV_LIT("\"e\""));
    assert_null(s3_conn_header(conn, "x-none").ptr);
    assert_sv(buf_sv(&conn->answer), SV_LIT("hello"));
    s3_conn_free(conn);
    curl_slist_free_all(headers);
}

TEST(conn, a_body_goes_out_whole_and_an_empty_one_has_a_length)
{
    (void)state;
    static const char *const methods[] = { "PUT", "POST" };
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    for (int i = 0; i < 2; i++) {
        struct s3_conn *conn = s3_conn_new(&client);
        struct s3_wire w = wire(methods[i]);
        w.headers = headers;
        w.has_body = true;
        sv whole = SV_LIT("the whole body");
        struct s3_body body;
        s3_body_init(&body, &whole, 1, S3_CHECKSUM_NONE);
        w.body = &body;
        s3_conn_start(conn, &w);
        hear(conn, "the whole body");
        assert_int_equal(strncmp(heard, methods[i], strlen(methods[i])), 0);
        assert_non_null(strstr(heard, "Content-Length: 14\r\n"));
        say(OK_OF("0"));
        assert_int_equal(until_the_end(conn), CONN_DONE);
        /* the connection is kept: the peer hears the next request on it */
        s3_body_init(&body, NULL, 0, S3_CHECKSUM_NONE);
        s3_conn_start(conn, &w);
        hear(conn, "\r\n\r\n");
        assert_non_null(strstr(heard, "Content-Length: 0\r\n"));
        say(OK_OF("0"));
        assert_int_equal(until_the_end(conn), CONN_DONE);
        s3_conn_free(conn);
        hang_up();
    }
    curl_slist_free_all(headers);
}

TEST(conn, an_answer_to_head_has_no_body_to_wait_for)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("HEAD");
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say(OK_OF("1000000"));
    assert_int_equal(until_the_end(conn), CONN_DONE);
    assert_int_equal(conn->result, CURLE_OK);
    s3_conn_free(conn);
}

TEST(conn, an_answer_has_its_limit_to_the_byte)
{
    (void)state;
    for (unsigned more = 0; more < 2; more++) {
        char text[1200], head[100];
        struct s3_conn *conn = s3_conn_new(&client);
        struct s3_wire w = wire("GET");
        s3_conn_start(conn, &w);
        hear(conn, "\r\n\r\n");
        memset(text, 'x', sizeof text);
        text[1000 + more] = 0;
        (void)snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n",
                       1000 + more);
        say(head);
        say(text);
        assert_int_equal(until_the_end(conn), CONN_DONE);
        assert_int_equal(conn->overflow, more == 1);
        assert_int_equal(conn->result == CURLE_OK, more == 0);
        s3_conn_free(conn);
        hang_up();
    }
}

TEST(conn, a_redirect_is_an_answer_like_others)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\n"
        "Content-Length: 0\r\n\r\n");
    assert_int_equal(until_the_end(conn), CONN_DONE);
    assert_int_equal(conn->result, CURLE_OK);
    assert_int_equal(s3_conn_status(conn), 307);
    s3_conn_free(conn);
}

/* ---- streams ---- */

#define STREAM_BYTES (5u << 20)

static char byte_at(size_t i)
{
    return (char)(i * 2654435761u >> 13);
}

TEST(conn, a_stream_is_held_up_to_its_window_and_comes_whole)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    static char piece[65536];
    char dst[50000];
    size_t sent = 0, got = 0;
    bool was_full = false;
    w.stream = true;
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say(OK_OF("5242880"));
    s3_conn_state st = CONN_RUNNING;
    while (got < STREAM_BYTES) {
        if (sent < STREAM_BYTES) {
            size_t n = STREAM_BYTES - sent < sizeof piece ? STREAM_BYTES - sent : sizeof piece;
            for (size_t i = 0; i < n; i++)
                piece[i] = byte_at(sent + i);
            ssize_t r = send(peer, piece, n, MSG_NOSIGNAL);
            assert_true(r > 0 || errno == EAGAIN);
            sent += r > 0 ? (size_t)r : 0;
        }
        if (st == CONN_RUNNING)
            st = s3_conn_step(conn);
        assert_true(st == CONN_RUNNING || (st == CONN_DONE && conn->result == CURLE_OK));
        assert_true(conn->window_to <= S3_WINDOW_BYTES);
        was_full |= conn->paused;
        /* a reader who comes when the window is full, and then takes all that is there */
        if (!was_full) {
            assert_int_equal(st, CONN_RUNNING);
            continue;
        }
        size_t n;
        while ((n = s3_conn_drain(conn, dst, sizeof dst)) > 0)
            for (size_t i = 0; i < n; i++, got++)
                if (dst[i] != byte_at(got))
                    fail_msg("byte %zu is another one", got);
    }
    assert_int_equal(got, STREAM_BYTES);
    while (st == CONN_RUNNING)
        st = s3_conn_step(conn);
    assert_int_equal(st, CONN_DONE);
    assert_int_equal(conn->answer.len, 0);
    s3_conn_free(conn);
}

/* An error is told by a document, and not by bytes of the object. */
TEST(conn, what_is_no_success_goes_into_the_answer_of_a_stream)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    char dst[10];
    w.stream = true;
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say("HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\n<Error/>");
    assert_int_equal(until_the_end(conn), CONN_DONE);
    assert_sv(buf_sv(&conn->answer), SV_LIT("<Error/>"));
    assert_int_equal(s3_conn_drain(conn, dst, sizeof dst), 0);
    s3_conn_free(conn);
}

/* ---- ends ---- */

TEST(conn, what_was_not_read_through_costs_the_connection)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say(OK_OF("100") "a part of it");
    assert_int_equal(s3_conn_step(conn), CONN_RUNNING);
    s3_conn_stop(conn);
    /* the rest of it cannot be taken for the next answer: that comes on another connection */
    int before = peer;
    peer = -1;
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say(OK_OF("3") "new");
    assert_int_equal(until_the_end(conn), CONN_DONE);
    assert_sv(buf_sv(&conn->answer), SV_LIT("new"));
    s3_conn_free(conn);
    close(before);
}

TEST(conn, a_peer_that_hangs_up_early_has_not_answered)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say(OK_OF("100") "a part of it");
    hang_up();
    assert_int_equal(until_the_end(conn), CONN_DONE);
    assert_int_not_equal(conn->result, CURLE_OK);
    s3_conn_free(conn);
}

TEST(conn, a_cancel_is_seen_at_the_next_step)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    atomic_store(&cancel, true);
    assert_int_equal(s3_conn_step(conn), CONN_CANCELLED);
    s3_conn_free(conn);
}

TEST(conn, a_peer_that_says_nothing_is_given_up)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    client.timeout_ms = 1;
    assert_int_equal(until_the_end(conn), CONN_STALLED);
    s3_conn_free(conn);
}

/* libcurl sends the request again by itself, on a connection that is to be made first. */
TEST(conn, a_kept_connection_that_dies_has_not_asked_before_the_next_one_has)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    struct pollfd fds[S3_CONN_SOCKETS];
    bool connects = false;
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say(OK_OF("0"));
    assert_int_equal(until_the_end(conn), CONN_DONE);
    s3_conn_start(conn, &w);
    assert_false(s3_conn_has_asked(conn));
    hear(conn, "\r\n\r\n");
    assert_true(s3_conn_has_asked(conn));
    assert_int_equal(s3_conn_sockets(conn, fds, S3_CONN_SOCKETS), 1);
    assert_int_equal(fds[0].events, POLLIN);
    /* now that it has been used */
    hang_up();
    for (int i = 0; i < 1000 && !connects; i++) {
        assert_int_equal(s3_conn_turn(conn), CONN_RUNNING);
        connects = !s3_conn_has_asked(conn);
    }
    assert_true(connects);
    assert_int_equal(s3_conn_sockets(conn, fds, S3_CONN_SOCKETS), 1);
    assert_int_equal(fds[0].events, POLLIN | POLLOUT);
    hear(conn, "\r\n\r\n");
    assert_true(s3_conn_has_asked(conn));
    assert_int_equal(s3_conn_sockets(conn, fds, S3_CONN_SOCKETS), 1);
    assert_int_equal(fds[0].events, POLLIN);
    say(OK_OF("0"));
    assert_int_equal(until_the_end(conn), CONN_DONE);
    assert_int_equal(s3_conn_status(conn), 200);
    s3_conn_free(conn);
}

/* A peer may send TLS's own messages without an end, and then it is the turn's end that counts. */
TEST(conn, a_cancel_ends_turns_but_those_of_answers_that_are_awaited)
{
    (void)state;
    atomic_bool leave = false;
    s3_client_linger(&client, &leave);
    struct s3_conn *conn = s3_conn_new(&client), *other = s3_conn_new(&client);
    struct s3_wire w = wire("PUT");
    w.has_body = true;
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    assert_ptr_equal(turn_stop, &cancel);
    s3_conn_start(other, &w);
    assert_int_equal(s3_conn_turn(other), CONN_RUNNING);
    assert_ptr_equal(turn_stop, &cancel);
    /* it has gone out: a cancel that comes within a turn does not end that */
    assert_int_equal(s3_conn_turn(conn), CONN_RUNNING);
    assert_ptr_equal(turn_stop, &leave);
    atomic_store(&cancel, true);
    /* for a short while from now on */
    assert_int_equal(s3_conn_step(conn), CONN_RUNNING);
    assert_ptr_equal(turn_stop, &leave);
    assert_int_equal(turn_ms, LINGER_TURN_MS);
    /* this one has perhaps, and is let go of in any case */
    s3_conn_stop(other);
    assert_ptr_equal(turn_stop, &cancel);
    s3_conn_start(other, &w);
    assert_int_equal(s3_conn_step(other), CONN_CANCELLED);
    /* all of them have the same end */
    atomic_store(&client.cancelled_us, clock_mono_us() - (uint64_t)S3_LINGER_MS * 1000 - 1);
    assert_int_equal(s3_conn_step(conn), CONN_CANCELLED);
    s3_conn_stop(conn);
    assert_ptr_equal(turn_stop, &cancel);
    s3_conn_free(conn);
    s3_conn_free(other);
}

/* To wake up costs: a peer that copies an object is silent for long, and eight may be at once. */
TEST(conn, while_nothing_moves_the_waits_become_longer)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    s3_conn_start(conn, &w);
    const unsigned of_head = conn->slice_ms;
    hear(conn, "\r\n\r\n");
    unsigned n = 0;
    /* a starved machine only makes it fewer */
    client.timeout_ms = 2000;
    while (s3_conn_step(conn) == CONN_RUNNING)
        n++;
    assert_in_range(n, 1, 15);
    say("HTTP/1.1 200 OK\r\n");
    s3_conn_touch(conn);
    assert_int_equal(s3_conn_step(conn), CONN_RUNNING);
    const unsigned before = conn->slice_ms;
    say("Content-Length: 1\r\n\r\n");
    /* the step that hears it */
    for (curl_off_t had = conn->moved; conn->moved == had;)
        assert_int_equal(s3_conn_step(conn), CONN_RUNNING);
    assert_true(conn->slice_ms <= before);
    /* while bytes are to move, a cancel is seen soon */
    w.stream = true;
    s3_conn_start(conn, &w);
    const unsigned of_stream = conn->slice_ms;
    struct s3_body body;
    sv text = SV_LIT("hello");
    s3_body_init(&body, &text, 1, S3_CHECKSUM_NONE);
    w = wire("PUT");
    w.body = &body;
    w.has_body = true;
    s3_conn_start(conn, &w);
    assert_true(of_stream < of_head && conn->slice_ms < of_head);
    s3_conn_free(conn);
    s3_body_done(&body);
}

/* A server may say little while it works, but not for ever. */
TEST(conn, an_answer_that_does_not_end_is_given_up_though_bytes_move)
{
    (void)state;
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    struct timespec pause = { 0, 1000000 };
    s3_conn_state st;
    client.answer_ms = 200;
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while ((st = s3_conn_step(conn)) == CONN_RUNNING) {
        say("1\r\n \r\n");
        (void)nanosleep(&pause, NULL);
    }
    assert_int_equal(st, CONN_STALLED);
    s3_conn_free(conn);
}

/* They are kept by libcurl, however many there are. */
TEST(conn, trailers_without_an_end_are_too_long_an_answer)
{
    (void)state;
    static char lines[20001];
    struct s3_conn *conn = s3_conn_new(&client);
    struct s3_wire w = wire("GET");
    for (size_t at = 0; at + 1000 < sizeof lines; at += 1000)
        (void)snprintf(lines + at, sizeof lines - at, "X-%04zu: %0990d\r\n", at / 1000, 1);
    s3_conn_start(conn, &w);
    hear(conn, "\r\n\r\n");
    say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    for (int i = 0; i < 5 && s3_conn_step(conn) == CONN_RUNNING; i++)
        say(lines);
    assert_int_equal(until_the_end(conn), CONN_DONE);
    assert_true(conn->overflow);
    s3_conn_free(conn);
}

#define WITH_A_PEER(sentence)                                             \
    {                                                                     \
        "conn: " #sentence, test_conn_##sentence, set_up, tear_down, NULL \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_A_PEER(a_path_goes_out_as_it_stands),
        WITH_A_PEER(a_body_goes_out_whole_and_an_empty_one_has_a_length),
        WITH_A_PEER(an_answer_to_head_has_no_body_to_wait_for),
        WITH_A_PEER(an_answer_has_its_limit_to_the_byte),
        WITH_A_PEER(a_redirect_is_an_answer_like_others),
        WITH_A_PEER(a_stream_is_held_up_to_its_window_and_comes_whole),
        WITH_A_PEER(what_is_no_success_goes_into_the_answer_of_a_stream),
        WITH_A_PEER(what_was_not_read_through_costs_the_connection),
        WITH_A_PEER(a_peer_that_hangs_up_early_has_not_answered),
        WITH_A_PEER(a_cancel_is_seen_at_the_next_step),
        WITH_A_PEER(a_peer_that_says_nothing_is_given_up),
        WITH_A_PEER(a_kept_connection_that_dies_has_not_asked_before_the_next_one_has),
        WITH_A_PEER(a_cancel_ends_turns_but_those_of_answers_that_are_awaited),
        WITH_A_PEER(while_nothing_moves_the_waits_become_longer),
        WITH_A_PEER(an_answer_that_does_not_end_is_given_up_though_bytes_move),
        WITH_A_PEER(trailers_without_an_end_are_too_long_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
