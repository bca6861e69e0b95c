/* dir.c - the directory store: OBJECTS/bucket/key.
 *
 * Every step of a key is opened from the folder before it without following links, so that no key
 * and no link made by somebody else leads out of a bucket.
 * Invariants:
 *   D1  a name that begins with SINK_TEMP_PREFIX is a file being written, or what a dead writer
 *       left; it is never listed, read or taken for a key
 *   D2  a file being written is locked (flock) by its writer, so D1's dead ones can be told
 *   D3  a folder that becomes empty by a deletion goes with it: S3 knows no folders */
#include "codec/crypt/cipher.h"
#include "sink/sink_private.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- buckets ---- */
static err_code bucket_name(sv bucket, char name[64], struct err *e)
{
    if (bucket.len == 0 || bucket.len >= 64 || bucket.ptr[0] == '.' ||
        memchr(bucket.ptr, '/', bucket.len) || memchr(bucket.ptr, 0, bucket.len))
        return ERR(e, ERR_INVALID, "the bucket's name is not well-formed: \"%.*s\"",
                   SV_FMT(sv_head(bucket, 64)));
    memcpy(name, bucket.ptr, bucket.len);
    name[bucket.len] = 0;
    return ERR_OK;
}

err_code dir_bucket_open(const struct sink_world *world, sv bucket, bool make, int *fd,
                         struct err *e)
{
    char name[64];
    TRY(bucket_name(bucket, name, e));
    for (int turn = 0;; turn++) {
        int d = openat(world->root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (d >= 0) {
            *fd = d;
            return ERR_OK;
        }
        if (errno == ENOTDIR || errno == ELOOP)
            return ERR(e, ERR_DENIED, "bucket %s is no folder of the directory store", name);
        if (errno != ENOENT)
            return file_os_err(e, "cannot open the bucket");
        if (!make || turn > 0)
            return ERR(e, ERR_NOT_FOUND, "bucket %s does not exist", name);
        if (mkdirat(world->root_fd, name, 0700) != 0 && errno != EEXIST)
            return file_os_err(e, "cannot make the bucket");
        if (world->sync && fsync(world->root_fd) != 0)
            return file_os_err(e, "cannot sync the folder for objects");
    }
}

/* ---- keys ---- */
err_code dir_key_check(sv key, struct err *e)
{
    if (key.len == 0 || key.len > SINK_KEY_MAX)
        return ERR(e, ERR_INVALID, "a key has 1 to %u bytes", SINK_KEY_MAX);
    if (memchr(key.ptr, 0, key.len))
        return ERR(e, ERR_INVALID, "a key cannot hold a NUL byte");
    sv rest = key, seg;
    while (sv_cut(&rest, '/', &seg)) {
        if (seg.len == 0 || sv_eq_cstr(seg, ".") || sv_eq_cstr(seg, ".."))
            return ERR(e, ERR_INVALID,
                       "the directory store takes no key with an empty, \".\" or \"..\" segment");
        if (seg.len > 255)
            return ERR(e, ERR_INVALID, "the directory store takes segments of up to 255 bytes");
        if (sv_starts(seg, SV_LIT(SINK_TEMP_PREFIX)))
            return ERR(e, ERR_INVALID, "a key's segment cannot begin with " SINK_TEMP_PREFIX);
    }
    return ERR_OK;
}

static err_code not_folder(int dir_fd, const char *name, bool make, struct err *e)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
        return ERR(e, ERR_DENIED, "the directory store follows no links");
    if (make)
        return ERR(e, ERR_INVALID, "an object stands where this key needs a folder");
    return ERR(e, ERR_NOT_FOUND, "object does not exist");
}

err_code dir_step(int from, const char *name, bool make, bool sync, int *to, struct err *e)
{
    for (int turn = 0;; turn++) {
        int d = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (d >= 0) {
            *to = d;
            return ERR_OK;
        }
        if (errno == ENOTDIR || errno == ELOOP)
            return not_folder(from, name, make, e);
        if (errno != ENOENT)
            return file_os_err(e, "cannot open a folder of the key");
        /* A deletion beside us may take the folder away again: the caller tries anew. */
        if (!make || turn > 0)
            return ERR(e, ERR_NOT_FOUND, "object does not exist");
        if (mkdirat(from, name, 0700) != 0 && errno != EEXIST)
            return file_os_err(e, "cannot make a folder of the key");
        if (sync && fsync(from) != 0)
            return file_os_err(e, "cannot sync a folder of the key");
    }
}

