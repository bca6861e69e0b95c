/* whose.c - whose resources become rows: those in the compartment of one patient, of the members of
 * Groups, or of members that are this patient.
 *
 * The rules are those of exports (export/level.c). A member counts unless he is inactive, and
 * whether he is there is not asked. A resource is his when a parameter of the definition of the
 * patient's compartment leads to him; Provenance, too, when what it is about is his, and the caller
 * may read that. Of Groups the rows are those that were asked for.
 * Source: CompartmentDefinition/patient; SQL on FHIR 2, $viewdefinition-run; FHIR Bulk Data Access,
 * "Group of Patients". */
#include "rest/view/view_private.h"

#include "base/limits.h"
#include "codec/json.h"
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"

#define TARGETS_BYTES ((size_t)64 << 20) /* references of one Provenance */

static fhir_type patient_type(void)
{
    return fhir_type_find(SV_LIT("Patient"));
}

static bool is_type(fhir_type type, const char *name)
{
    return strcmp(fhir_type_name(type), name) == 0;
}

static bool has(const struct view_ids *l, sv id)
{
    return l->n && bsearch(&id, l->ids, l->n, sizeof *l->ids, sv_by_bytes) != NULL;
}

/* ---- who ---- */

/* A resource of a parameter, that the caller may read. ERR_NOT_FOUND. */
static err_code look_up(struct rest_call *call, const char *type, const char *name, sv id,
                        uint64_t as_of, struct arena *a, struct store_version *out, struct err *e)
{
    struct err why = { 0 };
    bool sees = false;
    err_code rc = store_get_light(call->st, fhir_type_find(sv_from(type)), id, as_of, a, out, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    if (rc == ERR_OK && out->method != STORE_METHOD_DELETE)
        TRY(rest_sees(call, SMART_R, out, &sees, e));
    if (sees)
        return ERR_OK;
    return rest_view_fault(call, ERR_NOT_FOUND, "not-found", sv_from(name), e,
                           "There is no %s/%.*s", type, SV_FMT(id));
}

static err_code add_members(struct rest_call *call, sv group, uint64_t as_of, struct arena *a,
                            struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *of_group = arena_new(query_resource_max());
    struct store_version v;
    yyjson_doc *doc;
    sv id;
    TRY(look_up(call, "Group", "group", group, as_of, of_group, &v, e));
    TRY(json_read(of_group, v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(yyjson_doc_get_root(doc), "member"));
    while (search_next_member(&it, call->base, &id)) {
        id = arena_sv(a, id);
        if (id.ptr == NULL)
            return arena_oom(a, e);
        TRY(buf_add(out, sv_make(&id, sizeof id), e));
    }
    return ERR_OK;
}

static err_code members(struct rest_call *call, const struct view_asked *asked, uint64_t as_of,
                        struct arena *a, struct view_ids *out, struct err *e)
{
    CLEANUP_BUF struct buf ids = BUF_INIT(VIEW_MEMORY);
    for (size_t i = 0; i < asked->n_groups; i++)
        TRY(add_members(call, asked->groups[i], as_of, a, &ids, e));
    out->n = ids.len / sizeof *out->ids;
    out->ids = arena_alloc(a, ids.len + 1);
    if (out->ids == NULL)
        return arena_oom(a, e);
    if (ids.len)
        memcpy(out->ids, ids.ptr, ids.len);
    out->n = sv_sort_once(out->ids, out->n);
    return ERR_OK;
}

static err_code can_be_theirs(struct rest_call *call, const struct view_asked *asked, struct err *e)
{
    const struct search_param *by[SEARCH_COMPARTMENT_MAX];
    const char *name = asked->patient.len ? "patient" : "group";
    if (call->type == patient_type() || search_compartment(patient_type(), call->type, by))
        return ERR_OK;
    return rest_view_fault(call, ERR_INVALID, "invalid", sv_from(name), e,
                           "%s: a %s is in no patient's compartment", name,
                           fhir_type_name(call->type));
}

err_code rest_view_whose(struct rest_call *call, const struct view_asked *asked, uint64_t as_of,
                         struct arena *a, struct view_whose *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *of_patient = arena_new(query_resource_max());
    struct store_version v;
    *out = (struct view_whose){ .asked = asked, .by_group = asked->n_groups > 0 };
    out->all = asked->patient.len == 0 && !out->by_group;
    if (out->all)
        return ERR_OK;
    TRY(can_be_theirs(call, asked, e));
    if (out->by_group)
        TRY(members(call, asked, as_of, a, &out->patients, e));
    if (asked->patient.len) {
        TRY(look_up(call, "Patient", "patient", asked->patient, as_of, of_patient, &v, e));
        const bool one = !out->by_group || has(&out->patients, asked->patient);
        if ((out->patients.ids = arena_alloc(a, sizeof(sv))) == NULL)
            return arena_oom(a, e);
        out->patients.ids[0] = asked->patient;
        out->patients.n = one;
    }
    out->scratch = arena_new(query_resource_max());
    return ERR_OK;
}

void rest_view_whose_done(struct view_whose *whose)
{
    arena_free(whose->scratch);
    whose->scratch = NULL;
}

/* ---- what a query finds ---- */

static err_code ids_of(struct rest_call *call, fhir_type type, const sv *ids, size_t n,
                       struct search_id **out, struct err *e)
{
    *out = arena_alloc(call->a, (n + 1) * sizeof **out);
    if (*out == NULL)
        return arena_oom(call->a, e);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = (struct search_id){ type, ids[i] };
    return ERR_OK;
}

err_code rest_view_narrow(struct rest_call *call, const struct view_whose *whose,
                          struct query *query, struct err *e)
{
    /* a criterion without a parameter is about the id */
    const struct search_param *by[SEARCH_COMPARTMENT_MAX] = { NULL };
    const struct view_asked *q = whose->asked;
    const bool groups = whose->by_group && is_type(call->type, "Group");
    struct search_id *ids;
    size_t n = 1, n_ids = groups ? q->n_groups : whose->patients.n;
    if (whose->all || is_type(call->type, "Provenance"))
        return ERR_OK;
    TRY(ids_of(call, groups ? call->type : patient_type(), groups ? q->groups : whose->patients.ids,
               n_ids, &ids, e));
    query_ids_sort(ids, &n_ids);
    if (!groups && call->type != patient_type())
        n = search_compartment(patient_type(), call->type, by);
    return query_leads_to(query, by, n, ids, n_ids, e);
}

/* ---- Provenance ---- */

struct asking {
    const struct rest_call *call;
    struct view_whose *whose;
    uint64_t as_of;
    bool found;
    struct arena *ids; /* of targets */
    struct buf targets;
    err_code rc;
    struct err *e;
};

static bool is_here(const struct asking *x, const struct search_value *v)
{
    return v->ref_type && (v->ref_base.len == 0 || sv_eq(v->ref_base, x->call->base));
}

static void each_patient(void *ctx, const struct search_value *v)
{
    struct asking *x = ctx;
    x->found |=
        is_here(x, v) && v->ref_type == patient_type() && has(&x->whose->patients, v->ref_id);
}

/* By what the resource itself says. */
static void ask_own(struct asking *x, fhir_type type, sv id, yyjson_val *root)
{
    const struct search_param *by[SEARCH_COMPARTMENT_MAX];
    if (type == patient_type()) {
        x->found |= has(&x->whose->patients, id);
        return;
    }
    const size_t n = search_compartment(patient_type(), type, by);
    for (size_t i = 0; i < n && !x->found; i++)
        search_extract(by[i], root, each_patient, x);
}

/* Can what a reference leads to be theirs at all? */
static bool can_be_asked(const struct asking *x, fhir_type type, sv id)
{
    const struct search_param *by[SEARCH_COMPARTMENT_MAX];
    if (type == patient_type())
        return has(&x->whose->patients, id);
    /* with a Group, Groups are in no patient's compartment */
    if (is_type(type, "Provenance") || (x->whose->by_group && is_type(type, "Group")))
        return false;
    return search_compartment(patient_type(), type, by) > 0;
}

static err_code ask_target(struct asking *x, const struct search_id *target, struct err *e)
{
    struct arena *a = x->whose->scratch;
    struct query_match m = { 0 };
    yyjson_doc *doc;
    bool sees;
    arena_reset(a);
    err_code rc = store_get_light(x->call->st, target->type, target->id, x->as_of, a, &m.v, e);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && m.v.method == STORE_METHOD_DELETE))
        return ERR_OK;
    TRY(rc);
    TRY(json_read(a, m.v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    m.root = yyjson_doc_get_root(doc);
    /* whose it is, is not for who may not see it */
    TRY(rest_sees_match(x->call, SMART_R, &m, &sees, e));
    if (sees)
        ask_own(x, target->type, target->id, m.root);
    return ERR_OK;
}

static void add_target(void *ctx, const struct search_value *v)
{
    struct asking *x = ctx;
    struct search_id one = { v->ref_type, SV_NONE };
    if (x->rc != ERR_OK || !is_here(x, v) || !can_be_asked(x, v->ref_type, v->ref_id))
        return;
    one.id = arena_sv(x->ids, v->ref_id);
    x->rc = one.id.ptr ? buf_add(&x->targets, sv_make(&one, sizeof one), x->e)
                       : arena_oom(x->ids, x->e);
}

/* Each target once: a Provenance may name one of them a hundred thousand times. */
static err_code ask_targets(struct asking *x, yyjson_val *provenance, struct err *e)
{
    search_extract(search_param_find(x->call->type, SV_LIT("target")), provenance, add_target, x);
    TRY(x->rc);
    struct search_id *all = (struct search_id *)(void *)x->targets.ptr;
    size_t n = x->targets.len / sizeof *all;
    query_ids_sort(all, &n);
    for (size_t i = 0; i < n && !x->found; i++) {
        TRY(rest_breathe(x->call, e));
        TRY(ask_target(x, &all[i], e));
    }
    return ERR_OK;
}

bool rest_view_needs_trees(const struct rest_call *call, const struct view_whose *whose)
{
    return !whose->all && is_type(call->type, "Provenance");
}

err_code rest_view_is_theirs(const struct rest_call *call, struct view_whose *whose, uint64_t as_of,
                             const struct query_match *m, bool *out, struct err *e)
{
    struct asking x = { .call = call, .whose = whose, .as_of = as_of, .e = e };
    err_code rc = ERR_OK;
    *out = true;
    if (!rest_view_needs_trees(call, whose))
        return ERR_OK;
    ask_own(&x, call->type, m->v.id, m->root);
    if (!x.found) {
        x.ids = arena_new(TARGETS_BYTES);
        buf_init(&x.targets, TARGETS_BYTES);
        rc = ask_targets(&x, m->root, e);
        buf_done(&x.targets);
        arena_free(x.ids);
    }
    *out = x.found;
    return rc;
}
