/* put.c - a snapshot becomes a backup: its files become objects, its data stores are summed up, and
 * the manifest is written last.
 *
 * Whatever ends it before, there is no new backup: objects that no manifest names are no use to
 * anybody, and the next put takes up those that it needs and removes the rest. */
#include "backup/backup_private.h"

#include "base/clock.h"
#include "base/file.h"
#include "codec/instant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_BYTES ((size_t)256 << 20)
#define SHAS_BYTES  ((size_t)2 << 30)

struct putting {
    struct store_env *env;
    const char *snapshot, *target;
    struct arena *a;
    struct json_writer w;
    struct store_sums *sums;
    struct backup_done done;
};

/* Files that a database makes for itself whenever it is opened. */
static bool is_data(sv name)
{
    return !sv_starts(name, SV_LIT("LOG")) && !sv_eq(name, SV_LIT("LOCK"));
}

static err_code put_file(struct putting *p, sv folder, sv name, struct err *e)
{
    char path[PATH_MAX];
    struct backup_file file;
    struct stat st;
    bool is_new;
    TRY(backup_path(path, e, "%s/%.*s/%.*s", p->snapshot, SV_FMT(folder), SV_FMT(name)));
    if (lstat(path, &st) != 0)
        return file_os_err(e, "cannot look at a file");
    if (!S_ISREG(st.st_mode) || !is_data(name))
        return ERR_OK;
    TRY(backup_object_put(p->target, path, &file, &is_new, e));
    json_obj(&p->w);
    json_kv_str(&p->w, "name", name);
    json_kv_u64(&p->w, "bytes", file.bytes);
    json_kv_str(&p->w, "sha256", sv_make(file.sha, sizeof file.sha));
    json_obj_end(&p->w);
    p->done.n_files++;
    p->done.bytes += file.bytes;
    p->done.n_new += is_new;
    p->done.new_bytes += is_new ? file.bytes : 0;
    return ERR_OK;
}

static err_code put_files(struct putting *p, sv folder, struct err *e)
{
    char path[PATH_MAX];
    sv *names;
    size_t n;
    TRY(backup_path(path, e, "%s/%.*s", p->snapshot, SV_FMT(folder)));
    TRY(backup_names(path, p->a, &names, &n, e));
    json_kv_str(&p->w, "folder", folder);
    json_key(&p->w, "files");
    json_arr(&p->w);
    for (size_t i = 0; i < n; i++)
        TRY(put_file(p, folder, names[i], e));
    json_arr_end(&p->w);
    return ERR_OK;
}

/* The sums are made of the snapshot, so what is compared after a restore is what was there before
 * anything was copied. */
static err_code put_store(struct putting *p, sv id, struct err *e)
{
    char uri[PATH_MAX];
    sv folder = ARENA_JOIN(p->a, SV_LIT("stores/"), id);
    if (folder.ptr == NULL)
        return arena_oom(p->a, e);
    json_obj(&p->w);
    TRY(put_files(p, folder, e));
    TRY(backup_path(uri, e, "rocksdb:%s/%.*s", p->snapshot, SV_FMT(folder)));
    TRY(store_sums_of(p->env, uri, p->sums, e));
    json_kv_u64(&p->w, "commit", p->sums->at.t);
    json_kv_i64(&p->w, "instant", p->sums->at.instant_ms);
    backup_content_write(&p->w, p->sums);
    json_obj_end(&p->w);
    p->done.n_stores++;
    for (size_t i = 0; i < STORE_TYPES; i++) {
        p->done.n_resources += p->sums->of[i].n_resources;
        p->done.n_versions += p->sums->of[i].n_versions;
    }
    return ERR_OK;
}

static err_code put_parts(struct putting *p, struct err *e)
{
    char path[PATH_MAX];
    sv *ids;
    size_t n;
    json_key(&p->w, "parts");
    json_arr(&p->w);
    json_obj(&p->w);
    TRY(put_files(p, SV_LIT("system"), e));
    json_obj_end(&p->w);
    TRY(backup_path(path, e, "%s/stores", p->snapshot));
    TRY(backup_names(path, p->a, &ids, &n, e));
    for (size_t i = 0; i < n; i++)
        TRY(put_store(p, ids[i], e));
    json_arr_end(&p->w);
    return ERR_OK;
}

static err_code write_backup(struct putting *p, const char *version, struct buf *json,
                             struct err *e)
{
    char now[INSTANT_LEN], path[PATH_MAX];
    instant_format(clock_wall_ms(), now);
    json_writer_init(&p->w, json);
    json_obj(&p->w);
    json_kv_str(&p->w, "format", SV_LIT("fhirlake-backup-1"));
    json_kv_str(&p->w, "fhirlake", sv_from(version));
    json_kv_str(&p->w, "takenAt", sv_make(now, sizeof now));
    TRY(put_parts(p, e));
    json_obj_end(&p->w);
    TRY(json_writer_end(&p->w, e));
    TRY(backup_path(path, e, "%s/objects", p->target));
    TRY(file_sync_dir(path, e));
    return backup_manifest_write(p->target, buf_sv(json), p->done.name, e);
}

/* Objects that no backup names any more, and what an earlier put left. */
static err_code prune(const char *target, struct err *e)
{
    CLEANUP_BUF struct buf shas = BUF_INIT(SHAS_BYTES);
    uint64_t n_backups;
    TRY(backup_shas(target, &shas, &n_backups, e));
    return backup_objects_prune(target, shas.ptr, shas.len / SHA256_HEX_LEN, e);
}

static err_code open_target(const char *target, int *lock, struct err *e)
{
    char path[PATH_MAX];
    TRY(backup_path(path, e, "%s/objects", target));
    TRY(file_mkdirs(path, e));
    TRY(backup_path(path, e, "%s/backups", target));
    TRY(file_mkdirs(path, e));
    TRY(backup_path(path, e, "%s/lock", target));
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*lock < 0)
        return file_os_err(e, "cannot open file");
    if (flock(*lock, LOCK_EX | LOCK_NB) == 0)
        return ERR_OK;
    err_code rc = errno == EWOULDBLOCK ? ERR(e, ERR_EXISTS, "another backup into it is under way")
                                       : file_os_err(e, "cannot lock file");
    (void)close(*lock);
    return rc;
}

err_code backup_put(struct store_env *env, const char *snapshot, const char *target,
                    const char *version, struct backup_done *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(NAMES_BYTES);
    CLEANUP_BUF struct buf json = BUF_INIT(BACKUP_MANIFEST_MAX);
    struct putting p = { .env = env,
                         .snapshot = snapshot,
                         .target = target,
                         .a = a,
                         .sums = calloc(1, sizeof(struct store_sums)) };
    int lock;
    if (p.sums == NULL)
        abort();
    err_code rc = open_target(target, &lock, e);
    if (rc == ERR_OK) {
        rc = write_backup(&p, version, &json, e);
        if (rc == ERR_OK)
            rc = prune(target, e);
        (void)close(lock);
    }
    free(p.sums);
    if (rc == ERR_OK)
        *out = p.done;
    return rc;
}
