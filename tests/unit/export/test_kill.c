/* test_kill.c - kill -9 in every phase of an export, then a restart: the result is exact, and
 * nothing is left that the manifest does not name. Each run is a process of its own over folders
 * that stay. Some exports go on from an earlier one, whose files are gone in part. */
#include "job/fixture.h"

#include "base/clock.h"
#include "codec/json.h"

#include <signal.h>
#include <sys/wait.h>

enum { N = 300 };
static uint64_t seed;

static unsigned below(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % n;
}

static void open_all(struct fx *f, const char *root)
{
    char path[128];
    *f = (struct fx){ 0 };
    (void)snprintf(f->root, sizeof f->root, "%s", root);
    (void)snprintf(f->spool, sizeof f->spool, "%s/spool", root);
    (void)snprintf(f->served, sizeof f->served, "%s/served", root);
    (void)snprintf(path, sizeof path, "%s/objects", root);
    struct sink_config cfg = { .objects_dir = path, .make_buckets = true };
    OK(file_mkdirs(path, e));
    OK(sink_world_new(&cfg, &f->world, e));
    (void)snprintf(path, sizeof path, "%s/stores", root);
    OK(file_mkdirs(path, e));
    f->env = store_env_new(8 << 20, 1);
    OK(store_registry_new(f->env, path, &f->stores, e));
    (void)snprintf(path, sizeof path, "%s/records", root);
    OK(records_open(path, &f->records, e));
}

static struct job_request request(const struct job_export_params *p)
{
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    /* again and again the same job */
    q.client_token = SV_LIT("one");
    q.params = p;
    if (p && p->served)
        q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    return q;
}

/* An export of the same form, before some resources were written again. Some of its files go. */
static void export_before(struct fx *f, struct store *st, const struct job_export_params *p)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct store_write w[3] = { 0 };
    struct store_commit c;
    struct job j;
    char cmd[256];
    fx_engine(f, 2, 2500, 0);
    struct job_request q = request(p);
    q.client_token = SV_LIT("before");
    OK(job_submit(f->engine, &q, a, &j, e));
    assert_int_equal(fx_wait(f, JOB_EXPORT, j.id, a).status, JOB_COMPLETED);
    fx_engine_stop(f);
    for (int i = 0; i < 3; i++) {
        struct store_version v;
        w[i].type = fhir_type_find(SV_LIT("Patient"));
        w[i].id = arena_fmt(a, "p%03u", 10 * below(N / 10) + 1);
        for (int k = 0; k < i; k++)
            if (sv_eq(w[k].id, w[i].id))
                w[i].id = arena_fmt(a, "p%03d", 2 + i);
        OK(store_get(st, w[i].type, w[i].id, STORE_NOW, a, &v, e));
        w[i].method = STORE_METHOD_UPDATE;
        w[i].body = v.body;
    }
    OK(store_commit(st, w, 3, &c, e));
    (void)snprintf(cmd, sizeof cmd, "find %s/objects %s/served -name '*%u-0.ndjson' -delete",
                   f->root, f->root, below(10));
    assert_int_equal(system(cmd), 0);
}

/* before: an export of p comes first. */
static void fill(const char *root, bool before, const struct job_export_params *p)
{
    struct fx f;
    open_all(&f, root);
    struct store *st = fx_store(&f);
    static struct store_write w[N];
    struct store_commit c;
    CLEANUP(arena_free) struct arena *a = arena_new(4 << 20);
    size_t n = 0;
    for (int i = 0; i < N; i++) {
        sv json = arena_fmt(a,
                            "{\"resourceType\":\"Patient\",\"id\":\"p%03d\",\"x\":\"x\",\"photo\":"
                            "[{\"url\":\"Binary/b\"}]}",
                            i);
        w[i] = (struct store_write){ .type = fhir_type_find(SV_LIT("Patient")),
                                     .id = arena_fmt(a, "p%03d", i),
                                     .method = STORE_METHOD_CREATE,
                                     .body = { json, 37, FHIR_HOLE_NO_META } };
    }
    OK(store_commit(st, w, N, &c, e));
    /* deletions for the window of _since */
    for (int i = 0; i < N; i += 10, n++) {
        w[n] = (struct store_write){ .type = fhir_type_find(SV_LIT("Patient")),
                                     .id = arena_fmt(a, "p%03d", i),
                                     .method = STORE_METHOD_DELETE };
    }
    OK(store_commit(st, w, n, &c, e));
    if (before)
        export_before(&f, st, p);
    store_registry_release(f.stores, st);
    records_close(f.records);
    store_registry_free(f.stores);
    store_env_free(f.env);
    sink_world_free(f.world);
}

