/* renew.c - what is kept of served exports, as the records say it, where several machines write
 * them.
 *
 * The table of kept.c is one machine's. So before it says whether there is a place for another
 * export, it is made anew: from the jobs that are unfinished, and those whose files have not
 * expired. Two machines that take an export at the same moment do not know of each other's, so
 * limits can be passed by one export for each other machine. */
#include "job/job_private.h"

#define JOBS_BYTES (256u << 20) /* of all their records */

struct jobs {
    struct arena *a;
    struct buf names, found; /* of struct name, of struct job */
};

struct name {
    sv datastore_id, id;
};

static bool add_name(struct jobs *jobs, sv datastore_id, sv id)
{
    const struct name name = { arena_sv(jobs->a, datastore_id), arena_sv(jobs->a, id) };
    return name.datastore_id.ptr && name.id.ptr &&
           buf_add(&jobs->names, sv_make((const char *)&name, sizeof name), NULL) == ERR_OK;
}

static bool each_active(void *ctx, sv key, sv value)
{
    sv kind, datastore_id;
    (void)key;
    return !sv_cut(&value, '/', &kind) || job_kind_parse(kind) != JOB_EXPORT ||
           !sv_cut(&value, '/', &datastore_id) || add_name(ctx, datastore_id, value);
}

static bool each_ended(void *ctx, sv key, sv datastore_id)
{
    return key.len < JOB_ID_LEN || add_name(ctx, datastore_id, sv_tail(key, key.len - JOB_ID_LEN));
}

static err_code read_all(struct job_engine *engine, struct jobs *jobs, struct err *e)
{
    struct records *r = engine->cfg.records;
    TRY(records_scan(r, SV_LIT(JOB_KEYS_ACTIVE), SV_NONE, each_active, jobs, e));
    /* behind it: who ends meanwhile is in both */
    TRY(records_scan(r, SV_LIT(JOB_KEYS_EXPIRY), SV_NONE, each_ended, jobs, e));
    const struct name *names = (const struct name *)(const void *)jobs->names.ptr;
    for (size_t i = 0; i < jobs->names.len / sizeof *names; i++) {
        struct job_record rec;
        struct err why;
        err_code rc =
            job_record_read(r, JOB_EXPORT, names[i].datastore_id, names[i].id, jobs->a, &rec, &why);
        /* its data store is gone */
        if (rc == ERR_NOT_FOUND)
            continue;
        if (rc != ERR_OK)
            return err_pass(e, &why);
        if (rec.job.served && !rec.job.discarded)
            TRY(buf_add(&jobs->found, sv_make((const char *)&rec.job, sizeof rec.job), e));
    }
    return ERR_OK;
}

err_code job_kept_renew(struct job_engine *engine, struct err *e)
{
    if (!engine->cfg.many_machines)
        return ERR_OK;
    CLEANUP(arena_free) struct arena *a = arena_new(JOBS_BYTES);
    struct jobs jobs = { .a = a, .names = BUF_INIT(JOBS_BYTES), .found = BUF_INIT(JOBS_BYTES) };
    err_code rc = read_all(engine, &jobs, e);
    if (rc == ERR_OK)
        job_kept_replace(engine->kept, (const struct job *)(const void *)jobs.found.ptr,
                         jobs.found.len / sizeof(struct job));
    buf_done(&jobs.names);
    buf_done(&jobs.found);
    return rc;
}
