/* http_body.c - A body that arrives.
 *
 * Memory is counted as it is taken, by doubling, up to what the head says. What the head says alone
 * counts for nothing: a caller who announces much and sends little holds little.
 *
 * Some callers are known only when the whole body is there, because the signature covers it. Of
 * their bodies a little stands in memory. What is longer goes on in a file without a name, once the
 * memory that is kept for such bodies is taken; it comes back into memory when it is whole, and is
 * checked at once. So a caller without rights costs disk for a while, and does not keep others
 * out. */
#include "net/http_private.h"

#include "base/clock.h"
#include "codec/crypt/cipher.h"

#include <errno.h>
#include <unistd.h>

#define FIRST_BYTES     4096u
#define FILE_STEP_BYTES (1u << 20) /* of a file's share */

void http_body_init(struct http_body *body, const struct http_allowance *a, uint64_t said)
{
    *body = (struct http_body){ .fd = -1, .said = said, .max = a->body_max, .proven = a->proven };
    buf_init(&body->memory, a->body_max);
}

void http_body_done(struct http_body *body, struct http_conn *conn)
{
    /* A share may always become smaller. */
    if (body->memory.cap || body->fd >= 0)
        (void)http_share_set(conn, (struct http_share){ 0 });
    /* The file has no name: closed, it is gone. */
    if (body->fd >= 0)
        (void)close(body->fd);
    cipher_free(body->cipher);
    buf_done(&body->memory);
    *body = (struct http_body){ .fd = -1 };
}

/* ---- in memory ---- */

/* A capacity for need bytes: all that is said when that is little, else doubled, never past what
 * may come. */
static size_t larger(const struct http_body *body, const struct http_limits *limits, size_t need)
{
    size_t most = body->said < body->max ? (size_t)body->said : body->max;
    size_t cap = body->memory.cap                 ? body->memory.cap
                 : body->said <= limits->unproven ? most
                                                  : FIRST_BYTES;
    while (cap < need && cap < most)
        cap *= 2;
    return cap < most ? cap : most;
}

static bool grow(struct http_body *body, struct http_conn *conn, size_t need)
{
    const struct http_limits *limits = &conn->all->limits;
    size_t cap = larger(body, limits, need);
    struct http_share want = { .memory = cap };
    if (!body->proven && cap > limits->unproven)
        want.unproven = cap - limits->unproven;
    if (cap < need || (!body->proven && cap > limits->unproven_most) || !http_share_set(conn, want))
        return false;
    char *p = realloc(body->memory.ptr, cap);
    if (p == NULL)
        abort();
    body->memory.ptr = p;
    body->memory.cap = cap;
    return true;
}

/* ---- in a file ---- */

static bool file_add(struct http_body *body, struct http_conn *conn, sv piece)
{
    uint64_t step = FILE_STEP_BYTES, len = body->len + piece.len;
    struct http_share want = { .file = (len + step - 1) / step * step, .n_files = 1 };
    uint64_t before = (body->len + step - 1) / step * step;
    if (want.file > before && (!http_share_set(conn, want) ||
                               !http_spool_has_room(body->fd, 0, conn->all->limits.free_disk)))
        return false;
    return http_spool_write(body->fd, body->cipher, body->len, piece);
}

/* What stands in memory goes into a file. */
static bool into_file(struct http_body *body, struct http_conn *conn, const char *dir)
{
    if ((body->fd = http_spool_open(dir, &body->cipher)) < 0)
        return false;
    sv all = buf_sv(&body->memory);
    body->len = 0;
    if (!file_add(body, conn, all))
        return false;
    body->len = all.len;
    buf_done(&body->memory);
    return true;
}

static bool out_of_file(struct http_body *body, struct http_conn *conn)
{
    size_t len = (size_t)body->len, at = 0;
    if (!http_share_set(conn, (struct http_share){ .memory = len }))
        return false;
    if ((body->memory.ptr = malloc(len)) == NULL)
        abort();
    body->memory.cap = body->memory.len = len;
    while (at < len) {
        ssize_t n = pread(body->fd, body->memory.ptr + at, len - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    cipher_apply(body->cipher, 0, body->memory.ptr, body->memory.ptr, len);
    /* The file was only read. */
    (void)close(body->fd);
    cipher_free(body->cipher);
    body->fd = -1;
    body->cipher = NULL;
    return true;
}

/* ---- both ---- */

body_result http_body_add(struct http_body *body, struct http_conn *conn, const char *spool_dir,
                          sv piece)
{
    atomic_store(&conn->body_us, clock_mono_us());
    if (piece.len > body->max - body->len)
        return BODY_TOO_LARGE;
    size_t need = (size_t)body->len + piece.len;
    if (body->fd < 0 && (need <= body->memory.cap || grow(body, conn, need))) {
        memcpy(body->memory.ptr + body->memory.len, piece.ptr, piece.len);
        body->memory.len = need;
    } else if (body->proven || (body->fd < 0 && !into_file(body, conn, spool_dir)) ||
               !file_add(body, conn, piece)) {
        return BODY_NO_ROOM;
    }
    body->len = need;
    return BODY_OK;
}

body_result http_body_end(struct http_body *body, struct http_conn *conn)
{
    if (body->fd >= 0)
        return out_of_file(body, conn) ? BODY_OK : BODY_NO_ROOM;
    /* The whole body is checked now, so it counts as that of a known caller. */
    if (!body->proven && body->memory.cap > conn->all->limits.unproven)
        (void)http_share_set(conn, (struct http_share){ .memory = body->memory.cap });
    return BODY_OK;
}
