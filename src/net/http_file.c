/* http_file.c - a file as answer.
 *
 *   If-None-Match, If-Modified-Since   not changed: 304
 *   Range (one range, If-Range holds)  206, or 416 when it begins behind the end
 *   Accept-Encoding with gzip          the whole, packed while it is sent: chunked, of unknown
 *                                      length
 *   else                               the whole (http_stored.c)
 *
 * A packed answer is another representation, so its entity tag is another: "x" and "x-gzip". A
 * request for a range gets plain bytes, whatever encodings it takes, and several ranges at once get
 * the whole, as RFC 9110 allows. Packing needs PACK_IN_BYTES and igzip's state (half a MiB in all)
 * for each answer under way, however large the file is; past PACKS_MAX of them files go out plain.
 * Source: RFC 9110, sections 8.8, 12.5.3, 13 and 14. */
#include "net/http_private.h"

#include "base/limits.h"
#include "codec/crypt/cipher.h"
#include "codec/instant.h"

#include <unistd.h>

/* ---- what the request asks ---- */

/* "x", W/"x" or "x-gzip" of a list is tag "x". */
static bool tag_is(sv one, sv tag, bool weak)
{
    one = sv_trim(one);
    if (sv_starts(one, SV_LIT("W/"))) {
        if (!weak)
            return false;
        one = sv_tail(one, 2);
    }
    if (one.len < 2 || one.ptr[0] != '"' || one.ptr[one.len - 1] != '"')
        return false;
    one = sv_make(one.ptr + 1, one.len - 2);
    if (weak && sv_ends(one, SV_LIT("-gzip")))
        one.len -= 5;
    return sv_eq(one, tag);
}

static bool not_changed(const struct http_request *req, const struct http_file *file)
{
    sv list = http_header_get(req, "If-None-Match"), one;
    int64_t since_ms;
    if (list.ptr) {
        if (sv_eq(sv_trim(list), SV_LIT("*")))
            return true;
        while (file->etag.len && sv_cut(&list, ',', &one))
            if (tag_is(one, file->etag, true))
                return true;
        return false;
    }
    return file->modified_ms &&
           instant_parse_http(http_header_get(req, "If-Modified-Since"), &since_ms) &&
           file->modified_ms / 1000 <= since_ms / 1000;
}

/* The range is meant for the file as it is now. */
static bool range_holds(const struct http_request *req, const struct http_file *file)
{
    sv want = http_header_get(req, "If-Range");
    int64_t at_ms;
    if (want.ptr == NULL)
        return true;
    if (instant_parse_http(want, &at_ms))
        return file->modified_ms && file->modified_ms / 1000 == at_ms / 1000;
    return file->etag.len && tag_is(want, file->etag, false);
}

http_range http_range_read(sv header, uint64_t size, uint64_t *first, uint64_t *len)
{
    sv rest = sv_trim(header), unit, from, to;
    uint64_t a = 0, b = UINT64_MAX;
    if (!sv_cut(&rest, '=', &unit) || !sv_eq_nocase(sv_trim(unit), SV_LIT("bytes")) ||
        rest.ptr == NULL || sv_find(rest, ',') < rest.len || !sv_cut(&rest, '-', &from) ||
        rest.ptr == NULL)
        return HTTP_RANGE_NONE;
    from = sv_trim(from);
    to = sv_trim(rest);
    if ((from.len && !sv_to_u64(from, &a)) || (to.len && !sv_to_u64(to, &b)) ||
        (from.len == 0 && to.len == 0))
        return HTTP_RANGE_NONE;
    /* the last b bytes */
    if (from.len == 0) {
        if (b == 0 || size == 0)
            return HTTP_RANGE_BEHIND;
        *len = b < size ? b : size;
        *first = size - *len;
        return HTTP_RANGE_SOME;
    }
    if (b < a)
        return HTTP_RANGE_NONE;
    if (a >= size)
        return HTTP_RANGE_BEHIND;
    *first = a;
    *len = (b < size - 1 ? b : size - 1) - a + 1;
    return HTTP_RANGE_SOME;
}

/* ---- the answer ---- */

