/* Search entries of a bulk load: many of them, of every length and alike in their first bytes, over
 * several types, of births and of resources that were known. RocksDB refuses a file that is not in
 * order; what is read back, from PostgreSQL too, is what an in-memory store gives. Numbers differ
 * from store to store, but each gives them in the order of arrival, so ids and their order are
 * compared. */
#include "test.h"

#include "base/file.h"
#include "store/postgres.h"
#include "store/store.h"

#include <stdlib.h>

static uint64_t rnd_state = 7;
static unsigned rnd(unsigned n)
{
    rnd_state = rnd_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(rnd_state >> 33) % n;
}

static void put(struct buf *b, uint16_t param, const unsigned char *v, uint16_t len)
{
    uint16_t head[2] = { len, param };
    OK(buf_add(b, sv_make((const char *)head, sizeof head), e));
    OK(buf_add(b, sv_make((const char *)v, len), e));
}

enum { FIXED_6 = 3, FIXED_9 = 700, TEXT = 40, FEW = 1999 };

/* Entries of one item, no two of them the same. */
static void entries(struct buf *b, unsigned i)
{
    unsigned char v[32];
    /* hashes, some shared by many */
    if (rnd(5)) {
        memset(v, 0, sizeof v);
        v[0] = 'h';
        v[5] = (unsigned char)rnd(3);
        put(b, FIXED_6, v, 6);
        for (int k = 0; k < 6; k++)
            v[k] = (unsigned char)rnd(256);
        put(b, FIXED_6, v, 6);
    }
    if (rnd(3)) {
        v[0] = 'S';
        for (int k = 1; k < 9; k++)
            v[k] = (unsigned char)(k < 8 ? 0 : rnd(200));
        put(b, FIXED_9, v, 9);
    }
    /* texts that begin alike, each ended by a zero */
    if (rnd(4)) {
        uint16_t len = (uint16_t)(1 + rnd(16));
        for (uint16_t k = 0; k < len; k++)
            v[k] = (unsigned char)(k < 9 ? 'a' : 'a' + rnd(3));
        v[len] = 0;
        put(b, TEXT, v, (uint16_t)(len + 1));
    }
    if (i % 1000 == 0)
        put(b, FEW, (const unsigned char *)"few...", 6);
}

/* The id of a resource, into 64 bytes. */
static sv id_of(struct store *st, store_number number, char out[64])
{
    CLEANUP(arena_free) struct arena *a = arena_new(1 << 20);
    struct store_version v;
    OK(store_get_number(st, number, STORE_NOW, a, &v, e));
    memcpy(out, v.id.ptr, v.id.len);
    return sv_make(out, v.id.len);
}

static void scan(struct store *st, fhir_type type, uint16_t param, struct buf *out)
{
    CLEANUP(store_index_close) struct store_index_cursor *c = NULL;
    struct search_range all = { .from_len = 0 };
    struct search_driver d = { param, &all, 1 };
    struct store_index_hit h;
    struct err err;
    err_code rc;
    char id[64];
    OK(store_index_scan(st, type, &d, SV_NONE, 0, STORE_NOW, &c, e));
    while ((rc = store_index_next(c, &h, &err)) == ERR_OK) {
        OK(buf_add(out, h.value, e));
        OK(buf_add_fmt(out, e, "|%.*s|%u\n", SV_FMT(id_of(st, h.number, id)), (unsigned)h.t));
    }
    assert_int_equal(rc, ERR_EOF);
}

/* Ranges in order, apart from each other: of hashes, most of them with nothing in them. */
static size_t some_ranges(struct search_range *r, size_t max)
{
    unsigned at = rnd(40), n = 0;
    memset(r, 0, max * sizeof *r);
    while (n < max && at < 0xFC00) {
        unsigned to = at + 1 + rnd(rnd(3) ? 3 : 900);
        r[n].from_len = r[n].to_len = 2;
        r[n].from[0] = (unsigned char)(at >> 8);
        r[n].from[1] = (unsigned char)at;
        r[n].to[0] = (unsigned char)(to >> 8);
        r[n].to[1] = (unsigned char)to;
        n++;
        at = to + rnd(rnd(2) ? 2 : 6000);
    }
    /* no end */
    if (n && rnd(4) == 0)
        r[n - 1].to_len = 0;
    return n;
}

struct pair {
    struct store *rocks, *memory;
    struct store_index_cursor *x, *y;
    struct store_index_hit h[2]; /* given last */
    char value[32];
    size_t value_len;
};

static bool same_hit(struct pair *p)
{
    struct err err;
    char ids[2][64];
    struct store_index_hit *h = p->h, x, y;
    err_code a = store_index_next(p->x, &x, &err), b = store_index_next(p->y, &y, &err);
    assert_int_equal(a, b);
    if (a == ERR_EOF)
        return false;
    assert_int_equal(a, ERR_OK);
    h[0] = x;
    h[1] = y;
    assert_true(sv_eq(x.value, y.value) && x.t == y.t);
    assert_sv(id_of(p->rocks, x.number, ids[0]), id_of(p->memory, y.number, ids[1]));
    memcpy(p->value, x.value.ptr, p->value_len = x.value.len);
    return true;
}

/* To a resource of the type or, now and then, to none. */
static void seek_both(struct pair *p, fhir_type type, const char *seen, size_t seen_len)
{
    const sv value = sv_make(seen, seen_len);
    store_number x = 0, y = 0;
    struct err err;
    char id[24];
    const unsigned i = rnd(6000);
    for (int width = 1; width <= 20 && rnd(20); width++) {
        (void)snprintf(id, sizeof id, "%0*u", width, i);
        if (store_number_of(p->rocks, type, sv_from(id), &x, &err) == ERR_OK) {
            OK(store_number_of(p->memory, type, sv_from(id), &y, e));
            break;
        }
    }
    if (x == 0 && rnd(2))
        x = y = UINT64_MAX;
    store_index_seek(p->x, value, x);
    store_index_seek(p->y, value, y);
}

