/* Steps over a checked text: names and values come out as they stand. */
#include "test.h"

#include "codec/json_scan.h"

TEST(json_scan, members_come_in_the_order_of_the_text_with_their_escapes)
{
    (void)state;
    static const struct {
        const char *key, *value;
    } want[] = { { "a\\u0062", "\"x\\\"}\"" },
                 { "n", "-1.50e+3" },
                 { "n", "true" },
                 { "o", "{ \"p\" : [ { } , [ ] ] }" },
                 { "", "null" } };
    struct json_scan s =
        json_scan_of(SV_LIT(" { \"a\\u0062\" : \"x\\\"}\" ,\"n\":-1.50e+3, \"n\":true,"
                            "\"o\":{ \"p\" : [ { } , [ ] ] },\"\":null } tail"));
    json_scan_blank(&s);
    json_scan_open(&s);
    size_t n = 0;
    for (; json_scan_next(&s); n++) {
        assert_in_range(n, 0, 4);
        sv key = json_scan_key(&s), value = json_scan_value(&s);
        if (!sv_eq_cstr(key, want[n].key) || !sv_eq_cstr(value, want[n].value))
            fail_msg("%zu: %.*s is %.*s", n, SV_FMT(key), SV_FMT(value));
    }
    assert_int_equal(n, 5);
    assert_memory_equal(s.p, " tail", 5);
}

TEST(json_scan, items_come_one_by_one_and_an_empty_array_has_none)
{
    (void)state;
    struct json_scan s = json_scan_of(SV_LIT("[1,[2,3],\"]\"]")),
                     none = json_scan_of(SV_LIT("[ ]"));
    size_t n = 0;
    json_scan_open(&none);
    assert_false(json_scan_next(&none));
    json_scan_open(&s);
    while (json_scan_next(&s)) {
        (void)json_scan_value(&s);
        n++;
    }
    assert_int_equal(n, 3);
    assert_ptr_equal(s.p, s.end);
}

TEST_MAIN(T(json_scan, members_come_in_the_order_of_the_text_with_their_escapes),
          T(json_scan, items_come_one_by_one_and_an_empty_array_has_none))
