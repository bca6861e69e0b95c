/* test_reuse.c - exports that go on from earlier ones are the same as fresh ones, whatever happened
 * to the data store and to the earlier files in between. */
#include "left.h"
#include "served_run.h"

#include "codec/hash.h"

#include <fcntl.h>

static uint64_t rnd_state;
static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(rnd_state >> 33) % n;
}

/* ---- a data store that changes ---- */

enum { IDS = 400, OPEN_MAX = 3 };
static const char *const types[] = { "Patient", "Observation", "Provenance", "Device" };
enum { N_TYPES = 4 };

struct room {
    struct fx f;
    struct store *st;
    struct store_bulk *open[OPEN_MAX]; /* loads that are not published */
    unsigned n_open;
    uint64_t n_reused, n_written; /* files */
};

/* A resource of some size, with what the levels of an export look at. */
static sv some_text(struct arena *a, unsigned type, unsigned id)
{
    char pad[257];
    unsigned n = rnd(256);
    for (unsigned i = 0; i < n; i++)
        pad[i] = (char)('a' + rnd(26));
    pad[n] = 0;
    const char *ref = type == 1   ? ",\"subject\":{\"reference\":\"Patient/i7\"}"
                      : type == 2 ? ",\"target\":[{\"reference\":\"Observation/i9\"}]"
                                  : "";
    return arena_fmt(a,
                     "{\"resourceType\":\"%s\",\"id\":\"i%u\",\"x\":\"%s\",\"photo\":[{\"url\":"
                     "\"Binary/b\"}]%s}",
                     types[type], id, pad, rnd(8) ? ref : "");
}

static void read_item(struct arena *a, struct buf *b, sv text, struct store_bulk_item *out)
{
    CLEANUP(fhir_reader_free) struct fhir_reader *r = fhir_reader_new(1 << 20);
    struct fhir_envelope env;
    OK(fhir_envelope_read(r, text, SV_NONE, b, &env, e));
    *out =
        (struct store_bulk_item){ .type = env.type, .id = arena_sv(a, env.id), .body = env.body };
}

/* One commit: resources made, changed and deleted. */
static void commit_some(struct room *r, unsigned n)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(4 << 20);
    struct store_write w[16];
    struct store_commit c;
    unsigned type = rnd(N_TYPES), first = rnd(IDS), kept = 0;
    OK(buf_reserve(&b, 1 << 20, e));
    for (unsigned i = 0; i < n && i < 16; i++) {
        struct store_bulk_item x;
        struct store_version v;
        struct err why;
        read_item(a, &b, some_text(a, type, (first + i * 7) % IDS), &x);
        bool lives = store_get(r->st, x.type, x.id, STORE_NOW, a, &v, &why) == ERR_OK &&
                     v.method != STORE_METHOD_DELETE;
        w[kept++] = (struct store_write){ .type = x.type,
                                          .id = x.id,
                                          .body = x.body,
                                          .method = lives && rnd(3) == 0 ? STORE_METHOD_DELETE
                                                                         : STORE_METHOD_UPDATE };
    }
    OK(store_commit(r->st, w, kept, &c, e));
}

/* A load of new and known resources, of several types; it gets its number here. */
static void begin_load(struct room *r)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(4 << 20);
    struct store_bulk_item items[120];
    unsigned n = 1 + rnd(120), from = rnd(IDS * 3);
    OK(buf_reserve(&b, 1 << 20, e));
    for (unsigned i = 0; i < n; i++) {
        read_item(a, &b, some_text(a, rnd(3) ? 1 : rnd(N_TYPES), (from + i) % (IDS * 3)),
                  &items[i]);
        items[i].seq = i;
    }
    OK(store_bulk_begin(r->st, &r->open[r->n_open], e));
    OK(store_bulk_fill(r->open[r->n_open++], items, n, e));
}

/* Any of those that are open: not in the order of their numbers. */
static void publish_one(struct room *r)
{
    struct store_commit c;
    unsigned i = rnd(r->n_open);
    OK(store_bulk_publish(&r->open[i], SV_NONE, SV_NONE, &c, e));
    r->open[i] = r->open[--r->n_open];
}

