/* conn.c - one connection: an easy handle in a multi handle of its own.
 *
 * The multi handle is driven here. It waits for the peer in slices, because a cancel is a flag that
 * no event comes with; so a cancel is seen soon, and a peer without any progress is given up after
 * timeout_ms. So is one whose answer does not end. The first slice is of 50 ms. While the peer is
 * silent each is twice the one before, up to 400 ms, and a request that sends nothing but its head
 * begins with that: eight connections that wake up twenty times a second, while the peer copies
 * objects, cost more than what they ask for. A reader takes an answer piece by piece: the write
 * callback pauses the transfer while the window is full. The multi handle keeps the TCP connection
 * between calls. Each call into libcurl is a turn of a callout, which ends it. */
#include "s3/s3_private.h"

#include "base/clock.h"

#define CONN_SLICE_MS  50u     /* while bytes move */
#define CONN_SLICE_MAX 400u    /* while none do; as late can a cancel be seen */
#define LINGER_TURN_MS 1000u   /* the longest turn after a cancel */
#define UPLOAD_BUFFER  262144L /* bytes, of a large body: stays in the processor's cache */
#define STREAM_BUFFER  262144L /* of an answer that is read piece by piece */
#define ANSWER_BUFFER  16384L

static size_t on_send(char *dst, size_t size, size_t n, void *ctx)
{
    struct s3_conn *conn = ctx;
    return conn->body ? s3_body_read(conn->body, dst, size * n) : 0;
}

/* curl rewinds when a kept connection turns out to be dead at the first write. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct s3_conn *conn = ctx;
    bool there = origin == SEEK_SET && offset >= 0 &&
                 (conn->body ? s3_body_rewind(conn->body, (uint64_t)offset) : offset == 0);
    return there ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static size_t on_receive(char *p, size_t size, size_t n, void *ctx)
{
    struct s3_conn *conn = ctx;
    size_t len = size * n;
    long status = s3_conn_status(conn);
    if (conn->stream && (status == 200 || status == 206)) {
        if (len > S3_WINDOW_BYTES - conn->window_to) {
            conn->paused = true;
            return CURL_WRITEFUNC_PAUSE;
        }
        memcpy(conn->window + conn->window_to, p, len);
        conn->window_to += len;
        return len;
    }
    struct err e;
    if (buf_add(&conn->answer, sv_make(p, len), &e) != ERR_OK) {
        conn->overflow = true;
        /* fewer than len: curl ends the transfer */
        return 0;
    }
    return len;
}

/* A turn of libcurl's begins. */
static void enter(struct s3_conn *conn)
{
    callout_enter(conn->callout, conn->client->cancel, CALLOUT_TURN_MS);
}

/* The same of one that a cancel is not the end of, whether it has come or comes meanwhile. */
static void enter_to_linger(struct s3_conn *conn)
{
    callout_enter(conn->callout, conn->client->leave,
                  s3_client_cancelled(conn->client) ? LINGER_TURN_MS : CALLOUT_TURN_MS);
}

/* callout_may_fn */
static bool on_socket(void *ctx, const struct sockaddr *to)
{
    struct s3_conn *conn = ctx;
    (void)to;
    /* stay 0 on failure */
    (void)curl_easy_getinfo(conn->easy, CURLINFO_REQUEST_SIZE, &conn->asked_before);
    (void)curl_easy_getinfo(conn->easy, CURLINFO_CONNECT_TIME_T, &conn->connected_before);
    return true;
}

struct s3_conn *s3_conn_new(struct s3_client *client)
{
    struct s3_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL)
        abort();
    conn->client = client;
    conn->callout = callout_new();
    conn->easy = curl_easy_init();
    conn->multi = curl_multi_init();
    if (conn->easy == NULL || conn->multi == NULL)
        abort();
    return conn;
}

void s3_conn_forget(struct s3_conn *conn)
{
    if (conn->client->secret && conn->answer.cap)
        explicit_bzero(conn->answer.ptr, conn->answer.cap);
}

