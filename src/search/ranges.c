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
static bool add_range(struct ranging *g, struct entry from, struct entry to)
{
    if (g->n == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 8;
        struct search_range *more = arena_alloc(g->a, cap * sizeof *more);
        if (more == NULL)
            return false;
        if (g->n)
            memcpy(more, g->ranges, g->n * sizeof *more);
        g->ranges = more;
        g->cap = cap;
    }
    successor(&to);
    struct search_range *r = &g->ranges[g->n++];
    memset(r, 0, sizeof *r);
    memcpy(r->from, from.v, from.len);
    memcpy(r->to, to.v, to.len);
    r->from_len = from.len;
    r->to_len = to.len;
    return true;
}

static bool numbers(struct ranging *g, char tag, double from, double to)
{
    return add_range(g, number_entry(tag, from), number_entry(tag, to));
}

/* Of an interval that only begins, or only ends, within the bounds one end is looked for. */
static bool number_ranges(struct ranging *g, const struct search_term *t)
{
    const double value = t->value.near, lo = t->lo.near, hi = t->hi.near;
    switch (t->prefix) {
    case SEARCH_EQ:
        return numbers(g, 'S', lo, hi) && numbers(g, 'L', lo, hi);
    case SEARCH_AP:
        return numbers(g, 'S', lo, hi) && numbers(g, 'L', -INFINITY, hi);
    case SEARCH_GT:
    case SEARCH_GE:
    case SEARCH_SA:
        return numbers(g, 'S', value, INFINITY) && numbers(g, 'H', value, INFINITY);
    case SEARCH_LT:
    case SEARCH_LE:
    case SEARCH_EB:
        return numbers(g, 'S', -INFINITY, value) && numbers(g, 'L', -INFINITY, value);
    default:
        return false;
    }
}

static bool dates(struct ranging *g, char tag, int64_t from, int64_t to)
{
    return add_range(g, date_entry(tag, from), date_entry(tag, to));
}

static bool date_ranges(struct ranging *g, const struct search_term *t)
{
    const int64_t shorter = (SHORT_S + 1) * 1000LL, lo = t->lo_ms, hi = t->hi_ms;
    switch (t->prefix) {
    case SEARCH_EQ:
        return dates(g, 'S', lo, hi) && dates(g, 'L', lo, hi);
    case SEARCH_GT:
        return dates(g, 'S', hi - shorter, INT64_MAX) && dates(g, 'H', hi, INT64_MAX);
    case SEARCH_GE:
        return dates(g, 'S', lo - shorter, INT64_MAX) && dates(g, 'H', lo, INT64_MAX);
    case SEARCH_SA:
        return dates(g, 'S', hi, INT64_MAX) && dates(g, 'L', hi, INT64_MAX);
    case SEARCH_LT:
        return dates(g, 'S', INT64_MIN, lo) && dates(g, 'L', INT64_MIN, lo);
    case SEARCH_LE:
        return dates(g, 'S', INT64_MIN, hi) && dates(g, 'L', INT64_MIN, hi);
    case SEARCH_EB:
        return dates(g, 'S', INT64_MIN, lo) && dates(g, 'H', INT64_MIN, lo);
    case SEARCH_AP:
        return dates(g, 'S', lo - shorter, hi) && dates(g, 'L', INT64_MIN, hi);
    default:
        return false;
    }
}

static bool point(struct ranging *g, struct entry x)
{
    return add_range(g, x, x);
}

static bool text_ranges(struct ranging *g, const struct search_text *t)
{
    for (unsigned i = 0; i < t->n; i++)
        if (!point(g, text_entry(t->readings[i], false)))
            return false;
    return t->n > 0;
}

/* :exact means the text as it is, whose fold may be nothing. */
static bool string_ranges(struct ranging *g, search_modifier m, const struct search_term *t)
{
    struct folded f;
    if (m != SEARCH_MOD_EXACT)
        return text_ranges(g, &t->folded);
    if (!fold(t->raw, &f))
        return false;
    bool ok = f.text.len > 0 && point(g, text_entry(f.text, false));
    fold_done(&f);
    return ok;
}

