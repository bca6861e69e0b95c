/* world.c - the configured outside, and opening a place in it under a role.
 *
 * A world is made once, from the configuration: a directory or an S3 endpoint, and what says whose
 * credentials are used (an STS endpoint, a roles file, or both). The roles file may be read again:
 * what is opened from then on obeys it, and what is open goes on as it was. Opening a sink checks
 * the place and the role at once, so that a refusal is seen before a job exists. */
#include "sink/sink_private.h"

#include "base/file.h"
#include "codec/uri.h"
#include "kms/kms.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static err_code check(const struct sink_config *cfg, struct err *e)
{
    if (cfg->objects_dir && cfg->s3)
        return ERR(e, ERR_INVALID, "give a directory for objects or an S3 endpoint, not both");
    if (!cfg->objects_dir && !cfg->s3)
        return ERR(e, ERR_INVALID, "give a directory for objects or an S3 endpoint");
    if (cfg->s3 && !cfg->sts && !cfg->roles_file && !cfg->as_own)
        return ERR(e, ERR_INVALID,
                   "an S3 endpoint needs an STS endpoint (--sts-endpoint) or a roles file, which "
                   "say whose credentials a job uses");
    if (cfg->sts && (cfg->own.access_key_id.len == 0 || cfg->own.secret_key.len == 0))
        return ERR(e, ERR_INVALID,
                   "an STS endpoint needs fhirlake's own credentials (AWS_ACCESS_KEY_ID and "
                   "AWS_SECRET_ACCESS_KEY in the environment) to assume roles with");
    if (cfg->kms && (cfg->own.access_key_id.len == 0 || cfg->own.secret_key.len == 0))
        return ERR(e, ERR_INVALID,
                   "a KMS endpoint needs fhirlake's own credentials (AWS_ACCESS_KEY_ID and "
                   "AWS_SECRET_ACCESS_KEY in the environment)");
    if (cfg->kms)
        TRY(kms_endpoint_check(cfg->kms->url, e));
    return ERR_OK;
}

static err_code copy_endpoint(struct arena *a, const struct s3_endpoint *from,
                              struct s3_endpoint *to, const char *what, struct err *e)
{
    struct uri_http u;
    struct err why = { 0 };
    if (uri_http_parse(from->url, &u, &why) != ERR_OK)
        return ERR(e, ERR_INVALID, "%s endpoint: %.300s", what, why.msg);
    if (from->region.len == 0)
        return ERR(e, ERR_INVALID, "%s endpoint: a region is needed", what);
    *to = *from;
    to->url = arena_sv(a, from->url);
    to->region = arena_sv(a, from->region);
    return to->url.ptr && to->region.ptr ? ERR_OK : arena_oom(a, e);
}

/* What is not synced is whole as long as the machine runs. */
static void read_boot(struct sink_world *world)
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, world->boot, 36) : 0;
    world->boot[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
}

static err_code open_root(struct sink_world *world, const char *dir, bool shared, struct err *e)
{
    if (!world->sync)
        read_boot(world);
    TRY(file_mkdirs(dir, e));
    world->root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (world->root_fd < 0)
        return file_os_err(e, "cannot open the folder for objects");
    if (!shared)
        dir_sweep(world);
    return ERR_OK;
}

static err_code load_roles(const struct sink_config *cfg, struct sink_world *world, struct err *e)
{
    err_code rc = roles_load(cfg->roles_file, world->has_s3 && !cfg->sts, &world->locked.roles, e);
    if (cfg->at_roles)
        *cfg->at_roles = rc != ERR_OK;
    return rc;
}

