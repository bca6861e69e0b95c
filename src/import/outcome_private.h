/* outcome_private.h - what outcome.c, outcome_point.c, parts.c, spool.c and upload.c share.
 * Floor: import. */
#pragma once
#include "import/import_private.h"

#include <limits.h>

struct import_kind_name {
    char letter;        /* begins the names of its spools */
    const char *folder; /* of its objects */
    const char *name;   /* of its lengths in the resume point */
};
extern const struct import_kind_name import_kind_names[IMPORT_N_KINDS];

struct open_file { /* an input file that is not uploaded yet */
    struct open_file *next;
    size_t file;
    bool ended;
    int fd[IMPORT_N_KINDS];                /* -1: nothing was written */
    struct cipher *cipher[IMPORT_N_KINDS]; /* of an encrypted spool; else NULL */
    uint64_t len[IMPORT_N_KINDS];
    bool dirty[IMPORT_N_KINDS];
    uint64_t want[IMPORT_N_KINDS]; /* while it is filled anew: its length in the end */
    uint64_t part;                 /* the first with lines of it */
    uint64_t failures;             /* lines written */
    uint64_t left[IMPORT_N_KINDS]; /* lines that were not; */
    uint64_t from[IMPORT_N_KINDS]; /* lineId of the first of them */
};

/* Of the whole job. */
struct totals {
    uint64_t bytes[IMPORT_N_KINDS], left[IMPORT_N_KINDS];
    uint64_t failures, ends; /* lines of FAILURE; bytes of last lines */
};

struct import_outcome {
    struct job_run *run;
    struct sink *sink;
    const struct import_files *files;
    struct import_parts *parts;     /* NULL: nobody but this machine has to know the lines */
    struct open_file *first, *last; /* in the input's order */
    struct import_bounds bounds;
    struct totals all;
    unsigned n_ended; /* since the last sync */
    bool sync_all;    /* files were closed without a sync of their own */
};

/* The last file, or a new one behind it: lines come in the input's order. */
struct open_file *import_outcome_file(struct import_outcome *o, size_t file);
/* Of an object, below the job's folder. */
sv import_outcome_name(struct arena *a, const struct import_files *files, size_t file, int kind);
void import_spool_path(const struct import_outcome *outcome, size_t file, int kind,
                       char out[PATH_MAX]);
/* Open at the length that counts. What is behind it was written before a crash and not
 * published. */
MUST_USE err_code import_spool_open(struct import_outcome *outcome, struct open_file *file,
                                    int kind, struct err *e);
void import_spool_close(struct open_file *file);
/* Behind what the spool has. */
MUST_USE err_code import_spool_add(struct import_outcome *outcome, struct open_file *file, int kind,
                                   sv lines, struct err *e);
/* ---- spool.c ---- */
struct cipher_ring;
/* Of an encrypted spool the first len bytes, in a new file of the same name under a new key, at
 * whose end *fd stands. On error *fd is what it was. ERR_IO, ERR_NO_SPACE, ERR_CORRUPT. */
MUST_USE err_code import_spool_anew(const char *path, const struct cipher_ring *ring, int *fd,
                                    uint64_t len, struct cipher **out, struct err *e);

/* ---- parts.c: the lines in the job's notes ---- */
struct json_writer;
struct yyjson_val;
struct import_parts; /* NULL in each call: there are none, and nothing is done */
/* NULL where one machine does all jobs. */
struct import_parts *import_parts_new(struct job_run *run);
void import_parts_free(struct import_parts *parts);
/* The part that what is added next goes into. */
uint64_t import_parts_at(const struct import_parts *parts);
MUST_USE err_code import_parts_add(struct import_parts *parts, size_t file, int kind, sv lines,
                                   struct err *e);
/* All that was added is on disk with the next resume point. */
MUST_USE err_code import_parts_sync(struct import_parts *parts, struct err *e);
/* A member of the resume point: which parts count. */
void import_parts_write(const struct import_parts *parts, struct json_writer *w);
/* Take up; state: the object that has the member. ERR_CORRUPT. */
MUST_USE err_code import_parts_read(struct import_parts *parts, struct yyjson_val *state,
                                    struct err *e);
/* Parts below it are deleted, since the objects of their files are there. */
uint64_t import_parts_gone(const struct import_parts *parts);
/* All lines of the parts that count, in the order in which they were added. ERR_CORRUPT: one is
 * missing. */
typedef err_code (*import_part_fn)(void *ctx, size_t file, int kind, sv lines, struct err *e);
MUST_USE err_code import_parts_each(struct import_parts *parts, import_part_fn fn, void *ctx,
                                    struct err *e);
MUST_USE err_code import_parts_drop(struct import_parts *parts, uint64_t before, struct err *e);
