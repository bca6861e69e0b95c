/* sample.h - one job record, and records in memory to write it to. */
#pragma once
#include "job/fixture.h"

static struct job_record sample(const char *id, uint64_t order)
{
    return (struct job_record){ .order = order,
                                .digest = SV_LIT("00ff"),
                                .job = { .kind = JOB_EXPORT,
                                         .id = sv_from(id),
                                         .datastore_id = FX_STORE,
                                         .datastore_arn = SV_LIT("arn:x"),
                                         .account_id = SV_LIT("123456789012"),
                                         .job_name = SV_LIT("night \"run\" \xc3\xa9"),
                                         .role_arn = FX_ROLE,
                                         .output_uri = SV_LIT("s3://out/p"),
                                         .job_folder_uri = SV_LIT("s3://out/p/f/"),
                                         .kms_key_id = FX_KEY,
                                         .status = JOB_SUBMITTED,
                                         .submit_ms = 1700000000123 } };
}

static struct records *in_memory(void)
{
    struct records *r = NULL;
    OK(records_open(NULL, &r, e));
    return r;
}
