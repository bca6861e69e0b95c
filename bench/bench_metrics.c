/* bench_metrics.c - what it costs to count a request: processor time of one call, of one thread and
 * of several side by side, without and with data stores.
 *
 *   bench_metrics [THREADS]      a line each: threads, nanoseconds, nanoseconds with data stores */
#include "service/metrics.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define CALLS    5000000u
#define MOST     64u
#define NS       1e9
#define ID_BYTES 33

struct load {
    struct metrics *metrics;
    pthread_t thread;
    double ns;
};

static double thread_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * NS + (double)t.tv_nsec;
}

static void *count(void *ctx)
{
    struct load *load = ctx;
    char ids[16][ID_BYTES];
    for (unsigned i = 0; i < 16; i++)
        (void)snprintf(ids[i], ID_BYTES, "%032x", i);
    double before = thread_ns();
    for (unsigned i = 0; i < CALLS; i++)
        metrics_request(load->metrics, i % 4 ? "ReadResource" : "CreateResource",
                        sv_make(ids[i % 16], ID_BYTES - 1), 200, i % 3000);
    load->ns = (thread_ns() - before) / CALLS;
    return NULL;
}

/* Nanoseconds of a call, on average of the threads. */
static double run(unsigned n, bool per_datastore)
{
    static const char *const names[] = { "ReadResource", "CreateResource", "UpdateResource" };
    const struct metrics_config cfg = { names, 3, per_datastore };
    struct metrics *metrics = metrics_new(&cfg);
    struct load loads[MOST];
    double sum = 0;
    for (unsigned i = 0; i < n; i++) {
        loads[i] = (struct load){ .metrics = metrics };
        if (pthread_create(&loads[i].thread, NULL, count, &loads[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < n; i++) {
        (void)pthread_join(loads[i].thread, NULL);
        sum += loads[i].ns;
    }
    metrics_free(metrics);
    return sum / n;
}

int main(int argc, char **argv)
{
    uint64_t most = 2;
    if (argc > 2 || (argc == 2 && (!sv_to_u64(sv_from(argv[1]), &most) || most < 1 || most > MOST)))
        return 2;
    for (unsigned n = 1; n <= most; n *= 2)
        (void)printf("%u %.1f %.1f\n", n, run(n, false), run(n, true));
    return 0;
}
