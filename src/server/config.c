/* config.c - the options of `fhirlake serve`.
 *
 * One table has a row for each option: where it stands in the help, its default, what it takes, and
 * where it goes in struct server_config. Help, environment, file and command line are all read by
 * that table. Defaults that are limits come from base/limits.h. check() holds the rules that join
 * several options; those about where the server listens are in config_listen.c. */
#include "server/serve_private.h"

#include "base/limits.h"
#include "base/log.h"
#include "codec/uri.h"
#include "event/event.h"

#include <ini.h>
#include <stddef.h>

enum kind { TEXT, NUMBER, FLAG };

/* In the order of --help; within a heading, that of the table. */
enum heading { NETWORK, STORAGE, SECURITY, JOBS, LIMITS, START, N_HEADINGS };
static const char *const headings[N_HEADINGS] = { "Network", "Storage", "Security",
                                                  "Jobs",    "Limits",  "Configuration and log" };

struct option {
    const char *name;
    enum heading heading;
    const char *value; /* shown in the help: what to give */
    const char *help;
    const char *fallback; /* TEXT, FLAG; NULL: stays NULL */
    enum kind kind;
    size_t offset;
    const char *choices; /* TEXT: "a|b", or NULL for any */
    unsigned min, max;   /* NUMBER */
    unsigned usual;      /* NUMBER: when nothing is said */
};
#define AT(member) offsetof(struct server_config, member)

