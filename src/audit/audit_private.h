/* audit_private.h - what the rooms of the audit log share.
 *
 *   chain.c    a line: seq in front, chain behind
 *   walk.c     the lines of a segment, one after the other
 *   key.c      the files of keys, and how keys follow from each other
 *   segment.c  the file that is written: begin, append, end
 *   resume.c   what an earlier process left
 *   log.c      the queue and its threads
 *   verify.c   a whole log is checked
 * Floor: audit. */
#pragma once
#include "audit/audit.h"
#include "codec/hash.h"

#include <limits.h>

#define AUDIT_LINE_MAX  ((size_t)1 << 20) /* bytes of a record */
#define AUDIT_BATCH_MAX ((size_t)1 << 20) /* bytes between two syncs, but for the last record */
/* A torn tail that is longer was not left by a process that ended. */
#define AUDIT_TORN_MAX (AUDIT_BATCH_MAX + 2 * AUDIT_LINE_MAX)
#define AUDIT_READ_MAX ((size_t)4 << 30) /* bytes of a segment */
#define AUDIT_TAIL     76u               /* ,"chain":"64 digits"} */

/* ---- lines: chain.c ---- */
struct audit_chain {
    struct hash_hmac_key key;
    unsigned char last[SHA256_LEN]; /* of the line before; zeros in front of the first of all */
    uint64_t seq;                   /* of the next line */
};
/* The record as the next line, with its newline, appended. ERR_INVALID: it is no object with a
 * member. */
MUST_USE err_code audit_line_add(struct audit_chain *chain, sv record, struct buf *out,
                                 struct err *e);
struct audit_line {
    uint64_t seq;
    sv text; /* that the chain covers */
    unsigned char chain[SHA256_LEN];
};
/* A line without its newline. False: it has not the form of one. */
bool audit_line_read(sv line, struct audit_line *out);
/* Is the line's chain right behind `before`? */
bool audit_line_follows(const struct hash_hmac_key *key, const unsigned char before[SHA256_LEN],
                        const struct audit_line *line);
/* The log's own lines: which one is it ("begin"); SV_NONE: it is a record. */
sv audit_line_log(const struct audit_line *line);
/* A member of one of the log's own lines, a number or a text of plain characters. */
sv audit_line_member(const struct audit_line *line, const char *name);

/* ---- a segment is read: walk.c ---- */
struct audit_walk {
    sv text; /* of the segment */
    struct audit_chain chain;
    size_t at;              /* what is behind it was not looked at */
    uint64_t n_lines;       /* so far; torn ones count as one */
    struct audit_line line; /* the newest */
    size_t torn;            /* bytes in front of it that an ended process left */
    bool unfinished;        /* it is whole, but for its newline */
};
typedef enum { AUDIT_WALK_LINE, AUDIT_WALK_END, AUDIT_WALK_BAD } audit_walk_step;
/* The next line that follows from the one before. BAD: what stands at `at` is none, and no line
 * {"log":"recovered"} behind it says that it was torn. */
audit_walk_step audit_walk_next(struct audit_walk *walk);
/* The whole text of a segment, appended. ERR_NOT_FOUND. */
MUST_USE err_code audit_walk_read(const char *dir, uint64_t n, struct buf *text, struct err *e);

/* ---- keys: key.c ---- */
struct audit_key {
    uint64_t segment; /* whose key it is */
    bool begun;       /* that segment was begun */
    unsigned char key[AUDIT_KEY_LEN], queries[AUDIT_KEY_LEN];
};
void audit_key_next(unsigned char key[AUDIT_KEY_LEN]);
/* ERR_NOT_FOUND, ERR_DENIED, ERR_CORRUPT. */
MUST_USE err_code audit_key_load(const char *dir, struct audit_key *out, struct err *e);
MUST_USE err_code audit_key_save(const char *dir, const struct audit_key *key, struct err *e);
/* A new log: both files. */
MUST_USE err_code audit_key_make(const char *dir, struct audit_key *out, struct err *e);
MUST_USE err_code audit_first_key_load(const char *path, unsigned char out[AUDIT_KEY_LEN],
                                       struct err *e);

/* ---- segments: segment.c ---- */
struct audit_segment {
    const char *dir;
    int fd, lock_fd; /* -1: none */
    struct audit_key key;
    struct audit_chain chain;
    uint64_t bytes, first_seq; /* of the file */
    int64_t begun_ms;
    struct buf out;
};
void audit_segment_init(struct audit_segment *segment, const char *dir);
/* Nothing is written. */
void audit_segment_drop(struct audit_segment *segment);
MUST_USE err_code audit_segment_path(const char *dir, uint64_t n, char out[PATH_MAX],
                                     struct err *e);
/* The numbers of the segments that are there, in order; the caller frees *out. */
MUST_USE err_code audit_segment_list(const char *dir, uint64_t **out, size_t *n, struct err *e);
/* Whether there is one of this number. */
bool audit_segment_is_there(const char *dir, uint64_t n);
/* Begins the segment of segment->key, behind segment->chain. */
MUST_USE err_code audit_segment_begin(struct audit_segment *segment, struct err *e);
/* Adds a record to what is written next. */
MUST_USE err_code audit_segment_add(struct audit_segment *segment, sv record, struct err *e);
/* Writes that, and waits for the disk. ERR_IO too when the file is not in its folder any more. */
MUST_USE err_code audit_segment_write(struct audit_segment *segment, struct err *e);
/* Its end is written, and the key becomes that of the next one, which is not begun. */
MUST_USE err_code audit_segment_end(struct audit_segment *segment, struct err *e);
/* Segments that ended so long ago are removed, after a line that says so. */
MUST_USE err_code audit_segment_retire(struct audit_segment *segment, unsigned days, struct err *e);
/* "2026-11-29T10:00:00.000Z" of now, for the log's own lines. */
void audit_now(char out[25]);

/* ---- resume.c ---- */
/* Takes the lock and goes on where the log ends; make: begins a log where there is none.
 *   torn  bytes of a line that an earlier process left; UINT64_MAX: it ended in good order */
MUST_USE err_code audit_resume(struct audit_segment *segment, bool make, bool *made, uint64_t *torn,
                               struct err *e);
