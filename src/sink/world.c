/* world.c - the configured outside, and opening a place in it under a role.
 *
 * A world is made once, from the configuration: a directory or an S3 endpoint, and what says whose
 * credentials are used (an STS endpoint, a roles file, or both). Opening a sink checks the place
 * and the role at once, so that a refusal is seen before a job exists. */
#include "sink/sink_private.h"

#include "base/file.h"
#include "codec/uri.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static err_code check(const struct sink_config *cfg, struct err *e)
{
    if (cfg->objects_dir && cfg->s3)
        return ERR(e, ERR_INVALID, "give a directory for objects or an S3 endpoint, not both");
    if (!cfg->objects_dir && !cfg->s3)
        return ERR(e, ERR_INVALID, "give a directory for objects or an S3 endpoint");
    if (cfg->s3 && !cfg->sts && !cfg->roles_file)
        return ERR(e, ERR_INVALID,
                   "an S3 endpoint needs an STS endpoint (--sts-endpoint) or a roles file, which "
                   "say whose credentials a job uses");
    if (cfg->sts && (cfg->own.access_key_id.len == 0 || cfg->own.secret_key.len == 0))
        return ERR(e, ERR_INVALID,
                   "an STS endpoint needs fhirlake's own credentials (AWS_ACCESS_KEY_ID and "
                   "AWS_SECRET_ACCESS_KEY in the environment) to assume roles with");
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

static err_code open_root(struct sink_world *w, const char *dir, struct err *e)
{
    TRY(file_mkdirs(dir, e));
    w->root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->root_fd < 0)
        return file_os_err(e, "cannot open the folder for objects");
    dir_sweep(w);
    return ERR_OK;
}

err_code sink_world_new(const struct sink_config *cfg, struct sink_world **out, struct err *e)
{
    TRY(check(cfg, e));
    CLEANUP(sink_world_free) struct sink_world *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->root_fd = -1;
    w->arena = arena_new(64u << 10);
    w->make_buckets = cfg->make_buckets;
    w->sync = cfg->sync;
    w->has_s3 = cfg->s3 != NULL;
    if (cfg->s3)
        TRY(copy_endpoint(w->arena, cfg->s3, &w->s3, "S3", e));
    if (cfg->sts) {
        TRY(copy_endpoint(w->arena, cfg->sts, &w->sts, "STS", e));
        w->own.access_key_id = arena_sv(w->arena, cfg->own.access_key_id);
        w->own.secret_key = arena_sv(w->arena, cfg->own.secret_key);
        w->own.session_token = arena_sv(w->arena, cfg->own.session_token);
        if (!w->own.access_key_id.ptr || !w->own.secret_key.ptr || !w->own.session_token.ptr)
            return arena_oom(w->arena, e);
        w->assume = assume_cache_new(&w->sts, &w->own);
    }
    if (cfg->roles_file)
        TRY(roles_load(cfg->roles_file, w->has_s3 && !cfg->sts, &w->roles, e));
    if (cfg->objects_dir)
        TRY(open_root(w, cfg->objects_dir, e));
    *out = w;
    w = NULL;
    return ERR_OK;
}

void sink_world_free(struct sink_world *w)
{
    if (w == NULL)
        return;
    assume_cache_free(w->assume);
    roles_free(w->roles);
    if (w->root_fd >= 0)
        close(w->root_fd);
    arena_free(w->arena);
    free(w);
}

/* s3_credentials_fn of a sink's client. */
static err_code give_credentials(void *ctx, sv refused_key_id, struct arena *a,
                                 struct s3_credentials *out, struct err *e)
{
    struct sink *s = ctx;
    if (s->world->assume)
        return assume_cache_get(s->world->assume, &s->who, refused_key_id, a, out, e);
    /* the roles outlive every sink, so there is nothing to copy */
    *out = s->role->cred;
    return ERR_OK;
}

static err_code session_name(struct sink *s, sv want, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(64);
    for (size_t i = 0; i < want.len && b.len < 64; i++) {
        char c = want.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  (c && memchr("_+=,.@-", c, 7) != NULL);
        TRY(buf_add_char(&b, ok ? c : '-', e));
    }
    s->who.session_name = b.len >= 2 ? arena_sv(s->arena, buf_sv(&b)) : SV_LIT("fhirlake");
    return s->who.session_name.ptr ? ERR_OK : arena_oom(s->arena, e);
}