static const struct option options[] = {
    { "listen", NETWORK, "HOST:PORT", "address to serve on; port 0 takes a free one",
      "127.0.0.1:8080", TEXT, AT(listen), NULL, 0, 0, 0 },
    { "data", STORAGE, "DIR", "where data stores, jobs and keys live", "./fhirlake-data", TEXT,
      AT(data), NULL, 0, 0, 0 },
    { "store", STORAGE, "rocksdb|URI",
      "data stores are in DATA, or in a database: postgresql://HOST/DATABASE", "rocksdb", TEXT,
      AT(store), NULL, 0, 0, 0 },
    { "store-connections", STORAGE, "N", "connections to the database, at most [32]", NULL, NUMBER,
      AT(store_connections), NULL, STORE_CONNECTIONS_LEAST, STORE_CONNECTIONS_MAX, 0 },
    { "store-read", STORAGE, "URI", "standbys of the database, that exports are read from", NULL,
      TEXT, AT(store_read), NULL, 0, 0, 0 },
    { "store-timeout", STORAGE, "SECONDS",
      "a read or a write of the database may take so long, a load ten times [60]", NULL, NUMBER,
      AT(store_timeout), NULL, STORE_TIMEOUT_LEAST, STORE_TIMEOUT_MAX, 0 },
    { "store-ack", STORAGE, "standby|local",
      "what is acknowledged is on a synchronous standby too, or on the database's own disk alone",
      NULL, TEXT, AT(store_ack), "standby|local", 0, 0, 0 },
    { "config", START, "FILE", "INI file with these options (name = value)", NULL, TEXT, AT(config),
      NULL, 0, 0, 0 },
    { "objects", STORAGE, "DIR", "s3:// is this directory: DIR/bucket/key [DATA/objects]", NULL,
      TEXT, AT(objects), NULL, 0, 0, 0 },
    { "s3-endpoint", STORAGE, "URL", "s3:// is this S3 endpoint (AWS, MinIO, Ceph ...)", NULL, TEXT,
      AT(s3_endpoint), NULL, 0, 0, 0 },
    { "s3-addressing", STORAGE, "auto|path|virtual", "how a bucket stands in URLs", "auto", TEXT,
      AT(s3_addressing), "auto|path|virtual", 0, 0, 0 },
    { "sts-endpoint", SECURITY, "URL", "AssumeRole here for each request's DataAccessRoleArn", NULL,
      TEXT, AT(sts_endpoint), NULL, 0, 0, 0 },
    { "kms-endpoint", SECURITY, "URL",
      "look at the KMS keys that requests name; needs fhirlake's own keys [not looked at]", NULL,
      TEXT, AT(kms_endpoint), NULL, 0, 0, 0 },
    { "roles", SECURITY, "FILE|none",
      "JSON: role ARN -> credentials, buckets and prefixes it may touch; none: each role all", NULL,
      TEXT, AT(roles), NULL, 0, 0, 0 },
    { "s3-credentials", SECURITY, "FILE",
      "fhirlake's own keys for STS, KMS, --export-files; AWS shared format [AWS_* environment]",
      NULL, TEXT, AT(s3_credentials), NULL, 0, 0, 0 },
    { "credentials", SECURITY, "FILE", "the callers' keys, AWS shared format [DATA/credentials]",
      NULL, TEXT, AT(credentials), NULL, 0, 0, 0 },
    { "auth", SECURITY, "sigv4|none",
      "who calls is known by a signature; none: not asked, loopback only", "sigv4", TEXT, AT(auth),
      "sigv4|none", 0, 0, 0 },
    { "identity-providers", SECURITY, "FILE",
      "who issues access tokens for data stores with SMART on FHIR; see docs/smart.md", NULL, TEXT,
      AT(identity_providers), NULL, 0, 0, 0 },
    { "smart-clients", SECURITY, "FILE",
      "clients that get access tokens of this server itself [DATA/smart-clients, if it is there]",
      NULL, TEXT, AT(smart_clients), NULL, 0, 0, 0 },
    { "region", SECURITY, "NAME", "region of the signatures and ARNs", "us-east-1", TEXT,
      AT(region), NULL, 0, 0, 0 },
    { "account-id", SECURITY, "ID", "12 digits, in ARNs", "000000000000", TEXT, AT(account_id),
      NULL, 0, 0, 0 },
    { "health-listen", NETWORK, "HOST:PORT",
      "answer GET /health and GET /metrics here, and nothing else [not answered]", NULL, TEXT,
      AT(health_listen), NULL, 0, 0, 0 },
    { "metrics-token-file", SECURITY, "FILE",
      "who has this token reads /metrics; without it, loopback alone", NULL, TEXT,
      AT(metrics_token_file), NULL, 0, 0, 0 },
    { "metrics-per-datastore", NETWORK, "yes|no", "/metrics counts requests for each data store",
      "no", FLAG, AT(metrics_per_datastore), NULL, 0, 0, 0 },
    { "events-url", NETWORK, "URL",
      "POST events of data stores and jobs there, in EventBridge's shape [nobody is told]", NULL,
      TEXT, AT(events_url), NULL, 0, 0, 0 },
    { "events-token-file", SECURITY, "FILE", "the bearer token that is sent with each event", NULL,
      TEXT, AT(events_token_file), NULL, 0, 0, 0 },
    { "events-tries", NETWORK, "N", "then an event is kept in DATA/events-dead.ndjson instead",
      NULL, NUMBER, AT(events_tries), NULL, 1, 1000, EVENTS_TRIES },
    { "public-url", NETWORK, "URL", "what DatastoreEndpoint begins with [the request's Host]", NULL,
      TEXT, AT(public_url), NULL, 0, 0, 0 },
    { "quotas", LIMITS, "none|healthlake|FILE", "request rates of each process; past them 429",
      "none", TEXT, AT(quotas), NULL, 0, 0, 0 },
    { "log-level", START, "debug|info|warn|error|off", "what is logged at the least", "info", TEXT,
      AT(log_level), "debug|info|warn|error|off", 0, 0, 0 },
    { "workers", JOBS, "N", "threads that export and import; 0: one per processor, at least 2",
      NULL, NUMBER, AT(workers), NULL, 0, LIMIT_WORKERS, 0 },
    { "max-connections", NETWORK, "N", "open connections", NULL, NUMBER, AT(max_connections), NULL,
      8, 65536, LIMIT_CONNECTIONS },
    { "max-connections-per-address", NETWORK, "N",
      "of one address (IPv6: of a /64), loopback too; 0: a quarter of them, at least 8", NULL,
      NUMBER, AT(max_connections_per_address), NULL, 0, 65536, 0 },
    { "max-datastores", LIMITS, "N", "data stores that are not deleted", NULL, NUMBER,
      AT(max_datastores), NULL, 1, 100000, LIMIT_DATASTORES },
    { "preload-patients", LIMITS, "N", "patients of PreloadDataConfig SYNTHEA", NULL, NUMBER,
      AT(preload_patients), NULL, 1, 1000000, LIMIT_PRELOAD_PATIENTS },
    { "export-files", STORAGE, "DIR|s3://..",
      "files of $export: a place that all servers of a database share [DATA/exports]", NULL, TEXT,
      AT(export_files), NULL, 0, 0, 0 },
    { "export-retention-hours", JOBS, "N", "how long files of $export are served after it ended",
      NULL, NUMBER, AT(export_retention_hours), NULL, 1, 8760, LIMIT_SERVED_HOURS },
    { "export-reuse", JOBS, "yes|no",
      "a full export copies the objects of the last one that no change touched", "yes", FLAG,
      AT(export_reuse), NULL, 0, 0, 0 },
    { "max-served-exports", JOBS, "N",
      "$export over HTTP: of a data store so many wait, run or are kept", NULL, NUMBER,
      AT(max_served_exports), NULL, 1, 100000, LIMIT_SERVED_STORE },
    { "max-served-exports-caller", JOBS, "N", "... of a caller, over all data stores", NULL, NUMBER,
      AT(max_served_exports_caller), NULL, 1, 1000000, LIMIT_SERVED_CALLER },
    { "max-served-copies", JOBS, "N",
      "... and bytes of so many times the data store's largest export", NULL, NUMBER,
      AT(max_served_copies), NULL, 1, 100000, LIMIT_SERVED_COPIES },
    { "max-served-export-mib", JOBS, "N", "... of a data store at most so many MiB", NULL, NUMBER,
      AT(max_served_export_mib), NULL, 1, 1u << 30, LIMIT_SERVED_STORE_BYTES >> 20 },
    { "max-served-export-mib-caller", JOBS, "N", "... of a caller at most so many MiB", NULL,
      NUMBER, AT(max_served_export_mib_caller), NULL, 1, 1u << 30,
      LIMIT_SERVED_CALLER_BYTES >> 20 },
    { "min-free-mib", JOBS, "N",
      "jobs leave so much of the data folder's disk free; 0: 1024, or a twentieth of it", NULL,
      NUMBER, AT(min_free_mib), NULL, 0, 1u << 30, 0 },
    { "cache-mib", STORAGE, "N", "block cache shared by all data stores, in MiB", NULL, NUMBER,
      AT(cache_mib), NULL, 8, 1048576, 64 },
    { "console", NETWORK, "yes|no", "serve the web console at /console/", "yes", FLAG, AT(console),
      NULL, 0, 0, 0 },
    { "plain-http", NETWORK, "yes|no", "listen beyond loopback, without TLS", "no", FLAG,
      AT(plain_http), NULL, 0, 0, 0 },
    { "tls-certificate", NETWORK, "FILE", "serve HTTPS with this certificate and its chain, PEM",
      NULL, TEXT, AT(tls_certificate), NULL, 0, 0, 0 },
    { "tls-key", NETWORK, "FILE", "... and its key", NULL, TEXT, AT(tls_key), NULL, 0, 0, 0 },
    { "tls-client-ca", NETWORK, "FILE", "callers must show a certificate of these authorities",
      NULL, TEXT, AT(tls_client_ca), NULL, 0, 0, 0 },
    { "tls-client-crl", NETWORK, "FILE", "... that is in none of these revocation lists", NULL,
      TEXT, AT(tls_client_crl), NULL, 0, 0, 0 },
    { "tls", NETWORK, "self-signed", "serve HTTPS with a certificate made in DATA/tls", NULL, TEXT,
      AT(tls), "self-signed", 0, 0, 0 },
    { "unsigned-payload", SECURITY, "yes|no",
      "take bodies that the signature does not cover (UNSIGNED-PAYLOAD)", "no", FLAG,
      AT(unsigned_payload), NULL, 0, 0, 0 },
    { "core-dumps", SECURITY, "yes|no",
      "a crash may leave a core file: it holds keys and patients' data", "no", FLAG, AT(core_dumps),
      NULL, 0, 0, 0 },
    { "encryption-key-file", SECURITY, "FILE",
      "new data stores are encrypted; the first key of this file wraps their keys", NULL, TEXT,
      AT(encryption_key_file), NULL, 0, 0, 0 },
    { "audit", SECURITY, "DIR", "who did what, appended to files in this folder [no audit log]",
      NULL, TEXT, AT(audit), NULL, 0, 0, 0 },
    { "audit-strict", SECURITY, "yes|no",
      "reads are refused too while the audit log cannot be written", "no", FLAG, AT(audit_strict),
      NULL, 0, 0, 0 },
    { "audit-segment-mib", SECURITY, "N", "the audit log begins another file after so many MiB",
      NULL, NUMBER, AT(audit_segment_mib), NULL, 1, 1024, LIMIT_AUDIT_SEGMENT_BYTES >> 20 },
    { "audit-retention-days", SECURITY, "N", "files of the audit log stay so long; 0: for ever",
      NULL, NUMBER, AT(audit_retention_days), NULL, 0, 36500, 0 },
    { "make-buckets", STORAGE, "yes|no", "directory store: make a bucket on the first write to it",
      "yes", FLAG, AT(make_buckets), NULL, 0, 0, 0 },
    { "sync-objects", STORAGE, "yes|no", "directory store: fsync each object", "yes", FLAG,
      AT(sync_objects), NULL, 0, 0, 0 },
};
#define N_OPTIONS (sizeof options / sizeof options[0])

