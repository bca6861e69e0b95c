/* bench_ask.c - does an export's cost follow what it writes?
 *
 *   bench_ask DIR [PATIENTS]     PATIENTS (default 100000) with nine Observations each; DIR is made
 *                                and removed
 *
 * Compaction rests; one full export; 0.1 % of the resources written again, and exports with _since
 * before that; a Group of 100 of the patients; 10,000 listed patients; all by patient; cancels in
 * the middle; and 100 MB of inline attachments in one range. Wall and processor time, the ratios to
 * the full export, and the peak of memory above what the process held when the export began. */
#include "base/clock.h"
#include "base/file.h"
#include "export/export.h"
#include "import/import.h"

#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define EACH     9u
#define CHUNK    20000u
#define OF_GROUP 100u
#define OFTEN    10u
#define LISTED   10000u
#define STORE_ID SV_LIT("0123456789abcdef0123456789abcdef")
#define TEXT_PAD 600u

static struct store *st;
static struct fhir_reader *reader;
static size_t n_patients = 100000;

static void need(err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    (void)fprintf(stderr, "%s\n", e->msg);
    exit(1);
}

static double cpu_s(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* "VmHWM:", "VmRSS:" of this process, MiB. */
static double memory(const char *what)
{
    CLEANUP_BUF struct buf text = BUF_INIT(64 << 10);
    struct err e;
    need(file_read("/proc/self/status", &text, &e), &e);
    need(buf_add_char(&text, 0, &e), &e);
    const char *at = strstr(text.ptr, what);
    uint64_t kib = 0;
    sv rest = at ? sv_trim(sv_from(at + strlen(what))) : SV_NONE;
    return sv_to_u64(sv_head(rest, sv_find(rest, ' ')), &kib) ? (double)kib / 1024 : 0;
}

/* From here on VmHWM is a new one. */
static double memory_from(void)
{
    (void)malloc_trim(0);
    int f = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (f < 0 || write(f, "5", 1) != 1)
        (void)fprintf(stderr, "the peak of memory cannot be told anew\n");
    if (f >= 0)
        close(f);
    return memory("VmRSS:");
}

/* Until compaction, which takes its processor time from this process too, has nothing left to
 * do. */
static void rest(void)
{
    double before, used;
    do {
        before = cpu_s();
        nanosleep(&(struct timespec){ .tv_nsec = 500000000 }, NULL);
        used = cpu_s() - before;
    } while (used > 0.005);
}

static void text_of(size_t n, unsigned turn, struct buf *out, struct err *e)
{
    size_t p = n / (EACH + 1), k = n % (EACH + 1);
    uint64_t x = n * 2654435761u + turn + 1;
    buf_clear(out);
    if (k == 0)
        need(buf_add_fmt(out, e, "{\"resourceType\":\"Patient\",\"id\":\"p%07zu\"", p), e);
    else
        need(buf_add_fmt(
                 out, e,
                 "{\"resourceType\":\"Observation\",\"id\":\"o%07zu-%zu\",\"status\":\"final\","
                 "\"subject\":{\"reference\":\"Patient/p%07zu\"}",
                 p, k, p),
             e);
    need(buf_add(out, SV_LIT(",\"language\":\""), e), e);
    for (unsigned i = 0; i < TEXT_PAD; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        need(buf_add_char(out, "0123456789abcdefghijklmnopqrstuv"[x >> 59], e), e);
    }
    need(buf_add(out, SV_LIT("\"}"), e), e);
}

static struct fhir_envelope stored(sv text, struct arena *a, sv *index, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20), ix = BUF_INIT(1 << 20);
    struct fhir_envelope env;
    need(fhir_envelope_read(reader, text, SV_NONE, &b, &env, e), e);
    need(search_index(env.type, fhir_reader_root(reader), &ix, e), e);
    env.body.json = arena_sv(a, env.body.json);
    env.id = arena_sv(a, env.id);
    *index = arena_sv(a, buf_sv(&ix));
    return env;
}

