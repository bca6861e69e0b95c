/* mark.c - do all machines see the same place?
 *
 * The place has a mark, "DATABASE ID\n", and the records have the ID. A machine whose directory is
 * another one of that name, because it is not mounted there, say, does not see the mark, and is
 * told so before it writes: with each kick-off, and with each file of a run. Another database's
 * mark is never written over: what stands beside it would be taken for what a crash left.
 *
 * Who sees no mark, or an earlier one, may give the place a new ID while no export is kept or under
 * way. Other machines that see that mark take its ID over; those that do not take no export. */
#include "job/served/place_private.h"

#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"

#include <limits.h>

#define MARK_MAX 128u
#define ID_LEN   32u
#define RECORD   SV_LIT("exportplace")

struct mark {
    bool is_there;
    char owner[ID_LEN + 1], id[ID_LEN + 1];
};

/* ---- the mark ---- */

static err_code read_object(const struct job_files *place, struct buf *out, struct err *e)
{
    CLEANUP(arena_free) struct arena *a = arena_new(4096);
    struct byte_reader from;
    char piece[MARK_MAX];
    size_t n;
    err_code rc;
    TRY(sink_read(
        place->root,
        arena_fmt(a, "%.*s%s" PLACE_MARK, SV_FMT(place->prefix), place->prefix.len ? "/" : ""), 0,
        &from, e));
    while ((rc = from.read(from.ctx, piece, sizeof piece, &n, e)) == ERR_OK)
        if ((rc = buf_add(out, sv_make(piece, n), e)) != ERR_OK)
            break;
    if (from.close)
        from.close(from.ctx);
    return rc == ERR_EOF ? ERR_OK : rc;
}

static void mark_path(const struct job_files *place, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/" PLACE_MARK, place->dir);
}

static err_code read_mark(const struct job_files *place, struct mark *out, struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(MARK_MAX);
    char path[PATH_MAX];
    struct err why = { 0 };
    *out = (struct mark){ 0 };
    err_code rc;
    if (place->dir) {
        mark_path(place, path);
        rc = file_read(path, &text, &why);
    } else {
        rc = read_object(place, &text, &why);
    }
    /* a bucket that is not there is told when the mark is written */
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc != ERR_OK)
        return err_pass(e, &why);
    sv rest = buf_sv(&text), id, owner;
    if (!sv_cut(&rest, '\n', &id) || !sv_cut(&id, ' ', &owner) || !sv_is_hex(owner, ID_LEN) ||
        !sv_is_hex(id, ID_LEN))
        return ERR(e, ERR_CONFLICT, "its file " PLACE_MARK " is damaged");
    out->is_there = true;
    (void)snprintf(out->owner, sizeof out->owner, "%.*s", SV_FMT(owner));
    (void)snprintf(out->id, sizeof out->id, "%.*s", SV_FMT(id));
    return ERR_OK;
}

static err_code write_mark(const struct job_files *place, const char *id, struct err *e)
{
    char text[MARK_MAX], path[PATH_MAX];
    (void)snprintf(text, sizeof text, "%s %s\n", place->owner, id);
    if (place->dir) {
        mark_path(place, path);
        return file_write_atomic(path, sv_from(text), e);
    }
    return sink_put(place->root, SV_LIT(PLACE_MARK), SV_LIT("text/plain"), sv_from(text), NULL, e);
}

/* ---- what the records say ---- */

/* "": nothing. */
static err_code read_id(const struct job_files *place, char out[ID_LEN + 1], struct err *e)
{
    CLEANUP_BUF struct buf text = BUF_INIT(MARK_MAX);
    err_code rc = records_get(place->records, RECORD, &text, e);
    out[0] = 0;
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    TRY(rc);
    (void)snprintf(out, ID_LEN + 1, "%.*s", SV_FMT(buf_sv(&text)));
    return ERR_OK;
}

static bool any(void *ctx, sv key, sv value)
{
    (void)key;
    (void)value;
    *(bool *)ctx = true;
    return false;
}

