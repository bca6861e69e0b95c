#include "test.h"

#include "base/file.h"

#include <fcntl.h>
#include <unistd.h>

TEST(file, what_went_wrong_is_said_without_the_path)
{
    (void)state;
    struct err why;
    CLEANUP_BUF struct buf b = BUF_INIT(100);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    assert_int_equal(file_write_all(full, SV_LIT("x"), &why), ERR_NO_SPACE);
    assert_string_equal(why.msg, "cannot write file: No space left on device");
    close(full);
    assert_int_equal(file_read("/no/such/file", &b, &why), ERR_NOT_FOUND);
    assert_string_equal(why.msg, "cannot open file: No such file or directory");
}

TEST_MAIN(T(file, what_went_wrong_is_said_without_the_path))
