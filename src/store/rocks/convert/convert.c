/* convert.c - a data store of an older layout becomes one of this layout, in its own place.
 *
 *   PLACE             the data store
 *   PLACE.converting  the new one, while it is written and checked
 *   PLACE.old         the old one, from the moment when the new one is whole
 *
 * The new one is on disk and checked before the first rename: PLACE becomes PLACE.old, then
 * PLACE.converting becomes PLACE, then PLACE.old goes. Whatever ends the program, PLACE or
 * PLACE.old is a whole data store, and what stands there tells how far it came:
 *
 *   PLACE  .old  .converting
 *   old     -        any      not whole, or so it is taken: removed, begun anew
 *   -      there    there     whole: it gets its place
 *   new    there      -       the old one goes
 *   -      there      -       nothing that this leaves; the old one gets its place back
 *
 * The side folders have names that no data store has. */
#include "store/rocks/convert/convert_private.h"

#include "base/file.h"
#include "store/data_keys.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* ---- folders ---- */

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static err_code move(const struct convert_places *p, const char *from, const char *to,
                     struct err *e)
{
    if (rename(from, to) != 0)
        return ERR(e, err_from_errno(errno), "a folder of the data store cannot be renamed");
    return file_sync_dir(p->above, e);
}

/* Puts what an earlier call left into one of two states: a data store of either layout, or none.
 * *completed: that call had all but finished, and it is finished now. */
static err_code take_up(const struct convert_places *p, bool *completed, struct err *e)
{
    *completed = false;
    if (!is_there(p->main) && is_there(p->old)) {
        const bool whole = is_there(p->converting);
        TRY(move(p, whole ? p->converting : p->old, p->main, e));
        *completed = whole;
    }
    if (is_there(p->main) && is_there(p->old)) {
        /* else somebody has put it back by hand, and which is the right one is not ours to say */
        uint64_t layout;
        TRY(old_layout(p->main, &layout, e));
        if (layout == OLD_LAYOUT)
            return ERR(e, ERR_CONFLICT,
                       "the data store has an older layout, and there is a folder beside it whose "
                       "name ends in " CONVERT_OLD
                       ", which another conversion left: move one of the two "
                       "away");
        TRY(file_remove_tree(p->old, e));
        *completed = true;
    }
    if (!is_there(p->main))
        return ERR(e, ERR_NOT_FOUND, "data store does not exist");
    return file_remove_tree(p->converting, e);
}

/* ---- one data store ---- */

static err_code write_new(struct converting *c, struct store_env *env, void *own,
                          const struct convert_places *p, struct err *e)
{
    struct store *st;
    TRY(rocks_open(env, own, p->converting, true, STORE_FILES_MAX, &st, e));
    err_code rc = replay_all(c, (struct rocks *)st, e);
    store_close(st);
    TRY(rc);
    /* as it will be opened by others */
    TRY(rocks_open(env, own, p->converting, false, STORE_FILES_MAX, &st, e));
    rc = check_all(c, (struct rocks *)st, e);
    store_close(st);
    TRY(rc);
    TRY(file_sync_dir(p->converting, e));
    return file_sync_dir(p->above, e);
}

static err_code convert(struct converting *c, struct store_env *env, void *own,
                        const struct convert_places *p, struct err *e)
{
    err_code rc = old_open(&c->old, p->main, e);
    if (rc == ERR_OK)
        rc = write_new(c, env, own, p, e);
    if (rc == ERR_OK)
        rc = move(p, p->main, p->old, e);
    if (rc == ERR_OK)
        rc = move(p, p->converting, p->main, e);
    old_close(&c->old);
    if (rc == ERR_OK)
        return file_remove_tree(p->old, e);
    /* what was written is of no use; these may fail as well, and the next call does them */
    if (!is_there(p->main))
        IGNORE(move(p, p->old, p->main, NULL));
    if (is_there(p->main))
        IGNORE(file_remove_tree(p->converting, NULL));
    return rc;
}

err_code rocks_convert(struct store_env *env, void *own, const char *place, store_convert_fn tell,
                       void *ctx, struct store_converted *out, struct err *e)
{
    struct convert_places p;
    uint64_t layout;
    struct store_converted done = { 0 };
    TRY(convert_places(place, &p, e));
    TRY(take_up(&p, &done.completed, e));
    /* a creation that was cut off, and the server goes on with it; or one that is encrypted, which
     * older layouts never were */
    if (!done.completed && (!rocks_has_data(p.main) || data_keys_there(p.main))) {
        done.was_done = true;
        *out = done;
        return ERR_OK;
    }
    TRY(old_layout(p.main, &layout, e));
    if (layout != OLD_LAYOUT && layout != ROCKS_LAYOUT)
        return ERR(e, ERR_UNSUPPORTED,
                   "data store has layout version %llu; this program converts version %u alone",
                   (unsigned long long)layout, OLD_LAYOUT);
    if (layout == OLD_LAYOUT) {
        struct converting c = { .tell = tell, .tell_ctx = ctx };
        TRY(convert(&c, env, own, &p, e));
        done = c.done;
    } else if (!done.completed) {
        done.was_done = true;
    }
    *out = done;
    return ERR_OK;
}

/* ---- which there are ---- */

err_code rocks_needs_convert(const char *place, bool *out, struct err *e)
{
    struct convert_places p;
    TRY(convert_places(place, &p, e));
    if (is_there(p.main))
        return rocks_look(p.main, out, e);
    *out = is_there(p.old);
    return ERR_OK;
}

err_code rocks_convert_names(const char *root, bool (*is_name)(sv name), struct arena *a, sv **out,
                             size_t *n, struct err *e)
{
    CLEANUP_BUF struct buf names = BUF_INIT(ROCKS_ROWS_MAX);
    struct dirent *x;
    DIR *d = opendir(root);
    if (d == NULL)
        return ERR(e, err_from_errno(errno), "the folder of the data stores cannot be read");
    err_code rc = ERR_OK;
    while (rc == ERR_OK && (x = readdir(d)) != NULL) {
        sv name = sv_from(x->d_name);
        char main[PATH_MAX];
        if (sv_ends(name, SV_LIT(CONVERT_OLD))) {
            name = sv_head(name, name.len - strlen(CONVERT_OLD));
            int len = snprintf(main, sizeof main, "%s/%.*s", root, SV_FMT(name));
            /* it is in its place, and comes by itself */
            if (len >= PATH_MAX || is_there(main))
                continue;
        }
        if (!is_name(name))
            continue;
        name = arena_sv(a, name);
        rc = name.ptr ? buf_add(&names, sv_make(&name, sizeof name), e) : arena_oom(a, e);
    }
    (void)closedir(d);
    TRY(rc);
    sv copy = arena_sv(a, buf_sv(&names));
    if (copy.ptr == NULL)
        return arena_oom(a, e);
    *out = (sv *)(void *)(uintptr_t)copy.ptr;
    *n = names.len / sizeof(sv);
    return ERR_OK;
}
