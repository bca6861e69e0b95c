/* bench_validate.c - how fast one core validates the resources of NDJSON files, parsing beside it.
 * Usage: bench_validate FILE...   prints resources/s and MB/s of parse, STRUCTURE and STRICT */
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "codec/json.h"
#include "codec/ndjson.h"
#include "fhir/definitions.h"
#include "fhir/validate.h"

enum { PARSE, STRUCTURE, STRICT, N_TIMES };

int main(int argc, char **argv)
{
    static const char *const names[] = { "parse", "structure", "strict" };
    struct buf b = BUF_INIT(SIZE_MAX / 2);
    struct arena *a = arena_new(SIZE_MAX / 2);
    uint64_t ns[N_TIMES] = { 0 }, n = 0, n_bad = 0;
    struct err e = { 0 };
    for (int i = 1; i < argc; i++)
        if (file_read(argv[i], &b, &e) != ERR_OK) {
            (void)fprintf(stderr, "bench_validate: %s: %s\n", argv[i], e.msg);
            return 1;
        }
    /* the tables are built once a process */
    (void)fhir_structure_of(1);
    sv rest = buf_sv(&b), line;
    while (ndjson_line(&rest, &line)) {
        yyjson_doc *doc;
        struct fhir_issues issues;
        arena_reset(a);
        /* one behind the other: each finds the caches warm */
        for (int t = 0; t < N_TIMES; t++) {
            struct timespec from, to;
            (void)clock_gettime(CLOCK_MONOTONIC, &from);
            err_code rc = t == PARSE ? json_read(a, line, LIMIT_RESOURCE_DEPTH, &doc, &e)
                                     : fhir_validate(yyjson_doc_get_root(doc),
                                                     t == STRICT ? FHIR_VALIDATE_STRICT
                                                                 : FHIR_VALIDATE_STRUCTURE,
                                                     a, &issues, &e);
            (void)clock_gettime(CLOCK_MONOTONIC, &to);
            if (rc != ERR_OK) {
                (void)fprintf(stderr, "bench_validate: %s\n", e.msg);
                return 1;
            }
            ns[t] += (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000u + (uint64_t)to.tv_nsec -
                     (uint64_t)from.tv_nsec;
        }
        n++;
        n_bad += issues.n != 0;
    }
    (void)printf("%llu resources of %.0f bytes on average, %llu with issues\n",
                 (unsigned long long)n, n ? (double)b.len / (double)n : 0.0,
                 (unsigned long long)n_bad);
    for (int t = 0; t < N_TIMES; t++)
        (void)printf("%-9s %12.0f resources/s %9.1f MB/s\n", names[t],
                     (double)n * 1e9 / (double)(ns[t] ? ns[t] : 1),
                     (double)b.len * 1e3 / (double)(ns[t] ? ns[t] : 1));
    arena_free(a);
    buf_done(&b);
    return 0;
}
