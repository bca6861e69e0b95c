/* reindex.c - a data store whose search entries are of an older form than search_index() gives has
 * them made anew, from the versions, while it is used.
 *
 *   commits   'i' 0 -> form (1), done (1), t0 (8), key of CF versions up to which it is done
 *             'c' t -> ..., form of the commit's own entries (1)
 *
 * A thread of the store's own walks all versions and writes the entries that the old form lacks;
 * those that only the old form has stay and are passed over, for they propose a resource where it
 * is not met first. Each batch of entries brings the place where the walk stands, so whatever ends
 * it, the next opening goes on from there. Until it is done store_index_form() says the old form,
 * and a search does not ask the index for what it cannot have.
 *
 * Who writes meanwhile writes the new form. An older program writes the old one and knows nothing
 * of this record, but its commits do not say their form: when the newest commit is behind t0, where
 * the walk began, and does not, the walk begins again. */
#include "store/rocks/rocks_private.h"

#include "base/limits.h"

#include <sys/resource.h>
#include <unistd.h>

#define FIRST_FORM  1u         /* of stores without a record */
#define PIECE_BYTES (8u << 20) /* of JSON: then what was found is written */
#define BATCH_BYTES (1u << 20) /* or of entries */
#define NICE        10         /* whoever waits for an answer goes first */
#define RECORD_MIN  10u

struct reindex {
    struct rocks *r;
    uint64_t t0;
    struct buf place; /* key up to which it is done; empty: nothing is */
    uint64_t n_done;
    struct arena *arena;
    struct buf entries;
};

static struct key_bytes record_key(void)
{
    return key_commit('i', 0);
}

static void put_record(struct rocks *r, rocksdb_writebatch_t *b, bool done, uint64_t t0, sv place)
{
    char head[RECORD_MIN] = { (char)SEARCH_INDEX_FORM, done };
    struct key_bytes k = record_key();
    const char *keys[] = { k.ptr }, *parts[] = { head, place.ptr ? place.ptr : "" };
    const size_t key_lens[] = { k.len }, lens[] = { sizeof head, place.len };
    key_put_u64(head + 2, t0);
    rocksdb_writebatch_putv_cf(b, r->cf[CF_COMMITS], 1, keys, key_lens, 2, parts, lens);
}

static err_code write_batch(struct rocks *r, rocksdb_writebatch_t *b, bool sync, struct err *e)
{
    rocksdb_writeoptions_t *later = rocksdb_writeoptions_create();
    char *bad = NULL;
    /* nothing comes into memory while a load is taken in (bulk.c) */
    pthread_mutex_lock(&r->order.lock);
    rocksdb_write(r->db, sync ? r->sync_write : later, b, &bad);
    pthread_mutex_unlock(&r->order.lock);
    rocksdb_writeoptions_destroy(later);
    return rocks_write_error(r, bad, "writing search entries", e);
}

