/* ranges.c - a criterion as ranges of index entries.
 *
 * A range may hold more than the criterion means, never less: whatever an entry lost of its value
 * (seconds, digits, the end of a text), the range has lost too. Ranges come out sorted and apart
 * from each other. Where no range can hold every resource that is meant (:not, :missing, :contains
 * and others) the answer is that the index cannot help. */
#include "search/search_private.h"

#include <math.h>

struct ranging {
    struct search_range *ranges;
    size_t n, cap;
    struct arena *a;
};

/* The first bytes behind everything that begins with these; empty: there is no such. */
static void successor(struct entry *x)
{
    while (x->len && x->v[x->len - 1] == 0xFF)
        x->len--;
    if (x->len)
        x->v[x->len - 1]++;
}

/* from: inclusive; to: everything that begins with it too. */
static bool add_range(struct ranging *ranging, struct entry from, struct entry to)
{
    if (ranging->n == ranging->cap) {
        size_t cap = ranging->cap ? ranging->cap * 2 : 8;
        struct search_range *more = arena_alloc(ranging->a, cap * sizeof *more);
        if (more == NULL)
            return false;
        if (ranging->n)
            memcpy(more, ranging->ranges, ranging->n * sizeof *more);
        ranging->ranges = more;
        ranging->cap = cap;
    }
    successor(&to);
    struct search_range *r = &ranging->ranges[ranging->n++];
    memset(r, 0, sizeof *r);
    memcpy(r->from, from.v, from.len);
    memcpy(r->to, to.v, to.len);
    r->from_len = from.len;
    r->to_len = to.len;
    return true;
}

static bool numbers(struct ranging *ranging, char tag, double from, double to)
{
    return add_range(ranging, number_entry(tag, from), number_entry(tag, to));
}

/* Of an interval that only begins, or only ends, within the bounds one end is looked for. */
static bool number_ranges(struct ranging *ranging, const struct search_term *term)
{
    const double value = term->value.near, lo = term->lo.near, hi = term->hi.near;
    switch (term->prefix) {
    case SEARCH_EQ:
        return numbers(ranging, 'S', lo, hi) && numbers(ranging, 'L', lo, hi);
    case SEARCH_AP:
        return numbers(ranging, 'S', lo, hi) && numbers(ranging, 'L', -INFINITY, hi);
    case SEARCH_GT:
    case SEARCH_GE:
    case SEARCH_SA:
        return numbers(ranging, 'S', value, INFINITY) && numbers(ranging, 'H', value, INFINITY);
    case SEARCH_LT:
    case SEARCH_LE:
    case SEARCH_EB:
        return numbers(ranging, 'S', -INFINITY, value) && numbers(ranging, 'L', -INFINITY, value);
    default:
        return false;
    }
}

static bool dates(struct ranging *ranging, char tag, int64_t from, int64_t to)
{
    return add_range(ranging, date_entry(tag, from), date_entry(tag, to));
}

static bool date_ranges(struct ranging *ranging, const struct search_term *term)
{
    const int64_t shorter = (SHORT_S + 1) * 1000LL, lo = term->lo_ms, hi = term->hi_ms;
    switch (term->prefix) {
    case SEARCH_EQ:
        return dates(ranging, 'S', lo, hi) && dates(ranging, 'L', lo, hi);
    case SEARCH_GT:
        return dates(ranging, 'S', hi - shorter, INT64_MAX) && dates(ranging, 'H', hi, INT64_MAX);
    case SEARCH_GE:
        return dates(ranging, 'S', lo - shorter, INT64_MAX) && dates(ranging, 'H', lo, INT64_MAX);
    case SEARCH_SA:
        return dates(ranging, 'S', hi, INT64_MAX) && dates(ranging, 'L', hi, INT64_MAX);
    case SEARCH_LT:
        return dates(ranging, 'S', INT64_MIN, lo) && dates(ranging, 'L', INT64_MIN, lo);
    case SEARCH_LE:
        return dates(ranging, 'S', INT64_MIN, hi) && dates(ranging, 'L', INT64_MIN, hi);
    case SEARCH_EB:
        return dates(ranging, 'S', INT64_MIN, lo) && dates(ranging, 'H', INT64_MIN, lo);
    case SEARCH_AP:
        return dates(ranging, 'S', lo - shorter, hi) && dates(ranging, 'L', INT64_MIN, hi);
    default:
        return false;
    }
}

static bool point(struct ranging *ranging, struct entry x)
{
    return add_range(ranging, x, x);
}

static bool text_ranges(struct ranging *ranging, const struct search_text *t)
{
    for (unsigned i = 0; i < t->n; i++)
        if (!point(ranging, text_entry(t->readings[i], false)))
            return false;
    return t->n > 0;
}

