/* test_source.c - what a scan and a walk over changes give of a store, without a plan or
 * objects. */
#include "one_range.h"

static const struct job_export_params none;

/* "id id -id": a minus is told as deleted. */
static const char *ids_of(struct one_range *o, export_kind kind)
{
    static char out[256];
    CLEANUP(export_source_free) struct export_source *s = NULL;
    const struct export_item item = { .kind = kind, .range = { .type = patients() } };
    struct store_version v;
    yyjson_val *root;
    bool deleted;
    err_code rc;
    struct err err;
    out[0] = 0;
    OK(export_source_open(&o->x, &item, &s, e));
    while ((rc = export_source_next(s, &v, &root, &deleted, &err)) == ERR_OK) {
        size_t n = strlen(out);
        (void)snprintf(out + n, sizeof out - n, "%s%s%.*s", n ? " " : "", deleted ? "-" : "",
                       SV_FMT(v.id));
    }
    assert_int_equal(rc, ERR_EOF);
    return out;
}

static void put_some(struct one_range *o)
{
    fx_write(o->st, patients(), "a", "1");
    fx_write(o->st, patients(), "b", "1");
    fx_write(o->st, patients(), "c", "1");
    one_delete(o->st, patients(), "b");
}

TEST(source, a_scan_gives_what_lives_in_the_order_of_ids)
{
    struct one_range o;
    one_open(&o, &none);
    put_some(&o);
    one_view(&o, false, 0);
    assert_string_equal(ids_of(&o, EXPORT_SCAN), "a c");
    /* what comes after the export's commit is not there */
    fx_write(o.st, patients(), "d", "1");
    assert_string_equal(ids_of(&o, EXPORT_SCAN), "a c");
    one_close(&o);
}

TEST(source, a_window_gives_what_changed_in_it_and_tells_what_went)
{
    struct one_range o;
    one_open(&o, &none);
    fx_write(o.st, patients(), "a", "1");
    fx_write(o.st, patients(), "b", "1");
    fx_write(o.st, patients(), "e", "1");
    uint64_t since = last_of(o.st).t;
    fx_write(o.st, patients(), "c", "1");
    fx_write(o.st, patients(), "e", "2");
    one_delete(o.st, patients(), "b");
    /* made and deleted within the window: who took a copy in between has it */
    fx_write(o.st, patients(), "d", "1");
    one_delete(o.st, patients(), "d");
    one_view(&o, true, since);
    assert_string_equal(ids_of(&o, EXPORT_CHANGES), "-b e c -d");
    one_close(&o);
}

TEST(source, one_that_is_to_stop_says_so)
{
    struct one_range o;
    one_open(&o, &none);
    put_some(&o);
    one_view(&o, true, 0);
    CLEANUP(export_source_free) struct export_source *s = NULL;
    const struct export_item item = { .kind = EXPORT_CHANGES, .range = { .type = patients() } };
    struct store_version v;
    yyjson_val *root;
    bool deleted;
    OK(export_source_open(&o.x, &item, &s, e));
    atomic_store(&o.halt, true);
    FAILS(ERR_CANCELLED, export_source_next(s, &v, &root, &deleted, e));
    export_source_free(s);
    s = NULL;
    one_close(&o);
}

TEST_MAIN(T(source, a_scan_gives_what_lives_in_the_order_of_ids),
          T(source, a_window_gives_what_changed_in_it_and_tells_what_went),
          T(source, one_that_is_to_stop_says_so))