static void help_of(const struct option *option, FILE *f)
{
    char left[64];
    (void)snprintf(left, sizeof left, "--%s %s", option->name, option->value);
    (void)fprintf(f, "  %-28s %s", left, option->help);
    if (option->fallback)
        (void)fprintf(f, " [%s]", option->fallback);
    if (option->usual)
        (void)fprintf(f, " [%u]", option->usual);
    (void)fputc('\n', f);
}

void server_config_help(FILE *f)
{
    (void)fputs("Usage: fhirlake serve [--option VALUE]...\n\n"
                "Serve Amazon HealthLake's API and run its jobs until SIGTERM.\n\n",
                f);
    for (unsigned h = 0; h < N_HEADINGS; h++) {
        (void)fprintf(f, "%s%s\n", h ? "\n" : "", headings[h]);
        for (size_t i = 0; i < N_OPTIONS; i++)
            if (options[i].heading == h)
                help_of(&options[i], f);
    }
    (void)fputs("\nEach option may stand in the environment as FHIRLAKE_<OPTION> "
                "(FHIRLAKE_DATA=...) and in\n"
                "the --config file; the command line wins, then the environment, then the file.\n\n"
                "Examples:\n"
                "  fhirlake serve\n"
                "  fhirlake serve --listen 127.0.0.1:0 --data /var/lib/fhirlake\n"
                "  fhirlake serve --listen 0.0.0.0:8443 --tls-certificate fullchain.pem \\\n"
                "      --tls-key key.pem\n"
                "  fhirlake serve --s3-endpoint https://s3.eu-west-1.amazonaws.com \\\n"
                "      --sts-endpoint https://sts.eu-west-1.amazonaws.com --region eu-west-1\n",
                f);
}

