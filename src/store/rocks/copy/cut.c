/* cut.c - a data store that nobody else uses goes back to the state of commit t.
 *
 *   counts    of each resource that changed behind t: what is current goes out, what was comes in
 *   ids       the row of a resource that no version is left of goes
 *   changes   rows of later commits and loads go, and with each the version that it tells of
 *   search    entries of later commits and loads go: all keys are read, since which entries a
 *             version had may depend on the form of its time
 *   commits   'c' and 'b' of later commits go. Numbers of loads that were handed out, blocks and
 *             the floor of instants stay: a number is never used twice (I4), and no instant either
 *   notes     all go: they belong to jobs of the other data store
 *
 * Later commits get t + 1 and so on again, so nothing of a cut commit may be left under its old t.
 * A load that is cut is then like one that was never published. Nothing waits for the disk: the
 * store is thrown away unless all is done. */
#include "store/rocks/copy/copy_private.h"

#define BATCH_BYTES  (1u << 20)
#define TALLY_MOST   65536u
#define LOOK_EVERY   1024u
#define ARENA_BYTES  (2 * (size_t)ROCKS_BODY_MAX)
#define CHANGE_BYTES (1u + 1u + 8u + NUMBER_BYTES)

struct cutting {
    struct rocks *r;
    uint64_t t, last;
    const struct load_table *loads;
    const atomic_bool *halt;
    rocksdb_writeoptions_t *wo;
    rocksdb_writebatch_t *batch;
    struct tally tally;
    uint64_t n; /* keys looked at */
};

static err_code write_batch(struct cutting *c, struct err *e)
{
    char *bad = NULL;
    rocksdb_write(c->r->db, c->wo, c->batch, &bad);
    rocksdb_writebatch_clear(c->batch);
    return rocks_error(bad, "writing the data store", e);
}

/* Behind each key: is it to go on, and is the batch full? */
static err_code go_on(struct cutting *c, struct err *e)
{
    size_t size;
    if (++c->n % LOOK_EVERY == 0 && c->halt && atomic_load(c->halt))
        return ERR(e, ERR_CANCELLED, "copying a data store was stopped");
    if (c->tally.n > TALLY_MOST) {
        tally_write(&c->tally, c->r, c->batch);
        tally_done(&c->tally);
    }
    (void)rocksdb_writebatch_data(c->batch, &size);
    return size < BATCH_BYTES ? ERR_OK : write_batch(c, e);
}

/* Did it come behind t? Loads that were never published did not. */
static bool is_cut(const struct cutting *c, key_kind kind, uint64_t n)
{
    if (kind == KEY_ONLINE)
        return n > c->t;
    const struct bulk_load *load = load_table_find(c->loads, n);
    return load && load->t > c->t;
}

static rocksdb_iterator_t *iterate(const struct cutting *c, int family, rocksdb_readoptions_t **ro)
{
    *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(*ro, 1);
    rocksdb_readoptions_set_fill_cache(*ro, 0);
    return rocksdb_create_iterator_cf(c->r->db, *ro, c->r->cf[family]);
}

static void take(struct cutting *c, int family, struct key_bytes k)
{
    rocksdb_writebatch_delete_cf(c->batch, c->r->cf[family], k.ptr, k.len);
}

/* ---- counts and ids ---- */

/* Is any version of the number left that was not erased? Those of loads that were never published
 * stay. */
static err_code any_left(const struct cutting *c, store_number number, bool *out, struct err *e)
{
    const struct key_bytes from = key_number(number);
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it = iterate(c, CF_VERSIONS, &ro);
    err_code rc = ERR_OK;
    *out = false;
    for (rocksdb_iter_seek(it, from.ptr, from.len); rocksdb_iter_valid(it) && !*out;
         rocksdb_iter_next(it)) {
        struct key_version_parts p;
        struct value_head head;
        size_t len, value_len;
        const char *k = rocksdb_iter_key(it, &len), *v = rocksdb_iter_value(it, &value_len);
        if (!key_version_split(sv_make(k, len), &p) ||
            (p.number == number && !value_split(sv_make(v, value_len), &head))) {
            rc = rocks_damaged(e);
            break;
        }
        if (p.number != number)
            break;
        *out = !head.erased && !is_cut(c, p.kind, p.n);
    }
    return rocks_iterator_end(it, ro, rc, e);
}

/* One resource that changed behind t; now: its version as of the last commit. */
static err_code recount(struct cutting *c, const struct store_version *now, struct arena *a,
                        struct err *e)
{
    struct store_version was;
    struct err why;
    bool left = true;
    if (now->method != STORE_METHOD_DELETE)
        TRY(tally_version(&c->tally, now->type, now->body.json, -1, e));
    err_code rc = c->t ? rocks_get_number(&c->r->base, now->number, c->t, true, a, &was, &why)
                       : ERR(&why, ERR_NOT_FOUND, "there was nothing");
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    if (rc == ERR_OK && was.method != STORE_METHOD_DELETE)
        TRY(tally_version(&c->tally, was.type, was.body.json, 1, e));
    if (rc == ERR_NOT_FOUND)
        TRY(any_left(c, now->number, &left, e));
    if (!left) {
        struct ids_key k = ids_key(now->type, now->id);
        rocksdb_writebatch_delete_cf(c->batch, c->r->cf[CF_IDS], k.ptr, k.len);
    }
    return go_on(c, e);
}

