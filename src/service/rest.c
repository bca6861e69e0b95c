/* rest.c - the door of the data plane. What stands behind it is not built yet: a caller who is known and
 * names a data store that exists is told so, in FHIR's own terms. */
#include "service/service_private.h"

#include "base/clock.h"

static void answer(struct answer *an, const struct err *e)
{
    const struct error_fhir *f = error_as_fhir(e->code);
    struct err ignored; /* small and well formed: cannot fail */
    an->status = f->status;
    IGNORE(error_fhir_body(f->issue_type, f->general ? SV_LIT("Internal error") : sv_from(e->msg),
                           &an->body, &ignored));
}

static err_code check(struct service *s, const struct http_request *req, struct auth_caller *caller,
                      struct err *e)
{
    struct datastore d;
    sv rest = sv_tail(req->path, sizeof "/datastore/" - 1), id;
    TRY(auth_check(s->cfg.auth, req, clock_wall_ms(), caller, e));
    if (req->body_too_large)
        return ERR(e, ERR_TOO_LARGE, "Request Entity Too Large");
    if (!sv_cut(&rest, '/', &id))
        id = SV_NONE;
    TRY(datastore_read(s, id, req->arena, &d, e));
    if (!sv_eq(d.status, SV_LIT("ACTIVE")))
        return ERR(e, ERR_NOT_FOUND, "Data store is %.*s", SV_FMT(d.status));
    return ERR(e, ERR_UNSUPPORTED,
               "The FHIR REST API is not part of this release; use import and export jobs");
}

void rest_handle(struct service *s, struct http_exchange *x, const char *request_id)
{
    const struct http_request *req = http_exchange_request(x);
    struct answer an = { .content_type = "application/fhir+json" };
    struct auth_caller caller = { 0 };
    struct err e = { 0 };
    buf_init(&an.body, 64u << 10);
    e.code = check(s, req, &caller, &e);
    answer(&an, &e);
    service_reply(x, &an, "rest", request_id, caller.access_key_id);
}
