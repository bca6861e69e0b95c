/* outcome_point.c - the outcome in the resume point: how much was spooled of which file and kind,
 * what was counted, and taking it up again. */
#include "import/outcome_private.h"

#include "codec/json.h"

static void numbers(struct json_writer *w, const char *name, const uint64_t *n, size_t count)
{
    json_key(w, name);
    json_arr(w);
    for (size_t i = 0; i < count; i++)
        json_u64(w, n[i]);
    json_arr_end(w);
}

/* Absent: as they are, for a resume point of before there were any. */
static err_code read_numbers(yyjson_val *list, uint64_t *n, size_t count, struct err *e)
{
    for (size_t i = 0; list && i < count; i++)
        if (!sv_to_u64(json_number(yyjson_arr_get(list, i)), &n[i]))
            return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
    return ERR_OK;
}

void import_outcome_write(const struct import_outcome *outcome, struct json_writer *w)
{
    json_obj(w);
    numbers(w, "bytes", outcome->all.bytes, IMPORT_N_KINDS);
    numbers(w, "left", outcome->all.left, IMPORT_N_KINDS);
    numbers(w, "more", (const uint64_t[]){ outcome->all.failures, outcome->all.ends }, 2);
    json_key(w, "files");
    json_arr(w);
    for (const struct open_file *file = outcome->first; file; file = file->next) {
        json_obj(w);
        json_kv_i64(w, "file", (int64_t)file->file);
        for (int k = 0; k < IMPORT_N_KINDS; k++)
            json_kv_i64(w, import_kind_names[k].name, (int64_t)file->len[k]);
        json_kv_bool(w, "ended", file->ended);
        if (outcome->parts)
            json_kv_i64(w, "part", (int64_t)file->part);
        if (!file->ended) {
            json_kv_i64(w, "failures", (int64_t)file->failures);
            numbers(w, "left", file->left, IMPORT_N_KINDS);
            numbers(w, "from", file->from, IMPORT_N_KINDS);
        }
        json_obj_end(w);
    }
    json_arr_end(w);
    import_parts_write(outcome->parts, w);
    json_obj_end(w);
}

/* How much the parts have to have of it. What began in front of them, and has ended, was
 * uploaded. */
static err_code expect(const struct import_outcome *outcome, struct open_file *f, yyjson_val *part,
                       struct err *e)
{
    if (!sv_to_u64(json_number(part), &f->part))
        return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
    if (!f->ended || f->part >= import_parts_gone(outcome->parts))
        memcpy(f->want, f->len, sizeof f->want);
    memset(f->len, 0, sizeof f->len);
    return ERR_OK;
}

static err_code restore_file(struct import_outcome *outcome, yyjson_val *v, struct err *e)
{
    uint64_t file;
    if (!sv_to_u64(json_number(json_get(v, "file")), &file) || file >= outcome->files->n)
        return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
    struct open_file *f = import_outcome_file(outcome, file);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        if (!sv_to_u64(json_number(json_get(v, import_kind_names[k].name)), &f->len[k]))
            return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
    f->ended = yyjson_is_true(json_get(v, "ended"));
    yyjson_val *failures = json_get(v, "failures");
    if (failures && !sv_to_u64(json_number(failures), &f->failures))
        return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
    TRY(read_numbers(json_get(v, "left"), f->left, IMPORT_N_KINDS, e));
    TRY(read_numbers(json_get(v, "from"), f->from, IMPORT_N_KINDS, e));
    if (outcome->parts)
        return expect(outcome, f, json_get(v, "part"), e);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        if (f->len[k] && !f->ended)
            TRY(import_spool_open(outcome, f, k, e));
    return ERR_OK;
}

/* ---- from parts ---- */

struct refill {
    struct import_outcome *outcome;
    struct open_file *at; /* files come in the input's order */
};

/* import_part_fn. Lines of a file that is not in the list are those of one that was uploaded. */
static err_code refill_lines(void *ctx, size_t file, int kind, sv lines, struct err *e)
{
    struct refill *r = ctx;
    while (r->at && r->at->file < file) {
        if (r->at->ended)
            import_spool_close(r->at);
        r->at = r->at->next;
    }
    if (r->at == NULL || r->at->file != file || r->at->want[kind] == 0)
        return ERR_OK;
    return import_spool_add(r->outcome, r->at, kind, lines, e);
}

/* Whatever is in the folder is of another run, and is written over. */
static err_code refill(struct import_outcome *outcome, struct err *e)
{
    struct refill r = { outcome, outcome->first };
    TRY(import_parts_each(outcome->parts, refill_lines, &r, e));
    for (struct open_file *f = outcome->first; f; f = f->next) {
        if (memcmp(f->len, f->want, sizeof f->len) != 0)
            return ERR(e, ERR_CORRUPT, "the import's spooled outcome is shorter than it was");
        if (f->ended)
            import_spool_close(f);
    }
    return ERR_OK;
}

err_code import_outcome_restore(struct import_outcome *outcome, struct yyjson_val *state,
                                struct err *e)
{
    uint64_t more[2] = { 0, 0 };
    /* before outcomes were bounded it was the list alone */
    yyjson_val *v, *files = yyjson_is_arr(state) ? state : json_get(state, "files");
    yyjson_arr_iter it = yyjson_arr_iter_with(files);
    TRY(read_numbers(json_get(state, "bytes"), outcome->all.bytes, IMPORT_N_KINDS, e));
    TRY(read_numbers(json_get(state, "left"), outcome->all.left, IMPORT_N_KINDS, e));
    TRY(read_numbers(json_get(state, "more"), more, 2, e));
    outcome->all.failures = more[0];
    outcome->all.ends = more[1];
    TRY(import_parts_read(outcome->parts, state, e));
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        TRY(restore_file(outcome, v, e));
    return outcome->parts ? refill(outcome, e) : ERR_OK;
}
