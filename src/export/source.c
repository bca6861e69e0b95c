/* source.c - the resources of one item of the plan, one by one, each judged.
 *
 * A scan or a walk over changes takes them from the store in order. For members the search entries propose
 * ids, which are sorted, so that each comes once; the resource itself, read as of the export's commit,
 * decides, and it comes with its owner alone (level.c). Memory: the ids of one share of members.
 *
 * With a window, S is what is meant as of its end and S0 what was meant as of its start. Out comes what
 * changed, or came in without changing, and is in S; as deleted comes what was in S0 and is not in S, and
 * what was made and deleted within the window. So a copy of S0 becomes a copy of S. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/json.h"

#define IDS_MAX     ((size_t)512 << 20)
#define PARSE_MAX   ((size_t)1 << 30) /* one resource, read and parsed */
#define LOOKUP_IDS  500u              /* asked of the index at a time */
#define SAMPLE      64u               /* members looked at to tell how much a share will hold */
#define SAMPLE_READ 16u

struct export_source {
    struct export_job *x;
    struct export_item item;
    struct export_view share; /* as of the end, with the members that own */
    struct store_cursor *cur;
    struct buf ids; /* one byte of length, then the id; sorted, each once */
    size_t at;
    uint64_t n_passed; /* living resources that a scan passed over */
    struct arena *a;
    struct store_version v;
    struct export_owners *owners; /* with organizeOutputBy */
    sv block;                     /* EXPORT_BLOCKS: whose the last one is; ids holds rows */
};

sv export_source_block(const struct export_source *s)
{
    return s->block;
}

bool export_source_passed(const struct export_source *s, uint64_t *n)
{
    *n = s->n_passed;
    return s->item.kind == EXPORT_SCAN && s->x->params->level != JOB_EXPORT_GROUP;
}

/* ---- ids ---- */

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

