/* clock_private.h - how long a call may work, and when it makes room for others.   Floor: rest. */
#pragma once
#include "rest/call_private.h"
#include "rest/fair/lane_private.h"
#include "rest/fair/making_private.h"

/* Of one request, with all entries when it is a Bundle. Used by one thread. */
struct rest_clock {
    struct service *service;
    struct workers *pool; /* other requests may wait for its threads */
    struct http_exchange *x;
    uint64_t soft_us, until_us, looked_us; /* monotonic */
    struct lane_ticket ticket;
    struct query_deadline deadline;  /* of the call's queries; it comes by rest_breathe() */
    bool has_lock;                   /* of conditional writes: the call waits for no turn */
    const struct rest_call *endless; /* the call, when it has no end; else NULL */
    uint64_t as_of, erased_us;       /* it reads as of that; erasures were looked for then */
    bool only_reads;                 /* of a Bundle */
    struct making_ticket making;     /* held until the answer is handed over */
};

void rest_clock_start(struct rest_clock *k, struct service *service, struct workers *pool,
                      struct http_exchange *x, sv caller, sv place);
void rest_clock_stop(struct rest_clock *k);
/* The call has no end: what it makes goes out as it is made. It ends when its data store is being
 * deleted, when an erasure there waits for it or came behind it (ERR_CANCELLED), or when its disk
 * failed (ERR_UNAVAILABLE). */
void rest_clock_no_end(const struct rest_call *call);
/* That commit was the newest at some time behind asked_us, before the call read anything. When an
 * erasure came behind it, what was read may not go out. Of several in one call the first counts. */
void rest_clock_as_of(const struct rest_call *call, uint64_t as_of, uint64_t asked_us);
/* As rest_newest(), with rest_clock_as_of(). */
MUST_USE err_code rest_reads_newest(const struct rest_call *call, uint64_t *as_of, struct err *e);
/* The same, once, in front of the first read of a call that may wait: not of a short one, nor of an
 * entry of a Bundle. */
MUST_USE err_code rest_reads_begin(const struct rest_call *call, struct err *e);
/* A Bundle does nothing but read: its answer can be refused when it is made. */
MUST_USE err_code rest_reads_only(const struct rest_call *call, struct err *e);
/* Its answer is made, and nothing of it has gone out. In a database nobody waits for calls, so one
 * that took long asks: was something erased meanwhile? ERR_UNAVAILABLE. Not of a Bundle that may
 * have written. */
MUST_USE err_code rest_may_answer(const struct rest_call *call, struct err *e);
uint64_t rest_until_us(const struct rest_call *call); /* monotonic; 0: no end */
/* Called every millisecond or so by what may take long. ERR_TIMEOUT: the call's time is over;
 * ERR_CANCELLED: the caller has hung up, or what he asks for goes away. May wait for the call's
 * turn: not under a lock, unless has_lock says so. */
MUST_USE err_code rest_breathe(const struct rest_call *call, struct err *e);
/* The same for a call that computes nothing now: it waits for no turn. */
MUST_USE err_code rest_goes_on(const struct rest_call *call, struct err *e);
/* Before a lock or another wait: others compute meanwhile. */
void rest_let_go(const struct rest_call *call);
/* The answer's body is about to have len bytes. Past LIMIT_MAKING_FREE_BYTES the call needs one of
 * the few places for such answers (making_private.h), and waits for it. ERR_THROTTLED,
 * ERR_TIMEOUT, ERR_CANCELLED. Not under a lock. */
MUST_USE err_code rest_may_grow(const struct rest_call *call, size_t len, struct err *e);
