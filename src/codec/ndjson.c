/* ndjson.c - lines, cut out of a stream of plain bytes.
 *
 * `rest` holds what was read and not yet handed out, and always begins at the start of a line. A
 * fill hands out whole lines from it and reads more when it holds none. A line that is longer than
 * allowed is passed over to its end, so that the next fill begins at a line again. Only the line
 * that `rest` begins with is measured. A line longer than BLOCK always comes to stand there, so the
 * limit is exact where it is BLOCK or more. Of a line that does not end yet no byte is looked at
 * twice. */
#include "codec/ndjson.h"

#define BLOCK (256u << 10)

struct ndjson_reader {
    struct unpack *u; /* borrowed */
    size_t max_line;
    uint64_t offset; /* plain bytes handed out, or passed over */
    struct buf rest; /* read, not handed out yet; begins at a line start */
    size_t seen;     /* bytes of rest that have no newline */
    size_t pause;    /* 0: never */
    bool paused;
    bool end;
};

static err_code read_more(struct ndjson_reader *r, struct err *e)
{
    size_t n = 0;
    TRY(buf_reserve(&r->rest, BLOCK, e));
    err_code rc = unpack_read(r->u, r->rest.ptr + r->rest.len, BLOCK, &n, e);
    if (rc == ERR_EOF)
        r->end = true;
    else if (rc != ERR_OK)
        return rc;
    r->rest.len += n;
    return ERR_OK;
}

err_code ndjson_open(struct unpack *u, uint64_t skip_bytes, size_t max_line_bytes,
                     struct ndjson_reader **out, struct err *e)
{
    struct ndjson_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->u = u;
    r->max_line = max_line_bytes;
    buf_init(&r->rest, max_line_bytes + 4 * BLOCK);
    uint64_t left = skip_bytes;
    err_code rc = ERR_OK;
    while (left && rc == ERR_OK && !r->end) {
        rc = read_more(r, e);
        size_t n = r->rest.len < left ? r->rest.len : (size_t)left;
        memmove(r->rest.ptr, r->rest.ptr + n, r->rest.len - n);
        r->rest.len -= n;
        left -= n;
    }
    /* the last line's newline was added by ndjson_fill, so an offset may lie one behind the end */
    if (rc == ERR_OK && left > 1)
        rc = ERR(e, ERR_INVALID, "input is shorter than it was");
    if (rc != ERR_OK) {
        ndjson_close(r);
        return rc;
    }
    r->offset = skip_bytes;
    *out = r;
    return ERR_OK;
}

static void drop_rest(struct ndjson_reader *r, size_t n)
{
    memmove(r->rest.ptr, r->rest.ptr + n, r->rest.len - n);
    r->rest.len -= n;
    r->seen = 0;
    r->offset += n;
}

err_code ndjson_skip_mark(struct ndjson_reader *r, struct err *e)
{
    static const char mark[] = { '\xEF', '\xBB', '\xBF' };
    while (r->rest.len < sizeof mark && !r->end)
        TRY(read_more(r, e));
    if (r->rest.len >= sizeof mark && memcmp(r->rest.ptr, mark, sizeof mark) == 0)
        drop_rest(r, sizeof mark);
    return ERR_OK;
}

void ndjson_close(struct ndjson_reader *r)
{
    if (r == NULL)
        return;
    buf_done(&r->rest);
    free(r);
}

uint64_t ndjson_offset(const struct ndjson_reader *r)
{
    return r->offset;
}

static uint64_t count_lines(sv text)
{
    uint64_t n = 0;
    const char *p = text.ptr, *end = text.ptr + text.len;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        n++;
        p++;
    }
    return n;
}

/* Pass over a line that is too long, however long it is. */
static err_code skip_long_line(struct ndjson_reader *r, struct err *e)
{
    for (;;) {
        char *nl = r->rest.len ? memchr(r->rest.ptr, '\n', r->rest.len) : NULL;
        if (nl) {
            drop_rest(r, (size_t)(nl - r->rest.ptr) + 1);
            return ERR_OK;
        }
        drop_rest(r, r->rest.len);
        if (r->end)
            return ERR_OK;
        TRY(read_more(r, e));
    }
}

/* Hand out the first n bytes of rest, which are whole lines. */
static err_code hand_out(struct ndjson_reader *r, size_t n, struct buf *dst, uint64_t *n_lines,
                         struct err *e)
{
    sv part = sv_make(r->rest.ptr, n);
    TRY(buf_add(dst, part, e));
    *n_lines += count_lines(part);
    drop_rest(r, n);
    return ERR_OK;
}

