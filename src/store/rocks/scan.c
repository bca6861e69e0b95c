/* scan.c - reading as of T.
 *
 * All versions of one id stand together: bulk loads first (newest load first, which is not the
 * order of their commits), then online commits, newest first. A group is one such run. To resolve
 * it as of T: the newest visible bulk version, or the first online version with t <= T, whichever
 * has the larger t. Version number (I5): online versions carry theirs; a bulk version's is that of
 * the online version below it plus the bulk versions between. */
#include "store/rocks/rocks_private.h"

#include "base/buf.h"
#include "base/limits.h"
#include "fhir/large.h"

#define IDS_MAX_BYTES \
    (64u << 20)         /* of changed ids kept in memory; more: the type is scanned instead */
#define SKIP_BY_NEXT 8u /* versions passed over one by one before a seek */

/* The gate that such a read passes, or NULL. */
static struct gate *gate_for(struct rocks *r, fhir_type type, bool light)
{
    return light && type == r->env->gate.type ? &r->env->gate : NULL;
}

static struct key_bytes after_type(fhir_type type)
{
    return key_id_bound((fhir_type)(type + 1), SV_NONE);
}

/* First key behind all of an id: the terminator 0x00 becomes 0x01. */
static struct key_bytes after_id(fhir_type type, sv id)
{
    struct key_bytes k = key_version_prefix(type, id);
    k.ptr[k.len - 1] = 1;
    return k;
}

/* ---- one group ---- */

struct candidate {
    bool there;
    uint64_t t;
    int64_t instant_ms;
    struct value_head head; /* body.json is in `value` when the body is wanted */
    bool placed;            /* ... or where the cursor's user wants it */
    size_t left_out;        /* store_version.left_out */
    struct buf value;
};

struct id_group {
    fhir_type type;
    char id[FHIR_ID_MAX];
    size_t id_len;
    struct candidate best;
    const struct store_cursor *cursor; /* that asks, and may say where bodies go; or NULL */
    bool light;                        /* large bodies are cut */
    uint64_t n_bulk;                   /* visible bulk versions */
    uint64_t *bulk_t;                  /* their commits, as far as there is room */
    size_t bulk_cap;
    uint64_t version; /* of best, once resolved */
    const struct bulk_load
        *load; /* the load found last, in the one table that the group is read with */
};

static void id_group_init(struct id_group *g, size_t max_value)
{
    memset(g, 0, sizeof *g);
    buf_init(&g->best.value, max_value);
}

static void id_group_done(struct id_group *g)
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

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "reading the data store: a record is damaged");
}

/* A large body is cut while it lies in the store's own memory. False: it is not that large. */
static bool cut_body(struct candidate *c, struct fhir_body *body, err_code *rc, struct err *e)
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
    if ((g->light || (to && to->light)) && cut_body(&g->best, body, &rc, e))
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

/* Keep the value at the iterator as the best so far. */
static err_code keep(struct id_group *g, struct iter *x, bool body, uint64_t t, int64_t instant_ms,
                     struct err *e)
{
    size_t len;
    const char *v = rocksdb_iter_value(x->it, &len);
    struct candidate *c = &g->best;
    if (!value_split(sv_make(v, len), &c->head))
        return damaged(e);
    if (body)
        TRY(keep_body(g, &c->head.body, e));
    c->there = true;
    c->t = t;
    c->instant_ms = c->head.online ? c->head.instant_ms : instant_ms;
    return ERR_OK;
}

/* Read the group at the iterator and leave the iterator behind it. ERR_EOF: the iterator is at its
 * end. Afterwards g->best.there says whether anything was visible as of `as_of`. */
