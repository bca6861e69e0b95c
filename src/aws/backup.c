/* backup.c - continuous backup: what a configuration means, and to which instants one can go back.
 *
 * A data store keeps all versions of its resources with the commits that made them, so nothing has
 * to be written for a backup: the configuration says to which instants the data store may be
 * restored, and how long its data stays on disk when it is deleted.
 *
 *   window   from   the latest of: the backup was enabled; retention before now; it was created
 *            to     now, or the end: it was disabled, or the data store deleted
 *   until    the end, and retention: the window is closed then, and the data of a deleted data
 *            store goes (retained.c) */
#include "aws/aws_private.h"

#define DAY_MS       (24 * INT64_C(3600000))
#define DEFAULT_DAYS 30u /* HealthLake publishes none */

static void set_until(struct datastore_backup *b)
{
    b->until_ms = b->ended_ms ? b->ended_ms + b->days * DAY_MS : 0;
}

err_code backup_check(struct call *call, struct err *e)
{
    const sv status = json_string(json_get(call_member(call, "BackupConfiguration"), "Status"));
    return sv_eq(status, SV_LIT("ENABLED")) && !store_registry_copies(call->service->cfg.stores)
               ? ERR(e, ERR_INVALID,
                     "BackupConfiguration.Status: this server keeps data stores in a database, and "
                     "restores none: ENABLED would promise it")
               : ERR_OK;
}

void backup_configure(struct datastore_backup *b, yyjson_val *given, int64_t now_ms)
{
    const sv status = json_string(json_get(given, "Status"));
    yyjson_val *tags = json_get(given, "BackupTagsEnabled");
    uint64_t days;
    if (given == NULL)
        return;
    b->given = true;
    if (b->days == 0)
        b->days = DEFAULT_DAYS;
    /* 1 to 30: the shape says so */
    if (sv_to_u64(json_number(json_get(given, "RetentionPeriodInDays")), &days))
        b->days = (unsigned)days;
    if (yyjson_is_bool(tags))
        b->tags = yyjson_get_bool(tags);
    if (sv_eq(status, SV_LIT("ENABLED")) && !b->enabled) {
        b->enabled = true;
        b->enabled_ms = now_ms;
        b->ended_ms = 0;
    } else if (sv_eq(status, SV_LIT("DISABLED")) && b->enabled) {
        b->enabled = false;
        b->ended_ms = now_ms;
    }
    set_until(b);
}

void backup_end(struct datastore_backup *b, int64_t now_ms)
{
    if (b->enabled_ms && b->ended_ms == 0)
        b->ended_ms = now_ms;
    set_until(b);
}

bool backup_window(const struct datastore *datastore, int64_t now_ms, int64_t *from, int64_t *to)
{
    const struct datastore_backup *b = &datastore->backup;
    if (b->enabled_ms == 0 || (b->until_ms && b->until_ms <= now_ms) ||
        (b->ended_ms && b->until_ms == 0))
        return false;
    *from = now_ms - b->days * DAY_MS;
    if (*from < b->enabled_ms)
        *from = b->enabled_ms;
    if (*from < datastore->created_ms)
        *from = datastore->created_ms;
    *to = b->ended_ms ? b->ended_ms : now_ms;
    /* a clock that was set back */
    if (*to < *from)
        *to = *from;
    return true;
}
