/* Addresses in words: what is none is refused in words, and what is one is told back. */
#include "net/http_private.h"

#include "../test.h"

#include <unistd.h>

TEST(http_listen, what_is_no_address_is_refused)
{
    (void)state;
    static const char *const bad[] = {
        "",    "127.0.0.1", ":8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
        "[]:1"
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int fd = -1;
        struct err e;
        err_code rc = http_listen(sv_from(bad[i]), &fd, &e);
        if (rc != ERR_INVALID || fd != -1)
            fail_msg("'%s': %s", bad[i], err_code_name(rc));
    }
}

TEST(http_listen, port_0_takes_a_free_one_which_the_name_tells)
{
    (void)state;
    char name[NI_MAXHOST + 16];
    int fd, other = -1;
    OK(http_listen(SV_LIT("127.0.0.1:0"), &fd, e));
    http_listen_name(fd, name, sizeof name);
    assert_memory_equal(name, "127.0.0.1:", 10);
    assert_string_not_equal(name, "127.0.0.1:0");
    struct err why;
    assert_int_equal(http_listen(sv_from(name), &other, &why), ERR_EXISTS);
    assert_non_null(strstr(why.msg, name));
    close(fd);
}

TEST_MAIN(T(http_listen, what_is_no_address_is_refused),
          T(http_listen, port_0_takes_a_free_one_which_the_name_tells))
