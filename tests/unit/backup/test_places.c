/* Where backups stand: a folder and a bucket do the same, and a store that misbehaves costs time
 * alone. */
#include "../../peers/hostile.h"

#include "backup/backup_private.h"
#include "base/file.h"
#include "base/rng.h"

#include <fcntl.h>
#include <unistd.h>

#define LARGE ((size_t)33 << 20) /* three parts of an upload */

static char home[80];
static struct backup_place *places[2];
static size_t n_places;

static err_code give_keys(void *ctx, sv refused, struct arena *a, struct s3_credentials *out,
                          struct err *e)
{
    (void)ctx;
    (void)refused;
    (void)a;
    (void)e;
    *out = (struct s3_credentials){ .access_key_id = SV_LIT("AK"), .secret_key = SV_LIT("secret") };
    return ERR_OK;
}

static int begin(void **state)
{
    char path[PATH_MAX];
    (void)state;
    (void)snprintf(home, sizeof home, TEST_TMP "/fhirlake-places-%016llx",
                   (unsigned long long)rng_u64());
    OK(file_mkdirs(home, e));
    OK(backup_path(path, e, "%s/place", home));
    OK(backup_place_folder(path, &places[0], e));
    n_places = 1;
    if (has_bad) {
        char prefix[40];
        script("[]");
        (void)snprintf(prefix, sizeof prefix, "of/%016llx//", (unsigned long long)rng_u64());
        struct backup_bucket b = { .endpoint = { .url = sv_from(bad_url), .region = SV_LIT("r") },
                                   .cred = give_keys,
                                   .bucket = SV_LIT("backups"),
                                   .prefix = sv_from(prefix) };
        OK(backup_place_bucket(&b, &places[n_places++], e));
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_places; i++)
        backup_place_free(places[i]);
    return file_remove_tree(home, NULL);
}

/* A new file of random bytes; its descriptor. */
static int file_of(const char *name, size_t bytes, struct backup_file *out)
{
    char path[PATH_MAX];
    OK(backup_path(path, e, "%s/%s", home, name));
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    uint64_t x = rng_u64();
    for (size_t i = 0; i < bytes; i += 8) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        memcpy(text + i, &x, bytes - i < 8 ? bytes - i : 8);
    }
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    OK(file_write_all(fd, sv_make(text, bytes), e));
    OK(backup_hash_fd(fd, -1, out, e));
    free(text);
    return fd;
}

static void put_and_read(struct backup_place *p, const char *name, size_t bytes)
{
    struct backup_file file;
    char path[PATH_MAX];
    uint64_t got;
    int fd = file_of(name, bytes, &file);
    assert_false(p->ops->has(p, &file));
    OK(p->ops->put(p, fd, &file, e));
    OK(p->ops->settle(p, e));
    assert_true(p->ops->has(p, &file));
    OK(backup_object_check(p, file.sha, &got, e));
    assert_int_equal(got, bytes);
    OK(backup_path(path, e, "%s/%s.back", home, name));
    (void)unlink(path);
    OK(backup_object_get(p, &file, path, e));
    (void)close(fd);
}

TEST(places, hold_files_of_any_size_by_their_content)
{
    (void)state;
    for (size_t i = 0; i < n_places; i++) {
        struct backup_place *p = places[i];
        OK(p->ops->begin(p, e));
        put_and_read(p, "empty", 0);
        put_and_read(p, "small", 1000);
        put_and_read(p, "part", (size_t)16 << 20);
        put_and_read(p, "large", LARGE);
        p->ops->end(p);
    }
}

