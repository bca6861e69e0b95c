/* Continuous backup: to which instants one can be restored, and when a deleted one goes. */
#include "aws/whole.h"

#include "aws/aws_private.h"

#include <unistd.h>

#define DAY (24 * INT64_C(3600000))
#define ALL "{\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}"

static struct datastore ds;

static void configure(const char *json, int64_t now)
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 16);
    yyjson_doc *doc;
    OK(json_read(a, sv_from(json), 8, &doc, e));
    backup_configure(&ds.backup, yyjson_doc_get_root(doc), now);
}

static void assert_window(int64_t now, int64_t from, int64_t to)
{
    int64_t f, t;
    assert_true(backup_window(&ds, now, &f, &t));
    assert_int_equal(f, from);
    assert_int_equal(t, to);
}

static void assert_closed(int64_t now)
{
    int64_t f, t;
    assert_false(backup_window(&ds, now, &f, &t));
}

TEST(backup, the_window_begins_with_the_enabling_and_moves_with_the_retention)
{
    (void)state;
    ds = (struct datastore){ .created_ms = 100 * DAY };
    assert_closed(101 * DAY);
    configure("{\"RetentionPeriodInDays\":7}", 101 * DAY);
    assert_closed(102 * DAY);
    configure("{\"Status\":\"ENABLED\"}", 110 * DAY);
    assert_window(110 * DAY, 110 * DAY, 110 * DAY);
    assert_window(113 * DAY, 110 * DAY, 113 * DAY);
    assert_window(120 * DAY, 113 * DAY, 120 * DAY);
    /* a smaller one at once, a larger one too: nothing was thrown away */
    configure("{\"RetentionPeriodInDays\":1}", 120 * DAY);
    assert_window(120 * DAY, 119 * DAY, 120 * DAY);
    configure("{\"RetentionPeriodInDays\":30}", 120 * DAY);
    assert_window(120 * DAY, 110 * DAY, 120 * DAY);
    /* enabled already: since when does not change */
    configure("{\"Status\":\"ENABLED\",\"BackupTagsEnabled\":true}", 121 * DAY);
    assert_window(121 * DAY, 110 * DAY, 121 * DAY);
    assert_true(ds.backup.tags);
    /* a clock that was set back */
    assert_window(90 * DAY, 110 * DAY, 110 * DAY);
}

TEST(backup, a_disabled_one_has_no_new_points_and_ends_after_its_retention)
{
    (void)state;
    ds = (struct datastore){ .created_ms = 100 * DAY };
    configure("{\"Status\":\"ENABLED\",\"RetentionPeriodInDays\":5}", 100 * DAY);
    configure("{\"Status\":\"DISABLED\"}", 110 * DAY);
    assert_int_equal(ds.backup.until_ms, 115 * DAY);
    assert_window(112 * DAY, 107 * DAY, 110 * DAY);
    configure("{\"RetentionPeriodInDays\":9}", 112 * DAY);
    assert_int_equal(ds.backup.until_ms, 119 * DAY);
    assert_window(119 * DAY - 1, 110 * DAY - 1, 110 * DAY);
    assert_closed(119 * DAY);
    configure("{\"Status\":\"DISABLED\"}", 113 * DAY);
    assert_int_equal(ds.backup.ended_ms, 110 * DAY);
    configure("{\"Status\":\"ENABLED\"}", 114 * DAY);
    assert_int_equal(ds.backup.until_ms, 0);
    assert_window(115 * DAY, 114 * DAY, 115 * DAY);
}

TEST(backup, of_a_deleted_data_store_ends_with_the_deletion)
{
    (void)state;
    ds = (struct datastore){ .created_ms = 100 * DAY };
    backup_end(&ds.backup, 101 * DAY);
    assert_int_equal(ds.backup.until_ms, 0);
    configure("{\"Status\":\"ENABLED\",\"RetentionPeriodInDays\":5}", 100 * DAY);
    backup_end(&ds.backup, 110 * DAY);
    assert_int_equal(ds.backup.until_ms, 115 * DAY);
    assert_window(111 * DAY, 106 * DAY, 110 * DAY);
    /* one that was disabled before ended then */
    ds.backup = (struct datastore_backup){ 0 };
    configure("{\"Status\":\"ENABLED\",\"RetentionPeriodInDays\":5}", 100 * DAY);
    configure("{\"Status\":\"DISABLED\"}", 103 * DAY);
    backup_end(&ds.backup, 104 * DAY);
    assert_int_equal(ds.backup.until_ms, 108 * DAY);
}

/* ---- deleted ones that are kept ---- */

static bool on_disk(void)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/" ID, w.stores);
    return access(path, F_OK) == 0;
}

/* One that was deleted, and is kept until then. */
static void put_kept(int64_t until_ms)
{
    char backup[200];
    (void)snprintf(backup, sizeof backup,
                   "{\"enabled\":true,\"tags\":false,\"days\":1,\"since\":1,\"ended\":2,"
                   "\"until\":%lld}",
                   (long long)until_ms);
    put_store(NULL, NULL);
    close_all();
    put_record("DELETED", "backup", backup);
    OK(records_put(w.records, SV_LIT("datastorekept/" ID), SV_LIT(""), e));
    open_all();
}

static struct datastore record(struct arena *a)
{
    struct datastore out;
    OK(datastore_read(w.service, SV_LIT(ID), a, &out, e));
    return out;
}

TEST(backup, what_is_kept_goes_when_its_time_is_over)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(DATASTORE_MEMORY);
    CLEANUP_BUF struct buf mark = BUF_INIT(100);
    begin_all();
    put_file("credentials", KEYS("admin", "policy = admin.json\n"));
    put_file("admin.json", ALL);
    open_all();
    put_kept(clock_wall_ms() + DAY);
    /* stopping waits for the thread */
    close_all();
    assert_true(on_disk());
    open_all();
    assert_true(datastore_is_kept((struct datastore[]){ record(a) }));
    /* a mark of one that is not deleted, or not kept, removes nothing */
    put_store(NULL, NULL);
    close_all();
    open_all();
    assert_int_equal(ask("GET /datastore/" ID "/r4/Patient/p HTTP/1.1\n\n", NULL), 200);
    close_all();
    assert_true(on_disk());
    open_all();
    put_kept(clock_wall_ms() - 1);
    /* the thread looks when it begins: closing first could stop it before that */
    for (unsigned i = 0; i < 60000 && on_disk(); i++)
        (void)usleep(1000);
    /* and waits for what it has begun */
    close_all();
    assert_false(on_disk());
    struct err why;
    open_all();
    struct datastore gone = record(a);
    assert_sv(gone.status, SV_LIT("DELETED"));
    assert_int_equal(gone.backup.until_ms, 0);
    assert_false(datastore_is_kept(&gone));
    assert_int_equal(records_get(w.records, SV_LIT("datastorekept/" ID), &mark, &why),
                     ERR_NOT_FOUND);
    assert_int_equal(ask(CALL("RestoreFHIRDatastore",
                              "{\"SourceDatastoreId\":\"" ID "\",\"RestoreConfiguration\":{"
                              "\"ContinuousBackupRestoreConfiguration\":{}}}"),
                         "is DELETED, and its backup is not kept"),
                     404);
    (void)end_all();
}

TEST_MAIN(T(backup, the_window_begins_with_the_enabling_and_moves_with_the_retention),
          T(backup, a_disabled_one_has_no_new_points_and_ends_after_its_retention),
          T(backup, of_a_deleted_data_store_ends_with_the_deletion),
          T(backup, what_is_kept_goes_when_its_time_is_over))
