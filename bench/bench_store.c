/* bench_store.c - the store on one machine: bulk loads, scans, opening, reads, commits.
 *
 *   bench_store DIR [MB]        MB of generated JSON (default 500); DIR is made and removed
 *
 * Ids are random, so every bulk load (16 MiB, as an import's) overlaps every other: the worst an
 * import can leave. A scan is what an export does: the ranges of store_plan, taken by one or two
 * threads, read to the end. It is measured right after the load (beside the compaction that the
 * load set off), when that has come to rest, and after a full compaction, which is the limit.
 * Warm page cache. rocks_private.h is used to see and to end compactions, nothing else. */
#include "base/clock.h"
#include "base/file.h"
#include "gen/gen.h"
#include "store/rocks/rocks_private.h"

#include <unistd.h>

#define CHUNK_BYTES  (16u << 20)
#define RANGE_BYTES  (64u << 20)
#define ID_LEN       36u
#define GETS         50000u
#define WRITERS      16u
#define WRITES       500u /* of each writer */
#define MAX_PATIENTS 1000000u

static struct store_env *env;
static struct store *st;
static uint8_t *types; /* of resource n */
static size_t n_resources, cap_resources;
static uint64_t n_bytes;

static void need(err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    (void)fprintf(stderr, "%s\n", e->msg);
    exit(1);
}

static double since(uint64_t from_us)
{
    return (double)(clock_mono_us() - from_us) / 1e6;
}

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* Spelled as a UUID; a function of n, so that nothing needs to be kept. */
static sv id_of(size_t n, char out[ID_LEN + 1])
{
    uint64_t a = mix(n), b = mix(a ^ 0x5555);
    (void)snprintf(out, ID_LEN + 1, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(a >> 32),
                   (unsigned)(a >> 16) & 0xFFFF, (unsigned)a & 0xFFFF, (unsigned)(b >> 48),
                   (unsigned long long)(b & 0xFFFFFFFFFFFF));
    return sv_make(out, ID_LEN);
}

/* ---- load ---- */

struct load {
    struct fhir_reader *reader;
    struct buf json, items, ids; /* one chunk */
    double fill_s, publish_s;
    unsigned n_bulks;
};

static void load_flush(struct load *l)
{
    struct err e = { 0 };
    struct store_bulk *b = NULL;
    struct store_commit c;
    struct store_bulk_item *items = (struct store_bulk_item *)(void *)l->items.ptr;
    size_t n = l->items.len / sizeof *items;
    if (n == 0)
        return;
    /* views only now that the buffers stand still */
    for (size_t i = 0; i < n; i++)
        items[i].id = sv_make(l->ids.ptr + i * ID_LEN, ID_LEN);
    uint64_t from = clock_mono_us();
    need(store_bulk_begin(st, &b, &e), &e);
    need(store_bulk_fill(b, items, n, &e), &e);
    l->fill_s += since(from);
    from = clock_mono_us();
    need(store_bulk_publish(&b, SV_LIT("progress"), SV_LIT("{}"), &c, &e), &e);
    l->publish_s += since(from);
    l->n_bulks++;
    buf_clear(&l->json);
    buf_clear(&l->items);
    buf_clear(&l->ids);
}

static void load_line(struct load *l, sv line)
{
    struct err e = { 0 };
    struct fhir_envelope env_;
    char id[ID_LEN + 1];
    if (l->json.len + line.len + 256 > CHUNK_BYTES)
        load_flush(l);
    need(buf_reserve(&l->json, CHUNK_BYTES + 4096 - l->json.len, &e), &e);
    need(fhir_envelope_read(l->reader, line, id_of(n_resources, id), &l->json, &env_, &e), &e);
    struct store_bulk_item it = { .type = env_.type, .body = env_.body, .seq = n_resources };
    need(buf_add(&l->items, sv_make(&it, sizeof it), &e), &e);
    need(buf_add(&l->ids, sv_make(id, ID_LEN), &e), &e);
    if (n_resources == cap_resources) {
        cap_resources = cap_resources ? cap_resources * 2 : 1 << 20;
        types = realloc(types, cap_resources);
        if (types == NULL)
            abort();
    }
    types[n_resources++] = env_.type;
    n_bytes += env_.body.json.len;
}

