/* sink.c - the calls of sink.h over the directory store or an S3 endpoint.
 *
 * Each call chooses between the two and does what both have in common. Here, and only here, each
 * key is held against what the role may touch. */
#include "sink/sink_private.h"

#include "base/file.h"
#include "codec/crypt/cipher.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PUT_PATH_BLOCK (1u << 20)
#define PUT_ONCE_BYTES (64u << 20) /* sink_put sends more in parts, as S3 takes at most 5 GiB */

struct sink_file {
    struct dir_file *dir; /* one of the two; neither: it stands nowhere */
    struct s3_file *s3;
    struct sink_senders *senders; /* of the sink */
    struct sink_digest digest;    /* of a file that stands nowhere, and its bytes */
    uint64_t bytes;
};

/* prefix/name */
static err_code join(const struct sink *sink, sv name, struct buf *key, struct err *e)
{
    if (name.len == 0)
        return ERR(e, ERR_INVALID, "an object needs a name");
    if (sink->prefix.len + 1 + name.len > SINK_KEY_MAX + (sink->prefix.len ? 0 : 1))
        return ERR(e, ERR_INVALID, "the object's key would be longer than %u bytes", SINK_KEY_MAX);
    if (sink->prefix.len) {
        TRY(buf_add(key, sink->prefix, e));
        TRY(buf_add_char(key, '/', e));
    }
    return buf_add(key, name, e);
}

/* prefix/name; the role may touch it. */
static err_code key_of(const struct sink *sink, sv name, struct buf *key, struct err *e)
{
    TRY(join(sink, name, key, e));
    return sink_may(sink, buf_sv(key), e);
}

err_code sink_name_check(const struct sink *sink, sv name, struct err *e)
{
    CLEANUP_BUF struct buf key = BUF_INIT(SINK_KEY_MAX * 3);
    TRY(join(sink, name, &key, e));
    return sink->s3 ? ERR_OK : dir_key_check(buf_sv(&key), e);
}

/* ---- writing ---- */
err_code sink_file_create(struct sink *sink, sv name, sv content_type, size_t max_bytes,
                          struct sink_file **out, struct err *e)
{
    CLEANUP_BUF struct buf key = BUF_INIT(SINK_KEY_MAX * 3);
    TRY(key_of(sink, name, &key, e));
    struct sink_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        abort();
    err_code rc = sink->s3
                      ? s3_file_create(sink, buf_sv(&key), content_type, max_bytes, &file->s3, e)
                      : dir_file_create(sink, buf_sv(&key), &file->dir, e);
    if (rc != ERR_OK) {
        free(file);
        return rc;
    }
    file->senders = sink->senders;
    *out = file;
    return ERR_OK;
}

struct sink_file *sink_file_nowhere(void)
{
    struct sink_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        abort();
    file->digest.hash = hash_sha256_new();
    return file;
}

static bool is_nowhere(const struct sink_file *file)
{
    return file->digest.hash != NULL;
}

err_code sink_file_write(struct sink_file *file, sv bytes, struct err *e)
{
    if (!is_nowhere(file))
        return file->s3 ? s3_file_write(file->s3, bytes, e) : dir_file_write(file->dir, bytes, e);
    sink_digest_add(&file->digest, file->bytes, bytes);
    file->bytes += bytes.len;
    return ERR_OK;
}

bool sink_signs_after_all(const struct sink *sink)
{
    return sink->s3 && s3_client_was_refused(sink->s3);
}

bool sink_keeps_objects(const struct sink *sink)
{
    return sink->s3 != NULL;
}

/* NULL: it is computed while the object is sent. */
static struct sink_digest *digest_of(struct sink_file *f)
{
    if (is_nowhere(f))
        return &f->digest;
    return f->s3 ? s3_file_digest(f->s3) : dir_file_digest(f->dir);
}

void sink_files_digest(struct sink_file *f, sv x, struct sink_file *g, sv y)
{
    struct sink_digest *a = digest_of(f), *b = digest_of(g);
    if (a == NULL || b == NULL)
        return;
    hash_sha256_add_pair(a->hash, x, b->hash, y);
    a->bytes += x.len;
    b->bytes += y.len;
}

err_code sink_file_commit(struct sink_file **fp, struct sink_object *out, struct err *e)
{
    struct sink_file *f = *fp;
    /* taken: what fails below leaves nothing behind */
    *fp = NULL;
    err_code rc =
        f->s3 ? s3_file_commit(f->s3, out, NULL, e) : dir_file_commit(f->dir, out, NULL, e);
    sink_file_abort(f);
    return rc;
}

