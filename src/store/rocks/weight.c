/* weight.c - what an open data store takes of the machine, and giving some of it back. */
#include "store/rocks/rocks_private.h"

static uint64_t number(struct rocks *r, int cf, const char *name)
{
    uint64_t v;
    return rocksdb_property_int_cf(r->db, r->cf[cf], name, &v) == 0 ? v : 0;
}

void rocks_weigh(struct store *st, struct rocks_weight *out)
{
    struct rocks *r = (struct rocks *)st;
    struct rocks_weight w = { 0 };
    for (int i = 0; i < N_CFS; i++)
        if (number(r, i, "rocksdb.num-entries-active-mem-table") ||
            number(r, i, "rocksdb.num-entries-imm-mem-tables"))
            w.write_bytes += number(r, i, "rocksdb.cur-size-all-mem-tables");
    /* of the whole database, whatever the column family */
    w.busy = number(r, CF_VERSIONS, "rocksdb.num-running-compactions") ||
             number(r, CF_VERSIONS, "rocksdb.num-running-flushes") ||
             atomic_load(&r->index.under_way);
    *out = w;
}

err_code rocks_flush(struct store *st, struct err *e)
{
    struct rocks *r = (struct rocks *)st;
    rocksdb_flushoptions_t *o = rocksdb_flushoptions_create();
    char *bad = NULL;
    rocksdb_flushoptions_set_wait(o, 1);
    for (int i = 0; i < N_CFS && bad == NULL; i++)
        rocksdb_flush_cf(r->db, o, r->cf[i], &bad);
    rocksdb_flushoptions_destroy(o);
    return rocks_error(bad, "writing a data store", e);
}
