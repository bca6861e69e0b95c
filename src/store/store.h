/* store.h - one data store: versions of resources, read as of any commit.
 *
 * Every commit has a number t (1, 2, 3, ...) and an instant (UTC ms), neither ever going back. A
 * version of a resource belongs to one t. As of T, a resource is its newest version with t <= T,
 * and absent when that version is a deletion. T is only a number: a reader takes no lock and holds
 * no snapshot, T survives a restart and can be handed to another thread.
 *
 * Invariants (tests and assertions cite them; docs/key-layout.md has the bytes):
 *   I1  t and instant never decrease; all versions of one commit become visible at once.
 *   I2  what a commit call acknowledged is on disk (fsync) and is seen by every later read.
 *   I3  after store_horizon() gave (T, instant), no later commit gets an instant <= that instant.
 *   I4  a bulk load is invisible until published; a crash before leaves nothing to undo or to see.
 *   I5  a resource's version number is its rank by t among all versions of that id: 1, 2, 3, ...
 *   I6  a published bulk load and its note are on disk together or not at all.
 *   I8  a resource gets its number at its first write, for ever; no two have one number. An id that
 *       was erased is free: a new resource gets a new number.
 *
 * Behind the calls stands one table of functions per engine (store_ops), so that RocksDB and the
 * in-memory twin (the tests' oracle) run one suite. All calls are thread-safe unless they say
 * otherwise.   Floor: store. */
#pragma once
#include "base/arena.h"
#include "fhir/envelope.h"
#include "search/search.h"
#include "store/number.h"

#include <stdatomic.h>

struct store;
/* What open data stores share: block cache, write buffers, background threads. */
struct store_env;

typedef enum {
    STORE_METHOD_CREATE = 0, /* POST */
    STORE_METHOD_UPDATE,     /* PUT, PATCH */
    STORE_METHOD_DELETE,
    STORE_METHOD_IMPORT,
} store_method;

struct store_version {
    fhir_type type;
    sv id;
    store_number number; /* of the resource (I8) */
    uint64_t t;
    int64_t instant_ms;  /* meta.lastUpdated */
    uint64_t version;    /* meta.versionId */
    store_method method; /* STORE_METHOD_DELETE: body is empty */
    struct fhir_body body;
    /* bytes by which the body is shorter than what is stored: it is cut (store_get_light) */
    size_t left_out;
    bool placed; /* body stands where store_cursor_place() asked for it */
    /* store_history() alone: nothing is left of it but its place and time; method is DELETE */
    bool erased;
};

struct store_commit {
    uint64_t t;
    int64_t instant_ms;
};

/* ---- life ---- */
struct store_env *store_env_new(size_t cache_bytes, unsigned n_background);
void store_env_free(struct store_env *env); /* after every store of it is closed */

/* A data store whose search entries are of an older form than SEARCH_INDEX_FORM has them made anew
 * while it is used, by a thread of its own; closing it stops that, opening it goes on. */
typedef enum {
    STORE_REINDEX_BEGUN,
    STORE_REINDEX_UNDER_WAY, /* some thousand versions more are done, and on disk */
    STORE_REINDEX_DONE,
    STORE_REINDEX_STOPPED, /* by closing */
    STORE_REINDEX_FAILED,  /* until the next opening searches read resources instead */
} store_reindex_state;
struct store_reindex {
    sv store; /* its folder's name */
    store_reindex_state state;
    uint64_t n_done;       /* versions, since it was opened */
    const struct err *why; /* of FAILED, STOPPED */
};
/* Called by that thread, which waits for it. No call on the store. */
typedef void (*store_reindex_fn)(void *ctx, const struct store_reindex *r);
/* Before the first store is opened. */
void store_env_on_reindex(struct store_env *env, store_reindex_fn fn, void *ctx);
struct key_keeper;
/* Who opens the keys of encrypted stores (keeper.h), and those behind it; borrowed for as long as
 * env is there. Before the first store is opened. Without one, an encrypted store is ERR_DENIED. */
void store_env_keep(struct store_env *env, struct key_keeper *keeper);