static err_code id_group_read(struct id_group *g, struct iter *x, const struct load_table *loads,
                              uint64_t as_of, bool body, struct err *e)
{
    if (!x->valid) {
        TRY(iter_end(x, e));
        return ERR_EOF;
    }
    g->best.there = false;
    g->n_bulk = 0;
    uint64_t online_version = 0, online_t = 0;
    unsigned passed = 0;
    bool first = true;
    while (x->valid) {
        size_t len;
        const char *k = rocksdb_iter_key(x->it, &len);
        struct key_version_parts p;
        if (!key_version_split(sv_make(k, len), &p))
            return damaged(e);
        if (first) {
            g->type = p.type;
            g->id_len = p.id.len;
            memcpy(g->id, p.id.ptr, p.id.len);
            first = false;
        } else if (p.type != g->type || !sv_eq(p.id, sv_make(g->id, g->id_len))) {
            break;
        }
        if (p.kind == KEY_BULK) {
            const struct bulk_load *b = g->load; /* most neighbours came with one load */
            if (b == NULL || b->b != p.n)
                b = g->load = load_table_find(loads, p.n);
            if (b && b->t <= as_of) {
                bulk_t_add(g, b->t);
                if (!g->best.there || b->t > g->best.t)
                    TRY(keep(g, x, body, b->t, b->instant_ms, e));
            }
        } else if (online_t == 0 && p.n <= as_of) {
            struct value_head h;
            const char *v = rocksdb_iter_value(x->it, &len);
            if (!value_split(sv_make(v, len), &h) || !h.online)
                return damaged(e);
            online_t = p.n;
            online_version = h.version;
            if (!g->best.there || p.n > g->best.t)
                TRY(keep(g, x, body, p.n, 0, e));
        } else if (++passed == SKIP_BY_NEXT) {
            sv id = sv_make(g->id, g->id_len);
            if (!fhir_id_ok(id))
                return damaged(e);
            struct key_bytes to = online_t ? after_id(g->type, id) /* only older ones follow */
                                           : key_version(g->type, id, KEY_ONLINE, as_of);
            iter_seek(x, &to);
            passed = 0;
            continue; /* stands where it should: the next group, or the newest that counts */
        }
        iter_next(x);
    }
    if (!x->valid)
        TRY(iter_end(x, e));
    g->version = online_version;
    if (g->best.there && (online_t == 0 || g->best.t > online_t))
        for (uint64_t i = 0; i < g->n_bulk; i++)
            g->version += g->bulk_t[i] > online_t;
    return ERR_OK;
}

