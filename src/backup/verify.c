/* verify.c - are the files of all backups what their manifests say? Each is read once, however many
 * backups have it, also from a bucket: a checksum that a store keeps tells what it was given, and
 * not what it has. And: what no manifest names goes. */
#include "backup/backup_private.h"

#define SHAS_BYTES ((size_t)2 << 30)

static err_code look_at(struct backup_place *place, const char *sha, struct backup_done *out,
                        struct err *e)
{
    struct err why = { 0 };
    uint64_t bytes;
    out->n_files++;
    err_code rc = backup_object_check(place, sha, &bytes, &why);
    if (rc == ERR_OK) {
        out->bytes += bytes;
        return ERR_OK;
    }
    /* the place cannot be asked: that says nothing of the file */
    if (rc == ERR_PEER || rc == ERR_TIMEOUT || rc == ERR_AUTH_EXPIRED)
        return err_pass(e, &why);
    out->n_wrong++;
    if (out->wrong)
        out->wrong(out->wrong_ctx, sv_make(sha, SHA256_HEX_LEN), &why);
    return ERR_OK;
}

err_code backup_verify(struct backup_place *place, struct backup_done *out, struct err *e)
{
    CLEANUP_BUF struct buf shas = BUF_INIT(SHAS_BYTES);
    TRY(backup_shas(place, &shas, &out->n_backups, e));
    if (out->n_backups == 0)
        return ERR(e, ERR_NOT_FOUND, "there is no backup");
    out->n_files = out->bytes = out->n_wrong = 0;
    for (size_t i = 0; i < shas.len; i += SHA256_HEX_LEN)
        TRY(look_at(place, shas.ptr + i, out, e));
    return ERR_OK;
}

err_code backup_prune_rest(struct backup_place *place, uint64_t *n_gone, struct err *e)
{
    CLEANUP_BUF struct buf shas = BUF_INIT(SHAS_BYTES);
    uint64_t n_backups;
    TRY(backup_shas(place, &shas, &n_backups, e));
    return place->ops->prune(place, shas.ptr, shas.len / SHA256_HEX_LEN, n_gone, e);
}

err_code backup_prune(struct backup_place *place, uint64_t *n_gone, struct err *e)
{
    CLEANUP_BUF struct buf shas = BUF_INIT(SHAS_BYTES);
    uint64_t n_backups;
    *n_gone = 0;
    /* another place, by a mistake: what stands there is somebody's */
    TRY(backup_shas(place, &shas, &n_backups, e));
    if (n_backups == 0)
        return ERR(e, ERR_NOT_FOUND,
                   "there is no backup, so nothing is removed: make a new one first");
    TRY(place->ops->begin(place, e));
    err_code rc = backup_prune_rest(place, n_gone, e);
    place->ops->end(place);
    return rc;
}

void backup_place_free(struct backup_place *place)
{
    if (place)
        place->ops->free(place);
}
