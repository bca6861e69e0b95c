/* properties.c - a job as HealthLake shows it: exportJobProperties. Times are written as Java's
 * default format writes them, which its clients parse. Source: HealthLake's recorded answers. */
#include "rest/export/status_private.h"

/* "Jul 18, 2023 8:53:26 PM" */
static sv java_date(struct arena *a, int64_t ms)
{
    char day[40], tail[16];
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    (void)strftime(day, sizeof day, "%b", &tm);
    (void)strftime(tail, sizeof tail, "%M:%S %p", &tm);
    int hour = tm.tm_hour % 12 ? tm.tm_hour % 12 : 12;
    return arena_fmt(a, "%s %d, %d %d:%s", day, tm.tm_mday, tm.tm_year + 1900, hour, tail);
}

static void kv_text(struct json_writer *w, const char *name, sv text)
{
    if (text.len)
        json_kv_str(w, name, text);
}

void rest_export_properties_write(struct rest_call *call, struct json_writer *w,
                                  const struct job *job)
{
    json_key(w, "exportJobProperties");
    json_obj(w);
    json_kv_str(w, "jobId", job->id);
    kv_text(w, "jobName", job->job_name);
    json_kv_str(w, "jobStatus", sv_from(job_status_name(job->status)));
    json_kv_str(w, "submitTime", java_date(call->a, job->submit_ms));
    if (job->end_ms)
        json_kv_str(w, "endTime", java_date(call->a, job->end_ms));
    json_kv_str(w, "datastoreId", job->datastore_id);
    if (!job->served) {
        json_key(w, "outputDataConfig");
        json_obj(w);
        json_key(w, "s3Configuration");
        json_obj(w);
        json_kv_str(w, "s3Uri", job->job_folder_uri);
        json_kv_str(w, "kmsKeyId", job->kms_key_id);
        json_obj_end(w);
        json_obj_end(w);
        json_kv_str(w, "dataAccessRoleArn", job->role_arn);
    }
    kv_text(w, "message", job->message);
    json_obj_end(w);
}

err_code rest_export_properties_answer(struct rest_call *call, const struct job *job, struct err *e)
{
    struct json_writer w;
    json_writer_init(&w, &call->out.body);
    json_obj(&w);
    rest_export_properties_write(call, &w, job);
    json_obj_end(&w);
    call->out.content_type = SV_LIT("application/json");
    return json_writer_end(&w, e);
}
