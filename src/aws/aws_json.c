/* aws_json.c - AWS JSON 1.0: one POST is one call of an operation, named in a header.
 *
 *   signature -> target -> content type     enter(): refused before an operation is known
 *   -> JSON -> shape -> quota               run()
 *   -> operation -> shape of the answer     perform()
 *
 * Operations that wait for a peer run on the plane's workers, and the exchange goes with them. A
 * Describe* of something that has not ended gives its exchange to the parking. That has the
 * operation done once more when the end comes, or a moment later; this second answer is the one
 * that is sent. */
#include "aws/aws_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/media_type.h"

#define CONTENT_TYPE "application/x-amz-json-1.0"
#define ANSWER_MAX   (8u << 20)
#define MEMBERS_MAX \
    256u /* of one object of a request, among which a second one of a name is found */

/* ---- one call ---- */

struct pending { /* a call until it is answered; owned by the request's arena */
    struct call call;
    struct http_exchange *x;
    const char *request_id;
    sv body;
};

static void answer_named(struct answer *an, const char *exception, unsigned status, sv message)
{
    /* a small text: writing it cannot fail */
    struct err ignored;
    an->status = status;
    an->error_type = exception;
    an->content_type = CONTENT_TYPE;
    buf_clear(&an->body);
    IGNORE(error_aws_body(exception, message, &an->body, &ignored));
}

/* ERR_UNSUPPORTED is told as SerializationException: the request cannot be read. */
static err_code read_input(struct pending *pending, struct err *e)
{
    struct call *call = &pending->call;
    yyjson_doc *doc;
    struct err why;
    sv body = pending->body.len ? pending->body : SV_LIT("{}");
    if (json_read(call->a, body, LIMIT_JSON_DEPTH, &doc, &why) != ERR_OK)
        return ERR(e, ERR_UNSUPPORTED, "%s", why.msg);
    call->input = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(call->input))
        return ERR(e, ERR_UNSUPPORTED, "The request body is not a JSON object");
    sv twice;
    /* an object of more members than any shape has is refused for those that are unknown */
    if (!json_members_unique(call->input, MEMBERS_MAX, &twice) && twice.ptr)
        return ERR(e, ERR_UNSUPPORTED, "Member %.*s stands twice in the request body",
                   SV_FMT(sv_head(twice, 64)));
    return shape_check_input(call->op->input, call->input, call->fault_text, e);
}

static err_code perform(struct pending *pending, struct answer *an, struct err *e)
{
    struct call *call = &pending->call;
    json_writer_init(&call->out, &an->body);
    json_obj(&call->out);
    TRY(call->op->fn(call, e));
    json_obj_end(&call->out);
    TRY(json_writer_end(&call->out, e));
    return shape_check_output(call->op->output, buf_sv(&an->body), call->a, e);
}

static err_code run(struct pending *pending, struct answer *an, struct err *e)
{
    struct call *call = &pending->call;
    /* the request was checked and counted the first time */
    if (call->waited)
        return perform(pending, an, e);
    TRY(trail_ready(trail_of(pending->x), call->op->name, e));
    TRY(read_input(pending, e));
    const struct quota_ask ask = { .action = call->op->name, .caller = call->caller.arn };
    TRY(quota_take(call->service->quota, &ask, clock_mono_us(), &call->wait_s, e));
    return perform(pending, an, e);
}

static void finish_waited(void *ctx);

static void finish(struct pending *pending)
{
    struct call *call = &pending->call;
    struct parking *parking = call->service->cfg.parking;
    struct answer an = { .status = 200,
                         .content_type = CONTENT_TYPE,
                         .metrics = call->service->cfg.metrics };
    CLEANUP_BUF struct buf faults = BUF_INIT(SHAPE_FAULTS_BYTES);
    struct err e = { 0 };
    buf_init(&an.body, ANSWER_MAX);
    call->fault_text = &faults;
    err_code rc = run(pending, &an, &e);
    if (rc == ERR_OK && call->unended && call->parked) {
        buf_done(&an.body);
        call->waited = true;
        /* it may be gone from here on */
        parking_wait(parking, &call->parked, finish_waited, pending);
        return;
    }
    parking_leave(parking, &call->parked);
    if (rc != ERR_OK) {
        e.code = rc;
        service_answer_error(&an, &e, buf_sv(&faults), pending->request_id, call->op->name);
        if (rc == ERR_THROTTLED && call->wait_s)
            an.retry_after_s = call->wait_s;
    } else if (call->watched.len) {
        parking_told(parking, call->caller.access_key_id, call->watched, !call->unended,
                     clock_mono_us());
    }
    call_trail(call, trail_of(pending->x), rc, buf_sv(&an.body));
    service_reply(pending->x, &an, call->op->name, pending->request_id, call->caller.access_key_id);
}

