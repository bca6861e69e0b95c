/* move_private.h - what the rooms of a move share.
 *
 *   again.c    dispatch of again.h
 *   past.c     the commits of a store, with all that they wrote, in the order of t
 *   write.c    made again in another store
 *   compare.c  both are read back
 *   move.c     one after the other
 *   half.c     what is half copied, in the records
 * Floor: store. */
#pragma once
#include "store/again.h"
#include "store/move.h"
#include "store/store_private.h"

/* ---- past.c ---- */
/* Commits that follow one another: one load, or online ones whose resources are all different. */
struct past_batch {
    const struct store_commit_row *commits;
    size_t n_commits;
    const struct store_version *versions; /* by t, type, number; of deletions, too */
    size_t n_versions;
    uint64_t n_bytes; /* of bodies */
};
struct past;
/* Those behind after_t. */
struct past *past_open(struct store *st, uint64_t after_t);
void past_close(struct past *p);
DEFINE_CLEANUP(struct past, past_close)
/* Borrowed until the next call. ERR_EOF: that was all. ERR_IO, ERR_CORRUPT, ERR_TOO_LARGE. */
MUST_USE err_code past_next(struct past *p, struct past_batch *out, struct err *e);

/* ---- write.c ---- */
struct move_writer;
struct move_writer *move_writer_new(struct store *to);
void move_writer_free(struct move_writer *w);
DEFINE_CLEANUP(struct move_writer, move_writer_free)
/* All of it, on disk when it returns. Errors as store_move(). */
MUST_USE err_code move_write(struct move_writer *w, const struct past_batch *b, struct err *e);

/* ---- compare.c ---- */
/* t of the newest commit of both. Fills in what a move is told to have come to. */
MUST_USE err_code move_compare(struct store *from, struct store *to, store_move_fn tell, void *ctx,
                               struct store_moved *out, struct err *e);
