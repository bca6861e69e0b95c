/* Manifests of backups: which is the newest, which is what was written, and what a row may name. */
#include "test.h"

#include "backup/backup_private.h"
#include "base/file.h"
#include "base/rng.h"

#include <unistd.h>

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID  "0123456789abcdef0123456789abcdef"

#define ROW "{'name':'x','bytes':1,'sha256':'" SHA "'}"

static char target[80];
static struct backup_place *place;

static int begin(void **state)
{
    char path[PATH_MAX];
    (void)state;
    (void)snprintf(target, sizeof target, TEST_TMP "/fhirlake-backup-%016llx",
                   (unsigned long long)rng_u64());
    OK(backup_path(path, e, "%s/backups", target));
    OK(file_mkdirs(path, e));
    OK(backup_path(path, e, "%s/objects", target));
    OK(file_mkdirs(path, e));
    OK(backup_place_folder(target, &place, e));
    return 0;
}

static int end(void **state)
{
    (void)state;
    backup_place_free(place);
    return file_remove_tree(target, NULL);
}

/* A manifest of this one part, as text in which ' stands for ". */
static void put_manifest(const char *part, char *name)
{
    char json[2000];
    (void)snprintf(json, sizeof json, "{'format':'fhirlake-backup-1','parts':[%s]}", part);
    for (char *q = json; *q; q++)
        *q = *q == '\'' ? '"' : *q;
    OK(backup_manifest_write(place, sv_from(json), name, e));
}

static err_code read_part(const char *part, struct err *why)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    char name[BACKUP_NAME_MAX];
    struct backup_part *parts;
    struct backup_file file;
    size_t n;
    sv row;
    put_manifest(part, name);
    TRY(backup_manifest_read(place, sv_from(name), a, &parts, &n, why));
    return backup_file_read(yyjson_arr_get_first(parts[0].files), &row, &file, why);
}

TEST(manifest, the_last_name_is_the_newest_also_within_one_moment)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    char name[BACKUP_NAME_MAX], text[PATH_MAX];
    sv *names;
    size_t n;
    for (unsigned i = 0; i < 40; i++) {
        (void)snprintf(text, sizeof text, "{'folder':'system','files':[],'i':%u}", i);
        put_manifest(text, name);
        OK(backup_manifests(place, a, &names, &n, e));
        assert_int_equal(n, i + 1);
        assert_sv(names[n - 1], sv_from(name));
    }
    /* of a clock that is set back later */
    OK(backup_path(text, e, "%s/backups/99991231T235959.000Z-0123456789abcdef.json", target));
    OK(file_write_atomic(text, SV_LIT("{}"), e));
    put_manifest("{'folder':'system','files':[]}", name);
    assert_true(strncmp(name, "99991231T235959.001Z-", 21) == 0);
    /* behind the last there is none: its name would be in front of all others */
    OK(backup_path(text, e, "%s/backups/99991231T235959.999Z-0123456789abcdef.json", target));
    OK(file_write_atomic(text, SV_LIT("{}"), e));
    FAILS(ERR_CORRUPT, backup_manifest_write(place, SV_LIT("{}"), name, e));
}

TEST(manifest, a_name_is_that_of_a_backup_or_none)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "20261129T101116.574Z-0123456789abcdef.jso",
        "20261129T101116.574Z-0123456789abcdef.json2",
        "20261129T101116.574Z-0123456789ABCDEF.json",
        "20261129T101116.574Z-0123456789abcde/.json",
        "20261129T101116.574Z_0123456789abcdef.json",
        "20261329T101116.574Z-0123456789abcdef.json",
        "20261129T101116.5740-0123456789abcdef.json",
        "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz.json",
        "../../../../../../../../../tmp/x/abcd.json",
        "20261129T101116.574Z-\x1b[31m0123456789ab.json",
        "20161231T235960.000Z-0123456789abcdef.json",
    };
    assert_true(backup_is_manifest(SV_LIT("20261129T101116.574Z-0123456789abcdef.json")));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (backup_is_manifest(sv_from(bad[i])))
            fail_msg("%s", bad[i]);
    assert_false(backup_is_manifest(sv_make("20261129T101116.574Z-\0"
                                            "123456789abcdef.json",
                                            42)));
}

