/* Which operations there are, against HealthLake's service model. */
#include "test.h"

#include "aws/aws_private.h"

#define TARGET(name) SV_LIT("HealthLake." name)

TEST(operations, a_target_names_an_operation_by_its_whole_name)
{
    (void)state;
    static const char *const none[] = {
        "",
        "StartFHIRExportJob",
        "HealthLake.",
        "HealthLake.startFHIRExportJob",
        "HealthLake.StartFHIRExportJobs",
        "healthlake.StartFHIRExportJob",
        "HealthLake.HealthLake.TagResource",
        "HealthLake-TagResource",
        " HealthLake.TagResource",
    };
    const struct operation *op = operation_find(TARGET("StartFHIRExportJob"));
    assert_non_null(op);
    assert_string_equal(op->name, "StartFHIRExportJob");
    assert_int_equal(op->input, SHAPE_StartFHIRExportJobRequest);
    assert_int_equal(op->output, SHAPE_StartFHIRExportJobResponse);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (operation_find(sv_from(none[i])))
            fail_msg("\"%s\" names one", none[i]);
}

/* Starting a job asks S3, STS or KMS, and so does a data store with a customer's key: such an
 * operation must not keep a thread of the server. */
TEST(operations, those_that_wait_for_a_peer_run_on_workers)
{
    (void)state;
    for (size_t i = 0; aws_operation_name(i); i++) {
        char target[80];
        (void)snprintf(target, sizeof target, "HealthLake.%s", aws_operation_name(i));
        const struct operation *op = operation_find(sv_from(target));
        bool asks = strncmp(aws_operation_name(i), "Start", 5) == 0 ||
                    strcmp(aws_operation_name(i), "CreateFHIRDatastore") == 0 ||
                    strcmp(aws_operation_name(i), "RestoreFHIRDatastore") == 0;
        if (op && op->waits != asks)
            fail_msg("%s", op->name);
    }
}

TEST(operations, names_are_those_of_the_model_with_the_served_ones_first)
{
    (void)state;
    size_t n = 0, n_served = 0;
    for (; aws_operation_name(n); n++) {
        char target[80];
        (void)snprintf(target, sizeof target, "HealthLake.%s", aws_operation_name(n));
        if (operation_find(sv_from(target)) == NULL)
            continue;
        assert_int_equal(n_served, n);
        n_served++;
    }
    assert_int_equal(n_served, 15);
    assert_true(n > n_served);
}

TEST(operations, what_is_not_served_is_named_and_what_is_none_is_not)
{
    (void)state;
    struct arena *a = arena_new(4096);
    assert_sv(operation_unknown(a, TARGET("StartDataTransformationJob")),
              SV_LIT("StartDataTransformationJob is not offered by this server"));
    assert_sv(operation_unknown(a, TARGET("Nonsense")),
              SV_LIT("X-Amz-Target names no operation of HealthLake"));
    assert_sv(operation_unknown(a, SV_LIT("StartDataTransformationJob")),
              SV_LIT("X-Amz-Target names no operation of HealthLake"));
    assert_sv(operation_unknown(a, SV_NONE), SV_LIT("The request has no X-Amz-Target header"));
    arena_free(a);
}

TEST_MAIN(T(operations, a_target_names_an_operation_by_its_whole_name),
          T(operations, those_that_wait_for_a_peer_run_on_workers),
          T(operations, names_are_those_of_the_model_with_the_served_ones_first),
          T(operations, what_is_not_served_is_named_and_what_is_none_is_not))
