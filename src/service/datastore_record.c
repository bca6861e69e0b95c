/* datastore_record.c - the record of a data store: its text, and what it says.
 *
 *   datastore/<id>        -> the record, JSON
 *   datastoreactive/<id>  -> ""      while the data store is being created or deleted
 *
 * Members of CreateFHIRDatastore stand in the record as the caller gave them. Records are written
 * by datastore_write() (datastore_known.c), because writing one voids the copy in memory. */
#include "service/plane.h"

#define RECORD_DEPTH 16u /* nesting, with members of the request in it */

sv datastore_url(struct service *s, const struct http_request *req, sv id)
{
    sv root = s->cfg.public_url;
    while (root.len && root.ptr[root.len - 1] == '/')
        root.len--;
    if (root.len == 0)
        return ARENA_JOIN(req->arena, SV_LIT("http://"), http_header_get(req, "Host"),
                          SV_LIT("/datastore/"), id, SV_LIT("/r4"));
    return ARENA_JOIN(req->arena, root, SV_LIT("/datastore/"), id, SV_LIT("/r4"));
}

sv datastore_arn(struct service *s, struct arena *a, sv id)
{
    return arena_fmt(a, "arn:aws:healthlake:%.*s:%.*s:datastore/fhir/%.*s", SV_FMT(s->cfg.region),
                     SV_FMT(s->cfg.account_id), SV_FMT(id));
}

static err_code not_found(sv id, struct err *e)
{
    return ERR(e, ERR_NOT_FOUND, "Data store %.*s does not exist", SV_FMT(sv_head(id, 64)));
}

static err_code parse_record(struct service *s, sv json, struct arena *a, struct datastore *out,
                             struct err *e)
{
    yyjson_doc *doc;
    json = arena_sv(a, json);
    if (json.ptr == NULL)
        return arena_oom(a, e);
    TRY(json_read(a, json, RECORD_DEPTH, &doc, e));
    yyjson_val *r = yyjson_doc_get_root(doc);
    struct datastore d = { .id = json_string(json_get(r, "id")),
                           .name = json_string(json_get(r, "name")),
                           .status = json_string(json_get(r, "status")),
                           .sse = json_get(r, "sse"),
                           .preload = json_get(r, "preload"),
                           .identity = json_get(r, "identity"),
                           .tags = json_get(r, "tags"),
                           .error_message = json_string(json_get(r, "errorMessage")),
                           .error_category = json_string(json_get(r, "errorCategory")) };
    if (!sv_to_u64(json_number(json_get(r, "order")), &d.order) ||
        !sv_to_i64(json_number(json_get(r, "created")), &d.created_ms))
        return ERR(e, ERR_CORRUPT, "a data store's record is damaged");
    d.arn = datastore_arn(s, a, d.id);
    *out = d;
    return ERR_OK;
}

err_code datastore_read(struct service *s, sv id, struct arena *a, struct datastore *out,
                        struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(DATASTORE_RECORD_MAX);
    struct err why;
    err_code rc = records_get(s->cfg.records, arena_fmt(a, "datastore/%.*s", SV_FMT(id)), &b, &why);
    if (rc == ERR_NOT_FOUND)
        return not_found(id, e);
    if (rc != ERR_OK)
        return err_pass(e, &why);
    return parse_record(s, buf_sv(&b), a, out, e);
}

err_code datastore_print(const struct datastore *d, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "id", d->id);
    json_kv_str(&w, "status", d->status);
    json_kv_i64(&w, "order", (int64_t)d->order);
    json_kv_i64(&w, "created", d->created_ms);
    if (d->name.ptr)
        json_kv_str(&w, "name", d->name);
    json_kv_given(&w, "sse", d->sse);
    json_kv_given(&w, "preload", d->preload);
    json_kv_given(&w, "identity", d->identity);
    json_kv_given(&w, "tags", d->tags);
    if (d->error_message.len) {
        json_kv_str(&w, "errorMessage", d->error_message);
        json_kv_str(&w, "errorCategory", d->error_category);
    }
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

bool datastore_in_transition(const struct datastore *d)
{
    return sv_eq(d->status, SV_LIT("CREATING")) || sv_eq(d->status, SV_LIT("DELETING"));
}

err_code datastore_check_strategy(const struct datastore *d, struct err *e)
{
    sv strategy = json_string(json_get(d->identity, "AuthorizationStrategy"));
    if (d->identity == NULL || sv_eq(strategy, SV_LIT("AWS_AUTH")))
        return ERR_OK;
    return ERR(
        e, ERR_DENIED,
        "The AuthorizationStrategy of this data store is %.*s, and this server does not check such "
        "access tokens yet: its FHIR API is closed. StartFHIRExportJob and StartFHIRImportJob move "
        "its data into a data store with AWS_AUTH",
        SV_FMT(strategy));
}
