/* serve.c - one process: configuration, the rooms from the ground up, the ready line, a signal, and
 * the rooms down again in reverse order.
 *
 *   DATA/credentials   the callers' keys (made on the first start)
 *   DATA/system        records: data stores, jobs, tokens, tags
 *   DATA/stores/<id>   one store per data store
 *   DATA/jobs/<id>     scratch of unfinished jobs
 *   DATA/objects       s3:// as a directory, unless another or an endpoint is given */
#include "server/serve.h"

#include "auth/credentials.h"
#include "aws/aws.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "codec/uri.h"
#include "export/export.h"
#include "import/import.h"
#include "rest/rest.h"
#include "server/actions.h"
#include "server/serve_private.h"
#include "service/parked.h"
#include "service/service.h"

#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRAIN_MS      15000u     /* a stopping server waits so long for answers under way */
#define STOP_S        60u        /* a hung peer must not keep a stopping process longer */
#define BACKGROUND    2u         /* threads of the stores that flush and compact */
#define HEAPS         4          /* of malloc: memory freed by one thread serves the others */
#define OPTIONS_BYTES (1u << 20) /* of all texts of the options */
#define HOUR_MS       3600000LL
#define WAITERS_PART  4u /* of the connections: so many may wait for the end of a job */

struct rooms {
    struct arena *arena;
    struct server_config cfg;
    unsigned n_workers;
    bool new_key;
    char credentials_path[PATH_MAX], objects_path[PATH_MAX], system_path[PATH_MAX];
    char stores_path[PATH_MAX], jobs_path[PATH_MAX], exports_path[PATH_MAX];
    struct s3_endpoint s3, sts;
    struct auth *auth;
    struct sink_world *world;
    struct records *records;
    struct store_env *env;
    struct store_registry *stores;
    struct parking *parking;
    struct job_engine *jobs;
    struct service *service;
    struct http_server *http;
};

static err_code path_in(char out[PATH_MAX], const char *dir, const char *name, struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
    return n > 0 && n < PATH_MAX ? ERR_OK : ERR(e, ERR_INVALID, "--data is too long a path");
}

/* ---- the callers ---- */

/* The files below say what is wrong with them, not which they are. */
static err_code naming(const char *option, const char *path, err_code rc, struct err *e)
{
    char was[ERR_CTX_LEN + 2 + ERR_MSG_LEN];
    if (rc == ERR_OK)
        return rc;
    (void)snprintf(was, sizeof was, "%s%s%s", e->ctx, e->ctx[0] ? ": " : "", e->msg);
    return ERR(e, rc, "%s %.200s: %s", option, path, was);
}

static err_code open_auth(struct rooms *r, struct err *e)
{
    struct auth_config ac = { .region = sv_from(r->cfg.region),
                              .account_id = sv_from(r->cfg.account_id),
                              .unsigned_payload = r->cfg.unsigned_payload };
    if (strcmp(r->cfg.auth, "none") == 0) {
        ac.open = true;
        return auth_new(&ac, &r->auth, e);
    }
    if (r->cfg.credentials)
        (void)snprintf(r->credentials_path, PATH_MAX, "%s", r->cfg.credentials);
    else if (access(r->credentials_path, F_OK) != 0) {
        TRY(credentials_create(r->credentials_path, e));
        r->new_key = true;
    }
    ac.credentials_path = r->credentials_path;
    return naming("--credentials", r->credentials_path, auth_new(&ac, &r->auth, e), e);
}

/* ---- the world outside ---- */

static void set_endpoint(struct s3_endpoint *ep, const struct server_config *c, const char *url)
{
    *ep = (struct s3_endpoint){ .url = sv_from(url), .region = sv_from(c->region) };
    if (strcmp(c->s3_addressing, "path") == 0)
        ep->addressing = S3_ADDRESSING_PATH;
    else if (strcmp(c->s3_addressing, "virtual") == 0)
        ep->addressing = S3_ADDRESSING_VIRTUAL;
}

