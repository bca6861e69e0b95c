/* run.c - $viewdefinition-run: a walk over the resources of a type, as of one commit, makes rows,
 * and these the answer (table.c). The walk is a search's: it sees what the caller's scopes give,
 * and breathes for others. It may last as long as its reader reads. What a commit had can be read
 * at any time, so the walk begins anew at its place every while, also where nothing matches. It is
 * closed while the reader is waited for, also amid the rows of one resource. So no file that it has
 * read stays on the disk for it alone. Memory is bounded by the budgets below for each of
 * LIMIT_STREAMS runs. */
#include "rest/view/view_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"
#include "rest/stream_private.h"

#define EVAL_BYTES    ((size_t)32 << 20) /* of expressions over one resource */
#define SCRATCH_BYTES ((size_t)32 << 20)
/* How long one cursor of the store is kept, and while it does nothing but wait for the reader. */
#define ANEW_US       UINT64_C(20000000)
#define ANEW_IDLE_US  UINT64_C(1000000)
#define GIVEN_MEMBERS 1000u /* of an object of a resource in the request */

struct run {
    struct rest_call *call;
    const struct view_asked *asked;
    struct view_table table;
    struct arena *eval, *tree;
    struct buf text; /* of one resource */
    int64_t now_ms;
    uint64_t as_of;
    struct view_whose whose;
    struct query_walk *walk; /* NULL: it is to begin at the place */
    struct query_place place;
    uint64_t idle_us; /* waited for the reader so long in all: it is closed */
};

static err_code put_row(void *ctx, const struct fhirpath_list *cells, struct err *e)
{
    struct run *r = ctx;
    return rest_view_table_row(&r->table, cells, e);
}

/* ---- resources ---- */

/* A view that does not fit a resource: which one, and which member of the view. */
static err_code does_not_fit(struct run *r, sv name, const struct err *why, struct err *e)
{
    sv where = why->ctx[0] ? arena_fmt(r->call->a, "viewResource.%s", why->ctx)
                           : rest_view_place(r->call, why->msg);
    return rest_view_fault(r->call, ERR_UNPROCESSABLE, "processing",
                           where.ptr ? where : SV_LIT("viewResource"), e,
                           "The view does not fit %.*s: %s%s%s", SV_FMT(name), why->ctx,
                           why->ctx[0] ? ": " : "", why->msg);
}

static err_code look(void *call, struct err *e)
{
    return rest_breathe(call, e);
}

/* name: as messages call it. */
static err_code put_resource(struct run *r, yyjson_val *resource, sv name, struct err *e)
{
    struct fhirpath_run run = { .arena = r->eval, .now_ms = r->now_ms, .resource = resource };
    struct err why = { 0 };
    arena_reset(r->eval);
    run.look = look;
    run.look_ctx = r->call;
    err_code rc = view_rows(r->asked->v, &run, put_row, r, &why);
    if (rc == ERR_OK || rc == ERR_EOF)
        return rc;
    if (rc == ERR_INVALID || (rc == ERR_TOO_LARGE && !r->table.too_long))
        return does_not_fit(r, name, &why, e);
    return err_pass(e, &why);
}

