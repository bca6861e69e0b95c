/* A set of ids that grows, against the arithmetic of how its ids are made. */
#include "test.h"

#include "rest/read/id_set_private.h"

#define N 5000u

static char texts[N][12];

static bool in(struct id_set *s, fhir_type type, const char *id)
{
    return id_set_slot(s, &(struct search_id){ type, sv_from(id) })->type != FHIR_TYPE_NONE;
}

TEST(id_set, keeps_each_id_once_while_it_grows)
{
    (void)state;
    struct id_set s = { 0 };
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < N; i++) {
            (void)snprintf(texts[i], sizeof texts[i], "id%u", i / 2);
            const struct search_id id = { (fhir_type)(1 + i % 2), sv_from(texts[i]) };
            struct search_id *slot = id_set_slot(&s, &id);
            assert_int_equal(slot->type != FHIR_TYPE_NONE, round == 1);
            if (round == 0) {
                *slot = id;
                s.n++;
            }
            assert_in_range(2 * s.n, 0, s.n_slots);
        }
    assert_int_equal(s.n, N);
    assert_true(in(&s, 1, "id0"));
    assert_true(in(&s, 2, "id2499"));
    assert_false(in(&s, 3, "id0"));
    assert_false(in(&s, 1, "id2500"));
    assert_false(in(&s, 1, ""));
    id_set_done(&s);
    assert_false(in(&s, 1, "id0"));
    id_set_done(&s);
}

TEST_MAIN(T(id_set, keeps_each_id_once_while_it_grows))
