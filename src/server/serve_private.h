/* serve_private.h - what the rooms of the server share.
 *
 *   audit.c          the audit log
 *   callers.c        the callers' files and the other options
 *   clients.c        our own token endpoint, and its clients' file
 *   config.c         the options
 *   config_listen.c  their rules about where the server listens
 *   control.c        a socket for commands of this machine
 *   exports.c        where the files of served exports are
 *   front.c          the line that says where the server is reached
 *   guard.c          what others on this machine can see
 *   keys.c           who wraps the keys of encrypted data stores
 *   kms.c            the Key Management Service, and fhirlake's own keys for other services
 *   machine.c        what this machine gives
 *   monitor/         the listener for a monitor, what /health and /metrics say, the process; what
 *                    systemd is told
 *   news.c           the sender of events: begun, and what it has to say
 *   rates.c          the rates of --quotas
 *   store.c          where data stores and records are: in DATA, or in a database
 *   tls.c            the files of the certificate, and of the authorities of callers
 *   tls_own.c        a certificate of our own
 *   watch.c          files that are read again when they change
 *   serve.c          the process: all rooms up, a signal, all rooms down
 * Floor: server. */
#pragma once
#include "audit/audit.h"
#include "auth/auth.h"
#include "auth/bearer/bearer.h"
#include "auth/issue/issue.h"
#include "codec/hash.h"
#include "event/event.h"
#include "job/job.h"
#include "kms/kms.h"
#include "net/http_server.h"
#include "server/config.h"
#include "server/control.h"
#include "service/metrics.h"
#include "service/quota.h"
#include "store/records.h"
#include "store/registry.h"

#include <limits.h>
#include <signal.h>
#include <sys/types.h>

/* ---- watch.c ---- */
#define WATCH_MAX   10u /* groups of files */
#define WATCH_PATHS 2u
struct watch_files {                /* what is read together; all borrowed until watch_free() */
    const char *event;              /* of the lines of the log */
    const char *note;               /* of a refusal: what goes on instead */
    const char *paths[WATCH_PATHS]; /* the first one is told; NULL behind the last */
    /* Are they as they were before they were read? NULL: paths alone says so. */
    bool (*as_read)(void *ctx, unsigned char look[SHA256_LEN]);
    /* Reads them, and has them count; on failure nothing changes. From the watch's thread. The
     * message goes to the log: it holds no value of a file. */
    err_code (*read)(void *ctx, struct err *e);
    void *ctx;
};
struct watch;
struct watch *watch_new(void);
/* Before watch_start(), and before the files are read for the first time. */
void watch_add(struct watch *watch, const struct watch_files *files);
MUST_USE err_code watch_start(struct watch *watch, struct err *e);
/* All are read now, changed or not. */
void watch_ask(struct watch *watch);
/* Behind it nothing is read any more. NULL is allowed. */
void watch_free(struct watch *watch);

/* ---- callers.c ---- */
struct callers { /* borrowed until watch_free() */
    struct auth *auth;
    struct server_config *config;
};
/* Has the files read again: those that auth takes. */
void callers_watch(struct callers *callers, const char *credentials, const char *providers,
                   struct watch *watch);
/* For auth_show() and auth_reload(): do the callers go with the other options? A line of the log
 * about them, and one for each action of their policies that is none. */
err_code callers_check(void *config, const struct credentials *credentials, struct err *e);
err_code callers_tell(void *state, const struct credentials *credentials, struct err *e);
/* Likewise of the roles of access tokens, for bearer_show() and bearer_reload(). */
err_code callers_check_roles(void *config, const struct providers *providers, struct err *e);
err_code callers_tell_roles(void *state, const struct providers *providers, struct err *e);

/* ---- clients.c ---- */
struct clients_room {
    char path[PATH_MAX]; /* of the file of clients */
    struct issue *issue; /* NULL: there is no such file, and no token endpoint */
};
/* room is zeroed, and stays where it is until issue_close(). ERR_INVALID: the file, or the other
 * options do not go with it; errors of issue_open(). */
