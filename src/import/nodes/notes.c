/* notes.c - notes of the units of one import: read, taken away.
 *
 * A unit's notes go when what it was made into is published, or when its load is given up. */
#include "import/nodes/units.h"

#define UNIT_DIGITS 8u

/* records_each_fn */
static bool each_note(void *ctx, sv key, sv value)
{
    struct import_notes *n = ctx;
    struct import_note note = { .value = arena_sv(n->a, value) };
    if (key.len < UNIT_DIGITS || !sv_to_u64(sv_tail(key, key.len - UNIT_DIGITS), &note.unit))
        n->rc = ERR_CORRUPT;
    else if (note.value.ptr == NULL ||
             buf_add(&n->items, sv_make(&note, sizeof note), NULL) != ERR_OK)
        n->rc = ERR_TOO_LARGE;
    return n->rc == ERR_OK;
}

err_code import_done_read(struct job_run *run, uint64_t from, struct import_notes *n, struct err *e)
{
    TRY(job_run_ranges_scan(run, (size_t)from, each_note, n, e));
    return n->rc == ERR_OK ? ERR_OK : ERR(e, n->rc, "the import's notes are damaged");
}

static err_code delete_note(struct arena *a, const char *name, struct buf *writes, struct err *e)
{
    const struct records_write w = { RECORDS_DELETE, arena_sv(a, sv_from(name)), SV_NONE };
    return w.key.ptr ? buf_add(writes, sv_make(&w, sizeof w), e) : arena_oom(a, e);
}

err_code import_offer_delete(struct arena *a, uint64_t unit, struct buf *writes, struct err *e)
{
    char name[IMPORT_UNIT_NAME];
    import_unit_name(name, "unit", unit);
    return delete_note(a, name, writes, e);
}

err_code import_result_delete(struct arena *a, uint64_t unit, uint64_t pieces, struct buf *writes,
                              struct err *e)
{
    char name[2 * IMPORT_UNIT_NAME];
    import_unit_name(name, "load", unit);
    TRY(delete_note(a, name, writes, e));
    import_unit_name(name, "done", unit);
    TRY(delete_note(a, name, writes, e));
    for (uint64_t i = 0; i < pieces; i++) {
        import_piece_name(name, unit, i);
        TRY(delete_note(a, name, writes, e));
    }
    return ERR_OK;
}

/* records_each_fn */
static bool each_piece(void *ctx, sv key, sv value)
{
    uint64_t *n = ctx;
    (void)key;
    (void)value;
    ++*n;
    return true;
}

err_code import_pieces_count(struct job_run *run, uint64_t unit, uint64_t *out, struct err *e)
{
    char name[IMPORT_UNIT_NAME + 1];
    *out = 0;
    (void)snprintf(name, sizeof name, "lines/%08llu/", (unsigned long long)unit);
    return job_run_note_scan(run, sv_from(name), each_piece, out, e);
}

err_code import_notes_write(struct job_run *run, const struct buf *writes, struct err *e)
{
    const struct records_write *w = (const struct records_write *)(const void *)writes->ptr;
    const size_t n = writes->len / sizeof *w;
    return n ? job_run_notes_write(run, w, n, e) : ERR_OK;
}

/* Loads that a node was filling when it died, and that it had told nobody of. None of this data
 * store's is anybody's now, unless another import is under way. */
static err_code clear_loads(struct job_run *run, struct err *e)
{
    struct err why;
    if (!job_run_is_first(run))
        return ERR_OK;
    err_code rc = store_loads_clear_under(run->lease, run->store, &why);
    /* one that is just being written is given up by who writes it */
    return rc == ERR_OK || rc == ERR_CONFLICT ? ERR_OK : err_pass(e, &why);
}

err_code import_notes_clear(struct job_run *run, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(IMPORT_NOTES_MAX);
    CLEANUP_BUF struct buf writes = BUF_INIT(IMPORT_NOTES_MAX);
    struct import_notes n = { .a = a, .items = BUF_INIT(IMPORT_NOTES_MAX) };
    err_code rc = import_done_read(run, 0, &n, e);
    for (size_t i = 0; rc == ERR_OK && i < n.items.len / sizeof(struct import_note); i++) {
        const struct import_note *note = (const struct import_note *)(const void *)n.items.ptr + i;
        uint64_t pieces = 0;
        rc = import_result_pieces(note->value, &pieces, e);
        if (rc == ERR_OK)
            rc = import_result_drop(run, note->value, e);
        if (rc == ERR_OK)
            rc = import_result_delete(a, note->unit, pieces, &writes, e);
    }
    buf_clear(&n.items);
    if (rc == ERR_OK)
        rc = job_run_note_scan(run, SV_LIT("load/"), each_note, &n, e);
    for (size_t i = 0; rc == ERR_OK && i < n.items.len / sizeof(struct import_note); i++) {
        const struct import_note *note = (const struct import_note *)(const void *)n.items.ptr + i;
        rc = import_unit_load_drop(run, NULL, note->unit, e);
        if (rc == ERR_OK)
            rc = import_result_delete(a, note->unit, 0, &writes, e);
    }
    buf_clear(&n.items);
    if (rc == ERR_OK)
        rc = job_run_note_scan(run, SV_LIT("unit/"), each_note, &n, e);
    for (size_t i = 0; rc == ERR_OK && i < n.items.len / sizeof(struct import_note); i++)
        rc = import_offer_delete(a, ((const struct import_note *)(const void *)n.items.ptr)[i].unit,
                                 &writes, e);
    buf_done(&n.items);
    TRY(rc);
    TRY(import_notes_write(run, &writes, e));
    return clear_loads(run, e);
}
