/* trail.c - the way of a record into the audit log, and of the answer that waits for it.
 *
 *   service.c: trail_begin -> the plane: facts, entries -> answer.c: trail_reply
 *     a read   records are added, x is answered at once
 *     a write  records are added, the answer waits in `kept_answer`; the log's thread sends it
 *              when they are on disk, or a 503 in its place
 *     a write of one resource
 *              its record is added by trail_early(), just before the data store begins to wait for
 *              the disk. Both must be on disk before the answer leaves; who is the second sends it:
 *              the thread of the request, or the log's
 *
 * A request that changed nothing (a refusal of the caller's request) waits for nothing. When much
 * waits for the disk, reads wait, too: so what waits is bounded by the connections. */
#include "service/trail_private.h"

#include "base/log.h"

#include <assert.h>

#define HEADERS_MAX 20u
#define USUAL       2048u /* bytes of most records */

/* ---- begin, facts ---- */

void trail_begin(struct service *service, struct http_exchange *x, const char *request_id,
                 bool data_plane)
{
    if (service->cfg.audit == NULL)
        return;
    const struct http_request *req = http_exchange_request(x);
    struct trail *trail = ARENA_NEW(req->arena, struct trail);
    const bool on_heap = trail == NULL;
    /* the arena is full of the request itself */
    if (on_heap && (trail = calloc(1, sizeof *trail)) == NULL)
        abort();
    trail->on_heap = on_heap;
    trail->service = service;
    trail->req = req;
    trail->request_id = request_id;
    trail->data_plane = data_plane;
    buf_init(&trail->entries, 64u << 20);
    http_exchange_keep(x, trail);
}

struct trail *trail_of(struct http_exchange *x)
{
    return http_exchange_kept(x);
}

err_code trail_ready(const struct trail *trail, const char *action, struct err *e)
{
    if (trail == NULL || audit_is_well(trail->service->cfg.audit) ||
        (trail_reads(action) && !trail->service->cfg.audit_strict))
        return ERR_OK;
    return ERR(e, ERR_NO_AUDIT,
               "The audit log cannot be written, so nothing is done that it would have to tell of; "
               "whoever runs this server finds the reason in its log");
}

/* ---- records ---- */

static void add(struct trail *trail, const struct trail_facts *f, const char *error,
                struct buf *out)
{
    struct err e;
    const size_t before = out->len;
    if (trail_record(trail, f, error, trail->n_entries, out, &e) == ERR_OK) {
        trail->n_entries++;
        return;
    }
    /* every part of it is bounded, so this is a fault of ours */
    out->len = before;
    LOG_ERR("audit_record", &e, LOG_STR("request_id", trail->request_id));
}

void trail_entry(struct trail *trail, const struct trail_facts *facts)
{
    if (trail)
        add(trail, facts, err_code_name(facts->rc), &trail->entries);
}

void trail_forget_entries(struct trail *trail)
{
    if (trail == NULL)
        return;
    buf_clear(&trail->entries);
    trail->n_entries = 0;
}

/* The record of the request itself, and those in front of it, are added to the log. Most requests
 * have no others, and theirs fits in here. The trail is gone: where an answer waits, the log's
 * thread may send it before audit_add() is back, and the trail goes with the request. */
static void give(struct trail *trail, const char *error, audit_done_fn done, void *ctx)
{
    struct audit *audit = trail->service->cfg.audit;
    char room[USUAL];
    struct buf own = { room, 0, sizeof room, sizeof room };
    struct err ignored;
    const bool fits =
        trail->n_entries == 0 &&
        trail_record(trail, &trail->facts, error, trail->early.told, &own, &ignored) == ERR_OK;
    if (!fits)
        add(trail, &trail->facts, error, &trail->entries);
    struct buf entries = trail->entries;
    const unsigned n = fits ? 1 : trail->n_entries;
    if (trail->on_heap)
        free(trail);
    audit_add(audit, buf_sv(fits ? &own : &entries), n, done, ctx);
    buf_done(&entries);
}

/* ---- answers that wait ---- */

struct kept_answer {
    struct http_exchange *x;
    unsigned status;
    struct http_header h[HEADERS_MAX];
    size_t n;
    struct buf body;
    const char *request_id;
};

static void say_not_written(struct http_exchange *x, const char *request_id)
{
    static const char text[] =
        "The audit log could not be written; what this request asked for may have been done";
    const bool fhir = sv_starts(http_exchange_request(x)->path, SV_LIT("/datastore/"));
    const struct error_aws *aws = error_as_aws(ERR_NO_AUDIT);
    CLEANUP_BUF struct buf body = BUF_INIT(4096);
    /* bounded text: writing it cannot fail */
    struct err ignored;
    if (fhir)
        IGNORE(error_fhir_body(error_as_fhir(ERR_NO_AUDIT)->issue_type, sv_from(text), &body,
                               &ignored));
    else
        IGNORE(error_aws_body(aws->exception, sv_from(text), &body, &ignored));
    const struct http_header h[] = {
        { SV_LIT("Content-Type"), fhir ? SV_LIT("application/fhir+json;charset=utf-8")
                                       : SV_LIT("application/x-amz-json-1.0") },
        { SV_LIT("x-amzn-RequestId"), sv_from(request_id) },
        { SV_LIT("x-amzn-errortype"), sv_from(aws->exception) },
    };
    LOG(LOG_ERROR, "audit_not_written", LOG_STR("request_id", request_id));
    http_reply(x, aws->status, h, fhir ? 2 : 3, &body);
}

