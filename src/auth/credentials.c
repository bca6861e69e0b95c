/* credentials.c - a file of callers becomes a table sorted by access key id, with the policies that
 * the callers name.
 *
 * A file in AWS's shared format is read line by line into sections. The reader is our own: libinih
 * as packaged cuts lines at 200 bytes, which session tokens pass, and takes " ;" inside a value for
 * a comment. Messages never show values. They do not show unknown keys either: a secret pasted onto
 * a line of its own would look like one.
 *
 * Names and access key ids are unique. A policy file is read once, however many callers name it.
 *
 * Each file is looked at (stat) before it is read. A file that changes while it is read then
 * differs from its look, and is read again. */
#include "auth/credentials_private.h"

#include "base/file.h"
#include "codec/instant.h"

#include <limits.h>

#define NAME_MAX_LEN   64u
#define KEY_ID_MAX_LEN 128u
#define SECRET_MAX_LEN 200u  /* codec/sigv4 makes its first key in a fixed buffer */
#define TOKEN_MAX_LEN  8192u /* AWS: at most 4096 today */

static bool all_of(sv v, size_t max, bool (*good)(unsigned char c))
{
    bool ok = v.len > 0 && v.len <= max;
    for (size_t i = 0; ok && i < v.len; i++)
        ok = good((unsigned char)v.ptr[i]);
    return ok;
}

static bool alnum(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool good_name(unsigned char c)
{
    return alnum(c) || (c && strchr("+=,.@_-", c));
}

static bool good_key_id(unsigned char c)
{
    return alnum(c) || c == '_';
}

static bool good_secret(unsigned char c)
{
    return c > ' ' && c < 0x7F;
}

/* A file beside the credentials: no folder, not hidden. */
static bool good_policy_name(sv v)
{
    return all_of(v, 255, good_name) && v.ptr[0] != '.';
}

static err_code section_open(sv line, size_t line_no, struct section *out, struct err *e)
{
    sv name = sv_trim(sv_make(line.ptr + 1, line.len - 2));
    /* as ~/.aws/config writes it */
    if (sv_starts(name, SV_LIT("profile ")))
        name = sv_trim(sv_tail(name, 8));
    if (!all_of(name, NAME_MAX_LEN, good_name))
        return ERR(e, ERR_INVALID,
                   "line %zu: a section name must have 1 to %u of A-Z, a-z, 0-9 and + = , . @ _ -",
                   line_no, NAME_MAX_LEN);
    *out = (struct section){ .c.name = name, .line = line_no };
    return ERR_OK;
}

static bool good_expiry(sv v, struct section *section)
{
    return instant_parse(v, &section->c.expires_ms) && section->c.expires_ms > 0;
}

static err_code section_key(struct section *section, sv key, sv value, size_t line_no,
                            struct err *e)
{
    const struct {
        const char *name;
        sv *slot;
        bool ok;
        const char *rule;
    } known[] = {
        { "aws_access_key_id", &section->c.access_key_id,
          all_of(value, KEY_ID_MAX_LEN, good_key_id), "1 to 128 letters, digits and underscores" },
        { "aws_secret_access_key", &section->c.secret_key,
          all_of(value, SECRET_MAX_LEN, good_secret), "1 to 200 bytes of ASCII without blanks" },
        { "aws_session_token", &section->c.session_token, all_of(value, TOKEN_MAX_LEN, good_secret),
          "1 to 8192 bytes of ASCII without blanks" },
        { "policy", &section->c.policy_name, good_policy_name(value), "a file beside this one" },
        { "expires", &section->expires,
          sv_eq(key, SV_LIT("expires")) && good_expiry(value, section),
          "an instant such as 2027-01-31T00:00:00Z" },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!sv_eq_cstr(key, known[i].name))
            continue;
        if (known[i].slot->len)
            return ERR(e, ERR_INVALID, "line %zu, section [%.*s]: %s stands twice", line_no,
                       SV_FMT(section->c.name), known[i].name);
        if (!known[i].ok)
            return ERR(e, ERR_INVALID,
                       "line %zu, section [%.*s]: %s has a wrong value; it takes %s", line_no,
                       SV_FMT(section->c.name), known[i].name, known[i].rule);
        *known[i].slot = value;
        return ERR_OK;
    }
    if (sv_eq(key, SV_LIT("region")) || sv_eq(key, SV_LIT("output")))
        return ERR_OK;
    return ERR(e, ERR_INVALID,
               "line %zu, section [%.*s]: unknown key; known are aws_access_key_id, "
               "aws_secret_access_key, aws_session_token, policy and expires",
               line_no, SV_FMT(section->c.name));
}

