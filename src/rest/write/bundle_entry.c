/* bundle_entry.c - one entry of a Bundle: it becomes a call, as if it were a request of its own,
 * and its answer becomes a part of the Bundle's.
 *
 * The Bundle's answer keeps some room for each entry that is still to come. A resource that does
 * not fit into the rest is left out, and the answer says so. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"
#include "rest/params_private.h"
#include "rest/route_private.h"
#include "rest/write/bundle_private.h"

#include "base/limits.h"
#include "codec/hash.h"
#include "codec/json.h"

#define ANSWER_LEAST \
    (4u << 10) /* bytes that stay free for the answer of each entry that is still to come */

bool rest_entry_is(const struct rest_entry *entry, const char *method)
{
    return sv_eq_cstr(entry->in->method, method);
}

err_code rest_bundle_time(const struct rest_bundle *bundle, struct err *e)
{
    err_code rc = rest_breathe(bundle->call, e);
    return rc != ERR_TIMEOUT ? rc
                             : ERR(e, rc,
                                   "The time for one Bundle, %u seconds (%u while others "
                                   "wait), is over",
                                   LIMIT_BUNDLE_SECONDS, LIMIT_BUNDLE_SOFT_SECONDS);
}

/* request.url is relative to [base], with or without a slash in front, or absolute below our own
 * [base]. */
static err_code split_url(struct rest_entry *entry, struct err *e)
{
    struct rest_call *call = &entry->call;
    sv url = entry->in->url;
    entry->where = ".request.url";
    if (sv_starts(url, call->base) &&
        (url.len == call->base.len || strchr("/?", url.ptr[call->base.len])))
        url = sv_tail(url, call->base.len);
    if (sv_starts(url, SV_LIT("/")))
        url = sv_tail(url, 1);
    size_t q = sv_find(url, '?');
    call->in.path = sv_head(url, q);
    call->in.query = sv_tail(url, q + 1);
    if (memchr(call->in.path.ptr, ':', call->in.path.len))
        return ERR(
            e, ERR_INVALID,
            "request.url must be relative to [base], or below the [base] that was posted to");
    if (memchr(url.ptr, '#', url.len))
        return ERR(e, ERR_INVALID, "request.url must not have a fragment");
    return ERR_OK;
}

/* A JSON Patch comes as a Binary. Source: http.html#patch, "Patch in a batch or transaction". */
static err_code binary_patch(struct rest_entry *entry, struct err *e)
{
    struct rest_call *call = &entry->call;
    CLEANUP_BUF struct buf b = BUF_INIT(LIMIT_DATA_BODY_BYTES);
    sv data = json_string(json_get(entry->in->resource, "data"));
    call->in.content_type = json_string(json_get(entry->in->resource, "contentType"));
    entry->where = ".resource.contentType";
    if (call->in.content_type.len == 0)
        return ERR(e, ERR_INVALID, "A Binary that is a patch needs its contentType");
    entry->where = ".resource.data";
    if (data.len == 0)
        return ERR(e, ERR_INVALID, "A Binary that is a patch needs its data");
    TRY(hash_base64_decode(data, &b, e));
    call->in.body = arena_sv(call->a, rest_without_mark(buf_sv(&b)));
    return call->in.body.ptr ? ERR_OK : arena_oom(call->a, e);
}

static err_code body(struct rest_entry *entry, struct err *e)
{
    const struct fhir_bundle_entry *in = entry->in;
    if (!rest_entry_is(entry, "POST") && !rest_entry_is(entry, "PUT") &&
        !rest_entry_is(entry, "PATCH"))
        return ERR_OK;
    if (in->resource == NULL)
        return ERR_OK;
    if (rest_entry_is(entry, "PATCH") &&
        sv_eq(json_string(json_get(in->resource, "resourceType")), SV_LIT("Binary")))
        return binary_patch(entry, e);
    entry->call.in.body = in->text;
    entry->call.in.content_type = SV_LIT("application/fhir+json");
    return ERR_OK;
}

