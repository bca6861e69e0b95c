/* records.h - the system's own small records: data stores, jobs, tokens, tags.
 *
 * Ordered byte keys to byte values. A batch is all or nothing and, but for records_put_unsynced(),
 * on disk when the call returns. Keys are made of parts joined by '/', values are JSON;
 * docs/key-layout.md lists them. Thread-safe.   Floor: store. */
#pragma once
#include "base/buf.h"

struct records;
/* uri: as of store_open(); NULL: in memory, for tests. ERR_EXISTS: another process has it. */
MUST_USE err_code records_open(const char *uri, struct records **out, struct err *e);
/* The same to read them alone: nothing is made and nothing written, and no lock is taken. Writing
 * fails. ERR_NOT_FOUND: there are none. */
MUST_USE err_code records_open_to_read(const char *uri, struct records **out, struct err *e);
void records_close(struct records *r);
DEFINE_CLEANUP(struct records, records_close)

/* Other processes may have them too: what stands in memory of them grows old. */
bool records_shared(const struct records *r);
/* A word to the other processes: look again. It may get lost, so they look by themselves now and
 * then. */
void records_tell(struct records *r, sv word);
/* Called with each such word of another process, from a thread of the records, for as long as it
 * takes; NULL: nobody is, from the return of this on. */
typedef void (*records_told_fn)(void *ctx, sv word);
void records_on_told(struct records *r, records_told_fn told, void *ctx);

/* Value appended to out. ERR_NOT_FOUND. */
MUST_USE err_code records_get(struct records *r, sv key, struct buf *out, struct err *e);

typedef enum {
    RECORDS_PUT,
    RECORDS_DELETE,
    RECORDS_PUT_IF_ABSENT,
    /* Writes nothing: the batch is written if the key has this value. Whoever writes such a key
     * does so behind this condition, or by PUT_IF_ABSENT. It stands in front of what the batch
     * writes under the key. */
    RECORDS_IF_SAME
} records_op;
struct records_write {
    records_op op;
    sv key, value;
};
/* All or none. ERR_EXISTS when a PUT_IF_ABSENT key is there, ERR_PRECONDITION when an IF_SAME key
 * has another value, or none. */
MUST_USE err_code records_write(struct records *r, const struct records_write *w, size_t n,
                                struct err *e);
MUST_USE err_code records_put(struct records *r, sv key, sv value, struct err *e);
/* What is chosen once for all processes and all time: the value of key, appended to out, which is
 * fresh where there was none. */
MUST_USE err_code records_once(struct records *r, sv key, sv fresh, struct buf *out, struct err *e);
/* The same without waiting for the disk: kept when this process dies, and on disk with the next
 * write that does wait; the machine's own end before that can take it. */
MUST_USE err_code records_put_unsynced(struct records *r, sv key, sv value, struct err *e);

/* What was deleted or replaced before this call is in none of the files when it returns: not in the
 * log, not in a file that a newer one overrules. Rewrites all records; writers go on meanwhile. In
 * a database: in no row, dead ones neither, unless a session that began before sees it for more
 * than half a minute. */
MUST_USE err_code records_scrub(struct records *r, struct err *e);

/* All records, as links and copies in a new folder of the same disk, which can be opened.
 * ERR_IO, ERR_NO_SPACE. */
MUST_USE err_code records_snapshot(struct records *r, const char *folder, struct err *e);

/* Records whose key begins with prefix, in key order, from `after` (exclusive; empty: the start).
 * each() may return false to stop. Its views are borrowed for that call. */
typedef bool (*records_each_fn)(void *ctx, sv key, sv value);
MUST_USE err_code records_scan(struct records *r, sv prefix, sv after, records_each_fn each,
                               void *ctx, struct err *e);
