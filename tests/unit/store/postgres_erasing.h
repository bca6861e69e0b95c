/* postgres_erasing.h - a data store in PostgreSQL of which resources are erased, and what then
 * stands in the pages of its tables. */
#pragma once
#include "store/erasing.h"
#include "store/postgres_sql.h"

#define INSPECTION "create extension if not exists pageinspect schema public"

static char uri[256];

static inline bool begin(struct store **st)
{
    if (!pg_new_place(uri, sizeof uri))
        return false;
    OK(store_open(env, uri, true, st, e));
    return true;
}

static inline void end(struct store *st)
{
    store_close(st);
    pg_drop(uri);
}

static inline store_number number_of(struct store *st, const char *id)
{
    store_number n = 0;
    OK(store_number_of(st, patient, sv_from(id), &n, e));
    return n;
}

static inline void erase(struct store *st, const char *id)
{
    bool any;
    OK(store_erase(st, number_of(st, id), 0, SV_LIT("erase/all"), &any, e));
    assert_true(any);
}

/* A session that has just ended may be there for a moment. */
static inline void finish(struct store *st)
{
    struct err why = { 0 };
    err_code rc;
    while ((rc = store_erase_finish(st, NULL, &why)) == ERR_CONFLICT)
        (void)usleep(1000);
    if (rc != ERR_OK)
        fail_msg("%s", why.msg);
}

/* Rows, dead ones too, with a text somewhere in them, as they stand in the pages of a table. */
static inline long tuples_with(const char *table, const char *text)
{
    char sql[768];
    (void)snprintf(sql, sizeof sql,
                   "select count(*) from generate_series(0, pg_relation_size('%s') / 8192 - 1) p "
                   "cross join lateral public.heap_page_items(public.get_raw_page('fl_%s.%s', "
                   "p::int)) i where position('%s'::bytea in i.t_data) > 0",
                   table, strrchr(uri, '/') + 1, table, text);
    return pg_sql(uri, sql);
}
