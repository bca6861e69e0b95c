/* S3 URIs, endpoints, percent coding, queries. */
#include "fuzz.h"

#include "codec/uri.h"

FUZZ(data)
{
    struct arena *a = arena_new(16u << 20);
    struct uri_s3 s3;
    struct uri_http http;
    struct uri_pair *pairs;
    size_t n;
    struct err e;
    if (uri_s3_parse(data, &s3, &e) == ERR_OK)
        MUST(s3.bucket.len >= 3 && s3.bucket.len <= 63 && s3.key.len <= 1024);
    if (uri_http_parse(data, &http, &e) == ERR_OK)
        MUST(http.host.len > 0);
    if (uri_query_split(a, data, 64, &pairs, &n, &e) == ERR_OK)
        MUST(n <= 64);
    struct buf coded = BUF_INIT(64u << 20), plain = BUF_INIT(64u << 20);
    if (uri_encode(data, false, &coded, &e) == ERR_OK) {
        MUST(uri_decode(buf_sv(&coded), true, &plain, &e) == ERR_OK);
        MUST(sv_eq(buf_sv(&plain), data));
    }
    buf_clear(&plain);
    /* any answer will do, if it is one */
    IGNORE(uri_decode(data, true, &plain, &e));
    buf_done(&coded);
    buf_done(&plain);
    arena_free(a);
}
