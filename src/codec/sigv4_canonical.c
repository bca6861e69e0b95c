/* sigv4_canonical.c - A request in the one form that both sides hash: method, path, query, headers,
 * and the hash of the payload, a line each.
 *
 * Two requests that mean the same must come out the same, and two that mean different things must
 * not. So what a reader takes for equal is made equal: percent coding is written anew, pairs of the
 * query are sorted, runs of blanks become one. */
#include "codec/sigv4_private.h"

#include "codec/uri.h"

#define USUAL_BYTES 1024u /* of a canonical request: taken at once */

err_code sigv4_keep(struct arena *a, struct buf *b, sv *out, struct err *e)
{
    *out = arena_sv(a, buf_sv(b));
    return out->ptr ? ERR_OK : arena_oom(a, e);
}

/* Path without empty, "." and ".." segments (RFC 3986, 5.2.4), a trailing slash kept. */
static err_code normalize(struct arena *a, sv path, sv *out, struct err *e)
{
    sv *parts = arena_alloc(a, (path.len + 1) * sizeof *parts);
    if (parts == NULL)
        return arena_oom(a, e);
    size_t n = 0;
    sv rest = path, part;
    bool slash_at_end = path.len == 0 || path.ptr[path.len - 1] == '/';
    while (sv_cut(&rest, '/', &part)) {
        bool dot = sv_eq(part, SV_LIT(".")), up = sv_eq(part, SV_LIT(".."));
        if (rest.ptr == NULL && (dot || up))
            slash_at_end = true;
        if (up && n)
            n--;
        else if (part.len && !dot && !up)
            parts[n++] = part;
    }
    CLEANUP_BUF struct buf b = BUF_INIT(path.len + 2);
    for (size_t i = 0; i < n; i++) {
        TRY(buf_add_char(&b, '/', e));
        TRY(buf_add(&b, parts[i], e));
    }
    if (n == 0 || slash_at_end)
        TRY(buf_add_char(&b, '/', e));
    return sigv4_keep(a, &b, out, e);
}

/* Nothing in it that normalize() would take out. */
static bool is_normal(sv path)
{
    for (size_t i = 0; i + 1 < path.len; i++)
        if (path.ptr[i] == '/' && (path.ptr[i + 1] == '/' || path.ptr[i + 1] == '.'))
            return false;
    return path.ptr[0] == '/';
}

static err_code canonical_path(struct arena *a, const struct sigv4_request *req, struct buf *b,
                               struct err *e)
{
    sv path = req->path.len ? req->path : SV_LIT("/");
    if (req->normalize_path && !is_normal(path))
        TRY(normalize(a, path, &path, e));
    return req->double_encode_path ? uri_encode(path, true, b, e) : buf_add(b, path, e);
}

struct pair {
    sv name, value; /* encoded anew */
};

static int pair_cmp(const void *x, const void *y)
{
    const struct pair *p = x, *q = y;
    int c = sv_cmp(p->name, q->name);
    return c ? c : sv_cmp(p->value, q->value);
}

/* Decoded and encoded again, so that every way of writing a character comes out the same; a plus
 * sign is a blank, as for whoever reads the query, so that a text with another meaning has another
 * signature. A text whose escapes are broken is encoded as it stands. */
static err_code recode(struct arena *a, sv text, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf plain = BUF_INIT(SIGV4_TEXT_MAX), coded = BUF_INIT(3 * SIGV4_TEXT_MAX);
    if (uri_decode(text, true, &plain, NULL) == ERR_OK)
        text = buf_sv(&plain);
    TRY(uri_encode(text, false, &coded, e));
    return sigv4_keep(a, &coded, out, e);
}