static err_code take_target(struct sink *s, const struct sink_target *t, struct err *e)
{
    struct uri_s3 u;
    sv uri = arena_sv(s->arena, t->uri);
    if (uri.ptr == NULL)
        return arena_oom(s->arena, e);
    TRY(uri_s3_parse(uri, &u, e));
    s->bucket = u.bucket;
    s->prefix = u.key;
    while (s->prefix.len && s->prefix.ptr[s->prefix.len - 1] == '/') {
        s->prefix.len--;
        s->folder = true;
    }
    if (s->prefix.len && !s->world->has_s3)
        TRY(dir_key_check(s->prefix, e));
    if (!role_arn_ok(t->role_arn))
        return ERR(e, ERR_INVALID, "the role's ARN is not well-formed: \"%.*s\"",
                   SV_FMT(sv_head(t->role_arn, 128)));
    s->kms_key_id = arena_sv(s->arena, t->kms_key_id);
    s->who.role_arn = arena_sv(s->arena, t->role_arn);
    s->who.source_arn = arena_sv(s->arena, t->source_arn);
    s->who.source_account = arena_sv(s->arena, t->account_id);
    s->who.cancel = t->cancel;
    if (!s->kms_key_id.ptr || !s->who.role_arn.ptr || !s->who.source_arn.ptr ||
        !s->who.source_account.ptr)
        return arena_oom(s->arena, e);
    for (size_t i = 0; i < s->kms_key_id.len; i++)
        if ((unsigned char)s->kms_key_id.ptr[i] <= 0x20 ||
            (unsigned char)s->kms_key_id.ptr[i] >= 0x7F)
            return ERR(e, ERR_INVALID, "the KMS key id holds bytes that no key id has");
    return session_name(s, t->session_name, e);
}

/* The bucket's name says enough; keys may tell of patients. */
static err_code may_not(const struct sink *s, struct err *e)
{
    return ERR(e, ERR_DENIED, "the role may not touch this place in bucket %.*s",
               SV_FMT(sv_head(s->bucket, 64)));
}

static err_code resolve_role(struct sink *s, struct err *e)
{
    struct sink_world *w = s->world;
    s->below = true;
    if (w->roles) {
        s->role = roles_find(w->roles, s->who.role_arn);
        if (s->role == NULL)
            return ERR(e, ERR_DENIED, "the role is not known: %.*s",
                       SV_FMT(sv_head(s->who.role_arn, 128)));
        s->below = role_may_below(s->role, s->bucket, s->prefix);
        if (!s->below && (s->folder || !role_may(s->role, s->bucket, s->prefix)))
            return may_not(s, e);
        if (!role_may_use_key(s->role, s->kms_key_id))
            return ERR(e, ERR_DENIED, "the role may not use this KMS key: %.*s",
                       SV_FMT(sv_head(s->kms_key_id, 128)));
    }
    /* now, so that a refusal is seen before a job exists */
    if (w->assume) {
        CLEANUP(arena_free) struct arena *a = arena_new(64u << 10);
        struct s3_credentials cred;
        TRY(assume_cache_get(w->assume, &s->who, SV_NONE, a, &cred, e));
    }
    return ERR_OK;
}

err_code sink_open(struct sink_world *w, const struct sink_target *t, struct sink **out,
                   struct err *e)
{
    CLEANUP(sink_close) struct sink *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->world = w;
    s->arena = arena_new(64u << 10);
    TRY(take_target(s, t, e));
    TRY(resolve_role(s, e));
    if (w->has_s3) {
        s->spares = sink_spares_new();
        s->senders = sink_senders_new();
        TRY(s3_client_new(&w->s3, give_credentials, s, t->cancel, &s->s3, e));
    }
    *out = s;
    s = NULL;
    return ERR_OK;
}

void sink_close(struct sink *s)
{
    if (s == NULL)
        return;
    sink_senders_free(s->senders);
    s3_client_free(s->s3);
    sink_spares_free(s->spares);
    arena_free(s->arena);
    free(s);
}

err_code sink_may(const struct sink *s, sv key, struct err *e)
{
    if (s->role && !role_may(s->role, s->bucket, key))
        return may_not(s, e);
    return ERR_OK;
}
