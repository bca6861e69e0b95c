/* postgres_private.h - what the rooms of the PostgreSQL engine share.
 *
 *   db.c       statements, errors                   schema.c       tables of a data store
 *   link/      connections (link_private.h)
 *   time.c     the clock row: t and instants        open.c         opening, the engine's table
 *   gate.c     commits that are seen behind a second transaction; horizon.c floors of instants
 *   commit/    online commits                       load/          bulk loads (write_private.h)
 *   notes.c    small records beside the data        read.c ...     reads, cursors (read_private.h)
 *   counts.c   sums                                 system/        the system's records, leases
 *   erase/     what is to leave the database (erase_private.h)
 *
 * docs/internals/postgres.md has the design. Locks of the database: the clock row, then rows of
 * open_loads, then everything else; a fill takes rows of ids and of open_loads, and never the
 * clock.
 * Floor: store. */
#pragma once
#include "store/store_private.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>

#define PG_BODY_MAX     (256u << 20) /* the body of one version */
#define PG_WHOLE        (256u << 10) /* bodies of more bytes stand in parts */
#define PG_PART         (1u << 20)
#define PG_LEASE        "interval '1 hour'" /* of a load that is not published */
#define PG_SPAN_BITS    12 /* search entries of a load share a row within such a span of numbers */
#define PG_LIST_MOST    (2u << PG_SPAN_BITS) /* bytes of such a row's list */
#define PG_LAYOUT       2                    /* of the tables */
#define PG_SCHEMA_MAX   64                   /* bytes of a schema's name, with a NUL */
#define PG_SERVER_LEAST 140000               /* TOAST by lz4 came with it */

/* Connections by what they are for: each kind has its settings. */
typedef enum {
    PG_READ,    /* one resource, notes */
    PG_SCAN,    /* many rows along an index */
    PG_WRITE,   /* what is acknowledged */
    PG_LOAD,    /* rows of loads: durable with the publication, at the latest */
    PG_STANDBY, /* many rows, of a server that may be behind or away */
    PG_ROLES
} pg_role;
#define PG_APPLICATION "fhirlake " /* and the process: the name of a connection */

struct pg_loads;
struct pg_waiter;
struct pg_queue { /* commits of this process (commit/queue.c) */
    pthread_mutex_t lock;
    struct pg_waiter *head, *tail;
    bool led; /* one writes a group */
};
struct pg_pool;
struct pg_standby;
struct pg {
    struct store base;
    struct store_env *env;
    struct pg_pool *pool;       /* owned, as are the next */
    struct pg_standby *standby; /* NULL: none was given */
    char *conninfo;
    char schema[PG_SCHEMA_MAX];
    struct pg_queue queue;
    struct number_source births; /* the leader's: the block of online births; b 0: none yet */
    int64_t births_us;           /* pg_server_started() of who gave it */
    pthread_mutex_t loads_lock;
    struct pg_loads *loads; /* that were published, as far as this process knows */
    bool gated;             /* gate.c; as of the opening */
    /* erase/: entries of what was erased are gone as of this transaction; "": they are not. The one
     * eraser's, and of one run, an epoch of its lease: another run may have erased more since */
    char erase_xid[24];
    uint64_t erase_epoch;
};

/* A list of a row of search has the steps from number to number: a byte, or two when the step is
 * above 127, the lower 7 bits in the first of them. Bytes written. */
static inline size_t pg_step_put(char *dst, uint64_t step)
{
    if (step <= 127) {
        dst[0] = (char)step;
        return 1;
    }
    dst[0] = (char)(step | 128);
    dst[1] = (char)(step >> 7);
    return 2;
}

/* The step at *i, which moves behind it. */
static inline uint64_t pg_step_next(sv list, size_t *i)
{
    const uint64_t first = (unsigned char)list.ptr[(*i)++];
    if (first <= 127 || *i == list.len)
        return first;
    return (first & 127) | (uint64_t)(unsigned char)list.ptr[(*i)++] << 7;
}

