/* again.c - all commits of a data store, and loads of another one made once more (again.h). */
#include "store/rocks/rocks_private.h"

err_code rocks_commits(struct store *st, uint64_t after_t, struct store_commit_row *out, size_t max,
                       size_t *n, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct key_bytes from = key_commit('c', after_t + 1);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_COMMITS]);
    err_code rc = ERR_OK;
    *n = 0;
    for (rocksdb_iter_seek(it, from.ptr, from.len); *n < max && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        struct commit_value c;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        if (key_len == 0 || k[0] != 'c')
            break;
        /* every t has a record */
        if (key_len != from.len || key_get_u64(k + 1) != after_t + 1 + *n ||
            !commit_value_split(sv_make(v, len), &c)) {
            rc = rocks_damaged(e);
            break;
        }
        out[(*n)++] = (struct store_commit_row){ key_get_u64(k + 1), c.instant_ms,
                                                 c.kind == KEY_BULK, c.bulk, c.n_resources };
    }
    return rocks_iterator_end(it, ro, rc, e);
}

err_code rocks_again_load(struct store *st, struct store_bulk **b, int64_t instant_ms,
                          struct store_commit *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    r->order.replayed_ms = &instant_ms;
    err_code rc = rocks_bulk_publish(b, 1, SV_NONE, SV_NONE, out, e);
    r->order.replayed_ms = NULL;
    return rc;
}
