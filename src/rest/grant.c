/* grant.c - what the scopes of a caller's token give: the table of what each interaction needs, and
 * whether one version is among it. */
#include "rest/grant_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/hash.h"
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/route_private.h"

#define MARK_MAX (8 * (size_t)SMART_TEXT_MAX)

/* A write that depends on a search needs that search, too: rest_grant_allows(). */
const struct rest_need rest_needs[] = {
    { "read", REST_NEEDS_TYPE, SMART_R },
    { "vread", REST_NEEDS_TYPE, SMART_R },
    { "history-instance", REST_NEEDS_TYPE, SMART_R },
    { "history-type", REST_NEEDS_TYPE, SMART_S },
    { "history-system", REST_NEEDS_ANY, SMART_S },
    { "create", REST_NEEDS_TYPE, SMART_C },
    { "update", REST_NEEDS_TYPE, SMART_U },
    { "patch", REST_NEEDS_TYPE, SMART_U },
    { "delete", REST_NEEDS_TYPE, SMART_D },
    { "update-conditional", REST_NEEDS_TYPE, SMART_U | SMART_S },
    { "patch-conditional", REST_NEEDS_TYPE, SMART_U | SMART_S },
    { "delete-conditional", REST_NEEDS_TYPE, SMART_D | SMART_S },
    { "validate", REST_NEEDS_EITHER, SMART_C | SMART_U },
    { "search-type", REST_NEEDS_TYPE, SMART_S },
    { "search-system", REST_NEEDS_ANY, SMART_S },
    { "search-compartment", REST_NEEDS_MEMBER, SMART_S },
    { "bundle", REST_NEEDS_NOTHING, 0 },
    { "everything", REST_NEEDS_TYPE, SMART_R },
    { "export", REST_NEEDS_ANY, SMART_R | SMART_S },
    /* of the client that asked for the export, rest/export/status.c */
    { "export-status", REST_NEEDS_NOTHING, 0 },
    { "export-cancel", REST_NEEDS_NOTHING, 0 },
    { "export-file", REST_NEEDS_NOTHING, 0 },
    /* system/ scopes of every type, rest/erase/status.c */
    { "erase", REST_NEEDS_NOTHING, 0 },
    { "purge", REST_NEEDS_NOTHING, 0 },
    { "bulk-delete", REST_NEEDS_NOTHING, 0 },
    /* and of the view's type, rest/view/run.c */
    { "viewdefinition-run", REST_NEEDS_ANY, SMART_R | SMART_S },
    { "capabilities", REST_NEEDS_NOTHING, 0 },
    { "smart-configuration", REST_NEEDS_NOTHING, 0 },
};
const size_t rest_n_needs = sizeof rest_needs / sizeof rest_needs[0];

err_code rest_grant_open(struct rest_call *call, struct arena *a, struct err *e)
{
    const struct search_context cx = { .base = call->base, .now_ms = clock_wall_ms() };
    return call->caller.grant ? query_grant_new(call->caller.grant, &cx, a, &call->grant, e)
                              : ERR_OK;
}

static err_code denied(const char *what, fhir_type type, struct err *e)
{
    return ERR(e, ERR_DENIED, "The scopes of the token do not give %s%s%s", what,
               type ? " of " : "", type ? fhir_type_name(type) : "");
}

static bool gives(const struct rest_call *call, fhir_type type, unsigned letters)
{
    return query_grant_extent(call->grant, type, letters) != QUERY_NOTHING;
}

static bool gives_one_of(const struct rest_call *call, fhir_type type, unsigned letters)
{
    for (unsigned k = 0; k < SMART_N_LETTERS; k++)
        if ((letters & 1u << k) && gives(call, type, 1u << k))
            return true;
    return false;
}

err_code rest_grant_allows(const struct rest_call *call, struct err *e)
{
    const char *name = call->it->name;
    unsigned more = call->in.if_none_exist.len ? SMART_S : 0;
    if (call->grant == NULL)
        return ERR_OK;
    for (size_t i = 0; i < rest_n_needs; i++) {
        const struct rest_need *need = &rest_needs[i];
        bool given = false;
        if (strcmp(need->interaction, name) != 0)
            continue;
        switch (need->of) {
        case REST_NEEDS_NOTHING:
            return ERR_OK;
        case REST_NEEDS_TYPE:
            given = gives(call, call->type, need->letters | more);
            break;
        case REST_NEEDS_EITHER:
            given = gives_one_of(call, call->type, need->letters);
            break;
        case REST_NEEDS_MEMBER:
            given = gives(call, call->member_type, need->letters);
            break;
        case REST_NEEDS_ANY:
            given = gives(call, FHIR_TYPE_NONE, need->letters);
            break;
        }
        fhir_type type = need->of == REST_NEEDS_MEMBER ? call->member_type
                         : need->of == REST_NEEDS_ANY  ? FHIR_TYPE_NONE
                                                       : call->type;
        return given ? ERR_OK : denied(name, type, e);
    }
    return denied(name, FHIR_TYPE_NONE, e);
}

