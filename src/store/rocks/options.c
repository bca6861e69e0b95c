/* options.c - how RocksDB is set up: what all open stores share, and the options of each column
 * family.
 *
 * All stores of a process share one block cache, one set of background threads and the cache of
 * versions that were read lately. Versions, ids and search entries are large: they are compressed.
 * The other families are small. */
#include "store/rocks/rocks_private.h"

#include <linux/magic.h>
#include <sys/vfs.h>

/* ---- what stores share ---- */

/* A part of the cache, under a lock of its own, takes nothing that is larger than the part. A
 * filter can have 2 MiB, and one that finds no room is read and checked anew for each key: with
 * RocksDB's own choice, parts of 1 MiB, reads of short ids took two to five times as long. */
#define CACHE_PART (4u << 20)

static rocksdb_cache_t *new_cache(size_t bytes)
{
    int bits = 0;
    while (bits < 6 && bytes >> (bits + 1) >= CACHE_PART)
        bits++;
    rocksdb_lru_cache_options_t *o = rocksdb_lru_cache_options_create();
    rocksdb_lru_cache_options_set_capacity(o, bytes);
    rocksdb_lru_cache_options_set_num_shard_bits(o, bits);
    rocksdb_cache_t *cache = rocksdb_cache_create_lru_opts(o);
    rocksdb_lru_cache_options_destroy(o);
    return cache;
}

void *rocks_env_new(const struct store_env *env)
{
    struct rocks_env *own = calloc(1, sizeof *own);
    if (own == NULL)
        abort();
    own->env = rocksdb_create_default_env();
    rocksdb_env_set_background_threads(own->env, (int)env->n_background);
    rocksdb_env_lower_thread_pool_cpu_priority(own->env);
    own->cache = new_cache(env->cache_bytes);
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

static rocksdb_options_t *small_options(const struct rocks *r, bool create)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_env(o, r->crypt ? r->crypt : r->shared->env);
    rocksdb_options_set_create_if_missing(o, create);
    /* of another layout: told by its version */
    rocksdb_options_set_create_missing_column_families(o, 1);
    rocksdb_options_set_max_background_jobs(o, (int)r->env->n_background);
    rocksdb_options_set_keep_log_file_num(o, 2);
    /* warnings; RocksDB's own log is never encrypted, and errors can name keys: of an encrypted
     * data store it has the heads alone */
    rocksdb_options_set_info_log_level(o, r->crypt ? 4 : 2);
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

/* A column family that holds much: lz4, its blocks and their indexes in the cache. Its table's
 * options, which the caller gives to with_table(). */
static rocksdb_block_based_table_options_t *large_table(const struct rocks *r, size_t block_bytes)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(t, block_bytes);
    rocksdb_block_based_options_set_block_cache(t, r->shared->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_block_based_options_set_format_version(t, 5);
    return t;
}

static rocksdb_options_t *with_table(const struct rocks *r, rocksdb_block_based_table_options_t *t,
                                     uint64_t level_base_bytes)
{
    rocksdb_options_t *o = small_options(r, true);
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

/* kBinarySearchWithFirstKey, for which the C header has no name. A seek to behind a scan's end
 * reads no block then: the block may be a giant (scan.c). */
#define INDEX_WITH_FIRST_KEYS 3

/* Large values, read in order. Loads of new resources lie below all before them and are never
 * merged. The filters hold the numbers: a read of one opens only the files that have it. Iterators
 * that cross numbers must say total_order_seek. */
static rocksdb_options_t *data_options(const struct rocks *r)
{
    rocksdb_block_based_table_options_t *t = large_table(r, 32u << 10);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_whole_key_filtering(t, 0);
    rocksdb_block_based_options_set_index_type(t, INDEX_WITH_FIRST_KEYS);
    rocksdb_options_t *o = with_table(r, t, 512u << 20);
    rocksdb_options_set_prefix_extractor(o,
                                         rocksdb_slicetransform_create_fixed_prefix(NUMBER_BYTES));
    return o;
}

/* Small rows, found by their whole keys: most are asked for when they are not there. The filter of
 * a file is asked whole, and must fit into a part of the cache: a file of 8 MiB has some 300,000
 * rows of random ids and 375 KiB of filter, or a million of short ids in order and 1.2 MiB. Merged
 * by size, which writes each row fewer times than levels do. */
static rocksdb_options_t *ids_options(const struct rocks *r)
{
    rocksdb_block_based_table_options_t *t = large_table(r, 8u << 10);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_t *o = with_table(r, t, 256u << 20);
    rocksdb_options_set_target_file_size_base(o, 8u << 20);
    rocksdb_options_set_compaction_style(o, rocksdb_universal_compaction);
    return o;
}

/* Keys with short values, found by seeks: small blocks, which the cache holds. Merged by size. */
static rocksdb_options_t *search_options(const struct rocks *r)
{
    rocksdb_options_t *o = with_table(r, large_table(r, 16u << 10), 256u << 20);
    rocksdb_options_set_compaction_style(o, rocksdb_universal_compaction);
    return o;
}

/* Sums: few keys, each written often. */
static rocksdb_options_t *count_options(const struct rocks *r)
{
    rocksdb_options_t *o = small_options(r, true);
    rocksdb_options_set_merge_operator(o, counts_merge_operator());
    return o;
}

/* ---- of a place ---- */

void rocks_options_place(rocksdb_options_t **options, const char *path)
{
    struct statfs fs;
    if (path == NULL || statfs(path, &fs) != 0 || fs.f_type != TMPFS_MAGIC)
        return;
    /* the C header has no other name for it */
    rocksdb_options_t *o = rocksdb_options_create(), *left = *options;
    char *bad = NULL;
    rocksdb_get_options_from_string(*options, "allow_fallocate=false", o, &bad);
    if (bad == NULL) {
        left = o;
        o = *options;
    }
    rocksdb_free(bad);
    rocksdb_options_destroy(o);
    *options = left;
}

/* ---- of a store ---- */

const char *const rocks_family_names[N_CFS] = { "default", "versions", "ids",    "changes",
                                                "commits", "notes",    "search", "counts" };

void rocks_options_make(struct rocks *r, bool create, unsigned n_files,
                        const rocksdb_options_t *of[N_CFS])
{
    r->options = small_options(r, create);
    /* of the whole database */
    rocksdb_options_set_max_open_files(r->options, (int)n_files);
    rocks_options_place(&r->options, r->path);
    r->data_options = data_options(r);
    r->ids_options = ids_options(r);
    r->search_options = search_options(r);
    r->count_options = count_options(r);
    for (int i = 0; i < N_CFS; i++)
        of[i] = r->options;
    of[CF_VERSIONS] = r->data_options;
    of[CF_IDS] = r->ids_options;
    of[CF_SEARCH] = r->search_options;
    of[CF_COUNTS] = r->count_options;
}

void rocks_options_done(struct rocks *r)
{
    rocksdb_options_destroy(r->options);
    rocksdb_options_destroy(r->data_options);
    rocksdb_options_destroy(r->ids_options);
    rocksdb_options_destroy(r->search_options);
    rocksdb_options_destroy(r->count_options);
}