static void load(uint64_t mb)
{
    struct err e = { 0 };
    struct gen *g = NULL;
    struct load l = { .reader = fhir_reader_new(CHUNK_BYTES) };
    struct buf unit = BUF_INIT(SIZE_MAX / 2);
    buf_init(&l.json, SIZE_MAX / 2);
    buf_init(&l.items, SIZE_MAX / 2);
    buf_init(&l.ids, SIZE_MAX / 2);
    need(gen_new(1, MAX_PATIENTS, &g, &e), &e);
    for (uint64_t u = 1; u < gen_n_units(g) && n_bytes < mb * 1000000; u++) {
        buf_clear(&unit);
        need(gen_unit(g, u, &unit, &e), &e);
        for (sv rest = buf_sv(&unit); rest.len;) {
            const char *end = memchr(rest.ptr, '\n', rest.len);
            size_t n = end ? (size_t)(end - rest.ptr) : rest.len;
            load_line(&l, sv_head(rest, n));
            rest = sv_tail(rest, n + 1 < rest.len ? n + 1 : rest.len);
        }
    }
    load_flush(&l);
    double s = l.fill_s + l.publish_s, mbs = (double)n_bytes / 1e6;
    (void)printf("%zu resources, %.0f MB of JSON, in %u bulk loads\n", n_resources, mbs, l.n_bulks);
    (void)printf("  %-44s %9.0f res/s %7.0f MB/s\n", "bulk fill and publish, 1 thread",
                 (double)n_resources / s, mbs / s);
    (void)printf("  %-44s %9.2f ms\n", "  of it publish, per bulk", l.publish_s * 1e3 / l.n_bulks);
    gen_free(g);
    fhir_reader_free(l.reader);
    buf_done(&unit);
    buf_done(&l.json);
    buf_done(&l.items);
    buf_done(&l.ids);
}

/* ---- scan ---- */

struct job {
    struct store_range *ranges;
    size_t n;
    atomic_size_t next, n_seen, bytes;
};

static void *scan_ranges(void *arg)
{
    struct job *j = arg;
    struct err e = { 0 };
    for (size_t i; (i = atomic_fetch_add(&j->next, 1)) < j->n;) {
        struct store_cursor *c = NULL;
        struct store_version v;
        size_t n = 0, bytes = 0;
        err_code rc;
        need(store_scan(st, &j->ranges[i], STORE_NOW, &c, &e), &e);
        while ((rc = store_cursor_next(c, &v, &e)) == ERR_OK) {
            n++;
            bytes += v.body.json.len;
        }
        if (rc != ERR_EOF)
            need(rc, &e);
        store_cursor_close(c);
        atomic_fetch_add(&j->n_seen, n);
        atomic_fetch_add(&j->bytes, bytes);
    }
    return NULL;
}

static uint64_t property(int cf, const char *name)
{
    struct rocks *r = (struct rocks *)st;
    uint64_t v = 0;
    (void)rocksdb_property_int_cf(r->db, r->cf[cf], name, &v);
    return v;
}

static unsigned level0_files(int cf)
{
    struct rocks *r = (struct rocks *)st;
    char *text = rocksdb_property_value_cf(r->db, r->cf[cf], "rocksdb.num-files-at-level0");
    uint64_t n = 0;
    if (text && !sv_to_u64(sv_from(text), &n))
        n = 0;
    rocksdb_free(text);
    return (unsigned)n;
}

/* KiB; the peak since the last call. */
static size_t peak_kib(void)
{
    size_t kib = 0;
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        uint64_t v;
        sv s = sv_from(line);
        if (!sv_starts(s, SV_LIT("VmHWM:")))
            continue;
        s = sv_trim(sv_tail(s, 6));
        if (s.len > 3 && sv_to_u64(sv_trim(sv_head(s, s.len - 3)), &v))
            kib = v;
    }
    if (f)
        fclose(f);
    f = fopen("/proc/self/clear_refs", "w");
    if (f) {
        (void)fputs("5", f);
        fclose(f);
    }
    return kib;
}

static void scan(const char *when, unsigned n_threads)
{
    struct err e = { 0 };
    struct arena *a = arena_new(64 << 20);
    struct job j = { 0 };
    uint64_t from = clock_mono_us();
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        struct store_range *more, *all;
        size_t n;
        need(store_plan(st, (fhir_type)t, RANGE_BYTES, a, &more, &n, &e), &e);
        if (n == 0)
            continue;
        all = realloc(j.ranges, (j.n + n) * sizeof *all);
        if (all == NULL)
            abort();
        memcpy(all + j.n, more, n * sizeof *all);
        j.ranges = all;
        j.n += n;
    }
    double plan_s = since(from);
    unsigned level0 = level0_files(CF_VERSIONS);
    pthread_t threads[8];
    (void)peak_kib();
    from = clock_mono_us();
    for (unsigned i = 0; i < n_threads; i++)
        pthread_create(&threads[i], NULL, scan_ranges, &j);
    for (unsigned i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    double s = since(from);
    char name[80];
    (void)snprintf(name, sizeof name, "scan %s, %u thread%s", when, n_threads,
                   n_threads > 1 ? "s" : "");
    (void)printf("  %-44s %9.0f res/s %7.0f MB/s   %zu ranges, plan %.1f ms, %u files in L0, "
                 "peak %zu MiB\n",
                 name, (double)j.n_seen / s, (double)j.bytes / s / 1e6, j.n, plan_s * 1e3, level0,
                 peak_kib() >> 10);
    if (j.n_seen != n_resources || j.bytes != n_bytes) {
        (void)fprintf(stderr, "the scan saw %zu resources of %zu\n", (size_t)j.n_seen, n_resources);
        exit(1);
    }
    free(j.ranges);
    arena_free(a);
}

