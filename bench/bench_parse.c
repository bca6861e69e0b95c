/* bench_parse.c - the limit of an import: how fast yyjson alone reads the same lines, on one core.
 * Usage: bench_parse FILE...   prints MB/s */
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "codec/ndjson.h"

#include <yyjson.h>

int main(int argc, char **argv)
{
    static char pool[64u << 20];
    struct buf b = BUF_INIT(SIZE_MAX / 2);
    uint64_t bytes = 0, us = 0;
    for (int i = 1; i < argc; i++) {
        struct err e;
        buf_clear(&b);
        if (file_read(argv[i], &b, &e) != ERR_OK) {
            (void)fprintf(stderr, "bench_parse: %s: %s\n", argv[i], e.msg);
            return 1;
        }
        sv rest = buf_sv(&b), line;
        uint64_t start = clock_mono_us();
        while (ndjson_line(&rest, &line)) {
            yyjson_alc alc;
            if (!yyjson_alc_pool_init(&alc, pool, sizeof pool) ||
                yyjson_read_opts((char *)(uintptr_t)line.ptr, line.len, YYJSON_READ_NUMBER_AS_RAW,
                                 &alc, NULL) == NULL)
                return 1;
        }
        us += clock_mono_us() - start;
        bytes += b.len;
    }
    (void)printf("%.1f\n", (double)bytes / (double)(us ? us : 1));
    return 0;
}