err_code sink_file_send(struct sink_file **fp, uint64_t *bytes, struct sink_sending **sending,
                        struct err *e)
{
    struct sink_file *f = *fp;
    struct sink_object object;
    *fp = NULL;
    if (is_nowhere(f)) {
        object.bytes = *bytes = f->bytes;
        hash_sha256_take(f->digest.hash, object.sha256);
        sink_file_abort(f);
        *sending = sink_sending_ended(&object, &(struct sink_mark){ 0 });
        return ERR_OK;
    }
    if (f->s3 == NULL) {
        struct sink_mark mark;
        err_code rc = dir_file_commit(f->dir, &object, &mark, e);
        sink_file_abort(f);
        TRY(rc);
        *bytes = object.bytes;
        *sending = sink_sending_ended(&object, &mark);
        return ERR_OK;
    }
    s3_file_end(f->s3, &object);
    *bytes = object.bytes;
    *sending = sink_senders_give(f->senders, f->s3, NULL);
    /* given */
    f->s3 = NULL;
    sink_file_abort(f);
    return ERR_OK;
}

err_code sink_copy_send(struct sink *sink, const struct sink_earlier *from, sv name,
                        sv content_type, struct sink_sending **sending, struct err *e)
{
    CLEANUP_BUF struct buf key = BUF_INIT(SINK_KEY_MAX * 3);
    struct sink_earlier of = *from;
    struct s3_copying *copying;
    struct sink_mark mark;
    if (of.bucket.len == 0)
        of.bucket = sink->bucket;
    TRY(sink_may_in(sink, of.bucket, of.key, e));
    TRY(key_of(sink, name, &key, e));
    if (sink->s3) {
        TRY(s3_copying_new(sink, &of, buf_sv(&key), content_type, &copying, e));
        *sending = sink_senders_give(sink->senders, NULL, copying);
        return ERR_OK;
    }
    TRY(dir_copy(sink, &of, buf_sv(&key), &mark, e));
    *sending = sink_sending_ended(&of.object, &mark);
    return ERR_OK;
}

void sink_file_abort(struct sink_file *file)
{
    if (file == NULL)
        return;
    dir_file_free(file->dir);
    s3_file_free(file->s3);
    hash_sha256_free(file->digest.hash);
    free(file);
}

err_code sink_put(struct sink *sink, sv name, sv content_type, sv bytes, struct sink_object *out,
                  struct err *e)
{
    if (sink->s3 && bytes.len <= PUT_ONCE_BYTES * 2) {
        CLEANUP_BUF struct buf key = BUF_INIT(SINK_KEY_MAX * 3);
        TRY(key_of(sink, name, &key, e));
        return s3_file_put(sink, buf_sv(&key), content_type, bytes, out, e);
    }
    CLEANUP(sink_file_abort) struct sink_file *file = NULL;
    TRY(sink_file_create(sink, name, content_type, PUT_ONCE_BYTES, &file, e));
    TRY(sink_file_write(file, bytes, e));
    return sink_file_commit(&file, out, e);
}

/* cipher: NULL: the file is plain. */
static err_code copy_fd(int fd, const struct cipher *cipher, struct sink_file *file, struct err *e)
{
    uint64_t at = 0;
    char *block = malloc(PUT_PATH_BLOCK);
    if (block == NULL)
        abort();
    err_code rc = ERR_OK;
    while (rc == ERR_OK) {
        ssize_t n = pread(fd, block, PUT_PATH_BLOCK, (off_t)(at + (cipher ? CIPHER_PREFIX : 0)));
        if (n == 0)
            break;
        if (n > 0) {
            if (cipher)
                cipher_apply(cipher, at, block, block, (size_t)n);
            at += (uint64_t)n;
            rc = sink_file_write(file, sv_make(block, (size_t)n), e);
        } else if (errno != EINTR)
            rc = file_os_err(e, "cannot read a local file");
    }
    free(block);
    return rc;
}

err_code sink_put_path(struct sink *sink, sv name, sv content_type, const char *path,
                       const struct cipher_ring *ring, struct sink_object *out, struct err *e)
{
    CLEANUP(cipher_free) struct cipher *cipher = NULL;
    CLEANUP(sink_file_abort) struct sink_file *file = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_os_err(e, "cannot open a local file");
    err_code rc = ring ? cipher_of_file(ring, fd, &cipher, e) : ERR_OK;
    if (rc == ERR_OK)
        rc = sink_file_create(sink, name, content_type, SINK_S3_PART_BYTES, &file, e);
    if (rc == ERR_OK)
        rc = copy_fd(fd, cipher, file, e);
    close(fd);
    return rc == ERR_OK ? sink_file_commit(&file, out, e) : rc;
}

err_code sink_delete(struct sink *sink, sv name, struct err *e)
{
    CLEANUP_BUF struct buf key = BUF_INIT(SINK_KEY_MAX * 3);
    TRY(key_of(sink, name, &key, e));
    return sink->s3 ? s3_object_delete(sink->s3, sink->bucket, buf_sv(&key), e)
                    : dir_delete(sink, buf_sv(&key), e);
}

static err_code stat_key(const struct sink *sink, sv key, uint64_t *bytes, struct err *e)
{
    if (sink->s3 == NULL)
        return dir_stat(sink, key, bytes, e);
    CLEANUP(arena_free) struct arena *a = arena_new(16u << 10);
    sv kms_key_id;
    return s3_object_head(sink->s3, sink->bucket, key, a, bytes, &kms_key_id, e);
}

