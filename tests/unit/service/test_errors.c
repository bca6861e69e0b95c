/* The two tables at the edge. */
#include "test.h"

#include "base/buf.h"
#include "service/errors.h"

TEST(errors, every_code_of_a_failure_has_a_row_in_both_tables)
{
    (void)state;
    for (int code = ERR_INVALID; code < ERR_N_CODES; code++) {
        const struct error_aws *aws = error_as_aws((err_code)code);
        const struct error_fhir *fhir = error_as_fhir((err_code)code);
        if (code != ERR_INTERNAL && aws == error_as_aws(ERR_INTERNAL))
            fail_msg("%s is no exception", err_code_name((err_code)code));
        if (code != ERR_INTERNAL && fhir == error_as_fhir(ERR_INTERNAL))
            fail_msg("%s is no issue", err_code_name((err_code)code));
        if (aws->status < 400 || aws->status > 599)
            fail_msg("%s: %u", err_code_name((err_code)code), aws->status);
        if (fhir->status < 400 || fhir->status > 599)
            fail_msg("%s: %u", err_code_name((err_code)code), fhir->status);
    }
}

TEST(errors, what_is_no_failure_or_no_code_is_told_as_internal)
{
    (void)state;
    assert_ptr_equal(error_as_aws(ERR_OK), error_as_aws(ERR_INTERNAL));
    assert_ptr_equal(error_as_fhir(ERR_EOF), error_as_fhir(ERR_INTERNAL));
    assert_ptr_equal(error_as_aws(ERR_N_CODES), error_as_aws(ERR_INTERNAL));
    assert_ptr_equal(error_as_fhir((err_code)-1), error_as_fhir(ERR_INTERNAL));
}

/* A message of these may hold what is no caller's business. */
TEST(errors, faults_of_the_server_are_told_in_general_words)
{
    (void)state;
    static const err_code inner[] = { ERR_IO, ERR_NO_SPACE, ERR_CANCELLED, ERR_CORRUPT,
                                      ERR_INTERNAL };
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        assert_true(error_as_aws(inner[i])->general);
        assert_true(error_as_fhir(inner[i])->general);
        assert_int_equal(error_as_aws(inner[i])->status, 500);
        assert_in_range(error_as_fhir(inner[i])->status, 500, 599);
    }
    assert_false(error_as_aws(ERR_INVALID)->general);
    assert_false(error_as_fhir(ERR_PEER)->general);
}

TEST(errors, what_a_client_with_a_token_is_told)
{
    (void)state;
    static const struct {
        err_code code;
        const char *with, *without; /* a token */
    } all[] = {
        { ERR_AUTH_MISSING, "Bearer realm=\"fhirlake\"", "Bearer realm=\"fhirlake\"" },
        { ERR_TOKEN_REQUEST, "Bearer error=\"invalid_request\"",
          "Bearer error=\"invalid_request\"" },
        { ERR_AUTH_SIGNATURE, "Bearer error=\"invalid_token\"", NULL },
        { ERR_AUTH_EXPIRED, "Bearer error=\"invalid_token\", error_description=\"expired\"", NULL },
        { ERR_DENIED, "Bearer error=\"insufficient_scope\"", NULL },
        { ERR_NOT_FOUND, NULL, NULL },
        { ERR_UNAVAILABLE, NULL, NULL },
        { ERR_NO_AUDIT, NULL, NULL },
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_sv(sv_from(error_challenge(all[i].code, true)), sv_from(all[i].with));
        assert_sv(sv_from(error_challenge(all[i].code, false)), sv_from(all[i].without));
    }
    assert_int_equal(error_as_fhir(ERR_UNAVAILABLE)->status, 503);
    assert_int_equal(error_as_fhir(ERR_NO_AUDIT)->status, 503);
    assert_int_equal(error_as_fhir(ERR_TOKEN_REQUEST)->status, 400);
}

TEST(errors, a_caller_who_is_not_known_gets_the_same_status_whatever_is_wrong)
{
    (void)state;
    static const err_code unknown[] = { ERR_AUTH_MISSING, ERR_AUTH_UNKNOWN_KEY,
                                        ERR_AUTH_KEY_EXPIRED, ERR_AUTH_EXPIRED,
                                        ERR_AUTH_SIGNATURE };
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        assert_int_equal(error_as_aws(unknown[i])->status, 403);
        assert_int_equal(error_as_fhir(unknown[i])->status, 401);
    }
    assert_string_equal(error_as_aws(ERR_AUTH_UNKNOWN_KEY)->exception,
                        "UnrecognizedClientException");
    assert_string_equal(error_as_aws(ERR_AUTH_KEY_EXPIRED)->exception, "ExpiredTokenException");
}

TEST(errors, bodies_hold_the_message_as_it_is)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(1000);
    OK(error_aws_body("ValidationException", SV_LIT("a \"b\""), &b, e));
    assert_sv(buf_sv(&b), SV_LIT("{\"__type\":\"ValidationException\",\"message\":\"a \\\"b\\\"\","
                                 "\"Message\":\"a \\\"b\\\"\"}"));
    buf_clear(&b);
    OK(error_fhir_body("not-found", SV_LIT("none"), &b, e));
    assert_non_null(memmem(b.ptr, b.len, "\"code\":\"not-found\"", 18));
    assert_non_null(memmem(b.ptr, b.len, "\"none\"", 6));
}

TEST(errors, a_fault_of_a_job_is_one_of_its_request_or_of_a_service_behind_us)
{
    (void)state;
    struct err err = { .code = ERR_NOT_FOUND };
    assert_int_equal(job_submit_fault(ERR_NOT_FOUND, &err), ERR_INVALID);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(job_submit_fault(ERR_AUTH_EXPIRED, NULL), ERR_PEER);
    err.code = ERR_THROTTLED;
    assert_int_equal(job_submit_fault(ERR_THROTTLED, &err), ERR_THROTTLED);
    assert_int_equal(err.code, ERR_THROTTLED);
    assert_int_equal(job_submit_fault(ERR_OK, NULL), ERR_OK);
}

TEST_MAIN(T(errors, what_a_client_with_a_token_is_told),
          T(errors, every_code_of_a_failure_has_a_row_in_both_tables),
          T(errors, what_is_no_failure_or_no_code_is_told_as_internal),
          T(errors, faults_of_the_server_are_told_in_general_words),
          T(errors, a_caller_who_is_not_known_gets_the_same_status_whatever_is_wrong),
          T(errors, bodies_hold_the_message_as_it_is),
          T(errors, a_fault_of_a_job_is_one_of_its_request_or_of_a_service_behind_us))
