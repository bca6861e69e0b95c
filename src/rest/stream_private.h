/* stream_private.h - an answer that goes out while it is made: of any length, in memory that is
 * bounded.
 *
 * Until rest_stream_put() was called, a call may still end in an error as any other. From then on
 * an error breaks the answer: the connection ends without the end of the body, and the log tells
 * why. Whoever makes the answer waits for its reader; he gives up the slow lane meanwhile.
 *
 *   stream.c   puts, and the end
 *
 * Floor: rest. */
#pragma once
#include "rest/call_private.h"

struct rest_stream { /* of one call; zeroed but for the first four, used by one thread */
    struct http_exchange *x;
    const char *request_id;
    struct workers *pool;    /* others may wait for its threads */
    sv op;                   /* for the log */
    struct http_stream *out; /* NULL: it has not begun */
    bool is_packed;          /* set before the first put: its bytes do not get smaller */
    uint64_t n_bytes, began_us, waited_us;
    /* called every while as the reader is waited for: the maker lets go of what others want */
    void (*on_wait)(void *ctx);
    void *ctx;
};

/* May the call's answer go out while it is made? Not an entry of a Bundle's, nor for HTTP/1.0. */
bool rest_may_stream(const struct rest_call *call);
/* More of the answer, whose status and content type are set: b, which is empty then.
 * ERR_CANCELLED: the caller has gone, or the server stops, or the data store is being deleted, or
 * something in it was erased.
 * ERR_TIMEOUT: the caller takes it slowly, and others wait for the thread. ERR_UNAVAILABLE: the
 * data store's disk failed. */
MUST_USE err_code rest_stream_put(struct rest_call *call, struct buf *b, struct err *e);
/* The answer that has begun ends: whole when rc is ERR_OK. The call and its exchange may be gone
 * then. */
void rest_stream_end(struct rest_call *call, err_code rc, const struct err *e);
