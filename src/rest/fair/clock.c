/* clock.c - how long a call may work, and when it makes room for others.
 *
 * Work that looks at many resources or entries calls rest_breathe() every millisecond or so:
 *
 *   the slow lane   a call that has computed for long takes turns with others (lane_private.h)
 *   the end         after LIMIT_CALL_MOST_SECONDS, or already after LIMIT_CALL_SECONDS while
 *                   others wait for a thread
 *   the caller      a caller who has hung up needs no answer: the call ends
 *
 * A call whose answer becomes large calls rest_may_grow(). A Bundle and all its entries are one
 * call. */
#include "rest/fair/clock_private.h"
#include "rest/rest_private.h"
#include "rest/route_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "store/erased.h"

#define LOOK_US 50000u /* between two looks for the caller */

static err_code look(void *clock, struct err *e);

void rest_clock_start(struct rest_clock *k, struct service *service, struct workers *pool,
                      struct http_exchange *x, sv caller, sv place)
{
    uint64_t now = clock_mono_us();
    bool bundle = pool == service->rest->bundle_workers;
    *k = (struct rest_clock){ .service = service, .pool = pool, .x = x, .looked_us = now };
    k->soft_us = now + (bundle ? LIMIT_BUNDLE_SOFT_SECONDS : LIMIT_CALL_SECONDS) * 1000000ull;
    k->until_us = now + (bundle ? LIMIT_BUNDLE_SECONDS : LIMIT_CALL_MOST_SECONDS) * 1000000ull;
    k->ticket.queue = sv_hash(sv_hash(0, caller), place);
    k->making.owner = sv_hash(0, caller);
    query_deadline_init(&k->deadline, look, k);
}

void rest_clock_stop(struct rest_clock *k)
{
    if (k->service)
        lane_leave(k->service->rest->lane, &k->ticket);
}

uint64_t rest_until_us(const struct rest_call *call)
{
    return call->clock ? call->clock->until_us : 0;
}

void rest_clock_no_end(const struct rest_call *call)
{
    struct rest_clock *k = call->clock;
    if (k == NULL)
        return;
    k->soft_us = k->until_us = UINT64_MAX;
    k->endless = call;
}

void rest_clock_as_of(const struct rest_call *call, uint64_t as_of, uint64_t asked_us)
{
    struct rest_clock *k = call->clock;
    /* of a Bundle the first one is the earliest */
    if (k == NULL || k->erased_us)
        return;
    k->as_of = as_of;
    k->erased_us = asked_us;
}

err_code rest_reads_newest(const struct rest_call *call, uint64_t *as_of, struct err *e)
{
    const uint64_t now = clock_mono_us();
    TRY(rest_newest(call, as_of, e));
    rest_clock_as_of(call, *as_of, now);
    return ERR_OK;
}

err_code rest_reads_begin(const struct rest_call *call, struct err *e)
{
    uint64_t newest;
    if (call->clock == NULL || call->clock->erased_us || call->in_bundle ||
        !store_is_remote(call->st))
        return ERR_OK;
    return rest_reads_newest(call, &newest, e);
}

err_code rest_reads_only(const struct rest_call *call, struct err *e)
{
    uint64_t newest;
    if (call->clock == NULL || !store_is_remote(call->st))
        return ERR_OK;
    call->clock->only_reads = true;
    return rest_reads_newest(call, &newest, e);
}

static err_code erased_meanwhile(struct err *e)
{
    return ERR(e, ERR_CANCELLED, "resources of the data store were erased meanwhile");
}

/* By any node, in a database. */
static err_code look_for_erasures(struct rest_clock *k, struct store *st, bool *any, struct err *e)
{
    const uint64_t now = clock_mono_us();
    uint64_t t;
    *any = false;
    if (!store_is_remote(st) || k->erased_us == 0 ||
        now - k->erased_us < STORE_ERASED_LOOK_MS * UINT64_C(1000))
        return ERR_OK;
    TRY(store_erased_at(st, &t, e));
    k->erased_us = now;
    *any = t > k->as_of;
    return ERR_OK;
}