/* fhirlake's own keys: a file in AWS's shared format, else AWS's environment variables. */
static err_code own_credentials(struct rooms *r, struct s3_credentials *out, struct err *e)
{
    if (r->cfg.s3_credentials)
        return credentials_own_load(r->cfg.s3_credentials, r->arena, &out->access_key_id,
                                    &out->secret_key, &out->session_token, e);
    out->access_key_id = sv_from(getenv("AWS_ACCESS_KEY_ID"));
    out->secret_key = sv_from(getenv("AWS_SECRET_ACCESS_KEY"));
    out->session_token = sv_from(getenv("AWS_SESSION_TOKEN"));
    return ERR_OK;
}

/* A policy that confines a caller, and lets him pass a role, means that the role confines him too.
 * With a directory as s3:// and nothing that says what a role may touch, he could import what
 * others exported. */
static err_code check_roles(const struct rooms *r, struct err *e)
{
    sv who = auth_role_passer(r->auth);
    if (who.ptr == NULL || r->cfg.roles || r->cfg.sts_endpoint || r->cfg.s3_endpoint)
        return ERR_OK;
    return ERR(e, ERR_INVALID,
               "section [%.*s] of the credentials file has a policy that allows iam:PassRole, but "
               "nothing says what a role may touch, so that every role reads and writes every "
               "bucket: give --roles FILE or --sts-endpoint URL; or --roles none if that is meant",
               SV_FMT(who));
}

static err_code open_world(struct rooms *r, struct err *e)
{
    const struct server_config *c = &r->cfg;
    bool no_roles = c->roles && strcmp(c->roles, "none") == 0;
    TRY(check_roles(r, e));
    struct sink_config sc = { .roles_file = no_roles ? NULL : c->roles,
                              .make_buckets = c->make_buckets,
                              .sync = c->sync_objects };
    if (c->s3_endpoint) {
        set_endpoint(&r->s3, c, c->s3_endpoint);
        sc.s3 = &r->s3;
    } else {
        if (c->objects)
            (void)snprintf(r->objects_path, PATH_MAX, "%s", c->objects);
        TRY(naming("--objects", r->objects_path, file_mkdirs(r->objects_path, e), e));
        sc.objects_dir = r->objects_path;
    }
    if (c->sts_endpoint) {
        set_endpoint(&r->sts, c, c->sts_endpoint);
        sc.sts = &r->sts;
        TRY(own_credentials(r, &sc.own, e));
        if (sc.own.access_key_id.len == 0 || sc.own.secret_key.len == 0)
            return ERR(e, ERR_INVALID,
                       "--sts-endpoint needs fhirlake's own keys: give --s3-credentials FILE, or "
                       "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment");
    }
    err_code rc = sink_world_new(&sc, &r->world, e);
    TRY(sc.roles_file ? naming("--roles", sc.roles_file, rc, e) : rc);
    if (sc.objects_dir)
        LOG(LOG_INFO, "objects", LOG_STR("store", "directory"), LOG_STR("encryption", "none"),
            LOG_STR(
                "note",
                "objects are plain files for this machine only; KmsKeyId is checked, not used"));
    if (sc.objects_dir && !sc.sts && !sc.roles_file)
        LOG(LOG_WARN, "roles", LOG_STR("check", "none"),
            LOG_STR("note",
                    no_roles ? "any well-formed DataAccessRoleArn is accepted, as --roles none asks"
                             : "any well-formed DataAccessRoleArn is accepted; give --roles or "
                               "--sts-endpoint"));
    return ERR_OK;
}

/* ---- what data stores do on their own ---- */

#define REINDEX_LOG_US (30u * 1000000u) /* progress is worth a line that often */

static void on_reindex(void *ctx, const struct store_reindex *r)
{
    static const char *const states[] = { "begun", "under way", "done", "stopped", "failed" };
    /* When progress of any data store was told last. */
    static _Atomic uint64_t last_us;
    (void)ctx;
    if (r->state == STORE_REINDEX_UNDER_WAY && clock_mono_us() - last_us < REINDEX_LOG_US)
        return;
    last_us = clock_mono_us();
    if (r->state == STORE_REINDEX_FAILED) {
        LOG_ERR("search-index", r->why, LOG_SV("datastore", r->store), LOG_STR("state", "failed"),
                LOG_INT("versions", r->n_done),
                LOG_STR("note", "searches read resources until the server is started again"));
        return;
    }
    LOG(LOG_INFO, "search-index", LOG_SV("datastore", r->store), LOG_STR("state", states[r->state]),
        LOG_INT("versions", r->n_done), LOG_STR("note", "entries of an older form are made anew"));
}

