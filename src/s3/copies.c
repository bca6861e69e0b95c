/* copies.c - copies under way side by side, driven by one thread.
 *
 * An answer takes its thread little time, but a thread that is woken for each of them finds nothing
 * in the processor's caches any more, where the peer itself works on the same machine, and then it
 * takes three times as long. So one thread has all of them, each on a connection of its own. Where
 * answers take long, it rests for a part of that time, and then takes all that have come.
 *
 *   FREE --ask--> ASKED --(an answer that is final)--> FREE
 *                 ASKED --(a failure that may pass)--> PAUSED --> ASKED
 *
 * How many connections there are is pace.c's to say. What waits for its next attempt has its place
 * among them kept, and is asked for again when there is room.
 *
 * An endpoint may take no copies at all, or none of this role. So until the first copy has come
 * about, no more are asked for than go out together at first; when all of these are refused, for
 * another reason than the object that is to be copied, nothing more is asked for. Nor is it when as
 * many in a row are denied later. */
#include "s3/s3_private.h"

#include "base/clock.h"

#include <sys/eventfd.h>
#include <unistd.h>

#define REST_PART    3u /* of what an answer takes */
#define REST_MOST_MS 400u
#define LOOK_MS      400u /* at all of them: stalls, a cancel */
#define BEGINS_MS    10u  /* the same, while one is not connected yet */

struct flight {
    enum { FLIGHT_FREE, FLIGHT_ASKED, FLIGHT_PAUSED } state;
    bool ready; /* its peer has sent something */
    void *ctx;
    struct s3_copy_call call;
    struct s3_entity entity;
    struct s3_attempts at;
    struct s3_conn *conn;
    struct curl_slist *headers;
    uint64_t asked_us, until_us; /* until: of a pause */
};

struct s3_copies {
    struct s3_client *client;
    s3_copied_fn done;
    struct flight flights[S3_PACE_MOST];
    struct s3_pace pace;
    unsigned n;         /* under way, those that pause among them */
    unsigned n_asked;   /* of them, without those */
    bool found;         /* the last turn found answers */
    bool shrunk;        /* in this turn */
    bool any;           /* a copy has come about */
    unsigned n_refused; /* before that; later: that were denied since the last one came about */
    uint64_t looked_us;
    int wake_fd;
};

struct s3_copies *s3_copies_new(struct s3_client *client, s3_copied_fn done)
{
    struct s3_copies *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    x->client = client;
    x->done = done;
    s3_pace_init(&x->pace);
    x->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return x;
}

void s3_copies_free(struct s3_copies *x)
{
    if (x == NULL)
        return;
    assert(x->n == 0);
    if (x->wake_fd >= 0)
        close(x->wake_fd);
    free(x);
}

unsigned s3_copies_under_way(const struct s3_copies *x)
{
    return x->n;
}

static bool gives_up(const struct s3_copies *x)
{
    return x->n_refused >= S3_PACE_FIRST;
}

bool s3_copies_has_room(const struct s3_copies *x)
{
    return gives_up(x) || (x->n < x->pace.most && (x->any || x->n + x->n_refused < S3_PACE_FIRST));
}

void s3_copies_wake(struct s3_copies *x)
{
    const uint64_t one = 1;
    /* without it the wait ends by itself, only later */
    if (write(x->wake_fd, &one, sizeof one) < 0)
        return;
}

/* ---- one of them ---- */

/* Of this one object alone? */
static bool is_of_object(err_code rc)
{
    return rc == ERR_OK || rc == ERR_PRECONDITION || rc == ERR_NOT_FOUND || rc == ERR_CANCELLED;
}

static void end(struct s3_copies *x, struct flight *f, err_code rc, const struct err *e)
{
    void *ctx = f->ctx;
    if (f->conn)
        s3_client_conn_give(x->client, f->conn);
    s3_copy_call_done(&f->call);
    f->state = FLIGHT_FREE;
    f->conn = NULL;
    x->n--;
    x->any |= rc == ERR_OK;
    if (rc == ERR_OK && !gives_up(x))
        x->n_refused = 0;
    else
        x->n_refused += x->any ? rc == ERR_DENIED : !is_of_object(rc);
    x->done(ctx, rc, &f->entity, e);
}

static void begin(struct s3_copies *x, struct flight *f)
{
    struct err e = { 0 };
    if (f->conn == NULL)
        f->conn = s3_client_conn_take(x->client);
    err_code rc = s3_request_start(x->client, &f->call.request, &f->at, NULL, false, f->conn,
                                   &f->headers, &e);
    if (rc != ERR_OK) {
        end(x, f, rc, &e);
        return;
    }
    f->state = FLIGHT_ASKED;
    x->n_asked++;
    /* its head goes out, or it connects */
    f->ready = true;
}

static void stop(struct flight *f)
{
    s3_conn_stop(f->conn);
    curl_slist_free_all(f->headers);
    f->headers = NULL;
}

/* The peer has said that it is too much, of some of them at once. */
static void shrink(struct s3_copies *x)
{
    if (!x->shrunk)
        s3_pace_too_much(&x->pace);
    x->shrunk = true;
}

