/* versions.c - iterators over versions, and the versions of one resource as of T.
 *
 * All versions of one number stand together: bulk loads first (newest load first, which is not the
 * order of their commits), then online commits, newest first. An id_group is one such run. To
 * resolve it as of T: the newest visible bulk version, or the first online version with t <= T,
 * whichever has the larger t. Version number (I5): online versions carry theirs; a bulk version's
 * is that of the online version below it plus the bulk versions between.
 *
 * An iterator stands where it likes, or it is open inside the gate only (gate.c). The second kind
 * rests: it is closed, the gate left, and a later seek enters anew. That is sound because an
 * iterator's own snapshot decides nothing. What a reader sees is settled before, by his commit T
 * and his table of loads: every version up to T is in the store by then, none is ever taken out of
 * it (nothing deletes from this column family), and what came later has a commit behind T, or a
 * load that his table does not name. So each group reads the same through any iterator that was
 * made after T was settled. */
#include "fhir/large.h"
#include "store/rocks/read_private.h"

#define SKIP_BY_NEXT 8u /* versions passed over one by one before a seek */

/* ---- iterators ---- */

/* What a cursor reads ahead in each sorted run: some blocks as they are on disk. The resources of a
 * type lie in pieces, one for each load, and a seek to the next piece throws away what was read
 * ahead. With 2 MiB an export of 1 GB of JSON read 3 GB of a store of 190 MB. */
#define READAHEAD (64u << 10)

void iter_open(struct iter *x, struct rocks *r, struct key_bytes upper, iter_kind kind,
               struct gate *gate)
{
    *x = (struct iter){ .r = r, .gate = gate, .upper = upper };
    x->ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_iterate_upper_bound(x->ro, x->upper.ptr, x->upper.len);
    if (kind != ITER_ONE) {
        rocksdb_readoptions_set_total_order_seek(x->ro, 1);
        /* the store writes none */
        rocksdb_readoptions_set_ignore_range_deletions(x->ro, 1);
    }
    /* of a large block it would hold a second copy, and stays are short */
    if (kind == ITER_RUN && gate == NULL)
        rocksdb_readoptions_set_readahead_size(x->ro, READAHEAD);
    /* a large block would push out what others have there */
    if (kind != ITER_ONE || gate)
        rocksdb_readoptions_set_fill_cache(x->ro, 0);
}

void iter_rest(struct iter *x)
{
    if (x->it == NULL)
        return;
    rocksdb_iter_destroy(x->it);
    x->it = NULL;
    x->valid = false;
    if (x->gate)
        gate_leave(x->gate, x->r);
}

void iter_close(struct iter *x)
{
    iter_rest(x);
    if (x->ro)
        rocksdb_readoptions_destroy(x->ro);
    x->ro = NULL;
}

void iter_seek(struct iter *x, const struct key_bytes *to)
{
    if (x->it == NULL) {
        x->halted = x->gate && gate_enter_unless(x->gate, x->r, x->halt, NULL) != ERR_OK;
        x->valid = false;
        if (x->halted)
            return;
        x->it = rocksdb_create_iterator_cf(x->r->db, x->ro, x->r->cf[CF_VERSIONS]);
    }
    rocksdb_iter_seek(x->it, to->ptr, to->len);
    x->valid = rocksdb_iter_valid(x->it);
}

static bool at_large(const struct iter *x)
{
    size_t len = 0;
    if (x->valid)
        (void)rocksdb_iter_value(x->it, &len);
    return len > LIMIT_WHOLE_BYTES;
}

/* Past a large one others come first, and what was read of it is given back before the next one is
 * read: an iterator holds two blocks for a moment, and its read-ahead's copy for longer. */
void iter_next(struct iter *x)
{
    if (x->gate && at_large(x)) {
        struct key_bytes behind;
        size_t len;
        const char *k = rocksdb_iter_key(x->it, &len);
        /* any other is damaged, and its reader has said so */
        if (len <= KEY_MAX) {
            memcpy(behind.ptr, k, len);
            behind.ptr[len] = 0;
            behind.len = len + 1;
            iter_rest(x);
            x->n_large++;
            iter_seek(x, &behind);
            return;
        }
    }
    rocksdb_iter_next(x->it);
    x->valid = rocksdb_iter_valid(x->it);
}

