/* list.c - ListObjectsV2, page by page.
 * A page is read whole before its keys are handed on, so that an attempt that fails half-way hands
 * on nothing. Keys are asked for URL-encoded: XML cannot carry every byte that a key may hold.
 * Source: Amazon S3 API Reference, "ListObjectsV2". */
#include "s3/s3_private.h"

#include "codec/uri.h"

#define LIST_PAGE_ARENA (16u << 20) /* bytes */
#define LIST_BARE_PAGES 1000u       /* without keys, one behind the other */

struct entry {
    sv key;
    uint64_t size;
};

struct page {
    struct arena *a;
    sv prefix; /* that was asked for; borrowed */
    struct entry *entries;
    size_t n, cap;
    bool truncated, encoded, is_listing;
    sv token;
    struct entry now;
    bool has_key, has_size;
};

static err_code keep(struct page *page, sv text, sv *out, struct err *e)
{
    *out = arena_sv(page->a, text);
    return out->ptr ? ERR_OK : arena_oom(page->a, e);
}

static err_code end_entry(struct page *page, struct err *e)
{
    if (!page->has_key || !page->has_size)
        return ERR(e, ERR_PEER, "a listing without keys or sizes");
    if (page->n == page->cap) {
        size_t cap = page->cap ? page->cap * 2 : 256;
        struct entry *more = arena_alloc(page->a, cap * sizeof *more);
        if (more == NULL)
            return arena_oom(page->a, e);
        if (page->n)
            memcpy(more, page->entries, page->n * sizeof *more);
        page->entries = more;
        page->cap = cap;
    }
    page->entries[page->n++] = page->now;
    page->has_key = page->has_size = false;
    return ERR_OK;
}

static err_code on_element(void *ctx, sv path, sv text, struct err *e)
{
    struct page *page = ctx;
    if (!sv_starts(path, SV_LIT("ListBucketResult")))
        return ERR(e, ERR_PEER, "an answer that is no listing");
    sv at = sv_tail(path, sizeof "ListBucketResult" - 1);
    if (at.len == 0) {
        page->is_listing = true;
    } else if (sv_eq_cstr(at, "/IsTruncated")) {
        page->truncated = sv_eq_cstr(text, "true");
    } else if (sv_eq_cstr(at, "/NextContinuationToken")) {
        return keep(page, text, &page->token, e);
    } else if (sv_eq_cstr(at, "/EncodingType")) {
        page->encoded = sv_eq_cstr(text, "url");
    } else if (sv_eq_cstr(at, "/Contents/Key")) {
        page->has_key = true;
        return keep(page, text, &page->now.key, e);
    } else if (sv_eq_cstr(at, "/Contents/Size")) {
        page->has_size = sv_to_u64(text, &page->now.size);
    } else if (sv_eq_cstr(at, "/Contents")) {
        return end_entry(page, e);
    }
    return ERR_OK;
}

static err_code decode_keys(struct page *page, struct err *e)
{
    CLEANUP_BUF struct buf key = BUF_INIT(4096);
    for (size_t i = 0; page->encoded && i < page->n; i++) {
        buf_clear(&key);
        struct err why = { 0 };
        if (uri_decode(page->entries[i].key, true, &key, &why) != ERR_OK)
            return ERR(e, ERR_PEER, "a listing with a broken key");
        TRY(keep(page, buf_sv(&key), &page->entries[i].key, e));
    }
    return ERR_OK;
}

/* Would a caller take another's key for one below his prefix? */
static err_code check_keys(const struct page *page, struct err *e)
{
    for (size_t i = 0; i < page->n; i++)
        if (!sv_starts(page->entries[i].key, page->prefix))
            return ERR(e, ERR_PEER, "a listing with a key that was not asked for");
    return ERR_OK;
}

static err_code accept_page(void *ctx, struct s3_conn *conn, struct err *e)
{
    struct page *page = ctx;
    struct arena *a = page->a;
    arena_reset(a);
    *page = (struct page){ .a = a, .prefix = page->prefix };
    TRY(s3_xml_parse(buf_sv(&conn->answer), on_element, page, e));
    if (!page->is_listing || (page->truncated && page->token.len == 0))
        return ERR(e, ERR_PEER, "a listing without an end");
    TRY(decode_keys(page, e));
    return check_keys(page, e);
}

/* Keys come in order. So one that does not stand behind all pages before belongs to a listing that
 * need not end, whatever its tokens are. Within a page nothing hangs on it. */
static err_code check_order(const struct page *page, struct buf *last, unsigned *n_bare,
                            struct err *e)
{
    if (page->n == 0)
        return !page->truncated || ++*n_bare < LIST_BARE_PAGES
                   ? ERR_OK
                   : ERR(e, ERR_PEER, "S3 ListObjectsV2: %u pages without a key", *n_bare);
    *n_bare = 0;
    if (last->len && sv_cmp(page->entries[0].key, buf_sv(last)) <= 0)
        return ERR(e, ERR_PEER, "S3 ListObjectsV2: the listing goes back to keys that it gave");
    buf_clear(last);
    return buf_add(last, page->entries[page->n - 1].key, e);
}

err_code s3_object_list(struct s3_client *client, sv bucket, sv prefix, s3_list_fn each, void *ctx,
                        struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(LIST_PAGE_ARENA);
    CLEANUP_BUF struct buf token = BUF_INIT(8192);
    CLEANUP_BUF struct buf query = BUF_INIT(65536);
    CLEANUP_BUF struct buf met = BUF_INIT(8192);
    CLEANUP_BUF struct buf last = BUF_INIT(8192);
    struct page page = { .a = a, .prefix = prefix };
    unsigned n_bare = 0;
    /* A circle of any length comes to a token that was kept at a power of two of pages. */
    for (uint64_t n_pages = 1;; n_pages++) {
        buf_clear(&query);
        if (token.len) {
            TRY(buf_add(&query, SV_LIT("continuation-token="), e));
            TRY(uri_encode(buf_sv(&token), false, &query, e));
            TRY(buf_add_char(&query, '&', e));
        }
        TRY(buf_add(&query, SV_LIT("encoding-type=url&list-type=2&prefix="), e));
        TRY(uri_encode(prefix, false, &query, e));
        struct s3_request request = { .op = "ListObjectsV2",
                                      .method = "GET",
                                      .bucket = bucket,
                                      .query = buf_sv(&query),
                                      .max_answer = S3_LIST_ANSWER_MAX,
                                      .accept = accept_page,
                                      .accept_ctx = &page };
        TRY(s3_request_run(client, &request, e));
        if (page.truncated &&
            (sv_eq(page.token, buf_sv(&token)) || sv_eq(page.token, buf_sv(&met))))
            return ERR(e, ERR_PEER, "S3 ListObjectsV2: the listing goes in a circle");
        TRY(check_order(&page, &last, &n_bare, e));
        for (size_t i = 0; i < page.n; i++)
            if (!each(ctx, page.entries[i].key, page.entries[i].size))
                return ERR_OK;
        if (!page.truncated)
            return ERR_OK;
        buf_clear(&token);
        TRY(buf_add(&token, page.token, e));
        if ((n_pages & (n_pages - 1)) == 0) {
            buf_clear(&met);
            TRY(buf_add(&met, page.token, e));
        }
    }
}
