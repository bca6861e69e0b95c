/* bench_sink_dir.c - the directory sink against plain write(2) of the same bytes in one run.
 *
 *   bench_sink_dir DIR [FILES [ROUNDS]]     files of 64 MiB; DIR is made and removed
 *
 * Rows: write(2) in blocks of 256 KiB, the same with a SHA-256 before each block, sink_put of a
 * whole buffer, sink_file_write in pieces of 2 KiB; then sink_put with fsync before each rename.
 * Each file is removed when the next of its row is in, so that the page cache stays small. */
#include "base/clock.h"
#include "base/file.h"
#include "codec/hash.h"
#include "sink/sink.h"

#include <fcntl.h>
#include <unistd.h>

#define FILE_BYTES (64u << 20)
#define BLOCK      (256u << 10)
#define MAX_ROUNDS 15

enum { PLAIN, HASHED, PUT, PIECES, SYNCED, N_MODES };
static const char *const mode_names[N_MODES] = { "write(2)", "write(2) and SHA-256", "sink_put",
                                                 "sink_file_write, 2 KiB pieces",
                                                 "sink_put, fsync" };
static struct sink *sinks[2]; /* without and with fsync */
static char *body;
static const char *root;

static void need(err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    (void)fprintf(stderr, "%s\n", e->msg);
    exit(1);
}

static void plain(const char *path, bool hashed)
{
    struct err e = { 0 };
    unsigned char digest[32];
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) {
        perror("open");
        exit(1);
    }
    for (size_t at = 0; at < FILE_BYTES; at += BLOCK) {
        if (hashed)
            hash_sha256_add(h, sv_make(body + at, BLOCK));
        need(file_write_all(fd, sv_make(body + at, BLOCK), &e), &e);
    }
    hash_sha256_take(h, digest);
    close(fd);
}

static void one(int mode, unsigned i)
{
    char path[4096], name[64];
    struct err e = { 0 };
    int n = snprintf(name, sizeof name, "m%d-%u", mode, i % 2);
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    struct sink *s = sinks[mode == SYNCED];
    if (mode == PLAIN || mode == HASHED) {
        (void)unlink(path);
        plain(path, mode == HASHED);
        return;
    }
    need(sink_delete(s, sv_make(name, (size_t)n), &e), &e);
    if (mode != PIECES) {
        need(sink_put(s, sv_make(name, (size_t)n), SV_NONE, sv_make(body, FILE_BYTES), NULL, &e),
             &e);
        return;
    }
    struct sink_file *f = NULL;
    need(sink_file_create(s, sv_make(name, (size_t)n), SV_NONE, FILE_BYTES, &f, &e), &e);
    for (size_t at = 0; at < FILE_BYTES; at += 2048)
        need(sink_file_write(f, sv_make(body + at, 2048), &e), &e);
    need(sink_file_commit(&f, NULL, &e), &e);
}

static double measure(int mode, unsigned n)
{
    uint64_t from = clock_mono_us();
    for (unsigned i = 0; i < n; i++)
        one(mode, i);
    return (double)n * FILE_BYTES / ((double)(clock_mono_us() - from) / 1e6) / 1e6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    uint64_t n = 8, rounds = 5;
    struct err e = { 0 };
    struct sink_world *w[2] = { 0 };
    if (argc < 2 || (argc > 2 && !sv_to_u64(sv_from(argv[2]), &n)) ||
        (argc > 3 && !sv_to_u64(sv_from(argv[3]), &rounds)) || n < 1 || rounds < 1 ||
        rounds > MAX_ROUNDS || access(argv[1], F_OK) == 0) {
        (void)fprintf(stderr, "bench_sink_dir DIR [FILES [ROUNDS]]; DIR must not exist\n");
        return 2;
    }
    root = argv[1];
    for (int i = 0; i < 2; i++) {
        struct sink_config cfg = { .objects_dir = root, .make_buckets = true, .sync = i == 1 };
        struct sink_target t = { .uri = SV_LIT("s3://bucket/x"),
                                 .role_arn = SV_LIT("arn:aws:iam::000000000000:role/bench") };
        need(sink_world_new(&cfg, &w[i], &e), &e);
        need(sink_open(w[i], &t, &sinks[i], &e), &e);
        need(sink_probe_write(sinks[i], &e), &e);
    }
    body = malloc(FILE_BYTES);
    if (body == NULL)
        abort();
    for (size_t i = 0; i < FILE_BYTES; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    double got[N_MODES][MAX_ROUNDS];
    for (unsigned r = 0; r < rounds; r++)
        for (int m = 0; m < N_MODES; m++)
            got[m][r] = measure(m, (unsigned)n);
    (void)printf("%u files of %u MiB, one thread, median of %u\n", (unsigned)n, FILE_BYTES >> 20,
                 (unsigned)rounds);
    for (int m = 0; m < N_MODES; m++) {
        qsort(got[m], rounds, sizeof(double), by_value);
        (void)printf("  %-30s %7.0f MB/s  (%.0f-%.0f)\n", mode_names[m], got[m][rounds / 2],
                     got[m][0], got[m][rounds - 1]);
    }
    for (int i = 0; i < 2; i++) {
        sink_close(sinks[i]);
        sink_world_free(w[i]);
    }
    need(file_remove_tree(root, &e), &e);
    return 0;
}
