/* audit.h - the audit log: records that are appended to files, chained, and on disk before whoever
 * waits for them goes on.
 *
 *   DIR/audit-00000001.jsonl ...   segments: one JSON object a line
 *   DIR/key                        key of the newest segment, and the key of queries' digests
 *   DIR/first-key                  key of segment 1, from which all later ones follow
 *   DIR/lock                       held by the process that writes
 *
 * A line is a record with two members more: `seq` in front, which counts, and `chain` behind,
 * which is HMAC-SHA256(key of the segment, chain of the line before, the line up to `,"chain"`).
 * A segment begins with a line {"log":"begin"} and ends with {"log":"end"}. The key of the next
 * segment is HMAC-SHA256(key, "fhirlake audit: next segment"), and the one before is forgotten.
 * Whoever has first-key can check all of it, and could write it. Whoever takes the machine has the
 * newest key alone, and cannot change an earlier segment without being seen.
 *
 * One thread writes what has come together, calls fdatasync() once for all of it, and tells those
 * who wait. What nobody waits for is on disk within AUDIT_BATCH_US. When the disk fails, all
 * who wait are told so, records are counted as lost, and the first record afterwards is a
 * {"log":"gap"} with their number.
 * Source: docs/audit.md.   Floor: audit. */
#pragma once
#include "base/buf.h"

#include <stdatomic.h>

#define AUDIT_BATCH_US 100000u  /* so long a record waits that nobody waits for */
#define AUDIT_RETRY_US 1000000u /* after a failure the folder is looked at again that often */
#define AUDIT_KEY_LEN  32u

struct audit; /* thread-safe */

enum audit_news {
    AUDIT_BEGUN,     /* a new log; n is 0 */
    AUDIT_RECOVERED, /* the process before ended in the middle; n bytes of a line were torn */
    AUDIT_FAILED,    /* why says how */
    AUDIT_BACK,      /* it can be written again; n records were lost */
};
struct audit_config {
    const char *dir;         /* borrowed while the log is open */
    uint64_t segment_bytes;  /* 0: LIMIT_AUDIT_SEGMENT_BYTES */
    unsigned retention_days; /* closed segments are removed when they are so old; 0: never */
    /* From the log's own thread, and from audit_open(); NULL: nobody wants to know. */
    void (*told)(void *ctx, enum audit_news news, uint64_t n, const struct err *why);
    void *ctx;
};
/* Opens the log, or makes it, and takes up where the process before ended.
 * ERR_EXISTS: another process writes there. ERR_CORRUPT: what is there is not as it was written.
 * ERR_DENIED: others may read the key. ERR_IO, ERR_NO_SPACE. */
MUST_USE err_code audit_open(const struct audit_config *cfg, struct audit **out, struct err *e);
/* Everything that was added is written, those who wait are told, and the segment is ended. */
void audit_close(struct audit *audit);

/* durable: the records are on disk. Else they are not, and never will be. */
typedef void (*audit_done_fn)(void *ctx, bool durable);
/* Adds n records, one or more: JSON objects with a member each at least, each followed by a
 * newline.
 *   records  copied
 *   done     called once from the log's thread, never from here; NULL: nobody waits */
void audit_add(struct audit *audit, sv records, unsigned n, audit_done_fn done, void *ctx);
/* Likewise, and the log's thread waits with it for audit_go(): so records that come together are
 * written together. Who adds calls it soon. done is given. */
void audit_add_held(struct audit *audit, sv records, unsigned n, audit_done_fn done, void *ctx);
void audit_go(struct audit *audit);
/* Can records be written, as far as is known? */
bool audit_is_well(struct audit *audit);
/* Do so many records wait for the disk that one more should be waited for? */
bool audit_is_pressed(struct audit *audit);

struct audit_counts {
    uint64_t records, bytes, failures, lost;
};
struct audit_counts audit_counts(struct audit *audit);

/* A digest that is the same for the same text, and that nobody without the folder's key can try
 * guesses on: 64 hexadecimal digits. Thread-safe. */
void audit_digest(const struct audit *audit, sv text, char out[64]);

/* ---- checking ---- */

struct audit_verdict {
    uint64_t segments, records, lines, first_ms, last_ms; /* records: without the log's own lines */
    uint64_t gaps, lost; /* gap lines, and the records that they count */
    uint64_t torn;       /* tails that a killed process left, closed at the next start */
    uint64_t retired_to; /* segments up to this were removed by retention; 0: none */
    bool open;           /* the last segment has no end: a process writes it, or was killed */
    bool no_key;         /* DIR/key is not there: whether the end is missing cannot be told */
    uint64_t open_bytes; /* of an unfinished line at the end of the last segment */
    /* the first fault; wrong is false when there is none */
    bool wrong;
    char how[160];                /* "changed", "removed", "inserted", "cut off", and more */
    uint64_t at_segment, at_line; /* line from 1; 0: none */
};
/* Reads all of the log in dir.
 *   first_key_path  NULL: DIR/first-key
 * ERR_NOT_FOUND: no log, or no first key; ERR_DENIED, ERR_INVALID: the first key; ERR_IO. */
MUST_USE err_code audit_verify(const char *dir, const char *first_key_path,
                               struct audit_verdict *out, struct err *e);
/* Likewise, and shows each line that is as it was written, in order, up to the first fault.
 *   line  the whole of it, without its newline; views end with the call
 *   log   of the log's own lines which one it is ("gap"); SV_NONE: it is a record */
typedef void (*audit_line_fn)(void *ctx, sv line, sv log);
MUST_USE err_code audit_show(const char *dir, const char *first_key_path, audit_line_fn fn,
                             void *ctx, struct audit_verdict *out, struct err *e);
