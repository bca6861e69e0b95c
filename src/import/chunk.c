/* chunk.c - the lines of a chunk become a bulk load, on a worker.
 *
 * Each line is read, validated and indexed. A line that cannot become a version costs only itself:
 * a line of the outcome says why. The stored form of a line is made where the line stood. The items
 * and the index entries of a chunk are made in the worker's own memory, and are in the bulk load
 * when the worker goes on to the next chunk.
 *
 * A giant is in memory twice at most: as its text, which becomes its stored form, and as its tree,
 * or as what the store makes of it. */
#include "import/import_private.h"

#include "base/limits.h"
#include "codec/ndjson.h"
#include "fhir/large.h"
#include "fhir/outcome.h"

#define LINE_LIMIT "172 MiB"
_Static_assert(LIMIT_IMPORT_LINE_BYTES == 172u << 20, "LINE_LIMIT says what it is");
#define WORKER_MEMORY (8u << 20) /* issues of one resource: 50 texts and paths */

void import_chunk_init(struct import_chunk *chunk, struct job_run *run,
                       struct import_worker *workers)
{
    *chunk = (struct import_chunk){ .run = run, .workers = workers };
    buf_init(&chunk->text, IMPORT_CHUNK_MAX);
    buf_init(&chunk->segments, IMPORT_CHUNK_MAX);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        buf_init(&chunk->lines[k], IMPORT_CHUNK_MAX);
    /* a level that is not one was refused at submit */
    if (!fhir_validate_level_named(run->job->validation_level, &chunk->level))
        chunk->level = FHIR_VALIDATE_STRICT;
}

void import_chunk_done(struct import_chunk *chunk)
{
    buf_done(&chunk->text);
    buf_done(&chunk->segments);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        buf_done(&chunk->lines[k]);
    store_bulk_abort(chunk->bulk);
    chunk->bulk = NULL;
    import_chunk_leave(chunk);
}

void import_chunk_leave(struct import_chunk *chunk)
{
    lease_release(chunk->lease);
    chunk->lease = NULL;
}

void import_chunk_reset(struct import_chunk *chunk)
{
    /* a giant line's memory is given back */
    size_t keep = chunk->run->import_chunk_bytes * 2;
    buf_shrink(&chunk->text, keep);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        buf_shrink(&chunk->lines[k], keep);
    buf_clear(&chunk->segments);
    store_bulk_abort(chunk->bulk);
    chunk->bulk = NULL;
    chunk->n_lines = 0;
    chunk->scanned = chunk->imported = chunk->rejected = chunk->with_issues =
        chunk->imported_bytes = 0;
    chunk->rc = ERR_OK;
    chunk->giant = false;
    chunk->finished = false;
    chunk->has_unit = chunk->away = chunk->taken_in = false;
    chunk->unit = chunk->n_pieces = chunk->sum[0] = chunk->sum[1] = 0;
    import_chunk_leave(chunk);
}

static bool is_blank(sv line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.ptr[i] != ' ' && line.ptr[i] != '\t' && line.ptr[i] != '\r')
            return false;
    return true;
}

/* Does it become a version? If not, its failure is said. Level minimal lets it, and has it say what
 * is wrong. */
static err_code validate(struct import_chunk *chunk, struct import_worker *worker, uint64_t number,
                         struct fhir_envelope *env, bool *store, struct err *e)
{
    bool minimal = chunk->level == FHIR_VALIDATE_MINIMAL;
    yyjson_val *root = fhir_reader_root(worker->reader);
    struct fhir_issues found;
    TRY(fhir_validate(root, minimal ? FHIR_VALIDATE_STRICT : chunk->level, worker->a, &found, e));
    *store = minimal || found.n == 0;
    if (found.n == 0)
        return import_line_success(&chunk->lines[IMPORT_SUCCESS], number, env->type, env->id, e);
    buf_clear(&worker->outcome);
    TRY(fhir_outcome_write(&found, fhir_outcome_max(env->body.json.len), &worker->outcome, e));
    if (!minimal) {
        chunk->rejected++;
        return import_line_invalid(&chunk->lines[IMPORT_FAILURE], number, buf_sv(&worker->outcome),
                                   e);
    }
    chunk->with_issues++;
    /* bounded by the chunk: a mark is at most twice an outcome */
    if (worker->marked == NULL)
        worker->marked = arena_new(IMPORT_CHUNK_MAX);
    TRY(fhir_issues_mark(env->type, root, buf_sv(&worker->outcome), worker->marked, &env->body, e));
    return import_line_issues(&chunk->lines[IMPORT_WITH_ISSUES], number, env->type, env->id,
                              buf_sv(&worker->outcome), e);
}

