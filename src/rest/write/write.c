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
#include "rest/params_private.h"
#include "rest/route_private.h"
#include "rest/write/write_private.h"

#include "base/limits.h"
#include "base/rng.h"
#include "codec/hash.h"
#include "codec/json_patch.h"
#include "codec/media_type.h"

#define INDEX_MAX (64u << 20) /* bytes of index entries of one resource */

void rest_pending_done(struct rest_pending *p)
{
    buf_done(&p->stored);
    buf_done(&p->index);
}

static bool is(const struct rest_call *c, const char *method)
{
    return sv_eq_cstr(c->in.method, method);
}

static size_t text_max(const struct rest_call *c)
{
    return c->text_max ? c->text_max : LIMIT_DATA_BODY_BYTES;
}

static err_code take_subscription(struct rest_call *c, struct fhir_reader *reader, sv text,
                                  sv set_id, struct rest_pending *p, struct fhir_envelope *env,
                                  struct err *e)
{
    CLEANUP_BUF struct buf off = BUF_INIT(p->stored.max);
    if (strcmp(fhir_type_name(env->type), "Subscription") != 0)
        return ERR_OK;
    TRY(rest_subscription_take(c, fhir_reader_root(reader), text, &off, e));
    if (off.len == 0)
        return ERR_OK;
    buf_clear(&p->stored);
    return fhir_envelope_read(reader, buf_sv(&off), set_id, &p->stored, env, e);
}

/* Read the resource in text into its stored form. Its tree stays in reader. */
static err_code read_resource(struct rest_call *c, struct fhir_reader *reader, sv text, sv set_id,
                              struct rest_pending *p, struct fhir_envelope *env, struct err *e)
{
    size_t max = text_max(c) + (64u << 10);
    CLEANUP_BUF struct buf relinked = BUF_INIT(max);
    if (c->entry)
        TRY(c->relink(c, text, &relinked, &text, e));
    buf_init(&p->stored, max);
    err_code rc = fhir_envelope_read(reader, text, set_id, &p->stored, env, e);
    if (rc == ERR_INVALID && !yyjson_is_obj(fhir_reader_root(reader))) {
        CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(text.len));
        yyjson_doc *doc;
        /* It fails with an error that says what is wrong, and where. */
        rc = json_read(a, text, LIMIT_RESOURCE_DEPTH, &doc, e);
        if (rc == ERR_OK)
            rc = ERR(e, ERR_INVALID, "The body must be a JSON object");
    }
    TRY(rc);
    if (env->type != c->type)
        return ERR(e, ERR_INVALID, "The body is a %s, the URL says %s", fhir_type_name(env->type),
                   fhir_type_name(c->type));
    c->out.told = (struct rest_issue_list){ 0 };
    TRY(take_subscription(c, reader, text, set_id, p, env, e));
    p->w.type = env->type;
    p->w.id = arena_sv(c->a, env->id);
    p->w.body = env->body;
    if (p->w.id.ptr == NULL)
        return arena_oom(c->a, e);
    TRY(rest_validate_resource(c, fhir_reader_root(reader), env->type, &p->w.body, e));
    buf_init(&p->index, INDEX_MAX);
    TRY(search_index(env->type, fhir_reader_root(reader), &p->index, e));
    p->w.index = buf_sv(&p->index);
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
static err_code new_id(struct rest_call *c, struct rest_pending *p, char uuid[37], struct err *e)
{
    rng_uuid(uuid);
    /* A key that is empty was sent, and is no UUID. */
    if (c->in.idempotency_key.ptr == NULL)
        return ERR_OK;
    TRY(check_key(c->in.idempotency_key, e));
    /* The digits of a UUID may have either case. */
    char key[36];
    for (size_t i = 0; i < sizeof key; i++) {
        char ch = c->in.idempotency_key.ptr[i];
        key[i] = ch >= 'A' && ch <= 'F' ? (char)(ch - 'A' + 'a') : ch;
    }
    sv seed = arena_fmt(c->a, "%.*s\n%s\n%.*s", SV_FMT(c->ds->id), fhir_type_name(c->type),
                        (int)sizeof key, key);
    if (seed.ptr == NULL)
        return arena_oom(c->a, e);
    unsigned char digest[SHA256_LEN];
    hash_sha256_of(seed, digest);
    /* UUID version 8: its bits are made by a rule of our own. */
    digest[6] = (unsigned char)((digest[6] & 0x0F) | 0x80);
    digest[8] = (unsigned char)((digest[8] & 0x3F) | 0x80);
    char hex[32];
    hash_hex(digest, 16, hex);
    (void)snprintf(uuid, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                   hex + 20);
    p->w.condition = STORE_IF_ABSENT;
    return ERR_OK;
}

