/* restore.c - a backup becomes a new data folder.
 *
 *   NEW.restoring.mark  says that the folder beside it is ours: before it is made, till it is gone.
 *                       Locked while a restore runs, so that there is one at a time
 *   NEW.restoring       the folder while it is written and compared
 *   NEW                 the same, once it is whole
 *
 * Every file is hashed as it is copied. Each data store is opened, as a server opens it, and summed
 * up, and this is compared with what the manifest says of it. Whatever ends the program, there is
 * nothing at NEW, and the next try removes what is beside it, if it is marked as ours. */
#include "backup/backup_private.h"

#include "base/file.h"
#include "job/job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

struct restoring {
    struct store_env *env;
    struct backup_place *place;
    char data[PATH_MAX]; /* without slashes at its end */
    char side[PATH_MAX], mark[PATH_MAX], above[PATH_MAX];
    int lock; /* of the mark; -1: none */
    struct store_sums *sums;
    struct backup_done done;
};

/* ---- the folder ---- */

static err_code split(struct restoring *x, const char *data, struct err *e)
{
    size_t n = strlen(data);
    while (n > 1 && data[n - 1] == '/')
        n--;
    TRY(backup_path(x->data, e, "%.*s", (int)n, data));
    TRY(backup_path(x->side, e, "%s.restoring", x->data));
    TRY(backup_path(x->mark, e, "%s.restoring.mark", x->data));
    TRY(backup_path(x->above, e, "%s", x->data));
    char *slash = strrchr(x->above, '/');
    const sv last = sv_from(slash ? slash + 1 : x->above);
    if (last.len == 0 || sv_eq(last, SV_LIT(".")) || sv_eq(last, SV_LIT("..")))
        return ERR(e, ERR_INVALID, "the data folder needs a name of its own: %.200s has none",
                   x->data);
    if (slash == NULL)
        return backup_path(x->above, e, ".");
    slash[slash == x->above ? 1 : 0] = 0;
    return ERR_OK;
}

/* Has it anything, whatever its name? */
static err_code is_empty(const char *path, bool *out, struct err *e)
{
    DIR *d = opendir(path);
    const struct dirent *entry;
    if (d == NULL)
        return file_os_err(e, "the folder that is to be the data folder cannot be read");
    *out = true;
    while (*out && (entry = readdir(d)) != NULL)
        *out = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    (void)closedir(d);
    return ERR_OK;
}

/* May the new folder take its place there? What could not be told before all the work is what
 * somebody changes meanwhile. */
static err_code check_place(const struct restoring *x, struct err *e)
{
    struct statx st, above;
    bool empty = true;
    if (statx(AT_FDCWD, x->data, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) != 0)
        return errno == ENOENT ? ERR_OK : file_os_err(e, "the data folder cannot be looked at");
    if (!S_ISDIR(st.stx_mode))
        return ERR(e, ERR_EXISTS, "there is something already where the data folder is to be");
    if (statx(AT_FDCWD, x->above, 0, STATX_TYPE, &above) != 0)
        return file_os_err(e, "the data folder cannot be looked at");
    if ((st.stx_attributes & st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) ||
        st.stx_dev_major != above.stx_dev_major || st.stx_dev_minor != above.stx_dev_minor)
        return ERR(e, ERR_EXISTS,
                   "%.200s is where a file system is mounted, and cannot be replaced: name a "
                   "folder below it",
                   x->data);
    TRY(is_empty(x->data, &empty, e));
    return empty ? ERR_OK
                 : ERR(e, ERR_EXISTS, "there is something already where the data folder is to be");
}

static void unlock(struct restoring *x)
{
    if (x->lock >= 0)
        (void)close(x->lock);
    x->lock = -1;
}

/* The mark, made or found, is this restore's alone. It goes with the name of a restore that has
 * ended, so a lock counts when it is of the file that stands there. */
static err_code lock_mark(struct restoring *x, struct err *e)
{
    struct stat held, there;
    x->lock = open(x->mark, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (x->lock < 0)
        return file_os_err(e, "cannot create file");
    const bool locked = flock(x->lock, LOCK_EX | LOCK_NB) == 0;
    if (!locked && errno != EWOULDBLOCK)
        return file_os_err(e, "cannot lock file");
    if (!locked || fstat(x->lock, &held) != 0 || lstat(x->mark, &there) != 0 ||
        held.st_ino != there.st_ino || held.st_dev != there.st_dev)
        return ERR(e, ERR_EXISTS, "another restore to that place is under way");
    return file_sync_dir(x->above, e);
}

static err_code begin(struct restoring *x, struct err *e)
{
    TRY(check_place(x, e));
    if (access(x->side, F_OK) == 0 && access(x->mark, F_OK) != 0)
        return ERR(e, ERR_EXISTS, "the folder %.200s is in the way, and is none of a restore",
                   x->side);
    TRY(file_mkdirs(x->above, e));
    err_code rc = lock_mark(x, e);
    if (rc != ERR_OK)
        unlock(x);
    return rc;
}

static err_code finish(const struct restoring *x, struct err *e)
{
    int fd = open(x->side, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd) != 0) {
        if (fd >= 0)
            (void)close(fd);
        return file_os_err(e, "cannot sync folder");
    }
    (void)close(fd);
    /* an empty one may be there */
    if (rmdir(x->data) != 0 && errno != ENOENT)
        return file_os_err(e, "the data folder cannot get its place");
    if (rename(x->side, x->data) != 0)
        return file_os_err(e, "the data folder cannot get its place");
    (void)unlink(x->mark);
    return file_sync_dir(x->above, e);
}