err_code sink_world_new(const struct sink_config *cfg, struct sink_world **out, struct err *e)
{
    TRY(check(cfg, e));
    CLEANUP(sink_world_free) struct sink_world *world = calloc(1, sizeof *world);
    if (world == NULL)
        abort();
    world->root_fd = -1;
    pthread_mutex_init(&world->locked.lock, NULL);
    world->arena = arena_new(64u << 10);
    world->make_buckets = cfg->make_buckets;
    world->sync = cfg->sync;
    world->links = cfg->links;
    world->has_s3 = cfg->s3 != NULL;
    world->digest_first = hash_sha256_pairs();
    if (cfg->s3)
        TRY(copy_endpoint(world->arena, cfg->s3, &world->s3, "S3", e));
    world->has_kms = cfg->kms != NULL;
    if (cfg->kms)
        TRY(copy_endpoint(world->arena, cfg->kms, &world->kms, "KMS", e));
    world->own = s3_held_new(&cfg->own);
    if (cfg->sts) {
        TRY(copy_endpoint(world->arena, cfg->sts, &world->sts, "STS", e));
        world->assume = assume_cache_new(&world->sts, world->own);
    }
    if (cfg->roles_file)
        TRY(load_roles(cfg, world, e));
    if (cfg->objects_dir)
        TRY(open_root(world, cfg->objects_dir, cfg->shared, e));
    *out = world;
    world = NULL;
    return ERR_OK;
}

void sink_world_free(struct sink_world *world)
{
    if (world == NULL)
        return;
    assume_cache_free(world->assume);
    s3_held_free(world->own);
    roles_free(world->locked.roles);
    pthread_mutex_destroy(&world->locked.lock);
    if (world->root_fd >= 0)
        close(world->root_fd);
    arena_free(world->arena);
    free(world);
}

err_code sink_world_read_roles(struct sink_world *world, const char *path, struct err *e)
{
    struct roles *fresh;
    TRY(roles_load(path, world->has_s3 && !world->assume, &fresh, e));
    pthread_mutex_lock(&world->locked.lock);
    struct roles *before = world->locked.roles;
    world->locked.roles = fresh;
    pthread_mutex_unlock(&world->locked.lock);
    roles_free(before);
    return ERR_OK;
}

void sink_world_set_own(struct sink_world *world, const struct s3_credentials *own)
{
    s3_held_set(world->own, own);
}

static struct roles *newest_roles(struct sink_world *world)
{
    pthread_mutex_lock(&world->locked.lock);
    struct roles *roles = roles_hold(world->locked.roles);
    pthread_mutex_unlock(&world->locked.lock);
    return roles;
}

err_code sink_credentials(void *ctx, sv refused_key_id, struct arena *a, struct s3_credentials *out,
                          struct err *e)
{
    struct sink *sink = ctx;
    if (sink->world->assume)
        return assume_cache_get(sink->world->assume, &sink->who, refused_key_id, a, out, e);
    if (!sink->role || !sink->role->has_credentials)
        return s3_held_give(sink->world->own, refused_key_id, a, out, e);
    /* the sink holds the roles: there is nothing to copy */
    *out = sink->role->cred;
    return ERR_OK;
}

static err_code session_name(struct sink *sink, sv want, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(64);
    for (size_t i = 0; i < want.len && b.len < 64; i++) {
        char c = want.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  (c && memchr("_+=,.@-", c, 7) != NULL);
        TRY(buf_add_char(&b, ok ? c : '-', e));
    }
    sink->who.session_name = b.len >= 2 ? arena_sv(sink->arena, buf_sv(&b)) : SV_LIT("fhirlake");
    return sink->who.session_name.ptr ? ERR_OK : arena_oom(sink->arena, e);
}