/* What the store does to the calls of a put and a read, one after the other. */
TEST(places, a_store_that_fails_for_a_while_is_asked_again)
{
    (void)state;
    if (n_places < 2)
        return;
    struct backup_place *p = places[1];
    OK(p->ops->begin(p, e));
    script("[{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"},{\"do\":\"reset\"},"
           "{\"do\":\"ok\"},{\"do\":\"fail\",\"status\":500,\"code\":\"InternalError\"},"
           "{\"do\":\"ok\"},{\"do\":\"truncate\",\"bytes\":100},{\"do\":\"ok\"},"
           "{\"do\":\"stall\",\"seconds\":0.1},{\"do\":\"truncate\",\"bytes\":7}]");
    put_and_read(p, "small", 100000);
    script("[{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"},{\"do\":\"ok\"},"
           "{\"do\":\"cut\",\"bytes\":100000},{\"do\":\"ok\"},{\"do\":\"reset\"},{\"do\":\"ok\"},"
           "{\"do\":\"fail\",\"status\":503,\"code\":\"SlowDown\"},{\"do\":\"ok\"},"
           "{\"do\":\"fail\",\"status\":500,\"code\":\"InternalError\"},{\"do\":\"ok\"},"
           "{\"do\":\"ok\"},{\"do\":\"truncate\",\"bytes\":20000000},"
           "{\"do\":\"truncate\",\"bytes\":9}]");
    put_and_read(p, "large", LARGE);
    p->ops->end(p);
}

TEST(places, a_file_that_changed_leaves_no_object)
{
    (void)state;
    for (size_t i = 0; i < n_places; i++) {
        struct backup_place *p = places[i];
        const size_t sizes[] = { 1000, LARGE };
        OK(p->ops->begin(p, e));
        for (size_t k = 0; k < 2; k++) {
            struct backup_file file, now;
            int fd = file_of("changing", sizes[k], &file);
            OK(file_write_all(fd, SV_LIT("one more"), e));
            FAILS(ERR_IO, p->ops->put(p, fd, &file, e));
            assert_int_equal(pwrite(fd, "x", 1, 500), 1);
            assert_int_equal(ftruncate(fd, (off_t)sizes[k]), 0);
            OK(backup_hash_fd(fd, -1, &now, e));
            if (!backup_file_same(&now, &file))
                FAILS(ERR_IO, p->ops->put(p, fd, &file, e));
            OK(p->ops->settle(p, e));
            assert_false(p->ops->has(p, &file));
            (void)close(fd);
        }
        p->ops->end(p);
    }
}

TEST(places, manifests_come_in_their_order_and_whole)
{
    (void)state;
    for (size_t i = 0; i < n_places; i++) {
        struct backup_place *p = places[i];
        CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
        CLEANUP_BUF struct buf text = BUF_INIT(1 << 20);
        sv *names;
        size_t n;
        OK(p->ops->begin(p, e));
        for (int k = 4; k >= 0; k--) {
            const char name[] = { 'm', (char)('0' + k), 0 };
            OK(p->ops->write_manifest(p, sv_from(name), sv_from(name), e));
        }
        OK(p->ops->names(p, a, &names, &n, e));
        assert_int_equal(n, 5);
        assert_sv(names[0], SV_LIT("m0"));
        assert_sv(names[4], SV_LIT("m4"));
        OK(p->ops->read_manifest(p, names[2], &text, e));
        assert_sv(buf_sv(&text), SV_LIT("m2"));
        FAILS(ERR_NOT_FOUND, p->ops->read_manifest(p, SV_LIT("m9"), &text, e));
        p->ops->end(p);
    }
}

TEST(places, what_is_named_stays_and_the_rest_goes)
{
    (void)state;
    for (size_t i = 0; i < n_places; i++) {
        struct backup_place *p = places[i];
        struct backup_file files[5];
        uint64_t n_gone = 0;
        OK(p->ops->begin(p, e));
        for (int k = 0; k < 5; k++) {
            int fd = file_of("pruned", 100, &files[k]);
            OK(p->ops->put(p, fd, &files[k], e));
            (void)close(fd);
        }
        OK(p->ops->settle(p, e));
        OK(p->ops->prune(p, files[3].sha, 1, &n_gone, e));
        assert_int_equal(n_gone, 4);
        OK(p->ops->settle(p, e));
        for (int k = 0; k < 5; k++)
            assert_int_equal(p->ops->has(p, &files[k]), k == 3);
        p->ops->end(p);
    }
}