/* Nothing when there is none. */
static err_code read_record(struct rocks *r, struct buf *out, struct err *e)
{
    struct key_bytes k = record_key();
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    size_t len = 0;
    char *v = rocksdb_get_cf(r->db, ro, r->cf[CF_COMMITS], k.ptr, k.len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    err_code rc = rocks_error(bad, "reading the data store", e);
    if (rc == ERR_OK && v)
        rc = buf_add(out, sv_make(v, len), e);
    rocksdb_free(v);
    return rc;
}

static err_code write_record(struct rocks *r, bool done, uint64_t t0, struct err *e)
{
    rocksdb_writebatch_t *b = rocksdb_writebatch_create();
    put_record(r, b, done, t0, SV_NONE);
    err_code rc = write_batch(r, b, true, e);
    rocksdb_writebatch_destroy(b);
    return rc;
}

/* ---- the walk ---- */

static void tell(struct reindex *x, store_reindex_state state, const struct err *why)
{
    struct store_env *env = x->r->env;
    const char *slash = strrchr(x->r->path, '/');
    if (env->on_reindex == NULL)
        return;
    env->on_reindex(env->on_reindex_ctx, &(struct store_reindex){
                                             .store = sv_from(slash ? slash + 1 : x->r->path),
                                             .state = state,
                                             .n_done = x->n_done,
                                             .why = why,
                                         });
}

static err_code version_entries(struct reindex *x, rocksdb_writebatch_t *b, sv key, sv value,
                                struct err *e)
{
    struct key_version_parts p;
    struct value_head head;
    yyjson_doc *doc;
    uint16_t param;
    sv entry;
    char out[KEY_SEARCH_MAX];
    if (!key_version_split(key, &p) || !value_split(value, &head))
        return ERR(e, ERR_CORRUPT, "reading the data store: a version is damaged");
    if (head.method == STORE_METHOD_DELETE)
        return ERR_OK;
    arena_reset(x->arena);
    buf_clear(&x->entries);
    TRY(json_read(x->arena, head.body.json, LIMIT_RESOURCE_DEPTH + 1, &doc, e));
    const fhir_type type = number_type(p.number);
    TRY(search_index_newer(type, yyjson_doc_get_root(doc), &x->entries, e));
    for (sv rest = buf_sv(&x->entries); search_index_next(&rest, &param, &entry);) {
        size_t n = key_search(type, param, entry, p.number,
                              p.kind == KEY_BULK ? ENTRY_ANEW : ENTRY_ONLINE, p.n, out);
        rocksdb_writebatch_put_cf(b, x->r->cf[CF_SEARCH], out, n, "", 0);
    }
    x->n_done++;
    return ERR_OK;
}

/* One piece from an iterator of its own, so that none keeps old files for long. *end: there is no
 * more. */
static err_code fill_piece(struct reindex *x, rocksdb_iterator_t *it, rocksdb_writebatch_t *b,
                           bool *end, struct err *e)
{
    size_t read = 0, size = 0;
    rocksdb_iter_seek(it, x->place.ptr ? x->place.ptr : "", x->place.len);
    for (; read < PIECE_BYTES && size < BATCH_BYTES && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *key = rocksdb_iter_key(it, &key_len), *value = rocksdb_iter_value(it, &len);
        if (atomic_load_explicit(&x->r->index.halt, memory_order_relaxed))
            return ERR(e, ERR_CANCELLED, "the data store is closed");
        if (sv_eq(sv_make(key, key_len), buf_sv(&x->place)))
            continue;
        TRY(version_entries(x, b, sv_make(key, key_len), sv_make(value, len), e));
        buf_clear(&x->place);
        TRY(buf_add(&x->place, sv_make(key, key_len), e));
        (void)rocksdb_writebatch_data(b, &size);
        read += len;
    }
    *end = !rocksdb_iter_valid(it);
    char *bad = NULL;
    rocksdb_iter_get_error(it, &bad);
    return rocks_error(bad, "reading the data store", e);
}

/* However many stores have it to do, one does a piece at a time. False: the store is being
 * closed. */
static bool take_turn(struct rocks *r)
{
    struct rocks_env *env = r->shared;
    pthread_mutex_lock(&env->reindex.lock);
    while (env->reindex.taken && !atomic_load(&r->index.halt))
        pthread_cond_wait(&env->reindex.changed, &env->reindex.lock);
    bool taken = !env->reindex.taken;
    env->reindex.taken = true;
    pthread_mutex_unlock(&env->reindex.lock);
    return taken;
}

static void end_turn(struct rocks_env *env)
{
    pthread_mutex_lock(&env->reindex.lock);
    env->reindex.taken = false;
    pthread_cond_broadcast(&env->reindex.changed);
    pthread_mutex_unlock(&env->reindex.lock);
}

static err_code piece(struct reindex *x, bool *end, struct err *e)
{
    if (!take_turn(x->r))
        return ERR(e, ERR_CANCELLED, "the data store is closed");
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(ro, 1);
    rocksdb_readoptions_set_fill_cache(ro, 0);
    rocksdb_readoptions_set_readahead_size(ro, 1u << 20);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(x->r->db, ro, x->r->cf[CF_VERSIONS]);
    rocksdb_writebatch_t *b = rocksdb_writebatch_create();
    err_code rc = fill_piece(x, it, b, end, e);
    if (rc == ERR_OK) {
        put_record(x->r, b, *end, x->t0, *end ? SV_NONE : buf_sv(&x->place));
        rc = write_batch(x->r, b, *end, e);
    }
    rocksdb_writebatch_destroy(b);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(ro);
    end_turn(x->r->shared);
    return rc;
}

static void *walk(void *arg)
{
    struct reindex *x = arg;
    struct err e;
    err_code rc = ERR_OK;
    bool end = false;
    /* else it goes on as it is */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    tell(x, STORE_REINDEX_BEGUN, NULL);
    while (rc == ERR_OK && !end) {
        rc = piece(x, &end, &e);
        if (rc == ERR_OK && !end)
            tell(x, STORE_REINDEX_UNDER_WAY, NULL);
    }
    if (rc == ERR_OK)
        atomic_store(&x->r->index.form, SEARCH_INDEX_FORM);
    atomic_store(&x->r->index.under_way, false);
    tell(x,
         rc == ERR_OK          ? STORE_REINDEX_DONE
         : rc == ERR_CANCELLED ? STORE_REINDEX_STOPPED
                               : STORE_REINDEX_FAILED,
         rc == ERR_OK ? NULL : &e);
    arena_free(x->arena);
    buf_done(&x->entries);
    buf_done(&x->place);
    free(x);
    return NULL;
}

/* ---- opening and closing ---- */

static err_code start(struct rocks *r, uint64_t t0, sv place, struct err *e)
{
    struct reindex *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    x->r = r;
    x->t0 = t0;
    /* one version at a time */
    x->arena = arena_new(json_tree_max(ROCKS_BODY_MAX));
    buf_init(&x->entries, SEARCH_ENTRIES_MAX);
    buf_init(&x->place, KEY_MAX);
    atomic_store(&r->index.under_way, true);
    err_code rc = buf_add(&x->place, place, e);
    if (rc == ERR_OK && pthread_create(&r->index.thread, NULL, walk, x) != 0)
        rc = ERR(e, ERR_IO, "a thread cannot be started");
    if (rc != ERR_OK) {
        arena_free(x->arena);
        buf_done(&x->place);
        free(x);
        return rc;
    }
    r->index.running = true;
    return ERR_OK;
}

err_code reindex_open(struct rocks *r, bool create, struct err *e)
{
    CLEANUP_BUF struct buf record = BUF_INIT(RECORD_MIN + KEY_MAX);
    const uint64_t last = r->seen.last.t;
    TRY(read_record(r, &record, e));
    const bool there = record.len >= RECORD_MIN;
    const unsigned form = there ? (unsigned char)record.ptr[0] : FIRST_FORM;
    if (form > SEARCH_INDEX_FORM)
        return ERR(e, ERR_CORRUPT,
                   "data store has search entries of form %u, this program reads form %u", form,
                   SEARCH_INDEX_FORM);
    atomic_store(&r->index.form, FIRST_FORM);
    if (create && !there && last == 0) {
        TRY(write_record(r, true, 0, e));
        atomic_store(&r->index.form, SEARCH_INDEX_FORM);
        return ERR_OK;
    }
    uint64_t t0 = there ? key_get_u64(record.ptr + 2) : 0;
    const bool kept = there && form == SEARCH_INDEX_FORM &&
                      (last <= t0 || r->index.newest_form == SEARCH_INDEX_FORM);
    if (kept && record.ptr[1]) {
        atomic_store(&r->index.form, SEARCH_INDEX_FORM);
        return ERR_OK;
    }
    if (kept)
        return start(r, t0, sv_tail(buf_sv(&record), RECORD_MIN), e);
    /* before anything is written with the new form */
    TRY(write_record(r, false, last, e));
    return start(r, last, SV_NONE, e);
}

void reindex_close(struct rocks *r)
{
    if (!r->index.running)
        return;
    pthread_mutex_lock(&r->shared->reindex.lock);
    atomic_store(&r->index.halt, true);
    pthread_cond_broadcast(&r->shared->reindex.changed);
    pthread_mutex_unlock(&r->shared->reindex.lock);
    /* it was started and is joined once */
    (void)pthread_join(r->index.thread, NULL);
    r->index.running = false;
}

unsigned rocks_index_form(struct store *st)
{
    return atomic_load(&((struct rocks *)st)->index.form);
}
