/* Claims: an id that has no row yet gets one number, whoever asks, for as long as anybody may not
 * have seen its row. */
#include "test.h"

#include "base/err.h"
#include "store/rocks/numbers/claims.h"

static const fhir_type patient = 1, observation = 2;

static struct number_ask ask(fhir_type type, const char *id)
{
    return (struct number_ask){ .type = type, .id = sv_from(id), .how = NUMBER_BORN };
}

/* One ask of its own look. */
static struct number_ask take(struct claims *c, struct claims_holder *h, struct number_source *from,
                              fhir_type type, const char *id)
{
    struct claims_look look;
    struct number_ask a = ask(type, id);
    claims_look_begin(c, &look);
    OK(claims_take(h, from, &a, 1, NULL, e));
    claims_look_end(c, &look);
    return a;
}

TEST(numbers, grow_with_load_then_type_then_place)
{
    (void)state;
    assert_true(number_make(1, 255, NUMBER_K_MOST - 1) < number_make(2, 0, 0));
    assert_true(number_make(7, 3, NUMBER_K_MOST - 1) < number_make(7, 4, 0));
    assert_true(number_make(7, 3, 8) < number_make(7, 3, 9));
    store_number n = number_make((1ULL << NUMBER_B_BITS) - 1, 146, 654321);
    assert_true(number_b(n) == (1ULL << NUMBER_B_BITS) - 1);
    assert_int_equal(number_type(n), 146);
    assert_int_equal(number_k(n), 654321);
}

TEST(numbers, of_one_load_and_type_end_at_a_million)
{
    (void)state;
    struct number_source from = { .b = 5 };
    store_number n, last = 0;
    for (uint32_t i = 0; i < NUMBER_K_MOST; i++) {
        assert_true(number_next(&from, patient, &n));
        assert_true(n > last && number_b(n) == 5 && number_type(n) == patient);
        last = n;
    }
    assert_false(number_next(&from, patient, &n));
    assert_true(number_next(&from, observation, &n));
}

TEST(claims, gives_new_ids_numbers_in_the_order_of_the_asks)
{
    (void)state;
    struct claims *c = claims_new();
    struct claims_holder *h = claims_hold(c);
    struct number_source from = { .b = 3 };
    struct number_ask asks[] = { ask(patient, "b"), ask(observation, "a"), ask(patient, "a"),
                                 ask(patient, "k") };
    asks[3].how = NUMBER_KNOWN;
    asks[3].number = 99;
    struct claims_look look;
    claims_look_begin(c, &look);
    OK(claims_take(h, &from, asks, 4, NULL, e));
    claims_look_end(c, &look);
    assert_true(asks[0].number == number_make(3, patient, 0));
    assert_true(asks[1].number == number_make(3, observation, 0));
    assert_true(asks[2].number == number_make(3, patient, 1));
    assert_true(asks[3].number == 99 && asks[3].how == NUMBER_KNOWN);
    assert_int_equal(claims_count(c), 3);
    claims_release(h);
    assert_int_equal(claims_count(c), 0);
    claims_free(c);
}

static void note_shared(void *ctx, fhir_type type, sv id, store_number number)
{
    char *to = ctx;
    (void)snprintf(to + strlen(to), 100, "%d/%.*s=%llu:%u ", type, SV_FMT(id),
                   (unsigned long long)number_b(number), number_k(number));
}

TEST(claims, a_second_load_gets_the_number_of_the_first_and_the_first_hears_of_it)
{
    (void)state;
    struct claims *c = claims_new();
    struct claims_holder *a = claims_hold(c), *b = claims_hold(c);
    struct number_source of_a = { .b = 3 }, of_b = { .b = 4 };
    char shared[200] = "";
    struct number_ask one = take(c, a, &of_a, patient, "x");
    struct number_ask alone = take(c, a, &of_a, patient, "y");
    struct number_ask two = take(c, b, &of_b, patient, "x");
    assert_int_equal(one.how, NUMBER_BORN);
    assert_int_equal(two.how, NUMBER_SHARED);
    assert_true(one.number == two.number && one.number != alone.number);
    /* of the one who gave it alone */
    claims_each_shared(b, note_shared, shared);
    assert_string_equal(shared, "");
    claims_each_shared(a, note_shared, shared);
    assert_string_equal(shared, "1/x=3:0 ");
    /* the same id of another type is another resource */
    assert_int_equal(take(c, b, &of_b, observation, "x").how, NUMBER_BORN);
    claims_release(a);
    /* b may publish it yet: nobody gets another number for it */
    struct claims_holder *d = claims_hold(c);
    struct number_source of_d = { .b = 5 };
    assert_true(take(c, d, &of_d, patient, "x").number == one.number);
    assert_true(take(c, d, &of_d, patient, "y").number == number_make(5, patient, 0));
    claims_release(b);
    claims_release(d);
    assert_int_equal(claims_count(c), 0);
    claims_free(c);
}