void s3_conn_free(struct s3_conn *conn)
{
    if (conn == NULL)
        return;
    s3_conn_stop(conn);
    s3_conn_forget(conn);
    enter(conn);
    curl_easy_cleanup(conn->easy);
    /* nothing is attached any more */
    (void)curl_multi_cleanup(conn->multi);
    callout_leave(conn->callout);
    callout_free(conn->callout);
    buf_done(&conn->answer);
    free(conn->window);
    free(conn);
}

/* Options below are compiled into every libcurl that we support; a refusal is our own bug. */
#define SET(opt, val)                                               \
    do {                                                            \
        if (curl_easy_setopt(conn->easy, (opt), (val)) != CURLE_OK) \
            abort();                                                \
    } while (0)

static void set_method(struct s3_conn *conn, const struct s3_wire *w)
{
    if (strcmp(w->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (w->has_body) {
        uint64_t bytes = w->body ? s3_body_wire_bytes(w->body) : 0;
        /* An upload for POST too: a form post would copy the body or send it in 16 KiB pieces. */
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)bytes);
        SET(CURLOPT_READFUNCTION, on_send);
        SET(CURLOPT_READDATA, conn);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
        SET(CURLOPT_SEEKDATA, conn);
        SET(CURLOPT_UPLOAD_BUFFERSIZE, bytes > (64u << 10) ? UPLOAD_BUFFER : 65536L);
        SET(CURLOPT_CUSTOMREQUEST, w->method);
    } else {
        SET(CURLOPT_HTTPGET, 1L);
        SET(CURLOPT_CUSTOMREQUEST, w->method);
    }
}

/* The handle without an option but that of its buffer. A transfer that ended before it had a
 * connection, since its host or its proxy has no address, leaves its buffer in the handle; then
 * libcurl (7.88) takes no size, and the handle has to go. Connections are the multi handle's. */
static void make_anew(struct s3_conn *conn, long buffer)
{
    curl_easy_reset(conn->easy);
    if (curl_easy_setopt(conn->easy, CURLOPT_BUFFERSIZE, buffer) == CURLE_OK)
        return;
    enter(conn);
    curl_easy_cleanup(conn->easy);
    callout_leave(conn->callout);
    conn->easy = curl_easy_init();
    if (conn->easy == NULL)
        abort();
    SET(CURLOPT_BUFFERSIZE, buffer);
}

void s3_conn_start(struct s3_conn *conn, const struct s3_wire *w)
{
    const struct s3_client *client = conn->client;
    s3_conn_stop(conn);
    make_anew(conn, w->stream ? STREAM_BUFFER : ANSWER_BUFFER);
    s3_conn_forget(conn);
    buf_clear(&conn->answer);
    conn->answer.max = w->max_answer;
    if (client->secret) {
        /* at once: a buffer that grows leaves copies behind */
        struct err never;
        IGNORE(buf_reserve(&conn->answer, w->max_answer, &never));
    }
    conn->stream = w->stream;
    conn->awaits = !w->stream && (w->body == NULL || s3_body_wire_bytes(w->body) == 0);
    conn->makes = w->has_body;
    conn->asked_before = 0;
    conn->connected_before = 0;
    conn->paused = conn->overflow = conn->done = false;
    conn->window_from = conn->window_to = 0;
    conn->body = w->body;
    conn->sent = w->headers;
    conn->result = CURLE_OK;
    if (w->stream && conn->window == NULL) {
        conn->window = malloc(S3_WINDOW_BYTES);
        if (conn->window == NULL)
            abort();
    }
    SET(CURLOPT_URL, w->url);
    /* keys may hold dots: the signature covers them as they stand */
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_HTTPHEADER, w->headers);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_timeout_ms);
    if (w->most_ms)
        SET(CURLOPT_TIMEOUT_MS, (long)w->most_ms);
    SET(CURLOPT_WRITEFUNCTION, on_receive);
    SET(CURLOPT_WRITEDATA, conn);
    callout_trust(conn->easy, client->ca_file);
    if (client->loopback)
        SET(CURLOPT_NOPROXY, "*");
    callout_arm(conn->callout, conn->easy, on_socket, conn);
    set_method(conn, w);
    /* it was detached above */
    if (curl_multi_add_handle(conn->multi, conn->easy) != CURLM_OK)
        abort();
    conn->attached = true;
    conn->moved = -1;
    s3_conn_touch(conn);
    conn->sent_at_us = 0;
}

