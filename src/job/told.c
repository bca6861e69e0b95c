/* told.c - what is told of jobs, as HealthLake tells EventBridge: an event for each status that a
 * job comes to, but for those of a cancellation, of which AWS has no events.
 *
 * The event goes into the batch that writes the status. It holds places and times of the job, and
 * nothing of what it asks for beyond that.
 * Source: Amazon HealthLake, "Monitoring with EventBridge". */
#include "job/job_private.h"

#include "base/clock.h"
#include "codec/instant.h"

/* Behind "Import Job " and "Export Job ". NULL: nobody is told. */
static const char *const words[JOB_N_STATUSES] = {
    [JOB_SUBMITTED] = "Submitted",     [JOB_QUEUED] = "Queued",
    [JOB_IN_PROGRESS] = "In Progress", [JOB_COMPLETED] = "Completed",
    [JOB_FAILED] = "Failed",           [JOB_COMPLETED_WITH_ERRORS] = "Completed With Errors",
};

/* HealthLake's events have the URI without an S3Configuration around it. */
static void config_of(struct json_writer *w, const char *name, sv uri)
{
    if (uri.len == 0)
        return;
    json_key(w, name);
    json_obj(w);
    json_kv_str(w, "s3Uri", uri);
    json_obj_end(w);
}

static void detail(const void *of, struct json_writer *w)
{
    const struct job *job = of;
    char when[INSTANT_LEN];
    instant_format(job->submit_ms, when);
    json_kv_str(w, "jobId", job->id);
    json_kv_str(w, "submitTime", sv_make(when, sizeof when));
    json_kv_str(w, "datastoreId", job->datastore_id);
    if (job->kind == JOB_IMPORT)
        config_of(w, "inputDataConfig", job->input_uri);
    else
        config_of(w, "outputDataConfig", job->job_folder_uri);
}

err_code job_told(struct events *events, struct job_record *rec, struct arena *a, struct err *e)
{
    const struct job *job = &rec->job;
    char type[64];
    struct event event = { .detail_type = type,
                           .subject = job->id,
                           .state = sv_from(job_status_name(job->status)),
                           .resource = job->datastore_arn,
                           .time_ms = clock_wall_ms(),
                           .detail = detail,
                           .of = job };
    /* AWS has no events of erasures */
    if (events == NULL || words[job->status] == NULL || job->kind == JOB_ERASE)
        return ERR_OK;
    (void)snprintf(type, sizeof type, "%s Job %s", job->kind == JOB_IMPORT ? "Import" : "Export",
                   words[job->status]);
    struct records_write *w = ARENA_NEW(a, struct records_write);
    if (w == NULL)
        return arena_oom(a, e);
    TRY(events_write(events, &event, a, w, e));
    rec->told = w;
    return ERR_OK;
}

void job_told_written(struct events *events, struct job_record *rec)
{
    if (rec->told)
        events_written(events);
    rec->told = NULL;
}