static void add(struct MHD_Response *r, const char *name, sv value)
{
    char text[256];
    if (value.len == 0 || value.len >= sizeof text)
        return;
    (void)snprintf(text, sizeof text, "%.*s", SV_FMT(value));
    MHD_add_response_header(r, name, text);
}

static struct MHD_Response *nothing(const struct http_file *file)
{
    /* only read */
    (void)close(file->fd);
    cipher_free(file->cipher);
    return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
}

/* What is sent of it. */
struct plan {
    unsigned status;
    uint64_t first, len;
    bool gzip; /* if it can be had */
};

static struct plan plan_of(const struct http_request *req, const struct http_file *file)
{
    sv range = http_header_get(req, "Range");
    struct plan p = { .status = 200, .len = file->len };
    http_range what = HTTP_RANGE_NONE;
    if (range.ptr && sv_eq(req->method, SV_LIT("GET")) && range_holds(req, file))
        what = http_range_read(range, file->len, &p.first, &p.len);
    p.gzip = file->may_gzip && what == HTTP_RANGE_NONE && file->len > 0 &&
             http_takes_gzip(http_header_get(req, "Accept-Encoding"));
    if (not_changed(req, file))
        p.status = 304;
    else if (what == HTTP_RANGE_BEHIND)
        p.status = 416;
    else if (what == HTTP_RANGE_SOME && p.len > 0)
        p.status = 206;
    return p;
}

unsigned http_file_status(const struct http_request *req, const struct http_file *file)
{
    return plan_of(req, file).status;
}

void http_file_part(const struct http_request *req, const struct http_file *file, uint64_t *first,
                    uint64_t *len)
{
    const struct plan p = plan_of(req, file);
    bool none = p.status == 304 || p.status == 416 || sv_eq(req->method, SV_LIT("HEAD"));
    *first = none ? 0 : file->offset + p.first;
    *len = none ? 0 : p.len;
}

unsigned http_reply_file(struct http_exchange *exchange, const struct http_header *headers,
                         size_t n_headers, const struct http_file *file, uint64_t *sent)
{
    const struct http_request *req = http_exchange_request(exchange);
    const struct plan p = plan_of(req, file);
    struct MHD_Response *r = NULL;
    bool head = sv_eq(req->method, SV_LIT("HEAD")), gzip = p.gzip;
    char text[128];
    if (p.status == 304) {
        r = nothing(file);
    } else if (p.status == 416) {
        r = nothing(file);
        (void)snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)file->len);
        add(r, "Content-Range", sv_from(text));
    } else if (gzip && (r = http_gzip_file(file)) != NULL) {
        add(r, "Content-Encoding", SV_LIT("gzip"));
    } else if (p.len == 0) {
        gzip = false;
        r = nothing(file);
    } else {
        gzip = false;
        const struct http_stored part = { file->fd, file->cipher, file->cipher ? CIPHER_PREFIX : 0,
                                          file->offset + p.first, p.len };
        r = http_stored(&part, req->secure);
        if (r == NULL)
            abort();
        if (p.status == 206) {
            (void)snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)p.first,
                           (unsigned long long)(p.first + p.len - 1),
                           (unsigned long long)file->len);
            add(r, "Content-Range", sv_from(text));
        }
    }
    if (file->etag.len && file->etag.len < 100) {
        (void)snprintf(text, sizeof text, "\"%.*s%s\"", SV_FMT(file->etag),
                       gzip && p.status == 200 ? "-gzip" : "");
        add(r, "ETag", sv_from(text));
    }
    if (file->modified_ms) {
        time_t s = (time_t)(file->modified_ms / 1000);
        struct tm tm;
        gmtime_r(&s, &tm);
        size_t n = strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        add(r, "Last-Modified", sv_make(text, n));
    }
    add(r, "Accept-Ranges", SV_LIT("bytes"));
    if (file->may_gzip)
        add(r, "Vary", SV_LIT("Accept-Encoding"));
    *sent = head || p.status == 304 || p.status == 416 ? 0 : p.len;
    http_exchange_answer(exchange, p.status, headers, n_headers, r);
    return p.status;
}
