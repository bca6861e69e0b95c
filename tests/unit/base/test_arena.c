/* Memory of one request: budgets, and growth in place. */
#include "test.h"

#include "base/arena.h"

static void fill(char *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        p[i] = (char)(i * 7 + 1);
}

static bool is_filled(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != (char)(i * 7 + 1))
            return false;
    return true;
}

TEST(arena, what_grows_keeps_its_bytes_wherever_it_goes)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 20);
    char *neighbour = arena_alloc(a, 100);
    size_t n = 1;
    char *p = arena_grow(a, NULL, 0, n);
    fill(p, 0, n);
    memset(neighbour, 'n', 100);
    for (size_t more = 3; more < 20u << 20; more = more * 3 / 2) {
        p = arena_grow(a, p, n, more);
        assert_non_null(p);
        assert_true(is_filled(p, n));
        fill(p, n, more);
        n = more;
    }
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(neighbour[i], 'n');
    /* now it cannot grow in place */
    char *behind = arena_alloc(a, 64);
    memset(behind, 'b', 64);
    char *moved = arena_grow(a, p, n, n + 1000);
    assert_true(is_filled(moved, n));
    fill(moved, n, n + 1000);
    assert_int_equal(behind[0], 'b');
    assert_int_equal(behind[63], 'b');
}

TEST(arena, growing_takes_no_more_than_the_budget)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    /* more than the first block holds: it has one of its own */
    const size_t n = 100000;
    char *p = arena_grow(a, NULL, 0, n);
    fill(p, 0, n);
    assert_null(arena_grow(a, p, n, (1u << 20) + 100));
    assert_null(arena_grow(a, p, n, SIZE_MAX));
    assert_null(arena_grow(a, p, n, SIZE_MAX - 8));
    assert_true(is_filled(p, n));
    /* in place: what it had does not count twice */
    p = arena_grow(a, p, n, 1u << 20);
    assert_non_null(p);
    assert_true(is_filled(p, n));
    assert_null(arena_alloc(a, 16));
}

TEST(arena, a_rewind_takes_back_what_grew_since)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(1u << 20);
    char *p = arena_alloc(a, 1000);
    arena_mark m = arena_mark_get(a);
    fill(p, 0, 1000);
    /* a hundred times what the budget has room for once */
    for (unsigned i = 0; i < 100; i++) {
        char *q = arena_grow(a, NULL, 0, 100);
        q = arena_grow(a, q, 100, 500000);
        assert_non_null(q);
        memset(q, 'q', 500000);
        arena_rewind(a, m);
    }
    assert_true(is_filled(p, 1000));
}

static char ended[8];
static size_t n_ended;

static void note(void *name)
{
    ended[n_ended++] = *(const char *)name;
}

TEST(arena, what_lives_as_long_as_the_arena_ends_with_it)
{
    (void)state;
    n_ended = 0;
    struct arena *a = arena_new(100);
    arena_at_end(a, note, "a");
    arena_mark m = arena_mark_get(a);
    arena_at_end(a, note, "b");
    arena_rewind(a, m);
    assert_int_equal(n_ended, 0);
    /* the last first, and once */
    arena_reset(a);
    assert_int_equal(n_ended, 2);
    assert_memory_equal(ended, "ba", 2);
    arena_at_end(a, note, "c");
    arena_free(a);
    assert_int_equal(n_ended, 3);
    assert_int_equal(ended[2], 'c');
}

TEST(arena, a_wipe_leaves_nothing_of_any_block)
{
    (void)state;
    struct arena *a = arena_new(1 << 20);
    char *small = arena_str(a, SV_LIT("secret")), *large = arena_alloc(a, 200000);
    memset(large, 's', 200000);
    arena_wipe(a);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(small[i], 0);
    for (size_t i = 0; i < 200000; i++)
        assert_int_equal(large[i], 0);
    arena_free(a);
}

TEST_MAIN(T(arena, what_grows_keeps_its_bytes_wherever_it_goes),
          T(arena, growing_takes_no_more_than_the_budget),
          T(arena, a_rewind_takes_back_what_grew_since),
          T(arena, what_lives_as_long_as_the_arena_ends_with_it),
          T(arena, a_wipe_leaves_nothing_of_any_block))