/* ---- up and down ---- */

static struct job_served_limits served_limits(const struct server_config *c)
{
    return (struct job_served_limits){
        .per_store = c->max_served_exports,
        .per_caller = c->max_served_exports_caller,
        .copies = c->max_served_copies,
        .store_bytes = (uint64_t)c->max_served_export_mib << 20,
        .caller_bytes = (uint64_t)c->max_served_export_mib_caller << 20,
    };
}

static err_code rooms_open(struct rooms *r, struct err *e)
{
    const struct server_config *c = &r->cfg;
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    r->n_workers = c->workers ? c->workers : n_cpus < 2 ? 2 : (unsigned)n_cpus;
    if (r->n_workers > LIMIT_WORKERS)
        r->n_workers = LIMIT_WORKERS;
    TRY(path_in(r->credentials_path, c->data, "credentials", e));
    TRY(path_in(r->objects_path, c->data, "objects", e));
    TRY(path_in(r->system_path, c->data, "system", e));
    TRY(path_in(r->stores_path, c->data, "stores", e));
    TRY(path_in(r->jobs_path, c->data, "jobs", e));
    TRY(path_in(r->exports_path, c->data, "exports", e));
    TRY(naming("--data", c->data, file_mkdirs(c->data, e), e));
    TRY(file_mkdirs(r->stores_path, e));
    TRY(file_mkdirs(r->jobs_path, e));
    guard_data_folder(c->data);
    machine_check_sizes(c);
    guard_folder(r->system_path, "system");
    guard_folder(r->stores_path, "stores");
    guard_folder(r->jobs_path, "jobs");
    guard_folder(r->exports_path, "exports");
    struct machine_files files = machine_share_files(&r->cfg);
    char uri[sizeof "rocksdb:" + PATH_MAX]; /* a folder's name may hold a colon */
    (void)snprintf(uri, sizeof uri, "rocksdb:%s", r->system_path);
    err_code rc = records_open(uri, &r->records, e);
    if (rc == ERR_EXISTS)
        return ERR(e, ERR_EXISTS, "data folder %s is in use by another fhirlake", c->data);
    TRY(rc);
    TRY(open_auth(r, e));
    TRY(open_world(r, e));
    r->env = store_env_new((size_t)c->cache_mib << 20, BACKGROUND);
    store_env_on_reindex(r->env, on_reindex, NULL);
    (void)snprintf(uri, sizeof uri, "rocksdb:%s", r->stores_path);
    TRY(store_registry_new(r->env, uri, &r->stores, e));
    /* A caller who waits for a job holds a connection. */
    unsigned may_wait = c->max_connections / WAITERS_PART;
    struct parking_config pc = { may_wait < PARKED_MAX ? may_wait : PARKED_MAX, PARKED_WAIT_US,
                                 PARKED_PAUSE_US };
    TRY(parking_new(&pc, &r->parking, e));
    store_registry_bound(r->stores, &files.stores);
    struct job_engine_config jc = {
        .kinds = { [JOB_EXPORT] = &export_ops, [JOB_IMPORT] = &import_ops },
        .records = r->records,
        .stores = r->stores,
        .world = r->world,
        .spool_dir = r->jobs_path,
        .n_workers = r->n_workers,
        .served_dir = r->exports_path,
        .served_ms = c->export_retention_hours * HOUR_MS,
        .served_limits = served_limits(c),
        .min_free_bytes = (uint64_t)c->min_free_mib << 20,
        .ended = parking_wake,
        .ended_ctx = r->parking
    };
    TRY(job_engine_start(&jc, &r->jobs, e));
    struct service_config sc = { .control = &aws_plane,
                                 .data = &rest_plane,
                                 .records = r->records,
                                 .stores = r->stores,
                                 .jobs = r->jobs,
                                 .auth = r->auth,
                                 .parking = r->parking,
                                 .region = sv_from(c->region),
                                 .account_id = sv_from(c->account_id),
                                 .public_url = sv_from(c->public_url),
                                 .quotas_healthlake = strcmp(c->quotas, "healthlake") == 0,
                                 .max_datastores = c->max_datastores,
                                 .preload_patients = c->preload_patients };
    if (auth_credentials(r->auth))
        actions_check(auth_credentials(r->auth));
    TRY(service_new(&sc, &r->service, e));
    if (strcmp(c->auth, "none") == 0)
        LOG(LOG_WARN, "auth none",
            LOG_STR("note", "every program of this machine may read and write everything"));
    if (c->unsigned_payload)
        LOG(LOG_WARN, "unsigned payload",
            LOG_STR("note", "bodies that no signature covers are taken: put TLS in front"));
    if (c->core_dumps)
        LOG(LOG_WARN, "core dumps",
            LOG_STR("note", "a core file of a crash holds keys and patients' data"));
    if (c->plain_http && !server_config_is_loopback(sv_from(c->listen)))
        LOG(LOG_WARN, "plain http", LOG_STR("listen", c->listen),
            LOG_STR("note", "requests and answers can be read on the way: put TLS in front"));
    struct http_server_config hc = { .listen = sv_from(c->listen),
                                     .n_threads = r->n_workers,
                                     .limits = { .n = c->max_connections,
                                                 .n_per_address = c->max_connections_per_address,
                                                 .n_files = files.n_bodies,
                                                 .n_answer_files = files.n_answers },
                                     .idle_timeout_s = LIMIT_REQUEST_TIMEOUT_S,
                                     .spool_dir = c->data,
                                     .accept = service_accept,
                                     .handler = service_handle,
                                     .ctx = r->service };
    return http_server_start(&hc, &r->http, e);
}