void s3_conn_touch(struct s3_conn *conn)
{
    conn->moved_at_us = clock_mono_us();
    conn->slice_ms = conn->awaits ? CONN_SLICE_MAX : CONN_SLICE_MS;
}

static curl_off_t sent(struct s3_conn *conn)
{
    curl_off_t up = 0;
    /* stays 0 on failure */
    (void)curl_easy_getinfo(conn->easy, CURLINFO_SIZE_UPLOAD_T, &up);
    return up;
}

/* Bytes in either direction, headers included. */
static curl_off_t moved(struct s3_conn *conn)
{
    curl_off_t up = sent(conn), down = 0;
    long head = 0;
    /* stay 0 on failure */
    (void)curl_easy_getinfo(conn->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
    (void)curl_easy_getinfo(conn->easy, CURLINFO_HEADER_SIZE, &head);
    return up + down + head;
}

static bool finished(struct s3_conn *conn)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(conn->multi, &left)) != NULL)
        if (m->msg == CURLMSG_DONE) {
            conn->result = m->data.result;
            conn->overflow |= callout_head_is_too_long(conn->callout);
            conn->done = true;
        }
    return conn->done;
}

/* Does the answer go on for too long, though bytes move? What is read as a stream has its pace
 * looked at by its reader, who is the one who waits. Bodies need none: a socket takes many bytes
 * or nothing. */
static bool drags(struct s3_conn *conn, uint64_t now_us)
{
    const unsigned most_ms = conn->client->answer_ms;
    /* behind an answer that came early nothing more is sent */
    const bool sends = conn->body && s3_conn_status(conn) < 200 &&
                       sent(conn) < (curl_off_t)s3_body_wire_bytes(conn->body);
    if (conn->stream || sends)
        conn->sent_at_us = 0;
    else if (conn->sent_at_us == 0)
        conn->sent_at_us = now_us;
    return conn->sent_at_us && most_ms && now_us - conn->sent_at_us > (uint64_t)most_ms * 1000;
}

/* For how long to wait at most. Nothing of the peer is missed: its bytes end the wait. */
static int next_slice(struct s3_conn *conn)
{
    const uint64_t now_us = clock_mono_us();
    const uint64_t end_us = conn->moved_at_us + (uint64_t)conn->client->timeout_ms * 1000;
    const uint64_t left_ms = end_us > now_us ? (end_us - now_us) / 1000 : 0;
    const unsigned ms = conn->slice_ms;
    conn->slice_ms = ms * 2 < CONN_SLICE_MAX ? ms * 2 : CONN_SLICE_MAX;
    /* a stall is seen when it is one */
    return (int)(left_ms < ms ? left_ms + 1 : ms);
}

/* May its answer be awaited after a cancel? All of it was sent, so that the peer may be at work on
 * it. */
static bool may_linger(const struct s3_conn *conn)
{
    return conn->client->leave && conn->makes && conn->sent_at_us && s3_conn_has_asked(conn);
}

bool s3_conn_is_cancelled(struct s3_conn *conn)
{
    struct s3_client *client = conn->client;
    if (!s3_client_cancelled(client))
        return false;
    if (!may_linger(conn) || atomic_load_explicit(client->leave, memory_order_relaxed))
        return true;
    /* one end for all of them, however many come one behind the other */
    const uint64_t now_us = clock_mono_us();
    uint64_t since_us = 0;
    if (atomic_compare_exchange_strong(&client->cancelled_us, &since_us, now_us))
        since_us = now_us;
    return now_us > since_us && now_us - since_us > (uint64_t)S3_LINGER_MS * 1000;
}

