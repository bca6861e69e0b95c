/* sums.c - sums that have come to nothing go.
 *
 * A sum stands under the digest of a code (tally.c). Where nobody is left who has the code, the key
 * alone would tell that somebody had. A sum of nothing is the same as none, so it may go at any
 * time; but a commit may add to it meanwhile, so it is looked at once more under order.lock. */
#include "store/rocks/erase/erase_private.h"

#define KEYS_AT_ONCE 1024u

struct fading {
    struct rocks *r;
    struct buf keys; /* each behind its length (1) */
    size_t n;
};

static bool is_nothing(const char *value, size_t len)
{
    static const char nothing[8];
    return value && len == sizeof nothing && memcmp(value, nothing, len) == 0;
}

static err_code see_again(struct fading *f, rocksdb_writebatch_t *batch,
                          const rocksdb_readoptions_t *ro, const char *key, size_t key_len,
                          struct err *e)
{
    char *bad = NULL;
    size_t len = 0;
    char *v = rocksdb_get_cf(f->r->db, ro, f->r->cf[CF_COUNTS], key, key_len, &len, &bad);
    err_code rc = rocks_error(bad, "reading a count", e);
    if (rc == ERR_OK && is_nothing(v, len))
        rocksdb_writebatch_delete_cf(batch, f->r->cf[CF_COUNTS], key, key_len);
    rocksdb_free(v);
    return rc;
}

static err_code drop(struct fading *f, struct err *e)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rocksdb_writeoptions_t *wo = rocksdb_writeoptions_create();
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    err_code rc = ERR_OK;
    char *bad = NULL;
    pthread_mutex_lock(&f->r->order.lock);
    for (const char *p = f->keys.ptr, *end = p + f->keys.len; rc == ERR_OK && p < end;
         p += 1 + (unsigned char)*p)
        rc = see_again(f, batch, ro, p + 1, (unsigned char)*p, e);
    if (rc == ERR_OK)
        rocksdb_write(f->r->db, wo, batch, &bad);
    if (rc == ERR_OK)
        rc = rocks_write_error(f->r, bad, "erasing a count", e);
    pthread_mutex_unlock(&f->r->order.lock);
    rocksdb_readoptions_destroy(ro);
    rocksdb_writeoptions_destroy(wo);
    rocksdb_writebatch_destroy(batch);
    buf_clear(&f->keys);
    f->n = 0;
    return rc;
}

err_code erase_sums(struct rocks *r, const atomic_bool *halt, struct err *e)
{
    struct fading f = { .r = r, .keys = BUF_INIT(KEYS_AT_ONCE * 256u) };
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(ro, 0);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_COUNTS]);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek_to_first(it); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        if (key_len == 0 || key_len > COUNT_KEY_MAX || !is_nothing(v, len))
            continue;
        rc = buf_add_char(&f.keys, (char)key_len, e);
        if (rc == ERR_OK)
            rc = buf_add(&f.keys, sv_make(k, key_len), e);
        if (rc == ERR_OK && ++f.n == KEYS_AT_ONCE)
            rc = halt && atomic_load(halt) ? ERR(e, ERR_CANCELLED, "erasing was stopped")
                                           : drop(&f, e);
    }
    rc = rocks_iterator_end(it, ro, rc, e);
    if (rc == ERR_OK && f.n)
        rc = drop(&f, e);
    buf_done(&f.keys);
    return rc;
}
