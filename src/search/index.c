/* index.c - values as index entries.
 *
 *   token        7 bytes of a hash of the code in lower case, 2 of the code as it stands (0 where case means
 *                nothing), 4 of the system (0 for none, all bits where the element implies it)
 *   uri          6 bytes of a hash of the URI without |version
 *   reference    'r', 6 bytes of a hash of the id (of the URL without version when it does not end in Type/id)
 *                'i', 6 bytes of a hash of identifier.value in lower case
 *                what a "#x" leads to, type and contents of the contained resource (an entry of its own, as it
 *                would have them by itself; references to other contained ones have a 'c' beside the 'r'):
 *                'c', type, 0, 0                       there is one of that type
 *                'c', type, parameter (2), entry       and it has this entry
 *                'd'                                   there are more than are listed
 *   string       the folded text, read without its joints and with blanks for them, at most STRING_CUT bytes, 0x00;
 *                of a name from each part on
 *   number, quantity   'S', value; a Range, or one with a comparator: 'L', low and 'H', high       8 bytes, ordered as
 *                doubles are, the nearest to the decimal
 *   date         'S', start when it is no longer than SHORT_S; else 'L', start and 'H', end     5 bytes, seconds
 *
 * So a criterion on one side of an interval looks at entries of that side, and a short interval costs one entry.
 * Seconds are cut, decimals rounded, hashes collide, strings end early: entries propose, search_match() decides. */
#include "search/search_private.h"

#include <math.h>
#include <pthread.h>

#define HASH_LEN   6u
#define STRING_CUT 16u
#define YEAR1_S    62135596800LL /* from 0001-01-01 to 1970-01-01 */

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

