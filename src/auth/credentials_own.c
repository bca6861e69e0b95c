/* credentials_own.c - key pairs of our own.
 *
 * On the first start a pair is made for callers, in a file that is put in place only if nothing is
 * there. For calling out (S3, STS), and for the client commands, one section of a file is
 * picked. */
#include "auth/credentials_private.h"

#include "base/file.h"
#include "base/rng.h"
#include "codec/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* Puts the file in place only if nothing is there, with no gap between looking and acting. Some
 * file systems cannot rename so; those can link. */
static err_code create_once(const char *path, sv bytes, struct err *e)
{
    char tmp[PATH_MAX], hex[33];
    rng_hex32(hex);
    int n = snprintf(tmp, sizeof tmp, "%s.%s.new", path, hex);
    if (n < 0 || (size_t)n >= sizeof tmp)
        return ERR(e, ERR_INVALID, "path is too long");
    TRY(file_write_atomic(tmp, bytes, e));
    int failed = renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE) == 0 ? 0 : errno;
    if (failed == EINVAL || failed == ENOSYS)
        failed = link(tmp, path) == 0 ? 0 : errno;
    /* It may be gone already, or be a second name of path; its failure says nothing new. */
    (void)unlink(tmp);
    if (failed == EEXIST)
        return ERR(e, ERR_EXISTS, "there is a credentials file already");
    return failed ? ERR(e, err_from_errno(failed), "cannot create the credentials file") : ERR_OK;
}

err_code credentials_create(const char *path, struct err *e)
{
    static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    unsigned char random[16 + 30];
    char id[16];
    rng_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof id; i++)
        id[i] = base32[random[i] & 31];
    CLEANUP_BUF struct buf secret = BUF_INIT(64), text = BUF_INIT(512);
    /* 40 characters, no padding */
    TRY(hash_base64(sv_make(random + 16, 30), &secret, e));
    TRY(buf_add_fmt(
        &text, e,
        "# Callers of this server; README, \"Running it\", says more. Keep it private.\n"
        "[default]\n"
        "aws_access_key_id = AKIA%.*s\n"
        "aws_secret_access_key = %.*s\n",
        (int)sizeof id, id, SV_FMT(buf_sv(&secret))));
    err_code rc = create_once(path, buf_sv(&text), e);
    explicit_bzero(random, sizeof random);
    explicit_bzero(secret.ptr, secret.len);
    explicit_bzero(text.ptr, text.len);
    return rc;
}

/* The section of this name; without a name [default], or the only one. */
static err_code own_section(const char *path, sv name, bool private, struct arena *a,
                            const struct section **out, struct err *e)
{
    struct section *section;
    size_t n;
    TRY(credentials_sections_read(path, private, a, &section, &n, e));
    const struct section *found = n == 1 && name.len == 0 ? section : NULL;
    sv want = name.len ? name : SV_LIT("default");
    for (size_t i = 0; i < n; i++)
        if ((n > 1 || name.len) && sv_eq(section[i].c.name, want)) {
            if (found)
                return ERR(e, ERR_INVALID, "section [%.*s] stands twice", SV_FMT(want));
            found = &section[i];
        }
    if (found == NULL && name.len)
        return ERR(e, ERR_INVALID, "there is no section [%.*s]", SV_FMT(name));
    if (found == NULL)
        return ERR(e, ERR_INVALID, "several sections, but none is [default]");
    *out = found;
    return ERR_OK;
}

static err_code pair_load(const char *path, sv name, bool private, struct arena *a,
                          sv *out_access_key_id, sv *out_secret_key, sv *out_session_token,
                          struct err *e)
{
    const struct section *section = NULL;
    err_code rc = own_section(path, name, private, a, &section, e);
    if (rc != ERR_OK) {
        err_context(e, "credentials file %s", path);
        return rc;
    }
    *out_access_key_id = section->c.access_key_id;
    *out_secret_key = section->c.secret_key;
    *out_session_token = section->c.session_token;
    return ERR_OK;
}

void credentials_own_environment(sv *out_access_key_id, sv *out_secret_key, sv *out_session_token)
{
    *out_access_key_id = sv_from(getenv("AWS_ACCESS_KEY_ID"));
    *out_secret_key = sv_from(getenv("AWS_SECRET_ACCESS_KEY"));
    *out_session_token = sv_from(getenv("AWS_SESSION_TOKEN"));
}

err_code credentials_own_load(const char *path, struct arena *a, sv *out_access_key_id,
                              sv *out_secret_key, sv *out_session_token, struct err *e)
{
    return pair_load(path, SV_NONE, true, a, out_access_key_id, out_secret_key, out_session_token,
                     e);
}

err_code credentials_profile_load(const char *path, sv name, struct arena *a, sv *out_access_key_id,
                                  sv *out_secret_key, sv *out_session_token, struct err *e)
{
    return pair_load(path, name, false, a, out_access_key_id, out_secret_key, out_session_token, e);
}