static const struct option *find(sv name)
{
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (sv_eq_cstr(name, options[i].name))
            return &options[i];
    return NULL;
}

static bool is_choice(const char *choices, sv v)
{
    sv rest = sv_from(choices), one;
    while (sv_cut(&rest, '|', &one))
        if (sv_eq(one, v))
            return true;
    return false;
}

/* Check v and store it. where: "on the command line", "in the environment", "in the config file".
 */
static err_code set(struct server_config *config, struct arena *a, const struct option *option,
                    sv v, const char *where, struct err *e)
{
    char *field = (char *)config + option->offset;
    if (option->kind == NUMBER) {
        uint64_t n;
        if (!sv_to_u64(v, &n) || n < option->min || n > option->max)
            return ERR(e, ERR_INVALID, "--%s takes a number from %u to %u, %s it is \"%.*s\"",
                       option->name, option->min, option->max, where, SV_FMT(v));
        unsigned u = (unsigned)n;
        memcpy(field, &u, sizeof u);
        return ERR_OK;
    }
    if (option->kind == FLAG) {
        bool yes = sv_eq(v, SV_LIT("yes")) || sv_eq(v, SV_LIT("true")) || sv_eq(v, SV_LIT("1"));
        bool no = sv_eq(v, SV_LIT("no")) || sv_eq(v, SV_LIT("false")) || sv_eq(v, SV_LIT("0"));
        if (!yes && !no)
            return ERR(e, ERR_INVALID, "--%s takes yes or no, %s it is \"%.*s\"", option->name,
                       where, SV_FMT(v));
        memcpy(field, &yes, sizeof yes);
        return ERR_OK;
    }
    if (v.len == 0)
        return ERR(e, ERR_INVALID, "--%s is empty %s", option->name, where);
    if (option->choices && !is_choice(option->choices, v))
        return ERR(e, ERR_INVALID, "--%s takes one of %s, %s it is \"%.*s\"", option->name,
                   option->choices, where, SV_FMT(v));
    const char *s = arena_str(a, v);
    if (s == NULL)
        return arena_oom(a, e);
    memcpy(field, &s, sizeof s);
    return ERR_OK;
}