/* A process: start, submit (or find) the job, cancel it if so wished, wait for its end. */
static void run(const char *root, const struct job_export_params *p, bool cancel, unsigned after_ms)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct fx f;
    struct job j;
    struct err err;
    open_all(&f, root);
    fx_engine(&f, 2, 2500, 0);
    struct job_request q = request(p);
    OK(job_submit(f.engine, &q, a, &j, e));
    for (unsigned i = 0; cancel && i < after_ms; i++)
        fx_nap();
    /* it has ended, or is being cancelled */
    if (cancel && job_cancel(f.engine, JOB_EXPORT, FX_STORE, j.id, &err) != ERR_OK)
        assert_int_equal(err.code, ERR_CONFLICT);
    (void)fx_wait(&f, JOB_EXPORT, j.id, a);
    _exit(0);
}

static pid_t start(const char *root, const struct job_export_params *p, bool cancel,
                   unsigned after_ms)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        run(root, p, cancel, after_ms);
    }
    return pid;
}

static size_t count(const struct buf *tree, const char *what)
{
    size_t n = 0;
    for (const char *at = tree->ptr; at && (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

/* Files are those of the manifest, whole, and hold each resource once. */
static void check(const char *root, const struct job_export_params *p)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf tree = BUF_INIT(64 << 20), manifest = BUF_INIT(16 << 20);
    struct fx f;
    struct job j;
    struct stat st;
    struct err err;
    bool complete, served = p && p->served;
    yyjson_doc *doc;
    yyjson_val *v;
    open_all(&f, root);
    fx_engine(&f, 2, 2500, 0);
    struct job_request q = request(p);
    OK(job_submit(f.engine, &q, a, &j, e));
    j = fx_wait(&f, JOB_EXPORT, j.id, a);
    /* its own files, and not those of one before */
    sv folder = served
                    ? arena_fmt(a, "%s/%.*s", f.served, SV_FMT(j.id))
                    : arena_fmt(a, "%s/objects/%.*s", f.root, SV_FMT(sv_tail(j.job_folder_uri, 5)));
    fx_tree_below(folder.ptr, "", &tree);
    OK(buf_add_char(&tree, 0, e));
    assert_null(strstr(tree.ptr, ".fhirlake-tmp-"));
    if (j.status == JOB_CANCEL_COMPLETED) {
        assert_int_equal(count(&tree, "== "), 0);
        assert_int_equal(job_export_manifest(f.engine, FX_STORE, j.id, &manifest, &complete, &err),
                         ERR_CONFLICT);
    } else {
        assert_int_equal(j.status, JOB_COMPLETED);
        OK(job_export_manifest(f.engine, FX_STORE, j.id, &manifest, &complete, e));
        OK(json_read(a, buf_sv(&manifest), 8, &doc, e));
        yyjson_val *m = yyjson_doc_get_root(doc);
        size_t n = 1 + yyjson_arr_size(json_get(m, "output")) +
                   yyjson_arr_size(json_get(m, "deleted")) + yyjson_arr_size(json_get(m, "error"));
        assert_int_equal(count(&tree, "== "), n);
        yyjson_arr_iter it = yyjson_arr_iter_with(json_get(m, "output"));
        while ((v = yyjson_arr_iter_next(&it)) != NULL) {
            sv url = json_string(json_get(v, "url"));
            sv name = sv_tail(url, j.job_folder_uri.len);
            sv want = arena_fmt(a, "%.*s\n", SV_FMT(name));
            assert_non_null(memmem(tree.ptr, tree.len, want.ptr, want.len));
        }
        /* urls are absolute in every range, also in one that was written again */
        assert_int_equal(count(&tree, "[{\"url\":\"http://h/r4/Binary/b\"}]"),
                         served ? N - N / 10 : 0);
        assert_int_equal(count(&tree, "[{\"url\":\"Binary/b\"}]"), served ? 0 : N - N / 10);
        for (int i = 0; i < N; i++) {
            sv line = arena_fmt(a, "{\"resourceType\":\"Patient\",\"id\":\"p%03d\"", i);
            assert_int_equal(count(&tree, line.ptr), i % 10 != 0);
            sv gone = arena_fmt(a, "\"DELETE\",\"url\":\"Patient/p%03d\"", i);
            assert_int_equal(count(&tree, gone.ptr), i % 10 == 0 && p && p->since_ms);
        }
    }
    fx_engine_stop(&f);
    char left[256];
    (void)snprintf(left, sizeof left, "%s/%.*s", f.spool, SV_FMT(j.id));
    assert_int_equal(stat(left, &st), -1);
    records_close(f.records);
    store_registry_free(f.stores);
    store_env_free(f.env);
    sink_world_free(f.world);
}

static void one_export(unsigned round, unsigned took_ms)
{
    static const struct job_export_params served = { .served = true,
                                                     .since_ms = 1,
                                                     .attachment_base = S("http://h/r4") };
    static const struct job_export_params organized = { .organize_by_patient = true };
    static const struct job_export_params again = { .served = true,
                                                    .attachment_base = S("http://h/r4") };
    const struct job_export_params *kinds[] = { NULL, &served, NULL, &organized, &again },
                                   *p = kinds[round % 5];
    const bool before = round % 5 == 2 || round % 5 == 4;
    char root[64] = TEST_TMP "/fhirlake-kill-XXXXXX";
    assert_non_null(mkdtemp(root));
    int status;
    /* RocksDB's threads stay out of this process */
    pid_t pid = fork();
    if (pid == 0) {
        fill(root, before, p);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    bool cancel = below(3) == 0;
    for (unsigned kills = 0, n = 1 + below(4); kills < n; kills++) {
        pid = start(root, p, cancel, below(took_ms + 1));
        struct timespec nap = { .tv_nsec = 1000L * (long)below((took_ms + 20) * 1000) };
        nap.tv_sec = nap.tv_nsec / 1000000000;
        nap.tv_nsec %= 1000000000;
        nanosleep(&nap, NULL);
        /* of our own child, which may have ended */
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    }
    pid = fork();
    if (pid == 0) {
        check(root, p);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("round %u: the check failed, see above; the folder stays: %s", round, root);
    OK(file_remove_tree(root, e));
}

TEST(kill, an_export_killed_in_any_phase_is_exact_after_the_restart)
{
    bool long_form = test_is_long();
    const char *given = getenv("FHIRLAKE_SEED");
    seed = clock_mono_us() | 1;
    if (given)
        assert_true(sv_to_u64(sv_from(given), &seed));
    print_message("seed %llu\n", (unsigned long long)seed);
    uint64_t began = clock_mono_us();
    unsigned rounds = 0;
    for (; rounds < (long_form ? 100u : 15u); rounds++) {
        one_export(rounds, 600);
        if (!long_form && clock_mono_us() - began > (TEST_SANITIZED ? 10000000 : 20000000))
            break;
    }
    print_message("%u exports\n", rounds);
}

TEST_MAIN(T(kill, an_export_killed_in_any_phase_is_exact_after_the_restart))
