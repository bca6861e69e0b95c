/* trail_record.c - a request as a record of CloudTrail's form.
 *
 * What comes from outside is either checked against a form (ids, names of parameters) or bounded
 * and escaped (the user agent). A query is told by the names of its parameters, as far as FHIR
 * knows them, and by a digest under a key of the log: equal queries have equal digests, and without
 * the key nobody can try whether a guess is right. An error is told by its name and status alone,
 * because its message may speak of what a resource holds. */
#include "service/trail_private.h"

#include "base/clock.h"
#include "base/rng.h"
#include "codec/instant.h"
#include "codec/uri.h"
#include "fhir/types.h"
#include "search/search.h"

#define AGENT_MAX 256u
#define QUERY_MAX (64u << 10) /* bytes that a digest covers; the rest is not told */
#define NAMES_MAX 64u

/* ---- reads ---- */

bool trail_reads(const char *action)
{
    static const char *const reads[] = { "Read",   "VersionRead", "Get",      "List",
                                         "Search", "Describe",    "Validate", "Inquire" };
    for (size_t i = 0; action && i < sizeof reads / sizeof reads[0]; i++)
        if (strncmp(action, reads[i], strlen(reads[i])) == 0)
            return true;
    return false;
}

/* ---- queries ---- */

/* Is it a parameter that FHIR or the server knows for the type? */
static bool is_known(fhir_type type, sv name)
{
    static const char *const ours[] = { "_at",
                                        "_contained",
                                        "_containedType",
                                        "_content",
                                        "_count",
                                        "_elements",
                                        "_format",
                                        "_has",
                                        "_id",
                                        "_include",
                                        "_lastUpdated",
                                        "_list",
                                        "_maximumFileSize",
                                        "_maxcount",
                                        "_outputFormat",
                                        "_pretty",
                                        "_profile",
                                        "_query",
                                        "_revinclude",
                                        "_security",
                                        "_since",
                                        "_sort",
                                        "_source",
                                        "_summary",
                                        "_tag",
                                        "_text",
                                        "_total",
                                        "_type",
                                        "_typeFilter",
                                        "_until",
                                        "allowPartialManifests",
                                        "createdAt",
                                        "end",
                                        "includeAssociatedData",
                                        "mode",
                                        "organizeOutputBy",
                                        "page",
                                        "patient",
                                        "profile",
                                        "start" };
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (sv_eq_cstr(name, ours[i]))
            return true;
    return type != FHIR_TYPE_NONE && search_param_find(type, name) != NULL;
}

/* The name without its modifier and its chain, which are the caller's words. */
static sv base_of(sv name)
{
    size_t n = 0;
    while (n < name.len && name.ptr[n] != ':' && name.ptr[n] != '.' && name.ptr[n] != '%')
        n++;
    return sv_head(name, n);
}

/* The names of one text's parameters, and the text without its signature. */
static void names_of(struct trail_out *o, sv text, fhir_type type, unsigned *n,
                     struct buf *signed_not)
{
    sv rest = text, one;
    struct err ignored;
    while (rest.len && sv_cut(&rest, '&', &one)) {
        if (one.len == 0 || sv_eq_nocase(sv_head(one, 6), SV_LIT("X-Amz-")))
            continue;
        /* past its bound the digest covers less */
        if (buf_add(signed_not, one, &ignored) == ERR_OK)
            IGNORE(buf_add_char(signed_not, '&', &ignored));
        sv name = base_of(sv_head(one, sv_find(one, '=')));
        if (*n >= NAMES_MAX)
            continue;
        put(o, (*n)++ ? SV_LIT(",\"") : SV_LIT("\""));
        put(o, is_known(type, name) ? name : SV_LIT("?"));
        PUT(o, "\"");
    }
}

static void query(struct trail_out *o, const struct trail *trail, const struct trail_facts *f)
{
    CLEANUP_BUF struct buf text = BUF_INIT(QUERY_MAX);
    char digest[64];
    unsigned n = 0;
    if (f->query.len == 0 && f->form.len == 0)
        return;
    fhir_type type = fhir_type_find(sv_from(f->resource_type));
    PUT(o, ",\"queryParameters\":[");
    names_of(o, f->query, type, &n, &text);
    names_of(o, f->form, type, &n, &text);
    PUT(o, "]");
    if (text.len == 0)
        return;
    audit_digest(trail->service->cfg.audit, buf_sv(&text), digest);
    PUT_PLAIN(o, "queryHmacSha256", sv_make(digest, sizeof digest));
}

