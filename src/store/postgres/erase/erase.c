/* erase.c - versions of one resource become hollow.
 *
 * A hollow version keeps its row and its number, and loses its id and its body (PG_HOLLOW). So
 * nobody has to be renumbered (I5), births of a load still follow each other, and every commit has
 * as many versions as it says. Readers take it for no version. When all of a resource is erased,
 * the row of its id goes too: the id is free, and who writes it again begins a new resource with a
 * new number.
 *
 * One resource is one transaction behind the lock of the clock row, with its sums and the note that
 * counts. Nobody commits meanwhile, from whichever process. No load may be between its begin and
 * its publication: it has read rows of ids. What ended without its publication is cleared away by
 * who knows that no load is under way (store_loads_clear()). */
#include "store/postgres/erase/erase_private.h"

struct erasing {
    struct pg *p;
    PGconn *c;
    const struct lease *lease;
    store_number number;
    uint64_t t; /* of the one version; 0: all */
    int64_t n;  /* of its row */
    sv note;    /* counts grow there; empty: none do */
    struct pg_clock clock;
    struct tally less;        /* what goes out of the sums */
    char id[FHIR_ID_MAX + 1]; /* empty: not known */
    char type[8], number_text[24];
    uint64_t n_hollow;
};

err_code pg_erase_lease(PGconn *c, const struct lease *lease, struct err *e)
{
    struct err why;
    err_code rc = pg_lease_check(c, lease, &why);
    if (rc == ERR_OK)
        return ERR_OK;
    return rc == ERR_CONFLICT ? ERR(e, ERR_CANCELLED, "another process goes on with the erasure")
                              : err_pass(e, &why);
}

/* Sums without marks: what is current is what they hold. */
static err_code check_alone(PGconn *c, struct err *e)
{
    PGresult *r;
    TRY(pg_ask(c,
               "select 1 where exists (select 1 from open_loads) or exists (select 1 from "
               "unsettled)",
               0, NULL, ERASING, &r, e));
    const bool alone = PQntuples(r) == 0;
    PQclear(r);
    return alone ? ERR_OK : ERR(e, ERR_CONFLICT, "a bulk load is under way");
}

/* The row that the commit t wrote. *there: t is a commit. */
static err_code find_n(struct erasing *x, bool *there, struct err *e)
{
    char t[24];
    const char *args[] = { t };
    PGresult *r;
    (void)snprintf(t, sizeof t, "%" PRIu64, x->t > INT64_MAX ? INT64_MAX : x->t);
    TRY(pg_ask(x->c, "select case when load > 0 then -load else t end from commits where t = $1", 1,
               args, ERASING, &r, e));
    *there = PQntuples(r) == 1;
    x->n = *there ? pg_i64(r, 0, 0) : 0;
    PQclear(r);
    return ERR_OK;
}

/* An id that one of the rows has. */
static err_code find_id(struct erasing *x, struct err *e)
{
    const char *args[] = { x->type, x->number_text };
    PGresult *r;
    TRY(pg_ask(
        x->c,
        "select id from versions where type = $1::smallint and number = $2::bigint and id <> "
        "'' limit 1",
        2, args, ERASING, &r, e));
    if (PQntuples(r) == 1)
        (void)snprintf(x->id, sizeof x->id, "%.*s", SV_FMT(pg_bytes(r, 0, 0)));
    PQclear(r);
    return ERR_OK;
}

static const char make_hollow[] =
    "with gone as (update versions set method = 100, id = '', body = null, body_len = 0, hole = 0, "
    "hole_at = 0 where type = $1::smallint and number = $2::bigint and method <> 100 and "
    "($3::bigint is null or n = $3::bigint) returning number, n), d as (delete from parts using "
    "gone where parts.number = gone.number and parts.n = gone.n), w as (insert into "
    "erasing(number, n) select number, n from gone on conflict do nothing) select count(*) from "
    "gone";
_Static_assert(PG_HOLLOW == 100, "it stands in the line above");

