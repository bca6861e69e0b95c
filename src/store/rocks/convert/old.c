/* old.c - a data store of layout 3, for reading alone.
 *
 * It is opened without a right to write, so that whatever happens nothing of it changes. RocksDB
 * takes no lock then. So the lock file is locked here, in the way in which RocksDB locks it, and a
 * process that has the store open keeps others out. What stands in the log alone is read into
 * memory. This and the program of that time are the only ones that know these bytes. */
#include "store/rocks/convert/old.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#define CACHE_BYTES (32u << 20)
#define OPEN_FILES  1000
#define READAHEAD   (1u << 20)
#define TAIL        10u /* of a version's key behind the id: 0x00, kind, ~n */

static const char *const cf_names[OLD_N_CFS] = { "default", "versions", "changes", "commits",
                                                 "notes" };

/* ---- the filter of versions: by type, id, 0x00 ---- */

static size_t prefix_len(const char *key, size_t len)
{
    const char *zero = len > 1 ? memchr(key + 1, 0, len - 1) : NULL;
    return zero ? (size_t)(zero - key) + 1 : len;
}

static char *id_prefix(void *ctx, const char *key, size_t len, size_t *out_len)
{
    (void)ctx;
    *out_len = prefix_len(key, len);
    return (char *)(uintptr_t)key;
}

static unsigned char has_id_prefix(void *ctx, const char *key, size_t len)
{
    (void)ctx;
    return len > 1 && memchr(key + 1, 0, len - 1) != NULL;
}

static unsigned char never(void *ctx, const char *key, size_t len)
{
    (void)ctx;
    (void)key;
    (void)len;
    return 0;
}

static const char *id_prefix_name(void *ctx)
{
    (void)ctx;
    return "fhirlake.id";
}

static void nothing(void *ctx)
{
    (void)ctx;
}

/* ---- opening ---- */

static err_code take_lock(struct old_store *o, const char *path, struct err *e)
{
    char name[PATH_MAX];
    struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    (void)snprintf(name, sizeof name, "%s/LOCK", path);
    o->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (o->lock < 0)
        return ERR(e, err_from_errno(errno), "the data store cannot be locked");
    if (fcntl(o->lock, F_SETLK, &all) == 0)
        return ERR_OK;
    return ERR(e, ERR_EXISTS, "the data store is open in another process: stop that one first");
}

static err_code read_loads(struct old_store *o, struct err *e)
{
    CLEANUP_BUF struct buf rows = BUF_INIT(ROCKS_ROWS_MAX);
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it = old_iterate(o, OLD_COMMITS, &ro);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek(it, "b", 1); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        if (key_len == 0 || k[0] != 'b')
            break;
        if (key_len != 9 || len != 16) {
            rc = rocks_damaged(e);
            break;
        }
        struct bulk_load row = { key_get_u64(k + 1), key_get_u64(v), (int64_t)key_get_u64(v + 8) };
        rc = row.b == 0 || row.b >> NUMBER_B_BITS ? rocks_damaged(e)
                                                  : buf_add(&rows, sv_make(&row, sizeof row), e);
    }
    TRY(rocks_iterator_end(it, ro, rc, e));
    o->loads = load_table_new(rows.len / sizeof(struct bulk_load));
    if (rows.len)
        memcpy(o->loads->rows, rows.ptr, rows.len);
    return ERR_OK;
}

/* The newest commit, and the types that there are. */
static err_code read_extent(struct old_store *o, struct err *e)
{
    rocksdb_readoptions_t *ro;
    struct key_bytes end = key_commit('c', UINT64_MAX);
    size_t len;
    rocksdb_iterator_t *it = old_iterate(o, OLD_COMMITS, &ro);
    rocksdb_iter_seek_for_prev(it, end.ptr, end.len);
    if (rocksdb_iter_valid(it)) {
        const char *k = rocksdb_iter_key(it, &len);
        if (len == 9 && k[0] == 'c')
            o->last_t = key_get_u64(k + 1);
    }
    TRY(rocks_iterator_end(it, ro, ERR_OK, e));
    it = old_iterate(o, OLD_CHANGES, &ro);
    for (unsigned type = 0; type < STORE_TYPES; type++) {
        const char first = (char)type;
        rocksdb_iter_seek(it, &first, 1);
        if (!rocksdb_iter_valid(it))
            break;
        type = (unsigned char)rocksdb_iter_key(it, &len)[0];
        o->types[type] = true;
    }
    return rocks_iterator_end(it, ro, ERR_OK, e);
}

static void set_options(struct old_store *o)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    o->options = rocksdb_options_create();
    rocksdb_options_set_max_open_files(o->options, OPEN_FILES);
    rocksdb_options_set_info_log_level(o->options, 2);
    rocksdb_options_set_keep_log_file_num(o->options, 2);
    rocksdb_options_set_skip_stats_update_on_db_open(o->options, 1);
    o->cache = rocksdb_cache_create_lru(CACHE_BYTES);
    rocksdb_block_based_options_set_block_cache(t, o->cache);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_whole_key_filtering(t, 0);
    o->version_options = rocksdb_options_create();
    rocksdb_options_set_block_based_table_factory(o->version_options, t);
    rocksdb_block_based_options_destroy(t);
    rocksdb_options_set_prefix_extractor(
        o->version_options, rocksdb_slicetransform_create(NULL, nothing, id_prefix, has_id_prefix,
                                                          never, id_prefix_name));
    o->ro = rocksdb_readoptions_create();
}

