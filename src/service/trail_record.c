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

/* ---- who ---- */

/* The key that a request claims, when it is one of ours: an unknown one may be anything, a secret
 * in the wrong place too. */
static const struct credential *claimed(const struct service *service,
                                        const struct http_request *req)
{
    const struct credentials *all = auth_credentials(service->cfg.auth);
    static const char *const marks[] = { "Credential=", "X-Amz-Credential=" };
    const sv texts[] = { http_header_get(req, "Authorization"), req->query };
    for (size_t i = 0; all && i < 2; i++) {
        const char *at =
            texts[i].len ? memmem(texts[i].ptr, texts[i].len, marks[i], strlen(marks[i])) : NULL;
        if (at == NULL)
            continue;
        sv key = sv_tail(texts[i], (size_t)(at - texts[i].ptr) + strlen(marks[i]));
        size_t n = 0;
        while (n < key.len && key.ptr[n] != '/' && key.ptr[n] != '%' && key.ptr[n] != ',')
            n++;
        const struct credential *found = credentials_find(all, sv_head(key, n));
        if (found)
            return found;
    }
    return NULL;
}

static void identity(struct json_writer *w, const struct trail *trail)
{
    const struct service *service = trail->service;
    const bool known = trail->caller.arn.len != 0;
    const struct credential *credential =
        known ? trail->caller.credential : claimed(service, trail->req);
    json_key(w, "userIdentity");
    json_obj(w);
    json_kv_str(w, "type",
                !known       ? SV_LIT("Unknown")
                : credential ? SV_LIT("IAMUser")
                             : SV_LIT("Anonymous"));
    if (known) {
        json_kv_str(w, "principalId", credential ? credential->access_key_id : SV_LIT("anonymous"));
        json_kv_str(w, "arn", trail->caller.arn);
    }
    json_kv_str(w, "accountId", service->cfg.account_id);
    if (credential)
        json_kv_str(w, "accessKeyId", credential->access_key_id);
    if (known && credential)
        json_kv_str(w, "userName", credential->name);
    json_obj_end(w);
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
static void names_of(struct json_writer *w, sv text, fhir_type type, unsigned *n,
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
        if ((*n)++ < NAMES_MAX)
            json_str(w, is_known(type, name) ? name : SV_LIT("?"));
    }
}

static void query(struct json_writer *w, const struct trail *trail, const struct trail_facts *f)
{
    CLEANUP_BUF struct buf text = BUF_INIT(QUERY_MAX);
    char digest[64];
    unsigned n = 0;
    fhir_type type = fhir_type_find(sv_from(f->resource_type));
    if (f->query.len == 0 && f->form.len == 0)
        return;
    json_key(w, "queryParameters");
    json_arr(w);
    names_of(w, f->query, type, &n, &text);
    names_of(w, f->form, type, &n, &text);
    json_arr_end(w);
    if (text.len == 0)
        return;
    audit_digest(trail->service->cfg.audit, buf_sv(&text), digest);
    json_kv_str(w, "queryHmacSha256", sv_make(digest, sizeof digest));
}

/* ---- the record ---- */

/* Ids of data stores and jobs are made by us; what has another form is some other text. */
static bool is_ours(sv id)
{
    return sv_is_hex(id, 32);
}

static void parameters(struct json_writer *w, const struct trail *trail,
                       const struct trail_facts *f)
{
    char version[24];
    json_key(w, "requestParameters");
    json_obj(w);
    if (is_ours(f->datastore_id))
        json_kv_str(w, "datastoreId", f->datastore_id);
    if (is_ours(f->job_id))
        json_kv_str(w, "jobId", f->job_id);
    if (f->resource_type)
        json_kv_str(w, "resourceType", sv_from(f->resource_type));
    if (fhir_id_ok(f->resource_id))
        json_kv_str(w, "resourceId", f->resource_id);
    int n = snprintf(version, sizeof version, "%llu", (unsigned long long)f->version);
    if (f->version)
        json_kv_str(w, "versionId", sv_make(version, (size_t)n));
    else if (fhir_id_ok(f->version_id))
        json_kv_str(w, "versionId", f->version_id);
    query(w, trail, f);
    json_obj_end(w);
}

/* The request's id, with the record's number in its last digits: no two records share one. */
static void event_id(struct json_writer *w, const char *request_id, unsigned number)
{
    char id[37], digits[9];
    (void)snprintf(id, sizeof id, "%s", request_id);
    if (strlen(id) != 36)
        return;
    uint64_t last = 0;
    for (int i = 28; i < 36; i++)
        last = last * 16 + (uint64_t)(id[i] <= '9' ? id[i] - '0' : id[i] - 'a' + 10);
    (void)snprintf(digits, sizeof digits, "%08x", (unsigned)(last + number));
    memcpy(id + 28, digits, 8);
    json_kv_str(w, "eventID", sv_make(id, 36));
}