/* ---- parts ---- */

static err_code get_files(struct restoring *x, const struct backup_part *part, struct err *e)
{
    char path[PATH_MAX];
    TRY(backup_path(path, e, "%s/%.*s", x->side, SV_FMT(part->folder)));
    TRY(file_mkdirs(path, e));
    yyjson_arr_iter it = yyjson_arr_iter_with(part->files);
    yyjson_val *row;
    while ((row = yyjson_arr_iter_next(&it)) != NULL) {
        struct backup_file file;
        sv name;
        TRY(backup_file_read(row, &name, &file, e));
        TRY(backup_path(path, e, "%s/%.*s/%.*s", x->side, SV_FMT(part->folder), SV_FMT(name)));
        TRY(backup_object_get(x->place, &file, path, e));
        x->done.n_files++;
        x->done.bytes += file.bytes;
    }
    return ERR_OK;
}

static err_code compare(struct restoring *x, const struct backup_part *part, struct err *e)
{
    char uri[PATH_MAX];
    struct store *st;
    TRY(backup_path(uri, e, "rocksdb:%s/%.*s", x->side, SV_FMT(part->folder)));
    TRY(store_open(x->env, uri, false, &st, e));
    err_code rc = store_sums(st, STORE_NOW, NULL, x->sums, e);
    store_close(st);
    TRY(rc);
    TRY(backup_content_check(part, x->sums, e));
    x->done.n_stores++;
    for (size_t i = 0; i < STORE_TYPES; i++) {
        x->done.n_resources += x->sums->of[i].n_resources;
        x->done.n_versions += x->sums->of[i].n_versions;
    }
    return ERR_OK;
}

/* The places that running jobs write to are not this folder's any more. */
static err_code end_jobs(const struct restoring *x, struct err *e)
{
    CLEANUP(records_close) struct records *r = NULL;
    char uri[PATH_MAX];
    TRY(backup_path(uri, e, "rocksdb:%s/system", x->side));
    TRY(records_open(uri, &r, e));
    return job_end_all(r, "The data folder was restored from a backup while the job ran", e);
}

static err_code get_parts(struct restoring *x, const struct backup_part *parts, size_t n,
                          struct err *e)
{
    char path[PATH_MAX];
    TRY(file_remove_tree(x->side, e));
    TRY(file_mkdirs(x->side, e));
    /* without its records a server would begin anew, and know of no data store */
    if (n == 0 || !sv_eq(parts[0].folder, SV_LIT("system")))
        return ERR(e, ERR_CORRUPT, "the manifest names no records of the system");
    TRY(backup_path(path, e, "%s/stores", x->side));
    TRY(file_mkdirs(path, e));
    for (size_t i = 0; i < n; i++) {
        TRY(get_files(x, &parts[i], e));
        if (parts[i].content)
            TRY(compare(x, &parts[i], e));
    }
    return end_jobs(x, e);
}

static err_code choose(struct backup_place *place, const char *name, struct arena *a, sv *out,
                       struct err *e)
{
    sv *names;
    size_t n;
    TRY(backup_manifests(place, a, &names, &n, e));
    if (n == 0)
        return ERR(e, ERR_NOT_FOUND, "there is no backup");
    *out = name ? sv_from(name) : names[n - 1];
    return ERR_OK;
}

static err_code restore(struct restoring *x, const char *name, const char *data, struct err *e)
{
    CLEANUP(arena_free)
    struct arena *a = arena_new(json_tree_max(BACKUP_MANIFEST_MAX) + BACKUP_MANIFEST_MAX);
    struct backup_part *parts;
    size_t n;
    sv chosen;
    TRY(choose(x->place, name, a, &chosen, e));
    TRY(backup_manifest_read(x->place, chosen, a, &parts, &n, e));
    TRY(split(x, data, e));
    TRY(begin(x, e));
    err_code rc = get_parts(x, parts, n, e);
    if (rc == ERR_OK)
        rc = finish(x, e);
    /* the error is known; the next try removes what this cannot */
    if (rc != ERR_OK && file_remove_tree(x->side, NULL) == ERR_OK)
        (void)unlink(x->mark);
    unlock(x);
    (void)snprintf(x->done.name, sizeof x->done.name, "%.*s", SV_FMT(chosen));
    return rc;
}

err_code backup_restore(struct store_env *env, struct backup_place *place, const char *name,
                        const char *data, struct backup_done *out, struct err *e)
{
    struct restoring *x = calloc(1, sizeof *x);
    struct store_sums *sums = calloc(1, sizeof *sums);
    if (x == NULL || sums == NULL)
        abort();
    *x = (struct restoring){ .env = env, .place = place, .sums = sums, .lock = -1 };
    err_code rc = restore(x, name, data, e);
    if (rc == ERR_OK)
        *out = x->done;
    free(sums);
    free(x);
    return rc;
}
