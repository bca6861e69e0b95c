/* blocks.c - organizeOutputBy=Patient: what is in the blocks of a range of Patients.
 *
 * A resource is in one block, that of its owner (owners.c). A resource without an owner (an
 * Organization; an Observation of a Patient who is gone) is left to the ranges of other kinds, and
 * those leave out what a block has. So both sorts of ranges together hold what the export holds
 * without organizeOutputBy, each resource once.
 *
 * Without a window the index proposes what belongs to the Patients of the range. With one, the
 * items of changes are read for what they would give: a window is small, and only they know what is
 * in it.
 * Memory: number, id and owner of each resource of a range, ROWS_MAX at most. */
#include "export/export_private.h"

#include "base/limits.h"
#include "codec/json.h"

#define ROWS_MAX   ((size_t)512 << 20)
#define PARSE_MAX  ((size_t)1 << 30)
#define SAMPLE     64u   /* Patients looked at to tell how much a block will hold */
#define BLOCKS_MAX 2000u /* of a range */
#define WINDOW_ITEMS \
    64u /* of changes that one range of blocks reads: each is planned for one object */

/* ---- rows ----
 * number; length and bytes of the owner; length and bytes of the id */

struct row {
    const char *at; /* in the rows; for the next one's length */
    store_number number;
    sv owner, id;
};

static bool next_row(const struct buf *rows, size_t *at, struct row *out)
{
    if (*at >= rows->len)
        return false;
    const char *p = rows->ptr + *at;
    out->at = p;
    memcpy(&out->number, p, sizeof out->number);
    p += sizeof out->number;
    out->owner = sv_make(p + 1, (unsigned char)*p);
    p += 1 + out->owner.len;
    out->id = sv_make(p + 1, (unsigned char)*p);
    *at = (size_t)(out->id.ptr + out->id.len - rows->ptr);
    return true;
}

bool export_blocks_next(const struct buf *rows, size_t *at, sv *owner, store_number *number)
{
    struct row r;
    if (!next_row(rows, at, &r))
        return false;
    *owner = r.owner;
    *number = r.number;
    return true;
}

static err_code add_row(struct buf *rows, sv owner, store_number number, sv id, struct err *e)
{
    TRY(buf_add(rows, sv_make(&number, sizeof number), e));
    TRY(buf_add_char(rows, (char)owner.len, e));
    TRY(buf_add(rows, owner, e));
    TRY(buf_add_char(rows, (char)id.len, e));
    return buf_add(rows, id, e);
}

static int by_block(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int c = sv_cmp(x->owner, y->owner);
    if (c)
        return c;
    const fhir_type patient = export_patient_type();
    fhir_type t = number_type(x->number), u = number_type(y->number);
    if (t != u)
        return t == patient ? -1 : u == patient ? 1 : (int)t - (int)u;
    return sv_cmp(x->id, y->id);
}

static void sort_rows(struct buf *rows)
{
    struct row r;
    size_t n = 0, k = 0;
    for (size_t at = 0; next_row(rows, &at, &r);)
        n++;
    if (n < 2)
        return;
    struct row *all = malloc(n * sizeof *all);
    char *sorted = malloc(rows->len), *to = sorted;
    if (all == NULL || sorted == NULL)
        abort();
    for (size_t at = 0; k < n; k++)
        (void)next_row(rows, &at, &all[k]);
    qsort(all, n, sizeof *all, by_block);
    for (size_t i = 0; i < n; i++) {
        size_t len = (size_t)(all[i].id.ptr + all[i].id.len - all[i].at);
        memcpy(to, all[i].at, len);
        to += len;
    }
    memcpy(rows->ptr, sorted, rows->len);
    free(sorted);
    free(all);
}

/* ---- what is in a range ---- */

static err_code in_range(struct export_job *export, const struct store_range *r, sv patient,
                         bool *in, struct err *e)
{
    store_number number;
    *in = r->from == 0 && r->to == 0;
    if (*in)
        return ERR_OK;
    TRY(export_number_of(export, export_patient_type(), patient, &number, e));
    *in = number && store_range_has(r, number);
    return ERR_OK;
}

