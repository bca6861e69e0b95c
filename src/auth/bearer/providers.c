/* providers.c - sections of the file become providers: rules that join several keys, the files that
 * they name, and what talks to them. */
#include "auth/bearer/providers_private.h"

#include "base/file.h"
#include "codec/hash.h"

#include <limits.h>

#define PROVIDERS_MEMORY (4u << 20)
#define LAMBDA_MS        1000u /* HealthLake's */

static bool path_beside(const char *path, sv name, char out[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    int n = snprintf(out, PATH_MAX, "%.*s%.*s", slash ? (int)(slash + 1 - path) : 0, path,
                     SV_FMT(name));
    return n > 0 && n < PATH_MAX;
}

static err_code read_beside(const char *path, sv name, struct buf *out, struct err *e)
{
    char file[PATH_MAX];
    if (!path_beside(path, name, file))
        return ERR(e, ERR_INVALID, "path is too long");
    return file_read_private(file, out, e);
}

/* ---- looks ---- */

static void look_at(const char *path, struct hash_sha256 *h)
{
    uint64_t told[FILE_LOOK];
    file_look(path, told);
    hash_sha256_add(h, sv_make(told, sizeof told));
}

static void look_beside(const struct providers *p, sv name, struct hash_sha256 *h)
{
    char file[PATH_MAX];
    if (name.len && path_beside(p->path, name, file))
        look_at(file, h);
}

/* Of the files that the sections name. */
static void look_at_named(const struct providers *p, struct hash_sha256 *h)
{
    for (size_t i = 0; i < p->n_roles; i++)
        look_beside(p, p->roles[i].policy_name, h);
    for (size_t i = 0; i < p->n_issuers; i++)
        look_beside(p, p->issuers[i].jwks_file, h);
}

const char *providers_path(const struct providers *providers)
{
    return providers->path;
}

bool providers_as_read(const struct providers *providers, unsigned char look[SHA256_LEN])
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    look_at(providers->path, h);
    look_at_named(providers, h);
    hash_sha256_take(h, look);
    return memcmp(look, providers->seen, SHA256_LEN) == 0;
}

/* ---- sections ---- */

static err_code policy_of(const char *path, struct role *role, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(POLICY_MAX_BYTES);
    err_code rc = read_beside(path, role->policy_name, &b, e);
    if (rc == ERR_OK)
        rc = policy_parse(buf_sv(&b), &role->policy, e);
    if (rc != ERR_OK)
        err_context(e, "policy %.*s", SV_FMT(role->policy_name));
    return rc;
}

static err_code role_make(const char *path, struct role *role, struct err *e)
{
    if (role->policy_name.len == 0)
        return ERR(e, ERR_INVALID, "line %zu, section [role %.*s]: policy is missing", role->line,
                   SV_FMT(role->arn));
    TRY(policy_of(path, role, e));
    role->as = (struct credential){ .name = role->name,
                                    .policy_name = role->policy_name,
                                    .policy = role->policy };
    return ERR_OK;
}

static err_code keys_of(const char *path, struct issuer *s, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(JOSE_KEYS_BYTES);
    struct jose_keys *keys;
    err_code rc = read_beside(path, s->jwks_file, &b, e);
    if (rc == ERR_OK)
        rc = jose_keys_read(buf_sv(&b), &keys, e);
    if (rc != ERR_OK) {
        err_context(e, "jwks_file %.*s", SV_FMT(s->jwks_file));
        return rc;
    }
    s->ring = key_ring_fixed(&keys);
    return ERR_OK;
}

static err_code algs_of(struct issuer *s, struct err *e)
{
    sv rest = s->algorithms, word;
    jose_alg alg;
    if (rest.len == 0)
        s->algs = JOSE_ALGS_ALL;
    while (rest.len && sv_cut(&rest, ' ', &word)) {
        if (word.len == 0)
            continue;
        if (!jose_alg_find(word, &alg))
            return ERR(e, ERR_INVALID,
                       "line %zu, section [issuer %.*s]: algorithms has a wrong value; it takes of "
                       "%s",
                       s->line, SV_FMT(s->name), JOSE_ALGS_SAID);
        s->algs |= JOSE_BIT(alg);
    }
    return ERR_OK;
}

