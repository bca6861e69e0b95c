/* test_dir_copy.c - an object of an earlier one: the same bytes, or a refusal and nothing left. */
#include "test.h"

#include "base/file.h"
#include "codec/hash.h"
#include "sink/sink_private.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define ROLE SV_LIT("arn:aws:iam::123456789012:role/r")
#define TYPE SV_LIT("application/fhir+ndjson")
#define SIZE 300000u

static char root[128], text[SIZE];

struct room {
    struct sink_world *world;
    struct sink *sink;
    struct sink_object object;
    struct sink_mark mark;
};

static void path_of(char out[512], const char *key)
{
    (void)snprintf(out, 512, "%s/buck/%s", root, key);
}

static struct stat stat_of(const char *key)
{
    char path[512];
    struct stat st = { 0 };
    path_of(path, key);
    (void)lstat(path, &st);
    return st;
}

/* A change behind this has another time, whatever the system's clock ticks by. */
static void let_time_pass(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL);
}

static void open_sink(struct room *r, bool links, bool sync)
{
    struct sink_config cfg = {
        .objects_dir = root, .make_buckets = true, .sync = sync, .links = links
    };
    struct sink_target t = { .uri = SV_LIT("s3://buck"), .role_arn = ROLE };
    OK(sink_world_new(&cfg, &r->world, e));
    OK(sink_open(r->world, &t, &r->sink, e));
}

static void make(struct room *r, bool links, bool sync)
{
    struct sink_file *f;
    struct sink_sending *sending;
    uint64_t bytes;
    (void)snprintf(root, sizeof root, TEST_TMP "/fhirlake-copy-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i * i % 23);
    open_sink(r, links, sync);
    OK(sink_file_create(r->sink, SV_LIT("one/x"), TYPE, SIZE, &f, e));
    OK(sink_file_write(f, sv_make(text, SIZE), e));
    OK(sink_file_send(&f, &bytes, &sending, e));
    OK(sink_sending_wait(&sending, &r->object, &r->mark, e));
    assert_int_equal(bytes, r->object.bytes);
    let_time_pass();
}

static void done(struct room *r)
{
    sink_close(r->sink);
    sink_world_free(r->world);
    OK(file_remove_tree(root, e));
}

static err_code copy(struct room *r, const char *to, struct sink_mark *mark)
{
    struct sink_earlier from = { SV_NONE, SV_LIT("one/x"), sink_mark_sv(&r->mark), r->object };
    struct sink_sending *sending;
    struct err e = { 0 };
    err_code rc = sink_copy_send(r->sink, &from, sv_from(to), TYPE, &sending, &e);
    return rc == ERR_OK ? sink_sending_wait(&sending, NULL, mark, &e) : rc;
}

static void holds(const char *key)
{
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 20);
    char path[512];
    path_of(path, key);
    OK(file_read(path, &b, e));
    assert_sv(buf_sv(&b), sv_make(text, SIZE));
}

static bool any_temp(void *ctx, sv key, uint64_t bytes)
{
    (void)bytes;
    *(bool *)ctx |= sv_starts(key, SV_LIT("two"));
    return true;
}

/* Refused, and neither the object nor a temporary file is there. */
static void refused(struct room *r, err_code want)
{
    struct sink_mark mark;
    bool any = false;
    char path[512];
    assert_int_equal(copy(r, "two/x", &mark), want);
    OK(sink_list(r->sink, any_temp, &any, e));
    assert_false(any);
    path_of(path, "");
    FILE *p;
    char cmd[600];
    (void)snprintf(cmd, sizeof cmd, "ls -A %s | grep -c fhirlake-tmp", path);
    assert_non_null(p = popen(cmd, "r"));
    assert_int_equal(fgetc(p), '0');
    (void)pclose(p);
}

TEST(dir_copy, a_copy_has_the_bytes_and_a_file_of_its_own)
{
    (void)state;
    struct room r;
    struct sink_mark mark;
    make(&r, false, true);
    assert_int_equal(copy(&r, "two/x", &mark), ERR_OK);
    holds("two/x");
    assert_int_equal(stat_of("two/x").st_nlink, 1);
    assert_true(stat_of("two/x").st_ino != stat_of("one/x").st_ino);
    assert_int_equal(stat_of("two/x").st_mode & 07777, 0600);
    /* the copy can be copied, when the first is gone too */
    OK(sink_delete(r.sink, SV_LIT("one/x"), e));
    struct sink_earlier from = { SV_NONE, SV_LIT("two/x"), sink_mark_sv(&mark), r.object };
    struct sink_sending *sending;
    OK(sink_copy_send(r.sink, &from, SV_LIT("three/x"), TYPE, &sending, e));
    OK(sink_sending_wait(&sending, NULL, &mark, e));
    holds("three/x");
    /* and onto a name that is taken */
    from = (struct sink_earlier){ SV_NONE, SV_LIT("three/x"), sink_mark_sv(&mark), r.object };
    OK(sink_copy_send(r.sink, &from, SV_LIT("two/x"), TYPE, &sending, e));
    OK(sink_sending_wait(&sending, NULL, &mark, e));
    holds("two/x");
    done(&r);
}