/* The members of a range; of all Patients, those that are there. Owned by the arena. */
static err_code members_of(struct export_job *export, const struct store_range *r, struct arena *a,
                           sv **out, size_t *n_out, struct err *e)
{
    CLEANUP_BUF struct buf ids = BUF_INIT(ROWS_MAX);
    const struct export_members *members = &export->now.members;
    if (members->all) {
        CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
        struct store_version v;
        err_code rc;
        TRY(store_scan(export->run->store, r, export->t, &cur, e));
        while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
            sv id = arena_sv(a, v.id);
            if (id.ptr == NULL)
                return arena_oom(a, e);
            TRY(buf_add(&ids, sv_make(&id, sizeof id), e));
        }
        if (rc != ERR_EOF)
            return rc;
    }
    for (size_t i = 0; !members->all && i < members->n; i++) {
        bool in;
        TRY(in_range(export, r, members->ids[i], &in, e));
        if (in)
            TRY(buf_add(&ids, sv_make(&members->ids[i], sizeof members->ids[i]), e));
    }
    *n_out = ids.len / sizeof(sv);
    *out = arena_alloc(a, ids.len + 1);
    if (*out == NULL)
        return arena_oom(a, e);
    if (ids.len)
        memcpy(*out, ids.ptr, ids.len);
    return ERR_OK;
}

static bool wanted(const struct export_job *export, fhir_type type)
{
    if (!export->present[type])
        return false;
    if (export->now.filter && !export_filter_wants(export->now.filter, type))
        return false;
    if (export->params->level == JOB_EXPORT_GROUP && export_is_type(type, "Group"))
        return false;
    return job_export_offers(JOB_EXPORT_PATIENT, type);
}