struct ini_read {
    struct server_config *c;
    struct arena *a;
    struct err *e;
    err_code rc;
};

/* Names have dashes; who writes underscores, as in the environment, is told so. */
static err_code not_known(struct ini_read *r, const char *name)
{
    char dashed[64];
    (void)snprintf(dashed, sizeof dashed, "%s", name);
    for (char *p = dashed; *p; p++)
        *p = *p == '_' ? '-' : *p;
    if (find(sv_from(dashed)) && strcmp(dashed, name) != 0)
        return ERR(r->e, ERR_INVALID, "config file %s: option \"%s\" is written %s", r->c->config,
                   name, dashed);
    return ERR(r->e, ERR_INVALID,
               "config file %s: option \"%s\" is not known; see fhirlake serve --help",
               r->c->config, name);
}

static int on_ini(void *ctx, const char *section, const char *name, const char *value)
{
    struct ini_read *r = ctx;
    const struct option *option = find(sv_from(name));
    /* the parser goes on behind a fault: the first one is told */
    if (r->rc != ERR_OK)
        return 0;
    if (section[0] != 0 && strcmp(section, "fhirlake") != 0)
        r->rc = ERR(r->e, ERR_INVALID,
                    "config file %s: section [%s] is not known; use [fhirlake] or none",
                    r->c->config, section);
    else if (option == NULL || strcmp(name, "config") == 0)
        r->rc = not_known(r, name);
    else
        r->rc = set(r->c, r->a, option, sv_from(value), "in the config file", r->e);
    return r->rc == ERR_OK;
}

static err_code read_file(struct server_config *config, struct arena *a, struct err *e)
{
    struct ini_read r = { .c = config, .a = a, .e = e, .rc = ERR_OK };
    int line = ini_parse(config->config, on_ini, &r);
    if (r.rc != ERR_OK)
        return r.rc;
    if (line == -1)
        return ERR(e, ERR_NOT_FOUND, "config file %s cannot be read", config->config);
    if (line != 0)
        return ERR(e, ERR_INVALID, "config file %s: line %d is not \"name = value\"",
                   config->config, line);
    return ERR_OK;
}

static sv env_get(char **env, const struct option *option)
{
    char want[64];
    int n = snprintf(want, sizeof want, "FHIRLAKE_%s=", option->name);
    for (int i = 9; i < n - 1; i++)
        want[i] = want[i] == '-'
                      ? '_'
                      : (char)(want[i] >= 'a' && want[i] <= 'z' ? want[i] - 32 : want[i]);
    for (; env && *env; env++)
        if (strncmp(*env, want, (size_t)n) == 0)
            return sv_from(*env + n);
    return SV_NONE;
}

/* A name that begins as ours do and is none: a slip, or of another program that shares the
 * prefix. */