static err_code section_check(const struct section *section, struct err *e)
{
    const char *lacks = section->c.access_key_id.len == 0 ? "aws_access_key_id"
                        : section->c.secret_key.len == 0  ? "aws_secret_access_key"
                                                          : NULL;
    if (lacks)
        return ERR(e, ERR_INVALID, "line %zu, section [%.*s]: %s is missing", section->line,
                   SV_FMT(section->c.name), lacks);
    return ERR_OK;
}

static size_t count_sections(sv text)
{
    size_t n = 0;
    sv line;
    while (sv_cut(&text, '\n', &line))
        n += sv_starts(sv_trim(line), SV_LIT("["));
    return n;
}

/* All sections of text; the views are into it. */
static err_code read_sections(struct arena *a, sv text, struct section **out, size_t *n_out,
                              struct err *e)
{
    size_t room = count_sections(text), n = 0, line_no = 0;
    if (room == 0)
        return ERR(e, ERR_INVALID, "the file has no [section] with a key pair");
    if (room > CREDENTIALS_MAX)
        return ERR(e, ERR_TOO_LARGE, "more than %u sections", CREDENTIALS_MAX);
    struct section *all = arena_calloc(a, room, sizeof *all);
    if (all == NULL)
        return arena_oom(a, e);
    sv line;
    while (sv_cut(&text, '\n', &line)) {
        line_no++;
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        line = sv_trim(line);
        if (line.len == 0 || line.ptr[0] == '#' || line.ptr[0] == ';')
            continue;
        if (line.ptr[0] == '[' && line.len > 1 && line.ptr[line.len - 1] == ']') {
            if (n)
                TRY(section_check(&all[n - 1], e));
            TRY(section_open(line, line_no, &all[n], e));
            n++;
            continue;
        }
        size_t eq = sv_find(line, '=');
        if (eq == line.len || line.ptr[0] == '[')
            return ERR(e, ERR_INVALID, "line %zu is neither [section] nor key = value", line_no);
        if (n == 0)
            return ERR(e, ERR_INVALID, "line %zu stands before the first [section]", line_no);
        TRY(section_key(&all[n - 1], sv_trim(sv_head(line, eq)), sv_trim(sv_tail(line, eq + 1)),
                        line_no, e));
    }
    TRY(section_check(&all[n - 1], e));
    *out = all;
    *n_out = n;
    return ERR_OK;
}

/* The file's sections, their text kept in a. */
err_code credentials_sections_read(const char *path, bool private, struct arena *a,
                                   struct section **out, size_t *n_out, struct err *e)
{
    CLEANUP_BUF struct buf b = BUF_INIT(CREDENTIALS_MAX_BYTES);
    TRY(private ? file_read_private(path, &b, e) : file_read(path, &b, e));
    sv text = arena_sv(a, buf_sv(&b));
    if (b.len)
        explicit_bzero(b.ptr, b.len);
    if (text.ptr == NULL)
        return arena_oom(a, e);
    return read_sections(a, text, out, n_out, e);
}

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
    sv path;                        /* with a NUL behind it */
    unsigned char seen[SHA256_LEN]; /* the files' looks, before they were read */
};

/* ---- looks ---- */

static void look_at(const char *path, struct hash_sha256 *h)
{
    uint64_t told[FILE_LOOK];
    file_look(path, told);
    hash_sha256_add(h, sv_make(told, sizeof told));
}