TEST(claims, what_is_given_back_stays_for_a_look_that_began_before)
{
    (void)state;
    struct claims *c = claims_new();
    struct claims_holder *a = claims_hold(c), *b = claims_hold(c);
    struct number_source of_a = { .b = 3 }, of_b = { .b = 4 };
    struct number_ask one = take(c, a, &of_a, patient, "x");
    struct claims_look early, late;
    /* it reads the family here: no row of x */
    claims_look_begin(c, &early);
    /* the row of x comes to the disk, and a is done */
    claims_release(a);
    claims_look_begin(c, &late);
    assert_int_equal(claims_count(c), 1);
    struct number_ask two = ask(patient, "x");
    OK(claims_take(b, &of_b, &two, 1, NULL, e));
    assert_true(two.number == one.number && two.how == NUMBER_SHARED);
    claims_look_end(c, &early);
    /* taken up again: b holds it */
    assert_int_equal(claims_count(c), 1);
    claims_release(b);
    /* the late look began in front of this release */
    assert_int_equal(claims_count(c), 1);
    claims_look_end(c, &late);
    assert_int_equal(claims_count(c), 0);
    claims_free(c);
}

TEST(claims, waiting_ones_leave_in_order_whichever_look_ends_first)
{
    (void)state;
    enum { N = 200 };
    struct claims *c = claims_new();
    struct number_source from = { .b = 3 };
    struct claims_look looks[N];
    char id[16];
    for (int i = 0; i < N; i++) {
        struct claims_holder *h = claims_hold(c);
        (void)snprintf(id, sizeof id, "id-%d", i);
        (void)take(c, h, &from, patient, id);
        claims_look_begin(c, &looks[i]);
        claims_release(h);
    }
    assert_int_equal(claims_count(c), N);
    /* the oldest look keeps all */
    for (int i = N - 1; i > 0; i--) {
        claims_look_end(c, &looks[i]);
        assert_int_equal(claims_count(c), N);
    }
    claims_look_end(c, &looks[0]);
    assert_int_equal(claims_count(c), 0);
    claims_free(c);
}

TEST(claims, a_load_of_too_many_of_one_type_is_refused)
{
    (void)state;
    struct claims *c = claims_new();
    struct claims_holder *h = claims_hold(c);
    struct number_source from = { .b = 3 };
    from.given[patient] = NUMBER_K_MOST - 1;
    assert_true(take(c, h, &from, patient, "a").number ==
                number_make(3, patient, NUMBER_K_MOST - 1));
    struct claims_look look;
    struct number_ask a = ask(patient, "b");
    claims_look_begin(c, &look);
    FAILS(ERR_TOO_LARGE, claims_take(h, &from, &a, 1, NULL, e));
    claims_look_end(c, &look);
    claims_release(h);
    assert_int_equal(claims_count(c), 0);
    claims_free(c);
}

TEST_MAIN(T(numbers, grow_with_load_then_type_then_place),
          T(numbers, of_one_load_and_type_end_at_a_million),
          T(claims, gives_new_ids_numbers_in_the_order_of_the_asks),
          T(claims, a_second_load_gets_the_number_of_the_first_and_the_first_hears_of_it),
          T(claims, what_is_given_back_stays_for_a_look_that_began_before),
          T(claims, waiting_ones_leave_in_order_whichever_look_ends_first),
          T(claims, a_load_of_too_many_of_one_type_is_refused))
