/* folder.c - a place that is a folder: DIR/objects/<SHA-256>, DIR/backups/<name>, DIR/lock.
 *
 * An object is written beside its place, synced, compared with what was read first, and renamed.
 * One put or prune at a time holds the lock, which goes with its process.
 *
 * Objects have one time of change, which is nobody's. So one with another was written to since: it
 * is hashed before a backup relies on it, and written anew when it is not what it was. */
#include "backup/backup_private.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define TMP_TAIL (sizeof ".0123456789abcdef.tmp" - 1) /* as file_write_atomic() makes them */

/* 2001-01-01T00:00:00Z: FAT, too, can tell it */
static const struct timespec untouched[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 978307200 } };

struct folder {
    struct backup_place place; /* the first */
    char path[PATH_MAX];
    int lock;
};

static struct folder *of(struct backup_place *place)
{
    return (struct folder *)place;
}

/* ---- manifests ---- */

static err_code names(struct backup_place *place, struct arena *a, sv **out, size_t *n,
                      struct err *e)
{
    char path[PATH_MAX];
    TRY(backup_path(path, e, "%s/backups", of(place)->path));
    return backup_names(path, a, out, n, e);
}

static err_code read_manifest(struct backup_place *place, sv name, struct buf *out, struct err *e)
{
    char path[PATH_MAX];
    struct stat st;
    TRY(backup_path(path, e, "%s/backups/%.*s", of(place)->path, SV_FMT(name)));
    /* a pipe would be waited for */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return ERR(e, ERR_CORRUPT, "manifest %.*s is no file", SV_FMT(name));
    return file_read(path, out, e);
}

static err_code write_manifest(struct backup_place *place, sv name, sv json, struct err *e)
{
    char path[PATH_MAX];
    TRY(backup_path(path, e, "%s/backups/%.*s", of(place)->path, SV_FMT(name)));
    return file_write_atomic(path, json, e);
}

/* ---- alone ---- */

static void end(struct backup_place *place)
{
    struct folder *f = of(place);
    if (f->lock >= 0)
        (void)close(f->lock);
    f->lock = -1;
}

/* Manifests that a killed put has not given their names: NAME.<16 digits>.tmp */
static err_code remove_cut_off(const struct folder *f, struct err *e)
{
    char path[PATH_MAX];
    const struct dirent *x;
    TRY(backup_path(path, e, "%s/backups", f->path));
    DIR *d = opendir(path);
    if (d == NULL)
        return file_os_err(e, "cannot read folder");
    while ((x = readdir(d)) != NULL) {
        const sv name = sv_from(x->d_name);
        if (sv_ends(name, SV_LIT(".tmp")) && name.len > TMP_TAIL &&
            backup_is_manifest(sv_head(name, name.len - TMP_TAIL)))
            /* one that stays does no harm */
            (void)unlinkat(dirfd(d), x->d_name, 0);
    }
    (void)closedir(d);
    return ERR_OK;
}

static err_code begin(struct backup_place *place, struct err *e)
{
    struct folder *f = of(place);
    char path[PATH_MAX];
    TRY(backup_path(path, e, "%s/objects", f->path));
    TRY(file_mkdirs(path, e));
    TRY(backup_path(path, e, "%s/backups", f->path));
    TRY(file_mkdirs(path, e));
    TRY(backup_path(path, e, "%s/lock", f->path));
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f->lock < 0)
        return file_os_err(e, "cannot open file");
    if (flock(f->lock, LOCK_EX | LOCK_NB) == 0)
        return remove_cut_off(f, e);
    err_code rc = errno == EWOULDBLOCK ? ERR(e, ERR_EXISTS, "another backup into it is under way")
                                       : file_os_err(e, "cannot lock file");
    end(place);
    return rc;
}

/* ---- objects ---- */

static err_code object_path(const struct backup_place *place, const char *sha, char *out,
                            struct err *e)
{
    return backup_path(out, e, "%s/objects/%.*s", ((const struct folder *)place)->path,
                       (int)SHA256_HEX_LEN, sha);
}

static err_code open_file(const char *path, int *out, struct stat *st, struct err *e)
{
    /* a pipe is not waited for */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return file_os_err(e, "a file of the backup cannot be opened");
    if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) {
        (void)close(fd);
        return ERR(e, ERR_CORRUPT, "what should be a file of the backup is none");
    }
    *out = fd;
    return ERR_OK;
}

