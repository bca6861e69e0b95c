/* test_export.c - the engine and its exports: what comes out is what the store held at the job's
 * instant, whoever writes meanwhile and however often the engine is stopped. */
#include "job/filled.h"

#include "codec/hash.h"
#include "codec/instant.h"
#include "codec/json.h"
#include "export/export_private.h"

#include <ftw.h>

#define FOLDER_START "0123456789abcdef0123456789abcdef-FHIR_EXPORT-"

/* ---- a store and what it holds ---- */

static fhir_type type_of(const char *name)
{
    return fhir_type_find(sv_from(name));
}

/* What fill() leaves, without instants, by type and id. */
static void add_expected(struct buf *out)
{
    for (int i = 0; i < N_GROUPS; i++)
        OK(buf_add_fmt(out, e,
                       "{\"resourceType\":\"Group\",\"id\":\"r%05d\",\"meta\":{\"versionId\":\"1\","
                       "\"lastUpdated\":\"\"},\"x\":\"first%s\"}\n",
                       i, pad(i)));
    for (int i = 0; i < N_PATIENTS; i++)
        if (i % 5)
            OK(buf_add_fmt(out, e,
                           "{\"resourceType\":\"Patient\",\"id\":\"r%05d\",\"meta\":{\"versionId\":"
                           "\"%d\",\"lastUpdated\":\"\"},\"x\":\"%s%s\"}\n",
                           i, i % 3 ? 1 : 2, i % 3 ? "first" : "second", pad(i)));
}

/* ---- reading an export ---- */

static int by_text(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

/* The lines of text in byte order with the instants taken out; each of them at most `latest`. */
static void add_sorted(sv text, sv latest, struct buf *out)
{
    sv rest = text, line, mark = SV_LIT("\"lastUpdated\":\"");
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < text.len; i++)
        cap += text.ptr[i] == '\n';
    sv *lines = calloc(cap + 1, sizeof *lines);
    for (; n < cap && sv_cut(&rest, '\n', &line); n++)
        lines[n] = line;
    qsort(lines, n, sizeof *lines, by_text);
    for (size_t i = 0; i < n; i++) {
        const char *at = memmem(lines[i].ptr, lines[i].len, mark.ptr, mark.len);
        assert_non_null(at);
        size_t before = (size_t)(at - lines[i].ptr) + mark.len;
        sv instant = sv_head(sv_tail(lines[i], before), INSTANT_LEN);
        assert_true(sv_cmp(instant, latest) <= 0);
        OK(buf_add(out, sv_head(lines[i], before), e));
        OK(buf_add(out, sv_tail(lines[i], before + INSTANT_LEN), e));
        OK(buf_add_char(out, '\n', e));
    }
    free(lines);
}

static size_t count_lines(sv text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == '\n';
    return n;
}

static uint64_t number(yyjson_val *obj, const char *name)
{
    uint64_t n = UINT64_MAX;
    assert_true(sv_to_u64(json_number(json_get(obj, name)), &n));
    return n;
}

/* Every file is in the manifest with its count, bytes and digest, and nothing else is there; the
 * lines are the expected ones. */