void ndjson_pause(struct ndjson_reader *r, size_t bytes)
{
    r->pause = bytes;
}

bool ndjson_is_paused(const struct ndjson_reader *r)
{
    return r->paused;
}

/* The memory of a long line is given back. */
static err_code shrink_rest(struct ndjson_reader *r, struct err *e)
{
    struct buf rest = BUF_INIT(r->rest.max);
    if (r->pause == 0 || r->rest.cap <= r->pause || r->rest.len > 2 * BLOCK)
        return ERR_OK;
    TRY(buf_add(&rest, buf_sv(&r->rest), e));
    buf_done(&r->rest);
    r->rest = rest;
    return ERR_OK;
}

/* The first n bytes of rest are one line, and become dst's. An empty dst changes its memory for
 * rest's. */
static err_code hand_over(struct ndjson_reader *r, size_t n, struct buf *dst, struct err *e)
{
    struct buf whole = r->rest, rest = BUF_INIT(whole.max);
    if (dst->len) {
        TRY(buf_add(dst, sv_head(buf_sv(&whole), n), e));
        drop_rest(r, n);
        return shrink_rest(r, e);
    }
    rest.ptr = dst->ptr;
    rest.cap = dst->cap;
    TRY(buf_add(&rest, sv_tail(buf_sv(&whole), n), e));
    dst->ptr = whole.ptr;
    dst->cap = whole.cap;
    dst->len = n;
    r->rest = rest;
    r->seen = 0;
    r->offset += n;
    return ERR_OK;
}

/* The line that the fill before has paused in front of. */
static err_code fill_alone(struct ndjson_reader *r, struct buf *dst, uint64_t *n_lines,
                           bool *long_line, struct err *e)
{
    r->paused = false;
    for (;;) {
        char *nl = memchr(r->rest.ptr + r->seen, '\n', r->rest.len - r->seen);
        size_t n = nl ? (size_t)(nl - r->rest.ptr) : r->rest.len;
        r->seen = n;
        if (n > r->max_line) {
            *long_line = true;
            TRY(skip_long_line(r, e));
            return shrink_rest(r, e);
        }
        if (nl || r->end) {
            TRY(hand_over(r, n + (nl != NULL), dst, e));
            if (nl == NULL) {
                TRY(buf_add_char(dst, '\n', e));
                r->offset++;
            }
            *n_lines = 1;
            return ERR_OK;
        }
        TRY(read_more(r, e));
    }
}

err_code ndjson_fill(struct ndjson_reader *r, size_t target_bytes, struct buf *dst,
                     uint64_t *n_lines, bool *long_line, struct err *e)
{
    size_t start = dst->len;
    *n_lines = 0;
    *long_line = false;
    if (r->paused)
        return fill_alone(r, dst, n_lines, long_line, e);
    for (;;) {
        size_t more = r->rest.len - r->seen;
        char *nl = more ? memrchr(r->rest.ptr + r->seen, '\n', more) : NULL;
        size_t whole = nl ? (size_t)(nl - r->rest.ptr) + 1 : 0;
        if (whole) {
            char *first = memchr(r->rest.ptr, '\n', whole);
            if ((size_t)(first - r->rest.ptr) > r->max_line) {
                *long_line = true;
                return skip_long_line(r, e);
            }
            TRY(hand_out(r, whole, dst, n_lines, e));
        } else if (r->rest.len > r->max_line) {
            *long_line = true;
            return skip_long_line(r, e);
        } else if (r->pause && r->rest.len > r->pause) {
            r->seen = r->rest.len;
            r->paused = true;
            return ERR_OK;
        } else if (r->end) {
            /* the last line, without a newline */
            if (r->rest.len) {
                TRY(hand_out(r, r->rest.len, dst, n_lines, e));
                TRY(buf_add_char(dst, '\n', e));
                r->offset++;
                ++*n_lines;
            }
            return dst->len > start ? ERR_OK : ERR_EOF;
        }
        r->seen = r->rest.len;
        if (dst->len - start >= target_bytes || *n_lines >= NDJSON_FILL_LINES)
            return ERR_OK;
        if (!r->end)
            TRY(read_more(r, e));
    }
}

bool ndjson_line(sv *rest, sv *line)
{
    if (rest->len == 0)
        return false;
    size_t n = sv_find(*rest, '\n');
    *line = sv_head(*rest, n);
    *rest = sv_tail(*rest, n + 1);
    if (line->len && line->ptr[line->len - 1] == '\r')
        line->len--;
    return true;
}
