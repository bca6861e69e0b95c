/* verify.c - are the files of all backups what their manifests say? Each is read once, however many
 * backups have it. */
#include "backup/backup_private.h"

#include <stdio.h>
#include <sys/stat.h>

#define SHAS_BYTES ((size_t)2 << 30)

static void look_at(const char *target, const char *sha, struct backup_done *out)
{
    struct backup_file file;
    char path[PATH_MAX];
    struct stat st;
    struct err why;
    memcpy(file.sha, sha, sizeof file.sha);
    out->n_files++;
    if (backup_object_check(target, &file, &why) == ERR_OK) {
        if (backup_path(path, &why, "%s/objects/%.*s", target, (int)sizeof file.sha, file.sha) ==
                ERR_OK &&
            stat(path, &st) == 0)
            out->bytes += (uint64_t)st.st_size;
        return;
    }
    out->n_wrong++;
    if (out->wrong)
        out->wrong(out->wrong_ctx, sv_make(file.sha, sizeof file.sha));
}

err_code backup_verify(const char *target, struct backup_done *out, struct err *e)
{
    CLEANUP_BUF struct buf shas = BUF_INIT(SHAS_BYTES);
    TRY(backup_shas(target, &shas, &out->n_backups, e));
    if (out->n_backups == 0)
        return ERR(e, ERR_NOT_FOUND, "there is no backup");
    out->n_files = out->bytes = out->n_wrong = 0;
    for (size_t i = 0; i < shas.len; i += SHA256_HEX_LEN)
        look_at(target, shas.ptr + i, out);
    return ERR_OK;
}