bool rest_grant_limits(const struct rest_call *call, fhir_type type, unsigned letters)
{
    return query_grant_extent(call->grant, type, letters) != QUERY_ALL;
}

err_code rest_grant_mark(const struct rest_call *call, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf all = BUF_INIT(MARK_MAX);
    const struct smart_grant *g = call->caller.grant;
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    *out = SV_LIT("");
    if (g == NULL)
        return ERR_OK;
    const sv parts[] = {
        g->issuer, g->client_id, g->subject, g->patient, g->user_type, g->user_id
    };
    /* With its length, so that no two lists of texts look the same. */
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        TRY(buf_add_fmt(&all, e, "%zu:%.*s", parts[i].len, SV_FMT(parts[i])));
    for (size_t i = 0; i < g->n_scopes; i++) {
        TRY(smart_scope_write(&g->scopes[i], &all, e));
        TRY(buf_add_char(&all, ' ', e));
    }
    hash_sha256_of(buf_sv(&all), digest);
    hash_hex(digest, sizeof digest, hex);
    *out = arena_sv(call->a, sv_make(hex, 2 * sizeof digest));
    return out->ptr ? ERR_OK : arena_oom(call->a, e);
}

/* ---- one version ---- */

static struct query_deadline *deadline_of(const struct rest_call *call)
{
    return call->clock ? &call->clock->deadline : NULL;
}

err_code rest_sees_match(const struct rest_call *call, unsigned letters,
                         const struct query_match *m, bool *sees, struct err *e)
{
    const struct search_subject s = { m->v.type, m->v.id, m->v.instant_ms, m->root,
                                      m->v.instant_ms };
    enum query_extent extent = query_grant_extent(call->grant, m->v.type, letters);
    *sees = extent == QUERY_ALL;
    return extent == QUERY_SOME
               ? query_grant_met(call->grant, letters, deadline_of(call), &s, sees, e)
               : ERR_OK;
}

/* The content by which a version is seen; *there: it has one. */
static err_code content(const struct rest_call *call, const struct store_version *v,
                        struct arena *a, struct query_match *out, bool *there, struct err *e)
{
    yyjson_doc *doc;
    struct err why;
    *there = true;
    out->v = *v;
    if (v->method == STORE_METHOD_DELETE) {
        err_code rc = store_get_number_light(call->st, v->number, v->t - 1, a, &out->v, &why);
        *there = rc == ERR_OK && out->v.method != STORE_METHOD_DELETE;
        if (rc == ERR_NOT_FOUND || !*there)
            return rc == ERR_NOT_FOUND || rc == ERR_OK ? ERR_OK : err_pass(e, &why);
    }
    TRY(json_read(a, out->v.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    out->root = yyjson_doc_get_root(doc);
    return ERR_OK;
}

err_code rest_sees(const struct rest_call *call, unsigned letters, const struct store_version *v,
                   bool *sees, struct err *e)
{
    enum query_extent extent = query_grant_extent(call->grant, v->type, letters);
    struct query_match m;
    bool there;
    *sees = extent == QUERY_ALL;
    if (extent != QUERY_SOME)
        return ERR_OK;
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    TRY(content(call, v, a, &m, &there, e));
    return there ? rest_sees_match(call, letters, &m, sees, e) : ERR_OK;
}

err_code rest_sees_now(const struct rest_call *call, unsigned letters,
                       const struct store_version *v, bool *sees, struct err *e)
{
    struct store_version now;
    TRY(rest_sees(call, letters, v, sees, e));
    if (!*sees || !rest_grant_limits(call, v->type, letters))
        return ERR_OK;
    CLEANUP(arena_free) struct arena *a = arena_new(query_resource_max());
    TRY(store_get_number_light(call->st, v->number, rest_reads_as_of(call), a, &now, e));
    return now.t == v->t ? ERR_OK : rest_sees(call, letters, &now, sees, e);
}

err_code rest_may_change(const struct rest_call *call, unsigned letter,
                         const struct store_version *v, struct err *e)
{
    static const unsigned shows[] = { SMART_R, SMART_S };
    bool sees;
    TRY(rest_sees(call, letter, v, &sees, e));
    if (sees)
        return ERR_OK;
    for (size_t i = 0; i < sizeof shows / sizeof shows[0] && !sees; i++)
        TRY(rest_sees(call, shows[i], v, &sees, e));
    return sees ? denied("this change", v->type, e) : rest_not_known(call, e);
}

err_code rest_may_store(const struct rest_call *call, unsigned letter, fhir_type type, sv id,
                        yyjson_val *root, struct err *e)
{
    bool sees;
    if (call->grant == NULL)
        return ERR_OK;
    const struct query_match m = { .v = { .type = type, .id = id, .instant_ms = clock_wall_ms() },
                                   .root = root };
    TRY(rest_sees_match(call, letter, &m, &sees, e));
    return sees ? ERR_OK : denied("such a resource", type, e);
}
