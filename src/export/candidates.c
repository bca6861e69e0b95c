/* candidates.c - which resources may belong to some Patients, by the search index; sets of numbers.
 *
 * The entries of the reference parameters of a compartment propose resources. Nothing is read for
 * that, and nothing is decided: the resource itself, as of the export's commit, tells whether it
 * belongs. So the cost follows what the members have, not what the store has.
 *
 * A set is a buf of the numbers of resources. Numbers are added as they are found, then sorted,
 * each once, which is the order in which the store has them. */
#include "export/export_private.h"

#include "base/limits.h"

#define SAMPLE_ARENA ((size_t)1 << 30) /* one resource, read */
#define LOOKUP_IDS   500u              /* asked of the index at a time */
#define SAMPLE       64u               /* members looked at to tell how much a share will hold */
#define SAMPLE_READ  16u

/* ---- numbers, and sets of them ---- */

err_code export_number_of(const struct export_job *export, fhir_type type, sv id, store_number *out,
                          struct err *e)
{
    struct err why;
    err_code rc = store_number_of(export->run->store, type, id, out, &why);
    if (rc == ERR_NOT_FOUND)
        *out = 0;
    return rc == ERR_OK || rc == ERR_NOT_FOUND ? ERR_OK : err_pass(e, &why);
}

err_code export_numbers_add(struct buf *set, store_number number, struct err *e)
{
    return buf_add(set, sv_make(&number, sizeof number), e);
}

bool export_numbers_next(const struct buf *set, size_t *at, store_number *out)
{
    if (*at >= set->len)
        return false;
    memcpy(out, set->ptr + *at, sizeof *out);
    *at += sizeof *out;
    return true;
}

static int ascending(const void *a, const void *b)
{
    const store_number *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

void export_numbers_sort(struct buf *set)
{
    store_number *rows = (store_number *)(void *)set->ptr;
    size_t n = set->len / sizeof *rows, kept = 0;
    if (n)
        qsort(rows, n, sizeof *rows, ascending);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || rows[kept - 1] != rows[i])
            rows[kept++] = rows[i];
    set->len = kept * sizeof *rows;
}

/* ---- the index ---- */

