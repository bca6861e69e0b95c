/* s3_file.c - one object of an S3 endpoint, written.
 *
 * Up to max_bytes are gathered in blocks and sent by one PUT. Past that the object goes out in
 * parts of 16 MiB (or of max_bytes, if that is less, but at least the floor that S3 sets), and no
 * more than one part is held. Blocks are a sink's: what one file has sent, another fills.
 *
 * The digest is computed as bytes are written, since two files side by side pay for one
 * (sink_files_digest). Where that is not so, and bodies may go out unsigned, it is computed while
 * the object is sent: by the thread that sends, while the writer goes on. */
#include "sink/sink_private.h"

#include <sys/mman.h>

struct s3_file {
    const struct sink *sink;
    struct arena *a;
    sv key, content_type;
    struct buf pieces; /* of sv: blocks, all but the last of them full */
    size_t held;       /* bytes in them */
    size_t max_bytes, part_bytes;
    struct s3_upload *upload; /* once it is larger than max_bytes */
    struct sink_digest digest;
    bool late; /* the digest is computed while the object is sent */
    uint64_t bytes;
    bool ended;
    unsigned char sha256[SHA256_LEN]; /* once it is ended, or sent */
};

/* ---- blocks ---- */

struct sink_blocks *sink_blocks_new(void)
{
    struct sink_blocks *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

void sink_blocks_free(struct sink_blocks *p)
{
    if (p == NULL)
        return;
    for (unsigned i = 0; i < p->n; i++)
        (void)munmap(p->spare[i], SINK_BLOCK_BYTES);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static char *take_block(struct sink_blocks *p)
{
    pthread_mutex_lock(&p->lock);
    char *block = p->n ? p->spare[--p->n] : NULL;
    pthread_mutex_unlock(&p->lock);
    if (block)
        return block;
    block =
        mmap(NULL, SINK_BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        abort();
    return block;
}

static void give_block(struct sink_blocks *p, char *block)
{
    pthread_mutex_lock(&p->lock);
    bool kept = p->n < SINK_BLOCKS_SPARE;
    if (kept)
        p->spare[p->n++] = block;
    pthread_mutex_unlock(&p->lock);
    if (!kept)
        (void)munmap(block, SINK_BLOCK_BYTES);
}

static sv *pieces_of(const struct s3_file *file)
{
    return (sv *)(void *)file->pieces.ptr;
}

static size_t n_pieces(const struct s3_file *file)
{
    return file->pieces.len / sizeof(sv);
}

/* The first n pieces have been sent, or are not wanted. */
static void drop_pieces(struct s3_file *file, size_t n)
{
    sv *pieces = pieces_of(file);
    for (size_t i = 0; i < n; i++) {
        file->held -= pieces[i].len;
        give_block(file->sink->blocks, (char *)(uintptr_t)pieces[i].ptr);
    }
    if (n) {
        file->pieces.len -= n * sizeof *pieces;
        memmove(pieces, pieces + n, file->pieces.len);
    }
}

/* Room for bytes at the end. */
static err_code last_block(struct s3_file *file, sv **out, struct err *e)
{
    size_t n = n_pieces(file);
    if (n == 0 || pieces_of(file)[n - 1].len == SINK_BLOCK_BYTES) {
        sv fresh = sv_make(take_block(file->sink->blocks), 0);
        err_code rc = buf_add(&file->pieces, sv_make(&fresh, sizeof fresh), e);
        if (rc != ERR_OK) {
            give_block(file->sink->blocks, (char *)(uintptr_t)fresh.ptr);
            return rc;
        }
        n++;
    }
    *out = &pieces_of(file)[n - 1];
    return ERR_OK;
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
    file->late = !sink->world->digest_first && s3_client_streams(sink->s3);
    file->max_bytes = max_bytes > SINK_S3_PART_MIN ? max_bytes : SINK_S3_PART_MIN;
    file->part_bytes = file->max_bytes < SINK_S3_PART_BYTES
                           ? file->max_bytes - file->max_bytes % SINK_BLOCK_BYTES
                           : SINK_S3_PART_BYTES;
    buf_init(&file->pieces, (file->max_bytes / SINK_BLOCK_BYTES + 2) * sizeof(sv));
    if (file->key.ptr == NULL || file->content_type.ptr == NULL) {
        err_code rc = arena_oom(file->a, e);
        s3_file_free(file);
        return rc;
    }
    *out = file;
    return ERR_OK;
}

/* Whole parts out of the blocks; what is less than a part stays. */
static err_code send_parts(struct s3_file *file, struct err *e)
{
    size_t n = file->part_bytes / SINK_BLOCK_BYTES;
    if (file->upload == NULL) {
        struct s3_put p = put_of(file->sink, file->key, file->content_type);
        TRY(s3_upload_begin(file->sink->s3, &p, &file->upload, e));
        /* no PUT will digest it any more */
        for (size_t i = 0; file->late && i < n_pieces(file); i++)
            hash_sha256_add(file->digest.hash, pieces_of(file)[i]);
        file->digest.bytes = file->late ? file->bytes : file->digest.bytes;
        file->late = false;
    }
    while (file->held >= file->part_bytes) {
        TRY(s3_upload_part(file->upload, pieces_of(file), n, e));
        drop_pieces(file, n);
    }
    return ERR_OK;
}

struct sink_digest *s3_file_digest(struct s3_file *file)
{
    /* what was written is digested */
    return file->late ? NULL : &file->digest;
}

size_t s3_file_held(const struct s3_file *file)
{
    return file->held;
}

err_code s3_file_write(struct s3_file *file, sv bytes, struct err *e)
{
    while (bytes.len) {
        size_t limit = file->upload ? file->part_bytes : file->max_bytes;
        sv *last;
        if (file->held >= limit) {
            TRY(send_parts(file, e));
            continue;
        }
        TRY(last_block(file, &last, e));
        size_t room = SINK_BLOCK_BYTES - last->len;
        sv take = sv_head(bytes, room < limit - file->held ? room : limit - file->held);
        memcpy((char *)(uintptr_t)last->ptr + last->len, take.ptr, take.len);
        last->len += take.len;
        file->held += take.len;
        if (!file->late)
            sink_digest_add(&file->digest, file->bytes, take);
        file->bytes += take.len;
        bytes = sv_tail(bytes, take.len);
    }
    return ERR_OK;
}

void s3_file_end(struct s3_file *file, struct sink_object *out)
{
    if (!file->ended && !file->late)
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
    /* one that went out in parts has none: nobody has its digest but we */
    struct s3_entity entity = { 0 };
    s3_file_end(file, NULL);
    if (file->upload == NULL) {
        struct s3_put p = put_of(file->sink, file->key, file->content_type);
        p.pieces = pieces_of(file);
        p.n_pieces = n_pieces(file);
        p.sha256 = file->late ? NULL : file->sha256;
        p.digest = file->sha256;
        p.entity = &entity;
        TRY(s3_object_put(file->sink->s3, &p, e));
    } else {
        if (file->held >= file->part_bytes)
            TRY(send_parts(file, e));
        if (file->held)
            TRY(s3_upload_part(file->upload, pieces_of(file), n_pieces(file), e));
        TRY(s3_upload_complete(&file->upload, e));
    }
    if (mark)
        s3_mark(&entity, mark);
    if (out)
        s3_file_end(file, out);
    return ERR_OK;
}

void s3_file_free(struct s3_file *file)
{
    if (file == NULL)
        return;
    s3_upload_abort(file->upload);
    hash_sha256_free(file->digest.hash);
    drop_pieces(file, n_pieces(file));
    buf_done(&file->pieces);
    arena_free(file->a);
    free(file);
}

err_code s3_file_put(const struct sink *sink, sv key, sv content_type, sv bytes,
                     struct sink_object *out, struct err *e)
{
    struct sink_object got = { .bytes = bytes.len };
    struct s3_put p = put_of(sink, key, content_type);
    p.body = bytes;
    p.digest = got.sha256;
    TRY(s3_object_put(sink->s3, &p, e));
    if (out)
        *out = got;
    return ERR_OK;
}
