/* rest_page.c - a page as a Bundle: matches, what comes with them, links. */
#include "service/rest_page.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/hash.h"

/* ---- the place of a page: T-b (the first), T-s-KEYS-ID (rest_order.c), or T-p-TYPE-CLAUSE-DRIVER-VALUE-ID ---- */

static err_code bad_place(struct err *e)
{
    return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this search");
}

static bool unhex(sv text, unsigned char *out, size_t max, uint8_t *len)
{
    if (text.len % 2 || text.len / 2 > max)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return false;
        out[i / 2] = (unsigned char)(i % 2 ? out[i / 2] | v : v << 4);
    }
    *len = (uint8_t)(text.len / 2);
    return true;
}

err_code rest_page_place_read(struct rest_page *p, sv text, struct err *e)
{
    sv t, kind, part[4];
    uint64_t n[3];
    if (!sv_cut(&text, '-', &t) || !sv_to_u64(t, &p->as_of) || !sv_cut(&text, '-', &kind) ||
        p->as_of == 0 || p->as_of > store_last(p->c->st).t)
        return bad_place(e);
    if (sv_eq(kind, SV_LIT("b")))
        return ERR_OK;
    if (sv_eq(kind, SV_LIT("s")))
        return rest_order_place_read(p, text) ? ERR_OK : bad_place(e);
    for (size_t i = 0; i < 4; i++)
        if (!sv_cut(&text, '-', &part[i]))
            return bad_place(e);
    for (size_t i = 0; i < 3; i++)
        if (!sv_to_u64(part[i], &n[i]) || n[i] > 1000)
            return bad_place(e);
    struct rest_place *at = &p->place;
    memset(at, 0, sizeof *at);
    at->type_at = (size_t)n[0];
    at->clause = (int)n[1] - 1;
    at->driver = (size_t)n[2];
    if (!unhex(part[3], at->value, sizeof at->value, &at->value_len) ||
        (text.len && !fhir_id_ok(text)))
        return bad_place(e);
    if (text.len)
        memcpy(at->id, text.ptr, text.len);
    at->id_len = (uint8_t)text.len;
    p->from_place = true;
    return ERR_OK;
}

static sv place_text(const struct rest_page *p, const struct rest_place *at)
{
    char hex[2 * SEARCH_KEY_MAX];
    hash_hex(at->value, at->value_len, hex);
    return arena_fmt(p->c->a, "%llu-p-%zu-%d-%zu-%.*s-%.*s", (unsigned long long)p->as_of,
                     at->type_at, at->clause + 1, at->driver, 2 * at->value_len, hex,
                     (int)at->id_len, at->id);
}

/* ---- the Bundle ---- */

#define BREATHE_EVERY 32u /* resources that are read one by one */

struct one_version { /* of a resource; version 0: the current one */
    struct search_id x;
    uint64_t version;
};
struct seen { /* versions that stand on the page; open addressing over the arena */
    struct one_version *slots;
    size_t cap, n;
};

struct writing {
    struct rest_page *p;
    struct json_writer w;
    struct seen seen;
    struct buf frontier; /* search_id of resources whose includes are to be found */
    struct buf wanted;   /* one_version: resources to include */
    bool versions_asked, versions_allowed; /* may the caller read versions? */
    size_t n_included;
    bool too_many;
    bool more;
    struct rest_place next;
    sv next_sorted; /* place of the next page in the order of _sort */
    uint64_t total;
    bool has_total;
};

/* Where the version stands, or would. */
static struct one_version *seen_at(const struct seen *s, const struct one_version *v)
{
    size_t k = sv_hash(v->x.type + (v->version << 8), v->x.id) % s->cap;
    while (s->slots[k].x.type &&
           (s->slots[k].x.type != v->x.type || s->slots[k].version != v->version ||
            !sv_eq(s->slots[k].x.id, v->x.id)))
        k = (k + 1) % s->cap;
    return &s->slots[k];
}

static bool seen_add(struct writing *x, const struct store_version *v)
{
    struct seen *s = &x->seen;
    struct one_version now = { { v->type, v->id }, v->version };
    if (s->cap == 0)
        return true;
    struct one_version *slot = seen_at(s, &now);
    if (slot->x.type || s->n * 2 >= s->cap) /* limits keep it from filling */
        return false;
    now.x.id = arena_sv(x->p->c->a, v->id);
    *slot = now;
    s->n++;
    return true;
}

