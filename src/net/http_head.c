/* http_head.c - the head of a request, judged before anything of it is used.
 *
 * A proxy in front and the server behind must cut a connection's bytes into the same requests and
 * read the same path, or one caller's bytes become another's request. So what may be read in two
 * ways is refused, and the connection ends: nothing behind it is read at all.
 *
 * libmicrohttpd before 1.0 takes a line that ends in LF alone, folds continued lines, cuts values
 * at NUL and skips blanks in the request line, and shows none of it. But it parses in place: the
 * texts that it shows are the connection's own buffer, so where they stand tells what stood between
 * them (http_head_in_place). The one thing that looks the same as CRLF there is NUL with LF behind
 * it at the end of a value. From 1.0 on the library refuses all of that itself when it is told to
 * be strict. The lines of a chunked body are never shown: the connection ends behind such a request
 * (http_server.c).
 * Source: RFC 9112, sections 2.2, 3, 5, 6 and 11.2; RFC 9110, sections 5.6.2 and 7.2. */
#include "net/http_private.h"

/* Of these a request has one, or it says two things. */
static const struct {
    const char *name;
    size_t len;
    const char *fault;
} singles[] = {
#define SINGLE(name)                                           \
    {                                                          \
        name, sizeof name - 1, "More than one " name " header" \
    }
    SINGLE("Host"),
    SINGLE("Content-Length"),
    SINGLE("Transfer-Encoding"),
    SINGLE("Content-Type"),
    SINGLE("Content-Encoding"),
    SINGLE("Authorization"),
    SINGLE("Date"),
    SINGLE("Expect"),
    SINGLE("Origin"),
    SINGLE("Sec-Fetch-Site"),
    SINGLE("X-Amz-Date"),
    SINGLE("X-Amz-Target"),
    SINGLE("X-Amz-Security-Token"),
    SINGLE("X-Amz-Content-Sha256"),
#undef SINGLE
};
#define N_SINGLES (sizeof singles / sizeof singles[0])

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool all_are(sv text, const char *besides)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_letter_or_digit(text.ptr[i]) &&
            (text.ptr[i] == 0 || strchr(besides, text.ptr[i]) == NULL))
            return false;
    return text.len > 0;
}

static bool is_token_char(char c)
{
    switch (c) {
    case '!':
    case '#':
    case '$':
    case '%':
    case '&':
    case '\'':
    case '*':
    case '+':
    case '-':
    case '.':
    case '^':
    case '_':
    case '`':
    case '|':
    case '~':
        return true;
    default:
        return is_letter_or_digit(c);
    }
}

static bool is_token(sv text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_token_char(text.ptr[i]))
            return false;
    return text.len > 0;
}

static bool is_number(sv text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
    return text.len > 0;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7F;
}

/* May one of eight bytes be a control byte? Bytes past ASCII are none; a tab is one here. */
static bool may_hold_control(const char *eight)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    uint64_t w;
    memcpy(&w, eight, sizeof w);
    /* zero where the byte is DEL */
    uint64_t deletes = w ^ ones * 0x7F;
    return (((w - ones * 0x20) & ~w) | ((deletes - ones) & ~deletes)) & tops;
}

static bool value_is_clean(sv value)
{
    for (size_t i = 0; i < value.len;) {
        if (i + 8 <= value.len && !may_hold_control(value.ptr + i)) {
            i += 8;
            continue;
        }
        if (is_control(value.ptr[i]) && value.ptr[i] != '\t')
            return false;
        i++;
    }
    return true;
}

/* A name or address with a port or without. */
static bool is_host(sv host)
{
    size_t end = host.len;
    if (host.len && host.ptr[0] == '[') {
        end = sv_find(host, ']');
        if (end == host.len || !all_are(sv_make(host.ptr + 1, end - 1), ":."))
            return false;
        end++;
    } else {
        end = sv_find(host, ':');
        if (!all_are(sv_head(host, end), "-._~%"))
            return false;
    }
    return end == host.len || (host.ptr[end] == ':' && is_number(sv_tail(host, end + 1)));
}

/* ---- the target ---- */

/* One byte of a path, an escaped dot or slash as what it stands for. */
static size_t path_byte(sv path, size_t at, char *out)
{
    if (path.ptr[at] == '%' && at + 2 < path.len && path.ptr[at + 1] == '2') {
        char c = (char)(path.ptr[at + 2] | 0x20);
        if (c == 'e' || c == 'f') {
            *out = c == 'e' ? '.' : '/';
            return 3;
        }
    }
    *out = path.ptr[at];
    return 1;
}

