/* level.c - whose resources: the members of a Patient or Group export, and their compartments.
 *
 * A resource is in the compartment of a Patient when one of the parameters of the definition of
 * that compartment leads to the Patient; whether he is there is not asked. Provenance also belongs
 * to whatever it is about. A resource may be in the compartments of several members. Its owner is
 * the first of them in byte order of their ids, so that work can be cut by members and nothing
 * comes twice. */
#include "export/export_private.h"

#include "codec/json.h"

#define GROUP_MAX ((size_t)1 << 30)

fhir_type export_patient_type(void)
{
    static atomic_uint known; /* workers ask side by side; each would find the same */
    unsigned t = atomic_load_explicit(&known, memory_order_relaxed);
    if (t == 0) {
        t = fhir_type_find(SV_LIT("Patient"));
        atomic_store_explicit(&known, t, memory_order_relaxed);
    }
    return (fhir_type)t;
}

/* Everything up to [base] of a kick-off's URL. Segments are counted, not read, because a client may
 * write them percent-encoded: $export, Patient/$export, Group/ID/$export. */
sv export_base(const struct job_export_params *params)
{
    sv url = params ? params->request_url : SV_NONE;
    url = sv_head(url, sv_find(url, '?'));
    while (url.len && url.ptr[url.len - 1] == '/')
        url.len--;
    unsigned segments = params == NULL                        ? 0
                        : params->level == JOB_EXPORT_GROUP   ? 3
                        : params->level == JOB_EXPORT_PATIENT ? 2
                                                              : 1;
    for (; segments && url.len; segments--) {
        while (url.len && url.ptr[url.len - 1] != '/')
            url.len--;
        if (url.len)
            url.len--;
    }
    return url;
}

/* ---- members ---- */

bool export_members_find(const struct export_members *members, sv id, size_t *at)
{
    if (members->all) {
        *at = 0;
        return true;
    }
    const sv *x = members->n
                      ? bsearch(&id, members->ids, members->n, sizeof *members->ids, sv_by_bytes)
                      : NULL;
    if (x)
        *at = (size_t)(x - members->ids);
    return x != NULL;
}

static err_code read_group(struct store *st, sv id, uint64_t t, sv base, struct arena *a,
                           struct export_members *out, struct err *e)
{
    struct store_version v;
    yyjson_doc *doc;
    sv patient;
    err_code rc = store_get(st, fhir_type_find(SV_LIT("Group")), id, t, a, &v, e);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && v.method == STORE_METHOD_DELETE))
        /* comes to the log, which names no resource */
        return ERR(e, ERR_NOT_FOUND, "there is no Group of the id that the export asks for");
    TRY(rc);
    TRY(json_read(a, v.body.json, 256, &doc, e));
    yyjson_val *list = json_get(yyjson_doc_get_root(doc), "member");
    out->ids = arena_alloc(a, (yyjson_arr_size(list) + 1) * sizeof *out->ids);
    if (out->ids == NULL)
        return arena_oom(a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while (search_next_member(&it, base, &patient))
        out->ids[out->n++] = patient;
    out->n = sv_sort_once(out->ids, out->n);
    return ERR_OK;
}

err_code export_members_read(struct store *st, const struct job_export_params *params, uint64_t t,
                             struct arena *a, struct export_members *out, struct err *e)
{
    struct export_members members = { 0 }, listed = { 0 };
    if (params == NULL || params->level == JOB_EXPORT_SYSTEM ||
        (params->level == JOB_EXPORT_PATIENT && params->patients.n == 0)) {
        *out = (struct export_members){ .all = true };
        return ERR_OK;
    }
    listed.ids = arena_alloc(a, (params->patients.n + 1) * sizeof *listed.ids);
    if (listed.ids == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < params->patients.n; i++)
        listed.ids[listed.n++] = params->patients.items[i];
    listed.n = sv_sort_once(listed.ids, listed.n);
    if (params->level == JOB_EXPORT_PATIENT) {
        *out = listed;
        return ERR_OK;
    }
    TRY(read_group(st, params->group_id, t, export_base(params), a, &members, e));
    if (params->patients.n) {
        size_t n = 0, at;
        for (size_t i = 0; i < members.n; i++)
            if (export_members_find(&listed, members.ids[i], &at))
                members.ids[n++] = members.ids[i];
        members.n = n;
    }
    *out = members;
    return ERR_OK;
}

/* ---- compartments ---- */

struct leads {
    const struct export_view *view;
    export_patient_fn fn;
    void *ctx;
};

static bool is_ours(const struct search_value *v, sv base)
{
    return v->ref_base.len == 0 || (base.len && sv_eq(v->ref_base, base));
}

static void each_reference(void *ctx, const struct search_value *v)
{
    struct leads *l = ctx;
    size_t at;
    if (v->ref_type == export_patient_type() && is_ours(v, l->view->base) &&
        export_members_find(&l->view->members, v->ref_id, &at))
        l->fn(l->ctx, v->ref_id, at);
}

