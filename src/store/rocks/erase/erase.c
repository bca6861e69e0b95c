/* erase.c - versions of one resource become hollow.
 *
 * A hollow version keeps its key, its number and its time, and loses its id and its body. So nobody
 * has to be renumbered (I5), births of a load still follow each other, and every commit has as many
 * versions as it says. Readers take it for no version (versions.c). When all of a resource is
 * erased, the row of its id goes too: the id is free, and who writes it again begins a new resource
 * with a new number.
 *
 * One resource is one batch under order.lock, with its sums. No load may be between its begin and
 * its publication: it has read rows of ids, and may be about to write under a number that loses its
 * row (n_live, which grows under order.lock). */
#include "store/rocks/erase/erase_private.h"

#include <stdlib.h>

struct erasing {
    struct rocks *r;
    store_number number;
    uint64_t t; /* of the one version; 0: all */
    sv note;    /* counts grow there; empty: none do */
    const struct load_table *loads;
    rocksdb_writebatch_t *batch;
    char id[FHIR_ID_MAX];
    size_t id_len;
    uint64_t births_less; /* bytes of JSON that its birth had */
    struct buf listed;    /* rows of what was erased, when not all is */
    size_t n, n_visible;
};

/* ---- sets ---- */

static void set_add(struct erase_set *s, store_number number, sv list)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 1024;
        s->numbers = realloc(s->numbers, s->cap * sizeof *s->numbers);
        s->lists = realloc(s->lists, s->cap * sizeof *s->lists);
        if (s->numbers == NULL || s->lists == NULL)
            abort();
    }
    s->numbers[s->n] = number;
    s->lists[s->n] = list.len ? (uint32_t)s->versions.len : 0;
    s->n++;
}

#define PART_NUMBERS ((size_t)2 << 20) /* 24 MiB of numbers at a time */
#define PART_LISTS   ((size_t)64 << 20)

err_code erase_set_read(struct rocks *r, store_number from, struct erase_set *out, struct err *e)
{
    struct erase_set s = { .versions = BUF_INIT(PART_LISTS + ERASE_LIST_MAX + 8) };
    struct key_bytes k = key_commit(ERASE_LETTER, from);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_COMMITS]);
    err_code rc = buf_add_char(&s.versions, 0, e);
    for (rocksdb_iter_seek(it, k.ptr, k.len); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t len, list_len;
        const char *key = rocksdb_iter_key(it, &len), *list = rocksdb_iter_value(it, &list_len);
        if (len != 9 || key[0] != ERASE_LETTER)
            break;
        if (s.n == PART_NUMBERS || s.versions.len > PART_LISTS) {
            s.next = key_get_u64(key + 1);
            break;
        }
        const uint32_t n = (uint32_t)list_len;
        set_add(&s, key_get_u64(key + 1), sv_make(list, list_len));
        if (n && n % ERASE_ROW_BYTES == 0) {
            rc = buf_add(&s.versions, sv_make(&n, sizeof n), e);
            if (rc == ERR_OK)
                rc = buf_add(&s.versions, sv_make(list, list_len), e);
        } else if (n) {
            rc = rocks_damaged(e);
        }
    }
    rc = rocks_iterator_end(it, ro, rc, e);
    if (rc == ERR_OK)
        *out = s;
    else
        erase_set_done(&s);
    return rc;
}

err_code rocks_is_erasing(struct rocks *r, bool *out, struct err *e)
{
    const struct key_bytes k = key_commit(ERASE_LETTER, 0);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, ro, r->cf[CF_COMMITS]);
    size_t len;
    rocksdb_iter_seek(it, k.ptr, k.len);
    *out = rocksdb_iter_valid(it) && rocksdb_iter_key(it, &len)[0] == ERASE_LETTER;
    return rocks_iterator_end(it, ro, ERR_OK, e);
}

void erase_set_done(struct erase_set *s)
{
    free(s->numbers);
    free(s->lists);
    buf_done(&s->versions);
    *s = (struct erase_set){ 0 };
}

bool erase_set_has(const struct erase_set *s, store_number number, key_kind kind, uint64_t n)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (s->numbers[mid] < number)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == s->n || s->numbers[low] != number)
        return false;
    if (s->lists[low] == 0)
        return true;
    uint32_t len;
    const char *p = s->versions.ptr + s->lists[low];
    memcpy(&len, p, sizeof len);
    for (p += sizeof len; len; len -= ERASE_ROW_BYTES, p += ERASE_ROW_BYTES)
        if (p[0] == (char)kind && key_get_u64(p + 1) == n)
            return true;
    return false;
}

