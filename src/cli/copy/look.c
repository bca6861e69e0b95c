/* look.c - what is to be copied, and what forbids it, before anything is written.
 *
 *   datastore/<id> -> JSON with "status", "backup" (service/datastore.c)
 *
 * Each data store is opened once: an older layout, keys that somebody else has, or damage is told
 * before the first is begun. */
#include "cli/copy/copy_private.h"

#include "codec/json.h"
#include "store/convert.h"
#include "store/move.h"

#define RECORD_DEPTH  16u
#define RECORD_MEMORY (4u << 20)

struct looking {
    const struct copy_place *from;
    const char *const *ids;
    size_t n_ids;
    struct copy_plan *plan;
    struct arena *scratch;
    struct buf rows;
    err_code rc;
    struct err *e;
};

static bool is_wanted(const struct looking *x, sv id)
{
    for (size_t i = 0; i < x->n_ids; i++)
        if (sv_eq_cstr(id, x->ids[i]))
            return true;
    return x->n_ids == 0;
}

bool copy_plan_has(const struct copy_plan *plan, sv id)
{
    for (size_t i = 0; i < plan->n; i++)
        if (sv_eq(plan->stores[i].id, id))
            return true;
    return false;
}

/* ---- which ---- */

static err_code read_store(struct looking *x, sv id, sv json)
{
    struct copy_store row = { .id = arena_sv(x->plan->a, id) };
    struct err why;
    yyjson_doc *doc;
    int64_t until;
    arena_reset(x->scratch);
    sv text = arena_sv(x->scratch, json);
    if (row.id.ptr == NULL || text.ptr == NULL)
        return arena_oom(x->plan->a, x->e);
    if (json_read(x->scratch, text, RECORD_DEPTH, &doc, &why) != ERR_OK)
        return ERR(x->e, ERR_CORRUPT, "the record of data store %.*s is damaged",
                   SV_FMT(sv_head(id, 64)));
    yyjson_val *root = yyjson_doc_get_root(doc), *backup = json_get(root, "backup");
    row.status = arena_sv(x->plan->a, json_string(json_get(root, "status")));
    row.has_data = sv_eq(row.status, SV_LIT("ACTIVE"));
    row.backup = row.has_data && yyjson_is_true(json_get(backup, "enabled"));
    row.kept = !row.has_data && sv_to_i64(json_number(json_get(backup, "until")), &until) && until;
    return buf_add(&x->rows, sv_make(&row, sizeof row), x->e);
}

/* records_each_fn */
static bool each_store(void *ctx, sv key, sv value)
{
    struct looking *x = ctx;
    const sv id = sv_tail(key, sizeof "datastore/" - 1);
    if (is_wanted(x, id))
        x->rc = read_store(x, id, value);
    return x->rc == ERR_OK;
}

static err_code find_stores(struct looking *x, struct err *e)
{
    struct copy_plan *plan = x->plan;
    TRY(records_scan(x->from->records, SV_LIT("datastore/"), SV_NONE, each_store, x, e));
    TRY(x->rc);
    plan->n = x->rows.len / sizeof *plan->stores;
    plan->stores = arena_alloc(plan->a, x->rows.len + 1);
    if (plan->stores == NULL)
        return arena_oom(plan->a, e);
    if (x->rows.len)
        memcpy(plan->stores, x->rows.ptr, x->rows.len);
    for (size_t i = 0; i < x->n_ids; i++)
        if (!copy_plan_has(plan, sv_from(x->ids[i])))
            return ERR(e, ERR_NOT_FOUND, "the source has no data store %.64s", x->ids[i]);
    return ERR_OK;
}

/* ---- what is under way ---- */

/* records_each_fn: "<kind>/<datastore>/<id>" of a job. */
static bool each_active_job(void *ctx, sv key, sv value)
{
    struct looking *x = ctx;
    sv rest = sv_tail(value, sv_find(value, '/') + 1);
    const sv id = sv_head(rest, sv_find(rest, '/'));
    (void)key;
    if (copy_plan_has(x->plan, id))
        x->rc = ERR(x->e, ERR_CONFLICT,
                    "a job of data store %.*s is under way (%.*s): start the server, and let it "
                    "end or cancel it",
                    SV_FMT(sv_head(id, 64)), SV_FMT(sv_head(value, sv_find(value, '/'))));
    return x->rc == ERR_OK;
}

/* records_each_fn */
static bool each_active_store(void *ctx, sv key, sv value)
{
    struct looking *x = ctx;
    const sv id = sv_tail(key, sizeof "datastoreactive/" - 1);
    (void)value;
    if (copy_plan_has(x->plan, id))
        x->rc = ERR(x->e, ERR_CONFLICT,
                    "data store %.*s is being made or deleted: start the server, and let that end",
                    SV_FMT(sv_head(id, 64)));
    return x->rc == ERR_OK;
}

