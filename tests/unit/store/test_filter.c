/* The filter of ids: a key that was added is never said to be missing, whoever adds meanwhile, and
 * most others are. */
#include "test.h"

#include "store/rocks/numbers/filter.h"

#include <pthread.h>
#include <stdatomic.h>

static sv key_of(uint64_t n, char out[24])
{
    int len = snprintf(out, 24, "%c%llx", (char)(1 + n % 9), (unsigned long long)n * 7919u);
    return sv_make(out, (size_t)len);
}

TEST(filter, says_no_to_nothing_that_was_added_and_to_most_that_was_not)
{
    (void)state;
    /* over several layers */
    enum { N = 1000000 };
    struct ids_filter *f = ids_filter_new();
    char k[24];
    unsigned wrong = 0;
    /* until all are in it, it knows nothing */
    assert_true(ids_filter_may_have(f, key_of(5, k)));
    for (uint64_t i = 0; i < N; i++)
        ids_filter_add(f, key_of(i, k));
    ids_filter_complete(f);
    for (uint64_t i = 0; i < N; i++)
        if (!ids_filter_may_have(f, key_of(i, k)))
            fail_msg("key %llu is lost", (unsigned long long)i);
    for (uint64_t i = N; i < 2 * N; i++)
        wrong += ids_filter_may_have(f, key_of(i, k));
    /* 1 in 250 for each of the layers, with room for chance */
    assert_in_range(wrong, 1, N / 40);
    ids_filter_free(f);
}

TEST(filter, that_is_full_says_nothing_any_more)
{
    (void)state;
    struct ids_filter *f = ids_filter_new();
    char k[24];
    ids_filter_complete(f);
    assert_false(ids_filter_may_have(f, SV_LIT("never")));
    for (uint64_t i = 0; i < IDS_FILTER_KEYS; i++)
        ids_filter_add(f, key_of(i, k));
    assert_false(ids_filter_may_have(f, SV_LIT("never")) &&
                 ids_filter_may_have(f, SV_LIT("never again")) &&
                 ids_filter_may_have(f, SV_LIT("nor that")));
    /* the layers have room for 14.6 million */
    for (uint64_t i = 0; i < 2000000; i++)
        ids_filter_add(f, key_of(IDS_FILTER_KEYS + i, k));
    assert_true(ids_filter_may_have(f, SV_LIT("never")));
    assert_true(ids_filter_may_have(f, SV_LIT("never again")));
    assert_true(ids_filter_may_have(f, SV_LIT("nor that")));
    ids_filter_free(f);
}

struct adder {
    struct ids_filter *f;
    uint64_t from;
    atomic_bool failed;
};

enum { EACH = 60000 };

static void *add_and_ask(void *ctx)
{
    struct adder *a = ctx;
    char k[24];
    for (uint64_t i = a->from; i < a->from + EACH; i++) {
        ids_filter_add(a->f, key_of(i, k));
        if (!ids_filter_may_have(a->f, key_of(a->from + (i - a->from) / 2, k)))
            atomic_store(&a->failed, true);
    }
    return NULL;
}

TEST(filter, loses_nothing_while_several_add)
{
    (void)state;
    struct ids_filter *f = ids_filter_new();
    struct adder a[4];
    pthread_t threads[4];
    char k[24];
    ids_filter_complete(f);
    for (unsigned i = 0; i < 4; i++) {
        a[i].f = f;
        a[i].from = i * EACH;
        atomic_init(&a[i].failed, false);
        assert_int_equal(pthread_create(&threads[i], NULL, add_and_ask, &a[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
        assert_false(atomic_load(&a[i].failed));
    }
    for (uint64_t i = 0; i < 4 * EACH; i++)
        assert_true(ids_filter_may_have(f, key_of(i, k)));
    ids_filter_free(f);
}

TEST_MAIN(T(filter, says_no_to_nothing_that_was_added_and_to_most_that_was_not),
          T(filter, that_is_full_says_nothing_any_more), T(filter, loses_nothing_while_several_add))
