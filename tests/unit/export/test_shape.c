/* test_shape.c - urls of Attachments are absolute in files that we serve, and as they are
 * stored in S3; digests of the content stay those of what is stored. */
#include "served_run.h"

#include "codec/hash.h"

#define BASE "http://h:8080/datastore/0a/r4"
#define N    24

/* Of each type some with such a url, and some without; in front of meta and behind it. */
static void fill(struct store *st, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        put_fmt(st,
                i % 3 ? "{\"resourceType\":\"Patient\",\"id\":\"p%02u\",\"language\":\"%u\"}"
                      : "{\"photo\":[{\"url\":\"Binary\\/p%02u\"}],\"resourceType\":\"Patient\","
                        "\"meta\":{\"source\":\"x%u\"},\"id\":\"p%02u\"}",
                i, i, i);
        put_fmt(st,
                "{\"resourceType\":\"DocumentReference\",\"id\":\"d%02u\",\"status\":\"current\","
                "\"subject\":{\"reference\":\"Patient/p%02u\"},\"content\":[{\"attachment\":{"
                "\"url\":\"Binary/d%02u\"}},{\"attachment\":{\"url\":\"https://far.example/%u\"}},"
                "{\"attachment\":{\"url\":\"Binary/d%02u/_history/1\"}}]}",
                i, i, i, i, i);
        put_fmt(st,
                "{\"resourceType\":\"Observation\",\"id\":\"o%02u\",\"status\":\"final\",\"code\":{"
                "\"text\":\"c\"},\"subject\":{\"reference\":\"Patient/p%02u\"}}",
                i, (i * 7) % N);
    }
    put_fmt(st, "{\"resourceType\":\"Organization\",\"id\":\"org\",\"name\":\"n\",\"extension\":[{"
                "\"url\":\"http://x\",\"valueAttachment\":{\"url\":\"Binary/org\"}}]}");
}

static sv member(yyjson_val *root, const char *name)
{
    return json_string(json_get(root, name));
}

static yyjson_val *urls_of(yyjson_val *manifest)
{
    return json_get(json_get(manifest, "extension"), "attachmentUrls");
}

/* The same as an export into S3; all files, the manifest among them. */
static void run_to_s3(struct fx *f, const struct job_export_params *p, struct arena *a,
                      struct buf *tree, yyjson_val **manifest)
{
    static unsigned n_folders;
    char folder[64], to[80];
    (void)snprintf(folder, sizeof folder, "out/n%u", n_folders++);
    (void)snprintf(to, sizeof to, "s3://%s", folder);
    struct job_request q = fx_request(JOB_EXPORT, "", to);
    CLEANUP_BUF struct buf b = BUF_INIT(16 << 20);
    yyjson_doc *doc;
    struct job j;
    bool complete;
    q.params = p;
    OK(job_submit(f->engine, &q, a, &j, e));
    j = fx_wait(f, JOB_EXPORT, j.id, a);
    assert_int_equal(j.status, JOB_COMPLETED);
    OK(job_export_manifest(f->engine, FX_STORE, j.id, &b, &complete, e));
    OK(json_read(a, arena_sv(a, buf_sv(&b)), 8, &doc, e));
    *manifest = yyjson_doc_get_root(doc);
    buf_clear(tree);
    fx_tree(f, folder, tree);
}

static int by_text(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

/* Lines of resources, sorted, with `from` replaced by `to`, then `from2`. */
static void add_lines(sv tree, const char *const *from, const char *to, struct arena *a,
                      struct buf *out)
{
    sv rest = tree, line;
    static sv lines[4096];
    size_t n = 0;
    while (rest.len && sv_cut(&rest, '\n', &line)) {
        CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
        if (memmem(line.ptr, line.len, "\"resourceType\":\"", 16) == NULL ||
            sv_starts(line, SV_LIT("{\"resourceType\":\"Parameters\"")))
            continue;
        for (size_t i = 0; i < line.len;) {
            size_t k = 0;
            while (from[k] && !sv_starts(sv_tail(line, i), sv_from(from[k])))
                k++;
            OK(buf_add(&b, from[k] ? sv_from(to) : sv_make(line.ptr + i, 1), e));
            i += from[k] ? strlen(from[k]) : 1;
        }
        lines[n++] = arena_sv(a, buf_sv(&b));
    }
    qsort(lines, n, sizeof *lines, by_text);
    for (size_t i = 0; i < n; i++)
        OK(buf_add_fmt(out, e, "%.*s\n", SV_FMT(lines[i])));
}

/* Files are what the manifest says of them. */
static void check_files(const struct fx *f, const struct job *j, yyjson_val *m, uint64_t most)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(json_get(m, "output"));
    yyjson_val *v;
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        CLEANUP_BUF struct buf text = BUF_INIT(16 << 20);
        char path[512], hex[SHA256_HEX_LEN];
        unsigned char d[SHA256_LEN];
        (void)snprintf(path, sizeof path, "%s/%.*s/%.*s", f->served, SV_FMT(j->id),
                       SV_FMT(member(v, "url")));
        OK(file_read(path, &text, e));
        hash_sha256_of(buf_sv(&text), d);
        hash_hex(d, sizeof d, hex);
        assert_sv(member(v, "sha256"), sv_make(hex, sizeof hex));
        assert_int_equal(number(v, "bytes"), text.len);
        assert_true(most == 0 || text.len <= most || number(v, "count") == 1);
    }
}