/* An entry may ask for interactions on resources. It cannot be a Bundle, or about an export. */
static bool offered(const struct rest_interaction *it)
{
    switch (it->shape) {
    case REST_SYSTEM:
        return !rest_is_bundle(it);
    case REST_METADATA:
    case REST_SYSTEM_HISTORY:
    case REST_SYSTEM_SEARCH:
    case REST_TYPE:
    case REST_TYPE_SEARCH:
    case REST_TYPE_HISTORY:
    case REST_TYPE_VALIDATE:
    case REST_INSTANCE:
    case REST_INSTANCE_HISTORY:
    case REST_VERSION:
    case REST_EVERYTHING:
    case REST_VALIDATE:
    case REST_COMPARTMENT:
        return true;
    default:
        return false;
    }
}

/* A transaction is all or nothing: when its first entry of a kind has passed, the others of the
 * kind do, too. Else one of more searches than a bucket holds would never pass. */
static err_code count(struct rest_entry *entry, struct err *e)
{
    struct rest_call *call = &entry->call;
    uint32_t bit = (uint32_t)(UINT64_C(1) << quota_kind_of(sv_from(call->it->action)));
    TRY(rest_quota_take(call, (entry->b->kinds_counted & bit) != 0, e));
    if (sv_eq(entry->b->in.type, SV_LIT("transaction")))
        entry->b->kinds_counted |= bit;
    return ERR_OK;
}

err_code rest_entry_open(struct rest_entry *entry, struct arena *a, struct err *e)
{
    const struct rest_call *up = entry->b->call;
    const struct fhir_bundle_entry *in = entry->in;
    struct rest_call *c = &entry->call;
    *c = (struct rest_call){ .service = up->service,
                             .a = a,
                             .st = up->st,
                             .ds = up->ds,
                             .caller = up->caller,
                             .grant = up->grant,
                             .base = up->base,
                             .in_bundle = true,
                             .trail = up->trail,
                             .clock = up->clock };
    c->caller.by = (struct policy_by){ 0 };
    buf_init(&c->out.body, up->out.body.max);
    entry->where = in->where;
    if (in->fault)
        return ERR(e, ERR_INVALID, "%s", in->fault);
    c->in = (struct rest_request){ .method = in->method,
                                   .prefer = up->in.prefer,
                                   .validation_level = up->in.validation_level,
                                   .if_match = in->if_match,
                                   .if_none_match = in->if_none_match,
                                   .if_none_exist = in->if_none_exist,
                                   .if_modified_since = in->if_modified_since };
    TRY(split_url(entry, e));
    err_code rc = rest_route(c, e);
    if (rc == ERR_METHOD)
        entry->where = ".request.method";
    TRY(rc);
    if (!offered(c->it))
        return ERR(e, ERR_METHOD, "This interaction is not offered in a Bundle");
    entry->where = "";
    TRY(rest_allowed_here(c, e));
    TRY(rest_grant_allows(c, e));
    /* writes were counted with the Bundle, by its size */
    if (!rest_is_write(c->it))
        TRY(count(entry, e));
    TRY(body(entry, e));
    entry->where = ".resource";
    if (rest_is_write(c->it) && c->in.body.len == 0 && !rest_entry_is(entry, "DELETE"))
        return ERR(e, ERR_INVALID, "%.*s needs a resource in its entry", SV_FMT(in->method));
    return ERR_OK;
}

err_code rest_entry_issues(struct rest_entry *entry, struct arena *a, struct rest_issue_list *out,
                           struct err *e)
{
    const struct rest_issue_list *own = &entry->call.issues;
    size_t n = own->n ? own->n : 1;
    struct rest_issue *all = arena_calloc(a, n, sizeof *all);
    if (all == NULL)
        return arena_oom(a, e);
    /* "Patient.name[0]" becomes "Bundle.entry[3].resource.name[0]". */
    for (size_t i = 0; i < own->n; i++) {
        sv path = sv_tail(own->items[i].path, sv_find(own->items[i].path, '.'));
        all[i] = own->items[i];
        all[i].text = arena_sv(a, own->items[i].text);
        all[i].path = arena_fmt(a, "Bundle.entry[%zu].resource%.*s", entry->at, SV_FMT(path));
    }
    if (own->n == 0)
        all[0] =
            (struct rest_issue){ "error", error_as_fhir(entry->rc)->issue_type,
                                 arena_sv(a, sv_from(entry->e.msg)),
                                 arena_fmt(a, "Bundle.entry[%zu]%s", entry->at, entry->where) };
    for (size_t i = 0; i < n; i++)
        if (all[i].text.ptr == NULL || all[i].path.ptr == NULL)
            return arena_oom(a, e);
    *out = (struct rest_issue_list){ all, n };
    return ERR_OK;
}

