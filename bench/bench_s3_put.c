/* bench_s3_put.c - our PutObject against raw libcurl, the same bytes in one run.
 *
 *   bench_s3_put [OBJECTS [ROUNDS [HOW [CERT KEY]]]]     starts s3_blackhole, which stands beside
 *                                                        it: HOW "truncate" or 0; over TLS
 *
 * Rows: raw libcurl (tuned as ours, nothing signed, nothing hashed), the same behind a SHA-256 of
 * the bytes (what anybody pays who signs them or lists their digests), our PUT with a digest that
 * the caller has, our PUT with the digest computed (before it is sent; over TLS, while it is sent),
 * a sink's sink_put, and two files of a sink written side by side in blocks, as an export does
 * (half as large, so that memory is the same). Over TLS also such files whose digests are computed
 * while they are sent.
 * One connection, then two. Rounds alternate; the median counts. Processor time is this process's,
 * without the peer's. */
#include "base/clock.h"
#include "base/file.h"
#include "codec/hash.h"
#include "sink/sink_private.h"

#include <curl/curl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define OBJECT_BYTES (64u << 20)
#define MAX_ROUNDS   15

enum { RAW, RAW_HASHED, GIVEN, COMPUTED, SINK, PAIR, LATE, N_MODES };
static const char *const mode_names[N_MODES] = { "raw libcurl PUT",
                                                 "SHA-256, then raw libcurl PUT",
                                                 "s3_object_put, digest given",
                                                 "s3_object_put, digest computed",
                                                 "sink_put",
                                                 "two sink files side by side",
                                                 "the same, digests while sent" };

static char url[64];
static const char *cert, *key; /* NULL: plain HTTP */
static struct s3_client *client;
static struct sink *sink;
static struct sink_world *world;
static unsigned char digest[32];
static char *body;

struct load {
    int mode, id;
    unsigned n;
    bool failed;
};

static err_code give(void *ctx, sv refused, struct arena *a, struct s3_credentials *out,
                     struct err *e)
{
    (void)ctx;
    (void)refused;
    (void)a;
    (void)e;
    *out =
        (struct s3_credentials){ .access_key_id = SV_LIT("AKID"), .secret_key = SV_LIT("secret") };
    return ERR_OK;
}

struct raw_body {
    size_t at;
};

static size_t raw_read(char *dst, size_t size, size_t n, void *ctx)
{
    struct raw_body *b = ctx;
    size_t left = OBJECT_BYTES - b->at, take = size * n < left ? size * n : left;
    memcpy(dst, body + b->at, take);
    b->at += take;
    return take;
}

static bool raw_put(CURL *h, unsigned i)
{
    char u[128];
    struct raw_body b = { 0 };
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    (void)snprintf(u, sizeof u, "%s/bucket/raw/%u", url, i);
    curl_easy_setopt(h, CURLOPT_URL, u);
    curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 1048576L);
    curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)OBJECT_BYTES);
    curl_easy_setopt(h, CURLOPT_READFUNCTION, raw_read);
    curl_easy_setopt(h, CURLOPT_READDATA, &b);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    if (cert)
        curl_easy_setopt(h, CURLOPT_CAINFO, cert);
    CURLcode rc = curl_easy_perform(h);
    curl_slist_free_all(headers);
    return rc == CURLE_OK;
}

/* The body as two objects. */
static err_code put_pair(sv name, struct err *e)
{
    CLEANUP(sink_file_abort) struct sink_file *f = NULL;
    CLEANUP(sink_file_abort) struct sink_file *g = NULL;
    char second[80];
    int len = snprintf(second, sizeof second, "%.*s-b", SV_FMT(name));
    size_t half = OBJECT_BYTES / 2;
    TRY(sink_file_create(sink, name, SV_NONE, half, &f, e));
    TRY(sink_file_create(sink, sv_make(second, (size_t)len), SV_NONE, half, &g, e));
    for (size_t at = 0; at < half; at += SINK_WRITE_UNIT) {
        sv x = sv_make(body + at, SINK_WRITE_UNIT), y = sv_make(body + half + at, SINK_WRITE_UNIT);
        sink_files_digest(f, x, g, y);
        TRY(sink_file_write(f, x, e));
        TRY(sink_file_write(g, y, e));
    }
    TRY(sink_file_commit(&f, NULL, e));
    return sink_file_commit(&g, NULL, e);
}