static err_code parse_line(struct import_chunk *chunk, struct import_worker *worker,
                           uint64_t number, sv line, struct err *e)
{
    struct fhir_envelope env;
    struct err why;
    size_t index_at = worker->index.len;
    bool store;
    chunk->scanned++;
    if (line.len > LIMIT_DATA_BODY_BYTES && !fhir_is_large_binary(line, LIMIT_DATA_BODY_BYTES)) {
        char too_large[160];
        (void)snprintf(
            too_large, sizeof too_large,
            "Resource has %zu bytes, which is more than the limit of %u MiB that all but "
            "the data of a Binary have",
            line.len, LIMIT_DATA_BODY_BYTES >> 20);
        chunk->rejected++;
        return import_line_failure(&chunk->lines[IMPORT_FAILURE], number, too_large, e);
    }
    /* the chunk's own text */
    char *text = (char *)(uintptr_t)line.ptr;
    if (fhir_envelope_read_here(worker->reader, text, line.len, &env, &why) != ERR_OK) {
        chunk->rejected++;
        return import_line_failure(&chunk->lines[IMPORT_FAILURE], number, why.msg, e);
    }
    TRY(validate(chunk, worker, number, &env, &store, e));
    if (!store)
        return ERR_OK;
    TRY(search_index(env.type, fhir_reader_root(worker->reader), &worker->index, e));
    struct store_bulk_item item = { .type = env.type,
                                    .id = env.id,
                                    .body = env.body,
                                    .index = { NULL, worker->index.len - index_at },
                                    .seq = chunk->imported };
    if (chunk->giant) {
        /* the body goes before the id is done with */
        item.id = arena_sv(worker->a, env.id);
        if (item.id.ptr == NULL)
            return arena_oom(worker->a, e);
        if (env.body.json.ptr == text)
            item.own = &chunk->text;
    }
    TRY(buf_add(&worker->items, sv_make(&item, sizeof item), e));
    chunk->imported++;
    chunk->imported_bytes += line.len + 1;
    return ERR_OK;
}

static err_code parse_segment(struct import_chunk *chunk, struct import_worker *worker,
                              struct import_segment *s, sv text, struct err *e)
{
    sv rest = text, line;
    uint64_t number = s->first_line;
    for (; ndjson_line(&rest, &line); number++) {
        arena_reset(worker->a);
        if (!is_blank(line))
            TRY(parse_line(chunk, worker, number, line, e));
        if ((number & 255) == 0 && job_run_should_stop(chunk->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
    }
    if (s->long_line) {
        chunk->scanned++;
        chunk->rejected++;
        TRY(import_line_failure(&chunk->lines[IMPORT_FAILURE], number,
                                "Resource is larger than the limit of " LINE_LIMIT, e));
    }
    /* the file is at fault, and counted as one, not a resource */
    if (s->unreadable[0])
        TRY(import_line_failure(&chunk->lines[IMPORT_FAILURE], number, s->unreadable, e));
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        s->lines_end[k] = chunk->lines[k].len;
    return ERR_OK;
}

static err_code parse(struct import_chunk *chunk, struct import_worker *worker, struct err *e)
{
    struct import_segment *s = (struct import_segment *)(void *)chunk->segments.ptr;
    sv text = buf_sv(&chunk->text);
    if (chunk->giant) {
        TRY(buf_reserve(&chunk->text, STORE_BULK_ROOM, e));
        memmove(chunk->text.ptr + STORE_BULK_ROOM, chunk->text.ptr, text.len);
        text.ptr = chunk->text.ptr + STORE_BULK_ROOM;
    }
    for (size_t i = 0; i < chunk->segments.len / sizeof *s; i++) {
        TRY(parse_segment(chunk, worker, &s[i], sv_head(text, s[i].text_len), e));
        text = sv_tail(text, s[i].text_len);
    }
    if (chunk->giant) {
        /* its tree goes before it is written, which needs as much again */
        fhir_reader_free(worker->reader);
        worker->reader = NULL;
    }
    struct store_bulk_item *items = (struct store_bulk_item *)(void *)worker->items.ptr;
    size_t n = worker->items.len / sizeof *items;
    /* it moves no more: say where each one's entries stand */
    const char *index = worker->index.ptr;
    for (size_t i = 0; i < n; index += items[i++].index.len)
        items[i].index.ptr = index;
    TRY(store_bulk_begin(chunk->run->store, &chunk->bulk, e));
    if (chunk->begun)
        TRY(chunk->begun(chunk->begun_ctx, chunk, e));
    return store_bulk_fill(chunk->bulk, items, n, e);
}

void import_worker_done(struct import_worker *worker)
{
    fhir_reader_free(worker->reader);
    arena_free(worker->a);
    arena_free(worker->marked);
    buf_done(&worker->outcome);
    buf_done(&worker->items);
    buf_done(&worker->index);
    *worker = (struct import_worker){ 0 };
}

void import_chunk_parse(struct import_chunk *chunk, unsigned worker)
{
    struct import_worker *w = &chunk->workers[worker];
    size_t keep = chunk->run->import_chunk_bytes * 2;
    if (w->reader == NULL)
        w->reader = fhir_reader_new(LIMIT_IMPORT_LINE_BYTES);
    if (w->a == NULL) {
        w->a = arena_new(WORKER_MEMORY);
        buf_init(&w->outcome, 2 * FHIR_OUTCOME_MAX);
        buf_init(&w->items, IMPORT_CHUNK_MAX);
        buf_init(&w->index, IMPORT_CHUNK_MAX);
    }
    chunk->rc = parse(chunk, w, &chunk->err);
    /* all of it is in the bulk load */
    buf_shrink(&w->items, keep);
    buf_shrink(&w->index, keep);
    arena_free(w->marked);
    w->marked = NULL;
    if (chunk->giant) {
        buf_done(&chunk->text);
        import_worker_done(w);
    }
}
