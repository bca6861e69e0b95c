/* look.c - what a group's commits meet: current versions, numbers, what they replace.
 *
 * All but pg_look_room() runs in the group's transaction, behind the lock of the clock row: nothing
 * is published meanwhile, so what is current now is current until the group is visible. Ids are
 * given rows in the order of type and id, as loads do, so that both wait for each other and never
 * for ever. */
#include "store/postgres/commit/commit_private.h"
#include "store/postgres/pick.h"
#include "store/postgres/read_private.h"

#define OLD_BATCH 256u
#define OLD_WHOLE "65536" /* bytes of a replaced body that comes with others */

/* Bytes of an array of n elements. */
#define ARRAY_BYTES(n, each) ((n) * (4 + (size_t)(each)) + 64)

/* ---- current versions ---- */

static err_code ids_arrays(const struct pg_group *g, struct pg_array *types, struct pg_array *ids,
                           struct err *e)
{
    pg_array_init(types, PG_INT2, ARRAY_BYTES(g->n, 2));
    pg_array_init(ids, PG_TEXT, ARRAY_BYTES(g->n, FHIR_ID_MAX));
    for (size_t i = 0; i < g->n; i++) {
        TRY(pg_array_add_int(types, g->rows[i].w->type, e));
        TRY(pg_array_add(ids, g->rows[i].w->id, e));
    }
    TRY(pg_array_end(types, e));
    return pg_array_end(ids, e);
}

static err_code ask_ids(PGconn *c, const struct pg_group *g, const char *sql, PGresult **out,
                        struct err *e)
{
    struct pg_array types, ids;
    err_code rc = ids_arrays(g, &types, &ids, e);
    const sv args[] = { buf_sv(&types.b), buf_sv(&ids.b) };
    if (rc == ERR_OK)
        rc = pg_ask_binary(c, sql, 2, args, COMMITTING, out, e);
    pg_array_done(&types);
    pg_array_done(&ids);
    return rc;
}

err_code pg_look_current(PGconn *c, struct pg_group *g, struct err *e)
{
    PGresult *r;
    TRY(ask_ids(c, g,
                "select o.i, d.number, p.n, p.version, v.method, v.body_len from "
                "unnest($1::smallint[], $2::text[]) with ordinality o(type, id, i) join ids d on "
                "d.type = o.type and d.id = o.id left join lateral " PG_PICK(
                    "d.type", "d.number",
                    "9223372036854775807") " p on true left join versions v on v.type = d.type and "
                                           "v.number = d.number and v.n = p.n",
                &r, e));
    for (size_t i = 0; i < g->n; i++)
        g->rows[i] =
            (struct pg_write){ .w = g->rows[i].w, .of = g->rows[i].of, .at = g->rows[i].at };
    for (int i = 0; i < PQntuples(r); i++) {
        struct pg_write *w = &g->rows[(size_t)pg_i64(r, i, 0) - 1];
        w->has_row = true;
        w->number = (store_number)pg_i64(r, i, 1);
        w->n = pg_i64(r, i, 2);
        w->version = (uint64_t)pg_i64(r, i, 3);
        w->deleted =
            w->version && (pg_i64(r, i, 4) == STORE_METHOD_DELETE || pg_i64(r, i, 4) == PG_HOLLOW);
        w->body_len = (size_t)pg_i64(r, i, 5);
    }
    PQclear(r);
    return ERR_OK;
}

/* ---- numbers ---- */

err_code pg_look_room(struct pg *p, PGconn *c, size_t n, struct err *e)
{
    bool room = p->births.b != 0;
    int64_t started_us;
    for (size_t i = 0; i < STORE_TYPES && room; i++)
        room = n <= NUMBER_K_MOST && p->births.given[i] <= NUMBER_K_MOST - n;
    if (room)
        return ERR_OK;
    uint64_t b;
    char text[24];
    const char *args[] = { text };
    TRY(pg_server_started(c, &started_us, e));
    TRY(pg_next_b(c, &b, e));
    (void)snprintf(text, sizeof text, "%" PRIu64, b);
    /* plan.c wants to know it */
    TRY(pg_command(c, "insert into blocks(b) values ($1)", 1, args, COMMITTING, e));
    p->births = (struct number_source){ .b = b };
    p->births_us = started_us;
    return ERR_OK;
}

err_code pg_look_numbers(struct pg *p, struct pg_group *g, struct err *e)
{
    for (size_t i = 0; i < g->n; i++) {
        struct pg_write *w = &g->rows[i];
        if (w->has_row || w->of->rc != ERR_OK)
            continue;
        if (!number_next(&p->births, w->w->type, &w->number))
            return ERR(e, ERR_INTERNAL, "a block of births has no number left");
    }
    return ERR_OK;
}

err_code pg_look_again(PGconn *c, struct pg_group *g, struct err *e)
{
    PGresult *r;
    TRY(ask_ids(c, g,
                "select o.i, d.number from unnest($1::smallint[], $2::text[]) with ordinality "
                "o(type, id, i) join ids d on d.type = o.type and d.id = o.id",
                &r, e));
    for (int i = 0; i < PQntuples(r); i++) {
        struct pg_write *w = &g->rows[(size_t)pg_i64(r, i, 0) - 1];
        w->number = (store_number)pg_i64(r, i, 1);
        w->has_row = true;
    }
    PQclear(r);
    return ERR_OK;
}

