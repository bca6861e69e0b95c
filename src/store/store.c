/* store.c - the calls of store.h: checks that hold for every engine, then the engine's own
 * function.
 *
 * A read of what cannot exist is answered here. What is written goes through write.c. */
#include "store/erased.h"
#include "store/store_private.h"

#include "store/tally.h"

#define ERASED_ARENA ((size_t)512 << 20) /* a version, and what reading it takes */

void store_close(struct store *st)
{
    if (st)
        st->ops->close(st);
}

err_code store_key_denied(struct err *e)
{
    return ERR(e, ERR_DENIED, "The key of this data store is not available: access is denied");
}

err_code store_key_check(const struct store *st, struct err *e)
{
    return atomic_load_explicit(&st->denied, memory_order_relaxed) ? store_key_denied(e) : ERR_OK;
}

const struct cipher_ring *store_ring(struct store *st)
{
    return st && st->ops->ring ? st->ops->ring(st) : NULL;
}

err_code store_last(struct store *st, struct store_commit *out, struct err *e)
{
    return st->ops->last(st, out, e);
}

err_code store_horizon(struct store *st, struct store_commit *out, struct err *e)
{
    return st->ops->horizon(st, out, e);
}

err_code store_mark(struct store *st, uint64_t t, uint64_t *out, struct err *e)
{
    *out = 0;
    return t && st->ops->mark ? st->ops->mark(st, t, out, e) : ERR_OK;
}

err_code store_mark_holds(struct store *st, uint64_t t, uint64_t mark, struct err *e)
{
    struct err why;
    uint64_t now;
    if (mark == 0)
        return ERR_OK;
    err_code rc = store_mark(st, t, &now, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    return rc == ERR_OK && now == mark
               ? ERR_OK
               : ERR(e, ERR_PRECONDITION,
                     "The database has lost commits of the data store: what commit %llu was is not "
                     "there any more",
                     (unsigned long long)t);
}

bool store_is_remote(const struct store *st)
{
    return st->ops->mark != NULL;
}

/* A read of what cannot be there: a key made of such an id might be the beginning of another's. */
static err_code check_known(fhir_type type, sv id, struct err *e)
{
    if (type < 1 || type > fhir_n_types() || !fhir_id_ok(id))
        return ERR(e, ERR_NOT_FOUND, "no such resource");
    return ERR_OK;
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
    TRY(store_key_check(st, e));
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
    TRY(store_key_check(st, e));
    return st->ops->number_of(st, type, id, out, e);
}

err_code store_get_number(struct store *st, store_number number, uint64_t as_of_t, struct arena *a,
                          struct store_version *out, struct err *e)
{
    TRY(store_key_check(st, e));
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
    TRY(store_key_check(st, e));
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

void store_cursor_standby(struct store_cursor *c)
{
    c->standby = true;
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
    TRY(store_key_check(st, e));
    return st->ops->scan_numbers(st, numbers, n, as_of_t, out, e);
}

err_code store_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                       struct store_cursor **out, struct err *e)
{
    TRY(check_known(type, id, e));
    TRY(store_key_check(st, e));
    return st->ops->history(st, type, id, as_of_t, out, e);
}

err_code store_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                       uint64_t upto_t, struct store_cursor **out, struct err *e)
{
    TRY(store_key_check(st, e));
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
    TRY(store_key_check(st, e));
    return st->ops->log(st, type, from_t, after, max, a, out, n_out, e);
}

err_code store_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                          sv after_value, store_number after, uint64_t as_of_t,
                          struct store_index_cursor **out, struct err *e)
{
    TRY(store_key_check(st, e));
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

err_code store_erase_under(const struct lease *lease, struct store *st, store_number number,
                           uint64_t t, sv note, bool *any, struct err *e)
{
    *any = false;
    return st->ops->erase(st, lease, number, t, note, any, e);
}

err_code store_erase(struct store *st, store_number number, uint64_t t, sv note, bool *any,
                     struct err *e)
{
    return store_erase_under(NULL, st, number, t, note, any, e);
}

err_code store_erased_at(struct store *st, uint64_t *t, struct err *e)
{
    CLEANUP_BUF struct buf note = BUF_INIT(64);
    struct err why;
    uint64_t at = 0;
    err_code rc = store_note_get(st, SV_LIT(STORE_ERASED_NOTE), &note, &why);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return err_pass(e, &why);
    if (rc == ERR_OK && !sv_to_u64(buf_sv(&note), &at))
        return ERR(e, ERR_CORRUPT, "the note of erasures is damaged");
    *t = at;
    return ERR_OK;
}

err_code store_loads_clear_under(const struct lease *lease, struct store *st, struct err *e)
{
    return st->ops->loads_clear ? st->ops->loads_clear(st, lease, e) : ERR_OK;
}

err_code store_loads_clear(struct store *st, struct err *e)
{
    return store_loads_clear_under(NULL, st, e);
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

err_code store_erased_uncount(struct store *st, store_number number, uint64_t t, struct tally *less,
                              struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(ERASED_ARENA);
    struct store_version v;
    struct err why;
    err_code rc = store_get_number_light(st, number, STORE_NOW, a, &v, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    if (t && v.t == t)
        return ERR(e, ERR_PRECONDITION, "the version is the current one");
    if (t || v.method == STORE_METHOD_DELETE)
        return ERR_OK;
    return tally_version(less, v.type, v.body.json, -1, e);
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

err_code store_erase_finish_under(const struct lease *lease, struct store *st,
                                  const atomic_bool *halt, struct err *e)
{
    return st->ops->erase_finish(st, lease, halt, e);
}

err_code store_erase_finish(struct store *st, const atomic_bool *halt, struct err *e)
{
    return store_erase_finish_under(NULL, st, halt, e);
}

bool store_wants_anew(struct store *st)
{
    return st->ops->wants_anew && st->ops->wants_anew(st);
}

bool store_has_failed(struct store *st)
{
    return st->ops->has_failed && st->ops->has_failed(st);
}

unsigned store_index_form(struct store *st)
{
    return st->ops->index_form(st);
}

err_code store_count(struct store *st, fhir_type type, uint16_t param, sv value, uint64_t *out,
                     struct store_commit *at, struct err *e)
{
    TRY(store_key_check(st, e));
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
    TRY(store_key_check(st, e));
    return st->ops->plan(st, &all, target_bytes, a, out, n_out, e);
}

err_code store_plan_part(struct store *st, const struct store_range *part, size_t target_bytes,
                         struct arena *a, struct store_range **out, size_t *n_out, struct err *e)
{
    return st->ops->plan(st, part, target_bytes, a, out, n_out, e);
}
