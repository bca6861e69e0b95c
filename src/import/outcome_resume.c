/* outcome_resume.c - the outcome's lengths and numbers in the resume point, and the spool cut back
 * to them. */
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

void import_outcome_write(const struct import_outcome *o, struct json_writer *w)
{
    json_obj(w);
    numbers(w, "bytes", o->all.bytes, IMPORT_N_KINDS);
    numbers(w, "left", o->all.left, IMPORT_N_KINDS);
    numbers(w, "more", (const uint64_t[]){ o->all.failures, o->all.ends }, 2);
    json_key(w, "files");
    json_arr(w);
    for (const struct open_file *f = o->first; f; f = f->next) {
        json_obj(w);
        json_kv_i64(w, "file", (int64_t)f->file);
        for (int k = 0; k < IMPORT_N_KINDS; k++)
            json_kv_i64(w, import_kind_names[k].name, (int64_t)f->len[k]);
        json_kv_bool(w, "ended", f->ended);
        if (!f->ended) {
            json_kv_i64(w, "failures", (int64_t)f->failures);
            numbers(w, "left", f->left, IMPORT_N_KINDS);
            numbers(w, "from", f->from, IMPORT_N_KINDS);
        }
        json_obj_end(w);
    }
    json_arr_end(w);
    json_obj_end(w);
}

static err_code restore_file(struct import_outcome *o, yyjson_val *v, struct err *e)
{
    uint64_t file;
    if (!sv_to_u64(json_number(json_get(v, "file")), &file) || file >= o->files->n)
        return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
    struct open_file *f = import_outcome_file(o, file);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        if (!sv_to_u64(json_number(json_get(v, import_kind_names[k].name)), &f->len[k]))
            return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
    f->ended = yyjson_is_true(json_get(v, "ended"));
    yyjson_val *failures = json_get(v, "failures");
    if (failures && !sv_to_u64(json_number(failures), &f->failures))
        return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
    TRY(read_numbers(json_get(v, "left"), f->left, IMPORT_N_KINDS, e));
    TRY(read_numbers(json_get(v, "from"), f->from, IMPORT_N_KINDS, e));
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        if (f->len[k] && !f->ended)
            TRY(import_spool_open(o, f, k, e));
    return ERR_OK;
}

err_code import_outcome_restore(struct import_outcome *o, struct yyjson_val *state, struct err *e)
{
    uint64_t more[2] = { 0, 0 };
    /* before outcomes were bounded it was the list alone */
    yyjson_val *v, *files = yyjson_is_arr(state) ? state : json_get(state, "files");
    yyjson_arr_iter it = yyjson_arr_iter_with(files);
    TRY(read_numbers(json_get(state, "bytes"), o->all.bytes, IMPORT_N_KINDS, e));
    TRY(read_numbers(json_get(state, "left"), o->all.left, IMPORT_N_KINDS, e));
    TRY(read_numbers(json_get(state, "more"), more, 2, e));
    o->all.failures = more[0];
    o->all.ends = more[1];
    while ((v = yyjson_arr_iter_next(&it)) != NULL)
        TRY(restore_file(o, v, e));
    return ERR_OK;
}
