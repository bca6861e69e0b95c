/* A stream, perhaps compressed, cut into lines; then again from a resume point in the middle. */
#include "fuzz.h"

#include "codec/ndjson.h"

struct source {
    sv rest;
    size_t step;
};

static err_code read_some(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    (void)e;
    struct source *s = ctx;
    if (s->rest.len == 0)
        return ERR_EOF;
    *n = s->rest.len < s->step ? s->rest.len : s->step;
    *n = *n < cap ? *n : cap;
    memcpy(dst, s->rest.ptr, *n);
    s->rest = sv_tail(s->rest, *n);
    return ERR_OK;
}

/* All lines from `from` on; returns false when the stream is broken. *half: a resume point on the
 * way. */
static bool read_all(sv data, uint64_t from, struct buf *out, uint64_t *half, size_t *half_len)
{
    struct source src = { data, 1 + data.len % 97 };
    struct unpack *u = NULL;
    struct ndjson_reader *r = NULL;
    struct err e;
    err_code rc = unpack_open((struct byte_reader){ read_some, NULL, &src }, &u, &e);
    if (rc == ERR_OK)
        rc = ndjson_open(u, from, 4096, &r, &e);
    for (unsigned i = 0; rc == ERR_OK && i < 4096; i++) {
        uint64_t n;
        bool long_line;
        rc = ndjson_fill(r, 64, out, &n, &long_line, &e);
        if (rc == ERR_OK && i == 1) {
            *half = ndjson_offset(r);
            *half_len = out->len;
        }
    }
    ndjson_close(r);
    unpack_close(u);
    return rc == ERR_EOF || rc == ERR_OK;
}

FUZZ(data)
{
    struct buf all = BUF_INIT(64u << 20), tail = BUF_INIT(64u << 20);
    uint64_t half = 0;
    size_t half_len = 0, ignored_len;
    uint64_t ignored;
    if (read_all(data, 0, &all, &half, &half_len) && half) {
        MUST(read_all(data, half, &tail, &ignored, &ignored_len));
        MUST(sv_ends(buf_sv(&all), buf_sv(&tail)) && all.len == half_len + tail.len);
    }
    buf_done(&all);
    buf_done(&tail);
}
