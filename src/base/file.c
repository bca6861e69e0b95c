/* file.c - small files, read and written whole.
 *
 * A file is written under another name beside its own, synced, and renamed; then its folder is
 * synced. So a reader, and a start after a crash, finds the old file or the new one. A file with
 * keys is read only if nobody else could have read or changed it: check_private() looks at the open
 * file, and at the folder that really holds it when the path leads through links. */
#include "base/file.h"

#include "base/rng.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

err_code file_os_err(struct err *e, const char *what)
{
    int n = errno;
    const char *text = strerrordesc_np(n);
    return ERR(e, err_from_errno(n), "%s: %s", what, text ? text : "unknown error");
}

/* All that fd has. */
static err_code read_all(int fd, struct buf *out, struct err *e)
{
    for (;;) {
        struct stat st;
        size_t want = 65536;
        if (out->len == 0 && fstat(fd, &st) == 0 && st.st_size > 0 && (size_t)st.st_size < out->max)
            want = (size_t)st.st_size + 1;
        size_t left = out->max - out->len;
        TRY(buf_reserve(out, want < left ? want : left, e));
        size_t room = out->cap - out->len;
        if (room == 0) {
            /* The buf is full: one more byte would be too much. */
            char c;
            ssize_t more = read(fd, &c, 1);
            return more == 0 ? ERR_OK
                             : ERR(e, ERR_TOO_LARGE, "file is larger than %zu bytes", out->max);
        }
        ssize_t n = read(fd, out->ptr + out->len, room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_os_err(e, "cannot read file");
        if (n == 0)
            return ERR_OK;
        out->len += (size_t)n;
    }
}

err_code file_read(const char *path, struct buf *out, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_os_err(e, "cannot open file");
    err_code rc = read_all(fd, out, e);
    close(fd);
    return rc;
}

/* The folder that really holds the file. */
static err_code folder_of(const char *path, char real[PATH_MAX], struct stat *out, struct err *e)
{
    if (realpath(path, real) == NULL)
        return file_os_err(e, "cannot find the file's folder");
    char *slash = strrchr(real, '/');
    slash[slash == real ? 1 : 0] = 0;
    return stat(real, out) == 0 ? ERR_OK : file_os_err(e, "cannot look at the file's folder");
}

/* secret: others may not read it either. */
static err_code check_private(const char *path, int fd, bool secret, struct err *e)
{
    char real[PATH_MAX];
    struct stat file, dir;
    uid_t us = geteuid();
    if (fstat(fd, &file) != 0)
        return file_os_err(e, "cannot look at the file");
    /* a pipe: who may read it is said elsewhere */
    if (!S_ISREG(file.st_mode))
        return ERR_OK;
    if (file.st_uid != us && file.st_uid != 0)
        return ERR(e, ERR_DENIED,
                   "the file belongs to another user, who can change it; type: chown %u %s",
                   (unsigned)us, path);
    if (file.st_mode & 022)
        return ERR(e, ERR_DENIED, "others can write the file; type: chmod 600 %s", path);
    TRY(folder_of(path, real, &dir, e));
    if ((dir.st_mode & 01002) == 02)
        return ERR(e, ERR_DENIED, "others can put another file in its place; type: chmod o-w %s",
                   real);
    if (!secret)
        return ERR_OK;
    bool dir_is_ours = dir.st_uid == us || dir.st_uid == 0;
    /* root chose the group for us */
    bool lent = file.st_uid == 0 && us != 0;
    bool group = (file.st_mode & 040) && !lent && !(dir_is_ours && (dir.st_mode & 010) == 0);
    bool others = (file.st_mode & 004) && !(dir_is_ours && (dir.st_mode & 001) == 0);
    if (group || others)
        return ERR(e, ERR_DENIED, "others can read the file; type: chmod 600 %s", path);
    return ERR_OK;
}

static err_code read_checked(const char *path, bool secret, struct buf *out, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_os_err(e, "cannot open file");
    err_code rc = check_private(path, fd, secret, e);
    if (rc == ERR_OK)
        rc = read_all(fd, out, e);
    close(fd);
    return rc;
}

err_code file_read_private(const char *path, struct buf *out, struct err *e)
{
    return read_checked(path, true, out, e);
}

err_code file_read_guarded(const char *path, struct buf *out, struct err *e)
{
    return read_checked(path, false, out, e);
}

err_code file_write_all(int fd, sv bytes, struct err *e)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return file_os_err(e, "cannot write file");
        bytes = sv_tail(bytes, (size_t)n);
    }
    return ERR_OK;
}

static err_code parent_of(const char *path, char out[PATH_MAX], struct err *e)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 1;
    if (n >= PATH_MAX)
        return ERR(e, ERR_INVALID, "path is too long");
    memcpy(out, slash ? path : ".", n);
    out[n] = 0;
    if (n == 0)
        memcpy(out, "/", 2);
    return ERR_OK;
}

