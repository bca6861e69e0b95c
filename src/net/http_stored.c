/* http_stored.c - bytes of a descriptor as answer.
 *
 * In plain HTTP the kernel sends them (sendfile). Over TLS they pass through this process: GnuTLS
 * makes records of at most 16 KiB of them. libmicrohttpd would read and send 4 KiB at a time, and
 * each piece has a price, so pieces of several records are read here. */
#include "net/http_private.h"

#include <errno.h>
#include <unistd.h>

#define PIECE_BYTES (64u << 10) /* kept for each such answer until it is over */

struct stored {
    int fd;
    uint64_t offset, len;
};

static ssize_t stored_read(void *cls, uint64_t at, char *out, size_t max)
{
    const struct stored *stored = cls;
    ssize_t n;
    if (at >= stored->len)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (max > stored->len - at)
        max = (size_t)(stored->len - at);
    do
        n = pread(stored->fd, out, max, (off_t)(stored->offset + at));
    while (n < 0 && errno == EINTR);
    /* shorter than it was: the length was promised */
    return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void stored_free(void *cls)
{
    struct stored *stored = cls;
    /* only read */
    (void)close(stored->fd);
    free(stored);
}

struct MHD_Response *http_stored(int fd, uint64_t offset, uint64_t len, bool secure)
{
    if (!secure)
        return MHD_create_response_from_fd_at_offset64(len, fd, offset);
    struct stored *stored = malloc(sizeof *stored);
    if (stored == NULL)
        abort();
    *stored = (struct stored){ fd, offset, len };
    struct MHD_Response *r =
        MHD_create_response_from_callback(len, PIECE_BYTES, stored_read, stored, stored_free);
    if (r == NULL)
        free(stored);
    return r;
}
