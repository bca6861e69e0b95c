/* write.c - create, update, patch and delete of one resource.
 *
 *   rest_identify   which resource is it? Conditional forms search for it
 *   rest_prepare    everything that can be checked without the committer; makes the store's write
 *   rest_written    status, headers and body, once the commit is on disk
 *   rest_refused    a refused commit in the words of the request
 *
 * A transaction takes each step for all its entries, and has one commit between the second and the
 * third. The committer decides what can race: versions (If-Match) and absence (If-None-Match,
 * idempotency keys). An idempotency key is not stored: the new id is made of it, so the same key
 * meets its own resource.
 * Source: FHIR R4 http.html#create, #update, #patch, #delete; HealthLake "Managing FHIR
 * resources". */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/grant_private.h"
#include "rest/params_private.h"
#include "rest/route_private.h"
#include "rest/write/write_private.h"

#include "base/limits.h"
#include "base/rng.h"
#include "codec/hash.h"

#define INDEX_MAX (64u << 20) /* bytes of index entries of one resource */

void rest_pending_done(struct rest_pending *pending)
{
    buf_done(&pending->stored);
    buf_done(&pending->index);
}

static bool is(const struct rest_call *call, const char *method)
{
    return sv_eq_cstr(call->in.method, method);
}

static size_t text_max(const struct rest_call *call)
{
    return call->text_max ? call->text_max : LIMIT_DATA_BODY_BYTES;
}

static err_code take_subscription(struct rest_call *call, struct fhir_reader *reader, sv text,
                                  sv set_id, struct rest_pending *pending,
                                  struct fhir_envelope *env, struct err *e)
{
    CLEANUP_BUF struct buf off = BUF_INIT(pending->stored.max);
    if (strcmp(fhir_type_name(env->type), "Subscription") != 0)
        return ERR_OK;
    TRY(rest_subscription_take(call, fhir_reader_root(reader), text, &off, e));
    if (off.len == 0)
        return ERR_OK;
    buf_clear(&pending->stored);
    return fhir_envelope_read(reader, buf_sv(&off), set_id, &pending->stored, env, e);
}

/* Read the resource in text into its stored form. Its tree stays in reader. */
static err_code read_resource(struct rest_call *call, struct fhir_reader *reader, sv text,
                              sv set_id, struct rest_pending *pending, struct fhir_envelope *env,
                              struct err *e)
{
    size_t max = text_max(call) + (64u << 10);
    CLEANUP_BUF struct buf relinked = BUF_INIT(max);
    if (call->entry)
        TRY(call->relink(call, text, &relinked, &text, e));
    buf_init(&pending->stored, max);
    err_code rc = fhir_envelope_read(reader, text, set_id, &pending->stored, env, e);
    if (rc == ERR_INVALID && !yyjson_is_obj(fhir_reader_root(reader))) {
        CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(text.len));
        yyjson_doc *doc;
        /* It fails with an error that says what is wrong, and where. */
        rc = json_read(a, text, LIMIT_RESOURCE_DEPTH, &doc, e);
        if (rc == ERR_OK)
            rc = ERR(e, ERR_INVALID, "The body must be a JSON object");
    }
    TRY(rc);
    if (env->type != call->type)
        return ERR(e, ERR_INVALID, "The body is a %s, the URL says %s", fhir_type_name(env->type),
                   fhir_type_name(call->type));
    call->out.told = (struct rest_issue_list){ 0 };
    TRY(take_subscription(call, reader, text, set_id, pending, env, e));
    pending->w.type = env->type;
    pending->w.id = arena_sv(call->a, env->id);
    pending->w.body = env->body;
    if (pending->w.id.ptr == NULL)
        return arena_oom(call->a, e);
    TRY(rest_may_store(call, is(call, "POST") ? SMART_C : SMART_U, env->type, pending->w.id,
                       fhir_reader_root(reader), e));
    TRY(rest_validate_resource(call, fhir_reader_root(reader), env->type, &pending->w.body, e));
    buf_init(&pending->index, INDEX_MAX);
    TRY(search_index(env->type, fhir_reader_root(reader), &pending->index, e));
    pending->w.index = buf_sv(&pending->index);
    return ERR_OK;
}

