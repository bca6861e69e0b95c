/* ndjson.h - one JSON document per line, read as a stream, plain or compressed.
 *
 * A byte_reader is a pull source of bytes (a file, an S3 object, memory). unpack_open() wraps one
 * so that .gz and .zst come out plain; which it is, the first bytes say (magic numbers), and the
 * name matters to an empty file alone. Concatenated gzip members and zstd frames are read through.
 * A window over the plain bytes is cut at line ends by ndjson_fill(): whole lines only. Source:
 * FHIR Bulk Data Access 2.0, "application/fhir+ndjson"; RFC 1952; RFC 8878.  Floor: codec. */
#pragma once
#include "base/buf.h"

/* A source of bytes. read: up to cap bytes into dst, *n > 0 on ERR_OK; ERR_EOF at a clean end. */
struct byte_reader {
    err_code (*read)(void *ctx, void *dst, size_t cap, size_t *n, struct err *e);
    void (*close)(void *ctx); /* may be NULL */
    void *ctx;
};

struct unpack; /* one thread at a time */
/* src is taken: closed by unpack_close, also when this call fails. */
MUST_USE err_code unpack_open(struct byte_reader src, struct unpack **out, struct err *e);
/* The same of a file, whose name ends in .gz or .zst where it is packed. One of those without a
 * byte is ERR_INVALID, as gzip and zstd have it: packed, even nothing is some bytes. */
MUST_USE err_code unpack_open_file(struct byte_reader src, sv name, struct unpack **out,
                                   struct err *e);
/* Plain bytes. ERR_EOF at a clean end; ERR_INVALID for broken or cut-off compressed data; what the
 * source raised otherwise. */
MUST_USE err_code unpack_read(struct unpack *u, void *dst, size_t cap, size_t *n, struct err *e);
void unpack_close(struct unpack *u);
bool unpack_is_plain(const struct unpack *u); /* what comes out is what went in */
/* What may come out, before reading begins; else anything may. Counted from the source's beginning.
 *   max_bytes   plain bytes in all
 *   free_bytes  so many may come out of whatever goes in; behind them at most `ratio` bytes for
 *               each that went in
 * unpack_read() is ERR_TOO_LARGE past one of them, and tells which. */
void unpack_bound(struct unpack *u, uint64_t max_bytes, uint64_t free_bytes, unsigned ratio);
DEFINE_CLEANUP(struct unpack, unpack_close)

struct ndjson_reader; /* one thread at a time */
/* u is borrowed. skip_bytes: plain bytes to pass over first (a resume point; must be a line start).
 */
MUST_USE err_code ndjson_open(struct unpack *u, uint64_t skip_bytes, size_t max_line_bytes,
                              struct ndjson_reader **out, struct err *e);
/* A UTF-8 byte order mark at the input's very beginning is passed over (RFC 8259, 8.1: a reader
 * may). To be called before the first fill, of a reader that skipped nothing. */
MUST_USE err_code ndjson_skip_mark(struct ndjson_reader *r, struct err *e);
void ndjson_close(struct ndjson_reader *r);
DEFINE_CLEANUP(struct ndjson_reader, ndjson_close)
#define NDJSON_FILL_LINES \
    (24u << 10) /* a fill ends behind these, and at most one block of input more */
/* Append whole lines (each with its '\n'; the last of a file gets one) to dst until dst holds at
 * least target_bytes or NDJSON_FILL_LINES lines, or the input ends; a line that does not fit any
 * more waits for the next call.
 *   n_lines     lines appended (blank ones counted)
 *   long_line   set when a line over max_line_bytes was met. That line is passed over, its number
 *               is the one after those appended, and the call returns at once so that it can be
 *               reported
 * ERR_EOF when nothing is left: nothing is appended, and ndjson_offset() is the end of the
 * input. */
MUST_USE err_code ndjson_fill(struct ndjson_reader *r, size_t target_bytes, struct buf *dst,
                              uint64_t *n_lines, bool *long_line, struct err *e);
/* Plain bytes consumed by all fills so far, a resume point for skip_bytes. */
uint64_t ndjson_offset(const struct ndjson_reader *r);

/* A fill ends in front of a line of more than `bytes`, as soon as it is known to be one; n_lines
 * may be 0 then. The next fill reads that line, and hands it out alone: where dst is empty, without
 * a copy. */
void ndjson_pause(struct ndjson_reader *r, size_t bytes);
bool ndjson_is_paused(const struct ndjson_reader *r); /* in front of such a line */

/* Next line of a window: *rest moves behind it; '\n' and one '\r' before it are cut off. False at
 * the end. */
bool ndjson_line(sv *rest, sv *line);
