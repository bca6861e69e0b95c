/* bench_load.c - requests over kept connections, as fast as the answers come: rate and latencies.
 *
 *   bench_load --to HOST:PORT --connections N --seconds S --requests FILE
 *              [--pace N] [--key ID --secret SECRET | --token TOKEN] [--tls yes]
 *
 * A line of FILE is "GET /target", or "POST /target", a tab and a body. Requests are made, and with
 * a key signed (SigV4, region us-east-1, service healthlake) or given the access token, before the
 * clock starts; connections take them in turn, in a circle. One thread and epoll: the same
 * processor time per request whatever answers. With --pace requests fall due at even distances, N a
 * second, and a latency counts from then: one that had to wait for a connection is late. With --tls
 * yes it is HTTPS: the certificate is not looked at, and handshakes are made before the clock
 * starts. Prints one JSON object: requests, seconds, rps, failed (any status but 2xx), p50_us,
 * p99_us, max_us, cpu_us. */
#include "base/buf.h"
#include "base/clock.h"
#include "codec/hash.h"
#include "codec/instant.h"
#include "codec/sigv4.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 512u
#define ANSWER_MAX      (32u << 20)
#define REQUESTS_MAX    1000000u

static struct {
    sv host;
    char host_z[64];
    uint16_t port;
    unsigned n_connections;
    bool tls;
    double seconds, pace;
    const char *file, *key, *secret, *token;
} opt = { .n_connections = 16, .seconds = 5 };

static sv *requests;
static size_t n_requests;

struct connection {
    int fd;
    SSL *tls; /* NULL: plain HTTP */
    uint64_t sent_us;
    struct buf in;
};
static struct connection conns[CONNECTIONS_MAX];
static struct buf latencies; /* uint32_t, us */
static size_t next_request, n_failed, n_answers;

static void die(const char *what)
{
    (void)fprintf(stderr, "bench_load: %s%s%s\n", what, errno ? ": " : "",
                  errno ? strerrordesc_np(errno) : "");
    exit(1);
}

static void must(err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    errno = 0;
    die(e->msg);
}

/* ---- requests ---- */

static sv sign(struct arena *a, sv method, sv target, sv body, const char *date)
{
    struct err e;
    unsigned char digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    sv out;
    size_t q = sv_find(target, '?');
    const struct sigv4_header h[] = { { SV_LIT("host"), opt.host },
                                      { SV_LIT("x-amz-date"), sv_make(date, 16) } };
    hash_sha256_of(body, digest);
    hash_hex(digest, sizeof digest, hex);
    const struct sigv4_request r = { .method = method,
                                     .path = sv_head(target, q),
                                     .query = sv_tail(target, q + 1),
                                     .headers = h,
                                     .n_headers = 2,
                                     .payload_hash = sv_make(hex, sizeof hex),
                                     .normalize_path = true,
                                     .double_encode_path = true };
    const struct sigv4_scope scope = { sv_make(date, 8), SV_LIT("us-east-1"),
                                       SV_LIT("healthlake") };
    const struct sigv4_credentials cred = { sv_from(opt.key), sv_from(opt.secret), SV_NONE };
    must(sigv4_sign(a, &r, sv_make(date, 16), &scope, &cred, &out, &e), &e);
    return out;
}

static sv make_request(struct arena *a, sv line, const char *date)
{
    sv rest = line, head;
    if (!sv_cut(&rest, '\t', &head))
        head = line;
    sv body = rest.ptr ? rest : SV_LIT("");
    size_t space = sv_find(head, ' ');
    sv method = sv_head(head, space), target = sv_tail(head, space + 1);
    sv auth = opt.key     ? arena_fmt(a, "X-Amz-Date: %.16s\r\nAuthorization: %.*s\r\n", date,
                                      SV_FMT(sign(a, method, target, body, date)))
              : opt.token ? arena_fmt(a, "Authorization: Bearer %s\r\n", opt.token)
                          : SV_LIT("");
    sv more = body.len
                  ? arena_fmt(a, "Content-Type: application/fhir+json\r\nContent-Length: %zu\r\n",
                              body.len)
                  : SV_LIT("");
    return arena_fmt(a, "%.*s %.*s HTTP/1.1\r\nHost: %.*s\r\nAccept: */*\r\n%.*s%.*s\r\n%.*s",
                     SV_FMT(method), SV_FMT(target), SV_FMT(opt.host), SV_FMT(auth), SV_FMT(more),
                     SV_FMT(body));
}

static void read_requests(struct arena *a)
{
    char date[16];
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    FILE *f = fopen(opt.file, "r");
    if (f == NULL)
        die(opt.file);
    instant_format_basic(clock_wall_ms(), date);
    requests = malloc(REQUESTS_MAX * sizeof *requests);
    if (requests == NULL)
        abort();
    while (n_requests < REQUESTS_MAX && (n = getline(&line, &cap, f)) > 0) {
        if (line[n - 1] == '\n')
            n--;
        requests[n_requests++] = make_request(a, sv_make(line, (size_t)n), date);
    }
    free(line);
    (void)fclose(f);
    errno = 0;
    if (n_requests == 0)
        die("there are no requests in the file");
}