static void *run(void *ctx)
{
    struct load *l = ctx;
    unsigned char own[32];
    CURL *h = l->mode <= RAW_HASHED ? curl_easy_init() : NULL;
    for (unsigned i = 0; i < l->n && !l->failed; i++) {
        char name[64];
        struct err e = { 0 };
        int len = snprintf(name, sizeof name, "t%d/%u", l->id, i);
        struct s3_put p = { .bucket = SV_LIT("bucket"),
                            .key = sv_make(name, (size_t)len),
                            .body = sv_make(body, OBJECT_BYTES),
                            .sha256 = l->mode == GIVEN ? digest : NULL };
        if (l->mode == RAW_HASHED)
            hash_sha256_of(p.body, own);
        if (l->mode <= RAW_HASHED)
            l->failed = !raw_put(h, i);
        else if (l->mode >= PAIR)
            l->failed = put_pair(p.key, &e) != ERR_OK;
        else if (l->mode == SINK)
            l->failed = sink_put(sink, p.key, SV_NONE, p.body, NULL, &e) != ERR_OK;
        else
            l->failed = s3_object_put(client, &p, &e) != ERR_OK;
        if (l->failed)
            (void)fprintf(stderr, "%s\n", e.msg);
    }
    if (h)
        curl_easy_cleanup(h);
    return NULL;
}

