/* Descriptors: whatever there are of them, every part of the server has some. */
#include "test.h"

#include "server/serve_private.h"

#include "base/limits.h"

TEST(machine, many_descriptors_leave_connections_as_asked_and_the_rest_to_stores)
{
    (void)state;
    unsigned connections = 1000;
    struct machine_files f = machine_share(10000, &connections);
    assert_int_equal(connections, 1000);
    assert_int_equal(f.n_bodies, LIMIT_UNPROVEN_FILES + 1);
    assert_int_equal(f.n_answers, LIMIT_ANSWER_FILES + 1);
    assert_int_equal(f.stores.n_files, 10000 - 1000 - 160 - 352);
    f = machine_share(1000000, &connections);
    assert_int_equal(f.stores.n_files, LIMIT_STORE_FILES);
}

TEST(machine, few_descriptors_are_shared_out_and_none_is_given_twice)
{
    (void)state;
    for (unsigned n = 16; n <= 4096; n++) {
        unsigned connections = 65536;
        struct machine_files f = machine_share(n, &connections);
        if (connections > n / 4)
            fail_msg("%u of %u descriptors are connections", connections, n);
        if (connections + f.stores.n_files > n || f.stores.n_files < n / 4)
            fail_msg("of %u descriptors %u are connections, %u of stores", n, connections,
                     (unsigned)f.stores.n_files);
        assert_in_range(f.n_bodies, 1, LIMIT_UNPROVEN_FILES + 1);
        assert_in_range(f.n_answers, 1, LIMIT_ANSWER_FILES + 1);
    }
}

TEST_MAIN(T(machine, many_descriptors_leave_connections_as_asked_and_the_rest_to_stores),
          T(machine, few_descriptors_are_shared_out_and_none_is_given_twice))
