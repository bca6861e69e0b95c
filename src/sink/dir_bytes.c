/* dir_bytes.c - the bytes of one file into another.
 *
 *   shared      where the file system can do that (FICLONE)
 *   past the    a large file on ext4, which cannot, where files are synced: into a block of ours,
 *   cache       and from there to the disk (O_DIRECT). What the system has in memory is taken from
 *               there, and what it has not, such as what came here in this way, from the disk. So a
 *               byte is copied in memory once or never, and no page of the system's is taken for
 *               it: a tenth to a quarter of the processor time of the kernel's own copy
 *   copied      by the kernel (copy_file_range): all else, and a file's end, which is no whole page
 *
 * Whoever asks looks behind it whether the earlier file has changed meanwhile. */
#include "sink/sink_private.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

#define PAST_LEAST (1u << 20) /* bytes of a file for which a write that waits is worth it */
#define PAST_UNIT  (4u << 20) /* at a time */
#define HUGE_BYTES (2u << 20) /* a block of huge pages costs little to hand to the disk */
#define PAGE_BYTES 65536u     /* a multiple of the pages and blocks of any machine */
#define PAGE_LEAST 4096u      /* of any machine */
#define NEARLY     8u         /* all but one of so many pages */

static bool is_cancelled(const atomic_bool *cancel)
{
    return cancel && atomic_load_explicit(cancel, memory_order_relaxed);
}

/* No other way of writing would help. */
static bool is_final(int number)
{
    return number == ENOSPC || number == EDQUOT || number == EIO || number == EFBIG;
}

static bool set_direct(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

static bool may_pass_by_cache(int to, uint64_t bytes)
{
    struct statfs fs;
    return bytes >= PAST_LEAST && fstatfs(to, &fs) == 0 && fs.f_type == EXT4_SUPER_MAGIC &&
           set_direct(to, true);
}

/* Has the system nearly all of it in memory? What it has not, it would fetch page by page, and
 * keep. To read without waiting is no way to ask: it has the page fetched. */
static bool is_in_memory(int fd, uint64_t at, size_t n)
{
    unsigned char is_there[PAST_UNIT / PAGE_LEAST] = { 0 };
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), n_pages = (n + page - 1) / page;
    size_t n_there = 0;
    void *map = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, (off_t)at);
    if (map == MAP_FAILED)
        return false;
    if (mincore(map, n, is_there) == 0)
        for (size_t i = 0; i < n_pages; i++)
            n_there += is_there[i] & 1;
    (void)munmap(map, n);
    return n_there >= n_pages - n_pages / NEARLY;
}

static ssize_t take(int from, char *block, size_t n, uint64_t at)
{
    if (is_in_memory(from, at, n))
        return pread(from, block, n, (off_t)at);
    if (!set_direct(from, true))
        return 0;
    ssize_t got = pread(from, block, n, (off_t)at);
    int number = errno;
    (void)set_direct(from, false);
    errno = number;
    return got;
}

/* As far as that goes: to *at. What it does not take on is copied. */
static err_code pass(int from, int to, char *block, uint64_t bytes, const atomic_bool *cancel,
                     uint64_t *at, struct err *e)
{
    const uint64_t end = bytes - bytes % PAGE_BYTES;
    while (*at < end) {
        size_t n = end - *at < PAST_UNIT ? (size_t)(end - *at) : PAST_UNIT;
        if (is_cancelled(cancel))
            return ERR(e, ERR_CANCELLED, "cancelled");
        ssize_t got = take(from, block, n, *at);
        if (got == (ssize_t)n)
            got = pwrite(to, block, n, (off_t)*at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && is_final(errno))
            return file_os_err(e, "cannot copy a file");
        if (got != (ssize_t)n)
            return ERR_OK;
        *at += n;
    }
    return ERR_OK;
}

static err_code pass_by_cache(int from, int to, uint64_t bytes, const atomic_bool *cancel,
                              uint64_t *at, struct err *e)
{
    const size_t room = PAST_UNIT + HUGE_BYTES;
    char *map = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return ERR_OK;
    char *block = map + (HUGE_BYTES - (uintptr_t)map % HUGE_BYTES) % HUGE_BYTES;
    /* without them it costs more, and that is all */
    (void)madvise(block, PAST_UNIT, MADV_HUGEPAGE);
    err_code rc = pass(from, to, block, bytes, cancel, at, e);
    (void)munmap(map, room);
    return rc;
}

static err_code copy_by_kernel(int from, int to, uint64_t at, uint64_t bytes, bool sync,
                               const atomic_bool *cancel, struct err *e)
{
    while (at < bytes) {
        off_t in = (off_t)at, out = (off_t)at;
        size_t n = bytes - at < DIR_FLUSH_BYTES ? (size_t)(bytes - at) : DIR_FLUSH_BYTES;
        if (is_cancelled(cancel))
            return ERR(e, ERR_CANCELLED, "cancelled");
        ssize_t got = copy_file_range(from, &in, to, &out, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && is_final(errno))
            return file_os_err(e, "cannot copy a file");
        if (got <= 0)
            return ERR(e, ERR_UNSUPPORTED, "a file cannot be copied here");
        if (sync)
            /* a hint, as of what is written */
            (void)sync_file_range(to, (off_t)at, got, SYNC_FILE_RANGE_WRITE);
        at += (uint64_t)got;
    }
    return ERR_OK;
}

err_code dir_bytes_copy(int from, int to, uint64_t bytes, bool sync, const atomic_bool *cancel,
                        struct err *e)
{
    uint64_t at = 0;
    if (ioctl(to, FICLONE, from) == 0)
        return ERR_OK;
    /* Who does not sync waits for no disk: it takes more of the processor, and less time. */
    if (sync && may_pass_by_cache(to, bytes)) {
        TRY(pass_by_cache(from, to, bytes, cancel, &at, e));
        if (!set_direct(to, false))
            return ERR(e, ERR_UNSUPPORTED, "a file cannot be copied here");
    }
    return copy_by_kernel(from, to, at, bytes, sync, cancel, e);
}
