/* http_stored.c - bytes of a descriptor as answer.
 *
 * In plain HTTP the kernel sends plain ones (sendfile). Over TLS, and when they are encrypted, they
 * pass through this process: GnuTLS makes records of at most 16 KiB of them. libmicrohttpd would
 * read and send 4 KiB at a time, and each piece has a price, so pieces of several records are read
 * here. */
#include "net/http_private.h"

#include "codec/crypt/cipher.h"

#include <errno.h>
#include <unistd.h>

#define PIECE_BYTES (64u << 10) /* kept for each such answer until it is over */

static ssize_t stored_read(void *cls, uint64_t at, char *out, size_t max)
{
    const struct http_stored *stored = cls;
    ssize_t n;
    if (at >= stored->len)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (max > stored->len - at)
        max = (size_t)(stored->len - at);
    do
        n = pread(stored->fd, out, max, (off_t)(stored->base + stored->offset + at));
    while (n < 0 && errno == EINTR);
    if (n > 0 && stored->cipher)
        cipher_apply(stored->cipher, stored->offset + at, out, out, (size_t)n);
    /* shorter than it was: the length was promised */
    return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void stored_free(void *cls)
{
    struct http_stored *stored = cls;
    /* only read */
    (void)close(stored->fd);
    cipher_free(stored->cipher);
    free(stored);
}

struct MHD_Response *http_stored(const struct http_stored *stored, bool secure)
{
    if (!secure && stored->cipher == NULL)
        return MHD_create_response_from_fd_at_offset64(stored->len, stored->fd,
                                                       stored->base + stored->offset);
    struct http_stored *own = malloc(sizeof *own);
    if (own == NULL)
        abort();
    *own = *stored;
    struct MHD_Response *r =
        MHD_create_response_from_callback(own->len, PIECE_BYTES, stored_read, own, stored_free);
    if (r == NULL)
        free(own);
    return r;
}