static void check_export(const struct fx *f, const struct job *j, sv expected)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf manifest = BUF_INIT(16 << 20), text = BUF_INIT(64 << 20),
                           sorted = BUF_INIT(64 << 20), tree = BUF_INIT(64 << 20);
    char path[1024];
    yyjson_doc *doc;
    yyjson_val *v;
    assert_int_equal(j->status, JOB_COMPLETED);
    sv place = sv_tail(j->job_folder_uri, 5);
    (void)snprintf(path, sizeof path, "%s/objects/%.*smanifest.json", f->root, SV_FMT(place));
    OK(file_read(path, &manifest, e));
    OK(json_read(a, buf_sv(&manifest), 8, &doc, e));
    yyjson_val *root = yyjson_doc_get_root(doc);
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(root, "output"));
    size_t n_files = 0;
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        CLEANUP_BUF struct buf one = BUF_INIT(64 << 20);
        unsigned char d[SHA256_LEN];
        char hex[SHA256_HEX_LEN];
        sv url = json_string(json_get(v, "url")), type = json_string(json_get(v, "type"));
        assert_true(sv_starts(url, j->job_folder_uri));
        sv name = sv_tail(url, j->job_folder_uri.len);
        sv start = arena_fmt(a, "%.*s/%.*s-", SV_FMT(type), SV_FMT(type));
        assert_true(sv_starts(name, start) && sv_ends(name, SV_LIT(".ndjson")));
        (void)snprintf(path, sizeof path, "%s/objects/%.*s", f->root, SV_FMT(sv_tail(url, 5)));
        OK(file_read(path, &one, e));
        assert_int_equal(number(v, "bytes"), one.len);
        assert_int_equal(number(v, "count"), count_lines(buf_sv(&one)));
        hash_sha256_of(buf_sv(&one), d);
        hash_hex(d, sizeof d, hex);
        assert_sv(json_string(json_get(v, "sha256")), sv_make(hex, sizeof hex));
        OK(buf_add(&text, buf_sv(&one), e));
        n_files++;
    }
    sv instant = json_string(json_get(root, "transactionTime"));
    assert_int_equal(instant.len, INSTANT_LEN);
    add_sorted(buf_sv(&text), instant, &sorted);
    fx_same(buf_sv(&sorted), expected);
    size_t n = count_lines(expected);
    assert_int_equal(number(root, "count"), n);
    assert_int_equal(number(root, "bytes"), text.len);
    assert_int_equal(j->progress.resources_exported, n);
    assert_int_equal(j->progress.bytes_exported, text.len);
    assert_int_equal(j->progress.objects_exported, n_files);
    assert_int_equal(j->progress.ranges_done, j->progress.ranges_total);
    char folder[256];
    (void)snprintf(folder, sizeof folder, "%.*s", SV_FMT(place));
    fx_tree(f, folder, &tree);
    OK(buf_add_char(&tree, 0, e));
    size_t n_there = 0;
    for (const char *p = tree.ptr; p && (p = strstr(p, "== ")) != NULL; p++)
        n_there++;
    assert_int_equal(n_there, n_files + 1);
}

static struct job submit(struct fx *f, struct arena *a)
{
    struct job j;
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p/");
    OK(job_submit(f->engine, &q, a, &j, e));
    return j;
}

/* ---- tests ---- */

TEST(export, an_export_holds_what_the_store_held)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf want = BUF_INIT(64 << 20);
    struct store *st = fx_store(&f);
    fill(st);
    add_expected(&want);
    /* one line an object; some; one object a type */
    size_t sizes[] = { 1, 9000, 64 << 20 };
    for (size_t i = 0; i < 3; i++) {
        fx_engine(&f, 2, sizes[i], 0);
        struct job j = submit(&f, a);
        assert_int_equal(j.status, JOB_SUBMITTED);
        assert_int_equal(j.id.len, 32);
        j = fx_wait(&f, JOB_EXPORT, j.id, a);
        check_export(&f, &j, buf_sv(&want));
        assert_int_equal(j.progress.objects_exported == 2, sizes[i] > 1 << 20);
        assert_true(j.start_ms >= j.submit_ms && j.end_ms >= j.start_ms);
        fx_engine_stop(&f);
    }
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST(export, an_empty_store_gives_a_manifest_alone)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store *st = fx_store(&f);
    fx_engine(&f, 1, 0, 0);
    struct job j = submit(&f, a);
    j = fx_wait(&f, JOB_EXPORT, j.id, a);
    check_export(&f, &j, SV_NONE);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

static struct job wait_for_ranges(struct fx *f, sv id, uint64_t n, struct arena *a)
{
    struct job j;
    for (;;) {
        arena_mark m = arena_mark_get(a);
        OK(job_get(f->engine, JOB_EXPORT, FX_STORE, id, a, &j, e));
        if (job_status_is_final(j.status) || (j.as_of_t && j.progress.ranges_done >= n))
            return j;
        arena_rewind(a, m);
        fx_nap();
    }
}

static bool stopped_again_and_again(void)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf want = BUF_INIT(64 << 20);
    struct store *st = fx_store(&f);
    fill(st);
    add_expected(&want);
    fx_engine(&f, 2, 500, 0);
    struct job j = submit(&f, a);
    uint64_t t = 0;
    int stops = 0;
    for (;;) {
        /* some two dozen stops, or at every second range */
        uint64_t step = 2 + (test_is_long() ? 0 : j.progress.ranges_total / 24);
        j = wait_for_ranges(&f, j.id, j.progress.ranges_done + step, a);
        if (job_status_is_final(j.status))
            break;
        /* fixed once */
        assert_true(t == 0 || j.as_of_t == t);
        t = j.as_of_t;
        fx_engine_stop(&f);
        stops++;
        write_some(st, "Patient", N_PATIENTS, 2, STORE_METHOD_UPDATE, "later");
        write_some(st, "Group", N_GROUPS + 50, 1, STORE_METHOD_UPDATE, "later");
        write_some(st, "Condition", 10, 1, STORE_METHOD_UPDATE, "a new type");
        fx_engine(&f, 2, 500, 0);
    }
    check_export(&f, &j, buf_sv(&want));
    store_registry_release(f.stores, st);
    fx_close(&f);
    return stops >= 2;
}

