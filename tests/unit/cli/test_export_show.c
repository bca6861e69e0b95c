/* What people see of an export's manifest. */
#include "test.h"

#include "base/buf.h"
#include "cli/export_show.h"

static char *shown(const char *manifest, const struct export_state *st, err_code want)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    struct err e;
    assert_non_null(f);
    assert_int_equal(export_show_tree(sv_from(manifest), st, f, &e), want);
    (void)fclose(f);
    assert_non_null(text);
    return text;
}

static void has(const char *text, const char *part)
{
    assert_non_null(text);
    if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in\n%s", part, text);
}

TEST(export_show, files_stand_by_type_with_sums_and_the_rate)
{
    (void)state;
    const struct export_state st = { .folder = SV_LIT("s3://b/f/"), .submit_s = 10, .end_s = 12 };
    char *text =
        shown("{\"transactionTime\":\"T\",\"output\":["
              "{\"type\":\"Patient\",\"url\":\"s3://b/f/Patient-2\",\"count\":1,\"bytes\":500},"
              "{\"type\":\"Observation\",\"url\":\"s3://b/f/Observation-1\",\"count\":4,"
              "\"bytes\":2000},"
              "{\"type\":\"Patient\",\"url\":\"s3://b/f/Patient-1\",\"count\":2,\"bytes\":500}],"
              "\"deleted\":[{\"type\":\"Bundle\",\"url\":\"x\",\"count\":9,\"bytes\":1000}]}",
              &st, ERR_OK);
    has(text, "s3://b/f/\n");
    has(text, "Bundle (deleted)");
    has(text, "7 resources, 4.0 kB in 4 files as of T; 2.00 s");
    if (strstr(text, "Observation-1") > strstr(text, "Patient-1") ||
        strstr(text, "Patient-1") > strstr(text, "Patient-2"))
        fail_msg("out of order:\n%s", text);
    free(text);
}

TEST(export_show, files_that_were_copied_from_an_earlier_export_are_counted)
{
    (void)state;
    const struct export_state st = { .folder = SV_LIT("f") };
    char *text = shown("{\"transactionTime\":\"T\",\"output\":["
                       "{\"type\":\"Patient\",\"url\":\"p-1\",\"count\":1,\"bytes\":5,"
                       "\"reused\":true},"
                       "{\"type\":\"Patient\",\"url\":\"p-2\",\"count\":1,\"bytes\":5}]}",
                       &st, ERR_OK);
    has(text, "in 2 files (1 unchanged, copied from an earlier export) as of T");
    free(text);
}

TEST(export_show, of_many_files_of_a_type_some_are_listed_and_the_rest_is_counted)
{
    (void)state;
    const struct export_state st = { .folder = SV_LIT("f") };
    struct buf b = BUF_INIT(1u << 16);
    OK(buf_add(&b, SV_LIT("{\"output\":["), e));
    for (int i = 0; i < 10; i++)
        OK(buf_add_fmt(&b, e, "%s{\"type\":\"Patient\",\"url\":\"p-%d\"}", i ? "," : "", i));
    OK(buf_add(&b, SV_LIT("]}"), e));
    OK(buf_add_char(&b, 0, e));
    char *text = shown(b.ptr, &st, ERR_OK);
    has(text, "p-7");
    has(text, "and 2 more");
    assert_null(strstr(text, "p-8"));
    free(text);
    buf_done(&b);
}

TEST(export_show, what_is_no_manifest_is_refused)
{
    (void)state;
    const struct export_state st = { .folder = SV_LIT("f") };
    free(shown("{}", &st, ERR_INVALID));
    free(shown("{\"output\":{}}", &st, ERR_INVALID));
    free(shown("{", &st, ERR_INVALID));
}

TEST_MAIN(T(export_show, files_that_were_copied_from_an_earlier_export_are_counted),
          T(export_show, files_stand_by_type_with_sums_and_the_rate),
          T(export_show, of_many_files_of_a_type_some_are_listed_and_the_rest_is_counted),
          T(export_show, what_is_no_manifest_is_refused))
