/* dir_file.c - one file of the directory store, written.
 *
 *   create  BUCKET/.fhirlake-tmp-<random>, 0600, locked
 *   write   blocks of SINK_WRITE_UNIT: digest, encrypted when the sink has a ring, then write(2),
 *           while the block is in the cache
 *   commit  fsync (when configured), rename onto the key, fsync its folder
 * Instead of being written, a file can take the bytes of an open one (copy), or be a second name of
 * it (link). It comes to its key in the same way.
 *
 * Large pieces go out from the caller's memory; only small ones are gathered in a block. No room is
 * taken on the disk ahead: giving back what is too much waits for the disk where the file system
 * discards it at once. */
#include "sink/sink_private.h"

#include "base/file.h"
#include "base/rng.h"
#include "codec/crypt/cipher.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_WRITE_MAX   (256u << 10) /* at a time: it is still in the cache from its digest */
#define DIR_PLACE_TURNS 1000

struct dir_file {
    const struct sink *sink;
    int bucket_fd, fd;
    char temp[sizeof SINK_TEMP_PREFIX + 32];
    bool named;  /* the temporary name exists */
    bool linked; /* it is a second name */
    char *key;
    size_t key_len;
    char *block;           /* made by the first small write */
    struct cipher *cipher; /* NULL: the file is plain */
    char *encrypted;       /* DIR_WRITE_MAX, when there is one */
    size_t block_len;
    uint64_t bytes, flushed;
    struct sink_digest digest;
};

/* Without a file behind it yet; its bucket is open. */
static err_code file_new(const struct sink *sink, sv key, struct dir_file **out, struct err *e)
{
    TRY(dir_key_check(key, e));
    struct dir_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        abort();
    file->sink = sink;
    file->fd = file->bucket_fd = -1;
    file->key = malloc(key.len);
    file->digest.hash = hash_sha256_new();
    if (file->key == NULL)
        abort();
    memcpy(file->key, key.ptr, key.len);
    file->key_len = key.len;
    char id[33];
    rng_hex32(id);
    /* fits */
    (void)snprintf(file->temp, sizeof file->temp, SINK_TEMP_PREFIX "%s", id);
    err_code rc =
        dir_bucket_open(sink->world, sink->bucket, sink->world->make_buckets, &file->bucket_fd, e);
    if (rc == ERR_OK)
        *out = file;
    else
        dir_file_free(file);
    return rc;
}

static err_code put_prefix(struct dir_file *file, struct err *e)
{
    unsigned char prefix[CIPHER_PREFIX];
    file->cipher = cipher_new(file->sink->ring, prefix);
    file->encrypted = malloc(DIR_WRITE_MAX);
    if (file->encrypted == NULL)
        abort();
    return file_write_all(file->fd, sv_make(prefix, sizeof prefix), e);
}

/* A process that starts just then takes a file that is not locked yet for a dead one's, and removes
 * it. *lost: that has happened. */
static err_code lock(struct dir_file *file, bool *lost, struct err *e)
{
    struct stat st;
    const bool locked = flock(file->fd, LOCK_EX | LOCK_NB) == 0;
    *lost = locked ? fstat(file->fd, &st) == 0 && st.st_nlink == 0 : errno == EWOULDBLOCK;
    return locked || *lost ? ERR_OK : file_os_err(e, "cannot lock a file");
}

static err_code create(const struct sink *sink, sv key, struct dir_file **out, bool *lost,
                       struct err *e)
{
    struct dir_file *file;
    err_code rc = ERR_OK;
    *lost = false;
    TRY(file_new(sink, key, &file, e));
    file->fd = openat(file->bucket_fd, file->temp,
                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file->fd < 0) {
        char what[128];
        (void)snprintf(what, sizeof what, "cannot create a file in bucket %.*s",
                       SV_FMT(sink->bucket));
        rc = file_os_err(e, what);
    }
    if (rc == ERR_OK) {
        file->named = true;
        rc = lock(file, lost, e);
    }
    if (rc == ERR_OK && !*lost && sink->ring)
        rc = put_prefix(file, e);
    if (rc != ERR_OK || *lost) {
        dir_file_free(file);
        return rc;
    }
    *out = file;
    return ERR_OK;
}