static void change(struct room *r)
{
    unsigned what = rnd(10);
    if (what < 3)
        commit_some(r, 1 + rnd(4));
    else if (what < 6 && r->n_open < OPEN_MAX)
        begin_load(r);
    else if (what < 9 && r->n_open)
        publish_one(r);
}

static void room_open(struct room *r, uint64_t seed)
{
    rnd_state = seed;
    memset(r, 0, sizeof *r);
    fx_open(&r->f);
    fx_engine(&r->f, 2, 3000, 0);
    r->st = fx_store(&r->f);
}

static void room_close(struct room *r)
{
    while (r->n_open)
        store_bulk_abort(r->open[--r->n_open]);
    store_registry_release(r->f.stores, r->st);
    fx_close(&r->f);
}

/* ---- exports ---- */

static const struct job_export_params forms[] = {
    { .level = JOB_EXPORT_SYSTEM },
    { .level = JOB_EXPORT_SYSTEM, .served = true, .attachment_base = S("http://h/r4") },
    { .level = JOB_EXPORT_PATIENT },
    { .level = JOB_EXPORT_SYSTEM, .types = LIST(S("Observation"), S("Patient")) },
    { .level = JOB_EXPORT_SYSTEM,
      .elements = LIST(S("x")),
      .partial_manifests = true,
      .served = true },
};
enum { N_FORMS = 5 };

struct result {
    struct job job;
    yyjson_val *manifest;
    struct buf lines; /* of all files, sorted */
    unsigned n_files, n_reused;
    unsigned n_made; /* ranges that were not reused: one has a file, or two */
};

static void path_of(const struct room *r, const struct job *j, sv url, char out[512])
{
    if (j->served)
        (void)snprintf(out, 512, "%s/%.*s/%.*s", r->f.served, SV_FMT(j->id), SV_FMT(url));
    else
        (void)snprintf(out, 512, "%s/objects/%.*s", r->f.root, SV_FMT(sv_tail(url, 5)));
}

/* Each file is what the manifest says of it. */
static void read_files(const struct room *r, struct result *x)
{
    yyjson_val *v;
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(x->manifest, "output"));
    buf_init(&x->lines, 256 << 20);
    x->n_files = x->n_reused = x->n_made = 0;
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        char path[512], hex[SHA256_HEX_LEN];
        unsigned char d[SHA256_LEN];
        size_t from = x->lines.len;
        uint64_t n = 0;
        path_of(r, &x->job, json_string(json_get(v, "url")), path);
        OK(file_read(path, &x->lines, e));
        sv text = sv_tail(buf_sv(&x->lines), from);
        hash_sha256_of(text, d);
        hash_hex(d, sizeof d, hex);
        assert_sv(json_string(json_get(v, "sha256")), sv_make(hex, sizeof hex));
        assert_true(number(v, "bytes") == text.len);
        for (size_t i = 0; i < text.len; i++)
            n += text.ptr[i] == '\n';
        assert_true(number(v, "count") == n);
        x->n_files++;
        const bool reused = json_get(v, "reused") != NULL;
        x->n_reused += reused;
        x->n_made += !reused && sv_ends(json_string(json_get(v, "url")), SV_LIT("-0.ndjson"));
    }
    fx_sort_lines(&x->lines, 0);
}

static struct job export_job(struct room *r, const struct job_export_params *p, struct arena *a)
{
    struct job_request q = fx_request(JOB_EXPORT, "", "s3://out/p");
    struct job j;
    q.params = p;
    if (p->served)
        q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    OK(job_submit(r->f.engine, &q, a, &j, e));
    return fx_wait(&r->f, JOB_EXPORT, j.id, a);
}

/* Of the next export. The one before it may still be clearing up, by the same setting. */
static void set_reuse(struct room *r, bool reuse)
{
    struct job_engine *engine = r->f.engine;
    pthread_mutex_lock(&engine->locked.lock);
    while (engine->locked.n_running)
        pthread_cond_wait(&engine->locked.changed, &engine->locked.lock);
    pthread_mutex_unlock(&engine->locked.lock);
    engine->cfg.no_reuse = !reuse;
}

