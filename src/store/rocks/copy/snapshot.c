/* snapshot.c - the files of an open data store, linked into another folder.
 *
 * What stands in memory is written out first, while writers go on. Then order.lock is held, so that
 * no commit falls between what is linked of the one family and what of the other: a load's files
 * come in without that lock, but nothing shows them before its record is written under it. */
#include "store/rocks/copy/copy_private.h"

#include "base/file.h"
#include "store/data_keys.h"

err_code rocks_snapshot(struct store *st, const char *folder, struct store_commit *at,
                        struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    char *bad = NULL;
    TRY(rocks_flush(st, e));
    rocksdb_checkpoint_t *c = rocksdb_checkpoint_object_create(r->db, &bad);
    TRY(rocks_error(bad, "making a snapshot", e));
    pthread_mutex_lock(&r->order.lock);
    const struct store_commit last = rocks_seen_last(r);
    /* 0: what stands in memory by now is written out, too */
    rocksdb_checkpoint_create(c, folder, 0, &bad);
    pthread_mutex_unlock(&r->order.lock);
    rocksdb_checkpoint_object_destroy(c);
    TRY(rocks_error(bad, "making a snapshot", e));
    if (r->ring)
        TRY(data_keys_copy(r->path, folder, e));
    *at = last;
    return file_sync_dir(folder, e);
}
