/* http_gzip.c - answers in gzip's form, packed by igzip at its fastest level: JSON shrinks to a
 * fifth at some 300 MB/s, on the thread that answers.
 *
 * A whole answer is packed into a copy that is never larger than itself. A stream is packed piece
 * by piece, so that what is put can be read at once. A file is packed while it is sent. That takes
 * PACK_IN_BYTES and igzip's state, half a MiB in all, however large the file is; past PACKS_MAX of
 * them files go out plain.
 * Source: RFC 1952; RFC 9110, section 12.5.3. */
#include "net/http_private.h"

#include "codec/crypt/cipher.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <stdatomic.h>
#include <unistd.h>

#define PACK_IN_BYTES  (64u << 10)
#define PACK_OUT_BYTES (64u << 10)
#define PACKS_MAX      128u

/* ---- does the caller take it ---- */

bool http_takes_gzip(sv accept_encoding)
{
    sv one, name;
    bool any = false;
    while (sv_cut(&accept_encoding, ',', &one)) {
        double q = 1;
        if (!sv_cut(&one, ';', &name))
            continue;
        name = sv_trim(name);
        sv weight = sv_trim(one);
        if (sv_starts(weight, SV_LIT("q=")) && !sv_to_double(sv_tail(weight, 2), &q))
            q = 0;
        if (sv_eq_nocase(name, SV_LIT("gzip")) || sv_eq_nocase(name, SV_LIT("x-gzip")))
            return q > 0;
        if (sv_eq(name, SV_LIT("*")))
            any = q > 0;
    }
    return any;
}

/* ---- whole answers ---- */

struct packing { /* large: not for the stack */
    struct isal_zstream z;
    unsigned char level[ISAL_DEF_LVL1_DEFAULT];
};

bool http_gzip(struct buf *body)
{
    if (body->len < HTTP_PACK_MIN || body->len > UINT32_MAX / 2)
        return false;
    struct packing *p = malloc(sizeof *p);
    char *out = malloc(body->len);
    if (p == NULL || out == NULL)
        abort();
    isal_deflate_init(&p->z);
    p->z.gzip_flag = IGZIP_GZIP;
    p->z.level = 1;
    p->z.level_buf = p->level;
    p->z.level_buf_size = sizeof p->level;
    p->z.end_of_stream = 1;
    p->z.next_in = (uint8_t *)body->ptr;
    p->z.avail_in = (uint32_t)body->len;
    p->z.next_out = (uint8_t *)out;
    p->z.avail_out = (uint32_t)body->len;
    bool ok = isal_deflate(&p->z) == COMP_OK && p->z.internal_state.state == ZSTATE_END;
    size_t len = p->z.total_out;
    free(p);
    /* The body does not get smaller. */
    if (!ok) {
        free(out);
        return false;
    }
    free(body->ptr);
    body->ptr = realloc(out, len);
    if (body->ptr == NULL)
        abort();
    body->cap = body->len = len;
    return true;
}

/* ---- streams, packed as they are made ---- */

struct http_packer {
    struct packing p;
};

struct http_packer *http_packer_new(void)
{
    struct http_packer *packer = malloc(sizeof *packer);
    if (packer == NULL)
        abort();
    isal_deflate_init(&packer->p.z);
    packer->p.z.gzip_flag = IGZIP_GZIP;
    packer->p.z.level = 1;
    packer->p.z.level_buf = packer->p.level;
    packer->p.z.level_buf_size = sizeof packer->p.level;
    return packer;
}

void http_packer_free(struct http_packer *packer)
{
    free(packer);
}

