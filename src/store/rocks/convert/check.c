/* check.c - do the old data store and the new one hold the same?
 *
 * Both are walked once, in the order of their own keys. Every version counts with type, id, commit,
 * instant, version number, method, place of meta and the hash of its body, in a sum that does not
 * depend on the order. The version numbers of loaded versions are ranks and stand nowhere; they are
 * counted on both sides as readers do (I5). Of the new store some things are looked at besides: a
 * number has one id, and the id's row that number (I8); births were born by their load, without
 * gaps; the commits are the old ones; the sums of types are what is current (C1). */
#include "store/rocks/convert/convert_private.h"

#include "codec/hash.h"

#define TELL_EVERY 4096u /* versions */
#define GROUP_MAX  ROCKS_ROWS_MAX

struct version_row {
    uint64_t t;
    int64_t instant_ms;
    uint64_t body[2]; /* hash */
    uint64_t version; /* of an online one */
    uint32_t hole_at;
    uint8_t hole, method;
    bool online;
    uint64_t load; /* of a loaded one */
};

struct side {
    struct converting *c;
    const struct load_table *loads;
    uint64_t told; /* versions that the sides before this one had */
    /* the resource under way */
    fhir_type type;
    char id[FHIR_ID_MAX];
    size_t id_len;
    struct buf rows; /* struct version_row */
    uint64_t first_t, first_load;
    /* of all so far */
    uint64_t n_resources, n_versions, current[STORE_TYPES];
    struct fhir_digest digest;
};

static err_code differs(const char *what, struct err *e)
{
    return ERR(e, ERR_CORRUPT, "the new data store is not the same as the old one: %s", what);
}

/* ---- what both sides have ---- */

static void begin_resource(struct side *s, fhir_type type, sv id)
{
    s->type = type;
    s->id_len = id.len;
    memcpy(s->id, id.ptr, id.len);
    buf_clear(&s->rows);
}

static bool is_resource(const struct side *s, fhir_type type, sv id)
{
    return s->type == type && sv_eq(sv_make(s->id, s->id_len), id);
}

/* A version that can be seen; any other is passed over. */
static err_code add_version(struct side *s, key_kind kind, uint64_t n, const struct value_head *h,
                            struct err *e)
{
    struct version_row row = { .t = n,
                               .instant_ms = h->instant_ms,
                               .version = h->version,
                               .hole_at = h->body.hole_at,
                               .hole = (uint8_t)h->body.hole,
                               .method = (uint8_t)h->method,
                               .online = kind == KEY_ONLINE };
    if (kind == KEY_BULK) {
        const struct bulk_load *load = load_table_find(s->loads, n);
        if (load == NULL)
            return ERR_OK;
        row.t = load->t;
        row.instant_ms = load->instant_ms;
        row.load = n;
    }
    hash_xxh3_128(h->body.json, SV_NONE, row.body);
    return buf_add(&s->rows, sv_make(&row, sizeof row), e);
}

static int by_commit(const void *a, const void *b)
{
    const struct version_row *x = a, *y = b;
    return x->t < y->t ? -1 : x->t > y->t;
}

static void add_to_digest(struct side *s, const struct version_row *row, uint64_t version)
{
    char text[FHIR_ID_MAX + 64];
    const uint64_t numbers[] = { row->t, (uint64_t)row->instant_ms, version, row->body[0],
                                 row->body[1] };
    size_t n = s->id_len;
    memcpy(text, s->id, n);
    text[n++] = 0;
    text[n++] = (char)s->type;
    text[n++] = (char)row->method;
    text[n++] = (char)row->online;
    text[n++] = (char)row->hole;
    key_put_u64(text + n, row->hole_at);
    n += 8;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++, n += 8)
        key_put_u64(text + n, numbers[i]);
    fhir_digest_text(&s->digest, sv_make(text, n));
}
_Static_assert(5 + 8 + 5 * 8 <= 64, "what stands behind an id fits");

/* false: the resource has no version that can be seen. */
static bool end_resource(struct side *s)
{
    struct version_row *rows = (struct version_row *)(void *)s->rows.ptr;
    size_t n = s->rows.len / sizeof *rows;
    uint64_t version = 0;
    if (n == 0)
        return false;
    if (n > 1)
        qsort(rows, n, sizeof *rows, by_commit);
    for (size_t i = 0; i < n; i++) {
        version = rows[i].online ? rows[i].version : version + 1;
        add_to_digest(s, &rows[i], version);
    }
    s->first_t = rows[0].t;
    s->first_load = rows[0].online ? 0 : rows[0].load;
    s->n_resources++;
    s->n_versions += n;
    s->current[s->type] += rows[n - 1].method != STORE_METHOD_DELETE;
    if (s->n_versions / TELL_EVERY != (s->n_versions - n) / TELL_EVERY)
        convert_tell(s->c, STORE_CONVERT_CHECKS, s->told + s->n_versions);
    return true;
}

