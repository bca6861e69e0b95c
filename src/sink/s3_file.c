/* s3_file.c - one object of an S3 endpoint, written.
 *
 * Up to max_bytes are gathered and sent by one PUT, whose digest is ready by then. Past that the
 * object goes out in parts of 16 MiB (or of max_bytes, if that is less, but at least the floor that
 * S3 sets), and the buffer stays at one part. */
#include "sink/sink_private.h"

#define S3_HASH_BYTES (256u << 10) /* digest in steps that stay in the cache */

#define S3_SPARE_MIN (1u << 20) /* smaller ones are malloc's to keep */

struct s3_file {
    const struct sink *sink;
    struct arena *a;
    sv key, content_type;
    struct buf body;
    size_t part_bytes;
    struct s3_upload *upload; /* once it is larger than max_bytes */
    struct sink_digest digest;
    uint64_t bytes;
    bool ended;
    unsigned char sha256[SHA256_LEN]; /* once it is ended */
};

/* ---- memory ---- */

struct sink_spares *sink_spares_new(void)
{
    struct sink_spares *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void sink_spares_free(struct sink_spares *p)
{
    if (p == NULL)
        return;
    for (unsigned i = 0; i < p->n; i++)
        buf_done(&p->bufs[i]);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static void take_spare(struct sink_spares *p, struct buf *out)
{
    size_t max = out->max;
    pthread_mutex_lock(&p->lock);
    if (p->n)
        *out = p->bufs[--p->n];
    pthread_mutex_unlock(&p->lock);
    /* of this file; what is allocated may be more */
    out->max = max;
    out->len = 0;
}

static void give_spare(struct sink_spares *p, struct buf *b)
{
    if (b->cap >= S3_SPARE_MIN) {
        pthread_mutex_lock(&p->lock);
        if (p->n < SINK_SPARES_MAX) {
            p->bufs[p->n++] = *b;
            *b = BUF_INIT(0);
        }
        pthread_mutex_unlock(&p->lock);
    }
    buf_done(b);
}

/* ---- one object ---- */

static struct s3_put put_of(const struct sink *sink, sv key, sv content_type)
{
    return (struct s3_put){ .bucket = sink->bucket,
                            .key = key,
                            .content_type = content_type,
                            .kms_key_id = sink->kms_key_id };
}

err_code s3_file_create(const struct sink *sink, sv key, sv content_type, size_t max_bytes,
                        struct s3_file **out, struct err *e)
{
    struct s3_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        abort();
    file->sink = sink;
    file->a = arena_new(16u << 10);
    file->digest.hash = hash_sha256_new();
    file->key = arena_sv(file->a, key);
    file->content_type = arena_sv(file->a, content_type);
    buf_init(&file->body, max_bytes > SINK_S3_PART_MIN ? max_bytes : SINK_S3_PART_MIN);
    take_spare(sink->spares, &file->body);
    file->part_bytes = file->body.max < SINK_S3_PART_BYTES ? file->body.max : SINK_S3_PART_BYTES;
    if (file->key.ptr == NULL || file->content_type.ptr == NULL) {
        err_code rc = arena_oom(file->a, e);
        s3_file_free(file);
        return rc;
    }
    *out = file;
    return ERR_OK;
}

/* Whole parts out of the buffer; what is less than a part stays. */
static err_code send_parts(struct s3_file *file, struct err *e)
{
    size_t done = 0;
    if (file->upload == NULL) {
        struct s3_put p = put_of(file->sink, file->key, file->content_type);
        TRY(s3_upload_begin(file->sink->s3, &p, &file->upload, e));
    }
    while (file->body.len - done >= file->part_bytes) {
        TRY(s3_upload_part(file->upload, sv_make(file->body.ptr + done, file->part_bytes), e));
        done += file->part_bytes;
    }
    memmove(file->body.ptr, file->body.ptr + done, file->body.len - done);
    file->body.len -= done;
    return ERR_OK;
}

struct sink_digest *s3_file_digest(struct s3_file *file)
{
    /* what was written is digested */
    return &file->digest;
}

err_code s3_file_write(struct s3_file *file, sv bytes, struct err *e)
{
    while (bytes.len) {
        size_t limit = file->upload ? file->part_bytes : file->body.max;
        if (file->body.len >= limit) {
            TRY(send_parts(file, e));
            continue;
        }
        size_t room = limit - file->body.len;
        sv take = sv_head(bytes, room < S3_HASH_BYTES ? room : S3_HASH_BYTES);
        TRY(buf_add(&file->body, take, e));
        sink_digest_add(&file->digest, file->bytes, take);
        file->bytes += take.len;
        bytes = sv_tail(bytes, take.len);
    }
    return ERR_OK;
}

void s3_file_end(struct s3_file *file, struct sink_object *out)
{
    if (!file->ended)
        hash_sha256_take(file->digest.hash, file->sha256);
    file->ended = true;
    if (out) {
        out->bytes = file->bytes;
        memcpy(out->sha256, file->sha256, sizeof file->sha256);
    }
}

err_code s3_file_commit(struct s3_file *file, struct sink_object *out, struct sink_mark *mark,
                        struct err *e)
{
    struct sink_object got;
    /* one that went out in parts has none: nobody has its digest but we */
    struct s3_entity entity = { 0 };
    s3_file_end(file, &got);
    if (file->upload == NULL) {
        struct s3_put p = put_of(file->sink, file->key, file->content_type);
        p.body = buf_sv(&file->body);
        p.sha256 = got.sha256;
        p.entity = &entity;
        TRY(s3_object_put(file->sink->s3, &p, e));
    } else {
        if (file->body.len >= file->part_bytes)
            TRY(send_parts(file, e));
        if (file->body.len)
            TRY(s3_upload_part(file->upload, buf_sv(&file->body), e));
        TRY(s3_upload_complete(&file->upload, e));
    }
    if (mark)
        s3_mark(&entity, mark);
    if (out)
        *out = got;
    return ERR_OK;
}

void s3_file_free(struct s3_file *file)
{
    if (file == NULL)
        return;
    s3_upload_abort(file->upload);
    hash_sha256_free(file->digest.hash);
    give_spare(file->sink->spares, &file->body);
    arena_free(file->a);
    free(file);
}

err_code s3_file_put(const struct sink *sink, sv key, sv content_type, sv bytes,
                     struct sink_object *out, struct err *e)
{
    struct sink_object got = { .bytes = bytes.len };
    struct s3_put p = put_of(sink, key, content_type);
    hash_sha256_of(bytes, got.sha256);
    p.body = bytes;
    p.sha256 = got.sha256;
    TRY(s3_object_put(sink->s3, &p, e));
    if (out)
        *out = got;
    return ERR_OK;
}