static bool any_export(void *ctx, sv key, sv value)
{
    (void)key;
    if (sv_starts(value, SV_LIT("export/")))
        *(bool *)ctx = true;
    return !*(bool *)ctx;
}

/* Is an export under way, or kept? */
static err_code is_used(const struct job_files *place, bool *out, struct err *e)
{
    *out = false;
    TRY(records_scan(place->records, SV_LIT("jobactive/"), SV_NONE, any_export, out, e));
    return *out ? ERR_OK : records_scan(place->records, SV_LIT("jobexpiry/"), SV_NONE, any, out, e);
}

/* ---- whether they go together ---- */

static void see(struct job_files *place, const char *id)
{
    pthread_mutex_lock(&place->seen.lock);
    (void)snprintf(place->seen.id, sizeof place->seen.id, "%s", id);
    pthread_mutex_unlock(&place->seen.lock);
}

static bool has_seen(struct job_files *place, const char *id)
{
    pthread_mutex_lock(&place->seen.lock);
    const bool same = id[0] && strcmp(place->seen.id, id) == 0;
    pthread_mutex_unlock(&place->seen.lock);
    return same;
}

static err_code another(struct err *e)
{
    return ERR(e, ERR_CONFLICT,
               "it is not the place where the exports of this database are: its file " PLACE_MARK
               " is missing, or of another place. All machines need the same; who moves it copies "
               "it with that file");
}

/* Is it the records' place? id: of the records. */
static err_code look(struct job_files *place, const char *id, bool *same, struct err *e)
{
    struct mark mark;
    TRY(read_mark(place, &mark, e));
    if (mark.is_there && strcmp(mark.owner, place->owner) != 0)
        return ERR(e, ERR_CONFLICT, "it has files of exports of another database");
    *same = mark.is_there && strcmp(mark.id, id) == 0;
    return ERR_OK;
}

err_code job_files_agree(struct job_files *place, struct err *e)
{
    char id[ID_LEN + 1], now[ID_LEN + 1];
    bool same = false, used = false;
    if (!job_files_is_shared(place))
        return ERR_OK;
    TRY(read_id(place, id, e));
    TRY(look(place, id, &same, e));
    if (!same) {
        /* of exports in a place of one machine nobody else knows */
        TRY(is_used(place, &used, e));
        if (used && id[0])
            return another(e);
        rng_hex32(id);
        TRY(records_put(place->records, RECORD, sv_from(id), e));
        TRY(write_mark(place, id, e));
        /* it can be read back, too, and no other machine has done the same meanwhile */
        TRY(read_id(place, now, e));
        TRY(look(place, now, &same, e));
        if (!same)
            return ERR(e, ERR_CONFLICT, "another machine has just marked its place: try again");
    }
    see(place, id);
    return ERR_OK;
}

/* A directory can be another one at any time: it is not mounted any more, say. A bucket cannot. */
static err_code check(struct job_files *place, const char *id, struct err *e)
{
    bool same = false;
    if (place->dir == NULL && has_seen(place, id))
        return ERR_OK;
    TRY(look(place, id, &same, e));
    if (!same)
        return another(e);
    see(place, id);
    return ERR_OK;
}

err_code job_files_check(struct job_files *place, struct err *e)
{
    char id[ID_LEN + 1];
    if (!job_files_is_shared(place))
        return ERR_OK;
    TRY(read_id(place, id, e));
    return check(place, id, e);
}

err_code job_files_reach(struct job_files *place, struct err *e)
{
    char id[ID_LEN + 1];
    struct err why = { 0 };
    if (!job_files_is_shared(place))
        return ERR_OK;
    TRY(read_id(place, id, e));
    if (check(place, id, &why) == ERR_OK)
        return ERR_OK;
    LOG_ERR("export_files", &why, LOG_STR("place", place->dir ? place->dir : place->uri));
    return ERR(e, ERR_UNAVAILABLE,
               "The place for files of exports (--export-files) cannot be reached from this "
               "server, or is not the one that the others have; try again later");
}
