/* test_keys.c - the bytes of keys and values: those of docs/key-layout.md, in an order that readers
 * rely on, and nothing else is taken for one. */
#include "test.h"

#include "store/rocks/keys.h"

#define KEY(k) sv_make((k).ptr, (k).len)

static void assert_bytes(sv got, const char *hex)
{
    char text[3 * KEY_SEARCH_MAX] = "";
    for (size_t i = 0; i < got.len; i++)
        (void)snprintf(text + 2 * i, sizeof text - 2 * i, "%02x", (unsigned char)got.ptr[i]);
    assert_string_equal(text, hex);
}

TEST(keys, have_the_bytes_that_stand_on_disk)
{
    (void)state;
    char search[KEY_SEARCH_MAX];
    /* b 0x123, type 0x66, k 0x45678 */
    const store_number n1 = number_make(0x123, 0x66, 0x45678);
    assert_bytes(KEY(key_number(n1)), "0000001236645678");
    assert_bytes(KEY(key_version(n1, KEY_ONLINE, 5)), "000000123664567801fffffffffffffffa");
    assert_bytes(KEY(key_version(n1, KEY_BULK, 5)), "000000123664567800fffffffffffffffa");
    assert_bytes(KEY(key_change(0x66, KEY_ONLINE, 5, n1)), "660100000000000000050000001236645678");
    assert_bytes(KEY(key_change(0x66, KEY_BIRTHS, 5, 0)), "66020000000000000005");
    assert_bytes(KEY(key_commit('c', 258)), "630000000000000102");
    size_t n = key_search(0x66, 0x0102, SV_LIT("val"), n1, ENTRY_BIRTHS, 0, search);
    assert_bytes(sv_make(search, n), "66010276616c00000012366456780003");
    n = key_search(0x66, 0x0102, SV_LIT("val"), n1, ENTRY_LOAD, 7, search);
    assert_bytes(sv_make(search, n), "66010276616c000000123664567801000000000000000703");
}

TEST(keys, of_one_resource_stand_together_loads_first_and_the_newest_first)
{
    (void)state;
    const store_number a = number_make(3, 1, 7), b = number_make(3, 2, 0), c = number_make(4, 1, 0);
    const struct key_bytes in_order[] = {
        key_number(a),
        key_version(a, KEY_BULK, 9),
        key_version(a, KEY_BULK, 1),
        key_version(a, KEY_ONLINE, 8),
        key_version(a, KEY_ONLINE, 2),
        key_number(a + 1),
        key_version(a + 1, KEY_BULK, 9),
        key_version(b, KEY_BULK, 9),
        key_version(c, KEY_BULK, 9),
        key_end(0),
    };
    for (size_t i = 1; i < sizeof in_order / sizeof in_order[0]; i++)
        if (sv_cmp(KEY(in_order[i - 1]), KEY(in_order[i])) >= 0)
            fail_msg("key %zu is not in front of the next", i - 1);
}

TEST(keys, of_versions_split_into_what_they_were_made_of)
{
    (void)state;
    const store_number n = number_make(77, 146, NUMBER_K_MOST - 1);
    struct key_bytes k = key_version(n, KEY_ONLINE, UINT64_MAX - 1);
    struct key_version_parts p;
    assert_true(key_version_split(KEY(k), &p));
    assert_true(p.number == n);
    assert_int_equal(p.kind, KEY_ONLINE);
    assert_true(p.n == UINT64_MAX - 1);
    for (size_t cut = 0; cut < k.len; cut++)
        assert_false(key_version_split(sv_make(k.ptr, cut), &p));
    assert_false(key_version_split(sv_make(k.ptr, k.len + 1), &p));
    /* no kind of a version */
    k.ptr[k.len - 9] = KEY_BIRTHS;
    assert_false(key_version_split(KEY(k), &p));
    /* no load has number 0 */
    k = key_version(number_make(0, 146, 1), KEY_BULK, 1);
    assert_false(key_version_split(KEY(k), &p));
}

TEST(keys, the_value_of_births_has_a_count_and_bytes)
{
    (void)state;
    char v[BIRTHS_VALUE_BYTES];
    struct births got, x = { NUMBER_K_MOST, (1ULL << 40) - 1 };
    births_put(&x, v);
    assert_bytes(sv_make(v, sizeof v), "100000ffffffffff");
    assert_true(births_split(sv_make(v, sizeof v), &got));
    assert_true(got.n == x.n && got.json_bytes == x.json_bytes);
    assert_false(births_split(sv_make(v, sizeof v - 1), &got));
    x.n = 0;
    births_put(&x, v);
    assert_false(births_split(sv_make(v, sizeof v), &got));
    x.n = NUMBER_K_MOST + 1;
    births_put(&x, v);
    assert_false(births_split(sv_make(v, sizeof v), &got));
}