err_code sink_stat(struct sink *sink, sv name, uint64_t *bytes, struct err *e)
{
    CLEANUP_BUF struct buf key = BUF_INIT(SINK_KEY_MAX * 3);
    TRY(key_of(sink, name, &key, e));
    return stat_key(sink, buf_sv(&key), bytes, e);
}

/* ---- reading ---- */
struct pass {
    sink_list_fn each;
    void *ctx;
};

static bool not_markers(void *ctx, sv key, uint64_t bytes)
{
    struct pass *p = ctx;
    return sv_ends(key, SV_LIT("/")) || p->each(p->ctx, key, bytes);
}

/* Of the keys of objects below the sink. */
static err_code prefix_of(const struct sink *sink, struct buf *prefix, struct err *e)
{
    TRY(buf_add(prefix, sink->prefix, e));
    return sink->prefix.len ? buf_add_char(prefix, '/', e) : ERR_OK;
}

static err_code s3_list(struct sink *sink, sink_list_fn each, void *ctx, struct err *e)
{
    struct pass p = { each, ctx };
    if (sink->prefix.len && !sink->folder) {
        uint64_t bytes;
        struct err why = { 0 };
        err_code rc = stat_key(sink, sink->prefix, &bytes, &why);
        if (rc == ERR_OK) {
            /* the only one */
            (void)each(ctx, sink->prefix, bytes);
            return ERR_OK;
        }
        /* A role may be refused the object of that name, and yet may list what is below it. */
        if (rc != ERR_NOT_FOUND && rc != ERR_DENIED)
            return err_pass(e, &why);
    }
    if (!sink->below)
        return ERR_OK;
    CLEANUP_BUF struct buf prefix = BUF_INIT(SINK_KEY_MAX * 2);
    TRY(prefix_of(sink, &prefix, e));
    return s3_object_list(sink->s3, sink->bucket, buf_sv(&prefix), not_markers, &p, e);
}

err_code sink_list(struct sink *sink, sink_list_fn each, void *ctx, struct err *e)
{
    return sink->s3 ? s3_list(sink, each, ctx, e) : dir_list(sink, each, ctx, e);
}

struct survey {
    size_t skip; /* of each key: the prefix */
    sink_list_fn each;
    void *ctx;
};

static bool by_name(void *ctx, sv key, uint64_t bytes)
{
    struct survey *s = ctx;
    return key.len <= s->skip || s->each(s->ctx, sv_tail(key, s->skip), bytes);
}

err_code sink_survey(struct sink *sink, sink_list_fn each, void *ctx, struct err *e)
{
    CLEANUP_BUF struct buf prefix = BUF_INIT(SINK_KEY_MAX * 2);
    if (sink->s3 == NULL)
        return ERR_OK;
    TRY(prefix_of(sink, &prefix, e));
    struct survey s = { prefix.len, each, ctx };
    return s3_object_list(sink->s3, sink->bucket, buf_sv(&prefix), by_name, &s, e);
}

err_code sink_read(struct sink *sink, sv key, uint64_t offset, struct byte_reader *out,
                   struct err *e)
{
    TRY(sink_may(sink, key, e));
    return sink->s3 ? s3_object_open(sink->s3, sink->bucket, key, offset, out, e)
                    : dir_read(sink, key, offset, out, e);
}

err_code sink_read_part(struct sink *sink, sv key, uint64_t offset, uint64_t len,
                        struct byte_reader *out, struct s3_whole *whole, struct err *e)
{
    assert(sink->s3);
    TRY(sink_may(sink, key, e));
    return s3_object_open_part(sink->s3, sink->bucket, key, offset, len, out, whole, e);
}

/* ---- probes ---- */
err_code sink_probe_write(struct sink *sink, struct err *e)
{
    struct err ignored = { 0 };
    TRY(sink_put(sink, SV_LIT(SINK_PROBE_NAME), SV_LIT("application/octet-stream"), SV_LIT(""),
                 NULL, e));
    /* A role that may write and not remove is a good one. */
    IGNORE(sink_delete(sink, SV_LIT(SINK_PROBE_NAME), &ignored));
    return ERR_OK;
}

static bool first_only(void *ctx, sv key, uint64_t bytes)
{
    bool *found = ctx;
    (void)key;
    (void)bytes;
    *found = true;
    return false;
}

err_code sink_probe_read(struct sink *sink, struct err *e)
{
    bool found = false;
    if (sink->s3)
        TRY(s3_bucket_head(sink->s3, sink->bucket, e));
    TRY(sink_list(sink, first_only, &found, e));
    if (!found)
        return ERR(e, ERR_NOT_FOUND, "no object stands at or below the prefix in bucket %.*s",
                   SV_FMT(sv_head(sink->bucket, 64)));
    return ERR_OK;
}
