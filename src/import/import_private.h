/* import_private.h - what the rooms of the import share.
 *
 *   import.c          the phases, the ring of chunks, publishing
 *   files.c           what is read, in which order
 *   read.c            files -> chunks of lines
 *   chunk.c           lines -> envelopes -> a bulk load, on a worker
 *   resume.c          the resume point                manifest.c   Manifest.json
 *   outcome_line.c    what a line says of what became of a resource
 *   outcome.c         those lines, spooled            upload.c     ... and uploaded file by file
 *   outcome_point.c   ... in the resume point         parts.c      ... for other machines
 *   packed.c          notes of the job that are packed
 *   work.c            chunks at the workers
 *   nodes/            chunks that other nodes parse
 * Floor: import. */
#pragma once
#include "fhir/validate.h"
#include "import/import.h"

struct import_bounds {                    /* of what an import writes about its lines; outcome.c */
    uint64_t file_failures, job_failures; /* lines */
    /* of each kind, and `ratio` bytes for each of the input as it is stored */
    uint64_t file_bytes, job_bytes;
    uint64_t ends_bytes; /* of last lines */
    unsigned ratio;
    uint64_t job_unpacked; /* plain bytes of all files */
};
extern const struct import_bounds import_bounds_default; /* base/limits.h */

/* ---- input files ---- */
struct import_file {
    sv key;      /* whole key within the input's bucket */
    sv out_name; /* below SUCCESS/ and the like: the path under the input prefix, as .ndjson */
    uint64_t bytes;
};
struct import_files {
    struct import_file *items;
    size_t n;
    uint64_t bytes;
};
/* The list of this job: from its spool when a run before wrote it there, else listed and written
 * down. Strings are owned by the arena. ERR_INVALID: nothing to import, or over a limit. */
/* A guest's run has the list that its holder wrote down; ERR_CANCELLED: there is none yet. */
MUST_USE err_code import_files_load(struct job_run *run, struct sink *in, struct arena *a,
                                    struct import_files *out, struct err *e);

/* ---- packed notes (packed.c) ---- */
/* May another machine take the job up? Then what it has to know is in the notes. */
static inline bool import_is_shared(const struct job_run *run)
{
    return run->cfg && run->cfg->many_machines;
}
#define IMPORT_PACKED_MAX ((size_t)1 << 20) /* bytes of a text */
MUST_USE err_code import_pack(sv text, struct buf *out, struct err *e);
/* On disk with the next note, or resume point, that is synced. */
MUST_USE err_code import_packed_put(struct job_run *run, sv name, sv text, struct err *e);
/* Appended. ERR_NOT_FOUND, ERR_CORRUPT. */
MUST_USE err_code import_packed_get(struct job_run *run, sv name, struct buf *out, struct err *e);

/* ---- outcomes ---- */
typedef enum { IMPORT_SUCCESS, IMPORT_FAILURE, IMPORT_WITH_ISSUES, IMPORT_N_KINDS } import_kind;
struct import_outcome; /* coordinator's thread only */
struct import_outcome *import_outcome_new(struct job_run *run, struct sink *out,
                                          const struct import_files *files);
void import_outcome_free(struct import_outcome *outcome);
/* A file whose outcome would have a key that nothing can hold gets "long-key-<SHA-256 of its
 * key>.ndjson": it must not keep the others from being imported. */
MUST_USE err_code import_outcome_names(struct import_files *files, const struct sink *out,
                                       struct arena *a, struct err *e);
/* Lines of one file, behind what it has; those that are too many are counted. */
MUST_USE err_code import_outcome_add(struct import_outcome *o, size_t file,
                                     const sv lines[IMPORT_N_KINDS], struct err *e);
/* No more lines will come for this file: it is said how many were too many, and its spool is
 * closed. */
MUST_USE err_code import_outcome_end(struct import_outcome *o, size_t file, struct err *e);
/* Lines that were not written, because there were too many. */
void import_outcome_left(const struct import_outcome *outcome, uint64_t left[IMPORT_N_KINDS]);
/* What is spooled is on disk when this returns; its lengths go into the resume point. */
MUST_USE err_code import_outcome_sync(struct import_outcome *outcome, struct err *e);
struct json_writer;
void import_outcome_write(const struct import_outcome *outcome, struct json_writer *w);
/* Take up: cut the spool to what the resume point says. state: what _write made. */
struct yyjson_val;
MUST_USE err_code import_outcome_restore(struct import_outcome *outcome, struct yyjson_val *state,
                                         struct err *e);