err_code rest_may_answer(const struct rest_call *call, struct err *e)
{
    struct rest_clock *k = call->clock;
    bool any;
    if (k == NULL || k->endless || call->st == NULL || (rest_is_bundle(call->it) && !k->only_reads))
        return ERR_OK;
    TRY(look_for_erasures(k, call->st, &any, e));
    return any ? ERR(e, ERR_UNAVAILABLE,
                     "Resources of the data store were erased meanwhile: try again")
               : ERR_OK;
}

static err_code is_there(struct rest_clock *k, struct err *e)
{
    struct datastore_held *held = NULL;
    if (k->endless == NULL)
        return ERR_OK;
    /* it waits until nobody reads */
    if (store_wants_anew(k->endless->st)) {
        if (store_has_failed(k->endless->st))
            return ERR(e, ERR_UNAVAILABLE,
                       "the data store could not write to its disk, and is opened anew: try again");
        return erased_meanwhile(e);
    }
    bool any;
    TRY(look_for_erasures(k, k->endless->st, &any, e));
    if (any)
        return erased_meanwhile(e);
    TRY(datastore_hold(k->service, k->endless->ds->id, &held, e));
    const bool active = sv_eq(datastore_of(held)->status, SV_LIT("ACTIVE"));
    datastore_release(&held);
    return active ? ERR_OK : ERR(e, ERR_CANCELLED, "the data store is being deleted");
}

static err_code may_go_on(struct rest_clock *k, uint64_t now, struct err *e)
{
    /* it had its time to drain; what has no end gets none */
    if (atomic_load_explicit(&k->service->stopping, memory_order_relaxed) ||
        (k->endless && atomic_load_explicit(&k->service->ending, memory_order_relaxed)))
        return ERR(e, ERR_CANCELLED, "the service is being stopped");
    if (now > k->until_us || (now > k->soft_us && workers_pressed(k->pool)))
        return ERR(e, ERR_TIMEOUT,
                   "The request takes too long, and others wait: ask for less, or more narrowly");
    if (now - k->looked_us > LOOK_US) {
        k->looked_us = now;
        if (http_exchange_gone(k->x))
            return ERR(e, ERR_CANCELLED, "the caller has hung up");
        return is_there(k, e);
    }
    return ERR_OK;
}

/* query_deadline.look */
static err_code look(void *clock, struct err *e)
{
    struct rest_clock *k = clock;
    uint64_t now = clock_mono_us();
    if (!k->has_lock && lane_pass(k->service->rest->lane, &k->ticket, now, k->until_us))
        now = clock_mono_us();
    return may_go_on(k, now, e);
}

err_code rest_breathe(const struct rest_call *call, struct err *e)
{
    return call->clock ? look(call->clock, e) : ERR_OK;
}

err_code rest_goes_on(const struct rest_call *call, struct err *e)
{
    return call->clock ? may_go_on(call->clock, clock_mono_us(), e) : ERR_OK;
}

err_code rest_may_grow(const struct rest_call *call, size_t len, struct err *e)
{
    struct rest_clock *k = call->clock;
    if (k == NULL || k->service == NULL || k->has_lock || len <= LIMIT_MAKING_FREE_BYTES ||
        k->making.holds)
        return ERR_OK;
    /* who waits here keeps nobody from computing */
    lane_leave(k->service->rest->lane, &k->ticket);
    for (;;) {
        making_result r =
            making_take(k->service->rest->making, &k->making, clock_mono_us() + LOOK_US);
        if (r == MAKING_ROW_IS_FULL)
            return ERR(e, ERR_THROTTLED,
                       "Too many large answers are being made, or too many of yours; try again "
                       "later, or ask for less");
        if (r == MAKING_HELD)
            return ERR_OK;
        TRY(may_go_on(k, clock_mono_us(), e));
    }
}

void rest_let_go(const struct rest_call *call)
{
    if (call->clock && call->clock->service)
        lane_leave(call->clock->service->rest->lane, &call->clock->ticket);
}