TEST(manifest, a_row_names_a_file_of_its_folder_and_nothing_else)
{
    (void)state;
    struct err why;
    static const char *const bad[] = {
        "{'folder':'system','files':[{'name':'../x','bytes':1,'sha256':'" SHA "'}]}",
        "{'folder':'system','files':[{'name':'a/b','bytes':1,'sha256':'" SHA "'}]}",
        "{'folder':'system','files':[{'name':'.x','bytes':1,'sha256':'" SHA "'}]}",
        "{'folder':'system','files':[{'name':'','bytes':1,'sha256':'" SHA "'}]}",
        "{'folder':'system','files':[{'name':'x\\u0000y','bytes':1,'sha256':'" SHA "'}]}",
        "{'folder':'system','files':[{'name':'x','bytes':-1,'sha256':'" SHA "'}]}",
        "{'folder':'system','files':[{'name':'x','bytes':1,'sha256':'../../../etc/passwd'}]}",
        "{'folder':'system','files':[{'name':'x','bytes':1}]}",
        "{'folder':'stores/../system','files':[{'name':'x','bytes':1,'sha256':'" SHA "'}]}",
        "{'folder':'stores/','files':[{'name':'x','bytes':1,'sha256':'" SHA "'}]}",
        "{'folder':'/etc','files':[{'name':'x','bytes':1,'sha256':'" SHA "'}]}",
        "{'folder':'system','files':{}}",
        "{'files':[]}",
        "{'folder':'stores/" ID "','commit':'x','files':[]}",
        /* a data store that a restore would not compare with anything */
        "{'folder':'stores/" ID "','files':[" ROW "]}",
        "{'folder':'stores/" ID "','commit':3,'instant':4,'files':[" ROW "]}",
        "{'folder':'stores/" ID "','instant':4,'content':[],'files':[" ROW "]}",
        "{'folder':'stores/" ID "','commit':3,'content':[],'files':[" ROW "]}",
    };
    OK(read_part("{'folder':'system','files':[{'name':'x','bytes':1,'sha256':'" SHA "'}]}", e));
    OK(read_part("{'folder':'stores/" ID "','commit':3,'instant':4,'content':[],"
                 "'files':[{'name':'000012.sst','bytes':1,'sha256':'" SHA "'}]}",
                 e));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (read_part(bad[i], &why) != ERR_CORRUPT)
            fail_msg("%s", bad[i]);
}

TEST(manifest, that_was_changed_or_is_of_another_form_is_refused)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    char name[BACKUP_NAME_MAX], path[PATH_MAX];
    struct backup_part *parts;
    size_t n;
    put_manifest("{'folder':'system','files':[]}", name);
    OK(backup_manifest_read(place, sv_from(name), a, &parts, &n, e));
    assert_int_equal(n, 1);
    FAILS(ERR_NOT_FOUND, backup_manifest_read(place, SV_LIT("../x"), a, &parts, &n, e));
    OK(backup_path(path, e, "%s/backups/%s", target, name));
    OK(file_write_atomic(path, SV_LIT("{\"format\":\"fhirlake-backup-1\",\"parts\":[]}"), e));
    FAILS(ERR_CORRUPT, backup_manifest_read(place, sv_from(name), a, &parts, &n, e));
    OK(backup_manifest_write(place, SV_LIT("{\"format\":\"fhirlake-backup-2\",\"parts\":[]}"), name,
                             e));
    FAILS(ERR_UNSUPPORTED, backup_manifest_read(place, sv_from(name), a, &parts, &n, e));
    OK(backup_manifest_write(place, SV_LIT("no JSON"), name, e));
    FAILS(ERR_CORRUPT, backup_manifest_read(place, sv_from(name), a, &parts, &n, e));
}

#define IN_A_TARGET(sentence)                                              \
    {                                                                      \
        "manifest: " #sentence, test_manifest_##sentence, begin, end, NULL \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_TARGET(the_last_name_is_the_newest_also_within_one_moment),
        IN_A_TARGET(a_name_is_that_of_a_backup_or_none),
        IN_A_TARGET(a_row_names_a_file_of_its_folder_and_nothing_else),
        IN_A_TARGET(that_was_changed_or_is_of_another_form_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
