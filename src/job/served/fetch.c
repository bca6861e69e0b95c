/* fetch.c - a file of an export that is in S3, as one of this machine.
 *
 * It is fetched into a file without a name, under a key that is in memory alone, and its digest
 * compared, before a byte of it goes out. So ranges, conditions and packing are as for any file,
 * and no client is sent elsewhere: one who signs, or has a token for us, would send that along to
 * S3, which refuses a request with two ways to prove who asks.
 *
 * A digest is of the whole. So the first request for a range fetches the whole, too, and which
 * object had its digest is remembered by its ETag. From then on a range alone is asked for, and
 * stands in the file where it stands in the whole. An object with another ETag is fetched whole
 * again. */
#include "job/served/place_private.h"

#include "base/file.h"
#include "codec/crypt/cipher.h"
#include "codec/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)64 << 10)

static err_code make_file(const char *dir, int *out, struct err *e)
{
    char path[4096];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
        /* a file system that has no such files; what a crash leaves goes at the next start */
        int n = snprintf(path, sizeof path, "%s/file-XXXXXX", dir);
        if (n > 0 && (size_t)n < sizeof path && (fd = mkostemp(path, O_CLOEXEC)) >= 0)
            (void)unlink(path);
    }
    if (fd < 0)
        return file_os_err(e, "a file of an export cannot be fetched");
    *out = fd;
    return ERR_OK;
}

static err_code not_the_same(struct err *e)
{
    return ERR(e, ERR_IO, "a file of an export is not what was written");
}

/* ---- objects that are known to be right ---- */

static void name_of(sv key, const struct s3_whole *whole, unsigned char out[SHA256_LEN])
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *hash = hash_sha256_new();
    hash_sha256_add(hash, key);
    hash_sha256_add(hash, sv_make("", 1));
    hash_sha256_add(hash, sv_from(whole->etag));
    hash_sha256_take(hash, out);
}

static bool is_noted_locked(const struct job_files *place, const unsigned char name[SHA256_LEN])
{
    for (unsigned i = 0; i < PLACE_RIGHT; i++)
        if (memcmp(place->right.all[i], name, SHA256_LEN) == 0)
            return true;
    return false;
}

static bool is_right(struct job_files *place, sv key, const struct s3_whole *whole)
{
    unsigned char name[SHA256_LEN];
    name_of(key, whole, name);
    pthread_mutex_lock(&place->right.lock);
    const bool found = is_noted_locked(place, name);
    pthread_mutex_unlock(&place->right.lock);
    return found;
}

/* One without an ETag could be another one the next time. */
static void note_right(struct job_files *place, sv key, const struct s3_whole *whole)
{
    unsigned char name[SHA256_LEN];
    if (whole->etag[0] == 0)
        return;
    name_of(key, whole, name);
    pthread_mutex_lock(&place->right.lock);
    if (!is_noted_locked(place, name))
        memcpy(place->right.all[place->right.next++ % PLACE_RIGHT], name, sizeof name);
    pthread_mutex_unlock(&place->right.lock);
}

/* ---- fetching ---- */

/* What comes, which must be as long as the part, where it stands in the whole. sha256: of it, in
 * hex; SV_NONE: it is not looked at. */
static err_code take(struct byte_reader *from, int fd, const struct cipher *cipher,
                     struct job_export_part part, sv sha256, struct err *e)
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *hash = sha256.ptr ? hash_sha256_new() : NULL;
    unsigned char digest[SHA256_LEN];
    char piece[PIECE_BYTES], hex[SHA256_HEX_LEN];
    uint64_t got = 0;
    size_t n;
    err_code rc;
    if (lseek(fd, (off_t)(CIPHER_PREFIX + part.first), SEEK_SET) < 0)
        return file_os_err(e, "a file of an export cannot be fetched");
    while ((rc = from->read(from->ctx, piece, sizeof piece, &n, e)) == ERR_OK) {
        if (n > part.len - got)
            return not_the_same(e);
        if (hash)
            hash_sha256_add(hash, sv_make(piece, n));
        cipher_apply(cipher, part.first + got, piece, piece, n);
        TRY(file_write_all(fd, sv_make(piece, n), e));
        got += n;
    }
    if (rc != ERR_EOF)
        return rc;
    if (got != part.len)
        return not_the_same(e);
    if (hash == NULL)
        return ERR_OK;
    hash_sha256_take(hash, digest);
    hash_hex(digest, sizeof digest, hex);
    return sv_eq(sha256, sv_make(hex, sizeof hex)) ? ERR_OK : not_the_same(e);
}

static err_code open_object(struct job_files *place, sv key, struct job_export_part part,
                            struct byte_reader *from, struct s3_whole *whole, struct err *e)
{
    struct err why = { 0 };
    err_code rc = sink_read_part(place->root, key, part.first, part.len, from, whole, &why);
    if (rc == ERR_NOT_FOUND)
        return ERR(e, ERR_GONE, "The files of this export have expired; start a new one");
    return rc == ERR_OK ? rc : err_pass(e, &why);
}

/* *done: it is there. False: the object is another one than was found right. */
static err_code fetch_part(struct job_files *place, sv key, struct job_export_part part,
                           uint64_t bytes, int fd, const struct cipher *cipher, bool *done,
                           struct err *e)
{
    struct byte_reader from;
    struct s3_whole whole;
    TRY(open_object(place, key, part, &from, &whole, e));
    *done = whole.bytes == bytes && is_right(place, key, &whole);
    err_code rc = *done ? take(&from, fd, cipher, part, SV_NONE, e) : ERR_OK;
    from.close(from.ctx);
    return rc;
}

static err_code fetch_whole(struct job_files *place, sv key, const struct job_export_file *file,
                            int fd, const struct cipher *cipher, struct err *e)
{
    struct byte_reader from;
    struct s3_whole whole;
    const struct job_export_part all = { 0, UINT64_MAX };
    TRY(open_object(place, key, all, &from, &whole, e));
    const struct job_export_part part = { 0, file->bytes };
    err_code rc = take(&from, fd, cipher, part, file->sha256, e);
    from.close(from.ctx);
    if (rc == ERR_OK)
        note_right(place, key, &whole);
    return rc;
}

err_code place_fetch(struct job_files *place, sv key, struct job_export_part part,
                     struct job_export_file *out, struct err *e)
{
    CLEANUP(cipher_free) struct cipher *cipher = cipher_new_for_now();
    bool done = false;
    int fd;
    err_code rc = ERR_OK;
    /* of which nothing is needed: it must be there, all the same */
    if (part.len == 0 && out->bytes)
        part = (struct job_export_part){ 0, 1 };
    TRY(make_file(place->scratch_dir, &fd, e));
    if (part.len < out->bytes)
        rc = fetch_part(place, key, part, out->bytes, fd, cipher, &done, e);
    if (rc == ERR_OK && !done)
        rc = fetch_whole(place, key, out, fd, cipher, e);
    if (rc != ERR_OK) {
        close(fd);
        return rc;
    }
    out->fd = fd;
    out->written_ms = 0;
    out->cipher = cipher;
    cipher = NULL;
    return ERR_OK;
}