static void resources(struct json_writer *w, sv region, sv account_id, sv datastore_id)
{
    char arn[256];
    if (!is_ours(datastore_id))
        return;
    int n = snprintf(arn, sizeof arn, "arn:aws:healthlake:%.*s:%.*s:datastore/fhir/%.*s",
                     SV_FMT(region), SV_FMT(account_id), SV_FMT(datastore_id));
    json_key(w, "resources");
    json_arr(w);
    json_obj(w);
    json_kv_str(w, "ARN", sv_head(sv_make(arn, (size_t)n), sizeof arn - 1));
    json_kv_str(w, "accountId", account_id);
    json_kv_str(w, "type", SV_LIT("AWS::HealthLake::FHIRDatastore"));
    json_obj_end(w);
    json_arr_end(w);
}

/* Errors by their name: their messages may hold what a resource says. */
static void outcome(struct json_writer *w, const struct trail_facts *f, const char *error)
{
    char text[96];
    if (f->rc == ERR_OK && f->status < 400)
        return;
    const char *name = f->rc != ERR_OK ? err_code_name(f->rc) : error;
    json_kv_str(w, "errorCode", sv_from(f->rc != ERR_OK ? error_as_aws(f->rc)->exception : error));
    int n = snprintf(text, sizeof text, "HTTP %u, %s", f->status, name);
    json_kv_str(w, "errorMessage", sv_make(text, (size_t)n));
}

static void common(struct json_writer *w, sv region, const char *name)
{
    char now[INSTANT_LEN];
    instant_format(clock_wall_ms(), now);
    memcpy(now + 19, "Z", 1); /* whole seconds, as CloudTrail has them */
    json_kv_str(w, "eventVersion", SV_LIT("1.11"));
    json_kv_str(w, "eventTime", sv_make(now, 20));
    json_kv_str(w, "eventSource", SV_LIT("healthlake.amazonaws.com"));
    json_kv_str(w, "eventName", sv_from(name));
    json_kv_str(w, "awsRegion", region);
}

err_code trail_record(const struct trail *trail, const struct trail_facts *f, const char *error,
                      unsigned number, struct buf *out, struct err *e)
{
    const struct service *service = trail->service;
    const struct http_request *req = trail->req;
    struct json_writer w;
    sv agent = http_header_get(req, "User-Agent");
    json_writer_init(&w, out);
    json_obj(&w);
    common(&w, service->cfg.region, f->action ? f->action : "UnknownOperation");
    json_kv_str(&w, "sourceIPAddress", req->peer);
    if (agent.len)
        json_kv_str(&w, "userAgent", sv_head(agent, AGENT_MAX));
    identity(&w, trail);
    outcome(&w, f, error);
    parameters(&w, trail, f);
    json_key(&w, "responseElements");
    json_null(&w);
    json_key(&w, "additionalEventData");
    json_obj(&w);
    json_kv_u64(&w, "httpStatus", f->status);
    json_obj_end(&w);
    json_kv_str(&w, "requestID", sv_from(trail->request_id));
    event_id(&w, trail->request_id, number);
    json_kv_bool(&w, "readOnly", trail_reads(f->action));
    json_kv_str(&w, "eventType", SV_LIT("AwsApiCall"));
    json_kv_bool(&w, "managementEvent", !trail->data_plane);
    json_kv_str(&w, "eventCategory", trail->data_plane ? SV_LIT("Data") : SV_LIT("Management"));
    resources(&w, service->cfg.region, service->cfg.account_id, f->datastore_id);
    json_kv_str(&w, "recipientAccountId", service->cfg.account_id);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return buf_add_char(out, '\n', e);
}

err_code trail_job_record(sv region, sv account_id, const struct trail_job *job, struct buf *out,
                          struct err *e)
{
    struct json_writer w;
    char id[37];
    rng_uuid(id);
    json_writer_init(&w, out);
    json_obj(&w);
    common(&w, region, job->event);
    json_key(&w, "userIdentity");
    json_obj(&w);
    json_kv_str(&w, "accountId", account_id);
    json_kv_str(&w, "invokedBy", SV_LIT("healthlake.amazonaws.com"));
    json_obj_end(&w);
    json_key(&w, "requestParameters");
    json_null(&w);
    json_key(&w, "responseElements");
    json_null(&w);
    json_kv_str(&w, "eventID", sv_from(id));
    json_kv_bool(&w, "readOnly", false);
    json_kv_str(&w, "eventType", SV_LIT("AwsServiceEvent"));
    json_kv_bool(&w, "managementEvent", true);
    json_kv_str(&w, "eventCategory", SV_LIT("Management"));
    json_key(&w, "serviceEventDetails");
    json_obj(&w);
    json_kv_str(&w, "datastoreId", job->datastore_id);
    json_kv_str(&w, "jobId", job->job_id);
    json_kv_str(&w, "jobStatus", sv_from(job->status));
    json_obj_end(&w);
    resources(&w, region, account_id, job->datastore_id);
    json_kv_str(&w, "recipientAccountId", account_id);
    json_obj_end(&w);
    TRY(json_writer_end(&w, e));
    return buf_add_char(out, '\n', e);
}