static err_code check_key(sv key, struct err *e)
{
    bool ok = key.len == 36;
    for (size_t i = 0; ok && i < 36; i++) {
        char ch = key.ptr[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        ok = dash
                 ? ch == '-'
                 : (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f') || (ch >= 'A' && ch <= 'F');
    }
    return ok ? ERR_OK : ERR(e, ERR_INVALID, "x-amz-fhir-idempotency-key must be a UUID");
}

/* The id of a new resource: a random UUID, or the UUID that the idempotency key always leads to. */
static err_code new_id(struct rest_call *call, struct rest_pending *pending, char uuid[37],
                       struct err *e)
{
    rng_uuid(uuid);
    /* A key that is empty was sent, and is no UUID. */
    if (call->in.idempotency_key.ptr == NULL)
        return ERR_OK;
    TRY(check_key(call->in.idempotency_key, e));
    /* The digits of a UUID may have either case. */
    char key[36];
    for (size_t i = 0; i < sizeof key; i++) {
        char ch = call->in.idempotency_key.ptr[i];
        key[i] = ch >= 'A' && ch <= 'F' ? (char)(ch - 'A' + 'a') : ch;
    }
    sv seed = arena_fmt(call->a, "%.*s\n%s\n%.*s", SV_FMT(call->ds->id), fhir_type_name(call->type),
                        (int)sizeof key, key);
    if (seed.ptr == NULL)
        return arena_oom(call->a, e);
    unsigned char digest[SHA256_LEN];
    hash_sha256_of(seed, digest);
    /* UUID version 8: its bits are made by a rule of our own. */
    digest[6] = (unsigned char)((digest[6] & 0x0F) | 0x80);
    digest[8] = (unsigned char)((digest[8] & 0x3F) | 0x80);
    char hex[32];
    hash_hex(digest, 16, hex);
    (void)snprintf(uuid, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                   hex + 20);
    pending->w.condition = STORE_IF_ABSENT;
    return ERR_OK;
}

static err_code prepare_create(struct rest_call *call, struct fhir_reader *reader,
                               struct rest_pending *pending, struct err *e)
{
    struct fhir_envelope env;
    char uuid[37];
    TRY(rest_json_body(call, e));
    TRY(new_id(call, pending, uuid, e));
    pending->w.method = STORE_METHOD_CREATE;
    return read_resource(call, reader, call->in.body, call->id.len ? call->id : sv_make(uuid, 36),
                         pending, &env, e);
}

/* A write that depends on a version that was read must meet that version. */
static void guard(struct rest_pending *pending, uint64_t version)
{
    if (pending->w.condition != STORE_IF_ANY || version == 0)
        return;
    pending->w.condition = STORE_IF_VERSION;
    pending->w.if_version = version;
    pending->guarded = true;
}

static err_code not_that_version(const struct rest_pending *pending, struct err *e)
{
    return ERR(e, ERR_PRECONDITION, "The resource is not at version %llu, which If-Match asks for",
               (unsigned long long)pending->w.if_version);
}

/* The caller's scopes let him write over what was read, v: the commit must find just that. NULL:
 * nothing was there. */
static err_code hold_to(const struct rest_call *call, unsigned letter, struct rest_pending *pending,
                        const struct store_version *v, struct err *e)
{
    struct store_write *w = &pending->w;
    if (!rest_grant_limits(call, call->type, letter))
        return ERR_OK;
    /* A later version could be the one that If-Match names, and nobody has looked at that. */
    if (w->condition == STORE_IF_VERSION && !pending->guarded &&
        (v == NULL || v->version != w->if_version))
        return not_that_version(pending, e);
    if (w->condition != STORE_IF_ANY)
        return ERR_OK;
    w->condition = v == NULL                          ? STORE_IF_ABSENT
                   : v->method == STORE_METHOD_DELETE ? STORE_IF_DELETED
                                                      : STORE_IF_VERSION;
    w->if_version = v ? v->version : 0;
    pending->guarded = true;
    return ERR_OK;
}

static err_code stays_as_it_is(struct rest_call *call, struct err *e)
{
    call->out.allow = SV_LIT("GET, HEAD");
    return ERR(e, ERR_METHOD, "Interaction not supported. An %s stays as it was stored",
               fhir_type_name(call->type));
}

/* A resource of a type that is never changed may be created under a client's id where nothing
 * was. */
static err_code only_where_nothing_was(struct rest_call *call, struct rest_pending *pending,
                                       struct err *e)
{
    struct store_version v;
    struct err why;
    /* If-None-Match: * asks for just that. */
    if (pending->conditions.none_match.any)
        return ERR_OK;
    err_code rc = rest_version_before(call, call->id, &v, &why);
    if (rc == ERR_OK)
        return stays_as_it_is(call, e);
    if (rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    if (pending->w.condition == STORE_IF_ANY)
        pending->w.condition = STORE_IF_ABSENT;
    return ERR_OK;
}

static err_code hold_to_current(struct rest_call *call, struct rest_pending *pending, struct err *e)
{
    struct store_version v;
    struct err why;
    if (!rest_grant_limits(call, call->type, SMART_U))
        return ERR_OK;
    err_code rc = rest_version_before(call, call->id, &v, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    if (rc == ERR_OK)
        TRY(rest_may_change(call, SMART_U, &v, e));
    return hold_to(call, SMART_U, pending, rc == ERR_OK ? &v : NULL, e);
}

static err_code prepare_update(struct rest_call *call, struct fhir_reader *reader,
                               struct rest_pending *pending, struct err *e)
{
    struct fhir_envelope env;
    struct err why;
    TRY(rest_json_body(call, e));
    pending->w.method = STORE_METHOD_UPDATE;
    err_code rc =
        read_resource(call, reader, call->in.body, rest_is_conditional(call) ? call->id : SV_NONE,
                      pending, &env, &why);
    if (rc == ERR_INVALID && fhir_reader_root(reader) &&
        json_get(fhir_reader_root(reader), "id") == NULL && call->issues.n == 0)
        return ERR(e, ERR_INVALID, "The body must hold the id of the URL, and holds none");
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (!sv_eq(pending->w.id, call->id))
        return ERR(e, ERR_INVALID, "The id in the body is not the id in the URL");
    TRY(rest_conditions_apply(call, NULL, pending, e));
    guard(pending, pending->matched);
    TRY(hold_to_current(call, pending, e));
    return rest_is_immutable(call->type) ? only_where_nothing_was(call, pending, e) : ERR_OK;
}

static err_code current(struct rest_call *call, struct store_version *v, struct err *e)
{
    err_code rc = rest_version_before(call, call->id, v, e);
    if (rc == ERR_NOT_FOUND)
        return rest_not_known(call, e);
    return rc;
}

/* The answer to a PATCH holds more than the caller sent, so it is for those who may read. */
static bool may_see(struct rest_call *call, const struct store_version *v)
{
    bool sees;
    /* A refusal only keeps the body back: the write itself was allowed. */
    struct err ignored;
    if (!is(call, "PATCH"))
        return true;
    return rest_sees(call, SMART_R, v, &sees, &ignored) == ERR_OK && sees &&
           rest_allowed(call, "ReadResource", &ignored) == ERR_OK;
}

static err_code prepare_patch(struct rest_call *call, struct fhir_reader *reader,
                              struct rest_pending *pending, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(LIMIT_DATA_BODY_BYTES);
    struct store_version v;
    struct fhir_envelope env;
    TRY(rest_patch_kind(call, e));
    TRY(current(call, &v, e));
    TRY(rest_may_change(call, SMART_U, &v, e));
    if (v.method == STORE_METHOD_DELETE)
        return ERR(e, ERR_GONE, "%s with this id was deleted", fhir_type_name(call->type));
    TRY(rest_conditions_apply(call, &v, pending, e));
    if (pending->w.condition == STORE_IF_VERSION && !pending->guarded &&
        pending->w.if_version != v.version)
        return ERR(e, ERR_PRECONDITION, "The resource is at version %llu, If-Match asks for %llu",
                   (unsigned long long)v.version, (unsigned long long)pending->w.if_version);
    TRY(rest_patch_apply(call, &v, &text, e));
    pending->w.method = STORE_METHOD_UPDATE;
    err_code rc = read_resource(call, reader, buf_sv(&text), SV_NONE, pending, &env, e);
    /* The patch is well formed, and what it makes is not. */
    if (rc == ERR_INVALID && call->issues.n == 0)
        e->code = rc = ERR_UNPROCESSABLE;
    TRY(rc);
    if (!sv_eq(pending->w.id, call->id))
        return ERR(e, ERR_UNPROCESSABLE, "A patch cannot change the id");
    /* The write must meet the version that was patched. */
    guard(pending, v.version);
    return ERR_OK;
}

/* To delete what is deleted already is no error. Source: http.html#delete. */
static err_code prepare_delete(struct rest_call *call, struct rest_pending *pending, struct err *e)
{
    struct store_version v;
    TRY(current(call, &v, e));
    TRY(rest_may_change(call, SMART_D, &v, e));
    TRY(rest_conditions_apply(call, &v, pending, e));
    guard(pending, pending->matched);
    if (v.method != STORE_METHOD_DELETE)
        TRY(hold_to(call, SMART_D, pending, &v, e));
    pending->w.type = call->type;
    pending->w.id = call->id;
    pending->w.method = STORE_METHOD_DELETE;
    if (v.method == STORE_METHOD_DELETE) {
        if (pending->conditions.match.there)
            return ERR(e, ERR_PRECONDITION, "There is no current version, which If-Match asks for");
        pending->has_write = false;
        call->out.status = 204;
    }
    return ERR_OK;
}

/* A conditional update needs the id in the body before it searches. */
static err_code id_in_body(struct rest_call *call, struct rest_pending *pending, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(call->in.body.len));
    yyjson_doc *doc;
    TRY(rest_json_body(call, e));
    TRY(json_read(a, call->in.body, LIMIT_RESOURCE_DEPTH, &doc, e));
    pending->body_id = arena_sv(call->a, json_string(json_get(yyjson_doc_get_root(doc), "id")));
    return pending->body_id.ptr ? ERR_OK : arena_oom(call->a, e);
}

err_code rest_identify(struct rest_call *call, struct rest_pending *pending, struct err *e)
{
    pending->has_write = true;
    pending->identified = true;
    TRY(rest_conditions_read(call, &pending->conditions, e));
    if (is(call, "PUT") && rest_is_conditional(call))
        TRY(id_in_body(call, pending, e));
    return rest_conditional(call, pending, e);
}

err_code rest_prepare(struct rest_call *call, struct rest_pending *pending, struct err *e)
{
    CLEANUP(fhir_reader_free) struct fhir_reader *reader = NULL;
    if (!pending->identified)
        TRY(rest_identify(call, pending, e));
    if (!pending->has_write)
        return ERR_OK;
    if (is(call, "DELETE"))
        return prepare_delete(call, pending, e);
    reader = fhir_reader_new(text_max(call));
    if (is(call, "POST"))
        return prepare_create(call, reader, pending, e);
    if (is(call, "PATCH"))
        return prepare_patch(call, reader, pending, e);
    return prepare_update(call, reader, pending, e);
}

err_code rest_written(struct rest_call *call, const struct rest_pending *pending,
                      const struct store_commit *at, struct err *e)
{
    const struct rest_issue done = { "information", "informational",
                                     SV_LIT("The resource is stored"), SV_NONE };
    struct store_version v = { .type = pending->w.type,
                               .id = pending->w.id,
                               .t = at->t,
                               .instant_ms = at->instant_ms,
                               .version = pending->w.version,
                               .method = pending->w.method,
                               .body = pending->w.body };
    rest_about(call, &v);
    call->out.status = rest_written_status(&pending->w);
    if (pending->w.method == STORE_METHOD_DELETE)
        return ERR_OK;
    call->out.location = !pending->w.existed;
    if (rest_prefers(call, "return=OperationOutcome")) {
        TRY(rest_told_write(call, &call->out.body, e));
        return call->out.body.len ? ERR_OK : rest_outcome_write(&done, 1, &call->out.body, e);
    }
    return rest_wants_body(call) && may_see(call, &v) ? rest_version_write(&v, &call->out.body, e)
                                                      : ERR_OK;
}

err_code rest_refused(struct rest_call *call, const struct rest_pending *pending, err_code rc,
                      struct err *e)
{
    /* Another caller has deleted it meanwhile: that is what was asked for. */
    if (rc == ERR_NOT_FOUND) {
        call->out.status = 204;
        return ERR_OK;
    }
    if (rc != ERR_PRECONDITION)
        return rc;
    if (is(call, "POST") && call->in.idempotency_key.len)
        return rest_key_is_used(call, pending, e);
    if (rest_is_immutable(pending->w.type) && !pending->conditions.none_match.there)
        return stays_as_it_is(call, e);
    if (pending->w.condition == STORE_IF_ABSENT)
        return ERR(e, ERR_PRECONDITION,
                   "The id is taken: the resource exists, or did and was deleted");
    return not_that_version(pending, e);
}

static err_code write_once(struct rest_call *call, bool *again, struct err *e)
{
    struct rest_pending pending = { 0 };
    struct rest_asked_list asked = { 0 };
    struct rest_witness witness;
    struct store_commit at;
    call->asked = &asked;
    err_code rc = rest_prepare(call, &pending, e);
    *again = false;
    if (rc == ERR_OK && pending.has_write) {
        pending.w.witness = rest_trail_witness(call, &witness);
        rc = rest_commit_asked(call, &asked, &pending.w, 1, &at, again, e);
        *again |= rc == ERR_PRECONDITION && pending.guarded;
        if (rc == ERR_OK)
            rc = rest_written(call, &pending, &at, e);
        else if (!*again)
            rc = rest_refused(call, &pending, rc, e);
    }
    rest_pending_done(&pending);
    call->asked = NULL;
    return rc;
}

/* A write that another one overtook is made again: from the request as it came, on what is there
 * now. */
err_code rest_write(struct rest_call *call, struct err *e)
{
    CLEANUP_BUF struct buf made = BUF_INIT(0);
    TRY(rest_binary_take(call, &made, e));
    const struct rest_param_list params = call->params;
    const sv id = call->id;
    const arena_mark mark = arena_mark_get(call->a);
    bool again = true;
    err_code rc = ERR_OK;
    if (rest_is_delete_of_several(call))
        return rest_delete_several(call, e);
    for (int i = 0; i < REST_TRIES && again; i++) {
        if (i) {
            TRY(rest_breathe(call, e));
            arena_rewind(call->a, mark);
        }
        call->params = params;
        call->id = id;
        call->issues = (struct rest_issue_list){ 0 };
        rc = write_once(call, &again, e);
    }
    return again ? ERR(e, ERR_CONFLICT, REST_OVERTAKEN) : rc;
}
