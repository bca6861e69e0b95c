/* view.c - is a resource meant, as of one commit?
 *
 * Its level decides first (level.c), then the filter (filter.c). Provenance that comes with
 * includeAssociatedData is meant when something that it is about is; of the latest alone, when no
 * newer Provenance is about the same. */
#include "export/export_private.h"

#include "codec/json.h"

static bool is_provenance(fhir_type type)
{
    return export_is_type(type, "Provenance");
}

bool export_view_is_whole(const struct export_view *view, fhir_type type)
{
    return view->filter == NULL ||
           (view->level == JOB_EXPORT_SYSTEM && !export_filter_reads(view->filter, type) &&
            !(view->associated && is_provenance(type)));
}

/* ---- includeAssociatedData ---- */

struct latest {
    const struct export_view *view;
    struct arena *a;
    fhir_type type; /* of the target */
    sv id;
    bool found;
    err_code rc;
};

static err_code same_target(void *ctx, fhir_type type, sv id, struct err *e)
{
    struct latest *l = ctx;
    (void)e;
    l->found |= type == l->type && sv_eq(id, l->id);
    return ERR_OK;
}

static int64_t recorded(yyjson_val *provenance)
{
    int64_t ms = INT64_MIN;
    if (!instant_parse(json_string(json_get(provenance, "recorded")), &ms))
        return INT64_MIN;
    return ms;
}

/* Is s the newest, by Provenance.recorded, then by id, of those about the target? */
static err_code is_latest(const struct export_view *view, const struct search_subject *s,
                          fhir_type type, sv id, struct arena *a, bool *out, struct err *e)
{
    const struct search_id one = { type, id };
    struct search_criterion c = { .param = search_param_find(s->type, SV_LIT("target")),
                                  .is_set = true,
                                  .set = &one,
                                  .n_set = 1 };
    struct search_driver d;
    CLEANUP(store_index_close) struct store_index_cursor *cur = NULL;
    struct store_index_hit hit;
    err_code rc;
    *out = true;
    if (!search_ranges(&c, s->type, a, &d))
        return arena_oom(a, e);
    TRY(store_index_scan(view->store, s->type, &d, SV_NONE, 0, view->t, &cur, e));
    while (*out && (rc = store_index_next(cur, &hit, e)) == ERR_OK) {
        struct search_subject other;
        struct latest l = { .view = view, .type = type, .id = id };
        bool there;
        TRY(export_subject_read_number(view, hit.number, a, &there, &other, e));
        if (!there || sv_eq(other.id, s->id))
            continue;
        TRY(export_targets(view, other.root, same_target, &l, e));
        int64_t mine = recorded(s->root), its = recorded(other.root);
        if (l.found && (its > mine || (its == mine && sv_cmp(other.id, s->id) > 0)))
            *out = false;
    }
    return *out && rc != ERR_EOF ? rc : ERR_OK;
}

struct association {
    const struct export_view *view;
    const struct search_subject *s;
    struct arena *a;
    bool in;
};

static err_code each_target(void *ctx, fhir_type type, sv id, struct err *e)
{
    struct association *x = ctx;
    struct search_subject target;
    bool there, in;
    size_t owner;
    if (x->in || is_provenance(type))
        return ERR_OK;
    TRY(export_subject_read(x->view, type, id, x->a, &there, &target, e));
    if (!there)
        return ERR_OK;
    TRY(export_view_has(x->view, &target, x->a, &in, &owner, e));
    if (in && !(x->view->associated & JOB_ASSOCIATED_RELEVANT_PROVENANCE))
        TRY(is_latest(x->view, x->s, type, id, x->a, &in, e));
    x->in = in;
    return ERR_OK;
}

err_code export_view_has(const struct export_view *view, const struct search_subject *s,
                         struct arena *a, bool *in, size_t *owner, struct err *e)
{
    TRY(export_owner(view, s, a, in, owner, e));
    if (!*in || view->filter == NULL)
        return ERR_OK;
    TRY(export_filter_match(view->filter, s, view->halt, in, e));
    if (*in && view->associated && is_provenance(s->type)) {
        struct association x = { .view = view, .s = s, .a = a };
        TRY(export_targets(view, s->root, each_target, &x, e));
        *in = x.in;
    }
    return ERR_OK;
}