/* ---- link/pool.c ---- */
/* The connections of a schema; NULL: of none. Both are copied. */
struct pg_pool *pg_pool_new(const char *conninfo, const char *schema);
/* No connection of it is taken. */
void pg_pool_free(struct pg_pool *pool);
/* A connection of one's own, waited for while all that may be are taken. A thread has at most two,
 * and gives the second back first. ERR_UNAVAILABLE. */
MUST_USE err_code pg_pool_take(struct pg_pool *pool, pg_role role, PGconn **out, struct err *e);
/* In whatever state it is: a transaction is rolled back, what is broken is closed. */
void pg_pool_give(struct pg_pool *pool, pg_role role, PGconn *c);
/* One question on a connection of its own, as pg_ask_bin(). */
MUST_USE err_code pg_pool_ask(struct pg_pool *pool, pg_role role, const char *sql, int n_args,
                              const char *const *args, const int *lens, const int *binary,
                              const char *doing, PGresult **out, struct err *e);
static inline MUST_USE err_code pg_take(struct pg *p, pg_role role, PGconn **out, struct err *e)
{
    return pg_pool_take(p->pool, role, out, e);
}
static inline void pg_give(struct pg *p, pg_role role, PGconn *c)
{
    pg_pool_give(p->pool, role, c);
}
/* ---- link/connect.c ---- */
/* ERR_UNAVAILABLE: the database cannot be reached, or does not let the server in. */
MUST_USE err_code pg_connect(const char *conninfo, PGconn **out, struct err *e);
/* Settings of a kind, and of a schema ("": none). anew: it had others. ack_local: what is
 * acknowledged waits for the disk of this server alone. */
MUST_USE err_code pg_connect_settle(PGconn *c, pg_role role, const char *schema, bool anew,
                                    bool ack_local, struct err *e);
/* This process, as the database is told: a UUID. */
const char *pg_process(void);

/* ---- link/standby.c ---- */
struct pg_reached { /* a commit that a server has shown, and its mark */
    uint64_t t, mark;
};
struct pg_standby *pg_standby_new(const char *schema); /* NULL: there is none */
void pg_standby_free(struct pg_standby *s);            /* NULL is allowed */
/* A statement on a standby that has come to a commit, as pg_ask(). False: the primary is to be
 * asked. */
bool pg_standby_ask(struct pg_standby *s, const struct pg_reached *want, const char *sql,
                    int n_args, const char *const *args, PGresult **out);

/* ---- link/ready.c ---- */
MUST_USE err_code pg_version_check(PGconn *c, struct err *e); /* ERR_UNSUPPORTED */

/* ---- system/check.c ---- */
/* Within a transaction: the lease is this process's until its end. NULL: of nobody. ERR_CONFLICT:
 * it is lost. */
MUST_USE err_code pg_lease_check(PGconn *c, const struct lease *lease, struct err *e);

/* ---- db.c ---- */
/* A connection remembers which statements it has prepared; they are gone. */
void pg_learns(PGconn *c);
void pg_forgets(PGconn *c);
/* The code of an answer, which is taken; NULL: of the connection. Messages of the server are not
 * passed on: they can quote what was sent. */
MUST_USE err_code pg_done(PGconn *c, PGresult *r, const char *doing, struct err *e);
MUST_USE err_code pg_do(PGconn *c, const char *sql, const char *doing, struct err *e);
/* The same; the answer, in text, is the caller's to clear. */
MUST_USE err_code pg_run(PGconn *c, const char *sql, const char *doing, PGresult **out,
                         struct err *e);
PGresult *pg_exec(PGconn *c, const char *sql); /* as PQexec(), but for the waiting */
/* How long a statement on this connection may take until the connection is cut off. */
void pg_patience(PGconn *c, unsigned ms);
unsigned pg_patience_of(const PGconn *c);
/* What a connection's server has shown last; forgotten with pg_forgets(). */
struct pg_reached pg_reached_get(const PGconn *c);
void pg_reached_set(PGconn *c, const struct pg_reached *r);
/* COMMIT. *unknown: the connection ended before its answer came, or the server was told not to wait
 * for its standby. A refusal is an answer. */
