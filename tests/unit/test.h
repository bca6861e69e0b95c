/* test.h - cmocka with sentences for names:
 *     TEST(sv, cut_returns_the_part_before_the_byte) { ... }
 *     TEST_MAIN(T(sv, cut_returns_the_part_before_the_byte), ...)                               */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sv.h"

#define TEST(group, sentence) static void test_##group##_##sentence(void **state)
#define T(group, sentence)                                                 \
    {                                                                      \
#group ": " #sentence, test_##group##_##sentence, NULL, NULL, NULL \
    }
#define TEST_MAIN(...)                                     \
    int main(void)                                         \
    {                                                      \
        const struct CMUnitTest tests[] = { __VA_ARGS__ }; \
        return cmocka_run_group_tests(tests, NULL, NULL);  \
    }

/* A call that must succeed; prints the error when it does not. */
#define OK(call)                                                                             \
    do {                                                                                     \
        struct err ok_e_ = { 0 };                                                            \
        struct err *e = &ok_e_;                                                              \
        err_code ok_rc_ = (call);                                                            \
        if (ok_rc_ != ERR_OK)                                                                \
            fail_msg("%s: %s: %s (%s)", #call, err_code_name(ok_rc_), ok_e_.msg, ok_e_.ctx); \
    } while (0)
/* A call that must fail with this code; inside, `e` is the error. */
#define FAILS(want, call)                                                     \
    do {                                                                      \
        struct err f_e_ = { 0 };                                              \
        struct err *e = &f_e_;                                                \
        err_code f_rc_ = (call);                                              \
        if (f_rc_ != (want))                                                  \
            fail_msg("%s: wanted %s, got %s: %s", #call, err_code_name(want), \
                     err_code_name(f_rc_), f_e_.msg);                         \
    } while (0)
#define assert_sv(a, b)                                                   \
    do {                                                                  \
        sv a_ = (a), b_ = (b);                                            \
        if (!sv_eq(a_, b_))                                               \
            fail_msg("\"%.*s\" is not \"%.*s\"", SV_FMT(a_), SV_FMT(b_)); \
    } while (0)

#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define TEST_SANITIZED 1
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

/* `./dev test --long` asks for the long form of random tests. */
static inline bool test_is_long(void)
{
    const char *l = getenv("FHIRLAKE_LONG");
    return l && l[0] == '1';
}
