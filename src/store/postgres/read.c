/* read.c - one resource as of T, its number, its history.
 *
 * One statement finds the number, the version and its body, as of one moment of the database: what
 * is committed there is visible, so the newest commit needs no look at the clock. Bodies are made
 * ready as a cursor does it. Nothing is kept of what was read: another process may have replaced
 * it. */
#include "store/postgres/pick.h"
#include "store/postgres/read_private.h"

#define FOUND PG_PACKED_COLS ", p.t, p.instant_ms, p.version from "

static const char by_id[] =
    "select d.number, p.n, " FOUND
    "ids d cross join lateral " PG_PICK("d.type", "d.number", "$3::bigint") " p" PG_STORED(
        "d.type", "d.number") "where d.type = $1::smallint and "
                              "d.id = $2::text";

static const char by_number[] = "select $2::bigint, p.n, " FOUND PG_PICK(
    "$1::smallint", "$2::bigint", "$3::bigint") " p" PG_STORED("$1::smallint", "$2::bigint");

/* No t is larger than an int64 can be. */
static const char *commit_text(uint64_t t, char text[24])
{
    (void)snprintf(text, 24, "%" PRId64, t > INT64_MAX ? INT64_MAX : (int64_t)t);
    return text;
}

bool pg_is_near(struct store *st, store_number number)
{
    (void)st;
    (void)number;
    return false;
}

static err_code keep(struct arena *a, struct store_version *v, struct err *e)
{
    v->id = arena_sv(a, v->id);
    if (v->body.json.len)
        v->body.json = arena_sv(a, v->body.json);
    return v->id.ptr && (v->method == STORE_METHOD_DELETE || v->body.json.ptr) ? ERR_OK
                                                                               : arena_oom(a, e);
}

/* The answer is taken. */
static err_code give(struct pg *p, PGresult *r, bool light, struct arena *a,
                     struct store_version *out, struct err *e)
{
    struct pg_row row;
    struct store_version v;
    if (PQntuples(r) != 1) {
        PQclear(r);
        return ERR(e, ERR_NOT_FOUND, "no such resource");
    }
    struct pg_cursor *c = pg_cursor_new(p, number_type((store_number)pg_i64(r, 0, 0)), 0);
    c->base.light = light;
    c->rows = r;
    err_code rc = pg_cursor_row(c, r, 0, 0, &row, e);
    if (rc == ERR_OK && row.erased)
        rc = ERR(e, ERR_NOT_FOUND, "no such resource");
    if (rc == ERR_OK) {
        v = (struct store_version){ .type = c->type,
                                    .id = row.id,
                                    .number = row.number,
                                    .t = (uint64_t)pg_i64(r, 0, PG_PACKED_N),
                                    .instant_ms = pg_i64(r, 0, PG_PACKED_N + 1),
                                    .version = (uint64_t)pg_i64(r, 0, PG_PACKED_N + 2),
                                    .method = row.method };
        rc = pg_cursor_body(c, &row, &v, e);
    }
    if (rc == ERR_OK)
        rc = keep(a, &v, e);
    pg_cursor_close(&c->base);
    if (rc == ERR_OK)
        *out = v;
    return rc;
}

static err_code get(struct pg *p, const char *sql, const char *const args[3], bool light,
                    struct arena *a, struct store_version *out, struct err *e)
{
    PGconn *conn;
    PGresult *r;
    TRY(pg_take(p, PG_READ, &conn, e));
    err_code rc = pg_ask(conn, sql, 3, args, READING, &r, e);
    pg_give(p, PG_READ, conn);
    return rc == ERR_OK ? give(p, r, light, a, out, e) : rc;
}

err_code pg_get(struct store *st, fhir_type type, sv id, uint64_t as_of_t, bool light,
                struct arena *a, struct store_version *out, struct err *e)
{
    char of[8], name[FHIR_ID_MAX + 1], as_of[24];
    TRY(pg_gate_now((struct pg *)st, &as_of_t, e));
    const char *args[] = { of, name, commit_text(as_of_t, as_of) };
    (void)snprintf(of, sizeof of, "%u", (unsigned)type);
    (void)snprintf(name, sizeof name, "%.*s", SV_FMT(id));
    return get((struct pg *)st, by_id, args, light, a, out, e);
}

err_code pg_get_number(struct store *st, store_number number, uint64_t as_of_t, bool light,
                       struct arena *a, struct store_version *out, struct err *e)
{
    char of[8], which[24], as_of[24];
    TRY(pg_gate_now((struct pg *)st, &as_of_t, e));
    const char *args[] = { of, which, commit_text(as_of_t, as_of) };
    (void)snprintf(of, sizeof of, "%u", (unsigned)number_type(number));
    (void)snprintf(which, sizeof which, "%" PRIu64, number);
    return get((struct pg *)st, by_number, args, light, a, out, e);
}

err_code pg_number_of(struct store *st, fhir_type type, sv id, store_number *out, struct err *e)
{
    struct pg *p = (struct pg *)st;
    char of[8], name[FHIR_ID_MAX + 1];
    const char *args[] = { of, name };
    PGconn *conn;
    PGresult *r;
    (void)snprintf(of, sizeof of, "%u", (unsigned)type);
    (void)snprintf(name, sizeof name, "%.*s", SV_FMT(id));
    TRY(pg_take(p, PG_READ, &conn, e));
    err_code rc =
        pg_ask(conn, "select number from ids where type = $1 and id = $2", 2, args, READING, &r, e);
    pg_give(p, PG_READ, conn);
    TRY(rc);
    const bool there = PQntuples(r) == 1;
    if (there)
        *out = (store_number)pg_i64(r, 0, 0);
    PQclear(r);
    return there ? ERR_OK : ERR(e, ERR_NOT_FOUND, "no such resource");
}

