/* place.c - where the files of an export are: in a folder, in the folder that stands for
 * s3://, or at an S3 endpoint. The other rooms read and list by names below the export's folder,
 * and do not know which it is. */
#include "cli/verify/verify_private.h"

#include "auth/credentials.h"
#include "codec/uri.h"
#include "s3/s3.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8u

struct place {
    struct arena *arena;
    char dir[PATH_MAX]; /* empty: S3 */
    struct s3_client *s3;
    sv bucket, prefix; /* prefix ends with '/', or is empty */
    struct s3_credentials keys;
};

static err_code give_keys(void *ctx, sv refused, struct arena *a, struct s3_credentials *out,
                          struct err *e)
{
    const struct place *place = ctx;
    (void)refused;
    out->access_key_id = arena_sv(a, place->keys.access_key_id);
    out->secret_key = arena_sv(a, place->keys.secret_key);
    out->session_token = arena_sv(a, place->keys.session_token);
    return out->secret_key.ptr ? ERR_OK : arena_oom(a, e);
}

static err_code open_s3(struct place *place, const struct verify_options *o, struct err *e)
{
    const char *region = o->to.region ? o->to.region : getenv("AWS_REGION");
    struct s3_endpoint ep = { .url = sv_from(o->s3_endpoint),
                              .region =
                                  region && region[0] ? sv_from(region) : SV_LIT("us-east-1") };
    if (o->s3_addressing && strcmp(o->s3_addressing, "path") == 0)
        ep.addressing = S3_ADDRESSING_PATH;
    else if (o->s3_addressing && strcmp(o->s3_addressing, "virtual") == 0)
        ep.addressing = S3_ADDRESSING_VIRTUAL;
    else if (o->s3_addressing && strcmp(o->s3_addressing, "auto") != 0)
        return ERR(e, ERR_INVALID, "--s3-addressing takes auto, path or virtual");
    if (o->s3_credentials) {
        TRY(credentials_profile_load(o->s3_credentials, SV_NONE, place->arena,
                                     &place->keys.access_key_id, &place->keys.secret_key,
                                     &place->keys.session_token, e));
    } else {
        credentials_own_environment(&place->keys.access_key_id, &place->keys.secret_key,
                                    &place->keys.session_token);
    }
    if (place->keys.secret_key.len == 0)
        return ERR(
            e, ERR_INVALID,
            "an S3 endpoint needs keys: give --s3-credentials FILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY");
    return s3_client_new(&ep, give_keys, place, NULL, &place->s3, e);
}

static err_code open_uri(struct place *place, const struct verify_options *o, const char *target,
                         struct err *e)
{
    struct uri_s3 u;
    TRY(uri_s3_parse(sv_from(target), &u, e));
    sv key = u.key;
    while (key.len && key.ptr[key.len - 1] == '/')
        key.len--;
    place->bucket = u.bucket;
    place->prefix = key.len ? arena_fmt(place->arena, "%.*s/", SV_FMT(key)) : SV_LIT("");
    if (o->objects && o->s3_endpoint)
        return ERR(e, ERR_INVALID, "--objects and --s3-endpoint exclude each other");
    if (o->s3_endpoint)
        return open_s3(place, o, e);
    if (o->objects == NULL)
        return ERR(e, ERR_INVALID,
                   "an s3:// place needs --objects DIR or --s3-endpoint URL, as the server has it");
    int n = snprintf(place->dir, sizeof place->dir, "%s/%.*s/%.*s", o->objects, SV_FMT(u.bucket),
                     SV_FMT(key));
    return n > 0 && n < PATH_MAX ? ERR_OK : ERR(e, ERR_INVALID, "the path is too long");
}

