/* units.h - chunks of an import that other nodes parse.
 *
 * A chunk that is offered to others is a unit. It has a number within its run, notes of the job,
 * and, in somebody's hands, the lease range/JOB/NUMBER:
 *
 *   unit/N      {"sum":[..], "bytes", "segments":[[file, offset, packed, line, bytes], ...]}: the
 *               lines that the holder has read, and the digest of their text
 *   load/N      by who has the unit, before it is filled: "EPOCH LOAD", the epoch of its lease, and
 *               the load. Who has the unit next, or the holder, gives it up
 *   lines/N/I   by who has the unit: what became of its lines, kind by kind, packed
 *   done/N      by the same, under the lease: {"sum", "load", "pieces", "counts", "ends"}; the sum
 *               is that of the unit it was made of
 *
 *   share.c   the holder: offers chunks, takes in what others made of them, takes some back
 *   guest.c   the others      unit.c   what the notes say      notes.c   notes go
 * Floor: import. */
#pragma once
#include "import/import_private.h"

#define IMPORT_UNIT_MAX  ((size_t)1 << 20) /* bytes of notes unit/N and done/N */
#define IMPORT_UNIT_NAME 32u

void import_unit_name(char out[IMPORT_UNIT_NAME], const char *folder, uint64_t unit);
void import_piece_name(char out[2 * IMPORT_UNIT_NAME], uint64_t unit, uint64_t piece);
/* Can others read it again? Not, where the input has faults, or at too much cost. */
bool import_unit_is_fit(const struct import_chunk *chunk);
/* The chunk knows the digest of its text then. */
MUST_USE err_code import_unit_write(struct import_chunk *chunk, struct buf *out, struct err *e);
/* Into a chunk that was reset: the digest, too, that its text must have, which has *bytes. */
MUST_USE err_code import_unit_read(sv note, size_t n_files, struct import_chunk *chunk,
                                   uint64_t *bytes, struct err *e);

/* A parsed chunk, under the unit's lease. ERR_CONFLICT: that is lost. */
MUST_USE err_code import_result_write(struct job_run *run, struct lease *lease, uint64_t unit,
                                      const struct import_chunk *chunk, struct err *e);
/* Into the chunk that the unit was made of. ERR_NOT_FOUND: its load is not there any more;
 * ERR_CONFLICT: it was made of another unit of that number. */
MUST_USE err_code import_result_read(struct job_run *run, uint64_t unit, sv note,
                                     struct import_chunk *chunk, struct err *e);
/* How many notes lines/N/I there are. */
MUST_USE err_code import_result_pieces(sv note, uint64_t *out, struct err *e);
/* Which load a unit is parsed into, under the unit's lease. ERR_CONFLICT: that is lost. */
MUST_USE err_code import_unit_load_note(struct job_run *run, struct lease *lease, uint64_t unit,
                                        const struct store_bulk *bulk, struct err *e);
/* What an earlier holder of the unit's lease has begun is given up, if it is there: he has left no
 * result, and cannot any more. */
MUST_USE err_code import_unit_load_drop(struct job_run *run, const struct lease *lease,
                                        uint64_t unit, struct err *e);
/* What a note load/N says: the load is part of it. */
MUST_USE err_code import_load_read(sv note, uint64_t *epoch, sv *load, struct err *e);
/* A load is given up, if it is there. */
MUST_USE err_code import_load_drop(struct job_run *run, sv load, struct err *e);
/* The same with that of a result. */
MUST_USE err_code import_result_drop(struct job_run *run, sv note, struct err *e);

/* ---- notes.c ---- */
#define IMPORT_NOTES_MAX (64u << 20)
struct import_note {
    uint64_t unit;
    sv value; /* in the arena */
};
struct import_notes {
    struct arena *a;
    struct buf items; /* of struct import_note, by unit */
    err_code rc;
};
/* Notes done/ from that unit on. */
MUST_USE err_code import_done_read(struct job_run *run, uint64_t from, struct import_notes *n,
                                   struct err *e);
/* How many notes lines/N/I there are of a unit. */
MUST_USE err_code import_pieces_count(struct job_run *run, uint64_t unit, uint64_t *out,
                                      struct err *e);
/* To writes: what others were told of a unit goes. */
MUST_USE err_code import_offer_delete(struct arena *a, uint64_t unit, struct buf *writes,
                                      struct err *e);
/* What one of them told of it. Its load is published, or given up. */
MUST_USE err_code import_result_delete(struct arena *a, uint64_t unit, uint64_t pieces,
                                       struct buf *writes, struct err *e);
/* Under the job's lease. */
MUST_USE err_code import_notes_write(struct job_run *run, const struct buf *writes, struct err *e);
/* Of a run before this one, or of one that is over. Nobody has a unit in hand: loads that nobody
 * will publish are given up, when their notes were taken away under the job's lease. */
MUST_USE err_code import_notes_clear(struct job_run *run, struct err *e);

/* The door: of a release, since all have to make the same of a line. */
#define IMPORT_DOOR_PREFIX "import-" FHIRLAKE_VERSION "-"

/* struct job_kind_ops */
MUST_USE err_code import_help(struct job_run *run, struct err *e);
MUST_USE err_code import_share_part(struct job_run *run, struct err *e);
