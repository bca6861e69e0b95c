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
sv export_base(const struct job_export_params *p)
{
    sv url = p ? p->request_url : SV_NONE;
    url = sv_head(url, sv_find(url, '?'));
    while (url.len && url.ptr[url.len - 1] == '/')
        url.len--;
    unsigned segments = p == NULL                        ? 0
                        : p->level == JOB_EXPORT_GROUP   ? 3
                        : p->level == JOB_EXPORT_PATIENT ? 2
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

static int by_bytes(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

static void sort_members(struct export_members *m)
{
    size_t kept = 0;
    if (m->n == 0)
        return;
    qsort(m->ids, m->n, sizeof *m->ids, by_bytes);
    for (size_t i = 1; i < m->n; i++)
        if (!sv_eq(m->ids[kept], m->ids[i]))
            m->ids[++kept] = m->ids[i];
    m->n = kept + 1;
}

bool export_members_find(const struct export_members *m, sv id, size_t *at)
{
    if (m->all) {
        *at = 0;
        return true;
    }
    const sv *x = m->n ? bsearch(&id, m->ids, m->n, sizeof *m->ids, by_bytes) : NULL;
    if (x)
        *at = (size_t)(x - m->ids);
    return x != NULL;
}

/* "Patient/1", "<our base>/Patient/1" -> "1" */
static sv patient_of(sv reference, sv base)
{
    if (base.len && sv_starts(reference, base) && reference.len > base.len &&
        reference.ptr[base.len] == '/')
        reference = sv_tail(reference, base.len + 1);
    if (!sv_starts(reference, SV_LIT("Patient/")))
        return SV_NONE;
    sv id = sv_tail(reference, sizeof "Patient/" - 1);
    /* a version's: .../_history/2 */
    id = sv_head(id, sv_find(id, '/'));
    return fhir_id_ok(id) ? id : SV_NONE;
}

static err_code read_group(struct store *st, sv id, uint64_t t, sv base, struct arena *a,
                           struct export_members *out, struct err *e)
{
    struct store_version v;
    yyjson_doc *doc;
    yyjson_val *m;
    err_code rc = store_get(st, fhir_type_find(SV_LIT("Group")), id, t, a, &v, e);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && v.method == STORE_METHOD_DELETE))
        return ERR(e, ERR_NOT_FOUND, "There is no Group/%.*s", SV_FMT(id));
    TRY(rc);
    TRY(json_read(a, v.body.json, 256, &doc, e));
    yyjson_val *list = json_get(yyjson_doc_get_root(doc), "member");
    out->ids = arena_alloc(a, (yyjson_arr_size(list) + 1) * sizeof *out->ids);
    if (out->ids == NULL)
        return arena_oom(a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while ((m = yyjson_arr_iter_next(&it)) != NULL) {
        sv patient = patient_of(json_string(json_get(json_get(m, "entity"), "reference")), base);
        if (patient.len && !yyjson_is_true(json_get(m, "inactive")))
            out->ids[out->n++] = patient;
    }
    sort_members(out);
    return ERR_OK;
}

err_code export_members_read(struct store *st, const struct job_export_params *p, uint64_t t,
                             struct arena *a, struct export_members *out, struct err *e)
{
    struct export_members m = { 0 }, listed = { 0 };
    if (p == NULL || p->level == JOB_EXPORT_SYSTEM ||
        (p->level == JOB_EXPORT_PATIENT && p->patients.n == 0)) {
        *out = (struct export_members){ .all = true };
        return ERR_OK;
    }
    listed.ids = arena_alloc(a, (p->patients.n + 1) * sizeof *listed.ids);
    if (listed.ids == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < p->patients.n; i++)
        listed.ids[listed.n++] = p->patients.items[i];
    sort_members(&listed);
    if (p->level == JOB_EXPORT_PATIENT) {
        *out = listed;
        return ERR_OK;
    }
    TRY(read_group(st, p->group_id, t, export_base(p), a, &m, e));
    if (p->patients.n) {
        size_t n = 0, at;
        for (size_t i = 0; i < m.n; i++)
            if (export_members_find(&listed, m.ids[i], &at))
                m.ids[n++] = m.ids[i];
        m.n = n;
    }
    *out = m;
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
    struct about *x = ctx;
    struct search_subject s;
    size_t owner;
    /* one is enough */
    if (x->found && x->view->members.all)
        return ERR_OK;
    /* a Group is in no Patient's compartment there */
    if (export_is_type(type, "Provenance") ||
        (x->view->level == JOB_EXPORT_GROUP && export_is_type(type, "Group")))
        return ERR_OK;
    bool there;
    TRY(export_subject_read(x->view, type, id, x->a, &there, &s, e));
    if (there && own_owner(x->view, &s, &owner)) {
        if (!x->found || owner < x->owner)
            x->owner = owner;
        x->found = true;
    }
    return ERR_OK;
}

err_code export_subject_read(const struct export_view *view, fhir_type type, sv id, struct arena *a,
                             bool *there, struct search_subject *out, struct err *e)
{
    struct store_version v;
    yyjson_doc *doc;
    *there = false;
    err_code rc = store_get(view->store, type, id, view->t, a, &v, e);
    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && v.method == STORE_METHOD_DELETE))
        return ERR_OK;
    TRY(rc);
    TRY(json_read(a, v.body.json, 256, &doc, e));
    *there = true;
    *out = (struct search_subject){ type, v.id, v.instant_ms, yyjson_doc_get_root(doc) };
    return ERR_OK;
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
    struct about x = { .view = view, .a = a };
    x.found = own_owner(view, s, &x.owner);
    if (export_is_type(s->type, "Provenance") && !(x.found && view->members.all))
        TRY(export_targets(view, s->root, target_owner, &x, e));
    *in = x.found;
    *owner = x.owner;
    return ERR_OK;
}