static void run_export(struct room *r, const struct job_export_params *p, bool reuse,
                       struct arena *a, struct result *x)
{
    struct buf b = BUF_INIT(16 << 20);
    bool complete;
    yyjson_doc *doc;
    set_reuse(r, reuse);
    x->job = export_job(r, p, a);
    if (x->job.status != JOB_COMPLETED)
        fail_msg("%.*s", SV_FMT(x->job.message));
    OK(job_export_manifest(r->f.engine, FX_STORE, x->job.id, &b, &complete, e));
    OK(json_read(a, arena_sv(a, buf_sv(&b)), 8, &doc, e));
    buf_done(&b);
    x->manifest = yyjson_doc_get_root(doc);
    read_files(r, x);
}

static void same_member(const struct result *x, const struct result *y, const char *name)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20), c = BUF_INIT(1 << 20);
    struct json_writer w;
    json_writer_init(&w, &b);
    json_val(&w, json_get(x->manifest, name));
    json_writer_init(&w, &c);
    json_val(&w, json_get(y->manifest, name));
    assert_sv(buf_sv(&b), buf_sv(&c));
}

/* The form now, going on from what is there and afresh. */
static void compare(struct room *r, const struct job_export_params *p)
{
    static const char *const members[] = { "asOfCommit",     "countPerType",  "storeCountPerType",
                                           "count",          "bytes",         "deletions",
                                           "contentPerType", "contentDigest", "extension" };
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct result x, y;
    run_export(r, p, true, a, &x);
    run_export(r, p, false, a, &y);
    fx_same(buf_sv(&x.lines), buf_sv(&y.lines));
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (json_get(x.manifest, members[i]) || json_get(y.manifest, members[i]))
            same_member(&x, &y, members[i]);
    assert_int_equal(y.n_reused, 0);
    assert_true(x.job.progress.resources_exported == y.job.progress.resources_exported);
    assert_true(x.job.progress.bytes_exported == y.job.progress.bytes_exported);
    assert_true(x.job.progress.objects_exported == x.n_files);
    r->n_reused += x.n_reused;
    r->n_written += x.n_files - x.n_reused;
    buf_done(&x.lines);
    buf_done(&y.lines);
}

/* ---- what happens to earlier files ---- */

enum damage { EDIT, CUT, REMOVE, REPLACE, N_DAMAGES };

static void damage(const char *path)
{
    char other[1100];
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    switch (rnd(N_DAMAGES)) {
    case EDIT:
        assert_int_equal(pwrite(fd, "#", 1, st.st_size / 2), 1);
        break;
    case CUT:
        assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
        break;
    case REMOVE:
        assert_int_equal(unlink(path), 0);
        break;
    default: {
        CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
        (void)snprintf(other, sizeof other, "%s.new", path);
        for (off_t i = 0; i < st.st_size; i++)
            OK(buf_add_char(&b, '!', e));
        OK(file_write_atomic(other, buf_sv(&b), e));
        assert_int_equal(rename(other, path), 0);
    }
    }
    close(fd);
}

/* Every third file of everything in the bucket. */
static void damage_below(const char *dir)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[1024];
        struct stat st;
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && lstat(path, &st) == 0) {
            if (S_ISDIR(st.st_mode))
                damage_below(path);
            else if (st.st_size && strstr(path, ".ndjson") && rnd(3) == 0)
                damage(path);
        }
        free(names[i]);
    }
    if (n >= 0)
        free((void *)names);
}

static void damage_some(const struct room *r)
{
    char path[512];
    /* times go by the clock's ticks */
    for (unsigned i = 0; i < 20; i++)
        fx_nap();
    fx_path(&r->f, "out", path);
    damage_below(path);
}