/* The first n families. */
static err_code open_families(struct old_store *o, const char *path, int n, struct err *e)
{
    const rocksdb_options_t *per_cf[OLD_N_CFS];
    char *bad = NULL;
    set_options(o);
    for (int i = 0; i < n; i++)
        per_cf[i] = i == OLD_VERSIONS ? o->version_options : o->options;
    o->db = rocksdb_open_for_read_only_column_families(o->options, path, n, cf_names, per_cf, o->cf,
                                                       0, &bad);
    return rocks_error(bad, "opening the data store", e);
}

err_code old_open(struct old_store *o, const char *path, struct err *e)
{
    *o = (struct old_store){ .lock = -1 };
    TRY(take_lock(o, path, e));
    TRY(open_families(o, path, OLD_N_CFS, e));
    TRY(read_loads(o, e));
    return read_extent(o, e);
}

void old_close(struct old_store *o)
{
    for (int i = 0; i < OLD_N_CFS; i++)
        if (o->cf[i])
            rocksdb_column_family_handle_destroy(o->cf[i]);
    if (o->db)
        rocksdb_close(o->db);
    if (o->ro) {
        rocksdb_readoptions_destroy(o->ro);
        rocksdb_options_destroy(o->options);
        rocksdb_options_destroy(o->version_options);
        rocksdb_cache_destroy(o->cache);
    }
    load_table_unref(o->loads);
    if (o->lock >= 0)
        (void)close(o->lock);
    *o = (struct old_store){ .lock = -1 };
}

err_code old_layout(const char *path, uint64_t *version, struct err *e)
{
    struct old_store o = { .lock = -1 };
    bool there;
    err_code rc = open_families(&o, path, OLD_COMMITS + 1, e);
    if (rc == ERR_OK)
        rc = old_number(&o, 'v', &there, version, e);
    old_close(&o);
    return rc;
}

/* ---- reading ---- */

err_code old_number(const struct old_store *o, char letter, bool *there, uint64_t *out,
                    struct err *e)
{
    struct key_bytes k = key_commit(letter, 0);
    char *bad = NULL;
    size_t len = 0;
    char *v = rocksdb_get_cf(o->db, o->ro, o->cf[OLD_COMMITS], k.ptr, k.len, &len, &bad);
    TRY(rocks_error(bad, "reading the data store", e));
    *there = v != NULL && len == 8;
    *out = *there ? key_get_u64(v) : 0;
    rocksdb_free(v);
    return ERR_OK;
}

rocksdb_iterator_t *old_iterate(const struct old_store *o, int cf, rocksdb_readoptions_t **ro)
{
    *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(*ro, 1);
    rocksdb_readoptions_set_fill_cache(*ro, 0);
    if (cf == OLD_VERSIONS)
        rocksdb_readoptions_set_readahead_size(*ro, READAHEAD);
    return rocksdb_create_iterator_cf(o->db, *ro, o->cf[cf]);
}

bool old_key_split(sv key, struct old_key *out)
{
    if (key.len < 1 + 1 + TAIL)
        return false;
    size_t id_len = key.len - 1 - TAIL;
    const char *tail = key.ptr + 1 + id_len;
    if (tail[0] != 0 || (tail[1] != KEY_BULK && tail[1] != KEY_ONLINE))
        return false;
    out->type = (fhir_type)(unsigned char)key.ptr[0];
    out->id = sv_make(key.ptr + 1, id_len);
    out->kind = (key_kind)tail[1];
    out->n = ~key_get_u64(tail + 2);
    return out->type >= 1 && out->type <= fhir_n_types() && fhir_id_ok(out->id);
}

bool old_value_split(sv value, struct value_head *out)
{
    struct value_head h = { .method = STORE_METHOD_IMPORT };
    uint64_t hole_at;
    if (value.len == 0)
        return false;
    unsigned char c = (unsigned char)value.ptr[0];
    h.body.hole = (fhir_hole)(c & 3);
    h.method = (store_method)(c >> 2 & 3);
    h.online = c & 16;
    sv rest = sv_tail(value, 1);
    if (c >= 32 || (c & 3) == 3 || !key_get_varint(&rest, &hole_at))
        return false;
    if (h.online) {
        if (!key_get_varint(&rest, &h.version) || rest.len < 8)
            return false;
        h.instant_ms = (int64_t)key_get_u64(rest.ptr);
        rest = sv_tail(rest, 8);
    }
    if (hole_at > rest.len)
        return false;
    h.body.hole_at = (uint32_t)hole_at;
    h.body.json = rest;
    *out = h;
    return true;
}

err_code old_version(const struct old_store *o, const struct old_key *key,
                     rocksdb_pinnableslice_t **value, struct value_head *head, struct err *e)
{
    char k[1 + FHIR_ID_MAX + TAIL], *bad = NULL;
    size_t n = 0, len;
    k[n++] = (char)key->type;
    memcpy(k + n, key->id.ptr, key->id.len);
    n += key->id.len;
    k[n++] = 0;
    k[n++] = (char)key->kind;
    key_put_u64(k + n, ~key->n);
    n += 8;
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned_cf(o->db, o->ro, o->cf[OLD_VERSIONS], k, n, &bad);
    TRY(rocks_error(bad, "reading the data store", e));
    if (found == NULL)
        return rocks_damaged(e);
    const char *v = rocksdb_pinnableslice_value(found, &len);
    if (!old_value_split(sv_make(v, len), head) || head->online != (key->kind == KEY_ONLINE)) {
        rocksdb_pinnableslice_destroy(found);
        return rocks_damaged(e);
    }
    *value = found;
    return ERR_OK;
}

struct old_bytes old_changes(fhir_type type, key_kind kind, uint64_t n)
{
    struct old_bytes k = { .len = sizeof k.ptr };
    k.ptr[0] = (char)type;
    k.ptr[1] = (char)kind;
    key_put_u64(k.ptr + 2, n);
    return k;
}