static void look(struct s3_copies *x, struct flight *f)
{
    struct err e = { 0 };
    unsigned ms;
    /* from when its head goes out: a handshake is no part of what an answer takes */
    if (!s3_conn_has_asked(f->conn))
        f->asked_us = clock_mono_us();
    s3_conn_state st = s3_conn_is_cancelled(f->conn) ? CONN_CANCELLED : s3_conn_turn(f->conn);
    f->ready = false;
    if (st == CONN_RUNNING)
        return;
    const bool took = s3_request_took(&f->call.request, &f->at, f->conn, st);
    /* it never will */
    const long status = s3_conn_status(f->conn);
    f->at.last.retry &= status != 501;
    const uint64_t now_us = clock_mono_us();
    stop(f);
    x->n_asked--;
    if (took) {
        s3_pace_answer(&x->pace, now_us - f->asked_us);
        x->found = true;
        end(x, f, ERR_OK, NULL);
        return;
    }
    if (f->at.last.retry && (status == 503 || status == 429))
        shrink(x);
    err_code rc =
        s3_request_again(x->client, f->call.request.op, f->call.request.bucket, &f->at, &ms, &e);
    if (rc != ERR_OK) {
        end(x, f, rc, &e);
        return;
    }
    f->state = FLIGHT_PAUSED;
    f->until_us = now_us + (uint64_t)ms * 1000;
}

void s3_copies_ask(struct s3_copies *x, const struct s3_copy *copy, void *ctx)
{
    struct flight *f = x->flights;
    struct err e = { 0 };
    while (f->state != FLIGHT_FREE)
        f++;
    x->n++;
    f->ctx = ctx;
    f->entity = (struct s3_entity){ 0 };
    err_code rc = s3_copy_call_init(&f->call, copy, &f->entity, &e);
    if (rc == ERR_OK && s3_client_cancelled(x->client))
        rc = ERR(&e, ERR_CANCELLED, "cancelled");
    else if (rc == ERR_OK && gives_up(x))
        rc = ERR(&e, ERR_UNSUPPORTED, "the endpoint has refused all copies");
    if (rc != ERR_OK) {
        end(x, f, rc, &e);
        return;
    }
    s3_attempts_init(x->client, f->call.request.max_attempts, &f->at);
    begin(x, f);
    if (f->state == FLIGHT_ASKED)
        look(x, f);
}

/* ---- all of them ---- */

/* Until somebody calls, at most so long. */
static void rest(struct s3_copies *x)
{
    const uint64_t ms = x->pace.takes_us / REST_PART / 1000;
    struct pollfd fd = { x->wake_fd, POLLIN, 0 };
    if (x->found && ms && s3_pace_takes_long(&x->pace))
        (void)poll(&fd, 1, ms < REST_MOST_MS ? (int)ms : (int)REST_MOST_MS);
}

/* Is there room for one that pauses? Else an answer makes some. */
static bool may_ask(const struct s3_copies *x)
{
    return x->n_asked < x->pace.most;
}

/* For how long to wait for peers at most. */
static int patience(const struct s3_copies *x, uint64_t now_us)
{
    uint64_t ms = LOOK_MS;
    for (const struct flight *f = x->flights; f < x->flights + S3_PACE_MOST; f++) {
        uint64_t of = LOOK_MS;
        if (f->state == FLIGHT_ASKED && !s3_conn_has_asked(f->conn))
            of = BEGINS_MS;
        else if (f->state == FLIGHT_PAUSED && may_ask(x))
            of = f->until_us > now_us ? (f->until_us - now_us) / 1000 + 1 : 0;
        ms = of < ms ? of : ms;
    }
    return (int)ms;
}

/* Who has heard of his peer is ready. */
static void wait_for_peers(struct s3_copies *x)
{
    struct pollfd fds[S3_PACE_MOST * 2 + 1];
    struct flight *of[S3_PACE_MOST * 2 + 1];
    unsigned n = 1;
    uint64_t drop;
    fds[0] = (struct pollfd){ x->wake_fd, POLLIN, 0 };
    for (struct flight *f = x->flights; f < x->flights + S3_PACE_MOST; f++) {
        if (f->state != FLIGHT_ASKED)
            continue;
        const unsigned more = s3_conn_sockets(f->conn, fds + n, 2);
        for (unsigned i = 0; i < more; i++)
            of[n++] = f;
    }
    const int got = poll(fds, n, patience(x, clock_mono_us()));
    if (got > 0 && fds[0].revents && read(x->wake_fd, &drop, sizeof drop) < 0)
        /* somebody else has heard it */
        return;
    for (unsigned i = 1; got > 0 && i < n; i++)
        of[i]->ready |= fds[i].revents != 0;
}

void s3_copies_turn(struct s3_copies *x)
{
    rest(x);
    wait_for_peers(x);
    const uint64_t now_us = clock_mono_us();
    const bool all = now_us - x->looked_us >= (uint64_t)LOOK_MS * 1000;
    const bool cancelled = s3_client_cancelled(x->client);
    x->found = x->shrunk = false;
    x->looked_us = all ? now_us : x->looked_us;
    for (struct flight *f = x->flights; f < x->flights + S3_PACE_MOST; f++) {
        struct err e;
        if (f->state == FLIGHT_PAUSED && cancelled)
            end(x, f, ERR(&e, ERR_CANCELLED, "cancelled"), &e);
        else if (f->state == FLIGHT_PAUSED && f->until_us <= now_us && may_ask(x))
            begin(x, f);
        if (f->state == FLIGHT_ASKED &&
            (f->ready || all || cancelled || !s3_conn_has_asked(f->conn)))
            look(x, f);
    }
}
