/* Histories of a resource, a type and the system: each version once, newest first.
 * Source: FHIR R4 http.html#history, bundle.html (bdl-3, bdl-4); docs/api-fhir.md. */
#include "rest/entries.h"

#include "base/clock.h"

#define P(id, more) "{'resourceType':'Patient','id':'" id "'" more "}"
#define BASIC(id)   "{'resourceType':'Basic','id':'" id "','code':{'text':'x'}}"

/* The next commit has a later instant than all before. */
static void later(void)
{
    int64_t now = clock_wall_ms();
    while (clock_wall_ms() <= now)
        ;
}

/* Each entry as "METHOD Type/id/_history/N STATUS", by comma; it lives until the next call. */
static const char *told(void)
{
    static char out[8192];
    yyjson_val *list = value_at("/entry"), *one;
    int len = 0;
    out[0] = 0;
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    while (list && (one = yyjson_arr_iter_next(&it)) != NULL) {
        sv method = json_string(yyjson_ptr_get(one, "/request/method"));
        len +=
            snprintf(out + len, sizeof out - (size_t)len, "%s%.*s %.*s %.*s", len ? ", " : "",
                     SV_FMT(method), SV_FMT(json_string(yyjson_ptr_get(one, "/response/location"))),
                     SV_FMT(json_string(yyjson_ptr_get(one, "/response/status"))));
        assert_in_range(len, 1, sizeof out - 1);
        /* bdl-3, bdl-4: both are in every entry; a deletion alone has no resource. */
        assert_true(yyjson_is_obj(json_get(one, "resource")) == !sv_eq(method, SV_LIT("DELETE")));
        assert_non_null(json_string(yyjson_ptr_get(one, "/request/url")).ptr);
        assert_non_null(json_string(json_get(one, "fullUrl")).ptr);
    }
    return out;
}
#define TELLS(text) assert_string_equal(told(), (text))

/* The instants of the versions of Patient/p. */
static char when[5][40];

static void keep_instant(unsigned version)
{
    (void)snprintf(when[version], sizeof when[version], "%.*s", SV_FMT(said("/meta/lastUpdated")));
    later();
}

/* Patient/p is created, changed, deleted and made again; Basic/b comes in between. */
static void filled_store(void)
{
    fresh_store();
    PUT_NEW("Patient/p", P("p", ""));
    keep_instant(1);
    PUT_AGAIN("Patient/p", P("p", ",'active':true"));
    keep_instant(2);
    PUT_NEW("Basic/b", BASIC("b"));
    later();
    DELETED("Patient/p");
    GOT("Patient/p/_history?_count=1");
    (void)snprintf(when[3], sizeof when[3], "%.*s", SV_FMT(said("/entry/0/response/lastModified")));
    later();
    PUT_NEW("Patient/q", P("q", ""));
    later();
}

#define P1 "PUT Patient/p/_history/1 201"
#define P2 "PUT Patient/p/_history/2 200"
#define P3 "DELETE Patient/p/_history/3 204"
#define B1 "PUT Basic/b/_history/1 201"
#define Q1 "PUT Patient/q/_history/1 201"

TEST(history, is_newest_first_with_deletions)
{
    (void)state;
    filled_store();
    GOT("Patient/p/_history");
    SAYS("/resourceType", "Bundle");
    SAYS("/type", "history");
    TELLS(P3 ", " P2 ", " P1);
    SAYS("/entry/0/request/url", "Patient/p");
    SAYS("/entry/0/response/etag", "W/\"3\"");
    SAYS("/entry/1/resource/meta/versionId", "2");
    assert_true(yyjson_is_true(value_at("/entry/1/resource/active")));
    SAYS("/entry/2/resource/meta/versionId", "1");
    assert_null(value_at("/entry/2/resource/active"));
    assert_sv(said("/entry/2/response/lastModified"), sv_from(when[1]));
    GOT("Patient/_history");
    TELLS(Q1 ", " P3 ", " P2 ", " P1);
    GOT("Basic/_history");
    TELLS(B1);
    GOT("_history");
    TELLS(Q1 ", " P3 ", " B1 ", " P2 ", " P1);
}

TEST(history, tells_a_post_from_a_put)
{
    (void)state;
    fresh_store();
    ASKED(201, "POST", "Patient", "", "{'resourceType':'Patient'}");
    GOT("_history");
    SAYS("/entry/0/request/method", "POST");
    /* A POST goes to the type. */
    SAYS("/entry/0/request/url", "Patient");
    SAYS("/entry/0/response/status", "201");
}

TEST(history, goes_on_after_a_deletion)
{
    (void)state;
    filled_store();
    PUT_NEW("Patient/p", P("p", ""));
    GOT("Patient/p/_history?_count=2");
    SAYS("/entry/0/response/location", "Patient/p/_history/4");
    SAYS("/entry/1/request/method", "DELETE");
    /* each entry has the status that its write answered */
    PUT_AGAIN("Patient/p", P("p", ",'active':false"));
    GOT("Patient/p/_history");
    TELLS("PUT Patient/p/_history/5 200, PUT Patient/p/_history/4 201, " P3 ", " P2 ", " P1);
    GOT("Patient/_history?_count=2");
    TELLS("PUT Patient/p/_history/5 200, PUT Patient/p/_history/4 201");
}

TEST(history, of_what_never_was_is_404_and_of_an_unused_type_is_empty)
{
    (void)state;
    filled_store();
    ASKED(404, "GET", "Patient/never/_history", "", NULL);
    ASKED(404, "GET", "Nothing/_history", "", NULL);
    GOT("Group/_history");
    SAYS("/type", "history");
    /* FHIR has no empty arrays. */
    assert_null(value_at("/entry"));
}