/* ---- one version ---- */

static void remember_id(struct erasing *x, const struct value_head *h)
{
    if (x->id_len || h->erased)
        return;
    memcpy(x->id, h->id.ptr, h->id.len);
    x->id_len = h->id.len;
}

static err_code note_version(struct erasing *x, const struct key_version_parts *p, struct err *e)
{
    char row[ERASE_ROW_BYTES];
    row[0] = (char)p->kind;
    key_put_u64(row + 1, p->n);
    return x->t ? buf_add(&x->listed, sv_make(row, sizeof row), e) : ERR_OK;
}

/* Of a load that was never published nothing is visible, and nothing has to stay. */
static err_code hollow(struct erasing *x, const struct key_version_parts *p,
                       const struct value_head *h, bool visible, struct err *e)
{
    const struct key_bytes key = key_version(p->number, p->kind, p->n);
    rocksdb_column_family_handle_t *cf = x->r->cf[CF_VERSIONS];
    char value[VALUE_HEAD_MAX];
    x->n++;
    if (!visible) {
        rocksdb_writebatch_delete_cf(x->batch, cf, key.ptr, key.len);
        return ERR_OK;
    }
    x->n_visible++;
    const struct value_head left = { .method = STORE_METHOD_DELETE,
                                     .erased = true,
                                     .online = h->online,
                                     .version = h->version,
                                     .instant_ms = h->instant_ms };
    const size_t len = value_head_put(&left, value);
    rocksdb_writebatch_put_cf(x->batch, cf, key.ptr, key.len, value, len);
    if (p->kind == KEY_BULK && p->n == number_b(p->number))
        x->births_less += h->body.json.len;
    return note_version(x, p, e);
}

static err_code see_version(struct erasing *x, sv key, sv value, bool *end, struct err *e)
{
    struct key_version_parts p;
    struct value_head h;
    if (!key_version_split(key, &p))
        return rocks_damaged(e);
    *end = p.number != x->number;
    if (*end)
        return ERR_OK;
    if (!value_split(value, &h))
        return rocks_damaged(e);
    const struct bulk_load *load = p.kind == KEY_BULK ? load_table_find(x->loads, p.n) : NULL;
    const uint64_t t = p.kind == KEY_ONLINE ? p.n : load ? load->t : 0;
    remember_id(x, &h);
    if (h.erased || (x->t && t != x->t))
        return ERR_OK;
    return hollow(x, &p, &h, t != 0, e);
}

static err_code see_versions(struct erasing *x, struct err *e)
{
    const struct key_bytes from = key_number(x->number);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(ro, 0);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(x->r->db, ro, x->r->cf[CF_VERSIONS]);
    err_code rc = ERR_OK;
    bool end = false;
    for (rocksdb_iter_seek(it, from.ptr, from.len); rc == ERR_OK && !end && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *k = rocksdb_iter_key(it, &key_len);
        if (key_len < NUMBER_BYTES || key_get_u64(k) != x->number)
            break;
        const char *v = rocksdb_iter_value(it, &len);
        rc = see_version(x, sv_make(k, key_len), sv_make(v, len), &end, e);
    }
    return rocks_iterator_end(it, ro, rc, e);
}

/* ---- what belongs to them ---- */

static err_code get(struct rocks *r, int family, struct key_bytes k, struct buf *out, bool *there,
                    struct err *e)
{
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    char *bad = NULL;
    size_t len = 0;
    char *v = rocksdb_get_cf(r->db, ro, r->cf[family], k.ptr, k.len, &len, &bad);
    rocksdb_readoptions_destroy(ro);
    err_code rc = rocks_error(bad, "reading the data store", e);
    *there = rc == ERR_OK && v;
    if (*there)
        rc = buf_add(out, sv_make(v, len), e);
    rocksdb_free(v);
    return rc;
}

/* The row of births says how many bytes it brought. */
static err_code put_births(struct erasing *x, struct err *e)
{
    CLEANUP_BUF struct buf old = BUF_INIT(64);
    const struct key_bytes k =
        key_change(number_type(x->number), KEY_BIRTHS, number_b(x->number), 0);
    struct births births;
    char value[BIRTHS_VALUE_BYTES];
    bool there;
    if (x->births_less == 0)
        return ERR_OK;
    TRY(get(x->r, CF_CHANGES, k, &old, &there, e));
    if (!there || !births_split(buf_sv(&old), &births) || births.json_bytes < x->births_less)
        return rocks_damaged(e);
    births.json_bytes -= x->births_less;
    births_put(&births, value);
    rocksdb_writebatch_put_cf(x->batch, x->r->cf[CF_CHANGES], k.ptr, k.len, value, sizeof value);
    return ERR_OK;
}