static const char *in_objects(const char *name)
{
    static char path[PATH_MAX];
    OK(backup_path(path, e, "%s/place/objects/%s", home, name));
    return path;
}

/* The folder may have been somebody's before. */
TEST(places, of_a_folder_what_is_no_object_is_somebodys_and_stays)
{
    (void)state;
    static const char *const others[] = { "letter.txt", ".hidden", "0123456789abcdef" };
    struct backup_place *p = places[0];
    struct backup_file file;
    char name[SHA256_HEX_LEN + 8];
    uint64_t n_gone = 0;
    OK(p->ops->begin(p, e));
    int fd = file_of("kept", 100, &file);
    OK(p->ops->put(p, fd, &file, e));
    (void)close(fd);
    for (size_t i = 0; i < 3; i++)
        OK(file_write_atomic(in_objects(others[i]), SV_LIT("x"), e));
    (void)snprintf(name, sizeof name, "%.*s.txt", (int)SHA256_HEX_LEN, file.sha);
    OK(file_write_atomic(in_objects(name), SV_LIT("x"), e));
    /* what a put that was cut off left */
    (void)snprintf(name, sizeof name, "%.*s.tmp", (int)SHA256_HEX_LEN, file.sha);
    OK(file_write_atomic(in_objects(name), SV_LIT("x"), e));
    OK(p->ops->prune(p, file.sha, 1, &n_gone, e));
    assert_int_equal(n_gone, 1);
    assert_true(p->ops->has(p, &file));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(access(in_objects(others[i]), F_OK), 0);
    p->ops->end(p);
}

TEST(places, of_a_folder_a_link_stands_for_no_object)
{
    (void)state;
    struct backup_place *p = places[0];
    struct backup_file file;
    char name[SHA256_HEX_LEN + 1];
    uint64_t bytes;
    OK(p->ops->begin(p, e));
    int fd = file_of("linked", 100, &file);
    OK(p->ops->put(p, fd, &file, e));
    (void)snprintf(name, sizeof name, "%.*s", (int)SHA256_HEX_LEN, file.sha);
    assert_int_equal(unlink(in_objects(name)), 0);
    assert_int_equal(symlink("../../linked", in_objects(name)), 0);
    assert_false(p->ops->has(p, &file));
    OK(p->ops->put(p, fd, &file, e));
    assert_true(p->ops->has(p, &file));
    OK(backup_object_check(p, file.sha, &bytes, e));
    (void)close(fd);
    p->ops->end(p);
}

TEST(places, of_a_folder_an_object_that_was_written_to_is_written_anew)
{
    (void)state;
    struct backup_place *p = places[0];
    struct backup_file file;
    char name[SHA256_HEX_LEN + 1], byte;
    uint64_t bytes;
    OK(p->ops->begin(p, e));
    int fd = file_of("damaged", 100, &file);
    OK(p->ops->put(p, fd, &file, e));
    (void)snprintf(name, sizeof name, "%.*s", (int)SHA256_HEX_LEN, file.sha);
    int object = open(in_objects(name), O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(object, &byte, 1, 50), 1);
    byte ^= 1;
    assert_int_equal(pwrite(object, &byte, 1, 50), 1);
    assert_false(p->ops->has(p, &file));
    /* a copy of the place has other times, and is as good */
    byte ^= 1;
    assert_int_equal(pwrite(object, &byte, 1, 50), 1);
    assert_true(p->ops->has(p, &file));
    (void)close(object);
    OK(backup_object_check(p, file.sha, &bytes, e));
    (void)close(fd);
    p->ops->end(p);
}

