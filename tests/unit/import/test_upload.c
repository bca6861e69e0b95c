/* test_upload.c - the outcome of files that have ended goes to the target, once, and again after
 * what stopped it has passed. */
#include "one_outcome.h"

static const char *const folders[IMPORT_N_KINDS] = {
    [IMPORT_SUCCESS] = "SUCCESS",
    [IMPORT_FAILURE] = "FAILURE",
    [IMPORT_WITH_ISSUES] = "SUCCESS_WITH_SEARCH_VALIDATION_FAILURES",
};

/* A line of each kind whose bit is set. */
static void add(struct import_outcome *x, size_t file, unsigned of)
{
    static const sv texts[IMPORT_N_KINDS] = { [IMPORT_SUCCESS] = S("{\"lineId\":1}\n"),
                                              [IMPORT_FAILURE] = S("{\"lineId\":2}\n"),
                                              [IMPORT_WITH_ISSUES] = S("{\"lineId\":3}\n") };
    sv lines[IMPORT_N_KINDS];
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        lines[k] = of >> k & 1 ? texts[k] : SV_NONE;
    OK(import_outcome_add(x, file, lines, e));
}

/* Of each file the kinds that are there, by what objects there are. */
static void check_objects(struct one_outcome *o, const unsigned of[N_INPUTS])
{
    CLEANUP_BUF struct buf tree = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20);
    static const int by_name[] = { IMPORT_FAILURE, IMPORT_SUCCESS, IMPORT_WITH_ISSUES };
    for (int n = 0; n < IMPORT_N_KINDS; n++)
        for (unsigned i = 0; i < N_INPUTS; i++)
            if (of[i] >> by_name[n] & 1)
                OK(buf_add_fmt(&want, e, "== %s/o%u.ndjson\n{\"lineId\":%d}\n", folders[by_name[n]],
                               i, by_name[n] + 1));
    fx_tree(&o->f, "out/p", &tree);
    fx_same(buf_sv(&tree), buf_sv(&want));
}

TEST(upload, an_object_for_each_kind_that_has_lines)
{
    static const unsigned of[N_INPUTS] = { 7, 0, 1, 2, 4, 5 };
    struct one_outcome o;
    outcome_open(&o, &wide);
    struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
    for (unsigned i = 0; i < N_INPUTS; i++) {
        add(x, i, of[i]);
        OK(import_outcome_end(x, i, e));
    }
    assert_int_equal(spools(&o), 8);
    OK(import_outcome_upload(x, e));
    check_objects(&o, of);
    assert_int_equal(spools(&o), 0);
    /* there is nothing left to be done */
    OK(import_outcome_upload(x, e));
    check_objects(&o, of);
    import_outcome_free(x);
    outcome_close(&o);
}

TEST(upload, a_file_that_goes_on_waits_for_its_end)
{
    struct one_outcome o;
    outcome_open(&o, &wide);
    struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
    add(x, 0, 1);
    OK(import_outcome_end(x, 0, e));
    add(x, 1, 2);
    OK(import_outcome_upload(x, e));
    check_objects(&o, (const unsigned[N_INPUTS]){ 1 });
    assert_int_equal(spools(&o), 1);
    /* its lines come behind those it has */
    add(x, 1, 4);
    OK(import_outcome_end(x, 1, e));
    add(x, 2, 1);
    OK(import_outcome_end(x, 2, e));
    OK(import_outcome_upload(x, e));
    check_objects(&o, (const unsigned[N_INPUTS]){ 1, 6, 1 });
    assert_int_equal(spools(&o), 0);
    import_outcome_free(x);
    outcome_close(&o);
}

TEST(upload, what_could_not_go_keeps_its_spool_and_goes_the_next_time)
{
    static const unsigned of[N_INPUTS] = { 1, 2, 3, 2, 3, 1 };
    char path[512];
    struct one_outcome o;
    struct err why;
    outcome_open(&o, &wide);
    struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
    for (unsigned i = 0; i < N_INPUTS; i++) {
        add(x, i, of[i]);
        OK(import_outcome_end(x, i, e));
    }
    /* no folder can be made where a file stands */
    fx_put(&o.f, "out/p/FAILURE", SV_LIT(""));
    assert_int_not_equal(import_outcome_upload(x, &why), ERR_OK);
    /* four lines of failure at least */
    assert_true(spools(&o) >= 4);
    fx_path(&o.f, "out/p/FAILURE", path);
    assert_int_equal(unlink(path), 0);
    OK(import_outcome_upload(x, e));
    check_objects(&o, of);
    assert_int_equal(spools(&o), 0);
    import_outcome_free(x);
    outcome_close(&o);
}

TEST(upload, what_stands_behind_the_length_that_counts_does_not_go)
{
    struct one_outcome o;
    outcome_open(&o, &wide);
    struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
    add(x, 0, 3);
    OK(import_outcome_end(x, 0, e));
    /* written by a run that ended before it published */
    put_spool(&o, "s0", "{\"lineId\":1}\n{\"lineId\":9}\n");
    OK(import_outcome_upload(x, e));
    check_objects(&o, (const unsigned[N_INPUTS]){ 3 });
    import_outcome_free(x);
    outcome_close(&o);
}

TEST(upload, a_spool_that_is_gone_was_uploaded_before)
{
    static const unsigned of[N_INPUTS] = { 7, 7 };
    struct one_outcome o;
    char path[256];
    outcome_open(&o, &wide);
    struct import_outcome *x = import_outcome_new(&o.r, o.sink, &o.files);
    for (unsigned i = 0; i < 2; i++) {
        add(x, i, of[i]);
        OK(import_outcome_end(x, i, e));
    }
    /* as a run before left it, which ended between the two kinds */
    fx_put(&o.f, "out/p/SUCCESS/o0.ndjson", SV_LIT("{\"lineId\":1}\n"));
    (void)snprintf(path, sizeof path, "%s/s0", o.f.spool);
    assert_int_equal(unlink(path), 0);
    OK(import_outcome_upload(x, e));
    check_objects(&o, of);
    import_outcome_free(x);
    outcome_close(&o);
}

TEST_MAIN(T(upload, an_object_for_each_kind_that_has_lines),
          T(upload, a_file_that_goes_on_waits_for_its_end),
          T(upload, what_could_not_go_keeps_its_spool_and_goes_the_next_time),
          T(upload, what_stands_behind_the_length_that_counts_does_not_go),
          T(upload, a_spool_that_is_gone_was_uploaded_before))
