/* dir_list.c - the directory store: what stands below a prefix, in key order.
 *
 * Folders are made by whoever may write a key, so neither their depth nor their number is ours to
 * say:
 *   L1  one folder is open at a time, whatever the depth: each is walked to from its bucket, step
 *       by step and without following links, and is closed before one within it is entered
 *   L2  of a folder's names at most 2 * DIR_NAMES_MAX are in memory; a larger one is read several
 *       times
 *   L3  what has no key of ours (a path longer than SINK_KEY_MAX, a link, a device) is passed over
 *       as links are: no object of such a name can be read or written here, and it must not hide
 *       the others */
#include "sink/sink_private.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef DIR_NAMES_MAX /* a test has few */
#define DIR_NAMES_MAX (128u << 10)
#endif

struct listing {
    sink_list_fn each;
    void *ctx;
    int bucket;
    bool stopped;
    struct err why;             /* of the first failure: here, because walks nest deeply */
    char key[SINK_KEY_MAX + 1]; /* of the folder or file at hand; a folder's ends in '/' */
    size_t len;
};

/* Folders end in '/': so names compare as the keys below them do. */
struct names {
    char **items;
    size_t n, cap;
    bool more; /* behind the last of them */
};

static int by_key(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_keep(struct names *x, size_t n)
{
    for (; x->n > n; x->n--)
        free(x->items[x->n - 1]);
}

static void names_free(struct names *x)
{
    names_keep(x, 0);
    free(x->items);
    *x = (struct names){ 0 };
}

static void names_sort(struct names *x)
{
    if (x->n)
        qsort(x->items, x->n, sizeof *x->items, by_key);
}

/* The first DIR_NAMES_MAX are kept (L2). */
static void names_cut(struct names *x)
{
    if (x->n <= DIR_NAMES_MAX)
        return;
    names_sort(x);
    names_keep(x, DIR_NAMES_MAX);
    x->more = true;
}

/* name has room for one byte more. Only names behind `after` ("": all of them). */
static void names_add(struct names *x, char *name, bool folder, const char *after)
{
    size_t len = strlen(name);
    memcpy(name + len, folder ? "/" : "", folder ? 2 : 1);
    if (strcmp(name, after) <= 0)
        return;
    if (x->n == x->cap) {
        x->cap = x->cap ? x->cap * 2 : 64;
        x->items = realloc(x->items, x->cap * sizeof *x->items);
        if (x->items == NULL)
            abort();
    }
    if ((x->items[x->n] = strdup(name)) == NULL)
        abort();
    if (++x->n == 2 * DIR_NAMES_MAX)
        names_cut(x);
}

/* Regular files and folders of an open folder, in key order, behind `after`. d stays open. */
static err_code names_of(DIR *d, const char *after, struct names *out, struct err *e)
{
    struct names x = { 0 };
    struct dirent *de;
    rewinddir(d);
    for (errno = 0; (de = readdir(d)) != NULL; errno = 0) {
        char name[sizeof de->d_name + 1];
        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
            strncmp(de->d_name, SINK_TEMP_PREFIX, sizeof SINK_TEMP_PREFIX - 1) == 0)
            continue;
        struct stat st;
        /* gone meanwhile, a link, a device */
        if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
            continue;
        memcpy(name, de->d_name, strlen(de->d_name) + 1);
        names_add(&x, name, S_ISDIR(st.st_mode), after);
    }
    if (errno != 0) {
        names_free(&x);
        return file_os_err(e, "cannot read a folder");
    }
    names_cut(&x);
    names_sort(&x);
    *out = x;
    return ERR_OK;
}

/* The folder of the listing's key, from the bucket on (L1). ERR_NOT_FOUND: it went away meanwhile,
 * or is a link now. */
