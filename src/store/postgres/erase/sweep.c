/* sweep.c - search entries of hollow versions go.
 *
 * They are not worked out from bodies: which ones a version had may depend on the form of its time.
 * So all entries are read once, whatever was erased. An entry of one number goes in one statement.
 * A row of a load that lists further numbers of its span is written anew without those that were
 * erased, under the first that is left. */
#include "store/postgres/commit/array.h"
#include "store/postgres/erase/erase_private.h"

#define BATCH           "512"
#define BATCH_BYTES     ((size_t)64 << 20)
#define NUMBER_BYTES_BE 8u

/* Without statistics of `erasing` the planner would take them for few and go through the index once
 * for each. */
static const char begin_sql[] =
    "begin; set local statement_timeout = 0; set local enable_seqscan = on; set local "
    "enable_hashjoin = on; set local enable_nestloop = off";

static const char single_sql[] =
    "delete from search s using erasing x where s.number = x.number and s.n = x.n and s.list is "
    "null";

/* Each row of a load with a list, and the numbers of its span that were erased, ascending. */
static const char lists_sql[] =
    "declare lists binary no scroll cursor for select s.type, s.param, s.value, s.number, s.n, "
    "s.list, g.numbers from search s join (select number >> 12 as span, n, "
    "string_agg(int8send(number), ''::bytea order by number) as numbers from erasing where n < 0 "
    "group by 1, 2) g on s.number >> 12 = g.span and s.n = g.n where s.list is not null";
_Static_assert(PG_SPAN_BITS == 12, "it stands in the line above");

enum { L_TYPE, L_PARAM, L_VALUE, L_NUMBER, L_N, L_LIST, L_GONE };
enum { A_TYPE, A_PARAM, A_VALUE, A_NUMBER, A_N, A_LIST, N_COLUMNS };

static const pg_element elements[N_COLUMNS] = {
    [A_TYPE] = PG_INT2,   [A_PARAM] = PG_INT2, [A_VALUE] = PG_BYTEA,
    [A_NUMBER] = PG_INT8, [A_N] = PG_INT8,     [A_LIST] = PG_BYTEA,
};

/* Rows that go, and those that come in their place. */
struct change {
    struct pg_array old[N_COLUMNS], new[N_COLUMNS];
};

static void change_init(struct change *x)
{
    for (unsigned i = 0; i < N_COLUMNS; i++) {
        pg_array_init(&x->old[i], elements[i], BATCH_BYTES);
        pg_array_init(&x->new[i], elements[i], BATCH_BYTES);
    }
}

static void change_done(struct change *x)
{
    for (unsigned i = 0; i < N_COLUMNS; i++) {
        pg_array_done(&x->old[i]);
        pg_array_done(&x->new[i]);
    }
}

static err_code add(struct pg_array *to, const PGresult *r, int row, store_number number, sv list,
                    struct err *e)
{
    TRY(pg_array_add_int(&to[A_TYPE], pg_i64(r, row, L_TYPE), e));
    TRY(pg_array_add_int(&to[A_PARAM], pg_i64(r, row, L_PARAM), e));
    TRY(pg_array_add(&to[A_VALUE], pg_bytes(r, row, L_VALUE), e));
    TRY(pg_array_add_int(&to[A_NUMBER], (int64_t)number, e));
    TRY(pg_array_add_int(&to[A_N], pg_i64(r, row, L_N), e));
    return pg_array_add(&to[A_LIST], list, e);
}