/* ---- connections ---- */

static void send_next(struct connection *c, uint64_t due_us)
{
    sv r = requests[next_request];
    next_request = next_request + 1 == n_requests ? 0 : next_request + 1;
    buf_clear(&c->in);
    c->sent_us = due_us ? due_us : clock_mono_us();
    while (r.len) {
        ssize_t n =
            c->tls ? SSL_write(c->tls, r.ptr, (int)r.len) : send(c->fd, r.ptr, r.len, MSG_NOSIGNAL);
        if (n < 0)
            die("send");
        r = sv_tail(r, (size_t)n);
    }
}

/* Bytes of the whole answer, once its head is in; 0: not yet. */
static size_t answer_length(const struct buf *in)
{
    static const char end[] = "\r\n\r\n", name[] = "\r\nContent-Length:";
    const char *head = memmem(in->ptr, in->len, end, 4);
    if (head == NULL)
        return 0;
    size_t head_len = (size_t)(head - in->ptr) + 4;
    sv h = sv_make(in->ptr, head_len);
    uint64_t body = 0;
    for (size_t i = 0; i + sizeof name < h.len; i++)
        if (h.ptr[i] == '\r' && strncasecmp(h.ptr + i, name, sizeof name - 1) == 0) {
            sv v = sv_tail(h, i + sizeof name - 1);
            if (!sv_to_u64(sv_trim(sv_head(v, sv_find(v, '\r'))), &body))
                die("Content-Length of an answer is no number");
        }
    return head_len + body;
}