err_code dir_parent_open(int bucket_fd, sv key, bool make, bool sync, int *fd, char leaf[256],
                         struct err *e)
{
    TRY(dir_key_check(key, e));
    int at = openat(bucket_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return file_os_err(e, "cannot open the bucket");
    sv rest = key, seg;
    while (sv_cut(&rest, '/', &seg)) {
        /* at most 255: checked */
        memcpy(leaf, seg.ptr, seg.len);
        leaf[seg.len] = 0;
        if (rest.ptr == NULL)
            break;
        int next = -1;
        err_code rc = dir_step(at, leaf, make, sync, &next, e);
        close(at);
        if (rc != ERR_OK)
            return rc;
        at = next;
    }
    *fd = at;
    return ERR_OK;
}

static err_code find(const struct sink *sink, sv bucket, sv key, int *parent, char leaf[256],
                     struct err *e)
{
    int fd;
    TRY(dir_key_check(key, e));
    TRY(dir_bucket_open(sink->world, bucket, false, &fd, e));
    err_code rc = dir_parent_open(fd, key, false, false, parent, leaf, e);
    close(fd);
    return rc;
}

err_code dir_stat_at(int parent, const char *leaf, uint64_t *bytes, struct err *e)
{
    struct stat st;
    if (fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? ERR(e, ERR_NOT_FOUND, "object does not exist")
                               : file_os_err(e, "cannot look at an object");
    if (S_ISLNK(st.st_mode))
        return ERR(e, ERR_DENIED, "the directory store follows no links");
    if (!S_ISREG(st.st_mode))
        return ERR(e, ERR_NOT_FOUND, "object does not exist");
    *bytes = (uint64_t)st.st_size;
    return ERR_OK;
}

err_code dir_stat(const struct sink *sink, sv key, uint64_t *bytes, struct err *e)
{
    int parent;
    char leaf[256];
    TRY(find(sink, sink->bucket, key, &parent, leaf, e));
    uint64_t all;
    err_code rc = dir_stat_at(parent, leaf, &all, e);
    close(parent);
    if (rc == ERR_OK)
        *bytes = sink->ring == NULL ? all : all > CIPHER_PREFIX ? all - CIPHER_PREFIX : 0;
    return rc;
}

/* D3, from the innermost folder out; the first that is not empty ends it. */
static void prune(int bucket, sv key)
{
    for (;;) {
        while (key.len && key.ptr[key.len - 1] != '/')
            key.len--;
        if (key.len == 0)
            return;
        /* the folder, without its slash */
        key.len--;
        int parent;
        char leaf[256];
        struct err e = { 0 };
        if (dir_parent_open(bucket, key, false, false, &parent, leaf, &e) != ERR_OK)
            return;
        int gone = unlinkat(parent, leaf, AT_REMOVEDIR);
        close(parent);
        if (gone != 0)
            return;
    }
}

err_code dir_delete(const struct sink *sink, sv key, struct err *e)
{
    int bucket, parent;
    char leaf[256];
    struct err why = { 0 };
    TRY(dir_bucket_open(sink->world, sink->bucket, false, &bucket, e));
    err_code rc = dir_parent_open(bucket, key, false, false, &parent, leaf, &why);
    if (rc == ERR_OK) {
        if (unlinkat(parent, leaf, 0) == 0)
            prune(bucket, key);
        else if (errno == EISDIR || errno == EPERM)
            rc = ERR(&why, ERR_NOT_FOUND, "object does not exist");
        else
            rc = file_os_err(&why, "cannot remove an object");
        close(parent);
    }
    close(bucket);
    /* S3 deletes what is not there */
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

/* ---- reading ---- */
struct dir_reader {
    int fd;
};

static err_code reader_read(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    struct dir_reader *r = ctx;
    for (;;) {
        ssize_t got = read(r->fd, dst, cap);
        if (got > 0) {
            *n = (size_t)got;
            return ERR_OK;
        }
        if (got == 0)
            return ERR(e, ERR_EOF, "end of object");
        if (errno != EINTR)
            return file_os_err(e, "cannot read an object");
    }
}

static void reader_close(void *ctx)
{
    struct dir_reader *r = ctx;
    close(r->fd);
    free(r);
}

err_code dir_open(const struct sink *sink, sv bucket, sv key, int *parent, char leaf[256], int *out,
                  struct err *e)
{
    uint64_t bytes;
    TRY(find(sink, bucket, key, parent, leaf, e));
    /* links, and what is no object */
    err_code rc = dir_stat_at(*parent, leaf, &bytes, e);
    /* O_NONBLOCK: something else may stand there by now, and a pipe would hold us. */
    int fd =
        rc == ERR_OK ? openat(*parent, leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    if (rc == ERR_OK && fd < 0)
        rc = errno == ELOOP ? ERR(e, ERR_DENIED, "the directory store follows no links")
                            : file_os_err(e, "cannot open an object");
    struct stat st;
    if (rc == ERR_OK && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
        rc = ERR(e, ERR_NOT_FOUND, "object does not exist");
    if (rc == ERR_OK) {
        *out = fd;
        return rc;
    }
    close(*parent);
    if (fd >= 0)
        close(fd);
    return rc;
}

err_code dir_read(const struct sink *sink, sv key, uint64_t offset, struct byte_reader *out,
                  struct err *e)
{
    int parent, fd;
    char leaf[256];
    TRY(dir_open(sink, sink->bucket, key, &parent, leaf, &fd, e));
    close(parent);
    if (offset > INT64_MAX || lseek(fd, (off_t)offset, SEEK_SET) < 0) {
        close(fd);
        return ERR(e, ERR_INVALID, "the offset is out of range");
    }
    /* a hint */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    struct dir_reader *r = malloc(sizeof *r);
    if (r == NULL)
        abort();
    r->fd = fd;
    *out = (struct byte_reader){ reader_read, reader_close, r };
    return ERR_OK;
}

/* ---- what dead writers left ---- */
static void sweep_bucket(int fd)
{
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        close(fd);
        return;
    }
    struct dirent *de;
    while ((de = readdir(d)) != NULL) {
        if (strncmp(de->d_name, SINK_TEMP_PREFIX, sizeof SINK_TEMP_PREFIX - 1) != 0)
            continue;
        int f = openat(dirfd(d), de->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (f < 0)
            continue;
        /* D2 */
        /* it is not listed anyway */
        if (flock(f, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(dirfd(d), de->d_name, 0);
        close(f);
    }
    closedir(d);
}

void dir_sweep(const struct sink_world *world)
{
    int root = openat(world->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = root >= 0 ? fdopendir(root) : NULL;
    if (d == NULL) {
        if (root >= 0)
            close(root);
        return;
    }
    struct dirent *de;
    while ((de = readdir(d)) != NULL) {
        if (de->d_name[0] == '.')
            continue;
        int fd = openat(root, de->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            sweep_bucket(fd);
    }
    closedir(d);
}
