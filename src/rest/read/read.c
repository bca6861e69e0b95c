/* read.c - one version of a resource: read, and vread.
 * Source: FHIR R4 http.html#read, #vread, #cread. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/params_private.h"
#include "rest/read/page_private.h"
#include "rest/read/read_private.h"
#include "rest/write/condition_private.h"

#include "base/limits.h"

static err_code gone(const struct rest_call *c, struct err *e)
{
    return ERR(e, ERR_GONE, "%s with this id was deleted; its history is kept",
               fhir_type_name(c->type));
}

/* Conditional read: does the caller have this version, or one as new? Source: http.html#cread */
static bool not_modified(const struct rest_call *c, const struct store_version *v)
{
    int64_t since;
    struct rest_tags tags;
    /* A text that is no tag matches nothing. */
    struct err ignored;
    if (rest_tags_read(c->in.if_none_match, "If-None-Match", c->a, &tags, &ignored) == ERR_OK &&
        rest_tags_have(&tags, v->version))
        return true;
    if (c->in.if_none_match.len)
        return false;
    /* It is a date in a header, and an instant in a Bundle's entry. */
    return c->in.if_modified_since.len &&
           (instant_parse_http(c->in.if_modified_since, &since) ||
            instant_parse(c->in.if_modified_since, &since)) &&
           v->instant_ms / 1000 <= since / 1000;
}

static err_code put_whole(struct rest_call *c, const struct store_version *v, struct err *e)
{
    CLEANUP_LARGE struct rest_large l = { 0 };
    if (v->left_out) {
        TRY(rest_large_answer(c, v, false, &l, e));
        v = &l.v;
    }
    return rest_version_write(v, &c->out.body, e);
}

/* The version whole, or what _summary or _elements leave of it. */
static err_code cut_to_ask(struct rest_call *c, const struct store_version *v, struct err *e)
{
    yyjson_doc *doc;
    struct query_match m = { .v = *v };
    if (c->params.n == 0)
        return put_whole(c, v, e);
    struct rest_page *p = ARENA_NEW(c->a, struct rest_page);
    if (p == NULL)
        return arena_oom(c->a, e);
    p->c = c;
    for (size_t i = 0; i < c->params.n; i++) {
        bool taken;
        if (!rest_says_nothing(c->params.items[i].value))
            TRY(rest_page_subset_read(p, c->params.items[i].name, c->params.items[i].value, &taken,
                                      e));
    }
    if (p->count_only)
        return ERR(e, ERR_INVALID, "_summary=count asks for a search");
    if (p->summary == REST_SUMMARY_FALSE && p->n_elements == 0)
        return put_whole(c, v, e);
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(v->body.json.len));
    TRY(json_read(a, v->body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    m.root = yyjson_doc_get_root(doc);
    return rest_subset_write(p, &m, &c->out.body, e);
}

static err_code answer_version(struct rest_call *c, const struct store_version *v, struct err *e)
{
    c->out.status = 304;
    if (not_modified(c, v))
        return ERR_OK;
    c->out.status = 200;
    TRY(rest_may_grow(c, query_whole_len(v), e));
    bool done = false;
    if (rest_binary_reads(c))
        TRY(rest_binary_read(c, v, &done, e));
    return done ? ERR_OK : cut_to_ask(c, v, e);
}

err_code rest_read(struct rest_call *c, struct err *e)
{
    struct store_version v;
    err_code rc = store_get_light(c->st, c->type, c->id, rest_reads_as_of(c), c->a, &v, e);
    if (rc == ERR_NOT_FOUND)
        return rest_not_known(c, e);
    TRY(rc);
    rest_about(c, &v);
    if (v.method == STORE_METHOD_DELETE)
        return gone(c, e);
    return answer_version(c, &v, e);
}

err_code rest_vread(struct rest_call *c, struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    const struct search_id of = { c->type, c->id };
    struct store_version v;
    uint64_t want;
    if (!sv_to_u64(c->vid, &want) || want == 0)
        return ERR(e, ERR_NOT_FOUND, "%s has no version of that name", fhir_type_name(c->type));
    TRY(rest_version_find(c, &of, want, rest_reads_as_of(c), &cur, &v, e));
    rest_about(c, &v);
    if (v.method == STORE_METHOD_DELETE)
        return gone(c, e);
    return answer_version(c, &v, e);
}
