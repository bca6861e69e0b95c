/* Whole requests, signed and not, against the service with everything behind it: both planes, a
 * data store, jobs.
 *
 * Input: one byte (bit 0: signed; bit 1: by a caller who may only search), then a request as it
 * stands on the wire. STORE stands for the data store's id, JOBID for the last export's. What must
 * hold, whatever is asked:
 *   - one answer, no status 500, JSON where JSON is said, an OperationOutcome with every refusal of
 *     the data plane
 *   - who has no signature changes nothing and sees nothing
 *   - a data store that no request can name is as it was */
#include "fuzz.h"

#include "../peers/loopback.h"
#include "aws/aws.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "export/export.h"
#include "import/import.h"
#include "rest/rest.h"
#include "store/records.h"
#include "store/registry.h"

#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

/* then everything is made anew, so that a long run keeps to its memory */
#define INPUTS_EACH  1500u
#define CHECK_EVERY  100u
#define REQUEST_MAX  (256u << 10)
#define CANARY_STORE SV_LIT("cccccccccccccccccccccccccccccccc")

/* Threads of the process live as long as it does: what they hold is no leak. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static struct world {
    char root[64], store[33], job[64];
    struct records *records;
    struct store_env *env;
    struct store_registry *stores;
    struct sink_world *sinks;
    struct job_engine *jobs;
    struct auth *auth;
    struct service *service;
    unsigned n;
} w;

#define WORKS(call)                                             \
    do {                                                        \
        struct err err_ = { 0 };                                \
        struct err *e = &err_;                                  \
        if ((call) != ERR_OK) {                                 \
            (void)fprintf(stderr, "%s: %s\n", #call, err_.msg); \
            abort();                                            \
        }                                                       \
    } while (0)

static const struct loopback_keys *keys(bool searcher)
{
    static struct loopback_keys k;
    k = (struct loopback_keys){ searcher ? SV_LIT("AKIASEARCH") : SV_LIT("AKIAADMIN"),
                                SV_LIT("secret"), SV_LIT("us-east-1"), clock_wall_ms() };
    return &k;
}

static void path(char out[128], const char *name)
{
    (void)snprintf(out, 128, "%s/%s", w.root, name);
}

static void put_file(const char *name, const char *text)
{
    char at[128];
    path(at, name);
    WORKS(file_write_atomic(at, sv_from(text), e));
}

/* ---- the world ---- */

static void ask(const char *raw, unsigned want)
{
    struct loopback_answer a;
    loopback_send(w.service, sv_from(raw), keys(false), &a);
    if (a.status != want) {
        (void)fprintf(stderr, "%.60s...: %u %.*s\n", raw, a.status, SV_FMT(buf_sv(&a.body)));
        abort();
    }
    /* the first request creates the data store */
    if (w.store[0] == 0) {
        const char *id = memmem(a.body.ptr, a.body.len, "\"DatastoreId\":\"", 15);
        MUST(id);
        memcpy(w.store, id + 15, 32);
    }
    loopback_answer_done(&a);
}

static bool is_active(void)
{
    struct loopback_answer a;
    char raw[256];
    (void)snprintf(raw, sizeof raw, "GET /datastore/%s/r4/metadata HTTP/1.1\n\n", w.store);
    loopback_send(w.service, sv_from(raw), keys(false), &a);
    bool yes = a.status == 200;
    loopback_answer_done(&a);
    return yes;
}

static void ask_fhir(const char *method, const char *where, const char *body, unsigned want)
{
    char raw[2048];
    (void)snprintf(raw, sizeof raw,
                   "%s /datastore/%s/r4/%s HTTP/1.1\nContent-Type: application/fhir+json\n\n%s",
                   method, w.store, where, body);
    ask(raw, want);
}

static void set_canary(void)
{
    struct store *st;
    struct store_commit c;
    sv json = SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"canary\"}");
    struct store_write one = { .type = fhir_type_find(SV_LIT("Patient")),
                               .id = SV_LIT("canary"),
                               .body = { json, (uint32_t)json.len - 1, FHIR_HOLE_NO_META } };
    WORKS(store_registry_acquire(w.stores, CANARY_STORE, true, &st, e));
    WORKS(store_commit(st, &one, 1, &c, e));
    store_registry_release(w.stores, st);
}