void http_packer_add(struct http_packer *packer, sv piece, bool last, struct buf *out)
{
    struct isal_zstream *z = &packer->p.z;
    z->next_in = (uint8_t *)(uintptr_t)piece.ptr;
    z->avail_in = (uint32_t)piece.len;
    z->end_of_stream = last;
    z->flush = last ? NO_FLUSH : SYNC_FLUSH;
    do {
        struct err e;
        /* a piece is bounded, and so is what comes of it */
        if (buf_reserve(out, PACK_OUT_BYTES, &e) != ERR_OK)
            abort();
        z->next_out = (uint8_t *)out->ptr + out->len;
        z->avail_out = PACK_OUT_BYTES;
        if (isal_deflate(z) != COMP_OK)
            abort();
        out->len += PACK_OUT_BYTES - z->avail_out;
    } while (z->avail_in || z->avail_out == 0 || (last && z->internal_state.state != ZSTATE_END));
}

/* ---- files, packed on the way ---- */

static atomic_uint n_packs;

struct pack {
    struct isal_zstream z;
    int fd;
    struct cipher *cipher; /* NULL: it is plain */
    uint64_t at, end;      /* of what the file holds: next byte to read, behind the last */
    bool done;
    unsigned char in[PACK_IN_BYTES];
    unsigned char level[ISAL_DEF_LVL1_DEFAULT];
};

static bool refill(struct pack *pack)
{
    uint64_t left = pack->end - pack->at;
    ssize_t n;
    do
        n = pread(pack->fd, pack->in, left < sizeof pack->in ? (size_t)left : sizeof pack->in,
                  (off_t)(pack->at + (pack->cipher ? CIPHER_PREFIX : 0)));
    while (n < 0 && errno == EINTR);
    /* shorter than it was: the length was promised */
    if (n < 0 || (n == 0 && left))
        return false;
    if (pack->cipher)
        cipher_apply(pack->cipher, pack->at, pack->in, pack->in, (size_t)n);
    pack->at += (uint64_t)n;
    pack->z.next_in = pack->in;
    pack->z.avail_in = (uint32_t)n;
    pack->z.end_of_stream = pack->at == pack->end;
    return true;
}

static ssize_t pack_read(void *cls, uint64_t pos, char *out, size_t max)
{
    (void)pos;
    struct pack *pack = cls;
    if (pack->done)
        return MHD_CONTENT_READER_END_OF_STREAM;
    pack->z.next_out = (uint8_t *)out;
    pack->z.avail_out = (uint32_t)(max < PACK_OUT_BYTES ? max : PACK_OUT_BYTES);
    uint32_t room = pack->z.avail_out;
    /* Until there is something to send. */
    while (pack->z.avail_out == room && !pack->done) {
        if (pack->z.avail_in == 0 && !pack->z.end_of_stream && !refill(pack))
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (isal_deflate(&pack->z) != COMP_OK)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        pack->done = pack->z.internal_state.state == ZSTATE_END;
    }
    return (ssize_t)(room - pack->z.avail_out);
}

static void pack_free(void *cls)
{
    struct pack *pack = cls;
    /* only read */
    (void)close(pack->fd);
    cipher_free(pack->cipher);
    free(pack);
    atomic_fetch_sub(&n_packs, 1);
}

/* NULL: enough are under way. */
struct MHD_Response *http_gzip_file(const struct http_file *file)
{
    if (atomic_fetch_add(&n_packs, 1) >= PACKS_MAX) {
        atomic_fetch_sub(&n_packs, 1);
        return NULL;
    }
    struct pack *pack = malloc(sizeof *pack);
    if (pack == NULL)
        abort();
    isal_deflate_init(&pack->z);
    pack->z.gzip_flag = IGZIP_GZIP;
    pack->z.level = 1;
    pack->z.level_buf = pack->level;
    pack->z.level_buf_size = sizeof pack->level;
    pack->fd = file->fd;
    pack->cipher = file->cipher;
    pack->at = file->offset;
    pack->end = file->offset + file->len;
    pack->z.avail_in = 0;
    pack->z.end_of_stream = file->len == 0;
    pack->done = false;
    struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PACK_OUT_BYTES,
                                                               pack_read, pack, pack_free);
    if (r == NULL)
        abort();
    return r;
}
