/* store.c - the calls of store.h: checks that hold for every engine, then the engine's own
 * function.
 *
 * What reaches an engine has a type that exists, legal ids, and nothing twice. A read of what
 * cannot exist is answered here. Items of a bulk load are sorted here too, since every engine wants
 * them by type and id with the later of two kept. */
#include "store/store_private.h"

void store_close(struct store *st)
{
    if (st)
        st->ops->close(st);
}

err_code store_key_denied(struct err *e)
{
    return ERR(e, ERR_DENIED, "The key of this data store is not available: access is denied");
}

/* Who got the store before its key was revoked. */
static err_code check_key(const struct store *st, struct err *e)
{
    return atomic_load_explicit(&st->denied, memory_order_relaxed) ? store_key_denied(e) : ERR_OK;
}

const struct cipher_ring *store_ring(struct store *st)
{
    return st && st->ops->ring ? st->ops->ring(st) : NULL;
}

struct store_commit store_last(struct store *st)
{
    return st->ops->last(st);
}

err_code store_horizon(struct store *st, struct store_commit *out, struct err *e)
{
    return st->ops->horizon(st, out, e);
}

static err_code check_resource(fhir_type type, sv id, struct err *e)
{
    if (type < 1 || type > fhir_n_types() || !fhir_id_ok(id))
        return ERR(e, ERR_INTERNAL, "a resource without a legal type and id reached the store");
    return ERR_OK;
}

/* A read of what cannot be there: a key made of such an id might be the beginning of another's. */
static err_code check_known(fhir_type type, sv id, struct err *e)
{
    if (type < 1 || type > fhir_n_types() || !fhir_id_ok(id))
        return ERR(e, ERR_NOT_FOUND, "no such resource");
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
    TRY(check_key(st, e));
    return st->ops->commit(st, writes, n, out, e);
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
    TRY(check_key(st, e));
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
    err_code rc = bulks[0]->ops->bulk_publish(bulks, n, note_key, note, out, e);
    for (size_t i = 0; i < n; i++) {
        /* what is published is not undone */
        store_bulk_abort(bulks[i]);
        bulks[i] = NULL;
    }
    return rc;
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

/* ---- notes, reading, planning ---- */

err_code store_note_get(struct store *st, sv key, struct buf *out, struct err *e)
{
    return st->ops->note_get(st, key, out, e);
}

err_code store_note_delete(struct store *st, sv key, struct err *e)
{
    return st->ops->note_delete(st, key, e);
}

bool store_is_near(struct store *st, store_number number)
{
    return st->ops->is_near(st, number);
}

err_code store_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t, struct arena *a,
                   struct store_version *out, struct err *e)
{
    TRY(check_known(type, id, e));
    TRY(check_key(st, e));
    return st->ops->get(st, type, id, as_of_t, false, a, out, e);
}

err_code store_get_light(struct store *st, fhir_type type, sv id, uint64_t as_of_t, struct arena *a,
                         struct store_version *out, struct err *e)
{
    TRY(check_known(type, id, e));
    return st->ops->get(st, type, id, as_of_t, true, a, out, e);
}

err_code store_number_of(struct store *st, fhir_type type, sv id, store_number *out, struct err *e)
{
    TRY(check_known(type, id, e));
    TRY(check_key(st, e));
    return st->ops->number_of(st, type, id, out, e);
}

err_code store_get_number(struct store *st, store_number number, uint64_t as_of_t, struct arena *a,
                          struct store_version *out, struct err *e)
{
    TRY(check_key(st, e));
    return st->ops->get_number(st, number, as_of_t, false, a, out, e);
}

err_code store_get_number_light(struct store *st, store_number number, uint64_t as_of_t,
                                struct arena *a, struct store_version *out, struct err *e)
{
    return st->ops->get_number(st, number, as_of_t, true, a, out, e);
}

err_code store_scan(struct store *st, const struct store_range *range, uint64_t as_of_t,
                    struct store_cursor **out, struct err *e)
{
    TRY(check_key(st, e));
    return st->ops->scan(st, range, as_of_t, out, e);
}

err_code store_cursor_next(struct store_cursor *c, struct store_version *out, struct err *e)
{
    return c->ops->cursor_next(c, out, e);
}

void store_cursor_place(struct store_cursor *c, struct buf *dst, size_t gap)
{
    c->place = dst;
    c->gap = gap;
}

void store_cursor_light(struct store_cursor *c)
{
    c->light = true;
}

void store_cursor_giants(struct store_cursor *c, const atomic_bool *halt)
{
    c->giants = true;
    c->halt = halt;
}

void store_cursor_rest(struct store_cursor *c)
{
    if (c)
        c->ops->cursor_rest(c);
}

err_code store_giant_enter(struct store *st, const atomic_bool *halt, struct err *e)
{
    return st->alone ? gate_enter_unless(st->alone, st, halt, e) : ERR_OK;
}

void store_giant_leave(struct store *st)
{
    if (st->alone)
        gate_leave(st->alone, st);
}

void store_giant_wake(struct store *st)
{
    if (st->alone)
        gate_wake(st->alone);
}

void store_cursor_close(struct store_cursor *c)
{
    if (c)
        c->ops->cursor_close(c);
}

err_code store_scan_numbers(struct store *st, const store_number *numbers, size_t n,
                            uint64_t as_of_t, struct store_cursor **out, struct err *e)
{
    TRY(check_key(st, e));
    return st->ops->scan_numbers(st, numbers, n, as_of_t, out, e);
}

