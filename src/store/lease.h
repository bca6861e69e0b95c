/* lease.h - which of several processes does a thing: leases by name, where the records are.
 *
 * A lease is taken by name and has an epoch, which is greater than that of each lease before it. It
 * lasts LEASE_MS of the database's clock, and is renewed each third of that by a thread, while its
 * process lives. What its holder writes by lease_write() is written only while the lease is
 * still this one: nobody writes for a thing that another has taken.
 *   L1  at most one process holds a name
 *   L2  what a lease_write() writes is there before the next one holds the name
 *   L3  a holder that cannot renew is told by its own monotonic clock, before the lease ends
 * Records in a folder have one process: there a name is taken from others of this process, and is
 * never lost.   Floor: store. */
#pragma once
#include "store/records.h"

#define LEASE_MS       30000u
#define LEASE_NAME_MAX 120u /* bytes, of [A-Za-z0-9/._-] */
#define LEASE_MOST     64u  /* names of one lease_take_first() */
#define LEASE_NOTE_MAX 1024u

struct lease;
struct leases; /* what this process holds of one place of records; thread-safe */

/* r: borrowed. lease_ms: 0 for LEASE_MS; tests give less. ERR_IO: no thread can be had. */
MUST_USE err_code leases_open(struct records *r, unsigned lease_ms, struct leases **out,
                              struct err *e);
/* Every lease of it was released. */
void leases_close(struct leases *l);

/* The lease is lost: what it was for is to stop. Called once, from a thread of the leases; it may
 * not release the lease. */
typedef void (*lease_lost_fn)(void *ctx);

/* ERR_EXISTS: another one has it. ERR_INVALID: no such name may be. lost: may be NULL.
 *   out  released by lease_release() */
MUST_USE err_code lease_take(struct leases *l, sv name, lease_lost_fn lost, void *ctx,
                             struct lease **out, struct err *e);
/* The first of n <= LEASE_MOST names that nobody has; passes by those that others are taking.
 * *which: its place. ERR_EOF: there is none. */
MUST_USE err_code lease_take_first(struct leases *l, const sv *names, size_t n, lease_lost_fn lost,
                                   void *ctx, struct lease **out, size_t *which, struct err *e);
/* When it returns, lost is not called any more. A failure is none: the lease ends by itself. NULL
 * is allowed. */
void lease_release(struct lease *lease);
/* The same of a thing that another one goes on with: its note stays until that one gives it up. */
void lease_leave(struct lease *lease);
/* As far as this process knows: false for ever, once it is lost. */
bool lease_is_held(const struct lease *lease);
uint64_t lease_epoch(const struct lease *lease);

/* As records_write(), if the lease is still held: all in one transaction. ERR_CONFLICT: it is lost,
 * and nothing was written. */
MUST_USE err_code lease_write(struct lease *lease, const struct records_write *w, size_t n,
                              struct err *e);
/* As records_put_unsynced(), in the same way. */
MUST_USE err_code lease_put_unsynced(struct lease *lease, sv key, sv value, struct err *e);
/* A few words of at most LEASE_NOTE_MAX bytes, for who looks at the lease and for who takes it when
 * it has ended; they go when it is released. */
MUST_USE err_code lease_tell(struct lease *lease, sv note, struct err *e);

/* ---- leases of anybody ---- */
struct lease_seen {
    sv name;
    sv owner; /* of the process: a UUID; empty where there is one process alone */
    sv host;  /* empty: not known */
    int64_t pid;
    int64_t left_ms; /* until it ends, unless it is renewed; <= 0: it has ended */
    sv note;
};
/* Borrowed for the call; false ends it. */
typedef bool (*lease_each_fn)(void *ctx, const struct lease_seen *seen);
/* Those whose names begin with prefix and that have not ended, by name. */
MUST_USE err_code lease_list(struct records *r, sv prefix, lease_each_fn each, void *ctx,
                             struct err *e);
/* The same, with those that have ended, or were left, and that nobody has taken since. */
MUST_USE err_code lease_list_notes(struct records *r, sv prefix, lease_each_fn each, void *ctx,
                                   struct err *e);
/* *any: one whose name begins with prefix is held. When it is false, nothing more is written under
 * those that were. */
MUST_USE err_code lease_any(struct records *r, sv prefix, bool *any, struct err *e);