err_code iter_end(const struct iter *x, struct err *e)
{
    char *bad = NULL;
    if (x->halted)
        return ERR(e, ERR_CANCELLED, "the job was stopped");
    rocksdb_iter_get_error(x->it, &bad);
    return rocks_error(bad, "reading the data store", e);
}

err_code iter_parts(const struct iter *x, struct key_version_parts *out, struct err *e)
{
    size_t len;
    const char *k = rocksdb_iter_key(x->it, &len);
    return key_version_split(sv_make(k, len), out) ? ERR_OK : rocks_damaged(e);
}

/* ---- the versions of one resource ---- */

void id_group_init(struct id_group *g)
{
    memset(g, 0, sizeof *g);
    buf_init(&g->best.value, ROCKS_BODY_MAX);
}

void id_group_done(struct id_group *g)
{
    buf_done(&g->best.value);
    free(g->bulk_t);
}

static void bulk_t_add(struct id_group *g, uint64_t t)
{
    if (g->n_bulk == g->bulk_cap) {
        g->bulk_cap = g->bulk_cap ? g->bulk_cap * 2 : 8;
        g->bulk_t = realloc(g->bulk_t, g->bulk_cap * sizeof *g->bulk_t);
        if (g->bulk_t == NULL)
            abort();
    }
    g->bulk_t[g->n_bulk++] = t;
}

/* A large body is cut while it lies in the store's own memory. False: it is not that large. */
bool candidate_cut(struct candidate *c, struct fhir_body *body, err_code *rc, struct err *e)
{
    struct fhir_body cut;
    c->left_out = 0;
    if (body->json.len <= LIMIT_WHOLE_BYTES)
        return false;
    c->placed = false;
    *rc = fhir_body_cut(body, &c->value, &cut, e);
    if (*rc == ERR_OK) {
        c->left_out = body->json.len - cut.json.len;
        *body = cut;
    }
    return true;
}

/* A copy of the body: in the group's own memory, or where the cursor's user wants it. */
static err_code keep_body(struct id_group *g, struct fhir_body *body, struct err *e)
{
    const struct store_cursor *to = g->cursor;
    struct buf *b = &g->best.value;
    sv *json = &body->json;
    size_t gap = 0;
    err_code rc;
    buf_clear(b);
    g->best.left_out = 0;
    g->best.placed = false;
    g->best.apart = to && to->giants && json->len > LIMIT_GIANT_BYTES;
    if (g->best.apart) {
        json->ptr = NULL;
        return ERR_OK;
    }
    if ((g->light || (to && to->light)) && candidate_cut(&g->best, body, &rc, e))
        return rc;
    g->best.placed = to && to->place;
    if (g->best.placed) {
        b = to->place;
        gap = to->gap;
    }
    TRY(buf_reserve(b, gap + json->len + 1, e));
    char *at = b->ptr + b->len + gap;
    memcpy(at, json->ptr, json->len);
    json->ptr = at;
    return ERR_OK;
}

static void keep_id(struct id_group *g, sv id)
{
    g->id_len = id.len;
    if (id.len)
        memcpy(g->id, id.ptr, id.len);
}

/* Keep a value as the best so far. */
static err_code keep(struct id_group *g, sv value, bool body, uint64_t t, int64_t instant_ms,
                     struct err *e)
{
    struct candidate *c = &g->best;
    if (!value_split(value, &c->head))
        return rocks_damaged(e);
    keep_id(g, c->head.id);
    if (body && !c->head.erased)
        TRY(keep_body(g, &c->head.body, e));
    c->there = true;
    c->t = t;
    c->instant_ms = c->head.online ? c->head.instant_ms : instant_ms;
    return ERR_OK;
}

static err_code keep_at(struct id_group *g, struct iter *x, const struct key_version_parts *p,
                        bool body, uint64_t t, int64_t instant_ms, struct err *e)
{
    size_t len;
    const char *v = rocksdb_iter_value(x->it, &len);
    g->best.key = key_version(p->number, p->kind, p->n);
    return keep(g, sv_make(v, len), body, t, instant_ms, e);
}

