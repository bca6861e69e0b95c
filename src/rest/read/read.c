/* read.c - one version of a resource: read, and vread.
 * Source: FHIR R4 http.html#read, #vread, #cread. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"
#include "rest/params_private.h"
#include "rest/read/page_private.h"
#include "rest/read/read_private.h"
#include "rest/route_private.h"
#include "rest/write/condition_private.h"

#include "base/limits.h"

/* What is held against scopes at once: 16 KiB are parsed in some 20 us, a scope takes 1 to 3. */
#define SMALL_BYTES (16u << 10)
#define SCOPES_FEW  8u
#define PAIRS_FEW   2u

static err_code gone(const struct rest_call *call, struct err *e)
{
    return ERR(e, ERR_GONE, "%s with this id was deleted; its history is kept",
               fhir_type_name(call->type));
}

/* Conditional read: does the caller have this version, or one as new? Source: http.html#cread */
static bool not_modified(const struct rest_call *call, const struct store_version *v)
{
    int64_t since;
    struct rest_tags tags;
    /* A text that is no tag matches nothing. */
    struct err ignored;
    if (rest_tags_read(call->in.if_none_match, "If-None-Match", call->a, &tags, &ignored) ==
            ERR_OK &&
        rest_tags_have(&tags, v->version))
        return true;
    if (call->in.if_none_match.len)
        return false;
    /* It is a date in a header, and an instant in a Bundle's entry. */
    return call->in.if_modified_since.len &&
           (instant_parse_http(call->in.if_modified_since, &since) ||
            instant_parse(call->in.if_modified_since, &since)) &&
           v->instant_ms / 1000 <= since / 1000;
}

static err_code put_whole(struct rest_call *call, const struct store_version *v, struct err *e)
{
    CLEANUP_LARGE struct rest_large l = { 0 };
    if (v->left_out) {
        TRY(rest_large_answer(call, v, false, &l, e));
        v = &l.v;
    }
    return rest_version_write(v, &call->out.body, e);
}

/* The version whole, or what _summary or _elements leave of it. */
static err_code cut_to_ask(struct rest_call *call, const struct store_version *v, struct err *e)
{
    yyjson_doc *doc;
    struct query_match m = { .v = *v };
    if (call->params.n == 0)
        return put_whole(call, v, e);
    struct rest_page *page = ARENA_NEW(call->a, struct rest_page);
    if (page == NULL)
        return arena_oom(call->a, e);
    page->call = call;
    for (size_t i = 0; i < call->params.n; i++) {
        bool taken;
        if (!rest_says_nothing(call->params.items[i].value))
            TRY(rest_page_subset_read(page, call->params.items[i].name, call->params.items[i].value,
                                      &taken, e));
    }
    if (page->count_only)
        return ERR(e, ERR_INVALID, "_summary=count asks for a search");
    if (page->summary == REST_SUMMARY_FALSE && page->n_elements == 0)
        return put_whole(call, v, e);
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(v->body.json.len));
    TRY(json_read(a, v->body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    m.root = yyjson_doc_get_root(doc);
    return rest_subset_write(page, &m, &call->out.body, e);
}

static err_code answer_version(struct rest_call *call, const struct store_version *v, struct err *e)
{
    call->out.status = 304;
    if (not_modified(call, v))
        return ERR_OK;
    call->out.status = 200;
    TRY(rest_may_grow(call, query_whole_len(v), e));
    bool done = false;
    if (rest_binary_reads(call))
        TRY(rest_binary_read(call, v, &done, e));
    return done ? ERR_OK : cut_to_ask(call, v, e);
}

bool rest_read_is_small(struct rest_call *call)
{
    const struct smart_grant *g = call->caller.grant;
    struct store_version v, *found;
    struct err ignored;
    if (call->it->fn != rest_read || call->in.query.len || g == NULL || g->n_scopes > SCOPES_FEW)
        return false;
    for (size_t i = 0; i < g->n_scopes; i++)
        if (g->scopes[i].n_pairs > PAIRS_FEW)
            return false;
    err_code rc = store_get_light(call->st, call->type, call->id, STORE_NOW, call->a, &v, &ignored);
    if (rc == ERR_NOT_FOUND)
        return true;
    if (rc != ERR_OK || v.method == STORE_METHOD_DELETE || query_whole_len(&v) > SMALL_BYTES ||
        (found = ARENA_NEW(call->a, struct store_version)) == NULL)
        return false;
    *found = v;
    call->at_hand = found;
    return true;
}

/* What is small was found already; nothing that came since takes its place. */
static err_code find(struct rest_call *call, struct store_version *out, struct err *e)
{
    if (!call->is_small)
        return store_get_light(call->st, call->type, call->id, rest_reads_as_of(call), call->a, out,
                               e);
    if (call->at_hand == NULL)
        return ERR_NOT_FOUND;
    *out = *call->at_hand;
    return ERR_OK;
}

err_code rest_read(struct rest_call *call, struct err *e)
{
    struct store_version v;
    bool sees;
    TRY(rest_reads_begin(call, e));
    err_code rc = find(call, &v, e);
    if (rc == ERR_NOT_FOUND)
        return rest_not_known(call, e);
    TRY(rc);
    TRY(rest_sees(call, SMART_R, &v, &sees, e));
    if (!sees)
        return rest_not_known(call, e);
    rest_about(call, &v);
    if (v.method == STORE_METHOD_DELETE)
        return gone(call, e);
    return answer_version(call, &v, e);
}

err_code rest_vread(struct rest_call *call, struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    const struct search_id of = { call->type, call->id };
    struct store_version v;
    uint64_t want;
    bool sees;
    if (!sv_to_u64(call->vid, &want) || want == 0)
        return ERR(e, ERR_NOT_FOUND, "%s has no version of that name", fhir_type_name(call->type));
    TRY(rest_reads_begin(call, e));
    TRY(rest_version_find(call, &of, want, rest_reads_as_of(call), &cur, &v, e));
    TRY(rest_sees_now(call, SMART_R, &v, &sees, e));
    if (!sees)
        return rest_version_unknown(&of, e);
    rest_about(call, &v);
    if (v.method == STORE_METHOD_DELETE)
        return gone(call, e);
    return answer_version(call, &v, e);
}
