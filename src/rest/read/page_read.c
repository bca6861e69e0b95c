/* page_read.c - the parameters of a search become a page to be written: results first (_count,
 * _sort, _include ...), because the page says as of which commit the rest is asked, then the
 * criteria of its query.
 *
 * A parameter that no type has is passed over with a note on the page, or refused under Prefer:
 * handling=strict.
 * Source: FHIR R4 search.html; what differs from HealthLake is in docs/api-fhir.md. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"
#include "rest/params_private.h"
#include "rest/read/cursor_private.h"
#include "rest/read/page_private.h"

#include "base/limits.h"

static err_code bad(struct err *e, const char *what)
{
    return ERR(e, ERR_INVALID, "%s", what);
}

static err_code read_count(struct rest_page *page, sv value, struct err *e)
{
    uint64_t n;
    if (!sv_to_u64(value, &n))
        return bad(e, "_count must be a whole number");
    if (n == 0)
        page->count_only = true;
    page->count = n > PAGE_COUNT_MAX ? PAGE_COUNT_MAX : (size_t)n;
    return ERR_OK;
}

static err_code read_summary(struct rest_page *page, sv value, struct err *e)
{
    static const char *const names[] = { "false", "true", "text", "data", "count" };
    for (unsigned i = 0; i < 5; i++)
        if (sv_eq_cstr(value, names[i])) {
            page->count_only |= i == 4;
            page->summary = i == 4 ? REST_SUMMARY_FALSE : (enum rest_summary)i;
            return ERR_OK;
        }
    return bad(e, "_summary must be true, text, data, count or false");
}

/* _asOf is a parameter of our own: the store as of a commit. An export's manifest has such a number
 * (asOfCommit). It shows what a history shows, so it needs the right to that. */
static err_code read_as_of(struct rest_page *page, sv value, struct err *e)
{
    uint64_t t, newest;
    TRY(rest_reads_newest(page->call, &newest, e));
    if (!sv_to_u64(value, &t) || t == 0 || t > newest)
        return bad(e, "_asOf must be the number of a commit of this data store");
    TRY(rest_allowed(page->call, page->call->type ? "GetHistoryByResourceType" : "GetFullHistory",
                     e));
    /* A past version may have been taken out of a scope since. */
    if (rest_grant_limits(page->call, FHIR_TYPE_NONE, SMART_S))
        return ERR(e, ERR_DENIED, "_asOf needs scopes that give the search of every resource");
    page->as_of = t;
    page->past = true;
    return ERR_OK;
}

static err_code read_total(struct rest_page *page, sv value, struct err *e)
{
    if (!sv_eq(value, SV_LIT("none")) && !sv_eq(value, SV_LIT("estimate")) &&
        !sv_eq(value, SV_LIT("accurate")))
        return bad(e, "_total must be none, estimate or accurate");
    page->total = !sv_eq(value, SV_LIT("none"));
    return ERR_OK;
}

static err_code read_sort(struct rest_page *page, sv value, struct err *e)
{
    sv one;
    if (page->n_types != 1)
        return bad(e, "_sort needs a search of one type");
    while (sv_cut(&value, ',', &one)) {
        struct query_sort s = { 0 };
        if (sv_starts(one, SV_LIT("-"))) {
            s.descending = true;
            one = sv_tail(one, 1);
        }
        s.param = search_param_find(page->types[0], one);
        if (s.param == NULL || s.param->kind == SEARCH_COMPOSITE || s.param->kind == SEARCH_SPECIAL)
            return ERR(e, ERR_INVALID, "_sort: %s has no search parameter of that name to sort by",
                       fhir_type_name(page->types[0]));
        if (page->n_sort == QUERY_SORT_MAX)
            return ERR(e, ERR_TOO_LARGE, "_sort takes at most %u rules", QUERY_SORT_MAX);
        page->sort[page->n_sort++] = s;
    }
    return ERR_OK;
}

