/* place.c - a directory, or a prefix of S3: opened, written through a sink, read, swept. */
#include "job/served/place_private.h"

#include "base/file.h"
#include "codec/crypt/cipher.h"
#include "codec/uri.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID_LEN 32u
/* What has come while a listing was under way is listed the next time. */
#define REMOVE_ROUNDS 4u

static char *copy(const char *text)
{
    char *p = text ? strdup(text) : NULL;
    if (text && p == NULL)
        abort();
    return p;
}

static err_code open_dir(struct job_files *place, struct err *e)
{
    const struct sink_config cfg = { .objects_dir = place->dir,
                                     .make_buckets = true,
                                     .sync = true,
                                     .links = true,
                                     .shared = place->owner != NULL };
    place->owns_world = true;
    return sink_world_new(&cfg, &place->world, e);
}

static err_code open_sink(const struct job_files *place, sv uri, struct sink **out, struct err *e)
{
    const struct sink_target t = { .uri = uri,
                                   .role_arn = JOB_FILES_ROLE,
                                   .session_name = SV_LIT("fhirlake-served"),
                                   .cancel = place->cancel };
    return sink_open(place->world, &t, out, e);
}

static err_code open_s3(struct job_files *place, struct sink_world *world, struct err *e)
{
    struct uri_s3 u;
    size_t len = strlen(place->uri);
    while (len && place->uri[len - 1] == '/')
        place->uri[--len] = 0;
    TRY(uri_s3_parse(sv_from(place->uri), &u, e));
    place->prefix = u.key;
    place->world = world;
    return open_sink(place, sv_from(place->uri), &place->root, e);
}

err_code job_files_open(const struct job_files_config *cfg, struct job_files **out, struct err *e)
{
    CLEANUP(job_files_free) struct job_files *place = calloc(1, sizeof *place);
    if (place == NULL)
        abort();
    pthread_mutex_init(&place->seen.lock, NULL);
    pthread_mutex_init(&place->right.lock, NULL);
    place->dir = copy(cfg->dir);
    place->uri = copy(cfg->uri);
    place->owner = copy(cfg->owner);
    place->scratch_dir = copy(cfg->scratch_dir);
    place->records = cfg->records;
    place->cancel = cfg->cancel;
    TRY(place->dir ? open_dir(place, e) : open_s3(place, cfg->world, e));
    *out = place;
    place = NULL;
    return ERR_OK;
}

void job_files_free(struct job_files *place)
{
    if (place == NULL)
        return;
    sink_close(place->root);
    if (place->owns_world)
        sink_world_free(place->world);
    pthread_mutex_destroy(&place->seen.lock);
    pthread_mutex_destroy(&place->right.lock);
    free(place->dir);
    free(place->uri);
    free(place->owner);
    free(place->scratch_dir);
    free(place);
}

bool job_files_is_shared(const struct job_files *place)
{
    return place->owner != NULL;
}

struct sink_world *job_files_world(const struct job_files *place)
{
    return place->world;
}

bool job_files_encrypts(const struct job_files *place)
{
    return place->dir != NULL;
}

bool job_files_disk(const struct job_files *place, const char **dir)
{
    /* in DATA there is the disk of the scratch folder */
    *dir = place->dir && place->owner ? place->dir : place->scratch_dir;
    return place->dir && place->owner;
}

sv job_files_uri(const struct job_files *place, sv job_id, struct arena *a)
{
    return place->dir ? arena_fmt(a, "s3://%.*s/", SV_FMT(job_id))
                      : arena_fmt(a, "%s/%.*s/", place->uri, SV_FMT(job_id));
}

sv place_key(const struct job_files *place, sv job_id, sv name, struct arena *a)
{
    return arena_fmt(a, "%.*s%s%.*s/%.*s", SV_FMT(place->prefix), place->prefix.len ? "/" : "",
                     SV_FMT(job_id), SV_FMT(name));
}

/* ---- removing ---- */

struct found {
    struct arena *a;
    sv *keys;
    size_t n, most;
};

static bool each_key(void *ctx, sv key, uint64_t bytes)
{
    struct found *found = ctx;
    (void)bytes;
    found->keys[found->n] = arena_sv(found->a, key);
    if (found->keys[found->n].ptr)
        found->n++;
    return found->n < found->most;
}

