/* page.c - a page of a search as a Bundle: matches in the order of the walk or of _sort, what comes
 * with them (page_include.c), the total, and the links. */
#include "rest/read/cursor_private.h"
#include "rest/read/page_private.h"

#include "base/clock.h"
#include "base/limits.h"

struct writing {
    struct rest_page *p;
    struct json_writer w;
    struct rest_includes *includes; /* NULL: the search asks for none */
    bool more;
    struct query_place next;
    sv next_sorted; /* place of the next page in the order of _sort */
    uint64_t total;
    bool has_total;
};

/* ---- matches in the order of the walk ---- */

static err_code write_matches(struct writing *x, struct err *e)
{
    struct rest_page *p = x->p;
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    uint64_t until = clock_mono_us() + PAGE_WORK_US;
    size_t n = 0;
    TRY(query_walk_open(&p->q, p->from_place ? &p->place : NULL, &w, e));
    for (;;) {
        struct query_match m;
        struct query_place before = *query_walk_place(w);
        err_code rc = query_walk_next(w, until, &m, e);
        if (rc == ERR_EOF)
            return ERR_OK;
        if (rc == ERR_TIMEOUT) {
            x->more = true;
            x->next = *query_walk_place(w);
            return ERR_OK;
        }
        TRY(rc);
        /* The page is full, and there is one more. */
        if (n == p->count || p->c->out.body.len > PAGE_BYTES ||
            (n && rest_page_ends(p, &m.v, "match"))) {
            x->more = true;
            x->next = before;
            return ERR_OK;
        }
        TRY(rest_page_entry(p, &x->w, &m, "match", e));
        TRY(rest_includes_match(x->includes, &m, e));
        n++;
    }
}

/* ---- matches in the order of _sort ---- */

static err_code write_sorted(struct writing *x, struct err *e)
{
    struct rest_page *p = x->p;
    CLEANUP(query_order_free) struct query_order *order = NULL;
    /* for one resource at a time */
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    const struct query_order_by by = { p->sort, p->n_sort, p->count, p->after };
    TRY(query_order_find(&p->q, &by, &order, e));
    const struct query_row_list *l = query_order_rows(order);
    size_t n = 0;
    x->total = l->total;
    x->has_total = true;
    for (; n < l->n && p->c->out.body.len <= PAGE_BYTES; n++) {
        const struct search_id *id = &l->rows[n]->id;
        struct query_match m;
        yyjson_doc *doc;
        arena_reset(a);
        TRY(store_get_light(p->c->st, id->type, id->id, p->as_of, a, &m.v, e));
        if (n && rest_page_ends(p, &m.v, "match"))
            break;
        TRY(json_read(a, m.v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
        m.root = yyjson_doc_get_root(doc);
        TRY(rest_page_entry(p, &x->w, &m, "match", e));
        TRY(rest_includes_match(x->includes, &m, e));
    }
    x->more = n && (n < l->n || l->more);
    if (x->more)
        x->next_sorted = rest_page_place_sorted(p, l->rows[n - 1]);
    return ERR_OK;
}

/* ---- totals and links ---- */

/* The total from the sums that the store keeps, which spare a walk. They are as of the newest
 * commit, so beside entries the page must be of that commit too. *known: the sums could tell. */
static err_code count_by_sums(struct writing *x, bool *known, struct err *e)
{
    struct query *q = &x->p->q;
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
            if (rc != ERR_OK)
                return err_pass(e, &why);
            as_of = as_of ? as_of : at.t;
            /* Something was written between the two questions. */
            if (at.t != as_of)
                return ERR_OK;
            sum += one;
            n_above += n > 1 && one > 0;
        }
    /* A resource may be counted in several of the sums. */
    if (n_above > 1)
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
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    struct query_match m;
    err_code rc;
    x->total = 0;
    TRY(query_walk_open(&x->p->q, NULL, &w, e));
    while ((rc = query_walk_next(w, 0, &m, e)) == ERR_OK)
        x->total++;
    x->has_total = true;
    return rc == ERR_EOF ? ERR_OK : rc;
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
    /* The self link of a POST is a token, for a URL does not hold what the body said. */
    if (posted)
        TRY(sealed_link(x, "self", arena_fmt(p->c->a, "%llu-b", (unsigned long long)p->as_of), e));
    else
        TRY(rest_page_self(p, &x->w, "self", e));
    if (x->more)
        TRY(sealed_link(x, "next", p->n_sort ? x->next_sorted : rest_page_place(p, &x->next), e));
    json_arr_end(&x->w);
    return ERR_OK;
}

static err_code write_entries(struct writing *x, struct err *e)
{
    struct rest_page *p = x->p;
    if (!p->count_only) {
        TRY(p->n_sort ? write_sorted(x, e) : write_matches(x, e));
        TRY(rest_includes_write(x->includes, e));
    }
    return rest_page_notes(p, &x->w, e);
}

static err_code write_all(struct writing *x, struct err *e)
{
    struct rest_page *p = x->p;
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
    /* FHIR has no empty arrays. */
    if (p->c->out.body.len == empty + 1)
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
    x.includes = rest_includes_new(p, &x.w);
    err_code rc = write_all(&x, e);
    rest_includes_free(x.includes);
    return rc;
}