/* What the files hold, in a data store of its own, exported from there: its digest. */
static sv digest_of_import(const struct buf *tree, struct arena *a)
{
    struct fx g;
    yyjson_val *m;
    struct store_commit c;
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    sv rest = buf_sv(tree), line;
    fx_open(&g);
    fx_engine(&g, 2, 0, 0);
    struct store *st = fx_store(&g);
    while (rest.len && sv_cut(&rest, '\n', &line))
        if (memmem(line.ptr, line.len, "\"resourceType\":\"", 16) &&
            !sv_starts(line, SV_LIT("{\"resourceType\":\"Parameters\"")))
            put_text(st, arena_str(a, line), &c);
    run(&g, &(struct job_export_params){ 0 }, a, &t, &m);
    store_registry_release(g.stores, st);
    fx_close(&g);
    return member(m, "contentDigest");
}

/* Served and to S3, with the same parameters. */
static void compare(struct fx *f, struct job_export_params p, uint64_t rewritten)
{
    static const char *const stored[] = { "\"url\":\"Binary/", "\"url\":\"Binary\\/", NULL };
    static const char *const nothing[] = { NULL };
    CLEANUP(arena_free) struct arena *a = arena_new(256 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20), s3 = BUF_INIT(16 << 20);
    CLEANUP_BUF struct buf got = BUF_INIT(16 << 20), want = BUF_INIT(16 << 20);
    yyjson_val *m, *plain;
    run_to_s3(f, &p, a, &s3, &plain);
    p.attachment_base = SV_LIT(BASE);
    struct job j = run(f, &p, a, &t, &m);
    add_lines(sv_head(buf_sv(&t), t.len - 1), nothing, "", a, &got);
    add_lines(buf_sv(&s3), stored, "\"url\":\"" BASE "/Binary/", a, &want);
    fx_same(buf_sv(&got), buf_sv(&want));
    buf_clear(&want);
    /* and there they stand as they are stored */
    add_lines(buf_sv(&s3), nothing, "", a, &want);
    assert_int_equal(memmem(want.ptr, want.len, BASE, strlen(BASE)) != NULL, 0);
    check_files(f, &j, m, p.max_file_bytes);
    assert_sv(member(m, "contentDigest"), member(plain, "contentDigest"));
    assert_null(json_get(plain, "extension"));
    assert_int_equal(number(m, "count"), number(plain, "count"));
    if (rewritten == 0) {
        assert_null(json_get(m, "extension"));
        return;
    }
    yyjson_val *urls = urls_of(m);
    assert_sv(member(urls, "base"), SV_LIT(BASE));
    assert_null(json_get(urls, "otherBase"));
    assert_int_equal(number(urls, "resources"), rewritten);
    yyjson_val *differ = json_get(urls, "contentPerType");
    assert_null(json_get(differ, "Observation"));
    assert_int_equal(yyjson_obj_size(differ) > 0, 1);
    if (p.since_ms == 0)
        assert_sv(member(urls, "contentDigest"), digest_of_import(&t, a));
    assert_false(sv_eq(member(urls, "contentDigest"), member(m, "contentDigest")));
}

