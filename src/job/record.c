/* record.c - jobs as records, and the one table of legal moves.
 *
 *   job/<datastore>/<kind>/<id>              -> the record, JSON
 *   joblist/<datastore>/<kind>/<~order>      -> id        newest first
 *   jobactive/<order>                        -> "<kind>/<datastore>/<id>", until the job ends
 *   jobnote/<id>/<name>                      -> scratch of a run, until the job ends
 *   jobparams/<id>                           -> what an export asks for, JSON (params.c)
 *   jobexpiry/<time>/<id>                    -> a served export's files go then (served.c)
 *   jobmanifest/<id>                         -> manifest.json (served.c)
 *   jobtoken/<account>/<kind>/<SHA-256 of the token> -> {"datastore","job","digest"}
 *
 * Texts that come from callers stand in values only: the smallest and the largest key of a sorted file are also written
 * into RocksDB's list of files, where nothing takes them away. */
#include "job/job_private.h"

#include "base/limits.h"
#include "codec/hash.h"
#include "codec/json.h"

#define RECORD_MAX (1u << 20)

static const char *const status_names[] = {
    [JOB_SUBMITTED] = "SUBMITTED",
    [JOB_QUEUED] = "QUEUED",
    [JOB_IN_PROGRESS] = "IN_PROGRESS",
    [JOB_COMPLETED] = "COMPLETED",
    [JOB_COMPLETED_WITH_ERRORS] = "COMPLETED_WITH_ERRORS",
    [JOB_FAILED] = "FAILED",
    [JOB_CANCEL_SUBMITTED] = "CANCEL_SUBMITTED",
    [JOB_CANCEL_IN_PROGRESS] = "CANCEL_IN_PROGRESS",
    [JOB_CANCEL_COMPLETED] = "CANCEL_COMPLETED",
    [JOB_CANCEL_FAILED] = "CANCEL_FAILED",
};
#define N_STATUSES (sizeof status_names / sizeof status_names[0])
#define TO(s)      (1u << (s))

static const unsigned moves[N_STATUSES] = {
    [JOB_SUBMITTED] =
        TO(JOB_QUEUED) | TO(JOB_IN_PROGRESS) | TO(JOB_FAILED) | TO(JOB_CANCEL_SUBMITTED),
    [JOB_QUEUED] = TO(JOB_IN_PROGRESS) | TO(JOB_FAILED) | TO(JOB_CANCEL_SUBMITTED),
    [JOB_IN_PROGRESS] = TO(JOB_COMPLETED) | TO(JOB_COMPLETED_WITH_ERRORS) | TO(JOB_FAILED) |
                        TO(JOB_CANCEL_SUBMITTED),
    [JOB_CANCEL_SUBMITTED] = TO(JOB_CANCEL_IN_PROGRESS) | TO(JOB_FAILED),
    [JOB_CANCEL_IN_PROGRESS] = TO(JOB_CANCEL_COMPLETED) | TO(JOB_CANCEL_FAILED) | TO(JOB_FAILED),
};

bool job_status_may(job_status from, job_status to)
{
    return moves[from] & TO(to);
}

bool job_status_is_final(job_status s)
{
    return moves[s] == 0;
}

const char *job_status_name(job_status s)
{
    return (size_t)s < N_STATUSES ? status_names[s] : "";
}

bool job_status_parse(sv name, job_status *out)
{
    for (size_t i = 0; i < N_STATUSES; i++)
        if (sv_eq_cstr(name, status_names[i])) {
            *out = (job_status)i;
            return true;
        }
    return false;
}

const char *job_kind_name(job_kind k)
{
    return k == JOB_EXPORT ? "export" : "import";
}

/* ---- record <-> JSON: one table ---- */

enum field_kind { TEXT, TIME, COUNT, REAL };
struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
};
#define F(name, kind, member)                           \
    {                                                   \
        name, kind, offsetof(struct job_record, member) \
    }