err_code store_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                       struct store_cursor **out, struct err *e)
{
    TRY(check_known(type, id, e));
    TRY(check_key(st, e));
    return st->ops->history(st, type, id, as_of_t, out, e);
}

err_code store_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                       uint64_t upto_t, struct store_cursor **out, struct err *e)
{
    TRY(check_key(st, e));
    return st->ops->changes(st, range, after_t, upto_t, out, e);
}

err_code store_changed_types(struct store *st, uint64_t after_t, uint64_t upto_t,
                             bool changed[STORE_TYPES], struct err *e)
{
    return st->ops->changed_types(st, after_t, upto_t, changed, e);
}

err_code store_touched(struct store *st, const struct store_range *ranges, size_t n,
                       uint64_t after_t, uint64_t upto_t, bool *touched, struct err *e)
{
    memset(touched, 0, n * sizeof *touched);
    return n ? st->ops->touched(st, ranges, n, after_t, upto_t, touched, e) : ERR_OK;
}

err_code store_changes_plan(struct store *st, fhir_type type, uint64_t after_t, uint64_t upto_t,
                            size_t target_bytes, struct arena *a, struct store_range **out,
                            size_t *n_out, struct err *e)
{
    return st->ops->changes_plan(st, type, after_t, upto_t, target_bytes, a, out, n_out, e);
}

err_code store_log(struct store *st, fhir_type type, uint64_t from_t, store_number after,
                   size_t max, struct arena *a, struct store_log_row **out, size_t *n_out,
                   struct err *e)
{
    TRY(check_key(st, e));
    return st->ops->log(st, type, from_t, after, max, a, out, n_out, e);
}

err_code store_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                          sv after_value, store_number after, uint64_t as_of_t,
                          struct store_index_cursor **out, struct err *e)
{
    TRY(check_key(st, e));
    return st->ops->index_scan(st, type, d, after_value, after, as_of_t, out, e);
}

err_code store_index_next(struct store_index_cursor *c, struct store_index_hit *out, struct err *e)
{
    return c->ops->index_next(c, out, e);
}

void store_index_seek(struct store_index_cursor *c, sv value, store_number number)
{
    c->ops->index_seek(c, value, number);
}

void store_index_close(struct store_index_cursor *c)
{
    if (c)
        c->ops->index_close(c);
}

err_code store_counts_settle(struct store *st, const atomic_bool *halt, struct err *e)
{
    return st->ops->settle(st, halt, e);
}

err_code store_erase(struct store *st, store_number number, uint64_t t, sv note, bool *any,
                     struct err *e)
{
    *any = false;
    return st->ops->erase(st, number, t, note, any, e);
}

static void put_erased(const struct store_erased *n, char out[STORE_ERASED_BYTES])
{
    for (unsigned i = 0; i < 8; i++) {
        out[i] = (char)(n->resources >> 8 * i);
        out[8 + i] = (char)(n->versions >> 8 * i);
    }
}

static err_code split_erased(sv value, struct store_erased *out, struct err *e)
{
    struct store_erased n = { 0 };
    if (value.len != STORE_ERASED_BYTES)
        return ERR(e, ERR_CORRUPT, "counts of an erasure are damaged");
    for (unsigned i = 0; i < 8; i++) {
        n.resources |= (uint64_t)(unsigned char)value.ptr[i] << 8 * i;
        n.versions |= (uint64_t)(unsigned char)value.ptr[8 + i] << 8 * i;
    }
    *out = n;
    return ERR_OK;
}

err_code store_erased_get(struct store *st, sv note, struct store_erased *out, struct err *e)
{
    CLEANUP_BUF struct buf value = BUF_INIT(4096);
    struct err why;
    err_code rc = store_note_get(st, note, &value, &why);
    if (rc == ERR_NOT_FOUND)
        *out = (struct store_erased){ 0 };
    if (rc != ERR_OK)
        return rc == ERR_NOT_FOUND ? ERR_OK : err_pass(e, &why);
    return split_erased(buf_sv(&value), out, e);
}

err_code store_erased_grown(struct store *st, sv note, bool whole, uint64_t versions,
                            char out[STORE_ERASED_BYTES], struct err *e)
{
    struct store_erased n;
    TRY(store_erased_get(st, note, &n, e));
    n.resources += whole;
    n.versions += versions;
    put_erased(&n, out);
    return ERR_OK;
}

err_code store_erase_finish(struct store *st, const atomic_bool *halt, struct err *e)
{
    return st->ops->erase_finish(st, halt, e);
}

bool store_wants_anew(struct store *st)
{
    return st->ops->wants_anew && st->ops->wants_anew(st);
}

unsigned store_index_form(struct store *st)
{
    return st->ops->index_form(st);
}

err_code store_count(struct store *st, fhir_type type, uint16_t param, sv value, uint64_t *out,
                     struct store_commit *at, struct err *e)
{
    TRY(check_key(st, e));
    return st->ops->count(st, type, param, value, out, at, e);
}

err_code store_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out,
                         struct err *e)
{
    return st->ops->commit_at(st, instant_ms, out, e);
}

err_code store_plan(struct store *st, fhir_type type, size_t target_bytes, struct arena *a,
                    struct store_range **out, size_t *n_out, struct err *e)
{
    const struct store_range all = { .type = type };
    TRY(check_key(st, e));
    return st->ops->plan(st, &all, target_bytes, a, out, n_out, e);
}

err_code store_plan_part(struct store *st, const struct store_range *part, size_t target_bytes,
                         struct arena *a, struct store_range **out, size_t *n_out, struct err *e)
{
    return st->ops->plan(st, part, target_bytes, a, out, n_out, e);
}
