/* Pages of a search: each match once, a total, and links.
 * Source: FHIR R4 search.html#count, #total, #sort, #conformance; http.html#paging. */
#include "rest/asking.h"

#define MODE "/search/mode"
/* n Patients p00, p01 ..., born one after the other in the other order; every second is male. */
static void filled_store(unsigned n)
{
    char path[50], body[200];
    fresh_store();
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "Patient/p%02u", i);
        (void)snprintf(body, sizeof body,
                       "{'resourceType':'Patient','id':'p%02u','gender':'%s',"
                       "'birthDate':'20%02u-01-01'}",
                       i, i % 2 ? "male" : "female", 99 - i);
        PUT_NEW(path, body);
    }
}

#define ALL_10                                                                       \
    "Patient/p00, Patient/p01, Patient/p02, Patient/p03, Patient/p04, Patient/p05, " \
    "Patient/p06, Patient/p07, Patient/p08, Patient/p09"

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* What all pages from here on have, sorted or in their order. Between the pages one that comes
 * later is deleted, one that came is changed, and a new one is written. */
static const char *all_pages(const char *path, size_t count, bool sorted, bool writing)
{
    static char names[100][20], all[4096];
    char next[2000];
    size_t n = 0, len = 0;
    (void)snprintf(next, sizeof next, "%s", path);
    for (unsigned pages = 0;; pages++) {
        char pointer[60];
        assert_in_range(pages, 0, 30);
        GOT(next);
        size_t here_n = yyjson_arr_size(value_at("/entry"));
        sv link = link_to("next");
        /* Only the last page is short. */
        assert_in_range(here_n, link.ptr ? count : 0, count);
        for (size_t i = 0; i < here_n; i++) {
            (void)snprintf(pointer, sizeof pointer, "/entry/%zu/resource/id", i);
            assert_true(n < 100);
            (void)snprintf(names[n++], sizeof names[0], "Patient/%.*s", SV_FMT(said(pointer)));
        }
        if (link.ptr == NULL)
            break;
        (void)snprintf(next, sizeof next, "%.*s", SV_FMT(link));
        if (writing && pages == 0) {
            PUT_AGAIN("Patient/p01", "{'resourceType':'Patient','id':'p01','birthDate':'1900'}");
            DELETED("Patient/p08");
            PUT_NEW("Patient/p055", "{'resourceType':'Patient','id':'p055','birthDate':'2094'}");
        }
    }
    if (sorted)
        qsort(names, n, sizeof names[0], by_text);
    all[0] = 0;
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(all + len, sizeof all - len, "%s%s", i ? ", " : "", names[i]);
    return all;
}

TEST(page, pages_never_skip_or_repeat_whatever_is_written_meanwhile)
{
    (void)state;
    filled_store(10);
    assert_string_equal(all_pages("Patient?_count=3", 3, true, true), ALL_10);
    filled_store(10);
    assert_string_equal(all_pages("Patient?_count=3&_sort=_id", 3, false, true), ALL_10);
    filled_store(10);
    assert_string_equal(all_pages("Patient?_count=4&birthdate=ge2000", 4, true, true), ALL_10);
    /* pages of one */
    filled_store(10);
    assert_string_equal(all_pages("Patient?_count=1", 1, true, true), ALL_10);
}

TEST(page, a_sort_holds_across_pages)
{
    (void)state;
    filled_store(10);
    assert_string_equal(all_pages("Patient?_count=3&_sort=-birthdate", 3, false, false), ALL_10);
    assert_string_equal(all_pages("Patient?_count=3&_sort=birthdate&gender=male", 3, false, false),
                        "Patient/p09, Patient/p07, Patient/p05, Patient/p03, Patient/p01");
    assert_string_equal(all_pages("Patient?_count=4&_sort=gender,-_id", 4, false, false),
                        "Patient/p08, Patient/p06, Patient/p04, Patient/p02, Patient/p00, "
                        "Patient/p09, Patient/p07, Patient/p05, Patient/p03, Patient/p01");
    ASKED(400, "GET", "Patient?_sort=shoesize", "", NULL);
    /* Types share no order. */
    ASKED(400, "GET", "?_type=Patient,Basic&_sort=_id", "", NULL);
}

TEST(page, that_holds_the_last_match_has_no_next_link)
{
    (void)state;
    filled_store(4);
    static const char *const whole[] = { "Patient?_count=4", "Patient?_count=4&_sort=_id",
                                         "Patient?_count=5", "Patient",
                                         "Patient?gender=male&_count=2" };
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        GOT(whole[i]);
        SAYS("/resourceType", "Bundle");
        SAYS("/type", "searchset");
        SAYS("/entry/0/search/mode", "match");
        assert_non_null(link_to("self").ptr);
        assert_null(link_to("next").ptr);
    }
    GOT("Patient?_count=3&_sort=_id");
    ENTRIES(MODE, "Patient/p00 match, Patient/p01 match, Patient/p02 match");
    assert_true(follow_link("next"));
    ENTRIES(MODE, "Patient/p03 match");
    assert_null(link_to("next").ptr);
}

TEST(page, nothing_is_found_without_an_array)
{
    (void)state;
    fresh_store();
    GOT("Patient?_total=accurate");
    SAYS("/type", "searchset");
    SAYS("/total", "0");
    assert_null(value_at("/entry"));
    assert_non_null(link_to("self").ptr);
}

