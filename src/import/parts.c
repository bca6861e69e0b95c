/* parts.c - the lines of the outcome, also in the job's notes, where another machine finds them.
 *
 * Where several machines have one database, a spool in a folder of one of them is lost with it. So
 * what is spooled between two resume points is a part: a run of notes, each packed, that are in the
 * database before the resume point is. They need no sync of their own, since the resume point's
 * follows them in the same log. The resume point says which parts count. Who takes the import up
 * fills the spools anew from them, and goes on as a restart does.
 *
 *   part/NUMBER/TAG   lines: "FILE KIND BYTES\n" and the bytes, over and over; packed
 *   gone/NUMBER       all parts below it are of files whose objects are there, and are deleted
 *
 * A run has a tag of its own. Thus one who lost the job and does not know it yet writes no note of
 * those that count. */
#include "import/outcome_private.h"

#include "base/rng.h"
#include "codec/json.h"

#define HEAD_MAX    64u
#define PART_BYTES  (IMPORT_PACKED_MAX - HEAD_MAX) /* of lines, in a note */
#define TAG_LEN     32u
#define RUNS_MAX    4096u /* of an import that is taken up again and again */
#define DELETE_EACH 256u  /* parts */

struct run { /* who wrote the parts from a number on */
    uint64_t from;
    char tag[TAG_LEN + 1];
};

struct import_parts {
    struct job_run *run;
    struct buf lines;    /* of the part that is made */
    uint64_t gone, next; /* the parts that count, and are there; next is the one that is made */
    uint64_t told;       /* of the note that says what is gone; 0: there is none */
    struct run *runs;    /* by number; the last one is this */
    size_t n_runs;
};

static void begin_run(struct import_parts *parts)
{
    struct run *last = parts->n_runs ? &parts->runs[parts->n_runs - 1] : NULL;
    if (last == NULL || last->from != parts->next)
        last = &parts->runs[parts->n_runs++];
    last->from = parts->next;
    rng_hex32(last->tag);
}

struct import_parts *import_parts_new(struct job_run *run)
{
    if (!import_is_shared(run))
        return NULL;
    struct import_parts *parts = calloc(1, sizeof *parts);
    if (parts == NULL || (parts->runs = calloc(RUNS_MAX + 1, sizeof *parts->runs)) == NULL)
        abort();
    parts->run = run;
    buf_init(&parts->lines, IMPORT_PACKED_MAX);
    begin_run(parts);
    return parts;
}

void import_parts_free(struct import_parts *parts)
{
    if (parts == NULL)
        return;
    buf_done(&parts->lines);
    free(parts->runs);
    free(parts);
}

uint64_t import_parts_at(const struct import_parts *parts)
{
    return parts ? parts->next : 0;
}

/* ---- one part ---- */

static sv name_of(const struct import_parts *parts, uint64_t number, struct arena *a)
{
    size_t i = parts->n_runs;
    while (i > 1 && parts->runs[i - 1].from > number)
        i--;
    return arena_fmt(a, "part/%016llx/%s", (unsigned long long)number, parts->runs[i - 1].tag);
}

static err_code put_part(struct import_parts *parts, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    TRY(import_packed_put(parts->run, name_of(parts, parts->next, a), buf_sv(&parts->lines), e));
    parts->next++;
    buf_clear(&parts->lines);
    return ERR_OK;
}

err_code import_parts_add(struct import_parts *parts, size_t file, int kind, sv lines,
                          struct err *e)
{
    while (parts && lines.len) {
        if (parts->lines.len >= PART_BYTES)
            TRY(put_part(parts, e));
        const sv now = sv_head(lines, PART_BYTES - parts->lines.len);
        TRY(buf_add_fmt(&parts->lines, e, "%zu %d %zu\n", file, kind, now.len));
        TRY(buf_add(&parts->lines, now, e));
        lines = sv_tail(lines, now.len);
    }
    return ERR_OK;
}

err_code import_parts_sync(struct import_parts *parts, struct err *e)
{
    return parts && parts->lines.len ? put_part(parts, e) : ERR_OK;
}

/* ---- in the resume point ---- */

void import_parts_write(const struct import_parts *parts, struct json_writer *w)
{
    if (parts == NULL)
        return;
    json_key(w, "parts");
    json_obj(w);
    json_kv_i64(w, "next", (int64_t)parts->next);
    json_key(w, "runs");
    json_arr(w);
    for (size_t i = 0; i < parts->n_runs; i++) {
        /* all that it wrote is gone */
        if (i + 1 < parts->n_runs && parts->runs[i + 1].from <= parts->gone)
            continue;
        json_obj(w);
        json_kv_i64(w, "from", (int64_t)parts->runs[i].from);
        json_kv_str(w, "tag", sv_from(parts->runs[i].tag));
        json_obj_end(w);
    }
    json_arr_end(w);
    json_obj_end(w);
}

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "the import's resume point is damaged");
}