static const struct field fields[] = {
    F("id", TEXT, job.id),
    F("datastore", TEXT, job.datastore_id),
    F("datastoreArn", TEXT, job.datastore_arn),
    F("account", TEXT, job.account_id),
    F("name", TEXT, job.job_name),
    F("role", TEXT, job.role_arn),
    F("output", TEXT, job.output_uri),
    F("folder", TEXT, job.job_folder_uri),
    F("kmsKey", TEXT, job.kms_key_id),
    F("input", TEXT, job.input_uri),
    F("validationLevel", TEXT, job.validation_level),
    F("submitted", TIME, job.submit_ms),
    F("started", TIME, job.start_ms),
    F("ended", TIME, job.end_ms),
    F("asOf", COUNT, job.as_of_t),
    F("transactionTime", TIME, job.transaction_ms),
    F("message", TEXT, job.message),
    F("request", TEXT, job.request_url),
    F("caller", TEXT, job.caller),
    F("served", COUNT, served),
    F("filesExpire", TIME, job.expires_ms),
    F("filesRemoved", TIME, files_removed_ms),
    F("order", COUNT, order),
    F("digest", TEXT, digest),
    F("filesScanned", COUNT, job.progress.files_scanned),
    F("filesImported", COUNT, job.progress.files_imported),
    F("filesUnreadable", COUNT, job.progress.files_unreadable),
    F("bytesScanned", COUNT, job.progress.bytes_scanned),
    F("bytesImported", COUNT, job.progress.bytes_imported),
    F("resourcesScanned", COUNT, job.progress.resources_scanned),
    F("resourcesImported", COUNT, job.progress.resources_imported),
    F("customerErrors", COUNT, job.progress.resources_customer_error),
    F("serverErrors", COUNT, job.progress.resources_server_error),
    F("withIssues", COUNT, job.progress.resources_with_issues),
    F("resourcesExported", COUNT, job.progress.resources_exported),
    F("bytesExported", COUNT, job.progress.bytes_exported),
    F("objectsExported", COUNT, job.progress.objects_exported),
    F("rangesTotal", COUNT, job.progress.ranges_total),
    F("rangesDone", COUNT, job.progress.ranges_done),
    F("throughput", REAL, job.progress.throughput),
};
#define N_FIELDS (sizeof fields / sizeof fields[0])

static err_code write_json(const struct job_record *rec, struct buf *out, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_obj(&w);
    json_kv_str(&w, "kind", sv_from(job_kind_name(rec->job.kind)));
    json_kv_str(&w, "status", sv_from(job_status_name(rec->job.status)));
    for (size_t i = 0; i < N_FIELDS; i++) {
        const char *at = (const char *)rec + fields[i].offset;
        sv text;
        uint64_t n;
        double d;
        switch (fields[i].kind) {
        case TEXT:
            memcpy(&text, at, sizeof text);
            if (text.len)
                json_kv_str(&w, fields[i].name, text);
            break;
        case REAL:
            memcpy(&d, at, sizeof d);
            json_key(&w, fields[i].name);
            json_fixed(&w, d, 3);
            break;
        default:
            memcpy(&n, at, sizeof n);
            if (n) {
                json_key(&w, fields[i].name);
                json_u64(&w, n);
            }
        }
    }
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static err_code read_json(sv text, struct arena *a, struct job_record *out, struct err *e)
{
    struct job_record rec = { 0 };
    yyjson_doc *doc;
    text = arena_sv(a, text);
    if (text.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, text, 4, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "a job's record is damaged");
    yyjson_val *root = yyjson_doc_get_root(doc);
    rec.job.kind =
        sv_eq(json_string(json_get(root, "kind")), SV_LIT("import")) ? JOB_IMPORT : JOB_EXPORT;
    if (!job_status_parse(json_string(json_get(root, "status")), &rec.job.status))
        return ERR(e, ERR_CORRUPT, "a job's record has no known status");
    for (size_t i = 0; i < N_FIELDS; i++) {
        yyjson_val *v = json_get(root, fields[i].name);
        char *at = (char *)&rec + fields[i].offset;
        sv s = fields[i].kind == TEXT ? json_string(v) : json_number(v);
        uint64_t n;
        double d;
        if (fields[i].kind == TEXT)
            memcpy(at, &s, sizeof s);
        else if (fields[i].kind == REAL && sv_to_double(s, &d))
            memcpy(at, &d, sizeof d);
        else if (fields[i].kind != REAL && sv_to_u64(s, &n))
            memcpy(at, &n, sizeof n);
    }
    rec.job.served = rec.served;
    rec.job.discarded = rec.files_removed_ms != 0;
    *out = rec;
    return ERR_OK;
}

/* ---- keys ---- */

static sv record_key(struct arena *a, job_kind kind, sv datastore_id, sv id)
{
    return arena_fmt(a, "job/%.*s/%s/%.*s", SV_FMT(datastore_id), job_kind_name(kind), SV_FMT(id));
}

static sv list_key(struct arena *a, const struct job_record *r)
{
    return arena_fmt(a, "joblist/%.*s/%s/%016llx", SV_FMT(r->job.datastore_id),
                     job_kind_name(r->job.kind), (unsigned long long)~r->order);
}

static sv active_key(struct arena *a, const struct job_record *r)
{
    return arena_fmt(a, "jobactive/%016llx", (unsigned long long)r->order);
}

static sv token_key(struct arena *a, job_kind kind, sv account_id, sv token)
{
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    hash_sha256_of(token, digest);
    hash_hex(digest, sizeof digest, hex);
    return arena_fmt(a, "jobtoken/%.*s/%s/%.*s", SV_FMT(account_id), job_kind_name(kind),
                     (int)sizeof hex, hex);
}

/* ---- reading and writing ---- */

err_code job_record_read(struct records *r, job_kind kind, sv datastore_id, sv id, struct arena *a,
                         struct job_record *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
    struct err mine;
    err_code rc = records_get(r, record_key(a, kind, datastore_id, id), &b, &mine);
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_NOT_FOUND, "%s job %.*s does not exist in this data store",
                   kind == JOB_EXPORT ? "Export" : "Import", SV_FMT(sv_head(id, 64)));
    if (rc != ERR_OK) {
        if (e)
            *e = mine;
        return rc;
    }
    return read_json(buf_sv(&b), a, out, e);
}

