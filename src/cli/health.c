/* health.c - the command `fhirlake health`: one GET /health, and an exit status for whoever looks
 * after a container. An image has no curl to ask with. */
#include "cli/health.h"

#include "cli/client.h"
#include "cli/options.h"
#include "codec/json.h"

#include <stdlib.h>

#define ANSWER_DEPTH 8u
#define TIMEOUT_MOST 3600u
enum { HEALTHY = 0, NOT_HEALTHY = 1, USAGE = 2 };

struct options {
    const char *endpoint, *timeout;
};
static const struct cli_option table[] = {
    { "endpoint", "URL", "of the server [--health-listen's address, of FHIRLAKE_HEALTH_LISTEN]",
      offsetof(struct options, endpoint) },
    { "timeout", "SECONDS", "an answer that is not there by then is none [5]",
      offsetof(struct options, timeout) },
};
#define N_OPTIONS (sizeof table / sizeof table[0])

static void usage(FILE *f)
{
    (void)fputs("Usage: fhirlake health [--endpoint URL] [--timeout SECONDS]\n\n"
                "Ask a server for GET /health. Nothing is printed when it is well.\n\n",
                f);
    cli_options_print(table, N_OPTIONS, f);
    (void)fputs("\nExit status: 0 it is well, 1 it is not, or gives no answer, 2 wrong usage.\n\n"
                "Example:\n"
                "  fhirlake health --endpoint http://127.0.0.1:9464\n",
                f);
}

/* What the environment says to listen on, as something that can be called: an address that means
 * all of the machine is called through loopback. ERR_INVALID: it says nothing. */
static err_code find_endpoint(struct arena *a, const char **out, struct err *e)
{
    sv listen = sv_from(getenv("FHIRLAKE_HEALTH_LISTEN"));
    size_t colon = listen.len;
    if (listen.len == 0)
        return ERR(e, ERR_INVALID, "which server? Give --endpoint, or set FHIRLAKE_HEALTH_LISTEN");
    while (colon && listen.ptr[colon - 1] != ':')
        colon--;
    sv host = sv_head(listen, colon ? colon - 1 : 0);
    if (sv_eq_cstr(host, "0.0.0.0") || sv_eq_cstr(host, "[::]") || host.len == 0)
        host = SV_LIT("127.0.0.1");
    sv url = arena_fmt(a, "http://%.*s:%.*s", SV_FMT(host), SV_FMT(sv_tail(listen, colon)));
    *out = url.ptr;
    return url.ptr ? ERR_OK : arena_oom(a, e);
}

/* An answer of /health, and not of whatever else listens there. */
static bool is_ours(sv body)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    yyjson_doc *doc;
    struct err ignored;
    return json_read(a, body, ANSWER_DEPTH, &doc, &ignored) == ERR_OK &&
           sv_eq_cstr(json_string(json_get(yyjson_doc_get_root(doc), "status")), "ok");
}

static err_code ask(const struct client_options *where, uint64_t timeout_s, struct err *e)
{
    CLEANUP(client_free) struct client *client = NULL;
    struct client_answer answer = { .body = BUF_INIT(1u << 20) };
    const struct client_call call = { .method = "GET",
                                      .target = SV_LIT("/health"),
                                      .most_s = timeout_s };
    TRY(client_new(where, &client, e));
    err_code rc = client_run(client, &call, &answer, e);
    if (rc == ERR_OK && answer.status != 200)
        rc = ERR(e, ERR_UNAVAILABLE, "the server answers %ld", answer.status);
    if (rc == ERR_OK && !is_ours(buf_sv(&answer.body)))
        rc = ERR(e, ERR_UNAVAILABLE, "what answers there is no fhirlake server");
    buf_done(&answer.body);
    return rc;
}

int cli_health(int argc, char **argv)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    struct options o = { 0 };
    struct err e = { 0 };
    uint64_t timeout_s = 5;
    size_t n_args;
    bool help = false;
    err_code rc = cli_options_read(table, N_OPTIONS, argc, argv, &o, NULL, 0, &n_args, &help, &e);
    if (rc == ERR_OK && help) {
        usage(stdout);
        return HEALTHY;
    }
    if (rc == ERR_OK && o.timeout &&
        (!sv_to_u64(sv_from(o.timeout), &timeout_s) || timeout_s == 0 || timeout_s > TIMEOUT_MOST))
        rc = ERR(&e, ERR_INVALID, "--timeout takes seconds, 1 to %u", TIMEOUT_MOST);
    if (rc == ERR_OK && o.endpoint == NULL)
        rc = find_endpoint(a, &o.endpoint, &e);
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "fhirlake health: %s\n", e.msg);
        return USAGE;
    }
    rc = ask(&(struct client_options){ .endpoint = o.endpoint }, timeout_s, &e);
    if (rc == ERR_OK)
        return HEALTHY;
    (void)fprintf(stderr, "fhirlake health: %s\n", e.msg);
    return rc == ERR_INVALID ? USAGE : NOT_HEALTHY;
}