/* ---- engines of a server elsewhere ---- */
#define STORE_CONNECTIONS_LEAST 4u
#define STORE_CONNECTIONS_USUAL 32u
#define STORE_CONNECTIONS_MAX   1000u
#define STORE_TIMEOUT_LEAST     5u
#define STORE_TIMEOUT_USUAL     60u
#define STORE_TIMEOUT_MAX       3600u
struct store_link {         /* for all data stores and records of this process */
    unsigned n_connections; /* at most, to each database, beside one that holds it */
    bool ack_local;         /* what is acknowledged waits for the disk of one server alone */
    const char *read_from;  /* URI of standbys that exports are read from; NULL: none */
    unsigned timeout_s;     /* that a statement of a read or a write may take; 0: the usual */
};
struct store_readiness {
    bool no_standby;   /* no synchronous standby is set: the loss of one disk loses what was
                          acknowledged */
    bool no_fsync;     /* the server does not wait for its disk */
    bool is_encrypted; /* the connection, or it does not leave this machine */
};
/* Before anything below root is opened: can the server be reached, and is it fit? The message is
 * for who started this process: it can name host, user and database, and has no password.
 * ERR_INVALID: no such engine, or the URI cannot be read; ERR_UNAVAILABLE: there is no way in;
 * ERR_DENIED: a privilege is missing; ERR_UNSUPPORTED: it is too old, or set up in a way that does
 * not serve. */
MUST_USE err_code store_ready(const char *root, const struct store_link *link,
                              struct store_readiness *out, struct err *e);
/* The first half of it, for who only reads there: can the server be reached, and is it new enough?
 * ERR_INVALID, ERR_UNAVAILABLE, ERR_UNSUPPORTED, with the same words. */
MUST_USE err_code store_reach(const char *root, struct err *e);
/* Are data stores below root files of this machine? */
bool store_has_files(const char *root);

/* Open, or create when create is set. The URI says by which engine, and where:
 *   rocksdb:PATH, or a path alone   RocksDB, in that folder
 *   postgresql://HOST/DATABASE/NAME PostgreSQL, where libpq is built in
 *   memory:                         the oracle: simple, in memory, gone with close; env may be NULL
 * ERR_INVALID (no such engine), ERR_NOT_FOUND, ERR_EXISTS (another process has it), ERR_CORRUPT,
 * ERR_IO, ERR_NO_SPACE. */
MUST_USE err_code store_open(struct store_env *env, const char *uri, bool create,
                             struct store **out, struct err *e);
/* Caller makes sure that no call is under way and every cursor and bulk is closed. */
void store_close(struct store *st);
DEFINE_CLEANUP(struct store, store_close)
struct cipher_ring;
/* The keys of an encrypted store, for files that hold its data outside of it; borrowed from st.
 * NULL: it is not encrypted. */
const struct cipher_ring *store_ring(struct store *st);

/* ---- time ---- */
/* Newest visible commit; t 0 and instant 0 for an empty store. Never an older one that was known
 * before: what cannot be asked is ERR_UNAVAILABLE. Errors come of a store that is remote alone.
 * ERR_GONE: it was deleted. */
MUST_USE err_code store_last(struct store *st, struct store_commit *out, struct err *e);
/* Close the present millisecond and name it: T is the newest commit, instant_ms is now (or T's
 * instant if that is later). I3 holds from then on, over restarts too. Waits for commits under way.
 */
MUST_USE err_code store_horizon(struct store *st, struct store_commit *out, struct err *e);
/* Which commit has this t: a number that no other one gets. A database can lose its newest commits
 * (a standby that was behind takes over), and gives their t to others then. Whoever keeps a t over
 * time keeps its mark as well. 0: t is 0, or is never given twice by this engine.
 * ERR_NOT_FOUND: no commit has it. */
MUST_USE err_code store_mark(struct store *st, uint64_t t, uint64_t *out, struct err *e);
/* Is commit t the one that had this mark? Then all before it are those that were there, too. 0: it
 * was kept by who knew of none, and holds. ERR_PRECONDITION: the data store has lost it. */
MUST_USE err_code store_mark_holds(struct store *st, uint64_t t, uint64_t mark, struct err *e);
/* Can it be out of reach for a while, as a server is? */
bool store_is_remote(const struct store *st);

/* ---- online writes ---- */
typedef enum {
    STORE_IF_ANY,
    STORE_IF_ABSENT,  /* never written */
    STORE_IF_VERSION, /* the newest version is if_version, and no deletion */
    STORE_IF_DELETED, /* the newest version is if_version, a deletion */
    STORE_IF_NEWEST,  /* the newest version is if_version, whatever it is; 0: never written */
} store_condition;
struct store_write;
/* Who is told of a commit that is about to be written, while others wait for it: both calls are
 * short, and ask the store nothing. An engine may tell nobody. */