static void id_group_version(const struct id_group *g, struct store_version *out)
{
    *out = (struct store_version){ .type = g->type,
                                   .id = sv_make(g->id, g->id_len),
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

/* as_of and the table that goes with it: the table is taken after T, so it holds every load up to
 * T. */
static uint64_t settle(struct rocks *r, uint64_t as_of_t, struct load_table **loads)
{
    struct store_commit last = r->base.ops->last(&r->base);
    *loads = load_table_ref(r);
    return as_of_t < last.t ? as_of_t : last.t;
}

static err_code read_one(struct rocks *r, fhir_type type, sv id, uint64_t as_of_t, bool body,
                         struct id_group *g, uint64_t *as_of_read, struct err *e)
{
    struct load_table *loads;
    uint64_t as_of = settle(r, as_of_t, &loads);
    *as_of_read = as_of;
    struct iter x;
    struct key_bytes from = key_version_prefix(type, id);
    iter_open(&x, r, after_id(type, id), false, gate_for(r, type, g->light));
    iter_seek(&x, &from);
    g->load = NULL; /* of another table */
    err_code rc = id_group_read(g, &x, loads, as_of, body, e);
    iter_close(&x);
    load_table_unref(loads);
    if (rc == ERR_EOF) {
        g->best.there = false;
        rc = ERR_OK;
    }
    return rc;
}

err_code rocks_current(struct rocks *r, fhir_type type, sv id, struct rocks_current *out,
                       struct buf *body, struct err *e)
{
    struct id_group g;
    uint64_t as_of;
    id_group_init(&g, SIZE_MAX / 2);
    err_code rc = read_one(r, type, id, STORE_NOW, true, &g, &as_of, e);
    if (rc == ERR_OK) {
        *out = (struct rocks_current){ 0 };
        if (g.best.there)
            *out = (struct rocks_current){ g.version, g.best.t,
                                           g.best.head.method == STORE_METHOD_DELETE };
        if (g.best.there && !out->deleted)
            rc = buf_add(body, g.best.head.body.json, e);
    }
    id_group_done(&g);
    return rc;
}

bool rocks_is_near(struct store *st, fhir_type type, sv id)
{
    struct rocks *r = (struct rocks *)st;
    return recent_has(r->env->recent, &r->recent, type, id);
}

err_code rocks_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t, bool light,
                   struct arena *a, struct store_version *out, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    struct id_group g;
    uint64_t as_of;
    if (recent_get(r->env->recent, &r->recent, type, id, as_of_t, a, out))
        return ERR_OK;
    id_group_init(&g, SIZE_MAX / 2);
    g.light = light;
    err_code rc = read_one(r, type, id, as_of_t, true, &g, &as_of, e);
    if (rc == ERR_OK && !g.best.there)
        rc = ERR(e, ERR_NOT_FOUND, "no such resource");
    if (rc == ERR_OK) {
        struct store_version v;
        id_group_version(&g, &v);
        if (sv_eq(v.id, id) && v.left_out == 0) /* R1: what is kept is what was asked for */
            recent_put(r->env->recent, &r->recent, as_of, &v);
        v.id = arena_sv(a, v.id);
        if (v.body.json.len)
            v.body.json = arena_sv(a, v.body.json);
        if (v.id.ptr == NULL || (v.method != STORE_METHOD_DELETE && v.body.json.ptr == NULL))
            rc = arena_oom(a, e);
        else
            *out = v;
    }
    id_group_done(&g);
    return rc;
}

/* ---- cursors ---- */

#define AHEAD_FIRST  4u           /* rows of a first stay, and of one behind a large record */
#define AHEAD_MOST   256u         /* ... of a later one, and groups that it looks at for each row */
#define AHEAD_BYTES  (512u << 10) /* of bodies; the last one may go beyond */
#define AHEAD_GROUPS 4u

struct ahead_row {
    struct store_version v; /* but for its views: */
    size_t at;              /* of the id, the body behind it */
};
/* What a stay inside the gate brought. A block can be large whatever small record the iterator stands at in it, so
 * none stays open outside; what opening one costs is shared by the rows of a stay. */
struct ahead {
    struct buf rows, bytes; /* struct ahead_row */
    size_t at, want;
    bool end;
};

struct rocks_cursor {
    struct store_cursor base;
    struct rocks *r;
    enum { SCAN, CHANGES_BY_SCAN, CHANGES_BY_ID, HISTORY } kind;
    uint64_t as_of, after_t;
    struct load_table *loads;
    struct iter x;
    struct key_bytes from, upper; /* SCAN, CHANGES_BY_SCAN: where it begins, or goes on, and ends */
    struct ahead ahead;           /* the same, when they pass the gate */
    struct id_group g;
    fhir_type type;
    struct buf changes; /* CHANGES_BY_ID: change_next() reads them */
    size_t changes_at;
    rocksdb_readoptions_t *get;
    struct buf rows; /* HISTORY: struct history_row, newest first */
    size_t at;
};

static struct rocks_cursor *cursor_new(struct rocks *r, int kind, uint64_t as_of_t)
{
    struct rocks_cursor *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->base.ops = r->base.ops;
    c->r = r;
    c->kind = kind;
    c->as_of = settle(r, as_of_t, &c->loads);
    id_group_init(&c->g, SIZE_MAX / 2);
    c->g.cursor = &c->base;
    buf_init(&c->changes, IDS_MAX_BYTES);
    buf_init(&c->rows, SIZE_MAX / 2); /* some 40 bytes a version */
    buf_init(&c->ahead.rows, SIZE_MAX / 2);
    buf_init(&c->ahead.bytes, SIZE_MAX / 2);
    c->ahead.want = AHEAD_FIRST;
    return c;
}

void rocks_cursor_close(struct store_cursor *base)
{
    struct rocks_cursor *c = (struct rocks_cursor *)base;
    iter_close(&c->x);
    id_group_done(&c->g);
    buf_done(&c->changes);
    buf_done(&c->ahead.rows);
    buf_done(&c->ahead.bytes);
    if (c->get)
        rocksdb_readoptions_destroy(c->get);
    load_table_unref(c->loads);
    buf_done(&c->rows);
    free(c);
}

static void scan_start(struct rocks_cursor *c, const struct store_range *range)
{
    c->from = key_id_bound(range->type, range->from_id);
    c->upper = range->to_id.len ? key_id_bound(range->type, range->to_id) : after_type(range->type);
    c->type = range->type;
}

err_code rocks_scan(struct store *st, const struct store_range *range, uint64_t as_of_t,
                    struct store_cursor **out, struct err *e)
{
    (void)e;
    struct rocks_cursor *c = cursor_new((struct rocks *)st, SCAN, as_of_t);
    scan_start(c, range);
    *out = &c->base;
    return ERR_OK;
}

/* The value of a key that is there, its body copied into c->g. */
static err_code read_value(struct rocks_cursor *c, struct key_bytes key, struct value_head *h,
                           struct err *e)
{
    struct gate *gate = gate_for(c->r, c->type, c->base.light);
    struct buf *to = &c->g.best.value;
    char *bad = NULL;
    size_t len = 0;
    if (c->get == NULL)
        c->get = rocksdb_readoptions_create();
    buf_clear(to);
    c->g.best.placed = false;
    c->g.best.left_out = 0;
    if (gate)
        gate_enter(gate, c->r);
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned_cf(c->r->db, c->get, c->r->cf[CF_VERSIONS], key.ptr, key.len, &bad);
    err_code rc = rocks_error(bad, "reading the data store", e);
    if (rc == ERR_OK) {
        const char *v = found ? rocksdb_pinnableslice_value(found, &len) : NULL;
        rc = v && value_split(sv_make(v, len), h) ? ERR_OK : damaged(e);
    }
    if (rc == ERR_OK && !(c->base.light && cut_body(&c->g.best, &h->body, &rc, e))) {
        rc = buf_add(to, h->body.json, e);
        h->body.json = buf_sv(to);
    }
    if (found)
        rocksdb_pinnableslice_destroy(found);
    if (gate) {
        gate_leave(gate, c->r);
        /* small neighbours come out of one block, and large ones would push out what others have in the cache */
        rocksdb_readoptions_set_fill_cache(c->get, len <= LIMIT_WHOLE_BYTES);
    }
    return rc;
}

/* An online version by its key alone. It is the newest as of the cursor's commit, so its number is the one that
 * stands with it (I5). */
static err_code read_exact(struct rocks_cursor *c, const struct change *ch, struct err *e)
{
    struct id_group *g = &c->g;
    struct value_head *h = &g->best.head;
    TRY(read_value(c, key_version(c->type, ch->id, KEY_ONLINE, ch->t), h, e));
    if (!h->online)
        return damaged(e);
    g->type = c->type;
    g->id_len = ch->id.len;
    memcpy(g->id, ch->id.ptr, ch->id.len);
    g->best.there = true;
    g->best.t = ch->t;
    g->best.instant_ms = h->instant_ms;
    g->version = h->version;
    return ERR_OK;
}

/* What a row stands for, into c->g. A loaded version's number is counted from those around it: its id is
 * walked, with the one iterator, which goes forward from id to id past files whose filter does not know it. */
static err_code read_change(struct rocks_cursor *c, const struct change *ch, struct err *e)
{
    if (!fhir_id_ok(ch->id))
        return damaged(e);
    if (ch->b == 0)
        return read_exact(c, ch, e);
    if (c->x.ro == NULL)
        iter_open(&c->x, c->r, after_type(c->type), false, gate_for(c->r, c->type, c->base.light));
    struct key_bytes from = key_version_prefix(c->type, ch->id);
    iter_seek(&c->x, &from);
    err_code rc = id_group_read(&c->g, &c->x, c->loads, c->as_of, true, e);
    if (c->x.gate)
        iter_rest(&c->x);
    if (rc == ERR_EOF || (rc == ERR_OK && c->g.best.t != ch->t))
        return damaged(e);
    return rc;
}

static err_code next_by_id(struct rocks_cursor *c, struct store_version *out, struct err *e)
{
    struct change ch;
    if (!change_next(&c->changes, &c->changes_at, &ch))
        return ERR_EOF;
    TRY(read_change(c, &ch, e));
    id_group_version(&c->g, out);
    return ERR_OK;
}

/* Is what the scan has read one of its rows? */
static bool is_row(const struct rocks_cursor *c)
{
    const struct candidate *best = &c->g.best;
    return best->there &&
           (c->kind == SCAN ? best->head.method != STORE_METHOD_DELETE : best->t > c->after_t);
}

static err_code ahead_add(struct ahead *a, const struct id_group *g, struct err *e)
{
    struct ahead_row row = { .at = a->bytes.len };
    id_group_version(g, &row.v);
    TRY(buf_add(&a->bytes, row.v.id, e));
    TRY(buf_add(&a->bytes, row.v.body.json, e));
    return buf_add(&a->rows, sv_make(&row, sizeof row), e);
}

/* One stay in the gate: some rows, of those that stand from c->from on. */
static err_code ahead_fill(struct rocks_cursor *c, struct err *e)
{
    struct ahead *a = &c->ahead;
    struct id_group *g = &c->g;
    size_t n = 0, n_groups = 0;
    err_code rc = ERR_OK;
    buf_clear(&a->rows);
    buf_clear(&a->bytes);
    a->at = 0;
    c->x.n_large = 0;
    iter_seek(&c->x, &c->from);
    while (n < a->want && n_groups++ < AHEAD_GROUPS * a->want && a->bytes.len < AHEAD_BYTES) {
        if ((rc = id_group_read(g, &c->x, c->loads, c->as_of, true, e)) != ERR_OK)
            break;
        sv id = sv_make(g->id, g->id_len);
        if (!fhir_id_ok(id)) {
            rc = damaged(e);
            break;
        }
        if (is_row(c)) {
            if ((rc = ahead_add(a, g, e)) != ERR_OK)
                break;
            n++;
        }
        c->from = after_id(g->type, id);
        if (c->x.n_large) /* a stay that met one is short; this one, at what is read already, goes on */
            a->want = AHEAD_FIRST;
    }
    iter_rest(&c->x);
    if (rc == ERR_EOF)
        a->end = true;
    else if (rc != ERR_OK && n == 0)
        return rc; /* else it comes up again, when it is its turn */
    if (c->x.n_large == 0 && a->want < AHEAD_MOST)
        a->want *= 4;
    return ERR_OK;
}

static err_code next_ahead(struct rocks_cursor *c, struct store_version *out, struct err *e)
{
    struct ahead *a = &c->ahead;
    while (a->at == a->rows.len / sizeof(struct ahead_row)) {
        if (a->end)
            return ERR_EOF;
        TRY(ahead_fill(c, e));
    }
    const struct ahead_row *row = (const struct ahead_row *)(const void *)a->rows.ptr + a->at++;
    *out = row->v;
    out->id.ptr = a->bytes.ptr + row->at;
    if (out->body.json.len)
        out->body.json.ptr = out->id.ptr + out->id.len;
    return ERR_OK;
}

static err_code next_of_history(struct rocks_cursor *c, struct store_version *out, struct err *e);

err_code rocks_cursor_next(struct store_cursor *base, struct store_version *out, struct err *e)
{
    struct rocks_cursor *c = (struct rocks_cursor *)base;
    if (c->kind == HISTORY)
        return next_of_history(c, out, e);
    if (c->kind == CHANGES_BY_ID)
        return next_by_id(c, out, e);
    if (c->x.ro == NULL) { /* not before it is known whether it reads light */
        iter_open(&c->x, c->r, c->upper, true, gate_for(c->r, c->type, base->light));
        if (c->x.gate == NULL)
            iter_seek(&c->x, &c->from);
    }
    if (c->x.gate)
        return next_ahead(c, out, e);
    do {
        TRY(id_group_read(&c->g, &c->x, c->loads, c->as_of, true, e));
    } while (!is_row(c));
    id_group_version(&c->g, out);
    return ERR_OK;
}

/* ---- history ---- */

/* Versions of one id are listed by their keys; each one's body is read when it is its turn, so that memory is that of
 * one, however often the resource was written. */
struct history_row {
    uint64_t t, n;
    int64_t instant_ms; /* of a bulk load; online versions say it themselves */
    key_kind kind;
};

static int newer_first(const void *a, const void *b)
{
    const struct history_row *x = a, *y = b;
    return x->t < y->t ? 1 : x->t > y->t ? -1 : 0;
}

/* Keys bring their values' blocks, so the list passes the gate whoever asks. */
static err_code history_list(struct rocks_cursor *c, sv of, struct err *e)
{
    CLEANUP_ITER struct iter x;
    struct key_bytes from = key_version_prefix(c->type, of);
    iter_open(&x, c->r, after_id(c->type, of), false, gate_for(c->r, c->type, true));
    for (iter_seek(&x, &from); x.valid; iter_next(&x)) {
        size_t len;
        const char *k = rocksdb_iter_key(x.it, &len);
        struct key_version_parts p;
        if (!key_version_split(sv_make(k, len), &p))
            return damaged(e);
        struct history_row row = { .t = p.n, .n = p.n, .kind = p.kind };
        if (p.kind == KEY_BULK) {
            const struct bulk_load *b = load_table_find(c->loads, p.n);
            row.t = b ? b->t : UINT64_MAX;
            row.instant_ms = b ? b->instant_ms : 0;
        }
        if (row.t <= c->as_of)
            TRY(buf_add(&c->rows, sv_make(&row, sizeof row), e));
    }
    return iter_end(&x, e);
}

static err_code next_of_history(struct rocks_cursor *c, struct store_version *out, struct err *e)
{
    size_t n_rows = c->rows.len / sizeof(struct history_row);
    if (c->at == n_rows)
        return ERR_EOF;
    const struct history_row *row = (const struct history_row *)(const void *)c->rows.ptr + c->at;
    struct id_group *g = &c->g;
    sv id = sv_make(g->id, g->id_len);
    TRY(read_value(c, key_version(c->type, id, row->kind, row->n), &g->best.head, e));
    const struct value_head *h = &g->best.head;
    *out = (struct store_version){ .type = c->type,
                                   .id = id,
                                   .t = row->t,
                                   .instant_ms = h->online ? h->instant_ms : row->instant_ms,
                                   .version = n_rows - c->at,
                                   .method = h->method };
    if (h->method != STORE_METHOD_DELETE) {
        out->body = h->body;
        out->left_out = g->best.left_out;
    }
    c->at++;
    return ERR_OK;
}

err_code rocks_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                       struct store_cursor **out, struct err *e)
{
    struct rocks_cursor *c = cursor_new((struct rocks *)st, HISTORY, as_of_t);
    c->type = type;
    c->g.id_len = id.len;
    memcpy(c->g.id, id.ptr, c->g.id_len);
    err_code rc = history_list(c, id, e);
    if (rc != ERR_OK) {
        rocks_cursor_close(&c->base);
        return rc;
    }
    if (c->rows.len)
        qsort(c->rows.ptr, c->rows.len / sizeof(struct history_row), sizeof(struct history_row),
              newer_first);
    *out = &c->base;
    return ERR_OK;
}

