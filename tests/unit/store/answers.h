/* answers.h - two data stores with one history answer alike, whatever numbers they give: entries of
 * the search index, counts, instants. Behind comparing.h, which has versions and changes. */
#pragma once
#include "store/comparing.h"
#include "store/last.h"

static bool param_seen[2][65536]; /* of observation, of patient */

/* Parameters of these entries are compared from now on. */
static inline void see_params(fhir_type type, sv index)
{
    uint16_t param;
    sv value;
    while (search_index_next(&index, &param, &value))
        param_seen[type == patient][param] = true;
}

static inline int by_bytes(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

/* All entries of a parameter as of t, as lines: value, id, commit. */
static inline size_t hits(struct store *st, fhir_type type, uint16_t param, uint64_t t,
                          struct arena *a, sv *out, size_t max)
{
    struct search_range all = { .to_len = 0 };
    const struct search_driver d = { .param = param, .ranges = &all, .n = 1 };
    struct store_index_cursor *c;
    struct store_index_hit hit;
    struct err why;
    err_code rc;
    size_t n = 0;
    OK(store_index_scan(st, type, &d, SV_NONE, 0, t, &c, e));
    while ((rc = store_index_next(c, &hit, &why)) == ERR_OK) {
        struct store_version v;
        sv value = arena_sv(a, hit.value);
        OK(store_get_number(st, hit.number, hit.t, a, &v, e));
        assert_true(n < max && v.t == hit.t);
        out[n++] = ARENA_JOIN(a, value, SV_LIT("/"), v.id,
                              arena_fmt(a, "/%llu", (unsigned long long)hit.t));
    }
    assert_int_equal(rc, ERR_EOF);
    store_index_close(c);
    qsort(out, n, sizeof *out, by_bytes);
    return n;
}

static inline void compare_counts(struct store *a, struct store *b, fhir_type type, uint16_t param,
                                  sv value)
{
    uint64_t x, y;
    struct store_commit at;
    OK(store_count(a, type, param, value, &x, &at, e));
    OK(store_count(b, type, param, value, &y, &at, e));
    assert_int_equal(x, y);
}

static inline void compare_index(struct store *a, struct store *b, fhir_type type, uint64_t t)
{
    static sv x[20000], y[20000];
    const size_t max = sizeof x / sizeof x[0];
    for (unsigned param = 1; param < 65536; param++) {
        if (!param_seen[type == patient][param])
            continue;
        struct arena *ar = arena_new(64 << 20);
        size_t n = hits(a, type, (uint16_t)param, t, ar, x, max);
        assert_int_equal(n, hits(b, type, (uint16_t)param, t, ar, y, max));
        for (size_t i = 0; i < n; i++)
            assert_sv(y[i], x[i]);
        /* the oracle counts one by one, so not each of them */
        for (size_t i = rnd(20); i < n && search_is_counted(type, (uint16_t)param); i += 20) {
            compare_counts(a, b, type, (uint16_t)param, sv_head(x[i], SEARCH_CODE_LEN));
            compare_counts(a, b, type, (uint16_t)param, sv_head(x[i], SEARCH_TOKEN_LEN));
        }
        arena_free(ar);
    }
    compare_counts(a, b, type, 0, SV_NONE);
}

/* Every version's instant, which the two do not share as a rule. */
static inline void compare_instants(struct store *a, struct store *b, fhir_type type)
{
    struct store_cursor *c;
    struct store_version v;
    struct err why;
    struct arena *ar = arena_new(16 << 20);
    const struct store_range whole = { .type = type };
    for (uint64_t t = 1; t <= last_of(a).t; t++) {
        OK(store_changes(a, &whole, t - 1, t, &c, e));
        while (store_cursor_next(c, &v, &why) == ERR_OK) {
            struct store_version w;
            OK(store_get(b, type, v.id, t, ar, &w, e));
            assert_int_equal(w.instant_ms, v.instant_ms);
            struct store_commit at;
            OK(store_commit_at(b, v.instant_ms, &at, e));
            assert_true(at.t >= t && at.instant_ms == v.instant_ms);
        }
        store_cursor_close(c);
    }
    arena_free(ar);
}
