/* files.c - which files an import reads, in which order, and what their outcome is called.
 *
 * The list is made once and kept, so that a run that is taken up reads the same files, whatever has
 * come or gone below the prefix since: in the job's scratch folder, or, where another machine may
 * take it up, in its notes: files/NUMBER, and files says how many there are. */
#include "import/import_private.h"

#include "base/file.h"
#include "base/limits.h"
#include "codec/uri.h"

#include <limits.h>
#include <unistd.h>

#define LIST_MAX (4ull * LIMIT_IMPORT_NAMES_BYTES) /* a byte may be escaped by three */

struct listing {
    struct job_run *run;
    /* "<bytes> <key>\n" per file, '%' and '\n' of the key as %25 and %0A: the spool's form */
    struct buf text;
    sv prefix;
    uint64_t n, bytes, name_bytes;
    err_code rc;
    struct err *e;
};

static bool ends_nocase(sv key, sv suffix)
{
    return key.len >= suffix.len && sv_eq_nocase(sv_tail(key, key.len - suffix.len), suffix);
}

static bool is_ndjson_name(sv key)
{
    return ends_nocase(key, SV_LIT(".ndjson")) || ends_nocase(key, SV_LIT(".ndjson.gz")) ||
           ends_nocase(key, SV_LIT(".ndjson.zst"));
}

/* Output of a job that wrote below this prefix: <datastoreId>-FHIR_IMPORT-<jobId>/... */
static bool is_job_output(sv key)
{
    sv rest = key, part, middle = SV_LIT("-FHIR_IMPORT-");
    while (sv_cut(&rest, '/', &part))
        if (part.len == 64 + middle.len && sv_is_hex(sv_head(part, 32), 32) &&
            sv_starts(sv_tail(part, 32), middle) && sv_is_hex(sv_tail(part, 32 + middle.len), 32))
            return true;
    return false;
}

static err_code add_file(struct listing *l, sv key, uint64_t bytes)
{
    TRY(buf_add_fmt(&l->text, l->e, "%llu ", (unsigned long long)bytes));
    for (size_t i = 0; i < key.len; i++) {
        char c = key.ptr[i];
        if (c == '%' || c == '\n')
            TRY(buf_add(&l->text, c == '%' ? SV_LIT("%25") : SV_LIT("%0A"), l->e));
        else
            TRY(buf_add_char(&l->text, c, l->e));
    }
    return buf_add_char(&l->text, '\n', l->e);
}

/* Back, in place: text is ours. */
static sv listed_key(sv text)
{
    char *p = (char *)(uintptr_t)text.ptr;
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        sv rest = sv_tail(text, i);
        bool nl = sv_starts(rest, SV_LIT("%0A"));
        bool escaped = nl || sv_starts(rest, SV_LIT("%25"));
        p[n++] = nl ? '\n' : text.ptr[i];
        i += escaped ? 2 : 0;
    }
    return sv_make(p, n);
}

static bool each_key(void *ctx, sv key, uint64_t bytes)
{
    struct listing *l = ctx;
    /* there may be very many that are not meant */
    if (job_run_should_stop(l->run)) {
        l->rc = ERR(l->e, ERR_CANCELLED, "the import was stopped");
        return false;
    }
    /* the URI names this object itself */
    bool named = sv_eq(key, l->prefix);
    if (!named && (!is_ndjson_name(key) || is_job_output(key)))
        return true;
    if (++l->n > LIMIT_IMPORT_FILES)
        l->rc = ERR(l->e, ERR_INVALID, "The input has more than %u files", LIMIT_IMPORT_FILES);
    else if (bytes > LIMIT_IMPORT_FILE_BYTES)
        l->rc = ERR(l->e, ERR_INVALID, "An input file is larger than 50 GB");
    else if ((l->name_bytes += key.len) > LIMIT_IMPORT_NAMES_BYTES)
        l->rc = ERR(l->e, ERR_INVALID, "The keys of the input files have more than %u MiB together",
                    LIMIT_IMPORT_NAMES_BYTES >> 20);
    else if ((l->bytes += bytes) > LIMIT_IMPORT_JOB_BYTES)
        l->rc = ERR(l->e, ERR_INVALID, "The input files are larger than 5000 GB together");
    else
        l->rc = add_file(l, key, bytes);
    return l->rc == ERR_OK;
}

/* Path below the prefix; always ends in ".ndjson". whole: keep the ending that tells the
 * compression. */
static sv out_name(struct arena *a, sv prefix, sv key, bool whole)
{
    sv name = key;
    /* one object: its last segment */
    if (sv_eq(key, prefix)) {
        for (size_t i = key.len; i-- > 0;)
            if (key.ptr[i] == '/') {
                name = sv_tail(key, i + 1);
                break;
            }
    } else if (sv_starts(key, prefix)) {
        name = sv_tail(key, prefix.len);
        while (name.len && name.ptr[0] == '/')
            name = sv_tail(name, 1);
    }
    if (!whole && ends_nocase(name, SV_LIT(".ndjson.gz")))
        name.len -= 3;
    else if (!whole && ends_nocase(name, SV_LIT(".ndjson.zst")))
        name.len -= 4;
    return ends_nocase(name, SV_LIT(".ndjson")) ? arena_sv(a, name)
                                                : arena_fmt(a, "%.*s.ndjson", SV_FMT(name));
}

