/* bundle_refs.c - links between the entries of a transaction, rewritten before they are stored.
 *
 *   a link in an entry                                   becomes
 *   fullUrl of an entry that writes, with or             Type/id, in references, uris and narrative
 *     without a # behind it
 *   Type/id, where the holder's fullUrl is ROOT/...      as ROOT/Type/id does
 *   fullUrl/_history/N of an entry that creates          Type/id/_history/1
 *   Type?query, a conditional reference                  the only resource that the query finds
 *
 * A conditional reference sees the state after the writes. What the transaction deletes is gone.
 * What it creates or replaces counts as it is in the Bundle, and what it patches as it was.
 * Source: FHIR R4 http.html#trules, bundle.html#references. */
#include "rest/grant_private.h"
#include "rest/route_private.h"
#include "rest/write/bundle_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/json.h"
#include "fhir/links.h"

/* ---- fullUrls ---- */

static int by_url(const void *a, const void *b)
{
    const struct rest_ref *x = a, *y = b;
    int c = sv_cmp(x->full_url, y->full_url);
    return c ? c : (x->entry->at > y->entry->at) - (x->entry->at < y->entry->at);
}

err_code rest_refs_collect(struct rest_bundle *bundle, struct rest_entry **culprit, struct err *e)
{
    struct rest_refs *r = &bundle->refs;
    r->rows = arena_calloc(bundle->a, bundle->in.n + 1, sizeof *r->rows);
    r->found = arena_calloc(bundle->a, LIMIT_BUNDLE_SEARCHES, sizeof *r->found);
    if (r->rows == NULL || r->found == NULL)
        return arena_oom(bundle->a, e);
    for (size_t i = 0; i < bundle->in.n; i++)
        if (bundle->entries[i].in->full_url.len && rest_is_write(bundle->entries[i].call.it) &&
            !rest_entry_is(&bundle->entries[i], "DELETE"))
            r->rows[r->n++] =
                (struct rest_ref){ bundle->entries[i].in->full_url, &bundle->entries[i] };
    if (r->n)
        qsort(r->rows, r->n, sizeof *r->rows, by_url);
    for (size_t i = 1; i < r->n; i++)
        if (sv_eq(r->rows[i - 1].full_url, r->rows[i].full_url)) {
            *culprit = &bundle->entries[r->rows[i].entry->at];
            return ERR(e, ERR_INVALID, "Another entry has the same fullUrl");
        }
    return ERR_OK;
}