TEST(keys, of_search_entries_split_at_the_length_they_end_with)
{
    (void)state;
    char key[KEY_SEARCH_MAX];
    const store_number number = number_make(5, 1, 9);
    struct key_search_parts p;
    size_t n = 0;
    for (unsigned kind = ENTRY_BIRTHS; kind <= ENTRY_ANEW; kind++) {
        /* the load of births is that of the number */
        const uint64_t of = kind == ENTRY_BIRTHS ? 5 : 77;
        n = key_search(1, 2, SV_LIT("value"), number, (entry_kind)kind, kind ? of : 0, key);
        assert_true(key_search_split(sv_make(key, n), &p));
        assert_sv(p.value, SV_LIT("value"));
        assert_true(p.number == number && p.kind == kind && p.n == of);
    }
    static const struct {
        size_t from_end;
        unsigned char byte;
    } wrong[] = {
        { 1, 4 },                  /* a longer number */
        { 1, SEARCH_KEY_MAX + 1 }, /* more than a value has */
        { 10, 4 },                 /* no kind */
        { 10, ENTRY_BIRTHS },      /* births name no load */
        { 13, 0x20 },              /* the number of another type */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char bad[KEY_SEARCH_MAX];
        memcpy(bad, key, n);
        bad[n - wrong[i].from_end] = (char)wrong[i].byte;
        assert_false(key_search_split(sv_make(bad, n), &p));
    }
    assert_false(key_search_split(sv_make(key, n - 1), &p));
    assert_false(key_search_split(sv_make(key, 3), &p));
    assert_false(key_search_split(SV_NONE, &p));
}

TEST(keys, the_value_of_a_commit_says_its_instant_and_of_older_programs_no_form)
{
    (void)state;
    char v[COMMIT_VALUE_BYTES];
    const struct commit_value c = {
        .instant_ms = 1700000000000, .kind = KEY_BULK, .bulk = 12, .n_resources = 345, .form = 2
    };
    struct commit_value got;
    commit_value_put(&c, v);
    assert_bytes(sv_make(v, sizeof v), "0000018bcfe5680000000000000000000c000000000000015902");
    assert_true(commit_value_split(sv_make(v, sizeof v), &got));
    assert_true(got.instant_ms == c.instant_ms);
    assert_int_equal(got.bulk, 12);
    assert_int_equal(got.n_resources, 345);
    assert_int_equal(got.form, 2);
    assert_true(commit_value_split(sv_make(v, sizeof v - 1), &got));
    assert_int_equal(got.form, 0);
    assert_int_equal(got.n_resources, 345);
    assert_true(commit_value_split(sv_make(v, 8), &got));
    assert_int_equal(got.n_resources, 0);
    assert_false(commit_value_split(sv_make(v, 7), &got));
}

TEST(keys, the_header_of_a_version_comes_back_with_the_json_behind_it)
{
    (void)state;
    sv json = SV_LIT("{\"resourceType\":\"Patient\",\"id\":\"here\"}");
    /* one id stands in the JSON, of the other the header has the bytes */
    const sv ids[] = { SV_LIT("here"), SV_LIT("not-in-it") };
    for (int i = 0; i < 4; i++) {
        char bytes[VALUE_HEAD_MAX + 64];
        const bool online = i & 1;
        struct value_head got, h = { .id = ids[i / 2],
                                     .method = online ? STORE_METHOD_UPDATE : STORE_METHOD_IMPORT,
                                     .online = online,
                                     .version = online ? 1u << 20 : 0,
                                     .instant_ms = online ? 1700000000000 : 0,
                                     .body = { json, 24, FHIR_HOLE_NO_META } };
        size_t n = value_head_put(&h, bytes);
        assert_true(i >= 2 || n < 20);
        memcpy(bytes + n, json.ptr, json.len);
        assert_true(value_split(sv_make(bytes, n + json.len), &got));
        assert_sv(got.id, h.id);
        assert_int_equal(got.method, h.method);
        assert_int_equal(got.online, h.online);
        assert_int_equal(got.version, h.version);
        assert_true(got.instant_ms == h.instant_ms);
        assert_int_equal(got.body.hole_at, 24);
        assert_sv(got.body.json, json);
        /* the hole is behind its end, or the id is */
        for (size_t len = 0; len < n + 23; len++)
            assert_false(value_split(sv_make(bytes, len), &got));
        assert_false(value_split(SV_NONE, &got));
    }
}

TEST(keys, the_header_of_a_deletion_has_the_longest_id)
{
    (void)state;
    char id[FHIR_ID_MAX], bytes[VALUE_HEAD_MAX];
    memset(id, 'z', sizeof id);
    struct value_head got, h = { .id = sv_make(id, sizeof id),
                                 .method = STORE_METHOD_DELETE,
                                 .online = true,
                                 .version = UINT64_MAX,
                                 .instant_ms = INT64_MAX,
                                 .body = { .hole_at = 0 } };
    size_t n = value_head_put(&h, bytes);
    assert_true(n <= VALUE_HEAD_MAX);
    assert_true(value_split(sv_make(bytes, n), &got));
    assert_sv(got.id, h.id);
    assert_true(got.version == UINT64_MAX && got.instant_ms == INT64_MAX);
    assert_int_equal(got.method, STORE_METHOD_DELETE);
    /* a length that no id has */
    bytes[2] = FHIR_ID_MAX + 1;
    assert_false(value_split(sv_make(bytes, n), &got));
    bytes[2] = 0;
    assert_false(value_split(sv_make(bytes, n), &got));
}

TEST_MAIN(T(keys, have_the_bytes_that_stand_on_disk),
          T(keys, of_one_resource_stand_together_loads_first_and_the_newest_first),
          T(keys, of_versions_split_into_what_they_were_made_of),
          T(keys, the_value_of_births_has_a_count_and_bytes),
          T(keys, of_search_entries_split_at_the_length_they_end_with),
          T(keys, the_value_of_a_commit_says_its_instant_and_of_older_programs_no_form),
          T(keys, the_header_of_a_version_comes_back_with_the_json_behind_it),
          T(keys, the_header_of_a_deletion_has_the_longest_id))