/* Type:parameter[:target], or Type:*, or * */
static err_code read_one_include(struct rest_page *page, sv name, sv value, struct err *e)
{
    sv modifier = name, word, type_name, code, target = SV_NONE, rest = sv_trim(value);
    struct rest_include in = { .reverse = sv_starts(name, SV_LIT("_revinclude")) };
    /* This cannot fail: the text is not SV_NONE. */
    (void)sv_cut(&modifier, ':', &word);
    if (modifier.ptr && !sv_eq(modifier, SV_LIT("iterate")) && !sv_eq(modifier, SV_LIT("recurse")))
        return bad(e, "_include and _revinclude take the modifier :iterate and no other");
    in.iterate = modifier.ptr != NULL;
    if (page->n_includes == PAGE_INCLUDES_MAX)
        return ERR(e, ERR_TOO_LARGE, "A search takes at most %u _include and _revinclude",
                   PAGE_INCLUDES_MAX);
    /* * alone: all references of all matches */
    if (sv_eq(rest, SV_LIT("*")) && !in.reverse) {
        page->includes[page->n_includes++] = in;
        return ERR_OK;
    }
    if (!sv_cut(&rest, ':', &type_name) || !sv_cut(&rest, ':', &code))
        return bad(e,
                   "_include and _revinclude are written Type:parameter or Type:parameter:Target");
    in.type = fhir_type_find(type_name);
    if (in.type == FHIR_TYPE_NONE)
        return ERR(e, ERR_INVALID, "_include and _revinclude begin with a resource type: %s",
                   fhir_type_not(type_name, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
    if (sv_cut(&rest, ':', &target)) {
        in.target = fhir_type_find(target);
        if (in.target == FHIR_TYPE_NONE)
            return ERR(e, ERR_INVALID, "The target of _include: %s",
                       fhir_type_not(target, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
    }
    if (!sv_eq(code, SV_LIT("*"))) {
        in.param = search_param_find(in.type, code);
        if (in.param == NULL || in.param->kind != SEARCH_REFERENCE)
            return ERR(e, ERR_INVALID, "_include: %s has no reference parameter of that name",
                       fhir_type_name(in.type));
        if (in.target && !search_param_targets(in.param, in.target))
            return ERR(e, ERR_INVALID, "_include: %.*s does not lead to that type",
                       SV_FMT(in.param->code));
    }
    page->includes[page->n_includes++] = in;
    return ERR_OK;
}

/* HealthLake's clients send several in one parameter, divided by commas. */
static err_code read_include(struct rest_page *page, sv name, sv value, struct err *e)
{
    sv one;
    while (sv_cut(&value, ',', &one))
        if (!rest_says_nothing(one))
            TRY(read_one_include(page, name, one, e));
    return ERR_OK;
}

static err_code read_elements(struct rest_page *page, sv value, struct err *e)
{
    sv one;
    while (sv_cut(&value, ',', &one)) {
        /* "Patient.name" means name, and a deeper path means its root element. */
        size_t dot = sv_find(one, '.');
        fhir_type t = fhir_type_find(sv_head(one, dot));
        if (t && dot < one.len)
            one = sv_tail(one, dot + 1);
        one = sv_trim(sv_head(one, sv_find(one, '.')));
        if (one.len == 0)
            continue;
        if (page->n_elements == PAGE_ELEMENTS_MAX)
            return ERR(e, ERR_TOO_LARGE, "_elements takes at most %u names", PAGE_ELEMENTS_MAX);
        page->elements[page->n_elements++] = one;
    }
    return ERR_OK;
}

err_code rest_page_subset_read(struct rest_page *page, sv name, sv value, bool *taken,
                               struct err *e)
{
    bool summary = sv_eq(name, SV_LIT("_summary"));
    *taken = summary || sv_eq(name, SV_LIT("_elements"));
    if (*taken)
        TRY(summary ? read_summary(page, value, e) : read_elements(page, value, e));
    if (page->summary != REST_SUMMARY_FALSE && page->n_elements)
        return bad(e, "_summary and _elements exclude each other");
    return ERR_OK;
}

/* Read a parameter that says how the result is shown. False: it is none of those. */
static bool control(struct rest_page *page, sv name, sv value, err_code *rc, struct err *e)
{
    sv word = sv_head(name, sv_find(name, ':'));
    bool taken;
    *rc = rest_page_subset_read(page, name, value, &taken, e);
    if (taken || *rc != ERR_OK)
        return true;
    if (sv_eq(word, SV_LIT("_include")) || sv_eq(word, SV_LIT("_revinclude")))
        *rc = read_include(page, name, value, e);
    else if (sv_eq(name, SV_LIT("_count")))
        *rc = read_count(page, value, e);
    else if (sv_eq(name, SV_LIT("_total")))
        *rc = read_total(page, value, e);
    else if (sv_eq(name, SV_LIT("_sort")))
        *rc = read_sort(page, value, e);
    else if (sv_eq(name, SV_LIT("_asOf")))
        *rc = read_as_of(page, value, e);
    else if (sv_eq(name, SV_LIT("_text")) || sv_eq(name, SV_LIT("_content")) ||
             sv_eq(name, SV_LIT("_filter")) || sv_eq(name, SV_LIT("_query")) ||
             sv_eq(name, SV_LIT("_list")) || sv_eq(name, SV_LIT("_contained")))
        *rc = ERR(e, ERR_UNSUPPORTED, "%.*s is not offered", SV_FMT(name));
    else
        return sv_eq(name, SV_LIT("_format")) || sv_eq(name, SV_LIT("_pretty")) ||
               sv_eq(name, SV_LIT("_type")) || sv_eq(name, SV_LIT("page"));
    return true;
}

static bool belongs(const struct rest_page *page, fhir_type t)
{
    const struct search_param *members[SEARCH_COMPARTMENT_MAX];
    return page->owner == FHIR_TYPE_NONE || t == page->owner ||
           search_compartment(page->owner, t, members);
}

static void type_insert(struct rest_page *page, size_t at, fhir_type t)
{
    memmove(&page->types[at + 1], &page->types[at], (page->n_types - at) * sizeof page->types[0]);
    page->types[at] = t;
    page->n_types++;
}

/* The types of a search over several: all, or those of _type. In a compartment, those that can be
 * members. */
static err_code read_types(struct rest_page *page, struct err *e)
{
    sv list = rest_param(page->call, "_type"), one;
    const struct search_param *members[SEARCH_COMPARTMENT_MAX];
    page->owner_at = QUERY_NO_OWNER;
    if (!page->any_type)
        return ERR_OK;
    for (unsigned t = 1; t <= fhir_n_types() && list.ptr == NULL; t++)
        if (belongs(page, (fhir_type)t))
            page->types[page->n_types++] = (fhir_type)t;
    while (sv_cut(&list, ',', &one)) {
        fhir_type t = fhir_type_find(one);
        if (t == FHIR_TYPE_NONE)
            return ERR(e, ERR_INVALID, "_type must be a list of resource types: %s",
                       fhir_type_not(one, (char[FHIR_TYPE_NOT_LEN]){ 0 }));
        size_t at = page->n_types;
        while (at && page->types[at - 1] > t)
            at--;
        if ((at && page->types[at - 1] == t) || !belongs(page, t) ||
            page->n_types == QUERY_TYPES_MAX - 1)
            continue;
        type_insert(page, at, t);
    }
    bool any = page->n_types == 0;
    for (size_t i = 0; i < page->n_types; i++)
        any |= query_grant_extent(page->call->grant, page->types[i], SMART_S) != QUERY_NOTHING;
    if (!any)
        return ERR(e, ERR_DENIED, "The scopes of the token do not give the search of these types");
    for (size_t i = 0; i < page->n_types && page->owner; i++)
        /* The owner comes first, then resources of its type that are linked to it. */
        if (page->types[i] == page->owner) {
            page->owner_at = i;
            if (search_compartment(page->owner, page->owner, members))
                type_insert(page, i, page->owner);
            break;
        }
    return ERR_OK;
}

/* A name that was encoded twice and is still unknown is an error: the sender surely does not mean
 * all resources. */
static err_code misspelt(sv name, struct err *e)
{
    return ERR(e, ERR_INVALID, "The name of search parameter %.*s is encoded twice, and unknown",
               SV_FMT(sv_head(name, 64)));
}

err_code rest_page_ignored(struct rest_page *page, sv name, const struct err *why, struct err *e)
{
    if (sv_find(name, '%') < name.len)
        return misspelt(name, e);
    if (rest_prefers(page->call, "handling=strict"))
        return ERR(e, ERR_INVALID, "Search parameter %.*s: %s", SV_FMT(sv_head(name, 64)),
                   why->msg);
    sv text = arena_fmt(page->call->a, "Search parameter %.*s was ignored: %s",
                        SV_FMT(sv_head(name, 64)), why->msg);
    const struct rest_issue note = { "warning", "not-supported", text, SV_NONE };
    return rest_issue_add(page->call->a, &page->notes, note, e);
}

err_code rest_page_read(struct rest_page *page, struct err *e)
{
    struct rest_call *call = page->call;
    struct err why;
    sv place;
    TRY(rest_read_names(call, e));
    TRY(rest_cursor_open(call, page->path, &place, e));
    page->asked = rest_param(call, "page");
    TRY(read_types(page, e));
    /* Parameters of the result come first: they say as of which commit the query is asked. */
    bool *done = arena_calloc(call->a, call->params.n + 1, sizeof *done);
    if (done == NULL)
        return arena_oom(call->a, e);
    for (size_t i = 0; i < call->params.n; i++) {
        err_code rc = ERR_OK;
        const struct rest_param *param = &call->params.items[i];
        done[i] = param->name.len == 0 || control(page, param->name, param->value, &rc, e);
        TRY(rc);
    }
    struct query *query = &page->q;
    if (place.ptr)
        TRY(rest_page_place_read(page, place, e));
    if (page->as_of == 0)
        page->as_of = call->as_of;
    if (page->as_of == 0)
        TRY(rest_reads_newest(call, &page->as_of, e));
    const struct query_source src = rest_query_source(call, page->as_of);
    query_init(query, &src, page->types[0]);
    memcpy(query->types, page->types, page->n_types * sizeof query->types[0]);
    query->n_types = page->n_types;
    if (page->owner)
        TRY(query_compartment(query, page->owner, call->id, e));
    query->owner_at = page->owner_at;
    for (size_t i = 0; i < call->params.n; i++) {
        if (done[i])
            continue;
        err_code rc =
            query_add(query, call->params.items[i].name, call->params.items[i].value, &why);
        if (rc == ERR_NOT_FOUND && call->params.items[i].twice)
            return misspelt(call->params.items[i].name, e);
        if (rc == ERR_NOT_FOUND) {
            TRY(rest_page_ignored(page, call->params.items[i].name, &why, e));
            /* The self link leaves it out. */
            call->params.items[i].name.len = 0;
            continue;
        }
        if (rc != ERR_OK)
            return err_pass(e, &why);
    }
    if (page->summary == REST_SUMMARY_TEXT && page->n_includes)
        return bad(e, "_summary=text goes with no _include and no _revinclude");
    if (page->after ? page->n_after != page->n_sort : page->from_place && page->n_sort)
        return bad(e, "Invalid pagination token: it is not of this search");
    return ERR_OK;
}