static err_code check_source(struct looking *x, struct err *e)
{
    TRY(store_half_check(x->from->records, x->from->is_remote ? "database" : "folder", e));
    TRY(find_stores(x, e));
    TRY(records_scan(x->from->records, SV_LIT("jobactive/"), SV_NONE, each_active_job, x, e));
    TRY(x->rc);
    TRY(records_scan(x->from->records, SV_LIT("datastoreactive/"), SV_NONE, each_active_store, x,
                     e));
    return x->rc;
}

/* ---- the data ---- */

static err_code try_open(const struct copy_place *from, struct store_env *env, struct arena *a,
                         const struct copy_store *s, struct err *e)
{
    const char *uri = copy_place_uri(from, a, s->id);
    struct store *st;
    struct err why = { 0 };
    if (uri == NULL)
        return arena_oom(a, e);
    if (store_needs_convert(uri))
        return ERR(e, ERR_CONFLICT,
                   "data store %.*s has an older layout, or its conversion was cut off. Type: "
                   "fhirlake convert DATA",
                   SV_FMT(s->id));
    err_code rc = store_open(env, uri, false, &st, &why);
    if (rc == ERR_DENIED)
        return ERR(e, ERR_UNSUPPORTED,
                   "data store %.*s is encrypted by a key: a copy would be plain, so it is refused",
                   SV_FMT(s->id));
    if (rc != ERR_OK)
        return ERR(e, rc, "data store %.*s: %s", SV_FMT(s->id), why.msg);
    store_close(st);
    return ERR_OK;
}

/* ---- the target ---- */

static err_code is_there(const struct copy_place *to, struct store_env *env, struct arena *a, sv id,
                         bool *out, struct err *e)
{
    CLEANUP_BUF struct buf record = BUF_INIT(4u << 20);
    const char *uri = copy_place_uri(to, a, id);
    const sv key = arena_fmt(a, "datastore/%.*s", SV_FMT(id));
    struct store *st = NULL;
    struct err why;
    if (uri == NULL || key.ptr == NULL)
        return arena_oom(a, e);
    err_code rc = records_get(to->records, key, &record, &why);
    if (rc == ERR_NOT_FOUND)
        rc = store_open(env, uri, false, &st, &why);
    store_close_p(&st);
    /* what cannot be opened is there, too */
    *out = rc != ERR_NOT_FOUND;
    return ERR_OK;
}

err_code copy_look_to(const struct copy_place *to, struct store_env *env, struct copy_plan *plan,
                      struct err *e)
{
    /* one more than can be of this plan */
    const size_t most = plan->n + 1;
    struct store_half *half = arena_calloc(plan->a, most, sizeof *half);
    size_t n_half = 0;
    if (half == NULL)
        return arena_oom(plan->a, e);
    TRY(store_half_find(to->records, plan->a, half, most, &n_half, e));
    for (size_t i = 0; i < n_half; i++)
        if (!copy_plan_has(plan, half[i].id))
            return ERR(e, ERR_CONFLICT,
                       "the target has a half copied data store %.*s, which is not among these: "
                       "call that copy again first, or give it up with fhirlake copy --abandon",
                       SV_FMT(sv_head(half[i].id, 64)));
    for (size_t i = 0; i < plan->n; i++) {
        struct copy_store *s = &plan->stores[i];
        bool mine = false, there = false;
        for (size_t k = 0; k < n_half; k++)
            if (sv_eq(half[k].id, s->id)) {
                mine = true;
                s->was_done = sv_eq_cstr(half[k].done, plan->mark);
            }
        if (!mine && !s->kept)
            TRY(is_there(to, env, plan->a, s->id, &there, e));
        if (there)
            return ERR(e, ERR_EXISTS, "the target has a data store %.*s already", SV_FMT(s->id));
    }
    return ERR_OK;
}

static err_code look(struct looking *x, bool to_remote, struct store_env *env, struct err *e)
{
    struct copy_plan *plan = x->plan;
    TRY(check_source(x, e));
    for (size_t i = 0; i < plan->n; i++) {
        if (plan->stores[i].backup && to_remote)
            return ERR(e, ERR_UNSUPPORTED,
                       "data store %.*s has continuous backup, which a database does not offer: "
                       "disable its BackupConfiguration first",
                       SV_FMT(plan->stores[i].id));
        if (plan->stores[i].has_data)
            TRY(try_open(x->from, env, plan->a, &plan->stores[i], e));
    }
    return ERR_OK;
}

err_code copy_look_from(const struct copy_place *from, bool to_remote, struct store_env *env,
                        const char *const *ids, size_t n_ids, struct copy_plan *plan, struct err *e)
{
    struct looking x = { .from = from,
                         .ids = ids,
                         .n_ids = n_ids,
                         .plan = plan,
                         .scratch = arena_new(RECORD_MEMORY),
                         .rows = BUF_INIT(64u << 20),
                         .e = e };
    plan->all = n_ids == 0;
    err_code rc = look(&x, to_remote, env, e);
    buf_done(&x.rows);
    arena_free(x.scratch);
    return rc;
}