MUST_USE err_code pg_end(PGconn *c, const char *doing, bool *unknown, struct err *e);
/* What may be done twice, and of which nobody knows whether it was done, is done again for half a
 * minute. */
struct pg_again {
    uint64_t begun_us;
};
struct pg_again pg_again_begin(void);
bool pg_again(const struct pg_again *a); /* behind a pause. False: it is over */
/* A statement with arguments as text; the answer, caller's to clear, is binary. sql is a literal:
 * it is prepared once for each connection. */
MUST_USE err_code pg_ask(PGconn *c, const char *sql, int n_args, const char *const *args,
                         const char *doing, PGresult **out, struct err *e);
/* The same of one whose answer says nothing. */
MUST_USE err_code pg_command(PGconn *c, const char *sql, int n_args, const char *const *args,
                             const char *doing, struct err *e);
/* As pg_ask() with arguments of which some are binary, as of PQexecParams(). */
MUST_USE err_code pg_ask_bin(PGconn *c, const char *sql, int n_args, const char *const *args,
                             const int *lens, const int *binary, const char *doing, PGresult **out,
                             struct err *e);

/* ---- open.c ---- */
/* What stands behind the scheme of a URI: who is connected to, owned by the caller, and the schema.
 * ERR_INVALID. */
MUST_USE err_code pg_place_read(const char *place, char **conninfo, char schema[PG_SCHEMA_MAX],
                                struct err *e);

/* ---- schema.c ---- */
MUST_USE err_code pg_schema_is_there(PGconn *c, const char *schema, bool *out, struct err *e);
/* Unless it is there, the schema and what sql makes in it; the connection's search_path is the
 * schema. Of several who do so at once one makes it. */
MUST_USE err_code pg_schema_make(PGconn *c, const char *schema, const char *sql, struct err *e);
/* The tables of a store, made when there are none and create is set. The schema is that of the
 * connection's pool. ERR_NOT_FOUND; ERR_UNSUPPORTED: of a layout that this program does not know.
 */
MUST_USE err_code pg_schema_open(PGconn *c, const char *schema, bool create, struct err *e);

/* ---- time.c ---- */
#define PG_NOW_MS "(extract(epoch from clock_timestamp()) * 1000)::bigint"
struct pg_clock {
    struct store_commit last;
    int64_t floor_ms, now_ms; /* now: the database's, so that nodes' clocks do not matter */
    int64_t started_us;       /* as of pg_server_started() */
    bool gated;               /* commits are seen behind a second transaction (gate.c) */
    bool behind;              /* and the last one is not seen yet */
};
MUST_USE err_code pg_clock_read(PGconn *c, struct store_commit *out, struct err *e);
/* And the mark of its commit, 0 when there is none. */
MUST_USE err_code pg_clock_see(PGconn *c, struct store_commit *out, uint64_t *mark, struct err *e);
uint64_t pg_mark_of(const PGresult *r, int row, int col); /* a column `who`; 0 for NULL */
/* As store_mark(). */
MUST_USE err_code pg_mark_at(PGconn *c, uint64_t t, uint64_t *out, struct err *e);
err_code pg_mark(struct store *st, uint64_t t, uint64_t *out, struct err *e);
/* When the server began: what this process keeps in memory of a sequence holds for that run of it
 * alone, as the next one may have lost where the sequence was. */
MUST_USE err_code pg_server_started(PGconn *c, int64_t *out, struct err *e);
/* Within a transaction: nobody else commits until its end. For gate.c: others begin there. */
MUST_USE err_code pg_clock_lock(PGconn *c, struct pg_clock *out, struct err *e);
struct store_commit pg_clock_next(const struct pg_clock *clock);
MUST_USE err_code pg_clock_set(PGconn *c, const struct pg_clock *clock, struct err *e);
/* The next number of a load or of a block of births. Never given twice. */
MUST_USE err_code pg_next_b(PGconn *c, uint64_t *out, struct err *e);
err_code pg_last(struct store *st, struct store_commit *out, struct err *e);
err_code pg_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out,
                      struct err *e);

