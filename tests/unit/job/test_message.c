/* test_message.c - messages keep to what the service model allows. */
#include "fixture.h"

TEST(message, a_message_keeps_to_the_models_pattern)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    char all[256], *p = all;
    for (int c = 0; c < 256; c++)
        *p++ = (char)c;
    sv got = job_message_clean(a, sv_make(all, sizeof all));
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                " _.:/=+-%@";
    char want[256];
    size_t n = 0;
    /* what is not legal is a blank, and blanks stand alone */
    for (int c = 0; c < 256; c++) {
        char one = c && memchr(legal, c, sizeof legal - 1) ? (char)c : ' ';
        if (one != ' ' || n == 0 || want[n - 1] != ' ')
            want[n++] = one;
    }
    assert_sv(got, sv_make(want, n));
    assert_sv(job_message_clean(a, SV_LIT("no, 2 files;  (of 3)")), SV_LIT("no 2 files of 3 "));
    assert_sv(job_message_clean(a, SV_LIT("\xc3\xa4,x")), SV_LIT(" x"));
    char *big = calloc(1, 5000);
    memset(big, 'a', 5000);
    assert_int_equal(job_message_clean(a, sv_make(big, 5000)).len, 2048);
    free(big);
}

TEST_MAIN(T(message, a_message_keeps_to_the_models_pattern))
