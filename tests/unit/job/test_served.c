/* test_served.c - parameters of exports are kept with the job; files that are served, and their
 * retention. */
#include "fixture.h"

#include "base/clock.h"
#include "codec/hash.h"
#include "codec/json.h"

#include <errno.h>
#include <ftw.h>

enum { N_PATIENTS = 50 };

static void fill(struct fx *f)
{
    struct store *st = fx_store(f);
    for (int i = 0; i < N_PATIENTS; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "p%d", i);
        fx_write(st, fhir_type_find(SV_LIT("Patient")), id, "x");
    }
    store_registry_release(f->stores, st);
}

static struct job submit(struct fx *f, const struct job_export_params *p, struct arena *a)
{
    struct job j;
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.params = p;
    OK(job_submit(f->engine, &q, a, &j, e));
    return j;
}

static const struct job_export_params served = {
    .served = true, .request_url = { "http://x/r4/$export", sizeof("http://x/r4/$export") - 1 }
};

/* The first file of the job's manifest. */
static sv first_file(struct fx *f, sv id, struct arena *a)
{
    struct buf b = BUF_INIT(1 << 20);
    yyjson_doc *doc;
    bool complete = false;
    OK(job_export_manifest(f->engine, FX_STORE, id, &b, &complete, e));
    assert_true(complete);
    OK(json_read(a, arena_sv(a, buf_sv(&b)), 8, &doc, e));
    buf_done(&b);
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_sv(json_string(json_get(root, "request")), SV_LIT("http://x/r4/$export"));
    return json_string(json_get(yyjson_arr_get_first(json_get(root, "output")), "url"));
}

static size_t n_files; /* of this thread's walk */

static int count_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)st;
    (void)at;
    n_files += type == FTW_F;
    return 0;
}

/* They may go while they are counted. */
static size_t n_served(struct fx *f)
{
    n_files = 0;
    (void)nftw(f->served, count_file, 8, FTW_PHYS);
    return n_files;
}

