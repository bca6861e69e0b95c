/* Where the files of an export are, and what is listed and read there. */
#include "cli/verifying.h"

static struct place *opened(const char *target, const char *objects)
{
    struct verify_options o = { .objects = objects };
    struct place *p = NULL;
    OK(place_open(&o, target, &p, e));
    return p;
}

static err_code open_rc(const char *target, const struct verify_options *o, struct err *why)
{
    struct place *p = NULL;
    err_code rc = place_open(o, target, &p, why);
    /* on failure it is untouched */
    assert_true((rc == ERR_OK) == (p != NULL));
    place_free(p);
    return rc;
}

/* "name=bytes", sorted, by blanks. */
static char names[40][200];
static size_t n_names;
static bool see(void *ctx, sv name, uint64_t bytes)
{
    (void)ctx;
    assert_true(n_names < 40);
    (void)snprintf(names[n_names++], sizeof names[0], "%.*s=%llu", SV_FMT(name),
                   (unsigned long long)bytes);
    return true;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static const char *listed(struct place *p)
{
    static char out[9000];
    n_names = 0;
    out[0] = 0;
    OK(place_list(p, see, NULL, e));
    qsort(names, n_names, sizeof names[0], by_text);
    for (size_t i = 0; i < n_names; i++)
        (void)snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s", i ? " " : "", names[i]);
    return out;
}

/* What the file holds. */
static const char *held(struct place *p, const char *name)
{
    static char out[1000];
    struct byte_reader r;
    struct err end = { 0 };
    size_t len = 0, n;
    err_code rc;
    OK(place_read(p, sv_from(name), &r, e));
    /* read in small pieces */
    while ((rc = r.read(r.ctx, out + len, 3, &n, &end)) == ERR_OK)
        len += n;
    assert_int_equal(rc, ERR_EOF);
    r.close(r.ctx);
    out[len] = 0;
    return out;
}

TEST(verify_place, a_folder_is_listed_with_all_that_is_below_it)
{
    (void)state;
    put("manifest.json", "{}");
    put("Patient/a.ndjson", "12345");
    put("Patient/deep/er/b.ndjson", "");
    CLEANUP(place_free) struct place *p = opened(folder, NULL);
    assert_string_equal(listed(p), "Patient/a.ndjson=5 Patient/deep/er/b.ndjson=0 manifest.json=2");
    assert_string_equal(held(p, "Patient/a.ndjson"), "12345");
    assert_string_equal(held(p, "Patient/deep/er/b.ndjson"), "");
    struct byte_reader r;
    FAILS(ERR_NOT_FOUND, place_read(p, SV_LIT("Patient/none"), &r, e));
}

/* A link beside the files is a name that no manifest has. What it leads to is not walked. */
TEST(verify_place, a_link_is_listed_and_not_followed)
{
    (void)state;
    char to[100], from[100];
    put("export/a", "1");
    put("other/secret", "2");
    (void)snprintf(to, sizeof to, "%s/other", folder);
    (void)snprintf(from, sizeof from, "%s/export/link", folder);
    assert_int_equal(symlink(to, from), 0);
    (void)snprintf(from, sizeof from, "%s/export", folder);
    CLEANUP(place_free) struct place *p = opened(from, NULL);
    const char *all = listed(p);
    assert_null(strstr(all, "secret"));
    assert_non_null(strstr(all, "link="));
    assert_non_null(strstr(all, "a=1"));
}

TEST(verify_place, s3_is_a_folder_of_buckets)
{
    (void)state;
    put("bucket/p/job/a", "1");
    put("bucket/other", "2");
    CLEANUP(place_free) struct place *p = opened("s3://bucket/p/job", folder);
    assert_string_equal(listed(p), "a=1");
    assert_string_equal(held(p, "a"), "1");
    CLEANUP(place_free) struct place *same = opened("s3://bucket/p/job/", folder);
    assert_string_equal(listed(same), "a=1");
    CLEANUP(place_free) struct place *bucket = opened("s3://bucket", folder);
    assert_string_equal(listed(bucket), "other=1 p/job/a=1");
}

TEST(verify_place, what_cannot_be_a_place_is_refused)
{
    (void)state;
    char file[100];
    struct verify_options none = { 0 }, objects = { .objects = folder },
                          both = { .objects = folder, .s3_endpoint = "http://127.0.0.1:9" },
                          endpoint = { .s3_endpoint = "http://127.0.0.1:9" };
    put("file", "");
    (void)snprintf(file, sizeof file, "%s/file", folder);
    FAILS(ERR_NOT_FOUND, open_rc(file, &none, e));
    (void)snprintf(file, sizeof file, "%s/nowhere", folder);
    FAILS(ERR_NOT_FOUND, open_rc(file, &none, e));
    FAILS(ERR_NOT_FOUND, open_rc("s3://bucket/nowhere", &objects, e));
    FAILS(ERR_INVALID, open_rc("s3://", &objects, e));
    FAILS(ERR_INVALID, open_rc("s3://bucket/p/../q", &objects, e));
    FAILS(ERR_INVALID, open_rc("s3://bucket/p", &none, e));
    /* an endpoint needs keys */
    (void)unsetenv("AWS_ACCESS_KEY_ID");
    (void)unsetenv("AWS_SECRET_ACCESS_KEY");
    FAILS(ERR_INVALID, open_rc("s3://bucket/p", &endpoint, e));
    (void)setenv("AWS_ACCESS_KEY_ID", "k", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    OK(open_rc("s3://bucket/p", &endpoint, e));
    FAILS(ERR_INVALID, open_rc("s3://bucket/p", &both, e));
    endpoint.s3_addressing = "sideways";
    FAILS(ERR_INVALID, open_rc("s3://bucket/p", &endpoint, e));
}

TEST(verify_place, a_path_that_is_too_long_is_refused)
{
    (void)state;
    static char path[6000];
    struct verify_options none = { 0 };
    memset(path, 'a', sizeof path - 1);
    path[0] = '/';
    FAILS(ERR_INVALID, open_rc(path, &none, e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VERIFYING(verify_place, a_folder_is_listed_with_all_that_is_below_it),
        VERIFYING(verify_place, a_link_is_listed_and_not_followed),
        VERIFYING(verify_place, s3_is_a_folder_of_buckets),
        VERIFYING(verify_place, what_cannot_be_a_place_is_refused),
        VERIFYING(verify_place, a_path_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