s3_conn_state s3_conn_turn(struct s3_conn *conn)
{
    int running = 0;
    /* curl says it once; a reader may have been busy with the last bytes then */
    if (conn->done)
        return CONN_DONE;
    if (may_linger(conn))
        enter_to_linger(conn);
    else
        enter(conn);
    CURLMcode turn = curl_multi_perform(conn->multi, &running);
    callout_leave(conn->callout);
    if (turn != CURLM_OK) {
        conn->result = CURLE_FAILED_INIT;
        return CONN_DONE;
    }
    if (finished(conn))
        return CONN_DONE;
    uint64_t now_us = clock_mono_us();
    curl_off_t m = moved(conn);
    if (m != conn->moved) {
        conn->moved = m;
        s3_conn_touch(conn);
    } else if (now_us - conn->moved_at_us > (uint64_t)conn->client->timeout_ms * 1000) {
        return CONN_STALLED;
    }
    return drags(conn, now_us) ? CONN_STALLED : CONN_RUNNING;
}

s3_conn_state s3_conn_step(struct s3_conn *conn)
{
    size_t had = conn->window_to;
    if (s3_conn_is_cancelled(conn))
        return CONN_CANCELLED;
    s3_conn_state st = s3_conn_turn(conn);
    /* the reader has something to do */
    if (st != CONN_RUNNING || conn->window_to != had || conn->paused)
        return st;
    if (curl_multi_poll(conn->multi, NULL, 0, next_slice(conn), NULL) != CURLM_OK) {
        conn->result = CURLE_FAILED_INIT;
        return CONN_DONE;
    }
    return CONN_RUNNING;
}

unsigned s3_conn_sockets(const struct s3_conn *conn, struct pollfd *out, unsigned most)
{
    int fds[S3_CONN_SOCKETS];
    curl_off_t connected_us = 0;
    /* stays 0 on failure */
    (void)curl_easy_getinfo(conn->easy, CURLINFO_CONNECT_TIME_T, &connected_us);
    const bool connects = connected_us == conn->connected_before && !s3_conn_has_asked(conn);
    unsigned n =
        callout_sockets(conn->callout, fds, most < S3_CONN_SOCKETS ? most : S3_CONN_SOCKETS);
    for (unsigned i = 0; i < n; i++)
        out[i] = (struct pollfd){ fds[i], (short)(POLLIN | (connects ? POLLOUT : 0)), 0 };
    return n;
}

bool s3_conn_has_asked(const struct s3_conn *conn)
{
    long asked = 0;
    /* stays 0 on failure */
    (void)curl_easy_getinfo(conn->easy, CURLINFO_REQUEST_SIZE, &asked);
    return asked > conn->asked_before;
}

void s3_conn_stop(struct s3_conn *conn)
{
    conn->sent = NULL;
    if (!conn->attached)
        return;
    enter(conn);
    /* attached: cannot fail */
    (void)curl_multi_remove_handle(conn->multi, conn->easy);
    callout_leave(conn->callout);
    conn->attached = false;
}

long s3_conn_status(const struct s3_conn *conn)
{
    long status = 0;
    /* stays 0 on failure */
    (void)curl_easy_getinfo(conn->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

sv s3_conn_header(const struct s3_conn *conn, const char *name)
{
    struct curl_header *h = NULL;
    if (curl_easy_header(conn->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return SV_NONE;
    return sv_from(h->value);
}

size_t s3_conn_drain(struct s3_conn *conn, void *dst, size_t cap)
{
    size_t have = conn->window_to - conn->window_from;
    size_t take = have < cap ? have : cap;
    if (take)
        memcpy(dst, conn->window + conn->window_from, take);
    conn->window_from += take;
    if (conn->window_from == conn->window_to) {
        conn->window_from = conn->window_to = 0;
        if (conn->paused) {
            conn->paused = false;
            s3_conn_touch(conn);
            enter(conn);
            /* May call on_receive at once; a failure shows at the next step. */
            (void)curl_easy_pause(conn->easy, CURLPAUSE_CONT);
            callout_leave(conn->callout);
        }
    }
    return take;
}
