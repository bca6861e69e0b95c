/* options.c - how RocksDB is set up: what all open stores share, and the options of each column
 * family.
 *
 * All stores of a process share one block cache, one set of background threads and the cache of
 * versions that were read lately. Versions and search entries are large: they are compressed, and
 * compacted by levels. The other families are small. */
#include "store/rocks/rocks_private.h"

/* ---- what stores share ---- */

void *rocks_env_new(const struct store_env *env)
{
    struct rocks_env *own = calloc(1, sizeof *own);
    if (own == NULL)
        abort();
    own->env = rocksdb_create_default_env();
    rocksdb_env_set_background_threads(own->env, (int)env->n_background);
    rocksdb_env_lower_thread_pool_cpu_priority(own->env);
    own->cache = rocksdb_cache_create_lru(env->cache_bytes);
    pthread_mutex_init(&own->reindex.lock, NULL);
    pthread_cond_init(&own->reindex.changed, NULL);
    return own;
}

void rocks_env_free(void *ptr)
{
    struct rocks_env *own = ptr;
    pthread_mutex_destroy(&own->reindex.lock);
    pthread_cond_destroy(&own->reindex.changed);
    rocksdb_cache_destroy(own->cache);
    rocksdb_env_destroy(own->env);
    free(own);
}

/* ---- options ---- */

/* ---- one id as a prefix ----
 * The filters of CF versions hold what stands in front of kind and n: type, id and the 0x00 behind
 * it. Without them a read of one id would unpack a block of each sorted run: 1.1 ms instead of
 * 0.07 ms over 54 bulk loads that are not compacted yet. A key without 0x00 (the bound of a range)
 * has no prefix. Iterators that cross ids must say total_order_seek. */

static char *id_prefix(void *ctx, const char *key, size_t len, size_t *out_len)
{
    (void)ctx;
    /* in the domain: it is there */
    const char *zero = memchr(key + 1, 0, len - 1);
    *out_len = (size_t)(zero - key) + 1;
    return (char *)(uintptr_t)key;
}

static unsigned char has_id_prefix(void *ctx, const char *key, size_t len)
{
    (void)ctx;
    return len > 1 && memchr(key + 1, 0, len - 1) != NULL;
}

static unsigned char never(void *ctx, const char *key, size_t len) /* asked by nobody any more */
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

rocksdb_options_t *rocks_small_options(const struct rocks *r, bool create)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_env(o, r->shared->env);
    rocksdb_options_set_create_if_missing(o, create);
    /* of another layout: told by its version */
    rocksdb_options_set_create_missing_column_families(o, 1);
    rocksdb_options_set_max_background_jobs(o, (int)r->env->n_background);
    rocksdb_options_set_keep_log_file_num(o, 2);
    /* warnings */
    rocksdb_options_set_info_log_level(o, 2);
    rocksdb_options_set_max_log_file_size(o, 1u << 20);
    rocksdb_options_set_recycle_log_file_num(o, 0);
    rocksdb_options_set_max_total_wal_size(o, 64u << 20);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_skip_checking_sst_file_sizes_on_db_open(o, 1);
    rocksdb_options_set_write_buffer_size(o, 4u << 20);
    /* Bulk loads bring hundreds of overlapping files to versions and to changes, and a stall of one
     * column family stops the writers of all: none ever stalls, compaction catches up behind. */
    rocksdb_options_set_level0_slowdown_writes_trigger(o, 1 << 20);
    rocksdb_options_set_level0_stop_writes_trigger(o, 1 << 20);
    rocksdb_options_set_soft_pending_compaction_bytes_limit(o, (size_t)1 << 50);
    rocksdb_options_set_hard_pending_compaction_bytes_limit(o, (size_t)1 << 50);
    return o;
}

/* A column family that holds much: lz4, its blocks and their indexes in the cache, compaction by
 * levels. */
static rocksdb_options_t *make_large_options(const struct rocks *r, size_t block_bytes,
                                             uint64_t level_base_bytes, bool by_id)
{
    rocksdb_options_t *o = rocks_small_options(r, true);
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(t, block_bytes);
    rocksdb_block_based_options_set_block_cache(t, r->shared->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_block_based_options_set_format_version(t, 5);
    if (by_id) {
        rocksdb_block_based_options_set_filter_policy(t,
                                                      rocksdb_filterpolicy_create_bloom_full(10));
        /* of the prefix alone */
        rocksdb_block_based_options_set_whole_key_filtering(t, 0);
        rocksdb_options_set_prefix_extractor(
            o, rocksdb_slicetransform_create(NULL, nothing, id_prefix, has_id_prefix, never,
                                             id_prefix_name));
    }
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    rocksdb_options_set_write_buffer_size(o, 16u << 20);
    rocksdb_options_set_max_write_buffer_number(o, 3);
    rocksdb_options_set_target_file_size_base(o, 64u << 20);
    rocksdb_options_set_max_bytes_for_level_base(o, level_base_bytes);
    rocksdb_options_set_level0_file_num_compaction_trigger(o, 8);
    rocksdb_options_set_max_subcompactions(o, r->env->n_background);
    return o;
}

/* Large values, read in order. With 120 overlapping bulk loads compaction by levels takes as much
 * processor time as universal compaction does, and ends in one run. */
rocksdb_options_t *rocks_data_options(const struct rocks *r)
{
    return make_large_options(r, 64u << 10, 512u << 20, true);
}

/* Keys without values, found by seeks: small blocks, which the cache holds. */
rocksdb_options_t *rocks_search_options(const struct rocks *r)
{
    return make_large_options(r, 16u << 10, 256u << 20, false);
}

/* Sums: few keys, each written often. */
rocksdb_options_t *rocks_count_options(const struct rocks *r)
{
    rocksdb_options_t *o = rocks_small_options(r, true);
    rocksdb_options_set_merge_operator(o, counts_merge_operator());
    return o;
}
