/* providers_lines.c - the file of identity providers, line by line: sections, and their keys.
 *
 * One table for each kind of section says which keys it takes and what their values may be. A value
 * goes to the end of its line. Messages show no values: a secret on a wrong line would be one. */
#include "auth/bearer/providers_private.h"

#include "codec/uri.h"

#include <stddef.h>

#define NAME_MAX_LEN   512u
#define VALUE_MAX_LEN  2048u
#define SECRET_MAX_LEN 1024u

static bool visible(sv v, size_t max, bool blanks)
{
    bool ok = v.len > 0 && v.len <= max;
    for (size_t i = 0; ok && i < v.len; i++)
        ok = (v.ptr[i] > ' ' && v.ptr[i] < 0x7F) || (blanks && v.ptr[i] == ' ');
    return ok;
}

static bool is_word(sv v)
{
    return visible(v, VALUE_MAX_LEN, false);
}

static bool is_words(sv v)
{
    return visible(v, VALUE_MAX_LEN, true);
}

static bool is_secret(sv v)
{
    return visible(v, SECRET_MAX_LEN, false);
}

/* https to anywhere, http to this machine: no token and no key goes over a wire in the clear. */
static bool is_url(sv v)
{
    struct uri_http u;
    sv before_query = sv_head(v, sv_find(v, '?'));
    if (!is_word(v) || uri_http_parse(before_query, &u, NULL) != ERR_OK)
        return false;
    return sv_eq_cstr(u.scheme, "https") || sv_eq_nocase(u.host, SV_LIT("localhost")) ||
           sv_eq_cstr(u.host, "[::1]") || uri_is_loopback_v4(u.host);
}

/* A file beside this one: no folder, not hidden. */
static bool is_file(sv v)
{
    return visible(v, 255, false) && v.ptr[0] != '.' && sv_find(v, '/') == v.len;
}

struct key {
    const char *name;
    size_t at; /* of the section's struct: an sv */
    bool (*good)(sv v);
    const char *rule;
};
#define URL_RULE  "an https URL, or http to loopback"
#define FILE_RULE "a file beside this one"
#define WORD_RULE "a word of visible ASCII"
static const struct key issuer_keys[] = {
    { "jwks_uri", offsetof(struct issuer, jwks_uri), is_url, URL_RULE },
    { "jwks_file", offsetof(struct issuer, jwks_file), is_file, FILE_RULE },
    { "introspection_endpoint", offsetof(struct issuer, introspection), is_url, URL_RULE },
    { "client_id", offsetof(struct issuer, client_id), is_secret, WORD_RULE },
    { "client_secret", offsetof(struct issuer, client_secret), is_secret, WORD_RULE },
    { "algorithms", offsetof(struct issuer, algorithms), is_words, "of " JOSE_ALGS_SAID },
    { "audience", offsetof(struct issuer, audience), is_words, "URLs, with blanks between" },
    { "patient_claim", offsetof(struct issuer, patient_claim), is_word, WORD_RULE },
    { "fhir_user_claim", offsetof(struct issuer, user_claim), is_word, WORD_RULE },
    { "role", offsetof(struct issuer, role_arn), is_word, "the ARN of a role" },
    { NULL, 0, NULL, NULL },
};
static const struct key lambda_keys[] = {
    { "url", offsetof(struct lambda, url), is_url, URL_RULE },
    { NULL, 0, NULL, NULL },
};
static const struct key role_keys[] = {
    { "policy", offsetof(struct role, policy_name), is_file, FILE_RULE },
    { NULL, 0, NULL, NULL },
};

struct reading {
    struct providers *out;
    const struct key *keys; /* of the open section; NULL: none is open */
    char *section;          /* its struct */
    sv name;                /* what its head says, for messages */
    size_t line;
};

static bool stands(const struct providers *p, sv name)
{
    return providers_issuer(p, name) || providers_lambda(p, name) || providers_role(p, name);
}

/* "arn:aws:iam::000000000000:role/NAME"; a path may stand before the name. */
static bool role_name(sv arn, sv *out)
{
    sv part[6], rest = arn;
    uint64_t account;
    for (size_t i = 0; i < 5; i++)
        if (!sv_cut(&rest, ':', &part[i]))
            return false;
    size_t slash = rest.len;
    while (slash > 0 && rest.ptr[slash - 1] != '/')
        slash--;
    *out = sv_tail(rest, slash);
    return sv_eq_cstr(part[0], "arn") && sv_eq_cstr(part[2], "iam") && part[4].len == 12 &&
           sv_to_u64(part[4], &account) && sv_starts(rest, SV_LIT("role/")) && out->len > 0 &&
           out->len <= 64;
}