static void canary_lives(void)
{
    struct store *st;
    struct store_version v;
    struct store_commit last;
    struct arena *a = arena_new(1u << 20);
    WORKS(store_registry_acquire(w.stores, CANARY_STORE, false, &st, e));
    WORKS(store_last(st, &last, e));
    MUST(last.t == 1);
    WORKS(store_get(st, fhir_type_find(SV_LIT("Patient")), SV_LIT("canary"), STORE_NOW, a, &v, e));
    MUST(v.version == 1);
    store_registry_release(w.stores, st);
    arena_free(a);
}

static void open_world(void)
{
    char system[128], stores[128], spool[128], served[128], objects[128], credentials[128];
    w = (struct world){ 0 };
    (void)snprintf(w.root, sizeof w.root, "/tmp/fhirlake-fuzz-XXXXXX");
    MUST(mkdtemp(w.root));
    path(system, "system");
    path(stores, "stores");
    path(spool, "jobs");
    path(served, "exports");
    path(objects, "objects");
    path(credentials, "credentials");
    WORKS(file_mkdirs(objects, e));
    put_file("search.json",
             "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":"
             "\"healthlake:SearchWithGet\",\"Resource\":\"*\"}}");
    put_file("credentials",
             "[admin]\naws_access_key_id = AKIAADMIN\naws_secret_access_key = secret\n"
             "[searcher]\naws_access_key_id = AKIASEARCH\naws_secret_access_key = secret\n"
             "policy = search.json\n");
    WORKS(records_open(system, &w.records, e));
    w.env = store_env_new(8u << 20, 1);
    WORKS(store_registry_new(w.env, stores, &w.stores, e));
    struct sink_config sc = { .objects_dir = objects, .make_buckets = true };
    WORKS(sink_world_new(&sc, &w.sinks, e));
    struct job_engine_config jc = {
        .kinds = { [JOB_EXPORT] = &export_ops, [JOB_IMPORT] = &import_ops },
        .records = w.records,
        .stores = w.stores,
        .world = w.sinks,
        .spool_dir = spool,
        .served_dir = served,
        .n_workers = 2,
    };
    WORKS(job_engine_start(&jc, &w.jobs, e));
    struct auth_config ac = { .credentials_path = credentials,
                              .region = SV_LIT("us-east-1"),
                              .account_id = SV_LIT("000000000000") };
    WORKS(auth_new(&ac, &w.auth, e));
    struct service_config cfg = { .control = &aws_plane,
                                  .data = &rest_plane,
                                  .records = w.records,
                                  .stores = w.stores,
                                  .jobs = w.jobs,
                                  .auth = w.auth,
                                  .region = SV_LIT("us-east-1"),
                                  .account_id = SV_LIT("000000000000"),
                                  .n_workers = 2,
                                  .preload_patients = 1 };
    WORKS(service_new(&cfg, &w.service, e));
    ask("POST / HTTP/1.1\nContent-Type: application/x-amz-json-1.0\nX-Amz-Target: "
        "HealthLake.CreateFHIRDatastore\n\n{\"DatastoreTypeVersion\":\"R4\"}",
        200);
    while (!is_active())
        (void)usleep(1000);
    ask_fhir("PUT", "Patient/a",
             "{\"resourceType\":\"Patient\",\"id\":\"a\",\"name\":[{\"family\":\"A\"}]}", 201);
    ask_fhir("PUT", "Patient/a",
             "{\"resourceType\":\"Patient\",\"id\":\"a\",\"name\":[{\"family\":\"B\"}]}", 200);
    ask_fhir(
        "PUT", "Observation/o",
        "{\"resourceType\":\"Observation\",\"id\":\"o\",\"status\":\"final\",\"code\":{\"coding\":["
        "{\"code\":"
        "\"c\"}]},\"subject\":{\"reference\":\"Patient/a\"},\"effectiveDateTime\":\"2020-01-02\","
        "\"valueQuantity\":{\"value\":5}}",
        201);
    ask_fhir("PUT", "Patient/gone", "{\"resourceType\":\"Patient\",\"id\":\"gone\"}", 201);
    ask_fhir("DELETE", "Patient/gone", "", 204);
    ask_fhir("PUT", "Group/g",
             "{\"resourceType\":\"Group\",\"id\":\"g\",\"type\":\"person\",\"actual\":true,"
             "\"member\":[{\"entity\":{"
             "\"reference\":\"Patient/a\"}}]}",
             201);
    set_canary();
}

