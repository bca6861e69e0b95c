/* fixture.h - a folder with objects, records, data stores and an engine, for the tests of jobs. */
#pragma once
#include "test.h"

#include "base/file.h"
#include "export/export.h"
#include "import/import.h"
#include "job/job_private.h"

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* TEST names a state that few tests need; not every test file needs every helper. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-function"

#define FX_STORE SV_LIT("0123456789abcdef0123456789abcdef")
#define FX_ROLE  SV_LIT("arn:aws:iam::123456789012:role/r")
#define FX_KEY   SV_LIT("arn:aws:kms:us-east-1:123456789012:key/k")
#define FX_MOST  (1u << 30)

struct fx {
    char root[64];
    struct sink_world *world;
    struct store_env *env;
    struct store_registry *stores;
    struct records *records;
    struct job_engine *engine;
    char spool[96], served[96];
    int64_t served_ms; /* set before fx_engine(): retention */
};

static void fx_open(struct fx *f)
{
    char path[128];
    *f = (struct fx){ 0 };
    (void)snprintf(f->root, sizeof f->root, TEST_TMP "/fhirlake-job-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    (void)snprintf(f->spool, sizeof f->spool, "%s/spool", f->root);
    (void)snprintf(path, sizeof path, "%s/objects", f->root);
    OK(file_mkdirs(path, e));
    (void)snprintf(f->served, sizeof f->served, "%s/served", f->root);
    struct sink_config cfg = { .objects_dir = path, .make_buckets = true };
    OK(sink_world_new(&cfg, &f->world, e));
    (void)snprintf(path, sizeof path, "%s/stores", f->root);
    OK(file_mkdirs(path, e));
    f->env = store_env_new(8 << 20, 1);
    OK(store_registry_new(f->env, path, &f->stores, e));
    OK(records_open(NULL, &f->records, e));
}

/* What an engine over all of that has, for who wants some of it otherwise. */
static struct job_engine_config fx_config(const struct fx *f, unsigned n_workers)
{
    return (struct job_engine_config){
        .kinds = { [JOB_EXPORT] = &export_ops, [JOB_IMPORT] = &import_ops },
        .records = f->records,
        .stores = f->stores,
        .world = f->world,
        .spool_dir = f->spool,
        .served_dir = f->served,
        .served_ms = f->served_ms,
        .n_workers = n_workers,
        .max_queued = 2
    };
}

static void fx_engine(struct fx *f, unsigned n_workers, size_t object_bytes, size_t chunk_bytes)
{
    struct job_engine_config cfg = fx_config(f, n_workers);
    cfg.export_object_bytes = object_bytes;
    cfg.import_chunk_bytes = chunk_bytes;
    OK(job_engine_start(&cfg, &f->engine, e));
}

static void fx_engine_stop(struct fx *f)
{
    job_engine_stop(f->engine);
    f->engine = NULL;
}

static void fx_close(struct fx *f)
{
    fx_engine_stop(f);
    records_close(f->records);
    store_registry_free(f->stores);
    store_env_free(f->env);
    sink_world_free(f->world);
    OK(file_remove_tree(f->root, e));
}

static struct store *fx_store(struct fx *f)
{
    struct store *st = NULL;
    OK(store_registry_acquire(f->stores, FX_STORE, true, &st, e));
    return st;
}

/* ---- objects ---- */

static void fx_path(const struct fx *f, const char *object, char out[512])
{
    (void)snprintf(out, 512, "%s/objects/%s", f->root, object);
}

/* object: "bucket/key". */
static void fx_put(const struct fx *f, const char *object, sv bytes)
{
    char path[512], *slash;
    fx_path(f, object, path);
    slash = strrchr(path, '/');
    *slash = 0;
    OK(file_mkdirs(path, e));
    *slash = '/';
    FILE *o = fopen(path, "wb");
    assert_non_null(o);
    assert_int_equal(fwrite(bytes.ptr ? bytes.ptr : "", 1, bytes.len, o), bytes.len);
    assert_int_equal(fclose(o), 0);
}

static void fx_tree_below(const char *dir, const char *below, struct buf *out)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        char path[1024], rel[512];
        struct stat st;
        (void)snprintf(path, sizeof path, "%s/%s", dir, name);
        (void)snprintf(rel, sizeof rel, "%s%s%s", below, *below ? "/" : "", name);
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && stat(path, &st) == 0) {
            if (S_ISDIR(st.st_mode)) {
                fx_tree_below(path, rel, out);
            } else {
                OK(buf_add_fmt(out, e, "== %s\n", rel));
                OK(file_read(path, out, e));
            }
        }
        free(names[i]);
    }
    if (n >= 0)
        free((void *)names);
}

/* Every file below objects/<place>, by name: "== name\n" and its content. */
static void fx_tree(const struct fx *f, const char *place, struct buf *out)
{
    char path[512];
    fx_path(f, place, path);
    fx_tree_below(path, "", out);
}

