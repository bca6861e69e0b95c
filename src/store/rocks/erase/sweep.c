/* sweep.c - the search entries of hollow versions go.
 *
 * All keys of the types that were erased from are read, once. Which entries a version had is not
 * worked out from its body: that may depend on the form of its time, and the body is gone. An entry
 * of a load is a list. Numbers that were erased are taken out of it, and what is left is written
 * again, under the first that is left.
 *
 * Nobody else writes these keys: a commit and a load write under numbers of their own, and entries
 * of an older form are not made anew meanwhile. */
#include "store/rocks/erase/erase_private.h"

#define BATCH_BYTES (1u << 20)
#define LOOK_EVERY  1024u

struct sweeping {
    struct rocks *r;
    const struct erase_set *s;
    rocksdb_writeoptions_t *wo;
    rocksdb_writebatch_t *batch;
    struct buf list; /* what is left of one */
};

static err_code write_batch(struct sweeping *w, struct err *e)
{
    char *bad = NULL;
    rocksdb_write(w->r->db, w->wo, w->batch, &bad);
    rocksdb_writebatch_clear(w->batch);
    return rocks_write_error(w->r, bad, "erasing search entries", e);
}

/* The members of a list that stay, as numbers. *gone: some do not. */
static err_code sort_out(struct sweeping *w, const struct key_search_parts *p, sv rest, bool *gone,
                         struct err *e)
{
    const key_kind kind = p->kind == ENTRY_ONLINE ? KEY_ONLINE : KEY_BULK;
    store_number number = p->number;
    uint64_t step;
    buf_clear(&w->list);
    *gone = false;
    for (;;) {
        if (erase_set_has(w->s, number, kind, p->n))
            *gone = true;
        else
            TRY(buf_add(&w->list, sv_make(&number, sizeof number), e));
        if (rest.len == 0)
            return ERR_OK;
        if (!entry_step_next(&rest, &step))
            return rocks_damaged(e);
        number += step;
    }
}

static void put_list(struct sweeping *w, sv key, const struct key_search_parts *p)
{
    const store_number *left = (const store_number *)(const void *)w->list.ptr;
    const size_t n = w->list.len / sizeof *left;
    char out[KEY_SEARCH_MAX], steps[ENTRY_LIST_MAX * ENTRY_STEP_MAX];
    size_t len = 0;
    if (n == 0)
        return;
    for (size_t i = 1; i < n; i++)
        len += entry_step_put(steps + len, left[i] - left[i - 1]);
    const uint16_t param = (uint16_t)((unsigned char)key.ptr[1] << 8 | (unsigned char)key.ptr[2]);
    const size_t key_len = key_search((fhir_type)(unsigned char)key.ptr[0], param, p->value,
                                      left[0], p->kind, p->kind == ENTRY_BIRTHS ? 0 : p->n, out);
    rocksdb_writebatch_put_cf(w->batch, w->r->cf[CF_SEARCH], out, key_len, steps, len);
}

static err_code see_entry(struct sweeping *w, sv key, sv value, struct err *e)
{
    struct key_search_parts p;
    bool gone;
    size_t size;
    if (!key_search_split(key, &p))
        return rocks_damaged(e);
    TRY(sort_out(w, &p, value, &gone, e));
    if (!gone)
        return ERR_OK;
    rocksdb_writebatch_delete_cf(w->batch, w->r->cf[CF_SEARCH], key.ptr, key.len);
    put_list(w, key, &p);
    (void)rocksdb_writebatch_data(w->batch, &size);
    return size < BATCH_BYTES ? ERR_OK : write_batch(w, e);
}

static err_code sweep_type(struct sweeping *w, fhir_type type, const atomic_bool *halt,
                           struct err *e)
{
    const char from = (char)type, upto = (char)(type + 1);
    rocksdb_readoptions_t *ro = rocksdb_readoptions_create();
    err_code rc = ERR_OK;
    uint64_t n = 0;
    rocksdb_readoptions_set_fill_cache(ro, 0);
    rocksdb_readoptions_set_readahead_size(ro, 1u << 20);
    rocksdb_readoptions_set_iterate_upper_bound(ro, &upto, 1);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(w->r->db, ro, w->r->cf[CF_SEARCH]);
    for (rocksdb_iter_seek(it, &from, 1); rc == ERR_OK && rocksdb_iter_valid(it);
         rocksdb_iter_next(it)) {
        size_t key_len, len;
        const char *k = rocksdb_iter_key(it, &key_len), *v = rocksdb_iter_value(it, &len);
        rc = see_entry(w, sv_make(k, key_len), sv_make(v, len), e);
        if (rc == ERR_OK && ++n % LOOK_EVERY == 0 && halt && atomic_load(halt))
            rc = ERR(e, ERR_CANCELLED, "erasing was stopped");
    }
    rc = rocks_iterator_end(it, ro, rc, e);
    return rc == ERR_OK ? write_batch(w, e) : rc;
}

err_code erase_sweep(struct rocks *r, const struct erase_set *s, const atomic_bool *halt,
                     struct err *e)
{
    struct sweeping w = { .r = r,
                          .s = s,
                          .wo = rocksdb_writeoptions_create(),
                          .batch = rocksdb_writebatch_create(),
                          .list = BUF_INIT((ENTRY_LIST_MAX + 1) * sizeof(store_number)) };
    bool types[STORE_TYPES] = { false };
    err_code rc = ERR_OK;
    for (size_t i = 0; i < s->n; i++)
        types[number_type(s->numbers[i])] = true;
    for (unsigned t = 1; t <= fhir_n_types() && rc == ERR_OK; t++)
        if (types[t])
            rc = sweep_type(&w, (fhir_type)t, halt, e);
    buf_done(&w.list);
    rocksdb_writebatch_destroy(w.batch);
    rocksdb_writeoptions_destroy(w.wo);
    return rc;
}