err_code dir_file_create(const struct sink *sink, sv key, struct dir_file **out, struct err *e)
{
    bool lost = true;
    for (int turn = 0; lost && turn < DIR_PLACE_TURNS; turn++)
        TRY(create(sink, key, out, &lost, e));
    return lost ? ERR(e, ERR_IO, "files are removed while they are written") : ERR_OK;
}

err_code dir_file_link(const struct sink *sink, sv key, int parent, const char *leaf, int from,
                       struct dir_file **out, struct err *e)
{
    struct dir_file *file;
    struct stat was, is;
    err_code rc = file_new(sink, key, &file, e);
    if (rc != ERR_OK) {
        close(from);
        return rc;
    }
    file->fd = from;
    file->linked = true;
    if (linkat(parent, leaf, file->bucket_fd, file->temp, 0) != 0)
        rc = file_os_err(e, "cannot give a file a second name");
    file->named = rc == ERR_OK;
    /* another may have come to the name since it was opened */
    if (rc == ERR_OK && (fstat(from, &was) != 0 ||
                         fstatat(file->bucket_fd, file->temp, &is, AT_SYMLINK_NOFOLLOW) != 0 ||
                         was.st_dev != is.st_dev || was.st_ino != is.st_ino))
        rc = ERR(e, ERR_PRECONDITION, "the earlier object is another one by now");
    if (rc == ERR_OK)
        *out = file;
    else
        dir_file_free(file);
    return rc;
}

err_code dir_file_copy(struct dir_file *file, int from, uint64_t bytes, struct err *e)
{
    return dir_bytes_copy(from, file->fd, bytes, file->sink->world->sync, file->sink->who.cancel,
                          e);
}

static err_code put_block(struct dir_file *file, sv block, struct err *e)
{
    sink_digest_add(&file->digest, file->bytes, block);
    assert(file->cipher == NULL || block.len <= DIR_WRITE_MAX);
    if (file->cipher)
        cipher_apply(file->cipher, file->bytes, block.ptr, file->encrypted, block.len);
    TRY(file_write_all(file->fd, file->cipher ? sv_make(file->encrypted, block.len) : block, e));
    file->bytes += block.len;
    if (file->sink->world->sync && file->bytes - file->flushed >= DIR_FLUSH_BYTES) {
        /* a hint: fsync comes at commit, whatever this does */
        (void)sync_file_range(file->fd, (off_t)file->flushed, (off_t)(file->bytes - file->flushed),
                              SYNC_FILE_RANGE_WRITE);
        file->flushed = file->bytes;
    }
    return ERR_OK;
}

struct sink_digest *dir_file_digest(struct dir_file *file)
{
    if (file->block_len)
        sink_digest_add(&file->digest, file->bytes, sv_make(file->block, file->block_len));
    return &file->digest;
}

err_code dir_file_write(struct dir_file *file, sv bytes, struct err *e)
{
    while (bytes.len) {
        if (file->block_len == 0 && bytes.len >= SINK_WRITE_UNIT) {
            sv now = sv_head(bytes, bytes.len < DIR_WRITE_MAX
                                        ? bytes.len / SINK_WRITE_UNIT * SINK_WRITE_UNIT
                                        : DIR_WRITE_MAX);
            TRY(put_block(file, now, e));
            bytes = sv_tail(bytes, now.len);
            continue;
        }
        if (file->block == NULL) {
            file->block = aligned_alloc(4096, SINK_WRITE_UNIT);
            if (file->block == NULL)
                abort();
        }
        sv take = sv_head(bytes, SINK_WRITE_UNIT - file->block_len);
        memcpy(file->block + file->block_len, take.ptr, take.len);
        file->block_len += take.len;
        bytes = sv_tail(bytes, take.len);
        if (file->block_len == SINK_WRITE_UNIT) {
            TRY(put_block(file, sv_make(file->block, file->block_len), e));
            file->block_len = 0;
        }
    }
    return ERR_OK;
}