err_code place_open(const struct verify_options *o, const char *target, struct place **out,
                    struct err *e)
{
    struct place *place = calloc(1, sizeof *place);
    struct stat st;
    err_code rc = ERR_OK;
    if (place == NULL)
        abort();
    place->arena = arena_new(1u << 20);
    if (strncmp(target, "s3://", 5) == 0)
        rc = open_uri(place, o, target, e);
    else if (snprintf(place->dir, sizeof place->dir, "%s", target) >= PATH_MAX)
        rc = ERR(e, ERR_INVALID, "the path is too long");
    if (rc == ERR_OK && place->dir[0] && (stat(place->dir, &st) != 0 || !S_ISDIR(st.st_mode)))
        rc = ERR(e, ERR_NOT_FOUND, "%s is not a folder that is there", target);
    if (rc != ERR_OK) {
        place_free(place);
        return rc;
    }
    *out = place;
    return ERR_OK;
}

void place_free(struct place *place)
{
    if (place == NULL)
        return;
    s3_client_free(place->s3);
    arena_free(place->arena);
    free(place);
}

/* ---- reading ---- */

static err_code fd_read(void *ctx, void *dst, size_t cap, size_t *n, struct err *e)
{
    ssize_t got;
    do
        got = read((int)(intptr_t)ctx, dst, cap);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return ERR(e, err_from_errno(errno), "a file cannot be read");
    *n = (size_t)got;
    return got ? ERR_OK : ERR_EOF;
}

static void fd_close(void *ctx)
{
    /* The file was only read. */
    (void)close((int)(intptr_t)ctx);
}

err_code place_read(struct place *place, sv name, struct byte_reader *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
    if (place->dir[0] == 0) {
        sv key = arena_fmt(a, "%.*s%.*s", SV_FMT(place->prefix), SV_FMT(name));
        return key.ptr ? s3_object_open(place->s3, place->bucket, key, 0, out, e) : arena_oom(a, e);
    }
    sv path = arena_fmt(a, "%s/%.*s", place->dir, SV_FMT(name));
    if (path.ptr == NULL)
        return arena_oom(a, e);
    int fd = open(path.ptr, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR(e, err_from_errno(errno), "%.*s cannot be opened: %s", SV_FMT(name),
                   strerrordesc_np(errno));
    *out = (struct byte_reader){ fd_read, fd_close, (void *)(intptr_t)fd };
    return ERR_OK;
}

/* ---- listing ---- */

struct listing {
    place_list_fn each;
    void *ctx;
    size_t skip; /* bytes of the prefix */
};

static bool each_key(void *ctx, sv key, uint64_t bytes)
{
    struct listing *l = ctx;
    sv name = sv_tail(key, l->skip);
    return name.len == 0 || name.ptr[name.len - 1] == '/' || l->each(l->ctx, name, bytes);
}

static err_code walk(const char *dir, sv below, unsigned depth, struct listing *l, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(256u << 20);
    DIR *d = opendir(dir);
    if (d == NULL)
        return ERR(e, err_from_errno(errno), "a folder cannot be read");
    err_code rc = ERR_OK;
    for (struct dirent *de; rc == ERR_OK && (de = readdir(d)) != NULL;) {
        struct stat st;
        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
            continue;
        sv path = arena_fmt(a, "%s/%s", dir, de->d_name);
        sv name = arena_fmt(a, "%.*s%s%s", SV_FMT(below), below.len ? "/" : "", de->d_name);
        if (path.ptr == NULL || name.ptr == NULL)
            rc = arena_oom(a, e);
        else if (lstat(path.ptr, &st) != 0)
            rc = ERR(e, err_from_errno(errno), "%.*s cannot be looked at", SV_FMT(name));
        else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
            rc = walk(path.ptr, name, depth + 1, l, e);
        else if (!S_ISDIR(st.st_mode))
            /* Every file of a folder is wanted, so the answer does not matter. */
            (void)l->each(l->ctx, name, (uint64_t)st.st_size);
    }
    closedir(d);
    return rc;
}

err_code place_list(struct place *place, place_list_fn each, void *ctx, struct err *e)
{
    struct listing l = { each, ctx, place->prefix.len };
    if (place->dir[0])
        return walk(place->dir, SV_LIT(""), 0, &l, e);
    return s3_object_list(place->s3, place->bucket, place->prefix, each_key, &l, e);
}