static err_code prepare_create(struct rest_call *c, struct fhir_reader *reader,
                               struct rest_pending *p, struct err *e)
{
    struct fhir_envelope env;
    char uuid[37];
    TRY(rest_json_body(c, e));
    TRY(new_id(c, p, uuid, e));
    p->w.method = STORE_METHOD_CREATE;
    return read_resource(c, reader, c->in.body, c->id.len ? c->id : sv_make(uuid, 36), p, &env, e);
}

/* A write that depends on a version that was read must meet that version. */
static void guard(struct rest_pending *p, uint64_t version)
{
    if (p->w.condition != STORE_IF_ANY || version == 0)
        return;
    p->w.condition = STORE_IF_VERSION;
    p->w.if_version = version;
    p->guarded = true;
}

static err_code stays_as_it_is(struct rest_call *c, struct err *e)
{
    c->out.allow = SV_LIT("GET, HEAD");
    return ERR(e, ERR_METHOD, "Interaction not supported. An %s stays as it was stored",
               fhir_type_name(c->type));
}

/* A resource of a type that is never changed may be created under a client's id where nothing
 * was. */
static err_code only_where_nothing_was(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    struct store_version v;
    struct err why;
    /* If-None-Match: * asks for just that. */
    if (p->conditions.none_match.any)
        return ERR_OK;
    err_code rc = rest_version_before(c, c->id, &v, &why);
    if (rc == ERR_OK)
        return stays_as_it_is(c, e);
    if (rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    if (p->w.condition == STORE_IF_ANY)
        p->w.condition = STORE_IF_ABSENT;
    return ERR_OK;
}

static err_code prepare_update(struct rest_call *c, struct fhir_reader *reader,
                               struct rest_pending *p, struct err *e)
{
    struct fhir_envelope env;
    struct err why;
    TRY(rest_json_body(c, e));
    p->w.method = STORE_METHOD_UPDATE;
    err_code rc = read_resource(c, reader, c->in.body, rest_is_conditional(c) ? c->id : SV_NONE, p,
                                &env, &why);
    if (rc == ERR_INVALID && fhir_reader_root(reader) &&
        json_get(fhir_reader_root(reader), "id") == NULL && c->issues.n == 0)
        return ERR(e, ERR_INVALID, "The body must hold the id of the URL, and holds none");
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (!sv_eq(p->w.id, c->id))
        return ERR(e, ERR_INVALID, "The id in the body is not the id in the URL");
    TRY(rest_conditions_apply(c, NULL, p, e));
    guard(p, p->matched);
    return rest_is_immutable(c->type) ? only_where_nothing_was(c, p, e) : ERR_OK;
}

static err_code current(struct rest_call *c, struct store_version *v, struct err *e)
{
    err_code rc = rest_version_before(c, c->id, v, e);
    if (rc == ERR_NOT_FOUND)
        return rest_not_known(c, e);
    return rc;
}

/* The answer to a PATCH holds more than the caller sent, so it is for those who may read. */
static bool may_see(struct rest_call *c)
{
    /* A refusal only keeps the body back: the write itself was allowed. */
    struct err ignored;
    return !is(c, "PATCH") || rest_allowed(c, "ReadResource", &ignored) == ERR_OK;
}

/* A patch works on the resource as a client reads it: the stored form has no version in its
 * meta. */
static err_code patched(struct rest_call *c, const struct store_version *v, struct buf *out,
                        struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(LIMIT_DATA_BODY_BYTES + FHIR_SPLICE_MAX);
    const struct json_patch_limits limits = { LIMIT_RESOURCE_DEPTH, rest_until_us(c) };
    yyjson_doc *target, *patch;
    /* An import may have brought a larger one. */
    if (query_whole_len(v) > LIMIT_DATA_BODY_BYTES)
        return ERR(e, ERR_TOO_LARGE,
                   "The resource is larger than %u MiB, which is the most a "
                   "patch works on",
                   LIMIT_DATA_BODY_BYTES >> 20);
    CLEANUP(arena_free)
    struct arena *a = arena_new(json_tree_max(c->in.body.len) + json_tree_max(text.max));
    CLEANUP(arena_free) struct arena *work = arena_new(LIMIT_PATCH_BYTES);
    TRY(json_read(a, c->in.body, LIMIT_JSON_DEPTH, &patch, e));
    TRY(rest_version_write(v, &text, e));
    TRY(json_read(a, buf_sv(&text), LIMIT_RESOURCE_DEPTH + 1, &target, e));
    return json_patch(yyjson_doc_get_root(target), yyjson_doc_get_root(patch), work, &limits, out,
                      e);
}

static err_code prepare_patch(struct rest_call *c, struct fhir_reader *reader,
                              struct rest_pending *p, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(LIMIT_DATA_BODY_BYTES);
    struct store_version v;
    struct fhir_envelope env;
    if (!media_type_is(c->in.content_type, "application/json-patch+json"))
        return ERR(e, ERR_MEDIA_TYPE, "A patch is sent as application/json-patch+json");
    TRY(current(c, &v, e));
    if (v.method == STORE_METHOD_DELETE)
        return ERR(e, ERR_GONE, "%s with this id was deleted", fhir_type_name(c->type));
    TRY(rest_conditions_apply(c, &v, p, e));
    if (p->w.condition == STORE_IF_VERSION && !p->guarded && p->w.if_version != v.version)
        return ERR(e, ERR_PRECONDITION, "The resource is at version %llu, If-Match asks for %llu",
                   (unsigned long long)v.version, (unsigned long long)p->w.if_version);
    TRY(patched(c, &v, &text, e));
    p->w.method = STORE_METHOD_UPDATE;
    err_code rc = read_resource(c, reader, buf_sv(&text), SV_NONE, p, &env, e);
    /* The patch is well formed, and what it makes is not. */
    if (rc == ERR_INVALID && c->issues.n == 0)
        e->code = rc = ERR_UNPROCESSABLE;
    TRY(rc);
    if (!sv_eq(p->w.id, c->id))
        return ERR(e, ERR_UNPROCESSABLE, "A patch cannot change the id");
    /* The write must meet the version that was patched. */
    guard(p, v.version);
    return ERR_OK;
}

/* To delete what is deleted already is no error. Source: http.html#delete. */
static err_code prepare_delete(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    struct store_version v;
    TRY(current(c, &v, e));
    TRY(rest_conditions_apply(c, &v, p, e));
    guard(p, p->matched);
    p->w.type = c->type;
    p->w.id = c->id;
    p->w.method = STORE_METHOD_DELETE;
    if (v.method == STORE_METHOD_DELETE) {
        if (p->conditions.match.there)
            return ERR(e, ERR_PRECONDITION, "There is no current version, which If-Match asks for");
        p->has_write = false;
        c->out.status = 204;
    }
    return ERR_OK;
}

/* A conditional update needs the id in the body before it searches. */
static err_code id_in_body(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(json_tree_max(c->in.body.len));
    yyjson_doc *doc;
    TRY(rest_json_body(c, e));
    TRY(json_read(a, c->in.body, LIMIT_RESOURCE_DEPTH, &doc, e));
    p->body_id = arena_sv(c->a, json_string(json_get(yyjson_doc_get_root(doc), "id")));
    return p->body_id.ptr ? ERR_OK : arena_oom(c->a, e);
}

err_code rest_identify(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    p->has_write = true;
    p->identified = true;
    TRY(rest_conditions_read(c, &p->conditions, e));
    if (is(c, "PUT") && rest_is_conditional(c))
        TRY(id_in_body(c, p, e));
    return rest_conditional(c, p, e);
}

err_code rest_prepare(struct rest_call *c, struct rest_pending *p, struct err *e)
{
    CLEANUP(fhir_reader_free) struct fhir_reader *reader = NULL;
    if (!p->identified)
        TRY(rest_identify(c, p, e));
    if (!p->has_write)
        return ERR_OK;
    if (is(c, "DELETE"))
        return prepare_delete(c, p, e);
    reader = fhir_reader_new(text_max(c));
    if (is(c, "POST"))
        return prepare_create(c, reader, p, e);
    if (is(c, "PATCH"))
        return prepare_patch(c, reader, p, e);
    return prepare_update(c, reader, p, e);
}

err_code rest_written(struct rest_call *c, const struct rest_pending *p,
                      const struct store_commit *at, struct err *e)
{
    const struct rest_issue done = { "information", "informational",
                                     SV_LIT("The resource is stored"), SV_NONE };
    struct store_version v = { .type = p->w.type,
                               .id = p->w.id,
                               .t = at->t,
                               .instant_ms = at->instant_ms,
                               .version = p->w.version,
                               .method = p->w.method,
                               .body = p->w.body };
    rest_about(c, &v);
    if (p->w.method == STORE_METHOD_DELETE) {
        c->out.status = 204;
        return ERR_OK;
    }
    c->out.status = p->w.existed ? 200 : 201;
    c->out.location = !p->w.existed;
    if (rest_prefers(c, "return=OperationOutcome")) {
        TRY(rest_told_write(c, &c->out.body, e));
        return c->out.body.len ? ERR_OK : rest_outcome_write(&done, 1, &c->out.body, e);
    }
    return rest_wants_body(c) && may_see(c) ? rest_version_write(&v, &c->out.body, e) : ERR_OK;
}

err_code rest_refused(struct rest_call *c, const struct rest_pending *p, err_code rc, struct err *e)
{
    /* Another caller has deleted it meanwhile: that is what was asked for. */
    if (rc == ERR_NOT_FOUND) {
        c->out.status = 204;
        return ERR_OK;
    }
    if (rc != ERR_PRECONDITION)
        return rc;
    if (is(c, "POST") && c->in.idempotency_key.len) {
        c->out.location = true;
        c->out.type = p->w.type;
        c->out.id = p->w.id;
        c->out.version = 1;
        return ERR(e, ERR_EXISTS, "A resource was already created with this idempotency key");
    }
    if (rest_is_immutable(p->w.type) && !p->conditions.none_match.there)
        return stays_as_it_is(c, e);
    if (p->w.condition == STORE_IF_ABSENT)
        return ERR(e, ERR_PRECONDITION,
                   "The id is taken: the resource exists, or did and was deleted");
    return ERR(e, ERR_PRECONDITION, "The resource is not at version %llu, which If-Match asks for",
               (unsigned long long)p->w.if_version);
}

static err_code write_once(struct rest_call *c, bool *again, struct err *e)
{
    struct rest_pending p = { 0 };
    struct rest_asked_list asked = { 0 };
    struct store_commit at;
    c->asked = &asked;
    err_code rc = rest_prepare(c, &p, e);
    *again = false;
    if (rc == ERR_OK && p.has_write) {
        rc = rest_commit_asked(c, &asked, &p.w, 1, &at, again, e);
        *again |= rc == ERR_PRECONDITION && p.guarded;
        if (rc == ERR_OK)
            rc = rest_written(c, &p, &at, e);
        else if (!*again)
            rc = rest_refused(c, &p, rc, e);
    }
    rest_pending_done(&p);
    c->asked = NULL;
    return rc;
}

/* A write that another one overtook is made again: from the request as it came, on what is there
 * now. */
err_code rest_write(struct rest_call *c, struct err *e)
{
    CLEANUP_BUF struct buf made = BUF_INIT(0);
    TRY(rest_binary_take(c, &made, e));
    const struct rest_param_list params = c->params;
    const sv id = c->id;
    const arena_mark mark = arena_mark_get(c->a);
    bool again = true;
    err_code rc = ERR_OK;
    if (rest_is_delete_of_several(c))
        return rest_delete_several(c, e);
    for (int i = 0; i < REST_TRIES && again; i++) {
        if (i) {
            TRY(rest_breathe(c, e));
            arena_rewind(c->a, mark);
        }
        c->params = params;
        c->id = id;
        c->issues = (struct rest_issue_list){ 0 };
        rc = write_once(c, &again, e);
    }
    return again ? ERR(e, ERR_CONFLICT, REST_OVERTAKEN) : rc;
}