static void load_all(struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new((size_t)1 << 30);
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
    struct store_bulk_item *items = calloc(CHUNK, sizeof *items);
    size_t all = n_patients * (EACH + 1);
    for (size_t first = 0; first < all; first += CHUNK) {
        struct store_bulk *b = NULL;
        struct store_commit c;
        size_t n = all - first < CHUNK ? all - first : CHUNK;
        arena_reset(a);
        for (size_t i = 0; i < n; i++) {
            sv index;
            text_of(first + i, 0, &text, e);
            struct fhir_envelope env = stored(buf_sv(&text), a, &index, e);
            items[i] = (struct store_bulk_item){ env.type, env.id, env.body, i, index };
        }
        need(store_bulk_begin(st, &b, e), e);
        need(store_bulk_fill(b, items, n, e), e);
        need(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e), e);
    }
    free(items);
}

static void write_one(sv text, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    struct store_commit c;
    sv index;
    struct fhir_envelope env = stored(text, a, &index, e);
    struct store_write w = { .type = env.type,
                             .id = env.id,
                             .method = STORE_METHOD_UPDATE,
                             .body = env.body,
                             .index = index };
    need(store_commit(st, &w, 1, &c, e), e);
}

static void write_group(struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
    need(buf_add(&text, SV_LIT("{\"resourceType\":\"Group\",\"id\":\"g\",\"member\":["), e), e);
    for (unsigned i = 0; i < OF_GROUP; i++)
        need(buf_add_fmt(&text, e, "%s{\"entity\":{\"reference\":\"Patient/p%07zu\"}}",
                         i ? "," : "", (n_patients / OF_GROUP) * i),
             e);
    need(buf_add(&text, SV_LIT("]}"), e), e);
    write_one(buf_sv(&text), e);
}

struct took {
    double wall_s, cpu_s, peak_mib;
    uint64_t resources, bytes;
    int64_t instant_ms;
};

static struct job_request request_of(const struct job_export_params *p)
{
    return (struct job_request){ .kind = JOB_EXPORT,
                                 .datastore_id = STORE_ID,
                                 .datastore_arn = SV_LIT("arn:x"),
                                 .account_id = SV_LIT("123456789012"),
                                 .params = p };
}

static struct took export_it(struct job_engine *en, const struct job_export_params *ask,
                             struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct job_export_params p = *ask;
    struct job_request q = request_of(&p);
    struct job j;
    p.served = true;
    double held = memory_from(), cpu = cpu_s();
    uint64_t from = clock_mono_us();
    need(job_submit(en, &q, a, &j, e), e);
    sv id = arena_sv(a, j.id);
    arena_mark mark = arena_mark_get(a);
    do {
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        arena_rewind(a, mark);
        need(job_get(en, JOB_EXPORT, STORE_ID, id, a, &j, e), e);
    } while (!job_status_is_final(j.status));
    if (j.status != JOB_COMPLETED) {
        (void)fprintf(stderr, "the export ended %s: %.*s\n", job_status_name(j.status),
                      SV_FMT(j.message));
        exit(1);
    }
    struct took t = { (double)(clock_mono_us() - from) / 1e6,
                      cpu_s() - cpu,
                      memory("VmHWM:") - held,
                      j.progress.resources_exported,
                      j.progress.bytes_exported,
                      j.transaction_ms };
    need(job_discard(en, STORE_ID, id, e), e);
    return t;
}

/* The mean of some: one alone is too short for the clock of the processor. */
static struct took export_often(struct job_engine *en, const struct job_export_params *ask,
                                struct err *e)
{
    struct took sum = { 0 };
    for (unsigned i = 0; i < OFTEN; i++) {
        struct took one = export_it(en, ask, e);
        sum.wall_s += one.wall_s / OFTEN;
        sum.cpu_s += one.cpu_s / OFTEN;
        sum.peak_mib = one.peak_mib > sum.peak_mib ? one.peak_mib : sum.peak_mib;
        sum.resources = one.resources;
        sum.bytes = one.bytes;
    }
    return sum;
}