static bool wants_whole(const struct rest_page *p, const char *mode)
{
    if (p->n_elements && strcmp(mode, "match") != 0) /* _elements is about matches only */
        return true;
    return p->summary == REST_SUMMARY_FALSE && p->n_elements == 0;
}

bool rest_page_ends(const struct rest_page *p, const struct store_version *v, const char *mode)
{
    return wants_whole(p, mode) && rest_fits_alone(p->c, v);
}

err_code rest_page_entry(struct rest_page *p, struct json_writer *w, const struct rest_match *m,
                         const char *mode, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(SIZE_MAX / 2);
    json_obj(w);
    json_kv_str(w, "fullUrl",
                arena_fmt(p->c->a, "%.*s/%s/%.*s", SV_FMT(p->c->base), fhir_type_name(m->v.type),
                          SV_FMT(m->v.id)));
    json_key(w, "resource");
    if (wants_whole(p, mode)) {
        TRY(rest_version_put(p->c, &m->v, w, e));
    } else {
        TRY(rest_may_grow(p->c, w->out->len + m->v.body.json.len, e));
        TRY(rest_subset_write(p, m, &b, e));
        json_raw(w, buf_sv(&b));
    }
    json_key(w, "search");
    json_obj(w);
    json_kv_str(w, "mode", sv_from(mode));
    json_obj_end(w);
    json_obj_end(w);
    return ERR_OK;
}

err_code rest_page_notes(struct rest_page *p, struct json_writer *w, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1u << 20);
    if (p->n_notes == 0)
        return ERR_OK;
    TRY(rest_outcome_write(p->notes, p->n_notes, &b, e));
    json_obj(w);
    json_key(w, "resource");
    json_raw(w, buf_sv(&b));
    json_key(w, "search");
    json_obj(w);
    json_kv_str(w, "mode", SV_LIT("outcome"));
    json_obj_end(w);
    json_obj_end(w);
    return ERR_OK;
}

/* ---- includes ---- */

/* N of Type/id/_history/N. False: it names none of ours, and so nothing. 0: it names no version. */
static bool version_of(sv reference, uint64_t *out)
{
    static const sv mark = { "/_history/", 10 };
    sv t = sv_head(reference, sv_find(reference, '#'));
    *out = 0;
    t = sv_head(t, sv_find(t, '|'));
    for (size_t i = 0; i + mark.len <= t.len; i++)
        if (sv_starts(sv_tail(t, i), mark))
            return sv_to_u64(sv_tail(t, i + mark.len), out) && *out > 0;
    return true;
}

static void want_reference(void *ctx, const struct search_value *v)
{
    struct writing *x = ctx;
    uint64_t version;
    if (v->ref_type == FHIR_TYPE_NONE || (v->ref_base.len && !sv_eq(v->ref_base, x->p->c->base)) ||
        x->too_many || !version_of(v->text, &version))
        return;
    if (x->wanted.len / sizeof(struct one_version) >= 4 * (size_t)PAGE_INCLUDED_MAX) {
        x->too_many = true;
        return;
    }
    struct one_version one = { { v->ref_type, arena_sv(x->p->c->a, v->ref_id) }, version };
    if (one.x.id.ptr == NULL || buf_add(&x->wanted, sv_make(&one, sizeof one), NULL) != ERR_OK)
        x->too_many = true;
}

struct include_filter {
    struct writing *x;
    fhir_type target;
};

static void want_target(void *ctx, const struct search_value *v)
{
    struct include_filter *f = ctx;
    if (f->target == FHIR_TYPE_NONE || v->ref_type == f->target)
        want_reference(f->x, v);
}

/* What a resource on the page leads to. */
static void follow(struct writing *x, fhir_type type, yyjson_val *root, bool iterating)
{
    for (size_t i = 0; i < x->p->n_includes; i++) {
        const struct rest_include *in = &x->p->includes[i];
        struct include_filter f = { x, in->target };
        if (in->reverse || (in->type && in->type != type) || (iterating && !in->iterate))
            continue;
        if (in->param) {
            search_extract(in->param, root, want_target, &f);
            continue;
        }
        size_t n;
        const struct search_param *const *of = search_params_of(type, &n);
        for (size_t k = 0; k < n; k++)
            if (of[k]->kind == SEARCH_REFERENCE)
                search_extract(of[k], root, want_target, &f);
    }
}

