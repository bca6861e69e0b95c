/* Objects of a backup: what stands for a file already, and what is removed. */
#include "test.h"

#include "backup/backup_private.h"
#include "base/file.h"
#include "base/rng.h"

#include <sys/stat.h>
#include <unistd.h>

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char target[80];

static int begin(void **state)
{
    char path[PATH_MAX];
    (void)state;
    (void)snprintf(target, sizeof target, "/tmp/fhirlake-backup-%016llx",
                   (unsigned long long)rng_u64());
    OK(backup_path(path, e, "%s/objects", target));
    OK(file_mkdirs(path, e));
    return 0;
}

static int end(void **state)
{
    (void)state;
    return file_remove_tree(target, NULL);
}

static const char *at(const char *name)
{
    static char path[PATH_MAX];
    OK(backup_path(path, e, "%s/%s", target, name));
    return path;
}

static bool is_there(const char *name)
{
    struct stat st;
    return lstat(at(name), &st) == 0;
}

TEST(objects, what_is_no_object_is_somebodys_and_stays)
{
    (void)state;
    static const char *const ours[] = { "objects/" SHA, "objects/" SHA ".tmp" };
    static const char *const others[] = { "objects/letter.txt", "objects/" SHA ".txt",
                                          "objects/" SHA "0", "objects/.hidden" };
    for (size_t i = 0; i < 2; i++)
        OK(file_write_atomic(at(ours[i]), SV_LIT("x"), e));
    for (size_t i = 0; i < 4; i++)
        OK(file_write_atomic(at(others[i]), SV_LIT("x"), e));
    OK(backup_objects_prune(target, SHA, 1, e));
    assert_true(is_there(ours[0]));
    assert_false(is_there(ours[1]));
    OK(backup_objects_prune(target, NULL, 0, e));
    assert_false(is_there(ours[0]));
    for (size_t i = 0; i < 4; i++)
        assert_true(is_there(others[i]));
}

TEST(objects, a_link_stands_for_no_file)
{
    (void)state;
    struct backup_file file, again;
    char name[100];
    bool is_new;
    struct stat st;
    OK(file_write_atomic(at("from"), SV_LIT("text"), e));
    OK(file_write_atomic(at("else"), SV_LIT("TEXT"), e));
    OK(backup_object_put(target, at("from"), &file, &is_new, e));
    assert_true(is_new);
    OK(backup_object_put(target, at("from"), &file, &is_new, e));
    assert_false(is_new);
    (void)snprintf(name, sizeof name, "objects/%.*s", (int)sizeof file.sha, file.sha);
    assert_int_equal(unlink(at(name)), 0);
    assert_int_equal(symlink("../else", at(name)), 0);
    OK(backup_object_put(target, at("from"), &again, &is_new, e));
    assert_true(is_new);
    assert_int_equal(lstat(at(name), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    OK(backup_object_check(target, &again, e));
}

#define IN_A_TARGET(sentence)                                            \
    {                                                                    \
        "objects: " #sentence, test_objects_##sentence, begin, end, NULL \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_TARGET(what_is_no_object_is_somebodys_and_stays),
        IN_A_TARGET(a_link_stands_for_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