static void history(uint64_t seed, unsigned rounds, bool damages)
{
    struct room r;
    room_open(&r, seed);
    for (unsigned i = 0; i < rounds; i++) {
        for (unsigned k = rnd(rnd(3) ? 3 : 14); k; k--)
            change(&r);
        if (damages && rnd(4) == 0)
            damage_some(&r);
        compare(&r, &forms[rnd(damages ? 4 : N_FORMS)]);
    }
    print_message("seed %llu: %llu files reused, %llu written\n", (unsigned long long)seed,
                  (unsigned long long)r.n_reused, (unsigned long long)r.n_written);
    assert_true(r.n_reused > r.n_written / 20);
    assert_true(r.n_written > 0);
    room_close(&r);
}

TEST(reuse, after_random_changes_an_export_is_the_same_as_a_fresh_one)
{
    (void)state;
    for (uint64_t seed = 1; seed <= (test_is_long() ? 40 : TEST_SANITIZED ? 2 : 4); seed++)
        history(seed, 30, false);
}

TEST(reuse, earlier_files_that_were_changed_cut_or_taken_away_are_written_anew)
{
    (void)state;
    for (uint64_t seed = 1; seed <= (test_is_long() ? 20 : TEST_SANITIZED ? 1 : 2); seed++)
        history(seed, 24, true);
}

/* ---- single cases ---- */

/* Many resources of one type, in loads. */
static void load(struct room *r, unsigned from, unsigned n)
{
    CLEANUP(arena_free) struct arena *a = arena_new(16 << 20);
    CLEANUP_BUF struct buf b = BUF_INIT(16 << 20);
    struct store_bulk_item *items = arena_calloc(a, n, sizeof *items);
    struct store_bulk *bulk;
    struct store_commit c;
    OK(buf_reserve(&b, 4 << 20, e));
    for (unsigned i = 0; i < n; i++) {
        read_item(a, &b, some_text(a, 1, from + i), &items[i]);
        items[i].seq = i;
    }
    OK(store_bulk_begin(r->st, &bulk, e));
    OK(store_bulk_fill(bulk, items, n, e));
    OK(store_bulk_publish(&bulk, SV_NONE, SV_NONE, &c, e));
}

/* Its lines are gone. */
static struct result counts_of(struct room *r, const struct job_export_params *p)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct result x;
    run_export(r, p, true, a, &x);
    buf_done(&x.lines);
    x.manifest = NULL;
    return x;
}