/* ---- gate.c ---- */
/* Begins a transaction in which nobody else commits, and every commit that there is can be seen. */
MUST_USE err_code pg_clock_begin(PGconn *c, const char *doing, struct pg_clock *out, struct err *e);
/* Its end, as pg_end(); what it committed is seen when this succeeds. */
MUST_USE err_code pg_clock_end(PGconn *c, const struct pg_clock *clock, const char *doing,
                               bool *unknown, struct err *e);
MUST_USE err_code pg_gate_read(PGconn *c, bool *gated, struct err *e); /* has it one? */
/* On a data store with a gate, no commit behind the newest that can be seen. */
MUST_USE err_code pg_gate_now(struct pg *p, uint64_t *as_of_t, struct err *e);

/* ---- horizon.c ---- */
err_code pg_horizon(struct store *st, struct store_commit *out, struct err *e);

/* ---- rows.c ---- */
int64_t pg_i64(const PGresult *r, int row, int col); /* of a binary answer; 0 for NULL */
sv pg_bytes(const PGresult *r, int row, int col);    /* the answer's; ptr NULL for NULL */

/* ---- loads.c ---- */
/* The newest t that is there, at most as_of_t, and a table that has every load up to it. */
MUST_USE err_code pg_as_of(struct pg *p, PGconn *c, uint64_t as_of_t, uint64_t *as_of,
                           struct pg_loads **out, struct err *e);
void pg_loads_unref(struct pg_loads *l);

/* ---- parts.c ---- */
MUST_USE err_code pg_parts_put(PGconn *c, store_number number, int64_t n, sv json, struct err *e);
/* How a piece is asked for. */
typedef err_code (*pg_parts_ask_fn)(void *ctx, const char *sql, int n_args, const char *const *args,
                                    PGresult **out, struct err *e);
/* len bytes of dst. */
MUST_USE err_code pg_parts_read(pg_parts_ask_fn ask, void *ctx, store_number number, int64_t n,
                                size_t len, char *dst, struct err *e);
MUST_USE err_code pg_parts_get(PGconn *c, store_number number, int64_t n, size_t len, char *dst,
                               struct err *e);

/* ---- commit.c ---- */
err_code pg_commit(struct store *st, struct store_write *w, size_t n, struct store_commit *out,
                   struct err *e);
err_code pg_commit_if(struct store *st, struct store_write *w, size_t n, struct store_still *still,
                      struct store_commit *out, struct err *e);

/* ---- load/ids.c ---- */
/* A number of load b was found that has no version yet: when the load is under way, it learns that
 * it may not be the first. Within the transaction that uses the number. */
MUST_USE err_code pg_load_shared(PGconn *c, uint64_t b, struct err *e);

/* ---- load/bulk.c ---- */
err_code pg_bulk_begin(struct store *st, struct store_bulk **out, struct err *e);
err_code pg_bulk_fill(struct store_bulk *base, struct store_bulk_item *items, size_t n,
                      struct err *e);
err_code pg_bulk_publish(struct store_bulk **bulks, size_t n, sv note_key, sv note,
                         struct store_commit *out, struct err *e);
err_code pg_loads_clear(struct store *st, const struct lease *lease, struct err *e);
bool pg_is_crowded(struct store *st);
void pg_bulk_abort(struct store_bulk *base);
err_code pg_bulk_hand_over(const struct store_bulk *base, struct buf *out, struct err *e);
void pg_bulk_leave(struct store_bulk *base);
err_code pg_bulk_take_over(struct store *st, sv text, struct store_bulk **out, struct err *e);

/* ---- again.h: time.c, commit/queue.c, load/bulk.c ---- */
err_code pg_commits(struct store *st, uint64_t after_t, struct store_commit_row *out, size_t max,
                    size_t *n, struct err *e);
err_code pg_commit_again(struct store *st, struct store_again *commits, size_t n, struct err *e);
err_code pg_again_load(struct store *st, struct store_bulk **b, int64_t instant_ms,
                       struct store_commit *out, struct err *e);
err_code pg_again_end(struct store *st, int64_t floor_ms, struct err *e);

/* ---- erase/ ---- */
err_code pg_erase(struct store *st, const struct lease *lease, store_number number, uint64_t t,
                  sv note, bool *any, struct err *e);