struct store_witness {
    /* Once for a commit, of its first write: it will be made as w and at say, unless the disk
     * fails. */
    void (*told)(struct store_witness *me, const struct store_write *w,
                 const struct store_commit *at);
    /* All that go to the disk together were told, and that begins now; of one of them. */
    void (*all_told)(struct store_witness *me);
};
struct store_write {
    fhir_type type;
    sv id;
    store_method method;
    struct fhir_body body; /* ignored for a deletion */
    sv index;              /* search_index() of the body: under which entries it can be found */
    store_condition condition;
    uint64_t if_version;
    struct store_witness *witness; /* borrowed for the call; NULL: none */
    uint64_t version;              /* out: the version written */
    bool existed; /* out: there was a current version, and no deletion, before it */
};
/* All of the writes as one commit, or none; on disk when it returns. Commits of several threads
 * share one fsync. At most one write per (type, id). ERR_PRECONDITION: a condition failed.
 * ERR_NOT_FOUND: deletion of what is not there. ERR_INVALID: a resource twice. ERR_IO,
 * ERR_NO_SPACE: nothing was written. */
MUST_USE err_code store_commit(struct store *st, struct store_write *writes, size_t n,
                               struct store_commit *out, struct err *e);
/* What a commit depends on beyond the versions of what it writes: something that was read. */
struct store_still {
    /* Is it still so? newest_t is the newest commit, and where several processes write the data
     * store none comes between it and this one. Called by the thread that commits; more than once
     * where a commit is tried again. It may read the store. Anything but ERR_OK: nothing is
     * written, and the commit fails with that. */
    err_code (*holds)(struct store_still *me, uint64_t newest_t, struct err *e);
};
/* store_commit() while what was read still holds. On an engine that one process writes alone,
 * another thread's commit can come between the question and this one: a lock of the caller's keeps
 * those away that matter. Errors of store_commit(), and those of holds(). */
MUST_USE err_code store_commit_if(struct store *st, struct store_write *writes, size_t n,
                                  struct store_still *still, struct store_commit *out,
                                  struct err *e);

/* ---- bulk load ---- */
struct store_bulk; /* one chunk of an import: filled by one thread, published in any order */
struct store_bulk_item {
    fhir_type type;
    sv id;
    struct fhir_body body;
    uint64_t seq; /* place in the input: of two items with one (type, id), the later one is kept */
    sv index;     /* as in store_write */
    /* Of a giant: the memory that body.json stands in, with STORE_BULK_ROOM bytes in front of it
     * that the store writes over. It is freed as soon as it is not needed any more. NULL: the body
     * is borrowed. */
    struct buf *own;
};
#define STORE_BULK_ROOM 128u
MUST_USE err_code store_bulk_begin(struct store *st, struct store_bulk **out, struct err *e);
/* Sort items (in place) and write them to disk; once per bulk. Items are borrowed for the call. */
MUST_USE err_code store_bulk_fill(struct store_bulk *b, struct store_bulk_item *items, size_t n,
                                  struct err *e);
/* Make the bulk one commit, visible and on disk, together with a note (see store_note_get; key
 * empty: none). *b is taken in every case. An empty bulk with a note writes the note alone. */
MUST_USE err_code store_bulk_publish(struct store_bulk **b, sv note_key, sv note,
                                     struct store_commit *out, struct err *e);
/* The same for several of one store, n >= 1: each becomes a commit, in this order, all of them and
 * the note or nothing. *out is the last one. Cheaper than one after the other: what waits for the
 * disk does so once. */
MUST_USE err_code store_bulk_publish_all(struct store_bulk **bulks, size_t n, sv note_key, sv note,
                                         struct store_commit *out, struct err *e);
/* The same, if the lease (store/lease.h) is still held then. ERR_CONFLICT: it is lost, and nothing
 * was published. lease: NULL for none; of the records beside the store. */
struct lease;
MUST_USE err_code store_bulk_publish_under(const struct lease *lease, struct store_bulk **bulks,
                                           size_t n, sv note_key, sv note, struct store_commit *out,
                                           struct err *e);
/* A load, for another process that has the same store: what that one needs to publish it when it is
 * filled, or to give it up, appended. ERR_UNSUPPORTED: an engine of one process. */
MUST_USE err_code store_bulk_hand_over(const struct store_bulk *b, struct buf *out, struct err *e);
/* After that: it is the other one's now, and is not given up here. Taken. */
void store_bulk_leave(struct store_bulk **b);
/* The other one's side. ERR_NOT_FOUND: it was published, or given up; ERR_CORRUPT. */
MUST_USE err_code store_bulk_take_over(struct store *st, sv text, struct store_bulk **out,
                                       struct err *e);