static void finish_waited(void *ctx)
{
    finish(ctx);
}

static void finish_later(struct service *service, void *ctx)
{
    (void)service;
    finish(ctx);
}

/* ---- the door ---- */

/* Who calls, and which operation? False: an says what is wrong. */
static bool enter(struct service *service, const struct http_request *req, struct pending *pending,
                  struct answer *an)
{
    struct err e = { 0 };
    sv target = http_header_get(req, "X-Amz-Target");
    if (req->body_too_large) {
        answer_named(an, "RequestEntityTooLargeException", 413,
                     SV_LIT("The request body is larger than 1 MiB"));
        return false;
    }
    err_code rc = auth_check(service->cfg.auth, req, clock_wall_ms(), &pending->call.caller, &e);
    if (rc != ERR_OK) {
        e.code = rc;
        service_answer_error(an, &e, SV_NONE, pending->request_id, "auth");
        return false;
    }
    pending->call.op = operation_find(target);
    if (pending->call.op == NULL) {
        answer_named(an, "UnknownOperationException", 404,
                     operation_unknown(pending->call.a, target));
        return false;
    }
    if (!media_type_is(http_header_get(req, "Content-Type"), CONTENT_TYPE)) {
        answer_named(an, "UnsupportedMediaTypeException", 415,
                     SV_LIT("Content-Type must be application/x-amz-json-1.0"));
        return false;
    }
    return true;
}

static void handle(struct service *service, struct http_exchange *x, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    struct answer an = { .status = 200,
                         .content_type = CONTENT_TYPE,
                         .metrics = service->cfg.metrics };
    struct err e = { 0 };
    buf_init(&an.body, ANSWER_MAX);
    struct pending *pending = ARENA_NEW(req->arena, struct pending);
    /* a fresh arena always has room for it */
    if (pending == NULL)
        abort();
    pending->x = x;
    pending->request_id = request_id;
    pending->body = req->body;
    pending->call.service = service;
    pending->call.req = req;
    pending->call.a = req->arena;
    if (!enter(service, req, pending, &an)) {
        call_trail(&pending->call, trail_of(x), ERR_OK, SV_NONE);
        service_reply(x, &an, pending->call.op ? pending->call.op->name : "-", request_id,
                      pending->call.caller.access_key_id);
        return;
    }
    if (!pending->call.op->waits) {
        finish(pending);
    } else if (workers_add(service->aws->workers,
                           (struct work_for){ pending->call.caller.access_key_id, SV_NONE },
                           finish_later, pending, &e) != ERR_OK) {
        service_answer_error(&an, &e, SV_NONE, request_id, pending->call.op->name);
        call_trail(&pending->call, trail_of(x), ERR_THROTTLED, SV_NONE);
        service_reply(x, &an, pending->call.op->name, request_id,
                      pending->call.caller.access_key_id);
    }
}

/* ---- life ---- */

static err_code start(struct service *service, struct err *e)
{
    service->aws = calloc(1, sizeof *service->aws);
    if (service->aws == NULL)
        abort();
    pthread_mutex_init(&service->aws->records_lock, NULL);
    TRY(workers_start(service, service->cfg.n_workers, LIMIT_CONTROL_WAITING,
                      &service->aws->workers, e));
    return datastore_life_start(service, e);
}

static void stop(struct service *service)
{
    if (service->aws == NULL)
        return;
    workers_stop(service->aws->workers);
    datastore_life_stop(service);
    pthread_mutex_destroy(&service->aws->records_lock);
    free(service->aws);
    service->aws = NULL;
}

const struct service_plane aws_plane = { start, stop, handle, call_trail_name };
