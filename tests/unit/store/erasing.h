/* erasing.h - what is written to be erased; random histories of two stores at a time in which
 * resources and versions are erased, too. The first one is in memory. */
#pragma once
#include "store/history.h"

#define OPEN_MOST 3u
#define COUNTED   SV_LIT("erase/all")

/* ---- what is written ---- */

static void put(struct store *st, fhir_type type, const char *id)
{
    struct arena *a = arena_new(1 << 20);
    struct store_commit c;
    struct store_write w = { .type = type, .id = sv_from(id), .method = STORE_METHOD_UPDATE };
    w.body = make(a, type, w.id);
    w.index = index_of(a, type, w.body.json);
    OK(store_commit(st, &w, 1, &c, e));
    arena_free(a);
}

static struct store_bulk *fill(struct store *st, unsigned n, const char *before)
{
    struct arena *a = arena_new(16 << 20);
    struct store_bulk_item *items = arena_calloc(a, n, sizeof *items);
    struct store_bulk *b;
    for (unsigned i = 0; i < n; i++) {
        items[i] = (struct store_bulk_item){ .type = patient, .seq = i };
        items[i].id = arena_fmt(a, "%s%u", before, i);
        items[i].body = make(a, patient, items[i].id);
        items[i].index = index_of(a, patient, items[i].body.json);
    }
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, items, n, e));
    arena_free(a);
    return b;
}

static void load(struct store *st, unsigned n, const char *before)
{
    struct store_bulk *b = fill(st, n, before);
    struct store_commit c;
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &c, e));
}

/* ---- random histories ---- */

/* Both have erased as many, also behind openings. */
static void compare_erased(struct history *h)
{
    struct store_erased n[2];
    for (size_t i = 0; i < 2; i++)
        OK(store_erased_get(h->of[i], COUNTED, &n[i], e));
    assert_int_equal(n[0].resources, n[1].resources);
    assert_int_equal(n[0].versions, n[1].versions);
}

/* All of a resource, or one of its versions that is not the current one. */
static void erase_some(struct history *h)
{
    const fhir_type type = rnd(3) ? patient : observation;
    const sv id = arena_sv(h->a, sv_from(random_id()));
    const bool all = rnd(3);
    bool any[2] = { false };
    struct err why;
    err_code rc[2] = { ERR_OK, ERR_OK };
    uint64_t t = 0;
    if (h->n_open)
        return;
    if (!all) {
        struct store_cursor *c;
        struct store_version v;
        unsigned n = 0;
        OK(store_history(h->of[0], type, id, STORE_NOW, &c, e));
        while (store_cursor_next(c, &v, &why) == ERR_OK)
            if (t == 0 || rnd(++n) == 0)
                t = v.t;
        store_cursor_close(c);
        if (t == 0)
            return;
    }
    for (size_t i = 0; i < 2; i++) {
        store_number number;
        if (store_number_of(h->of[i], type, id, &number, &why) == ERR_OK)
            rc[i] = store_erase(h->of[i], number, t, COUNTED, &any[i], &why);
        else
            rc[i] = ERR_NOT_FOUND;
    }
    /* an engine that is not in memory knows ids that loads brought which never came to be
     * published */
    if (rc[0] != ERR_NOT_FOUND) {
        assert_int_equal(rc[0], rc[1]);
        assert_int_equal(any[0], any[1]);
    }
    compare_erased(h);
}

static void step(struct history *h)
{
    const unsigned what = rnd(100);
    arena_reset(h->a);
    if (what < 50)
        commit_some(h);
    else if (what < 66 && h->n_open < OPEN_MOST)
        load_some(h);
    else if (what < 82 && h->n_open)
        publish_one(h);
    else if (what < 85)
        give_up(h);
    else
        erase_some(h);
}

static void compare_counts(struct history *h)
{
    for (int k = 0; k < 2; k++) {
        uint64_t n[2];
        struct store_commit at;
        for (size_t i = 0; i < 2; i++)
            OK(store_count(h->of[i], k ? patient : observation, 0, SV_NONE, &n[i], &at, e));
        assert_int_equal(n[0], n[1]);
    }
}

/* Everything but the log, whose rows stay. */
static void compare_all(struct history *h)
{
    struct store *a = h->of[0], *b = h->of[1];
    const uint64_t last = last_of(a).t;
    const uint64_t t = rnd(3) ? last - rnd((unsigned)(last / 2 + 1)) : STORE_NOW;
    const uint64_t after = rnd((unsigned)last + 1);
    assert_int_equal(last, last_of(b).t);
    for (int k = 0; k < 2; k++) {
        const fhir_type type = k ? patient : observation;
        compare_scans(a, b, type, t);
        compare_changes(a, b, type, after, t);
        compare_one(a, b, type, sv_from(random_id()), t);
        check_plan(b, 1000);
    }
    compare_counts(h);
    compare_erased(h);
}
