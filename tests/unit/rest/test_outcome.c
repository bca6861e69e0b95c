/* What a caller of the FHIR API is told when a request fails. */
#include "test.h"

#include "base/log.h"
#include "rest/answer_private.h"

static unsigned told(err_code code, const char *why, struct buf *out)
{
    const struct rest_call call = { 0 };
    struct err err;
    (void)ERR(&err, code, "%s", why);
    unsigned status = rest_error(&call, &err, out);
    OK(buf_add_char(out, 0, e));
    return status;
}

TEST(outcome, what_went_wrong_inside_is_for_the_log_alone)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    assert_int_equal(told(ERR_CORRUPT, "block 7 of /var/lib/x is damaged", &b), 500);
    assert_null(strstr(b.ptr, "/var/lib/x"));
    assert_non_null(strstr(b.ptr, "Internal error; the service's log has it"));
    assert_int_equal(told(ERR_NOT_FOUND, "there is none", &b), 404);
    assert_non_null(strstr(b.ptr, "there is none"));
}

TEST(outcome, a_full_disk_is_told_without_its_folder)
{
    (void)state;
    CLEANUP_BUF struct buf b = BUF_INIT(4096);
    assert_int_equal(told(ERR_NO_SPACE, "writing /var/lib/x: disk is full", &b), 507);
    assert_non_null(strstr(b.ptr, "\"code\":\"no-store\""));
    assert_non_null(strstr(b.ptr, "The disk of the data folder is full"));
    assert_null(strstr(b.ptr, "/var/lib/x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(outcome, what_went_wrong_inside_is_for_the_log_alone),
        T(outcome, a_full_disk_is_told_without_its_folder),
    };
    log_level_set(LOG_OFF);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