TEST(page, a_total_counts_all_matches_as_of_the_pages)
{
    (void)state;
    filled_store(10);
    static const char *const asked[] = { "Patient?_total=accurate&_count=3",
                                         "Patient?_total=accurate&_count=3&_sort=_id",
                                         "Patient?_total=estimate&_count=3" };
    for (size_t i = 0; i < 3; i++) {
        filled_store(10);
        GOT(asked[i]);
        SAYS("/total", "10");
        char next[2000];
        (void)snprintf(next, sizeof next, "%.*s", SV_FMT(link_to("next")));
        DELETED("Patient/p09");
        DELETED("Patient/p00");
        PUT_NEW("Patient/new", "{'resourceType':'Patient','id':'new'}");
        GOT(next);
        SAYS("/total", "10");
    }
    GOT("Patient?_total=accurate&gender=male&_count=1");
    SAYS("/total", "4");
    GOT("Patient?_total=accurate&gender=male&birthdate=ge2095");
    SAYS("/total", "2");
    GOT("Patient?_total=accurate&gender=male,female");
    SAYS("/total", "8");
    GOT("Patient?_total=none&_count=1");
    assert_null(value_at("/total"));
    ASKED(400, "GET", "Patient?_total=some", "", NULL);
}

TEST(page, a_count_of_matches_comes_without_them)
{
    (void)state;
    filled_store(5);
    static const char *const asked[] = { "Patient?gender=female&_summary=count",
                                         "Patient?gender=female&_count=0",
                                         "Patient?gender=female&_count=0&_sort=_id" };
    for (size_t i = 0; i < 3; i++) {
        GOT(asked[i]);
        SAYS("/total", "3");
        assert_null(value_at("/entry"));
        assert_null(link_to("next").ptr);
    }
}

TEST(page, a_count_is_a_wish)
{
    (void)state;
    char path[100];
    filled_store(3);
    /* More than a page holds means as much as it holds. */
    GOT("Patient?_count=1000000");
    assert_int_equal(yyjson_arr_size(value_at("/entry")), 3);
    static const char *const bad[] = { "-1", "x", "1.5" };
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "Patient?_count=%s", bad[i]);
        ASKED(400, "GET", path, "", NULL);
    }
}

TEST(page, the_self_link_says_what_was_understood)
{
    (void)state;
    filled_store(3);
    GOT("Patient?gender=male&shoesize=44&_sort=_id");
    SAYS("/entry/1/search/mode", "outcome");
    SAYS("/entry/1/resource/resourceType", "OperationOutcome");
    sv self = link_to("self");
    assert_non_null(memmem(self.ptr, self.len, "gender=male", 11));
    assert_null(memmem(self.ptr, self.len, "shoesize", 8));
    assert_true(follow_link("self"));
    ENTRIES(MODE, "Patient/p01 match");
    ASKED(400, "GET", "Patient?shoesize=44", "Prefer: handling=strict\n", NULL);
}

#define FORM "Content-Type: application/x-www-form-urlencoded\n"

TEST(page, links_of_a_post_do_not_repeat_its_body)
{
    (void)state;
    filled_store(6);
    ASKED(200, "POST", "Patient/_search", FORM, "gender=male&_sort=_id&_count=2");
    ENTRIES(MODE, "Patient/p01 match, Patient/p03 match");
    assert_false(mentions("gender="));
    char self[2000];
    (void)snprintf(self, sizeof self, "%.*s", SV_FMT(link_to("self")));
    assert_true(follow_link("next"));
    ENTRIES(MODE, "Patient/p05 match");
    assert_false(mentions("gender="));
    GOT(self);
    ENTRIES(MODE, "Patient/p01 match, Patient/p03 match");
}

TEST(page, a_token_is_good_for_its_own_search)
{
    (void)state;
    char path[2000];
    filled_store(4);
    GOT("Patient?_count=2");
    sv link = link_to("next");
    assert_true(sv_starts(link, SV_LIT("Patient?")));
    (void)snprintf(path, sizeof path, "Basic%.*s", SV_FMT(sv_tail(link, 7)));
    ASKED(400, "GET", path, "", NULL);
    ASKED(400, "GET", "Patient?page=nonsense", "", NULL);
}

TEST(page, a_search_of_several_types_pages_too)
{
    (void)state;
    filled_store(3);
    PUT_NEW("Basic/b", "{'resourceType':'Basic','id':'b','code':{'text':'x'}}");
    PUT_NEW("Group/g", "{'resourceType':'Group','id':'g','type':'person','actual':true}");
    size_t n = 0, n_basic = 0;
    GOT("?_type=Patient,Basic&_count=1&_total=accurate");
    for (;; n++) {
        SAYS("/total", "4");
        assert_int_equal(yyjson_arr_size(value_at("/entry")), 1);
        n_basic += sv_eq(entries(NULL, false), SV_LIT("Basic/b"));
        assert_false(sv_eq(entries(NULL, false), SV_LIT("Group/g")));
        if (n == 10 || !follow_link("next"))
            break;
    }
    assert_int_equal(n, 3);
    assert_int_equal(n_basic, 1);
}

ASKING_MAIN(T(page, pages_never_skip_or_repeat_whatever_is_written_meanwhile),
            T(page, a_sort_holds_across_pages), T(page, that_holds_the_last_match_has_no_next_link),
            T(page, nothing_is_found_without_an_array),
            T(page, a_total_counts_all_matches_as_of_the_pages),
            T(page, a_count_of_matches_comes_without_them), T(page, a_count_is_a_wish),
            T(page, the_self_link_says_what_was_understood),
            T(page, links_of_a_post_do_not_repeat_its_body),
            T(page, a_token_is_good_for_its_own_search),
            T(page, a_search_of_several_types_pages_too))
