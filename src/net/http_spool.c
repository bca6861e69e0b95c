/* http_spool.c - files without a name, for what has no room in memory: bodies of callers who are
 * not known yet, and answers that are not read. Such a file is gone with its descriptor, however
 * the process ends. */
#include "net/http_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

int http_spool_open(const char *dir)
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