/* Upload the files that have ended. Repeating it after a crash writes the same objects again. */
MUST_USE err_code import_outcome_upload(struct import_outcome *o, struct err *e);

/* ---- chunks ---- */
/* bytes: of a chunk's text, and of what is made of it: lines of outcome, stored forms, entries of
 * the index. The text is a chunk's size or one line at most; the others are some times that. */
#define IMPORT_CHUNK_MAX ((size_t)16 << 30)
struct import_segment { /* lines of one file within a chunk */
    size_t file;
    uint64_t offset;     /* plain bytes of the file in front of it */
    bool packed;         /* the file is: it is read from its beginning */
    uint64_t first_line; /* 1-based */
    size_t text_len;     /* bytes of the chunk's text, one segment behind the other */
    uint64_t n_lines;
    bool ends_file;                   /* nothing of the file comes after this */
    bool long_line;                   /* the line behind these was passed over: too long */
    char unreadable[160];             /* not empty: why the file cannot be read on */
    size_t lines_end[IMPORT_N_KINDS]; /* out: where its lines end in the chunk's buffers */
};
struct import_worker { /* scratch of one worker; made when it is first needed */
    struct fhir_reader *reader;
    struct arena *a;         /* issues of one resource */
    struct buf outcome;      /* and the outcome made of them */
    struct buf items, index; /* of the chunk that it works on */
    struct arena *marked;    /* stored forms that level minimal added something to */
};
void import_worker_done(struct import_worker *worker);
struct import_chunk {
    struct job_run *run;
    fhir_validate_level level;
    struct import_worker *workers; /* one per worker of the pool */
    struct buf text;               /* the stored forms are made in it, each in its line's place */
    bool giant;                    /* text is one */
    uint64_t n_lines;              /* of text */
    struct buf segments;           /* of struct import_segment */
    struct buf lines[IMPORT_N_KINDS];
    struct store_bulk *bulk;
    uint64_t scanned, imported, rejected, with_issues, imported_bytes;
    err_code rc;
    struct err err;
    uint64_t next_file, next_offset, next_line; /* where reading goes on behind this chunk */
    uint64_t next_unpacked;
    uint64_t read_us; /* when a worker was to begin */
    bool finished;    /* under the import's lock */
    void *owner;
    /* where several nodes work at the import (nodes/) */
    bool has_unit, away; /* it was offered to others; and is not parsed here */
    bool taken_in;       /* another one has parsed it */
    uint64_t unit, n_pieces;
    uint64_t sum[2];     /* of a unit: the digest of its text */
    struct lease *lease; /* of the unit, taken back; else NULL */
    /* NULL, or asked when the bulk load has begun and is empty */
    err_code (*begun)(void *ctx, const struct import_chunk *chunk, struct err *e);
    void *begun_ctx;
};
void import_chunk_init(struct import_chunk *chunk, struct job_run *run,
                       struct import_worker *workers);
void import_chunk_done(struct import_chunk *chunk);
void import_chunk_leave(struct import_chunk *chunk); /* its lease, if it has one */
void import_chunk_reset(struct import_chunk *chunk);
/* Parse all lines and fill the bulk load. Fills rc and err. Of a giant the text is freed meanwhile,
 * and the worker's memory is given back. */
void import_chunk_parse(struct import_chunk *c, unsigned worker);

/* ---- lines ---- */
/* One line each, with its newline, appended. Where nothing is attested,
 * differences-from-healthlake.md says what was chosen. */
MUST_USE err_code import_line_success(struct buf *out, uint64_t line, fhir_type type, sv id,
                                      struct err *e);
MUST_USE err_code import_line_failure(struct buf *out, uint64_t line, const char *why,
                                      struct err *e);
/* It failed validation: the outcome is fhir_outcome_write()'s. */
MUST_USE err_code import_line_invalid(struct buf *out, uint64_t line, sv outcome, struct err *e);
/* The last line of a file: that `left` lines, beginning with that of input line `line`, were not
 * written. */
MUST_USE err_code import_line_more(struct buf *out, uint64_t line, uint64_t left, import_kind kind,
                                   struct err *e);
/* It is stored, with faults. */
MUST_USE err_code import_line_issues(struct buf *out, uint64_t line, fhir_type type, sv id,
                                     sv outcome, struct err *e);

