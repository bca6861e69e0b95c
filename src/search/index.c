/* index.c - values as index entries, and criteria as ranges of them.
 *
 *   token        7 bytes of a hash of the code in lower case, 2 of the code as it stands (0 where case means
 *                nothing), 4 of the system (0 for none, all bits where the element implies it)
 *   uri          6 bytes of a hash of the URI without |version
 *   reference    'r', 6 bytes of a hash of the id (of the URL without version when it does not end in Type/id)
 *                'i', 6 bytes of a hash of identifier.value in lower case
 *   string       the folded text, at most STRING_CUT bytes, 0x00
 *   number, quantity   'S', value; a Range: 'L', low and 'H', high       8 bytes, ordered as doubles are
 *   date         'S', start when it is no longer than SHORT_S; else 'L', start and 'H', end     5 bytes, seconds
 *
 * So a criterion on one side of an interval looks at entries of that side, and a short interval costs one entry.
 * Seconds are cut, hashes collide, strings end early: entries propose, search_match() decides. */
#include "search/search_private.h"

#include <math.h>
#include <pthread.h>

#define HASH_LEN   6u
#define FOLDED_LEN 7u /* of a token */
#define STRING_CUT 16u
#define SHORT_S    (25 * 3600)
#define YEAR1_S    62135596800LL /* from 0001-01-01 to 1970-01-01 */

struct entry {
    uint8_t len;
    unsigned char v[SEARCH_KEY_MAX];
};

/* ---- making entries ---- */

static uint64_t hash(sv text, bool any_case)
{
    uint64_t h = 0x9E3779B97F4A7C15u ^ text.len;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (any_case && c >= 'A' && c <= 'Z')
            c |= 0x20;
        h = (h ^ c) * 0x100000001B3u;
    }
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ h >> 29;
}

static void put_bytes(struct entry *e, uint64_t h, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        e->v[e->len++] = (unsigned char)(h >> (8 * i));
}

static void put_hash(struct entry *e, sv text, bool any_case)
{
    put_bytes(e, hash(text, any_case), HASH_LEN);
}

#define ANY_CASE   0u
#define NO_SYSTEM  0u
#define ANY_SYSTEM 0xFFFFFFFFu

static unsigned case_hash(sv code)
{
    unsigned h = (unsigned)(hash(code, false) >> 40) & 0xFFFF;
    return h == ANY_CASE ? 1 : h;
}

static uint32_t system_hash(sv system)
{
    uint32_t h = (uint32_t)hash(system, false);
    return system.len == 0 ? NO_SYSTEM : h == NO_SYSTEM || h == ANY_SYSTEM ? 1 : h;
}

static struct entry code_entry(sv code, unsigned as_it_stands)
{
    struct entry e = { 0 };
    put_bytes(&e, hash(code, true), FOLDED_LEN);
    put_bytes(&e, as_it_stands, SEARCH_CODE_LEN - FOLDED_LEN);
    return e;
}

static struct entry token_entry(sv code, unsigned as_it_stands, uint32_t system)
{
    struct entry e = code_entry(code, as_it_stands);
    put_bytes(&e, system, SEARCH_TOKEN_LEN - SEARCH_CODE_LEN);
    return e;
}

static struct entry tagged_hash(char tag, sv text)
{
    struct entry e = { 0 };
    e.v[e.len++] = (unsigned char)tag;
    put_hash(&e, text, tag == 'i');
    return e;
}

static void put_big(struct entry *e, uint64_t v, unsigned bytes)
{
    while (bytes--)
        e->v[e->len++] = (unsigned char)(v >> (8 * bytes));
}

/* Order of doubles as order of bytes: the sign bit turned, negatives turned over. */
static uint64_t ordered(double d)
{
    uint64_t u;
    if (d == 0)
        d = 0; /* -0 is 0 */
    memcpy(&u, &d, 8);
    return u >> 63 ? ~u : u | 1ull << 63;
}

static struct entry number_entry(char tag, double d)
{
    struct entry e = { 0 };
    e.v[e.len++] = (unsigned char)tag;
    put_big(&e, ordered(d), 8);
    return e;
}

static int64_t floor_s(int64_t ms)
{
    return ms / 1000 - (ms % 1000 < 0);
}

static struct entry date_entry(char tag, int64_t ms)
{
    struct entry e = { 0 };
    const int64_t top = (1LL << 40) - 1;
    int64_t s = ms == INT64_MIN ? 0 : ms == INT64_MAX ? top : floor_s(ms) + YEAR1_S;
    s = s < 0 ? 0 : s > top ? top : s;
    e.v[e.len++] = (unsigned char)tag;
    put_big(&e, (uint64_t)s, 5);
    return e;
}

