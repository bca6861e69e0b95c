/* bench_connect.c - what a connection to a TLS peer costs, with libcurl's own reading of the
 * authorities and with callout_trust(), in turns.
 *
 *   bench_connect URL AUTHORITIES [N]
 *
 * Prints milliseconds of this process's processor time for each, and their ratio. */
#include "callout/callout.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static size_t drop(char *p, size_t size, size_t n, void *ctx)
{
    (void)p, (void)ctx;
    return size * n;
}

static double cpu_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double connection(const char *url, const char *file, bool own)
{
    const double began = cpu_ms();
    CURL *easy = curl_easy_init();
    if (easy == NULL)
        abort();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
    if (own)
        callout_trust(easy, file);
    else
        curl_easy_setopt(easy, CURLOPT_CAINFO, file);
    const CURLcode rc = curl_easy_perform(easy);
    if (rc != CURLE_OK) {
        (void)fprintf(stderr, "%s: %s\n", url, curl_easy_strerror(rc));
        exit(1);
    }
    curl_easy_cleanup(easy);
    return cpu_ms() - began;
}

int main(int argc, char **argv)
{
    uint64_t n = 100;
    if (argc < 3 || argc > 4 || (argc > 3 && (!sv_to_u64(sv_from(argv[3]), &n) || n == 0))) {
        (void)fprintf(stderr, "bench_connect URL AUTHORITIES [N]\n");
        return 2;
    }
    double each = 0, once = 0;
    for (uint64_t i = 0; i < n; i++) {
        each += connection(argv[1], argv[2], false);
        once += connection(argv[1], argv[2], true);
    }
    printf("a connection, read each time %.2f ms, once %.2f ms, ratio %.3f\n", each / (double)n,
           once / (double)n, once / each);
    return 0;
}
