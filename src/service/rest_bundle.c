/* rest_bundle.c - POST [base]: a Bundle is read, its entries become calls, a batch is run, the answer is written.
 *
 * A batch runs in the order of its entries. Creates and plain updates that follow each other are one commit, so
 * that five hundred of them wait for the disk once; whatever else comes makes its own.
 *
 *   memory   tree (LIMIT_BUNDLE_TREE_BYTES) + work, emptied after each group + the answer (its buf's cap; past
 *            LIMIT_MAKING_FREE_BYTES with a place for it)
 *   time     LIMIT_BUNDLE_SECONDS; what is left of a batch then is answered 504
 *
 * The answer keeps room for a line about every entry: a resource that has no place in it is left out and said so. */
#include "service/rest_bundle.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/hash.h"
#include "codec/json.h"

#define ANSWER_LEAST \
    (4u << 10) /* bytes kept free for the answer of each entry that is still to come */
#define GROUP_BYTES (8u << 20) /* of one commit of a batch */

bool rest_entry_is(const struct rest_entry *en, const char *method)
{
    return sv_eq_cstr(en->in->method, method);
}

err_code rest_bundle_time(const struct rest_bundle *b, struct err *e)
{
    err_code rc = rest_breathe(b->c, e);
    return rc != ERR_TIMEOUT ? rc
                             : ERR(e, rc,
                                   "The time for one Bundle, %u seconds (%u while others "
                                   "wait), is over",
                                   LIMIT_BUNDLE_SECONDS, LIMIT_BUNDLE_SOFT_SECONDS);
}

/* ---- an entry becomes a call ---- */

/* Relative to [base], with or without a slash in front, or absolute below our own. */
static err_code split_url(struct rest_entry *en, struct err *e)
{
    struct rest_call *c = &en->c;
    sv url = en->in->url;
    en->where = ".request.url";
    if (sv_starts(url, c->base) && (url.len == c->base.len || strchr("/?", url.ptr[c->base.len])))
        url = sv_tail(url, c->base.len);
    if (sv_starts(url, SV_LIT("/")))
        url = sv_tail(url, 1);
    size_t q = sv_find(url, '?');
    c->in.path = sv_head(url, q);
    c->in.query = sv_tail(url, q + 1);
    if (memchr(c->in.path.ptr, ':', c->in.path.len))
        return ERR(
            e, ERR_INVALID,
            "request.url must be relative to [base], or below the [base] that was posted to");
    if (memchr(url.ptr, '#', url.len))
        return ERR(e, ERR_INVALID, "request.url must not have a fragment");
    return ERR_OK;
}

/* A JSON Patch comes as a Binary. Source: http.html#patch, "Patch in a batch or transaction". */
static err_code binary_patch(struct rest_entry *en, struct err *e)
{
    struct rest_call *c = &en->c;
    CLEANUP_BUF struct buf b = BUF_INIT(LIMIT_DATA_BODY_BYTES);
    sv data = json_string(json_get(en->in->resource, "data"));
    c->in.content_type = json_string(json_get(en->in->resource, "contentType"));
    en->where = ".resource.contentType";
    if (c->in.content_type.len == 0)
        return ERR(e, ERR_INVALID, "A Binary that is a patch needs its contentType");
    en->where = ".resource.data";
    if (data.len == 0)
        return ERR(e, ERR_INVALID, "A Binary that is a patch needs its data");
    TRY(hash_base64_decode(data, &b, e));
    c->in.body = arena_sv(c->a, rest_without_mark(buf_sv(&b)));
    return c->in.body.ptr ? ERR_OK : arena_oom(c->a, e);
}

static err_code body(struct rest_entry *en, struct err *e)
{
    const struct fhir_bundle_entry *in = en->in;
    if (!rest_entry_is(en, "POST") && !rest_entry_is(en, "PUT") && !rest_entry_is(en, "PATCH"))
        return ERR_OK;
    if (in->resource == NULL)
        return ERR_OK;
    if (rest_entry_is(en, "PATCH") &&
        sv_eq(json_string(json_get(in->resource, "resourceType")), SV_LIT("Binary")))
        return binary_patch(en, e);
    en->c.in.body = in->text;
    en->c.in.content_type = SV_LIT("application/fhir+json");
    return ERR_OK;
}

