/* Options: what each place says, who wins, and how a wrong one is refused. */
#include "test.h"

#include "base/file.h"
#include "server/config.h"

#include <unistd.h>

static struct server_config cfg;
static server_config_what what;
static struct arena *arena;

static err_code read_args(char **env, struct err *e, int argc, char **argv)
{
    arena_free(arena);
    arena = arena_new(1 << 20);
    return server_config_read(argc, argv, env, arena, &cfg, &what, e);
}
#define READ(env, ...)                                                                      \
    read_args(env, e, (int)(sizeof((char *[]){ "serve", ##__VA_ARGS__ }) / sizeof(char *)), \
              (char *[]){ "serve", ##__VA_ARGS__ })

TEST(config, defaults_are_the_documented_ones)
{
    (void)state;
    OK(READ(NULL));
    assert_string_equal(cfg.listen, "127.0.0.1:8080");
    assert_string_equal(cfg.data, "./fhirlake-data");
    assert_string_equal(cfg.auth, "sigv4");
    assert_string_equal(cfg.region, "us-east-1");
    assert_string_equal(cfg.account_id, "000000000000");
    assert_null(cfg.objects);
    assert_null(cfg.health_listen);
    assert_false(cfg.metrics_per_datastore);
    assert_true(cfg.make_buckets);
    assert_true(cfg.export_reuse);
    assert_int_equal(what, SERVER_CONFIG_RUN);
}

TEST(config, command_line_beats_environment_beats_file)
{
    (void)state;
    char path[] = TEST_TMP "/fhirlake-config-XXXXXX";
    int fd = mkstemp(path);
    OK(file_write_all(fd, SV_LIT("[fhirlake]\nregion = eu-west-1\nworkers = 3\ndata = /f\n"), e));
    close(fd);
    char *env[] = { "FHIRLAKE_WORKERS=4", "FHIRLAKE_DATA=/e", "OTHER=1", NULL };
    OK(READ(env, "--config", path, "--data=/c"));
    assert_string_equal(cfg.region, "eu-west-1");
    assert_int_equal(cfg.workers, 4);
    assert_string_equal(cfg.data, "/c");
    unlink(path);
    FAILS(ERR_NOT_FOUND, READ(env, "--config", path));
}

TEST(config, a_file_with_an_unknown_name_or_a_broken_line_is_refused)
{
    (void)state;
    char path[] = TEST_TMP "/fhirlake-config-XXXXXX";
    int fd = mkstemp(path);
    OK(file_write_all(fd, SV_LIT("rejoin = eu\n"), e));
    FAILS(ERR_INVALID, READ(NULL, "--config", path));
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    OK(file_write_all(fd, SV_LIT("region = eu-west-1\nthis is no pair\n"), e));
    FAILS(ERR_INVALID, READ(NULL, "--config", path));
    struct err why = { 0 };
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    /* whatever stands behind it */
    OK(file_write_all(fd, SV_LIT("max_connections = 100\nregion = eu-west-1\n"), e));
    {
        struct err *e = &why;
        assert_int_equal(READ(NULL, "--config", path), ERR_INVALID);
    }
    assert_non_null(strstr(why.msg, path));
    assert_non_null(strstr(why.msg, "is written max-connections"));
    close(fd);
    unlink(path);
}

TEST(config, an_address_that_is_none_is_told_so_before_anything_is_said_of_it)
{
    (void)state;
    struct err err = { 0 }, *e = &err;
    static const char *const none[] = { "127.0.0.1", "8080",   ":8080",      "foo",
                                        "::1",       "::1:80", "[::1]:http", "127.0.0.1:99999" };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_int_equal(READ(NULL, "--listen", (char *)(uintptr_t)none[i]), ERR_INVALID);
        assert_non_null(strstr(err.msg, "--listen takes HOST:PORT"));
    }
    assert_int_equal(READ(NULL, "--listen", "[::1]:0"), ERR_OK);
    assert_int_equal(READ(NULL, "--listen", "localhost:80"), ERR_OK);
    assert_int_equal(READ(NULL, "--unsigned-payload", "--data", "d"), ERR_INVALID);
    assert_non_null(strstr(err.msg, "--unsigned-payload needs a value"));
}

TEST(config, wrong_values_name_the_option)
{
    (void)state;
    struct err err = { 0 }, *e = &err;
    assert_int_equal(READ(NULL, "--workers", "many"), ERR_INVALID);
    assert_non_null(strstr(err.msg, "--workers takes a number from 0 to 64"));
    assert_int_equal(READ(NULL, "--auth", "basic"), ERR_INVALID);
    assert_non_null(strstr(err.msg, "sigv4|none"));
    assert_int_equal(READ(NULL, "--listen"), ERR_INVALID);
    assert_int_equal(READ(NULL, "--lissten", "x"), ERR_INVALID);
    assert_int_equal(READ(NULL, "listen"), ERR_INVALID);
    assert_int_equal(READ(NULL, "--account-id", "12"), ERR_INVALID);
    assert_int_equal(READ(NULL, "--region", "EU West"), ERR_INVALID);
    static const char *const no_urls[] = { "fhir.example", "ftp://h",       "https://",
                                           "https://h/?q", "https://h/\"x", "https://u@h/" };
    for (size_t i = 0; i < sizeof no_urls / sizeof no_urls[0]; i++) {
        assert_int_equal(READ(NULL, "--public-url", (char *)(uintptr_t)no_urls[i]), ERR_INVALID);
        assert_non_null(strstr(err.msg, "--public-url takes http[s]://HOST[:PORT][/PATH]"));
    }
    assert_int_equal(READ(NULL, "--public-url", "https://fhir.example:8443/lake/"), ERR_OK);
    assert_int_equal(READ(NULL, "--objects", "o", "--s3-endpoint", "http://x"), ERR_INVALID);
}

TEST(config, no_auth_is_for_loopback_only)
{
    (void)state;
    OK(READ(NULL, "--auth", "none", "--listen", "127.0.0.1:0"));
    OK(READ(NULL, "--auth", "none", "--listen", "[::1]:0"));
    FAILS(ERR_INVALID, READ(NULL, "--auth", "none", "--listen", "0.0.0.0:8080"));
    FAILS(ERR_INVALID, READ(NULL, "--auth", "none", "--listen", "127.evil.example:80"));
    FAILS(ERR_INVALID, READ(NULL, "--auth", "none", "--listen", ":8080"));
    FAILS(ERR_INVALID, READ(NULL, "--auth", "none", "--listen", "[::]:8080"));
}

TEST(config, plain_http_beyond_loopback_takes_the_option)
{
    (void)state;
    static const char *const beyond[] = { "0.0.0.0:8080",         "[::]:8080",
                                          "10.0.0.1:80",          "example.org:80",
                                          "127.evil.example:80",  "localhost.example:80",
                                          "[::ffff:127.0.0.1]:80" };
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
        char *listen = (char *)(uintptr_t)beyond[i];
        FAILS(ERR_INVALID, READ(NULL, "--listen", listen));
        FAILS(ERR_INVALID, READ(NULL, "--plain-http", "no", "--listen", listen));
        OK(READ(NULL, "--plain-http", "yes", "--listen", listen));
        FAILS(ERR_INVALID, READ(NULL, "--plain-http", "yes", "--auth", "none", "--listen", listen));
    }
    OK(READ(NULL, "--listen", "127.0.0.2:80"));
    OK(READ(NULL, "--listen", "localhost:80"));
    OK(READ(NULL, "--listen", "[::1]:80", "--public-url", "https://fhir.example"));
    char *env[] = { "FHIRLAKE_LISTEN=0.0.0.0:80", NULL };
    FAILS(ERR_INVALID, READ(env, "--cache-mib", "64"));
    OK(READ(env, "--plain-http", "yes"));
}

TEST(config, tls_needs_both_files_and_no_other_option_then)
{
    (void)state;
    OK(READ(NULL, "--tls-certificate", "c", "--tls-key", "k", "--listen", "0.0.0.0:8443"));
    assert_true(server_config_has_tls(&cfg));
    OK(READ(NULL, "--tls", "self-signed", "--tls-client-ca", "a"));
    assert_true(server_config_has_tls(&cfg));
    OK(READ(NULL, "--listen", "127.0.0.1:1"));
    assert_false(server_config_has_tls(&cfg));
    FAILS(ERR_INVALID, READ(NULL, "--tls-certificate", "c"));
    FAILS(ERR_INVALID, READ(NULL, "--tls-key", "k"));
    FAILS(ERR_INVALID, READ(NULL, "--tls", "self-signed", "--tls-certificate", "c"));
    FAILS(ERR_INVALID, READ(NULL, "--tls", "on"));
    FAILS(ERR_INVALID, READ(NULL, "--tls-client-ca", "a"));
    FAILS(ERR_INVALID, READ(NULL, "--tls-certificate", "c", "--tls-key", "k", "--auth", "none",
                            "--listen", "0.0.0.0:8443"));
}

TEST(config, a_port_for_monitors_is_in_plain_http_and_so_on_loopback)
{
    (void)state;
    OK(READ(NULL, "--health-listen", "127.0.0.1:9000"));
    OK(READ(NULL, "--health-listen", "[::1]:0"));
    OK(READ(NULL, "--health-listen", "0.0.0.0:9000", "--plain-http", "yes"));
    FAILS(ERR_INVALID, READ(NULL, "--health-listen", "0.0.0.0:9000"));
    FAILS(ERR_INVALID, READ(NULL, "--health-listen", "0.0.0.0:9000", "--tls", "self-signed"));
    FAILS(ERR_INVALID, READ(NULL, "--health-listen", "9000"));
}

TEST(config, a_share_that_is_more_than_the_whole_is_refused)
{
    (void)state;
    OK(READ(NULL, "--max-connections", "64", "--max-connections-per-address", "64"));
    /* 0: made of them */
    OK(READ(NULL, "--max-connections", "64"));
    OK(READ(NULL, "--max-connections-per-address", "1024"));
    FAILS(ERR_INVALID,
          READ(NULL, "--max-connections", "64", "--max-connections-per-address", "65"));
    FAILS(ERR_INVALID, READ(NULL, "--max-connections-per-address", "1025"));
    char *env[] = { "FHIRLAKE_MAX_CONNECTIONS_PER_ADDRESS=2000", NULL };
    FAILS(ERR_INVALID, READ(env, "--max-connections", "1999"));
    OK(READ(env, "--max-connections", "2000"));
    struct err err, *e = &err;
    assert_int_equal(READ(env, "--max-connections", "9"), ERR_INVALID);
    assert_non_null(strstr(err.msg, "--max-connections-per-address is 2000"));
    assert_non_null(strstr(err.msg, "--max-connections is 9"));
}

TEST(config, help_wins_over_everything_else)
{
    (void)state;
    OK(READ(NULL, "--auth", "none", "--listen", "0.0.0.0:1", "--help"));
    assert_int_equal(what, SERVER_CONFIG_HELP);
}

TEST(config, what_is_told_a_monitor_takes_a_place_to_tell_it)
{
    (void)state;
    OK(READ(NULL, "--health-listen", "127.0.0.1:9464", "--metrics-per-datastore", "yes"));
    assert_string_equal(cfg.health_listen, "127.0.0.1:9464");
    assert_true(cfg.metrics_per_datastore);
    /* beyond loopback, for /health alone */
    OK(READ(NULL, "--health-listen", "0.0.0.0:9464", "--plain-http", "yes"));
    FAILS(ERR_INVALID, READ(NULL, "--health-listen", "9464"));
    FAILS(ERR_INVALID, READ(NULL, "--metrics-per-datastore", "yes"));
    FAILS(ERR_INVALID, READ(NULL, "--metrics-token-file", "/etc/fhirlake/token"));
}

TEST(config, events_go_over_tls_or_stay_on_this_machine)
{
    (void)state;
    OK(READ(NULL, "--events-url", "https://events.example/hook"));
    assert_int_equal(cfg.events_tries, 16);
    OK(READ(NULL, "--events-url", "http://127.0.0.1:9000/hook"));
    OK(READ(NULL, "--events-url", "http://localhost:9000"));
    OK(READ(NULL, "--events-url", "http://[::1]:9000"));
    FAILS(ERR_INVALID, READ(NULL, "--events-url", "http://events.example/hook"));
    FAILS(ERR_INVALID, READ(NULL, "--events-url", "http://127.0.0.1.example/hook"));
    FAILS(ERR_INVALID, READ(NULL, "--events-url", "ftp://events.example/hook"));
    FAILS(ERR_INVALID, READ(NULL, "--events-url", "events.example"));
    FAILS(ERR_INVALID, READ(NULL, "--events-url", "https://u:secret@events.example/"));
    FAILS(ERR_INVALID, READ(NULL, "--events-tries", "0"));
    FAILS(ERR_INVALID, READ(NULL, "--events-token-file", "/etc/fhirlake/token"));
}

TEST(config, what_is_asked_of_an_audit_log_takes_one)
{
    (void)state;
    FAILS(ERR_INVALID, READ(NULL, "--audit-strict", "yes"));
    FAILS(ERR_INVALID, READ(NULL, "--audit-retention-days", "30"));
    OK(READ(NULL, "--audit-strict", "yes", "--audit-retention-days", "30", "--audit", "/a"));
    OK(READ(NULL, "--audit-strict", "no", "--audit-retention-days", "0"));
}

TEST(config, help_has_each_option_once_under_the_heading_where_it_is_looked_for)
{
    (void)state;
    static const char *const order[] = { "\nNetwork\n",
                                         "  --listen ",
                                         "  --max-connections ",
                                         "  --max-connections-per-address ",
                                         "\nStorage\n",
                                         "  --data ",
                                         "  --s3-endpoint ",
                                         "\nSecurity\n",
                                         "  --roles ",
                                         "  --auth ",
                                         "  --unsigned-payload ",
                                         "\nJobs\n",
                                         "  --workers ",
                                         "  --min-free-mib ",
                                         "\nLimits\n",
                                         "  --max-datastores ",
                                         "\nConfiguration and log\n",
                                         "  --config ",
                                         "  --log-level ",
                                         "\nEach option" };
    static char text[16384];
    FILE *f = fmemopen(text, sizeof text, "w");
    assert_non_null(f);
    server_config_help(f);
    assert_int_equal(fclose(f), 0);
    const char *at = text;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        const char *next = strstr(at, order[i]);
        if (next == NULL)
            fail_msg("%s is not where it should be", order[i]);
        at = next;
    }
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, "\n  --")) != NULL; n++) {
        size_t len = strcspn(++p, "\n");
        size_t name = 2 + strcspn(p + 2, " ");
        char line[64];
        (void)snprintf(line, sizeof line, "\n%.*s ", (int)name, p);
        /* the first of that name is this one */
        assert_ptr_equal(strstr(text, line) + 1, p);
        assert_true(len < 140);
    }
    assert_int_equal(n, 61);
}

TEST_MAIN(T(config, defaults_are_the_documented_ones),
          T(config, command_line_beats_environment_beats_file),
          T(config, a_file_with_an_unknown_name_or_a_broken_line_is_refused),
          T(config, an_address_that_is_none_is_told_so_before_anything_is_said_of_it),
          T(config, wrong_values_name_the_option), T(config, no_auth_is_for_loopback_only),
          T(config, plain_http_beyond_loopback_takes_the_option),
          T(config, tls_needs_both_files_and_no_other_option_then),
          T(config, a_port_for_monitors_is_in_plain_http_and_so_on_loopback),
          T(config, a_share_that_is_more_than_the_whole_is_refused),
          T(config, what_is_told_a_monitor_takes_a_place_to_tell_it),
          T(config, events_go_over_tls_or_stay_on_this_machine),
          T(config, what_is_asked_of_an_audit_log_takes_one),
          T(config, help_has_each_option_once_under_the_heading_where_it_is_looked_for),
          T(config, help_wins_over_everything_else))
