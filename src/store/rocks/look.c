/* look.c - what stands in the folder of a data store, told without opening it for writing.
 *
 *   families that can be listed, ids among them   a data store of this layout
 *   no data                                       whoever made it was cut off
 *   families without ids, and layout < 4          an older one: it has to be converted
 *   anything else                                 it is damaged
 *
 * Opening an older one would make the families that it lacks, and programs of its own time could
 * not open it any more. Opening a damaged one could do the same, and remove files that its list
 * does not name any more. */
#include "store/data_keys.h"
#include "store/rocks/convert/old.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

bool rocks_has_data(const char *path)
{
    bool found = false;
    struct dirent *x;
    struct stat st;
    DIR *d = opendir(path);
    while (d && !found && (x = readdir(d)) != NULL)
        found = (sv_ends(sv_from(x->d_name), SV_LIT(".sst")) ||
                 sv_ends(sv_from(x->d_name), SV_LIT(".log"))) &&
                fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size != 0;
    if (d)
        closedir(d);
    return found;
}

static err_code damaged(struct err *e)
{
    return ERR(e, ERR_CORRUPT, "opening the data store: stored data is damaged");
}

static bool has_current(const char *path)
{
    char name[PATH_MAX];
    int n = snprintf(name, sizeof name, "%s/CURRENT", path);
    return n < PATH_MAX && access(name, F_OK) == 0;
}

/* Any data store from before layout 4 lacks the family. */
static err_code has_ids(const char *path, bool *out, struct err *e)
{
    rocksdb_options_t *o = rocksdb_options_create();
    char *bad = NULL;
    size_t n = 0;
    bool found = false;
    char **names = rocksdb_list_column_families(o, path, &n, &bad);
    rocksdb_options_destroy(o);
    for (size_t i = 0; bad == NULL && i < n; i++)
        found |= strcmp(names[i], rocks_family_names[CF_IDS]) == 0;
    /* it is made in either case */
    rocksdb_list_column_families_destroy(names, n);
    *out = found;
    return rocks_error(bad, "opening the data store", e);
}

err_code rocks_look(const char *path, bool *older, struct err *e)
{
    bool found;
    uint64_t layout;
    struct err why;
    *older = false;
    /* families are made one by one, so one that is just being made lacks some, too */
    if (!rocks_has_data(path))
        return ERR_OK;
    /* RocksDB would take it for none */
    if (!has_current(path))
        return damaged(e);
    /* those that are encrypted were never of an older layout, and are not read without a key */
    if (data_keys_there(path))
        return ERR_OK;
    TRY(has_ids(path, &found, e));
    if (found)
        return ERR_OK;
    err_code rc = old_layout(path, &layout, &why);
    /* with its number it has all families */
    if (rc != ERR_OK || layout == 0 || layout >= ROCKS_LAYOUT)
        return damaged(e);
    *older = true;
    return ERR_OK;
}
