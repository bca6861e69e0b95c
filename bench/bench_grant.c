/* bench_grant.c - what do scopes cost a search?
 *
 *   bench_grant DIR [PATIENTS]   PATIENTS (default 2000) with 50 Observations each; DIR is made and
 *                                removed
 *
 * The first page of 20 Observations of a patient is searched again and again: without a grant, and
 * with grants that give these resources. Processor time of a page, and the ratio to the first. */
#include "base/clock.h"
#include "base/file.h"
#include "query/grant.h"
#include "store/store.h"

#include <sys/resource.h>

#define EACH  50u
#define PAGE  20u
#define PAGES 1000u
#define TURNS 5u

static void need(err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    (void)fprintf(stderr, "%s\n", e->msg);
    exit(1);
}

static double cpu_us(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_THREAD, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void put_patient(struct store *st, struct fhir_reader *reader, unsigned p)
{
    static char texts[EACH][1500];
    struct store_write w[EACH];
    struct buf stored[EACH], index[EACH];
    struct store_commit at;
    struct err e;
    for (unsigned i = 0; i < EACH; i++) {
        struct fhir_envelope env;
        (void)snprintf(texts[i], sizeof texts[i],
                       "{\"resourceType\":\"Observation\",\"id\":\"o%u-%u\",\"status\":\"final\","
                       "\"category\":[{\"coding\":[{\"system\":\"c\",\"code\":\"%s\"}]}],\"code\":{"
                       "\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"%u-4\",\"display\":"
                       "\"Body weight, as it was measured with clothes\"}]},\"subject\":{"
                       "\"reference\":\"Patient/p%u\"},\"encounter\":{\"reference\":"
                       "\"Encounter/e%u\"},\"effectiveDateTime\":\"2024-01-%02uT10:00:00Z\","
                       "\"issued\":\"2024-01-01T10:00:00Z\",\"valueQuantity\":{\"value\":%u.5,"
                       "\"unit\":\"kg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"kg\"}}",
                       p, i, i % 2 ? "lab" : "vital", i, p, i, i % 28 + 1, 60 + i);
        buf_init(&stored[i], 8192);
        buf_init(&index[i], 8192);
        need(fhir_envelope_read(reader, sv_from(texts[i]), SV_NONE, &stored[i], &env, &e), &e);
        need(search_index(env.type, fhir_reader_root(reader), &index[i], &e), &e);
        w[i] = (struct store_write){ .type = env.type,
                                     .method = STORE_METHOD_UPDATE,
                                     .body = env.body,
                                     .index = buf_sv(&index[i]) };
        /* the reader keeps one id at a time */
        w[i].id = sv_make(strstr(texts[i], "\"id\":\"") + 6, env.id.len);
    }
    need(store_commit(st, w, EACH, &at, &e), &e);
    for (unsigned i = 0; i < EACH; i++) {
        buf_done(&stored[i]);
        buf_done(&index[i]);
    }
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Processor time of a page, in microseconds; the median of some turns. */
static double measure(struct store *st, const char *scopes, const char *query, unsigned n_patients,
                      size_t *n_found)
{
    double turns[TURNS];
    for (unsigned turn = 0; turn < TURNS; turn++) {
        double before = cpu_us();
        *n_found = 0;
        for (unsigned i = 0; i < PAGES; i++) {
            CLEANUP(arena_free) struct arena *a = arena_new(QUERY_GRANT_BYTES);
            struct query *q = arena_alloc(a, sizeof *q);
            struct smart_grant smart = { 0 };
            const struct search_context cx = { .base = SV_LIT("http://here/r4") };
            struct query_match m;
            struct store_commit last;
            struct err e;
            char patient[20];
            need(store_last(st, &last, &e), &e);
            (void)snprintf(patient, sizeof patient, "p%u", i * 7 % n_patients);
            struct query_source src = {
                .st = st, .a = a, .base = cx.base, .as_of = last.t, .letters = SMART_S
            };
            if (scopes) {
                smart.patient = sv_from(patient);
                need(smart_scopes_read(sv_from(scopes), a, &smart.scopes, &smart.n_scopes, &e), &e);
                need(query_grant_new(&smart, &cx, a, &src.grant, &e), &e);
            }
            query_init(q, &src, fhir_type_find(SV_LIT("Observation")));
            if (strstr(query, "patient"))
                need(query_add(q, SV_LIT("patient"), sv_from(patient), &e), &e);
            if (strstr(query, "category"))
                need(query_add(q, SV_LIT("category"), SV_LIT("c|lab"), &e), &e);
            CLEANUP(query_walk_close) struct query_walk *walk = NULL;
            need(query_walk_open(q, NULL, &walk, &e), &e);
            for (unsigned k = 0; k < PAGE && query_walk_next(walk, 0, &m, &e) == ERR_OK; k++)
                ++*n_found;
        }
        turns[turn] = (cpu_us() - before) / PAGES;
    }
    qsort(turns, TURNS, sizeof turns[0], by_size);
    return turns[TURNS / 2];
}

int main(int argc, char **argv)
{
    static const struct {
        const char *scopes, *query;
    } rows[] = {
        { NULL, "patient" },
        { "patient/Observation.rs", "patient" },
        { "patient/*.rs user/Practitioner.rs openid", "patient" },
        { "patient/Observation.rs", "" },
        { "user/Observation.rs?category=c|lab patient/Observation.rs", "patient" },
        { NULL, "patient&category" },
        { "patient/Observation.rs?category=c|lab", "patient&category" },
        { "patient/Observation.rs?category=c|lab", "" },
        { NULL, "category" },
        { "system/Observation.rs", "category" },
        { "system/Observation.rs?category=c|lab", "category" },
    };
    uint64_t n = 2000;
    struct store *st;
    struct err e;
    double first = 0;
    if (argc < 2 || (argc > 2 && !sv_to_u64(sv_from(argv[2]), &n)) || n == 0 || n > 1000000) {
        (void)fprintf(stderr, "usage: bench_grant DIR [PATIENTS]\n");
        return 2;
    }
    const unsigned n_patients = (unsigned)n;
    struct store_env *env = store_env_new((size_t)256 << 20, 1);
    need(file_mkdirs(argv[1], &e), &e);
    need(store_open(env, argv[1], true, &st, &e), &e);
    struct fhir_reader *reader = fhir_reader_new(1 << 20);
    for (unsigned p = 0; p < n_patients; p++)
        put_patient(st, reader, p);
    fhir_reader_free(reader);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n_found;
        double us = measure(st, rows[i].scopes, rows[i].query, n_patients, &n_found);
        if (rows[i].scopes == NULL)
            first = us;
        printf("%-62s %-18s %7.1f us  x %.2f  %zu\n", rows[i].scopes ? rows[i].scopes : "-",
               rows[i].query[0] ? rows[i].query : "-", us, us / first, n_found / PAGES);
    }
    store_close(st);
    store_env_free(env);
    need(file_remove_tree(argv[1], &e), &e);
    return 0;
}