static void answer_kept(void *ctx, bool durable)
{
    struct kept_answer *kept = ctx;
    if (durable)
        http_reply(kept->x, kept->status, kept->h, kept->n, &kept->body);
    else
        say_not_written(kept->x, kept->request_id);
    buf_done(&kept->body);
    free(kept);
}

/* May the request have changed something? What the audit log kept from being done was not begun. */
static bool may_have_changed(const struct trail *trail, unsigned status)
{
    return !trail_reads(trail->facts.action) && trail->facts.rc != ERR_NO_AUDIT &&
           (status < 400 || status >= 500 || trail->n_entries > 1 || status == 429);
}

/* ---- records that go to the disk together with the write ---- */

static char durable_mark, lost_mark; /* how an early record ended */

static void early_done(void *ctx, bool durable)
{
    struct trail *trail = ctx;
    struct kept_answer *kept =
        atomic_exchange(&trail->early.state, durable ? &durable_mark : &lost_mark);
    /* else the trail may be gone already */
    if (kept)
        answer_kept(kept, durable);
}

void trail_early(struct trail *trail, const struct trail_facts *facts)
{
    char room[USUAL];
    struct buf own = { room, 0, sizeof room, sizeof room };
    struct err ignored;
    /* Rare ones, and those of another form, are told when they are answered. */
    if (trail == NULL || trail->on_heap || trail->n_entries || trail->early.told ||
        trail_record(trail, facts, "-", 0, &own, &ignored) != ERR_OK)
        return;
    trail->early.told = true;
    trail->early.status = facts->status;
    trail->early.version = facts->version;
    audit_add_held(trail->service->cfg.audit, buf_sv(&own), 1, early_done, trail);
}

void trail_early_go(struct trail *trail)
{
    if (trail)
        audit_go(trail->service->cfg.audit);
}

/* Is what it tells what came of it? */
static bool early_was_right(const struct trail *trail)
{
    return trail->early.told && trail->facts.rc == ERR_OK &&
           trail->facts.status == trail->early.status &&
           trail->facts.version == trail->early.version;
}

/* The answer leaves when the early record is on disk. */
static void early_reply(struct trail *trail, struct kept_answer *kept)
{
    void *state = NULL;
    /* nothing of it is on the heap: it is not touched any more once the log's thread may answer */
    if (!atomic_compare_exchange_strong(&trail->early.state, &state, kept))
        answer_kept(kept, state == &durable_mark);
}

static struct trail *end(struct http_exchange *x, unsigned status)
{
    struct trail *trail = trail_of(x);
    if (trail == NULL)
        return NULL;
    http_exchange_keep(x, NULL);
    const struct service *service = trail->service;
    const struct service_plane *plane =
        trail->data_plane ? service->cfg.data : service->cfg.control;
    /* It was refused before the plane knew what it asks for. */
    if (trail->facts.action == NULL && plane->name)
        plane->name(trail->req, trail->service, &trail->facts);
    trail->facts.status = status;
    return trail;
}

void trail_end(struct http_exchange *x, unsigned status, const char *error)
{
    struct trail *trail = end(x, status);
    /* what answers in this way writes nothing */
    assert(trail == NULL || !trail->early.told);
    if (trail)
        give(trail, error, NULL, NULL);
}

void trail_reply(struct http_exchange *x, unsigned status, const struct http_header *h, size_t n,
                 struct buf *body, const char *error)
{
    struct trail *trail = end(x, status);
    if (trail == NULL) {
        http_reply(x, status, h, n, body);
        return;
    }
    struct audit *audit = trail->service->cfg.audit;
    const bool well = audit_is_well(audit);
    if (!trail->early.told && !may_have_changed(trail, status) &&
        (!audit_is_pressed(audit) || !well)) {
        give(trail, error, NULL, NULL);
        http_reply(x, status, h, n, body);
        return;
    }
    struct kept_answer *kept = malloc(sizeof *kept);
    if (kept == NULL || n > HEADERS_MAX)
        abort();
    *kept = (struct kept_answer){
        .x = x, .status = status, .n = n, .body = *body, .request_id = trail->request_id
    };
    memcpy(kept->h, h, n * sizeof *h);
    *body = BUF_INIT(body->max);
    /* x may be answered, and gone, from here on */
    if (early_was_right(trail))
        early_reply(trail, kept);
    else
        give(trail, error, answer_kept, kept);
}

/* ---- the service's own ---- */

void trail_backup_asked(struct audit *audit, sv region, sv account_id,
                        const struct trail_backup *backup)
{
    CLEANUP_BUF struct buf record = BUF_INIT(TRAIL_RECORD_MAX);
    struct err e;
    if (trail_backup_record(region, account_id, backup, &record, &e) == ERR_OK)
        audit_add(audit, buf_sv(&record), 1, NULL, NULL);
    else
        /* every part of it is bounded, so this is a fault of ours */
        LOG_ERR("audit_record", &e, LOG_STR("event", "backup"));
}

void trail_job_ended(struct audit *audit, sv region, sv account_id, const struct trail_job *job)
{
    CLEANUP_BUF struct buf record = BUF_INIT(TRAIL_RECORD_MAX);
    struct err e;
    if (trail_job_record(region, account_id, job, &record, &e) == ERR_OK) {
        audit_add(audit, buf_sv(&record), 1, NULL, NULL);
        return;
    }
    /* every part of it is bounded, so this is a fault of ours */
    LOG_ERR("audit_record", &e, LOG_SV("job", job->job_id));
}
