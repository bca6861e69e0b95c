/* credentials_file.c - a file in AWS's shared format is read line by line into sections.
 *
 * The reader is our own: libinih as packaged cuts lines at 200 bytes, which session tokens pass,
 * and takes " ;" inside a value for a comment. Messages never show values. They do not show unknown
 * keys either: a secret pasted onto a line of its own would look like one. */
#include "auth/credentials_private.h"

#include "base/file.h"

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

static err_code section_key(struct section *s, sv key, sv value, size_t line_no, struct err *e)
{
    const struct {
        const char *name;
        sv *slot;
        bool ok;
        const char *rule;
    } known[] = {
        { "aws_access_key_id", &s->c.access_key_id, all_of(value, KEY_ID_MAX_LEN, good_key_id),
          "1 to 128 letters, digits and underscores" },
        { "aws_secret_access_key", &s->c.secret_key, all_of(value, SECRET_MAX_LEN, good_secret),
          "1 to 200 bytes of ASCII without blanks" },
        { "aws_session_token", &s->c.session_token, all_of(value, TOKEN_MAX_LEN, good_secret),
          "1 to 8192 bytes of ASCII without blanks" },
        { "policy", &s->policy_name, good_policy_name(value), "a file beside this one" },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!sv_eq_cstr(key, known[i].name))
            continue;
        if (known[i].slot->len)
            return ERR(e, ERR_INVALID, "line %zu, section [%.*s]: %s stands twice", line_no,
                       SV_FMT(s->c.name), known[i].name);
        if (!known[i].ok)
            return ERR(e, ERR_INVALID,
                       "line %zu, section [%.*s]: %s has a wrong value; it takes %s", line_no,
                       SV_FMT(s->c.name), known[i].name, known[i].rule);
        *known[i].slot = value;
        return ERR_OK;
    }
    if (sv_eq(key, SV_LIT("region")) || sv_eq(key, SV_LIT("output")))
        return ERR_OK;
    return ERR(e, ERR_INVALID,
               "line %zu, section [%.*s]: unknown key; known are aws_access_key_id, "
               "aws_secret_access_key, aws_session_token and policy",
               line_no, SV_FMT(s->c.name));
}

static err_code section_check(const struct section *s, struct err *e)
{
    const char *lacks = s->c.access_key_id.len == 0 ? "aws_access_key_id"
                        : s->c.secret_key.len == 0  ? "aws_secret_access_key"
                                                    : NULL;
    if (lacks)
        return ERR(e, ERR_INVALID, "line %zu, section [%.*s]: %s is missing", s->line,
                   SV_FMT(s->c.name), lacks);
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
