/* outcome.c - what became of each line, spooled per input file and kind.
 *
 * Lines are appended to a spool file per kind and input file. Their lengths are in the resume point
 * that is published with the chunk (resume.c), so after a crash the spool is cut back to
 * exactly what the store holds. A file that has ended is uploaded (upload.c). Files come one after
 * the other, so only the last one is held open, however many end within one chunk.
 *
 * The spools of an encrypted data store are encrypted with its keys. One that is cut back gets
 * another one (spool.c).
 *
 * A line of input may be a byte, and its outcome has hundreds. So how many lines and bytes are
 * written is bounded by the size of the input, per kind, file and job (base/limits.h). Lines are
 * written up to the first that does not fit; from there on they are counted, and a last line says
 * how many. Kinds do not share a bound, so what is written does not depend on where chunks were
 * cut, nor on where a run was ended and taken up. */
#include "import/outcome_private.h"

#include "base/file.h"
#include "base/limits.h"
#include "codec/crypt/cipher.h"
#include "codec/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES     (16u << 10) /* encrypted at a time */
#define SYNC_ONE_BY_ONE 8u /* files; with more in a chunk one sync of the file system costs less */

const struct import_kind_name import_kind_names[IMPORT_N_KINDS] = {
    [IMPORT_SUCCESS] = { 's', "SUCCESS", "success" },
    [IMPORT_FAILURE] = { 'f', "FAILURE", "failure" },
    [IMPORT_WITH_ISSUES] = { 'w', "SUCCESS_WITH_SEARCH_VALIDATION_FAILURES", "withIssues" },
};

struct import_outcome *import_outcome_new(struct job_run *run, struct sink *out,
                                          const struct import_files *files)
{
    struct import_outcome *outcome = calloc(1, sizeof *outcome);
    if (outcome == NULL)
        abort();
    outcome->run = run;
    outcome->sink = out;
    outcome->files = files;
    outcome->parts = import_parts_new(run);
    outcome->bounds = run->import_bounds ? *run->import_bounds : import_bounds_default;
    return outcome;
}

sv import_outcome_name(struct arena *a, const struct import_files *files, size_t file, int kind)
{
    return arena_fmt(a, "%s/%.*s", import_kind_names[kind].folder,
                     SV_FMT(files->items[file].out_name));
}

err_code import_outcome_names(struct import_files *files, const struct sink *out, struct arena *a,
                              struct err *e)
{
    CLEANUP(arena_free) struct arena *scratch = arena_new(64u << 10);
    for (size_t i = 0; i < files->n; i++) {
        struct import_file *f = &files->items[i];
        struct err why;
        unsigned char digest[SHA256_LEN];
        char hex[SHA256_HEX_LEN];
        arena_reset(scratch);
        if (sink_name_check(out, import_outcome_name(scratch, files, i, IMPORT_WITH_ISSUES),
                            &why) == ERR_OK)
            continue;
        hash_sha256_of(f->key, digest);
        hash_hex(digest, sizeof digest, hex);
        f->out_name = arena_fmt(a, "long-key-%.*s.ndjson", (int)sizeof hex, hex);
        if (f->out_name.ptr == NULL)
            return arena_oom(a, e);
    }
    return ERR_OK;
}

void import_spool_close(struct open_file *file)
{
    for (int k = 0; k < IMPORT_N_KINDS; k++) {
        if (file->fd[k] >= 0)
            close(file->fd[k]);
        cipher_free(file->cipher[k]);
        file->fd[k] = -1;
        file->cipher[k] = NULL;
    }
}

void import_outcome_free(struct import_outcome *outcome)
{
    if (outcome == NULL)
        return;
    for (struct open_file *file = outcome->first, *next; file; file = next) {
        next = file->next;
        import_spool_close(file);
        free(file);
    }
    import_parts_free(outcome->parts);
    free(outcome);
}

void import_spool_path(const struct import_outcome *outcome, size_t file, int kind,
                       char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/%c%zu", outcome->run->spool_dir,
                   import_kind_names[kind].letter, file);
}

/* The last file, or a new one behind it: lines come in the input's order. */
struct open_file *import_outcome_file(struct import_outcome *outcome, size_t file)
{
    if (outcome->last && outcome->last->file == file)
        return outcome->last;
    struct open_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    f->file = file;
    f->part = import_parts_at(outcome->parts);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        f->fd[k] = -1;
    if (outcome->last)
        outcome->last->next = f;
    else
        outcome->first = f;
    outcome->last = f;
    return f;
}

static err_code not_spooled(struct err *e)
{
    return ERR(e, err_from_errno(errno), "the import's outcome cannot be spooled");
}