/* Resources of a type whose parameter leads to one of the targets, by the index: candidates. */
static err_code lookup(struct export_job *export, fhir_type type, const struct search_param *p,
                       const struct search_id *targets, size_t n, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct search_criterion c = { .param = p, .is_set = true, .set = targets, .n_set = n };
    struct search_driver d;
    CLEANUP(store_index_close) struct store_index_cursor *cur = NULL;
    struct store_index_hit hit;
    err_code rc;
    unsigned k = 0;
    if (!search_ranges(&c, type, a, &d))
        return arena_oom(a, e);
    TRY(store_index_scan(export->run->store, type, &d, SV_NONE, 0, export->t, &cur, e));
    while ((rc = store_index_next(cur, &hit, e)) == ERR_OK) {
        TRY(export_numbers_add(out, hit.number, e));
        if ((++k & 255) == 0)
            TRY(export_goes_on(export->run, e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

err_code export_numbers_add_patient(struct export_job *export, sv id, struct buf *out,
                                    struct err *e)
{
    store_number number;
    TRY(export_number_of(export, export_patient_type(), id, &number, e));
    return number ? export_numbers_add(out, number, e) : ERR_OK;
}

/* Candidates of a type among the compartments of some members. */
static err_code gather_own(struct export_job *export, fhir_type type, const sv *members, size_t n,
                           struct buf *out, struct err *e)
{
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    struct search_id targets[LOOKUP_IDS];
    for (size_t i = 0; i < n && type == patient; i++)
        TRY(export_numbers_add_patient(export, members[i], out, e));
    if (type == patient)
        return ERR_OK;
    size_t n_params = search_compartment(patient, type, params);
    for (size_t first = 0; first < n && n_params; first += LOOKUP_IDS) {
        size_t k = 0;
        for (; k < LOOKUP_IDS && first + k < n; k++)
            targets[k] = (struct search_id){ patient, members[first + k] };
        for (size_t i = 0; i < n_params; i++)
            TRY(lookup(export, type, params[i], targets, k, out, e));
    }
    return ERR_OK;
}

/* Provenance about any of these resources of a type. */
static err_code gather_about(struct export_job *export, fhir_type type, const struct buf *about,
                             struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *ids = arena_new(LOOKUP_IDS * (FHIR_ID_MAX + 64u));
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    fhir_type provenance = fhir_type_find(SV_LIT("Provenance"));
    const struct search_param *p = search_param_find(provenance, SV_LIT("target"));
    struct search_id targets[LOOKUP_IDS];
    size_t k = 0;
    err_code rc;
    TRY(store_scan_numbers(export->run->store, (const store_number *)(const void *)about->ptr,
                           about->len / sizeof(store_number), export->t, &cur, e));
    store_cursor_light(cur);
    do {
        rc = store_cursor_next(cur, &v, e);
        if (rc != ERR_OK && rc != ERR_EOF)
            return rc;
        if (rc == ERR_OK) {
            targets[k] = (struct search_id){ type, arena_sv(ids, v.id) };
            if (targets[k++].id.ptr == NULL)
                return arena_oom(ids, e);
        }
        if (k && (k == LOOKUP_IDS || rc == ERR_EOF)) {
            TRY(lookup(export, provenance, p, targets, k, out, e));
            k = 0;
            arena_reset(ids);
        }
    } while (rc == ERR_OK);
    return ERR_OK;
}

err_code export_has_any(struct store *st, fhir_type type, uint64_t t, bool *out, struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    TRY(store_scan(st, &(struct store_range){ .type = type }, t, &cur, e));
    err_code rc = store_cursor_next(cur, &v, e);
    *out = rc == ERR_OK;
    return rc == ERR_EOF ? ERR_OK : rc;
}

err_code export_candidates_gather(struct export_job *export, fhir_type type, const sv *members,
                                  size_t n, struct buf *out, struct err *e)
{
    TRY(gather_own(export, type, members, n, out, e));
    for (unsigned t = 1; t <= fhir_n_types() && export_is_type(type, "Provenance"); t++) {
        CLEANUP_BUF struct buf about = BUF_INIT(EXPORT_NUMBERS_MAX);
        if (t == type || !export->present[t] ||
            !job_export_offers(JOB_EXPORT_PATIENT, (fhir_type)t))
            continue;
        TRY(gather_own(export, (fhir_type)t, members, n, &about, e));
        export_numbers_sort(&about);
        TRY(gather_about(export, (fhir_type)t, &about, out, e));
    }
    export_numbers_sort(out);
    return ERR_OK;
}

err_code export_candidates_sample(struct export_job *export, const struct export_members *m,
                                  fhir_type type, double *bytes_each, struct err *e)
{
    CLEANUP_BUF struct buf set = BUF_INIT(EXPORT_NUMBERS_MAX);
    CLEANUP(arena_free) struct arena *a = arena_new(SAMPLE_ARENA);
    sv members[SAMPLE];
    store_number number;
    size_t n = 0, n_numbers = 0, at = 0, read = 0;
    uint64_t bytes = 0;
    bool any = false;
    *bytes_each = -1;
    if (!export->present[type])
        return ERR_OK;
    TRY(export_has_any(export->run->store, type, export->t, &any, e));
    /* it may have been there when the window began */
    if (!any && export->window)
        TRY(export_has_any(export->run->store, type, export->since_t, &any, e));
    if (!any)
        return ERR_OK;
    for (size_t i = 0; i < SAMPLE && i < m->n; i++)
        members[n++] = m->ids[m->n <= SAMPLE ? i : i * (m->n / SAMPLE)];
    TRY(export_candidates_gather(export, type, members, n, &set, e));
    while (export_numbers_next(&set, &at, &number)) {
        struct store_version v;
        if (n_numbers++ % (set.len / sizeof number / SAMPLE_READ + 1) || read == SAMPLE_READ)
            continue;
        arena_reset(a);
        err_code rc = store_get_number(export->run->store, number, export->t, a, &v, e);
        if (rc != ERR_OK && rc != ERR_NOT_FOUND)
            return rc;
        bytes += rc == ERR_OK ? v.body.json.len : 0;
        read++;
    }
    *bytes_each = n && read ? (double)bytes / (double)read * (double)n_numbers / (double)n : 0;
    return ERR_OK;
}