/* A resource has come onto the page: look where it leads, and remember it for _revinclude. */
static err_code arrived(struct writing *x, const struct rest_match *m, bool iterating,
                        struct err *e)
{
    if (x->p->n_includes == 0)
        return ERR_OK;
    struct search_id id = { m->v.type, arena_sv(x->p->c->a, m->v.id) };
    if (id.id.ptr == NULL)
        return arena_oom(x->p->c->a, e);
    follow(x, m->v.type, m->root, iterating);
    return buf_add(&x->frontier, sv_make(&id, sizeof id), e);
}

static err_code included(struct writing *x, const struct rest_match *m, struct err *e)
{
    if (x->n_included == PAGE_INCLUDED_MAX || x->p->c->out.body.len > 2 * (size_t)PAGE_BYTES) {
        x->too_many = true;
        return ERR_OK;
    }
    if (!seen_add(x, &m->v))
        return ERR_OK;
    x->n_included++;
    TRY(rest_page_entry(x->p, &x->w, m, "include", e));
    return arrived(x, m, true, e);
}

/* Old versions are what a search alone does not show: who may not read them gets the current one. */
static bool may_read_versions(struct writing *x)
{
    struct err ignored;
    if (!x->versions_asked)
        x->versions_allowed = rest_allowed(x->p->c, "VersionReadResource", &ignored) == ERR_OK;
    x->versions_asked = true;
    return x->versions_allowed;
}

/* What a reference leads to as of the page's commit; a body lives in a, or until *cur is closed. ERR_NOT_FOUND. */
static err_code referred(struct writing *x, const struct one_version *want, struct arena *a,
                         struct store_cursor **cur, struct store_version *out, struct err *e)
{
    struct rest_page *p = x->p;
    TRY(store_get_light(p->c->st, want->x.type, want->x.id, p->as_of, a, out, e));
    if (want->version && want->version != out->version && may_read_versions(x))
        TRY(rest_version_find(p->c, &want->x, want->version, p->as_of, cur, out, e));
    return out->method == STORE_METHOD_DELETE ? ERR(e, ERR_NOT_FOUND, "It was deleted") : ERR_OK;
}

