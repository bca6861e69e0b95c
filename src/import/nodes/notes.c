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

/* What was found, when all of it was read. */
static err_code all_read(const struct import_notes *n, struct err *e)
{
    return n->rc == ERR_OK ? ERR_OK : ERR(e, n->rc, "the import's notes are damaged");
}

err_code import_done_read(struct job_run *run, uint64_t from, struct import_notes *n, struct err *e)
{
    TRY(job_run_ranges_scan(run, (size_t)from, each_note, n, e));
    return all_read(n, e);
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

/* What stands there. */
struct left {
    struct import_notes offers, loads, done;
};

static size_t notes_of(const struct import_notes *n, const struct import_note **out)
{
    *out = (const struct import_note *)(const void *)n->items.ptr;
    return n->items.len / sizeof **out;
}

static err_code read_left(struct job_run *run, struct left *left, struct err *e)
{
    TRY(job_run_note_scan(run, SV_LIT("unit/"), each_note, &left->offers, e));
    TRY(all_read(&left->offers, e));
    TRY(job_run_note_scan(run, SV_LIT("load/"), each_note, &left->loads, e));
    TRY(all_read(&left->loads, e));
    return import_done_read(run, 0, &left->done, e);
}

/* What others could take first. */
static err_code delete_left(struct arena *a, const struct left *left, struct buf *writes,
                            struct err *e)
{
    const struct import_note *note;
    uint64_t pieces, epoch;
    sv load;
    size_t n = notes_of(&left->offers, &note);
    for (size_t i = 0; i < n; i++)
        TRY(import_offer_delete(a, note[i].unit, writes, e));
    n = notes_of(&left->done, &note);
    for (size_t i = 0; i < n; i++) {
        TRY(import_result_pieces(note[i].value, &pieces, e));
        TRY(import_result_delete(a, note[i].unit, pieces, writes, e));
    }
    n = notes_of(&left->loads, &note);
    for (size_t i = 0; i < n; i++) {
        TRY(import_load_read(note[i].value, &epoch, &load, e));
        TRY(import_result_delete(a, note[i].unit, 0, writes, e));
    }
    return ERR_OK;
}

static err_code drop_left(struct job_run *run, const struct left *left, struct err *e)
{
    const struct import_note *note;
    uint64_t epoch;
    sv load;
    size_t n = notes_of(&left->done, &note);
    for (size_t i = 0; i < n; i++)
        TRY(import_result_drop(run, note[i].value, e));
    n = notes_of(&left->loads, &note);
    for (size_t i = 0; i < n; i++) {
        TRY(import_load_read(note[i].value, &epoch, &load, e));
        TRY(import_load_drop(run, load, e));
    }
    return ERR_OK;
}

err_code import_notes_clear(struct job_run *run, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(IMPORT_NOTES_MAX);
    CLEANUP_BUF struct buf writes = BUF_INIT(IMPORT_NOTES_MAX);
    const struct import_notes none = { .a = a, .items = BUF_INIT(IMPORT_NOTES_MAX) };
    struct left left = { none, none, none };
    err_code rc = read_left(run, &left, e);
    if (rc == ERR_OK)
        rc = delete_left(a, &left, &writes, e);
    /* A node that stood still may have read notes of the run behind its own. It fails here. */
    if (rc == ERR_OK)
        rc = import_notes_write(run, &writes, e);
    if (rc == ERR_OK)
        rc = drop_left(run, &left, e);
    buf_done(&left.offers.items);
    buf_done(&left.loads.items);
    buf_done(&left.done.items);
    TRY(rc);
    return clear_loads(run, e);
}