static void warn_of_unknown(char **env)
{
    for (; env && *env; env++) {
        sv pair = sv_from(*env), name = sv_head(pair, sv_find(pair, '='));
        char option[64];
        if (!sv_starts(name, SV_LIT("FHIRLAKE_")))
            continue;
        (void)snprintf(option, sizeof option, "%.*s", SV_FMT(sv_tail(name, 9)));
        for (char *p = option; *p; p++)
            *p = *p == '_' ? '-' : (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        if (find(sv_from(option)) == NULL)
            LOG(LOG_WARN, "environment", LOG_SV("name", sv_head(name, 64)),
                LOG_STR("note", "no option of fhirlake serve has this name"));
    }
}

/* One pass over argv; only_config: take --config alone (it is needed before the others). */
static err_code read_argv(int argc, char **argv, bool only_config, struct server_config *config,
                          struct arena *a, server_config_what *what, struct err *e)
{
    for (int i = 1; i < argc; i++) {
        sv arg = sv_from(argv[i]);
        if (sv_eq(arg, SV_LIT("--help")) || sv_eq(arg, SV_LIT("-h"))) {
            *what = SERVER_CONFIG_HELP;
            continue;
        }
        if (!sv_starts(arg, SV_LIT("--")))
            return ERR(e, ERR_INVALID, "\"%s\" is not an option; see fhirlake serve --help",
                       argv[i]);
        size_t eq = sv_find(arg, '=');
        const struct option *option = find(sv_make(arg.ptr + 2, (eq < arg.len ? eq : arg.len) - 2));
        if (option == NULL)
            return ERR(e, ERR_INVALID, "option %.*s is not known; see fhirlake serve --help",
                       (int)eq, argv[i]);
        sv v;
        if (eq < arg.len)
            v = sv_tail(arg, eq + 1);
        else if (i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0)
            v = sv_from(argv[++i]);
        else
            return ERR(e, ERR_INVALID, "--%s needs a value: %s", option->name, option->value);
        if (!only_config || strcmp(option->name, "config") == 0)
            TRY(set(config, a, option, v, "on the command line", e));
    }
    return ERR_OK;
}

static err_code check_events(const struct server_config *config, struct err *e)
{
    struct err why;
    if (config->events_url == NULL && config->events_token_file)
        return ERR(e, ERR_INVALID, "--events-token-file needs --events-url");
    if (config->events_url && events_check_url(config->events_url, &why) != ERR_OK)
        return ERR(e, ERR_INVALID, "--events-url takes https://HOST[:PORT][/PATH]: %s", why.msg);
    return ERR_OK;
}

static err_code check_monitor(const struct server_config *config, struct err *e)
{
    if (config->health_listen == NULL && config->metrics_token_file)
        return ERR(e, ERR_INVALID, "--metrics-token-file needs --health-listen");
    if (config->health_listen == NULL && config->metrics_per_datastore)
        return ERR(e, ERR_INVALID, "--metrics-per-datastore needs --health-listen");
    return ERR_OK;
}

/* Who asks for a strict log must not think that he has one. */
static err_code check_audit(const struct server_config *config, struct err *e)
{
    const char *given = config->audit_strict           ? "audit-strict"
                        : config->audit_retention_days ? "audit-retention-days"
                                                       : NULL;
    if (config->audit == NULL && given)
        return ERR(e, ERR_INVALID, "--%s needs --audit", given);
    return ERR_OK;
}

static err_code check(const struct server_config *config, struct err *e)
{
    TRY(check_monitor(config, e));
    TRY(check_audit(config, e));
    TRY(check_events(config, e));
    TRY(store_room_check(config, e));
    TRY(exports_room_check(config, e));
    if (config->objects && config->s3_endpoint)
        return ERR(e, ERR_INVALID,
                   "--objects and --s3-endpoint exclude each other: s3:// is one or the other");
    TRY(server_config_check_listening(config, e));
    if (config->max_connections_per_address > config->max_connections)
        return ERR(e, ERR_INVALID,
                   "--max-connections-per-address is %u, more than all the connections there are: "
                   "--max-connections is %u",
                   config->max_connections_per_address, config->max_connections);
    sv acct = sv_from(config->account_id);
    uint64_t n;
    if (acct.len != 12 || !sv_to_u64(acct, &n))
        return ERR(e, ERR_INVALID, "--account-id takes 12 digits, it is \"%s\"",
                   config->account_id);
    struct uri_http public;
    struct err why;
    if (config->public_url && uri_http_parse(sv_from(config->public_url), &public, &why) != ERR_OK)
        return ERR(e, ERR_INVALID, "--public-url takes http[s]://HOST[:PORT][/PATH]: %s", why.msg);
    for (const char *p = config->region; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-'))
            return ERR(e, ERR_INVALID, "--region takes a name such as us-east-1, it is \"%s\"",
                       config->region);
    return ERR_OK;
}

err_code server_config_read(int argc, char **argv, char **env, struct arena *a,
                            struct server_config *out, server_config_what *what, struct err *e)
{
    struct server_config config = { 0 };
    *what = SERVER_CONFIG_RUN;
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option *option = &options[i];
        if (option->fallback)
            TRY(set(&config, a, option, sv_from(option->fallback), "by default", e));
        if (option->kind == NUMBER)
            memcpy((char *)&config + option->offset, &option->usual, sizeof option->usual);
    }
    sv file = env_get(env, find(SV_LIT("config")));
    if (file.ptr)
        TRY(set(&config, a, find(SV_LIT("config")), file, "in the environment", e));
    TRY(read_argv(argc, argv, true, &config, a, what, e));
    if (*what == SERVER_CONFIG_HELP)
        return ERR_OK;
    if (config.config)
        TRY(read_file(&config, a, e));
    for (size_t i = 0; i < N_OPTIONS; i++) {
        sv v = env_get(env, &options[i]);
        if (v.ptr)
            TRY(set(&config, a, &options[i], v, "in the environment", e));
    }
    warn_of_unknown(env);
    TRY(read_argv(argc, argv, false, &config, a, what, e));
    TRY(check(&config, e));
    *out = config;
    return ERR_OK;
}