MUST_USE err_code clients_room_open(const struct server_config *config, struct records *records,
                                    struct clients_room *room, struct err *e);

/* ---- config_listen.c ---- */
MUST_USE err_code server_config_check_listening(const struct server_config *config, struct err *e);

/* ---- tls.c ---- */
struct tls;
/* *out is NULL when config asks for no TLS. The files are read again as long as watch is there. The
 * error names option and file. */
MUST_USE err_code tls_open(const struct server_config *config, struct watch *watch,
                           struct tls **out, struct err *e);
/* Behind watch_free(). */
void tls_close(struct tls *tls);
struct http_tls *tls_of(struct tls *tls); /* NULL of NULL */
/* When the certificate that is shown expires; 0 of NULL. */
int64_t tls_until_ms(struct tls *tls);
/* The file of a certificate that callers do not know by themselves; or NULL. */
const char *tls_own_certificate(const struct tls *tls);
/* For http_server_config.handshakes: a line of the log. */
void tls_log_handshakes(void *ctx, const struct http_handshakes *failed);

/* ---- tls_own.c ---- */
/* Makes DATA/tls/certificate.pem and key.pem, unless they are there, hold for a month yet and name
 * host. */
MUST_USE err_code tls_own_make(const char *data, sv host, char certificate[PATH_MAX],
                               char key[PATH_MAX], struct err *e);

/* ---- front.c ---- */
struct monitor;
struct front {
    struct http_server *http;
    struct monitor *monitor; /* or NULL */
    struct tls *tls;         /* NULL: plain HTTP */
    bool console;            /* it is served */
};
/* The ready line. keys: the callers' file; NULL: nobody has keys. */
void front_tell(const struct front *front, const char *keys, bool new_keys);

/* ---- store.c ---- */
struct store_room {
    bool is_remote;      /* a database of a server */
    char mark[PATH_MAX]; /* there when the data folder has been used before */
    char records[sizeof "rocksdb:" + PATH_MAX], stores[sizeof "rocksdb:" + PATH_MAX]; /* URIs */
    bool is_locked;
    int lock_fd; /* of DATA, when it is */
};
/* Do the options about the store go together? ERR_INVALID names one. */
MUST_USE err_code store_room_check(const struct server_config *config, struct err *e);
/* Where they are, before anything is opened. ERR_CONFLICT: DATA was used with the other engine. */
MUST_USE err_code store_room_look(const struct server_config *config, struct store_room *room,
                                  struct err *e);
/* The records, and what the log should say of the database. The message may name host, user and
 * database, and has no password. ERR_EXISTS: another process has DATA; ERR_CONFLICT: DATA goes with
 * another database; errors of store_ready() and records_open(). */
MUST_USE err_code store_room_open(const struct server_config *config, struct store_room *room,
                                  struct records **out, struct err *e);
/* Others may have DATA. Behind all that writes there. */
void store_room_close(struct store_room *room);
/* The number of the database, which gets one when it is new. */
#define STORE_NUMBER_LEN 32u
MUST_USE err_code store_room_number(struct records *records, char out[STORE_NUMBER_LEN + 1],
                                    struct err *e);
/* ERR_CONFLICT: there are data stores of an older layout. */
MUST_USE err_code store_room_check_layouts(const struct server_config *config,
                                           const struct store_room *room, struct err *e);

/* ---- rates.c ---- */
struct service;
struct rates {
    const char *which;        /* of --quotas */
    bool given;               /* it is not none */
    struct quota_rates first; /* at the start */
    struct service *service;  /* whose rates change; set before watch_start() */
};
/* The error names the option and the file. */
MUST_USE err_code rates_open(struct rates *rates, const char *which, struct watch *watch,
                             struct err *e);

