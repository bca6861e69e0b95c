/* bench_limit.c - what an export to a directory could reach here if reading the store cost nothing.
 *
 *   bench_limit DIR MB       DIR is made and removed; prints MB/s
 *
 * One thread a processor writes MB between them as files of 64 MiB, two side by side, as an export's workers do: bytes
 * that are in the cache, their SHA-256, write(2), rename. No RocksDB, no splicing, no counting. */
#include "base/clock.h"
#include "base/file.h"
#include "sink/sink.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define FILE_BYTES  (64u << 20)
#define LANES       2u
#define MAX_THREADS 64

static struct sink *sink;
static uint64_t n_files;
static atomic_uint_fast64_t next_file;

static void need(err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    (void)fprintf(stderr, "%s\n", e->msg);
    exit(1);
}

static void write_pair(uint64_t first, const char *block)
{
    struct sink_file *f[LANES] = { 0 };
    struct err e;
    sv unit = sv_make(block, SINK_WRITE_UNIT);
    for (unsigned i = 0; i < LANES; i++) {
        char name[32];
        int n = snprintf(name, sizeof name, "f%llu", (unsigned long long)(first + i));
        need(sink_file_create(sink, sv_make(name, (size_t)n), SV_NONE, FILE_BYTES, &f[i], &e), &e);
    }
    for (size_t at = 0; at < FILE_BYTES; at += SINK_WRITE_UNIT) {
        sink_files_digest(f[0], unit, f[1], unit);
        for (unsigned i = 0; i < LANES; i++)
            need(sink_file_write(f[i], unit, &e), &e);
    }
    for (unsigned i = 0; i < LANES; i++)
        need(sink_file_commit(&f[i], NULL, &e), &e);
}

static void *work(void *arg)
{
    (void)arg;
    char *block = malloc(SINK_WRITE_UNIT);
    if (block == NULL)
        abort();
    for (size_t i = 0; i < SINK_WRITE_UNIT; i++)
        block[i] = (char)(i * 2654435761u >> 13);
    uint64_t at;
    while ((at = atomic_fetch_add(&next_file, LANES)) < n_files)
        write_pair(at, block);
    free(block);
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t mb;
    struct err e = { 0 };
    struct sink_world *w;
    pthread_t threads[MAX_THREADS];
    if (argc != 3 || !sv_to_u64(sv_from(argv[2]), &mb) || mb < 1 || access(argv[1], F_OK) == 0) {
        (void)fprintf(stderr, "bench_limit DIR MB; DIR must not exist\n");
        return 2;
    }
    n_files = (mb * 1000000 + FILE_BYTES - 1) / FILE_BYTES;
    n_files += n_files % LANES;
    struct sink_config cfg = { .objects_dir = argv[1], .make_buckets = true };
    struct sink_target t = { .uri = SV_LIT("s3://bucket/x"),
                             .role_arn = SV_LIT("arn:aws:iam::000000000000:role/bench") };
    need(sink_world_new(&cfg, &w, &e), &e);
    need(sink_open(w, &t, &sink, &e), &e);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    n = n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
    uint64_t from = clock_mono_us();
    for (long i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            abort();
    for (long i = 0; i < n; i++)
        (void)pthread_join(threads[i], NULL);
    double seconds = (double)(clock_mono_us() - from) / 1e6;
    (void)printf("%.0f\n", (double)n_files * FILE_BYTES / 1e6 / seconds);
    sink_close(sink);
    sink_world_free(w);
    need(file_remove_tree(argv[1], &e), &e);
    return 0;
}
