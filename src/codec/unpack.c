/* unpack.c - A stream of bytes, unpacked while it is read.
 *
 * The first bytes say what it is: gzip, zstd, or plain. Members and frames that follow one another
 * are read through. A bomb ends early: the plain bytes are bounded, as a number and by how many may
 * come out for each byte that goes in. */
#include "codec/ndjson.h"

#include "base/limits.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define IN_BYTES (256u << 10)

/* igzip checks the checksum of a member's head only when the head comes in one piece; its longest
 * field, "extra", has up to 64 KiB. */
#define GZIP_HEAD_BYTES (80u << 10)

struct unpack {
    struct byte_reader src;
    enum { PLAIN, GZIP, ZSTD } kind;
    unsigned char *in;
    size_t in_at, in_len;
    bool src_end;
    uint64_t packed, plain; /* bytes that went in and came out */
    struct {
        uint64_t max_bytes, free_bytes;
        unsigned ratio; /* 0: unbounded */
    } bound;
    bool in_frame; /* inside a compressed member or frame */
    ZSTD_DStream *zstd;
    struct inflate_state gzip;
};

static err_code read_source(struct unpack *u, void *dst, size_t cap, size_t *n, struct err *e)
{
    TRY(u->src.read(u->src.ctx, dst, cap, n, e));
    u->packed += *n;
    return ERR_OK;
}

/* More input, when none is left. At the end of the source src_end is set. */
static err_code refill(struct unpack *u, struct err *e)
{
    if (u->in_at < u->in_len || u->src_end)
        return ERR_OK;
    size_t n = 0;
    err_code rc = read_source(u, u->in, IN_BYTES, &n, e);
    if (rc == ERR_EOF) {
        u->src_end = true;
        n = 0;
    } else if (rc != ERR_OK) {
        return rc;
    }
    u->in_at = 0;
    u->in_len = n;
    return ERR_OK;
}

/* At least so many bytes in one piece, unless the source ends before, whatever its own pieces
 * are. */
static err_code gather(struct unpack *u, size_t at_least, struct err *e)
{
    if (u->in_len - u->in_at >= at_least || u->src_end)
        return ERR_OK;
    memmove(u->in, u->in + u->in_at, u->in_len - u->in_at);
    u->in_len -= u->in_at;
    u->in_at = 0;
    while (u->in_len < at_least && !u->src_end) {
        size_t n = 0;
        err_code rc = read_source(u, u->in + u->in_len, IN_BYTES - u->in_len, &n, e);
        if (rc == ERR_EOF)
            u->src_end = true;
        else if (rc != ERR_OK)
            return rc;
        else
            u->in_len += n;
    }
    return ERR_OK;
}

err_code unpack_open(struct byte_reader src, struct unpack **out, struct err *e)
{
    struct unpack *u = calloc(1, sizeof *u);
    if (u == NULL || (u->in = malloc(IN_BYTES)) == NULL)
        abort();
    u->src = src;
    err_code rc = gather(u, 4, e);
    if (rc != ERR_OK) {
        unpack_close(u);
        return rc;
    }
    static const unsigned char zstd_magic[4] = { 0x28, 0xB5, 0x2F, 0xFD };
    if (u->in_len >= 2 && u->in[0] == 0x1F && u->in[1] == 0x8B) {
        u->kind = GZIP;
        isal_inflate_init(&u->gzip);
    } else if (u->in_len >= 4 && memcmp(u->in, zstd_magic, 4) == 0) {
        u->kind = ZSTD;
        u->zstd = ZSTD_createDStream();
        if (u->zstd == NULL || ZSTD_isError(ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax,
                                                                   LIMIT_UNPACK_WINDOW_LOG)))
            abort();
    }
    *out = u;
    return ERR_OK;
}

static bool is_packed_name(sv name)
{
    return (name.len >= 3 && sv_eq_nocase(sv_tail(name, name.len - 3), SV_LIT(".gz"))) ||
           (name.len >= 4 && sv_eq_nocase(sv_tail(name, name.len - 4), SV_LIT(".zst")));
}

err_code unpack_open_file(struct byte_reader src, sv name, struct unpack **out, struct err *e)
{
    CLEANUP(unpack_close) struct unpack *u = NULL;
    TRY(unpack_open(src, &u, e));
    if (u->in_len == 0 && is_packed_name(name))
        return ERR(e, ERR_INVALID, "compressed data is cut off: the file is empty");
    *out = u;
    u = NULL;
    return ERR_OK;
}

bool unpack_is_plain(const struct unpack *u)
{
    return u->kind == PLAIN;
}

