/* list.c - ListObjectsV2, page by page.
 * A page is read whole before its keys are handed on, so that an attempt that fails half-way hands
 * on nothing. Keys are asked for URL-encoded: XML cannot carry every byte that a key may hold.
 * Source: Amazon S3 API Reference, "ListObjectsV2". */
#include "s3/s3_private.h"

#include "codec/uri.h"

#define LIST_PAGE_ARENA (16u << 20) /* bytes */

struct entry {
    sv key;
    uint64_t size;
};

struct page {
    struct arena *a;
    struct entry *entries;
    size_t n, cap;
    bool truncated, encoded, is_listing;
    sv token;
    struct entry now;
    bool has_key, has_size;
};

static err_code keep(struct page *p, sv text, sv *out, struct err *e)
{
    *out = arena_sv(p->a, text);
    return out->ptr ? ERR_OK : arena_oom(p->a, e);
}

static err_code end_entry(struct page *p, struct err *e)
{
    if (!p->has_key || !p->has_size)
        return ERR(e, ERR_PEER, "a listing without keys or sizes");
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 256;
        struct entry *more = arena_alloc(p->a, cap * sizeof *more);
        if (more == NULL)
            return arena_oom(p->a, e);
        if (p->n)
            memcpy(more, p->entries, p->n * sizeof *more);
        p->entries = more;
        p->cap = cap;
    }
    p->entries[p->n++] = p->now;
    p->has_key = p->has_size = false;
    return ERR_OK;
}

static err_code on_element(void *ctx, sv path, sv text, struct err *e)
{
    struct page *p = ctx;
    if (!sv_starts(path, SV_LIT("ListBucketResult")))
        return ERR(e, ERR_PEER, "an answer that is no listing");
    sv at = sv_tail(path, sizeof "ListBucketResult" - 1);
    if (at.len == 0) {
        p->is_listing = true;
    } else if (sv_eq_cstr(at, "/IsTruncated")) {
        p->truncated = sv_eq_cstr(text, "true");
    } else if (sv_eq_cstr(at, "/NextContinuationToken")) {
        return keep(p, text, &p->token, e);
    } else if (sv_eq_cstr(at, "/EncodingType")) {
        p->encoded = sv_eq_cstr(text, "url");
    } else if (sv_eq_cstr(at, "/Contents/Key")) {
        p->has_key = true;
        return keep(p, text, &p->now.key, e);
    } else if (sv_eq_cstr(at, "/Contents/Size")) {
        p->has_size = sv_to_u64(text, &p->now.size);
    } else if (sv_eq_cstr(at, "/Contents")) {
        return end_entry(p, e);
    }
    return ERR_OK;
}

static err_code decode_keys(struct page *p, struct err *e)
{
    CLEANUP_BUF struct buf key = BUF_INIT(4096);
    for (size_t i = 0; p->encoded && i < p->n; i++) {
        buf_clear(&key);
        struct err why = { 0 };
        if (uri_decode(p->entries[i].key, true, &key, &why) != ERR_OK)
            return ERR(e, ERR_PEER, "a listing with a broken key");
        TRY(keep(p, buf_sv(&key), &p->entries[i].key, e));
    }
    return ERR_OK;
}

static err_code accept_page(void *ctx, struct s3_conn *conn, struct err *e)
{
    struct page *p = ctx;
    struct arena *a = p->a;
    arena_reset(a);
    *p = (struct page){ .a = a };
    TRY(s3_xml_parse(buf_sv(&conn->answer), on_element, p, e));
    if (!p->is_listing || (p->truncated && p->token.len == 0))
        return ERR(e, ERR_PEER, "a listing without an end");
    return decode_keys(p, e);
}

err_code s3_object_list(struct s3_client *c, sv bucket, sv prefix, s3_list_fn each, void *ctx,
                        struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(LIST_PAGE_ARENA);
    CLEANUP_BUF struct buf token = BUF_INIT(8192);
    CLEANUP_BUF struct buf query = BUF_INIT(65536);
    struct page p = { .a = a };
    do {
        buf_clear(&query);
        if (token.len) {
            TRY(buf_add(&query, SV_LIT("continuation-token="), e));
            TRY(uri_encode(buf_sv(&token), false, &query, e));
            TRY(buf_add_char(&query, '&', e));
        }
        TRY(buf_add(&query, SV_LIT("encoding-type=url&list-type=2&prefix="), e));
        TRY(uri_encode(prefix, false, &query, e));
        struct s3_request r = { .op = "ListObjectsV2",
                                .method = "GET",
                                .bucket = bucket,
                                .query = buf_sv(&query),
                                .max_answer = S3_LIST_ANSWER_MAX,
                                .accept = accept_page,
                                .accept_ctx = &p };
        TRY(s3_request_run(c, &r, e));
        if (p.truncated && sv_eq(p.token, buf_sv(&token)))
            return ERR(e, ERR_PEER, "S3 ListObjectsV2: the listing goes in a circle");
        for (size_t i = 0; i < p.n; i++)
            if (!each(ctx, p.entries[i].key, p.entries[i].size))
                return ERR_OK;
        buf_clear(&token);
        TRY(buf_add(&token, p.token, e));
    } while (p.truncated);
    return ERR_OK;
}