/* Of a new spool, or of one that there is. */
static err_code spool_key(const struct import_outcome *outcome, struct open_file *file, int kind,
                          struct err *e)
{
    const struct cipher_ring *ring = store_ring(outcome->run->store);
    unsigned char prefix[CIPHER_PREFIX];
    if (file->len[kind])
        return cipher_of_file(ring, file->fd[kind], &file->cipher[kind], e);
    file->cipher[kind] = cipher_new(ring, prefix);
    return file_write_all(file->fd[kind], sv_make(prefix, sizeof prefix), e);
}

/* Open at the length that counts. What stands behind it was written before a crash and not
 * published. */
err_code import_spool_open(struct import_outcome *outcome, struct open_file *file, int kind,
                           struct err *e)
{
    char path[PATH_MAX];
    struct stat st;
    if (file->fd[kind] >= 0)
        return ERR_OK;
    import_spool_path(outcome, file->file, kind, path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return not_spooled(e);
    file->fd[kind] = fd;
    if (fstat(fd, &st) != 0)
        return not_spooled(e);
    const uint64_t begin = store_ring(outcome->run->store) ? CIPHER_PREFIX : 0;
    const uint64_t len = file->len[kind] ? begin + file->len[kind] : 0;
    if ((uint64_t)st.st_size < len)
        return ERR(e, ERR_CORRUPT, "the import's spooled outcome is shorter than it was");
    if (begin && len && (uint64_t)st.st_size > len)
        return import_spool_anew(path, store_ring(outcome->run->store), &file->fd[kind],
                                 file->len[kind], &file->cipher[kind], e);
    if (ftruncate(fd, (off_t)len) != 0 || lseek(fd, (off_t)len, SEEK_SET) < 0)
        return not_spooled(e);
    return begin ? spool_key(outcome, file, kind, e) : ERR_OK;
}

/* ---- bounds ---- */

const struct import_bounds import_bounds_default = {
    .file_failures = LIMIT_FAILURE_LINES_FILE,
    .job_failures = LIMIT_FAILURE_LINES_JOB,
    .file_bytes = LIMIT_OUTCOME_FILE_BYTES,
    .job_bytes = LIMIT_OUTCOME_JOB_BYTES,
    .ends_bytes = LIMIT_OUTCOME_ENDS_BYTES,
    .ratio = LIMIT_OUTCOME_RATIO,
    .job_unpacked = LIMIT_IMPORT_JOB_BYTES,
};

static uint64_t most_bytes(uint64_t base, unsigned ratio, uint64_t input_bytes)
{
    return input_bytes > (UINT64_MAX - base) / ratio ? UINT64_MAX : base + ratio * input_bytes;
}

/* May a line of so many bytes be written? */
static bool fits(const struct import_outcome *outcome, const struct open_file *file, int kind,
                 size_t bytes, uint64_t n_lines)
{
    const struct import_bounds *b = &outcome->bounds;
    if (file->left[kind])
        return false;
    if (kind == IMPORT_FAILURE && (file->failures + n_lines > b->file_failures ||
                                   outcome->all.failures + n_lines > b->job_failures))
        return false;
    return file->len[kind] + bytes <=
               most_bytes(b->file_bytes, b->ratio, outcome->files->items[file->file].bytes) &&
           outcome->all.bytes[kind] + bytes <=
               most_bytes(b->job_bytes, b->ratio, outcome->files->bytes);
}

static uint64_t count_lines(sv text)
{
    uint64_t n = 0;
    for (const char *p = text.ptr, *end = p + text.len;
         p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        n++;
    return n;
}

/* The number in front of a line: {"lineId":7,... */
static uint64_t line_id(sv line)
{
    sv digits = sv_tail(line, sizeof "{\"lineId\":" - 1);
    uint64_t n = 0;
    for (size_t i = 0; i < digits.len && digits.ptr[i] >= '0' && digits.ptr[i] <= '9'; i++)
        n = n * 10 + (uint64_t)(digits.ptr[i] - '0');
    return n;
}

/* How much of the lines is written; the others are counted. */
static sv within_bounds(struct import_outcome *outcome, struct open_file *file, int kind, sv lines)
{
    uint64_t n = count_lines(lines);
    size_t len = lines.len;
    if (!fits(outcome, file, kind, len, n)) {
        sv rest = lines;
        for (len = n = 0; rest.len;) {
            size_t line = sv_find(rest, '\n') + 1;
            if (!fits(outcome, file, kind, len + line, n + 1))
                break;
            len += line;
            n++;
            rest = sv_tail(rest, line);
        }
        if (file->left[kind] == 0)
            file->from[kind] = line_id(rest);
        uint64_t left = count_lines(rest);
        file->left[kind] += left;
        outcome->all.left[kind] += left;
    }
    file->failures += kind == IMPORT_FAILURE ? n : 0;
    outcome->all.failures += kind == IMPORT_FAILURE ? n : 0;
    outcome->all.bytes[kind] += len;
    return sv_head(lines, len);
}

static err_code put(struct open_file *file, int kind, sv lines, struct err *e)
{
    char piece[PIECE_BYTES];
    while (lines.len) {
        sv now = file->cipher[kind] ? sv_head(lines, sizeof piece) : lines;
        const size_t len = now.len;
        if (file->cipher[kind]) {
            cipher_apply(file->cipher[kind], file->len[kind], now.ptr, piece, now.len);
            now.ptr = piece;
        }
        TRY(file_write_all(file->fd[kind], now, e));
        file->len[kind] += len;
        lines = sv_tail(lines, len);
    }
    return ERR_OK;
}

err_code import_spool_add(struct import_outcome *outcome, struct open_file *file, int kind,
                          sv lines, struct err *e)
{
    if (lines.len == 0)
        return ERR_OK;
    TRY(import_spool_open(outcome, file, kind, e));
    TRY(put(file, kind, lines, e));
    file->dirty[kind] = true;
    return ERR_OK;
}

static err_code write_lines(struct import_outcome *outcome, struct open_file *file, int kind,
                            sv lines, struct err *e)
{
    TRY(import_parts_add(outcome->parts, file->file, kind, lines, e));
    return import_spool_add(outcome, file, kind, lines, e);
}

err_code import_outcome_add(struct import_outcome *outcome, size_t file,
                            const sv lines[IMPORT_N_KINDS], struct err *e)
{
    struct open_file *f = import_outcome_file(outcome, file);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        if (lines[k].len)
            TRY(write_lines(outcome, f, k, within_bounds(outcome, f, k, lines[k]), e));
    return ERR_OK;
}

/* The last line of a kind that has more than was written. Those of very many files are bounded too:
 * then the manifest alone has the number. */
static err_code write_end(struct import_outcome *outcome, struct open_file *file, int kind,
                          struct err *e)
{
    CLEANUP_BUF struct buf line = BUF_INIT(4096);
    if (file->left[kind] == 0)
        return ERR_OK;
    TRY(import_line_more(&line, file->from[kind], file->left[kind], kind, e));
    if (outcome->all.ends + line.len > outcome->bounds.ends_bytes)
        return ERR_OK;
    outcome->all.ends += line.len;
    return write_lines(outcome, file, kind, buf_sv(&line), e);
}

void import_outcome_left(const struct import_outcome *outcome, uint64_t left[IMPORT_N_KINDS])
{
    memcpy(left, outcome->all.left, sizeof outcome->all.left);
}

static err_code sync_file(struct open_file *file, struct err *e)
{
    for (int k = 0; k < IMPORT_N_KINDS; k++) {
        if (file->dirty[k] && fdatasync(file->fd[k]) != 0)
            return not_spooled(e);
        file->dirty[k] = false;
    }
    return ERR_OK;
}

err_code import_outcome_end(struct import_outcome *outcome, size_t file, struct err *e)
{
    struct open_file *f = import_outcome_file(outcome, file);
    for (int k = 0; k < IMPORT_N_KINDS; k++)
        TRY(write_end(outcome, f, k, e));
    f->ended = true;
    /* the parts are on disk when they have to be: the spools are made of them */
    if (outcome->parts == NULL && ++outcome->n_ended <= SYNC_ONE_BY_ONE)
        TRY(sync_file(f, e));
    else
        outcome->sync_all = true;
    import_spool_close(f);
    return ERR_OK;
}

static err_code sync_folder(const struct import_outcome *outcome, bool all, struct err *e)
{
    /* new files' names */
    if (!all)
        return file_sync_dir(outcome->run->spool_dir, e);
    int fd = open(outcome->run->spool_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    err_code rc = fd < 0 || syncfs(fd) != 0 ? not_spooled(e) : ERR_OK;
    if (fd >= 0)
        close(fd);
    return rc;
}

err_code import_outcome_sync(struct import_outcome *outcome, struct err *e)
{
    if (outcome->parts)
        return import_parts_sync(outcome->parts, e);
    if (outcome->last && !outcome->last->ended)
        TRY(sync_file(outcome->last, e));
    TRY(sync_folder(outcome, outcome->sync_all, e));
    outcome->sync_all = false;
    outcome->n_ended = 0;
    return ERR_OK;
}
