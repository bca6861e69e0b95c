/* history.c - the histories of a resource, of a type, and of the system: versions, newest first.
 *
 * _at gives the versions that were current at some time of a period [lo, hi): those that were
 * written within it, and of each resource the one that was current when it began. A deletion is a
 * version too. Only the numbers of commits decide, so pages fit together.
 * Source: FHIR R4 http.html#history. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"
#include "rest/params_private.h"
#include "rest/read/cursor_private.h"
#include "rest/read/page_private.h"
#include "rest/read/read_private.h"

#include "base/clock.h"
#include "base/limits.h"

#define HISTORY_COUNT_DEFAULT 100u
#define HISTORY_COUNT_MAX     1000u

/* A page ends when it holds this much; the next link goes on. */
#define HISTORY_PAGE_BYTES (4u << 20)

#define LOG_ROWS 256u /* rows that are read together when only some of them count */
/* Rows of all types: each may give one more than a page shows. */
#define LOG_ROWS_MAX ((HISTORY_COUNT_MAX + 1) * (size_t)QUERY_TYPES_MAX)

struct history {
    struct rest_call *call;
    struct json_writer w;
    sv path; /* for links */
    size_t count, n;
    int64_t since_ms;     /* only versions at or after this instant */
    bool at;              /* _at: */
    int64_t lo_ms, hi_ms; /* its period */
    uint64_t lo_t;        /* the newest commit at or before its begin */
    /* rows of earlier commits, or of this one with (type, number) behind the mark */
    uint64_t from_t;
    store_number after; /* 0: no mark */
    /* where the page ended */
    bool more;
    uint64_t last_t;
    store_number last;
};

static const char *method_name(const struct store_version *v)
{
    return v->method == STORE_METHOD_CREATE   ? "POST"
           : v->method == STORE_METHOD_DELETE ? "DELETE"
                                              : "PUT";
}

/* What the write of it answered: an update of what was deleted made it again. */
static err_code status_of(struct history *history, const struct store_version *v, sv *out,
                          struct err *e)
{
    struct rest_call *call = history->call;
    struct store_version before;
    struct err why;
    *out = v->method == STORE_METHOD_DELETE ? SV_LIT("204")
           : v->version == 1                ? SV_LIT("201")
                                            : SV_LIT("200");
    if (v->method == STORE_METHOD_DELETE || v->version == 1)
        return ERR_OK;
    arena_mark m = arena_mark_get(call->a);
    err_code rc = store_get_number_light(call->st, v->number, v->t - 1, call->a, &before, &why);
    arena_rewind(call->a, m);
    /* it was erased: what it was is not known any more */
    if (rc != ERR_OK)
        return rc == ERR_NOT_FOUND ? ERR_OK : err_pass(e, &why);
    if (before.method == STORE_METHOD_DELETE)
        *out = SV_LIT("201");
    return ERR_OK;
}

static err_code history_entry(struct history *history, const struct store_version *v, struct err *e)
{
    struct rest_call *call = history->call;
    char when[INSTANT_LEN];
    sv status;
    instant_format(v->instant_ms, when);
    const char *type = fhir_type_name(v->type);
    json_obj(&history->w);
    json_kv_str(&history->w, "fullUrl",
                arena_fmt(call->a, "%.*s/%s/%.*s", SV_FMT(call->base), type, SV_FMT(v->id)));
    if (v->method != STORE_METHOD_DELETE) {
        json_key(&history->w, "resource");
        TRY(rest_version_put(call, v, &history->w, e));
    }
    json_key(&history->w, "request");
    json_obj(&history->w);
    json_kv_str(&history->w, "method", sv_from(method_name(v)));
    json_kv_str(&history->w, "url",
                v->method == STORE_METHOD_CREATE
                    ? sv_from(type)
                    : arena_fmt(call->a, "%s/%.*s", type, SV_FMT(v->id)));
    json_obj_end(&history->w);
    json_key(&history->w, "response");
    json_obj(&history->w);
    TRY(status_of(history, v, &status, e));
    json_kv_str(&history->w, "status", status);
    json_kv_str(&history->w, "location",
                arena_fmt(call->a, "%s/%.*s/_history/%llu", type, SV_FMT(v->id),
                          (unsigned long long)v->version));
    json_kv_str(&history->w, "etag",
                arena_fmt(call->a, "W/\"%llu\"", (unsigned long long)v->version));
    json_kv_str(&history->w, "lastModified", sv_make(when, INSTANT_LEN));
    json_obj_end(&history->w);
    json_obj_end(&history->w);
    history->n++;
    return ERR_OK;
}

