/* bench_engine.c - one store engine alone: loads as an import's, a scan as an export's, reads by
 * id, commits.
 *
 *   bench_engine URI MB         MB of generated JSON; the store is made, and stays
 *
 * After each phase a line says its name, how many resources or calls it was, bytes, seconds, and
 * this process's processor seconds; then it waits for a line, so that whoever reads can look at the
 * server's. Nothing is validated. Parsing and index entries are made before the clock runs. */
#include "base/clock.h"
#include "gen/gen.h"
#include "store/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define CHUNK_BYTES (16u << 20)
#define RANGE_BYTES (64u << 20)
#define LOADERS     2u
#define GETS        20000u
#define WRITERS     16u
#define WRITES      200u /* of each writer */
#define INDEX_MAX   (1u << 20)
#define IDS_MAX     4000000u

struct id {
    fhir_type type;
    char text[FHIR_ID_MAX];
    size_t len;
};

static struct store *st;
static struct id *ids;
static size_t n_ids;
static uint64_t n_bytes;
static uint64_t wall_us;
static double cpu_s;

static void need(err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    (void)fprintf(stderr, "bench_engine: %s\n", e->msg);
    exit(1);
}

static double cpu_now(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void phase_begin(void)
{
    wall_us = 0;
    cpu_s = cpu_now();
    wall_us = clock_mono_us();
}

static void phase_end(const char *name, size_t n, uint64_t bytes)
{
    char line[16];
    (void)printf("%s %zu %llu %.6f %.6f\n", name, n, (unsigned long long)bytes,
                 (double)(clock_mono_us() - wall_us) / 1e6, cpu_now() - cpu_s);
    (void)fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(1);
}

/* ---- loads ---- */

struct chunk {
    struct buf json, index, items;
    size_t first_id;
};

/* A bulk of what was collected, then published. */
static void *load_chunk(void *arg)
{
    struct chunk *c = arg;
    struct err e = { 0 };
    struct store_bulk *b;
    struct store_commit at;
    need(store_bulk_begin(st, &b, &e), &e);
    need(store_bulk_fill(b, (struct store_bulk_item *)(void *)c->items.ptr,
                         c->items.len / sizeof(struct store_bulk_item), &e),
         &e);
    need(store_bulk_publish(&b, SV_LIT("bench"), SV_LIT("{}"), &at, &e), &e);
    return NULL;
}

static void chunk_add(struct chunk *c, struct fhir_reader *reader, sv line)
{
    struct err e = { 0 };
    struct fhir_envelope env;
    struct store_bulk_item it = { .seq = n_ids };
    need(fhir_envelope_read(reader, line, SV_NONE, &c->json, &env, &e), &e);
    const size_t at = c->index.len;
    need(search_index(env.type, fhir_reader_root(reader), &c->index, &e), &e);
    if (n_ids == IDS_MAX)
        exit(1);
    ids[n_ids].type = env.type;
    ids[n_ids].len = env.id.len;
    memcpy(ids[n_ids].text, env.id.ptr, env.id.len);
    it.type = env.type;
    it.id = sv_make(ids[n_ids].text, env.id.len);
    it.body = env.body;
    it.index = sv_make(c->index.ptr + at, c->index.len - at);
    need(buf_add(&c->items, sv_make(&it, sizeof it), &e), &e);
    n_ids++;
    n_bytes += env.body.json.len;
}

static void chunk_init(struct chunk *c)
{
    struct err e = { 0 };
    buf_init(&c->json, SIZE_MAX / 2);
    buf_init(&c->index, SIZE_MAX / 2);
    buf_init(&c->items, SIZE_MAX / 2);
    /* views of them must stay */
    need(buf_reserve(&c->json, CHUNK_BYTES + INDEX_MAX, &e), &e);
    need(buf_reserve(&c->index, 4u * CHUNK_BYTES, &e), &e);
}

static void load(uint64_t mb)
{
    struct chunk c[LOADERS];
    struct err e = { 0 };
    struct gen *g = NULL;
    struct fhir_reader *reader = fhir_reader_new(CHUNK_BYTES);
    struct buf unit = BUF_INIT(SIZE_MAX / 2);
    double wall = 0, cpu = 0;
    unsigned k = 0;
    for (unsigned i = 0; i < LOADERS; i++)
        chunk_init(&c[i]);
    need(gen_new(1, 1000000, &g, &e), &e);
    for (uint64_t u = 1; u < gen_n_units(g); u++) {
        const bool last = n_bytes >= mb * 1000000;
        buf_clear(&unit);
        need(gen_unit(g, u, &unit, &e), &e);
        if (last || c[k].json.len + unit.len > CHUNK_BYTES) {
            k++;
            if (last || k == LOADERS) {
                pthread_t threads[LOADERS];
                phase_begin();
                for (unsigned i = 0; i < k; i++)
                    (void)pthread_create(&threads[i], NULL, load_chunk, &c[i]);
                for (unsigned i = 0; i < k; i++)
                    (void)pthread_join(threads[i], NULL);
                wall += (double)(clock_mono_us() - wall_us) / 1e6;
                cpu += cpu_now() - cpu_s;
                for (unsigned i = 0; i < k; i++) {
                    buf_clear(&c[i].json);
                    buf_clear(&c[i].index);
                    buf_clear(&c[i].items);
                }
                k = 0;
            }
            if (last)
                break;
        }
        for (sv rest = buf_sv(&unit); rest.len;) {
            const size_t n = sv_find(rest, '\n');
            chunk_add(&c[k], reader, sv_head(rest, n));
            rest = sv_tail(rest, n + 1);
        }
    }
    /* the time of the loads alone */
    wall_us = clock_mono_us() - (uint64_t)(wall * 1e6);
    cpu_s = cpu_now() - cpu;
    phase_end("import", n_ids, n_bytes);
    for (unsigned i = 0; i < LOADERS; i++) {
        buf_done(&c[i].json);
        buf_done(&c[i].index);
        buf_done(&c[i].items);
    }
    buf_done(&unit);
    gen_free(g);
    fhir_reader_free(reader);
}

/* ---- scans ---- */

static struct store_range *ranges;
static size_t n_ranges;
static atomic_size_t next_range, n_seen, seen_bytes;

static void *scan_ranges(void *arg)
{
    struct err e = { 0 };
    (void)arg;
    for (size_t i; (i = atomic_fetch_add(&next_range, 1)) < n_ranges;) {
        struct store_cursor *c = NULL;
        struct store_version v;
        err_code rc;
        need(store_scan(st, &ranges[i], STORE_NOW, &c, &e), &e);
        while ((rc = store_cursor_next(c, &v, &e)) == ERR_OK) {
            atomic_fetch_add_explicit(&n_seen, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&seen_bytes, v.body.json.len, memory_order_relaxed);
        }
        if (rc != ERR_EOF)
            need(rc, &e);
        store_cursor_close(c);
    }
    return NULL;
}

static void scan(const char *name, unsigned n_threads)
{
    struct err e = { 0 };
    struct arena *a = arena_new(64u << 20);
    pthread_t threads[LOADERS];
    phase_begin();
    n_ranges = 0;
    next_range = 0;
    n_seen = 0;
    seen_bytes = 0;
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        struct store_range *more;
        size_t n;
        need(store_plan(st, (fhir_type)t, RANGE_BYTES, a, &more, &n, &e), &e);
        ranges = realloc(ranges, (n_ranges + n + 1) * sizeof *ranges);
        if (ranges == NULL)
            abort();
        if (n)
            memcpy(ranges + n_ranges, more, n * sizeof *ranges);
        n_ranges += n;
    }
    for (unsigned i = 0; i < n_threads; i++)
        (void)pthread_create(&threads[i], NULL, scan_ranges, NULL);
    for (unsigned i = 0; i < n_threads; i++)
        (void)pthread_join(threads[i], NULL);
    arena_free(a);
    if (n_seen != n_ids || seen_bytes != n_bytes) {
        (void)fprintf(stderr, "bench_engine: the scan saw %zu resources of %zu\n", (size_t)n_seen,
                      n_ids);
        exit(1);
    }
    phase_end(name, n_seen, seen_bytes);
}

