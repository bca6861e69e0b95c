/* stream.c - an answer that goes out while it is made (stream_private.h).
 *
 * The thread that makes it waits for its reader here, as long as the server keeps the connection:
 * net/http_watch.c ends one that takes less than LIMIT_SLOW_BYTES in LIMIT_SLOW_S, and the library
 * one that takes nothing for LIMIT_REQUEST_TIMEOUT_S. While others wait for a thread, a reader who
 * has kept this one waiting for long, and for most of its time, is not waited for any longer. */
#include "rest/stream_private.h"

#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/route_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "service/errors.h"

#define WAIT_MS 100u /* then it looks whether it is still to go on */

bool rest_may_stream(const struct rest_call *call)
{
    return call->stream && http_may_stream(call->stream->x);
}

/* The audit log has its record before the first byte goes out. */
static void begin(struct rest_call *call)
{
    struct rest_stream *s = call->stream;
    const struct http_header h[] = {
        { SV_LIT("Content-Type"), call->out.content_type },
        { SV_LIT("x-amzn-RequestId"), sv_from(s->request_id) },
    };
    rest_trail(call, call->trail, ERR_OK);
    trail_end(s->x, call->out.status, "-");
    call->trail = NULL;
    s->began_us = clock_mono_us();
    s->out = http_stream_begin(s->x, call->out.status, h, sizeof h / sizeof h[0], !s->is_packed);
}

static err_code is_awaited(const struct rest_stream *s, struct err *e)
{
    const uint64_t lasts_us = clock_mono_us() - s->began_us;
    if (s->waited_us < LIMIT_STREAM_WAIT_S * UINT64_C(1000000) || s->waited_us < lasts_us / 2 ||
        !workers_pressed(s->pool))
        return ERR_OK;
    return ERR(e, ERR_TIMEOUT, "the answer is read slowly, and others wait");
}

err_code rest_stream_put(struct rest_call *call, struct buf *b, struct err *e)
{
    struct rest_stream *s = call->stream;
    TRY(rest_goes_on(call, e));
    if (s->out == NULL)
        begin(call);
    for (size_t at = 0, n;; at += n) {
        TRY(http_stream_put(s->out, sv_tail(buf_sv(b), at), 0, &n, e));
        if (at + n == b->len)
            break;
        /* who waits here keeps nobody from computing */
        rest_let_go(call);
        const uint64_t from_us = clock_mono_us();
        size_t more;
        TRY(http_stream_put(s->out, sv_tail(buf_sv(b), at + n), WAIT_MS, &more, e));
        n += more;
        s->waited_us += clock_mono_us() - from_us;
        if (s->on_wait)
            s->on_wait(s->ctx);
        TRY(rest_goes_on(call, e));
        TRY(is_awaited(s, e));
        if (at + n == b->len)
            break;
    }
    s->n_bytes += b->len;
    buf_clear(b);
    return ERR_OK;
}

/* To a monitor an answer that broke is a failure, unless by the caller's doing: he has gone, he
 * reads slowly (a call whose answer has begun has no other end of its time), or his view does not
 * fit. */
static unsigned status_of(const struct rest_call *call, err_code rc)
{
    if (rc == ERR_OK || rc == ERR_CANCELLED || rc == ERR_TIMEOUT)
        return call->out.status;
    return error_as_fhir(rc)->status;
}

/* A message may name what a resource holds, so the log has the code, and the place in what was
 * asked for. */
static void tell_broken(const struct rest_call *call, err_code rc, const struct err *e)
{
    const sv place = call->issues.n ? call->issues.items[0].path : SV_NONE;
    LOG(status_of(call, rc) < 500 ? LOG_INFO : LOG_ERROR, "answer_broken",
        LOG_SV("op", call->stream->op), LOG_STR("error", err_code_name(rc)),
        LOG_SV("place", place.len ? place : SV_LIT("-")), LOG_STR("at", e->file ? e->file : "-"),
        LOG_INT("out", call->stream->n_bytes), LOG_STR("request_id", call->stream->request_id));
}

void rest_stream_end(struct rest_call *call, err_code rc, const struct err *e)
{
    const struct rest_stream *s = call->stream;
    const struct http_request *req = http_exchange_request(s->x);
    const uint64_t us = clock_mono_us() - req->start_us;
    const sv key = call->caller.access_key_id;
    if (rc != ERR_OK)
        tell_broken(call, rc, e);
    LOG(LOG_INFO, "request", LOG_SV("op", s->op), LOG_INT("status", call->out.status),
        LOG_STR("error", rc ? err_code_name(rc) : "-"), LOG_INT("us", us),
        LOG_INT("in", call->in.body.len), LOG_INT("out", s->n_bytes),
        LOG_SV("key", key.len ? key : SV_LIT("-")), LOG_SV("peer", req->peer),
        LOG_STR("request_id", s->request_id));
    metrics_request(call->service->cfg.metrics, call->it->action, call->ds->id, status_of(call, rc),
                    us);
    http_stream_end(s->out, rc == ERR_OK);
}