/* Both give the entries of the ranges and no other, from the start, behind an entry, and from where
 * they are sent. */
static void ranges_agree(struct store *rocks, struct store *memory, fhir_type type)
{
    struct search_range r[24];
    struct search_driver d = { FIXED_6, r, some_ranges(r, 1 + rnd(24)) };
    struct pair p = { .rocks = rocks, .memory = memory };
    char seen[32];
    size_t seen_len = 0, n = 0;
    bool end = false;
    /* in part, behind that, and with seeks */
    for (unsigned how = 0; how < 3; how++) {
        sv after = how == 1 ? sv_make(p.value, p.value_len) : SV_NONE;
        OK(store_index_scan(rocks, type, &d, after, p.h[0].number, STORE_NOW, &p.x, e));
        OK(store_index_scan(memory, type, &d, after, p.h[1].number, STORE_NOW, &p.y, e));
        for (unsigned stop = rnd(300); (how || stop) && !end; stop -= !how, n++) {
            end = !same_hit(&p);
            /* a place to come back to */
            if (!end && n % 64 == 0)
                memcpy(seen, p.value, seen_len = p.value_len);
            /* back or forth */
            if (!end && how == 2 && seen_len && rnd(40) == 0)
                seek_both(&p, type, seen, seen_len);
            if (n > 4000)
                break;
        }
        store_index_close(p.x);
        store_index_close(p.y);
        if (p.value_len == 0)
            break;
        end = false;
    }
}

static void load(struct store *st, struct store_bulk_item *items, size_t n)
{
    struct store_bulk *b = NULL;
    struct store_commit at;
    OK(store_bulk_begin(st, &b, e));
    OK(store_bulk_fill(b, items, n, e));
    OK(store_bulk_publish(&b, SV_NONE, SV_NONE, &at, e));
}

static void entries_come_back(struct store_env *env, const char *uri)
{
    /* the store in memory looks through what it has for each item */
    enum { N = TEST_SANITIZED ? 2000 : 6000 };
    static const char body[] = "{\"resourceType\":\"Patient\",\"id\":\"x\"}";
    static struct store_bulk_item items[N], copy[N];
    static char ids[N][24];
    static size_t at[N + 1];
    CLEANUP(store_close) struct store *rocks = NULL, *memory = NULL;
    rnd_state = 7;
    OK(store_open(env, uri, true, &rocks, e));
    OK(store_open(NULL, "memory:", true, &memory, e));
    CLEANUP_BUF struct buf index = BUF_INIT(64 << 20);
    for (unsigned i = 0; i < N; i++) {
        (void)snprintf(ids[i], sizeof ids[i], "%0*u", (int)(1 + rnd(20)), i);
        at[i] = index.len;
        entries(&index, i);
    }
    at[N] = index.len;
    for (unsigned i = 0; i < N; i++)
        items[i] = (struct store_bulk_item){
            .type = (fhir_type)(i % 50 ? 1 + i % 3 : 100), /* one with few items, hence few rows */
            .id = sv_from(ids[i]),
            .body = { SV_LIT(body), sizeof body - 2, FHIR_HOLE_NO_META },
            .seq = i,
            .index = sv_make(index.ptr + at[i], at[i + 1] - at[i])
        };
    /* most at first; then all, so that some are known and others new; then some of them again */
    static const struct {
        unsigned from, step;
    } rounds[] = { { N / 10, 1 }, { 0, 1 }, { 0, 3 } };
    for (int round = 0; round < 3; round++)
        for (int k = 0; k < 2; k++) {
            size_t n = 0;
            for (unsigned i = rounds[round].from; i < N; i += rounds[round].step)
                copy[n++] = items[i];
            load(k ? memory : rocks, copy, n);
        }
    static const uint16_t params[] = { FIXED_6, FIXED_9, TEXT, FEW, 0, 41 };
    static const fhir_type types[] = { 1, 2, 3, 4, 100 };
    for (size_t t = 0; t < 5; t++)
        for (size_t p = 0; p < 6; p++) {
            CLEANUP_BUF struct buf x = BUF_INIT(64 << 20), y = BUF_INIT(64 << 20);
            scan(rocks, types[t], params[p], &x);
            scan(memory, types[t], params[p], &y);
            assert_int_equal(x.len, y.len);
            assert_true(x.len == 0 || memcmp(x.ptr, y.ptr, x.len) == 0);
            assert_true(x.len > 0 || types[t] == 4 || p > 2);
        }
    for (unsigned i = 0; i < 300; i++)
        ranges_agree(rocks, memory, types[rnd(5)]);
}

TEST(bulk_search, entries_come_back_in_order_whatever_their_number_and_length)
{
    (void)state;
    char root[] = TEST_TMP "/fhirlake-bulk-XXXXXX", uri[256];
    assert_non_null(mkdtemp(root));
    (void)snprintf(uri, sizeof uri, "%s/s", root);
    struct store_env *env = store_env_new(8 << 20, 1);
    entries_come_back(env, uri);
    if (pg_new_place(uri, sizeof uri)) {
        entries_come_back(env, uri);
        pg_drop(uri);
    }
    store_env_free(env);
    OK(file_remove_tree(root, e));
}

TEST_MAIN(T(bulk_search, entries_come_back_in_order_whatever_their_number_and_length))
