/* route.c - which interaction a request asks for: a path has a shape, and a shape and a method are
 * one row of the table of interactions.
 *
 * Every id of a path is checked here, so no text that cannot be an id reaches the store. A route is
 * found without the data store: the caller's rights are asked later. Source: FHIR R4 http.html. */
#include "rest/params_private.h"
#include "rest/route_private.h"

#include "codec/uri.h"

#define PARTS_MAX 5u

/* Parts of a path that are no fixed word. */
#define TYPE    "{type}"
#define ID      "{id}" /* in the last place: no word that begins with _ or $ */
#define VERSION "{vid}"
#define MEMBER  "{member}" /* a type, or * */

/* The first row that fits counts. */
static const struct shape {
    enum rest_shape shape;
    const char *part[PARTS_MAX];
} shapes[] = {
    { REST_SYSTEM, { NULL } },
    { REST_METADATA, { "metadata" } },
    { REST_SMART, { ".well-known", "smart-configuration" } },
    { REST_SYSTEM_HISTORY, { "_history" } },
    { REST_SYSTEM_SEARCH, { "_search" } },
    { REST_EXPORT_SYSTEM, { "$export" } },
    { REST_VIEW_RUN, { "$viewdefinition-run" } },
    /* R4 has no such type, and clients of R6 call it there; older drafts had the last name */
    { REST_VIEW_RUN, { "ViewDefinition", "$viewdefinition-run" } },
    { REST_VIEW_RUN, { "ViewDefinition", "$run" } },
    { REST_ERASE_STATUS, { "$erase", ID } },
    { REST_PURGE_STATUS, { "$purge", ID } },
    { REST_BULK_STATUS, { "$bulk-delete", ID } },
    { REST_TYPE, { TYPE } },
    { REST_TYPE_SEARCH, { TYPE, "_search" } },
    { REST_TYPE_HISTORY, { TYPE, "_history" } },
    { REST_TYPE_VALIDATE, { TYPE, "$validate" } },
    { REST_EXPORT_TYPE, { TYPE, "$export" } },
    { REST_BULK_DELETE, { TYPE, "$bulk-delete" } },
    { REST_INSTANCE, { TYPE, ID } },
    { REST_INSTANCE_HISTORY, { TYPE, ID, "_history" } },
    { REST_EVERYTHING, { TYPE, ID, "$everything" } },
    { REST_VALIDATE, { TYPE, ID, "$validate" } },
    { REST_EXPORT_GROUP, { TYPE, ID, "$export" } },
    { REST_ERASE, { TYPE, ID, "$erase" } },
    { REST_PURGE, { TYPE, ID, "$purge" } },
    { REST_COMPARTMENT, { TYPE, ID, MEMBER } },
    { REST_VERSION, { TYPE, ID, "_history", VERSION } },
    { REST_ERASE_VERSION, { TYPE, ID, "_history", VERSION, "$erase" } },
};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])

struct path { /* its parts, decoded */
    sv part[PARTS_MAX];
    size_t n;
};

static err_code nothing_here(struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "Nothing is served at this path; see metadata for what is");
}

static err_code decode_part(struct rest_call *call, sv encoded, sv *out, struct err *e)
{
    /* Most parts have no escapes, and live as long as the request. */
    if (sv_find(encoded, '%') == encoded.len) {
        *out = encoded;
        return ERR_OK;
    }
    CLEANUP_BUF struct buf b = BUF_INIT(1024);
    TRY(uri_decode(encoded, false, &b, e));
    *out = arena_sv(call->a, buf_sv(&b));
    return out->ptr ? ERR_OK : arena_oom(call->a, e);
}

static err_code split_path(struct rest_call *call, sv rest, struct path *out, struct err *e)
{
    sv one;
    out->n = 0;
    while (rest.len && sv_cut(&rest, '/', &one)) {
        if (one.len == 0 || out->n == PARTS_MAX)
            return nothing_here(e);
        TRY(decode_part(call, one, &out->part[out->n++], e));
    }
    return ERR_OK;
}

static bool is(const char *part, const char *kind)
{
    return strcmp(part, kind) == 0;
}

/* Does the part fit, and what does it say of the call? */
static bool take_part(struct rest_call *call, const char *want, sv part, bool last)
{
    if (is(want, TYPE))
        return call->type != FHIR_TYPE_NONE;
    if (is(want, ID)) {
        call->id = part;
        return !last || (part.ptr[0] != '_' && part.ptr[0] != '$');
    }
    if (is(want, VERSION)) {
        call->vid = part;
        return true;
    }
    if (is(want, MEMBER)) {
        call->member_type = fhir_type_find(part);
        return call->member_type != FHIR_TYPE_NONE || sv_eq(part, SV_LIT("*"));
    }
    return sv_eq_cstr(part, want);
}

static bool take_path(struct rest_call *call, const struct shape *s, const struct path *p)
{
    for (size_t i = 0; i < PARTS_MAX; i++)
        if ((s->part[i] != NULL) != (i < p->n))
            return false;
    for (size_t i = 0; i < p->n; i++)
        if (!take_part(call, s->part[i], p->part[i], i + 1 == p->n))
            return false;
    return true;
}

static err_code shape_of(struct rest_call *call, sv text, enum rest_shape *out, struct err *e)
{
    struct path p;
    TRY(split_path(call, text, &p, e));
    if (p.n)
        call->type = fhir_type_find(p.part[0]);
    for (size_t i = 0; i < N_SHAPES; i++)
        if (take_path(call, &shapes[i], &p)) {
            *out = shapes[i].shape;
            return ERR_OK;
        }
    if (call->type == FHIR_TYPE_NONE)
        return ERR(e, ERR_NOT_FOUND, "%s",
                   fhir_type_not(p.part[0], (char[FHIR_TYPE_NOT_LEN]){ 0 }));
    return nothing_here(e);
}

