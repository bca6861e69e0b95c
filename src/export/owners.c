/* owners.c - whose block a resource is in, with organizeOutputBy=Patient.
 *
 * The owner is the first, in byte order of ids, of the Patients that are there as of the export's
 * commit, are members, and in whose compartments the resource is. Whether a Patient is there is
 * remembered for KNOWN of them; forgetting one costs a read, not the result. */
#include "export/export_private.h"

#define PARSE_MAX ((size_t)1 << 30) /* one resource, read */
#define KNOWN     4096u             /* Patients remembered */

struct export_owners {
    struct export_job *export;
    struct arena *a;
    char best[FHIR_ID_MAX]; /* of the resource at hand */
    size_t best_len;
    store_number best_number;
    err_code rc;
    struct err err;
    struct known {
        char id[FHIR_ID_MAX];
        size_t len;          /* 0: free */
        store_number number; /* 0: it is not there */
    } known[KNOWN];
};

struct export_owners *export_owners_new(struct export_job *export)
{
    struct export_owners *owners = calloc(1, sizeof *owners);
    if (owners == NULL)
        abort();
    owners->export = export;
    owners->a = arena_new(PARSE_MAX);
    return owners;
}

void export_owners_free(struct export_owners *owners)
{
    if (owners == NULL)
        return;
    arena_free(owners->a);
    free(owners);
}

/* The number of a Patient that is there; 0: it is not. */
static err_code number_of(struct export_owners *owners, sv id, store_number *out, struct err *e)
{
    struct known *k = &owners->known[sv_hash(0, id) % KNOWN];
    if (!sv_eq(sv_make(k->id, k->len), id)) {
        struct store_version v;
        arena_reset(owners->a);
        err_code rc = store_get_light(owners->export->run->store, export_patient_type(), id,
                                      owners->export->t, owners->a, &v, e);
        if (rc != ERR_OK && rc != ERR_NOT_FOUND)
            return rc;
        memcpy(k->id, id.ptr, id.len);
        k->len = id.len;
        k->number = rc == ERR_OK && v.method != STORE_METHOD_DELETE ? v.number : 0;
    }
    *out = k->number;
    return ERR_OK;
}

/* export_patient_fn */
static void each_patient(void *ctx, sv id, size_t at)
{
    struct export_owners *owners = ctx;
    store_number number;
    (void)at;
    if (owners->rc != ERR_OK || id.len == 0 || id.len > FHIR_ID_MAX ||
        (owners->best_len && sv_cmp(id, sv_make(owners->best, owners->best_len)) >= 0))
        return;
    owners->rc = number_of(owners, id, &number, &owners->err);
    if (owners->rc == ERR_OK && number) {
        memcpy(owners->best, id.ptr, id.len);
        owners->best_len = id.len;
        owners->best_number = number;
    }
}

struct about {
    struct export_owners *o;
    struct arena *a;
};

/* export_target_fn; as export_owner() has it */
static err_code each_target(void *ctx, fhir_type type, sv id, struct err *e)
{
    struct about *about = ctx;
    const struct export_view *view = &about->o->export->now;
    struct search_subject s;
    bool there;
    if (export_is_type(type, "Provenance") ||
        (view->level == JOB_EXPORT_GROUP && export_is_type(type, "Group")))
        return ERR_OK;
    TRY(export_subject_read(view, type, id, about->a, &there, &s, e));
    if (there)
        export_patients_own(view, &s, each_patient, about->o);
    return ERR_OK;
}

err_code export_owners_find(struct export_owners *owners, const struct search_subject *s,
                            struct arena *a, struct export_owner *out, struct err *e)
{
    const struct export_view *view = &owners->export->now;
    owners->best_len = 0;
    owners->rc = ERR_OK;
    if (!(view->level == JOB_EXPORT_GROUP && export_is_type(s->type, "Group"))) {
        export_patients_own(view, s, each_patient, owners);
        if (export_is_type(s->type, "Provenance")) {
            struct about about = { owners, a };
            TRY(export_targets(view, s->root, each_target, &about, e));
        }
    }
    if (owners->rc != ERR_OK)
        return err_pass(e, &owners->err);
    *out = (struct export_owner){ sv_make(owners->best, owners->best_len), owners->best_number };
    return ERR_OK;
}

err_code export_members_there(struct export_job *export, bool *out, struct err *e)
{
    struct export_owners *owners = export_owners_new(export);
    const struct export_members *members = &export->now.members;
    err_code rc = ERR_OK;
    *out = !members->all;
    for (size_t i = 0; *out && i < members->n && rc == ERR_OK; i++) {
        store_number number = 0;
        rc = number_of(owners, members->ids[i], &number, e);
        *out = number != 0;
    }
    export_owners_free(owners);
    return rc;
}