static err_code take_target(struct sink *sink, const struct sink_target *t, struct err *e)
{
    struct uri_s3 u;
    sv uri = arena_sv(sink->arena, t->uri);
    if (uri.ptr == NULL)
        return arena_oom(sink->arena, e);
    TRY(uri_s3_parse(uri, &u, e));
    sink->bucket = u.bucket;
    sink->prefix = u.key;
    while (sink->prefix.len && sink->prefix.ptr[sink->prefix.len - 1] == '/') {
        sink->prefix.len--;
        sink->folder = true;
    }
    if (sink->prefix.len && !sink->world->has_s3)
        TRY(dir_key_check(sink->prefix, e));
    if (!role_arn_ok(t->role_arn))
        return ERR(e, ERR_INVALID, "the role's ARN is not well-formed: \"%.*s\"",
                   SV_FMT(sv_head(t->role_arn, 128)));
    sink->kms_key_id = arena_sv(sink->arena, t->kms_key_id);
    sink->who.role_arn = arena_sv(sink->arena, t->role_arn);
    sink->who.source_arn = arena_sv(sink->arena, t->source_arn);
    sink->who.source_account = arena_sv(sink->arena, t->account_id);
    sink->who.cancel = t->cancel;
    sink->who.until_us = t->until_us;
    sink->ring = t->ring;
    if (!sink->kms_key_id.ptr || !sink->who.role_arn.ptr || !sink->who.source_arn.ptr ||
        !sink->who.source_account.ptr)
        return arena_oom(sink->arena, e);
    for (size_t i = 0; i < sink->kms_key_id.len; i++)
        if ((unsigned char)sink->kms_key_id.ptr[i] <= 0x20 ||
            (unsigned char)sink->kms_key_id.ptr[i] >= 0x7F)
            return ERR(e, ERR_INVALID, "the KMS key id holds bytes that no key id has");
    return session_name(sink, t->session_name, e);
}

/* The bucket's name says enough; keys may tell of patients. */
static err_code may_not(const struct sink *sink, struct err *e)
{
    return ERR(e, ERR_DENIED, "the role may not touch this place in bucket %.*s",
               SV_FMT(sv_head(sink->bucket, 64)));
}

static err_code resolve_role(struct sink *sink, struct err *e)
{
    struct sink_world *world = sink->world;
    sink->below = true;
    sink->roles = newest_roles(world);
    if (sink->roles) {
        sink->role = roles_find(sink->roles, sink->who.role_arn);
        if (sink->role == NULL)
            return ERR(e, ERR_DENIED, "the role is not known: %.*s",
                       SV_FMT(sv_head(sink->who.role_arn, 128)));
        sink->below = role_may_below(sink->role, sink->bucket, sink->prefix);
        if (!sink->below && (sink->folder || !role_may(sink->role, sink->bucket, sink->prefix)))
            return may_not(sink, e);
        if (!role_may_use_key(sink->role, sink->kms_key_id))
            return ERR(e, ERR_DENIED, "the role may not use this KMS key: %.*s",
                       SV_FMT(sv_head(sink->kms_key_id, 128)));
    }
    /* now, so that a refusal is seen before a job exists */
    if (world->assume) {
        CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
        struct s3_credentials cred;
        TRY(assume_cache_get(world->assume, &sink->who, SV_NONE, a, &cred, e));
    }
    return ERR_OK;
}

err_code sink_open(struct sink_world *world, const struct sink_target *t, struct sink **out,
                   struct err *e)
{
    CLEANUP(sink_close) struct sink *sink = calloc(1, sizeof *sink);
    if (sink == NULL)
        abort();
    sink->world = world;
    sink->arena = arena_new(64u << 10);
    TRY(take_target(sink, t, e));
    TRY(resolve_role(sink, e));
    if (world->has_s3) {
        struct s3_endpoint s3 = world->s3;
        s3.until_us = t->until_us;
        sink->blocks = sink_blocks_new();
        sink->senders = sink_senders_new(SINK_SENDING_BYTES);
        TRY(s3_client_new(&s3, sink_credentials, sink, t->cancel, &sink->s3, e));
        s3_client_linger(sink->s3, t->leave);
    }
    *out = sink;
    sink = NULL;
    return ERR_OK;
}

void sink_close(struct sink *sink)
{
    if (sink == NULL)
        return;
    sink_senders_free(sink->senders);
    s3_client_free(sink->s3);
    sink_blocks_free(sink->blocks);
    roles_free(sink->roles);
    arena_free(sink->arena);
    free(sink);
}

err_code sink_may_in(const struct sink *sink, sv bucket, sv key, struct err *e)
{
    if (sink->role && !role_may(sink->role, bucket, key))
        return may_not(sink, e);
    return ERR_OK;
}

err_code sink_may(const struct sink *sink, sv key, struct err *e)
{
    return sink_may_in(sink, sink->bucket, key, e);
}