static err_code canonical_query(struct arena *a, sv query, struct buf *b, struct err *e)
{
    struct uri_pair *in;
    size_t n, k = 0;
    if (query.len == 0)
        return ERR_OK;
    TRY(uri_query_split(a, query, SIGV4_PAIRS_MAX, &in, &n, e));
    struct pair *pairs = arena_alloc(a, (n + 1) * sizeof *pairs);
    if (pairs == NULL)
        return arena_oom(a, e);
    for (size_t i = 0; i < n; i++) {
        if (sv_eq(in[i].name, SV_LIT("X-Amz-Signature")))
            continue;
        TRY(recode(a, in[i].name, &pairs[k].name, e));
        TRY(recode(a, in[i].value, &pairs[k].value, e));
        k++;
    }
    qsort(pairs, k, sizeof *pairs, pair_cmp);
    for (size_t i = 0; i < k; i++) {
        if (i)
            TRY(buf_add_char(b, '&', e));
        TRY(buf_add(b, pairs[i].name, e));
        TRY(buf_add_char(b, '=', e));
        TRY(buf_add(b, pairs[i].value, e));
    }
    return ERR_OK;
}

bool sigv4_query_is_canonical(struct arena *a, sv query)
{
    CLEANUP_BUF struct buf b = BUF_INIT(SIGV4_CANONICAL_MAX);
    return canonical_query(a, query, &b, NULL) == ERR_OK && sv_eq(buf_sv(&b), query);
}

/* Header value without outer blanks, inner runs of blanks as one. */
static err_code trimmed(sv value, struct buf *b, struct err *e)
{
    value = sv_trim(value);
    TRY(buf_reserve(b, value.len, e));
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
        if (blank && i && b->len && b->ptr[b->len - 1] == ' ')
            continue;
        b->ptr[b->len++] = blank ? ' ' : c;
    }
    return ERR_OK;
}

/* "name:v1,v2\n" for every name in signed_headers; a name that the request lacks is an error. The
 * session token alone may be signed and absent: it counts as empty, which is what curl signs when
 * it is given an empty one, and does not send. */
static err_code canonical_headers(const struct sigv4_request *req, sv signed_headers, struct buf *b,
                                  struct err *e)
{
    sv rest = signed_headers, name;
    while (sv_cut(&rest, ';', &name)) {
        bool found = false;
        for (size_t i = 0; i < req->n_headers; i++) {
            if (!sv_eq_nocase(req->headers[i].name, name))
                continue;
            if (!found) {
                TRY(buf_add(b, name, e));
                TRY(buf_add_char(b, ':', e));
            } else {
                TRY(buf_add_char(b, ',', e));
            }
            TRY(trimmed(req->headers[i].value, b, e));
            found = true;
        }
        if (!found && sv_eq(name, SV_LIT("x-amz-security-token"))) {
            TRY(buf_add(b, SV_LIT("x-amz-security-token:\n"), e));
            continue;
        }
        if (!found)
            return ERR(e, ERR_AUTH_SIGNATURE, "signed header '%.*s' is not in the request",
                       SV_FMT(sv_head(name, 64)));
        TRY(buf_add_char(b, '\n', e));
    }
    return ERR_OK;
}

err_code sigv4_canonical_write(struct arena *a, const struct sigv4_request *req, sv signed_headers,
                               struct buf *b, struct err *e)
{
    TRY(buf_reserve(b, USUAL_BYTES, e));
    TRY(buf_add(b, req->method, e));
    TRY(buf_add_char(b, '\n', e));
    TRY(canonical_path(a, req, b, e));
    TRY(buf_add_char(b, '\n', e));
    TRY(canonical_query(a, req->query, b, e));
    TRY(buf_add_char(b, '\n', e));
    TRY(canonical_headers(req, signed_headers, b, e));
    TRY(buf_add_char(b, '\n', e));
    TRY(buf_add(b, signed_headers, e));
    TRY(buf_add_char(b, '\n', e));
    return buf_add(b, req->payload_hash, e);
}

err_code sigv4_canonical_request(struct arena *a, const struct sigv4_request *req,
                                 sv signed_headers, sv *out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(SIGV4_CANONICAL_MAX);
    TRY(sigv4_canonical_write(a, req, signed_headers, &b, e));
    return sigv4_keep(a, &b, out, e);
}