static void put_big(struct entry *e, uint64_t v, unsigned bytes)
{
    while (bytes--)
        e->v[e->len++] = (unsigned char)(v >> (8 * bytes));
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

struct entry code_entry(sv code, bool any_case)
{
    struct entry e;
    e.len = 0;
    put_bytes(&e, hash(code, true), FOLDED_LEN);
    put_bytes(&e, any_case ? ANY_CASE : case_hash(code), SEARCH_CODE_LEN - FOLDED_LEN);
    return e;
}

struct entry token_entry(sv code, bool any_case, sv system, bool any_system)
{
    struct entry e = code_entry(code, any_case);
    put_bytes(&e, any_system ? ANY_SYSTEM : system_hash(system),
              SEARCH_TOKEN_LEN - SEARCH_CODE_LEN);
    return e;
}

struct entry tag_entry(char tag)
{
    struct entry e;
    e.len = 0;
    e.v[e.len++] = (unsigned char)tag;
    return e;
}

static struct entry tagged_hash(char tag, sv text, bool any_case)
{
    struct entry e = tag_entry(tag);
    put_bytes(&e, hash(text, any_case), HASH_LEN);
    return e;
}

struct entry reference_entry(sv text, sv id)
{
    return tagged_hash('r', id.len ? id : canonical_url(text), false);
}

struct entry identifier_entry(sv value)
{
    return tagged_hash('i', value, true);
}

struct entry uri_entry(sv text)
{
    struct entry e;
    e.len = 0;
    put_bytes(&e, hash(canonical_url(text), false), HASH_LEN);
    return e;
}

struct entry contained_entry(fhir_type type, uint16_t param, sv value)
{
    struct entry e = tag_entry(CONTAINED_TAG);
    put_big(&e, type, 1);
    put_big(&e, param, 2);
    memcpy(e.v + e.len, value.ptr ? value.ptr : "", value.len);
    e.len = (uint8_t)(e.len + value.len);
    return e;
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

struct entry number_entry(char tag, double d)
{
    struct entry e = tag_entry(tag);
    put_big(&e, ordered(d), 8);
    return e;
}

static int64_t floor_s(int64_t ms)
{
    return ms / 1000 - (ms % 1000 < 0);
}

struct entry date_entry(char tag, int64_t ms)
{
    struct entry e = tag_entry(tag);
    const int64_t top = (1LL << 40) - 1;
    int64_t s = ms == INT64_MIN ? 0 : ms == INT64_MAX ? top : floor_s(ms) + YEAR1_S;
    s = s < 0 ? 0 : s > top ? top : s;
    put_big(&e, (uint64_t)s, 5);
    return e;
}

struct entry text_entry(sv folded, bool joints_are_blanks)
{
    struct entry e;
    e.len = (uint8_t)fold_read(folded, joints_are_blanks, (char *)e.v, STRING_CUT);
    return e;
}

/* ---- entries of a value ---- */

/* Both readings of a text, from one place on. */
static size_t readings(sv folded, struct entry *out)
{
    const size_t n = folded.len == 0 ? 0 : fold_has_joint(sv_head(folded, STRING_CUT)) ? 2 : 1;
    for (size_t i = 0; i < n; i++) {
        out[i] = text_entry(folded, i);
        out[i].v[out[i].len++] = 0;
    }
    return n;
}

static size_t name_entries(sv text, struct entry out[ENTRIES_MAX])
{
    struct folded f;
    if (!fold(text, &f))
        return 0;
    size_t at = 0, n = readings(f.text, out);
    for (unsigned i = 1; i < FOLD_PARTS_MAX && fold_next_part(f.text, &at); i++)
        n += readings(sv_tail(f.text, at), out + n);
    fold_done(&f);
    return n;
}

static size_t string_entries(const struct search_value *v, struct entry out[ENTRIES_MAX])
{
    char head[FOLD_ROOM];
    if (v->parts)
        return name_entries(v->text, out);
    return readings(sv_make(head, fold_head(v->text, head)), out);
}

static size_t reference_entries(const struct search_value *v, struct entry out[ENTRIES_MAX])
{
    size_t n = 0;
    if (v->ref_type || v->text.len)
        out[n++] = reference_entry(v->text, v->ref_type ? v->ref_id : SV_NONE);
    sv identifier = yyjson_is_obj(v->element)
                        ? json_string(json_get(json_get(v->element, "identifier"), "value"))
                        : SV_NONE;
    if (identifier.len)
        out[n++] = identifier_entry(identifier);
    return n;
}

static size_t number_entries(const struct search_value *v, struct entry out[ENTRIES_MAX])
{
    const double lo = v->lo.ptr ? decimal_near(v->lo) : -INFINITY;
    const double hi = v->point ? lo : v->hi.ptr ? decimal_near(v->hi) : INFINITY;
    if (lo == hi) {
        out[0] = number_entry('S', lo);
        return 1;
    }
    out[0] = number_entry('L', lo);
    out[1] = number_entry('H', hi);
    return 2;
}

static size_t date_entries(const struct search_value *v, struct entry out[ENTRIES_MAX])
{
    if (v->lo_ms != INT64_MIN && v->hi_ms != INT64_MAX &&
        floor_s(v->hi_ms) - floor_s(v->lo_ms) <= SHORT_S) {
        out[0] = date_entry('S', v->lo_ms);
        return 1;
    }
    out[0] = date_entry('L', v->lo_ms);
    out[1] = date_entry('H', v->hi_ms);
    return 2;
}

static size_t entries_of(const struct search_value *v, struct entry out[ENTRIES_MAX])
{
    switch (v->kind) {
    case SEARCH_TOKEN:
        if (v->code.len == 0)
            return 0;
        out[0] = token_entry(v->code, v->any_case, v->system, v->any_system);
        return 1;
    case SEARCH_URI:
        out[0] = uri_entry(v->text);
        return 1;
    case SEARCH_STRING:
        return string_entries(v, out);
    case SEARCH_REFERENCE:
        return reference_entries(v, out);
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        return number_entries(v, out);
    case SEARCH_DATE:
        return date_entries(v, out);
    default:
        return 0;
    }
}

bool is_indexed(const struct search_param *p)
{
    return p->kind != SEARCH_COMPOSITE && p->kind != SEARCH_SPECIAL && p != &search_created_at &&
           !sv_eq(p->code, SV_LIT("_id")) && !sv_eq(p->code, SV_LIT("_lastUpdated"));
}

/* ---- what is new since form 1 ---- */

unsigned form_since(search_kind kind, bool inside)
{
    return kind == SEARCH_TOKEN || kind == SEARCH_URI || (kind == SEARCH_REFERENCE && !inside) ? 1
                                                                                               : 2;
}

/* Letters with single blanks between them have always been what they are. */
static bool is_plain(sv text)
{
    bool blank = true;
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        const bool letter =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && (c != ' ' || blank))
            return false;
        blank = !letter;
    }
    return !blank;
}