static err_code hollow_rows(struct erasing *x, struct err *e)
{
    char n[24];
    const char *args[] = { x->type, x->number_text, x->t ? n : NULL };
    PGresult *r;
    (void)snprintf(n, sizeof n, "%" PRId64, x->n);
    TRY(pg_ask(x->c, make_hollow, 3, args, ERASING, &r, e));
    x->n_hollow += (uint64_t)pg_i64(r, 0, 0);
    PQclear(r);
    return ERR_OK;
}

static err_code hollow_birth(struct erasing *x, struct err *e)
{
    const char *args[] = { x->number_text };
    char id[FHIR_ID_MAX + 1] = "";
    bool was;
    if (x->t && x->n != -(int64_t)number_b(x->number))
        return ERR_OK;
    TRY(pg_erase_packed(x->c, x->number, &was, id, e));
    if (!was)
        return ERR_OK;
    memcpy(x->id, id, sizeof id);
    x->n_hollow++;
    return pg_command(
        x->c,
        "insert into erasing(number, n) values ($1::bigint, -($1::bigint >> 28)) on conflict "
        "do nothing",
        1, args, ERASING, e);
}

static err_code free_id(struct erasing *x, struct err *e)
{
    const char *args[] = { x->type, x->id, x->number_text };
    if (x->t || x->id[0] == 0)
        return ERR_OK;
    return pg_command(x->c,
                      "delete from ids where type = $1::smallint and id = $2::text and number = "
                      "$3::bigint",
                      3, args, ERASING, e);
}

static err_code put_note(struct erasing *x, struct err *e)
{
    char value[STORE_ERASED_BYTES];
    if (x->note.len == 0)
        return ERR_OK;
    TRY(store_erased_grown(&x->p->base, x->note, x->t == 0, x->n_hollow, value, e));
    return pg_note_put(x->c, x->note, sv_make(value, sizeof value), e);
}

/* The clock row is locked. Nothing is found to be erased: then nothing was written. */
static err_code erase_locked(struct erasing *x, struct err *e)
{
    bool there = true;
    TRY(pg_erase_lease(x->c, x->lease, e));
    TRY(check_alone(x->c, e));
    TRY(store_erased_uncount(&x->p->base, x->number, x->t, &x->less, e));
    if (x->t)
        TRY(find_n(x, &there, e));
    if (!there)
        return ERR_OK;
    TRY(find_id(x, e));
    TRY(hollow_rows(x, e));
    TRY(hollow_birth(x, e));
    if (x->n_hollow == 0)
        return ERR_OK;
    TRY(free_id(x, e));
    TRY(put_note(x, e));
    return pg_counts_add(x->c, &x->less, (int64_t)x->clock.last.t, ERASING, e);
}

static err_code erase_one(struct erasing *x, struct err *e)
{
    bool unknown;
    TRY(pg_clock_begin(x->c, ERASING, &x->clock, e));
    TRY(erase_locked(x, e));
    return x->n_hollow ? pg_end(x->c, ERASING, &unknown, e) : pg_do(x->c, "rollback", ERASING, e);
}

err_code pg_erase(struct store *st, const struct lease *lease, store_number number, uint64_t t,
                  sv note, bool *any, struct err *e)
{
    struct erasing x = {
        .p = (struct pg *)st, .lease = lease, .number = number, .t = t, .note = note
    };
    (void)snprintf(x.type, sizeof x.type, "%u", (unsigned)number_type(number));
    (void)snprintf(x.number_text, sizeof x.number_text, "%" PRIu64, number);
    TRY(pg_settle(st, NULL, e));
    /* what an earlier end has done is not all of it any more */
    x.p->erase_xid[0] = 0;
    TRY(pg_take(x.p, PG_WRITE, &x.c, e));
    err_code rc = erase_one(&x, e);
    pg_give(x.p, PG_WRITE, x.c);
    tally_done(&x.less);
    *any = rc == ERR_OK && x.n_hollow;
    return rc;
}