TEST(shape, are_absolute_in_served_files_alone_and_the_content_keeps_its_digest)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    struct store *st = fx_store(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    fill(st, 0, N / 2);
    for (int i = 0; i < 3; i++)
        fx_nap();
    int64_t middle = run(&f, &(struct job_export_params){ 0 }, a, &t, &m).transaction_ms;
    fill(st, N / 2, N);
    const uint64_t photos = N / 3, docs = N, orgs = 1;
    compare(&f, (struct job_export_params){ 0 }, photos + docs + orgs);
    compare(&f, (struct job_export_params){ .max_file_bytes = 600 }, photos + docs + orgs);
    /* however lines and limit fit */
    for (uint64_t most = 700; most < 2000; most += 50) {
        struct job_export_params p = { .types = LIST(S("DocumentReference")),
                                       .max_file_bytes = most,
                                       .attachment_base = SV_LIT(BASE) };
        struct job j = run(&f, &p, a, &t, &m);
        check_files(&f, &j, m, most);
    }
    compare(&f, (struct job_export_params){ .organize_by_patient = true }, photos + docs + orgs);
    compare(&f, (struct job_export_params){ .organize_by_patient = true, .max_file_bytes = 900 },
            photos + docs + orgs);
    compare(&f, (struct job_export_params){ .level = JOB_EXPORT_PATIENT }, photos + docs);
    compare(&f,
            (struct job_export_params){ .level = JOB_EXPORT_PATIENT,
                                        .patients = LIST(S("p00"), S("p01")) },
            1 + 2);
    compare(&f, (struct job_export_params){ .since_ms = middle }, photos / 2 + docs / 2 + orgs);
    compare(&f, (struct job_export_params){ .types = LIST(S("Observation")) }, 0);
    compare(&f,
            (struct job_export_params){ .types = LIST(S("Patient"), S("Observation")),
                                        .type_filters = LIST(S("Patient?_id=p00,p01,p03")) },
            2);
    /* members that are left out: where the urls are among them nothing was rewritten */
    compare(&f,
            (struct job_export_params){ .types = LIST(S("Patient"), S("DocumentReference")),
                                        .elements = LIST(S("Patient.language")) },
            docs);
    compare(&f,
            (struct job_export_params){ .types = LIST(S("Patient")),
                                        .elements = LIST(S("Patient.photo")) },
            photos);
    compare(&f,
            (struct job_export_params){ .types = LIST(S("Patient")),
                                        .organize_by_patient = true,
                                        .elements = LIST(S("Patient.photo")) },
            photos);
    compare(&f,
            (struct job_export_params){ .types = LIST(S("Patient")),
                                        .elements = LIST(S("Patient.language")) },
            0);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST(shape, stay_as_stored_in_a_job_that_knows_no_base_and_move_from_the_other_base)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    struct store *st = fx_store(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    put_fmt(st, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"photo\":[{\"url\":"
                "\"http://in/datastore/0a/r4/Binary/x\"},{\"url\":\"Binary/y\"}]}");
    /* as one begun before there were any */
    run(&f, &(struct job_export_params){ 0 }, a, &t, &m);
    assert_true(has(&t, "\"http://in/datastore/0a/r4/Binary/x\"},{\"url\":\"Binary/y\""));
    assert_null(json_get(m, "extension"));
    const struct job_export_params p = { .attachment_base = SV_LIT(BASE),
                                         .attachment_other = SV_LIT("http://in/datastore/0a/r4") };
    run(&f, &p, a, &t, &m);
    assert_true(has(&t, "[{\"url\":\"" BASE "/Binary/x\"},{\"url\":\"" BASE "/Binary/y\"}]"));
    assert_sv(member(urls_of(m), "otherBase"), SV_LIT("http://in/datastore/0a/r4"));
    assert_int_equal(number(urls_of(m), "resources"), 1);
    store_registry_release(f.stores, st);
    fx_close(&f);
}

TEST(shape, elements_keep_what_must_stay_and_say_so)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    put_sample(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    CLEANUP_BUF struct buf t = BUF_INIT(16 << 20);
    yyjson_val *m;
    const struct job_export_params p = {
        .types = LIST(S("Patient"), S("Observation"), S("Organization")),
        .elements = LIST(S("Patient.birthDate"), S("Observation.value"))
    };
    run(&f, &p, a, &t, &m);
    assert_int_equal(number(m, "count"), 5);
    assert_true(has(&t, "\"birthDate\":\"1970-01-01\",\"_birthDate\":{\"id\":\"x\"}"));
    assert_true(has(&t, "\"modifierExtension\""));
    assert_true(has(&t, "\"valueQuantity\":{\"value\":1.50}"));
    /* mandatory */
    assert_true(has(&t, "\"status\":\"final\",\"code\":{\"text\":\"a\"}"));
    assert_false(has(&t, "\"subject\""));
    assert_false(has(&t, "\"gender\""));
    /* a modifier */
    assert_true(has(&t, "\"active\":true"));
    /* nothing is asked of this type: it comes whole */
    assert_true(has(&t, "\"name\":\"n\""));
    size_t n = 0;
    for (const char *at = t.ptr; (at = strstr(at, "\"code\":\"SUBSETTED\"")) != NULL; at++)
        n++;
    assert_int_equal(n, 4);
    fx_close(&f);
}

TEST_MAIN(T(shape, are_absolute_in_served_files_alone_and_the_content_keeps_its_digest),
          T(shape, stay_as_stored_in_a_job_that_knows_no_base_and_move_from_the_other_base),
          T(shape, elements_keep_what_must_stay_and_say_so))