static bool has_dot_segment(sv path)
{
    size_t n_dots = 0, n_others = 0;
    for (size_t i = 0; i < path.len;) {
        char c;
        i += path_byte(path, i, &c);
        if (c == '/') {
            if (n_dots && n_dots <= 2 && n_others == 0)
                return true;
            n_dots = n_others = 0;
        } else if (c == '.') {
            n_dots++;
        } else {
            n_others++;
        }
    }
    return n_dots && n_dots <= 2 && n_others == 0;
}

static const char *target_fault(sv target)
{
    if (target.len == 0 || target.ptr[0] != '/')
        return "The request target must be a path; absolute and asterisk forms are not taken";
    for (size_t i = 0; i < target.len; i++)
        if (is_control(target.ptr[i]) || target.ptr[i] == ' ' || target.ptr[i] == '#')
            return "The request target holds a byte that must be encoded";
    if (has_dot_segment(sv_head(target, sv_find(target, '?'))))
        return "The path has a segment \".\" or \"..\"";
    return NULL;
}

sv http_path_collapse(struct arena *a, sv path)
{
    size_t n = 0;
    bool doubled = false;
    for (size_t i = 0; i + 1 < path.len && !doubled; i++)
        doubled = path.ptr[i] == '/' && path.ptr[i + 1] == '/';
    if (!doubled)
        return path;
    char *out = arena_alloc(a, path.len);
    if (out == NULL)
        return SV_NONE;
    for (size_t i = 0; i < path.len; i++)
        if (i == 0 || path.ptr[i] != '/' || path.ptr[i - 1] != '/')
            out[n++] = path.ptr[i];
    return sv_make(out, n);
}

/* ---- headers ---- */

static const char *headers_fault(const struct http_request *req, bool seen[N_SINGLES])
{
    for (size_t i = 0; i < req->n_headers; i++) {
        const struct http_header *h = &req->headers[i];
        if (!is_token(h->name))
            return "A header's name is not a token";
        if (!value_is_clean(h->value))
            return "A header's value holds a control byte";
        for (size_t k = 0; k < N_SINGLES; k++) {
            if (h->name.len != singles[k].len ||
                !sv_eq_nocase(h->name, sv_make(singles[k].name, singles[k].len)))
                continue;
            if (seen[k])
                return singles[k].fault;
            seen[k] = true;
        }
    }
    return NULL;
}

const char *http_head_fault(const struct http_request *req, sv version, struct http_framing *out)
{
    bool seen[N_SINGLES] = { false };
    bool is_11 = sv_eq(version, SV_LIT("HTTP/1.1"));
    const char *fault;
    *out = (struct http_framing){ 0 };
    if (!is_11 && !sv_eq(version, SV_LIT("HTTP/1.0")))
        return "Only HTTP/1.0 and HTTP/1.1 are spoken here";
    if (!is_token(req->method))
        return "The method is not a token";
    if ((fault = target_fault(req->target)) || (fault = headers_fault(req, seen)))
        return fault;
    sv host = http_header_get(req, "Host"), coding = http_header_get(req, "Transfer-Encoding");
    sv length = http_header_get(req, "Content-Length");
    if (host.ptr ? !is_host(sv_trim(host)) : is_11)
        return "The request must say its Host: a name or an address, with a port or without";
    if (coding.ptr && length.ptr)
        return "Content-Length and Transfer-Encoding exclude each other";
    if (coding.ptr && (!is_11 || !sv_eq(coding, SV_LIT("chunked"))))
        return "The only Transfer-Encoding is chunked, in HTTP/1.1";
    if (length.ptr && (!is_number(length) || !sv_to_u64(length, &out->length)))
        return "Content-Length is not a number";
    out->chunked = coding.ptr != NULL;
    return NULL;
}

/* ---- where the texts stand ---- */

static bool is_blank(const char *from, const char *to)
{
    for (; from < to; from++)
        if (*from != ' ' && *from != '\t')
            return false;
    return from == to;
}

bool http_head_in_place(const struct http_head_layout *l, const struct http_header *headers,
                        size_t n)
{
    const char *at = l->method + strlen(l->method) + 1;
    if (l->target != at)
        return false;
    at += l->target_len + 1;
    if (l->version != at)
        return false;
    at += strlen(l->version) + 2;
    for (size_t i = 0; i < n; i++) {
        if (headers[i].name.ptr != at || headers[i].value.ptr == NULL)
            return false;
        at += headers[i].name.len + 1;
        if (headers[i].value.ptr < at || !is_blank(at, headers[i].value.ptr))
            return false;
        at = headers[i].value.ptr + headers[i].value.len + 2;
    }
    return at + 2 == l->method + l->bytes;
}

sv http_header_get(const struct http_request *req, const char *name)
{
    sv n = sv_from(name);
    for (size_t i = 0; i < req->n_headers; i++)
        if (sv_eq_nocase(req->headers[i].name, n))
            return req->headers[i].value;
    return SV_NONE;
}