static void show(const char *what, const struct took *t, const struct took *full)
{
    printf("%-34s %9llu resources %9.1f MB  %8.3f s  %8.3f s of processor  %4.0f MiB", what,
           (unsigned long long)t->resources, (double)t->bytes / 1e6, t->wall_s, t->cpu_s,
           t->peak_mib);
    if (full)
        printf("  ratio to full %.5f, processor %.5f", t->wall_s / full->wall_s,
               t->cpu_s / full->cpu_s);
    printf("\n");
    (void)fflush(stdout);
}

/* From the answer of a cancel in the middle of a full export to where no worker is at it any more,
 * and to its end, with the files removed. */
static void cancel_some(struct job_engine *en, struct err *e)
{
    double worst = 0, sum = 0, worst_stop = 0, sum_stop = 0;
    for (unsigned i = 0; i < OFTEN; i++) {
        CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
        struct job_export_params p = { .served = true };
        struct job_request q = request_of(&p);
        struct job j;
        need(job_submit(en, &q, a, &j, e), e);
        sv id = j.id;
        do {
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
            need(job_get(en, JOB_EXPORT, STORE_ID, id, a, &j, e), e);
        } while (j.progress.resources_exported < n_patients * i && !job_status_is_final(j.status));
        need(job_cancel(en, JOB_EXPORT, STORE_ID, id, e), e);
        uint64_t from = clock_mono_us(), stopped = 0;
        do {
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
            need(job_get(en, JOB_EXPORT, STORE_ID, id, a, &j, e), e);
            if (stopped == 0 && j.status != JOB_CANCEL_SUBMITTED)
                stopped = clock_mono_us();
        } while (!job_status_is_final(j.status));
        double stop = (double)(stopped - from) / 1e6;
        sum_stop += stop / OFTEN;
        worst_stop = stop > worst_stop ? stop : worst_stop;
        double took = (double)(clock_mono_us() - from) / 1e6;
        sum += took / OFTEN;
        worst = took > worst ? took : worst;
    }
    printf("%u cancels, from a start to nine tenths of a full export: stopped after %.3f s in the "
           "mean, %.3f s at worst; "
           "files gone after %.3f s and %.3f s\n",
           OFTEN, sum_stop, worst_stop, sum, worst);
}

/* n Binaries of `each` bytes. */
static void write_binaries(size_t n, size_t each, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT((size_t)1 << 30);
    uint64_t x = 1;
    need(buf_add(&text, SV_LIT("{\"resourceType\":\"Binary\",\"contentType\":\"x/y\",\"data\":\""),
                 e),
         e);
    for (size_t i = 0; i < each; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        need(buf_add_char(
                 &text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[x >> 58],
                 e),
             e);
    }
    need(buf_add(&text, SV_LIT("\"}"), e), e);
    for (size_t i = 0; i < n; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "b%zu-%05zu", each, i);
        struct store_bulk_item item = { .type = fhir_type_find(SV_LIT("Binary")),
                                        .id = sv_from(id),
                                        .body = { buf_sv(&text), (uint32_t)text.len - 1,
                                                  FHIR_HOLE_NO_META } };
        struct store_bulk *b = NULL;
        struct store_commit c;
        need(store_bulk_begin(st, &b, e), e);
        need(store_bulk_fill(b, &item, 1, e), e);
        need(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e), e);
    }
}

static void delete_binaries(size_t n, size_t each, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        char id[32];
        struct store_commit c;
        (void)snprintf(id, sizeof id, "b%zu-%05zu", each, i);
        struct store_write w = { .type = fhir_type_find(SV_LIT("Binary")),
                                 .id = sv_from(id),
                                 .method = STORE_METHOD_DELETE };
        need(store_commit(st, &w, 1, &c, e), e);
    }
}

/* 100 MB of inline attachments, in one range: a file may hold all of it. */
static void export_binaries(struct job_engine *en, size_t n, const struct took *full, struct err *e)
{
    char what[64];
    sv type = SV_LIT("Binary");
    size_t each = 100000000 / n;
    write_binaries(n, each, e);
    rest();
    struct took t = export_it(
        en, &(struct job_export_params){ .types = { &type, 1 }, .min_file_bytes = 200000000 }, e);
    (void)snprintf(what, sizeof what, "%zu attachment%s of %.0f MB", n, n == 1 ? "" : "s",
                   (double)each / 1e6);
    show(what, &t, full);
    delete_binaries(n, each, e);
}