err_code job_record_create(struct records *r, const struct job_record *rec, sv client_token,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    CLEANUP_BUF struct buf json = BUF_INIT(RECORD_MAX), token = BUF_INIT(RECORD_MAX),
                           params = BUF_INIT(4 * RECORD_MAX);
    const struct job *j = &rec->job;
    TRY(write_json(rec, &json, e));
    struct records_write w[5] = {
        { RECORDS_PUT, record_key(a, j->kind, j->datastore_id, j->id), buf_sv(&json) },
        { RECORDS_PUT, list_key(a, rec), j->id },
        { RECORDS_PUT, active_key(a, rec),
          arena_fmt(a, "%s/%.*s/%.*s", job_kind_name(j->kind), SV_FMT(j->datastore_id),
                    SV_FMT(j->id)) },
    };
    size_t n = 3;
    if (j->params) {
        TRY(job_params_write(j->params, &params, e));
        w[n++] = (struct records_write){ RECORDS_PUT, arena_fmt(a, "jobparams/%.*s", SV_FMT(j->id)),
                                         buf_sv(&params) };
    }
    if (client_token.len) {
        struct json_writer jw;
        json_writer_init(&jw, &token);
        json_obj(&jw);
        json_kv_str(&jw, "datastore", j->datastore_id);
        json_kv_str(&jw, "job", j->id);
        json_kv_str(&jw, "digest", rec->digest);
        json_obj_end(&jw);
        TRY(json_writer_end(&jw, e));
        w[n++] = (struct records_write){ RECORDS_PUT_IF_ABSENT,
                                         token_key(a, j->kind, j->account_id, client_token),
                                         buf_sv(&token) };
    }
    return records_write(r, w, n, e);
}

err_code job_record_update(struct records *r, const struct job_record *rec, bool synced,
                           struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    CLEANUP_BUF struct buf json = BUF_INIT(RECORD_MAX);
    TRY(write_json(rec, &json, e));
    return (synced ? records_put : records_put_unsynced)(
        r, record_key(a, rec->job.kind, rec->job.datastore_id, rec->job.id), buf_sv(&json), e);
}

struct key_list {
    struct arena *a;
    sv keys[256];
    size_t n;
};

static bool add_key(void *ctx, sv key, sv value)
{
    (void)value;
    struct key_list *l = ctx;
    l->keys[l->n++] = arena_sv(l->a, key);
    return l->n < sizeof l->keys / sizeof l->keys[0];
}

static err_code delete_notes(struct records *r, sv id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    for (;;) {
        struct key_list l = { .a = a };
        struct records_write del[256];
        arena_reset(a);
        TRY(records_scan(r, arena_fmt(a, "jobnote/%.*s/", SV_FMT(id)), SV_NONE, add_key, &l, e));
        for (size_t i = 0; i < l.n; i++)
            del[i] = (struct records_write){ RECORDS_DELETE, l.keys[i], SV_NONE };
        if (l.n == 0)
            return ERR_OK;
        TRY(records_write(r, del, l.n, e));
    }
}

err_code job_record_finish(struct records *r, const struct job_record *rec, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    CLEANUP_BUF struct buf json = BUF_INIT(RECORD_MAX);
    TRY(write_json(rec, &json, e));
    struct records_write w[3] = {
        { RECORDS_PUT, record_key(a, rec->job.kind, rec->job.datastore_id, rec->job.id),
          buf_sv(&json) },
        { RECORDS_DELETE, active_key(a, rec), SV_NONE },
        { RECORDS_PUT, job_expiry_key(a, rec->job.expires_ms, rec->job.id), rec->job.datastore_id },
    };
    TRY(records_write(r, w, rec->job.expires_ms ? 3 : 2, e));
    /* the job is over; its notes are of no more use, and a crash here leaves them harmless */
    return delete_notes(r, rec->job.id, e);
}

