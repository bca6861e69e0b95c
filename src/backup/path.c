/* path.c - paths below a folder, and the names in one. */
#include "backup/backup_private.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NAMES_BYTES ((size_t)256 << 20)

err_code backup_path(char out[PATH_MAX], struct err *e, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out, PATH_MAX, fmt, args);
    va_end(args);
    return n >= 0 && n < PATH_MAX ? ERR_OK : ERR(e, ERR_INVALID, "a path is too long");
}

static int by_name(const void *a, const void *b)
{
    return sv_cmp(*(const sv *)a, *(const sv *)b);
}

err_code backup_names(const char *folder, struct arena *a, sv **out, size_t *n, struct err *e)
{
    CLEANUP_BUF struct buf names = BUF_INIT(NAMES_BYTES);
    struct dirent *x;
    err_code rc = ERR_OK;
    DIR *d = opendir(folder);
    if (d == NULL)
        return ERR(e, err_from_errno(errno), "the folder %.300s cannot be read", folder);
    while (rc == ERR_OK && (x = readdir(d)) != NULL) {
        sv name = arena_sv(a, sv_from(x->d_name));
        if (x->d_name[0] == '.')
            continue;
        rc = name.ptr ? buf_add(&names, sv_make(&name, sizeof name), e) : arena_oom(a, e);
    }
    (void)closedir(d);
    TRY(rc);
    *n = names.len / sizeof(sv);
    *out = arena_calloc(a, *n + 1, sizeof **out);
    if (*out == NULL)
        return arena_oom(a, e);
    if (*n) {
        memcpy(*out, names.ptr, names.len);
        qsort(*out, *n, sizeof **out, by_name);
    }
    return ERR_OK;
}