/* ---- the old one ---- */

static err_code walk_old(struct side *s, const struct old_store *old, struct err *e)
{
    rocksdb_readoptions_t *ro;
    rocksdb_iterator_t *it = old_iterate(old, OLD_VERSIONS, &ro);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek_to_first(it); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        struct old_key key;
        struct value_head head;
        if (!old_key_split(sv_make(k, key_len), &key) || !old_value_split(sv_make(v, len), &head)) {
            rc = rocks_damaged(e);
            break;
        }
        if (!is_resource(s, key.type, key.id)) {
            (void)end_resource(s);
            begin_resource(s, key.type, key.id);
        }
        rc = add_version(s, key.kind, key.n, &head, e);
    }
    rc = rocks_iterator_end(it, ro, rc, e);
    (void)end_resource(s);
    return rc;
}

/* ---- the new one ---- */

struct new_side {
    struct side s;
    struct rocks *r;
    store_number number; /* of the resource under way; 0: none */
    /* births of one load and type, whose numbers follow each other */
    store_number births;
    uint32_t n_births;
    uint64_t rows_of_births; /* seen in `changes` */
};

/* The row of births says how many there are. */
static err_code end_births(struct new_side *x, struct err *e)
{
    struct births row = { 0 };
    if (x->n_births == 0)
        return ERR_OK;
    struct key_bytes k = key_change(number_type(x->births), KEY_BIRTHS, number_b(x->births), 0);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    size_t len = 0;
    char *v = rocksdb_get_cf(x->r->db, ro, x->r->cf[CF_CHANGES], k.ptr, k.len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    TRY(rocks_error(bad, "reading the data store", e));
    bool ok = v && births_split(sv_make(v, len), &row) && row.n == x->n_births;
    rocksdb_free(v);
    x->n_births = 0;
    return ok ? ERR_OK : differs("births are not counted right", e);
}

/* Which load gave the number is the one that brought the resource first. */
static err_code check_birth(struct new_side *x, struct err *e)
{
    const uint64_t b = number_b(x->number);
    if (load_table_find(x->s.loads, b) == NULL)
        return x->s.first_load ? differs("a resource has no number of its load", e) : ERR_OK;
    if (x->s.first_load != b)
        return differs("a resource has the number of another load", e);
    if (x->n_births && x->births + x->n_births != x->number)
        TRY(end_births(x, e));
    if (x->n_births == 0)
        x->births = x->number;
    /* from the first on, without a gap */
    if (number_k(x->number) != x->n_births++)
        return differs("a number is missing", e);
    return ERR_OK;
}

static err_code end_number(struct new_side *x, struct err *e)
{
    store_number number = 0;
    bool there = false, later;
    if (x->number == 0)
        return ERR_OK;
    if (!end_resource(&x->s))
        return differs("a version belongs to no load", e);
    TRY(ids_find(&x->r->ids, x->s.type, sv_make(x->s.id, x->s.id_len), &there, &number, &later, e));
    if (!there || number != x->number)
        return differs("an id has another number than its versions", e);
    return check_birth(x, e);
}

static err_code new_version(struct new_side *x, sv k, sv v, struct err *e)
{
    struct key_version_parts key;
    struct value_head head;
    if (!key_version_split(k, &key) || !value_split(v, &head))
        return rocks_damaged(e);
    const fhir_type type = number_type(key.number);
    if (key.number != x->number) {
        TRY(end_number(x, e));
        begin_resource(&x->s, type, head.id);
        x->number = key.number;
    }
    if (!is_resource(&x->s, type, head.id))
        return differs("a number has two ids", e);
    return add_version(&x->s, key.kind, key.n, &head, e);
}

static err_code walk_new(struct new_side *x, struct err *e)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_total_order_seek(ro, 1);
    rocksdb_readoptions_set_fill_cache(ro, 0);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(x->r->db, ro, x->r->cf[CF_VERSIONS]);
    err_code rc = ERR_OK;
    for (rocksdb_iter_seek_to_first(it); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        rc = new_version(x, sv_make(k, key_len), sv_make(v, len), e);
    }
    rc = rocks_iterator_end(it, ro, rc, e);
    if (rc == ERR_OK)
        rc = end_number(x, e);
    return rc == ERR_OK ? end_births(x, e) : rc;
}