/* Texts too long for a message: says where they part. */
static void fx_same(sv got, sv want)
{
    size_t i = 0, from;
    while (i < got.len && i < want.len && got.ptr[i] == want.ptr[i])
        i++;
    if (i == got.len && i == want.len)
        return;
    from = i > 200 ? i - 200 : 0;
    sv a = sv_head(sv_tail(got, from), 500), b = sv_head(sv_tail(want, from), 500);
    fail_msg("they part at byte %zu of %zu and %zu\n--- got\n%.*s\n--- wanted\n%.*s", i, got.len,
             want.len, SV_FMT(a), SV_FMT(b));
}

/* ---- resources ---- */

static int fx_by_text(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

/* Lines from a place on come into the order of their bytes. */
static void fx_sort_lines(struct buf *b, size_t from)
{
    CLEANUP_BUF struct buf lines = BUF_INIT(64 << 20), sorted = BUF_INIT(1 << 30);
    sv rest = sv_tail(buf_sv(b), from), line;
    while (rest.len && sv_cut(&rest, '\n', &line))
        OK(buf_add(&lines, sv_make(&line, sizeof line), e));
    sv *row = (sv *)(void *)lines.ptr;
    size_t n = lines.len / sizeof *row;
    if (n)
        qsort(row, n, sizeof *row, fx_by_text);
    for (size_t i = 0; i < n; i++)
        OK(buf_add_fmt(&sorted, e, "%.*s\n", SV_FMT(row[i])));
    b->len = from;
    OK(buf_add(b, buf_sv(&sorted), e));
}

/* What a store holds now: "Type/id version body" without the instant, one a line, by type and id:
 * the order of numbers is that of arrival, and differs from store to store. */
static void fx_dump(struct store *st, bool versions, struct buf *out)
{
    for (unsigned t = 1; t <= fhir_n_types(); t++) {
        const size_t from = out->len;
        CLEANUP(store_cursor_close) struct store_cursor *c = NULL;
        struct store_range all = { .type = (fhir_type)t };
        struct store_version v;
        struct err err;
        err_code rc;
        OK(store_scan(st, &all, STORE_NOW, &c, e));
        while ((rc = store_cursor_next(c, &v, &err)) == ERR_OK)
            OK(buf_add_fmt(out, e, "%s/%.*s %d %.*s\n", fhir_type_name(v.type), SV_FMT(v.id),
                           versions ? (int)v.version : 0, SV_FMT(v.body.json)));
        assert_int_equal(rc, ERR_EOF);
        fx_sort_lines(out, from);
    }
}

static void fx_write(struct store *st, fhir_type type, const char *id, const char *member)
{
    CLEANUP(fhir_reader_free) struct fhir_reader *r = fhir_reader_new(1 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20), text = BUF_INIT(1 << 20);
    struct fhir_envelope env;
    struct store_commit c;
    OK(buf_add_fmt(&text, e, "{\"resourceType\":\"%s\",\"id\":\"%s\",\"x\":\"%s\"}",
                   fhir_type_name(type), id, member));
    OK(fhir_envelope_read(r, buf_sv(&text), SV_NONE, &b, &env, e));
    struct store_write w = {
        .type = type, .id = env.id, .method = STORE_METHOD_UPDATE, .body = env.body
    };
    OK(store_commit(st, &w, 1, &c, e));
}

/* Of struct job_texts. */
#define LIST(...)                                                                     \
    {                                                                                 \
        (const sv[]){ __VA_ARGS__ }, sizeof((const sv[]){ __VA_ARGS__ }) / sizeof(sv) \
    }
#define S(s)               \
    {                      \
        (s), sizeof(s) - 1 \
    }

static void fx_nap(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* Waits until the job has ended. */
static struct job fx_wait(struct fx *f, job_kind kind, sv id, struct arena *a)
{
    struct job j;
    for (;;) {
        arena_mark m = arena_mark_get(a);
        OK(job_get(f->engine, kind, FX_STORE, id, a, &j, e));
        if (job_status_is_final(j.status))
            return j;
        arena_rewind(a, m);
        fx_nap();
    }
}

/* A function that does what is to meet a job in the middle of its work, and says whether it did: on
 * a busy machine a job may come to its end before. Then it is done once more. */
#define FX_UNTIL(met)                           \
    for (unsigned tries_ = 0; !(met); tries_++) \
    assert_true(tries_ < 50)

static struct job_request fx_request(job_kind kind, const char *input, const char *output)
{
    return (struct job_request){ .kind = kind,
                                 .datastore_id = FX_STORE,
                                 .datastore_arn =
                                     SV_LIT("arn:aws:healthlake:us-east-1:123456789012:"
                                            "datastore/fhir/"
                                            "0123456789abcdef0123456789abcdef"),
                                 .account_id = SV_LIT("123456789012"),
                                 .role_arn = FX_ROLE,
                                 .output_uri = sv_from(output),
                                 .kms_key_id = FX_KEY,
                                 .input_uri = sv_from(input) };
}
