/* read.c - one reader cuts the input files, one after the other, into chunks of whole lines.
 *
 * A chunk is a list of segments, each of them lines of one file. A fault of a file (it is not
 * there, it is damaged, it unpacks to too much) ends that file and not the job: the segment says
 * why. A giant is a chunk of its own: reading stops in front of it, until the import has made room
 * (import.c). */
#include "import/import_private.h"

#include "base/limits.h"
#include "codec/ndjson.h"

#define SEGMENTS_MAX (4u << 20) /* bytes: bounds a chunk of a great many tiny or empty files */

struct sink_target import_target(const struct job_run *run, sv uri)
{
    const struct job *j = run->job;
    return (struct sink_target){ .uri = uri,
                                 .role_arn = j->role_arn,
                                 .account_id = j->account_id,
                                 .source_arn = j->datastore_arn,
                                 .session_name = SV_LIT("fhirlake-import"),
                                 .cancel = run->halt };
}

err_code import_input_open(struct job_run *run, struct sink **out, struct err *e)
{
    const struct sink_target t = import_target(run, run->job->input_uri);
    return sink_open(run->world, &t, out, e);
}

void import_read_close(struct import_job *import)
{
    ndjson_close(import->at.ndjson);
    unpack_close(import->at.unpack);
    import->at.ndjson = NULL;
    import->at.unpack = NULL;
}

static err_code open_file(struct import_job *import, struct err *e)
{
    struct byte_reader src;
    const sv key = import->files.items[import->at.file].key;
    TRY(sink_read(import->in, key, 0, &src, e));
    err_code rc = unpack_open_file(src, key, &import->at.unpack, e);
    if (rc == ERR_OK) {
        unpack_bound(import->at.unpack, LIMIT_IMPORT_FILE_BYTES, LIMIT_UNPACK_FREE_BYTES,
                     LIMIT_UNPACK_RATIO);
        rc = ndjson_open(import->at.unpack, import->at.offset, LIMIT_IMPORT_LINE_BYTES,
                         &import->at.ndjson, e);
    }
    if (rc == ERR_OK)
        ndjson_pause(import->at.ndjson, LIMIT_GIANT_BYTES);
    if (rc == ERR_OK && import->at.offset == 0)
        rc = ndjson_skip_mark(import->at.ndjson, e);
    if (rc != ERR_OK)
        import_read_close(import);
    return rc;
}

/* Faults of the input, which cost the file and not the job. */
static bool is_files_fault(err_code rc)
{
    return rc == ERR_INVALID || rc == ERR_NOT_FOUND || rc == ERR_DENIED || rc == ERR_TOO_LARGE;
}

static const struct import_bounds *bounds_of(const struct import_job *import)
{
    return import->run->import_bounds ? import->run->import_bounds : &import_bounds_default;
}

static void next_file(struct import_job *import)
{
    import_read_close(import);
    import->at.unpacked += import->at.offset;
    import->at.file++;
    import->at.offset = 0;
    import->at.line = 1;
}

bool import_giant_waits(const struct import_job *import)
{
    return import->at.ndjson && ndjson_is_paused(import->at.ndjson);
}

/* Lines of the present file into the chunk, as one segment. Moves on to the next file at its
 * end. */
static err_code read_segment(struct import_job *import, struct import_chunk *chunk, size_t room,
                             struct err *e)
{
    struct import_segment s = { .file = import->at.file, .first_line = import->at.line };
    size_t before = chunk->text.len;
    struct err why;
    err_code rc = ERR_OK;
    if (import->at.ndjson == NULL)
        rc = open_file(import, &why);
    if (rc == ERR_OK) {
        s.offset = ndjson_offset(import->at.ndjson);
        s.packed = !unpack_is_plain(import->at.unpack);
    }
    if (rc == ERR_OK)
        rc = ndjson_fill(import->at.ndjson, room, &chunk->text, &s.n_lines, &s.long_line, &why);
    if (rc != ERR_OK && rc != ERR_EOF && !is_files_fault(rc)) {
        rc = err_pass(e, &why);
        err_context(e, "reading input file %zu", (size_t)import->at.file);
        return rc;
    }
    /* nothing stands in front of a giant, which waits */
    if (rc == ERR_OK && s.n_lines == 0 && !s.long_line)
        return ERR_OK;
    s.text_len = chunk->text.len - before;
    chunk->n_lines += s.n_lines;
    if (rc == ERR_OK) {
        import->at.line += s.n_lines + (s.long_line ? 1 : 0);
        import->at.offset = ndjson_offset(import->at.ndjson);
        if (import->at.unpacked + import->at.offset > bounds_of(import)->job_unpacked)
            return ERR(e, ERR_INVALID, "The input files unpack to more than %llu GB together",
                       (unsigned long long)(bounds_of(import)->job_unpacked >> 30));
    } else {
        s.ends_file = true;
        if (rc != ERR_EOF) {
            (void)snprintf(s.unreadable, sizeof s.unreadable, "File cannot be read on: %.120s",
                           why.msg);
        }
        next_file(import);
    }
    return buf_add(&chunk->segments, sv_make(&s, sizeof s), e);
}

err_code import_read_chunk(struct import_job *import, struct import_chunk *chunk, struct err *e)
{
    size_t target = import->run->import_chunk_bytes;
    import_chunk_reset(chunk);
    chunk->giant = import_giant_waits(import);
    if (chunk->giant)
        TRY(read_segment(import, chunk, target, e));
    /* each has an outcome, which may be longer than it */
    while (!chunk->giant && !import_giant_waits(import) && import->at.file < import->files.n &&
           chunk->text.len < target && chunk->segments.len < SEGMENTS_MAX &&
           chunk->n_lines < NDJSON_FILL_LINES) {
        if (job_run_should_stop(import->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
        TRY(read_segment(import, chunk, target - chunk->text.len, e));
    }
    chunk->next_file = import->at.file;
    chunk->next_offset = import->at.offset;
    chunk->next_line = import->at.line;
    chunk->next_unpacked = import->at.unpacked;
    return chunk->segments.len || import_giant_waits(import) ? ERR_OK : ERR_EOF;
}
