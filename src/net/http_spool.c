/* http_spool.c - files without a name, for what has no room in memory: bodies of callers who are
 * not known yet, and answers that are not read. Such a file is gone with its descriptor, however
 * the process ends. What stands in it is encrypted with a key that is in memory alone, so its
 * blocks on the disk say nothing afterwards. */
#include "net/http_private.h"

#include "base/file.h"
#include "codec/crypt/cipher.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PIECE_BYTES (16u << 10) /* encrypted at a time */

static int make_file(const char *dir)
{
    if (dir == NULL)
        return -1;
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
        return fd;
    /* a file system that has no such files */
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/body-XXXXXX", dir);
    if (n < 0 || (size_t)n >= sizeof path || (fd = mkostemp(path, O_CLOEXEC)) < 0)
        return -1;
    /* If this fails the file has a name until the data folder is tidied. */
    (void)unlink(path);
    return fd;
}

bool http_spool_has_room(int fd, uint64_t len, uint64_t keep_free)
{
    struct statvfs v;
    return fstatvfs(fd, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize >= keep_free + len;
}

int http_spool_open(const char *dir, struct cipher **cipher)
{
    int fd = make_file(dir);
    if (fd >= 0)
        *cipher = cipher_new_for_now();
    return fd;
}

bool http_spool_write(int fd, const struct cipher *cipher, uint64_t at, sv bytes)
{
    char piece[PIECE_BYTES];
    while (bytes.len) {
        sv now = sv_head(bytes, sizeof piece);
        cipher_apply(cipher, at, now.ptr, piece, now.len);
        if (file_write_all(fd, sv_make(piece, now.len), NULL) != ERR_OK)
            return false;
        at += now.len;
        bytes = sv_tail(bytes, now.len);
    }
    return true;
}