static bool is_gone(sv gone, store_number number)
{
    size_t lo = 0, hi = gone.len / NUMBER_BYTES_BE;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        uint64_t be;
        memcpy(&be, gone.ptr + mid * NUMBER_BYTES_BE, sizeof be);
        if (__builtin_bswap64(be) == number)
            return true;
        if (__builtin_bswap64(be) < number)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

/* What is left of a row. */
struct left {
    store_number first, last; /* 0: none */
    char list[PG_LIST_MOST];
    size_t len;
    bool any_gone;
};

static void keep(struct left *l, sv gone, store_number number)
{
    if (is_gone(gone, number)) {
        l->any_gone = true;
        return;
    }
    if (l->first == 0) {
        l->first = l->last = number;
        return;
    }
    l->len += pg_step_put(l->list + l->len, number - l->last);
    l->last = number;
}

static err_code see_row(struct change *x, const PGresult *r, int row, struct err *e)
{
    const sv list = pg_bytes(r, row, L_LIST), gone = pg_bytes(r, row, L_GONE);
    store_number number = (store_number)pg_i64(r, row, L_NUMBER);
    struct left left = { .first = 0 };
    if (list.len > PG_LIST_MOST)
        return ERR(e, ERR_CORRUPT, "reading the data store: a list of entries is damaged");
    keep(&left, gone, number);
    for (size_t i = 0; i < list.len;) {
        number += pg_step_next(list, &i);
        keep(&left, gone, number);
    }
    if (!left.any_gone)
        return ERR_OK;
    TRY(add(x->old, r, row, (store_number)pg_i64(r, row, L_NUMBER), SV_NONE, e));
    return left.first ? add(x->new, r, row, left.first,
                            left.len ? sv_make(left.list, left.len) : SV_NONE, e)
                      : ERR_OK;
}

static err_code ask(PGconn *c, struct pg_array *col, unsigned n, const char *sql, struct err *e)
{
    sv args[N_COLUMNS];
    PGresult *r;
    if (col[0].n == 0)
        return ERR_OK;
    for (unsigned i = 0; i < n; i++) {
        TRY(pg_array_end(&col[i], e));
        args[i] = buf_sv(&col[i].b);
    }
    TRY(pg_ask_binary(c, sql, n, args, FINISHED, &r, e));
    PQclear(r);
    return ERR_OK;
}

static err_code write_change(PGconn *c, struct change *x, struct err *e)
{
    TRY(ask(c, x->old, A_LIST,
            "delete from search s using unnest($1::smallint[], $2::smallint[], $3::bytea[], "
            "$4::bigint[], $5::bigint[]) o(type, param, value, number, n) where s.type = o.type "
            "and s.param = o.param and s.value = o.value and s.number = o.number and s.n = o.n",
            e));
    return ask(c, x->new, N_COLUMNS,
               "insert into search(type, param, value, number, n, list) select * from "
               "unnest($1::smallint[], $2::smallint[], $3::bytea[], $4::bigint[], $5::bigint[], "
               "$6::bytea[])",
               e);
}

/* *n: rows that were looked at. */
static err_code one_batch(PGconn *c, const atomic_bool *halt, int *n, struct err *e)
{
    struct change x;
    PGresult *r;
    err_code rc = ERR_OK;
    TRY(pg_run_long(c, "fetch " BATCH " from lists", FINISHED, halt, &r, e));
    *n = PQntuples(r);
    change_init(&x);
    for (int i = 0; i < *n && rc == ERR_OK; i++)
        rc = see_row(&x, r, i, e);
    PQclear(r);
    if (rc == ERR_OK)
        rc = write_change(c, &x, e);
    change_done(&x);
    return rc;
}

err_code pg_erase_sweep(PGconn *c, const atomic_bool *halt, struct err *e)
{
    PGresult *r;
    int n;
    TRY(pg_do(c, begin_sql, FINISHED, e));
    TRY(pg_run_long(c, single_sql, FINISHED, halt, &r, e));
    PQclear(r);
    TRY(pg_do(c, lists_sql, FINISHED, e));
    /* what follows goes along the index */
    TRY(pg_do(c, "set local enable_nestloop = on; set local enable_seqscan = off", FINISHED, e));
    do
        TRY(one_batch(c, halt, &n, e));
    while (n);
    return pg_do(c, "commit", FINISHED, e);
}
