/* everything.c - Patient/<id>/$everything: a patient's record, page by page.
 *
 *   members   the patient, and resources in the Patient compartment; with start or end, only those
 *             with a date in that span, or without any date
 *   outside   resources that members refer to, and what these refer to in turn, of types that
 *             cannot be in the compartment (practitioners, organizations, devices ...), unless they
 *             speak of another patient
 *
 * _type and _since choose among both. All of them make a list, sorted by type and id, as of one
 * commit. A page is a piece of that list; a next link holds the commit and the last entry, so pages
 * never skip or repeat. Each page makes the list anew, which costs as much as to read the record
 * once. Memory is bounded by EVERYTHING_*.
 *
 * Source: FHIR R4 patient-operation-everything.html; HealthLake: sorted by type then id, always a
 * total. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/params_private.h"
#include "rest/read/cursor_private.h"
#include "rest/read/id_set_private.h"
#include "rest/read/page_private.h"
#include "rest/read/read_private.h"
#include "rest/route_private.h"

#include "base/limits.h"

#define EVERYTHING_MAX    200000u     /* resources of one record */
#define EVERYTHING_MEMORY (64u << 20) /* of their types and ids */

#define BREATHE_EVERY 32u /* resources that are read one by one */

struct row {
    struct search_id id;
    bool outside;
};

struct everything {
    struct rest_call *c;
    struct rest_page *p; /* used for count, commit, notes and links */
    struct arena *a;
    bool outside_type[QUERY_TYPES_MAX];
    bool wanted_type[QUERY_TYPES_MAX];
    bool typed;                         /* _type was given */
    int64_t since_ms, start_ms, end_ms; /* [start, end) */
    bool dated;
    struct search_id after; /* the page begins behind this one */
    struct buf rows;        /* struct row: the record */
    struct buf found;       /* struct search_id: resources outside that are to be looked at */
    struct id_set seen;     /* the ids in found */
    err_code rc;
    struct err *e;
};

/* ---- the request ---- */