void export_patients_own(const struct export_view *view, const struct search_subject *s,
                         export_patient_fn fn, void *ctx)
{
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    struct leads l = { view, fn, ctx };
    size_t at;
    if (s->type == export_patient_type()) {
        if (export_members_find(&view->members, s->id, &at))
            fn(ctx, s->id, at);
        return;
    }
    size_t n = search_compartment(export_patient_type(), s->type, params);
    for (size_t i = 0; i < n; i++)
        search_extract(params[i], s->root, each_reference, &l);
}

struct first {
    bool found;
    size_t owner;
};

static void keep_first(void *ctx, sv id, size_t at)
{
    struct first *f = ctx;
    (void)id;
    if (!f->found || at < f->owner)
        f->owner = at;
    f->found = true;
}

/* Of a resource by its own references. */
static bool own_owner(const struct export_view *view, const struct search_subject *s, size_t *owner)
{
    struct first f = { 0 };
    export_patients_own(view, s, keep_first, &f);
    *owner = f.owner;
    return f.found;
}

struct targets {
    const struct export_view *view;
    struct arena *a;
    export_target_fn fn;
    void *ctx;
    err_code rc;
    struct err *e;
};

static void each_target(void *ctx, const struct search_value *v)
{
    struct targets *x = ctx;
    if (x->rc == ERR_OK && v->ref_type && is_ours(v, x->view->base))
        x->rc = x->fn(x->ctx, v->ref_type, v->ref_id, x->e);
}

err_code export_targets(const struct export_view *view, yyjson_val *provenance, export_target_fn fn,
                        void *ctx, struct err *e)
{
    const struct search_param *p =
        search_param_find(fhir_type_find(SV_LIT("Provenance")), SV_LIT("target"));
    struct targets x = { .view = view, .fn = fn, .ctx = ctx, .rc = ERR_OK, .e = e };
    search_extract(p, provenance, each_target, &x);
    return x.rc;
}

struct about {
    const struct export_view *view;
    struct arena *a;
    bool found;
    size_t owner;
};

/* The owner of what a Provenance is about. */
static err_code target_owner(void *ctx, fhir_type type, sv id, struct err *e)
{
    struct about *about = ctx;
    struct search_subject s;
    size_t owner;
    /* one is enough */
    if (about->found && about->view->members.all)
        return ERR_OK;
    /* a Group is in no Patient's compartment there */
    if (export_is_type(type, "Provenance") ||
        (about->view->level == JOB_EXPORT_GROUP && export_is_type(type, "Group")))
        return ERR_OK;
    bool there;
    TRY(export_subject_read(about->view, type, id, about->a, &there, &s, e));
    if (there && own_owner(about->view, &s, &owner)) {
        if (!about->found || owner < about->owner)
            about->owner = owner;
        about->found = true;
    }
    return ERR_OK;
}

/* What reading v came to. */
static err_code subject(err_code rc, const struct store_version *v, struct arena *a, bool *there,
                        struct search_subject *out, struct err *e)
{
    yyjson_doc *doc;
    *there = false;
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && v->method == STORE_METHOD_DELETE))
        return ERR_OK;
    TRY(rc);
    TRY(json_read(a, v->body.json, 256, &doc, e));
    *there = true;
    *out = (struct search_subject){ v->type, v->id, v->instant_ms, yyjson_doc_get_root(doc) };
    return ERR_OK;
}

err_code export_subject_read(const struct export_view *view, fhir_type type, sv id, struct arena *a,
                             bool *there, struct search_subject *out, struct err *e)
{
    struct store_version v;
    return subject(store_get(view->store, type, id, view->t, a, &v, e), &v, a, there, out, e);
}

err_code export_subject_read_number(const struct export_view *view, store_number number,
                                    struct arena *a, bool *there, struct search_subject *out,
                                    struct err *e)
{
    struct store_version v;
    return subject(store_get_number(view->store, number, view->t, a, &v, e), &v, a, there, out, e);
}

err_code export_owner(const struct export_view *view, const struct search_subject *s,
                      struct arena *a, bool *in, size_t *owner, struct err *e)
{
    *in = true;
    *owner = 0;
    if (view->level == JOB_EXPORT_SYSTEM)
        return ERR_OK;
    if (view->level == JOB_EXPORT_GROUP && export_is_type(s->type, "Group")) {
        /* others tell of patients that are not meant */
        *in = sv_eq(s->id, view->group_id);
        return ERR_OK;
    }
    struct about about = { .view = view, .a = a };
    about.found = own_owner(view, s, &about.owner);
    if (export_is_type(s->type, "Provenance") && !(about.found && view->members.all))
        TRY(export_targets(view, s->root, target_owner, &about, e));
    *in = about.found;
    *owner = about.owner;
    return ERR_OK;
}