/* Loads came faster than they could be folded into one another: whoever has more to bring should
 * wait while this is true. What reads in order takes memory and time for each load that is not
 * folded. */
bool store_is_crowded(struct store *st);
void store_bulk_abort(struct store_bulk *b);
DEFINE_CLEANUP(struct store_bulk, store_bulk_abort)

/* Small record kept beside the data (a job's progress), appended to out. ERR_NOT_FOUND. */
MUST_USE err_code store_note_get(struct store *st, sv key, struct buf *out, struct err *e);
MUST_USE err_code store_note_delete(struct store *st, sv key, struct err *e);

/* ---- giants ----
 * A line, or a resource, of more than LIMIT_GIANT_BYTES. The jobs of all data stores that share an
 * environment work on one at a time. Who is inside waits for the disk and for peers alone, and does
 * not enter again. ERR_CANCELLED: *halt was set while it waited; whoever sets it calls
 * store_giant_wake() then. */
MUST_USE err_code store_giant_enter(struct store *st, const atomic_bool *halt, struct err *e);
void store_giant_leave(struct store *st);
void store_giant_wake(struct store *st);

/* ---- reading ---- */
#define STORE_NOW UINT64_MAX /* as of the newest commit */
/* Does a read of the newest version find it in memory that is kept for that? A hint. */
bool store_is_near(struct store *st, store_number number);
/* The version current as of t, a deletion too (method DELETE). Strings owned by the arena.
 * ERR_NOT_FOUND when the id had no version by then, or is none that a resource can have. */
MUST_USE err_code store_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                            struct arena *a, struct store_version *out, struct err *e);
/* The same for who looks at many, or at what it is only: a body of more than LIMIT_WHOLE_BYTES
 * comes cut to what fhir_body_cut() leaves of it, and its whole is nowhere copied. */
MUST_USE err_code store_get_light(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                                  struct arena *a, struct store_version *out, struct err *e);

/* The number of a resource. ERR_NOT_FOUND: the id never came. An id can have a number before its
 * first version is visible, and keeps it when that never is. */
MUST_USE err_code store_number_of(struct store *st, fhir_type type, sv id, store_number *out,
                                  struct err *e);
/* store_get(), store_get_light() of the resource that has this number. */
MUST_USE err_code store_get_number(struct store *st, store_number number, uint64_t as_of_t,
                                   struct arena *a, struct store_version *out, struct err *e);
MUST_USE err_code store_get_number_light(struct store *st, store_number number, uint64_t as_of_t,
                                         struct arena *a, struct store_version *out, struct err *e);

struct store_range {
    fhir_type type;
    store_number from; /* first number in the range; 0: from the start */
    store_number to;   /* first number behind the range; 0: to the end */
};
static inline bool store_range_has(const struct store_range *r, store_number n)
{
    return n >= r->from && (r->to == 0 || n < r->to);
}
struct store_cursor; /* one thread at a time */
/* Every resource of the range that is current as of t, once, in the order of numbers. Deleted ones
 * are passed over. The range is borrowed for the call only. */
MUST_USE err_code store_scan(struct store *st, const struct store_range *range, uint64_t as_of_t,
                             struct store_cursor **out, struct err *e);
/* Each of these resources that has a version as of t, with the one that is current then, deletions
 * too. Numbers come in any order; where they ascend, those that lie close cost little. Borrowed
 * until the cursor is closed. */
MUST_USE err_code store_scan_numbers(struct store *st, const store_number *numbers, size_t n,
                                     uint64_t as_of_t, struct store_cursor **out, struct err *e);
/* Next one; views in *out are borrowed until the next call on c. ERR_EOF at the end. */
MUST_USE err_code store_cursor_next(struct store_cursor *c, struct store_version *out,
                                    struct err *e);
/* Have the bodies that come next put behind dst's end, with a gap of so many bytes and room for one
 * more, instead of into the cursor's own memory: what they will be part of needs no copy then. dst
 * grows but its len stays; it must not be written to between a call of next and the last use of
 * what that gave. A wish that a store may pass over: store_version.placed tells. NULL: no more. */
void store_cursor_place(struct store_cursor *c, struct buf *dst, size_t gap);
/* Bodies come as of store_get_light(). Before the first next; not together with place. */
void store_cursor_light(struct store_cursor *c);
/* Giants come one at a time of all jobs of the process (store_giant_enter), and only while this
 * cursor stands at one: its body is the store's own memory, nowhere copied and never placed. Before
 * the first next, which is ERR_CANCELLED when *halt is set while it waits; not together with
 * light. */