/* Some of a job's objects; *n: so many were there. */
static err_code remove_some(struct job_files *place, sv job_id, size_t *n, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4u << 20);
    CLEANUP(sink_close) struct sink *sink = NULL;
    sv keys[1000];
    struct found found = { .a = a, .keys = keys, .most = sizeof keys / sizeof keys[0] };
    const sv uri = job_files_uri(place, job_id, a);
    const size_t skip = place->prefix.len ? place->prefix.len + 1 : 0;
    TRY(open_sink(place, uri, &sink, e));
    TRY(sink_list(sink, each_key, &found, e));
    /* names of the root's: the one sink keeps its connections */
    for (size_t i = 0; i < found.n; i++)
        TRY(sink_delete(place->root, sv_tail(keys[i], skip), e));
    *n = found.n;
    return ERR_OK;
}

/* A job's writer on another machine may have had an object on its way: it is looked again. */
static err_code remove_objects(struct job_files *place, sv job_id, struct err *e)
{
    size_t n = 1;
    do
        TRY(remove_some(place, job_id, &n, e));
    while (n);
    return ERR_OK;
}

err_code job_files_remove(struct job_files *place, sv job_id, struct err *e)
{
    char path[PATH_MAX];
    err_code rc = ERR_OK;
    if (place->dir == NULL)
        return remove_objects(place, job_id, e);
    (void)snprintf(path, sizeof path, "%s/%.*s", place->dir, SV_FMT(job_id));
    for (unsigned i = 0; i < REMOVE_ROUNDS; i++) {
        rc = file_remove_tree(path, e);
        if (rc == ERR_OK)
            break;
    }
    return rc;
}

/* ---- whose files there are ---- */

static err_code folder_ids(const struct job_files *place, job_files_fn each, void *ctx,
                           struct err *e)
{
    DIR *d = opendir(place->dir);
    struct dirent *x;
    if (d == NULL)
        return errno == ENOENT ? ERR_OK : file_os_err(e, "the folder of exports cannot be read");
    while ((x = readdir(d)) != NULL)
        /* whatever else stands there is not ours */
        if (sv_is_hex(sv_from(x->d_name), ID_LEN) && !each(ctx, sv_from(x->d_name)))
            break;
    closedir(d);
    return ERR_OK;
}

struct ids {
    const struct job_files *place;
    job_files_fn each;
    void *ctx;
    char last[ID_LEN + 1];
};

static bool each_object(void *ctx, sv key, uint64_t bytes)
{
    struct ids *ids = ctx;
    const sv below = sv_tail(key, ids->place->prefix.len ? ids->place->prefix.len + 1 : 0);
    const sv id = sv_head(below, sv_find(below, '/'));
    (void)bytes;
    if (id.len == below.len || !sv_is_hex(id, ID_LEN) || sv_eq_cstr(id, ids->last))
        return true;
    (void)snprintf(ids->last, sizeof ids->last, "%.*s", SV_FMT(id));
    return ids->each(ids->ctx, id);
}

err_code job_files_ids(struct job_files *place, job_files_fn each, void *ctx, struct err *e)
{
    struct ids ids = { .place = place, .each = each, .ctx = ctx };
    return place->dir ? folder_ids(place, each, ctx, e)
                      : sink_list(place->root, each_object, &ids, e);
}

/* ---- one file ---- */

static err_code file_of_dir(const struct job_files *place, sv job_id, sv name,
                            const struct cipher_ring *ring, struct job_export_file *out,
                            struct err *e)
{
    CLEANUP(cipher_free) struct cipher *cipher = NULL;
    char path[PATH_MAX];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, "%s/%.*s/%.*s", place->dir, SV_FMT(job_id),
                         SV_FMT(name)) >= sizeof path)
        return ERR(e, ERR_IO, "the path of a file of an export is too long");
    int f = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    /* between the removal of files and of records */
    if (f < 0 && errno == ENOENT)
        return ERR(e, ERR_GONE, "The files of this export have expired; start a new one");
    if (f < 0 || fstat(f, &st) != 0 ||
        (uint64_t)st.st_size != out->bytes + (ring ? CIPHER_PREFIX : 0) ||
        (ring && cipher_of_file(ring, f, &cipher, NULL) != ERR_OK)) {
        if (f >= 0)
            close(f);
        return ERR(e, ERR_IO, "a file of an export cannot be read");
    }
    out->fd = f;
    out->written_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    out->cipher = cipher;
    cipher = NULL;
    return ERR_OK;
}

err_code job_files_file(struct job_files *place, sv job_id, sv name, struct job_export_part part,
                        const struct cipher_ring *ring, struct job_export_file *out, struct err *e)
{
    if (place->dir)
        return file_of_dir(place, job_id, name, ring, out, e);
    CLEANUP(arena_free) struct arena *a = arena_new(16u << 10);
    const sv key = place_key(place, job_id, name, a);
    return key.ptr ? place_fetch(place, key, part, out, e) : arena_oom(a, e);
}