static err_code section_open(struct reading *r, sv head, struct err *e)
{
    struct providers *p = r->out;
    sv name = head, kind;
    if (!sv_cut(&name, ' ', &kind))
        kind = SV_NONE;
    name = sv_trim(name);
    if (!visible(name, NAME_MAX_LEN, false))
        return ERR(e, ERR_INVALID,
                   "line %zu: a section is [issuer URL], [lambda ARN] or [role ARN]", r->line);
    if (stands(p, name))
        return ERR(e, ERR_INVALID, "line %zu: a section of this name stands above", r->line);
    r->name = head;
    if (sv_eq_cstr(kind, "issuer")) {
        struct issuer *s = &p->issuers[p->n_issuers++];
        *s = (struct issuer){ .name = name, .line = r->line };
        r->keys = issuer_keys;
        r->section = (char *)s;
    } else if (sv_eq_cstr(kind, "lambda") && sv_starts(name, SV_LIT("arn:aws:lambda:"))) {
        struct lambda *s = &p->lambdas[p->n_lambdas++];
        *s = (struct lambda){ .arn = name, .line = r->line };
        r->keys = lambda_keys;
        r->section = (char *)s;
    } else if (sv_eq_cstr(kind, "role")) {
        struct role *s = &p->roles[p->n_roles++];
        *s = (struct role){ .arn = name, .line = r->line };
        if (!role_name(name, &s->name))
            return ERR(e, ERR_INVALID, "line %zu: a role's name is arn:aws:iam::ACCOUNT:role/NAME",
                       r->line);
        r->keys = role_keys;
        r->section = (char *)s;
    } else {
        return ERR(e, ERR_INVALID,
                   "line %zu: a section is [issuer URL], [lambda ARN] or [role ARN]", r->line);
    }
    return ERR_OK;
}

static err_code key_take(struct reading *r, sv name, sv value, struct err *e)
{
    for (const struct key *k = r->keys; k->name; k++) {
        sv *to = (sv *)(void *)(r->section + k->at);
        if (!sv_eq_cstr(name, k->name))
            continue;
        if (to->len)
            return ERR(e, ERR_INVALID, "line %zu, section [%.*s]: %s stands twice", r->line,
                       SV_FMT(r->name), k->name);
        if (!k->good(value))
            return ERR(e, ERR_INVALID,
                       "line %zu, section [%.*s]: %s has a wrong value; it takes %s", r->line,
                       SV_FMT(r->name), k->name, k->rule);
        *to = value;
        return ERR_OK;
    }
    return ERR(e, ERR_INVALID, "line %zu, section [%.*s]: unknown key", r->line, SV_FMT(r->name));
}

static err_code line_take(struct reading *r, sv line, struct err *e)
{
    if (line.len == 0 || line.ptr[0] == '#' || line.ptr[0] == ';')
        return ERR_OK;
    if (line.ptr[0] == '[' && line.ptr[line.len - 1] == ']')
        return section_open(r, sv_trim(sv_make(line.ptr + 1, line.len - 2)), e);
    size_t eq = sv_find(line, '=');
    if (eq == line.len || line.ptr[0] == '[')
        return ERR(e, ERR_INVALID, "line %zu is neither [section] nor key = value", r->line);
    if (r->keys == NULL)
        return ERR(e, ERR_INVALID, "line %zu stands before the first [section]", r->line);
    return key_take(r, sv_trim(sv_head(line, eq)), sv_trim(sv_tail(line, eq + 1)), e);
}

static size_t count_sections(sv text)
{
    size_t n = 0;
    sv line;
    while (sv_cut(&text, '\n', &line))
        n += sv_starts(sv_trim(line), SV_LIT("["));
    return n;
}

err_code providers_lines_read(sv text, struct providers *out, struct err *e)
{
    struct reading r = { .out = out };
    size_t n = count_sections(text);
    sv line;
    if (n == 0)
        return ERR(e, ERR_INVALID, "the file has no [section]");
    if (n > PROVIDERS_MAX)
        return ERR(e, ERR_TOO_LARGE, "more than %u sections", PROVIDERS_MAX);
    out->issuers = arena_calloc(out->arena, n, sizeof *out->issuers);
    out->lambdas = arena_calloc(out->arena, n, sizeof *out->lambdas);
    out->roles = arena_calloc(out->arena, n, sizeof *out->roles);
    if (!out->issuers || !out->lambdas || !out->roles)
        return arena_oom(out->arena, e);
    while (sv_cut(&text, '\n', &line)) {
        r.line++;
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        TRY(line_take(&r, sv_trim(line), e));
    }
    return ERR_OK;
}
