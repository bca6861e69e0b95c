/* ids.c - the numbers of a load's resources (I8).
 *
 * Ids that have a row keep its number. The others get numbers in the order of arrival, and rows,
 * committed at once: of two loads under way that bring one new id the first one's row is found by
 * the second. Rows go in sorted, in short statements, so that two loads wait for each other and
 * never for ever. A row is no resource: when the load is given up, its numbers stay with the ids.
 *
 * Most loads bring new ids alone, so some of a load's ids are looked for, and when none has a row,
 * the others are not: they are inserted, and those that had a row are found by that. It takes half
 * the processor time. Numbers that were meant for them are never given then.
 *
 * Who finds a number of a load that is not published yet tells that load (open_loads.shared): it
 * may not be the first to be published, so the sums must be told what it replaced (counts.c). */
#include "store/postgres/commit/array.h"
#include "store/postgres/read_private.h"
#include "store/postgres/write_private.h"

#define IDS_BATCH 4096u
#define SAMPLE    256u
#define LIST_MAX  (IDS_BATCH * (FHIR_ID_MAX + 24u))

/* Columns of some ids as arguments of a statement. */
struct lists {
    struct pg_array types, ids, numbers;
};

static void lists_done(struct lists *l)
{
    pg_array_done(&l->types);
    pg_array_done(&l->ids);
    pg_array_done(&l->numbers);
}

static err_code lists_fill(struct lists *l, const struct pg_numbered *rows, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        TRY(pg_array_add_int(&l->types, rows[i].item->type, e));
        TRY(pg_array_add(&l->ids, rows[i].item->id, e));
        TRY(pg_array_add_int(&l->numbers, (int64_t)rows[i].number, e));
    }
    TRY(pg_array_end(&l->types, e));
    TRY(pg_array_end(&l->ids, e));
    return pg_array_end(&l->numbers, e);
}

/* A statement with the first n_args of types, ids, numbers. */
static err_code ask(PGconn *conn, const char *sql, unsigned n_args, const struct pg_numbered *rows,
                    size_t n, PGresult **out, struct err *e)
{
    struct lists l;
    pg_array_init(&l.types, PG_INT2, LIST_MAX);
    pg_array_init(&l.ids, PG_TEXT, LIST_MAX);
    pg_array_init(&l.numbers, PG_INT8, LIST_MAX);
    err_code rc = lists_fill(&l, rows, n, e);
    const sv args[] = { buf_sv(&l.types.b), buf_sv(&l.ids.b), buf_sv(&l.numbers.b) };
    if (rc == ERR_OK)
        rc = pg_ask_binary(conn, sql, n_args, args, PG_LOADING, out, e);
    lists_done(&l);
    return rc;
}

/* The numbers that ids have; 0: none. */
static err_code look_up(PGconn *conn, struct pg_numbered *rows, size_t n, struct err *e)
{
    PGresult *r;
    TRY(ask(conn,
            "select o.i, d.number from unnest($1::smallint[], $2::text[]) with ordinality "
            "o(type, id, i) join ids d on d.type = o.type and d.id = o.id",
            2, rows, n, &r, e));
    for (size_t i = 0; i < n; i++)
        rows[i].number = 0;
    for (int i = 0; i < PQntuples(r); i++)
        rows[(size_t)pg_i64(r, i, 0) - 1].number = (store_number)pg_i64(r, i, 1);
    PQclear(r);
    return ERR_OK;
}

/* Insert what has a proposed number; another one may have come first. */
static err_code claim(PGconn *conn, struct pg_numbered *rows, size_t n, bool *known, struct err *e)
{
    PGresult *r;
    TRY(ask(conn,
            "insert into ids(type, id, number) select * from unnest($1::smallint[], "
            "$2::text[], $3::bigint[]) on conflict do nothing",
            3, rows, n, &r, e));
    const bool all = strtoull(PQcmdTuples(r), NULL, 10) == n;
    PQclear(r);
    if (all)
        return ERR_OK;
    *known = true;
    TRY(look_up(conn, rows, n, e));
    for (size_t i = 0; i < n; i++)
        if (rows[i].number == 0)
            return ERR(e, ERR_CONFLICT, "a resource was erased while it was loaded: try again");
    return ERR_OK;
}

static int by_arrival(const void *a, const void *b)
{
    const struct pg_numbered *x = *(struct pg_numbered *const *)a;
    const struct pg_numbered *y = *(struct pg_numbered *const *)b;
    return x->item->seq < y->item->seq ? -1 : x->item->seq > y->item->seq;
}

