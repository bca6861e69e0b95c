/* serve.c - one process: configuration, the rooms from the ground up, the ready line, a signal, and
 * the rooms down again in reverse order.
 *
 *   DATA/credentials   the callers' keys (made on the first start)
 *   DATA/system        records: data stores, jobs, tokens, tags   (store.c: or a database)
 *   DATA/stores/<id>   one store per data store
 *   DATA/jobs/<id>     scratch of unfinished jobs
 *   DATA/objects       s3:// as a directory, unless another or an endpoint is given
 *   DATA/tls           a certificate of our own (--tls self-signed) */
#include "server/serve.h"

#include "auth/bearer/providers.h"
#include "auth/credentials.h"
#include "aws/aws.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "codec/uri.h"
#include "erase/erase.h"
#include "export/export.h"
#include "import/import.h"
#include "rest/rest.h"
#include "server/actions.h"
#include "server/serve_private.h"
#include "service/parked.h"
#include "service/service.h"
#include "store/nodes.h"

#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
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
    struct watch *watch;
    struct rates rates;
    char credentials_path[PATH_MAX], objects_path[PATH_MAX], system_path[PATH_MAX];
    char stores_path[PATH_MAX], jobs_path[PATH_MAX];
    struct exports_room exports;
    struct store_room place;
    struct s3_endpoint s3, sts;
    struct kms_room kms;
    struct own_keys own;
    struct auth *auth;
    struct callers callers;
    struct clients_room clients;
    struct sink_world *world;
    struct records *records;
    struct key_keeper *keeper; /* NULL: no keys, so no data store is encrypted */
    struct store_env *env;
    struct store_registry *stores;
    struct parking *parking;
    struct news news;
    struct metrics *metrics; /* NULL: nobody asks for them */
    struct audit *audit;     /* NULL: none */
    struct audit_room told;  /* when a job ends */
    struct job_engine *jobs;
    struct service *service;
    struct control *control;
    struct tls *tls;
    struct http_server *http;
    struct monitor *monitor;
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

static err_code open_auth(struct rooms *rooms, struct err *e)
{
    const char *identity = rooms->cfg.identity_providers;
    CLEANUP(providers_free) struct providers *providers = NULL;
    if (identity)
        TRY(naming("--identity-providers", identity, providers_load(identity, &providers, e), e));
    struct auth_config ac = { .region = sv_from(rooms->cfg.region),
                              .account_id = sv_from(rooms->cfg.account_id),
                              .unsigned_payload = rooms->cfg.unsigned_payload,
                              .providers = providers ? &providers : NULL };
    if (strcmp(rooms->cfg.auth, "none") == 0) {
        ac.open = true;
        return auth_new(&ac, &rooms->auth, e);
    }
    if (rooms->cfg.credentials)
        (void)snprintf(rooms->credentials_path, PATH_MAX, "%s", rooms->cfg.credentials);
    else if (access(rooms->credentials_path, F_OK) != 0) {
        TRY(credentials_create(rooms->credentials_path, e));
        rooms->new_key = true;
        if (rooms->place.is_remote)
            LOG(LOG_WARN, "credentials", LOG_STR("state", "made"),
                LOG_STR("note", "other nodes of this database do not know these keys: give all of "
                                "them one file, by --credentials"));
    }
    ac.credentials_path = rooms->credentials_path;
    return naming("--credentials", rooms->credentials_path, auth_new(&ac, &rooms->auth, e), e);
}

/* ---- the world outside ---- */

static void set_endpoint(struct s3_endpoint *ep, const struct server_config *config,
                         const char *url)
{
    *ep = (struct s3_endpoint){ .url = sv_from(url), .region = sv_from(config->region) };
    if (strcmp(config->s3_addressing, "path") == 0)
        ep->addressing = S3_ADDRESSING_PATH;
    else if (strcmp(config->s3_addressing, "virtual") == 0)
        ep->addressing = S3_ADDRESSING_VIRTUAL;
}