TEST(export, stopped_again_and_again_beside_a_writer_it_holds_its_instant)
{
    FX_UNTIL(stopped_again_and_again());
}

static char oldest[1024];
static struct timespec oldest_at;

static int keep_oldest(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)at;
    bool older =
        oldest[0] == 0 || st->st_mtim.tv_sec < oldest_at.tv_sec ||
        (st->st_mtim.tv_sec == oldest_at.tv_sec && st->st_mtim.tv_nsec < oldest_at.tv_nsec);
    if (type == FTW_F && sv_ends(sv_from(path), SV_LIT(".ndjson")) && older) {
        (void)snprintf(oldest, sizeof oldest, "%s", path);
        oldest_at = st->st_mtim;
    }
    return 0;
}

/* The oldest object: its range is in for good. */
static void remove_oldest(const struct fx *f)
{
    char path[512];
    fx_path(f, "out", path);
    oldest[0] = 0;
    assert_int_equal(nftw(path, keep_oldest, 8, FTW_PHYS), 0);
    assert_int_equal(unlink(oldest), 0);
}

static bool an_object_vanished(void)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct store *st = fx_store(&f);
    fill(st);
    fx_engine(&f, 1, 500, 0);
    struct job j = submit(&f, a);
    struct job_record rec;
    (void)wait_for_ranges(&f, j.id, 3, a);
    fx_engine_stop(&f);
    OK(job_record_read(f.records, JOB_EXPORT, FX_STORE, j.id, a, &rec, e));
    const bool met = !job_status_is_final(rec.job.status);
    if (met) {
        remove_oldest(&f);
        fx_engine(&f, 1, 500, 0);
        j = fx_wait(&f, JOB_EXPORT, j.id, a);
        assert_int_equal(j.status, JOB_FAILED);
        assert_sv(j.message, SV_LIT("an exported object was removed before the job ended start a "
                                    "new job"));
        assert_true(j.end_ms > 0);
        CLEANUP_BUF struct buf tree = BUF_INIT(64 << 20);
        fx_tree(&f, "out", &tree);
        OK(buf_add_char(&tree, 0, e));
        assert_null(strstr(tree.ptr, "manifest.json"));
    }
    store_registry_release(f.stores, st);
    fx_close(&f);
    return met;
}

TEST(export, an_object_that_vanished_is_not_passed_over)
{
    FX_UNTIL(an_object_vanished());
}

/* False: it had ended, which the cancel is told. */
static bool is_cancelled(struct fx *f, sv id)
{
    struct err why;
    err_code rc = job_cancel(f->engine, JOB_EXPORT, FX_STORE, id, &why);
    assert_true(rc == ERR_OK || rc == ERR_CONFLICT);
    return rc == ERR_OK;
}

static bool two_are_cancelled(void)
{
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct store *st = fx_store(&f);
    fill(st);
    fx_engine(&f, 1, 200, 0);
    struct job first = submit(&f, a), second = submit(&f, a);
    /* waits behind the first */
    bool met = is_cancelled(&f, second.id);
    second = fx_wait(&f, JOB_EXPORT, second.id, a);
    assert_int_equal(second.status, met ? JOB_CANCEL_COMPLETED : JOB_COMPLETED);
    first = wait_for_ranges(&f, first.id, 2, a);
    if (is_cancelled(&f, first.id)) {
        first = fx_wait(&f, JOB_EXPORT, first.id, a);
        assert_int_equal(first.status, JOB_CANCEL_COMPLETED);
        assert_true(first.end_ms > 0);
    } else {
        met = false;
    }
    CLEANUP_BUF struct buf tree = BUF_INIT(64 << 20);
    fx_tree(&f, "out", &tree);
    if (met)
        assert_sv(buf_sv(&tree), SV_NONE);
    FAILS(ERR_CONFLICT, job_cancel(f.engine, JOB_EXPORT, FX_STORE, first.id, e));
    FAILS(ERR_NOT_FOUND, job_cancel(f.engine, JOB_EXPORT, FX_STORE, SV_LIT("none"), e));
    store_registry_release(f.stores, st);
    fx_close(&f);
    return met;
}

TEST(export, a_cancelled_export_leaves_nothing_behind)
{
    FX_UNTIL(two_are_cancelled());
}