static err_code include_one(struct writing *x, const struct one_version *want, struct arena *a,
                            struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct rest_match m;
    yyjson_doc *doc;
    struct err why;
    if (want->version && seen_at(&x->seen, want)->x.type)
        return ERR_OK;
    arena_reset(a);
    err_code rc = referred(x, want, a, &cur, &m.v, &why);
    if (rc == ERR_NOT_FOUND) /* a reference may lead nowhere */
        return ERR_OK;
    if (rc != ERR_OK) {
        *e = why;
        return rc;
    }
    TRY(json_read(a, m.v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    m.root = yyjson_doc_get_root(doc);
    return included(x, &m, e);
}

/* Resources that references name. */
static err_code include_wanted(struct writing *x, struct err *e)
{
    struct buf now = x->wanted;
    buf_init(&x->wanted, SIZE_MAX / 2);
    err_code rc = ERR_OK;
    const struct one_version *all = (const struct one_version *)(const void *)now.ptr;
    CLEANUP(arena_free) struct arena *a = arena_new(SIZE_MAX / 2); /* one resource at a time */
    for (size_t i = 0; i < now.len / sizeof *all && rc == ERR_OK && !x->too_many; i++) {
        if (i % BREATHE_EVERY == BREATHE_EVERY - 1) {
            rc = rest_breathe(x->p->c, e);
            x->too_many = rc == ERR_TIMEOUT;
            if (rc != ERR_OK) {
                rc = x->too_many ? ERR_OK : rc;
                break;
            }
        }
        rc = include_one(x, &all[i], a, e);
    }
    buf_done(&now);
    return rc;
}

static err_code revinclude_one(struct writing *x, const struct rest_include *in,
                               const struct search_param *param, const struct search_id *ids,
                               size_t n, struct err *e)
{
    CLEANUP(rest_walk_close) struct rest_walk *w = NULL;
    struct rest_query *q = arena_alloc(x->p->c->a, sizeof *q);
    struct rest_match m;
    err_code rc;
    if (q == NULL)
        return arena_oom(x->p->c->a, e);
    rest_query_init(q, x->p->c, in->type, x->p->as_of);
    TRY(rest_query_leads_to(q, &param, 1, ids, n, e));
    TRY(rest_walk_open(q, NULL, &w, e));
    while (!x->too_many && (rc = rest_walk_next(w, 0, &m, e)) != ERR_EOF) {
        if (rc == ERR_TIMEOUT) { /* the matches are there: the page says what it lacks */
            x->too_many = true;
            return ERR_OK;
        }
        TRY(rc);
        TRY(included(x, &m, e));
    }
    return ERR_OK;
}

/* Resources that lead to those of the frontier. */
static err_code include_reverse(struct writing *x, const struct buf *frontier, bool iterating,
                                struct err *e)
{
    size_t n_all = frontier->len / sizeof(struct search_id);
    for (size_t i = 0; i < x->p->n_includes; i++) {
        const struct rest_include *in = &x->p->includes[i];
        if (!in->reverse || (iterating && !in->iterate))
            continue;
        struct search_id *ids = arena_alloc(x->p->c->a, (n_all + 1) * sizeof *ids);
        if (ids == NULL)
            return arena_oom(x->p->c->a, e);
        const struct search_id *all = (const struct search_id *)(const void *)frontier->ptr;
        size_t n = 0, n_params;
        for (size_t k = 0; k < n_all; k++)
            if (in->target == FHIR_TYPE_NONE || all[k].type == in->target)
                ids[n++] = all[k];
        if (n == 0)
            continue;
        rest_ids_sort(ids, &n); /* two versions of a resource are one here */
        if (in->param) {
            TRY(revinclude_one(x, in, in->param, ids, n, e));
            continue;
        }
        const struct search_param *const *of = search_params_of(in->type, &n_params);
        for (size_t k = 0; k < n_params; k++)
            if (of[k]->kind == SEARCH_REFERENCE)
                TRY(revinclude_one(x, in, of[k], ids, n, e));
    }
    return ERR_OK;
}

static err_code write_includes(struct writing *x, struct err *e)
{
    for (unsigned round = 0; !x->too_many; round++) {
        if (round == PAGE_ITERATIONS) {
            x->too_many = true; /* some may come behind: nobody looked */
            break;
        }
        struct buf frontier = x->frontier;
        buf_init(&x->frontier, SIZE_MAX / 2);
        err_code rc = include_wanted(x, e);
        if (rc == ERR_OK)
            rc = include_reverse(x, &frontier, round > 0, e);
        bool done = x->frontier.len == 0;
        buf_done(&frontier);
        TRY(rc);
        if (done)
            break;
    }
    if (x->too_many) {
        struct rest_page *p = x->p;
        struct rest_issue *more = arena_calloc(p->c->a, p->n_notes + 1, sizeof *more);
        if (more == NULL)
            return arena_oom(p->c->a, e);
        if (p->n_notes)
            memcpy(more, p->notes, p->n_notes * sizeof *more);
        more[p->n_notes++] = (struct rest_issue){
            "warning", "incomplete",
            SV_LIT("Not all that _include and _revinclude ask for is on this page: ask for fewer "
                   "matches with _count"),
            SV_NONE
        };
        p->notes = more;
    }
    return ERR_OK;
}

/* ---- matches in the order of the walk ---- */

static err_code write_matches(struct writing *x, struct err *e)
{
    struct rest_page *p = x->p;
    CLEANUP(rest_walk_close) struct rest_walk *w = NULL;
    uint64_t until = clock_mono_us() + PAGE_WORK_US;
    size_t n = 0;
    TRY(rest_walk_open(&p->q, p->from_place ? &p->place : NULL, &w, e));
    for (;;) {
        struct rest_match m;
        struct rest_place before = *rest_walk_place(w);
        err_code rc = rest_walk_next(w, until, &m, e);
        if (rc == ERR_EOF)
            return ERR_OK;
        if (rc == ERR_TIMEOUT) {
            x->more = true;
            x->next = *rest_walk_place(w);
            return ERR_OK;
        }
        TRY(rc);
        if (n == p->count || p->c->out.body.len > PAGE_BYTES ||
            (n && rest_page_ends(p, &m.v, "match"))) { /* one more is there */
            x->more = true;
            x->next = before;
            return ERR_OK;
        }
        (void)seen_add(x, &m.v); /* a match comes once */
        TRY(rest_page_entry(p, &x->w, &m, "match", e));
        TRY(arrived(x, &m, false, e));
        n++;
    }
}

/* ---- matches in the order of _sort ---- */

static err_code write_sorted(struct writing *x, struct err *e)
{
    struct rest_page *p = x->p;
    CLEANUP(rest_order_free) struct rest_order *order = NULL;
    CLEANUP(arena_free) struct arena *a = arena_new(SIZE_MAX / 2); /* one resource at a time */
    TRY(rest_order_find(p, &order, e));
    const struct rest_row_list *l = rest_order_rows(order);
    size_t n = 0;
    x->total = l->total;
    x->has_total = true;
    for (; n < l->n && p->c->out.body.len <= PAGE_BYTES; n++) {
        const struct search_id *id = &l->rows[n]->id;
        struct rest_match m;
        yyjson_doc *doc;
        arena_reset(a);
        TRY(store_get_light(p->c->st, id->type, id->id, p->as_of, a, &m.v, e));
        if (n && rest_page_ends(p, &m.v, "match"))
            break;
        TRY(json_read(a, m.v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
        m.root = yyjson_doc_get_root(doc);
        (void)seen_add(x, &m.v); /* a match comes once */
        TRY(rest_page_entry(p, &x->w, &m, "match", e));
        TRY(arrived(x, &m, false, e));
    }
    x->more = n && (n < l->n || l->more);
    if (x->more)
        x->next_sorted = rest_order_place(p, l->rows[n - 1]);
    return ERR_OK;
}

/* ---- totals and links ---- */

/* Out of the store's sums, when they can say. They are as of the newest commit: beside entries that must be the
 * page's own. *known tells. */
static err_code count_by_sums(struct writing *x, bool *known, struct err *e)
{
    struct rest_query *q = &x->p->q;
    uint64_t one, sum = 0, as_of = x->p->count_only ? 0 : x->p->as_of;
    struct store_commit at;
    struct err why;
    *known = false;
    if (x->p->past || x->p->from_place || x->p->after || q->n_clauses > 1 ||
        (q->n_clauses && q->n_types != 1))
        return ERR_OK;
    uint16_t param = 0;
    unsigned char values[SEARCH_TOKEN_KEYS][SEARCH_TOKEN_LEN];
    size_t len = 0, n = 1;
    if (q->n_clauses)
        n = q->clauses[0].n == 1
                ? search_count_keys(&q->clauses[0].any[0], q->types[0], &param, values, &len)
                : 0;
    if (n == 0)
        return ERR_OK;
    unsigned n_above = 0;
    for (size_t t = 0; t < q->n_types; t++)
        for (size_t i = 0; i < n; i++) {
            err_code rc = store_count(x->p->c->st, q->types[t], param, sv_make(values[i], len),
                                      &one, &at, &why);
            if (rc == ERR_UNSUPPORTED)
                return ERR_OK;
            if (rc != ERR_OK) {
                *e = why;
                return rc;
            }
            as_of = as_of ? as_of : at.t;
            if (at.t != as_of) /* something was written between two sums */
                return ERR_OK;
            sum += one;
            n_above += n > 1 && one > 0;
        }
    if (n_above > 1) /* a resource may stand in several */
        return ERR_OK;
    x->total = sum;
    x->has_total = *known = true;
    return ERR_OK;
}

static err_code count_all(struct writing *x, struct err *e)
{
    bool known;
    TRY(count_by_sums(x, &known, e));
    if (known)
        return ERR_OK;
    CLEANUP(rest_walk_close) struct rest_walk *w = NULL;
    struct rest_match m;
    err_code rc;
    x->total = 0;
    TRY(rest_walk_open(&x->p->q, NULL, &w, e));
    while ((rc = rest_walk_next(w, 0, &m, e)) == ERR_OK)
        x->total++;
    x->has_total = true;
    return rc == ERR_EOF ? ERR_OK : rc;
}

static void write_link(struct json_writer *w, const char *relation, const struct buf *url)
{
    json_obj(w);
    json_kv_str(w, "relation", sv_from(relation));
    json_kv_str(w, "url", buf_sv(url));
    json_obj_end(w);
}

err_code rest_page_link(struct rest_page *p, struct json_writer *w, const char *relation, sv page,
                        struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(256u << 10);
    TRY(rest_cursor_url(p->c, p->path, p->count, page, &b, e));
    write_link(w, relation, &b);
    return ERR_OK;
}

err_code rest_page_self(struct rest_page *p, struct json_writer *w, const char *relation,
                        struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(256u << 10);
    if (p->asked.len)
        return rest_page_link(p, w, relation, p->asked, e);
    TRY(buf_add(&b, p->c->base, e));
    if (p->path.len)
        TRY(buf_add_fmt(&b, e, "/%.*s", SV_FMT(p->path)));
    TRY(buf_add_char(&b, '?', e));
    size_t bare = b.len;
    TRY(rest_query_write(p->c, &b, e));
    if (b.len == bare)
        b.len--;
    write_link(w, relation, &b);
    return ERR_OK;
}

static err_code sealed_link(struct writing *x, const char *relation, sv place, struct err *e)
{
    sv token;
    if (place.ptr == NULL)
        return arena_oom(x->p->c->a, e);
    TRY(rest_cursor_make(x->p->c, x->p->path, place, &token, e));
    return rest_page_link(x->p, &x->w, relation, token, e);
}

static err_code links(struct writing *x, struct err *e)
{
    struct rest_page *p = x->p;
    bool posted = sv_eq_cstr(p->c->in.method, "POST") && p->asked.len == 0;
    json_key(&x->w, "link");
    json_arr(&x->w);
    if (posted) /* a URL does not say what a body did */
        TRY(sealed_link(x, "self", arena_fmt(p->c->a, "%llu-b", (unsigned long long)p->as_of), e));
    else
        TRY(rest_page_self(p, &x->w, "self", e));
    if (x->more)
        TRY(sealed_link(x, "next", p->n_sort ? x->next_sorted : place_text(p, &x->next), e));
    json_arr_end(&x->w);
    return ERR_OK;
}

static err_code write_entries(struct writing *x, struct err *e)
{
    struct rest_page *p = x->p;
    if (!p->count_only) {
        TRY(p->n_sort ? write_sorted(x, e) : write_matches(x, e));
        TRY(write_includes(x, e));
    }
    return rest_page_notes(p, &x->w, e);
}

static err_code write_all(struct writing *x, struct err *e)
{
    struct rest_page *p = x->p;
    if (p->n_includes) { /* matches alone come once as it is; half a megabyte to clear is more than they cost */
        x->seen.cap = 4 * ((size_t)PAGE_INCLUDED_MAX + PAGE_COUNT_MAX);
        x->seen.slots = calloc(x->seen.cap, sizeof *x->seen.slots);
        if (x->seen.slots == NULL)
            abort();
    }
    json_writer_init(&x->w, &p->c->out.body);
    json_obj(&x->w);
    json_kv_str(&x->w, "resourceType", SV_LIT("Bundle"));
    json_kv_str(&x->w, "type", SV_LIT("searchset"));
    size_t without = p->c->out.body.len;
    json_key(&x->w, "entry");
    json_arr(&x->w);
    size_t empty = p->c->out.body.len;
    TRY(write_entries(x, e));
    json_arr_end(&x->w);
    if (p->c->out.body.len == empty + 1) /* an empty array is not FHIR */
        p->c->out.body.len = without;
    if ((p->total || p->count_only) && !x->has_total)
        TRY(count_all(x, e));
    if (p->total || p->count_only)
        json_kv_i64(&x->w, "total", (int64_t)x->total);
    TRY(links(x, e));
    json_obj_end(&x->w);
    return json_writer_end(&x->w, e);
}

err_code rest_page_write(struct rest_page *p, struct err *e)
{
    struct writing x = { .p = p };
    buf_init(&x.frontier, SIZE_MAX / 2);
    buf_init(&x.wanted, SIZE_MAX / 2);
    err_code rc = write_all(&x, e);
    free(x.seen.slots);
    buf_done(&x.frontier);
    buf_done(&x.wanted);
    return rc;
}