/* Nobody waits for it, and nothing is read of it. */
TEST(places, of_a_folder_a_pipe_is_no_object_and_no_manifest)
{
    (void)state;
    CLEANUP_BUF struct buf text = BUF_INIT(100);
    static const char manifest[] = "20261129T101116.574Z-0123456789abcdef.json";
    struct backup_place *p = places[0];
    struct backup_file file;
    struct err why;
    char name[SHA256_HEX_LEN + 1], path[PATH_MAX];
    uint64_t bytes;
    OK(p->ops->begin(p, e));
    int fd = file_of("pipe", 100, &file);
    (void)snprintf(name, sizeof name, "%.*s", (int)SHA256_HEX_LEN, file.sha);
    assert_int_equal(mkfifo(in_objects(name), 0600), 0);
    assert_false(p->ops->has(p, &file));
    assert_int_equal(backup_object_check(p, file.sha, &bytes, &why), ERR_CORRUPT);
    OK(backup_path(path, e, "%s/place/backups/%s", home, manifest));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(p->ops->read_manifest(p, sv_from(manifest), &text, &why), ERR_CORRUPT);
    (void)close(fd);
    p->ops->end(p);
}

/* Its bytes would fill the disk that is restored to. */
TEST(places, of_an_object_that_is_longer_than_it_was_no_more_is_read)
{
    (void)state;
    struct backup_place *p = places[0];
    struct backup_file file;
    struct stat st;
    struct err why;
    char name[SHA256_HEX_LEN + 1], to[PATH_MAX];
    OK(p->ops->begin(p, e));
    int fd = file_of("long", 100, &file);
    OK(p->ops->put(p, fd, &file, e));
    (void)snprintf(name, sizeof name, "%.*s", (int)SHA256_HEX_LEN, file.sha);
    assert_int_equal(truncate(in_objects(name), (off_t)1 << 30), 0);
    OK(backup_path(to, e, "%s/got", home));
    assert_int_equal(backup_object_get(p, &file, to, &why), ERR_CORRUPT);
    assert_int_equal(stat(to, &st), 0);
    assert_true(st.st_size <= 100);
    (void)close(fd);
    p->ops->end(p);
}

TEST(places, of_a_folder_what_a_killed_put_left_goes_with_the_next)
{
    (void)state;
    struct backup_place *p = places[0];
    char cut[PATH_MAX], letter[PATH_MAX];
    OK(p->ops->begin(p, e));
    p->ops->end(p);
    OK(backup_path(cut, e,
                   "%s/place/backups/20261129T101116.574Z-0123456789abcdef.json.0123456789abcdef"
                   ".tmp",
                   home));
    OK(backup_path(letter, e, "%s/place/backups/letter.0123456789abcdef.tmp", home));
    OK(file_write_atomic(cut, SV_LIT("x"), e));
    OK(file_write_atomic(letter, SV_LIT("x"), e));
    OK(p->ops->begin(p, e));
    assert_int_not_equal(access(cut, F_OK), 0);
    assert_int_equal(access(letter, F_OK), 0);
    p->ops->end(p);
}

#define AT_PLACES(sentence)                                            \
    {                                                                  \
        "places: " #sentence, test_places_##sentence, begin, end, NULL \
    }
int main(void)
{
    const struct CMUnitTest tests[] = {
        AT_PLACES(hold_files_of_any_size_by_their_content),
        AT_PLACES(a_store_that_fails_for_a_while_is_asked_again),
        AT_PLACES(a_file_that_changed_leaves_no_object),
        AT_PLACES(manifests_come_in_their_order_and_whole),
        AT_PLACES(what_is_named_stays_and_the_rest_goes),
        AT_PLACES(of_a_folder_what_is_no_object_is_somebodys_and_stays),
        AT_PLACES(of_a_folder_a_link_stands_for_no_object),
        AT_PLACES(of_a_folder_an_object_that_was_written_to_is_written_anew),
        AT_PLACES(of_a_folder_a_pipe_is_no_object_and_no_manifest),
        AT_PLACES(of_an_object_that_is_longer_than_it_was_no_more_is_read),
        AT_PLACES(of_a_folder_what_a_killed_put_left_goes_with_the_next),
    };
    hostile_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    peer_stop(&bad);
    return failed;
}
