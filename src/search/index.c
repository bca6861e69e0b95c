/* index.c - all index entries of a resource, by parameter, each once.
 *
 *   resource -> its parameters -> their values (values.c) -> entries (entry.c) -> the list
 *
 * A reference to a contained resource lists the entries of that resource under the reference's own
 * parameter, so that a chain through it can be looked up. Of one parameter they take
 * CONTAINED_BYTES_MAX at most; what does not fit is said by one entry, and looked at by
 * search_match(). */
#include "search/search_private.h"

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

static void give_value(void *ctx, const struct search_value *value)
{
    struct giving *g = ctx;
    struct entry x[ENTRIES_MAX];
    struct search_value other;
    value = name_within(value, &g->n_names, &other);
    size_t n = entries_of(value, x);
    for (size_t i = g->what == NEWER ? older_entries(value, n) : 0; i < n; i++)
        give(g, &x[i]);
}

/* Within a contained resource: it leads to another one. */
static void give_inner(void *ctx, const struct search_value *value)
{
    struct entry x = tag_entry(CONTAINED_TAG);
    if (value->text.len && value->text.ptr[0] == '#')
        give(ctx, &x);
}

static bool list_item(struct contained *contained, struct contained_item *item);

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
static void param_entries(const struct search_param *param, yyjson_val *root, struct contained *in,
                          enum what what, entry_fn fn, void *ctx)
{
    struct giving g = { fn, ctx, what, param->number, in, CONTAINED_BYTES_MAX, 0 };
    search_extract(param, root, give_value, &g);
    if (in && param->kind == SEARCH_REFERENCE)
        extract_within(param, root, in, what == OF_CONTAINED ? give_inner : give_contained, &g);
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

/* Already listed for this parameter? Few are, as a rule; where many are, list_unique() comes
 * behind. */
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
    n = sv_sort_once(values, n);
    for (size_t i = 0; i < n; i++) {
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

/* May the parameter find something in a resource with these members? Most parameters find nothing
 * in most resources. */
static bool may_find(const struct search_param *param, uint64_t members)
{
    for (size_t i = 0; i < param->n_paths; i++)
        if ((param->paths[i].first & members) || sv_eq(param->paths[i].datatype, SV_LIT("exists")))
            return true;
    return false;
}

static err_code list_all(fhir_type type, yyjson_val *root, struct contained *contained,
                         enum what what, struct buf *out, struct err *e)
{
    size_t n;
    const struct search_param *const *param = search_params_of(type, &n);
    struct listing l = { .out = out, .rc = ERR_OK, .e = e };
    const uint64_t members = members_of(root);
    for (size_t i = 0; i < n && l.rc == ERR_OK; i++) {
        if (!may_find(param[i], members) || !is_indexed(param[i]))
            continue;
        l.first = out->len;
        l.n = 0;
        l.param = param[i]->number;
        param_entries(param[i], root, contained, what, list_entry, &l);
        if (l.rc == ERR_OK && l.n > LISTED_MAX)
            list_unique(&l);
    }
    return l.rc;
}

static bool list_item(struct contained *contained, struct contained_item *item)
{
    struct err too_large;
    if (!item->listed)
        item->fits = list_all(item->type, item->root, contained, OF_CONTAINED, &item->entries,
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
    struct contained contained;
    contained_init(&contained, root);
    err_code rc = list_all(type, root, &contained, what, out, e);
    contained_done(&contained);
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

/* ---- where a walk meets a resource first ---- */

struct first {
    const struct search_driver *d;
    unsigned char *best; /* of SEARCH_KEY_MAX bytes */
    uint8_t len;         /* 0: none yet */
};

/* They are sorted and apart, and there may be one for each member of a Group: so it can only be the
 * last that does not begin behind the value. */
static bool within(const struct search_driver *d, sv v)
{
    size_t lo = 0, hi = d->n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const struct search_range *r = &d->ranges[mid];
        if (sv_cmp(v, sv_make(r->from, r->from_len)) < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    if (lo == 0)
        return false;
    const struct search_range *r = &d->ranges[lo - 1];
    return r->to_len == 0 || sv_cmp(v, sv_make(r->to, r->to_len)) < 0;
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
    const struct search_param *const *param = search_params_of(type, &n);
    struct contained contained;
    contained_init(&contained, root);
    for (size_t i = 0; i < n; i++)
        if (param[i]->number == d->param && is_indexed(param[i]))
            param_entries(param[i], root, d->inside && holds_some(root) ? &contained : NULL, ALL,
                          first_entry, &f);
    contained_done(&contained);
    *out_len = f.len;
    return f.len > 0;
}
