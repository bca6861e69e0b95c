/* dir_file.c - one file of the directory store, written.
 *
 *   create  BUCKET/.fhirlake-tmp-<random>, 0600, locked
 *   write   blocks of SINK_WRITE_UNIT: digest, then write(2), while the block is in the cache
 *   commit  fsync (when configured), rename onto the key, fsync its folder
 *
 * Large pieces go out from the caller's memory; only small ones are gathered in a block. No room is
 * taken on the disk ahead: giving back what is too much waits for the disk where the file system
 * discards it at once. */
#include "sink/sink_private.h"

#include "base/file.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_WRITE_MAX   (256u << 10) /* at a time: it is still in the cache from its digest */
#define DIR_PLACE_TURNS 1000
#define DIR_FLUSH_BYTES (8u << 20) /* when fsync is to come: start the disk early */

struct dir_file {
    const struct sink *sink;
    int bucket_fd, fd;
    char temp[sizeof SINK_TEMP_PREFIX + 32];
    bool named; /* the temporary name exists */
    char *key;
    size_t key_len;
    char *block; /* made by the first small write */
    size_t block_len;
    uint64_t bytes, flushed;
    struct sink_digest digest;
};

err_code dir_file_create(const struct sink *s, sv key, struct dir_file **out, struct err *e)
{
    TRY(dir_key_check(key, e));
    struct dir_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    f->sink = s;
    f->fd = f->bucket_fd = -1;
    f->key = malloc(key.len);
    f->digest.hash = hash_sha256_new();
    if (f->key == NULL)
        abort();
    memcpy(f->key, key.ptr, key.len);
    f->key_len = key.len;
    err_code rc = dir_bucket_open(s->world, s->bucket, s->world->make_buckets, &f->bucket_fd, e);
    if (rc == ERR_OK) {
        char id[33];
        rng_hex32(id);
        /* fits */
        (void)snprintf(f->temp, sizeof f->temp, SINK_TEMP_PREFIX "%s", id);
        f->fd = openat(f->bucket_fd, f->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                       0600);
        if (f->fd < 0)
            rc = file_os_err(e, "cannot create a file");
    }
    if (rc == ERR_OK) {
        f->named = true;
        if (flock(f->fd, LOCK_EX | LOCK_NB) != 0)
            rc = file_os_err(e, "cannot lock a file");
    }
    if (rc != ERR_OK) {
        dir_file_free(f);
        return rc;
    }
    *out = f;
    return ERR_OK;
}

static err_code put_block(struct dir_file *f, sv block, struct err *e)
{
    sink_digest_add(&f->digest, f->bytes, block);
    TRY(file_write_all(f->fd, block, e));
    f->bytes += block.len;
    if (f->sink->world->sync && f->bytes - f->flushed >= DIR_FLUSH_BYTES) {
        /* a hint: fsync comes at commit, whatever this does */
        (void)sync_file_range(f->fd, (off_t)f->flushed, (off_t)(f->bytes - f->flushed),
                              SYNC_FILE_RANGE_WRITE);
        f->flushed = f->bytes;
    }
    return ERR_OK;
}

struct sink_digest *dir_file_digest(struct dir_file *f)
{
    if (f->block_len)
        sink_digest_add(&f->digest, f->bytes, sv_make(f->block, f->block_len));
    return &f->digest;
}

err_code dir_file_write(struct dir_file *f, sv bytes, struct err *e)
{
    while (bytes.len) {
        if (f->block_len == 0 && bytes.len >= SINK_WRITE_UNIT) {
            sv now = sv_head(bytes, bytes.len < DIR_WRITE_MAX
                                        ? bytes.len / SINK_WRITE_UNIT * SINK_WRITE_UNIT
                                        : DIR_WRITE_MAX);
            TRY(put_block(f, now, e));
            bytes = sv_tail(bytes, now.len);
            continue;
        }
        if (f->block == NULL) {
            f->block = aligned_alloc(4096, SINK_WRITE_UNIT);
            if (f->block == NULL)
                abort();
        }
        sv take = sv_head(bytes, SINK_WRITE_UNIT - f->block_len);
        memcpy(f->block + f->block_len, take.ptr, take.len);
        f->block_len += take.len;
        bytes = sv_tail(bytes, take.len);
        if (f->block_len == SINK_WRITE_UNIT) {
            TRY(put_block(f, sv_make(f->block, f->block_len), e));
            f->block_len = 0;
        }
    }
    return ERR_OK;
}

/* Onto its key, once. ERR_NOT_FOUND: a folder went away between the walk and the rename. */
static err_code place(struct dir_file *f, struct err *e)
{
    const struct sink_world *w = f->sink->world;
    int parent;
    char leaf[256];
    TRY(dir_parent_open(f->bucket_fd, sv_make(f->key, f->key_len), true, w->sync, &parent, leaf,
                        e));
    err_code rc = ERR_OK;
    if (renameat(f->bucket_fd, f->temp, parent, leaf) == 0) {
        f->named = false;
        if (w->sync && fsync(parent) != 0)
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
static err_code into_place(struct dir_file *f, struct err *e)
{
    struct err why = { 0 };
    err_code rc = ERR_NOT_FOUND;
    for (int turn = 0; rc == ERR_NOT_FOUND && f->named && turn < DIR_PLACE_TURNS; turn++)
        rc = place(f, &why);
    return rc == ERR_OK ? ERR_OK : err_pass(e, &why);
}

err_code dir_file_commit(struct dir_file *f, struct sink_object *out, struct err *e)
{
    struct sink_object got;
    if (f->block_len) {
        TRY(put_block(f, sv_make(f->block, f->block_len), e));
        f->block_len = 0;
    }
    if (f->sink->world->sync && fdatasync(f->fd) != 0)
        return file_os_err(e, "cannot sync a file");
    TRY(into_place(f, e));
    got.bytes = f->bytes;
    hash_sha256_take(f->digest.hash, got.sha256);
    if (out)
        *out = got;
    return ERR_OK;
}

void dir_file_free(struct dir_file *f)
{
    if (f == NULL)
        return;
    /* else the next sweep finds it */
    if (f->named)
        (void)unlinkat(f->bucket_fd, f->temp, 0);
    if (f->fd >= 0)
        close(f->fd);
    if (f->bucket_fd >= 0)
        close(f->bucket_fd);
    hash_sha256_free(f->digest.hash);
    free(f->block);
    free(f->key);
    free(f);
}
