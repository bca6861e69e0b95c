/* config.h - the options of `fhirlake serve`: command line, environment, INI file, defaults.
 *
 * One table of options says it all; --help and the checks print from it. An option --foo-bar is
 * FHIRLAKE_FOO_BAR in the environment and `foo-bar = value` in the file; the command line wins over
 * the environment, that over the file, that over the default.   Floor: server. */
#pragma once
#include "base/arena.h"
#include "base/log.h"

struct server_config {
    const char *listen;
    const char *data;
    const char *config;
    const char *store;      /* rocksdb, or the URI of a database; may hold a password */
    const char *store_read; /* as store, of standbys; NULL: none */
    const char *store_ack;  /* standby, local; NULL: standby, and a word if there is none */
    const char *objects;    /* NULL: DATA/objects, unless s3_endpoint is given */
    const char *s3_endpoint;
    const char *s3_addressing; /* auto, path, virtual */
    const char *sts_endpoint;
    const char *kms_endpoint;
    const char *roles;
    const char *s3_credentials;     /* fhirlake's own, AWS shared format; NULL: AWS_* environment */
    const char *credentials;        /* callers'; NULL: DATA/credentials */
    const char *auth;               /* sigv4, none */
    const char *identity_providers; /* NULL: no access token is taken */
    const char *smart_clients;      /* NULL: DATA/smart-clients, if it is there */
    const char *region;
    const char *account_id;
    const char *public_url;
    const char *quotas;              /* none, healthlake, or a file */
    const char *encryption_key_file; /* NULL: data stores are not encrypted */
    const char *audit;               /* NULL: no audit log */
    const char *log_level;
    unsigned workers; /* 0: processors, at least 2 */
    unsigned max_connections;
    unsigned max_connections_per_address; /* 0: a quarter, at least 8 */
    unsigned max_datastores;
    unsigned preload_patients;
    unsigned export_retention_hours;
    const char *export_files; /* NULL: in DATA */
    unsigned max_served_exports, max_served_exports_caller, max_served_copies;
    unsigned max_served_export_mib, max_served_export_mib_caller;
    unsigned min_free_mib; /* 0: by the disk */
    unsigned cache_mib;
    unsigned store_connections;     /* 0: as usual */
    unsigned store_timeout;         /* seconds; 0: as usual */
    const char *health_listen;      /* NULL: no listener for a monitor */
    const char *metrics_token_file; /* NULL: metrics are for loopback alone */
    bool metrics_per_datastore;
    const char *events_url; /* NULL: nobody is told */
    const char *events_token_file;
    unsigned events_tries;
    unsigned audit_segment_mib, audit_retention_days; /* days 0: for ever */
    bool unsigned_payload;
    bool core_dumps;
    bool audit_strict;
    bool console;
    bool plain_http; /* beyond loopback */
    const char *tls; /* self-signed, or NULL */
    const char *tls_certificate, *tls_key, *tls_client_ca, *tls_client_crl;
    bool make_buckets;
    bool sync_objects;
    bool export_reuse;
};

typedef enum { SERVER_CONFIG_RUN, SERVER_CONFIG_HELP } server_config_what;

/* argv[0] is the command's name ("serve"). Strings are owned by the arena.
 * ERR_INVALID names the option, where it was given, and what would be right. */
MUST_USE err_code server_config_read(int argc, char **argv, char **env, struct arena *a,
                                     struct server_config *out, server_config_what *what,
                                     struct err *e);
/* The text of --help, from the table. */
void server_config_help(FILE *f);
/* Is the host of HOST:PORT a loopback address (127.0.0.0/8, ::1, localhost)? */
bool server_config_is_loopback(sv listen);
/* Is HTTPS served? */
bool server_config_has_tls(const struct server_config *config);