static err_code recount_type(struct cutting *c, fhir_type type, struct err *e)
{
    const struct store_range all = { .type = type };
    CLEANUP(store_cursor_close) struct store_cursor *cur = NULL;
    CLEANUP(arena_free) struct arena *a = arena_new(ARENA_BYTES);
    struct store_version now;
    err_code rc;
    TRY(rocks_changes(&c->r->base, &all, c->t, c->last, &cur, e));
    /* nothing is counted of the data of a Binary */
    store_cursor_light(cur);
    while ((rc = store_cursor_next(cur, &now, e)) == ERR_OK) {
        arena_reset(a);
        TRY(recount(c, &now, a, e));
    }
    return rc == ERR_EOF ? ERR_OK : rc;
}

static err_code recount_all(struct cutting *c, struct err *e)
{
    bool changed[STORE_TYPES];
    TRY(rocks_changed_types(&c->r->base, c->t, c->last, changed, e));
    for (unsigned type = 1; type <= fhir_n_types(); type++)
        if (changed[type])
            TRY(recount_type(c, (fhir_type)type, e));
    tally_write(&c->tally, c->r, c->batch);
    tally_done(&c->tally);
    return write_batch(c, e);
}

/* ---- versions and changes ---- */

static err_code cut_births(struct cutting *c, fhir_type type, uint64_t b, sv value, struct err *e)
{
    struct births births;
    if (!births_split(value, &births))
        return rocks_damaged(e);
    for (uint32_t k = 0; k < births.n; k++) {
        take(c, CF_VERSIONS, key_version(number_make(b, type, k), KEY_BULK, b));
        TRY(go_on(c, e));
    }
    return ERR_OK;
}

/* A row of `changes`: type, kind, n, and the number unless it stands for births. */
static err_code cut_change(struct cutting *c, sv key, sv value, struct err *e)
{
    const key_kind kind = key.len > 1 ? (key_kind)key.ptr[1] : KEY_BIRTHS;
    if (key.len != (kind == KEY_BIRTHS ? CHANGE_BYTES - NUMBER_BYTES : CHANGE_BYTES))
        return rocks_damaged(e);
    const fhir_type type = (fhir_type)(unsigned char)key.ptr[0];
    const uint64_t n = key_get_u64(key.ptr + 2);
    if (!is_cut(c, kind == KEY_ONLINE ? KEY_ONLINE : KEY_BULK, n))
        return go_on(c, e);
    if (kind == KEY_BIRTHS)
        TRY(cut_births(c, type, n, value, e));
    else
        take(c, CF_VERSIONS, key_version(key_get_u64(key.ptr + 10), kind, n));
    rocksdb_writebatch_delete_cf(c->batch, c->r->cf[CF_CHANGES], key.ptr, key.len);
    return go_on(c, e);
}

/* ---- search ---- */

static err_code cut_entry(struct cutting *c, sv key, sv value, struct err *e)
{
    struct key_search_parts p;
    (void)value;
    if (!key_search_split(key, &p))
        return rocks_damaged(e);
    if (is_cut(c, p.kind == ENTRY_ONLINE ? KEY_ONLINE : KEY_BULK, p.n))
        rocksdb_writebatch_delete_cf(c->batch, c->r->cf[CF_SEARCH], key.ptr, key.len);
    return go_on(c, e);
}

/* ---- commits and notes ---- */

static err_code cut_commit(struct cutting *c, sv key, sv value, struct err *e)
{
    (void)value;
    if (key.len != 9)
        return rocks_damaged(e);
    const uint64_t n = key_get_u64(key.ptr + 1);
    if ((key.ptr[0] == 'c' && is_cut(c, KEY_ONLINE, n)) ||
        (key.ptr[0] == 'b' && is_cut(c, KEY_BULK, n)))
        rocksdb_writebatch_delete_cf(c->batch, c->r->cf[CF_COMMITS], key.ptr, key.len);
    return go_on(c, e);
}

static err_code cut_note(struct cutting *c, sv key, sv value, struct err *e)
{
    (void)value;
    rocksdb_writebatch_delete_cf(c->batch, c->r->cf[CF_NOTES], key.ptr, key.len);
    return go_on(c, e);
}

/* ---- all ---- */

typedef err_code (*cut_fn)(struct cutting *c, sv key, sv value, struct err *e);

/* The iterator sees the family as it was when it was made. */
static err_code cut_family(struct cutting *c, int family, cut_fn fn, struct err *e)
{
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it = iterate(c, family, &ro);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek_to_first(it); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        rc = fn(c, sv_make(k, key_len), sv_make(v, len), e);
    }
    rc = rocks_iterator_end(it, ro, rc, e);
    return rc == ERR_OK ? write_batch(c, e) : rc;
}

static err_code cut_all(struct cutting *c, struct err *e)
{
    TRY(recount_all(c, e));
    TRY(cut_family(c, CF_CHANGES, cut_change, e));
    TRY(cut_family(c, CF_SEARCH, cut_entry, e));
    return cut_family(c, CF_COMMITS, cut_commit, e);
}

err_code cut_off(struct rocks *r, uint64_t t, const atomic_bool *halt, struct err *e)
{
    struct cutting c = { .r = r, .t = t, .last = rocks_seen_last(r).t, .halt = halt };
    err_code rc = ERR_OK;
    /* sums without marks: what they say is what is current */
    if (t < c.last)
        TRY(rocks_settle(&r->base, halt, e));
    c.loads = r->seen.loads;
    c.batch = rocksdb_writebatch_create();
    c.wo = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(c.wo, 1);
    if (t < c.last)
        rc = cut_all(&c, e);
    if (rc == ERR_OK)
        rc = cut_family(&c, CF_NOTES, cut_note, e);
    tally_done(&c.tally);
    rocksdb_writeoptions_destroy(c.wo);
    rocksdb_writebatch_destroy(c.batch);
    return rc == ERR_OK ? rocks_flush(&r->base, e) : rc;
}