/* An erased version is none, and hides those before it: as of its commit there is nothing. */
static void pass_erased(struct id_group *g)
{
    g->hollow = g->best.there && g->best.head.erased;
    g->best.there = g->best.there && !g->hollow;
}

err_code id_group_read_birth(struct id_group *g, struct rocks *r, store_number number,
                             const struct bulk_load *load, struct err *e)
{
    struct key_bytes key = key_version(number, KEY_BULK, load->b);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    g->best.there = false;
    g->number = number;
    g->version = 1;
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned_cf(r->db, ro, r->cf[CF_VERSIONS], key.ptr, key.len, &bad);
    rocksdb_readoptions_destroy(ro);
    err_code rc = rocks_error(bad, "reading the data store", e);
    if (rc == ERR_OK) {
        size_t len = 0;
        const char *v = found ? rocksdb_pinnableslice_value(found, &len) : NULL;
        rc = v ? keep(g, sv_make(v, len), true, load->t, load->instant_ms, e) : rocks_damaged(e);
        pass_erased(g);
    }
    if (found)
        rocksdb_pinnableslice_destroy(found);
    return rc;
}

/* Read the group at the iterator and leave the iterator behind it. ERR_EOF: the iterator is at its
 * end. Afterwards g->best.there says whether anything was visible as of `as_of`. */
err_code id_group_read(struct id_group *g, struct iter *x, const struct load_table *loads,
                       uint64_t as_of, bool body, struct err *e)
{
    if (!x->valid) {
        TRY(iter_end(x, e));
        return ERR_EOF;
    }
    g->best.there = g->hollow = false;
    g->n_bulk = 0;
    uint64_t online_version = 0, online_t = 0;
    unsigned passed = 0;
    bool first = true;
    while (x->valid) {
        struct key_version_parts p;
        TRY(iter_parts(x, &p, e));
        if (first) {
            g->number = p.number;
            first = false;
        } else if (p.number != g->number) {
            break;
        }
        if (p.kind == KEY_BULK) {
            /* most neighbours came with one load */
            const struct bulk_load *b = g->load;
            if (b == NULL || b->b != p.n)
                b = g->load = load_table_find(loads, p.n);
            if (b && b->t <= as_of) {
                bulk_t_add(g, b->t);
                if (!g->best.there || b->t > g->best.t)
                    TRY(keep_at(g, x, &p, body, b->t, b->instant_ms, e));
            }
        } else if (online_t == 0 && p.n <= as_of) {
            struct value_head h;
            size_t len;
            const char *v = rocksdb_iter_value(x->it, &len);
            if (!value_split(sv_make(v, len), &h) || !h.online)
                return rocks_damaged(e);
            online_t = p.n;
            online_version = h.version;
            if (!g->best.there || p.n > g->best.t)
                TRY(keep_at(g, x, &p, body, p.n, 0, e));
        } else if (++passed == SKIP_BY_NEXT) {
            struct key_bytes to = online_t ? key_number(g->number + 1) /* only older ones follow */
                                           : key_version(g->number, KEY_ONLINE, as_of);
            iter_seek(x, &to);
            passed = 0;
            /* stands where it should: the next group, or the newest that counts */
            continue;
        }
        iter_next(x);
    }
    if (!x->valid)
        TRY(iter_end(x, e));
    g->version = online_version;
    if (g->best.there && (online_t == 0 || g->best.t > online_t))
        for (uint64_t i = 0; i < g->n_bulk; i++)
            g->version += g->bulk_t[i] > online_t;
    pass_erased(g);
    return ERR_OK;
}

void id_group_version(const struct id_group *g, struct store_version *out)
{
    *out = (struct store_version){ .type = number_type(g->number),
                                   .id = sv_make(g->id, g->id_len),
                                   .number = g->number,
                                   .t = g->best.t,
                                   .instant_ms = g->best.instant_ms,
                                   .version = g->version,
                                   .method = g->best.head.method,
                                   .body = g->best.head.body,
                                   .left_out = g->best.left_out,
                                   .placed = g->best.placed };
    if (out->method == STORE_METHOD_DELETE)
        out->body = (struct fhir_body){ 0 };
}
