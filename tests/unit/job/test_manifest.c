/* test_manifest.c - a served file is read by the name that the manifest has for it. */
#include "job/served.h"

#include "base/clock.h"
#include "codec/hash.h"
#include "codec/json.h"

#include <errno.h>

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

TEST(manifest, a_file_is_read_by_its_name_in_the_manifest_and_by_no_other)
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
    OK(job_export_file_open(f.engine, FX_STORE, j.id, name, NULL,
                            &(const struct job_export_want){ 0 }, a, &file, e));
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
        assert_int_equal(job_export_file_open(f.engine, FX_STORE, j.id, sv_from(wrong[i]), NULL,
                                              &(const struct job_export_want){ 0 }, a, &file, &err),
                         ERR_NOT_FOUND);
    assert_int_equal(job_export_file_open(f.engine, FX_STORE, SV_LIT("00"), name, NULL,
                                          &(const struct job_export_want){ 0 }, a, &file, &err),
                     ERR_NOT_FOUND);
    /* gone at once; what is open stays readable; again is success */
    OK(job_discard(f.engine, FX_STORE, j.id, e));
    OK(job_discard(f.engine, FX_STORE, j.id, e));
    assert_int_equal(lseek(file.fd, 0, SEEK_SET), 0);
    assert_int_equal(read(file.fd, text, sizeof text), n);
    close(file.fd);
    assert_int_equal(job_export_file_open(f.engine, FX_STORE, j.id, name, NULL,
                                          &(const struct job_export_want){ 0 }, a, &file, &err),
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

TEST_MAIN(T(manifest, a_file_is_read_by_its_name_in_the_manifest_and_by_no_other))
