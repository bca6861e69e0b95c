#include "test.h"

#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

static err_code read_with(const char *path, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(100);
    return file_read_private(path, &b, e);
}

TEST(file, keys_are_read_only_when_nobody_else_can_read_or_change_them)
{
    (void)state;
    static const struct {
        mode_t file, dir;
        const char *says; /* NULL: it is read */
    } modes[] = {
        { 0600, 0700, NULL },         { 0400, 0755, NULL },         { 0600, 0755, NULL },
        { 0600, 01777, NULL },        { 0644, 0700, NULL }, /* nobody else comes to it */
        { 0640, 0701, NULL },         { 0604, 0710, NULL },         { 0644, 0755, "chmod 600 " },
        { 0640, 0755, "chmod 600 " }, { 0604, 0755, "chmod 600 " }, { 0640, 0750, "chmod 600 " },
        { 0604, 0701, "chmod 600 " }, { 0444, 0711, "chmod 600 " }, { 0644, 01777, "chmod 600 " },
        { 0666, 0700, "chmod 600 " }, { 0620, 0700, "chmod 600 " }, { 0602, 0700, "chmod 600 " },
        { 0777, 0700, "chmod 600 " }, { 0660, 0755, "chmod 600 " }, { 0600, 0777, "chmod o-w " },
        { 0600, 0707, "chmod o-w " },
    };
    char dir[] = TEST_TMP "/fhirlake-file-XXXXXX", path[64], link[64];
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/keys", dir);
    (void)snprintf(link, sizeof link, "%s.link", dir);
    OK(file_write_atomic(path, SV_LIT("x"), e));
    assert_int_equal(symlink(path, link), 0);
    /* what a link leads to is judged */
    const char *const ways[] = { path, link };
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        for (size_t k = 0; k < 2; k++) {
            struct err why = { 0 };
            assert_int_equal(chmod(path, modes[i].file), 0);
            assert_int_equal(chmod(dir, modes[i].dir), 0);
            err_code rc = read_with(ways[k], &why);
            if (rc != (modes[i].says ? ERR_DENIED : ERR_OK))
                fail_msg("file %o in folder %o: %s %s", modes[i].file, modes[i].dir,
                         err_code_name(rc), why.msg);
            if (modes[i].says) {
                char want[100];
                bool folder = strstr(modes[i].says, "o-w") != NULL;
                (void)snprintf(want, sizeof want, "type: %s%s", modes[i].says,
                               folder ? dir : ways[k]);
                if (strstr(why.msg, want) == NULL)
                    fail_msg("\"%s\" does not say \"%s\"", why.msg, want);
            }
        }
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(chmod(path, 0600), 0);
    /* another user's file can be changed by him, whatever its mode */
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 12345, 0), 0);
        FAILS(ERR_DENIED, read_with(path, e));
        FAILS(ERR_DENIED, read_with(link, e));
        assert_int_equal(chown(path, 0, 12345), 0);
        OK(read_with(path, e));
        /* root lends a file to the group of a service */
        assert_int_equal(chmod(dir, 0755), 0);
        assert_int_equal(chmod(path, 0640), 0);
        FAILS(ERR_DENIED, read_with(path, e));
        assert_int_equal(setegid(12345), 0);
        assert_int_equal(seteuid(12345), 0);
        OK(read_with(path, e));
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(setegid(0), 0);
        assert_int_equal(chmod(path, 0660), 0);
        FAILS(ERR_DENIED, read_with(path, e));
    }
    FAILS(ERR_NOT_FOUND, read_with("/no/such/file", e));
    unlink(link);
    OK(file_remove_tree(dir, e));
}

/* Who wants it for himself, from another process: locks do not hold within one. */
static bool taken_by_another(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int fd = open(path, O_RDWR | O_CLOEXEC);
        _exit(fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0 ? 1 : 2);
    }
    int status;
    assert_true(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status) == 1;
}

TEST(file, what_is_held_nobody_gets_for_himself)
{
    (void)state;
    char path[] = TEST_TMP "/fhirlake-hold-XXXXXX";
    int fd = mkstemp(path), one, two;
    assert_true(fd >= 0);
    (void)close(fd);
    OK(file_hold(path, &one, e));
    OK(file_hold(path, &two, e));
    assert_false(taken_by_another(path));
    /* the locks of a process on a file go with the first that it closes */
    (void)close(one);
    (void)close(two);
    assert_true(taken_by_another(path));
    unlink(path);
    FAILS(ERR_NOT_FOUND, file_hold(path, &one, e));
}

TEST(file, what_another_has_for_himself_is_not_held)
{
    (void)state;
    char path[] = TEST_TMP "/fhirlake-hold-XXXXXX";
    int fd = mkstemp(path), ready[2], done[2], held;
    char c;
    assert_true(fd >= 0 && pipe(ready) == 0 && pipe(done) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int mine = open(path, O_RDWR | O_CLOEXEC);
        (void)close(done[1]);
        if (fcntl(mine, F_SETLK, &lock) != 0 || write(ready[1], "", 1) != 1)
            _exit(2);
        _exit(read(done[0], &c, 1) == 0 ? 0 : 3);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    FAILS(ERR_EXISTS, file_hold(path, &held, e));
    (void)close(done[1]);
    int status;
    assert_true(waitpid(pid, &status, 0) == pid && status == 0);
    OK(file_hold(path, &held, e));
    (void)close(held);
    (void)close(fd);
    unlink(path);
}

TEST_MAIN(T(file, what_is_held_nobody_gets_for_himself),
          T(file, what_another_has_for_himself_is_not_held),
          T(file, keys_are_read_only_when_nobody_else_can_read_or_change_them),
          T(file, what_went_wrong_is_said_without_the_path))