/* One that the index proposes: its owner found. */
static err_code judge(struct export_job *export, const struct store_range *r,
                      struct export_owners *owners, const struct store_version *v, struct arena *a,
                      struct buf *rows, struct err *e)
{
    yyjson_doc *doc;
    bool in;
    size_t owner;
    struct export_owner of;
    TRY(json_read(a, v->body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
    struct search_subject s = { v->type, v->id, v->instant_ms, yyjson_doc_get_root(doc) };
    TRY(export_view_has(&export->now, &s, a, &in, &owner, e));
    if (!in)
        return ERR_OK;
    TRY(export_owners_find(owners, &s, a, &of, e));
    if (of.id.len == 0 || !store_range_has(r, of.number))
        return ERR_OK;
    return add_row(rows, of.id, v->number, v->id, e);
}

static err_code gather_type(struct export_job *export, const struct store_range *r,
                            struct export_owners *owners, fhir_type type, const sv *members,
                            size_t n, struct buf *rows, struct err *e)
{
    CLEANUP_BUF struct buf set = BUF_INIT(EXPORT_NUMBERS_MAX);
    CLEANUP(arena_free) struct arena *a = arena_new(PARSE_MAX);
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    err_code rc;
    TRY(export_candidates_gather(export, type, members, n, &set, e));
    TRY(store_scan_numbers(export->run->store, (const store_number *)(const void *)set.ptr,
                           set.len / sizeof(store_number), export->t, &cur, e));
    store_cursor_giants(cur, export->run->halt);
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
        arena_reset(a);
        TRY(export_goes_on(export->run, e));
        if (v.method != STORE_METHOD_DELETE)
            TRY(judge(export, r, owners, &v, a, rows, e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

/* What a range of another kind would give, were it not for the blocks. */
static err_code gather_changed(struct export_job *export, const struct store_range *r,
                               struct export_owners *owners, const struct export_item *item,
                               struct buf *rows, struct err *e)
{
    CLEANUP(export_source_free) struct export_source *from = NULL;
    CLEANUP(arena_free) struct arena *a = arena_new(PARSE_MAX);
    struct store_version v;
    yyjson_val *root;
    bool deleted;
    err_code rc;
    TRY(export_source_open(export, item, &from, e));
    while ((rc = export_source_next(from, &v, &root, &deleted, e)) == ERR_OK) {
        struct search_subject s = { v.type, v.id, v.instant_ms, root };
        struct export_owner of;
        yyjson_doc *doc;
        if (deleted)
            continue;
        arena_reset(a);
        if (root == NULL) {
            TRY(json_read(a, v.body.json, LIMIT_RESOURCE_DEPTH, &doc, e));
            s.root = yyjson_doc_get_root(doc);
        }
        TRY(export_owners_find(owners, &s, a, &of, e));
        if (of.id.len && store_range_has(r, of.number))
            TRY(add_row(rows, of.id, v.number, v.id, e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

err_code export_blocks_gather(struct export_job *export, const struct export_item *item,
                              struct export_owners *owners, struct buf *rows, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(ROWS_MAX);
    sv *members = NULL;
    size_t n = 0;
    if (export->window) {
        for (size_t i = 0; i < export->plan.n; i++)
            if (export->plan.items[i].kind != EXPORT_BLOCKS)
                TRY(gather_changed(export, &item->range, owners, &export->plan.items[i], rows, e));
    } else {
        TRY(members_of(export, &item->range, a, &members, &n, e));
        for (unsigned t = 1; t <= fhir_n_types() && n; t++)
            if (wanted(export, (fhir_type)t))
                TRY(gather_type(export, &item->range, owners, (fhir_type)t, members, n, rows, e));
    }
    sort_rows(rows);
    return ERR_OK;
}

/* ---- cutting ---- */

/* How many Patients make a range. */
static err_code size_of_range(struct export_job *export, size_t target_bytes, size_t *out,
                              struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct export_members some = export->now.members;
    sv ids[SAMPLE];
    double sum = 0;
    if (some.all) {
        CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
        struct store_version v;
        struct store_range all = { .type = export_patient_type() };
        err_code rc = store_scan(export->run->store, &all, export->t, &cur, e);
        some = (struct export_members){ .ids = ids };
        while (rc == ERR_OK && some.n < SAMPLE && (rc = store_cursor_next(cur, &v, e)) == ERR_OK)
            if ((ids[some.n++] = arena_sv(a, v.id)).ptr == NULL)
                return arena_oom(a, e);
        if (rc != ERR_OK && rc != ERR_EOF)
            return rc;
    }
    for (unsigned t = 1; t <= fhir_n_types() && some.n; t++) {
        double each;
        if (!wanted(export, (fhir_type)t))
            continue;
        TRY(export_candidates_sample(export, &some, (fhir_type)t, &each, e));
        sum += each > 0 ? each : 0;
    }
    *out = BLOCKS_MAX;
    if (sum * BLOCKS_MAX > (double)target_bytes)
        *out = (size_t)((double)target_bytes / sum) + 1;
    return ERR_OK;
}

struct cutting {
    size_t share, n;
    store_number from;
    export_range_fn each;
    void *ctx;
};

/* A Patient more, in the order of numbers: does a range begin with it? */
static err_code cut_before(struct cutting *c, store_number number, struct err *e)
{
    if (c->n++ == 0 || (c->n - 1) % c->share)
        return ERR_OK;
    TRY(c->each(c->ctx, &(struct store_range){ export_patient_type(), c->from, number }, e));
    c->from = number;
    return ERR_OK;
}

/* The listed members that the data store knows, in the order of numbers. */
static err_code cut_listed(struct export_job *export, struct cutting *c, struct err *e)
{
    CLEANUP_BUF struct buf numbers = BUF_INIT(ROWS_MAX);
    const struct export_members *members = &export->now.members;
    store_number number;
    for (size_t i = 0; i < members->n; i++)
        TRY(export_numbers_add_patient(export, members->ids[i], &numbers, e));
    export_numbers_sort(&numbers);
    for (size_t at = 0; export_numbers_next(&numbers, &at, &number);)
        TRY(cut_before(c, number, e));
    return ERR_OK;
}

err_code export_blocks_cut(struct export_job *export, size_t target_bytes, size_t n_others,
                           export_range_fn each, void *ctx, struct err *e)
{
    const struct export_members *members = &export->now.members;
    struct cutting c = { .share = SIZE_MAX, .each = each, .ctx = ctx };
    err_code rc = ERR_EOF;
    if (!export->window)
        TRY(size_of_range(export, target_bytes, &c.share, e));
    else if (n_others > WINDOW_ITEMS)
        c.share = BLOCKS_MAX * WINDOW_ITEMS;
    if (!members->all)
        TRY(cut_listed(export, &c, e));
    if (members->all && c.share < SIZE_MAX) {
        CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
        struct store_version v;
        TRY(store_scan(export->run->store, &(struct store_range){ .type = export_patient_type() },
                       export->t, &cur, e));
        while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK)
            TRY(cut_before(&c, v.number, e));
    }
    if (rc != ERR_EOF)
        return rc;
    if (c.n == 0 && !export->window)
        return ERR_OK;
    return each(ctx, &(struct store_range){ export_patient_type(), c.from, 0 }, e);
}
