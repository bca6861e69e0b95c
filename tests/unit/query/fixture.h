/* A store in memory, and resources written to it one by one. */
#pragma once
#include "test.h"

#include "fhir/envelope.h"
#include "query/query.h"
#include "store/last.h"

static inline struct store *fixture_store(void)
{
    struct store *st;
    OK(store_open(NULL, "memory:", true, &st, e));
    return st;
}

/* Create or replace the resource that the JSON text is. */
static inline void fixture_put(struct store *st, const char *text)
{
    struct fhir_reader *r = fhir_reader_new(1 << 20);
    struct buf stored = BUF_INIT(1 << 20), index = BUF_INIT(1 << 20);
    struct fhir_envelope env;
    struct store_commit at;
    OK(fhir_envelope_read(r, sv_from(text), SV_NONE, &stored, &env, e));
    OK(search_index(env.type, fhir_reader_root(r), &index, e));
    struct store_write w = { .type = env.type,
                             .id = env.id,
                             .method = STORE_METHOD_UPDATE,
                             .body = env.body,
                             .index = buf_sv(&index) };
    OK(store_commit(st, &w, 1, &at, e));
    buf_done(&stored);
    buf_done(&index);
    fhir_reader_free(r);
}
#define FIXTURE_PUT(st, ...)                                 \
    do {                                                     \
        char text_[1024];                                    \
        int n_ = snprintf(text_, sizeof text_, __VA_ARGS__); \
        assert_in_range(n_, 1, sizeof text_ - 1);            \
        fixture_put((st), text_);                            \
    } while (0)

/* A query of one type as of now, in a. */
static inline struct query *fixture_query(struct store *st, struct arena *a, const char *type)
{
    struct query *q = arena_alloc(a, sizeof *q);
    const struct query_source src = { st, a, SV_LIT("http://here/r4"), last_of(st).t, NULL };
    query_init(q, &src, type ? fhir_type_find(sv_from(type)) : FHIR_TYPE_NONE);
    return q;
}

static inline int fixture_by_text(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

/* Ids of all matches, sorted, by spaces; each as often as the walk gave it. */
static inline sv fixture_found(const struct query *q)
{
    CLEANUP(query_walk_close) struct query_walk *w = NULL;
    CLEANUP_BUF struct buf b = BUF_INIT(1 << 16);
    struct query_match m;
    struct err why;
    err_code rc;
    sv ids[64];
    size_t n = 0;
    OK(query_walk_open(q, NULL, &w, e));
    while ((rc = query_walk_next(w, 0, &m, &why)) == ERR_OK) {
        assert_true(n < sizeof ids / sizeof ids[0]);
        ids[n++] = arena_sv(q->src.a, m.v.id);
    }
    assert_int_equal(rc, ERR_EOF);
    if (n)
        qsort(ids, n, sizeof ids[0], fixture_by_text);
    for (size_t i = 0; i < n; i++)
        OK(buf_add_fmt(&b, e, "%s%.*s", i ? " " : "", SV_FMT(ids[i])));
    return arena_sv(q->src.a, buf_sv(&b));
}