/* The version as it is read, with its meta. text: empty. */
static err_code put_text(struct run *r, const struct store_version *v, struct buf *text,
                         struct arena *tree, struct err *e)
{
    char name[128];
    yyjson_doc *doc;
    TRY(rest_version_write(v, text, e));
    TRY(json_read(tree, buf_sv(text), LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    (void)snprintf(name, sizeof name, "%s/%.*s", fhir_type_name(v->type), SV_FMT(v->id));
    return put_resource(r, yyjson_doc_get_root(doc), sv_from(name), e);
}

/* Few large ones are in memory at a time, so its rows wait until it is not. */
static err_code put_large(struct run *r, const struct store_version *cut, struct err *e)
{
    CLEANUP_LARGE struct rest_large whole = { 0 };
    CLEANUP_BUF struct buf text = BUF_INIT(query_whole_len(cut) + FHIR_SPLICE_MAX);
    CLEANUP(arena_free) struct arena *tree = NULL;
    TRY(rest_large_get(r->call, cut, &whole, e));
    tree = arena_new(json_tree_max(text.max));
    r->table.holds = true;
    err_code rc = put_text(r, &whole.v, &text, tree, e);
    r->table.holds = false;
    return rc;
}

static err_code put_match(struct run *r, const struct query_match *m, struct err *e)
{
    bool theirs;
    if (m->v.instant_ms < r->asked->since_ms)
        return ERR_OK;
    TRY(rest_view_is_theirs(r->call, &r->whose, r->as_of, m, &theirs, e));
    if (!theirs)
        return ERR_OK;
    if (m->v.left_out || m->v.body.json.len > LIMIT_WHOLE_BYTES)
        return put_large(r, &m->v, e);
    buf_clear(&r->text);
    arena_reset(r->tree);
    return put_text(r, &m->v, &r->text, r->tree, e);
}

static uint64_t waited_us(const struct run *r)
{
    return r->table.streams ? r->call->stream->waited_us : 0;
}

static void leave_walk(struct run *r)
{
    if (r->walk == NULL)
        return;
    r->place = *query_walk_place(r->walk);
    query_walk_close(r->walk);
    r->walk = NULL;
}

/* rest_stream.on_wait. Of the match whose rows wait there is a copy (put_text). */
static void while_it_waits(void *run)
{
    struct run *r = run;
    if (waited_us(r) >= r->idle_us)
        leave_walk(r);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* As far as one cursor goes. ERR_EOF: there is no more. */
static err_code walk_on(struct run *r, struct err *e)
{
    const uint64_t anew_us = clock_mono_us() + ANEW_US;
    struct query_match m;
    r->idle_us = waited_us(r) + ANEW_IDLE_US;
    while (r->walk && clock_mono_us() < anew_us) {
        uint64_t until_us =
            r->table.streams ? sooner(anew_us, rest_view_table_due_us(&r->table)) : 0;
        err_code rc = query_walk_next(r->walk, until_us, &m, e);
        if (rc == ERR_OK)
            rc = put_match(r, &m, e);
        /* the clock of a call that streams has no end: nothing matched for long */
        else if (rc == ERR_TIMEOUT && until_us && clock_mono_us() > until_us)
            rc = ERR_OK;
        TRY(rc);
        TRY(rest_view_table_due(&r->table, e));
    }
    return ERR_OK;
}

static err_code walk_all(struct run *r, struct err *e)
{
    struct rest_call *call = r->call;
    struct query *query = ARENA_NEW(call->a, struct query);
    const struct query_place *from = NULL;
    err_code rc = ERR_OK;
    if (query == NULL)
        return arena_oom(call->a, e);
    struct query_source src = rest_query_source(call, r->as_of);
    /* a row is read and found at once */
    src.letters = SMART_R | SMART_S;
    query_init(query, &src, call->type);
    query->no_trees = !rest_view_needs_trees(call, &r->whose);
    TRY(rest_view_narrow(call, &r->whose, query, e));
    while (rc == ERR_OK) {
        TRY(query_walk_open(query, from, &r->walk, e));
        rc = walk_on(r, e);
        leave_walk(r);
        from = &r->place;
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

/* Nothing has looked at them yet. name: "resource[0]" */
static err_code given_fits(struct run *r, yyjson_val *resource, sv name, struct err *e)
{
    const char *why = NULL;
    fhir_type type = fhir_type_find(json_string(json_get(resource, "resourceType")));
    sv twice;
    if (!yyjson_is_obj(resource))
        why = "is no resource: a JSON object is asked for";
    else if (type == FHIR_TYPE_NONE)
        why = "is of no type of FHIR R4: see its resourceType";
    else if (!json_members_unique(resource, GIVEN_MEMBERS, &twice))
        why = twice.ptr ? "has a member twice" : "has an object of more than 1000 members";
    if (why)
        return rest_view_fault(r->call, ERR_INVALID, "invalid", name, e, "%.*s %s", SV_FMT(name),
                               why);
    if (type == r->call->type)
        return ERR_OK;
    return rest_view_fault(r->call, ERR_INVALID, "invalid", name, e,
                           "%.*s is of the type %s, and the view reads %s", SV_FMT(name),
                           fhir_type_name(type), fhir_type_name(r->call->type));
}

/* Resources of the request, in place of the data store's. */
static err_code walk_given(struct run *r, struct err *e)
{
    yyjson_val *one;
    yyjson_arr_iter it = yyjson_arr_iter_with(r->asked->given);
    char name[64];
    err_code rc = ERR_OK;
    for (unsigned n = 0; rc == ERR_OK && (one = yyjson_arr_iter_next(&it)) != NULL;) {
        if (!sv_eq_cstr(json_string(json_get(one, "name")), "resource"))
            continue;
        TRY(rest_breathe(r->call, e));
        (void)snprintf(name, sizeof name, "resource[%u]", n++);
        TRY(given_fits(r, json_get(one, "resource"), sv_from(name), e));
        rc = put_resource(r, json_get(one, "resource"), sv_from(name), e);
        if (rc == ERR_OK)
            rc = rest_view_table_due(&r->table, e);
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

static err_code may_read(const struct rest_call *call, struct err *e)
{
    if (query_grant_extent(call->grant, call->type, SMART_R | SMART_S) != QUERY_NOTHING)
        return ERR_OK;
    return ERR(e, ERR_DENIED, "The scopes of the token do not give reads and searches of %s",
               fhir_type_name(call->type));
}

static err_code answer(struct run *r, struct arena *a, struct err *e)
{
    TRY(rest_reads_newest(r->call, &r->as_of, e));
    TRY(rest_view_whose(r->call, r->asked, r->as_of, a, &r->whose, e));
    TRY(rest_view_table_begin(&r->table, e));
    TRY(r->asked->given ? walk_given(r, e) : walk_all(r, e));
    TRY(rest_goes_on(r->call, e));
    return rest_view_table_end(&r->table, e);
}

err_code rest_view_run(struct rest_call *call, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = NULL, *tree = NULL, *eval = NULL, *scratch = NULL;
    const bool streams = rest_may_stream(call);
    struct view_asked asked;
    if (streams)
        rest_clock_no_end(call);
    else
        TRY(rest_may_grow(call, SIZE_MAX, e));
    a = arena_new(VIEW_MEMORY);
    tree = arena_new(json_tree_max(call->in.body.len));
    TRY(rest_view_asked(call, a, tree, &asked, e));
    call->type = view_type(asked.v);
    TRY(may_read(call, e));
    eval = arena_new(EVAL_BYTES);
    scratch = arena_new(SCRATCH_BYTES);
    struct run r = { .call = call,
                     .asked = &asked,
                     .table = { .call = call,
                                .asked = &asked,
                                .body = &call->out.body,
                                .scratch = scratch,
                                .streams = streams },
                     .eval = eval,
                     .tree = arena_new(query_resource_max()),
                     .text = BUF_INIT(LIMIT_WHOLE_BYTES + FHIR_SPLICE_MAX),
                     .now_ms = clock_wall_ms() };
    if (streams) {
        call->stream->on_wait = while_it_waits;
        call->stream->ctx = &r;
    }
    err_code rc = answer(&r, a, e);
    if (streams)
        call->stream->on_wait = NULL;
    rest_view_table_done(&r.table);
    rest_view_whose_done(&r.whose);
    arena_free(r.tree);
    buf_done(&r.text);
    return rc;
}
