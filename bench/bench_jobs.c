/* bench_jobs.c - a data store with many jobs that have ended, written into the records of a server
 * that is stopped. What a list of them costs does not depend on what they did.
 *
 *   bench_jobs DATA DATASTORE N
 *
 * Every thousandth has FAILED, and the oldest has the name "needle". */
#include "base/rng.h"
#include "job/job_private.h"
#include "store/records.h"

#define BATCH   500u
#define HOUR_MS 3600000

static void need(err_code rc, const struct err *e)
{
    if (rc == ERR_OK)
        return;
    (void)fprintf(stderr, "bench_jobs: %s\n", e->msg);
    exit(1);
}

static struct job_record record_of(struct arena *a, sv datastore, uint64_t i, int64_t begin_ms)
{
    char id[33];
    rng_hex32(id);
    const bool failed = i % 1000 == 999;
    return (struct job_record){
        .order = i + 1,
        .digest = SV_LIT("-"),
        .job = { .kind = JOB_EXPORT,
                 .id = arena_sv(a, sv_make(id, 32)),
                 .datastore_id = datastore,
                 .account_id = SV_LIT("000000000000"),
                 .job_name =
                     i ? arena_fmt(a, "nightly-%06llu", (unsigned long long)i) : SV_LIT("needle"),
                 .status = failed ? JOB_FAILED : JOB_COMPLETED,
                 .message = failed ? SV_LIT("The bucket is gone") : SV_NONE,
                 .role_arn = SV_LIT("arn:aws:iam::000000000000:role/any"),
                 .output_uri = SV_LIT("s3://output/nightly"),
                 .job_folder_uri = arena_fmt(a, "s3://output/nightly/%.32s/", id),
                 .kms_key_id = SV_LIT("alias/any"),
                 .submit_ms = begin_ms + (int64_t)i * 1000,
                 .start_ms = begin_ms + (int64_t)i * 1000 + 10,
                 .end_ms = begin_ms + (int64_t)i * 1000 + 900 },
    };
}

int main(int argc, char **argv)
{
    struct records *r;
    struct err e = { 0 };
    uint64_t n = 0;
    if (argc != 4 || !sv_to_u64(sv_from(argv[3]), &n) || n == 0) {
        (void)fprintf(stderr, "usage: bench_jobs DATA DATASTORE N\n");
        return 2;
    }
    struct arena *a = arena_new(64u << 20);
    char uri[4096];
    (void)snprintf(uri, sizeof uri, "rocksdb:%s/system", argv[1]);
    need(records_open(uri, &r, &e), &e);
    for (uint64_t i = 0; i < n;) {
        struct records_write w[BATCH * 2];
        struct buf texts[BATCH];
        size_t m = 0;
        arena_reset(a);
        for (; m < BATCH && i < n; m++, i++) {
            const struct job_record rec = record_of(a, sv_from(argv[2]), i, INT64_C(1700000000000));
            texts[m] = BUF_INIT(JOB_RECORD_MAX);
            need(job_record_format(&rec, &texts[m], &e), &e);
            w[m * 2] = (struct records_write){
                RECORDS_PUT, job_key_record(a, JOB_EXPORT, rec.job.datastore_id, rec.job.id),
                buf_sv(&texts[m])
            };
            w[m * 2 + 1] =
                (struct records_write){ RECORDS_PUT, job_key_listed(a, &rec), rec.job.id };
        }
        need(records_write(r, w, m * 2, &e), &e);
        while (m)
            buf_done(&texts[--m]);
    }
    records_close(r);
    arena_free(a);
    return 0;
}
