/* bench_constant.c - the peer of reads: our HTTP server, answering 1,024 bytes whatever is asked.
 *
 *   bench_constant THREADS       prints HOST:PORT, runs until its input ends */
#include "net/http_server.h"

#include <unistd.h>

static void accept_any(void *ctx, struct http_request *req, struct http_allowance *out)
{
    (void)ctx;
    (void)req;
    *out = (struct http_allowance){ .body_max = 1u << 20, .proven = true };
}

static void constant(void *ctx, struct http_exchange *x)
{
    static const char text[1024] = "{\"resourceType\":\"Basic\",\"id\":\"1\"}";
    const struct http_header h = { SV_LIT("Content-Type"), SV_LIT("application/fhir+json") };
    struct buf b = BUF_INIT(4096);
    (void)ctx;
    if (buf_add(&b, sv_make(text, sizeof text), NULL) != ERR_OK)
        abort();
    http_reply(x, 200, &h, 1, &b);
}

int main(int argc, char **argv)
{
    struct err e;
    struct http_server *s = NULL;
    uint64_t threads = 2;
    char end;
    if (argc > 1 && !sv_to_u64(sv_from(argv[1]), &threads))
        return 2;
    const struct http_server_config cfg = { .listen = SV_LIT("127.0.0.1:0"),
                                            .n_threads = (unsigned)threads,
                                            .limits = { .n = 1024, .n_per_address = 1024 },
                                            .idle_timeout_s = 30,
                                            .accept = accept_any,
                                            .handler = constant };
    if (http_server_start(&cfg, &s, &e) != ERR_OK) {
        (void)fprintf(stderr, "bench_constant: %s\n", e.msg);
        return 1;
    }
    (void)printf("%.*s\n", SV_FMT(http_server_address(s)));
    (void)fflush(stdout);
    while (read(STDIN_FILENO, &end, 1) > 0)
        ;
    http_server_stop(s, 1000);
    return 0;
}
