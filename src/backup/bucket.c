/* bucket.c - a place in an S3 bucket: PREFIX/objects/<SHA-256>, PREFIX/backups/<name>.
 *
 * An object appears whole or not at all, by PutObject, or by the end of a multipart upload; each
 * request's bytes are vouched for by a checksum (s3/s3.h). What is there is known by one listing as
 * a put begins. A bucket has no lock, so a put removes nothing, and lists once more before its
 * manifest is written: what somebody removed meanwhile is missed then.
 * Source: Amazon S3 API Reference. */
#include "backup/backup_private.h"

#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define PART_BYTES  ((uint64_t)16 << 20) /* of memory: a file below it goes in one request */
#define PARTS_MAX   10000u               /* of an upload */
#define LIST_BYTES  ((size_t)1 << 30)
#define NAMES_BYTES ((size_t)64 << 20)
#define KEY_MAX     1024u
#define BINARY      SV_LIT("application/octet-stream")

struct bucket {
    struct backup_place place; /* the first */
    struct arena *a;           /* the texts */
    struct s3_client *s3;
    sv bucket, prefix, kms_key_id; /* prefix: with its slash, or empty */
    struct buf there;              /* struct backup_file, sorted, of the last listing */
};

static struct bucket *of(struct backup_place *place)
{
    return (struct bucket *)place;
}

/* PREFIX/folder/name */
static err_code key_of(const struct bucket *b, const char *folder, sv name, struct buf *key,
                       struct err *e)
{
    buf_clear(key);
    return buf_add_fmt(key, e, "%.*s%s/%.*s", SV_FMT(b->prefix), folder, SV_FMT(name));
}

static struct s3_put put_of(const struct bucket *b, sv key)
{
    return (struct s3_put){
        .bucket = b->bucket, .key = key, .content_type = BINARY, .kms_key_id = b->kms_key_id
    };
}

/* ---- manifests ---- */

struct naming {
    size_t skip; /* of each key: its folder */
    struct arena *a;
    struct buf *names;
    err_code rc;
    struct err *e;
};