err_code pg_erase_finish(struct store *st, const struct lease *lease, const atomic_bool *halt,
                         struct err *e);
/* Dead rows of a table of the connection's schema leave their pages and its indexes, and what the
 * planner knows of its values is looked for anew. What somebody who began before can still see
 * stays. ERR_CANCELLED: *halt was set. */
MUST_USE err_code pg_vacuum(PGconn *c, const char *table, const atomic_bool *halt, struct err *e);
/* A transaction that comes behind all that have ended; with this, which begins none in one that is
 * open. As text. */
#define PG_XID_MAX 24u
MUST_USE err_code pg_xid(PGconn *c, char out[PG_XID_MAX], struct err *e);
/* Does somebody read, as far as this user is told, who may see what was there before it? */
MUST_USE err_code pg_xid_is_seen(PGconn *c, const char *xid, bool *out, struct err *e);

/* ---- notes.c ---- */
/* Within a transaction. */
MUST_USE err_code pg_note_put(PGconn *c, sv key, sv note, struct err *e);
err_code pg_note_get(struct store *st, sv key, struct buf *out, struct err *e);
err_code pg_note_delete(struct store *st, sv key, struct err *e);

/* ---- read.c ---- */
bool pg_is_near(struct store *st, store_number number);
err_code pg_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t, bool light,
                struct arena *a, struct store_version *out, struct err *e);
err_code pg_number_of(struct store *st, fhir_type type, sv id, store_number *out, struct err *e);
err_code pg_get_number(struct store *st, store_number number, uint64_t as_of_t, bool light,
                       struct arena *a, struct store_version *out, struct err *e);
err_code pg_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                    struct store_cursor **out, struct err *e);

/* ---- cursor.c, scan.c ---- */
err_code pg_scan(struct store *st, const struct store_range *range, uint64_t as_of_t,
                 struct store_cursor **out, struct err *e);
err_code pg_scan_numbers(struct store *st, const store_number *numbers, size_t n, uint64_t as_of_t,
                         struct store_cursor **out, struct err *e);
err_code pg_cursor_next(struct store_cursor *base, struct store_version *out, struct err *e);
void pg_cursor_rest(struct store_cursor *base);
void pg_cursor_close(struct store_cursor *base);

/* ---- changes.c, plan.c ---- */
err_code pg_changes(struct store *st, const struct store_range *range, uint64_t after_t,
                    uint64_t upto_t, struct store_cursor **out, struct err *e);
err_code pg_changes_plan(struct store *st, fhir_type type, uint64_t after_t, uint64_t upto_t,
                         size_t target_bytes, struct arena *a, struct store_range **out,
                         size_t *n_out, struct err *e);
err_code pg_changed_types(struct store *st, uint64_t after_t, uint64_t upto_t,
                          bool changed_types[STORE_TYPES], struct err *e);
err_code pg_touched(struct store *st, const struct store_range *ranges, size_t n, uint64_t after_t,
                    uint64_t upto_t, bool *touched, struct err *e);
err_code pg_log(struct store *st, fhir_type type, uint64_t from_t, store_number after, size_t max,
                struct arena *a, struct store_log_row **out, size_t *n_out, struct err *e);
err_code pg_plan(struct store *st, const struct store_range *part, size_t target_bytes,
                 struct arena *a, struct store_range **out, size_t *n_out, struct err *e);

/* ---- entries.c, counts.c ---- */
err_code pg_index_scan(struct store *st, fhir_type type, const struct search_driver *d,
                       sv after_value, store_number after, uint64_t as_of_t,
                       struct store_index_cursor **out, struct err *e);
err_code pg_index_next(struct store_index_cursor *base, struct store_index_hit *out, struct err *e);
void pg_index_seek(struct store_index_cursor *base, sv value, store_number number);
void pg_index_close(struct store_index_cursor *base);
unsigned pg_index_form(struct store *st);
err_code pg_settle(struct store *st, const atomic_bool *halt, struct err *e);
err_code pg_count(struct store *st, fhir_type type, uint16_t param, sv value, uint64_t *out,
                  struct store_commit *at, struct err *e);