/* ---- changes ---- */

/* A cursor with what has changed; in *many that it is too much for it. */
static err_code changed_ids(struct store *st, const struct store_range *range, uint64_t after_t,
                            uint64_t upto_t, bool *many, struct rocks_cursor **out, struct err *e)
{
    struct rocks_cursor *c = cursor_new((struct rocks *)st, CHANGES_BY_ID, upto_t);
    struct err mine;
    c->type = range->type;
    c->after_t = after_t;
    err_code rc = changes_collect(c->r, c->loads, range, after_t, c->as_of, &c->changes, &mine);
    *many = rc == ERR_TOO_LARGE;
    if (rc != ERR_OK && !*many) {
        if (e)
            *e = mine;
        rocks_cursor_close(&c->base);
        return rc;
    }
    *out = c;
    return ERR_OK;
}

err_code rocks_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                       uint64_t upto_t, struct store_cursor **out, struct err *e)
{
    struct rocks_cursor *c;
    bool many;
    TRY(changed_ids(st, range, after_t, upto_t, &many, &c, e));
    if (many) { /* so much has changed that reading the range is the cheaper way */
        buf_done(&c->changes);
        c->kind = CHANGES_BY_SCAN;
        scan_start(c, range);
    }
    *out = &c->base;
    return ERR_OK;
}

