/* database.h - requests to data stores that stand in a database, where other processes have them,
 * too. What those do is the test's. */
#pragma once
#include "rest/entries.h"

#include "store/postgres.h"

/* Without PostgreSQL they stand in a folder, and the tests ask for none. */
static int database_set_up(void **state)
{
    (void)state;
    world_make(&here.w);
    if (pg_server_uri()) {
        int n = snprintf(here.w.stores, sizeof here.w.stores, "%s", pg_server_uri());
        assert_in_range(n, 1, sizeof here.w.stores - 1);
    }
    world_open(&here.w, &no_control, true);
    return 0;
}

/* The data store of fresh_store() is done with. */
static void database_over(void)
{
    OK(store_registry_remove(here.w.registry, sv_from(here.id), e));
}
