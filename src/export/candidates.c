/* candidates.c - which resources may belong to some Patients, by the search index; sets of ids.
 *
 * The entries of the reference parameters of a compartment propose ids. Nothing is read for that,
 * and nothing is decided: the resource itself, as of the export's commit, tells whether it belongs.
 * So the cost follows what the members have, not what the store has.
 *
 * A set of ids is a buf: one byte of length, then the id. Ids are added as they are found, then
 * sorted by their bytes, each once, which is the order in which the store has them. */
#include "export/export_private.h"

#include "base/limits.h"

#define SAMPLE_ARENA ((size_t)1 << 30) /* one resource, read */
#define LOOKUP_IDS   500u              /* asked of the index at a time */
#define SAMPLE       64u               /* members looked at to tell how much a share will hold */
#define SAMPLE_READ  16u

/* ---- sets of ids ---- */

err_code export_ids_add(struct buf *ids, sv id, struct err *e)
{
    TRY(buf_add_char(ids, (char)id.len, e));
    return buf_add(ids, id, e);
}

bool export_ids_next(const struct buf *ids, size_t *at, sv *out)
{
    if (*at >= ids->len)
        return false;
    *out = sv_make(ids->ptr + *at + 1, (unsigned char)ids->ptr[*at]);
    *at += 1 + out->len;
    return true;
}

void export_ids_sort(struct buf *ids)
{
    size_t n = 0, at = 0, k = 0, len = 0;
    sv id;
    while (export_ids_next(ids, &at, &id))
        n++;
    sv *rows = malloc((n + 1) * sizeof *rows);
    char *sorted = malloc(ids->len + 1);
    if (rows == NULL || sorted == NULL)
        abort();
    for (at = 0; export_ids_next(ids, &at, &rows[k]);)
        k++;
    qsort(rows, n, sizeof *rows, sv_by_bytes);
    for (size_t i = 0; i < n; i++) {
        if (i && sv_eq(rows[i - 1], rows[i]))
            continue;
        sorted[len++] = (char)rows[i].len;
        memcpy(sorted + len, rows[i].ptr, rows[i].len);
        len += rows[i].len;
    }
    if (len)
        memcpy(ids->ptr, sorted, len);
    ids->len = len;
    free(sorted);
    free(rows);
}

/* ---- the index ---- */

/* Ids of a type whose parameter leads to one of the targets, by the index: candidates. */
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
    TRY(store_index_scan(export->run->store, type, &d, SV_NONE, SV_NONE, export->t, &cur, e));
    while ((rc = store_index_next(cur, &hit, e)) == ERR_OK) {
        TRY(export_ids_add(out, hit.id, e));
        if ((++k & 255) == 0)
            TRY(export_goes_on(export->run, e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

/* Candidates of a type among the compartments of some members. */
static err_code gather_own(struct export_job *export, fhir_type type, const sv *members, size_t n,
                           struct buf *out, struct err *e)
{
    fhir_type patient = fhir_type_find(SV_LIT("Patient"));
    const struct search_param *params[SEARCH_COMPARTMENT_MAX];
    struct search_id targets[LOOKUP_IDS];
    if (type == patient) {
        for (size_t i = 0; i < n; i++)
            TRY(export_ids_add(out, members[i], e));
        return ERR_OK;
    }
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

/* Provenance about any of the ids of a type. */
static err_code gather_about(struct export_job *export, fhir_type type, const struct buf *ids,
                             struct buf *out, struct err *e)
{
    fhir_type provenance = fhir_type_find(SV_LIT("Provenance"));
    const struct search_param *p = search_param_find(provenance, SV_LIT("target"));
    struct search_id targets[LOOKUP_IDS];
    size_t k = 0, at = 0;
    sv id;
    bool more;
    do {
        more = export_ids_next(ids, &at, &id);
        if (more)
            targets[k++] = (struct search_id){ type, id };
        if (k && (k == LOOKUP_IDS || !more)) {
            TRY(lookup(export, provenance, p, targets, k, out, e));
            k = 0;
        }
    } while (more);
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
        CLEANUP_BUF struct buf about = BUF_INIT(EXPORT_IDS_MAX);
        if (t == type || !export->present[t] ||
            !job_export_offers(JOB_EXPORT_PATIENT, (fhir_type)t))
            continue;
        TRY(gather_own(export, (fhir_type)t, members, n, &about, e));
        export_ids_sort(&about);
        TRY(gather_about(export, (fhir_type)t, &about, out, e));
    }
    export_ids_sort(out);
    return ERR_OK;
}

err_code export_candidates_sample(struct export_job *export, const struct export_members *m,
                                  fhir_type type, double *bytes_each, struct err *e)
{
    CLEANUP_BUF struct buf ids = BUF_INIT(EXPORT_IDS_MAX);
    CLEANUP(arena_free) struct arena *a = arena_new(SAMPLE_ARENA);
    sv members[SAMPLE], id;
    size_t n = 0, n_ids = 0, at = 0, read = 0;
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
    TRY(export_candidates_gather(export, type, members, n, &ids, e));
    while (export_ids_next(&ids, &at, &id)) {
        struct store_version v;
        if (n_ids++ % (ids.len / 20 / SAMPLE_READ + 1) || read == SAMPLE_READ)
            continue;
        arena_reset(a);
        err_code rc = store_get(export->run->store, type, id, export->t, a, &v, e);
        if (rc != ERR_OK && rc != ERR_NOT_FOUND)
            return rc;
        bytes += rc == ERR_OK ? v.body.json.len : 0;
        read++;
    }
    *bytes_each = n && read ? (double)bytes / (double)read * (double)n_ids / (double)n : 0;
    return ERR_OK;
}