/* This row is done: the next page, or the next rows of the log, begin behind it. */
static void passed(struct history *history, uint64_t t, store_number number)
{
    history->last_t = t;
    history->last = number;
}

static bool page_full(struct history *history, const struct store_version *v)
{
    bool apart = history->n && rest_fits_alone(history->call, v);
    if (history->n < history->count && history->w.out->len < HISTORY_PAGE_BYTES && !apart)
        return false;
    history->more = true;
    return true;
}

static err_code instance_history(struct history *history, struct err *e)
{
    struct rest_call *call = history->call;
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    struct store_version v;
    err_code rc;
    bool any = false, sees = false;
    int64_t ended_ms, next_ms = INT64_MAX;
    TRY(store_history(call->st, call->type, call->id, rest_reads_as_of(call), &cur, e));
    store_cursor_light(cur);
    while ((rc = store_cursor_next(cur, &v, e)) == ERR_OK) {
        TRY(rest_breathe(call, e));
        if (v.erased)
            continue;
        TRY(rest_sees(call, SMART_R, &v, &sees, e));
        /* The first one is what there is now. When that is not shown, nothing is. */
        if (!any && !sees)
            return rest_not_known(call, e);
        any = true;
        /* A version was current until the next one came; newer ones are read first. */
        ended_ms = next_ms;
        next_ms = v.instant_ms;
        /* This version and all older ones had ended before the period. */
        if (history->at && ended_ms <= history->lo_ms)
            return ERR_OK;
        if (!sees || v.t > history->from_t || (v.t == history->from_t && history->after) ||
            v.instant_ms < history->since_ms)
            continue;
        if (page_full(history, &v))
            return ERR_OK;
        TRY(history_entry(history, &v, e));
        passed(history, v.t, v.number);
    }
    if (rc == ERR_EOF && !any)
        return rest_not_known(call, e);
    return rc == ERR_EOF ? ERR_OK : rc;
}