static err_code folder_open(struct listing *listing, DIR **out)
{
    int at = openat(listing->bucket, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return file_os_err(&listing->why, "cannot open the bucket");
    sv rest = sv_make(listing->key, listing->len), seg;
    while (rest.len && sv_cut(&rest, '/', &seg)) {
        char name[256];
        int next = -1;
        /* a name that the system gave, or a key that was checked */
        memcpy(name, seg.ptr, seg.len);
        name[seg.len] = 0;
        err_code rc = dir_step(at, name, false, false, &next, &listing->why);
        close(at);
        if (rc != ERR_OK)
            return rc == ERR_DENIED ? ERR_NOT_FOUND : rc;
        at = next;
    }
    DIR *d = fdopendir(at);
    if (d == NULL) {
        err_code rc = file_os_err(&listing->why, "cannot read a folder");
        close(at);
        return rc;
    }
    *out = d;
    return ERR_OK;
}

static err_code walk(struct listing *listing);

static void give(struct listing *listing, int dir_fd, const char *name)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
        listing->stopped =
            !listing->each(listing->ctx, sv_make(listing->key, listing->len), (uint64_t)st.st_size);
}

/* Names of the listing's folder, which is open as *d, or closed (NULL) since one within it was
 * entered. */
static err_code visit(struct listing *listing, const struct names *x, DIR **d)
{
    err_code rc = ERR_OK;
    for (size_t i = 0, had = listing->len; i < x->n && rc == ERR_OK && !listing->stopped;
         i++, listing->len = had) {
        size_t len = strlen(x->items[i]);
        bool folder = x->items[i][len - 1] == '/';
        /* L3 */
        if (listing->len + len > SINK_KEY_MAX)
            continue;
        if (!folder && *d == NULL)
            rc = folder_open(listing, d);
        memcpy(listing->key + listing->len, x->items[i], len);
        listing->len += len;
        if (folder) {
            if (*d)
                closedir(*d);
            *d = NULL;
            rc = walk(listing);
        } else if (rc == ERR_OK) {
            give(listing, dirfd(*d), x->items[i]);
        }
    }
    return rc;
}

/* All below the folder of the listing's key. Its depth is bounded by the key's length. */
static err_code walk(struct listing *listing)
{
    char after[257] = "";
    struct names x = { 0 };
    DIR *d = NULL;
    err_code rc;
    do {
        names_free(&x);
        rc = d ? ERR_OK : folder_open(listing, &d);
        if (rc == ERR_OK)
            rc = names_of(d, after, &x, &listing->why);
        if (rc == ERR_OK)
            rc = visit(listing, &x, &d);
        if (x.n)
            (void)snprintf(after, sizeof after, "%s", x.items[x.n - 1]);
    } while (rc == ERR_OK && x.more && !listing->stopped);
    names_free(&x);
    if (d)
        closedir(d);
    /* a deletion beside us took the folder away */
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* What stands at the prefix itself: an object alone, or a folder. */
static err_code list_prefix(const struct sink *sink, struct listing *listing)
{
    int parent;
    char leaf[256];
    struct stat st = { 0 };
    uint64_t bytes;
    err_code rc =
        dir_parent_open(listing->bucket, sink->prefix, false, false, &parent, leaf, &listing->why);
    if (rc == ERR_OK) {
        rc = sink->folder ? ERR_NOT_FOUND : dir_stat_at(parent, leaf, &bytes, &listing->why);
        if (rc == ERR_OK)
            /* the only one */
            (void)listing->each(listing->ctx, sink->prefix, bytes);
        else if (fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) != 0)
            st.st_mode = 0;
        close(parent);
    }
    if (S_ISDIR(st.st_mode))
        return sink->below ? walk(listing) : ERR_OK;
    /* nothing below it */
    return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

err_code dir_list(const struct sink *sink, sink_list_fn each, void *ctx, struct err *e)
{
    struct listing listing = { .each = each, .ctx = ctx };
    TRY(dir_bucket_open(sink->world, sink->bucket, false, &listing.bucket, e));
    if (sink->prefix.len) {
        /* checked when the sink was opened */
        memcpy(listing.key, sink->prefix.ptr, sink->prefix.len);
        listing.key[sink->prefix.len] = '/';
        listing.len = sink->prefix.len + 1;
    }
    err_code rc = sink->prefix.len ? list_prefix(sink, &listing) : walk(&listing);
    close(listing.bucket);
    if (rc != ERR_OK && e)
        *e = listing.why;
    return rc;
}