/* ---- when the data store is gone ---- */

/* Client tokens of a data store. */
struct tokens {
    struct key_list list;
    sv datastore_id;
};

static bool each_token(void *ctx, sv key, sv value)
{
    struct tokens *t = ctx;
    CLEANUP(arena_free) struct arena *a = arena_new(RECORD_MAX);
    yyjson_doc *doc;
    sv text = arena_sv(a, value);
    if (text.ptr && json_read(a, text, 2, &doc, NULL) == ERR_OK &&
        sv_eq(json_string(json_get(yyjson_doc_get_root(doc), "datastore")), t->datastore_id))
        return add_key(&t->list, key, value);
    return true;
}

static err_code delete_tokens(struct records *r, sv datastore_id, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    struct tokens t = { .list = { .a = a }, .datastore_id = datastore_id };
    do {
        struct records_write del[256];
        arena_reset(a);
        t.list.n = 0;
        TRY(records_scan(r, SV_LIT("jobtoken/"), SV_NONE, each_token, &t, e));
        for (size_t i = 0; i < t.list.n; i++)
            del[i] = (struct records_write){ RECORDS_DELETE, t.list.keys[i], SV_NONE };
        if (t.list.n)
            TRY(records_write(r, del, t.list.n, e));
    } while (t.list.n == sizeof t.list.keys / sizeof t.list.keys[0]);
    return ERR_OK;
}

static err_code forget_job(struct records *r, sv key, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    CLEANUP_BUF struct buf old = BUF_INIT(RECORD_MAX), json = BUF_INIT(RECORD_MAX);
    struct job_record rec;
    TRY(records_get(r, key, &old, e));
    TRY(read_json(buf_sv(&old), a, &rec, e));
    if (rec.digest.len == 0 && rec.job.request_url.len == 0)
        return ERR_OK; /* by a run before, which a crash ended */
    TRY(delete_notes(r, rec.job.id, e));
    rec.digest = rec.job.request_url = SV_NONE;
    TRY(write_json(&rec, &json, e));
    struct records_write w[] = {
        { RECORDS_PUT, key, buf_sv(&json) },
        { RECORDS_DELETE, arena_fmt(a, "jobparams/%.*s", SV_FMT(rec.job.id)), SV_NONE },
        { RECORDS_DELETE, arena_fmt(a, "jobmanifest/%.*s", SV_FMT(rec.job.id)), SV_NONE },
    };
    return records_write(r, w, sizeof w / sizeof w[0], e);
}

err_code job_records_forget(struct records *r, sv datastore_id, bool *any, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    sv prefix = arena_fmt(a, "job/%.*s/", SV_FMT(datastore_id)), after = SV_NONE;
    arena_mark m = arena_mark_get(a);
    char last[256];
    TRY(delete_tokens(r, datastore_id, e));
    for (;;) {
        struct key_list l = { .a = a };
        arena_rewind(a, m);
        TRY(records_scan(r, prefix, after, add_key, &l, e));
        if (l.n == 0)
            return ERR_OK;
        *any = true; /* forgotten by a run before, perhaps, which did not come to its end */
        for (size_t i = 0; i < l.n; i++)
            TRY(forget_job(r, l.keys[i], e));
        after = l.keys[l.n - 1];
        after = sv_make(memcpy(last, after.ptr, after.len), after.len); /* two ids and a kind */
    }
}

err_code job_token_read(struct records *r, const struct job_request *req, struct arena *a,
                        sv *datastore_id, sv *job_id, sv *digest, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(RECORD_MAX);
    yyjson_doc *doc;
    err_code rc =
        records_get(r, token_key(a, req->kind, req->account_id, req->client_token), &b, e);
    if (rc == ERR_NOT_FOUND) /* as it was written before tokens were hashed */
        rc = records_get(r,
                         arena_fmt(a, "jobtoken/%.*s/%s/%.*s", SV_FMT(req->account_id),
                                   job_kind_name(req->kind), SV_FMT(req->client_token)),
                         &b, e);
    TRY(rc);
    sv text = arena_sv(a, buf_sv(&b));
    if (json_read(a, text, 2, &doc, e) != ERR_OK)
        return ERR(e, ERR_CORRUPT, "a client token's record is damaged");
    yyjson_val *root = yyjson_doc_get_root(doc);
    *datastore_id = json_string(json_get(root, "datastore"));
    *job_id = json_string(json_get(root, "job"));
    *digest = json_string(json_get(root, "digest"));
    return ERR_OK;
}

