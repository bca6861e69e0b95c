/* The record of hashes: a file is known again, and nothing else is. */
#include "test.h"

#include "backup/backup_private.h"
#include "base/file.h"
#include "base/rng.h"

#include <fcntl.h>
#include <unistd.h>

static char home[80], record[100], one[100], two[100];

static int begin(void **state)
{
    (void)state;
    (void)snprintf(home, sizeof home, TEST_TMP "/fhirlake-digests-%016llx",
                   (unsigned long long)rng_u64());
    (void)snprintf(record, sizeof record, "%s/record", home);
    (void)snprintf(one, sizeof one, "%s/one.sst", home);
    (void)snprintf(two, sizeof two, "%s/two.sst", home);
    OK(file_mkdirs(home, e));
    OK(file_write_atomic(one, SV_LIT("one"), e));
    OK(file_write_atomic(two, SV_LIT("two"), e));
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove_tree(home, NULL);
}

static bool is_known(const char *path, struct backup_file *out)
{
    struct backup_digests *d = backup_digests_open(record);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    const bool found = backup_digests_find(d, fd, out);
    (void)close(fd);
    backup_digests_free(d);
    return found;
}

/* A record of these files alone. */
static void remember(const char *const *paths, size_t n)
{
    struct backup_digests *d = backup_digests_open(record);
    for (size_t i = 0; i < n; i++) {
        struct backup_file file;
        int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        OK(backup_hash_fd(fd, -1, &file, e));
        backup_digests_note(d, fd, &file);
        (void)close(fd);
    }
    OK(backup_digests_save(d, e));
    backup_digests_free(d);
}

TEST(digests, a_file_is_known_by_any_of_its_names)
{
    (void)state;
    struct backup_file a, b, want;
    const char *const both[] = { one, two };
    char name[120];
    assert_false(is_known(one, &a));
    remember(both, 2);
    assert_true(is_known(one, &a) && is_known(two, &b));
    int fd = open(one, O_RDONLY | O_CLOEXEC);
    OK(backup_hash_fd(fd, -1, &want, e));
    (void)close(fd);
    assert_true(backup_file_same(&a, &want) && !backup_file_same(&a, &b));
    (void)snprintf(name, sizeof name, "%s/link", home);
    assert_int_equal(link(one, name), 0);
    assert_true(is_known(name, &b) && backup_file_same(&a, &b));
    /* what was not seen again is forgotten */
    remember(both + 1, 1);
    assert_false(is_known(one, &a));
    assert_true(is_known(two, &a));
}

TEST(digests, a_file_that_changed_or_took_the_name_of_another_is_not_known)
{
    (void)state;
    struct backup_file file;
    const char *const both[] = { one, two };
    remember(both, 2);
    const struct timespec times[2] = { { 1, 0 }, { 1, 5 } };
    assert_int_equal(utimensat(AT_FDCWD, one, times, 0), 0);
    assert_false(is_known(one, &file));
    OK(file_write_atomic(two, SV_LIT("owt"), e));
    assert_false(is_known(two, &file));
    remember(both, 2);
    int fd = open(two, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "!", 1), 1);
    (void)close(fd);
    assert_false(is_known(two, &file));
    assert_true(is_known(one, &file));
}

TEST(digests, a_record_that_is_damaged_is_none)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
    struct backup_file file;
    const char *const both[] = { one, two };
    remember(both, 2);
    OK(file_read(record, &text, e));
    for (size_t i = 0; i < text.len; i++) {
        const char was = text.ptr[i];
        text.ptr[i] = (char)(was ^ 1);
        OK(file_write_atomic(record, buf_sv(&text), e));
        if (is_known(one, &file) || is_known(two, &file))
            assert_int_equal(i, text.len - 1); /* the last line's end alone */
        text.ptr[i] = was;
    }
    for (size_t n = 0; n < text.len; n += 7) {
        OK(file_write_atomic(record, sv_make(text.ptr, n), e));
        assert_false(is_known(one, &file));
    }
    OK(file_write_atomic(record, buf_sv(&text), e));
    assert_true(is_known(one, &file));
}

TEST(digests, without_a_file_nothing_is_remembered)
{
    (void)state;
    struct backup_digests *d = backup_digests_open(NULL);
    struct backup_file file = { .bytes = 3 };
    int fd = open(one, O_RDONLY | O_CLOEXEC);
    backup_digests_note(d, fd, &file);
    assert_false(backup_digests_find(d, fd, &file));
    OK(backup_digests_save(d, e));
    (void)close(fd);
    backup_digests_free(d);
}

#define OF_FILES(sentence)                                               \
    {                                                                    \
        "digests: " #sentence, test_digests_##sentence, begin, end, NULL \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        OF_FILES(a_file_is_known_by_any_of_its_names),
        OF_FILES(a_file_that_changed_or_took_the_name_of_another_is_not_known),
        OF_FILES(a_record_that_is_damaged_is_none),
        OF_FILES(without_a_file_nothing_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