static bool has_leap_second(yyjson_val *v)
{
    size_t i, n;
    yyjson_val *key, *x;
    sv text = json_string(v);
    if (text.len && memmem(text.ptr, text.len, ":60", 3))
        return true;
    if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, n, x) if (has_leap_second(x)) return true;
    } else if (yyjson_is_obj(v)) {
        yyjson_obj_foreach(v, i, n, key, x) if (has_leap_second(x)) return true;
    }
    return false;
}

static bool is_small(sv decimal) /* enough for form 1 */
{
    double d;
    return decimal.ptr == NULL || sv_to_double(decimal, &d);
}

/* How many of its n entries, the first ones, are in an index of form 1? */
static size_t older_entries(const struct search_value *v, size_t n)
{
    switch (v->kind) {
    case SEARCH_STRING: /* then come the parts of names */
        return is_plain(v->text) && n ? 1 : 0;
    case SEARCH_DATE:
        return has_leap_second(v->element) ? 0 : n;
    case SEARCH_NUMBER:
    case SEARCH_QUANTITY:
        return is_small(v->lo) && is_small(v->hi) ? n : 0;
    default:
        return n;
    }
}

/* ---- entries of a parameter ---- */

typedef void (*entry_fn)(void *ctx, sv value);
enum what {
    ALL,
    NEWER,
    OF_CONTAINED
}; /* NEWER: not what form 1 has; OF_CONTAINED: the root is contained */
struct giving {
    entry_fn fn;
    void *ctx;
    enum what what;
    uint16_t param;
    struct contained *in;
    size_t left; /* bytes that contained resources may still take */
    unsigned n_names;
};

static void give(const struct giving *g, const struct entry *x)
{
    g->fn(g->ctx, sv_make(x->v, x->len));
}

static void give_value(void *ctx, const struct search_value *v)
{
    struct giving *g = ctx;
    struct entry x[ENTRIES_MAX];
    struct search_value other;
    v = name_within(v, &g->n_names, &other);
    size_t n = entries_of(v, x);
    for (size_t i = g->what == NEWER ? older_entries(v, n) : 0; i < n; i++)
        give(g, &x[i]);
}

/* Within a contained resource: it leads to another one. */
static void give_inner(void *ctx, const struct search_value *v)
{
    struct entry x = tag_entry(CONTAINED_TAG);
    if (v->text.len && v->text.ptr[0] == '#')
        give(ctx, &x);
}

static bool list_item(struct contained *in, struct contained_item *item);

static void give_contained(void *ctx, const struct search_value *v)
{
    struct giving *g = ctx;
    struct contained_item *item = contained_find(g->in, v->text);
    uint16_t param;
    sv value;
    if (item == NULL || item->shown == g->param)
        return;
    item->shown = g->param;
    if (!list_item(g->in, item) || item->entries.len > g->left) {
        struct entry x = tag_entry(CONTAINED_MORE);
        give(g, &x);
        return;
    }
    g->left -= item->entries.len;
    struct entry x = contained_entry(item->type, 0, SV_NONE);
    give(g, &x);
    for (sv rest = buf_sv(&item->entries); search_index_next(&rest, &param, &value);) {
        x = contained_entry(item->type, param, value);
        give(g, &x);
    }
}