/* Shapes that are no interaction on resources are not for entries; a Bundle is not for a Bundle. */
static bool offered(const struct rest_interaction *it)
{
    switch (it->shape) {
    case REST_SYSTEM:
        return it->fn != rest_bundle;
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

err_code rest_entry_open(struct rest_entry *en, struct arena *a, struct err *e)
{
    const struct rest_call *up = en->b->c;
    const struct fhir_bundle_entry *in = en->in;
    struct rest_call *c = &en->c;
    *c = (struct rest_call){ .s = up->s,
                             .a = a,
                             .st = up->st,
                             .ds = up->ds,
                             .caller = up->caller,
                             .base = up->base,
                             .in_bundle = true,
                             .clock = up->clock };
    buf_init(&c->out.body, up->out.body.max);
    en->where = in->where;
    if (in->fault)
        return ERR(e, ERR_INVALID, "%s", in->fault);
    c->in = (struct rest_request){ .method = in->method,
                                   .prefer = up->in.prefer,
                                   .validation_level = up->in.validation_level,
                                   .if_match = in->if_match,
                                   .if_none_match = in->if_none_match,
                                   .if_none_exist = in->if_none_exist,
                                   .if_modified_since = in->if_modified_since };
    TRY(split_url(en, e));
    err_code rc = rest_route(c, e);
    if (rc == ERR_METHOD)
        en->where = ".request.method";
    TRY(rc);
    if (!offered(c->it))
        return ERR(e, ERR_METHOD, "This interaction is not offered in a Bundle");
    en->where = "";
    TRY(rest_allowed_here(c, e));
    TRY(body(en, e));
    en->where = ".resource";
    if (c->it->fn == rest_write && c->in.body.len == 0 && !rest_entry_is(en, "DELETE"))
        return ERR(e, ERR_INVALID, "%.*s needs a resource in its entry", SV_FMT(in->method));
    return ERR_OK;
}

/* ---- the answer ---- */

err_code rest_entry_issues(struct rest_entry *en, struct arena *a, struct rest_issue_list *out,
                           struct err *e)
{
    const struct rest_issue_list *own = &en->c.issues;
    size_t n = own->n ? own->n : 1;
    struct rest_issue *all = arena_calloc(a, n, sizeof *all);
    if (all == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < own->n; i++) { /* "Patient.name[0]" */
        sv path = sv_tail(own->items[i].path, sv_find(own->items[i].path, '.'));
        all[i] = own->items[i];
        all[i].text = arena_sv(a, own->items[i].text);
        all[i].path = arena_fmt(a, "Bundle.entry[%zu].resource%.*s", en->at, SV_FMT(path));
    }
    if (own->n == 0)
        all[0] = (struct rest_issue){ "error", error_as_fhir(en->rc)->issue_type,
                                      arena_sv(a, sv_from(en->e.msg)),
                                      arena_fmt(a, "Bundle.entry[%zu]%s", en->at, en->where) };
    for (size_t i = 0; i < n; i++)
        if (all[i].text.ptr == NULL || all[i].path.ptr == NULL)
            return arena_oom(a, e);
    *out = (struct rest_issue_list){ all, n };
    return ERR_OK;
}

static size_t room(const struct rest_entry *en)
{
    const struct rest_bundle *b = en->b;
    size_t kept = (b->in.n - en->at) * (size_t)ANSWER_LEAST + b->w.out->len;
    return kept < b->w.out->max ? b->w.out->max - kept : 0;
}

/* Its body becomes an outcome. */
static void failed(struct rest_entry *en)
{
    struct rest_call *c = &en->c;
    struct rest_issue_list issues;
    struct err ignored;
    en->e.code = en->rc;
    if (rest_entry_issues(en, c->a, &issues, &ignored) == ERR_OK)
        c->issues = issues;
    c->out.status = rest_error(c, &en->e, &c->out.body);
}

static void response(struct rest_entry *en, sv outcome)
{
    struct json_writer *w = &en->b->w;
    const struct rest_call *c = &en->c;
    const struct rest_answer *o = &c->out;
    char when[INSTANT_LEN], text[80];
    json_key(w, "response");
    json_obj(w);
    json_kv_str(w, "status", sv_make(text, (size_t)snprintf(text, sizeof text, "%u", o->status)));
    if (o->about && en->rc == ERR_OK) {
        if (c->it->fn == rest_write && !rest_entry_is(en, "DELETE"))
            json_kv_str(w, "location",
                        arena_fmt(c->a, "%s/%.*s/_history/%llu", fhir_type_name(o->type),
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

void rest_entry_answer(struct rest_entry *en)
{
    struct json_writer *w = &en->b->w;
    struct rest_call *c = &en->c;
    if (en->rc != ERR_OK)
        failed(en);
    if (rest_entry_is(en, "HEAD") && en->rc == ERR_OK)
        buf_clear(&c->out.body);
    bool writes = c->it && c->it->fn == rest_write;
    struct err ignored; /* what has no place is left out: the resource tells it as well */
    if (c->out.body.len > room(en) ||
        rest_may_grow(c, w->out->len + c->out.body.len, &ignored) != ERR_OK) {
        buf_clear(&c->out.body);
        if (en->rc == ERR_OK && !writes) {
            en->where = "";
            en->rc = ERR(&en->e, ERR_TOO_LARGE,
                         "The answer to this Bundle has no room for it: ask for it alone");
            failed(en);
        }
    }
    bool outcome = c->out.body.len &&
                   (en->rc != ERR_OK || (writes && rest_prefers(c, "return=OperationOutcome")));
    CLEANUP_BUF struct buf told = BUF_INIT(room(en) - c->out.body.len);
    if (writes && en->rc == ERR_OK && !outcome && rest_told_write(c, &told, &ignored) != ERR_OK)
        buf_clear(&told);
    json_obj(w);
    if (c->out.body.len && !outcome) {
        if (c->out.about && c->it->shape != REST_VERSION)
            json_kv_str(w, "fullUrl",
                        arena_fmt(c->a, "%.*s/%s/%.*s", SV_FMT(c->base),
                                  fhir_type_name(c->out.type), SV_FMT(c->out.id)));
        json_key(w, "resource");
        json_raw(w, buf_sv(&c->out.body));
    }
    response(en, outcome ? buf_sv(&c->out.body) : buf_sv(&told));
    json_obj_end(w);
    en->b->c->out.issues_stored |= c->out.issues_stored;
    rest_pending_done(&en->p);
    buf_done(&c->out.body);
}

/* ---- batch ---- */

/* Nothing can refuse it but the disk: such writes share a commit. */
static bool plain(const struct rest_entry *en)
{
    const struct rest_call *c = &en->c;
    return c->it->fn == rest_write && !rest_is_conditional(c) && c->in.if_match.len == 0 &&
           c->in.if_none_match.len == 0 &&
           (rest_entry_is(en, "POST") || (rest_entry_is(en, "PUT") && !rest_is_immutable(c->type)));
}

static bool in_group(const struct rest_bundle *b, size_t from, const struct rest_entry *en)
{
    for (size_t i = from; i < en->at; i++) {
        const struct rest_entry *x = &b->entries[i];
        if (x->rc == ERR_OK && x->p.w.type == en->p.w.type && sv_eq(x->p.w.id, en->p.w.id))
            return true;
    }
    return false;
}

/* Entries [from, to) are prepared: commit them and answer. */
static void group_write(struct rest_bundle *b, size_t from, size_t to)
{
    static const struct err none;
    struct store_write writes[LIMIT_BUNDLE_ENTRIES];
    struct store_commit at;
    struct err e = none;
    err_code rc = ERR_OK;
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        if (b->entries[i].rc == ERR_OK)
            writes[n++] = b->entries[i].p.w;
    if (n)
        rc = store_commit(b->c->st, writes, n, &at, &e);
    n = 0;
    for (size_t i = from; i < to; i++) {
        struct rest_entry *en = &b->entries[i];
        if (en->rc == ERR_OK) {
            en->p.w = writes[n++];
            en->e = e;
            en->where = "";
            en->rc = rc == ERR_OK ? rest_written(&en->c, &en->p, &at, &en->e) : rc;
        }
        rest_entry_answer(en);
    }
}

static void batch(struct rest_bundle *b)
{
    size_t from = 0, bytes = 0;
    for (size_t i = 0; i < b->in.n; i++) {
        struct rest_entry *en = &b->entries[i];
        en->rc = rest_entry_open(en, b->work, &en->e);
        if (en->rc == ERR_OK && (en->rc = rest_bundle_time(b, &en->e)) == ERR_OK && !plain(en)) {
            group_write(b, from, i);
            en->where = "";
            en->rc = en->c.it->fn(&en->c, &en->e);
            rest_entry_answer(en);
            from = i + 1;
        } else if (en->rc == ERR_OK) {
            en->rc = rest_prepare(&en->c, &en->p, &en->e);
            if (en->rc == ERR_OK && in_group(b, from, en)) {
                group_write(b, from, i);
                from = i;
            }
            bytes += en->p.stored.len + en->p.index.len;
        }
        if (bytes > GROUP_BYTES) {
            group_write(b, from, i + 1);
            from = i + 1;
        }
        if (from == i + 1) { /* nobody needs what was made so far */
            arena_reset(b->work);
            bytes = 0;
        }
    }
    group_write(b, from, b->in.n);
}

/* ---- the call ---- */

static err_code open_bundle(struct rest_bundle *b, bool *transaction, struct err *e)
{
    struct rest_call *c = b->c;
    TRY(rest_json_body(c, e));
    if (c->in.idempotency_key.ptr)
        return ERR(e, ERR_INVALID,
                   "x-amz-fhir-idempotency-key is for a create; in a Bundle use ifNoneExist");
    if (rest_prefers(c, "respond-async"))
        return ERR(
            e, ERR_UNSUPPORTED,
            "Prefer: respond-async is not offered for Bundles: without it the answer comes when "
            "the Bundle is done");
    if (c->in.if_match.ptr || c->in.if_none_match.ptr || c->in.if_none_exist.ptr)
        return ERR(e, ERR_INVALID,
                   "If-Match, If-None-Match and If-None-Exist of a Bundle stand in its entries");
    int64_t ignored;
    if (rest_unmodified_read(c->in.if_unmodified_since, &ignored))
        return ERR(e, ERR_INVALID,
                   "If-Unmodified-Since is about one resource; entries of a Bundle have ifMatch");
    TRY(fhir_bundle_read(c->in.body, b->a, LIMIT_BUNDLE_ENTRIES, &b->in, e));
    *transaction = sv_eq(b->in.type, SV_LIT("transaction"));
    if (!*transaction && !sv_eq(b->in.type, SV_LIT("batch")))
        return ERR(
            e, ERR_INVALID,
            "A Bundle posted to [base] must be a batch or a transaction; one of another type "
            "is stored with POST [base]/Bundle");
    b->entries = arena_calloc(b->a, b->in.n + 1, sizeof *b->entries);
    if (b->entries == NULL)
        return arena_oom(b->a, e);
    for (size_t i = 0; i < b->in.n; i++) {
        b->entries[i].b = b;
        b->entries[i].in = &b->in.entries[i];
        b->entries[i].at = i;
        b->entries[i].where = "";
    }
    return ERR_OK;
}

static void answer_begin(struct rest_bundle *b, bool transaction)
{
    char now[INSTANT_LEN];
    instant_format(clock_wall_ms(), now);
    json_writer_init(&b->w, &b->c->out.body);
    json_obj(&b->w);
    json_kv_str(&b->w, "resourceType", SV_LIT("Bundle"));
    json_kv_str(&b->w, "type",
                transaction ? SV_LIT("transaction-response") : SV_LIT("batch-response"));
    json_kv_str(&b->w, "timestamp", sv_make(now, INSTANT_LEN));
    if (b->in.n) { /* an empty array is not FHIR */
        json_key(&b->w, "entry");
        json_arr(&b->w);
    }
}

static err_code answer_end(struct rest_bundle *b, struct err *e)
{
    if (b->in.n)
        json_arr_end(&b->w);
    json_obj_end(&b->w);
    b->c->out.status = 200;
    return json_writer_end(&b->w, e);
}

err_code rest_bundle(struct rest_call *c, struct err *e)
{
    CLEANUP(arena_free) struct arena *tree = arena_new(LIMIT_BUNDLE_TREE_BYTES);
    CLEANUP(arena_free) struct arena *work = arena_new(LIMIT_BUNDLE_WORK_BYTES);
    struct rest_bundle b = { .c = c, .a = tree, .work = work };
    bool transaction = false;
    err_code rc = open_bundle(&b, &transaction, e);
    if (rc == ERR_OK)
        answer_begin(&b, transaction);
    if (rc == ERR_OK && transaction)
        rc = rest_transaction(&b, e);
    else if (rc == ERR_OK)
        batch(&b);
    for (size_t i = 0; b.entries && i < b.in.n; i++) { /* those that had no answer */
        rest_pending_done(&b.entries[i].p);
        buf_done(&b.entries[i].c.out.body);
    }
    return rc == ERR_OK ? answer_end(&b, e) : rc;
}