void unpack_close(struct unpack *u)
{
    if (u == NULL)
        return;
    if (u->src.close)
        u->src.close(u->src.ctx);
    ZSTD_freeDStream(u->zstd);
    free(u->in);
    free(u);
}

static err_code read_plain(struct unpack *u, void *dst, size_t cap, size_t *n, struct err *e)
{
    if (u->in_at < u->in_len) {
        size_t have = u->in_len - u->in_at;
        *n = have < cap ? have : cap;
        memcpy(dst, u->in + u->in_at, *n);
        u->in_at += *n;
        return ERR_OK;
    }
    return u->src_end ? ERR_EOF : read_source(u, dst, cap, n, e);
}

static err_code read_gzip(struct unpack *u, void *dst, size_t cap, size_t *n, struct err *e)
{
    uint32_t room = cap > (1u << 30) ? 1u << 30 : (uint32_t)cap;
    for (;;) {
        TRY(refill(u, e));
        /* between members: another one, or the end */
        if (!u->in_frame) {
            TRY(gather(u, GZIP_HEAD_BYTES, e));
            if (u->in_at == u->in_len)
                return ERR_EOF;
            isal_inflate_reset(&u->gzip);
            u->gzip.crc_flag = ISAL_GZIP;
            u->in_frame = true;
        }
        u->gzip.next_in = u->in + u->in_at;
        u->gzip.avail_in = (uint32_t)(u->in_len - u->in_at);
        u->gzip.next_out = dst;
        u->gzip.avail_out = room;
        int rc = isal_inflate(&u->gzip);
        u->in_at = u->in_len - u->gzip.avail_in;
        size_t made = room - u->gzip.avail_out;
        if (rc != ISAL_DECOMP_OK)
            return ERR(e, ERR_INVALID, "gzip data is broken");
        if (u->gzip.block_state == ISAL_BLOCK_FINISH)
            u->in_frame = false;
        if (made) {
            *n = made;
            return ERR_OK;
        }
        if (u->in_frame && u->in_at == u->in_len && u->src_end)
            return ERR(e, ERR_INVALID, "gzip data is cut off");
    }
}

static err_code read_zstd(struct unpack *u, void *dst, size_t cap, size_t *n, struct err *e)
{
    for (;;) {
        TRY(refill(u, e));
        if (u->in_at == u->in_len && u->src_end && !u->in_frame)
            return ERR_EOF;
        ZSTD_inBuffer in = { u->in + u->in_at, u->in_len - u->in_at, 0 };
        ZSTD_outBuffer out = { dst, cap, 0 };
        size_t rc = ZSTD_decompressStream(u->zstd, &out, &in);
        u->in_at += in.pos;
        if (ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge)
            return ERR(e, ERR_TOO_LARGE, "zstd data needs a window of more than %u MiB",
                       1u << (LIMIT_UNPACK_WINDOW_LOG - 20));
        if (ZSTD_isError(rc))
            return ERR(e, ERR_INVALID, "zstd data is broken");
        u->in_frame = rc != 0;
        if (out.pos) {
            *n = out.pos;
            return ERR_OK;
        }
        if (u->in_at == u->in_len && u->src_end && u->in_frame)
            return ERR(e, ERR_INVALID, "zstd data is cut off");
    }
}

void unpack_bound(struct unpack *u, uint64_t max_bytes, uint64_t free_bytes, unsigned ratio)
{
    u->bound.max_bytes = max_bytes;
    u->bound.free_bytes = free_bytes;
    u->bound.ratio = ratio;
}

static err_code check_bound(const struct unpack *u, struct err *e)
{
    if (u->bound.ratio == 0)
        return ERR_OK;
    if (u->plain > u->bound.max_bytes)
        return ERR(e, ERR_TOO_LARGE, "it unpacks to more than %llu bytes",
                   (unsigned long long)u->bound.max_bytes);
    /* Bytes that were read ahead have given nothing yet. */
    uint64_t used = u->packed - (u->in_len - u->in_at);
    if (u->plain > u->bound.free_bytes && u->plain / u->bound.ratio > used)
        return ERR(e, ERR_TOO_LARGE, "it unpacks to more than %u times its size", u->bound.ratio);
    return ERR_OK;
}

err_code unpack_read(struct unpack *u, void *dst, size_t cap, size_t *n, struct err *e)
{
    size_t got = 0;
    TRY(u->kind == GZIP   ? read_gzip(u, dst, cap, &got, e)
        : u->kind == ZSTD ? read_zstd(u, dst, cap, &got, e)
                          : read_plain(u, dst, cap, &got, e));
    u->plain += got;
    TRY(check_bound(u, e));
    *n = got;
    return ERR_OK;
}