static size_t room(const struct rest_entry *entry)
{
    const struct rest_bundle *bundle = entry->b;
    size_t kept = (bundle->in.n - entry->at) * (size_t)ANSWER_LEAST + bundle->w.out->len;
    return kept < bundle->w.out->max ? bundle->w.out->max - kept : 0;
}

/* The body of a failed entry becomes an OperationOutcome. */
static void failed(struct rest_entry *entry)
{
    struct rest_call *call = &entry->call;
    struct rest_issue_list issues;
    struct err ignored;
    entry->e.code = entry->rc;
    if (rest_entry_issues(entry, call->a, &issues, &ignored) == ERR_OK)
        call->issues = issues;
    call->out.status = rest_error(call, &entry->e, &call->out.body);
}

static void response(struct rest_entry *entry, sv outcome)
{
    struct json_writer *w = &entry->b->w;
    const struct rest_call *call = &entry->call;
    const struct rest_answer *o = &call->out;
    char when[INSTANT_LEN], text[80];
    json_key(w, "response");
    json_obj(w);
    json_kv_str(w, "status", sv_make(text, (size_t)snprintf(text, sizeof text, "%u", o->status)));
    if (o->about && entry->rc == ERR_OK) {
        if (rest_is_write(call->it) && !rest_entry_is(entry, "DELETE"))
            json_kv_str(w, "location",
                        arena_fmt(call->a, "%s/%.*s/_history/%llu", fhir_type_name(o->type),
                                  SV_FMT(o->id), (unsigned long long)o->version));
        json_kv_str(w, "etag",
                    sv_make(text, (size_t)snprintf(text, sizeof text, "W/\"%llu\"",
                                                   (unsigned long long)o->version)));
        instant_format(o->instant_ms, when);
        json_kv_str(w, "lastModified", sv_make(when, INSTANT_LEN));
    }
    if (outcome.len) {
        json_key(w, "outcome");
        json_raw(w, outcome);
    }
    json_obj_end(w);
}

void rest_entry_answer(struct rest_entry *entry)
{
    struct json_writer *w = &entry->b->w;
    struct rest_call *call = &entry->call;
    if (entry->rc != ERR_OK)
        failed(entry);
    if (rest_entry_is(entry, "HEAD") && entry->rc == ERR_OK)
        buf_clear(&call->out.body);
    bool writes = call->it && rest_is_write(call->it);
    /* A body for which there is no room is left out; after a write, a read of the resource tells
     * the same. */
    struct err ignored;
    if (call->out.body.len > room(entry) ||
        rest_may_grow(call, w->out->len + call->out.body.len, &ignored) != ERR_OK) {
        buf_clear(&call->out.body);
        if (entry->rc == ERR_OK && !writes) {
            entry->where = "";
            entry->rc = ERR(&entry->e, ERR_TOO_LARGE,
                            "The answer to this Bundle has no room for it: ask for it alone");
            failed(entry);
        }
    }
    bool outcome =
        call->out.body.len &&
        (entry->rc != ERR_OK || (writes && rest_prefers(call, "return=OperationOutcome")));
    CLEANUP_BUF struct buf told = BUF_INIT(room(entry) - call->out.body.len);
    if (writes && entry->rc == ERR_OK && !outcome &&
        rest_told_write(call, &told, &ignored) != ERR_OK)
        buf_clear(&told);
    json_obj(w);
    if (call->out.body.len && !outcome) {
        if (call->out.about && call->it->shape != REST_VERSION)
            json_kv_str(w, "fullUrl",
                        arena_fmt(call->a, "%.*s/%s/%.*s", SV_FMT(call->base),
                                  fhir_type_name(call->out.type), SV_FMT(call->out.id)));
        json_key(w, "resource");
        json_raw(w, buf_sv(&call->out.body));
    }
    response(entry, outcome ? buf_sv(&call->out.body) : buf_sv(&told));
    json_obj_end(w);
    entry->b->call->out.issues_stored |= call->out.issues_stored;
    rest_trail_entry(call, entry->rc);
    rest_pending_done(&entry->p);
    buf_done(&call->out.body);
}
