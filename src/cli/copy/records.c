/* records.c - the records of data stores, from one place to another.
 *
 * docs/key-layout.md lists the keys. Every key of the source is looked at once, and is one of:
 *
 *   of a data store  copied when the data store is: its record, tags, lists, jobs, client tokens
 *   of all           copied with all data stores: events that wait, used assertions
 *   left             of this place, or held by numbers that a copy has not: page-key, the number of
 *                    a database, what exports leave to later ones
 *   unknown          counted, and told
 *
 * They are written in batches. Nothing of it is seen before the last batch, which takes away the
 * marks of what is half copied; a call that was cut off writes the same again. */
#include "cli/copy/copy_private.h"

#include "codec/json.h"
#include "store/move.h"

#define BATCH_MOST   256u
#define BATCH_BYTES  (1u << 20)
#define BATCH_MEMORY (1u << 30) /* a manifest can be large */
#define TOKEN_MEMORY (1u << 20)

enum where { OF_STORE_AT, OF_STORE_VALUE, OF_STORE_TOKEN, OF_JOB, OF_ALL, LEFT };
static const struct {
    const char *prefix;
    enum where where;
} families[] = {
    { "datastore/", OF_STORE_AT },
    { "datastorelist/", OF_STORE_VALUE },
    { "datastoreactive/", LEFT },
    { "datastorekept/", LEFT },
    { "datastoretoken/", OF_STORE_TOKEN },
    { "datastoreorder", LEFT },
    { "job/", OF_STORE_AT },
    { "joblist/", OF_STORE_AT },
    { "jobactive/", LEFT },
    { "jobparams/", OF_JOB },
    { "jobmanifest/", OF_JOB },
    { "jobearlier/", LEFT },
    { "jobexpiry/", OF_STORE_VALUE },
    { "jobnote/", LEFT },
    { "jobtoken/", OF_STORE_TOKEN },
    { "joborder", LEFT },
    { "jobdrop/", LEFT },
    { "exportplace", LEFT },
    { "event/", OF_ALL },
    { "tokenused/", OF_ALL },
    /* who starts reads tokenused; this is for those that run */
    { "tokenonce/", LEFT },
    { "tokenkey/", LEFT },
    { "system/page-key", LEFT },
    { "database", LEFT },
    { STORE_HALF_KEYS, LEFT },
    { STORE_SOURCE_KEY, LEFT },
};

struct copying {
    const struct copy_place *from, *to;
    const struct copy_plan *plan;
    struct copied_records *out;
    struct arena *batch, *scratch;
    struct records_write writes[BATCH_MOST];
    size_t n, bytes;
    err_code rc;
    struct err *e;
};

/* ---- writing ---- */

static err_code flush(struct copying *x)
{
    if (x->n)
        TRY(records_write(x->to->records, x->writes, x->n, x->e));
    x->n = x->bytes = 0;
    arena_reset(x->batch);
    return ERR_OK;
}

static err_code put(struct copying *x, sv key, sv value)
{
    struct records_write *w = &x->writes[x->n];
    *w = (struct records_write){ RECORDS_PUT, arena_sv(x->batch, key), arena_sv(x->batch, value) };
    if (w->key.ptr == NULL || w->value.ptr == NULL)
        return arena_oom(x->batch, x->e);
    x->n++;
    x->bytes += key.len + value.len;
    return x->n == BATCH_MOST || x->bytes > BATCH_BYTES ? flush(x) : ERR_OK;
}

/* ---- whose a record is ---- */

/* Deleted ones whose data are kept stay behind. */
static bool is_copied(const struct copying *x, sv id)
{
    for (size_t i = 0; i < x->plan->n; i++)
        if (sv_eq(x->plan->stores[i].id, id))
            return !x->plan->stores[i].kept;
    return false;
}

static sv store_of_token(struct copying *x, sv json)
{
    struct err why;
    yyjson_doc *doc;
    arena_reset(x->scratch);
    const sv text = arena_sv(x->scratch, json);
    if (text.ptr == NULL || json_read(x->scratch, text, 4, &doc, &why) != ERR_OK)
        return SV_NONE;
    return json_string(json_get(yyjson_doc_get_root(doc), "datastore"));
}