err_code file_sync_dir(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return file_os_err(e, "cannot open folder");
    err_code rc = fsync(fd) == 0 ? ERR_OK : file_os_err(e, "cannot sync folder");
    close(fd);
    return rc;
}

err_code file_write_atomic(const char *path, sv bytes, struct err *e)
{
    char tmp[PATH_MAX], dir[PATH_MAX];
    TRY(parent_of(path, dir, e));
    int n = snprintf(tmp, sizeof tmp, "%s.%016" PRIx64 ".tmp", path, rng_u64());
    if (n < 0 || (size_t)n >= sizeof tmp)
        return ERR(e, ERR_INVALID, "path is too long");
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_os_err(e, "cannot create file");
    err_code rc = file_write_all(fd, bytes, e);
    if (rc == ERR_OK && fsync(fd) != 0)
        rc = file_os_err(e, "cannot sync file");
    if (close(fd) != 0 && rc == ERR_OK)
        rc = file_os_err(e, "cannot close file");
    if (rc == ERR_OK && rename(tmp, path) != 0)
        rc = file_os_err(e, "cannot rename file");
    if (rc != ERR_OK) {
        /* As well as it goes: the error is known already. */
        (void)unlink(tmp);
        return rc;
    }
    return file_sync_dir(dir, e);
}

err_code file_mkdirs(const char *path, struct err *e)
{
    char p[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof p)
        return ERR(e, ERR_INVALID, "path is too long");
    memcpy(p, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (p[i] != '/' && p[i] != 0)
            continue;
        char c = p[i];
        p[i] = 0;
        struct stat st;
        if (mkdir(p, 0700) != 0 && errno != EEXIST)
            return file_os_err(e, "cannot create folder");
        if (stat(p, &st) != 0)
            return file_os_err(e, "cannot create folder");
        if (!S_ISDIR(st.st_mode))
            return ERR(e, ERR_EXISTS, "a file stands where a folder is needed");
        p[i] = c;
    }
    return ERR_OK;
}

void file_look(const char *path, uint64_t out[FILE_LOOK])
{
    struct stat st;
    bool there = stat(path, &st) == 0;
    memset(out, 0, FILE_LOOK * sizeof *out);
    if (there && !S_ISREG(st.st_mode)) {
        out[0] = FILE_IS_PIPE;
    } else if (there) {
        const uint64_t now[FILE_LOOK] = { 1,
                                          st.st_dev,
                                          st.st_ino,
                                          (uint64_t)st.st_size,
                                          (uint64_t)st.st_mtim.tv_sec,
                                          (uint64_t)st.st_mtim.tv_nsec,
                                          (uint64_t)st.st_ctim.tv_sec,
                                          (uint64_t)st.st_ctim.tv_nsec,
                                          st.st_mode,
                                          (uint64_t)st.st_uid << 32 | st.st_gid };
        memcpy(out, now, sizeof now);
    }
}

err_code file_disk(const char *path, uint64_t *left, uint64_t *size, struct err *e)
{
    struct statvfs v;
    if (statvfs(path, &v) != 0)
        return file_os_err(e, "cannot look at a disk");
    *left = (uint64_t)v.f_bavail * v.f_frsize;
    *size = (uint64_t)v.f_blocks * v.f_frsize;
    return ERR_OK;
}

static err_code remove_at(int dir_fd, const char *name, struct err *e)
{
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return ERR_OK;
    if (errno != EISDIR && errno != EPERM)
        return file_os_err(e, "cannot remove file");
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_OK : file_os_err(e, "cannot open folder");
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        close(fd);
        return file_os_err(e, "cannot read folder");
    }
    err_code rc = ERR_OK;
    struct dirent *de;
    while (rc == ERR_OK && (de = readdir(d)) != NULL)
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
            rc = remove_at(dirfd(d), de->d_name, e);
    closedir(d);
    if (rc == ERR_OK && unlinkat(dir_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        rc = file_os_err(e, "cannot remove folder");
    return rc;
}

err_code file_remove_tree(const char *path, struct err *e)
{
    return remove_at(AT_FDCWD, path, e);
}

err_code file_hold(const char *path, int *out, struct err *e)
{
    struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_os_err(e, "cannot open file");
    if (fcntl(fd, F_SETLK, &lock) != 0) {
        err_code rc = errno == EACCES || errno == EAGAIN
                          ? ERR(e, ERR_EXISTS, "in use by another process")
                          : file_os_err(e, "cannot lock file");
        close(fd);
        return rc;
    }
    *out = fd;
    return ERR_OK;
}

void file_quoted(const char *path, char *out)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=,@:";
    const char *quote = path[strspn(path, plain)] ? "'" : "";
    (void)snprintf(out, PATH_MAX + 3, "%s%s%s", quote, path, quote);
}
