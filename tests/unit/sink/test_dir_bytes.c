/* test_dir_bytes.c - the bytes of one file into another, whichever way they take. */
#include "test.h"

#include "base/file.h"
#include "base/rng.h"
#include "sink/sink_private.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

#define KIB  1024u
#define MIB  (1024u * 1024u)
#define MOST (10u * MIB)

/* Tests keep their files in memory, where no bytes pass by the cache: a disk is meant here, too. */
static const char *const folders[] = { "/var/tmp", TEST_TMP };
enum { N_FOLDERS = sizeof folders / sizeof folders[0] };

static char text[MOST];

static int file_in(const char *folder)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/fhirlake-bytes-XXXXXX", folder);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)unlink(path);
    return fd;
}

static void fill(int fd, size_t n)
{
    assert_int_equal(ftruncate(fd, 0), 0);
    OK(file_write_all(fd, sv_make(text, n), e));
}

/* Only what is on the disk can leave the memory. */
static void forget(int fd)
{
    assert_int_equal(fsync(fd), 0);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static bool holds(int fd, size_t n)
{
    static char got[MOST + 1];
    size_t len = 0;
    ssize_t more;
    while ((more = pread(fd, got + len, sizeof got - len, (off_t)len)) > 0)
        len += (size_t)more;
    return more == 0 && len == n && memcmp(got, text, n) == 0;
}

static void set_text(void)
{
    for (size_t i = 0; i < MOST; i += sizeof(uint64_t)) {
        uint64_t x = rng_u64();
        memcpy(text + i, &x, sizeof x);
    }
}

TEST(dir_bytes, files_of_any_size_come_out_whole_from_memory_and_from_the_disk)
{
    static const size_t sizes[] = { 0,
                                    1,
                                    4096,
                                    MIB - 1,
                                    MIB,
                                    MIB + 1,
                                    MIB + 64 * KIB - 1,
                                    MIB + 64 * KIB,
                                    4 * MIB,
                                    4 * MIB + 4095,
                                    9 * MIB + 4096,
                                    MOST - 7 };
    (void)state;
    set_text();
    for (unsigned f = 0; f < N_FOLDERS; f++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (unsigned how = 0; how < 4; how++) {
                int from = file_in(folders[f]), to = file_in(folders[f]);
                fill(from, sizes[i]);
                if (how & 1)
                    forget(from);
                /* half of it is in memory again */
                if (how == 3)
                    assert_true(pread(from, (char[4096]){ 0 }, 4096, 0) >= 0);
                OK(dir_bytes_copy(from, to, sizes[i], how & 2, NULL, e));
                if (!holds(to, sizes[i]))
                    fail_msg("%s: %zu bytes, way %u", folders[f], sizes[i], how);
                assert_int_equal(fcntl(from, F_GETFL) & O_DIRECT, 0);
                assert_int_equal(fcntl(to, F_GETFL) & O_DIRECT, 0);
                close(from);
                close(to);
            }
}

TEST(dir_bytes, a_file_that_is_shorter_than_it_was_is_refused)
{
    static const size_t sizes[] = { 0, 1, 4096, MIB, 4 * MIB, 4 * MIB + 4096 };
    (void)state;
    set_text();
    for (unsigned f = 0; f < N_FOLDERS; f++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (unsigned cold = 0; cold < 2; cold++) {
                int from = file_in(folders[f]), to = file_in(folders[f]);
                struct err why = { 0 };
                fill(from, sizes[i]);
                if (cold)
                    forget(from);
                /* where files share blocks, they share what there is; whoever asks sees its size */
                err_code rc = dir_bytes_copy(from, to, MOST - 7, false, NULL, &why);
                assert_true(rc == ERR_UNSUPPORTED || (rc == ERR_OK && holds(to, sizes[i])));
                close(from);
                close(to);
            }
}

/* Of a file: how many pages the system has in memory. */
static size_t n_cached(int fd, size_t n)
{
    static unsigned char there[MOST / 4096];
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t cached = 0;
    void *map = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mincore(map, n, there), 0);
    for (size_t i = 0; i < n / page; i++)
        cached += there[i] & 1;
    (void)munmap(map, n);
    return cached;
}

/* Where neither bytes pass by the cache nor blocks are shared there is nothing to see. */
static bool passes_by(const char *folder)
{
    struct statfs fs;
    return statfs(folder, &fs) == 0 && fs.f_type == EXT4_SUPER_MAGIC;
}

TEST(dir_bytes, one_page_in_memory_has_no_others_fetched_and_without_sync_all_go_to_memory)
{
    (void)state;
    set_text();
    for (unsigned f = 0; f < N_FOLDERS; f++) {
        if (!passes_by(folders[f]))
            continue;
        int from = file_in(folders[f]), to = file_in(folders[f]);
        fill(from, 8 * MIB);
        forget(from);
        /* the page alone, in each half */
        assert_int_equal(posix_fadvise(from, 0, 0, POSIX_FADV_RANDOM), 0);
        for (off_t at = 0; at < (off_t)(8 * MIB); at += 4 * MIB)
            assert_int_equal(pread(from, (char[1]){ 0 }, 1, at), 1);
        const size_t before = n_cached(from, 8 * MIB);
        if (before < 8 * MIB / 4096 / 2) {
            OK(dir_bytes_copy(from, to, 8 * MIB, true, NULL, e));
            assert_true(holds(to, 8 * MIB));
            assert_true(n_cached(from, 8 * MIB) <= before);
        }
        close(from);
        close(to);
        from = file_in(folders[f]), to = file_in(folders[f]);
        fill(from, 8 * MIB);
        OK(dir_bytes_copy(from, to, 8 * MIB, false, NULL, e));
        /* a machine that is short of memory takes some of it back */
        assert_true(n_cached(to, 8 * MIB) >= 7 * MIB / (size_t)sysconf(_SC_PAGESIZE));
        assert_true(holds(to, 8 * MIB));
        close(from);
        close(to);
    }
}

TEST(dir_bytes, whoever_is_to_stop_stops)
{
    (void)state;
    atomic_bool cancel = true;
    for (unsigned f = 0; f < N_FOLDERS; f++) {
        int from = file_in(folders[f]), to = file_in(folders[f]);
        struct err why = { 0 };
        fill(from, MOST);
        err_code rc = dir_bytes_copy(from, to, MOST, false, &cancel, &why);
        /* or it was shared, at once */
        assert_true(rc == ERR_CANCELLED || holds(to, MOST));
        assert_int_equal(fcntl(to, F_GETFL) & O_APPEND, 0);
        close(from);
        close(to);
    }
}

TEST_MAIN(T(dir_bytes, files_of_any_size_come_out_whole_from_memory_and_from_the_disk),
          T(dir_bytes, a_file_that_is_shorter_than_it_was_is_refused),
          T(dir_bytes, one_page_in_memory_has_no_others_fetched_and_without_sync_all_go_to_memory),
          T(dir_bytes, whoever_is_to_stop_stops))
