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
#include "rest/grant_private.h"
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
    store_number number;
    bool outside;
};

struct everything {
    struct rest_call *call;
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
static err_code read_types(struct everything *everything, sv list, struct err *e)
{
    sv one;
    if (!everything->typed)
        memset(everything->wanted_type, 0, sizeof everything->wanted_type);
    everything->typed = true;
    while (sv_cut(&list, ',', &one)) {
        fhir_type t = fhir_type_find(one);
        if (t == FHIR_TYPE_NONE)
            return ERR(e, ERR_INVALID, "_type must be a list of resource types: %s",
                       fhir_type_not(one, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
        everything->wanted_type[t] = true;
    }
    return ERR_OK;
}

/* A place: T-e-TYPE-ID begins behind that entry, T-b with the first; T is the commit. */
static err_code read_place(struct everything *everything, sv text, struct err *e)
{
    sv t, kind, type;
    uint64_t n, newest;
    bool ok = sv_cut(&text, '-', &t) && sv_to_u64(t, &everything->p->as_of) &&
              sv_cut(&text, '-', &kind) && everything->p->as_of;
    TRY(rest_reads_newest(everything->call, &newest, e));
    ok = ok && everything->p->as_of <= newest;
    if (ok && sv_eq(kind, SV_LIT("b")))
        return ERR_OK;
    if (!ok || !sv_eq(kind, SV_LIT("e")) || !sv_cut(&text, '-', &type) || !sv_to_u64(type, &n) ||
        n == 0 || n > fhir_n_types() || !fhir_id_ok(text))
        return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this record");
    everything->after = (struct search_id){ (fhir_type)n, text };
    return ERR_OK;
}

static err_code read_param(struct everything *everything, struct rest_param *param, struct err *e)
{
    const struct err unknown = { .msg = "$everything has no parameter of that name" };
    sv name = param->name, value = param->value;
    uint64_t n;
    bool taken;
    if (name.len == 0)
        return ERR_OK;
    TRY(rest_page_subset_read(everything->p, name, value, &taken, e));
    if (taken || sv_eq(name, SV_LIT("_format")) || sv_eq(name, SV_LIT("_pretty")))
        return ERR_OK;
    if (sv_eq(name, SV_LIT("_count"))) {
        if (!sv_to_u64(value, &n))
            return ERR(e, ERR_INVALID, "_count must be a whole number");
        everything->p->count = n > PAGE_COUNT_MAX ? PAGE_COUNT_MAX : (size_t)n;
        return ERR_OK;
    }
    if (sv_eq(name, SV_LIT("_type")))
        return read_types(everything, value, e);
    /* read_request() has read it. */
    if (sv_eq(name, SV_LIT("page")))
        return ERR_OK;
    if (sv_eq(name, SV_LIT("_since")) || sv_eq(name, SV_LIT("since")))
        return rest_read_date(everything->call, "_since", value, &everything->since_ms, NULL, e);
    if (sv_eq(name, SV_LIT("start")) || sv_eq(name, SV_LIT("end"))) {
        bool start = sv_eq(name, SV_LIT("start"));
        everything->dated = true;
        return rest_read_date(everything->call, start ? "start" : "end", value,
                              start ? &everything->start_ms : NULL,
                              start ? NULL : &everything->end_ms, e);
    }
    TRY(rest_page_ignored(everything->p, name, &unknown, e));
    /* The self link leaves it out. */
    param->name.len = 0;
    return ERR_OK;
}

static err_code read_request(struct everything *everything, struct err *e)
{
    const struct search_param *members[SEARCH_COMPARTMENT_MAX];
    sv place;
    if (sv_eq_cstr(everything->call->in.method, "POST"))
        TRY(rest_parameters_body(everything->call, e));
    TRY(rest_read_names(everything->call, e));
    TRY(rest_cursor_open(everything->call, everything->p->path, &place, e));
    everything->p->asked = rest_param(everything->call, "page");
    if (place.ptr)
        TRY(read_place(everything, place, e));
    everything->since_ms = everything->start_ms = INT64_MIN;
    everything->end_ms = INT64_MAX;
    memset(everything->wanted_type, true, sizeof everything->wanted_type);
    for (unsigned t = 1; t <= fhir_n_types(); t++)
        everything->outside_type[t] =
            t != everything->call->type &&
            !search_compartment(everything->call->type, (fhir_type)t, members);
    for (size_t i = 0; i < everything->call->params.n; i++)
        TRY(read_param(everything, &everything->call->params.items[i], e));
    return everything->p->as_of ? ERR_OK
                                : rest_reads_newest(everything->call, &everything->p->as_of, e);
}

/* ---- references ---- */

/* Type/id, relative or below our own [base]. A version behind it is not looked at. */
static bool local_reference(const struct everything *everything, sv text, struct search_id *out)
{
    sv base = everything->call->base, type, id;
    if (sv_starts(text, base) && text.len > base.len && text.ptr[base.len] == '/')
        text = sv_tail(text, base.len + 1);
    if (!sv_cut(&text, '/', &type) || !sv_cut(&text, '/', &id) || !fhir_id_ok(id))
        return false;
    *out = (struct search_id){ fhir_type_find(type), id };
    return out->type != FHIR_TYPE_NONE;
}

static err_code too_much(struct everything *everything)
{
    return ERR(
        everything->e, ERR_TOO_LARGE,
        "The record holds more than %u resources: ask for less with _type, _since, start or end, "
        "or use an export",
        EVERYTHING_MAX);
}

static void outside_found(struct everything *everything, const struct search_id *id)
{
    if (!everything->outside_type[id->type] || everything->rc != ERR_OK)
        return;
    struct search_id *slot = id_set_slot(&everything->seen, id);
    if (slot->type)
        return;
    if (everything->seen.n == EVERYTHING_MAX) {
        everything->rc = too_much(everything);
        return;
    }
    struct search_id kept = { id->type, arena_sv(everything->a, id->id) };
    if (kept.id.ptr == NULL) {
        everything->rc = arena_oom(everything->a, everything->e);
        return;
    }
    *slot = kept;
    everything->seen.n++;
    everything->rc = buf_add(&everything->found, sv_make(&kept, sizeof kept), everything->e);
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
    if (id.type == v->x->call->type && !sv_eq(id.id, v->x->call->id))
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

static void list(struct everything *everything, const struct query_match *m, bool outside)
{
    if (!everything->wanted_type[m->v.type] || m->v.instant_ms < everything->since_ms ||
        everything->rc != ERR_OK)
        return;
    if (everything->rows.len / sizeof(struct row) == EVERYTHING_MAX) {
        everything->rc = too_much(everything);
        return;
    }
    struct row r = { { m->v.type, arena_sv(everything->a, m->v.id) }, m->v.number, outside };
    everything->rc = r.id.id.ptr ? buf_add(&everything->rows, sv_make(&r, sizeof r), everything->e)
                                 : arena_oom(everything->a, everything->e);
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
static bool in_time(const struct everything *everything, const struct query_match *m)
{
    static const char *const persons[] = { "Patient", "RelatedPerson", "Person" };
    struct span s = { .x = everything };
    size_t n;
    const struct search_param *const *of = search_params_of(m->v.type, &n);
    if (!everything->dated)
        return true;
    for (size_t i = 0; i < sizeof persons / sizeof persons[0]; i++)
        if (strcmp(fhir_type_name(m->v.type), persons[i]) == 0)
            return true;
    for (size_t i = 0; i < n; i++)
        if (of[i]->kind == SEARCH_DATE && !sv_eq(of[i]->type, SV_LIT("*")))
            search_extract(of[i], m->root, in_span, &s);
    return s.inside || !s.any;
}

static err_code gather_members(struct everything *everything, struct err *e)
{
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    const struct search_param *members[SEARCH_COMPARTMENT_MAX];
    struct query *query = &everything->p->q;
    struct query_match m;
    err_code rc;
    const struct query_source src = rest_read_source(everything->call, everything->p->as_of);
    query_init(query, &src, everything->call->type);
    query->n_types = 0;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        if (t == everything->call->type) {
            query->owner_at = query->n_types;
            query->types[query->n_types++] = (fhir_type)t;
        }
        if (search_compartment(everything->call->type, (fhir_type)t, members))
            query->types[query->n_types++] = (fhir_type)t;
    }
    TRY(query_compartment(query, everything->call->type, everything->call->id, e));
    TRY(query_walk_open(query, NULL, &w, e));
    while ((rc = query_walk_next(w, 0, &m, e)) == ERR_OK) {
        struct visit v = { .x = everything, .collect = true };
        if (!in_time(everything, &m))
            continue;
        list(everything, &m, false);
        visit(&v, m.root);
        TRY(everything->rc);
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

/* m->v is what was read. ERR_NOT_FOUND: it was deleted. */
static err_code parse(struct query_match *m, struct arena *a, struct err *e)
{
    yyjson_doc *doc;
    if (m->v.method == STORE_METHOD_DELETE)
        return ERR(e, ERR_NOT_FOUND, "It was deleted");
    TRY(json_read(a, m->v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    m->root = yyjson_doc_get_root(doc);
    return ERR_OK;
}

/* The list of resources to look at grows while it is walked. */
static err_code gather_outside(struct everything *everything, struct err *e)
{
    /* for one resource at a time */
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    for (size_t i = 0; i < everything->found.len / sizeof(struct search_id); i++) {
        struct search_id id = ((struct search_id *)(void *)everything->found.ptr)[i];
        struct query_match m;
        struct err why;
        arena_reset(a);
        if (i % BREATHE_EVERY == 0)
            TRY(rest_breathe(everything->call, e));
        err_code rc = store_get_light(everything->call->st, id.type, id.id, everything->p->as_of, a,
                                      &m.v, &why);
        if (rc == ERR_OK)
            rc = parse(&m, a, &why);
        /* A reference may lead nowhere. */
        if (rc == ERR_NOT_FOUND)
            continue;
        if (rc != ERR_OK)
            return err_pass(e, &why);
        struct visit v = { .x = everything };
        bool sees;
        TRY(rest_sees_match(everything->call, SMART_R, &m, &sees, e));
        visit(&v, m.root);
        if (!sees || v.other_patient)
            continue;
        v.collect = true;
        list(everything, &m, true);
        visit(&v, m.root);
        TRY(everything->rc);
    }
    return ERR_OK;
}

static int row_cmp(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return search_id_cmp(&x->id, &y->id);
}

/* ---- the page ---- */

static err_code write_rows(struct everything *everything, struct json_writer *w,
                           const struct row *rows, size_t n, sv *next, struct err *e)
{
    /* for one resource at a time */
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    size_t given = 0;
    for (size_t i = 0; i < n; i++) {
        struct query_match m;
        if (everything->after.type && search_id_cmp(&rows[i].id, &everything->after) <= 0)
            continue;
        arena_reset(a);
        TRY(store_get_number_light(everything->call->st, rows[i].number, everything->p->as_of, a,
                                   &m.v, e));
        TRY(parse(&m, a, e));
        const char *mode = rows[i].outside ? "include" : "match";
        if (given == everything->p->count || everything->call->out.body.len > PAGE_BYTES ||
            (given && rest_page_ends(everything->p, &m.v, mode))) {
            /* _count=0 asks for the total alone. */
            if (given == 0)
                return ERR_OK;
            const struct search_id *last = &rows[i - 1].id;
            sv place =
                arena_fmt(everything->call->a, "%llu-e-%u-%.*s",
                          (unsigned long long)everything->p->as_of, last->type, SV_FMT(last->id));
            return place.ptr
                       ? rest_cursor_make(everything->call, everything->p->path, place, next, e)
                       : arena_oom(everything->call->a, e);
        }
        TRY(rest_page_entry(everything->p, w, &m, mode, e));
        given++;
    }
    return ERR_OK;
}

/* The self link of a POST is a token, for a URL does not hold what the body said. */
static err_code self_link(struct everything *everything, struct json_writer *w, struct err *e)
{
    struct rest_call *call = everything->call;
    sv token, place = arena_fmt(call->a, "%llu-b", (unsigned long long)everything->p->as_of);
    if (!sv_eq_cstr(call->in.method, "POST") || everything->p->asked.len)
        return rest_page_self(everything->p, w, "self", e);
    if (place.ptr == NULL)
        return arena_oom(call->a, e);
    TRY(rest_cursor_make(call, everything->p->path, place, &token, e));
    return rest_page_link(everything->p, w, "self", token, e);
}

static err_code write_bundle(struct everything *everything, struct err *e)
{
    struct json_writer w;
    struct buf *body = &everything->call->out.body;
    size_t n = everything->rows.len / sizeof(struct row);
    sv next = SV_NONE;
    if (n)
        qsort(everything->rows.ptr, n, sizeof(struct row), row_cmp);
    json_writer_init(&w, body);
    json_obj(&w);
    json_kv_str(&w, "resourceType", SV_LIT("Bundle"));
    json_kv_str(&w, "type", SV_LIT("searchset"));
    json_kv_i64(&w, "total", (int64_t)n);
    size_t without = body->len;
    json_key(&w, "entry");
    json_arr(&w);
    size_t empty = body->len;
    TRY(write_rows(everything, &w, (const struct row *)(void *)everything->rows.ptr, n, &next, e));
    TRY(rest_page_notes(everything->p, &w, e));
    json_arr_end(&w);
    /* FHIR has no empty arrays. */
    if (body->len == empty + 1)
        body->len = without;
    json_key(&w, "link");
    json_arr(&w);
    TRY(self_link(everything, &w, e));
    if (next.ptr)
        TRY(rest_page_link(everything->p, &w, "next", next, e));
    json_arr_end(&w);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static err_code patient_there(struct everything *everything, struct err *e)
{
    struct store_version v;
    bool sees;
    err_code rc =
        store_get_light(everything->call->st, everything->call->type, everything->call->id,
                        everything->p->as_of, everything->call->a, &v, e);
    if (rc == ERR_NOT_FOUND)
        return rest_not_known(everything->call, e);
    TRY(rc);
    TRY(rest_sees(everything->call, SMART_R, &v, &sees, e));
    if (!sees)
        return rest_not_known(everything->call, e);
    return v.method == STORE_METHOD_DELETE ? ERR(e, ERR_GONE, "Patient with this id was deleted")
                                           : ERR_OK;
}

static err_code run(struct everything *everything, struct err *e)
{
    TRY(read_request(everything, e));
    TRY(patient_there(everything, e));
    TRY(gather_members(everything, e));
    TRY(gather_outside(everything, e));
    everything->call->out.status = 200;
    return write_bundle(everything, e);
}

err_code rest_everything(struct rest_call *call, struct err *e)
{
    struct everything *everything = ARENA_NEW(call->a, struct everything);
    struct rest_page *page = ARENA_NEW(call->a, struct rest_page);
    if (everything == NULL || page == NULL)
        return arena_oom(call->a, e);
    page->call = call;
    /* A client that does not page gets as much as fits. */
    page->count = PAGE_COUNT_MAX;
    page->path = arena_fmt(call->a, "Patient/%.*s/$everything", SV_FMT(call->id));
    if (page->path.ptr == NULL)
        return arena_oom(call->a, e);
    CLEANUP(arena_free) struct arena *a = arena_new(EVERYTHING_MEMORY);
    *everything = (struct everything){ .call = call, .p = page, .a = a, .e = e };
    buf_init(&everything->rows, EVERYTHING_MAX * sizeof(struct row));
    buf_init(&everything->found, EVERYTHING_MAX * sizeof(struct search_id));
    err_code rc = run(everything, e);
    buf_done(&everything->rows);
    buf_done(&everything->found);
    id_set_done(&everything->seen);
    return rc;
}