/* ---- kms.c ---- */
/* fhirlake's own keys: --s3-credentials, else AWS's environment variables. ERR_INVALID: there are
 * none, and option needs them. Strings are the arena's or the environment's. */
MUST_USE err_code own_credentials(const struct server_config *config, const char *option,
                                  struct arena *a, struct s3_credentials *out, struct err *e);
struct kms_room { /* stays where it is */
    struct s3_endpoint endpoint;
    struct s3_held *own;
    struct kms *kms; /* under these; NULL: the options name none */
};
/* own: the keys; untouched when the options name no KMS. */
MUST_USE err_code kms_room_open(const struct server_config *config, struct arena *a,
                                struct kms_room *out, struct s3_credentials *own, struct err *e);
void kms_room_close(struct kms_room *room);
struct sink_world;
struct own_keys { /* where fhirlake's own keys are used; borrowed until watch_free() */
    const char *path;
    struct sink_world *world, *exports; /* set before watch_start(); exports: or NULL */
    struct kms_room *kms;
};
/* Before they are read for the first time. path: of --s3-credentials; NULL: they are not read
 * again. */
void own_watch(struct own_keys *own, const char *path, struct watch *watch);

/* ---- exports.c ---- */
struct exports_room {
    char dir[PATH_MAX];               /* DATA/exports, or the directory that is shared */
    char owner[STORE_NUMBER_LEN + 1]; /* of a shared place: the database's number; else "" */
    struct sink_world *world;         /* of a place in S3; else NULL */
};
/* ERR_INVALID: --export-files does not go with the other options. */
MUST_USE err_code exports_room_check(const struct server_config *config, struct err *e);
/* s3: the endpoint that the options name. Errors name the option. */
MUST_USE err_code exports_room_open(const struct server_config *config,
                                    const struct s3_endpoint *s3, struct records *records,
                                    struct arena *a, struct exports_room *room, struct err *e);
/* Members of jobs about the place; borrowed from both. */
void exports_room_tell(const struct server_config *config, const struct exports_room *room,
                       struct job_engine_config *jobs);
void exports_room_close(struct exports_room *room);

/* ---- audit.c ---- */
/* The audit log that the options name; *out stays as it is when they name none. */
MUST_USE err_code audit_room_open(const struct server_config *config, struct audit **out,
                                  struct err *e);
struct parking;
struct audit_room { /* who is told of the ends of jobs, and of backups */
    struct parking *parking;
    struct audit *audit; /* NULL: none */
    sv region, account_id;
    bool strict; /* without an audit log that can be written nothing is read */
};
/* For job_engine_config.ended: ctx is a struct audit_room. */
void audit_room_job_ended(void *ctx, const struct job_end *end);
/* May all data stores be read for a backup? ERR_NO_AUDIT. */
MUST_USE err_code audit_room_ready(const struct audit_room *room, struct err *e);
/* A process of that user asked for a snapshot, and it was taken or not. */
void audit_room_backup(const struct audit_room *room, uint64_t user_id, bool taken);

/* ---- guard.c ---- */
/* Memory holds keys and patients' data: no core file, and no look into it by others of the same
 * user, unless core_dumps. */
void guard_memory(bool core_dumps);
/* A folder that only this program uses is its owner's alone from now on. name: for the log. */
void guard_folder(const char *path, const char *name);
/* Tells when a folder that was never a data folder holds something else. Before anything is made in
 * it. */
void guard_first_use(const char *path, const char *system_path);
/* Tells when others may write into the data folder, which may be shared on purpose. */
void guard_data_folder(const char *path);

/* ---- control.c ---- */
struct control;
/* Snapshots of the data folder, for whoever may use it. *out is to be stopped even if this fails.
 *   told  borrowed */
MUST_USE err_code control_start(const struct server_config *config, struct records *records,
                                struct store_registry *stores, const struct audit_room *told,
                                struct control **out, struct err *e);
void control_stop(struct control *c); /* NULL: nothing */