static void write_at(const char *key, off_t at, const char *bytes)
{
    char path[512];
    path_of(path, key);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, strlen(bytes), at), (ssize_t)strlen(bytes));
    close(fd);
}

TEST(dir_copy, what_is_not_the_same_any_more_is_refused)
{
    (void)state;
    struct room r;
    char path[512], other[512];
    /* edited in place, its time set back */
    make(&r, false, true);
    struct stat was = stat_of("one/x");
    write_at("one/x", 1000, "!");
    path_of(path, "one/x");
    struct timespec times[] = { was.st_atim, was.st_mtim };
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_int_equal(stat_of("one/x").st_size, SIZE);
    refused(&r, ERR_PRECONDITION);
    done(&r);
    /* cut */
    make(&r, false, true);
    path_of(path, "one/x");
    assert_int_equal(truncate(path, SIZE - 1), 0);
    refused(&r, ERR_PRECONDITION);
    /* gone */
    OK(sink_delete(r.sink, SV_LIT("one/x"), e));
    refused(&r, ERR_NOT_FOUND);
    done(&r);
    /* another of the same size in its place, even one with the same bytes */
    make(&r, false, true);
    path_of(path, "one/x");
    path_of(other, "one/y");
    OK(file_write_atomic(other, sv_make(text, SIZE), e));
    assert_int_equal(rename(other, path), 0);
    refused(&r, ERR_PRECONDITION);
    done(&r);
    /* a link to it */
    make(&r, false, true);
    path_of(path, "one/x");
    path_of(other, "one/y");
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink("y", path), 0);
    refused(&r, ERR_DENIED);
    /* no mark at all */
    done(&r);
    make(&r, false, true);
    r.mark.len = 0;
    refused(&r, ERR_PRECONDITION);
    done(&r);
}

TEST(dir_copy, a_role_copies_only_what_it_may_touch)
{
    (void)state;
    struct room r;
    char file[512];
    make(&r, false, true);
    (void)snprintf(file, sizeof file, "%s/roles.json", root);
    OK(file_write_atomic(file,
                         SV_LIT("{\"roles\":[{\"arn\":\"arn:aws:iam::123456789012:role/r\","
                                "\"allow\":[\"s3://buck/two/*\"]}]}"),
                         e));
    struct sink_config cfg = { .objects_dir = root, .roles_file = file, .sync = true };
    struct sink_target t = { .uri = SV_LIT("s3://buck/two"), .role_arn = ROLE };
    sink_close(r.sink);
    sink_world_free(r.world);
    OK(sink_world_new(&cfg, &r.world, e));
    OK(sink_open(r.world, &t, &r.sink, e));
    refused(&r, ERR_DENIED);
    done(&r);
}

TEST(dir_copy, where_files_are_ours_alone_a_copy_is_a_second_name)
{
    (void)state;
    struct room r;
    struct sink_mark mark;
    make(&r, true, true);
    assert_int_equal(copy(&r, "two/x", &mark), ERR_OK);
    /* again, onto itself */
    assert_int_equal(copy(&r, "two/x", &mark), ERR_OK);
    assert_true(stat_of("two/x").st_ino == stat_of("one/x").st_ino);
    assert_int_equal(stat_of("two/x").st_nlink, 2);
    /* the first one goes, and the second is who it was */
    let_time_pass();
    OK(sink_delete(r.sink, SV_LIT("one/x"), e));
    holds("two/x");
    struct sink_earlier from = { SV_NONE, SV_LIT("two/x"), sink_mark_sv(&mark), r.object };
    struct sink_sending *sending;
    OK(sink_copy_send(r.sink, &from, SV_LIT("three/x"), TYPE, &sending, e));
    OK(sink_sending_wait(&sending, NULL, NULL, e));
    holds("three/x");
    /* written anew, an object is a file of its own again */
    OK(sink_put(r.sink, SV_LIT("three/x"), TYPE, SV_LIT("other"), NULL, e));
    holds("two/x");
    done(&r);
}

TEST(dir_copy, what_was_not_synced_is_known_until_the_machine_ends)
{
    (void)state;
    struct room r;
    struct sink_mark mark;
    make(&r, false, false);
    assert_int_equal(copy(&r, "two/x", &mark), ERR_OK);
    holds("two/x");
    OK(sink_delete(r.sink, SV_LIT("two/x"), e));
    r.world->boot[0] ^= 1;
    refused(&r, ERR_PRECONDITION);
    done(&r);
}

TEST_MAIN(T(dir_copy, a_copy_has_the_bytes_and_a_file_of_its_own),
          T(dir_copy, what_is_not_the_same_any_more_is_refused),
          T(dir_copy, a_role_copies_only_what_it_may_touch),
          T(dir_copy, where_files_are_ours_alone_a_copy_is_a_second_name),
          T(dir_copy, what_was_not_synced_is_known_until_the_machine_ends))