static void close_world(void)
{
    /* a folder that stays does no harm */
    struct err ignored;
    canary_lives();
    service_free(w.service);
    job_engine_stop(w.jobs);
    store_registry_free(w.stores);
    store_env_free(w.env);
    sink_world_free(w.sinks);
    auth_free(w.auth);
    records_close(w.records);
    IGNORE(file_remove_tree(w.root, &ignored));
    (void)malloc_trim(0);
}

static void at_exit(void)
{
    if (w.service)
        close_world();
}

/* ---- one request ---- */

/* The input with its words put in. */
static bool spell(sv in, struct buf *out)
{
    while (in.len) {
        const char *s = memmem(in.ptr, in.len, "STORE", 5), *j = memmem(in.ptr, in.len, "JOBID", 5);
        const char *at = s && (!j || s < j) ? s : j;
        size_t n = at ? (size_t)(at - in.ptr) : in.len;
        if (buf_add(out, sv_head(in, n), NULL) != ERR_OK)
            return false;
        if (at && buf_add(out, sv_from(at == s ? w.store : w.job), NULL) != ERR_OK)
            return false;
        in = sv_tail(in, n + (at ? 5 : 0));
    }
    return true;
}

static bool is_json(const struct loopback_answer *a)
{
    sv kind = loopback_header(a, "Content-Type");
    return memmem(kind.ptr ? kind.ptr : "", kind.len, "json", 4) &&
           !sv_ends(kind, SV_LIT("ndjson")) &&
           !sv_starts(loopback_header(a, "Content-Encoding"), SV_LIT("gzip"));
}

static void check(sv raw, const struct loopback_answer *a, bool signed_request)
{
    struct arena *mem = arena_new(512u << 20);
    yyjson_doc *doc = NULL;
    struct err e;
    sv target = sv_tail(raw, sv_find(raw, ' ') + 1);
    bool fhir = sv_starts(target, SV_LIT("/datastore/")), raw_answer = false;
    if (a->status == 500 || a->status < 200 || a->status > 599) {
        (void)fprintf(stderr, "status %u: %.*s\n", a->status,
                      SV_FMT(sv_head(buf_sv(&a->body), 500)));
        abort();
    }
    if (!signed_request && fhir)
        MUST(a->status >= 400);
    if (a->body.len && is_json(a))
        MUST(json_read(mem, buf_sv(&a->body), 1000, &doc, &e) == ERR_OK);
    else
        raw_answer = true;
    if (fhir && a->status >= 400 && a->body.len)
        MUST(!raw_answer && sv_eq(json_string(json_get(yyjson_doc_get_root(doc), "resourceType")),
                                  SV_LIT("OperationOutcome")));
    arena_free(mem);
}

static void remember_job(const struct loopback_answer *a)
{
    sv at = loopback_header(a, "Content-Location");
    size_t slash = at.len;
    while (slash && at.ptr[slash - 1] != '/')
        slash--;
    if (a->status == 202 && at.len - slash == 32)
        (void)snprintf(w.job, sizeof w.job, "%.*s", (int)(at.len - slash), at.ptr + slash);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_level_set(LOG_OFF);
    open_world();
    (void)atexit(at_exit);
    return 0;
}

FUZZ(data)
{
    struct buf raw = BUF_INIT(REQUEST_MAX);
    struct loopback_answer a;
    if (data.len < 2)
        return;
    bool sign = data.ptr[0] & 1, searcher = data.ptr[0] & 2;
    if (spell(sv_tail(data, 1), &raw)) {
        loopback_send(w.service, buf_sv(&raw), sign ? keys(searcher) : NULL, &a);
        if (a.status) {
            check(buf_sv(&raw), &a, sign);
            remember_job(&a);
        }
        loopback_answer_done(&a);
    }
    buf_done(&raw);
    if (++w.n % CHECK_EVERY == 0)
        canary_lives();
    if (w.n < INPUTS_EACH && is_active())
        return;
    close_world();
    open_world();
}
