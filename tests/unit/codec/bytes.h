/* bytes.h - a source that gives its bytes in pieces of one size and may fail on the way, and the
 * compressed forms of a text. */
#pragma once
#include "test.h"

#include "codec/ndjson.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

/* Not every test file needs every helper. */
#pragma GCC diagnostic ignored "-Wunused-function"

struct bytes {
    sv rest;
    size_t step;       /* most bytes of one read */
    size_t good;       /* bytes given before it fails, with: */
    err_code rc;       /* ERR_OK: never */
    unsigned n_closed; /* times */
};

static err_code bytes_read(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    struct bytes *s = ctx;
    if (s->n_closed)
        return ERR(e, ERR_INTERNAL, "read after close");
    if (s->rc != ERR_OK && s->good == 0)
        return ERR(e, s->rc, "the source failed");
    if (s->rest.len == 0)
        return ERR_EOF;
    size_t most = s->step < cap ? s->step : cap;
    if (s->rc != ERR_OK && s->good < most)
        most = s->good;
    *n = s->rest.len < most ? s->rest.len : most;
    memcpy(dst, s->rest.ptr, *n);
    s->rest = sv_tail(s->rest, *n);
    s->good -= s->rc != ERR_OK ? *n : 0;
    return ERR_OK;
}

static void bytes_close(void *ctx)
{
    ((struct bytes *)ctx)->n_closed++;
}

static struct byte_reader bytes_reader(struct bytes *s)
{
    return (struct byte_reader){ bytes_read, bytes_close, s };
}

static void bytes_gzip(sv text, struct buf *out)
{
    struct isal_zstream z;
    isal_deflate_init(&z);
    z.end_of_stream = 1;
    z.flush = NO_FLUSH;
    z.gzip_flag = IGZIP_GZIP;
    OK(buf_reserve(out, text.len + text.len / 8 + 1024, e));
    z.next_in = (uint8_t *)(uintptr_t)(text.ptr ? text.ptr : "");
    z.avail_in = (uint32_t)text.len;
    z.next_out = (uint8_t *)out->ptr + out->len;
    z.avail_out = (uint32_t)(out->cap - out->len);
    assert_int_equal(isal_deflate(&z), COMP_OK);
    assert_int_equal(z.internal_state.state, ZSTATE_END);
    out->len += z.total_out;
}

static void bytes_zstd(sv text, struct buf *out)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    assert_non_null(c);
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)));
    size_t bound = ZSTD_compressBound(text.len);
    OK(buf_reserve(out, bound, e));
    size_t n = ZSTD_compress2(c, out->ptr + out->len, bound, text.ptr ? text.ptr : "", text.len);
    assert_false(ZSTD_isError(n));
    out->len += n;
    ZSTD_freeCCtx(c);
}

/* Text that compresses, but not to nothing: numbered lines. */
static void bytes_lines(size_t at_least, struct buf *out)
{
    for (uint32_t i = 0, r = 1; out->len < at_least; i++) {
        r = r * 1664525u + 1013904223u;
        OK(buf_add_fmt(out, e, "{\"line\":%u,\"chance\":%u}\n", i, r >> 8));
    }
}