TEST(reuse, without_changes_nearly_all_is_copied_and_growth_costs_what_grew)
{
    (void)state;
    struct room r;
    room_open(&r, 1);
    load(&r, 0, 1000);
    const struct result before = counts_of(&r, &forms[0]);
    assert_int_equal(before.n_reused, 0);
    assert_true(before.n_made > 50 && before.n_made <= before.n_files);
    /* in a directory those that are checked, one range of fifty, are written */
    const unsigned checked = before.n_made / 50 + 1;
    struct result again = counts_of(&r, &forms[0]);
    assert_int_equal(again.n_files, before.n_files);
    assert_in_range(again.n_made, 1, checked);
    load(&r, 1000, 20);
    again = counts_of(&r, &forms[0]);
    assert_true(again.n_made <= checked + 3);
    assert_true(again.n_files <= before.n_files + 3);
    /* another form, another place, a window: they have nothing to go on from */
    const struct job_export_params others[] = {
        { .level = JOB_EXPORT_PATIENT },
        { .types = LIST(S("Observation")) },
        { .elements = LIST(S("x")) },
        { .max_file_bytes = 2000 },
        { .since_ms = 1 },
        { .until_ms = INT64_MAX / 4 },
        { .type_filters = LIST(S("Observation?status=final")) },
        { .tag = LIST(S("a|b")) },
        { .organize_by_patient = true },
        { .associated = JOB_ASSOCIATED_LATEST_PROVENANCE },
        { .served = true },
        { .served = true, .attachment_base = S("http://h/r4") },
        { .served = true, .attachment_base = S("http://g/r4") },
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(counts_of(&r, &others[i]).n_reused, 0);
    room_close(&r);
}

/* Whatever of it is wrong: the files would be copied, and nobody else would see it. */
TEST(reuse, a_wrong_memory_fails_the_export_that_checks_it_and_is_forgotten)
{
    static const char *const members[] = { "\"sum\":\"", "\"sha256\":\"", "\"met\":" };
    (void)state;
    for (size_t m = 0; m < sizeof members / sizeof members[0]; m++) {
        struct room r;
        struct left l;
        room_open(&r, 2);
        load(&r, 0, 1000);
        assert_true(counts_of(&r, &forms[0]).n_made > 50);
        assert_true(left_spoil(r.f.records, members[m]) > 50);
        /* with more than fifty ranges the next one checks */
        CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
        set_reuse(&r, true);
        struct job j = export_job(&r, &forms[0], a);
        if (j.status != JOB_FAILED)
            fail_msg("nobody has seen a wrong %s", members[m]);
        assert_true(sv_starts(j.message, SV_LIT("an object that an earlier export wrote")));
        left_find(r.f.records, &l);
        assert_int_equal(l.n, 0);
        left_done(&l);
        compare(&r, &forms[0]);
        room_close(&r);
    }
}

/* One that is checked, too, is written then. */
TEST(reuse, when_all_earlier_files_are_gone_everything_is_written)
{
    (void)state;
    struct room r;
    char path[512];
    room_open(&r, 5);
    load(&r, 0, 1000);
    const unsigned before = counts_of(&r, &forms[0]).n_made;
    assert_true(before > 50);
    fx_path(&r.f, "out", path);
    OK(file_remove_tree(path, e));
    compare(&r, &forms[0]);
    assert_int_equal(r.n_reused, 0);
    assert_in_range(counts_of(&r, &forms[0]).n_made, 1, before / 50 + 1);
    room_close(&r);
}

TEST(reuse, a_store_with_another_past_is_exported_whole)
{
    (void)state;
    struct room r;
    struct left l;
    room_open(&r, 3);
    load(&r, 0, 300);
    commit_some(&r, 3);
    (void)counts_of(&r, &forms[0]);
    left_find(r.f.records, &l);
    /* its last commit was another one at that time */
    char *t = memmem(l.value.ptr, l.value.len, "{\"t\":2", 6);
    assert_non_null(t);
    t[5] = '1';
    OK(records_put(r.f.records, buf_sv(&l.key), buf_sv(&l.value), e));
    left_done(&l);
    assert_int_equal(counts_of(&r, &forms[0]).n_reused, 0);
    /* damaged: as good as none */
    left_find(r.f.records, &l);
    OK(records_put(r.f.records, buf_sv(&l.key), sv_head(buf_sv(&l.value), l.value.len / 2), e));
    left_done(&l);
    assert_int_equal(counts_of(&r, &forms[0]).n_reused, 0);
    compare(&r, &forms[0]);
    room_close(&r);
}

TEST(reuse, a_served_export_outlives_the_one_that_it_was_made_of)
{
    (void)state;
    struct room r;
    struct result x, y;
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    char path[512];
    struct stat st;
    room_open(&r, 4);
    load(&r, 0, 400);
    run_export(&r, &forms[1], true, a, &x);
    run_export(&r, &forms[1], true, a, &y);
    assert_true(y.n_reused > 5);
    OK(job_discard(r.f.engine, FX_STORE, x.job.id, e));
    (void)snprintf(path, sizeof path, "%s/%.*s", r.f.served, SV_FMT(x.job.id));
    while (stat(path, &st) == 0)
        fx_nap();
    buf_done(&x.lines);
    buf_done(&y.lines);
    read_files(&r, &y);
    buf_done(&y.lines);
    compare(&r, &forms[1]);
    assert_true(r.n_reused > 5);
    room_close(&r);
}

TEST_MAIN(T(reuse, after_random_changes_an_export_is_the_same_as_a_fresh_one),
          T(reuse, earlier_files_that_were_changed_cut_or_taken_away_are_written_anew),
          T(reuse, without_changes_nearly_all_is_copied_and_growth_costs_what_grew),
          T(reuse, a_wrong_memory_fails_the_export_that_checks_it_and_is_forgotten),
          T(reuse, when_all_earlier_files_are_gone_everything_is_written),
          T(reuse, a_store_with_another_past_is_exported_whole),
          T(reuse, a_served_export_outlives_the_one_that_it_was_made_of))
