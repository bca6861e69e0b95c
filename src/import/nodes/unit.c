/* unit.c - what the notes of a unit say. */
#include "import/nodes/units.h"

#include "codec/hash.h"
#include "codec/json.h"

#define SEGMENTS_MOST 64u /* of a unit: each is an object that is opened again */
#define SKIP_MOST     2u  /* as many plain bytes as the unit has are unpacked in vain, times this */
#define TREE_MAX      (16u << 20)
#define DEPTH         4u
#define LOAD_MAX      1024u

void import_unit_name(char out[IMPORT_UNIT_NAME], const char *folder, uint64_t unit)
{
    (void)snprintf(out, IMPORT_UNIT_NAME, "%s/%08llu", folder, (unsigned long long)unit);
}

static const struct import_segment *segments_of(const struct import_chunk *chunk, size_t *n)
{
    const struct import_segment *s =
        (const struct import_segment *)(const void *)chunk->segments.ptr;
    *n = chunk->segments.len / sizeof *s;
    return s;
}

bool import_unit_is_fit(const struct import_chunk *chunk)
{
    size_t n;
    const struct import_segment *s = segments_of(chunk, &n);
    uint64_t skip = 0;
    if (chunk->giant || chunk->text.len == 0 || n > SEGMENTS_MOST)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i].long_line || s[i].unreadable[0])
            return false;
        skip += s[i].packed ? s[i].offset : 0;
    }
    return skip <= (uint64_t)SKIP_MOST * chunk->text.len;
}

static void put_sum(struct json_writer *w, const uint64_t sum[2])
{
    json_key(w, "sum");
    json_arr(w);
    json_u64(w, sum[0]);
    json_u64(w, sum[1]);
    json_arr_end(w);
}

err_code import_unit_write(struct import_chunk *chunk, struct buf *out, struct err *e)
{
    size_t n;
    const struct import_segment *s = segments_of(chunk, &n);
    struct json_writer w;
    hash_xxh3_128(buf_sv(&chunk->text), SV_NONE, chunk->sum);
    json_writer_init(&w, out);
    json_obj(&w);
    put_sum(&w, chunk->sum);
    json_kv_u64(&w, "bytes", chunk->text.len);
    json_key(&w, "segments");
    json_arr(&w);
    for (size_t i = 0; i < n; i++) {
        json_arr(&w);
        json_u64(&w, s[i].file);
        json_u64(&w, s[i].offset);
        json_u64(&w, s[i].packed);
        json_u64(&w, s[i].first_line);
        json_u64(&w, s[i].text_len);
        json_arr_end(&w);
    }
    json_arr_end(&w);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "a note of the import is damaged");
}

/* An array of n numbers. */
static bool numbers(yyjson_val *list, uint64_t *out, size_t n)
{
    if (yyjson_arr_size(list) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!sv_to_u64(json_number(yyjson_arr_get(list, i)), &out[i]))
            return false;
    return true;
}

static err_code parse(struct arena *a, sv note, yyjson_val **root, struct err *e)
{
    yyjson_doc *doc;
    note = arena_sv(a, note);
    if (note.ptr == NULL)
        return arena_oom(a, e);
    if (json_read(a, note, DEPTH, &doc, NULL) != ERR_OK)
        return damaged(e);
    *root = yyjson_doc_get_root(doc);
    return ERR_OK;
}

err_code import_unit_read(sv note, size_t n_files, struct import_chunk *chunk, uint64_t *bytes,
                          struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(TREE_MAX);
    yyjson_val *root = NULL, *v;
    uint64_t whole = 0;
    TRY(parse(a, note, &root, e));
    yyjson_val *list = json_get(root, "segments");
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    if (!numbers(json_get(root, "sum"), chunk->sum, 2) ||
        !sv_to_u64(json_number(json_get(root, "bytes")), bytes) || yyjson_arr_size(list) == 0)
        return damaged(e);
    while ((v = yyjson_arr_iter_next(&it)) != NULL) {
        uint64_t n[5];
        if (!numbers(v, n, 5) || n[0] >= n_files || n[4] > *bytes - whole)
            return damaged(e);
        const struct import_segment s = { .file = (size_t)n[0],
                                          .offset = n[1],
                                          .packed = n[2] != 0,
                                          .first_line = n[3],
                                          .text_len = (size_t)n[4] };
        whole += n[4];
        TRY(buf_add(&chunk->segments, sv_make(&s, sizeof s), e));
    }
    return whole == *bytes ? ERR_OK : damaged(e);
}

