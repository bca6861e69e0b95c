/* objects.c - files by their content: DIR/objects/<SHA-256>.
 *
 * A file of RocksDB never changes once it is written, but for its log and its list of files, so
 * most files of a backup are there from the one before. Which, is told by their content alone:
 * names and times of files can come again after a restore. An object is written beside its place,
 * synced, compared with what was read first, and renamed. */
#include "backup/backup_private.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (1u << 20)

/* All of fd, hashed, and written to `to` unless that is -1. */
static err_code pass(int fd, int to, struct backup_file *out, struct err *e)
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    unsigned char sha[SHA256_LEN];
    char *piece = malloc(PIECE);
    err_code rc = ERR_OK;
    out->bytes = 0;
    if (piece == NULL)
        abort();
    for (;;) {
        ssize_t n = read(fd, piece, PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = file_os_err(e, "cannot read file");
        if (n <= 0)
            break;
        hash_sha256_add(h, sv_make(piece, (size_t)n));
        out->bytes += (uint64_t)n;
        if (to >= 0)
            rc = file_write_all(to, sv_make(piece, (size_t)n), e);
        if (rc != ERR_OK)
            break;
    }
    free(piece);
    hash_sha256_take(h, sha);
    hash_hex(sha, sizeof sha, out->sha);
    return rc;
}

/* All that fd has, from its begin, into a new file, which is synced. */
static err_code write_copy(int fd, const char *path, struct backup_file *out, struct err *e)
{
    int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0)
        return file_os_err(e, "cannot create file");
    err_code rc =
        lseek(fd, 0, SEEK_SET) == 0 ? pass(fd, to, out, e) : file_os_err(e, "cannot read file");
    if (rc == ERR_OK && fsync(to) != 0)
        rc = file_os_err(e, "cannot sync file");
    if (close(to) != 0 && rc == ERR_OK)
        rc = file_os_err(e, "cannot close file");
    return rc;
}

static bool is_same(const struct backup_file *a, const struct backup_file *b)
{
    return a->bytes == b->bytes && memcmp(a->sha, b->sha, sizeof a->sha) == 0;
}

static err_code put_new(int fd, const char *path, const struct backup_file *want, struct err *e)
{
    char side[PATH_MAX];
    struct backup_file got;
    TRY(backup_path(side, e, "%s.tmp", path));
    (void)unlink(side);
    err_code rc = write_copy(fd, side, &got, e);
    if (rc == ERR_OK && !is_same(&got, want))
        rc = ERR(e, ERR_IO, "a file changed while it was copied");
    if (rc == ERR_OK && rename(side, path) != 0)
        rc = file_os_err(e, "cannot rename file");
    if (rc != ERR_OK)
        (void)unlink(side);
    return rc;
}

err_code backup_object_put(const char *target, const char *from, struct backup_file *out,
                           bool *is_new, struct err *e)
{
    char path[PATH_MAX];
    struct stat st;
    int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return file_os_err(e, "cannot open file");
    err_code rc = pass(fd, -1, out, e);
    if (rc == ERR_OK)
        rc = backup_path(path, e, "%s/objects/%.*s", target, (int)sizeof out->sha, out->sha);
    if (rc == ERR_OK) {
        /* one of another size was changed since, and a link is none: it is written anew */
        *is_new =
            lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != out->bytes;
        rc = *is_new ? put_new(fd, path, out, e) : ERR_OK;
    }
    (void)close(fd);
    return rc;
}

static err_code open_object(const char *target, const struct backup_file *file, int *fd,
                            struct err *e)
{
    char path[PATH_MAX];
    TRY(backup_path(path, e, "%s/objects/%.*s", target, (int)sizeof file->sha, file->sha));
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return *fd >= 0 ? ERR_OK : file_os_err(e, "a file of the backup cannot be opened");
}

static err_code differs(const struct backup_file *file, struct err *e)
{
    return ERR(e, ERR_CORRUPT, "file %.*s of the backup is not what it was", (int)sizeof file->sha,
               file->sha);
}

err_code backup_object_get(const char *target, const struct backup_file *file, const char *to,
                           struct err *e)
{
    struct backup_file got;
    int fd;
    TRY(open_object(target, file, &fd, e));
    err_code rc = write_copy(fd, to, &got, e);
    (void)close(fd);
    TRY(rc);
    return is_same(&got, file) ? ERR_OK : differs(file, e);
}

err_code backup_object_check(const char *target, const struct backup_file *file, struct err *e)
{
    struct backup_file got;
    int fd;
    TRY(open_object(target, file, &fd, e));
    err_code rc = pass(fd, -1, &got, e);
    (void)close(fd);
    TRY(rc);
    /* the hash stands for the size, where that is not known */
    return memcmp(got.sha, file->sha, sizeof got.sha) == 0 ? ERR_OK : differs(file, e);
}

static int by_sha(const void *a, const void *b)
{
    return memcmp(a, b, SHA256_HEX_LEN);
}

/* An object, or what a put that was cut off has left of one. The folder may have been somebody's
 * before: what else is there stays. */
static bool is_ours(sv name)
{
    const sv rest = sv_tail(name, SHA256_HEX_LEN);
    return sv_is_hex(sv_head(name, SHA256_HEX_LEN), SHA256_HEX_LEN) &&
           (rest.len == 0 || sv_eq(rest, SV_LIT(".tmp")));
}

err_code backup_objects_prune(const char *target, const char *shas, size_t n, struct err *e)
{
    char path[PATH_MAX];
    struct dirent *x;
    TRY(backup_path(path, e, "%s/objects", target));
    DIR *d = opendir(path);
    if (d == NULL)
        return file_os_err(e, "cannot read folder");
    while ((x = readdir(d)) != NULL) {
        const bool wanted = strlen(x->d_name) == SHA256_HEX_LEN && n &&
                            bsearch(x->d_name, shas, n, SHA256_HEX_LEN, by_sha);
        if (wanted || !is_ours(sv_from(x->d_name)))
            continue;
        /* what stays is removed by the next */
        (void)unlinkat(dirfd(d), x->d_name, 0);
    }
    (void)closedir(d);
    return ERR_OK;
}