/* What stands in the source's records of a job under other keys. */
static err_code put_of_job(struct copying *x, const char *prefix, sv id)
{
    CLEANUP_BUF struct buf value = BUF_INIT(BATCH_MEMORY / 2);
    struct err why;
    const sv key = arena_fmt(x->batch, "%s%.*s", prefix, SV_FMT(id));
    if (key.ptr == NULL)
        return arena_oom(x->batch, x->e);
    err_code rc = records_get(x->from->records, key, &value, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    return rc == ERR_OK ? put(x, key, buf_sv(&value)) : err_pass(x->e, &why);
}

/* A record of a job brings those that have only the job's id. */
static err_code put_job(struct copying *x, sv key, sv value)
{
    sv id = key;
    while (sv_find(id, '/') < id.len)
        id = sv_tail(id, sv_find(id, '/') + 1);
    /* put() may empty the batch's memory */
    char copy[64];
    if (id.len >= sizeof copy)
        return ERR(x->e, ERR_CORRUPT, "a job's record is damaged");
    memcpy(copy, id.ptr, id.len);
    const sv kept = sv_make(copy, id.len);
    TRY(put(x, key, value));
    TRY(put_of_job(x, "jobparams/", kept));
    TRY(put_of_job(x, "jobmanifest/", kept));
    x->out->n_jobs++;
    return ERR_OK;
}

static err_code put_at(struct copying *x, const char *prefix, sv rest, sv key, sv value)
{
    if (!is_copied(x, sv_head(rest, sv_find(rest, '/'))))
        return ERR_OK;
    return strcmp(prefix, "job/") == 0 ? put_job(x, key, value) : put(x, key, value);
}

static err_code put_of_all(struct copying *x, const char *prefix, sv key, sv value)
{
    const bool is_event = strcmp(prefix, "event/") == 0;
    if (is_event && !x->plan->all)
        return ERR_OK;
    x->out->n_events += is_event;
    return put(x, key, value);
}

static err_code one(struct copying *x, sv key, sv value)
{
    size_t i = 0;
    const size_t n = sizeof families / sizeof families[0];
    while (i < n && !sv_starts(key, sv_from(families[i].prefix)))
        i++;
    if (i == n) {
        if (x->out->n_unknown++ == 0)
            (void)snprintf(x->out->unknown, sizeof x->out->unknown, "%.*s",
                           SV_FMT(sv_head(key, sv_find(key, '/'))));
        return ERR_OK;
    }
    switch (families[i].where) {
    case OF_STORE_AT:
        return put_at(x, families[i].prefix, sv_tail(key, strlen(families[i].prefix)), key, value);
    case OF_STORE_VALUE:
        return is_copied(x, value) ? put(x, key, value) : ERR_OK;
    case OF_STORE_TOKEN:
        if (!is_copied(x, store_of_token(x, value)))
            return ERR_OK;
        x->out->n_tokens++;
        return put(x, key, value);
    case OF_ALL:
        return put_of_all(x, families[i].prefix, key, value);
    default: /* with its job, or not at all */
        return ERR_OK;
    }
}

/* records_each_fn */
static bool each(void *ctx, sv key, sv value)
{
    struct copying *x = ctx;
    x->rc = one(x, key, value);
    return x->rc == ERR_OK;
}

/* ---- all ---- */

static err_code end_half(struct copying *x)
{
    for (size_t i = 0; i < x->plan->n; i++) {
        if (x->n == BATCH_MOST)
            TRY(flush(x));
        TRY(store_half_end(x->batch, x->plan->stores[i].id, &x->writes[x->n], x->e));
        x->n++;
    }
    return flush(x);
}

static err_code copy_all(struct copying *x)
{
    TRY(records_scan(x->from->records, SV_NONE, SV_NONE, each, x, x->e));
    TRY(x->rc);
    TRY(flush(x));
    return end_half(x);
}

err_code copy_records(const struct copy_place *from, const struct copy_place *to,
                      const struct copy_plan *plan, struct copied_records *out, struct err *e)
{
    struct copying *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    *out = (struct copied_records){ 0 };
    *x = (struct copying){ .from = from,
                           .to = to,
                           .plan = plan,
                           .out = out,
                           .batch = arena_new(BATCH_MEMORY),
                           .scratch = arena_new(TOKEN_MEMORY),
                           .e = e };
    err_code rc = copy_all(x);
    arena_free(x->scratch);
    arena_free(x->batch);
    free(x);
    return rc;
}