/* ---- results ---- */

void import_piece_name(char out[2 * IMPORT_UNIT_NAME], uint64_t unit, uint64_t piece)
{
    (void)snprintf(out, 2 * IMPORT_UNIT_NAME, "lines/%08llu/%llu", (unsigned long long)unit,
                   (unsigned long long)piece);
}

/* All kinds, one behind the other. */
static err_code write_lines(struct job_run *run, struct lease *lease, uint64_t unit,
                            const struct import_chunk *chunk, uint64_t *n, struct err *e)
{
    CLEANUP_BUF struct buf packed = BUF_INIT(2 * IMPORT_PACKED_MAX);
    char name[2 * IMPORT_UNIT_NAME];
    *n = 0;
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        for (sv rest = buf_sv(&chunk->lines[k]); rest.len;
             rest = sv_tail(rest, IMPORT_PACKED_MAX)) {
            buf_clear(&packed);
            TRY(import_pack(sv_head(rest, IMPORT_PACKED_MAX), &packed, e));
            import_piece_name(name, unit, (*n)++);
            TRY(job_run_range_note(run, lease, sv_from(name), buf_sv(&packed), e));
        }
    return ERR_OK;
}

static err_code write_note(const struct import_chunk *chunk, uint64_t pieces, struct buf *out,
                           struct err *e)
{
    CLEANUP_BUF struct buf load = BUF_INIT(LOAD_MAX);
    const uint64_t counts[] = { chunk->scanned, chunk->imported, chunk->rejected,
                                chunk->with_issues, chunk->imported_bytes };
    size_t n;
    const struct import_segment *s = segments_of(chunk, &n);
    struct json_writer w;
    TRY(store_bulk_hand_over(chunk->bulk, &load, e));
    json_writer_init(&w, out);
    json_obj(&w);
    put_sum(&w, chunk->sum);
    json_kv_str(&w, "load", buf_sv(&load));
    json_kv_u64(&w, "pieces", pieces);
    json_key(&w, "counts");
    json_arr(&w);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        json_u64(&w, counts[i]);
    json_arr_end(&w);
    json_key(&w, "ends");
    json_arr(&w);
    for (size_t i = 0; i < n; i++) {
        json_arr(&w);
        for (int k = 0; k < IMPORT_N_KINDS; k++)
            json_u64(&w, s[i].lines_end[k]);
        json_arr_end(&w);
    }
    json_arr_end(&w);
    json_obj_end(&w);
    return json_writer_end(&w, e);
}

err_code import_result_write(struct job_run *run, struct lease *lease, uint64_t unit,
                             const struct import_chunk *chunk, struct err *e)
{
    CLEANUP_BUF struct buf note = BUF_INIT(IMPORT_UNIT_MAX);
    uint64_t pieces;
    TRY(write_lines(run, lease, unit, chunk, &pieces, e));
    TRY(write_note(chunk, pieces, &note, e));
    return job_run_range_done(run, lease, (size_t)unit, buf_sv(&note), e);
}

static err_code read_lines(struct job_run *run, uint64_t unit, uint64_t n,
                           const uint64_t len[IMPORT_N_KINDS], struct import_chunk *chunk,
                           struct err *e)
{
    char name[2 * IMPORT_UNIT_NAME];
    uint64_t piece = 0;
    for (int k = 0; k < IMPORT_N_KINDS; k++) {
        buf_clear(&chunk->lines[k]);
        while (chunk->lines[k].len < len[k] && piece < n) {
            import_piece_name(name, unit, piece++);
            err_code rc = import_packed_get(run, sv_from(name), &chunk->lines[k], e);
            TRY(rc == ERR_NOT_FOUND ? damaged(e) : rc);
        }
        if (chunk->lines[k].len != len[k])
            return damaged(e);
    }
    return piece == n ? ERR_OK : damaged(e);
}