/* s3_list_fn */
static bool name_one(void *ctx, sv key, uint64_t size)
{
    struct naming *x = ctx;
    (void)size;
    sv name = arena_sv(x->a, sv_tail(key, x->skip));
    if (name.len == 0)
        return true;
    x->rc = name.ptr ? buf_add(x->names, sv_make(&name, sizeof name), x->e) : arena_oom(x->a, x->e);
    return x->rc == ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

static err_code names(struct backup_place *place, struct arena *a, sv **out, size_t *n,
                      struct err *e)
{
    const struct bucket *b = of(place);
    CLEANUP_BUF struct buf key = BUF_INIT(KEY_MAX * 2);
    CLEANUP_BUF struct buf found = BUF_INIT(NAMES_BYTES);
    TRY(key_of(b, "backups", SV_NONE, &key, e));
    struct naming x = { key.len, a, &found, ERR_OK, e };
    TRY(s3_object_list(b->s3, b->bucket, buf_sv(&key), name_one, &x, e));
    TRY(x.rc);
    *n = found.len / sizeof(sv);
    *out = arena_calloc(a, *n + 1, sizeof **out);
    if (*out == NULL)
        return arena_oom(a, e);
    if (*n) {
        memcpy(*out, found.ptr, found.len);
        qsort(*out, *n, sizeof **out, by_name);
    }
    return ERR_OK;
}

static err_code read_all(struct byte_reader *src, struct buf *out, struct err *e)
{
    char piece[16384];
    struct err why;
    size_t n = 0;
    err_code rc;
    while ((rc = src->read(src->ctx, piece, sizeof piece, &n, &why)) == ERR_OK)
        TRY(buf_add(out, sv_make(piece, n), e));
    return rc == ERR_EOF ? ERR_OK : err_pass(e, &why);
}

static err_code read_manifest(struct backup_place *place, sv name, struct buf *out, struct err *e)
{
    const struct bucket *b = of(place);
    CLEANUP_BUF struct buf key = BUF_INIT(KEY_MAX * 2);
    struct byte_reader src;
    TRY(key_of(b, "backups", name, &key, e));
    TRY(s3_object_open(b->s3, b->bucket, buf_sv(&key), 0, &src, e));
    err_code rc = read_all(&src, out, e);
    src.close(src.ctx);
    return rc;
}

static err_code write_manifest(struct backup_place *place, sv name, sv json, struct err *e)
{
    const struct bucket *b = of(place);
    CLEANUP_BUF struct buf key = BUF_INIT(KEY_MAX * 2);
    TRY(key_of(b, "backups", name, &key, e));
    struct s3_put p = put_of(b, buf_sv(&key));
    p.content_type = SV_LIT("application/json");
    p.body = json;
    return s3_object_put(b->s3, &p, e);
}

/* ---- what is there ---- */

struct listing {
    size_t skip;
    struct buf *there;
    err_code rc;
    struct err *e;
};

/* s3_list_fn */
static bool list_one(void *ctx, sv key, uint64_t size)
{
    struct listing *x = ctx;
    const sv name = sv_tail(key, x->skip);
    struct backup_file file = { .bytes = size };
    if (!sv_is_hex(name, SHA256_HEX_LEN))
        return true;
    memcpy(file.sha, name.ptr, sizeof file.sha);
    x->rc = buf_add(x->there, sv_make(&file, sizeof file), x->e);
    return x->rc == ERR_OK;
}

static int by_sha(const void *a, const void *b)
{
    return memcmp(((const struct backup_file *)a)->sha, ((const struct backup_file *)b)->sha,
                  SHA256_HEX_LEN);
}

static err_code list(struct backup_place *place, struct err *e)
{
    struct bucket *b = of(place);
    CLEANUP_BUF struct buf key = BUF_INIT(KEY_MAX * 2);
    buf_clear(&b->there);
    TRY(key_of(b, "objects", SV_NONE, &key, e));
    struct listing x = { key.len, &b->there, ERR_OK, e };
    TRY(s3_object_list(b->s3, b->bucket, buf_sv(&key), list_one, &x, e));
    TRY(x.rc);
    if (b->there.len)
        qsort(b->there.ptr, b->there.len / sizeof(struct backup_file), sizeof(struct backup_file),
              by_sha);
    return ERR_OK;
}

static void end(struct backup_place *place)
{
    buf_clear(&of(place)->there);
}

static bool has(struct backup_place *place, const struct backup_file *file)
{
    const struct bucket *b = of(place);
    const struct backup_file *found =
        b->there.len
            ? bsearch(file, b->there.ptr, b->there.len / sizeof *found, sizeof *found, by_sha)
            : NULL;
    /* one of another size is none of ours: it is put anew */
    return found && found->bytes == file->bytes;
}

/* ---- objects ---- */

/* As much as fits, unless the file ends. */
static err_code fill(int fd, char *to, size_t cap, size_t *n, struct err *e)
{
    *n = 0;
    while (*n < cap) {
        ssize_t got = read(fd, to + *n, cap - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return file_os_err(e, "cannot read file");
        if (got == 0)
            break;
        *n += (size_t)got;
    }
    return ERR_OK;
}

static err_code changed(struct err *e)
{
    return ERR(e, ERR_IO, "a file changed while it was copied");
}

static err_code put_once(const struct bucket *b, sv key, sv body, const struct backup_file *want,
                         struct err *e)
{
    unsigned char sha[SHA256_LEN];
    char hex[SHA256_HEX_LEN];
    struct s3_put p = put_of(b, key);
    hash_sha256_of(body, sha);
    hash_hex(sha, sizeof sha, hex);
    if (body.len != want->bytes || memcmp(hex, want->sha, sizeof hex) != 0)
        return changed(e);
    p.body = body;
    p.sha256 = sha;
    return s3_object_put(b->s3, &p, e);
}

/* The first part is in piece already. */
static err_code put_parts(const struct bucket *b, sv key, int fd, char *piece, size_t part,
                          const struct backup_file *want, struct err *e)
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    CLEANUP(s3_upload_abort) struct s3_upload *upload = NULL;
    const struct s3_put p = put_of(b, key);
    struct backup_file got = { 0 };
    unsigned char sha[SHA256_LEN];
    TRY(s3_upload_begin(b->s3, &p, &upload, e));
    for (size_t n = part; n;) {
        const sv bytes = sv_make(piece, n);
        hash_sha256_add(h, bytes);
        got.bytes += n;
        if (got.bytes > want->bytes)
            return changed(e);
        TRY(s3_upload_part(upload, &bytes, 1, e));
        TRY(fill(fd, piece, part, &n, e));
    }
    hash_sha256_take(h, sha);
    hash_hex(sha, sizeof sha, got.sha);
    if (!backup_file_same(&got, want))
        return changed(e);
    return s3_upload_complete(&upload, e);
}

static err_code put(struct backup_place *place, int fd, const struct backup_file *want,
                    struct err *e)
{
    const struct bucket *b = of(place);
    CLEANUP_BUF struct buf key = BUF_INIT(KEY_MAX * 2);
    const uint64_t least = want->bytes / PARTS_MAX + 1;
    const size_t part = (size_t)(least > PART_BYTES ? least : PART_BYTES);
    size_t n;
    TRY(key_of(b, "objects", sv_make(want->sha, sizeof want->sha), &key, e));
    if (lseek(fd, 0, SEEK_SET) != 0)
        return file_os_err(e, "cannot read file");
    char *piece = malloc(part);
    if (piece == NULL)
        abort();
    err_code rc = fill(fd, piece, part, &n, e);
    if (rc == ERR_OK)
        rc = n < part ? put_once(b, buf_sv(&key), sv_make(piece, n), want, e)
                      : put_parts(b, buf_sv(&key), fd, piece, part, want, e);
    free(piece);
    return rc;
}

static err_code open_object(struct backup_place *place, const char *sha, struct byte_reader *out,
                            struct err *e)
{
    const struct bucket *b = of(place);
    CLEANUP_BUF struct buf key = BUF_INIT(KEY_MAX * 2);
    TRY(key_of(b, "objects", sv_make(sha, SHA256_HEX_LEN), &key, e));
    return s3_object_open(b->s3, b->bucket, buf_sv(&key), 0, out, e);
}

static err_code prune(struct backup_place *place, const char *shas, size_t n, uint64_t *n_gone,
                      struct err *e)
{
    const struct bucket *b = of(place);
    CLEANUP_BUF struct buf key = BUF_INIT(KEY_MAX * 2);
    const struct backup_file *there = (const struct backup_file *)(const void *)b->there.ptr;
    for (size_t i = 0; i < b->there.len / sizeof *there; i++) {
        if (backup_sha_among(shas, n, there[i].sha))
            continue;
        TRY(key_of(b, "objects", sv_make(there[i].sha, sizeof there[i].sha), &key, e));
        TRY(s3_object_delete(b->s3, b->bucket, buf_sv(&key), e));
        ++*n_gone;
    }
    return ERR_OK;
}

/* ---- life ---- */

static void free_bucket(struct backup_place *place)
{
    struct bucket *b = of(place);
    s3_client_free(b->s3);
    buf_done(&b->there);
    arena_free(b->a);
    free(b);
}

static const struct backup_place_ops ops = { .names = names,
                                             .read_manifest = read_manifest,
                                             .write_manifest = write_manifest,
                                             .begin = list,
                                             .end = end,
                                             .has = has,
                                             .put = put,
                                             .settle = list,
                                             .open = open_object,
                                             .prune = prune,
                                             .free = free_bucket };

static err_code fill_in(struct bucket *b, const struct backup_bucket *from, struct err *e)
{
    sv prefix = from->prefix;
    while (sv_ends(prefix, SV_LIT("/")))
        prefix = sv_head(prefix, prefix.len - 1);
    if (prefix.len > KEY_MAX - BACKUP_NAME_MAX - SHA256_HEX_LEN)
        return ERR(e, ERR_INVALID, "the prefix is too long: keys have at most %u bytes", KEY_MAX);
    b->bucket = arena_sv(b->a, from->bucket);
    b->kms_key_id = arena_sv(b->a, from->kms_key_id);
    b->prefix = prefix.len ? ARENA_JOIN(b->a, prefix, SV_LIT("/")) : SV_LIT("");
    if (b->bucket.ptr == NULL || b->kms_key_id.ptr == NULL || b->prefix.ptr == NULL)
        return arena_oom(b->a, e);
    return s3_client_new(&from->endpoint, from->cred, from->cred_ctx, NULL, &b->s3, e);
}

err_code backup_place_bucket(const struct backup_bucket *from, struct backup_place **out,
                             struct err *e)
{
    struct bucket *b = calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    b->place.ops = &ops;
    b->a = arena_new(64u << 10);
    buf_init(&b->there, LIST_BYTES);
    err_code rc = fill_in(b, from, e);
    if (rc != ERR_OK) {
        free_bucket(&b->place);
        return rc;
    }
    *out = &b->place;
    return ERR_OK;
}
