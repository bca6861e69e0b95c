/* plan.c - which ranges an export consists of, written down before any of them runs.
 *
 *   without _since   the whole store, all Patients   ranges of numbers of each type, scanned
 *                    listed members                  shares of members for each type, by the index
 *   with _since      what changed of each type; for a Group besides what came or went with its
 *                    members
 *   organizeOutputBy besides ranges of Patients, for their blocks
 *
 * An export of everything goes on from an earlier one of the same form: ranges that no change
 * touched since are to be copied (reuse/). */
#include "export/reuse/reuse.h"

#include "base/limits.h"
#include "base/log.h"
#include "codec/json.h"

#define SHARE_MAX 2000u /* members: bounds what a worker gathers at a time */

static const char *const kind_names[EXPORT_N_KINDS] = {
    [EXPORT_SCAN] = "scan",   [EXPORT_CHANGES] = "changes", [EXPORT_MEMBERS] = "members",
    [EXPORT_MOVED] = "moved", [EXPORT_ABOUT] = "about",     [EXPORT_BLOCKS] = "blocks"
};

static err_code write_plan(struct job_run *run, const struct export_plan *plan, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(EXPORT_PLAN_MAX);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_obj(&w);
    json_kv_u64(&w, "objectBytes", plan->object_bytes);
    json_kv_str(&w, "earlierBucket", plan->earlier_bucket);
    json_kv_str(&w, "earlierFolder", plan->earlier_folder);
    json_key(&w, "ranges");
    json_arr(&w);
    for (size_t i = 0; i < plan->n; i++) {
        const struct export_item *x = &plan->items[i];
        json_obj(&w);
        json_kv_str(&w, "kind", sv_from(kind_names[x->kind]));
        json_kv_str(&w, "type", sv_from(fhir_type_name(x->range.type)));
        json_kv_u64(&w, "from", x->range.from);
        json_kv_u64(&w, "to", x->range.to);
        if (x->last) {
            json_kv_u64(&w, "first", x->first);
            json_kv_u64(&w, "last", x->last);
        }
        if (x->earlier) {
            json_key(&w, "earlier");
            json_val(&w, x->earlier);
        }
        if (x->check)
            json_kv_bool(&w, "check", true);
        json_obj_end(&w);
    }
    json_arr_end(&w);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return job_run_note_put(run, SV_LIT("plan"), buf_sv(&b), e);
}

static uint64_t number(yyjson_val *v, const char *name)
{
    uint64_t n = 0;
    return sv_to_u64(json_number(json_get(v, name)), &n) ? n : 0;
}

err_code export_plan_read(struct job_run *run, struct arena *a, struct export_plan *plan,
                          struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(EXPORT_PLAN_MAX);
    yyjson_doc *doc;
    TRY(job_run_note_get(run, SV_LIT("plan"), &b, e));
    sv text = arena_sv(a, buf_sv(&b));
    if (text.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, text, 8, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "the export's plan is damaged");
    yyjson_val *root = yyjson_doc_get_root(doc), *list = json_get(root, "ranges"), *v;
    size_t n = yyjson_arr_size(list);
    struct export_item *items = arena_calloc(a, n + 1, sizeof *items);
    bool *done = arena_calloc(a, n + 1, sizeof *done);
    if (items == NULL || done == NULL)
        return arena_oom(a, e);
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    for (size_t i = 0; (v = yyjson_arr_iter_next(&it)) != NULL; i++) {
        items[i] =
            (struct export_item){ .range = { fhir_type_find(json_string(json_get(v, "type"))),
                                             number(v, "from"), number(v, "to") },
                                  .first = number(v, "first"),
                                  .last = number(v, "last"),
                                  .earlier = json_get(v, "earlier"),
                                  .check = json_get(v, "check") != NULL };
        for (unsigned k = 0; k < EXPORT_N_KINDS; k++)
            if (sv_eq_cstr(json_string(json_get(v, "kind")), kind_names[k]))
                items[i].kind = (export_kind)k;
    }
    *plan = (struct export_plan){ items,
                                  done,
                                  n,
                                  number(root, "objectBytes"),
                                  json_string(json_get(root, "earlierBucket")),
                                  json_string(json_get(root, "earlierFolder")) };
    return ERR_OK;
}

/* ---- making it ---- */

struct making {
    struct export_job *export;
    size_t target; /* bytes of a range */
    struct arena *a;
    struct buf items;
    bool all_in_blocks;                   /* nothing of the members is outside of them */
    const struct export_earlier *earlier; /* NULL: there is none */
};

static err_code add(struct making *m, const struct export_item *x, struct err *e)
{
    return buf_add(&m->items, sv_make(x, sizeof *x), e);
}

/* export_item_fn */
static err_code add_item(void *ctx, const struct export_item *x, struct err *e)
{
    return add(ctx, x, e);
}

static err_code add_ranges(struct making *m, export_kind kind, const struct store_range *r,
                           size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        TRY(add(m, &(struct export_item){ .kind = kind, .range = r[i] }, e));
    return ERR_OK;
}