/* A number without a version can be of a load that is under way. */
err_code pg_look_shared(PGconn *c, const struct pg_group *g, struct err *e)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct pg_write *w = &g->rows[i];
        if (w->of->rc == ERR_OK && w->has_row && w->version == 0)
            TRY(pg_load_shared(c, number_b(w->number), e));
    }
    return ERR_OK;
}

/* ---- what is replaced ---- */

/* A body that did not come with the others. */
static err_code take_one(PGconn *c, const struct pg_write *w, struct tally *t, struct err *e)
{
    CLEANUP_BUF struct buf old = BUF_INIT(PG_BODY_MAX);
    TRY(buf_reserve(&old, w->body_len, e));
    if (w->body_len > PG_WHOLE) {
        TRY(pg_parts_get(c, w->number, w->n, w->body_len, old.ptr, e));
        old.len = w->body_len;
    } else {
        char type[8], number[24], n[24];
        const char *args[] = { type, number, n };
        PGresult *r;
        (void)snprintf(type, sizeof type, "%u", (unsigned)w->w->type);
        (void)snprintf(number, sizeof number, "%" PRIu64, w->number);
        (void)snprintf(n, sizeof n, "%" PRId64, w->n);
        TRY(pg_ask(c, "select body from versions where type = $1 and number = $2 and n = $3", 3,
                   args, COMMITTING, &r, e));
        err_code rc = PQntuples(r) == 1
                          ? buf_add(&old, pg_bytes(r, 0, 0), e)
                          : ERR(e, ERR_CORRUPT, "reading the data store: a version is not there");
        PQclear(r);
        TRY(rc);
    }
    return tally_version(t, w->w->type, buf_sv(&old), -1, e);
}

static err_code packed_body(struct pg_pack *pack, const PGresult *r, int at, store_number number,
                            sv *json, struct err *e)
{
    struct pg_row row;
    TRY(pg_pack_open(pack, r, at, 2, e));
    TRY(pg_pack_find(pack, number, pack->first, &row, e));
    *json = row.body.json;
    return ERR_OK;
}

static err_code take_batch(PGconn *c, const struct pg_write *const *some, size_t n, struct tally *t,
                           struct err *e)
{
    struct pg_array types, numbers, ns;
    struct pg_pack pack = { 0 };
    PGresult *r = NULL;
    err_code rc = ERR_OK;
    pg_array_init(&types, PG_INT2, ARRAY_BYTES(n, 2));
    pg_array_init(&numbers, PG_INT8, ARRAY_BYTES(n, 8));
    pg_array_init(&ns, PG_INT8, ARRAY_BYTES(n, 8));
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        rc = pg_array_add_int(&types, some[i]->w->type, e);
        if (rc == ERR_OK)
            rc = pg_array_add_int(&numbers, (int64_t)some[i]->number, e);
        if (rc == ERR_OK)
            rc = pg_array_add_int(&ns, some[i]->n, e);
    }
    if (rc == ERR_OK)
        rc = pg_array_end(&types, e);
    if (rc == ERR_OK)
        rc = pg_array_end(&numbers, e);
    if (rc == ERR_OK)
        rc = pg_array_end(&ns, e);
    const sv args[] = { buf_sv(&types.b), buf_sv(&numbers.b), buf_sv(&ns.b) };
    if (rc == ERR_OK)
        rc = pg_ask_binary(c,
                           "select p.i, v.body, k.first, k.count, k.raw_len, k.body from "
                           "unnest($1::smallint[], $2::bigint[], $3::bigint[]) with ordinality "
                           "p(type, number, n, i)" PG_STORED(
                               "p.type", "p.number") "where k.first "
                                                     "is not null or (v.body_len <= " OLD_WHOLE
                                                     " and v.body is not null)",
                           3, args, COMMITTING, &r, e);
    bool *came = calloc(n ? n : 1, sizeof *came);
    if (came == NULL)
        abort();
    for (int i = 0; r && i < PQntuples(r) && rc == ERR_OK; i++) {
        const size_t k = (size_t)pg_i64(r, i, 0) - 1;
        sv json = pg_bytes(r, i, 1);
        came[k] = true;
        if (json.ptr == NULL)
            rc = packed_body(&pack, r, i, some[k]->number, &json, e);
        if (rc == ERR_OK)
            rc = tally_version(t, some[k]->w->type, json, -1, e);
    }
    pg_pack_done(&pack);
    PQclear(r);
    for (size_t i = 0; i < n && rc == ERR_OK; i++)
        if (!came[i])
            rc = take_one(c, some[i], t, e);
    free(came);
    pg_array_done(&types);
    pg_array_done(&numbers);
    pg_array_done(&ns);
    return rc;
}

err_code pg_look_replaced(PGconn *c, struct pg_group *g, struct tally *t, struct err *e)
{
    const struct pg_write *some[OLD_BATCH];
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        const struct pg_write *w = &g->rows[i];
        if (w->of->rc != ERR_OK || w->version == 0 || w->deleted)
            continue;
        some[n++] = w;
        if (n == OLD_BATCH) {
            TRY(take_batch(c, some, n, t, e));
            n = 0;
        }
    }
    return n ? take_batch(c, some, n, t, e) : ERR_OK;
}
