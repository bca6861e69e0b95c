/* one_import.h - one import without an engine, and what its lines look like, for the tests of
 * imports. */
#pragma once
#include "job/fixture.h"

#include "base/limits.h"
#include "import/import_private.h"
#include "store/store_private.h"

#include <isa-l/igzip_lib.h>
#include <unistd.h>
#include <zstd.h>

#define CASES(x) (sizeof(x) / sizeof((x)[0]))
#define JOB      "fedcba9876543210fedcba9876543210"
#define FOLDER   "0123456789abcdef0123456789abcdef-FHIR_IMPORT-" JOB

static atomic_bool *halt_of_this_run; /* run() tells */

struct one {
    struct fx *f;
    struct store *st;
    const char *input, *output; /* output: a bucket's name */
    const char *level;          /* NULL: none is said */
    size_t chunk;
    uint64_t stop_at;                   /* resources imported; 0: never */
    const struct import_bounds *bounds; /* NULL: the default */
    uint64_t min_free;                  /* of the disk; 0: nothing is asked of it */
    bool shared;                        /* another machine may take it up */
    struct job_progress progress;
    job_status status;
    char message[512];
};

struct watch {
    struct job_run *r;
    atomic_bool *halt;
    atomic_bool over;
    uint64_t stop_at;
};

static void *watch_progress(void *arg)
{
    struct watch *w = arg;
    while (!atomic_load(&w->over) && !atomic_load(w->halt)) {
        pthread_mutex_lock(&w->r->live.lock);
        bool now = w->r->live.progress.resources_imported >= w->stop_at;
        pthread_mutex_unlock(&w->r->live.lock);
        if (now)
            atomic_store(w->halt, true);
        /* who never rests keeps a processor from the import */
        (void)usleep(20);
    }
    return NULL;
}

/* A thread that gets no processor lets the import run to its end. So the store is asked to stop it,
 * too: it is asked before each publication whether it is crowded. */
static struct watch *watch_of_this_run;
static const struct store_ops *ops_of_this_run;
static bool crowded_when_to_stop(struct store *st)
{
    struct watch *w = watch_of_this_run;
    pthread_mutex_lock(&w->r->live.lock);
    bool now = w->r->live.progress.resources_imported >= w->stop_at;
    pthread_mutex_unlock(&w->r->live.lock);
    if (now)
        atomic_store(w->halt, true);
    return ops_of_this_run->is_crowded(st) || now;
}

static err_code run(struct one *o, struct err *why)
{
    char spool[320], folder[160];
    atomic_bool halt = false;
    pthread_t t;
    struct job_pool *pool = NULL;
    (void)snprintf(spool, sizeof spool, "%s/%s-%s", o->f->spool, o->output, JOB);
    (void)snprintf(folder, sizeof folder, "s3://%s/%s/", o->output, FOLDER);
    OK(file_mkdirs(spool, e));
    OK(job_pool_start(2, &pool, e));
    struct job job = { .kind = JOB_IMPORT,
                       .id = SV_LIT(JOB),
                       .datastore_id = FX_STORE,
                       .role_arn = FX_ROLE,
                       .kms_key_id = FX_KEY,
                       .input_uri = sv_from(o->input),
                       .validation_level = sv_from(o->level),
                       .job_folder_uri = sv_from(folder) };
    struct job_engine_config cfg = { .records = o->f->records,
                                     .spool_dir = spool,
                                     .many_machines = o->shared,
                                     .min_free_bytes = o->min_free ? o->min_free : 1 };
    struct job_run r = { .job = &job,
                         .store = o->st,
                         .world = o->f->world,
                         .pool = pool,
                         .spool_dir = spool,
                         .cfg = &cfg,
                         .import_bounds = o->bounds,
                         .import_chunk_bytes = o->chunk ? o->chunk : LIMIT_IMPORT_CHUNK_BYTES,
                         .halt = &halt };
    CLEANUP_BUF struct buf message = BUF_INIT(4096);
    o->message[0] = 0;
    halt_of_this_run = &halt;
    job_run_init(&r);
    struct watch w = { .r = &r, .halt = &halt, .stop_at = o->stop_at };
    ops_of_this_run = o->st->ops;
    watch_of_this_run = &w;
    struct store_ops stopping = *o->st->ops;
    stopping.is_crowded = crowded_when_to_stop;
    if (o->stop_at) {
        o->st->ops = &stopping;
        assert_int_equal(pthread_create(&t, NULL, watch_progress, &w), 0);
    }
    err_code rc = import_ops.run(&r, &o->status, &message, why);
    o->st->ops = ops_of_this_run;
    atomic_store(&w.over, true);
    if (o->stop_at)
        assert_int_equal(pthread_join(t, NULL), 0);
    o->progress = r.live.progress;
    (void)snprintf(o->message, sizeof o->message, "%.*s", SV_FMT(buf_sv(&message)));
    if (rc == ERR_OK) {
        import_ops.forget(&r);
        OK(file_remove_tree(spool, e));
    }
    job_run_done(&r);
    job_pool_stop(pool);
    return rc;
}

static struct store *memory_store(void)
{
    struct store *st = NULL;
    OK(store_open(NULL, "memory:", true, &st, e));
    return st;
}

static struct store *rocks(struct fx *f)
{
    struct store *st = NULL;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/rocks", f->root);
    OK(store_open(f->env, path, true, &st, e));
    return st;
}

static void check_tree(const struct fx *f, const char *place, const char *want)
{
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST);
    fx_tree(f, place, &got);
    fx_same(buf_sv(&got), sv_from(want));
}

static void check_store(struct store *st, const char *want)
{
    CLEANUP_BUF struct buf got = BUF_INIT(FX_MOST);
    fx_dump(st, true, &got);
    fx_same(buf_sv(&got), sv_from(want));
}

static void gzip(sv text, struct buf *out)
{
    struct isal_zstream z;
    isal_deflate_init(&z);
    OK(buf_reserve(out, text.len + text.len / 8 + 4096, e));
    z.gzip_flag = IGZIP_GZIP;
    z.end_of_stream = 1;
    z.next_in = (uint8_t *)(uintptr_t)text.ptr;
    z.avail_in = (uint32_t)text.len;
    z.next_out = (uint8_t *)out->ptr + out->len;
    z.avail_out = (uint32_t)(out->cap - out->len);
    assert_int_equal(isal_deflate(&z), COMP_OK);
    assert_int_equal(z.avail_in, 0);
    out->len += z.total_out;
}

static void zstd(sv text, struct buf *out)
{
    size_t room = ZSTD_compressBound(text.len);
    OK(buf_reserve(out, room, e));
    size_t n = ZSTD_compress(out->ptr + out->len, room, text.ptr, text.len, 3);
    assert_false(ZSTD_isError(n));
    out->len += n;
}

#define OK_LINE(n, type, id)                                                                \
    "{\"lineId\":" #n ",\"UpdateResourceResponse\":{\"jsonBlob\":{\"resourceType\":\"" type \
    "\",\"id\":\"" id "\"},\"statusCode\":200}}\n"
#define BAD_LINE(n, why)                                                               \
    "{\"lineId\":" #n ",\"UpdateResourceResponse\":{\"jsonBlob\":{\"resourceType\":"   \
    "\"OperationOutcome\",\"issue\":[{\"severity\":\"error\",\"code\":\"processing\"," \
    "\"diagnostics\":\"" why "\"}]},\"statusCode\":400}}\n"
#define PATIENT(id) "{\"resourceType\":\"Patient\",\"id\":\"" id "\"}"