static void rest(void)
{
    uint64_t from = clock_mono_us();
    for (;;) {
        uint64_t busy = 0;
        for (int cf = 0; cf < N_CFS; cf++)
            busy += property(cf, "rocksdb.compaction-pending");
        busy += property(CF_VERSIONS, "rocksdb.num-running-compactions");
        if (busy == 0)
            break;
        usleep(20000);
    }
    (void)printf("  %-44s %9.2f s\n", "compaction comes to rest after another", since(from));
}

static void compact(void)
{
    struct rocks *r = (struct rocks *)st;
    uint64_t from = clock_mono_us();
    rocksdb_compact_range_cf(r->db, r->cf[CF_VERSIONS], NULL, 0, NULL, 0);
    (void)printf("  %-44s %9.2f s\n", "full compaction", since(from));
}

static void reopen(const char *path, const char *when)
{
    struct err e = { 0 };
    store_close(st);
    uint64_t from = clock_mono_us();
    need(store_open(env, path, false, &st, &e), &e);
    (void)printf("  %-44s %9.1f ms\n", when, since(from) * 1e3);
}

/* ---- single resources ---- */

static void get(const char *when)
{
    struct err e = { 0 };
    struct arena *a = arena_new(64 << 20);
    uint64_t from = clock_mono_us();
    for (unsigned i = 0; i < GETS; i++) {
        char id[ID_LEN + 1];
        struct store_version v;
        size_t n = mix(i * 7919u) % n_resources;
        need(store_get(st, types[n], id_of(n, id), STORE_NOW, a, &v, &e), &e);
        arena_reset(a);
    }
    (void)printf("  %-44s %9.1f us each\n", when, since(from) * 1e6 / GETS);
    arena_free(a);
}

static void *write_some(void *arg)
{
    struct err e = { 0 };
    static const char text[1400] = "{\"resourceType\":\"Observation\",\"id\":\"x\"";
    size_t base = (size_t)(uintptr_t)arg * WRITES + (1u << 30);
    for (unsigned i = 0; i < WRITES; i++) {
        char id[ID_LEN + 1];
        struct store_commit c;
        struct store_write w = { .type = types[0],
                                 .id = id_of(base + i, id),
                                 .method = STORE_METHOD_UPDATE,
                                 .body = { sv_make(text, sizeof text), 36, FHIR_HOLE_NO_META } };
        need(store_commit(st, &w, 1, &c, &e), &e);
    }
    return NULL;
}

static void commit(unsigned n_threads)
{
    pthread_t threads[WRITERS];
    char name[64];
    uint64_t from = clock_mono_us();
    for (unsigned i = 0; i < n_threads; i++)
        pthread_create(&threads[i], NULL, write_some, (void *)(uintptr_t)(i + n_threads * 100));
    for (unsigned i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    double s = since(from);
    (void)snprintf(name, sizeof name, "synced commits of one resource, %u thread%s", n_threads,
                   n_threads > 1 ? "s" : "");
    (void)printf("  %-44s %9.0f /s\n", name, n_threads * WRITES / s);
}

int main(int argc, char **argv)
{
    uint64_t mb = 500;
    struct err e = { 0 };
    if (argc < 2 || (argc > 2 && !sv_to_u64(sv_from(argv[2]), &mb)) || mb < 1 ||
        access(argv[1], F_OK) == 0) {
        (void)fprintf(stderr, "bench_store DIR [MB]; DIR must not exist\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    env = store_env_new(64 << 20, 2);
    need(store_open(env, argv[1], true, &st, &e), &e);
    load(mb);
    scan("right after the load", 1);
    scan("right after the load", 2);
    rest();
    scan("at rest", 1);
    scan("at rest", 2);
    get("get of a random resource, at rest");
    reopen(argv[1], "open, at rest");
    compact();
    scan("after full compaction", 1);
    scan("after full compaction", 2);
    get("get of a random resource, compacted");
    reopen(argv[1], "open, compacted");
    commit(1);
    commit(WRITERS);
    store_close(st);
    store_env_free(env);
    free(types);
    need(file_remove_tree(argv[1], &e), &e);
    return 0;
}