/* A policy's file, beside the credentials. False: its path is too long. */
static bool path_beside(const char *path, sv name, char out[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    int n = snprintf(out, PATH_MAX, "%.*s%.*s", slash ? (int)(slash + 1 - path) : 0, path,
                     SV_FMT(name));
    return n > 0 && n < PATH_MAX;
}

void credentials_look(const struct credentials *credentials, unsigned char out[SHA256_LEN])
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *h = hash_sha256_new();
    char file[PATH_MAX];
    look_at(credentials->path.ptr, h);
    for (size_t i = 0; i < credentials->n_policies; i++)
        if (path_beside(credentials->path.ptr, credentials->policies[i].name, file))
            look_at(file, h);
    hash_sha256_take(h, out);
}

bool credentials_as_read(const struct credentials *credentials,
                         const unsigned char look[SHA256_LEN])
{
    return memcmp(credentials->seen, look, SHA256_LEN) == 0;
}

/* ---- policies ---- */

static err_code policy_read(const char *path, sv name, struct hash_sha256 *looks,
                            struct policy **out, struct err *e)
{
    char file[PATH_MAX];
    if (!path_beside(path, name, file))
        return ERR(e, ERR_INVALID, "path is too long");
    look_at(file, looks);
    CLEANUP_BUF struct buf b = BUF_INIT(POLICY_MAX_BYTES);
    TRY(file_read_private(file, &b, e));
    return policy_parse(buf_sv(&b), out, e);
}

