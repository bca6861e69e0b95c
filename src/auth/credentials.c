/* credentials.c - callers, in a table sorted by access key id, and the policies that they name.
 *
 * Names and access key ids are unique. A policy file is read once, however many callers name it. */
#include "auth/credentials_private.h"

#include "base/file.h"

#include <limits.h>

#define POLICIES_MAX 1000u /* files, each shared by the callers that name it */

struct policy_file {
    sv name;
    struct policy *policy;
};

struct credentials {
    struct arena *arena; /* holds all below, this struct too */
    struct credential *items;
    struct policy_file *policies;
    size_t n, n_policies;
};

/* ---- policies ---- */

static err_code policy_read(const char *path, sv name, struct policy **out, struct err *e)
{
    char file[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = snprintf(file, sizeof file, "%.*s%.*s", slash ? (int)(slash + 1 - path) : 0, path,
                     SV_FMT(name));
    if (n < 0 || (size_t)n >= sizeof file)
        return ERR(e, ERR_INVALID, "path is too long");
    CLEANUP_BUF struct buf b = BUF_INIT(POLICY_MAX_BYTES);
    TRY(file_read_private(file, &b, e));
    return policy_parse(buf_sv(&b), out, e);
}

static err_code policy_get(struct credentials *c, const char *path, sv name,
                           const struct policy **out, struct err *e)
{
    for (size_t i = 0; i < c->n_policies; i++)
        if (sv_eq(c->policies[i].name, name)) {
            *out = c->policies[i].policy;
            return ERR_OK;
        }
    if (c->n_policies == POLICIES_MAX)
        return ERR(e, ERR_TOO_LARGE, "more than %u policy files", POLICIES_MAX);
    struct policy *p;
    err_code rc = policy_read(path, name, &p, e);
    if (rc != ERR_OK) {
        err_context(e, "policy %.*s", SV_FMT(name));
        return rc;
    }
    c->policies[c->n_policies++] = (struct policy_file){ name, p };
    *out = p;
    return ERR_OK;
}

/* ---- the table ---- */

static int by_key_id(const void *x, const void *y)
{
    return sv_cmp(((const struct credential *)x)->access_key_id,
                  ((const struct credential *)y)->access_key_id);
}

static int by_name(const void *x, const void *y)
{
    return sv_cmp(((const struct credential *)x)->name, ((const struct credential *)y)->name);
}

static err_code fill(struct credentials *c, const char *path, struct err *e)
{
    struct section *s;
    TRY(credentials_sections_read(path, true, c->arena, &s, &c->n, e));
    c->items = arena_calloc(c->arena, c->n, sizeof *c->items);
    c->policies =
        arena_calloc(c->arena, c->n < POLICIES_MAX ? c->n : POLICIES_MAX, sizeof *c->policies);
    if (c->items == NULL || c->policies == NULL)
        return arena_oom(c->arena, e);
    for (size_t i = 0; i < c->n; i++) {
        c->items[i] = s[i].c;
        if (s[i].policy_name.len == 0)
            continue;
        err_code rc = policy_get(c, path, s[i].policy_name, &c->items[i].policy, e);
        if (rc != ERR_OK) {
            err_context(e, "section [%.*s]", SV_FMT(s[i].c.name));
            return rc;
        }
    }
    qsort(c->items, c->n, sizeof *c->items, by_name);
    for (size_t i = 1; i < c->n; i++)
        if (by_name(&c->items[i - 1], &c->items[i]) == 0)
            return ERR(e, ERR_INVALID, "section [%.*s] stands twice", SV_FMT(c->items[i].name));
    qsort(c->items, c->n, sizeof *c->items, by_key_id);
    for (size_t i = 1; i < c->n; i++)
        if (by_key_id(&c->items[i - 1], &c->items[i]) == 0)
            return ERR(e, ERR_INVALID, "sections [%.*s] and [%.*s] have the same access key id",
                       SV_FMT(c->items[i - 1].name), SV_FMT(c->items[i].name));
    return ERR_OK;
}

err_code credentials_load(const char *path, struct credentials **out, struct err *e)
{
    /* text, sections and items: each bounded by the file's size or the number of sections */
    struct arena *a = arena_new(8u << 20);
    CLEANUP(credentials_free) struct credentials *c = ARENA_NEW(a, struct credentials);
    if (c == NULL) {
        err_code rc = arena_oom(a, e);
        arena_free(a);
        return rc;
    }
    c->arena = a;
    TRY(fill(c, path, e));
    *out = c;
    c = NULL;
    return ERR_OK;
}

void credentials_free(struct credentials *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n_policies; i++)
        policy_free(c->policies[i].policy);
    arena_free(c->arena);
}

size_t credentials_count(const struct credentials *c)
{
    return c->n;
}

const struct credential *credentials_find(const struct credentials *c, sv access_key_id)
{
    struct credential key = { .access_key_id = access_key_id };
    return bsearch(&key, c->items, c->n, sizeof *c->items, by_key_id);
}

const struct policy *credentials_policy(const struct credentials *c, size_t i, sv *out_name)
{
    if (i >= c->n_policies)
        return NULL;
    *out_name = c->policies[i].name;
    return c->policies[i].policy;
}

const struct credential *credentials_could(const struct credentials *c, sv action)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].policy && policy_could_allow(c->items[i].policy, action))
            return &c->items[i];
    return NULL;
}

policy_decision credential_decide(const struct credential *c, sv action, sv resource,
                                  const struct policy_context *context)
{
    if (c->policy)
        return policy_decide(c->policy, action, resource, context);
    sv ours = SV_LIT("healthlake:");
    bool ok = sv_eq_nocase(sv_head(action, ours.len), ours) ||
              sv_eq_nocase(action, SV_LIT("iam:PassRole"));
    return ok ? POLICY_ALLOWED : POLICY_NOT_ALLOWED;
}
