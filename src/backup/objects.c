/* objects.c - files by their content: hashed, and read back from whatever place they are in.
 *
 * An object has the name of its SHA-256, so what comes out of a place is held against its name
 * alone, whether a disk or a store across a network gave it. */
#include "backup/backup_private.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE (1u << 20)

/* byte_reader.read of a file */
static err_code read_fd(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    ssize_t got;
    do
        got = read((int)(intptr_t)ctx, dst, cap);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return file_os_err(e, "cannot read file");
    *n = (size_t)got;
    return got ? ERR_OK : ERR(e, ERR_EOF, "end of file");
}

static void close_fd(void *ctx)
{
    (void)close((int)(intptr_t)ctx);
}

struct byte_reader backup_fd_reader(int fd)
{
    return (struct byte_reader){ read_fd, close_fd, (void *)(intptr_t)fd };
}

/* All of src, hashed, and written to `to` unless that is -1.
 *   most  bytes: of what has more no more is read, and out says more */
static err_code pass(struct byte_reader src, int to, uint64_t most, struct backup_file *out,
                     struct err *e)
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    unsigned char sha[SHA256_LEN];
    char *piece = malloc(PIECE);
    struct err why;
    err_code rc = ERR_OK;
    size_t n = 0;
    out->bytes = 0;
    if (piece == NULL)
        abort();
    while (rc == ERR_OK && (rc = src.read(src.ctx, piece, PIECE, &n, &why)) == ERR_OK) {
        hash_sha256_add(h, sv_make(piece, n));
        out->bytes += n;
        if (out->bytes > most)
            break;
        if (to >= 0)
            rc = file_write_all(to, sv_make(piece, n), &why);
    }
    free(piece);
    hash_sha256_take(h, sha);
    hash_hex(sha, sizeof sha, out->sha);
    /* ERR_OK: there is more than that */
    return rc == ERR_EOF || rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

err_code backup_hash_fd(int fd, int to, struct backup_file *out, struct err *e)
{
    if (lseek(fd, 0, SEEK_SET) != 0)
        return file_os_err(e, "cannot read file");
    return pass(backup_fd_reader(fd), to, UINT64_MAX, out, e);
}

/* An object, hashed. most: as for pass() */
static err_code read_object(struct backup_place *place, const char *sha, int to, uint64_t most,
                            struct backup_file *out, struct err *e)
{
    struct byte_reader src;
    TRY(place->ops->open(place, sha, &src, e));
    err_code rc = pass(src, to, most, out, e);
    if (src.close)
        src.close(src.ctx);
    return rc;
}

static err_code differs(const char *sha, struct err *e)
{
    return ERR(e, ERR_CORRUPT, "file %.*s of the backup is not what it was", (int)SHA256_HEX_LEN,
               sha);
}

err_code backup_object_get(struct backup_place *place, const struct backup_file *file,
                           const char *to, struct err *e)
{
    struct backup_file got;
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return file_os_err(e, "cannot create file");
    err_code rc = read_object(place, file->sha, fd, file->bytes, &got, e);
    if (rc == ERR_OK && fsync(fd) != 0)
        rc = file_os_err(e, "cannot sync file");
    if (close(fd) != 0 && rc == ERR_OK)
        rc = file_os_err(e, "cannot close file");
    TRY(rc);
    return backup_file_same(&got, file) ? ERR_OK : differs(file->sha, e);
}

err_code backup_object_check(struct backup_place *place, const char *sha, uint64_t *bytes,
                             struct err *e)
{
    struct backup_file got;
    TRY(read_object(place, sha, -1, UINT64_MAX, &got, e));
    *bytes = got.bytes;
    return memcmp(got.sha, sha, sizeof got.sha) == 0 ? ERR_OK : differs(sha, e);
}

static int by_sha(const void *a, const void *b)
{
    return memcmp(a, b, SHA256_HEX_LEN);
}

bool backup_sha_among(const char *shas, size_t n, const char *sha)
{
    return n && bsearch(sha, shas, n, SHA256_HEX_LEN, by_sha) != NULL;
}