static err_code policy_get(struct credentials *credentials, const char *path, sv name,
                           struct hash_sha256 *looks, const struct policy **out, struct err *e)
{
    for (size_t i = 0; i < credentials->n_policies; i++)
        if (sv_eq(credentials->policies[i].name, name)) {
            *out = credentials->policies[i].policy;
            return ERR_OK;
        }
    if (credentials->n_policies == POLICIES_MAX)
        return ERR(e, ERR_TOO_LARGE, "more than %u policy files", POLICIES_MAX);
    struct policy *policy;
    err_code rc = policy_read(path, name, looks, &policy, e);
    if (rc != ERR_OK) {
        err_context(e, "policy %.*s", SV_FMT(name));
        return rc;
    }
    credentials->policies[credentials->n_policies++] = (struct policy_file){ name, policy };
    *out = policy;
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

static err_code fill(struct credentials *credentials, const char *path, struct err *e)
{
    CLEANUP(hash_sha256_free) struct hash_sha256 *looks = hash_sha256_new();
    struct section *section;
    credentials->path = arena_sv(credentials->arena, sv_from(path));
    if (credentials->path.ptr == NULL)
        return arena_oom(credentials->arena, e);
    look_at(path, looks);
    TRY(credentials_sections_read(path, true, credentials->arena, &section, &credentials->n, e));
    credentials->items =
        arena_calloc(credentials->arena, credentials->n, sizeof *credentials->items);
    credentials->policies = arena_calloc(
        credentials->arena, credentials->n < POLICIES_MAX ? credentials->n : POLICIES_MAX,
        sizeof *credentials->policies);
    if (credentials->items == NULL || credentials->policies == NULL)
        return arena_oom(credentials->arena, e);
    for (size_t i = 0; i < credentials->n; i++) {
        credentials->items[i] = section[i].c;
        if (section[i].c.policy_name.len == 0)
            continue;
        err_code rc = policy_get(credentials, path, section[i].c.policy_name, looks,
                                 &credentials->items[i].policy, e);
        if (rc != ERR_OK) {
            err_context(e, "section [%.*s]", SV_FMT(section[i].c.name));
            return rc;
        }
    }
    hash_sha256_take(looks, credentials->seen);
    qsort(credentials->items, credentials->n, sizeof *credentials->items, by_name);
    for (size_t i = 1; i < credentials->n; i++)
        if (by_name(&credentials->items[i - 1], &credentials->items[i]) == 0)
            return ERR(e, ERR_INVALID, "section [%.*s] stands twice",
                       SV_FMT(credentials->items[i].name));
    qsort(credentials->items, credentials->n, sizeof *credentials->items, by_key_id);
    for (size_t i = 1; i < credentials->n; i++)
        if (by_key_id(&credentials->items[i - 1], &credentials->items[i]) == 0)
            return ERR(e, ERR_INVALID, "sections [%.*s] and [%.*s] have the same access key id",
                       SV_FMT(credentials->items[i - 1].name), SV_FMT(credentials->items[i].name));
    return ERR_OK;
}

err_code credentials_load(const char *path, struct credentials **out, struct err *e)
{
    /* text, sections and items: each bounded by the file's size or the number of sections */
    struct arena *a = arena_new(8u << 20);
    CLEANUP(credentials_free) struct credentials *credentials = ARENA_NEW(a, struct credentials);
    if (credentials == NULL) {
        err_code rc = arena_oom(a, e);
        arena_free(a);
        return rc;
    }
    credentials->arena = a;
    TRY(fill(credentials, path, e));
    *out = credentials;
    credentials = NULL;
    return ERR_OK;
}

/* Part of the file's text in our arena. */
static void wipe(sv secret)
{
    if (secret.len)
        explicit_bzero((char *)(uintptr_t)secret.ptr, secret.len);
}

void credentials_free(struct credentials *credentials)
{
    if (credentials == NULL)
        return;
    for (size_t i = 0; i < credentials->n_policies; i++)
        policy_free(credentials->policies[i].policy);
    for (size_t i = 0; credentials->items && i < credentials->n; i++) {
        wipe(credentials->items[i].secret_key);
        wipe(credentials->items[i].session_token);
    }
    arena_free(credentials->arena);
}

size_t credentials_count(const struct credentials *credentials)
{
    return credentials->n;
}

const struct credential *credentials_find(const struct credentials *credentials, sv access_key_id)
{
    struct credential key = { .access_key_id = access_key_id };
    return bsearch(&key, credentials->items, credentials->n, sizeof *credentials->items, by_key_id);
}

const struct credential *credentials_named(const struct credentials *credentials, sv name)
{
    for (size_t i = 0; i < credentials->n; i++)
        if (sv_eq(credentials->items[i].name, name))
            return &credentials->items[i];
    return NULL;
}

bool credential_is_expired(const struct credential *credential, int64_t now_ms)
{
    return credential->expires_ms && now_ms >= credential->expires_ms;
}

size_t credentials_expired(const struct credentials *credentials, int64_t now_ms)
{
    size_t n = 0;
    for (size_t i = 0; i < credentials->n; i++)
        n += credential_is_expired(&credentials->items[i], now_ms);
    return n;
}

const struct policy *credentials_policy(const struct credentials *credentials, size_t i,
                                        sv *out_name)
{
    if (i >= credentials->n_policies)
        return NULL;
    *out_name = credentials->policies[i].name;
    return credentials->policies[i].policy;
}

const struct credential *credentials_could(const struct credentials *credentials, sv action)
{
    for (size_t i = 0; i < credentials->n; i++)
        if (credentials->items[i].policy &&
            policy_could_allow(credentials->items[i].policy, action))
            return &credentials->items[i];
    return NULL;
}

policy_decision credential_decide(const struct credential *credential, sv action, sv resource,
                                  const struct policy_context *context)
{
    struct policy_by by;
    return credential_decide_by(credential, action, resource, context, &by);
}

policy_decision credential_decide_by(const struct credential *credential, sv action, sv resource,
                                     const struct policy_context *context, struct policy_by *by)
{
    *by = (struct policy_by){ 0 };
    if (credential->policy)
        return policy_decide_by(credential->policy, action, resource, context, by);
    sv ours = SV_LIT("healthlake:");
    bool ok = sv_eq_nocase(sv_head(action, ours.len), ours) ||
              sv_eq_nocase(action, SV_LIT("iam:PassRole")) ||
              sv_eq_nocase(action, SV_LIT("kms:CreateGrant"));
    return ok ? POLICY_ALLOWED : POLICY_NOT_ALLOWED;
}