TEST(served, a_file_is_read_by_its_name_in_the_manifest_and_by_no_other)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct job j = submit(&f, &served, a);
    assert_true(j.served);
    assert_int_equal(j.job_folder_uri.len, 0);
    struct err err;
    struct job_export_file file;
    j = fx_wait(&f, JOB_EXPORT, j.id, a);
    assert_int_equal(j.status, JOB_COMPLETED);
    assert_int_equal(j.expires_ms, j.end_ms + 48 * 3600000LL);
    assert_false(j.discarded);
    assert_true(j.params && j.params->served);
    sv name = first_file(&f, j.id, a);
    OK(job_export_file_open(f.engine, FX_STORE, j.id, name, a, &file, e));
    char text[1 << 16];
    ssize_t n = read(file.fd, text, sizeof text);
    assert_int_equal(n, file.bytes);
    unsigned char d[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    hash_sha256_of(sv_make(text, (size_t)n), d);
    hash_hex(d, sizeof d, hex);
    assert_sv(file.sha256, sv_make(hex, sizeof hex));
    struct stat st;
    assert_int_equal(fstat(file.fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    static const char *const wrong[] = { "manifest.json", "../x", "", "Patient", "/etc/passwd" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(
            job_export_file_open(f.engine, FX_STORE, j.id, sv_from(wrong[i]), a, &file, &err),
            ERR_NOT_FOUND);
    assert_int_equal(job_export_file_open(f.engine, FX_STORE, SV_LIT("00"), name, a, &file, &err),
                     ERR_NOT_FOUND);
    /* gone at once; what is open stays readable; again is success */
    OK(job_discard(f.engine, FX_STORE, j.id, e));
    OK(job_discard(f.engine, FX_STORE, j.id, e));
    assert_int_equal(lseek(file.fd, 0, SEEK_SET), 0);
    assert_int_equal(read(file.fd, text, sizeof text), n);
    close(file.fd);
    assert_int_equal(job_export_file_open(f.engine, FX_STORE, j.id, name, a, &file, &err),
                     ERR_GONE);
    OK(job_get(f.engine, JOB_EXPORT, FX_STORE, j.id, a, &j, e));
    assert_true(j.discarded);
    assert_int_equal(j.status, JOB_COMPLETED);
    /* removed in the background */
    for (int i = 0; i < 5000 && n_served(&f); i++)
        fx_nap();
    assert_int_equal(n_served(&f), 0);
    fx_close(&f);
}

TEST(served, files_go_when_their_time_is_over_and_not_before)
{
    struct fx f;
    fx_open(&f);
    f.served_ms = 600;
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct job one = submit(&f, &served, a);
    one = fx_wait(&f, JOB_EXPORT, one.id, a);
    for (;;) {
        struct job j;
        bool there = n_served(&f) != 0;
        int64_t now = clock_wall_ms();
        OK(job_get(f.engine, JOB_EXPORT, FX_STORE, one.id, a, &j, e));
        if (now < one.expires_ms)
            assert_true(there || clock_wall_ms() >= one.expires_ms);
        if (j.discarded)
            break;
        assert_true(now < one.expires_ms + 20000);
        fx_nap();
    }
    assert_int_equal(n_served(&f), 0);
    fx_close(&f);
}

TEST(served, a_restart_removes_what_expired_meanwhile_and_what_a_crash_left)
{
    struct fx f;
    fx_open(&f);
    f.served_ms = 1;
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    f.served_ms = 3600000;
    fx_engine_stop(&f);
    fx_engine(&f, 2, 0, 0);
    struct job kept = submit(&f, &served, a);
    kept = fx_wait(&f, JOB_EXPORT, kept.id, a);
    size_t n = n_served(&f);
    fx_engine_stop(&f);
    /* a crash between the files of a cancelled job and its last status */
    char path[256];
    (void)snprintf(path, sizeof path, "%s/0123456789abcdef0123456789abcde0/Patient", f.served);
    OK(file_mkdirs(path, e));
    (void)snprintf(path, sizeof path, "%s/0123456789abcdef0123456789abcde0/Patient/x.ndjson",
                   f.served);
    OK(file_write_atomic(path, SV_LIT("x"), e));
    f.served_ms = 1;
    fx_engine(&f, 2, 0, 0);
    /* its own time counts, not today's setting */
    assert_int_equal(n_served(&f), n);
    struct job brief = submit(&f, &served, a);
    brief = fx_wait(&f, JOB_EXPORT, brief.id, a);
    fx_engine_stop(&f);
    fx_engine(&f, 2, 0, 0);
    for (int i = 0; i < 5000 && !brief.discarded; i++) {
        OK(job_get(f.engine, JOB_EXPORT, FX_STORE, brief.id, a, &brief, e));
        fx_nap();
    }
    assert_true(brief.discarded);
    assert_int_equal(n_served(&f), n);
    OK(job_get(f.engine, JOB_EXPORT, FX_STORE, kept.id, a, &kept, e));
    assert_false(kept.discarded);
    OK(store_registry_remove(f.stores, FX_STORE, e));
    OK(job_datastore_forget(f.engine, FX_STORE, e));
    assert_int_equal(n_served(&f), 0);
    fx_close(&f);
}

TEST(served, parameters_survive_a_restart_and_belong_to_the_client_token)
{
    struct fx f;
    fx_open(&f);
    fx_engine(&f, 2, 0, 0);
    fill(&f);
    CLEANUP(arena_free) struct arena *a = arena_new(64 << 20);
    struct job j, again;
    struct err err;
    struct job_export_params p = served, other = served;
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.client_token = SV_LIT("token");
    q.params = &p;
    OK(job_submit(f.engine, &q, a, &j, e));
    other.partial_manifests = true;
    q.params = &other;
    assert_int_equal(job_submit(f.engine, &q, a, &again, &err), ERR_INVALID);
    q.params = NULL;
    assert_int_equal(job_submit(f.engine, &q, a, &again, &err), ERR_INVALID);
    q.params = &p;
    OK(job_submit(f.engine, &q, a, &again, e));
    assert_sv(again.id, j.id);
    fx_wait(&f, JOB_EXPORT, j.id, a);
    fx_engine_stop(&f);
    fx_engine(&f, 2, 0, 0);
    OK(job_get(f.engine, JOB_EXPORT, FX_STORE, j.id, a, &again, e));
    assert_sv(again.request_url, p.request_url);
    assert_true(again.served && again.params && again.params->served);
    fx_close(&f);
}

static struct job_texts texts(const sv *items, size_t n)
{
    return (struct job_texts){ items, n };
}

TEST(params, every_member_is_read_as_it_was_written)
{
    static const sv some[] = { { "a\"b", sizeof("a\"b") - 1 },
                               { "", sizeof("") - 1 },
                               { "\xc3\xa9?x=1,2", sizeof("\xc3\xa9?x=1,2") - 1 } };
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    CLEANUP_BUF struct buf one = BUF_INIT(1 << 20), two = BUF_INIT(1 << 20);
    const struct job_export_params *got;
    const struct job_export_params p = { .level = JOB_EXPORT_GROUP,
                                         .group_id = SV_LIT("g1"),
                                         .types = texts(some, 1),
                                         .since_ms = 1,
                                         .until_ms = INT64_MAX,
                                         .type_filters = texts(some, 3),
                                         .elements = texts(some, 2),
                                         .patients = texts(some + 1, 2),
                                         .security = texts(some + 2, 1),
                                         .tag = texts(some, 3),
                                         .associated = 3,
                                         .organize_by_patient = true,
                                         .partial_manifests = true,
                                         .min_file_bytes = 5,
                                         .max_file_bytes = UINT64_MAX,
                                         .served = true,
                                         .request_url = SV_LIT("http://x"),
                                         .attachment_base = SV_LIT("http://y"),
                                         .attachment_other = SV_LIT("http://z"),
                                         .notes = texts(some, 2) };
    OK(job_params_write(&p, &one, e));
    OK(job_params_read(buf_sv(&one), a, &got, e));
    assert_int_equal(got->level, p.level);
    assert_int_equal(got->associated, 3);
    assert_int_equal(got->until_ms, INT64_MAX);
    assert_int_equal(got->max_file_bytes, UINT64_MAX);
    assert_int_equal(got->type_filters.n, 3);
    assert_sv(got->type_filters.items[2], some[2]);
    assert_sv(got->attachment_base, p.attachment_base);
    assert_sv(got->attachment_other, p.attachment_other);
    assert_true(got->organize_by_patient && got->partial_manifests && got->served);
    OK(job_params_write(got, &two, e));
    assert_sv(buf_sv(&two), buf_sv(&one));
}

TEST_MAIN(T(served, a_file_is_read_by_its_name_in_the_manifest_and_by_no_other),
          T(served, files_go_when_their_time_is_over_and_not_before),
          T(served, a_restart_removes_what_expired_meanwhile_and_what_a_crash_left),
          T(served, parameters_survive_a_restart_and_belong_to_the_client_token),
          T(params, every_member_is_read_as_it_was_written))
