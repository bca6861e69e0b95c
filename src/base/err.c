/* err.c - how an error is filled, and the name of its code.
 *
 * A message or a context that is longer than its room is cut between two characters, never inside
 * one: it may end up in JSON, which must be UTF-8. */
#include "base/err.h"

#include <errno.h>

/* Length of the longest prefix of s[0..len) that does not end inside a UTF-8 sequence. */
static size_t utf8_floor(const char *s, size_t len)
{
    size_t i = len;
    while (i > 0 && len - i < 4) {
        unsigned char c = (unsigned char)s[i - 1];
        if (c < 0x80)
            return len;
        i--;
        if (c >= 0xC0) {
            size_t need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
            return len - i >= need ? len : i;
        }
    }
    return len;
}

PRINTF_LIKE(3, 0)
static void put_text(char *dst, size_t cap, const char *fmt, va_list ap)
{
    int n = vsnprintf(dst, cap, fmt, ap);
    if (n < 0)
        dst[0] = 0;
    else if ((size_t)n >= cap)
        dst[utf8_floor(dst, cap - 1)] = 0;
}

err_code err_set(struct err *e, err_code code, const char *file, int line, const char *fmt, ...)
{
    if (e == NULL)
        return code;
    va_list ap;
    va_start(ap, fmt);
    put_text(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    e->code = code;
    e->ctx[0] = 0;
    e->file = file;
    e->line = line;
    return code;
}

void err_context(struct err *e, const char *fmt, ...)
{
    if (e == NULL)
        return;
    char add[ERR_CTX_LEN];
    char old[ERR_CTX_LEN];
    va_list ap;
    va_start(ap, fmt);
    put_text(add, sizeof add, fmt, ap);
    va_end(ap);
    memcpy(old, e->ctx, sizeof old);
    int n = snprintf(e->ctx, sizeof e->ctx, old[0] ? "%s: %s" : "%s", add, old);
    if (n >= (int)sizeof e->ctx)
        e->ctx[utf8_floor(e->ctx, sizeof e->ctx - 1)] = 0;
}

const char *err_code_name(err_code code)
{
    static const char *const names[ERR_N_CODES] = {
        [ERR_OK] = "ok",
        [ERR_EOF] = "eof",
        [ERR_INVALID] = "invalid",
        [ERR_TOO_LARGE] = "too_large",
        [ERR_NOT_FOUND] = "not_found",
        [ERR_GONE] = "gone",
        [ERR_EXISTS] = "exists",
        [ERR_CONFLICT] = "conflict",
        [ERR_PRECONDITION] = "precondition",
        [ERR_DENIED] = "denied",
        [ERR_AUTH_MISSING] = "auth_missing",
        [ERR_AUTH_INCOMPLETE] = "auth_incomplete",
        [ERR_AUTH_UNKNOWN_KEY] = "auth_unknown_key",
        [ERR_AUTH_KEY_EXPIRED] = "auth_key_expired",
        [ERR_AUTH_EXPIRED] = "auth_expired",
        [ERR_AUTH_SIGNATURE] = "auth_signature",
        [ERR_TOKEN_REQUEST] = "token_request",
        [ERR_THROTTLED] = "throttled",
        [ERR_UNSUPPORTED] = "unsupported",
        [ERR_IO] = "io",
        [ERR_NO_SPACE] = "no_space",
        [ERR_TIMEOUT] = "timeout",
        [ERR_PEER] = "peer",
        [ERR_UNAVAILABLE] = "unavailable",
        [ERR_NO_AUDIT] = "no_audit",
        [ERR_CANCELLED] = "cancelled",
        [ERR_METHOD] = "method",
        [ERR_MEDIA_TYPE] = "media_type",
        [ERR_NOT_ACCEPTABLE] = "not_acceptable",
        [ERR_UNPROCESSABLE] = "unprocessable",
        [ERR_CORRUPT] = "corrupt",
        [ERR_INTERNAL] = "internal",
    };
    if ((unsigned)code >= ERR_N_CODES || names[code] == NULL)
        return "unknown";
    return names[code];
}

err_code err_from_errno(int errno_value)
{
    switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case EEXIST:
    case ENOTEMPTY:
        return ERR_EXISTS;
    case ENAMETOOLONG:
        return ERR_INVALID;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_IO;
    }
}