/* What is there; 0: nothing. */
static size_t read_some(struct connection *c)
{
    struct err e;
    must(buf_reserve(&c->in, 64u << 10, &e), &e);
    char *at = c->in.ptr + c->in.len;
    ssize_t n = c->tls ? SSL_read(c->tls, at, 64u << 10) : recv(c->fd, at, 64u << 10, MSG_DONTWAIT);
    if (c->tls ? n <= 0 && SSL_get_error(c->tls, (int)n) == SSL_ERROR_WANT_READ
               : n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        die("the server hung up");
    c->in.len += (size_t)n;
    return (size_t)n;
}

static bool receive(struct connection *c)
{
    struct err e;
    size_t n = read_some(c);
    /* what TLS has read and not given is seen by no epoll */
    while (c->tls && n)
        n = read_some(c);
    size_t want = answer_length(&c->in);
    if (want == 0 || c->in.len < want)
        return false;
    uint32_t us = (uint32_t)(clock_mono_us() - c->sent_us);
    must(buf_add(&latencies, sv_make(&us, sizeof us), &e), &e);
    n_answers++;
    if (c->in.ptr[9] != '2') {
        if (n_failed++ == 0)
            (void)fprintf(stderr, "bench_load: first failure: %.*s\n",
                          (int)(c->in.len < 600 ? c->in.len : 600), c->in.ptr);
    }
    return true;
}

static void shake_hands(SSL_CTX *ctx, struct connection *c)
{
    c->tls = SSL_new(ctx);
    if (c->tls == NULL || SSL_set_fd(c->tls, c->fd) != 1 || SSL_connect(c->tls) != 1 ||
        fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        die("no handshake with the server");
}

static void open_connections(int ep)
{
    SSL_CTX *ctx = opt.tls ? SSL_CTX_new(TLS_client_method()) : NULL;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(opt.port) };
    if (inet_pton(AF_INET, opt.host_z, &to.sin_addr) != 1)
        die("--to takes an IPv4 address and a port");
    for (unsigned i = 0; i < opt.n_connections; i++) {
        int one = 1;
        conns[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (conns[i].fd < 0 || connect(conns[i].fd, (struct sockaddr *)&to, sizeof to) != 0)
            die("connect");
        (void)setsockopt(conns[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (ctx)
            shake_hands(ctx, &conns[i]);
        buf_init(&conns[i].in, ANSWER_MAX);
        struct epoll_event ev = { .events = EPOLLIN, .data.u32 = i };
        if (epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &ev) != 0)
            die("epoll_ctl");
    }
}

static void run(int ep, uint64_t until_us)
{
    struct epoll_event ev[64];
    for (unsigned i = 0; i < opt.n_connections; i++)
        send_next(&conns[i], 0);
    unsigned open = opt.n_connections;
    while (open) {
        int n = epoll_wait(ep, ev, 64, 30000);
        if (n == 0)
            die("no answer for 30 seconds");
        for (int i = 0; i < n; i++) {
            struct connection *c = &conns[ev[i].data.u32];
            if (!receive(c))
                continue;
            if (clock_mono_us() < until_us) {
                send_next(c, 0);
                continue;
            }
            /* takes it out of the epoll set */
            (void)close(c->fd);
            open--;
        }
    }
}

static void run_paced(int ep, uint64_t from_us, uint64_t until_us)
{
    struct epoll_event ev[64];
    unsigned idle[CONNECTIONS_MAX], n_idle = 0;
    for (; n_idle < opt.n_connections; n_idle++)
        idle[n_idle] = n_idle;
    uint64_t n_sent = 0, due = from_us;
    while (due < until_us || n_idle < opt.n_connections) {
        uint64_t now = clock_mono_us();
        for (; due < until_us && due <= now && n_idle; n_sent++) {
            send_next(&conns[idle[--n_idle]], due);
            due = from_us + (uint64_t)((double)(n_sent + 1) * 1e6 / opt.pace);
        }
        uint64_t pause = due >= until_us || n_idle == 0 ? 30000000 : due > now ? due - now : 0;
        struct timespec t = { (time_t)(pause / 1000000), (long)(pause % 1000000) * 1000 };
        int n = epoll_pwait2(ep, ev, 64, &t, NULL);
        if (n == 0 && pause == 30000000)
            die("no answer for 30 seconds");
        for (int i = 0; i < n; i++)
            if (receive(&conns[ev[i].data.u32]))
                idle[n_idle++] = ev[i].data.u32;
    }
}

/* ---- the whole ---- */

static int u32_cmp(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void read_options(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        sv name = sv_from(argv[i]), value = sv_from(argv[i + 1]);
        uint64_t n = 0;
        bool number = sv_to_u64(value, &n);
        if (sv_eq(name, SV_LIT("--to"))) {
            size_t colon = sv_find(value, ':');
            if (!sv_to_u64(sv_tail(value, colon + 1), &n) || n > 65535 || colon > 60)
                die("--to takes HOST:PORT");
            opt.host = value;
            memcpy(opt.host_z, value.ptr, colon);
            opt.port = (uint16_t)n;
        } else if (sv_eq(name, SV_LIT("--connections")) && number && n && n <= CONNECTIONS_MAX) {
            opt.n_connections = (unsigned)n;
        } else if (sv_eq(name, SV_LIT("--seconds")) && number) {
            opt.seconds = (double)n;
        } else if (sv_eq(name, SV_LIT("--pace")) && number) {
            opt.pace = (double)n;
        } else if (sv_eq(name, SV_LIT("--requests"))) {
            opt.file = value.ptr;
        } else if (sv_eq(name, SV_LIT("--tls"))) {
            opt.tls = sv_eq(value, SV_LIT("yes"));
        } else if (sv_eq(name, SV_LIT("--key"))) {
            opt.key = value.ptr;
        } else if (sv_eq(name, SV_LIT("--token"))) {
            opt.token = value.ptr;
        } else if (sv_eq(name, SV_LIT("--secret"))) {
            opt.secret = value.ptr;
        } else {
            die("an option is unknown or has a wrong value; see the head of bench_load.c");
        }
    }
    if (opt.host.len == 0 || opt.file == NULL || (opt.key == NULL) != (opt.secret == NULL))
        die("--to and --requests are needed, --key and --secret come together");
}

int main(int argc, char **argv)
{
    CLEANUP(arena_free) struct arena *a = arena_new(SIZE_MAX / 2);
    errno = 0;
    read_options(argc, argv);
    read_requests(a);
    buf_init(&latencies, SIZE_MAX / 2);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    open_connections(ep);
    struct rusage before, after;
    (void)getrusage(RUSAGE_SELF, &before);
    uint64_t from = clock_mono_us();
    uint64_t until = from + (uint64_t)(opt.seconds * 1e6);
    if (opt.pace > 0)
        run_paced(ep, from, until);
    else
        run(ep, until);
    double s = (double)(clock_mono_us() - from) / 1e6;
    (void)getrusage(RUSAGE_SELF, &after);
    double cpu_us = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec +
                             after.ru_stime.tv_sec - before.ru_stime.tv_sec) *
                        1e6 +
                    (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec +
                             after.ru_stime.tv_usec - before.ru_stime.tv_usec);
    uint32_t *us = (uint32_t *)(void *)latencies.ptr;
    qsort(us, n_answers, sizeof *us, u32_cmp);
    (void)printf(
        "{\"requests\": %zu, \"seconds\": %.3f, \"rps\": %.1f, \"failed\": %zu, \"p50_us\": %u, "
        "\"p99_us\": %u, \"max_us\": %u, \"cpu_us\": %.2f}\n",
        n_answers, s, (double)n_answers / s, n_failed, us[n_answers / 2], us[n_answers * 99 / 100],
        us[n_answers - 1], cpu_us / (double)n_answers);
    return n_failed ? 1 : 0;
}
