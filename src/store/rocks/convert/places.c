/* places.c - where a data store is, and the folders that a conversion or a copy has beside it. */
#include "store/rocks/convert/convert_private.h"

#include "base/file.h"
#include "store/copy.h"

#include <stdio.h>

err_code convert_places(const char *place, struct convert_places *p, struct err *e)
{
    size_t n = strlen(place);
    while (n > 1 && place[n - 1] == '/')
        n--;
    if (n == 0 || n + sizeof CONVERT_NEW > PATH_MAX)
        return ERR(e, ERR_INVALID, "the path of the data store is too long");
    (void)snprintf(p->main, sizeof p->main, "%.*s", (int)n, place);
    (void)snprintf(p->converting, sizeof p->converting, "%.*s" CONVERT_NEW, (int)n, place);
    (void)snprintf(p->old, sizeof p->old, "%.*s" CONVERT_OLD, (int)n, place);
    const char *slash = strrchr(p->main, '/');
    size_t above = slash ? (size_t)(slash - p->main) : 0;
    (void)snprintf(p->above, sizeof p->above, "%.*s", (int)(above ? above : 1),
                   above   ? p->main
                   : slash ? "/"
                           : ".");
    n = (size_t)snprintf(p->restoring, sizeof p->restoring, "%s/.%s" STORE_HALF_COPIED, p->above,
                         slash ? slash + 1 : p->main);
    if (n >= sizeof p->restoring)
        return ERR(e, ERR_INVALID, "the path of the data store is too long");
    return ERR_OK;
}

err_code rocks_remove_sides(const char *place, struct err *e)
{
    struct convert_places p;
    TRY(convert_places(place, &p, e));
    TRY(file_remove_tree(p.converting, e));
    TRY(file_remove_tree(p.restoring, e));
    return file_remove_tree(p.old, e);
}
