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
    assert_bytes(KEY(key_version(0x66, SV_LIT("a1"), KEY_ONLINE, 5)), "6661310001fffffffffffffffa");
    assert_bytes(KEY(key_version(0x66, SV_LIT("a1"), KEY_BULK, 5)), "6661310000fffffffffffffffa");
    assert_bytes(KEY(key_change(0x66, KEY_ONLINE, 5, SV_LIT("a1"))), "660100000000000000056131");
    assert_bytes(KEY(key_commit('c', 258)), "630000000000000102");
    size_t n = key_search(0x66, 0x0102, SV_LIT("val"), SV_LIT("a1"), KEY_BULK, 7, search);
    assert_bytes(sv_make(search, n), "66010276616c613100000000000000000703");
}

TEST(keys, of_one_id_stand_together_loads_first_and_the_newest_first)
{
    (void)state;
    const struct key_bytes in_order[] = {
        key_version(1, SV_LIT("a"), KEY_BULK, 9),
        key_version(1, SV_LIT("a"), KEY_BULK, 1),
        key_version(1, SV_LIT("a"), KEY_ONLINE, 8),
        key_version(1, SV_LIT("a"), KEY_ONLINE, 2),
        key_after_id(1, SV_LIT("a")),
        key_version(1, SV_LIT("a-"), KEY_BULK, 9),
        key_version(1, SV_LIT("a0"), KEY_BULK, 9),
        key_after_type(1),
        key_version(2, SV_LIT("a"), KEY_BULK, 9),
    };
    for (size_t i = 1; i < sizeof in_order / sizeof in_order[0]; i++)
        if (sv_cmp(KEY(in_order[i - 1]), KEY(in_order[i])) >= 0)
            fail_msg("key %zu is not in front of the next", i - 1);
}

TEST(keys, of_versions_split_into_what_they_were_made_of)
{
    (void)state;
    char id[FHIR_ID_MAX];
    memset(id, 'z', sizeof id);
    struct key_bytes k = key_version(146, sv_make(id, sizeof id), KEY_ONLINE, UINT64_MAX - 1);
    struct key_version_parts p;
    assert_true(key_version_split(KEY(k), &p));
    assert_int_equal(p.type, 146);
    assert_sv(p.id, sv_make(id, sizeof id));
    assert_int_equal(p.kind, KEY_ONLINE);
    assert_true(p.n == UINT64_MAX - 1);
    for (size_t cut = 0; cut < 12; cut++)
        assert_false(key_version_split(sv_make(k.ptr, cut), &p));
    /* no kind */
    k.ptr[k.len - 9] = 2;
    assert_false(key_version_split(KEY(k), &p));
}

TEST(keys, of_search_entries_split_at_the_length_they_end_with)
{
    (void)state;
    char key[KEY_SEARCH_MAX];
    size_t n = key_search(1, 2, SV_LIT("value"), SV_LIT("id"), KEY_ONLINE, 77, key);
    struct key_search_parts p;
    assert_true(key_search_split(sv_make(key, n), &p));
    assert_sv(p.value, SV_LIT("value"));
    assert_sv(p.id, SV_LIT("id"));
    assert_int_equal(p.n, 77);
    /* a value that leaves no id */
    key[n - 1] = 7;
    assert_false(key_search_split(sv_make(key, n), &p));
    key[n - 1] = (char)(SEARCH_KEY_MAX + 1);
    assert_false(key_search_split(sv_make(key, n), &p));
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
    sv json = SV_LIT("{\"resourceType\":\"Patient\"}");
    for (int online = 0; online < 2; online++) {
        char bytes[VALUE_HEAD_MAX + 64];
        struct value_head got, h = { .method = online ? STORE_METHOD_UPDATE : STORE_METHOD_IMPORT,
                                     .online = online,
                                     .version = online ? 1u << 20 : 0,
                                     .instant_ms = online ? 1700000000000 : 0,
                                     .body = { json, 24, FHIR_HOLE_NO_META } };
        size_t n = value_head_put(&h, bytes);
        memcpy(bytes + n, json.ptr, json.len);
        assert_true(value_split(sv_make(bytes, n + json.len), &got));
        assert_int_equal(got.method, h.method);
        assert_int_equal(got.online, h.online);
        assert_int_equal(got.version, h.version);
        assert_true(got.instant_ms == h.instant_ms);
        assert_int_equal(got.body.hole_at, 24);
        assert_sv(got.body.json, json);
        /* the hole is behind its end */
        assert_false(value_split(sv_make(bytes, n + 23), &got));
        assert_false(value_split(SV_NONE, &got));
    }
}

TEST_MAIN(T(keys, have_the_bytes_that_stand_on_disk),
          T(keys, of_one_id_stand_together_loads_first_and_the_newest_first),
          T(keys, of_versions_split_into_what_they_were_made_of),
          T(keys, of_search_entries_split_at_the_length_they_end_with),
          T(keys, the_value_of_a_commit_says_its_instant_and_of_older_programs_no_form),
          T(keys, the_header_of_a_version_comes_back_with_the_json_behind_it))