/* ---- the import (import.c) ---- */
#define IMPORT_RESUME_MAX (64u << 20) /* bytes of a resume point */
struct import_job {
    struct job_run *run;
    struct sink *in, *out;
    struct import_files files;
    struct import_outcome *outcome;
    struct job_progress progress;    /* of what is published */
    struct {                         /* the reader's place */
        uint64_t file, offset, line; /* line: number of the next one */
        uint64_t unpacked;           /* plain bytes of the files before */
        struct unpack *unpack;
        struct ndjson_reader *ndjson;
    } at;
    struct import_chunk *ring;
    struct import_worker *workers;
    struct store_bulk **bulks; /* of a publication: room for n_ring */
    unsigned n_ring;
    struct job_tasks *tasks;
    struct import_share *share; /* NULL: nobody else works at it */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t finished;
        unsigned n_unparsed; /* chunks read and not finished */
        uint64_t slowest_us; /* from a chunk's reading to its end */
        struct buf *texts;   /* of chunks that are parsed, for those that are read next */
        unsigned n_texts;    /* n_ring at most */
    } shared;
    uint64_t start_us, start_imported;
    uint64_t n_publishes;
};

struct sink_target import_target(const struct job_run *run, sv uri);
/* The place of the input files. */
MUST_USE err_code import_input_open(struct job_run *run, struct sink **out, struct err *e);

/* ---- chunks at the workers (work.c) ---- */
bool import_work_has_room(struct import_job *import);
/* Is no worker at any? *slowest_us: the longest that one took. */
bool import_work_is_idle(struct import_job *import, uint64_t *slowest_us);
void import_work_wait(struct import_job *import); /* until there is room */
/* The chunk gets the memory of a text that is parsed, if there is some. */
void import_work_text(struct import_job *import, struct import_chunk *chunk);
void import_work_add(struct import_job *import, struct import_chunk *chunk);
/* It has finished without a worker. */
void import_work_skip(struct import_job *import, struct import_chunk *chunk);
/* Chunks first .. end - 1 are read. The first has finished when this returns: how many have, one
 * behind the other. */
size_t import_work_finished(struct import_job *import, uint64_t first, uint64_t end);
/* No chunk is read that is not published: no worker is at any. */
void import_work_give_memory_back(struct import_job *import);

/* ---- chunks that other nodes parse (nodes/share.c), by the run that has the job ----
 * Chunks first .. end - 1 are read and not published. */
#define IMPORT_AWAY_MOST 16u /* chunks in others' hands; their texts are kept here */
struct import_share;
unsigned import_share_room(const struct job_run *run); /* of the ring, for these */
/* import->share stays NULL where this process is alone. */
MUST_USE err_code import_share_open(struct import_job *import, struct err *e);
/* All is published: nobody works at the import any more when this returns. */
MUST_USE err_code import_share_end(struct import_job *import, struct err *e);
void import_share_free(struct import_share *share);
/* May the next chunk be offered? */
bool import_share_wants(struct import_job *import);
/* *offered: false for one that had better be parsed here. */
MUST_USE err_code import_share_offer(struct import_job *import, struct import_chunk *chunk,
                                     bool *offered, struct err *e);
/* What others have done since is taken in. */
MUST_USE err_code import_share_look(struct import_job *import, uint64_t first, uint64_t end,
                                    struct err *e);
/* The first is in others' hands: it is parsed when this returns, or with a worker of this run. */
MUST_USE err_code import_share_wait(struct import_job *import, uint64_t first, uint64_t end,
                                    struct err *e);
/* n chunks were published: what was written for others goes. */
MUST_USE err_code import_share_published(struct import_job *import, uint64_t first, size_t n,
                                         struct err *e);

/* ---- reading (read.c) ---- */
/* A line of more than LIMIT_GIANT_BYTES comes next. It is a chunk of its own. */
bool import_giant_waits(const struct import_job *import);
/* The next chunk; without segments when nothing stood in front of a giant. ERR_EOF when nothing is
 * left. */
MUST_USE err_code import_read_chunk(struct import_job *import, struct import_chunk *chunk,
                                    struct err *e);
void import_read_close(struct import_job *import);

/* ---- the resume point (resume.c) ---- */
sv import_resume_key(struct arena *a, const struct job_run *run);
/* Behind the chunk. */
MUST_USE err_code import_resume_write(const struct import_job *import,
                                      const struct import_chunk *chunk, struct buf *out,
                                      struct err *e);
/* Where this run begins: at the beginning, if there is none. */
MUST_USE err_code import_resume_read(struct import_job *import, struct err *e);
void import_resume_forget(struct job_run *run);

MUST_USE err_code import_manifest_write(struct import_job *import, struct err *e);
