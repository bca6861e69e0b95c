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
#include "base/file.h"

#include <errno.h>
#include <unistd.h>

#define FIRST_BYTES     4096u
#define FILE_STEP_BYTES (1u << 20) /* of a file's share */

void http_body_init(struct http_body *b, const struct http_allowance *a, uint64_t said)
{
    *b = (struct http_body){ .fd = -1, .said = said, .max = a->body_max, .proven = a->proven };
    buf_init(&b->memory, a->body_max);
}

void http_body_done(struct http_body *b, struct http_conn *c)
{
    /* A share may always become smaller. */
    if (b->memory.cap || b->fd >= 0)
        (void)http_share_set(c, (struct http_share){ 0 });
    /* The file has no name: closed, it is gone. */
    if (b->fd >= 0)
        (void)close(b->fd);
    buf_done(&b->memory);
    *b = (struct http_body){ .fd = -1 };
}

/* ---- in memory ---- */

/* A capacity for need bytes: all that is said when that is little, else doubled, never past what
 * may come. */
static size_t larger(const struct http_body *b, const struct http_limits *l, size_t need)
{
    size_t most = b->said < b->max ? (size_t)b->said : b->max;
    size_t cap = b->memory.cap ? b->memory.cap : b->said <= l->unproven ? most : FIRST_BYTES;
    while (cap < need && cap < most)
        cap *= 2;
    return cap < most ? cap : most;
}

static bool grow(struct http_body *b, struct http_conn *c, size_t need)
{
    const struct http_limits *l = &c->all->limits;
    size_t cap = larger(b, l, need);
    struct http_share want = { .memory = cap };
    if (!b->proven && cap > l->unproven)
        want.unproven = cap - l->unproven;
    if (cap < need || (!b->proven && cap > l->unproven_most) || !http_share_set(c, want))
        return false;
    char *p = realloc(b->memory.ptr, cap);
    if (p == NULL)
        abort();
    b->memory.ptr = p;
    b->memory.cap = cap;
    return true;
}

/* ---- in a file ---- */

static bool file_add(struct http_body *b, struct http_conn *c, sv piece)
{
    uint64_t step = FILE_STEP_BYTES, len = b->len + piece.len;
    struct http_share want = { .file = (len + step - 1) / step * step, .n_files = 1 };
    uint64_t before = (b->len + step - 1) / step * step;
    if (want.file > before &&
        (!http_share_set(c, want) || !http_spool_has_room(b->fd, 0, c->all->limits.free_disk)))
        return false;
    return file_write_all(b->fd, piece, NULL) == ERR_OK;
}

/* What stands in memory goes into a file. */
static bool into_file(struct http_body *b, struct http_conn *c, const char *dir)
{
    if ((b->fd = http_spool_open(dir)) < 0)
        return false;
    sv all = buf_sv(&b->memory);
    b->len = 0;
    if (!file_add(b, c, all))
        return false;
    b->len = all.len;
    buf_done(&b->memory);
    return true;
}

static bool out_of_file(struct http_body *b, struct http_conn *c)
{
    size_t len = (size_t)b->len, at = 0;
    if (!http_share_set(c, (struct http_share){ .memory = len }))
        return false;
    if ((b->memory.ptr = malloc(len)) == NULL)
        abort();
    b->memory.cap = b->memory.len = len;
    while (at < len) {
        ssize_t n = pread(b->fd, b->memory.ptr + at, len - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    /* The file was only read. */
    (void)close(b->fd);
    b->fd = -1;
    return true;
}

/* ---- both ---- */

body_result http_body_add(struct http_body *b, struct http_conn *c, const char *spool_dir, sv piece)
{
    atomic_store(&c->body_us, clock_mono_us());
    if (piece.len > b->max - b->len)
        return BODY_TOO_LARGE;
    size_t need = (size_t)b->len + piece.len;
    if (b->fd < 0 && (need <= b->memory.cap || grow(b, c, need))) {
        memcpy(b->memory.ptr + b->memory.len, piece.ptr, piece.len);
        b->memory.len = need;
    } else if (b->proven || (b->fd < 0 && !into_file(b, c, spool_dir)) || !file_add(b, c, piece)) {
        return BODY_NO_ROOM;
    }
    b->len = need;
    return BODY_OK;
}

body_result http_body_end(struct http_body *b, struct http_conn *c)
{
    if (b->fd >= 0)
        return out_of_file(b, c) ? BODY_OK : BODY_NO_ROOM;
    /* The whole body is checked now, so it counts as that of a known caller. */
    if (!b->proven && b->memory.cap > c->all->limits.unproven)
        (void)http_share_set(c, (struct http_share){ .memory = b->memory.cap });
    return BODY_OK;
}
