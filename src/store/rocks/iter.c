/* iter.c - iterators over versions: one that stands where it likes, or one that is open inside the gate only (gate.c).
 *
 * The second kind rests: it is closed, the gate left, and a later seek enters anew. That is sound because an
 * iterator's own snapshot decides nothing. What a reader sees is settled before, by his commit T and his table of
 * loads: every version up to T is in the store by then, none is ever taken out of it (nothing deletes from this column
 * family), and what came later has a commit behind T, or a load that his table does not name. So each group reads the
 * same through any iterator that was made after T was settled. */
#include "store/rocks/rocks_private.h"

#include "base/limits.h"

/* A cursor reads ahead in every sorted run it merges, and shares the budget among them (each gets
 * the minimum when there are hundreds, until compaction has folded them): 2 MiB for each of 54 bulk
 * loads took 200 MiB more and made the scan half as fast as 256 KiB. */
#define READAHEAD_BUDGET (16u << 20)
#define READAHEAD_MAX    (2u << 20)
#define READAHEAD_MIN    (64u << 10)

static size_t readahead(struct rocks *r)
{
    size_t each = READAHEAD_BUDGET /
                  (rocks_level0_files(r, CF_VERSIONS) + 2); /* levels below: two, as a rule */
    each = each > READAHEAD_MAX ? READAHEAD_MAX : each < READAHEAD_MIN ? READAHEAD_MIN : each;
    return each & ~(size_t)4095;
}

void iter_open(struct iter *x, struct rocks *r, struct key_bytes upper, bool bulk_read,
               struct gate *gate)
{
    *x = (struct iter){ .r = r, .gate = gate, .upper = upper };
    x->ro = rocksdb_readoptions_create();
    rocksdb_readoptions_set_iterate_upper_bound(x->ro, x->upper.ptr, x->upper.len);
    if (bulk_read) {
        rocksdb_readoptions_set_total_order_seek(x->ro, 1); /* crosses ids: no filters */
        if (gate == NULL) /* of a large block it would hold a second copy, and stays are short */
            rocksdb_readoptions_set_readahead_size(x->ro, readahead(r));
        rocksdb_readoptions_set_ignore_range_deletions(x->ro, 1); /* the store writes none */
    }
    if (bulk_read || gate) /* a large block would push out what others have there */
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
        if (x->gate)
            gate_enter(x->gate, x->r);
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

/* Past a large one others come first, and what was read of it is given back before the next one is read: an iterator
 * holds two blocks for a moment, and its read-ahead's copy for longer. */
void iter_next(struct iter *x)
{
    if (x->gate && at_large(x)) {
        struct key_bytes behind;
        size_t len;
        const char *k = rocksdb_iter_key(x->it, &len);
        if (len <= KEY_MAX) { /* any other is damaged, and its reader has said so */
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
    rocksdb_iter_get_error(x->it, &bad);
    return rocks_error(bad, "reading the data store", e);
}