/* Entries whose value begins as those of a token may: in how many ways the code and its system can
 * stand. */
static size_t token_begins(const struct search_term *t, struct entry out[SEARCH_TOKEN_KEYS])
{
    size_t n = 0;
    for (unsigned i = 0; i < 2; i++) {
        const bool any_case = i == 0;
        if (!t->has_system) {
            out[n++] = code_entry(t->code, any_case);
            continue;
        }
        out[n++] = token_entry(t->code, any_case, t->system, false);
        out[n++] = token_entry(t->code, any_case, SV_NONE, true);
    }
    return n;
}

static bool token_ranges(struct ranging *g, search_modifier m, const struct search_term *t)
{
    struct entry x[SEARCH_TOKEN_KEYS];
    /* the system is that of the identifier's type */
    if (m == SEARCH_MOD_OF_TYPE) {
        x[0] = code_entry(t->code, true);
        x[0].len = FOLDED_LEN;
        return point(g, x[0]);
    }
    size_t n = token_begins(t, x);
    for (size_t i = 0; i < n; i++)
        if (!point(g, x[i]))
            return false;
    return true;
}

static bool term_ranges(struct ranging *g, search_kind kind, search_modifier m,
                        const struct search_term *t)
{
    switch (kind) {
    case SEARCH_TOKEN:
        if (t->code.len == 0)
            return false;
        return token_ranges(g, m, t);
    case SEARCH_URI:
        return point(g, uri_entry(t->text));
    case SEARCH_STRING:
        return string_ranges(g, m, t);
    case SEARCH_REFERENCE:
        if (m == SEARCH_MOD_IDENTIFIER)
            return t->code.len && point(g, identifier_entry(t->code));
        return point(g, reference_entry(t->text, t->ref_id));
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        return number_ranges(g, t);
    case SEARCH_DATE:
        return date_ranges(g, t);
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
static void settle(struct ranging *g)
{
    size_t kept = 0;
    if (g->n == 0)
        return;
    qsort(g->ranges, g->n, sizeof *g->ranges, range_cmp);
    for (size_t i = 1; i < g->n; i++) {
        struct search_range *last = &g->ranges[kept], *r = &g->ranges[i];
        bool open = last->to_len == 0;
        if (!open && sv_cmp(sv_make(r->from, r->from_len), sv_make(last->to, last->to_len)) > 0) {
            g->ranges[++kept] = *r;
            continue;
        }
        if (!open && (r->to_len == 0 ||
                      sv_cmp(sv_make(r->to, r->to_len), sv_make(last->to, last->to_len)) > 0)) {
            memcpy(last->to, r->to, sizeof last->to);
            last->to_len = r->to_len;
        }
    }
    g->n = kept + 1;
}

/* A composite is looked for under one of its components, whose own parameter finds all it finds. */
static bool composite_ranges(const struct search_criterion *c, fhir_type type, struct ranging *g,
                             uint16_t *param, search_kind *kind)
{
    sv codes = c->param->targets, code;
    for (size_t part = 0; sv_cut(&codes, ',', &code) && part < c->param->n_parts; part++) {
        const struct search_param *p = search_param_find(type, code);
        if (p == NULL || p->kind != c->param->parts[part].kind || !is_indexed(p))
            continue;
        bool ok = true;
        g->n = 0;
        for (size_t i = 0; i < c->n_terms && ok; i++)
            ok = term_ranges(g, p->kind, SEARCH_MOD_NONE, &c->terms[i].parts[part]);
        if (ok) {
            *param = p->number;
            *kind = p->kind;
            return true;
        }
    }
    return false;
}

/* ---- chains ---- */

static bool ranges_of(const struct search_criterion *c, fhir_type type, bool inner, struct arena *a,
                      struct search_driver *out);

/* No contained resource has an id of its own, an instant, or anything that leads to it from
 * outside. */
static bool never_inside(const struct search_criterion *c)
{
    return c->param == NULL ||
           (c->modifier == SEARCH_MOD_NONE &&
            (c->param == &search_created_at || sv_eq(c->param->code, SV_LIT("_id")) ||
             sv_eq(c->param->code, SV_LIT("_lastUpdated"))));
}

/* A range of a contained resource's own entries, under its holder. */
static bool add_inside(struct ranging *g, fhir_type type, uint16_t param,
                       const struct search_range *r)
{
    struct entry from = contained_entry(type, param, sv_make(r->from, r->from_len));
    struct entry to = contained_entry(type, param, sv_make(r->to, r->to_len));
    if (!add_range(g, from, to))
        return false;
    /* it is not in: no successor of it */
    if (r->to_len) {
        memcpy(g->ranges[g->n - 1].to, to.v, to.len);
        g->ranges[g->n - 1].to_len = to.len;
    }
    return true;
}

/* inner: the chain goes on from a contained resource; what that leads to is not listed again. */
static bool chain_ranges(const struct search_criterion *c, bool inner, struct ranging *g,
                         bool *inside)
{
    for (size_t i = 0; i < c->n_set; i++)
        if (!point(g, reference_entry(SV_NONE, c->set[i].id)))
            return false;
    for (size_t i = 0; i < c->n_inside; i++) {
        const struct search_inside *in = &c->inside[i];
        struct search_driver d;
        if (never_inside(in->criterion))
            continue;
        if (!*inside && !point(g, tag_entry(inner ? CONTAINED_TAG : CONTAINED_MORE)))
            return false;
        *inside = true;
        if (inner)
            return true;
        if (!ranges_of(in->criterion, in->type, true, g->a, &d)) {
            if (!point(g, contained_entry(in->type, 0, SV_NONE)))
                return false;
            continue;
        }
        for (size_t k = 0; k < d.n; k++)
            if (!add_inside(g, in->type, d.param, &d.ranges[k]))
                return false;
    }
    return true;
}

static bool may_be_ranged(const struct search_criterion *c)
{
    return is_indexed(c->param) && c->modifier != SEARCH_MOD_MISSING &&
           c->modifier != SEARCH_MOD_NOT && c->modifier != SEARCH_MOD_TEXT &&
           c->modifier != SEARCH_MOD_CONTAINS && c->modifier != SEARCH_MOD_ABOVE &&
           !(c->modifier == SEARCH_MOD_BELOW && c->param->kind == SEARCH_URI);
}

static bool ranges_of(const struct search_criterion *c, fhir_type type, bool inner, struct arena *a,
                      struct search_driver *out)
{
    struct ranging g = { .a = a };
    search_kind kind;
    uint16_t param;
    bool inside = false;
    if (c->param == NULL || type == FHIR_TYPE_NONE)
        return false;
    kind = c->param->kind;
    param = c->param->number;
    if (c->is_set) {
        if (!chain_ranges(c, inner, &g, &inside))
            return false;
    } else if (kind == SEARCH_COMPOSITE) {
        if (!composite_ranges(c, type, &g, &param, &kind))
            return false;
    } else {
        if (!may_be_ranged(c))
            return false;
        for (size_t i = 0; i < c->n_terms; i++)
            if (!term_ranges(&g, kind, c->modifier, &c->terms[i]))
                return false;
    }
    settle(&g);
    *out = (struct search_driver){
        param, g.ranges, g.n, inside, (uint8_t)form_since(kind, inside),
    };
    return true;
}

bool search_ranges(const struct search_criterion *c, fhir_type type, struct arena *a,
                   struct search_driver *out)
{
    return ranges_of(c, type, false, a, out);
}

/* ---- counting ---- */

size_t search_count_keys(const struct search_criterion *c, fhir_type type, uint16_t *param,
                         unsigned char values[SEARCH_TOKEN_KEYS][SEARCH_TOKEN_LEN], size_t *len)
{
    struct entry x[SEARCH_TOKEN_KEYS];
    if (c->param == NULL || c->is_set || c->modifier != SEARCH_MOD_NONE || c->n_terms != 1 ||
        c->terms[0].code.len == 0 || type == FHIR_TYPE_NONE || !is_counted(c->param))
        return 0;
    size_t n = token_begins(&c->terms[0], x);
    *param = c->param->number;
    *len = x[0].len;
    for (size_t i = 0; i < n; i++)
        memcpy(values[i], x[i].v, *len);
    return n;
}
