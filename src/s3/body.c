/* body.c - a request's body on its way, in one of two forms.
 *
 *   plain    the bytes as they stand; the head of the request is signed with their digest
 *   framed   chunks of S3_CHUNK_BYTES, each behind its length, and a checksum at the end, which is
 *            computed while the bytes are handed over:
 *              100000 CRLF bytes CRLF ... 2f CRLF bytes CRLF 0 CRLF
 *              x-amz-checksum-sha256: base64 CRLF CRLF
 *
 * Either can be rewound, and then its checksum starts anew.
 * Source: Amazon S3 API Reference, "Signature calculations: trailing headers". */
#include "s3/s3_private.h"

#define STEP_BYTES (64u << 10) /* digested and copied while it is in the cache */

struct s3_checksum_form s3_checksum_form(s3_checksum kind)
{
    static const struct s3_checksum_form forms[] = {
        [S3_CHECKSUM_NONE] = { "", "", "", 0 },
        [S3_CHECKSUM_SHA256] = { "x-amz-checksum-sha256", "SHA256", "ChecksumSHA256", SHA256_LEN },
        [S3_CHECKSUM_CRC32C] = { "x-amz-checksum-crc32c", "CRC32C", "ChecksumCRC32C", 4 },
    };
    return forms[kind];
}

void s3_checksum_text(s3_checksum kind, const unsigned char *sum, char out[S3_CHECKSUM_TEXT])
{
    CLEANUP_BUF struct buf text = BUF_INIT(S3_CHECKSUM_TEXT);
    struct err e;
    /* there is room for it */
    IGNORE(hash_base64(sv_make(sum, s3_checksum_form(kind).bytes), &text, &e));
    memcpy(out, text.ptr, text.len);
    out[text.len] = 0;
}

void s3_crc32c_text(uint32_t crc, char out[S3_CHECKSUM_TEXT])
{
    const unsigned char sum[4] = { (unsigned char)(crc >> 24), (unsigned char)(crc >> 16),
                                   (unsigned char)(crc >> 8), (unsigned char)crc };
    s3_checksum_text(S3_CHECKSUM_CRC32C, sum, out);
}

static uint64_t chunk_at(const struct s3_body *b, uint64_t at)
{
    return b->len - at < S3_CHUNK_BYTES ? b->len - at : S3_CHUNK_BYTES;
}

static void end(struct s3_body *b)
{
    if (b->hash) {
        hash_sha256_take(b->hash, b->sha256);
        s3_checksum_text(b->framed, b->sha256, b->checksum);
    } else {
        s3_crc32c_text(b->crc, b->checksum);
    }
    b->ended = true;
}

/* What stands before the bytes at b->sent: a chunk's head, or the end of all. */
static void set_frame(struct s3_body *b)
{
    const char *before = b->sent ? "\r\n" : "";
    struct s3_checksum_form form = s3_checksum_form(b->framed);
    int n;
    b->chunk_left = chunk_at(b, b->sent);
    if (b->chunk_left) {
        n = snprintf(b->frame, sizeof b->frame, "%s%llx\r\n", before,
                     (unsigned long long)b->chunk_left);
    } else {
        end(b);
        n = snprintf(b->frame, sizeof b->frame, "%s0\r\n%s:%s\r\n\r\n", before, form.header,
                     b->checksum);
    }
    b->frame_len = (size_t)n;
    b->frame_at = 0;
}

void s3_body_init(struct s3_body *b, const sv *pieces, size_t n_pieces, s3_checksum framed)
{
    *b = (struct s3_body){ .pieces = pieces, .n_pieces = n_pieces, .framed = framed };
    for (size_t i = 0; i < n_pieces; i++)
        b->len += pieces[i].len;
    if (framed == S3_CHECKSUM_SHA256)
        b->hash = hash_sha256_new();
    (void)s3_body_rewind(b, 0);
}

void s3_body_done(struct s3_body *b)
{
    hash_sha256_free(b->hash);
    b->hash = NULL;
}

bool s3_body_rewind(struct s3_body *b, uint64_t to)
{
    if (to > b->len || (to && b->framed))
        return false;
    b->piece = b->piece_at = 0;
    b->sent = to;
    b->ended = false;
    b->frame_len = b->frame_at = 0;
    while (b->piece < b->n_pieces && to >= b->pieces[b->piece].len)
        to -= b->pieces[b->piece++].len;
    b->piece_at = (size_t)to;
    if (b->framed) {
        if (b->hash)
            hash_sha256_take(b->hash, b->sha256);
        b->crc = 0;
        set_frame(b);
    } else {
        b->chunk_left = b->len - b->sent;
    }
    return true;
}

/* Bytes of the pieces, at most cap. */
static size_t copy(struct s3_body *b, char *dst, size_t cap)
{
    while (b->piece_at == b->pieces[b->piece].len) {
        b->piece++;
        b->piece_at = 0;
    }
    sv rest = sv_head(sv_tail(b->pieces[b->piece], b->piece_at), cap);
    if (b->framed)
        rest = sv_head(rest, STEP_BYTES);
    if (b->hash)
        hash_sha256_add(b->hash, rest);
    else if (b->framed == S3_CHECKSUM_CRC32C)
        b->crc = hash_crc32c(b->crc, rest);
    memcpy(dst, rest.ptr, rest.len);
    b->piece_at += rest.len;
    b->sent += rest.len;
    b->chunk_left -= rest.len;
    return rest.len;
}

size_t s3_body_read(struct s3_body *b, char *dst, size_t cap)
{
    size_t got = 0;
    while (got < cap) {
        if (b->frame_at < b->frame_len) {
            sv rest =
                sv_head(sv_make(b->frame + b->frame_at, b->frame_len - b->frame_at), cap - got);
            memcpy(dst + got, rest.ptr, rest.len);
            b->frame_at += rest.len;
            got += rest.len;
        } else if (b->chunk_left) {
            size_t most = cap - got;
            got += copy(b, dst + got, b->chunk_left < most ? (size_t)b->chunk_left : most);
            if (b->framed && b->chunk_left == 0)
                set_frame(b);
        } else {
            break;
        }
    }
    return got;
}

uint64_t s3_body_wire_bytes(const struct s3_body *b)
{
    char head[24];
    if (!b->framed)
        return b->len;
    struct s3_checksum_form form = s3_checksum_form(b->framed);
    uint64_t n = 0;
    for (uint64_t at = 0; at < b->len; at += chunk_at(b, at))
        n += (uint64_t)snprintf(head, sizeof head, "%llx\r\n\r\n",
                                (unsigned long long)chunk_at(b, at)) +
             chunk_at(b, at);
    return n + strlen("0\r\n:\r\n\r\n") + strlen(form.header) + (form.bytes + 2) / 3 * 4;
}
