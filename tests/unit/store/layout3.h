/* layout3.h - what a program of layout 3 wrote, byte by byte, in a folder of its own.
 *
 *   versions  type, id, 0x00, kind, ~n -> header, JSON     changes  type, kind, n, id -> ""
 *   commits   c b f n u v i                                notes, search, counts
 * It is written from the description, with none of the code that reads it. */
#pragma once
#include "test.h"

#include "store/rocks/rocks_private.h"
#include "store/store.h"

#include <rocksdb/c.h>

enum { L3_DEFAULT, L3_VERSIONS, L3_CHANGES, L3_COMMITS, L3_NOTES, L3_SEARCH, L3_COUNTS, L3_N };

struct layout3 {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_column_family_handle_t *cf[L3_N];
};

static inline void l3_open(struct layout3 *s, const char *path)
{
    static const char *const names[L3_N] = { "default", "versions", "changes", "commits",
                                             "notes",   "search",   "counts" };
    const rocksdb_options_t *per_cf[L3_N];
    char *bad = NULL;
    s->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(s->options, 1);
    rocksdb_options_set_create_missing_column_families(s->options, 1);
    rocks_options_place(&s->options, TEST_TMP);
    for (int i = 0; i < L3_N; i++)
        per_cf[i] = s->options;
    s->db = rocksdb_open_column_families(s->options, path, L3_N, names, per_cf, s->cf, &bad);
    if (bad)
        fail_msg("%s", bad);
}

static inline void l3_close(struct layout3 *s)
{
    for (int i = 0; i < L3_N; i++)
        rocksdb_column_family_handle_destroy(s->cf[i]);
    rocksdb_close(s->db);
    rocksdb_options_destroy(s->options);
}

/* What was written stands in files, else in the log. */
static inline void l3_flush(struct layout3 *s)
{
    rocksdb_flushoptions_t *o = rocksdb_flushoptions_create();
    char *bad = NULL;
    for (int i = 0; i < L3_N; i++)
        rocksdb_flush_cf(s->db, o, s->cf[i], &bad);
    assert_null(bad);
    rocksdb_flushoptions_destroy(o);
}

/* ---- bytes ---- */

struct l3_bytes {
    char p[256];
    size_t n;
};

static inline void l3_add(struct l3_bytes *k, const void *p, size_t n)
{
    assert_true(k->n + n <= sizeof k->p);
    memcpy(k->p + k->n, p, n);
    k->n += n;
}

static inline void l3_byte(struct l3_bytes *k, unsigned v)
{
    const char c = (char)v;
    l3_add(k, &c, 1);
}

static inline void l3_u64(struct l3_bytes *k, uint64_t v)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        l3_byte(k, (unsigned)(v >> shift & 255));
}

static inline void l3_varint(struct l3_bytes *k, uint64_t v)
{
    for (; v > 127; v >>= 7)
        l3_byte(k, (unsigned)(v & 127) | 128);
    l3_byte(k, (unsigned)v);
}

static inline void l3_put(struct layout3 *s, int cf, const struct l3_bytes *k, sv value)
{
    rocksdb_writeoptions_t *w = rocksdb_writeoptions_create();
    char *bad = NULL;
    rocksdb_put_cf(s->db, w, s->cf[cf], k->p, k->n, value.ptr ? value.ptr : "", value.len, &bad);
    assert_null(bad);
    rocksdb_writeoptions_destroy(w);
}

static inline void l3_delete(struct layout3 *s, int cf, const struct l3_bytes *k)
{
    rocksdb_writeoptions_t *w = rocksdb_writeoptions_create();
    char *bad = NULL;
    rocksdb_delete_cf(s->db, w, s->cf[cf], k->p, k->n, &bad);
    assert_null(bad);
    rocksdb_writeoptions_destroy(w);
}

/* ---- records ---- */

static inline struct l3_bytes l3_letter(char letter, uint64_t n)
{
    struct l3_bytes k = { .n = 0 };
    l3_byte(&k, (unsigned char)letter);
    l3_u64(&k, n);
    return k;
}

static inline void l3_number(struct layout3 *s, char letter, uint64_t v)
{
    struct l3_bytes k = l3_letter(letter, 0), value = { .n = 0 };
    l3_u64(&value, v);
    l3_put(s, L3_COMMITS, &k, sv_make(value.p, value.n));
}

/* form: bytes of the value that are there: 8, 25 or 26. b 0: an online commit. */
static inline void l3_commit(struct layout3 *s, struct store_commit c, uint64_t b, uint64_t count,
                             size_t form)
{
    struct l3_bytes k = l3_letter('c', c.t), v = { .n = 0 };
    l3_u64(&v, (uint64_t)c.instant_ms);
    l3_byte(&v, b == 0);
    l3_u64(&v, b);
    l3_u64(&v, count);
    l3_byte(&v, 2);
    l3_put(s, L3_COMMITS, &k, sv_make(v.p, form));
    if (b) {
        struct l3_bytes row = { .n = 0 };
        k = l3_letter('b', b);
        l3_u64(&row, c.t);
        l3_u64(&row, (uint64_t)c.instant_ms);
        l3_put(s, L3_COMMITS, &k, sv_make(row.p, row.n));
    }
}

static inline struct l3_bytes l3_change_key(fhir_type type, bool online, uint64_t n, sv id)
{
    struct l3_bytes k = { .n = 0 };
    l3_byte(&k, type);
    l3_byte(&k, online);
    l3_u64(&k, n);
    l3_add(&k, id.ptr, id.len);
    return k;
}

/* n: load, or t of an online commit. version 0: of a load. */
static inline void l3_version(struct layout3 *s, fhir_type type, sv id, uint64_t n,
                              uint64_t version, int64_t instant_ms, store_method method,
                              const struct fhir_body *body)
{
    struct l3_bytes k = { .n = 0 }, head = { .n = 0 };
    CLEANUP_BUF struct buf value = BUF_INIT(1 << 20);
    const bool online = version > 0;
    l3_byte(&k, type);
    l3_add(&k, id.ptr, id.len);
    l3_byte(&k, 0);
    l3_byte(&k, online);
    l3_u64(&k, ~n);
    l3_byte(&head, (unsigned)body->hole | (unsigned)method << 2 | (online ? 16u : 0u));
    l3_varint(&head, body->hole_at);
    if (online) {
        l3_varint(&head, version);
        l3_u64(&head, (uint64_t)instant_ms);
    }
    OK(buf_add(&value, sv_make(head.p, head.n), e));
    OK(buf_add(&value, body->json, e));
    l3_put(s, L3_VERSIONS, &k, buf_sv(&value));
    k = l3_change_key(type, online, n, id);
    l3_put(s, L3_CHANGES, &k, SV_NONE);
}