/* _type is a list, and may come several times. */
static err_code read_types(struct everything *x, sv list, struct err *e)
{
    sv one;
    if (!x->typed)
        memset(x->wanted_type, 0, sizeof x->wanted_type);
    x->typed = true;
    while (sv_cut(&list, ',', &one)) {
        fhir_type t = fhir_type_find(one);
        if (t == FHIR_TYPE_NONE)
            return ERR(e, ERR_INVALID, "_type must be a list of resource types: %s",
                       fhir_type_not(one, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
        x->wanted_type[t] = true;
    }
    return ERR_OK;
}

/* A place: T-e-TYPE-ID begins behind that entry, T-b with the first; T is the commit. */
static err_code read_place(struct everything *x, sv text, struct err *e)
{
    sv t, kind, type;
    uint64_t n;
    bool ok = sv_cut(&text, '-', &t) && sv_to_u64(t, &x->p->as_of) && sv_cut(&text, '-', &kind) &&
              x->p->as_of && x->p->as_of <= store_last(x->c->st).t;
    if (ok && sv_eq(kind, SV_LIT("b")))
        return ERR_OK;
    if (!ok || !sv_eq(kind, SV_LIT("e")) || !sv_cut(&text, '-', &type) || !sv_to_u64(type, &n) ||
        n == 0 || n > fhir_n_types() || !fhir_id_ok(text))
        return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this record");
    x->after = (struct search_id){ (fhir_type)n, text };
    return ERR_OK;
}

static err_code read_param(struct everything *x, struct rest_param *param, struct err *e)
{
    const struct err unknown = { .msg = "$everything has no parameter of that name" };
    sv name = param->name, value = param->value;
    uint64_t n;
    bool taken;
    if (name.len == 0)
        return ERR_OK;
    TRY(rest_page_subset_read(x->p, name, value, &taken, e));
    if (taken || sv_eq(name, SV_LIT("_format")) || sv_eq(name, SV_LIT("_pretty")))
        return ERR_OK;
    if (sv_eq(name, SV_LIT("_count"))) {
        if (!sv_to_u64(value, &n))
            return ERR(e, ERR_INVALID, "_count must be a whole number");
        x->p->count = n > PAGE_COUNT_MAX ? PAGE_COUNT_MAX : (size_t)n;
        return ERR_OK;
    }
    if (sv_eq(name, SV_LIT("_type")))
        return read_types(x, value, e);
    /* read_request() has read it. */
    if (sv_eq(name, SV_LIT("page")))
        return ERR_OK;
    if (sv_eq(name, SV_LIT("_since")) || sv_eq(name, SV_LIT("since")))
        return rest_read_date(x->c, "_since", value, &x->since_ms, NULL, e);
    if (sv_eq(name, SV_LIT("start")) || sv_eq(name, SV_LIT("end"))) {
        bool start = sv_eq(name, SV_LIT("start"));
        x->dated = true;
        return rest_read_date(x->c, start ? "start" : "end", value, start ? &x->start_ms : NULL,
                              start ? NULL : &x->end_ms, e);
    }
    TRY(rest_page_ignored(x->p, name, &unknown, e));
    /* The self link leaves it out. */
    param->name.len = 0;
    return ERR_OK;
}

static err_code read_request(struct everything *x, struct err *e)
{
    const struct search_param *members[SEARCH_COMPARTMENT_MAX];
    sv place;
    if (sv_eq_cstr(x->c->in.method, "POST"))
        TRY(rest_parameters_body(x->c, e));
    TRY(rest_read_names(x->c, e));
    TRY(rest_cursor_open(x->c, x->p->path, &place, e));
    x->p->asked = rest_param(x->c, "page");
    if (place.ptr)
        TRY(read_place(x, place, e));
    x->since_ms = x->start_ms = INT64_MIN;
    x->end_ms = INT64_MAX;
    memset(x->wanted_type, true, sizeof x->wanted_type);
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        x->outside_type[t] =
            t != x->c->type && !search_compartment(x->c->type, (fhir_type)t, members);
    for (size_t i = 0; i < x->c->params.n; i++)
        TRY(read_param(x, &x->c->params.items[i], e));
    if (x->p->as_of == 0)
        x->p->as_of = store_last(x->c->st).t;
    return ERR_OK;
}

/* ---- references ---- */

/* Type/id, relative or below our own [base]. A version behind it is not looked at. */
static bool local_reference(const struct everything *x, sv text, struct search_id *out)
{
    sv base = x->c->base, type, id;
    if (sv_starts(text, base) && text.len > base.len && text.ptr[base.len] == '/')
        text = sv_tail(text, base.len + 1);
    if (!sv_cut(&text, '/', &type) || !sv_cut(&text, '/', &id) || !fhir_id_ok(id))
        return false;
    *out = (struct search_id){ fhir_type_find(type), id };
    return out->type != FHIR_TYPE_NONE;
}

static err_code too_much(struct everything *x)
{
    return ERR(
        x->e, ERR_TOO_LARGE,
        "The record holds more than %u resources: ask for less with _type, _since, start or end, "
        "or use an export",
        EVERYTHING_MAX);
}

static void outside_found(struct everything *x, const struct search_id *id)
{
    if (!x->outside_type[id->type] || x->rc != ERR_OK)
        return;
    struct search_id *slot = id_set_slot(&x->seen, id);
    if (slot->type)
        return;
    if (x->seen.n == EVERYTHING_MAX) {
        x->rc = too_much(x);
        return;
    }
    struct search_id kept = { id->type, arena_sv(x->a, id->id) };
    if (kept.id.ptr == NULL) {
        x->rc = arena_oom(x->a, x->e);
        return;
    }
    *slot = kept;
    x->seen.n++;
    x->rc = buf_add(&x->found, sv_make(&kept, sizeof kept), x->e);
}

struct visit {
    struct everything *x;
    bool collect;       /* note references; else only look for another patient */
    bool other_patient; /* out */
};

static void visit_text(struct visit *v, const char *key, sv text)
{
    struct search_id id;
    /* A url may be that of an attachment which is kept as a Binary. */
    bool url = strcmp(key, "url") == 0;
    if ((!url && strcmp(key, "reference") != 0) || !local_reference(v->x, text, &id))
        return;
    if (url && strcmp(fhir_type_name(id.type), "Binary") != 0)
        return;
    if (id.type == v->x->c->type && !sv_eq(id.id, v->x->c->id))
        v->other_patient = true;
    if (v->collect)
        outside_found(v->x, &id);
}

/* Recursion is as deep as the resource: at most LIMIT_RESOURCE_DEPTH. */
static void visit(struct visit *v, yyjson_val *at)
{
    yyjson_val *key, *item;
    if (yyjson_is_obj(at)) {
        yyjson_obj_iter it = yyjson_obj_iter_with(at);
        while ((key = yyjson_obj_iter_next(&it)) != NULL) {
            item = yyjson_obj_iter_get_val(key);
            if (yyjson_is_str(item))
                visit_text(v, yyjson_get_str(key), json_string(item));
            else
                visit(v, item);
        }
    } else if (yyjson_is_arr(at)) {
        yyjson_arr_iter it = yyjson_arr_iter_with(at);
        while ((item = yyjson_arr_iter_next(&it)) != NULL)
            visit(v, item);
    }
}

/* ---- the list ---- */

static void list(struct everything *x, const struct query_match *m, bool outside)
{
    if (!x->wanted_type[m->v.type] || m->v.instant_ms < x->since_ms || x->rc != ERR_OK)
        return;
    if (x->rows.len / sizeof(struct row) == EVERYTHING_MAX) {
        x->rc = too_much(x);
        return;
    }
    struct row r = { { m->v.type, arena_sv(x->a, m->v.id) }, outside };
    x->rc = r.id.id.ptr ? buf_add(&x->rows, sv_make(&r, sizeof r), x->e) : arena_oom(x->a, x->e);
}

struct span {
    const struct everything *x;
    bool any, inside;
};

static void in_span(void *ctx, const struct search_value *v)
{
    struct span *s = ctx;
    s->any = true;
    s->inside |= v->lo_ms < s->x->end_ms && v->hi_ms > s->x->start_ms;
}

/* Does a date of care lie in the span? Any date parameter of the type counts; a person has none,
 * for birth and death are no dates of care. */
static bool in_time(const struct everything *x, const struct query_match *m)
{
    static const char *const persons[] = { "Patient", "RelatedPerson", "Person" };
    struct span s = { .x = x };
    size_t n;
    const struct search_param *const *of = search_params_of(m->v.type, &n);
    if (!x->dated)
        return true;
    for (size_t i = 0; i < sizeof persons / sizeof persons[0]; i++)
        if (strcmp(fhir_type_name(m->v.type), persons[i]) == 0)
            return true;
    for (size_t i = 0; i < n; i++)
        if (of[i]->kind == SEARCH_DATE && !sv_eq(of[i]->type, SV_LIT("*")))
            search_extract(of[i], m->root, in_span, &s);
    return s.inside || !s.any;
}

static err_code gather_members(struct everything *x, struct err *e)
{
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    const struct search_param *members[SEARCH_COMPARTMENT_MAX];
    struct query *q = &x->p->q;
    struct query_match m;
    err_code rc;
    const struct query_source src = rest_query_source(x->c, x->p->as_of);
    query_init(q, &src, x->c->type);
    q->n_types = 0;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        if (t == x->c->type) {
            q->owner_at = q->n_types;
            q->types[q->n_types++] = (fhir_type)t;
        }
        if (search_compartment(x->c->type, (fhir_type)t, members))
            q->types[q->n_types++] = (fhir_type)t;
    }
    TRY(query_compartment(q, x->c->type, x->c->id, e));
    TRY(query_walk_open(q, NULL, &w, e));
    while ((rc = query_walk_next(w, 0, &m, e)) == ERR_OK) {
        struct visit v = { .x = x, .collect = true };
        if (!in_time(x, &m))
            continue;
        list(x, &m, false);
        visit(&v, m.root);
        TRY(x->rc);
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

/* A resource as of the page's commit. ERR_NOT_FOUND: there is none, or it was deleted. */
static err_code fetch(const struct everything *x, const struct search_id *id, struct arena *a,
                      struct query_match *m, struct err *e)
{
    yyjson_doc *doc;
    TRY(store_get_light(x->c->st, id->type, id->id, x->p->as_of, a, &m->v, e));
    if (m->v.method == STORE_METHOD_DELETE)
        return ERR(e, ERR_NOT_FOUND, "It was deleted");
    TRY(json_read(a, m->v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    m->root = yyjson_doc_get_root(doc);
    return ERR_OK;
}

/* The list of resources to look at grows while it is walked. */
static err_code gather_outside(struct everything *x, struct err *e)
{
    /* for one resource at a time */
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    for (size_t i = 0; i < x->found.len / sizeof(struct search_id); i++) {
        struct search_id id = ((struct search_id *)(void *)x->found.ptr)[i];
        struct query_match m;
        struct err why;
        arena_reset(a);
        if (i % BREATHE_EVERY == 0)
            TRY(rest_breathe(x->c, e));
        err_code rc = fetch(x, &id, a, &m, &why);
        /* A reference may lead nowhere. */
        if (rc == ERR_NOT_FOUND)
            continue;
        if (rc != ERR_OK)
            return err_pass(e, &why);
        struct visit v = { .x = x };
        visit(&v, m.root);
        if (v.other_patient)
            continue;
        v.collect = true;
        list(x, &m, true);
        visit(&v, m.root);
        TRY(x->rc);
    }
    return ERR_OK;
}

static int row_cmp(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return search_id_cmp(&x->id, &y->id);
}

/* ---- the page ---- */

static err_code write_rows(struct everything *x, struct json_writer *w, const struct row *rows,
                           size_t n, sv *next, struct err *e)
{
    /* for one resource at a time */
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    size_t given = 0;
    for (size_t i = 0; i < n; i++) {
        struct query_match m;
        if (x->after.type && search_id_cmp(&rows[i].id, &x->after) <= 0)
            continue;
        arena_reset(a);
        TRY(fetch(x, &rows[i].id, a, &m, e));
        const char *mode = rows[i].outside ? "include" : "match";
        if (given == x->p->count || x->c->out.body.len > PAGE_BYTES ||
            (given && rest_page_ends(x->p, &m.v, mode))) {
            /* _count=0 asks for the total alone. */
            if (given == 0)
                return ERR_OK;
            const struct search_id *last = &rows[i - 1].id;
            sv place = arena_fmt(x->c->a, "%llu-e-%u-%.*s", (unsigned long long)x->p->as_of,
                                 last->type, SV_FMT(last->id));
            return place.ptr ? rest_cursor_make(x->c, x->p->path, place, next, e)
                             : arena_oom(x->c->a, e);
        }
        TRY(rest_page_entry(x->p, w, &m, mode, e));
        given++;
    }
    return ERR_OK;
}

/* The self link of a POST is a token, for a URL does not hold what the body said. */
static err_code self_link(struct everything *x, struct json_writer *w, struct err *e)
{
    struct rest_call *c = x->c;
    sv token, place = arena_fmt(c->a, "%llu-b", (unsigned long long)x->p->as_of);
    if (!sv_eq_cstr(c->in.method, "POST") || x->p->asked.len)
        return rest_page_self(x->p, w, "self", e);
    if (place.ptr == NULL)
        return arena_oom(c->a, e);
    TRY(rest_cursor_make(c, x->p->path, place, &token, e));
    return rest_page_link(x->p, w, "self", token, e);
}

static err_code write_bundle(struct everything *x, struct err *e)
{
    struct json_writer w;
    struct buf *body = &x->c->out.body;
    size_t n = x->rows.len / sizeof(struct row);
    sv next = SV_NONE;
    if (n)
        qsort(x->rows.ptr, n, sizeof(struct row), row_cmp);
    json_writer_init(&w, body);
    json_obj(&w);
    json_kv_str(&w, "resourceType", SV_LIT("Bundle"));
    json_kv_str(&w, "type", SV_LIT("searchset"));
    json_kv_i64(&w, "total", (int64_t)n);
    size_t without = body->len;
    json_key(&w, "entry");
    json_arr(&w);
    size_t empty = body->len;
    TRY(write_rows(x, &w, (const struct row *)(void *)x->rows.ptr, n, &next, e));
    TRY(rest_page_notes(x->p, &w, e));
    json_arr_end(&w);
    /* FHIR has no empty arrays. */
    if (body->len == empty + 1)
        body->len = without;
    json_key(&w, "link");
    json_arr(&w);
    TRY(self_link(x, &w, e));
    if (next.ptr)
        TRY(rest_page_link(x->p, &w, "next", next, e));
    json_arr_end(&w);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static err_code patient_there(struct everything *x, struct err *e)
{
    struct store_version v;
    err_code rc = store_get_light(x->c->st, x->c->type, x->c->id, x->p->as_of, x->c->a, &v, e);
    if (rc == ERR_NOT_FOUND)
        return rest_not_known(x->c, e);
    TRY(rc);
    return v.method == STORE_METHOD_DELETE ? ERR(e, ERR_GONE, "Patient with this id was deleted")
                                           : ERR_OK;
}

static err_code run(struct everything *x, struct err *e)
{
    TRY(read_request(x, e));
    TRY(patient_there(x, e));
    TRY(gather_members(x, e));
    TRY(gather_outside(x, e));
    x->c->out.status = 200;
    return write_bundle(x, e);
}

err_code rest_everything(struct rest_call *c, struct err *e)
{
    struct everything *x = ARENA_NEW(c->a, struct everything);
    struct rest_page *p = ARENA_NEW(c->a, struct rest_page);
    if (x == NULL || p == NULL)
        return arena_oom(c->a, e);
    p->c = c;
    /* A client that does not page gets as much as fits. */
    p->count = PAGE_COUNT_MAX;
    p->path = arena_fmt(c->a, "Patient/%.*s/$everything", SV_FMT(c->id));
    if (p->path.ptr == NULL)
        return arena_oom(c->a, e);
    CLEANUP(arena_free) struct arena *a = arena_new(EVERYTHING_MEMORY);
    *x = (struct everything){ .c = c, .p = p, .a = a, .e = e };
    buf_init(&x->rows, EVERYTHING_MAX * sizeof(struct row));
    buf_init(&x->found, EVERYTHING_MAX * sizeof(struct search_id));
    err_code rc = run(x, e);
    buf_done(&x->rows);
    buf_done(&x->found);
    id_set_done(&x->seen);
    return rc;
}
