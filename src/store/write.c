/* write.c - the calls of store.h that write: commits and bulk loads.
 *
 * What reaches an engine has a type that exists, legal ids, and nothing twice. Items of a bulk load
 * are sorted here too, since every engine wants them by type and id with the later of two kept. */
#include "store/store_private.h"

static err_code check_resource(fhir_type type, sv id, struct err *e)
{
    if (type < 1 || type > fhir_n_types() || !fhir_id_ok(id))
        return ERR(e, ERR_INTERNAL, "a resource without a legal type and id reached the store");
    return ERR_OK;
}

static int write_cmp(const void *a, const void *b)
{
    const struct store_write *x = *(const struct store_write *const *)a;
    const struct store_write *y = *(const struct store_write *const *)b;
    return x->type != y->type ? (int)x->type - (int)y->type : sv_cmp(x->id, y->id);
}

err_code store_writes_check(const struct store_write *writes, size_t n, struct err *e)
{
    const struct store_write **order = malloc((n ? n : 1) * sizeof *order);
    if (order == NULL)
        abort();
    err_code rc = ERR_OK;
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        order[i] = &writes[i];
        rc = check_resource(writes[i].type, writes[i].id, e);
    }
    if (rc == ERR_OK) {
        qsort(order, n, sizeof *order, write_cmp);
        for (size_t i = 1; i < n && rc == ERR_OK; i++)
            if (write_cmp(&order[i - 1], &order[i]) == 0)
                rc = ERR(e, ERR_INVALID, "one commit writes a resource twice");
    }
    free(order);
    return rc;
}

err_code store_commit(struct store *st, struct store_write *writes, size_t n,
                      struct store_commit *out, struct err *e)
{
    if (n == 0)
        return ERR(e, ERR_INVALID, "a commit needs at least one write");
    TRY(store_writes_check(writes, n, e));
    TRY(store_key_check(st, e));
    return st->ops->commit(st, writes, n, out, e);
}

err_code store_commit_if(struct store *st, struct store_write *writes, size_t n,
                         struct store_still *still, struct store_commit *out, struct err *e)
{
    if (st->ops->commit_if == NULL) {
        struct store_commit last;
        TRY(store_last(st, &last, e));
        TRY(still->holds(still, last.t, e));
        return store_commit(st, writes, n, out, e);
    }
    if (n == 0)
        return ERR(e, ERR_INVALID, "a commit needs at least one write");
    TRY(store_writes_check(writes, n, e));
    TRY(store_key_check(st, e));
    return st->ops->commit_if(st, writes, n, still, out, e);
}

/* ---- bulk ---- */

struct sort_row {
    uint64_t prefix; /* type and the first 7 bytes of the id */
    const struct store_bulk_item *item;
};

static int row_cmp(const void *a, const void *b)
{
    const struct sort_row *x = a, *y = b;
    if (x->prefix != y->prefix)
        return x->prefix < y->prefix ? -1 : 1;
    int c = sv_cmp(x->item->id, y->item->id);
    if (c)
        return c;
    return x->item->seq < y->item->seq ? -1 : x->item->seq > y->item->seq;
}

size_t store_items_sort(struct store_bulk_item *items, size_t n)
{
    if (n == 0)
        return 0;
    struct sort_row *rows = malloc(n * sizeof *rows);
    struct store_bulk_item *sorted = malloc(n * sizeof *sorted);
    if (rows == NULL || sorted == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        char p[8] = { (char)items[i].type };
        sv id = sv_head(items[i].id, 7);
        memcpy(p + 1, id.ptr, id.len);
        uint64_t prefix;
        memcpy(&prefix, p, sizeof prefix);
        rows[i] = (struct sort_row){ __builtin_bswap64(prefix), &items[i] };
    }
    qsort(rows, n, sizeof *rows, row_cmp);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        const struct store_bulk_item *it = rows[i].item;
        bool last = i + 1 == n || rows[i + 1].item->type != it->type ||
                    !sv_eq(rows[i + 1].item->id, it->id);
        if (last)
            sorted[kept++] = *it;
    }
    memcpy(items, sorted, kept * sizeof *items);
    free(sorted);
    free(rows);
    return kept;
}

err_code store_bulk_begin(struct store *st, struct store_bulk **out, struct err *e)
{
    TRY(store_key_check(st, e));
    return st->ops->bulk_begin(st, out, e);
}

err_code store_bulk_fill(struct store_bulk *b, struct store_bulk_item *items, size_t n,
                         struct err *e)
{
    for (size_t i = 0; i < n; i++)
        TRY(check_resource(items[i].type, items[i].id, e));
    return b->ops->bulk_fill(b, items, n, e);
}

err_code store_bulk_publish(struct store_bulk **b, sv note_key, sv note, struct store_commit *out,
                            struct err *e)
{
    return store_bulk_publish_all(b, 1, note_key, note, out, e);
}

err_code store_bulk_publish_all(struct store_bulk **bulks, size_t n, sv note_key, sv note,
                                struct store_commit *out, struct err *e)
{
    return store_bulk_publish_under(NULL, bulks, n, note_key, note, out, e);
}

err_code store_bulk_publish_under(const struct lease *lease, struct store_bulk **bulks, size_t n,
                                  sv note_key, sv note, struct store_commit *out, struct err *e)
{
    bulks[0]->under = lease;
    err_code rc = bulks[0]->ops->bulk_publish(bulks, n, note_key, note, out, e);
    for (size_t i = 0; i < n; i++) {
        /* what is published is not undone */
        store_bulk_abort(bulks[i]);
        bulks[i] = NULL;
    }
    return rc;
}

err_code store_bulk_hand_over(const struct store_bulk *b, struct buf *out, struct err *e)
{
    return b->ops->bulk_hand_over ? b->ops->bulk_hand_over(b, out, e)
                                  : ERR(e, ERR_UNSUPPORTED,
                                        "another process cannot publish a bulk load of this store");
}

void store_bulk_leave(struct store_bulk **b)
{
    (*b)->ops->bulk_leave(*b);
    *b = NULL;
}

err_code store_bulk_take_over(struct store *st, sv text, struct store_bulk **out, struct err *e)
{
    return st->ops->bulk_take_over
               ? st->ops->bulk_take_over(st, text, out, e)
               : ERR(e, ERR_UNSUPPORTED, "another process cannot fill a bulk load of this store");
}

bool store_is_crowded(struct store *st)
{
    return st->ops->is_crowded(st);
}

void store_bulk_abort(struct store_bulk *b)
{
    if (b)
        b->ops->bulk_abort(b);
}
