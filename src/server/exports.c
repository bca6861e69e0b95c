/* exports.c - where the files of served exports are: in DATA, or in a place that all servers of a
 * database share: a directory, or a prefix of the S3 endpoint, under fhirlake's own keys. */
#include "server/serve_private.h"

#include "codec/uri.h"
#include "sink/sink.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define SCHEME      "s3://"
#define S3_TOTAL_MS 60000u /* a caller waits for some of these calls */

static bool is_s3(const char *place)
{
    return strncmp(place, SCHEME, sizeof SCHEME - 1) == 0;
}

err_code exports_room_check(const struct server_config *config, struct err *e)
{
    struct uri_s3 uri;
    struct err why;
    if (config->export_files == NULL)
        return ERR_OK;
    if (strcmp(config->store, "rocksdb") == 0)
        return ERR(e, ERR_INVALID,
                   "--export-files needs --store postgresql://: with data stores of its own a "
                   "server has the files in DATA/exports");
    if (!is_s3(config->export_files))
        return ERR_OK;
    if (uri_s3_parse(sv_from(config->export_files), &uri, &why) != ERR_OK)
        return ERR(e, ERR_INVALID, "--export-files takes DIR or s3://bucket/prefix: %.200s",
                   why.msg);
    return config->s3_endpoint ? ERR_OK
                               : ERR(e, ERR_INVALID, "--export-files s3:// needs --s3-endpoint");
}

static err_code open_world(const struct server_config *config, const struct s3_endpoint *s3,
                           struct arena *a, struct exports_room *room, struct err *e)
{
    struct s3_endpoint endpoint = *s3;
    struct sink_config sc = { .s3 = &endpoint, .as_own = true };
    endpoint.total_ms = S3_TOTAL_MS;
    TRY(own_credentials(config, "--export-files s3://", a, &sc.own, e));
    return sink_world_new(&sc, &room->world, e);
}

static err_code check_dir(const char *dir, struct err *e)
{
    struct stat st;
    /* a folder that is not mounted is not made in its place */
    if (stat(dir, &st) != 0)
        return ERR(e, err_from_errno(errno), "--export-files %.200s: %s", dir, strerror(errno));
    return S_ISDIR(st.st_mode)
               ? ERR_OK
               : ERR(e, ERR_INVALID, "--export-files %.200s: it is no directory", dir);
}

err_code exports_room_open(const struct server_config *config, const struct s3_endpoint *s3,
                           struct records *records, struct arena *a, struct exports_room *room,
                           struct err *e)
{
    const char *place = config->export_files;
    int n = snprintf(room->dir, sizeof room->dir, "%s/exports", config->data);
    if (n < 0 || (size_t)n >= sizeof room->dir)
        return ERR(e, ERR_INVALID, "--data is too long a path");
    if (place == NULL)
        return ERR_OK;
    TRY(store_room_number(records, room->owner, e));
    if (is_s3(place))
        return open_world(config, s3, a, room, e);
    if (strlen(place) >= sizeof room->dir)
        return ERR(e, ERR_INVALID, "--export-files is too long a path");
    (void)snprintf(room->dir, sizeof room->dir, "%s", place);
    return check_dir(place, e);
}

void exports_room_tell(const struct server_config *config, const struct exports_room *room,
                       struct job_engine_config *jobs)
{
    jobs->served_dir = room->dir;
    jobs->served_uri = room->world ? config->export_files : NULL;
    jobs->served_world = room->world;
    jobs->served_owner = room->owner[0] ? room->owner : NULL;
}

void exports_room_close(struct exports_room *room)
{
    sink_world_free(room->world);
}