/* ---- changes, planned ---- */

#define SIZE_SAMPLES 16u

/* Mean bytes of a changed resource. n > 0. */
static err_code mean_bytes(struct rocks_cursor *c, const struct change *rows, size_t n, size_t *out,
                           struct err *e)
{
    size_t step = n / SIZE_SAMPLES + 1, bytes = 0, k = 0;
    for (size_t i = 0; i < n; i += step, k++) {
        TRY(read_change(c, &rows[i], e));
        bytes += c->g.best.head.body.json.len + FHIR_SPLICE_MAX;
    }
    *out = bytes / k + 1;
    return ERR_OK;
}

static err_code cut_ids(struct rocks_cursor *c, size_t target_bytes, struct arena *a,
                        struct store_range **out, size_t *n_out, struct err *e)
{
    CLEANUP_BUF struct buf views = BUF_INIT(SIZE_MAX / 2);
    size_t mean, n = 0;
    struct change ch;
    for (size_t at = 0; change_next(&c->changes, &at, &ch); n++)
        TRY(buf_add(&views, sv_make(&ch, sizeof ch), e));
    *n_out = 0;
    if (n == 0)
        return ERR_OK;
    const struct change *rows = (const struct change *)(const void *)views.ptr;
    TRY(mean_bytes(c, rows, n, &mean, e));
    size_t each = target_bytes / mean + 1, n_ranges = (n + each - 1) / each;
    struct store_range *r = arena_calloc(a, n_ranges, sizeof *r);
    for (size_t i = 0; r && i < n_ranges; i++) {
        r[i].type = c->type;
        if (i && (r[i].from_id = r[i - 1].to_id = arena_sv(a, rows[i * each].id)).ptr == NULL)
            r = NULL;
    }
    if (r == NULL)
        return arena_oom(a, e);
    *out = r;
    *n_out = n_ranges;
    return ERR_OK;
}

err_code rocks_changes_plan(struct store *st, fhir_type type, uint64_t after_t, uint64_t upto_t,
                            size_t target_bytes, struct arena *a, struct store_range **out,
                            size_t *n_out, struct err *e)
{
    struct rocks_cursor *c;
    bool many;
    TRY(changed_ids(st, &(struct store_range){ .type = type }, after_t, upto_t, &many, &c, e));
    err_code rc = many ? rocks_plan(st, type, target_bytes, a, out, n_out, e)
                       : cut_ids(c, target_bytes, a, out, n_out, e);
    rocks_cursor_close(&c->base);
    return rc;
}