static err_code issuer_check(const struct issuer *s, struct err *e)
{
    const char *fault = NULL;
    if (s->jwks_uri.len && s->jwks_file.len)
        fault = "jwks_uri and jwks_file exclude each other";
    else if (!s->jwks_uri.len && !s->jwks_file.len && !s->introspection.len)
        fault = "jwks_uri, jwks_file or introspection_endpoint is missing";
    else if (s->introspection.len && (!s->client_id.len || !s->client_secret.len))
        fault = "introspection_endpoint needs client_id and client_secret";
    else if (!s->introspection.len && (s->client_id.len || s->client_secret.len))
        fault = "client_id and client_secret are for introspection_endpoint, which is missing";
    else if (!s->role_arn.len)
        fault = "role is missing";
    else if (s->role == NULL)
        fault = "role names no [role ARN] section of this file";
    return fault == NULL ? ERR_OK
                         : ERR(e, ERR_INVALID, "line %zu, section [issuer %.*s]: %s", s->line,
                               SV_FMT(s->name), fault);
}

static err_code issuer_make(const struct providers *p, const char *path, struct issuer *s,
                            struct err *e)
{
    s->role = providers_role(p, s->role_arn);
    TRY(issuer_check(s, e));
    TRY(algs_of(s, e));
    if (s->patient_claim.len == 0)
        s->patient_claim = SV_LIT("patient");
    if (s->user_claim.len == 0)
        s->user_claim = SV_LIT("fhirUser");
    if (s->introspection.len)
        s->asks = fetcher_new(s->introspection, FETCH_MS);
    if (s->jwks_file.len)
        return keys_of(path, s, e);
    if (s->jwks_uri.len) {
        struct fetcher *from = fetcher_new(s->jwks_uri, FETCH_MS);
        s->ring = key_ring_new(&from);
    }
    return ERR_OK;
}

static err_code fill(struct providers *p, const char *path, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(PROVIDERS_MAX_BYTES);
    CLEANUP(hash_sha256_free) struct hash_sha256 *looks = hash_sha256_new();
    if ((p->path = arena_str(p->arena, sv_from(path))) == NULL)
        return arena_oom(p->arena, e);
    look_at(path, looks);
    TRY(file_read_private(path, &b, e));
    sv text = arena_sv(p->arena, buf_sv(&b));
    if (b.len)
        explicit_bzero(b.ptr, b.len);
    if (text.ptr == NULL)
        return arena_oom(p->arena, e);
    TRY(providers_lines_read(text, p, e));
    look_at_named(p, looks);
    hash_sha256_take(looks, p->seen);
    for (size_t i = 0; i < p->n_roles; i++)
        TRY(role_make(path, &p->roles[i], e));
    for (size_t i = 0; i < p->n_issuers; i++)
        TRY(issuer_make(p, path, &p->issuers[i], e));
    for (size_t i = 0; i < p->n_lambdas; i++) {
        struct lambda *l = &p->lambdas[i];
        if (l->url.len == 0)
            return ERR(e, ERR_INVALID, "line %zu, section [lambda %.*s]: url is missing", l->line,
                       SV_FMT(l->arn));
        l->asks = fetcher_new(l->url, LAMBDA_MS);
    }
    return ERR_OK;
}

err_code providers_load(const char *path, struct providers **out, struct err *e)
{
    struct arena *a = arena_new(PROVIDERS_MEMORY);
    CLEANUP(providers_free) struct providers *p = ARENA_NEW(a, struct providers);
    /* a fresh arena has room for it */
    if (p == NULL)
        abort();
    p->arena = a;
    TRY(fill(p, path, e));
    *out = p;
    p = NULL;
    return ERR_OK;
}

void providers_keep_keys(struct providers *fresh, const struct providers *now)
{
    for (size_t i = 0; i < fresh->n_issuers; i++) {
        struct issuer *s = &fresh->issuers[i];
        const struct issuer *was = providers_issuer(now, s->name);
        if (s->jwks_uri.len == 0 || was == NULL || !sv_eq(was->jwks_uri, s->jwks_uri))
            continue;
        key_ring_free(s->ring);
        s->ring = key_ring_ref(was->ring);
    }
}

void providers_free(struct providers *providers)
{
    if (providers == NULL)
        return;
    for (size_t i = 0; i < providers->n_roles; i++)
        policy_free(providers->roles[i].policy);
    for (size_t i = 0; i < providers->n_issuers; i++) {
        key_ring_free(providers->issuers[i].ring);
        fetcher_free(providers->issuers[i].asks);
    }
    for (size_t i = 0; i < providers->n_lambdas; i++)
        fetcher_free(providers->lambdas[i].asks);
    arena_free(providers->arena);
}