static err_code read_runs(struct import_parts *parts, yyjson_val *runs, struct err *e)
{
    yyjson_val *v;
    yyjson_arr_iter it = yyjson_arr_iter_with(runs);
    if (yyjson_arr_size(runs) == 0 || yyjson_arr_size(runs) >= RUNS_MAX)
        return damaged(e);
    parts->n_runs = 0;
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        struct run *run = &parts->runs[parts->n_runs++];
        const sv tag = json_string(json_get(v, "tag"));
        if (!sv_to_u64(json_number(json_get(v, "from")), &run->from) || !sv_is_hex(tag, TAG_LEN) ||
            run->from > parts->next)
            return damaged(e);
        (void)snprintf(run->tag, sizeof run->tag, "%.*s", SV_FMT(tag));
    }
    return ERR_OK;
}

static bool each_gone(void *ctx, sv key, sv value)
{
    struct import_parts *parts = ctx;
    uint64_t n;
    (void)key;
    if (sv_to_u64(value, &n) && n > parts->told)
        parts->told = n;
    return true;
}

err_code import_parts_read(struct import_parts *parts, yyjson_val *state, struct err *e)
{
    yyjson_val *v = json_get(state, "parts");
    if (parts == NULL)
        return ERR_OK;
    if (!sv_to_u64(json_number(json_get(v, "next")), &parts->next))
        return damaged(e);
    TRY(read_runs(parts, json_get(v, "runs"), e));
    TRY(job_run_note_scan(parts->run, SV_LIT("gone/"), each_gone, parts, e));
    parts->gone = parts->told;
    if (parts->gone > parts->next)
        return damaged(e);
    begin_run(parts);
    return ERR_OK;
}

uint64_t import_parts_gone(const struct import_parts *parts)
{
    return parts ? parts->gone : 0;
}

/* ---- taking up ---- */

static err_code not_whole(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "a part of the import's outcome is damaged");
}

static err_code each_lines(sv part, import_part_fn fn, void *ctx, struct err *e)
{
    while (part.len) {
        sv head, file, kind;
        uint64_t n_file, n_kind, len;
        if (!sv_cut(&part, '\n', &head) || !sv_cut(&head, ' ', &file) ||
            !sv_cut(&head, ' ', &kind) || !sv_to_u64(file, &n_file) || !sv_to_u64(kind, &n_kind) ||
            !sv_to_u64(head, &len) || n_kind >= IMPORT_N_KINDS || len > part.len)
            return not_whole(e);
        TRY(fn(ctx, (size_t)n_file, (int)n_kind, sv_head(part, (size_t)len), e));
        part = sv_tail(part, (size_t)len);
    }
    return ERR_OK;
}

err_code import_parts_each(struct import_parts *parts, import_part_fn fn, void *ctx, struct err *e)
{
    CLEANUP_BUF struct buf part = BUF_INIT(IMPORT_PACKED_MAX);
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    for (uint64_t i = parts->gone; i < parts->next; i++) {
        arena_reset(a);
        buf_clear(&part);
        err_code rc = import_packed_get(parts->run, name_of(parts, i, a), &part, e);
        TRY(rc == ERR_NOT_FOUND ? not_whole(e) : rc);
        TRY(each_lines(buf_sv(&part), fn, ctx, e));
    }
    return ERR_OK;
}

/* ---- what is of no more use ---- */

static sv gone_name(struct arena *a, uint64_t number)
{
    return arena_fmt(a, "gone/%016llx", (unsigned long long)number);
}

/* What is deleted goes with the note that says so: a part that is missing is gone, or damage. */
static err_code drop_some(struct import_parts *parts, uint64_t before, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(128u << 10);
    struct records_write w[DELETE_EACH + 2];
    size_t n = 0;
    for (uint64_t i = parts->gone; i < before; i++)
        w[n++] = (struct records_write){ RECORDS_DELETE, name_of(parts, i, a), SV_NONE };
    if (parts->told)
        w[n++] = (struct records_write){ RECORDS_DELETE, gone_name(a, parts->told), SV_NONE };
    w[n++] = (struct records_write){ RECORDS_PUT, gone_name(a, before),
                                     arena_fmt(a, "%llu", (unsigned long long)before) };
    TRY(job_run_notes_write(parts->run, w, n, e));
    parts->told = parts->gone = before;
    return ERR_OK;
}

err_code import_parts_drop(struct import_parts *parts, uint64_t before, struct err *e)
{
    while (parts && parts->gone < before) {
        const uint64_t left = before - parts->gone;
        TRY(drop_some(parts, parts->gone + (left < DELETE_EACH ? left : DELETE_EACH), e));
    }
    return ERR_OK;
}
