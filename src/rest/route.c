/* route.c - which interaction a request asks for: its path has a shape, and a shape and a method
 * are one row of the table of interactions.
 *
 * Every id of a path is checked here, so that no text that cannot be an id reaches the store. The
 * caller's rights are asked later: a route is found without the data store. Source: FHIR R4
 * http.html. */
#include "rest/export/export_private.h"
#include "rest/params_private.h"

#include "codec/uri.h"

static err_code nothing_here(struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "Nothing is served at this path; see metadata for what is");
}

static err_code decode_part(struct rest_call *c, sv encoded, sv *out, struct err *e)
{
    /* as most are; it lives as long as the request */
    if (sv_find(encoded, '%') == encoded.len) {
        *out = encoded;
        return ERR_OK;
    }
    CLEANUP_BUF struct buf b = BUF_INIT(1024);
    TRY(uri_decode(encoded, false, &b, e));
    *out = arena_sv(c->a, buf_sv(&b));
    return out->ptr ? ERR_OK : arena_oom(c->a, e);
}

static err_code shape_of(struct rest_call *c, const sv part[4], size_t n, enum rest_shape *out,
                         struct err *e)
{
    if (n == 0) {
        *out = REST_SYSTEM;
        return ERR_OK;
    }
    if (n == 1 && sv_eq(part[0], SV_LIT("metadata"))) {
        *out = REST_METADATA;
        return ERR_OK;
    }
    if (n == 1 && sv_eq(part[0], SV_LIT("_history"))) {
        *out = REST_SYSTEM_HISTORY;
        return ERR_OK;
    }
    if (n == 1 && sv_eq(part[0], SV_LIT("_search"))) {
        *out = REST_SYSTEM_SEARCH;
        return ERR_OK;
    }
    if (n == 1 && sv_eq(part[0], SV_LIT("$export"))) {
        *out = REST_EXPORT_SYSTEM;
        return ERR_OK;
    }
    c->type = fhir_type_find(part[0]);
    if (c->type == FHIR_TYPE_NONE)
        return ERR(e, ERR_NOT_FOUND, "%s", fhir_type_not(part[0], (char[FHIR_TYPE_NOT_LEN]){ 0 }));
    if (n == 1) {
        *out = REST_TYPE;
        return ERR_OK;
    }
    if (n == 2 && (part[1].ptr[0] == '_' || part[1].ptr[0] == '$')) {
        *out = sv_eq(part[1], SV_LIT("_search"))     ? REST_TYPE_SEARCH
               : sv_eq(part[1], SV_LIT("_history"))  ? REST_TYPE_HISTORY
               : sv_eq(part[1], SV_LIT("$validate")) ? REST_TYPE_VALIDATE
               : sv_eq(part[1], SV_LIT("$export"))   ? REST_EXPORT_TYPE
                                                     : REST_N_SHAPES;
        return *out == REST_N_SHAPES ? nothing_here(e) : ERR_OK;
    }
    c->id = part[1];
    *out = REST_INSTANCE;
    if (n == 2)
        return ERR_OK;
    if (n == 3) {
        c->member_type = fhir_type_find(part[2]);
        *out = sv_eq(part[2], SV_LIT("_history"))              ? REST_INSTANCE_HISTORY
               : sv_eq(part[2], SV_LIT("$everything"))         ? REST_EVERYTHING
               : sv_eq(part[2], SV_LIT("$validate"))           ? REST_VALIDATE
               : sv_eq(part[2], SV_LIT("$export"))             ? REST_EXPORT_GROUP
               : c->member_type || sv_eq(part[2], SV_LIT("*")) ? REST_COMPARTMENT
                                                               : REST_N_SHAPES;
        return *out == REST_N_SHAPES ? nothing_here(e) : ERR_OK;
    }
    c->vid = part[3];
    *out = REST_VERSION;
    return sv_eq(part[2], SV_LIT("_history")) ? ERR_OK : nothing_here(e);
}

/* Every id of a path passes here, whatever is done with it: none that cannot be one reaches the
 * store. */
static err_code check_id(const struct rest_call *c, enum rest_shape shape, struct err *e)
{
    bool has_id = shape == REST_INSTANCE || shape == REST_INSTANCE_HISTORY ||
                  shape == REST_VERSION || shape == REST_EVERYTHING || shape == REST_VALIDATE ||
                  shape == REST_COMPARTMENT || shape == REST_EXPORT_GROUP;
    if (!has_id || fhir_id_ok(c->id))
        return ERR_OK;
    /* the others ask for what cannot be there */
    bool puts = sv_eq(c->in.method, SV_LIT("PUT"));
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

err_code rest_route(struct rest_call *c, struct err *e)
{
    sv part[4], rest = c->in.path, one;
    size_t n = 0;
    bool left_out = false;
    enum rest_shape shape = REST_N_SHAPES;
    if (rest.len && rest.ptr[rest.len - 1] == '/')
        rest.len--;
    TRY(rest_export_route(c, rest, &shape, e));
    while (shape == REST_N_SHAPES && rest.len && sv_cut(&rest, '/', &one)) {
        if (one.len == 0 || n == 4)
            return nothing_here(e);
        TRY(decode_part(c, one, &part[n++], e));
    }
    if (shape == REST_N_SHAPES)
        TRY(shape_of(c, part, n, &shape, e));
    TRY(check_id(c, shape, e));
    TRY(rest_params_add(c, c->in.query, e));
    sv method = sv_eq(c->in.method, SV_LIT("HEAD")) ? SV_LIT("GET") : c->in.method;
    for (size_t i = 0; i < rest_n_interactions; i++) {
        const struct rest_interaction *it = &rest_interactions[i];
        if (it->shape != shape || (it->of && !rest_called_on(it, c->type)))
            continue;
        if (!rest_offered_on(it, c->type)) {
            left_out |= sv_eq_cstr(method, it->method);
            continue;
        }
        if (sv_eq_cstr(method, it->method)) {
            c->it = it;
            return ERR_OK;
        }
        c->out.allow =
            arena_fmt(c->a, "%.*s%s%s%s", SV_FMT(c->out.allow), c->out.allow.len ? ", " : "",
                      it->method, strcmp(it->method, "GET") == 0 ? ", HEAD" : "");
        if (c->out.allow.ptr == NULL)
            return arena_oom(c->a, e);
    }
    if (left_out)
        return ERR(e, ERR_METHOD, "Interaction not supported. %.*s is not offered for %s",
                   SV_FMT(method), fhir_type_name(c->type));
    return c->out.allow.len ? ERR(e, ERR_METHOD, "%.*s is not offered at this path",
                                  SV_FMT(sv_head(c->in.method, 16)))
                            : nothing_here(e);
}