/* The paths of exports, which the Bulk Data guide leaves to the server: export/JOB, and
 * export/JOB/files/NAME with slashes in the name. For any other path *out stays as it is. */
static err_code export_shape_of(struct rest_call *call, sv path, enum rest_shape *out,
                                struct err *e)
{
    sv rest = path, word, id;
    if (!sv_cut(&rest, '/', &word) || !sv_eq(word, SV_LIT("export")))
        return ERR_OK;
    if (!sv_cut(&rest, '/', &id) || id.len == 0)
        return ERR(e, ERR_NOT_FOUND, "The status of an export is at export/ID");
    call->id = id;
    if (rest.ptr == NULL) {
        *out = REST_EXPORT_STATUS;
        return ERR_OK;
    }
    CLEANUP_BUF struct buf name = BUF_INIT(1024);
    if (!sv_starts(rest, SV_LIT("files/")) || sv_tail(rest, 6).len == 0)
        return ERR(e, ERR_NOT_FOUND, "The files of an export are at export/ID/files/NAME");
    TRY(uri_decode(sv_tail(rest, 6), false, &name, e));
    call->vid = arena_sv(call->a, buf_sv(&name));
    *out = REST_EXPORT_FILE;
    return call->vid.ptr ? ERR_OK : arena_oom(call->a, e);
}

static bool has_id(enum rest_shape shape)
{
    for (size_t i = 0; i < N_SHAPES; i++)
        if (shapes[i].shape == shape)
            return shapes[i].part[1] && is(shapes[i].part[1], ID);
    return false;
}

/* Every id of a path passes here, whatever is done with it. */
static err_code check_id(const struct rest_call *call, enum rest_shape shape, struct err *e)
{
    if (!has_id(shape) || fhir_id_ok(call->id))
        return ERR_OK;
    /* All but PUT ask for what cannot be there. */
    bool puts = sv_eq(call->in.method, SV_LIT("PUT"));
    return ERR(e, puts ? ERR_INVALID : ERR_NOT_FOUND,
               "The id in the URL must be 1 to %u of A-Z a-z 0-9 - .", FHIR_ID_MAX);
}

bool rest_called_on(const struct rest_interaction *it, fhir_type type)
{
    sv list = it->of ? sv_from(it->of) : SV_NONE, one;
    while (sv_cut(&list, ',', &one))
        if (sv_eq(one, SV_LIT("*")) || fhir_type_find(one) == type)
            return true;
    return false;
}

static bool is_named(fhir_type type, const char *name)
{
    return type != FHIR_TYPE_NONE && strcmp(fhir_type_name(type), name) == 0;
}

bool rest_is_immutable(fhir_type type)
{
    return is_named(type, "AuditEvent");
}

/* Source: HealthLake's table of resource types and the interactions that they have. */
bool rest_offered_on(const struct rest_interaction *it, fhir_type type)
{
    bool create = it->shape == REST_TYPE && strcmp(it->method, "POST") == 0;
    bool update = it->shape == REST_INSTANCE && strcmp(it->method, "PUT") == 0;
    if (!rest_is_write(it))
        return true;
    if (create)
        return !is_named(type, "Parameters") && !is_named(type, "OperationOutcome");
    return update || !rest_is_immutable(type);
}

static err_code allow(struct rest_call *call, const char *method, struct err *e)
{
    bool get = strcmp(method, "GET") == 0, first = call->out.allow.len == 0;
    call->out.allow = arena_fmt(call->a, "%.*s%s%s%s", SV_FMT(call->out.allow), first ? "" : ", ",
                                method, get ? ", HEAD" : "");
    return call->out.allow.ptr ? ERR_OK : arena_oom(call->a, e);
}

/* The row of the shape and the call's method. */
static err_code find_interaction(struct rest_call *call, enum rest_shape shape, struct err *e)
{
    sv method = sv_eq(call->in.method, SV_LIT("HEAD")) ? SV_LIT("GET") : call->in.method;
    bool left_out = false;
    for (size_t i = 0; i < rest_n_interactions; i++) {
        const struct rest_interaction *it = &rest_interactions[i];
        bool asked = sv_eq_cstr(method, it->method);
        if (it->shape != shape || (it->of && !rest_called_on(it, call->type)))
            continue;
        if (!rest_offered_on(it, call->type)) {
            left_out |= asked;
            continue;
        }
        if (asked) {
            call->it = it;
            return ERR_OK;
        }
        TRY(allow(call, it->method, e));
    }
    if (left_out)
        return ERR(e, ERR_METHOD, "Interaction not supported. %.*s is not offered for %s",
                   SV_FMT(method), fhir_type_name(call->type));
    if (call->out.allow.len == 0)
        return nothing_here(e);
    return ERR(e, ERR_METHOD, "%.*s is not offered at this path",
               SV_FMT(sv_head(call->in.method, 16)));
}

err_code rest_route(struct rest_call *call, struct err *e)
{
    sv path = call->in.path;
    enum rest_shape shape = REST_N_SHAPES;
    if (path.len && path.ptr[path.len - 1] == '/')
        path.len--;
    TRY(export_shape_of(call, path, &shape, e));
    if (shape == REST_N_SHAPES)
        TRY(shape_of(call, path, &shape, e));
    TRY(check_id(call, shape, e));
    TRY(rest_params_add(call, call->in.query, e));
    return find_interaction(call, shape, e);
}