/* ---- the record ---- */

/* Ids of data stores and jobs are made by us; what has another form is some other text. */
static bool is_ours(sv id)
{
    return sv_is_hex(id, 32);
}

/* The first member has no comma in front of it. */
static void parameters(struct trail_out *o, const struct trail *trail, const struct trail_facts *f)
{
    PUT(o, ",\"requestParameters\":{");
    const size_t from = o->buf->len;
    if (is_ours(f->datastore_id))
        PUT_PLAIN(o, "datastoreId", f->datastore_id);
    if (is_ours(f->job_id))
        PUT_PLAIN(o, "jobId", f->job_id);
    if (f->resource_type)
        PUT_PLAIN(o, "resourceType", sv_from(f->resource_type));
    if (fhir_id_ok(f->resource_id))
        PUT_PLAIN(o, "resourceId", f->resource_id);
    if (f->version) {
        PUT(o, ",\"versionId\":\"");
        trail_put_u64(o, f->version);
        PUT(o, "\"");
    } else if (fhir_id_ok(f->version_id)) {
        PUT_PLAIN(o, "versionId", f->version_id);
    }
    query(o, trail, f);
    struct buf *b = o->buf;
    if (o->rc == ERR_OK && b->len > from) {
        memmove(b->ptr + from, b->ptr + from + 1, b->len - from - 1);
        b->len--;
    }
    PUT(o, "}");
}

/* The request's id, with the record's number in its last digits: no two records share one. */
static void event_id(struct trail_out *o, sv request_id, unsigned number)
{
    char id[36];
    static const char hex[] = "0123456789abcdef";
    if (request_id.len != sizeof id)
        return;
    memcpy(id, request_id.ptr, sizeof id);
    for (size_t i = sizeof id; number && i-- > 28;) {
        unsigned digit = (unsigned)(id[i] <= '9' ? id[i] - '0' : id[i] - 'a' + 10) + number % 16;
        id[i] = hex[digit % 16];
        number = number / 16 + digit / 16;
    }
    PUT_PLAIN(o, "eventID", sv_make(id, sizeof id));
}

static void resources(struct trail_out *o, sv region, sv account_id, sv datastore_id)
{
    if (!is_ours(datastore_id))
        return;
    PUT(o, ",\"resources\":[{\"ARN\":\"arn:aws:healthlake:");
    put(o, region);
    PUT(o, ":");
    put(o, account_id);
    PUT(o, ":datastore/fhir/");
    put(o, datastore_id);
    PUT(o, "\"");
    PUT_PLAIN(o, "accountId", account_id);
    PUT(o, ",\"type\":\"AWS::HealthLake::FHIRDatastore\"}]");
}

/* Errors by their name: their messages may hold what a resource says. */
static void outcome(struct trail_out *o, const struct trail_facts *f, const char *error)
{
    if (f->rc == ERR_OK && f->status < 400)
        return;
    PUT_PLAIN(o, "errorCode", sv_from(f->rc != ERR_OK ? error_as_aws(f->rc)->exception : error));
    PUT(o, ",\"errorMessage\":\"HTTP ");
    trail_put_u64(o, f->status);
    PUT(o, ", ");
    put(o, sv_from(f->rc != ERR_OK ? err_code_name(f->rc) : error));
    PUT(o, "\"");
}

/* The object is begun. */
static void common(struct trail_out *o, sv region, const char *name)
{
    /* whole seconds, as CloudTrail has them: the text is good for all records of one */
    static _Thread_local int64_t second = INT64_MIN;
    static _Thread_local char now[INSTANT_LEN];
    const int64_t s = clock_wall_ms() / 1000;
    if (s != second) {
        instant_format(s * 1000, now);
        now[19] = 'Z';
        second = s;
    }
    PUT(o, "{\"eventVersion\":\"1.11\",\"eventTime\":\"");
    put(o, sv_make(now, 20));
    PUT(o, "\",\"eventSource\":\"healthlake.amazonaws.com\"");
    PUT_PLAIN(o, "eventName", sv_from(name));
    PUT_PLAIN(o, "awsRegion", region);
}