/* ---- histories ---- */

#define HISTORY_BATCH 32

/* Which versions there are is read at the start, bodies a batch at a time. */
struct history {
    char id[FHIR_ID_MAX + 1];
    PGresult *keys; /* n, t, instant_ms, the newest first */
    int next;       /* of keys: the first that is not asked for yet */
    int first;      /* of the batch under way */
};

static void history_done(struct pg_cursor *c)
{
    PQclear(((struct history *)c->own)->keys);
}

static err_code history_keys(struct pg_cursor *c, sv id, uint64_t as_of_t, struct err *e)
{
    struct history *h = c->own;
    char of[8], as_of[24];
    const char *args[] = { of, h->id, commit_text(as_of_t, as_of) };
    PGconn *conn;
    (void)snprintf(of, sizeof of, "%u", (unsigned)c->type);
    (void)snprintf(h->id, sizeof h->id, "%.*s", SV_FMT(id));
    TRY(pg_take(c->p, PG_READ, &conn, e));
    err_code rc =
        pg_ask(conn,
               "select d.number, v.n, coalesce(l.t, v.n), coalesce(l.instant_ms, "
               "v.instant_ms) from ids d cross join lateral (select y.n, y.instant_ms "
               "from versions y where y.type = d.type and y.number = d.number and y.n <= "
               "$3::bigint union all select -(d.number >> 28), 0 from " PG_PACK(
                   "d.type", "d.number",
                   "true") " k where k.first + k.count > "
                           "d.number) v left join commits l on l.load = -v.n and l.load > 0 where "
                           "d.type = $1::smallint and d.id = $2::text and (v.n > 0 or l.t <= "
                           "$3::bigint) order by 3 desc",
               3, args, READING, &h->keys, e);
    pg_give(c->p, PG_READ, conn);
    return rc;
}

static err_code history_batch(struct pg_cursor *c, struct err *e)
{
    struct history *h = c->own;
    CLEANUP_BUF struct buf list = BUF_INIT(HISTORY_BATCH * 24 + 8);
    char of[8], number[24];
    const char *args[3] = { of, number, NULL };
    const int left = PQntuples(h->keys) - h->next, n = left < HISTORY_BATCH ? left : HISTORY_BATCH;
    PGconn *conn;
    PGresult *r;
    for (int i = 0; i < n; i++)
        TRY(buf_add_fmt(&list, e, "%c%" PRId64, i ? ',' : '{', pg_i64(h->keys, h->next + i, 1)));
    TRY(buf_add(&list, SV_LIT("}\0"), e));
    args[2] = list.ptr;
    (void)snprintf(of, sizeof of, "%u", (unsigned)c->type);
    (void)snprintf(number, sizeof number, "%" PRId64, pg_i64(h->keys, h->next, 0));
    TRY(pg_take(c->p, PG_READ, &conn, e));
    err_code rc =
        pg_ask(conn,
               "select $2::bigint, p.n, " PG_PACKED_COLS " from unnest($3::bigint[]) with "
               "ordinality p(n, i)" PG_STORED("$1::smallint", "$2::bigint") "order by p.i",
               3, args, READING, &r, e);
    pg_give(c->p, PG_READ, conn);
    TRY(rc);
    PQclear(c->rows);
    c->rows = r;
    c->at = 0;
    h->first = h->next;
    h->next += n;
    return PQntuples(r) == n
               ? ERR_OK
               : ERR(e, ERR_CORRUPT, "reading the data store: a version is not there");
}

static err_code history_next(struct pg_cursor *c, struct store_version *out, struct err *e)
{
    struct history *h = c->own;
    struct pg_row row;
    if (c->rows == NULL || c->at == PQntuples(c->rows)) {
        if (h->next == PQntuples(h->keys))
            return ERR_EOF;
        TRY(history_batch(c, e));
    }
    const int key = h->first + c->at;
    TRY(pg_cursor_row(c, c->rows, c->at++, 0, &row, e));
    *out = (struct store_version){ .type = c->type,
                                   .id = sv_from(h->id),
                                   .number = row.number,
                                   .erased = row.erased,
                                   .t = (uint64_t)pg_i64(h->keys, key, 2),
                                   .instant_ms = pg_i64(h->keys, key, 3),
                                   /* I5 */
                                   .version = (uint64_t)(PQntuples(h->keys) - key),
                                   .method = row.method };
    return pg_cursor_body(c, &row, out, e);
}

err_code pg_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                    struct store_cursor **out, struct err *e)
{
    struct pg_cursor *c = pg_cursor_new((struct pg *)st, type, sizeof(struct history));
    c->next = history_next;
    c->done = history_done;
    err_code rc = pg_gate_now(c->p, &as_of_t, e);
    if (rc == ERR_OK)
        rc = history_keys(c, id, as_of_t, e);
    if (rc != ERR_OK)
        pg_cursor_close(&c->base);
    else
        *out = &c->base;
    return rc;
}
