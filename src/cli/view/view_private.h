/* view_private.h - what the rooms of `fhirlake view` share.
 *
 *   view.c   options, and what is told at the end
 *   input.c  which files there are, and their lines in pieces
 *   served.c a data store of a server: an export of it, and its files as they come
 *   work.c   threads that turn pieces into rows, written in the order of the input
 * Floor: cli. */
#pragma once
#include "cli/verify/verify_private.h"
#include "view/view.h"

/* A thread works on so much at a time. Of Parquet it is a row group, which should be long. */
#define PIECE_BYTES         ((size_t)1 << 20)
#define PIECE_BYTES_PARQUET ((size_t)32 << 20)

/* ---- served.c: one thread at a time ---- */

/* An export of the resources of a type that a server was asked for: the data store as of one
 * instant. It goes with served_close(). */
struct served;
/* Waits until the export is made. ERR_PEER, ERR_DENIED and others of client_refusal(). */
MUST_USE err_code served_open(const struct client_options *o, const char *datastore, fhir_type type,
                              struct served **out, struct err *e);
void served_close(struct served *served);
DEFINE_CLEANUP(struct served, served_close)
sv served_instant(const struct served *served); /* of which it is */
size_t served_files(const struct served *served);
/* File number i as it comes over the wire: no part of it lies on a disk. One at a time. */
MUST_USE err_code served_read(struct served *served, size_t i, struct byte_reader *out,
                              struct err *e);

/* ---- input.c: one thread at a time ---- */

struct input;
/* Of a folder with a manifest, the output files of the type; of one without, every file whose name
 * ends in .ndjson, .ndjson.gz or .ndjson.zst. ERR_NOT_FOUND, ERR_INVALID. */
MUST_USE err_code input_open(const struct verify_options *o, const char *from, fhir_type type,
                             struct input **out, struct err *e);
/* The files of an export that a server made. served: borrowed. */
struct input *input_of_served(struct served *served);
void input_close(struct input *input);
DEFINE_CLEANUP(struct input, input_close)
bool input_has_manifest(const struct input *input);
size_t input_files(const struct input *input);
/* Whole lines, about so many bytes, appended to an empty buf: of one file, from its line *line on
 * (from 1). *name: the input's. ERR_EOF at the end. */
MUST_USE err_code input_next(struct input *input, size_t bytes, struct buf *piece,
                             const char **name, uint64_t *line, struct err *e);

/* ---- work.c ---- */

struct work_told {
    uint64_t resources, rows;
};
/* The view, and how its rows are written. */
struct work_form {
    const struct view *v;
    view_format format;
    const struct parquet_column *columns; /* of Parquet */
};
/* Rows of all pieces to fd. What fails names file and line; the rows in front of it may be
 * written. */
MUST_USE err_code work_run(struct input *input, const struct work_form *form, unsigned threads,
                           int fd, struct work_told *told, struct err *e);
