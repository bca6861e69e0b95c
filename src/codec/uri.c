/* uri.c - URIs are cut into views of their text and checked part by part. Percent coding leaves
 * unreserved characters alone and writes all others in upper-case digits, as SigV4 asks. */
#include "codec/uri.h"

#define S3_KEY_MAX 1024u
#define HOST_MAX   255u

static bool lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static err_code check_bucket(sv b, struct err *e)
{
    if (b.len < 3 || b.len > 63)
        return ERR(e, ERR_INVALID, "S3 bucket name must have 3 to 63 characters");
    unsigned dots = 0, letters = 0;
    for (size_t i = 0; i < b.len; i++) {
        char c = b.ptr[i];
        if (!lower_alnum(c) && c != '.' && c != '-')
            return ERR(e, ERR_INVALID, "S3 bucket name may hold a-z, 0-9, '.' and '-' only");
        if (c == '.' && i + 1 < b.len && b.ptr[i + 1] == '.')
            return ERR(e, ERR_INVALID, "S3 bucket name holds two dots in a row");
        dots += c == '.';
        letters += !(c >= '0' && c <= '9') && c != '.';
    }
    if (!lower_alnum(b.ptr[0]) || !lower_alnum(b.ptr[b.len - 1]))
        return ERR(e, ERR_INVALID, "S3 bucket name must begin and end with a letter or digit");
    if (dots == 3 && letters == 0)
        return ERR(e, ERR_INVALID, "S3 bucket name must not look like an IP address");
    return ERR_OK;
}

static err_code check_key(sv key, struct err *e)
{
    if (key.len > S3_KEY_MAX)
        return ERR(e, ERR_INVALID, "S3 key is longer than %u bytes", S3_KEY_MAX);
    for (size_t i = 0; i < key.len; i++)
        if ((unsigned char)key.ptr[i] < 0x20 || key.ptr[i] == 0x7F)
            return ERR(e, ERR_INVALID, "S3 key holds a control character");
    sv rest = key, part;
    while (sv_cut(&rest, '/', &part)) {
        if (sv_eq(part, SV_LIT(".")) || sv_eq(part, SV_LIT("..")))
            return ERR(e, ERR_INVALID, "S3 key holds a \".\" or \"..\" segment");
        if (part.len == 0 && rest.ptr != NULL)
            return ERR(e, ERR_INVALID, "S3 key holds an empty segment");
    }
    return ERR_OK;
}

err_code uri_s3_parse(sv text, struct uri_s3 *out, struct err *e)
{
    sv scheme = SV_LIT("s3://");
    if (!sv_starts(text, scheme))
        return ERR(e, ERR_INVALID, "S3 URI must begin with s3://");
    sv rest = sv_tail(text, scheme.len);
    size_t slash = sv_find(rest, '/');
    struct uri_s3 u = { .bucket = sv_head(rest, slash), .key = sv_tail(rest, slash + 1) };
    TRY(check_bucket(u.bucket, e));
    TRY(check_key(u.key, e));
    *out = u;
    return ERR_OK;
}

static bool unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || lower_alnum(c) || c == '-' || c == '_' || c == '.' || c == '~';
}

err_code uri_encode(sv text, bool keep_slash, struct buf *out, struct err *e)
{
    static const char hex[] = "0123456789ABCDEF";
    TRY(buf_reserve(out, text.len * 3, e));
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (unreserved(c) || (keep_slash && c == '/')) {
            out->ptr[out->len++] = c;
        } else {
            out->ptr[out->len++] = '%';
            out->ptr[out->len++] = hex[(unsigned char)c >> 4];
            out->ptr[out->len++] = hex[(unsigned char)c & 15];
        }
    }
    return ERR_OK;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

