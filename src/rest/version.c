/* version.c - one version of a resource as an answer: found by its number, written out, named in
 * headers. */
#include "rest/answer_private.h"
#include "rest/fair/clock_private.h"

err_code rest_version_write(const struct store_version *v, struct buf *out, struct err *e)
{
    TRY(buf_reserve(out, v->body.json.len + FHIR_SPLICE_MAX, e));
    out->len += fhir_body_write(&v->body, v->version, v->instant_ms, out->ptr + out->len);
    return ERR_OK;
}

void rest_about(struct rest_call *call, const struct store_version *v)
{
    call->out.about = true;
    call->out.type = v->type;
    call->out.id = v->id;
    call->out.version = v->version;
    call->out.instant_ms = v->instant_ms;
}

err_code rest_version_unknown(const struct search_id *of, struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "%s with this id has no such version", fhir_type_name(of->type));
}

err_code rest_version_find(struct rest_call *call, const struct search_id *of, uint64_t version,
                           uint64_t as_of_t, struct store_cursor **cur, struct store_version *out,
                           struct err *e)
{
    CLEANUP(store_cursor_close) struct store_cursor *walk = NULL;
    struct store_version v;
    err_code rc;
    TRY(store_history(call->st, of->type, of->id, as_of_t, &walk, e));
    store_cursor_light(walk);
    while ((rc = store_cursor_next(walk, &v, e)) == ERR_OK && v.version > version)
        TRY(rest_breathe(call, e));
    if (rc == ERR_EOF || (rc == ERR_OK && (v.version != version || v.erased)))
        return rest_version_unknown(of, e);
    TRY(rc);
    v.id = of->id;
    *out = v;
    *cur = walk;
    walk = NULL;
    return ERR_OK;
}

err_code rest_version_before(struct rest_call *call, sv id, struct store_version *out,
                             struct err *e)
{
    uint64_t as_of = call->scope ? call->scope->as_of : STORE_NOW;
    return store_get_light(call->st, call->type, id, as_of, call->a, out, e);
}

uint64_t rest_reads_as_of(const struct rest_call *call)
{
    return call->as_of ? call->as_of : STORE_NOW;
}

err_code rest_not_known(const struct rest_call *call, struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "%s with this id is not known", fhir_type_name(call->type));
}