static err_code check_sums(const struct new_side *x, struct err *e)
{
    for (unsigned type = 1; type <= fhir_n_types(); type++) {
        uint64_t n;
        pthread_mutex_lock(&x->r->order.lock);
        err_code rc = counts_sum(x->r, (fhir_type)type, 0, SV_NONE, &n, e);
        pthread_mutex_unlock(&x->r->order.lock);
        TRY(rc);
        if (n != x->s.current[type])
            return differs("the count of a type is another", e);
    }
    return ERR_OK;
}

/* ---- commits ---- */

/* True: they say the same, as far as the old one says anything. */
static bool same_commit(const struct commit_value *x, const struct commit_value *y, size_t len)
{
    return x->instant_ms == y->instant_ms &&
           (len < COMMIT_VALUE_BYTES - 1 ||
            (x->kind == y->kind && x->bulk == y->bulk && x->n_resources == y->n_resources));
}

/* Records of commits and of published loads, side by side. */
static err_code check_records(const struct converting *c, struct rocks *r, const char *letter,
                              struct err *e)
{
    rocksdb_readoptions_t *ro, *new_ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = old_iterate(&c->old, OLD_COMMITS, &ro);
    rocksdb_iterator_t *now = rocksdb_create_iterator_cf(r->db, new_ro, r->cf[CF_COMMITS]);
    err_code rc = ERR_OK;
    rocksdb_iter_seek(it, letter, 1);
    rocksdb_iter_seek(now, letter, 1);
    for (;; rocksdb_iter_next(it), rocksdb_iter_next(now)) {
        size_t key_len = 0, now_len = 0, len, value_len;
        const char *k = rocksdb_iter_valid(it) ? rocksdb_iter_key(it, &key_len) : NULL;
        const char *l = rocksdb_iter_valid(now) ? rocksdb_iter_key(now, &now_len) : NULL;
        bool more = key_len && k[0] == letter[0];
        if (!more && !(now_len && l[0] == letter[0]))
            break;
        struct commit_value x, y;
        bool same = more && sv_eq(sv_make(k, key_len), sv_make(l, now_len));
        if (same) {
            const char *v = rocksdb_iter_value(it, &len), *w = rocksdb_iter_value(now, &value_len);
            same = letter[0] == 'b' ? sv_eq(sv_make(v, len), sv_make(w, value_len))
                                    : commit_value_split(sv_make(v, len), &x) &&
                                          commit_value_split(sv_make(w, value_len), &y) &&
                                          same_commit(&x, &y, len);
        }
        if (!same) {
            rc = differs("its commits are others", e);
            break;
        }
    }
    rc = rocks_iterator_end(now, new_ro, rc, e);
    return rocks_iterator_end(it, ro, rc, e);
}

/* ---- both ---- */

static err_code compare(const struct side *old, const struct side *now, struct err *e)
{
    if (old->n_versions != now->n_versions)
        return differs("it has another number of versions", e);
    if (old->n_resources != now->n_resources)
        return differs("it has another number of resources", e);
    if (old->digest.w[0] != now->digest.w[0] || old->digest.w[1] != now->digest.w[1])
        return differs("a version is another", e);
    return ERR_OK;
}

static err_code walk_both(struct converting *c, struct side *old, struct new_side *now,
                          struct err *e)
{
    TRY(check_records(c, now->r, "b", e));
    TRY(check_records(c, now->r, "c", e));
    TRY(walk_old(old, &c->old, e));
    now->s.told = old->n_versions;
    TRY(walk_new(now, e));
    TRY(compare(old, &now->s, e));
    return check_sums(now, e);
}

err_code check_all(struct converting *c, struct rocks *r, struct err *e)
{
    struct side *old = calloc(1, sizeof *old);
    struct new_side *now = calloc(1, sizeof *now);
    if (old == NULL || now == NULL)
        abort();
    *old = (struct side){ .c = c, .loads = c->old.loads, .rows = BUF_INIT(GROUP_MAX) };
    now->r = r;
    now->s = (struct side){ .c = c, .loads = r->seen.loads, .rows = BUF_INIT(GROUP_MAX) };
    err_code rc = walk_both(c, old, now, e);
    if (rc == ERR_OK) {
        c->done.n_resources = now->s.n_resources;
        c->done.n_versions = now->s.n_versions;
        c->done.digest = now->s.digest;
    }
    buf_done(&old->rows);
    buf_done(&now->s.rows);
    free(old);
    free(now);
    return rc;
}