/* First bytes of the folded text. ASCII is folded here, whatever follows it: a mark that its last letter loses
 * changes nothing in front of it. */
static void put_folded(struct entry *e, sv text)
{
    size_t n = 0;
    for (; n < text.len && e->len < STRING_CUT; n++) {
        char c = text.ptr[n];
        if (c == 0 || (unsigned char)c >= 0x80)
            break;
        if (c >= '\t' && c <= '\r')
            c = ' ';
        if (c != ' ' || e->len == 0 || e->v[e->len - 1] != ' ')
            e->v[e->len++] = (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    if (n == text.len || e->len == STRING_CUT || text.ptr[n] == 0)
        return;
    CLEANUP(arena_free) struct arena *a = arena_new(text.len * 20 + 4096);
    sv f;
    if (search_fold(text, a, &f, NULL) != ERR_OK)
        return;
    e->len = 0;
    for (size_t i = 0; i < f.len && i < STRING_CUT && f.ptr[i]; i++)
        e->v[e->len++] = (unsigned char)f.ptr[i];
}

static sv reference_key(sv text, sv id)
{
    return id.len ? id : canonical_url(text);
}

/* At most three entries of a value. */
static size_t encode(const struct search_value *v, struct entry out[3])
{
    size_t n = 0;
    memset(out, 0, 3 * sizeof *out);
    switch (v->kind) {
    case SEARCH_TOKEN:
        if (v->code.len)
            out[n++] = token_entry(v->code, v->any_case ? ANY_CASE : case_hash(v->code),
                                   v->any_system ? ANY_SYSTEM : system_hash(v->system));
        break;
    case SEARCH_URI:
        put_hash(&out[n++], canonical_url(v->text), false);
        break;
    case SEARCH_STRING:
        put_folded(&out[n], v->text);
        out[n].v[out[n].len++] = 0;
        n++;
        break;
    case SEARCH_REFERENCE: {
        if (v->ref_type || v->text.len)
            out[n++] = tagged_hash('r', reference_key(v->text, v->ref_type ? v->ref_id : SV_NONE));
        sv identifier = yyjson_is_obj(v->element)
                            ? json_string(json_get(json_get(v->element, "identifier"), "value"))
                            : SV_NONE;
        if (identifier.len)
            out[n++] = tagged_hash('i', identifier);
        break;
    }
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        if (v->lo == v->hi) {
            out[n++] = number_entry('S', v->lo);
        } else {
            out[n++] = number_entry('L', v->lo);
            out[n++] = number_entry('H', v->hi);
        }
        break;
    case SEARCH_DATE:
        if (v->lo_ms != INT64_MIN && v->hi_ms != INT64_MAX &&
            floor_s(v->hi_ms) - floor_s(v->lo_ms) <= SHORT_S) {
            out[n++] = date_entry('S', v->lo_ms);
        } else {
            out[n++] = date_entry('L', v->lo_ms);
            out[n++] = date_entry('H', v->hi_ms);
        }
        break;
    default:
        break;
    }
    return n;
}

static bool is_indexed(const struct search_param *p)
{
    return p->kind != SEARCH_COMPOSITE && p->kind != SEARCH_SPECIAL && p != &search_created_at &&
           !sv_eq(p->code, SV_LIT("_id")) && !sv_eq(p->code, SV_LIT("_lastUpdated"));
}

/* ---- all entries of a resource ---- */

#define LISTED_MAX 32u /* entries of a parameter that are compared with each other one by one */

struct listing {
    struct buf *out;
    size_t first; /* where this parameter's entries begin */
    size_t n;     /* of this parameter */
    uint16_t param;
    err_code rc;
    struct err *e;
};

/* Already listed for this parameter? Few are, as a rule; where many are, list_unique() comes behind. */
static bool listed(const struct listing *l, const struct entry *x)
{
    sv rest = sv_tail(buf_sv(l->out), l->first), v;
    uint16_t param;
    for (unsigned i = 0; i < LISTED_MAX && search_index_next(&rest, &param, &v); i++)
        if (sv_eq(v, sv_make(x->v, x->len)))
            return true;
    return false;
}

static void list_value(void *ctx, const struct search_value *v)
{
    struct listing *l = ctx;
    struct entry x[3];
    size_t n = encode(v, x);
    for (size_t i = 0; i < n && l->rc == ERR_OK; i++) {
        if (listed(l, &x[i]))
            continue;
        uint16_t head[2] = { x[i].len, l->param };
        l->rc = buf_add(l->out, sv_make(head, sizeof head), l->e);
        if (l->rc == ERR_OK)
            l->rc = buf_add(l->out, sv_make(x[i].v, x[i].len), l->e);
        l->n++;
    }
}

static int entry_cmp(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

/* Drop what this parameter lists twice: a store may refuse, or show, the same entry twice. */
static void list_unique(struct listing *l)
{
    size_t len = l->out->len - l->first, n = 0, at = l->first;
    char *copy = malloc(len);
    sv *values = malloc(l->n * sizeof *values);
    if (copy == NULL || values == NULL)
        abort();
    memcpy(copy, l->out->ptr + l->first, len);
    uint16_t param;
    for (sv rest = sv_make(copy, len); search_index_next(&rest, &param, &values[n]);)
        n++;
    qsort(values, n, sizeof *values, entry_cmp);
    for (size_t i = 0; i < n; i++) {
        if (i && sv_eq(values[i], values[i - 1]))
            continue;
        uint16_t head[2] = { (uint16_t)values[i].len, l->param };
        memcpy(l->out->ptr + at, head, sizeof head);
        memcpy(l->out->ptr + at + sizeof head, values[i].ptr, values[i].len);
        at += sizeof head + values[i].len;
    }
    l->out->len = at;
    free(values);
    free(copy);
}

static uint64_t members_of(yyjson_val *root)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    yyjson_val *key;
    uint64_t bits = 0;
    while ((key = yyjson_obj_iter_next(&it)) != NULL)
        bits |= name_bit(json_string(key));
    return bits;
}

/* May p find something in a resource with these members? Most parameters find nothing in most resources. */
static bool may_find(const struct search_param *p, uint64_t members)
{
    for (size_t i = 0; i < p->n_paths; i++)
        if ((p->paths[i].first & members) || sv_eq(p->paths[i].datatype, SV_LIT("exists")))
            return true;
    return false;
}

err_code search_index(fhir_type type, yyjson_val *root, struct buf *out, struct err *e)
{
    size_t n;
    const struct search_param *const *of = search_params_of(type, &n);
    struct listing l = { .out = out, .rc = ERR_OK, .e = e };
    uint64_t members = members_of(root);
    for (size_t i = 0; i < n && l.rc == ERR_OK; i++) {
        if (!may_find(of[i], members) || !is_indexed(of[i]))
            continue;
        l.first = out->len;
        l.n = 0;
        l.param = of[i]->number;
        search_extract(of[i], root, list_value, &l);
        if (l.rc == ERR_OK && l.n > LISTED_MAX)
            list_unique(&l);
    }
    return l.rc;
}

bool search_index_next(sv *list, uint16_t *param, sv *value)
{
    uint16_t head[2];
    if (list->len < sizeof head)
        return false;
    memcpy(head, list->ptr, sizeof head);
    if (list->len - sizeof head < head[0])
        return false;
    *param = head[1];
    *value = sv_make(list->ptr + sizeof head, head[0]);
    *list = sv_tail(*list, sizeof head + head[0]);
    return true;
}

/* ---- ranges of a criterion ---- */

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

static bool number_ranges(struct ranging *g, const struct search_term *t)
{
    switch (t->prefix) {
    case SEARCH_EQ:
        return numbers(g, 'S', t->lo, t->hi) && numbers(g, 'L', t->lo, t->hi);
    case SEARCH_AP:
        return numbers(g, 'S', t->lo, t->hi) && numbers(g, 'L', -INFINITY, t->hi);
    case SEARCH_GT:
    case SEARCH_GE:
    case SEARCH_SA:
        return numbers(g, 'S', t->value, INFINITY) && numbers(g, 'H', t->value, INFINITY);
    case SEARCH_LT:
    case SEARCH_LE:
    case SEARCH_EB:
        return numbers(g, 'S', -INFINITY, t->value) && numbers(g, 'L', -INFINITY, t->value);
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
        return dates(g, 'S', lo < hi - shorter ? lo : hi - shorter, INT64_MAX) &&
               dates(g, 'H', lo, INT64_MAX);
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

static bool string_range(struct ranging *g, const struct search_term *t)
{
    struct entry x = { 0 };
    put_folded(&x, t->raw);
    return x.len ? point(g, x) : false;
}

/* Entries whose value begins as those of a token may: in how many ways the code and its system can stand. */
static size_t token_begins(const struct search_term *t, struct entry out[SEARCH_TOKEN_KEYS])
{
    const unsigned as_it_stands[] = { ANY_CASE, case_hash(t->code) };
    size_t n = 0;
    for (size_t i = 0; i < 2; i++) {
        if (!t->has_system) {
            out[n++] = code_entry(t->code, as_it_stands[i]);
            continue;
        }
        out[n++] = token_entry(t->code, as_it_stands[i], system_hash(t->system));
        out[n++] = token_entry(t->code, as_it_stands[i], ANY_SYSTEM);
    }
    return n;
}

static bool token_ranges(struct ranging *g, search_modifier m, const struct search_term *t)
{
    struct entry x[SEARCH_TOKEN_KEYS];
    if (m == SEARCH_MOD_OF_TYPE) { /* the system is that of the identifier's type */
        x[0] = code_entry(t->code, ANY_CASE);
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
    struct entry x = { 0 };
    switch (kind) {
    case SEARCH_TOKEN:
        if (t->code.len == 0)
            return false;
        return token_ranges(g, m, t);
    case SEARCH_URI:
        put_hash(&x, canonical_url(t->text), false);
        return point(g, x);
    case SEARCH_STRING:
        return string_range(g, t);
    case SEARCH_REFERENCE:
        if (m == SEARCH_MOD_IDENTIFIER)
            return t->code.len && point(g, tagged_hash('i', t->code));
        return point(g, tagged_hash('r', reference_key(t->text, t->ref_id)));
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
                             uint16_t *param)
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
            return true;
        }
    }
    return false;
}

bool search_ranges(const struct search_criterion *c, fhir_type type, struct arena *a,
                   struct search_driver *out)
{
    struct ranging g = { .a = a };
    uint16_t param;
    if (c->param == NULL || type == FHIR_TYPE_NONE)
        return false;
    param = c->param->number;
    if (c->is_set) {
        for (size_t i = 0; i < c->n_set; i++)
            if (!point(&g, tagged_hash('r', c->set[i].id)))
                return false;
    } else if (c->param->kind == SEARCH_COMPOSITE) {
        if (!composite_ranges(c, type, &g, &param))
            return false;
    } else {
        if (!is_indexed(c->param) || c->modifier == SEARCH_MOD_MISSING ||
            c->modifier == SEARCH_MOD_NOT || c->modifier == SEARCH_MOD_TEXT ||
            c->modifier == SEARCH_MOD_CONTAINS || c->modifier == SEARCH_MOD_ABOVE ||
            (c->modifier == SEARCH_MOD_BELOW && c->param->kind == SEARCH_URI))
            return false;
        for (size_t i = 0; i < c->n_terms; i++)
            if (!term_ranges(&g, c->param->kind, c->modifier, &c->terms[i]))
                return false;
    }
    settle(&g);
    *out = (struct search_driver){ param, g.ranges, g.n };
    return true;
}

/* ---- counting ---- */

static struct {
    pthread_once_t once;
    uint16_t n; /* numbers are below it */
    uint8_t *bits;
} counted = { .once = PTHREAD_ONCE_INIT };

static bool is_counted(const struct search_param *p)
{
    static const char *const names_one[] = { "identifier", "telecom", "phone", "email" };
    for (size_t i = 0; i < sizeof names_one / sizeof names_one[0]; i++)
        if (sv_eq_cstr(p->code, names_one[i]))
            return false; /* few resources share a value: walking its entries is as fast */
    return p->kind == SEARCH_TOKEN && is_indexed(p);
}

static void find_counted(void)
{
    size_t n;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct search_param *const *of = search_params_of((fhir_type)t, &n);
        for (size_t i = 0; i < n; i++)
            if (of[i]->number >= counted.n)
                counted.n = of[i]->number + 1;
    }
    counted.bits = calloc(FHIR_TYPES_MAX, counted.n); /* lives as long as the process */
    if (counted.bits == NULL)
        abort();
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const struct search_param *const *of = search_params_of((fhir_type)t, &n);
        for (size_t i = 0; i < n; i++)
            counted.bits[t * counted.n + of[i]->number] = is_counted(of[i]);
    }
}

bool search_is_counted(fhir_type type, uint16_t param)
{
    (void)pthread_once(&counted.once, find_counted); /* cannot fail */
    return param < counted.n && counted.bits[(size_t)type * counted.n + param];
}

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

/* ---- where a walk meets a resource first ---- */

struct first {
    const struct search_driver *d;
    struct entry best;
    bool any;
};

static bool within(const struct search_driver *d, sv v)
{
    for (size_t i = 0; i < d->n; i++) {
        const struct search_range *r = &d->ranges[i];
        if (sv_cmp(v, sv_make(r->from, r->from_len)) < 0)
            return false; /* they are sorted */
        if (r->to_len == 0 || sv_cmp(v, sv_make(r->to, r->to_len)) < 0)
            return true;
    }
    return false;
}

static void first_value(void *ctx, const struct search_value *v)
{
    struct first *f = ctx;
    struct entry x[3];
    size_t n = encode(v, x);
    for (size_t i = 0; i < n; i++) {
        sv key = sv_make(x[i].v, x[i].len);
        if (within(f->d, key) && (!f->any || sv_cmp(key, sv_make(f->best.v, f->best.len)) < 0)) {
            f->best = x[i];
            f->any = true;
        }
    }
}

bool search_first_entry(const struct search_driver *d, fhir_type type, yyjson_val *root,
                        unsigned char out[SEARCH_KEY_MAX], uint8_t *out_len)
{
    struct first f = { .d = d };
    size_t n;
    const struct search_param *const *of = search_params_of(type, &n);
    for (size_t i = 0; i < n; i++)
        if (of[i]->number == d->param && is_indexed(of[i]))
            search_extract(of[i], root, first_value, &f);
    if (!f.any)
        return false;
    memcpy(out, f.best.v, f.best.len);
    *out_len = f.best.len;
    return true;
}

/* ---- order ---- */

#define SORT_TEXT_CUT (SEARCH_SORT_KEY_MAX - 1)

struct sorting {
    bool descending, any;
    struct buf best, one;
    err_code rc;
    struct err *e;
};

static void sort_text(struct sorting *s, sv text, bool fold)
{
    sv f = text;
    CLEANUP(arena_free) struct arena *a = NULL;
    if (fold) {
        a = arena_new(text.len * 20 + 4096);
        if (search_fold(text, a, &f, NULL) != ERR_OK)
            f = text;
    }
    s->rc = buf_add(&s->one, sv_head(f, SORT_TEXT_CUT), s->e);
}

static void sort_value(void *ctx, const struct search_value *v)
{
    struct sorting *s = ctx;
    struct entry x = { 0 };
    if (s->rc != ERR_OK)
        return;
    buf_clear(&s->one);
    switch (v->kind) {
    case SEARCH_STRING:
        sort_text(s, v->text, true);
        break;
    case SEARCH_TOKEN:
        sort_text(s, v->code.len ? v->code : v->text, false);
        break;
    case SEARCH_DATE:
        put_big(&x, (uint64_t)v->lo_ms ^ 1ull << 63, 8);
        break;
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        put_big(&x, ordered(v->lo), 8);
        break;
    case SEARCH_REFERENCE:
        sort_text(s, v->ref_type ? v->ref_id : v->text, false);
        break;
    default:
        sort_text(s, v->text, false);
        break;
    }
    if (x.len && s->rc == ERR_OK)
        s->rc = buf_add(&s->one, sv_make(x.v, x.len), s->e);
    int c = sv_cmp(buf_sv(&s->one), buf_sv(&s->best));
    if (s->rc == ERR_OK && (!s->any || (s->descending ? c > 0 : c < 0))) {
        struct buf t = s->best;
        s->best = s->one;
        s->one = t;
        s->any = true;
    }
}

err_code search_sort_key(const struct search_param *p, const struct search_subject *subject,
                         bool descending, struct buf *out, struct err *e)
{
    struct sorting s = { .descending = descending, .rc = ERR_OK, .e = e };
    buf_init(&s.best, 4096);
    buf_init(&s.one, 4096);
    if (sv_eq(p->code, SV_LIT("_id"))) {
        s.any = true;
        s.rc = buf_add(&s.best, subject->id, e);
    } else if (sv_eq(p->code, SV_LIT("_lastUpdated"))) {
        struct search_value v = { .kind = SEARCH_DATE, .lo_ms = subject->instant_ms };
        sort_value(&s, &v);
    } else {
        search_extract(p, subject->root, sort_value, &s);
    }
    if (s.rc == ERR_OK && s.any) {
        s.rc = buf_add_char(out, 1, e);
        if (s.rc == ERR_OK)
            s.rc = buf_add(out, buf_sv(&s.best), e);
    }
    buf_done(&s.best);
    buf_done(&s.one);
    return s.rc;
}