/* Onto its key, once. ERR_NOT_FOUND: a folder went away between the walk and the rename. */
static err_code place(struct dir_file *file, struct err *e)
{
    const struct sink_world *world = file->sink->world;
    int parent;
    char leaf[256];
    TRY(dir_parent_open(file->bucket_fd, sv_make(file->key, file->key_len), true, world->sync,
                        &parent, leaf, e));
    err_code rc = ERR_OK;
    if (renameat(file->bucket_fd, file->temp, parent, leaf) == 0) {
        file->named = false;
        /* two names of one file: a rename of one onto the other does nothing */
        if (file->linked)
            (void)unlinkat(file->bucket_fd, file->temp, 0);
        if (world->sync && fsync(parent) != 0)
            rc = file_os_err(e, "cannot sync a folder");
    } else if (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST) {
        rc = ERR(e, ERR_INVALID, "a folder of other keys stands where this object would be");
    } else {
        rc = file_os_err(e, "cannot rename a file");
    }
    close(parent);
    return rc;
}

/* Deletions beside us (D3 in dir.c) take empty folders away, so the walk may have to be made anew;
 * each of them can spoil it once only, and the bound is for a bucket that itself is gone. */
static err_code into_place(struct dir_file *file, struct err *e)
{
    struct err why = { 0 };
    err_code rc = ERR_NOT_FOUND;
    for (int turn = 0; rc == ERR_NOT_FOUND && file->named && turn < DIR_PLACE_TURNS; turn++)
        rc = place(file, &why);
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

/* Who a file is; dir_copy.c says what for. */
void dir_mark(const struct sink_world *world, const struct stat *st, struct sink_mark *out)
{
    out->len = 0;
    if (!world->sync && world->boot[0] == 0)
        return;
    int n = snprintf(out->text, sizeof out->text, "dir %llx %llx %llx %llx.%lx",
                     (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
                     (unsigned long long)st->st_size, (unsigned long long)st->st_mtim.tv_sec,
                     (unsigned long)st->st_mtim.tv_nsec);
    if (!world->links)
        n += snprintf(out->text + n, sizeof out->text - (size_t)n, " %llx.%lx",
                      (unsigned long long)st->st_ctim.tv_sec, (unsigned long)st->st_ctim.tv_nsec);
    if (!world->sync)
        n += snprintf(out->text + n, sizeof out->text - (size_t)n, " %s", world->boot);
    out->len = (size_t)n;
}

err_code dir_file_commit(struct dir_file *file, struct sink_object *out, struct sink_mark *mark,
                         struct err *e)
{
    struct stat st;
    struct sink_object got;
    if (file->block_len) {
        TRY(put_block(file, sv_make(file->block, file->block_len), e));
        file->block_len = 0;
    }
    if (file->sink->world->sync && fdatasync(file->fd) != 0)
        return file_os_err(e, "cannot sync a file");
    TRY(into_place(file, e));
    if (mark && fstat(file->fd, &st) == 0)
        dir_mark(file->sink->world, &st, mark);
    else if (mark)
        mark->len = 0;
    got.bytes = file->bytes;
    hash_sha256_take(file->digest.hash, got.sha256);
    if (out)
        *out = got;
    return ERR_OK;
}

void dir_file_free(struct dir_file *file)
{
    if (file == NULL)
        return;
    /* else the next sweep finds it */
    if (file->named)
        (void)unlinkat(file->bucket_fd, file->temp, 0);
    if (file->fd >= 0)
        close(file->fd);
    if (file->bucket_fd >= 0)
        close(file->bucket_fd);
    hash_sha256_free(file->digest.hash);
    cipher_free(file->cipher);
    free(file->encrypted);
    free(file->block);
    free(file->key);
    free(file);
}