/* Shares of members for one type. */
static err_code add_shares(struct making *m, export_kind kind, const struct export_members *members,
                           fhir_type type, struct err *e)
{
    double each;
    if (members->n == 0)
        return ERR_OK;
    TRY(export_candidates_sample(m->export, members, type, &each, e));
    /* the data store has none of the type */
    if (each < 0)
        return ERR_OK;
    size_t share = SHARE_MAX;
    if (each * SHARE_MAX > (double)m->target)
        share = (size_t)((double)m->target / each) + 1;
    for (size_t first = 0; first < members->n; first += share) {
        size_t last = members->n - first > share ? first + share : members->n;
        TRY(add(m,
                &(struct export_item){
                    .kind = kind, .range = { .type = type }, .first = first, .last = last },
                e));
    }
    return ERR_OK;
}

/* The Group itself: a range that holds its number alone. */
static err_code add_group(struct making *m, export_kind kind, fhir_type type, struct err *e)
{
    struct export_job *export = m->export;
    struct store_range one = { .type = type };
    TRY(export_number_of(export, type, export->params->group_id, &one.from, e));
    if (one.from == 0)
        return ERR_OK;
    one.to = one.from + 1;
    return add_ranges(m, kind, &one, 1, e);
}

static err_code plan_type(struct making *m, fhir_type type, struct err *e)
{
    struct export_job *export = m->export;
    struct store *st = export->run->store;
    struct store_range *ranges = NULL;
    size_t n = 0;
    if (export->now.filter && !export_filter_wants(export->now.filter, type))
        return ERR_OK;
    if (export->params->level == JOB_EXPORT_GROUP && export_is_type(type, "Group"))
        return add_group(m, export->window ? EXPORT_CHANGES : EXPORT_SCAN, type, e);
    if (export->window) {
        if (export->since_t >= export->t)
            return ERR_OK;
        if (export->changed[type])
            TRY(store_changes_plan(st, type, export->since_t, export->t, m->target, m->a, &ranges,
                                   &n, e));
        TRY(add_ranges(m, EXPORT_CHANGES, ranges, n, e));
        TRY(add_shares(m, EXPORT_MOVED, &export->moved, type, e));
        if (export_is_type(type, "Provenance") && export->params->level != JOB_EXPORT_SYSTEM)
            return add(m, &(struct export_item){ .kind = EXPORT_ABOUT, .range = { .type = type } },
                       e);
        return ERR_OK;
    }
    if (!export->now.members.all && m->all_in_blocks)
        return ERR_OK;
    if (!export->now.members.all)
        return add_shares(m, EXPORT_MEMBERS, &export->now.members, type, e);
    if (m->earlier && export_reuse_type(export, type))
        return export_reuse_plan(export, m->earlier, type, m->target, m->a, add_item, m, e);
    TRY(store_plan(st, type, m->target, m->a, &ranges, &n, e));
    return add_ranges(m, EXPORT_SCAN, ranges, n, e);
}

/* export_range_fn */
static err_code add_blocks(void *ctx, const struct store_range *r, struct err *e)
{
    return add_ranges(ctx, EXPORT_BLOCKS, r, 1, e);
}

/* What an earlier export left. It can only be missed: a failure is as good as none. */
static void find_earlier(struct making *m, struct arena *a, struct export_plan *plan,
                         struct export_earlier *room)
{
    struct err why;
    err_code rc = export_reuse_read(m->export, plan->object_bytes, a, room, &why);
    if (rc == ERR_OK) {
        m->earlier = room;
        plan->earlier_bucket = room->bucket;
        plan->earlier_folder = room->folder;
    } else if (rc != ERR_NOT_FOUND) {
        LOG_ERR("export_earlier", &why, LOG_SV("job", m->export->run->job->id));
    }
}

err_code export_plan_make(struct export_job *export, size_t object_bytes, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(EXPORT_PLAN_MAX);
    /* of what an earlier export left */
    CLEANUP(arena_free) struct arena *left = arena_new((size_t)EXPORT_PLAN_MAX * 4);
    struct export_earlier earlier;
    const struct job_export_params *params = export->params;
    struct making m = { .export = export, .target = object_bytes, .a = a };
    struct export_plan plan = { .object_bytes = object_bytes };
    /* sizes that are asked for are aims: a range comes out larger or smaller than planned, and what
     * an object cannot hold goes into another, but for a least size, where it had better hold
     * more */
    if (params->min_file_bytes > m.target) {
        m.target = (size_t)params->min_file_bytes;
        plan.object_bytes = m.target * 2;
    }
    if (params->max_file_bytes) {
        m.target = params->max_file_bytes < m.target ? (size_t)params->max_file_bytes : m.target;
        plan.object_bytes = params->max_file_bytes < plan.object_bytes
                                ? (size_t)params->max_file_bytes
                                : plan.object_bytes;
    }
    buf_init(&m.items, EXPORT_PLAN_MAX);
    err_code rc = ERR_OK;
    find_earlier(&m, left, &plan, &earlier);
    if (params->organize_by_patient && !export->window)
        rc = export_members_there(export, &m.all_in_blocks, e);
    for (unsigned t = 1; t <= fhir_n_types() && rc == ERR_OK; t++) {
        rc = plan_type(&m, (fhir_type)t, e);
        if (rc == ERR_OK)
            rc = export_goes_on(export->run, e);
    }
    if (rc == ERR_OK && params->organize_by_patient && (!export->window || m.items.len))
        rc = export_blocks_cut(export, m.target, m.items.len / sizeof *plan.items, add_blocks, &m,
                               e);
    plan.items = (struct export_item *)(void *)m.items.ptr;
    plan.n = m.items.len / sizeof *plan.items;
    if (rc == ERR_OK)
        rc = write_plan(export->run, &plan, e);
    buf_done(&m.items);
    return rc;
}
