/* test_status.c - statuses move as the diagram of job.h says. */
#include "fixture.h"

/* The diagram of job.h, once more, by hand: what may follow what. */
static const char *const diagram[][6] = {
    { "SUBMITTED", "QUEUED", "IN_PROGRESS", "FAILED", "CANCEL_SUBMITTED" },
    { "QUEUED", "IN_PROGRESS", "FAILED", "CANCEL_SUBMITTED" },
    { "IN_PROGRESS", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCEL_SUBMITTED" },
    { "CANCEL_SUBMITTED", "CANCEL_IN_PROGRESS", "FAILED" },
    { "CANCEL_IN_PROGRESS", "CANCEL_COMPLETED", "CANCEL_FAILED", "FAILED" },
    { "COMPLETED" },
    { "COMPLETED_WITH_ERRORS" },
    { "FAILED" },
    { "CANCEL_COMPLETED" },
    { "CANCEL_FAILED" },
};
enum { N_STATUSES = sizeof diagram / sizeof diagram[0] };

TEST(status, statuses_move_as_the_diagram_says_and_no_other_way)
{
    job_status from, to;
    for (int i = 0; i < N_STATUSES; i++) {
        assert_true(job_status_parse(sv_from(diagram[i][0]), &from));
        assert_string_equal(job_status_name(from), diagram[i][0]);
        assert_int_equal(job_status_is_final(from), diagram[i][1] == NULL);
        for (int k = 0; k < N_STATUSES; k++) {
            bool want = false;
            for (int n = 1; n < 6 && diagram[i][n]; n++)
                want |= strcmp(diagram[i][n], diagram[k][0]) == 0;
            assert_true(job_status_parse(sv_from(diagram[k][0]), &to));
            assert_int_equal(job_status_may(from, to), want);
        }
    }
    assert_false(job_status_parse(SV_LIT("completed"), &to));
    assert_false(job_status_parse(SV_LIT(""), &to));
    assert_false(job_status_parse(SV_LIT("COMPLETED_"), &to));
}

TEST_MAIN(T(status, statuses_move_as_the_diagram_says_and_no_other_way))
