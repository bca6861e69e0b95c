/* read.c - one reader cuts the input files, one after the other, into chunks of whole lines.
 *
 * A chunk is a list of segments, each of them lines of one file. A fault of a file (it is not
 * there, it is damaged, it unpacks to too much) ends that file and not the job: the segment says
 * why. */
#include "import/import_private.h"

#include "base/limits.h"
#include "codec/ndjson.h"

#define SEGMENTS_MAX (4u << 20) /* bytes: bounds a chunk of a great many tiny or empty files */

void import_read_close(struct import_job *m)
{
    ndjson_close(m->at.ndjson);
    unpack_close(m->at.unpack);
    m->at.ndjson = NULL;
    m->at.unpack = NULL;
}

static err_code open_file(struct import_job *m, struct err *e)
{
    struct byte_reader src;
    TRY(sink_read(m->in, m->files.items[m->at.file].key, 0, &src, e));
    err_code rc = unpack_open(src, &m->at.unpack, e);
    if (rc == ERR_OK) {
        unpack_bound(m->at.unpack, LIMIT_IMPORT_FILE_BYTES, LIMIT_UNPACK_FREE_BYTES,
                     LIMIT_UNPACK_RATIO);
        rc = ndjson_open(m->at.unpack, m->at.offset, LIMIT_IMPORT_LINE_BYTES, &m->at.ndjson, e);
    }
    if (rc == ERR_OK && m->at.offset == 0)
        rc = ndjson_skip_mark(m->at.ndjson, e);
    if (rc != ERR_OK)
        import_read_close(m);
    return rc;
}

/* Faults of the input, which cost the file and not the job. */
static bool is_files_fault(err_code rc)
{
    return rc == ERR_INVALID || rc == ERR_NOT_FOUND || rc == ERR_DENIED || rc == ERR_TOO_LARGE;
}

static const struct import_bounds *bounds_of(const struct import_job *m)
{
    return m->run->import_bounds ? m->run->import_bounds : &import_bounds_default;
}

static void next_file(struct import_job *m)
{
    import_read_close(m);
    m->at.unpacked += m->at.offset;
    m->at.file++;
    m->at.offset = 0;
    m->at.line = 1;
}

/* Lines of the present file into the chunk, as one segment. Moves on to the next file at its
 * end. */
static err_code read_segment(struct import_job *m, struct import_chunk *c, size_t room,
                             struct err *e)
{
    struct import_segment s = { .file = m->at.file, .first_line = m->at.line };
    size_t before = c->text.len;
    struct err why;
    err_code rc = ERR_OK;
    if (m->at.ndjson == NULL)
        rc = open_file(m, &why);
    if (rc == ERR_OK)
        rc = ndjson_fill(m->at.ndjson, room, &c->text, &s.n_lines, &s.long_line, &why);
    if (rc != ERR_OK && rc != ERR_EOF && !is_files_fault(rc)) {
        rc = err_pass(e, &why);
        err_context(e, "reading input file %zu", (size_t)m->at.file);
        return rc;
    }
    s.text_len = c->text.len - before;
    c->n_lines += s.n_lines;
    if (rc == ERR_OK) {
        m->at.line += s.n_lines + (s.long_line ? 1 : 0);
        m->at.offset = ndjson_offset(m->at.ndjson);
        if (m->at.unpacked + m->at.offset > bounds_of(m)->job_unpacked)
            return ERR(e, ERR_INVALID, "The input files unpack to more than %llu GB together",
                       (unsigned long long)(bounds_of(m)->job_unpacked >> 30));
    } else {
        s.ends_file = true;
        if (rc != ERR_EOF) {
            (void)snprintf(s.unreadable, sizeof s.unreadable, "File cannot be read on: %.120s",
                           why.msg);
        }
        next_file(m);
    }
    return buf_add(&c->segments, sv_make(&s, sizeof s), e);
}

err_code import_read_chunk(struct import_job *m, struct import_chunk *c, struct err *e)
{
    size_t target = m->run->import_chunk_bytes;
    import_chunk_reset(c);
    /* each has an outcome, which may be longer than it */
    while (m->at.file < m->files.n && c->text.len < target && c->segments.len < SEGMENTS_MAX &&
           c->n_lines < NDJSON_FILL_LINES) {
        if (job_run_should_stop(m->run))
            return ERR(e, ERR_CANCELLED, "the import was stopped");
        TRY(read_segment(m, c, target - c->text.len, e));
    }
    c->next_file = m->at.file;
    c->next_offset = m->at.offset;
    c->next_line = m->at.line;
    c->next_unpacked = m->at.unpacked;
    return c->segments.len ? ERR_OK : ERR_EOF;
}
