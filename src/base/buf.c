/* buf.c - bytes that grow by doubling, up to a cap. A call that would go past the cap changes
 * nothing. When the machine itself has no memory left the process ends: it recovers when it is
 * started again. */
#include "base/buf.h"

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = BUF_INIT(max_bytes);
}

void buf_done(struct buf *b)
{
    if (b == NULL)
        return;
    free(b->ptr);
    b->ptr = NULL;
    b->len = b->cap = 0;
}

err_code buf_reserve(struct buf *b, size_t more, struct err *e)
{
    if (more <= b->cap - b->len)
        return ERR_OK;
    if (more > b->max || b->len > b->max - more)
        return ERR(e, ERR_TOO_LARGE, "more than %zu bytes", b->max);
    size_t need = b->len + more;
    size_t cap = b->cap ? b->cap : b->max < 256 ? b->max : 256;
    while (cap < need)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    char *p = realloc(b->ptr, cap);
    /* The machine has no memory left: a restart recovers. */
    if (p == NULL)
        abort();
    b->ptr = p;
    b->cap = cap;
    return ERR_OK;
}

err_code buf_add(struct buf *b, sv bytes, struct err *e)
{
    TRY(buf_reserve(b, bytes.len, e));
    if (bytes.len)
        memcpy(b->ptr + b->len, bytes.ptr, bytes.len);
    b->len += bytes.len;
    return ERR_OK;
}

err_code buf_add_char(struct buf *b, char c, struct err *e)
{
    return buf_add(b, (sv){ &c, 1 }, e);
}

err_code buf_add_fmt(struct buf *b, struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return ERR(e, ERR_INTERNAL, "bad format");
    TRY(buf_reserve(b, (size_t)n + 1, e));
    va_start(ap, fmt);
    /* length known from above */
    (void)vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return ERR_OK;
}

void buf_shrink(struct buf *b, size_t keep_bytes)
{
    b->len = 0;
    if (b->cap > keep_bytes)
        buf_done(b);
}