static int by_bytes(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
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
    qsort(rows, n, sizeof *rows, by_bytes);
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

/* Ids of a type whose parameter leads to one of the targets, by the index: candidates. */
static err_code lookup(struct export_job *x, fhir_type type, const struct search_param *p,
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
    TRY(store_index_scan(x->run->store, type, &d, SV_NONE, SV_NONE, x->t, &cur, e));
    while ((rc = store_index_next(cur, &hit, e)) == ERR_OK) {
        TRY(export_ids_add(out, hit.id, e));
        if ((++k & 255) == 0 && job_run_should_stop(x->run))
            return ERR(e, ERR_CANCELLED, "the export was stopped");
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

/* Candidates of a type among the compartments of some members. */
static err_code gather_own(struct export_job *x, fhir_type type, const sv *members, size_t n,
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
            TRY(lookup(x, type, params[i], targets, k, out, e));
    }
    return ERR_OK;
}

/* Provenance about any of the ids of a type. */
static err_code gather_about(struct export_job *x, fhir_type type, const struct buf *ids,
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
            TRY(lookup(x, provenance, p, targets, k, out, e));
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

err_code export_source_gather(struct export_job *x, fhir_type type, const sv *members, size_t n,
                              struct buf *out, struct err *e)
{
    TRY(gather_own(x, type, members, n, out, e));
    for (unsigned t = 1; t <= fhir_n_types() && export_is_type(type, "Provenance"); t++) {
        CLEANUP_BUF struct buf about = BUF_INIT(IDS_MAX);
        if (t == type || !x->present[t] || !job_export_offers(JOB_EXPORT_PATIENT, (fhir_type)t))
            continue;
        TRY(gather_own(x, (fhir_type)t, members, n, &about, e));
        export_ids_sort(&about);
        TRY(gather_about(x, (fhir_type)t, &about, out, e));
    }
    export_ids_sort(out);
    return ERR_OK;
}

err_code export_source_sample(struct export_job *x, const struct export_members *m, fhir_type type,
                              double *bytes_each, struct err *e)
{
    CLEANUP_BUF struct buf ids = BUF_INIT(IDS_MAX);
    CLEANUP(arena_free) struct arena *a = arena_new(PARSE_MAX);
    sv members[SAMPLE], id;
    size_t n = 0, n_ids = 0, at = 0, read = 0;
    uint64_t bytes = 0;
    bool any = false;
    *bytes_each = -1;
    if (!x->present[type])
        return ERR_OK;
    TRY(export_has_any(x->run->store, type, x->t, &any, e));
    if (!any && x->window) /* it may have been there when the window began */
        TRY(export_has_any(x->run->store, type, x->since_t, &any, e));
    if (!any)
        return ERR_OK;
    for (size_t i = 0; i < SAMPLE && i < m->n; i++)
        members[n++] = m->ids[m->n <= SAMPLE ? i : i * (m->n / SAMPLE)];
    TRY(export_source_gather(x, type, members, n, &ids, e));
    while (export_ids_next(&ids, &at, &id)) {
        struct store_version v;
        if (n_ids++ % (ids.len / 20 / SAMPLE_READ + 1) || read == SAMPLE_READ)
            continue;
        arena_reset(a);
        err_code rc = store_get(x->run->store, type, id, x->t, a, &v, e);
        if (rc != ERR_OK && rc != ERR_NOT_FOUND)
            return rc;
        bytes += rc == ERR_OK ? v.body.json.len : 0;
        read++;
    }
    *bytes_each = n && read ? (double)bytes / (double)read * (double)n_ids / (double)n : 0;
    return ERR_OK;
}

/* ---- judging ---- */

static err_code parse(struct arena *a, const struct store_version *v, struct search_subject *out,
                      struct err *e)
{
    yyjson_doc *doc;
    TRY(json_read(a, v->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
    *out = (struct search_subject){ v->type, v->id, v->instant_ms, yyjson_doc_get_root(doc) };
    return ERR_OK;
}

/* Was it meant when the window began? */
static err_code was_in(struct export_source *s, sv id, bool *out, struct err *e)
{
    struct search_subject before;
    size_t owner;
    bool there;
    TRY(export_subject_read(&s->x->before, s->item.range.type, id, s->a, &there, &before, e));
    *out = false;
    return there ? export_view_has(&s->x->before, &before, s->a, out, &owner, e) : ERR_OK;
}

/* A resource that is deleted now: was its last living version, if it was made within the window, meant? */
static err_code last_living_in(struct export_source *s, sv id, bool *out, struct err *e)
{
    struct export_job *x = s->x;
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    struct search_subject was;
    size_t owner;
    err_code rc;
    *out = false;
    TRY(store_history(x->run->store, s->item.range.type, id, x->t, &cur, e));
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK)
        if (v.method != STORE_METHOD_DELETE)
            break;
    if (rc == ERR_EOF || (rc == ERR_OK && v.t <= x->since_t))
        return ERR_OK;
    TRY(rc);
    struct export_view then = x->now;
    then.t = v.t;
    TRY(parse(s->a, &v, &was, e));
    return export_view_has(&then, &was, s->a, out, &owner, e);
}

/* What to do with a changed resource. */
static err_code judge_change(struct export_source *s, bool *output, bool *deleted,
                             yyjson_val **root, struct err *e)
{
    struct export_job *x = s->x;
    struct search_subject now;
    size_t owner;
    bool whole = export_view_is_whole(&x->now, s->v.type);
    bool lives = s->v.method != STORE_METHOD_DELETE;
    *output = *deleted = false;
    *root = NULL;
    if (whole && (!lives || x->params->elements.n == 0)) {
        *output = lives;
        *deleted = !lives;
        return ERR_OK;
    }
    if (lives) {
        TRY(parse(s->a, &s->v, &now, e));
        *root = now.root;
        TRY(export_view_has(&x->now, &now, s->a, output, &owner, e));
        if (*output)
            return ERR_OK;
    }
    TRY(was_in(s, s->v.id, deleted, e));
    return lives || *deleted ? ERR_OK : last_living_in(s, s->v.id, deleted, e);
}

/* What to do with a resource that did not change: did it come in or go? */
static err_code judge_unchanged(struct export_source *s, const struct search_subject *now,
                                bool *output, bool *deleted, struct err *e)
{
    struct export_job *x = s->x;
    size_t owner;
    bool in, was, mine = true;
    *output = *deleted = false;
    if (x->moved.n) { /* EXPORT_MOVED has what belongs to those that moved, EXPORT_ABOUT the rest */
        TRY(export_owner(&s->share, now, s->a, &mine, &owner, e));
        if (mine && s->item.kind == EXPORT_MOVED)
            mine = owner >= s->item.first && owner < s->item.last;
        else
            mine = !mine && s->item.kind == EXPORT_ABOUT;
    }
    if (!mine)
        return ERR_OK;
    TRY(export_view_has(&x->now, now, s->a, &in, &owner, e));
    TRY(was_in(s, now->id, &was, e));
    *output = in && !was;
    *deleted = was && !in;
    return ERR_OK;
}

/* ---- the kinds ---- */

static err_code next_scanned(struct export_source *s, struct store_version *out, yyjson_val **root,
                             struct err *e)
{
    for (;;) {
        struct search_subject now;
        size_t owner;
        bool in;
        arena_reset(s->a);
        if (job_run_should_stop(s->x->run))
            return ERR(e, ERR_CANCELLED, "the export was stopped");
        TRY(store_cursor_next(s->cur, out, e));
        TRY(parse(s->a, out, &now, e));
        TRY(export_view_has(&s->x->now, &now, s->a, &in, &owner, e));
        *root = now.root;
        if (in)
            return ERR_OK;
        s->n_passed++;
    }
}

static err_code next_changed(struct export_source *s, struct store_version *out, yyjson_val **root,
                             bool *deleted, struct err *e)
{
    for (;;) {
        bool output;
        arena_reset(s->a);
        if (job_run_should_stop(s->x->run))
            return ERR(e, ERR_CANCELLED, "the export was stopped");
        TRY(store_cursor_next(s->cur, &s->v, e));
        TRY(judge_change(s, &output, deleted, root, e));
        *out = s->v;
        if (output || *deleted)
            return ERR_OK;
    }
}

static err_code next_gathered(struct export_source *s, struct store_version *out, yyjson_val **root,
                              bool *deleted, struct err *e)
{
    struct export_job *x = s->x;
    sv id;
    while (export_ids_next(&s->ids, &s->at, &id)) {
        struct search_subject now;
        size_t owner;
        bool output = false;
        arena_reset(s->a);
        if (job_run_should_stop(x->run))
            return ERR(e, ERR_CANCELLED, "the export was stopped");
        err_code rc = store_get(x->run->store, s->item.range.type, id, x->t, s->a, out, e);
        if (rc == ERR_NOT_FOUND || (rc == ERR_OK && out->method == STORE_METHOD_DELETE))
            continue;
        TRY(rc);
        *deleted = false;
        if (s->item.kind != EXPORT_MEMBERS && out->t > x->since_t)
            continue; /* EXPORT_CHANGES has it */
        TRY(parse(s->a, out, &now, e));
        *root = now.root;
        if (s->item.kind == EXPORT_MEMBERS) {
            TRY(export_view_has(&x->now, &now, s->a, &output, &owner, e));
            output &= owner >= s->item.first && owner < s->item.last;
        } else {
            TRY(judge_unchanged(s, &now, &output, deleted, e));
        }
        if (output || *deleted)
            return ERR_OK;
    }
    return ERR_EOF;
}

static err_code next_of_block(struct export_source *s, struct store_version *out, yyjson_val **root,
                              struct err *e)
{
    struct search_subject now;
    fhir_type type;
    sv id;
    arena_reset(s->a);
    if (job_run_should_stop(s->x->run))
        return ERR(e, ERR_CANCELLED, "the export was stopped");
    if (!export_blocks_next(&s->ids, &s->at, &s->block, &type, &id))
        return ERR_EOF;
    TRY(store_get(s->x->run->store, type, id, s->x->t, s->a, out, e));
    if (s->x->params->elements.n) {
        TRY(parse(s->a, out, &now, e));
        *root = now.root;
    }
    return ERR_OK;
}

err_code export_source_next_any(struct export_source *s, struct store_version *out,
                                yyjson_val **root, bool *deleted, struct err *e)
{
    *deleted = false;
    *root = NULL;
    switch (s->item.kind) {
    case EXPORT_BLOCKS:
        return next_of_block(s, out, root, e);
    case EXPORT_SCAN:
        if (export_view_is_whole(&s->x->now, s->item.range.type) && s->x->params->elements.n == 0 &&
            s->owners == NULL)
            return store_cursor_next(s->cur, out, e); /* the fast path: nothing is read */
        return next_scanned(s, out, root, e);
    case EXPORT_CHANGES:
        return next_changed(s, out, root, deleted, e);
    default:
        return next_gathered(s, out, root, deleted, e);
    }
}

err_code export_source_next(struct export_source *s, struct store_version *out, yyjson_val **root,
                            bool *deleted, struct err *e)
{
    for (;;) {
        struct search_subject now = { 0 };
        sv owner;
        TRY(export_source_next_any(s, out, root, deleted, e));
        if (s->owners == NULL || s->item.kind == EXPORT_BLOCKS || *deleted)
            return ERR_OK;
        if (*root)
            now = (struct search_subject){ out->type, out->id, out->instant_ms, *root };
        else
            TRY(parse(s->a, out, &now, e));
        TRY(export_owners_find(s->owners, &now, s->a, &owner, e));
        if (owner.len == 0)
            return ERR_OK;
        s->n_passed += s->item.kind == EXPORT_SCAN; /* a block has it */
    }
}

void export_source_place(struct export_source *s, struct buf *block, size_t gap)
{
    if (s->item.kind == EXPORT_SCAN)
        store_cursor_place(s->cur, block, gap);
}

void export_source_free(struct export_source *s)
{
    if (s == NULL)
        return;
    store_cursor_close(s->cur);
    buf_done(&s->ids);
    export_owners_free(s->owners);
    arena_free(s->a);
    free(s);
}

err_code export_source_open(struct export_job *x, const struct export_item *item,
                            struct export_source **out, struct err *e)
{
    CLEANUP(export_source_free) struct export_source *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->x = x;
    s->item = *item;
    s->a = arena_new(PARSE_MAX);
    buf_init(&s->ids, IDS_MAX);
    s->share = x->now;
    if (x->params->organize_by_patient)
        s->owners = export_owners_new(x);
    switch (item->kind) {
    case EXPORT_BLOCKS:
        TRY(export_blocks_gather(x, item, s->owners, &s->ids, e));
        break;
    case EXPORT_SCAN:
        TRY(store_scan(x->run->store, &item->range, x->t, &s->cur, e));
        break;
    case EXPORT_CHANGES:
        TRY(store_changes(x->run->store, &item->range, x->since_t, x->t, &s->cur, e));
        break;
    case EXPORT_ABOUT:
        s->share.members = x->moved;
        TRY(export_about_gather(x, item->range.type, &s->ids, e));
        break;
    default:
        if (item->kind == EXPORT_MOVED)
            s->share.members = x->moved;
        TRY(export_source_gather(x, item->range.type, s->share.members.ids + item->first,
                                 item->last - item->first, &s->ids, e));
    }
    *out = s;
    s = NULL;
    return ERR_OK;
}