int main(int argc, char **argv)
{
    struct err e = { 0 };
    char stores[PATH_MAX], served[PATH_MAX], spool[PATH_MAX];
    uint64_t n = 0;
    if (argc < 2 || (argc > 2 && !sv_to_u64(sv_from(argv[2]), &n))) {
        (void)fprintf(stderr, "usage: bench_ask DIR [PATIENTS]\n");
        return 2;
    }
    if (n)
        n_patients = (size_t)n;
    (void)snprintf(stores, sizeof stores, "%s/stores", argv[1]);
    (void)snprintf(served, sizeof served, "%s/served", argv[1]);
    (void)snprintf(spool, sizeof spool, "%s/spool", argv[1]);
    need(file_mkdirs(stores, &e), &e);
    struct store_env *env = store_env_new(64u << 20, 2);
    struct store_registry *registry;
    struct records *records;
    struct job_engine *en;
    need(store_registry_new(env, stores, &registry, &e), &e);
    need(records_open(NULL, &records, &e), &e);
    need(store_registry_acquire(registry, STORE_ID, true, &st, &e), &e);
    reader = fhir_reader_new(16 << 20);
    load_all(&e);
    write_group(&e);
    struct job_engine_config cfg = {
        .kinds = { [JOB_EXPORT] = &export_ops, [JOB_IMPORT] = &import_ops },
        .records = records,
        .stores = registry,
        .spool_dir = spool,
        .served_dir = served,
        .no_reuse = true,
        .n_workers = 2
    };
    need(job_engine_start(&cfg, &en, &e), &e);
    rest();
    struct took warm = export_it(en, &(struct job_export_params){ 0 }, &e), full = warm;
    full = export_it(en, &(struct job_export_params){ 0 }, &e);
    show("full", &full, NULL);
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
    for (size_t i = 0; i < n_patients * (EACH + 1); i += 1000) {
        text_of(i, 1, &text, &e);
        write_one(buf_sv(&text), &e);
    }
    rest();
    struct took since =
        export_often(en, &(struct job_export_params){ .since_ms = full.instant_ms }, &e);
    show("_since, 0.1 % changed", &since, &full);
    struct took group = export_often(
        en, &(struct job_export_params){ .level = JOB_EXPORT_GROUP, .group_id = SV_LIT("g") }, &e);
    show("Group of 100 patients", &group, &full);
    struct took patients =
        export_it(en, &(struct job_export_params){ .level = JOB_EXPORT_PATIENT }, &e);
    show("all patients", &patients, &full);
    sv *listed = calloc(LISTED, sizeof *listed);
    struct arena *ids = arena_new(4 << 20);
    size_t n_listed = n_patients < LISTED ? n_patients : LISTED;
    for (size_t i = 0; i < n_listed; i++)
        listed[i] = arena_fmt(ids, "p%07zu", i * (n_patients / n_listed));
    struct job_export_params some = { .level = JOB_EXPORT_PATIENT,
                                      .patients = { listed, n_listed } };
    struct took ten_thousand = export_it(en, &some, &e);
    show("10,000 listed patients", &ten_thousand, &full);
    some.organize_by_patient = true;
    ten_thousand = export_it(en, &some, &e);
    show("the same by patient", &ten_thousand, &full);
    struct took organized =
        export_it(en, &(struct job_export_params){ .organize_by_patient = true }, &e);
    show("all by patient", &organized, &full);
    cancel_some(en, &e);
    export_binaries(en, 100, &full, &e);
    export_binaries(en, 10, &full, &e);
    export_binaries(en, 1, &full, &e);
    arena_free(ids);
    free(listed);
    job_engine_stop(en);
    fhir_reader_free(reader);
    store_registry_release(registry, st);
    records_close(records);
    store_registry_free(registry);
    store_env_free(env);
    need(file_remove_tree(argv[1], &e), &e);
    return 0;
}
