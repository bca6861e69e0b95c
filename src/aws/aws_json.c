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

/* Is no member there twice? Else *twice names one that is. */
static bool no_duplicates(yyjson_val *v, sv *twice)
{
    if (yyjson_is_arr(v)) {
        yyjson_arr_iter it = yyjson_arr_iter_with(v);
        yyjson_val *item;
        while ((item = yyjson_arr_iter_next(&it)) != NULL)
            if (!no_duplicates(item, twice))
                return false;
    }
    if (!yyjson_is_obj(v))
        return true;
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    yyjson_val *key;
    for (size_t i = 0; (key = yyjson_obj_iter_next(&it)) != NULL; i++) {
        yyjson_obj_iter before = yyjson_obj_iter_with(v);
        /* no shape has so many: some are unknown, and refused for that */
        if (i >= MEMBERS_MAX)
            break;
        for (size_t k = 0; k < i; k++)
            if (sv_eq(json_string(yyjson_obj_iter_next(&before)), json_string(key))) {
                *twice = json_string(key);
                return false;
            }
        if (!no_duplicates(yyjson_obj_iter_get_val(key), twice))
            return false;
    }
    return true;
}

/* ERR_UNSUPPORTED is told as SerializationException: the request cannot be read. */
static err_code read_input(struct pending *p, struct err *e)
{
    struct call *c = &p->call;
    yyjson_doc *doc;
    struct err why;
    sv body = p->body.len ? p->body : SV_LIT("{}");
    if (json_read(c->a, body, LIMIT_JSON_DEPTH, &doc, &why) != ERR_OK)
        return ERR(e, ERR_UNSUPPORTED, "%s", why.msg);
    c->input = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(c->input))
        return ERR(e, ERR_UNSUPPORTED, "The request body is not a JSON object");
    sv twice;
    if (!no_duplicates(c->input, &twice))
        return ERR(e, ERR_UNSUPPORTED, "Member %.*s stands twice in the request body",
                   SV_FMT(sv_head(twice, 64)));
    return shape_check_input(c->op->input, c->input, c->fault_text, e);
}

static err_code perform(struct pending *p, struct answer *an, struct err *e)
{
    struct call *c = &p->call;
    json_writer_init(&c->out, &an->body);
    json_obj(&c->out);
    TRY(c->op->fn(c, e));
    json_obj_end(&c->out);
    TRY(json_writer_end(&c->out, e));
    return shape_check_output(c->op->output, buf_sv(&an->body), c->a, e);
}

static err_code run(struct pending *p, struct answer *an, struct err *e)
{
    struct call *c = &p->call;
    /* the request was checked and counted the first time */
    if (c->waited)
        return perform(p, an, e);
    TRY(read_input(p, e));
    if (c->s->aws->quota)
        TRY(quota_take(c->s->aws->quota, c->op->name, clock_mono_us(), e));
    return perform(p, an, e);
}

static void finish_waited(void *ctx);

static void finish(struct pending *p)
{
    struct call *c = &p->call;
    struct parking *parking = c->s->cfg.parking;
    struct answer an = { .status = 200, .content_type = CONTENT_TYPE };
    CLEANUP_BUF struct buf faults = BUF_INIT(SHAPE_FAULTS_BYTES);
    struct err e = { 0 };
    buf_init(&an.body, ANSWER_MAX);
    c->fault_text = &faults;
    err_code rc = run(p, &an, &e);
    if (rc == ERR_OK && c->unended && c->parked) {
        buf_done(&an.body);
        c->waited = true;
        /* p may be gone from here on */
        parking_wait(parking, &c->parked, finish_waited, p);
        return;
    }
    parking_leave(parking, &c->parked);
    if (rc != ERR_OK) {
        e.code = rc;
        service_answer_error(&an, &e, buf_sv(&faults), p->request_id, c->op->name);
    } else if (c->watched.len) {
        parking_told(parking, c->caller.access_key_id, c->watched, !c->unended, clock_mono_us());
    }
    service_reply(p->x, &an, c->op->name, p->request_id, c->caller.access_key_id);
}

static void finish_waited(void *ctx)
{
    finish(ctx);
}

static void finish_later(struct service *s, void *ctx)
{
    (void)s;
    finish(ctx);
}

/* ---- the door ---- */

/* Who calls, and which operation? False: an says what is wrong. */
static bool enter(struct service *s, const struct http_request *req, struct pending *p,
                  struct answer *an)
{
    struct err e = { 0 };
    sv target = http_header_get(req, "X-Amz-Target");
    if (req->body_too_large) {
        answer_named(an, "RequestEntityTooLargeException", 413,
                     SV_LIT("The request body is larger than 1 MiB"));
        return false;
    }
    err_code rc = auth_check(s->cfg.auth, req, clock_wall_ms(), &p->call.caller, &e);
    if (rc != ERR_OK) {
        e.code = rc;
        service_answer_error(an, &e, SV_NONE, p->request_id, "auth");
        return false;
    }
    p->call.op = operation_find(target);
    if (p->call.op == NULL) {
        answer_named(an, "UnknownOperationException", 404, operation_unknown(p->call.a, target));
        return false;
    }
    if (!media_type_is(http_header_get(req, "Content-Type"), CONTENT_TYPE)) {
        answer_named(an, "UnsupportedMediaTypeException", 415,
                     SV_LIT("Content-Type must be application/x-amz-json-1.0"));
        return false;
    }
    return true;
}

static void handle(struct service *s, struct http_exchange *x, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    struct answer an = { .status = 200, .content_type = CONTENT_TYPE };
    struct err e = { 0 };
    buf_init(&an.body, ANSWER_MAX);
    struct pending *p = ARENA_NEW(req->arena, struct pending);
    /* a fresh arena always has room for it */
    if (p == NULL)
        abort();
    p->x = x;
    p->request_id = request_id;
    p->body = req->body;
    p->call.s = s;
    p->call.req = req;
    p->call.a = req->arena;
    if (!enter(s, req, p, &an)) {
        service_reply(x, &an, p->call.op ? p->call.op->name : "-", request_id,
                      p->call.caller.access_key_id);
        return;
    }
    if (!p->call.op->waits) {
        finish(p);
    } else if (workers_add(s->aws->workers,
                           (struct work_for){ p->call.caller.access_key_id, SV_NONE }, finish_later,
                           p, &e) != ERR_OK) {
        service_answer_error(&an, &e, SV_NONE, request_id, p->call.op->name);
        service_reply(x, &an, p->call.op->name, request_id, p->call.caller.access_key_id);
    }
}

/* ---- life ---- */

static err_code start(struct service *s, struct err *e)
{
    s->aws = calloc(1, sizeof *s->aws);
    if (s->aws == NULL)
        abort();
    pthread_mutex_init(&s->aws->records_lock, NULL);
    if (s->cfg.quotas_healthlake)
        s->aws->quota = quota_new();
    TRY(workers_start(s, s->cfg.n_workers, LIMIT_CONTROL_WAITING, &s->aws->workers, e));
    return datastore_life_start(s, e);
}

static void stop(struct service *s)
{
    if (s->aws == NULL)
        return;
    workers_stop(s->aws->workers);
    datastore_life_stop(s);
    quota_free(s->aws->quota);
    pthread_mutex_destroy(&s->aws->records_lock);
    free(s->aws);
    s->aws = NULL;
}

const struct service_plane aws_plane = { start, stop, handle };