/* in: NULL, or of the holder. */
static void param_entries(const struct search_param *p, yyjson_val *root, struct contained *in,
                          enum what what, entry_fn fn, void *ctx)
{
    struct giving g = { fn, ctx, what, p->number, in, CONTAINED_BYTES_MAX, 0 };
    search_extract(p, root, give_value, &g);
    if (in && p->kind == SEARCH_REFERENCE)
        extract_within(p, root, in, what == OF_CONTAINED ? give_inner : give_contained, &g);
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
static bool listed(const struct listing *l, sv x)
{
    sv rest = sv_tail(buf_sv(l->out), l->first), v;
    uint16_t param;
    for (unsigned i = 0; i < LISTED_MAX && search_index_next(&rest, &param, &v); i++)
        if (sv_eq(v, x))
            return true;
    return false;
}

static void list_entry(void *ctx, sv value)
{
    struct listing *l = ctx;
    if (l->rc != ERR_OK || listed(l, value))
        return;
    uint16_t head[2] = { (uint16_t)value.len, l->param };
    l->rc = buf_add(l->out, sv_make(head, sizeof head), l->e);
    if (l->rc == ERR_OK)
        l->rc = buf_add(l->out, value, l->e);
    l->n++;
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

static err_code list_all(fhir_type type, yyjson_val *root, struct contained *in, enum what what,
                         struct buf *out, struct err *e)
{
    size_t n;
    const struct search_param *const *of = search_params_of(type, &n);
    struct listing l = { .out = out, .rc = ERR_OK, .e = e };
    const uint64_t members = members_of(root);
    for (size_t i = 0; i < n && l.rc == ERR_OK; i++) {
        if (!may_find(of[i], members) || !is_indexed(of[i]))
            continue;
        l.first = out->len;
        l.n = 0;
        l.param = of[i]->number;
        param_entries(of[i], root, in, what, list_entry, &l);
        if (l.rc == ERR_OK && l.n > LISTED_MAX)
            list_unique(&l);
    }
    return l.rc;
}

static bool list_item(struct contained *in, struct contained_item *item)
{
    struct err too_large;
    if (!item->listed)
        item->fits = list_all(item->type, item->root, in, OF_CONTAINED, &item->entries,
                              &too_large) == ERR_OK;
    item->listed = true;
    return item->fits;
}

static bool holds_some(yyjson_val *root)
{
    return json_get(root, "contained") != NULL;
}

static err_code list_resource(fhir_type type, yyjson_val *root, enum what what, struct buf *out,
                              struct err *e)
{
    if (!holds_some(root))
        return list_all(type, root, NULL, what, out, e);
    struct contained in;
    contained_init(&in, root);
    err_code rc = list_all(type, root, &in, what, out, e);
    contained_done(&in);
    return rc;
}

err_code search_index(fhir_type type, yyjson_val *root, struct buf *out, struct err *e)
{
    return list_resource(type, root, ALL, out, e);
}

err_code search_index_newer(fhir_type type, yyjson_val *root, struct buf *out, struct err *e)
{
    return list_resource(type, root, NEWER, out, e);
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

/* ---- what is counted ---- */

static struct {
    pthread_once_t once;
    uint16_t n; /* numbers are below it */
    uint8_t *bits;
} counted = { .once = PTHREAD_ONCE_INIT };

bool is_counted(const struct search_param *p)
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

/* ---- where a walk meets a resource first ---- */

struct first {
    const struct search_driver *d;
    unsigned char *best; /* of SEARCH_KEY_MAX bytes */
    uint8_t len;         /* 0: none yet */
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

static void first_entry(void *ctx, sv value)
{
    struct first *f = ctx;
    if (within(f->d, value) && (f->len == 0 || sv_cmp(value, sv_make(f->best, f->len)) < 0)) {
        memcpy(f->best, value.ptr, value.len);
        f->len = (uint8_t)value.len;
    }
}

bool search_first_entry(const struct search_driver *d, fhir_type type, yyjson_val *root,
                        unsigned char out[SEARCH_KEY_MAX], uint8_t *out_len)
{
    struct first f = { .d = d, .best = out };
    size_t n;
    const struct search_param *const *of = search_params_of(type, &n);
    struct contained in;
    contained_init(&in, root);
    for (size_t i = 0; i < n; i++)
        if (of[i]->number == d->param && is_indexed(of[i]))
            param_entries(of[i], root, d->inside && holds_some(root) ? &in : NULL, ALL, first_entry,
                          &f);
    contained_done(&in);
    *out_len = f.len;
    return f.len > 0;
}