err_code uri_decode(sv text, bool plus_is_space, struct buf *out, struct err *e)
{
    TRY(buf_reserve(out, text.len, e));
    size_t len = out->len;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%') {
            bool whole = i + 2 < text.len;
            int hi = whole ? hex_value(text.ptr[i + 1]) : -1;
            int lo = whole ? hex_value(text.ptr[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return ERR(e, ERR_INVALID, "broken percent escape at byte %zu", i);
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        out->ptr[len++] = c;
    }
    out->len = len;
    return ERR_OK;
}

err_code uri_query_split(struct arena *a, sv query, size_t max_pairs, struct uri_pair **out,
                         size_t *n_out, struct err *e)
{
    size_t n = 0;
    sv rest = query.len ? query : SV_NONE, part;
    while (sv_cut(&rest, '&', &part))
        n += part.len != 0;
    if (n > max_pairs)
        return ERR(e, ERR_TOO_LARGE, "more than %zu query parameters", max_pairs);
    struct uri_pair *pairs = arena_alloc(a, (n ? n : 1) * sizeof *pairs);
    if (pairs == NULL)
        return arena_oom(a, e);
    size_t k = 0;
    rest = query.len ? query : SV_NONE;
    while (sv_cut(&rest, '&', &part)) {
        if (part.len == 0)
            continue;
        size_t eq = sv_find(part, '=');
        pairs[k++] = (struct uri_pair){ sv_head(part, eq), sv_tail(part, eq + 1) };
    }
    *out = pairs;
    *n_out = n;
    return ERR_OK;
}

bool uri_is_loopback_v4(sv host)
{
    sv rest = host, part;
    uint64_t n, first = 0;
    unsigned parts = 0;
    while (sv_cut(&rest, '.', &part)) {
        if (part.len > 3 || !sv_to_u64(part, &n) || n > 255)
            return false;
        first = parts++ ? first : n;
    }
    return parts == 4 && first == 127;
}

/* A name, an IPv4 address, or an IPv6 address in brackets. */
static bool host_ok(sv host)
{
    bool v6 = host.len > 1 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (v6)
        host = sv_make(host.ptr + 1, host.len - 2);
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        bool hex = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
        if (v6 ? !hex && c != ':' && c != '.' : !unreserved(c))
            return false;
    }
    return host.len > 0 && host.len <= HOST_MAX;
}

err_code uri_authority_parse(sv text, sv *host, uint16_t *port, struct err *e)
{
    size_t host_len = text.len && text.ptr[0] == '[' ? sv_find(text, ']') + 1 : sv_find(text, ':');
    uint64_t n = 0;
    if (host_len > text.len)
        return ERR(e, ERR_INVALID, "has a broken IPv6 address");
    sv behind = sv_tail(text, host_len);
    if (behind.len &&
        (behind.ptr[0] != ':' || !sv_to_u64(sv_tail(behind, 1), &n) || n == 0 || n > 65535))
        return ERR(e, ERR_INVALID, "has a wrong port");
    if (host_len == 0)
        return ERR(e, ERR_INVALID, "has no host");
    if (!host_ok(sv_head(text, host_len)))
        return ERR(e, ERR_INVALID, "has a wrong host");
    *host = sv_head(text, host_len);
    *port = (uint16_t)n;
    return ERR_OK;
}

/* In a path, or in what stands behind it. */
static bool is_path_char(char c)
{
    return unreserved(c) || (c && strchr("/%:@!$&'()*+,;=", c) != NULL);
}

err_code uri_http_parse(sv text, struct uri_http *out, struct err *e)
{
    struct uri_http u = { 0 };
    if (sv_starts(text, SV_LIT("http://")))
        u.scheme = sv_head(text, 4);
    else if (sv_starts(text, SV_LIT("https://")))
        u.scheme = sv_head(text, 5);
    else
        return ERR(e, ERR_INVALID, "endpoint must begin with http:// or https://");
    sv rest = sv_tail(text, u.scheme.len + 3);
    size_t slash = sv_find(rest, '/');
    sv authority = sv_head(rest, slash);
    u.path = sv_tail(rest, slash);
    while (u.path.len && u.path.ptr[u.path.len - 1] == '/')
        u.path.len--;
    struct err why;
    if (uri_authority_parse(authority, &u.host, &u.port, &why) != ERR_OK)
        return ERR(e, ERR_INVALID, "endpoint %s", why.msg);
    for (size_t i = 0; i < u.path.len; i++) {
        if (u.path.ptr[i] == '?' || u.path.ptr[i] == '#')
            return ERR(e, ERR_INVALID, "endpoint must not have a query or fragment");
        if (!is_path_char(u.path.ptr[i]))
            return ERR(e, ERR_INVALID, "endpoint's path holds a character that no URL has");
    }
    *out = u;
    return ERR_OK;
}
