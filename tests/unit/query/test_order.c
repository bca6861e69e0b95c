/* Sorted pages against a full sort of all resources by rules of this test's own, at every size of a
 * page. */
#include "query/fixture.h"

#define N 60

struct person { /* in the order of arrival */
    char id[8];
    const char *family; /* NULL: none */
    const char *birth;
};
static struct person people[N];

/* Fold as FHIR's string search does here: the families differ by case alone. */
static int by_family(const struct person *x, const struct person *y)
{
    return strcasecmp(x->family ? x->family : "", y->family ? y->family : "");
}

struct rule {
    const char *param;
    bool descending;
};

/* Those without a value come last, whichever the direction; equal ones in the order of arrival. */
static int compare(const struct person *x, const struct person *y, const struct rule *rules,
                   size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool family = strcmp(rules[i].param, "family") == 0;
        bool has_x = family ? x->family != NULL : x->birth != NULL,
             has_y = family ? y->family != NULL : y->birth != NULL;
        if (has_x != has_y)
            return has_x ? -1 : 1;
        int c = !has_x ? 0 : family ? by_family(x, y) : strcmp(x->birth, y->birth);
        if (c)
            return rules[i].descending ? -c : c;
    }
    return x < y ? -1 : x > y;
}

static void sort(const struct person **all, const struct rule *rules, size_t n)
{
    for (size_t i = 0; i < N; i++) {
        size_t at = i;
        for (; at && compare(all[at - 1], &people[i], rules, n) > 0; at--)
            all[at] = all[at - 1];
        all[at] = &people[i];
    }
}

static struct store *fill(void)
{
    static const char *const families[] = { "Ann", "bob", NULL, "Chad", "ann", "Dora", "eve" };
    static const char *const births[] = { "1970-01-02", NULL, "2001-12-31", "1999-05-05",
                                          "1969-12-31" };
    struct store *st = fixture_store();
    for (unsigned i = 0; i < N; i++) {
        char name[64] = "", birth[64] = "";
        struct person *p = &people[i];
        (void)snprintf(p->id, sizeof p->id, "p%02u", i * 7 % N);
        p->family = families[i * 5 % 7];
        p->birth = births[i * 3 % 5];
        if (p->family)
            (void)snprintf(name, sizeof name, ",\"name\":[{\"family\":\"%s\"}]", p->family);
        if (p->birth)
            (void)snprintf(birth, sizeof birth, ",\"birthDate\":\"%s\"", p->birth);
        FIXTURE_PUT(st, "{\"resourceType\":\"Patient\",\"id\":\"%s\"%s%s}", p->id, name, birth);
    }
    return st;
}

/* All pages of `count`, one behind the other, are the whole in its order. */
static void check_pages(const struct query *q, const struct rule *rules, size_t n_rules,
                        size_t count)
{
    const struct person *want[N];
    struct query_sort by[QUERY_SORT_MAX];
    CLEANUP(query_order_free) struct query_order *before = NULL;
    const struct query_row *last = NULL;
    size_t at = 0;
    sort(want, rules, n_rules);
    for (size_t i = 0; i < n_rules; i++)
        by[i] = (struct query_sort){ search_param_find(q->types[0], sv_from(rules[i].param)),
                                     rules[i].descending };
    for (bool more = true; more;) {
        struct query_order *o;
        const struct query_order_by asked = { by, n_rules, count, last };
        OK(query_order_find(q, &asked, &o, e));
        const struct query_row_list *l = query_order_rows(o);
        assert_int_equal(l->total, N);
        assert_int_equal(l->n, N - at < count ? N - at : count);
        for (size_t i = 0; i < l->n; i++)
            assert_sv(l->rows[i]->id.id, sv_from(want[at + i]->id));
        at += l->n;
        more = l->more;
        assert_int_equal(more, at < N);
        last = l->n ? l->rows[l->n - 1] : NULL;
        /* the row that the next page begins behind is its own */
        query_order_free(before);
        before = o;
    }
    assert_int_equal(at, N);
}

TEST(order, pages_of_any_size_are_a_full_sort_cut_to_pieces)
{
    (void)state;
    static const struct rule rules[][2] = {
        { { "family", false } },
        { { "family", true } },
        { { "birthdate", false }, { "family", true } },
        { { "family", false }, { "birthdate", true } },
    };
    static const size_t counts[] = { 1, 2, 7, N - 1, N, N + 1 };
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct store *st = fill();
    const struct query *q = fixture_query(st, a, "Patient");
    for (size_t r = 0; r < 4; r++)
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++)
            check_pages(q, rules[r], r < 2 ? 1 : 2, counts[k]);
    store_close(st);
}

TEST(order, counts_matches_alone_and_takes_a_page_of_none)
{
    (void)state;
    CLEANUP(arena_free) struct arena *a = arena_new(8 << 20);
    struct store *st = fill();
    struct query *q = fixture_query(st, a, "Patient");
    OK(query_add(q, SV_LIT("family"), SV_LIT("chad"), e));
    const struct query_sort by = { search_param_find(q->types[0], SV_LIT("birthdate")), false };
    struct query_order *o;
    OK(query_order_find(q, &(struct query_order_by){ &by, 1, 3, NULL }, &o, e));
    size_t chads = 0;
    for (size_t i = 0; i < N; i++)
        chads += people[i].family && strcmp(people[i].family, "Chad") == 0;
    assert_int_equal(query_order_rows(o)->total, chads);
    assert_int_equal(query_order_rows(o)->n, 3);
    query_order_free(o);
    q = fixture_query(st, a, "Patient");
    OK(query_add(q, SV_LIT("family"), SV_LIT("nobody"), e));
    OK(query_order_find(q, &(struct query_order_by){ &by, 1, 3, NULL }, &o, e));
    assert_int_equal(query_order_rows(o)->total, 0);
    assert_int_equal(query_order_rows(o)->n, 0);
    assert_false(query_order_rows(o)->more);
    query_order_free(o);
    store_close(st);
}

TEST_MAIN(T(order, pages_of_any_size_are_a_full_sort_cut_to_pieces),
          T(order, counts_matches_alone_and_takes_a_page_of_none))
