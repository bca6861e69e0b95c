/* delete.c - DELETE Type?query&_count=N: the first N matches, deleted by one commit.
 *
 * Each of them has an entry in the answer. The next link is the same request: the deleted ones
 * match no more, so it finds those behind them. Each is deleted only at the version that matched;
 * otherwise the search is made again.
 * Source: HealthLake's conditional delete (batch-response, _count from 1 to 100). */
#include "rest/params_private.h"
#include "rest/read/page_private.h"
#include "rest/write/write_private.h"

#include "base/clock.h"

#define DELETE_COUNT_MAX 100u

struct several {
    struct rest_call *call;
    size_t count;
    struct store_write *w; /* room for count of them */
    size_t n;
    bool more;
};

static err_code read_count(struct several *s, struct err *e)
{
    struct rest_conditions k;
    uint64_t n;
    TRY(rest_conditions_read(s->call, &k, e));
    if (s->call->in_bundle)
        return ERR(e, ERR_INVALID, "_count: a Bundle's entry deletes one resource");
    if (k.match.there || k.none_match.there || k.dated)
        return ERR(e, ERR_INVALID,
                   "If-Match, If-None-Match and If-Unmodified-Since are about one resource; _count "
                   "deletes several");
    if (!sv_to_u64(rest_param(s->call, "_count"), &n) || n == 0 || n > DELETE_COUNT_MAX)
        return ERR(e, ERR_INVALID, "_count of a conditional delete must be from 1 to %u",
                   DELETE_COUNT_MAX);
    s->count = (size_t)n;
    s->w = arena_calloc(s->call->a, s->count, sizeof *s->w);
    return s->w ? ERR_OK : arena_oom(s->call->a, e);
}

/* The walk asks for one match more than is deleted: it says whether there is a next link. */
static err_code find(struct several *s, struct err *e)
{
    struct rest_call *call = s->call;
    CLEANUP(query_walk_close) struct query_walk *walk = NULL;
    struct query *query;
    struct query_match m;
    err_code rc;
    uint64_t until_us = clock_mono_us() + PAGE_WORK_US;
    s->n = 0;
    s->more = false;
    TRY(rest_condition_query(&query, call, e));
    TRY(query_walk_open(query, NULL, &walk, e));
    while ((rc = query_walk_next(walk, until_us, &m, e)) == ERR_OK && s->n < s->count) {
        sv id = arena_sv(call->a, m.v.id);
        if (id.ptr == NULL)
            return arena_oom(call->a, e);
        s->w[s->n++] = (struct store_write){ .type = m.v.type,
                                             .id = id,
                                             .method = STORE_METHOD_DELETE,
                                             .condition = STORE_IF_VERSION,
                                             .if_version = m.v.version };
    }
    if (rc == ERR_TIMEOUT && s->n == 0)
        return ERR(e, rc, "The search of a conditional interaction takes too long: narrow it");
    s->more = rc != ERR_EOF;
    return rc == ERR_EOF || rc == ERR_TIMEOUT ? ERR_OK : rc;
}

static err_code delete_found(struct several *s, struct err *e)
{
    struct store_commit at;
    err_code rc = ERR_PRECONDITION;
    for (int i = 0; i < REST_TRIES && (rc == ERR_PRECONDITION || rc == ERR_NOT_FOUND); i++) {
        arena_mark m = arena_mark_get(s->call->a);
        TRY(find(s, e));
        if (s->n == 0)
            return ERR_OK;
        rc = store_commit(s->call->st, s->w, s->n, &at, e);
        if (rc != ERR_OK)
            arena_rewind(s->call->a, m);
    }
    return rc == ERR_PRECONDITION || rc == ERR_NOT_FOUND ? ERR(e, ERR_CONFLICT, REST_OVERTAKEN)
                                                         : rc;
}

static err_code write_answer(const struct several *s, struct err *e)
{
    struct rest_call *call = s->call;
    /* a page, for its links alone */
    struct rest_page *page = ARENA_NEW(call->a, struct rest_page);
    struct json_writer w;
    if (page == NULL)
        return arena_oom(call->a, e);
    page->call = call;
    page->path = sv_from(fhir_type_name(call->type));
    json_writer_init(&w, &call->out.body);
    json_obj(&w);
    json_kv_str(&w, "resourceType", SV_LIT("Bundle"));
    json_kv_str(&w, "type", SV_LIT("batch-response"));
    json_key(&w, "link");
    json_arr(&w);
    TRY(rest_page_self(page, &w, "self", e));
    if (s->more)
        TRY(rest_page_self(page, &w, "next", e));
    json_arr_end(&w);
    /* FHIR has no empty arrays. */
    if (s->n) {
        json_key(&w, "entry");
        json_arr(&w);
    }
    for (size_t i = 0; i < s->n; i++) {
        sv where =
            ARENA_JOIN(call->a, sv_from(fhir_type_name(s->w[i].type)), SV_LIT("/"), s->w[i].id);
        if (where.ptr == NULL)
            return arena_oom(call->a, e);
        json_obj(&w);
        json_key(&w, "response");
        json_obj(&w);
        json_kv_str(&w, "status", SV_LIT("204"));
        json_kv_str(&w, "location", where);
        json_obj_end(&w);
        json_obj_end(&w);
    }
    if (s->n)
        json_arr_end(&w);
    json_obj_end(&w);
    call->out.status = 200;
    return json_writer_end(&w, e);
}

err_code rest_delete_several(struct rest_call *call, struct err *e)
{
    struct several s = { .call = call };
    TRY(read_count(&s, e));
    TRY(delete_found(&s, e));
    return write_answer(&s, e);
}
