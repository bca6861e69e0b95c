/* page.c - a page of a search as a Bundle: matches in the order of the walk or of _sort, what comes
 * with them (page_include.c), the total, and the links. */
#include "rest/grant_private.h"
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

static err_code write_matches(struct writing *writing, struct err *e)
{
    struct rest_page *page = writing->p;
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    uint64_t until = clock_mono_us() + PAGE_WORK_US;
    size_t n = 0;
    TRY(query_walk_open(&page->q, page->from_place ? &page->place : NULL, &w, e));
    for (;;) {
        struct query_match m;
        struct query_place before = *query_walk_place(w);
        err_code rc = query_walk_next(w, until, &m, e);
        if (rc == ERR_EOF)
            return ERR_OK;
        if (rc == ERR_TIMEOUT) {
            writing->more = true;
            writing->next = *query_walk_place(w);
            return ERR_OK;
        }
        TRY(rc);
        /* The page is full, and there is one more. */
        if (n == page->count || page->call->out.body.len > PAGE_BYTES ||
            (n && rest_page_ends(page, &m.v, "match"))) {
            writing->more = true;
            writing->next = before;
            return ERR_OK;
        }
        TRY(rest_page_entry(page, &writing->w, &m, "match", e));
        TRY(rest_includes_match(writing->includes, &m, e));
        n++;
    }
}

/* ---- matches in the order of _sort ---- */

static err_code write_sorted(struct writing *writing, struct err *e)
{
    struct rest_page *page = writing->p;
    CLEANUP(query_order_free) struct query_order *order = NULL;
    /* for one resource at a time */
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    const struct query_order_by by = { page->sort, page->n_sort, page->count, page->after };
    TRY(query_order_find(&page->q, &by, &order, e));
    const struct query_row_list *l = query_order_rows(order);
    size_t n = 0;
    writing->total = l->total;
    writing->has_total = true;
    for (; n < l->n && page->call->out.body.len <= PAGE_BYTES; n++) {
        const struct search_id *id = &l->rows[n]->id;
        struct query_match m;
        yyjson_doc *doc;
        arena_reset(a);
        TRY(store_get_light(page->call->st, id->type, id->id, page->as_of, a, &m.v, e));
        if (n && rest_page_ends(page, &m.v, "match"))
            break;
        TRY(json_read(a, m.v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
        m.root = yyjson_doc_get_root(doc);
        TRY(rest_page_entry(page, &writing->w, &m, "match", e));
        TRY(rest_includes_match(writing->includes, &m, e));
    }
    writing->more = n && (n < l->n || l->more);
    if (writing->more)
        writing->next_sorted = rest_page_place_sorted(page, l->rows[n - 1]);
    return ERR_OK;
}

/* ---- totals and links ---- */

/* The total from the sums that the store keeps, which spare a walk. They are as of the newest
 * commit, so beside entries the page must be of that commit too. *known: the sums could tell. */
static err_code count_by_sums(struct writing *writing, bool *known, struct err *e)
{
    struct query *query = &writing->p->q;
    uint64_t one, sum = 0, as_of = writing->p->count_only ? 0 : writing->p->as_of;
    struct store_commit at;
    struct err why;
    *known = false;
    if (writing->p->past || writing->p->from_place || writing->p->after || query->n_clauses > 1 ||
        (query->n_clauses && query->n_types != 1))
        return ERR_OK;
    for (size_t t = 0; t < query->n_types; t++)
        if (rest_grant_limits(writing->p->call, query->types[t], SMART_S))
            return ERR_OK;
    uint16_t param = 0;
    unsigned char values[SEARCH_TOKEN_KEYS][SEARCH_TOKEN_LEN];
    size_t len = 0, n = 1;
    if (query->n_clauses)
        n = query->clauses[0].n == 1 ? search_count_keys(&query->clauses[0].any[0], query->types[0],
                                                         &param, values, &len)
                                     : 0;
    if (n == 0)
        return ERR_OK;
    unsigned n_above = 0;
    for (size_t t = 0; t < query->n_types; t++)
        for (size_t i = 0; i < n; i++) {
            err_code rc = store_count(writing->p->call->st, query->types[t], param,
                                      sv_make(values[i], len), &one, &at, &why);
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
    writing->total = sum;
    writing->has_total = *known = true;
    return ERR_OK;
}

static err_code count_all(struct writing *writing, struct err *e)
{
    bool known;
    TRY(count_by_sums(writing, &known, e));
    if (known)
        return ERR_OK;
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    struct query_match m;
    err_code rc;
    writing->total = 0;
    TRY(query_walk_open(&writing->p->q, NULL, &w, e));
    while ((rc = query_walk_next(w, 0, &m, e)) == ERR_OK)
        writing->total++;
    writing->has_total = true;
    return rc == ERR_EOF ? ERR_OK : rc;
}

static err_code sealed_link(struct writing *writing, const char *relation, sv place, struct err *e)
{
    sv token;
    if (place.ptr == NULL)
        return arena_oom(writing->p->call->a, e);
    TRY(rest_cursor_make(writing->p->call, writing->p->path, place, &token, e));
    return rest_page_link(writing->p, &writing->w, relation, token, e);
}

static err_code links(struct writing *writing, struct err *e)
{
    struct rest_page *page = writing->p;
    bool posted = sv_eq_cstr(page->call->in.method, "POST") && page->asked.len == 0;
    json_key(&writing->w, "link");
    json_arr(&writing->w);
    /* The self link of a POST is a token, for a URL does not hold what the body said. */
    if (posted)
        TRY(sealed_link(writing, "self",
                        arena_fmt(page->call->a, "%llu-b", (unsigned long long)page->as_of), e));
    else
        TRY(rest_page_self(page, &writing->w, "self", e));
    if (writing->more)
        TRY(sealed_link(writing, "next",
                        page->n_sort ? writing->next_sorted : rest_page_place(page, &writing->next),
                        e));
    json_arr_end(&writing->w);
    return ERR_OK;
}

static err_code write_entries(struct writing *writing, struct err *e)
{
    struct rest_page *page = writing->p;
    if (!page->count_only) {
        TRY(page->n_sort ? write_sorted(writing, e) : write_matches(writing, e));
        TRY(rest_includes_write(writing->includes, e));
    }
    return rest_page_notes(page, &writing->w, e);
}

static err_code write_all(struct writing *writing, struct err *e)
{
    struct rest_page *page = writing->p;
    json_writer_init(&writing->w, &page->call->out.body);
    json_obj(&writing->w);
    json_kv_str(&writing->w, "resourceType", SV_LIT("Bundle"));
    json_kv_str(&writing->w, "type", SV_LIT("searchset"));
    size_t without = page->call->out.body.len;
    json_key(&writing->w, "entry");
    json_arr(&writing->w);
    size_t empty = page->call->out.body.len;
    TRY(write_entries(writing, e));
    json_arr_end(&writing->w);
    /* FHIR has no empty arrays. */
    if (page->call->out.body.len == empty + 1)
        page->call->out.body.len = without;
    if ((page->total || page->count_only) && !writing->has_total)
        TRY(count_all(writing, e));
    if (page->total || page->count_only)
        json_kv_i64(&writing->w, "total", (int64_t)writing->total);
    TRY(links(writing, e));
    json_obj_end(&writing->w);
    return json_writer_end(&writing->w, e);
}

err_code rest_page_write(struct rest_page *page, struct err *e)
{
    struct writing writing = { .p = page };
    writing.includes = rest_includes_new(page, &writing.w);
    err_code rc = write_all(&writing, e);
    rest_includes_free(writing.includes);
    return rc;
}
