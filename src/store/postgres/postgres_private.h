/* postgres_private.h - what the rooms of the PostgreSQL engine share.
 *
 *   db.c       connections, statements, errors      schema.c       tables of a data store
 *   time.c     the clock row: t and instants        open.c         opening, the engine's table
 *   commit.c   online commits                       get.c          one resource
 *   notes.c    small records beside the data        history.c      all versions of one resource
 *   load/      bulk loads (write_private.h)         cursor.c ...   cursors (read_private.h)
 *   counts.c   sums                                 records.c      the system's records
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
#define PG_LAYOUT       1                   /* of the tables */
#define PG_SCHEMA_MAX   64                  /* bytes of a schema's name, with a NUL */
#define PG_SERVER_LEAST 140000              /* TOAST by lz4 came with it */

/* Connections by what they are for: each kind has its settings. */
typedef enum {
    PG_READ,  /* one resource, notes */
    PG_SCAN,  /* many rows along an index */
    PG_WRITE, /* what is acknowledged */
    PG_LOAD,  /* rows of loads: durable with the publication, at the latest */
    PG_ROLES
} pg_role;
#define PG_IDLE_MOST 8u /* connections of a kind that are kept open */

struct pg_loads;
struct pg_waiter;
struct pg_queue { /* commits of this process (commit/queue.c) */
    pthread_mutex_t lock;
    struct pg_waiter *head, *tail;
    bool led; /* one writes a group */
};
struct pg_pool;
struct pg {
    struct store base;
    struct store_env *env;
    struct pg_pool *pool; /* owned, as are the next */
    char *conninfo;
    char schema[PG_SCHEMA_MAX];
    struct pg_queue queue;
    struct number_source births; /* the leader's: the block of online births; b 0: none yet */
    pthread_mutex_t loads_lock;
    struct pg_loads *loads; /* that were published, as far as this process knows */
    pthread_mutex_t last_lock;
    struct store_commit last; /* as it was seen last, for when the database cannot be asked */
};

/* ---- db.c ---- */
/* schema NULL: no data store's. Both are copied. */
struct pg_pool *pg_pool_new(const char *conninfo, const char *schema);
/* No connection of it is taken. */
void pg_pool_free(struct pg_pool *pool);
/* A connection of one's own. Nobody waits for one: another is opened. ERR_UNAVAILABLE, ERR_DENIED.
 */
MUST_USE err_code pg_pool_take(struct pg_pool *pool, pg_role role, PGconn **out, struct err *e);
/* In whatever state it is: a transaction is rolled back, what is broken is closed. */
void pg_pool_give(struct pg_pool *pool, pg_role role, PGconn *c);
static inline MUST_USE err_code pg_take(struct pg *p, pg_role role, PGconn **out, struct err *e)
{
    return pg_pool_take(p->pool, role, out, e);
}
static inline void pg_give(struct pg *p, pg_role role, PGconn *c)
{
    pg_pool_give(p->pool, role, c);
}
/* The code of an answer, which is taken; NULL: of the connection. Messages of the server are not
 * passed on: they can quote what was sent. */
MUST_USE err_code pg_done(PGconn *c, PGresult *r, const char *doing, struct err *e);
MUST_USE err_code pg_do(PGconn *c, const char *sql, const char *doing, struct err *e);
/* A statement with arguments as text; the answer, caller's to clear, is binary. sql is a literal:
 * it is prepared once for each connection. */
MUST_USE err_code pg_ask(PGconn *c, const char *sql, int n_args, const char *const *args,
                         const char *doing, PGresult **out, struct err *e);
/* The same with arguments of which some are binary, as of PQexecParams(). */
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
struct pg_clock {
    struct store_commit last;
    int64_t floor_ms, now_ms; /* now: the database's, so that nodes' clocks do not matter */
};
MUST_USE err_code pg_clock_read(PGconn *c, struct store_commit *out, struct err *e);
/* Within a transaction: nobody else commits until its end. */
MUST_USE err_code pg_clock_lock(PGconn *c, struct pg_clock *out, struct err *e);
struct store_commit pg_clock_next(const struct pg_clock *clock);
MUST_USE err_code pg_clock_set(PGconn *c, const struct pg_clock *clock, struct err *e);
/* The next number of a load or of a block of births. Never given twice. */
MUST_USE err_code pg_next_b(PGconn *c, uint64_t *out, struct err *e);
struct store_commit pg_last(struct store *st);
err_code pg_horizon(struct store *st, struct store_commit *out, struct err *e);
err_code pg_commit_at(struct store *st, int64_t instant_ms, struct store_commit *out,
                      struct err *e);

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
/* len bytes of dst. */
MUST_USE err_code pg_parts_get(PGconn *c, store_number number, int64_t n, size_t len, char *dst,
                               struct err *e);

/* ---- commit.c ---- */
err_code pg_commit(struct store *st, struct store_write *w, size_t n, struct store_commit *out,
                   struct err *e);

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
bool pg_is_crowded(struct store *st);
void pg_bulk_abort(struct store_bulk *base);

/* ---- erase.c ---- */
err_code pg_erase(struct store *st, store_number number, uint64_t t, sv note, bool *any,
                  struct err *e);
err_code pg_erase_finish(struct store *st, const atomic_bool *halt, struct err *e);

/* ---- notes.c ---- */
/* Within a transaction. */
MUST_USE err_code pg_note_put(PGconn *c, sv key, sv note, struct err *e);
err_code pg_note_get(struct store *st, sv key, struct buf *out, struct err *e);
err_code pg_note_delete(struct store *st, sv key, struct err *e);

/* ---- get.c, history.c ---- */
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