static const struct rest_entry *entry_of(const struct rest_refs *r, sv full_url)
{
    size_t lo = 0, hi = r->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = sv_cmp(r->rows[mid].full_url, full_url);
        if (c == 0)
            return r->rows[mid].entry;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static size_t last_slash(sv text)
{
    size_t i = text.len;
    while (i && text.ptr[i - 1] != '/')
        i--;
    /* the index behind it; 0: there is none */
    return i;
}

/* Where Type/id at the end of text begins; text.len: there is none. */
static size_t local_part(sv text)
{
    size_t id = last_slash(text);
    if (id == 0 || !fhir_id_ok(sv_tail(text, id)))
        return text.len;
    size_t type = last_slash(sv_head(text, id - 1));
    return fhir_type_find(sv_make(text.ptr + type, id - 1 - type)) ? type : text.len;
}

/* ROOT/ of a fullUrl such as http://host/fhir/Patient/1. */
static sv root_of(sv full_url)
{
    size_t at = local_part(full_url);
    bool web = sv_starts(full_url, SV_LIT("http://")) || sv_starts(full_url, SV_LIT("https://"));
    return web && at < full_url.len ? sv_head(full_url, at) : SV_NONE;
}

/* ---- conditional references ---- */

static bool is_conditional_ref(const struct rest_call *call, sv text, fhir_type *type, sv *query)
{
    size_t q = sv_find(text, '?');
    if (q == text.len)
        return false;
    sv head = sv_head(text, q);
    if (sv_starts(head, call->base) && head.len > call->base.len && head.ptr[call->base.len] == '/')
        head = sv_tail(head, call->base.len + 1);
    *type = fhir_type_find(head);
    *query = sv_tail(text, q + 1);
    return *type != FHIR_TYPE_NONE;
}

err_code rest_refs_pending(const struct rest_bundle *bundle, const struct query *query,
                           fhir_type type, const struct rest_entry *but,
                           const struct rest_entry **hit, size_t *n, struct err *e)
{
    *hit = NULL;
    *n = 0;
    for (size_t i = 0; i < bundle->in.n; i++) {
        const struct rest_entry *entry = &bundle->entries[i];
        if (entry == but || !entry->p.identified || !entry->p.has_write ||
            entry->call.type != type ||
            !(rest_entry_is(entry, "POST") || rest_entry_is(entry, "PUT")))
            continue;
        int64_t now = clock_wall_ms();
        struct search_subject s = { type, entry->call.id, now, entry->in->resource, now };
        /* An id that is not found was not there before: it is created now. */
        struct err ignored;
        if (query->asks_created)
            IGNORE(
                query_created_ms(bundle->call->st, type, entry->call.id, &s.created_ms, &ignored));
        bool met;
        TRY(query_met(query, &s, &met, e));
        if (!met)
            continue;
        ++*n;
        *hit = entry;
    }
    return ERR_OK;
}

static err_code search_ref(struct rest_bundle *bundle, struct rest_found_ref *f, sv query,
                           struct err *e)
{
    /* The query is kept in bundle->asked, and needs this call. */
    struct rest_call *sub = ARENA_NEW(bundle->work, struct rest_call);
    if (sub == NULL)
        return arena_oom(bundle->work, e);
    *sub = (struct rest_call){ .service = bundle->call->service,
                               .a = bundle->work,
                               .st = bundle->call->st,
                               .ds = bundle->call->ds,
                               .caller = bundle->call->caller,
                               .grant = bundle->call->grant,
                               .base = bundle->call->base,
                               .type = f->type,
                               .clock = bundle->call->clock,
                               .asked = &bundle->asked,
                               .scope = &bundle->refs.scope };
    struct query *q;
    uint64_t version;
    size_t n, n_pending;
    TRY(rest_allowed(sub, "SearchWithGet", e));
    if (query_grant_extent(sub->grant, f->type, SMART_S) == QUERY_NOTHING)
        return ERR(e, ERR_DENIED, "The scopes of the token do not give the search of %s",
                   fhir_type_name(f->type));
    TRY(rest_condition_add(sub, query, e));
    TRY(rest_condition_query(&q, sub, e));
    TRY(rest_condition_one(sub, q, sub->scope, &f->id, &version, &n, e));
    const struct rest_entry *own;
    TRY(rest_refs_pending(bundle, q, f->type, NULL, &own, &n_pending, e));
    if (own)
        f->id = own->call.id;
    if (n + n_pending == 1)
        return ERR_OK;
    return ERR(e, ERR_PRECONDITION, "The conditional reference finds %s %s",
               n + n_pending ? "more than one" : "no", fhir_type_name(f->type));
}

static err_code find_ref(struct rest_bundle *bundle, sv text, fhir_type type, sv query,
                         struct rest_found_ref *out, struct err *e)
{
    struct rest_refs *r = &bundle->refs;
    size_t lo = 0, hi = r->n_found;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = sv_cmp(r->found[mid].text, text);
        if (c == 0) {
            *out = r->found[mid];
            return ERR_OK;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (r->n_found == LIMIT_BUNDLE_SEARCHES)
        return ERR(e, ERR_TOO_LARGE, "A transaction may have %u different conditional references",
                   LIMIT_BUNDLE_SEARCHES);
    *out = (struct rest_found_ref){ arena_sv(bundle->work, text), type, SV_NONE };
    if (out->text.ptr == NULL)
        return arena_oom(bundle->work, e);
    TRY(search_ref(bundle, out, query, e));
    memmove(&r->found[lo + 1], &r->found[lo], (r->n_found - lo) * sizeof *r->found);
    r->found[lo] = *out;
    r->n_found++;
    return ERR_OK;
}

/* ---- one link ---- */

static err_code put(struct rest_bundle *bundle, sv text, const struct rest_entry *entry, sv tail,
                    sv *out, struct err *e)
{
    sv now = arena_fmt(bundle->work, "%s/%.*s%.*s", fhir_type_name(entry->call.type),
                       SV_FMT(entry->call.id), SV_FMT(tail));
    if (now.ptr == NULL)
        return arena_oom(bundle->work, e);
    if (!sv_eq(now, text))
        *out = now;
    return ERR_OK;
}

static err_code link_of(void *ctx, fhir_link_kind kind, sv text, sv *out, struct err *e)
{
    const struct rest_entry *holder = ctx, *to;
    struct rest_bundle *bundle = holder->b;
    sv head = sv_head(text, sv_find(text, '#')), tail = sv_tail(text, head.len), query;
    fhir_type type;
    if (head.len == 0)
        return ERR_OK;
    if ((to = entry_of(&bundle->refs, head)) != NULL)
        return put(bundle, text, to, tail, out, e);
    if (kind != FHIR_LINK_REFERENCE)
        return ERR_OK;
    if (is_conditional_ref(&holder->call, text, &type, &query)) {
        struct rest_found_ref found;
        TRY(find_ref(bundle, text, type, query, &found, e));
        *out = arena_fmt(bundle->work, "%s/%.*s", fhir_type_name(type), SV_FMT(found.id));
        return out->ptr ? ERR_OK : arena_oom(bundle->work, e);
    }
    sv root = root_of(holder->in->full_url), plain = head, whole;
    size_t version = last_slash(head);
    bool versioned = version > 9 && sv_ends(sv_head(head, version), SV_LIT("/_history/"));
    if (versioned)
        plain = sv_head(head, version - 10);
    whole = plain;
    if (root.len && local_part(plain) == 0) {
        whole = arena_fmt(bundle->work, "%.*s%.*s", SV_FMT(root), SV_FMT(plain));
        if (whole.ptr == NULL)
            return arena_oom(bundle->work, e);
    }
    if ((to = entry_of(&bundle->refs, whole)) == NULL || (versioned && !to->fresh))
        return ERR_OK;
    return put(bundle, text, to, versioned ? SV_LIT("/_history/1") : tail, out, e);
}

err_code rest_relink(struct rest_call *call, sv text, struct buf *buf, sv *out, struct err *e)
{
    struct rest_entry *entry = call->entry;
    CLEANUP(arena_free) struct arena *own = NULL;
    yyjson_val *tree = entry->in->resource;
    struct fhir_links links = { .fn = link_of, .ctx = entry };
    /* A patch made the text, so there is no tree of it yet. */
    if (text.ptr != entry->in->text.ptr) {
        yyjson_doc *doc;
        own = arena_new(json_tree_max(text.len));
        TRY(json_read(own, text, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
        tree = yyjson_doc_get_root(doc);
    }
    err_code rc = fhir_links_rewrite(&links, text, tree, buf, e);
    if (rc != ERR_OK && links.where[0]) {
        sv where = arena_fmt(entry->b->a, ".resource%s", links.where);
        entry->where = where.ptr ? where.ptr : ".resource";
    }
    TRY(rc);
    *out = buf_sv(buf);
    return ERR_OK;
}
