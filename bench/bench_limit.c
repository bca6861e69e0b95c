/* bench_limit.c - what an export to a directory could reach here if all that is ours cost nothing.
 *
 *   bench_limit DIR MB [NDJSON]     DIR is made and removed; prints MB/s
 *
 * One thread a processor writes MB between them as files of 64 MiB, two side by side, as an
 * export's workers do: their SHA-256, write(2), rename. Without NDJSON the bytes are in the
 * processor's cache: reading the store costs nothing. With it they are the file's first bytes, read
 * and unpacked from lz4 blocks of the store's size: the least that any store which compresses so
 * must do. No RocksDB, no splicing, no counting. */
#include "base/clock.h"
#include "base/file.h"
#include "sink/sink.h"

#include <fcntl.h>
#include <lz4.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define FILE_BYTES   (64u << 20)
#define LANES        2u
#define MAX_THREADS  64
#define PACKED_BYTES (64u << 10) /* before lz4 */
#define IN_UNIT      (SINK_WRITE_UNIT / PACKED_BYTES)
#define IN_FILE      (FILE_BYTES / PACKED_BYTES)

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

/* ---- lz4 blocks ---- */

static int packed_fd = -1; /* or no blocks */
static struct block {
    uint64_t at;
    int len;
} * blocks;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* The blocks of one file of NDJSON, which every object holds again: as many bytes as an object
 * has. */
static void pack(const char *ndjson, const char *path)
{
    static char raw[PACKED_BYTES], packed[LZ4_COMPRESSBOUND(PACKED_BYTES)];
    int in = open(ndjson, O_RDONLY);
    packed_fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    blocks = calloc(IN_FILE, sizeof *blocks);
    if (in < 0 || packed_fd < 0 || blocks == NULL || unlink(path) != 0)
        fail(ndjson);
    for (uint64_t i = 0, at = 0; i < IN_FILE; at += (uint64_t)blocks[i++].len) {
        if (pread(in, raw, sizeof raw, (off_t)(i * sizeof raw)) != sizeof raw) {
            (void)fprintf(stderr, "%s: holds less than %u bytes\n", ndjson, FILE_BYTES);
            exit(1);
        }
        blocks[i] =
            (struct block){ at, LZ4_compress_default(raw, packed, sizeof raw, sizeof packed) };
        if (pwrite(packed_fd, packed, (size_t)blocks[i].len, (off_t)at) != blocks[i].len)
            fail(path);
    }
    (void)close(in);
}

static void unpack(size_t unit, char *out)
{
    char packed[LZ4_COMPRESSBOUND(PACKED_BYTES)];
    for (size_t i = 0; packed_fd >= 0 && i < IN_UNIT; i++) {
        const struct block *b = &blocks[unit * IN_UNIT + i];
        if (pread(packed_fd, packed, (size_t)b->len, (off_t)b->at) != b->len ||
            LZ4_decompress_safe(packed, out + i * PACKED_BYTES, b->len, PACKED_BYTES) !=
                (int)PACKED_BYTES)
            fail("unpacking");
    }
}

/* ---- writing ---- */

static void write_pair(uint64_t first, char *memory)
{
    struct sink_file *f[LANES] = { 0 };
    struct err e;
    sv units[LANES] = { sv_make(memory, SINK_WRITE_UNIT),
                        sv_make(memory + SINK_WRITE_UNIT, SINK_WRITE_UNIT) };
    for (unsigned i = 0; i < LANES; i++) {
        char name[32];
        int n = snprintf(name, sizeof name, "f%llu", (unsigned long long)(first + i));
        need(sink_file_create(sink, sv_make(name, (size_t)n), SV_NONE, FILE_BYTES, &f[i], &e), &e);
    }
    for (size_t at = 0; at < FILE_BYTES; at += SINK_WRITE_UNIT) {
        for (unsigned i = 0; i < LANES; i++)
            unpack(at / SINK_WRITE_UNIT, memory + i * SINK_WRITE_UNIT);
        sink_files_digest(f[0], units[0], f[1], units[1]);
        for (unsigned i = 0; i < LANES; i++)
            need(sink_file_write(f[i], units[i], &e), &e);
    }
    for (unsigned i = 0; i < LANES; i++)
        need(sink_file_commit(&f[i], NULL, &e), &e);
}

static void *work(void *arg)
{
    (void)arg;
    char *memory = malloc((size_t)LANES * SINK_WRITE_UNIT);
    if (memory == NULL)
        abort();
    for (size_t i = 0; i < (size_t)LANES * SINK_WRITE_UNIT; i++)
        memory[i] = (char)(i * 2654435761u >> 13);
    uint64_t at;
    while ((at = atomic_fetch_add(&next_file, LANES)) < n_files)
        write_pair(at, memory);
    free(memory);
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t mb;
    struct err e = { 0 };
    struct sink_world *w;
    pthread_t threads[MAX_THREADS];
    if (argc < 3 || argc > 4 || !sv_to_u64(sv_from(argv[2]), &mb) || mb < 1 ||
        access(argv[1], F_OK) == 0) {
        (void)fprintf(stderr, "bench_limit DIR MB [NDJSON]; DIR must not exist\n");
        return 2;
    }
    n_files = (mb * 1000000 + FILE_BYTES - 1) / FILE_BYTES;
    n_files += n_files % LANES;
    struct sink_config cfg = { .objects_dir = argv[1], .make_buckets = true };
    struct sink_target t = { .uri = SV_LIT("s3://bucket/x"),
                             .role_arn = SV_LIT("arn:aws:iam::000000000000:role/bench") };
    need(sink_world_new(&cfg, &w, &e), &e);
    need(sink_open(w, &t, &sink, &e), &e);
    if (argc == 4) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%s/packed", argv[1]);
        pack(argv[3], path);
    }
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    n = n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
    uint64_t from = clock_mono_us();
    for (long i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            abort();
    for (long i = 0; i < n; i++)
        (void)pthread_join(threads[i], NULL);
    double seconds = (double)(clock_mono_us() - from) / 1e6;
    free(blocks);
    if (packed_fd >= 0)
        (void)close(packed_fd);
    (void)printf("%.0f\n", (double)n_files * FILE_BYTES / 1e6 / seconds);
    sink_close(sink);
    sink_world_free(w);
    need(file_remove_tree(argv[1], &e), &e);
    return 0;
}