static bool has(struct backup_place *place, const struct backup_file *file)
{
    char path[PATH_MAX];
    struct backup_file got;
    struct stat st;
    struct err why;
    int fd = -1;
    if (object_path(place, file->sha, path, &why) != ERR_OK ||
        open_file(path, &fd, &st, &why) != ERR_OK)
        return false;
    /* one of another size was changed since: it is written anew */
    bool whole = (uint64_t)st.st_size == file->bytes;
    if (whole &&
        (st.st_mtim.tv_sec != untouched[1].tv_sec || st.st_mtim.tv_nsec != untouched[1].tv_nsec)) {
        whole = backup_hash_fd(fd, -1, &got, &why) == ERR_OK && backup_file_same(&got, file);
        if (whole)
            /* where it cannot be set the object is hashed again by the next backup */
            (void)futimens(fd, untouched);
    }
    (void)close(fd);
    return whole;
}

/* All that fd has, into a new file, which is synced. */
static err_code write_copy(int fd, const char *path, struct backup_file *out, struct err *e)
{
    int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0)
        return file_os_err(e, "cannot create file");
    err_code rc = backup_hash_fd(fd, to, out, e);
    /* likewise */
    (void)futimens(to, untouched);
    if (rc == ERR_OK && fsync(to) != 0)
        rc = file_os_err(e, "cannot sync file");
    if (close(to) != 0 && rc == ERR_OK)
        rc = file_os_err(e, "cannot close file");
    return rc;
}

static err_code put(struct backup_place *place, int fd, const struct backup_file *want,
                    struct err *e)
{
    char path[PATH_MAX], side[PATH_MAX];
    struct backup_file got;
    TRY(object_path(place, want->sha, path, e));
    TRY(backup_path(side, e, "%s.tmp", path));
    (void)unlink(side);
    err_code rc = write_copy(fd, side, &got, e);
    if (rc == ERR_OK && !backup_file_same(&got, want))
        rc = ERR(e, ERR_IO, "a file changed while it was copied");
    if (rc == ERR_OK && rename(side, path) != 0)
        rc = file_os_err(e, "cannot rename file");
    if (rc != ERR_OK)
        (void)unlink(side);
    return rc;
}

static err_code settle(struct backup_place *place, struct err *e)
{
    char path[PATH_MAX];
    TRY(backup_path(path, e, "%s/objects", of(place)->path));
    return file_sync_dir(path, e);
}

static err_code open_object(struct backup_place *place, const char *sha, struct byte_reader *out,
                            struct err *e)
{
    char path[PATH_MAX];
    struct stat st;
    int fd = -1;
    TRY(object_path(place, sha, path, e));
    TRY(open_file(path, &fd, &st, e));
    *out = backup_fd_reader(fd);
    return ERR_OK;
}

/* An object, or what a put that was cut off has left of one. The folder may have been somebody's
 * before: what else is there stays. */
static bool is_ours(sv name)
{
    const sv rest = sv_tail(name, SHA256_HEX_LEN);
    return sv_is_hex(sv_head(name, SHA256_HEX_LEN), SHA256_HEX_LEN) &&
           (rest.len == 0 || sv_eq(rest, SV_LIT(".tmp")));
}

static err_code prune(struct backup_place *place, const char *shas, size_t n, uint64_t *n_gone,
                      struct err *e)
{
    char path[PATH_MAX];
    struct dirent *x;
    TRY(backup_path(path, e, "%s/objects", of(place)->path));
    DIR *d = opendir(path);
    if (d == NULL)
        return file_os_err(e, "cannot read folder");
    while ((x = readdir(d)) != NULL) {
        const bool wanted =
            strlen(x->d_name) == SHA256_HEX_LEN && backup_sha_among(shas, n, x->d_name);
        if (wanted || !is_ours(sv_from(x->d_name)))
            continue;
        /* what stays is removed by the next */
        *n_gone += unlinkat(dirfd(d), x->d_name, 0) == 0;
    }
    (void)closedir(d);
    return ERR_OK;
}

/* ---- life ---- */

static void free_folder(struct backup_place *place)
{
    end(place);
    free(place);
}

static const struct backup_place_ops ops = { .names = names,
                                             .read_manifest = read_manifest,
                                             .write_manifest = write_manifest,
                                             .begin = begin,
                                             .end = end,
                                             .has = has,
                                             .put = put,
                                             .settle = settle,
                                             .open = open_object,
                                             .prune = prune,
                                             .free = free_folder,
                                             .is_alone = true };

err_code backup_place_folder(const char *folder, struct backup_place **out, struct err *e)
{
    struct folder *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    *f = (struct folder){ .place = { &ops }, .lock = -1 };
    err_code rc = backup_path(f->path, e, "%s", folder);
    if (rc != ERR_OK) {
        free(f);
        return rc;
    }
    *out = &f->place;
    return ERR_OK;
}
