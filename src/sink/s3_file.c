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

static struct s3_put put_of(const struct sink *s, sv key, sv content_type)
{
    return (struct s3_put){
        .bucket = s->bucket, .key = key, .content_type = content_type, .kms_key_id = s->kms_key_id
    };
}

err_code s3_file_create(const struct sink *s, sv key, sv content_type, size_t max_bytes,
                        struct s3_file **out, struct err *e)
{
    struct s3_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    f->sink = s;
    f->a = arena_new(16u << 10);
    f->digest.hash = hash_sha256_new();
    f->key = arena_sv(f->a, key);
    f->content_type = arena_sv(f->a, content_type);
    buf_init(&f->body, max_bytes > SINK_S3_PART_MIN ? max_bytes : SINK_S3_PART_MIN);
    take_spare(s->spares, &f->body);
    f->part_bytes = f->body.max < SINK_S3_PART_BYTES ? f->body.max : SINK_S3_PART_BYTES;
    if (f->key.ptr == NULL || f->content_type.ptr == NULL) {
        err_code rc = arena_oom(f->a, e);
        s3_file_free(f);
        return rc;
    }
    *out = f;
    return ERR_OK;
}

/* Whole parts out of the buffer; what is less than a part stays. */
static err_code send_parts(struct s3_file *f, struct err *e)
{
    size_t done = 0;
    if (f->upload == NULL) {
        struct s3_put p = put_of(f->sink, f->key, f->content_type);
        TRY(s3_upload_begin(f->sink->s3, &p, &f->upload, e));
    }
    while (f->body.len - done >= f->part_bytes) {
        TRY(s3_upload_part(f->upload, sv_make(f->body.ptr + done, f->part_bytes), e));
        done += f->part_bytes;
    }
    memmove(f->body.ptr, f->body.ptr + done, f->body.len - done);
    f->body.len -= done;
    return ERR_OK;
}

struct sink_digest *s3_file_digest(struct s3_file *f)
{
    /* what was written is digested */
    return &f->digest;
}

err_code s3_file_write(struct s3_file *f, sv bytes, struct err *e)
{
    while (bytes.len) {
        size_t limit = f->upload ? f->part_bytes : f->body.max;
        if (f->body.len >= limit) {
            TRY(send_parts(f, e));
            continue;
        }
        size_t room = limit - f->body.len;
        sv take = sv_head(bytes, room < S3_HASH_BYTES ? room : S3_HASH_BYTES);
        TRY(buf_add(&f->body, take, e));
        sink_digest_add(&f->digest, f->bytes, take);
        f->bytes += take.len;
        bytes = sv_tail(bytes, take.len);
    }
    return ERR_OK;
}

void s3_file_end(struct s3_file *f, struct sink_object *out)
{
    if (!f->ended)
        hash_sha256_take(f->digest.hash, f->sha256);
    f->ended = true;
    if (out) {
        out->bytes = f->bytes;
        memcpy(out->sha256, f->sha256, sizeof f->sha256);
    }
}

err_code s3_file_commit(struct s3_file *f, struct sink_object *out, struct err *e)
{
    struct sink_object got;
    s3_file_end(f, &got);
    if (f->upload == NULL) {
        struct s3_put p = put_of(f->sink, f->key, f->content_type);
        p.body = buf_sv(&f->body);
        p.sha256 = got.sha256;
        TRY(s3_object_put(f->sink->s3, &p, e));
    } else {
        if (f->body.len >= f->part_bytes)
            TRY(send_parts(f, e));
        if (f->body.len)
            TRY(s3_upload_part(f->upload, buf_sv(&f->body), e));
        TRY(s3_upload_complete(&f->upload, e));
    }
    if (out)
        *out = got;
    return ERR_OK;
}

void s3_file_free(struct s3_file *f)
{
    if (f == NULL)
        return;
    s3_upload_abort(f->upload);
    hash_sha256_free(f->digest.hash);
    give_spare(f->sink->spares, &f->body);
    arena_free(f->a);
    free(f);
}

err_code s3_file_put(const struct sink *s, sv key, sv content_type, sv bytes,
                     struct sink_object *out, struct err *e)
{
    struct sink_object got = { .bytes = bytes.len };
    struct s3_put p = put_of(s, key, content_type);
    hash_sha256_of(bytes, got.sha256);
    p.body = bytes;
    p.sha256 = got.sha256;
    TRY(s3_object_put(s->s3, &p, e));
    if (out)
        *out = got;
    return ERR_OK;
}