static int by_out_name(const void *x, const void *y)
{
    const struct import_file *const *a = x, *const *b = y;
    return sv_cmp((*a)->out_name, (*b)->out_name);
}

/* a.ndjson beside a.ndjson.gz: the packed one's outcome is called a.ndjson.gz.ndjson, or one would
 * replace the other. */
static err_code part_names(struct arena *a, sv prefix, struct import_files *files, struct err *e)
{
    struct import_file **byname = malloc((files->n + 1) * sizeof *byname);
    if (byname == NULL)
        abort();
    for (size_t i = 0; i < files->n; i++)
        byname[i] = &files->items[i];
    qsort((void *)byname, files->n, sizeof *byname, by_out_name);
    bool full = false;
    sv before = SV_NONE;
    for (size_t i = 0; i < files->n && !full; i++) {
        sv mine = byname[i]->out_name;
        bool twice =
            sv_eq(mine, before) || (i + 1 < files->n && sv_eq(mine, byname[i + 1]->out_name));
        before = mine;
        if (twice)
            byname[i]->out_name = out_name(a, prefix, byname[i]->key, true);
        full = byname[i]->out_name.ptr == NULL;
    }
    free((void *)byname);
    return full ? arena_oom(a, e) : ERR_OK;
}

static err_code parse_list(sv text, sv prefix, struct arena *a, struct import_files *out,
                           struct err *e)
{
    struct import_files files = { 0 };
    sv rest = text, line;
    for (size_t i = 0; i < text.len; i++)
        files.n += text.ptr[i] == '\n';
    files.items = arena_calloc(a, files.n + 1, sizeof *files.items);
    if (files.items == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < files.n && sv_cut(&rest, '\n', &line); i++) {
        size_t blank = sv_find(line, ' ');
        struct import_file *x = &files.items[i];
        sv key = arena_sv(a, sv_tail(line, blank + 1));
        if (key.ptr == NULL)
            return arena_oom(a, e);
        x->key = listed_key(key);
        x->out_name = out_name(a, prefix, x->key, false);
        if (!sv_to_u64(sv_head(line, blank), &x->bytes))
            return ERR(e, ERR_CORRUPT, "the import's list of files is damaged");
        if (x->out_name.ptr == NULL)
            return arena_oom(a, e);
        files.bytes += x->bytes;
    }
    TRY(part_names(a, prefix, &files, e));
    *out = files;
    return ERR_OK;
}

/* ---- kept ---- */

static void path_of(const struct job_run *run, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/files", run->spool_dir);
}

#define PIECES SV_LIT("files")

static sv piece_name(struct arena *a, uint64_t i)
{
    arena_reset(a);
    return arena_fmt(a, "files/%llu", (unsigned long long)i);
}

/* ERR_NOT_FOUND: there is no list yet. */
static err_code read_list(struct job_run *run, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    CLEANUP_BUF struct buf number = BUF_INIT(24);
    char path[PATH_MAX];
    uint64_t n;
    if (!import_is_shared(run)) {
        path_of(run, path);
        return file_read(path, out, e);
    }
    TRY(job_run_note_get(run, PIECES, &number, e));
    if (!sv_to_u64(buf_sv(&number), &n))
        return ERR(e, ERR_CORRUPT, "the import's list of files is damaged");
    for (uint64_t i = 0; i < n; i++) {
        err_code rc = import_packed_get(run, piece_name(a, i), out, e);
        TRY(rc == ERR_NOT_FOUND ? ERR(e, ERR_CORRUPT, "the import's list of files is not whole")
                                : rc);
    }
    return ERR_OK;
}

/* The last note says that it is whole. */
static err_code keep_list(struct job_run *run, sv text, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    char path[PATH_MAX], number[24];
    uint64_t n = 0;
    if (!import_is_shared(run)) {
        path_of(run, path);
        return file_write_atomic(path, text, e);
    }
    for (; text.len; text = sv_tail(text, IMPORT_PACKED_MAX))
        TRY(import_packed_put(run, piece_name(a, n++), sv_head(text, IMPORT_PACKED_MAX), e));
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)n);
    return job_run_note_put(run, PIECES, sv_from(number), e);
}

err_code import_files_load(struct job_run *run, struct sink *in, struct arena *a,
                           struct import_files *out, struct err *e)
{
    struct uri_s3 uri;
    struct listing l = { .run = run, .e = e };
    TRY(uri_s3_parse(run->job->input_uri, &uri, e));
    l.prefix = uri.key;
    buf_init(&l.text, LIST_MAX);
    struct err missing;
    err_code rc = read_list(run, &l.text, &missing);
    if (rc == ERR_NOT_FOUND && run->guest) {
        rc = ERR(e, ERR_CANCELLED, "the import has no list of files yet");
    } else if (rc == ERR_NOT_FOUND) {
        rc = sink_list(in, each_key, &l, e);
        if (rc == ERR_OK)
            rc = l.rc;
        if (rc == ERR_OK && l.n == 0)
            rc = ERR(
                e, ERR_INVALID,
                "No .ndjson, .ndjson.gz or .ndjson.zst file stands below InputDataConfig.S3Uri");
        if (rc == ERR_OK)
            rc = keep_list(run, buf_sv(&l.text), e);
    } else if (rc != ERR_OK) {
        rc = err_pass(e, &missing);
    }
    if (rc == ERR_OK)
        rc = parse_list(buf_sv(&l.text), uri.key, a, out, e);
    buf_done(&l.text);
    return rc;
}
