/* test_partial.c - allowPartialManifests: what a running export shows of its manifest stays as it
 * is. */
#include "served_run.h"

#include <fcntl.h>

static const char *const types[] = { "Account", "Basic",       "Binary",    "Bundle",   "CareTeam",
                                     "Claim",   "Composition", "Condition", "Contract", "Coverage",
                                     "Device",  "Endpoint",    "Flag",      "Goal",     "Group",
                                     "Library", "List",        "Location",  "Media",    "Patient",
                                     "Person",  "Schedule",    "Slot",      "Task" };
#define N_TYPES (sizeof types / sizeof types[0])
#define EACH    12u

static void fill(struct store *st)
{
    static struct store_write w[N_TYPES * EACH];
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    struct store_commit c;
    for (size_t i = 0; i < N_TYPES * EACH; i++) {
        sv json = arena_fmt(a, "{\"resourceType\":\"%s\",\"id\":\"r%zu\",\"x\":\"x\"}",
                            types[i / EACH], i % EACH);
        w[i] = (struct store_write){ .type = fhir_type_find(sv_from(types[i / EACH])),
                                     .id = arena_fmt(a, "r%zu", i % EACH),
                                     .method = STORE_METHOD_CREATE,
                                     .body = { json, (uint32_t)json.len - 1, FHIR_HOLE_NO_META } };
    }
    OK(store_commit(st, w, N_TYPES * EACH, &c, e));
}

/* The urls, each with a newline. */
static size_t urls_of(struct fx *f, sv id, struct arena *a, struct buf *out, bool *complete)
{
    CLEANUP_BUF struct buf b = BUF_INIT(16 << 20);
    struct err err;
    yyjson_doc *doc;
    yyjson_val *v;
    buf_clear(out);
    *complete = false;
    if (job_export_manifest(f->engine, FX_STORE, id, &b, complete, &err) != ERR_OK) {
        assert_int_equal(err.code, ERR_CONFLICT);
        return 0;
    }
    OK(json_read(a, arena_sv(a, buf_sv(&b)), 8, &doc, e));
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(yyjson_doc_get_root(doc), "output"));
    assert_true(json_string(json_get(yyjson_doc_get_root(doc), "transactionTime")).len != 0);
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        OK(buf_add_fmt(out, e, "%.*s\n", SV_FMT(json_string(json_get(v, "url")))));
    return yyjson_arr_size(json_get(yyjson_doc_get_root(doc), "output"));
}

/* The last of the list can be had, whole. */
static void download_last(struct fx *f, sv id, const struct buf *urls, struct arena *a)
{
    struct job_export_file file;
    sv rest = buf_sv(urls), line, name = SV_NONE;
    while (rest.len && sv_cut(&rest, '\n', &line))
        name = line;
    OK(job_export_file_open(f->engine, FX_STORE, id, name, NULL,
                            &(const struct job_export_want){ 0 }, a, &file, e));
    assert_int_equal(lseek(file.fd, 0, SEEK_END), file.bytes);
    assert_int_equal(file.sha256.len, 64);
    assert_int_equal(close(file.fd), 0);
}

struct watched {
    unsigned parts; /* how often a part was seen that is not the whole */
    struct buf seen;
};

static void watch(struct fx *f, sv id, struct watched *w, size_t stop_at)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf now = BUF_INIT(1 << 20);
    for (bool complete = false; !complete;) {
        arena_reset(a);
        size_t n = urls_of(f, id, a, &now, &complete);
        if (n == 0)
            continue;
        /* it only grows at its end */
        assert_true(sv_starts(buf_sv(&now), buf_sv(&w->seen)));
        if (now.len > w->seen.len)
            download_last(f, id, &now, a);
        buf_clear(&w->seen);
        OK(buf_add(&w->seen, buf_sv(&now), e));
        w->parts += !complete;
        if (!complete && n >= stop_at)
            return;
    }
}

TEST(partial, what_a_running_export_shows_stays_and_can_be_had_over_a_restart_too)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    struct store *st = fx_store(&f);
    fill(st);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct watched w = { .seen = BUF_INIT(1 << 20) };
    const struct job_export_params p = { .served = true,
                                         .partial_manifests = true,
                                         .max_file_bytes = 10 };
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    struct job j;
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.params = &p;
    OK(job_submit(f.engine, &q, a, &j, e));
    sv id = arena_sv(a, j.id);
    watch(&f, id, &w, N_TYPES * EACH / 4);
    assert_true(w.parts != 0);
    fx_engine_stop(&f);
    fx_engine(&f, 2, 0, 0);
    watch(&f, id, &w, SIZE_MAX);
    size_t n = 0;
    for (size_t i = 0; i < w.seen.len; i++)
        n += w.seen.ptr[i] == '\n';
    assert_int_equal(n, N_TYPES * EACH);
    buf_done(&w.seen);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST_MAIN(T(partial, what_a_running_export_shows_stays_and_can_be_had_over_a_restart_too))