/* ---- single resources ---- */

static void get(void)
{
    struct err e = { 0 };
    struct arena *a = arena_new(64u << 20);
    uint64_t bytes = 0;
    phase_begin();
    for (size_t i = 0; i < GETS; i++) {
        const struct id *id = &ids[(i * 2654435761u) % n_ids];
        struct store_version v;
        need(store_get(st, id->type, sv_make(id->text, id->len), STORE_NOW, a, &v, &e), &e);
        bytes += v.body.json.len;
        arena_reset(a);
    }
    phase_end("read", GETS, bytes);
    arena_free(a);
}

static void *write_some(void *arg)
{
    struct err e = { 0 };
    static const char text[1000] = "{\"resourceType\":\"Observation\",\"id\":\"x\"";
    for (unsigned i = 0; i < WRITES; i++) {
        char id[32];
        struct store_commit c;
        (void)snprintf(id, sizeof id, "w%zu-%u", (size_t)(uintptr_t)arg, i);
        struct store_write w = { .type = ids[0].type, .id = sv_from(id), .index = SV_LIT("") };
        w.body = (struct fhir_body){ sv_make(text, sizeof text), 37, FHIR_HOLE_NO_META };
        need(store_commit(st, &w, 1, &c, &e), &e);
    }
    return NULL;
}

static void commit(const char *name, unsigned n_threads, size_t salt)
{
    pthread_t threads[WRITERS];
    phase_begin();
    for (unsigned i = 0; i < n_threads; i++)
        (void)pthread_create(&threads[i], NULL, write_some, (void *)(uintptr_t)(salt + i));
    for (unsigned i = 0; i < n_threads; i++)
        (void)pthread_join(threads[i], NULL);
    phase_end(name, (size_t)n_threads * WRITES, 0);
}

int main(int argc, char **argv)
{
    uint64_t mb;
    struct err e = { 0 };
    if (argc != 3 || !sv_to_u64(sv_from(argv[2]), &mb) || mb < 1) {
        (void)fprintf(stderr, "bench_engine URI MB\n");
        return 2;
    }
    ids = malloc(IDS_MAX * sizeof *ids);
    if (ids == NULL)
        return 1;
    struct store_env *env = store_env_new(64u << 20, 2);
    need(store_open(env, argv[1], true, &st, &e), &e);
    load(mb);
    scan("scan-1", 1);
    scan("scan-2", LOADERS);
    get();
    commit("commits-1", 1, 1000);
    commit("commits-16", WRITERS, 2000);
    store_close(st);
    store_env_free(env);
    free(ranges);
    free(ids);
    return 0;
}