/* ---- keys.c ---- */
struct key_keeper;
/* Who wraps data keys, as the options say; given to env. *out stays as it is when there are none.
 * The error names the option. */
MUST_USE err_code keys_open(const struct server_config *config, struct kms *kms,
                            struct store_env *env, struct key_keeper **out, struct err *e);
void keys_close(struct key_keeper *keeper); /* behind env; NULL: nothing */

/* ---- machine.c ---- */
struct machine_files { /* how descriptors are shared out */
    unsigned n_bodies, n_answers;
    struct store_bounds stores;
};
/* Of n descriptors at most a quarter are the connections', some are the jobs' and the door's, and
 * the rest is the data stores'. */
struct machine_files machine_share(unsigned n, unsigned *max_connections);
/* Takes all descriptors that the process may have. max_connections becomes less when they
 * are few; then the log says so. */
struct machine_files machine_share_files(struct server_config *config);
/* Tells of options that this machine cannot meet; they may be made for a larger one. */
void machine_check_sizes(const struct server_config *config);

/* ---- news.c ---- */
/* Starts the sender that --events-url asks for. What it has to say goes to the log. Nothing is
 * started without that option; then *out stays as it is. */
struct news { /* borrowed until watch_free() */
    const char *token_file;
    struct events *events; /* NULL: the options name no endpoint */
};
MUST_USE err_code news_start(const struct server_config *config, struct records *records,
                             struct watch *watch, struct news *out, struct err *e);

struct store_reindex;
/* store_reindex_fn: a line of the log for each state, and one a while for how far it is. */
void news_reindex(void *ctx, const struct store_reindex *r);

/* ---- process.c ---- */
/* The families process_*: processor time, memory, descriptors, and when the process began. */
void process_write(struct prometheus *out);
/* Bytes of the disk that a folder with all below it takes; 0 when it is not there. */
uint64_t process_folder_bytes(const char *path);

/* ---- page.c ---- */
struct page_sources { /* borrowed */
    struct metrics *metrics;
    struct job_engine *jobs;
    struct store_registry *stores;
    struct http_server *http;
    struct events *events; /* NULL: nobody is told */
    struct audit *audit;   /* NULL: there is none */
    struct tls *tls;       /* NULL: plain HTTP */
    struct auth *auth;
    const char *data; /* the data folder */
};
struct page; /* what it keeps from one time to the next; one thread at a time */
struct page *page_new(const struct page_sources *sources);
void page_free(struct page *page);
/* The whole text, appended. ERR_TOO_LARGE. */
MUST_USE err_code page_write(struct page *page, struct buf *out, struct err *e);

/* ---- systemd.c ---- */
/* Whoever started the process is told, if he asks for it. Any thread.
 *   text  of sd_notify(3): "READY=1" */
void systemd_tell(const char *text);
/* Files are about to be read again; "READY=1" is to follow. */
void systemd_reloading(void);
/* The next signal of the set. Meanwhile the watchdog that systemd asks for is fed as long as http
 * does its work. NULL: as long as this thread lives. */
int systemd_signal(const sigset_t *set, struct http_server *http);

/* ---- monitor.c ---- */
#define MONITOR_TOKEN_MIN 16u
#define MONITOR_TOKEN_MAX 4096u
struct monitor_config {
    const char *listen;
    const char *token_file; /* NULL: loopback alone is told the metrics */
    struct watch *watch;    /* has it read again; ended before the monitor */
    struct page_sources sources;
};
struct monitor;
/* Starts the listener. ERR_DENIED: others can read the file; ERR_INVALID: it holds no token;
 * errors of http_server_start(). The message names the option. */
MUST_USE err_code monitor_start(const struct monitor_config *cfg, struct monitor **out,
                                struct err *e);
sv monitor_address(const struct monitor *monitor);
void monitor_stop(struct monitor *monitor); /* NULL is allowed */
