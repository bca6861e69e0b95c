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

err_code rest_refs_collect(struct rest_bundle *b, struct rest_entry **culprit, struct err *e)
{
    struct rest_refs *r = &b->refs;
    r->rows = arena_calloc(b->a, b->in.n + 1, sizeof *r->rows);
    r->found = arena_calloc(b->a, LIMIT_BUNDLE_SEARCHES, sizeof *r->found);
    if (r->rows == NULL || r->found == NULL)
        return arena_oom(b->a, e);
    for (size_t i = 0; i < b->in.n; i++)
        if (b->entries[i].in->full_url.len && rest_is_write(b->entries[i].c.it) &&
            !rest_entry_is(&b->entries[i], "DELETE"))
            r->rows[r->n++] = (struct rest_ref){ b->entries[i].in->full_url, &b->entries[i] };
    if (r->n)
        qsort(r->rows, r->n, sizeof *r->rows, by_url);
    for (size_t i = 1; i < r->n; i++)
        if (sv_eq(r->rows[i - 1].full_url, r->rows[i].full_url)) {
            *culprit = &b->entries[r->rows[i].entry->at];
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

static bool is_conditional_ref(const struct rest_call *c, sv text, fhir_type *type, sv *query)
{
    size_t q = sv_find(text, '?');
    if (q == text.len)
        return false;
    sv head = sv_head(text, q);
    if (sv_starts(head, c->base) && head.len > c->base.len && head.ptr[c->base.len] == '/')
        head = sv_tail(head, c->base.len + 1);
    *type = fhir_type_find(head);
    *query = sv_tail(text, q + 1);
    return *type != FHIR_TYPE_NONE;
}

static err_code note(void *ctx, fhir_link_kind kind, sv text, sv *out, struct err *e)
{
    const struct rest_call *c = ctx;
    fhir_type type;
    sv query;
    (void)out;
    if (kind == FHIR_LINK_REFERENCE && is_conditional_ref(c, text, &type, &query))
        return ERR(e, ERR_EOF, "found");
    return ERR_OK;
}

bool rest_refs_conditional(struct rest_bundle *b)
{
    for (size_t i = 0; i < b->in.n; i++) {
        struct rest_entry *en = &b->entries[i];
        struct fhir_links links = { .fn = note, .ctx = &en->c };
        struct err e;
        if (!rest_is_write(en->c.it) || en->c.in.body.len == 0)
            continue;
        if (rest_entry_is(en, "PATCH")) {
            if (memchr(en->c.in.body.ptr, '?', en->c.in.body.len))
                return true;
        } else if (fhir_links_rewrite(&links, en->in->text, en->in->resource, NULL, &e) ==
                   ERR_EOF) {
            return true;
        }
    }
    return false;
}

err_code rest_refs_pending(const struct rest_bundle *b, const struct query *query, fhir_type type,
                           const struct rest_entry *but, const struct rest_entry **hit, size_t *n,
                           struct err *e)
{
    *hit = NULL;
    *n = 0;
    for (size_t i = 0; i < b->in.n; i++) {
        const struct rest_entry *en = &b->entries[i];
        if (en == but || !en->p.identified || !en->p.has_write || en->c.type != type ||
            !(rest_entry_is(en, "POST") || rest_entry_is(en, "PUT")))
            continue;
        int64_t now = clock_wall_ms();
        struct search_subject s = { type, en->c.id, now, en->in->resource, now };
        /* An id that is not found was not there before: it is created now. */
        struct err ignored;
        if (query->asks_created)
            IGNORE(query_created_ms(b->c->st, type, en->c.id, &s.created_ms, &ignored));
        bool met;
        TRY(query_met(query, &s, &met, e));
        if (!met)
            continue;
        ++*n;
        *hit = en;
    }
    return ERR_OK;
}

static err_code search_ref(struct rest_bundle *b, struct rest_found_ref *f, sv query, struct err *e)
{
    /* The query is kept in b->asked, and needs this call. */
    struct rest_call *sub = ARENA_NEW(b->work, struct rest_call);
    if (sub == NULL)
        return arena_oom(b->work, e);
    *sub = (struct rest_call){ .s = b->c->s,
                               .a = b->work,
                               .st = b->c->st,
                               .ds = b->c->ds,
                               .caller = b->c->caller,
                               .base = b->c->base,
                               .type = f->type,
                               .clock = b->c->clock,
                               .asked = &b->asked,
                               .scope = &b->refs.scope };
    struct query *q;
    uint64_t version;
    size_t n, n_pending;
    TRY(rest_allowed(sub, "SearchWithGet", e));
    TRY(rest_condition_add(sub, query, e));
    TRY(rest_condition_query(&q, sub, e));
    TRY(rest_condition_one(sub, q, sub->scope, &f->id, &version, &n, e));
    const struct rest_entry *own;
    TRY(rest_refs_pending(b, q, f->type, NULL, &own, &n_pending, e));
    if (own)
        f->id = own->c.id;
    if (n + n_pending == 1)
        return ERR_OK;
    return ERR(e, ERR_PRECONDITION, "The conditional reference finds %s %s",
               n + n_pending ? "more than one" : "no", fhir_type_name(f->type));
}

static err_code find_ref(struct rest_bundle *b, sv text, fhir_type type, sv query,
                         struct rest_found_ref *out, struct err *e)
{
    struct rest_refs *r = &b->refs;
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
    *out = (struct rest_found_ref){ arena_sv(b->work, text), type, SV_NONE };
    if (out->text.ptr == NULL)
        return arena_oom(b->work, e);
    TRY(search_ref(b, out, query, e));
    memmove(&r->found[lo + 1], &r->found[lo], (r->n_found - lo) * sizeof *r->found);
    r->found[lo] = *out;
    r->n_found++;
    return ERR_OK;
}

/* ---- one link ---- */

static err_code put(struct rest_bundle *b, sv text, const struct rest_entry *to, sv tail, sv *out,
                    struct err *e)
{
    sv now = arena_fmt(b->work, "%s/%.*s%.*s", fhir_type_name(to->c.type), SV_FMT(to->c.id),
                       SV_FMT(tail));
    if (now.ptr == NULL)
        return arena_oom(b->work, e);
    if (!sv_eq(now, text))
        *out = now;
    return ERR_OK;
}

static err_code link_of(void *ctx, fhir_link_kind kind, sv text, sv *out, struct err *e)
{
    const struct rest_entry *holder = ctx, *to;
    struct rest_bundle *b = holder->b;
    sv head = sv_head(text, sv_find(text, '#')), tail = sv_tail(text, head.len), query;
    fhir_type type;
    if (head.len == 0)
        return ERR_OK;
    if ((to = entry_of(&b->refs, head)) != NULL)
        return put(b, text, to, tail, out, e);
    if (kind != FHIR_LINK_REFERENCE)
        return ERR_OK;
    if (is_conditional_ref(&holder->c, text, &type, &query)) {
        struct rest_found_ref found;
        TRY(find_ref(b, text, type, query, &found, e));
        *out = arena_fmt(b->work, "%s/%.*s", fhir_type_name(type), SV_FMT(found.id));
        return out->ptr ? ERR_OK : arena_oom(b->work, e);
    }
    sv root = root_of(holder->in->full_url), plain = head, whole;
    size_t version = last_slash(head);
    bool versioned = version > 9 && sv_ends(sv_head(head, version), SV_LIT("/_history/"));
    if (versioned)
        plain = sv_head(head, version - 10);
    whole = plain;
    if (root.len && local_part(plain) == 0) {
        whole = arena_fmt(b->work, "%.*s%.*s", SV_FMT(root), SV_FMT(plain));
        if (whole.ptr == NULL)
            return arena_oom(b->work, e);
    }
    if ((to = entry_of(&b->refs, whole)) == NULL || (versioned && !to->fresh))
        return ERR_OK;
    return put(b, text, to, versioned ? SV_LIT("/_history/1") : tail, out, e);
}

err_code rest_relink(struct rest_call *c, sv text, struct buf *buf, sv *out, struct err *e)
{
    struct rest_entry *en = c->entry;
    CLEANUP(arena_free) struct arena *own = NULL;
    yyjson_val *tree = en->in->resource;
    struct fhir_links links = { .fn = link_of, .ctx = en };
    /* A patch made the text, so there is no tree of it yet. */
    if (text.ptr != en->in->text.ptr) {
        yyjson_doc *doc;
        own = arena_new(json_tree_max(text.len));
        TRY(json_read(own, text, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
        tree = yyjson_doc_get_root(doc);
    }
    err_code rc = fhir_links_rewrite(&links, text, tree, buf, e);
    if (rc != ERR_OK && links.where[0]) {
        sv where = arena_fmt(en->b->a, ".resource%s", links.where);
        en->where = where.ptr ? where.ptr : ".resource";
    }
    TRY(rc);
    *out = buf_sv(buf);
    return ERR_OK;
}