static int row_cmp(const void *a, const void *b)
{
    const struct store_log_row *x = a, *y = b;
    if (x->t != y->t)
        return x->t < y->t ? 1 : -1;
    fhir_type s = number_type(x->number), t = number_type(y->number);
    if (s != t)
        return (int)s - (int)t;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* The newest rows of each type's log from where the page stands, at most n of each, in order.
 * Within a commit: by type, then number. The first n of them all are among these. */
static err_code log_rows(struct history *history, size_t n, struct buf *rows, struct err *e)
{
    struct rest_call *call = history->call;
    fhir_type first = call->type ? call->type : 1,
              last = call->type ? call->type : (fhir_type)fhir_n_types();
    for (unsigned t = first; t <= last; t++) {
        struct store_log_row *got = NULL;
        size_t n_got = 0;
        /* Of commit from_t: nothing of types in front of the mark, everything of types behind
         * it. */
        fhir_type after = number_type(history->after);
        if (query_grant_extent(call->grant, (fhir_type)t, SMART_S) == QUERY_NOTHING)
            continue;
        uint64_t from =
            t < after ? history->from_t - (history->from_t > 0 && history->from_t != STORE_NOW)
                      : history->from_t;
        TRY(store_log(call->st, (fhir_type)t, from, t == after ? history->after : 0, n, call->a,
                      &got, &n_got, e));
        if (n_got)
            TRY(buf_add(rows, sv_make(got, n_got * sizeof *got), e));
    }
    struct store_log_row *row = (struct store_log_row *)(void *)rows->ptr;
    if (rows->len)
        qsort(row, rows->len / sizeof *row, sizeof *row, row_cmp);
    return ERR_OK;
}

/* Was the version current at some time of the period? Rows from behind its end are never read. */
static err_code was_current(struct history *history, const struct store_version *v, bool *out,
                            struct err *e)
{
    struct store_version then;
    struct err why;
    *out = !history->at || v->instant_ms > history->lo_ms;
    if (*out)
        return ERR_OK;
    /* Only the commit of that version matters, so its body goes at once. */
    arena_mark m = arena_mark_get(history->call->a);
    err_code rc = store_get_number_light(history->call->st, v->number, history->lo_t,
                                         history->call->a, &then, &why);
    arena_rewind(history->call->a, m);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    *out = rc == ERR_OK && then.t == v->t;
    return ERR_OK;
}

/* Write a row of the log if it counts. *end: no more rows are wanted. */
static err_code log_row(struct history *history, const struct store_log_row *row, bool *end,
                        struct err *e)
{
    struct store_version v;
    struct err why;
    bool counts, sees;
    err_code rc =
        store_get_number_light(history->call->st, row->number, row->t, history->call->a, &v, &why);
    /* it was erased */
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    TRY(was_current(history, &v, &counts, e));
    *end = v.instant_ms < history->since_ms;
    if (*end || !counts)
        return ERR_OK;
    TRY(rest_sees_now(history->call, SMART_S, &v, &sees, e));
    *end = sees && page_full(history, &v);
    if (*end || !sees)
        return ERR_OK;
    return history_entry(history, &v, e);
}

/* The history of a type or of the system. With _at, or under scopes, many rows may be passed over
 * for one that counts. So a page also ends after PAGE_WORK_US, and the next page goes on there. */
static err_code log_history(struct history *history, struct err *e)
{
    struct rest_call *call = history->call;
    uint64_t until_us = clock_mono_us() + PAGE_WORK_US;
    bool picks = history->at || rest_grant_limits(call, call->type, SMART_S);
    size_t at_a_time = picks && history->count < LOG_ROWS ? LOG_ROWS : history->count + 1;
    for (bool end = false; !end;) {
        CLEANUP_BUF struct buf rows = BUF_INIT(LOG_ROWS_MAX * sizeof(struct store_log_row));
        arena_mark m = arena_mark_get(call->a);
        TRY(log_rows(history, at_a_time, &rows, e));
        const struct store_log_row *row = (const struct store_log_row *)(const void *)rows.ptr;
        size_t n = rows.len / sizeof *row;
        for (size_t i = 0; i < n && i < at_a_time && !end; i++) {
            arena_mark of_row = arena_mark_get(call->a);
            TRY(rest_breathe(call, e));
            TRY(log_row(history, &row[i], &end, e));
            arena_rewind(call->a, of_row);
            if (!end)
                passed(history, row[i].t, row[i].number);
        }
        if (n < at_a_time)
            return ERR_OK;
        if (!end && clock_mono_us() > until_us)
            end = history->more = true;
        arena_rewind(call->a, m);
        history->from_t = history->last_t;
        history->after = history->last;
    }
    return ERR_OK;
}

/* The place of a page is <t>.<number>: the last entry of the page before. */
static err_code history_from(struct history *history, struct err *e)
{
    struct rest_call *call = history->call;
    sv page;
    TRY(rest_read_names(call, e));
    TRY(rest_cursor_open(call, history->path, &page, e));
    sv text = rest_param(call, "_count"), at = rest_param(call, "_at");
    uint64_t n = HISTORY_COUNT_DEFAULT;
    if (text.ptr && (!sv_to_u64(text, &n) || n == 0 || n > HISTORY_COUNT_MAX))
        return ERR(e, ERR_INVALID, "_count must be a number from 1 to %u", HISTORY_COUNT_MAX);
    history->count = (size_t)n;
    history->from_t = rest_reads_as_of(call);
    TRY(rest_reads_begin(call, e));
    history->since_ms = INT64_MIN;
    text = rest_param(call, "_since");
    if (text.ptr && !instant_parse(text, &history->since_ms))
        return ERR(
            e, ERR_INVALID,
            "_since must be an instant such as 2026-01-31T12:00:00Z (a + in a query is %%2B)");
    if (at.ptr) {
        struct store_commit begin, end;
        TRY(rest_read_date(call, "_at", at, &history->lo_ms, &history->hi_ms, e));
        TRY(store_commit_at(call->st, history->lo_ms, &begin, e));
        TRY(store_commit_at(call->st, history->hi_ms - 1, &end, e));
        history->lo_t = begin.t;
        history->from_t = end.t < history->from_t ? end.t : history->from_t;
        history->at = true;
    }
    if (page.ptr) {
        sv t;
        if (!sv_cut(&page, '.', &t) || !sv_to_u64(t, &history->from_t) ||
            !sv_to_u64(page, &history->after) || number_type(history->after) < 1 ||
            number_type(history->after) > fhir_n_types())
            return ERR(e, ERR_INVALID, "Invalid pagination token: it is not of this history");
    }
    return ERR_OK;
}

static err_code links(struct history *history, struct err *e)
{
    struct rest_call *call = history->call;
    json_key(&history->w, "link");
    json_arr(&history->w);
    json_obj(&history->w);
    json_kv_str(&history->w, "relation", SV_LIT("self"));
    json_kv_str(&history->w, "url",
                arena_fmt(call->a, "%.*s/%.*s%s%.*s", SV_FMT(call->base), SV_FMT(call->in.path),
                          call->in.query.len ? "?" : "", SV_FMT(call->in.query)));
    json_obj_end(&history->w);
    if (history->more) {
        CLEANUP_BUF struct buf url = BUF_INIT(256u << 10);
        sv token, place = arena_fmt(call->a, "%llu.%llu", (unsigned long long)history->last_t,
                                    (unsigned long long)history->last);
        if (place.ptr == NULL)
            return arena_oom(call->a, e);
        TRY(rest_cursor_make(call, history->path, place, &token, e));
        TRY(rest_cursor_url(call, history->path, history->count, token, &url, e));
        json_obj(&history->w);
        json_kv_str(&history->w, "relation", SV_LIT("next"));
        json_kv_str(&history->w, "url", buf_sv(&url));
        json_obj_end(&history->w);
    }
    json_arr_end(&history->w);
    return ERR_OK;
}

/* Source: http.html#history. Newest first; deletions are entries without a resource. */
err_code rest_history(struct rest_call *call, struct err *e)
{
    struct history history = { .call = call };
    history.path = call->id.len ? arena_fmt(call->a, "%s/%.*s/_history", fhir_type_name(call->type),
                                            SV_FMT(call->id))
                   : call->type ? arena_fmt(call->a, "%s/_history", fhir_type_name(call->type))
                                : SV_LIT("_history");
    if (history.path.ptr == NULL)
        return arena_oom(call->a, e);
    TRY(history_from(&history, e));
    if (call->only_check && call->id.len == 0)
        return ERR_OK;
    call->out.status = 200;
    json_writer_init(&history.w, &call->out.body);
    json_obj(&history.w);
    json_kv_str(&history.w, "resourceType", SV_LIT("Bundle"));
    json_kv_str(&history.w, "type", SV_LIT("history"));
    size_t before_entries = call->out.body.len;
    json_key(&history.w, "entry");
    json_arr(&history.w);
    TRY(call->id.len ? instance_history(&history, e) : log_history(&history, e));
    json_arr_end(&history.w);
    /* FHIR has no empty arrays. */
    if (history.n == 0) {
        call->out.body.len = before_entries;
    }
    TRY(links(&history, e));
    json_obj_end(&history.w);
    return json_writer_end(&history.w, e);
}