static int by_type_then_number(const void *a, const void *b)
{
    const struct pg_numbered *x = a, *y = b;
    const fhir_type s = number_type(x->number), t = number_type(y->number);
    if (s != t)
        return s < t ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Numbers for those that have none, in the order of arrival. */
static err_code propose(PGconn *conn, uint64_t b, struct pg_numbered **news, size_t n, bool *known,
                        struct err *e)
{
    struct number_source *from = calloc(1, sizeof *from);
    err_code rc = ERR_OK;
    if (from == NULL)
        abort();
    from->b = b;
    if (n)
        qsort(news, n, sizeof *news, by_arrival);
    for (size_t i = 0; i < n && rc == ERR_OK; i++) {
        if (number_next(from, news[i]->item->type, &news[i]->number))
            continue;
        /* those of another b are treated as known: nobody tells the load that they are shared */
        *known = true;
        uint64_t another;
        if ((rc = pg_next_b(conn, &another, e)) == ERR_OK) {
            *from = (struct number_source){ .b = another };
            i--;
        }
    }
    free(from);
    return rc;
}

/* Loads whose numbers these are learn that they are not alone with them. */
static err_code tell_others(PGconn *conn, uint64_t b, const struct pg_numbered *rows, size_t n,
                            struct err *e)
{
    CLEANUP_BUF struct buf list = BUF_INIT(n * 24 + 8);
    uint64_t before = 0;
    size_t told = 0;
    char own[24];
    /* by type and number: each type's b ascend */
    for (size_t i = 0; i < n; i++) {
        const uint64_t of = number_b(rows[i].number);
        if (of == b || of == before)
            continue;
        TRY(buf_add_fmt(&list, e, "%c%" PRIu64, told++ ? ',' : '{', of));
        before = of;
    }
    if (told == 0)
        return ERR_OK;
    TRY(buf_add(&list, SV_LIT("}\0"), e));
    (void)snprintf(own, sizeof own, "%" PRIu64, b);
    const char *args[] = { list.ptr, own };
    return pg_command(
        conn,
        "update open_loads set shared = true where load in (select load from open_loads "
        "where load = any($1::bigint[]) and load <> $2 and not shared order by load for "
        "update)",
        2, args, PG_LOADING, e);
}

static err_code claim_all(PGconn *conn, struct pg_numbered *rows, const size_t *news, size_t n_news,
                          bool *known, struct err *e)
{
    struct pg_numbered *some = calloc(IDS_BATCH, sizeof *some);
    err_code rc = ERR_OK;
    if (some == NULL)
        abort();
    for (size_t at = 0; at < n_news && rc == ERR_OK;) {
        size_t k = 0;
        for (; k < IDS_BATCH && at + k < n_news; k++)
            some[k] = rows[news[at + k]];
        rc = claim(conn, some, k, known, e);
        for (size_t i = 0; i < k; i++)
            rows[news[at + i]] = some[i];
        at += k;
    }
    free(some);
    return rc;
}

/* Does any id of a sample have a number? */
static err_code sample_known(PGconn *conn, const struct pg_numbered *rows, size_t n, bool *any,
                             struct err *e)
{
    struct pg_numbered some[SAMPLE];
    const size_t n_some = n < SAMPLE ? n : SAMPLE;
    *any = false;
    for (size_t i = 0; i < n_some; i++)
        some[i] = rows[i * n / n_some];
    TRY(look_up(conn, some, n_some, e));
    for (size_t i = 0; i < n_some; i++)
        *any |= some[i].number != 0;
    return ERR_OK;
}

/* look: some of them have a number, or may have. */
static err_code number_all(PGconn *conn, uint64_t b, struct pg_numbered *rows, size_t n, bool look,
                           bool *known, struct err *e)
{
    struct pg_numbered **order = calloc(n, sizeof *order);
    size_t *news = calloc(n, sizeof *news), n_news = 0;
    err_code rc = ERR_OK;
    if (order == NULL || news == NULL)
        abort();
    for (size_t i = 0; i < n && look && rc == ERR_OK; i += IDS_BATCH)
        rc = look_up(conn, rows + i, n - i < IDS_BATCH ? n - i : IDS_BATCH, e);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].number)
            continue;
        order[n_news] = &rows[i];
        news[n_news++] = i;
    }
    *known = n_news < n;
    if (rc == ERR_OK)
        rc = propose(conn, b, order, n_news, known, e);
    if (rc == ERR_OK)
        rc = claim_all(conn, rows, news, n_news, known, e);
    free(order);
    free(news);
    return rc;
}

err_code pg_load_numbers(PGconn *conn, uint64_t b, struct store_bulk_item *items, size_t n,
                         struct pg_numbered *rows, bool *known, struct err *e)
{
    bool any;
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct pg_numbered){ 0, &items[i] };
    TRY(sample_known(conn, rows, n, &any, e));
    TRY(number_all(conn, b, rows, n, any, known, e));
    qsort(rows, n, sizeof *rows, by_type_then_number);
    return *known ? tell_others(conn, b, rows, n, e) : ERR_OK;
}

err_code pg_load_shared(PGconn *c, uint64_t b, struct err *e)
{
    char load[24];
    const char *args[] = { load };
    (void)snprintf(load, sizeof load, "%" PRIu64, b);
    return pg_command(c, "update open_loads set shared = true where load = $1 and not shared", 1,
                      args, "committing", e);
}