void store_cursor_giants(struct store_cursor *c, const atomic_bool *halt);
/* The caller is through with what next gave: a giant makes room for others. Nobody waits for
 * anything of another job, nor calls next of another cursor, while he has one. */
void store_cursor_rest(struct store_cursor *c);
/* What comes may be read from a standby that shows the cursor's commit already (store_link). Before
 * the first next. */
void store_cursor_standby(struct store_cursor *c);
void store_cursor_close(struct store_cursor *c);
DEFINE_CLEANUP(struct store_cursor, store_cursor_close)

/* All versions of one id with t <= as_of_t, newest first, deletions included. ERR_NOT_FOUND: not a
 * legal id. */
MUST_USE err_code store_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                                struct store_cursor **out, struct err *e);
/* Each resource of a range that got a version in (after_t, upto_t], once, with its version current
 * as of upto_t (deletions included), in the order of numbers. Cost follows the changes of the type,
 * not the store. */
MUST_USE err_code store_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                                uint64_t upto_t, struct store_cursor **out, struct err *e);
/* Of which types some id got a version in (after_t, upto_t]: changed[type]. Cost follows the types
 * that the store holds and the bulk loads of the window. */
#define STORE_TYPES 256u /* of fhir_type */
MUST_USE err_code store_changed_types(struct store *st, uint64_t after_t, uint64_t upto_t,
                                      bool changed[STORE_TYPES], struct err *e);
/* Of n ranges of one type, in the order of numbers: touched[i] when a number of range i got a
 * version in (after_t, upto_t]. Cost follows the changes of the type; what a load gave birth to
 * counts as one change for each range that it reaches into. */
MUST_USE err_code store_touched(struct store *st, const struct store_range *ranges, size_t n,
                                uint64_t after_t, uint64_t upto_t, bool *touched, struct err *e);
struct store_log_row { /* who was written at which commit */
    uint64_t t;
    store_number number;
};
/* The log of a type, newest commit first and numbers ascending within one: at most max rows with t
 * < from_t, or t == from_t and number > after. Every version is a row, deletions too. Owned by the
 * arena. Cost follows the rows given. */
MUST_USE err_code store_log(struct store *st, fhir_type type, uint64_t from_t, store_number after,
                            size_t max, struct arena *a, struct store_log_row **out, size_t *n_out,
                            struct err *e);
/* Newest commit whose instant is <= instant_ms; t 0 when there is none. */
MUST_USE err_code store_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out,
                                  struct err *e);

/* ---- the index ---- */
/* Entries written with every version; an entry says which version it belongs to. It still counts
 * when that version is the current one: store_get_number() as of the same t gives a version with
 * the hit's t. */
struct store_index_hit {
    sv value; /* borrowed until the next call on the cursor */
    store_number number;
    uint64_t t; /* the version that wrote it; of several, the newest */
};
struct store_index_cursor; /* one thread at a time */
/* Entries of visible versions with t <= as_of_t in the driver's ranges, by value, then number, each
 * value of a resource once; those behind (after_value, after) when after_value is not empty. The
 * driver is borrowed until the cursor is closed. */
MUST_USE err_code store_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                                   sv after_value, store_number after, uint64_t as_of_t,
                                   struct store_index_cursor **out, struct err *e);
/* Form of the entries that every version has: an index cannot be asked for those of a driver of a
 * later form. */
unsigned store_index_form(struct store *st);
/* ERR_EOF at the end. */
MUST_USE err_code store_index_next(struct store_index_cursor *c, struct store_index_hit *out,
                                   struct err *e);
/* The next entry is the first at or behind this value and number; value is one of the driver's
 * ranges. Back or forth. */
void store_index_seek(struct store_index_cursor *c, sv value, store_number number);
void store_index_close(struct store_index_cursor *c);
DEFINE_CLEANUP(struct store_index_cursor, store_index_close)

/* How many resources of the type are current as of *at, which is the newest commit: all of them
 * (parameter 0, value empty), or those with an entry of a counted parameter (search_is_counted)
 * whose value begins with `value`, of SEARCH_CODE_LEN or SEARCH_TOKEN_LEN bytes. The first call
 * after bulk loads reads what these wrote, or the keys of their types; else it is one read.
 * ERR_UNSUPPORTED: loads are published faster than that goes. */
