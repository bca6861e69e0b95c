/* test_line.c - what a line of the outcome says, held against the forms of
 * docs/differences-from-healthlake.md. */
#include "one_import.h"

#include "codec/json.h"

#define OUTCOME "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"error\"}]}"

static const uint64_t numbers[] = { 1,   7,          9,          10,         99,       100,
                                    101, 1234567890, UINT32_MAX, 1ull << 53, INT64_MAX };

static fhir_type patient(void)
{
    return fhir_type_find(SV_LIT("Patient"));
}

static void same_line(struct buf *got, const char *want)
{
    fx_same(buf_sv(got), sv_from(want));
    buf_clear(got);
}

TEST(line, success_names_the_resource)
{
    CLEANUP_BUF struct buf got = BUF_INIT(1 << 16);
    char want[512], id[65];
    memset(id, 'x', 64);
    id[64] = 0;
    for (size_t i = 0; i < CASES(numbers); i++)
        for (size_t len = 1; len <= 64; len += 21) {
            OK(import_line_success(&got, numbers[i], patient(), sv_make(id, len), e));
            (void)snprintf(want, sizeof want,
                           "{\"lineId\":%llu,\"UpdateResourceResponse\":{\"jsonBlob\":{"
                           "\"resourceType\":\"Patient\",\"id\":\"%.*s\"},\"statusCode\":200}}\n",
                           (unsigned long long)numbers[i], (int)len, id);
            same_line(&got, want);
        }
}

TEST(line, invalid_and_issues_hold_the_outcome_as_it_is)
{
    CLEANUP_BUF struct buf got = BUF_INIT(1 << 16);
    char want[512];
    for (size_t i = 0; i < CASES(numbers); i++) {
        unsigned long long n = numbers[i];
        OK(import_line_invalid(&got, n, SV_LIT(OUTCOME), e));
        (void)snprintf(want, sizeof want,
                       "{\"lineId\":%llu,\"UpdateResourceResponse\":{\"jsonBlob\":" OUTCOME
                       ",\"statusCode\":400}}\n",
                       n);
        same_line(&got, want);
        OK(import_line_issues(&got, n, patient(), SV_LIT("p"), SV_LIT(OUTCOME), e));
        (void)snprintf(want, sizeof want,
                       "{\"lineId\":%llu,\"resourceType\":\"Patient\",\"resourceId\":\"p\","
                       "\"UpdateResourceResponse\":{\"jsonBlob\":" OUTCOME
                       ",\"statusCode\":200}}\n",
                       n);
        same_line(&got, want);
    }
}

/* Whatever the reason holds, a line is one line of JSON that gives it back. */
TEST(line, a_failure_gives_its_reason_back)
{
    static const char *const reasons[] = {
        "", "plain", "\"quoted\" \\ back", "two\nlines\r\n", "tab\tand \x01", "\xc3\xa9\xe2\x82\xac"
    };
    for (size_t i = 0; i < CASES(reasons); i++) {
        CLEANUP_BUF struct buf got = BUF_INIT(1 << 16);
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        yyjson_doc *doc;
        OK(import_line_failure(&got, 3, reasons[i], e));
        assert_int_equal(sv_find(buf_sv(&got), '\n'), got.len - 1);
        OK(json_read(a, buf_sv(&got), 16, &doc, e));
        yyjson_val *root = yyjson_doc_get_root(doc);
        yyjson_val *answer = json_get(root, "UpdateResourceResponse");
        yyjson_val *blob = json_get(answer, "jsonBlob");
        yyjson_val *issue = yyjson_arr_get(json_get(blob, "issue"), 0);
        assert_sv(json_number(json_get(root, "lineId")), SV_LIT("3"));
        assert_sv(json_number(json_get(answer, "statusCode")), SV_LIT("400"));
        assert_sv(json_string(json_get(blob, "resourceType")), SV_LIT("OperationOutcome"));
        assert_int_equal(yyjson_arr_size(json_get(blob, "issue")), 1);
        assert_sv(json_string(json_get(issue, "severity")), SV_LIT("error"));
        assert_sv(json_string(json_get(issue, "code")), SV_LIT("processing"));
        assert_sv(json_string(json_get(issue, "diagnostics")), sv_from(reasons[i]));
    }
}

TEST(line, the_last_line_says_how_many_are_left_out_and_has_the_status_of_its_file)
{
    for (int kind = 0; kind < IMPORT_N_KINDS; kind++) {
        CLEANUP_BUF struct buf got = BUF_INIT(1 << 16);
        char want[512];
        OK(import_line_more(&got, 12, UINT64_MAX, (import_kind)kind, e));
        (void)snprintf(want, sizeof want,
                       "{\"lineId\":12,\"UpdateResourceResponse\":{\"jsonBlob\":{\"resourceType\":"
                       "\"OperationOutcome\",\"issue\":[{\"severity\":\"information\",\"code\":"
                       "\"incomplete\",\"diagnostics\":\"18446744073709551615 more lines from this "
                       "one on are not written: they are too many\"}]},\"statusCode\":%d}}\n",
                       kind == IMPORT_FAILURE ? 400 : 200);
        same_line(&got, want);
    }
}

TEST(line, lines_are_appended_and_one_without_room_is_an_error)
{
    CLEANUP_BUF struct buf got = BUF_INIT(1 << 16), small = BUF_INIT(32);
    OK(import_line_success(&got, 1, patient(), SV_LIT("a"), e));
    OK(import_line_success(&got, 2, patient(), SV_LIT("b"), e));
    same_line(&got, OK_LINE(1, "Patient", "a") OK_LINE(2, "Patient", "b"));
    FAILS(ERR_TOO_LARGE, import_line_success(&small, 1, patient(), SV_LIT("a"), e));
    FAILS(ERR_TOO_LARGE, import_line_failure(&small, 1, "why", e));
}

TEST_MAIN(T(line, success_names_the_resource),
          T(line, invalid_and_issues_hold_the_outcome_as_it_is),
          T(line, a_failure_gives_its_reason_back),
          T(line, the_last_line_says_how_many_are_left_out_and_has_the_status_of_its_file),
          T(line, lines_are_appended_and_one_without_room_is_an_error))
