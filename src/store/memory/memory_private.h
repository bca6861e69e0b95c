/* memory_private.h - what the rooms of the oracle share.
 *
 *   versions.c  the array of versions, and finding one in it
 *   write.c     commits, bulk loads, notes, the horizon
 *   again.c     commits of another store, made once more
 *   read.c      one resource, cursors, the log, plans
 *   entries.c   search entries and counts
 *   open.c      opening, closing, the engine's table
 * Floor: store. */
#pragma once
#include "store/store_private.h"

/* Of one answer, a list that is made at once. Tests hold far less in a store. */
#define MEMORY_ANSWER_MAX ((size_t)1 << 30)

struct mem_version {
    fhir_type type;
    char id[FHIR_ID_MAX];
    size_t id_len;
    store_number number;
    struct store_commit commit;
    store_method method;
    char *json;
    struct fhir_body body; /* json.ptr is json */
    char *index;
    size_t index_len;
    bool erased; /* id_len 0: with all of its resource */
};

struct mem_note {
    char *key, *value;
    size_t key_len, len;
};

struct memory {
    struct store base;
    pthread_mutex_t lock;
    struct mem_version *versions; /* in order of t */
    uint64_t *marks;              /* of each version its mem_mark_of() */
    size_t n, cap, cap_marks;
    uint64_t n_born; /* resources that have a number */
    struct store_commit *commits;
    size_t n_commits, cap_commits;
    struct mem_note *notes;
    size_t n_notes;
    int64_t floor_ms;
    const int64_t *again_ms; /* again.c: instead of the clock; NULL: the clock */
};

/* ---- versions.c ---- */
static inline sv mem_id_of(const struct mem_version *v)
{
    return sv_make(v->id, v->id_len);
}
static inline bool mem_is_of(const struct mem_version *v, fhir_type type, sv id)
{
    return v->type == type && sv_eq(mem_id_of(v), id);
}
void *mem_more(void *ptr, size_t *cap, size_t need, size_t size); /* room for need items, grown */
char *mem_copy(sv bytes);                                         /* caller frees */
struct mem_version mem_version_of(fhir_type type, sv id, store_method method,
                                  const struct fhir_body *body, sv index);
void mem_version_free(struct mem_version *v);
struct store_commit mem_last_locked(const struct memory *m);
struct store_commit mem_next_locked(struct memory *m); /* it is the newest from now on */
/* Of a resource: alike for all of its versions, and hardly ever for those of two. */
uint64_t mem_mark_of(fhir_type type, sv id);
/* v is taken, and gets the number of its resource (I8). */
void mem_add_locked(struct memory *m, struct mem_version v, struct store_commit c);
/* Newest version with t <= as_of, NULL when there is none; *rank is its version number (I5). */
const struct mem_version *mem_find_locked(const struct memory *m, fhir_type type, sv id,
                                          uint64_t as_of, uint64_t *rank);

/* ---- write.c ---- */
err_code mem_horizon(struct store *st, struct store_commit *out, struct err *e);
err_code mem_commit(struct store *st, struct store_write *w, size_t n, struct store_commit *out,
                    struct err *e);
err_code mem_bulk_begin(struct store *st, struct store_bulk **out, struct err *e);
err_code mem_bulk_fill(struct store_bulk *base, struct store_bulk_item *items, size_t n,
                       struct err *e);
err_code mem_bulk_publish(struct store_bulk **bulks, size_t n, sv note_key, sv note,
                          struct store_commit *out, struct err *e);
bool mem_is_crowded(struct store *st);
err_code mem_erase(struct store *st, const struct lease *lease, store_number number, uint64_t t,
                   sv note, bool *any, struct err *e);
err_code mem_erase_finish(struct store *st, const struct lease *lease, const atomic_bool *halt,
                          struct err *e);
void mem_bulk_abort(struct store_bulk *base);
err_code mem_note_get(struct store *st, sv key, struct buf *out, struct err *e);
err_code mem_note_delete(struct store *st, sv key, struct err *e);

/* ---- read.c ---- */
err_code mem_last(struct store *st, struct store_commit *out, struct err *e);
err_code mem_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out,
                       struct err *e);
bool mem_is_near(struct store *st, store_number number);
err_code mem_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t, bool light,
                 struct arena *a, struct store_version *out, struct err *e);
err_code mem_number_of(struct store *st, fhir_type type, sv id, store_number *out, struct err *e);
err_code mem_get_number(struct store *st, store_number number, uint64_t as_of_t, bool light,
                        struct arena *a, struct store_version *out, struct err *e);
err_code mem_scan(struct store *st, const struct store_range *range, uint64_t as_of_t,
                  struct store_cursor **out, struct err *e);
err_code mem_scan_numbers(struct store *st, const store_number *numbers, size_t n, uint64_t as_of_t,
                          struct store_cursor **out, struct err *e);
err_code mem_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                     struct store_cursor **out, struct err *e);
err_code mem_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                     uint64_t upto_t, struct store_cursor **out, struct err *e);
err_code mem_cursor_next(struct store_cursor *base, struct store_version *out, struct err *e);
void mem_cursor_rest(struct store_cursor *base);
void mem_cursor_close(struct store_cursor *base);
err_code mem_log(struct store *st, fhir_type type, uint64_t from_t, store_number after, size_t max,
                 struct arena *a, struct store_log_row **out, size_t *n_out, struct err *e);
err_code mem_plan(struct store *st, const struct store_range *part, size_t target_bytes,
                  struct arena *a, struct store_range **out, size_t *n_out, struct err *e);
err_code mem_changes_plan(struct store *st, fhir_type type, uint64_t after_t, uint64_t upto_t,
                          size_t target_bytes, struct arena *a, struct store_range **out,
                          size_t *n_out, struct err *e);
err_code mem_changed_types(struct store *st, uint64_t after_t, uint64_t upto_t,
                           bool changed[STORE_TYPES], struct err *e);
err_code mem_touched(struct store *st, const struct store_range *ranges, size_t n, uint64_t after_t,
                     uint64_t upto_t, bool *touched, struct err *e);

/* ---- entries.c ---- */
err_code mem_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                        sv after_value, store_number after, uint64_t as_of_t,
                        struct store_index_cursor **out, struct err *e);
err_code mem_index_next(struct store_index_cursor *base, struct store_index_hit *out,
                        struct err *e);
void mem_index_seek(struct store_index_cursor *base, sv value, store_number number);
void mem_index_close(struct store_index_cursor *base);
unsigned mem_index_form(struct store *st);
err_code mem_settle(struct store *st, const atomic_bool *halt, struct err *e);
err_code mem_count(struct store *st, fhir_type type, uint16_t param, sv value, uint64_t *out,
                   struct store_commit *at, struct err *e);

/* ---- again.c ---- */
err_code mem_commits(struct store *st, uint64_t after_t, struct store_commit_row *out, size_t max,
                     size_t *n, struct err *e);
err_code mem_again(struct store *st, struct store_again *commits, size_t n, struct err *e);
err_code mem_again_load(struct store *st, struct store_bulk **b, int64_t instant_ms,
                        struct store_commit *out, struct err *e);
err_code mem_again_end(struct store *st, int64_t floor_ms, struct err *e);