/* :exact means the text as it is, whose fold may be nothing. */
static bool string_ranges(struct ranging *ranging, search_modifier m,
                          const struct search_term *term)
{
    struct folded f;
    if (m != SEARCH_MOD_EXACT)
        return text_ranges(ranging, &term->folded);
    if (!fold(term->raw, &f))
        return false;
    bool ok = f.text.len > 0 && point(ranging, text_entry(f.text, false));
    fold_done(&f);
    return ok;
}

/* Entries whose value begins as those of a token may: in how many ways the code and its system can
 * stand. */
static size_t token_begins(const struct search_term *term, struct entry out[SEARCH_TOKEN_KEYS])
{
    size_t n = 0;
    for (unsigned i = 0; i < 2; i++) {
        const bool any_case = i == 0;
        if (!term->has_system) {
            out[n++] = code_entry(term->code, any_case);
            continue;
        }
        out[n++] = token_entry(term->code, any_case, term->system, false);
        out[n++] = token_entry(term->code, any_case, SV_NONE, true);
    }
    return n;
}

static bool token_ranges(struct ranging *ranging, search_modifier m, const struct search_term *term)
{
    struct entry x[SEARCH_TOKEN_KEYS];
    /* the system is that of the identifier's type */
    if (m == SEARCH_MOD_OF_TYPE) {
        x[0] = code_entry(term->code, true);
        x[0].len = FOLDED_LEN;
        return point(ranging, x[0]);
    }
    size_t n = token_begins(term, x);
    for (size_t i = 0; i < n; i++)
        if (!point(ranging, x[i]))
            return false;
    return true;
}

static bool term_ranges(struct ranging *ranging, search_kind kind, search_modifier m,
                        const struct search_term *term)
{
    switch (kind) {
    case SEARCH_TOKEN:
        if (term->code.len == 0)
            return false;
        return token_ranges(ranging, m, term);
    case SEARCH_URI:
        return point(ranging, uri_entry(term->text));
    case SEARCH_STRING:
        return string_ranges(ranging, m, term);
    case SEARCH_REFERENCE:
        if (m == SEARCH_MOD_IDENTIFIER)
            return term->code.len && point(ranging, identifier_entry(term->code));
        return point(ranging, reference_entry(term->text, term->ref_id));
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        return number_ranges(ranging, term);
    case SEARCH_DATE:
        return date_ranges(ranging, term);
    default:
        return false;
    }
}

static int range_cmp(const void *a, const void *b)
{
    const struct search_range *x = a, *y = b;
    return sv_cmp(sv_make(x->from, x->from_len), sv_make(y->from, y->from_len));
}

/* Sorted and merged: no entry stands in two ranges. */
static void settle(struct ranging *ranging)
{
    size_t kept = 0;
    if (ranging->n == 0)
        return;
    qsort(ranging->ranges, ranging->n, sizeof *ranging->ranges, range_cmp);
    for (size_t i = 1; i < ranging->n; i++) {
        struct search_range *last = &ranging->ranges[kept], *r = &ranging->ranges[i];
        bool open = last->to_len == 0;
        if (!open && sv_cmp(sv_make(r->from, r->from_len), sv_make(last->to, last->to_len)) > 0) {
            ranging->ranges[++kept] = *r;
            continue;
        }
        if (!open && (r->to_len == 0 ||
                      sv_cmp(sv_make(r->to, r->to_len), sv_make(last->to, last->to_len)) > 0)) {
            memcpy(last->to, r->to, sizeof last->to);
            last->to_len = r->to_len;
        }
    }
    ranging->n = kept + 1;
}

/* A composite is looked for under one of its components, whose own parameter finds all it finds. */
static bool composite_ranges(const struct search_criterion *criterion, fhir_type type,
                             struct ranging *ranging, uint16_t *param, search_kind *kind)
{
    sv codes = criterion->param->targets, code;
    for (size_t part = 0; sv_cut(&codes, ',', &code) && part < criterion->param->n_parts; part++) {
        const struct search_param *p = search_param_find(type, code);
        if (p == NULL || p->kind != criterion->param->parts[part].kind || !is_indexed(p))
            continue;
        bool ok = true;
        ranging->n = 0;
        for (size_t i = 0; i < criterion->n_terms && ok; i++)
            ok = term_ranges(ranging, p->kind, SEARCH_MOD_NONE, &criterion->terms[i].parts[part]);
        if (ok) {
            *param = p->number;
            *kind = p->kind;
            return true;
        }
    }
    return false;
}

/* ---- chains ---- */

static bool ranges_of(const struct search_criterion *criterion, fhir_type type, bool inner,
                      struct arena *a, struct search_driver *out);

/* No contained resource has an id of its own, an instant, or anything that leads to it from
 * outside. */
