/* bench_commits.c - the peer of creates: RocksDB alone, group commits of the keys and values of
 * resources.
 *
 *   bench_commits DIR FILE THREADS SECONDS       FILE: NDJSON; DIR is made and removed
 *
 * Each thread writes one batch a commit, synced: the version, its search entries, change, commit
 * record and sums, as the store lays them out, under a new id. Nothing is parsed, checked or looked
 * up meanwhile: entries are found beforehand. RocksDB groups the threads' batches as it does.
 * Prints commits a second. rocks_private.h is used for the layout and the options, nothing else. */
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "store/rocks/rocks_private.h"

#define LINES_MAX   20000u
#define THREADS_MAX 64u

struct resource {
    fhir_type type;
    sv json, index;
};
static struct resource *resources;
static size_t n_resources;
static struct rocks *r;
static atomic_uint_fast64_t next_t = 1;
static atomic_bool stop;

static void need(err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    (void)fprintf(stderr, "bench_commits: %s\n", e->msg);
    exit(1);
}

static void read_resources(const char *path, struct arena *a)
{
    struct err e;
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    FILE *f = fopen(path, "r");
    resources = malloc(LINES_MAX * sizeof *resources);
    if (f == NULL || resources == NULL)
        exit(1);
    while (n_resources < LINES_MAX && (n = getline(&line, &cap, f)) > 1) {
        CLEANUP_BUF struct buf index = BUF_INIT(1 << 20);
        yyjson_doc *doc;
        sv json = arena_sv(a, sv_make(line, (size_t)n - 1));
        need(json_read(a, json, 64, &doc, &e), &e);
        yyjson_val *root = yyjson_doc_get_root(doc);
        fhir_type type = fhir_type_find(json_string(json_get(root, "resourceType")));
        need(search_index(type, root, &index, &e), &e);
        resources[n_resources++] = (struct resource){ type, json, arena_sv(a, buf_sv(&index)) };
    }
    free(line);
    (void)fclose(f);
}

static void add_version(rocksdb_writebatch_t *b, const struct resource *x, sv id, uint64_t t)
{
    const store_number number = number_make(1 + t / NUMBER_K_MOST, x->type, t % NUMBER_K_MOST);
    char head[VALUE_HEAD_MAX], key[KEY_SEARCH_MAX];
    const struct value_head h = { .id = id,
                                  .method = STORE_METHOD_CREATE,
                                  .online = true,
                                  .version = 1,
                                  .instant_ms = clock_wall_ms(),
                                  .body = { x->json, 20, FHIR_HOLE_NO_META } };
    size_t head_len = value_head_put(&h, head);
    struct key_bytes k = key_version(number, KEY_ONLINE, t);
    const char *keys[] = { k.ptr }, *parts[] = { head, x->json.ptr };
    const size_t key_lens[] = { k.len }, lens[] = { head_len, x->json.len };
    rocksdb_writebatch_putv_cf(b, r->cf[CF_VERSIONS], 1, keys, key_lens, 2, parts, lens);
    sv rest = x->index, value;
    uint16_t param;
    while (search_index_next(&rest, &param, &value)) {
        size_t n = key_search(x->type, param, value, number, ENTRY_ONLINE, t, key);
        rocksdb_writebatch_put_cf(b, r->cf[CF_SEARCH], key, n, "", 0);
    }
    struct ids_key row = ids_key(x->type, id);
    char value_of_row[IDS_VALUE_LEN];
    ids_value_put(number, false, value_of_row);
    rocksdb_writebatch_put_cf(b, r->cf[CF_IDS], row.ptr, row.len, value_of_row,
                              sizeof value_of_row);
    k = key_change(x->type, KEY_ONLINE, t, number);
    rocksdb_writebatch_put_cf(b, r->cf[CF_CHANGES], k.ptr, k.len, "", 0);
}

static void *commit_on(void *arg)
{
    uint64_t *n = arg;
    while (!atomic_load(&stop)) {
        const struct resource *x = &resources[rng_u64() % n_resources];
        struct tally sums = { 0 };
        char id[37], v[25] = { 0 }, *bad = NULL;
        uint64_t t = atomic_fetch_add(&next_t, 1);
        rng_uuid(id);
        rocksdb_writebatch_t *b = rocksdb_writebatch_create();
        add_version(b, x, sv_from(id), t);
        struct key_bytes k = key_commit('c', t);
        rocksdb_writebatch_put_cf(b, r->cf[CF_COMMITS], k.ptr, k.len, v, sizeof v);
        tally_resource(&sums, x->type, x->index, 1);
        tally_write(&sums, r, b);
        tally_done(&sums);
        rocksdb_write(r->db, r->sync_write, b, &bad);
        rocksdb_writebatch_destroy(b);
        if (bad)
            exit(1);
        ++*n;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct err e;
    struct store *st = NULL;
    uint64_t threads = 0, seconds = 0, count[THREADS_MAX] = { 0 }, all = 0;
    pthread_t thread[THREADS_MAX];
    if (argc != 5 || !sv_to_u64(sv_from(argv[3]), &threads) || threads < 1 ||
        threads > THREADS_MAX || !sv_to_u64(sv_from(argv[4]), &seconds)) {
        (void)fprintf(stderr, "bench_commits DIR FILE THREADS SECONDS\n");
        return 2;
    }
    CLEANUP(arena_free) struct arena *a = arena_new(SIZE_MAX / 2);
    struct store_env *env = store_env_new(64 << 20, 2);
    read_resources(argv[2], a);
    need(store_open(env, argv[1], true, &st, &e), &e);
    r = (struct rocks *)st;
    uint64_t from = clock_mono_us();
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, commit_on, &count[i]) != 0)
            return 1;
    const struct timespec nap = { (time_t)seconds, 0 };
    (void)nanosleep(&nap, NULL);
    atomic_store(&stop, true);
    for (size_t i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        all += count[i];
    }
    (void)printf("%.1f\n", (double)all * 1e6 / (double)(clock_mono_us() - from));
    store_close(st);
    store_env_free(env);
    free(resources);
    need(file_remove_tree(argv[1], &e), &e);
    return 0;
}
