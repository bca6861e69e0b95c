/* full_disk.c - a disk that is full, for a server that was told so: preloaded, it lets no file of
 * tables grow while the file that FULL_DISK names is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_full(int fd, off_t at)
{
    const char *flag = getenv("FULL_DISK");
    char link[64], path[4096];
    struct stat st;
    if (flag == NULL || access(flag, F_OK) != 0 || fstat(fd, &st) != 0 || at < st.st_size)
        return 0;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return 0;
    path[n] = 0;
    return strstr(path, "/base/") != NULL;
}

static ssize_t write_at(int fd, const void *bytes, size_t n, off_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (is_full(fd, at)) {
        errno = ENOSPC;
        return -1;
    }
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
    return real(fd, bytes, n, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    return write_at(fd, bytes, n, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t at)
{
    return write_at(fd, bytes, n, at);
}
