/* served.h - a small data store, and exports of it whose files are served. */
#pragma once
#include "job/fixture.h"

#include <ftw.h>

enum { N_PATIENTS = 50 };

static void fill(struct fx *f)
{
    struct store *st = fx_store(f);
    for (int i = 0; i < N_PATIENTS; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "p%d", i);
        fx_write(st, fhir_type_find(SV_LIT("Patient")), id, "x");
    }
    store_registry_release(f->stores, st);
}

static struct job submit(struct fx *f, const struct job_export_params *p, struct arena *a)
{
    struct job j;
    struct job_request q = fx_request(JOB_EXPORT, "", "");
    q.role_arn = q.kms_key_id = q.output_uri = SV_NONE;
    q.params = p;
    OK(job_submit(f->engine, &q, a, &j, e));
    return j;
}

static const struct job_export_params served = {
    .served = true, .request_url = { "http://x/r4/$export", sizeof("http://x/r4/$export") - 1 }
};

static size_t n_files; /* of this thread's walk */

static int count_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)st;
    (void)at;
    n_files += type == FTW_F;
    return 0;
}

/* They may go while they are counted. */
static size_t n_served(struct fx *f)
{
    n_files = 0;
    (void)nftw(f->served, count_file, 8, FTW_PHYS);
    return n_files;
}
