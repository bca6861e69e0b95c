/* open.c - the oracle as an engine: opening, closing, its table of functions.
 *
 * A store in memory begins empty each time and is gone when it is closed. It shares nothing with
 * other stores, so it needs no environment. */
#include "store/memory/memory_private.h"

static void mem_close(struct store *st)
{
    struct memory *m = (struct memory *)st;
    for (size_t i = 0; i < m->n; i++)
        mem_version_free(&m->versions[i]);
    for (size_t i = 0; i < m->n_notes; i++) {
        free(m->notes[i].key);
        free(m->notes[i].value);
    }
    free(m->versions);
    free(m->marks);
    free(m->commits);
    free(m->notes);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static void mem_weigh(struct store *st, struct store_weight *out)
{
    /* what it holds can be written nowhere */
    (void)st;
    *out = (struct store_weight){ 0 };
}

static err_code mem_flush(struct store *st, struct err *e)
{
    (void)st;
    (void)e;
    return ERR_OK;
}

static const struct store_ops memory_ops = {
    .close = mem_close,
    .last = mem_last,
    .horizon = mem_horizon,
    .commit = mem_commit,
    .bulk_begin = mem_bulk_begin,
    .bulk_fill = mem_bulk_fill,
    .bulk_publish = mem_bulk_publish,
    .bulk_abort = mem_bulk_abort,
    .is_crowded = mem_is_crowded,
    .note_get = mem_note_get,
    .note_delete = mem_note_delete,
    .is_near = mem_is_near,
    .get = mem_get,
    .number_of = mem_number_of,
    .get_number = mem_get_number,
    .scan = mem_scan,
    .scan_numbers = mem_scan_numbers,
    .cursor_next = mem_cursor_next,
    .cursor_rest = mem_cursor_rest,
    .cursor_close = mem_cursor_close,
    .history = mem_history,
    .changes = mem_changes,
    .changes_plan = mem_changes_plan,
    .changed_types = mem_changed_types,
    .touched = mem_touched,
    .log = mem_log,
    .index_scan = mem_index_scan,
    .index_next = mem_index_next,
    .index_seek = mem_index_seek,
    .index_close = mem_index_close,
    .settle = mem_settle,
    .index_form = mem_index_form,
    .count = mem_count,
    .commit_at = mem_commit_at,
    .plan = mem_plan,
    .weigh = mem_weigh,
    .flush = mem_flush,
    .erase = mem_erase,
    .erase_finish = mem_erase_finish,
    .commits = mem_commits,
    .again = mem_again,
    .again_load = mem_again_load,
    .again_end = mem_again_end,
};

err_code memory_open(struct store_env *env, void *own, const char *place, bool create,
                     unsigned n_files, struct store **out, struct err *e)
{
    (void)env;
    (void)own;
    (void)n_files;
    if (place[0])
        return ERR(e, ERR_INVALID, "a store in memory has no place: its URI is memory:");
    if (!create)
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    struct memory *m = calloc(1, sizeof *m);
    if (m == NULL)
        abort();
    m->base.ops = &memory_ops;
    m->floor_ms = INT64_MIN;
    pthread_mutex_init(&m->lock, NULL);
    *out = &m->base;
    return ERR_OK;
}