static double cpu_seconds(void)
{
    struct rusage r;
    (void)getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static double cpu_per_gb; /* of the last measure, without the peer's */

static double measure(int mode, unsigned conns, unsigned n)
{
    double cpu = cpu_seconds();
    pthread_t t[2];
    struct load l[2];
    world->digest_first = mode != LATE;
    uint64_t from = clock_mono_us();
    for (unsigned i = 0; i < conns; i++) {
        l[i] = (struct load){ mode, (int)i, n / conns, false };
        if (pthread_create(&t[i], NULL, run, &l[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < conns; i++) {
        pthread_join(t[i], NULL);
        if (l[i].failed)
            exit(1);
    }
    double s = (double)(clock_mono_us() - from) / 1e6;
    double bytes = (double)(n / conns * conns) * OBJECT_BYTES;
    cpu_per_gb = (cpu_seconds() - cpu) / bytes * 1e9;
    return bytes / s / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static pid_t start_peer(const char *self, const char *how, int *in)
{
    char path[4096];
    int to[2], from[2];
    const char *slash = strrchr(self, '/');
    (void)snprintf(path, sizeof path, "%.*ss3_blackhole", slash ? (int)(slash - self + 1) : 0,
                   self);
    if (pipe(to) != 0 || pipe(from) != 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(to[0], 0);
        (void)dup2(from[1], 1);
        close(to[1]);
        (void)execl(path, path, "0", how, cert, key, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    unsigned port = 0;
    FILE *f = fdopen(from[0], "r");
    if (f == NULL || fscanf(f, "PORT %u", &port) != 1) {
        (void)fprintf(stderr, "cannot start s3_blackhole\n");
        exit(1);
    }
    (void)snprintf(url, sizeof url, "http%s://127.0.0.1:%u", cert ? "s" : "", port);
    *in = to[1];
    return pid;
}

static void open_all(void)
{
    struct err e = { 0 };
    char roles[] = "/tmp/fhirlake-bench-XXXXXX";
    struct s3_endpoint ep = { .url = sv_from(url), .region = SV_LIT("us-east-1") };
    struct sink_config cfg = { .s3 = &ep, .roles_file = roles };
    struct sink_target t = { .uri = SV_LIT("s3://bucket/sink"),
                             .role_arn = SV_LIT("arn:aws:iam::000000000000:role/bench") };
    int fd = mkstemp(roles);
    sv text = SV_LIT("{\"roles\":[{\"arn\":\"arn:aws:iam::000000000000:role/bench\","
                     "\"allow\":[\"s3://bucket/*\"],\"credentials\":{"
                     "\"accessKeyId\":\"AKID\",\"secretAccessKey\":\"secret\"}}]}");
    err_code rc = fd < 0 ? ERR_IO : file_write_all(fd, text, &e);
    if (rc == ERR_OK)
        rc = sink_world_new(&cfg, &world, &e);
    if (rc == ERR_OK)
        rc = sink_open(world, &t, &sink, &e);
    if (rc == ERR_OK)
        rc = s3_client_new(&ep, give, NULL, NULL, &client, &e);
    (void)unlink(roles);
    if (rc != ERR_OK) {
        (void)fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    uint64_t n = 16, rounds = 5;
    if ((argc > 1 && !sv_to_u64(sv_from(argv[1]), &n)) ||
        (argc > 2 && !sv_to_u64(sv_from(argv[2]), &rounds)) || n < 2 || rounds < 1 ||
        rounds > MAX_ROUNDS) {
        (void)fprintf(stderr, "bench_s3_put [OBJECTS [ROUNDS [HOW [CERT KEY]]]]\n");
        return 2;
    }
    if (argc > 5) {
        cert = argv[4];
        key = argv[5];
        (void)setenv("SSL_CERT_FILE", cert, 1);
    }
    /* without TLS no digest is computed while anything is sent */
    const int modes = cert ? N_MODES : LATE;
    int in;
    pid_t peer = start_peer(argv[0], argc > 3 ? argv[3] : "", &in);
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    open_all();
    body = malloc(OBJECT_BYTES);
    if (body == NULL)
        abort();
    for (size_t i = 0; i < OBJECT_BYTES; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    hash_sha256_of(sv_make(body, OBJECT_BYTES), digest);

    uint64_t from = clock_mono_us();
    for (int i = 0; i < 4; i++)
        hash_sha256_of(sv_make(body, OBJECT_BYTES), digest);
    (void)printf("SHA-256 alone: %.0f MB/s\n",
                 4.0 * OBJECT_BYTES / ((double)(clock_mono_us() - from) / 1e6) / 1e6);
    for (unsigned conns = 1; conns <= 2; conns++) {
        double got[N_MODES][MAX_ROUNDS], cpu[N_MODES][MAX_ROUNDS];
        for (int m = 0; m < modes; m++)
            /* connections open, pages touched */
            (void)measure(m, conns, 2);
        for (unsigned r = 0; r < rounds; r++)
            for (int m = 0; m < modes; m++) {
                got[m][r] = measure(m, conns, (unsigned)n);
                cpu[m][r] = cpu_per_gb;
            }
        (void)printf("%u connection%s, %u objects of %u MiB, median of %u\n", conns,
                     conns > 1 ? "s" : "", (unsigned)n, OBJECT_BYTES >> 20, (unsigned)rounds);
        double raw = 0;
        for (int m = 0; m < modes; m++) {
            qsort(got[m], rounds, sizeof(double), by_value);
            qsort(cpu[m], rounds, sizeof(double), by_value);
            double v = got[m][rounds / 2];
            raw = m == RAW ? v : raw;
            (void)printf("  %-32s %7.0f MB/s  (%.0f-%.0f)  %.2f x raw, %.2f cpu s/GB\n",
                         mode_names[m], v, got[m][0], got[m][rounds - 1], v / raw,
                         cpu[m][rounds / 2]);
        }
    }
    s3_client_free(client);
    sink_close(sink);
    close(in);
    (void)waitpid(peer, NULL, 0);
    return 0;
}