struct active_ctx {
    job_active_fn each;
    void *ctx;
};

static bool each_active(void *ctx, sv key, sv value)
{
    struct active_ctx *c = ctx;
    sv kind, datastore, rest = value;
    sv hex = sv_tail(key, sizeof "jobactive/" - 1);
    uint64_t order = 0;
    for (size_t i = 0; i < hex.len; i++)
        order =
            order << 4 | (uint64_t)(hex.ptr[i] <= '9' ? hex.ptr[i] - '0' : hex.ptr[i] - 'a' + 10);
    if (sv_cut(&rest, '/', &kind) && sv_cut(&rest, '/', &datastore))
        c->each(c->ctx, sv_eq(kind, SV_LIT("import")) ? JOB_IMPORT : JOB_EXPORT, datastore, rest,
                order);
    return true;
}

err_code job_records_active(struct records *r, job_active_fn each, void *ctx, struct err *e)
{
    struct active_ctx c = { each, ctx };
    return records_scan(r, SV_LIT("jobactive/"), SV_NONE, each_active, &c, e);
}

/* ---- listing ---- */

struct list_ctx {
    struct records *records;
    job_kind kind;
    const struct job_filter *filter;
    struct arena *a;
    struct job *jobs;
    size_t n, max;
    unsigned seen;
    char last[160]; /* key of the last one that was looked at */
    size_t last_len;
    bool more;
    err_code rc;
    struct err *e;
};

static bool wanted(const struct job_filter *f, const struct job *j)
{
    return (f->name.len == 0 || sv_eq(f->name, j->job_name)) &&
           (!f->has_status || f->status == j->status) &&
           (f->submitted_after_ms == 0 || j->submit_ms > f->submitted_after_ms) &&
           (f->submitted_before_ms == 0 || j->submit_ms < f->submitted_before_ms);
}

static bool each_listed(void *ctx, sv key, sv id)
{
    struct list_ctx *c = ctx;
    struct job_record rec;
    if (c->seen++ == LIMIT_LIST_SEEN) { /* a page may be short; its position goes on */
        c->more = true;
        return false;
    }
    arena_mark m = arena_mark_get(c->a);
    c->rc = job_record_read(c->records, c->kind, c->filter->datastore_id, id, c->a, &rec, c->e);
    if (c->rc != ERR_OK)
        return false;
    bool is_wanted = wanted(c->filter, &rec.job);
    if (is_wanted && c->n == c->max) {
        c->more = true;
        return false;
    }
    if (is_wanted)
        c->jobs[c->n++] = rec.job;
    else
        arena_rewind(c->a, m);
    c->last_len = key.len < sizeof c->last ? key.len : 0;
    memcpy(c->last, key.ptr, c->last_len);
    return true;
}

err_code job_record_list(struct records *r, job_kind kind, const struct job_filter *filter,
                         sv after, unsigned max, struct arena *a, struct job **out, size_t *n_out,
                         sv *next, struct err *e)
{
    struct list_ctx c = {
        .records = r, .kind = kind, .filter = filter, .a = a, .max = max, .e = e
    };
    c.jobs = arena_calloc(a, max ? max : 1, sizeof *c.jobs);
    sv prefix = arena_fmt(a, "joblist/%.*s/%s/", SV_FMT(filter->datastore_id), job_kind_name(kind));
    if (c.jobs == NULL || prefix.ptr == NULL)
        return arena_oom(a, e);
    sv from = after.len ? arena_fmt(a, "%.*s%.*s", SV_FMT(prefix), SV_FMT(after)) : SV_NONE;
    TRY(records_scan(r, prefix, from, each_listed, &c, e));
    TRY(c.rc);
    *out = c.jobs;
    *n_out = c.n;
    *next = c.more ? arena_sv(a, sv_tail(sv_make(c.last, c.last_len), prefix.len)) : SV_NONE;
    return c.more && next->ptr == NULL ? arena_oom(a, e) : ERR_OK;
}

/* ---- message ---- */

sv job_message_clean(struct arena *a, sv text)
{
    sv s = arena_sv(a, sv_head(text, 2048));
    char *p = (char *)(uintptr_t)s.ptr; /* our own copy */
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  (c && strchr(" _.:/=+-%@", c));
        if (!ok)
            c = ' ';
        if (c != ' ' || n == 0 || p[n - 1] != ' ') /* "a, b" shall not have two */
            p[n++] = c;
    }
    return sv_head(s, n);
}