/* All pages from here on, one after the other; a version is written before each next link. */
static sv all_pages(const char *path, bool writing)
{
    static char all[8192];
    char next[2000];
    int len = 0;
    (void)snprintf(next, sizeof next, "%s", path);
    for (unsigned pages = 1;; pages++) {
        assert_in_range(pages, 1, 20);
        GOT(next);
        len += snprintf(all + len, sizeof all - (size_t)len, "%s%s", len ? ", " : "", told());
        sv link = link_to("next");
        if (link.ptr == NULL)
            return sv_make(all, (size_t)len);
        (void)snprintf(next, sizeof next, "%.*s", SV_FMT(link));
        if (writing)
            PUT_AGAIN("Patient/q", P("q", ""));
    }
}

TEST(history, pages_never_skip_or_repeat_whatever_is_written_meanwhile)
{
    (void)state;
    filled_store();
    assert_sv(all_pages("Patient/p/_history?_count=1", true), SV_LIT(P3 ", " P2 ", " P1));
    filled_store();
    assert_sv(all_pages("Patient/_history?_count=1", true), SV_LIT(Q1 ", " P3 ", " P2 ", " P1));
    filled_store();
    assert_sv(all_pages("_history?_count=2", true), SV_LIT(Q1 ", " P3 ", " B1 ", " P2 ", " P1));
    /* A page that ends with the last version has no next one. */
    GOT("Patient/p/_history?_count=3");
    assert_null(link_to("next").ptr);
}

TEST(history, pages_cut_a_commit_of_many)
{
    (void)state;
    fresh_store();
    DONE(ENTRY("PUT", "Patient/a", RESOURCE(P("a", ""))),
         ENTRY("PUT", "Patient/b", RESOURCE(P("b", ""))),
         ENTRY("PUT", "Patient/c", RESOURCE(P("c", ""))),
         ENTRY("PUT", "Basic/a", RESOURCE(BASIC("a"))),
         ENTRY("PUT", "Basic/b", RESOURCE(BASIC("b"))));
    GOT("_history");
    char whole[2000];
    (void)snprintf(whole, sizeof whole, "%s", told());
    assert_int_equal(yyjson_arr_size(value_at("/entry")), 5);
    assert_sv(all_pages("_history?_count=1", false), sv_from(whole));
    assert_sv(all_pages("_history?_count=2", false), sv_from(whole));
    assert_sv(all_pages("_history?_count=3", false), sv_from(whole));
}

/* Ask with the instant of a version. */
static void got_since(const char *what, const char *param, unsigned version)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s?%s=%s", what, param, when[version]);
    GOT(path);
}

TEST(history, since_is_inclusive)
{
    (void)state;
    filled_store();
    got_since("Patient/p/_history", "_since", 2);
    TELLS(P3 ", " P2);
    got_since("_history", "_since", 3);
    TELLS(Q1 ", " P3);
    GOT("_history?_since=2999-01-01T00:00:00Z");
    TELLS("");
    ASKED(400, "GET", "_history?_since=yesterday", "", NULL);
    /* An instant has a time. */
    ASKED(400, "GET", "_history?_since=2020-01-01", "", NULL);
}

TEST(history, at_has_what_was_current_at_some_time_of_it)
{
    (void)state;
    filled_store();
    static const char *const of[] = { "Patient/p/_history", "Patient/_history", "_history" };
    for (size_t i = 0; i < 3; i++) {
        /* the very moment of a version: it alone was current */
        got_since(of[i], "_at", 1);
        TELLS(P1);
        got_since(of[i], "_at", 2);
        TELLS(P2);
    }
    got_since("Patient/p/_history", "_at", 3);
    TELLS(P3);
    /* Another resource was current at that time too. */
    got_since("_history", "_at", 3);
    TELLS(P3 ", " B1);
    /* Long after: what is current now, the deletion among it. */
    GOT("_history?_at=2999");
    TELLS(Q1 ", " P3 ", " B1);
    GOT("Patient/p/_history?_at=2999");
    TELLS(P3);
    /* Long before: nothing. */
    GOT("_history?_at=1999");
    TELLS("");
    GOT("Patient/p/_history?_at=1999");
    TELLS("");
    /* a year that holds them all */
    char path[100];
    (void)snprintf(path, sizeof path, "_history?_at=%.4s", when[1]);
    GOT(path);
    TELLS(Q1 ", " P3 ", " B1 ", " P2 ", " P1);
    ASKED(400, "GET", "_history?_at=yesterday", "", NULL);
}

TEST(history, refuses_counts_and_tokens_that_mean_nothing)
{
    (void)state;
    filled_store();
    static const char *const bad[] = { "_count=0", "_count=-1", "_count=x", "_count=1001",
                                       "page=nonsense" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char path[100];
        (void)snprintf(path, sizeof path, "_history?%s", bad[i]);
        ASKED(400, "GET", path, "", NULL);
    }
    /* A token of one history is no token of another. */
    char path[1000];
    GOT("Patient/_history?_count=1");
    (void)snprintf(path, sizeof path, "%.*s",
                   SV_FMT(sv_tail(link_to("next"), sizeof "Patient/" - 1)));
    ASKED(400, "GET", path, "", NULL);
}

ASKING_MAIN(T(history, is_newest_first_with_deletions), T(history, tells_a_post_from_a_put),
            T(history, goes_on_after_a_deletion),
            T(history, of_what_never_was_is_404_and_of_an_unused_type_is_empty),
            T(history, pages_never_skip_or_repeat_whatever_is_written_meanwhile),
            T(history, pages_cut_a_commit_of_many), T(history, since_is_inclusive),
            T(history, at_has_what_was_current_at_some_time_of_it),
            T(history, refuses_counts_and_tokens_that_mean_nothing))