static void rooms_close(struct rooms *r)
{
    /* Callers who wait for the end of a job are answered now. */
    parking_close(r->parking);
    http_server_stop(r->http, DRAIN_MS);
    service_free(r->service);
    job_engine_stop(r->jobs);
    parking_free(r->parking);
    store_registry_free(r->stores);
    store_env_free(r->env);
    sink_world_free(r->world);
    auth_free(r->auth);
    records_close(r->records);
}

static int run(struct rooms *r)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    /* before any thread exists: all inherit it */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    /* for what libraries make: RocksDB's files */
    (void)umask(077);
    guard_memory(r->cfg.core_dumps);
    (void)mallopt(M_ARENA_MAX, HEAPS);
    log_hold();

    struct err e = { 0 };
    int status = 0;
    if (rooms_open(r, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake: %s%s%s\n", e.ctx, e.ctx[0] ? ": " : "", e.msg);
        status = 1;
    } else {
        sv at = http_server_address(r->http);
        (void)printf("fhirlake ready on http://%.*s", SV_FMT(at));
        if (strcmp(r->cfg.auth, "none") != 0)
            (void)printf(" (%s in %s)", r->new_key ? "new key pair" : "keys", r->credentials_path);
        (void)printf("\n");
        (void)fflush(stdout);
        int sig = 0;
        sigwait(&set, &sig);
        LOG(LOG_INFO, "stopping", LOG_STR("signal", sig == SIGTERM ? "SIGTERM" : "SIGINT"));
        alarm(STOP_S);
    }
    rooms_close(r);
    log_release();
    return status;
}

int serve_main(int argc, char **argv)
{
    /* paths make it large for a stack */
    static struct rooms r;
    struct err e = { 0 };
    server_config_what what;
    extern char **environ;
    r.arena = arena_new(OPTIONS_BYTES);
    int status;
    if (server_config_read(argc, argv, environ, r.arena, &r.cfg, &what, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake serve: %s\n", e.msg);
        status = 2;
    } else if (what == SERVER_CONFIG_HELP) {
        server_config_help(stdout);
        status = 0;
    } else {
        log_level level = LOG_INFO;
        /* checked by the option's choices */
        (void)log_level_parse(sv_from(r.cfg.log_level), &level);
        log_level_set(level);
        status = run(&r);
    }
    arena_free(r.arena);
    return status;
}
