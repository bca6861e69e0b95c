/* audit.c - the audit log of this process: its options, what it says in the log, and records
 * that no request leaves: the ends of jobs, and backups. */
#include "server/serve_private.h"

#include "base/log.h"
#include "service/parked.h"
#include "service/trail.h"

static void on_news(void *ctx, enum audit_news news, uint64_t n, const struct err *why)
{
    (void)ctx;
    switch (news) {
    case AUDIT_BEGUN:
        LOG(LOG_WARN, "audit", LOG_STR("state", "begun"),
            LOG_STR("note", "first-key in its folder proves the whole log, and could forge it: "
                            "move it to another machine"));
        break;
    case AUDIT_RECOVERED:
        LOG(LOG_WARN, "audit", LOG_STR("state", "recovered"), LOG_INT("torn_bytes", n),
            LOG_STR("note", "the process before ended in the middle"));
        break;
    case AUDIT_FAILED:
        LOG_ERR("audit", why, LOG_STR("state", "failed"),
                LOG_STR("note", "writes are refused until it can be written again"));
        break;
    case AUDIT_BACK:
        LOG(LOG_WARN, "audit", LOG_STR("state", "written again"), LOG_INT("records_lost", n));
        break;
    }
}

err_code audit_room_open(const struct server_config *config, struct audit **out, struct err *e)
{
    const struct audit_config ac = { .dir = config->audit,
                                     .segment_bytes = (uint64_t)config->audit_segment_mib << 20,
                                     .retention_days = config->audit_retention_days,
                                     .told = on_news };
    if (config->audit == NULL)
        return ERR_OK;
    struct err why;
    err_code rc = audit_open(&ac, out, &why);
    return rc == ERR_OK ? rc : ERR(e, rc, "--audit %.200s: %s", config->audit, why.msg);
}

void audit_room_job_ended(void *ctx, const struct job_end *end)
{
    const struct audit_room *room = ctx;
    parking_wake(room->parking, end->id);
    if (room->audit == NULL)
        return;
    static const char *const names[JOB_N_KINDS] = { [JOB_EXPORT] = "ExportJobEnded",
                                                    [JOB_IMPORT] = "ImportJobEnded",
                                                    [JOB_ERASE] = "EraseJobEnded" };
    const struct trail_job job = { names[end->kind], end->datastore_id, end->id,
                                   job_status_name(end->status) };
    trail_job_ended(room->audit, room->region, room->account_id, &job);
}

err_code audit_room_ready(const struct audit_room *room, struct err *e)
{
    if (room->audit == NULL || !room->strict || audit_is_well(room->audit))
        return ERR_OK;
    return ERR(e, ERR_NO_AUDIT, "The audit log cannot be written");
}

void audit_room_backup(const struct audit_room *room, uint64_t user_id, bool taken)
{
    const struct trail_backup backup = { user_id, taken };
    if (room->audit)
        trail_backup_asked(room->audit, room->region, room->account_id, &backup);
}