static err_code put_record(struct erasing *x, struct err *e)
{
    CLEANUP_BUF struct buf list = BUF_INIT(ERASE_LIST_MAX);
    const struct key_bytes k = key_commit(ERASE_LETTER, x->number);
    bool there;
    if (x->t) {
        TRY(get(x->r, CF_COMMITS, k, &list, &there, e));
        /* all of it is being erased already */
        if (there && list.len == 0)
            return ERR_OK;
        TRY(buf_add(&list, buf_sv(&x->listed), e));
    }
    rocksdb_writebatch_put_cf(x->batch, x->r->cf[CF_COMMITS], k.ptr, k.len,
                              list.ptr ? list.ptr : "", list.len);
    return ERR_OK;
}

static err_code put_note(struct erasing *x, struct err *e)
{
    char value[STORE_ERASED_BYTES];
    if (x->note.len == 0 || x->n_visible == 0)
        return ERR_OK;
    TRY(store_erased_grown(&x->r->base, x->note, x->t == 0, x->n_visible, value, e));
    rocksdb_writebatch_put_cf(x->batch, x->r->cf[CF_NOTES], x->note.ptr, x->note.len, value,
                              sizeof value);
    return ERR_OK;
}

/* What is current goes out of the sums. */
static err_code take_out(struct erasing *x, struct err *e)
{
    struct tally tally = { 0 };
    err_code rc = store_erased_uncount(&x->r->base, x->number, x->t, &tally, e);
    if (rc == ERR_OK)
        tally_write(&tally, x->r, x->batch);
    tally_done(&tally);
    return rc;
}

static err_code fill_batch(struct erasing *x, struct err *e)
{
    TRY(take_out(x, e));
    TRY(see_versions(x, e));
    if (x->n == 0)
        return ERR_OK;
    TRY(put_births(x, e));
    if (x->t == 0 && x->id_len) {
        struct ids_key k = ids_key(number_type(x->number), sv_make(x->id, x->id_len));
        rocksdb_writebatch_delete_cf(x->batch, x->r->cf[CF_IDS], k.ptr, k.len);
    }
    TRY(put_note(x, e));
    return put_record(x, e);
}

/* order.lock is held. Nothing waits for the disk: the end of the erasure does. */
static err_code erase_locked(struct erasing *x, struct err *e)
{
    struct rocks *r = x->r;
    if (atomic_load(&r->bulk.n_live) || atomic_load(&r->n_copies))
        return ERR(e, ERR_CONFLICT, "a bulk load or a restore is under way");
    x->loads = r->seen.loads;
    x->batch = rocksdb_writebatch_create();
    err_code rc = fill_batch(x, e);
    if (rc == ERR_OK && x->n) {
        rocksdb_writeoptions_t *wo = rocksdb_writeoptions_create();
        char *bad = NULL;
        rocksdb_write(r->db, wo, x->batch, &bad);
        rocksdb_writeoptions_destroy(wo);
        rc = rocks_write_error(r, bad, "erasing a resource", e);
        recent_drop(r->env->recent, &r->recent, x->number);
    }
    rocksdb_writebatch_destroy(x->batch);
    return rc;
}

/* A lease cannot be lost: one process has the data store. */
err_code rocks_erase(struct store *st, const struct lease *lease, store_number number, uint64_t t,
                     sv note, bool *any, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    (void)lease;
    struct erasing x = {
        .r = r, .number = number, .t = t, .note = note, .listed = BUF_INIT(ERASE_LIST_MAX)
    };
    /* Its data may be large. */
    struct gate *alone = number_type(number) == r->env->alone.type ? &r->env->alone : NULL;
    if (atomic_load(&r->index.under_way))
        return ERR(e, ERR_CONFLICT, "search entries are being made anew");
    /* sums without marks: what is current is what they hold */
    TRY(rocks_settle(st, NULL, e));
    if (alone)
        gate_enter(alone, r);
    pthread_mutex_lock(&r->order.lock);
    /* what an earlier end waited for is not all of it any more */
    buf_clear(&r->erase.waits);
    err_code rc = erase_locked(&x, e);
    pthread_mutex_unlock(&r->order.lock);
    if (alone)
        gate_leave(alone, r);
    buf_done(&x.listed);
    *any = rc == ERR_OK && x.n;
    return rc;
}