MUST_USE err_code store_count(struct store *st, fhir_type type, uint16_t param, sv value,
                              uint64_t *out, struct store_commit *at, struct err *e);
/* What the first count behind bulk loads would have to do, done now: a walk over the types that
 * were loaded.
 *   halt  stops it; what was done until then is done again by the next. May be NULL
 * ERR_CANCELLED, ERR_IO, ERR_CORRUPT. */
MUST_USE err_code store_counts_settle(struct store *st, const atomic_bool *halt, struct err *e);

/* ---- erasing ----
 * What is erased is in no answer from then on, whatever commit it is asked as of, and in no restore
 * to an earlier commit. One job of a store erases at a time. */
/* All versions of a resource, deletions too, or, with t, the one of that commit. When all are, the
 * id is free: who writes it again begins a new resource. *any: there was something. Not synced:
 * store_erase_finish() is. ERR_CONFLICT: a bulk load is under way, or search entries are being made
 * anew: try again when it has ended. ERR_PRECONDITION: the one version is the current one.
 * ERR_NOT_FOUND is no error of it.
 *   note  the key of a note whose counts grow by what went, in the same batch; empty: none do */
MUST_USE err_code store_erase(struct store *st, store_number number, uint64_t t, sv note, bool *any,
                              struct err *e);
/* The same, if the lease (store/lease.h) is still held then. ERR_CANCELLED: it is lost, and nothing
 * went. lease: NULL for none; of the records beside the store. */
MUST_USE err_code store_erase_under(const struct lease *lease, struct store *st,
                                    store_number number, uint64_t t, sv note, bool *any,
                                    struct err *e);
/* The caller knows that nobody loads: rows of loads that never came to their end, as those of a
 * process that is gone, are removed now, and not when the time of such a load is over. Where one
 * process has the data store there is nothing to do. ERR_CONFLICT: one is just being written: call
 * it again later. */
MUST_USE err_code store_loads_clear(struct store *st, struct err *e);
/* The same, of each load, if the lease is still held then. ERR_CANCELLED: it is lost. */
MUST_USE err_code store_loads_clear_under(const struct lease *lease, struct store *st,
                                          struct err *e);
struct store_erased {
    uint64_t resources; /* of which all versions went */
    uint64_t versions;  /* those of these resources, and single ones; deletions are versions */
};
/* What a note of store_erase() came to; both 0 when there is none. store_note_delete() ends it.
 * ERR_CORRUPT. */
MUST_USE err_code store_erased_get(struct store *st, sv note, struct store_erased *out,
                                   struct err *e);
/* Nothing of what was erased is on the disk any more when this succeeds and the store was closed
 * and opened (store_wants_anew() is false): no version, no search entry, no log of RocksDB. What an
 * end of the process left is finished, too. Cost follows the search entries of the types, and the
 * files that are written anew. In a database (store_is_remote()) no row has it any more, dead ones
 * neither; docs/internals/erase.md says what is left there.
 *   halt  stops it. May be NULL
 * ERR_CONFLICT: a file, or a row, is still being read, or as above: call it again later.
 * ERR_CANCELLED. */
MUST_USE err_code store_erase_finish(struct store *st, const atomic_bool *halt, struct err *e);
/* The same under a lease, as store_erase_under(). */
MUST_USE err_code store_erase_finish_under(const struct lease *lease, struct store *st,
                                           const atomic_bool *halt, struct err *e);
/* It should be closed and opened when nobody holds it. */
bool store_wants_anew(struct store *st);
/* A write has failed since it was opened. */
bool store_has_failed(struct store *st);

/* ---- planning ---- */
/* Split a type into ranges of about target_bytes of JSON each, in order, without gap or overlap,
 * covering every possible number; none for a type that never had a version. Owned by the arena. */
MUST_USE err_code store_plan(struct store *st, fhir_type type, size_t target_bytes, struct arena *a,
                             struct store_range **out, size_t *n_out, struct err *e);
/* The same for a part of a type: at least one range, the first from the part's start, the last to
 * its end. */
MUST_USE err_code store_plan_part(struct store *st, const struct store_range *part,
                                  size_t target_bytes, struct arena *a, struct store_range **out,
                                  size_t *n_out, struct err *e);

/* The same for store_changes(): ranges of about target_bytes of what changed in (after_t, upto_t];
 * none when nothing did. */
MUST_USE err_code store_changes_plan(struct store *st, fhir_type type, uint64_t after_t,
                                     uint64_t upto_t, size_t target_bytes, struct arena *a,
                                     struct store_range **out, size_t *n_out, struct err *e);
