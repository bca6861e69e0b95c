/* spool.c - an encrypted spool that is cut back goes on under a key of its own.
 *
 * What stood behind the cut was encrypted with the file's key, and may still be in blocks of the
 * disk, or in a copy of it. Other lines can come in its place: the input was written over
 * meanwhile, or another version of the program goes on. Two texts under one key and counter tell
 * each other. So what counts is copied into a new file, which takes the name. That is one input
 * file's outcome, after an end of the process alone. */
#include "import/outcome_private.h"

#include "base/file.h"
#include "codec/crypt/cipher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)64 << 10)

static err_code read_piece(int fd, uint64_t at, char *out, size_t n, struct err *e)
{
    for (size_t got = 0; got < n;) {
        ssize_t k = pread(fd, out + got, n - got, (off_t)(CIPHER_PREFIX + at + got));
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return ERR(e, ERR_IO, "the import's spooled outcome cannot be read");
        got += (size_t)k;
    }
    return ERR_OK;
}

static err_code copy(int from, const struct cipher *was, int to, const struct cipher *is,
                     uint64_t len, struct err *e)
{
    char piece[PIECE_BYTES];
    for (uint64_t at = 0; at < len;) {
        const size_t n = len - at < sizeof piece ? (size_t)(len - at) : sizeof piece;
        TRY(read_piece(from, at, piece, n, e));
        cipher_apply(was, at, piece, piece, n);
        cipher_apply(is, at, piece, piece, n);
        TRY(file_write_all(to, sv_make(piece, n), e));
        at += n;
    }
    return ERR_OK;
}

err_code import_spool_anew(const char *path, const struct cipher_ring *ring, int *fd, uint64_t len,
                           struct cipher **out, struct err *e)
{
    CLEANUP(cipher_free) struct cipher *was = NULL;
    unsigned char prefix[CIPHER_PREFIX];
    char name[PATH_MAX];
    TRY(cipher_of_file(ring, *fd, &was, e));
    if ((size_t)snprintf(name, sizeof name, "%s.anew", path) >= sizeof name)
        return ERR(e, ERR_INVALID, "a path is too long");
    int to = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0)
        return file_os_err(e, "the import's outcome cannot be spooled");
    struct cipher *is = cipher_new(ring, prefix);
    err_code rc = file_write_all(to, sv_make(prefix, sizeof prefix), e);
    if (rc == ERR_OK)
        rc = copy(*fd, was, to, is, len, e);
    /* the folder is synced with the next resume point */
    if (rc == ERR_OK && (fdatasync(to) != 0 || rename(name, path) != 0))
        rc = file_os_err(e, "the import's outcome cannot be spooled");
    if (rc != ERR_OK) {
        (void)close(to);
        cipher_free(is);
        return rc;
    }
    (void)close(*fd);
    *fd = to;
    *out = is;
    return ERR_OK;
}