static void end(struct trail_out *o, sv account_id)
{
    PUT_PLAIN(o, "recipientAccountId", account_id);
    PUT(o, "}\n");
}

err_code trail_record(const struct trail *trail, const struct trail_facts *f, const char *error,
                      unsigned number, struct buf *out, struct err *e)
{
    const struct service_config *cfg = &trail->service->cfg;
    struct trail_out o = { out, ERR_OK, e };
    sv agent = http_header_get(trail->req, "User-Agent"), id = sv_from(trail->request_id);
    common(&o, cfg->region, f->action ? f->action : "UnknownOperation");
    PUT_PLAIN(&o, "sourceIPAddress", trail->req->peer);
    if (agent.len) {
        PUT(&o, ",\"userAgent\":");
        trail_put_escaped(&o, sv_head(agent, AGENT_MAX));
    }
    trail_identity(&o, trail);
    outcome(&o, f, error);
    parameters(&o, trail, f);
    PUT(&o, ",\"responseElements\":null,\"additionalEventData\":{\"httpStatus\":");
    trail_put_u64(&o, f->status);
    trail_rights(&o, trail, f);
    PUT(&o, "}");
    PUT_PLAIN(&o, "requestID", id);
    event_id(&o, id, number);
    put(&o, trail_reads(f->action) ? SV_LIT(",\"readOnly\":true") : SV_LIT(",\"readOnly\":false"));
    put(&o, trail->data_plane ? SV_LIT(",\"eventType\":\"AwsApiCall\",\"managementEvent\":false,"
                                       "\"eventCategory\":\"Data\"")
                              : SV_LIT(",\"eventType\":\"AwsApiCall\",\"managementEvent\":true,"
                                       "\"eventCategory\":\"Management\""));
    resources(&o, cfg->region, cfg->account_id, f->datastore_id);
    trail_tls(&o, trail->req);
    end(&o, cfg->account_id);
    return o.rc;
}

/* A record of the service itself, up to its details. */
static void service_event(struct trail_out *o, sv region, sv account_id, const char *event,
                          bool reads)
{
    char id[37];
    rng_uuid(id);
    common(o, region, event);
    PUT(o, ",\"userIdentity\":{\"accountId\":\"");
    put(o, account_id);
    PUT(o, "\",\"invokedBy\":\"healthlake.amazonaws.com\"},\"requestParameters\":null,"
           "\"responseElements\":null");
    PUT_PLAIN(o, "eventID", sv_from(id));
    put(o, reads ? SV_LIT(",\"readOnly\":true") : SV_LIT(",\"readOnly\":false"));
    PUT(o, ",\"eventType\":\"AwsServiceEvent\",\"managementEvent\":true,"
           "\"eventCategory\":\"Management\",\"serviceEventDetails\":{");
}

err_code trail_backup_record(sv region, sv account_id, const struct trail_backup *backup,
                             struct buf *out, struct err *e)
{
    struct trail_out o = { out, ERR_OK, e };
    service_event(&o, region, account_id, "BackupSnapshotTaken", true);
    PUT(&o, "\"userId\":");
    trail_put_u64(&o, backup->user_id);
    PUT_PLAIN(&o, "status", sv_from(backup->taken ? "COMPLETED" : "FAILED"));
    PUT(&o, "}");
    end(&o, account_id);
    return o.rc;
}

err_code trail_job_record(sv region, sv account_id, const struct trail_job *job, struct buf *out,
                          struct err *e)
{
    struct trail_out o = { out, ERR_OK, e };
    service_event(&o, region, account_id, job->event, false);
    PUT(&o, "\"datastoreId\":\"");
    put(&o, job->datastore_id);
    PUT(&o, "\"");
    PUT_PLAIN(&o, "jobId", job->job_id);
    PUT_PLAIN(&o, "jobStatus", sv_from(job->status));
    PUT(&o, "}");
    resources(&o, region, account_id, job->datastore_id);
    end(&o, account_id);
    return o.rc;
}
