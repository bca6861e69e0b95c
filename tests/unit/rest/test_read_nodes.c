/* Reads that wait, in a database, while another process erases: what was read may be erased by
 * then, and is not shown. */
#include "rest/database.h"

#include "base/clock.h"
#include "store/erased.h"

#include <unistd.h>

#define P(id) "{'resourceType':'Patient','id':'" id "'}"

/* As if the other process had erased something just now. */
static bool erased;
static unsigned n_asked;

err_code __wrap_store_erased_at(struct store *st, uint64_t *t, struct err *e);
err_code __wrap_store_erased_at(struct store *st, uint64_t *t, struct err *e)
{
    (void)st, (void)e;
    n_asked++;
    *t = erased ? INT64_MAX : 0;
    return ERR_OK;
}

/* Reading lasts so long that the call asks. */
err_code __real_store_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                              struct store_cursor **out, struct err *e);
err_code __wrap_store_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                              struct store_cursor **out, struct err *e);
err_code __wrap_store_history(struct store *st, fhir_type type, sv id, uint64_t as_of_t,
                              struct store_cursor **out, struct err *e)
{
    const uint64_t until = clock_mono_us() + (STORE_ERASED_LOOK_MS + 1) * UINT64_C(1000);
    while (clock_mono_us() < until)
        (void)usleep(1000);
    return __real_store_history(st, type, id, as_of_t, out, e);
}

err_code __real_store_last(struct store *st, struct store_commit *out, struct err *e);
err_code __wrap_store_last(struct store *st, struct store_commit *out, struct err *e);
static unsigned n_newest;
err_code __wrap_store_last(struct store *st, struct store_commit *out, struct err *e)
{
    n_newest++;
    return __real_store_last(st, out, e);
}

static void fresh(bool is_erased)
{
    if (pg_server_uri() == NULL)
        skip();
    erased = false;
    fresh_store();
    PUT_NEW("Patient/p", P("p"));
    erased = is_erased;
    n_asked = n_newest = 0;
}

TEST(read_nodes, a_version_that_was_read_beside_an_erasure_is_not_shown)
{
    (void)state;
    fresh(true);
    ASKED(503, "GET", "Patient/p/_history/1", "", NULL);
    assert_int_equal(n_asked, 1);
    erased = false;
    GOT("Patient/p/_history/1");
    database_over();
}

TEST(read_nodes, a_read_that_waits_for_nothing_asks_for_nothing)
{
    (void)state;
    fresh(true);
    GOT("Patient/p");
    assert_int_equal(n_newest, 0);
    assert_int_equal(n_asked, 0);
    database_over();
}

/* What has been written is answered. */
TEST(read_nodes, histories_in_a_bundle_that_writes_are_not_asked_about)
{
    (void)state;
    fresh(true);
    ASKED(200, "POST", "", "",
          BUNDLE("batch", ENTRY("GET", "Patient/p/_history", ""),
                 ENTRY("GET", "Patient/p/_history/1", ""),
                 ENTRY("PUT", "Patient/q", RESOURCE(P("q")))));
    SAYS("/entry/0/response/status", "200");
    SAYS("/entry/1/response/status", "200");
    assert_int_equal(n_newest, 0);
    assert_int_equal(n_asked, 0);
    database_over();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(read_nodes, a_version_that_was_read_beside_an_erasure_is_not_shown),
        T(read_nodes, a_read_that_waits_for_nothing_asks_for_nothing),
        T(read_nodes, histories_in_a_bundle_that_writes_are_not_asked_about),
    };
    return cmocka_run_group_tests(tests, database_set_up, asking_tear_down);
}