/* Promptness as an order of events: once the cancel is answered, each track writes the block at
 * hand and no other. */
static bool begins_no_block_behind_a_cancel(void)
{
    enum { RESOURCES = 300, EACH = 100000 };
    static struct store_write w[RESOURCES];
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf text = BUF_INIT(EACH * 2);
    struct store *st = fx_store(&f);
    struct store_commit c;
    OK(buf_add_fmt(&text, e, "{\"resourceType\":\"Patient\",\"x\":\"%0*d\"}", EACH, 0));
    for (size_t i = 0; i < RESOURCES; i++)
        w[i] = (struct store_write){ .type = fhir_type_find(SV_LIT("Patient")),
                                     .id = arena_fmt(a, "p%03zu", i),
                                     .method = STORE_METHOD_CREATE,
                                     .body = { buf_sv(&text), (uint32_t)text.len - 1,
                                               FHIR_HOLE_NO_META } };
    OK(store_commit(st, w, RESOURCES, &c, e));
    /* one range */
    fx_engine(&f, 1, (size_t)RESOURCES * EACH * 2, 0);
    struct job j = submit(&f, a);
    sv id = j.id;
    do {
        arena_mark m = arena_mark_get(a);
        OK(job_get(f.engine, JOB_EXPORT, FX_STORE, id, a, &j, e));
        arena_rewind(a, m);
    } while (j.progress.bytes_exported == 0 && !job_status_is_final(j.status));
    const bool met = is_cancelled(&f, id);
    OK(job_get(f.engine, JOB_EXPORT, FX_STORE, id, a, &j, e));
    uint64_t at = j.progress.bytes_exported, most = at;
    while (!job_status_is_final(j.status)) {
        arena_mark m = arena_mark_get(a);
        OK(job_get(f.engine, JOB_EXPORT, FX_STORE, id, a, &j, e));
        most = j.progress.bytes_exported > most ? j.progress.bytes_exported : most;
        if (!job_status_is_final(j.status))
            arena_rewind(a, m);
    }
    assert_int_equal(j.status, met ? JOB_CANCEL_COMPLETED : JOB_COMPLETED);
    assert_true(most - at <= EXPORT_TRACKS * 2 * (SINK_WRITE_UNIT + EACH));
    store_registry_release(f.stores, st);
    fx_close(&f);
    return met;
}

TEST(export, behind_a_cancel_no_block_is_begun)
{
    FX_UNTIL(begins_no_block_behind_a_cancel());
}

/* Until so much of its ranges is in: `of` parts are all. Nothing: not even the plan is waited
 * for. */
static void wait_for_share(struct fx *f, sv id, uint64_t parts, uint64_t of, struct arena *a)
{
    bool over = parts == 0;
    while (!over) {
        struct job j;
        arena_mark m = arena_mark_get(a);
        OK(job_get(f->engine, JOB_EXPORT, FX_STORE, id, a, &j, e));
        over = job_status_is_final(j.status) ||
               (j.progress.ranges_total &&
                j.progress.ranges_done * of >= j.progress.ranges_total * parts);
        arena_rewind(a, m);
        if (!over)
            fx_nap();
    }
}

TEST(export, a_cancel_at_any_moment_ends_the_job_for_good)
{
    enum { SHARES = 20 };
    struct fx f;
    fx_open(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct store *st = fx_store(&f);
    fill(st);
    fx_engine(&f, 1, 16000, 0);
    for (int i = 0; i < SHARES; i++) {
        struct err err;
        struct job j = submit(&f, a);
        wait_for_share(&f, j.id, (uint64_t)i, SHARES, a);
        err_code rc = job_cancel(f.engine, JOB_EXPORT, FX_STORE, j.id, &err);
        j = fx_wait(&f, JOB_EXPORT, j.id, a);
        if (rc == ERR_OK) {
            assert_int_equal(j.status, JOB_CANCEL_COMPLETED);
        } else {
            assert_int_equal(rc, ERR_CONFLICT);
            assert_int_equal(j.status, JOB_COMPLETED);
        }
    }
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST_MAIN(T(export, an_export_holds_what_the_store_held),
          T(export, an_empty_store_gives_a_manifest_alone),
          T(export, stopped_again_and_again_beside_a_writer_it_holds_its_instant),
          T(export, an_object_that_vanished_is_not_passed_over),
          T(export, a_cancelled_export_leaves_nothing_behind),
          T(export, behind_a_cancel_no_block_is_begun),
          T(export, a_cancel_at_any_moment_ends_the_job_for_good))