static bool never_inside(const struct search_criterion *criterion)
{
    return criterion->param == NULL || (criterion->modifier == SEARCH_MOD_NONE &&
                                        (criterion->param == &search_created_at ||
                                         sv_eq(criterion->param->code, SV_LIT("_id")) ||
                                         sv_eq(criterion->param->code, SV_LIT("_lastUpdated"))));
}

/* A range of a contained resource's own entries, under its holder. */
static bool add_inside(struct ranging *ranging, fhir_type type, uint16_t param,
                       const struct search_range *r)
{
    struct entry from = contained_entry(type, param, sv_make(r->from, r->from_len));
    struct entry to = contained_entry(type, param, sv_make(r->to, r->to_len));
    if (!add_range(ranging, from, to))
        return false;
    /* it is not in: no successor of it */
    if (r->to_len) {
        memcpy(ranging->ranges[ranging->n - 1].to, to.v, to.len);
        ranging->ranges[ranging->n - 1].to_len = to.len;
    }
    return true;
}

/* inner: the chain goes on from a contained resource; what that leads to is not listed again. */
static bool chain_ranges(const struct search_criterion *criterion, bool inner,
                         struct ranging *ranging, bool *inside)
{
    for (size_t i = 0; i < criterion->n_set; i++)
        if (!point(ranging, reference_entry(SV_NONE, criterion->set[i].id)))
            return false;
    for (size_t i = 0; i < criterion->n_inside; i++) {
        const struct search_inside *in = &criterion->inside[i];
        struct search_driver d;
        if (never_inside(in->criterion))
            continue;
        if (!*inside && !point(ranging, tag_entry(inner ? CONTAINED_TAG : CONTAINED_MORE)))
            return false;
        *inside = true;
        if (inner)
            return true;
        if (!ranges_of(in->criterion, in->type, true, ranging->a, &d)) {
            if (!point(ranging, contained_entry(in->type, 0, SV_NONE)))
                return false;
            continue;
        }
        for (size_t k = 0; k < d.n; k++)
            if (!add_inside(ranging, in->type, d.param, &d.ranges[k]))
                return false;
    }
    return true;
}

static bool may_be_ranged(const struct search_criterion *criterion)
{
    return is_indexed(criterion->param) && criterion->modifier != SEARCH_MOD_MISSING &&
           criterion->modifier != SEARCH_MOD_NOT && criterion->modifier != SEARCH_MOD_TEXT &&
           criterion->modifier != SEARCH_MOD_CONTAINS && criterion->modifier != SEARCH_MOD_ABOVE &&
           !(criterion->modifier == SEARCH_MOD_BELOW && criterion->param->kind == SEARCH_URI);
}

static bool ranges_of(const struct search_criterion *criterion, fhir_type type, bool inner,
                      struct arena *a, struct search_driver *out)
{
    struct ranging ranging = { .a = a };
    search_kind kind;
    uint16_t param;
    bool inside = false;
    if (criterion->param == NULL || type == FHIR_TYPE_NONE)
        return false;
    kind = criterion->param->kind;
    param = criterion->param->number;
    if (criterion->is_set) {
        if (!chain_ranges(criterion, inner, &ranging, &inside))
            return false;
    } else if (kind == SEARCH_COMPOSITE) {
        if (!composite_ranges(criterion, type, &ranging, &param, &kind))
            return false;
    } else {
        if (!may_be_ranged(criterion))
            return false;
        for (size_t i = 0; i < criterion->n_terms; i++)
            if (!term_ranges(&ranging, kind, criterion->modifier, &criterion->terms[i]))
                return false;
    }
    settle(&ranging);
    *out = (struct search_driver){
        param, ranging.ranges, ranging.n, inside, (uint8_t)form_since(kind, inside),
    };
    return true;
}

bool search_ranges(const struct search_criterion *criterion, fhir_type type, struct arena *a,
                   struct search_driver *out)
{
    return ranges_of(criterion, type, false, a, out);
}

/* ---- counting ---- */

size_t search_count_keys(const struct search_criterion *criterion, fhir_type type, uint16_t *param,
                         unsigned char values[SEARCH_TOKEN_KEYS][SEARCH_TOKEN_LEN], size_t *len)
{
    struct entry x[SEARCH_TOKEN_KEYS];
    if (criterion->param == NULL || criterion->is_set || criterion->modifier != SEARCH_MOD_NONE ||
        criterion->n_terms != 1 || criterion->terms[0].code.len == 0 || type == FHIR_TYPE_NONE ||
        !is_counted(criterion->param))
        return 0;
    size_t n = token_begins(&criterion->terms[0], x);
    *param = criterion->param->number;
    *len = x[0].len;
    for (size_t i = 0; i < n; i++)
        memcpy(values[i], x[i].v, *len);
    return n;
}