static err_code read_roles(void *ctx, struct err *e)
{
    struct rooms *rooms = ctx;
    TRY(sink_world_read_roles(rooms->world, rooms->cfg.roles, e));
    LOG(LOG_INFO, "roles", LOG_STR("state", "read again"), LOG_STR("file", rooms->cfg.roles));
    return ERR_OK;
}

static err_code open_world(struct rooms *rooms, struct err *e)
{
    const struct server_config *config = &rooms->cfg;
    bool at_roles = false, no_roles = config->roles && strcmp(config->roles, "none") == 0;
    TRY(auth_show(rooms->auth, callers_check, &rooms->cfg, e));
    if (auth_bearer(rooms->auth))
        TRY(bearer_show(auth_bearer(rooms->auth), callers_check_roles, &rooms->cfg, e));
    struct sink_config sc = { .roles_file = no_roles ? NULL : config->roles,
                              .make_buckets = config->make_buckets,
                              .sync = config->sync_objects,
                              .at_roles = &at_roles };
    if (config->s3_endpoint) {
        set_endpoint(&rooms->s3, config, config->s3_endpoint);
        sc.s3 = &rooms->s3;
    } else {
        if (config->objects)
            (void)snprintf(rooms->objects_path, PATH_MAX, "%s", config->objects);
        TRY(naming("--objects", rooms->objects_path, file_mkdirs(rooms->objects_path, e), e));
        sc.objects_dir = rooms->objects_path;
    }
    own_watch(&rooms->own,
              config->sts_endpoint || config->kms_endpoint || config->export_files
                  ? config->s3_credentials
                  : NULL,
              rooms->watch);
    if (config->sts_endpoint) {
        set_endpoint(&rooms->sts, config, config->sts_endpoint);
        sc.sts = &rooms->sts;
        TRY(own_credentials(config, "--sts-endpoint", rooms->arena, &sc.own, e));
    }
    TRY(kms_room_open(config, rooms->arena, &rooms->kms, &sc.own, e));
    if (rooms->kms.kms)
        sc.kms = &rooms->kms.endpoint;
    const struct watch_files roles = { .event = "roles",
                                       .note = "the roles before stay",
                                       .paths = { sc.roles_file },
                                       .read = read_roles,
                                       .ctx = rooms };
    if (sc.roles_file)
        watch_add(rooms->watch, &roles);
    err_code rc = sink_world_new(&sc, &rooms->world, e);
    TRY(at_roles ? naming("--roles", sc.roles_file, rc, e) : rc);
    TRY(exports_room_open(config, &rooms->s3, rooms->records, rooms->arena, &rooms->exports, e));
    rooms->own.world = rooms->world;
    rooms->own.exports = rooms->exports.world;
    rooms->own.kms = &rooms->kms;
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

/* ---- up and down ---- */

static struct job_served_limits served_limits(const struct server_config *config)
{
    return (struct job_served_limits){
        .per_store = config->max_served_exports,
        .per_caller = config->max_served_exports_caller,
        .copies = config->max_served_copies,
        .store_bytes = (uint64_t)config->max_served_export_mib << 20,
        .caller_bytes = (uint64_t)config->max_served_export_mib_caller << 20,
    };
}

/* Requests are counted when there is somebody to ask for the numbers. */
static void open_metrics(struct rooms *rooms)
{
    const char *names[ACTIONS_MAX];
    struct metrics_config mc = { .operations = names,
                                 .n_operations = actions_names(names, ACTIONS_MAX),
                                 .per_datastore = rooms->cfg.metrics_per_datastore };
    if (rooms->cfg.health_listen || rooms->cfg.console)
        rooms->metrics = metrics_new(&mc);
}

static err_code open_monitor(struct rooms *rooms, struct err *e)
{
    struct monitor_config mc = { .listen = rooms->cfg.health_listen,
                                 .watch = rooms->watch,
                                 .token_file = rooms->cfg.metrics_token_file,
                                 .sources = { .metrics = rooms->metrics,
                                              .jobs = rooms->jobs,
                                              .stores = rooms->stores,
                                              .http = rooms->http,
                                              .events = rooms->news.events,
                                              .audit = rooms->audit,
                                              .tls = rooms->tls,
                                              .auth = rooms->auth,
                                              .data = rooms->cfg.data } };
    return rooms->cfg.health_listen ? monitor_start(&mc, &rooms->monitor, e) : ERR_OK;
}

static bool count_other(void *ctx, const struct node_seen *seen)
{
    unsigned *n = ctx;
    *n += !seen->is_self && seen->quiet_ms < NODE_LOST_MS;
    return true;
}

/* For job_engine_config.is_alone. Who cannot be asked may be there. */
static bool is_alone(void *ctx)
{
    struct rooms *rooms = ctx;
    struct err e;
    unsigned n = 0;
    return nodes_list(rooms->records, count_other, &n, &e) == ERR_OK && n == 0;
}

static err_code rooms_open(struct rooms *rooms, struct err *e)
{
    const struct server_config *config = &rooms->cfg;
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    rooms->n_workers = config->workers ? config->workers : n_cpus < 2 ? 2 : (unsigned)n_cpus;
    if (rooms->n_workers > LIMIT_WORKERS)
        rooms->n_workers = LIMIT_WORKERS;
    TRY(path_in(rooms->credentials_path, config->data, "credentials", e));
    TRY(path_in(rooms->objects_path, config->data, "objects", e));
    TRY(path_in(rooms->system_path, config->data, "system", e));
    TRY(path_in(rooms->stores_path, config->data, "stores", e));
    TRY(path_in(rooms->jobs_path, config->data, "jobs", e));
    TRY(naming("--data", config->data, file_mkdirs(config->data, e), e));
    TRY(store_room_look(config, &rooms->place, e));
    guard_first_use(config->data, rooms->place.mark);
    if (!rooms->place.is_remote)
        TRY(naming("--data", config->data, file_mkdirs(rooms->stores_path, e), e));
    TRY(naming("--data", config->data, file_mkdirs(rooms->jobs_path, e), e));
    guard_data_folder(config->data);
    machine_check_sizes(config);
    guard_folder(rooms->system_path, "system");
    guard_folder(rooms->stores_path, "stores");
    guard_folder(rooms->jobs_path, "jobs");
    char exports_path[PATH_MAX];
    TRY(path_in(exports_path, config->data, "exports", e));
    guard_folder(exports_path, "exports");
    struct machine_files files = machine_share_files(&rooms->cfg);
    TRY(store_room_open(config, &rooms->place, &rooms->records, e));
    service_health_of(rooms->records);
    rooms->watch = watch_new();
    TRY(open_auth(rooms, e));
    TRY(clients_room_open(config, rooms->records, &rooms->clients, e));
    TRY(rates_open(&rooms->rates, config->quotas, rooms->watch, e));
    TRY(audit_room_open(config, &rooms->audit, e));
    TRY(open_world(rooms, e));
    TRY(tls_open(config, rooms->watch, &rooms->tls, e));
    rooms->env = store_env_new((size_t)config->cache_mib << 20, BACKGROUND);
    store_env_on_reindex(rooms->env, news_reindex, NULL);
    TRY(keys_open(config, rooms->kms.kms, rooms->env, &rooms->keeper, e));
    TRY(store_room_check_layouts(config, &rooms->place, e));
    TRY(store_registry_new(rooms->env, rooms->place.stores, &rooms->stores, e));
    /* A caller who waits for a job holds a connection. */
    unsigned may_wait = config->max_connections / WAITERS_PART;
    struct parking_config pc = { may_wait < PARKED_MAX ? may_wait : PARKED_MAX, PARKED_WAIT_US,
                                 PARKED_PAUSE_US };
    TRY(parking_new(&pc, &rooms->parking, e));
    store_registry_bound(rooms->stores, &files.stores);
    TRY(news_start(config, rooms->records, rooms->watch, &rooms->news, e));
    rooms->told = (struct audit_room){ rooms->parking, rooms->audit, sv_from(config->region),
                                       sv_from(config->account_id), config->audit_strict };
    struct job_engine_config jc = { .kinds = { &export_ops, &import_ops, &erase_ops },
                                    .records = rooms->records,
                                    .stores = rooms->stores,
                                    .world = rooms->world,
                                    .spool_dir = rooms->jobs_path,
                                    .n_workers = rooms->n_workers,
                                    .served_ms = config->export_retention_hours * HOUR_MS,
                                    .served_limits = served_limits(config),
                                    .min_free_bytes = (uint64_t)config->min_free_mib << 20,
                                    .no_reuse = !config->export_reuse,
                                    .events = rooms->news.events,
                                    .ended = audit_room_job_ended,
                                    .ended_ctx = &rooms->told };
    exports_room_tell(config, &rooms->exports, &jc);
    jc.is_alone = is_alone;
    jc.is_alone_ctx = rooms;
    TRY(job_engine_start(&jc, &rooms->jobs, e));
    open_metrics(rooms);
    struct service_config sc = { .control = &aws_plane,
                                 .data = &rest_plane,
                                 .records = rooms->records,
                                 .stores = rooms->stores,
                                 .jobs = rooms->jobs,
                                 .auth = rooms->auth,
                                 .issue = rooms->clients.issue,
                                 .kms = rooms->kms.kms,
                                 .parking = rooms->parking,
                                 .metrics = rooms->metrics,
                                 .events = rooms->news.events,
                                 .audit = rooms->audit,
                                 .audit_strict = config->audit_strict,
                                 .console = config->console,
                                 .region = sv_from(config->region),
                                 .account_id = sv_from(config->account_id),
                                 .public_url = sv_from(config->public_url),
                                 .quotas = rooms->rates.given ? &rooms->rates.first : NULL,
                                 .max_datastores = config->max_datastores,
                                 .preload_patients = config->preload_patients };
    TRY(auth_show(rooms->auth, callers_tell, "read", e));
    if (auth_bearer(rooms->auth))
        TRY(bearer_show(auth_bearer(rooms->auth), callers_tell_roles, "read", e));
    rooms->callers = (struct callers){ rooms->auth, &rooms->cfg };
    callers_watch(&rooms->callers, rooms->credentials_path, config->identity_providers,
                  rooms->watch);
    TRY(service_new(&sc, &rooms->service, e));
    rooms->rates.service = rooms->service;
    TRY(control_start(config, rooms->records, rooms->stores, &rooms->told, &rooms->control, e));
    if (strcmp(config->auth, "none") == 0)
        LOG(LOG_WARN, "auth none",
            LOG_STR("note", "every program of this machine may read and write everything"));
    if (config->unsigned_payload)
        LOG(LOG_WARN, "unsigned payload",
            LOG_STR("note", "bodies that no signature covers are taken: put TLS in front"));
    if (config->core_dumps)
        LOG(LOG_WARN, "core dumps",
            LOG_STR("note", "a core file of a crash holds keys and patients' data"));
    if (config->plain_http && rooms->tls == NULL &&
        !server_config_is_loopback(sv_from(config->listen)))
        LOG(LOG_WARN, "plain http", LOG_STR("listen", config->listen),
            LOG_STR("note", "requests and answers can be read on the way: put TLS in front"));
    struct http_server_config hc = { .listen = sv_from(config->listen),
                                     .tls = tls_of(rooms->tls),
                                     .hsts = tls_own_certificate(rooms->tls) == NULL,
                                     .handshakes = tls_log_handshakes,
                                     .n_threads = rooms->n_workers,
                                     .limits = { .n = config->max_connections,
                                                 .n_per_address =
                                                     config->max_connections_per_address,
                                                 .n_files = files.n_bodies,
                                                 .n_answer_files = files.n_answers },
                                     .idle_timeout_s = LIMIT_REQUEST_TIMEOUT_S,
                                     .spool_dir = config->data,
                                     .accept = service_accept,
                                     .handler = service_handle,
                                     .ctx = rooms->service };
    TRY(http_server_start(&hc, &rooms->http, e));
    TRY(open_monitor(rooms, e));
    return watch_start(rooms->watch, e);
}

static void rooms_close(struct rooms *rooms)
{
    /* Callers who wait for the end of a job are answered now. */
    parking_close(rooms->parking);
    watch_free(rooms->watch);
    monitor_stop(rooms->monitor);
    service_end(rooms->service);
    job_engine_close(rooms->jobs);
    http_server_stop(rooms->http, DRAIN_MS);
    control_stop(rooms->control);
    tls_close(rooms->tls);
    service_free(rooms->service);
    metrics_free(rooms->metrics);
    job_engine_stop(rooms->jobs);
    events_stop(rooms->news.events);
    audit_close(rooms->audit);
    parking_free(rooms->parking);
    store_registry_free(rooms->stores);
    store_env_free(rooms->env);
    keys_close(rooms->keeper);
    exports_room_close(&rooms->exports);
    sink_world_free(rooms->world);
    kms_room_close(&rooms->kms);
    auth_free(rooms->auth);
    issue_close(rooms->clients.issue);
    service_health_of(NULL);
    records_close(rooms->records);
    store_room_close(&rooms->place);
}

static int run(struct rooms *rooms)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    /* before any thread exists: all inherit it */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    /* for what libraries make: RocksDB's files */
    (void)umask(077);
    guard_memory(rooms->cfg.core_dumps);
    (void)mallopt(M_ARENA_MAX, HEAPS);
    log_hold();

    struct err e = { 0 };
    int status = 0;
    if (rooms_open(rooms, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake: %s%s%s\n", e.ctx, e.ctx[0] ? ": " : "", e.msg);
        status = 1;
    } else {
        const struct front front = { rooms->http, rooms->monitor, rooms->tls, rooms->cfg.console };
        bool open = strcmp(rooms->cfg.auth, "none") == 0;
        front_tell(&front, open ? NULL : rooms->credentials_path, rooms->new_key);
        systemd_tell("READY=1");
        int sig;
        struct http_server *looked_at = rooms->place.is_remote ? NULL : rooms->http;
        while ((sig = systemd_signal(&set, looked_at)) == SIGHUP)
            watch_ask(rooms->watch);
        systemd_tell("STOPPING=1");
        LOG(LOG_INFO, "stopping", LOG_STR("signal", sig == SIGTERM ? "SIGTERM" : "SIGINT"));
        alarm(STOP_S);
    }
    rooms_close(rooms);
    log_release();
    return status;
}

int serve_main(int argc, char **argv)
{
    /* paths make it large for a stack */
    static struct rooms rooms;
    struct err e = { 0 };
    server_config_what what;
    extern char **environ;
    rooms.arena = arena_new(OPTIONS_BYTES);
    int status;
    if (server_config_read(argc, argv, environ, rooms.arena, &rooms.cfg, &what, &e) != ERR_OK) {
        (void)fprintf(stderr, "fhirlake serve: %s\n", e.msg);
        status = 2;
    } else if (what == SERVER_CONFIG_HELP) {
        server_config_help(stdout);
        status = 0;
    } else {
        log_level level = LOG_INFO;
        /* checked by the option's choices */
        (void)log_level_parse(sv_from(rooms.cfg.log_level), &level);
        log_level_set(level);
        status = run(&rooms);
    }
    arena_free(rooms.arena);
    return status;
}
