/* patch.c - what the body of a PATCH makes of a resource. There are two kinds, and the type of the
 * body says which:
 *
 *   application/json-patch+json                     JSON Patch, RFC 6902
 *   application/fhir+json, or another type of JSON  FHIRPath Patch: Parameters
 *
 * A form's type, or none, is refused: a patch needs its type. In a Bundle a JSON Patch comes as a
 * Binary, and a FHIRPath Patch as it is.
 * Source: FHIR R4 http.html#patch, fhirpatch.html. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"
#include "rest/params_private.h"
#include "rest/write/write_private.h"

#include "base/clock.h"
#include "base/limits.h"
#include "codec/json_patch.h"
#include "codec/media_type.h"
#include "fhirpath/patch.h"

static bool is_json_patch(const struct rest_call *call)
{
    return media_type_is(call->in.content_type, "application/json-patch+json");
}

err_code rest_patch_kind(const struct rest_call *call, struct err *e)
{
    if (is_json_patch(call) || rest_body_is_json(call->in.content_type))
        return ERR_OK;
    return ERR(e, ERR_MEDIA_TYPE,
               "A patch is sent as application/json-patch+json (JSON Patch) or as "
               "application/fhir+json (FHIRPath Patch)");
}

/* The time of the call is over, its client is gone, or the server stops. */
static err_code look(void *ctx, struct err *e)
{
    const struct rest_call *const *call = ctx;
    return rest_breathe(*call, e);
}

static err_code apply(const struct rest_call *call, yyjson_val *target, yyjson_val *patch,
                      struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *work = arena_new(LIMIT_PATCH_BYTES);
    if (is_json_patch(call)) {
        const struct json_patch_limits limits = { LIMIT_RESOURCE_DEPTH, rest_until_us(call) };
        return json_patch(target, patch, work, &limits, out, e);
    }
    const struct fhirpath_patch_limits limits = { .depth = LIMIT_RESOURCE_DEPTH,
                                                  .memory_bytes = LIMIT_PATCH_BYTES,
                                                  .now_ms = clock_wall_ms(),
                                                  .look = look,
                                                  .look_ctx = &call };
    return fhirpath_patch(target, patch, work, &limits, out, e);
}

/* A patch works on the resource as a client reads it: the stored form has no version in its
 * meta. */
err_code rest_patch_apply(const struct rest_call *call, const struct store_version *v,
                          struct buf *out, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(LIMIT_DATA_BODY_BYTES + FHIR_SPLICE_MAX);
    yyjson_doc *target, *patch;
    /* An import may have brought a larger one. */
    if (query_whole_len(v) > LIMIT_DATA_BODY_BYTES)
        return ERR(e, ERR_TOO_LARGE,
                   "The resource is larger than %u MiB, which is the most a "
                   "patch works on",
                   LIMIT_DATA_BODY_BYTES >> 20);
    CLEANUP(arena_free)
    struct arena *a = arena_new(json_tree_max(call->in.body.len) + json_tree_max(text.max));
    TRY(json_read(a, call->in.body, LIMIT_JSON_DEPTH, &patch, e));
    TRY(rest_version_write(v, &text, e));
    TRY(json_read(a, buf_sv(&text), LIMIT_RESOURCE_DEPTH + 1, &target, e));
    return apply(call, yyjson_doc_get_root(target), yyjson_doc_get_root(patch), out, e);
}