/* Where the lines of each segment end; len: of the last one. */
static bool read_ends(yyjson_val *list, struct import_chunk *chunk, uint64_t len[IMPORT_N_KINDS])
{
    struct import_segment *s = (struct import_segment *)(void *)chunk->segments.ptr;
    const size_t n = chunk->segments.len / sizeof *s;
    uint64_t before[IMPORT_N_KINDS] = { 0 };
    if (yyjson_arr_size(list) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!numbers(yyjson_arr_get(list, i), len, IMPORT_N_KINDS))
            return false;
        for (int k = 0; k < IMPORT_N_KINDS; k++) {
            if (len[k] < before[k] || len[k] > IMPORT_CHUNK_MAX)
                return false;
            s[i].lines_end[k] = (size_t)(before[k] = len[k]);
        }
    }
    return true;
}

err_code import_result_read(struct job_run *run, uint64_t unit, sv note, struct import_chunk *chunk,
                            struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(TREE_MAX);
    uint64_t sum[2], pieces, counts[5], len[IMPORT_N_KINDS];
    yyjson_val *root = NULL;
    TRY(parse(a, note, &root, e));
    if (!numbers(json_get(root, "sum"), sum, 2))
        return damaged(e);
    if (sum[0] != chunk->sum[0] || sum[1] != chunk->sum[1])
        return ERR(e, ERR_CONFLICT, "another node has parsed other lines");
    if (!sv_to_u64(json_number(json_get(root, "pieces")), &pieces) ||
        !numbers(json_get(root, "counts"), counts, 5) ||
        !read_ends(json_get(root, "ends"), chunk, len))
        return damaged(e);
    TRY(read_lines(run, unit, pieces, len, chunk, e));
    TRY(store_bulk_take_over(run->store, json_string(json_get(root, "load")), &chunk->bulk, e));
    chunk->scanned = counts[0];
    chunk->imported = counts[1];
    chunk->rejected = counts[2];
    chunk->with_issues = counts[3];
    chunk->imported_bytes = counts[4];
    return ERR_OK;
}

err_code import_result_pieces(sv note, uint64_t *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(TREE_MAX);
    yyjson_val *root = NULL;
    TRY(parse(a, note, &root, e));
    return sv_to_u64(json_number(json_get(root, "pieces")), out) ? ERR_OK : damaged(e);
}

/* ---- loads that are given up ---- */

err_code import_load_drop(struct job_run *run, sv load, struct err *e)
{
    struct store_bulk *bulk;
    struct err why;
    err_code rc = store_bulk_take_over(run->store, load, &bulk, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    store_bulk_abort(bulk);
    return ERR_OK;
}

err_code import_result_drop(struct job_run *run, sv note, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(TREE_MAX);
    yyjson_val *root = NULL;
    TRY(parse(a, note, &root, e));
    return import_load_drop(run, json_string(json_get(root, "load")), e);
}

err_code import_load_read(sv note, uint64_t *epoch, sv *load, struct err *e)
{
    sv word;
    *load = note;
    return sv_cut(load, ' ', &word) && sv_to_u64(word, epoch) ? ERR_OK : damaged(e);
}

err_code import_unit_load_note(struct job_run *run, struct lease *lease, uint64_t unit,
                               const struct store_bulk *bulk, struct err *e)
{
    CLEANUP_BUF struct buf note = BUF_INIT(LOAD_MAX);
    char name[IMPORT_UNIT_NAME];
    TRY(buf_add_fmt(&note, e, "%llu ", (unsigned long long)lease_epoch(lease)));
    TRY(store_bulk_hand_over(bulk, &note, e));
    import_unit_name(name, "load", unit);
    return job_run_range_note(run, lease, sv_from(name), buf_sv(&note), e);
}

/* A node that was frozen has taken the unit long ago, and the load may be that of who has it now:
 * the epoch of that one is greater. */
err_code import_unit_load_drop(struct job_run *run, const struct lease *lease, uint64_t unit,
                               struct err *e)
{
    CLEANUP_BUF struct buf note = BUF_INIT(LOAD_MAX);
    char name[IMPORT_UNIT_NAME];
    uint64_t epoch;
    struct err why;
    sv load;
    import_unit_name(name, "load", unit);
    err_code rc = job_run_note_get(run, sv_from(name), &note, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    TRY(import_load_read(buf_sv(&note), &epoch, &load, e));
    return epoch < lease_epoch(lease) ? import_load_drop(run, load, e) : ERR_OK;
}
