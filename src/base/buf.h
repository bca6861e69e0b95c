/* buf.h - owned, growing bytes with a cap.
 * A buf that would pass its cap stays as it was and the call answers ERR_TOO_LARGE. Bytes are kept
 * contiguous; views of it end with the next append. One thread at a time.   Floor: base. */
#pragma once
#include "base/sv.h"

struct buf {
    char *ptr;
    size_t len; /* bytes in use */
    size_t cap; /* bytes allocated */
    size_t max; /* bytes allowed */
};

#define BUF_INIT(max_bytes) ((struct buf){ NULL, 0, 0, (max_bytes) })

void buf_init(struct buf *b, size_t max_bytes);
void buf_done(struct buf *b); /* accepts a zeroed or NULL buf; b is empty afterwards */
#define CLEANUP_BUF __attribute__((cleanup(buf_done)))

static inline sv buf_sv(const struct buf *b)
{
    return (sv){ b->ptr, b->len };
}
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
}
/* Room for `more` bytes behind len, so that a caller may write there and then add to len. */
MUST_USE err_code buf_reserve(struct buf *b, size_t more, struct err *e);
MUST_USE err_code buf_add(struct buf *b, sv bytes, struct err *e);
MUST_USE err_code buf_add_char(struct buf *b, char c, struct err *e);
/* While it is written a NUL stands behind the text, for which the cap must leave room. */
MUST_USE err_code buf_add_fmt(struct buf *b, struct err *e, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Give memory above keep_bytes back; the content is lost. */
void buf_shrink(struct buf *b, size_t keep_bytes);
